//! MinHash, a few hashes per shingle instead of one per shingle and permutation.
//!
//! The shingles are thrown into the bins of the sketch, each to one bin per round, and a bin keeps the smallest value of
//! the first round that reaches it. When as many rounds as there are bins have passed, every bin that is still empty takes
//! the smallest value over all shingles. So every bin is filled, and two sets agree in a bin with a probability of
//! exactly their Jaccard similarity, as with one permutation per bin; the number of bins in which they agree varies less
//! than with independent permutations. A long text needs two hashes per shingle, a text of one shingle two per bin.
//!
//! # Source
//! S. Dahlgaard, M. B. T. Knudsen, M. Thorup: Fast Similarity Sketching, FOCS 2017 (arXiv 1704.04370), algorithm 1.

use super::hash;

/// Bits of a value that are the hash; those above are the round.
const HASH_BITS: u32 = 48;

/// How sketches are made.
#[derive(Debug)]
pub(crate) struct Sketcher {
    bands: usize,
    bins: usize,
    /// Two numbers per round.
    rounds: Vec<(u64, u64)>,
}

impl Sketcher {
    pub(crate) fn new(bands: usize, rows_per_band: usize, seed: u64) -> Self {
        let bins = bands * rows_per_band;
        let rounds =
            (0..2 * bins).map(|round| (hash::nth(seed, 2 * round + 2), hash::nth(seed, 2 * round + 3) | 1)).collect();
        Self { bands, bins, rounds }
    }

    /// The sketch of a set that has at least one shingle; repeats change nothing.
    fn sketch(&self, names: &[u64], sketch: &mut Vec<u64>) {
        sketch.clear();
        sketch.resize(self.bins, u64::MAX);
        let value = |round: usize, hash: u64| (round as u64) << HASH_BITS | hash & ((1 << HASH_BITS) - 1);
        for (round, &(add, multiply)) in self.rounds[..self.bins].iter().enumerate() {
            for &name in names {
                let hash = hash::fold(name ^ add, multiply);
                let bin = (((hash >> 32) * self.bins as u64) >> 32) as usize;
                // Later rounds have larger values, so they never replace earlier ones.
                sketch[bin] = sketch[bin].min(value(round, hash));
            }
            if !sketch.contains(&u64::MAX) {
                return;
            }
        }
        for (bin, &(add, multiply)) in self.rounds[self.bins..].iter().enumerate() {
            if sketch[bin] == u64::MAX {
                let least = names.iter().map(|&name| value(self.bins + bin, hash::fold(name ^ add, multiply))).min();
                sketch[bin] = least.unwrap_or(u64::MAX);
            }
        }
    }

    /// One key per band: equal where all bins of the band are equal (or, once in four thousand million, by chance).
    pub(crate) fn keys(&self, names: &[u64], sketch: &mut Vec<u64>, keys: &mut [u32]) {
        self.sketch(names, sketch);
        for (key, band) in keys.iter_mut().zip(sketch.chunks_exact(self.bins / self.bands)) {
            let state = band.iter().fold(1, |state, &value| hash::mix(state ^ value).rotate_left(5));
            *key = (hash::mix(state) >> 32) as u32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two sets of `size` shingles with `common` of them in both.
    fn pair(trial: u64, size: usize, common: usize) -> (Vec<u64>, Vec<u64>) {
        let name = |index: usize| hash::nth(trial, index);
        let left = (0..size).map(name).collect();
        let right = (0..common).chain(size..2 * size - common).map(name).collect();
        (left, right)
    }

    /// How often two sets of that similarity agree in a bin, and how often in no band.
    fn measured(size: usize, common: usize, trials: u64) -> (f64, f64) {
        let sketcher = Sketcher::new(25, 5, 3);
        let (mut equal, mut missed) = (0_usize, 0_usize);
        let (mut a, mut b) = (Vec::new(), Vec::new());
        for trial in 0..trials {
            let (left, right) = pair(trial, size, common);
            let (mut x, mut y) = ([0; 25], [0; 25]);
            sketcher.keys(&left, &mut a, &mut x);
            sketcher.keys(&right, &mut b, &mut y);
            equal += a.iter().zip(&b).filter(|(a, b)| a == b).count();
            missed += usize::from(x.iter().zip(&y).all(|(x, y)| x != y));
        }
        (equal as f64 / (trials * 125) as f64, missed as f64 / trials as f64)
    }

    #[test]
    fn bins_agree_as_often_as_the_sets_do() {
        for (size, common) in [(1, 0), (1, 1), (4, 2), (12, 11), (40, 30), (150, 120), (600, 500), (600, 100)] {
            let similarity = common as f64 / (2 * size - common) as f64;
            let (got, _) = measured(size, common, 400);
            assert!((got - similarity).abs() < 0.025, "{size} {common}: {got} against {similarity}");
        }
    }

    /// The formula for independent permutations is a bound on what is missed.
    #[test]
    fn few_pairs_are_missed() {
        for (size, common) in [(12, 8), (40, 27), (150, 100), (600, 400)] {
            let similarity: f64 = common as f64 / (2 * size - common) as f64;
            let formula = (1.0 - similarity.powi(5)).powi(25);
            let (_, missed) = measured(size, common, 2_000);
            // At 0.5 the formula misses 45 of 100: three standard deviations are 0.034.
            assert!(missed <= formula + 0.034, "{size} {common}: {missed} against {formula}");
        }
        let (_, missed) = measured(100, 92, 4_000);
        assert_eq!(missed, 0.0);
    }
}
