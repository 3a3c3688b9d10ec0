//! mlx-lm: `mlx_lm.lora --config lora_config.yaml`.
//!
//! # Source
//! mlx-lm 0.32: `CONFIG_DEFAULTS` of `lora.py`, `tuner/trainer.py`, `tuner/datasets.py`.

use serde_json::{Value, json};

use super::common::{PLANNED, REPORT, every_steps, learning_rate, max_steps, model, number, whole, whole_of};
use super::{Draft, Fate, Rule, Source, Table, is_off};
use Fate::{NoEffect, Nothing, To, Via};

pub(super) const TABLE: Table = Table {
    markers: &[
        "fine_tune_type",
        "lora_parameters",
        "num_layers",
        "lora_layers",
        "iters",
        "steps_per_eval",
        "val_batches",
    ],
    rules: &[
        Rule("model", Via(model)),
        Rule("train", Via(train)),
        Rule("fine_tune_type", Via(fine_tune_type)),
        Rule("train_type", Via(fine_tune_type)),
        Rule("training_mode", Via(train_mode)),
        Rule("train_mode", Via(train_mode)),
        Rule("optimizer", Via(optimizer)),
        Rule("optimizer_config", Via(optimizer_config)),
        Rule("data", Via(data)),
        Rule("seed", To("training.seed")),
        Rule("num_layers", Via(layers)),
        Rule("lora_layers", Via(layers)),
        Rule("batch_size", Via(batch)),
        Rule("grad_accumulation_steps", Via(batch)),
        Rule("iters", Via(max_steps)),
        Rule("val_batches", NoEffect("all validation rows are used")),
        Rule("learning_rate", Via(rate)),
        Rule("steps_per_report", Via(|_, key, value, draft| every_steps("logging.every_steps", key, value, draft))),
        Rule("steps_per_eval", Via(|_, key, value, draft| every_steps("evaluation.every_steps", key, value, draft))),
        Rule("resume_adapter_file", Via(resume)),
        Rule("adapter_path", To("logging.dir")),
        Rule("save_every", Via(|_, key, value, draft| every_steps("checkpoint.every_steps", key, value, draft))),
        Rule("test", Nothing("there is no test after the training; `ft data split` makes a test set")),
        Rule("test_batches", NoEffect("it counts for `test` alone")),
        Rule("max_seq_length", To("data.max_seq_length")),
        Rule("grad_checkpoint", NoEffect(PLANNED)),
        Rule("clear_cache_threshold", NoEffect(PLANNED)),
        Rule("lora_parameters", Via(lora_parameters)),
        Rule("lr_schedule", Via(schedule)),
        Rule("mask_prompt", Via(mask_prompt)),
        Rule("hf_dataset", Nothing("data sets of a hub are not downloaded; name files in data.train")),
        Rule("report_to", NoEffect(REPORT)),
        Rule("wandb", NoEffect(REPORT)),
        Rule("project_name", NoEffect(REPORT)),
        Rule("trust_remote_code", NoEffect("no code of a model is run")),
        Rule("config", NoEffect("the name of the file itself")),
        Rule("prompt_feature", Via(column_prompt)),
        Rule("completion_feature", Via(column_completion)),
    ],
    assume,
};

fn train(_: &Source, key: &str, value: &Value, draft: &mut Draft) {
    if is_off(value) {
        draft.without_counterpart(key, value, "without training there is nothing to configure");
    } else {
        draft.without_effect(key, value, "`ft train` trains");
    }
}

fn fine_tune_type(_: &Source, key: &str, value: &Value, draft: &mut Draft) {
    match value.as_str() {
        Some(method @ ("lora" | "dora")) => draft.set("adapter.method", method, key),
        _ => draft.without_counterpart(key, value, "adapters are trained here, not all weights"),
    }
}

fn train_mode(_: &Source, key: &str, value: &Value, draft: &mut Draft) {
    if ["normal", "sft"].contains(&value.as_str().unwrap_or_default()) {
        draft.set("training.objective", "sft", key);
    } else {
        draft.without_counterpart(key, value, "this objective is not imported; sft is trained");
    }
}

