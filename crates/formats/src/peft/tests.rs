#![expect(clippy::disallowed_methods, reason = "tests damage files on purpose")]

use std::fs;

use super::*;
use crate::files::FileError;

const Q: &str = "model.layers.0.self_attn.q_proj";

fn config_from(text: &str) -> Result<AdapterConfig, PeftError> {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join(CONFIG_FILE);
    fs::write(&path, text).unwrap();
    AdapterConfig::read(&path)
}

/// A plain LoRA configuration with `keys` added.
fn config_with(keys: &str) -> Result<AdapterConfig, PeftError> {
    config_from(&format!(r#"{{"peft_type": "LORA", "task_type": "CAUSAL_LM", "target_modules": ["q_proj"], {keys}}}"#))
}

fn patterns<V: Copy>(entries: &[(&str, V)]) -> BTreeMap<String, V> {
    entries.iter().map(|&(key, value)| (key.to_string(), value)).collect()
}

#[test]
fn the_defaults_are_those_of_peft() {
    let config = config_from(r#"{"peft_type": "LORA", "target_modules": "ALL-linear"}"#).unwrap();
    assert_eq!(config, AdapterConfig { task_type: None, ..AdapterConfig::default() });
    assert_eq!((config.r, config.lora_alpha, config.lora_dropout, config.use_rslora), (8, 8.0, 0.0, false));
    assert!(config.unsupported.is_empty() && config.ignored.is_empty());
}

#[test]
fn a_configuration_is_read_as_written() {
    let config = AdapterConfig {
        base_model_name_or_path: Some("meta/\"x\"".into()),
        r: 16,
        lora_alpha: 32.0,
        lora_dropout: 0.1,
        target_modules: TargetModules::Names(vec!["q_proj".into(), "up_proj".into()]),
        layers_to_transform: Some(vec![0, 5]),
        layers_pattern: vec!["layers".into()],
        rank_pattern: patterns(&[("q_proj", 4), ("layers.0.mlp.up_proj", 2)]),
        alpha_pattern: patterns(&[("q_proj", 4.5), ("up_proj", 64.0)]),
        use_rslora: true,
        ..AdapterConfig::default()
    };
    let text = config.to_json();
    assert_eq!(config_from(&text).unwrap(), config);
    let keys: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("  \"")?.split('"').next()).collect();
    assert!(keys.is_sorted(), "{keys:?}");
    assert_eq!(keys.len(), 20);
    for line in [
        "  \"lora_alpha\": 32,",
        "  \"lora_dropout\": 0.1,",
        "    \"q_proj\": 4.5,",
        "    \"up_proj\": 64",
        "  \"inference_mode\": true,",
        "  \"modules_to_save\": null,",
        "  \"peft_type\": \"LORA\",",
        "  \"use_rslora\": true",
    ] {
        assert!(text.lines().any(|got| got == line), "{line} in {text}");
    }
    let all = AdapterConfig::default();
    assert!(all.to_json().contains("\"target_modules\": \"all-linear\""));
    assert_eq!(config_from(&all.to_json()).unwrap(), all);
}

#[test]
fn unknown_keys_are_dropped_and_named() {
    let config = config_with(
        r#""peft_version": "0.99", "runtime_config": {"x": 1}, "qalora_group_size": 16, "megatron_core": "megatron.core",
           "loftq_config": {}, "eva_config": {"rho": 2}, "auto_mapping": {"a": "b"}, "init_lora_weights": "gaussian",
           "future_on": {"a": 1}, "future_off": null, "future_false": false"#,
    )
    .unwrap();
    assert_eq!(config.ignored, ["future_on"]);
    assert!(config.unsupported.is_empty(), "{:?}", config.unsupported);
}

#[test]
fn what_changes_the_mathematics_is_reported() {
    for (keys, expected) in [
        (r#""bias": "lora_only""#, "bias \"lora_only\""),
        (r#""modules_to_save": ["lm_head"]"#, "modules_to_save [\"lm_head\"]"),
        (r#""fan_in_fan_out": true"#, "fan_in_fan_out true"),
        (r#""lora_bias": true"#, "lora_bias true"),
        (r#""layer_replication": [[0, 2]]"#, "layer_replication [[0,2]]"),
        (r#""trainable_token_indices": [1]"#, "trainable_token_indices [1]"),
        (r#""target_parameters": ["x"]"#, "target_parameters [\"x\"]"),
        (r#""exclude_modules": "x""#, "exclude_modules \"x\""),
        (r#""alora_invocation_tokens": [5]"#, "alora_invocation_tokens [5]"),
        (r#""use_qalora": true"#, "use_qalora true"),
        (r#""use_bdlora": {"nblocks": 2}"#, "use_bdlora {\"nblocks\":2}"),
        (r#""arrow_config": {"top_k": 3}"#, "arrow_config {\"top_k\":3}"),
        (r#""kasa_config": {"beta": 1}"#, "kasa_config {\"beta\":1}"),
        (r#""monteclora_config": {"a": 1}"#, "monteclora_config {\"a\":1}"),
        (r#""megatron_config": {"a": 1}"#, "megatron_config {\"a\":1}"),
        (r#""ensure_weight_tying": true"#, "ensure_weight_tying true"),
        (
            r#""init_lora_weights": "pissa_niter_16""#,
            "init_lora_weights \"pissa_niter_16\" (made for a changed base model)",
        ),
        (r#""init_lora_weights": "OLoRA""#, "init_lora_weights \"OLoRA\" (made for a changed base model)"),
        (r#""task_type": "SEQ_CLS""#, "task_type \"SEQ_CLS\""),
        (r#""target_modules": null"#, "target_modules null (the choice is left to PEFT's table of architectures)"),
    ] {
        let config = config_with(keys).unwrap();
        assert_eq!(config.unsupported, [expected]);
        assert!(config.ignored.is_empty(), "{:?}", config.ignored);
    }
    let off = r#""use_dora": false, "bias": "none", "modules_to_save": null, "layer_replication": [], "exclude_modules": null"#;
    assert!(config_with(off).unwrap().unsupported.is_empty());
    let long = config_with(&format!(r#""modules_to_save": ["{}"]"#, "ü".repeat(500))).unwrap();
    assert!(long.unsupported[0].chars().count() < 100);
}

#[test]
#[should_panic(expected = "lora_bias true")]
fn what_cannot_be_computed_cannot_be_written() {
    config_with(r#""lora_bias": true"#).unwrap().to_json();
}

#[test]
fn senseless_values_are_errors_with_their_key() {
    for (keys, expected) in [
        (r#""r": 0"#, "r: must be at least 1"),
        (r#""r": "8""#, "r: invalid type"),
        (r#""r": 8.5"#, "r: invalid type"),
        (r#""r": -1"#, "r: invalid value"),
        (r#""lora_alpha": "x""#, "lora_alpha: invalid type"),
        (r#""lora_alpha": 1e300"#, "lora_alpha: inf is not a finite number"),
        (r#""alpha_pattern": {"q_proj": -1e300}"#, "alpha_pattern: \"q_proj\": -inf is not a finite number"),
        (r#""lora_dropout": 1.0"#, "lora_dropout: 1 is not from 0 up to 1"),
        (r#""lora_dropout": -0.1"#, "lora_dropout: -0.1 is not from 0 up to 1"),
        (r#""rank_pattern": {"q_proj": 0}"#, "rank_pattern: \"q_proj\" must be at least 1"),
        (r#""rank_pattern": ["q_proj"]"#, "rank_pattern: invalid type"),
        (r#""target_modules": 3"#, "target_modules: 3 is neither a list of names nor a pattern"),
        (r#""target_modules": [3]"#, "target_modules: invalid type"),
        (r#""layers_to_transform": "0""#, "layers_to_transform: invalid type"),
        (r#""layers_to_transform": [-1]"#, "layers_to_transform: invalid value"),
        (r#""use_rslora": 1"#, "use_rslora: invalid type"),
        (r#""peft_type": null"#, "peft_type: is missing"),
    ] {
        let error = config_with(keys).unwrap_err();
        assert!(error.to_string().contains(&format!("adapter_config.json: {expected}")), "{keys}: {error}");
        assert!(error.hint().is_some());
    }
    assert!(matches!(config_with(r#""peft_type": "IA3""#), Err(PeftError::Method { method, .. }) if method == "IA3"));
    for text in ["", "[]", "{", "null", "{\"a\": NaN}"] {
        assert!(matches!(config_from(text), Err(PeftError::Syntax { .. })), "{text}");
    }
    for keys in [
        r#""rank_pattern": {"(": 1}"#,
        r#""target_modules": "(?=x)y""#,
        r#""layers_to_transform": 0, "layers_pattern": "[""#,
    ] {
        assert!(matches!(config_with(keys), Err(PeftError::Pattern { .. })), "{keys}");
    }
}

/// What `re.match(rf"(.*\.)?({key})$", name)` answers in Python.
#[test]
fn pattern_keys_match_as_in_peft() {
    for (key, module, expected) in [
        ("q_proj", Q, true),
        ("self_attn.q_proj", Q, true),
        ("model.layers.0.self_attn.q_proj", Q, true),
        ("proj", Q, false),
        ("_proj", Q, false),
        ("q_proj", "q_proj", true),
        ("xq_proj", "q_proj", false),
        ("self_attn", Q, false),
        ("layers.0.self_attn.q_proj", "model.layers.10.self_attn.q_proj", false),
        ("layers.1.self_attn.q_proj", "model.layers.11.self_attn.q_proj", false),
        ("self.attn.q.proj", Q, true),
        ("^model.layers.0.self_attn.q_proj", Q, true),
        ("^self_attn.q_proj", Q, false),
        (r"layers\.[0-3]\..*", Q, true),
        (r"layers\.[1-3]\..*", Q, false),
        ("q_proj|v_proj", Q, true),
        ("(k|v)_proj", Q, false),
        (".*_proj", Q, true),
        (".*", Q, true),
        ("q_proj", "модель.q_proj", true),
        ("модель.q_proj", "модель.q_proj", true),
        ("q_proj", "ж_proj", false),
        ("", Q, false),
        ("", "a.", true),
    ] {
        let map = patterns(&[(key, 1)]);
        assert_eq!(pattern_value(&map, module).unwrap().is_some(), expected, "{key} on {module}");
    }
    // Sorted order decides, as it does for PEFT with a file that it wrote itself.
    let map = patterns(&[("self_attn.q_proj", 1), ("q_proj", 2), ("model.layers.0.self_attn.q_proj", 3)]);
    assert_eq!(pattern_value(&map, Q).unwrap(), Some(("model.layers.0.self_attn.q_proj", &3)));
    assert_eq!(pattern_value(&map, "model.layers.1.self_attn.q_proj").unwrap(), Some(("q_proj", &2)));
    assert_eq!(pattern_value(&map, "model.layers.1.self_attn.k_proj").unwrap(), None);
    assert!(matches!(pattern_value(&patterns(&[("(?!x)", 1)]), Q), Err(PeftError::Pattern { .. })));
}

#[test]
fn pattern_keys_in_an_order_that_peft_would_read_otherwise_are_reported() {
    for (keys, ambiguous) in [
        (r#"{"self_attn.q_proj": 1, "q_proj": 2}"#, true),
        (r#"{"q_proj": 2, "self_attn.q_proj": 1}"#, false),
        (r#"{"v_proj": 2, "q_proj": 1}"#, false),
        (r#"{"x.q_proj": 2, "a_proj": 1, "q_proj": 1}"#, true),
        (r#"{"v.*": 2, "q_proj": 1}"#, true),
    ] {
        let config = config_with(&format!(r#""rank_pattern": {keys}"#)).unwrap();
        assert_eq!(!config.unsupported.is_empty(), ambiguous, "{keys}: {:?}", config.unsupported);
    }
    let many: Vec<String> = (0..3000).rev().map(|i| format!("\"m{i:05}\": 1")).collect();
    let config = config_with(&format!(r#""alpha_pattern": {{{}}}"#, many.join(","))).unwrap();
    assert_eq!(config.unsupported, ["alpha_pattern with 3000 keys that are not sorted"]);
}

#[test]
fn rank_alpha_and_scale_of_a_module() {
    let mut config = AdapterConfig {
        r: 16,
        lora_alpha: 32.0,
        rank_pattern: patterns(&[("q_proj", 4)]),
        alpha_pattern: patterns(&[("layers.1.mlp.up_proj", 8.0)]),
        ..AdapterConfig::default()
    };
    assert_eq!((config.rank_of(Q).unwrap(), config.alpha_of(Q).unwrap(), config.scale_of(Q).unwrap()), (4, 32.0, 8.0));
    assert_eq!(config.scale_of("model.layers.1.mlp.up_proj").unwrap(), 0.5);
    config.use_rslora = true;
    assert_eq!(config.scale_of(Q).unwrap(), 16.0);
}

#[test]
fn targets_are_found_as_in_peft() {
    let names = |names: &[&str]| TargetModules::Names(names.iter().map(ToString::to_string).collect());
    let config = |target_modules, layers: Option<&[usize]>, lists: &[&str]| AdapterConfig {
        target_modules,
        layers_to_transform: layers.map(<[usize]>::to_vec),
        layers_pattern: lists.iter().map(ToString::to_string).collect(),
        ..AdapterConfig::default()
    };
    let pattern = |text: &str| TargetModules::Pattern(text.into());
    for (config, module, expected) in [
        (config(TargetModules::AllLinear, None, &[]), Q, true),
        (config(TargetModules::AllLinear, None, &[]), "lm_head", false),
        (config(names(&["q_proj"]), None, &[]), Q, true),
        (config(names(&["proj"]), None, &[]), Q, false),
        (config(names(&[Q]), None, &[]), Q, true),
        (config(names(&[]), None, &[]), Q, false),
        (config(pattern("q_proj"), None, &[]), Q, false),
        (config(pattern(r".*\.(q|v)_proj"), None, &[]), Q, true),
        (config(pattern(r"model\.layers\.0.*"), None, &[]), Q, true),
        (config(names(&["q_proj"]), Some(&[0]), &[]), Q, true),
        (config(names(&["q_proj"]), Some(&[1, 2]), &[]), Q, false),
        (config(names(&["q_proj"]), Some(&[]), &[]), Q, true),
        (config(names(&["q_proj"]), Some(&[0]), &["layers"]), Q, true),
        (config(names(&["q_proj"]), Some(&[0]), &["h", "layers"]), Q, true),
        (config(names(&["q_proj"]), Some(&[0]), &["h"]), Q, false),
        (config(names(&["q_proj"]), Some(&[0]), &["ayers"]), Q, false),
        (config(names(&["up_proj"]), Some(&[1]), &[]), "model.layers.1.mlp.experts.0.up_proj", true),
        (config(names(&["up_proj"]), Some(&[0]), &[]), "model.layers.1.mlp.experts.0.up_proj", false),
        (config(names(&["lm_head"]), Some(&[0]), &[]), "lm_head", false),
    ] {
        assert_eq!(config.targets(module).unwrap(), expected, "{config:?} {module}");
    }
    let one = config_with(r#""layers_to_transform": 3, "layers_pattern": """#).unwrap();
    assert_eq!((one.layers_to_transform, one.layers_pattern), (Some(vec![3]), vec![]));
}

#[test]
fn tensor_names() {
    let name = tensor_name(Q, Matrix::A);
    assert_eq!(name, "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight");
    assert_eq!(parse_tensor_name(&name), Some((Q, Matrix::A)));
    assert_eq!(parse_tensor_name(&tensor_name(Q, Matrix::B)), Some((Q, Matrix::B)));
    let magnitude = "base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector";
    assert_eq!(tensor_name(Q, Matrix::Magnitude), magnitude);
    assert_eq!(parse_tensor_name(magnitude), Some((Q, Matrix::Magnitude)));
    assert_eq!(parse_tensor_name(&format!("{magnitude}.weight")), Some((Q, Matrix::Magnitude)));
    for foreign in [
        "base_model.model.lora_A.weight",
        "base_model.model.lora_magnitude_vector",
        "base_model.model..lora_A.weight",
        "base_model.model.x.lora_A.default.weight",
        "base_model.model.x.lora_embedding_A",
        "base_model.model.x.lora_B.bias",
        "base_model.model.lm_head.weight",
        "x.lora_A.weight",
    ] {
        assert_eq!(parse_tensor_name(foreign), None, "{foreign}");
    }
}

/// Tensors by name and shape, with values 0, 1, 2, ...
fn write_adapter(dir: &Path, config: &AdapterConfig, tensors: &[(&str, Matrix, [usize; 2])]) -> Result<(), PeftError> {
    let named: Vec<(String, [usize; 2], Vec<f32>)> = tensors
        .iter()
        .map(|&(module, matrix, shape)| {
            (tensor_name(module, matrix), shape, (0..shape[0] * shape[1]).map(|i| i as f32).collect())
        })
        .collect();
    let views: Vec<TensorView<'_>> = named.iter().map(|(name, shape, data)| TensorView { name, shape, data }).collect();
    write(dir, config, &views)
}

fn q_proj_config() -> AdapterConfig {
    AdapterConfig { r: 2, target_modules: TargetModules::Names(vec!["q_proj".into()]), ..AdapterConfig::default() }
}

#[test]
fn an_adapter_is_read_as_written() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("adapter");
    for alpha in [4.0, 16.0] {
        let config = AdapterConfig { lora_alpha: alpha, ..q_proj_config() };
        write_adapter(&dir, &config, &[(Q, Matrix::B, [5, 2]), (Q, Matrix::A, [2, 3])]).unwrap();
        let adapter = read(&dir).unwrap();
        assert_eq!(adapter.config, config);
        let pairs = adapter.pairs().unwrap();
        assert_eq!(pairs.keys().collect::<Vec<_>>(), [&Q]);
        let pair = pairs[Q];
        assert_eq!((pair.rank, pair.scale), (2, alpha / 2.0));
        assert_eq!(pair.a, &F32Tensor { shape: vec![2, 3], data: vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0] });
        assert_eq!(pair.b.shape, [5, 2]);
    }
    let files: Vec<_> = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(files.len(), 2, "{files:?}");
}

#[test]
fn adapters_that_do_not_fit_their_configuration_are_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("adapter");
    let refused = |tensors: &[(&str, Matrix, [usize; 2])], config: &AdapterConfig| {
        write_adapter(&dir, config, tensors).unwrap();
        let error = read(&dir).unwrap().pairs().unwrap_err();
        assert!(error.hint().is_some());
        error
    };
    let config = q_proj_config();
    let (a, b) = ((Q, Matrix::A, [2, 3]), (Q, Matrix::B, [5, 2]));
    assert!(matches!(refused(&[], &config), PeftError::Empty { .. }));
    assert!(matches!(refused(&[a], &config), PeftError::Unpaired { missing: "lora_B", .. }));
    assert!(matches!(refused(&[b], &config), PeftError::Unpaired { missing: "lora_A", .. }));
    assert!(matches!(refused(&[a, (Q, Matrix::B, [2, 5])], &config), PeftError::Shape { rank: 2, .. }));
    assert!(matches!(refused(&[a, b], &AdapterConfig { r: 3, ..config.clone() }), PeftError::Shape { rank: 3, .. }));
    let ranked = AdapterConfig { rank_pattern: patterns(&[("q_proj", 4)]), ..config.clone() };
    assert!(matches!(refused(&[a, b], &ranked), PeftError::Shape { rank: 4, .. }));
    let other = "model.layers.0.mlp.up_proj";
    let error = refused(&[(other, Matrix::A, [2, 3]), (other, Matrix::B, [5, 2])], &config);
    assert!(matches!(&error, PeftError::NotTargeted { module, .. } if module == other), "{error}");
}

#[test]
fn saved_modules_are_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("adapter");
    write_adapter(&dir, &q_proj_config(), &[(Q, Matrix::A, [2, 3]), (Q, Matrix::B, [5, 2])]).unwrap();
    let mut adapter = read(&dir).unwrap();
    let head = F32Tensor { shape: vec![1], data: vec![0.0] };
    adapter.tensors.insert("base_model.model.lm_head.weight".into(), head);
    let error = adapter.pairs().unwrap_err();
    assert!(error.to_string().contains("what is not supported: tensor \"base_model.model.lm_head.weight\""), "{error}");
}

#[test]
#[should_panic(expected = "is not the name of a LoRA matrix")]
fn foreign_names_are_not_written() {
    let scratch = tempfile::tempdir().unwrap();
    let tensors = [TensorView { name: "model.layers.0.lora_a", shape: &[1], data: &[0.0] }];
    let _ = write(&scratch.path().join("adapter"), &q_proj_config(), &tensors);
}

#[test]
fn incomplete_folders_are_told_apart() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    assert!(matches!(read(dir), Err(PeftError::File(FileError::NotFound { path })) if path.ends_with(CONFIG_FILE)));
    fs::write(dir.join(CONFIG_FILE), q_proj_config().to_json()).unwrap();
    let error = read(dir).unwrap_err();
    assert!(matches!(&error, PeftError::Tensors(tensors) if tensors.path().ends_with(TENSOR_FILE)), "{error:?}");
    fs::write(dir.join("adapter_model.bin"), "pickle").unwrap();
    let error = read(dir).unwrap_err();
    assert!(error.to_string().contains("only as pickle (adapter_model.bin), which is never read"), "{error}");
}

#[test]
fn an_adapter_of_peft_with_a_saved_head_is_read_and_reported() {
    let shared = std::env::var_os("ATTUNE_SHARED")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared")), PathBuf::from);
    let dir = shared.join("assets/formats/peft-gpt2-lora");
    if !dir.is_dir() {
        println!("SKIPPED: no test assets at {}", dir.display());
        return;
    }
    let adapter = read(&dir).unwrap();
    assert_eq!(adapter.config.target_modules, TargetModules::Names(vec!["c_attn".into()]));
    assert_eq!((adapter.config.r, adapter.config.lora_alpha), (8, 8.0));
    let a = &adapter.tensors[&tensor_name("transformer.h.0.attn.c_attn", Matrix::A)];
    assert_eq!(a.shape, [8, 768]);
    let unsupported = adapter.unsupported().join("; ");
    for part in ["fan_in_fan_out true", "task_type \"SEQ_CLS\"", "score.weight"] {
        assert!(unsupported.contains(part), "{part} in {unsupported}");
    }
    assert!(matches!(adapter.pairs(), Err(PeftError::Unsupported { .. })));
}
