//! What full fine-tuning needs beside the passes: gradients of linears, embedding and gains of norms, and weights rounded
//! anew after each step.
#![allow(unsafe_code)]

use std::sync::Arc;

use half::bf16;

use super::Engine;
use super::convert::round_to_bf16;
use super::gemm::{Product, Start, Term};
use super::math::{dot_f64, per_isa};
use super::pack::{Layout, Operand};
use super::workers::DisjointMut;
use crate::tensor::{Tensor, ValuesMut};
use crate::weight::{DType, Weight};

/// Rows whose contributions to a sum over all rows are added up in one task. Fixed, so that the sum does not depend on
/// the number of threads.
const CHUNK_ROWS: usize = 128;

/// Columns of a table that one task writes: a cache line of each row.
const TABLE_COLUMNS: usize = 16;

/// Values of a task of rounding: some 10 microseconds.
const ROUNDED_VALUES: usize = 1 << 15;

/// A weight's own memory.
struct Rounded(Vec<bf16>);

impl AsRef<[u8]> for Rounded {
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }
}

/// A weight of its own, rounded to nearest even.
pub(super) fn round_weight(engine: &Engine, dtype: DType, rows: usize, cols: usize, values: &[f32]) -> Weight {
    if dtype != DType::Bf16 {
        return Weight::from_f32_as(dtype, rows, cols, values);
    }
    let mut rounded = vec![bf16::ZERO; values.len()];
    let slots = DisjointMut::new(&mut rounded);
    engine.workers.for_ranges(values.len(), ROUNDED_VALUES, |range| {
        // SAFETY: the ranges do not overlap.
        let slots = unsafe { slots.slice(range.clone()) };
        round_to_bf16(engine.isa, &values[range], slots);
    });
    Weight::new(dtype, rows, cols, Arc::new(Rounded(rounded)), 0..2 * values.len())
}

/// `dW += dy^T x`, `db += sum_t dy`. The product is in `bf16` where `x` is.
///
/// # Shapes
/// `x [t, in]`, `dy [t, out]`, `dW [out, in]`, `db [out]`.
pub(super) fn linear_weight_backward(engine: &Engine, x: &Tensor, dy: &Tensor, dw: &mut [f32], db: Option<&mut [f32]>) {
    let (tokens, inputs, outputs) = (x.rows(), x.cols(), dy.cols());
    assert_eq!((dy.rows(), dw.len()), (tokens, outputs * inputs), "dy and dW of a linear");
    let kernels = engine.kernels_for(x.dtype());
    let packed_dy = engine.pack(kernels, &Operand::tensor(dy, Layout::KMajor));
    let terms = vec![Term::new(&packed_dy, Operand::tensor(x, Layout::KMajor))];
    engine.multiply(kernels, outputs, vec![Product { c: ValuesMut::F32(dw), n: inputs, start: Start::PRESENT, terms }]);
    if let Some(db) = db {
        assert_eq!(db.len(), outputs, "db of a linear");
        add_row_sums(engine, [dy], db, |[dy], sums| column_sums(engine.isa, dy, sums));
    }
}

/// `dtable[ids[t]] += dy[t]`, in the order of t. `dy [t, c]`, `dtable [v, c]`.
pub(super) fn embedding_backward(engine: &Engine, ids: &[u32], dy_tc: &Tensor, dtable_vc: &mut [f32]) {
    assert_eq!(dy_tc.rows(), ids.len(), "one row of dy per token");
    let channels = dy_tc.cols();
    let table = DisjointMut::new(dtable_vc);
    // Tasks own columns, not rows: a token may occur many times.
    engine.workers.for_ranges(
        channels,
        channels.div_ceil(4 * engine.workers.threads()).max(TABLE_COLUMNS),
        |columns| {
            for (t, &id) in ids.iter().enumerate() {
                let start = id as usize * channels;
                // SAFETY: no two tasks share a column.
                let row = unsafe { table.slice(start + columns.start..start + columns.end) };
                for (d, dy) in row.iter_mut().zip(&dy_tc.row(t)[columns.clone()]) {
                    *d += dy;
                }
            }
        },
    );
}

/// With `n = x * s`, `s = 1 / sqrt(mean(x^2) + epsilon)`: `dgain += sum_t dy n`. `x, dy [t, c]`, `dgain [c]`.
pub(super) fn rms_norm_gain_backward(
    engine: &Engine,
    x_tc: &Tensor,
    epsilon: f32,
    dy_tc: &Tensor,
    dgain_c: &mut [f32],
) {
    assert_eq!((x_tc.rows(), x_tc.cols()), (dy_tc.rows(), dy_tc.cols()), "x and dy of an rms norm");
    assert_eq!(dgain_c.len(), x_tc.cols(), "gain of an rms norm");
    add_row_sums(engine, [x_tc, dy_tc], dgain_c, |[x, dy], sums| gain_gradient(engine.isa, x, dy, epsilon, sums));
}

/// Adds to `out` what `add(rows, sums)` adds to the sums of the columns, over all rows: each chunk of rows in `f64` by
/// itself, then the chunks in their order.
fn add_row_sums<const N: usize>(
    engine: &Engine,
    tensors: [&Tensor; N],
    out: &mut [f32],
    add: impl Fn([&[f32]; N], &mut [f64]) + Sync + Send,
) {
    let (rows, columns) = (tensors[0].rows(), out.len());
    if columns == 0 {
        return;
    }
    let mut partial = vec![0.0f64; rows.div_ceil(CHUNK_ROWS) * columns];
    let slots = DisjointMut::new(&mut partial);
    engine.workers.for_ranges(rows, CHUNK_ROWS, |chunk| {
        let slot = chunk.start / CHUNK_ROWS * columns;
        // SAFETY: one slot per chunk.
        let sums = unsafe { slots.slice(slot..slot + columns) };
        let mut scratch: [Vec<f32>; N] = std::array::from_fn(|_| vec![0.0; columns]);
        for t in chunk {
            let mut buffers = scratch.iter_mut();
            let parts = tensors.map(|tensor| {
                let Some(buffer) = buffers.next() else { unreachable!("a buffer per tensor") };
                tensor.values().part(t * columns..(t + 1) * columns).widened(engine.isa, buffer)
            });
            add(parts, sums);
        }
    });
    for (column, out) in out.iter_mut().enumerate() {
        *out += partial[column..].iter().step_by(columns).sum::<f64>() as f32;
    }
}

#[inline(always)]
fn column_sums_body<const FMA: bool>(dy: &[f32], sums: &mut [f64]) {
    for (sum, &dy) in sums.iter_mut().zip(dy) {
        *sum += f64::from(dy);
    }
}

per_isa!(fn column_sums(dy: &[f32], sums: &mut [f64]) => column_sums_body);

#[inline(always)]
fn gain_gradient_body<const FMA: bool>(x: &[f32], dy: &[f32], epsilon: f32, sums: &mut [f64]) {
    let channels = sums.len();
    let (x, dy) = (&x[..channels], &dy[..channels]);
    let s = 1.0 / (dot_f64(x, x) / channels as f64 + f64::from(epsilon)).sqrt();
    for c in 0..channels {
        sums[c] += f64::from(dy[c]) * f64::from(x[c]) * s;
    }
}

per_isa!(fn gain_gradient(x: &[f32], dy: &[f32], epsilon: f32, sums: &mut [f64]) => gain_gradient_body);
