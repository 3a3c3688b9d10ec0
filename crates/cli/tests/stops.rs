//! Every stop of `ft train`, provoked through the program: exit code, message, and that nothing was written.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "these are tests")]

mod common;

use common::{Said, Scratch, chat, chats, small_base};
use serde_json::{Value, json};

/// A run that must be refused before anything is written.
#[track_caller]
fn refused(scratch: &Scratch, code: i32, parts: &[&str]) -> Said {
    let said = scratch.train().refused(code, parts);
    assert!(said.stderr.contains("error: "), "{}", said.stderr);
    scratch.assert_nothing_written();
    said
}

fn with_rows(rows: &[String]) -> Scratch {
    let scratch = Scratch::new();
    scratch.write("train.jsonl", &(rows.join("\n") + "\n"));
    scratch
}

/// The rows of [`chats`] with one of them replaced.
fn with_row(number: usize, row: &str) -> Scratch {
    let mut rows = chats(6);
    rows[number - 1] = row.to_string();
    with_rows(&rows)
}

fn untrained_row() -> String {
    json!({"messages": [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello", "train": false},
    ]})
    .to_string()
}

fn template(scratch: &Scratch, text: &str, settings: Value) {
    scratch.write("template.jinja", text);
    scratch.configure(&json!({"model": {"chat_template": "./template.jinja"}, "data": settings}));
}

// Rows.

