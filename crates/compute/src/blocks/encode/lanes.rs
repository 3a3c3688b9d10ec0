//! One number for each of `N` groups, worked on together: what the compiler turns into vectors.

use std::ops::{Add, Mul, Sub};

#[derive(Clone, Copy)]
pub(super) struct Lanes<const N: usize>(pub(super) [f32; N]);

macro_rules! by_lane {
    ($($op:ident $method:ident $sign:tt)*) => {$(
        impl<const N: usize> $op for Lanes<N> {
            type Output = Self;
            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                let mut out = self.0;
                for lane in 0..N {
                    out[lane] = self.0[lane] $sign other.0[lane];
                }
                Self(out)
            }
        }
    )*};
}
by_lane!(Add add + Sub sub - Mul mul *);

impl<const N: usize> Lanes<N> {
    #[inline(always)]
    pub(super) fn splat(value: f32) -> Self {
        Self([value; N])
    }

    #[inline(always)]
    pub(super) fn map(self, f: impl Fn(f32) -> f32) -> Self {
        let mut out = self.0;
        for lane in 0..N {
            out[lane] = f(self.0[lane]);
        }
        Self(out)
    }

    /// The smaller one; neither is a NaN.
    #[inline(always)]
    pub(super) fn min(self, other: Self) -> Self {
        self.choose(other, |a, b| a < b)
    }

    /// The larger one; neither is a NaN.
    #[inline(always)]
    pub(super) fn max(self, other: Self) -> Self {
        self.choose(other, |a, b| a > b)
    }

    /// Own lanes where `keep` says so, else the other's.
    #[inline(always)]
    pub(super) fn choose(self, other: Self, keep: impl Fn(f32, f32) -> bool) -> Self {
        let mut out = self.0;
        for lane in 0..N {
            out[lane] = if keep(self.0[lane], other.0[lane]) { self.0[lane] } else { other.0[lane] };
        }
        Self(out)
    }

    /// `self / other`; 0 where `other` is 0.
    #[inline(always)]
    pub(super) fn ratio(self, other: Self) -> Self {
        let mut out = self.0;
        for lane in 0..N {
            let safe = if other.0[lane] == 0.0 { 1.0 } else { other.0[lane] };
            out[lane] = if other.0[lane] == 0.0 { 0.0 } else { self.0[lane] / safe };
        }
        Self(out)
    }

    /// The nearest integer, ties to even, below 2^22.
    #[inline(always)]
    pub(super) fn nearest(self) -> Self {
        self.map(nearest)
    }

    /// Own lanes where `mask` is positive, else the other's.
    #[inline(always)]
    pub(super) fn where_positive(self, mask: Self, other: Self) -> Self {
        let mut out = self.0;
        for lane in 0..N {
            out[lane] = if mask.0[lane] > 0.0 { self.0[lane] } else { other.0[lane] };
        }
        Self(out)
    }
}

/// The nearest integer, ties to even, below 2^22: adding 1.5 * 2^23 leaves no bits behind the point. Unlike
/// `round_ties_even` it needs no instruction beyond the oldest ones, so the portable path vectorises, too.
#[inline(always)]
pub(super) fn nearest(value: f32) -> f32 {
    const MAGIC: f32 = 12_582_912.0;
    (value + MAGIC) - MAGIC
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn nearest_rounds_ties_to_even() {
        for step in -40_000..40_000 {
            let value = step as f32 / 64.0;
            assert_eq!(nearest(value), value.round_ties_even(), "{value}");
        }
    }
}
