//! Q4_K, Q5_K and Q6_K: small groups whose scales (and minima) are codes themselves, 256 values a block.
//!
//! The groups of a block are worked on side by side, one a lane, so that no sum crosses lanes.
//!
//! What is minimised is the plain squared error of a block: the error of a product with inputs that are not correlated.
//!
//! **Affine groups** (Q4_K, Q5_K). A group of 32 values x is stored as `s l - m` with codes `l` in `0..=top`; `(s, m)` shall
//! minimise `E = Σ (s l - m - x)²`. For fixed codes that is a linear least-squares problem of two unknowns; for fixed
//! `(s, m)` the best codes are the nearest. Candidates for the codes come from a sweep over steps somewhat finer and
//! coarser than `range / top`; each is solved for `(s, m)` and the best one wins. Then s and m become codes of 6 bits
//! themselves, in units that the block's groups share. Rounding them costs as much as the 4 or 5 bits do in unlucky blocks,
//! so several units are tried, codes and units improved in turn.
//!
//! **Symmetric groups** (Q6_K). A group of 16 values is `s l` with `l` in `-32..=31`; for fixed codes
//! `s = Σ x l / Σ l²`, and `Σ x² - E = (Σ x l)² / Σ l²` is to be largest. The unit of the scales as above.

use half::f16;

use super::F16_MAX;
use super::lanes::Lanes;

/// Groups of a block of Q4_K or Q5_K, and values of each.
const GROUPS: usize = 8;
const GROUP_LEN: usize = 32;

/// What distinguishes Q4_K from Q5_K: the largest code, and the sweep (`top + first`, in steps of 0.1).
struct Affine {
    top: f32,
    first: f32,
    steps: u32,
}

const Q4_K: Affine = Affine { top: 15.0, first: -1.0, steps: 21 };
const Q5_K: Affine = Affine { top: 31.0, first: -0.5, steps: 16 };

/// A block's numbers, before they are laid out.
struct AffineBlock {
    d: f16,
    dmin: f16,
    scales: [u8; GROUPS],
    minima: [u8; GROUPS],
    codes: [u8; 256],
}

/// # Shapes
/// Whole blocks: 256 values, 144 bytes.
#[inline(always)]
pub(super) fn q4_k<L: Lanes>(values: &[f32], out: &mut [u8]) {
    for (x, block) in values.as_chunks::<256>().0.iter().zip(out.as_chunks_mut::<144>().0) {
        let encoded = affine_block::<L>(x, &Q4_K);
        write_affine_head(&encoded, &mut block[..16]);
        for (codes, bytes) in encoded.codes.as_chunks::<64>().0.iter().zip(block[16..].as_chunks_mut::<32>().0) {
            for i in 0..32 {
                bytes[i] = codes[i] | codes[i + 32] << 4;
            }
        }
    }
}

/// # Shapes
/// Whole blocks: 256 values, 176 bytes.
#[inline(always)]
pub(super) fn q5_k<L: Lanes>(values: &[f32], out: &mut [u8]) {
    for (x, block) in values.as_chunks::<256>().0.iter().zip(out.as_chunks_mut::<176>().0) {
        let encoded = affine_block::<L>(x, &Q5_K);
        write_affine_head(&encoded, &mut block[..16]);
        let (fifth_bits, nibbles) = block[16..].split_at_mut(32);
        fifth_bits.fill(0);
        let pairs = encoded.codes.as_chunks::<64>().0.iter().zip(nibbles.as_chunks_mut::<32>().0);
        for (pair, (codes, bytes)) in pairs.enumerate() {
            for i in 0..32 {
                bytes[i] = codes[i] & 15 | codes[i + 32] << 4;
                fifth_bits[i] |= (codes[i] >> 4 | codes[i + 32] >> 4 << 1) << (2 * pair);
            }
        }
    }
}

