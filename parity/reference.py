"""What Transformers and PEFT compute for a case: logits, gradients, ten training steps, greedy generation.

Every row goes through the model alone and unpadded, so nothing here depends on padding or on masks of padding. The loss
of a step is the sum over the targets of all its rows divided by their number.
"""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch.nn.functional import cross_entropy
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig, get_scheduler
from transformers.trainer_pt_utils import LabelSmoother

from cases import NEW_TOKENS, STEPS, Case, Training

IGNORED = -100
STEP_COUNT = len(STEPS)


@dataclass
class Row:
    """Token ids of an example; `trained[i]` is 1 where token i is a target, predicted from the tokens before it."""

    ids: list[int]
    trained: list[int]


def normal(draw: random.Random, shape: torch.Size) -> torch.Tensor:
    """Normal deviates. Python's generator, because PyTorch's differs in the last bits between processors."""
    return torch.tensor([draw.gauss(0.0, 1.0) for _ in range(shape.numel())], dtype=torch.float32).reshape(shape)


def build_model(case: Case, model_dir: Path) -> None:
    """Writes a random model of the case's shape through Transformers' own `save_pretrained`.

    The spread of each tensor is chosen so that the logits spread by a few units and attention is far from uniform: with
    the usual 0.02 a mistake in the mask or in the rotation would vanish in the rounding.
    """
    draw = random.Random(case.seed)
    config = AutoConfig.for_model(case.family, **case.config)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            noise = normal(draw, tensor.shape)
            if name.endswith("norm.weight"):
                tensor.copy_(1.0 + 0.3 * noise)
            elif name.endswith("bias"):
                tensor.copy_(0.3 * noise)
            elif name.endswith("embed_tokens.weight"):
                # Tied heads multiply by this again; keep their logits in the range of the others.
                tensor.copy_(noise * (0.4 if case.config["tie_word_embeddings"] else 1.0))
            else:
                tensor.copy_(noise * 1.2 / tensor.shape[-1] ** 0.5)
    model = model.to(getattr(torch, case.dtype))
    model.config.dtype = getattr(torch, case.dtype)
    model.save_pretrained(model_dir, max_shard_size=case.shard_bytes or "1GB")
    sharded = (model_dir / "model.safetensors.index.json").exists()
    assert sharded == (case.shard_bytes is not None), f"{case.name}: sharded is {sharded}"
    if case.old_config_keys:
        with_equal_logits(model_dir, rewrite_config_as_transformers_4)
    if case.tied_under_head_name:
        with_equal_logits(model_dir, rename_embedding_to_head)


def with_equal_logits(model_dir: Path, rewrite: Callable[[Path], None]) -> None:
    """Rewrites a model folder in place, and holds that Transformers computes bit-equal logits from it."""
    probe = torch.arange(3, 30).unsqueeze(0)
    with torch.no_grad():
        before = load_base(model_dir, torch.float32)(probe).logits
        rewrite(model_dir)
        after = load_base(model_dir, torch.float32)(probe).logits
    assert torch.equal(before, after), f"{model_dir}: {rewrite.__name__} changes the logits"


def rewrite_config_as_transformers_4(model_dir: Path) -> None:
    """Replaces `rope_parameters` and `dtype` by `rope_theta`, `rope_scaling` and `torch_dtype`."""
    path = model_dir / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope.pop("rope_theta")
    config["rope_scaling"] = rope
    config["torch_dtype"] = config.pop("dtype")
    config["transformers_version"] = "4.57.0"
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8", newline="\n")


def rename_embedding_to_head(model_dir: Path) -> None:
    """Stores the one matrix of a tied model as `lm_head.weight`, the other name in the metadata.

    That is what safetensors' `save_model` leaves of tensors that share memory, and in which of the two ways is chance.
    """
    path = model_dir / "model.safetensors"
    tensors = load_file(path)
    tensors["lm_head.weight"] = tensors.pop("model.embed_tokens.weight")
    # One entry: safetensors writes several in random order, and the files should come out bit-identical.
    save_file(tensors, path, metadata={"model.embed_tokens.weight": "lm_head.weight"})


def load_base(model_dir: Path, dtype: torch.dtype, **config_overrides):
    """The frozen model with its weights converted to `dtype`, eager attention."""
    model = AutoModelForCausalLM.from_pretrained(
        model_dir, dtype=dtype, attn_implementation="eager", **config_overrides
    )
    return model.requires_grad_(False).eval()


def build_adapter(case: Case, model_dir: Path, adapter_dir: Path) -> None:
    """Writes a PEFT folder with random A and B (both non-zero, so that both get gradients from the first step).

    With DoRA the magnitudes are random as well: not the norms of the weight's rows.
    """
    draw = random.Random(case.seed + 1000)
    config = LoraConfig(task_type="CAUSAL_LM", lora_dropout=0.0, bias="none", **case.adapter)
    model = get_peft_model(load_base(model_dir, torch.float32), config)
    with torch.no_grad():
        for name, tensor in trainable(model):
            noise = normal(draw, tensor.shape)
            if "magnitude" in name:
                tensor.mul_(1.0 + 0.2 * noise)  # PEFT begins with the norms of the weight's rows
            else:
                tensor.copy_(noise * (1.0 / tensor.shape[1] ** 0.5 if "lora_A" in name else 0.1))
    model.save_pretrained(adapter_dir)
    (adapter_dir / "README.md").unlink(missing_ok=True)  # an empty model card
    path = adapter_dir / "adapter_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = "../model"
    config["target_modules"] = sorted(config["target_modules"])  # a set, in random order
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8", newline="\n")


