//! `ft data split`: train, validation and test, without a row in one part that gives away a row of another.
//!
//! Rows that belong together stay together: those with an equal value under a key of `split.group_by` (the document or
//! the recording that they were made from, the row that they were varied from), those with equal content or an equal
//! question, and near-duplicates. What belongs together is the connected component over all of these. The parts are
//! checked again when they are made.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use attune_config::SplitConfig;
use attune_data::{FormatChoice, ReadOptions};
use attune_formats::files::{DirWriter, create_dir_all};
use attune_overlap::near_duplicates;
use serde::Serialize;
use serde_json::json;

use crate::clean::output::{pretty, written};
use crate::corpus::{Corpus, Input};
use crate::error::CurateError;
use crate::lineage::{DataFile, DatasetManifest, MANIFEST, Step, hex, merkle_root};
use crate::live::{Field, Live, TextStore, TextStoreWriter};
use crate::progress::{Progress, Watch};
use crate::texts::{Texts, name_under, names_under};

/// What is to be done.
pub struct Request<'a> {
    /// The files.
    pub inputs: &'a [PathBuf],
    /// The form of their rows.
    pub format: FormatChoice,
    /// How they are read.
    pub read: &'a ReadOptions,
    /// Section `split`.
    pub config: &'a SplitConfig,
    /// Write one file per value of this key instead of parts for training and evaluation.
    pub by: Option<&'a str>,
    /// The folder to make. It must not exist.
    pub out: &'a Path,
}

/// One part of a set.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Part {
    /// Its file in the folder.
    pub file: String,
    /// Number of rows.
    pub rows: usize,
    /// Number of groups.
    pub groups: usize,
    /// Rows by stratum.
    pub strata: BTreeMap<String, usize>,
}

/// What was done.
#[derive(Debug, Clone, Serialize)]
pub struct SplitReport {
    /// The files that were read.
    pub inputs: Vec<Input>,
    /// Number of rows.
    pub rows: usize,
    /// Number of groups of rows that belong together.
    pub groups: usize,
    /// Rows of the largest group.
    pub largest_group: usize,
    /// Pairs of rows that were joined, by reason.
    pub joined: BTreeMap<String, usize>,
    /// The parts.
    pub parts: Vec<Part>,
    /// What the reader should know.
    pub notes: Vec<String>,
}

/// Connected components: every row points to a row of its component with a lower number, the lowest to itself.
struct Components {
    parents: Vec<u32>,
}

impl Components {
    fn new(rows: usize) -> Self {
        Self { parents: (0..rows as u32).collect() }
    }

    fn root(&mut self, row: u32) -> u32 {
        let mut root = row;
        while self.parents[root as usize] != root {
            // Halving the path keeps it short.
            self.parents[root as usize] = self.parents[self.parents[root as usize] as usize];
            root = self.parents[root as usize];
        }
        root
    }

    /// Joins two rows; whether they were apart.
    fn join(&mut self, left: u32, right: u32) -> bool {
        let (left, right) = (self.root(left), self.root(right));
        let (low, high) = (left.min(right), left.max(right));
        self.parents[high as usize] = low;
        low != high
    }
}

struct RowFacts {
    hash: [u8; 32],
    question: [u8; 16],
    stratum: u32,
}

/// Parts a set and writes the folder.
///
/// # Errors
/// [`CurateError`]; rows that cannot be read are an error here, because a split loses no row.
pub fn split(request: &Request<'_>, watch: &dyn Watch) -> Result<SplitReport, CurateError> {
    if request.out.symlink_metadata().is_ok() {
        return Err(CurateError::Exists { path: request.out.to_path_buf() });
    }
    let scratch = request.out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    create_dir_all(scratch)?;
    let corpus = Corpus::read(request.inputs, request.format, request.read, scratch, watch)?;
    let mut read = Reading::rows(request, &corpus, scratch, watch)?;
    if let Some(key) = request.by {
        return by_key(request, &corpus, &read, key);
    }
    if request.config.near_duplicates {
        read.join_near_duplicates(request.config, watch)?;
    }
    let groups = read.groups();
    let parts = assign(request.config, &read, &groups);
    check_leakage(&corpus, &read, &parts)?;
    write(request, &corpus, &read, &groups, &parts)
}

