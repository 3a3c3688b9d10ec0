//! Runs that train all weights: interruptions, threads, the best weights, what stops them.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::print_stdout)]

mod common;

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::AtomicBool;

use attune_compute::DType;
use attune_config::{
    AdapterConfig, AdapterMethod, BackendChoice, Config, ModelInit, ModelSize, Schedule, TemplateDate, TrainedType,
};
use attune_formats::tensors::{self, F32Tensor};
use attune_model::{BaseModel, DecoderSpec, FullModel, Trained};
use attune_train::inputs::Inputs;
use attune_train::{Event, Job, TrainError, dry_run, run};
use common::{Events, World, explain, largest_difference, names_in, run_interrupted};

const DTYPES: [TrainedType; 2] = [TrainedType::F32, TrainedType::Bf16];

/// With validation and a schedule, and rates that suit all weights.
fn config(world: &World, dtype: TrainedType) -> Config {
    let mut config = world.config_with_validation();
    config.adapter = AdapterConfig { method: AdapterMethod::Full, ..AdapterConfig::default() };
    config.model.dtype = dtype;
    config.training.learning_rate = 1e-3;
    config.training.weight_decay = 0.1;
    config.training.warmup_steps = Some(2);
    config.training.warmup_ratio = None;
    config
}

fn weights_path(world: &World, name: &str) -> PathBuf {
    world.path(name).join("model/model.safetensors")
}

fn model_bytes(world: &World, name: &str) -> Vec<u8> {
    std::fs::read(weights_path(world, name)).unwrap()
}

fn weights(path: &std::path::Path) -> std::collections::BTreeMap<String, F32Tensor> {
    tensors::read_tensors(path).unwrap()
}

/// Losses and gradient norms of `metrics.jsonl`.
fn numbers(world: &World, name: &str) -> Vec<String> {
    let keys = ["step", "loss", "learning_rate", "grad_norm", "validation_loss"];
    world.metrics(name).iter().map(|line| keys.map(|key| format!("{key}={}", line[key])).join(" ")).collect()
}

#[test]
fn interrupted_at_any_step_and_resumed_the_model_has_the_same_bytes() {
    for dtype in DTYPES {
        let world = World::new();
        let whole = world.train(config(&world, dtype), "whole").unwrap();
        assert_eq!(names_in(&world.path("whole")).iter().filter(|name| *name == "adapter").count(), 0);
        for stop in 1..=6u64 {
            let name = format!("stopped-{stop}");
            let job = Job::new(config(&world, dtype), world.path(&name));
            run_interrupted(job, |event| matches!(event, Event::Step(step) if step.step == stop)).unwrap_err();
            let resumed = world.resume(&name).unwrap();
            assert_eq!(model_bytes(&world, "whole"), model_bytes(&world, &name), "{dtype:?}: stopped at step {stop}");
            assert_eq!(resumed.validation_loss, whole.validation_loss);
            assert_eq!(numbers(&world, "whole"), numbers(&world, &name));
        }
    }
}

/// What a kill leaves: metrics behind the newest checkpoint, a temporary folder, and no checkpoint of the last steps.
#[test]
fn killed_behind_any_checkpoint_computes_the_rest_again() {
    for (dtype, killed_at) in
        [(TrainedType::F32, 3u64), (TrainedType::F32, 5), (TrainedType::Bf16, 1), (TrainedType::Bf16, 5)]
    {
        let world = World::new();
        world.train(config(&world, dtype), "whole").unwrap();
        let job = Job::new(config(&world, dtype), world.path("run"));
        run_interrupted(job, |event| matches!(event, Event::Step(step) if step.step == killed_at)).unwrap_err();
        let checkpoints = world.path("run").join("checkpoints");
        std::fs::remove_dir_all(checkpoints.join(format!("step-{killed_at:06}"))).unwrap();
        let leftover = checkpoints.join(format!("step-{killed_at:06}.tmp-999999999-0"));
        std::fs::create_dir(&leftover).unwrap();
        std::fs::write(leftover.join("model.safetensors"), b"half").unwrap();
        world.resume("run").unwrap();
        assert_eq!(model_bytes(&world, "whole"), model_bytes(&world, "run"), "{dtype:?} killed at {killed_at}");
        assert_eq!(numbers(&world, "whole"), numbers(&world, "run"));
        assert!(!leftover.exists());
    }
}

