//! What a base model folder must have, and what is said when it has not.

#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;

use attune_compute::reference::Reference;
use attune_formats::tensors::{TensorView, write_tensors};
use attune_model::{BaseModel, Decoder, DecoderSpec, ModelError, RopeScaling};
use serde_json::{Value, json};

type Tensors = Vec<(String, Vec<usize>, Vec<f32>)>;

/// Loads a llama folder after `change` had its way with the tensors.
fn load_changed(change: impl FnOnce(&mut Tensors)) -> Result<BaseModel, ModelError> {
    let dir = tempfile::tempdir().unwrap();
    let spec = common::write_model(dir.path(), &common::config("llama"), 1);
    let mut tensors = common::random_tensors(&spec, 1);
    change(&mut tensors);
    let views: Vec<TensorView> = tensors.iter().map(|(name, shape, data)| TensorView { name, shape, data }).collect();
    write_tensors(&dir.path().join("model.safetensors"), &views, &Default::default()).unwrap();
    let base = BaseModel::load(dir.path())?;
    base.check_finite()?;
    Ok(base)
}

#[allow(clippy::disallowed_methods)]
fn write_config(dir: &Path, config: &Value) {
    std::fs::write(dir.join("config.json"), config.to_string()).unwrap();
}

fn spec_of(config: &Value) -> Result<DecoderSpec, ModelError> {
    let dir = tempfile::tempdir().unwrap();
    write_config(dir.path(), config);
    DecoderSpec::read(dir.path())
}

fn message_of(config: &Value) -> String {
    let error = spec_of(config).unwrap_err();
    assert!(error.hint().is_some());
    error.to_string()
}

#[test]
fn a_missing_tensor_is_named() {
    let error = load_changed(|tensors| tensors.retain(|(name, ..)| !name.contains("1.mlp.up_proj"))).unwrap_err();
    assert!(error.to_string().contains("'model.layers.1.mlp.up_proj.weight' is missing"), "{error}");
}

#[test]
fn a_wrong_shape_is_named_with_both_shapes() {
    let error = load_changed(|tensors| {
        let (_, shape, _) = tensors.iter_mut().find(|(name, ..)| name.ends_with("0.self_attn.q_proj.weight")).unwrap();
        shape.swap(0, 1);
    });
    let message = error.unwrap_err().to_string();
    assert!(message.contains("q_proj.weight") && message.contains("[20, 24], expected [24, 20]"), "{message}");
}

#[test]
fn a_tensor_that_nobody_reads_is_refused() {
    let error =
        load_changed(|tensors| tensors.push(("model.layers.0.mlp.up_proj.bias".into(), vec![27], vec![0.0; 27])));
    assert!(error.unwrap_err().to_string().contains("'model.layers.0.mlp.up_proj.bias' does not belong"));
    // Old checkpoints carry the rotary frequencies; they follow from config.json.
    let rotary = ("model.layers.0.self_attn.rotary_emb.inv_freq".into(), vec![3], vec![1.0; 3]);
    assert!(load_changed(|tensors| tensors.push(rotary)).is_ok());
}

#[test]
fn a_nan_is_found_with_its_place() {
    let error = load_changed(|tensors| {
        tensors.iter_mut().find(|(name, ..)| name == "model.norm.weight").unwrap().2[7] = f32::NAN;
    });
    let message = error.unwrap_err().to_string();
    assert!(message.contains("'model.norm.weight'") && message.contains("element 7"), "{message}");
}

#[test]
fn a_model_counts_its_parameters() {
    for family in ["llama", "mistral", "qwen2", "qwen3"] {
        let spec = spec_of(&common::config(family)).unwrap();
        let counted: usize = common::random_tensors(&spec, 0).iter().map(|(_, _, data)| data.len()).sum();
        assert_eq!(spec.parameters(), counted, "{family}");
    }
}

