//! Held-out rows: how well a model predicts them and, where they ask something, what it answers beside what was expected.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use attune_config::Config;
use attune_data::{FormatChoice, ReadOptions};
use attune_model::{Adapter, Decoder, Sampling, generate};
use attune_text::TextModel;
use serde::Serialize;

use crate::error::TrainError;
use crate::evaluate::{SamplePrompt, sample_prompts, validation_loss};
use crate::examples::{EncodeOptions, Example, encode_rows};
use crate::plan::{Layout, Packing};

/// Tokens of a micro-batch of the loss: enough to be fast, little memory.
const MICRO_BATCH_TOKENS: usize = 2048;

/// Questions with known answers, and texts without any.
#[derive(Debug)]
pub struct HeldOut {
    questions: Vec<SamplePrompt>,
    examples: Vec<Example>,
}

/// What a model makes of them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Scores {
    /// Mean negative log-probability of the expected answers' tokens, in nats; of all tokens of a row that asks nothing.
    pub loss: f64,
    /// Tokens that this is the mean of.
    pub tokens: usize,
    /// Share of answers that are the expected ones, but for white space at the ends; `None` when no row asks anything.
    pub exact: Option<f64>,
    /// Mean F1 of the words, see [`word_f1`]; `None` as above.
    pub word_f1: Option<f64>,
    /// Each answer.
    pub answers: Vec<Answer>,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Answer {
    /// The last thing that was said to the model.
    pub question: String,
    /// What the row answers.
    pub expected: String,
    /// What the model answers.
    pub answer: String,
    /// Whether both are the same.
    pub exact: bool,
    /// F1 of the words.
    pub word_f1: f64,
}

impl HeldOut {
    /// Reads rows that end with an answer, or plain texts; at most `limit` of them.
    ///
    /// # Errors
    /// When a file cannot be read, a row does not fit the model, or there is no row.
    pub fn read(
        files: &[PathBuf],
        text: &TextModel,
        (embedding_rows, max_positions): (usize, usize),
        limit: usize,
    ) -> Result<Self, TrainError> {
        let mut rows = attune_data::read_with(files, FormatChoice::Auto, &ReadOptions::default())?.rows;
        rows.truncate(limit);
        let data = Config::default().data;
        let (questions, _) = sample_prompts(&[], &rows, rows.len(), text, data.completion_style, max_positions)?;
        let questions: Vec<SamplePrompt> =
            questions.into_iter().filter(|question| question.expected.is_some()).collect();
        if rows.is_empty() {
            return Err(TrainError::Setting {
                key: "--data",
                reason: "no row to evaluate on".into(),
                hint: "give chats that end with the assistant's turn, prompt and completion, or texts".into(),
            });
        }
        let options = EncodeOptions {
            completion_style: data.completion_style,
            train_on: attune_text::TrainOn::Last,
            max_seq_length: max_positions,
            max_positions,
            overlong: data.overlong,
            untrained: data.untrained,
            embedding_rows,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
        };
        let (examples, _) = encode_rows(&rows, "--data", text, &options)?;
        Ok(Self { questions, examples })
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.examples.len()
    }

    /// Number of questions.
    pub fn questions(&self) -> usize {
        self.questions.len()
    }

    /// Longest sequence that answering needs.
    pub fn positions(&self, max_tokens: usize) -> usize {
        let answered = self.questions.iter().map(|question| question.ids.len() + max_tokens);
        answered.chain(self.examples.iter().map(|example| example.ids.len())).max().unwrap_or(0)
    }

    /// Lets a model answer all of them, each with the most probable tokens, up to `max_tokens`. `None` when interrupted.
    ///
    /// # Errors
    /// When a prompt does not fit the model.
    pub fn ask(
        &self,
        decoder: &Decoder,
        adapter: Option<&Adapter>,
        text: &TextModel,
        max_tokens: usize,
        interrupt: &AtomicBool,
    ) -> Result<Option<Scores>, TrainError> {
        let packing = Packing { layout: Layout::Packed, max_tokens: Some(MICRO_BATCH_TOKENS), max_examples: None };
        let Some(loss) = validation_loss(decoder, adapter, &self.examples, &packing, interrupt)? else {
            return Ok(None);
        };
        let sampling = Sampling::greedy(max_tokens, text.stop_ids());
        let mut answers = Vec::with_capacity(self.questions.len());
        for question in &self.questions {
            let mut go_on = |_id: u32| !interrupt.load(Ordering::Relaxed);
            let generated = generate(decoder, adapter, &question.ids, &sampling, &mut go_on)?;
            if interrupt.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let answer = text.decode(&generated.ids, true)?.trim().to_owned();
            let expected = question.expected.clone().unwrap_or_default();
            answers.push(Answer {
                question: question.prompt.clone(),
                exact: answer == expected.trim(),
                word_f1: word_f1(&answer, &expected),
                answer,
                expected,
            });
        }
        let mean = |value: fn(&Answer) -> f64| {
            (!answers.is_empty()).then(|| answers.iter().map(value).sum::<f64>() / answers.len() as f64)
        };
        Ok(Some(Scores {
            loss: loss.loss,
            tokens: loss.trained_tokens,
            exact: mean(|answer| f64::from(u8::from(answer.exact))),
            word_f1: mean(|answer| answer.word_f1),
            answers,
        }))
    }
}

/// F1 of the words that two texts have in common, each as often as it occurs in both: `2 c / (a + b)`. Words are runs of
/// letters and digits in lower case; two texts without any are equal.
///
/// # Source
/// Rajpurkar et al.: "SQuAD: 100,000+ questions for machine comprehension of text", 2016, section 6.1; articles count here.
pub fn word_f1(answer: &str, expected: &str) -> f64 {
    let words = |text: &str| -> Vec<String> {
        text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase).collect()
    };
    let (answer, expected) = (words(answer), words(expected));
    if answer.is_empty() && expected.is_empty() {
        return 1.0;
    }
    let mut left: HashMap<&str, usize> = HashMap::new();
    for word in &expected {
        *left.entry(word).or_default() += 1;
    }
    let mut common = 0;
    for word in &answer {
        if let Some(count) = left.get_mut(word.as_str()).filter(|count| **count > 0) {
            *count -= 1;
            common += 1;
        }
    }
    2.0 * f64::from(common) / (answer.len() + expected.len()) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_in_common_count_as_often_as_both_have_them() {
        assert_eq!(word_f1("The red cat!", "the red cat"), 1.0);
        assert_eq!(word_f1("red", "blue"), 0.0);
        assert_eq!(word_f1("", ""), 1.0);
        assert_eq!(word_f1("", "a"), 0.0);
        // 2 of 3 and 2 of 2 words.
        assert_eq!(word_f1("a a b", "a b"), 0.8);
        assert_eq!(word_f1("a a", "a b"), 0.5);
    }
}
