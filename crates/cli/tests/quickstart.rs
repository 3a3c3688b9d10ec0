//! `ft quickstart`, the base that it brings along, and the examples.
#![allow(clippy::unwrap_used, reason = "tests, and their helpers")]

mod common;

use std::path::{Path, PathBuf};

use common::*;
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// What the README promises: measured on calls that are in no transcript.
#[test]
fn quickstart_teaches_the_style_the_form_and_the_answers() {
    let scratch = tempfile::tempdir().unwrap();
    let said = ft(scratch.path(), &["quickstart"]).done();
    let out = scratch.path().join("runs/quickstart");
    assert_eq!(said.stdout.lines().last(), Some(Path::new("runs/quickstart/report.html").to_str().unwrap()));

    let evaluation = json(&out.join("evaluation.json"));
    let [before, after] = [0, 1].map(|index| &evaluation["models"][index]);
    let number = |model: &Value, key: &str| model[key].as_f64().unwrap();
    let fitting = |model: &Value| model["patterns"].as_object().unwrap().values().next().unwrap().as_f64().unwrap();
    assert_eq!(before["questions"], 60);
    assert_eq!((fitting(before), number(before, "exact")), (0.0, 0.0), "the base knows nothing of the clerk");
    assert!(fitting(after) >= 0.9, "style and form: {}", fitting(after));
    assert!(number(after, "exact") >= 0.5, "answers: {}", number(after, "exact"));
    assert!(number(after, "word_f1") >= number(before, "word_f1") + 0.3);
    assert!(number(after, "loss") <= number(before, "loss") / 2.0);

    // What the cleaning had to find.
    let clean = json(&out.join("clean/report.json"));
    assert_eq!((&clean["rows_in"], &clean["rows_out"]), (&240.into(), &238.into()));
    for leak in ["@example", "[EMAIL", "\u{200d}"] {
        let rows = std::fs::read_to_string(out.join("clean/data.jsonl")).unwrap();
        assert_eq!(rows.contains(leak), leak.starts_with('['), "{leak:?}");
    }
    assert_eq!(json(&out.join("tuned.gguf.report.json"))["gate"]["accepted"], true);
    let page = std::fs::read_to_string(out.join("report.html")).unwrap();
    for part in ["Held-out questions", "<svg", "Mind the step!", "accepted", "data clean"] {
        assert!(page.contains(part), "{part}");
    }

    // Each step names its command, and the commands that come next work.
    let commands: Vec<&str> = said.stderr.lines().filter_map(|line| line.strip_prefix("   $ ")).collect();
    assert_eq!(commands.len(), 8, "{}", said.stderr);
    for (command, words) in commands.iter().zip(["data check", "data clean", "data split", "plan", "train"]) {
        assert!(command.contains(words), "{command}");
    }
    let fused = ["generate", "--model", "runs/quickstart/fused", "--prompt", "I lost my red scarf. Where is it?"];
    assert!(ft(scratch.path(), &fused).done().stdout.contains("Aye, one moment."));

    ft(scratch.path(), &["quickstart", "--out", "runs/quickstart"])
        .refused(2, &["runs/quickstart: exists and is not an empty folder", "--out"]);
}

/// Everything of a run but its steps, with the tiny base in place of those that must be pulled.
#[test]
fn every_example_is_ready_to_run() {
    let scratch = tempfile::tempdir().unwrap();
    let mut seen = 0;
    for entry in std::fs::read_dir(root().join("examples")).unwrap() {
        let config = entry.unwrap().path().join("ft.yaml");
        assert!(config.is_file(), "{}", config.display());
        let path = config.display().to_string();
        let base = format!("model.path={}", root().join("models/tiny").display());
        // The tiny base knows fewer positions than the models that the examples are for.
        let words = ["train", &path, "--dry-run", "--json", "--set", &base, "--set", "data.max_seq_length=512"];
        let result = ft(scratch.path(), &words).done().json();
        assert!(result["steps"].as_u64().unwrap() > 0, "{path}");
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0, "a dry run writes nothing");
        seen += 1;
    }
    assert!(seen >= 4);
}
