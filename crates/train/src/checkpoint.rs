//! Checkpoints: everything that a resumed run needs to end in the same bytes.
//!
//! ```text
//! checkpoints/step-000200/
//!   adapter_model.safetensors  adapter_config.json   the adapter; PEFT loads the folder as it is
//!   model.safetensors          config.json           or all weights in f32; Transformers loads the folder as it is
//!   state.safetensors                                AdamW's moments
//!   state.json                                       the cursor: see RunState
//!   manifest.json                                    what the run is made of, sizes and hashes; written last
//! ```
//! `docs/checkpoint-spec.md` is the specification; a folder that breaks one of its rules is not a checkpoint. Random numbers are pure functions
//! of (seed, step), so no generator state is stored.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use attune_formats::checkpoint::{MOMENT_FILE, Report, STATE_FILE, verify_checkpoint};
use attune_formats::files::{self, DirWriter};
use attune_formats::manifest::{FORMAT_VERSION, FULL_WEIGHTS, Kind, MadeFrom, Manifest};
use attune_formats::tensors::{self, TensorView};
use attune_model::{Adapter, AdapterModule, DecoderSpec, Trained};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::TrainError;
use crate::evaluate::Progress;
use crate::optimizer::{AdamW, AdamWSettings, Moments};
use crate::run_dir::MetricsLine;

/// Where a run stands: all that is neither a weight nor a moment, and changes from step to step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunState {
    /// Version of this form: that of the specification. Version 0 had another key, and else the same ones.
    #[serde(default)]
    pub format_version: u32,
    /// Steps done, skipped ones included: the cursor of the batch plan and of the schedule.
    pub step: u64,
    /// Epochs that lie behind: for people.
    pub epoch: f64,
    /// Seed of the run: for people; the configuration decides.
    pub seed: u64,
    /// Updates of AdamW.
    pub updates: u64,
    /// Skipped steps.
    pub skipped_steps: u64,
    /// Steps that were skipped without a good one since.
    pub bad_in_a_row: u32,
    /// Tokens seen, without padding.
    pub tokens: u64,
    /// Trained tokens seen.
    pub trained_tokens: u64,
    /// The best evaluation, and what early stopping counts.
    pub progress: Progress,
    /// `(steps done, loss)` of every evaluation; null where it was not finite.
    pub evaluations: Vec<(u64, Option<f64>)>,
    /// The last step at which the evaluation was done.
    pub evaluated_step: Option<u64>,
    /// Whether early stopping ended the run.
    pub stopped_early: bool,
    /// The line of the last step when it is not in `metrics.jsonl` yet, because the evaluation after it was interrupted.
    pub unreported: Option<MetricsLine>,
    /// Keys of later writers, kept as they are.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl RunState {
    /// Before the first step.
    pub fn new(seed: u64) -> Self {
        Self {
            format_version: FORMAT_VERSION,
            step: 0,
            epoch: 0.0,
            seed,
            updates: 0,
            skipped_steps: 0,
            bad_in_a_row: 0,
            tokens: 0,
            trained_tokens: 0,
            progress: Progress::default(),
            evaluations: Vec::new(),
            evaluated_step: None,
            stopped_early: false,
            unreported: None,
            extra: Map::new(),
        }
    }

    /// The last step whose line is in `metrics.jsonl`.
    pub fn reported_step(&self) -> u64 {
        self.step - u64::from(self.unreported.is_some())
    }
}

/// The folder of the checkpoints of a run.
#[derive(Debug, Clone)]
pub struct Checkpoints {
    dir: PathBuf,
    keep: usize,
    made_from: MadeFrom,
    /// `config.json` of the model, where all weights are trained.
    model_config: Option<String>,
}

/// A checkpoint whose files are those that were written.
#[derive(Debug)]
pub struct Checkpoint {
    /// Its folder.
    pub path: PathBuf,
    /// What is trained.
    pub trained: Trained,
    /// Moments and the number of updates.
    pub optimizer: AdamW,
    /// The rest.
    pub state: RunState,
}

/// A checkpoint that cannot be used, and why.
#[derive(Debug)]
pub struct Damaged {
    /// Its folder.
    pub path: PathBuf,
    /// What is wrong.
    pub reason: String,
}

impl Checkpoints {
    /// Those of the folder `dir`, of which the newest `keep` stay. They belong to what is `made_from`.
    pub fn new(dir: PathBuf, keep: usize, made_from: MadeFrom) -> Self {
        Self { dir, keep: keep.max(1), made_from, model_config: None }
    }

    /// Those of a run that trains all weights of a model with this `config.json`.
    #[must_use]
    pub fn of_model(self, config: String) -> Self {
        Self { model_config: Some(config), ..self }
    }

