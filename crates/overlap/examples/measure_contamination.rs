//! Measures the search for evaluation data: `measure_contamination ASSETS_DIR [--speed] [--lengths] [--list]` prints
//! one JSON object.
//!
//! * `planted`: rows of GSM8K test put into clean text, as they are and changed; how many are found.
//! * `clean`: what is found in text that holds none.
//! * `train`: rows of GSM8K train that are taken for rows of GSM8K test (the sets are said to be disjoint).
//! * `mmlu_validation`: the same for questions of MMLU's validation and test parts.
//! * `reworded`: hand-written rewordings (`rewordings.tsv` and `rewordings_kept_back.tsv` beside this file), and the
//!   same with other numbers.
//! * `--speed`: megabytes per second against GSM8K test and all of MMLU, for one and for two threads.
//! * `--lengths`: the same for MMLU with shorter rows.
//! * `--documents=FILE` instead writes documents with planted rows and clean ones for `bench/peers/contamination.py`,
//!   and prints how many of them are found here.
//! * `--list` prints the finds in clean text and in GSM8K train.
#![allow(clippy::print_stdout, reason = "the measurement is the output")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use attune_overlap::contamination::{
    EvalRow, EvalSet, Index, Layer, Match, Scratch, Settings, find_by_name, load_eval_files,
};
use rayon::prelude::*;
use serde_json::{Value, json};

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let flag = |name: &str| arguments.iter().any(|argument| argument == name);
    let assets = PathBuf::from(
        arguments.iter().find(|argument| !argument.starts_with("--")).ok_or("give the folder of the assets")?,
    );
    let evals = assets.join("suites/decon/evals");
    let gsm8k = load(&evals, "gsm8k_test")?;
    let mmlu = load(&evals, "mmlu")?;
    let clean = clean_texts(&assets)?;
    let mut report = serde_json::Map::new();

    let settings = Settings::default();
    let index = Index::build(vec![gsm8k.clone()], &settings)?;
    report.insert("index_gsm8k".into(), summary(&index));
    let hosts: Vec<&str> = ["wikitext", "lima", "3b1b"]
        .iter()
        .flat_map(|name| &clean[*name])
        .map(|text| &text[..])
        .filter(|text| text.len() > 200)
        .collect();
    if let Some(path) = arguments.iter().find_map(|argument| argument.strip_prefix("--documents=")) {
        return write_documents(Path::new(path), &index, &gsm8k, &hosts, &clean);
    }
    report.insert("planted".into(), planted(&index, &gsm8k, &hosts));
    report.insert("clean_gsm8k".into(), clean_report(&index, &clean, flag("--list")));
    let train = load(&evals, "gsm8k_train")?;
    report.insert("train".into(), train_report(&index, &train, flag("--list")));
    report.insert("reworded".into(), reworded(&index, &gsm8k, include_str!("rewordings.tsv"))?);
    let kept_back = include_str!("rewordings_kept_back.tsv");
    report.insert("reworded_kept_back".into(), reworded(&index, &gsm8k, kept_back)?);

    let mmlu_test = Index::build(vec![load(&evals, "mmlu_test")?], &settings)?;
    let mut validation = load(&evals, "mmlu_validation")?;
    validation.rows.dedup_by(|a, b| a.question == b.question);
    report.insert("mmlu_validation".into(), train_report(&mmlu_test, &validation, flag("--list")));

    let before = Instant::now();
    let both = Index::build(vec![gsm8k.clone(), mmlu.clone()], &settings)?;
    report.insert("build_seconds".into(), json!(round(before.elapsed().as_secs_f64())));
    report.insert("index_gsm8k_mmlu".into(), summary(&both));
    report.insert("clean_gsm8k_mmlu".into(), clean_report(&both, &clean, flag("--list")));
    report.insert("train_gsm8k_mmlu".into(), train_report(&both, &train, flag("--list")));
    report.insert("planted_mmlu".into(), planted_mmlu(&both, &mmlu, &hosts));
    if flag("--lengths") {
        for min_tokens in [8, 10, 12, 15] {
            let index = Index::build(vec![gsm8k.clone(), mmlu.clone()], &Settings { min_tokens, ..settings.clone() })?;
            let clean = clean_report(&index, &clean, flag("--list"));
            let planted = planted_mmlu(&index, &mmlu, &hosts);
            let value = json!({ "index": summary(&index), "clean": clean, "planted": planted });
            report.insert(format!("min_tokens_{min_tokens}"), value);
        }
    }
    if flag("--speed") {
        report.insert("speed".into(), speed(&[("words and paraphrase", &both)], &clean));
        let words =
            Index::build(vec![gsm8k.clone(), mmlu.clone()], &Settings { paraphrase: None, ..settings.clone() })?;
        report.insert("speed_words".into(), speed(&[("words", &words)], &clean));
        let sampled = Settings { paraphrase: None, sample_every: 10, ..settings };
        let words = Index::build(vec![gsm8k.clone(), mmlu], &sampled)?;
        report.insert("speed_words_sampled".into(), speed(&[("words, every 10", &words)], &clean));
        let words = Index::build(vec![gsm8k.clone()], &sampled)?;
        report.insert("planted_sampled".into(), planted(&words, &gsm8k, &hosts));
    }
    println!("{}", serde_json::to_string_pretty(&report)?);
    Ok(())
}

