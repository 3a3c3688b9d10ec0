//! Packed causal attention, backward: probabilities are computed again from the saved logarithms of sums.
//!
//! Two passes with owned outputs: tiles of queries make `dq`, tiles of keys make `dk` and `dv`. Computing the scores
//! in both costs 7 products of a tile instead of 5, and buys that any number of threads can share one long segment
//! while each output is a sum in one fixed order.
#![allow(unsafe_code)]

use std::ops::Range;

use super::Engine;
use super::attention::{Heads, KEYS, QueryTile, check, heads_of, query_tiles, with_scratch};
use super::convert::SharedOut;
use super::gemm::{Kernels, multiply_here};
use super::math::{dot_f64, exp, multiply_add, per_isa};
use super::pack::{Layout, Operand};
use super::workers::DisjointMut;
use crate::backend::{AttentionArgs, AttentionOutput};
use crate::tensor::Tensor;
use crate::weight::DType;

/// What both passes read.
struct Inputs<'a> {
    engine: &'a Engine,
    kernels: &'static Kernels,
    q: &'a Tensor,
    k: Heads<'a>,
    v: Heads<'a>,
    d_o: &'a Tensor,
    /// `[t, h]`.
    lse: &'a Tensor,
    /// `do[i].o[i]`, `[t, h]`.
    delta: &'a Tensor,
    scale: f32,
}

/// The rows of a query tile, gathered.
struct Gathered<'a> {
    /// `[m, d]`.
    q: &'a mut [f32],
    /// `[m, d]`.
    d_o: &'a mut [f32],
    /// `[m]`.
    lse: &'a mut [f32],
    /// `[m]`.
    delta: &'a mut [f32],
}

impl Gathered<'_> {
    fn fill(&mut self, inputs: &Inputs, tile: &QueryTile, kv_head: usize) {
        let d = inputs.k.d;
        let isa = inputs.engine.isa;
        tile.gather(isa, inputs.q, kv_head, d, self.q);
        tile.gather(isa, inputs.d_o, kv_head, d, self.d_o);
        tile.gather(isa, inputs.lse, kv_head, 1, self.lse);
        tile.gather(isa, inputs.delta, kv_head, 1, self.delta);
    }
}

/// Raw scores become probabilities `p`, and `dp` becomes `ds = p (dp - delta)`; what a row does not see becomes 0.
#[inline(always)]
fn score_gradient_body<const FMA: bool>(
    tile: &QueryTile,
    keys: &Range<usize>,
    scale: f32,
    rows: &Gathered,
    p: &mut [f32],
    ds: &mut [f32],
) {
    let tiles = p.chunks_exact_mut(KEYS).zip(ds.chunks_exact_mut(KEYS)).zip(tile.seen(keys)).enumerate();
    for (row, ((p, ds), seen)) in tiles {
        let (p, ds) = (&mut p[..keys.len()], &mut ds[..keys.len()]);
        for values in [&mut *p, &mut *ds] {
            values[..seen.start].fill(0.0);
            values[seen.end..].fill(0.0);
        }
        let (lse, delta) = (rows.lse[row], rows.delta[row]);
        for (p, ds) in p[seen.clone()].iter_mut().zip(&mut ds[seen]) {
            *p = exp::<FMA>(multiply_add::<FMA>(*p, scale, -lse));
            *ds = *p * (*ds - delta);
        }
    }
}

per_isa!(fn score_gradient(
    tile: &QueryTile, keys: &Range<usize>, scale: f32, rows: &Gathered, p: &mut [f32], ds: &mut [f32]
) => score_gradient_body);

/// `p` and `ds` of a tile of queries and a tile of keys, `[m, keys]` at a stride of [`KEYS`].
fn probabilities(
    inputs: &Inputs,
    tile: &QueryTile,
    kv_head: usize,
    keys: &Range<usize>,
    rows: &Gathered,
    (p, ds): (&mut [f32], &mut [f32]),
) {
    let (m, d) = (tile.rows(), inputs.k.d);
    for (left, right, out) in [(&rows.q, inputs.k, &mut *p), (&rows.d_o, inputs.v, &mut *ds)] {
        let left = Operand::floats(left, Layout::LanesMajor, d, m, d);
        let right = right.operand(kv_head, keys.clone(), Layout::LanesMajor);
        multiply_here(inputs.kernels, (out, KEYS), (m, keys.len()), false, (left, right, 1.0));
    }
    score_gradient(inputs.engine.isa, tile, keys, inputs.scale, rows, p, ds);
}

