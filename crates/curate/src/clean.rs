//! `ft data clean`: from rows as they are to rows that are safe to train on.
//!
//! Every row is read once and gets a fate. Steps look at the rows that still stay, in a fixed order; whoever removes a
//! row says why and, for duplicates, which row stays in its place. Nothing is written before all gates have agreed.

mod examine;
pub(crate) mod output;
mod scan;
mod steps;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use attune_config::{Config, RowAction};
use attune_data::{FormatChoice, ReadOptions, Row, RowContent};
use attune_formats::files::create_dir_all;
use serde::Serialize;
use serde_json::Value;

use crate::corpus::{Corpus, Input};
use crate::error::CurateError;
use crate::fates::{Fates, Why};
use crate::lineage::DatasetManifest;
use crate::live::TextStore;
use crate::progress::{Progress, Watch};
use crate::report::{SourceReport, StepReport};
use crate::spool::Spool;
use scan::Scanner;

/// Counts the tokens of a text with the base model's tokenizer.
pub type TokenCounter = Arc<dyn Fn(&str) -> usize + Send + Sync>;

/// What is to be done.
pub struct Request<'a> {
    /// The files.
    pub inputs: &'a [PathBuf],
    /// The form of their rows.
    pub format: FormatChoice,
    /// How they are read.
    pub read: &'a ReadOptions,
    /// Sections `clean` and `contamination`.
    pub config: &'a Config,
    /// The folder to make. It must not exist.
    pub out: &'a Path,
    /// The base model's tokenizer: what it has no words for looks like a key.
    pub tokens: Option<TokenCounter>,
}

/// What was done.
#[derive(Debug, Clone, Serialize)]
pub struct CleanReport {
    /// The files that were read.
    pub inputs: Vec<Input>,
    /// Rows that came in, those that could not be read included.
    pub rows_in: usize,
    /// Rows in `data.jsonl`.
    pub rows_out: usize,
    /// Rows in `removed.jsonl`.
    pub removed: usize,
    /// Rows in `quarantine.jsonl`.
    pub quarantined: usize,
    /// Rows that stayed and were changed.
    pub changed: usize,
    /// The steps, in order.
    pub steps: Vec<StepReport>,
    /// Where the rows came from.
    pub sources: Vec<SourceReport>,
    /// The manifest of the folder; `None` when a gate refused and nothing was written.
    #[serde(skip)]
    pub manifest: Option<DatasetManifest>,
}

/// A report, and what the gates have against the set.
pub struct Outcome {
    /// What was done, or would have been.
    pub report: CleanReport,
    /// Why nothing was written; empty when all is well.
    pub refusals: Vec<String>,
}

/// Names of the steps.
pub(crate) const READ: &str = "read";
pub(crate) const FORM: &str = "form";
pub(crate) const HIDDEN: &str = "hidden-text";
pub(crate) const SECRETS: &str = "secrets";
pub(crate) const PII: &str = "pii";
pub(crate) const POISON: &str = "poison";
pub(crate) const CONTAMINATION: &str = "contamination";
pub(crate) const QUALITY: &str = "quality";
pub(crate) const DOCUMENTS: &str = "documents";
pub(crate) const EXACT: &str = "exact-duplicates";
pub(crate) const NEAR: &str = "near-duplicates";
pub(crate) const SEMANTIC: &str = "semantic-duplicates";
pub(crate) const BEST: &str = "keep-best";

/// What is remembered of every row: some 70 bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Facts {
    pub(crate) hash: [u8; 32],
    /// Of what question and answer refer to: system and tool messages, a passage. 0 for none.
    pub(crate) context: u64,
    pub(crate) source: u32,
    pub(crate) role: u32,
    pub(crate) chars: u32,
    pub(crate) quality: f32,
    /// Band of the answer's length.
    pub(crate) band: u8,
    pub(crate) verdict: Verdict,
    /// Whether a row that was removed names this one as the row that stays.
    pub(crate) stands_for_others: bool,
    pub(crate) changed: bool,
    pub(crate) is_document: bool,
}

/// What a row says of its answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    /// It is to be learned.
    #[default]
    None,
    /// There are two, and one is better.
    Pair,
    Desirable,
    Undesirable,
}

impl Verdict {
    pub(crate) const ALL: [Self; 4] = [Self::None, Self::Pair, Self::Desirable, Self::Undesirable];

    pub(crate) fn of(row: &Row) -> Self {
        match &row.content {
            RowContent::Chat(_) | RowContent::Completion { .. } => Self::None,
            RowContent::Preference(_) => Self::Pair,
            RowContent::Judged { desirable: true, .. } => Self::Desirable,
            RowContent::Judged { desirable: false, .. } => Self::Undesirable,
        }
    }
}

/// Names by number.
#[derive(Debug, Default)]
pub(crate) struct Names {
    names: Vec<String>,
    numbers: HashMap<String, u32>,
}

