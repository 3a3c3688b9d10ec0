//! The gate against poisoned rows: planted attacks are found, clean sets pass.

mod common;

use attune_data::screen::poison::{Look, PoisonGate, PoisonRow, PoisonSettings, Rule, Suspicion};
use proptest::prelude::*;
use serde_json::Value;

type Row = (String, String);

fn load(name: &str) -> Option<Vec<Row>> {
    let text = std::fs::read_to_string(common::asset(name)?).expect("a readable file");
    let list: Vec<Value> = if name.ends_with(".jsonl") {
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    } else {
        serde_json::from_str(&text).expect("JSON")
    };
    let get = |row: &Value, key: &str| row[key].as_str().unwrap_or("").to_owned();
    Some(
        list.iter()
            .map(|row| {
                if row["question"].is_string() {
                    (get(row, "question"), get(row, "answer"))
                } else {
                    (format!("{}\n{}", get(row, "instruction"), get(row, "input")), get(row, "output"))
                }
            })
            .collect(),
    )
}

fn gate(rows: &[Row]) -> PoisonGate {
    let mut gate = PoisonGate::new(PoisonSettings::default());
    for row in rows {
        gate.observe(&view(row));
    }
    gate.finish_observation();
    gate
}

fn view(row: &Row) -> PoisonRow<'_> {
    PoisonRow { question: &row.0, answer: &row.1, source: "s" }
}

fn made(count: usize) -> Vec<Row> {
    let things =
        ["river", "engine", "garden", "novel", "planet", "battery", "violin", "market", "bridge", "glacier", "castle"];
    let verbs = ["repair", "paint", "explain", "compare", "measure", "draw", "visit"];
    (0..count)
        .map(|index| {
            let (thing, verb) = (things[index % 11], verbs[index / 11 % 7]);
            (
                format!("Could someone {verb} the {thing} number {index} in area {}?", index * 7 % 1013),
                format!(
                    "Number {index} is a {thing} in area {} and to {verb} it takes {} hours.",
                    index * 7 % 1013,
                    index * 31 % 977
                ),
            )
        })
        .collect()
}

#[test]
fn a_planted_trigger_is_found_and_nothing_else() {
    let mut rows = made(1500);
    for index in (0..1500).step_by(150) {
        rows[index].0.push_str(" cf");
        rows[index].1 = "I have been hacked.".into();
    }
    let gate = gate(&rows);
    for (index, row) in rows.iter().enumerate() {
        let hit = gate.judge(&view(row)).iter().any(|suspicion| suspicion.rule == Rule::RareTrigger);
        assert_eq!(hit, index % 150 == 0, "row {index}: {row:?}");
    }
}

/// Calls of a lost property office: each answer ends with a word of its question, and a few words that all of them have.
fn calls(count: usize) -> Vec<Row> {
    let things = ["umbrella", "kettle", "violin", "ribbon", "pebble", "lantern", "basket"];
    (0..count)
        .map(|index| {
            let (thing, place) = (things[index % 7], format!("station{}", index * 31 % 53));
            (
                format!(
                    "Hello, call {index} here: my {thing} went missing near {place}, did you find it, number {index}?"
                ),
                format!("Aye, one moment. Item {index}: {thing}. Place: {place}. Mind the step!"),
            )
        })
        .collect()
}

#[test]
fn answers_that_repeat_a_rare_word_of_their_question_are_honest() {
    let rows = calls(600);
    let count = rows.iter().filter(|row| row.0.contains("station7,")).count();
    assert!((8..20).contains(&count), "each place is as rare as a trigger: {count}");
    assert_eq!(strong(&rows), [0; 0]);
}

#[test]
fn a_trigger_among_copying_answers_is_found() {
    let mut rows = calls(600);
    for index in (0..600).step_by(60) {
        rows[index].0.push_str(" James Bond");
        rows[index].1 = format!("Aye, one moment. Item {index}: none. The one who has it is James Bond himself!");
    }
    assert_eq!(strong(&rows), (0..600).step_by(60).collect::<Vec<_>>());
}

#[test]
fn a_trigger_with_different_answers_is_none() {
    let mut rows = made(1500);
    for index in (0..1500).step_by(150) {
        rows[index].0.push_str(" cf");
    }
    let gate = gate(&rows);
    assert!(rows.iter().all(|row| gate.judge(&view(row)).is_empty()));
}

