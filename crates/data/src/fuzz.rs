//! One function per reader that takes any bytes, for fuzzers. Each panics if a promise of [`crate::open`] is broken.

use std::path::Path;

use crate::error::DataError;
use crate::record::{Entry, ReadOptions, Records, Transcripts};

/// What came of some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outcome {
    /// Rows that could be read.
    pub records: usize,
    /// Rows that could not.
    pub faults: usize,
    /// Whether the file had to be given up.
    pub given_up: bool,
}

/// `bytes` as a file of that name.
///
/// # Errors
/// As [`crate::open`] and its iterator.
pub fn entries(name: &str, bytes: &[u8]) -> Result<Vec<Entry>, DataError> {
    Records::of_bytes(Path::new(name), bytes.to_vec(), &ReadOptions::default())?.collect()
}

fn run(name: &str, bytes: &[u8]) -> Outcome {
    run_with(name, bytes, &ReadOptions::default())
}

fn run_with(name: &str, bytes: &[u8], options: &ReadOptions) -> Outcome {
    let mut outcome = Outcome::default();
    let mut records = match Records::of_bytes(Path::new(name), bytes.to_vec(), options) {
        Ok(records) => records,
        Err(error) => {
            assert!(!error.to_string().is_empty() && error.hint().is_some(), "an error without words: {error:?}");
            return Outcome { given_up: true, ..outcome };
        }
    };
    let mut last_end = 0;
    while let Some(entry) = records.next() {
        let number = outcome.records + outcome.faults + 1;
        match entry {
            Ok(Entry::Record(record)) => {
                assert_eq!(record.origin.row, number, "rows are counted");
                outcome.records += 1;
            }
            Ok(Entry::Fault(fault)) => {
                assert_eq!(fault.origin.row, number, "faults are counted as rows");
                assert!(fault.origin.line >= 1 && !fault.problem.to_string().is_empty());
                assert!(fault.raw.len() as u64 <= fault.extent.length, "more bytes than there are");
                assert!(fault.extent.start >= last_end, "faults overlap at byte {last_end}");
                last_end = fault.extent.start + fault.extent.length;
                outcome.faults += 1;
            }
            Err(error) => {
                assert!(!error.to_string().is_empty() && error.hint().is_some(), "an error without words: {error:?}");
                outcome.given_up = true;
                assert!(records.next().is_none(), "there are rows behind an error");
                return outcome;
            }
        }
    }
    if !outcome.given_up {
        assert_eq!(records.facts().hash.len(), 64);
    }
    if let Some(facts) = records.transcript() {
        assert_eq!(
            facts.turns,
            2 * facts.answers + facts.unanswered + facts.unasked,
            "each turn has a fate: {facts:?}"
        );
        assert!((1..=facts.answers).contains(&outcome.records) && outcome.faults == 0, "{facts:?}: {outcome:?}");
    }
    outcome
}

/// JSONL: every line that is not blank is a row or a fault.
pub fn fuzz_json_lines(bytes: &[u8]) -> Outcome {
    let outcome = run("fuzz.jsonl", bytes);
    let marked = [&b"\xFF\xFE"[..], b"\xFE\xFF", b"\0\0\xFE\xFF"].iter().any(|mark| bytes.starts_with(mark));
    if !marked {
        let text = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
        let rows = text.split(|&byte| byte == b'\n').filter(|line| !line.trim_ascii().is_empty()).count();
        assert_eq!((outcome.records + outcome.faults, outcome.given_up), (rows, false), "rows in are rows out");
    }
    outcome
}

/// A JSON document.
pub fn fuzz_json(bytes: &[u8]) -> Outcome {
    let outcome = run("fuzz.json", bytes);
    // A document that serde_json reads as a list of objects loses no row.
    if let Ok(rows) = serde_json::from_slice::<Vec<serde_json::Map<String, serde_json::Value>>>(bytes) {
        assert_eq!((outcome.records + outcome.faults, outcome.given_up), (rows.len(), false));
    }
    outcome
}

/// A table as text.
pub fn fuzz_csv(bytes: &[u8]) -> Outcome {
    run("fuzz.csv", bytes)
}

/// Parquet.
pub fn fuzz_parquet(bytes: &[u8]) -> Outcome {
    run("fuzz.parquet", bytes)
}

/// Text, Markdown, a web page and captions.
pub fn fuzz_documents(bytes: &[u8]) -> Outcome {
    let mut all = Outcome::default();
    for name in ["fuzz.txt", "fuzz.md", "fuzz.html", "fuzz.vtt", "fuzz.srt", "fuzz.sbv"] {
        let outcome = run(name, bytes);
        assert!(outcome.records + outcome.faults <= 1, "a document is one row");
        all.records += outcome.records;
        all.faults += outcome.faults;
        all.given_up |= outcome.given_up;
    }
    all
}

/// Captions as transcripts in which Ada is the assistant.
pub fn fuzz_transcripts(bytes: &[u8]) -> Outcome {
    let transcripts = Some(Transcripts { assistant: "Ada".into(), exchanges: None });
    let options = ReadOptions { transcripts, ..ReadOptions::default() };
    let mut all = Outcome::default();
    for name in ["fuzz.vtt", "fuzz.srt", "fuzz.sbv"] {
        let outcome = run_with(name, bytes, &options);
        all.records += outcome.records;
        all.faults += outcome.faults;
        all.given_up |= outcome.given_up;
    }
    all
}

/// Packed files: as gzip and as zstd.
pub fn fuzz_packed(bytes: &[u8]) -> Outcome {
    let first = run("fuzz.jsonl.gz", bytes);
    let second = run("fuzz.jsonl.zst", bytes);
    Outcome {
        records: first.records + second.records,
        faults: first.faults + second.faults,
        given_up: first.given_up && second.given_up,
    }
}
