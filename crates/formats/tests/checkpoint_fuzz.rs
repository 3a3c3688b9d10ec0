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
use checkpoint_common::{ADAPTER, Draft, MOMENTS, WEIGHTS, model, run};
use serde_json::json;

/// Files that are fed.
const TARGETS: f64 = 13.0;

/// More than this the whole process may never hold.
const MAX_RESIDENT_KB: u64 = 512 << 10;

/// xorshift64*, so that the changes are the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

/// What parsers of these files stumble over.
const PIECES: [&[u8]; 22] = [
    b"\"",
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\n",
    b"\0",
    b"\xFF",
    b"null",
    b"NaN",
    b"1e999",
    b"-1",
    b"0",
    b"18446744073709551615",
    b"99999999999999999999",
    b"\\ud800",
    b"../",
    b"\"seal\": \"",
    b"[[[[[[[[",
];

fn changed(seed: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..1 + random.below(4) {
        let at = random.below(bytes.len() + 1);
        match random.below(6) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            1 if at < bytes.len() => bytes[at] = random.next() as u8,
            2 => bytes.truncate(at),
            3 => drop(bytes.drain(at..(at + random.below(40)).min(bytes.len()))),
            4 => {
                let copy = bytes[at..(at + random.below(200)).min(bytes.len())].to_vec();
                let to = random.below(bytes.len() + 1);
                bytes.splice(to..to, copy);
            }
            _ => {
                let piece = PIECES[random.below(PIECES.len())].repeat(1 + random.below(300) * random.below(2));
                bytes.splice(at..at, piece);
            }
        }
    }
    bytes
}

/// The most memory that this process ever held; `None` where the system does not tell.
fn peak_resident_kb() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Changes `path`, lets `seal` follow, and judges `dir`. `is_sound` must hold for the unchanged folder.
fn fuzz(dir: &Path, path: &Path, seal: impl Fn()) {
    let secs: Option<f64> = std::env::var("ATTUNE_FUZZ_SECS").ok().and_then(|secs| secs.parse().ok());
    let secs = secs.map_or(2.0, |of_all| of_all / TARGETS);
    let (start, limit) = (Instant::now(), Duration::from_secs_f64(secs));
    assert!(verify(dir).unwrap().is_sound());
    let seed = fs::read(path).unwrap();
    let (mut random, mut slowest) = (Random(0x9E37_79B9_7F4A_7C15), Duration::ZERO);
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
