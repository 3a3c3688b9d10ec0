"""llama.cpp's own blocks: encodes raw `f32` values, or decodes blocks, by the functions of its library `ggml-base`.

    python parity/peers/quantise.py encode TYPE COLS IN.f32 OUT.blocks
    python parity/peers/quantise.py decode TYPE COLS IN.blocks OUT.f32
    python parity/peers/quantise.py probe

TYPE is Q8_0, Q4_0, Q4_K, Q5_K or Q6_K; COLS are the values of a row. Everything is in the byte order of the machine, on one
thread and without an importance matrix. Prints {"seconds": of the call}. `probe` only loads the library.
"""

import argparse
import ctypes
import json
import os
import sys
import time
from ctypes import POINTER, c_char_p, c_float, c_int, c_int64, c_size_t, c_void_p
from pathlib import Path

import numpy

# The number in ggml's `enum ggml_type`, the values and bytes of a block, and the decoder's name.
TYPES = {
    "Q8_0": (8, 32, 34, "dequantize_row_q8_0"),
    "Q4_0": (2, 32, 18, "dequantize_row_q4_0"),
    "Q4_K": (12, 256, 144, "dequantize_row_q4_K"),
    "Q5_K": (13, 256, 176, "dequantize_row_q5_K"),
    "Q6_K": (14, 256, 210, "dequantize_row_q6_K"),
}


def library() -> ctypes.CDLL:
    """`ggml-base` out of `$ATTUNE_LLAMA_CPP`, else out of the npm package beside this Python's packages."""
    installed = Path(sys.prefix) / "llama.cpp/node_modules/@node-llama-cpp/linux-x64/bins/linux-x64"
    lib = ctypes.CDLL(str(Path(os.environ.get("ATTUNE_LLAMA_CPP", installed)) / "libggml-base.so"))
    lib.ggml_quantize_chunk.restype = c_size_t
    lib.ggml_quantize_chunk.argtypes = [c_int, c_void_p, c_void_p, c_int64, c_int64, c_int64, c_void_p]
    lib.ggml_type_name.restype = c_char_p
    lib.ggml_type_name.argtypes = [c_int]
    for name, (number, _, _, decoder) in TYPES.items():
        # Another version might number its types anew.
        found = lib.ggml_type_name(number).decode()
        if found.lower() != name.lower():
            raise ValueError(f"ggml calls type {number} {found} instead of {name}")
        getattr(lib, decoder).restype = None
        getattr(lib, decoder).argtypes = [c_void_p, POINTER(c_float), c_int64]
    return lib


def encode(lib: ctypes.CDLL, kind: str, cols: int, source: Path, out: Path) -> float:
    number, block_len, block_bytes, _ = TYPES[kind]
    values = numpy.fromfile(source, dtype=numpy.float32)
    assert values.size % cols == 0 and cols % block_len == 0, (values.size, cols)
    blocks = numpy.empty(values.size // block_len * block_bytes, dtype=numpy.uint8)
    begin = time.perf_counter()
    size = lib.ggml_quantize_chunk(
        number, values.ctypes.data, blocks.ctypes.data, 0, values.size // cols, cols, None
    )
    seconds = time.perf_counter() - begin
    assert size == blocks.size, (size, blocks.size)
    blocks.tofile(out)
    return seconds


def decode(lib: ctypes.CDLL, kind: str, cols: int, source: Path, out: Path) -> float:
    _, block_len, block_bytes, decoder = TYPES[kind]
    blocks = numpy.fromfile(source, dtype=numpy.uint8)
    assert blocks.size % (cols // block_len * block_bytes) == 0, (blocks.size, cols)
    values = numpy.empty(blocks.size // block_bytes * block_len, dtype=numpy.float32)
    begin = time.perf_counter()
    getattr(lib, decoder)(blocks.ctypes.data, values.ctypes.data_as(POINTER(c_float)), values.size)
    seconds = time.perf_counter() - begin
    values.tofile(out)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("probe")
    for name in ("encode", "decode"):
        command = commands.add_parser(name)
        command.add_argument("type", choices=TYPES)
        command.add_argument("cols", type=int)
        command.add_argument("source", type=Path)
        command.add_argument("out", type=Path)
    args = parser.parse_args()
    lib = library()
    seconds = 0.0
    if args.command != "probe":
        run = encode if args.command == "encode" else decode
        seconds = run(lib, args.type, args.cols, args.source, args.out)
    json.dump({"seconds": seconds}, sys.stdout)
    print()


if __name__ == "__main__":
    main()
