//! Lanes in registers of AVX2 and of AVX-512.
//!
//! Only functions that are compiled for these instructions use the types, and everything here is inlined into them.

use std::arch::x86_64::*;
use std::ops::{Add, Mul, Sub};

use super::{Lanes, Pairs};

/// Eight lanes in a register of AVX2.
#[derive(Clone, Copy)]
pub(in super::super) struct Avx2(__m256);

/// The integers beside [`Avx2`].
#[derive(Clone, Copy)]
pub(in super::super) struct Avx2Integers(__m256i);

/// Sixteen lanes in a register of AVX-512: two blocks.
#[derive(Clone, Copy)]
pub(in super::super) struct Avx512(__m512);

/// The integers beside [`Avx512`].
#[derive(Clone, Copy)]
pub(in super::super) struct Avx512Integers(__m512i);

macro_rules! operators {
    ($type:ident: $($op:ident $method:ident $instruction:ident),*) => {$(
        impl $op for $type {
            type Output = Self;
            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                // SAFETY: whoever uses the type has seen that the processor has its instructions.
                Self(unsafe { $instruction(self.0, other.0) })
            }
        }
    )*};
}
operators!(Avx2: Add add _mm256_add_ps, Sub sub _mm256_sub_ps, Mul mul _mm256_mul_ps);
operators!(Avx512: Add add _mm512_add_ps, Sub sub _mm512_sub_ps, Mul mul _mm512_mul_ps);
operators!(Avx2Integers: Add add _mm256_add_epi32);
operators!(Avx512Integers: Add add _mm512_add_epi32);

/// Methods of two operands that are one instruction.
macro_rules! instructions {
    ($($method:ident $instruction:ident),*) => {$(
        #[inline(always)]
        fn $method(self, other: Self) -> Self {
            // SAFETY: whoever uses the type has seen that the processor has its instructions.
            Self(unsafe { $instruction(self.0, other.0) })
        }
    )*};
}

impl Lanes for Avx2 {
    const BLOCKS: usize = 1;
    type Pairs = Avx2Integers;

    instructions!(divide _mm256_div_ps, min _mm256_min_ps, max _mm256_max_ps);

