//! Numbers worked on together: eight in plain Rust or in a register of AVX2, sixteen in one of AVX-512. All round every
//! operation alone and add up in the same order, so all give the same bits.
//!
//! Lanes come in eights, one eight a block: what is summed over a block never crosses into another one.

use std::ops::{Add, Mul, Sub};

use half::f16;

#[cfg(target_arch = "x86_64")]
#[path = "lanes_x86.rs"]
mod x86;
#[cfg(target_arch = "x86_64")]
pub(super) use x86::{Avx2, Avx512};

/// Lanes of `f32`: eight for each of `BLOCKS` blocks.
pub(super) trait Lanes: Copy + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> {
    /// Blocks that are worked on together.
    const BLOCKS: usize;
    /// Two numbers of 16 bits in each lane.
    type Pairs: Pairs;

    fn splat(value: f32) -> Self;
    /// The same eight numbers for every block.
    fn eight(values: &[f32; 8]) -> Self;
    /// Eight numbers from `at` on in each of the rows of a block: lane `8 b + l` of result `i` is row `l`'s number `at + i` of
    /// block b. A block has eight rows, `row_len` apart; blocks are `block_len` apart.
    fn columns(values: &[f32], at: usize, row_len: usize, block_len: usize) -> [Self; 8];
    /// Writes the `8 * BLOCKS` lanes.
    fn store(self, out: &mut [f32]);
    fn divide(self, other: Self) -> Self;
    fn square_root(self) -> Self;
    /// The smaller one; neither is a NaN.
    fn min(self, other: Self) -> Self;
    /// The larger one; neither is a NaN.
    fn max(self, other: Self) -> Self;
    fn abs(self) -> Self;
    /// Own lanes where `mask` is above 0, else the other's.
    fn where_positive(self, mask: Self, other: Self) -> Self;
    /// Own lanes where `mask` is 0, else the other's.
    fn where_zero(self, mask: Self, other: Self) -> Self;
    /// Rounded to what an `f16` can hold.
    fn half(self) -> Self;
    /// Every lane of a block: that of the lane `4`, `2` or `1` away.
    fn swapped<const DISTANCE: usize>(self) -> Self;
    /// Two numbers a lane, rounded to the nearest integers (ties to even), which must fit 16 bits.
    fn pairs(first: Self, second: Self) -> Self::Pairs;
    /// Integers below 2^31, rounded to `f32`.
    fn from_sums(sums: <Self::Pairs as Pairs>::Sums) -> Self;

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

    /// In every lane the sum over its block.
    #[inline(always)]
    fn block_sum(self) -> Self {
        let fours = self + self.swapped::<4>();
        let twos = fours + fours.swapped::<2>();
        twos + twos.swapped::<1>()
    }

    /// In every lane the largest number of its block.
    #[inline(always)]
    fn block_max(self) -> Self {
        let fours = self.max(self.swapped::<4>());
        let twos = fours.max(fours.swapped::<2>());
        twos.max(twos.swapped::<1>())
    }
}

/// Two integers of 16 bits in each lane.
pub(super) trait Pairs: Copy {
    /// One integer of 32 bits in each lane.
    type Sums: Copy + Add<Output = Self::Sums>;

    fn splat(value: i16) -> Self;
    /// `(self * by) / 2^15`, rounded to the nearest, halves up.
    fn scaled(self, by: Self) -> Self;
    /// The sum, saturated.
    fn plus(self, other: Self) -> Self;
    fn min(self, other: Self) -> Self;
    fn max(self, other: Self) -> Self;
    /// `floor(self / 2^bits)`.
    fn shifted(self, bits: i32) -> Self;
    /// The sum of both products of a lane.
    fn dot(self, other: Self) -> Self::Sums;
}

/// Adding 1.5 * 2^23 leaves no bits behind the point.
pub(super) const MAGIC: f32 = 12_582_912.0;

