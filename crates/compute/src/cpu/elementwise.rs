//! Ops whose rows or elements are independent: norms, rotations, gates, sums, the optimizer step.
#![allow(unsafe_code)]

use std::cell::RefCell;
use std::ops::Range;

use super::Engine;
use super::convert::{BLOCK, SharedOut};
use super::math::{dot_f64, multiply_add, per_isa, sigmoid, sum_f64};
use super::workers::{AlignedBuffer, DisjointMut};
use crate::backend::{AdamWArgs, RopeTable};
use crate::tensor::Tensor;
use crate::weight::{DType, Weight};

/// Elements of a task: some 10 microseconds of work.
const TASK_ELEMENTS: usize = 1 << 14;

/// Runs `task(rows, out)` over the rows of an `f32` tensor in groups.
fn for_rows(engine: &Engine, out: &mut Tensor, task: impl Fn(Range<usize>, &mut [f32]) + Sync + Send) {
    let (rows, cols) = (out.rows(), out.cols());
    if cols == 0 {
        return;
    }
    let out = DisjointMut::new(out.data_mut());
    engine.workers.for_ranges(rows, TASK_ELEMENTS.div_ceil(cols), |rows| {
        // SAFETY: the ranges of rows do not overlap.
        let out = unsafe { out.slice(rows.start * cols..rows.end * cols) };
        task(rows, out);
    });
}

thread_local! {
    static SCRATCH: RefCell<AlignedBuffer<f32>> = const { RefCell::new(AlignedBuffer::new()) };
}

/// Lends `N` scratch slices of `len` values each.
fn with_scratch<const N: usize>(len: usize, work: impl FnOnce([&mut [f32]; N])) {
    SCRATCH.with_borrow_mut(|buffer| {
        let len = len.next_multiple_of(16);
        let mut rest = buffer.get(N * len);
        work(std::array::from_fn(|_| {
            let (part, tail) = std::mem::take(&mut rest).split_at_mut(len);
            rest = tail;
            part
        }));
    });
}

/// Cuts a tensor's elements into blocks of whole units (rows, heads) of about [`BLOCK`] elements, groups them into
/// tasks, and runs `block(range of elements)` over all of them.
fn for_blocks(engine: &Engine, elements: usize, unit: usize, block: impl Fn(Range<usize>) + Sync + Send) {
    let step = (BLOCK / unit.max(1)).max(1) * unit.max(1);
    let task = TASK_ELEMENTS.next_multiple_of(step);
    engine.workers.for_ranges(elements, task, |range| {
        let end = range.end;
        range.step_by(step).for_each(|start| block(start..end.min(start + step)));
    });
}

fn assert_same_shape(a: &Tensor, b: &Tensor, what: &str) {
    assert_eq!((a.rows(), a.cols()), (b.rows(), b.cols()), "shapes of {what}");
}

/// `y[t] = table[ids[t]]`. `table [v, c]`, result `[t, c]`.
pub(super) fn embedding_forward(engine: &Engine, table: &Weight, ids: &[u32]) -> Tensor {
    let mut y_tc = Tensor::unset(DType::F32, ids.len(), table.cols());
    let cols = table.cols();
    for_rows(engine, &mut y_tc, |rows, y| {
        for (&id, y_c) in ids[rows].iter().zip(y.chunks_exact_mut(cols)) {
            let id = id as usize;
            assert!(id < table.rows(), "token id {id} in an embedding of {} rows", table.rows());
            table.read_row(id, y_c);
        }
    });
    y_tc
}

#[inline(always)]
fn inverse_rms(x_c: &[f32], epsilon: f32) -> f64 {
    1.0 / (dot_f64(x_c, x_c) / x_c.len() as f64 + f64::from(epsilon)).sqrt()
}

#[inline(always)]
fn rms_norm_rows<const FMA: bool>(x: &[f32], gain_c: &[f32], epsilon: f32, y: &mut [f32]) {
    let channels = gain_c.len();
    for (x_c, y_c) in x.chunks_exact(channels).zip(y.chunks_exact_mut(channels)) {
        let s = inverse_rms(x_c, epsilon) as f32;
        for ((y, &x), &gain) in y_c.iter_mut().zip(x_c).zip(gain_c) {
            *y = x * s * gain;
        }
    }
}

per_isa!(fn rms_norm(x: &[f32], gain_c: &[f32], epsilon: f32, y: &mut [f32]) => rms_norm_rows);

