//! One driver for every matrix product: packed panels, a micro-kernel, fixed sums.
//!
//! `C[m, n] (+)= sum over the terms of alpha * L R`. A task owns a tile of C. It packs a slab of the left factor, then
//! one right panel after the other, and lets the micro-kernel of the instruction set run over both.
//!
//! # Order of the sums
//! The sum dimension is cut at multiples of [`KC`] from its beginning, always. Inside a cut an element is one chain of
//! multiply-adds in ascending k that starts at zero; the cuts are added to C in ascending order, and so are the terms.
//! Neither the tile, nor the panel, nor the number of threads enters; so the bits of a row depend neither on the number
//! of threads nor on how many other rows there are. Cutting also keeps long sums accurate: rounding grows with
//! `KC + k / KC`, not with k.
#![allow(unsafe_code)]

use std::cell::RefCell;
use std::ops::Range;

use super::isa::{Isa, VerifiedIsa};
use super::kernels_portable;
use super::pack::{Layout, Mask, Operand, PackArgs, PackFn};
use super::workers::{AlignedBuffer, DisjointMut, Workers};

/// Cut of the sum dimension. A right panel of 256 x 32 is 32 KiB: about the first-level cache, where the micro-kernel
/// reads it once per row panel; loading and storing a C tile costs about 1 % of the 256 steps between.
pub(super) const KC: usize = 256;

/// Rows of a tile: the slab of the left factor takes 504 x 256 x 4 bytes = 504 KiB, half of a second-level cache of
/// 1 MiB, and is read once per right panel. A multiple of every kernel's row count (14, 6, 4). Packing a weight costs
/// about as much as 4 rows of multiply-adds on it, so below 1 % here.
const MC: usize = 504;

/// Columns of a tile: packing the left slab costs about as much as 6 columns of multiply-adds on it, so about 1 %.
const NC: usize = 512;

/// Values in a slab of the left factor. Few rows mean a slab that is long in k: then the rows of a weight are read
/// almost to their end in one go, as a memory-bound product wants it.
const SLAB_VALUES: usize = MC * KC;

/// Multiply-adds below which a product stays on one thread: about 10 microseconds, as long as it takes to wake another.
const SERIAL_WORK: usize = 1 << 19;

/// The largest tile of any micro-kernel.
const MAX_TILE: usize = 14 * 32;

/// The micro-kernels of one instruction set.
pub(super) struct Kernels {
    /// Most rows of a left panel.
    pub(super) mr: usize,
    /// Most columns of a right panel.
    pub(super) nr: usize,
    /// Right panels are padded to a multiple of this many columns.
    pub(super) lanes: usize,
    pub(super) tile: TileFn,
    pub(super) pack: PackFn,
    /// For few rows, if there is one: packs and multiplies in registers.
    pub(super) direct: Option<Direct>,
}

/// A micro-kernel that takes the right factor where it lies, [`Layout::LanesMajor`], `nr` columns: with few rows a
/// panel would be read about as often as it is written. Its sums are those of [`TileFn`] to the bit.
#[derive(Clone, Copy)]
pub(super) struct Direct {
    pub(super) most_rows: usize,
    pub(super) tile: DirectFn,
}

/// As [`TileFn`], with the right factor in place of a right panel, which is not read. # Safety: as of both.
pub(super) type DirectFn = unsafe fn(usize, &TileArgs, &PackArgs);

impl Kernels {
    pub(super) fn of(isa: VerifiedIsa) -> &'static Self {
        match isa.get() {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => &super::kernels_avx512::KERNELS,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => &super::kernels_avx2::KERNELS,
            #[cfg(not(target_arch = "x86_64"))]
            isa @ (Isa::Avx512 | Isa::Avx2) => unreachable!("{isa} on this processor"),
            Isa::Portable => &kernels_portable::KERNELS,
        }
    }
}

/// What a micro-kernel is told: `C[rows, cols] = alpha * A B (+ C)`.
pub(super) struct TileArgs {
    pub(super) k: usize,
    /// Left panel, `[k, rows]`.
    pub(super) a: *const f32,
    /// Right panel, `[k, cols]` padded with zero columns to a multiple of the kernel's lanes.
    pub(super) b: *const f32,
    pub(super) c: *mut f32,
    pub(super) c_stride: usize,
    pub(super) cols: usize,
    pub(super) alpha: f32,
    /// Whether C's present value is added.
    pub(super) add: bool,
}