/// `dq` of a tile of queries, `[m, d]`, handed to `finish`.
fn query_gradient(inputs: &Inputs, tile: &QueryTile, kv_head: usize, finish: impl FnOnce(&[f32])) {
    let (m, d) = (tile.rows(), inputs.k.d);
    with_scratch([m * d, m * d, m, m, m * KEYS, m * KEYS, m * d], |[q, d_o, lse, delta, p, ds, dq]| {
        let mut rows = Gathered { q, d_o, lse, delta };
        rows.fill(inputs, tile, kv_head);
        dq.fill(0.0);
        for keys in tile.key_tiles() {
            probabilities(inputs, tile, kv_head, &keys, &rows, (&mut *p, &mut *ds));
            let left = Operand::floats(ds, Layout::LanesMajor, KEYS, m, keys.len());
            let right = inputs.k.operand(kv_head, keys, Layout::KMajor);
            multiply_here(inputs.kernels, (&mut *dq, d), (m, d), true, (left, right, inputs.scale));
        }
        finish(dq);
    });
}

/// `dk` and `dv` of a tile of keys, `[keys, d]` each, handed to `finish`. `tiles` are the query tiles of the segment.
fn key_gradient(
    inputs: &Inputs,
    tiles: &[QueryTile],
    kv_head: usize,
    keys: &Range<usize>,
    finish: impl FnOnce(&[f32], &[f32]),
) {
    let d = inputs.k.d;
    let most = tiles.iter().map(QueryTile::rows).max().unwrap_or(0);
    let lens = [most * d, most * d, most, most, most * KEYS, most * KEYS, keys.len() * d, keys.len() * d];
    with_scratch(lens, |[q, d_o, lse, delta, p, ds, dk, dv]| {
        dk.fill(0.0);
        dv.fill(0.0);
        let sees = |tile: &&QueryTile| {
            let (first, last) = (tile.visible(tile.positions.start), tile.positions.end);
            keys.start < last && first.start < keys.end
        };
        for tile in tiles.iter().filter(sees) {
            let m = tile.rows();
            let mut rows =
                Gathered { q: &mut q[..m * d], d_o: &mut d_o[..m * d], lse: &mut lse[..m], delta: &mut delta[..m] };
            rows.fill(inputs, tile, kv_head);
            let (p, ds) = (&mut p[..m * KEYS], &mut ds[..m * KEYS]);
            probabilities(inputs, tile, kv_head, keys, &rows, (&mut *p, &mut *ds));
            for (left, right, out, scale) in [(&*p, &rows.d_o, &mut *dv, 1.0), (&*ds, &rows.q, &mut *dk, inputs.scale)]
            {
                let left = Operand::floats(left, Layout::KMajor, KEYS, keys.len(), m);
                let right = Operand::floats(right, Layout::KMajor, d, d, m);
                multiply_here(inputs.kernels, (out, d), (keys.len(), d), true, (left, right, scale));
            }
        }
        finish(dk, dv);
    });
}

/// With `dp[i,j] = do[i].v[j]` and `delta[i] = do[i].o[i]`: `ds[i,j] = p[i,j] (dp[i,j] - delta[i])`,
/// `dq[i] = scale * sum_j ds[i,j] k[j]`, `dk[j] = scale * sum_i ds[i,j] q[i]`, `dv[j] = sum_i p[i,j] do[i]`;
/// the query heads of a group add up in their key/value head.
///
/// # Shapes
/// `dq [t, h*d]`, `dk, dv [t, g*d]`.
///
/// # Source
/// Dao: "FlashAttention-2", 2023, section 2.3.2 and algorithm 2.
pub(super) fn attention_backward(
    engine: &Engine,
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    output: &AttentionOutput,
    d_o: &Tensor,
    args: &AttentionArgs,
) -> (Tensor, Tensor, Tensor) {
    check(q, k, v, args);
    assert_eq!((d_o.rows(), d_o.cols()), (q.rows(), q.cols()), "shape of do");
    let delta = delta_of(engine, &output.o, d_o, args);
    let inputs = Inputs {
        engine,
        kernels: engine.kernels_for(q.dtype()),
        q,
        k: heads_of(k.values(), args),
        v: heads_of(v.values(), args),
        d_o,
        lse: &output.lse,
        delta: &delta,
        scale: args.scale,
    };
    let tiles = query_tiles(args);
    let dq = query_pass(&inputs, &tiles, args);
    let (dk, dv) = key_pass(&inputs, &tiles, args);
    (dq, dk, dv)
}

