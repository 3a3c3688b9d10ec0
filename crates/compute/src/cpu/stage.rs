//! Weights that cannot be packed as they lie: blocks of few bits, and rows in another order.
//!
//! A strip of the weight is brought into a plain form (blocks in the type that the product has, others as they are) in
//! scratch of the thread that stays in cache, and the packing kernels read it there. The strips follow the panels of a
//! cut, so a value is decoded exactly once wherever a plain one would be read:
//!
//! ```text
//! x W^T  (lanes are rows)     the rows of one panel x 256 columns
//! dy W   (lanes are columns)  32 rows x the columns of the tile, for all panels of the tile
//! ```
#![allow(unsafe_code)]

use std::cell::RefCell;
use std::ops::Range;

use half::bf16;

use super::gemm::{BlockRows, Kernels, PackBlocksFn, pieces, right_len};
use super::pack::{Arithmetic, Layout, Operand};
use super::workers::AlignedBuffer;
use crate::blocks::{BlockMatrix, GROUP};
use crate::weight::{Element, Weight};

/// Most lanes of a right panel.
const MOST_LANES: usize = 32;

/// Columns of a strip of `x W^T`: with 32 rows 16 KiB of `bf16`, half of a first-level cache.
const STRIP_COLS: usize = 256;

/// Rows of a strip of `dy W`: with 256 columns as much. A multiple of two tiles of 16 steps, so that the strips of a panel
/// follow each other without a gap.
const STRIP_ROWS: usize = 32;

/// Decodes whole groups of a row of blocks, from number `first_group` on: `(matrix, row, first_group, out)`. # Safety: the
/// machine has the function's instructions.
type DecodeFn<T> = unsafe fn(&BlockMatrix, usize, usize, &mut [T]);

/// The decoders of an instruction set.
pub(super) struct Decoder {
    pub(super) f32: DecodeFn<f32>,
    pub(super) bf16: DecodeFn<bf16>,
}

thread_local! {
    static STRIP: RefCell<AlignedBuffer<u32>> = const { RefCell::new(AlignedBuffer::new()) };
}

/// A strip in scratch: its bytes, type, and the distance of its rows.
type Strip<'a> = (&'a [u8], Element, usize);

/// Brings `rows` x `cols` of the weight into a plain form.
fn stage<'s>(
    kernels: &Kernels,
    weight: &Weight,
    (rows, cols): (Range<usize>, Range<usize>),
    scratch: &'s mut AlignedBuffer<u32>,
) -> Strip<'s> {
    let Some(matrix) = weight.blocks() else { return gather_rows(weight, (rows, cols), scratch) };
    let first_group = cols.start / GROUP;
    let stride = cols.end.next_multiple_of(GROUP) - first_group * GROUP;
    let skipped = cols.start - first_group * GROUP;
    let values = rows.len() * stride;
    match kernels.right.arithmetic {
        Arithmetic::F32 => {
            let strip = bytemuck::cast_slice_mut::<u32, f32>(scratch.get(values));
            for (row, out) in rows.zip(strip.chunks_exact_mut(stride)) {
                // SAFETY: the kernels of an instruction set are only handed out after it was detected.
                unsafe { (kernels.decoder.f32)(&matrix, weight.stored_row(row), first_group, out) };
            }
            (bytemuck::cast_slice(&strip[skipped..]), Element::F32, stride)
        }
        Arithmetic::Bf16 => {
            let strip = bytemuck::cast_slice_mut::<u32, bf16>(scratch.get(values.div_ceil(2)));
            for (row, out) in rows.zip(strip.chunks_exact_mut(stride)) {
                // SAFETY: as above.
                unsafe { (kernels.decoder.bf16)(&matrix, weight.stored_row(row), first_group, out) };
            }
            (bytemuck::cast_slice(&strip[skipped..]), Element::Bf16, stride)
        }
    }
}

/// Copies rows from where they are stored.
fn gather_rows<'s>(
    weight: &Weight,
    (rows, cols): (Range<usize>, Range<usize>),
    scratch: &'s mut AlignedBuffer<u32>,
) -> Strip<'s> {
    let Some(element) = weight.dtype().element() else { unreachable!("blocks are decoded") };
    let (size, stride) = (element.size_bytes(), cols.len());
    let strip = bytemuck::cast_slice_mut::<u32, u8>(scratch.get((rows.len() * stride * size).div_ceil(4)));
    for (row, out) in rows.zip(strip.chunks_exact_mut(stride * size)) {
        out.copy_from_slice(&weight.row_bytes(row)[cols.start * size..cols.end * size]);
    }
    (strip, element, stride)
}