def load_adapted(model_dir: Path, adapter_dir: Path, dtype: torch.dtype):
    """Base in `dtype` with the adapter as PEFT loads it: f32 (`autocast_adapter_dtype`), or f64 over an f64 base."""
    model = PeftModel.from_pretrained(load_base(model_dir, dtype), adapter_dir, is_trainable=True)
    if dtype == torch.float64:
        model.double()
    expected = torch.float64 if dtype == torch.float64 else torch.float32
    assert all(tensor.dtype == expected for _, tensor in trainable(model)), "adapter dtype"
    return model.eval()  # no dropout anywhere


def trainable(model) -> list[tuple[str, torch.nn.Parameter]]:
    """The adapter's parameters by the names that PEFT gives them in adapter_model.safetensors."""
    parameters = [(n.replace(".default.", "."), p) for n, p in model.named_parameters() if p.requires_grad]
    # DoRA's magnitudes alone lose the last part of their name.
    return [(n.removesuffix(".weight") if "magnitude" in n else n, p) for n, p in parameters]


def row_logits(model, rows: list[Row]) -> list[torch.Tensor]:
    """Logits `[tokens, vocabulary]` of each row, in the model's own dtype."""
    with torch.no_grad():
        return [model(torch.tensor([row.ids])).logits[0] for row in rows]


def step_loss(model, rows: list[Row], label_smoothing: float) -> torch.Tensor:
    """Loss of one step: sum over the targets of all rows / number of those targets, in f32 or better.

    With label smoothing it is Transformers' `LabelSmoother` over all rows at once.
    """
    logits, labels = [], []
    for row in rows:
        logits.append(model(torch.tensor([row.ids])).logits[0, :-1])
        targets = [token if trained else IGNORED for token, trained in zip(row.ids, row.trained)]
        labels.append(torch.tensor(targets[1:]))
    logits, labels = torch.cat(logits), torch.cat(labels)
    if logits.dtype == torch.bfloat16:
        logits = logits.float()  # as Transformers' ForCausalLMLoss
    if label_smoothing:
        return LabelSmoother(label_smoothing, IGNORED)({"logits": logits}, labels)
    return cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum") / (labels != IGNORED).sum()


def train(model, rows: list[Row], training: Training) -> dict:
    """Ten AdamW steps as Transformers' Trainer does them: clip by the global norm, update, advance the schedule.

    Returns losses and norms before clipping per step, the learning rate of each step, the gradients of the first step
    by name, and the adapter at the end by name.
    """
    parameters = trainable(model)
    tensors = [tensor for _, tensor in parameters]
    optimizer = torch.optim.AdamW(
        tensors,
        lr=training.learning_rate,
        betas=(training.adam_beta1, training.adam_beta2),
        eps=training.adam_epsilon,
        weight_decay=training.weight_decay,
        foreach=False,
    )
    name = "constant_with_warmup" if training.schedule == "constant" else training.schedule
    schedule = get_scheduler(name, optimizer, training.warmup_steps, STEP_COUNT)
    result = {"losses": [], "gradient_norms": [], "learning_rates": [], "gradients": {}}
    for step_rows in STEPS:
        optimizer.zero_grad()
        loss = step_loss(model, [rows[i] for i in step_rows], training.label_smoothing)
        loss.backward()
        if not result["gradients"]:
            result["gradients"] = {name: tensor.grad.clone() for name, tensor in parameters}
        norm = torch.nn.utils.clip_grad_norm_(tensors, training.max_grad_norm, foreach=False)
        result["losses"].append(loss.item())
        result["gradient_norms"].append(norm.item())
        result["learning_rates"].append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    result["adapter"] = {name: tensor.detach().clone() for name, tensor in parameters}
    return result


def greedy(model, prompt: list[int]) -> tuple[list[int], float]:
    """Greedy continuation by NEW_TOKENS ids (no stop token), and the smallest gap between the best two logits.

    Made by `generate` with its key/value cache, and checked token by token against full passes without a cache.
    """
    config = GenerationConfig(do_sample=False, max_new_tokens=NEW_TOKENS, pad_token_id=0, use_cache=True)
    model.generation_config.eos_token_id = None  # else it fills in for the missing one above
    ids = torch.tensor([prompt])
    with torch.no_grad():
        ids = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=config)
        logits = model(ids).logits[0, len(prompt) - 1 : -1]
    new = ids[0, len(prompt) :].tolist()
    full = logits.argmax(-1).tolist()
    assert len(new) == NEW_TOKENS and new == full, f"generate gives {new}, full passes {full}"
    best = logits.topk(2, dim=-1).values
    return new, (best[:, 0] - best[:, 1]).min().item()