/// Runs a micro-kernel on a left panel of the given number of rows. # Safety: the panels hold what [`TileArgs`] says,
/// `1 <= rows <= mr`, `1 <= cols <= nr`, the C tile is writable and nobody else's, and the machine has the
/// kernel's instructions.
pub(super) type TileFn = unsafe fn(usize, &TileArgs);

/// What C holds before the first term.
#[derive(Clone, Copy)]
pub(super) enum Start<'a> {
    /// Nothing: the product overwrites it.
    Zero,
    /// This row, `[n]`, in every row.
    Bias(&'a [f32]),
    /// Its present value, to which the product is added.
    Present,
}

/// One product of a sum of products.
#[derive(Clone, Copy)]
pub(super) struct Term<'a> {
    /// `[m, k]`.
    pub(super) left: Operand<'a>,
    /// `[n, k]` (lanes are the columns of C).
    pub(super) right: Operand<'a>,
    pub(super) alpha: f32,
    /// Factor of every element of this term, at its place in C.
    pub(super) mask: Option<Mask<'a>>,
}

impl<'a> Term<'a> {
    pub(super) fn new(left: Operand<'a>, right: Operand<'a>) -> Self {
        assert_eq!(left.k(), right.k(), "sum dimension of a product");
        Self { left, right, alpha: 1.0, mask: None }
    }

    pub(super) fn scaled(self, alpha: f32) -> Self {
        Self { alpha, ..self }
    }

    pub(super) fn masked(self, mask: Option<Mask<'a>>) -> Self {
        Self { mask, ..self }
    }
}

/// Packed panels of the thread's present task.
#[derive(Default)]
pub(super) struct Scratch {
    left: AlignedBuffer,
    right: AlignedBuffer,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> =
        const { RefCell::new(Scratch { left: AlignedBuffer::new(), right: AlignedBuffer::new() }) };
}

/// `C (+)= sum of the terms` on all threads. C is `[m, n]`, contiguous.
pub(super) fn multiply(
    workers: &Workers,
    kernels: &Kernels,
    c: &mut [f32],
    (m, n): (usize, usize),
    start: Start,
    terms: &[Term],
) {
    assert_eq!(c.len(), m * n, "C of a product [{m}, {n}]");
    check_shapes((m, n), start, terms);
    if m == 0 || n == 0 {
        return;
    }
    let work = terms.iter().map(|term| m * n * term.left.k()).sum();
    let (tile_rows, tile_cols) = tile_size(kernels, (m, n), work, workers.threads());
    let row_tiles = m.div_ceil(tile_rows);
    let c = DisjointMut::new(c);
    // Tiles that share columns follow each other: the weights they read are still in cache.
    workers.for_each(row_tiles * n.div_ceil(tile_cols), |task| {
        let (row, col) = (task % row_tiles * tile_rows, task / row_tiles * tile_cols);
        let tile = Tile {
            c: c.pointer(row * n + col),
            c_stride: n,
            rows: row..m.min(row + tile_rows),
            cols: col..n.min(col + tile_cols),
        };
        // SAFETY: the tile lies inside C, whose borrow this function holds, and no other task has its elements.
        SCRATCH.with_borrow_mut(|scratch| unsafe { compute_tile(kernels, scratch, &tile, start, terms) });
    });
}

/// `C (+)= sum of the terms` on this thread, for ops that cut their work themselves. Row i of C begins at
/// `i * c_stride`.
pub(super) fn multiply_here(
    kernels: &Kernels,
    c: &mut [f32],
    c_stride: usize,
    (m, n): (usize, usize),
    start: Start,
    term: Term,
) {
    check_shapes((m, n), start, &[term]);
    if m == 0 || n == 0 {
        return;
    }
    assert!(n <= c_stride && (m - 1) * c_stride + n <= c.len(), "C [{m}, {n}] at stride {c_stride} of {}", c.len());
    let tile = Tile { c: c.as_mut_ptr(), c_stride, rows: 0..m, cols: 0..n };
    // SAFETY: the tile lies inside C by the assertion, and C is borrowed.
    SCRATCH.with_borrow_mut(|scratch| unsafe { compute_tile(kernels, scratch, &tile, start, &[term]) });
}

