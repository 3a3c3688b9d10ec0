"""Opens an adapter with PEFT as a user would, and prints what it computes.

    python parity/peers/open_adapter.py BASE_FOLDER ADAPTER_FOLDER PROMPTS.json [--new-tokens N]

PROMPTS.json is a list of lists of token ids. The answer is one JSON object on stdout:

    {"versions": {...},
     "modules": ["model.layers.0.self_attn.q_proj", ...],      linears that carry LoRA, sorted
     "prompts": [{"base_logits": [...], "logits": [...], "greedy_ids": [...]}, ...]}

`base_logits` and `logits` are those of the prompt's last position, without and with the adapter; `greedy_ids` are the N
new tokens with it. Everything is computed in f32. Exit status 1, with the reason on stderr, when PEFT warns, when a key
of the file is not used by the model, or a LoRA matrix of the model is not in the file.
"""

import argparse
import json
import sys
import warnings
from pathlib import Path

import peft
import torch
import transformers
from peft import PeftModel, get_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM


class NotAsWritten(Exception):
    """What PEFT holds after loading is not what the adapter file says."""


def load_strictly(base_folder: Path, adapter_folder: Path) -> PeftModel:
    """`PeftModel.from_pretrained`, but anything that PEFT would let pass with a warning is an error."""
    base = AutoModelForCausalLM.from_pretrained(base_folder, dtype=torch.float32, attn_implementation="eager")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = PeftModel.from_pretrained(base, adapter_folder)
    complaints = [str(w.message) for w in caught if not issubclass(w.category, (DeprecationWarning, FutureWarning))]
    if complaints:
        raise NotAsWritten("PEFT warns: " + "; ".join(complaints))

    written = load_file(adapter_folder / "adapter_model.safetensors")
    loaded = get_peft_model_state_dict(model, save_embedding_layers=False)
    if missing := sorted(loaded.keys() - written.keys()):
        raise NotAsWritten(f"not in the file, so PEFT made them up: {missing}")
    if unexpected := sorted(written.keys() - loaded.keys()):
        raise NotAsWritten(f"in the file, but the model has no place for them: {unexpected}")
    for key, tensor in written.items():
        if not torch.equal(loaded[key].cpu(), tensor.to(loaded[key].dtype)):
            raise NotAsWritten(f"{key}: other values in the model than in the file")
    return model.eval()


def lora_modules(model: PeftModel) -> list[str]:
    """Names, within the base model, of the linears that carry LoRA."""
    base = model.get_base_model()
    return sorted(name for name, module in base.named_modules() if isinstance(module, LoraLayer))


def last_logits(model, ids: list[int]) -> torch.Tensor:
    """Logits at the last position of `ids`."""
    return model(torch.tensor([ids])).logits[0, -1]


def answer(model: PeftModel, prompt: list[int], new_tokens: int) -> dict:
    """Logits and greedy continuation of one prompt; full passes, so that no cache is involved."""
    with model.disable_adapter():
        base_logits = last_logits(model, prompt)
    logits = last_logits(model, prompt)
    ids = list(prompt)
    for _ in range(new_tokens):
        ids.append(int(last_logits(model, ids).argmax()))
    return {"base_logits": base_logits.tolist(), "logits": logits.tolist(), "greedy_ids": ids[len(prompt) :]}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", type=Path)
    parser.add_argument("adapter", type=Path)
    parser.add_argument("prompts", type=Path)
    parser.add_argument("--new-tokens", type=int, default=0)
    args = parser.parse_args()

    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    try:
        model = load_strictly(args.base, args.adapter)
    except NotAsWritten as error:
        print(f"{args.adapter}: {error}", file=sys.stderr)
        return 1
    prompts = json.loads(args.prompts.read_text(encoding="utf-8"))
    with torch.no_grad():
        answers = [answer(model, prompt, args.new_tokens) for prompt in prompts]
    versions = {"torch": torch.__version__, "transformers": transformers.__version__, "peft": peft.__version__}
    json.dump({"versions": versions, "modules": lora_modules(model), "prompts": answers}, sys.stdout)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