/// Eight lanes in plain Rust.
#[derive(Clone, Copy)]
pub(super) struct Plain([f32; 8]);

/// First numbers of the lanes, and second ones.
#[derive(Clone, Copy)]
pub(super) struct PlainPairs([i16; 16]);

/// Sums of eight lanes.
#[derive(Clone, Copy)]
pub(super) struct PlainSums([i32; 8]);

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
    const BLOCKS: usize = 1;
    type Pairs = PlainPairs;

    #[inline(always)]
    fn splat(value: f32) -> Self {
        Self([value; 8])
    }
    #[inline(always)]
    fn eight(values: &[f32; 8]) -> Self {
        Self(*values)
    }
    #[inline(always)]
    fn columns(values: &[f32], at: usize, row_len: usize, _: usize) -> [Self; 8] {
        let mut columns = [Self([0.0; 8]); 8];
        for lane in 0..8 {
            for (column, &value) in columns.iter_mut().zip(&values[lane * row_len + at..][..8]) {
                column.0[lane] = value;
            }
        }
        columns
    }
    #[inline(always)]
    fn store(self, out: &mut [f32]) {
        out.copy_from_slice(&self.0);
    }
    #[inline(always)]
    fn divide(self, other: Self) -> Self {
        self.zip(other, |a, b| a / b)
    }
    #[inline(always)]
    fn square_root(self) -> Self {
        Self(self.0.map(f32::sqrt))
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
    #[inline(always)]
    fn half(self) -> Self {
        Self(self.0.map(|value| f16::from_f32(value).to_f32()))
    }
    #[inline(always)]
    fn swapped<const DISTANCE: usize>(self) -> Self {
        let mut out = self.0;
        for lane in 0..8 {
            out[lane] = self.0[lane ^ DISTANCE];
        }
        Self(out)
    }
    #[inline(always)]
    fn pairs(first: Self, second: Self) -> PlainPairs {
        let (first, second) = (first.nearest(), second.nearest());
        let mut out = [0; 16];
        for lane in 0..8 {
            out[lane] = first.0[lane] as i16;
            out[lane + 8] = second.0[lane] as i16;
        }
        PlainPairs(out)
    }
    #[inline(always)]
    fn from_sums(sums: PlainSums) -> Self {
        Self(sums.0.map(|sum| sum as f32))
    }
}

impl PlainPairs {
    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(i16, i16) -> i16) -> Self {
        let mut out = self.0;
        for i in 0..16 {
            out[i] = f(self.0[i], other.0[i]);
        }
        Self(out)
    }
}

impl Pairs for PlainPairs {
    type Sums = PlainSums;

    #[inline(always)]
    fn splat(value: i16) -> Self {
        Self([value; 16])
    }
    #[inline(always)]
    fn scaled(self, by: Self) -> Self {
        self.zip(by, |a, b| ((i32::from(a) * i32::from(b) + (1 << 14)) >> 15) as i16)
    }
    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        self.zip(other, i16::saturating_add)
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
    fn shifted(self, bits: i32) -> Self {
        Self(self.0.map(|value| value >> bits))
    }
    #[inline(always)]
    fn dot(self, other: Self) -> PlainSums {
        let mut out = [0; 8];
        for lane in 0..8 {
            let first = i32::from(self.0[lane]) * i32::from(other.0[lane]);
            out[lane] = first + i32::from(self.0[lane + 8]) * i32::from(other.0[lane + 8]);
        }
        PlainSums(out)
    }
}

impl Add for PlainSums {
    type Output = Self;
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        let mut out = self.0;
        for lane in 0..8 {
            out[lane] = self.0[lane].wrapping_add(other.0[lane]);
        }
        Self(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_rounds_ties_to_even() {
        for step in -40_000..40_000 {
            let value = step as f32 / 64.0;
            assert_eq!(Plain::splat(value).nearest().0, [value.round_ties_even(); 8], "{value}");
        }
    }
}
