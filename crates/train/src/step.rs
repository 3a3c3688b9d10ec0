//! One optimizer step, top to bottom.

use std::sync::atomic::{AtomicBool, Ordering};

use attune_compute::rng;
use attune_data::RowOrigin;
use attune_model::{BaseModel, Decoder, ForwardOptions, SavePolicy, Trained, TrainedGradients};

use crate::error::TrainError;
use crate::examples::Example;
use crate::objective::Objective;
use crate::optimizer::{AdamW, AdamWSettings, clip_factor, global_norm};
use crate::plan::{MicroBatch, Packing, cut, stream};

/// What stays the same from step to step.
pub struct Engine<'a> {
    /// Base model and backend.
    pub decoder: Decoder<'a>,
    /// What is minimised.
    pub objective: &'a dyn Objective,
    /// How a step is cut into micro-batches.
    pub packing: Packing,
    /// What the forward pass keeps.
    pub save: SavePolicy,
    /// e of the label smoothing.
    pub label_smoothing: f32,
    /// Limit of the gradient's global norm.
    pub max_grad_norm: Option<f64>,
    /// Seed of the run: names the dropout masks.
    pub seed: u64,
}

impl Engine<'_> {
    /// The decoder over the base, or over a working copy of the weights that are trained.
    pub fn decoder_over<'b>(&'b self, working: Option<&'b BaseModel>) -> Decoder<'b> {
        self.decoder.over(working.unwrap_or(self.decoder.base()))
    }
}

/// What a step changes.
#[derive(Debug, Clone)]
pub struct Trainable {
    /// What is trained: an adapter's matrices, or all weights.
    pub trained: Trained,
    /// Moments and the number of updates.
    pub optimizer: AdamW,
    gradients: TrainedGradients,
}

impl Trainable {
    /// With fresh moments.
    pub fn new(trained: impl Into<Trained>, settings: AdamWSettings) -> Self {
        let trained = trained.into();
        let optimizer = AdamW::new(settings, &trained);
        Self::resumed(trained, optimizer)
    }

    /// With the moments of a checkpoint.
    pub fn resumed(trained: Trained, optimizer: AdamW) -> Self {
        let gradients = TrainedGradients::zeros(&trained);
        Self { trained, optimizer, gradients }
    }

    /// The gradients of the last step, before clipping.
    pub fn gradients(&self) -> &TrainedGradients {
        &self.gradients
    }
}

/// Which examples make the step, and at which learning rate.
#[derive(Debug, Clone, Copy)]
pub struct StepInput<'a> {
    /// All examples of the run.
    pub examples: &'a [Example],
    /// Those of this step.
    pub indices: &'a [usize],
    /// Number of the step, from 0: names the dropout masks.
    pub step: u64,
    /// Learning rate.
    pub learning_rate: f64,
}

/// How a step went.
#[derive(Debug, Clone, PartialEq)]
pub enum StepResult {
    /// What is trained was updated.
    Done(StepOutcome),
    /// The loss or the gradient was not finite: weights and moments are as before.
    Bad(BadStep),
    /// The interrupt flag was set between two micro-batches: weights and moments are as before.
    Interrupted,
}

/// A step with an update.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepOutcome {
    /// Sum over the trained tokens of the whole step divided by their number.
    pub loss: f64,
    /// Global norm of the gradient before clipping.
    pub grad_norm: f64,
    /// Tokens, without padding.
    pub tokens: usize,
    /// Trained tokens.
    pub trained_tokens: usize,
}

/// A step that was skipped.
#[derive(Debug, Clone, PartialEq)]
pub struct BadStep {
    /// What was not finite.
    pub reason: String,
    /// The rows whose own loss or gradient is not finite; all rows of the step when no single one is.
    pub rows: Vec<RowOrigin>,
}

/// One optimizer step: forward, loss and backward of every micro-batch, clipping, AdamW.
///
/// # Errors
/// When no row of the step has a trained token, the loss is exactly 0, or a row does not fit the model.
pub fn train_step(
    engine: &Engine,
    trainable: &mut Trainable,
    input: &StepInput,
    interrupt: &AtomicBool,
) -> Result<StepResult, TrainError> {
    let StepInput { examples, indices, step, learning_rate } = *input;
    let rows = || indices.iter().map(|&index| examples[index].origin.clone()).collect::<Vec<_>>();
    let tokens = indices.iter().map(|&index| examples[index].ids.len()).sum();
    let trained_tokens = indices.iter().map(|&index| examples[index].trained_tokens()).sum();
    if trained_tokens == 0 {
        return Err(TrainError::StepUntrained { step: step + 1, rows: rows() });
    }

    trainable.gradients.clear();
    let backend = engine.decoder.backend();
    // Rounded anew after every update; dropped before the next, since it may share its memory with the masters.
    let working = trainable.trained.working_copy(backend);
    let decoder = engine.decoder_over(working.as_ref());
    let mut loss = 0.0;
    let mut bad_examples = Vec::new();
    for micro in cut(examples, indices, &engine.packing) {
        if interrupt.load(Ordering::Relaxed) {
            return Ok(StepResult::Interrupted);
        }
        let Trainable { trained, gradients, .. } = trainable;
        let share = micro_step(engine, &decoder, (trained, gradients), &micro, step, trained_tokens)?;
        loss += share.loss;
        bad_examples.extend(share.bad_examples);
    }
    if !bad_examples.is_empty() || !loss.is_finite() {
        bad_examples.dedup();
        let named = bad_examples.iter().map(|&index| examples[index].origin.clone()).collect::<Vec<_>>();
        let named = if named.is_empty() { rows() } else { named };
        return Ok(StepResult::Bad(BadStep { reason: "the loss is not finite".into(), rows: named }));
    }
    if loss == 0.0 {
        return Err(TrainError::ZeroLoss { step: step + 1, rows: rows() });
    }

    let grad_norm = global_norm(backend, &trainable.gradients);
    let scale = clip_factor(grad_norm, engine.max_grad_norm);
    if let Some(reason) = gradient_problem(grad_norm, scale) {
        let rows = rows_with_bad_gradient(engine, &decoder, &trainable.trained, input, trained_tokens, scale)?;
        return Ok(StepResult::Bad(BadStep { reason, rows }));
    }
    drop(decoder);
    drop(working);
    let Trainable { trained, optimizer, gradients } = trainable;
    optimizer.update(backend, trained, gradients, learning_rate, scale);
    Ok(StepResult::Done(StepOutcome { loss, grad_norm, tokens, trained_tokens }))
}

