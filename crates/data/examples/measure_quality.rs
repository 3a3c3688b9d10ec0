//! Measures the screens for documents and answers on real sets: `measure_quality ASSETS_DIR [--speed] [--worst SET]`.
//!
//! Prints one JSON object. For each set: how good rows score, which rules they break, and for each planted fault the
//! probability that a good row scores above a bad one. `--speed` adds MB/s; `--worst SET` prints the lowest rows instead.
#![allow(clippy::print_stdout, reason = "an example that prints its result")]

mod planted;

use std::{collections::BTreeMap, path::Path, time::Instant};

use attune_data::screen::{
    answers::{RowContext, score},
    documents::{DocumentRules, check},
};
use planted::{FAULTS, Pair, area, plant, read_pairs};
use serde_json::{Value, json};

const SETS: [&str; 6] = [
    "lima/lima.json",
    "code_alpaca/code_alpaca_2k.json",
    "llama-factory/alpaca_en_demo.json",
    "gsm8k/test.jsonl",
    "sharegpt/sharegpt_grabbag_small.jsonl",
    "llama-factory/glaive_toolcall_en_demo.json",
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(folder) = arguments.first() else {
        println!("usage: measure_quality ASSETS_DIR [--speed] [--worst SET]");
        return;
    };
    let folder = Path::new(folder).join("datasets");
    if let Some(at) = arguments.iter().position(|argument| argument == "--worst") {
        worst(&folder.join(arguments.get(at + 1).map_or(SETS[0], String::as_str)));
        return;
    }
    let mut report = serde_json::Map::new();
    for set in SETS {
        let path = folder.join(set);
        if path.exists() {
            report.insert(set.to_owned(), measure_set(&read_pairs(&path)));
        }
    }
    report.insert("documents".to_owned(), measure_documents(&folder));
    if arguments.iter().any(|argument| argument == "--speed") {
        report.insert("speed_mb_per_s".to_owned(), measure_speed(&folder));
    }
    println!("{}", Value::Object(report));
}

fn mark(pair: &Pair) -> f64 {
    score(&pair.question, &pair.answer, &RowContext::default()).score
}

fn measure_set(pairs: &[Pair]) -> Value {
    let good: Vec<f64> = pairs.iter().map(mark).collect();
    let mut rules: BTreeMap<&str, usize> = BTreeMap::new();
    for pair in pairs {
        for reason in score(&pair.question, &pair.answer, &RowContext::default()).reasons {
            *rules.entry(reason.rule).or_default() += 1;
        }
    }
    let share_below = |limit: f64| good.iter().filter(|&&score| score < limit).count() as f64 / good.len() as f64;
    let mut areas = serde_json::Map::new();
    let long: Vec<Pair> = pairs.iter().filter(|pair| pair.answer.split_whitespace().count() >= 20).cloned().collect();
    let long_good: Vec<f64> = long.iter().map(mark).collect();
    for fault in FAULTS {
        let bad: Vec<f64> = plant(&long, fault).iter().map(mark).collect();
        let caught = bad.iter().filter(|&&score| score < 0.5).count() as f64 / bad.len().max(1) as f64;
        areas.insert(fault.to_owned(), json!({ "auc": round(area(&long_good, &bad)), "below_0.5": round(caught) }));
    }
    json!({
        "rows": pairs.len(),
        "rows_of_20_words": long.len(),
        "mean": round(good.iter().sum::<f64>() / good.len().max(1) as f64),
        "below_0.3": round(share_below(0.3)),
        "below_0.5": round(share_below(0.5)),
        "below_0.9": round(share_below(0.9)),
        "rules": rules,
        "planted": areas,
    })
}

fn worst(path: &Path) {
    let mut rows: Vec<(f64, Pair)> = read_pairs(path).into_iter().map(|pair| (mark(&pair), pair)).collect();
    rows.sort_by(|left, right| left.0.total_cmp(&right.0));
    for (score_of_row, pair) in rows.iter().take(60) {
        let rules: Vec<_> = score(&pair.question, &pair.answer, &RowContext::default())
            .reasons
            .iter()
            .map(|reason| (reason.rule, reason.measured))
            .collect();
        let end: String = pair.answer.chars().rev().take(120).collect::<Vec<_>>().into_iter().rev().collect();
        let start: String = pair.answer.chars().take(120).collect();
        let question: String = pair.question.chars().take(140).collect();
        println!("{score_of_row:.3} {rules:?}\n  Q {question:?}\n  A {start:?} ... {end:?}");
    }
}

