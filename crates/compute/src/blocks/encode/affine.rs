//! Affine groups as mlx has them.
//!
//! mlx puts the edge of a group that is farther from zero on a code, and moves the scale so that zero is one, too. That is
//! the first fit here; others start from it (a narrower range, then least squares of scale and bias for the codes, with
//! the neighbours of the rounded scale), and the fit with the least squared error of the decoded values is kept. So no
//! group is worse than mlx's.
//!
//! # Source
//! Documentation of `mlx.core.quantize`; the choice of the edge was measured with mlx 0.32.

use crate::blocks::Affine;

/// Values that are summed side by side.
const LANES: usize = 16;
const LARGEST_GROUP: usize = 128;

/// Parts of the range that the narrower fits of 4 bits have: the outermost values are clipped for a finer step.
const NARROWED: [f32; 3] = [0.97, 0.92, 0.86];

/// Rounds of least squares.
const ROUNDS: usize = 2;

/// A scale, a bias, the codes and what they cost.
#[derive(Clone, Copy)]
struct Fit {
    scale: f32,
    bias: f32,
    error: f32,
    codes: [f32; LARGEST_GROUP],
}

/// Fits every group of a row. `codes` has a byte for each value.
#[inline(always)]
pub(super) fn row(affine: Affine, values: &[f32], codes: &mut [u8], scales: &mut [f32], biases: &mut [f32]) {
    let len = affine.group_len();
    let groups = values.chunks_exact(len).zip(codes.chunks_exact_mut(len));
    for ((values, codes), (scale, bias)) in groups.zip(scales.iter_mut().zip(biases)) {
        let fit = fit(affine, values);
        (*scale, *bias) = (fit.scale, fit.bias);
        codes.iter_mut().zip(&fit.codes).for_each(|(to, &code)| *to = code as u8);
    }
}

#[inline(always)]
fn fit(affine: Affine, values: &[f32]) -> Fit {
    let top = ((1u32 << affine.bits()) - 1) as f32;
    let (low, high) = values.iter().fold((f32::MAX, f32::MIN), |(low, high), &value| (low.min(value), high.max(value)));
    let (scale, bias) = edges(low, high, top);
    let (first_scale, first_bias) = (affine.round(scale), affine.round(bias));
    // mlx takes the codes of the scale before it is rounded.
    let mut best = measure(affine, values, (first_scale, first_bias), codes(values, scale, bias, top));
    let consider = |best: &mut Fit, scale: f32, bias: f32| {
        let (scale, bias) = (affine.round(scale), affine.round(bias));
        let fit = measure(affine, values, (scale, bias), codes(values, scale, bias, top));
        if fit.error < best.error {
            *best = fit;
        }
    };
    consider(&mut best, scale, bias);
    if best.error == 0.0 {
        return best;
    }
    if affine.bits() == 4 {
        for part in NARROWED {
            let cut = (high - low) * (1.0 - part) / 2.0;
            let (scale, bias) = edges(low + cut, high - cut, top);
            consider(&mut best, scale, bias);
        }
    }
    for _ in 0..ROUNDS {
        let before = best.error;
        let sums = Sums::of(values, &best.codes);
        let Some(scale) = sums.scale() else { break };
        let scale = affine.round(scale);
        for scale in [scale, affine.round(scale * (1.0 - STEP)), affine.round(scale * (1.0 + STEP))] {
            consider(&mut best, scale, sums.bias(scale));
        }
        if best.error >= before {
            break;
        }
    }
    best
}

/// A little more than one step of `bf16`; in the finer types it is a trial as good as any other.
const STEP: f32 = 1.0 / 160.0;

/// mlx's scale and bias: the edge that is farther from zero has a code, and so has zero.
#[inline(always)]
fn edges(low: f32, high: f32, top: f32) -> (f32, f32) {
    let low_is_farther = low.abs() > high.abs();
    let scale = ((high - low) / top).max(1e-7);
    let (scale, edge) = if low_is_farther { (scale, low) } else { (-scale, high) };
    match (edge / scale).round_ties_even() {
        0.0 => (scale, 0.0),
        steps => (edge / steps, edge),
    }
}