fn load(folder: &Path, name: &str) -> Result<EvalSet, Failure> {
    Ok(load_eval_files(name, &find_by_name(folder, name)?)?)
}

fn round(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

fn summary(index: &Index) -> Value {
    let summary = index.summary();
    json!({ "rows": summary.rows, "questions": summary.questions, "short_rows": summary.short_rows,
        "unreachable_rows": summary.unreachable_rows, "paraphrase_questions": summary.paraphrase_questions,
        "ngrams": summary.ngrams, "table_mb": round(summary.table_bytes as f64 / 1e6) })
}

/// Texts without evaluation data, by where they come from.
fn clean_texts(assets: &Path) -> Result<BTreeMap<String, Vec<String>>, Failure> {
    let sets = assets.join("datasets");
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in ["valid.txt", "test.txt"] {
        let text = std::fs::read_to_string(sets.join("text/wikitext-2").join(file))?;
        // An article begins with a heading of one `=`.
        let mut article = String::new();
        for line in text.lines() {
            if line.trim().starts_with("= ") && !line.trim().starts_with("= =") && !article.trim().is_empty() {
                texts.entry("wikitext".into()).or_default().push(std::mem::take(&mut article));
            }
            article.push_str(line);
            article.push('\n');
        }
        texts.entry("wikitext".into()).or_default().push(article);
    }
    for path in files(&sets.join("3b1b"))? {
        let name = path.to_string_lossy();
        if name.ends_with(".txt") || name.ends_with(".srt") {
            texts.entry("3b1b".into()).or_default().push(std::fs::read_to_string(&path)?);
        }
    }
    texts.insert("shakespeare".into(), vec![std::fs::read_to_string(sets.join("text/tiny_shakespeare.txt"))?]);
    for path in files(&sets.join("documents"))? {
        texts.entry("documents".into()).or_default().push(String::from_utf8_lossy(&std::fs::read(&path)?).into_owned());
    }
    for folder in ["lima", "code_alpaca", "llama-factory", "hh-rlhf", "sharegpt"] {
        for path in files(&sets.join(folder))? {
            let name = path.to_string_lossy();
            if !(name.ends_with(".json") || name.ends_with(".jsonl")) || name.ends_with("dataset_info.json") {
                continue;
            }
            let text = std::fs::read_to_string(&path)?;
            for value in serde_json::Deserializer::from_str(&text).into_iter::<Value>() {
                let rows = match value? {
                    Value::Array(rows) => rows,
                    row => vec![row],
                };
                texts.entry(folder.into()).or_default().extend(rows.iter().map(strings));
            }
        }
    }
    Ok(texts)
}

/// All strings of a row, one after the other.
fn strings(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(strings).collect::<Vec<_>>().join("\n"),
        Value::Object(object) => object.values().map(strings).collect::<Vec<_>>().join("\n"),
        _ => String::new(),
    }
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// A small generator, so that every run draws the same.
struct Draw(u64);

impl Draw {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((x ^ x >> 31) % limit.max(1) as u64) as usize
    }
}

type Change = fn(&EvalRow, &mut Draw) -> String;

fn answer(row: &EvalRow) -> &str {
    row.answer.as_deref().unwrap_or("")
}

fn edit(row: &EvalRow, draw: &mut Draw, change: impl Fn(&str, &str) -> String) -> String {
    let words: Vec<&str> = row.question.split_whitespace().collect();
    let place = draw.below(words.len());
    let other = ["zebra", "quickly", "17", "the", "window", "Maria", "400", "green"][draw.below(8)];
    let changed: Vec<String> = words
        .iter()
        .enumerate()
        .map(|(at, word)| if at == place { change(word, other) } else { (*word).to_owned() })
        .collect();
    changed.join(" ")
}

