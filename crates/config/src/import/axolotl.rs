//! Axolotl: `axolotl train file.yml`.
//!
//! # Source
//! Axolotl 0.13: `utils/schemas/{config,training,peft,datasets}.py` and `examples/`.

use serde_json::{Value, json};

use super::common::{
    DEVICES, PLANNED, REPORT, TYPE, batch, dora, epochs, eval_steps, learning_rate, logging_steps, max_grad_norm,
    max_steps, model, number, number_to, optimizer, quantize, save_steps, schedule, targets, text_of, whole,
};
use super::{Draft, Fate, Rule, Source, Table, is_off};
use Fate::{NoEffect, Nothing, To, Via};

const CLASSES: &str = "config.json says which family the model is";
const ONLY_LINEARS: &str = "only linears of decoder layers are trained";
const BY_EPOCH: &str = "only numbers of steps are known: checkpoint.every_steps, evaluation.every_steps";

pub(super) const TABLE: Table = Table {
    markers: &[
        "base_model",
        "datasets",
        "sequence_len",
        "micro_batch_size",
        "lora_r",
        "adapter",
        "val_set_size",
        "sample_packing",
        "num_epochs",
        "lora_target_linear",
        "lora_target_modules",
    ],
    rules: &[
        Rule("base_model", Via(model)),
        Rule("base_model_config", Nothing("the model's own config.json is read")),
        Rule("model_type", NoEffect(CLASSES)),
        Rule("tokenizer_type", NoEffect(CLASSES)),
        Rule("is_llama_derived_model", NoEffect(CLASSES)),
        Rule("is_mistral_derived_model", NoEffect(CLASSES)),
        Rule("trust_remote_code", NoEffect("no code of a model is run")),
        Rule("tokenizer_config", To("model.tokenizer")),
        Rule("chat_template", Via(chat_template)),
        Rule("chat_template_jinja", Nothing("write the template into a file and name it in model.chat_template")),
        Rule("default_system_message", Nothing("the rows' own system messages are used")),
        Rule("special_tokens", Via(special_tokens)),
        Rule("tokens", Nothing("the vocabulary stays as it is")),
        Rule("load_in_8bit", Via(|_, key, value, draft| quantize("int8", key, value, draft))),
        Rule("load_in_4bit", Via(|_, key, value, draft| quantize("nf4", key, value, draft))),
        Rule("strict", NoEffect("unknown keys are always errors in ft.yaml")),
        Rule("datasets", Via(datasets)),
        Rule("test_datasets", Via(test_datasets)),
        Rule("dataset_prepared_path", NoEffect("rows are tokenized when the run starts")),
        Rule("dataset_processes", NoEffect(PLANNED)),
        Rule("dataset_num_proc", NoEffect(PLANNED)),
        Rule("shuffle_merged_datasets", To("data.shuffle")),
        Rule("dataset_exact_deduplication", Nothing("`ft data clean` removes duplicates")),
        Rule("val_set_size", Via(val_set_size)),
        Rule("output_dir", To("logging.dir")),
        Rule("sequence_len", To("data.max_seq_length")),
        Rule("excess_length_strategy", Via(excess_length)),
        Rule("sample_packing", NoEffect(PLANNED)),
        Rule("eval_sample_packing", NoEffect(PLANNED)),
        Rule("pad_to_sequence_len", NoEffect(PLANNED)),
        Rule("group_by_length", NoEffect(PLANNED)),
        Rule("adapter", Via(adapter)),
        Rule("lora_model_dir", To("adapter.init_from")),
        Rule("lora_r", To("adapter.rank")),
        Rule("lora_alpha", Via(|_, key, value, draft| number_to("adapter.alpha", key, value, draft))),
        Rule("lora_dropout", Via(|_, key, value, draft| number_to("adapter.dropout", key, value, draft))),
        Rule("lora_target_modules", Via(target_modules)),
        Rule("lora_target_linear", Via(target_linear)),
        Rule("lora_fan_in_fan_out", Nothing("linears are stored as [out, in]")),
        Rule("lora_modules_to_save", Nothing(ONLY_LINEARS)),
        Rule("lora_target_parameters", Nothing(ONLY_LINEARS)),
        Rule("peft_layers_to_transform", Nothing("adapter.layers takes the first or the last N")),
        Rule("peft_use_dora", Via(dora)),
        Rule("peft_use_rslora", To("adapter.use_rslora")),
        Rule("peft_init_lora_weights", Nothing("fresh adapters begin with random A and zero B")),
        Rule("loraplus_lr_ratio", Nothing("all matrices have one learning rate")),
        Rule("lora_on_cpu", NoEffect(DEVICES)),
        Rule("lora_mlp_kernel", NoEffect(PLANNED)),
        Rule("lora_qkv_kernel", NoEffect(PLANNED)),
        Rule("lora_o_kernel", NoEffect(PLANNED)),
        Rule("rl", Nothing("this objective is not imported; sft is trained")),
        Rule("gradient_accumulation_steps", Via(batch_size)),
        Rule("micro_batch_size", Via(batch_size)),
        Rule("batch_size", Via(total_batch_size)),
        Rule("eval_batch_size", NoEffect(PLANNED)),
        Rule("num_epochs", Via(epochs)),
        Rule("max_steps", Via(max_steps)),
        Rule("optimizer", Via(optimizer)),
        Rule("optim_args", Nothing("the settings of AdamW have keys of their own in section training")),
        Rule("lr_scheduler", Via(schedule)),
        Rule("lr_scheduler_kwargs", Nothing("training.min_learning_rate_ratio says where the schedule ends")),
        Rule(
            "cosine_min_lr_ratio",
            Via(|_, key, value, draft| number_to("training.min_learning_rate_ratio", key, value, draft)),
        ),
        Rule("learning_rate", Via(learning_rate)),
        Rule("embedding_lr", NoEffect("embeddings are not trained")),
        Rule("weight_decay", Via(|_, key, value, draft| number_to("training.weight_decay", key, value, draft))),
        Rule("adam_beta1", Via(|_, key, value, draft| number_to("training.adam_beta1", key, value, draft))),
        Rule("adam_beta2", Via(|_, key, value, draft| number_to("training.adam_beta2", key, value, draft))),
        Rule("adam_epsilon", Via(|_, key, value, draft| number_to("training.adam_epsilon", key, value, draft))),
        Rule("max_grad_norm", Via(max_grad_norm)),
        Rule("warmup_steps", Via(warmup)),
        Rule("warmup_ratio", Via(warmup)),
        Rule("neftune_noise_alpha", Nothing("no noise is added to embeddings")),
        Rule(
            "label_smoothing_factor",
            Via(|_, key, value, draft| number_to("training.label_smoothing", key, value, draft)),
        ),
        Rule("train_on_inputs", Via(train_on_inputs)),
        Rule("bf16", NoEffect(TYPE)),
        Rule("fp16", NoEffect(TYPE)),
        Rule("bfloat16", NoEffect(TYPE)),
        Rule("float16", NoEffect(TYPE)),
        Rule("tf32", NoEffect(TYPE)),
        Rule("torch_dtype", NoEffect(TYPE)),
        Rule("gradient_checkpointing", NoEffect(PLANNED)),
        Rule("gradient_checkpointing_kwargs", NoEffect(PLANNED)),
        Rule("xformers_attention", NoEffect(PLANNED)),
        Rule("flash_attention", NoEffect(PLANNED)),
        Rule("sdp_attention", NoEffect(PLANNED)),
        Rule("attn_implementation", NoEffect(PLANNED)),
        Rule("s2_attention", Nothing("attention sees the whole example")),
        Rule("early_stopping_patience", Via(early_stopping)),
        Rule(
            "resume_from_checkpoint",
            Nothing("checkpoints of other tools cannot be gone on from; their adapters can (adapter.init_from)"),
        ),
        Rule("auto_resume_from_checkpoints", NoEffect("`ft resume` goes on")),
        Rule("local_rank", NoEffect(DEVICES)),
        Rule("ddp_timeout", NoEffect(DEVICES)),
        Rule("deepspeed", NoEffect(DEVICES)),
        Rule("fsdp", NoEffect(DEVICES)),
        Rule("fsdp_config", NoEffect(DEVICES)),
        Rule("logging_steps", Via(logging_steps)),
        Rule("eval_steps", Via(eval_steps)),
        Rule("save_steps", Via(save_steps)),
        Rule("evals_per_epoch", Nothing(BY_EPOCH)),
        Rule("saves_per_epoch", Nothing(BY_EPOCH)),
        Rule("eval_strategy", Nothing(BY_EPOCH)),
        Rule("save_strategy", Nothing(BY_EPOCH)),
        Rule("save_total_limit", To("checkpoint.keep")),
        Rule("save_safetensors", NoEffect("nothing else is written")),
        Rule("load_best_model_at_end", To("evaluation.keep_best")),
        Rule("eval_table_size", NoEffect(REPORT)),
        Rule("eval_max_new_tokens", To("evaluation.sample_max_tokens")),
        Rule("loss_watchdog_threshold", Nothing("only losses that are not finite stop a run (training.max_bad_steps)")),
        Rule("loss_watchdog_patience", NoEffect("it counts for loss_watchdog_threshold alone")),
        Rule("wandb_project", NoEffect(REPORT)),
        Rule("wandb_entity", NoEffect(REPORT)),
        Rule("wandb_watch", NoEffect(REPORT)),
        Rule("wandb_name", NoEffect(REPORT)),
        Rule("wandb_log_model", NoEffect(REPORT)),
        Rule("wandb_run_id", NoEffect(REPORT)),
        Rule("mlflow_tracking_uri", NoEffect(REPORT)),
        Rule("hub_model_id", Nothing("nothing is uploaded")),
        Rule("debug", NoEffect(REPORT)),
        Rule("plugins", Nothing("there are no plug-ins")),
        Rule("seed", To("training.seed")),
    ],
    assume,
};