/// Everything that is known of the rows.
struct Reading {
    facts: Vec<RowFacts>,
    strata: Vec<String>,
    by: Vec<Vec<String>>,
    texts: TextStore,
    components: Components,
    /// Pairs that were joined, by reason.
    joined: BTreeMap<String, usize>,
    /// Pairs of near-duplicates, for the check afterwards.
    near: Vec<(u32, u32)>,
    /// The `group_by` keys, by number, and their values, for the check afterwards.
    keys: Vec<Vec<(usize, [u8; 16])>>,
}

struct Seen {
    facts: Result<([u8; 32], Texts), String>,
    stratum: String,
    by: Vec<String>,
    keys: Vec<(usize, String)>,
}

fn short_hash(text: &str) -> [u8; 16] {
    let mut short = [0; 16];
    short.copy_from_slice(&blake3::hash(text.as_bytes()).as_bytes()[..16]);
    short
}

/// A question as it counts for equality: lower case, one space between words.
fn plain(question: &str) -> String {
    question.split_whitespace().map(str::to_lowercase).collect::<Vec<_>>().join(" ")
}

impl Reading {
    fn rows(request: &Request<'_>, corpus: &Corpus, scratch: &Path, watch: &dyn Watch) -> Result<Self, CurateError> {
        let config = request.config;
        if corpus.faults() > 0 {
            let mut first = Vec::new();
            corpus.for_each_fault(|json| {
                if first.len() < 5 {
                    first.push(fault_in_words(json));
                }
                Ok(())
            })?;
            return Err(CurateError::Refused {
                refusals: vec![format!("{} rows cannot be read:\n  {}", corpus.faults(), first.join("\n  "))],
                advice: "ft data clean puts such rows aside with the reason; split what it leaves".into(),
            });
        }
        let on_disk = |source| CurateError::Scratch { folder: scratch.to_path_buf(), source };
        let mut texts = TextStoreWriter::create(scratch).map_err(on_disk)?;
        let mut facts = Vec::with_capacity(corpus.len());
        let mut components = Components::new(corpus.len());
        let mut strata: Vec<String> = Vec::new();
        let mut numbers: HashMap<String, u32> = HashMap::new();
        let mut by = Vec::new();
        let mut joined: BTreeMap<String, usize> = BTreeMap::new();
        let mut first_with: HashMap<(usize, [u8; 16]), u32> = HashMap::new();
        let mut keys = Vec::new();
        let mut misfits = Vec::new();
        let content_key = config.group_by.len();
        corpus.for_each(
            "reading rows",
            watch,
            |item| Seen {
                stratum: stratum(&item.record.object, &config.stratify_by),
                by: request.by.map(|key| names_under(&item.record.object, key)).unwrap_or_default(),
                keys: (config.group_by.iter().enumerate())
                    .flat_map(|(number, key)| {
                        names_under(&item.record.object, key).into_iter().map(move |value| (number, value))
                    })
                    .collect(),
                facts: match &item.row {
                    Ok(row) => Ok((row.hash, Texts::of(&item.record, row))),
                    Err(problem) => Err(problem.to_string()),
                },
            },
            |index, seen| {
                let (hash, row_texts) = match seen.facts {
                    Ok(facts) => facts,
                    Err(problem) => {
                        misfits.push(format!("{}: {problem}", corpus.origin(index)));
                        ([0; 32], Texts::default())
                    }
                };
                texts.push(&row_texts).map_err(on_disk)?;
                let number = strata.len() as u32;
                let number = *numbers.entry(seen.stratum.clone()).or_insert(number);
                if number as usize == strata.len() {
                    strata.push(seen.stratum);
                }
                let question = short_hash(&plain(&row_texts.question));
                let mut row_keys = Vec::new();
                let mut join = |kind: usize, value: [u8; 16], reason: &str| {
                    let first = *first_with.entry((kind, value)).or_insert(index as u32);
                    if components.join(first, index as u32) {
                        *joined.entry(reason.to_owned()).or_default() += 1;
                    }
                };
                for (key, value) in seen.keys {
                    let value = short_hash(&value);
                    join(key, value, &format!("equal `{}`", config.group_by[key]));
                    row_keys.push((key, value));
                }
                let mut content = [0; 16];
                content.copy_from_slice(&hash[..16]);
                join(content_key, content, "equal content");
                if !row_texts.question.trim().is_empty() {
                    join(content_key + 1, question, "equal question");
                }
                facts.push(RowFacts { hash, question, stratum: number });
                by.push(seen.by);
                keys.push(row_keys);
                Ok(())
            },
        )?;
        if !misfits.is_empty() {
            let total = misfits.len();
            misfits.truncate(5);
            return Err(CurateError::Refused {
                refusals: vec![format!("{total} rows do not fit the form of their file:\n  {}", misfits.join("\n  "))],
                advice: "ft data clean puts such rows aside with the reason; split what it leaves".into(),
            });
        }
        Ok(Self {
            facts,
            strata,
            by,
            texts: texts.finish().map_err(on_disk)?,
            components,
            joined,
            near: Vec::new(),
            keys,
        })
    }

