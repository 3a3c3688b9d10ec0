//! One pass over a file: its hash, and whether a value is not finite.

use std::ops::Range;

use half::f16;
use rayon::prelude::*;

use super::{GgmlType, GgufFile, GgufTensor};
use crate::tensors::scan::{PIECE_BYTES, cut, on_threads, scan_bytes};
use crate::tensors::{DType, Scan};

/// Where in a block its scales of type F16 are; `None` for types without blocks, or without such scales.
fn scales_of(kind: GgmlType) -> Option<Range<usize>> {
    Some(match kind {
        GgmlType::Q4_0 | GgmlType::Q5_0 | GgmlType::Q8_0 => 0..2,
        GgmlType::Q4_1 | GgmlType::Q5_1 | GgmlType::Q4_K | GgmlType::Q5_K => 0..4,
        GgmlType::Q6_K => 208..210,
        _ => return None,
    })
}

fn plain_type(kind: GgmlType) -> Option<DType> {
    Some(match kind {
        GgmlType::F32 => DType::F32,
        GgmlType::F16 => DType::F16,
        GgmlType::BF16 => DType::Bf16,
        _ => return None,
    })
}

/// Index of the first value of a block whose scale is a NaN or an infinity.
fn first_bad_block(tensor: &GgufTensor) -> Option<usize> {
    let scales = scales_of(tensor.kind)?;
    let is_bad =
        |block: &[u8]| block[scales.clone()].chunks_exact(2).any(|s| !f16::from_le_bytes([s[0], s[1]]).is_finite());
    let block = tensor.bytes().chunks_exact(tensor.kind.block_bytes()).position(is_bad)?;
    Some(block * tensor.kind.block_len())
}

fn first_bad_value(tensor: &GgufTensor) -> Option<usize> {
    let bytes = tensor.bytes();
    match plain_type(tensor.kind)? {
        DType::F32 => bytes.chunks_exact(4).position(|b| !f32::from_le_bytes([b[0], b[1], b[2], b[3]]).is_finite()),
        DType::F16 => bytes.chunks_exact(2).position(|b| !f16::from_le_bytes([b[0], b[1]]).is_finite()),
        _ => bytes.chunks_exact(2).position(|b| !half::bf16::from_le_bytes([b[0], b[1]]).is_finite()),
    }
}

impl GgufFile {
    /// Reads every byte of the file once, on so many threads. Of blocks the scales decide whether they are finite.
    pub fn scan(&self, threads: usize) -> Scan {
        on_threads(threads, |parallel| {
            let bytes: &[u8] = self.file.as_ref().as_ref();
            let mut pieces: Vec<(Range<usize>, DType)> = self
                .tensors
                .iter()
                .filter_map(|tensor| Some((tensor.range.clone(), plain_type(tensor.kind)?)))
                .flat_map(|(range, dtype)| cut(&range, PIECE_BYTES).map(move |piece| (piece, dtype)))
                .collect();
            pieces.sort_unstable_by_key(|(range, _)| range.start);
            let (hash, plain_finite) = scan_bytes(bytes, &pieces, parallel);
            let blocks_finite = match parallel {
                true => self.tensors.par_iter().all(|tensor| first_bad_block(tensor).is_none()),
                false => self.tensors.iter().all(|tensor| first_bad_block(tensor).is_none()),
            };
            Scan {
                files: vec![(self.path().to_path_buf(), hash)],
                all_finite: plain_finite && blocks_finite,
                bytes: bytes.len() as u64,
            }
        })
    }

    /// Name of the first tensor with a value that is not finite, and the value's index.
    pub fn first_non_finite(&self) -> Option<(&str, usize)> {
        self.tensors.iter().find_map(|tensor| {
            let index = first_bad_block(tensor).or_else(|| first_bad_value(tensor))?;
            Some((tensor.name.as_str(), index))
        })
    }
}
