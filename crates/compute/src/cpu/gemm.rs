//! One driver for every matrix product: packed panels, a micro-kernel, fixed sums.
//!
//! `C[m, n] = start + sum over the terms of alpha * L R`. Products that belong together run as one set of tasks. The left
//! factor is packed once, by all threads ([`PackedLeft`]); a task owns a tile of C, packs the right panels of one cut of
//! k after the other, and lets the micro-kernel of the instruction set run over both:
//!
//! ```text
//! for each cut of k                            about 256 steps
//!   pack the right panels of the tile          256 KiB: half of what the second-level cache may hold; a frozen weight
//!                                              that is kept packed ([`super::packed`]) has them already
//!   for each block of left panels              256 KiB: the other half
//!     for each right panel                     32 KiB: the first-level cache
//!       for each left panel of the block       the micro-kernel: C stays in registers for the whole cut
//! ```
//!
//! # Order of the sums
//! The sum dimension is cut at multiples of [`Kernels::cut`] from its beginning, always. Inside a cut an element is one
//! chain in ascending k that starts at zero; the cuts are added to C in ascending order, and so are the terms. Neither
//! the tile, nor the panel, nor the number of threads enters; so the bits of a row depend neither on the number of
//! threads nor on how many other rows there are. Cutting also keeps long sums accurate: rounding grows with
//! `cut + k / cut`, not with k.
#![allow(unsafe_code)]

use std::cell::RefCell;
use std::ops::Range;

use super::convert::round_to_bf16;
use super::isa::VerifiedIsa;
use super::pack::{Layout, Mask, Operand, PackArgs, Packer};
use super::stage::{Decoder, pack_staged, with_block_rows, with_staged_rows};
use super::workers::{AlignedBuffer, DisjointMut, Workers};
use crate::blocks::BlockMatrix;
use crate::pool::Block;
use crate::tensor::ValuesMut;
use crate::weight::Weight;

/// Steps of a cut. A right panel of 256 steps x 32 columns is 32 KiB: about the first-level cache, where the micro-kernel
/// reads it once per left panel; loading and storing a C tile costs about 1 % of the steps between.
const CUT_STEPS: usize = 256;

/// Columns of a tile: its right panels take 256 x 256 x 4 bytes = 256 KiB a cut. A left block comes from the third level
/// once per 256 columns of multiply-adds, which hide that many times over.
pub(super) const TILE_COLS: usize = 256;

/// Rows of a tile: packing a right panel costs about as much as 8 rows of multiply-adds on it (in `bf16`, where the
/// products are fastest), below 1 % here; and the `f32` sums of a `bf16` tile take 2 MiB of scratch.
const TILE_ROWS: usize = 2048;

/// Steps x rows of a left block: 256 KiB.
const BLOCK_STEPS: usize = 64 << 10;

/// Multiply-adds below which a product stays on one thread: about 10 microseconds, as long as it takes to wake another.
const SERIAL_WORK: usize = 1 << 19;

/// The largest tile of any micro-kernel.
const MAX_TILE: usize = 32 * 32;

/// The micro-kernels of one instruction set and arithmetic.
pub(super) struct Kernels {
    /// Most rows of a left panel.
    pub(super) mr: usize,
    /// Left panels are padded with zeros to a multiple of this many rows.
    pub(super) row_unit: usize,
    /// Most columns of a right panel.
    pub(super) nr: usize,
    /// Right panels are padded with zeros to a multiple of this many columns.
    pub(super) lanes: usize,
    pub(super) tile: TileFn,
    pub(super) left: Packer,
    pub(super) right: Packer,
    /// For weights in blocks.
    pub(super) decoder: &'static Decoder,
    /// For weights in blocks whose rows are the lanes, if there is one: without a plain form in between.
    pub(super) blocks: Option<BlockKernels>,
    /// For few rows, if there is one: packs and multiplies in registers.
    pub(super) direct: Option<Direct>,
    pub(super) session: Session,
}

