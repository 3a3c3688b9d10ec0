"""bitsandbytes' own NF4 with double quantisation (blocks of 64, scales in groups of 256) of raw `f32` values.

    python parity/peers/quantise_nf4.py IN.f32 OUT
    python parity/peers/quantise_nf4.py --probe

Writes OUT.indices (two a byte), OUT.codes (one byte a block), OUT.second (`f32`, one for each 256 blocks), OUT.offset (`f32`),
OUT.table (256 `f32`: what the codes mean), OUT.values (`f32`: decoded). Everything is on the CPU.
"""

import sys
from pathlib import Path

import bitsandbytes.functional as functional
import numpy
import torch


def main() -> None:
    if sys.argv[1] == "--probe":
        # Its native library may be missing on this platform: then this fails.
        functional.quantize_4bit(torch.ones(64), blocksize=64, compress_statistics=True, quant_type="nf4")
        return
    source, out = sys.argv[1:]
    values = torch.from_numpy(numpy.fromfile(source, dtype=numpy.float32))
    indices, state = functional.quantize_4bit(values, blocksize=64, compress_statistics=True, quant_type="nf4")
    parts = {
        "indices": indices,
        "codes": state.absmax,
        "second": state.state2.absmax,
        "offset": state.offset.reshape(1),
        "table": state.state2.code,
        "values": functional.dequantize_4bit(indices, state),
    }
    for name, part in parts.items():
        part.contiguous().numpy().tofile(Path(f"{out}.{name}"))


if __name__ == "__main__":
    main()
