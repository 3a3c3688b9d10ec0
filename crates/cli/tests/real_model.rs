//! A real trained model and real data: needs the shared test assets.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "these are tests")]

mod common;

use std::path::Path;

use common::{ft, shared};
use serde_json::{Value, json};

#[test]
fn greedy_generation_is_that_of_transformers() {
    let Some(model) = shared("models/tinystories-656k") else { return };
    let text = std::fs::read_to_string(model.join("reference_hf.json")).unwrap();
    let reference: Value = serde_json::from_str(&text).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    for case in reference["prompts"].as_array().unwrap() {
        let prompt = case["prompt"].as_str().unwrap();
        let expected = case["greedy_new_ids"].as_array().unwrap();
        let count = expected.len().to_string();
        let args =
            ["generate", "--model", model.to_str().unwrap(), "--raw", "--prompt", prompt, "--max-tokens", &count];
        let result = ft(scratch.path(), &[&args[..], &["--json"]].concat()).done().json();
        assert_eq!(result["token_ids"].as_array(), Some(expected), "{prompt}");
        let full = format!("{prompt}{}", result["text"].as_str().unwrap());
        assert_eq!(full, case["greedy_text"].as_str().unwrap());
        let streamed = ft(scratch.path(), &args).done().stdout;
        assert_eq!(streamed, format!("{}\n", result["text"].as_str().unwrap()));
    }
}

#[test]
fn training_on_real_data_lowers_the_validation_loss() {
    let Some(model) = shared("models/tinystories-656k") else { return };
    let Some(data) = shared("datasets/gsm8k/train.jsonl") else { return };
    let scratch = tempfile::tempdir().unwrap();
    // Some hundred short rows of the real file.
    let rows = std::fs::read_to_string(&data).unwrap();
    let rows: Vec<&str> = rows.lines().filter(|row| row.len() < 320).take(300).collect();
    assert!(rows.len() > 200, "{} rows", rows.len());
    write(&scratch.path().join("train.jsonl"), &rows.join("\n"));
    let config = json!({
        "model": { "path": model },
        "adapter": { "rank": 16, "alpha": 32 },
        "data": {
            "train": "train.jsonl", "validation_fraction": 0.1, "completion_style": "raw", "max_seq_length": 384,
            "overlong": "drop",
        },
        "training": { "steps": 40, "batch_size": 8, "learning_rate": 2e-3 },
        "evaluation": { "every_steps": 20, "samples": 1, "sample_max_tokens": 24 },
    });
    write(&scratch.path().join("ft.yaml"), &config.to_string());
    let result = ft(scratch.path(), &["train", "ft.yaml", "--out", "run", "--json"]).done().json();
    let losses: Vec<f64> =
        result["validation_loss"].as_array().unwrap().iter().map(|loss| loss.as_f64().unwrap()).collect();
    println!("validation loss {losses:?}");
    let (first, last) = (losses[0], losses[losses.len() - 1]);
    assert!(last < first - 0.5, "{losses:?}");
    let args = ["generate", "--model", model.to_str().unwrap(), "--adapter", "run/adapter", "--raw", "--prompt"];
    let args = [&args[..], &["Anna has 3 apples and buys 4 more.", "--max-tokens", "16", "--json"]].concat();
    let plain = [&args[..3], &args[5..]].concat();
    let adapted = ft(scratch.path(), &args).done().json();
    assert_ne!(adapted["token_ids"], ft(scratch.path(), &plain).done().json()["token_ids"]);
}

#[allow(clippy::disallowed_methods, reason = "tests write where they like")]
fn write(path: &Path, content: &str) {
    std::fs::write(path, content).unwrap();
}
