//! Rung l7: PEFT's adapter folders are read and written back without a change, and PEFT opens what we write and
//! computes what we compute. The live part needs a Python with `parity/requirements.txt`; without it, it prints SKIPPED.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "tests, their helpers and their scratch files"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use attune_compute::reference::Reference;
use attune_formats::tensors::{TensorView, read_tensors, write_tensors};
use attune_model::{Adapter, AdapterSpec, LayerChoice, Linear, Sampling, Targets, generate};
use attune_parity::harness::Loaded;
use attune_parity::tolerances::tolerance;
use attune_parity::{Arithmetic, Comparison, Golden, Quantity, Rung};
use serde::Deserialize;
use serde_json::Value;

const NEW_TOKENS: usize = 6;
const TENSORS: &str = "adapter_model.safetensors";
const CONFIG: &str = "adapter_config.json";

fn named(name: &str) -> Loaded {
    Loaded::new(Golden::named(name).unwrap()).unwrap()
}

fn config(dir: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(dir.join(CONFIG)).unwrap()).unwrap()
}

#[test]
fn pefts_folders_come_back_as_they_were() {
    let scratch = tempfile::tempdir().unwrap();
    for golden in Golden::all().unwrap() {
        let loaded = Loaded::new(golden).unwrap();
        let (theirs, ours) = (loaded.golden.adapter_dir(), scratch.path().join(&loaded.golden.case.name));
        loaded.adapter.save_peft(&ours, "../model").unwrap();

        let (expected, got) =
            (read_tensors(&theirs.join(TENSORS)).unwrap(), read_tensors(&ours.join(TENSORS)).unwrap());
        assert_eq!(got, expected, "{}: names, shapes and every bit", loaded.golden.case.name);
        let (expected, got) = (config(&theirs), config(&ours));
        for (key, value) in got.as_object().unwrap() {
            let expected = expected.get(key).unwrap_or_else(|| panic!("{key}: PEFT has no such key"));
            let equal = match key.as_str() {
                "peft_version" => true,
                "target_modules" => as_set(value) == as_set(expected),
                _ => value == expected || same_numbers(value, expected),
            };
            assert!(equal, "{}: {key}: {value} instead of {expected}", loaded.golden.case.name);
        }
        for key in ["peft_type", "task_type", "r", "lora_alpha", "target_modules", "use_rslora"] {
            assert!(got.get(key).is_some(), "{}: {key} is missing", loaded.golden.case.name);
        }
    }
}

/// The strings of a list, in any order.
fn as_set(value: &Value) -> BTreeSet<&str> {
    value.as_array().unwrap().iter().map(|item| item.as_str().unwrap()).collect()
}

/// Whether two numbers, or the numbers of two objects, are equal, written as integers or not (`alpha_pattern`).
fn same_numbers(got: &Value, expected: &Value) -> bool {
    let numbers = |value: &Value| -> Option<BTreeMap<String, f64>> {
        if let Some(number) = value.as_f64() {
            return Some(BTreeMap::from([(String::new(), number)]));
        }
        value.as_object()?.iter().map(|(key, value)| Some((key.clone(), value.as_f64()?))).collect()
    };
    numbers(got).is_some() && numbers(got) == numbers(expected)
}

/// A Python that can open adapters, if there is one.
fn python() -> Option<PathBuf> {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let beside = if cfg!(windows) { "target/peers/Scripts/python.exe" } else { "target/peers/bin/python" };
    let python = std::env::var_os("ATTUNE_PEER_PYTHON").map_or_else(|| root.join(beside), PathBuf::from);
    if !python.is_file() {
        println!("SKIPPED: {} is absent; parity/README.md says how to make it", python.display());
        return None;
    }
    let probe = Command::new(&python).args(["-c", "import peft, safetensors, torch, transformers"]).output();
    match probe {
        Ok(output) if output.status.success() => Some(python),
        _ => {
            println!("SKIPPED: {} has no peft, torch and transformers", python.display());
            None
        }
    }
}

/// What `open_adapter.py` answers.
#[derive(Deserialize)]
struct Answer {
    modules: Vec<String>,
    prompts: Vec<PromptAnswer>,
}

#[derive(Deserialize)]
struct PromptAnswer {
    base_logits: Vec<f32>,
    logits: Vec<f32>,
    greedy_ids: Vec<u32>,
}

fn open_adapter(python: &Path, base: &Path, adapter: &Path, prompts: &[&[u32]]) -> Output {
    let file = adapter.with_extension("prompts.json");
    std::fs::write(&file, serde_json::to_string(prompts).unwrap()).unwrap();
    Command::new(python)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/peers/open_adapter.py"))
        .args([base, adapter, &file])
        .args(["--new-tokens", &NEW_TOKENS.to_string()])
        .output()
        .unwrap()
}