#[test]
fn what_the_spec_cannot_say_is_refused() {
    let with = |family: &str, key: &str, value: Value| {
        let mut config = common::config(family);
        config[key] = value;
        config
    };
    let refused = [
        (with("llama", "model_type", json!("gemma3")), "model_type 'gemma3' is not supported"),
        (with("llama", "hidden_act", json!("gelu")), "hidden_act gelu is not supported"),
        (with("llama", "quantization_config", json!({"bits": 4})), "quantization_config is not supported"),
        (with("llama", "rope_scaling", json!({"rope_type": "yarn", "factor": 4.0})), "rope_type yarn is not supported"),
        (with("llama", "rope_scaling", json!({"rope_type": "linear"})), "rope_scaling.factor: missing"),
        (
            with("llama", "rope_parameters", json!({"rope_theta": -1})),
            "rope_parameters.rope_theta: expected a number above 0",
        ),
        (with("llama", "num_key_value_heads", json!(3)), "3 does not divide num_attention_heads 4"),
        (with("llama", "head_dim", json!(5)), "5 is odd"),
        (with("llama", "hidden_size", json!("big")), "hidden_size: expected a whole number"),
        (with("llama", "vocab_size", json!(1u64 << 60)), "vocab_size: expected a whole number from 1"),
        (with("llama", "tie_word_embeddings", json!("yes")), "tie_word_embeddings: expected true or false"),
        (with("qwen2", "use_sliding_window", json!(true)), "sliding_window: missing"),
        (json!({"model_type": "llama"}), "missing"),
        (json!([1]), "expected an object, got a list"),
    ];
    for (config, expected) in refused {
        let message = message_of(&config);
        assert!(message.contains(expected), "'{message}' should contain '{expected}'");
    }
}

#[test]
fn windows_follow_the_families_rules() {
    let windows = |config: &Value| spec_of(config).unwrap().windows;
    let mut config = common::config("mistral");
    assert_eq!(windows(&config), vec![Some(4); 3]);
    config["sliding_window"] = Value::Null;
    assert_eq!(windows(&config), vec![None; 3]);
    config.as_object_mut().unwrap().remove("sliding_window");
    assert_eq!(windows(&config), vec![Some(4096); 3]);

    let mut config = common::config("qwen3");
    config["sliding_window"] = json!(5);
    config["max_window_layers"] = json!(1);
    assert_eq!(windows(&config), vec![None; 3], "not used unless use_sliding_window says so");
    config["use_sliding_window"] = json!(true);
    assert_eq!(windows(&config), vec![None, Some(5), Some(5)]);
    config["layer_types"] = json!(["sliding_attention", "full_attention", "full_attention"]);
    assert_eq!(windows(&config), vec![Some(5), None, None]);
}

#[test]
fn rope_is_read_in_the_old_and_the_new_spelling() {
    let old = spec_of(&common::config("llama")).unwrap();
    let mut config = common::config("llama");
    let mut block = config["rope_scaling"].take();
    block["rope_theta"] = json!(10000.0);
    config.as_object_mut().unwrap().remove("rope_theta");
    config.as_object_mut().unwrap().remove("rope_scaling");
    config["rope_parameters"] = block;
    let new = spec_of(&config).unwrap();
    assert_eq!(old, new);
    assert!(matches!(new.rope_scaling, RopeScaling::Llama3 { .. }));
}

#[test]
fn a_folder_that_is_no_model_says_what_it_lacks() {
    let dir = tempfile::tempdir().unwrap();
    let error = BaseModel::load(dir.path()).unwrap_err();
    assert!(error.to_string().contains("config.json"), "{error}");
    assert!(error.hint().unwrap().contains("Hugging Face layout"));
}

#[test]
fn a_tied_model_may_store_the_shared_matrix_under_either_name() {
    let logits = |name: &str| {
        let dir = tempfile::tempdir().unwrap();
        let spec = common::write_model(dir.path(), &common::config("qwen2"), 1);
        assert!(spec.tied_head);
        let mut tensors = common::random_tensors(&spec, 1);
        tensors.iter_mut().find(|(old, ..)| old == "model.embed_tokens.weight").unwrap().0 = name.into();
        let views: Vec<TensorView> =
            tensors.iter().map(|(name, shape, data)| TensorView { name, shape, data }).collect();
        write_tensors(&dir.path().join("model.safetensors"), &views, &Default::default()).unwrap();
        let base = BaseModel::load(dir.path()).unwrap();
        Decoder::new(&Reference, &base, 8).unwrap().logits(&[1, 2, 3], None).unwrap()
    };
    assert_eq!(logits("model.embed_tokens.weight"), logits("lm_head.weight"));
}
