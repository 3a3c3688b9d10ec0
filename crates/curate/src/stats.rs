//! `ft data stats`: what is in a set, in numbers.

mod page;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use attune_config::CleanConfig;
use attune_data::{FormatChoice, ReadOptions};
use serde::Serialize;

pub use page::{escape, html};

use crate::clean::TokenCounter;
use crate::corpus::{Corpus, Input};
use crate::error::CurateError;
use crate::lineage::{hex, merkle_root};
use crate::progress::Watch;
use crate::texts::{Texts, name_under, names_under};

/// What is to be counted.
pub struct Request<'a> {
    /// The files.
    pub inputs: &'a [PathBuf],
    /// The form of their rows.
    pub format: FormatChoice,
    /// How they are read.
    pub read: &'a ReadOptions,
    /// Which keys name source and role.
    pub config: &'a CleanConfig,
    /// The base model's tokenizer; without it there are no token counts.
    pub tokens: Option<TokenCounter>,
    /// Folder for temporary files.
    pub scratch: &'a Path,
}

/// How a number is spread over the rows.
#[derive(Debug, Clone, PartialEq, Serialize, Default)]
pub struct Distribution {
    /// Number of values.
    pub count: u64,
    /// Their sum.
    pub sum: u64,
    /// The smallest.
    pub min: u64,
    /// The largest.
    pub max: u64,
    /// The value below which a share of all lies: 5, 25, 50, 75, 95 and 99 %, exact up to 1 part in 64.
    pub percentiles: BTreeMap<u8, u64>,
    /// Upper bounds (exclusive) of the bars, and how many values are in each.
    pub bars: Vec<(u64, u64)>,
}

impl Distribution {
    /// Mean of the values.
    pub fn mean(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.sum as f64 / self.count as f64 }
    }
}

/// A set in numbers.
#[derive(Debug, Clone, Serialize)]
pub struct Stats {
    /// The files.
    pub inputs: Vec<Input>,
    /// Rows that could be read.
    pub rows: usize,
    /// Rows that could not, or that do not fit their file's form.
    pub unreadable: usize,
    /// Merkle root of the rows' content hashes, in order.
    pub merkle_root: String,
    /// Rows whose content another, earlier row has.
    pub repeated_rows: usize,
    /// Rows whose question another, earlier row has.
    pub repeated_questions: usize,
    /// Rows whose answer another, earlier row has.
    pub repeated_answers: usize,
    /// Distributions by name: characters and tokens of questions, answers and whole rows, and turns.
    pub distributions: BTreeMap<String, Distribution>,
    /// Rows by source, the largest first.
    pub sources: Vec<(String, usize)>,
    /// Rows by role.
    pub roles: Vec<(String, usize)>,
    /// Rows by tag.
    pub tags: Vec<(String, usize)>,
    /// Rows by language.
    pub languages: Vec<(String, usize)>,
    /// How many rows have each key, with how many different values (up to a bound).
    pub keys: BTreeMap<String, KeyCoverage>,
    /// First words of questions.
    pub question_starts: Vec<(String, usize)>,
}

/// Where a key occurs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Default)]
pub struct KeyCoverage {
    /// Rows that have it with a value.
    pub rows: usize,
    /// Rows where it is null, empty or missing.
    pub without: usize,
}

/// A histogram whose bars get wider with the value: 64 per doubling, so that percentiles are exact up to 1 part in 64
/// whatever the number of rows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Histogram {
    counts: BTreeMap<u32, u64>,
    count: u64,
    sum: u64,
    min: u64,
    max: u64,
}

impl Histogram {
    pub(crate) fn add(&mut self, value: u64) {
        *self.counts.entry(Self::bar(value)).or_default() += 1;
        self.min = if self.count == 0 { value } else { self.min.min(value) };
        self.max = self.max.max(value);
        self.count += 1;
        self.sum += value;
    }

    /// Values below 64 have a bar each; above, 64 bars per doubling.
    fn bar(value: u64) -> u32 {
        if value < 64 {
            return value as u32;
        }
        let shift = value.ilog2() - 6;
        (shift + 1) * 64 + (value >> shift) as u32 - 64
    }

    /// The smallest value of a bar.
    fn floor(bar: u32) -> u64 {
        if bar < 64 {
            return u64::from(bar);
        }
        let shift = bar / 64 - 1;
        u64::from(bar % 64 + 64) << shift
    }

    pub(crate) fn finish(&self) -> Distribution {
        let mut percentiles = BTreeMap::new();
        for percent in [5u8, 25, 50, 75, 95, 99] {
            let rank = (self.count * u64::from(percent)).div_ceil(100).max(1);
            let mut below = 0;
            for (&bar, &count) in &self.counts {
                below += count;
                if below >= rank {
                    percentiles.insert(percent, Self::floor(bar).clamp(self.min, self.max));
                    break;
                }
            }
        }
        Distribution { count: self.count, sum: self.sum, min: self.min, max: self.max, percentiles, bars: self.bars() }
    }