/// `d`, `dmin` and the 6-bit codes: of groups 0 to 3 in the lower bits of bytes 0 to 3 (scales) and 4 to 7 (minima); of groups
/// 4 to 7 the lower four bits in bytes 8 to 11 (the scale's in the lower nibble), the upper two above those of groups 0 to 3.
#[inline(always)]
fn write_affine_head(encoded: &AffineBlock, head: &mut [u8]) {
    head[..2].copy_from_slice(&encoded.d.to_le_bytes());
    head[2..4].copy_from_slice(&encoded.dmin.to_le_bytes());
    let codes = &mut head[4..16];
    for group in 0..4 {
        let (low_scale, low_minimum) = (encoded.scales[group], encoded.minima[group]);
        let (high_scale, high_minimum) = (encoded.scales[group + 4], encoded.minima[group + 4]);
        codes[group] = low_scale | high_scale >> 4 << 6;
        codes[group + 4] = low_minimum | high_minimum >> 4 << 6;
        codes[group + 8] = high_scale & 15 | high_minimum << 4;
    }
}

#[inline(always)]
fn affine_block<L: Lanes>(values: &[f32; 256], kind: &Affine) -> AffineBlock {
    let x: [L; GROUP_LEN] = transposed(values);
    let sums = Sums::new(&x);
    let fit = best_affine(&sums, kind);
    let scales = fit.scale;
    // Stored is what is subtracted.
    let minima = (L::splat(0.0) - (fit.offset + sums.lowest)).max(L::splat(0.0));
    let mut best = (AffineCodes::new(scales, minima, STARTS[0]), f32::INFINITY);
    for tops in STARTS {
        let mut tried = AffineCodes::new(scales, minima, tops);
        let error = tried.improve(&sums, kind);
        if error < best.1 {
            best = (tried, error);
        }
    }
    best.0.improve(&sums, kind);
    let AffineCodes { d, dmin, scales: scale_codes, minima: minimum_codes } = best.0;

    let scale = L::splat(d.to_f32()) * scale_codes;
    let minimum = L::splat(dmin.to_f32()) * minimum_codes;
    let mut codes = [0u8; 256];
    for i in 0..GROUP_LEN {
        // Clamped before it is rounded: positions may be larger than what can be rounded so.
        let code = (x[i] + minimum).ratio(scale).clamp(0.0, kind.top).nearest().to_array();
        for group in 0..GROUPS {
            codes[group * GROUP_LEN + i] = code[group] as u8;
        }
    }
    AffineBlock {
        d,
        dmin,
        scales: scale_codes.to_array().map(|code| code as u8),
        minima: minimum_codes.to_array().map(|code| code as u8),
        codes,
    }
}

/// Which codes the largest scale and the largest minimum of a block get, at first.
const STARTS: [(f32, f32); 8] =
    [(63.0, 63.0), (60.0, 62.0), (62.0, 59.0), (57.0, 56.0), (63.0, 54.0), (54.0, 63.0), (58.5, 60.5), (61.0, 57.5)];

/// The two units of a block and the groups' codes, whole numbers in `0..=63`: group g is `d scales[g] l - dmin minima[g]`.
#[derive(Clone, Copy)]
struct AffineCodes<L> {
    d: f16,
    dmin: f16,
    scales: L,
    minima: L,
}

impl<L: Lanes> AffineCodes<L> {
    #[inline(always)]
    fn new(scales: L, minima: L, (top_scale, top_minimum): (f32, f32)) -> Self {
        let (d, scales) = six_bits(scales, top_scale);
        let (dmin, minima) = six_bits(minima, top_minimum);
        Self { d, dmin, scales, minima }
    }

    /// Improves the groups' codes, then the units; the squared error of the block, or somewhat more.
    #[inline(always)]
    fn improve(&mut self, sums: &Sums<L>, kind: &Affine) -> f32 {
        self.improve_groups(sums, kind);
        self.improve_units(sums, kind)
    }

    /// The scales, and the offsets above the lowest values.
    #[inline(always)]
    fn fit(&self, sums: &Sums<L>, d: f16, dmin: f16) -> (L, L) {
        let offset = L::splat(0.0) - L::splat(dmin.to_f32()) * self.minima - sums.lowest;
        (L::splat(d.to_f32()) * self.scales, offset)
    }

