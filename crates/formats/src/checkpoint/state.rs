//! `state.json`: the cursor of a run.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::report::{Checked, Part};
use super::rules::Rule;
use super::strict_json;
use crate::files::read_limited;

/// Name of the cursor in a checkpoint.
pub const STATE_FILE: &str = "state.json";

/// A run with an evaluation at each of a hundred thousand steps has some 5 MB.
const MAX_STATE_BYTES: u64 = 16 << 20;

/// The key of the version before version 1, and its value then.
const OLD_VERSION: (&str, u64) = ("version", 1);
/// The key of the version since.
pub(super) const VERSION_KEY: &str = "format_version";

/// What a reader must understand of `state.json`, whose version has been looked at. Keys of later writers are kept.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct StateFile {
    /// Steps done, skipped ones included.
    pub step: u64,
    /// Epochs that lie behind.
    pub epoch: f64,
    /// Seed of the run.
    pub seed: u64,
    /// Updates of the optimizer.
    pub updates: u64,
    /// Steps without an update.
    pub skipped_steps: u64,
    /// Steps without an update since the last one with.
    pub bad_in_a_row: u32,
    /// Tokens seen, without padding.
    pub tokens: u64,
    /// Trained tokens seen.
    pub trained_tokens: u64,
    /// The best evaluation, and what early stopping counts.
    pub progress: ProgressPart,
    /// `(step, loss)` of every evaluation; null where it was not finite.
    pub evaluations: Vec<(u64, Option<f64>)>,
    /// The last step at which the evaluation was done.
    pub evaluated_step: Option<u64>,
    /// Whether early stopping ended the run.
    pub stopped_early: bool,
    /// The line of the last step when it is not in `metrics.jsonl` yet.
    pub unreported: Option<LinePart>,
}

/// The best evaluation, and what early stopping counts.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct ProgressPart {
    /// The lowest validation loss.
    pub best: Option<BestPart>,
    /// What early stopping compares with.
    pub reference: Option<f64>,
    /// Evaluations since then.
    pub evaluations_without_improvement: u64,
}

/// The best evaluation.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct BestPart {
    /// Steps done.
    pub step: u64,
    /// Its loss.
    pub validation_loss: f64,
}

/// A line of `metrics.jsonl`, as far as a reader must understand it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct LinePart {
    /// Number of the step, from 1.
    pub step: u64,
    /// Epochs that lie behind after it.
    pub epoch: f64,
    /// Loss; null when the step was skipped.
    pub loss: Option<f64>,
    /// Learning rate.
    pub learning_rate: f64,
    /// Norm of the gradient; null when the step was skipped.
    pub grad_norm: Option<f64>,
    /// Tokens.
    pub tokens: u64,
    /// Trained tokens.
    pub trained_tokens: u64,
    /// Tokens per second.
    pub tokens_per_sec: f64,
    /// Trained tokens per second.
    pub trained_tokens_per_sec: f64,
    /// Wall time.
    pub seconds: f64,
    /// Most memory that the process ever held.
    pub peak_memory_bytes: Option<u64>,
    /// Validation loss after this step.
    #[serde(default)]
    pub validation_loss: Option<f64>,
    /// Why the step was skipped.
    #[serde(default)]
    pub skipped: Option<String>,
}

impl StateFile {
    /// The last step whose line is in `metrics.jsonl`.
    pub fn reported_step(&self) -> u64 {
        self.step.saturating_sub(u64::from(self.unreported.is_some()))
    }

    /// What does not fit together.
    fn contradictions(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut demand = |holds: bool, what: String| {
            if !holds {
                found.push(what);
            }
        };
        let (step, updates, skipped) = (self.step, self.updates, self.skipped_steps);
        demand(
            updates.checked_add(skipped) == Some(step),
            format!("{updates} updates and {skipped} skipped steps are not {step} steps"),
        );
        demand(
            u64::from(self.bad_in_a_row) <= skipped,
            format!("{} skipped steps in a row of {skipped} in all", self.bad_in_a_row),
        );
        demand(
            self.trained_tokens <= self.tokens,
            format!("{} trained tokens of {}", self.trained_tokens, self.tokens),
        );
        demand(self.epoch.is_finite() && self.epoch >= 0.0, format!("epoch {}", self.epoch));
        let mut evaluated = self.evaluations.iter().map(|(step, _)| *step);
        demand(evaluated.clone().is_sorted_by(|a, b| a < b), "evaluations are not in the order of their steps".into());
        let last = evaluated.next_back().into_iter().chain(self.evaluated_step).max();
        demand(last.is_none_or(|last| last <= step), format!("an evaluation at step {} of {step}", last.unwrap_or(0)));
        if let Some(best) = &self.progress.best {
            let listed = self.evaluations.iter().any(|(step, _)| *step == best.step);
            demand(listed, format!("the best evaluation, at step {}, is not among the evaluations", best.step));
        }
        if let Some(line) = &self.unreported {
            demand(line.step == step, format!("the unreported line is of step {}, not {step}", line.step));
        }
        found
    }
}

/// The steps that the name of a checkpoint folder says: `step-000200`.
pub(super) fn step_of_name(dir: &Path) -> Option<u64> {
    let name = dir.file_name()?.to_str()?;
    let digits = name.strip_prefix("step-")?;
    (digits.len() >= 6 && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| digits.parse().ok())?
}

/// The keys of `state.json`.
pub(super) fn read_keys(dir: &Path) -> Result<Map<String, Value>, String> {
    let bytes = read_limited(&dir.join(STATE_FILE), MAX_STATE_BYTES).map_err(|error| error.to_string())?;
    match strict_json(&bytes).map_err(|error| error.to_string())? {
        Value::Object(keys) => Ok(keys),
        _ => Err("is not an object".into()),
    }
}

/// Turns the keys of version 0 into those of version 1; all others stay as they are.
pub(super) fn migrate_keys(keys: Map<String, Value>) -> Map<String, Value> {
    let (old, _) = OLD_VERSION;
    let rest = keys.into_iter().filter(|(key, _)| key != old);
    std::iter::once((VERSION_KEY.to_string(), Value::from(crate::manifest::FORMAT_VERSION))).chain(rest).collect()
}

/// Rules 19 and 20.
pub(super) fn check(dir: &Path, format_version: u32, checked: &mut Checked) -> Option<StateFile> {
    let keys = match read_keys(dir) {
        Ok(keys) => keys,
        Err(reason) => {
            checked.refuse(Rule::State, Part::file(STATE_FILE), reason);
            return None;
        }
    };
    let (key, version) = if format_version == 0 { OLD_VERSION } else { (VERSION_KEY, u64::from(format_version)) };
    if keys.get(key).and_then(Value::as_u64) != Some(version) {
        let found = keys.get(key).map_or("absent".to_string(), ToString::to_string);
        checked.refuse(Rule::State, Part::file(STATE_FILE), format!("{key} is {found}, expected {version}"));
        return None;
    }
    let state: StateFile = match serde_json::from_value(Value::Object(keys)) {
        Ok(state) => state,
        Err(error) => {
            checked.refuse(Rule::State, Part::file(STATE_FILE), error.to_string());
            return None;
        }
    };
    for contradiction in state.contradictions() {
        checked.refuse(Rule::Counters, Part::file(STATE_FILE), contradiction);
    }
    if let Some(step) = step_of_name(dir).filter(|&step| step != state.step) {
        let message = format!("it belongs to step {}, the folder to step {step}", state.step);
        checked.refuse(Rule::Counters, Part::file(STATE_FILE), message);
    }
    Some(state)
}
