"""Opens a GGUF file with llama.cpp and prints what it computes.

    python parity/peers/llama_cpp_run.py MODEL.gguf [--prompts PROMPTS.json] [--texts TEXTS.json] [--adapter LORA.gguf]
                                         [--new-tokens N] [--metadata]

PROMPTS.json is a list of lists of token ids, TEXTS.json a list of strings. The answer is one JSON object on stdout:

    {"versions": {...}, "warnings": [...], "vocab_size": n, "special": {...} or null, "chat_template": "..." or null,
     "prompts": [{"logits": [...], "greedy_ids": [...], "margins": [...]}, ...],
     "texts": [{"ids": [...], "ids_plain": [...], "text": "..."}, ...], "metadata": {...}}

`logits` are those of the prompt's last position (with the adapter where one is given), `greedy_ids` the next N tokens,
`margins` how far the best logit was above the second for each. `ids` are those of a text with the tokens that llama.cpp
adds and special tokens recognised, `ids_plain` neither, `text` is `ids` written out again. Exit status 1, with the
reason on stderr, when llama.cpp refuses a file.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy

from llama_cpp_library import VERSIONS, Context, LlamaCppError, Model, logged


def greedy(context: Context, prompt: list[int], new_tokens: int) -> dict:
    """Logits of the prompt's last position, and the greedy continuation over the key/value cache."""
    context.reset()
    row = first = context.logits(prompt)
    ids, margins = [], []
    for i in range(new_tokens):
        best, second = numpy.argsort(-row, kind="stable")[:2]
        ids.append(int(best))
        margins.append(float(row[best] - row[second]))
        if i + 1 < new_tokens:
            row = context.logits([int(best)])
    return {"logits": first.tolist(), "greedy_ids": ids, "margins": margins}


def tokens(model: Model, text: str) -> dict:
    """What the tokenizer makes of a text, and back."""
    ids = model.tokenize(text, True, True)
    plain = model.tokenize(text, False, False)
    return {"ids": ids, "ids_plain": plain, "text": model.detokenize(ids).decode("utf-8", "replace")}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--prompts", type=Path)
    parser.add_argument("--texts", type=Path)
    parser.add_argument("--adapter", type=Path)
    parser.add_argument("--new-tokens", type=int, default=0)
    parser.add_argument("--metadata", action="store_true")
    args = parser.parse_args()

    def read(path: Path | None) -> list:
        return json.loads(path.read_text(encoding="utf-8")) if path else []

    prompts = read(args.prompts)
    try:
        model = Model(args.model, vocab_only=not prompts)
        answer = {"versions": VERSIONS, "vocab_size": model.vocab_size, "special": model.special_tokens()}
        answer["chat_template"] = model.chat_template()
        answer["texts"] = [tokens(model, text) for text in read(args.texts)]
        if prompts:
            room = max(len(prompt) for prompt in prompts) + args.new_tokens
            context = Context(model, room, args.adapter)
            answer["prompts"] = [greedy(context, prompt, args.new_tokens) for prompt in prompts]
            context.close()
        answer["metadata"] = model.metadata() if args.metadata else {}
    except LlamaCppError as error:
        print(error, file=sys.stderr)
        return 1
    answer["warnings"] = logged()
    json.dump(answer, sys.stdout)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
