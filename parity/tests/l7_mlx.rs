//! Rung l7: mlx-lm opens adapters as we write them and computes what we compute, and we open what it wrote. Needs a Python
//! with mlx-lm; without it, prints SKIPPED.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "tests, their helpers and their scratch files"
)]

use std::path::{Path, PathBuf};
use std::process::Command;

use attune_compute::reference::Reference;
use attune_model::{Adapter, AdapterLayout};
use attune_parity::harness::Loaded;
use attune_parity::tolerances::tolerance;
use attune_parity::{Arithmetic, Comparison, Golden, Mismatch, Quantity, Rung};
use serde::Deserialize;

fn python() -> Option<PathBuf> {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let beside = if cfg!(windows) { "target/peers/Scripts/python.exe" } else { "target/peers/bin/python" };
    let python = std::env::var_os("ATTUNE_PEER_PYTHON").map_or_else(|| root.join(beside), PathBuf::from);
    let probe = Command::new(&python).args(["-c", "import mlx.core, mlx_lm"]).output();
    if probe.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    println!("SKIPPED: {} is absent or has no mlx-lm; parity/README.md says how to make it", python.display());
    None
}

#[derive(Deserialize)]
struct Answer {
    modules: Vec<String>,
    prompts: Vec<PromptAnswer>,
}

#[derive(Deserialize)]
struct PromptAnswer {
    base_logits: Vec<f32>,
    logits: Vec<f32>,
}

fn prompts(loaded: &Loaded) -> Vec<&[u32]> {
    loaded.golden.case.rows.iter().take(4).map(|row| row.ids.as_slice()).collect()
}

/// The model with the keys of `config.json` that mlx-lm reads in every family: `rope_theta` and `rope_scaling` for
/// `rope_parameters`, which its llama and qwen2 pass over.
fn model_for_mlx(loaded: &Loaded, dir: &Path) {
    std::fs::create_dir_all(dir).unwrap();
    for entry in std::fs::read_dir(loaded.golden.model_dir()).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, dir.join(path.file_name().unwrap())).unwrap();
    }
    let path = dir.join("config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    if let Some(mut rope) = config.as_object_mut().unwrap().remove("rope_parameters") {
        config["rope_theta"] = rope["rope_theta"].take();
        if rope["rope_type"] != "default" {
            config["rope_scaling"] = rope;
        }
    }
    std::fs::write(&path, config.to_string()).unwrap();
}

/// What mlx-lm says of an adapter, which it makes before if `make` says so.
fn ask(python: &Path, loaded: &Loaded, adapter: &Path, make: Option<&str>) -> Answer {
    let file = adapter.with_extension("prompts.json");
    std::fs::write(&file, serde_json::to_string(&prompts(loaded)).unwrap()).unwrap();
    let base = adapter.with_extension("base");
    model_for_mlx(loaded, &base);
    let output = Command::new(python)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/peers/mlx_adapter.py"))
        .args([&base, adapter, &file])
        .args(make.into_iter().flat_map(|kind| ["--make", kind]))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The logits of our decoder against those of mlx-lm.
fn compare(loaded: &Loaded, adapter: &Adapter, answer: &Answer) -> Result<String, Mismatch> {
    let name = &loaded.golden.case.name;
    let mut modules: Vec<&str> = adapter.modules.iter().map(|module| module.name.as_str()).collect();
    modules.sort_unstable();
    assert_eq!(answer.modules, modules, "{name}");
    let decoder = loaded.decoder(&Reference).unwrap();
    let mut comparison = Comparison::new(name, tolerance(Rung::L7, Quantity::Logits, Arithmetic::F32, Arithmetic::F32));
    for (i, (prompt, theirs)) in prompts(loaded).into_iter().zip(&answer.prompts).enumerate() {
        for (kind, adapter, expected) in
            [("base", None, &theirs.base_logits), ("adapted", Some(adapter), &theirs.logits)]
        {
            let logits = decoder.logits(prompt, adapter).unwrap();
            comparison.add(&format!("{kind} {i}"), logits.row(logits.rows() - 1), expected);
        }
        assert_ne!(theirs.base_logits, theirs.logits, "{name}: the adapter does something");
    }
    comparison.finish()
}

fn named(name: &str) -> Loaded {
    Loaded::new(Golden::named(name).unwrap()).unwrap()
}

/// mlx-lm's layout has one rank and one scale.
fn evened(loaded: &Loaded) -> Adapter {
    let mut spec = loaded.adapter.spec.clone();
    spec.rank_pattern.clear();
    spec.alpha_pattern.clear();
    let mut adapter = Adapter::init(&loaded.base.spec, &spec, 3).unwrap();
    adapter.set_magnitudes(&loaded.base, &Reference);
    for module in &mut adapter.modules {
        let a = module.a.clone();
        let parameters = module.parameters_mut();
        for (i, b) in parameters.b.iter_mut().enumerate() {
            *b = a[(i * 7 + 1) % a.len()];
        }
        for (i, m) in parameters.magnitude.into_iter().flatten().enumerate() {
            *m *= 1.0 + 0.3 * a[i % a.len()];
        }
    }
    adapter
}

#[test]
fn mlx_lm_opens_what_we_write() {
    let Some(python) = python() else { return };
    let scratch = tempfile::tempdir().unwrap();
    for name in ["llama-f32", "qwen2-f32-tied", "qwen2-f32-dora", "qwen3-f32-sharded"] {
        let loaded = named(name);
        let adapter = evened(&loaded);
        let dir = scratch.path().join(name);
        adapter.save(AdapterLayout::Mlx, &loaded.base.spec, &dir, "base").unwrap();
        let answer = ask(&python, &loaded, &dir, None);
        println!("{}", compare(&loaded, &adapter, &answer).unwrap_or_else(|mismatch| panic!("{mismatch}")));

        // The comparison must be able to fail: a wrong alpha, a wrong magnitude.
        let mut wrong = adapter.clone();
        wrong.modules[0].scale *= 1.01;
        assert!(compare(&loaded, &wrong, &answer).is_err(), "{name}: a scale that is off by a hundredth passes");
        let mut wrong = adapter.clone();
        if let Some(magnitude) = wrong.modules[0].parameters_mut().magnitude {
            magnitude[0] *= 1.05;
            assert!(compare(&loaded, &wrong, &answer).is_err(), "{name}: a wrong magnitude passes");
        }
    }
}

#[test]
fn we_open_what_mlx_lm_writes() {
    let Some(python) = python() else { return };
    let scratch = tempfile::tempdir().unwrap();
    for (name, kind) in [("qwen2-f32-tied", "lora"), ("qwen2-f32-dora", "dora"), ("qwen3-f32-sharded", "dora")] {
        let loaded = named(name);
        let dir = scratch.path().join(name);
        let answer = ask(&python, &loaded, &dir, Some(kind));
        assert_eq!(AdapterLayout::detect(&dir).unwrap(), AdapterLayout::Mlx);
        let adapter = Adapter::open(&loaded.base.spec, &dir).unwrap();
        assert_eq!((adapter.modules.len(), adapter.spec.use_dora), (3, kind == "dora"));
        println!("{}", compare(&loaded, &adapter, &answer).unwrap_or_else(|mismatch| panic!("{mismatch}")));
    }
}