    /// About twenty bars from zero to the 99th percentile, of a round width, and one for the rest.
    fn bars(&self) -> Vec<(u64, u64)> {
        const BARS: u64 = 20;
        if self.count == 0 {
            return Vec::new();
        }
        let mut seen = 0;
        let mut high = self.max;
        for (&bar, &count) in &self.counts {
            seen += count;
            if seen * 100 >= self.count * 99 {
                high = Self::floor(bar + 1).min(self.max);
                break;
            }
        }
        let width = round_up((high / BARS).max(1));
        let mut bars: Vec<(u64, u64)> = (1..=high / width + 1).map(|number| (number * width, 0)).collect();
        let mut rest = 0;
        for (&bar, &count) in &self.counts {
            let index = (Self::floor(bar) / width) as usize;
            match bars.get_mut(index) {
                Some(bar) => bar.1 += count,
                None => rest += count,
            }
        }
        if rest > 0 {
            bars.push((self.max + 1, rest));
        }
        bars
    }
}

/// The next of 1, 2, 5, 10, 20, 50 ...
fn round_up(value: u64) -> u64 {
    let mut unit = 1;
    loop {
        for step in [1, 2, 5] {
            if step * unit >= value {
                return step * unit;
            }
        }
        unit *= 10;
    }
}

/// How many different names are counted; beyond, they are 'others'.
const MAX_NAMES: usize = 10_000;

#[derive(Default)]
struct Counter {
    counts: HashMap<String, usize>,
    others: usize,
}

impl Counter {
    fn add(&mut self, name: String) {
        if self.counts.len() >= MAX_NAMES && !self.counts.contains_key(&name) {
            self.others += 1;
        } else {
            *self.counts.entry(name).or_default() += 1;
        }
    }

    /// The most frequent first, equal ones by name.
    fn finish(self, at_most: usize) -> Vec<(String, usize)> {
        let mut all: Vec<(String, usize)> = self.counts.into_iter().collect();
        all.sort_by(|left, right| right.1.cmp(&left.1).then_with(|| left.0.cmp(&right.0)));
        let others: usize = all.iter().skip(at_most).map(|(_, count)| count).sum::<usize>() + self.others;
        all.truncate(at_most);
        if others > 0 {
            all.push(("(others)".into(), others));
        }
        all
    }
}

struct Seen {
    said: Option<Said>,
    keys: Vec<(String, bool)>,
}

