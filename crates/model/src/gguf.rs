//! A base model in one GGUF file: tensors in plain types or in blocks, used where the file is mapped.

use std::collections::BTreeSet;
use std::path::Path;

use attune_compute::{BlockType, DType, Weight};
use attune_formats::gguf::{GgmlType, GgufFile, GgufTensor, names, permute};

use crate::error::ModelError;
use crate::families;
use crate::spec::{DecoderSpec, Linear};
use crate::weights::{BaseModel, FrozenLinear, LayerWeights, Storage};

pub use attune_formats::gguf::is_gguf;

/// The architecture's name in files: Mistral's is that of Llama, with which it shares all but the window.
pub fn architecture(spec: &DecoderSpec) -> &str {
    if spec.family == "mistral" { "llama" } else { &spec.family }
}

/// Whether files keep the rows of this linear with the halves of each head as pairs.
pub fn is_interleaved(spec: &DecoderSpec, linear: Linear) -> bool {
    matches!(linear, Linear::Q | Linear::K) && permute::is_interleaved(architecture(spec))
}

/// Reads the spec alone.
pub(crate) fn read_spec(path: &Path) -> Result<DecoderSpec, ModelError> {
    families::gguf::spec(&GgufFile::open(path)?)
}

/// Maps a file and checks every tensor's presence, shape and type against its keys.
pub(crate) fn load(path: &Path) -> Result<BaseModel, ModelError> {
    let file = GgufFile::open(path)?;
    let spec = families::gguf::spec(&file)?;
    let mut reader = Reader { file: &file, used: BTreeSet::new() };
    let embedding = reader.matrix("model.embed_tokens.weight", spec.vocabulary, spec.hidden)?;
    let layers = (0..spec.layers).map(|layer| reader.layer(&spec, layer)).collect::<Result<Vec<_>, _>>()?;
    let final_norm = reader.vector("model.norm.weight", spec.hidden)?;
    let head = match spec.tied_head {
        true => embedding.clone(),
        false => reader.matrix("lm_head.weight", spec.vocabulary, spec.hidden)?,
    };
    reader.used.insert(names::ROPE_FREQS.into());
    reader.refuse_unexpected()?;
    Ok(BaseModel { spec, embedding, layers, final_norm, head, path: path.to_path_buf(), storage: Storage::File(file) })
}

/// The element type of a tensor, if Attune computes with it.
pub(crate) fn storage_type(kind: GgmlType) -> Option<DType> {
    Some(match kind {
        GgmlType::F32 => DType::F32,
        GgmlType::F16 => DType::F16,
        GgmlType::BF16 => DType::Bf16,
        GgmlType::Q8_0 => DType::Block(BlockType::Q8_0),
        GgmlType::Q4_0 => DType::Block(BlockType::Q4_0),
        GgmlType::Q4_K => DType::Block(BlockType::Q4K),
        GgmlType::Q5_K => DType::Block(BlockType::Q5K),
        GgmlType::Q6_K => DType::Block(BlockType::Q6K),
        _ => return None,
    })
}

/// A tensor's values, widened.
pub(crate) fn vector(file: &GgufFile, tensor: &GgufTensor) -> Result<Vec<f32>, ModelError> {
    let weight = weight(file, tensor, 1, tensor.shape.iter().product())?;
    let mut values = vec![0.0; weight.cols()];
    weight.read_row(0, &mut values);
    Ok(values)
}

fn weight(file: &GgufFile, tensor: &GgufTensor, rows: usize, cols: usize) -> Result<Weight, ModelError> {
    let Some(dtype) = storage_type(tensor.kind) else {
        return Err(ModelError::TensorType {
            dir: file.path().to_path_buf(),
            name: tensor.name.clone(),
            dtype: tensor.kind.to_string(),
        });
    };
    let (memory, range) = tensor.shared();
    Ok(Weight::new(dtype, rows, cols, memory, range))
}

/// Takes tensors out of a file, asked for by their names in Hugging Face layout.
struct Reader<'a> {
    file: &'a GgufFile,
    used: BTreeSet<String>,
}

impl Reader<'_> {
    fn tensor(&mut self, name: &str, expected: &[usize]) -> Result<&GgufTensor, ModelError> {
        let Some(name) = names::to_gguf(name) else { unreachable!("{name} has a name in GGUF") };
        let dir = || self.file.path().to_path_buf();
        let tensor =
            self.file.tensor(&name).ok_or_else(|| ModelError::MissingTensor { dir: dir(), name: name.clone() })?;
        if tensor.shape != expected {
            let (got, expected) = (tensor.shape.clone(), expected.to_vec());
            return Err(ModelError::TensorShape { dir: dir(), name, got, expected });
        }
        self.used.insert(name);
        Ok(tensor)
    }

    fn matrix(&mut self, name: &str, rows: usize, cols: usize) -> Result<Weight, ModelError> {
        let file = self.file;
        weight(file, self.tensor(name, &[rows, cols])?, rows, cols)
    }

    fn vector(&mut self, name: &str, length: usize) -> Result<Vec<f32>, ModelError> {
        let file = self.file;
        vector(file, self.tensor(name, &[length])?)
    }

    fn layer(&mut self, spec: &DecoderSpec, layer: usize) -> Result<LayerWeights, ModelError> {
        let prefix = format!("model.layers.{layer}");
        let attention_norm = self.vector(&format!("{prefix}.input_layernorm.weight"), spec.hidden)?;
        let mlp_norm = self.vector(&format!("{prefix}.post_attention_layernorm.weight"), spec.hidden)?;
        let qk_norms = match spec.qk_norm {
            true => Some((
                self.vector(&format!("{prefix}.self_attn.q_norm.weight"), spec.head_dim)?,
                self.vector(&format!("{prefix}.self_attn.k_norm.weight"), spec.head_dim)?,
            )),
            false => None,
        };
        let mut linears = Vec::with_capacity(Linear::ALL.len());
        for linear in Linear::ALL {
            let name = linear.module_name(layer);
            let (outputs, inputs) = spec.linear_shape(linear);
            let mut weight = self.matrix(&format!("{name}.weight"), outputs, inputs)?;
            let mut bias = match spec.has_bias(linear) {
                true => Some(self.vector(&format!("{name}.bias"), outputs)?),
                false => None,
            };
            if is_interleaved(spec, linear) {
                weight = weight.with_interleaved_rows(spec.head_dim);
                bias = bias.map(|stored| {
                    (0..stored.len()).map(|row| stored[permute::stored_row(row, spec.head_dim)]).collect()
                });
            }
            linears.push(FrozenLinear { weight, bias });
        }
        let Ok(linears) = <[FrozenLinear; 7]>::try_from(linears) else { unreachable!("seven linears") };
        Ok(LayerWeights { attention_norm, mlp_norm, qk_norms, linears })
    }

    /// A tensor that nobody asked for means that the spec leaves something out.
    fn refuse_unexpected(&self) -> Result<(), ModelError> {
        let unexpected: Vec<&GgufTensor> =
            self.file.tensors().iter().filter(|tensor| !self.used.contains(&tensor.name)).collect();
        match unexpected.first() {
            None => Ok(()),
            Some(tensor) => Err(ModelError::UnexpectedTensor {
                dir: self.file.path().to_path_buf(),
                name: tensor.name.clone(),
                count: unexpected.len(),
            }),
        }
    }
}
