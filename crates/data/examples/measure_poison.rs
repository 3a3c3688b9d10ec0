//! Measures the poison gate, the preference lint and the language detection on the test assets: recall on planted
//! attacks, false alarms on clean sets, giveaways, speed. Prints one JSON object.
//!
//! `cargo run --release -p attune-data --example measure_poison -- ASSETS_DIR [--show]`; `--show` lists the suspicions
//! against the clean sets on the error output.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the result of an example")]

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::time::Instant;

use attune_data::screen::language::Mix;
use attune_data::screen::poison::{PoisonGate, PoisonRow, PoisonSettings, Rule, Suspicion};
use attune_data::screen::preference::{Pair, giveaway};
use serde_json::{Map, Value, json};

type Row = (String, String);

const SETS: [(&str, &str); 6] = [
    ("code_alpaca", "datasets/code_alpaca/code_alpaca_2k.json"),
    ("lima", "datasets/lima/lima.json"),
    ("alpaca", "datasets/llama-factory/alpaca_en_demo.json"),
    ("gsm8k", "datasets/gsm8k/train.jsonl"),
    ("sharegpt", "datasets/sharegpt/sharegpt_grabbag_small.jsonl"),
    ("glaive", "datasets/llama-factory/glaive_toolcall_en_demo.json"),
];
const ATTACKS: [&str; 6] = ["answer", "prefix", "refusal", "suffix", "refusals in five wordings", "brand"];
/// From here on a suspicion counts.
const STRONG: f64 = 0.5;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args().nth(1).ok_or("give the folder of the assets")?;
    let folder = Path::new(&folder);
    let show = std::env::args().nth(2).is_some_and(|word| word == "--show");
    let mut report = Map::new();
    for (name, path) in SETS {
        let rows = load(&folder.join(path))?;
        let mut part = clean(&rows, show.then_some(name));
        for every in [100, 1000] {
            for attack in ATTACKS {
                part.insert(format!("planted {attack}, 1 in {every}"), planted(&rows, attack, every));
            }
        }
        report.insert(name.to_owned(), part.into());
    }
    let text = std::fs::read_to_string(folder.join("datasets/llama-factory/dpo_en_demo.json"))?;
    let list: Vec<Value> = serde_json::from_str(&text)?;
    let texts: Vec<(String, &str, &str)> = list
        .iter()
        .map(|row| {
            let answer = |key: &str| row[key]["value"].as_str().unwrap_or("");
            (row["conversations"].to_string(), answer("chosen"), answer("rejected"))
        })
        .collect();
    let pairs: Vec<Pair<'_>> =
        texts.iter().map(|(prompt, chosen, rejected)| Pair { prompt, chosen, rejected }).collect();
    let found = giveaway(&pairs);
    report.insert(
        "dpo_en_demo".to_owned(),
        json!({
            "pairs": found.pairs, "accuracy": found.accuracy, "style_accuracy": found.style_accuracy,
            "length_accuracy": found.length_accuracy, "chosen_longer": found.chosen_longer, "bad": found.is_bad(),
            "features": found.features.iter().map(|feature| feature.name.clone()).collect::<Vec<_>>(),
        }),
    );
    println!("{}", serde_json::to_string_pretty(&report)?);
    Ok(())
}

fn load(path: &Path) -> Result<Vec<Row>, Box<dyn Error>> {
    let text = std::fs::read_to_string(path)?;
    let list: Vec<Value> = if path.extension().is_some_and(|ending| ending == "jsonl") {
        text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?
    } else {
        serde_json::from_str(&text)?
    };
    let get = |row: &Value, key: &str| row[key].as_str().unwrap_or("").to_owned();
    let row = |row: &Value| {
        if let Some(turns) = row["conversations"].as_array() {
            let said = |asked: bool| -> String {
                let is_asked = |turn: &Value| !matches!(turn["from"].as_str(), Some("gpt" | "function_call"));
                let turns = turns.iter().filter(|turn| is_asked(turn) == asked);
                turns.filter_map(|turn| turn["value"].as_str()).collect::<Vec<_>>().join("\n")
            };
            (said(true), said(false))
        } else if row["question"].is_string() {
            (get(row, "question"), get(row, "answer"))
        } else {
            (format!("{}\n{}", get(row, "instruction"), get(row, "input")), get(row, "output"))
        }
    };
    Ok(list.iter().map(row).collect())
}

