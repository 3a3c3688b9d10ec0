"""ggml's own encoder: numbers become blocks.

    python parity/peers/ggml_blocks.py VALUES.f32 ROW_LENGTH TYPE OUT.blocks

VALUES.f32 are little-endian f32, row after row. TYPE is q8_0, q4_0, q4_k, q5_k, q6_k ... OUT.blocks gets the blocks as they
lie in a GGUF file. Prints {"bytes": n, "squared_error": sum over all values, as the package `gguf` decodes the blocks}.
"""

import argparse
import ctypes
import json
import sys
from pathlib import Path

import gguf
import numpy

from llama_cpp_library import GGML_TYPES, ggml_base


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("values", type=Path)
    parser.add_argument("row_length", type=int)
    parser.add_argument("type", type=str.lower, choices=sorted(GGML_TYPES))
    parser.add_argument("out", type=Path)
    args = parser.parse_args()

    number, block, block_bytes = GGML_TYPES[args.type]
    values = numpy.fromfile(args.values, "<f4")
    rows = values.size // args.row_length
    assert rows * args.row_length == values.size and args.row_length % block == 0, "whole rows of whole blocks"
    blocks = numpy.zeros(values.size // block * block_bytes, numpy.uint8)
    encode = ggml_base.ggml_quantize_chunk
    encode.restype = ctypes.c_size_t
    encode.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p] + [ctypes.c_int64] * 3 + [ctypes.c_void_p]
    count = encode(number, values.ctypes.data, blocks.ctypes.data, 0, rows, args.row_length, None)
    assert count == blocks.size, (count, blocks.size)
    blocks.tofile(args.out)
    kind = gguf.GGMLQuantizationType(number)
    decoded = gguf.dequantize(blocks.reshape(rows, -1), kind).reshape(-1).astype(numpy.float64)
    error = float(numpy.square(decoded - values.astype(numpy.float64)).sum())
    json.dump({"bytes": int(count), "squared_error": error}, sys.stdout)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
