//! Factors of a matrix product, and the panels that the micro-kernels read.
//!
//! A panel holds `width` lanes (rows of the left factor or columns of the right one) for a run of the sum dimension k.
//! Its elements are steps of 32 bits: one `f32`, or a pair of `bf16` with the lower k in the lower half
//! ([`Arithmetic`]). Packing converts on the way, so a frozen weight is widened panel by panel into cache and never as a
//! whole.
#![allow(unsafe_code)]

use std::ops::Range;

use super::gemm::Kernels;
use super::packed::PackedRight;
use crate::backend::Dropout;
use crate::rng;
use crate::tensor::{Tensor, Values};
use crate::weight::{Element, Weight};

// Weights are little endian by definition and are read as they are.
const _: () = assert!(cfg!(target_endian = "little"), "the cpu backend reads little-endian weights in place");

/// Which index of a factor runs fastest in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// Element `(lane, k)` at `lane * stride + k`.
    LanesMajor,
    /// Element `(lane, k)` at `k * stride + lane`.
    KMajor,
}

/// In what a product is computed; the sums are `f32` always.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arithmetic {
    /// Factors in `f32`: 16-bit values are widened, nothing is lost.
    F32,
    /// Factors in `bf16`: `f32` values are rounded to nearest even.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "no path with such products there"))]
    Bf16,
}

impl Arithmetic {
    /// Elements of k in a step of a panel.
    pub(super) const fn k_per_step(self) -> usize {
        match self {
            Self::F32 => 1,
            Self::Bf16 => 2,
        }
    }
}

/// How the steps of a panel lie in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PanelOrder {
    /// Step s of lane l at `s * width + l`.
    StepsMajor,
    /// In tiles of 16 steps: step s of lane l at `(s / 16 * width + l) * 16 + s % 16`.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "the tiles of AMX"))]
    Tiles,
}

/// Fills panels of one kind.
pub(super) struct Packer {
    pub(super) pack: PackFn,
    pub(super) arithmetic: Arithmetic,
    pub(super) order: PanelOrder,
    /// Panels are filled up with zeros to a multiple of this many steps.
    pub(super) step_unit: usize,
}

impl Packer {
    /// Steps of a panel over `k` elements.
    pub(super) fn steps(&self, k: usize) -> usize {
        k.div_ceil(self.arithmetic.k_per_step()).next_multiple_of(self.step_unit)
    }

    /// Place of a step in a panel.
    fn place(&self, width: usize, lane: usize, step: usize) -> usize {
        match self.order {
            PanelOrder::StepsMajor => step * width + lane,
            PanelOrder::Tiles => (step / 16 * width + lane) * 16 + step % 16,
        }
    }

    /// Sets one element to zero.
    fn clear(&self, panel: &mut [u32], width: usize, lane: usize, k: usize) {
        let step = &mut panel[self.place(width, lane, k / self.arithmetic.k_per_step())];
        *step = match (self.arithmetic, k % 2) {
            (Arithmetic::F32, _) => 0,
            (Arithmetic::Bf16, 0) => *step & 0xffff_0000,
            (Arithmetic::Bf16, _) => *step & 0x0000_ffff,
        };
    }
}

/// A dropout mask, with the part of the hash that depends on the column alone computed once.
#[derive(Clone, Copy)]
pub(super) struct Mask<'a> {
    pub(super) dropout: Dropout<'a>,
    pub(super) column_hashes: &'a [u64],
}

impl Mask<'_> {
    /// `mix(col)` of every column.
    pub(super) fn column_hashes(columns: usize) -> Vec<u64> {
        (0..columns as u64).map(rng::mix).collect()
    }

    /// The part of the hash that depends on the row alone.
    #[inline(always)]
    pub(super) fn row_hash(&self, row: usize) -> u64 {
        rng::combine(self.dropout.key, self.dropout.row_keys[row])
    }

    /// Whether [`Dropout::factor`] is zero.
    #[inline(always)]
    pub(super) fn drops(&self, row_hash: u64, col: usize) -> bool {
        let bits = rng::mix(row_hash ^ self.column_hashes[col]);
        rng::uniform_f32(bits) < self.dropout.rate
    }

    /// [`Dropout::factor`] where it is not zero.
    #[inline(always)]
    pub(super) fn keep(&self) -> f32 {
        1.0 / (1.0 - self.dropout.rate)
    }
}