    /// The sums of the nearest codes.
    #[inline(always)]
    fn sums(&self, sums: &Sums<L>, kind: &Affine) -> CodeSums<L> {
        let (scale, offset) = self.fit(sums, self.d, self.dmin);
        CodeSums::shifted(sums, L::splat(1.0).ratio(scale), offset, kind.top)
    }

    #[inline(always)]
    fn error(&self, sums: &Sums<L>, of: &CodeSums<L>) -> L {
        let (scale, offset) = self.fit(sums, self.d, self.dmin);
        of.error(sums, scale, offset)
    }

    /// Rounded apart, a scale and a minimum are not the best pair: tries the neighbours of each with the other one solved
    /// for anew.
    #[inline(always)]
    fn improve_groups(&mut self, sums: &Sums<L>, kind: &Affine) {
        let (d, dmin) = (L::splat(self.d.to_f32()), L::splat(self.dmin.to_f32()));
        let start = *self;
        let mut best = L::splat(f32::INFINITY);
        for step in [0.0, -1.0, 1.0] {
            let mut tried = Self { scales: (start.scales + L::splat(step)).clamp(0.0, 63.0), ..start };
            let of = tried.sums(sums, kind);
            self.keep_better(&tried, &mut best, tried.error(sums, &of));
            let offset = (sums.y_sum - d * tried.scales * of.l) * L::splat(1.0 / GROUP_LEN as f32);
            let minimum = L::splat(0.0) - offset - sums.lowest;
            tried.minima = minimum.ratio(dmin).clamp(0.0, 63.0).nearest();
            self.keep_better(&tried, &mut best, tried.error(sums, &of));
        }
        for step in [-1.0, 1.0] {
            let mut tried = Self { minima: (start.minima + L::splat(step)).clamp(0.0, 63.0), ..start };
            let of = tried.sums(sums, kind);
            let (_, offset) = tried.fit(sums, self.d, self.dmin);
            let scale = (of.ly - offset * of.l).ratio(of.ll);
            tried.scales = scale.ratio(d).clamp(0.0, 63.0).nearest();
            self.keep_better(&tried, &mut best, tried.error(sums, &of));
        }
    }

    /// Takes over the groups in which `tried` is better.
    #[inline(always)]
    fn keep_better(&mut self, tried: &Self, best: &mut L, error: L) {
        let gain = *best - error;
        self.scales = tried.scales.where_positive(gain, self.scales);
        self.minima = tried.minima.where_positive(gain, self.minima);
        *best = error.where_positive(gain, *best);
    }

    /// Least squares for the two units, which are shared by all groups, with every code as it is. The squared error.
    #[inline(always)]
    fn improve_units(&mut self, sums: &Sums<L>, kind: &Affine) -> f32 {
        let of = self.sums(sums, kind);
        let so_far = total(self.error(sums, &of));
        let (a, b) = (self.scales, self.minima);
        let len = L::splat(GROUP_LEN as f32);
        let values = sums.y_sum + sums.lowest * len;
        let products = of.ly + sums.lowest * of.l;
        let [aa, ab, bb] = [a * a * of.ll, a * b * of.l, b * b * len].map(total);
        let [ax, bx] = [a * products, b * values].map(total);
        let determinant = aa * bb - ab * ab;
        let (d, dmin) = if determinant > 0.0 {
            ((ax * bb - bx * ab) / determinant, (ax * ab - bx * aa) / determinant)
        } else {
            (ax / aa, 0.0)
        };
        // Also false for what became of a division by 0.
        let in_range = 0.0..=F16_MAX;
        if !in_range.contains(&d) || !in_range.contains(&dmin) {
            return so_far;
        }
        let tried = Self { d: f16::from_f32(d), dmin: f16::from_f32(dmin), ..*self };
        let error = total(tried.error(sums, &of));
        if error < so_far {
            *self = tried;
        }
        so_far.min(error)
    }
}

/// The sum of all lanes.
#[inline(always)]
fn total<L: Lanes>(lanes: L) -> f32 {
    lanes.to_array().iter().sum()
}

