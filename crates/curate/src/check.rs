//! `ft data check`: would this set train, and would it train well?
//!
//! Every row is looked at once. What would stop training or teach something wrong is a refusal, what only deserves a look
//! is a warning. Nothing is changed and nothing is written.

mod answers;
mod encoded;
mod shape;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use attune_config::{Config, HiddenAction, Overlong, RowAction, ScrubAction, Untrained};
use attune_data::{FormatChoice, ReadOptions, RowOrigin};
use attune_overlap::contamination::Scratch;
use serde::Serialize;

pub use encoded::{Encoder, NotEncoded, Tokens};

use crate::against;
use crate::clean::TokenCounter;
use crate::corpus::{Corpus, Input, Item};
use crate::error::CurateError;
use crate::looker::Looker;
use crate::progress::Watch;
use crate::stats::{Distribution, Histogram};
use crate::texts::Texts;
use answers::{AllAnswers, Answered};
use encoded::Encodings;
use shape::Shape;

/// What is to be looked at.
pub struct Request<'a> {
    /// The files.
    pub inputs: &'a [PathBuf],
    /// The form of their rows.
    pub format: FormatChoice,
    /// How they are read.
    pub read: &'a ReadOptions,
    /// Sections `data`, `clean` and `contamination`.
    pub config: &'a Config,
    /// The base model's tokenizer and template; without it nothing is said about tokens.
    pub encoder: Option<&'a dyn Encoder>,
    /// Counts tokens: what a tokenizer has no words for looks like a key.
    pub tokens: Option<TokenCounter>,
    /// Folder for temporary files.
    pub scratch: &'a Path,
}

/// What a check came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// All is well.
    Fine,
    /// Worth a look.
    Warning,
    /// It would stop training, or teach something wrong.
    Refused,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Check {
    /// Its name.
    pub check: &'static str,
    /// What it came to.
    pub verdict: Verdict,
    /// Rows that it is about.
    pub found: usize,
    /// Rows that were looked at.
    pub of: usize,
    /// What that means, and what to do.
    pub words: String,
    /// The first cases, with their places.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub examples: Vec<String>,
}

/// What a set is like.
#[derive(Debug, Clone, Serialize)]
pub struct CheckReport {
    /// The files.
    pub inputs: Vec<Input>,
    /// Rows, those that could not be read included.
    pub rows: usize,
    /// The checks, in order.
    pub checks: Vec<Check>,
    /// Tokens of a row, and trained tokens of a row; none without a model.
    pub lengths: BTreeMap<&'static str, Distribution>,
    /// Rows by language, the most frequent first.
    pub languages: Vec<(String, usize)>,
}

impl CheckReport {
    /// The worst verdict.
    pub fn verdict(&self) -> Verdict {
        self.checks.iter().map(|check| check.verdict).max().unwrap_or(Verdict::Fine)
    }

    /// The refusals, a line or more each.
    pub fn refusals(&self) -> Vec<String> {
        let refused = self.checks.iter().filter(|check| check.verdict == Verdict::Refused);
        refused
            .map(|check| {
                let cases: String = check.examples.iter().map(|example| format!("\n  {example}")).collect();
                format!("{}: {} of {} rows: {}{cases}", check.check, check.found, check.of, check.words)
            })
            .collect()
    }
}

/// Cases that are shown of one check.
const EXAMPLES: usize = 5;

/// A check in the making.
#[derive(Debug, Clone, Default)]
struct Cases {
    found: usize,
    examples: Vec<String>,
}

impl Cases {
    fn add(&mut self, example: impl FnOnce() -> String) {
        self.found += 1;
        if self.examples.len() < EXAMPLES {
            self.examples.push(example());
        }
    }

    /// `worst` if there are cases.
    fn into_check(self, check: &'static str, of: usize, worst: Verdict, words: impl Into<String>) -> Check {
        let verdict = if self.found > 0 { worst } else { Verdict::Fine };
        let words = if self.found > 0 { words.into() } else { String::new() };
        Check { check, verdict, found: self.found, of, words, examples: self.examples }
    }
}

