"""Quantises model folders as mlx-lm's user would.

    python parity/peers/mlx_convert.py MODEL_FOLDER OUT_FOLDER BITS GROUP_SIZE DTYPE

MODEL_FOLDER needs a tokenizer (make_tiny_model.py makes such folders). Runs `python -m mlx_lm convert -q`; prints {}.
"""

import subprocess
import sys


def main() -> int:
    model, out, bits, group_size, dtype = sys.argv[1:]
    numbers = ["--q-bits", bits, "--q-group-size", group_size, "--dtype", dtype]
    command = [sys.executable, "-m", "mlx_lm", "convert", "--hf-path", model, "--mlx-path", out, "-q", *numbers]
    done = subprocess.run(command, capture_output=True, text=True)
    print(done.stdout, done.stderr, file=sys.stderr)
    done.check_returncode()
    print("{}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
