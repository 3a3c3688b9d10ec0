//! Frozen weights: bytes that somebody else maps, read in place.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use half::{bf16, f16};

use crate::blocks::{Affine, BlockMatrix, BlockType};

/// How the elements of a frozen weight are stored (little endian).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DType {
    /// IEEE single precision.
    F32,
    /// The upper half of an `f32`.
    Bf16,
    /// IEEE half precision.
    F16,
    /// Blocks of few bits.
    Block(BlockType),
}

/// The types whose elements can be addressed one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Element {
    F32,
    Bf16,
    F16,
}

impl Element {
    /// Bytes of one element.
    pub(crate) const fn size_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 | Self::F16 => 2,
        }
    }
}

impl DType {
    /// Bytes of one element; `None` for blocks, whose values have no bytes of their own.
    pub const fn element_bytes(self) -> Option<usize> {
        match self.element() {
            Some(element) => Some(element.size_bytes()),
            None => None,
        }
    }

    pub(crate) const fn element(self) -> Option<Element> {
        match self {
            Self::F32 => Some(Element::F32),
            Self::Bf16 => Some(Element::Bf16),
            Self::F16 => Some(Element::F16),
            Self::Block(_) => None,
        }
    }

    /// Bytes of a row; `None` when a row of so many columns cannot be stored like that, or the number does not fit.
    pub fn row_bytes(self, cols: usize) -> Option<usize> {
        match self {
            Self::Block(block) => block.row_bytes(cols),
            Self::F32 | Self::Bf16 | Self::F16 => cols.checked_mul(self.element_bytes()?),
        }
    }

    /// Bytes of a matrix; `None` where there is no such matrix, or the number does not fit.
    pub fn matrix_bytes(self, rows: usize, cols: usize) -> Option<usize> {
        match self {
            Self::Block(block) => block.matrix_bytes(rows, cols),
            Self::F32 | Self::Bf16 | Self::F16 => self.row_bytes(cols)?.checked_mul(rows),
        }
    }

    /// The type in which products over such weights are computed where a processor has products of `bf16`: blocks have
    /// fewer bits than that and are decoded to it.
    pub const fn of_products(self) -> Self {
        match self {
            Self::Block(_) => Self::Bf16,
            plain => plain,
        }
    }
}

/// A frozen matrix `[rows, cols]` (for a linear: `[out, in]`, as checkpoints store it) in memory that is shared, as a
/// rule a memory-mapped file. The bytes need not be aligned.
#[derive(Clone)]
pub struct Weight {
    dtype: DType,
    rows: usize,
    cols: usize,
    memory: Arc<dyn AsRef<[u8]> + Send + Sync>,
    range: Range<usize>,
    /// Scales and biases of affine groups.
    tails: Option<[WeightPart; 2]>,
    /// Rows of a head whose halves are stored as pairs.
    interleaved: Option<usize>,
}

/// A part of a weight: where in which memory.
#[derive(Clone)]
pub struct WeightPart {
    memory: Arc<dyn AsRef<[u8]> + Send + Sync>,
    range: Range<usize>,
}

impl WeightPart {
    /// `range` of `memory`.
    ///
    /// # Panics
    /// If the range lies outside of the memory.
    pub fn new(memory: Arc<dyn AsRef<[u8]> + Send + Sync>, range: Range<usize>) -> Self {
        assert!(range.end <= (*memory).as_ref().len(), "weight range {range:?} ends outside of its memory");
        Self { memory, range }
    }

    fn bytes(&self) -> &[u8] {
        &(*self.memory).as_ref()[self.range.clone()]
    }
}

impl fmt::Debug for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Weight({:?} [{}, {}])", self.dtype, self.rows, self.cols)
    }
}

impl Weight {
    /// A weight over `range` of `memory`.
    ///
    /// # Panics
    /// If the range does not hold exactly [`DType::matrix_bytes`] or lies outside of the memory.
    pub fn new(
        dtype: DType,
        rows: usize,
        cols: usize,
        memory: Arc<dyn AsRef<[u8]> + Send + Sync>,
        range: Range<usize>,
    ) -> Self {
        let expected_bytes = dtype.matrix_bytes(rows, cols);
        assert_eq!(Some(range.len()), expected_bytes, "bytes of a {dtype:?} weight [{rows}, {cols}]");
        assert!(range.end <= (*memory).as_ref().len(), "weight range {range:?} ends outside of its memory");
        if let DType::Block(BlockType::Affine(affine)) = dtype {
            let Some(parts) = affine.parts(rows, cols) else { unreachable!("a matrix has parts") };
            let part = |part: Range<usize>| {
                WeightPart::new(Arc::clone(&memory), range.start + part.start..range.start + part.end)
            };
            return Self::affine(affine, rows, cols, parts.map(part));
        }
        Self { dtype, rows, cols, memory, range, tails: None, interleaved: None }
    }