    /// Folder of the checkpoint after `step` steps.
    pub fn path(&self, step: u64) -> PathBuf {
        self.dir.join(format!("step-{step:06}"))
    }

    /// Size on the disk of one checkpoint with so many trained values: these, two moments, and some room for the JSON
    /// files.
    pub fn estimated_bytes(parameters: usize) -> u64 {
        const JSON_BYTES: u64 = 256 * 1024;
        3 * 4 * parameters as u64 + JSON_BYTES
    }

    /// Writes a checkpoint, whole or not at all, then deletes those that are no longer kept: neither among the newest
    /// `keep` nor the best.
    ///
    /// # Errors
    /// When the disk is full or a file cannot be written; earlier checkpoints are intact then.
    pub fn save(
        &self,
        trained: &Trained,
        optimizer: &AdamW,
        state: &RunState,
        base_name: &str,
    ) -> Result<PathBuf, TrainError> {
        let path = self.path(state.step);
        let writer = DirWriter::create(&path)?;
        match trained {
            Trained::Adapter(adapter) => adapter.write_peft(&writer, base_name)?,
            Trained::Full(model) => {
                model.write_masters(&writer)?;
                let config = self.model_config.as_deref().unwrap_or_default();
                writer.write("config.json", config.as_bytes())?;
            }
        }
        write_moments(&writer, trained, optimizer)?;
        writer.write(STATE_FILE, &to_json(state, &path)?)?;
        let features: &[&str] = if trained.full().is_some() { &[FULL_WEIGHTS] } else { &[] };
        Manifest::seal_with(&writer, Kind::Checkpoint, self.made_from.clone(), features)?;
        writer.replace()?;
        self.delete_old(state)?;
        Ok(path)
    }

    fn delete_old(&self, state: &RunState) -> Result<(), TrainError> {
        let steps = self.steps()?;
        let best = state.progress.best.map(|best| best.step);
        // Steps ahead of the run are damaged ones that it fell back from: they must not displace whole ones.
        let reached = steps.iter().rev().filter(|step| **step <= state.step);
        for step in reached.skip(self.keep).filter(|step| Some(**step) != best) {
            let path = self.path(*step);
            files::remove_dir_all(&path)?;
        }
        Ok(())
    }

    /// Steps of all checkpoints, whole or not, ascending.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn steps(&self) -> Result<Vec<u64>, TrainError> {
        let io = |source| TrainError::Io { path: self.dir.clone(), source };
        let entries = match std::fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(io(error)),
        };
        let mut steps = Vec::new();
        for entry in entries {
            let name = entry.map_err(io)?.file_name();
            let step = name.to_str().and_then(|name| name.strip_prefix("step-")?.parse::<u64>().ok());
            steps.extend(step.filter(|&step| self.path(step).file_name() == Some(&name)));
        }
        steps.sort_unstable();
        Ok(steps)
    }

    /// The newest whole checkpoint, and those newer than it that are damaged. `shape` has the shape of what the run trains.
    ///
    /// # Errors
    /// When the folder cannot be read, or there are checkpoints and none of them is whole.
    pub fn newest(
        &self,
        run_dir: &Path,
        model: &DecoderSpec,
        shape: &Trained,
        settings: AdamWSettings,
    ) -> Result<(Option<Checkpoint>, Vec<Damaged>), TrainError> {
        let mut damaged: Vec<Damaged> = Vec::new();
        let steps = self.steps()?;
        for &step in steps.iter().rev() {
            let path = self.path(step);
            match self.read(step, model, shape, settings) {
                Ok(checkpoint) => return Ok((Some(checkpoint), damaged)),
                Err(error) => damaged.push(Damaged { path, reason: error.to_string() }),
            }
        }
        match damaged.first() {
            None => Ok((None, damaged)),
            Some(newest) => Err(TrainError::NoWholeCheckpoint {
                run_dir: run_dir.into(),
                count: steps.len(),
                reason: newest.reason.clone(),
            }),
        }
    }

    /// What was trained, after `step` steps.
    ///
    /// # Errors
    /// When that checkpoint is not whole.
    pub fn trained_at(&self, step: u64, model: &DecoderSpec, shape: &Trained) -> Result<Trained, TrainError> {
        let path = self.path(step);
        self.verify(&path)?;
        read_trained(&path, model, shape)
    }

    fn read(
        &self,
        step: u64,
        model: &DecoderSpec,
        shape: &Trained,
        settings: AdamWSettings,
    ) -> Result<Checkpoint, TrainError> {
        let path = self.path(step);
        self.verify(&path)?;
        let state_path = path.join(STATE_FILE);
        let json = std::fs::read(&state_path).map_err(|source| TrainError::Io { path: state_path.clone(), source })?;
        let mut state: RunState = serde_json::from_slice(&json)
            .map_err(|error| TrainError::RunFile { path: state_path, reason: error.to_string() })?;
        // What is written next is of this version, whichever was read.
        state.extra.shift_remove("version");
        state.format_version = FORMAT_VERSION;
        let trained = read_trained(&path, model, shape)?;
        let moments = read_moments(&path.join(MOMENT_FILE), &trained)?;
        let optimizer = AdamW { settings, updates: state.updates, moments };
        Ok(Checkpoint { path, trained, optimizer, state })
    }

    /// Holds a folder to every rule of the specification.
    fn verify(&self, path: &Path) -> Result<(), TrainError> {
        let report: Report = verify_checkpoint(path, &self.made_from);
        match report.first_finding() {
            None => Ok(()),
            Some((_, finding)) => Err(TrainError::RunFile { path: path.into(), reason: finding.to_string() }),
        }
    }
}

