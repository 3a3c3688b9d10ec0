//! NF4 with double quantisation, as QLoRA has it: 16 quantiles of the normal distribution for the values of a block, relative
//! to its largest; the largest values of all blocks, less their mean, as codes of 8 bits.
//!
//! # Source
//! Dettmers, Pagnoni, Holtzman, Zettlemoyer: "QLoRA", 2023, section 3 and appendix E (the table); Dettmers: "8-bit
//! approximations for parallelism in deep learning", 2015 (the codes of the scales); bitsandbytes 0.50.2. Its library for CPUs
//! looks the scales' codes up in a table with steps of 2^-15; ours are always the nearest ones.

use std::sync::OnceLock;

use super::super::NF4_SCALE_GROUP;
use super::{BlockType, EncodeError, Work, check, run};
use crate::cpu::Isa;

/// What the 16 indices mean.
pub const NF4_TABLE: [f32; 16] = [
    -1.0,
    -0.696_192_8,
    -0.525_073_05,
    -0.394_917_5,
    -0.284_441_38,
    -0.184_773_43,
    -0.091_050_036,
    0.0,
    0.079_580_3,
    0.160_930_2,
    0.246_112_3,
    0.337_915_24,
    0.440_709_83,
    0.562_617,
    0.722_956_84,
    1.0,
];

const BLOCK_LEN: usize = BlockType::Nf4.block_len();

/// Below this a block's largest value counts as this, so that it can be divided by.
const SMALLEST: f32 = 1e-38;

/// Halfway between neighbours of the table; a value on a bound belongs to the lower one.
const BOUNDS: [f32; 15] = {
    let mut bounds = [0.0; 15];
    let mut i = 0;
    while i < 15 {
        bounds[i] = (NF4_TABLE[i] + NF4_TABLE[i + 1]) / 2.0;
        i += 1;
    }
    bounds
};

/// What the 256 codes of the scales mean, in rising order, from about -0.993 to 1.
///
/// An exponent of seven decades, 10^-6 to 1; the higher the decade, the more bits are left to divide its upper nine tenths
/// into equal parts, whose middles are the numbers: 2^e of decade e, with either sign. Then 0 and 1.
pub fn nf4_scale_table() -> &'static [f32; 256] {
    static TABLE: OnceLock<[f32; 256]> = OnceLock::new();
    TABLE.get_or_init(|| {
        let mut table = [0.0f32; 256];
        table[1] = 1.0;
        let mut next = 2;
        for decade in 0..7u32 {
            let parts = 1usize << decade;
            let bound = |i: usize| linear_spaced(i, parts);
            for part in 0..parts {
                let middle = (bound(part) + bound(part + 1)) / 2.0;
                let number = 10f64.powi(decade as i32 - 6) as f32 * middle;
                (table[next], table[next + 1]) = (number, -number);
                next += 2;
            }
        }
        table.sort_by(f32::total_cmp);
        table
    })
}

/// Number `i` of `parts + 1` from 0.1 to 1, counted from the nearer end in `f32`, which decides its last bit.
fn linear_spaced(i: usize, parts: usize) -> f32 {
    let step = (1.0f32 - 0.1) / parts as f32;
    if i < parts.div_ceil(2) { step.mul_add(i as f32, 0.1) } else { step.mul_add(-((parts - i) as f32), 1.0) }
}

/// An NF4 matrix in the making. Rows can be encoded in any order and by several threads, each into its own slices
/// ([`Nf4Rows::split`]); what the scales' codes mean is settled at the end ([`Nf4Rows::finish`]).
///
/// # Shapes
/// `rows x cols`, `cols` a multiple of 64. The bytes are those of [`BlockType::Nf4`]; while they are in the making, 4 more a
/// block are held.
pub struct Nf4Rows {
    rows: usize,
    cols: usize,
    bytes: Vec<u8>,
    absmax: Vec<f32>,
}

/// One row of an [`Nf4Rows`].
pub struct Nf4Row<'a> {
    bytes: &'a mut [u8],
    absmax: &'a mut [f32],
}

impl Nf4Row<'_> {
    /// Encodes the row's values.
    ///
    /// # Errors
    /// [`EncodeError::NotFinite`], and [`EncodeError::PartialBlock`] for another number of values than the row has.
    pub fn encode(self, values: &[f32]) -> Result<(), EncodeError> {
        if values.len() != self.absmax.len() * BLOCK_LEN {
            return Err(EncodeError::PartialBlock { kind: BlockType::Nf4, len: values.len() });
        }
        check(BlockType::Nf4, values)?;
        let indices = &mut self.bytes[..values.len() / 2];
        run(Isa::best(), Work::Nf4 { values, indices, absmax: self.absmax });
        Ok(())
    }
}

impl Nf4Rows {
    /// Memory for a matrix.
    ///
    /// # Errors
    /// [`EncodeError::PartialBlock`] and [`EncodeError::TooBig`].
    pub fn new(rows: usize, cols: usize) -> Result<Self, EncodeError> {
        let kind = BlockType::Nf4;
        if !cols.is_multiple_of(BLOCK_LEN) {
            return Err(EncodeError::PartialBlock { kind, len: cols });
        }
        let too_big = EncodeError::TooBig { kind, rows, cols };
        let blocks = rows.checked_mul(cols / BLOCK_LEN).ok_or(too_big)?;
        let size = kind.matrix_bytes(rows, cols).filter(|&size| size <= isize::MAX as usize).ok_or(too_big)?;
        Ok(Self { rows, cols, bytes: vec![0; size], absmax: vec![0.0; blocks] })
    }

