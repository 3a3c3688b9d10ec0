//! From `f32` to blocks.
//!
//! Every encoder is plain Rust over arrays of fixed size, compiled once for each instruction set and chosen at run time.
//! None of them contracts a product and a sum into one rounding, so all give the same bytes.
//!
//! # Source
//! Layouts: ggml's `ggml-common.h`. Q8_0 and Q4_0 are equal to those of its `ggml-quants.c` byte for byte; the K-quants
//! take the better one of its fit and of a search that goes further (`k_quants.rs`).
#![allow(unsafe_code)]

mod affine;
mod k_quants;
mod k_quants_fit;
mod lanes;
mod legacy;
mod nf4;
mod symmetric;
#[cfg(test)]
mod tests;

pub use nf4::{NF4_TABLE, Nf4Rows, encode_nf4, nf4_scale_table};

use self::lanes::{Lanes, Plain};
use super::{Affine, BlockType};
use crate::DType;
use crate::cpu::Isa;

/// The largest finite `f16`.
const F16_MAX: f32 = 65504.0;

/// Why values cannot become blocks. Nothing was written then.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum EncodeError {
    /// A NaN or an infinity.
    #[error("value {index} is {value}, which {kind} cannot hold")]
    NotFinite {
        /// The type asked for.
        kind: BlockType,
        /// Where in the row.
        index: usize,
        /// The value.
        value: f32,
    },
    /// The scale of its block would not fit an `f16`.
    #[error("value {index} is {value}; {kind} holds up to {limit}")]
    TooLarge {
        /// The type asked for.
        kind: BlockType,
        /// Where in the row.
        index: usize,
        /// The value.
        value: f32,
        /// The largest absolute value that is accepted.
        limit: f32,
    },
    /// The row is not a whole number of blocks.
    #[error("a row of {len} values is not a whole number of blocks of {kind}, which have {}", kind.block_len())]
    PartialBlock {
        /// The type asked for.
        kind: BlockType,
        /// Values of the row.
        len: usize,
    },
    /// The type's scales need all rows at once.
    #[error("{kind} cannot be made row by row: what its scales are is not in the rows")]
    NeedsMatrix {
        /// The type asked for.
        kind: BlockType,
    },
    /// The number of bytes does not fit the address space.
    #[error("{rows} rows of {cols} values of {kind} do not fit the address space")]
    TooBig {
        /// The type asked for.
        kind: BlockType,
        /// Rows of the matrix.
        rows: usize,
        /// Values of a row.
        cols: usize,
    },
}

impl EncodeError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NotFinite { .. } => "the weights are damaged: read them again from their source",
            Self::TooLarge { .. } => "keep this matrix in bf16 or f32",
            Self::PartialBlock { .. } => {
                "use a type with shorter blocks (Q8_0 has 32 values), or keep this matrix in f16"
            }
            Self::NeedsMatrix { .. } => "use encode_nf4, or encode_affine_row",
            Self::TooBig { .. } => "the matrix's shape is damaged",
        }
    }
}

/// The largest absolute value that a type accepts: up to it, no `f16` scale can overflow. NF4 has `f32` scales.
const fn limit(kind: BlockType) -> f32 {
    match kind {
        BlockType::Q8_0 => F16_MAX * 127.0,
        BlockType::Q4_0 => F16_MAX * 8.0,
        // A minimum has 6 bits; the scales of these, of the range / 15, are below it.
        BlockType::Q4K | BlockType::Q5K => F16_MAX * 63.0,
        BlockType::Q6K => F16_MAX * 127.0 * 31.0,
        BlockType::Nf4 => f32::MAX,
        // The range, twice as much, must fit the type of the scales.
        BlockType::Affine(affine) => match affine.scale_dtype() {
            DType::F16 => F16_MAX / 2.0 - 16.0,
            _ => f32::MAX / 4.0,
        },
    }
}

/// Appends a row as blocks of `kind`.
///
/// # Shapes
/// `values` has a multiple of [`BlockType::block_len`]; `out` grows by [`BlockType::row_bytes`].
///
/// # Precision
/// Deterministic, and the same on every processor. Blocks so small that their `f16` scale is 0 become zeros.
///
/// # Errors
/// [`EncodeError`], with `out` as it was.
///
/// # Source
/// See the module.
pub fn encode_row(kind: BlockType, values: &[f32], out: &mut Vec<u8>) -> Result<(), EncodeError> {
    encode_row_with(Isa::best(), kind, values, out)
}

/// [`encode_row`] by a path that this machine must have.
fn encode_row_with(isa: Isa, kind: BlockType, values: &[f32], out: &mut Vec<u8>) -> Result<(), EncodeError> {
    if matches!(kind, BlockType::Nf4 | BlockType::Affine(_)) {
        return Err(EncodeError::NeedsMatrix { kind });
    }
    let Some(bytes) = kind.row_bytes(values.len()) else {
        return Err(EncodeError::PartialBlock { kind, len: values.len() });
    };
    check(kind, values)?;
    let start = out.len();
    out.resize(start + bytes, 0);
    run(isa, Work::Row { kind, values, out: &mut out[start..] });
    Ok(())
}

