//! Packed causal attention, forward: tiles of queries against tiles of keys, softmax on the way.
//!
//! Letters: t tokens, h query heads, g key/value heads, d head size, m rows of a query tile.
//!
//! A task owns a tile of queries: some positions of one segment, for all query heads of one key/value head, so that
//! packing a tile of keys serves the whole group. It walks over the tiles of keys in ascending order, with a running
//! maximum and sum per row; no buffer grows with the square of the length. Tiles of keys begin at multiples of
//! [`KEYS`] from the beginning of the segment, so a row's bits do not depend on where the segment lies in the batch.
#![allow(unsafe_code)]

use std::cell::RefCell;
use std::ops::Range;

use super::Engine;
use super::convert::{SharedOut, widen};
use super::gemm::multiply_here;
use super::isa::VerifiedIsa;
use super::math::{exp, map_sum, max, per_isa};
use super::pack::{Layout, Operand};
use super::workers::{AlignedBuffer, DisjointMut};
use crate::backend::{AttentionArgs, AttentionOutput};
use crate::tensor::{Tensor, Values};
use crate::weight::DType;

/// Keys of a tile. With 128 query rows the scores take 64 KiB and stay in the second-level cache with what they are
/// made of.
pub(super) const KEYS: usize = 128;

/// Positions of a query tile: about 128 rows over the heads of a group. Scores above the diagonal inside a tile are
/// computed in vain, half a tile per row on average, so a tile must not be tall.
pub(super) fn query_positions(group: usize) -> usize {
    (128 / group).clamp(16, 64)
}

thread_local! {
    static SCRATCH: RefCell<AlignedBuffer<f32>> = const { RefCell::new(AlignedBuffer::new()) };
}

/// Lends the thread's attention scratch, cut into parts of the given lengths.
pub(super) fn with_scratch<const N: usize>(lens: [usize; N], work: impl FnOnce([&mut [f32]; N])) {
    SCRATCH.with_borrow_mut(|buffer| {
        // Parts begin at cache lines.
        let mut rest = buffer.get(lens.iter().map(|len| len.next_multiple_of(16)).sum());
        work(lens.map(|len| {
            let (part, tail) = std::mem::take(&mut rest).split_at_mut(len.next_multiple_of(16));
            rest = tail;
            &mut part[..len]
        }));
    });
}

/// A tile of queries: `positions` of one segment, all heads of one group. Its rows are ordered by head, then position.
#[derive(Debug, Clone)]
pub(super) struct QueryTile {
    /// Positions as the keys count them.
    pub(super) positions: Range<usize>,
    /// Position of the first query row of the tensor: rows of a cached call begin after the past.
    pub(super) first_row_position: usize,
    pub(super) segment_start: usize,
    pub(super) group: usize,
    pub(super) window: Option<usize>,
}

impl QueryTile {
    pub(super) fn rows(&self) -> usize {
        self.positions.len() * self.group
    }

    /// The keys that a position sees.
    #[inline(always)]
    pub(super) fn visible(&self, position: usize) -> Range<usize> {
        let first = match self.window {
            Some(window) => self.segment_start.max((position + 1).saturating_sub(window)),
            None => self.segment_start,
        };
        first..position + 1
    }

    /// The tiles of keys that some row sees, in ascending order.
    pub(super) fn key_tiles(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let first = self.visible(self.positions.start).start - self.segment_start;
        let (start, end) = (self.segment_start + first / KEYS * KEYS, self.positions.end);
        (start..end).step_by(KEYS).map(move |key| key..end.min(key + KEYS))
    }

    /// For every row of the tile: the part of `keys` that it sees, counted from the tile's first key.
    #[inline(always)]
    pub(super) fn seen(&self, keys: &Range<usize>) -> impl Iterator<Item = Range<usize>> {
        (0..self.group).flat_map(|_| self.positions.clone()).map(|position| {
            let visible = self.visible(position);
            let start = visible.start.clamp(keys.start, keys.end) - keys.start;
            let end = visible.end.clamp(keys.start, keys.end) - keys.start;
            start..end.max(start)
        })
    }

    /// For every row of the tile: its row in the tensor of queries, and its head inside the group.
    pub(super) fn places(&self) -> impl Iterator<Item = (usize, usize)> {
        let first = self.first_row_position;
        (0..self.group).flat_map(move |head| self.positions.clone().map(move |position| (position - first, head)))
    }

    /// The tile's rows of `x [t, h*d]`, one after the other.
    pub(super) fn gather(&self, isa: VerifiedIsa, x: &Tensor, kv_head: usize, d: usize, rows: &mut [f32]) {
        for ((row, head), target) in self.places().zip(rows.chunks_exact_mut(d)) {
            let start = row * x.cols() + (kv_head * self.group + head) * d;
            match x.values() {
                Values::F32(values) => target.copy_from_slice(&values[start..start + d]),
                Values::Bf16(values) => widen(isa, &values[start..start + d], target),
            }
        }
    }
}

