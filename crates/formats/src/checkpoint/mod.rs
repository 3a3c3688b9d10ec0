//! Checkpoints, adapters, models and runs, judged by the rules of `docs/checkpoint-spec.md`.
//!
//! [`verify`] looks at a folder of any kind and names every rule that it breaks; [`migrate()`] brings a folder of the
//! version before to this one. A reader of version N reads version N - 1.
//!
//! ```no_run
//! use std::path::Path;
//! use attune_formats::checkpoint;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let report = checkpoint::verify(Path::new("runs/first/checkpoints/step-000200"))?;
//! for finding in &report.findings {
//!     println!("{finding}"); // R9 state.json: ...
//! }
//! assert!(report.is_sound());
//! # Ok(())
//! # }
//! ```

mod adapter;
mod error;
mod json;
mod migrate;
mod model;
pub mod names;
mod report;
mod rules;
mod run;
mod state;

use std::path::Path;

pub use adapter::{MAGNITUDE_MOMENTS, MOMENT_FILE, MOMENTS, WEIGHT_MOMENTS};
pub use error::CheckpointError;
pub use json::strict_json;
pub use migrate::{Migrated, migrate};
pub use report::{Finding, FolderKind, Part, Report};
pub use rules::Rule;
pub use state::{BestPart, LinePart, ProgressPart, STATE_FILE, StateFile};

use crate::files::FileError;
use crate::manifest::{self, Kind, MadeFrom, Manifest, ManifestError};
use crate::peft::{CONFIG_FILE, TENSOR_FILE};
use report::Checked;

/// Files that a checkpoint has, beside its manifest.
pub const CHECKPOINT_FILES: [&str; 4] = [CONFIG_FILE, TENSOR_FILE, STATE_FILE, MOMENT_FILE];
/// Files that a checkpoint of all weights has, beside its manifest.
pub const FULL_CHECKPOINT_FILES: [&str; 4] = ["config.json", "model.safetensors", STATE_FILE, MOMENT_FILE];
/// Files that an adapter has.
pub const ADAPTER_FILES: [&str; 2] = [CONFIG_FILE, TENSOR_FILE];
/// Files that a model has, beside its weights.
pub const MODEL_FILES: [&str; 1] = ["config.json"];

/// Judges a folder by all rules. A broken rule is a finding, not an error.
///
/// # Errors
/// When there is no such folder.
pub fn verify(dir: &Path) -> Result<Report, CheckpointError> {
    if !dir.is_dir() {
        let path = dir.to_path_buf();
        return Err(match dir.exists() {
            true => CheckpointError::NotAFolder { path },
            false => FileError::NotFound { path }.into(),
        });
    }
    let made_from = || run::run_of(dir).and_then(|run_dir| run::made_from(&run_dir).ok().flatten());
    Ok(match kind_of(dir) {
        FolderKind::Run => run::verify(dir),
        FolderKind::Checkpoint => verify_checkpoint_of(dir, made_from().as_ref()).0,
        FolderKind::Adapter => verify_adapter_of(dir, made_from().as_ref()),
        FolderKind::Model => verify_model(dir),
        FolderKind::Unknown => {
            let mut checked = Checked::new(dir, FolderKind::Unknown);
            let message = "has none of manifest.json, adapter_config.json, config.json, config.yaml";
            checked.refuse(Rule::Kind, Part::FOLDER, message);
            checked.report
        }
    })
}

/// Judges a folder that must be a checkpoint, and belong to what is `made_from` where both are known.
pub fn verify_checkpoint(dir: &Path, made_from: &MadeFrom) -> Report {
    verify_checkpoint_of(dir, Some(made_from)).0
}

/// What a folder is taken for: what its manifest says, else what its files and its name say.
fn kind_of(dir: &Path) -> FolderKind {
    let has = |name: &str| dir.join(name).exists();
    if has(run::CONFIG_FILE) {
        return FolderKind::Run;
    }
    match Manifest::read(dir) {
        Ok(Manifest { kind: Kind::Checkpoint, .. }) => FolderKind::Checkpoint,
        Ok(Manifest { kind: Kind::Adapter, .. }) => FolderKind::Adapter,
        Ok(Manifest { kind: Kind::Model, .. }) => FolderKind::Model,
        Err(_) if has(STATE_FILE) || has(MOMENT_FILE) || state::step_of_name(dir).is_some() => FolderKind::Checkpoint,
        Err(_) if has(CONFIG_FILE) || has(TENSOR_FILE) => FolderKind::Adapter,
        Err(_) if MODEL_FILES.into_iter().all(has) || has("model.safetensors") => FolderKind::Model,
        Err(_) if has(manifest::FILE_NAME) => FolderKind::Checkpoint,
        Err(_) => FolderKind::Unknown,
    }
}

