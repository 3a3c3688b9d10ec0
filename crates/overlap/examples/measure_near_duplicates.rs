//! Measures the search for near-duplicates: `measure_near_duplicates ASSETS_DIR [--speed] [--text FILE.jsonl] [--write FILE.jsonl]`.
//!
//! Recall against all pairs of 5,000 real rows with planted copies; with `--speed` the time of a generated corpus of
//! 200,000 rows (or of `--text`, a file with a key `text` in every row), on as many threads as `RAYON_NUM_THREADS` says.
//! `--write` writes the generated corpus for the peer (`bench/peers/near_duplicates.py`). Prints one JSON object.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a measurement prints")]
#![allow(clippy::unwrap_used, reason = "a measurement may end with a mistake")]
#![allow(clippy::disallowed_methods, reason = "the corpus can be made again")]

#[path = "../tests/near_duplicates_common/mod.rs"]
mod common;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use attune_overlap::near_duplicates::{self, Guard, Report, Settings};
use common::{Brute, Random, Rows, greedy, jaccard, real_rows, with_planted};
use serde_json::{Value, json};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (mut assets, mut speed, mut text, mut write) = (None, false, None, None);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--speed" => speed = true,
            "--text" => text = arguments.next().map(PathBuf::from),
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
    println!("{shown}");
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
