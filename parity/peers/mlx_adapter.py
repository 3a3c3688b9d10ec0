"""Opens an adapter with mlx-lm as a user would, or has mlx-lm make one, and prints what it computes.

    python parity/peers/mlx_adapter.py BASE_FOLDER ADAPTER_FOLDER PROMPTS.json [--make lora|dora]

PROMPTS.json is a list of lists of token ids. The answer is one JSON object on stdout:

    {"modules": ["model.layers.0.self_attn.q_proj", ...],      linears that have an adapter in the file, sorted
     "prompts": [{"base_logits": [...], "logits": [...]}, ...]}

Logits are those of the prompt's last position, without and with the adapter, computed in f32 on the CPU. With `--make`,
mlx-lm's own layers are put in, their matrices filled with random numbers, and saved as `mlx_lm.lora` saves them.
"""

import argparse
import json
import sys
import types
from pathlib import Path

import mlx.core as mx
from mlx.utils import tree_flatten, tree_map
from mlx_lm.tuner.utils import linear_to_lora_layers, load_adapters
from mlx_lm.utils import load_model, save_config


def base_model(folder: Path):
    """The model in f32."""
    model, _ = load_model(folder)
    model.update(tree_map(lambda tensor: tensor.astype(mx.float32), model.parameters()))
    return model.eval() or model


def make(base: Path, folder: Path, kind: str) -> None:
    """Writes an adapter through mlx-lm's own layers, trainable parameters and configuration."""
    model = base_model(base)
    model.freeze()
    parameters = {"rank": 3, "scale": 2.5, "dropout": 0.0, "keys": ["self_attn.q_proj", "self_attn.v_proj", "mlp.down_proj"]}
    linear_to_lora_layers(model, 1, parameters, use_dora=kind == "dora")
    mx.random.seed(7)
    filled = [
        (name, tensor * (1 + 0.2 * mx.random.normal(tensor.shape)) if name.endswith(".m") else 0.3 * mx.random.normal(tensor.shape))
        for name, tensor in tree_flatten(model.trainable_parameters())
    ]
    model.load_weights(filled, strict=False)
    folder.mkdir(parents=True)
    arguments = types.SimpleNamespace(fine_tune_type=kind, num_layers=1, lora_parameters=parameters, model=str(base), iters=10)
    save_config(vars(arguments), folder / "adapter_config.json")
    mx.save_safetensors(str(folder / "adapters.safetensors"), dict(tree_flatten(model.trainable_parameters())))


def last_logits(model, ids: list[int]) -> list[float]:
    """Logits at the last position of `ids`."""
    return model(mx.array([ids]))[0, -1].astype(mx.float32).tolist()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", type=Path)
    parser.add_argument("adapter", type=Path)
    parser.add_argument("prompts", type=Path)
    parser.add_argument("--make", choices=["lora", "dora"])
    args = parser.parse_args()

    mx.set_default_device(mx.cpu)
    if args.make:
        make(args.base, args.adapter, args.make)
    prompts = json.loads(args.prompts.read_text(encoding="utf-8"))
    base = base_model(args.base)
    adapted = load_adapters(base_model(args.base), str(args.adapter)).eval()
    answers = [{"base_logits": last_logits(base, ids), "logits": last_logits(adapted, ids)} for ids in prompts]
    names = mx.load(str(args.adapter / "adapters.safetensors"))
    modules = sorted({name.rsplit(".", 1)[0] for name in names})
    json.dump({"modules": modules, "prompts": answers}, sys.stdout)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
