//! Adapters of mlx-lm: `adapter_config.json` and `adapters.safetensors`.
//!
//! A module `model.layers.0.self_attn.q_proj` has the tensors `model.layers.0.self_attn.q_proj.lora_a` of shape `[in, r]`
//! and `...lora_b` of shape `[r, out]`, the transposes of PEFT's, and with DoRA `...m` of shape `[out]`. Rank and scale are
//! the same for all modules, and the scale is the multiplier itself: `W + scale * (lora_a lora_b)^T`.
//!
//! mlx-lm makes modules for all `keys` of the last `num_layers` blocks; those without a tensor in the file stay as they are
//! made, which changes nothing. So the tensors say which modules there are, and the configuration must allow them.
//!
//! # Source
//! mlx-lm 0.32: `tuner/utils.py` (`load_adapters`, `linear_to_lora_layers`), `tuner/lora.py`, `tuner/dora.py`;
//! <https://github.com/ml-explore/mlx-lm/blob/main/mlx_lm/LORA.md>

mod config;
mod error;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use config::{FineTuneType, MlxConfig};
pub use error::MlxError;

use crate::files::DirWriter;
use crate::tensors::{self, F32Tensor, TensorView};

/// Name of the configuration in an adapter folder.
pub const CONFIG_FILE: &str = "adapter_config.json";
/// Name of the matrices in an adapter folder.
pub const TENSOR_FILE: &str = "adapters.safetensors";

/// An adapter as it lies in its folder.
#[derive(Debug, Clone, PartialEq)]
pub struct MlxAdapter {
    /// The folder.
    pub dir: PathBuf,
    /// `adapter_config.json`.
    pub config: MlxConfig,
    /// `adapters.safetensors`, by name in the file.
    pub tensors: BTreeMap<String, F32Tensor>,
}

/// The matrices of one module in the orientation of this project (and of PEFT).
#[derive(Debug, Clone, PartialEq)]
pub struct MlxModule {
    /// `[r, in]`.
    pub a: Vec<f32>,
    /// `[out, r]`.
    pub b: Vec<f32>,
    /// in.
    pub inputs: usize,
    /// out.
    pub outputs: usize,
    /// `[out]`, with DoRA.
    pub magnitude: Option<Vec<f32>>,
}

/// A module to be written, in the same orientation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ModuleView<'a> {
    /// For example `model.layers.0.self_attn.q_proj`.
    pub name: &'a str,
    /// `[r, in]`.
    pub a: &'a [f32],
    /// `[out, r]`.
    pub b: &'a [f32],
    /// `[out]`, with DoRA.
    pub magnitude: Option<&'a [f32]>,
}

/// `[rows, cols]` to `[cols, rows]`.
fn transposed(values: &[f32], rows: usize, cols: usize) -> Vec<f32> {
    assert_eq!(values.len(), rows * cols, "values of a matrix [{rows}, {cols}]");
    (0..cols).flat_map(|col| (0..rows).map(move |row| values[row * cols + col])).collect()
}

/// Reads an adapter folder.
///
/// # Errors
/// When a file is missing or malformed, or the folder holds no adapter but a whole model's weights.
pub fn read(dir: &Path) -> Result<MlxAdapter, MlxError> {
    let config = MlxConfig::read(&dir.join(CONFIG_FILE))?;
    Ok(MlxAdapter { dir: dir.to_path_buf(), config, tensors: tensors::read_tensors(&dir.join(TENSOR_FILE))? })
}

/// What was found of a module.
#[derive(Default)]
struct Found<'a> {
    a: Option<&'a F32Tensor>,
    b: Option<&'a F32Tensor>,
    m: Option<&'a F32Tensor>,
}

