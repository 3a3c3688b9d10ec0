"""The cases of the parity ladder: small random models of every family, their adapters and their training steps.

Data only. `make_goldens.py` turns each entry of CASES into a folder of golden files; README.md describes them.
Sizes are odd on purpose (40 channels, heads of 10, 70 feed-forward channels): a kernel that rounds a size up to its
vector width and forgets the rest fails here.
"""

from dataclasses import dataclass, field

ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
MLP = ["gate_proj", "up_proj", "down_proj"]
ALL_LINEAR = ATTENTION + MLP

# Three wavelengths of each head are kept, one is in the smooth part, the others are stretched.
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}


def default_rope(theta: float) -> dict:
    """Rotary parameters without scaling, as Transformers 5 writes them."""
    return {"rope_type": "default", "rope_theta": theta}


@dataclass
class Training:
    """Hyper-parameters of the ten AdamW steps."""

    learning_rate: float = 4e-3
    schedule: str = "constant"  # constant | linear | cosine
    warmup_steps: int = 0
    weight_decay: float = 0.0
    label_smoothing: float = 0.0
    max_grad_norm: float = 1.0
    adam_beta1: float = 0.9
    adam_beta2: float = 0.999
    adam_epsilon: float = 1e-8


@dataclass
class Case:
    """One golden folder: a model, an adapter, and how they are trained."""

    name: str
    family: str
    dtype: str  # of the stored weights: float32 | bfloat16
    config: dict  # arguments of the family's config class
    adapter: dict  # arguments of peft.LoraConfig
    training: Training = field(default_factory=Training)
    shard_bytes: int | None = None  # None: one model.safetensors
    old_config_keys: bool = False  # rewrite config.json with the keys of Transformers 4
    tied_under_head_name: bool = False  # store the one matrix of a tied model as lm_head.weight
    # Overrides of the config that must change the logits visibly: proof that the case would notice the mistake.
    noticed: dict[str, dict] = field(default_factory=dict)
    seed: int = 0


def _shape(hidden, layers, heads, kv_heads, ffn, vocab, tied, **more) -> dict:
    return {
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "intermediate_size": ffn,
        "vocab_size": vocab,
        "tie_word_embeddings": tied,
        "max_position_embeddings": 128,
        "bos_token_id": 1,
        "eos_token_id": 2,
        **more,
    }


def _lora(targets, **more) -> dict:
    return {"r": 4, "lora_alpha": 8, "target_modules": targets, **more}


