//! Measures the rules for personal data on the labelled sentences of presidio-research, and how fast they are.
//!
//! `measure_pii ASSETS_DIR [--speed] [--text FILE.jsonl] [--show]` prints one JSON object: precision, recall and F1 by type and
//! over all types, for all rows, even rows (which the rules were written with) and odd rows. `--text` names the file
//! whose strings `--speed` scans instead of the sentences; `--show` adds what was missed and found too much in even rows.
#![allow(clippy::print_stdout, reason = "the example prints what it measures")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use attune_scrub::pii::{Kind, PiiOptions, Scanner};
use serde_json::{Value, json};

/// The types of the suite that have a form, and our kinds for them.
const TYPES: &[(&str, &[&str])] = &[
    ("EMAIL_ADDRESS", &["email"]),
    ("IBAN_CODE", &["iban"]),
    ("CREDIT_CARD", &["payment-card"]),
    ("IP_ADDRESS", &["ip-address"]),
    ("US_SSN", &["us-ssn"]),
    ("PHONE_NUMBER", &["phone"]),
    ("DOMAIN_NAME", &["url", "url-credentials"]),
];

type Error = Box<dyn std::error::Error>;

#[derive(Default, Clone, Copy)]
struct Counts {
    labelled: usize,
    found: usize,
    strict: usize,
    /// Labelled spans that a finding of the type overlaps, and findings that overlap a labelled span of the type.
    overlap_labelled: usize,
    overlap_found: usize,
}

impl Counts {
    fn add(&mut self, other: Self) {
        self.labelled += other.labelled;
        self.found += other.found;
        self.strict += other.strict;
        self.overlap_labelled += other.overlap_labelled;
        self.overlap_found += other.overlap_found;
    }

    fn scores(self) -> Value {
        let share = |part: usize, whole: usize| if whole == 0 { 1.0 } else { part as f64 / whole as f64 };
        let f1 = |precision: f64, recall: f64| {
            let f1 = if precision + recall == 0.0 { 0.0 } else { 2.0 * precision * recall / (precision + recall) };
            (f1 * 1e4).round() / 1e4
        };
        json!({
            "labelled": self.labelled,
            "found": self.found,
            "strict_f1": f1(share(self.strict, self.found), share(self.strict, self.labelled)),
            "overlap_f1": f1(share(self.overlap_found, self.found), share(self.overlap_labelled, self.labelled)),
            "overlap_precision": share(self.overlap_found, self.found),
            "overlap_recall": share(self.overlap_labelled, self.labelled),
        })
    }
}

