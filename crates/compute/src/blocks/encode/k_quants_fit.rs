//! What Q4_K and Q5_K share: the search for the scales and minima of a block's eight groups.

use super::lanes::{Lanes, Pairs};

/// Groups of a block, and values of each.
pub(super) const GROUPS: usize = 8;
pub(super) const GROUP_LEN: usize = 32;
/// Registers of pairs that hold the values of a group.
const REGISTERS: usize = GROUP_LEN / 2;

/// The largest integer of 16 bits.
const I16_MAX: f32 = 32767.0;
/// A range below which there is nothing to search for.
const SMALLEST: f32 = 1e-30;

/// What distinguishes Q4_K from Q5_K.
pub(super) trait Affine {
    /// Bits of a code.
    const BITS: u32;
    /// The sweep over steps in the range of a group: from `TOP + FIRST`, `STEPS` of them, a tenth apart.
    const FIRST: f32;
    const STEPS: u32;

    /// The largest code.
    const TOP: i16 = (1 << Self::BITS) - 1;
    /// Bits behind the point of a position: twice as many codes as there are fit in 16 bits.
    const FRACTION: i32 = 14 - Self::BITS as i32;
}

/// Codes from 0 to 15.
pub(super) struct FourBits;
impl Affine for FourBits {
    const BITS: u32 = 4;
    const FIRST: f32 = -1.0;
    const STEPS: u32 = 21;
}

/// Codes from 0 to 31.
pub(super) struct FiveBits;
impl Affine for FiveBits {
    const BITS: u32 = 5;
    const FIRST: f32 = -0.5;
    const STEPS: u32 = 16;
}

/// The groups' values as they are searched over. `y` are the values above the lowest one, or above 0 if that is lower.
struct Groups<L: Lanes> {
    /// `(y - mean) / unit`, whole numbers.
    y: [L::Pairs; REGISTERS],
    unit: L,
    /// The mean of `y`.
    center: L,
    /// The lowest value, or 0 if that is lower.
    lowest: L,
    range: L,
}

impl<L: Lanes> Groups<L> {
    #[inline(always)]
    fn new(x: &[L; GROUP_LEN]) -> Self {
        let zero = L::splat(0.0);
        let (mut lowest, mut highest, mut sum) = (zero, x[0], zero);
        for value in x {
            lowest = lowest.min(*value);
            highest = highest.max(*value);
            sum = sum + *value;
        }
        let range = highest - lowest;
        let mean = sum * L::splat(1.0 / GROUP_LEN as f32);
        // A smaller range is nothing beside any scale that an f16 can hold.
        let fixed = L::splat(I16_MAX).ratio(range.where_positive(range - L::splat(SMALLEST), zero));
        let mut y = [L::Pairs::splat(0); REGISTERS];
        for i in 0..REGISTERS {
            y[i] = L::pairs((x[2 * i] - mean) * fixed, (x[2 * i + 1] - mean) * fixed);
        }
        Self { y, unit: range * L::splat(1.0 / I16_MAX), center: mean - lowest, lowest, range }
    }

    /// Factor and shift that give the positions of values among codes, for the codes' distance `1 / inverse` and the code 0
    /// at `offset`.
    #[inline(always)]
    fn position<K: Affine>(&self, inverse: L, offset: L) -> (L::Pairs, L::Pairs) {
        let one = (1 << K::FRACTION) as f32;
        let factor = (self.unit * inverse * L::splat(one * 32768.0)).min(L::splat(I16_MAX));
        let shift = ((self.center - offset) * inverse + L::splat(0.5)) * L::splat(one);
        let shift = shift.clamp(-I16_MAX, I16_MAX);
        (L::pairs(factor, factor), L::pairs(shift, shift))
    }

    #[inline(always)]
    fn sums<K: Affine>(&self, inverse: L, offset: L) -> CodeSums<L> {
        let (factor, shift) = self.position::<K>(inverse, offset);
        sums::<K, L>(&self.y, factor, shift, self.unit)
    }
}

/// The sums that codes `l` enter, with weights or without: of `l`, `l²`, and `l` times a value less the mean.
#[derive(Clone, Copy)]
struct CodeSums<L> {
    l: L,
    ll: L,
    ly: L,
}

#[inline(always)]
fn code<K: Affine, P: Pairs>(y: P, factor: P, shift: P) -> P {
    y.scaled(factor).plus(shift).shifted(K::FRACTION).max(P::splat(0)).min(P::splat(K::TOP))
}