    #[inline(always)]
    fn splat(value: f32) -> Self {
        // SAFETY: whoever uses the type has seen that the processor has its instructions.
        Self(unsafe { _mm256_set1_ps(value) })
    }
    #[inline(always)]
    fn eight(values: &[f32; 8]) -> Self {
        // SAFETY: as above; eight values are read from an array of eight.
        Self(unsafe { _mm256_loadu_ps(values.as_ptr()) })
    }
    #[inline(always)]
    fn columns(values: &[f32], at: usize, row_len: usize, _: usize) -> [Self; 8] {
        assert!(values.len() >= 7 * row_len + at + 8, "eight rows");
        // SAFETY: as above; eight values of each row are within the slice.
        unsafe {
            let row = |i: usize| _mm256_loadu_ps(values.as_ptr().add(i * row_len + at));
            // Pairs of rows, then fours, within each half of a register; then halves are exchanged.
            let (a0, a1) = (_mm256_unpacklo_ps(row(0), row(1)), _mm256_unpackhi_ps(row(0), row(1)));
            let (a2, a3) = (_mm256_unpacklo_ps(row(2), row(3)), _mm256_unpackhi_ps(row(2), row(3)));
            let (a4, a5) = (_mm256_unpacklo_ps(row(4), row(5)), _mm256_unpackhi_ps(row(4), row(5)));
            let (a6, a7) = (_mm256_unpacklo_ps(row(6), row(7)), _mm256_unpackhi_ps(row(6), row(7)));
            let (b0, b1) = (_mm256_shuffle_ps::<0x44>(a0, a2), _mm256_shuffle_ps::<0xee>(a0, a2));
            let (b2, b3) = (_mm256_shuffle_ps::<0x44>(a1, a3), _mm256_shuffle_ps::<0xee>(a1, a3));
            let (b4, b5) = (_mm256_shuffle_ps::<0x44>(a4, a6), _mm256_shuffle_ps::<0xee>(a4, a6));
            let (b6, b7) = (_mm256_shuffle_ps::<0x44>(a5, a7), _mm256_shuffle_ps::<0xee>(a5, a7));
            [
                Self(_mm256_permute2f128_ps::<0x20>(b0, b4)),
                Self(_mm256_permute2f128_ps::<0x20>(b1, b5)),
                Self(_mm256_permute2f128_ps::<0x20>(b2, b6)),
                Self(_mm256_permute2f128_ps::<0x20>(b3, b7)),
                Self(_mm256_permute2f128_ps::<0x31>(b0, b4)),
                Self(_mm256_permute2f128_ps::<0x31>(b1, b5)),
                Self(_mm256_permute2f128_ps::<0x31>(b2, b6)),
                Self(_mm256_permute2f128_ps::<0x31>(b3, b7)),
            ]
        }
    }
    #[inline(always)]
    fn store(self, out: &mut [f32]) {
        assert_eq!(out.len(), 8, "lanes");
        // SAFETY: as above; eight values are written to a slice of eight.
        unsafe { _mm256_storeu_ps(out.as_mut_ptr(), self.0) };
    }
    #[inline(always)]
    fn square_root(self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm256_sqrt_ps(self.0) })
    }
    #[inline(always)]
    fn abs(self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm256_andnot_ps(_mm256_set1_ps(-0.0), self.0) })
    }
    #[inline(always)]
    fn where_positive(self, mask: Self, other: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe {
            let positive = _mm256_cmp_ps::<_CMP_GT_OQ>(mask.0, _mm256_setzero_ps());
            _mm256_blendv_ps(other.0, self.0, positive)
        })
    }
    #[inline(always)]
    fn where_zero(self, mask: Self, other: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe {
            let zero = _mm256_cmp_ps::<_CMP_EQ_OQ>(mask.0, _mm256_setzero_ps());
            _mm256_blendv_ps(other.0, self.0, zero)
        })
    }
    #[inline(always)]
    fn half(self) -> Self {
        // SAFETY: as above; what has AVX2 here has F16C.
        Self(unsafe { _mm256_cvtph_ps(_mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(self.0)) })
    }
    #[inline(always)]
    fn swapped<const DISTANCE: usize>(self) -> Self {
        // SAFETY: as above.
        Self(unsafe {
            match DISTANCE {
                1 => _mm256_permute_ps::<0b10_11_00_01>(self.0),
                2 => _mm256_permute_ps::<0b01_00_11_10>(self.0),
                _ => _mm256_permute2f128_ps::<0x01>(self.0, self.0),
            }
        })
    }
    #[inline(always)]
    fn pairs(first: Self, second: Self) -> Avx2Integers {
        // SAFETY: as above.
        Avx2Integers(unsafe {
            let second = _mm256_slli_epi32::<16>(_mm256_cvtps_epi32(second.0));
            _mm256_blend_epi16::<0xaa>(_mm256_cvtps_epi32(first.0), second)
        })
    }
    #[inline(always)]
    fn from_sums(sums: Avx2Integers) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm256_cvtepi32_ps(sums.0) })
    }
}

impl Pairs for Avx2Integers {
    type Sums = Self;

    instructions!(
        scaled _mm256_mulhrs_epi16, plus _mm256_adds_epi16, min _mm256_min_epi16,
        max _mm256_max_epi16, dot _mm256_madd_epi16
    );

    #[inline(always)]
    fn splat(value: i16) -> Self {
        // SAFETY: whoever uses the type has seen that the processor has its instructions.
        Self(unsafe { _mm256_set1_epi16(value) })
    }
    #[inline(always)]
    fn shifted(self, bits: i32) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm256_sra_epi16(self.0, _mm_cvtsi32_si128(bits)) })
    }
}

