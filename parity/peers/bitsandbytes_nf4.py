"""bitsandbytes' NF4: its table, and what it makes of numbers.

    python parity/peers/bitsandbytes_nf4.py VALUES.f32 [--block N]

VALUES.f32 are little-endian f32, a whole number of blocks (64 values unless --block says otherwise). Prints

    {"versions": {...}, "table": [16 numbers], "codes": [one of 0..15 for each value], "scales": [one for each block],
     "decoded": [...],
     "nested": {"codes": [one byte per block], "scales": [...], "offset": mean of the scales, "table": [256 numbers],
                "decoded": [...]}}

`nested` is with the scales quantised themselves, in blocks of 256 (`compress_statistics`, "double quantisation").
"""

import argparse
import json
import sys
from importlib.metadata import version
from pathlib import Path

import bitsandbytes.functional as functional
import numpy
import torch


def unpacked(packed: torch.Tensor) -> list[int]:
    """Two codes a byte, the first in the upper half."""
    flat = packed.reshape(-1).view(torch.uint8)
    return torch.stack([flat >> 4, flat & 15], 1).reshape(-1).tolist()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("values", type=Path)
    parser.add_argument("--block", type=int, default=64)
    args = parser.parse_args()

    torch.set_num_threads(1)
    values = torch.from_numpy(numpy.fromfile(args.values, "<f4"))
    packed, state = functional.quantize_4bit(values, blocksize=args.block, quant_type="nf4")
    nested, double = functional.quantize_4bit(values, blocksize=args.block, quant_type="nf4", compress_statistics=True)
    answer = {
        "versions": {"bitsandbytes": version("bitsandbytes"), "torch": torch.__version__},
        "table": state.code.tolist(),
        "codes": unpacked(packed),
        "scales": state.absmax.tolist(),
        "decoded": functional.dequantize_4bit(packed, state).reshape(-1).tolist(),
        "nested": {
            "codes": double.absmax.tolist(),
            "scales": double.state2.absmax.tolist(),
            "offset": double.offset.item(),
            "table": double.state2.code.tolist(),
            "decoded": functional.dequantize_4bit(nested, double).reshape(-1).tolist(),
        },
    }
    json.dump(answer, sys.stdout)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
