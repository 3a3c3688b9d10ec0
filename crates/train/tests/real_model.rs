//! A small model that was really trained, on questions that people wrote.

#![allow(clippy::disallowed_methods, clippy::print_stdout, clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use attune_config::{BackendChoice, Config, Overlong, Schedule};
use attune_train::{Job, Silent, run};

/// The folder with the test assets, when this machine has it.
fn assets() -> Option<PathBuf> {
    let shared = std::env::var_os("ATTUNE_SHARED").map_or_else(
        || Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared")).to_path_buf(),
        PathBuf::from,
    );
    let assets = shared.join("assets");
    if !assets.join("models/tinystories-656k/config.json").is_file() {
        println!("SKIPPED: no test assets in {}", assets.display());
        return None;
    }
    Some(assets)
}

#[test]
fn training_a_real_model_on_real_questions_lowers_the_validation_loss() {
    let Some(assets) = assets() else { return };
    let dir = tempfile::tempdir().unwrap();
    let take = |from: &str, to: &str, rows: usize| {
        let text = std::fs::read_to_string(assets.join("datasets/gsm8k").join(from)).unwrap();
        let rows: String = text.lines().take(rows).map(|line| format!("{line}\n")).collect();
        std::fs::write(dir.path().join(to), rows).unwrap();
        dir.path().join(to)
    };
    let mut config = Config::default();
    config.model.path = assets.join("models/tinystories-656k");
    config.data.train = vec![take("train.jsonl", "train.jsonl", 96)];
    config.data.validation = vec![take("test.jsonl", "validation.jsonl", 12)];
    config.data.overlong = Overlong::Drop;
    config.training.steps = Some(20);
    config.training.batch_size = 4;
    config.training.learning_rate = 3e-3;
    config.training.schedule = Schedule::Cosine;
    config.evaluation.every_steps = Some(10);
    config.hardware.backend = BackendChoice::Cpu;
    let summary = run(Job::new(config, dir.path().join("run")), &mut Silent, &AtomicBool::new(false)).unwrap();
    let losses: Vec<f64> = summary.validation_loss.iter().map(|(_, loss)| *loss).collect();
    println!("validation losses {losses:?}");
    assert_eq!(losses.len(), 3);
    assert!(losses[2] < losses[1] && losses[1] < losses[0] && losses[2] < 0.9 * losses[0], "{losses:?}");
}
