//! LLaMA-Factory: `llamafactory-cli train file.yaml`. Keys that it does not define itself are those of Transformers'
//! `TrainingArguments`.
//!
//! # Source
//! LLaMA-Factory 0.9: `hparams/{model_args,data_args,finetuning_args}.py` and `examples/train_lora`; Transformers 5:
//! `TrainingArguments`.

use serde_json::Value;

use super::common::{
    DEVICES, PLANNED, REPORT, TYPE, batch, dora, epochs, eval_steps, learning_rate, logging_steps, max_grad_norm,
    max_steps, model, number, number_to, optimizer, save_steps, schedule, targets, text_of, whole,
};
use super::{Draft, Fate, Rule, Source, Table, is_off};
use Fate::{NoEffect, Nothing, To, Via};

const PREFERENCES: &str = "this objective is not imported; sft is trained";

pub(super) const TABLE: Table = Table {
    markers: &[
        "model_name_or_path",
        "finetuning_type",
        "stage",
        "dataset",
        "dataset_dir",
        "cutoff_len",
        "lora_target",
        "lora_rank",
        "template",
        "per_device_train_batch_size",
    ],
    rules: &[
        Rule("model_name_or_path", Via(model)),
        Rule("adapter_name_or_path", Via(adapter)),
        Rule("trust_remote_code", NoEffect("no code of a model is run")),
        Rule("stage", Via(stage)),
        Rule("do_train", NoEffect("`ft train` trains")),
        Rule("do_eval", NoEffect("validation data are evaluated where there are any")),
        Rule("do_predict", Nothing("`ft generate` continues single prompts")),
        Rule("finetuning_type", Via(finetuning_type)),
        Rule("lora_rank", To("adapter.rank")),
        Rule("lora_alpha", Via(|_, key, value, draft| number_to("adapter.alpha", key, value, draft))),
        Rule("lora_dropout", Via(|_, key, value, draft| number_to("adapter.dropout", key, value, draft))),
        Rule("lora_target", Via(targets)),
        Rule("use_rslora", To("adapter.use_rslora")),
        Rule("use_dora", Via(dora)),
        Rule("pissa_init", Nothing("fresh adapters begin with random A and zero B")),
        Rule("additional_target", Nothing("only linears of decoder layers are trained")),
        Rule("loraplus_lr_ratio", Nothing("all matrices have one learning rate")),
        Rule("create_new_adapter", Nothing("there is one adapter")),
        Rule("dataset", Via(dataset)),
        Rule("dataset_dir", NoEffect("it is part of the paths in data.train")),
        Rule("eval_dataset", Via(eval_dataset)),
        Rule("template", Via(template)),
        Rule("cutoff_len", To("data.max_seq_length")),
        Rule("train_on_prompt", Via(train_on)),
        Rule("mask_history", Via(train_on)),
        Rule("max_samples", Nothing("all rows of the files are used; `ft data split` parts them")),
        Rule("mix_strategy", Via(mix_strategy)),
        Rule("interleave_probs", Nothing("data.weights says how often each file is visited")),
        Rule("streaming", NoEffect(PLANNED)),
        Rule("packing", NoEffect(PLANNED)),
        Rule("neat_packing", NoEffect(PLANNED)),
        Rule("tokenized_path", NoEffect("rows are tokenized when the run starts")),
        Rule("overwrite_cache", NoEffect("there is no cache of tokens")),
        Rule("preprocessing_num_workers", NoEffect(PLANNED)),
        Rule("dataloader_num_workers", NoEffect(PLANNED)),
        Rule("val_size", Via(val_size)),
        Rule("output_dir", To("logging.dir")),
        Rule("overwrite_output_dir", NoEffect("each run has a folder of its own")),
        Rule("run_name", To("logging.name")),
        Rule("logging_steps", Via(logging_steps)),
        Rule("save_strategy", Via(strategy)),
        Rule("save_steps", Via(save_steps)),
        Rule("save_total_limit", To("checkpoint.keep")),
        Rule("save_only_model", NoEffect("checkpoints always have all that a resumed run needs")),
        Rule("plot_loss", NoEffect("the live view has a chart")),
        Rule("report_to", NoEffect(REPORT)),
        Rule("per_device_train_batch_size", Via(batch_size)),
        Rule("gradient_accumulation_steps", Via(batch_size)),
        Rule("per_device_eval_batch_size", NoEffect(PLANNED)),
        Rule("learning_rate", Via(learning_rate)),
        Rule("num_train_epochs", Via(epochs)),
        Rule("max_steps", Via(max_steps)),
        Rule("lr_scheduler_type", Via(schedule)),
        Rule("lr_scheduler_kwargs", Nothing("training.min_learning_rate_ratio says where the schedule ends")),
        Rule("warmup_ratio", Via(warmup)),
        Rule("warmup_steps", Via(warmup)),
        Rule("optim", Via(optimizer)),
        Rule("weight_decay", Via(|_, key, value, draft| number_to("training.weight_decay", key, value, draft))),
        Rule("adam_beta1", Via(|_, key, value, draft| number_to("training.adam_beta1", key, value, draft))),
        Rule("adam_beta2", Via(|_, key, value, draft| number_to("training.adam_beta2", key, value, draft))),
        Rule("adam_epsilon", Via(|_, key, value, draft| number_to("training.adam_epsilon", key, value, draft))),
        Rule("max_grad_norm", Via(max_grad_norm)),
        Rule(
            "label_smoothing_factor",
            Via(|_, key, value, draft| number_to("training.label_smoothing", key, value, draft)),
        ),
        Rule("neftune_noise_alpha", Nothing("no noise is added to embeddings")),
        Rule("seed", To("training.seed")),
        Rule("data_seed", Nothing("one seed decides everything")),
        Rule("bf16", NoEffect(TYPE)),
        Rule("fp16", NoEffect(TYPE)),
        Rule("pure_bf16", NoEffect(TYPE)),
        Rule("infer_dtype", NoEffect(TYPE)),
        Rule("gradient_checkpointing", NoEffect(PLANNED)),
        Rule("disable_gradient_checkpointing", NoEffect(PLANNED)),
        Rule("flash_attn", NoEffect(PLANNED)),
        Rule("enable_liger_kernel", NoEffect(PLANNED)),
        Rule("use_unsloth", NoEffect(PLANNED)),
        Rule("upcast_layernorm", NoEffect("norms are computed in f32")),
        Rule("quantization_bit", Via(quantization_bit)),
        Rule("quantization_method", Via(quantization_method)),
        Rule("quantization_type", Via(quantization_type)),
        Rule("double_quantization", NoEffect("the scales of nf4 are quantised, too, whatever it says")),
        Rule("rope_scaling", Nothing("the model's own config.json decides")),
        Rule("resize_vocab", Nothing("the vocabulary stays as it is")),
        Rule("add_tokens", Nothing("the vocabulary stays as it is")),
        Rule("ddp_timeout", NoEffect(DEVICES)),
        Rule("deepspeed", NoEffect(DEVICES)),
        Rule("fsdp", NoEffect(DEVICES)),
        Rule("local_rank", NoEffect(DEVICES)),
        Rule("group_by_length", NoEffect(PLANNED)),
        Rule(
            "resume_from_checkpoint",
            Nothing("checkpoints of other tools cannot be gone on from; their adapters can (adapter.init_from)"),
        ),
        Rule("eval_strategy", Via(strategy)),
        Rule("evaluation_strategy", Via(strategy)),
        Rule("eval_steps", Via(eval_steps)),
        Rule("load_best_model_at_end", To("evaluation.keep_best")),
        Rule("early_stopping_steps", Via(early_stopping)),
        Rule("pref_beta", Nothing(PREFERENCES)),
        Rule("pref_loss", Nothing(PREFERENCES)),
        Rule("pref_ftx", Nothing(PREFERENCES)),
    ],
    assume,
};

