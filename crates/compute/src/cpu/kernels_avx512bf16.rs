//! Micro-kernels for AVX-512 with `bf16` products: 14 x 32 tiles as in [`super::kernels_avx512`], pairs of k.
//!
//! A step of a panel holds two neighbours in k, and `vdpbf16ps` multiplies pairs: 28 instructions a step do 14 x 32 x 2
//! multiply-adds, for 2 full loads and 14 broadcasts. On Zen 4 that is twice the rate of `f32`; on Intel it is the rate of
//! `f32` with half the bytes.
//!
//! # Precision
//! Factors are rounded to `bf16` (nearest even; subnormal numbers become zero). The instruction adds the product of the
//! upper halves to the sum, rounds to `f32`, then the product of the lower halves, and takes subnormal numbers as zero.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::blocks_avx512;
use super::gemm::{Direct, Kernels, Session, TileArgs};
use super::kernels_avx512::{first_lanes, load_widened, store_tile, transpose};
use super::pack::{Arithmetic, Layout, PackArgs, Packer, PanelOrder};
use crate::weight::Element;

/// Lanes of a vector of steps.
const LANES: usize = 16;

/// Elements of k in a vector.
const PAIRS_K: usize = 2 * LANES;

const PACKER: Packer = Packer { pack, arithmetic: Arithmetic::Bf16, order: PanelOrder::StepsMajor, step_unit: 1 };

pub(super) static KERNELS: Kernels = Kernels {
    mr: 14,
    row_unit: 1,
    nr: 2 * LANES,
    lanes: LANES,
    tile,
    left: PACKER,
    right: PACKER,
    decoder: &blocks_avx512::DECODER_BF16,
    blocks: Some(blocks_avx512::KERNELS_BF16),
    direct: Some(Direct { most_rows: 4, tile: direct }),
    session: Session::NONE,
};

/// The packer of right panels, for kernels that want whole tiles of 16 steps.
pub(super) const RIGHT_IN_TILES: Packer = Packer { step_unit: 16, ..PACKER };

/// # Safety
/// As [`super::gemm::TileFn`].
#[target_feature(enable = "avx512f,avx512bf16")]
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

/// `sum + left.upper * right.upper + left.lower * right.lower`, lane by lane.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
pub(super) fn multiply_pairs(sum: __m512, left: __m512i, right: __m512i) -> __m512 {
    // SAFETY: the types are as large and differ in name alone.
    let pairs = |vector| unsafe { std::mem::transmute::<__m512i, __m512bh>(vector) };
    _mm512_dpbf16_ps(sum, pairs(left), pairs(right))
}

/// # Safety
/// As [`super::gemm::TileFn`], with panels of `R` rows and `V` vectors.
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn tile_of<const R: usize, const V: usize>(args: &TileArgs) {
    let mut sums = [[_mm512_setzero_ps(); V]; R];
    let (mut a, mut b) = (args.a, args.b);
    for _ in 0..args.steps {
        // SAFETY: a step reads R pairs of the left panel and V vectors of the right one, which hold as many; the
        // pointers end one past the panels.
        unsafe {
            let mut right = [_mm512_setzero_si512(); V];
            for v in 0..V {
                right[v] = _mm512_loadu_si512(b.add(v * LANES).cast());
            }
            for r in 0..R {
                let left = _mm512_set1_epi32(*a.add(r) as i32);
                for v in 0..V {
                    sums[r][v] = multiply_pairs(sums[r][v], left, right[v]);
                }
            }
            (a, b) = (a.add(R), b.add(V * LANES));
        }
    }
    // SAFETY: as for this function.
    unsafe { store_tile(args, &sums) };
}

/// # Safety
/// As [`super::gemm::DirectFn`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
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
/// As [`super::gemm::DirectFn`], with a left panel of `R` rows.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn direct_of<const R: usize>(args: &TileArgs, source: &PackArgs) {
    let mut sums = [[_mm512_setzero_ps(); 2]; R];
    // SAFETY: every block lies inside the 32 lanes and the steps that both factors have.
    unsafe {
        for step in (0..args.steps).step_by(LANES) {
            let left = args.a.add(step * R);
            let steps = (args.steps - step).min(LANES);
            for v in 0..2 {
                let mut sum: [__m512; R] = std::array::from_fn(|r| sums[r][v]);
                let columns = transpose(load_rows(source, v * LANES, 2 * step, LANES));
                // A loop of fixed length with a test inside: another length would send the block through memory.
                for at in 0..LANES {
                    if at < steps {
                        for r in 0..R {
                            let left = _mm512_set1_epi32(*left.add(at * R + r) as i32);
                            sum[r] = multiply_pairs(sum[r], left, columns[at]);
                        }
                    }
                }
                for r in 0..R {
                    sums[r][v] = sum[r];
                }
            }
        }
        store_tile(args, &sums);
    }
}

