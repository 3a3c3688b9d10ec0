//! Training never goes wrong in silence: each stop, with the row, the reason and the mend.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod common;

use std::sync::atomic::AtomicBool;

use attune_config::{CompletionStyle, Config, Layers, Overlong, TargetModule, TargetModules, Untrained};
use attune_train::Event;
use attune_train::inputs::Inputs;
use common::{Events, HIDDEN, World, chat, explain};
use serde_json::json;

#[track_caller]
fn assert_says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "'{part}' is not in:\n{message}");
    }
}

#[test]
fn a_row_without_a_trained_token() {
    let world = World::new();
    let excluded = json!({"messages": [{"role": "user", "content": "Q"},
                                       {"role": "assistant", "content": "A", "train": false}]});
    world.write_rows("train.jsonl", &[chat("Q", "A"), excluded, chat("Q", "B")]);
    assert_says(
        &world.stop(world.config()),
        &["1 of 3 rows without a trained token", "train.jsonl:2 (row 2)", "data.untrained to drop"],
    );

    let mut config = world.config();
    config.data.untrained = Untrained::Drop;
    let mut events = Events::default();
    let job = attune_train::Job::new(config, world.path("dropped"));
    attune_train::run(job, &mut events, &AtomicBool::new(false)).unwrap();
    let report = events.all.iter().find_map(|event| match event {
        Event::DataRead(read) => Some(read.report),
        _ => None,
    });
    assert_eq!(report.map(|report| (report.rows, report.examples, report.dropped_untrained)), Some((3, 2, 1)));
}

#[test]
fn no_row_with_a_trained_token_is_left() {
    let world = World::new();
    let row = json!({"messages": [{"role": "user", "content": "Q"}]});
    world.write_rows("train.jsonl", &[row.clone(), row]);
    let mut config = world.config();
    config.data.untrained = Untrained::Drop;
    assert_says(&world.stop(config), &["data.train: no rows are left (2 of 2 were dropped)"]);
}

#[test]
fn a_row_that_is_too_long() {
    let world = World::new();
    world.write_rows("train.jsonl", &[chat("Q", "A"), chat("Q", &"long ".repeat(20))]);
    let mut config = world.config();
    config.data.max_seq_length = 64;
    assert_says(
        &world.stop(config.clone()),
        &["1 of 2 rows longer than 64 tokens (data.max_seq_length)", "train.jsonl:2 (row 2): ", "truncate-left"],
    );
    config.data.max_seq_length = 2048;
    world.write_rows("train.jsonl", &[chat("Q", "A"), chat("Q", &"long ".repeat(40))]);
    assert_says(&world.stop(config.clone()), &["longer than 160 tokens (the model's max_position_embeddings)"]);

    config.data.max_seq_length = 64;
    for (overlong, name) in
        [(Overlong::Drop, "drop"), (Overlong::TruncateLeft, "left"), (Overlong::TruncateRight, "right")]
    {
        config.data.overlong = overlong;
        let mut events = Events::default();
        let job = attune_train::Job::new(config.clone(), world.path(name));
        attune_train::run(job, &mut events, &AtomicBool::new(false)).unwrap();
        let report = events.all.iter().find_map(|event| match event {
            Event::DataRead(read) => Some(read.report),
            _ => None,
        });
        let report = report.unwrap();
        let counts = (report.dropped_overlong, report.truncated_left, report.truncated_right, report.examples);
        match overlong {
            Overlong::Drop => assert_eq!(counts, (1, 0, 0, 1)),
            Overlong::TruncateLeft => assert_eq!((counts, report.longest), ((0, 1, 0, 2), 64)),
            _ => assert_eq!((counts, report.longest), ((0, 0, 1, 2), 64)),
        }
    }
}