/// Where the elements of a factor are.
#[derive(Clone, Copy)]
enum Source<'a> {
    /// In memory, as they are: runs of elements at a stride.
    Plain { bytes: &'a [u8], dtype: Element, stride: usize },
    /// In a weight that is brought into that form part by part ([`super::stage`]): blocks, or rows in another order.
    Staged(&'a Weight),
}

/// One factor of a product: `lanes` x `k` elements.
#[derive(Clone, Copy)]
pub(super) struct Operand<'a> {
    source: Source<'a>,
    layout: Layout,
    lanes: usize,
    k: usize,
    mask: Option<Mask<'a>>,
    /// Its panels as a right factor, where they are kept.
    packed: Option<&'a PackedRight>,
}

impl<'a> Operand<'a> {
    fn new(bytes: &'a [u8], dtype: Element, layout: Layout, stride: usize, lanes: usize, k: usize) -> Self {
        let (outer, inner) = match layout {
            Layout::LanesMajor => (lanes, k),
            Layout::KMajor => (k, lanes),
        };
        // Every read of a packing kernel rests on this check.
        if outer > 0 && inner > 0 {
            let elements = (outer - 1) * stride + inner;
            assert!(inner <= stride || outer == 1, "{outer} runs of {inner} elements at a stride of {stride}");
            let held = bytes.len() / dtype.size_bytes();
            assert!(elements <= held, "a factor of {lanes} lanes x {k} needs {elements} elements, has {held}");
        }
        Self { source: Source::Plain { bytes, dtype, stride }, layout, lanes, k, mask: None, packed: None }
    }

    /// A tensor: as [`Layout::LanesMajor`] its lanes are the rows, as [`Layout::KMajor`] the columns.
    pub(super) fn tensor(tensor: &'a Tensor, layout: Layout) -> Self {
        let (rows, cols) = (tensor.rows(), tensor.cols());
        let (lanes, k) = match layout {
            Layout::LanesMajor => (rows, cols),
            Layout::KMajor => (cols, rows),
        };
        Self::values(tensor.values(), layout, cols, lanes, k)
    }

    /// A matrix in memory; `stride` is the distance of its rows.
    pub(super) fn values(values: Values<'a>, layout: Layout, stride: usize, lanes: usize, k: usize) -> Self {
        let dtype = match values {
            Values::F32(_) => Element::F32,
            Values::Bf16(_) => Element::Bf16,
        };
        Self::new(values.bytes(), dtype, layout, stride, lanes, k)
    }

    /// A matrix of `f32` in memory; `stride` is the distance of its rows.
    pub(super) fn floats(values: &'a [f32], layout: Layout, stride: usize, lanes: usize, k: usize) -> Self {
        Self::new(bytemuck::cast_slice(values), Element::F32, layout, stride, lanes, k)
    }

    /// A weight `[out, in]`: as [`Layout::LanesMajor`] its lanes are the outputs (`x W^T`), as [`Layout::KMajor`] the
    /// inputs (`dy W`).
    pub(super) fn weight(weight: &'a Weight, layout: Layout) -> Self {
        let (lanes, k) = match layout {
            Layout::LanesMajor => (weight.rows(), weight.cols()),
            Layout::KMajor => (weight.cols(), weight.rows()),
        };
        match weight.dtype().element() {
            Some(dtype) if weight.interleaved().is_none() => {
                Self::new(weight.bytes(), dtype, layout, weight.cols(), lanes, k)
            }
            _ => Self { source: Source::Staged(weight), layout, lanes, k, mask: None, packed: None },
        }
    }

    /// A part of a weight that was brought into a plain form; `stride` is the distance of its rows.
    pub(super) fn staged_part(
        (bytes, dtype, stride): (&'a [u8], Element, usize),
        layout: Layout,
        lanes: usize,
        k: usize,
    ) -> Self {
        Self::new(bytes, dtype, layout, stride, lanes, k)
    }

    /// The weight, where it must be brought into a plain form first.
    pub(super) fn staged(&self) -> Option<&'a Weight> {
        match self.source {
            Source::Plain { .. } => None,
            Source::Staged(weight) => Some(weight),
        }
    }

