#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::values::{
    AdapterMethod, CompletionStyle, DataFormat, Layers, Overlong, Quantize, Schedule, TargetModules, TrainOn,
};

fn imported(text: &str) -> (Imported, Config) {
    let imported = import_config(text).unwrap();
    let config = Config::from_yaml_str(&imported.yaml).unwrap_or_else(|error| panic!("{error}\n{}", imported.yaml));
    (imported, config)
}

fn keys(notes: &[Note]) -> Vec<&str> {
    notes.iter().map(|note| note.key.split(':').next().unwrap()).collect()
}

const AXOLOTL: &str = r"
base_model: models/tiny
load_in_8bit: false
datasets:
  - path: data/chats.jsonl
    type: chat_template
    field_messages: messages
  - path: org/name
    type: chat_template
    split: train
val_set_size: 0.05
output_dir: ./outputs
sequence_len: 1024
sample_packing: true
adapter: lora
lora_r: 32
lora_alpha: 16
lora_dropout: 0.05
lora_target_modules: [q_proj, v_proj, embed_tokens]
peft_use_dora: true
lora_fan_in_fan_out:
gradient_accumulation_steps: 4
micro_batch_size: 2
num_epochs: 4
optimizer: adamw_bnb_8bit
lr_scheduler: linear
learning_rate: '3e-4'
train_on_inputs: false
bf16: auto
warmup_steps: 10
evals_per_epoch: 4
early_stopping_patience: 3
weight_decay: 0.1
loss_watchdog_threshold: 5.0
special_tokens:
  pad_token: <|end_of_text|>
  eos_token: <|eot|>
made_up_key: 1
";

#[test]
fn axolotl() {
    let (imported, config) = imported(AXOLOTL);
    assert_eq!(imported.tool, Tool::Axolotl);
    assert_eq!(config.model.path.to_str(), Some("models/tiny"));
    assert_eq!(
        config.data.train.iter().filter_map(|path| path.to_str()).collect::<Vec<_>>(),
        ["data/chats.jsonl", "org/name"]
    );
    assert_eq!((config.data.format, config.data.train_on), (DataFormat::Messages, TrainOn::Assistant));
    assert_eq!((config.data.max_seq_length, config.data.overlong), (1024, Overlong::Drop));
    assert_eq!(config.data.validation_fraction, 0.05);
    assert_eq!((config.adapter.rank, config.adapter.alpha, config.adapter.dropout), (32, 16.0, 0.05));
    assert_eq!(config.adapter.method, AdapterMethod::Dora);
    assert_eq!(config.adapter.target_modules.modules().len(), 2);
    assert_eq!((config.training.batch_size, config.training.epochs), (8, 4));
    assert_eq!((config.training.learning_rate, config.training.schedule), (3e-4, Schedule::Linear));
    assert_eq!((config.training.warmup_steps, config.training.warmup_ratio), (Some(10), None));
    assert_eq!(config.training.weight_decay, 0.1);
    assert_eq!(config.evaluation.early_stopping.as_ref().unwrap().patience, 3);
    assert_eq!(config.logging.dir.to_str(), Some("./outputs"));
    let mut missing = keys(&imported.without_counterpart);
    missing.sort_unstable();
    let expected = [
        "base_model",
        "datasets[1].path",
        "evals_per_epoch",
        "lora_target_modules",
        "loss_watchdog_threshold",
        "made_up_key",
        "special_tokens.eos_token",
    ];
    assert_eq!(missing, expected);
    for key in
        ["sample_packing", "optimizer", "bf16", "special_tokens.pad_token", "lora_fan_in_fan_out", "load_in_8bit"]
    {
        assert!(keys(&imported.without_effect).contains(&key), "{key}");
    }
    assert!(
        imported
            .yaml
            .contains("  # micro_batch_size 2 x gradient_accumulation_steps 4 (of one device)\n  batch_size: 8\n")
    );
    assert!(imported.yaml.contains("#   made_up_key: 1: not a key of Axolotl"), "{}", imported.yaml);
}

const LLAMA_FACTORY: &str = r"
model_name_or_path: Qwen/Qwen3-0.6B
stage: sft
do_train: true
finetuning_type: lora
lora_rank: 4
lora_target: all
dataset: identity,own/rows.jsonl
dataset_dir: sets
template: qwen3_nothink
cutoff_len: 512
max_samples: 1000
output_dir: saves/x
logging_steps: 5
save_steps: 50
per_device_train_batch_size: 1
gradient_accumulation_steps: 8
num_train_epochs: 2.5
lr_scheduler_type: cosine
warmup_ratio: 0.1
bf16: true
max_grad_norm: 0
mask_history: true
resume_from_checkpoint: null
val_size: 0.1
eval_strategy: steps
eval_steps: 7
";