#[test]
fn truncation_that_removes_every_target() {
    let world = World::new();
    world.write_rows("train.jsonl", &[chat("Q", "A"), chat(&"long ".repeat(20), "A")]);
    let mut config = world.config();
    config.data.max_seq_length = 64;
    config.data.overlong = Overlong::TruncateRight;
    assert_says(&world.stop(config), &["without a trained token after truncation", "row 2", "truncate-left"]);
}

#[test]
fn truncation_that_removes_every_end_of_turn() {
    let world = World::new();
    let rows = [chat("Q", &"long ".repeat(20)), chat("Q", &"longer ".repeat(20))];
    world.write_rows("train.jsonl", &rows);
    let mut config = world.config();
    config.data.max_seq_length = 64;
    config.data.overlong = Overlong::TruncateRight;
    assert_says(
        &world.stop(config),
        &["the end-of-turn token is trained in none of the 2 rows", "raise data.max_seq_length"],
    );
}

#[test]
fn an_end_of_turn_that_is_never_trained() {
    let world = World::new();
    world.write_model(Some("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"));
    assert_says(
        &world.stop(world.config()),
        &["the end-of-turn token is trained in none of the 8 rows", "model.chat_template"],
    );
}

#[test]
fn a_message_that_the_template_drops() {
    let world = World::new();
    world.write_model(Some(
        "{% for m in messages if m.role != 'system' %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}\
         {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    ));
    let row = json!({"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Q"},
                                  {"role": "assistant", "content": "A"}]});
    world.write_rows("train.jsonl", &[chat("Q", "A"), row]);
    assert_says(&world.stop(world.config()), &["train.jsonl:2 (row 2)", "message 1 (system)", "drops its content"]);
}