fn check_shapes((m, n): (usize, usize), start: Start, terms: &[Term]) {
    for term in terms {
        assert_eq!((term.left.lanes(), term.right.lanes()), (m, n), "factors of a product [{m}, {n}]");
    }
    if let Start::Bias(bias) = start {
        assert_eq!(bias.len(), n, "bias of a product [{m}, {n}]");
    }
}

/// Rows and columns of a task: full tiles, or smaller ones until every thread has about four tasks.
fn tile_size(kernels: &Kernels, (m, n): (usize, usize), work: usize, threads: usize) -> (usize, usize) {
    if work <= SERIAL_WORK {
        return (m, n);
    }
    let even = |len: usize, most: usize, unit: usize| len.div_ceil(len.div_ceil(most)).next_multiple_of(unit);
    let (mut rows, mut cols) = (even(m, MC, kernels.mr), even(n, NC, kernels.nr));
    if threads == 1 {
        return (rows, cols);
    }
    let wanted = 4 * threads;
    // Narrower tiles first while they stay wide enough to pay for packing the left factor, then lower ones, then
    // narrower again.
    for (least_cols, least_rows) in [(128, MC), (128, 8 * kernels.mr), (kernels.nr, 8 * kernels.mr)] {
        let row_tiles = m.div_ceil(rows);
        if row_tiles * n.div_ceil(cols) < wanted {
            let most = n.div_ceil(wanted.div_ceil(row_tiles)).max(least_cols).min(cols);
            cols = even(n, most, kernels.nr);
        }
        let col_tiles = n.div_ceil(cols);
        if m.div_ceil(rows) * col_tiles < wanted {
            let most = m.div_ceil(wanted.div_ceil(col_tiles)).max(least_rows).min(rows);
            rows = even(m, most, kernels.mr);
        }
    }
    (rows, cols)
}

/// A part of C.
struct Tile {
    /// The first element of the part.
    c: *mut f32,
    c_stride: usize,
    rows: Range<usize>,
    cols: Range<usize>,
}

/// `range` in pieces of `step`.
fn pieces(range: Range<usize>, step: usize) -> impl Iterator<Item = Range<usize>> + Clone {
    let end = range.end;
    range.step_by(step).map(move |start| start..end.min(start + step))
}

/// # Safety
/// The tile must be writable, and nobody else's; the terms must cover its rows and columns.
unsafe fn compute_tile(kernels: &Kernels, scratch: &mut Scratch, tile: &Tile, start: Start, terms: &[Term]) {
    let mut add = match start {
        Start::Zero => false,
        Start::Present => true,
        Start::Bias(bias) => {
            for row in 0..tile.rows.len() {
                // SAFETY: row by row inside the tile.
                unsafe { tile_row(tile, row) }.copy_from_slice(&bias[tile.cols.clone()]);
            }
            true
        }
    };
    for term in terms {
        // SAFETY: as for this function.
        unsafe { add_term(kernels, scratch, tile, term, add) };
        add |= term.left.k() > 0;
    }
    if !add {
        for row in 0..tile.rows.len() {
            // SAFETY: row by row inside the tile.
            unsafe { tile_row(tile, row) }.fill(0.0);
        }
    }
}

/// # Safety
/// As [`compute_tile`]; no other slice of the row may be alive as long as this one.
unsafe fn tile_row<'c>(tile: &Tile, row: usize) -> &'c mut [f32] {
    // SAFETY: by the caller's promise.
    unsafe { std::slice::from_raw_parts_mut(tile.c.add(row * tile.c_stride), tile.cols.len()) }
}