    /// Joins near-duplicates.
    ///
    /// A search compares rows only with rows that it keeps: of A, B and C, where B is like both others and they are not
    /// like each other, it says that B goes because of A, and never that C is like B. So the search is repeated with the
    /// rows first that were kept least, until a search joins nothing that was apart.
    fn join_near_duplicates(&mut self, config: &SplitConfig, watch: &dyn Watch) -> Result<(), CurateError> {
        const MOST_SEARCHES: usize = 8;
        let rows: Vec<u32> = (0..self.facts.len() as u32).collect();
        for (field, reason) in [(Field::Question, "near-duplicate question"), (Field::Row, "near-duplicate row")] {
            let live = Live { store: &self.texts, rows: &rows, field };
            // Rows that differ in a number are told apart when one of them is to be removed; here they belong together.
            let settings = near_duplicates::Settings {
                threshold: config.near_duplicate_threshold,
                guard: near_duplicates::Guard::off(),
                ..if field == Field::Question {
                    near_duplicates::Settings::for_questions()
                } else {
                    near_duplicates::Settings::default()
                }
            };
            let mut order = rows.clone();
            let mut kept = vec![0u8; rows.len()];
            for search in 0..MOST_SEARCHES {
                watch.progress(Progress {
                    step: reason,
                    done: (search * rows.len()) as u64,
                    total: None,
                    unit: "rows",
                })?;
                let report = near_duplicates::find(&live, Some(&order), &settings, &|_| ())?;
                kept.iter_mut().for_each(|times| *times += 1);
                let mut joined = 0;
                for removal in &report.removals {
                    let (left, right) = (removal.removed as u32, removal.kept as u32);
                    kept[removal.removed] -= 1;
                    self.near.push((left, right));
                    joined += usize::from(self.components.join(left, right));
                }
                if joined > 0 {
                    *self.joined.entry(reason.to_owned()).or_default() += joined;
                }
                if report.removals.is_empty() || (search > 0 && joined == 0) {
                    break;
                }
                // Among rows that were kept equally often the later ones come first now.
                order.sort_by_key(|&row| (kept[row as usize], std::cmp::Reverse(row)));
            }
        }
        Ok(())
    }

    /// The groups, each a list of rows, in the order of their first rows.
    fn groups(&mut self) -> Vec<Vec<u32>> {
        let mut numbers: HashMap<u32, usize> = HashMap::new();
        let mut groups: Vec<Vec<u32>> = Vec::new();
        for row in 0..self.facts.len() as u32 {
            let root = self.components.root(row);
            let next = groups.len();
            let number = *numbers.entry(root).or_insert(next);
            if number == next {
                groups.push(Vec::new());
            }
            groups[number].push(row);
        }
        groups
    }
}