/// Cuts segments into query tiles.
pub(super) fn query_tiles(args: &AttentionArgs) -> Vec<QueryTile> {
    let group = args.heads / args.kv_heads;
    let step = query_positions(group);
    let tile = |segment_start, positions| QueryTile {
        positions,
        first_row_position: 0,
        segment_start,
        group,
        window: args.window,
    };
    args.segments
        .windows(2)
        .flat_map(|borders| {
            let (start, end) = (borders[0], borders[1]);
            (start..end).step_by(step).map(move |first| tile(start, first..end.min(first + step)))
        })
        .collect()
}

pub(super) fn check(q: &Tensor, k: &Tensor, v: &Tensor, args: &AttentionArgs) {
    check_heads(q, args);
    assert_eq!((k.cols(), v.cols()), (args.kv_heads * args.head_dim, args.kv_heads * args.head_dim), "columns of k, v");
    assert_eq!((k.rows(), v.rows()), (q.rows(), q.rows()), "rows of k, v");
    assert_eq!((args.segments.first(), args.segments.last()), (Some(&0), Some(&q.rows())), "borders of the segments");
    assert!(args.segments.is_sorted(), "segments {:?} are not in order", args.segments);
}

fn check_heads(q: &Tensor, args: &AttentionArgs) {
    assert_eq!(args.heads % args.kv_heads, 0, "{} heads over {} key/value heads", args.heads, args.kv_heads);
    assert_eq!(q.cols(), args.heads * args.head_dim, "columns of q");
    assert_ne!(args.window, Some(0), "a window of no tokens");
}

/// Keys or values `[rows, g*d]`.
#[derive(Clone, Copy)]
pub(super) struct Heads<'a> {
    pub(super) values: Values<'a>,
    pub(super) kv_heads: usize,
    pub(super) d: usize,
}

impl<'a> Heads<'a> {
    /// One head's rows as a factor: lanes are the rows (`x K^T`), or the d columns (`p V`).
    pub(super) fn operand(&self, kv_head: usize, rows: Range<usize>, layout: Layout) -> Operand<'a> {
        let stride = self.kv_heads * self.d;
        let values = self.values.part(rows.start * stride + kv_head * self.d..self.values.len());
        let (lanes, k) = match layout {
            Layout::LanesMajor => (rows.len(), self.d),
            Layout::KMajor => (self.d, rows.len()),
        };
        Operand::values(values, layout, stride, lanes, k)
    }
}

/// Running softmax of a query tile.
struct Running<'a> {
    /// `[m]`.
    largest: &'a mut [f32],
    /// `[m]`.
    sum: &'a mut [f32],
    /// `[m, d]`.
    o: &'a mut [f32],
}

/// Takes a tile of raw scores in: they become `exp(scale * score - largest)`, and sum and output so far are scaled to
/// the new largest score.
#[inline(always)]
fn online_softmax_body<const FMA: bool>(
    tile: &QueryTile,
    keys: &Range<usize>,
    scale: f32,
    scores: &mut [f32],
    running: &mut Running,
) {
    let d = running.o.len() / running.sum.len();
    let rows = scores.chunks_exact_mut(KEYS).zip(tile.seen(keys)).zip(running.o.chunks_exact_mut(d)).enumerate();
    for (row, ((scores, seen), o)) in rows {
        let scores = &mut scores[..keys.len()];
        scores[..seen.start].fill(0.0);
        scores[seen.end..].fill(0.0);
        if seen.is_empty() {
            continue;
        }
        let scores = &mut scores[seen];
        for score in &mut *scores {
            *score *= scale;
        }
        let (before, here) = (running.largest[row], max(scores));
        let largest = if here > before { here } else { before };
        let sum = map_sum(scores, |score| exp::<FMA>(score - largest));
        if largest > before {
            let factor = exp::<FMA>(before - largest);
            running.sum[row] *= factor;
            running.largest[row] = largest;
            for o in o {
                *o *= factor;
            }
        }
        running.sum[row] += sum;
    }
}

per_isa!(fn online_softmax(
    tile: &QueryTile, keys: &Range<usize>, scale: f32, scores: &mut [f32], running: &mut Running
) => online_softmax_body);