/// A unit for numbers from 0, in which the largest is `top`, and their codes of 6 bits.
#[inline(always)]
fn six_bits<L: Lanes>(numbers: L, top: f32) -> (f16, L) {
    let largest = numbers.to_array().iter().fold(0.0f32, |a, &b| a.max(b));
    let unit = f16::from_f32((largest / top).min(F16_MAX));
    let codes = numbers.ratio(L::splat(unit.to_f32())).min(L::splat(63.0)).nearest();
    (unit, codes)
}

/// Element i of each of eight groups of `LEN` values beside the others'.
#[inline(always)]
fn transposed<L: Lanes, const LEN: usize>(values: &[f32]) -> [L; LEN] {
    std::array::from_fn(|i| L::from_array(std::array::from_fn(|group| values[group * LEN + i])))
}

/// The values of eight groups above their lowest (`y`), and the sums that no code enters.
struct Sums<L> {
    y: [L; GROUP_LEN],
    /// The lowest value, or 0 if that is lower.
    lowest: L,
    range: L,
    y_sum: L,
    yy: L,
}

impl<L: Lanes> Sums<L> {
    #[inline(always)]
    fn new(x: &[L; GROUP_LEN]) -> Self {
        let zero = L::splat(0.0);
        let (mut lowest, mut highest) = (zero, x[0]);
        for value in x {
            lowest = lowest.min(*value);
            highest = highest.max(*value);
        }
        let mut sums = Self { y: *x, lowest, range: highest - lowest, y_sum: zero, yy: zero };
        for i in 0..GROUP_LEN {
            let y = x[i] - lowest;
            sums.y[i] = y;
            sums.y_sum = sums.y_sum + y;
            sums.yy = sums.yy + y * y;
        }
        sums
    }
}

/// `y ≈ scale l + offset`, and its squared error.
#[derive(Clone, Copy)]
struct Fit<L> {
    scale: L,
    offset: L,
    error: L,
}

/// The sums that codes enter.
struct CodeSums<L> {
    l: L,
    ll: L,
    ly: L,
}

impl<L: Lanes> CodeSums<L> {
    /// For the codes nearest to `(y - offset) * inverse`.
    #[inline(always)]
    fn shifted(sums: &Sums<L>, inverse: L, offset: L, top: f32) -> Self {
        let shift = L::splat(0.0) - offset * inverse;
        let (zero, top) = (L::splat(0.0), L::splat(top));
        let mut of = Self { l: zero, ll: zero, ly: zero };
        for i in 0..GROUP_LEN {
            let code = (sums.y[i] * inverse + shift).max(zero).min(top).nearest();
            of.l = of.l + code;
            of.ll = of.ll + code * code;
            of.ly = of.ly + code * sums.y[i];
        }
        of
    }

    /// For the codes nearest to `y * inverse`, none of which is below 0.
    #[inline(always)]
    fn new(sums: &Sums<L>, inverse: L, top: f32) -> Self {
        let (zero, top) = (L::splat(0.0), L::splat(top));
        let mut of = Self { l: zero, ll: zero, ly: zero };
        for i in 0..GROUP_LEN {
            let code = (sums.y[i] * inverse).min(top).nearest();
            of.l = of.l + code;
            of.ll = of.ll + code * code;
            of.ly = of.ly + code * sums.y[i];
        }
        of
    }

    /// `Σ (scale l + offset - y)²`, multiplied out. Every term is of the size of the range's square, so what cancels
    /// costs some 1e-4 of the error of a group, which only decides between candidates.
    #[inline(always)]
    fn error(&self, sums: &Sums<L>, scale: L, offset: L) -> L {
        let two = L::splat(2.0);
        let of_scale = scale * (scale * self.ll + two * (offset * self.l - self.ly));
        let of_offset = offset * (offset * L::splat(GROUP_LEN as f32) - two * sums.y_sum);
        of_scale + of_offset + sums.yy
    }

