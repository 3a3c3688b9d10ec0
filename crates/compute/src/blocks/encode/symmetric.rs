//! Q6_K: the search for the scales of a block's sixteen groups.

use super::lanes::{Lanes, Pairs};

/// Groups of a block, which have as many values each.
pub(super) const SIXTEEN: usize = 16;
/// Registers of pairs that hold the values of a group.
const REGISTERS: usize = SIXTEEN / 2;

/// The largest integer of 16 bits.
const I16_MAX: f32 = 32767.0;
/// A group without a larger value has nothing to search for; and that of ggml.
const SMALLEST: f32 = 1e-30;
const GGML_SMALLEST: f32 = 1e-15;
/// Codes are `-32..=31`.
const LOW: i16 = -32;
const HIGH: i16 = 31;
/// Bits behind the point of a position: twice as many codes as there are fit in 16 bits.
const FRACTION: i32 = 9;
/// A position's factor for one step in a group's largest value.
const STEP: f32 = 512.0 * 32768.0 / 32767.0;

/// Eight groups of each block.
struct Groups<L: Lanes> {
    /// Whole numbers, in `unit`.
    x: [L::Pairs; REGISTERS],
    unit: L,
    /// The sign of the value of the largest magnitude.
    sign: L,
}

impl<L: Lanes> Groups<L> {
    #[inline(always)]
    fn new(x: &[L; SIXTEEN]) -> Self {
        let zero = L::splat(0.0);
        let largest = largest_of(x);
        let size = largest.abs();
        let size = size.where_positive(size - L::splat(SMALLEST), zero);
        let fixed = L::splat(I16_MAX).ratio(size);
        let mut groups = Self {
            x: [L::Pairs::splat(0); REGISTERS],
            unit: size * L::splat(1.0 / I16_MAX),
            sign: L::splat(1.0).where_positive(largest, L::splat(-1.0)),
        };
        for i in 0..REGISTERS {
            groups.x[i] = L::pairs(x[2 * i] * fixed, x[2 * i + 1] * fixed);
        }
        groups
    }

    /// `Σ l²` and `Σ l x` of the codes nearest to `x / unit * factor * 2^-24`.
    #[inline(always)]
    fn sums(&self, factor: L) -> (L, L) {
        let factor = L::pairs(factor, factor);
        let first = code(self.x[0], factor);
        let (mut ll, mut lx) = (first.dot(first), first.dot(self.x[0]));
        for x in &self.x[1..] {
            let code = code(*x, factor);
            ll = ll + code.dot(code);
            lx = lx + code.dot(*x);
        }
        (L::from_sums(ll), L::from_sums(lx) * self.unit)
    }

    /// The best scales found.
    #[inline(always)]
    fn sweep(&self) -> L {
        let zero = L::splat(0.0);
        let mut best = [zero; 2];
        for step in SWEEP {
            best = better(best, self.sums(zero - self.sign * L::splat((32.0 + 0.1 * step) * STEP)));
        }
        best[0]
    }
}

/// ggml's own fit, to the bit: the scales of which the squared error is least with the weights `x²`.
#[inline(always)]
fn ggml_fit<L: Lanes>(x: &[L; SIXTEEN]) -> L {
    let zero = L::splat(0.0);
    let largest = largest_of(x);
    let (mut scale, mut best) = (zero, zero);
    for step in SWEEP {
        let inverse = L::splat(-(32.0 + 0.1 * step)).ratio(largest);
        let (mut lx, mut ll) = (zero, zero);
        for value in x {
            let code = (inverse * *value).nearest().clamp(f32::from(LOW), f32::from(HIGH));
            let weight = *value * *value;
            lx = lx + weight * *value * code;
            ll = ll + weight * code * code;
        }
        let more = (lx * lx - best * ll).where_positive(ll, zero);
        let tried = lx.ratio(ll);
        scale = tried.where_positive(more, scale);
        best = (tried * lx).where_positive(more, best);
    }
    scale.where_positive(largest.abs() - L::splat(GGML_SMALLEST), zero)
}

/// The value of the largest magnitude, the first of equals.
#[inline(always)]
fn largest_of<L: Lanes>(x: &[L; SIXTEEN]) -> L {
    let mut largest = L::splat(0.0);
    for value in x {
        largest = value.where_positive(value.abs() - largest.abs(), largest);
    }
    largest
}

/// The scale for these sums and its gain, where that is higher than `so_far`.
#[inline(always)]
fn better<L: Lanes>(so_far: [L; 2], (ll, lx): (L, L)) -> [L; 2] {
    let scale = lx.ratio(ll);
    let gain = scale * lx;
    let more = gain - so_far[1];
    [scale.where_positive(more, so_far[0]), gain.where_positive(more, so_far[1])]
}

#[inline(always)]
fn code<P: Pairs>(x: P, factor: P) -> P {
    x.scaled(factor).plus(P::splat(1 << (FRACTION - 1))).shifted(FRACTION).max(P::splat(LOW)).min(P::splat(HIGH))
}