    /// The rows, in their order.
    pub fn split(&mut self) -> impl Iterator<Item = Nf4Row<'_>> {
        let blocks = self.cols / BLOCK_LEN;
        let row_bytes = blocks * BlockType::Nf4.block_bytes();
        let of_rows = &mut self.bytes[..self.rows * row_bytes];
        // Rows of no values have no slices.
        of_rows
            .chunks_exact_mut(row_bytes.max(1))
            .zip(self.absmax.chunks_exact_mut(blocks.max(1)))
            .map(|(bytes, absmax)| Nf4Row { bytes, absmax })
    }

    /// Quantises the scales and gives the bytes.
    pub fn finish(mut self) -> Vec<u8> {
        let blocks = self.cols / BLOCK_LEN;
        // Folded from 0, because an empty sum is -0.
        let sum = self.absmax.iter().fold(0.0f64, |sum, &value| sum + f64::from(value));
        let offset = (sum / self.absmax.len().max(1) as f64) as f32;
        let row_bytes = blocks * BlockType::Nf4.block_bytes();
        let index_bytes = self.cols / 2;
        let (of_rows, tail) = self.bytes.split_at_mut(self.rows * row_bytes);
        let mut seconds = tail.as_chunks_mut::<4>().0.iter_mut();
        let table = nf4_scale_table();
        let bounds: [f32; 255] = std::array::from_fn(|i| (table[i] + table[i + 1]) / 2.0);
        for (group, absmax) in self.absmax.chunks(NF4_SCALE_GROUP).enumerate() {
            let second = absmax.iter().fold(0.0f32, |a, &b| a.max((b - offset).abs()));
            let inverse = 1.0 / second.max(SMALLEST);
            for (i, &value) in absmax.iter().enumerate() {
                let scaled = ((value - offset) * inverse).clamp(-1.0, 1.0);
                let code = if second == 0.0 { 0 } else { bounds.partition_point(|&bound| bound < scaled) };
                let block = group * NF4_SCALE_GROUP + i;
                of_rows[block / blocks * row_bytes + index_bytes + block % blocks] = code as u8;
            }
            if let Some(place) = seconds.next() {
                *place = second.to_le_bytes();
            }
        }
        if let Some(place) = seconds.next() {
            *place = offset.to_le_bytes();
        }
        self.bytes
    }
}

/// Encodes a matrix whose rows come one by one.
///
/// # Shapes
/// `next_row(row, values)` fills the `cols` values of a row and is called once for each of `rows`, in order; `cols` is a
/// multiple of 64. The result has [`BlockType::matrix_bytes`]. Beside it one row and one `f32` a block are held.
///
/// # Precision
/// Indices are those of bitsandbytes, and scale codes the nearest ones. The offset is the mean of the blocks' largest values,
/// summed in `f64`, and so may differ from a sum in `f32` in its last bits.
///
/// # Errors
/// [`EncodeError::PartialBlock`], [`EncodeError::TooBig`], and [`EncodeError::NotFinite`] with the index counted over the
/// whole matrix.
///
/// # Source
/// See the module.
pub fn encode_nf4(
    rows: usize,
    cols: usize,
    next_row: &mut dyn FnMut(usize, &mut [f32]),
) -> Result<Vec<u8>, EncodeError> {
    let mut matrix = Nf4Rows::new(rows, cols)?;
    let mut values = vec![0.0; cols];
    for (row, place) in matrix.split().enumerate() {
        next_row(row, &mut values);
        place.encode(&values).map_err(|error| match error {
            EncodeError::NotFinite { kind, index, value } => {
                EncodeError::NotFinite { kind, index: row * cols + index, value }
            }
            other => other,
        })?;
    }
    Ok(matrix.finish())
}

/// Indices (two a byte, the first in the upper nibble) and largest absolute values of a row.
///
/// # Shapes
/// 64 values, 32 bytes of indices and one largest value a block.
#[inline(always)]
pub(super) fn indices_of(values: &[f32], indices: &mut [u8], absmax: &mut [f32]) {
    let blocks = values.as_chunks::<BLOCK_LEN>().0.iter().zip(indices.as_chunks_mut::<32>().0);
    for ((x, bytes), largest_out) in blocks.zip(absmax) {
        let mut lanes = [0.0f32; 16];
        for sixteen in x.as_chunks::<16>().0 {
            for lane in 0..16 {
                let magnitude = sixteen[lane].abs();
                lanes[lane] = if magnitude > lanes[lane] { magnitude } else { lanes[lane] };
            }
        }
        let largest = lanes.iter().fold(0.0f32, |a, &b| a.max(b));
        let inverse = 1.0 / if largest > SMALLEST { largest } else { SMALLEST };
        let mut codes = [0i32; BLOCK_LEN];
        for i in 0..BLOCK_LEN {
            let scaled = x[i] * inverse;
            let mut code = 0;
            for bound in BOUNDS {
                code += i32::from(scaled > bound);
            }
            codes[i] = code;
        }
        for i in 0..32 {
            bytes[i] = (codes[2 * i] << 4 | codes[2 * i + 1]) as u8;
        }
        *largest_out = largest;
    }
}