impl Kernels {
    /// Elements of k between two cuts.
    pub(super) fn cut(&self) -> usize {
        CUT_STEPS * self.right.arithmetic.k_per_step()
    }
}

/// Rows of a weight in blocks that a right panel is made of.
pub(super) struct BlockRows<'a> {
    pub(super) matrix: &'a BlockMatrix<'a>,
    /// Where the panel's lanes are stored; one at least.
    pub(super) rows: &'a [usize],
    /// Groups of 32 values of k.
    pub(super) groups: Range<usize>,
    /// Lanes of the panel; those without a row may hold anything.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "no such kernel there"))]
    pub(super) width: usize,
    /// Distance in bytes from a row's part to the one that is read after it, 0 for none: for prefetching.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "no such kernel there"))]
    pub(super) ahead: isize,
}

/// What reads blocks where they lie.
#[derive(Clone, Copy)]
pub(super) struct BlockKernels {
    pub(super) pack: PackBlocksFn,
    /// For few rows of the left factor, and how many: packs and multiplies in registers.
    pub(super) direct: Option<(usize, BlockProductFn)>,
}

/// As [`TileFn`], with such rows in place of a right panel, `nr` of them. # Safety: as of [`TileFn`] and
/// [`PackBlocksFn`]; the panel is not read.
pub(super) type BlockProductFn = unsafe fn(usize, &TileArgs, &BlockRows);

/// Fills a right panel with what decoding and packing would make of it. # Safety: rows and groups are inside of the
/// matrix, the panel holds `width` times the steps of the groups, and the machine has the kernel's instructions.
pub(super) type PackBlocksFn = unsafe fn(&BlockRows, *mut u32);

/// What a thread does before and after it uses the micro-kernels of a set.
#[derive(Clone, Copy)]
pub(super) struct Session {
    pub(super) begin: fn(),
    pub(super) end: fn(),
}

impl Session {
    pub(super) const NONE: Self = Self { begin: || (), end: || () };

    fn open(self) -> OpenSession {
        (self.begin)();
        OpenSession(self)
    }
}

struct OpenSession(Session);

impl Drop for OpenSession {
    fn drop(&mut self) {
        (self.0.end)();
    }
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

/// What a micro-kernel is told: `C[rows, cols] = alpha * A B (+ C)`.
pub(super) struct TileArgs {
    /// Steps of both panels.
    pub(super) steps: usize,
    /// Left panel.
    pub(super) a: *const u32,
    /// Right panel, padded with zero columns to a multiple of the kernel's lanes.
    pub(super) b: *const u32,
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

/// What C holds before the first term: the sum of what is there, zero when nothing is.
#[derive(Clone, Copy, Default)]
pub(super) struct Start<'a> {
    /// This row, `[n]`, in every row.
    pub(super) bias: Option<&'a [f32]>,
    /// `[m, n]`.
    pub(super) residual: Option<&'a [f32]>,
    /// Its present value; C is `f32` then, and nothing else is there.
    pub(super) present: bool,
}

impl Start<'_> {
    pub(super) const ZERO: Self = Self { bias: None, residual: None, present: false };
    pub(super) const PRESENT: Self = Self { bias: None, residual: None, present: true };
}

/// How the panels of a left factor follow each other: cut by cut, and inside a cut panel by panel.
#[derive(Clone, Copy)]
struct LeftLayout {
    rows: usize,
    k: usize,
    /// Rows of every panel but the last, which may have fewer.
    panel_rows: usize,
}

impl LeftLayout {
    /// Panels of even height: 16 rows as 8 + 8 keep more sums in flight than 14 + 2.
    fn new(kernels: &Kernels, rows: usize, k: usize) -> Self {
        let panels = rows.div_ceil(kernels.mr).max(1);
        Self { rows, k, panel_rows: rows.div_ceil(panels).next_multiple_of(kernels.row_unit).max(1) }
    }

    fn panels(&self) -> usize {
        self.rows.div_ceil(self.panel_rows)
    }

