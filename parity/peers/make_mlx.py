"""Lets mlx-lm train a small adapter, fuse it, and write GGUF: files that mlx-lm itself made.

    python parity/peers/make_mlx.py MODEL_FOLDER OUT_FOLDER lora|dora [--layers N] [--keys self_attn.q_proj,...]
                                    [--rank R] [--scale S] [--fuse] [--gguf]

MODEL_FOLDER needs a tokenizer (make_tiny_model.py makes such folders). Writes OUT_FOLDER/adapter, with --fuse
OUT_FOLDER/fused, with --gguf (llama and mistral only) OUT_FOLDER/fused/model.gguf as well (llama.cpp refuses it: the kinds
of its tokens have the wrong type). Prints {"adapter": folder}. Everything is done by the
commands that a user would type, `python -m mlx_lm lora` and `python -m mlx_lm fuse`, a few steps on three sentences.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import yaml

ROWS = ["The tide comes in at noon.", "A kettle sings before it boils.", "Seven geese crossed the frozen lake."]


def mlx_lm(*args: str) -> None:
    """Runs one of mlx-lm's commands on the CPU; its report goes to stderr."""
    done = subprocess.run([sys.executable, "-m", "mlx_lm", *args], capture_output=True, text=True)
    print(done.stdout, done.stderr, file=sys.stderr)
    done.check_returncode()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("kind", choices=["lora", "dora"])
    parser.add_argument("--layers", type=int, default=-1)
    parser.add_argument("--keys", type=lambda text: text.split(","))
    parser.add_argument("--rank", type=int, default=4)
    parser.add_argument("--scale", type=float, default=6.0)
    parser.add_argument("--fuse", action="store_true")
    parser.add_argument("--gguf", action="store_true")
    args = parser.parse_args()

    args.out.mkdir(parents=True, exist_ok=True)
    for name in ("train", "valid"):
        rows = "".join(json.dumps({"text": row}) + "\n" for row in ROWS)
        (args.out / f"{name}.jsonl").write_text(rows, encoding="utf-8")
    parameters = {"rank": args.rank, "scale": args.scale, "dropout": 0.0}
    if args.keys:
        parameters["keys"] = args.keys
    settings = {
        "model": str(args.model),
        "train": True,
        "data": str(args.out),
        "fine_tune_type": args.kind,
        "num_layers": args.layers,
        "lora_parameters": parameters,
        "batch_size": 3,
        "iters": 8,
        "learning_rate": 5e-3,
        "steps_per_eval": 1000,
        "val_batches": 1,
        "save_every": 1000,
        "max_seq_length": 64,
        "adapter_path": str(args.out / "adapter"),
        "seed": 3,
    }
    config = args.out / "lora.yaml"
    config.write_text(yaml.safe_dump(settings), encoding="utf-8")
    mlx_lm("lora", "--config", str(config))
    if args.fuse or args.gguf:
        gguf = ["--export-gguf", "--gguf-path", "model.gguf"] if args.gguf else []
        paths = ["--adapter-path", str(args.out / "adapter"), "--save-path", str(args.out / "fused")]
        mlx_lm("fuse", "--model", str(args.model), *paths, *gguf)
    json.dump({"adapter": str(args.out / "adapter")}, sys.stdout)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