/// # Safety
/// As [`compute_tile`].
unsafe fn add_term(kernels: &Kernels, scratch: &mut Scratch, tile: &Tile, term: &Term, add: bool) {
    let rows = tile.rows.len();
    // Panels of even height: 16 rows as 8 + 8 keep more sums in flight than 14 + 2.
    let panel_rows = rows.div_ceil(rows.div_ceil(kernels.mr));
    let row_panels = pieces(0..rows, panel_rows);
    let slab_k = match term.right.layout() {
        Layout::LanesMajor => (SLAB_VALUES / rows / KC).max(1) * KC,
        // Rows of this factor lie in as many pages: stay in these while the panels go along them.
        Layout::KMajor => KC,
    };
    for slab in pieces(0..term.left.k(), slab_k) {
        let left = scratch.left.get(rows * slab.len());
        let mut offset = 0;
        for k in pieces(slab.clone(), KC) {
            for panel in row_panels.clone() {
                let values = panel.len() * k.len();
                let lanes = tile.rows.start + panel.start..tile.rows.start + panel.end;
                let target = &mut left[offset..offset + values];
                term.left.pack(kernels.pack, (lanes, panel.len()), k.clone(), None, target);
                offset += values;
            }
        }
        for cols in pieces(tile.cols.clone(), kernels.nr) {
            let width = cols.len().next_multiple_of(kernels.lanes);
            for k in pieces(slab.clone(), KC) {
                let right = scratch.right.get(width * k.len());
                let next = match k.end < slab.end {
                    true => Some((cols.start, k.end)),
                    false => (cols.end < tile.cols.end).then_some((cols.end, slab.start)),
                };
                let direct = direct_for(kernels, rows, cols.len(), term);
                if direct.is_none() {
                    term.right.pack(kernels.pack, (cols.clone(), width), k.clone(), next, right);
                }
                let block = &left[rows * (k.start - slab.start)..][..rows * k.len()];
                for panel in row_panels.clone() {
                    let args = TileArgs {
                        k: k.len(),
                        a: block[panel.start * k.len()..].as_ptr(),
                        b: right.as_ptr(),
                        // SAFETY: the panel's rows and these columns lie inside the tile.
                        c: unsafe { tile.c.add(panel.start * tile.c_stride + cols.start - tile.cols.start) },
                        c_stride: tile.c_stride,
                        cols: cols.len(),
                        alpha: term.alpha,
                        add: add || k.start > 0,
                    };
                    // SAFETY: the panels were packed above with these very sizes, and the C tile is the caller's.
                    unsafe {
                        match (direct, term.mask) {
                            (Some(direct), _) => {
                                let source = term.right.source(cols.clone(), k.clone(), next);
                                direct(panel.len(), &args, &source);
                            }
                            (None, None) => (kernels.tile)(panel.len(), &args),
                            (None, Some(mask)) => {
                                let origin = (tile.rows.start + panel.start, cols.start);
                                masked_tile(kernels, panel.len(), &args, mask, origin);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The kernel that does without a right panel, where it applies.
fn direct_for(kernels: &Kernels, rows: usize, cols: usize, term: &Term) -> Option<DirectFn> {
    let plain = term.mask.is_none() && !term.right.is_masked() && term.right.layout() == Layout::LanesMajor;
    kernels.direct.filter(|direct| plain && rows <= direct.most_rows && cols == kernels.nr).map(|direct| direct.tile)
}

/// A micro-tile whose elements are multiplied by a mask before they reach C. `origin` is the tile's place in C.
///
/// # Safety
/// As [`TileFn`].
unsafe fn masked_tile(kernels: &Kernels, rows: usize, args: &TileArgs, mask: Mask, origin: (usize, usize)) {
    let mut values = [0.0f32; MAX_TILE];
    let aside = TileArgs { c: values.as_mut_ptr(), c_stride: args.cols, add: false, ..*args };
    // SAFETY: the panels are the caller's; the array holds the largest tile there is.
    unsafe { (kernels.tile)(rows, &aside) };
    let keep = mask.keep();
    for (row, values) in values.chunks_exact(args.cols).take(rows).enumerate() {
        let row_hash = mask.row_hash(origin.0 + row);
        // SAFETY: row by row inside the caller's tile.
        let c = unsafe { std::slice::from_raw_parts_mut(args.c.add(row * args.c_stride), args.cols) };
        for (col, (c, value)) in c.iter_mut().zip(values).enumerate() {
            let value = value * mask.factor(row_hash, origin.1 + col, keep);
            *c = if args.add { *c + value } else { value };
        }
    }
}