#[inline(always)]
fn sums<K: Affine, L: Lanes>(y: &[L::Pairs; REGISTERS], factor: L::Pairs, shift: L::Pairs, unit: L) -> CodeSums<L> {
    let first = code::<K, _>(y[0], factor, shift);
    let (mut l, mut ll, mut ly) = (first, first.dot(first), first.dot(y[0]));
    for y in &y[1..] {
        let code = code::<K, _>(*y, factor, shift);
        l = l.plus(code);
        ll = ll + code.dot(code);
        ly = ly + code.dot(*y);
    }
    CodeSums { l: L::from_sums(l.dot(L::Pairs::splat(1))), ll: L::from_sums(ll), ly: L::from_sums(ly) * unit }
}

/// `y ≈ scale l + offset`, and by how much that lowers the squared error against that of the mean.
#[derive(Clone, Copy)]
struct Fit<L> {
    scale: L,
    offset: L,
    gain: L,
}

impl<L: Lanes> CodeSums<L> {
    /// `Σ (l - mean)²`.
    #[inline(always)]
    fn spread(&self) -> L {
        self.ll - self.l * self.l * L::splat(1.0 / GROUP_LEN as f32)
    }

    #[inline(always)]
    fn gain(&self, groups: &Groups<L>, scale: L, offset: L) -> L {
        let gap = scale * self.l * L::splat(1.0 / GROUP_LEN as f32) + offset - groups.center;
        scale * (L::splat(2.0) * self.ly - scale * self.spread()) - L::splat(GROUP_LEN as f32) * gap * gap
    }

    /// The best fit with these codes, or that `so_far` where it is better.
    #[inline(always)]
    fn better(&self, groups: &Groups<L>, so_far: Fit<L>) -> Fit<L> {
        let zero = L::splat(0.0);
        let spread = self.spread();
        let free_scale = self.ly.ratio(spread);
        let free_offset = groups.center - free_scale * self.l * L::splat(1.0 / GROUP_LEN as f32);
        // What is stored is subtracted and has no sign: the lowest value shown may not be above 0.
        let highest_offset = zero - groups.lowest;
        let bound_scale = (self.ly + (groups.center - highest_offset) * self.l).ratio(self.ll);
        let above = free_offset - highest_offset;
        let scale = bound_scale.where_positive(above, free_scale);
        let offset = highest_offset.where_positive(above, free_offset);
        let gain = self.gain(groups, scale, offset);
        let more = (gain - so_far.gain).where_positive(spread, zero);
        Fit {
            scale: scale.where_positive(more, so_far.scale),
            offset: offset.where_positive(more, so_far.offset),
            gain: gain.where_positive(more, so_far.gain),
        }
    }
}

/// The best fit found for each group.
#[inline(always)]
fn sweep<K: Affine, L: Lanes>(groups: &Groups<L>) -> Fit<L> {
    let zero = L::splat(0.0);
    let top = L::splat(f32::from(K::TOP));
    let scale = groups.range.ratio(top);
    // The step that spans the range exactly, as it is: what else is found must be better.
    let gain = groups.sums::<K>(L::splat(1.0).ratio(scale), zero).gain(groups, scale, zero);
    let mut fit = Fit { scale, offset: zero, gain };
    let inverse_range = L::splat(1.0).ratio(groups.range);
    for step in 0..K::STEPS {
        let steps = L::splat(f32::from(K::TOP) + K::FIRST + 0.1 * step as f32);
        fit = groups.sums::<K>(steps * inverse_range, zero).better(groups, fit);
    }
    for _ in 0..REFINEMENTS {
        fit = groups.sums::<K>(L::splat(1.0).ratio(fit.scale), fit.offset).better(groups, fit);
    }
    fit
}