/// As [`super::gemm::pack_right`], of such a weight.
pub(super) fn pack_staged(
    kernels: &Kernels,
    (weight, right): (&Weight, &Operand),
    lanes: &Range<usize>,
    k: &Range<usize>,
    values: &mut [u32],
) {
    let layout = right.layout();
    if let (Some(blocks), true, Layout::LanesMajor) = (kernels.blocks, weight.has_whole_blocks(), layout) {
        return pack_blocks(kernels, blocks.pack, weight, (lanes, k), values);
    }
    // Where some k of a panel lie. Strips end at whole steps and tiles; the last one has the padding.
    let place = |panel: &Range<usize>, part: &Range<usize>| {
        let width = panel.len().next_multiple_of(kernels.lanes);
        let start =
            right_len(kernels, k, panel.start - lanes.start) + width * kernels.right.steps(part.start - k.start);
        (width, start..start + width * kernels.right.steps(part.len()))
    };
    let pack = |strip: Strip, panel: &Range<usize>, part: &Range<usize>, values: &mut [u32]| {
        let (width, place) = place(panel, part);
        let factor = Operand::staged_part(strip, layout, panel.len(), part.len());
        factor.pack(&kernels.right, (0..panel.len(), width), 0..part.len(), None, &mut values[place]);
    };
    STRIP.with_borrow_mut(|scratch| match layout {
        Layout::LanesMajor => {
            for panel in pieces(lanes.clone(), kernels.nr) {
                for part in pieces(k.clone(), STRIP_COLS) {
                    let strip = stage(kernels, weight, (panel.clone(), part.clone()), scratch);
                    pack(strip, &panel, &part, values);
                }
            }
        }
        Layout::KMajor => {
            for part in pieces(k.clone(), STRIP_ROWS) {
                let (bytes, dtype, stride) = stage(kernels, weight, (part.clone(), lanes.clone()), scratch);
                for panel in pieces(lanes.clone(), kernels.nr) {
                    let strip = &bytes[(panel.start - lanes.start) * dtype.size_bytes()..];
                    pack((strip, dtype, stride), &panel, &part, values);
                }
            }
        }
    });
}

/// Makes the panels from blocks, whose rows are the lanes.
fn pack_blocks(
    kernels: &Kernels,
    pack: PackBlocksFn,
    weight: &Weight,
    (lanes, k): (&Range<usize>, &Range<usize>),
    mut values: &mut [u32],
) {
    for panel in pieces(lanes.clone(), kernels.nr) {
        let len = right_len(kernels, k, panel.len());
        let (target, rest) = values.split_at_mut(len);
        with_block_rows(kernels, weight, (&panel, lanes), k, |part| {
            let steps = part.groups.len() * GROUP / kernels.right.arithmetic.k_per_step();
            assert_eq!(target.len(), part.width * steps, "length of a panel");
            // SAFETY: rows and groups were checked, and so was the panel; kernels are only handed out after their
            // instructions were detected.
            unsafe { pack(part, target.as_mut_ptr()) };
        });
        values = rest;
    }
}

/// Lets `work` read the blocks of one panel of `lanes`, which are rows of the weight.
pub(super) fn with_block_rows(
    kernels: &Kernels,
    weight: &Weight,
    (panel, lanes): (&Range<usize>, &Range<usize>),
    k: &Range<usize>,
    work: impl FnOnce(&BlockRows),
) {
    let Some(matrix) = weight.blocks() else { unreachable!("{weight:?} has blocks") };
    assert!(k.start.is_multiple_of(GROUP) && k.end.is_multiple_of(GROUP), "k {k:?} in whole groups");
    assert!(lanes.end <= weight.rows() && k.end <= weight.cols(), "lanes {lanes:?} and k {k:?} of {weight:?}");
    assert!(!panel.is_empty() && panel.len() <= MOST_LANES && panel.end <= lanes.end, "panel {panel:?} of {lanes:?}");
    let kind = matrix.kind();
    let Some(row_bytes) = kind.row_bytes(weight.cols()) else { unreachable!("{weight:?} has rows") };
    let byte_of = |lane: usize, k: usize| lane * row_bytes + k / kind.block_len() * kind.block_bytes();
    let mut rows = [0; MOST_LANES];
    let rows = &mut rows[..panel.len()];
    rows.iter_mut().zip(panel.clone()).for_each(|(row, lane)| *row = weight.stored_row(lane));
    // The part that is wanted next: in this cut, in the next one, or where other lanes begin.
    let (lane, at) = match (panel.end < lanes.end, k.end < weight.cols()) {
        (true, _) => (panel.end, k.start),
        (false, true) => (lanes.start, k.end),
        (false, false) => (lanes.end, 0),
    };
    work(&BlockRows {
        matrix: &matrix,
        rows,
        groups: k.start / GROUP..k.end / GROUP,
        width: panel.len().next_multiple_of(kernels.lanes),
        ahead: byte_of(lane, at).wrapping_sub(byte_of(panel.start, k.start)) as isize,
    });
}

