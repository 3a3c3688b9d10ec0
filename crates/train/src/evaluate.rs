//! Validation loss, sample generations, the best evaluation and early stopping.

use std::sync::atomic::{AtomicBool, Ordering};

use attune_config::{CompletionStyle, EarlyStopping};
use attune_data::{Form, Row, RowContent};
use attune_model::{Adapter, Decoder, ForwardOptions, Sampling, generate};
use attune_text::{Conversation, TextModel};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::TrainError;
use crate::events::Best;
use crate::examples::{Example, as_conversation, writes_chat};
use crate::plan::{Packing, cut};

/// Examples that are cut into micro-batches at once: bounds memory, not the size of a micro-batch.
pub(crate) const EXAMPLES_AT_ONCE: usize = 64;

/// Mean negative log-probability of all trained tokens of a set.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ValidationLoss {
    /// The mean: every token weighs the same.
    pub loss: f64,
    /// How many tokens that are.
    pub trained_tokens: usize,
}

/// Measures the loss over `examples` without dropout, label smoothing and gradient. `None` when interrupted.
///
/// # Errors
/// When an example does not fit the model.
pub fn validation_loss(
    decoder: &Decoder,
    adapter: Option<&Adapter>,
    examples: &[Example],
    packing: &Packing,
    interrupt: &AtomicBool,
) -> Result<Option<ValidationLoss>, TrainError> {
    let (mut sum, mut trained_tokens) = (0.0f64, 0);
    let indices: Vec<usize> = (0..examples.len()).collect();
    for chunk in indices.chunks(EXAMPLES_AT_ONCE) {
        for micro in cut(examples, chunk, packing) {
            if interrupt.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let pass = decoder.forward(&micro.batch, adapter, &ForwardOptions::INFERENCE)?;
            let head = decoder.head_logprobs(&pass, 0.0, false);
            sum -= head.logprobs.iter().map(|&logprob| f64::from(logprob)).sum::<f64>();
            trained_tokens += head.logprobs.len();
        }
    }
    assert!(trained_tokens > 0, "a validation set of {} examples without a trained token", examples.len());
    Ok(Some(ValidationLoss { loss: sum / trained_tokens as f64, trained_tokens }))
}

/// A prompt whose continuation is shown beside the validation loss.
#[derive(Debug, Clone, PartialEq)]
pub struct SamplePrompt {
    /// What is shown.
    pub prompt: String,
    /// What the model sees.
    pub ids: Vec<u32>,
    /// What the validation row answers.
    pub expected: Option<String>,
}

/// The prompts to continue: those of `evaluation.sample_prompts`, then those of the first `samples` rows of the
/// validation set that have an answer. Prompts that fill the model's context leave no room for an answer: such rows are
/// passed over, and how many of `written` are left out is the second part of the result.
///
/// # Errors
/// When a prompt cannot be put into tokens.
pub fn sample_prompts(
    written: &[String],
    rows: &[Row],
    samples: usize,
    text: &TextModel,
    style: CompletionStyle,
    max_positions: usize,
) -> Result<(Vec<SamplePrompt>, usize), TrainError> {
    let fits = |prompt: &SamplePrompt| !prompt.ids.is_empty() && prompt.ids.len() < max_positions;
    let mut prompts = Vec::new();
    for prompt in written {
        let ids = match writes_chat(text, style) {
            true => text.encode_prompt(&as_conversation(prompt, None))?,
            false => text.encode_raw(prompt)?,
        };
        prompts.push(SamplePrompt { prompt: prompt.clone(), ids, expected: None });
    }
    prompts.retain(fits);
    let left_out = written.len() - prompts.len();
    let wanted = prompts.len() + samples;
    for row in rows {
        if prompts.len() == wanted {
            break;
        }
        prompts.extend(prompt_of_row(row, text, style)?.filter(fits));
    }
    Ok((prompts, left_out))
}

