"""What of `cases.py` is trained whole, and how. Data only; `make_full_goldens.py` computes it.

Learning rates are lower than those of the adapters: all weights move at once, and ten steps should not enlarge rounding.
"""

from cases import Training

# By the name of the case whose model it is: every family, tied and untied heads, f32 and bf16, biases, norms of q and k.
FULL_CASES = {
    "llama-bf16-sharded-tied": Training(learning_rate=1e-3, weight_decay=0.3),
    # Biases on all linears, which do not decay.
    "llama-f32-old-config": Training(learning_rate=1e-3, weight_decay=0.3, schedule="cosine", warmup_steps=3),
    "mistral-f32-sharded-tied": Training(learning_rate=1e-3, max_grad_norm=3.0),
    "qwen2-f32-tied": Training(learning_rate=5e-4, weight_decay=0.1),
    "qwen2-bf16-sharded": Training(learning_rate=1e-3, schedule="linear"),
    "qwen3-f32-sharded": Training(learning_rate=1e-3, label_smoothing=0.1, weight_decay=0.2),
    "qwen3-bf16-tied": Training(learning_rate=1e-3),
}

# A model that Attune drew itself (`examples/random_model.rs` writes it): what training from scratch begins with.
SCRATCH = "scratch-llama-f32-tied"
SCRATCH_TRAINING = Training(learning_rate=3e-3, schedule="linear", weight_decay=0.1)
