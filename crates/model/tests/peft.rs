//! Adapters on disk: what is written is read back bit-equal, and what does not belong to the model is refused.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use attune_compute::reference::Reference;
use attune_formats::tensors::{TensorView, read_tensors, write_tensors};
use attune_model::{Adapter, AdapterSpec, BaseModel, LayerChoice, Linear, ModelError, Targets};
use serde_json::{Value, json};

fn base(dir: &Path) -> BaseModel {
    common::write_model(dir, &common::config("llama"), 1);
    BaseModel::load(dir).unwrap()
}

fn spec() -> AdapterSpec {
    AdapterSpec {
        rank: 3,
        alpha: 5.0,
        dropout: 0.1,
        targets: Targets::AllLinear,
        layers: LayerChoice::All,
        rank_pattern: BTreeMap::new(),
        alpha_pattern: BTreeMap::new(),
        use_rslora: false,
        use_dora: false,
    }
}

#[test]
fn an_adapter_comes_back_bit_equal() {
    let dir = tempfile::tempdir().unwrap();
    let base = base(dir.path());
    let variants = [
        spec(),
        AdapterSpec { use_rslora: true, layers: LayerChoice::Last(2), ..spec() },
        AdapterSpec { use_dora: true, use_rslora: true, ..spec() },
        AdapterSpec {
            targets: Targets::Some(vec![Linear::Q, Linear::Down]),
            layers: LayerChoice::First(1),
            rank_pattern: BTreeMap::from([("q_proj".into(), 2)]),
            alpha_pattern: BTreeMap::from([("layers.0.mlp.down_proj".into(), 7.0)]),
            ..spec()
        },
    ];
    for (number, spec) in variants.into_iter().enumerate() {
        let folder = dir.path().join(format!("adapter-{number}"));
        let mut written = Adapter::init(&base.spec, &spec, 3).unwrap();
        written.set_magnitudes(&base, &Reference);
        written.save_peft(&folder, "base").unwrap();
        let read = Adapter::from_peft(&base.spec, &folder).unwrap();
        assert_eq!(read.modules, written.modules, "{spec:?}");
        let again = dir.path().join("again");
        read.save_peft(&again, "base").unwrap();
        for file in ["adapter_model.safetensors", "adapter_config.json"] {
            assert_eq!(std::fs::read(folder.join(file)).unwrap(), std::fs::read(again.join(file)).unwrap(), "{file}");
        }
    }
}

