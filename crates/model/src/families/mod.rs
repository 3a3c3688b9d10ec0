//! Families as data: each file turns a `config.json` into a [`DecoderSpec`]. Tensor names are the same in all four.

mod config;
pub(crate) mod gguf;
mod llama;
mod mistral;
mod quantization;
mod qwen2;
mod qwen3;

use std::path::Path;

use crate::error::ModelError;
use crate::spec::DecoderSpec;
use config::ConfigFile;

pub(crate) use quantization::{AffineNumbers, Quantization};

/// `model_type` and who reads it.
type Reader = fn(&ConfigFile) -> Result<DecoderSpec, ModelError>;
const FAMILIES: [(&str, Reader); 4] =
    [("llama", llama::spec), ("mistral", mistral::spec), ("qwen2", qwen2::spec), ("qwen3", qwen3::spec)];

/// Reads a `config.json` of any family.
pub(crate) fn read_spec(path: &Path) -> Result<DecoderSpec, ModelError> {
    let config = ConfigFile::read(path)?;
    let model_type = config.string("model_type")?;
    let Some((_, reader)) = FAMILIES.iter().find(|(name, _)| *name == model_type) else {
        let known: Vec<&str> = FAMILIES.iter().map(|(name, _)| *name).collect();
        return Err(config.unsupported(
            format!("model_type '{model_type}'"),
            format!("supported are {}; other families come with later versions", known.join(", ")),
        ));
    };
    config.refuse_foreign_features()?;
    let spec = reader(&config)?;
    config.check(&spec)?;
    Ok(spec)
}
