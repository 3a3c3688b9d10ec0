//! What a run does along the way: evaluation, early stopping, the best adapter, checkpoints that are kept.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod common;

use std::sync::atomic::AtomicBool;

use attune_config::{
    AdapterConfig, Config, EarlyStopping, Layers, Overlong, Schedule, TargetModule, TargetModules, TrainOn,
};
use attune_train::{Event, Job, run};
use common::{Events, World, chat, largest_difference};
use serde_json::json;

#[test]
fn training_lowers_the_loss() {
    let world = World::new();
    let mut config = world.config_with_validation();
    config.training.steps = Some(60);
    config.training.batch_size = 8;
    config.evaluation.every_steps = Some(20);
    let summary = world.train(config, "run").unwrap();
    assert_eq!(summary.train_loss.len(), 60);
    assert!(summary.train_loss[59] < 0.8 * summary.train_loss[0], "{:?}", summary.train_loss);
    let steps: Vec<u64> = summary.validation_loss.iter().map(|(step, _)| *step).collect();
    assert_eq!(steps, [0, 20, 40, 60]);
    let (first, best) = (summary.validation_loss[0].1, summary.best.unwrap().validation_loss);
    assert!(best < first, "validation went from {first} to {best}");
}

#[test]
fn the_first_loss_is_that_of_the_base_model() {
    // B is zero, so the adapter changes nothing before the first step: about ln(261) for a random model.
    let world = World::new();
    let summary = world.train(world.config_with_validation(), "run").unwrap();
    assert!((summary.validation_loss[0].1 - 261f64.ln()).abs() < 1.0, "{:?}", summary.validation_loss);
}

#[test]
fn epochs_count_every_example_and_the_small_last_step() {
    let world = World::new();
    let mut config = world.config();
    config.training.steps = None;
    config.training.epochs = 2;
    let summary = world.train(config, "run").unwrap();
    assert_eq!(summary.steps, 6, "8 rows in batches of 3: 3 steps an epoch");
    let metrics = world.metrics("run");
    assert_eq!(metrics[2]["epoch"], 1.0);
    assert_eq!(metrics[5]["epoch"], 2.0);
    let trained: u64 = metrics[..3].iter().map(|line| line["trained_tokens"].as_u64().unwrap()).sum();
    let again: u64 = metrics[3..].iter().map(|line| line["trained_tokens"].as_u64().unwrap()).sum();
    assert_eq!(trained, again);
}

#[test]
fn the_best_adapter_is_what_remains() {
    let world = World::new();
    let mut config = world.config_with_validation();
    // A learning rate that first learns and then tears the model apart.
    config.training.schedule = Schedule::Constant;
    config.training.learning_rate = 0.05;
    config.training.steps = Some(16);
    config.checkpoint.keep = 1;
    config.checkpoint.every_steps = Some(1);
    let summary = world.train(config.clone(), "best").unwrap();
    let best = summary.best.unwrap();
    assert!(best.step < 16, "the test needs a run that gets worse: {:?}", summary.validation_loss);
    assert_eq!(summary.output_step, best.step);
    assert!(summary.validation_loss[1..].iter().all(|(_, loss)| *loss >= best.validation_loss));
    // Kept: the newest and the best.
    let names = world.checkpoint_names("best");
    assert_eq!(names, [format!("step-{:06}", best.step), "step-000016".to_string()]);
    let kept = std::fs::read(world.path("best/checkpoints").join(&names[0]).join("adapter_model.safetensors")).unwrap();
    assert_eq!(kept, world.adapter_bytes("best"));

    config.evaluation.keep_best = false;
    let summary = world.train(config, "last").unwrap();
    assert_eq!(summary.output_step, 16);
    assert!(largest_difference(&world.adapter("best"), &world.adapter("last")) > 1e-3);
}

#[test]
fn early_stopping_ends_the_run_and_a_resume_agrees() {
    let world = World::new();
    let mut config = world.config_with_validation();
    config.training.schedule = Schedule::Constant;
    config.training.learning_rate = 0.05;
    config.training.steps = Some(60);
    config.evaluation.every_steps = Some(1);
    config.evaluation.early_stopping = Some(EarlyStopping { patience: 3, min_delta: 0.0 });
    let mut events = Events::default();
    let summary = run(Job::new(config, world.path("run")), &mut events, &AtomicBool::new(false)).unwrap();
    assert!(summary.stopped_early && summary.steps < 60);
    assert_eq!(summary.steps, summary.best.unwrap().step + 3);
    assert!(events.all.iter().any(|event| matches!(event, Event::StoppedEarly { .. })));
    assert_eq!(world.resume("run").unwrap(), summary);
}

#[test]
fn the_newest_checkpoints_are_kept() {
    let world = World::new();
    let mut config = world.config();
    config.checkpoint.every_steps = Some(1);
    config.checkpoint.keep = 2;
    world.train(config, "run").unwrap();
    assert_eq!(world.checkpoint_names("run"), ["step-000005", "step-000006"]);
}

