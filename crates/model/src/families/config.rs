//! A `config.json` and the keys that all families share.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::error::ModelError;
use crate::spec::{DecoderSpec, RopeScaling};

/// A parsed `config.json` that knows its own path, for messages.
pub(super) struct ConfigFile {
    path: PathBuf,
    keys: Map<String, Value>,
}

/// Sizes above this are a damaged file, not a model; it keeps products of two sizes far from overflow.
const LARGEST_SIZE: usize = 1 << 28;

impl ConfigFile {
    pub(super) fn read(path: &Path) -> Result<Self, ModelError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| ModelError::Config { path: path.to_path_buf(), source })?;
        let value: Value = serde_json::from_str(&text)
            .map_err(|source| ModelError::ConfigJson { path: path.to_path_buf(), source })?;
        match value {
            Value::Object(keys) => Ok(Self { path: path.to_path_buf(), keys }),
            other => Err(ModelError::ConfigKey {
                path: path.to_path_buf(),
                key: "(whole file)".into(),
                reason: format!("expected an object, got {}", kind(&other)),
            }),
        }
    }

    pub(super) fn key_error(&self, key: &str, reason: impl Into<String>) -> ModelError {
        ModelError::ConfigKey { path: self.path.clone(), key: key.into(), reason: reason.into() }
    }

    pub(super) fn unsupported(&self, what: impl Into<String>, hint: impl Into<String>) -> ModelError {
        ModelError::Unsupported { path: self.path.clone(), what: what.into(), hint: hint.into() }
    }

    /// The value, unless it is absent or null.
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.keys.get(key).filter(|value| !value.is_null())
    }

    /// Whether the key is there at all, `null` included.
    pub(super) fn has(&self, key: &str) -> bool {
        self.keys.contains_key(key)
    }

    pub(super) fn string(&self, key: &str) -> Result<&str, ModelError> {
        match self.get(key) {
            Some(Value::String(text)) => Ok(text),
            Some(other) => Err(self.key_error(key, format!("expected a string, got {}", kind(other)))),
            None => Err(self.key_error(key, "missing")),
        }
    }

    pub(super) fn optional_size(&self, key: &str) -> Result<Option<usize>, ModelError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match value.as_u64().and_then(|size| usize::try_from(size).ok()) {
            Some(size) if (1..=LARGEST_SIZE).contains(&size) => Ok(Some(size)),
            _ => Err(self.key_error(key, format!("expected a whole number from 1 to {LARGEST_SIZE}, got {value}"))),
        }
    }

    pub(super) fn size(&self, key: &str) -> Result<usize, ModelError> {
        self.optional_size(key)?.ok_or_else(|| self.key_error(key, "missing"))
    }

    pub(super) fn flag(&self, key: &str, default: bool) -> Result<bool, ModelError> {
        match self.get(key) {
            None => Ok(default),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(other) => Err(self.key_error(key, format!("expected true or false, got {}", kind(other)))),
        }
    }

    fn positive(&self, key: &str, value: &Value) -> Result<f64, ModelError> {
        match value.as_f64() {
            Some(number) if number.is_finite() && number > 0.0 => Ok(number),
            _ => Err(self.key_error(key, format!("expected a number above 0, got {value}"))),
        }
    }

    pub(super) fn number(&self, key: &str, default: f64) -> Result<f64, ModelError> {
        self.get(key).map_or(Ok(default), |value| self.positive(key, value))
    }

    /// The spec with everything that all families read the same way; the rest as in a plain Llama.
    pub(super) fn common(&self, family: &str, head_dim_default: Option<usize>) -> Result<DecoderSpec, ModelError> {
        let (hidden, heads) = (self.size("hidden_size")?, self.size("num_attention_heads")?);
        let layers = self.size("num_hidden_layers")?;
        let head_dim = match (self.optional_size("head_dim")?, head_dim_default) {
            (Some(head_dim), _) | (None, Some(head_dim)) => head_dim,
            (None, None) if hidden % heads == 0 => hidden / heads,
            (None, None) => {
                return Err(self.key_error("num_attention_heads", format!("{heads} heads do not divide {hidden}")));
            }
        };
        let (rope_theta, rope_scaling) = self.rope()?;
        Ok(DecoderSpec {
            family: family.into(),
            hidden,
            layers,
            heads,
            kv_heads: self.optional_size("num_key_value_heads")?.unwrap_or(heads),
            head_dim,
            feed_forward: self.size("intermediate_size")?,
            vocabulary: self.size("vocab_size")?,
            max_positions: self.size("max_position_embeddings")?,
            norm_epsilon: self.number("rms_norm_eps", 1e-6)? as f32,
            rope_theta,
            rope_scaling,
            qkv_bias: false,
            output_bias: false,
            mlp_bias: false,
            qk_norm: false,
            tied_head: self.flag("tie_word_embeddings", false)?,
            windows: vec![None; layers],
        })
    }

    /// Base and scaling of the rotary frequencies: `rope_parameters` (Transformers 5), or `rope_theta` and
    /// `rope_scaling` (Transformers 4).
    fn rope(&self) -> Result<(f64, RopeScaling), ModelError> {
        let (key, block) = match (self.get("rope_parameters"), self.get("rope_scaling")) {
            (Some(block), _) => ("rope_parameters", Some(block)),
            (None, block) => ("rope_scaling", block),
        };
        let empty = Map::new();
        let block = match block {
            None => &empty,
            Some(Value::Object(block)) => block,
            Some(other) => return Err(self.key_error(key, format!("expected an object, got {}", kind(other)))),
        };
        let field = |name: &str| {
            let path = format!("{key}.{name}");
            let value = block.get(name).ok_or_else(|| self.key_error(&path, "missing"))?;
            self.positive(&path, value)
        };
        let theta = match block.get("rope_theta") {
            Some(value) => self.positive(&format!("{key}.rope_theta"), value)?,
            None => self.number("rope_theta", 10_000.0)?,
        };
        if let Some(share) = block.get("partial_rotary_factor").and_then(Value::as_f64)
            && share != 1.0
        {
            return Err(self
                .unsupported(format!("{key}.partial_rotary_factor {share}"), "use a model that rotates whole heads"));
        }
        let scaling = match block.get("rope_type").or_else(|| block.get("type")).map(|value| value.as_str()) {
            None | Some(Some("default")) => RopeScaling::None,
            Some(Some("linear")) => RopeScaling::Linear { factor: field("factor")? },
            Some(Some("llama3")) => RopeScaling::Llama3 {
                factor: field("factor")?,
                low_freq_factor: field("low_freq_factor")?,
                high_freq_factor: field("high_freq_factor")?,
                original_positions: field("original_max_position_embeddings")?,
            },
            Some(other) => {
                return Err(self.unsupported(
                    format!("{key}.rope_type {}", other.unwrap_or("(not a string)")),
                    "supported are default, linear and llama3",
                ));
            }
        };
        if let RopeScaling::Llama3 { low_freq_factor, high_freq_factor, .. } = scaling
            && low_freq_factor >= high_freq_factor
        {
            return Err(self.key_error(
                key,
                format!("low_freq_factor {low_freq_factor} must be below high_freq_factor {high_freq_factor}"),
            ));
        }
        Ok((theta, scaling))
    }

    /// Windows of the Qwen families: `layer_types` when it is there, else layers from `max_window_layers` on slide.
    pub(super) fn qwen_windows(&self, layers: usize) -> Result<Vec<Option<usize>>, ModelError> {
        if !self.flag("use_sliding_window", false)? {
            return Ok(vec![None; layers]);
        }
        let window = self.size("sliding_window")?;
        if let Some(types) = self.get("layer_types") {
            let types = types.as_array().filter(|types| types.len() == layers);
            let types = types.ok_or_else(|| self.key_error("layer_types", format!("expected a list of {layers}")))?;
            return types
                .iter()
                .map(|layer_type| match layer_type.as_str() {
                    Some("sliding_attention") => Ok(Some(window)),
                    Some("full_attention") => Ok(None),
                    _ => Err(self.key_error("layer_types", format!("unknown type {layer_type}"))),
                })
                .collect();
        }
        let first_sliding = match self.get("max_window_layers") {
            None => 28,
            Some(value) => {
                value.as_u64().ok_or_else(|| self.key_error("max_window_layers", format!("got {value}")))? as usize
            }
        };
        Ok((0..layers).map(|layer| (layer >= first_sliding).then_some(window)).collect())
    }

    /// Features that change the mathematics and that no family here has.
    pub(super) fn refuse_foreign_features(&self) -> Result<(), ModelError> {
        // mlx writes both keys, with the same content: `quantization.rs` reads the first.
        if self.get("quantization").is_none() && self.get("quantization_config").is_some() {
            return Err(self.unsupported("quantization_config", "take the unquantised model (bf16, f16 or f32)"));
        }
        match self.get("hidden_act").map(|value| value.as_str()) {
            None | Some(Some("silu" | "swish")) => Ok(()),
            Some(other) => Err(self.unsupported(
                format!("hidden_act {}", other.unwrap_or("(not a string)")),
                "the supported families use silu",
            )),
        }
    }

    /// Relations between keys.
    pub(super) fn check(&self, spec: &DecoderSpec) -> Result<(), ModelError> {
        if !spec.heads.is_multiple_of(spec.kv_heads) {
            let reason = format!("{} does not divide num_attention_heads {}", spec.kv_heads, spec.heads);
            return Err(self.key_error("num_key_value_heads", reason));
        }
        if !spec.head_dim.is_multiple_of(2) {
            return Err(self.key_error("head_dim", format!("{} is odd; rotary pairs need an even size", spec.head_dim)));
        }
        Ok(())
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