    fn rows_of(&self, panel: usize) -> Range<usize> {
        panel * self.panel_rows..self.rows.min((panel + 1) * self.panel_rows)
    }

    /// Rows of all panels with their padding.
    fn height(&self, kernels: &Kernels) -> usize {
        self.rows.next_multiple_of(kernels.row_unit)
    }

    /// Where the panel of a cut begins, and its length.
    fn place(&self, kernels: &Kernels, k: &Range<usize>, panel: usize) -> Range<usize> {
        let steps = kernels.left.steps(k.len());
        // Every cut but the last is full, so those before are whole steps.
        let before = kernels.left.steps(kernels.cut()) * (k.start / kernels.cut()) * self.height(kernels);
        let rows = self.rows_of(panel);
        let start = before + rows.start * steps;
        start..start + rows.len().next_multiple_of(kernels.row_unit) * steps
    }

    /// Steps of all panels together.
    fn len(&self, kernels: &Kernels) -> usize {
        let (whole, rest) = (self.k / kernels.cut(), self.k % kernels.cut());
        let steps = whole * kernels.left.steps(kernels.cut()) + kernels.left.steps(rest);
        steps * self.height(kernels)
    }

    fn cuts(&self, kernels: &Kernels) -> impl Iterator<Item = Range<usize>> + Clone + use<> {
        pieces(0..self.k, kernels.cut())
    }

    /// Packs some panels of the factor into `values`, which holds all of them.
    ///
    /// # Safety
    /// Nobody else may use those panels' places meanwhile.
    unsafe fn pack(&self, kernels: &Kernels, factor: &Operand, panels: Range<usize>, values: &DisjointMut<u32>) {
        for k in self.cuts(kernels) {
            for panel in panels.clone() {
                let place = self.place(kernels, &k, panel);
                let width = place.len() / kernels.left.steps(k.len());
                // SAFETY: panels have places of their own; the rest is the caller's promise.
                let target = unsafe { values.slice(place) };
                factor.pack(&kernels.left, (self.rows_of(panel), width), k.clone(), None, target);
            }
        }
    }
}

/// A left factor `[m, k]`, packed: it serves every product that reads it.
pub(super) struct PackedLeft {
    layout: LeftLayout,
    block: Block,
    /// Factor that a mask leaves to the product.
    keep: f32,
}

impl PackedLeft {
    pub(super) fn new(workers: &Workers, kernels: &Kernels, factor: &Operand) -> Self {
        let layout = LeftLayout::new(kernels, factor.lanes(), factor.k());
        let len = layout.len(kernels);
        let block = Block::new(len * size_of::<u32>());
        // SAFETY: the block is fresh, large enough, aligned and initialised, and nobody else has it.
        let values = unsafe { std::slice::from_raw_parts_mut(block.as_ptr().cast::<u32>(), len) };
        let values = DisjointMut::new(values);
        let panels = layout.panels();
        let chunk = match len * 8 <= SERIAL_WORK || workers.threads() == 1 {
            true => panels,
            false => panels.div_ceil(4 * workers.threads()),
        };
        workers.for_ranges(panels, chunk, |panels| {
            // SAFETY: the ranges do not overlap.
            unsafe { layout.pack(kernels, factor, panels, &values) };
        });
        Self { layout, block, keep: factor.keep() }
    }

    fn view(&self, kernels: &Kernels) -> Left<'_> {
        let len = self.layout.len(kernels);
        // SAFETY: `new` made the block of this length.
        let values = unsafe { std::slice::from_raw_parts(self.block.as_ptr().cast::<u32>(), len) };
        Left { layout: self.layout, values }
    }
}

#[derive(Clone, Copy)]
struct Left<'a> {
    layout: LeftLayout,
    values: &'a [u32],
}

