//! Loops that the compiler vectorises, once per instruction set; the exponential; sums in a fixed order.
#![allow(unsafe_code)]

/// Makes a function that runs `$body::<FMA>` compiled for the given instruction set.
///
/// The body must be `#[inline(always)]`, and so must everything hot that it calls: code takes on the instruction set of
/// the function that it is inlined into.
macro_rules! per_isa {
    ($(#[$doc:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? => $body:ident) => {
        $(#[$doc])*
        #[allow(unsafe_code, clippy::too_many_arguments)]
        $vis fn $name(isa: $crate::cpu::isa::VerifiedIsa, $($arg: $ty),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
            fn avx512($($arg: $ty),*) $(-> $ret)? {
                $body::<true>($($arg),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,f16c")]
            fn avx2($($arg: $ty),*) $(-> $ret)? {
                $body::<true>($($arg),*)
            }
            match isa.get() {
                #[cfg(target_arch = "x86_64")]
                // SAFETY: a `VerifiedIsa` of this value exists only where the instructions were detected.
                $crate::cpu::Isa::Amx | $crate::cpu::Isa::Avx512Bf16 | $crate::cpu::Isa::Avx512 => unsafe { avx512($($arg),*) },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: as above.
                $crate::cpu::Isa::Avx2 => unsafe { avx2($($arg),*) },
                #[cfg(not(target_arch = "x86_64"))]
                isa @ ($crate::cpu::Isa::Amx | $crate::cpu::Isa::Avx512Bf16 | $crate::cpu::Isa::Avx512 | $crate::cpu::Isa::Avx2) => unreachable!("{isa} on this processor"),
                $crate::cpu::Isa::Portable => $body::<{ cfg!(target_arch = "aarch64") }>($($arg),*),
            }
        }
    };
}
pub(super) use per_isa;

/// `a * b + c`, with one rounding where the instruction set has it (`FMA`), else with two: the one-rounding form would
/// become a call into the C library there.
#[inline(always)]
pub(super) fn multiply_add<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// `e^x`, at most 2 ulp off (tested over the whole range against `f64`); results below the normal numbers are rounded
/// once more. Overflows to infinity, keeps NaN.
///
/// `x = n ln 2 + r` with `|r| <= ln 2 / 2`; `e^r` by its Taylor polynomial of degree 7, whose remainder
/// `r^8 / 8!` is below 5.3e-9, a tenth of an ulp; times `2^n` in two factors, so that neither leaves the range.
#[inline(always)]
pub(super) fn exp<const FMA: bool>(x: f32) -> f32 {
    // Adding 1.5 * 2^23 leaves the nearest integer in the low bits of the mantissa.
    const ROUND: f32 = 12_582_912.0;
    // The upper part of ln 2 has 9 significant bits, so n times it is exact.
    const LN_2_UPPER: f32 = 0.693_359_4;
    const LN_2_LOWER: f32 = -2.121_944_4e-4;
    // Comparisons that are false for NaN, so that it passes; e^89 is infinite and e^-105 rounds to zero.
    let x = if x > 89.0 { 89.0 } else { x };
    let x = if x < -105.0 { -105.0 } else { x };
    let shifted = multiply_add::<FMA>(x, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = multiply_add::<FMA>(n, -LN_2_UPPER, x);
    let r = multiply_add::<FMA>(n, -LN_2_LOWER, r);
    let mut tail = 1.0 / 5040.0;
    for coefficient in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5] {
        tail = multiply_add::<FMA>(tail, r, coefficient);
    }
    let power = multiply_add::<FMA>(tail, r * r, r) + 1.0;
    let n = (shifted.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    let first = n >> 1;
    let two_to = |n: i32| f32::from_bits((n.wrapping_add(127) as u32) << 23);
    power * two_to(first) * two_to(n.wrapping_sub(first))
}

/// `1 / (1 + e^-x)`.
#[inline(always)]
pub(super) fn sigmoid<const FMA: bool>(x: f32) -> f32 {
    1.0 / (1.0 + exp::<FMA>(-x))
}

const LANES: usize = 16;

/// The largest value; `-inf` for none. NaN are passed over.
#[inline(always)]
pub(super) fn max(values: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for i in 0..LANES {
            lanes[i] = larger(lanes[i], chunk[i]);
        }
    }
    rest.iter().chain(&lanes).copied().fold(f32::NEG_INFINITY, larger)
}

/// Halves the lanes until one is left.
#[inline(always)]
fn fold<const N: usize, T: Copy + std::ops::AddAssign>(mut lanes: [T; N]) -> T {
    let mut width = N / 2;
    while width > 0 {
        for i in 0..width {
            let upper = lanes[i + width];
            lanes[i] += upper;
        }
        width /= 2;
    }
    lanes[0]
}

/// `values[i] = f(values[i])`, and the sum of the results in 16 lanes.
#[inline(always)]
pub(super) fn map_sum(values: &mut [f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (chunks, rest) = values.as_chunks_mut::<LANES>();
    for chunk in chunks {
        for i in 0..LANES {
            chunk[i] = f(chunk[i]);
            lanes[i] += chunk[i];
        }
    }
    for (lane, value) in lanes.iter_mut().zip(rest) {
        *value = f(*value);
        *lane += *value;
    }
    fold(lanes)
}

/// `sum of f(i)` for `i` in `0..len`, in `f64` and 8 lanes.
#[inline(always)]
pub(super) fn sum_f64(len: usize, f: impl Fn(usize) -> f64) -> f64 {
    const LANES: usize = 8;
    let mut lanes = [0.0f64; LANES];
    let whole = len / LANES * LANES;
    for start in (0..whole).step_by(LANES) {
        for (lane, sum) in lanes.iter_mut().enumerate() {
            *sum += f(start + lane);
        }
    }
    for (lane, i) in (whole..len).enumerate() {
        lanes[lane] += f(i);
    }
    fold(lanes)
}

/// `sum of a[i] b[i]` in `f64`.
#[inline(always)]
pub(super) fn dot_f64(a: &[f32], b: &[f32]) -> f64 {
    let b = &b[..a.len()];
    sum_f64(a.len(), |i| f64::from(a[i]) * f64::from(b[i]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::Isa;

    #[inline(always)]
    fn exp_body<const FMA: bool>(values: &mut [f32]) {
        for value in values {
            *value = exp::<FMA>(*value);
        }
    }

    per_isa!(fn exp_all(values: &mut [f32]) => exp_body);

    fn ulps(got: f32, expected: f64) -> f64 {
        let rounded = expected as f32;
        let ulp = f64::from(f32::from_bits(rounded.to_bits() + 1)) - f64::from(rounded);
        (f64::from(got) - expected).abs() / ulp
    }

    #[test]
    fn exp_is_within_two_ulp_everywhere() {
        for isa in Isa::ALL {
            let Ok(verified) = isa.verify() else {
                println!("SKIPPED: {isa}: this machine lacks it");
                continue;
            };
            // Every 97th float between -87.3 and 88.7, both signs: 23 million of them would take too long unoptimised.
            let inputs: Vec<f32> = (0..88.7f32.to_bits())
                .step_by(97)
                .flat_map(|bits| [f32::from_bits(bits), -f32::from_bits(bits)])
                .filter(|&x| x > -87.3)
                .collect();
            let mut outputs = inputs.clone();
            exp_all(verified, &mut outputs);
            let worst = inputs.iter().zip(&outputs).map(|(&x, &y)| ulps(y, f64::from(x).exp())).fold(0.0, f64::max);
            println!("{isa}: exp is off by at most {worst:.3} ulp");
            assert!(worst <= 2.0, "{isa}: {worst} ulp");
        }
    }

    #[test]
    fn exp_at_the_borders() {
        for isa in Isa::ALL {
            let Ok(verified) = isa.verify() else { continue };
            let inputs = [0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, 200.0, 88.8, -200.0, -104.5, -100.0, 1e-40];
            let mut outputs = inputs;
            exp_all(verified, &mut outputs);
            let inf = f32::INFINITY;
            assert_eq!(outputs[..8], [1.0, 1.0, inf, 0.0, inf, inf, 0.0, 0.0], "{isa}");
            assert!((f64::from(outputs[8]) - (-100.0f64).exp()).abs() < 2e-45, "{isa}: {}", outputs[8]);
            assert_eq!(outputs[9], 1.0, "{isa}");
            let mut nan = [f32::NAN; 17];
            exp_all(verified, &mut nan);
            assert!(nan.iter().all(|value| value.is_nan()), "{isa}");
        }
    }

    #[test]
    fn sums_and_maxima_of_every_length() {
        for len in 0..70 {
            let mut values: Vec<f32> = (0..len).map(|i| ((i * 37) % 19) as f32 - 9.0).collect();
            let largest = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            assert_eq!(max(&values), largest, "length {len}");
            assert_eq!(dot_f64(&values, &values), values.iter().map(|&x| f64::from(x * x)).sum(), "length {len}");
            let doubled: f32 = values.iter().map(|x| 2.0 * x).sum();
            assert_eq!(map_sum(&mut values, |x| 2.0 * x), doubled, "length {len}");
        }
    }
}