/// PEFT opens `adapter` as we write it and agrees on logits, greedy tokens and the modules.
fn assert_peft_agrees(python: &Path, loaded: &Loaded, adapter: &Adapter, scratch: &Path) {
    let name = &loaded.golden.case.name;
    let dir = scratch.join(name);
    adapter.save_peft(&dir, "../model").unwrap();
    let prompts: Vec<&[u32]> = loaded.golden.case.rows.iter().take(4).map(|row| row.ids.as_slice()).collect();
    let output = open_adapter(python, &loaded.golden.model_dir(), &dir, &prompts);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {errors}");
    let answer: Answer = serde_json::from_slice(&output.stdout).unwrap();

    let mut modules: Vec<&str> = adapter.modules.iter().map(|module| module.name.as_str()).collect();
    modules.sort_unstable();
    assert_eq!(answer.modules, modules, "{name}");
    let decoder = loaded.decoder(&Reference).unwrap();
    let mut comparison = Comparison::new(name, tolerance(Rung::L7, Quantity::Logits, Arithmetic::F32, Arithmetic::F32));
    assert_eq!(answer.prompts.len(), prompts.len());
    for (i, (prompt, theirs)) in prompts.iter().zip(&answer.prompts).enumerate() {
        for (kind, adapter, expected) in
            [("base", None, &theirs.base_logits), ("adapted", Some(adapter), &theirs.logits)]
        {
            let logits = decoder.logits(prompt, adapter).unwrap();
            comparison.add(&format!("{kind} {i}"), logits.row(logits.rows() - 1), expected);
        }
        assert_ne!(theirs.base_logits, theirs.logits, "{name}: the adapter does something");
        let sampling = Sampling::greedy(NEW_TOKENS, &[]);
        let ours = generate(&decoder, Some(adapter), prompt, &sampling, &mut |_| true).unwrap();
        assert_eq!(ours.ids, theirs.greedy_ids, "{name}: prompt {i}");
    }
    println!("{}", comparison.finish().unwrap_or_else(|mismatch| panic!("{mismatch}")));
}

#[test]
fn peft_opens_what_we_write() {
    let Some(python) = python() else { return };
    let scratch = tempfile::tempdir().unwrap();
    // Whole adapters; patterns; some targets; rsLoRA; some layers; DoRA.
    let names = [
        "llama-f32",
        "llama-bf16-sharded-tied",
        "mistral-f32-sharded-tied",
        "qwen2-f32-tied",
        "qwen2-bf16-sharded",
        "qwen3-bf16-tied",
        "qwen2-f32-dora",
    ];
    for loaded in names.map(named) {
        let mut adapter = loaded.adapter.clone();
        for value in adapter.modules.iter_mut().flat_map(|module| module.a.iter_mut().chain(&mut module.b)) {
            *value *= 1.25; // no longer what PEFT wrote itself
        }
        assert_peft_agrees(&python, &loaded, &adapter, scratch.path());
    }
}

#[test]
fn peft_opens_adapters_that_we_made() {
    let Some(python) = python() else { return };
    let scratch = tempfile::tempdir().unwrap();
    let plain = AdapterSpec {
        rank: 3,
        alpha: 5.0,
        dropout: 0.1,
        targets: Targets::AllLinear,
        layers: LayerChoice::All,
        rank_pattern: BTreeMap::new(),
        alpha_pattern: BTreeMap::new(),
        use_rslora: false,
        use_dora: false,
    };
    let attention = Targets::Some(vec![Linear::V, Linear::Q]);
    let specs = [
        ("qwen2-bf16-sharded", AdapterSpec { layers: LayerChoice::Last(1), targets: attention, ..plain.clone() }),
        ("mistral-bf16", AdapterSpec { layers: LayerChoice::First(1), use_rslora: true, ..plain.clone() }),
        (
            "qwen3-f32-sharded",
            AdapterSpec {
                rank_pattern: BTreeMap::from([("layers.1.mlp.down_proj".into(), 2), ("o_proj".into(), 1)]),
                alpha_pattern: BTreeMap::from([("gate_proj".into(), 7.5)]),
                ..plain
            },
        ),
    ];
    for (name, spec) in specs {
        let loaded = named(name);
        let mut adapter = Adapter::init(&loaded.base.spec, &spec, 5).unwrap();
        for module in &mut adapter.modules {
            let (rank, a) = (module.rank, module.a.clone());
            // B is zero at first; any other values will do.
            for (i, b) in module.b.iter_mut().enumerate() {
                *b = a[(i * 7 + rank) % a.len()];
            }
        }
        assert_peft_agrees(&python, &loaded, &adapter, scratch.path());
    }
}

#[test]
fn the_opener_refuses_a_file_with_a_missing_or_an_unexpected_tensor() {
    let Some(python) = python() else { return };
    let scratch = tempfile::tempdir().unwrap();
    let loaded = named("qwen2-bf16-sharded");
    let dir = scratch.path().join("adapter");
    loaded.adapter.save_peft(&dir, "../model").unwrap();
    let tensors = read_tensors(&dir.join(TENSORS)).unwrap();
    let mut views: Vec<TensorView> =
        tensors.iter().map(|(name, tensor)| TensorView { name, shape: &tensor.shape, data: &tensor.data }).collect();
    let metadata = BTreeMap::from([("format".to_string(), "pt".to_string())]);
    let prompts = [loaded.golden.case.rows[0].ids.as_slice()];
    let refusal = |views: &[TensorView]| {
        write_tensors(&dir.join(TENSORS), views, &metadata).unwrap();
        let output = open_adapter(&python, &loaded.golden.model_dir(), &dir, &prompts);
        assert!(!output.status.success(), "PEFT took it");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };

    let removed = views.pop().unwrap();
    let message = refusal(&views);
    assert!(message.contains(removed.name.trim_end_matches(".weight")), "{message}");
    views.push(removed);
    let stray = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight";
    views.push(TensorView { name: stray, shape: &[1, 1], data: &[1.0] });
    let message = refusal(&views);
    assert!(message.contains(stray), "{message}");
}