/// What bitsandbytes does with so many bits.
fn quantization_bit(_: &Source, key: &str, value: &Value, draft: &mut Draft) {
    match whole(value) {
        Some(4) => draft.set("model.quantize", "nf4", key),
        Some(8) => draft.set("model.quantize", "int8", key),
        _ => draft.without_counterpart(key, value, "4 bits (nf4) and 8 (int8) are known: the base stays as it is"),
    }
}

fn quantization_method(_: &Source, key: &str, value: &Value, draft: &mut Draft) {
    match value.as_str() {
        Some("bnb" | "bitsandbytes") => draft.without_effect(key, value, "nf4 and int8 are the ways here"),
        _ => draft.without_counterpart(key, value, "nf4 or int8 takes its place, as quantization_bit says"),
    }
}

fn quantization_type(_: &Source, key: &str, value: &Value, draft: &mut Draft) {
    match value.as_str() {
        Some("nf4") => draft.without_effect(key, value, "four bits are nf4 here"),
        _ => draft.without_counterpart(key, value, "four bits are nf4 here"),
    }
}

fn stage(_: &Source, key: &str, value: &Value, draft: &mut Draft) {
    match value.as_str() {
        Some("sft") => draft.set("training.objective", "sft", key),
        Some("pt") => {
            draft.set("training.objective", "sft", format!("{key}: pt is sft on documents"));
            draft.set("data.train_on", "all", format!("{key}: pt"));
            draft.set("data.completion_style", "raw", format!("{key}: pt"));
        }
        _ => draft.without_counterpart(key, value, PREFERENCES),
    }
}