/// A span in bytes, with its type.
type Span = (usize, usize, &'static str);

fn labelled(row: &Value, text: &str) -> Vec<Span> {
    let mut starts: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
    starts.push(text.len());
    let place = |span: &Value, key: &str| span[key].as_u64().and_then(|at| starts.get(at as usize).copied());
    let span = |span: &Value| {
        let label = span["entity_type"].as_str()?;
        let &(name, _) = TYPES.iter().find(|(name, _)| *name == label)?;
        Some((place(span, "start_position")?, place(span, "end_position")?, name))
    };
    row["spans"].as_array().into_iter().flatten().filter_map(span).collect()
}

fn found(scanner: &Scanner, text: &str) -> Vec<Span> {
    let span = |finding: attune_scrub::Finding| {
        let &(name, _) = TYPES.iter().find(|(_, rules)| rules.contains(&finding.rule))?;
        Some((finding.span.start, finding.span.end, name))
    };
    scanner.scan(text).into_iter().filter_map(span).collect()
}

fn count(labelled: &[Span], found: &[Span], name: &str) -> Counts {
    let of = |spans: &[Span]| spans.iter().copied().filter(|(.., label)| *label == name).collect::<Vec<_>>();
    let (labelled, found) = (of(labelled), of(found));
    let overlaps = |left: &Span, others: &[Span]| others.iter().any(|right| left.0 < right.1 && right.0 < left.1);
    Counts {
        labelled: labelled.len(),
        found: found.len(),
        strict: labelled.iter().filter(|span| found.contains(span)).count(),
        overlap_labelled: labelled.iter().filter(|span| overlaps(span, &found)).count(),
        overlap_found: found.iter().filter(|span| overlaps(span, &labelled)).count(),
    }
}

/// All strings of a file of JSON lines.
fn strings(file: &Path) -> Result<Vec<String>, Error> {
    fn collect(value: Value, into: &mut Vec<String>) {
        match value {
            Value::String(text) => into.push(text),
            Value::Array(values) => values.into_iter().for_each(|value| collect(value, into)),
            Value::Object(values) => values.into_iter().for_each(|(_, value)| collect(value, into)),
            _ => {}
        }
    }
    let mut texts = Vec::new();
    for line in std::fs::read_to_string(file)?.lines().filter(|line| !line.trim().is_empty()) {
        collect(serde_json::from_str(line)?, &mut texts);
    }
    Ok(texts)
}

/// Megabytes per second on one thread, the best of three passes of at least a second.
fn speed(scanner: &Scanner, texts: &[String]) -> Value {
    let bytes: usize = texts.iter().map(String::len).sum();
    let mut best = 0.0_f64;
    let mut findings = 0;
    for _ in 0..3 {
        let start = Instant::now();
        let mut passes = 0;
        while start.elapsed().as_secs_f64() < 1.0 && bytes > 0 {
            findings = texts.iter().map(|text| scanner.scan(text).len()).sum();
            passes += 1;
        }
        best = best.max((bytes * passes) as f64 / start.elapsed().as_secs_f64() / 1e6);
    }
    json!({ "bytes": bytes, "findings": findings, "megabytes_per_second": (best * 10.0).round() / 10.0 })
}

fn main() -> Result<(), Error> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let text_file = arguments.iter().position(|argument| argument == "--text").and_then(|at| arguments.get(at + 1));
    let assets = arguments.first().ok_or("usage: measure_pii ASSETS_DIR [--speed] [--text FILE.jsonl] [--show]")?;
    let suite = PathBuf::from(assets).join("suites/presidio-research/synth_dataset_v2.json");
    let rows: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(suite)?)?;

    let mut options = PiiOptions::default();
    options.kinds.push(Kind::Url);
    let scanner = Scanner::new(options);

    let mut counts: BTreeMap<(&str, &str), Counts> = BTreeMap::new();
    let mut wrong = Vec::new();
    for (place, row) in rows.iter().enumerate() {
        let text = row["full_text"].as_str().ok_or("a row without full_text")?;
        let (labelled, found) = (labelled(row, text), found(&scanner, text));
        let half = if place % 2 == 0 { "even" } else { "odd" };
        for &(name, _) in TYPES {
            let of_row = count(&labelled, &found, name);
            for rows in ["all", half] {
                counts.entry((rows, name)).or_default().add(of_row);
                counts.entry((rows, "micro")).or_default().add(of_row);
            }
        }
        if has("--show") && half == "even" {
            let around = |(start, end, name): Span| {
                let (low, high) = (start.saturating_sub(30), (end + 20).min(text.len()));
                let around = &text[text.floor_char_boundary(low)..text.ceil_char_boundary(high)];
                json!([name, &text[start..end], around])
            };
            let missed =
                labelled.iter().filter(|span| !found.contains(span)).map(|span| json!({ "missed": around(*span) }));
            let extra =
                found.iter().filter(|span| !labelled.contains(span)).map(|span| json!({ "extra": around(*span) }));
            wrong.extend(missed.chain(extra));
        }
    }
    let mut report = serde_json::Map::new();
    for rows in ["all", "even", "odd"] {
        let of_rows = counts.iter().filter(|((of, _), _)| *of == rows);
        report.insert(rows.into(), of_rows.map(|((_, name), counts)| ((*name).to_owned(), counts.scores())).collect());
    }
    if has("--speed") {
        let texts = match text_file {
            Some(file) => strings(Path::new(file))?,
            None => rows.iter().filter_map(|row| row["full_text"].as_str().map(str::to_owned)).collect(),
        };
        report.insert("speed".into(), speed(&scanner, &texts));
        let default = Scanner::new(PiiOptions::default());
        report.insert("speed_of_default_kinds".into(), speed(&default, &texts));
    }
    if has("--show") {
        report.insert("wrong".into(), wrong.into());
    }
    println!("{:#}", Value::Object(report));
    Ok(())
}
