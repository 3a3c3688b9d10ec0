//! What a run over a set did, in numbers.

use std::collections::BTreeMap;

use serde::Serialize;

/// One step of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Default)]
pub struct StepReport {
    /// Its name.
    pub step: &'static str,
    /// What was to happen: `remove`, `report`, `mask` and so on.
    pub action: String,
    /// Rows that came in.
    pub rows_in: usize,
    /// Rows that were removed.
    pub removed: usize,
    /// Rows that were changed.
    pub changed: usize,
    /// Rows that the step is about, whatever became of them.
    pub found: usize,
    /// What was found, by kind.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub kinds: BTreeMap<String, usize>,
    /// The first few cases, with their places.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub examples: Vec<String>,
}

/// Cases that are shown of one step.
const EXAMPLES: usize = 5;

impl StepReport {
    pub(crate) fn new(step: &'static str, action: impl Into<String>, rows_in: usize) -> Self {
        Self { step, action: action.into(), rows_in, ..Self::default() }
    }

    pub(crate) fn count(&mut self, kind: impl Into<String>) {
        *self.kinds.entry(kind.into()).or_default() += 1;
    }

    pub(crate) fn example(&mut self, text: impl FnOnce() -> String) {
        if self.examples.len() < EXAMPLES {
            self.examples.push(text());
        }
    }

    /// Rows that went on to the next step.
    pub fn rows_out(&self) -> usize {
        self.rows_in - self.removed
    }
}

/// What became of the rows of one source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SourceReport {
    /// Its name.
    pub source: String,
    /// Rows that came in.
    pub rows_in: usize,
    /// Rows that stayed.
    pub rows_out: usize,
}

impl SourceReport {
    /// Share of the rows that went.
    pub fn loss(&self) -> f64 {
        if self.rows_in == 0 { 0.0 } else { 1.0 - self.rows_out as f64 / self.rows_in as f64 }
    }
}
