//! How far two models are apart on the same tokens.

use attune_compute::Tensor;
use rayon::prelude::*;

use super::SURE_LEAD;

/// Sums over positions.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Divergence {
    pub(super) tokens: usize,
    pub(super) sure_tokens: usize,
    pub(super) max_kl: f64,
    kl_sum: f64,
    same: usize,
    sure_and_same: usize,
}

impl Divergence {
    /// Adds every position of one sequence. Both are `[t, v]`.
    pub(super) fn add(&mut self, reference_tv: &Tensor, other_tv: &Tensor) {
        assert_eq!((reference_tv.rows(), reference_tv.cols()), (other_tv.rows(), other_tv.cols()), "logits");
        let row = |t| Position::of(reference_tv.row(t), other_tv.row(t));
        let positions: Vec<Position> = (0..reference_tv.rows()).into_par_iter().map(row).collect();
        for position in positions {
            self.tokens += 1;
            self.kl_sum += position.kl;
            // A NaN stays: `max` would drop it.
            self.max_kl = if position.kl.is_nan() { position.kl } else { position.kl.max(self.max_kl) };
            self.same += usize::from(position.same);
            self.sure_tokens += usize::from(position.sure);
            self.sure_and_same += usize::from(position.sure && position.same);
        }
    }

    pub(super) fn mean_kl(&self) -> f64 {
        self.kl_sum / self.tokens.max(1) as f64
    }

    pub(super) fn agreement(&self) -> f64 {
        self.same as f64 / self.tokens.max(1) as f64
    }

    /// 1 where the reference is never sure.
    pub(super) fn sure_agreement(&self) -> f64 {
        if self.sure_tokens == 0 { 1.0 } else { self.sure_and_same as f64 / self.sure_tokens as f64 }
    }
}

struct Position {
    kl: f64,
    same: bool,
    sure: bool,
}

impl Position {
    /// `KL(p || q) = sum p (log p - log q)` of the softmax of two rows.
    fn of(reference: &[f32], other: &[f32]) -> Self {
        let (p_offset, q_offset) = (log_sum_exp(reference), log_sum_exp(other));
        let terms = reference.iter().zip(other).map(|(&p, &q)| {
            let (p, q) = (f64::from(p) - p_offset, f64::from(q) - q_offset);
            p.exp() * (p - q)
        });
        // Rounding can bring it a little below zero.
        let kl: f64 = terms.sum();
        let kl = if kl < 0.0 { 0.0 } else { kl };
        let best = best(reference);
        let second = reference
            .iter()
            .enumerate()
            .filter(|(at, _)| *at != best)
            .map(|(_, &value)| value)
            .fold(f32::MIN, f32::max);
        let probability = |value: f32| (f64::from(value) - p_offset).exp();
        let lead = probability(reference[best]) - probability(second);
        Self { kl, same: best == self::best(other), sure: lead > SURE_LEAD }
    }
}

fn log_sum_exp(row: &[f32]) -> f64 {
    let largest = f64::from(row.iter().copied().fold(f32::MIN, f32::max));
    largest + row.iter().map(|&value| (f64::from(value) - largest).exp()).sum::<f64>().ln()
}

/// The first of the largest.
fn best(row: &[f32]) -> usize {
    let mut best = 0;
    for (at, value) in row.iter().enumerate() {
        if *value > row[best] {
            best = at;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn divergence_is_that_of_the_definition() {
        let logits = |p: [f64; 3]| Tensor::from_vec(1, 3, p.map(|p| p.ln() as f32 + 5.0).to_vec());
        let mut divergence = Divergence::default();
        divergence.add(&logits([0.5, 0.3, 0.2]), &logits([0.25, 0.5, 0.25]));
        let expected = 0.5 * 2.0_f64.ln() + 0.3 * (0.6_f64).ln() + 0.2 * (0.8_f64).ln();
        assert!((divergence.mean_kl() - expected).abs() < 1e-6, "{} {expected}", divergence.mean_kl());
        assert_eq!((divergence.agreement(), divergence.sure_tokens), (0.0, 1));
        divergence.add(&logits([0.35, 0.33, 0.32]), &logits([0.35, 0.33, 0.32]));
        assert_eq!((divergence.agreement(), divergence.sure_tokens, divergence.tokens), (0.5, 1, 2));
        assert!(divergence.max_kl > divergence.mean_kl());
    }

    #[test]
    fn a_nan_is_never_small() {
        let mut divergence = Divergence::default();
        divergence.add(&Tensor::from_vec(1, 2, vec![0.0, 1.0]), &Tensor::from_vec(1, 2, vec![0.0, f32::NAN]));
        assert!(divergence.mean_kl().is_nan() && divergence.max_kl.is_nan());
    }
}