#[test]
fn a_doubled_bos() {
    let world = World::new();
    let rows = [
        json!({"prompt": "<|bos|><|bos|>Q", "completion": "A"}),
        json!({"prompt": "<|bos|>Q", "completion": "A"}),
        json!({"prompt": "Q", "completion": "A"}),
    ];
    world.write_rows("train.jsonl", &rows);
    let mut config = world.config();
    config.data.completion_style = CompletionStyle::Raw;
    assert_says(
        &world.stop(config),
        &["1 of 3 rows with a doubled BOS token", "train.jsonl:1 (row 1)", "<|bos|><|bos|>"],
    );

    world.write_model(Some(
        "{{ bos_token }}{{ bos_token }}{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n\
         {% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    ));
    world.write_rows("train.jsonl", &[chat("Q", "A")]);
    assert_says(&world.stop(world.config()), &["1 of 1 rows with a doubled BOS token", "train.jsonl:1 (row 1)"]);
}

#[test]
fn ten_rows_are_listed_and_the_rest_counted() {
    let world = World::new();
    let rows: Vec<_> = (0..25).map(|_| chat("Q", &"long ".repeat(20))).collect();
    world.write_rows("train.jsonl", &rows);
    let mut config = world.config();
    config.data.max_seq_length = 64;
    let message = world.stop(config);
    assert_says(&message, &["25 of 25 rows", "(row 10)", "and 15 more"]);
    assert!(!message.contains("(row 11)"), "{message}");
}

#[test]
fn a_tokenizer_that_is_larger_than_the_embedding() {
    let world = World::new();
    let path = world.path("model/tokenizer.json");
    let mut tokenizer: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let mut token = tokenizer["added_tokens"][0].clone();
    token["id"] = json!(261);
    token["content"] = json!("<|new|>");
    tokenizer["added_tokens"].as_array_mut().unwrap().push(token);
    std::fs::write(&path, tokenizer.to_string()).unwrap();
    assert_says(
        &world.stop(world.config()),
        &["the tokenizer has 262 tokens, the embedding of the model has 261 rows"],
    );
}

#[test]
fn no_adapter_module_matched() {
    let world = World::new();
    // The configuration refuses an empty list by itself; whoever builds the adapter without it meets the same stop.
    let mut config = world.config();
    config.adapter.target_modules = TargetModules::List(vec![]);
    assert_says(&world.stop(config.clone()), &["adapter.target_modules", "q_proj"]);
    let inputs = Inputs::load(&world.config(), None, &mut |_| Ok(())).unwrap();
    let error = inputs.initial(&config).unwrap_err();
    assert_says(&explain(&error), &["no adapter module matched", "all-linear"]);

    let mut config = world.config();
    config.adapter.layers = Layers::First(3);
    assert_says(&world.stop(config), &["adapter.layers", "3 layers asked for, the model has 2"]);
    let mut config = world.config();
    config.adapter.rank_pattern = [("w_proj".to_string(), 2)].into();
    assert_says(&world.stop(config), &["adapter.rank_pattern", "'w_proj' matches no module"]);
}

#[test]
fn a_weight_that_is_not_finite() {
    let world = World::new();
    world.write_weights(|name, data| {
        if name == "model.layers.1.mlp.up_proj.weight" {
            data[5] = f32::NAN;
        }
    });
    assert_says(&world.stop(world.config()), &["model.layers.1.mlp.up_proj.weight", "non-finite", "element 5"]);
}

#[test]
fn a_loss_of_exactly_zero() {
    let world = World::new();
    // Every position predicts the token `A` with probability 1, and `A` is all there is to predict.
    world.write_weights(|name, data| match name {
        "model.embed_tokens.weight" => data.iter_mut().for_each(|value| *value = 1.0),
        "model.norm.weight" => data.iter_mut().for_each(|value| *value = 10.0),
        "lm_head.weight" => {
            data.fill(0.0);
            data[257 * 16..258 * 16].fill(1.0e4);
        }
        _ if name.contains("proj") => data.fill(0.0),
        _ => {}
    });
    world.write_rows("train.jsonl", &[json!({"prompt": "Q", "completion": "<|eos|>"})]);
    let mut config = world.config();
    config.data.completion_style = CompletionStyle::Raw;
    assert_says(&world.stop(config), &["step 1: the loss is exactly 0", "train.jsonl:1 (row 1)", "--show-mask"]);
}

#[test]
fn a_validation_set_that_is_named_and_empty() {
    let world = World::new();
    world.write_rows("validation.jsonl", &[]);
    let message = world.stop(world.config_with_validation());
    assert_says(&message, &["validation"]);
}

#[test]
fn after_training_every_b_is_still_zero() {
    let world = World::new();
    // A head of zeros: the loss is ln(v) for any x, and no gradient reaches the adapter.
    world.write_weights(|name, data| {
        if name == "lm_head.weight" {
            data.fill(0.0);
        }
    });
    assert_says(&world.stop(world.config()), &["after 6 steps every B matrix of the adapter is still zero"]);
}

/// An adapter whose values overflow in the forward pass, so that every step is bad.
fn overflowing_adapter(world: &World) {
    world.train(world.config(), "source").unwrap();
    let dir = world.path("huge");
    std::fs::create_dir(&dir).unwrap();
    let source = world.path("source/adapter");
    std::fs::copy(source.join("adapter_config.json"), dir.join("adapter_config.json")).unwrap();
    let mut values = world.adapter("source");
    values.values_mut().for_each(|tensor| tensor.data.fill(3.0e38));
    let views: Vec<_> = values
        .iter()
        .map(|(name, tensor)| attune_formats::tensors::TensorView { name, shape: &tensor.shape, data: &tensor.data })
        .collect();
    let metadata = [("format".to_string(), "pt".to_string())].into();
    attune_formats::tensors::write_tensors(&dir.join("adapter_model.safetensors"), &views, &metadata).unwrap();
}

#[test]
fn bad_steps_are_skipped_and_named_and_then_the_run_stops() {
    let world = World::new();
    overflowing_adapter(&world);
    let mut config = world.config();
    config.adapter = attune_config::AdapterConfig { init_from: Some(world.path("huge")), ..Default::default() };
    config.training.max_bad_steps = 2;
    config.checkpoint.every_steps = Some(1);
    let mut events = Events::default();
    let job = attune_train::Job::new(config, world.path("bad"));
    let error = attune_train::run(job, &mut events, &AtomicBool::new(false)).unwrap_err();
    assert_eq!(error.exit_code(), 1);
    assert_says(
        &explain(&error),
        &["2 steps in a row were skipped, the last was step 2", "not finite", "train.jsonl:", "learning_rate"],
    );
    let skipped: Vec<_> = events
        .all
        .iter()
        .filter_map(|event| match event {
            Event::BadStep(skipped) => Some((skipped.step, skipped.in_a_row, skipped.rows.len())),
            _ => None,
        })
        .collect();
    assert_eq!(skipped, [(1, 1, 3), (2, 2, 3)]);
    let metrics = world.metrics("bad");
    assert_eq!(metrics.len(), 2);
    assert!(metrics[0]["loss"].is_null() && metrics[0]["skipped"].as_str().unwrap().contains("not finite"));
    // The checkpoint after step 1 holds the adapter as it was given.
    let kept =
        attune_formats::tensors::read_tensors(&world.path("bad/checkpoints/step-000001/adapter_model.safetensors"));
    assert!(kept.unwrap().values().all(|tensor| tensor.data.iter().all(|&value| value == 3.0e38)));
    assert_eq!(world.checkpoint_names("bad"), ["step-000001"]);
}

#[test]
fn a_given_adapter_of_another_shape_than_the_configuration_says() {
    let world = World::new();
    world.train(world.config(), "source").unwrap();
    let mut config = world.config();
    config.adapter.init_from = Some(world.path("source/adapter"));
    world.train(config.clone(), "same").unwrap();
    config.adapter.rank = 4;
    assert_says(&world.stop(config), &["adapter.init_from", "rank 3", "rank 4"]);
}

/// A model in which one channel of the embedding is on for the byte `Z` alone, and no layer writes to it: a weight
/// that reads the channel is felt by rows with a `Z` and by no other. Row 3 of the data has one.
fn world_with_a_row_of_its_own(change: impl Fn(&str, &mut Vec<f32>)) -> World {
    const CHANNEL: usize = 5;
    let world = World::new();
    world.write_weights(|name, data| {
        if name == "model.embed_tokens.weight" {
            data.chunks_exact_mut(HIDDEN).for_each(|row| row[CHANNEL] = 0.0);
            data[usize::from(b'Z') * HIDDEN + CHANNEL] = 4.0;
        }
        if name.ends_with("o_proj.weight") || name.ends_with("down_proj.weight") {
            let cols = data.len() / HIDDEN;
            data[CHANNEL * cols..(CHANNEL + 1) * cols].fill(0.0);
        }
        if name.starts_with("model.layers.1.mlp.") {
            change(name, data);
        }
    });
    let rows: Vec<_> = (1..=5).map(|row| chat("Question?", if row == 3 { "a Z" } else { "an answer" })).collect();
    world.write_rows("train.jsonl", &rows);
    world
}

fn read_channel(data: &mut [f32], value: f32) {
    data.chunks_exact_mut(HIDDEN).for_each(|row| row[5] = value);
}

fn one_module(world: &World, module: TargetModule) -> Config {
    let mut config = world.config();
    config.adapter.target_modules = TargetModules::List(vec![module]);
    config.adapter.layers = Layers::Last(1);
    config.data.shuffle = false;
    config.training.steps = Some(5);
    config.training.batch_size = 1;
    config.checkpoint.every_steps = Some(1);
    config.checkpoint.keep = 9;
    config
}

#[test]
fn a_single_bad_row_costs_its_own_step_only() {
    // gate_proj overflows for `Z`: that row's loss is not finite.
    let world = world_with_a_row_of_its_own(|name, data| {
        if name.ends_with("gate_proj.weight") {
            read_channel(data, 3.0e38);
        }
    });
    let config = one_module(&world, TargetModule::UpProj);
    let summary = world.train(config.clone(), "run").unwrap();
    assert_eq!((summary.steps, summary.skipped_steps), (5, 1));
    let bad: Vec<bool> = summary.train_loss.iter().map(|loss| loss.is_nan()).collect();
    assert_eq!(bad, [false, false, true, false, false]);
    let skipped: Vec<_> = world.log("run").into_iter().filter(|line| line["event"] == "bad_step").collect();
    assert_eq!(skipped.len(), 1);
    assert!(skipped[0]["rows"][0].as_str().unwrap().contains("train.jsonl:3 (row 3)"), "{skipped:?}");
    // Neither the adapter nor a moment moved.
    let file = |step: u32, name: &str| {
        std::fs::read(world.path("run/checkpoints").join(format!("step-{step:06}")).join(name)).unwrap()
    };
    for name in ["adapter_model.safetensors", "state.safetensors"] {
        assert_eq!(file(2, name), file(3, name), "{name}");
        assert_ne!(file(1, name), file(2, name), "{name}");
    }

    // In one micro-batch with others, it is still the one that is named.
    let mut together = config;
    together.training.batch_size = 5;
    together.training.steps = Some(2);
    together.training.max_bad_steps = 2;
    let message = world.stop(together);
    assert_says(&message, &["2 steps in a row", "the loss is not finite", "(row 3)"]);
    assert!(!message.contains("(row 2)"), "{message}");
}

#[test]
fn a_row_whose_gradient_overflows_is_found_among_the_others() {
    // up_proj makes the hidden value of `Z` huge and down_proj makes it small again: the loss is finite, the gradient
    // of an adapter on down_proj is not usable.
    let world = world_with_a_row_of_its_own(|name, data| match name {
        _ if name.ends_with("up_proj.weight") => read_channel(data, 1.0e25),
        _ if name.ends_with("down_proj.weight") => data.iter_mut().for_each(|value| *value *= 1.0e-25),
        _ => {}
    });
    let mut config = one_module(&world, TargetModule::DownProj);
    config.training.batch_size = 5;
    config.training.max_bad_steps = 1;
    config.training.max_grad_norm = None;
    let message = world.stop(config.clone());
    assert_says(&message, &["1 steps in a row", "the gradient is too large", "(row 3)"]);
    assert!(!message.contains("(row 1)") && !message.contains("(row 5)"), "{message}");
    config.training.max_grad_norm = Some(1.0);
    world.train(config, "clipped").unwrap();
}

#[test]
fn a_folder_or_file_that_is_not_there_is_a_matter_of_the_configuration() {
    let world = World::new();
    let mut no_model = world.config();
    no_model.model.path = world.path("nowhere");
    let mut no_adapter = world.config();
    no_adapter.adapter.init_from = Some(world.path("nowhere"));
    let mut no_data = world.config();
    no_data.data.train = vec![world.path("nowhere.jsonl")];
    for (config, part) in [(no_model, "model.path"), (no_adapter, "adapter.init_from"), (no_data, "nowhere.jsonl")] {
        let error = world.train(config, "run").unwrap_err();
        assert_says(&explain(&error), &[part, "no such"]);
        assert_eq!(error.exit_code(), 2, "{error}");
    }
    assert!(!world.path("run").exists());
}

#[test]
fn a_failure_is_in_the_log() {
    let world = World::new();
    overflowing_adapter(&world);
    let mut config = world.config();
    config.adapter = attune_config::AdapterConfig { init_from: Some(world.path("huge")), ..Default::default() };
    world.train(config, "bad").unwrap_err();
    let log = world.log("bad");
    let last = log.last().unwrap();
    assert_eq!(last["event"], "failed");
    assert!(last["message"].as_str().unwrap().contains("3 steps in a row"), "{last}");
}