    /// The factor with a dropout mask on it; the mask's rows are the rows in memory. Packing sets dropped elements to
    /// zero; the factor of the others is [`Operand::keep`], which the product takes into its alpha.
    pub(super) fn masked(self, mask: Option<Mask<'a>>) -> Self {
        Self { mask, ..self }
    }

    /// The same factor with its panels, which must be those of its values.
    pub(super) fn with_packed(self, packed: Option<&'a PackedRight>) -> Self {
        if let Some(packed) = packed {
            packed.assert_covers(self.lanes, self.k);
        }
        Self { packed, ..self }
    }

    /// The panels that a product with these kernels may read in place of packing.
    pub(super) fn packed(&self, kernels: &Kernels) -> Option<&'a PackedRight> {
        self.packed.filter(|packed| self.mask.is_none() && packed.is_for(kernels))
    }

    pub(super) fn layout(&self) -> Layout {
        self.layout
    }

    pub(super) fn lanes(&self) -> usize {
        self.lanes
    }

    pub(super) fn k(&self) -> usize {
        self.k
    }

    /// Factor of the elements that the mask keeps.
    pub(super) fn keep(&self) -> f32 {
        self.mask.map_or(1.0, |mask| mask.keep())
    }

    pub(super) fn is_masked(&self) -> bool {
        self.mask.is_some()
    }

    /// Where `lanes` x `k` lie, without a panel to pack them into.
    pub(super) fn source(&self, lanes: Range<usize>, k: Range<usize>, next: Option<(usize, usize)>) -> PackArgs {
        assert!(lanes.start < lanes.end && lanes.end <= self.lanes, "lanes {lanes:?} of {}", self.lanes);
        assert!(k.start < k.end && k.end <= self.k, "k {k:?} of {}", self.k);
        let Source::Plain { bytes, dtype, stride } = self.source else {
            unreachable!("a weight in blocks is packed part by part")
        };
        let at = |lane: usize, k: usize| match self.layout {
            Layout::LanesMajor => (lane * stride + k) * dtype.size_bytes(),
            Layout::KMajor => (k * stride + lane) * dtype.size_bytes(),
        };
        let first = at(lanes.start, k.start);
        PackArgs {
            source: bytes[first..].as_ptr(),
            dtype,
            layout: self.layout,
            stride,
            lanes: lanes.len(),
            width: lanes.len(),
            k: k.len(),
            ahead: next.map_or(0, |(lane, k)| at(lane, k).wrapping_sub(first) as isize),
            panel: std::ptr::null_mut(),
        }
    }

    /// Packs `lanes` x `k` into `panel`; lanes up to `width` are filled with zeros. `next` is the first (lane, k) of the
    /// panel that will be packed after this one, if any: its bytes are fetched ahead.
    pub(super) fn pack(
        &self,
        packer: &Packer,
        (lanes, width): (Range<usize>, usize),
        k: Range<usize>,
        next: Option<(usize, usize)>,
        panel: &mut [u32],
    ) {
        assert!(lanes.len() <= width, "{} lanes in a panel of {width}", lanes.len());
        assert_eq!(panel.len(), width * packer.steps(k.len()), "length of a panel of {width} lanes x {}", k.len());
        let args = PackArgs { width, panel: panel.as_mut_ptr(), ..self.source(lanes.clone(), k.clone(), next) };
        // SAFETY: `new` checked that every element (lane, k) of this factor lies in `bytes`, and the ranges lie inside
        // the factor; the panel holds as many steps as the packer writes; the kernels of an instruction set are only
        // handed out after it was detected.
        unsafe { (packer.pack)(&args) };
        if packer.order == PanelOrder::StepsMajor {
            panel[width * k.len().div_ceil(packer.arithmetic.k_per_step())..].fill(0);
        }
        if let Some(mask) = self.mask {
            let clear = |panel: &mut [u32], lane, at| packer.clear(panel, width, lane, at);
            apply_mask(mask, self.layout, lanes, k, panel, clear);
        }
    }
}