impl MlxAdapter {
    /// The matrices by module, checked against the configuration. `layers` is the number of the model's blocks.
    ///
    /// # Errors
    /// When a tensor is not one of a linear's, a matrix is missing, shape and rank disagree, or the configuration makes no
    /// such module: mlx-lm would refuse each.
    pub fn modules(&self, layers: usize) -> Result<BTreeMap<&str, MlxModule>, MlxError> {
        let path = || self.dir.join(TENSOR_FILE);
        let dora = self.config.fine_tune_type == FineTuneType::Dora;
        let mut found: BTreeMap<&str, Found> = BTreeMap::new();
        for (name, tensor) in &self.tensors {
            let foreign = || MlxError::Foreign { path: path(), name: name.clone() };
            let (module, leaf) = name.rsplit_once('.').filter(|(module, _)| !module.is_empty()).ok_or_else(foreign)?;
            let slot = found.entry(module).or_default();
            match leaf {
                "lora_a" => slot.a = Some(tensor),
                "lora_b" => slot.b = Some(tensor),
                "m" if dora => slot.m = Some(tensor),
                _ => return Err(foreign()),
            }
        }
        if found.is_empty() {
            return Err(MlxError::Empty { path: path() });
        }
        found.into_iter().map(|(module, found)| Ok((module, self.module(module, &found, layers)?))).collect()
    }

    fn module(&self, name: &str, found: &Found, layers: usize) -> Result<MlxModule, MlxError> {
        let path = || self.dir.join(TENSOR_FILE);
        let missing = |missing| MlxError::Unpaired { path: path(), module: name.to_string(), missing };
        let a = found.a.ok_or_else(|| missing("lora_a"))?;
        let b = found.b.ok_or_else(|| missing("lora_b"))?;
        if self.config.fine_tune_type == FineTuneType::Dora && found.m.is_none() {
            return Err(missing("m"));
        }
        if !self.config.makes(name, layers) {
            return Err(MlxError::NotMade { path: path(), module: name.to_string() });
        }
        let rank = self.config.rank;
        let (inputs, outputs) = match (&a.shape[..], &b.shape[..]) {
            (&[inputs, rank_a], &[rank_b, outputs]) if rank_a == rank && rank_b == rank => (inputs, outputs),
            _ => {
                let (a, b) = (a.shape.clone(), b.shape.clone());
                return Err(MlxError::Shape { path: path(), module: name.to_string(), a, b, rank });
            }
        };
        if let Some(m) = found.m.filter(|m| m.shape != [outputs]) {
            let shape = m.shape.clone();
            return Err(MlxError::MagnitudeShape { path: path(), module: name.to_string(), shape, outputs });
        }
        Ok(MlxModule {
            a: transposed(&a.data, inputs, rank),
            b: transposed(&b.data, rank, outputs),
            inputs,
            outputs,
            magnitude: found.m.map(|m| m.data.clone()),
        })
    }
}

/// Writes an adapter into a folder that is being filled.
///
/// # Errors
/// When the disk is full, access is refused, or the files exist already.
///
/// # Panics
/// If a matrix does not have the configuration's rank, or magnitudes and `fine_tune_type` disagree.
pub fn write_into(dir: &DirWriter, config: &MlxConfig, modules: &[ModuleView<'_>]) -> Result<(), MlxError> {
    let rank = config.rank;
    let mut named: Vec<(String, Vec<usize>, Vec<f32>)> = Vec::new();
    for module in modules {
        let (inputs, outputs) = (module.a.len() / rank, module.b.len() / rank);
        let dora = config.fine_tune_type == FineTuneType::Dora;
        assert_eq!(module.magnitude.is_some(), dora, "magnitudes of {}", module.name);
        named.push((format!("{}.lora_a", module.name), vec![inputs, rank], transposed(module.a, rank, inputs)));
        named.push((format!("{}.lora_b", module.name), vec![rank, outputs], transposed(module.b, outputs, rank)));
        named.extend(module.magnitude.map(|m| (format!("{}.m", module.name), vec![outputs], m.to_vec())));
    }
    let views: Vec<TensorView> = named.iter().map(|(name, shape, data)| TensorView { name, shape, data }).collect();
    tensors::write_tensors_into(dir, TENSOR_FILE, &views, &BTreeMap::new())?;
    Ok(dir.write(CONFIG_FILE, config.to_json().as_bytes())?)
}

#[cfg(test)]
mod tests;
