//! Factors of a matrix product, and the panels that the micro-kernels read.
//!
//! A panel holds `width` lanes (rows of the left factor or columns of the right one) for a run of the sum dimension k,
//! k outermost: `panel[k * width + lane]`. Packing widens 16-bit weights on the way, so a frozen weight is converted
//! panel by panel into cache and never as a whole.
#![allow(unsafe_code)]

use std::ops::Range;

use crate::backend::Dropout;
use crate::rng;
use crate::weight::{DType, Weight};

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

    /// Equal to [`Dropout::factor`]; `keep` is `1 / (1 - rate)`.
    #[inline(always)]
    pub(super) fn factor(&self, row_hash: u64, col: usize, keep: f32) -> f32 {
        let bits = rng::mix(row_hash ^ self.column_hashes[col]);
        if rng::uniform_f32(bits) < self.dropout.rate { 0.0 } else { keep }
    }

    #[inline(always)]
    pub(super) fn keep(&self) -> f32 {
        1.0 / (1.0 - self.dropout.rate)
    }
}

/// One factor of a product: `lanes` x `k` elements.
#[derive(Clone, Copy)]
pub(super) struct Operand<'a> {
    bytes: &'a [u8],
    dtype: DType,
    layout: Layout,
    stride: usize,
    lanes: usize,
    k: usize,
    mask: Option<Mask<'a>>,
}

impl<'a> Operand<'a> {
    fn new(bytes: &'a [u8], dtype: DType, layout: Layout, stride: usize, lanes: usize, k: usize) -> Self {
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
        Self { bytes, dtype, layout, stride, lanes, k, mask: None }
    }

    /// A matrix of `f32` in memory; `stride` is the distance of its rows.
    pub(super) fn floats(values: &'a [f32], layout: Layout, stride: usize, lanes: usize, k: usize) -> Self {
        Self::new(bytemuck::cast_slice(values), DType::F32, layout, stride, lanes, k)
    }

    /// A weight `[out, in]`: as [`Layout::LanesMajor`] its lanes are the outputs (`x W^T`), as [`Layout::KMajor`] the
    /// inputs (`dy W`).
    pub(super) fn weight(weight: &'a Weight, layout: Layout) -> Self {
        let (lanes, k) = match layout {
            Layout::LanesMajor => (weight.rows(), weight.cols()),
            Layout::KMajor => (weight.cols(), weight.rows()),
        };
        Self::new(weight.bytes(), weight.dtype(), layout, weight.cols(), lanes, k)
    }

    /// The factor with a dropout mask on it; the mask's rows are the rows in memory.
    pub(super) fn masked(self, mask: Option<Mask<'a>>) -> Self {
        Self { mask, ..self }
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

    pub(super) fn is_masked(&self) -> bool {
        self.mask.is_some()
    }

    /// Where `lanes` x `k` lie, without a panel to pack them into.
    pub(super) fn source(&self, lanes: Range<usize>, k: Range<usize>, next: Option<(usize, usize)>) -> PackArgs {
        assert!(lanes.start < lanes.end && lanes.end <= self.lanes, "lanes {lanes:?} of {}", self.lanes);
        assert!(k.start < k.end && k.end <= self.k, "k {k:?} of {}", self.k);
        let at = |lane: usize, k: usize| match self.layout {
            Layout::LanesMajor => (lane * self.stride + k) * self.dtype.size_bytes(),
            Layout::KMajor => (k * self.stride + lane) * self.dtype.size_bytes(),
        };
        let first = at(lanes.start, k.start);
        PackArgs {
            source: self.bytes[first..].as_ptr(),
            dtype: self.dtype,
            layout: self.layout,
            stride: self.stride,
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
        pack: PackFn,
        (lanes, width): (Range<usize>, usize),
        k: Range<usize>,
        next: Option<(usize, usize)>,
        panel: &mut [f32],
    ) {
        assert!(lanes.len() <= width, "{} lanes in a panel of {width}", lanes.len());
        assert_eq!(panel.len(), width * k.len(), "length of a panel of {width} lanes x {}", k.len());
        let args = PackArgs { width, panel: panel.as_mut_ptr(), ..self.source(lanes.clone(), k.clone(), next) };
        // SAFETY: `new` checked that every element (lane, k) of this factor lies in `bytes`, and the ranges lie inside
        // the factor; the panel holds `width * k` values; the kernels of an instruction set are only handed out after
        // it was detected.
        unsafe { pack(&args) };
        if let Some(mask) = self.mask {
            apply_mask(mask, self.layout, lanes, width, k, panel);
        }
    }
}

fn apply_mask(mask: Mask, layout: Layout, lanes: Range<usize>, width: usize, k: Range<usize>, panel: &mut [f32]) {
    let keep = mask.keep();
    match layout {
        Layout::LanesMajor => {
            for (lane, row) in lanes.enumerate() {
                let row_hash = mask.row_hash(row);
                for (at, col) in k.clone().enumerate() {
                    panel[at * width + lane] *= mask.factor(row_hash, col, keep);
                }
            }
        }
        Layout::KMajor => {
            for (panel_row, row) in panel.chunks_exact_mut(width).zip(k) {
                let row_hash = mask.row_hash(row);
                for (value, col) in panel_row.iter_mut().zip(lanes.clone()) {
                    *value *= mask.factor(row_hash, col, keep);
                }
            }
        }
    }
}

/// What a packing kernel is told. `source` points at the first element, without alignment.
pub(super) struct PackArgs {
    pub(super) source: *const u8,
    pub(super) dtype: DType,
    pub(super) layout: Layout,
    /// In elements.
    pub(super) stride: usize,
    pub(super) lanes: usize,
    pub(super) width: usize,
    pub(super) k: usize,
    /// Distance in bytes from an element to the one at its place in the next panel, 0 for none: for prefetching.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "no prefetch instruction in use"))]
    pub(super) ahead: isize,
    pub(super) panel: *mut f32,
}

impl PackArgs {
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

/// Fills a panel. # Safety: every element `(lane < lanes, k)` of the source is readable, the panel holds `width * k`
/// values, `lanes <= width`, and the machine has the kernel's instructions.
pub(super) type PackFn = unsafe fn(&PackArgs);

/// One element, widened.
///
/// # Safety
/// `source` must point at an element of `dtype`; it need not be aligned.
#[inline(always)]
pub(super) unsafe fn widen(source: *const u8, dtype: DType) -> f32 {
    // SAFETY: readable by the caller's promise; unaligned reads are used throughout.
    unsafe {
        match dtype {
            DType::F32 => source.cast::<f32>().read_unaligned(),
            DType::Bf16 => f32::from_bits(u32::from(source.cast::<u16>().read_unaligned()) << 16),
            DType::F16 => half::f16::from_bits(source.cast::<u16>().read_unaligned()).to_f32(),
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
                args.panel.add(at * args.width + lane).write(value);
            }
        }
    }
}
