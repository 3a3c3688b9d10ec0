#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests and their scratch files")]

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const Q: &str = "model.layers.1.self_attn.q_proj";

fn config() -> MlxConfig {
    MlxConfig {
        model: Some("base".into()),
        fine_tune_type: FineTuneType::Dora,
        num_layers: 1,
        rank: 2,
        scale: 0.1,
        dropout: 0.05,
        keys: Some(vec!["self_attn.q_proj".into()]),
    }
}

const A: [f32; 6] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]; // [2, 3]
const B: [f32; 8] = [1.0, -1.0, 2.0, -2.0, 3.0, -3.0, 4.0, -4.0]; // [4, 2]
const M: [f32; 4] = [9.0, 8.0, 7.0, 6.0];

fn write(dir: &Path, config: &MlxConfig) {
    let writer = DirWriter::create(dir).unwrap();
    let magnitude = (config.fine_tune_type == FineTuneType::Dora).then_some(&M[..]);
    write_into(&writer, config, &[ModuleView { name: Q, a: &A, b: &B, magnitude }]).unwrap();
    writer.commit().unwrap();
}

#[test]
fn the_file_has_the_transposes_and_the_folder_comes_back() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("adapter");
    write(&dir, &config());
    let read = read(&dir).unwrap();
    assert_eq!(read.config, config());
    let tensor = |leaf: &str| read.tensors[&format!("{Q}.{leaf}")].clone();
    assert_eq!(tensor("lora_a"), F32Tensor { shape: vec![3, 2], data: vec![1.0, 4.0, 2.0, 5.0, 3.0, 6.0] });
    let b = vec![1.0, 2.0, 3.0, 4.0, -1.0, -2.0, -3.0, -4.0];
    assert_eq!(tensor("lora_b"), F32Tensor { shape: vec![2, 4], data: b });
    assert_eq!(tensor("m"), F32Tensor { shape: vec![4], data: M.to_vec() });
    let modules = read.modules(2).unwrap();
    assert_eq!(
        modules[Q],
        MlxModule { a: A.to_vec(), b: B.to_vec(), inputs: 3, outputs: 4, magnitude: Some(M.to_vec()) }
    );
    let text = std::fs::read_to_string(dir.join(CONFIG_FILE)).unwrap();
    assert!(text.contains("\"scale\": 0.1,") || text.contains("\"scale\": 0.1\n"), "{text}");
}

/// What is said after a change of the configuration, for a model of `layers` blocks.
fn said(layers: usize, change: impl FnOnce(&mut Value)) -> String {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("adapter");
    write(&dir, &config());
    let path = dir.join(CONFIG_FILE);
    let mut json: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    change(&mut json);
    std::fs::write(&path, json.to_string()).unwrap();
    match read(&dir) {
        Ok(adapter) => match adapter.modules(layers) {
            Ok(_) => "fine".into(),
            Err(error) => format!("{error} / {}", error.hint().unwrap()),
        },
        Err(error) => format!("{error} / {}", error.hint().unwrap()),
    }
}

