//! Micro-kernels for AVX-512: 14 x 32 tiles, 16 lanes.
//!
//! 14 rows x 2 vectors are 28 accumulators; with the 2 vectors of the right panel that is 30 of the 32 registers, and
//! the left factor comes as a broadcast operand straight from memory. Per step of k: 28 multiply-adds for 2 full loads
//! and 14 broadcasts, so neither one nor two 512-bit multiply-add units wait for the load ports.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::blocks_avx512;
use super::gemm::{BlockKernels, Direct, Kernels, Session, TileArgs};
use super::pack::{Arithmetic, Layout, PackArgs, Packer, PanelOrder};
use crate::weight::Element;

const LANES: usize = 16;

const PACKER: Packer = Packer { pack, arithmetic: Arithmetic::F32, order: PanelOrder::StepsMajor, step_unit: 1 };

pub(super) static KERNELS: Kernels = Kernels {
    mr: 14,
    row_unit: 1,
    nr: 2 * LANES,
    lanes: LANES,
    tile,
    left: PACKER,
    right: PACKER,
    decoder: &blocks_avx512::DECODER_F32,
    blocks: Some(BlockKernels { pack: blocks_avx512::pack_f32, direct: None }),
    direct: Some(Direct { most_rows: 4, tile: direct }),
    session: Session::NONE,
};

/// # Safety
/// As [`super::gemm::TileFn`].
#[target_feature(enable = "avx512f")]
unsafe fn tile(rows: usize, args: &TileArgs) {
    macro_rules! by_rows {
        ($($r:literal)*) => {
            match rows {
                $(
                    // SAFETY: by the caller's promise; the panels have $r rows and one or two vectors.
                    $r => unsafe {
                        if args.cols > LANES { tile_of::<$r, 2>(args) } else { tile_of::<$r, 1>(args) }
                    },
                )*
                _ => unreachable!("a tile of {rows} rows"),
            }
        };
    }
    by_rows!(1 2 3 4 5 6 7 8 9 10 11 12 13 14);
}

/// The lanes below `count`.
#[inline]
pub(super) fn first_lanes(count: usize) -> __mmask16 {
    if count >= LANES { !0 } else { (1 << count) - 1 }
}

/// # Safety
/// As [`super::gemm::TileFn`], with panels of `R` rows and `V` vectors.
#[target_feature(enable = "avx512f")]
unsafe fn tile_of<const R: usize, const V: usize>(args: &TileArgs) {
    let mut sums = [[_mm512_setzero_ps(); V]; R];
    let (mut a, mut b) = (args.a.cast::<f32>(), args.b.cast::<f32>());
    for _ in 0..args.steps {
        // SAFETY: step k reads R values of the left panel and V vectors of the right one, which hold k times as many;
        // the pointers end one past the panels.
        unsafe {
            let mut right = [_mm512_setzero_ps(); V];
            for v in 0..V {
                right[v] = _mm512_loadu_ps(b.add(v * LANES));
            }
            for r in 0..R {
                let left = _mm512_set1_ps(*a.add(r));
                for v in 0..V {
                    sums[r][v] = _mm512_fmadd_ps(left, right[v], sums[r][v]);
                }
            }
            (a, b) = (a.add(R), b.add(V * LANES));
        }
    }
    // SAFETY: as for this function.
    unsafe { store_tile(args, &sums) };
}

/// C from its sums.
///
/// # Safety
/// As [`super::gemm::TileFn`], for the C tile.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn store_tile<const R: usize, const V: usize>(args: &TileArgs, sums: &[[__m512; V]; R]) {
    let alpha = _mm512_set1_ps(args.alpha);
    for r in 0..R {
        for v in 0..V {
            let mask = first_lanes(args.cols - (v * LANES).min(args.cols));
            // SAFETY: row r of C has `cols` values by the caller's promise; the mask ends there.
            unsafe {
                let c = args.c.add(r * args.c_stride).wrapping_add(v * LANES);
                let value = match (args.add, mask) {
                    (false, _) => _mm512_mul_ps(alpha, sums[r][v]),
                    (true, 0xffff) => _mm512_fmadd_ps(alpha, sums[r][v], _mm512_loadu_ps(c)),
                    (true, _) => _mm512_fmadd_ps(alpha, sums[r][v], _mm512_maskz_loadu_ps(mask, c)),
                };
                store_lanes(c, mask, _mm512_castps_si512(value));
            }
        }
    }
}

