//! The key `quantization` of a `config.json` of mlx: which linears are stored in how many bits.

use std::collections::BTreeMap;
use std::path::Path;

use attune_compute::DType;
use attune_compute::blocks::Affine;
use serde_json::{Map, Value};

use super::config::ConfigFile;
use crate::error::ModelError;

/// Bits of a code and values of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AffineNumbers {
    pub(crate) bits: usize,
    pub(crate) group_len: usize,
}

/// What the key says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Quantization {
    common: AffineNumbers,
    /// Modules with numbers of their own.
    own: BTreeMap<String, AffineNumbers>,
}

impl Quantization {
    /// Reads the key; `None` where there is none.
    ///
    /// # Errors
    /// When it says another mode than `affine`, or numbers that are not read.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>, ModelError> {
        let config = ConfigFile::read(path)?;
        let Some(value) = config.get("quantization") else { return Ok(None) };
        let Some(keys) = value.as_object() else {
            return Err(config.key_error("quantization", "expected an object, as mlx-lm writes it"));
        };
        let common = numbers(&config, "quantization", keys)?;
        let mut own = BTreeMap::new();
        for (name, value) in keys {
            // `true` and `false` say what the tensors say as well.
            if let Some(keys) = value.as_object() {
                own.insert(name.clone(), numbers(&config, &format!("quantization.{name}"), keys)?);
            }
        }
        Ok(Some(Self { common, own }))
    }

    /// The numbers of a module.
    pub(crate) fn of(&self, module: &str) -> AffineNumbers {
        self.own.get(module).copied().unwrap_or(self.common)
    }
}

fn numbers(config: &ConfigFile, key: &str, keys: &Map<String, Value>) -> Result<AffineNumbers, ModelError> {
    const HINT: &str = "of mlx's quantised models those of mode affine with 4 or 8 bits in groups of 32, 64 or 128 are \
                        read; take another one, or the unquantised model";
    match keys.get("mode").map(Value::as_str) {
        None | Some(Some("affine")) => {}
        Some(mode) => {
            let mode = mode.unwrap_or("(not a string)");
            return Err(config.unsupported(format!("{key}.mode {mode}"), HINT));
        }
    }
    let number = |name: &str| {
        let value = keys.get(name).and_then(Value::as_u64).and_then(|value| usize::try_from(value).ok());
        value.ok_or_else(|| config.key_error(&format!("{key}.{name}"), "expected a whole number"))
    };
    let (bits, group_len) = (number("bits")?, number("group_size")?);
    match Affine::new(bits, group_len, DType::F32) {
        Some(_) => Ok(AffineNumbers { bits, group_len }),
        None => Err(config.unsupported(format!("{key} with {bits} bits in groups of {group_len}"), HINT)),
    }
}