#[test]
fn llama_factory() {
    let (imported, config) = imported(LLAMA_FACTORY);
    assert_eq!(imported.tool, Tool::LlamaFactory);
    assert_eq!((config.adapter.rank, config.adapter.alpha), (4, 8.0), "alpha is twice the rank there");
    assert_eq!(config.adapter.target_modules, TargetModules::AllLinear);
    let train: Vec<_> = config.data.train.iter().filter_map(|path| path.to_str()).collect();
    assert_eq!(train, ["sets/identity.json", "sets/own/rows.jsonl"]);
    assert_eq!((config.data.train_on, config.data.overlong), (TrainOn::Last, Overlong::TruncateRight));
    assert_eq!((config.training.batch_size, config.training.epochs), (8, 3));
    assert_eq!(config.training.learning_rate, 5e-5, "the default of the tool");
    assert_eq!((config.training.schedule, config.training.warmup_ratio), (Schedule::Cosine, Some(0.1)));
    assert_eq!(config.training.max_grad_norm, None);
    assert_eq!((config.checkpoint.every_steps, config.evaluation.every_steps), (Some(50), Some(7)));
    assert_eq!(config.logging.every_steps, 5);
    let mut missing = keys(&imported.without_counterpart);
    missing.sort_unstable();
    assert_eq!(missing, ["dataset", "max_samples", "model_name_or_path", "num_train_epochs"]);
}

const MLX: &str = r"
model: models/tiny
train: true
fine_tune_type: dora
optimizer: adamw
optimizer_config:
  adamw:
    betas: [0.9, 0.98]
    eps: 1e-6
    weight_decay: 0.05
    bias_correction: true
  sgd: {momentum: 0.9}
data: sets/chats/
seed: 7
num_layers: 4
batch_size: 2
grad_accumulation_steps: 3
iters: 100
val_batches: 25
learning_rate: 1e-3
steps_per_eval: 20
save_every: 50
adapter_path: adapters
grad_checkpoint: false
lora_parameters:
  keys: [self_attn.q_proj, mlp.up_proj]
  rank: 16
  scale: 2.5
  dropout: 0.1
lr_schedule:
  name: cosine_decay
  warmup: 10
  warmup_init: 1e-7
  arguments: [2e-5, 100, 2e-6]
";

#[test]
fn mlx_lm() {
    let (imported, config) = imported(MLX);
    assert_eq!(imported.tool, Tool::Mlx);
    assert_eq!(config.adapter.method, AdapterMethod::Dora);
    assert_eq!((config.adapter.rank, config.adapter.alpha, config.adapter.dropout), (16, 40.0, 0.1));
    assert_eq!(config.adapter.layers, Layers::Last(4));
    assert_eq!(config.adapter.target_modules.modules().len(), 2);
    assert_eq!(config.data.train[0].to_str(), Some("sets/chats/train.jsonl"));
    assert_eq!(config.data.validation[0].to_str(), Some("sets/chats/valid.jsonl"));
    assert_eq!((config.data.train_on, config.data.completion_style), (TrainOn::All, CompletionStyle::Chat));
    assert_eq!((config.training.batch_size, config.training.steps), (6, Some(100)));
    assert_eq!((config.training.learning_rate, config.training.schedule), (2e-5, Schedule::Cosine));
    assert!((config.training.min_learning_rate_ratio - 0.1).abs() < 1e-12);
    assert_eq!((config.training.warmup_steps, config.training.warmup_ratio), (Some(10), None));
    assert_eq!((config.training.adam_beta2, config.training.adam_epsilon), (0.98, 1e-6));
    assert_eq!((config.training.weight_decay, config.training.max_grad_norm, config.training.seed), (0.05, None, 7));
    assert_eq!(
        imported.without_counterpart.iter().map(|note| &note.key[..]).collect::<Vec<_>>(),
        ["model: models/tiny"]
    );
    assert!(keys(&imported.without_effect).contains(&"optimizer_config.sgd.momentum"));
}

#[test]
fn silence_of_the_file_is_the_tools_default() {
    let (imported, config) = imported("model: m\nlora_parameters: {rank: 4, scale: 20.0, dropout: 0}\n");
    assert_eq!(imported.tool, Tool::Mlx);
    assert_eq!((config.adapter.rank, config.adapter.alpha, config.adapter.layers), (4, 80.0, Layers::Last(16)));
    assert_eq!((config.training.steps, config.training.learning_rate), (Some(1000), 1e-5));
    assert_eq!((config.training.schedule, config.training.warmup_ratio), (Schedule::Constant, Some(0.0)));
    assert!(keys(&imported.without_counterpart).contains(&"data.train"), "a placeholder stands there, and is told");
}

#[test]
fn what_ft_yaml_does_not_allow_is_told() {
    let (imported, config) =
        imported("base_model: m\ndatasets: [{path: a.jsonl}]\nadapter: lora\nlora_r: 0\nsequence_len: many\n");
    assert_eq!(config.adapter.rank, Config::default().adapter.rank);
    let told: Vec<String> = imported.without_counterpart.iter().map(ToString::to_string).collect();
    assert!(told.iter().any(|note| note.starts_with("lora_r: 0: not allowed in ft.yaml (")), "{told:?}");
    assert!(told.iter().any(|note| note.starts_with("sequence_len: many: not allowed")), "{told:?}");
}

