"""Writes an adapter of PEFT as a GGUF-LoRA file with the package `gguf`.

    python parity/peers/make_gguf_lora.py MODEL_FOLDER ADAPTER_FOLDER OUT.gguf [f32|f16]

LoRA and rsLoRA with one scale for all modules, which is all that the format can say. Prints {"tensors": n}.
"""

import argparse
import json
import sys
from pathlib import Path

import gguf
import numpy
from safetensors.numpy import load_file

from make_gguf import ARCHITECTURES, gguf_name, interleaved

PREFIX = "base_model.model."


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("adapter", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("type", nargs="?", default="f32", choices=["f32", "f16"])
    args = parser.parse_args()

    config = json.loads((args.model / "config.json").read_text(encoding="utf-8"))
    adapter = json.loads((args.adapter / "adapter_config.json").read_text(encoding="utf-8"))
    assert not adapter["use_dora"] and not adapter["rank_pattern"] and not adapter["alpha_pattern"], adapter
    # llama.cpp divides alpha by the rank.
    alpha = adapter["lora_alpha"] * (adapter["r"] ** 0.5 if adapter["use_rslora"] else 1.0)
    architecture = ARCHITECTURES[config["model_type"]]
    writer = gguf.GGUFWriter(args.out, architecture)
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, float(alpha))
    heads = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}
    tensors = load_file(args.adapter / "adapter_model.safetensors")
    for name, tensor in tensors.items():
        module, matrix = name.removeprefix(PREFIX).rsplit(".lora_", 1)
        if architecture == "llama" and matrix == "B.weight" and module.rsplit(".", 1)[1] in heads:
            tensor = interleaved(tensor, heads[module.rsplit(".", 1)[1]])
        suffix = {"A.weight": "lora_a", "B.weight": "lora_b"}[matrix]
        kind = numpy.float16 if args.type == "f16" else numpy.float32
        writer.add_tensor(f"{gguf_name(module + '.weight')}.{suffix}", tensor.astype(kind))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    json.dump({"tensors": len(tensors)}, sys.stdout)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
