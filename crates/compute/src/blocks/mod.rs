//! Matrices stored in blocks of few bits: the types of GGUF, NF4 of QLoRA, and mlx's affine groups.
//!
//! A row is a run of blocks, so its length is a multiple of [`BlockType::block_len`], and rows can be read one by one.
//!
//! | type | values a block | bytes a block | what is in it, in this order |
//! |---|---|---|---|
//! | Q8_0 | 32 | 34 | scale d (f16), 32 signed bytes q: `d q` |
//! | Q4_0 | 32 | 18 | scale d (f16), 16 bytes of two values, the lower half first all lower nibbles: `d (q - 8)` |
//! | Q4_K | 256 | 144 | d, dmin (f16), 12 bytes with 8 scales and 8 minima of 6 bits, 128 bytes of nibbles |
//! | Q5_K | 256 | 176 | d, dmin (f16), 12 bytes as in Q4_K, 32 bytes of fifth bits, 128 bytes of nibbles |
//! | Q6_K | 256 | 210 | 128 bytes of lower nibbles, 64 bytes of upper pairs, 16 signed scales, d (f16) |
//! | NF4 | 64 | 33 | 32 bytes of two indices into the table (the upper nibble first), one byte of the scale's code |
//!
//! NF4 lies row after row: all indices of a row, then all codes of its scales. Behind the last row stand what the codes
//! mean (double quantisation): one `f32` for every 256 blocks, counted over the whole matrix, and one `f32` offset. The
//! scale of a block is `table[code] * second[block / 256] + offset`.
//!
//! Affine groups, as mlx has them, keep codes, scales and biases apart: [`Affine`].
//!
//! # Source
//! ggml's `ggml-common.h` (layouts of the types of GGUF); Dettmers et al.: "QLoRA", 2023, and bitsandbytes.

mod affine;
mod decode;
pub mod encode;

use std::fmt;

pub use affine::Affine;
pub use decode::BlockMatrix;
pub(crate) use decode::{GROUP, Nf4Indices, nf4_group};

/// A type of blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BlockType {
    /// 8.5 bits a value.
    Q8_0,
    /// 4.5 bits a value.
    Q4_0,
    /// 4.5 bits a value, in groups of 32 with a minimum each.
    Q4K,
    /// 5.5 bits a value, in groups of 32 with a minimum each.
    Q5K,
    /// 6.5625 bits a value, in groups of 16.
    Q6K,
    /// 4.127 bits a value: quantiles of the normal distribution, scales quantised again.
    Nf4,
    /// 4 or 8 bits a value, and a scale and a bias for each group.
    Affine(Affine),
}

/// Blocks that share one second-level scale of NF4.
pub const NF4_SCALE_GROUP: usize = 256;

impl BlockType {
    /// All of them but the affine ones, which have parameters.
    pub const ALL: [Self; 6] = [Self::Q8_0, Self::Q4_0, Self::Q4K, Self::Q5K, Self::Q6K, Self::Nf4];

    /// Values of a block.
    pub const fn block_len(self) -> usize {
        match self {
            Self::Q8_0 | Self::Q4_0 => 32,
            Self::Q4K | Self::Q5K | Self::Q6K => 256,
            Self::Nf4 => 64,
            Self::Affine(affine) => affine.group_len(),
        }
    }

    /// Bytes of a block; of affine groups those of the codes.
    pub const fn block_bytes(self) -> usize {
        match self {
            Self::Q8_0 => 34,
            Self::Q4_0 => 18,
            Self::Q4K => 144,
            Self::Q5K => 176,
            Self::Q6K => 210,
            Self::Nf4 => 33,
            Self::Affine(affine) => affine.code_bytes(),
        }
    }

    /// Bytes of a row; `None` when the row is not a whole number of blocks.
    pub const fn row_bytes(self, cols: usize) -> Option<usize> {
        match cols.is_multiple_of(self.block_len()) {
            true => (cols / self.block_len()).checked_mul(self.block_bytes()),
            false => None,
        }
    }

    /// Bytes of a matrix; `None` when its rows are not whole numbers of blocks, or the number does not fit.
    pub fn matrix_bytes(self, rows: usize, cols: usize) -> Option<usize> {
        let of_rows = self.row_bytes(cols)?.checked_mul(rows)?;
        match self {
            Self::Nf4 => {
                let blocks = rows * (cols / self.block_len());
                of_rows.checked_add((blocks.div_ceil(NF4_SCALE_GROUP) + 1).checked_mul(size_of::<f32>())?)
            }
            Self::Affine(affine) => of_rows.checked_add(affine.tail_bytes(rows, cols)?.checked_mul(2)?),
            _ => Some(of_rows),
        }
    }
}

impl fmt::Display for BlockType {
    /// The name that GGUF (and QLoRA) use.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Affine(affine) => return affine.fmt(f),
            Self::Q8_0 => "Q8_0",
            Self::Q4_0 => "Q4_0",
            Self::Q4K => "Q4_K",
            Self::Q5K => "Q5_K",
            Self::Q6K => "Q6_K",
            Self::Nf4 => "NF4",
        })
    }
}