fn chat_template(_: &Source, key: &str, value: &Value, draft: &mut Draft) {
    match value.as_str() {
        Some("chatml") => draft.set("model.chat_template", "chatml", key),
        Some("tokenizer_default") => draft.without_effect(key, value, "that is so here"),
        Some("jinja") => draft.without_effect(key, value, "chat_template_jinja is what counts"),
        _ => {
            let text = "the model's own template is used, and must have one; model.chat_template takes a Jinja file";
            draft.without_effect(key, value, text);
        }
    }
}

fn special_tokens(_: &Source, key: &str, value: &Value, draft: &mut Draft) {
    for (name, token) in value.as_object().into_iter().flatten().filter(|(_, token)| !token.is_null()) {
        let key = format!("{key}.{name}");
        match name.as_str() {
            "pad_token" | "unk_token" => {
                draft.without_effect(&key, token, "examples are not padded, and every text has tokens")
            }
            _ => draft.without_counterpart(&key, token, "the tokenizer's own special tokens are used"),
        }
    }
}

/// Files and forms of a list of data sets.
fn sets(key: &str, value: &Value, to: &'static str, draft: &mut Draft) {
    let mut files: Vec<String> = Vec::new();
    let mut formats: Vec<&str> = Vec::new();
    for (at, set) in value.as_array().into_iter().flatten().enumerate() {
        let key = format!("{key}[{at}]");
        let path = match set.get("data_files") {
            Some(Value::String(file)) => vec![file.as_str()],
            Some(Value::Array(files)) => files.iter().filter_map(Value::as_str).collect(),
            _ => set.get("path").and_then(Value::as_str).into_iter().collect(),
        };
        if path.is_empty() {
            draft.without_counterpart(&key, set, "a path is needed");
        }
        for path in path {
            let is_file = path.rsplit('/').next().is_some_and(|name| name.contains('.'));
            if !is_file {
                let text = "if this is a name on a hub or a folder: put the path of a file there";
                draft.without_counterpart(&format!("{key}.path"), &Value::from(path), text);
            }
            files.push(path.to_string());
        }
        for (name, value) in set.as_object().into_iter().flatten() {
            let key = format!("{key}.{name}");
            match name.as_str() {
                "path" | "data_files" => {}
                "type" => match format_of(value) {
                    Some(format) => formats.push(format),
                    None => draft.without_counterpart(&key, value, "the form of the rows is found out (data.format)"),
                },
                "ds_type" => draft.without_effect(&key, value, "the kind of file is found out"),
                "split" if value == "train" => draft.without_effect(&key, value, "all rows of a file are used"),
                "field_messages" if value == "messages" => draft.without_effect(&key, value, "that is so here"),
                "message_field_role" if value == "role" => draft.without_effect(&key, value, "that is so here"),
                "message_field_content" if value == "content" => draft.without_effect(&key, value, "that is so here"),
                "roles_to_train" if *value == json!(["assistant"]) => {
                    draft.without_effect(&key, value, "that is so here")
                }
                "train_on_eos" if value == "turn" => draft.without_effect(&key, value, "that is so here"),
                "roles" => draft.without_effect(&key, value, "the usual names of roles are known"),
                _ if is_off(value) => draft.without_effect(&key, value, "switched off"),
                _ => draft.without_counterpart(&key, value, "columns of other names go into data.columns"),
            }
        }
    }
    if !files.is_empty() {
        draft.set(to, files, key);
    }
    formats.dedup();
    if let ([format], "data.train") = (&formats[..], to) {
        draft.set("data.format", *format, format!("{key}[].type"));
    }
}