/// The nearest codes.
#[inline(always)]
fn codes(values: &[f32], scale: f32, bias: f32, top: f32) -> [f32; LARGEST_GROUP] {
    /// Adding 1.5 * 2^23 leaves no bits behind the point.
    const MAGIC: f32 = 12_582_912.0;
    let mut codes = [0.0; LARGEST_GROUP];
    for (code, &value) in codes.iter_mut().zip(values) {
        // A scale that was rounded to zero gives a NaN, which the first of these makes 0.
        *code = (((value - bias) / scale).max(0.0).min(top) + MAGIC) - MAGIC;
    }
    codes
}

#[inline(always)]
fn measure(affine: Affine, values: &[f32], (scale, bias): (f32, f32), codes: [f32; LARGEST_GROUP]) -> Fit {
    let mut sums = [0.0f32; LANES];
    for (values, codes) in values.chunks_exact(LANES).zip(codes.chunks_exact(LANES)) {
        for lane in 0..LANES {
            let difference = values[lane] - affine.value(codes[lane], scale, bias);
            sums[lane] += difference * difference;
        }
    }
    Fit { scale, bias, error: sums.iter().sum(), codes }
}

/// Sums over the codes q and values w of a group.
struct Sums {
    count: f64,
    q: f64,
    qq: f64,
    w: f64,
    qw: f64,
}

impl Sums {
    #[inline(always)]
    fn of(values: &[f32], codes: &[f32; LARGEST_GROUP]) -> Self {
        let mut sums = [[0.0f32; LANES]; 4];
        for (values, codes) in values.chunks_exact(LANES).zip(codes.chunks_exact(LANES)) {
            for lane in 0..LANES {
                let (w, q) = (values[lane], codes[lane]);
                sums[0][lane] += q;
                sums[1][lane] += q * q;
                sums[2][lane] += w;
                sums[3][lane] += q * w;
            }
        }
        let [q, qq, w, qw] = sums.map(|lanes| lanes.iter().map(|&sum| f64::from(sum)).sum::<f64>());
        Self { count: values.len() as f64, q, qq, w, qw }
    }

    /// The scale of least squares; `None` where all codes are equal.
    #[inline(always)]
    fn scale(&self) -> Option<f32> {
        let spread = self.count * self.qq - self.q * self.q;
        (spread > 0.0).then(|| ((self.count * self.qw - self.q * self.w) / spread) as f32)
    }

