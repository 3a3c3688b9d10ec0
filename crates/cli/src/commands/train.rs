//! `ft train`

use std::path::{Path, PathBuf};

use attune_config::Config;
use attune_train::{DryRun, Job, Summary, run_dir};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::live::Live;
use crate::live::format::{bytes, grouped};
use crate::live::view::plural;
use crate::{interrupt, output};

/// Train as a configuration says: a LoRA adapter, or all weights
///
/// Leaves a run folder with the adapter in PEFT's layout, or with the model (`adapter.method: full`), and prints its path.
/// Ctrl-C saves a checkpoint and stops with exit code 75; `ft resume` goes on from there.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The configuration; `ft init` writes one
    #[arg(value_name = "FT.YAML")]
    config: PathBuf,
    /// Set a key of the configuration, stronger than the file: --set training.steps=20
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    sets: Vec<String>,
    /// The run folder, which must not exist or be empty [default: logging.dir/logging.name]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Do everything but the steps: read and check configuration, data and weights, and plan the memory; write nothing
    #[arg(long, conflicts_with = "out")]
    dry_run: bool,
    /// Print the result as one line of JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let config = Config::load(&args.config, attune_config::environment(), &args.sets)?;
    if args.dry_run {
        return dry_run(config, args.json);
    }
    let run_dir = args.out.clone().unwrap_or_else(|| default_run_dir(&config));
    let summary = watch(Job::new(config, run_dir))?;
    print(&summary, args.json)
}

/// Checks a run and says what it would do.
fn dry_run(config: Config, as_json: bool) -> Result<(), Failure> {
    let mut live = Live::new(&config, interrupt::flag()?);
    let checked = attune_train::dry_run(config, &mut live);
    live.finish();
    let DryRun { steps, epochs, trained_parameters, peak_bytes, train_rows, validation_rows } = checked?;
    if as_json {
        return output::result(
            &json!({
                "steps": steps,
                "epochs": epochs,
                "trained_parameters": trained_parameters,
                "predicted_peak_bytes": peak_bytes,
                "train_rows": train_rows,
                "validation_rows": validation_rows,
            })
            .to_string(),
        );
    }
    output::result(&format!(
        "ready: {} over {} ({epochs:.2} epochs), {} to validate on, {} trained values, some {} of memory",
        plural(steps, "step"),
        plural(train_rows as u64, "example"),
        plural(validation_rows as u64, "example"),
        grouped(trained_parameters as u64),
        bytes(peak_bytes),
    ))
}

/// Trains with the live view and the signals at work.
pub(crate) fn watch(job: Job) -> Result<Summary, Failure> {
    let interrupt = interrupt::flag()?;
    let mut live = Live::new(job.config(), interrupt.clone());
    let result = attune_train::run(job, &mut live, &interrupt);
    live.finish();
    Ok(result?)
}

/// Prints what a run leaves.
pub(crate) fn print(summary: &Summary, as_json: bool) -> Result<(), Failure> {
    if as_json {
        return output::result(&to_json(summary).to_string());
    }
    output::result(&summary.output_dir.display().to_string())
}

fn to_json(summary: &Summary) -> Value {
    let (steps, losses): (Vec<u64>, Vec<f64>) = summary.validation_loss.iter().copied().unzip();
    // `adapter` or `model`, as the folder is called.
    let kind = summary.output_dir.file_name().map_or_else(|| "output".into(), |name| name.to_string_lossy());
    json!({
        "run": summary.run_dir,
        kind: summary.output_dir,
        "train_loss": summary.train_loss,
        "validation_loss": losses,
        "validation_steps": steps,
        "steps": summary.steps,
        "output_step": summary.output_step,
        "best": summary.best,
        "stopped_early": summary.stopped_early,
        "skipped_steps": summary.skipped_steps,
    })
}

/// `logging.dir` and `logging.name`, or a name from the time that is not taken yet.
fn default_run_dir(config: &Config) -> PathBuf {
    let dir = &config.logging.dir;
    match &config.logging.name {
        Some(name) => dir.join(name),
        None => first_free(dir, &name_from_time(&run_dir::now_utc())),
    }
}

/// `dir/name`, or the first of `dir/name-2`, `dir/name-3` ... that does not exist.
pub(crate) fn first_free(dir: &Path, name: &str) -> PathBuf {
    let mut path = dir.join(name);
    let mut number = 2u32;
    while path.exists() {
        path = dir.join(format!("{name}-{number}"));
        number += 1;
    }
    path
}

/// `2025-11-21T07:20:05.123Z` as `20251121-072005`.
fn name_from_time(time: &str) -> String {
    let digits: String = time.chars().filter(char::is_ascii_digit).take(14).collect();
    let (day, second) = digits.split_at(digits.len().min(8));
    format!("{day}-{second}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_named_by_their_time() {
        assert_eq!(name_from_time("2025-11-21T07:20:05.123Z"), "20251121-072005");
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(first_free(dir.path(), "x"), dir.path().join("x"));
        std::fs::create_dir(dir.path().join("x")).unwrap();
        std::fs::create_dir(dir.path().join("x-2")).unwrap();
        assert_eq!(first_free(dir.path(), "x"), dir.path().join("x-3"));
    }
}
