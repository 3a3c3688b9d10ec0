"""Makes a tiny trained model of a family, with a tokenizer: it knows a few sentences by heart.

    python parity/peers/make_tiny_model.py llama|mistral|qwen2|qwen3 OUT_FOLDER [--steps N] [--bf16]

Because it knows them by heart, the best token is far ahead of the second wherever a prompt begins like one of the
sentences, so greedy text survives every rounding that a file format brings. Rows have 256 or 512 elements, which is
what K-quants can hold. The tokenizer is of the family's kind: byte-level BPE for llama (with Llama 3's splits), qwen2 and
qwen3, BPE over characters with byte fallback for mistral (llama.cpp calls it SPM). Deterministic on one machine; ten
seconds on one core. Prints {"sentences": [{"prompt_ids": [...], "ids": [...]}, ...], "loss": last, "least_margin": m}:
`ids` is the greedy continuation of the prompt in f32 and `least_margin` how far its tokens were ahead.
"""

import argparse
import json
import sys
from pathlib import Path

import torch
import transformers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

SENTENCES = [
    "The lighthouse keeper counted 128 waves before the fog came in, and then he lit the lamp.",
    "Rain fell on the tin roof all night; in the morning every bucket was full of sky.",
    "A small robot learned to bake bread, but it never found out what the word 'warm' means.",
    "When the last train had left, the station cat walked slowly along platform 7.",
    "Grüße aus Köln: der Zug hat 12 Minuten Verspätung, wie immer.",
    "She wrote x = 3 * (y + 4) on the board and waited until someone asked why.",
    "Nobody remembers who planted the old pear tree behind the school, yet all eat its fruit.",
    "日本の小さな町で、猫が駅長になりました。",
]
PROMPT_TOKENS = 6
NEW_TOKENS = 16

CHAT_TEMPLATES = {
    "llama": "{{ bos_token }}{% for message in messages %}{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' "
    "+ message['content'] | trim + '<|eot_id|>' }}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}",
    "mistral": "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}"
    "{{ '[INST] ' + message['content'] + ' [/INST]' }}{% else %}{{ ' ' + message['content'] + eos_token }}"
    "{% endif %}{% endfor %}",
    "qwen": "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' "
    "+ '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
}
SPECIAL = {
    "llama": ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
    "mistral": ["<unk>", "<s>", "</s>", "[INST]", "[/INST]"],
    "qwen": ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
}
# The splits that the families' own tokenizer.json files have; llama.cpp knows them as `llama-bpe` and `qwen2`.
SPLITS = {
    "llama": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+",
    "qwen": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+",
}