/// `y = x * s * gain` with `s = 1 / sqrt(mean(x^2) + epsilon)`. `x [t, c]`, `gain [c]`. The mean is taken in `f64`.
pub(super) fn rms_norm_forward(engine: &Engine, x_tc: &Tensor, gain_c: &[f32], epsilon: f32, dtype: DType) -> Tensor {
    assert_eq!(gain_c.len(), x_tc.cols(), "gain of an rms norm");
    let mut y_tc = Tensor::unset(dtype, x_tc.rows(), x_tc.cols());
    let (y, x, elements) = (SharedOut::new(&mut y_tc), x_tc.values(), x_tc.values().len());
    for_blocks(engine, elements, gain_c.len(), |range| {
        with_scratch(range.len(), |[x_scratch, y_scratch]| {
            let x = x.part(range.clone()).widened(engine.isa, x_scratch);
            // SAFETY: the blocks do not overlap.
            let mut y = unsafe { y.part(range) };
            y.write(engine.isa, y_scratch, |y| rms_norm(engine.isa, x, gain_c, epsilon, y));
        });
    });
    y_tc
}

#[inline(always)]
fn rms_norm_backward_rows<const FMA: bool>(x: &[f32], gain_c: &[f32], epsilon: f32, dy: &[f32], dx: &mut [f32]) {
    let channels = gain_c.len();
    let rows = x.chunks_exact(channels).zip(dy.chunks_exact(channels)).zip(dx.chunks_exact_mut(channels));
    for ((x_c, dy_c), dx_c) in rows {
        let s = inverse_rms(x_c, epsilon);
        let dot = sum_f64(channels, |c| f64::from(dy_c[c]) * f64::from(gain_c[c]) * f64::from(x_c[c]));
        let pull = (s * s * s * dot / channels as f64) as f32;
        let s = s as f32;
        for c in 0..channels {
            dx_c[c] += multiply_add::<FMA>(-x_c[c], pull, s * (dy_c[c] * gain_c[c]));
        }
    }
}

per_isa!(fn rms_norm_gradient(x: &[f32], gain_c: &[f32], epsilon: f32, dy: &[f32], dx: &mut [f32])
    => rms_norm_backward_rows);

/// With `n = x * s` and `w = dy * gain`: `dx += s * (w - n * mean(w * n))`, that is `s w - x s^3 mean(w x)`.
pub(super) fn rms_norm_backward(
    engine: &Engine,
    x_tc: &Tensor,
    gain_c: &[f32],
    epsilon: f32,
    dy_tc: &Tensor,
    dx_tc: &mut Tensor,
) {
    assert_same_shape(x_tc, dy_tc, "x and dy of an rms norm");
    assert_same_shape(x_tc, dx_tc, "x and dx of an rms norm");
    assert_eq!(gain_c.len(), x_tc.cols(), "gain of an rms norm");
    let (x, dy, elements) = (x_tc.values(), dy_tc.values(), x_tc.values().len());
    let dx = SharedOut::new(dx_tc);
    for_blocks(engine, elements, gain_c.len(), |range| {
        with_scratch(range.len(), |[x_scratch, dy_scratch, dx_scratch]| {
            let x = x.part(range.clone()).widened(engine.isa, x_scratch);
            let dy = dy.part(range.clone()).widened(engine.isa, dy_scratch);
            // SAFETY: the blocks do not overlap.
            let mut dx = unsafe { dx.part(range) };
            dx.update(engine.isa, dx_scratch, |dx| rms_norm_gradient(engine.isa, x, gain_c, epsilon, dy, dx));
        });
    });
}

#[inline(always)]
fn rotate_row<const FMA: bool>(x: &mut [f32], cos: &[f32], sin: &[f32], direction: f32) {
    let half = cos.len();
    for head in x.chunks_exact_mut(2 * half) {
        let (first, second) = head.split_at_mut(half);
        for i in 0..half {
            let (a, b, sin) = (first[i], second[i], direction * sin[i]);
            first[i] = multiply_add::<FMA>(-b, sin, a * cos[i]);
            second[i] = multiply_add::<FMA>(a, sin, b * cos[i]);
        }
    }
}

per_isa!(fn rotate_heads(x: &mut [f32], cos: &[f32], sin: &[f32], direction: f32) => rotate_row);

