//! Safetensors: the weights of base models, mapped in place, and small files of `f32` tensors.
//!
//! A safetensors file is eight bytes (`u64`, little endian) with the length of the header, the header, and the data.
//! A file is accepted when
//!
//! 1. the header lies inside of the file and has at most [`MAX_HEADER_BYTES`];
//! 2. the header is one JSON object that begins with `{`, in UTF-8, padded with spaces at most;
//! 3. no tensor, and no key of `__metadata__`, is named twice;
//! 4. every tensor has a known type, a shape, and `data_offsets` whose distance is shape times size of the type;
//! 5. the tensors cover the data from its first to its last byte without a gap or an overlap.
//!
//! Values need not be aligned. Only safetensors is read: a pickle can run any code when it is opened.
//!
//! # Source
//! <https://github.com/huggingface/safetensors#format>

mod error;
mod folder;
mod header;
mod mapped;
pub(crate) mod scan;
mod small;
mod stream;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use half::{bf16, f16};

pub use error::TensorError;
pub use folder::WeightFolder;
pub use header::MAX_HEADER_BYTES;
pub use mapped::MappedFile;
pub use scan::Scan;
pub use small::{F32Tensor, TensorView, read_tensors, write_tensors, write_tensors_into};
pub use stream::{PlannedTensor, stream_order, write_stream_into};

pub(crate) use folder::{map_file, pickle_in};

/// How the elements of a tensor are stored (little endian).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DType {
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of an `f32`.
    Bf16,
    /// Words of 32 bits: codes that are packed.
    U32,
    /// A type of the format that Attune does not compute with.
    Other(safetensors::Dtype),
}

impl From<safetensors::Dtype> for DType {
    fn from(dtype: safetensors::Dtype) -> Self {
        match dtype {
            safetensors::Dtype::F32 => Self::F32,
            safetensors::Dtype::F16 => Self::F16,
            safetensors::Dtype::BF16 => Self::Bf16,
            safetensors::Dtype::U32 => Self::U32,
            other => Self::Other(other),
        }
    }
}

impl fmt::Display for DType {
    /// The name that the format uses.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::F32 => f.write_str("F32"),
            Self::F16 => f.write_str("F16"),
            Self::Bf16 => f.write_str("BF16"),
            Self::U32 => f.write_str("U32"),
            Self::Other(dtype) => dtype.fmt(f),
        }
    }
}

/// A tensor where it lies in a mapped file.
#[derive(Debug, Clone)]
pub struct MappedTensor {
    /// Its name in the checkpoint.
    pub name: String,
    /// How it is stored.
    pub dtype: DType,
    /// Its shape; row-major.
    pub shape: Vec<usize>,
    file: Arc<MappedFile>,
    range: Range<usize>,
}

impl MappedTensor {
    /// The stored bytes, not necessarily aligned. Their number is the shape times the size of the type.
    pub fn bytes(&self) -> &[u8] {
        &self.file.as_ref().as_ref()[self.range.clone()]
    }

    /// The mapped file and where in it the tensor lies, for whoever outlives the folder.
    pub fn shared(&self) -> (Arc<MappedFile>, Range<usize>) {
        (Arc::clone(&self.file), self.range.clone())
    }
}

/// The values of a tensor as `f32`; exact, since every value of F16 and BF16 is one of F32.
///
/// # Errors
/// [`TensorError::UnsupportedType`] when the tensor is neither F32, F16 nor BF16.
pub fn as_f32_vec(tensor: &MappedTensor) -> Result<Vec<f32>, TensorError> {
    let bytes = tensor.bytes();
    match tensor.dtype {
        DType::F32 => Ok(bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()),
        DType::F16 => Ok(bytes.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()).collect()),
        DType::Bf16 => Ok(bytes.chunks_exact(2).map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f32()).collect()),
        DType::U32 | DType::Other(_) => Err(TensorError::UnsupportedType {
            path: tensor.file.path().to_path_buf(),
            name: tensor.name.clone(),
            dtype: tensor.dtype.to_string(),
        }),
    }
}

#[cfg(test)]
mod tests;