fn stratum(object: &serde_json::Map<String, serde_json::Value>, keys: &[String]) -> String {
    keys.iter().filter_map(|key| name_under(object, key)).collect::<Vec<_>>().join(" / ")
}

fn fault_in_words(json: &[u8]) -> String {
    let value: serde_json::Value = serde_json::from_slice(json).unwrap_or_default();
    let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
    format!("{}:{} (row {}): {}", text("file"), value["line"], value["row"], text("reason"))
}

const NAMES: [&str; 3] = ["train", "validation", "test"];

/// The part of every row: 0 train, 1 validation, 2 test.
///
/// Groups are drawn by a hash of the seed and of their smallest content hash, so that the order of the rows does not
/// matter. Each stratum has a quota in each held-out part; a group counts for the strata of all its rows and goes where
/// its rows are missed most, as long as it fits.
fn assign(config: &SplitConfig, read: &Reading, groups: &[Vec<u32>]) -> Vec<u8> {
    let mut parts = vec![0; read.facts.len()];
    let mut totals = vec![0usize; read.strata.len()];
    for fact in &read.facts {
        totals[fact.stratum as usize] += 1;
    }
    let shares = [config.validation, config.test];
    // What each stratum still lacks in validation and test.
    let mut lacks: Vec<[f64; 2]> = totals.iter().map(|&total| shares.map(|share| share * total as f64)).collect();
    let wanted = shares.map(|share| (share * read.facts.len() as f64).round());
    let mut taken = [0.0; 2];
    let key = *blake3::Hasher::new().update(b"attune split 1").update(&config.seed.to_le_bytes()).finalize().as_bytes();
    let mut drawn: Vec<([u8; 32], usize)> = groups
        .iter()
        .enumerate()
        .map(|(number, group)| {
            let smallest = group.iter().map(|&row| read.facts[row as usize].hash).min().unwrap_or_default();
            (*blake3::keyed_hash(&key, &smallest).as_bytes(), number)
        })
        .collect();
    drawn.sort_unstable();
    for (_, number) in drawn {
        let group = &groups[number];
        let size = group.len() as f64;
        let mut best: Option<(usize, f64)> = None;
        for part in 0..2 {
            // Half a row of grace, so that rounding does not starve small strata.
            let missed: f64 = group
                .iter()
                .map(|&row| (lacks[read.facts[row as usize].stratum as usize][part]).clamp(-1.0, 1.0))
                .sum::<f64>()
                / size;
            let fits = taken[part] + size <= wanted[part] + 0.5;
            if fits && missed > 0.0 && best.is_none_or(|(_, most)| missed > most) {
                best = Some((part, missed));
            }
        }
        if let Some((part, _)) = best {
            taken[part] += size;
            for &row in group {
                parts[row as usize] = part as u8 + 1;
                lacks[read.facts[row as usize].stratum as usize][part] -= 1.0;
            }
        }
    }
    parts
}

/// Looks once more, without the groups, whether a row of one part gives away a row of another.
fn check_leakage(corpus: &Corpus, read: &Reading, parts: &[u8]) -> Result<(), CurateError> {
    let mut leaks = Vec::new();
    let mut by_value: HashMap<(usize, [u8; 16]), u32> = HashMap::new();
    let mut see = |kind: usize, value: [u8; 16], row: u32, what: &str| {
        let first = *by_value.entry((kind, value)).or_insert(row);
        if parts[first as usize] != parts[row as usize] {
            leaks.push(format!("{}: {what} of {}", corpus.origin(row as usize), corpus.origin(first as usize)));
        }
    };
    for (row, fact) in read.facts.iter().enumerate() {
        let mut content = [0; 16];
        content.copy_from_slice(&fact.hash[..16]);
        see(0, content, row as u32, "the content");
        if fact.question != short_hash("") {
            see(1, fact.question, row as u32, "the question");
        }
        for &(key, value) in &read.keys[row] {
            see(2 + key, value, row as u32, "the group");
        }
    }
    for &(left, right) in &read.near {
        if parts[left as usize] != parts[right as usize] {
            leaks.push(format!(
                "{}: nearly the text of {}",
                corpus.origin(left as usize),
                corpus.origin(right as usize)
            ));
        }
    }
    if leaks.is_empty() {
        return Ok(());
    }
    let total = leaks.len();
    leaks.truncate(5);
    Err(CurateError::Refused {
        refusals: vec![format!("{total} rows of different parts belong together:\n  {}", leaks.join("\n  "))],
        advice: "this is a fault of the program; please report it with the command".into(),
    })
}

