//! Measures the readers of captions, pages and plain documents, and prints one JSON object.
//!
//! `cargo run --release -p attune-documents --example measure_documents -- <assets folder>`
#![allow(clippy::print_stdout, reason = "its result")]

#[path = "../tests/common/mod.rs"]
mod common;

use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use attune_documents::captions::{self, CaptionOptions, webvtt};
use attune_documents::plain::{self, TextOptions};
use attune_documents::web::{self, WebOptions};
use common::{articles, talks, vtt_suite};
use serde_json::{Value, json};

fn main() -> ExitCode {
    let Some(assets) = std::env::args_os().nth(1) else {
        println!("usage: measure_documents <assets folder>");
        return ExitCode::FAILURE;
    };
    let assets = Path::new(&assets);
    let parts: [(&str, &str, fn(&Path) -> Value); 4] = [
        ("webvtt_suite", "suites/vtt.js", suite),
        ("webvtt_py", "datasets/webvtt-py", files),
        ("talks", "datasets/3b1b", talks_measured),
        ("articles", "suites/article-extraction-benchmark", pages),
    ];
    let mut report = serde_json::Map::new();
    for (key, folder, measure) in parts {
        let folder = assets.join(folder);
        let value =
            if folder.exists() { measure(&folder) } else { json!({ "skipped": format!("no {}", folder.display()) }) };
        report.insert(key.to_owned(), value);
    }
    report.insert("plain_mb_per_sec".to_owned(), plain_speeds());
    println!("{:#}", Value::Object(report));
    ExitCode::SUCCESS
}

/// Megabytes a second, the best of some rounds; `bytes` are read in each.
fn speed(bytes: usize, mut read: impl FnMut()) -> f64 {
    const ROUNDS: usize = 5;
    let best = (0..ROUNDS).map(|_| {
        let start = Instant::now();
        read();
        start.elapsed().as_secs_f64()
    });
    let secs = best.fold(f64::INFINITY, f64::min);
    (bytes as f64 / 1e6 / secs.max(1e-9) * 10.0).round() / 10.0
}

fn suite(folder: &Path) -> Value {
    let counts = vtt_suite::compare(folder);
    let mut clauses: BTreeMap<&str, usize> = BTreeMap::new();
    for (name, _) in &counts.listed {
        let clause = vtt_suite::DIFFERENCES.iter().find(|(file, _)| file == name).map_or("", |(_, clause)| clause);
        *clauses.entry(clause).or_default() += 1;
    }
    json!({
        "equal": counts.equal,
        "listed_differences": counts.listed.len(),
        "listed_by_clause": clauses,
        "unexplained": counts.unexplained,
        "trees_equal": counts.trees_equal,
        "trees_listed": counts.trees_listed,
        "trees_unexplained": counts.trees_unexplained,
    })
}

/// How many of the files are read, and how many are no captions.
fn files(folder: &Path) -> Value {
    let mut names: Vec<_> = std::fs::read_dir(folder)
        .map(|entries| entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()).collect())
        .unwrap_or_default();
    names.sort();
    let (mut read, mut segments, mut noted, mut refused) = (0, 0, 0, Vec::new());
    for path in &names {
        match captions::parse(&common::text(path), &CaptionOptions::default()) {
            Ok(document) => {
                read += 1;
                segments += document.segments.len();
                noted += usize::from(!document.notes.is_empty());
            }
            Err(_) => refused.push(path.file_name().unwrap_or_default().to_string_lossy().into_owned()),
        }
    }
    json!({ "read": read, "segments": segments, "with_notes": noted, "no_captions": refused })
}

fn talks_measured(folder: &Path) -> Value {
    let talks = talks::rolling(folder);
    let words: usize = talks.iter().map(|talk| talk.words).sum();
    let before: usize = talks.iter().map(|talk| talk.words_before).sum();
    let wrong: usize = talks.iter().map(|talk| talk.wrong).sum();
    let latest = talks.iter().map(|talk| talk.latest_secs).fold(0.0, f64::max);
    let (files, human_words, human_wrong, sentences, equal) = talks::human(folder);
    let vtt: Vec<String> = talks::files(folder, "rolling.vtt").iter().map(|path| common::text(path)).collect();
    let srt: Vec<String> = talks::files(folder, "captions.srt").iter().map(|path| common::text(path)).collect();
    let options = CaptionOptions::default();
    let bytes = |files: &[String]| files.iter().map(String::len).sum();
    json!({
        "rolling_files": talks.len(),
        "rolling_words": words,
        "rolling_words_before": before,
        "rolling_wrong_words": wrong,
        "rolling_latest_secs": latest,
        "human_files": files,
        "human_words": human_words,
        "human_wrong_words": human_wrong,
        "human_sentences": sentences,
        "human_sentences_equal_to_transcript": equal,
        "webvtt_parse_mb_per_sec": speed(bytes(&vtt), || vtt.iter().for_each(|text| drop(black_box(webvtt::parse(text))))),
        "webvtt_document_mb_per_sec":
            speed(bytes(&vtt), || vtt.iter().for_each(|text| drop(black_box(captions::parse_webvtt(text, &options))))),
        "srt_document_mb_per_sec":
            speed(bytes(&srt), || srt.iter().for_each(|text| drop(black_box(captions::parse_srt(text, &options))))),
    })
}

fn pages(folder: &Path) -> Value {
    let pages = articles::measure(folder);
    let (first, second) = pages.split_at(pages.len() / 2);
    let score = |pages: &[articles::Page]| {
        let score = articles::score(pages.iter());
        let round = |x: f64| (x * 1e4).round() / 1e4;
        json!({ "pages": pages.len(), "precision": round(score.precision), "recall": round(score.recall), "f1": round(score.f1) })
    };
    let html = articles::html(folder);
    let bytes = html.values().map(String::len).sum();
    json!({
        "all": score(&pages),
        "first_half": score(first),
        "second_half": score(second),
        "mb_per_sec": speed(bytes, || html.values().for_each(|page| drop(black_box(web::extract(page, &WebOptions::default()))))),
    })
}

/// Plain text as it comes from books, and the same as Markdown.
fn plain_speeds() -> Value {
    let paragraph = "The quick brown fox jumps over the lazy dog and runs into the *forest* of old,\n\
                     where it waits for the evening to come and for the well-\nknown river to rise.\n\n";
    let text = format!("# Title\n\n{}", paragraph.repeat(20_000));
    let options = TextOptions::default();
    json!({
        "text": speed(text.len(), || drop(black_box(plain::parse_text(&text, &options)))),
        "markdown": speed(text.len(), || drop(black_box(plain::parse_markdown(&text, &options)))),
    })
}
