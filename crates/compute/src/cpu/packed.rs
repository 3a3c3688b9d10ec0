//! Frozen weights that are kept packed: a second copy of them, made once, in the form that the micro-kernels read.
//!
//! Packing a right panel costs about as much as 8 rows of multiply-adds on it where these are fast, and it waits for
//! memory: the rows of a panel lie kilobytes apart. Kept panels are read from end to end. They cost the bytes of the
//! weight once more for each direction in which it is read (`x W^T`, `dy W`), and twice that where 16-bit weights are
//! multiplied in `f32`; so what is kept is the caller's choice ([`crate::Backend::keep_packed`]).
//!
//! The panels hold the very steps that packing for a product would make, so no bit of a result depends on them.
#![allow(unsafe_code)]

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;

use super::gemm::{Kernels, TILE_COLS, pack_right, pieces, right_len};
use super::pack::{Layout, Operand};
use super::workers::{DisjointMut, Workers};
use crate::backend::WeightProduct;
use crate::pool::Block;
use crate::weight::Weight;

/// The panels of a right factor `[n, k]`: cut by cut, and inside a cut panel by panel.
pub(super) struct PackedRight {
    kernels: &'static Kernels,
    lanes: usize,
    k: usize,
    /// Steps of all panels.
    len: usize,
    block: Block,
}

/// Steps of the panels of all cuts before the one that begins at `k`; of all panels where `k` is the end.
fn steps_before(kernels: &Kernels, lanes: usize, k: usize) -> usize {
    pieces(0..k, kernels.cut()).map(|cut| right_len(kernels, &cut, lanes)).sum()
}

impl PackedRight {
    fn new(workers: &Workers, kernels: &'static Kernels, factor: &Operand) -> Self {
        let (lanes, k) = (factor.lanes(), factor.k());
        let len = steps_before(kernels, lanes, k);
        let block = Block::new(len * size_of::<u32>());
        // SAFETY: the block is fresh, large enough, aligned and initialised, and nobody else has it.
        let values = unsafe { std::slice::from_raw_parts_mut(block.as_ptr().cast::<u32>(), len) };
        let values = DisjointMut::new(values);
        workers.for_ranges(lanes, TILE_COLS.next_multiple_of(kernels.nr), |cols| {
            for cut in pieces(0..k, kernels.cut()) {
                let start = steps_before(kernels, lanes, cut.start) + cols.start * kernels.right.steps(cut.len());
                // SAFETY: the ranges of columns do not overlap, and their panels lie in their order.
                let target = unsafe { values.slice(start..start + right_len(kernels, &cut, cols.len())) };
                pack_right(kernels, factor, &cols, &cut, target);
            }
        });
        Self { kernels, lanes, k, len, block }
    }

    /// Whether a product with these kernels reads such panels.
    pub(super) fn is_for(&self, kernels: &Kernels) -> bool {
        std::ptr::eq(self.kernels, kernels)
    }

    pub(super) fn assert_covers(&self, lanes: usize, k: usize) {
        assert_eq!((self.lanes, self.k), (lanes, k), "panels that are kept of a factor of {lanes} lanes x {k}");
    }

    /// The panels of some columns in a cut; the first column must be that of a panel.
    pub(super) fn panels(&self, cut: &Range<usize>, cols: &Range<usize>) -> &[u32] {
        let kernels = self.kernels;
        assert!(
            cols.start.is_multiple_of(kernels.nr) && cols.end <= self.lanes,
            "panels of {cols:?} of {}",
            self.lanes
        );
        // Cuts before a cut are full.
        let whole = right_len(kernels, &(0..kernels.cut()), self.lanes);
        let start = cut.start / kernels.cut() * whole + cols.start * kernels.right.steps(cut.len());
        // SAFETY: `new` made the block of this length and filled it.
        let values = unsafe { std::slice::from_raw_parts(self.block.as_ptr().cast::<u32>(), self.len) };
        &values[start..start + right_len(kernels, cut, cols.len())]
    }
}

/// The weights that are kept packed.
#[derive(Default)]
pub(super) struct PackedWeights {
    by_place: HashMap<(usize, usize, WeightProduct), Kept>,
}

struct Kept {
    panels: PackedRight,
    /// Holds on to the memory, whose address is the key.
    weight: Weight,
}

impl fmt::Debug for PackedWeights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.by_place.iter().map(|((.., product), kept)| (&kept.weight, product))).finish()
    }
}

/// Which index of the weight runs along its rows in memory, for that product.
fn layout_for(product: WeightProduct) -> Layout {
    match product {
        WeightProduct::Forward => Layout::LanesMajor,
        WeightProduct::Backward => Layout::KMajor,
    }
}

/// Where a weight lies: its first byte and its length. Two weights in the same place are the same.
fn place(weight: &Weight) -> (usize, usize) {
    (weight.bytes().as_ptr() as usize, weight.bytes().len())
}

impl PackedWeights {
    pub(super) fn keep(
        &mut self,
        workers: &Workers,
        kernels: &'static Kernels,
        weight: &Weight,
        product: WeightProduct,
    ) {
        let (start, len) = place(weight);
        if len > 0 && self.find(weight, product).is_none() {
            let panels = PackedRight::new(workers, kernels, &Operand::weight(weight, layout_for(product)));
            self.by_place.insert((start, len, product), Kept { panels, weight: weight.clone() });
        }
    }

    fn find(&self, weight: &Weight, product: WeightProduct) -> Option<&PackedRight> {
        let (start, len) = place(weight);
        let kept = self.by_place.get(&(start, len, product))?;
        let shape = |weight: &Weight| (weight.dtype(), weight.rows(), weight.cols(), weight.interleaved());
        (shape(&kept.weight) == shape(weight)).then_some(&kept.panels)
    }

    /// The weight as the right factor of a product, with its panels if they are kept.
    pub(super) fn factor<'a>(&'a self, weight: &'a Weight, product: WeightProduct) -> Operand<'a> {
        let factor = Operand::weight(weight, layout_for(product));
        match self.by_place.is_empty() {
            true => factor,
            false => factor.with_packed(self.find(weight, product)),
        }
    }
}

/// Bytes of the panels of a weight `[rows, cols]`.
pub(super) fn packed_bytes(kernels: &Kernels, (rows, cols): (usize, usize), product: WeightProduct) -> usize {
    let (lanes, k) = match product {
        WeightProduct::Forward => (rows, cols),
        WeightProduct::Backward => (cols, rows),
    };
    steps_before(kernels, lanes, k) * size_of::<u32>()
}