/// Rotates pairs `(i, i + d/2)`; `direction` 1 is the forward pass, -1 the backward pass. `x [t, heads*d]`.
pub(super) fn rotate(engine: &Engine, x: &mut Tensor, positions: &[u32], table: &RopeTable, direction: f32) {
    let half = table.half;
    assert_eq!(x.rows(), positions.len(), "one position per row");
    assert_eq!(x.cols() % (2 * half), 0, "{} columns in heads of {}", x.cols(), 2 * half);
    let (cols, elements) = (x.cols(), x.values().len());
    let x = SharedOut::new(x);
    for_blocks(engine, elements, cols, |range| {
        let rows = range.start / cols..range.end / cols;
        // SAFETY: the blocks do not overlap.
        let mut x = unsafe { x.part(range.clone()) };
        with_scratch(range.len(), |[scratch]| {
            x.update(engine.isa, scratch, |x| {
                for (&position, x_c) in positions[rows].iter().zip(x.chunks_exact_mut(cols)) {
                    let position = position as usize;
                    assert!(position < table.positions(), "position {position} in a table of {}", table.positions());
                    let angles = position * half..(position + 1) * half;
                    rotate_heads(engine.isa, x_c, &table.cos[angles.clone()], &table.sin[angles], direction);
                }
            });
        });
    });
}

#[inline(always)]
fn swiglu_body<const FMA: bool>(gate: &[f32], up: &[f32], h: &mut [f32]) {
    for ((h, &gate), &up) in h.iter_mut().zip(gate).zip(up) {
        *h = gate * sigmoid::<FMA>(gate) * up;
    }
}

per_isa!(fn swiglu(gate: &[f32], up: &[f32], h: &mut [f32]) => swiglu_body);

/// `h = gate * sigmoid(gate) * up`. All `[t, f]`.
pub(super) fn swiglu_forward(engine: &Engine, gate_tf: &Tensor, up_tf: &Tensor) -> Tensor {
    assert_same_shape(gate_tf, up_tf, "gate and up");
    let mut h_tf = Tensor::unset(gate_tf.dtype(), gate_tf.rows(), gate_tf.cols());
    let (gate, up, elements) = (gate_tf.values(), up_tf.values(), gate_tf.values().len());
    let h = SharedOut::new(&mut h_tf);
    for_blocks(engine, elements, 1, |range| {
        with_scratch(range.len(), |[gate_scratch, up_scratch, h_scratch]| {
            let gate = gate.part(range.clone()).widened(engine.isa, gate_scratch);
            let up = up.part(range.clone()).widened(engine.isa, up_scratch);
            // SAFETY: the blocks do not overlap.
            let mut h = unsafe { h.part(range) };
            h.write(engine.isa, h_scratch, |h| swiglu(engine.isa, gate, up, h));
        });
    });
    h_tf
}

#[inline(always)]
fn swiglu_backward_body<const FMA: bool>(gate: &[f32], up: &[f32], dh: &[f32], dgate: &mut [f32], dup: &mut [f32]) {
    let len = gate.len();
    let (up, dh, dgate, dup) = (&up[..len], &dh[..len], &mut dgate[..len], &mut dup[..len]);
    for i in 0..len {
        let s = sigmoid::<FMA>(gate[i]);
        let silu = gate[i] * s;
        // s + gate s (1 - s) as s + silu (1 - s).
        dgate[i] = dh[i] * up[i] * multiply_add::<FMA>(silu, 1.0 - s, s);
        dup[i] = dh[i] * silu;
    }
}

per_isa!(fn swiglu_gradient(gate: &[f32], up: &[f32], dh: &[f32], dgate: &mut [f32], dup: &mut [f32])
    => swiglu_backward_body);

/// `dup = dh * silu(gate)`, `dgate = dh * up * (s + gate * s * (1 - s))` with `s = sigmoid(gate)`. All `[t, f]`.
pub(super) fn swiglu_backward(engine: &Engine, gate_tf: &Tensor, up_tf: &Tensor, dh_tf: &Tensor) -> (Tensor, Tensor) {
    assert_same_shape(gate_tf, up_tf, "gate and up");
    assert_same_shape(gate_tf, dh_tf, "gate and dh");
    let mut dgate_tf = Tensor::unset(gate_tf.dtype(), gate_tf.rows(), gate_tf.cols());
    let mut dup_tf = Tensor::unset(gate_tf.dtype(), gate_tf.rows(), gate_tf.cols());
    let (dgate, dup) = (SharedOut::new(&mut dgate_tf), SharedOut::new(&mut dup_tf));
    let (gate, up, dh) = (gate_tf.values(), up_tf.values(), dh_tf.values());
    for_blocks(engine, gate.len(), 1, |range| {
        with_scratch(range.len(), |[gate_scratch, up_scratch, dh_scratch, dgate_scratch, dup_scratch]| {
            let gate = gate.part(range.clone()).widened(engine.isa, gate_scratch);
            let up = up.part(range.clone()).widened(engine.isa, up_scratch);
            let dh = dh.part(range.clone()).widened(engine.isa, dh_scratch);
            // SAFETY: the blocks do not overlap.
            let (mut dgate, mut dup) = unsafe { (dgate.part(range.clone()), dup.part(range)) };
            dgate.write(engine.isa, dgate_scratch, |dgate| {
                dup.write(engine.isa, dup_scratch, |dup| swiglu_gradient(engine.isa, gate, up, dh, dgate, dup));
            });
        });
    });
    (dgate_tf, dup_tf)
}