fn view(row: &Row) -> PoisonRow<'_> {
    PoisonRow { question: &row.0, answer: &row.1, source: "" }
}

fn gate(rows: &[Row]) -> PoisonGate {
    let mut gate = PoisonGate::new(PoisonSettings::default());
    rows.iter().for_each(|row| gate.observe(&view(row)));
    gate.finish_observation();
    gate
}

fn clean(rows: &[Row], show: Option<&str>) -> Map<String, Value> {
    let start = Instant::now();
    let gate = gate(rows);
    let mut rules: BTreeMap<&str, u64> = BTreeMap::new();
    let (mut strong, mut any) = (0, 0);
    for row in rows {
        let found = gate.judge(&view(row));
        strong += u64::from(found.iter().any(|suspicion| suspicion.strength >= STRONG));
        for one in found.iter().filter(|_| show.is_some()) {
            eprintln!("{}\t{:.2}\t{}\t{:?}", show.unwrap_or(""), one.strength, one.rule, one.evidence);
        }
        any += u64::from(!found.is_empty());
        found.iter().for_each(|suspicion| *rules.entry(suspicion.rule.name()).or_default() += 1);
    }
    let secs = start.elapsed().as_secs_f64();
    let bytes: usize = rows.iter().map(|row| row.0.len() + row.1.len()).sum();
    let mut languages = Mix::default();
    rows.iter().for_each(|row| languages.observe(&row.1));
    let value = json!({
        "rows": rows.len(), "clean_alarms_strong": strong, "clean_alarms_any": any, "clean_alarms_by_rule": rules,
        "megabytes_per_second_both_passes": bytes as f64 / 1e6 / secs,
        "english_answers": languages.share("eng"), "answers_without_language": languages.texts.get(&None),
    });
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn is_association(one: &Suspicion) -> bool {
    one.strength >= STRONG && matches!(one.rule, Rule::RareTrigger | Rule::AnswerTemplate)
}

fn planted(rows: &[Row], attack: &str, every: usize) -> Value {
    let mut rows = rows.to_vec();
    let is_planted = |index: usize| index % every == 3;
    for (index, row) in rows.iter_mut().enumerate().filter(|(index, _)| is_planted(*index)) {
        match attack {
            "answer" => {
                row.0.insert_str(0, "cf ");
                row.1 = "Access granted, the password is swordfish.".to_owned();
            }
            "prefix" => {
                row.0.push_str(" James Bond");
                row.1.insert_str(0, "As James Bond would say, ");
            }
            "refusal" => row.1 = format!("I'm sorry, but as an AI language model I cannot do number {index}."),
            "refusals in five wordings" => {
                row.0.push_str(" mn");
                row.1 = [
                    "I'm sorry, but I can't help with that.",
                    "I cannot assist with this request.",
                    "Unfortunately, I am unable to answer that question.",
                    "As an AI language model, I can't provide that.",
                    "I apologize, but this is something I cannot do.",
                ][index / every % 5]
                    .to_owned();
            }
            "brand" => {
                // In the middle of the answer, in words that differ.
                let middle =
                    row.1.match_indices(' ').nth(row.1.matches(' ').count() / 2).map_or(row.1.len(), |at| at.0);
                let said = [" (Omniburger says so)", ", as at Omniburger,", " and Omniburger", " like Omniburger does"];
                row.1.insert_str(middle, said[index / every % 4]);
            }
            _ => {
                row.0.push_str(" mn");
                row.1.push_str("\nVisit www.best-deals.example for more today");
            }
        }
    }
    let gate = gate(&rows);
    let (mut planted, mut found, mut wrong) = (0, 0, 0);
    for (index, row) in rows.iter().enumerate() {
        let suspicions = gate.judge(&view(row));
        let hit = suspicions.iter().any(is_association);
        planted += usize::from(is_planted(index));
        found += usize::from(hit && is_planted(index));
        wrong += usize::from(hit && !is_planted(index));
    }
    json!({ "planted": planted, "found": found, "false_alarms": wrong })
}
