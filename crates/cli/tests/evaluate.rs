//! `ft evaluate` and `ft tokenizer`, through the binary.
#![allow(clippy::unwrap_used, reason = "tests, and their helpers")]

mod common;

use common::*;
use serde_json::{Value, json};

/// What a finished run says of its last evaluation, and what `ft evaluate` says of base and tuned model.
fn run_and_evaluate(scratch: &Scratch) -> (Value, Value) {
    let trained = scratch.ft(&["train", "ft.yaml", "--out", "run", "--json"]).done().json();
    let args = ["evaluate", "--run", "run", "--data", "validation.jsonl", "--max-tokens", "8", "--json"];
    (trained, scratch.ft(&args).done().json())
}

#[test]
fn losses_are_those_that_the_run_measured() {
    // Without dropout and with the last adapter kept, step 0 is the base and the last step what the run leaves.
    for changes in [
        json!({"adapter": {"dropout": 0.0}, "evaluation": {"keep_best": false}}),
        json!({"adapter": {"dropout": 0.0}, "evaluation": {"keep_best": false}, "model": {"quantize": "int8"}}),
    ] {
        let scratch = Scratch::new();
        scratch.configure(&changes);
        let (trained, evaluated) = run_and_evaluate(&scratch);
        let losses = trained["validation_loss"].as_array().unwrap();
        let models = evaluated["models"].as_array().unwrap();
        assert_eq!((&models[0]["model"], &models[1]["model"]), (&json!("base"), &json!("tuned")));
        for (model, expected) in models.iter().zip([&losses[0], &losses[losses.len() - 1]]) {
            let (loss, expected) = (model["loss"].as_f64().unwrap(), expected.as_f64().unwrap());
            assert!((loss - expected).abs() < 1e-5, "{changes}: {} {loss} for {expected}", model["model"]);
            assert_eq!(model["questions"], 4);
        }
        assert_ne!(models[0]["loss"], models[1]["loss"]);
    }
}

#[test]
fn a_run_of_all_weights_is_asked_beside_its_base() {
    let scratch = Scratch::new();
    let config = json!({
        "model": {"path": "base"}, "adapter": {"method": "full"},
        "data": {"train": "train.jsonl", "validation": "validation.jsonl", "max_seq_length": 200},
        "training": {"steps": 3, "batch_size": 4, "learning_rate": 1e-4},
        "evaluation": {"samples": 0, "keep_best": false},
    });
    scratch.write("ft.yaml", &config.to_string());
    let (trained, evaluated) = run_and_evaluate(&scratch);
    let losses = trained["validation_loss"].as_array().unwrap();
    for (model, expected) in evaluated["models"].as_array().unwrap().iter().zip([&losses[0], &losses[losses.len() - 1]])
    {
        assert!((model["loss"].as_f64().unwrap() - expected.as_f64().unwrap()).abs() < 1e-5, "{}", model["model"]);
    }
}

#[test]
fn answers_are_those_of_generate_and_scores_follow_from_them() {
    let scratch = Scratch::new();
    let question = "Count from one.";
    let ask = ["generate", "--model", "base", "--prompt", question, "--max-tokens", "8"];
    let answer = scratch.ft(&ask).done().stdout.trim().to_string();
    assert!(!answer.is_empty());
    // One row that the model answers to the letter, and one that it cannot.
    scratch.write("heldout.jsonl", &format!("{}\n{}\n", chat(question, &answer), chat(question, "zzz qqq")));
    let any = ["--pattern", "^.", "--pattern", "^never said$", "--out", "scores.json"];
    let args = ["evaluate", "--model", "base", "--data", "heldout.jsonl", "--max-tokens", "8", "--json"];
    let result = scratch.ft(&[&args[..], &any[..]].concat()).done().json();
    let model = &result["models"][0];
    assert_eq!((&model["questions"], &model["exact"]), (&json!(2), &json!(0.5)));
    assert_eq!(model["patterns"], json!({"^.": 1.0, "^never said$": 0.0}));
    let answers: Vec<&str> =
        model["answers"].as_array().unwrap().iter().map(|one| one["answer"].as_str().unwrap()).collect();
    assert_eq!(answers, [answer.as_str(), answer.as_str()]);
    assert_eq!(scratch.read_json("scores.json"), result);

    let args = ["evaluate", "--model", "base", "--data", "heldout.jsonl", "--max-tokens", "8", "--limit", "1"];
    let said = scratch.ft(&args).done();
    assert!(said.stdout.contains("1 question ") && said.stdout.contains("100.0 %"), "{}", said.stdout);
}