#[inline(always)]
fn add_body<const FMA: bool>(x: &mut [f32], y: &[f32]) {
    for (x, &y) in x.iter_mut().zip(y) {
        *x += y;
    }
}

per_isa!(fn add(x: &mut [f32], y: &[f32]) => add_body);

/// `x += y`.
pub(super) fn add_assign(engine: &Engine, x: &mut Tensor, y: &Tensor) {
    assert_same_shape(x, y, "a sum");
    let cols = x.cols();
    for_rows(engine, x, |rows, x| add(engine.isa, x, &y.data()[rows.start * cols..rows.end * cols]));
}

/// An AdamW step with its constants worked out.
#[derive(Clone, Copy)]
struct AdamWStep {
    args: AdamWArgs,
    bias1: f64,
    bias2: f64,
}

#[inline(always)]
fn adamw_body<const FMA: bool>(parameter: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32], step: &AdamWStep) {
    let AdamWStep { args, bias1, bias2 } = *step;
    let decay = 1.0 - args.learning_rate * args.weight_decay;
    let len = parameter.len();
    let (g, m, v) = (&g[..len], &mut m[..len], &mut v[..len]);
    for i in 0..len {
        let gradient = f64::from(g[i]) * args.gradient_scale;
        let first = args.beta1 * f64::from(m[i]) + (1.0 - args.beta1) * gradient;
        let second = args.beta2 * f64::from(v[i]) + (1.0 - args.beta2) * gradient * gradient;
        m[i] = first as f32;
        v[i] = second as f32;
        let update = (first / bias1) / ((second / bias2).sqrt() + args.epsilon);
        parameter[i] = (f64::from(parameter[i]) * decay - args.learning_rate * update) as f32;
    }
}

per_isa!(fn adamw_step(parameter: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32], step: &AdamWStep)
    => adamw_body);

/// One AdamW step, in `f64` per element as the reference does it: the two agree to the bit.
pub(super) fn adamw(engine: &Engine, parameter: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32], args: &AdamWArgs) {
    let len = parameter.len();
    assert_eq!((g.len(), m.len(), v.len()), (len, len, len), "lengths of AdamW");
    let steps = args.step as f64;
    let step = AdamWStep { args: *args, bias1: 1.0 - args.beta1.powf(steps), bias2: 1.0 - args.beta2.powf(steps) };
    let (parameter, m, v) = (DisjointMut::new(parameter), DisjointMut::new(m), DisjointMut::new(v));
    engine.workers.for_ranges(len, TASK_ELEMENTS, |range| {
        // SAFETY: the ranges do not overlap.
        let (parameter, m, v) =
            unsafe { (parameter.slice(range.clone()), m.slice(range.clone()), v.slice(range.clone())) };
        adamw_step(engine.isa, parameter, &g[range], m, v, &step);
    });
}

#[inline(always)]
fn sum_squares_body<const FMA: bool>(values: &[f32]) -> f64 {
    dot_f64(values, values)
}

per_isa!(fn sum_squares_chunk(values: &[f32]) -> f64 => sum_squares_body);

/// Sum of squares: chunks of fixed length, each in 8 lanes of `f64`, their sums added in pairs.
pub(super) fn sum_squares(engine: &Engine, values: &[f32]) -> f64 {
    let mut sums = vec![0.0f64; values.len().div_ceil(TASK_ELEMENTS)];
    let slots = DisjointMut::new(&mut sums);
    engine.workers.for_ranges(values.len(), TASK_ELEMENTS, |range| {
        let slot = range.start / TASK_ELEMENTS;
        // SAFETY: one slot per chunk.
        let slot = unsafe { slots.slice(slot..slot + 1) };
        slot[0] = sum_squares_chunk(engine.isa, &values[range]);
    });
    pairwise_sum(&sums)
}

fn pairwise_sum(values: &[f64]) -> f64 {
    match values {
        [] => 0.0,
        [value] => *value,
        _ => {
            let (left, right) = values.split_at(values.len() / 2);
            pairwise_sum(left) + pairwise_sum(right)
        }
    }
}
