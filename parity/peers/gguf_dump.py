"""Prints everything that the package `gguf` reads in a GGUF file, as JSON.

    python parity/peers/gguf_dump.py FILE.gguf [--values]

    {"version": 3, "alignment": 32, "metadata": {"key": {"type": "STRING", "value": ...}},
     "tensors": [{"name": ..., "shape": [...], "type": "Q4_K", "offset": bytes from the file's begin, "bytes": n,
                  "sha256": of the data, "values": [...] with --values}]}

`shape` is in the file's order: the length of a row comes first. An array's type is `ARRAY` with the type of its items.
"""

import argparse
import hashlib
import json
import sys
from pathlib import Path

import gguf


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--values", action="store_true", help="every element, dequantised")
    args = parser.parse_args()

    reader = gguf.GGUFReader(args.file)
    metadata = {}
    for key, field in reader.fields.items():
        types = [kind.name for kind in field.types]
        metadata[key] = {"type": " of ".join(types), "value": field.contents()}
    tensors = []
    for tensor in reader.tensors:
        entry = {
            "name": tensor.name,
            "shape": [int(size) for size in tensor.shape],
            "type": tensor.tensor_type.name,
            "offset": int(tensor.data_offset),
            "bytes": int(tensor.n_bytes),
            "sha256": hashlib.sha256(tensor.data.tobytes()).hexdigest(),
        }
        if args.values:
            entry["values"] = gguf.dequantize(tensor.data, tensor.tensor_type).reshape(-1).tolist()
        tensors.append(entry)
    version = int(metadata["GGUF.version"]["value"])
    answer = {"version": version, "alignment": reader.alignment, "metadata": metadata, "tensors": tensors}
    json.dump(answer, sys.stdout)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