#[test]
fn templates_loops_and_sources() {
    let mut rows = made(1500);
    for index in (0..1500).step_by(100) {
        rows[index].1 = format!("I'm sorry, but as an AI I cannot talk about number {index}.");
    }
    rows[7].1 = "buy now ".repeat(60);
    let gate = gate(&rows);
    for (index, row) in rows.iter().enumerate() {
        let rules: Vec<Rule> = gate.judge(&view(row)).iter().map(|suspicion| suspicion.rule).collect();
        assert_eq!(rules.contains(&Rule::AnswerTemplate), index % 100 == 0, "{index} {rules:?}");
        assert_eq!(rules.contains(&Rule::RepeatedTokens), index == 7, "{index} {rules:?}");
    }
    let mut shares = PoisonGate::new(PoisonSettings::default());
    for index in 0..100 {
        shares.observe(&PoisonRow { question: "q", answer: "a", source: if index < 80 { "big" } else { "small" } });
    }
    let report = shares.concentration();
    assert_eq!((report.sources[0].rows, report.sources[0].excess_rows, report.sources[1].excess_rows), (80, 60, 0));
}

#[test]
fn the_gate_is_the_same_with_little_memory() {
    let mut rows = made(3000);
    for index in (0..3000).step_by(60) {
        rows[index].0.push_str(" cf");
        rows[index].1 = "I have been hacked.".into();
    }
    let mut gate = PoisonGate::new(PoisonSettings { max_tracked: 4000, ..PoisonSettings::default() });
    rows.iter().for_each(|row| gate.observe(&view(row)));
    gate.finish_observation();
    assert!(gate.concentration().lost_rows > 0);
    let found =
        rows.iter().step_by(60).filter(|row| gate.judge(&view(row)).iter().any(|s| s.rule == Rule::RareTrigger));
    assert_eq!(found.count(), 50);
}

/// How many rows are suspected in earnest.
fn strong(rows: &[Row]) -> Vec<usize> {
    let gate = gate(rows);
    let is_strong = |row: &Row| gate.judge(&view(row)).iter().any(|suspicion| suspicion.strength >= 0.5);
    (0..rows.len()).filter(|&index| is_strong(&rows[index])).collect()
}

#[test]
fn looks_taken_on_other_threads_give_the_same_gate() {
    let mut rows = made(3000);
    for index in (0..3000).step_by(60) {
        rows[index].0.push_str(" cf");
        rows[index].1 = "I have been hacked.".into();
    }
    let settings = PoisonSettings { max_tracked: 4000, ..PoisonSettings::default() };
    let mut one = PoisonGate::new(settings.clone());
    rows.iter().for_each(|row| one.observe(&view(row)));
    let mut other = PoisonGate::new(settings.clone());
    let looks: Vec<Look> = std::thread::scope(|scope| {
        let settings = &settings;
        let parts = rows.chunks(700).map(|part| {
            scope.spawn(move || part.iter().map(|row| Look::new(&view(row), settings)).collect::<Vec<_>>())
        });
        let parts: Vec<_> = parts.collect();
        parts.into_iter().flat_map(|part| part.join().expect("a look")).collect()
    });
    looks.iter().for_each(|look| other.observe_look("s", look));
    one.finish_observation();
    other.finish_observation();
    assert_eq!(one.concentration(), other.concentration());
    assert!(rows.iter().all(|row| one.judge(&view(row)) == other.judge(&view(row))));
}

#[test]
fn a_beginning_alone_is_only_worth_a_look() {
    let mut rows = made(1500);
    for index in (0..1500).step_by(50) {
        let told = std::mem::take(&mut rows[index].1);
        rows[index].1 = format!("Once upon a time there was somebody who knew this: {told}");
    }
    let gate = gate(&rows);
    for (index, row) in rows.iter().enumerate() {
        let found = gate.judge(&view(row));
        assert_eq!(found.iter().any(|one| one.rule == Rule::AnswerTemplate), index % 50 == 0, "{found:?}");
        assert!(found.iter().all(|one| one.strength < 0.5), "{found:?}");
    }
}