fn finetuning_type(_: &Source, key: &str, value: &Value, draft: &mut Draft) {
    if value.as_str() == Some("lora") {
        return draft.without_effect(key, value, "adapters are what is trained here");
    }
    draft.without_counterpart(key, value, "only adapters are trained here: LoRA takes its place");
}

fn adapter(_: &Source, key: &str, value: &Value, draft: &mut Draft) {
    match value.as_str() {
        Some(path) if !path.contains(',') => draft.set("adapter.init_from", path, key),
        _ => draft.without_counterpart(key, value, "one adapter is gone on from"),
    }
}

/// Names that `dataset_info.json` gives to files, as paths; a name with an ending is a file's already.
fn files(source: &Source, value: &Value) -> Vec<String> {
    let folder = text_of(source, "dataset_dir").unwrap_or("data").trim_end_matches('/');
    let names: Vec<&str> = match value {
        Value::String(names) => names.split(',').collect(),
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let path = |name: &str| {
        let ending = name.rsplit('/').next().is_some_and(|file| file.contains('.'));
        format!("{folder}/{name}{}", if ending { "" } else { ".json" })
    };
    names.into_iter().map(str::trim).filter(|name| !name.is_empty()).map(path).collect()
}

const LOOK_UP: &str =
    "dataset_info.json says which file stands behind a name and how its columns are called: check the path";

fn dataset(source: &Source, key: &str, value: &Value, draft: &mut Draft) {
    let files = files(source, value);
    if files.is_empty() {
        return draft.without_counterpart(key, value, "names of data sets are needed");
    }
    draft.set("data.train", files, key);
    draft.without_counterpart(key, value, LOOK_UP);
}

fn eval_dataset(source: &Source, key: &str, value: &Value, draft: &mut Draft) {
    draft.set("data.validation", files(source, value), key);
    draft.without_counterpart(key, value, LOOK_UP);
}

/// The model's own template is what it was trained with.
fn template(_: &Source, key: &str, value: &Value, draft: &mut Draft) {
    match value.as_str() {
        Some("chatml") => draft.set("model.chat_template", "chatml", key),
        Some("empty") => draft.set("model.chat_template", "plain", key),
        _ => {
            let text = "the model's own template is used, and must have one; model.chat_template takes a Jinja file";
            draft.without_effect(key, value, text);
        }
    }
}

fn train_on(source: &Source, key: &str, value: &Value, draft: &mut Draft) {
    let on = |key: &str| source.get(key).is_some_and(|value| !is_off(value));
    match (on("train_on_prompt"), on("mask_history")) {
        (true, _) => draft.set("data.train_on", "all", key),
        (false, true) => draft.set("data.train_on", "last", key),
        (false, false) => draft.without_effect(key, value, "switched off"),
    }
}

fn mix_strategy(_: &Source, key: &str, value: &Value, draft: &mut Draft) {
    match value.as_str() {
        Some("concat") => draft.without_effect(key, value, "that is so here"),
        _ => draft.without_counterpart(key, value, "files are joined; data.weights says how often each is visited"),
    }
}

fn val_size(_: &Source, key: &str, value: &Value, draft: &mut Draft) {
    match number(value) {
        Some(share) if (0.0..1.0).contains(&share) => draft.set("data.validation_fraction", share, key),
        _ => draft.without_counterpart(
            key,
            value,
            "a share from 0 up to 1 is needed; `ft data split` takes numbers of rows",
        ),
    }
}

fn batch_size(source: &Source, _: &str, _: &Value, draft: &mut Draft) {
    batch(source, "per_device_train_batch_size", 8, draft);
}

/// Steps win over a share where both are given.
fn warmup(source: &Source, key: &str, value: &Value, draft: &mut Draft) {
    let steps = source.get("warmup_steps").and_then(number).filter(|&steps| steps > 0.0);
    match (key, steps) {
        ("warmup_ratio", Some(_)) => draft.without_effect(key, value, "warmup_steps is given, too"),
        // Transformers 5 takes a number below 1 for a share.
        ("warmup_steps", Some(share)) if share < 1.0 => draft.set("training.warmup_ratio", share, key),
        ("warmup_steps", Some(_)) => match whole(value) {
            Some(steps) => draft.set("training.warmup_steps", steps, key),
            None => draft.without_counterpart(key, value, "a whole number of steps is needed"),
        },
        ("warmup_steps", None) => draft.without_effect(key, value, "switched off"),
        _ => number_to("training.warmup_ratio", key, value, draft),
    }
}

/// When to save and to evaluate.
fn strategy(_: &Source, key: &str, value: &Value, draft: &mut Draft) {
    let to = if key.starts_with("save") { "checkpoint.every_steps" } else { "evaluation.every_steps" };
    match value.as_str() {
        Some("steps") => draft.without_effect(key, value, "steps is what the number of steps is given in"),
        Some("no") => draft.set(to, Value::Null, key),
        _ => draft.without_counterpart(key, value, format!("only numbers of steps are known: {to}")),
    }
}

fn early_stopping(_: &Source, key: &str, value: &Value, draft: &mut Draft) {
    match whole(value) {
        Some(patience) if patience > 0 => {
            draft.set("evaluation.early_stopping", serde_json::json!({ "patience": patience }), key);
        }
        _ => draft.without_counterpart(key, value, "a number of evaluations is needed"),
    }
}

fn assume(source: &Source, draft: &mut Draft) {
    let rank = source.get("lora_rank").and_then(number).unwrap_or(8.0);
    draft.assume("adapter.rank", 8);
    draft.assume("adapter.alpha", 2.0 * rank);
    // Longer examples are cut, in question and answer.
    draft.assume("data.overlong", "truncate-right");
    draft.assume("training.epochs", 3);
    draft.assume("training.batch_size", 8);
    draft.assume("training.learning_rate", 5e-5);
    draft.assume("training.schedule", "linear");
    if !draft.has("training.warmup_steps") {
        draft.assume("training.warmup_ratio", 0.0);
    }
    draft.assume("checkpoint.every_steps", 500);
    draft.assume("evaluation.keep_best", false);
    draft.assume("logging.every_steps", 500);
}
