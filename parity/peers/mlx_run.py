"""Opens a model folder, with or without an adapter, with mlx-lm and prints what it computes.

    python parity/peers/mlx_run.py MODEL_FOLDER PROMPTS.json [--adapter ADAPTER_FOLDER] [--new-tokens N]

PROMPTS.json is a list of lists of token ids. The answer is one JSON object on stdout:

    {"versions": {...}, "modules": ["layers.0.self_attn.q_proj", ...],
     "prompts": [{"base_logits": [...], "logits": [...], "greedy_ids": [...], "margins": [...]}, ...]}

`modules` carry LoRA or DoRA; `base_logits` are those of the prompt's last position without the adapter, the rest is with
it. Weights are widened to f32. Exit status 1, with mlx-lm's reason on stderr, when a folder does not load.
"""

import argparse
import json
import sys
from importlib.metadata import version
from pathlib import Path

import mlx.core as mx
import numpy
from mlx_lm.tuner.utils import load_adapters
from mlx_lm.utils import load_model


def last_logits(model, ids: list[int]) -> numpy.ndarray:
    """Logits at the last position of `ids`, without a cache."""
    return numpy.array(model(mx.array([ids]))[0, -1].astype(mx.float32))


def answer(model, prompt: list[int], new_tokens: int) -> dict:
    """Logits and greedy continuation of one prompt."""
    row = first = last_logits(model, prompt)
    ids, margins = list(prompt), []
    for _ in range(new_tokens):
        best, second = numpy.argsort(-row, kind="stable")[:2]
        margins.append(float(row[best] - row[second]))
        ids.append(int(best))
        row = last_logits(model, ids)
    return {"logits": first.tolist(), "greedy_ids": ids[len(prompt) :], "margins": margins}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("prompts", type=Path)
    parser.add_argument("--adapter", type=Path)
    parser.add_argument("--new-tokens", type=int, default=0)
    args = parser.parse_args()

    mx.set_default_device(mx.cpu)
    prompts = json.loads(args.prompts.read_text(encoding="utf-8"))
    try:
        model, _ = load_model(args.model)
        model.set_dtype(mx.float32)
        base = [last_logits(model, prompt).tolist() for prompt in prompts]
        if args.adapter:
            load_adapters(model, str(args.adapter))
            # The adapters keep the type of their file; the base is f32 already.
            model.eval()
    except (ValueError, KeyError, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    names = [name for name, module in model.named_modules() if "lora_a" in module]
    answers = [answer(model, prompt, args.new_tokens) for prompt in prompts]
    for entry, logits in zip(answers, base, strict=True):
        entry["base_logits"] = logits
    versions = {name: version(name) for name in ("mlx", "mlx-lm")}
    modules = sorted(name.removeprefix("model.") for name in names)
    json.dump({"versions": versions, "modules": modules, "prompts": answers}, sys.stdout)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
