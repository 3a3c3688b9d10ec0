"""Runs the programs of this folder one after the other in one process, so that torch and its like start once.

    python parity/peers/serve.py

Reads a line of JSON per program from stdin, {"script": "open_model.py", "args": ["...", ...]}, and answers each with one
line of JSON: {"stdout": "...", "stderr": "...", "status": 0}. A program is what it would be alone: its own `__main__`, its
own arguments. Only modules stay loaded.
"""

import contextlib
import io
import json
import os
import runpy
import sys
import traceback
from pathlib import Path

FOLDER = Path(__file__).parent


def run(script: str, args: list[str]) -> dict:
    """Output and exit status of one program."""
    out, errors = io.StringIO(), io.StringIO()
    path = str(FOLDER / script)
    sys.argv = [path, *args]
    status = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        try:
            runpy.run_path(path, run_name="__main__")
        except SystemExit as end:
            code = end.code
            status = code if isinstance(code, int) else int(code is not None)
            if isinstance(code, str):
                print(code, file=sys.stderr)
        except BaseException:
            traceback.print_exc()
            status = 1
    return {"stdout": out.getvalue(), "stderr": errors.getvalue(), "status": status}


def main() -> int:
    # Answers go where stdout was; whatever else writes to the descriptor 1 goes to stderr.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.path.insert(0, str(FOLDER))
    for line in sys.stdin:
        request = json.loads(line)
        answers.write(json.dumps(run(request["script"], request["args"])) + "\n")
        answers.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
