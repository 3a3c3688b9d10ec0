//! What DoRA adds to a linear: norms of the adapted rows, and a factor for every column of the output.
#![allow(unsafe_code)]

use std::ops::Range;

use super::Engine;
use super::convert::SharedOut;
use super::math::{dot_f64, multiply_add, per_isa};
use super::workers::DisjointMut;
use crate::backend::SidePath;
use crate::tensor::Tensor;
use crate::weight::{DType, Weight};

/// Elements of a task: some 10 microseconds of work.
const TASK_ELEMENTS: usize = 1 << 14;

/// Columns that are summed together: their sums and one row of each tensor stay in the first-level cache.
const COLUMNS: usize = 256;

/// Adds `scale * b_r A_r` to a row, four terms in one pass over it, and returns the square of its norm.
#[inline(always)]
fn adapted_square_body<const FMA: bool>(row: &mut [f32], a: &[f32], b: &[f32], scale: f32) -> f64 {
    let inputs = row.len();
    if inputs == 0 {
        return 0.0;
    }
    let (mut a, mut b) = (a, b);
    while let [b0, b1, b2, b3, b_tail @ ..] = b {
        let (a_four, a_tail) = a.split_at(4 * inputs);
        let (a0, a_four) = a_four.split_at(inputs);
        let (a1, a_four) = a_four.split_at(inputs);
        let (a2, a3) = a_four.split_at(inputs);
        let [b0, b1, b2, b3] = [scale * b0, scale * b1, scale * b2, scale * b3];
        for i in 0..inputs {
            let low = multiply_add::<FMA>(b1, a1[i], b0 * a0[i]);
            let high = multiply_add::<FMA>(b3, a3[i], b2 * a2[i]);
            row[i] += low + high;
        }
        (a, b) = (a_tail, b_tail);
    }
    for (&b, a_row) in b.iter().zip(a.chunks_exact(inputs)) {
        for (row, &a) in row.iter_mut().zip(a_row) {
            *row = multiply_add::<FMA>(scale * b, a, *row);
        }
    }
    dot_f64(row, row)
}

per_isa!(fn adapted_square(row: &mut [f32], a: &[f32], b: &[f32], scale: f32) -> f64 => adapted_square_body);

/// `n_o = ||W_o + scale * sum_r B_or A_r||`, row by row: the adapted weight never exists as a whole.
///
/// # Shapes
/// `W [out, in]`, `A [r, in]`, `B [out, r]`, `n [out]`. The squares are summed in `f64`.
pub(super) fn row_norms(engine: &Engine, weight: &Weight, side: Option<&SidePath>) -> Vec<f32> {
    let (outputs, inputs) = (weight.rows(), weight.cols());
    if let Some(side) = side {
        let lens = (side.a.len(), side.b.len());
        assert_eq!(lens, (side.rank * inputs, outputs * side.rank), "A and B of {weight:?}");
    }
    let rank = side.map_or(0, |side| side.rank);
    let mut norms = vec![0.0f32; outputs];
    let slots = DisjointMut::new(&mut norms);
    engine.workers.for_ranges(outputs, TASK_ELEMENTS.div_ceil(inputs.max(1) * (rank + 1)), |rows| {
        let mut row = vec![0.0; inputs];
        // SAFETY: the ranges do not overlap.
        let slots = unsafe { slots.slice(rows.clone()) };
        for (slot, o) in slots.iter_mut().zip(rows) {
            weight.read_row(o, &mut row);
            let (a, b, scale) =
                side.map_or((&[][..], &[][..], 0.0), |side| (side.a, &side.b[o * rank..(o + 1) * rank], side.scale));
            *slot = adapted_square(engine.isa, &mut row, a, b, scale).sqrt() as f32;
        }
    });
    norms
}

/// The columns of a tensor in blocks, each a task: `task(columns)`.
fn for_columns(engine: &Engine, columns: usize, task: impl Fn(Range<usize>) + Sync + Send) {
    engine.workers.for_ranges(columns, COLUMNS, task);
}

#[inline(always)]
fn scale_body<const FMA: bool>(v: &[f32], factor: &[f32], start: &[f32], y: &mut [f32]) {
    let len = y.len();
    let (v, factor, start) = (&v[..len], &factor[..len], &start[..len]);
    for i in 0..len {
        y[i] = multiply_add::<FMA>(v[i], factor[i], start[i]);
    }
}

per_isa!(fn scale(v: &[f32], factor: &[f32], start: &[f32], y: &mut [f32]) => scale_body);

