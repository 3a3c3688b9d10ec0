"""Makes parity/goldens from cases.py: `python parity/make_goldens.py` (README.md says what each file holds).

    python -m venv venv && venv/bin/pip install -r parity/requirements.txt
    venv/bin/python parity/make_goldens.py            # rewrites parity/goldens
    venv/bin/python parity/make_goldens.py --check    # makes them elsewhere and compares with parity/goldens
    venv/bin/python parity/make_goldens.py --only qwen3-bf16-tied --out scratch
"""

import argparse
import dataclasses
import json
import random
import shutil
import sys
import tempfile
from pathlib import Path

import peft
import torch
import transformers
from safetensors.torch import load_file, save_file

import reference
from cases import CASES, NEW_TOKENS, PROMPT_ROWS, ROWS, STEPS, Case
from reference import Row

GOLDENS = Path(__file__).parent / "goldens"
LARGEST_TOTAL_BYTES = 3_000_000
# A top-1 logit nearer than this to the second could change places by rounding: choose another seed.
SMALLEST_MARGIN = 2e-3
# What a planted mistake must change in the logits to count as noticed: far above every tolerance of f32.
NOTICED = 1e-2
# Another machine's instruction set may round differently by about this much.
CHECK_TOLERANCE = 1e-5


def relative_error(got: torch.Tensor, expected: torch.Tensor) -> float:
    """Largest |got - expected| / max(|expected|, root mean square of expected): the metric of the Rust tests."""
    got, expected = got.double(), expected.double()
    floor = expected.square().mean().sqrt()
    return ((got - expected).abs() / expected.abs().clamp(min=floor)).max().item()


def norm_error(got: list[torch.Tensor], expected: list[torch.Tensor]) -> float:
    """Largest ||got - expected|| / ||expected|| over a list of tensors: the metric of the bf16 rows of the table.

    A run in bf16 rounds everywhere, so its largest error grows with the number of elements; its norm does not.
    """
    pairs = zip(got, expected, strict=True)
    return max(((g.double() - e.double()).norm() / e.double().norm()).item() for g, e in pairs)


def worst(got: list, expected: list) -> float:
    """Largest relative error over a list of tensors (or of numbers, taken as one tensor each)."""
    return max(relative_error(torch.as_tensor(g), torch.as_tensor(e)) for g, e in zip(got, expected, strict=True))


def make_rows(case: Case) -> list[Row]:
    """Random ids in the lengths and with the targets of ROWS."""
    draw = random.Random(case.seed)
    rows = []
    for length, targets in ROWS:
        ids = [draw.randrange(3, case.config["vocab_size"]) for _ in range(length)]
        rows.append(Row(ids, [int(i in targets) for i in range(length)]))
    return rows


def compute(model_dir: Path, adapter_dir: Path, rows: list[Row], case: Case, dtype: torch.dtype) -> dict:
    """Everything that one precision gives: logits without and with the adapter, and the training run."""
    base = reference.load_base(model_dir, dtype)
    adapted = reference.load_adapted(model_dir, adapter_dir, dtype)
    result = {"base": reference.row_logits(base, rows), "adapted": reference.row_logits(adapted, rows)}
    return result | reference.train(adapted, rows, case.training)


def differences(got: dict, expected: dict) -> dict:
    """Relative errors of one precision against another, per kind of result."""
    return {
        "base_logits": worst(got["base"], expected["base"]),
        "adapted_logits": worst(got["adapted"], expected["adapted"]),
        "gradients": worst(list(got["gradients"].values()), list(expected["gradients"].values())),
        "losses": worst(got["losses"], expected["losses"]),
        "gradient_norms": worst(got["gradient_norms"], expected["gradient_norms"]),
        "final_adapter": worst(list(got["adapter"].values()), list(expected["adapter"].values())),
    }


def sensitivity(case: Case, model_dir: Path, rows: list[Row], expected: list[torch.Tensor]) -> dict:
    """How much the logits change under mistakes that the case is there to notice; fails when one is invisible."""
    changed = {}
    for mistake, overrides in case.noticed.items():
        model = reference.load_base(model_dir, torch.float32, **overrides)
        changed[mistake] = worst(reference.row_logits(model, rows), expected)
    for mistake, ending, value in [
        ("biases left out", "bias", 0.0),
        ("norm gains left out", "norm.weight", 1.0),
        ("q/k norm gains left out", ("q_norm.weight", "k_norm.weight"), 1.0),
    ]:
        model = reference.load_base(model_dir, torch.float32)
        hit = [tensor for name, tensor in model.named_parameters() if name.endswith(ending)]
        for tensor in hit:
            tensor.fill_(value)
        if hit:
            changed[mistake] = worst(reference.row_logits(model, rows), expected)
    for mistake, change in changed.items():
        assert change > NOTICED, f"{case.name}: '{mistake}' changes the logits by {change:.1e} only"
    return changed


