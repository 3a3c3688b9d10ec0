//! What is claimed of the data rooms, and where the number stands in the output of their examples.

use serde_json::Value;

/// How a number is shown.
#[derive(Debug, Clone, Copy)]
pub(super) enum Unit {
    /// A share of one, as per cent.
    Share,
    /// A score such as F1.
    Score,
    /// A count.
    Count,
    /// Megabytes (10^6 bytes) per second.
    Rate,
}

impl Unit {
    pub(super) fn show(self, value: f64) -> String {
        match self {
            Self::Share => format!("{:.2} %", 100.0 * value),
            Self::Score => format!("{value:.3}"),
            Self::Count => format!("{value:.0}"),
            Self::Rate => format!("{value:.1} MB/s"),
        }
    }
}

/// What a number should be.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wanted {
    /// At least so much.
    AtLeast(f64),
    /// At most so much.
    AtMost(f64),
}

impl Wanted {
    pub(super) fn holds(self, value: f64) -> bool {
        match self {
            Self::AtLeast(least) => value >= least,
            Self::AtMost(most) => value <= most,
        }
    }

    pub(super) fn show(self, unit: Unit) -> String {
        match self {
            Self::AtLeast(least) => format!("at least {}", unit.show(least)),
            Self::AtMost(most) => format!("at most {}", unit.show(most)),
        }
    }
}

/// A number and what it should be.
pub(super) struct Claim {
    pub(super) measure: &'static str,
    pub(super) what: &'static str,
    /// JSON pointer, or two of them with ` / ` between: the first over the second. Of a list it is the length.
    pub(super) pointer: &'static str,
    pub(super) unit: Unit,
    pub(super) wanted: Wanted,
}

/// A peer beside an example.
pub(super) struct PeerClaim {
    pub(super) measure: &'static str,
    pub(super) name: &'static str,
    pub(super) what: &'static str,
    pub(super) script: &'static str,
    pub(super) requirements: &'static str,
    /// `{assets}`, `{file}` (what `writes` wrote) and `{work}` (a folder that is not there yet) are replaced.
    pub(super) args: &'static [&'static str],
    /// The flag with which the example writes the texts of the comparison.
    pub(super) writes: Option<&'static str>,
    /// The peer gets so many rows of it; it would take too long with all of them.
    pub(super) rows: Option<usize>,
    pub(super) ours: Ours,
    pub(super) theirs: &'static str,
    pub(super) unit: &'static str,
    pub(super) least_ratio: f64,
}

