//! The linear with a frozen weight and a low-rank side path.

use super::Engine;
use super::gemm::{Start, Term, multiply};
use super::pack::{Layout, Mask, Operand};
use crate::backend::{LinearArgs, LinearOutput, SidePath, SidePathGradient};
use crate::tensor::Tensor;

fn rows_of(x: &Tensor) -> Operand<'_> {
    Operand::floats(x.data(), Layout::LanesMajor, x.cols(), x.rows(), x.cols())
}

fn columns_of(x: &Tensor) -> Operand<'_> {
    Operand::floats(x.data(), Layout::KMajor, x.cols(), x.cols(), x.rows())
}

/// The hashes of the columns of `x`, if there is a mask on it.
fn hashes_for(side: &SidePath, inputs: usize) -> Vec<u64> {
    if side.dropout.is_some() { Mask::column_hashes(inputs) } else { Vec::new() }
}

fn mask_for<'a>(side: &SidePath<'a>, column_hashes: &'a [u64], rows: usize) -> Option<Mask<'a>> {
    side.dropout.map(|dropout| {
        assert_eq!(dropout.row_keys.len(), rows, "one dropout key per row");
        Mask { dropout, column_hashes }
    })
}

fn check_side(side: &SidePath, args: &LinearArgs) {
    let (inputs, outputs) = (args.weight.cols(), args.weight.rows());
    assert_eq!((side.a.len(), side.b.len()), (side.rank * inputs, outputs * side.rank), "A and B of {:?}", args.weight);
}

/// `y = x W^T + bias + scale * h B^T` with `h = dropout(x) A^T`; both products of y in one pass over it.
///
/// # Shapes
/// `x [t, in]`, `W [out, in]`, `A [r, in]`, `B [out, r]`, `y [t, out]`, `h [t, r]`.
pub(super) fn linear_forward(engine: &Engine, x: &Tensor, args: &LinearArgs) -> LinearOutput {
    let (inputs, outputs, tokens) = (args.weight.cols(), args.weight.rows(), x.rows());
    assert_eq!(x.cols(), inputs, "columns of x for {:?}", args.weight);
    let mut y = Tensor::zeros(tokens, outputs);
    let start = args.bias.map_or(Start::Zero, Start::Bias);
    let frozen = Term::new(rows_of(x), Operand::weight(args.weight, Layout::LanesMajor));
    let Some(side) = args.side else {
        multiply(&engine.workers, engine.kernels, y.data_mut(), (tokens, outputs), start, &[frozen]);
        return LinearOutput { y, low_rank: None };
    };
    check_side(&side, args);
    let column_hashes = hashes_for(&side, inputs);
    let mask = mask_for(&side, &column_hashes, tokens);
    let rank = side.rank;

    let mut h = Tensor::zeros(tokens, rank);
    let a = Operand::floats(side.a, Layout::LanesMajor, inputs, rank, inputs);
    let down = Term::new(rows_of(x).masked(mask), a);
    multiply(&engine.workers, engine.kernels, h.data_mut(), (tokens, rank), Start::Zero, &[down]);

    let b = Operand::floats(side.b, Layout::LanesMajor, rank, outputs, rank);
    let up = Term::new(rows_of(&h), b).scaled(side.scale);
    multiply(&engine.workers, engine.kernels, y.data_mut(), (tokens, outputs), start, &[frozen, up]);
    LinearOutput { y, low_rank: Some(h) }
}

/// In the forward pass: `y = x W^T + scale * h B^T`, `h = dropout(x) A^T`. So now:
/// `dB += scale * dy^T h`, `dh = scale * dy B`, `dA += dh^T dropout(x)`, `dx = dy W + dropout'(dh A)`.
///
/// # Shapes
/// `dy [t, out]`, result `[t, in]`; others as in the forward pass.
pub(super) fn linear_backward(
    engine: &Engine,
    x: &Tensor,
    low_rank: Option<&Tensor>,
    dy: &Tensor,
    args: &LinearArgs,
    gradient: Option<SidePathGradient>,
    want_dx: bool,
) -> Option<Tensor> {
    let (inputs, outputs, tokens) = (args.weight.cols(), args.weight.rows(), x.rows());
    assert_eq!(x.cols(), inputs, "columns of x for {:?}", args.weight);
    assert_eq!((dy.rows(), dy.cols()), (tokens, outputs), "dy for {:?}", args.weight);
    assert_eq!(args.side.is_some(), gradient.is_some(), "a side path and its gradient come together");
    let frozen = Term::new(rows_of(dy), Operand::weight(args.weight, Layout::KMajor));
    let dx_of = |terms: &[Term]| {
        want_dx.then(|| {
            let mut dx = Tensor::zeros(tokens, inputs);
            multiply(&engine.workers, engine.kernels, dx.data_mut(), (tokens, inputs), Start::Zero, terms);
            dx
        })
    };
    let (Some(side), Some(gradient)) = (args.side, gradient) else { return dx_of(&[frozen]) };
    check_side(&side, args);
    let column_hashes = hashes_for(&side, inputs);
    let mask = mask_for(&side, &column_hashes, tokens);
    let rank = side.rank;
    let h = low_rank.unwrap_or_else(|| panic!("the backward pass of {:?} lacks the forward's low rank", args.weight));
    assert_eq!((h.rows(), h.cols()), (tokens, rank), "low rank for {:?}", args.weight);

    let db = Term::new(columns_of(dy), columns_of(h)).scaled(side.scale);
    multiply(&engine.workers, engine.kernels, gradient.db, (outputs, rank), Start::Present, &[db]);

    let mut dh = Tensor::zeros(tokens, rank);
    let b = Operand::floats(side.b, Layout::KMajor, rank, rank, outputs);
    let dh_term = Term::new(rows_of(dy), b).scaled(side.scale);
    multiply(&engine.workers, engine.kernels, dh.data_mut(), (tokens, rank), Start::Zero, &[dh_term]);

    let da = Term::new(columns_of(&dh), columns_of(x).masked(mask));
    multiply(&engine.workers, engine.kernels, gradient.da, (rank, inputs), Start::Present, &[da]);

    let a = Operand::floats(side.a, Layout::KMajor, inputs, inputs, rank);
    dx_of(&[frozen, Term::new(rows_of(&dh), a).masked(mask)])
}
