//! The weight files of a folder.

use std::collections::BTreeMap;
use std::io;
use std::time::Instant;

use attune_compute::blocks::Affine;
use attune_compute::{Backend, BlockType, DType};
use attune_formats::files::DirWriter;
use attune_formats::tensors::{PlannedTensor, stream_order, write_stream_into};
use attune_model::{Adapter, BaseModel};
use serde_json::{Map, Value, json};

use super::{AffineOptions, FolderOptions, Written};
use crate::error::ExportError;
use crate::floats::FloatType;
use crate::stream::{Encoding, Job, encode_ahead};
use crate::tensors::{ExportTensor, Values, export_tensors};

/// What Transformers takes by default.
pub const DEFAULT_SHARD_BYTES: u64 = 5_000_000_000;

/// Writes the files.
pub(super) fn write(
    dir: &DirWriter,
    base: &BaseModel,
    adapter: Option<&Adapter>,
    backend: &dyn Backend,
    options: &FolderOptions,
) -> Result<Written, ExportError> {
    let tensors = export_tensors(base, adapter);
    let types: Vec<FloatType> = tensors.iter().map(|tensor| type_of(base, tensor, options.dtype)).collect();
    let encodings: Vec<Encoding> =
        tensors.iter().zip(&types).map(|(tensor, &float)| encoding(tensor, float, options.affine)).collect();
    let planned: Vec<Vec<PlannedTensor>> =
        tensors.iter().zip(&encodings).map(|(tensor, encoding)| stored(tensor, *encoding)).collect();
    let shards = shards(&planned, options.shard_bytes);
    let metadata = BTreeMap::from([("format".to_string(), options.format.to_string())]);
    let mut weight_map = Map::new();
    let mut sync_seconds = 0.0;
    for (number, members) in shards.iter().enumerate() {
        let name = match shards.len() {
            1 => "model.safetensors".to_string(),
            count => format!("model-{:05}-of-{count:05}.safetensors", number + 1),
        };
        let first_stored: Vec<PlannedTensor> = members.iter().map(|&index| planned[index][0].clone()).collect();
        let order = stream_order(&first_stored).into_iter().map(|at| members[at]);
        let (mut of_shard, mut jobs) = (Vec::new(), Vec::new());
        for index in order {
            // Scales and biases, of equal size, take a multiple of four bytes together: what follows stays aligned.
            of_shard.extend_from_slice(&planned[index]);
            jobs.push(Job { tensor: &tensors[index], encoding: encodings[index] });
        }
        let mut refused = None;
        let mut last_filled = Instant::now();
        let result = encode_ahead(&jobs, backend, |encoded| {
            write_stream_into(dir, &name, &of_shard, &metadata, &mut |at, out| {
                let tail = TAILS.iter().position(|ending| of_shard[at].name.ends_with(ending));
                if let Some(tail) = tail {
                    return out.write_all(encoded.tails()[tail]);
                }
                encoded.write_next(out)?.map_err(|error| {
                    refused = Some(error);
                    io::Error::other("a value was refused")
                })?;
                last_filled = Instant::now();
                Ok(())
            })
        });
        sync_seconds += last_filled.elapsed().as_secs_f64();
        match refused {
            Some(error) => return Err(error),
            None => result?,
        }
        weight_map.extend(of_shard.iter().map(|tensor| (tensor.name.clone(), Value::from(name.as_str()))));
    }
    let bytes: u64 = planned.iter().flatten().map(|tensor| tensor.size_bytes() as u64).sum();
    if shards.len() > 1 {
        let index = json!({ "metadata": { "total_size": bytes }, "weight_map": weight_map });
        let Ok(text) = serde_json::to_string_pretty(&index) else { unreachable!("names and numbers become JSON") };
        dir.write("model.safetensors.index.json", text.as_bytes())?;
    }
    let changed = tensors.iter().filter(|tensor| tensor.module.is_some()).count();
    let of_matrices = tensors.iter().zip(&types).find(|(tensor, _)| tensor.name.ends_with("q_proj.weight"));
    let dtype = of_matrices.map_or(FloatType::F32, |(_, &float)| float);
    Ok(Written { dtype, tensors: tensors.len(), changed, bytes, sync_seconds })
}

/// Endings of the tensors that stand beside the codes of a matrix in affine groups.
const TAILS: [&str; 2] = [".scales", ".biases"];

/// A matrix becomes affine groups where these are asked for and its rows are whole ones, as with mlx-lm.
fn encoding(tensor: &ExportTensor, float: FloatType, affine: Option<AffineOptions>) -> Encoding {
    let (_, cols) = tensor.matrix_shape();
    let wanted =
        affine.filter(|affine| matches!(tensor.values, Values::Matrix(_)) && cols.is_multiple_of(affine.group_len));
    let affine = wanted.and_then(|wanted| Affine::new(wanted.bits, wanted.group_len, float.into()));
    match affine {
        None => Encoding::plain(float),
        Some(affine) => Encoding { dtype: DType::Block(BlockType::Affine(affine)), interleaved: None },
    }
}

/// The tensors of a file that hold it.
fn stored(tensor: &ExportTensor, encoding: Encoding) -> Vec<PlannedTensor> {
    let shape = tensor.shape();
    let (name, float) = (tensor.name.clone(), FloatType::of(encoding.dtype));
    let affine = match (encoding.dtype, float) {
        (_, Some(float)) => return vec![PlannedTensor { name, dtype: float.into(), shape }],
        (DType::Block(BlockType::Affine(affine)), None) => affine,
        (other, None) => unreachable!("{other:?} in a folder"),
    };
    let Some(scales) = FloatType::of(affine.scale_dtype()) else { unreachable!("scales are plain numbers") };
    let (rows, cols) = (shape[0], shape[1]);
    let module = name.strip_suffix(".weight").unwrap_or(&name);
    let tail = |ending: &str| PlannedTensor {
        name: format!("{module}{ending}"),
        dtype: scales.into(),
        shape: vec![rows, cols / affine.group_len()],
    };
    let tails = TAILS.map(tail);
    let words = cols * affine.bits() / 32;
    let codes = PlannedTensor { name, dtype: attune_formats::tensors::DType::U32, shape: vec![rows, words] };
    [codes].into_iter().chain(tails).collect()
}

/// The type in which a tensor is written.
fn type_of(base: &BaseModel, tensor: &ExportTensor, wanted: Option<FloatType>) -> FloatType {
    let stored = || match tensor.values {
        Values::Matrix(weight) => match weight.dtype() {
            DType::Block(BlockType::Affine(affine)) => FloatType::of(affine.scale_dtype()),
            dtype => FloatType::of(dtype),
        },
        Values::Vector(_) => base.stored_dtype(&tensor.name).and_then(FloatType::of),
    };
    wanted.or_else(stored).unwrap_or(FloatType::Bf16)
}

/// Indices of the matrices and vectors of each file; the tensors of one stay together.
fn shards(planned: &[Vec<PlannedTensor>], limit_bytes: u64) -> Vec<Vec<usize>> {
    let mut shards: Vec<Vec<usize>> = vec![Vec::new()];
    let mut bytes = 0;
    for (index, tensors) in planned.iter().enumerate() {
        let size: u64 = tensors.iter().map(|tensor| tensor.size_bytes() as u64).sum();
        if bytes > 0 && bytes + size > limit_bytes {
            shards.push(Vec::new());
            bytes = 0;
        }
        bytes += size;
        let Some(last) = shards.last_mut() else { unreachable!("there is always one") };
        last.push(index);
    }
    shards
}