/// The three parts of a matrix in affine groups, as far as its rows were encoded: little endian.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AffineParts {
    /// `[rows, cols bits / 8]`: the bytes of mlx's words.
    pub codes: Vec<u8>,
    /// `[rows, cols / group]` in the type of the scales.
    pub scales: Vec<u8>,
    /// The same of the biases.
    pub biases: Vec<u8>,
}

/// Appends a row in affine groups.
///
/// # Precision
/// Deterministic, and the same on every processor. No group has a larger squared error than mlx's own encoder gives it.
///
/// # Errors
/// [`EncodeError`], with `out` as it was.
///
/// # Source
/// Documentation of `mlx.core.quantize`.
pub fn encode_affine_row(affine: Affine, values: &[f32], out: &mut AffineParts) -> Result<(), EncodeError> {
    encode_affine_row_with(Isa::best(), affine, values, out)
}

fn encode_affine_row_with(isa: Isa, affine: Affine, values: &[f32], out: &mut AffineParts) -> Result<(), EncodeError> {
    let kind = BlockType::Affine(affine);
    if kind.row_bytes(values.len()).is_none() {
        return Err(EncodeError::PartialBlock { kind, len: values.len() });
    }
    check(kind, values)?;
    let groups = values.len() / affine.group_len();
    let (mut codes, mut scales, mut biases) = (vec![0; values.len()], vec![0.0; groups], vec![0.0; groups]);
    run(isa, Work::Affine { affine, values, codes: &mut codes, scales: &mut scales, biases: &mut biases });
    match affine.bits() {
        4 => out.codes.extend(codes.as_chunks().0.iter().map(|[low, high]| low | (high << 4))),
        _ => out.codes.extend(codes),
    }
    for (to, values) in [(&mut out.scales, scales), (&mut out.biases, biases)] {
        match affine.scale_dtype() {
            DType::F16 => to.extend(values.iter().flat_map(|&value| half::f16::from_f32(value).to_le_bytes())),
            DType::Bf16 => to.extend(values.iter().flat_map(|&value| half::bf16::from_f32(value).to_le_bytes())),
            _ => to.extend(values.iter().flat_map(|value| value.to_le_bytes())),
        }
    }
    Ok(())
}

/// Holds that every value can be encoded.
fn check(kind: BlockType, values: &[f32]) -> Result<(), EncodeError> {
    let limit = limit(kind);
    for (chunk_index, chunk) in values.chunks(256).enumerate() {
        // A NaN compares as false, so it counts as bad.
        let good = chunk.iter().fold(true, |good, value| good & (value.abs() <= limit));
        if good {
            continue;
        }
        for (i, &value) in chunk.iter().enumerate() {
            let index = chunk_index * 256 + i;
            if !value.is_finite() {
                return Err(EncodeError::NotFinite { kind, index, value });
            }
            if value.abs() > limit {
                return Err(EncodeError::TooLarge { kind, index, value, limit });
            }
        }
    }
    Ok(())
}

/// What is compiled once for each instruction set.
enum Work<'a> {
    /// A row of affine groups.
    Affine { affine: Affine, values: &'a [f32], codes: &'a mut [u8], scales: &'a mut [f32], biases: &'a mut [f32] },
    /// A row of any other type but NF4.
    Row { kind: BlockType, values: &'a [f32], out: &'a mut [u8] },
    /// A row of NF4: indices and largest absolute values.
    Nf4 { values: &'a [f32], indices: &'a mut [u8], absmax: &'a mut [f32] },
}

#[inline(always)]
fn run_here<L: Lanes>(work: Work) {
    match work {
        Work::Row { kind: BlockType::Q8_0, values, out } => legacy::q8_0(values, out),
        Work::Row { kind: BlockType::Q4_0, values, out } => legacy::q4_0(values, out),
        Work::Row { kind: BlockType::Q4K, values, out } => k_quants::q4_k::<L>(values, out),
        Work::Row { kind: BlockType::Q5K, values, out } => k_quants::q5_k::<L>(values, out),
        Work::Row { kind: BlockType::Q6K, values, out } => k_quants::q6_k::<L>(values, out),
        Work::Row { kind: BlockType::Nf4 | BlockType::Affine(_), .. } => unreachable!("they have work of their own"),
        Work::Affine { affine, values, codes, scales, biases } => affine::row(affine, values, codes, scales, biases),
        Work::Nf4 { values, indices, absmax } => nf4::indices_of(values, indices, absmax),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
fn run_avx2(work: Work) {
    run_here::<lanes::Avx2>(work);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")]
fn run_avx512(work: Work) {
    run_here::<lanes::Avx512>(work);
}

fn run(isa: Isa, work: Work) {
    assert!(isa.is_available(), "this machine lacks {isa}");
    match isa {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: asserted above; AMX and AVX512-BF16 include AVX-512.
        Isa::Amx | Isa::Avx512Bf16 | Isa::Avx512 => unsafe { run_avx512(work) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: asserted above.
        Isa::Avx2 => unsafe { run_avx2(work) },
        _ => run_here::<Plain>(work),
    }
}
