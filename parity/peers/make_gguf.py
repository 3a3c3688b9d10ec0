"""Writes a Hugging Face folder as GGUF with the package `gguf`, K-quants with llama.cpp's own quantiser.

    python parity/peers/make_gguf.py MODEL_FOLDER OUT.gguf TYPE

TYPE is f32, f16, bf16, q8_0 or q4_0 (every matrix in that type, by `gguf.quants`; one whose rows are no multiple of 32
in f16), or a mixture that llama.cpp makes: q4_k_m, q5_k_m, q6_k, q4_k_s ... A folder without tokenizer.json becomes a
file without a tokenizer. Families: llama, mistral (both are `llama` in GGUF), qwen2, qwen3; a sliding window is refused,
since llama.cpp leaves it out for these. Prints {"tensors": n}.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import gguf
import numpy
import torch
from safetensors import safe_open

from llama_cpp_quantize import quantize

ARCHITECTURES = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}
LINEARS = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
}
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE = 1, 2, 3, 4, 6


def gguf_name(name: str) -> str:
    """`model.layers.3.mlp.up_proj.weight` is `blk.3.ffn_up.weight`."""
    plain = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}
    plain["lm_head.weight"] = "output.weight"
    if name in plain:
        return plain[name]
    _, _, layer, rest = name.split(".", 3)
    module, kind = rest.rsplit(".", 1)
    return f"blk.{layer}.{LINEARS[module]}.{kind}"


def interleaved(tensor: numpy.ndarray, heads: int) -> numpy.ndarray:
    """Rows of each head from halves (Hugging Face) to pairs (what `llama` in GGUF rotates)."""
    rows = tensor.shape[0]
    halves = tensor.reshape(heads, 2, rows // heads // 2, *tensor.shape[1:])
    return numpy.ascontiguousarray(halves.swapaxes(1, 2)).reshape(tensor.shape)


def llama3_factors(config: dict, head_size: int) -> numpy.ndarray | None:
    """Divisors of the rotary frequencies, one per pair of a head; none without scaling."""
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if rope.get("rope_type", "default") == "default":
        return None
    assert rope["rope_type"] == "llama3", rope
    theta = rope.get("rope_theta") or config["rope_theta"]
    old = rope["original_max_position_embeddings"]
    low, high = old / rope["low_freq_factor"], old / rope["high_freq_factor"]
    factors = []
    for i in range(0, head_size, 2):
        length = 2 * numpy.pi * theta ** (i / head_size)
        if length < high:
            factors.append(1.0)
        elif length > low:
            factors.append(rope["factor"])
        else:
            smooth = (old / length - rope["low_freq_factor"]) / (rope["high_freq_factor"] - rope["low_freq_factor"])
            factors.append(1 / ((1 - smooth) / rope["factor"] + smooth))
    return numpy.array(factors, numpy.float32)


def add_shape(writer: gguf.GGUFWriter, config: dict, head_size: int) -> None:
    """The keys of the architecture."""
    heads = config["num_attention_heads"]
    rope = config.get("rope_parameters") or {}
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.get("num_key_value_heads", heads))
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(float(rope.get("rope_theta") or config["rope_theta"]))
    writer.add_rope_dimension_count(head_size)
    writer.add_key_length(head_size)
    writer.add_value_length(head_size)
    writer.add_vocab_size(config["vocab_size"])


def add_tokenizer(writer: gguf.GGUFWriter, folder: Path, config: dict) -> None:
    """tokenizer.json and the chat template, as llama.cpp wants them."""
    path = folder / "tokenizer.json"
    if not path.exists():
        writer.add_tokenizer_model("no_vocab")
        return
    tokenizer = json.loads(path.read_text(encoding="utf-8"))
    vocabulary = dict(tokenizer["model"]["vocab"])
    special = {}
    for token in tokenizer["added_tokens"]:
        vocabulary[token["content"]] = token["id"]
        special[token["id"]] = CONTROL if token["special"] else USER_DEFINED
    texts = {i: text for text, i in vocabulary.items()}
    size = config["vocab_size"]
    tokens = [texts.get(i, f"[PAD{i}]") for i in range(size)]
    by_bytes = tokenizer["model"].get("byte_fallback", False)
    kinds = []
    for i, text in enumerate(tokens):
        kind = special.get(i, NORMAL if i in texts else 5)
        if by_bytes and len(text) == 6 and text.startswith("<0x"):
            kind = BYTE
        kinds.append(UNKNOWN if by_bytes and text == tokenizer["model"].get("unk_token") else kind)
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in tokenizer["model"]["merges"]]
    if by_bytes:
        writer.add_tokenizer_model("llama")
        writer.add_token_list(tokens)
        rank = {merge.replace(" ", ""): -float(i) for i, merge in reversed(list(enumerate(merges)))}
        writer.add_token_scores([rank.get(text, -1e6) if kind == NORMAL else 0.0 for text, kind in zip(tokens, kinds)])
    else:
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("qwen2" if config["model_type"].startswith("qwen") else "llama-bpe")
        writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    if not by_bytes:
        writer.add_token_merges(merges)
    settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    for name, add in [
        ("bos_token", writer.add_bos_token_id),
        ("eos_token", writer.add_eos_token_id),
        ("unk_token", writer.add_unk_token_id),
        ("pad_token", writer.add_pad_token_id),
    ]:
        text = settings.get(name)
        text = text.get("content") if isinstance(text, dict) else text
        if text is not None:
            add(vocabulary[text])
    writer.add_add_bos_token(settings.get("bos_token") is not None and not config["model_type"].startswith("qwen"))
    template = folder / "chat_template.jinja"
    if template.exists():
        writer.add_chat_template(template.read_text(encoding="utf-8"))
    elif settings.get("chat_template"):
        writer.add_chat_template(settings["chat_template"])


def read_tensors(folder: Path) -> dict[str, numpy.ndarray]:
    """All tensors in f32."""
    tensors = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            for name in file.keys():
                tensors[name] = file.get_tensor(name).to(torch.float32).numpy()
    if "model.embed_tokens.weight" not in tensors:
        tensors["model.embed_tokens.weight"] = tensors.pop("lm_head.weight")
    return tensors


def write(folder: Path, out: Path, kind: str) -> int:
    """A file with every matrix in one type; how many tensors it has."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    heads = config["num_attention_heads"]
    head_size = config.get("head_dim") or config["hidden_size"] // heads
    windows = config.get("use_sliding_window", True) and config.get("sliding_window")
    assert not windows, f"{folder}: sliding_window {windows}: llama.cpp has none for {config['model_type']}"
    writer = gguf.GGUFWriter(out, ARCHITECTURES[config["model_type"]])
    writer.add_name(f"tiny {config['model_type']}")
    writer.add_file_type(gguf.LlamaFileType[{"f32": "ALL_F32"}.get(kind, f"MOSTLY_{kind.upper()}")])
    add_shape(writer, config, head_size)
    add_tokenizer(writer, folder, config)
    wanted = gguf.GGMLQuantizationType[kind.upper()]
    tensors = read_tensors(folder)
    for name, tensor in tensors.items():
        if ARCHITECTURES[config["model_type"]] == "llama" and ("q_proj." in name or "k_proj." in name):
            count = heads if "q_proj." in name else config.get("num_key_value_heads", heads)
            tensor = interleaved(tensor, count)
        stored = gguf.GGMLQuantizationType.F32 if tensor.ndim == 1 else wanted
        if tensor.shape[-1] % gguf.GGML_QUANT_SIZES[stored][0] != 0:
            stored = gguf.GGMLQuantizationType.F16
        if stored == gguf.GGMLQuantizationType.F32:
            writer.add_tensor(gguf_name(name), tensor)
        elif stored == gguf.GGMLQuantizationType.F16:
            writer.add_tensor(gguf_name(name), tensor.astype(numpy.float16))
        else:
            writer.add_tensor(gguf_name(name), gguf.quantize(tensor, stored), raw_dtype=stored)
    factors = llama3_factors(config, head_size)
    if factors is not None:
        writer.add_tensor("rope_freqs.weight", factors)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return len(tensors) + (factors is not None)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("type", type=str.lower)
    args = parser.parse_args()

    if args.type in ("f32", "f16", "bf16", "q8_0", "q4_0"):
        count = write(args.model, args.out, args.type)
    else:
        with tempfile.TemporaryDirectory(dir=args.out.parent) as scratch:
            plain = Path(scratch) / "f32.gguf"
            count = write(args.model, plain, "f32")
            quantize(plain, args.out, args.type, threads=1)
    json.dump({"tensors": count}, sys.stdout)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
