//! Any interruption, the same bytes.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod common;

use std::path::Path;
use std::sync::atomic::AtomicBool;

use attune_config::Config;
use attune_formats::checkpoint;
use attune_formats::manifest::Manifest;
use attune_train::{Event, Job, TrainError, run};
use common::{Events, World, chat, explain, json_lines, names_in, run_interrupted};

/// With dropout, validation and a schedule: all that could depend on where the run was cut.
fn config(world: &World) -> Config {
    let mut config = world.config_with_validation();
    config.adapter.dropout = 0.2;
    config.training.warmup_steps = Some(2);
    config.training.warmup_ratio = None;
    config
}

/// Losses, learning rates and validation losses of `metrics.jsonl`, without what depends on time.
fn numbers(world: &World, run: &str) -> Vec<String> {
    let keys = ["step", "epoch", "loss", "learning_rate", "grad_norm", "tokens", "trained_tokens", "validation_loss"];
    world.metrics(run).iter().map(|line| keys.map(|key| format!("{key}={}", line[key])).join(" ")).collect()
}

#[test]
fn interrupted_at_any_step_and_resumed_the_adapter_has_the_same_bytes() {
    let world = World::new();
    let whole = world.train(config(&world), "whole").unwrap();
    for stop in 1..=6u64 {
        let name = format!("stopped-{stop}");
        let job = Job::new(config(&world), world.path(&name));
        let error = run_interrupted(job, |event| matches!(event, Event::Step(step) if step.step == stop)).unwrap_err();
        assert_eq!(error.exit_code(), 75);
        assert!(explain(&error).contains("ft resume"), "{}", explain(&error));
        let resumed = world.resume(&name).unwrap();
        assert_eq!(world.adapter_bytes("whole"), world.adapter_bytes(&name), "stopped at step {stop}");
        assert_eq!(resumed.train_loss, whole.train_loss);
        assert_eq!(resumed.validation_loss, whole.validation_loss);
        assert_eq!(resumed.output_step, whole.output_step);
        assert_eq!(numbers(&world, "whole"), numbers(&world, &name));
    }
}

#[test]
fn interrupted_in_every_step_in_turn() {
    let world = World::new();
    world.train(config(&world), "whole").unwrap();
    let mut job = Job::new(config(&world), world.path("run"));
    for stop in 1..=5u64 {
        run_interrupted(job, |event| matches!(event, Event::Step(step) if step.step == stop)).unwrap_err();
        job = Job::resume(world.path("run")).unwrap();
    }
    run(job, &mut Events::default(), &AtomicBool::new(false)).unwrap();
    assert_eq!(world.adapter_bytes("whole"), world.adapter_bytes("run"));
    assert_eq!(numbers(&world, "whole"), numbers(&world, "run"));
}

#[test]
fn interrupted_before_the_first_step_starts_again() {
    let world = World::new();
    world.train(config(&world), "whole").unwrap();
    let job = Job::new(config(&world), world.path("run"));
    let error = run_interrupted(job, |event| matches!(event, Event::Started(_))).unwrap_err();
    assert!(matches!(error, TrainError::Interrupted { step: 0, .. }), "{error}");
    world.resume("run").unwrap();
    assert_eq!(world.adapter_bytes("whole"), world.adapter_bytes("run"));
}

#[test]
fn interrupted_inside_of_an_evaluation_does_it_again() {
    let world = World::new();
    let whole = world.train(config(&world), "whole").unwrap();
    // The flag is set at step 2, so the evaluation that is due there does not get through its first micro-batch.
    let job = Job::new(config(&world), world.path("run"));
    run_interrupted(job, |event| matches!(event, Event::Step(step) if step.step == 2)).unwrap_err();
    assert_eq!(world.metrics("run").len(), 1, "the line of step 2 waits for its validation loss");
    let resumed = world.resume("run").unwrap();
    assert_eq!(resumed.validation_loss, whole.validation_loss);
    assert!(world.metrics("run")[1]["validation_loss"].is_f64());
}

