//! Eight numbers worked on together: in plain Rust, and in one register of AVX2. Both round every operation alone, so both
//! give the same bits.

use std::ops::{Add, Mul, Sub};

/// Eight lanes of `f32`.
pub(super) trait Lanes: Copy + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> {
    fn from_array(values: [f32; 8]) -> Self;
    fn to_array(self) -> [f32; 8];
    fn divide(self, other: Self) -> Self;
    /// The smaller one; neither is a NaN.
    fn min(self, other: Self) -> Self;
    /// The larger one; neither is a NaN.
    fn max(self, other: Self) -> Self;
    fn abs(self) -> Self;
    /// Own lanes where `mask` is above 0, else the other's.
    fn where_positive(self, mask: Self, other: Self) -> Self;
    /// Own lanes where `mask` is 0, else the other's.
    fn where_zero(self, mask: Self, other: Self) -> Self;

    #[inline(always)]
    fn splat(value: f32) -> Self {
        Self::from_array([value; 8])
    }

    /// `self / other`; 0 where `other` is 0.
    #[inline(always)]
    fn ratio(self, other: Self) -> Self {
        let safe = Self::splat(1.0).where_zero(other, other);
        Self::splat(0.0).where_zero(other, self.divide(safe))
    }

    /// The nearest integer, ties to even, below 2^22.
    #[inline(always)]
    fn nearest(self) -> Self {
        let magic = Self::splat(MAGIC);
        (self + magic) - magic
    }

    #[inline(always)]
    fn clamp(self, low: f32, high: f32) -> Self {
        self.max(Self::splat(low)).min(Self::splat(high))
    }
}

/// Adding 1.5 * 2^23 leaves no bits behind the point.
const MAGIC: f32 = 12_582_912.0;

/// Eight lanes in plain Rust.
#[derive(Clone, Copy)]
pub(super) struct Plain([f32; 8]);

impl Plain {
    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        let mut out = self.0;
        for lane in 0..8 {
            out[lane] = f(self.0[lane], other.0[lane]);
        }
        Self(out)
    }
}

impl Add for Plain {
    type Output = Self;
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }
}

impl Sub for Plain {
    type Output = Self;
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        self.zip(other, |a, b| a - b)
    }
}

impl Mul for Plain {
    type Output = Self;
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        self.zip(other, |a, b| a * b)
    }
}

impl Lanes for Plain {
    #[inline(always)]
    fn from_array(values: [f32; 8]) -> Self {
        Self(values)
    }
    #[inline(always)]
    fn to_array(self) -> [f32; 8] {
        self.0
    }
    #[inline(always)]
    fn divide(self, other: Self) -> Self {
        self.zip(other, |a, b| a / b)
    }
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        self.zip(other, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        self.zip(other, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    fn abs(self) -> Self {
        Self(self.0.map(f32::abs))
    }
    #[inline(always)]
    fn where_positive(self, mask: Self, other: Self) -> Self {
        let mut out = other.0;
        for lane in 0..8 {
            out[lane] = if mask.0[lane] > 0.0 { self.0[lane] } else { other.0[lane] };
        }
        Self(out)
    }
    #[inline(always)]
    fn where_zero(self, mask: Self, other: Self) -> Self {
        let mut out = other.0;
        for lane in 0..8 {
            out[lane] = if mask.0[lane] == 0.0 { self.0[lane] } else { other.0[lane] };
        }
        Self(out)
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use avx::Avx;

#[cfg(target_arch = "x86_64")]
mod avx {
    use std::arch::x86_64::*;
    use std::ops::{Add, Mul, Sub};

    use super::Lanes;

    /// Eight lanes in a register. Only functions that are compiled for AVX2, or for more, use the type, and everything here
    /// is inlined into them.
    #[derive(Clone, Copy)]
    pub(in super::super) struct Avx(__m256);

    macro_rules! operator {
        ($op:ident $method:ident $instruction:ident) => {
            impl $op for Avx {
                type Output = Self;
                #[inline(always)]
                fn $method(self, other: Self) -> Self {
                    // SAFETY: whoever uses the type has seen that the processor has AVX2.
                    Self(unsafe { $instruction(self.0, other.0) })
                }
            }
        };
    }
    operator!(Add add _mm256_add_ps);
    operator!(Sub sub _mm256_sub_ps);
    operator!(Mul mul _mm256_mul_ps);

    impl Lanes for Avx {
        #[inline(always)]
        fn from_array(values: [f32; 8]) -> Self {
            // SAFETY: as above; eight values are read from an array of eight.
            Self(unsafe { _mm256_loadu_ps(values.as_ptr()) })
        }
        #[inline(always)]
        fn to_array(self) -> [f32; 8] {
            let mut out = [0.0; 8];
            // SAFETY: as above; eight values are written to an array of eight.
            unsafe { _mm256_storeu_ps(out.as_mut_ptr(), self.0) };
            out
        }
        #[inline(always)]
        fn splat(value: f32) -> Self {
            // SAFETY: whoever uses the type has seen that the processor has AVX2.
            Self(unsafe { _mm256_set1_ps(value) })
        }
        #[inline(always)]
        fn divide(self, other: Self) -> Self {
            // SAFETY: as above.
            Self(unsafe { _mm256_div_ps(self.0, other.0) })
        }
        #[inline(always)]
        fn min(self, other: Self) -> Self {
            // SAFETY: as above.
            Self(unsafe { _mm256_min_ps(self.0, other.0) })
        }
        #[inline(always)]
        fn max(self, other: Self) -> Self {
            // SAFETY: as above.
            Self(unsafe { _mm256_max_ps(self.0, other.0) })
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
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_rounds_ties_to_even() {
        for step in -40_000..40_000 {
            let value = step as f32 / 64.0;
            assert_eq!(Plain::splat(value).nearest().to_array(), [value.round_ties_even(); 8], "{value}");
        }
    }
}
