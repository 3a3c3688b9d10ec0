//! LoRA adapters in the layout of PEFT: `adapter_config.json` and `adapter_model.safetensors`.
//!
//! A module `model.layers.0.self_attn.q_proj` has the tensors
//! `base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight` of shape `[r, in]` and `...lora_B.weight` of shape
//! `[out, r]`; its linear becomes `W + scale * B A` with scale alpha / r, or alpha / sqrt(r) with rsLoRA.
//!
//! Whatever else an adapter of PEFT may contain (DoRA, trained biases, saved modules, ...) is reported, and
//! [`PeftAdapter::pairs`], the way to the matrices, refuses it: computing without it would be wrong in silence.
//!
//! # Source
//! PEFT 0.21; <https://huggingface.co/docs/peft/developer_guides/checkpoint>

mod config;
mod error;
mod pattern;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use config::{AdapterConfig, TargetModules};
pub use error::PeftError;
pub use pattern::pattern_value;

use crate::files::DirWriter;
use crate::tensors::{self, F32Tensor, TensorView, pickle_in};

/// Name of the configuration in an adapter folder.
pub const CONFIG_FILE: &str = "adapter_config.json";
/// Name of the matrices in an adapter folder.
pub const TENSOR_FILE: &str = "adapter_model.safetensors";

const PREFIX: &str = "base_model.model.";
const SUFFIX_A: &str = ".lora_A.weight";
const SUFFIX_B: &str = ".lora_B.weight";

/// One of the two matrices of a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Matrix {
    /// `[r, in]`.
    A,
    /// `[out, r]`.
    B,
}

/// The name in the file of a module's matrix.
pub fn tensor_name(module: &str, matrix: Matrix) -> String {
    format!("{PREFIX}{module}{}", if matrix == Matrix::A { SUFFIX_A } else { SUFFIX_B })
}

/// The module and the matrix that a name in the file stands for; `None` for what is not a matrix of a linear.
pub fn parse_tensor_name(name: &str) -> Option<(&str, Matrix)> {
    let rest = name.strip_prefix(PREFIX)?;
    let module = |suffix| rest.strip_suffix(suffix).filter(|module| !module.is_empty());
    module(SUFFIX_A).map(|module| (module, Matrix::A)).or_else(|| Some((module(SUFFIX_B)?, Matrix::B)))
}

/// An adapter as it lies in its folder.
#[derive(Debug, Clone, PartialEq)]
pub struct PeftAdapter {
    /// The folder.
    pub dir: PathBuf,
    /// `adapter_config.json`.
    pub config: AdapterConfig,
    /// `adapter_model.safetensors`, by name in the file.
    pub tensors: BTreeMap<String, F32Tensor>,
}

/// The matrices of one module.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LoraPair<'a> {
    /// `[r, in]`.
    pub a: &'a F32Tensor,
    /// `[out, r]`.
    pub b: &'a F32Tensor,
    /// r.
    pub rank: usize,
    /// What B A is multiplied with.
    pub scale: f32,
}

/// Reads an adapter folder; what is not supported is only reported, see [`PeftAdapter::unsupported`].
///
/// # Errors
/// When a file is missing or malformed, the adapter is not LoRA, or its matrices are only there as a pickle.
pub fn read(dir: &Path) -> Result<PeftAdapter, PeftError> {
    let config = AdapterConfig::read(&dir.join(CONFIG_FILE))?;
    let path = dir.join(TENSOR_FILE);
    if !path.exists()
        && let Some(file) = pickle_in(dir, "adapter_model")
    {
        return Err(PeftError::PicklesOnly { dir: dir.to_path_buf(), file });
    }
    Ok(PeftAdapter { dir: dir.to_path_buf(), config, tensors: tensors::read_tensors(&path)? })
}