    /// The best `(scale, offset)` for these codes with a minimum of at most 0, or the fit `so_far` where that is better.
    #[inline(always)]
    fn better(&self, sums: &Sums<L>, so_far: Fit<L>) -> Fit<L> {
        let zero = L::splat(0.0);
        let len = L::splat(GROUP_LEN as f32);
        let determinant = len * self.ll - self.l * self.l;
        let free_scale = (len * self.ly - sums.y_sum * self.l).ratio(determinant);
        let free_offset = (self.ll * sums.y_sum - self.l * self.ly).ratio(determinant);
        // What is stored is subtracted and has no sign: the lowest value shown may not be above 0.
        let highest_offset = zero - sums.lowest;
        let bound_scale = (self.ly - highest_offset * self.l).ratio(self.ll);
        let above = free_offset - highest_offset;
        let scale = bound_scale.where_positive(above, free_scale);
        let offset = highest_offset.where_positive(above, free_offset);
        let error = self.error(sums, scale, offset);
        let gain = (so_far.error - error).where_positive(determinant, zero);
        Fit {
            scale: scale.where_positive(gain, so_far.scale),
            offset: offset.where_positive(gain, so_far.offset),
            error: error.where_positive(gain, so_far.error),
        }
    }
}

/// The best fit found for each group.
#[inline(always)]
fn best_affine<L: Lanes>(sums: &Sums<L>, kind: &Affine) -> Fit<L> {
    let zero = L::splat(0.0);
    let top = L::splat(kind.top);
    // The step between codes that spans the range exactly, as it is: what else is found must be better.
    let first = CodeSums::new(sums, top.ratio(sums.range), kind.top);
    let scale = sums.range.ratio(top);
    let mut fit = Fit { scale, offset: zero, error: first.error(sums, scale, zero) };
    for step in 0..kind.steps {
        let steps = L::splat(kind.top + kind.first + 0.1 * step as f32);
        fit = CodeSums::new(sums, steps.ratio(sums.range), kind.top).better(sums, fit);
    }
    // The codes nearest to the best fit may be others than those that led to it.
    for _ in 0..REFINEMENTS {
        let inverse = L::splat(1.0).ratio(fit.scale);
        fit = CodeSums::shifted(sums, inverse, fit.offset, kind.top).better(sums, fit);
    }
    fit
}

/// Rounds of codes and least squares in turn, after the sweep.
const REFINEMENTS: usize = 2;

/// Groups of a block of Q6_K, which have as many values each.
const SIXTEEN: usize = 16;

/// # Shapes
/// Whole blocks: 256 values, 210 bytes.
#[inline(always)]
pub(super) fn q6_k<L: Lanes>(values: &[f32], out: &mut [u8]) {
    for (x, block) in values.as_chunks::<256>().0.iter().zip(out.as_chunks_mut::<210>().0) {
        let (d, scales, codes) = symmetric_block::<L>(x);
        let (nibbles, rest) = block.split_at_mut(128);
        let (pairs, rest) = rest.split_at_mut(64);
        for half in 0..2 {
            let codes = &codes[128 * half..][..128];
            let (nibbles, pairs) = (&mut nibbles[64 * half..][..64], &mut pairs[32 * half..][..32]);
            for i in 0..32 {
                nibbles[i] = codes[i] & 15 | codes[i + 64] << 4;
                nibbles[i + 32] = codes[i + 32] & 15 | codes[i + 96] << 4;
                pairs[i] = codes[i] >> 4 | codes[i + 32] >> 4 << 2 | codes[i + 64] >> 4 << 4 | codes[i + 96] >> 4 << 6;
            }
        }
        for group in 0..SIXTEEN {
            rest[group] = scales[group] as u8;
        }
        rest[SIXTEEN..].copy_from_slice(&d.to_le_bytes());
    }
}

