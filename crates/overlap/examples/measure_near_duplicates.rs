//! Measures the search for near-duplicates:
//! `measure_near_duplicates ASSETS_DIR [--speed] [--text FILE.jsonl] [--write FILE.jsonl] [--questions N] [--template N]`.
//!
//! Recall against all pairs of 5,000 real rows with planted copies; with `--speed` the time of a generated corpus of
//! 200,000 rows (or of `--text`, a file with a key `text` in every row), on as many threads as `RAYON_NUM_THREADS` says.
//! `--write` writes the generated corpus for the peer (`bench/peers/near_duplicates.py`). `--questions` and `--template`
//! make so many rows while they are read, questions of random words or rows of one long template, to see time and memory
//! of a large set. Prints one JSON object.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a measurement prints")]
#![allow(clippy::unwrap_used, reason = "a measurement may end with a mistake")]
#![allow(clippy::disallowed_methods, reason = "the corpus can be made again")]

#[path = "../tests/near_duplicates_common/mod.rs"]
mod common;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use attune_overlap::near_duplicates::{self, Guard, Report, Settings, Texts};
use common::{Brute, Random, Rows, greedy, jaccard, real_rows, with_planted};
use serde_json::{Value, json};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (mut assets, mut speed, mut text, mut write) = (None, false, None, None);
    let (mut questions, mut template) = (None, None);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--speed" => speed = true,
            "--text" => text = arguments.next().map(PathBuf::from),
            "--questions" => questions = arguments.next().and_then(|count| count.parse().ok()),
            "--template" => template = arguments.next().and_then(|count| count.parse().ok()),
            "--write" => write = arguments.next().map(PathBuf::from),
            _ => assets = Some(PathBuf::from(argument)),
        }
    }
    let Some(assets) = assets else {
        eprintln!("usage: measure_near_duplicates ASSETS_DIR [--speed] [--text FILE.jsonl] [--write FILE.jsonl]");
        std::process::exit(2);
    };
    let mut shown = quality(&assets);
    if speed || text.is_some() || write.is_some() {
        let rows = text.as_deref().map_or_else(|| corpus(&assets, 200_000), read);
        if let Some(path) = write {
            let mut file = std::io::BufWriter::new(std::fs::File::create(path).unwrap());
            for (id, row) in rows.iter().enumerate() {
                writeln!(file, "{}", json!({"id": id.to_string(), "text": row})).unwrap();
            }
        }
        shown["speed"] = measured(&Rows(rows));
    }
    if let Some(count) = questions {
        shown["questions"] = large(&Made { count, before: "" });
    }
    if let Some(count) = template {
        shown["template"] = large(&Made { count, before: TEMPLATE });
    }
    println!("{shown}");
}

const TEMPLATE: &str = "You are an assistant with access to the functions below. Use them if they help to answer, and say so \
    if none of them does. Answer in the language of the user, and be as short as the question allows. Never make up a value \
    that was not given; ask for it instead. The user is a customer, and wants to talk about this: ";

/// Rows that are made when they are read, a tenth of them an earlier row with a sign at its end.
struct Made {
    count: usize,
    before: &'static str,
}

impl Texts for Made {
    fn len(&self) -> usize {
        self.count
    }

    fn read(&self, index: usize, into: &mut String) -> std::io::Result<()> {
        let is_copy = index % 10 == 9;
        let mut random = Random(if is_copy { (index - 9) as u64 } else { index as u64 });
        random.next();
        into.clear();
        into.push_str(self.before);
        for word in 0..10 {
            if word > 0 {
                into.push(' ');
            }
            // Twenty thousand words of three to eight letters.
            let mut letters = Random(random.below(20_000) as u64);
            for _ in 0..3 + letters.below(6) {
                into.push(char::from(b'a' + letters.below(26) as u8));
            }
        }
        if is_copy {
            into.push('.');
        }
        Ok(())
    }
}