    /// The best bias for a scale.
    #[inline(always)]
    fn bias(&self, scale: f32) -> f32 {
        ((self.w - f64::from(scale) * self.q) / self.count) as f32
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::print_stdout, reason = "what is skipped is printed")]

    use super::super::{AffineParts, EncodeError, encode_affine_row, encode_affine_row_with};
    use super::*;
    use crate::blocks::{BlockMatrix, BlockType};
    use crate::cpu::Isa;
    use crate::{DType, rng};

    fn all() -> impl Iterator<Item = Affine> {
        let scales = [DType::F32, DType::F16, DType::Bf16];
        let of =
            move |bits, group_len| scales.map(|scales| Affine::new(bits, group_len, scales).expect("known numbers"));
        Affine::BITS.into_iter().flat_map(move |bits| Affine::GROUP_LENS.into_iter().flat_map(move |len| of(bits, len)))
    }

    fn gaussian(seed: u64, len: usize, sigma: f32) -> Vec<f32> {
        let uniform = |i: u64| rng::uniform_f64(rng::key(&[seed, i]));
        let normal =
            |i: u64| (-2.0 * (1.0 - uniform(2 * i)).ln()).sqrt() * (std::f64::consts::TAU * uniform(2 * i + 1)).cos();
        (0..len as u64).map(|i| normal(i) as f32 * sigma).collect()
    }

    fn decoded(affine: Affine, values: &[f32]) -> Vec<f32> {
        let mut parts = AffineParts::default();
        encode_affine_row(affine, values, &mut parts).expect("finite values");
        let bytes = [parts.codes, parts.scales, parts.biases].concat();
        let mut out = vec![0.0; values.len()];
        BlockMatrix::new(BlockType::Affine(affine), &bytes, 1, values.len()).decode(0, 0, &mut out);
        out
    }

    /// Root of the mean squared error, relative to that of the values.
    fn relative_error(values: &[f32], decoded: &[f32]) -> f64 {
        let square = |x: f64| x * x;
        let error: f64 = values.iter().zip(decoded).map(|(&x, &y)| square(f64::from(x) - f64::from(y))).sum();
        (error / values.iter().map(|&x| square(f64::from(x))).sum::<f64>()).sqrt()
    }

    #[test]
    fn errors_are_of_the_size_that_the_bits_allow() {
        for affine in all() {
            let limit = match (affine.bits(), affine.scale_dtype()) {
                (4, _) => 0.1,
                // Rounding to 8 bits costs as much as the codes do.
                (_, DType::Bf16) => 0.0085,
                _ => 0.0065,
            };
            for sigma in [0.02, 1.0, 100.0] {
                let values = gaussian(1, 4096, sigma);
                let error = relative_error(&values, &decoded(affine, &values));
                println!("{affine} {:?}: {error:.5}", affine.scale_dtype());
                assert!(
                    error < limit && error > limit / 2.5,
                    "{affine} {:?}, sigma {sigma}: {error}",
                    affine.scale_dtype()
                );
            }
        }
    }

    #[test]
    fn every_path_gives_the_same_bytes() {
        for isa in Isa::ALL {
            if !isa.is_available() {
                println!("SKIPPED: {isa}: this machine lacks it");
                continue;
            }
            for affine in all() {
                for sigma in [1e-9, 1e-3, 0.02, 1e3] {
                    let values = gaussian(3, 2048, sigma);
                    let (mut portable, mut fast) = (AffineParts::default(), AffineParts::default());
                    encode_affine_row_with(Isa::Portable, affine, &values, &mut portable).expect("finite values");
                    encode_affine_row_with(isa, affine, &values, &mut fast).expect("finite values");
                    assert_eq!(portable, fast, "{affine} on {isa}, sigma {sigma}");
                }
            }
        }
    }

    #[test]
    fn groups_of_one_value_come_back() {
        for affine in all() {
            for value in [0.0, -0.0, 1.0, -1.0, 0.375, -1024.0, 3e-5] {
                let expected = affine.round(value);
                let got = decoded(affine, &[value; 128]);
                assert!(
                    got.iter().all(|&got| got == expected),
                    "{affine} {:?}: {value} is {}",
                    affine.scale_dtype(),
                    got[0]
                );
            }
            // Zeros among others stay zeros.
            let mut values = gaussian(5, 128, 1.0);
            values[77] = 0.0;
            assert!(decoded(affine, &values)[77].abs() < 0.05, "{affine}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_and_nothing_is_written() {
        for affine in all() {
            let mut parts = AffineParts::default();
            for bad in [f32::NAN, f32::INFINITY] {
                let mut values = vec![1.0; 128];
                values[70] = bad;
                let error = encode_affine_row(affine, &values, &mut parts);
                assert!(matches!(error, Err(EncodeError::NotFinite { index: 70, .. })), "{affine} {bad}: {error:?}");
            }
            let error = encode_affine_row(affine, &[1.0; 31], &mut parts);
            assert!(matches!(error, Err(EncodeError::PartialBlock { len: 31, .. })), "{affine}: {error:?}");
            let large = if affine.scale_dtype() == DType::F16 { 40_000.0 } else { 2e38 };
            let error = encode_affine_row(affine, &[large; 128], &mut parts);
            assert!(matches!(error, Err(EncodeError::TooLarge { index: 0, .. })), "{affine}: {error:?}");
            assert_eq!(parts, AffineParts::default(), "{affine}");
        }
    }
}