fn read_trained(dir: &Path, model: &DecoderSpec, shape: &Trained) -> Result<Trained, TrainError> {
    match shape {
        Trained::Adapter(shape) => Ok(read_adapter(dir, model, shape)?.into()),
        Trained::Full(shape) => Ok(shape.with_masters_of(dir)?.into()),
    }
}

/// The matrices of a checkpoint in an adapter of the run's shape: ranks and scales are the run's own.
fn read_adapter(dir: &Path, model: &DecoderSpec, shape: &Adapter) -> Result<Adapter, TrainError> {
    let read = Adapter::from_peft(model, dir)?;
    let outline = |adapter: &Adapter| -> Vec<(String, usize, bool)> {
        let modules = adapter.modules.iter();
        modules.map(|module| (module.name.clone(), module.rank, module.magnitude.is_some())).collect()
    };
    if outline(&read) != outline(shape) {
        let reason = "its method, modules and ranks are not those of the configuration".into();
        return Err(TrainError::RunFile { path: dir.into(), reason });
    }
    let mut adapter = shape.clone();
    for (module, read) in adapter.modules.iter_mut().zip(read.modules) {
        let AdapterModule { a, b, magnitude, .. } = read;
        let parameters = module.parameters_mut();
        (*parameters.a, *parameters.b) = (a, b);
        if let (Some(own), Some(read)) = (parameters.magnitude, magnitude) {
            *own = read;
        }
    }
    Ok(adapter)
}

/// The names of the moments of a part, in their order: `{part}_m` and `{part}_v` where the part is one of an adapter's
/// module, `{tensor}.m` and `{tensor}.v` of a weight.
fn moment_names(trained: &Trained, part: &str) -> [String; 2] {
    let joint = if trained.full().is_some() { '.' } else { '_' };
    ["m", "v"].map(|moment| format!("{part}{joint}{moment}"))
}

fn write_moments(writer: &DirWriter, trained: &Trained, optimizer: &AdamW) -> Result<(), TrainError> {
    let mut named = Vec::new();
    for ((part, _), Moments { m, v }) in trained.part_lengths().iter().zip(&optimizer.moments) {
        let names = moment_names(trained, part);
        named.extend(names.into_iter().zip([m, v]).map(|(name, values)| (name, [values.len()], values)));
    }
    let views: Vec<TensorView> =
        named.iter().map(|(name, shape, values)| TensorView { name, shape, data: values }).collect();
    tensors::write_tensors_into(writer, MOMENT_FILE, &views, &BTreeMap::new())?;
    Ok(())
}

fn read_moments(path: &Path, trained: &Trained) -> Result<Vec<Moments>, TrainError> {
    let mut read = tensors::read_tensors(path)?;
    let mut take = |name: String, length: usize| match read.remove(&name) {
        Some(tensor) if tensor.data.len() == length => Ok(tensor.data),
        Some(tensor) => Err(TrainError::RunFile {
            path: path.into(),
            reason: format!("tensor '{name}' has {} values, expected {length}", tensor.data.len()),
        }),
        None => Err(TrainError::RunFile { path: path.into(), reason: format!("tensor '{name}' is missing") }),
    };
    let moments = |(part, length): (String, usize)| {
        let [m, v] = moment_names(trained, &part);
        Ok(Moments { m: take(m, length)?, v: take(v, length)? })
    };
    trained.part_lengths().into_iter().map(moments).collect()
}

fn to_json(state: &RunState, path: &Path) -> Result<Vec<u8>, TrainError> {
    let mut json = serde_json::to_vec_pretty(state)
        .map_err(|error| TrainError::RunFile { path: path.into(), reason: error.to_string() })?;
    json.push(b'\n');
    Ok(json)
}