#[test]
fn files_of_nobody_are_refused() {
    for (text, expected) in [
        ("a: 1\nb: 2\n", "no tool that is known; the first are a, b"),
        ("[1, 2]", "no keys"),
        ("{}", "no keys"),
        ("base_model: [", "line "),
        ("base_model: x\nbase_model: y\n", "line 2"),
    ] {
        let error = import_config(text).unwrap_err();
        assert!(error.to_string().contains(expected), "{text:?}: {error}");
        assert!(!error.hint().is_empty());
    }
}

#[test]
fn a_value_cannot_break_out_of_its_comment() {
    let text = "base_model: m\ndatasets: [{path: a.jsonl}]\nmade_up: \"x\\n\\u2028training: {epochs: 9}\"\noutput_dir: \"a\\nb: c\"\n";
    let (imported, config) = imported(text);
    assert_eq!(config.training.epochs, 1);
    assert_eq!(config.logging.dir.to_str(), Some("a\nb: c"));
    assert!(keys(&imported.without_counterpart).contains(&"made_up"));
}

#[test]
fn no_key_has_two_rules_and_every_target_exists() {
    let defaults = serde_json::to_value(Config::default()).unwrap();
    for tool in Tool::ALL {
        let rules = tool.table().rules;
        for (at, Rule(key, fate)) in rules.iter().enumerate() {
            assert!(rules[..at].iter().all(|Rule(other, _)| other != key), "{tool}: {key} twice");
            if let Fate::To(to) = fate {
                assert!(defaults.pointer(&format!("/{}", to.replace('.', "/"))).is_some(), "{tool}: {key} to {to}");
            }
        }
        for marker in tool.table().markers {
            assert!(rules.iter().any(|Rule(key, _)| key == marker), "{tool}: {marker} has no rule");
        }
    }
}

/// Values that keys of configurations have.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_filter("JSON has no others", |number| number.is_finite()).prop_map(Value::from),
        (0u64..20).prop_map(Value::from),
        "[a-zA-Z0-9_./: #\"'\\\\-]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec(("[a-z_]{1,8}", inner), 0..4)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

proptest! {
    /// Whatever stands there: what comes out passes the schema (`finish` holds that), and no key is passed over.
    #[test]
    fn every_key_of_every_table_is_accounted_for(tool in 0usize..3, at in any::<usize>(), value in value()) {
        let table = Tool::ALL[tool].table();
        let Rule(key, _) = &table.rules[at % table.rules.len()];
        let file = json!({ table.markers[0]: "m", table.markers[1]: "d", table.markers[2]: 1, *key: value.clone() });
        let imported = match import_config(&file.to_string()) {
            Ok(imported) => imported,
            Err(error) => return Err(TestCaseError::fail(format!("{file}: {error}"))),
        };
        prop_assert!(Config::from_yaml_str(&imported.yaml).is_ok());
        // What consists of parts may have none.
        let has_parts = matches!(value, Value::Object(_) | Value::Array(_));
        prop_assert!(has_parts || imported.yaml.contains(key) , "{}: {}\n{}", key, value, imported.yaml);
    }
}

#[test]
fn quantised_bases() {
    let quantize = |text: &str| {
        let (imported, config) = imported(text);
        let names = |notes: &[Note]| {
            keys(notes).into_iter().filter(|key| *key != "data.train").map(str::to_string).collect::<Vec<_>>()
        };
        (config.model.quantize, names(&imported.without_counterpart), names(&imported.without_effect))
    };
    let axolotl = |more: &str| quantize(&format!("base_model: tiny\nmicro_batch_size: 1\n{more}"));
    assert_eq!(axolotl("load_in_4bit: true\nadapter: qlora\n").0, Quantize::Nf4);
    assert_eq!(axolotl("load_in_4bit: true\nadapter: qlora\n").2, ["adapter"]);
    assert_eq!(axolotl("adapter: qlora\n"), (Quantize::Nf4, vec![], vec![]));
    assert_eq!(axolotl("load_in_8bit: true\nadapter: lora\n").0, Quantize::Int8);
    let (kind, missing, off) = axolotl("adapter: lora\nload_in_8bit: false\nload_in_4bit: false\n");
    assert_eq!((kind, missing.len(), off.len()), (Quantize::None, 0, 3));
    assert_eq!(axolotl("adapter: lora\nload_in_4bit: 4\n").1, ["load_in_4bit"]);

    let factory = |more: &str| quantize(&format!("model_name_or_path: tiny\nfinetuning_type: lora\n{more}"));
    let (kind, missing, _) = factory("quantization_bit: 4\nquantization_method: bnb\nquantization_type: nf4\n");
    assert_eq!((kind, missing.len()), (Quantize::Nf4, 0));
    assert_eq!(factory("quantization_bit: 8\n").0, Quantize::Int8);
    let (kind, missing, _) = factory("quantization_bit: 3\nquantization_method: hqq\nquantization_type: fp4\n");
    assert_eq!(
        (kind, missing),
        (Quantize::None, ["quantization_bit", "quantization_method", "quantization_type"].map(String::from).into())
    );
}
