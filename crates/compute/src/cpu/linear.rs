//! Linears with a frozen weight and a low-rank side path.
//!
//! Linears that read the same input run as one set of tasks over one packed copy of it, and the gradients that meet in
//! that input are the terms of one sum.

use super::Engine;
use super::gemm::{Kernels, PackedLeft, Product, Start, Term};
use super::pack::{Layout, Mask, Operand};
use crate::backend::{LinearArgs, LinearGradient, LinearOutput, SidePath, WeightProduct};
use crate::tensor::Tensor;
use crate::weight::DType;

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

/// The kernels of linears that belong together, which share the packed input: for `bf16` when all weights are, or blocks.
fn kernels_of(engine: &Engine, x: &Tensor, linears: &[LinearArgs]) -> &'static Kernels {
    for args in linears {
        let (inputs, outputs) = (args.weight.cols(), args.weight.rows());
        assert_eq!(x.cols(), inputs, "columns of x for {:?}", args.weight);
        if let Some(side) = args.side {
            let lens = (side.a.len(), side.b.len());
            assert_eq!(lens, (side.rank * inputs, outputs * side.rank), "A and B of {:?}", args.weight);
        }
    }
    let all_bf16 = linears.iter().all(|args| args.weight.dtype().of_products() == DType::Bf16);
    engine.kernels_for(if all_bf16 { DType::Bf16 } else { DType::F32 })
}

/// `C = start + sum of the terms`, for a C of its own.
fn product<'a>(c: &'a mut Tensor, start: Start<'a>, terms: Vec<Term<'a>>) -> Product<'a> {
    Product { n: c.cols(), c: c.values_mut(), start, terms }
}

/// Each `y = x W^T + bias + scale * h B^T + residual` with `h = dropout(x) A^T`; both products of y in one pass over it.
///
/// # Shapes
/// `x [t, in]`, `W [out, in]`, `A [r, in]`, `B [out, r]`, `y, residual [t, out]`, `h [t, r]` in `f32`.
pub(super) fn linears_forward(engine: &Engine, x: &Tensor, linears: &[LinearArgs]) -> Vec<LinearOutput> {
    let tokens = x.rows();
    let kernels = kernels_of(engine, x, linears);
    let packed_x = engine.pack(kernels, &Operand::tensor(x, Layout::LanesMajor));
    let low_ranks = low_ranks(engine, kernels, x, &packed_x, linears);
    let packed: Vec<Option<PackedLeft>> = low_ranks
        .iter()
        .map(|h| h.as_ref().map(|h| engine.pack(kernels, &Operand::tensor(h, Layout::LanesMajor))))
        .collect();
    let mut outputs: Vec<Tensor> = linears
        .iter()
        .map(|args| {
            let dtype = if args.residual.is_some() { DType::F32 } else { x.dtype() };
            Tensor::unset(dtype, tokens, args.weight.rows())
        })
        .collect();
    let products = outputs
        .iter_mut()
        .zip(linears)
        .zip(&packed)
        .map(|((y, args), packed_h)| {
            let residual = args.residual.map(Tensor::data);
            let mut terms = vec![Term::new(&packed_x, engine.packed.factor(args.weight, WeightProduct::Forward))];
            if let (Some(side), Some(packed_h)) = (args.side, packed_h) {
                let b = Operand::floats(side.b, Layout::LanesMajor, side.rank, args.weight.rows(), side.rank);
                terms.push(Term::new(packed_h, b).scaled(side.scale));
            }
            product(y, Start { bias: args.bias, residual, present: false }, terms)
        })
        .collect();
    engine.multiply(kernels, tokens, products);
    outputs.into_iter().zip(low_ranks).map(|(y, low_rank)| LinearOutput { y, low_rank }).collect()
}

/// `h = dropout(x) A^T` of every linear that has a side path, `[t, r]`.
fn low_ranks(
    engine: &Engine,
    kernels: &Kernels,
    x: &Tensor,
    packed_x: &PackedLeft,
    linears: &[LinearArgs],
) -> Vec<Option<Tensor>> {
    let (tokens, inputs) = (x.rows(), x.cols());
    // A mask is a linear's own, and so is the copy of x with it.
    let masked: Vec<Option<PackedLeft>> = linears
        .iter()
        .map(|args| {
            let side = args.side.filter(|side| side.dropout.is_some())?;
            let column_hashes = hashes_for(&side, inputs);
            let mask = mask_for(&side, &column_hashes, tokens);
            Some(engine.pack(kernels, &Operand::tensor(x, Layout::LanesMajor).masked(mask)))
        })
        .collect();
    let mut low_ranks: Vec<Option<Tensor>> =
        linears.iter().map(|args| args.side.map(|side| Tensor::unset(DType::F32, tokens, side.rank))).collect();
    let products = low_ranks
        .iter_mut()
        .zip(linears)
        .zip(&masked)
        .filter_map(|((h, args), masked)| {
            let (h, side) = (h.as_mut()?, args.side?);
            let a = Operand::floats(side.a, Layout::LanesMajor, inputs, side.rank, inputs);
            Some(product(h, Start::ZERO, vec![Term::new(masked.as_ref().unwrap_or(packed_x), a)]))
        })
        .collect();
    engine.multiply(kernels, tokens, products);
    low_ranks
}

