//! Rows through an encoder into a file, computing and writing at the same time.

use std::io::{self, Write};
use std::sync::mpsc::sync_channel;

use attune_compute::blocks::encode::{EncodeError, encode_row};
use attune_compute::{Backend, BlockType, DType, Tensor};
use rayon::prelude::*;

use crate::error::ExportError;
use crate::floats::{FloatType, round};
use crate::tensors::{ExportTensor, Values, for_each_rows};

/// Chunks that wait for the disk while the next one is computed.
const CHUNKS_AHEAD: usize = 2;

/// How a tensor is written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Encoding {
    pub(crate) dtype: DType,
    /// Rows of a head whose halves are stored as pairs, as GGUF files of architecture `llama` have them.
    pub(crate) interleaved: Option<usize>,
}

impl Encoding {
    pub(crate) fn plain(float: FloatType) -> Self {
        Self { dtype: float.into(), interleaved: None }
    }
}

/// Writes the bytes of one tensor; the inner error says why a value cannot be written.
pub(crate) fn write_tensor(
    tensor: &ExportTensor,
    encoding: Encoding,
    backend: &dyn Backend,
    out: &mut dyn Write,
) -> io::Result<Result<(), ExportError>> {
    // What does not change is copied as it is.
    if let (Values::Matrix(weight), None) = (tensor.values, tensor.module)
        && weight.dtype() == encoding.dtype
        && weight.interleaved() == encoding.interleaved
    {
        return out.write_all(weight.bytes()).map(Ok);
    }
    std::thread::scope(|scope| {
        let (sender, chunks) = sync_channel::<Vec<u8>>(CHUNKS_AHEAD);
        let computing = scope.spawn(move || {
            let mut done = 0;
            for_each_rows(tensor, backend, encoding.interleaved.unwrap_or(1), |rows| {
                let rows = match encoding.interleaved {
                    Some(head_dim) => interleave(&rows, head_dim),
                    None => rows,
                };
                let bytes = encode(&rows, encoding.dtype).map_err(|index| ExportError::Overflow {
                    tensor: tensor.name.clone(),
                    index: done + index,
                    value: rows.data()[index],
                    dtype: dtype_name(encoding.dtype),
                })?;
                done += rows.data().len();
                // Nobody receives when writing failed; that error is the one to tell.
                let _ = sender.send(bytes);
                Ok(())
            })
        });
        let written = chunks.iter().try_for_each(|bytes| out.write_all(&bytes));
        drop(chunks);
        let computed = computing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        written.map(|()| computed)
    })
}

/// The rows of whole heads, halves to pairs. A vector counts as one row of whole heads.
fn interleave(rows: &Tensor, head_dim: usize) -> Tensor {
    let (count, cols) = if rows.rows() == 1 { (rows.cols(), 1) } else { (rows.rows(), rows.cols()) };
    let mut out = Tensor::zeros(rows.rows(), rows.cols());
    let data = out.data_mut();
    for row in 0..count {
        let to = attune_formats::gguf::permute::stored_row(row, head_dim);
        data[to * cols..][..cols].copy_from_slice(&rows.data()[row * cols..][..cols]);
    }
    out
}

/// The bytes of rows in a type, or the index of the first value that it cannot hold.
fn encode(rows: &Tensor, dtype: DType) -> Result<Vec<u8>, usize> {
    match (FloatType::of(dtype), dtype) {
        (Some(float), _) => round(rows.data(), float),
        (None, DType::Block(kind)) => encode_blocks(rows, kind),
        (None, other) => unreachable!("{other:?} is a type of floats"),
    }
}

fn encode_blocks(rows: &Tensor, kind: BlockType) -> Result<Vec<u8>, usize> {
    let cols = rows.cols();
    let Some(row_bytes) = kind.row_bytes(cols) else { panic!("rows of {cols} values as {kind}") };
    let mut bytes = vec![0; rows.rows() * row_bytes];
    let parts = bytes.par_chunks_exact_mut(row_bytes).zip(rows.data().par_chunks_exact(cols)).enumerate();
    let bad = parts.map_init(Vec::new, |scratch, (row, (out, values))| {
        scratch.clear();
        match encode_row(kind, values, scratch) {
            Ok(()) => {
                out.copy_from_slice(scratch);
                None
            }
            Err(EncodeError::NotFinite { index, .. } | EncodeError::TooLarge { index, .. }) => Some(row * cols + index),
            Err(error) => panic!("{error}"),
        }
    });
    match bad.flatten().min() {
        Some(index) => Err(index),
        None => Ok(bytes),
    }
}

fn dtype_name(dtype: DType) -> String {
    match dtype {
        DType::Block(kind) => kind.to_string(),
        other => FloatType::of(other).map_or_else(String::new, |float| float.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_interleaved_row_by_row_and_value_by_value() {
        let rows = Tensor::from_vec(4, 2, vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
        assert_eq!(interleave(&rows, 4).data(), [0.0, 1.0, 4.0, 5.0, 2.0, 3.0, 6.0, 7.0]);
        let bias = Tensor::from_vec(1, 4, vec![0.0, 1.0, 2.0, 3.0]);
        assert_eq!(interleave(&bias, 4).data(), [0.0, 2.0, 1.0, 3.0]);
    }

    #[test]
    fn a_value_that_blocks_cannot_hold_is_found() {
        let mut values = vec![0.5; 3 * 64];
        values[64 + 40] = f32::INFINITY;
        assert_eq!(encode(&Tensor::from_vec(3, 64, values), DType::Block(BlockType::Q8_0)), Err(104));
    }
}
