"""How llama.cpp encodes texts with a vocabulary.

    python llama_cpp_ids.py TASK.json MODEL.gguf

TASK.json has the vocabulary and the texts. A model of one tiny layer is written around the vocabulary (package `gguf`)
and opened by llama.cpp's server (package `xllamacpp`); the ids of each text are printed as JSON on the last line.
Checked with gguf 0.19.0 and xllamacpp of the same month.
"""

import json
import sys
import urllib.request

import gguf
import numpy
import xllamacpp


def write(path: str, vocabulary: dict) -> None:
    writer = gguf.GGUFWriter(path, "llama")
    width, wide, rows = 32, 64, len(vocabulary["tokens"])
    writer.add_context_length(512)
    writer.add_embedding_length(width)
    writer.add_block_count(1)
    writer.add_feed_forward_length(wide)
    writer.add_head_count(2)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(16)
    writer.add_vocab_size(rows)
    writer.add_tokenizer_model(vocabulary["model"])
    writer.add_tokenizer_pre(vocabulary["pre"])
    writer.add_token_list(vocabulary["tokens"])
    writer.add_token_types(vocabulary["token_types"])
    if vocabulary["scores"]:
        writer.add_token_scores(vocabulary["scores"])
    if vocabulary["merges"]:
        writer.add_token_merges(vocabulary["merges"])
    for key, add in [("bos", writer.add_bos_token_id), ("eos", writer.add_eos_token_id),
                     ("unk", writer.add_unk_token_id), ("eot", writer.add_eot_token_id)]:
        if vocabulary[key] is not None:
            add(vocabulary[key])
    writer.add_add_bos_token(vocabulary["add_bos"])
    if vocabulary["add_space_prefix"] is not None:
        writer.add_add_space_prefix(vocabulary["add_space_prefix"])
    random = numpy.random.default_rng(0)
    shapes = {"token_embd": (rows, width), "output_norm": (width,), "blk.0.attn_norm": (width,), "blk.0.ffn_norm": (width,),
              "blk.0.attn_q": (width, width), "blk.0.attn_k": (width, width), "blk.0.attn_v": (width, width),
              "blk.0.attn_output": (width, width), "blk.0.ffn_gate": (wide, width), "blk.0.ffn_up": (wide, width),
              "blk.0.ffn_down": (width, wide)}
    for name, shape in shapes.items():
        writer.add_tensor(f"{name}.weight", random.standard_normal(shape).astype(numpy.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main() -> None:
    with open(sys.argv[1], encoding="utf-8") as file:
        task = json.load(file)
    write(sys.argv[2], task["vocabulary"])
    settings = xllamacpp.CommonParams()
    settings.model.path, settings.n_ctx, settings.warmup, settings.cpuparams.n_threads = sys.argv[2], 64, False, 1
    server = xllamacpp.Server(settings)
    all_ids = []
    for text in task["texts"]:
        body = json.dumps({"content": text, "add_special": True, "parse_special": True}).encode()
        request = urllib.request.Request(
            server.listening_address + "/tokenize", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request) as response:
            all_ids.append(json.load(response)["tokens"])
    print(json.dumps(all_ids))


main()