fn optimizer(source: &Source, key: &str, value: &Value, draft: &mut Draft) {
    let corrected = |name: &str| {
        let config = source.get("optimizer_config").and_then(|config| config.get(name)?.get("bias_correction"));
        config == Some(&Value::Bool(true))
    };
    match value.as_str() {
        Some(name @ ("adam" | "adamw")) if corrected(name) => {
            draft.without_effect(key, value, "AdamW is the optimizer here")
        }
        Some("adam" | "adamw") => draft.without_counterpart(
            key,
            value,
            "mlx-lm leaves the moments' bias correction out, AdamW here has it: the first steps are smaller",
        ),
        _ => draft.without_counterpart(
            key,
            value,
            "AdamW is the only optimizer here: learning rate and decay may not fit",
        ),
    }
}

fn optimizer_config(source: &Source, key: &str, value: &Value, draft: &mut Draft) {
    let name = source.get("optimizer").and_then(Value::as_str).unwrap_or("adam");
    for (of, settings) in value.as_object().into_iter().flatten() {
        for (setting, value) in settings.as_object().into_iter().flatten() {
            let key = format!("{key}.{of}.{setting}");
            match (setting.as_str(), number(value)) {
                _ if of != name => draft.without_effect(&key, value, format!("the optimizer is {name}")),
                ("betas", _) => {
                    for (to, beta) in ["training.adam_beta1", "training.adam_beta2"]
                        .into_iter()
                        .zip(value.as_array().into_iter().flatten())
                    {
                        draft.set(to, beta.clone(), key.as_str());
                    }
                }
                ("eps", Some(eps)) => draft.set("training.adam_epsilon", eps, key),
                ("weight_decay", Some(decay)) => draft.set("training.weight_decay", decay, key),
                ("bias_correction", _) => draft.without_effect(&key, value, "AdamW here always has it"),
                _ => draft.without_counterpart(&key, value, "AdamW here has no such setting"),
            }
        }
    }
}

/// A folder with files of fixed names.
fn data(_: &Source, key: &str, value: &Value, draft: &mut Draft) {
    let Some(folder) = value.as_str().filter(|folder| !folder.is_empty()) else {
        return draft.without_counterpart(key, value, "a folder is needed");
    };
    let folder = folder.trim_end_matches('/');
    draft.set("data.train", format!("{folder}/train.jsonl"), key);
    draft.set(
        "data.validation",
        format!("{folder}/valid.jsonl"),
        format!("{key}; take this out if there is no such file"),
    );
}

fn layers(_: &Source, key: &str, value: &Value, draft: &mut Draft) {
    match whole(value) {
        Some(count) if count > 0 => draft.set("adapter.layers", json!({ "last": count }), key),
        _ if number(value).is_some() => draft.set("adapter.layers", "all", key),
        _ => draft.without_counterpart(key, value, "a number is needed"),
    }
}

fn batch(source: &Source, _: &str, _: &Value, draft: &mut Draft) {
    let batch = whole_of(source, "batch_size").unwrap_or(4);
    let accumulated = whole_of(source, "grad_accumulation_steps").unwrap_or(1);
    let from = format!("batch_size {batch} x grad_accumulation_steps {accumulated}");
    draft.set("training.batch_size", batch.saturating_mul(accumulated), from);
}

fn resume(_: &Source, key: &str, value: &Value, draft: &mut Draft) {
    let text = "import the adapter's folder with `ft import adapter` and name the result in adapter.init_from";
    draft.without_counterpart(key, value, text);
}

fn lora_parameters(_: &Source, key: &str, value: &Value, draft: &mut Draft) {
    let rank = value.get("rank").and_then(whole).unwrap_or(8);
    for (name, value) in value.as_object().into_iter().flatten() {
        let key = format!("{key}.{name}");
        match (name.as_str(), number(value)) {
            ("rank", Some(_)) => draft.set("adapter.rank", value.clone(), key),
            ("dropout", Some(_)) => draft.set("adapter.dropout", value.clone(), key),
            ("scale", Some(scale)) => {
                draft.set(
                    "adapter.alpha",
                    scale * rank as f64,
                    format!("{key} {scale} x rank {rank}: alpha / rank is the scale here"),
                );
            }
            ("keys", _) => keys(&key, value, draft),
            _ => draft.without_counterpart(&key, value, "mlx-lm does not read it"),
        }
    }
}

/// `self_attn.q_proj` is `q_proj` here.
fn keys(key: &str, value: &Value, draft: &mut Draft) {
    let short = |name: &Value| {
        let name = name.as_str().unwrap_or_default();
        name.rsplit_once('.')
            .map_or(name, |(block, last)| if ["self_attn", "mlp"].contains(&block) { last } else { name })
            .to_string()
    };
    let names: Vec<String> = value.as_array().into_iter().flatten().map(short).collect();
    super::common::targets(&Source { keys: Default::default() }, key, &json!(names), draft);
}

