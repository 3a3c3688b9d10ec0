//! Sizes of published models, so that random weights of their shape can be made from a name alone.

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// The sizes that decide how fast a model trains; facts from the published `config.json`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    pub(crate) family: Family,
    hidden: usize,
    layers: usize,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    feed_forward: usize,
    pub(crate) vocabulary: usize,
    max_positions: usize,
    rope_theta: f64,
    norm_epsilon: f64,
    tied_head: bool,
}

/// Architecture, as far as it decides `config.json` and the names of the tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    Llama,
    Mistral,
    Qwen2,
    Qwen3,
}

/// All shapes, the tiny one for tests last.
pub(crate) const SHAPES: [Shape; 6] = [
    Shape {
        name: "llama-3.2-1b",
        family: Family::Llama,
        hidden: 2048,
        layers: 16,
        heads: 32,
        kv_heads: 8,
        head_dim: 64,
        feed_forward: 8192,
        vocabulary: 128_256,
        max_positions: 131_072,
        rope_theta: 500_000.0,
        norm_epsilon: 1e-5,
        tied_head: true,
    },
    Shape {
        name: "llama-3.2-3b",
        family: Family::Llama,
        hidden: 3072,
        layers: 28,
        heads: 24,
        kv_heads: 8,
        head_dim: 128,
        feed_forward: 8192,
        vocabulary: 128_256,
        max_positions: 131_072,
        rope_theta: 500_000.0,
        norm_epsilon: 1e-5,
        tied_head: true,
    },
    Shape {
        name: "mistral-7b",
        family: Family::Mistral,
        hidden: 4096,
        layers: 32,
        heads: 32,
        kv_heads: 8,
        head_dim: 128,
        feed_forward: 14_336,
        vocabulary: 32_768,
        max_positions: 32_768,
        rope_theta: 1_000_000.0,
        norm_epsilon: 1e-5,
        tied_head: false,
    },
    Shape {
        name: "qwen2.5-0.5b",
        family: Family::Qwen2,
        hidden: 896,
        layers: 24,
        heads: 14,
        kv_heads: 2,
        head_dim: 64,
        feed_forward: 4864,
        vocabulary: 151_936,
        max_positions: 32_768,
        rope_theta: 1_000_000.0,
        norm_epsilon: 1e-6,
        tied_head: true,
    },
    Shape {
        name: "qwen3-0.6b",
        family: Family::Qwen3,
        hidden: 1024,
        layers: 28,
        heads: 16,
        kv_heads: 8,
        head_dim: 128,
        feed_forward: 3072,
        vocabulary: 151_936,
        max_positions: 40_960,
        rope_theta: 1_000_000.0,
        norm_epsilon: 1e-6,
        tied_head: true,
    },
    Shape {
        name: "tiny",
        family: Family::Llama,
        hidden: 64,
        layers: 2,
        heads: 4,
        kv_heads: 2,
        head_dim: 16,
        feed_forward: 128,
        vocabulary: 512,
        max_positions: 1024,
        rope_theta: 10_000.0,
        norm_epsilon: 1e-5,
        tied_head: true,
    },
];

/// A tensor of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TensorShape {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    /// Gains of norms are ones, all else is drawn.
    pub(crate) is_gain: bool,
}

impl TensorShape {
    pub(crate) fn values(&self) -> usize {
        self.shape.iter().product()
    }
}

impl Shape {
    /// The shape called `name`.
    pub(crate) fn named(name: &str) -> Result<Self> {
        let names = SHAPES.map(|shape| shape.name).join(", ");
        let found = SHAPES.into_iter().find(|shape| shape.name == name);
        found.with_context(|| format!("no shape is called {name:?}; there are {names}"))
    }

    /// `config.json` with the keys that the published one has; token ids are those of the benchmark's own tokenizer.
    pub(crate) fn config(&self, eos_id: usize) -> Value {
        let (architecture, model_type) = match self.family {
            Family::Llama => ("LlamaForCausalLM", "llama"),
            Family::Mistral => ("MistralForCausalLM", "mistral"),
            Family::Qwen2 => ("Qwen2ForCausalLM", "qwen2"),
            Family::Qwen3 => ("Qwen3ForCausalLM", "qwen3"),
        };
        let mut config = json!({
            "architectures": [architecture],
            "attention_dropout": 0.0,
            "eos_token_id": eos_id,
            "hidden_act": "silu",
            "hidden_size": self.hidden,
            "initializer_range": 0.02,
            "intermediate_size": self.feed_forward,
            "max_position_embeddings": self.max_positions,
            "model_type": model_type,
            "num_attention_heads": self.heads,
            "num_hidden_layers": self.layers,
            "num_key_value_heads": self.kv_heads,
            "rms_norm_eps": self.norm_epsilon,
            "rope_theta": self.rope_theta,
            "tie_word_embeddings": self.tied_head,
            "torch_dtype": "bfloat16",
            "use_cache": true,
            "vocab_size": self.vocabulary,
        });
        let more = match self.family {
            Family::Llama => json!({ "attention_bias": false, "head_dim": self.head_dim, "mlp_bias": false }),
            Family::Mistral => json!({ "sliding_window": null }),
            Family::Qwen2 => json!({ "sliding_window": self.max_positions, "use_sliding_window": false }),
            Family::Qwen3 => json!({
                "attention_bias": false, "head_dim": self.head_dim, "sliding_window": null, "use_sliding_window": false,
            }),
        };
        if let (Some(config), Value::Object(more)) = (config.as_object_mut(), more) {
            config.extend(more);
        }
        if self.name.starts_with("llama-3.2") {
            config["rope_scaling"] = json!({
                "factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
                "original_max_position_embeddings": 8192, "rope_type": "llama3",
            });
        }
        config
    }