/// What a kill leaves: files of the run after the newest checkpoint, and temporary folders.
#[test]
fn killed_behind_a_checkpoint_computes_the_rest_again() {
    let world = World::new();
    world.train(config(&world), "whole").unwrap();
    let job = Job::new(config(&world), world.path("run"));
    run_interrupted(job, |event| matches!(event, Event::Step(step) if step.step == 5)).unwrap_err();
    let run_dir = world.path("run");
    std::fs::remove_dir_all(run_dir.join("checkpoints/step-000005")).unwrap();
    let leftover = run_dir.join("checkpoints/step-000006.tmp-999999999-0");
    std::fs::create_dir(&leftover).unwrap();
    std::fs::write(leftover.join("adapter_model.safetensors"), b"half").unwrap();
    let torn = std::fs::read_to_string(run_dir.join("metrics.jsonl")).unwrap() + "{\"step\":6,\"lo";
    std::fs::write(run_dir.join("metrics.jsonl"), torn).unwrap();

    world.resume("run").unwrap();
    assert_eq!(world.adapter_bytes("whole"), world.adapter_bytes("run"));
    assert_eq!(numbers(&world, "whole"), numbers(&world, "run"));
    assert!(!leftover.exists());
}

#[test]
fn a_damaged_checkpoint_is_left_for_the_one_before() {
    let world = World::new();
    world.train(config(&world), "whole").unwrap();
    for (name, file) in [("no-manifest", "manifest.json"), ("changed", "state.json"), ("cut", "state.safetensors")] {
        let job = Job::new(config(&world), world.path(name));
        run_interrupted(job, |event| matches!(event, Event::Step(step) if step.step == 5)).unwrap_err();
        let path = world.path(name).join("checkpoints/step-000005").join(file);
        match name {
            "no-manifest" => std::fs::remove_file(path).unwrap(),
            "changed" => {
                let text = std::fs::read_to_string(&path).unwrap().replace("\"step\": 5", "\"step\": 4");
                std::fs::write(path, text).unwrap();
            }
            _ => {
                let bytes = std::fs::read(&path).unwrap();
                std::fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
            }
        }
        let mut events = Events::default();
        run(Job::resume(world.path(name)).unwrap(), &mut events, &AtomicBool::new(false)).unwrap();
        let warned = events
            .all
            .iter()
            .any(|event| matches!(event, Event::Warning { message } if message.contains("step-000005 is damaged")));
        assert!(warned, "{name}: {:?}", events.all);
        let started = events.all.iter().find_map(|event| match event {
            Event::Started(started) => Some(started.step),
            _ => None,
        });
        assert_eq!(started, Some(4), "{name}");
        assert_eq!(world.adapter_bytes("whole"), world.adapter_bytes(name), "{name}");
    }
}

/// Takes a checkpoint back to the layout before there were versions: that of the last program that wrote it.
fn as_version_0(dir: &Path) {
    let state = std::fs::read_to_string(dir.join("state.json")).unwrap();
    assert!(state.contains("\"format_version\": 1"), "{state}");
    std::fs::write(dir.join("state.json"), state.replace("format_version", "version")).unwrap();
    std::fs::remove_file(dir.join("manifest.json")).unwrap();
    let files: serde_json::Map<String, serde_json::Value> = names_in(dir)
        .into_iter()
        .map(|name| {
            let path = dir.join(&name);
            let bytes = std::fs::metadata(&path).unwrap().len();
            (name, serde_json::json!({"bytes": bytes, "blake3": attune_formats::files::hash_file(&path).unwrap()}))
        })
        .collect();
    let manifest = serde_json::json!({"version": 1, "files": files});
    std::fs::write(dir.join("manifest.json"), format!("{manifest:#}\n")).unwrap();
}

#[test]
fn a_run_goes_on_from_version_0_and_from_what_was_migrated() {
    let world = World::new();
    world.train(config(&world), "whole").unwrap();
    let report = checkpoint::verify(&world.path("whole")).unwrap();
    assert!(report.is_sound(), "{report:#?}");
    assert_eq!(report.parts.len(), world.checkpoint_names("whole").len() + 1, "and the adapter");

    let job = Job::new(config(&world), world.path("old"));
    run_interrupted(job, |event| matches!(event, Event::Step(step) if step.step == 5)).unwrap_err();
    for name in world.checkpoint_names("old") {
        as_version_0(&world.path("old/checkpoints").join(name));
    }
    let migrated = checkpoint::migrate(&world.path("old"), &world.path("new")).unwrap();
    assert_eq!(migrated.migrated, world.checkpoint_names("old").len());
    for name in ["old", "new"] {
        let mut events = Events::default();
        run(Job::resume(world.path(name)).unwrap(), &mut events, &AtomicBool::new(false)).unwrap();
        assert!(!events.all.iter().any(|event| matches!(event, Event::Warning { .. })), "{name}: {:?}", events.all);
        assert_eq!(world.adapter_bytes("whole"), world.adapter_bytes(name), "{name}");
        let report = checkpoint::verify(&world.path(name)).unwrap();
        assert!(report.is_sound(), "{name}: {report:#?}");
        let last = report.parts.iter().find(|part| part.dir.ends_with("step-000006")).unwrap();
        assert_eq!(last.format_version, Some(1), "{name}");
    }
}

