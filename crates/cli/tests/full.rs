//! All weights trained, through the binary: dry runs, stops, and what exports make of such a run.
#![allow(clippy::disallowed_methods, clippy::print_stdout, reason = "tests write where they like")]

mod common;

use attune_formats::tensors;
use attune_model::BaseModel;
use common::random_base::RandomBase;
use serde_json::{Value, json};

use common::{Scratch, names};

/// Rows of 256 values, which every GGUF type can hold.
fn scratch() -> Scratch {
    let base = RandomBase { hidden: 256, layers: 1, feed_forward: 256, ..common::small_base() };
    let scratch = Scratch::with_base(&base);
    configure(&scratch, &json!({}));
    scratch
}

/// A run of all weights, with `changes` (sections of keys) on top.
fn configure(scratch: &Scratch, changes: &Value) {
    let mut config = json!({
        "model": { "path": "base" },
        "adapter": { "method": "full" },
        "data": { "train": "train.jsonl", "validation": "validation.jsonl", "max_seq_length": 200 },
        "training": { "steps": 4, "batch_size": 4, "learning_rate": 1e-4 },
        "checkpoint": { "every_steps": null, "every_minutes": null },
        "evaluation": { "every_steps": 2, "samples": 0 },
        "hardware": { "threads": 1 },
    });
    for (section, keys) in changes.as_object().expect("sections") {
        for (key, value) in keys.as_object().expect("keys") {
            config[section][key] = value.clone();
        }
    }
    scratch.write("ft.yaml", &config.to_string());
}

#[test]
fn a_run_of_all_weights_leaves_a_model_that_exports_find() {
    let scratch = scratch();
    let trained = scratch.ft(&["train", "ft.yaml", "--out", "run", "--json"]).done().json();
    assert!(trained["model"].as_str().is_some_and(|path| path.ends_with("model")), "{trained}");
    assert_eq!(trained["adapter"], Value::Null);
    assert!(!scratch.path("run/adapter").exists());

    // The model answers alone, and an artefact says the same.
    let ask = |model: &str| {
        let args = ["generate", "--prompt", "Count from one.", "--max-tokens", "6", "--json", "--model", model];
        scratch.ft(&args).done().json()["token_ids"].clone()
    };
    let said = ask("run/model");
    let report = scratch.ft(&["export", "hf", "--run", "run", "--out", "copy", "--json"]).done().json();
    assert_eq!(report["gate"]["accepted"], json!(true), "{report}");
    let read = |folder: &str| tensors::read_tensors(&scratch.path(folder).join("model.safetensors")).expect("tensors");
    assert_eq!(read("copy"), read("run/model"));
    assert_ne!(read("copy"), read("base"));

    let args = ["export", "gguf", "--run", "run", "--type", "f16", "--out", "model.gguf", "--json"];
    let report = scratch.ft(&args).done().json();
    assert_eq!(report["gate"]["accepted"], json!(true), "{report}");
    assert_eq!(ask("model.gguf"), said);
    scratch.ft(&["export", "ollama", "--run", "run", "--type", "q8_0", "--out", "ollama"]).done();
    assert_eq!(names(&scratch.path("ollama")), ["Modelfile", "model.gguf", "model.gguf.report.json"]);

    let parts = ["trained all weights, so there is no adapter to fuse", "ft export hf --run run"];
    scratch.ft(&["fuse", "--run", "run", "--out", "fused"]).refused(2, &parts);
    assert!(!scratch.path("fused").exists());

    std::fs::rename(scratch.path("run/model"), scratch.path("elsewhere")).expect("a move");
    scratch.ft(&["export", "hf", "--run", "run", "--out", "x"]).refused(2, &["run: has no model yet", "ft resume"]);
}

#[test]
fn the_checkpoints_of_a_run_of_all_weights_pass_every_rule() {
    let scratch = scratch();
    scratch.ft(&["train", "ft.yaml", "--out", "run"]).done();
    scratch.ft(&["checkpoint", "verify", "run"]).done();
    scratch.ft(&["checkpoint", "verify", "run/model"]).done();
    let path = scratch.path("run/checkpoints/step-000004/model.safetensors");
    let mut bytes = std::fs::read(&path).expect("a file");
    *bytes.last_mut().expect("bytes") ^= 1;
    std::fs::write(&path, bytes).expect("a file");
    let said = scratch.ft(&["checkpoint", "verify", "run"]);
    assert_eq!(said.code, Some(3), "{}", said.stderr);
}