#[test]
fn a_row_without_a_trained_token() {
    let scratch = with_row(3, &untrained_row());
    refused(&scratch, 1, &["1 of 6 rows without a trained token", "train.jsonl:3 (row 3)", "hint: ", "data.untrained"]);
    let scratch = with_row(2, r#"{"messages": [{"role": "user", "content": "Hi"}]}"#);
    refused(&scratch, 1, &["without a trained token", "train.jsonl:2 (row 2)", "none of them is an assistant turn"]);
}

#[test]
fn rows_without_a_trained_token_are_dropped_and_counted_on_request() {
    let scratch = with_row(3, &untrained_row());
    scratch.configure(&json!({"data": {"untrained": "drop"}}));
    let said = scratch.train().done();
    assert!(said.stderr.contains("5 examples") && said.stderr.contains("1 dropped without a trained token"));
}

#[test]
fn no_row_is_left() {
    let scratch = with_rows(&[untrained_row(), untrained_row()]);
    scratch.configure(&json!({"data": {"untrained": "drop"}}));
    refused(&scratch, 1, &["data.train: no rows are left (2 of 2 were dropped)", "hint: "]);
}

#[test]
fn the_template_drops_a_message() {
    let row = json!({"messages": [
        {"role": "system", "content": "Be brief and truthful."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
    ]});
    let scratch = with_row(4, &row.to_string());
    let text = "{% for message in messages if message.role != 'system' %}<|im_start|>{{ message.role }}\n\
                {{ message.content }}<|im_end|>\n{% endfor %}";
    template(&scratch, text, json!({}));
    refused(
        &scratch,
        1,
        &["train.jsonl:4 (row 4)", "message 1 (system): the chat template drops its content", "hint: "],
    );
}

#[test]
fn a_row_is_too_long() {
    let long = chat("Count.", &"and one more ".repeat(60));
    let scratch = with_row(5, &long);
    refused(
        &scratch,
        1,
        &["1 of 6 rows longer than 200 tokens (data.max_seq_length)", "train.jsonl:5 (row 5)", "data.overlong"],
    );
    for (choice, count) in [
        ("drop", "5 examples, "),
        ("drop", "1 dropped as too long"),
        ("truncate-left", "1 cut on the left"),
        ("truncate-right", "1 cut on the right"),
    ] {
        let scratch = with_row(5, &long);
        scratch.configure(&json!({"data": {"overlong": choice}}));
        let said = scratch.train().done();
        assert!(said.stderr.contains(count), "{choice}: {}", said.stderr);
    }
}

#[test]
fn a_row_is_longer_than_the_model_was_made_for() {
    let scratch = with_row(5, &chat("Count.", &"and one more ".repeat(120)));
    scratch.configure(&json!({"data": {"max_seq_length": 4096}}));
    refused(&scratch, 1, &["longer than 256 tokens (the model's max_position_embeddings)", "train.jsonl:5 (row 5)"]);
}

#[test]
fn a_message_holds_a_special_token() {
    let scratch = with_row(2, &chat("Hi<|im_end|>", "Hello"));
    refused(&scratch, 1, &["train.jsonl:2 (row 2)", "<|im_end|>", "special token"]);
}

// End of turn and beginning of text.

#[test]
fn the_end_of_turn_is_never_trained() {
    let scratch = Scratch::new();
    let text = "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}\
                {% if add_generation_prompt %}assistant: {% endif %}";
    template(&scratch, text, json!({}));
    refused(&scratch, 1, &["the end-of-turn token is trained in none of the 24 rows", "hint: ", "model.chat_template"]);
}

#[test]
fn the_end_of_turn_is_always_cut_off() {
    let scratch = with_rows(&[chat("Count.", &"and one more ".repeat(60))]);
    scratch.configure(&json!({"data": {"overlong": "truncate-right", "validation": []}}));
    refused(&scratch, 1, &["the end-of-turn token is trained in none of the 1 rows", "raise data.max_seq_length"]);
}

#[test]
fn the_beginning_of_text_is_doubled() {
    let scratch = Scratch::new();
    scratch.change_json("base/tokenizer_config.json", |config| {
        config["bos_token"] = "<|endoftext|>".into();
        config["add_bos_token"] = true.into();
    });
    let text = "{{ bos_token }}{{ bos_token }}{% for message in messages %}<|im_start|>{{ message.role }}\n\
                {{ message.content }}<|im_end|>\n{% endfor %}\
                {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
    template(&scratch, text, json!({}));
    refused(
        &scratch,
        1,
        &["24 of 24 rows with a doubled BOS token", "train.jsonl:1 (row 1)", "<|endoftext|>", "and 14 more"],
    );
    // Once is right, whether the template or the tokenizer writes it.
    template(&scratch, &text.replacen("{{ bos_token }}", "", 1), json!({}));
    scratch.train().done();
}

// Files.

#[test]
fn files_that_are_not_what_they_should_be() {
    let cases: [(&str, &[u8], &[&str]); 8] = [
        ("train.jsonl", b"{\"messages\": []\n", &["train.jsonl:1:16: ", "hint: "]),
        ("train.jsonl", b"{\"prompt\": \"a\", \"completion\": \"b\"}\n{\"prompt\": \"a\"\n", &["train.jsonl:2:15: "]),
        ("train.jsonl", b"{\"prompt\": \"a\", \"completion\": \"b\xff\"}\n", &["train.jsonl:1", "0xFF", "not UTF-8"]),
        ("train.jsonl", b"", &["train.jsonl", "no rows"]),
        ("train.jsonl", b"{\"prompt\": \"a\", \"completion\": 5}\n", &["train.jsonl:1", "completion", "number"]),
        ("train.jsonl", b"[1, 2]\n", &["train.jsonl:1", "object"]),
        ("base/config.json", b"{\"model_type\": \"llama\",", &["config.json", "line 1", "column"]),
        ("base/config.json", b"{\"model_type\": \"llama\", \"hidden_size\": \"x\"}", &["config.json", "hidden_size"]),
    ];
    for (name, content, parts) in cases {
        let scratch = Scratch::new();
        #[allow(clippy::disallowed_methods, reason = "a broken file is wanted")]
        std::fs::write(scratch.path(name), content).unwrap();
        refused(&scratch, 1, parts);
    }
}

#[test]
fn missing_files_are_named() {
    let scratch = Scratch::new();
    scratch.configure(&json!({"data": {"train": "nothing.jsonl"}}));
    refused(&scratch, 2, &["nothing.jsonl", "no such file"]);
    scratch.configure(&json!({"model": {"path": "nothing"}}));
    refused(&scratch, 2, &["model.path", "nothing", "hint: "]);
}

// The base model and the adapter.

#[test]
fn a_tensor_is_missing() {
    let scratch = Scratch::new();
    scratch.change_tensors(|tensors| {
        tensors.remove("model.layers.1.mlp.up_proj.weight");
    });
    refused(&scratch, 1, &["base", "tensor 'model.layers.1.mlp.up_proj.weight' is missing", "hint: "]);
}

#[test]
fn a_tensor_has_the_wrong_shape() {
    let scratch = Scratch::new();
    scratch.change_tensors(|tensors| {
        let tensor = tensors.get_mut("model.layers.0.self_attn.k_proj.weight").unwrap();
        tensor.shape.reverse();
    });
    refused(
        &scratch,
        1,
        &["tensor 'model.layers.0.self_attn.k_proj.weight' has shape [32, 16], expected [16, 32]", "hint: "],
    );
}

#[test]
fn a_tensor_is_not_finite() {
    for bad in [f32::NAN, f32::INFINITY] {
        let scratch = Scratch::new();
        scratch
            .change_tensors(|tensors| tensors.get_mut("model.layers.1.mlp.down_proj.weight").unwrap().data[17] = bad);
        let parts = ["tensor 'model.layers.1.mlp.down_proj.weight' has a non-finite value at element 17", "hint: "];
        refused(&scratch, 1, &parts);
    }
}

#[test]
fn a_tensor_that_nobody_reads() {
    let scratch = Scratch::new();
    scratch.change_tensors(|tensors| {
        let bias = attune_formats::tensors::F32Tensor { shape: vec![32], data: vec![1.0; 32] };
        tensors.insert("model.layers.0.self_attn.q_proj.bias".into(), bias);
    });
    refused(&scratch, 1, &["'model.layers.0.self_attn.q_proj.bias' does not belong to this architecture"]);
}

#[test]
fn the_tokenizer_has_more_tokens_than_the_embedding() {
    let scratch = Scratch::new();
    scratch.change_json("base/tokenizer.json", |tokenizer| {
        let tokens = tokenizer["added_tokens"].as_array_mut().unwrap();
        let mut token = tokens[0].clone();
        token["id"] = 300.into();
        token["content"] = "<|extra|>".into();
        tokens.push(token);
    });
    refused(&scratch, 1, &["the tokenizer has 301 tokens, the embedding of the model has 300 rows", "hint: "]);
}

#[test]
fn no_adapter_module_matches() {
    let scratch = Scratch::new();
    scratch.configure(&json!({"adapter": {"target_modules": []}}));
    refused(&scratch, 2, &["`adapter.target_modules` is []"]);
    scratch.configure(&json!({"adapter": {"target_modules": ["c_attn"]}}));
    refused(&scratch, 2, &["adapter.target_modules", "c_attn"]);
    scratch.configure(&json!({"adapter": {"layers": {"last": 3}}}));
    refused(&scratch, 2, &["adapter.layers: 3 layers asked for, the model has 2"]);
    scratch.configure(&json!({"adapter": {"rank_pattern": {"layers.7.mlp.up_proj": 2}}}));
    refused(&scratch, 2, &["adapter.rank_pattern: 'layers.7.mlp.up_proj' matches no module"]);
    scratch.configure(&json!({"adapter": {"rank": 999}}));
    refused(&scratch, 2, &["adapter.rank: 999 for model.layers.0.self_attn.q_proj, which is 32 x 32"]);
}

#[test]
fn an_initial_adapter_that_matches_no_module() {
    let scratch = Scratch::new();
    scratch.train().done();
    #[allow(clippy::disallowed_methods, reason = "a test may")]
    std::fs::rename(scratch.path("run/adapter"), scratch.path("first")).unwrap();
    scratch.change_json("first/adapter_config.json", |config| config["target_modules"] = json!(["c_attn"]));
    scratch.configure(&json!({"adapter": {"init_from": "first"}}));
    let said = scratch.ft(&["train", "ft.yaml", "--out", "other"]);
    said.refused(1, &["first", "target_modules of adapter_config.json does not name it", "hint: "]);
}

// Training.

#[test]
fn the_loss_is_exactly_zero() {
    // Without merges every byte is a token. Embeddings are unit vectors, the layers add nothing, and the head gives
    // each token's successor in `\n` `a` `b` `c` `<|im_end|>` a certainty that no rounding of f32 can tell from 1.
    let scratch = Scratch::with_base(&common::random_base::RandomBase { vocabulary: 259, ..small_base() });
    let chain: Vec<usize> = {
        let vocabulary = scratch.read_json("base/tokenizer.json")["model"]["vocab"].clone();
        let mut chain: Vec<usize> =
            ["Ċ", "a", "b", "c"].iter().map(|token| vocabulary[token].as_u64().unwrap() as usize).collect();
        chain.push(258);
        chain
    };
    scratch.change_tensors(|tensors| {
        for (name, tensor) in tensors.iter_mut() {
            if name.ends_with("o_proj.weight") || name.ends_with("down_proj.weight") {
                tensor.data.fill(0.0);
            }
        }
        let hidden = 32;
        for (name, value) in [("model.embed_tokens.weight", 1.0), ("lm_head.weight", 100.0)] {
            let data = &mut tensors.get_mut(name).unwrap().data;
            data.fill(0.0);
            for (channel, pair) in chain.windows(2).enumerate() {
                let token = if name == "lm_head.weight" { pair[1] } else { pair[0] };
                data[token * hidden + channel] = value;
            }
        }
    });
    let row = chat("Hi", "abc");
    scratch.write("train.jsonl", &[row.as_str(); 4].join("\n"));
    scratch.configure(&json!({"data": {"validation": []}}));
    let said = scratch.train().refused(1, &["step 1: the loss is exactly 0", "train.jsonl:", "hint: "]);
    assert!(said.stderr.contains("(row 1)") || said.stderr.contains("(row 2)"), "{}", said.stderr);
    assert!(!scratch.path("run/adapter").exists());
}

#[test]
fn every_b_is_still_zero_after_training() {
    let scratch = Scratch::new();
    // Too small for f32.
    scratch.configure(&json!({"training": {"learning_rate": 1e-60}}));
    let parts = ["after 6 steps every B matrix of the adapter is still zero: it changes nothing", "hint: "];
    scratch.train().refused(1, &parts);
    assert!(!scratch.path("run/adapter").exists(), "an adapter that changes nothing is not handed out");
}

#[test]
fn steps_that_are_not_finite_are_skipped_and_then_stop_the_run() {
    let scratch = Scratch::new();
    scratch.configure(&json!({
        "training": {"learning_rate": 1e38, "schedule": "constant", "warmup_ratio": 0.0, "steps": 20},
        "checkpoint": {"every_steps": 1}, "evaluation": {"every_steps": null},
    }));
    let said = scratch.train().refused(1, &["3 steps in a row were skipped", "train.jsonl:", "hint: "]);
    assert_eq!(said.stderr.matches("warning: step ").count(), 3, "{}", said.stderr);
    assert!(said.stderr.contains("skipped: "), "{}", said.stderr);
    let checkpoints = common::names(&scratch.path("run/checkpoints"));
    assert!(!checkpoints.is_empty());
    for name in checkpoints {
        attune_formats::manifest::Manifest::verify(&scratch.path("run/checkpoints").join(name)).unwrap();
    }
}

// Changes between start and resumption.

#[test]
fn what_a_run_was_made_of_must_not_change() {
    type Change = fn(&Scratch);
    let changes: [(&str, Change); 5] = [
        ("train.jsonl", |scratch| scratch.write("train.jsonl", &chats(23).join("\n"))),
        ("validation.jsonl", |scratch| scratch.write("validation.jsonl", &chats(3).join("\n"))),
        ("model.safetensors", |scratch| {
            scratch.change_tensors(|tensors| tensors.get_mut("model.norm.weight").unwrap().data[0] = 1.5);
        }),
        ("config.json", |scratch| {
            scratch.change_json("base/config.json", |config| config["rms_norm_eps"] = json!(1e-6))
        }),
        ("chat template", |scratch| {
            scratch.change_json("base/tokenizer_config.json", |config| {
                let text = config["chat_template"].as_str().unwrap().replace("<|im_end|>\\n", "<|im_end|>");
                config["chat_template"] = text.into();
            });
        }),
    ];
    for (what, change) in changes {
        let scratch = Scratch::new();
        scratch.configure(&json!({"checkpoint": {"every_steps": 2}}));
        scratch.train().done();
        let before = common::names(&scratch.path("run/checkpoints"));
        change(&scratch);
        scratch.ft(&["resume", "run"]).refused(1, &["cannot resume", what, "changed since the run started", "hint: "]);
        assert_eq!(common::names(&scratch.path("run/checkpoints")), before);
    }
}

#[test]
fn the_settings_of_a_run_must_not_change() {
    let scratch = Scratch::new();
    scratch.train().done();
    let config = String::from_utf8(scratch.read("run/config.yaml")).unwrap();
    assert!(config.contains("seed: 42"), "{config}");
    scratch.write("run/config.yaml", &config.replace("seed: 42", "seed: 43"));
    let parts = ["cannot resume", "the setting training.seed changed", "it was 42, now it is 43"];
    scratch.ft(&["resume", "run"]).refused(1, &parts);
}

// Usage and configuration: exit code 2, and nothing written.

#[test]
fn configurations_that_are_wrong() {
    let cases: [(&str, &[&str]); 6] = [
        (
            "{model: {path: base}, data: {train: train.jsonl}, training: {epoch: 2}}",
            &["ft.yaml:1", "unknown key `training.epoch`", "`training.epochs`"],
        ),
        (
            "{model: {path: base}, data: {train: train.jsonl}, training: {epochs: many}}",
            &["ft.yaml:1", "`training.epochs`"],
        ),
        ("{data: {train: train.jsonl}}", &["`model.path` is not given", "hint: "]),
        ("model: [", &["ft.yaml:"]),
        ("{model: {path: base}, data: {train: train.jsonl}, hardware: {threads: 0}}", &["`hardware.threads` is 0"]),
        ("{extends: nothing.yaml}", &["nothing.yaml"]),
    ];
    for (config, parts) in cases {
        let scratch = Scratch::new();
        scratch.write("ft.yaml", config);
        refused(&scratch, 2, parts);
    }
}

#[test]
fn layers_above_the_file_are_named_as_they_were_given() {
    let scratch = Scratch::new();
    let args = ["train", "ft.yaml", "--out", "run", "--set", "training.stepz=2"];
    scratch.ft(&args).refused(2, &["--set training.stepz=2: unknown key", "`training.steps`"]);
    let said = common::ft_with(scratch.dir(), &["train", "ft.yaml", "--out", "run"], &[("FT__TRAINING__STEPZ", "2")]);
    said.refused(2, &["FT__TRAINING__STEPZ", "FT__TRAINING__STEPS"]);
    let said = common::ft_with(scratch.dir(), &["train", "ft.yaml", "--out", "run"], &[("FT_CPU", "vacuum-tubes")]);
    said.refused(2, &["FT_CPU", "vacuum-tubes"]);
    scratch.assert_nothing_written();
}

#[test]
fn folders_that_cannot_be_used() {
    let scratch = Scratch::new();
    scratch.ft(&["train", "nothing.yaml"]).refused(2, &["cannot read nothing.yaml", "ft init"]);
    scratch.ft(&["resume", "nothing"]).refused(2, &["nothing: not a run folder", "hint: "]);
    scratch.ft(&["resume", "base"]).refused(2, &["base: not a run folder"]);
    scratch.write("taken", "");
    scratch.ft(&["train", "ft.yaml", "--out", "taken"]).refused(1, &["taken"]);
    scratch.train().done();
    scratch.train().refused(2, &["run: the run folder exists and is not empty", "ft resume run"]);
}

#[test]
fn command_lines_that_are_wrong() {
    let scratch = Scratch::new();
    for args in [
        &["train"][..],
        &["train", "ft.yaml", "--steps", "3"],
        &["generate", "--model", "base"],
        &["generate", "--model", "base", "--prompt", "x", "--temperature", "-1"],
        &["generate", "--model", "base", "--prompt", "x", "--top-p", "1.5"],
        &["generate", "--model", "base", "--prompt", "x", "--top-k", "0"],
        &["data", "inspect"],
        &["data", "inspect", "train.jsonl", "--show-mask", "2"],
        &["data", "inspect", "train.jsonl", "--format", "csv"],
    ] {
        scratch.ft(args).refused(2, &["error: "]);
    }
}