/// Clears the elements that the mask drops.
fn apply_mask(
    mask: Mask,
    layout: Layout,
    lanes: Range<usize>,
    k: Range<usize>,
    panel: &mut [u32],
    clear: impl Fn(&mut [u32], usize, usize),
) {
    let (rows, cols) = match layout {
        Layout::LanesMajor => (lanes, k),
        Layout::KMajor => (k, lanes),
    };
    for (row_at, row) in rows.enumerate() {
        let row_hash = mask.row_hash(row);
        for (col_at, col) in cols.clone().enumerate() {
            if mask.drops(row_hash, col) {
                match layout {
                    Layout::LanesMajor => clear(panel, row_at, col_at),
                    Layout::KMajor => clear(panel, col_at, row_at),
                }
            }
        }
    }
}

/// What a packing kernel is told. `source` points at the first element, without alignment.
pub(super) struct PackArgs {
    pub(super) source: *const u8,
    pub(super) dtype: Element,
    pub(super) layout: Layout,
    /// In elements.
    pub(super) stride: usize,
    pub(super) lanes: usize,
    pub(super) width: usize,
    pub(super) k: usize,
    /// Distance in bytes from an element to the one at its place in the next panel, 0 for none: for prefetching.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "no prefetch instruction in use"))]
    pub(super) ahead: isize,
    /// Steps of 32 bits.
    pub(super) panel: *mut u32,
}

impl PackArgs {
    /// The panel of a kernel whose steps are `f32`.
    #[inline(always)]
    pub(super) fn floats(&self) -> *mut f32 {
        self.panel.cast()
    }

    /// The bytes of element `(lane, k)`.
    ///
    /// # Safety
    /// `lane < lanes` and `k < self.k`, or the pointer is not read.
    #[inline(always)]
    pub(super) unsafe fn at(&self, lane: usize, k: usize) -> *const u8 {
        let element = match self.layout {
            Layout::LanesMajor => lane * self.stride + k,
            Layout::KMajor => k * self.stride + lane,
        };
        // SAFETY: inside the source, by the caller's promise.
        unsafe { self.source.add(element * self.dtype.size_bytes()) }
    }
}

#[cfg(target_arch = "x86_64")]
impl PackArgs {
    /// Asks for the line that lies at this element's place in the next panel: the rows of a panel may lie pages apart,
    /// where the hardware does not look. Nothing is read, so the address need not be valid.
    #[inline(always)]
    pub(super) fn prefetch(&self, source: *const u8) {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        if self.ahead != 0 {
            // SAFETY: a prefetch has no effect but on the caches.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(source.wrapping_offset(self.ahead).cast()) };
        }
    }
}

/// Fills a panel. # Safety: every element `(lane < lanes, k)` of the source is readable, the panel holds `width` times
/// the steps of k ([`Packer::steps`]), `lanes <= width`, and the machine has the kernel's instructions.
pub(super) type PackFn = unsafe fn(&PackArgs);

/// One element, widened.
///
/// # Safety
/// `source` must point at an element of `dtype`; it need not be aligned.
#[inline(always)]
pub(super) unsafe fn widen(source: *const u8, dtype: Element) -> f32 {
    // SAFETY: readable by the caller's promise; unaligned reads are used throughout.
    unsafe {
        match dtype {
            Element::F32 => source.cast::<f32>().read_unaligned(),
            Element::Bf16 => f32::from_bits(u32::from(source.cast::<u16>().read_unaligned()) << 16),
            Element::F16 => half::f16::from_bits(source.cast::<u16>().read_unaligned()).to_f32(),
        }
    }
}

/// The packing kernel in plain Rust.
///
/// # Safety
/// As [`PackFn`].
pub(super) unsafe fn pack_portable(args: &PackArgs) {
    // SAFETY: by the caller's promise.
    unsafe { pack_range(args, 0..args.width, 0..args.k) };
}

/// Packs part of a panel element by element: the portable kernel, and the ragged edges of the others.
///
/// # Safety
/// As [`PackFn`]; the ranges lie inside the panel.
#[inline(always)]
pub(super) unsafe fn pack_range(args: &PackArgs, lanes: Range<usize>, k: Range<usize>) {
    for at in k {
        for lane in lanes.clone() {
            // SAFETY: `at < k` and `lane < width`, so inside the panel; the source is read for `lane < lanes` only.
            unsafe {
                let value = if lane < args.lanes { widen(args.at(lane, at), args.dtype) } else { 0.0 };
                args.floats().add(at * args.width + lane).write(value);
            }
        }
    }
}
