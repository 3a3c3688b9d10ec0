//! The output projection and the log-softmax of the target rows.
#![allow(unsafe_code)]

use std::ops::Range;

use super::Engine;
use super::gemm::{Product, Start, Term};
use super::math::{exp, map_sum, max, per_isa, sum_f64};
use super::pack::{Layout, Operand};
use super::workers::DisjointMut;
use crate::backend::{HeadOutput, WeightProduct};
use crate::tensor::{Tensor, ValuesMut};
use crate::weight::{DType, Weight};

/// Most bytes of logits that exist at a time. The head is packed panel by panel for every block of rows, twice with the
/// gradient, which costs as much as some 10 rows: with a vocabulary of 128 k a block has 686 rows.
pub const LOGITS_BYTES: usize = 336 << 20;

/// `x W^T`. `x [n, c]`, `head [v, c]`, result `[n, v]`.
pub(super) fn head_logits(engine: &Engine, x_nc: &Tensor, head: &Weight) -> Tensor {
    assert_eq!(x_nc.cols(), head.cols(), "columns of x for the head");
    let mut logits = Tensor::unset(DType::F32, x_nc.rows(), head.rows());
    project(engine, &Operand::tensor(x_nc, Layout::LanesMajor), head, logits.data_mut());
    logits
}

fn project(engine: &Engine, x: &Operand, head: &Weight, logits: &mut [f32]) {
    let kernels = engine.kernels_for(head.dtype());
    let packed_x = engine.pack(kernels, x);
    let terms = vec![Term::new(&packed_x, engine.packed.factor(head, WeightProduct::Forward))];
    let product = Product { c: ValuesMut::F32(logits), n: head.rows(), start: Start::ZERO, terms };
    engine.multiply(kernels, x.lanes(), vec![product]);
}

/// What one row's logits say.
#[derive(Clone, Copy, Default)]
struct RowResult {
    logprob: f64,
    smoothed: f64,
}

/// Turns a row of logits into its result and, if asked, into `dz` in place.
#[inline(always)]
fn log_softmax_body<const FMA: bool>(z: &mut [f32], target: usize, smoothing: f64, want_gradient: bool) -> RowResult {
    // Sums over the vocabulary: `f32` in 16 lanes over this many entries, then `f64`.
    const RUN: usize = 1024;
    let largest = max(z);
    let vocabulary = z.len() as f64;
    // Differences to the largest: exact where it matters, and their sizes do not grow with the logits'.
    let z_target = f64::from(z[target]) - f64::from(largest);
    let mean = if smoothing == 0.0 { 0.0 } else { sum_f64(z.len(), |i| f64::from(z[i])) / vocabulary };
    // A plain loop: inside of an iterator's `fold` the compiler would forget the instruction set and call `fmaf`.
    let mut sum = 0.0;
    for run in z.chunks_mut(RUN) {
        sum += f64::from(map_sum(run, |z| exp::<FMA>(z - largest)));
    }
    let log_sum = sum.ln();
    let logprob = z_target - log_sum;
    let uniform = mean - f64::from(largest) - log_sum;
    let smoothed = if smoothing == 0.0 { logprob } else { (1.0 - smoothing) * logprob + smoothing * uniform };
    if want_gradient {
        let (inverse, share) = ((1.0 / sum) as f32, (smoothing / vocabulary) as f32);
        let at_target = z[target];
        for z in &mut *z {
            *z = share - *z * inverse;
        }
        // 1 - p without the cancellation that adding 1 to a rounded -p would have.
        let p = f64::from(at_target) / sum;
        z[target] = ((1.0 - smoothing) + smoothing / vocabulary - p) as f32;
    }
    RowResult { logprob, smoothed }
}

per_isa!(fn log_softmax(z: &mut [f32], target: usize, smoothing: f64, want_gradient: bool) -> RowResult
    => log_softmax_body);

/// With `z = x W^T` and `e` the label smoothing: `logprob = z[target] - lse(z)`,
/// `smoothed = (1 - e) logprob + e (mean(z) - lse(z))`; backward of `smoothed`:
/// `dz = (1 - e) onehot(target) + e/v - softmax(z)`, `dx = dz W`.
///
/// A block of rows has its logits in a buffer of at most 336 MiB (one row at least); they become `dz` in place, so the
/// logits are computed once: `4 v c n` operations with the gradient, `2 v c n` without.
///
/// # Shapes
/// `x [n, c]`, `head [v, c]`, `targets [n]`, `dx [n, c]`.
pub(super) fn head_logprobs(
    engine: &Engine,
    x_nc: &Tensor,
    head: &Weight,
    targets: &[u32],
    label_smoothing: f32,
    want_gradient: bool,
) -> HeadOutput {
    let (rows, channels) = (x_nc.rows(), x_nc.cols());
    let mut dx = want_gradient.then(|| Tensor::unset(DType::F32, rows, channels));
    let results = for_blocks(engine, x_nc, head, (targets, label_smoothing), want_gradient, |block, z| {
        if let Some(dx) = &mut dx {
            let out = &mut dx.data_mut()[block.start * channels..block.end * channels];
            dx_of_logits(engine, z, head, block.len(), out);
        }
    });
    HeadOutput {
        logprobs: results.iter().map(|result| result.logprob as f32).collect(),
        smoothed: results.iter().map(|result| result.smoothed as f32).collect(),
        dx,
    }
}

