//! The frozen weights of a base model: checked against the spec, then used where the files are mapped.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use attune_compute::blocks::Affine;
use attune_compute::{DType, Weight, WeightPart, rng};
use attune_formats::gguf::{GgufFile, names};
use attune_formats::tensors::{self, MappedTensor, Scan, WeightFolder};

use crate::error::ModelError;
use crate::families::{AffineNumbers, Quantization};
use crate::gguf::is_gguf;
use crate::spec::{DecoderSpec, Linear};

pub(crate) const EMBEDDING: &str = "model.embed_tokens.weight";
pub(crate) const HEAD: &str = "lm_head.weight";

/// Values of [`BaseModel::made_up`] before they repeat: not a multiple of any matrix's row.
const MADE_UP_PATTERN: usize = 65_537;

/// One linear: frozen weight and bias.
#[derive(Debug)]
pub struct FrozenLinear {
    /// `[out, in]`.
    pub weight: Weight,
    /// `[out]`.
    pub bias: Option<Vec<f32>>,
}

/// The frozen weights of one layer.
#[derive(Debug)]
pub struct LayerWeights {
    /// Gain of the norm before attention, `[c]`.
    pub attention_norm: Vec<f32>,
    /// Gain of the norm before the feed-forward block, `[c]`.
    pub mlp_norm: Vec<f32>,
    /// Gains of the norms of each head of q and k, `[d]`.
    pub qk_norms: Option<(Vec<f32>, Vec<f32>)>,
    /// In the order of [`Linear::ALL`].
    pub linears: [FrozenLinear; 7],
}

/// A base model: its spec and its mapped weights.
#[derive(Debug)]
pub struct BaseModel {
    /// What it is made of.
    pub spec: DecoderSpec,
    /// Token embedding `[v, c]`.
    pub embedding: Weight,
    /// Layer by layer.
    pub layers: Vec<LayerWeights>,
    /// Gain of the norm before the head, `[c]`.
    pub final_norm: Vec<f32>,
    /// Output projection `[v, c]`; the embedding itself when tied.
    pub head: Weight,
    pub(crate) path: PathBuf,
    pub(crate) storage: Storage,
}

/// Where the weights are mapped.
#[derive(Debug)]
pub(crate) enum Storage {
    /// Nowhere: they are made up.
    MadeUp,
    /// A folder in Hugging Face layout.
    Folder(WeightFolder),
    /// A GGUF file.
    File(GgufFile),
}

impl BaseModel {
    /// Maps a folder in Hugging Face layout, or a GGUF file, and checks every tensor's presence, shape and type against
    /// `config.json` or the file's keys. Nothing is read but headers and norms.
    ///
    /// # Errors
    /// When a file is missing or damaged, the architecture is not supported, a tensor is missing, has another shape or
    /// type, or does not belong to the architecture.
    pub fn load(path: &Path) -> Result<Self, ModelError> {
        if is_gguf(path) {
            return crate::gguf::load(path);
        }
        let dir = path;
        let spec = DecoderSpec::read(dir)?;
        let quantization = Quantization::read(&dir.join("config.json"))?;
        let mut reader = Reader { dir, folder: WeightFolder::open(dir)?, quantization, used: BTreeSet::new() };
        // Some tied checkpoints store the shared matrix under the head's name alone; Transformers opens them too.
        let embedding_name = match reader.folder.find(EMBEDDING) {
            None if spec.tied_head && reader.folder.find(HEAD).is_some() => HEAD,
            _ => EMBEDDING,
        };
        let embedding = reader.matrix(embedding_name, spec.vocabulary, spec.hidden)?;
        let layers = (0..spec.layers).map(|layer| reader.layer(&spec, layer)).collect::<Result<Vec<_>, _>>()?;
        let final_norm = reader.vector("model.norm.weight", spec.hidden)?;
        let head = if spec.tied_head {
            // Whatever is stored of it is the embedding, too.
            reader.used.extend([HEAD.into(), affine_name(HEAD, "scales"), affine_name(HEAD, "biases")]);
            embedding.clone()
        } else {
            reader.matrix(HEAD, spec.vocabulary, spec.hidden)?
        };
        reader.refuse_unexpected()?;
        let storage = Storage::Folder(reader.folder);
        Ok(Self { spec, embedding, layers, final_norm, head, path: dir.to_path_buf(), storage })
    }

