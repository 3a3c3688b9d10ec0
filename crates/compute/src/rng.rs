//! Counter-based random numbers: a value is a pure function of its key, so neither the order of work, nor the number
//! of threads, nor an interruption can change it.
//!
//! # Source
//! The mixing function is the finaliser of SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number
//! generators", OOPSLA 2014), applied once per part of the key.

const GOLDEN_GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// One SplitMix64 step: a bijection of `u64` with full avalanche.
pub fn mix(state: u64) -> u64 {
    let mut z = state.wrapping_add(GOLDEN_GAMMA);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A key and one more part of it.
pub fn combine(key: u64, part: u64) -> u64 {
    mix(key ^ mix(part))
}

/// A key out of several parts, for example `(seed, step, module)`.
pub fn key(parts: &[u64]) -> u64 {
    parts.iter().fold(GOLDEN_GAMMA, |key, &part| combine(key, part))
}

/// A uniform number in `[0, 1)` with 24 random bits: every value is exact in `f32`.
pub fn uniform_f32(bits: u64) -> f32 {
    (bits >> 40) as f32 * (1.0 / (1u32 << 24) as f32)
}

/// A uniform number in `[0, 1)` with 53 random bits.
pub fn uniform_f64(bits: u64) -> f64 {
    (bits >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
}

/// A uniform integer in `0..bound` (Lemire's multiply-shift; the bias is below `bound / 2^64`).
///
/// # Panics
/// If `bound` is 0.
pub fn below(bits: u64, bound: u64) -> u64 {
    assert!(bound > 0, "a random number below zero was asked for");
    ((u128::from(bits) * u128::from(bound)) >> 64) as u64
}

/// A permutation of `0..len` that depends on `key` alone (Fisher-Yates).
pub fn permutation(key: u64, len: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..len).collect();
    for i in (1..len).rev() {
        let j = below(combine(key, i as u64), i as u64 + 1) as usize;
        order.swap(i, j);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permutation_is_a_permutation_and_depends_on_the_key() {
        let mut first = permutation(1, 1000);
        assert_ne!(first, permutation(2, 1000));
        assert_eq!(first, permutation(1, 1000));
        first.sort_unstable();
        assert!(first.iter().copied().eq(0..1000));
    }

    #[test]
    fn uniform_numbers_have_the_right_mean_and_stay_in_range() {
        let n = 100_000u64;
        let values: Vec<f32> = (0..n).map(|i| uniform_f32(combine(7, i))).collect();
        assert!(values.iter().all(|value| (0.0..1.0).contains(value)));
        let mean = values.iter().map(|&value| f64::from(value)).sum::<f64>() / n as f64;
        assert!((mean - 0.5).abs() < 0.005, "mean {mean}");
    }

    #[test]
    fn below_reaches_every_value() {
        let mut seen = [false; 7];
        for i in 0..1000 {
            seen[below(mix(i), 7) as usize] = true;
        }
        assert!(seen.iter().all(|&hit| hit));
    }
}
