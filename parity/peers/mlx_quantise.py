"""What mlx's own quantiser makes of weights, and what mlx reads in ours.

    python parity/peers/mlx_quantise.py JOBS.json

JOBS.json is a list of {"values": FILE, "cols": N, "bits": B, "group_size": G, "dtype": "float32|float16|bfloat16",
"ours": FILE.safetensors, "ours_decoded": FILE, "theirs_decoded": FILE}. `values` has f32; `ours` the tensors `weight`,
`scales` and `biases`. The two last files are written, f32: what `mx.dequantize` makes of ours, and of what `mx.quantize`
makes of the values, which are first rounded to the type. Prints {"versions": ...}.
"""

import json
import sys
from importlib.metadata import version
from pathlib import Path

import mlx.core as mx
import numpy


def main() -> int:
    mx.set_default_device(mx.cpu)
    for job in json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")):
        numbers = {"group_size": job["group_size"], "bits": job["bits"], "mode": "affine"}
        values = numpy.fromfile(job["values"], numpy.float32).reshape(-1, job["cols"])
        ours = mx.load(job["ours"])
        theirs = mx.quantize(mx.array(values).astype(getattr(mx, job["dtype"])), **numbers)
        for name, parts in [("ours", [ours["weight"], ours["scales"], ours["biases"]]), ("theirs", theirs)]:
            decoded = mx.dequantize(*parts, **numbers)
            assert decoded.dtype == getattr(mx, job["dtype"]), f"{name}: {decoded.dtype}"
            numpy.array(decoded.astype(mx.float32)).tofile(job[f"{name}_decoded"])
    json.dump({"versions": {"mlx": version("mlx")}}, sys.stdout)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