/// # Safety
/// As [`super::gemm::DirectFn`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn direct(rows: usize, args: &TileArgs, source: &PackArgs) {
    // SAFETY: by the caller's promise, for all.
    unsafe {
        match rows {
            1 => direct_of::<1>(args, source),
            2 => direct_of::<2>(args, source),
            3 => direct_of::<3>(args, source),
            4 => direct_of::<4>(args, source),
            _ => unreachable!("a direct tile of {rows} rows"),
        }
    }
}

/// Blocks of the right factor are transposed in registers, as for a panel, and used up at once.
///
/// # Safety
/// As [`super::gemm::DirectFn`], with a left panel of `R` rows and two vectors of columns.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn direct_of<const R: usize>(args: &TileArgs, source: &PackArgs) {
    let mut sums = [[_mm512_setzero_ps(); 2]; R];
    let upper = _mm512_set1_epi32(0xffff_0000_u32 as i32);
    let bf16 = source.dtype == Element::Bf16;
    let mut k = 0;
    // SAFETY: every block lies inside the 32 lanes and the steps of k that both factors have.
    unsafe {
        while k < source.k {
            let left = args.a.cast::<f32>().add(k * R);
            let whole_pairs = bf16 && source.k - k >= 2 * LANES;
            let steps = if whole_pairs { 2 * LANES } else { (source.k - k).min(LANES) };
            for v in 0..2 {
                let mut sum: [__m512; R] = std::array::from_fn(|r| sums[r][v]);
                let block = Block { lane: v * LANES, k, present: LANES, kept: !0, full_stores: true };
                let mut step = |at: usize, column: __m512i| {
                    for r in 0..R {
                        let left = _mm512_set1_ps(*left.add(at * R + r));
                        sum[r] = _mm512_fmadd_ps(left, _mm512_castsi512_ps(column), sum[r]);
                    }
                };
                if whole_pairs {
                    let columns = transpose(load_rows(source, block, |row| _mm512_loadu_si512(row.cast())));
                    for pair in 0..LANES {
                        step(2 * pair, _mm512_slli_epi32::<16>(columns[pair]));
                        step(2 * pair + 1, _mm512_and_si512(columns[pair], upper));
                    }
                } else if steps == LANES {
                    let columns = match source.dtype {
                        Element::F32 => load_rows(source, block, |row| _mm512_loadu_si512(row.cast())),
                        dtype => load_rows(source, block, |row| _mm512_castps_si512(load_whole(row, dtype))),
                    };
                    let columns = transpose(columns);
                    for at in 0..LANES {
                        step(at, columns[at]);
                    }
                } else {
                    let readable = first_lanes(steps);
                    let load = |row| _mm512_castps_si512(load_widened(row, source.dtype, readable));
                    let columns = transpose(load_rows(source, block, load));
                    for at in 0..LANES {
                        if at < steps {
                            step(at, columns[at]);
                        }
                    }
                }
                for r in 0..R {
                    sums[r][v] = sum[r];
                }
            }
            k += steps;
        }
        store_tile(args, &sums);
    }
}

/// # Safety
/// As [`super::pack::PackFn`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn pack(args: &PackArgs) {
    // SAFETY: by the caller's promise, for all.
    unsafe {
        match (args.layout, args.dtype) {
            (Layout::KMajor, _) => pack_k_major(args),
            (Layout::LanesMajor, Element::F32) if args.width == 1 => {
                std::ptr::copy_nonoverlapping(args.source, args.panel.cast::<u8>(), args.k * size_of::<f32>());
            }
            (Layout::LanesMajor, Element::Bf16) => pack_bf16_pairs(args),
            (Layout::LanesMajor, Element::F32 | Element::F16) => pack_transposed(args),
        }
    }
}