fn schedule(source: &Source, key: &str, value: &Value, draft: &mut Draft) {
    let name = value.get("name").and_then(Value::as_str).unwrap_or_default();
    let arguments: Vec<f64> =
        value.get("arguments").and_then(Value::as_array).into_iter().flatten().filter_map(number).collect();
    let (kind, end) = match (name, &arguments[..]) {
        ("cosine_decay", [_, _, end, ..]) => ("cosine", *end),
        ("cosine_decay", [_, _]) => ("cosine", 0.0),
        ("linear_schedule", [_, end, ..]) => ("linear", *end),
        _ => {
            return draft.without_counterpart(
                key,
                value,
                "constant, linear and cosine are the schedules here; constant is taken",
            );
        }
    };
    draft.set("training.schedule", kind, format!("{key}.name"));
    // The schedule's own first argument is the rate that counts.
    draft.set("training.learning_rate", arguments[0], format!("{key}.arguments"));
    if arguments[0] > 0.0 {
        draft.set("training.min_learning_rate_ratio", end / arguments[0], format!("{key}.arguments: {end} at the end"));
    }
    if let Some(warmup) = value.get("warmup").and_then(whole).filter(|&warmup| warmup > 0) {
        draft.set("training.warmup_steps", warmup, format!("{key}.warmup"));
    }
    if let Some(warmup_init) = value.get("warmup_init").filter(|value| number(value) != Some(0.0)) {
        draft.without_effect(
            &format!("{key}.warmup_init"),
            warmup_init,
            "the warm-up begins with a first part of the rate",
        );
    }
    let steps = if kind == "cosine" { arguments.get(1) } else { arguments.get(2) };
    if steps.is_some_and(|&steps| Some(steps as u64) != whole_of(source, "iters")) {
        draft.without_counterpart(
            &format!("{key}.arguments"),
            &value["arguments"],
            "the schedule ends with the run here",
        );
    }
}

fn rate(source: &Source, key: &str, value: &Value, draft: &mut Draft) {
    match source.get("lr_schedule") {
        Some(_) => draft.without_effect(key, value, "the schedule's own first argument counts"),
        None => learning_rate(source, key, value, draft),
    }
}

fn mask_prompt(_: &Source, key: &str, value: &Value, draft: &mut Draft) {
    draft.set("data.train_on", if is_off(value) { "all" } else { "last" }, key);
}

fn column_prompt(source: &Source, key: &str, _: &Value, draft: &mut Draft) {
    columns(source, key, draft);
}

fn column_completion(source: &Source, key: &str, _: &Value, draft: &mut Draft) {
    columns(source, key, draft);
}

fn columns(source: &Source, key: &str, draft: &mut Draft) {
    let mut columns = serde_json::Map::new();
    for (feature, column) in [("prompt_feature", "prompt"), ("completion_feature", "completion")] {
        if let Some(name) = source.get(feature).filter(|name| name.as_str() != Some(column)) {
            columns.insert(column.into(), name.clone());
        }
    }
    if !columns.is_empty() {
        draft.set("data.columns", columns, key);
    }
}

fn assume(source: &Source, draft: &mut Draft) {
    draft.assume("adapter.rank", 8);
    draft.assume("adapter.alpha", 20.0 * whole_of_rank(source));
    draft.assume("adapter.layers", json!({ "last": 16 }));
    draft.assume("data.train_on", "all");
    draft.assume("data.completion_style", "chat");
    draft.assume("data.overlong", "truncate-right");
    draft.assume("training.steps", 1000);
    draft.assume("training.batch_size", 4);
    draft.assume("training.learning_rate", 1e-5);
    draft.assume("training.schedule", "constant");
    if !draft.has("training.warmup_steps") {
        draft.assume("training.warmup_ratio", 0.0);
    }
    let adamw = source.get("optimizer").and_then(Value::as_str) == Some("adamw");
    draft.assume("training.weight_decay", if adamw { 0.01 } else { 0.0 });
    draft.assume("training.max_grad_norm", Value::Null);
    draft.assume("training.seed", 0);
    draft.assume("evaluation.every_steps", 200);
    draft.assume("evaluation.keep_best", false);
    draft.assume("logging.every_steps", 10);
}

fn whole_of_rank(source: &Source) -> f64 {
    source.get("lora_parameters").and_then(|parameters| number(parameters.get("rank")?)).unwrap_or(8.0)
}
