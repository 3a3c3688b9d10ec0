//! Files that say what is in a folder, changed at random: the index of sharded weights, headers of weights, configurations of
//! PEFT's and mlx-lm's adapters. Whatever the bytes are, an answer comes without a panic, soon, and in little memory.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests write where they like")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use attune_formats::mlx::{self, FineTuneType, MlxConfig};
use attune_formats::peft::{self, AdapterConfig};
use attune_formats::tensors::{self, TensorView, WeightFolder};
use attune_fuzzer::{Verdict, budget, fuzz, peak_resident_kb};
use serde_json::json;

/// Files that are fed.
const TARGETS: usize = 4;
/// More than this the whole process may never hold.
const MAX_RESIDENT_KB: u64 = 512 << 10;

/// Feeds `read` with changes of the file `name` of a folder, and of other forms of that file.
fn fuzz_file(dir: &Path, name: &str, others: &[String], mut read: impl FnMut() -> Verdict) {
    let path = dir.join(name);
    let mut seeds = vec![fs::read(&path).unwrap()];
    seeds.extend(others.iter().map(|text| text.clone().into_bytes()));
    fuzz(name, &seeds, budget(2.0, TARGETS), |bytes| {
        fs::write(&path, bytes).unwrap();
        read()
    });
    if let Some(peak) = peak_resident_kb() {
        assert!(peak < MAX_RESIDENT_KB, "{peak} kB");
    }
}

/// What is accepted must be whole.
fn open_weights(dir: &Path) -> Verdict {
    let folder = WeightFolder::open(dir);
    for tensor in folder.iter().flat_map(WeightFolder::tensors) {
        let elements: usize = tensor.shape.iter().product();
        if let Ok(values) = tensors::as_f32_vec(tensor) {
            assert_eq!(values.len(), elements, "{tensor:?}");
        }
    }
    Verdict::of(&folder)
}

fn write_shard(dir: &Path, name: &str, tensor: &str) {
    let tensors = [TensorView { name: tensor, shape: &[2, 3], data: &[1.0; 6] }];
    tensors::write_tensors(&dir.join(name), &tensors, &BTreeMap::from([("format".into(), "pt".into())])).unwrap();
}

#[test]
fn index_of_shards() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    let shards = [("model-00001-of-00002.safetensors", "a"), ("model-00002-of-00002.safetensors", "b")];
    shards.iter().for_each(|(file, tensor)| write_shard(dir, file, tensor));
    let map: BTreeMap<&str, &str> = shards.iter().map(|(file, tensor)| (*tensor, *file)).collect();
    let index = json!({"metadata": {"total_size": 48}, "weight_map": map});
    let name = "model.safetensors.index.json";
    fs::write(dir.join(name), format!("{index:#}")).unwrap();
    let others = [index.to_string(), json!({"weight_map": map}).to_string()];
    fuzz_file(dir, name, &others, || open_weights(dir));
}

#[test]
fn header_of_weights() {
    let scratch = tempfile::tempdir().unwrap();
    write_shard(scratch.path(), "model.safetensors", "a");
    fuzz_file(scratch.path(), "model.safetensors", &[], || open_weights(scratch.path()));
}

#[test]
fn configuration_of_peft() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    let module = "model.layers.0.self_attn.q_proj";
    let [a, b] = ["lora_A", "lora_B"].map(|matrix| format!("base_model.model.{module}.{matrix}.weight"));
    let tensors = [
        TensorView { name: &a, shape: &[2, 3], data: &[1.0; 6] },
        TensorView { name: &b, shape: &[4, 2], data: &[1.0; 8] },
    ];
    tensors::write_tensors(&dir.join("adapter_model.safetensors"), &tensors, &BTreeMap::new()).unwrap();
    let config = json!({
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": "base", "r": 2, "lora_alpha": 4,
        "lora_dropout": 0.1, "target_modules": ["q_proj"], "rank_pattern": {"k_proj": 4}, "alpha_pattern": {"k_proj": 8},
        "layers_to_transform": [0], "layers_pattern": "layers", "use_rslora": true, "bias": "none",
    });
    let plain = json!({"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ".*(q|k)_proj"});
    fs::write(dir.join("adapter_config.json"), format!("{config:#}")).unwrap();
    fuzz_file(dir, "adapter_config.json", &[plain.to_string()], || {
        if let Ok(config) = AdapterConfig::read(&dir.join("adapter_config.json")) {
            assert!(config.r > 0 && config.lora_alpha.is_finite());
            let _ = (config.targets(module), config.scale_of(module), config.rank_of(module));
        }
        let read = peft::read(dir);
        if let Ok(adapter) = &read {
            let _ = (adapter.unsupported(), adapter.pairs().map(|pairs| pairs.len()));
        }
        Verdict::of(&read)
    });
}

#[test]
fn configuration_of_mlx() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    let module = "model.layers.1.self_attn.q_proj";
    let names = ["lora_a", "lora_b"].map(|matrix| format!("{module}.{matrix}"));
    let tensors = [
        TensorView { name: &names[0], shape: &[3, 2], data: &[1.0; 6] },
        TensorView { name: &names[1], shape: &[2, 4], data: &[1.0; 8] },
    ];
    tensors::write_tensors(&dir.join(mlx::TENSOR_FILE), &tensors, &BTreeMap::new()).unwrap();
    let config = MlxConfig {
        model: Some("base".into()),
        fine_tune_type: FineTuneType::Lora,
        num_layers: 1,
        rank: 2,
        scale: 0.1,
        dropout: 0.05,
        keys: Some(vec!["self_attn.q_proj".into()]),
    };
    fs::write(dir.join(mlx::CONFIG_FILE), config.to_json()).unwrap();
    fuzz_file(dir, mlx::CONFIG_FILE, &[], || {
        let read = mlx::read(dir);
        if let Ok(adapter) = &read {
            let _ = adapter.modules(2).map(|modules| modules.len());
        }
        Verdict::of(&read)
    });
}