impl Lanes for Avx512 {
    const BLOCKS: usize = 2;
    type Pairs = Avx512Integers;

    instructions!(divide _mm512_div_ps, min _mm512_min_ps, max _mm512_max_ps);

    #[inline(always)]
    fn splat(value: f32) -> Self {
        // SAFETY: whoever uses the type has seen that the processor has its instructions.
        Self(unsafe { _mm512_set1_ps(value) })
    }
    #[inline(always)]
    fn eight(values: &[f32; 8]) -> Self {
        // SAFETY: as above; eight values are read from an array of eight.
        Self(unsafe { _mm512_broadcast_f32x8(_mm256_loadu_ps(values.as_ptr())) })
    }
    #[inline(always)]
    fn columns(values: &[f32], at: usize, row_len: usize, block_len: usize) -> [Self; 8] {
        let first = Avx2::columns(values, at, row_len, 0);
        let second = Avx2::columns(&values[block_len..], at, row_len, 0);
        let mut out = [Self::splat(0.0); 8];
        for i in 0..8 {
            // SAFETY: as above; AVX-512 includes AVX2.
            out[i] = Self(unsafe { _mm512_insertf32x8::<1>(_mm512_castps256_ps512(first[i].0), second[i].0) });
        }
        out
    }
    #[inline(always)]
    fn store(self, out: &mut [f32]) {
        assert_eq!(out.len(), 16, "lanes");
        // SAFETY: as above; sixteen values are written to a slice of sixteen.
        unsafe { _mm512_storeu_ps(out.as_mut_ptr(), self.0) };
    }
    #[inline(always)]
    fn square_root(self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm512_sqrt_ps(self.0) })
    }
    #[inline(always)]
    fn abs(self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm512_abs_ps(self.0) })
    }
    #[inline(always)]
    fn where_positive(self, mask: Self, other: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe {
            let positive = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(mask.0, _mm512_setzero_ps());
            _mm512_mask_blend_ps(positive, other.0, self.0)
        })
    }
    #[inline(always)]
    fn where_zero(self, mask: Self, other: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe {
            let zero = _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(mask.0, _mm512_setzero_ps());
            _mm512_mask_blend_ps(zero, other.0, self.0)
        })
    }
    #[inline(always)]
    fn half(self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm512_cvtph_ps(_mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(self.0)) })
    }
    #[inline(always)]
    fn swapped<const DISTANCE: usize>(self) -> Self {
        // SAFETY: as above.
        Self(unsafe {
            match DISTANCE {
                1 => _mm512_permute_ps::<0b10_11_00_01>(self.0),
                2 => _mm512_permute_ps::<0b01_00_11_10>(self.0),
                _ => _mm512_shuffle_f32x4::<0b10_11_00_01>(self.0, self.0),
            }
        })
    }
    #[inline(always)]
    fn pairs(first: Self, second: Self) -> Avx512Integers {
        // SAFETY: as above.
        Avx512Integers(unsafe {
            let second = _mm512_slli_epi32::<16>(_mm512_cvtps_epi32(second.0));
            _mm512_mask_blend_epi16(0xaaaa_aaaa, _mm512_cvtps_epi32(first.0), second)
        })
    }
    #[inline(always)]
    fn from_sums(sums: Avx512Integers) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm512_cvtepi32_ps(sums.0) })
    }
}

impl Pairs for Avx512Integers {
    type Sums = Self;

    instructions!(
        scaled _mm512_mulhrs_epi16, plus _mm512_adds_epi16, min _mm512_min_epi16,
        max _mm512_max_epi16, dot _mm512_madd_epi16
    );

    #[inline(always)]
    fn splat(value: i16) -> Self {
        // SAFETY: whoever uses the type has seen that the processor has its instructions.
        Self(unsafe { _mm512_set1_epi16(value) })
    }
    #[inline(always)]
    fn shifted(self, bits: i32) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm512_sra_epi16(self.0, _mm_cvtsi32_si128(bits)) })
    }
}
