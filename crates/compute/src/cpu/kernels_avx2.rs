//! Micro-kernels for AVX2 with FMA: 6 x 16 tiles, 8 lanes.
//!
//! 6 rows x 2 vectors are 12 accumulators; 2 vectors of the right panel and 1 broadcast make 15 of the 16 registers.
//! Per step of k: 12 multiply-adds for 8 loads, and 12 chains cover two units at a latency of 4 or 5.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::gemm::{Kernels, Session, TileArgs};
use super::pack::{Arithmetic, Layout, PackArgs, Packer, PanelOrder, pack_range};
use super::stage;
use crate::weight::Element;

const LANES: usize = 8;

const PACKER: Packer = Packer { pack, arithmetic: Arithmetic::F32, order: PanelOrder::StepsMajor, step_unit: 1 };

pub(super) static KERNELS: Kernels = Kernels {
    mr: 6,
    row_unit: 1,
    nr: 2 * LANES,
    lanes: LANES,
    tile,
    left: PACKER,
    right: PACKER,
    decoder: &stage::AVX2,
    blocks: None,
    direct: None,
    session: Session::NONE,
};

/// # Safety
/// As [`super::gemm::TileFn`].
#[target_feature(enable = "avx2,fma")]
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
    by_rows!(1 2 3 4 5 6);
}

/// # Safety
/// As [`super::gemm::TileFn`], with panels of `R` rows and `V` vectors.
#[target_feature(enable = "avx2,fma")]
unsafe fn tile_of<const R: usize, const V: usize>(args: &TileArgs) {
    let mut sums = [[_mm256_setzero_ps(); V]; R];
    let (mut a, mut b) = (args.a.cast::<f32>(), args.b.cast::<f32>());
    for _ in 0..args.steps {
        // SAFETY: step k reads R values of the left panel and V vectors of the right one, which hold k times as many;
        // the pointers end one past the panels.
        unsafe {
            let mut right = [_mm256_setzero_ps(); V];
            for v in 0..V {
                right[v] = _mm256_loadu_ps(b.add(v * LANES));
            }
            for r in 0..R {
                let left = _mm256_broadcast_ss(&*a.add(r));
                for v in 0..V {
                    sums[r][v] = _mm256_fmadd_ps(left, right[v], sums[r][v]);
                }
            }
            (a, b) = (a.add(R), b.add(V * LANES));
        }
    }
    let alpha = _mm256_set1_ps(args.alpha);
    for r in 0..R {
        for v in 0..V {
            let cols = (args.cols - (v * LANES).min(args.cols)).min(LANES);
            // SAFETY: row r of C has `cols` values from here by the caller's promise.
            unsafe { store(args, alpha, sums[r][v], args.c.add(r * args.c_stride).wrapping_add(v * LANES), cols) };
        }
    }
}

/// # Safety
/// `c` must point at `cols` values that nobody else touches.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn store(args: &TileArgs, alpha: __m256, sums: __m256, c: *mut f32, cols: usize) {
    if cols == LANES {
        // SAFETY: all lanes are there.
        unsafe {
            let value = match args.add {
                true => _mm256_fmadd_ps(alpha, sums, _mm256_loadu_ps(c)),
                false => _mm256_mul_ps(alpha, sums),
            };
            _mm256_storeu_ps(c, value);
        }
        return;
    }
    let mut lanes = [0.0f32; LANES];
    // SAFETY: the array has as many lanes; C has `cols` of them.
    unsafe {
        std::ptr::copy_nonoverlapping(c, lanes.as_mut_ptr(), if args.add { cols } else { 0 });
        let value = match args.add {
            true => _mm256_fmadd_ps(alpha, sums, _mm256_loadu_ps(lanes.as_ptr())),
            false => _mm256_mul_ps(alpha, sums),
        };
        _mm256_storeu_ps(lanes.as_mut_ptr(), value);
        std::ptr::copy_nonoverlapping(lanes.as_ptr(), c, cols);
    }
}