/// One tile of queries: its outputs `[m, d]` and logarithms of sums `[m]`, handed to `finish(tile row, o, lse)`.
fn forward_tile(
    engine: &Engine,
    tile: &QueryTile,
    kv_head: usize,
    q: &Tensor,
    (k, v): (Heads, Heads),
    scale: f32,
    mut finish: impl FnMut(usize, &[f32], f32),
) {
    let (m, d) = (tile.rows(), k.d);
    let kernels = engine.kernels_for(q.dtype());
    with_scratch([m * d, m * KEYS, m * d, m, m], |[q_md, scores, o, largest, sum]| {
        tile.gather(engine.isa, q, kv_head, d, q_md);
        o.fill(0.0);
        largest.fill(f32::NEG_INFINITY);
        sum.fill(0.0);
        let mut running = Running { largest, sum, o };
        for keys in tile.key_tiles() {
            let queries = Operand::floats(q_md, Layout::LanesMajor, d, m, d);
            let keys_d = k.operand(kv_head, keys.clone(), Layout::LanesMajor);
            multiply_here(kernels, (&mut *scores, KEYS), (m, keys.len()), false, (queries, keys_d, 1.0));
            online_softmax(engine.isa, tile, &keys, scale, scores, &mut running);
            let weights = Operand::floats(scores, Layout::LanesMajor, KEYS, m, keys.len());
            let values_d = v.operand(kv_head, keys.clone(), Layout::KMajor);
            multiply_here(kernels, (&mut *running.o, d), (m, d), true, (weights, values_d, 1.0));
        }
        for (row, o) in running.o.chunks_exact_mut(d).enumerate() {
            let (sum, largest) = (running.sum[row], running.largest[row]);
            for o in &mut *o {
                *o /= sum;
            }
            finish(row, o, largest + sum.ln());
        }
    });
}

/// `o[i] = sum_j p[i,j] v[j]`, `p[i,j] = exp(scale * q[i].k[j] - lse[i])` over the keys j that i sees.
///
/// # Shapes
/// `q [t, h*d]`, `k, v [t, g*d]`, `o [t, h*d]`, `lse [t, h]`.
///
/// # Source
/// Dao: "FlashAttention-2", 2023, algorithm 1.
pub(super) fn attention_forward(
    engine: &Engine,
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    args: &AttentionArgs,
) -> AttentionOutput {
    check(q, k, v, args);
    let mut lse = Tensor::unset(DType::F32, q.rows(), args.heads);
    let kv = (heads_of(k.values(), args), heads_of(v.values(), args));
    let o = forward(engine, q, kv, args, &query_tiles(args), Some(&mut lse));
    AttentionOutput { o, lse }
}

/// [`attention_forward`] of new rows over a cache: row i of `q` is at position `past + i`.
///
/// # Shapes
/// `q [n, h*d]`, `k, v` at least `(past + n) * g*d` values, result `[n, h*d]`.
pub(super) fn attention_cached(
    engine: &Engine,
    q: &Tensor,
    k: &[f32],
    v: &[f32],
    past: usize,
    args: &AttentionArgs,
) -> Tensor {
    check_heads(q, args);
    let values = (past + q.rows()) * args.kv_heads * args.head_dim;
    assert!(k.len() >= values && v.len() >= values, "{} and {} values cached of {values}", k.len(), v.len());
    let group = args.heads / args.kv_heads;
    let (step, end) = (query_positions(group), past + q.rows());
    let tiles: Vec<QueryTile> = (past..end)
        .step_by(step)
        .map(|first| QueryTile {
            positions: first..end.min(first + step),
            first_row_position: past,
            segment_start: 0,
            group,
            window: args.window,
        })
        .collect();
    forward(engine, q, (heads_of(Values::F32(k), args), heads_of(Values::F32(v), args)), args, &tiles, None)
}

pub(super) fn heads_of<'a>(values: Values<'a>, args: &AttentionArgs) -> Heads<'a> {
    Heads { values, kv_heads: args.kv_heads, d: args.head_dim }
}

fn forward(
    engine: &Engine,
    q: &Tensor,
    kv: (Heads, Heads),
    args: &AttentionArgs,
    tiles: &[QueryTile],
    lse: Option<&mut Tensor>,
) -> Tensor {
    let (d, heads) = (args.head_dim, args.heads);
    let mut o = Tensor::unset(q.dtype(), q.rows(), q.cols());
    let o_out = SharedOut::new(&mut o);
    let lse_out = lse.map(|lse| DisjointMut::new(lse.data_mut()));
    engine.workers.for_each(tiles.len() * args.kv_heads, |task| {
        // Tiles late in a segment have the most keys: they come first, so that no thread is left with one at the end.
        let (tile, kv_head) = (&tiles[tiles.len() - 1 - task / args.kv_heads], task % args.kv_heads);
        let places: Vec<(usize, usize)> = tile.places().collect();
        forward_tile(engine, tile, kv_head, q, kv, args.scale, |row, o_d, lse| {
            let (row, head) = (places[row].0, kv_head * tile.group + places[row].1);
            // SAFETY: a (row, head) belongs to one tile of queries.
            unsafe {
                o_out.part((row * heads + head) * d..(row * heads + head + 1) * d).set(engine.isa, o_d);
                if let Some(lse_out) = &lse_out {
                    lse_out.slice(row * heads + head..row * heads + head + 1)[0] = lse;
                }
            }
        });
    });
    o
}