#[test]
fn a_dry_run_checks_all_and_writes_nothing() {
    let scratch = scratch();
    let before = names(scratch.dir());
    let checked = scratch.ft(&["train", "ft.yaml", "--dry-run", "--json"]).done().json();
    let model = BaseModel::load(&scratch.path("base")).expect("a base");
    assert_eq!(checked["trained_parameters"], json!(model.spec.parameters()));
    assert_eq!((&checked["steps"], &checked["train_rows"]), (&json!(4), &json!(24)));
    let said = scratch.ft(&["train", "ft.yaml", "--dry-run"]).done();
    assert!(said.stdout.starts_with("ready: 4 steps over 24 examples"), "{}", said.stdout);
    assert_eq!(names(scratch.dir()), before);
    // What would stop the run stops the dry run.
    scratch.write("train.jsonl", "{\"messages\": 3}\n");
    let said = scratch.ft(&["train", "ft.yaml", "--dry-run"]);
    assert_ne!(said.code, Some(0));
    assert_eq!(names(scratch.dir()), before);
}

#[test]
fn settings_that_would_be_ignored_are_refused() {
    let scratch = scratch();
    let refused = |changes: Value, parts: &[&str]| {
        configure(&scratch, &changes);
        scratch.train().refused(2, parts);
        scratch.assert_nothing_written();
    };
    refused(json!({"adapter": {"rank": 4}}), &["adapter.rank", "with full there is no adapter"]);
    refused(json!({"model": {"quantize": "int8"}}), &["model.quantize", "cannot be trained"]);
    refused(json!({"model": {"init": "random"}, "adapter": {"method": "lora"}}), &["model.init", "adapter.method"]);
}

#[test]
fn a_new_model_is_trained_from_a_size_and_a_tokenizer() {
    let scratch = scratch();
    let size = json!({"layers": 1, "hidden": 32, "heads": 2, "feed_forward": 48, "max_positions": 256});
    let model = json!({"path": "", "init": "random", "size": size, "tokenizer": "base"});
    configure(&scratch, &json!({"model": model, "training": {"learning_rate": 3e-3}}));
    let trained = scratch.ft(&["train", "ft.yaml", "--out", "run", "--json"]).done().json();
    let losses = trained["train_loss"].as_array().expect("losses");
    // Weights that know nothing: the logarithm of the vocabulary.
    let first = losses[0].as_f64().expect("a number");
    let model = BaseModel::load(&scratch.path("run/model")).expect("a model");
    assert!((first - (model.spec.vocabulary as f64).ln()).abs() < 0.2, "{first}");
    assert!(losses.last().and_then(Value::as_f64).expect("a number") < first);
    scratch.ft(&["generate", "--prompt", "Count", "--raw", "--max-tokens", "3", "--model", "run/model"]).done();
    scratch.ft(&["export", "hf", "--run", "run", "--out", "copy"]).done();
}

/// Weights, gradients and moments of 42 MB each stand out of whatever else a process holds.
#[test]
fn the_predicted_peak_of_all_weights_is_near_the_measured_one() {
    let base =
        RandomBase { hidden: 256, layers: 8, heads: 8, kv_heads: 4, feed_forward: 1024, ..RandomBase::default() };
    let scratch = Scratch::with_base(&base);
    let rows: Vec<String> = (0..16u32)
        .map(|row| {
            let words: Vec<String> = (0..60).map(|word| (row * 131 + word * 17).to_string()).collect();
            common::chat("Count.", &words.join(" "))
        })
        .collect();
    scratch.write("train.jsonl", &(rows.join("\n") + "\n"));
    for dtype in ["f32", "bf16"] {
        for activations in ["keep", "recompute"] {
            configure(
                &scratch,
                &json!({
                    "model": {"dtype": dtype},
                    "data": {"validation": [], "max_seq_length": 512},
                    "training": {"batch_size": 8, "steps": 2},
                    "hardware": {"threads": 2, "activations": activations},
                }),
            );
            let plan = scratch.ft(&["plan", "ft.yaml", "--measure", "--json"]).done().json();
            let number = |key: &str| plan["measured"][key].as_f64();
            let Some(measured) = number("peak_bytes") else {
                println!("SKIPPED: this system does not tell the peak");
                return;
            };
            let predicted = number("predicted_peak_bytes").expect("a prediction");
            let share = predicted / measured;
            println!(
                "{dtype} {activations}: peak {:.0} MB predicted, {:.0} MB measured",
                predicted / 1e6,
                measured / 1e6
            );
            assert!((share - 1.0).abs() < 0.15, "{dtype} {activations}: {predicted} predicted, {measured} measured");
        }
    }
}