/// What one micro-batch adds to the loss, and which of its examples have a loss that is not finite.
struct Share {
    loss: f64,
    bad_examples: Vec<usize>,
}

/// Forward, loss and backward of one micro-batch. Without a finite loss there is no backward pass.
fn micro_step(
    engine: &Engine,
    decoder: &Decoder,
    (trained, gradients): (&Trained, &mut TrainedGradients),
    micro: &MicroBatch,
    step: u64,
    step_targets: usize,
) -> Result<Share, TrainError> {
    if micro.batch.targets.is_empty() {
        return Ok(Share { loss: 0.0, bad_examples: Vec::new() });
    }
    let adapter = trained.adapter();
    let has_dropout = adapter.is_some_and(|adapter| adapter.spec.dropout > 0.0);
    let dropout_key = has_dropout.then(|| rng::key(&[engine.seed, stream::DROPOUT, step]));
    let options = ForwardOptions { save: engine.save, dropout_key };
    let pass = decoder.forward(&micro.batch, adapter, &options)?;
    // A head that is trained has its gradient formed in the backward pass, together with its rows'.
    let head = decoder.head_logprobs(&pass, engine.label_smoothing, adapter.is_some());
    let bad_examples: Vec<usize> = head
        .smoothed
        .iter()
        .zip(&micro.target_examples)
        .filter(|(value, _)| !value.is_finite())
        .map(|(_, &example)| example)
        .collect();
    let score = engine.objective.score(&head.smoothed, step_targets);
    if bad_examples.is_empty() {
        match (trained, gradients) {
            (Trained::Adapter(adapter), TrainedGradients::Adapter(gradients)) => {
                decoder.backward(pass, head, &score.coefficients, adapter, gradients);
            }
            (Trained::Full(_), TrainedGradients::Full(gradients)) => {
                decoder.backward_full(pass, engine.label_smoothing, &score.coefficients, gradients);
            }
            _ => panic!("gradients of something else than what is trained"),
        }
    }
    Ok(Share { loss: score.loss, bad_examples })
}

/// Why a gradient cannot be used: it is not finite, or its square leaves the range of the second moment, which would
/// freeze that parameter for the rest of the run.
fn gradient_problem(norm: f64, scale: f64) -> Option<String> {
    if !norm.is_finite() {
        Some("the gradient is not finite".into())
    } else if norm * scale > f64::from(f32::MAX).sqrt() {
        Some(format!("the gradient is too large: its norm is {norm:e}, the square overflows"))
    } else {
        None
    }
}

/// Runs each example alone to find those that spoil the gradient: only a bad step pays for it.
fn rows_with_bad_gradient(
    engine: &Engine,
    decoder: &Decoder,
    trained: &Trained,
    input: &StepInput,
    step_targets: usize,
    scale: f64,
) -> Result<Vec<RowOrigin>, TrainError> {
    let mut bad = Vec::new();
    for index in input.indices {
        let mut gradients = TrainedGradients::zeros(trained);
        for micro in cut(input.examples, &[*index], &engine.packing) {
            micro_step(engine, decoder, (trained, &mut gradients), &micro, input.step, step_targets)?;
        }
        let norm = global_norm(decoder.backend(), &gradients);
        if gradient_problem(norm, scale).is_some() {
            bad.push(*index);
        }
    }
    let named = if bad.is_empty() { input.indices } else { &bad };
    Ok(named.iter().map(|&index| input.examples[index].origin.clone()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gradient_must_be_finite_and_its_square_too() {
        assert_eq!(gradient_problem(3.0, 1.0), None);
        assert!(gradient_problem(f64::NAN, 1.0).is_some_and(|reason| reason.contains("not finite")));
        assert!(gradient_problem(f64::INFINITY, 0.0).is_some());
        assert!(gradient_problem(1e20, 1.0).is_some_and(|reason| reason.contains("overflows")));
        assert_eq!(gradient_problem(1e20, clip_factor(1e20, Some(1.0))), None, "clipping brings it back");
    }
}
