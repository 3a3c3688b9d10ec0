"""Makes parity/goldens-full from full_cases.py: all weights of a model are trained. README.md says what each file holds.

    venv/bin/python parity/make_full_goldens.py            # rewrites parity/goldens-full
    venv/bin/python parity/make_full_goldens.py --check    # makes them elsewhere and compares with parity/goldens-full
"""

import argparse
import dataclasses
import json
import random
import shutil
import sys
import tempfile
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file
from transformers import Trainer, get_scheduler

import make_goldens
import reference
from cases import ROWS, STEPS, Training
from full_cases import FULL_CASES, SCRATCH, SCRATCH_TRAINING
from make_goldens import GOLDENS, worst, write_json
from reference import Row

FULL_GOLDENS = Path(__file__).parent / "goldens-full"
LARGEST_TOTAL_BYTES = 1_500_000


def train(model_dir: Path, rows: list[Row], training: Training, rounds: bool, dtype: torch.dtype) -> dict:
    """Ten AdamW steps over all weights, groups of decay as Transformers' Trainer makes them.

    The optimizer holds masters of its own, in f32 (or in f64 beside an f64 model); before each step the model gets a
    copy of them, rounded to bf16 first where `rounds`. Returns what `reference.train` does, of all parameters by name.
    """
    model = reference.load_base(model_dir, dtype).requires_grad_(True)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    masters = {name: torch.nn.Parameter(tensor.detach().to(wide).clone()) for name, tensor in model.named_parameters()}
    decaying = set(Trainer.get_decay_parameter_names(None, model))
    groups = [
        {"params": [p for name, p in masters.items() if name in decaying], "weight_decay": training.weight_decay},
        {"params": [p for name, p in masters.items() if name not in decaying], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(
        groups,
        lr=training.learning_rate,
        betas=(training.adam_beta1, training.adam_beta2),
        eps=training.adam_epsilon,
        foreach=False,
    )
    name = "constant_with_warmup" if training.schedule == "constant" else training.schedule
    schedule = get_scheduler(name, optimizer, training.warmup_steps, len(STEPS))
    before = {name: master.detach().clone() for name, master in masters.items()}
    result = {"losses": [], "gradient_norms": [], "learning_rates": [], "gradients": {}}
    result["not_decaying"] = sorted(masters.keys() - decaying)
    for step_rows in STEPS:
        optimizer.zero_grad()
        model.zero_grad()
        with torch.no_grad():
            for name, tensor in model.named_parameters():
                tensor.copy_(masters[name].to(torch.bfloat16) if rounds else masters[name])
        loss = reference.step_loss(model, [rows[i] for i in step_rows], training.label_smoothing)
        loss.backward()
        for name, tensor in model.named_parameters():
            masters[name].grad = tensor.grad.to(wide)
        if not result["gradients"]:
            result["gradients"] = {name: master.grad.clone() for name, master in masters.items()}
        norm = torch.nn.utils.clip_grad_norm_(masters.values(), training.max_grad_norm, foreach=False)
        result["losses"].append(loss.item())
        result["gradient_norms"].append(norm.item())
        result["learning_rates"].append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    result["changes"] = {name: (master.detach() - before[name]) for name, master in masters.items()}
    return result


def differences(got: dict, expected: dict) -> dict:
    """Relative errors of one precision against another, per kind of result."""
    return {
        "gradients": worst(list(got["gradients"].values()), list(expected["gradients"].values())),
        "gradients_norm": norm_of_worst(got["gradients"], expected["gradients"]),
        "losses": worst(got["losses"], expected["losses"]),
        "gradient_norms": worst(got["gradient_norms"], expected["gradient_norms"]),
        "weight_changes": norm_of_worst(got["changes"], expected["changes"]),
        "weight_changes_together": make_goldens.norm_error([in_one(got["changes"])], [in_one(expected["changes"])]),
    }


def in_one(tensors: dict) -> torch.Tensor:
    """All values in one vector."""
    return torch.cat([tensor.flatten() for tensor in tensors.values()])


def norm_of_worst(got: dict, expected: dict) -> float:
    """Largest error of the norm of a tensor."""
    return make_goldens.norm_error([got[name] for name in expected], list(expected.values()))


def make_case(name: str, model_dir: Path, rows: list[Row], training: Training, out: Path) -> dict:
    """Writes case.json and expected.safetensors of one case and returns what was measured."""
    rounds = json.loads((model_dir / "config.json").read_text(encoding="utf-8")).get("dtype") == "bfloat16"
    single = train(model_dir, rows, training, rounds, torch.float32)
    double = train(model_dir, rows, training, rounds, torch.float64)
    measured = {"rounding": differences(single, double)}
    runs = {"f32": {key: single[key] for key in ("losses", "gradient_norms")}}
    if rounds:
        half = train(model_dir, rows, training, rounds, torch.bfloat16)
        measured["bf16"] = differences(half, single)
        runs["bf16"] = {key: half[key] for key in ("losses", "gradient_norms")}
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "case.json", {
        "name": name,
        "dtype": "bfloat16" if rounds else "float32",
        "rows": [dataclasses.asdict(row) for row in rows],
        "steps": STEPS,
        "training": dataclasses.asdict(training) | {"learning_rates": single["learning_rates"]},
        "not_decaying": single["not_decaying"],
        "runs": runs,
        "measured": measured,
        "versions": make_goldens.versions(),
    })
    tensors = {f"gradient.{name}": gradient for name, gradient in single["gradients"].items()}
    tensors |= {f"change.{name}": change.to(torch.float16) for name, change in single["changes"].items()}
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    save_file(tensors, out / "expected.safetensors", metadata={"format": "pt"})
    return measured


def rows_of(vocabulary: int, seed: int) -> list[Row]:
    """Random ids in the lengths and with the targets of ROWS."""
    draw = random.Random(seed)
    return [
        Row([draw.randrange(3, vocabulary) for _ in range(length)], [int(i in targets) for i in range(length)])
        for length, targets in ROWS
    ]


def inputs(name: str) -> tuple[Path, list[Row], Training]:
    """Model folder, rows and hyper-parameters of a case."""
    if name == SCRATCH:
        model_dir = FULL_GOLDENS / name / "model"
        vocabulary = json.loads((model_dir / "config.json").read_text(encoding="utf-8"))["vocab_size"]
        return model_dir, rows_of(vocabulary, 211), SCRATCH_TRAINING
    case = json.loads((GOLDENS / name / "case.json").read_text(encoding="utf-8"))
    return GOLDENS / name / "model", [Row(**row) for row in case["rows"]], FULL_CASES[name]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="name of a single case")
    parser.add_argument("--check", action="store_true", help="compare with parity/goldens-full instead of writing there")
    args = parser.parse_args()

    torch.manual_seed(0)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    names = [name for name in [*FULL_CASES, SCRATCH] if args.only in (None, name)]
    if not names:
        parser.error(f"no case is called '{args.only}'")
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) if args.check else FULL_GOLDENS
        for name in names:
            print(name)
            model_dir, rows, training = inputs(name)
            for kind, values in make_case(name, model_dir, rows, training, out / name).items():
                print(f"  {kind}: " + ", ".join(f"{name} {value:.1e}" for name, value in values.items()))
        if args.check:
            if SCRATCH in names:
                shutil.copytree(FULL_GOLDENS / SCRATCH / "model", out / SCRATCH / "model")
            complaints = make_goldens.compare_folders(out, FULL_GOLDENS, names)
            print(*complaints, sep="\n")
            return 1 if complaints else 0
        total = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
        print(f"{total} bytes in {out}")
        assert total <= LARGEST_TOTAL_BYTES, "goldens too large for the repository"
    return 0


if __name__ == "__main__":
    sys.exit(main())
