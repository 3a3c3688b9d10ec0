//! In which layout an adapter lies on disk.

use std::fmt;
use std::path::Path;

use attune_formats::files::DirWriter;
use attune_formats::{files, mlx, peft};
use serde_json::{Map, Value};

use crate::adapter::Adapter;
use crate::error::ModelError;
use crate::spec::DecoderSpec;

/// Both tools call their configuration so, and some lists in it are long.
const MAX_CONFIG_BYTES: u64 = 16 << 20;

/// Whose layout it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdapterLayout {
    /// PEFT's, the native one.
    Peft,
    /// mlx-lm's.
    Mlx,
}

impl fmt::Display for AdapterLayout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Peft => "PEFT",
            Self::Mlx => "mlx-lm",
        })
    }
}

impl AdapterLayout {
    /// Finds out from the files and the keys of `adapter_config.json`.
    ///
    /// # Errors
    /// When there is no such folder, or it is in neither layout.
    pub fn detect(path: &Path) -> Result<Self, ModelError> {
        let none = |reason: &str| Err(ModelError::NoAdapter { path: path.to_path_buf(), reason: reason.into() });
        if !path.exists() {
            return none("there is no such folder");
        }
        if !path.is_dir() {
            return none("is a file, an adapter is a folder");
        }
        let config = path.join(peft::CONFIG_FILE);
        if !config.exists() {
            return none("has no adapter_config.json");
        }
        let bytes = files::read_limited(&config, MAX_CONFIG_BYTES)?;
        // What is not JSON is left to PEFT's reader to complain about.
        let keys: Map<String, Value> = serde_json::from_slice(&bytes).unwrap_or_default();
        let mlx_keys = ["fine_tune_type", "lora_parameters", "num_layers"].iter().any(|key| keys.contains_key(*key));
        let mlx_file = path.join(mlx::TENSOR_FILE).exists() && !path.join(peft::TENSOR_FILE).exists();
        Ok(if !keys.contains_key("peft_type") && (mlx_keys || mlx_file) { Self::Mlx } else { Self::Peft })
    }

    /// The base model that an adapter in this layout names: a path or a name on a hub.
    ///
    /// # Errors
    /// When its configuration is missing or broken.
    pub fn base_of(self, path: &Path) -> Result<Option<String>, ModelError> {
        Ok(match self {
            Self::Peft => peft::AdapterConfig::read(&path.join(peft::CONFIG_FILE))?.base_model_name_or_path,
            Self::Mlx => mlx::MlxConfig::read(&path.join(mlx::CONFIG_FILE))?.model,
        })
    }
}

impl Adapter {
    /// Reads an adapter in whatever layout it is.
    ///
    /// # Errors
    /// As [`AdapterLayout::detect`], [`Adapter::from_peft`] and [`Adapter::from_mlx`].
    pub fn open(model: &DecoderSpec, path: &Path) -> Result<Self, ModelError> {
        match AdapterLayout::detect(path)? {
            AdapterLayout::Peft => Self::from_peft(model, path),
            AdapterLayout::Mlx => Self::from_mlx(model, path),
        }
    }

    /// Writes a folder in a layout; an existing one is replaced. `base_model` is the base as the files name it: a path or
    /// a name.
    ///
    /// # Errors
    /// When the layout cannot hold the adapter, or the files cannot be written.
    pub fn save(&self, layout: AdapterLayout, dir: &Path, base_model: &str) -> Result<(), ModelError> {
        let writer = DirWriter::create(dir)?;
        match layout {
            AdapterLayout::Peft => self.write_peft(&writer, base_model)?,
            AdapterLayout::Mlx => self.write_mlx(&writer, base_model)?,
        }
        Ok(writer.replace()?)
    }
}