/// # Safety
/// As [`super::pack::PackFn`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn pack(args: &PackArgs) {
    // SAFETY: by the caller's promise, for both.
    unsafe {
        match args.layout {
            Layout::KMajor => pack_k_major(args),
            Layout::LanesMajor => pack_transposed(args),
        }
    }
}

/// Two vectors of `f32` as one of `bf16`, `lower` first.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
pub(super) fn round(lower: __m512, upper: __m512) -> __m512i {
    // SAFETY: the types are as large and differ in name alone.
    unsafe { std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(upper, lower)) }
}

/// 32 elements from `source` on as `bf16`; those that `count` leaves out are zero.
///
/// # Safety
/// `count` elements must be readable.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn load_bf16(source: *const u8, dtype: Element, count: usize) -> __m512i {
    // SAFETY: masked loads touch the counted elements alone; others need all 32.
    unsafe {
        match (dtype, count) {
            (Element::Bf16, PAIRS_K..) => _mm512_loadu_si512(source.cast()),
            (Element::Bf16, _) => _mm512_maskz_loadu_epi16((1u32 << count) - 1, source.cast()),
            _ => {
                let upper = source.wrapping_add(LANES * dtype.size_bytes());
                let (lower_mask, upper_mask) = (first_lanes(count), first_lanes(count.saturating_sub(LANES)));
                round(load_widened(source, dtype, lower_mask), load_widened(upper, dtype, upper_mask))
            }
        }
    }
}

/// 32 elements from `source` on as `bf16`.
///
/// # Safety
/// They must be readable.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn load_whole(source: *const u8, dtype: Element) -> __m512i {
    // SAFETY: by the caller's promise; the loads need no alignment.
    unsafe {
        match dtype {
            Element::Bf16 => _mm512_loadu_si512(source.cast()),
            Element::F32 => round(_mm512_loadu_ps(source.cast()), _mm512_loadu_ps(source.add(64).cast())),
            Element::F16 => {
                let (lower, upper) = (_mm256_loadu_si256(source.cast()), _mm256_loadu_si256(source.add(32).cast()));
                round(_mm512_cvtph_ps(lower), _mm512_cvtph_ps(upper))
            }
        }
    }
}

/// Lane by lane the 32 elements from `k` on, as `bf16`; what is not there is zero.
///
/// # Safety
/// As [`super::pack::PackFn`]; `k` is inside the source.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn load_rows(args: &PackArgs, lane: usize, k: usize, present: usize) -> [__m512i; LANES] {
    let count = (args.k - k).min(PAIRS_K);
    // SAFETY: only rows of lanes that are present are read, and of those what is there. The type is chosen outside of
    // the loop.
    unsafe {
        match (present == LANES && count == PAIRS_K, args.dtype) {
            (false, _) => load_ragged_rows(args, lane, k, (present, count)),
            (true, Element::Bf16) => load_whole_rows(args, lane, k, |source| load_whole(source, Element::Bf16)),
            (true, Element::F32) => load_whole_rows(args, lane, k, |source| load_whole(source, Element::F32)),
            (true, Element::F16) => load_whole_rows(args, lane, k, |source| load_whole(source, Element::F16)),
        }
    }
}

/// # Safety
/// As [`load_rows`]; the source has 16 lanes and 32 k from here on.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn load_whole_rows(
    args: &PackArgs,
    lane: usize,
    k: usize,
    load: impl Fn(*const u8) -> __m512i,
) -> [__m512i; LANES] {
    let mut rows = [_mm512_setzero_si512(); LANES];
    let row_bytes = args.stride * args.dtype.size_bytes();
    // SAFETY: 16 lanes of 32 elements.
    unsafe {
        let mut source = args.at(lane, k);
        for r in 0..LANES {
            args.prefetch(source);
            rows[r] = load(source);
            source = source.wrapping_add(row_bytes);
        }
    }
    rows
}

/// Out of line, since its result goes through memory anyway: it would keep the whole rows from their registers.
///
/// # Safety
/// As [`load_rows`]; the source has `present` lanes and `count` k from here on.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn load_ragged_rows(
    args: &PackArgs,
    lane: usize,
    k: usize,
    (present, count): (usize, usize),
) -> [__m512i; LANES] {
    let mut rows = [_mm512_setzero_si512(); LANES];
    let row_bytes = args.stride * args.dtype.size_bytes();
    // SAFETY: the lanes are there, and so many elements of each.
    unsafe {
        let mut source = args.at(lane, k);
        for row in rows.iter_mut().take(present) {
            *row = load_bf16(source, args.dtype, count);
            source = source.wrapping_add(row_bytes);
        }
    }
    rows
}

