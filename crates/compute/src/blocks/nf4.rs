//! The constants of NF4: its 16 values, and the values of the codes of its scales.
//!
//! # Source
//! Dettmers et al.: "QLoRA", 2023, appendix E (the 16 values); Dettmers: "8-bit Approximations for Parallelism in Deep
//! Learning", 2015 (dynamic tree quantisation); the numbers are those of bitsandbytes.

use std::sync::OnceLock;

/// The 16 values: quantiles of the normal distribution, zero among them.
pub const NF4_VALUES: [f32; 16] = [
    -1.0,
    -0.696_192_8,
    -0.525_073_05,
    -0.394_917_5,
    -0.284_441_38,
    -0.184_773_43,
    -0.091_050_036,
    0.0,
    0.079_580_3,
    0.160_930_2,
    0.246_112_3,
    0.337_915_24,
    0.440_709_83,
    0.562_617,
    0.722_956_84,
    1.0,
];

/// Powers of ten that a code of a scale can have.
const EXPONENTS: usize = 7;

/// The values of the 256 codes of a scale, ascending: for each power of ten from 1e-6 to 1 the middles between evenly
/// spaced numbers from 0.1 to 1, twice as many with each power, positive and negative; 0; and 1.
pub fn scale_values() -> &'static [f32; 256] {
    static VALUES: OnceLock<[f32; 256]> = OnceLock::new();
    VALUES.get_or_init(|| {
        let mut values = Vec::with_capacity(256);
        for exponent in 0..EXPONENTS {
            let parts = 1usize << exponent;
            let power = 10f64.powi(exponent as i32 - (EXPONENTS as i32 - 1)) as f32;
            for part in 0..parts {
                let middle = (border(part, parts) + border(part + 1, parts)) / 2.0;
                values.extend([power * middle, -power * middle]);
            }
        }
        values.extend([0.0, 1.0]);
        values.sort_by(f32::total_cmp);
        let Ok(values) = values.try_into() else { unreachable!("2 (1 + 2 + ... + 64) + 2 values are 256") };
        values
    })
}

/// Number `at` of `parts + 1` evenly spaced numbers from 0.1 to 1, in `f32`: counted from the nearer end.
fn border(at: usize, parts: usize) -> f32 {
    let (low, high) = (0.1f32, 1.0f32);
    let step = (high - low) / parts as f32;
    if at < parts.div_ceil(2) { low + step * at as f32 } else { high - step * (parts - at) as f32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_ascending_and_as_published() {
        let values = scale_values();
        assert!(values.is_sorted_by(|a, b| a < b), "256 different values");
        assert_eq!((values[0], values[255]), (-0.992_968_74, 1.0));
        // 63 negative steps of each of the powers down to 1e-6, then 0.
        assert_eq!(values[127], 0.0);
        assert_eq!(values[126], -values[128]);
        assert!((values[128] - 5.5e-7).abs() < 1e-13);
    }
}