    /// A model of that spec with small made-up weights, to measure how fast a machine is. All layers share the bytes of
    /// one, and the head those of the embedding.
    ///
    /// # Panics
    /// If `dtype` is one of blocks.
    pub fn made_up(spec: &DecoderSpec, dtype: DType) -> Self {
        let Some(element_bytes) = dtype.element_bytes() else { panic!("made-up weights in {dtype:?}") };
        let shapes: Vec<(usize, usize)> = Linear::ALL.iter().map(|&linear| spec.linear_shape(linear)).collect();
        let of_layer: usize = shapes.iter().map(|(rows, cols)| rows * cols).sum();
        let values = of_layer + spec.vocabulary * spec.hidden;
        let pattern: Vec<f32> =
            (0..MADE_UP_PATTERN as u64).map(|i| 0.04 * rng::uniform_f32(rng::mix(i)) - 0.02).collect();
        let pattern = Weight::from_f32_as(dtype, 1, pattern.len(), &pattern);
        let mut bytes = Vec::with_capacity(values * element_bytes + pattern.bytes().len());
        while bytes.len() < values * element_bytes {
            bytes.extend_from_slice(pattern.bytes());
        }
        let memory: Arc<dyn AsRef<[u8]> + Send + Sync> = Arc::new(bytes);
        let mut start = 0;
        let mut take = |(rows, cols): (usize, usize)| {
            let end = start + rows * cols * element_bytes;
            Weight::new(dtype, rows, cols, Arc::clone(&memory), std::mem::replace(&mut start, end)..end)
        };
        let weights: Vec<Weight> = shapes.iter().map(|&shape| take(shape)).collect();
        let embedding = take((spec.vocabulary, spec.hidden));
        let layer = |_| LayerWeights {
            attention_norm: vec![1.0; spec.hidden],
            mlp_norm: vec![1.0; spec.hidden],
            qk_norms: spec.qk_norm.then(|| (vec![1.0; spec.head_dim], vec![1.0; spec.head_dim])),
            linears: std::array::from_fn(|i| FrozenLinear {
                weight: weights[i].clone(),
                bias: spec.has_bias(Linear::ALL[i]).then(|| vec![0.0; shapes[i].0]),
            }),
        };
        Self {
            spec: spec.clone(),
            head: embedding.clone(),
            embedding,
            layers: (0..spec.layers).map(layer).collect(),
            final_norm: vec![1.0; spec.hidden],
            path: PathBuf::new(),
            storage: Storage::MadeUp,
        }
    }

    /// The type in which the linears of the layers are multiplied where a processor can: that in which they are stored,
    /// `Bf16` for blocks; `F32` when it is not the same for all.
    pub fn dtype(&self) -> DType {
        let of_products = |weight: &Weight| weight.dtype().of_products();
        let first = self.linear_weights().next().map_or(DType::F32, of_products);
        if self.linear_weights().all(|weight| of_products(weight) == first) { first } else { DType::F32 }
    }

    /// The folder or file the model came from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The frozen matrices of all layers.
    pub(crate) fn linear_weights(&self) -> impl Iterator<Item = &Weight> {
        self.layers.iter().flat_map(|layer| layer.linears.iter().map(|linear| &linear.weight))
    }

    /// Reads every weight once, on so many threads: the hashes of the weight files, and whether all values are finite.
    /// [`BaseModel::check_finite`] names the one that is not.
    pub fn scan(&self, threads: usize) -> Scan {
        match &self.storage {
            Storage::MadeUp => Scan { files: Vec::new(), all_finite: true, bytes: 0 },
            Storage::Folder(folder) => folder.scan(threads),
            Storage::File(file) => file.scan(threads),
        }
    }

    /// Reads every weight and looks for NaNs and infinities.
    ///
    /// # Errors
    /// [`ModelError::NonFinite`] with the first bad element of the first bad tensor, by name.
    pub fn check_finite(&self) -> Result<(), ModelError> {
        let bad = |name: &str, index| ModelError::NonFinite { dir: self.path.clone(), name: name.to_string(), index };
        match &self.storage {
            Storage::MadeUp => {}
            Storage::Folder(folder) => {
                for tensor in folder.tensors() {
                    if let Some(dtype) = storage_type(tensor)
                        && let Some(index) = first_non_finite(dtype, tensor.bytes())
                    {
                        return Err(bad(&tensor.name, index));
                    }
                }
            }
            Storage::File(file) => {
                if let Some((name, index)) = file.first_non_finite() {
                    return Err(bad(name, index));
                }
            }
        }
        Ok(())
    }

