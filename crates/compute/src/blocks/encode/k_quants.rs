//! Q4_K, Q5_K and Q6_K: small groups whose scales (and minima) are codes themselves, 256 values a block.
//!
//! The groups of a block are worked on side by side, one a lane, so that no sum crosses lanes.
//!
//! **Affine groups** (Q4_K, Q5_K). A group of 32 values x is stored as `s l - m` with codes `l` in `0..=top`. With weights
//! `w = rms(x) + |x|`, `(s, m)` shall minimise `E = Σ w (s l - m - x)²`. For fixed codes that is a linear least-squares
//! problem of two unknowns; for fixed `(s, m)` the best codes are the nearest. Candidates for the codes come from a
//! sweep over steps somewhat finer and coarser than `range / top`; each is solved for `(s, m)` and the best one wins.
//!
//! **Symmetric groups** (Q6_K). A group of 16 values is `s l` with `l` in `-32..=31` and weights `w = x²`; for fixed
//! codes `s = Σ w x l / Σ w l²`, and `Σ w x² - E = (Σ w x l)² / Σ w l²` is to be largest.

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
    let (d, scale_codes) = six_bits(scales);
    let (dmin, minimum_codes) = six_bits(minima);

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

/// One scale for numbers from 0, and their codes of 6 bits.
#[inline(always)]
fn six_bits<L: Lanes>(numbers: L) -> (f16, L) {
    let largest = numbers.to_array().iter().fold(0.0f32, |a, &b| a.max(b));
    let unit = f16::from_f32((largest / 63.0).min(F16_MAX));
    let codes = numbers.ratio(L::splat(unit.to_f32())).min(L::splat(63.0)).nearest();
    (unit, codes)
}

/// Element i of each of eight groups of `LEN` values beside the others'.
#[inline(always)]
fn transposed<L: Lanes, const LEN: usize>(values: &[f32]) -> [L; LEN] {
    std::array::from_fn(|i| L::from_array(std::array::from_fn(|group| values[group * LEN + i])))
}

/// The values of eight groups above their lowest (`y`), their weights, and the sums that no code enters.
struct Sums<L> {
    y: [L; GROUP_LEN],
    weight: [L; GROUP_LEN],
    /// The lowest value, or 0 if that is lower.
    lowest: L,
    range: L,
    w: L,
    wy: L,
    wyy: L,
}

impl<L: Lanes> Sums<L> {
    #[inline(always)]
    fn new(x: &[L; GROUP_LEN]) -> Self {
        let zero = L::splat(0.0);
        let (mut lowest, mut highest, mut squares) = (zero, x[0], zero);
        for value in x {
            lowest = lowest.min(*value);
            highest = highest.max(*value);
            squares = squares + *value * *value;
        }
        let rms = (squares * L::splat(1.0 / GROUP_LEN as f32)).sqrt();
        let mut sums = Self { y: *x, weight: *x, lowest, range: highest - lowest, w: zero, wy: zero, wyy: zero };
        for i in 0..GROUP_LEN {
            let (y, weight) = (x[i] - lowest, rms + x[i].abs());
            (sums.y[i], sums.weight[i]) = (y, weight);
            sums.w = sums.w + weight;
            sums.wy = sums.wy + weight * y;
            sums.wyy = sums.wyy + weight * y * y;
        }
        sums
    }
}

/// `y ≈ scale l + offset`, and its weighted squared error.
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
            let weighted = sums.weight[i] * code;
            of.l = of.l + weighted;
            of.ll = of.ll + weighted * code;
            of.ly = of.ly + weighted * sums.y[i];
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
            let weighted = sums.weight[i] * code;
            of.l = of.l + weighted;
            of.ll = of.ll + weighted * code;
            of.ly = of.ly + weighted * sums.y[i];
        }
        of
    }

    /// `Σ w (scale l + offset - y)²`, multiplied out. Every term is of the size of the range's square, so what cancels
    /// costs some 1e-4 of the error of a group, which only decides between candidates.
    #[inline(always)]
    fn error(&self, sums: &Sums<L>, scale: L, offset: L) -> L {
        let two = L::splat(2.0);
        let of_scale = scale * (scale * self.ll + two * (offset * self.l - self.ly));
        let of_offset = offset * (offset * sums.w - two * sums.wy);
        of_scale + of_offset + sums.wyy
    }

    /// The best `(scale, offset)` for these codes with a minimum of at most 0, or the fit `so_far` where that is better.
    #[inline(always)]
    fn better(&self, sums: &Sums<L>, so_far: Fit<L>) -> Fit<L> {
        let zero = L::splat(0.0);
        let determinant = sums.w * self.ll - self.l * self.l;
        let free_scale = (sums.w * self.ly - sums.wy * self.l).ratio(determinant);
        let free_offset = (self.ll * sums.wy - self.l * self.ly).ratio(determinant);
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
    // The largest scale gets the code -128, which is one more than 127.
    let d = f16::from_f32((largest / -128.0).clamp(-F16_MAX, F16_MAX));
    let unit = L::splat(d.to_f32());
    let (mut scale_codes, mut codes) = ([0i8; SIXTEEN], [0u8; 256]);
    for half in 0..2 {
        let of_groups = scales[half].ratio(unit).clamp(-128.0, 127.0).nearest();
        scale_codes[8 * half..][..8].copy_from_slice(&of_groups.to_array().map(|code| code as i8));
        let scale = unit * of_groups;
        for i in 0..SIXTEEN {
            let code = halves[half][i].ratio(scale).clamp(-32.0, 31.0).nearest().to_array();
            for group in 0..8 {
                codes[(8 * half + group) * SIXTEEN + i] = (code[group] as i32 + 32) as u8;
            }
        }
    }
    (d, scale_codes, codes)
}

/// The best scale found for each of eight groups.
#[inline(always)]
fn best_symmetric<L: Lanes>(x: &[L; SIXTEEN]) -> L {
    let zero = L::splat(0.0);
    let mut largest = zero;
    let mut weighted = [zero; SIXTEEN];
    for i in 0..SIXTEEN {
        largest = x[i].where_positive(x[i].abs() - largest.abs(), largest);
        weighted[i] = x[i] * x[i];
    }
    let (mut best_scale, mut best_gain) = (zero, zero);
    // Where the largest value goes: to the code -32 first, then to somewhat less and more.
    for step in SWEEP {
        let inverse = L::splat(-(32.0 + 0.1 * step)).ratio(largest);
        let (mut lx, mut ll) = (zero, zero);
        for i in 0..SIXTEEN {
            let code = (x[i] * inverse).clamp(-32.0, 31.0).nearest();
            let of_code = weighted[i] * code;
            lx = lx + of_code * x[i];
            ll = ll + of_code * code;
        }
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