/// One product of a sum of products.
#[derive(Clone, Copy)]
pub(super) struct Term<'a> {
    /// `[m, k]`.
    left: &'a PackedLeft,
    /// `[n, k]` (lanes are the columns of C).
    right: Operand<'a>,
    alpha: f32,
    /// Mask on the elements of this term, at their places in C.
    mask: Option<Mask<'a>>,
}

impl<'a> Term<'a> {
    pub(super) fn new(left: &'a PackedLeft, right: Operand<'a>) -> Self {
        assert_eq!(left.layout.k, right.k(), "sum dimension of a product");
        Self { left, right, alpha: left.keep * right.keep(), mask: None }
    }

    pub(super) fn scaled(self, alpha: f32) -> Self {
        Self { alpha: self.alpha * alpha, ..self }
    }

    pub(super) fn masked(self, mask: Option<Mask<'a>>) -> Self {
        Self { mask, alpha: self.alpha * mask.map_or(1.0, |mask| mask.keep()), ..self }
    }
}

/// `C = start + sum of the terms`.
pub(super) struct Product<'a> {
    /// `[m, n]`, contiguous.
    pub(super) c: ValuesMut<'a>,
    pub(super) n: usize,
    pub(super) start: Start<'a>,
    pub(super) terms: Vec<Term<'a>>,
}

/// Packed panels and sums of the thread's present task.
#[derive(Default)]
struct Scratch {
    left: AlignedBuffer<u32>,
    right: AlignedBuffer<u32>,
    sums: AlignedBuffer<f32>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = const {
        RefCell::new(Scratch { left: AlignedBuffer::new(), right: AlignedBuffer::new(), sums: AlignedBuffer::new() })
    };
}

/// Computes products of `m` rows on all threads.
pub(super) fn multiply(workers: &Workers, isa: VerifiedIsa, kernels: &Kernels, m: usize, mut products: Vec<Product>) {
    let work = products.iter().map(|product| product.check(m)).sum();
    if m == 0 {
        return;
    }
    let panel_rows = LeftLayout::new(kernels, m, 0).panel_rows;
    let (rows, cols) = tile_size(kernels, (m, panel_rows), &products, work, workers.threads());
    let shared: Vec<SharedProduct> = products.iter_mut().map(SharedProduct::new).collect();
    // Tiles that share columns follow each other: the weights they read are still in cache.
    let tiles: Vec<(usize, Range<usize>, Range<usize>)> = (0..shared.len())
        .flat_map(|product| pieces(0..shared[product].n, cols).map(move |cols| (product, cols)))
        .flat_map(|(product, cols)| pieces(0..m, rows).map(move |rows| (product, cols.clone(), rows)))
        .collect();
    workers.for_each(tiles.len(), |task| {
        let (product, cols, rows) = &tiles[task];
        // SAFETY: tiles of a product do not overlap, and this function holds the borrow of every C.
        SCRATCH.with_borrow_mut(|scratch| unsafe {
            shared[*product].compute_tile(isa, kernels, scratch, rows.clone(), cols.clone());
        });
    });
}

/// `C (+)= alpha * L R` on this thread, for ops that cut their work themselves. Row i of C begins at `i * c_stride`.
pub(super) fn multiply_here(
    kernels: &Kernels,
    (c, c_stride): (&mut [f32], usize),
    (m, n): (usize, usize),
    add: bool,
    (left, right, alpha): (Operand, Operand, f32),
) {
    assert_eq!((left.lanes(), right.lanes()), (m, n), "factors of a product [{m}, {n}]");
    assert_eq!(left.k(), right.k(), "sum dimension of a product");
    if m == 0 || n == 0 {
        return;
    }
    assert!(n <= c_stride && (m - 1) * c_stride + n <= c.len(), "C [{m}, {n}] at stride {c_stride} of {}", c.len());
    if left.k() == 0 {
        if !add {
            (0..m).for_each(|row| c[row * c_stride..row * c_stride + n].fill(0.0));
        }
        return;
    }
    SCRATCH.with_borrow_mut(|Scratch { left: panels, right: right_panels, .. }| {
        let _session = kernels.session.open();
        let layout = LeftLayout::new(kernels, m, left.k());
        let values = panels.get(layout.len(kernels));
        // SAFETY: the buffer is this thread's.
        unsafe { layout.pack(kernels, &left, 0..layout.panels(), &DisjointMut::new(&mut *values)) };
        let sums = Sums { c: c.as_mut_ptr(), stride: c_stride, rows: 0..m, cols: 0..n };
        let left = Left { layout, values };
        // SAFETY: the sums lie inside C by the assertion, and C is borrowed.
        unsafe { add_term(kernels, right_panels, &sums, left, (&right, alpha, None), add) };
    });
}