    /// How a tensor, by its name in Hugging Face layout, is stored in the base's files; `None` when there is none.
    pub fn stored_dtype(&self, name: &str) -> Option<DType> {
        match &self.storage {
            Storage::MadeUp => None,
            Storage::Folder(folder) => storage_type(folder.find(name)?),
            Storage::File(file) => crate::gguf::storage_type(file.tensor(&names::to_gguf(name)?)?.kind),
        }
    }

    /// Bytes of the weight files.
    pub fn size_bytes(&self) -> u64 {
        match &self.storage {
            Storage::MadeUp => 0,
            Storage::Folder(folder) => folder.size_bytes(),
            Storage::File(file) => file.size_bytes(),
        }
    }

    /// `config.json`, which decides what the model computes beside the weights; `None` where the weight file says it.
    pub fn config_file(&self) -> Option<PathBuf> {
        match &self.storage {
            Storage::Folder(_) => Some(self.path.join("config.json")),
            Storage::MadeUp | Storage::File(_) => None,
        }
    }
}

/// Takes tensors out of a folder and remembers which were taken.
struct Reader<'a> {
    dir: &'a Path,
    folder: WeightFolder,
    /// What mlx says of its quantised linears.
    quantization: Option<Quantization>,
    used: BTreeSet<String>,
}

impl Reader<'_> {
    /// A tensor that is there, in that shape.
    fn shaped(&mut self, name: &str, expected: &[usize]) -> Result<&MappedTensor, ModelError> {
        self.used.insert(name.to_string());
        let tensor = self
            .folder
            .find(name)
            .ok_or_else(|| ModelError::MissingTensor { dir: self.dir.to_path_buf(), name: name.into() })?;
        if tensor.shape != expected {
            return Err(ModelError::TensorShape {
                dir: self.dir.to_path_buf(),
                name: name.into(),
                got: tensor.shape.clone(),
                expected: expected.to_vec(),
            });
        }
        Ok(tensor)
    }

    /// A tensor of numbers.
    fn tensor(&mut self, name: &str, expected: &[usize]) -> Result<&MappedTensor, ModelError> {
        let dir = self.dir.to_path_buf();
        let tensor = self.shaped(name, expected)?;
        if storage_type(tensor).is_none() {
            return Err(ModelError::TensorType { dir, name: name.into(), dtype: tensor.dtype.to_string() });
        }
        Ok(tensor)
    }

    fn matrix(&mut self, name: &str, rows: usize, cols: usize) -> Result<Weight, ModelError> {
        if let Some(quantization) = &self.quantization {
            let module = name.strip_suffix(".weight").unwrap_or(name);
            // As in mlx-lm, the scales say which modules are quantised.
            if self.folder.find(&affine_name(name, "scales")).is_some() {
                let numbers = quantization.of(module);
                return self.affine(name, numbers, rows, cols);
            }
        }
        let tensor = self.tensor(name, &[rows, cols])?;
        let Some(dtype) = storage_type(tensor) else { unreachable!("the type was checked") };
        let (file, range) = tensor.shared();
        Ok(Weight::new(dtype, rows, cols, file, range))
    }

    /// A matrix in affine groups: three tensors.
    fn affine(
        &mut self,
        name: &str,
        AffineNumbers { bits, group_len }: AffineNumbers,
        rows: usize,
        cols: usize,
    ) -> Result<Weight, ModelError> {
        let dir = self.dir.to_path_buf();
        if !cols.is_multiple_of(group_len) {
            let reason = format!("{name} has rows of {cols} values, which are no groups of {group_len}");
            return Err(ModelError::ConfigKey { path: dir.join("config.json"), key: "quantization".into(), reason });
        }
        let codes = self.shaped(name, &[rows, cols * bits / 32])?.clone();
        let scales = self.tensor(&affine_name(name, "scales"), &[rows, cols / group_len])?.clone();
        let biases = self.tensor(&affine_name(name, "biases"), &[rows, cols / group_len])?.clone();
        let wrong = match () {
            () if codes.dtype != tensors::DType::U32 => Some(&codes),
            () if biases.dtype != scales.dtype => Some(&biases),
            () => None,
        };
        if let Some(MappedTensor { name, dtype, .. }) = wrong {
            return Err(ModelError::TensorType { dir, name: name.clone(), dtype: dtype.to_string() });
        }
        let affine = storage_type(&scales).and_then(|scales| Affine::new(bits, group_len, scales));
        let Some(affine) = affine else { unreachable!("numbers and type were checked") };
        let part = |tensor: &MappedTensor| {
            let (file, range) = tensor.shared();
            WeightPart::new(file, range)
        };
        Ok(Weight::affine(affine, rows, cols, [&codes, &scales, &biases].map(part)))
    }

    fn vector(&mut self, name: &str, length: usize) -> Result<Vec<f32>, ModelError> {
        let tensor = self.tensor(name, &[length])?;
        Ok(tensors::as_f32_vec(tensor)?)
    }

    fn layer(&mut self, spec: &DecoderSpec, layer: usize) -> Result<LayerWeights, ModelError> {
        let prefix = format!("model.layers.{layer}");
        let attention_norm = self.vector(&format!("{prefix}.input_layernorm.weight"), spec.hidden)?;
        let mlp_norm = self.vector(&format!("{prefix}.post_attention_layernorm.weight"), spec.hidden)?;
        let qk_norms = if spec.qk_norm {
            let q = self.vector(&format!("{prefix}.self_attn.q_norm.weight"), spec.head_dim)?;
            let k = self.vector(&format!("{prefix}.self_attn.k_norm.weight"), spec.head_dim)?;
            Some((q, k))
        } else {
            None
        };
        let mut linears = Vec::with_capacity(Linear::ALL.len());
        for linear in Linear::ALL {
            let name = linear.module_name(layer);
            let (outputs, inputs) = spec.linear_shape(linear);
            let weight = self.matrix(&format!("{name}.weight"), outputs, inputs)?;
            let bias = match spec.has_bias(linear) {
                true => Some(self.vector(&format!("{name}.bias"), outputs)?),
                false => None,
            };
            linears.push(FrozenLinear { weight, bias });
        }
        let Ok(linears) = <[FrozenLinear; 7]>::try_from(linears) else { unreachable!("seven linears") };
        Ok(LayerWeights { attention_norm, mlp_norm, qk_norms, linears })
    }

    /// A tensor that nobody asked for means that the spec leaves something out. Old checkpoints carry the rotary
    /// frequencies, which follow from `config.json`.
    fn refuse_unexpected(&self) -> Result<(), ModelError> {
        let unexpected: Vec<&str> = self
            .folder
            .names()
            .filter(|name| !self.used.contains(*name) && !name.ends_with("rotary_emb.inv_freq"))
            .collect();
        match unexpected.first() {
            None => Ok(()),
            Some(name) => Err(ModelError::UnexpectedTensor {
                dir: self.dir.to_path_buf(),
                name: (*name).to_string(),
                count: unexpected.len(),
            }),
        }
    }
}

