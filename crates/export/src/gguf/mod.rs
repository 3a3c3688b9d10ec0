//! A model as one GGUF file, and back.

mod metadata;
mod types;

use std::io;
use std::path::Path;
use std::time::Instant;

use attune_compute::{Backend, BlockType, DType};
use attune_formats::gguf::{self, GgmlType, PlannedTensor, names, permute};
use attune_model::BaseModel;
use attune_model::gguf::architecture;

use crate::error::ExportError;
use crate::stream::{Encoding, Job, encode_ahead};
use crate::tensors::{ExportTensor, Values, export_tensors};
use crate::tuned::Tuned;

pub use types::{GgufType, TensorType};

/// What was written.
#[derive(Debug, Clone, PartialEq)]
pub struct WrittenGguf {
    /// Tensors.
    pub tensors: usize,
    /// Tensors that the adapter changed.
    pub changed: usize,
    /// Bytes of all tensors.
    pub bytes: u64,
    /// Seconds at the end in which the disk took what was not yet on it.
    pub sync_seconds: f64,
    /// What the format or its readers cannot do as the model was trained, one sentence each.
    pub notes: Vec<String>,
}

/// The type whose name fits a base best: that of most values of its matrices.
pub fn type_of_base(base: &BaseModel) -> GgufType {
    let mut counts: Vec<(DType, usize)> = Vec::new();
    for tensor in export_tensors(base, None) {
        if let Values::Matrix(weight) = tensor.values {
            match counts.iter_mut().find(|(dtype, _)| *dtype == weight.dtype()) {
                Some((_, count)) => *count += tensor.count(),
                None => counts.push((weight.dtype(), tensor.count())),
            }
        }
    }
    let most = counts.into_iter().max_by_key(|(_, count)| *count).map(|(dtype, _)| dtype);
    match most {
        Some(DType::F32) | None => GgufType::F32,
        Some(DType::F16) => GgufType::F16,
        Some(DType::Bf16) => GgufType::Bf16,
        Some(DType::Block(BlockType::Q8_0)) => GgufType::Q8_0,
        Some(DType::Block(BlockType::Q4_0)) => GgufType::Q4_0,
        Some(DType::Block(BlockType::Q4K | BlockType::Nf4)) => GgufType::Q4KM,
        Some(DType::Block(BlockType::Affine(affine))) if affine.bits() == 4 => GgufType::Q4KM,
        Some(DType::Block(BlockType::Affine(_))) => GgufType::Q8_0,
        Some(DType::Block(BlockType::Q5K)) => GgufType::Q5KM,
        Some(DType::Block(BlockType::Q6K)) => GgufType::Q6K,
    }
}

/// Which types the tensors of a file get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Types {
    /// Those of a mixture.
    Of(GgufType),
    /// Each tensor the one that it has in the base, which is a GGUF file; what the adapter changes is quantised again.
    AsBase,
}

