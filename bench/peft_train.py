"""Trains a LoRA adapter with PEFT on PyTorch, as a user would, and says how long each step took.

    python bench/peft_train.py MODEL_FOLDER BATCHES.json [--mode MODE] [--threads N]

BATCHES.json holds the tokens, so that every program that is compared trains exactly the same:

    {"steps": [[{"ids": [5, 6, 7], "trained": [false, true, true]}, ...rows of the step], ...steps]}

A step is one optimizer step: forward, backward, clipping to 1.0, AdamW at 2e-4; rank 16, alpha 32 on all seven linears.
Lines of JSON go to stdout: first {"versions": ..., "begin_seconds": ...}, then one per step as it is done:

    {"step": 1, "seconds": 2.1, "end_seconds": 9.3, "tokens": 3, "trained_tokens": 2, "loss": 11.7, "peak_memory_bytes": N}

`begin_seconds` and `end_seconds` count from the start of the process (BENCH_SPAWNED_AT, in seconds since 1970, if set).
Modes:

    installed   bf16, everything else as it comes: rows padded to the longest of the step, as the default collator does
    best        bf16 and what was found to help without changing what is learnt: the rows packed into one sequence
                instead of padded, and whatever allocator the caller preloads
    compiled    as best, through torch.compile
    f32         as installed, with weights and activations in f32
"""

import argparse
import json
import os
import resource
import sys
import time
from pathlib import Path

IMPORT_BEGAN = time.time()

import peft  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402

MODES = {
    "installed": {"dtype": torch.bfloat16, "packed": False, "compiled": False},
    "best": {"dtype": torch.bfloat16, "packed": True, "compiled": False},
    "compiled": {"dtype": torch.bfloat16, "packed": True, "compiled": True},
    "f32": {"dtype": torch.float32, "packed": False, "compiled": False},
}
LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
NOT_TRAINED = -100


def spawned_at() -> float:
    """When the process was started: as the caller says, else just before the imports."""
    return float(os.environ.get("BENCH_SPAWNED_AT", IMPORT_BEGAN))


def peak_memory_bytes() -> int:
    """Most memory that the process ever held."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def load(folder: Path, dtype: torch.dtype) -> torch.nn.Module:
    """The base model with a fresh adapter."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="sdpa")
    model.config.use_cache = False
    config = peft.LoraConfig(r=16, lora_alpha=32, lora_dropout=0.0, target_modules=LINEARS, task_type="CAUSAL_LM")
    model = peft.get_peft_model(model, config)
    model.train()
    return model


def labels_of(row: dict) -> list[int]:
    """The row's tokens where they are trained."""
    return [token if trained else NOT_TRAINED for token, trained in zip(row["ids"], row["trained"], strict=True)]


def padded(rows: list[dict]) -> dict:
    """Every row filled up to the longest."""
    longest = max(len(row["ids"]) for row in rows)

    def fill(values: list[int], filling: int) -> list[int]:
        return values + [filling] * (longest - len(values))

    return {
        "input_ids": torch.tensor([fill(row["ids"], 0) for row in rows]),
        "attention_mask": torch.tensor([fill([1] * len(row["ids"]), 0) for row in rows]),
        "labels": torch.tensor([fill(labels_of(row), NOT_TRAINED) for row in rows]),
    }


def packed(rows: list[dict]) -> dict:
    """One sequence. Positions that begin again at 0 tell Transformers that the rows must not see each other."""
    # The first token of a row has no target: what stands before it belongs to another row.
    labels = [label for row in rows for label in [NOT_TRAINED, *labels_of(row)[1:]]]
    return {
        "input_ids": torch.tensor([[token for row in rows for token in row["ids"]]]),
        "position_ids": torch.tensor([[position for row in rows for position in range(len(row["ids"]))]]),
        "labels": torch.tensor([labels]),
    }


def train(model: torch.nn.Module, steps: list[list[dict]], collate) -> None:
    """One optimizer step after the other; a line of JSON for each."""
    adapter = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(adapter, lr=2e-4, weight_decay=0.0)
    for number, rows in enumerate(steps, start=1):
        begin = time.perf_counter()
        loss = model(**collate(rows)).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(adapter, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        value = loss.item()
        line = {
            "step": number,
            "seconds": time.perf_counter() - begin,
            "end_seconds": time.time() - spawned_at(),
            "tokens": sum(len(row["ids"]) for row in rows),
            "trained_tokens": sum(sum(row["trained"][1:]) for row in rows),
            "loss": value,
            "peak_memory_bytes": peak_memory_bytes(),
        }
        print(json.dumps(line), flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("batches", type=Path)
    parser.add_argument("--mode", choices=sorted(MODES), default="installed")
    parser.add_argument("--threads", type=int, help="torch.set_num_threads; PyTorch's own choice if not given")
    args = parser.parse_args()

    mode = MODES[args.mode]
    torch.manual_seed(0)
    if args.threads:
        torch.set_num_threads(args.threads)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    steps = json.loads(args.batches.read_text(encoding="utf-8"))["steps"]
    model = load(args.model, mode["dtype"])
    if mode["compiled"]:
        model = torch.compile(model)
    versions = {"torch": torch.__version__, "transformers": transformers.__version__, "peft": peft.__version__}
    print(json.dumps({"versions": versions, "begin_seconds": time.time() - spawned_at()}), flush=True)
    train(model, steps, packed if mode["packed"] else padded)
    return 0


if __name__ == "__main__":
    sys.exit(main())
