//! `ft plan`: what it prints, when it refuses, and how near it comes to what a run takes.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "these are tests")]

mod common;

use common::random_base::RandomBase;
use common::{Scratch, chat};
use serde_json::{Value, json};

#[test]
fn the_plan_is_a_table_and_writes_nothing() {
    let scratch = Scratch::new();
    let said = scratch.ft(&["plan", "ft.yaml"]).done();
    for part in
        ["keep all", "chosen", "recompute all", "weights of the base", "peak", "tokens/s", "budget: ", "choice: "]
    {
        assert!(said.stdout.contains(part), "{part:?} is not in\n{}", said.stdout);
    }
    assert!(said.stderr.contains("24 examples"), "{}", said.stderr);
    assert!(!scratch.path("runs").exists());
}

#[test]
fn the_plan_as_json_is_what_training_does() {
    let scratch = Scratch::new();
    let set = ["--set", "hardware.memory_budget=4GiB", "--set", "hardware.activations={recompute-layers: 1}"];
    let plan = scratch.ft(&[&["plan", "ft.yaml", "--json"], &set[..]].concat()).done().json();
    assert_eq!(plan["fits"], true);
    assert_eq!(plan["policy"]["recomputed_layers"], 1);
    assert_eq!(plan["budget"], json!({"from": "configured", "bytes": 4u64 << 30}));
    assert_eq!(plan["steps"], 6);
    for key in ["peak_bytes", "tokens_per_sec", "seconds"] {
        assert!(plan[key].as_f64().is_some_and(|number| number > 0.0), "{key}: {plan}");
    }
    let said = scratch.ft(&[&["train", "ft.yaml", "--out", "run"], &set[..]].concat()).done();
    assert!(said.stderr.contains("1 of 2 layers run again"), "{}", said.stderr);
    let log = String::from_utf8(scratch.read("run/log.jsonl")).unwrap();
    let planned: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|line| line["event"] == "planned")
        .collect();
    assert_eq!(planned.len(), 1);
    assert_eq!(planned[0]["policy"], plan["policy"]);
    assert_eq!(planned[0]["fits"], true);
}

#[test]
fn the_choice_is_written_down_for_a_resumed_run() {
    let scratch = Scratch::new();
    scratch.train().done();
    let config = String::from_utf8(scratch.read("run/config.yaml")).unwrap();
    assert!(config.contains("micro_batch_tokens: 4096") && config.contains("activations: keep"), "{config}");
    let adapter = scratch.read("run/adapter/adapter_model.safetensors");
    // What would be chosen now does not matter any more.
    let narrow = config.replace("memory_budget: null", "memory_budget: 1MB");
    assert_ne!(narrow, config);
    scratch.write("run/config.yaml", &narrow);
    let said = scratch.ft(&["resume", "run"]).done();
    assert!(said.stderr.contains("warning: training does not fit into the memory"), "{}", said.stderr);
    assert!(scratch.read("run/adapter/adapter_model.safetensors") == adapter);
}

#[test]
fn a_run_that_cannot_fit_is_refused_with_numbers_and_what_would_do() {
    let scratch = Scratch::new();
    let set = ["--set", "hardware.memory_budget=1MB"];
    let parts =
        ["training does not fit into the memory: it takes at least", "weights of the base", "hardware.memory_budget"];
    scratch.ft(&[&["train", "ft.yaml", "--out", "run"], &set[..]].concat()).refused(2, &parts);
    scratch.assert_nothing_written();
    let plan = scratch.ft(&[&["plan", "ft.yaml", "--json"], &set[..]].concat());
    assert_eq!(plan.code, Some(3), "{}", plan.stderr);
    assert!(plan.stderr.contains("would make it fit: "), "{}", plan.stderr);
    assert_eq!(plan.json()["fits"], false);
    assert!(plan.json()["remedies"][0].is_string());
}

/// A base of 32 MB, steps of some 2000 tokens: activations of about 200 MB, which stand out of whatever else a process
/// holds.
fn measurable() -> Scratch {
    let base =
        RandomBase { hidden: 256, layers: 8, heads: 8, kv_heads: 4, feed_forward: 1024, ..RandomBase::default() };
    let scratch = Scratch::with_base(&base);
    let rows: Vec<String> = (0..16u32)
        .map(|row| {
            let words: Vec<String> = (0..60).map(|word| (row * 131 + word * 17).to_string()).collect();
            chat("Count.", &words.join(" "))
        })
        .collect();
    scratch.write("train.jsonl", &(rows.join("\n") + "\n"));
    scratch.configure(&json!({
        "data": {"validation": [], "max_seq_length": 512},
        "training": {"batch_size": 8, "steps": 2},
        "adapter": {"dropout": 0},
        "hardware": {"threads": 2},
    }));
    scratch
}

#[test]
fn the_predicted_peak_is_near_the_measured_one() {
    let scratch = measurable();
    let mut peaks = Vec::new();
    for activations in ["keep", "{recompute-layers: 4}", "recompute"] {
        let set = format!("hardware.activations={activations}");
        let plan = scratch.ft(&["plan", "ft.yaml", "--measure", "--json", "--set", &set]).done().json();
        let number = |key: &str| plan["measured"][key].as_f64();
        let Some(measured) = number("peak_bytes") else {
            println!("SKIPPED: this system does not tell the peak");
            return;
        };
        let predicted = number("predicted_peak_bytes").unwrap();
        let (seconds, expected) = (number("seconds").unwrap(), number("predicted_seconds").unwrap());
        println!(
            "{activations}: peak {:.0} MB predicted, {:.0} MB measured ({:+.1} %); {expected:.2} s predicted, {seconds:.2} s measured ({:+.1} %)",
            predicted / 1e6,
            measured / 1e6,
            100.0 * (predicted / measured - 1.0),
            100.0 * (expected / seconds - 1.0)
        );
        assert!((predicted / measured - 1.0).abs() < 0.15, "{activations}: {predicted} predicted, {measured} measured");
        // Time on a machine that does other things meanwhile says little.
        assert!(expected > 0.0 && seconds > 0.0);
        peaks.push(measured);
    }
    assert!(peaks[0] > 1.2 * peaks[1] && peaks[1] > 1.2 * peaks[2], "{peaks:?}");
}