/// # Safety
/// As [`super::pack::PackFn`].
#[target_feature(enable = "avx2,fma,f16c")]
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

/// Eight elements, widened.
///
/// # Safety
/// Eight elements of `dtype` must be readable at `source`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn load_widened(source: *const u8, dtype: Element) -> __m256 {
    // SAFETY: by the caller's promise; the loads need no alignment.
    unsafe {
        match dtype {
            Element::F32 => _mm256_loadu_ps(source.cast()),
            Element::Bf16 => {
                let halves = _mm_loadu_si128(source.cast());
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(halves)))
            }
            Element::F16 => _mm256_cvtph_ps(_mm_loadu_si128(source.cast())),
        }
    }
}

/// Writes the lanes of one step of k, no more than the panel has.
///
/// # Safety
/// `count` values must be writable at `target`.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn store_lanes(target: *mut f32, values: __m256, count: usize) {
    // SAFETY: by the caller's promise.
    unsafe {
        if count == LANES {
            _mm256_storeu_ps(target, values);
        } else {
            let mut lanes = [0.0f32; LANES];
            _mm256_storeu_ps(lanes.as_mut_ptr(), values);
            std::ptr::copy_nonoverlapping(lanes.as_ptr(), target, count);
        }
    }
}

/// # Safety
/// As [`super::pack::PackFn`], layout [`Layout::KMajor`].
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn pack_k_major(args: &PackArgs) {
    let whole = args.lanes / LANES * LANES;
    for k in 0..args.k {
        for lane in (0..whole).step_by(LANES) {
            // SAFETY: lane + 8 <= lanes <= width.
            unsafe {
                let source = args.at(lane, k);
                args.prefetch(source);
                let values = load_widened(source, args.dtype);
                _mm256_storeu_ps(args.floats().add(k * args.width + lane), values);
            }
        }
    }
    // SAFETY: the rest of the lanes.
    unsafe { pack_range(args, whole..args.width, 0..args.k) };
}

/// The place of a block of 8 lanes in a panel.
#[derive(Clone, Copy)]
struct Block {
    lane: usize,
    k: usize,
    /// Lanes that the source has.
    present: usize,
    /// Lanes that the panel has.
    kept: usize,
    /// Whether a full vector may be stored in place of the kept lanes. Where a panel is narrower than a vector, the
    /// surplus lands in the next step of k, which is written next; only the panel's end must be kept.
    full_stores: bool,
}

/// Calls `block` for every block of 8 lanes and `steps` of k, in ascending k; the steps that are left over are packed
/// one by one.
///
/// # Safety
/// As [`super::pack::PackFn`].
#[inline(always)]
unsafe fn for_blocks(args: &PackArgs, steps: usize, mut block: impl FnMut(Block)) {
    let whole = args.k / steps * steps;
    for lane in (0..args.width).step_by(LANES) {
        let kept = (args.width - lane).min(LANES);
        let present = args.lanes.saturating_sub(lane).min(LANES);
        let in_order = args.width <= LANES || kept == LANES;
        for k in (0..whole).step_by(steps) {
            let last_end = (k + steps - 1) * args.width + lane + LANES;
            let full_stores = in_order && last_end <= args.width * args.k;
            block(Block { lane, k, present, kept, full_stores });
        }
        // SAFETY: inside the panel.
        unsafe { pack_range(args, lane..lane + kept, whole..args.k) };
    }
}

/// The rows of a block; lanes that are not present are zero.
///
/// # Safety
/// `load` must be able to read at the block's first k of every present lane.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn load_rows(args: &PackArgs, block: Block, load: impl Fn(*const u8) -> __m256i) -> [__m256i; LANES] {
    let mut rows = [_mm256_setzero_si256(); LANES];
    // A loop of fixed length with a test inside: another length would send the block through memory.
    for r in 0..LANES {
        if r < block.present {
            // SAFETY: the lane is there.
            unsafe {
                let source = args.at(block.lane + r, block.k);
                args.prefetch(source);
                rows[r] = load(source);
            }
        }
    }
    rows
}