fn format_of(value: &Value) -> Option<&'static str> {
    Some(match value.as_str()?.split('.').next()? {
        "chat_template" => "messages",
        "sharegpt" => "sharegpt",
        "alpaca" => "alpaca",
        "completion" => "text",
        _ => return None,
    })
}

fn datasets(_: &Source, key: &str, value: &Value, draft: &mut Draft) {
    sets(key, value, "data.train", draft);
}

fn test_datasets(_: &Source, key: &str, value: &Value, draft: &mut Draft) {
    sets(key, value, "data.validation", draft);
}

/// A share below 1, or a number of rows.
fn val_set_size(source: &Source, key: &str, value: &Value, draft: &mut Draft) {
    match number(value) {
        Some(_) if source.get("test_datasets").is_some() => {
            draft.without_effect(key, value, "test_datasets is given, too")
        }
        Some(share) if (0.0..1.0).contains(&share) => draft.set("data.validation_fraction", share, key),
        _ => draft.without_counterpart(
            key,
            value,
            "a share from 0 up to 1 is needed; `ft data split` takes numbers of rows",
        ),
    }
}

fn excess_length(_: &Source, key: &str, value: &Value, draft: &mut Draft) {
    match value.as_str() {
        Some("drop") => draft.set("data.overlong", "drop", key),
        Some("truncate") => draft.set("data.overlong", "truncate-right", key),
        Some("raise") => draft.set("data.overlong", "error", key),
        _ => draft.without_counterpart(key, value, "drop, truncate and raise are known"),
    }
}