#[test]
fn configurations_are_held_to_what_mlx_lm_would_do() {
    assert_eq!(said(2, |_| ()), "fine");
    assert_eq!(said(2, |config| config["num_layers"] = json!(-1)), "fine");
    assert_eq!(said(2, |config| config["num_layers"] = json!(16)), "fine");
    assert_eq!(said(2, |config| drop(config["lora_parameters"].as_object_mut().unwrap().remove("keys"))), "fine");
    assert_eq!(said(2, |config| config["lora_parameters"]["keys"] = json!([Q])), "fine");
    for (layers, change, expected) in [
        (3, ("num_layers", json!(1)), "is not among the keys and layers"),
        (1, ("num_layers", json!(1)), "is not among the keys and layers"),
        (2, ("num_layers", json!(null)), "num_layers: is missing"),
        (2, ("num_layers", json!("all")), "num_layers: invalid type"),
        (2, ("fine_tune_type", json!("full")), "fine_tune_type is \"full\""),
        (2, ("fine_tune_type", json!("lora")), "tensor \"model.layers.1.self_attn.q_proj.m\" is not a matrix"),
        (2, ("lora_parameters", json!(null)), "lora_parameters: is missing"),
        (2, ("lora_parameters", json!({"rank": 2, "alpha": 4, "dropout": 0})), "lora_parameters.scale: is missing"),
        (2, ("lora_parameters", json!({"rank": 0, "scale": 4, "dropout": 0})), "rank: 0 is not from 1"),
        (2, ("lora_parameters", json!({"rank": 3, "scale": 4, "dropout": 0})), "rank 3 needs [in, 3] and [3, out]"),
        (2, ("lora_parameters", json!({"rank": 2, "scale": 1e99, "dropout": 0})), "scale: is not a finite number"),
        (2, ("lora_parameters", json!({"rank": 2, "scale": 4, "dropout": 1})), "dropout: 1 is not from 0 up to 1"),
        (
            2,
            ("lora_parameters", json!({"rank": 2, "scale": 4, "dropout": 0, "keys": ["mlp.up_proj"]})),
            "is not among the keys",
        ),
    ] {
        let said = said(layers, |config| config[change.0] = change.1.clone());
        assert!(said.contains(expected), "{change:?}: {said}");
    }
}

#[test]
fn tensors_must_be_whole_modules() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("adapter");
    write(&dir, &config());
    let whole = read(&dir).unwrap();
    let said = |change: &dyn Fn(&mut BTreeMap<String, F32Tensor>)| {
        let mut adapter = whole.clone();
        change(&mut adapter.tensors);
        adapter.modules(2).unwrap_err().to_string()
    };
    for leaf in ["lora_a", "lora_b", "m"] {
        let missing = said(&|tensors| drop(tensors.remove(&format!("{Q}.{leaf}"))));
        assert!(missing.ends_with(&format!("has no {leaf}")), "{missing}");
    }
    let one = F32Tensor { shape: vec![1], data: vec![1.0] };
    for name in ["lora_a", ".lora_a", "model.norm.weight", "x.m.weight"] {
        let foreign = said(&|tensors| drop(tensors.insert(name.into(), one.clone())));
        assert!(foreign.contains(&format!("tensor {name:?} is not a matrix")), "{foreign}");
    }
    let short = said(&|tensors| drop(tensors.insert(format!("{Q}.m"), one.clone())));
    assert!(short.contains("m is [1], the module has 4 outputs"), "{short}");
    let flat = said(&|tensors| drop(tensors.insert(format!("{Q}.lora_a"), one.clone())));
    assert!(flat.contains("lora_a is [1]"), "{flat}");
    assert!(said(&|tensors| tensors.clear()).ends_with("has no matrices"));
}

proptest! {
    #[test]
    fn any_matrices_come_back_bit_equal(
        (rank, inputs, outputs) in (1usize..5, 1usize..6, 1usize..6),
        bits in proptest::collection::vec(any::<u32>(), 60),
    ) {
        let values = |from: usize, len: usize| -> Vec<f32> {
            (from..from + len).map(|i| f32::from_bits(bits[i % bits.len()])).collect()
        };
        let (a, b) = (values(0, rank * inputs), values(7, outputs * rank));
        let scratch = tempfile::tempdir().unwrap();
        let dir = scratch.path().join("adapter");
        let config = MlxConfig { fine_tune_type: FineTuneType::Lora, rank, ..config() };
        let writer = DirWriter::create(&dir).unwrap();
        write_into(&writer, &config, &[ModuleView { name: Q, a: &a, b: &b, magnitude: None }]).unwrap();
        writer.commit().unwrap();
        let read = read(&dir).unwrap();
        let modules = read.modules(2).unwrap();
        let to_bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        prop_assert_eq!(to_bits(&modules[Q].a), to_bits(&a));
        prop_assert_eq!(to_bits(&modules[Q].b), to_bits(&b));
    }

    #[test]
    fn random_configurations_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join(CONFIG_FILE);
        std::fs::write(&path, bytes).unwrap();
        prop_assert!(MlxConfig::read(&path).is_err());
    }
}
