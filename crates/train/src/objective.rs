//! What is minimised: per-token log-probabilities in, a loss and one coefficient per token out.
//!
//! Objectives differ here and nowhere else. The engine turns coefficients into gradients: it multiplies the gradient of
//! each target's log-probability with that target's coefficient, so logits never exist as a whole.

/// Share of a micro-batch in the loss of its step.
#[derive(Debug, Clone, PartialEq)]
pub struct Score {
    /// What this micro-batch adds to the loss of the step.
    pub loss: f64,
    /// `d loss / d smoothed[i]`, one per target of the micro-batch.
    pub coefficients: Vec<f32>,
}

/// What is minimised.
pub trait Objective: Send + Sync {
    /// The share of one micro-batch.
    ///
    /// `smoothed` holds the (label-smoothed) log-probability of each target of the micro-batch, `step_targets` the
    /// number of targets of the whole step, all micro-batches together. The loss of the step is the sum of the shares,
    /// so cutting a step into other micro-batches cannot change it beyond rounding.
    fn score(&self, smoothed: &[f32], step_targets: usize) -> Score;
}

/// Supervised fine-tuning: `loss = - sum_i smoothed_i / N`, coefficient `-1 / N`, with N the number of trained tokens of
/// the whole step. A mean per micro-batch, averaged, would weigh tokens of short answers more.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sft;

impl Objective for Sft {
    fn score(&self, smoothed: &[f32], step_targets: usize) -> Score {
        assert!(step_targets >= smoothed.len(), "{} targets in a step of {step_targets}", smoothed.len());
        let n = step_targets as f64;
        let sum: f64 = smoothed.iter().map(|&value| f64::from(value)).sum();
        Score { loss: -sum / n, coefficients: vec![(-1.0 / n) as f32; smoothed.len()] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sft_divides_by_the_targets_of_the_whole_step() {
        let whole = Sft.score(&[-1.0, -2.0, -3.0, -6.0], 4);
        assert_eq!(whole, Score { loss: 3.0, coefficients: vec![-0.25; 4] });
        let (first, second) = (Sft.score(&[-1.0], 4), Sft.score(&[-2.0, -3.0, -6.0], 4));
        assert_eq!(first.loss + second.loss, whole.loss);
        assert_eq!([first.coefficients, second.coefficients].concat(), whole.coefficients);
    }

    #[test]
    fn a_mean_of_means_is_something_else() {
        let mean_of_means = (Sft.score(&[-1.0], 1).loss + Sft.score(&[-2.0, -3.0, -6.0], 3).loss) / 2.0;
        assert!((mean_of_means - 3.0).abs() > 0.5);
    }
}