/// What one row says about itself.
struct Looked {
    problem: Option<String>,
    hash: [u8; 32],
    shape: Shape,
    hidden: Vec<&'static str>,
    secrets: Vec<String>,
    personal: Vec<String>,
    language: Option<&'static str>,
    evaluation: Option<String>,
    tokens: Option<Result<Tokens, NotEncoded>>,
    answered: Option<Answered>,
}

/// Looks at every row.
///
/// # Errors
/// [`CurateError`] when files cannot be read; what is wrong with rows is part of the report.
pub fn check(request: &Request<'_>, watch: &dyn Watch) -> Result<CheckReport, CurateError> {
    let config = request.config;
    let looker = Looker::new(config, request.tokens.clone())?;
    let index = against::index(&config.contamination)?;
    let corpus = Corpus::read(request.inputs, request.format, request.read, request.scratch, watch)?;
    let mut gathered = Gathered::default();
    let look = |item: Item| {
        let Item { record, row, .. } = item;
        let row = match row {
            Ok(row) => row,
            Err(problem) => return Looked::misfit(problem.to_string()),
        };
        let texts = Texts::of(&record, &row);
        let (secrets, personal) = looker.findings(&record.object);
        Looked {
            problem: None,
            hash: row.hash,
            shape: Shape::of(&row),
            hidden: looker.hidden_kinds(&record.object),
            secrets,
            personal,
            language: attune_data::screen::language::detect(&texts.all()).map(|found| found.code()),
            evaluation: index
                .as_ref()
                .and_then(|index| against::best(index, &texts.all(), &mut Scratch::default()).map(|(_, words)| words)),
            tokens: request.encoder.map(|encoder| encoder.encode(&row)),
            answered: Answered::of(&row),
        }
    };
    corpus.for_each("checking", watch, look, |row, looked| {
        gathered.take(&corpus, row, looked);
        Ok(())
    })?;
    let mut checks = vec![unreadable(&corpus)?];
    checks.extend(gathered.checks(request, corpus.len(), index.is_some()));
    Ok(CheckReport {
        inputs: corpus.inputs().to_vec(),
        rows: corpus.len() + corpus.faults(),
        checks,
        lengths: gathered.encodings.lengths(),
        languages: gathered.languages(),
    })
}

impl Looked {
    fn misfit(problem: String) -> Self {
        Self {
            problem: Some(problem),
            hash: [0; 32],
            shape: Shape::default(),
            hidden: Vec::new(),
            secrets: Vec::new(),
            personal: Vec::new(),
            language: None,
            evaluation: None,
            tokens: None,
            answered: None,
        }
    }
}

fn unreadable(corpus: &Corpus) -> Result<Check, CurateError> {
    let mut cases = Cases::default();
    corpus.for_each_fault(|json| {
        cases.add(|| {
            let line: serde_json::Value = serde_json::from_slice(json).unwrap_or_default();
            let text = |key: &str| {
                line.get(key).map_or_else(String::new, |value| match value {
                    serde_json::Value::String(text) => text.clone(),
                    other => other.to_string(),
                })
            };
            format!("{}:{} (row {}): {}", text("file"), text("line"), text("row"), text("reason"))
        });
        Ok(())
    })?;
    let words = "cannot be read: mend them, or leave them behind with `ft data clean`";
    Ok(cases.into_check("readable", corpus.len() + corpus.faults(), Verdict::Refused, words))
}

/// What all rows say together.
#[derive(Default)]
struct Gathered {
    misfits: Cases,
    shapes: shape::Shapes,
    hidden: Cases,
    secrets: Cases,
    personal: Cases,
    repeated: Cases,
    evaluation: Cases,
    first_of: HashMap<u128, u32>,
    languages: BTreeMap<&'static str, usize>,
    encodings: Encodings,
    answers: AllAnswers,
}

