//! The fixtures of decon: training documents, references, and which should be found in which.

use std::collections::BTreeSet;
use std::io::BufRead;
use std::path::Path;

use attune_overlap::contamination::{Index, Settings, load_eval_file, open};
use serde_json::Value;

use crate::common::{asset, check};

/// Its rows of reference are short, so its settings leave no row out for that.
fn settings() -> Settings {
    Settings { min_tokens: 0, min_unique: 0, ..Settings::default() }
}

/// The lines of a training file that are found, each with the line of the reference.
fn found(folder: &Path, reference: &str, training: &str, settings: &Settings) -> BTreeSet<(usize, usize)> {
    let set = load_eval_file(&folder.join("reference").join(reference)).expect("the reference");
    let index = Index::build(vec![set], settings).expect("an index");
    let mut pairs = BTreeSet::new();
    for (line, text) in open(&folder.join("training").join(training)).expect("the training file").lines().enumerate() {
        let row: Value = serde_json::from_str(&text.expect("a line")).expect("JSON");
        let text = row["text"].as_str().expect("a text");
        pairs.extend(check(&index, text).into_iter().map(|found| (line, found.row)));
    }
    pairs
}

#[test]
fn expectations_hold() {
    let Some(folder) = asset("suites/decon") else { return };
    let text = std::fs::read_to_string(folder.join("expected.json")).expect("the expectations");
    let expected: Value = serde_json::from_str(&text).expect("JSON");
    let fixtures = folder.join("fixtures");
    let mut checked = 0;
    for case in expected["cases"].as_array().expect("cases") {
        let (reference, training) =
            (case["reference"].as_str().expect("a name"), case["training"].as_str().expect("a name"));
        for settings in [settings(), Settings { min_tokens: 8, ..Settings::default() }] {
            let pairs = found(&fixtures, reference, training, &settings);
            if let Some(least) = case["min_reports"].as_u64() {
                assert!(pairs.len() as u64 >= least, "{training}: {pairs:?}");
                checked += 1;
            }
            if let Some(most) = case["max_reports"].as_u64() {
                assert!(pairs.len() as u64 <= most, "{training}: {pairs:?}");
                checked += 1;
            }
            for pair in case["must_contain"].as_array().into_iter().flatten() {
                let line = |at: usize| pair[at].as_u64().expect("a line") as usize;
                assert!(pairs.contains(&(line(0), line(1))), "{training}: {pair} is not in {pairs:?}");
                checked += 1;
            }
        }
    }
    assert!(checked >= 18, "{checked}");
}

#[test]
fn packed_files_give_the_same() {
    let Some(folder) = asset("suites/decon/fixtures") else { return };
    let reference = "passage_question_answer_reference.jsonl";
    let plain = found(&folder, reference, "contaminated_mixed.jsonl", &settings());
    assert!(plain.contains(&(0, 0)) && plain.contains(&(3, 1)), "{plain:?}");
    for ending in ["gz", "bz2", "xz", "zst"] {
        assert_eq!(
            found(&folder, reference, &format!("contaminated_mixed.jsonl.{ending}"), &settings()),
            plain,
            "{ending}"
        );
    }
    // At least two lines of five stay.
    let lines: BTreeSet<usize> = plain.iter().map(|pair| pair.0).collect();
    assert!(lines.len() <= 3, "{plain:?}");
}

#[test]
fn a_lower_threshold_finds_no_less() {
    let Some(folder) = asset("suites/decon/fixtures") else { return };
    let reference = "passage_question_answer_reference.jsonl";
    for training in ["contaminated_edge_cases.jsonl", "contaminated_mixed.jsonl", "long_document.jsonl"] {
        let with = |threshold| {
            let settings = Settings { threshold, short_score: f64::max(threshold, 0.9), ..settings() };
            found(&folder, reference, training, &settings)
        };
        let (strict, lenient) = (with(0.95), with(0.5));
        assert!(lenient.is_superset(&strict), "{training}: {lenient:?} {strict:?}");
    }
    let long = found(&folder, reference, "long_document.jsonl", &settings());
    assert!(long.contains(&(0, 0)) && long.contains(&(0, 1)), "{long:?}");
}

#[test]
fn the_demonstration_is_found_in_the_bundled_sets() {
    let Some(folder) = asset("suites/decon") else { return };
    // Its second document is a row of GSM8K train, with two words changed.
    let set = load_eval_file(&folder.join("evals/gsm8k_train-1.jsonl.gz")).expect("GSM8K");
    let index = Index::build(vec![set], &Settings::default()).expect("an index");
    let lines: Vec<String> = open(&folder.join("fixtures/training/demo.jsonl"))
        .expect("the file")
        .lines()
        .map(|line| line.expect("a line"))
        .collect();
    let row: Value = serde_json::from_str(&lines[1]).expect("JSON");
    let matches = check(&index, row["text"].as_str().expect("a text"));
    assert!(
        matches.iter().any(|found| index.sets()[0].rows[found.row].question.starts_with("Ken created a care package")),
        "{matches:?}"
    );
}
