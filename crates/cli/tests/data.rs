//! `ft data check`, `clean`, `split`, `stats`, `diff`, and what `ft train` does with sets that are not as they should be.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods, reason = "these are tests")]

mod common;

use std::collections::{BTreeMap, HashSet};

use common::{Scratch, chat, ft_with, names};
use serde_json::{Value, json};

/// Rows of a JSONL file of the scratch folder.
fn rows(scratch: &Scratch, name: &str) -> Vec<Value> {
    let text = String::from_utf8(scratch.read(name)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Questions of which no two are alike.
const TOPICS: [&str; 12] = [
    "Why do ships float although steel is heavier than water?",
    "Which planet has the shortest day, and how long does it last?",
    "How does yeast make dough rise in a warm kitchen?",
    "What made the Hanseatic League lose its influence?",
    "Explain recursion to somebody who has never programmed.",
    "When should tomatoes be planted out after the last frost?",
    "Name a novel in which the narrator cannot be trusted.",
    "How is the offside rule judged in association football?",
    "What does a violinist do to play a harmonic?",
    "Why does a magnet stop attracting when it is heated?",
    "Describe how a bill becomes law in Norway.",
    "What is the difference between weather and climate?",
];

fn question(index: usize, answer: &str) -> String {
    json!({ "prompt": TOPICS[index], "completion": answer }).to_string()
}

/// Twelve rows that no step has anything against.
fn good_rows() -> Vec<String> {
    let answers = [
        "The hull pushes aside more water than the ship weighs, and the water pushes back with that weight.",
        "Jupiter turns once in a little less than ten hours, faster than every other planet.",
        "The cells eat sugar and give off carbon dioxide, whose bubbles are caught in the stretchy gluten.",
        "Territorial states grew strong, trade moved to the Atlantic, and its members no longer agreed.",
        "A recipe may say: to tidy a shelf, tidy one book, then tidy the rest of the shelf the same way.",
        "Wait until nights stay mild, usually a fortnight later, and harden the seedlings off before.",
        "In The Remains of the Day the butler hides from himself what he has given up.",
        "A player is judged at the moment the ball is played, by head, body and feet, not by the arms.",
        "The finger touches the string lightly at a half or a third, so only part of it may swing.",
        "Heat shakes the tiny magnets inside out of their common direction, above the Curie point for good.",
        "Parliament debates it in committee, votes on it twice, and the King in Council gives assent.",
        "One is what the sky does this afternoon; the other is what it does over some thirty years.",
    ];
    answers.iter().enumerate().map(|(index, answer)| question(index, answer)).collect()
}

fn lines(rows: &[String]) -> String {
    rows.join("\n") + "\n"
}

// check

#[test]
fn check_says_that_a_good_set_is_good() {
    let scratch = Scratch::new();
    let said = scratch.ft(&["data", "check", "--config", "ft.yaml"]).done();
    for part in ["readable", "template", "share of trained tokens", "end of turn", "train.jsonl: messages, 24 rows"] {
        assert!(said.stdout.contains(part), "{part:?} is not in\n{}", said.stdout);
    }
    assert!(!said.stdout.contains("refused"), "{}", said.stdout);
}

#[test]
fn check_refuses_what_would_stop_training_or_teach_something_wrong() {
    let scratch = Scratch::new();
    let mut bad: Vec<String> = good_rows();
    bad.push("{\"prompt\": \"half a row".into());
    bad.push(json!({ "prompt": "A question without an answer?", "completion": "" }).to_string());
    bad.push(json!({ "prompt": 7, "completion": "The prompt is a number." }).to_string());
    scratch.write("bad.jsonl", &lines(&bad));
    let said = scratch.ft(&["data", "check", "bad.jsonl", "--json"]);
    assert_eq!(said.code, Some(3), "{}", said.stderr);
    let report = said.json();
    assert_eq!(report["verdict"], "refused");
    assert_eq!(report["rows"], 15);
    let check = |name: &str| -> Value {
        let checks = report["checks"].as_array().unwrap();
        checks.iter().find(|check| check["check"] == name).unwrap_or_else(|| panic!("{name} in {checks:?}")).clone()
    };
    assert_eq!((check("readable")["found"].as_u64(), check("form")["found"].as_u64()), (Some(1), Some(2)));
    assert!(check("readable")["examples"][0].as_str().unwrap().contains("bad.jsonl:13 (row 13)"));
}

#[test]
fn check_tells_lengths_in_tokens_of_the_base() {
    let scratch = Scratch::new();
    let long = chat("Count on", &"one two three ".repeat(200));
    scratch.write("long.jsonl", &lines(&[chat("Say one", "one"), long]));
    let said = scratch.ft(&["data", "check", "long.jsonl", "--config", "ft.yaml", "--json"]);
    assert_eq!(said.code, Some(3));
    let report = said.json();
    let length = report["checks"].as_array().unwrap().iter().find(|check| check["check"] == "length").unwrap().clone();
    assert_eq!((length["verdict"].as_str(), length["found"].as_u64()), (Some("refused"), Some(1)));
    assert!(length["examples"][0].as_str().unwrap().contains("long.jsonl:2 (row 2)"));
    let dropped = ["data", "check", "long.jsonl", "--config", "ft.yaml", "--json", "--set", "data.overlong=drop"];
    assert_eq!(scratch.ft(&dropped).done().json()["verdict"], "warning");
}

#[test]
fn check_looks_at_preference_data() {
    let scratch = Scratch::new();
    let found = |name: &str, rows: &[String], check: &str| -> (String, u64) {
        scratch.write(name, &lines(rows));
        let report = scratch.ft(&["data", "check", name, "--json"]).json();
        let checks = report["checks"].as_array().unwrap().clone();
        let check = checks.iter().find(|one| one["check"] == check).unwrap_or_else(|| panic!("{check} in {checks:?}"));
        (check["verdict"].as_str().unwrap().to_owned(), check["found"].as_u64().unwrap())
    };
    let pair = |index: usize, chosen: &str, rejected: &str| {
        let prompt = format!("{} ({index})", TOPICS[index % 12]);
        json!({ "prompt": prompt, "chosen": chosen, "rejected": rejected }).to_string()
    };
    // Every wanted answer begins alike: a model would learn the beginning and nothing else.
    let given_away: Vec<String> = (0..120)
        .map(|index| {
            let (one, other) = (TOPICS[(index * 5) % 12], TOPICS[(index * 7 + 3) % 12]);
            pair(index, &format!("Certainly! {one}"), &format!("{other} I do not know."))
        })
        .collect();
    assert_eq!(found("giveaway.jsonl", &given_away, "giveaway").0, "refused");
    let equal = [pair(1, "the same", "the same"), pair(2, "one", "other")];
    assert_eq!(found("equal.jsonl", &equal, "chosen = rejected"), ("refused".into(), 1));
    let judged = |index: usize, label: bool| {
        json!({ "prompt": TOPICS[index], "completion": "An answer.", "label": label }).to_string()
    };
    let contradicting = [judged(1, true), judged(2, false), judged(1, false)];
    assert_eq!(found("kto.jsonl", &contradicting, "contradicting labels"), ("refused".into(), 1));
    assert_eq!(found("wanted.jsonl", &[judged(1, true), judged(2, true)], "label balance").0, "refused");
}

// clean

#[test]
fn captions_tables_and_pages_become_rows() {
    let scratch = Scratch::new();
    scratch.write(
        "talk.vtt",
        "WEBVTT\n\n00:01.000 --> 00:03.000\n<v Ann>Why do ships float?\n\n00:03.000 --> 00:06.000\n<v Bob>They push water aside.\n",
    );
    scratch.write("table.csv", "question_text;reply\n\"What is\nit?\";\"A \"\"test\"\".\"\n");
    let page =
        "The tide turns twice a day, and the harbour turns with it. Boats that were aground lift and swing. ".repeat(6);
    scratch.write(
        "page.html",
        &format!(
            "<html><head><title>Tides</title></head><body><nav>Home</nav><article><p>{page}</p></article></body></html>"
        ),
    );
    let args = ["data", "clean", "talk.vtt", "page.html", "--out", "texts", "--json", "--set", "clean.quality=off"];
    assert_eq!(scratch.ft(&args).done().json()["report"]["rows_out"], 2);
    let texts = rows(&scratch, "texts/data.jsonl");
    assert_eq!(texts[0]["segments"][1]["speaker"], "Bob");
    assert_eq!(texts[0]["segments"][1]["start"], 3.0);
    assert!(texts[1]["text"].as_str().unwrap().starts_with("The tide turns"), "{}", texts[1]);
    assert!(!texts[1]["text"].as_str().unwrap().contains("Home"));
    scratch.write("ft-data.yaml", "data:\n  columns: {prompt: question_text, completion: reply}\n");
    let args =
        ["data", "clean", "table.csv", "--out", "rows", "--config", "ft-data.yaml", "--set", "clean.quality=off"];
    scratch.ft(&args).done();
    assert_eq!(rows(&scratch, "rows/data.jsonl"), [json!({ "prompt": "What is\nit?", "completion": "A \"test\"." })]);
}

#[test]
fn no_row_leaves_without_a_reason() {
    let scratch = Scratch::new();
    let mut hostile: Vec<Vec<u8>> = good_rows().into_iter().map(String::into_bytes).collect();
    hostile.push(b"{\"prompt\": \"never ends".to_vec());
    hostile.push(br#"{"prompt": "twice", "prompt": "again", "completion": "which?"}"#.to_vec());
    hostile.push(br#"{"prompt": "not a number", "completion": NaN}"#.to_vec());
    hostile.push([&b"{\"prompt\": \"bytes \xff\xfe\", \"completion\": \"no text\"}"[..]].concat());
    hostile.push(b"{\"prompt\": \"a null byte\x00\", \"completion\": \"in the middle\"}".to_vec());
    hostile.push([vec![b'['; 5000], vec![b']'; 5000]].concat());
    hostile.push(b"null".to_vec());
    hostile.push(b"[1, 2, 3]".to_vec());
    hostile.push(br#"{"prompt": null, "completion": null}"#.to_vec());
    hostile.push(json!({ "prompt": "long ".repeat(2_000_000), "completion": "a string of 10 MB" }).to_string().into());
    let count = hostile.len();
    let bytes = hostile.join(&b"\n"[..]);
    std::io::Write::write_all(&mut std::fs::File::create(scratch.path("hostile.jsonl")).unwrap(), &bytes).unwrap();
    let report =
        scratch.ft(&["data", "clean", "hostile.jsonl", "--out", "clean", "--json"]).done().json()["report"].clone();
    let number = |key: &str| report[key].as_u64().unwrap() as usize;
    assert_eq!(number("rows_in"), count);
    assert_eq!(number("rows_out") + number("removed") + number("quarantined"), count);
    let removed = rows(&scratch, "clean/removed.jsonl");
    assert_eq!(removed.len(), number("removed"));
    assert_eq!(rows(&scratch, "clean/data.jsonl").len(), number("rows_out"));
    let reasons: Vec<&Value> = removed.iter().map(|line| &line["reason"]).collect();
    assert!(removed.len() >= 9, "{reasons:#?}");
    for line in &removed {
        assert!(line["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{line}");
        assert!(line["row"].as_u64().is_some_and(|row| row >= 13), "the good rows stay: {line}");
    }
    let places: HashSet<u64> = removed.iter().map(|line| line["row"].as_u64().unwrap()).collect();
    assert_eq!(places.len(), removed.len(), "each row once");
}

#[test]
fn clean_masks_drops_and_keeps_what_it_took_out() {
    let scratch = Scratch::new();
    let mut set = good_rows();
    // Pieces, so that no scanner of a code host takes the test for a leak.
    let key = ["AK", "IA", "QYLP", "MN5H", "HHCA", "ZBTW"].concat();
    let asked = |prompt: &str, answer: &str| json!({ "prompt": prompt, "completion": answer }).to_string();
    let login = format!("Log in with {key}, then write to anna.berg@mail.example.org for the rest.");
    set.push(asked("Where do the harbour's tide tables lie?", &login));
    set.push(asked("Who knows the archive of the town?", "Write to anna.berg@mail.example.org, who keeps it."));
    set.push(good_rows()[4].clone());
    set.push(question(
        5,
        "Wait until nights stay mild, usually a fortnight later, and harden the seedlings off bef\u{200b}ore.",
    ));
    scratch.write("set.jsonl", &lines(&set));
    let said = scratch.ft(&["data", "clean", "set.jsonl", "--out", "clean", "--json"]).done();
    let report = said.json()["report"].clone();
    let everything: String = names(&scratch.path("clean"))
        .iter()
        .map(|name| String::from_utf8(scratch.read(&format!("clean/{name}"))).unwrap())
        .collect();
    assert!(!everything.contains(&key), "the key stands in the output");
    assert!(!everything.contains("anna.berg"), "the address stands in the output");
    let data = String::from_utf8(scratch.read("clean/data.jsonl")).unwrap();
    assert_eq!(data.matches("[EMAIL_1]").count(), 2, "one value has one placeholder: {data}");
    assert!(!data.contains('\u{200b}'));
    let removed = rows(&scratch, "clean/removed.jsonl");
    let duplicates: Vec<&Value> = removed.iter().filter(|line| line["kept"].is_object()).collect();
    assert_eq!(duplicates.len(), 2, "the copy, and the copy with a hidden character: {removed:#?}");
    for line in duplicates {
        let kept = line["kept"]["row"].as_u64().unwrap() as usize;
        let removed = line["row"].as_u64().unwrap() as usize;
        assert!(matches!((kept, removed), (5, 15) | (6, 16)), "{line}");
    }
    assert_eq!(report["changed"], 2, "{report}");
    // The hash of the manifest is that of the rows.
    let manifest = scratch.read_json("clean/dataset.json");
    let stats = scratch.ft(&["data", "stats", "clean/data.jsonl", "--json"]).done().json();
    assert_eq!(manifest["merkle_root"], stats["merkle_root"]);
    assert_eq!(stats["inputs"][0]["parent"], manifest["merkle_root"]);
}

#[test]
fn no_masked_value_stands_anywhere_in_the_folder() {
    let scratch = Scratch::new();
    let mail = ["kim.vos", "@", "mail.example.org"].concat();
    let token = ["gh", "p_", "aB3dE6gH9jK2mN5pQ8sT1vW4xY7z", "A0cD3fG6"].concat();
    let mut set: Vec<Vec<u8>> = good_rows().into_iter().map(String::into_bytes).collect();
    let mut row: Value = serde_json::from_str(&good_rows()[0]).unwrap();
    // As the name of a source, as the name of a member, in rows that do not fit and in rows that cannot be read.
    row["source"] = json!(mail);
    set.push(row.to_string().into());
    row["source"] = json!({ &mail: { "x": token } });
    set.push(row.to_string().into());
    set.push(json!({ "prompt": 7, "completion": format!("{mail} {token}") }).to_string().into());
    set.push(format!("{{\"prompt\": \"ask {mail} for {token} now").into());
    set.push([b"\xff\xfe ".to_vec(), format!("ask {mail} for {token} now").into()].concat());
    std::fs::write(scratch.path("set.jsonl"), set.join(&b"\n"[..])).unwrap();
    let said = scratch.ft(&["data", "clean", "set.jsonl", "--out", "clean", "--set", "clean.duplicates=off"]).done();
    let mut written: Vec<(String, String)> = vec![("stdout".into(), said.stdout)];
    for name in names(&scratch.path("clean")) {
        written.push((name.clone(), String::from_utf8(scratch.read(&format!("clean/{name}"))).unwrap()));
    }
    for (name, text) in &written {
        let hex: String = mail.bytes().map(|byte| format!("{byte:02x}")).collect();
        for value in [&mail, &token, &hex] {
            assert!(!text.contains(value.as_str()), "{name} tells {value}:\n{text}");
        }
    }
    let removed = String::from_utf8(scratch.read("clean/removed.jsonl")).unwrap();
    assert_eq!(removed.matches("[EMAIL_1]").count(), 3, "{removed}");
}

#[test]
fn a_secret_is_masked_where_personal_data_is_only_reported() {
    let scratch = Scratch::new();
    let password = ["S3cr3t", "P4ssw0rdX9"].concat();
    let answer = format!("Use postgres://admin:{password}@db.example.org:5432/prod to connect to it.");
    let mut set = good_rows();
    set.push(json!({ "prompt": "How do I connect?", "completion": answer }).to_string());
    scratch.write("set.jsonl", &lines(&set));
    for (out, setting) in [("one", "clean.pii=report"), ("two", "clean.pii=mask"), ("three", "clean.pii=off")] {
        scratch.ft(&["data", "clean", "set.jsonl", "--out", out, "--set", setting]).done();
        let data = String::from_utf8(scratch.read(&format!("{out}/data.jsonl"))).unwrap();
        assert!(!data.contains(&password), "{setting}:\n{data}");
    }
}

#[test]
fn the_same_request_about_other_texts_is_no_repetition() {
    let scratch = Scratch::new();
    let good = good_rows();
    let text = |index: usize| -> String {
        let row: Value = serde_json::from_str(&good[index]).unwrap();
        row["completion"].as_str().unwrap().to_owned()
    };
    let about = |document: &str, answer: &str| {
        let messages = json!([
            { "role": "system", "content": format!("Today is 2024-05-03. The text: {document}") },
            { "role": "user", "content": "Does the text mention what happens in the end?" },
            { "role": "assistant", "content": answer },
        ]);
        json!({ "messages": messages }).to_string()
    };
    let mut set: Vec<String> =
        (0..12).map(|index| about(&text(index), "Yes, the text says so in its last part.")).collect();
    set.push(about(&text(3).to_uppercase(), "Yes, the text says so, in its last part."));
    scratch.write("set.jsonl", &lines(&set));
    let args = ["data", "clean", "set.jsonl", "--out", "clean", "--json", "--set", "clean.poison=off"];
    let report = scratch.ft(&args).done().json()["report"].clone();
    assert_eq!((report["rows_out"].as_u64(), report["removed"].as_u64()), (Some(12), Some(1)), "{report}");
}

#[cfg(target_os = "linux")]
#[test]
fn paths_that_are_no_text_are_read_and_told() {
    use std::os::unix::ffi::OsStrExt;
    let scratch = Scratch::new();
    let name = std::ffi::OsStr::from_bytes(b"set\xff.jsonl");
    std::fs::write(scratch.dir().join(name), lines(&good_rows())).unwrap();
    for args in [&["inspect"][..], &["check"], &["stats"], &["clean", "--out", "clean"], &["split", "--out", "parts"]] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_ft"));
        let done = command.current_dir(scratch.dir()).arg("data").args(args).arg(name).arg("--json").output().unwrap();
        assert_eq!(done.status.code(), Some(0), "{args:?}: {}", String::from_utf8_lossy(&done.stderr));
        let said = String::from_utf8(done.stdout).unwrap();
        serde_json::from_str::<Value>(&said).unwrap();
        assert!(said.contains("set\u{fffd}.jsonl"), "{said}");
    }
    assert!(scratch.read_json("clean/dataset.json")["inputs"][0]["path"].as_str().unwrap().contains("set"));
}

#[test]
fn names_from_rows_cannot_command_the_terminal() {
    let scratch = Scratch::new();
    let mut set = good_rows();
    for row in &mut set {
        let mut named: Value = serde_json::from_str(row).unwrap();
        named["source"] = json!("\u{1b}[31mred\u{7}");
        named["tags"] = json!(["\u{1b}[2J"]);
        *row = named.to_string();
    }
    set.push(set[0].clone());
    scratch.write("set.jsonl", &lines(&set));
    for args in [
        &["data", "stats", "set.jsonl"][..],
        &["data", "clean", "set.jsonl", "--out", "clean", "--set", "clean.hidden_text=off"],
        &["data", "split", "set.jsonl", "--out", "parts"],
    ] {
        let said = scratch.ft(args).done();
        assert!(!said.stdout.chars().any(|c| c.is_control() && c != '\n'), "{args:?}: {:?}", said.stdout);
    }
}

#[test]
fn a_gate_that_blocks_writes_nothing() {
    let scratch = Scratch::new();
    let mut set = good_rows();
    set[2] = question(2, "Ask the baker at baker@mail.example.org, who knows.");
    scratch.write("set.jsonl", &lines(&set));
    let blocked = ["data", "clean", "set.jsonl", "--out", "clean", "--set", "clean.pii=block"];
    let said = scratch.ft(&blocked);
    assert_eq!(said.code, Some(3));
    for part in ["pii", "clean.pii", "set.jsonl:3 (row 3)"] {
        assert!(said.stderr.contains(part), "{}", said.stderr);
    }
    assert!(!said.stderr.contains("baker@mail"), "the value is not repeated: {}", said.stderr);
    assert!(!scratch.path("clean").exists());
}

#[test]
fn the_output_is_the_same_for_any_number_of_threads() {
    let scratch = Scratch::new();
    let mut set = Vec::new();
    for copy in 0..40 {
        for (index, topic) in TOPICS.iter().enumerate() {
            let answer =
                format!("{topic} This is answer {copy} of {index}, written to user{copy}@mail.example.org today.");
            set.push(question(index, &answer));
        }
    }
    scratch.write("set.jsonl", &lines(&set));
    for (threads, out) in [("1", "one"), ("4", "four")] {
        let args = ["data", "clean", "set.jsonl", "--out", out, "--set", "clean.max_source_loss=1"];
        ft_with(scratch.dir(), &args, &[("RAYON_NUM_THREADS", threads)]).done();
    }
    assert_eq!(names(&scratch.path("one")), names(&scratch.path("four")));
    for name in names(&scratch.path("one")) {
        assert_eq!(scratch.read(&format!("one/{name}")), scratch.read(&format!("four/{name}")), "{name}");
    }
}

#[test]
fn every_removed_duplicate_names_a_row_that_stays() {
    let scratch = Scratch::new();
    let mut set = Vec::new();
    // Copies, copies with another spelling, copies of the question alone, each of several generations, out of order.
    for round in 0..6 {
        for (index, row) in good_rows().into_iter().enumerate() {
            let row: Value = serde_json::from_str(&row).unwrap();
            let (prompt, answer) = (row["prompt"].as_str().unwrap(), row["completion"].as_str().unwrap());
            let (prompt, answer) = match (round + index) % 4 {
                0 => (prompt.to_owned(), answer.to_owned()),
                1 => (prompt.to_uppercase(), answer.to_owned()),
                2 => (
                    prompt.to_owned(),
                    format!("{answer} It was always so, as everybody will tell you who was there in round {round}."),
                ),
                _ => (format!("{prompt} Please."), answer.replace(',', ";")),
            };
            set.push(
                json!({ "prompt": prompt, "completion": answer, "source": format!("s{}", index % 3) }).to_string(),
            );
        }
    }
    set.reverse();
    scratch.write("set.jsonl", &lines(&set));
    for keep in ["first", "best"] {
        let (out, keep) = (format!("out-{keep}"), format!("clean.duplicate_keep={keep}"));
        let args = [
            "data",
            "clean",
            "set.jsonl",
            "--out",
            &out,
            "--json",
            "--set",
            &keep,
            "--set",
            "clean.max_source_loss=1",
            "--set",
            "clean.keep_best=0.9",
        ];
        let report = scratch.ft(&args).done().json()["report"].clone();
        let staying: HashSet<(u64, String)> = rows(&scratch, &format!("{out}/lineage.jsonl"))
            .iter()
            .map(|line| (line["row"].as_u64().unwrap(), line["hash"].as_str().unwrap().to_owned()))
            .collect();
        let removed = rows(&scratch, &format!("{out}/removed.jsonl"));
        let duplicates: Vec<&Value> = removed.iter().filter(|line| line["kept"].is_object()).collect();
        assert!(duplicates.len() >= 30, "{report}");
        for line in duplicates {
            let kept = (line["kept"]["row"].as_u64().unwrap(), line["kept"]["hash"].as_str().unwrap().to_owned());
            assert!(staying.contains(&kept), "row {} went because of {kept:?}, which does not stay", line["row"]);
            assert!(line["similarity"].as_f64().unwrap() >= 0.849, "{line}");
        }
    }
}

// split

#[test]
fn a_split_keeps_together_what_belongs_together() {
    let scratch = Scratch::new();
    let mut set = Vec::new();
    for document in 0..60 {
        for part in 0..3 {
            let (topic, other) = (TOPICS[document % 12], TOPICS[(document / 12 + part * 5) % 12]);
            set.push(
                json!({
                    "prompt": format!("{topic} ({document}-{part})"), "completion": format!("{other} {document} {part}"),
                    "document": format!("talk {document}"), "role": if document % 3 == 0 { "coach" } else { "author" },
                })
                .to_string(),
            );
        }
    }
    scratch.write("set.jsonl", &lines(&set));
    let args = [
        "data",
        "split",
        "set.jsonl",
        "--out",
        "parts",
        "--seed",
        "3",
        "--json",
        "--set",
        "split.test=0.1",
        "--set",
        "split.near_duplicates=false",
    ];
    let report = scratch.ft(&args).done().json()["report"].clone();
    assert_eq!(report["groups"], 60);
    let mut seen: BTreeMap<String, &str> = BTreeMap::new();
    let mut total = 0;
    for part in ["train", "validation", "test"] {
        let rows = rows(&scratch, &format!("parts/{part}.jsonl"));
        total += rows.len();
        let coaches = rows.iter().filter(|row| row["role"] == "coach").count() as f64 / rows.len() as f64;
        assert!((coaches - 1.0 / 3.0).abs() < 0.2, "{part}: {coaches} of the rows are of the rarer role");
        for row in rows {
            let document = row["document"].as_str().unwrap().to_owned();
            let first = *seen.entry(document.clone()).or_insert(part);
            assert_eq!(first, part, "{document} stands in two parts");
        }
    }
    assert_eq!(total, 180, "no row is lost");
    let by = scratch.ft(&["data", "split", "set.jsonl", "--out", "roles", "--by", "role"]).done();
    assert!(by.stdout.contains("coach.jsonl"), "{}", by.stdout);
    assert_eq!(rows(&scratch, "roles/coach.jsonl").len() + rows(&scratch, "roles/author.jsonl").len(), 180);
}

#[test]
fn equal_values_under_different_keys_join_nothing_and_lists_join_all_they_name() {
    let scratch = Scratch::new();
    let with = |index: usize, key: &str, value: Value| {
        let mut row: Value = serde_json::from_str(&good_rows()[index]).unwrap();
        row[key] = value;
        row.to_string()
    };
    let set = [
        with(0, "group", json!("1")),
        with(1, "document", json!("1")),
        with(2, "group", json!(2)),
        with(3, "document", json!(2)),
        with(4, "parent", json!(["a", "b"])),
        with(5, "parent", json!(["c", "b"])),
    ];
    scratch.write("set.jsonl", &lines(&set));
    let args = ["data", "split", "set.jsonl", "--out", "parts", "--json", "--set", "split.validation=0.4"];
    let report = scratch.ft(&args).done().json()["report"].clone();
    assert_eq!((report["groups"].as_u64(), report["largest_group"].as_u64()), (Some(5), Some(2)));
}

#[test]
fn a_row_like_two_others_that_are_not_alike_joins_them() {
    let scratch = Scratch::new();
    let words: Vec<String> = (0..60).map(|number| format!("word{:03}", number * 37 % 101)).collect();
    let text = |from: usize| words[from..from + 40].join(" ");
    // Neighbours share 39 of 40 words, the ends of the chain far fewer; the middle ones come last.
    let order = [0, 8, 4, 2, 6, 1, 3, 5, 7];
    let mut set: Vec<String> =
        order.iter().map(|&from| json!({ "prompt": text(from), "completion": "Noted." }).to_string()).collect();
    set.extend(good_rows());
    scratch.write("set.jsonl", &lines(&set));
    let args = ["data", "split", "set.jsonl", "--out", "parts", "--json"];
    let report = scratch.ft(&args).done().json()["report"].clone();
    assert_eq!(report["largest_group"].as_u64(), Some(9), "{report}");
}

#[test]
fn values_whose_file_names_would_be_equal_have_files_of_their_own() {
    let scratch = Scratch::new();
    let values = [json!("A"), json!("A-2"), json!("a"), json!([1, "a"]), json!("")];
    let mut set = Vec::new();
    for (index, value) in values.into_iter().enumerate() {
        let mut row: Value = serde_json::from_str(&good_rows()[index]).unwrap();
        row["tags"] = value;
        set.push(row.to_string());
    }
    scratch.write("set.jsonl", &lines(&set));
    let args = ["data", "split", "set.jsonl", "--out", "tags", "--by", "tags", "--json"];
    let report = scratch.ft(&args).done().json()["report"].clone();
    let of = |name: &str| rows(&scratch, &format!("tags/{name}.jsonl")).len();
    assert_eq!([of("a"), of("a-2"), of("a-3"), of("1")], [1, 1, 2, 1], "{report}");
    assert!(report["notes"][0].as_str().unwrap().starts_with("1 row has no value"), "{report}");
}

// stats and diff

#[test]
fn stats_and_diff_tell_sets_apart() {
    let scratch = Scratch::new();
    let set = good_rows();
    scratch.write("old.jsonl", &lines(&set));
    let mut new = set[1..].to_vec();
    new.push(question(0, "Because the water that is pushed aside weighs as much as the ship."));
    new.swap(0, 1);
    scratch.write("new.jsonl", &lines(&new));
    let stats = scratch.ft(&["data", "stats", "old.jsonl", "--json", "--html", "page.html"]).done().json();
    assert_eq!(stats["rows"], 12);
    assert_eq!(stats["distributions"]["turns"]["sum"], 24);
    let page = String::from_utf8(scratch.read("page.html")).unwrap();
    assert!(page.contains("<svg") && !page.contains("http://") && !page.contains("src="), "the page stands alone");
    let same = scratch.ft(&["data", "diff", "old.jsonl", "old.jsonl", "--json"]).done().json();
    assert_eq!(same, json!({ "same": 12, "reordered": false, "added": 0, "removed": 0, "changed": 0 }));
    let diff = scratch.ft(&["data", "diff", "old.jsonl", "new.jsonl", "--json"]).done().json();
    assert_eq!((diff["same"].as_u64(), diff["changed"].as_u64()), (Some(11), Some(1)), "{diff}");
}

// train

#[test]
fn a_run_says_which_rows_trained_it() {
    let scratch = Scratch::new();
    scratch
        .ft(&[
            "data",
            "split",
            "train.jsonl",
            "--out",
            "parts",
            "--set",
            "split.validation=0.2",
            "--set",
            "split.near_duplicates=false",
        ])
        .done();
    scratch.configure(&json!({ "data": { "train": "parts/train.jsonl", "validation": "parts/validation.jsonl" } }));
    scratch.train().done();
    let record = scratch.read_json("run/run.json");
    let manifest = scratch.read_json("run/dataset.json");
    assert_eq!(record["rows_root"], manifest["merkle_root"]);
    let parent = scratch.read_json("parts/dataset.json");
    assert_eq!(manifest["inputs"][0]["parent"], parent["merkle_root"]);
    assert_eq!(manifest["parents"][0]["command"], "split");
    // The root is that of the file's rows: no row was left out.
    assert_eq!(manifest["merkle_root"], parent["files"][0]["merkle_root"]);
    let listed = rows(&scratch, "run/rows.jsonl");
    let train = listed.iter().filter(|row| row["set"] == "train").count();
    assert_eq!(train, rows(&scratch, "parts/train.jsonl").len());
}

#[test]
fn training_refuses_evaluation_data_unless_a_reason_is_given() {
    let scratch = Scratch::new();
    let mut set: Vec<String> = common::chats(24);
    set[3] = chat(TOPICS[3], "Territorial states grew strong, and trade moved to the Atlantic.");
    scratch.write("train.jsonl", &lines(&set));
    let exam =
        json!({ "question": TOPICS[3], "answer": "Territorial states grew strong, and trade moved to the Atlantic." });
    scratch.write("exam.jsonl", &lines(&[exam.to_string()]));
    let config = json!({ "contamination": { "against": "exam.jsonl" } });
    let with = |config: &Value| {
        let mut all = json!({ "data": { "max_seq_length": 256 } });
        all["contamination"] = config["contamination"].clone();
        scratch.write("ft.yaml", &{
            scratch.configure(&json!({ "data": { "max_seq_length": 256 } }));
            let mut yaml = scratch.read_json("ft.yaml");
            yaml["contamination"] = all["contamination"].clone();
            yaml.to_string()
        });
    };
    with(&config);
    scratch
        .train()
        .refused(3, &["1 of 24 training rows repeat evaluation data", "train.jsonl:4 (row 4)", "exam.jsonl"]);
    scratch.assert_nothing_written();
    with(&json!({ "contamination": { "against": "exam.jsonl", "allow": "the exam is over" } }));
    let said = scratch.train().done();
    assert!(said.stderr.contains("the exam is over"), "{}", said.stderr);
    let record = scratch.read_json("run/run.json");
    assert_eq!(record["contamination"]["repeats"], 1);
    assert_eq!(record["contamination"]["allowed_because"], "the exam is over");
}

#[test]
fn weights_change_how_often_a_file_is_visited() {
    let scratch = Scratch::new();
    let all = common::chats(24);
    scratch.write("a.jsonl", &lines(&all[..8]));
    scratch.write("b.jsonl", &lines(&all[8..]));
    let steps = |weights: Value| -> u64 {
        let data = json!({ "train": ["a.jsonl", "b.jsonl"], "weights": weights });
        scratch.configure(&json!({ "data": data, "training": { "steps": null, "epochs": 1 } }));
        let plan = scratch.ft(&["train", "ft.yaml", "--out", "run", "--json"]).done().json();
        std::fs::remove_dir_all(scratch.path("run")).unwrap();
        plan["train_loss"].as_array().unwrap().len() as u64
    };
    assert_eq!(steps(json!([])), 6, "24 examples, 4 to a step");
    assert_eq!(steps(json!([3, 0.5])), 8, "24 + 8 visits");
    scratch.configure(&json!({ "data": { "train": ["a.jsonl", "b.jsonl"], "weights": [1] } }));
    scratch.train().refused(2, &["data.weights", "1 weights for 2 files"]);
}