def mean_of_means(rows: list[Row], adapted, case: Case) -> float:
    """The loss of the first step with the usual mistake: the mean over rows of each row's own mean."""
    with torch.no_grad():
        losses = [reference.step_loss(adapted, [rows[i]], case.training.label_smoothing).item() for i in STEPS[0]]
    return sum(losses) / len(losses)


def make_case(case: Case, out: Path) -> dict:
    """Writes the folder of one case and returns what was measured."""
    case_dir = out / case.name
    shutil.rmtree(case_dir, ignore_errors=True)
    model_dir, adapter_dir = case_dir / "model", case_dir / "adapter_init"
    reference.build_model(case, model_dir)
    reference.build_adapter(case, model_dir, adapter_dir)
    rows = make_rows(case)

    single = compute(model_dir, adapter_dir, rows, case, torch.float32)
    double = compute(model_dir, adapter_dir, rows, case, torch.float64)
    measured = {"rounding": differences(single, double)}
    tensors = {}
    for i in range(len(rows)):
        tensors[f"logits.base.{i}"] = single["base"][i]
        tensors[f"logits.adapted.{i}"] = single["adapted"][i]
    tensors |= {f"gradient.{name}": gradient for name, gradient in single["gradients"].items()}
    tensors |= {f"final.{name}": tensor for name, tensor in single["adapter"].items()}
    runs = {"f32": {key: single[key] for key in ("losses", "gradient_norms")}}
    if case.dtype == "bfloat16":
        half = compute(model_dir, adapter_dir, rows, case, torch.bfloat16)
        measured["bf16"] = differences(half, single) | {
            "base_logits_norm": norm_error(half["base"], single["base"]),
            "adapted_logits_norm": norm_error(half["adapted"], single["adapted"]),
        }
        for i in range(len(rows)):
            tensors[f"bf16.logits.base.{i}"] = half["base"][i]
            tensors[f"bf16.logits.adapted.{i}"] = half["adapted"][i]
        runs["bf16"] = {key: half[key] for key in ("losses", "gradient_norms")}

    adapted = reference.load_adapted(model_dir, adapter_dir, torch.float32)
    measured["sensitivity"] = sensitivity(case, model_dir, rows, single["base"])
    wrong = mean_of_means(rows, adapted, case)
    measured["sensitivity"]["mean of means"] = abs(wrong - single["losses"][0]) / single["losses"][0]
    assert measured["sensitivity"]["mean of means"] > NOTICED, f"{case.name}: a mean of means would pass"

    generations = []
    for with_adapter, model in [(False, reference.load_base(model_dir, torch.float32)), (True, adapted)]:
        for row in PROMPT_ROWS:
            new, margin = reference.greedy(model, rows[row].ids)
            assert margin > SMALLEST_MARGIN, f"{case.name}: greedy margin {margin:.1e}; choose another seed"
            generations.append({"row": row, "adapter": with_adapter, "new_ids": new, "smallest_margin": margin})

    write_json(case_dir / "case.json", {
        "name": case.name,
        "family": case.family,
        "dtype": case.dtype,
        "sharded": case.shard_bytes is not None,
        "tied_head": case.config["tie_word_embeddings"],
        "old_config_keys": case.old_config_keys,
        "rows": [dataclasses.asdict(row) for row in rows],
        "steps": STEPS,
        "training": dataclasses.asdict(case.training) | {"learning_rates": single["learning_rates"]},
        "runs": runs,
        "generations": generations,
        "new_tokens": NEW_TOKENS,
        "measured": measured,
        "versions": versions(),
    })
    tensors = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    save_file(tensors, case_dir / "expected.safetensors", metadata={"format": "pt"})
    return measured