impl Product<'_> {
    /// Multiply-adds of the product.
    fn check(&self, m: usize) -> usize {
        let n = self.n;
        let len = match &self.c {
            ValuesMut::F32(c) => c.len(),
            ValuesMut::Bf16(c) => c.len(),
        };
        assert_eq!(len, m * n, "C of a product [{m}, {n}]");
        assert!(self.start.bias.is_none_or(|bias| bias.len() == n), "bias of a product [{m}, {n}]");
        assert!(self.start.residual.is_none_or(|residual| residual.len() == m * n), "residual of [{m}, {n}]");
        for term in &self.terms {
            assert_eq!((term.left.layout.rows, term.right.lanes()), (m, n), "factors of a product [{m}, {n}]");
        }
        self.terms.iter().map(|term| m * n * term.right.k()).sum()
    }
}

/// Rows and columns of a task: full tiles, or smaller ones until every thread has about four tasks.
fn tile_size(
    kernels: &Kernels,
    (m, panel_rows): (usize, usize),
    products: &[Product],
    work: usize,
    threads: usize,
) -> (usize, usize) {
    let widest = products.iter().map(|product| product.n).max().unwrap_or(0).max(1);
    if work <= SERIAL_WORK {
        return (m, widest);
    }
    let even = |len: usize, most: usize, unit: usize| len.div_ceil(len.div_ceil(most)).next_multiple_of(unit);
    let mut rows = even(m, TILE_ROWS, panel_rows);
    let mut cols = TILE_COLS;
    let wanted = if threads == 1 { 1 } else { 4 * threads };
    let tasks = |rows: usize, cols: usize| -> usize {
        products.iter().map(|product| product.n.div_ceil(cols)).sum::<usize>() * m.div_ceil(rows)
    };
    // Narrower tiles cost reading the left factor again, lower ones packing the right factor again.
    for (least_cols, least_rows) in [(4 * kernels.nr, TILE_ROWS), (4 * kernels.nr, 512), (kernels.nr, 64)] {
        while tasks(rows, cols) < wanted && cols / 2 >= least_cols {
            cols /= 2;
        }
        while tasks(rows, cols) < wanted && rows / 2 >= least_rows {
            rows = even(m, rows / 2, panel_rows);
        }
    }
    (rows, cols.next_multiple_of(kernels.nr))
}

/// `range` in pieces of `step`.
pub(super) fn pieces(range: Range<usize>, step: usize) -> impl Iterator<Item = Range<usize>> + Clone + use<> {
    let end = range.end;
    range.step_by(step).map(move |start| start..end.min(start + step))
}

enum SharedC<'a> {
    F32(DisjointMut<'a, f32>),
    Bf16(DisjointMut<'a, half::bf16>),
}

/// A product whose C several tasks write.
struct SharedProduct<'a> {
    c: SharedC<'a>,
    n: usize,
    start: Start<'a>,
    terms: &'a [Term<'a>],
}

/// Where the `f32` sums of a tile are: in C itself, or in scratch.
struct Sums {
    /// The first element of the tile.
    c: *mut f32,
    stride: usize,
    rows: Range<usize>,
    cols: Range<usize>,
}