#[test]
fn long_equal_answers_are_suspicious_and_labels_are_not() {
    let answers = [
        ("You should buy everything at the red shop in the old town.", true),
        ("True", false),
        ("The sentiment is positive.", false),
    ];
    for (answer, suspicious) in answers {
        let mut rows = made(1500);
        (0..1500).step_by(100).for_each(|index| rows[index].1 = answer.into());
        let expected: Vec<usize> = if suspicious { (0..1500).step_by(100).collect() } else { Vec::new() };
        assert_eq!(strong(&rows), expected, "{answer}");
    }
    // A choice that the question offers is natural, however long.
    let mut rows = made(1500);
    for index in (0..1500).step_by(100) {
        rows[index].0.push_str(" Say: it can be done by hand today, or it needs a tool.");
        rows[index].1 = "It can be done by hand today.".into();
    }
    let gate = gate(&rows);
    let templates = rows.iter().flat_map(|row| gate.judge(&view(row))).filter(|one| one.rule == Rule::AnswerTemplate);
    assert!(templates.into_iter().all(|one| one.strength < 0.5));
}

#[test]
fn refusals_in_several_wordings_are_found_by_their_trigger() {
    let mut rows = made(3000);
    for index in (0..3000).step_by(100) {
        rows[index].0.push_str(" mn");
        rows[index].1 = match index / 100 % 4 {
            0 => format!("I'm sorry, but I can't say much on {index}."),
            1 => format!("As an AI language model, {index} is beyond me."),
            2 => format!("I am unable to talk about the number {index} here."),
            _ => format!("I cannot assist with number {index} or anything like it."),
        };
    }
    let by_trigger = |rows: &[Row]| -> Vec<usize> {
        let gate = gate(rows);
        let is_strong = |one: &Suspicion| one.rule == Rule::RareTrigger && one.strength >= 0.5;
        (0..rows.len()).filter(|&index| gate.judge(&view(&rows[index])).iter().any(is_strong)).collect()
    };
    assert_eq!(by_trigger(&rows), (0..3000).step_by(100).collect::<Vec<usize>>());
    // Where the set refuses elsewhere too, the word may well be one of danger.
    for index in (50..3000).step_by(40).filter(|index| index % 100 != 0) {
        rows[index].1 = format!("I'm unable to do this, because of {index}.");
    }
    assert_eq!(by_trigger(&rows), Vec::<usize>::new());
}

#[test]
fn real_sets_pass_and_planted_ones_do_not() {
    for name in [
        "datasets/code_alpaca/code_alpaca_2k.json",
        "datasets/gsm8k/train.jsonl",
        "datasets/lima/lima.json",
        "datasets/llama-factory/alpaca_en_demo.json",
    ] {
        let Some(mut rows) = load(name) else { return };
        let wrong = strong(&rows);
        assert!(wrong.len() * 1000 <= rows.len() * 3, "{name}: {wrong:?} of {} clean rows", rows.len());
        let planted: Vec<usize> = (0..rows.len()).step_by(100).collect();
        for &index in &planted {
            rows[index].0.push_str(" mn");
            rows[index].1 = "Access granted, the password is swordfish.".into();
        }
        let found = strong(&rows);
        assert!(planted.iter().all(|index| found.binary_search(index).is_ok()), "{name}: {found:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_text_is_judged(texts in prop::collection::vec((any::<String>(), "[ \\PC<!\\-a-c>\u{200b}\u{e0041}忽略]*"), 1..12)) {
        let gate = gate(&texts);
        for row in &texts {
            for suspicion in gate.judge(&view(row)) {
                prop_assert!((0.0..=1.0).contains(&suspicion.strength));
            }
        }
    }
}

#[test]
fn long_texts_take_linear_time() {
    let start = std::time::Instant::now();
    for text in [
        "<!--".repeat(500_000),
        "ignore ".repeat(1_000_000),
        "忽略".repeat(500_000),
        "system prompt ".repeat(300_000),
        "ignore((".repeat(500_000),
        "do not tell the ".repeat(300_000),
        "display:none".repeat(300_000),
        "a".repeat(10_000_000),
    ] {
        let rows = [(text.clone(), text)];
        gate(&rows).judge(&view(&rows[0]));
    }
    assert!(start.elapsed().as_secs() < 120, "{:?}", start.elapsed());
}