/// ggml's own fit, to the bit: scales and minima, of which the squared error is least with the weights `|x|` plus the root of
/// the mean square.
#[inline(always)]
fn ggml_fit<K: Affine, L: Lanes>(x: &[L; GROUP_LEN]) -> (L, L) {
    let zero = L::splat(0.0);
    let top = L::splat(f32::from(K::TOP));
    let mut squares = zero;
    for value in x {
        squares = squares + *value * *value;
    }
    let size = squares.divide(L::splat(GROUP_LEN as f32)).square_root();
    let (mut lowest, mut highest, mut weight_sum, mut x_sum) = (x[0], x[0], zero, zero);
    let mut weights = [zero; GROUP_LEN];
    for i in 0..GROUP_LEN {
        weights[i] = size + x[i].abs();
        lowest = lowest.min(x[i]);
        highest = highest.max(x[i]);
        weight_sum = weight_sum + weights[i];
        x_sum = x_sum + weights[i] * x[i];
    }
    let mut minimum = lowest.min(zero);
    let range = highest - minimum;
    let mut scale = L::splat(1.0).ratio(top.ratio(range));
    let mut best = zero;
    for i in 0..GROUP_LEN {
        let code = (top.ratio(range) * (x[i] - minimum)).nearest().clamp(0.0, f32::from(K::TOP));
        let apart = scale * code + minimum - x[i];
        best = best + weights[i] * (apart * apart);
    }
    for step in 0..K::STEPS {
        let steps = K::FIRST + 0.1 * step as f32 + f32::from(K::TOP);
        let inverse = L::splat(steps).ratio(highest - minimum);
        let (mut l, mut ll, mut lx) = (zero, zero, zero);
        let mut codes = [zero; GROUP_LEN];
        for i in 0..GROUP_LEN {
            let code = (inverse * (x[i] - minimum)).nearest().clamp(0.0, f32::from(K::TOP));
            codes[i] = code;
            let weighted = weights[i] * code;
            l = l + weighted;
            ll = ll + weighted * code;
            lx = lx + weighted * x[i];
        }
        let determinant = weight_sum * ll - l * l;
        let free_minimum = (ll * x_sum - l * lx).ratio(determinant);
        let tried_scale = (weight_sum * lx - x_sum * l).ratio(determinant);
        let tried_scale = lx.ratio(ll).where_positive(free_minimum, tried_scale);
        let tried_minimum = zero.where_positive(free_minimum, free_minimum);
        let mut error = zero;
        for i in 0..GROUP_LEN {
            let apart = tried_scale * codes[i] + tried_minimum - x[i];
            error = error + weights[i] * (apart * apart);
        }
        let less = (best - error).where_positive(determinant, zero);
        best = error.where_positive(less, best);
        scale = tried_scale.where_positive(less, scale);
        minimum = tried_minimum.where_positive(less, minimum);
    }
    // It takes a range of nothing as it is; one that is next to nothing has no scale that an f16 can hold.
    let is_range = range - L::splat(SMALLEST);
    let minimum = zero - minimum.where_positive(is_range, lowest.min(zero));
    (scale.where_positive(is_range, zero), minimum)
}

/// Rounds of codes and least squares in turn, after the sweep.
const REFINEMENTS: usize = 2;

/// The two units of a block and the groups' codes, whole numbers in `0..=63`: group g is `d scales[g] l - dmin minima[g]`.
#[derive(Clone, Copy)]
pub(super) struct Units<L> {
    pub(super) d: L,
    pub(super) dmin: L,
    pub(super) scales: L,
    pub(super) minima: L,
}

/// A unit for numbers from 0, in which the largest of a block is `top`, and their codes of 6 bits.
#[inline(always)]
fn six_bits<L: Lanes>(numbers: L, top: f32) -> (L, L) {
    let largest = numbers.block_max();
    let unit = (largest * L::splat(1.0 / top)).min(L::splat(super::F16_MAX)).half();
    (unit, numbers.ratio(unit).min(L::splat(63.0)).nearest())
}

/// ggml's codes are not those for the rounded unit.
#[inline(always)]
fn six_bits_as_ggml<L: Lanes>(numbers: L) -> (L, L) {
    let largest = numbers.block_max();
    let inverse = L::splat(63.0).ratio(largest);
    let unit = largest.divide(L::splat(63.0)).min(L::splat(super::F16_MAX)).half();
    (unit, (numbers * inverse).min(L::splat(63.0)).nearest())
}

impl<L: Lanes> Units<L> {
    #[inline(always)]
    fn new(scales: L, minima: L, (top_scale, top_minimum): (f32, f32)) -> Self {
        let (d, scales) = six_bits(scales, top_scale);
        let (dmin, minima) = six_bits(minima, top_minimum);
        Self { d, dmin, scales, minima }
    }

    /// What ggml makes of its fit.
    #[inline(always)]
    fn as_ggml(scales: L, minima: L) -> Self {
        let (d, scales) = six_bits_as_ggml(scales);
        let (dmin, minima) = six_bits_as_ggml(minima);
        Self { d, dmin, scales, minima }
    }

    /// The scales, and the offsets above the lowest values.
    #[inline(always)]
    fn fit(&self, groups: &Groups<L>) -> (L, L) {
        (self.d * self.scales, L::splat(0.0) - self.dmin * self.minima - groups.lowest)
    }

    #[inline(always)]
    fn sums<K: Affine>(&self, groups: &Groups<L>) -> CodeSums<L> {
        let (scale, offset) = self.fit(groups);
        groups.sums::<K>(L::splat(1.0).ratio(scale), offset)
    }

    #[inline(always)]
    fn gain(&self, groups: &Groups<L>, of: &CodeSums<L>) -> L {
        let (scale, offset) = self.fit(groups);
        of.gain(groups, scale, offset)
    }

    /// Improves the groups' codes, then the units; the gain of the block.
    #[inline(always)]
    fn improve<K: Affine>(&mut self, groups: &Groups<L>) -> L {
        self.improve_groups::<K>(groups);
        self.improve_units::<K>(groups)
    }