/// Where the largest value goes: to the code -32 first, then to somewhat less and more, in tenths of a code.
const SWEEP: [f32; 19] = {
    let mut steps = [0.0; 19];
    let mut i = 0;
    while i < 9 {
        steps[1 + i] = i as f32 - 9.0;
        steps[10 + i] = i as f32 + 1.0;
        i += 1;
    }
    steps
};

/// The unit of a block and the groups' codes, of either half.
#[derive(Clone, Copy)]
pub(super) struct Units<L> {
    pub(super) d: L,
    pub(super) scales: [L; 2],
}

/// Which code the largest scale of a block gets, at first. -128 is one more than 127.
const STARTS: [f32; 4] = [-128.0, -125.0, -121.0, -116.0];

impl<L: Lanes> Units<L> {
    #[inline(always)]
    fn new(scales: &[L; 2], d: L) -> Self {
        let first = scales[0].ratio(d).clamp(-128.0, 127.0).nearest();
        let second = scales[1].ratio(d).clamp(-128.0, 127.0).nearest();
        Self { d, scales: [first, second] }
    }

    /// The scale of the largest magnitude of a block, in every lane; the first of equals.
    #[inline(always)]
    fn largest(scales: &[L; 2]) -> L {
        let size = scales[0].abs().max(scales[1].abs()).block_max();
        let (zero, none) = (L::splat(0.0), L::splat(-99.0));
        // Counted backwards, so that the first one has the largest number.
        let numbers = [
            L::eight(&[16.0, 15.0, 14.0, 13.0, 12.0, 11.0, 10.0, 9.0]),
            L::eight(&[8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0]),
        ];
        let (mut positive, mut negative) = (none, none);
        for half in 0..2 {
            positive = positive.max(numbers[half].where_zero(scales[half] - size, none));
            negative = negative.max(numbers[half].where_zero(scales[half] + size, none));
        }
        size.where_positive(positive.block_max() - negative.block_max(), zero - size)
    }

    #[inline(always)]
    fn as_ggml(scales: &[L; 2]) -> Self {
        let largest = Self::largest(scales);
        let largest = largest.where_positive(largest.abs() - L::splat(GGML_SMALLEST), L::splat(0.0));
        let inverse = L::splat(-128.0).ratio(largest);
        let d = L::splat(1.0).ratio(inverse).clamp(-super::F16_MAX, super::F16_MAX).half();
        let first = (scales[0] * inverse).nearest().clamp(-128.0, 127.0);
        let second = (scales[1] * inverse).nearest().clamp(-128.0, 127.0);
        Self { d, scales: [first, second] }
    }

    /// The unit by least squares; by how much both lower the squared error of the block.
    #[inline(always)]
    fn improve(&mut self, groups: &[Groups<L>; 2]) -> L {
        let (mut ax, mut aa) = (L::splat(0.0), L::splat(0.0));
        for half in 0..2 {
            let scale = self.d * self.scales[half];
            let factor = (groups[half].unit * L::splat(512.0 * 32768.0)).ratio(scale).clamp(-I16_MAX, I16_MAX);
            let (ll, lx) = groups[half].sums(factor);
            ax = ax + self.scales[half] * lx;
            aa = aa + self.scales[half] * self.scales[half] * ll;
        }
        let (ax, aa) = (ax.block_sum(), aa.block_sum());
        let d = ax.ratio(aa).clamp(-super::F16_MAX, super::F16_MAX).half();
        let two = L::splat(2.0);
        let (so_far, gain) = (self.d * (two * ax - self.d * aa), d * (two * ax - d * aa));
        self.d = d.where_positive(gain - so_far, self.d);
        gain.max(so_far)
    }
}

/// The best unit and codes found for each of `L::BLOCKS` blocks, and those that ggml would take.
#[inline(always)]
pub(super) fn search<L: Lanes>(values: &[f32]) -> [Units<L>; 2] {
    let mut halves = [[L::splat(0.0); SIXTEEN]; 2];
    for (half, x) in halves.iter_mut().enumerate() {
        for (part, out) in x.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            *out = L::columns(&values[128 * half..], 8 * part, SIXTEEN, 256);
        }
    }
    let theirs = Units::as_ggml(&[ggml_fit(&halves[0]), ggml_fit(&halves[1])]);
    let groups = [Groups::new(&halves[0]), Groups::new(&halves[1])];
    let plain = [groups[0].sweep(), groups[1].sweep()];
    let mut best = theirs;
    let mut best_gain = best.improve(&groups);
    let largest = Units::largest(&plain);
    for top in STARTS {
        let d = (largest * L::splat(1.0 / top)).clamp(-super::F16_MAX, super::F16_MAX).half();
        let mut tried = Units::new(&plain, d);
        let gain = tried.improve(&groups);
        let more = gain - best_gain;
        best.d = tried.d.where_positive(more, best.d);
        for half in 0..2 {
            best.scales[half] = tried.scales[half].where_positive(more, best.scales[half]);
        }
        best_gain = gain.max(best_gain);
    }
    [best, theirs]
}