/// A checkpoint, and its cursor as far as it can be read.
fn verify_checkpoint_of(dir: &Path, run: Option<&MadeFrom>) -> (Report, Option<StateFile>) {
    let mut checked = Checked::new(dir, FolderKind::Checkpoint);
    let Some(manifest) = check_manifest(dir, &mut checked) else { return (checked.report, None) };
    if manifest.kind != Kind::Checkpoint {
        let message = format!("kind is {:?}, expected \"checkpoint\"", manifest.kind.name());
        checked.refuse(Rule::Kind, Part::file(manifest::FILE_NAME), message);
        return (checked.report, None);
    }
    let is_full = manifest.required_features.iter().any(|feature| feature == manifest::FULL_WEIGHTS);
    let files = if is_full { &FULL_CHECKPOINT_FILES } else { &CHECKPOINT_FILES };
    check_complete(&manifest, files, &mut checked);
    check_made_from(&manifest, run, &mut checked);
    let expected = match is_full {
        true => model::check(dir, true, &mut checked).map(adapter::moments_of_weights),
        false => adapter::check(dir, true, &mut checked).map(adapter::moments_of_modules),
    };
    adapter::check_moments(dir, expected.as_ref(), &mut checked);
    let state = match dir.join(STATE_FILE).is_file() {
        true => state::check(dir, manifest.format_version, &mut checked),
        false => None,
    };
    (checked.report, state)
}

/// An adapter, sealed or not: adapters of other tools have no manifest.
fn verify_adapter_of(dir: &Path, run: Option<&MadeFrom>) -> Report {
    let mut checked = Checked::new(dir, FolderKind::Adapter);
    if !check_optional_manifest(dir, Kind::Adapter, &ADAPTER_FILES, run, &mut checked) {
        return checked.report;
    }
    adapter::check(dir, false, &mut checked);
    checked.report
}

fn verify_model(dir: &Path) -> Report {
    let mut checked = Checked::new(dir, FolderKind::Model);
    if check_optional_manifest(dir, Kind::Model, &MODEL_FILES, None, &mut checked) {
        model::check(dir, false, &mut checked);
    }
    checked.report
}

/// Whether the rest of the folder can be judged.
fn check_optional_manifest(
    dir: &Path,
    kind: Kind,
    files: &[&str],
    run: Option<&MadeFrom>,
    checked: &mut Checked,
) -> bool {
    if !dir.join(manifest::FILE_NAME).exists() {
        checked.note("has no manifest: damage that leaves the files well-formed is not found");
        return true;
    }
    let Some(manifest) = check_manifest(dir, checked) else { return false };
    if manifest.kind != kind {
        let message = format!("kind is {:?}, expected {:?}", manifest.kind.name(), kind.name());
        checked.refuse(Rule::Kind, Part::file(manifest::FILE_NAME), message);
        return false;
    }
    check_complete(&manifest, files, checked);
    check_made_from(&manifest, run, checked);
    true
}

/// Rules 2 to 10. `None` when the manifest itself cannot be used: then nothing else is judged.
fn check_manifest(dir: &Path, checked: &mut Checked) -> Option<Manifest> {
    let manifest = match Manifest::read(dir) {
        Ok(manifest) => manifest,
        Err(error) => {
            refuse_manifest(&error, checked);
            return None;
        }
    };
    checked.report.format_version = Some(manifest.format_version);
    if manifest.format_version < manifest::FORMAT_VERSION {
        checked.note("is of version 0; `ft checkpoint migrate` makes version 1 of it");
    }
    for difference in manifest.differences(dir) {
        refuse_manifest(&difference, checked);
    }
    Some(manifest)
}

/// Rule 11, as far as it is about the manifest.
fn check_complete(manifest: &Manifest, files: &[&str], checked: &mut Checked) {
    for name in files.iter().filter(|name| !manifest.files.contains_key(**name)) {
        checked.refuse(Rule::Complete, Part::file(name), "is not in the manifest");
    }
}

/// Rule 22.
fn check_made_from(manifest: &Manifest, run: Option<&MadeFrom>, checked: &mut Checked) {
    if let Some((key, ours, theirs)) = run.and_then(|run| manifest.made_from.difference(run)) {
        let message = format!("made_from.{key} is {ours}, that of the run is {theirs}");
        checked.refuse(Rule::MadeFrom, Part::file(manifest::FILE_NAME), message);
    }
}

fn refuse_manifest(error: &ManifestError, checked: &mut Checked) {
    let own = Part::file(manifest::FILE_NAME);
    let (rule, part) = match error {
        ManifestError::Incomplete { .. } => (Rule::Sealed, own),
        ManifestError::Syntax { .. } | ManifestError::Key { .. } => (Rule::Manifest, own),
        ManifestError::Version { .. } => (Rule::Version, own),
        ManifestError::Features { .. } => (Rule::Features, own),
        ManifestError::Seal { .. } => (Rule::Seal, own),
        ManifestError::FileName { .. } => (Rule::FileNames, own),
        ManifestError::Missing { name, .. } => (Rule::FileSize, Part::file(name)),
        ManifestError::Changed { name, what: "size", .. } => (Rule::FileSize, Part::file(name)),
        ManifestError::Changed { name, .. } => (Rule::FileHash, Part::file(name)),
        ManifestError::Extra { name, .. } => (Rule::NothingElse, Part::file(name)),
        ManifestError::File(error) => {
            let name = error.path().file_name().map(|name| name.to_string_lossy().into_owned());
            match name {
                Some(name) if name == manifest::FILE_NAME => (Rule::Manifest, own),
                name => (Rule::FileSize, Part { file: name, tensor: None }),
            }
        }
    };
    checked.refuse(rule, part, error.to_string());
}
