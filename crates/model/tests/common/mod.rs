//! Tiny random models on disk.

use std::path::Path;

use attune_compute::rng;
use attune_formats::tensors::{TensorView, write_tensors};
use attune_model::{DecoderSpec, Linear};
use serde_json::{Value, json};

/// A `config.json` of the family with small, odd sizes.
pub(crate) fn config(family: &str) -> Value {
    let mut config = json!({
        "model_type": family, "hidden_size": 20, "intermediate_size": 27, "num_hidden_layers": 3,
        "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 31, "max_position_embeddings": 64,
        "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu", "head_dim": 6,
        "tie_word_embeddings": family == "qwen2",
    });
    match family {
        "llama" => {
            config["rope_scaling"] = json!({
                "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                "original_max_position_embeddings": 32,
            });
            config["attention_bias"] = json!(true);
        }
        "mistral" => config["sliding_window"] = json!(4),
        _ => {}
    }
    config
}

/// Writes a model folder: random weights that are a pure function of `seed` and the tensor's name.
pub(crate) fn write_model(dir: &Path, config: &Value, seed: u64) -> DecoderSpec {
    std::fs::create_dir_all(dir).unwrap();
    #[allow(clippy::disallowed_methods)]
    std::fs::write(dir.join("config.json"), serde_json::to_string_pretty(config).unwrap()).unwrap();
    let spec = DecoderSpec::read(dir).unwrap();
    let tensors = random_tensors(&spec, seed);
    let views: Vec<TensorView> = tensors.iter().map(|(name, shape, data)| TensorView { name, shape, data }).collect();
    write_tensors(&dir.join("model.safetensors"), &views, &Default::default()).unwrap();
    spec
}

/// Name, shape and values of every tensor that the spec needs.
pub(crate) fn random_tensors(spec: &DecoderSpec, seed: u64) -> Vec<(String, Vec<usize>, Vec<f32>)> {
    let mut shapes: Vec<(String, Vec<usize>)> = vec![
        ("model.embed_tokens.weight".into(), vec![spec.vocabulary, spec.hidden]),
        ("model.norm.weight".into(), vec![spec.hidden]),
    ];
    if !spec.tied_head {
        shapes.push(("lm_head.weight".into(), vec![spec.vocabulary, spec.hidden]));
    }
    for layer in 0..spec.layers {
        let prefix = format!("model.layers.{layer}");
        shapes.push((format!("{prefix}.input_layernorm.weight"), vec![spec.hidden]));
        shapes.push((format!("{prefix}.post_attention_layernorm.weight"), vec![spec.hidden]));
        if spec.qk_norm {
            shapes.push((format!("{prefix}.self_attn.q_norm.weight"), vec![spec.head_dim]));
            shapes.push((format!("{prefix}.self_attn.k_norm.weight"), vec![spec.head_dim]));
        }
        for linear in Linear::ALL {
            let (outputs, inputs) = spec.linear_shape(linear);
            shapes.push((format!("{}.weight", linear.module_name(layer)), vec![outputs, inputs]));
            if spec.has_bias(linear) {
                shapes.push((format!("{}.bias", linear.module_name(layer)), vec![outputs]));
            }
        }
    }
    shapes
        .into_iter()
        .map(|(name, shape)| {
            let key = name.bytes().fold(seed, |key, byte| rng::combine(key, u64::from(byte)));
            let count = shape.iter().product::<usize>() as u64;
            let norm = name.contains("norm");
            let values = (0..count).map(|i| {
                let uniform = 2.0 * rng::uniform_f32(rng::combine(key, i)) - 1.0;
                if norm { 1.0 + 0.3 * uniform } else { 0.4 * uniform }
            });
            (name, shape, values.collect())
        })
        .collect()
}