/// What is said of an adapter folder after `change_config` and `change_tensors`.
fn refusal(change_config: impl FnOnce(&mut Value), change_tensors: impl FnOnce(&mut Named)) -> ModelError {
    let dir = tempfile::tempdir().unwrap();
    let base = base(dir.path());
    let folder = dir.path().join("adapter");
    Adapter::init(&base.spec, &spec(), 3).unwrap().save_peft(&folder, "base").unwrap();
    let config_path = folder.join("adapter_config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&config_path).unwrap()).unwrap();
    change_config(&mut config);
    #[allow(clippy::disallowed_methods)]
    std::fs::write(&config_path, config.to_string()).unwrap();
    let file = folder.join("adapter_model.safetensors");
    let mut tensors: Named =
        read_tensors(&file).unwrap().into_iter().map(|(name, tensor)| (name, (tensor.shape, tensor.data))).collect();
    change_tensors(&mut tensors);
    let views: Vec<TensorView> = tensors.iter().map(|(name, (shape, data))| TensorView { name, shape, data }).collect();
    write_tensors(&file, &views, &BTreeMap::new()).unwrap();
    Adapter::from_peft(&base.spec, &folder).unwrap_err()
}

type Named = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

#[test]
fn what_does_not_belong_to_the_model_is_refused_with_its_name() {
    let name = |module: &str, matrix: &str| format!("base_model.model.{module}.lora_{matrix}.weight");
    let first = name("model.layers.0.self_attn.q_proj", "A");
    let cases: Vec<(ModelError, &str)> = vec![
        (refusal(|config| config["use_dora"] = json!(true), |_| ()), "has no lora_magnitude_vector"),
        (refusal(|config| config["lora_bias"] = json!(true), |_| ()), "lora_bias"),
        (refusal(|config| config["r"] = json!(4), |_| ()), "rank 4"),
        (refusal(|_| (), |tensors| tensors.get_mut(&first).unwrap().1[4] = f32::INFINITY), "element 4"),
        (
            refusal(
                |_| (),
                |tensors| {
                    for matrix in ["A", "B"] {
                        let moved = tensors.remove(&name("model.layers.2.mlp.up_proj", matrix)).unwrap();
                        tensors.insert(name("model.layers.9.mlp.up_proj", matrix), moved);
                    }
                },
            ),
            "model.layers.9.mlp.up_proj",
        ),
        (
            refusal(
                |_| (),
                |tensors| {
                    for matrix in ["A", "B"] {
                        tensors.remove(&name("model.layers.2.mlp.up_proj", matrix)).unwrap();
                    }
                },
            ),
            "different target modules",
        ),
        (
            refusal(|_| (), |tensors| *tensors.get_mut(&first).unwrap() = (vec![3, 19], vec![0.0; 57])),
            "[3, 19], expected [3, 20]",
        ),
    ];
    for (error, expected) in cases {
        assert!(error.to_string().contains(expected), "'{error}' should contain '{expected}'");
        assert!(error.hint().is_some());
    }
}

/// What is said of an adapter with DoRA after `change` to its tensors.
fn dora_refusal(change: impl FnOnce(&mut Named)) -> String {
    let dir = tempfile::tempdir().unwrap();
    let base = base(dir.path());
    let folder = dir.path().join("adapter");
    let mut adapter = Adapter::init(&base.spec, &AdapterSpec { use_dora: true, ..spec() }, 3).unwrap();
    adapter.set_magnitudes(&base, &Reference);
    adapter.save_peft(&folder, "base").unwrap();
    let file = folder.join("adapter_model.safetensors");
    let mut tensors: Named =
        read_tensors(&file).unwrap().into_iter().map(|(name, tensor)| (name, (tensor.shape, tensor.data))).collect();
    change(&mut tensors);
    let views: Vec<TensorView> = tensors.iter().map(|(name, (shape, data))| TensorView { name, shape, data }).collect();
    write_tensors(&file, &views, &BTreeMap::new()).unwrap();
    match Adapter::from_peft(&base.spec, &folder) {
        Ok(read) => format!("{}", read.modules == adapter.modules),
        Err(error) => error.to_string(),
    }
}

#[test]
fn magnitudes_are_held_to_their_modules() {
    let name = "base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector";
    assert_eq!(dora_refusal(|_| ()), "true");
    let full_name = |tensors: &mut Named| {
        let magnitude = tensors.remove(name).unwrap();
        tensors.insert(format!("{name}.weight"), magnitude);
    };
    assert_eq!(dora_refusal(full_name), "true", "the parameter's full name is known, too");
    let missing = dora_refusal(|tensors| drop(tensors.remove(name)));
    assert!(missing.contains("q_proj has no lora_magnitude_vector"), "{missing}");
    let twice = dora_refusal(|tensors| drop(tensors.insert(format!("{name}.weight"), tensors[name].clone())));
    assert!(twice.contains("is the second tensor of its kind"), "{twice}");
    let short = dora_refusal(|tensors| drop(tensors.insert(name.into(), (vec![23], vec![1.0; 23]))));
    assert!(short.contains("lora_magnitude_vector is [23], the module has 24 outputs"), "{short}");
    let wide = dora_refusal(|tensors| drop(tensors.insert(name.into(), (vec![24, 1], vec![1.0; 24]))));
    assert!(wide.contains("lora_magnitude_vector is [24, 1]"), "{wide}");
    let nan = dora_refusal(|tensors| tensors.get_mut(name).unwrap().1[5] = f32::NAN);
    assert!(nan.contains("element 5"), "{nan}");
}

#[test]
fn magnitudes_without_dora_are_refused() {
    let name = "base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector";
    let error = refusal(|_| (), |tensors| drop(tensors.insert(name.into(), (vec![24], vec![1.0; 24]))));
    assert!(error.to_string().contains(name), "{error}");
}
