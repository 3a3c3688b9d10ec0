"""Opens a model folder with Transformers as a user would, and prints what it computes.

    python parity/peers/open_model.py MODEL_FOLDER PROMPTS.json [--new-tokens N] [--texts TEXTS.json]
    python parity/peers/open_model.py MODEL.gguf PROMPTS.json ...       Transformers' own GGUF reader

PROMPTS.json is a list of lists of token ids, TEXTS.json a list of strings. The answer is one JSON object on stdout:

    {"versions": {...}, "dtype": "bfloat16", "tied": true, "parameters": n,
     "prompts": [{"logits": [...], "greedy_ids": [...], "margins": [...]}, ...],
     "texts": [{"ids": [...], "chat": "..." or null}, ...]}

`dtype` is what the folder says; everything is computed in f32. `logits` are those of the prompt's last position,
`margins` how far the best logit was above the second for each new token, `chat` the text as one user message with the
folder's template. Exit status 1, with the reason on stderr, when a tensor is missing, left over or has another shape.
"""

import argparse
import json
import sys
from pathlib import Path

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer


class NotAsWritten(Exception):
    """What Transformers holds after loading is not what the files say."""


def load_strictly(path: Path):
    """`from_pretrained`, but anything that it would let pass with a warning is an error."""
    where = {"pretrained_model_name_or_path": path}
    if path.suffix == ".gguf":
        where = {"pretrained_model_name_or_path": path.parent, "gguf_file": path.name}
    config = AutoConfig.from_pretrained(**where)
    model, report = AutoModelForCausalLM.from_pretrained(
        **where, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
    )
    complaints = {kind: sorted(map(str, found)) for kind, found in report.items() if found}
    if complaints:
        raise NotAsWritten(str(complaints))
    return model.eval(), config, where


def answer(model, prompt: list[int], new_tokens: int) -> dict:
    """Logits and greedy continuation of one prompt; full passes, so that no cache is involved."""
    ids, margins, first = list(prompt), [], None
    for step in range(new_tokens + 1):
        row = model(torch.tensor([ids])).logits[0, -1]
        if step == 0:
            first = row
        if step < new_tokens:
            best = row.topk(2)
            margins.append((best.values[0] - best.values[1]).item())
            ids.append(best.indices[0].item())
    return {"logits": first.tolist(), "greedy_ids": ids[len(prompt) :], "margins": margins}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("prompts", type=Path)
    parser.add_argument("--new-tokens", type=int, default=0)
    parser.add_argument("--texts", type=Path)
    args = parser.parse_args()

    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    try:
        model, config, where = load_strictly(args.model)
    except NotAsWritten as error:
        print(f"{args.model}: {error}", file=sys.stderr)
        return 1
    prompts = json.loads(args.prompts.read_text(encoding="utf-8"))
    texts = []
    if args.texts:
        tokenizer = AutoTokenizer.from_pretrained(**where)
        for text in json.loads(args.texts.read_text(encoding="utf-8")):
            message = [{"role": "user", "content": text}]
            template = tokenizer.chat_template and tokenizer.apply_chat_template(
                message, tokenize=False, add_generation_prompt=True
            )
            texts.append({"ids": tokenizer(text)["input_ids"], "chat": template or None})
    with torch.no_grad():
        answers = [answer(model, prompt, args.new_tokens) for prompt in prompts]
    result = {
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "dtype": str(config.dtype).removeprefix("torch."),
        "tied": bool(config.tie_word_embeddings),
        "parameters": sum(tensor.numel() for tensor in model.parameters()),
        "prompts": answers,
        "texts": texts,
    }
    json.dump(result, sys.stdout)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
