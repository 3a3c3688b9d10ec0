//! `model.quantize`: training on a base in blocks.
#![allow(clippy::disallowed_methods, reason = "tests write where they like")]

mod common;

use std::fs;

use common::random_base::RandomBase;
use serde_json::json;

use common::{Said, Scratch, ft_with, names};

/// Rows of whole blocks of NF4.
fn scratch() -> Scratch {
    let base = RandomBase { hidden: 64, feed_forward: 128, ..common::small_base() };
    let scratch = Scratch::with_base(&base);
    scratch.configure(&json!({"training": {"steps": 6}, "logging": {"dir": "runs"}}));
    scratch
}

fn train(scratch: &Scratch, kind: &str, out: &str, cache: &str) -> Said {
    let set = format!("model.quantize={kind}");
    let cache = scratch.path(cache);
    let cache = cache.to_str().expect("a path in UTF-8");
    ft_with(scratch.dir(), &["train", "ft.yaml", "--set", &set, "--out", out, "--json"], &[("FT_CACHE", cache)])
}

#[test]
fn a_quantised_base_trains_the_same_from_the_cache_and_without_one() {
    let scratch = scratch();
    for (kind, stored) in [("nf4", "nf4"), ("int8", "q8_0")] {
        let run = |name: &str, cache: &str| {
            let out = format!("runs/{kind}-{name}");
            let said = train(&scratch, kind, &out, cache).done();
            let losses = said.json()["train_loss"].as_array().expect("losses").len();
            assert_eq!(losses, 6);
            scratch.read(&format!("{out}/adapter/adapter_model.safetensors"))
        };
        let made = run("made", "cache");
        assert_eq!(run("cached", "cache"), made, "{kind}");
        assert_eq!(run("elsewhere", "other"), made, "{kind}");
        let cached = names(&scratch.path("cache/quantized"));
        assert!(cached.iter().any(|name| name.contains(stored)), "{cached:?}");
        // A damaged cache is made again, not used.
        for name in cached {
            let path = scratch.path("cache/quantized").join(name);
            let mut bytes = fs::read(&path).expect("a file");
            let last = bytes.len() - 1;
            bytes[last] ^= 1;
            fs::write(&path, bytes).expect("a file");
        }
        assert_eq!(run("mended", "cache"), made, "{kind}");
    }
    train(&scratch, "none", "runs/plain", "cache").done();
    let plain = scratch.read("runs/plain/adapter/adapter_model.safetensors");
    assert_ne!(plain, scratch.read("runs/nf4-made/adapter/adapter_model.safetensors"), "nothing was quantised");
}

#[test]
fn a_run_on_a_quantised_base_resumes_to_the_same_bytes() {
    let scratch = scratch();
    train(&scratch, "nf4", "runs/whole", "cache").done();
    let cache = scratch.path("cache");
    let variables = [("FT_CACHE", cache.to_str().expect("a path"))];
    let checkpoint = json!({"every_steps": 2});
    scratch.configure(&json!({"training": {"steps": 6}, "logging": {"dir": "runs"}, "checkpoint": checkpoint}));
    train(&scratch, "nf4", "runs/cut", "cache").done();
    for step in ["000004", "000006"] {
        let _ = fs::remove_dir_all(scratch.path(&format!("runs/cut/checkpoints/step-{step}")));
    }
    let _ = fs::remove_dir_all(scratch.path("runs/cut/adapter"));
    ft_with(scratch.dir(), &["resume", "runs/cut"], &variables).done();
    let adapter = |run: &str| scratch.read(&format!("runs/{run}/adapter/adapter_model.safetensors"));
    assert_eq!(adapter("cut"), adapter("whole"));
}

/// What `ft generate` says with a flag, and the folder for caches of [`train`].
fn generate(scratch: &Scratch, quantize: &str) -> Said {
    let cache = scratch.path("cache");
    let args =
        ["generate", "--model", "base", "--prompt", "a b c", "--raw", "--max-tokens", "12", "--json", "--quantize"];
    let variables = [("FT_CACHE", cache.to_str().expect("a path"))];
    ft_with(scratch.dir(), &[&args[..], &[quantize]].concat(), &variables)
}