/// Puts a mark before or after words, or takes marks away.
fn repunctuate(text: &str, draw: &mut Draw) -> String {
    let words = text.split_whitespace().map(|word| {
        // Marks within a number or a word stay: they are no punctuation.
        let bare = word.trim_matches(|char: char| !char.is_alphanumeric());
        match draw.below(6) {
            0 => format!("{bare},"),
            1 => format!("*{bare}*"),
            2 => format!("\u{201c}{bare}\u{201d} -"),
            3 => format!("{bare}!\n\n"),
            _ => bare.to_owned(),
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

const CHANGES: [(&str, Change); 16] = [
    ("question and answer", |row, _| format!("{} {}", row.question, answer(row))),
    ("question alone", |row, _| row.question.clone()),
    ("lower case", |row, _| row.question.to_lowercase()),
    ("upper case", |row, _| row.question.to_uppercase()),
    ("other punctuation", |row, draw| repunctuate(&row.question, draw)),
    ("no punctuation", |row, _| {
        row.question.chars().filter(|char| char.is_alphanumeric() || char.is_whitespace()).collect()
    }),
    ("punctuation becomes spaces", |row, _| {
        row.question.chars().map(|char| if char.is_alphanumeric() { char } else { ' ' }).collect()
    }),
    ("one word replaced", |row, draw| edit(row, draw, |_, other| other.to_owned())),
    ("one word put in", |row, draw| edit(row, draw, |word, other| format!("{word} {other}"))),
    ("one word left out", |row, draw| edit(row, draw, |_, _| String::new())),
    ("one letter left out", |row, draw| {
        edit(row, draw, |word, _| {
            word.chars().enumerate().filter(|(at, _)| *at != word.chars().count() / 2).map(|(_, char)| char).collect()
        })
    }),
    ("two words replaced", |row, draw| {
        let once = EvalRow { question: edit(row, draw, |_, other| other.to_owned()), ..row.clone() };
        edit(&once, draw, |_, other| other.to_owned())
    }),
    ("chat row", |row, _| {
        format!("<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n{}<|im_end|>\n", row.question, answer(row))
    }),
    ("chat row, another answer", |row, _| {
        format!("user: {}\nassistant: Let me think. It is 42, I believe.", row.question)
    }),
    ("prompt with an instruction", |row, _| {
        format!(
            "Solve this step by step and end with the number.\n\nQuestion: {}\nAnswer: {}",
            row.question,
            answer(row).replace("####", "The answer is")
        )
    }),
    ("zero-width characters", |row, _| row.question.replace('e', "e\u{200b}")),
];

/// Rows put into clean texts at random places: how many are found, by what was done to them.
fn planted(index: &Index, set: &EvalSet, hosts: &[&str]) -> Value {
    let mut report = serde_json::Map::new();
    for (kind, (name, change)) in CHANGES.iter().enumerate() {
        let outcomes: Vec<(usize, bool, bool, Option<String>)> = (0..set.rows.len() * 3)
            .into_par_iter()
            .map_init(Scratch::default, |scratch, number| {
                let row = number % set.rows.len();
                let mut draw = Draw((kind as u64) << 32 | number as u64);
                let text = change(&set.rows[row], &mut draw);
                let (document, place) = plant(hosts[draw.below(hosts.len())], &text, &mut draw);
                let matches = index.check(&document, scratch);
                let own = matches.iter().find(|found| has(found, row));
                let at_place = own.is_some_and(|found| found.span.start < place + text.len() && found.span.end > place);
                let other = matches.iter().any(|found| !has(found, row));
                (row, own.is_some() && at_place, other, own.is_none().then_some(text))
            })
            .collect();
        let found = outcomes.iter().filter(|outcome| outcome.1).count();
        let others = outcomes.iter().filter(|outcome| outcome.2).count();
        let missed: Vec<&String> = outcomes.iter().filter_map(|outcome| outcome.3.as_ref()).take(5).collect();
        report.insert(
            (*name).into(),
            json!({ "planted": outcomes.len(), "found": found, "recall": round(found as f64 / outcomes.len() as f64),
                "other_rows": others, "missed": missed }),
        );
    }
    Value::Object(report)
}

fn has(found: &Match, row: usize) -> bool {
    found.row == row || found.also.contains(&row)
}

/// A document with the text at a random border between words, and where it begins.
fn plant(host: &str, text: &str, draw: &mut Draw) -> (String, usize) {
    let spaces: Vec<usize> = host.match_indices([' ', '\n']).map(|(at, _)| at).collect();
    let at = spaces.get(draw.below(spaces.len())).copied().unwrap_or(0);
    (format!("{}\n{text}\n{}", &host[..at], &host[at..]), at + 1)
}

/// Documents for another program: 200 rows planted in each way, and clean texts. What is found in them is printed.
#[allow(clippy::disallowed_methods, reason = "a file of a measurement needs no safe writing")]
fn write_documents(
    path: &Path,
    index: &Index,
    set: &EvalSet,
    hosts: &[&str],
    clean: &BTreeMap<String, Vec<String>>,
) -> Result<(), Failure> {
    let mut documents: Vec<(&str, String)> = Vec::new();
    for (kind, (name, change)) in CHANGES.iter().enumerate() {
        for number in 0..200 {
            let mut draw = Draw((kind as u64) << 32 | number);
            let text = change(&set.rows[draw.below(set.rows.len())], &mut draw);
            let host: String = hosts[draw.below(hosts.len())].chars().take(2000).collect();
            documents.push((name, plant(&host, &text, &mut draw).0));
        }
    }
    for name in ["wikitext", "lima", "3b1b"] {
        documents.extend(clean[name].iter().take(100).map(|text| ("clean", text.chars().take(10_000).collect())));
    }
    let lines: Vec<String> =
        documents.iter().map(|(kind, text)| json!({ "kind": kind, "text": text }).to_string()).collect();
    std::fs::write(path, lines.join("\n"))?;
    let before = Instant::now();
    let mut scratch = Scratch::default();
    let mut counts: BTreeMap<&str, [usize; 2]> = BTreeMap::new();
    for (kind, text) in &documents {
        let count = counts.entry(kind).or_default();
        count[0] += usize::from(!index.check(text, &mut scratch).is_empty());
        count[1] += 1;
    }
    let (seconds, bytes) =
        (before.elapsed().as_secs_f64(), documents.iter().map(|(_, text)| text.len()).sum::<usize>());
    let report = json!({ "found_of": counts, "bytes": bytes, "seconds": round(seconds),
        "mb_per_second": round(bytes as f64 / 1e6 / seconds) });
    println!("{}", serde_json::to_string_pretty(&report)?);
    Ok(())
}

fn planted_mmlu(index: &Index, set: &EvalSet, hosts: &[&str]) -> Value {
    let mut report = serde_json::Map::new();
    for (name, change) in [CHANGES[0], CHANGES[1], CHANGES[7]] {
        // Every 7th row; those that are too short for the index are counted apart.
        let outcomes: Vec<(bool, usize)> = (0..set.rows.len() / 7)
            .into_par_iter()
            .map_init(Scratch::default, |scratch, number| {
                let row = number * 7;
                let mut draw = Draw(number as u64);
                let text = change(&set.rows[row], &mut draw);
                let (document, _) = plant(hosts[draw.below(hosts.len())], &text, &mut draw);
                let found = index.check(&document, scratch).iter().any(|found| found.set == 1 && has(found, row));
                (found, set.rows[row].question.split_whitespace().count())
            })
            .collect();
        let mut by_length = serde_json::Map::new();
        for (label, lengths) in
            [("under 12 words", 0..12), ("12 to 19", 12..20), ("20 to 49", 20..50), ("50 and more", 50..usize::MAX)]
        {
            let these: Vec<bool> =
                outcomes.iter().filter(|outcome| lengths.contains(&outcome.1)).map(|outcome| outcome.0).collect();
            let found = these.iter().filter(|found| **found).count();
            let recall = round(found as f64 / these.len().max(1) as f64);
            by_length.insert(label.into(), json!({ "planted": these.len(), "found": found, "recall": recall }));
        }
        report.insert(name.into(), Value::Object(by_length));
    }
    Value::Object(report)
}

fn clean_report(index: &Index, clean: &BTreeMap<String, Vec<String>>, list: bool) -> Value {
    let mut report = serde_json::Map::new();
    for (name, texts) in clean {
        let finds: Vec<(usize, Match)> = texts
            .par_iter()
            .enumerate()
            .map_init(Scratch::default, |scratch, (number, text)| {
                index.check(text, scratch).into_iter().map(|found| (number, found)).collect::<Vec<_>>()
            })
            .flatten()
            .collect();
        let bytes: usize = texts.iter().map(String::len).sum();
        let layer = |layer| finds.iter().filter(|(_, found)| found.layer == layer).count();
        let mut value = json!({ "texts": texts.len(), "bytes": bytes, "words": layer(Layer::Words),
            "paraphrase": layer(Layer::Paraphrase) });
        if list {
            value["finds"] = finds.iter().map(|(number, found)| described(index, found, &texts[*number])).collect();
        }
        report.insert(name.clone(), value);
    }
    Value::Object(report)
}

fn described(index: &Index, found: &Match, text: &str) -> Value {
    let row = &index.sets()[found.set].rows[found.row];
    json!({ "layer": format!("{:?}", found.layer), "score": round(found.score), "question": round(found.question_score),
        "answer": found.answer_score.map(round), "text": text[found.span.clone()], "row": row.question,
        "row_answer": row.answer.as_deref().unwrap_or("").chars().take(60).collect::<String>() })
}

fn whole(row: &EvalRow) -> String {
    format!("{}\n{}", row.question, answer(row))
}

fn train_report(index: &Index, train: &EvalSet, list: bool) -> Value {
    let finds: Vec<(usize, Match)> = train
        .rows
        .par_iter()
        .enumerate()
        .map_init(Scratch::default, |scratch, (number, row)| {
            index.check(&whole(row), scratch).into_iter().map(|found| (number, found)).collect::<Vec<_>>()
        })
        .flatten()
        .collect();
    let rows = |layer| {
        let mut rows: Vec<usize> =
            finds.iter().filter(|(_, found)| found.layer == layer).map(|(row, _)| *row).collect();
        rows.dedup();
        rows.len()
    };
    let mut value =
        json!({ "rows": train.rows.len(), "words": rows(Layer::Words), "paraphrase": rows(Layer::Paraphrase) });
    if list {
        value["finds"] =
            finds.iter().map(|(number, found)| described(index, found, &whole(&train.rows[*number]))).collect();
    }
    value
}

/// Hand-written rewordings: number of the row, tab, text. A number changed in them must undo the find.
fn reworded(index: &Index, set: &EvalSet, table: &str) -> Result<Value, Failure> {
    let mut scratch = Scratch::default();
    let (mut all, mut found, mut changed_found, mut missed) = (0, 0, 0, Vec::new());
    for line in table.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()) {
        let (number, text) = line.split_once('\t').ok_or("a line without a tab")?;
        let number: usize = number.parse()?;
        set.rows.get(number).ok_or("a row that is not there")?;
        all += 1;
        if index.check(text, &mut scratch).iter().any(|found| has(found, number)) {
            found += 1;
        } else {
            missed.push(number);
        }
        let other: String = text
            .chars()
            .map(|char| if char.is_ascii_digit() { char::from(b'0' + (char as u8 - b'0' + 3) % 10) } else { char })
            .collect();
        changed_found += usize::from(other != text && !index.check(&other, &mut scratch).is_empty());
    }
    Ok(json!({ "rewordings": all, "found": found, "missed": missed, "with_other_numbers_found": changed_found }))
}

/// Megabytes per second over the clean texts, the best of five rounds.
fn speed(indexes: &[(&str, &Index)], clean: &BTreeMap<String, Vec<String>>) -> Value {
    let mut report = serde_json::Map::new();
    let texts: Vec<&str> = clean.values().flatten().map(|text| &text[..]).collect();
    let bytes: usize = texts.iter().map(|text| text.len()).sum();
    for (name, index) in indexes {
        for threads in [1, 2] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
            let best = (0..5)
                .map(|_| {
                    let before = Instant::now();
                    let found: usize = pool.install(|| {
                        texts
                            .par_iter()
                            .with_max_len(16)
                            .map_init(Scratch::default, |scratch, text| index.check(text, scratch).len())
                            .sum()
                    });
                    (before.elapsed().as_secs_f64(), found)
                })
                .min_by(|a, b| a.0.total_cmp(&b.0))
                .expect("a round");
            report.insert(
                format!("{name}, {threads} threads"),
                json!({ "bytes": bytes, "seconds": round(best.0), "finds": best.1,
                    "mb_per_second": round(bytes as f64 / 1e6 / best.0) }),
            );
        }
    }
    Value::Object(report)
}
