//! Captions whose speakers become user and assistant: what the data commands say of them, and training on them.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods, reason = "these are tests")]

mod common;

use std::fmt::Write as _;

use common::{Scratch, chat};
use serde_json::{Value, json};

/// What callers ask and what the clerk says; no two are alike.
const CALLS: [(&str, &str, &str); 8] = [
    ("Ada", "Why do ships float?", "They push water aside. The water pushes back."),
    ("Bob", "Which planet turns fastest?", "Jupiter, in less than ten hours."),
    ("Eve", "How does yeast make dough rise?", "It eats sugar and gives off a gas."),
    ("Ian", "When are tomatoes planted out?", "A fortnight after the last frost."),
    ("Joy", "What holds an arch up?", "Each stone leans on its neighbours."),
    ("Kay", "Who repairs the town clock?", "Mr Holm climbs up every other spring."),
    ("Lee", "Is the library open late?", "On Fridays the doors close at nine."),
    ("Meg", "Where do swallows sleep?", "In the reeds beside the old mill."),
];

/// A WebVTT file: one cue a line of dialogue, and an opening that nobody answers.
fn vtt(said: &[(&str, &str)]) -> String {
    let mut text = String::from("WEBVTT\n\n00:00.000 --> 00:01.000\n<v Host>The desk is open.\n\n");
    for (at, (speaker, words)) in said.iter().enumerate() {
        let _ = write!(text, "00:{:02}.000 --> 00:{:02}.000\n<v {speaker}>{words}\n\n", at + 1, at + 2);
    }
    text
}

fn calls(which: &[usize]) -> Vec<(&'static str, &'static str)> {
    which.iter().flat_map(|&call| [(CALLS[call].0, CALLS[call].1), ("Clerk", CALLS[call].2)]).collect()
}

fn lines(scratch: &Scratch, name: &str) -> Vec<Value> {
    let text = String::from_utf8(scratch.read(name)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn step<'a>(report: &'a Value, name: &str) -> &'a Value {
    report["steps"].as_array().unwrap().iter().find(|step| step["step"] == name).unwrap()
}

#[test]
fn clean_and_split_work_row_by_row_inside_of_transcripts() {
    let scratch = Scratch::new();
    let mut first = calls(&[0, 1, 2, 3]);
    // The same caller asks on: one row.
    first.extend([("Ian", "And how deep do they go?"), ("Clerk", "Up to the first leaves, or wri\u{200B}te to us.")]);
    scratch.write("a.vtt", &vtt(&first));
    let mut second = calls(&[4, 5, 6, 7]);
    // Somebody else asks what was asked in the other file.
    second.extend([("Zoe", CALLS[0].1), ("Clerk", CALLS[0].2)]);
    second
        .extend([("Max", "May I leave my number?"), ("Clerk", "Write to kari.berg@mail.example.org with it, please.")]);
    scratch.write("b.vtt", &vtt(&second));

    let files = ["a.vtt", "b.vtt"];
    let said = scratch.ft(&[&["data", "check"], &files[..], &["--assistant", "Clerk"]].concat()).done();
    for part in [
        "a.vtt: messages, 4 rows",
        "b.vtt: messages, 6 rows",
        "2 transcripts, 24 turns: 11 questions with answers; left out: 2 that nobody answers",
        "b.vtt:30 (row 5) says the same as a.vtt:6 (row 1)",
        "a.vtt:24 (row 4): zero-width",
    ] {
        assert!(said.stdout.contains(part), "{part:?} is not in\n{}", said.stdout);
    }
    let command = ["data", "clean", "--out", "clean", "--json", "--assistant", "Clerk", "--set", "clean.quality=off"];
    let report = scratch.ft(&[&command[..], &files].concat()).done().json()["report"].clone();
    assert_eq!((&report["rows_in"], &report["rows_out"], &report["removed"]), (&json!(10), &json!(9), &json!(1)));
    for (name, key) in [("hidden-text", "changed"), ("pii", "changed"), ("exact-duplicates", "removed")] {
        assert_eq!(step(&report, name)[key], 1, "{name}: {report}");
    }
    let facts = json!({ "turns": 11, "answers": 5, "unanswered": 1, "unasked": 0, "unnamed": 0 });
    assert_eq!(report["inputs"][0]["transcript"], facts);
    assert_eq!(scratch.read_json("clean/report.json")["inputs"][0]["transcript"], facts);
    let manifest = scratch.read_json("clean/dataset.json");
    assert_eq!(manifest["inputs"][1]["transcripts"], json!({ "assistant": "Clerk" }));
    let removed = lines(&scratch, "clean/removed.jsonl");
    assert_eq!((&removed[0]["file"], &removed[0]["line"]), (&json!("b.vtt"), &json!(30)));
    let rows = lines(&scratch, "clean/data.jsonl");
    assert_eq!(rows[3]["messages"].as_array().map(Vec::len), Some(4));
    assert_eq!(rows[3]["messages"][3]["content"], "Up to the first leaves, or write to us.");
    assert_eq!((&rows[3]["source"], &rows[3]["start"]), (&json!("a.vtt"), &json!(7.0)));
    assert_eq!(rows[8]["messages"][1]["content"], "Write to [EMAIL_1] with it, please.");

    let command =
        ["data", "split", "--out", "parts", "--json", "--set", "split.validation=0.3", "--assistant", "Clerk"];
    let report = scratch.ft(&[&command[..], &files].concat()).done().json()["report"].clone();
    assert_eq!((&report["rows"], &report["groups"]), (&json!(10), &json!(9)), "the two that are equal stay together");
    let sources = |name: &str| lines(&scratch, name).iter().map(|row| row["source"].to_string()).collect::<Vec<_>>();
    let train = sources("parts/train.jsonl");
    assert!(files.iter().all(|file| train.contains(&format!("\"{file}\""))), "files are parted: {train:?}");
    assert_eq!(train.len() + sources("parts/validation.jsonl").len(), 10);
}

