"""Lets PEFT make an adapter with random values on a model folder, and prints what the model computes with it.

    python parity/peers/make_peft.py MODEL_FOLDER OUT_FOLDER lora|dora|rslora|patterns|embedding PROMPTS.json

`patterns` has rank_pattern, alpha_pattern and some layers and modules only; `embedding` adds lm_head in full
(modules_to_save), which a reader of adapters may refuse. Prints {"prompts": [{"base_logits", "logits"}, ...]}.
"""

import argparse
import json
import sys
from pathlib import Path

import torch
import transformers
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
ALL_LINEAR = [*ATTENTION, "gate_proj", "up_proj", "down_proj"]
KINDS = {
    "lora": {"target_modules": ALL_LINEAR},
    "dora": {"target_modules": ALL_LINEAR, "use_dora": True},
    "rslora": {"target_modules": ATTENTION, "use_rslora": True},
    "patterns": {
        "target_modules": ALL_LINEAR,
        "layers_to_transform": [1],
        "rank_pattern": {"q_proj": 2, "layers.1.mlp.up_proj": 6},
        "alpha_pattern": {"q_proj": 3, "down_proj": 16},
    },
    "embedding": {"target_modules": ATTENTION, "modules_to_save": ["lm_head"]},
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("kind", choices=sorted(KINDS))
    parser.add_argument("prompts", type=Path)
    args = parser.parse_args()

    torch.set_num_threads(1)
    torch.manual_seed(11)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    base = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32, attn_implementation="eager")
    prompts = json.loads(args.prompts.read_text(encoding="utf-8"))
    with torch.no_grad():
        before = [base(torch.tensor([prompt])).logits[0, -1].tolist() for prompt in prompts]
        model = get_peft_model(base, LoraConfig(r=4, lora_alpha=8, task_type="CAUSAL_LM", **KINDS[args.kind]))
        for name, tensor in model.named_parameters():
            if "lora_A" in name or "lora_B" in name:
                tensor.copy_(0.1 * torch.randn_like(tensor))
            elif "magnitude" in name:
                tensor.mul_(1 + 0.2 * torch.randn_like(tensor))
        model.eval()
        after = [model(torch.tensor([prompt])).logits[0, -1].tolist() for prompt in prompts]
    model.save_pretrained(args.out)
    pairs = [{"base_logits": old, "logits": new} for old, new in zip(before, after, strict=True)]
    json.dump({"prompts": pairs}, sys.stdout)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
