//! The weight files of a folder.

use std::collections::BTreeMap;
use std::io;
use std::time::Instant;

use attune_compute::Backend;
use attune_formats::files::DirWriter;
use attune_formats::tensors::{PlannedTensor, stream_order, write_stream_into};
use attune_model::{Adapter, BaseModel};
use serde_json::{Map, Value, json};

use super::{FolderOptions, Written};
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
    let planned: Vec<PlannedTensor> = tensors
        .iter()
        .zip(&types)
        .map(|(tensor, &float)| PlannedTensor { name: tensor.name.clone(), dtype: float.into(), shape: tensor.shape() })
        .collect();
    let shards = shards(&planned, options.shard_bytes);
    let metadata = BTreeMap::from([("format".to_string(), options.format.to_string())]);
    let mut weight_map = Map::new();
    let mut sync_seconds = 0.0;
    for (number, members) in shards.iter().enumerate() {
        let name = match shards.len() {
            1 => "model.safetensors".to_string(),
            count => format!("model-{:05}-of-{count:05}.safetensors", number + 1),
        };
        let of_shard: Vec<PlannedTensor> = members.iter().map(|&index| planned[index].clone()).collect();
        let job = |at: usize| {
            let index = members[at];
            Job { tensor: &tensors[index], encoding: Encoding::plain(types[index]) }
        };
        let jobs: Vec<Job> = stream_order(&of_shard).into_iter().map(job).collect();
        let mut refused = None;
        let mut last_filled = Instant::now();
        let result = encode_ahead(&jobs, backend, |encoded| {
            write_stream_into(dir, &name, &of_shard, &metadata, &mut |_, out| {
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
    let bytes: u64 = planned.iter().map(|tensor| tensor.size_bytes() as u64).sum();
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

/// The type in which a tensor is written.
fn type_of(base: &BaseModel, tensor: &ExportTensor, wanted: Option<FloatType>) -> FloatType {
    let stored = || match tensor.values {
        Values::Matrix(weight) => FloatType::of(weight.dtype()),
        Values::Vector(_) => base.stored_dtype(&tensor.name).and_then(FloatType::of),
    };
    wanted.or_else(stored).unwrap_or(FloatType::Bf16)
}

/// Indices of the tensors of each file.
fn shards(planned: &[PlannedTensor], limit_bytes: u64) -> Vec<Vec<usize>> {
    let mut shards: Vec<Vec<usize>> = vec![Vec::new()];
    let mut bytes = 0;
    for (index, tensor) in planned.iter().enumerate() {
        let size = tensor.size_bytes() as u64;
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