#[test]
fn a_damaged_checkpoint_of_all_weights_is_left_for_the_one_before() {
    let world = World::new();
    world.train(config(&world, TrainedType::Bf16), "whole").unwrap();
    let job = Job::new(config(&world, TrainedType::Bf16), world.path("run"));
    run_interrupted(job, |event| matches!(event, Event::Step(step) if step.step == 5)).unwrap_err();
    let path = world.path("run").join("checkpoints/step-000005/model.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&path, bytes).unwrap();
    world.resume("run").unwrap();
    let log = world.log("run");
    assert!(log.iter().any(|line| line.to_string().contains("is damaged, falling back")), "{log:?}");
    assert_eq!(model_bytes(&world, "whole"), model_bytes(&world, "run"));
}

#[test]
fn threads_change_no_bit() {
    for dtype in DTYPES {
        let world = World::new();
        for threads in 1..=3 {
            let mut config = config(&world, dtype);
            config.hardware.backend = BackendChoice::Cpu;
            config.hardware.threads = Some(threads);
            world.train(config, &format!("threads-{threads}")).unwrap();
        }
        for threads in 2..=3 {
            let name = format!("threads-{threads}");
            assert_eq!(model_bytes(&world, "threads-1"), model_bytes(&world, &name), "{dtype:?}, {threads} threads");
        }
    }
}

#[test]
fn the_best_weights_are_what_remains() {
    for dtype in DTYPES {
        let world = World::new();
        let mut config = config(&world, dtype);
        config.training.learning_rate = 0.1;
        config.training.schedule = Schedule::Constant;
        config.training.steps = Some(12);
        config.checkpoint.keep = 1;
        let summary = world.train(config.clone(), "best").unwrap();
        let best = summary.best.unwrap();
        assert!(best.step < 12, "the test needs a run that gets worse: {:?}", summary.validation_loss);
        assert_eq!(summary.output_step, best.step);
        assert_eq!(summary.output_dir, world.path("best/model"));
        // The masters of that step, rounded once.
        let step = world.path("best").join(format!("checkpoints/step-{:06}/model.safetensors", best.step));
        let difference = largest_difference(&weights(&step), &weights(&weights_path(&world, "best")));
        if dtype == TrainedType::F32 {
            assert_eq!(difference, 0.0);
        } else {
            assert!(difference > 0.0 && difference < 1e-2, "{difference}");
        }
        config.evaluation.keep_best = false;
        assert_eq!(world.train(config, "last").unwrap().output_step, 12);
        assert_ne!(model_bytes(&world, "best"), model_bytes(&world, "last"));
    }
}

/// What is evaluated is what is written: the model's own loss, loaded as a base, is the run's last.
#[test]
fn the_written_model_has_the_loss_of_the_last_evaluation() {
    for dtype in DTYPES {
        let world = World::new();
        let summary = world.train(config(&world, dtype), "run").unwrap();
        let last = summary.validation_loss.iter().find(|(step, _)| *step == summary.output_step).unwrap().1;
        let mut again = config(&world, TrainedType::Auto);
        again.model.path = world.path("run/model");
        again.training.steps = Some(1);
        again.training.warmup_steps = Some(0);
        let second = world.train(again, "second").unwrap();
        assert_eq!(second.validation_loss[0], (0, last), "{dtype:?}");
        let stored = BaseModel::load(&world.path("second/model")).unwrap().dtype();
        assert_eq!(stored, if dtype == TrainedType::F32 { DType::F32 } else { DType::Bf16 });
    }
}

#[test]
fn random_weights_are_a_function_of_seed_spread_and_shape() {
    let world = World::new();
    let mut config = config(&world, TrainedType::Auto);
    config.model.init = ModelInit::Random;
    config.model.init_std = 0.05;
    config.training.seed = 11;
    // Its weights are not read: config.json and the tokenizer are enough.
    std::fs::remove_file(world.path("model/model.safetensors")).unwrap();
    let inputs = Inputs::load(&config, None, &mut |_| Ok(())).unwrap();
    let Trained::Full(model) = inputs.initial(&config).unwrap() else { panic!("all weights") };
    let spec = DecoderSpec::read(&world.path("model")).unwrap();
    let expected = FullModel::random(&spec, DType::F32, 0.05, 11);
    assert!(model.values().eq(expected.values()));
    world.train(config.clone(), "run").unwrap();
    world.train(config.clone(), "again").unwrap();
    assert_eq!(model_bytes(&world, "run"), model_bytes(&world, "again"));
    config.training.seed = 12;
    world.train(config, "other").unwrap();
    assert_ne!(model_bytes(&world, "run"), model_bytes(&world, "other"));
}

/// A new model of the size that the configuration says, on the tokenizer of a folder.
fn sized(world: &World) -> Config {
    let mut config = config(world, TrainedType::Auto);
    config.model.tokenizer = Some(world.path("model"));
    config.model.path = PathBuf::new();
    config.model.init = ModelInit::Random;
    config.model.size = Some(ModelSize {
        layers: 1,
        hidden: 16,
        heads: 2,
        kv_heads: Some(1),
        feed_forward: 24,
        max_positions: 160,
        rope_theta: 10_000.0,
        tied_head: true,
    });
    config
}

#[test]
fn a_model_of_a_given_size_resumes_to_the_same_bytes() {
    let world = World::new();
    let whole = world.train(sized(&world), "whole").unwrap();
    let job = Job::new(sized(&world), world.path("run"));
    run_interrupted(job, |event| matches!(event, Event::Step(step) if step.step == 3)).unwrap_err();
    world.resume("run").unwrap();
    assert_eq!(model_bytes(&world, "whole"), model_bytes(&world, "run"));
    let expected = 261.0f64.ln();
    assert!((whole.train_loss[0] - expected).abs() < 0.1, "{} instead of {expected}", whole.train_loss[0]);
}

#[test]
fn what_cannot_be_trained_whole_is_refused() {
    let world = World::new();
    let mut bad = sized(&world);
    bad.model.size.as_mut().unwrap().hidden = 18;
    bad.model.size.as_mut().unwrap().heads = 4;
    assert!(world.stop(bad).contains("model.size.hidden"));
    let mut bad = sized(&world);
    bad.model.tokenizer = Some(world.path("nowhere"));
    let said = world.stop(bad);
    assert!(said.contains("model.tokenizer") && said.contains("there is no such folder"), "{said}");
    let mut bad = sized(&world);
    bad.model.size.as_mut().unwrap().max_positions = 8;
    bad.data.overlong = attune_config::Overlong::Error;
    assert!(world.stop(bad).contains("8"), "rows are longer than the model");

    // In f16 AdamW's steps vanish: which type then is the user's to say.
    let path = world.path("model/model.safetensors");
    let read = weights(&path);
    let (mut header, mut data) = (serde_json::Map::new(), Vec::<u8>::new());
    for (name, tensor) in &read {
        let begin = data.len();
        data.extend(tensor.data.iter().flat_map(|value| half_bits(*value).to_le_bytes()));
        let entry = serde_json::json!({"dtype": "F16", "shape": tensor.shape, "data_offsets": [begin, data.len()]});
        header.insert(name.clone(), entry);
    }
    let header = serde_json::Value::Object(header).to_string();
    std::fs::write(&path, [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &data].concat()).unwrap();
    let said = world.stop(config(&world, TrainedType::Auto));
    assert!(said.contains("model.dtype") && said.contains("set model.dtype to bf16"), "{said}");
    world.train(config(&world, TrainedType::Bf16), "bf16").unwrap();
}

/// An f32 number of the normal range of f16, cut to it.
fn half_bits(value: f32) -> u16 {
    let bits = value.to_bits();
    let sign = (bits >> 16 & 0x8000) as u16;
    let exponent = (bits >> 23 & 0xff) as i32 - 127 + 15;
    if exponent <= 0 { sign } else { sign | (exponent as u16) << 10 | (bits >> 13 & 0x3ff) as u16 }
}

/// Where it is warned of: the test of `high_learning_rate`, since the bases here are all tiny.
#[test]
fn a_rate_that_suits_adapters_is_fine_for_a_tiny_base() {
    let world = World::new();
    let warnings = |config: Config| {
        let mut events = Events::default();
        dry_run(config, &mut events).unwrap();
        let warned = events
            .all
            .iter()
            .filter(|event| matches!(event, Event::Warning { message } if message.contains("training.learning_rate")));
        warned.count()
    };
    assert_eq!(warnings(config(&world, TrainedType::F32)), 0);
    assert_eq!(warnings(sized(&world)), 0, "a new model wants high rates");
    assert_eq!(warnings(world.config()), 0);
}

#[test]
fn a_dry_run_writes_nothing_and_says_what_a_run_would_do() {
    let world = World::new();
    let root = world.path("model").parent().unwrap().to_path_buf();
    let before = names_in(&root);
    for config in [config(&world, TrainedType::Bf16), world.config_with_validation(), sized(&world)] {
        let would = dry_run(config.clone(), &mut Events::default()).unwrap();
        assert_eq!(names_in(&root), before);
        let mut events = Events::default();
        let scratch = tempfile::tempdir().unwrap();
        let summary = run(Job::new(config, scratch.path().join("run")), &mut events, &AtomicBool::new(false)).unwrap();
        assert_eq!((would.steps, would.train_rows, would.validation_rows), (summary.steps, 8, 2));
        let started = events.all.iter().find_map(|event| match event {
            Event::Started(started) => Some(started.trained_parameters),
            _ => None,
        });
        assert_eq!(started, Some(would.trained_parameters));
    }
    let mut broken = config(&world, TrainedType::F32);
    broken.data.train = vec![world.path("nowhere.jsonl")];
    assert!(dry_run(broken, &mut Events::default()).is_err());
    world.write_weights(|name, data| {
        if name == "model.norm.weight" {
            data[0] = f32::NAN;
        }
    });
    let error = dry_run(config(&world, TrainedType::F32), &mut Events::default()).unwrap_err();
    assert!(explain(&error).contains("model.norm.weight"), "{}", explain(&error));
}

#[test]
fn another_type_or_method_is_another_run() {
    let world = World::new();
    let job = Job::new(config(&world, TrainedType::F32), world.path("run"));
    run_interrupted(job, |event| matches!(event, Event::Step(step) if step.step == 3)).unwrap_err();
    let path = world.path("run/config.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains("dtype: f32"), "{text}");
    std::fs::write(&path, text.replace("dtype: f32", "dtype: bf16")).unwrap();
    let error = world.resume("run").unwrap_err();
    assert!(matches!(error, TrainError::Changed { .. }) || explain(&error).contains("dtype"), "{}", explain(&error));
}

/// Transformers, where there is one: the same logits from `model/` as ours.
#[test]
fn transformers_loads_the_model_and_computes_the_same() {
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let python =
        std::env::var_os("ATTUNE_PEER_PYTHON").map_or_else(|| root.join("target/peers/bin/python"), PathBuf::from);
    if !python.exists() {
        println!("SKIPPED: {} is absent; `cargo xtask peers` sets it up", python.display());
        return;
    }
    let world = World::new();
    let mut sized = sized(&world);
    sized.model.template_date = TemplateDate::Today;
    world.train(config(&world, TrainedType::F32), "run").unwrap();
    world.train(sized, "sized").unwrap();
    let ids = [3u32, 70, 71, 200, 90, 5, 17, 255];
    for (name, dir) in [("run", "run/model"), ("sized", "sized/model"), ("checkpoint", "run/checkpoints/step-000006")] {
        let script = format!(
            "import torch, sys, json\n\
             from transformers import AutoModelForCausalLM\n\
             model, info = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32, output_loading_info=True)\n\
             assert not info['missing_keys'] and not info['unexpected_keys'], info\n\
             print(json.dumps(model(torch.tensor([{ids:?}])).logits.flatten().tolist()))"
        );
        let output = Command::new(&python).arg("-c").arg(script).arg(world.path(dir)).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        let theirs: Vec<f32> = serde_json::from_str(said.lines().last().unwrap()).unwrap();
        let base = BaseModel::load(&world.path(dir)).unwrap();
        let backend = attune_compute::reference::Reference;
        let decoder = attune_model::Decoder::new(&backend, &base, 16).unwrap();
        let ours = decoder.logits(&ids, None).unwrap();
        let scale = theirs.iter().map(|value| value.abs()).fold(0.0, f32::max);
        let largest = ours.data().iter().zip(&theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(scale > 0.0 && largest < 2e-5 * scale.max(1.0), "{name}: {largest:e} of {scale}");
        println!("{name}: largest difference {largest:.1e} of {scale:.2}");
    }
}