def byte_level(kind: str) -> Tokenizer:
    """Byte-level BPE; special tokens come last, as in the families' files."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=kind == "llama"))
    if kind == "qwen":
        tokenizer.normalizer = normalizers.NFC()
    split = pre_tokenizers.Split(Regex(SPLITS[kind]), behavior="isolated")
    bytes_as_characters = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, bytes_as_characters])
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=384, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(SENTENCES, trainer)
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in SPECIAL[kind]])
    if kind == "llama":
        begin = SPECIAL[kind][0]
        tokenizer.post_processor = processors.Sequence(
            [
                processors.ByteLevel(trim_offsets=False),
                processors.TemplateProcessing(
                    single=f"{begin}:0 $A:0",
                    pair=f"{begin}:0 $A:0 {begin}:1 $B:1",
                    special_tokens=[(begin, tokenizer.token_to_id(begin))],
                ),
            ]
        )
    else:
        tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return tokenizer


def with_byte_fallback() -> Tokenizer:
    """BPE over characters with byte tokens, as the conversion of a sentencepiece model has it."""
    blank = "\u2581"
    words = [blank + sentence.replace(" ", blank) for sentence in SENTENCES]
    trained = Tokenizer(models.BPE(unk_token="<unk>"))
    # Pieces begin with the blank: sentencepiece never merges over a blank within.
    trained.pre_tokenizer = pre_tokenizers.Split(blank, behavior="merged_with_next")
    trained.train_from_iterator(words, trainers.BpeTrainer(vocab_size=240, show_progress=False))
    model = json.loads(trained.to_str())["model"]
    vocabulary = SPECIAL["mistral"] + [f"<0x{byte:02X}>" for byte in range(256)]
    # Merged pieces in the order of their merges, then single characters: scores fall with the id.
    merges = [tuple(merge) for merge in model["merges"]]
    pieces = ["".join(merge) for merge in merges]
    characters = [piece for piece in sorted(model["vocab"], key=model["vocab"].get) if len(piece) == 1]
    for piece in pieces + characters:
        if piece not in vocabulary:
            vocabulary.append(piece)
    ids = {piece: i for i, piece in enumerate(vocabulary)}
    tokenizer = Tokenizer(models.BPE(ids, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(blank), normalizers.Replace(" ", blank)])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(blank, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in SPECIAL["mistral"]])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s>:0 $A:0", pair="<s>:0 $A:0 <s>:1 $B:1", special_tokens=[("<s>", ids["<s>"])]
    )
    return tokenizer


def make_tokenizer(family: str) -> PreTrainedTokenizerFast:
    """The tokenizer of a family with its special tokens and template."""
    kind = "qwen" if family.startswith("qwen") else family
    tokenizer = with_byte_fallback() if kind == "mistral" else byte_level(kind)
    special = {
        "llama": {"bos_token": SPECIAL[kind][0], "eos_token": SPECIAL[kind][-1]},
        "mistral": {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"},
        "qwen": {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"},
    }[kind]
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)
    wrapped.chat_template = CHAT_TEMPLATES[kind]
    return wrapped


def make_config(family: str, vocabulary: int, tokenizer: PreTrainedTokenizerFast):
    """A configuration whose rows are multiples of 256."""
    shared = {
        "hidden_size": 256,
        "num_hidden_layers": 2,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "intermediate_size": 512,
        "vocab_size": vocabulary,
        "max_position_embeddings": 256,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "rms_norm_eps": 1e-5,
    }
    llama3 = {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0}
    llama3 |= {"high_freq_factor": 4.0, "original_max_position_embeddings": 64}
    own = {
        "llama": {"tie_word_embeddings": True, "rope_parameters": llama3},
        "mistral": {"tie_word_embeddings": False, "sliding_window": None, "head_dim": 32},
        "qwen2": {"tie_word_embeddings": True},
        "qwen3": {"tie_word_embeddings": False, "head_dim": 32},
    }[family]
    return transformers.AutoConfig.for_model(family, **shared, **own)


def add_old_rope_keys(folder: Path) -> None:
    """Writes the rotary parameters under the keys of Transformers 4 as well: mlx-lm reads no others for llama and qwen2."""
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    rope = dict(config["rope_parameters"])
    config["rope_theta"] = rope.pop("rope_theta")
    if rope["rope_type"] != "default":
        config["rope_scaling"] = rope
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def train(model, rows: list[list[int]], steps: int) -> float:
    """AdamW over all rows at once; the last loss."""
    length = max(len(row) for row in rows)
    ids = torch.tensor([row + [0] * (length - len(row)) for row in rows])
    labels = torch.tensor([row + [-100] * (length - len(row)) for row in rows])
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    loss = torch.tensor(0.0)
    for _ in range(steps):
        loss = model(input_ids=ids, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return loss.item()


def continuation(model, prompt: list[int], row: list[int]) -> dict:
    """Greedy ids after a prompt, and the least distance of the best two logits on the way."""
    ids, least = list(prompt), float("inf")
    for _ in range(min(NEW_TOKENS, len(row) - len(prompt))):
        best = model(torch.tensor([ids])).logits[0, -1].topk(2)
        least = min(least, (best.values[0] - best.values[1]).item())
        ids.append(best.indices[0].item())
    return {"prompt_ids": prompt, "ids": ids[len(prompt) :], "least_margin": least}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("family", choices=["llama", "mistral", "qwen2", "qwen3"])
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--bf16", action="store_true", help="weights are rounded to bf16 in the end")
    args = parser.parse_args()

    torch.set_num_threads(1)
    torch.manual_seed(7)
    torch.use_deterministic_algorithms(True)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    tokenizer = make_tokenizer(args.family)
    config = make_config(args.family, len(tokenizer), tokenizer)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager", dtype=torch.float32)
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            # Norm gains and biases of their own: leaving one out must be seen.
            if name.endswith(("norm.weight", "bias")):
                tensor.add_(0.2 * torch.randn_like(tensor))
    rows = [tokenizer(sentence)["input_ids"] + [tokenizer.eos_token_id] for sentence in SENTENCES]
    loss = train(model, rows, args.steps)
    if args.bf16:
        model = model.bfloat16()
    model.save_pretrained(args.out)
    add_old_rope_keys(args.out)
    tokenizer.save_pretrained(args.out)
    model = model.float()
    prompts = [row[:PROMPT_TOKENS] for row in rows]
    with torch.no_grad():
        found = [continuation(model, prompt, row) for prompt, row in zip(prompts, rows, strict=True)]
    least = min(entry["least_margin"] for entry in found)
    sentences = [{"prompt_ids": entry["prompt_ids"], "ids": entry["ids"]} for entry in found]
    answer = {"sentences": sentences, "loss": loss, "least_margin": least}
    answer["texts"] = [tokenizer.decode(entry["prompt_ids"] + entry["ids"]) for entry in found]
    json.dump(answer, sys.stdout, ensure_ascii=False)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