/// In the forward pass: `y = x W^T + scale * h B^T`, `h = dropout(x) A^T`. So now, for each linear:
/// `dB += scale * dy^T h`, `dh = scale * dy B`, `dA += dh^T dropout(x)`; and over all of them
/// `dx = sum of dy W + dropout'(dh A)`.
///
/// # Shapes
/// `dy [t, out]`, result `[t, in]`; others as in the forward pass.
pub(super) fn linears_backward(
    engine: &Engine,
    x: &Tensor,
    linears: Vec<LinearGradient>,
    want_dx: bool,
) -> Option<Tensor> {
    let (tokens, inputs) = (x.rows(), x.cols());
    let args: Vec<LinearArgs> = linears.iter().map(|linear| linear.args).collect();
    let kernels = kernels_of(engine, x, &args);
    let packed_dys: Vec<Option<PackedLeft>> = linears
        .iter()
        .map(|linear| {
            let (outputs, needed) = (linear.args.weight.rows(), want_dx || linear.args.side.is_some());
            assert_eq!((linear.dy.rows(), linear.dy.cols()), (tokens, outputs), "dy for {:?}", linear.args.weight);
            needed.then(|| engine.pack(kernels, &Operand::tensor(linear.dy, Layout::LanesMajor)))
        })
        .collect();
    let d_low_ranks = side_gradients(engine, kernels, x, linears, &packed_dys);
    if !want_dx {
        return None;
    }
    let packed_dhs: Vec<Option<PackedLeft>> = d_low_ranks
        .iter()
        .map(|dh| dh.as_ref().map(|dh| engine.pack(kernels, &Operand::tensor(dh, Layout::LanesMajor))))
        .collect();
    let hashes: Vec<Vec<u64>> =
        args.iter().map(|args| args.side.map_or(Vec::new(), |side| hashes_for(&side, inputs))).collect();
    let mut terms = Vec::new();
    for (at, args) in args.iter().enumerate() {
        let Some(packed_dy) = &packed_dys[at] else { unreachable!("dx needs every dy") };
        terms.push(Term::new(packed_dy, engine.packed.factor(args.weight, WeightProduct::Backward)));
        if let (Some(side), Some(packed_dh)) = (args.side, &packed_dhs[at]) {
            let a = Operand::floats(side.a, Layout::KMajor, inputs, inputs, side.rank);
            terms.push(Term::new(packed_dh, a).masked(mask_for(&side, &hashes[at], tokens)));
        }
    }
    let mut dx = Tensor::unset(x.dtype(), tokens, inputs);
    engine.multiply(kernels, tokens, vec![product(&mut dx, Start::ZERO, terms)]);
    Some(dx)
}

/// Adds `dA` and `dB` of every side path, and returns its `dh`, `[t, r]`.
fn side_gradients(
    engine: &Engine,
    kernels: &Kernels,
    x: &Tensor,
    linears: Vec<LinearGradient>,
    packed_dys: &[Option<PackedLeft>],
) -> Vec<Option<Tensor>> {
    let (tokens, inputs) = (x.rows(), x.cols());
    let mut d_low_ranks = Vec::with_capacity(linears.len());
    for (linear, packed_dy) in linears.into_iter().zip(packed_dys) {
        let LinearGradient { args, low_rank, dy, side: gradient } = linear;
        assert_eq!(args.side.is_some(), gradient.is_some(), "a side path and its gradient come together");
        let (Some(side), Some(gradient), Some(packed_dy)) = (args.side, gradient, packed_dy) else {
            d_low_ranks.push(None);
            continue;
        };
        let (rank, outputs) = (side.rank, args.weight.rows());
        let h = low_rank.unwrap_or_else(|| panic!("the backward of {:?} lacks the forward's low rank", args.weight));
        assert_eq!((h.rows(), h.cols()), (tokens, rank), "low rank for {:?}", args.weight);

        let mut dh = Tensor::unset(DType::F32, tokens, rank);
        let b = Operand::floats(side.b, Layout::KMajor, rank, rank, outputs);
        let terms = vec![Term::new(packed_dy, b).scaled(side.scale)];
        engine.multiply(kernels, tokens, vec![product(&mut dh, Start::ZERO, terms)]);

        // Both have few rows and the tokens as their sum: the wide factor is read once, as it lies.
        let column_hashes = hashes_for(&side, inputs);
        let masked_x = Operand::tensor(x, Layout::KMajor).masked(mask_for(&side, &column_hashes, tokens));
        let packed_dh = engine.pack(kernels, &Operand::tensor(&dh, Layout::KMajor));
        let da = Product {
            c: crate::ValuesMut::F32(gradient.da),
            n: inputs,
            start: Start::PRESENT,
            terms: vec![Term::new(&packed_dh, masked_x)],
        };
        engine.multiply(kernels, rank, vec![da]);

        let packed_h = engine.pack(kernels, &Operand::tensor(h, Layout::KMajor));
        let mut db_transposed = Tensor::unset(DType::F32, rank, outputs);
        let terms = vec![Term::new(&packed_h, Operand::tensor(dy, Layout::KMajor)).scaled(side.scale)];
        engine.multiply(kernels, rank, vec![product(&mut db_transposed, Start::ZERO, terms)]);
        for (r, row) in db_transposed.data().chunks_exact(outputs).enumerate() {
            for (db, value) in gradient.db.iter_mut().skip(r).step_by(rank).zip(row) {
                *db += value;
            }
        }
        d_low_ranks.push(Some(dh));
    }
    d_low_ranks
}