/// `d`, the groups' codes and the values' codes from 0.
#[inline(always)]
fn symmetric_block<L: Lanes>(values: &[f32; 256]) -> (f16, [i8; SIXTEEN], [u8; 256]) {
    let halves: [[L; SIXTEEN]; 2] = [transposed(&values[..128]), transposed(&values[128..])];
    let scales = [best_symmetric(&halves[0]), best_symmetric(&halves[1])];
    let mut largest = 0.0f32;
    for scale in scales.iter().flat_map(|scales| scales.to_array()) {
        largest = if scale.abs() > largest.abs() { scale } else { largest };
    }
    let mut best = (f16::ZERO, [L::splat(0.0); 2], 0.0);
    for top in SYMMETRIC_STARTS {
        let d = f16::from_f32((largest / top).clamp(-F16_MAX, F16_MAX));
        let tried = symmetric_unit(&halves, &scales, d);
        if tried.2 > best.2 {
            best = tried;
        }
    }
    let (d, of_groups, _) = best;

    let unit = L::splat(d.to_f32());
    let (mut scale_codes, mut codes) = ([0i8; SIXTEEN], [0u8; 256]);
    for half in 0..2 {
        scale_codes[8 * half..][..8].copy_from_slice(&of_groups[half].to_array().map(|code| code as i8));
        let scale = unit * of_groups[half];
        for i in 0..SIXTEEN {
            let code = halves[half][i].ratio(scale).clamp(-32.0, 31.0).nearest().to_array();
            for group in 0..8 {
                codes[(8 * half + group) * SIXTEEN + i] = (code[group] as i32 + 32) as u8;
            }
        }
    }
    (d, scale_codes, codes)
}

/// Which code the largest scale of a block gets, at first. -128 is one more than 127.
const SYMMETRIC_STARTS: [f32; 4] = [-128.0, -125.0, -121.0, -116.0];

/// The groups' codes in units of `d`, then the unit by least squares, and by how much both lower the squared error: their
/// `2 Σ s x l - Σ s² l²`.
#[inline(always)]
fn symmetric_unit<L: Lanes>(halves: &[[L; SIXTEEN]; 2], scales: &[L; 2], d: f16) -> (f16, [L; 2], f32) {
    let unit = L::splat(d.to_f32());
    let mut codes = [L::splat(0.0); 2];
    let (mut ax, mut aa) = (0.0, 0.0);
    for half in 0..2 {
        codes[half] = scales[half].ratio(unit).clamp(-128.0, 127.0).nearest();
        let (lx, ll) = symmetric_sums(&halves[half], L::splat(1.0).ratio(unit * codes[half]));
        ax += total(codes[half] * lx);
        aa += total(codes[half] * codes[half] * ll);
    }
    let gain = |d: f16| d.to_f32() * (2.0 * ax - d.to_f32() * aa);
    let better = f16::from_f32(ax / aa);
    if better.is_finite() && gain(better) > gain(d) { (better, codes, gain(better)) } else { (d, codes, gain(d)) }
}

/// `Σ x l` and `Σ l²` of the codes nearest to `x * inverse`.
#[inline(always)]
fn symmetric_sums<L: Lanes>(x: &[L; SIXTEEN], inverse: L) -> (L, L) {
    let (mut lx, mut ll) = (L::splat(0.0), L::splat(0.0));
    for value in x {
        let code = (*value * inverse).clamp(-32.0, 31.0).nearest();
        lx = lx + code * *value;
        ll = ll + code * code;
    }
    (lx, ll)
}

/// The best scale found for each of eight groups.
#[inline(always)]
fn best_symmetric<L: Lanes>(x: &[L; SIXTEEN]) -> L {
    let zero = L::splat(0.0);
    let mut largest = zero;
    for value in x {
        largest = value.where_positive(value.abs() - largest.abs(), largest);
    }
    let (mut best_scale, mut best_gain) = (zero, zero);
    // Where the largest value goes: to the code -32 first, then to somewhat less and more.
    for step in SWEEP {
        let (lx, ll) = symmetric_sums(x, L::splat(-(32.0 + 0.1 * step)).ratio(largest));
        let scale = lx.ratio(ll);
        let gain = scale * lx;
        let more = gain - best_gain;
        best_scale = scale.where_positive(more, best_scale);
        best_gain = gain.where_positive(more, best_gain);
    }
    best_scale
}

/// The sweep of [`best_symmetric`], in tenths of a code.
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
