//! A few real steps beside what the plan says of them: the way to see how good a prediction is.

use std::sync::atomic::AtomicBool;
use std::time::Instant;

use attune_config::Config;
use serde::Serialize;

use super::Layouted;
use super::calibrate::Speed;
use super::shapes::{Shapes, lengths};
use crate::error::TrainError;
use crate::inputs::Inputs;
use crate::memory::peak_memory_bytes;
use crate::plan::BatchPlan;
use crate::run::{engine, fresh};
use crate::step::{StepInput, StepResult, train_step};

/// Steps are added until they take this long.
const SECONDS: f64 = 5.0;

/// Steps whose widths are compared to find the widest.
const MOST_STEPS: u64 = 1000;

/// Predicted and measured, of the same steps.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Measured {
    /// Steps that were made; nothing of them is kept.
    pub steps: u64,
    /// What the plan says they take.
    pub predicted_seconds: f64,
    /// What they took.
    pub seconds: f64,
    /// Tokens of these steps per second.
    pub tokens_per_sec: f64,
    /// What the plan says the process holds at most.
    pub predicted_peak_bytes: u64,
    /// What it held, where the system tells.
    pub peak_bytes: Option<u64>,
}

/// Makes the widest step once in vain, because the first one also fills the memory, and then steps until five seconds
/// are over.
///
/// # Errors
/// As [`train_step`].
pub fn measure(inputs: &Inputs, config: &Config, speed: &Speed) -> Result<Measured, TrainError> {
    let engine = engine(config, inputs)?;
    let mut trainable = fresh(config, inputs)?;
    let training = &config.training;
    let mut plan = BatchPlan::of(config, &inputs.mixture);
    let total = plan.total_steps(training);
    let (lengths, spec) = (lengths(&inputs.train), &inputs.base.spec);
    let mut shapes_of = |step: u64| Shapes::of_steps(&lengths, &[plan.batch(step)], &engine.packing, spec);
    let widest = (0..total.min(MOST_STEPS)).max_by_key(|&step| shapes_of(step).widest.tokens).unwrap_or(0);

    let mut measured = Measured {
        steps: 0,
        predicted_seconds: 0.0,
        seconds: 0.0,
        tokens_per_sec: 0.0,
        predicted_peak_bytes: inputs.plan.chosen.peak.total_bytes(),
        peak_bytes: None,
    };
    let (mut tokens, mut is_warm) = (0, false);
    for step in [widest, widest].into_iter().chain((0..total).filter(|&step| step != widest)) {
        if measured.seconds > SECONDS {
            break;
        }
        let train = shapes_of(step);
        let mut batches = BatchPlan::of(config, &inputs.mixture);
        let indices = batches.batch(step);
        let input = StepInput { examples: &inputs.train, indices: &indices, step, learning_rate: 0.0 };
        let begin = Instant::now();
        let result = train_step(&engine, &mut trainable, &input, &AtomicBool::new(false))?;
        let seconds = begin.elapsed().as_secs_f64();
        if let StepResult::Done(outcome) = result
            && std::mem::replace(&mut is_warm, true)
        {
            let layouted = Layouted { train, ..inputs.plan.chosen.clone() };
            measured.predicted_seconds +=
                speed.predict(config, spec, (&trainable.trained).into(), &layouted).training_seconds;
            measured.seconds += seconds;
            measured.steps += 1;
            tokens += outcome.tokens;
        }
    }
    measured.tokens_per_sec = tokens as f64 / measured.seconds.max(1e-9);
    measured.peak_bytes = peak_memory_bytes();
    Ok(measured)
}