CASES = [
    Case(
        "llama-f32",
        "llama",
        "float32",
        _shape(40, 2, 4, 2, 70, 112, False, rope_parameters=LLAMA3_ROPE, rms_norm_eps=1e-5),
        _lora(ALL_LINEAR),
        Training(schedule="cosine", warmup_steps=3),
        noticed={"no rope scaling": {"rope_parameters": default_rope(10000.0)}},
        seed=101,
    ),
    Case(
        "llama-bf16-sharded-tied",
        "llama",
        "bfloat16",
        _shape(32, 2, 4, 1, 52, 97, True, rope_parameters=LLAMA3_ROPE, rms_norm_eps=1e-5),
        _lora(
            ALL_LINEAR,
            rank_pattern={"q_proj": 2, "layers.0.mlp.up_proj": 6},
            alpha_pattern={"q_proj": 3, "down_proj": 16},
        ),
        shard_bytes=14_000,
        noticed={"no rope scaling": {"rope_parameters": default_rope(10000.0)}},
        seed=102,
    ),
    Case(
        "mistral-f32-sharded-tied",
        "mistral",
        "float32",
        _shape(36, 2, 4, 2, 58, 101, True, head_dim=12, sliding_window=7, rope_parameters=default_rope(1000.0)),
        _lora(["q_proj", "v_proj"]),
        Training(max_grad_norm=4.0),  # some of the ten norms are above it, some below
        shard_bytes=28_000,
        noticed={"no window": {"sliding_window": None}, "window off by one": {"sliding_window": 8}},
        seed=103,
    ),
    Case(
        "mistral-bf16",
        "mistral",
        "bfloat16",
        _shape(40, 2, 4, 2, 66, 105, False, sliding_window=6, rope_parameters=default_rope(10000.0)),
        _lora(ALL_LINEAR),
        Training(schedule="linear"),
        noticed={"no window": {"sliding_window": None}, "window off by one": {"sliding_window": 5}},
        seed=104,
    ),
    Case(
        "qwen2-f32-tied",
        "qwen2",
        "float32",
        _shape(48, 2, 4, 2, 60, 109, True, rope_parameters=default_rope(100000.0)),
        _lora(ALL_LINEAR, use_rslora=True),
        Training(weight_decay=0.01, learning_rate=3e-3),
        noticed={"other rope base": {"rope_parameters": default_rope(10000.0)}},
        seed=115,
    ),
    Case(
        "qwen2-bf16-sharded",
        "qwen2",
        "bfloat16",
        _shape(
            32, 3, 4, 2, 50, 96, False,
            use_sliding_window=True, sliding_window=8, max_window_layers=1, rope_parameters=default_rope(10000.0),
        ),
        _lora(ALL_LINEAR, layers_to_transform=[1, 2]),
        shard_bytes=14_000,
        noticed={"no window": {"layer_types": ["full_attention"] * 3}},
        seed=106,
    ),
    Case(
        "qwen3-f32-sharded",
        "qwen3",
        "float32",
        _shape(40, 2, 4, 2, 62, 103, False, head_dim=12, rope_parameters=default_rope(10000.0)),
        _lora(ALL_LINEAR),
        Training(label_smoothing=0.1),
        shard_bytes=30_000,
        noticed={"other epsilon": {"rms_norm_eps": 1e-2}},
        seed=127,
    ),
    Case(
        "qwen3-bf16-tied",
        "qwen3",
        "bfloat16",
        _shape(32, 2, 4, 2, 54, 99, True, head_dim=14, rope_parameters=default_rope(1000000.0)),
        _lora(MLP),
        tied_under_head_name=True,
        noticed={"other rope base": {"rope_parameters": default_rope(10000.0)}},
        seed=108,
    ),
    Case(
        "llama-f32-old-config",
        "llama",
        "float32",
        _shape(32, 2, 4, 2, 44, 98, False, rope_parameters=LLAMA3_ROPE, attention_bias=True, mlp_bias=True),
        _lora(["k_proj", "o_proj", "down_proj"]),
        old_config_keys=True,
        noticed={"no rope scaling": {"rope_parameters": default_rope(10000.0)}},
        seed=119,
    ),
    Case(
        "qwen2-f32-dora",
        "qwen2",
        "float32",
        _shape(36, 2, 3, 1, 50, 89, False, rope_parameters=default_rope(1000.0)),  # biases on q, k and v
        _lora(ALL_LINEAR, use_dora=True, use_rslora=True, rank_pattern={"down_proj": 3}),
        Training(schedule="linear", warmup_steps=2, weight_decay=0.05, learning_rate=1e-2),
        seed=153,
    ),
    Case(
        "llama-bf16-dora",
        "llama",
        "bfloat16",
        _shape(32, 2, 4, 2, 54, 91, False, rope_parameters=default_rope(1000.0), rms_norm_eps=1e-5),
        _lora(["q_proj", "o_proj", "up_proj", "down_proj"], use_dora=True),
        seed=134,
    ),
]

# Length of each row, and which of its tokens are targets. Counts of targets differ as much as they can within a step,
# so that a mean of per-row means is far from the mean over all targets.
ROWS = [
    (5, [4]),
    (9, [5, 6, 7, 8]),
    (3, [1, 2]),
    (24, list(range(1, 24))),
    (14, [3, 4, 5, 9, 10, 11, 12, 13]),
    (7, [1]),
    (19, list(range(7, 19))),
    (11, [2, 4, 6, 8, 10]),
]

# Rows of each optimizer step. Gradients are those of the first.
STEPS = [[0, 3, 5], [1, 2, 3, 4], [6, 7], [0, 1, 2, 5], [3, 6], [4, 7, 0], [2, 3], [5, 6, 1], [7, 4, 3, 0], [1, 6, 2]]

# Rows that greedy generation continues, and by how many tokens.
PROMPT_ROWS = [0, 1]
NEW_TOKENS = 24