/// `x.weight` to `x.scales`.
fn affine_name(name: &str, part: &str) -> String {
    format!("{}.{part}", name.strip_suffix(".weight").unwrap_or(name))
}

fn storage_type(tensor: &MappedTensor) -> Option<DType> {
    match tensor.dtype {
        tensors::DType::F32 => Some(DType::F32),
        tensors::DType::Bf16 => Some(DType::Bf16),
        tensors::DType::F16 => Some(DType::F16),
        _ => None,
    }
}

/// A value is not finite exactly when all bits of its exponent are set.
fn first_non_finite(dtype: DType, bytes: &[u8]) -> Option<usize> {
    let half =
        |mask: u16| bytes.chunks_exact(2).position(move |pair| u16::from_le_bytes([pair[0], pair[1]]) & mask == mask);
    match dtype {
        DType::F32 => bytes
            .chunks_exact(4)
            .position(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]) & 0x7f80_0000 == 0x7f80_0000),
        DType::Bf16 => half(0x7f80),
        DType::F16 => half(0x7c00),
        DType::Block(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn non_finite_values_are_found_in_every_type() {
        for dtype in [DType::F32, DType::Bf16, DType::F16] {
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let weight = Weight::from_f32_as(dtype, 1, 4, &[1.0, -60000.0, bad, f32::NAN]);
                assert_eq!(first_non_finite(dtype, weight.bytes()), Some(2), "{dtype:?} {bad}");
            }
            let weight = Weight::from_f32_as(dtype, 1, 3, &[0.0, -0.0, 65504.0]);
            assert_eq!(first_non_finite(dtype, weight.bytes()), None, "{dtype:?}");
        }
    }
}