fn adapter(source: &Source, key: &str, value: &Value, draft: &mut Draft) {
    match value.as_str() {
        Some("lora") => draft.without_effect(key, value, "adapters are what is trained here"),
        // Axolotl asks for load_in_4bit beside it.
        Some("qlora") if source.get("load_in_4bit").is_some_and(|flag| !is_off(flag)) => {
            draft.without_effect(key, value, "load_in_4bit says it");
        }
        Some("qlora") => draft.set("model.quantize", "nf4", key),
        _ => draft.without_counterpart(key, value, "only LoRA and DoRA are known: LoRA takes its place"),
    }
}

fn target_modules(source: &Source, key: &str, value: &Value, draft: &mut Draft) {
    match source.get("lora_target_linear").is_some_and(|linear| !is_off(linear)) {
        true => draft.without_effect(key, value, "lora_target_linear takes all linears already"),
        false => targets(source, key, value, draft),
    }
}

fn target_linear(_: &Source, key: &str, value: &Value, draft: &mut Draft) {
    match is_off(value) {
        true => draft.without_effect(key, value, "switched off"),
        false => draft.set("adapter.target_modules", "all-linear", key),
    }
}

fn batch_size(source: &Source, _: &str, _: &Value, draft: &mut Draft) {
    if source.get("batch_size").is_none() {
        batch(source, "micro_batch_size", 1, draft);
    }
}

fn total_batch_size(_: &Source, key: &str, value: &Value, draft: &mut Draft) {
    match whole(value) {
        Some(size) => draft.set("training.batch_size", size, key),
        None => draft.without_counterpart(key, value, "a whole number is needed"),
    }
}

fn warmup(source: &Source, key: &str, value: &Value, draft: &mut Draft) {
    match (key, whole(value)) {
        ("warmup_steps", Some(steps)) => draft.set("training.warmup_steps", steps, key),
        ("warmup_ratio", _) if source.get("warmup_steps").is_some() => {
            draft.without_effect(key, value, "warmup_steps is given, too");
        }
        ("warmup_ratio", _) => number_to("training.warmup_ratio", key, value, draft),
        _ => draft.without_counterpart(key, value, "a whole number of steps is needed"),
    }
}

fn train_on_inputs(_: &Source, key: &str, value: &Value, draft: &mut Draft) {
    draft.set("data.train_on", if is_off(value) { "assistant" } else { "all" }, key);
}

fn early_stopping(_: &Source, key: &str, value: &Value, draft: &mut Draft) {
    match whole(value) {
        Some(patience) if patience > 0 => draft.set("evaluation.early_stopping", json!({ "patience": patience }), key),
        _ => draft.without_counterpart(key, value, "a number of evaluations is needed"),
    }
}

fn assume(source: &Source, draft: &mut Draft) {
    if text_of(source, "adapter").is_none() {
        let text = "all weights would be trained; adapters are what is trained here";
        draft.without_counterpart("adapter", &Value::Null, text);
    }
    draft.assume("data.max_seq_length", 512);
    draft.assume("data.overlong", "drop");
    draft.assume("training.batch_size", 1);
    draft.assume("training.epochs", 1);
    draft.assume("training.schedule", "cosine");
    draft.assume("evaluation.keep_best", false);
}