#[test]
fn training_on_transcripts_is_training_on_their_rows() {
    let scratch = Scratch::new();
    let files = [("a.vtt", [0, 1, 2, 3]), ("b.vtt", [4, 5, 6, 7])];
    for (name, which) in files {
        scratch.write(name, &vtt(&calls(&which)));
    }
    let rows: Vec<String> = CALLS.iter().map(|(_, question, answer)| chat(question, answer)).collect();
    scratch.write("rows.jsonl", &(rows.join("\n") + "\n"));

    // Which tokens are trained: those of the clerk.
    let command = ["data", "inspect", "a.vtt", "--model", "base", "--show-mask", "4", "--json", "--assistant", "Clerk"];
    let shown = scratch.ft(&command).done().json();
    assert_eq!((&shown["rows"], &shown["files"][0]["transcript"]["answers"]), (&json!(4), &json!(4)));
    for (row, (_, question, answer)) in shown["shown"].as_array().unwrap().iter().zip(&CALLS) {
        let tokens = row["tokens"].as_array().unwrap();
        let text = |trained: bool| -> String {
            tokens
                .iter()
                .filter(|token| token["trained"] == trained)
                .filter_map(|token| token["text"].as_str())
                .collect()
        };
        assert!(text(true).starts_with(answer) && !text(true).contains(question), "{}", text(true));
        assert!(text(false).contains(question) && !text(false).contains(answer), "{}", text(false));
    }

    let data = |train: Value, transcripts: Value| json!({ "data": { "train": train, "transcripts": transcripts }, "logging": { "display": "plain" } });
    scratch.configure(&data(json!("rows.jsonl"), json!(null)));
    scratch.ft(&["train", "ft.yaml", "--out", "of-rows"]).done();
    scratch.configure(&data(json!(["a.vtt", "b.vtt"]), json!({ "assistant": "Clerk" })));
    let said = scratch.ft(&["train", "ft.yaml", "--out", "of-files"]).done();
    let note = "data.train: transcripts with 18 turns: 8 questions with answers; left out: 2 that nobody answers";
    assert!(said.stderr.contains(note) || said.stdout.contains(note), "{}\n{}", said.stdout, said.stderr);
    let adapter = |run: &str| scratch.read(&format!("{run}/adapter/adapter_model.safetensors"));
    assert_eq!(adapter("of-rows"), adapter("of-files"), "the same rows in the same order give the same bytes");
    let trained = lines(&scratch, "of-files/rows.jsonl");
    let trained: Vec<&Value> = trained.iter().filter(|row| row["set"] == "train").collect();
    assert_eq!(trained.len(), 8);
    assert!(trained[4].to_string().contains("b.vtt"), "{}", trained[4]);

    // The same files without speakers are two texts, and another assistant is another training.
    scratch.configure(&data(json!(["a.vtt", "b.vtt"]), json!({ "assistant": "Clerk", "exchanges": 1 })));
    scratch.ft(&["train", "ft.yaml", "--out", "cut"]).done();
    assert_eq!(adapter("cut"), adapter("of-files"), "each caller asks once");
    let said = scratch.ft(&["train", "ft.yaml", "--out", "other", "--set", "data.transcripts.assistant=Ada"]);
    said.refused(2, &["b.vtt: no speaker is called `Ada`; those who speak: `Clerk` (4 turns)"]);
}

