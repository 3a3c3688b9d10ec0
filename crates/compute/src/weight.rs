//! Frozen weights: bytes that somebody else maps, read in place.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use half::{bf16, f16};

/// How the elements of a frozen weight are stored (little endian).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DType {
    /// IEEE single precision.
    F32,
    /// The upper half of an `f32`.
    Bf16,
    /// IEEE half precision.
    F16,
}

impl DType {
    /// Bytes of one element.
    pub fn size_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 | Self::F16 => 2,
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
    /// If the range does not hold exactly `rows * cols` elements or lies outside of the memory.
    pub fn new(
        dtype: DType,
        rows: usize,
        cols: usize,
        memory: Arc<dyn AsRef<[u8]> + Send + Sync>,
        range: Range<usize>,
    ) -> Self {
        let expected_bytes = rows * cols * dtype.size_bytes();
        assert_eq!(range.len(), expected_bytes, "bytes of a {dtype:?} weight [{rows}, {cols}]");
        assert!(range.end <= (*memory).as_ref().len(), "weight range {range:?} ends outside of its memory");
        Self { dtype, rows, cols, memory, range }
    }

    /// A weight of its own, from `f32` values.
    pub fn from_f32(rows: usize, cols: usize, values: &[f32]) -> Self {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let range = 0..bytes.len();
        Self::new(DType::F32, rows, cols, Arc::new(bytes), range)
    }

    /// A weight of its own in `dtype`, rounded to nearest even from `f32` values.
    pub fn from_f32_as(dtype: DType, rows: usize, cols: usize, values: &[f32]) -> Self {
        let bytes: Vec<u8> = match dtype {
            DType::F32 => return Self::from_f32(rows, cols, values),
            DType::Bf16 => values.iter().flat_map(|&value| bf16::from_f32(value).to_le_bytes()).collect(),
            DType::F16 => values.iter().flat_map(|&value| f16::from_f32(value).to_le_bytes()).collect(),
        };
        let range = 0..bytes.len();
        Self::new(dtype, rows, cols, Arc::new(bytes), range)
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

    /// The stored bytes, row after row, little endian, possibly unaligned.
    pub fn bytes(&self) -> &[u8] {
        &(*self.memory).as_ref()[self.range.clone()]
    }

    /// The stored bytes of one row.
    pub fn row_bytes(&self, row: usize) -> &[u8] {
        let row_len_bytes = self.cols * self.dtype.size_bytes();
        &self.bytes()[row * row_len_bytes..(row + 1) * row_len_bytes]
    }

    /// One element, widened.
    pub fn at(&self, row: usize, col: usize) -> f32 {
        let size = self.dtype.size_bytes();
        let bytes = &self.row_bytes(row)[col * size..(col + 1) * size];
        match self.dtype {
            DType::F32 => f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]),
            DType::Bf16 => bf16::from_le_bytes([bytes[0], bytes[1]]).to_f32(),
            DType::F16 => f16::from_le_bytes([bytes[0], bytes[1]]).to_f32(),
        }
    }

    /// One row, widened into `out`.
    ///
    /// # Panics
    /// If `out.len() != cols`.
    pub fn read_row(&self, row: usize, out: &mut [f32]) {
        assert_eq!(out.len(), self.cols, "length of the buffer for a row of {self:?}");
        let bytes = self.row_bytes(row);
        match self.dtype {
            DType::F32 => {
                for (value, b) in out.iter_mut().zip(bytes.chunks_exact(4)) {
                    *value = f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
                }
            }
            DType::Bf16 => {
                for (value, b) in out.iter_mut().zip(bytes.chunks_exact(2)) {
                    *value = f32::from_bits(u32::from(u16::from_le_bytes([b[0], b[1]])) << 16);
                }
            }
            DType::F16 => {
                for (value, b) in out.iter_mut().zip(bytes.chunks_exact(2)) {
                    *value = f16::from_le_bytes([b[0], b[1]]).to_f32();
                }
            }
        }
    }
}
