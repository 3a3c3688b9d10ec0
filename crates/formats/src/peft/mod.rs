//! LoRA adapters in the layout of PEFT: `adapter_config.json` and `adapter_model.safetensors`.
//!
//! A module `model.layers.0.self_attn.q_proj` has the tensors
//! `base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight` of shape `[r, in]` and `...lora_B.weight` of shape
//! `[out, r]`; its linear becomes `W + scale * B A` with scale alpha / r, or alpha / sqrt(r) with rsLoRA. With DoRA it has
//! `...lora_magnitude_vector` of shape `[out]` besides: the norms that the rows of the sum are brought to.
//!
//! Whatever else an adapter of PEFT may contain (trained biases, saved modules, ...) is reported, and
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
const SUFFIX_MAGNITUDE: &str = ".lora_magnitude_vector";

/// One of the tensors of a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Matrix {
    /// `[r, in]`.
    A,
    /// `[out, r]`.
    B,
    /// m of DoRA, `[out]`.
    Magnitude,
}

impl Matrix {
    fn suffix(self) -> &'static str {
        match self {
            Self::A => SUFFIX_A,
            Self::B => SUFFIX_B,
            Self::Magnitude => SUFFIX_MAGNITUDE,
        }
    }
}

/// The name in the file of a module's matrix.
pub fn tensor_name(module: &str, matrix: Matrix) -> String {
    format!("{PREFIX}{module}{}", matrix.suffix())
}

/// The module and the matrix that a name in the file stands for; `None` for what is not a matrix of a linear.
/// Magnitudes that have the parameter's full name, with `.weight`, are known too.
pub fn parse_tensor_name(name: &str) -> Option<(&str, Matrix)> {
    let rest = name.strip_prefix(PREFIX)?;
    let module = |suffix| rest.strip_suffix(suffix).filter(|module| !module.is_empty());
    let magnitude = || module(SUFFIX_MAGNITUDE).or_else(|| module(".lora_magnitude_vector.weight"));
    module(SUFFIX_A)
        .map(|module| (module, Matrix::A))
        .or_else(|| Some((module(SUFFIX_B)?, Matrix::B)))
        .or_else(|| Some((magnitude()?, Matrix::Magnitude)))
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
    /// `[out]`, with DoRA.
    pub magnitude: Option<&'a F32Tensor>,
}

/// What was found of a module.
#[derive(Default)]
struct Found<'a> {
    a: Option<&'a F32Tensor>,
    b: Option<&'a F32Tensor>,
    magnitude: Option<&'a F32Tensor>,
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
    /// not matrices of linears (saved modules, embeddings, magnitudes where the configuration has no DoRA, ...).
    pub fn unsupported(&self) -> Vec<String> {
        let known = |name: &str| match parse_tensor_name(name) {
            Some((_, Matrix::Magnitude)) => self.config.use_dora,
            found => found.is_some(),
        };
        let foreign: Vec<&str> = self.tensors.keys().map(String::as_str).filter(|name| !known(name)).collect();
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
    /// When anything is [unsupported](PeftAdapter::unsupported), there are no matrices, one of a module is missing, shape
    /// and rank disagree, or a module is not targeted by the configuration.
    pub fn pairs(&self) -> Result<BTreeMap<&str, LoraPair<'_>>, PeftError> {
        let features = self.unsupported();
        if !features.is_empty() {
            return Err(PeftError::Unsupported { dir: self.dir.clone(), features });
        }
        let mut modules: BTreeMap<&str, Found> = BTreeMap::new();
        for (name, tensor) in &self.tensors {
            let Some((module, matrix)) = parse_tensor_name(name) else {
                unreachable!("{name:?} was found to be a LoRA matrix")
            };
            let found = modules.entry(module).or_default();
            let slot = match matrix {
                Matrix::A => &mut found.a,
                Matrix::B => &mut found.b,
                Matrix::Magnitude => &mut found.magnitude,
            };
            if slot.replace(tensor).is_some() {
                return Err(PeftError::Twice { path: self.dir.join(TENSOR_FILE), name: name.clone() });
            }
        }
        if modules.is_empty() {
            return Err(PeftError::Empty { path: self.dir.join(TENSOR_FILE) });
        }
        modules.into_iter().map(|(module, found)| Ok((module, self.pair(module, &found)?))).collect()
    }

    /// The matrices of one module, checked.
    fn pair<'a>(&self, module: &str, found: &Found<'a>) -> Result<LoraPair<'a>, PeftError> {
        let path = || self.dir.join(TENSOR_FILE);
        let missing = |missing| PeftError::Unpaired { path: path(), module: module.to_string(), missing };
        let a = found.a.ok_or_else(|| missing("lora_A"))?;
        let b = found.b.ok_or_else(|| missing("lora_B"))?;
        if self.config.use_dora && found.magnitude.is_none() {
            return Err(missing("lora_magnitude_vector"));
        }
        if !self.config.targets(module)? {
            return Err(PeftError::NotTargeted { path: path(), module: module.to_string() });
        }
        let rank = self.config.rank_of(module)?;
        if !matches!((&a.shape[..], &b.shape[..]), (&[rank_a, _], &[_, rank_b]) if rank_a == rank && rank_b == rank) {
            let (a, b) = (a.shape.clone(), b.shape.clone());
            return Err(PeftError::Shape { path: path(), module: module.to_string(), a, b, rank });
        }
        if let Some(magnitude) = found.magnitude.filter(|magnitude| magnitude.shape != b.shape[..1]) {
            let (shape, outputs) = (magnitude.shape.clone(), b.shape[0]);
            return Err(PeftError::MagnitudeShape { path: path(), module: module.to_string(), shape, outputs });
        }
        Ok(LoraPair { a, b, rank, scale: self.config.scale_of(module)?, magnitude: found.magnitude })
    }
}

/// Writes an adapter, whose tensors are named by [`tensor_name`], into a folder that is being filled.
///
/// # Errors
/// When the disk is full, access is refused, or the files exist already.
///
/// # Panics
/// If a tensor is not named by [`tensor_name`], magnitudes and `use_dora` disagree, or as [`tensors::write_tensors`] and [`AdapterConfig::to_json`] do.
pub fn write_into(dir: &DirWriter, config: &AdapterConfig, tensors: &[TensorView<'_>]) -> Result<(), PeftError> {
    for tensor in tensors {
        let parsed = parse_tensor_name(tensor.name);
        assert!(parsed.is_some(), "{:?} is not the name of a LoRA matrix", tensor.name);
        let magnitude = parsed.is_some_and(|(_, matrix)| matrix == Matrix::Magnitude);
        assert!(config.use_dora || !magnitude, "{:?} in an adapter without DoRA", tensor.name);
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