#[test]
fn checkpoints_by_time_do_not_change_the_adapter() {
    let world = World::new();
    world.train(world.config(), "steps").unwrap();
    let mut config = world.config();
    config.checkpoint.every_steps = None;
    config.checkpoint.every_minutes = Some(1e-9);
    config.checkpoint.keep = 100;
    world.train(config, "time").unwrap();
    assert_eq!(world.checkpoint_names("time").len(), 6);
    assert_eq!(world.adapter_bytes("steps"), world.adapter_bytes("time"));
}

#[test]
fn samples_are_shown_beside_each_evaluation() {
    let world = World::new();
    let mut config = world.config_with_validation();
    config.evaluation.sample_prompts = vec!["My own?".into()];
    let mut events = Events::default();
    run(Job::new(config, world.path("run")), &mut events, &AtomicBool::new(false)).unwrap();
    let samples: Vec<_> = events
        .all
        .iter()
        .filter_map(|event| match event {
            Event::Sample(sample) => Some((sample.step, sample.prompt.as_str(), sample.expected.as_deref())),
            _ => None,
        })
        .collect();
    assert_eq!(&samples[..2], &[(0, "My own?", None), (0, "Question 9?", Some("Perhaps."))]);
    assert_eq!(samples.len(), 8, "at steps 0, 2, 4 and 6");
}

#[test]
fn without_validation_there_is_no_evaluation() {
    let world = World::new();
    let summary = world.train(world.config(), "run").unwrap();
    assert!(summary.validation_loss.is_empty() && summary.best.is_none());
    assert!(world.metrics("run").iter().all(|line| line.get("validation_loss").is_none()));
}

#[test]
fn evaluation_only_at_the_end() {
    let world = World::new();
    let mut config = world.config_with_validation();
    config.evaluation.every_steps = None;
    let summary = world.train(config, "run").unwrap();
    assert_eq!(summary.validation_loss.iter().map(|(step, _)| *step).collect::<Vec<_>>(), [6]);
}

#[test]
fn a_share_of_the_rows_is_held_out_and_copies_stay_together() {
    let world = World::new();
    let rows: Vec<_> =
        (0..40).map(|i| chat(&format!("Question {}?", i % 20), &format!("Answer {}.", i % 20))).collect();
    world.write_rows("train.jsonl", &rows);
    let mut config = world.config();
    config.data.validation_fraction = 0.2;
    let mut events = Events::default();
    run(Job::new(config, world.path("run")), &mut events, &AtomicBool::new(false)).unwrap();
    let read: Vec<_> = events
        .all
        .iter()
        .filter_map(|event| match event {
            Event::DataRead(read) => Some((read.key, read.report.examples)),
            _ => None,
        })
        .collect();
    assert_eq!(read, [("data.train", 32), ("data.validation_fraction", 8)]);
    assert!(!events.all.iter().any(|event| matches!(event, Event::Warning { .. })));
}

#[test]
fn validation_rows_that_are_trained_on_are_named() {
    let world = World::new();
    world.write_rows("validation.jsonl", &[chat("New?", "Yes."), chat("Question 0?", "a")]);
    let mut events = Events::default();
    run(Job::new(world.config_with_validation(), world.path("run")), &mut events, &AtomicBool::new(false)).unwrap();
    let warning = events.all.iter().find_map(|event| match event {
        Event::Warning { message } => Some(message.clone()),
        _ => None,
    });
    let warning = warning.unwrap();
    assert!(warning.contains("1 of 2 validation rows") && warning.contains("row 2"), "{warning}");
}

#[test]
fn training_starts_from_a_given_adapter() {
    let world = World::new();
    let first = world.train(world.config_with_validation(), "first").unwrap();
    let mut config = world.config_with_validation();
    config.adapter = AdapterConfig { init_from: Some(world.path("first/adapter")), ..AdapterConfig::default() };
    let second = world.train(config, "second").unwrap();
    let last = first.validation_loss.last().unwrap().1;
    assert_eq!(first.output_step, 6, "the last adapter is the best one: {:?}", first.validation_loss);
    assert_eq!(second.validation_loss[0], (0, last), "the second run begins where the first ended");
    assert_ne!(world.adapter_bytes("first"), world.adapter_bytes("second"));
}

#[test]
fn an_adapter_on_the_last_layer_alone_trains_only_there() {
    let world = World::new();
    let mut config = world.config();
    config.adapter.layers = Layers::Last(1);
    world.train(config, "run").unwrap();
    let adapter = world.adapter("run");
    assert!(adapter.keys().all(|name| name.contains("layers.1.")), "{:?}", adapter.keys());
    assert_eq!(adapter.len(), 14);
}

