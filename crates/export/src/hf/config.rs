//! `config.json`: the base's own, or one made from the spec where the base has none.

use std::path::Path;

use attune_formats::files::read_limited;
use attune_model::{DecoderSpec, RopeScaling};
use serde_json::{Map, Value, json};

use crate::error::ExportError;
use crate::floats::FloatType;
use crate::hf::AffineOptions;

pub(super) const NAME: &str = "config.json";
const MAX_BYTES: u64 = 16 << 20;

/// The file. Of the base's own only what says how weights are stored changes.
pub(super) fn text(
    spec: &DecoderSpec,
    source: Option<&Path>,
    dtype: FloatType,
    affine: Option<AffineOptions>,
) -> Result<String, ExportError> {
    let mut config = match source {
        None => config_of_spec(spec)?,
        Some(source) => {
            let path = source.join(NAME);
            let bytes = read_limited(&path, MAX_BYTES)?;
            let config: Map<String, Value> = serde_json::from_slice(&bytes)
                .map_err(|error| ExportError::Config { path, reason: error.to_string() })?;
            config
        }
    };
    add_old_rope_keys(&mut config);
    for key in ["quantization", "quantization_config"] {
        // Those of a base of mlx do not hold any more.
        config.remove(key);
        if let Some(AffineOptions { bits, group_len }) = affine {
            config.insert(key.into(), json!({ "group_size": group_len, "bits": bits, "mode": "affine" }));
        }
    }
    // Transformers 5 says `dtype`, those before it `torch_dtype`; each reads the other's.
    let key = if config.contains_key("dtype") { "dtype" } else { "torch_dtype" };
    config.insert(key.into(), dtype.torch_name().into());
    let Ok(text) = serde_json::to_string_pretty(&config) else { unreachable!("JSON was read or made of plain values") };
    Ok(text + "\n")
}

/// Adds the rotary parameters under the keys that Transformers had before version 5, where the base has the new ones alone:
/// mlx-lm reads no others for llama, mistral and qwen2, and takes its own defaults without a word.
fn add_old_rope_keys(config: &mut Map<String, Value>) {
    let Some(Value::Object(mut rope)) = config.get("rope_parameters").cloned() else { return };
    if let Some(theta) = rope.remove("rope_theta") {
        config.entry("rope_theta").or_insert(theta);
    }
    if rope.get("rope_type").is_some_and(|kind| kind != "default") {
        config.entry("rope_scaling").or_insert(Value::Object(rope));
    }
}

/// A `config.json` that says what the spec says, with the keys that Transformers reads for the family.
///
/// # Errors
/// [`ExportError::Inexpressible`] for rotary frequencies that follow no formula.
pub fn config_of_spec(spec: &DecoderSpec) -> Result<Map<String, Value>, ExportError> {
    let architecture = match spec.family.as_str() {
        "mistral" => "MistralForCausalLM",
        "qwen2" => "Qwen2ForCausalLM",
        "qwen3" => "Qwen3ForCausalLM",
        _ => "LlamaForCausalLM",
    };
    let scaling = match &spec.rope_scaling {
        RopeScaling::None => Value::Null,
        RopeScaling::Divided { .. } => {
            return Err(ExportError::Inexpressible {
                what: "a list of divisors of the rotary frequencies".into(),
                format: "config.json",
                hint: "export to GGUF, which keeps the list".into(),
            });
        }
        RopeScaling::Linear { factor } => json!({ "rope_type": "linear", "factor": factor }),
        RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_positions } => json!({
            "rope_type": "llama3",
            "factor": factor,
            "low_freq_factor": low_freq_factor,
            "high_freq_factor": high_freq_factor,
            "original_max_position_embeddings": *original_positions as u64,
        }),
    };
    let mut config = json!({
        "architectures": [architecture],
        "model_type": spec.family,
        "hidden_act": "silu",
        "hidden_size": spec.hidden,
        "intermediate_size": spec.feed_forward,
        "num_hidden_layers": spec.layers,
        "num_attention_heads": spec.heads,
        "num_key_value_heads": spec.kv_heads,
        "head_dim": spec.head_dim,
        "vocab_size": spec.vocabulary,
        "max_position_embeddings": spec.max_positions,
        "rms_norm_eps": shortest(spec.norm_epsilon),
        "rope_theta": spec.rope_theta,
        "rope_scaling": scaling,
        "tie_word_embeddings": spec.tied_head,
    });
    let Value::Object(map) = &mut config else { unreachable!("an object was written") };
    let window = spec.windows.iter().flatten().next();
    match spec.family.as_str() {
        "mistral" => _ = map.insert("sliding_window".into(), json!(window)),
        "qwen2" | "qwen3" => {
            let kind = |window: &Option<usize>| if window.is_some() { "sliding_attention" } else { "full_attention" };
            map.insert("use_sliding_window".into(), window.is_some().into());
            map.insert("sliding_window".into(), json!(window));
            map.insert("layer_types".into(), spec.windows.iter().map(kind).collect());
        }
        _ => {}
    }
    if matches!(spec.family.as_str(), "llama" | "qwen3") {
        map.insert("attention_bias".into(), spec.output_bias.into());
    }
    if spec.family == "llama" {
        map.insert("mlp_bias".into(), spec.mlp_bias.into());
    }
    Ok(std::mem::take(map))
}

/// The shortest decimal that reads back as the same `f32`: 1e-5, not 9.999999747378752e-6.
fn shortest(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use attune_model::DecoderSpec;

    fn read_back(spec: &DecoderSpec) -> DecoderSpec {
        let scratch = tempfile::tempdir().expect("a folder");
        let text = serde_json::to_string(&config_of_spec(spec).expect("a config")).expect("JSON");
        attune_formats::files::write_atomic(&scratch.path().join(NAME), text.as_bytes()).expect("a file");
        DecoderSpec::read(scratch.path()).expect("a spec")
    }

    #[test]
    fn a_made_config_is_read_back_as_the_same_spec() {
        let llama3 = RopeScaling::Llama3 {
            factor: 32.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_positions: 8192.0,
        };
        for family in ["llama", "mistral", "qwen2", "qwen3"] {
            for rope_scaling in [RopeScaling::None, RopeScaling::Linear { factor: 2.0 }, llama3.clone()] {
                for window in [None, Some(64)] {
                    let spec = DecoderSpec {
                        family: family.into(),
                        hidden: 64,
                        layers: 2,
                        heads: 4,
                        kv_heads: 2,
                        head_dim: 32,
                        feed_forward: 96,
                        vocabulary: 300,
                        max_positions: 512,
                        norm_epsilon: 1e-5,
                        rope_theta: 500_000.0,
                        rope_scaling: rope_scaling.clone(),
                        qkv_bias: family == "qwen2",
                        output_bias: false,
                        mlp_bias: false,
                        qk_norm: family == "qwen3",
                        tied_head: true,
                        windows: vec![window.filter(|_| family != "llama"); 2],
                    };
                    assert_eq!(read_back(&spec), spec);
                }
            }
        }
    }
}