/// With `dz` as above: `dx_n = coefficient_n * dz_n W`, `dW += sum_n coefficient_n * dz_n^T x_n`: `6 v c n` operations.
///
/// # Shapes
/// `x, result [n, c]`, `head, dhead [v, c]`, `targets, coefficients [n]`.
pub(super) fn head_backward(
    engine: &Engine,
    x_nc: &Tensor,
    head: &Weight,
    (targets, label_smoothing): (&[u32], f32),
    coefficients: &[f32],
    dhead: &mut [f32],
) -> Tensor {
    let (rows, channels, vocabulary) = (x_nc.rows(), x_nc.cols(), head.rows());
    assert_eq!(coefficients.len(), rows, "one coefficient per row");
    assert_eq!(dhead.len(), vocabulary * channels, "gradient of the head");
    let mut dx = Tensor::unset(DType::F32, rows, channels);
    for_blocks(engine, x_nc, head, (targets, label_smoothing), true, |block, z| {
        let z_rows = DisjointMut::new(&mut *z);
        engine.workers.for_each(block.len(), |row| {
            // SAFETY: one row per task.
            let z_v = unsafe { z_rows.slice(row * vocabulary..(row + 1) * vocabulary) };
            let coefficient = coefficients[block.start + row];
            z_v.iter_mut().for_each(|z| *z *= coefficient);
        });
        dx_of_logits(engine, z, head, block.len(), &mut dx.data_mut()[block.start * channels..block.end * channels]);

        let kernels = engine.kernels_for(head.dtype());
        let dz = Operand::floats(z, Layout::KMajor, vocabulary, vocabulary, block.len());
        let packed_dz = engine.pack(kernels, &dz);
        let x = x_nc.values().part(block.start * channels..block.end * channels);
        let terms = vec![Term::new(&packed_dz, Operand::values(x, Layout::KMajor, channels, channels, block.len()))];
        let product = Product { c: ValuesMut::F32(dhead), n: channels, start: Start::PRESENT, terms };
        engine.multiply(kernels, vocabulary, vec![product]);
    });
    dx
}

/// `dx = dz W` of one block. `dz [n, v]`, `dx [n, c]`.
fn dx_of_logits(engine: &Engine, dz: &[f32], head: &Weight, rows: usize, dx: &mut [f32]) {
    let (channels, vocabulary) = (head.cols(), head.rows());
    let kernels = engine.kernels_for(head.dtype());
    let packed_dz = engine.pack(kernels, &Operand::floats(dz, Layout::LanesMajor, vocabulary, rows, vocabulary));
    let terms = vec![Term::new(&packed_dz, engine.packed.factor(head, WeightProduct::Backward))];
    let product = Product { c: ValuesMut::F32(dx), n: channels, start: Start::ZERO, terms };
    engine.multiply(kernels, rows, vec![product]);
}

/// The log-softmax of every row, block by block; `each(rows, z)` sees what stands in the place of the block's logits
/// afterwards, `dz` with `want_gradient`.
fn for_blocks(
    engine: &Engine,
    x_nc: &Tensor,
    head: &Weight,
    (targets, label_smoothing): (&[u32], f32),
    want_gradient: bool,
    mut each: impl FnMut(Range<usize>, &mut [f32]),
) -> Vec<RowResult> {
    let (rows, channels, vocabulary) = (x_nc.rows(), x_nc.cols(), head.rows());
    assert_eq!(rows, targets.len(), "one target per row");
    assert_eq!(channels, head.cols(), "columns of x for the head");
    for &target in targets {
        assert!((target as usize) < vocabulary, "target {target} in a vocabulary of {vocabulary}");
    }
    let mut results = vec![RowResult::default(); rows];
    let fitting = (LOGITS_BYTES / (vocabulary.max(1) * size_of::<f32>())).max(1);
    // Blocks of even height: a small last one would pay for packing the head like the others.
    let block_rows = rows.div_ceil(rows.div_ceil(fitting).max(1)).max(1);
    let mut logits = Tensor::unset(DType::F32, block_rows.min(rows), vocabulary);

    for start in (0..rows).step_by(block_rows) {
        let block = start..rows.min(start + block_rows);
        let x = x_nc.values().part(block.start * channels..block.end * channels);
        let z = &mut logits.data_mut()[..block.len() * vocabulary];
        project(engine, &Operand::values(x, Layout::LanesMajor, channels, block.len(), channels), head, z);

        let z_rows = DisjointMut::new(&mut *z);
        let slots = DisjointMut::new(&mut results[block.clone()]);
        let targets = &targets[block.clone()];
        engine.workers.for_each(block.len(), |row| {
            // SAFETY: one row and one slot per task.
            let (z_v, slot) =
                unsafe { (z_rows.slice(row * vocabulary..(row + 1) * vocabulary), slots.slice(row..row + 1)) };
            let smoothing = f64::from(label_smoothing);
            slot[0] = log_softmax(engine.isa, z_v, targets[row] as usize, smoothing, want_gradient);
        });
        each(block, z);
    }
    results
}