    /// A weight in affine groups, whose codes, scales and biases lie apart.
    ///
    /// # Panics
    /// If the parts do not have the sizes of [`Affine::parts`].
    pub fn affine(affine: Affine, rows: usize, cols: usize, parts: [WeightPart; 3]) -> Self {
        let expected = affine.parts(rows, cols).map(|parts| parts.map(|part| part.len()));
        let sizes = parts.each_ref().map(|part| part.range.len());
        assert_eq!(Some(sizes), expected, "bytes of the parts of a weight [{rows}, {cols}], {affine}");
        let [WeightPart { memory, range }, scales, biases] = parts;
        let dtype = DType::Block(BlockType::Affine(affine));
        Self { dtype, rows, cols, memory, range, tails: Some([scales, biases]), interleaved: None }
    }

    /// A weight of its own, from `f32` values.
    pub fn from_f32(rows: usize, cols: usize, values: &[f32]) -> Self {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let range = 0..bytes.len();
        Self::new(DType::F32, rows, cols, Arc::new(bytes), range)
    }

    /// A weight of its own in `dtype`, rounded to nearest even from `f32` values.
    ///
    /// # Panics
    /// If `dtype` is one of blocks: those come from an encoder.
    pub fn from_f32_as(dtype: DType, rows: usize, cols: usize, values: &[f32]) -> Self {
        let bytes: Vec<u8> = match dtype {
            DType::F32 => return Self::from_f32(rows, cols, values),
            DType::Bf16 => values.iter().flat_map(|&value| bf16::from_f32(value).to_le_bytes()).collect(),
            DType::F16 => values.iter().flat_map(|&value| f16::from_f32(value).to_le_bytes()).collect(),
            DType::Block(block) => panic!("{block} is not made by rounding"),
        };
        let range = 0..bytes.len();
        Self::new(dtype, rows, cols, Arc::new(bytes), range)
    }

    /// The weight whose rows are those of this one in another order, without a copy: in each head of `head_dim` rows,
    /// row `i` of the first half is stored at `2 i` and row `i` of the second half at `2 i + 1`. GGUF files of the
    /// architecture `llama` store the rows of q and k so; rotation there turns neighbours, here halves.
    ///
    /// # Panics
    /// If the rows are not whole heads of an even number of rows, or the weight is interleaved already.
    #[must_use]
    pub fn with_interleaved_rows(self, head_dim: usize) -> Self {
        assert!(self.interleaved.is_none(), "{self:?} is interleaved already");
        assert!(
            head_dim > 0 && head_dim.is_multiple_of(2) && self.rows.is_multiple_of(head_dim),
            "heads of {head_dim} rows in {self:?}"
        );
        Self { interleaved: Some(head_dim), ..self }
    }

    /// Where a row is stored.
    pub(crate) fn stored_row(&self, row: usize) -> usize {
        match self.interleaved {
            None => row,
            Some(head_dim) => {
                let (head, within, half) = (row / head_dim, row % head_dim, head_dim / 2);
                head * head_dim + 2 * (within % half) + within / half
            }
        }
    }

    /// Rows of a head whose halves are stored as pairs, if they are ([`Weight::with_interleaved_rows`]).
    pub fn interleaved(&self) -> Option<usize> {
        self.interleaved
    }

    /// Storage type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Rows (output features).
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns (input features).
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The stored bytes, row after row in their stored order, little endian, possibly unaligned; of affine groups the codes.
    pub fn bytes(&self) -> &[u8] {
        &(*self.memory).as_ref()[self.range.clone()]
    }

    /// The stored scales and biases of affine groups.
    pub fn affine_tails(&self) -> Option<[&[u8]; 2]> {
        self.tails.as_ref().map(|tails| tails.each_ref().map(WeightPart::bytes))
    }

    /// Bytes of all that is stored of it.
    pub fn size_bytes(&self) -> usize {
        self.range.len() + self.tails.iter().flatten().map(|part| part.range.len()).sum::<usize>()
    }

