//! The learning rate of every step, as a factor of `training.learning_rate`.

use attune_config::{Schedule as ScheduleKind, TrainingConfig};

/// A schedule is a pure function of the step index: nothing of it has to be stored in a checkpoint.
///
/// With `s` the step index from 0, `T` the number of steps, `W` the warm-up steps and `m` the lowest ratio:
///
/// ```text
/// s <  W:   factor = (s + 1) / W
/// s >= W:   p = (s - W) / max(1, T - W)
///           constant: factor = 1
///           linear:   factor = m + (1 - m) * (1 - p)
///           cosine:   factor = m + (1 - m) * (1 + cos(pi p)) / 2
/// ```
///
/// # Source
/// `get_constant_schedule_with_warmup`, `get_linear_schedule_with_warmup`, `get_cosine_schedule_with_warmup` and
/// `get_cosine_with_min_lr_schedule_with_warmup` of Transformers, with one deviation: there the warm-up is `s / W`, so
/// the first step has the learning rate 0 and moves nothing. Ours starts at `1 / W` and reaches 1 at the last warm-up
/// step. Without warm-up the two agree.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// The curve after the warm-up.
    pub kind: ScheduleKind,
    /// T.
    pub total_steps: u64,
    /// W.
    pub warmup_steps: u64,
    /// m, in `[0, 1]`.
    pub min_ratio: f64,
}

impl Schedule {
    /// The schedule that the configuration asks for. Of `warmup_ratio` times the steps the ceiling is taken, as
    /// Transformers does.
    pub fn new(training: &TrainingConfig, total_steps: u64) -> Self {
        let warmup_steps = match training.warmup_steps {
            Some(steps) => steps as u64,
            None => (total_steps as f64 * training.warmup_ratio.unwrap_or(0.0)).ceil() as u64,
        };
        Self { kind: training.schedule, total_steps, warmup_steps, min_ratio: training.min_learning_rate_ratio }
    }

    /// Factor of the learning rate at step index `step`, from 0.
    pub fn factor(&self, step: u64) -> f64 {
        if step < self.warmup_steps {
            return (step + 1) as f64 / self.warmup_steps as f64;
        }
        let decay_steps = self.total_steps.saturating_sub(self.warmup_steps).max(1);
        let progress = ((step - self.warmup_steps) as f64 / decay_steps as f64).min(1.0);
        let shape = match self.kind {
            ScheduleKind::Constant => return 1.0,
            ScheduleKind::Linear => 1.0 - progress,
            ScheduleKind::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()),
        };
        self.min_ratio + (1.0 - self.min_ratio) * shape
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn factors(kind: ScheduleKind, total_steps: u64, warmup_steps: u64, min_ratio: f64) -> Vec<f64> {
        let schedule = Schedule { kind, total_steps, warmup_steps, min_ratio };
        (0..total_steps).map(|step| schedule.factor(step)).collect()
    }

    fn assert_close(got: &[f64], expected: &[f64]) {
        assert_eq!(got.len(), expected.len());
        for (step, (got, expected)) in got.iter().zip(expected).enumerate() {
            assert!((got - expected).abs() < 1e-12, "step {step}: {got} instead of {expected}");
        }
    }

    #[test]
    fn constant_stays_at_one_after_the_warm_up() {
        assert_close(&factors(ScheduleKind::Constant, 5, 2, 0.0), &[0.5, 1.0, 1.0, 1.0, 1.0]);
    }

    #[test]
    fn linear_is_that_of_transformers_without_warm_up() {
        assert_close(&factors(ScheduleKind::Linear, 4, 0, 0.0), &[1.0, 0.75, 0.5, 0.25]);
    }

    #[test]
    fn warm_up_moves_something_in_the_first_step() {
        assert_close(&factors(ScheduleKind::Linear, 6, 2, 0.0), &[0.5, 1.0, 1.0, 0.75, 0.5, 0.25]);
    }

    #[test]
    fn cosine_is_that_of_transformers_without_warm_up() {
        let half_root = 0.5 * 2f64.sqrt();
        let expected = [1.0, 0.5 * (1.0 + half_root), 0.5, 0.5 * (1.0 - half_root)];
        assert_close(&factors(ScheduleKind::Cosine, 4, 0, 0.0), &expected);
    }

    #[test]
    fn the_lowest_ratio_is_a_floor() {
        assert_close(&factors(ScheduleKind::Linear, 2, 0, 0.2), &[1.0, 0.6]);
        let schedule = Schedule { kind: ScheduleKind::Cosine, total_steps: 10, warmup_steps: 0, min_ratio: 0.1 };
        assert!((schedule.factor(10) - 0.1).abs() < 1e-12);
        assert!((schedule.factor(1000) - 0.1).abs() < 1e-12, "beyond the end the floor holds");
    }

    #[test]
    fn a_warm_up_longer_than_the_run_never_divides_by_zero() {
        assert_close(&factors(ScheduleKind::Cosine, 2, 4, 0.0), &[0.25, 0.5]);
    }
}