    /// Rounded apart, a scale and a minimum are not the best pair: tries the neighbours of each with the other one solved
    /// for anew.
    #[inline(always)]
    fn improve_groups<K: Affine>(&mut self, groups: &Groups<L>) {
        let start = *self;
        let mut best = L::splat(f32::NEG_INFINITY);
        for step in [0.0, -1.0, 1.0] {
            let mut tried = Self { scales: (start.scales + L::splat(step)).clamp(0.0, 63.0), ..start };
            let of = tried.sums::<K>(groups);
            self.keep_better(&tried, &mut best, tried.gain(groups, &of));
            let offset = groups.center - tried.d * tried.scales * of.l * L::splat(1.0 / GROUP_LEN as f32);
            let minimum = L::splat(0.0) - offset - groups.lowest;
            tried.minima = minimum.ratio(tried.dmin).clamp(0.0, 63.0).nearest();
            self.keep_better(&tried, &mut best, tried.gain(groups, &of));
        }
        for step in [-1.0, 1.0] {
            let mut tried = Self { minima: (start.minima + L::splat(step)).clamp(0.0, 63.0), ..start };
            let of = tried.sums::<K>(groups);
            let (_, offset) = tried.fit(groups);
            let scale = (of.ly + (groups.center - offset) * of.l).ratio(of.ll);
            tried.scales = scale.ratio(tried.d).clamp(0.0, 63.0).nearest();
            self.keep_better(&tried, &mut best, tried.gain(groups, &of));
        }
    }

    /// Takes over the groups in which `tried` is better.
    #[inline(always)]
    fn keep_better(&mut self, tried: &Self, best: &mut L, gain: L) {
        let more = gain - *best;
        self.scales = tried.scales.where_positive(more, self.scales);
        self.minima = tried.minima.where_positive(more, self.minima);
        *best = gain.where_positive(more, *best);
    }

    /// Least squares for the two units, which are shared by all groups, with every code as it is. The gain of the block.
    #[inline(always)]
    fn improve_units<K: Affine>(&mut self, groups: &Groups<L>) -> L {
        let of = self.sums::<K>(groups);
        let so_far = self.gain(groups, &of).block_sum();
        let (a, b) = (self.scales, self.minima);
        let len = L::splat(GROUP_LEN as f32);
        let mean = groups.center + groups.lowest;
        let values = mean * len;
        let products = of.ly + mean * of.l;
        let (aa, ab, bb) = ((a * a * of.ll).block_sum(), (a * b * of.l).block_sum(), (b * b * len).block_sum());
        let (ax, bx) = ((a * products).block_sum(), (b * values).block_sum());
        let determinant = aa * bb - ab * ab;
        let both = (ax * bb - bx * ab).ratio(determinant);
        let d = both.where_positive(determinant, ax.ratio(aa));
        let dmin = (ax * ab - bx * aa).ratio(determinant).where_positive(determinant, L::splat(0.0));
        let tried =
            Self { d: d.clamp(0.0, super::F16_MAX).half(), dmin: dmin.clamp(0.0, super::F16_MAX).half(), ..*self };
        let gain = tried.gain(groups, &of).block_sum();
        let more = gain - so_far;
        self.d = tried.d.where_positive(more, self.d);
        self.dmin = tried.dmin.where_positive(more, self.dmin);
        gain.max(so_far)
    }

    #[inline(always)]
    fn where_positive(self, mask: L, other: Self) -> Self {
        Self {
            d: self.d.where_positive(mask, other.d),
            dmin: self.dmin.where_positive(mask, other.dmin),
            scales: self.scales.where_positive(mask, other.scales),
            minima: self.minima.where_positive(mask, other.minima),
        }
    }
}

/// Which codes the largest scale and the largest minimum of a block get, at first.
const STARTS: [(f32, f32); 2] = [(63.0, 63.0), (58.5, 60.5)];

/// The best units and codes found for each of `L::BLOCKS` blocks, and those that ggml would take.
#[inline(always)]
pub(super) fn search<K: Affine, L: Lanes>(values: &[f32]) -> [Units<L>; 2] {
    let zero = L::splat(0.0);
    let mut x = [zero; GROUP_LEN];
    for (part, out) in x.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        *out = L::columns(values, 8 * part, GROUP_LEN, 256);
    }
    let (their_scales, their_minima) = ggml_fit::<K, L>(&x);
    let theirs = Units::as_ggml(their_scales, their_minima);
    let groups = Groups::new(&x);
    let fit = sweep::<K, L>(&groups);
    // Stored is what is subtracted.
    let minima = (zero - (fit.offset + groups.lowest)).max(zero);
    let mut best = theirs;
    let mut best_gain = best.improve::<K>(&groups);
    for tops in STARTS {
        let mut tried = Units::new(fit.scale, minima, tops);
        let gain = tried.improve::<K>(&groups);
        best = tried.where_positive(gain - best_gain, best);
        best_gain = gain.max(best_gain);
    }
    best.improve::<K>(&groups);
    [best, theirs]
}