fn write(
    request: &Request<'_>,
    corpus: &Corpus,
    read: &Reading,
    groups: &[Vec<u32>],
    parts: &[u8],
) -> Result<SplitReport, CurateError> {
    let writer = DirWriter::create(request.out)?;
    let mut files = Vec::new();
    let mut reports = Vec::new();
    let shares = [1.0, request.config.validation, request.config.test];
    let mut notes = Vec::new();
    for (part, name) in NAMES.iter().enumerate() {
        let rows: Vec<u32> = (0..parts.len() as u32).filter(|&row| parts[row as usize] == part as u8).collect();
        if rows.is_empty() {
            if shares[part] > 0.0 {
                notes.push(format!(
                    "{name} is empty: no group of rows is small enough for its share of {} rows",
                    corpus.len()
                ));
            }
            continue;
        }
        let groups = groups.iter().filter(|group| parts[group[0] as usize] == part as u8).count();
        let (file, report) = write_part(&writer, corpus, read, &format!("{name}.jsonl"), &rows, groups)?;
        let share = rows.len() as f64 / corpus.len() as f64;
        if part > 0 && (share - shares[part]).abs() > 0.2 * shares[part] && rows.len() > 10 {
            notes.push(format!(
                "{name} has {:.1} % of the rows instead of {:.1} %: groups are not torn apart",
                100.0 * share,
                100.0 * shares[part]
            ));
        }
        files.push(file);
        reports.push(report);
    }
    let step = Step {
        step: "split".into(),
        rows_in: corpus.len(),
        rows_out: corpus.len(),
        changed: 0,
        parameters: json!(request.config),
    };
    let report = SplitReport {
        inputs: corpus.inputs().to_vec(),
        rows: corpus.len(),
        groups: groups.len(),
        largest_group: groups.iter().map(Vec::len).max().unwrap_or(0),
        joined: read.joined.clone(),
        parts: reports,
        notes,
    };
    finish(writer, corpus, files, vec![step], &report)?;
    Ok(report)
}

fn finish(
    writer: DirWriter,
    corpus: &Corpus,
    files: Vec<DataFile>,
    steps: Vec<Step>,
    report: &SplitReport,
) -> Result<(), CurateError> {
    let manifest = DatasetManifest::new("split", corpus.inputs(), files, steps);
    writer.write("report.json", &pretty(report))?;
    writer.write(MANIFEST, &pretty(&manifest))?;
    Ok(writer.commit()?)
}

fn write_part(
    writer: &DirWriter,
    corpus: &Corpus,
    read: &Reading,
    name: &str,
    rows: &[u32],
    groups: usize,
) -> Result<(DataFile, Part), CurateError> {
    let leaves: Vec<[u8; 32]> = rows.iter().map(|&row| read.facts[row as usize].hash).collect();
    let (count, bytes, blake3) = written(writer, name, |out| write_rows(corpus, rows, out))?;
    let mut strata: BTreeMap<String, usize> = BTreeMap::new();
    for &row in rows {
        *strata.entry(read.strata[read.facts[row as usize].stratum as usize].clone()).or_default() += 1;
    }
    let file = DataFile { path: name.into(), rows: count, bytes, blake3, merkle_root: hex(&merkle_root(&leaves)) };
    Ok((file, Part { file: name.into(), rows: count, groups, strata }))
}