impl Gathered {
    fn take(&mut self, corpus: &Corpus, row: usize, looked: Looked) {
        let origin = || corpus.origin(row);
        if let Some(problem) = looked.problem {
            return self.misfits.add(|| format!("{}: {problem}", origin()));
        }
        let mut short = [0; 16];
        short.copy_from_slice(&looked.hash[..16]);
        match self.first_of.entry(u128::from_le_bytes(short)) {
            std::collections::hash_map::Entry::Vacant(entry) => {
                entry.insert(row as u32);
            }
            std::collections::hash_map::Entry::Occupied(entry) => {
                let first = *entry.get() as usize;
                self.repeated.add(|| format!("{} says the same as {}", origin(), corpus.origin(first)));
            }
        }
        for (cases, found) in [(&mut self.secrets, &looked.secrets), (&mut self.personal, &looked.personal)] {
            if !found.is_empty() {
                cases.add(|| format!("{}: {}", origin(), found.join(", ")));
            }
        }
        if !looked.hidden.is_empty() {
            self.hidden.add(|| format!("{}: {}", origin(), looked.hidden.join(", ")));
        }
        if let Some(words) = looked.evaluation {
            self.evaluation.add(|| format!("{}: {words}", origin()));
        }
        *self.languages.entry(looked.language.unwrap_or("unknown")).or_default() += 1;
        self.shapes.take(looked.shape, &origin);
        if let Some(tokens) = looked.tokens {
            self.encodings.take(tokens, &origin);
        }
        if let Some(answered) = looked.answered {
            self.answers.take(answered, &origin);
        }
    }

    fn languages(&self) -> Vec<(String, usize)> {
        let mut all: Vec<(String, usize)> =
            self.languages.iter().map(|(name, &rows)| ((*name).to_owned(), rows)).collect();
        all.sort_by(|left, right| right.1.cmp(&left.1).then_with(|| left.0.cmp(&right.0)));
        all
    }

    fn checks(&mut self, request: &Request<'_>, rows: usize, compared: bool) -> Vec<Check> {
        let Config { data, clean, contamination, .. } = request.config;
        let take = |cases: &mut Cases| std::mem::take(cases);
        let gate = |blocks: bool| if blocks { Verdict::Refused } else { Verdict::Warning };
        let mut checks = vec![take(&mut self.misfits).into_check(
            "form",
            rows,
            Verdict::Refused,
            "do not fit the form of their file: mend them, or leave them behind with `ft data clean`",
        )];
        let read = rows - checks[0].found;
        checks.extend(std::mem::take(&mut self.shapes).checks(read));
        checks.extend(self.answers.checks());
        if let Some(encoder) = request.encoder {
            let limit = encoder.limit().min(data.max_seq_length);
            let overlong = (limit, data.overlong == Overlong::Error);
            checks.extend(self.encodings.checks(overlong, data.untrained == Untrained::Error));
        }
        let repeated = "say the same as an earlier row: `ft data clean` keeps one of each";
        checks.push(take(&mut self.repeated).into_check("repeated rows", read, Verdict::Warning, repeated));
        if clean.hidden_text != HiddenAction::Off {
            checks.push(take(&mut self.hidden).into_check(
                "hidden text",
                read,
                gate(clean.hidden_text == HiddenAction::Block),
                "hold characters that no reader sees: `ft data clean` takes them out",
            ));
        }
        for (cases, name, action, words) in [
            (&mut self.secrets, "secrets", clean.secrets, "hold credentials: `ft data clean` masks them"),
            (&mut self.personal, "personal data", clean.pii, "hold data about persons: `ft data clean` masks it"),
        ] {
            if action != ScrubAction::Off {
                checks.push(take(cases).into_check(name, read, gate(action == ScrubAction::Block), words));
            }
        }
        if compared && clean.contamination != RowAction::Off {
            let (verdict, words) = match &contamination.allow {
                None => (Verdict::Refused, "repeat evaluation data: `ft data clean` takes them out".to_owned()),
                Some(reason) => {
                    (Verdict::Warning, format!("repeat evaluation data; contamination.allow says: {reason}"))
                }
            };
            checks.push(take(&mut self.evaluation).into_check("contamination", read, verdict, words));
        }
        checks
    }
}

/// Values as a distribution.
fn histogram(values: &[u64]) -> Distribution {
    let mut histogram = Histogram::default();
    values.iter().for_each(|&value| histogram.add(value));
    histogram.finish()
}

/// Tells where a row stands.
type Origin<'a> = dyn Fn() -> RowOrigin + 'a;