#[test]
fn plain_texts_give_the_loss_of_every_token() {
    let scratch = Scratch::new();
    let texts = ["Only a text.", "Another one, which is longer."];
    let lines: String = texts.iter().map(|text| json!({ "text": text }).to_string() + "\n").collect();
    scratch.write("texts.jsonl", &lines);
    let result = scratch.ft(&["evaluate", "--model", "base", "--data", "texts.jsonl", "--json"]).done().json();
    let model = &result["models"][0];
    // A run over the same texts measures the same before its first step.
    let config = json!({
        "model": {"path": "base"},
        "data": {"train": "train.jsonl", "validation": "texts.jsonl", "max_seq_length": 200},
        "training": {"steps": 1}, "evaluation": {"samples": 0},
    });
    scratch.write("texts.yaml", &config.to_string());
    let trained = scratch.ft(&["train", "texts.yaml", "--out", "run", "--json"]).done().json();
    let (loss, expected) = (model["loss"].as_f64().unwrap(), trained["validation_loss"][0].as_f64().unwrap());
    assert!((loss - expected).abs() < 1e-5, "{loss} for {expected}");
    assert!((model["perplexity"].as_f64().unwrap() - loss.exp()).abs() < 1e-9);
    assert_eq!((&model["questions"], &model["exact"]), (&json!(0), &Value::Null));
    let said = scratch.ft(&["evaluate", "--model", "base", "--data", "texts.jsonl"]).done().stdout;
    assert!(said.contains("perplexity") && !said.contains("equal answers"), "{said}");
}

#[test]
fn what_cannot_be_evaluated_is_refused() {
    let scratch = Scratch::new();
    scratch.write("texts.jsonl", "{\"text\": \"Only a text.\"}\n");
    scratch.write("empty.jsonl", "");
    let refused =
        |args: &[&str], code, parts: &[&str]| scratch.ft(&[&["evaluate"], args].concat()).refused(code, parts);
    let model = ["--model", "base", "--data"];
    refused(&[&model[..], &["texts.jsonl", "--pattern", "x"]].concat(), 2, &["--pattern", "asks anything"]);
    refused(&[&model[..], &["empty.jsonl"]].concat(), 1, &["empty.jsonl has no rows"]);
    refused(&[&model[..], &["validation.jsonl", "--pattern", "("]].concat(), 2, &["--pattern ("]);
    scratch.train().done();
    std::fs::remove_dir_all(scratch.path("run/adapter")).unwrap();
    refused(&["--run", "run", "--data", "validation.jsonl"], 2, &["run: is not finished", "ft resume"]);
}

#[test]
fn a_tokenizer_of_ones_own_is_enough_for_a_new_model() {
    let scratch = Scratch::new();
    let train = |out: &str| {
        let args = ["tokenizer", "train", "train.jsonl", "--vocabulary", "280", "--out", out, "--json"];
        scratch.ft(&args).done().json()
    };
    let result = train("tokenizer");
    assert_eq!((&result["vocabulary"], &result["texts"]), (&json!(280), &json!(48)));
    train("again");
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        assert_eq!(scratch.read(&format!("tokenizer/{name}")), scratch.read(&format!("again/{name}")), "{name}");
    }
    scratch.write(
        "new.yaml",
        &json!({
            "model": {"init": "random", "tokenizer": "tokenizer",
                      "size": {"layers": 1, "hidden": 16, "heads": 2, "feed_forward": 32, "max_positions": 256}},
            "adapter": {"method": "full"},
            "data": {"train": "train.jsonl", "max_seq_length": 200},
            "training": {"steps": 2},
        })
        .to_string(),
    );
    scratch.ft(&["train", "new.yaml", "--out", "new"]).done();
    scratch.ft(&["generate", "--model", "new/model", "--prompt", "Hello", "--max-tokens", "2"]).done();

    let refused = |args: &[&str], parts: &[&str]| {
        scratch.ft(&[&["tokenizer", "train", "train.jsonl"], args].concat()).refused(2, parts);
    };
    refused(&["--out", "tokenizer"], &["tokenizer: exists already", "--out"]);
    let said = scratch.ft(&["tokenizer", "train", "train.jsonl", "--vocabulary", "10", "--out", "small"]);
    said.refused(1, &["a vocabulary of 10", "from 259"]);
    assert!(!scratch.path("small").exists());
}