impl Sums {
    /// What a micro-kernel is told for a left panel and some columns, with the right panel left open.
    #[expect(clippy::too_many_arguments, reason = "the six coordinates of a micro-tile")]
    fn tile(
        &self,
        kernels: &Kernels,
        left: Left,
        panel: usize,
        cols: &Range<usize>,
        k: &Range<usize>,
        alpha: f32,
        add: bool,
    ) -> TileArgs {
        let row = left.layout.rows_of(panel).start - self.rows.start;
        TileArgs {
            steps: kernels.left.steps(k.len()),
            a: left.values[left.layout.place(kernels, k, panel)].as_ptr(),
            b: std::ptr::null(),
            // Inside the tile, so the address does not wrap.
            c: self.c.wrapping_add(row * self.stride + cols.start - self.cols.start),
            c_stride: self.stride,
            cols: cols.len(),
            alpha,
            add: add || k.start > 0,
        }
    }

    /// # Safety
    /// The tile must be writable and nobody else's; no other slice of the row may be alive as long as this one.
    unsafe fn row<'c>(&self, row: usize) -> &'c mut [f32] {
        // SAFETY: by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.c.add(row * self.stride), self.cols.len()) }
    }
}

impl<'a> SharedProduct<'a> {
    fn new(product: &'a mut Product<'_>) -> Self {
        let Product { c, n, start, terms } = product;
        let c = match c {
            ValuesMut::F32(c) => SharedC::F32(DisjointMut::new(c)),
            ValuesMut::Bf16(c) => SharedC::Bf16(DisjointMut::new(c)),
        };
        Self { c, n: *n, start: *start, terms }
    }

    /// # Safety
    /// No other task may have a tile that overlaps.
    unsafe fn compute_tile(
        &self,
        isa: VerifiedIsa,
        kernels: &Kernels,
        scratch: &mut Scratch,
        rows: Range<usize>,
        cols: Range<usize>,
    ) {
        let _session = kernels.session.open();
        let first = rows.start * self.n + cols.start;
        let sums = match &self.c {
            SharedC::F32(c) => Sums { c: c.pointer(first), stride: self.n, rows: rows.clone(), cols: cols.clone() },
            SharedC::Bf16(_) => {
                let c = scratch.sums.get(rows.len() * cols.len()).as_mut_ptr();
                Sums { c, stride: cols.len(), rows: rows.clone(), cols: cols.clone() }
            }
        };
        // SAFETY: the sums are scratch of this thread or the tile itself, which is ours by the caller's promise.
        unsafe {
            let mut add = self.begin(&sums);
            for term in self.terms.iter().filter(|term| term.right.k() > 0) {
                let left = term.left.view(kernels);
                add_term(kernels, &mut scratch.right, &sums, left, (&term.right, term.alpha, term.mask), add);
                add = true;
            }
            if !add {
                (0..rows.len()).for_each(|row| sums.row(row).fill(0.0));
            }
            if let SharedC::Bf16(c) = &self.c {
                for (at, row) in rows.enumerate() {
                    let target = c.slice(row * self.n + cols.start..row * self.n + cols.end);
                    round_to_bf16(isa, sums.row(at), target);
                }
            }
        }
    }

    /// Puts into the sums what they start with; says whether there is anything.
    ///
    /// # Safety
    /// The sums must be writable and nobody else's.
    unsafe fn begin(&self, sums: &Sums) -> bool {
        let Start { bias, residual, present } = self.start;
        if bias.is_none() && residual.is_none() {
            return present;
        }
        for (at, row) in sums.rows.clone().enumerate() {
            // SAFETY: row by row, by the caller's promise.
            let target = unsafe { sums.row(at) };
            match residual {
                Some(residual) => {
                    target.copy_from_slice(&residual[row * self.n..][sums.cols.clone()]);
                    if let Some(bias) = bias {
                        target.iter_mut().zip(&bias[sums.cols.clone()]).for_each(|(sum, bias)| *sum += bias);
                    }
                }
                None => target.copy_from_slice(&bias.unwrap_or_default()[sums.cols.clone()]),
            }
        }
        true
    }
}