#[test]
fn an_assistant_that_nobody_is_ends_every_command() {
    let scratch = Scratch::new();
    scratch.write("a.vtt", &vtt(&calls(&[0, 1])));
    let listed =
        "a.vtt: no speaker is called `clerk`; those who speak: `Clerk` (2 turns), `Ada` (1 turn), `Bob` (1 turn)";
    for command in [
        &["data", "check", "a.vtt"][..],
        &["data", "stats", "a.vtt"],
        &["data", "inspect", "a.vtt"],
        &["data", "clean", "a.vtt", "--out", "new"],
        &["data", "split", "a.vtt", "--out", "new"],
        &["data", "diff", "a.vtt", "train.jsonl"],
    ] {
        let with = |name: &str| scratch.ft(&[command, &["--assistant", name]].concat());
        with("clerk").refused(2, &[listed, "did you mean `Clerk`?"]);
        with(" ").refused(2, &["the name is empty"]);
    }
    assert!(!scratch.path("new").exists(), "nothing is written");

    // A name that can mean nothing is no silence.
    for command in [&["data", "check"][..], &["data", "inspect"], &["data", "stats"]] {
        let said = scratch.ft(&[command, &["train.jsonl", "--assistant", "Clerk"]].concat());
        said.refused(2, &["--assistant names a speaker, and no file has speakers", ".vtt"]);
    }
    // In a configuration the key waits for captions.
    let set = ["--set", "data.transcripts.assistant=Clerk"];
    scratch.ft(&[&["data", "check", "train.jsonl"], &set[..]].concat()).done();
    scratch.ft(&[&["data", "stats", "a.vtt", "train.jsonl"], &set[..]].concat()).done();

    scratch.write("none.srt", "1\n00:00:01,000 --> 00:00:02,000\nNobody is named here.\n");
    let said = scratch.ft(&["data", "stats", "none.srt", "--assistant", "Clerk"]);
    said.refused(1, &["none.srt: no speaker is named", "<v NAME>"]);
    scratch.write("opens.vtt", "WEBVTT\n\n00:01.000 --> 00:02.000\n<v Clerk>Good morning.\n");
    let said = scratch.ft(&["data", "stats", "opens.vtt", "--assistant", "Clerk"]);
    said.refused(1, &["opens.vtt: `Clerk` never speaks after somebody else"]);
}

#[test]
fn the_option_is_stronger_than_the_configuration() {
    let scratch = Scratch::new();
    scratch.write("a.vtt", &vtt(&[("Ada", "One?"), ("Bob", "Two."), ("Ada", "Three?"), ("Bob", "Four.")]));
    scratch.configure(&json!({ "data": { "train": "a.vtt", "transcripts": { "assistant": "Zoe", "exchanges": 1 } } }));
    let stats = |more: &[&str]| {
        let command = ["data", "stats", "a.vtt", "--config", "ft.yaml", "--json"];
        scratch.ft(&[&command[..], more].concat())
    };
    assert_eq!(stats(&["--assistant", "Bob"]).done().json()["rows"], 2, "the other key stays");
    assert_eq!(stats(&["--assistant", "Bob", "--set", "data.transcripts.exchanges=null"]).done().json()["rows"], 1);
    stats(&[]).refused(2, &["no speaker is called `Zoe`"]);
}