def versions() -> dict:
    """What made the files. The build tag of torch (`+cpu`, `+cu132`) is left out: the CPU code is the same."""
    return {
        "torch": torch.__version__.split("+")[0],
        "transformers": transformers.__version__,
        "peft": peft.__version__,
    }


def write_json(path: Path, value: dict) -> None:
    """Indents two levels and no deeper, so that a list of ids is one line and diffs stay readable."""
    lines = [f"  {json.dumps(key)}: {compact(item)}" for key, item in value.items()]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8", newline="\n")


def compact(value) -> str:
    """One line per entry of a list or object that holds lists or objects, else one line."""
    nested = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    if not any(isinstance(item, (dict, list)) for item in nested):
        return json.dumps(value)
    if isinstance(value, dict):
        inner = [f"    {json.dumps(key)}: {json.dumps(item)}" for key, item in value.items()]
        return "{\n" + ",\n".join(inner) + "\n  }"
    return "[\n" + ",\n".join(f"    {json.dumps(item)}" for item in value) + "\n  ]"


def json_differences(got, expected, where: str = "") -> list[str]:
    """Places where two case.json differ by more than rounding. What was measured is rounding itself: left out."""
    if isinstance(got, dict) and isinstance(expected, dict) and got.keys() == expected.keys():
        keys = [key for key in got if key not in ("measured", "smallest_margin")]
        return [found for key in keys for found in json_differences(got[key], expected[key], f"{where}.{key}")]
    if isinstance(got, list) and isinstance(expected, list) and len(got) == len(expected):
        pairs = enumerate(zip(got, expected))
        return [found for i, (g, e) in pairs for found in json_differences(g, e, f"{where}[{i}]")]
    if isinstance(got, float) and isinstance(expected, float) and got != 0.0:
        return [] if abs(got - expected) <= CHECK_TOLERANCE * abs(expected) else [f"{where}: {got}, not {expected}"]
    return [] if got == expected else [f"{where}: {got}, not {expected}"]


def compare_folders(got: Path, expected: Path, names: list[str]) -> list[str]:
    """Complaints about files of `got` that differ from `expected` by more than rounding; prints what is bit-equal."""
    complaints, equal, close = [], 0, 0
    for name in names:
        files = {p.relative_to(d) for d in (got, expected) for p in (d / name).rglob("*") if p.is_file()}
        for file in sorted(files):
            if not ((got / file).exists() and (expected / file).exists()):
                complaints.append(f"{file}: only on one side")
            elif (got / file).read_bytes() == (expected / file).read_bytes():
                equal += 1
            elif file.name == "expected.safetensors":
                ours, theirs = load_file(got / file), load_file(expected / file)
                if ours.keys() != theirs.keys():
                    complaints.append(f"{file}: other tensors")
                    continue
                error, tensor = max((relative_error(ours[key], theirs[key]), key) for key in ours)
                close += 1
                if not error < CHECK_TOLERANCE:
                    complaints.append(f"{file}: {tensor} differs by {error:.1e}")
            elif file.name == "case.json":
                ours, theirs = (json.loads((folder / file).read_text(encoding="utf-8")) for folder in (got, expected))
                complaints += [f"{file}: {where}" for where in json_differences(ours, theirs)]
                close += 1
            else:
                complaints.append(f"{file}: differs")
    print(f"{equal} files bit-equal, {close} equal within {CHECK_TOLERANCE:.0e}, {len(complaints)} different")
    return complaints


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=GOLDENS, help="folder to write (default: parity/goldens)")
    parser.add_argument("--only", help="name of a single case")
    parser.add_argument("--check", action="store_true", help="compare with parity/goldens instead of writing there")
    args = parser.parse_args()

    torch.manual_seed(0)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    cases = [case for case in CASES if args.only in (None, case.name)]
    if not cases:
        parser.error(f"no case is called '{args.only}'")
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) if args.check else args.out
        for case in cases:
            print(case.name)
            for kind, values in make_case(case, out).items():
                print(f"  {kind}: " + ", ".join(f"{name} {value:.1e}" for name, value in values.items()))
        if args.check:
            complaints = compare_folders(out, GOLDENS, [case.name for case in cases])
            print(*complaints, sep="\n")
            return 1 if complaints else 0
        total = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
        print(f"{total} bytes in {out}")
        assert args.out != GOLDENS or total <= LARGEST_TOTAL_BYTES, "goldens too large for the repository"
    return 0


if __name__ == "__main__":
    sys.exit(main())
