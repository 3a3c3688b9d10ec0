//! A fuzzer that every run of the tests brings along: each file of the format, changed at random but the same way each
//! time and sealed again where there is a seal, for `ATTUNE_FUZZ_SECS` seconds in all (2 per file if unset). Whatever the bytes
//! are, the verdict comes without a panic, soon, and in little memory.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::print_stdout, reason = "tests write where they like")]

mod checkpoint_common;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use attune_formats::checkpoint::{Report, migrate, verify};
use attune_formats::manifest::{FULL_WEIGHTS, Kind, MadeFrom, Manifest};
use attune_fuzzer::{Random, budget, changed, peak_resident_kb};
use checkpoint_common::{ADAPTER, Draft, MOMENTS, WEIGHTS, model, run};
use serde_json::json;

/// Files that are fed.
const TARGETS: usize = 13;

/// More than this the whole process may never hold.
const MAX_RESIDENT_KB: u64 = 512 << 10;

/// Changes `path`, lets `seal` follow, and judges `dir`. `is_sound` must hold for the unchanged folder.
fn fuzz(dir: &Path, path: &Path, seal: impl Fn()) {
    let (start, limit) = (Instant::now(), budget(2.0, TARGETS));
    assert!(verify(dir).unwrap().is_sound());
    let seed = fs::read(path).unwrap();
    let (mut random, mut slowest) = (Random::default(), Duration::ZERO);
    let (mut runs, mut refused) = (0u64, 0u64);
    while runs < 20 || start.elapsed() < limit {
        fs::write(path, changed(&seed, &mut random)).unwrap();
        seal();
        let one = Instant::now();
        let report = verify(dir).unwrap();
        slowest = slowest.max(one.elapsed());
        assert!(slowest < Duration::from_secs(30), "{slowest:?}");
        has_words(&report);
        if !report.is_sound() {
            refused += 1;
            assert!(migrate(dir, &dir.with_extension("out")).is_err());
        }
        runs += 1;
    }
    assert!(refused > 0);
    if let Some(peak) = peak_resident_kb() {
        assert!(peak < MAX_RESIDENT_KB, "{peak} kB");
    }
    println!("{}: {runs} runs, {refused} refused, the slowest took {slowest:?}", path.display());
}

fn has_words(report: &Report) {
    assert!(report.findings.iter().all(|finding| !finding.message.is_empty()));
    report.parts.iter().for_each(has_words);
}

/// `manifest.json` as it would be if the files of `dir` were meant.
fn seal_again(dir: &Path, features: &[&str]) {
    let path = dir.join("manifest.json");
    let _ = fs::remove_file(&path);
    let mut manifest = Manifest::of(dir, Kind::Checkpoint, MadeFrom::default()).unwrap();
    manifest.required_features = features.iter().map(ToString::to_string).collect();
    fs::write(&path, manifest.to_text()).unwrap();
}

/// One file of a checkpoint, whose seal fits whatever stands in it.
fn fuzz_sealed(name: &str) {
    let scratch = tempfile::tempdir().unwrap();
    let dir = Draft::checkpoint().write(&scratch.path().join("step-000003"));
    fuzz(&dir, &dir.join(name), || seal_again(&dir, &[]));
}

/// As [`fuzz_sealed`], of a checkpoint of all weights.
fn fuzz_full(name: &str) {
    let scratch = tempfile::tempdir().unwrap();
    let dir = Draft::full_checkpoint().write(&scratch.path().join("step-000003"));
    fuzz(&dir, &dir.join(name), || seal_again(&dir, &[FULL_WEIGHTS]));
}

#[test]
fn all_weights() {
    fuzz_full(WEIGHTS);
}

#[test]
fn all_moments() {
    fuzz_full(MOMENTS);
}

#[test]
fn config_of_all_weights() {
    fuzz_full("config.json");
}

#[test]
fn state() {
    fuzz_sealed("state.json");
}

#[test]
fn moments() {
    fuzz_sealed(MOMENTS);
}

#[test]
fn adapter() {
    fuzz_sealed(ADAPTER);
}

#[test]
fn adapter_config() {
    fuzz_sealed("adapter_config.json");
}

/// Half of them with a seal that fits.
#[test]
fn manifest() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = Draft::checkpoint().write(&scratch.path().join("step-000003"));
    let path = dir.join("manifest.json");
    fuzz(&dir, &path, || {
        let mut bytes = fs::read(&path).unwrap();
        let key = b"  \"seal\": \"";
        if let Some(at) = bytes.windows(key.len()).position(|window| window == key)
            && bytes.len().is_multiple_of(2)
        {
            bytes.truncate(at);
            let seal = blake3::hash(&bytes).to_hex();
            bytes.extend_from_slice(format!("  \"seal\": \"{seal}\"\n}}\n").as_bytes());
            fs::write(&path, bytes).unwrap();
        }
    });
}

#[test]
fn manifest_of_version_0() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = Draft::checkpoint().write_version_0(&scratch.path().join("step-000003"));
    fuzz(&dir, &dir.join("manifest.json"), || {});
}

fn fuzz_run(name: &str) {
    let scratch = tempfile::tempdir().unwrap();
    let dir = run(&scratch.path().join("run"), &Draft::checkpoint());
    fuzz(&dir, &dir.join(name), || {});
}

#[test]
fn record_of_a_run() {
    fuzz_run("run.json");
}

#[test]
fn metrics_of_a_run() {
    fuzz_run("metrics.jsonl");
}

fn tiny_model(scratch: &Path) -> PathBuf {
    model(&scratch.join("model"), |_, _| {})
}

#[test]
fn model_config() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = tiny_model(scratch.path());
    fuzz(&dir, &dir.join("config.json"), || {});
}

#[test]
fn model_index() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = tiny_model(scratch.path());
    let shard = "model-00001-of-00001.safetensors";
    let names = attune_formats::tensors::WeightFolder::open(&dir).unwrap();
    let map: serde_json::Map<String, serde_json::Value> =
        names.names().map(|name| (name.to_string(), json!(shard))).collect();
    fs::rename(dir.join("model.safetensors"), dir.join(shard)).unwrap();
    let path = dir.join("model.safetensors.index.json");
    fs::write(&path, json!({"metadata": {}, "weight_map": map}).to_string()).unwrap();
    fuzz(&dir, &path, || {});
}