/// 16 lanes x 16 pairs at a time: a pair travels through the transpose as one element of 32 bits.
///
/// # Safety
/// As [`super::pack::PackFn`], layout [`Layout::LanesMajor`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn pack_transposed(args: &PackArgs) {
    let steps = args.k.div_ceil(2);
    for lane in (0..args.width).step_by(LANES) {
        let kept = first_lanes(args.width - lane);
        let present = args.lanes.saturating_sub(lane).min(LANES);
        for step in (0..steps).step_by(LANES) {
            // A full vector may be stored where a panel is narrower: the surplus lands in the next steps, which are written
            // next. Only the panel's end must be kept.
            let narrow = args.width <= LANES && (step + LANES - 1) * args.width + LANES <= steps * args.width;
            // SAFETY: the block begins inside the source; stores end at the panel's width, or inside of the panel.
            unsafe {
                let columns = transpose(load_rows(args, lane.min(args.lanes), 2 * step, present));
                let target = args.panel.add(step * args.width + lane);
                if (kept == !0 && step + LANES <= steps) || narrow {
                    for at in 0..LANES {
                        _mm512_storeu_si512(target.add(at * args.width).cast(), columns[at]);
                    }
                } else {
                    for at in 0..LANES {
                        if step + at < steps {
                            _mm512_mask_storeu_epi32(target.wrapping_add(at * args.width).cast(), kept, columns[at]);
                        }
                    }
                }
            }
        }
    }
}

/// Rows k and k + 1 of the source lie apart; their elements are brought together lane by lane.
///
/// # Safety
/// As [`super::pack::PackFn`], layout [`Layout::KMajor`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn pack_k_major(args: &PackArgs) {
    // SAFETY: by the caller's promise, for all. The type of whole panels is chosen outside of their loop.
    unsafe {
        match (args.lanes == PAIRS_K && args.width == PAIRS_K, args.dtype) {
            (false, _) => pack_k_major_ragged(args),
            (true, Element::Bf16) => pack_k_major_whole(args, |source| load_whole(source, Element::Bf16)),
            (true, Element::F32) => pack_k_major_whole(args, |source| load_whole(source, Element::F32)),
            (true, Element::F16) => pack_k_major_whole(args, |source| load_whole(source, Element::F16)),
        }
    }
}

/// # Safety
/// As [`pack_k_major`]; source and panel have 32 lanes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn pack_k_major_whole(args: &PackArgs, load: impl Fn(*const u8) -> __m512i) {
    let row_bytes = args.stride * args.dtype.size_bytes();
    let (mut source, mut panel) = (args.source, args.panel);
    for k in (0..args.k).step_by(2) {
        let odd_source = source.wrapping_add(row_bytes);
        args.prefetch(source);
        // SAFETY: 32 lanes are there in every row of k, and two vectors in every step of the panel.
        unsafe {
            let odd = match k + 1 < args.k {
                true => {
                    args.prefetch(odd_source);
                    load(odd_source)
                }
                false => _mm512_setzero_si512(),
            };
            let [first, second] = interleave(load(source), odd);
            _mm512_storeu_si512(panel.cast(), first);
            _mm512_storeu_si512(panel.add(LANES).cast(), second);
        }
        source = odd_source.wrapping_add(row_bytes);
        panel = panel.wrapping_add(PAIRS_K);
    }
}

/// # Safety
/// As [`pack_k_major`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn pack_k_major_ragged(args: &PackArgs) {
    for lane in (0..args.width).step_by(PAIRS_K) {
        let count = args.lanes.saturating_sub(lane).min(PAIRS_K);
        let first_kept = first_lanes(args.width - lane);
        let second_kept = first_lanes((args.width - lane).saturating_sub(LANES));
        for k in (0..args.k).step_by(2) {
            // SAFETY: the counts end at the last lane of the source, the masks at the panel's width.
            unsafe {
                let source = args.at(lane.min(args.lanes), k);
                args.prefetch(source);
                let even = load_bf16(source, args.dtype, count);
                let odd = match k + 1 < args.k {
                    true => load_bf16(args.at(lane.min(args.lanes), k + 1), args.dtype, count),
                    false => _mm512_setzero_si512(),
                };
                let [first, second] = interleave(even, odd);
                let target = args.panel.add(k / 2 * args.width + lane);
                _mm512_mask_storeu_epi32(target.cast(), first_kept, first);
                _mm512_mask_storeu_epi32(target.wrapping_add(LANES).cast(), second_kept, second);
            }
        }
    }
}

/// Pairs of 32 lanes: the element of `even` in the lower half, that of `odd` in the upper half.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn interleave(even: __m512i, odd: __m512i) -> [__m512i; 2] {
    // Element i of the result: number i / 2 of `even`, or of `odd` (from 32 on) where i is odd.
    const FIRST: [u16; 32] = {
        let mut order = [0; 32];
        let mut i = 0;
        while i < 32 {
            order[i] = (i / 2 + 32 * (i % 2)) as u16;
            i += 1;
        }
        order
    };
    // SAFETY: the array is as large as a vector.
    let first = unsafe { std::mem::transmute::<[u16; 32], __m512i>(FIRST) };
    let second = _mm512_add_epi16(first, _mm512_set1_epi16(16));
    [_mm512_permutex2var_epi16(even, first, odd), _mm512_permutex2var_epi16(even, second, odd)]
}