struct Said {
    hash: [u8; 32],
    question: u128,
    answer: u128,
    numbers: Vec<(&'static str, u64)>,
    source: String,
    role: Option<String>,
    tags: Vec<String>,
    language: Option<&'static str>,
    start: Option<String>,
}

fn short(text: &str) -> u128 {
    let hash = blake3::hash(text.trim().as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.as_bytes()[..16]);
    u128::from_le_bytes(bytes)
}

/// Counts everything in one pass.
///
/// # Errors
/// [`CurateError`] when the files cannot be read.
pub fn stats(request: &Request<'_>, watch: &dyn Watch) -> Result<Stats, CurateError> {
    let corpus = Corpus::read(request.inputs, request.format, request.read, request.scratch, watch)?;
    let mut histograms: BTreeMap<&'static str, Histogram> = BTreeMap::new();
    let (mut sources, mut roles, mut tags) = (Counter::default(), Counter::default(), Counter::default());
    let (mut languages, mut starts) = (Counter::default(), Counter::default());
    let mut keys: BTreeMap<String, KeyCoverage> = BTreeMap::new();
    let (mut contents, mut questions, mut answers) = (HashSet::new(), HashSet::new(), HashSet::new());
    let (mut repeated_rows, mut repeated_questions, mut repeated_answers) = (0, 0, 0);
    let mut leaves = Vec::new();
    let mut misfits = 0;
    corpus.for_each(
        "counting",
        watch,
        |item| see(request, item),
        |_, seen| {
            for (key, has_value) in seen.keys {
                if keys.len() < MAX_NAMES || keys.contains_key(&key) {
                    let coverage = keys.entry(key).or_default();
                    if has_value { coverage.rows += 1 } else { coverage.without += 1 }
                }
            }
            let Some(said) = seen.said else {
                misfits += 1;
                return Ok(());
            };
            leaves.push(said.hash);
            let mut content = [0; 16];
            content.copy_from_slice(&said.hash[..16]);
            repeated_rows += usize::from(!contents.insert(content));
            repeated_questions += usize::from(said.question != short("") && !questions.insert(said.question));
            repeated_answers += usize::from(!answers.insert(said.answer));
            for (name, number) in said.numbers {
                histograms.entry(name).or_default().add(number);
            }
            sources.add(said.source);
            said.role.into_iter().for_each(|role| roles.add(role));
            said.tags.into_iter().for_each(|tag| tags.add(tag));
            languages.add(said.language.unwrap_or("unknown").to_owned());
            said.start.into_iter().for_each(|start| starts.add(start));
            Ok(())
        },
    )?;
    for coverage in keys.values_mut() {
        coverage.without = corpus.len() - coverage.rows;
    }
    const SHOWN: usize = 50;
    Ok(Stats {
        inputs: corpus.inputs().to_vec(),
        rows: leaves.len(),
        unreadable: corpus.faults() + misfits,
        merkle_root: hex(&merkle_root(&leaves)),
        repeated_rows,
        repeated_questions,
        repeated_answers,
        distributions: histograms.iter().map(|(name, histogram)| ((*name).to_owned(), histogram.finish())).collect(),
        sources: sources.finish(SHOWN),
        roles: roles.finish(SHOWN),
        tags: tags.finish(SHOWN),
        languages: languages.finish(SHOWN),
        keys,
        question_starts: starts.finish(20),
    })
}

fn see(request: &Request<'_>, item: crate::corpus::Item) -> Seen {
    let object = &item.record.object;
    let keys = object
        .iter()
        .map(|(key, value)| {
            let empty = match value {
                serde_json::Value::Null => true,
                serde_json::Value::String(text) => text.trim().is_empty(),
                serde_json::Value::Array(items) => items.is_empty(),
                serde_json::Value::Object(members) => members.is_empty(),
                serde_json::Value::Bool(_) | serde_json::Value::Number(_) => false,
            };
            (key.clone(), !empty)
        })
        .collect();
    let Ok(row) = &item.row else { return Seen { said: None, keys } };
    let texts = Texts::of(&item.record, row);
    let chars = |text: &str| text.chars().count() as u64;
    let whole = texts.whole();
    let mut numbers = vec![
        ("question characters", chars(&texts.question)),
        ("answer characters", chars(&texts.answer)),
        ("row characters", texts.chars() as u64),
        ("turns", texts.turns as u64),
    ];
    if let Some(tokens) = &request.tokens {
        numbers.push(("question tokens", tokens(&texts.question) as u64));
        numbers.push(("answer tokens", tokens(&texts.answer) as u64));
        numbers.push(("row tokens", tokens(&whole) as u64 + tokens(&texts.context) as u64));
    }
    let start: Vec<String> = texts.question.split_whitespace().take(2).map(|word| word.to_lowercase()).collect();
    let said = Said {
        hash: row.hash,
        question: short(&texts.question),
        answer: short(&texts.answer),
        numbers,
        source: name_under(object, &request.config.source_key)
            .unwrap_or_else(|| item.record.origin.file.display().to_string()),
        role: name_under(object, &request.config.role_key),
        tags: names_under(object, "tags"),
        language: attune_data::screen::language::detect(&whole).map(|found| found.code()),
        start: (!start.is_empty()).then(|| start.join(" ").chars().take(40).collect()),
    };
    Seen { said: Some(said), keys }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_and_their_floors_belong_together() {
        for value in (0..5000).chain([1 << 20, (1 << 20) + 12345, u64::MAX / 3]) {
            let bar = Histogram::bar(value);
            assert!(Histogram::floor(bar) <= value && value < Histogram::floor(bar + 1), "{value}");
            assert!(Histogram::floor(bar + 1) - Histogram::floor(bar) <= value / 64 + 1, "{value}");
        }
    }

    #[test]
    fn percentiles_are_those_of_the_sorted_values() {
        let mut histogram = Histogram::default();
        (1..=1000u64).rev().for_each(|value| histogram.add(value));
        let found = histogram.finish();
        assert_eq!((found.count, found.sum, found.min, found.max), (1000, 500_500, 1, 1000));
        for (percent, value) in &found.percentiles {
            let exact = u64::from(*percent) * 10;
            assert!(*value <= exact && exact - value <= exact / 64 + 1, "{percent}: {value}");
        }
        assert_eq!(found.bars.iter().map(|bar| bar.1).sum::<u64>(), 1000);
        assert!((15..=25).contains(&found.bars.len()), "{:?}", found.bars);
        assert_eq!(Histogram::default().finish(), Distribution::default());
    }

    #[test]
    fn widths_are_round() {
        assert_eq!([1, 2, 3, 6, 11, 49, 51].map(round_up), [1, 2, 5, 10, 20, 50, 100]);
    }
}