/// `y = v * factor + bias + residual`. `v, residual, y [t, out]`, `factor, bias [out]`; `y` is `f32` where there is a
/// residual, else of the type of `v`.
pub(super) fn scale_columns_forward(
    engine: &Engine,
    v: &Tensor,
    factor: &[f32],
    bias: Option<&[f32]>,
    residual: Option<&Tensor>,
) -> Tensor {
    let (tokens, columns) = (v.rows(), v.cols());
    assert_eq!(factor.len(), columns, "factors of columns");
    assert!(bias.is_none_or(|bias| bias.len() == columns), "bias of columns");
    assert!(residual.is_none_or(|r| (r.rows(), r.cols()) == (tokens, columns)), "shapes of v and residual");
    let mut y = Tensor::unset(if residual.is_some() { DType::F32 } else { v.dtype() }, tokens, columns);
    let (out, v) = (SharedOut::new(&mut y), v.values());
    for_columns(engine, columns, |block| {
        let (mut v_scratch, mut start, mut y_scratch) = ([0.0; COLUMNS], [0.0; COLUMNS], [0.0; COLUMNS]);
        let start = &mut start[..block.len()];
        for t in 0..tokens {
            match bias {
                Some(bias) => start.copy_from_slice(&bias[block.clone()]),
                None => start.fill(0.0),
            }
            if let Some(residual) = residual {
                start.iter_mut().zip(&residual.row(t)[block.clone()]).for_each(|(start, add)| *start += add);
            }
            let range = t * columns + block.start..t * columns + block.end;
            let v = v.part(range.clone()).widened(engine.isa, &mut v_scratch);
            // SAFETY: no two blocks share a column.
            let mut out = unsafe { out.part(range) };
            out.write(engine.isa, &mut y_scratch, |y| scale(engine.isa, v, &factor[block.clone()], start, y));
        }
    });
    y
}

#[inline(always)]
fn scale_backward_body<const FMA: bool>(v: &[f32], dy: &[f32], factor: &[f32], dv: &mut [f32], sums: &mut [f64]) {
    let len = dv.len();
    let (v, dy, factor, sums) = (&v[..len], &dy[..len], &factor[..len], &mut sums[..len]);
    for i in 0..len {
        dv[i] = dy[i] * factor[i];
        sums[i] += f64::from(dy[i]) * f64::from(v[i]);
    }
}

per_isa!(fn scale_gradient(v: &[f32], dy: &[f32], factor: &[f32], dv: &mut [f32], sums: &mut [f64])
    => scale_backward_body);

/// `dv = dy * factor` in the type of `dy`, `dfactor_o += sum_t dy_to v_to`, the sum in `f64` and in the order of t.
/// `v, dy, dv [t, out]`, `factor, dfactor [out]`.
pub(super) fn scale_columns_backward(
    engine: &Engine,
    v: &Tensor,
    factor: &[f32],
    dy: &Tensor,
    dfactor: &mut [f32],
) -> Tensor {
    let (tokens, columns) = (v.rows(), v.cols());
    assert_eq!((dy.rows(), dy.cols()), (tokens, columns), "shapes of v and dy");
    assert_eq!((factor.len(), dfactor.len()), (columns, columns), "factors of columns");
    let mut dv = Tensor::unset(dy.dtype(), tokens, columns);
    let (out, v, dy) = (SharedOut::new(&mut dv), v.values(), dy.values());
    let slots = DisjointMut::new(dfactor);
    for_columns(engine, columns, |block| {
        let (mut v_scratch, mut dy_scratch, mut dv_scratch) = ([0.0; COLUMNS], [0.0; COLUMNS], [0.0; COLUMNS]);
        let mut sums = [0.0f64; COLUMNS];
        for t in 0..tokens {
            let range = t * columns + block.start..t * columns + block.end;
            let v = v.part(range.clone()).widened(engine.isa, &mut v_scratch);
            let dy = dy.part(range.clone()).widened(engine.isa, &mut dy_scratch);
            // SAFETY: no two blocks share a column.
            let mut out = unsafe { out.part(range) };
            out.write(engine.isa, &mut dv_scratch, |dv| {
                scale_gradient(engine.isa, v, dy, &factor[block.clone()], dv, &mut sums);
            });
        }
        // SAFETY: no two blocks share a column.
        let slots = unsafe { slots.slice(block) };
        slots.iter_mut().zip(sums).for_each(|(slot, sum)| *slot += sum as f32);
    });
    dv
}
