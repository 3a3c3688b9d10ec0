//! `model.quantize`: training on a base in blocks.
#![allow(clippy::disallowed_methods, reason = "tests write where they like")]

mod common;

use std::fs;

use attune::tiny_base::TinyBase;
use serde_json::json;

use common::{Said, Scratch, ft_with, names};

/// Rows of whole blocks of NF4.
fn scratch() -> Scratch {
    let base = TinyBase { hidden: 64, feed_forward: 128, ..common::small_base() };
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

#[test]
fn what_cannot_be_quantised_is_refused() {
    let scratch = Scratch::with_base(&TinyBase { hidden: 96, heads: 4, ..common::small_base() });
    scratch.configure(&json!({"training": {"steps": 2}, "logging": {"dir": "runs"}}));
    let said = train(&scratch, "nf4", "runs/x", "cache");
    assert_eq!(said.code, Some(1), "{}", said.stderr);
    assert!(said.stderr.contains("96") && said.stderr.contains("NF4"), "{}", said.stderr);
    scratch.ft(&["export", "gguf", "--model", "base", "--type", "f16", "--out", "base.gguf"]).done();
    let set = ["train", "ft.yaml", "--set", "model.path=base.gguf", "--set", "model.quantize=nf4", "--out", "runs/y"];
    scratch.ft(&set).refused(2, &["model.quantize"]);
}