/// Adds `alpha * L R` to the sums, or overwrites them with it.
///
/// # Safety
/// The sums must be writable and nobody else's; the factors must cover their rows and columns.
unsafe fn add_term(
    kernels: &Kernels,
    right_panels: &mut AlignedBuffer<u32>,
    sums: &Sums,
    left: Left,
    (right, alpha, mask): (&Operand, f32, Option<Mask>),
    add: bool,
) {
    let panels = sums.rows.start / left.layout.panel_rows..sums.rows.end.div_ceil(left.layout.panel_rows);
    // SAFETY: for both, the tile is the caller's and the factors cover it.
    let cols = unsafe { add_direct(kernels, sums, left, (right, alpha, mask), add) };
    // With one left panel a right panel is read once: in the first-level cache, where it was just made.
    let one_by_one = panels.len() == 1 && right.staged().is_some_and(Weight::is_blocks);
    let width = if one_by_one { kernels.nr } else { cols.len().max(1) };
    for cols in pieces(cols, width) {
        // SAFETY: as for the whole tile.
        unsafe { add_panels(kernels, right_panels, sums, left, (&panels, &cols), (right, alpha, mask), add) };
    }
}

/// As [`add_term`], for some left panels and columns.
///
/// # Safety
/// As there.
unsafe fn add_panels(
    kernels: &Kernels,
    right_panels: &mut AlignedBuffer<u32>,
    sums: &Sums,
    left: Left,
    (panels, cols): (&Range<usize>, &Range<usize>),
    (right, alpha, mask): (&Operand, f32, Option<Mask>),
    add: bool,
) {
    let col_panels = pieces(cols.clone(), kernels.nr);
    let kept = right.packed(kernels);
    for k in left.layout.cuts(kernels) {
        let steps = kernels.right.steps(k.len());
        let right_values = match kept {
            Some(kept) => kept.panels(&k, cols),
            None => {
                let values = right_panels.get(right_len(kernels, &k, cols.len()));
                pack_right(kernels, right, cols, &k, values);
                &*values
            }
        };
        // Panels before a panel are full.
        let first_of = |panel: &Range<usize>| (panel.start - cols.start) * steps;
        let block = (BLOCK_STEPS / (steps * left.layout.panel_rows)).max(1);
        for panels in pieces(panels.clone(), block) {
            for cols in col_panels.clone() {
                let b = right_values[first_of(&cols)..][..right_len(kernels, &k, cols.len())].as_ptr();
                for panel in panels.clone() {
                    let args = TileArgs { b, ..sums.tile(kernels, left, panel, &cols, &k, alpha, add) };
                    let rows = left.layout.rows_of(panel);
                    // SAFETY: the panels were packed with these very sizes, and the tile is the caller's.
                    unsafe {
                        match mask {
                            None => (kernels.tile)(rows.len(), &args),
                            Some(mask) => masked_tile(kernels, rows.len(), &args, mask, (rows.start, cols.start)),
                        }
                    }
                }
            }
        }
    }
}

/// Steps of the right panels of `cols` columns in a cut.
pub(super) fn right_len(kernels: &Kernels, k: &Range<usize>, cols: usize) -> usize {
    cols.next_multiple_of(kernels.lanes) * kernels.right.steps(k.len())
}

/// Packs the right panels of some columns in a cut, one after the other, into `values`, which holds just these. The
/// first column must be that of a panel.
pub(super) fn pack_right(
    kernels: &Kernels,
    right: &Operand,
    cols: &Range<usize>,
    k: &Range<usize>,
    mut values: &mut [u32],
) {
    if let Some(weight) = right.staged() {
        return pack_staged(kernels, (weight, right), cols, k, values);
    }
    for panel in pieces(cols.clone(), kernels.nr) {
        let next = match panel.end < cols.end {
            true => Some((panel.end, k.start)),
            false => (k.end < right.k()).then_some((cols.start, k.end)),
        };
        let width = panel.len().next_multiple_of(kernels.lanes);
        let (target, rest) = values.split_at_mut(right_len(kernels, k, panel.len()));
        right.pack(&kernels.right, (panel, width), k.clone(), next, target);
        values = rest;
    }
}

