//! `adapter_config.json` of mlx-lm.

use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::MlxError;
use crate::files::read_limited;

/// All arguments of a training run lie there, a few kilobytes.
const MAX_CONFIG_BYTES: u64 = 4 << 20;

/// The largest rank that is believed.
const MAX_RANK: usize = 1 << 20;

/// What the matrices mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FineTuneType {
    /// Two matrices per module.
    Lora,
    /// And the norms of the rows.
    Dora,
}

/// The part of the configuration that is needed to use the adapter.
#[derive(Debug, Clone, PartialEq)]
pub struct MlxConfig {
    /// The model that the adapter was trained on: a path or a name.
    pub model: Option<String>,
    /// LoRA or DoRA.
    pub fine_tune_type: FineTuneType,
    /// How many blocks have modules, counted from the last; all if 0 or less.
    pub num_layers: i64,
    /// r of every module.
    pub rank: usize,
    /// What the product of the matrices is multiplied with.
    pub scale: f32,
    /// Dropout on the input while training.
    pub dropout: f32,
    /// Names of the linears within a block, `self_attn.q_proj`; `None` is all.
    pub keys: Option<Vec<String>>,
}

impl MlxConfig {
    /// Reads `adapter_config.json`. The other keys say how the adapter was trained and are left out.
    ///
    /// # Errors
    /// When the file is missing or not a JSON object, a needed key is missing, or a value makes no sense.
    pub fn read(path: &Path) -> Result<Self, MlxError> {
        let bytes = read_limited(path, MAX_CONFIG_BYTES)?;
        let keys: Map<String, Value> =
            serde_json::from_slice(&bytes).map_err(|source| MlxError::Syntax { path: path.to_path_buf(), source })?;
        // mlx-lm's own default.
        let kind: String = optional(path, "", &keys, "fine_tune_type")?.unwrap_or_else(|| "lora".into());
        let fine_tune_type = match kind.as_str() {
            "lora" => FineTuneType::Lora,
            "dora" => FineTuneType::Dora,
            _ => return Err(MlxError::NoAdapter { path: path.to_path_buf(), found: kind }),
        };
        let lora: Map<String, Value> = needed(path, "", &keys, "lora_parameters")?;
        let inside = "lora_parameters.";
        let config = Self {
            model: optional(path, "", &keys, "model")?,
            fine_tune_type,
            num_layers: needed(path, "", &keys, "num_layers")?,
            rank: needed(path, inside, &lora, "rank")?,
            scale: needed(path, inside, &lora, "scale")?,
            dropout: needed(path, inside, &lora, "dropout")?,
            keys: optional(path, inside, &lora, "keys")?,
        };
        let wrong = |key: &str, reason: String| {
            Err(MlxError::Key { path: path.to_path_buf(), key: format!("{inside}{key}"), reason })
        };
        if !(1..=MAX_RANK).contains(&config.rank) {
            return wrong("rank", format!("{} is not from 1 to {MAX_RANK}", config.rank));
        }
        if !config.scale.is_finite() {
            return wrong("scale", "is not a finite number".into());
        }
        if !(0.0..1.0).contains(&config.dropout) {
            return wrong("dropout", format!("{} is not from 0 up to 1", config.dropout));
        }
        Ok(config)
    }

    /// Whether mlx-lm makes an adapter for this module in a model of so many blocks.
    pub fn makes(&self, module: &str, layers: usize) -> bool {
        let named = |name: &str| self.keys.as_ref().is_none_or(|keys| keys.iter().any(|key| key == name));
        if self.keys.is_some() && named(module) {
            return true; // keys may be whole names
        }
        let Some((layer, name)) = module.strip_prefix("model.layers.").and_then(|rest| rest.split_once('.')) else {
            return false;
        };
        let count = usize::try_from(self.num_layers).ok().filter(|&count| count > 0).unwrap_or(layers);
        layer.parse::<usize>().is_ok_and(|layer| layer < layers && layer + count >= layers) && named(name)
    }

    /// The text of `adapter_config.json`, keys sorted as mlx-lm sorts them.
    pub fn to_json(&self) -> String {
        let kind = match self.fine_tune_type {
            FineTuneType::Lora => "lora",
            FineTuneType::Dora => "dora",
        };
        // Through their shortest decimal, so that 0.1 stays 0.1.
        let number = |value: f32| value.to_string().parse::<f64>().unwrap_or_else(|_| f64::from(value));
        let mut lora = json!({
            "rank": self.rank, "scale": number(self.scale), "dropout": number(self.dropout),
        });
        if let Some(keys) = &self.keys {
            lora["keys"] = json!(keys);
        }
        let all = json!({
            "fine_tune_type": kind, "lora_parameters": lora, "model": self.model, "num_layers": self.num_layers,
        });
        format!("{all:#}\n")
    }
}

fn optional<T: DeserializeOwned>(
    path: &Path,
    inside: &str,
    keys: &Map<String, Value>,
    key: &str,
) -> Result<Option<T>, MlxError> {
    match keys.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => serde_json::from_value(value.clone()).map(Some).map_err(|error| MlxError::Key {
            path: path.to_path_buf(),
            key: format!("{inside}{key}"),
            reason: error.to_string(),
        }),
    }
}

fn needed<T: DeserializeOwned>(path: &Path, inside: &str, keys: &Map<String, Value>, key: &str) -> Result<T, MlxError> {
    optional(path, inside, keys, key)?.ok_or_else(|| MlxError::Key {
        path: path.to_path_buf(),
        key: format!("{inside}{key}"),
        reason: "is missing, and mlx-lm does not load without it".into(),
    })
}