    /// Every tensor, in the order of the forward pass.
    pub(crate) fn tensors(&self) -> Vec<TensorShape> {
        let (hidden, feed_forward) = (self.hidden, self.feed_forward);
        let (query, key_value) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        let drawn = |name: String, shape: Vec<usize>| TensorShape { name, shape, is_gain: false };
        let gain = |name: String, len: usize| TensorShape { name, shape: vec![len], is_gain: true };
        let mut tensors = vec![drawn("model.embed_tokens.weight".into(), vec![self.vocabulary, hidden])];
        for layer in 0..self.layers {
            let name = |part: &str| format!("model.layers.{layer}.{part}");
            tensors.push(gain(name("input_layernorm.weight"), hidden));
            for (part, outputs) in [("q_proj", query), ("k_proj", key_value), ("v_proj", key_value)] {
                tensors.push(drawn(name(&format!("self_attn.{part}.weight")), vec![outputs, hidden]));
                if self.family == Family::Qwen2 {
                    tensors.push(drawn(name(&format!("self_attn.{part}.bias")), vec![outputs]));
                }
            }
            if self.family == Family::Qwen3 {
                tensors.push(gain(name("self_attn.q_norm.weight"), self.head_dim));
                tensors.push(gain(name("self_attn.k_norm.weight"), self.head_dim));
            }
            tensors.push(drawn(name("self_attn.o_proj.weight"), vec![hidden, query]));
            tensors.push(gain(name("post_attention_layernorm.weight"), hidden));
            tensors.push(drawn(name("mlp.gate_proj.weight"), vec![feed_forward, hidden]));
            tensors.push(drawn(name("mlp.up_proj.weight"), vec![feed_forward, hidden]));
            tensors.push(drawn(name("mlp.down_proj.weight"), vec![hidden, feed_forward]));
        }
        tensors.push(gain("model.norm.weight".into(), hidden));
        if !self.tied_head {
            tensors.push(drawn("lm_head.weight".into(), vec![self.vocabulary, hidden]));
        }
        tensors
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;

    use super::super::shared;
    use super::*;

    /// Whether two values are the same number, or the same.
    fn agree(one: &Value, other: &Value) -> bool {
        match (one.as_f64(), other.as_f64()) {
            (Some(one), Some(other)) => one == other,
            _ => one == other,
        }
    }

    #[test]
    fn sizes_are_those_of_the_published_models() {
        for (name, folder) in [
            ("llama-3.2-1b", "llama-3.2-1b-instruct"),
            ("llama-3.2-3b", "llama-3.2-3b-instruct"),
            ("mistral-7b", "mistral-7b-instruct-v0.3"),
            ("qwen2.5-0.5b", "qwen2.5-0.5b-instruct"),
            ("qwen3-0.6b", "qwen3-0.6b"),
        ] {
            let Some(dir) = shared(&format!("models/shapes/{folder}")) else { return };
            let read = |file: &str| -> Value { serde_json::from_slice(&fs::read(dir.join(file)).unwrap()).unwrap() };
            let (published, shape) = (read("config.json"), Shape::named(name).unwrap());
            let ours = shape.config(0);
            for (key, value) in ours.as_object().unwrap().iter().filter(|(key, _)| *key != "eos_token_id") {
                assert!(agree(value, &published[key]), "{name}: {key} is {value}, published is {}", published[key]);
            }
            for key in ["rope_scaling", "head_dim", "sliding_window", "attention_bias"] {
                let value = ours.get(key).unwrap_or(&Value::Null);
                assert!(agree(value, published.get(key).unwrap_or(&Value::Null)), "{name}: {key} is left out");
            }
            let tensors: BTreeMap<String, Value> =
                shape.tensors().into_iter().map(|tensor| (tensor.name, tensor.shape.into())).collect();
            assert_eq!(tensors, published_tensors(&read("tensors.json")), "{name}");
        }
    }

    /// Names and shapes.
    fn published_tensors(file: &Value) -> BTreeMap<String, Value> {
        let tensors = file.get("tensors").unwrap_or(file);
        let of = |(name, tensor): (&String, &Value)| (name.clone(), tensor.get("shape").unwrap_or(tensor).clone());
        tensors.as_object().unwrap().iter().map(of).collect()
    }

    #[test]
    fn unknown_names_are_told_what_there_is() {
        let error = Shape::named("gpt-5").unwrap_err().to_string();
        assert!(error.contains("gpt-5") && error.contains("llama-3.2-1b"), "{error}");
    }
}