fn write_rows(corpus: &Corpus, rows: &[u32], out: &mut dyn Write) -> io::Result<usize> {
    let mut json = Vec::new();
    for &row in rows {
        corpus.json(row as usize, &mut json)?;
        out.write_all(&json)?;
        out.write_all(b"\n")?;
    }
    Ok(rows.len())
}

/// One file per value of a key. A row with several values goes into several files.
fn by_key(request: &Request<'_>, corpus: &Corpus, read: &Reading, key: &str) -> Result<SplitReport, CurateError> {
    const MAX_VALUES: usize = 1000;
    let mut by_value: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
    let mut without = 0;
    for (row, values) in read.by.iter().enumerate() {
        without += usize::from(values.is_empty());
        for value in values {
            let rows = by_value.entry(value).or_default();
            if rows.last() != Some(&(row as u32)) {
                rows.push(row as u32);
            }
        }
    }
    let refused = |reason: String, advice: String| CurateError::Refused { refusals: vec![reason], advice };
    if by_value.is_empty() {
        return Err(refused(
            format!("no row has a value under `{key}`"),
            "name a key that the rows have; ft data stats lists them".into(),
        ));
    }
    if by_value.len() > MAX_VALUES {
        return Err(refused(
            format!("`{key}` has {} values, more than {MAX_VALUES} files", by_value.len()),
            "name a key with few values, such as role or tags".into(),
        ));
    }
    let writer = DirWriter::create(request.out)?;
    let (mut files, mut parts, mut taken) = (Vec::new(), Vec::new(), HashSet::new());
    for (value, rows) in &by_value {
        let name = file_name(value, &mut taken);
        let (file, part) = write_part(&writer, corpus, read, &name, rows, 0)?;
        files.push(file);
        parts.push(part);
    }
    let mut notes = Vec::new();
    if without > 0 {
        let rows = if without == 1 { "row has" } else { "rows have" };
        notes.push(format!("{without} {rows} no value under `{key}`; no file holds what has none"));
    }
    let step = Step {
        step: "split-by".into(),
        rows_in: corpus.len(),
        rows_out: parts.iter().map(|part| part.rows).sum(),
        changed: 0,
        parameters: json!({ "by": key }),
    };
    let report = SplitReport {
        inputs: corpus.inputs().to_vec(),
        rows: corpus.len(),
        groups: by_value.len(),
        largest_group: by_value.values().map(Vec::len).max().unwrap_or(0),
        joined: BTreeMap::new(),
        parts,
        notes,
    };
    finish(writer, corpus, files, vec![step], &report)?;
    Ok(report)
}

/// A file name that every system takes, and that no other value has.
fn file_name(value: &str, taken: &mut HashSet<String>) -> String {
    let mut name: String = value
        .chars()
        .take(60)
        .map(|character| if character.is_alphanumeric() || matches!(character, '-' | '_') { character } else { '_' })
        .collect();
    name = name.to_lowercase();
    if !taken.insert(name.clone()) {
        // Another value may have the name with the number as its own.
        let free = (2..).map(|number| format!("{name}-{number}")).find(|name| taken.insert(name.clone()));
        name = free.unwrap_or(name);
    }
    name + ".jsonl"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_join_whatever_the_order() {
        let mut components = Components::new(6);
        assert!(components.join(4, 2));
        assert!(components.join(5, 4));
        assert!(!components.join(2, 5));
        assert!(components.join(0, 1));
        let roots: Vec<u32> = (0..6).map(|row| components.root(row)).collect();
        assert_eq!(roots, [0, 0, 2, 3, 2, 2]);
    }

    #[test]
    fn file_names_are_harmless_and_differ() {
        let mut taken = HashSet::new();
        let names: Vec<String> = ["Coach", "Coach-2", "coach", "../../etc", "a b", "a/b", "é"]
            .iter()
            .map(|value| file_name(value, &mut taken))
            .collect();
        assert_eq!(
            names,
            ["coach.jsonl", "coach-2.jsonl", "coach-3.jsonl", "______etc.jsonl", "a_b.jsonl", "a_b-2.jsonl", "é.jsonl"]
        );
    }
}