fn measure_documents(folder: &Path) -> Value {
    let mut texts: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    if let Ok(text) = std::fs::read_to_string(folder.join("text/wikitext-2/test.txt")) {
        let lines: Vec<&str> = text.lines().filter(|line| line.trim().len() > 600).collect();
        texts.insert(
            "wikitext_4_paragraphs",
            lines
                .chunks(4)
                .map(|lines| {
                    untokenised(&lines.join(
                        "
",
                    ))
                })
                .collect(),
        );
    }
    for (name, path) in [
        ("book", "documents/12.txt"),
        ("manual_1", "documents/ARN35076-FM_7-0-000-WEB-1.pdf.txt"),
        ("manual_2", "documents/ARN36735-FM_6-22-000-WEB-1.pdf.txt"),
    ] {
        if let Ok(text) = std::fs::read_to_string(folder.join(path)) {
            texts.insert(name, vec![text]);
        }
    }
    let mut report = serde_json::Map::new();
    for (name, texts) in texts {
        let mut rules: BTreeMap<&str, usize> = BTreeMap::new();
        let mut passed = 0;
        for text in &texts {
            let reasons = check(text, &DocumentRules::default());
            passed += usize::from(reasons.is_empty());
            for reason in reasons {
                *rules.entry(reason.rule).or_default() += 1;
            }
        }
        report.insert(name.to_owned(), json!({ "texts": texts.len(), "passed": passed, "rules": rules }));
    }
    Value::Object(report)
}

fn measure_speed(folder: &Path) -> Value {
    let mut report = serde_json::Map::new();
    if let Ok(text) = std::fs::read_to_string(folder.join("text/wikitext-2/test.txt")) {
        let documents: Vec<String> = text
            .lines()
            .filter(|line| line.len() > 200)
            .collect::<Vec<_>>()
            .chunks(8)
            .map(|lines| lines.join("\n"))
            .collect();
        let bytes: usize = documents.iter().map(String::len).sum();
        report.insert(
            "documents".to_owned(),
            best_of(bytes, || documents.iter().map(|text| check(text, &DocumentRules::default()).len()).sum()),
        );
    }
    for set in ["lima/lima.json", "gsm8k/test.jsonl"] {
        let path = folder.join(set);
        if path.exists() {
            let pairs = read_pairs(&path);
            let bytes = pairs.iter().map(|pair| pair.question.len() + pair.answer.len()).sum();
            report.insert(
                format!("answers {set}"),
                best_of(bytes, || pairs.iter().map(|pair| mark(pair) as usize).sum()),
            );
        }
    }
    Value::Object(report)
}

/// MB/s of one core in the fastest of seven runs over so many bytes.
fn best_of(bytes: usize, run: impl Fn() -> usize) -> Value {
    let seconds = (0..7)
        .map(|_| {
            let (start, clock) = (on_cpu(), Instant::now());
            std::hint::black_box(run());
            match (start, on_cpu()) {
                (Some(start), Some(end)) => end - start,
                _ => clock.elapsed().as_secs_f64(),
            }
        })
        .fold(f64::INFINITY, f64::min);
    round(bytes as f64 / 1e6 / seconds)
}

/// Seconds that this process has spent on a core, where Linux tells: others may share the machine.
fn on_cpu() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/self/schedstat").ok()?;
    Some(text.split(' ').next()?.parse::<f64>().ok()? / 1e9)
}

fn round(value: f64) -> Value {
    json!((value * 10_000.0).round() / 10_000.0)
}

/// The text without the traces of a tokeniser.
fn untokenised(text: &str) -> String {
    [
        (" @-@ ", "-"),
        (" @,@ ", ","),
        (" @.@ ", "."),
        ("<unk>", "thing"),
        (" 's", "'s"),
        (" 't", "'t"),
        (" \n", "\n"),
        (" .", "."),
        (" ,", ","),
    ]
    .iter()
    .fold(text.to_owned() + "\n", |text, (from, to)| text.replace(from, to))
}
