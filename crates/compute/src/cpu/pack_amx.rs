//! The packer of left factors for AMX: bf16 pairs, tile by tile.
//!
//! The panel is `[steps / 16][width][16]` of 32 bits: `width` is 16 or 32 lanes (rows of C), a step is a pair of k, the
//! even one in the lower half; steps are `k / 2` rounded up to a multiple of 16. So 16 lanes of 32 k are one tile, 1 KiB
//! in one piece, whose rows are cache lines. Lanes and k that the source lacks are zeros.
//!
//! # Precision
//! `f32` and `f16` are rounded to bf16, nearest and ties to even; denormal `f32` become zero, as the product would treat
//! them anyway. bf16 is copied.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::kernels_amx::TILE;
use super::kernels_avx512::transpose;
use super::pack::{Layout, PackArgs};
use crate::weight::Element;

/// k of a tile.
const TILE_K: usize = 2 * TILE;

/// Fills a left panel.
///
/// # Safety
/// Every element `(lane < lanes, k)` of the source is readable, the panel holds `width` times the steps of k, `lanes <= width`, `width` is a multiple of 16, and the machine has the instructions.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
pub(super) unsafe fn pack_left(args: &PackArgs) {
    debug_assert!(args.lanes <= args.width && args.width.is_multiple_of(TILE), "{} of {}", args.lanes, args.width);
    // SAFETY: by the caller's promise, for all; the loads are masked, so they touch the named elements alone.
    unsafe {
        match (args.layout, args.dtype) {
            (Layout::LanesMajor, Element::F32) => pack_rows(args, |source, present| {
                let lower = _mm512_maskz_loadu_ps(present as __mmask16, source.cast());
                let upper = _mm512_maskz_loadu_ps((present >> 16) as __mmask16, source.wrapping_add(64).cast());
                round(lower, upper)
            }),
            (Layout::LanesMajor, Element::F16) => pack_rows(args, |source, present| {
                let halves = _mm512_maskz_loadu_epi16(present, source.cast());
                let lower = _mm512_cvtph_ps(_mm512_castsi512_si256(halves));
                let upper = _mm512_cvtph_ps(_mm512_extracti64x4_epi64::<1>(halves));
                round(lower, upper)
            }),
            (Layout::LanesMajor, Element::Bf16) => {
                pack_rows(args, |source, present| _mm512_maskz_loadu_epi16(present, source.cast()));
            }
            (Layout::KMajor, Element::F32) => pack_columns(args, |even, odd, present, odd_present| {
                let even = _mm512_maskz_loadu_ps(present, even.cast());
                let odd = _mm512_maskz_loadu_ps(odd_present, odd.cast());
                round(even, odd)
            }),
            (Layout::KMajor, Element::F16) => pack_columns(args, |even, odd, present, odd_present| {
                let even = _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(present, even.cast()));
                let odd = _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(odd_present, odd.cast()));
                round(even, odd)
            }),
            (Layout::KMajor, Element::Bf16) => pack_columns(args, |even, odd, present, odd_present| {
                let even = _mm256_maskz_loadu_epi16(present, even.cast());
                let odd = _mm256_maskz_loadu_epi16(odd_present, odd.cast());
                _mm512_inserti64x4::<1>(_mm512_castsi256_si512(even), odd)
            }),
        }
    }
}

/// 32 values as bf16, in their order.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn round(lower: __m512, upper: __m512) -> __m512i {
    let rounded = _mm512_cvtne2ps_pbh(upper, lower);
    // SAFETY: two types of 512 bits without invalid values.
    unsafe { std::mem::transmute::<__m512bh, __m512i>(rounded) }
}

/// The elements below `count`.
#[inline]
fn first_elements(count: usize) -> __mmask32 {
    if count >= TILE_K { !0 } else { (1 << count) - 1 }
}

/// Layout [`Layout::LanesMajor`]: 32 k of a lane are a row of a tile as they lie. `load` gives the elements that the
/// mask names, as bf16, and zeros.
///
/// # Safety
/// As [`pack_left`]; `load` reads no other elements.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn pack_rows(args: &PackArgs, load: impl Fn(*const u8, __mmask32) -> __m512i) {
    let row_bytes = args.stride * args.dtype.size_bytes();
    for k in (0..args.k).step_by(TILE_K) {
        let present = first_elements(args.k - k);
        // SAFETY: these `k` lie inside the source, whose masked elements are read for `lane < lanes`; the tiles of these
        // k lie inside the panel.
        unsafe {
            let mut source = args.at(0, k);
            let target = args.panel.add(k / TILE_K * args.width * TILE);
            for lane in 0..args.lanes {
                args.prefetch(source);
                _mm512_storeu_si512(target.add(lane * TILE).cast(), load(source, present));
                source = source.wrapping_add(row_bytes);
            }
            for lane in args.lanes..args.width {
                _mm512_storeu_si512(target.add(lane * TILE).cast(), _mm512_setzero_si512());
            }
        }
    }
}

/// Layout [`Layout::KMajor`]: two rows of k at a time become 16 pairs, one for each lane; 16 such steps are transposed.
/// `load` gives the bf16 of the even row's 16 lanes, then those of the odd row, of the lanes that the masks name.
///
/// # Safety
/// As [`pack_left`]; `load` reads no other elements.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn pack_columns(args: &PackArgs, load: impl Fn(*const u8, *const u8, __mmask16, __mmask16) -> __m512i) {
    let row_bytes = args.stride * args.dtype.size_bytes();
    // Element 2 i comes from place i, element 2 i + 1 from place 16 + i.
    let interleaved: [u16; TILE_K] = std::array::from_fn(|place| (place / 2 + place % 2 * TILE) as u16);
    // SAFETY: the array is as long as the vector.
    let interleave = unsafe { _mm512_loadu_si512(interleaved.as_ptr().cast()) };
    for k in (0..args.k).step_by(TILE_K) {
        for lane in (0..args.width).step_by(TILE) {
            let present = first_elements(args.lanes.saturating_sub(lane).min(TILE)) as __mmask16;
            let mut steps = [_mm512_setzero_si512(); TILE];
            // SAFETY: the masks are empty for lanes and rows that the source lacks, whose addresses are only computed;
            // the tile lies inside the panel.
            unsafe {
                let mut even = args.source.wrapping_add((k * args.stride + lane) * args.dtype.size_bytes());
                for step in 0..TILE {
                    let odd = even.wrapping_add(row_bytes);
                    let k = k + 2 * step;
                    let present_at = |k: usize| if k < args.k { present } else { 0 };
                    args.prefetch(even);
                    args.prefetch(odd);
                    let rows = load(even, odd, present_at(k), present_at(k + 1));
                    steps[step] = _mm512_permutexvar_epi16(interleave, rows);
                    even = odd.wrapping_add(row_bytes);
                }
                let target = args.panel.add((k / TILE_K * args.width + lane) * TILE);
                for (row, pairs) in transpose(steps).into_iter().enumerate() {
                    _mm512_storeu_si512(target.add(row * TILE).cast(), pairs);
                }
            }
        }
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;
