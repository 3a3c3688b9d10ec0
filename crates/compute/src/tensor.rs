//! Activations: a dense row-major `f32` matrix.

/// A dense row-major matrix of `f32`: `rows` x `cols`.
///
/// Activations have one row per token; heads lie side by side in the columns (`[t, h*d]`), so a tensor of queries can
/// be read as `[t*h, d]` without moving a byte ([`Tensor::reshaped`]).
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    rows: usize,
    cols: usize,
    data: Vec<f32>,
}

impl Tensor {
    /// A matrix of zeros.
    pub fn zeros(rows: usize, cols: usize) -> Self {
        Self { rows, cols, data: vec![0.0; rows * cols] }
    }

    /// Takes `data` as a `rows` x `cols` matrix.
    ///
    /// # Panics
    /// If `data.len() != rows * cols`.
    pub fn from_vec(rows: usize, cols: usize, data: Vec<f32>) -> Self {
        assert_eq!(data.len(), rows * cols, "a {rows} x {cols} tensor from {} values", data.len());
        Self { rows, cols, data }
    }

    /// Number of rows (tokens).
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns (channels).
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// All values, row after row.
    pub fn data(&self) -> &[f32] {
        &self.data
    }

    /// All values, row after row.
    pub fn data_mut(&mut self) -> &mut [f32] {
        &mut self.data
    }

    /// The values of one row.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.data[row * self.cols..(row + 1) * self.cols]
    }

    /// The values of one row.
    pub fn row_mut(&mut self, row: usize) -> &mut [f32] {
        &mut self.data[row * self.cols..(row + 1) * self.cols]
    }

    /// The same values with other borders: `[t, h*d]` as `[t*h, d]` and back.
    ///
    /// # Panics
    /// If the number of values differs.
    pub fn reshaped(mut self, rows: usize, cols: usize) -> Self {
        assert_eq!(self.data.len(), rows * cols, "{} x {} as {rows} x {cols}", self.rows, self.cols);
        (self.rows, self.cols) = (rows, cols);
        self
    }

    /// The values, without the borders.
    pub fn into_vec(self) -> Vec<f32> {
        self.data
    }
}