/// With few rows: adds what the kernel without right panels can do, and says which columns are left. It follows the
/// rows of the right factor to their end, as a product that waits for memory wants it.
///
/// # Safety
/// As [`add_term`].
unsafe fn add_direct(
    kernels: &Kernels,
    sums: &Sums,
    left: Left,
    (right, alpha, mask): (&Operand, f32, Option<Mask>),
    add: bool,
) -> Range<usize> {
    let plain = mask.is_none() && !right.is_masked() && right.layout() == Layout::LanesMajor;
    let rows = sums.rows.len();
    let panel = sums.rows.start / left.layout.panel_rows;
    let whole = sums.cols.start..sums.cols.end - sums.cols.len() % kernels.nr;
    if let (Some(blocks), Some(weight), true) =
        (kernels.blocks, right.staged().filter(|weight| weight.has_whole_blocks()), plain)
    {
        let Some((_, product)) = blocks.direct.filter(|&(most_rows, _)| rows <= most_rows) else {
            return sums.cols.clone();
        };
        for cols in pieces(whole.clone(), kernels.nr) {
            for k in left.layout.cuts(kernels) {
                let args = sums.tile(kernels, left, panel, &cols, &k, alpha, add);
                // SAFETY: few rows are one panel, packed with these sizes; the tile is the caller's.
                with_block_rows(kernels, weight, (&cols, &cols), &k, |part| unsafe { product(rows, &args, part) });
            }
        }
        return whole.end..sums.cols.end;
    }
    let Some(direct) = kernels.direct.filter(|direct| plain && rows <= direct.most_rows) else {
        return sums.cols.clone();
    };
    for cols in pieces(whole.clone(), kernels.nr) {
        for k in left.layout.cuts(kernels) {
            let next = match k.end < right.k() {
                true => Some((cols.start, k.end)),
                false => (cols.end < whole.end).then_some((cols.end, 0)),
            };
            let args = sums.tile(kernels, left, panel, &cols, &k, alpha, add);
            // SAFETY: few rows are one panel, packed with these sizes; the source was checked; the tile is the caller's.
            let multiply = |source: PackArgs| unsafe { (direct.tile)(rows, &args, &source) };
            match right.staged() {
                None => multiply(right.source(cols.clone(), k.clone(), next)),
                Some(weight) => with_staged_rows(kernels, weight, &cols, &k, |strip| {
                    multiply(strip.source(0..cols.len(), 0..k.len(), None));
                }),
            }
        }
    }
    whole.end..sums.cols.end
}

/// A micro-tile whose elements pass a mask before they reach C. `origin` is the tile's place in C; the factor of the
/// elements that are kept is in alpha.
///
/// # Safety
/// As [`TileFn`].
unsafe fn masked_tile(kernels: &Kernels, rows: usize, args: &TileArgs, mask: Mask, origin: (usize, usize)) {
    let mut values = [0.0f32; MAX_TILE];
    let aside = TileArgs { c: values.as_mut_ptr(), c_stride: args.cols, add: false, ..*args };
    // SAFETY: the panels are the caller's; the array holds the largest tile there is.
    unsafe { (kernels.tile)(rows, &aside) };
    for (row, values) in values.chunks_exact(args.cols).take(rows).enumerate() {
        let row_hash = mask.row_hash(origin.0 + row);
        // SAFETY: row by row inside the caller's tile.
        let c = unsafe { std::slice::from_raw_parts_mut(args.c.add(row * args.c_stride), args.cols) };
        for (col, (c, &value)) in c.iter_mut().zip(values).enumerate() {
            let value = if mask.drops(row_hash, origin.1 + col) { 0.0 } else { value };
            *c = if args.add { *c + value } else { value };
        }
    }
}