#[test]
fn generation_reads_the_base_that_training_made() {
    let scratch = scratch();
    let plain = generate(&scratch, "none").done().json();
    assert!(!scratch.path("cache").exists(), "nothing is quantised");
    train(&scratch, "nf4", "runs/nf4", "cache").done();
    let made = names(&scratch.path("cache/quantized"));
    assert_eq!(made.len(), 1, "{made:?}");
    let quantised = generate(&scratch, "nf4").done().json();
    assert_eq!(names(&scratch.path("cache/quantized")), made, "one file for both commands");
    assert_ne!(quantised["logprobs"], plain["logprobs"]);
    assert_eq!(generate(&scratch, "nf4").done().json(), quantised, "the same again");
    let int8 = generate(&scratch, "int8").done().json();
    assert_ne!(int8["logprobs"], plain["logprobs"]);
    let first = |said: &serde_json::Value| said["logprobs"][0].as_f64().expect("a number");
    let off = |said| (first(said) - first(&plain)).abs();
    assert!(off(&int8) < 0.2, "eight bits are near: {int8} {plain}");
}

#[test]
fn a_gguf_base_brings_its_types() {
    let scratch = scratch();
    scratch.ft(&["export", "gguf", "--model", "base", "--type", "f16", "--out", "base.gguf"]).done();
    for command in [&["generate", "--prompt", "a", "--raw"][..], &["bench", "--tokens", "32"]] {
        let args = [command, &["--model", "base.gguf", "--quantize", "nf4"]].concat();
        scratch.ft(&args).refused(2, &["--quantize", "GGUF", "the folder that the file was made from"]);
    }
}

#[test]
fn the_benchmark_trains_on_the_quantised_base() {
    let scratch = scratch();
    let cache = scratch.path("cache");
    let variables = [("FT_CACHE", cache.to_str().expect("a path"))];
    let bench = |quantize: &str| {
        let args = ["bench", "--model", "base", "--tokens", "64", "--steps", "1", "--json", "--quantize", quantize];
        ft_with(scratch.dir(), &args, &variables).done().json()
    };
    let (plain, nf4) = (bench("none"), bench("nf4"));
    let bytes = |said: &serde_json::Value| said["weights_bytes"].as_u64().expect("a number");
    assert!(bytes(&nf4) * 2 < bytes(&plain), "{nf4} {plain}");
    assert!(nf4["generated_tokens_per_sec"].as_f64().expect("a number") > 0.0);
    assert_eq!(nf4["quantize"], "nf4");
}

#[test]
fn the_plan_says_what_quantisation_saves() {
    let scratch = scratch();
    let plan = |kind: &str| scratch.ft(&["plan", "ft.yaml", "--set", &format!("model.quantize={kind}"), "--json"]);
    assert!(plan("none").done().json()["quantization"].is_null());
    let said = plan("nf4").done().json();
    let number = |pointer: &str| said.pointer(pointer).and_then(serde_json::Value::as_f64).expect("a number");
    let (plain, quantised) = (number("/quantization/plain_bytes"), number("/quantization/quantized_bytes"));
    assert!(quantised < plain);
    assert_eq!(number("/layouts/1/parts/weights_bytes"), quantised);
    assert!(number("/quantization/first_run/seconds") > 0.0);
    // Norms stay in the base's file: the blocks are less than all of the weights.
    let disk = number("/quantization/first_run/disk_bytes");
    assert!(disk > 0.0 && disk < quantised);
    let table = scratch.ft(&["plan", "ft.yaml", "--set", "model.quantize=nf4"]).done().stdout;
    assert!(table.contains("times less") && table.contains("the first run on this base encodes it"), "{table}");
}

#[test]
fn what_cannot_be_quantised_is_refused() {
    let scratch = Scratch::with_base(&RandomBase { hidden: 96, heads: 4, ..common::small_base() });
    scratch.configure(&json!({"training": {"steps": 2}, "logging": {"dir": "runs"}}));
    let said = train(&scratch, "nf4", "runs/x", "cache");
    assert_eq!(said.code, Some(1), "{}", said.stderr);
    assert!(said.stderr.contains("96") && said.stderr.contains("NF4"), "{}", said.stderr);
    scratch.ft(&["export", "gguf", "--model", "base", "--type", "f16", "--out", "base.gguf"]).done();
    let set = ["train", "ft.yaml", "--set", "model.path=base.gguf", "--set", "model.quantize=nf4", "--out", "runs/y"];
    scratch.ft(&set).refused(2, &["model.quantize"]);
}