#[test]
fn truncation_on_the_left_keeps_bos_and_the_answer() {
    let world = World::new();
    let row = json!({"prompt": "long ".repeat(20), "completion": "Answer"});
    world.write_rows("train.jsonl", &[row]);
    let mut config = world.config();
    config.data.completion_style = attune_config::CompletionStyle::Raw;
    config.data.max_seq_length = 20;
    config.data.overlong = Overlong::TruncateLeft;
    let inputs = attune_train::inputs::Inputs::load(&config, None, &mut |_| Ok(())).unwrap();
    let example = &inputs.train[0];
    assert_eq!((example.ids.len(), example.ids[0], example.ids[19]), (20, 256, 257));
    assert_eq!(inputs.text.decode(&example.ids[13..19], false).unwrap(), "Answer");
    assert_eq!(example.trained_tokens(), 7);
    assert!(!example.trained[0]);
}

type Change = fn(&mut Config);

/// No key is ignored in silence: each of these changes the bytes of the adapter.
#[test]
fn every_setting_of_the_mathematics_has_an_effect() {
    let changes: [(&str, Change); 20] = [
        ("rank", |config| config.adapter.rank = 2),
        ("alpha", |config| config.adapter.alpha = 7.0),
        ("dropout", |config| config.adapter.dropout = 0.1),
        ("target_modules", |config| config.adapter.target_modules = TargetModules::List(vec![TargetModule::QProj])),
        ("layers", |config| config.adapter.layers = Layers::First(1)),
        ("rank_pattern", |config| config.adapter.rank_pattern = [("q_proj".into(), 2)].into()),
        ("alpha_pattern", |config| config.adapter.alpha_pattern = [("q_proj".into(), 2.0)].into()),
        ("use_rslora", |config| config.adapter.use_rslora = true),
        ("train_on", |config| config.data.train_on = TrainOn::All),
        ("shuffle", |config| config.data.shuffle = false),
        ("batch_size", |config| config.training.batch_size = 4),
        ("learning_rate", |config| config.training.learning_rate = 4e-3),
        ("schedule", |config| config.training.schedule = Schedule::Cosine),
        ("warmup_steps", |config| {
            config.training.warmup_ratio = None;
            config.training.warmup_steps = Some(3);
        }),
        ("warmup_ratio", |config| config.training.warmup_ratio = Some(0.5)),
        ("min_learning_rate_ratio", |config| config.training.min_learning_rate_ratio = 0.5),
        ("adam_beta1", |config| config.training.adam_beta1 = 0.8),
        ("adam_beta2", |config| config.training.adam_beta2 = 0.9),
        ("adam_epsilon", |config| config.training.adam_epsilon = 1e-4),
        ("label_smoothing", |config| config.training.label_smoothing = 0.1),
    ];
    let world = World::new();
    world.train(world.config(), "plain").unwrap();
    for (name, change) in changes {
        let mut config = world.config();
        change(&mut config);
        world.train(config, name).unwrap();
        assert_ne!(world.adapter_bytes("plain"), world.adapter_bytes(name), "{name}");
    }
}

#[test]
fn weight_decay_shrinks_a_by_exactly_that() {
    // In the first step B is zero, so A has no gradient: all that moves it is the decay.
    let world = World::new();
    let mut config = world.config();
    config.training.steps = Some(1);
    config.training.warmup_ratio = Some(0.0);
    world.train(config.clone(), "plain").unwrap();
    config.training.weight_decay = 0.5;
    world.train(config.clone(), "decayed").unwrap();
    let factor = (1.0 - config.training.learning_rate * 0.5) as f32;
    let (plain, decayed) = (world.adapter("plain"), world.adapter("decayed"));
    for (name, tensor) in plain.iter().filter(|(name, _)| name.contains("lora_A")) {
        for (before, after) in tensor.data.iter().zip(&decayed[name].data) {
            assert!((before * factor - after).abs() < 1e-7, "{name}: {before} became {after}");
        }
    }
}

#[test]
fn clipping_by_the_global_norm_scales_the_moments() {
    let world = World::new();
    let mut config = world.config();
    config.training.steps = Some(1);
    config.training.max_grad_norm = None;
    world.train(config.clone(), "free").unwrap();
    config.training.max_grad_norm = Some(1e-3);
    world.train(config, "clipped").unwrap();
    let moment = |run: &str| {
        let file = world.path(run).join("checkpoints/step-000001/state.safetensors");
        let tensors = attune_formats::tensors::read_tensors(&file).unwrap();
        let squares = tensors.iter().filter(|(name, _)| name.ends_with("_m")).flat_map(|(_, tensor)| &tensor.data);
        squares.map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt()
    };
    // The first moment after one step is (1 - beta1) times the gradient.
    let norm = world.metrics("free")[0]["grad_norm"].as_f64().unwrap();
    assert!((moment("free") / (0.1 * norm) - 1.0).abs() < 1e-4);
    assert!((moment("clipped") / 1e-4 - 1.0).abs() < 1e-2, "{}", moment("clipped"));
    assert_eq!(world.metrics("clipped")[0]["grad_norm"].as_f64().unwrap(), norm, "reported before clipping");
}
