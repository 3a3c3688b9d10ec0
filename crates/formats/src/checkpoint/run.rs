//! Whole runs: their checkpoints, their adapter, and the files that a resume needs.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::report::{Checked, FolderKind, Part};
use super::rules::Rule;
use super::state::step_of_name;
use super::{Report, strict_json, verify_adapter_of, verify_checkpoint_of};
use crate::files::{FileError, read_limited};
use crate::manifest::MadeFrom;

pub(super) const CONFIG_FILE: &str = "config.yaml";
const RECORD_FILE: &str = "run.json";
const METRICS_FILE: &str = "metrics.jsonl";
const CHECKPOINTS: &str = "checkpoints";
const ADAPTER: &str = "adapter";
const MAX_RECORD_BYTES: u64 = 16 << 20;
const MAX_LINE_BYTES: u64 = 1 << 20;

/// What is used of `run.json`.
#[derive(Deserialize)]
struct Record {
    identity: Identity,
}

#[derive(Deserialize)]
struct Identity {
    base: Vec<HashedFile>,
    text: String,
}

#[derive(Deserialize)]
struct HashedFile {
    path: PathBuf,
    blake3: String,
}

/// From what a run is made, as its `run.json` says; `None` where there is none.
///
/// # Errors
/// Why it cannot be read.
pub(super) fn made_from(run_dir: &Path) -> Result<Option<MadeFrom>, String> {
    let bytes = match read_limited(&run_dir.join(RECORD_FILE), MAX_RECORD_BYTES) {
        Err(FileError::NotFound { .. }) => return Ok(None),
        result => result.map_err(|error| error.to_string())?,
    };
    let value = strict_json(&bytes).map_err(|error| error.to_string())?;
    let Record { identity } = serde_json::from_value(value).map_err(|error| error.to_string())?;
    let files = identity.base.iter().map(|file| (file.path.as_path(), file.blake3.as_str()));
    Ok(Some(MadeFrom {
        base: Some(MadeFrom::hash_of_base(files)),
        text: Some(identity.text.clone()),
        ..MadeFrom::default()
    }))
}

/// The folder of the run in which a checkpoint or an adapter lies.
pub(super) fn run_of(dir: &Path) -> Option<PathBuf> {
    let parent = dir.parent()?;
    let in_checkpoints = parent.file_name().is_some_and(|name| name == CHECKPOINTS);
    let run = if in_checkpoints { parent.parent()? } else { parent };
    run.join(CONFIG_FILE).is_file().then(|| run.to_path_buf())
}

/// The checkpoint folders of a run by their steps, and what else lies among them.
pub(super) fn checkpoints(run_dir: &Path) -> Result<(Vec<PathBuf>, Vec<String>), FileError> {
    let dir = run_dir.join(CHECKPOINTS);
    let failed = |source| FileError::from_io("read", &dir, source);
    let (mut found, mut others) = (Vec::<(u64, PathBuf)>::new(), Vec::new());
    let entries = match std::fs::read_dir(&dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok((Vec::new(), others)),
        entries => entries.map_err(failed)?,
    };
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        match step_of_name(&path) {
            Some(step) => found.push((step, path)),
            None => others.extend(path.file_name().map(|name| name.to_string_lossy().into_owned())),
        }
    }
    found.sort();
    others.sort();
    Ok((found.into_iter().map(|(_, path)| path).collect(), others))
}

/// The adapter folder of a run, where it has one.
pub(super) fn adapter(run_dir: &Path) -> Option<PathBuf> {
    Some(run_dir.join(ADAPTER)).filter(|dir| dir.is_dir())
}

/// All rules for a run and everything in it.
pub(super) fn verify(dir: &Path) -> Report {
    let mut checked = Checked::new(dir, FolderKind::Run);
    let made_from = match made_from(dir) {
        Ok(made_from) => made_from,
        Err(reason) => {
            checked.refuse(Rule::Run, Part::file(RECORD_FILE), reason);
            None
        }
    };
    let paths = match checkpoints(dir) {
        Ok((paths, others)) => {
            for other in others {
                checked.note(format!("{CHECKPOINTS}/{other} is not a checkpoint"));
            }
            paths
        }
        Err(error) => {
            checked.refuse(Rule::Run, Part::file(CHECKPOINTS), error.to_string());
            Vec::new()
        }
    };
    if !paths.is_empty() && made_from.is_none() && checked.report.findings.is_empty() {
        checked.refuse(Rule::Run, Part::file(RECORD_FILE), "is missing, but there are checkpoints");
    }
    let mut newest_reported = None;
    for path in paths {
        let (report, state) = verify_checkpoint_of(&path, made_from.as_ref());
        if report.is_sound() {
            newest_reported = state.map(|state| state.reported_step());
        }
        checked.report.parts.push(report);
    }
    if let Some(reported) = newest_reported
        && let Err(reason) = check_metrics(&dir.join(METRICS_FILE), reported)
    {
        checked.refuse(Rule::Run, Part::file(METRICS_FILE), reason);
    }
    if let Some(adapter) = adapter(dir) {
        checked.report.parts.push(verify_adapter_of(&adapter, made_from.as_ref()));
    }
    checked.report
}

/// Whether the lines up to `last_step` are there, one for each step.
fn check_metrics(path: &Path, last_step: u64) -> Result<(), String> {
    if last_step == 0 {
        return Ok(());
    }
    let (file, _) = crate::files::open_file(path).map_err(|error| error.to_string())?;
    let mut lines: BufReader<File> = BufReader::new(file);
    for step in 1..=last_step {
        let mut line = Vec::new();
        lines.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line).map_err(|error| error.to_string())?;
        let value = strict_json(&line).map_err(|error| format!("line {step}: {error}"))?;
        if value.get("step").and_then(Value::as_u64) != Some(step) {
            return Err(format!(
                "line {step} is not that of step {step}; the newest checkpoint needs {last_step} lines"
            ));
        }
    }
    Ok(())
}