#[test]
fn a_checkpoint_of_another_run_is_left_alone() {
    let world = World::new();
    let job = Job::new(config(&world), world.path("run"));
    run_interrupted(job, |event| matches!(event, Event::Step(step) if step.step == 5)).unwrap_err();
    let newest = world.path("run/checkpoints/step-000005");
    let mut manifest = Manifest::read(&newest).unwrap();
    for (key, hash) in manifest.made_from.hashes() {
        assert!(hash.is_some(), "{key} is not known");
    }
    manifest.made_from.tokenizer = Some("0".repeat(64));
    std::fs::write(newest.join("manifest.json"), manifest.to_text()).unwrap();
    let mut events = Events::default();
    run(Job::resume(world.path("run")).unwrap(), &mut events, &AtomicBool::new(false)).unwrap();
    let warned = |event: &Event| matches!(event, Event::Warning { message } if message.contains("R22") && message.contains("made_from.tokenizer"));
    assert!(events.all.iter().any(warned), "{:?}", events.all);
}

#[test]
fn without_any_whole_checkpoint_it_stops() {
    let world = World::new();
    let job = Job::new(config(&world), world.path("run"));
    run_interrupted(job, |event| matches!(event, Event::Step(step) if step.step == 3)).unwrap_err();
    for name in world.checkpoint_names("run") {
        std::fs::remove_file(world.path("run").join("checkpoints").join(name).join("manifest.json")).unwrap();
    }
    let message = explain(&world.resume("run").unwrap_err());
    assert!(message.contains("none of the 2 checkpoints is whole"), "{message}");
}

#[test]
fn changed_data_stop_a_resume_with_both_hashes() {
    let world = World::new();
    for (name, file) in [("train", "train.jsonl"), ("validation", "validation.jsonl")] {
        let job = Job::new(config(&world), world.path(name));
        run_interrupted(job, |event| matches!(event, Event::Step(step) if step.step == 3)).unwrap_err();
        let before = std::fs::read(world.path(file)).unwrap();
        std::fs::write(world.path(file), [&before[..], b"{not even json\n"].concat()).unwrap();
        let message = explain(&world.resume(name).unwrap_err());
        assert!(message.contains(file) && message.contains("changed since the run started: it was "), "{message}");
        assert!(message.contains("adapter.init_from"), "{message}");
        std::fs::write(world.path(file), before).unwrap();
        world.resume(name).unwrap();
    }
}

#[test]
fn a_changed_base_or_tokenizer_stops_a_resume() {
    let world = World::new();
    let job = Job::new(config(&world), world.path("run"));
    run_interrupted(job, |event| matches!(event, Event::Step(step) if step.step == 3)).unwrap_err();
    world.write_weights(|name, data| {
        if name == "model.norm.weight" {
            data[0] += 0.001;
        }
    });
    let message = explain(&world.resume("run").unwrap_err());
    assert!(message.contains("model.safetensors changed since the run started"), "{message}");

    world.write_model(Some("{% for m in messages %}<|im_start|>{{ m.role }}: {{ m.content }}<|im_end|>{% endfor %}"));
    let message = explain(&world.resume("run").unwrap_err());
    assert!(message.contains("the tokenizer or the chat template changed"), "{message}");
}

#[test]
fn a_changed_setting_stops_a_resume_unless_it_is_execution_only() {
    let world = World::new();
    let job = Job::new(config(&world), world.path("run"));
    run_interrupted(job, |event| matches!(event, Event::Step(step) if step.step == 3)).unwrap_err();
    let file = world.path("run").join("config.yaml");
    let before = std::fs::read_to_string(&file).unwrap();
    assert!(before.contains("seed: 42"), "{before}");
    std::fs::write(&file, before.replace("seed: 42", "seed: 43")).unwrap();
    let message = explain(&world.resume("run").unwrap_err());
    assert!(
        message.contains("the setting training.seed changed") && message.contains("it was 42, now it is 43"),
        "{message}"
    );

    std::fs::write(&file, before.replace("keep: 3", "keep: 1")).unwrap();
    world.resume("run").unwrap();
}