fn large(texts: &Made) -> Value {
    let start = Instant::now();
    let report = near_duplicates::find(texts, None, &Settings::default(), &|_| ()).unwrap();
    let seconds = start.elapsed().as_secs_f64();
    // The most memory that the process ever held, where the system tells.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).map(|peak| peak.trim().to_owned());
    json!({
        "rows": texts.count,
        "seconds": seconds,
        "rows_per_second": texts.count as f64 / seconds,
        "planted": texts.count / 10,
        "removed": report.removals.len(),
        "candidates": report.candidates,
        "verified": report.verified,
        "crowded": report.crowded,
        "cut_short": report.cut_short,
        "peak_memory": peak,
    })
}

fn quality(assets: &Path) -> Value {
    let rows = with_planted(real_rows(assets, 4_000), 1_000, &mut Random(11));
    let settings = Settings { guard: Guard::off(), ..Settings::default() };
    let mut brute = Brute::new(settings.shingle_chars);
    let sets: Vec<Vec<u32>> = rows.iter().map(|row| brute.set(row)).collect();
    let expected = greedy(&sets, &(0..rows.len()).collect::<Vec<_>>(), settings.threshold);
    let report = near_duplicates::find(&Rows(rows), None, &settings, &|_| ()).unwrap();
    let alike = expected.iter().flatten().count();
    let found = report.removals.iter().filter(|removal| expected[removal.removed].is_some()).count();
    let below = report
        .removals
        .iter()
        .filter(|removal| jaccard(&sets[removal.removed], &sets[removal.kept]) < settings.threshold)
        .count();
    json!({
        "rows": expected.len(),
        "near_duplicates": alike,
        "recall": found as f64 / alike as f64,
        "removed_below_threshold": below,
        "recall_by_formula": settings.recall_at(settings.threshold),
    })
}

fn measured(rows: &Rows) -> Value {
    let bytes: usize = rows.0.iter().map(String::len).sum();
    let run = |guard: Guard| -> (f64, Report) {
        let settings = Settings { guard, ..Settings::default() };
        let start = Instant::now();
        let report = near_duplicates::find(rows, None, &settings, &|progress| {
            if std::env::var_os("VERBOSE").is_some() {
                eprintln!("{:.2} {progress:?}", start.elapsed().as_secs_f64());
            }
        })
        .unwrap();
        (start.elapsed().as_secs_f64(), report)
    };
    let (seconds, report) = run(Guard::default());
    let (bare_seconds, bare) = run(Guard::off());
    json!({
        "rows": rows.0.len(),
        "bytes": bytes,
        "threads": rayon::current_num_threads(),
        "seconds": seconds,
        "rows_per_second": rows.0.len() as f64 / seconds,
        "megabytes_per_second": bytes as f64 / 1e6 / seconds,
        "removed": report.removals.len(),
        "guarded": report.guarded_total,
        "candidates": report.candidates,
        "verified": report.verified,
        "crowded": report.crowded,
        "cut_short": report.cut_short,
        "seconds_without_guard": bare_seconds,
        "removed_without_guard": bare.removals.len(),
    })
}

fn read(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["text"].as_str().unwrap().to_owned()).collect()
}

/// Rows of about 500 bytes, put together from runs of words of real rows; every tenth is an earlier one with one to three
/// words changed.
fn corpus(assets: &Path, count: usize) -> Vec<String> {
    let source = real_rows(assets, usize::MAX).join("\n");
    let words: Vec<&str> = source.split_whitespace().filter(|word| word.len() < 20).collect();
    let mut random = Random(23);
    let mut rows: Vec<String> = Vec::with_capacity(count);
    for row in 0..count {
        if row % 10 == 9 {
            let original = rows[random.below(rows.len())].clone();
            let mut changed: Vec<&str> = original.split(' ').collect();
            for _ in 0..1 + random.below(3) {
                let at = random.below(changed.len());
                changed[at] = words[random.below(words.len())];
            }
            rows.push(changed.join(" "));
            continue;
        }
        let mut text = String::new();
        while text.len() < 500 {
            let (start, length) = (random.below(words.len() - 16), 4 + random.below(9));
            for word in &words[start..start + length] {
                text.push_str(word);
                text.push(' ');
            }
        }
        text.pop();
        rows.push(text);
    }
    rows
}
