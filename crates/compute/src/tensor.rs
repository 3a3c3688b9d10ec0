//! Activations: a dense row-major matrix of `f32` or `bf16`.
#![allow(unsafe_code)]

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use half::bf16;

use crate::pool::Block;
use crate::weight::DType;

/// Values in memory of the pool.
struct Buffer<T> {
    block: Block,
    len: usize,
    values: PhantomData<T>,
}

impl<T: bytemuck::Pod> Buffer<T> {
    /// `len` values with unspecified contents.
    fn unset(len: usize) -> Self {
        Self { block: Block::new(len * size_of::<T>()), len, values: PhantomData }
    }
}

impl<T: bytemuck::Pod> Deref for Buffer<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: the block has room for `len` values, is aligned to a cache line and initialised, and every bit
        // pattern is a value of a `Pod` type; nobody else has the block.
        unsafe { std::slice::from_raw_parts(self.block.as_ptr().cast(), self.len) }
    }
}

impl<T: bytemuck::Pod> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above, and `self` is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.block.as_ptr().cast(), self.len) }
    }
}

enum Storage {
    F32(Buffer<f32>),
    Bf16(Buffer<bf16>),
}

/// The values of a tensor or of a part of one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Values<'a> {
    /// Single precision.
    F32(&'a [f32]),
    /// The upper halves of `f32`.
    Bf16(&'a [bf16]),
}

/// The values of a tensor or of a part of one, to be written.
#[derive(Debug, PartialEq)]
pub enum ValuesMut<'a> {
    /// Single precision.
    F32(&'a mut [f32]),
    /// The upper halves of `f32`.
    Bf16(&'a mut [bf16]),
}

/// A dense row-major matrix: `rows` x `cols`, in memory of the pool.
///
/// Activations have one row per token; heads lie side by side in the columns (`[t, h*d]`), so a tensor of queries can
/// be read as `[t*h, d]` without moving a byte ([`Tensor::reshaped`]). The residual stream and what adds up is `f32`;
/// operands of matrix products may be `bf16` ([`crate::Backend::activation_dtype`]).
pub struct Tensor {
    rows: usize,
    cols: usize,
    storage: Storage,
}

impl Tensor {
    /// A matrix of `dtype` whose values are whatever the memory held: for outputs that are written as a whole.
    ///
    /// # Panics
    /// If `dtype` is `F16` or one of blocks, which no activation has.
    pub fn unset(dtype: DType, rows: usize, cols: usize) -> Self {
        let storage = match dtype {
            DType::F32 => Storage::F32(Buffer::unset(rows * cols)),
            DType::Bf16 => Storage::Bf16(Buffer::unset(rows * cols)),
            DType::F16 | DType::Block(_) => panic!("activations are f32 or bf16, not {dtype:?}"),
        };
        Self { rows, cols, storage }
    }

    /// An `f32` matrix of zeros.
    pub fn zeros(rows: usize, cols: usize) -> Self {
        let mut tensor = Self::unset(DType::F32, rows, cols);
        tensor.data_mut().fill(0.0);
        tensor
    }

    /// An `f32` matrix of these values.
    ///
    /// # Panics
    /// If `data.len() != rows * cols`.
    pub fn from_vec(rows: usize, cols: usize, data: Vec<f32>) -> Self {
        Self::from_slice(rows, cols, &data)
    }

    /// An `f32` matrix of these values.
    ///
    /// # Panics
    /// If `data.len() != rows * cols`.
    pub fn from_slice(rows: usize, cols: usize, data: &[f32]) -> Self {
        assert_eq!(data.len(), rows * cols, "a {rows} x {cols} tensor from {} values", data.len());
        let mut tensor = Self::unset(DType::F32, rows, cols);
        tensor.data_mut().copy_from_slice(data);
        tensor
    }

    /// The same values in `dtype`, rounded to nearest even.
    pub fn to_dtype(&self, dtype: DType) -> Self {
        let mut to = Self::unset(dtype, self.rows, self.cols);
        match (self.values(), to.values_mut()) {
            (Values::F32(from), ValuesMut::F32(to)) => to.copy_from_slice(from),
            (Values::Bf16(from), ValuesMut::Bf16(to)) => to.copy_from_slice(from),
            (Values::F32(from), ValuesMut::Bf16(to)) => {
                for (to, &from) in to.iter_mut().zip(from) {
                    *to = bf16::from_f32(from);
                }
            }
            (Values::Bf16(from), ValuesMut::F32(to)) => {
                for (to, from) in to.iter_mut().zip(from) {
                    *to = from.to_f32();
                }
            }
        }
        to
    }

    /// Number of rows (tokens).
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns (channels).
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Type of the values.
    pub fn dtype(&self) -> DType {
        match self.storage {
            Storage::F32(_) => DType::F32,
            Storage::Bf16(_) => DType::Bf16,
        }
    }

    /// All values, row after row.
    pub fn values(&self) -> Values<'_> {
        match &self.storage {
            Storage::F32(data) => Values::F32(data),
            Storage::Bf16(data) => Values::Bf16(data),
        }
    }

    /// All values, row after row.
    pub fn values_mut(&mut self) -> ValuesMut<'_> {
        match &mut self.storage {
            Storage::F32(data) => ValuesMut::F32(data),
            Storage::Bf16(data) => ValuesMut::Bf16(data),
        }
    }

    /// All values of an `f32` tensor, row after row.
    ///
    /// # Panics
    /// If it is not `f32`; as are all accessors below.
    pub fn data(&self) -> &[f32] {
        match &self.storage {
            Storage::F32(data) => data,
            Storage::Bf16(_) => panic!("a bf16 tensor [{}, {}] read as f32", self.rows, self.cols),
        }
    }

    /// All values of an `f32` tensor, row after row.
    pub fn data_mut(&mut self) -> &mut [f32] {
        match &mut self.storage {
            Storage::F32(data) => data,
            Storage::Bf16(_) => panic!("a bf16 tensor [{}, {}] read as f32", self.rows, self.cols),
        }
    }

    /// The values of one row of an `f32` tensor.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.data()[row * self.cols..(row + 1) * self.cols]
    }

    /// The values of one row of an `f32` tensor.
    pub fn row_mut(&mut self, row: usize) -> &mut [f32] {
        let cols = self.cols;
        &mut self.data_mut()[row * cols..(row + 1) * cols]
    }

    /// The same values with other borders: `[t, h*d]` as `[t*h, d]` and back.
    ///
    /// # Panics
    /// If the number of values differs.
    pub fn reshaped(mut self, rows: usize, cols: usize) -> Self {
        assert_eq!(self.rows * self.cols, rows * cols, "{} x {} as {rows} x {cols}", self.rows, self.cols);
        (self.rows, self.cols) = (rows, cols);
        self
    }

    /// The values of an `f32` tensor, without the borders.
    pub fn into_vec(self) -> Vec<f32> {
        self.data().to_vec()
    }
}

impl Clone for Tensor {
    fn clone(&self) -> Self {
        self.to_dtype(self.dtype())
    }
}

impl PartialEq for Tensor {
    fn eq(&self, other: &Self) -> bool {
        (self.rows, self.cols) == (other.rows, other.cols) && self.values() == other.values()
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tensor[{}, {}] {:?}", self.rows, self.cols, self.values())
    }
}

impl<'a> Values<'a> {
    /// Type of the values.
    pub fn dtype(&self) -> DType {
        match self {
            Self::F32(_) => DType::F32,
            Self::Bf16(_) => DType::Bf16,
        }
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::Bf16(values) => values.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes in memory.
    pub(crate) fn bytes(&self) -> &'a [u8] {
        match self {
            Self::F32(values) => bytemuck::cast_slice(values),
            Self::Bf16(values) => bytemuck::cast_slice(values),
        }
    }
}