#[test]
fn resuming_a_finished_run_gives_the_same_answer() {
    let world = World::new();
    let first = world.train(config(&world), "run").unwrap();
    let bytes = world.adapter_bytes("run");
    let again = world.resume("run").unwrap();
    assert_eq!(first, again);
    assert_eq!(bytes, world.adapter_bytes("run"));
}

#[test]
fn a_lost_line_of_the_metrics_is_noticed() {
    let world = World::new();
    let job = Job::new(config(&world), world.path("run"));
    run_interrupted(job, |event| matches!(event, Event::Step(step) if step.step == 3)).unwrap_err();
    let file = world.path("run").join("metrics.jsonl");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.split_once('\n').unwrap().1).unwrap();
    let message = explain(&world.resume("run").unwrap_err());
    assert!(message.contains("metrics.jsonl"), "{message}");
}

#[test]
fn the_run_folder_is_for_one_run() {
    let world = World::new();
    world.train(world.config(), "run").unwrap();
    let error = world.train(world.config(), "run").unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(explain(&error).contains("the run folder exists and is not empty"), "{error}");
    let error = world.resume("elsewhere").unwrap_err();
    assert!(explain(&error).contains("there is no such folder"), "{error}");
}

#[test]
fn a_second_process_is_kept_out() {
    let world = World::new();
    let mut refused = None;
    let run_dir = world.path("run");
    let job = Job::new(world.config(), run_dir.clone());
    run_interrupted(job, |event| {
        if matches!(event, Event::Step(_)) && refused.is_none() {
            refused = Some(world.resume("run").unwrap_err().to_string());
        }
        false
    })
    .unwrap();
    assert!(refused.unwrap().contains("another process is training in this run folder"));
}

#[test]
fn bad_data_leave_no_trace() {
    let world = World::new();
    std::fs::write(world.path("train.jsonl"), "{\"messages\": [}\n").unwrap();
    world.train(world.config(), "run").unwrap_err();
    world.write_rows("train.jsonl", &[chat("Q", "")]);
    world.train(world.config(), "run").unwrap_err();
    assert!(!world.path("run").exists());
}

#[test]
fn the_run_folder_holds_what_the_plan_says() {
    let world = World::new();
    let summary = world.train(config(&world), "run").unwrap();
    let run_dir = world.path("run");
    let expected = [
        "adapter",
        "checkpoints",
        "config.yaml",
        "dataset.json",
        "log.jsonl",
        "metrics.jsonl",
        "rows.jsonl",
        "run.json",
        "run.lock",
    ];
    assert_eq!(names_in(&run_dir), expected);
    let adapter = ["adapter_config.json", "adapter_model.safetensors", "manifest.json"];
    assert_eq!(names_in(&run_dir.join("adapter")), adapter);
    let checkpoint =
        ["adapter_config.json", "adapter_model.safetensors", "manifest.json", "state.json", "state.safetensors"];
    assert_eq!(names_in(&run_dir.join("checkpoints/step-000006")), checkpoint);
    assert_eq!(summary.output_dir, run_dir.join("adapter"));

    let config = std::fs::read_to_string(run_dir.join("config.yaml")).unwrap();
    assert!(!config.contains("today"), "the template date is fixed: {config}");
    let record: serde_json::Value = serde_json::from_slice(&std::fs::read(run_dir.join("run.json")).unwrap()).unwrap();
    assert_eq!(record["run"], "run");
    assert_eq!(record["identity"]["train"][0]["rows"], 8);
    assert_eq!(record["identity"]["train"][0]["blake3"].as_str().unwrap().len(), 64);
    let log = json_lines(&run_dir.join("log.jsonl"));
    let kinds: Vec<&str> = log.iter().map(|line| line["event"].as_str().unwrap()).collect();
    for kind in ["data_read", "started", "evaluated", "sample", "checkpoint_saved", "finished"] {
        assert!(kinds.contains(&kind), "{kind} is missing among {kinds:?}");
    }
}
