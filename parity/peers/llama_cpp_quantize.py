"""llama.cpp's own quantiser: a GGUF file of f32, f16 or bf16 becomes one of another type.

    python parity/peers/llama_cpp_quantize.py IN.gguf OUT.gguf TYPE [--threads N] [--pure]

TYPE is a mixture (q4_k_m, q5_k_m, q6_k, q8_0, f16 ...); --pure gives every matrix the mixture's main type. Prints
{"seconds": of the call, "bytes_in": n, "bytes_out": n}. Exit status 1 with llama.cpp's reason on stderr.
"""

import argparse
import ctypes
import json
import sys
import time
from pathlib import Path

from llama_cpp_library import FILE_TYPES, LlamaCppError, lib, logged


def quantize(source: Path, out: Path, kind: str, threads: int, pure: bool = False) -> float:
    """Writes `out`; how long llama.cpp took, in seconds."""
    params = lib.llama_model_quantize_default_params()
    params.ftype = FILE_TYPES[kind]
    params.nthread = threads
    params.pure = pure
    begin = time.perf_counter()
    status = lib.llama_model_quantize(str(source).encode(), str(out).encode(), ctypes.byref(params))
    if status != 0:
        raise LlamaCppError(f"{source}: quantising to {kind} answers {status}: " + " | ".join(logged()))
    return time.perf_counter() - begin


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("type", type=str.lower, choices=sorted(FILE_TYPES))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--pure", action="store_true")
    args = parser.parse_args()

    try:
        seconds = quantize(args.source, args.out, args.type, args.threads, args.pure)
    except LlamaCppError as error:
        print(error, file=sys.stderr)
        return 1
    sizes = {"bytes_in": args.source.stat().st_size, "bytes_out": args.out.stat().st_size}
    json.dump({"seconds": seconds, **sizes}, sys.stdout)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