    /// The stored bytes of one row; for NF4 without what its scales' codes mean, which stands behind the last row.
    pub fn row_bytes(&self, row: usize) -> &[u8] {
        assert!(row < self.rows, "row {row} of {self:?}");
        let Some(row_bytes) = self.dtype.row_bytes(self.cols) else { unreachable!("the bytes were checked by `new`") };
        &self.bytes()[self.stored_row(row) * row_bytes..][..row_bytes]
    }

    /// Whether the elements are stored in blocks.
    pub(crate) fn is_blocks(&self) -> bool {
        matches!(self.dtype, DType::Block(_))
    }

    /// Whether they are stored in blocks that hold their own scales: kernels can decode them in registers. Affine groups keep
    /// scales apart from their codes and are decoded strip by strip.
    pub(crate) fn has_whole_blocks(&self) -> bool {
        matches!(self.dtype, DType::Block(kind) if !matches!(kind, BlockType::Affine(_)))
    }

    /// The stored blocks, in the stored order of the rows; `None` where the elements are no blocks.
    pub(crate) fn blocks(&self) -> Option<BlockMatrix<'_>> {
        match self.dtype {
            DType::Block(kind) => Some(match (kind, self.affine_tails()) {
                (BlockType::Affine(affine), Some([scales, biases])) => {
                    BlockMatrix::of_parts(affine, [self.bytes(), scales, biases], self.rows, self.cols)
                }
                _ => BlockMatrix::new(kind, self.bytes(), self.rows, self.cols),
            }),
            DType::F32 | DType::Bf16 | DType::F16 => None,
        }
    }

    /// One element, widened.
    pub fn at(&self, row: usize, col: usize) -> f32 {
        assert!(row < self.rows && col < self.cols, "element ({row}, {col}) of {self:?}");
        let mut value = [0.0];
        self.read_part(row, col, &mut value);
        value[0]
    }

    /// One row, widened into `out`.
    ///
    /// # Panics
    /// If `out.len() != cols`.
    pub fn read_row(&self, row: usize, out: &mut [f32]) {
        assert_eq!(out.len(), self.cols, "length of the buffer for a row of {self:?}");
        self.read_part(row, 0, out);
    }

    /// The columns from `first_col` on of one row, widened into `out`.
    ///
    /// # Panics
    /// If the row ends before `out` does.
    pub fn read_part(&self, row: usize, first_col: usize, out: &mut [f32]) {
        assert!(first_col + out.len() <= self.cols, "{} columns from {first_col} on of {self:?}", out.len());
        let bytes = self.row_bytes(row);
        match self.dtype {
            DType::F32 => {
                for (value, b) in out.iter_mut().zip(bytes[4 * first_col..].chunks_exact(4)) {
                    *value = f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
                }
            }
            DType::Bf16 => {
                for (value, b) in out.iter_mut().zip(bytes[2 * first_col..].chunks_exact(2)) {
                    *value = f32::from_bits(u32::from(u16::from_le_bytes([b[0], b[1]])) << 16);
                }
            }
            DType::F16 => {
                for (value, b) in out.iter_mut().zip(bytes[2 * first_col..].chunks_exact(2)) {
                    *value = f16::from_le_bytes([b[0], b[1]]).to_f32();
                }
            }
            DType::Block(_) => {
                let Some(matrix) = self.blocks() else { unreachable!("it has blocks") };
                matrix.decode(self.stored_row(row), first_col, out);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interleaved_rows_are_read_in_the_order_of_halves() {
        // Two heads of 4 rows; each stored row holds its own number. Pairs (0, 1) and (2, 3) are (first, second) halves.
        let values: Vec<f32> = (0..8).map(|row| row as f32).collect();
        let weight = Weight::from_f32(8, 1, &values).with_interleaved_rows(4);
        let read: Vec<f32> = (0..8).map(|row| weight.at(row, 0)).collect();
        assert_eq!(read, [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]);
    }

    #[test]
    #[should_panic(expected = "heads of 6 rows")]
    fn rows_that_are_no_heads_are_refused() {
        let _ = Weight::from_f32(8, 1, &[0.0; 8]).with_interleaved_rows(6);
    }

    #[test]
    fn bytes_of_what_cannot_be_are_none() {
        assert_eq!(DType::F32.matrix_bytes(usize::MAX, 2), None);
        assert_eq!(DType::Block(BlockType::Q4K).row_bytes(255), None);
        assert_eq!(DType::Block(BlockType::Nf4).matrix_bytes(usize::MAX / 2, 128), None);
        assert_eq!(DType::Block(BlockType::Nf4).matrix_bytes(2, 64), Some(2 * 33 + 2 * 4));
    }
}