/// The elements at `source` that `mask` names, widened; others are zero.
///
/// # Safety
/// The elements that `mask` names must be readable.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) unsafe fn load_widened(source: *const u8, dtype: Element, mask: __mmask16) -> __m512 {
    // SAFETY: masked loads touch the named elements alone.
    unsafe {
        match dtype {
            Element::F32 => _mm512_maskz_loadu_ps(mask, source.cast()),
            Element::Bf16 => {
                let halves = _mm256_maskz_loadu_epi16(mask, source.cast());
                _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(halves)))
            }
            Element::F16 => _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, source.cast())),
        }
    }
}

/// # Safety
/// As [`super::pack::PackFn`], layout [`Layout::KMajor`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn pack_k_major(args: &PackArgs) {
    // SAFETY: by the caller's promise, for all; the first two handle panels without a ragged edge.
    unsafe {
        match (args.lanes, args.width) {
            (32, 32) => pack_k_major_whole::<2>(args),
            (16, 16) => pack_k_major_whole::<1>(args),
            _ => pack_k_major_ragged(args),
        }
    }
}

/// # Safety
/// As [`super::pack::PackFn`], layout [`Layout::KMajor`], with as many lanes as `V` vectors.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn pack_k_major_whole<const V: usize>(args: &PackArgs) {
    let (element_bytes, row_bytes) = (args.dtype.size_bytes(), args.stride * args.dtype.size_bytes());
    let (mut source, mut panel) = (args.source, args.floats());
    for _ in 0..args.k {
        args.prefetch(source);
        for v in 0..V {
            // SAFETY: V vectors of lanes are there, in the source and in the panel's row.
            unsafe {
                let values = load_whole(source.add(v * LANES * element_bytes), args.dtype);
                _mm512_storeu_ps(panel.add(v * LANES), values);
            }
        }
        source = source.wrapping_add(row_bytes);
        panel = panel.wrapping_add(V * LANES);
    }
}

/// Sixteen elements, widened.
///
/// # Safety
/// They must be readable at `source`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn load_whole(source: *const u8, dtype: Element) -> __m512 {
    // SAFETY: by the caller's promise; the loads need no alignment.
    unsafe {
        match dtype {
            Element::F32 => _mm512_loadu_ps(source.cast()),
            Element::Bf16 => {
                let halves = _mm256_loadu_si256(source.cast());
                _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(halves)))
            }
            Element::F16 => _mm512_cvtph_ps(_mm256_loadu_si256(source.cast())),
        }
    }
}

/// # Safety
/// As [`super::pack::PackFn`], layout [`Layout::KMajor`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn pack_k_major_ragged(args: &PackArgs) {
    for lane in (0..args.width).step_by(LANES) {
        let present = first_lanes(args.lanes.saturating_sub(lane));
        let kept = first_lanes(args.width - lane);
        for k in 0..args.k {
            // SAFETY: the masks end at the last lane of the source and of the panel's row.
            unsafe {
                let source = args.at(lane.min(args.lanes), k);
                args.prefetch(source);
                let values = load_widened(source, args.dtype, present);
                store_lanes(args.floats().add(k * args.width + lane), kept, _mm512_castps_si512(values));
            }
        }
    }
}

/// The place of a block of 16 lanes in a panel.
#[derive(Clone, Copy)]
struct Block {
    lane: usize,
    k: usize,
    /// Lanes that the source has.
    present: usize,
    /// Lanes that the panel has.
    kept: __mmask16,
    /// Whether a full vector may be stored in place of the kept lanes. Where a panel is narrower than a vector, the
    /// surplus lands in the next step of k, which is written next; only the panel's end must be kept.
    full_stores: bool,
}

/// Calls `block` for every block of 16 lanes and `steps` of k, in ascending k.
#[inline]
fn for_blocks(args: &PackArgs, steps: usize, mut block: impl FnMut(Block)) {
    for lane in (0..args.width).step_by(LANES) {
        let kept = first_lanes(args.width - lane);
        let present = args.lanes.saturating_sub(lane).min(LANES);
        let in_order = args.width <= LANES || kept == !0;
        for k in (0..args.k).step_by(steps) {
            let last_end = (k + steps - 1) * args.width + lane + LANES;
            let full_stores = in_order && last_end <= args.width * args.k;
            block(Block { lane, k, present, kept, full_stores });
        }
    }
}