/// Lets `multiply` read some lanes and k of such a weight, [`Layout::LanesMajor`], where they were staged.
pub(super) fn with_staged_rows(
    kernels: &Kernels,
    weight: &Weight,
    lanes: &Range<usize>,
    k: &Range<usize>,
    multiply: impl FnOnce(&Operand),
) {
    STRIP.with_borrow_mut(|scratch| {
        let strip = stage(kernels, weight, (lanes.clone(), k.clone()), scratch);
        multiply(&Operand::staged_part(strip, Layout::LanesMajor, lanes.len(), k.len()));
    });
}

/// The decoders in plain Rust.
pub(super) static PORTABLE: Decoder = {
    fn decode_f32(matrix: &BlockMatrix, row: usize, first_group: usize, out: &mut [f32]) {
        matrix.decode_groups(row, first_group, out, crate::blocks::nf4_group);
    }
    Decoder { f32: decode_f32, bf16: decode_bf16_portable }
};

pub(super) fn decode_bf16_portable(matrix: &BlockMatrix, row: usize, first_group: usize, out: &mut [bf16]) {
    matrix.decode_groups(row, first_group, out, crate::blocks::nf4_group);
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86::AVX2;

/// The same loops for wider vectors. Only the values of NF4, a table look-up, need instructions by name: what the compiler
/// makes of it reads memory once per value.
#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use half::bf16;

    use super::Decoder;
    use crate::blocks::encode::NF4_TABLE;
    use crate::blocks::{BlockMatrix, GROUP, Nf4Indices};

    pub(in super::super) static AVX2: Decoder = {
        #[target_feature(enable = "avx2,fma,f16c")]
        fn decode_f32(matrix: &BlockMatrix, row: usize, first_group: usize, out: &mut [f32]) {
            matrix.decode_groups(row, first_group, out, |indices, scale| nf4_avx2(indices, scale));
        }
        #[target_feature(enable = "avx2,fma,f16c")]
        fn decode_bf16(matrix: &BlockMatrix, row: usize, first_group: usize, out: &mut [bf16]) {
            matrix.decode_groups(row, first_group, out, |indices, scale| nf4_avx2(indices, scale));
        }
        Decoder { f32: decode_f32, bf16: decode_bf16 }
    };

    /// The indices of a group, one a byte: the first 16, and the others.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn unpack(indices: &Nf4Indices) -> [__m128i; 2] {
        // SAFETY: the array is as large as a vector; the load needs no alignment.
        let pairs = unsafe { _mm_loadu_si128(indices.as_ptr().cast()) };
        let lower = _mm_set1_epi8(15);
        let (first, second) = (_mm_and_si128(_mm_srli_epi16::<4>(pairs), lower), _mm_and_si128(pairs, lower));
        [_mm_unpacklo_epi8(first, second), _mm_unpackhi_epi8(first, second)]
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn nf4_avx2(indices: &Nf4Indices, scale: f32) -> [f32; GROUP] {
        let mut values = [0.0; GROUP];
        // SAFETY: the table has two vectors of 8 values, the result four.
        unsafe {
            let low_table = _mm256_loadu_ps(NF4_TABLE.as_ptr());
            let high_table = _mm256_loadu_ps(NF4_TABLE.as_ptr().add(8));
            let scale = _mm256_set1_ps(scale);
            for (half, indices) in unpack(indices).into_iter().enumerate() {
                for (quarter, indices) in [indices, _mm_srli_si128::<8>(indices)].into_iter().enumerate() {
                    let indices = _mm256_cvtepu8_epi32(indices);
                    let low = _mm256_permutevar8x32_ps(low_table, indices);
                    let high = _mm256_permutevar8x32_ps(high_table, indices);
                    // The fourth bit of the index, moved to where the choice is made.
                    let is_high = _mm256_castsi256_ps(_mm256_slli_epi32::<28>(indices));
                    let looked_up = _mm256_blendv_ps(low, high, is_high);
                    _mm256_storeu_ps(values.as_mut_ptr().add(16 * half + 8 * quarter), _mm256_mul_ps(looked_up, scale));
                }
            }
        }
        values
    }
}