fn prompt_of_row(row: &Row, text: &TextModel, style: CompletionStyle) -> Result<Option<SamplePrompt>, TrainError> {
    let (conversation, expected) = match &row.content {
        // A document has no question that could be asked, and the others are not trained yet.
        RowContent::Preference(_) | RowContent::Judged { .. } => return Ok(None),
        RowContent::Completion { .. } if row.form == Form::Text => return Ok(None),
        RowContent::Completion { prompt, completion } if !writes_chat(text, style) => {
            let ids = text.encode_raw(prompt)?;
            return Ok(Some(SamplePrompt { prompt: prompt.clone(), ids, expected: Some(completion.clone()) }));
        }
        RowContent::Completion { prompt, completion } => (as_conversation(prompt, None), Some(completion.clone())),
        RowContent::Chat(conversation) => {
            let messages = &conversation.messages;
            let Some(last) = messages.iter().rposition(|message| message.role == "assistant") else { return Ok(None) };
            if last == 0 {
                return Ok(None);
            }
            let expected = messages[last].content.as_str().map(str::to_string);
            let before = Conversation { messages: messages[..last].to_vec(), tools: conversation.tools.clone() };
            (before, expected)
        }
    };
    let ids = text.encode_prompt(&conversation)?;
    let shown = conversation.messages.last().map(|message| match &message.content {
        Value::String(content) => content.clone(),
        other => other.to_string(),
    });
    Ok(Some(SamplePrompt { prompt: shown.unwrap_or_default(), ids, expected }))
}

/// Continues a prompt greedily. `None` when interrupted.
///
/// # Errors
/// When the prompt does not fit the model or the tokens cannot be put back into text.
pub fn sample(
    decoder: &Decoder,
    adapter: Option<&Adapter>,
    text: &TextModel,
    prompt: &SamplePrompt,
    max_tokens: usize,
    interrupt: &AtomicBool,
) -> Result<Option<String>, TrainError> {
    let sampling = Sampling::greedy(max_tokens, text.stop_ids());
    let mut go_on = |_id: u32| !interrupt.load(Ordering::Relaxed);
    let generated = generate(decoder, adapter, &prompt.ids, &sampling, &mut go_on)?;
    if interrupt.load(Ordering::Relaxed) {
        return Ok(None);
    }
    Ok(Some(text.decode(&generated.ids, true)?))
}

/// The best evaluation, and for how many evaluations there was none better.
///
/// The evaluation before the first step does not count: an adapter that changes nothing is never the best.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// The lowest validation loss.
    pub best: Option<Best>,
    /// What early stopping compares with: the last loss that was better by more than `min_delta`.
    reference: Option<f64>,
    /// Evaluations since then.
    evaluations_without_improvement: usize,
}

impl Progress {
    /// Takes an evaluation in. Says whether it is the best so far. A loss that is not a number never is.
    pub fn record(&mut self, step: u64, validation_loss: f64, early_stopping: Option<&EarlyStopping>) -> bool {
        if step == 0 {
            return false;
        }
        let min_delta = early_stopping.map_or(0.0, |settings| settings.min_delta);
        if validation_loss.is_finite() && self.reference.is_none_or(|reference| validation_loss < reference - min_delta)
        {
            self.reference = Some(validation_loss);
            self.evaluations_without_improvement = 0;
        } else {
            self.evaluations_without_improvement += 1;
        }
        let is_best =
            validation_loss.is_finite() && self.best.is_none_or(|best| validation_loss < best.validation_loss);
        if is_best {
            self.best = Some(Best { step, validation_loss });
        }
        is_best
    }

    /// Whether patience is over.
    pub fn should_stop(&self, early_stopping: Option<&EarlyStopping>) -> bool {
        early_stopping.is_some_and(|settings| self.evaluations_without_improvement >= settings.patience)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(losses: &[f64], patience: usize, min_delta: f64) -> (Option<u64>, Option<u64>) {
        let settings = EarlyStopping { patience, min_delta };
        let mut progress = Progress::default();
        for (i, &loss) in losses.iter().enumerate() {
            progress.record(i as u64, loss, Some(&settings));
            if progress.should_stop(Some(&settings)) {
                return (Some(i as u64), progress.best.map(|best| best.step));
            }
        }
        (None, progress.best.map(|best| best.step))
    }

    #[test]
    fn stops_after_patience_evaluations_without_improvement() {
        assert_eq!(run(&[9.0, 3.0, 2.0, 2.5, 2.1, 2.4], 2, 0.0), (Some(4), Some(2)));
        assert_eq!(run(&[9.0, 3.0, 2.0, 2.5, 1.9, 2.4], 2, 0.0), (None, Some(4)));
    }

    #[test]
    fn small_improvements_are_best_but_do_not_save_the_run() {
        assert_eq!(run(&[9.0, 3.0, 2.95, 2.92], 2, 0.1), (Some(3), Some(3)));
        assert_eq!(run(&[9.0, 3.0, 2.95, 2.89], 2, 0.1), (None, Some(3)), "small steps add up");
    }

    #[test]
    fn the_untrained_adapter_and_nan_are_never_best() {
        assert_eq!(run(&[0.5, 3.0], 9, 0.0), (None, Some(1)));
        assert_eq!(run(&[0.5, f64::NAN, f64::NAN], 2, 0.0), (Some(2), None));
    }
}