/// 16 lanes x 16 k at a time, transposed in registers.
///
/// # Safety
/// As [`super::pack::PackFn`], layout [`Layout::LanesMajor`], `f32` or `f16`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn pack_transposed(args: &PackArgs) {
    for_blocks(args, LANES, |block| {
        // SAFETY: the block lies inside the panel; the first kind has 16 steps of k.
        unsafe {
            match args.dtype {
                _ if args.k - block.k < LANES => pack_ragged_block(args, block),
                Element::F16 => pack_block(args, block, |source| load_whole(source, Element::F16)),
                _ => pack_block(args, block, |source| load_whole(source, Element::F32)),
            }
        }
    });
}

/// # Safety
/// As [`pack_transposed`]; 16 steps of k must be left.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn pack_block(args: &PackArgs, block: Block, load: impl Fn(*const u8) -> __m512) {
    // SAFETY: the present lanes are there, and 16 steps of k.
    let rows = unsafe { load_rows(args, block, |source| _mm512_castps_si512(load(source))) };
    let columns = transpose(rows);
    // SAFETY: step < 16 are left; full stores stay inside the panel.
    unsafe {
        let target = args.floats().add(block.k * args.width + block.lane);
        if block.full_stores {
            for step in 0..LANES {
                _mm512_storeu_ps(target.add(step * args.width), _mm512_castsi512_ps(columns[step]));
            }
        } else {
            for step in 0..LANES {
                store_lanes(target.add(step * args.width), block.kept, columns[step]);
            }
        }
    }
}

/// The rows of a block; lanes that are not present are zero.
///
/// # Safety
/// `load` must be able to read at the block's first k of every present lane.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn load_rows(args: &PackArgs, block: Block, load: impl Fn(*const u8) -> __m512i) -> [__m512i; LANES] {
    let mut rows = [_mm512_setzero_si512(); LANES];
    // SAFETY: only rows of lanes that are present are read.
    unsafe {
        let row_bytes = args.stride * args.dtype.size_bytes();
        let mut source = args.at(block.lane, block.k);
        // Loops have a fixed length, with tests inside: another length would send the block through memory.
        if block.present == LANES {
            for r in 0..LANES {
                args.prefetch(source);
                rows[r] = load(source);
                source = source.wrapping_add(row_bytes);
            }
        } else {
            for r in 0..LANES {
                if r < block.present {
                    rows[r] = load(source);
                    source = source.wrapping_add(row_bytes);
                }
            }
        }
    }
    rows
}

/// The last few steps of k.
///
/// # Safety
/// As [`pack_transposed`].
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn pack_ragged_block(args: &PackArgs, block: Block) {
    let steps = (args.k - block.k).min(LANES);
    let mut rows = [_mm512_setzero_si512(); LANES];
    for r in 0..block.present {
        // SAFETY: the lane is there, and the mask ends at the last k.
        rows[r] = unsafe {
            let source = args.at(block.lane + r, block.k);
            _mm512_castps_si512(load_widened(source, args.dtype, first_lanes(steps)))
        };
    }
    for (step, column) in transpose(rows).into_iter().enumerate().take(steps) {
        // SAFETY: inside the panel.
        unsafe { store_lanes(args.floats().add((block.k + step) * args.width + block.lane), block.kept, column) };
    }
}

/// 16 lanes x 32 k of bf16 at a time: pairs of k travel through the transpose as one 32-bit element, which halves its
/// cost per weight; then the lower half is shifted up and the upper half kept.
///
/// # Safety
/// As [`super::pack::PackFn`], layout [`Layout::LanesMajor`], `bf16`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn pack_bf16_pairs(args: &PackArgs) {
    const STEPS: usize = 2 * LANES;
    for_blocks(args, STEPS, |block| {
        // SAFETY: the block lies inside the panel; the first kind has 32 steps of k, the others 16 or fewer.
        unsafe {
            if args.k - block.k >= STEPS {
                return pack_bf16_block(args, block);
            }
            pack_ragged_block(args, block);
            if args.k - block.k > LANES {
                pack_ragged_block(args, Block { k: block.k + LANES, ..block });
            }
        }
    });
}