impl PeftAdapter {
    /// Everything that would change the result and is not supported: parts of the configuration, and tensors that are
    /// not matrices of linears (saved modules, magnitudes of DoRA, embeddings, ...).
    pub fn unsupported(&self) -> Vec<String> {
        let foreign: Vec<&str> =
            self.tensors.keys().map(String::as_str).filter(|name| parse_tensor_name(name).is_none()).collect();
        let foreign = match foreign[..] {
            [] => None,
            [name] => Some(format!("tensor {name:?}")),
            [name, ..] => Some(format!("{} tensors that are not LoRA matrices, the first is {name:?}", foreign.len())),
        };
        self.config.unsupported.iter().cloned().chain(foreign).collect()
    }

    /// The matrices by module, for example `model.layers.0.self_attn.q_proj`, checked against the configuration.
    ///
    /// # Errors
    /// When anything is [unsupported](PeftAdapter::unsupported), there are no matrices, one of a pair is missing, shape
    /// and rank disagree, or a module is not targeted by the configuration.
    pub fn pairs(&self) -> Result<BTreeMap<&str, LoraPair<'_>>, PeftError> {
        let features = self.unsupported();
        if !features.is_empty() {
            return Err(PeftError::Unsupported { dir: self.dir.clone(), features });
        }
        let mut found: BTreeMap<&str, (Option<&F32Tensor>, Option<&F32Tensor>)> = BTreeMap::new();
        for (name, tensor) in &self.tensors {
            match parse_tensor_name(name) {
                Some((module, Matrix::A)) => found.entry(module).or_default().0 = Some(tensor),
                Some((module, Matrix::B)) => found.entry(module).or_default().1 = Some(tensor),
                None => unreachable!("{name:?} was found to be a LoRA matrix"),
            }
        }
        let path = || self.dir.join(TENSOR_FILE);
        if found.is_empty() {
            return Err(PeftError::Empty { path: path() });
        }
        let mut pairs = BTreeMap::new();
        for (module, matrices) in found {
            let missing = |missing| PeftError::Unpaired { path: path(), module: module.to_string(), missing };
            let (a, b) = match matrices {
                (Some(a), Some(b)) => (a, b),
                (None, _) => return Err(missing("lora_A")),
                (_, None) => return Err(missing("lora_B")),
            };
            if !self.config.targets(module)? {
                return Err(PeftError::NotTargeted { path: path(), module: module.to_string() });
            }
            let rank = self.config.rank_of(module)?;
            if !matches!((&a.shape[..], &b.shape[..]), (&[rank_a, _], &[_, rank_b]) if rank_a == rank && rank_b == rank)
            {
                let (a, b) = (a.shape.clone(), b.shape.clone());
                return Err(PeftError::Shape { path: path(), module: module.to_string(), a, b, rank });
            }
            pairs.insert(module, LoraPair { a, b, rank, scale: self.config.scale_of(module)? });
        }
        Ok(pairs)
    }
}

/// Writes an adapter, whose tensors are named by [`tensor_name`], into a folder that is being filled.
///
/// # Errors
/// When the disk is full, access is refused, or the files exist already.
///
/// # Panics
/// If a tensor is not named by [`tensor_name`], or as [`tensors::write_tensors`] and [`AdapterConfig::to_json`] do.
pub fn write_into(dir: &DirWriter, config: &AdapterConfig, tensors: &[TensorView<'_>]) -> Result<(), PeftError> {
    for tensor in tensors {
        assert!(parse_tensor_name(tensor.name).is_some(), "{:?} is not the name of a LoRA matrix", tensor.name);
    }
    // What safetensors' own writers for PyTorch put there; Transformers refuses files without it.
    let metadata = BTreeMap::from([("format".to_string(), "pt".to_string())]);
    tensors::write_tensors_into(dir, TENSOR_FILE, tensors, &metadata)?;
    Ok(dir.write(CONFIG_FILE, config.to_json().as_bytes())?)
}

/// Writes an adapter folder that appears complete or not at all; an existing folder is replaced.
///
/// # Errors
/// As [`write_into`], and when the folder cannot be renamed into place.
///
/// # Panics
/// As [`write_into`].
pub fn write(dir: &Path, config: &AdapterConfig, tensors: &[TensorView<'_>]) -> Result<(), PeftError> {
    let writer = DirWriter::create(dir)?;
    write_into(&writer, config, tensors)?;
    Ok(writer.replace()?)
}

#[cfg(test)]
mod tests;