impl Names {
    pub(crate) fn number(&mut self, name: String) -> u32 {
        if let Some(&number) = self.numbers.get(&name) {
            return number;
        }
        let number = self.names.len() as u32;
        self.names.push(name.clone());
        self.numbers.insert(name, number);
        number
    }

    pub(crate) fn name(&self, number: u32) -> &str {
        &self.names[number as usize]
    }

    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }
}

/// The state between the steps.
pub(crate) struct Work<'a> {
    pub(crate) request: &'a Request<'a>,
    pub(crate) watch: &'a dyn Watch,
    pub(crate) corpus: Corpus,
    /// Rows that could not be read, as lines of `removed.jsonl`.
    pub(crate) faults: Spool,
    /// Rows that were changed, as JSON.
    pub(crate) rewritten: Spool,
    pub(crate) rewritten_rows: HashMap<u32, u32>,
    /// What was changed in each of them, for `changed.jsonl`.
    pub(crate) changes: HashMap<u32, Vec<String>>,
    pub(crate) texts: TextStore,
    pub(crate) facts: Vec<Facts>,
    pub(crate) fates: Fates,
    pub(crate) sources: Names,
    pub(crate) roles: Names,
    pub(crate) steps: Vec<StepReport>,
    pub(crate) refusals: Vec<String>,
}

impl Work<'_> {
    pub(crate) fn progress(&self, step: &'static str, done: usize, total: usize) -> Result<(), CurateError> {
        self.watch.progress(Progress { step, done: done as u64, total: Some(total as u64), unit: "rows" })
    }
}

/// Cleans a set and writes the folder.
///
/// # Errors
/// [`CurateError`]. What a gate has against the set is no error but part of the [`Outcome`].
pub fn clean(request: &Request<'_>, watch: &dyn Watch) -> Result<Outcome, CurateError> {
    if request.out.symlink_metadata().is_ok() {
        return Err(CurateError::Exists { path: request.out.to_path_buf() });
    }
    let scanner = Scanner::new(request)?;
    let scratch = parent_of(request.out);
    create_dir_all(scratch)?;
    let corpus = Corpus::read(request.inputs, request.format, request.read, scratch, watch)?;
    let mut work = examine::examine(request, watch, corpus, &scanner, scratch)?;
    steps::poison(&mut work)?;
    steps::contamination(&mut work)?;
    steps::quality(&mut work)?;
    steps::documents(&mut work)?;
    steps::keep_best(&mut work)?;
    steps::exact_duplicates(&mut work)?;
    steps::near_duplicates(&mut work)?;
    steps::semantic_duplicates(&mut work)?;
    let sources = source_losses(&mut work);
    output::finish(work, sources)
}

fn parent_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// What a gate says that was told to block.
pub(crate) fn refusal(report: &StepReport, key: &str) -> String {
    let rows = if report.found == 1 { "row" } else { "rows" };
    let mut text = format!("{}: {} {rows}, and {key} is block:", report.step, report.found);
    for example in &report.examples {
        text.push_str(&format!("\n  {example}"));
    }
    if report.found > report.examples.len() {
        text.push_str(&format!("\n  ... and {} more", report.found - report.examples.len()));
    }
    text
}

/// The name of a setting's value, as it is written in the file.
pub(crate) fn name_of<T: Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(name)) => name,
        Ok(other) => other.to_string(),
        Err(_) => String::new(),
    }
}

/// A source that loses more than its share stops the run.
fn source_losses(work: &mut Work<'_>) -> Vec<SourceReport> {
    let mut sources: Vec<SourceReport> = (0..work.sources.len() as u32)
        .map(|number| SourceReport { source: work.sources.name(number).to_owned(), rows_in: 0, rows_out: 0 })
        .collect();
    for (row, fact) in work.facts.iter().enumerate() {
        let source = &mut sources[fact.source as usize];
        source.rows_in += 1;
        source.rows_out += usize::from(work.fates.stays(row));
    }
    let limit = work.request.config.clean.max_source_loss;
    // A handful of rows says nothing about a source.
    const FEW_ROWS: usize = 20;
    let lost: Vec<String> = sources
        .iter()
        .filter(|source| source.rows_in >= FEW_ROWS && source.loss() > limit)
        .map(|source| {
            format!(
                "source {:?} would lose {} of its {} rows ({:.0} %), more than clean.max_source_loss allows ({:.0} %)",
                source.source,
                source.rows_in - source.rows_out,
                source.rows_in,
                100.0 * source.loss(),
                100.0 * limit
            )
        })
        .collect();
    work.refusals.extend(lost);
    sources
}

/// The action of a step on rows, applied to one row.
pub(crate) fn apply(work: &mut Work<'_>, action: RowAction, row: usize, step: &'static str, why: impl FnOnce() -> Why) {
    if action == RowAction::Remove && work.fates.stays(row) {
        work.fates.remove(row, step, why());
    }
}