/// # Safety
/// As [`pack_bf16_pairs`]; 32 steps of k must be left.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn pack_bf16_block(args: &PackArgs, block: Block) {
    // SAFETY: the present lanes are there, and 32 steps of k.
    let rows = unsafe { load_rows(args, block, |source| _mm512_loadu_si512(source.cast())) };
    let columns = transpose(rows);
    let upper = _mm512_set1_epi32(0xffff_0000_u32 as i32);
    // SAFETY: step < 32 are left; full stores stay inside the panel.
    unsafe {
        let target = args.floats().add(block.k * args.width + block.lane);
        if block.full_stores {
            for pair in 0..LANES {
                let (even, odd) = (_mm512_slli_epi32::<16>(columns[pair]), _mm512_and_si512(columns[pair], upper));
                _mm512_storeu_si512(target.add(2 * pair * args.width).cast(), even);
                _mm512_storeu_si512(target.add((2 * pair + 1) * args.width).cast(), odd);
            }
        } else {
            for pair in 0..LANES {
                let (even, odd) = (_mm512_slli_epi32::<16>(columns[pair]), _mm512_and_si512(columns[pair], upper));
                store_lanes(target.add(2 * pair * args.width), block.kept, even);
                store_lanes(target.add((2 * pair + 1) * args.width), block.kept, odd);
            }
        }
    }
}

/// Stores the lanes that `kept` names; a store of all of them is cheaper without a mask.
///
/// # Safety
/// Those lanes must be writable at `target`.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn store_lanes(target: *mut f32, kept: __mmask16, values: __m512i) {
    // SAFETY: by the caller's promise.
    unsafe {
        match kept {
            0xffff => _mm512_storeu_ps(target, _mm512_castsi512_ps(values)),
            _ => _mm512_mask_storeu_ps(target, kept, _mm512_castsi512_ps(values)),
        }
    }
}

/// Transposes 16 x 16 elements of 32 bits: pairs, then quadruples inside each 128-bit block, then the blocks.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn transpose(rows: [__m512i; 16]) -> [__m512i; 16] {
    let zero = _mm512_setzero_si512();
    // quads[4 g + j], block q: column 4 q + j of rows 4 g .. 4 g + 4.
    let mut quads = [zero; 16];
    for g in 0..4 {
        let [r0, r1, r2, r3] = [rows[4 * g], rows[4 * g + 1], rows[4 * g + 2], rows[4 * g + 3]];
        let (low01, high01) = (_mm512_unpacklo_epi32(r0, r1), _mm512_unpackhi_epi32(r0, r1));
        let (low23, high23) = (_mm512_unpacklo_epi32(r2, r3), _mm512_unpackhi_epi32(r2, r3));
        quads[4 * g] = _mm512_unpacklo_epi64(low01, low23);
        quads[4 * g + 1] = _mm512_unpackhi_epi64(low01, low23);
        quads[4 * g + 2] = _mm512_unpacklo_epi64(high01, high23);
        quads[4 * g + 3] = _mm512_unpackhi_epi64(high01, high23);
    }
    let mut columns = [zero; 16];
    for j in 0..4 {
        let even_upper = _mm512_shuffle_i32x4::<0x88>(quads[j], quads[4 + j]);
        let odd_upper = _mm512_shuffle_i32x4::<0xdd>(quads[j], quads[4 + j]);
        let even_lower = _mm512_shuffle_i32x4::<0x88>(quads[8 + j], quads[12 + j]);
        let odd_lower = _mm512_shuffle_i32x4::<0xdd>(quads[8 + j], quads[12 + j]);
        columns[j] = _mm512_shuffle_i32x4::<0x88>(even_upper, even_lower);
        columns[4 + j] = _mm512_shuffle_i32x4::<0x88>(odd_upper, odd_lower);
        columns[8 + j] = _mm512_shuffle_i32x4::<0xdd>(even_upper, even_lower);
        columns[12 + j] = _mm512_shuffle_i32x4::<0xdd>(odd_upper, odd_lower);
    }
    columns
}