/// Writes base plus adapter as one file. `name` is what the file calls the model.
///
/// # Errors
/// When something of the model has no counterpart in the format, the disk is full, or a value does not fit its type.
pub fn write_gguf(
    path: &Path,
    tuned: &Tuned,
    backend: &dyn Backend,
    types: Types,
    name: &str,
) -> Result<WrittenGguf, ExportError> {
    let spec = &tuned.base.spec;
    let kind = match types {
        Types::Of(kind) => kind,
        Types::AsBase => type_of_base(&tuned.base),
    };
    let mut metadata = metadata::of_model(spec, kind, name)?;
    let converted = tuned.text.to_gguf_vocabulary(spec.vocabulary)?;
    metadata.extend(metadata::of_vocabulary(&converted.vocabulary));
    let mut notes = converted.differences;
    if let Some(window) = spec.windows.first().copied().flatten() {
        notes.push(format!(
            "llama.cpp does not apply the sliding window of this architecture: keep texts up to {window} tokens"
        ));
    }

    let tensors = export_tensors(&tuned.base, tuned.adapter.as_ref());
    let job = |tensor| Job { tensor, encoding: encoding_of(tensor, &tuned.base, types) };
    let jobs: Vec<Job> = tensors.iter().map(job).collect();
    let mut planned: Vec<PlannedTensor> = jobs
        .iter()
        .map(|Job { tensor, encoding }| {
            let Some(name) = names::to_gguf(&tensor.name) else { unreachable!("{} has a name in GGUF", tensor.name) };
            PlannedTensor { name, shape: tensor.shape(), kind: ggml_type(encoding.dtype) }
        })
        .collect();
    let factors = metadata::rope_factors(spec);
    if let Some(factors) = &factors {
        planned.push(PlannedTensor { name: names::ROPE_FREQS.into(), shape: vec![factors.len()], kind: GgmlType::F32 });
    }

    let mut refused = None;
    let mut last_filled = Instant::now();
    let result = encode_ahead(&jobs, backend, |encoded| {
        gguf::write_file(path, &metadata, &planned, &mut |index, out| {
            if index == jobs.len() {
                let factors = factors.iter().flatten().flat_map(|factor| factor.to_le_bytes());
                out.write_all(&factors.collect::<Vec<u8>>())?;
            } else if let Err(error) = encoded.write_next(out)? {
                refused = Some(error);
                return Err(io::Error::other("a value was refused"));
            }
            last_filled = Instant::now();
            Ok(())
        })
    });
    match refused {
        Some(error) => return Err(error),
        None => result?,
    }
    Ok(WrittenGguf {
        tensors: planned.len(),
        changed: tensors.iter().filter(|tensor| tensor.module.is_some()).count(),
        bytes: planned.iter().map(|tensor| tensor.size_bytes() as u64).sum(),
        sync_seconds: last_filled.elapsed().as_secs_f64(),
        notes,
    })
}

/// Vectors stay in `f32`, as every reader expects.
fn encoding_of(tensor: &ExportTensor, base: &BaseModel, types: Types) -> Encoding {
    let spec = &base.spec;
    let is_rotated = ["q_proj", "k_proj"].iter().any(|linear| tensor.name.contains(linear));
    let interleaved = is_rotated && permute::is_interleaved(architecture(spec));
    let dtype = match tensor.values {
        Values::Vector(_) => DType::F32,
        Values::Matrix(weight) => {
            let kind = match types {
                Types::Of(kind) => kind,
                Types::AsBase => {
                    return Encoding { dtype: weight.dtype(), interleaved: interleaved.then_some(spec.head_dim) };
                }
            };
            let is_head = match spec.tied_head {
                true => tensor.name == "model.embed_tokens.weight",
                false => tensor.name == "lm_head.weight",
            };
            let layer = tensor.name.strip_prefix("model.layers.").and_then(|rest| rest.split('.').next()?.parse().ok());
            let layer = layer.map(|at: usize| (at, spec.layers));
            match kind.of_matrix(&tensor.name, tensor.matrix_shape().1, layer, is_head) {
                TensorType::Float(float) => float.into(),
                TensorType::Block(block) => DType::Block(block),
            }
        }
    };
    Encoding { dtype, interleaved: interleaved.then_some(spec.head_dim) }
}

fn ggml_type(dtype: DType) -> GgmlType {
    match dtype {
        DType::F32 => GgmlType::F32,
        DType::F16 => GgmlType::F16,
        DType::Bf16 => GgmlType::BF16,
        DType::Block(BlockType::Q8_0) => GgmlType::Q8_0,
        DType::Block(BlockType::Q4_0) => GgmlType::Q4_0,
        DType::Block(BlockType::Q4K) => GgmlType::Q4_K,
        DType::Block(BlockType::Q5K) => GgmlType::Q5_K,
        DType::Block(BlockType::Q6K) => GgmlType::Q6_K,
        DType::Block(kind @ (BlockType::Nf4 | BlockType::Affine(_))) => panic!("{kind} is no type of GGUF"),
    }
}