fn query_pass(inputs: &Inputs, tiles: &[QueryTile], args: &AttentionArgs) -> Tensor {
    let (d, heads) = (args.head_dim, args.heads);
    let mut dq = Tensor::unset(inputs.q.dtype(), inputs.q.rows(), inputs.q.cols());
    let dq_out = SharedOut::new(&mut dq);
    inputs.engine.workers.for_each(tiles.len() * args.kv_heads, |task| {
        // The longest tasks first.
        let (tile, kv_head) = (&tiles[tiles.len() - 1 - task / args.kv_heads], task % args.kv_heads);
        query_gradient(inputs, tile, kv_head, |dq_md| {
            for ((row, head), dq_d) in tile.places().zip(dq_md.chunks_exact(d)) {
                let start = (row * heads + kv_head * tile.group + head) * d;
                // SAFETY: a (row, head) belongs to one tile of queries.
                unsafe { dq_out.part(start..start + d) }.set(inputs.engine.isa, dq_d);
            }
        });
    });
    dq
}

fn key_pass(inputs: &Inputs, tiles: &[QueryTile], args: &AttentionArgs) -> (Tensor, Tensor) {
    let (d, kv_heads, tokens) = (args.head_dim, args.kv_heads, inputs.q.rows());
    let mut dk = Tensor::unset(inputs.q.dtype(), tokens, kv_heads * d);
    let mut dv = Tensor::unset(inputs.q.dtype(), tokens, kv_heads * d);
    let (dk_out, dv_out) = (SharedOut::new(&mut dk), SharedOut::new(&mut dv));
    // Tiles of one segment lie together.
    let key_tiles: Vec<(&[QueryTile], Range<usize>)> = tiles
        .chunk_by(|a, b| a.segment_start == b.segment_start)
        .flat_map(|tiles| {
            let (start, end) = (tiles[0].segment_start, tiles[tiles.len() - 1].positions.end);
            (start..end).step_by(KEYS).map(move |key| (tiles, key..end.min(key + KEYS)))
        })
        .collect();
    inputs.engine.workers.for_each(key_tiles.len() * kv_heads, |task| {
        let ((tiles, keys), kv_head) = (&key_tiles[task / kv_heads], task % kv_heads);
        key_gradient(inputs, tiles, kv_head, keys, |dk_nd, dv_nd| {
            for (out, values) in [(&dk_out, dk_nd), (&dv_out, dv_nd)] {
                for (key, values) in keys.clone().zip(values.chunks_exact(d)) {
                    let start = (key * kv_heads + kv_head) * d;
                    // SAFETY: a (key, head) belongs to one tile of keys.
                    unsafe { out.part(start..start + d) }.set(inputs.engine.isa, values);
                }
            }
        });
    });
    (dk, dv)
}

#[inline(always)]
fn delta_body<const FMA: bool>(o: &[f32], d_o: &[f32], delta: &mut [f32]) {
    let d = o.len() / delta.len();
    for ((o_d, do_d), delta) in o.chunks_exact(d).zip(d_o.chunks_exact(d)).zip(delta) {
        *delta = dot_f64(o_d, do_d) as f32;
    }
}

per_isa!(fn delta_rows(o: &[f32], d_o: &[f32], delta: &mut [f32]) => delta_body);

/// `do[i].o[i]` per row and head, `[t, h]`.
fn delta_of(engine: &Engine, o: &Tensor, d_o: &Tensor, args: &AttentionArgs) -> Tensor {
    /// Dot products of a task.
    const TASK: usize = 256;
    let d = args.head_dim;
    let mut delta = Tensor::unset(DType::F32, o.rows(), args.heads);
    let len = delta.data().len();
    let out = DisjointMut::new(delta.data_mut());
    engine.workers.for_ranges(len, TASK, |range| {
        let values = range.start * d..range.end * d;
        // SAFETY: the ranges do not overlap.
        let out = unsafe { out.slice(range) };
        with_scratch([values.len(), values.len()], |[o_scratch, do_scratch]| {
            let o = o.values().part(values.clone()).widened(engine.isa, o_scratch);
            let d_o = d_o.values().part(values).widened(engine.isa, do_scratch);
            delta_rows(engine.isa, o, d_o, out);
        });
    });
    delta
}