/// Where Attune's number comes from.
#[derive(Debug, Clone, Copy)]
pub(super) enum Ours {
    /// The example's own measurement, of the texts that the peer has too.
    Speed(&'static str),
    /// What the example prints when it writes the texts.
    Written(&'static str),
    /// What it prints when it is given the texts by this flag.
    Given(&'static str, &'static str),
}

/// The number at a pointer.
pub(super) fn number(value: &Value, pointer: &str) -> Option<f64> {
    if let Some((over, under)) = pointer.split_once(" / ") {
        return Some(number(value, over)? / number(value, under)?);
    }
    match value.pointer(pointer)? {
        Value::Number(number) => number.as_f64(),
        Value::Array(items) => Some(items.len() as f64),
        Value::Object(members) => Some(members.len() as f64),
        _ => None,
    }
}

const fn claim(measure: &'static str, what: &'static str, pointer: &'static str, unit: Unit, wanted: Wanted) -> Claim {
    Claim { measure, what, pointer, unit, wanted }
}

use Unit::{Count, Rate, Score, Share};
use Wanted::{AtLeast, AtMost};

pub(super) const CLAIMS: &[Claim] = &[
    claim("secrets", "noseyparker: positives found", "/positives/found / /positives/total", Share, AtLeast(0.97)),
    claim("secrets", "noseyparker: negatives flagged", "/negatives/flagged / /negatives/total", Share, AtMost(0.02)),
    claim("secrets", "secrets, all rules, one core", "/speed/megabytes_per_second", Rate, AtLeast(10.0)),
    claim(
        "pii",
        "presidio synth_dataset_v2, structured types: F1 of spans",
        "/all/micro/strict_f1",
        Score,
        AtLeast(0.9),
    ),
    claim("pii", "the same, odd rows (rules were made on even rows)", "/odd/micro/strict_f1", Score, AtLeast(0.9)),
    claim("documents", "vtt.js: files parsed as expected", "/webvtt_suite/equal", Count, AtLeast(1.0)),
    claim(
        "documents",
        "vtt.js: differences listed with the clause that decides",
        "/webvtt_suite/listed_differences",
        Count,
        AtLeast(0.0),
    ),
    claim("documents", "vtt.js: differences that nothing explains", "/webvtt_suite/unexplained", Count, AtMost(0.0)),
    claim(
        "documents",
        "rolling captions: wrong words",
        "/talks/rolling_wrong_words / /talks/rolling_words",
        Share,
        AtMost(0.0),
    ),
    claim("documents", "article extraction, 90 pages: F1", "/articles/all/f1", Score, AtLeast(0.9)),
    claim(
        "documents",
        "the same, second half (rules were made on the first)",
        "/articles/second_half/f1",
        Score,
        AtLeast(0.9),
    ),
    claim("readers", "JSONTestSuite: y_ and n_ files that go wrong", "/json_test_suite/wrong", Count, AtMost(0.0)),
    claim("readers", "csv-spectrum: files that go wrong", "/csv_spectrum/wrong", Count, AtMost(0.0)),
    claim("readers", "parquet-testing: good files read", "/parquet_testing/data/read", Count, AtLeast(1.0)),
    claim("near-duplicates", "5,000 rows against all pairs: recall", "/recall", Share, AtLeast(0.999)),
    claim("near-duplicates", "removed below the threshold", "/removed_below_threshold", Count, AtMost(0.0)),
    claim(
        "contamination",
        "GSM8K test rows planted and found",
        "/planted/question and answer/recall",
        Share,
        AtLeast(1.0),
    ),
    claim(
        "contamination",
        "search for evaluation data, GSM8K and MMLU, two threads",
        "/speed/words and paraphrase, 2 threads/mb_per_second",
        Rate,
        AtLeast(50.0),
    ),
];

pub(super) const PEERS: &[PeerClaim] = &[
    PeerClaim {
        measure: "near-duplicates",
        name: "datatrove-minhash",
        what: "near-duplicates, the same 20,000 rows, two threads, beside datatrove's MinHash on two processes",
        script: "near_duplicates.py",
        requirements: "requirements-dedup.txt",
        args: &["{file}", "{work}"],
        writes: Some("--write"),
        rows: Some(20_000),
        ours: Ours::Given("--text", "/speed/rows_per_second"),
        theirs: "/rows_per_second",
        unit: "rows/s",
        least_ratio: 10.0,
    },
    PeerClaim {
        measure: "pii",
        name: "presidio-patterns",
        what: "personal data, sentences of the suite, beside Presidio's pattern recognisers, one core each",
        script: "presidio_patterns.py",
        requirements: "requirements-pii.txt",
        args: &["{assets}/suites/presidio-research/synth_dataset_v2.json"],
        writes: None,
        rows: None,
        ours: Ours::Speed("/speed/megabytes_per_second"),
        theirs: "/speed/megabytes_per_second",
        unit: "MB/s",
        least_ratio: 100.0,
    },
    PeerClaim {
        measure: "contamination",
        name: "datatrove-ngrams",
        what: "evaluation data, the same documents, one thread each, beside datatrove's n-gram filter",
        script: "contamination.py",
        requirements: "requirements-contamination.txt",
        args: &["{assets}/suites/decon/evals/gsm8k_test-1.jsonl.gz", "{file}"],
        writes: Some("--documents="),
        rows: None,
        ours: Ours::Written("/mb_per_second"),
        theirs: "/mb_per_second",
        unit: "MB/s",
        least_ratio: 1.0,
    },
];