/// 8 lanes x 8 k at a time, transposed in registers.
///
/// # Safety
/// As [`super::pack::PackFn`], layout [`Layout::LanesMajor`], `f32` or `f16`.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn pack_transposed(args: &PackArgs) {
    // SAFETY: blocks have 8 steps of k, and their stores stay inside the panel.
    unsafe {
        match args.dtype {
            Element::F16 => for_blocks(args, LANES, |block| {
                let rows = load_rows(args, block, |source| _mm256_castps_si256(load_widened(source, Element::F16)));
                store_columns(args, block, transpose(rows));
            }),
            _ => for_blocks(args, LANES, |block| {
                let rows = load_rows(args, block, |source| _mm256_loadu_si256(source.cast()));
                store_columns(args, block, transpose(rows));
            }),
        }
    }
}

/// # Safety
/// The block must have 8 steps of k inside the panel.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn store_columns(args: &PackArgs, block: Block, columns: [__m256i; LANES]) {
    // SAFETY: inside the panel by the caller's promise.
    unsafe {
        let target = args.floats().add(block.k * args.width + block.lane);
        let count = if block.full_stores { LANES } else { block.kept };
        for step in 0..LANES {
            store_lanes(target.add(step * args.width), _mm256_castsi256_ps(columns[step]), count);
        }
    }
}

/// 8 lanes x 16 k of bf16 at a time: pairs of k travel through the transpose as one 32-bit element.
///
/// # Safety
/// As [`super::pack::PackFn`], layout [`Layout::LanesMajor`], `bf16`.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn pack_bf16_pairs(args: &PackArgs) {
    let upper = _mm256_set1_epi32(0xffff_0000_u32 as i32);
    // SAFETY: blocks have 16 steps of k, and their stores stay inside the panel.
    unsafe {
        for_blocks(args, 2 * LANES, |block| {
            let columns = transpose(load_rows(args, block, |source| _mm256_loadu_si256(source.cast())));
            let target = args.floats().add(block.k * args.width + block.lane);
            let count = if block.full_stores { LANES } else { block.kept };
            for pair in 0..LANES {
                let even = _mm256_castsi256_ps(_mm256_slli_epi32::<16>(columns[pair]));
                let odd = _mm256_castsi256_ps(_mm256_and_si256(columns[pair], upper));
                store_lanes(target.add(2 * pair * args.width), even, count);
                store_lanes(target.add((2 * pair + 1) * args.width), odd, count);
            }
        });
    }
}

/// Transposes 8 x 8 elements of 32 bits: pairs, then quadruples inside each 128-bit block, then the blocks.
#[inline]
#[target_feature(enable = "avx2")]
fn transpose(rows: [__m256i; 8]) -> [__m256i; 8] {
    let zero = _mm256_setzero_si256();
    // quads[4 g + j], block q: column 4 q + j of rows 4 g .. 4 g + 4.
    let mut quads = [zero; 8];
    for g in 0..2 {
        let [r0, r1, r2, r3] = [rows[4 * g], rows[4 * g + 1], rows[4 * g + 2], rows[4 * g + 3]];
        let (low01, high01) = (_mm256_unpacklo_epi32(r0, r1), _mm256_unpackhi_epi32(r0, r1));
        let (low23, high23) = (_mm256_unpacklo_epi32(r2, r3), _mm256_unpackhi_epi32(r2, r3));
        quads[4 * g] = _mm256_unpacklo_epi64(low01, low23);
        quads[4 * g + 1] = _mm256_unpackhi_epi64(low01, low23);
        quads[4 * g + 2] = _mm256_unpacklo_epi64(high01, high23);
        quads[4 * g + 3] = _mm256_unpackhi_epi64(high01, high23);
    }
    let mut columns = [zero; 8];
    for j in 0..4 {
        columns[j] = _mm256_permute2x128_si256::<0x20>(quads[j], quads[4 + j]);
        columns[4 + j] = _mm256_permute2x128_si256::<0x31>(quads[j], quads[4 + j]);
    }
    columns
}
