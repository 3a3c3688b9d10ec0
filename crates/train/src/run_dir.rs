//! The run folder: its lock, its identity, its metrics and its log.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use attune_config::Config;
use attune_formats::files::{self, LineLog};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::contamination::ContaminationRecord;
use crate::error::TrainError;
use crate::events::{DataFile, Event, SkippedStep, StepMetrics};

/// A run folder that this process has for itself.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    /// Held as long as the run; the system releases it when the process dies.
    _lock: File,
}

impl RunDir {
    /// Takes a folder for a new run. It must not exist or be empty.
    ///
    /// # Errors
    /// When it holds something, another process has it, or it cannot be made.
    pub fn create(path: &Path) -> Result<Self, TrainError> {
        Self::refuse_unless_empty(path)?;
        files::create_dir_all(path)?;
        let lock = lock(path)?;
        Self::refuse_unless_empty(path)?;
        Ok(Self { path: path.into(), _lock: lock })
    }

    /// Refuses a folder that holds more than what a run leaves which is killed at its very start.
    ///
    /// # Errors
    /// [`TrainError::RunExists`].
    pub fn refuse_unless_empty(path: &Path) -> Result<(), TrainError> {
        let entries = match std::fs::read_dir(path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(source) => return Err(TrainError::Io { path: path.into(), source }),
        };
        for entry in entries {
            let entry = entry.map_err(|source| TrainError::Io { path: path.into(), source })?;
            let name = entry.file_name();
            let leftover = name.to_string_lossy().starts_with("config.yaml.tmp-");
            if name != LOCK_FILE && !leftover {
                return Err(TrainError::RunExists { run_dir: path.into() });
            }
        }
        Ok(())
    }

    /// Takes the folder of an earlier run.
    ///
    /// # Errors
    /// When it is not a run folder or another process has it.
    pub fn open(path: &Path) -> Result<Self, TrainError> {
        Self::check_is_run(path)?;
        Ok(Self { path: path.into(), _lock: lock(path)? })
    }

    /// Removes what a killed process left under temporary names.
    ///
    /// # Errors
    /// When a leftover cannot be removed.
    pub fn clear_leftovers(&self) -> Result<(), TrainError> {
        files::remove_stale_temporaries(&self.path)?;
        if self.checkpoints_dir().is_dir() {
            files::remove_stale_temporaries(&self.checkpoints_dir())?;
        }
        Ok(())
    }

    /// Writes `config.yaml`.
    ///
    /// # Errors
    /// As [`RunDir::write`].
    pub fn write_config(&self, config: &Config) -> Result<(), TrainError> {
        self.write("config.yaml", config.to_yaml()?.as_bytes())
    }

    /// Reads `config.yaml` of the run in `run_dir`: that file alone, without the layers that it once came from.
    ///
    /// # Errors
    /// When it is not a run folder, or the file cannot be read.
    pub fn read_config(run_dir: &Path) -> Result<Config, TrainError> {
        Self::check_is_run(run_dir)?;
        let path = run_dir.join("config.yaml");
        let text = std::fs::read_to_string(&path).map_err(|source| TrainError::Io { path, source })?;
        Ok(Config::from_yaml_str(&text)?)
    }

    fn check_is_run(path: &Path) -> Result<(), TrainError> {
        if path.join("config.yaml").is_file() {
            return Ok(());
        }
        let reason = if path.is_dir() { "it has no config.yaml" } else { "there is no such folder" };
        Err(TrainError::NotARun { run_dir: path.into(), reason: reason.into() })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The run's name: the last part of the folder.
    pub fn id(&self) -> String {
        self.path.file_name().unwrap_or(self.path.as_os_str()).to_string_lossy().into_owned()
    }

    /// `config.yaml`: the resolved configuration.
    pub fn config_file(&self) -> PathBuf {
        self.path.join("config.yaml")
    }

    /// `model/`: what a run leaves that trains all weights.
    pub fn model_dir(&self) -> PathBuf {
        self.path.join("model")
    }

    /// `adapter/`: what the run leaves.
    pub fn adapter_dir(&self) -> PathBuf {
        self.path.join("adapter")
    }

    /// `checkpoints/`.
    pub fn checkpoints_dir(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    /// Writes a file of the run as a whole or not at all.
    ///
    /// # Errors
    /// When the disk is full or the file cannot be written.
    pub fn write(&self, name: &str, content: &[u8]) -> Result<(), TrainError> {
        Ok(files::write_atomic(&self.path.join(name), content)?)
    }

    /// Writes `run.json`.
    ///
    /// # Errors
    /// As [`RunDir::write`].
    pub fn write_record(&self, record: &RunRecord) -> Result<(), TrainError> {
        let path = self.path.join("run.json");
        let mut json = serde_json::to_vec_pretty(record)
            .map_err(|error| TrainError::RunFile { path: path.clone(), reason: error.to_string() })?;
        json.push(b'\n');
        self.write("run.json", &json)
    }

    /// Reads `run.json`; `None` when the run was killed before it was written.
    ///
    /// # Errors
    /// When it cannot be read or is not what was written.
    pub fn read_record(&self) -> Result<Option<RunRecord>, TrainError> {
        let path = self.path.join("run.json");
        let json = match std::fs::read(&path) {
            Ok(json) => json,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(TrainError::Io { path, source }),
        };
        let record = serde_json::from_slice(&json);
        record.map(Some).map_err(|error| TrainError::RunFile { path, reason: error.to_string() })
    }
}

const LOCK_FILE: &str = "run.lock";

/// Locks a run folder for this process. The file stays; the lock goes with the process.
fn lock(run_dir: &Path) -> Result<File, TrainError> {
    let path = run_dir.join(LOCK_FILE);
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(|source| TrainError::Io { path: path.clone(), source })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(TrainError::RunLocked { run_dir: run_dir.into() }),
        Err(TryLockError::Error(source)) => Err(TrainError::Io { path, source }),
    }
}

/// `run.json`: from what the run was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// The run's name.
    pub run: String,
    /// When it started, UTC.
    pub started: String,
    /// Version of the program.
    pub attune_version: String,
    /// What decides the result.
    pub identity: Identity,
    /// Where it ran first.
    pub host: Host,
    /// Merkle root of the rows that are trained on: `dataset.json` and `rows.jsonl` beside this file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows_root: Option<String>,
    /// How the rows were compared with evaluation data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contamination: Option<ContaminationRecord>,
}

/// Everything that decides the bytes of the adapter. A run resumes only while it is unchanged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Identity {
    /// The base model's files.
    pub base: Vec<HashedFile>,
    /// Tokenizer, chat template and template date as one hash.
    pub text: String,
    /// Training data.
    pub train: Vec<DataFile>,
    /// Validation data.
    pub validation: Vec<DataFile>,
    /// The adapter that training starts from.
    pub init_from: Vec<HashedFile>,
    /// The sections of the configuration that decide the result.
    pub config: Value,
}

/// A file and its hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HashedFile {
    /// The file.
    pub path: PathBuf,
    /// Its blake3 hash.
    pub blake3: String,
}

impl HashedFile {
    /// Hashes a file.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(path: &Path) -> Result<Self, TrainError> {
        Ok(Self { path: path.into(), blake3: files::hash_file(path)? })
    }
}

/// The machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Host {
    /// Operating system.
    pub os: String,
    /// Instruction set.
    pub arch: String,
    /// Logical cores that the process may use.
    pub cores: usize,
    /// Where it computes.
    pub backend: String,
}

impl Host {
    /// This machine.
    pub fn this(backend: String) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self { os: std::env::consts::OS.into(), arch: std::env::consts::ARCH.into(), cores, backend }
    }

    /// The backend without its threads, which change nothing: `cpu (avx512` of `cpu (avx512, 2 threads)`.
    pub fn instruction_set(&self) -> &str {
        self.backend.rsplit_once(", ").map_or(self.backend.as_str(), |(kind, _)| kind)
    }
}

impl Identity {
    /// Compares with the identity when the run started.
    ///
    /// # Errors
    /// [`TrainError::Changed`] with the first file or key that differs.
    pub fn check_unchanged(&self, before: &Self) -> Result<(), TrainError> {
        if let Some((key, before, now)) = first_difference("", &before.config, &self.config) {
            return Err(TrainError::Changed { what: format!("the setting {key}"), before, now });
        }
        let data = |files: &[DataFile]| -> Vec<HashedFile> {
            files.iter().map(|file| HashedFile { path: file.path.clone(), blake3: file.blake3.clone() }).collect()
        };
        check_files(&before.base, &self.base)?;
        check_files(&data(&before.train), &data(&self.train))?;
        check_files(&data(&before.validation), &data(&self.validation))?;
        check_files(&before.init_from, &self.init_from)?;
        if before.text != self.text {
            return Err(TrainError::Changed {
                what: "the tokenizer or the chat template".into(),
                before: before.text.clone(),
                now: self.text.clone(),
            });
        }
        Ok(())
    }
}

/// Compares two lists of files.
///
/// # Errors
/// [`TrainError::Changed`] with the first file that differs.
pub fn check_files(before: &[HashedFile], now: &[HashedFile]) -> Result<(), TrainError> {
    let absent = || "absent".to_string();
    for file in before {
        let same = now.iter().find(|other| other.path == file.path);
        if same.is_none_or(|other| other.blake3 != file.blake3) {
            return Err(TrainError::Changed {
                what: file.path.display().to_string(),
                before: file.blake3.clone(),
                now: same.map_or_else(absent, |other| other.blake3.clone()),
            });
        }
    }
    match now.iter().find(|file| !before.iter().any(|other| other.path == file.path)) {
        None => Ok(()),
        Some(file) => Err(TrainError::Changed {
            what: file.path.display().to_string(),
            before: absent(),
            now: file.blake3.clone(),
        }),
    }
}

/// The first place where two values differ: its key and both values.
fn first_difference(key: &str, before: &Value, now: &Value) -> Option<(String, String, String)> {
    match (before, now) {
        (Value::Object(a), Value::Object(b)) => {
            let keys = a.keys().chain(b.keys().filter(|key| !a.contains_key(*key)));
            keys.into_iter().find_map(|name| {
                let path = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                first_difference(&path, a.get(name).unwrap_or(&Value::Null), b.get(name).unwrap_or(&Value::Null))
            })
        }
        _ if before == now => None,
        _ => Some((key.to_string(), before.to_string(), now.to_string())),
    }
}

/// A line of `metrics.jsonl`: one per step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricsLine {
    /// Number of the step, from 1.
    pub step: u64,
    /// Epochs that lie behind after it.
    pub epoch: f64,
    /// Loss over the trained tokens of the step; null when it was skipped.
    pub loss: Option<f64>,
    /// Learning rate.
    pub learning_rate: f64,
    /// Global norm of the gradient before clipping; null when the step was skipped.
    pub grad_norm: Option<f64>,
    /// Tokens, without padding.
    pub tokens: usize,
    /// Trained tokens.
    pub trained_tokens: usize,
    /// Tokens without padding per second.
    pub tokens_per_sec: f64,
    /// Trained tokens per second.
    pub trained_tokens_per_sec: f64,
    /// Wall time.
    pub seconds: f64,
    /// Most memory that the process ever held.
    pub peak_memory_bytes: Option<u64>,
    /// Validation loss after this step, when it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_loss: Option<f64>,
    /// Why the step was skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<String>,
}

impl MetricsLine {
    /// The line of a step that updated the adapter.
    pub fn done(metrics: &StepMetrics) -> Self {
        Self {
            step: metrics.step,
            epoch: metrics.epoch,
            loss: Some(metrics.loss),
            learning_rate: metrics.learning_rate,
            grad_norm: Some(metrics.grad_norm),
            tokens: metrics.tokens,
            trained_tokens: metrics.trained_tokens,
            tokens_per_sec: metrics.tokens_per_sec,
            trained_tokens_per_sec: metrics.trained_tokens_per_sec,
            seconds: metrics.seconds,
            peak_memory_bytes: metrics.peak_memory_bytes,
            validation_loss: None,
            skipped: None,
        }
    }

    /// The line of a step that was skipped.
    pub fn skipped(skipped: &SkippedStep, epoch: f64, learning_rate: f64, seconds: f64) -> Self {
        Self {
            step: skipped.step,
            epoch,
            loss: None,
            learning_rate,
            grad_norm: None,
            tokens: 0,
            trained_tokens: 0,
            tokens_per_sec: 0.0,
            trained_tokens_per_sec: 0.0,
            seconds,
            peak_memory_bytes: None,
            validation_loss: None,
            skipped: Some(skipped.reason.clone()),
        }
    }
}

/// `metrics.jsonl`, open at its end.
#[derive(Debug)]
pub struct MetricsFile {
    path: PathBuf,
    lines: LineLog,
}

impl MetricsFile {
    /// Opens `metrics.jsonl` and cuts it after the line of step `last_step`, where the checkpoint was made: what lies
    /// behind will be computed again. Returns the lines that stay.
    ///
    /// # Errors
    /// When lines up to there are missing, or the file cannot be read or written.
    pub fn open(run_dir: &Path, last_step: u64) -> Result<(Self, Vec<MetricsLine>), TrainError> {
        let path = run_dir.join("metrics.jsonl");
        let mut kept: Vec<MetricsLine> = Vec::new();
        files::keep_lines_while(&path, |text| match serde_json::from_str::<MetricsLine>(text) {
            Ok(line) if line.step <= last_step && line.step == kept.len() as u64 + 1 => {
                kept.push(line);
                true
            }
            _ => false,
        })?;
        if kept.len() as u64 != last_step {
            let reason = format!("it has the steps up to {}, the checkpoint stands at {last_step}", kept.len());
            return Err(TrainError::RunFile { path, reason });
        }
        let lines = LineLog::open(&path)?;
        Ok((Self { path, lines }, kept))
    }

    /// Adds a line.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn append(&mut self, line: &MetricsLine) -> Result<(), TrainError> {
        Ok(self.lines.append(&to_json_line(line, &self.path)?)?)
    }

    /// Waits until everything is on the disk.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn sync(&self) -> Result<(), TrainError> {
        Ok(self.lines.sync()?)
    }
}

/// `log.jsonl`: every event of the run with its time, except the steps. A resumed run goes on where it stopped.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    lines: LineLog,
}

#[derive(Serialize)]
struct LogLine<'a> {
    time: String,
    #[serde(flatten)]
    event: &'a Event,
}

impl LogFile {
    /// Opens `log.jsonl` at its end.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(run_dir: &Path) -> Result<Self, TrainError> {
        let path = run_dir.join("log.jsonl");
        let lines = LineLog::open(&path)?;
        Ok(Self { path, lines })
    }

    /// Adds an event.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn append(&mut self, event: &Event) -> Result<(), TrainError> {
        if matches!(event, Event::Step(_)) {
            return Ok(());
        }
        Ok(self.lines.append(&to_json_line(&LogLine { time: now_utc(), event }, &self.path)?)?)
    }
}

/// The time, UTC, for people: nothing is computed from it.
pub fn now_utc() -> String {
    chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

fn to_json_line(value: &impl Serialize, path: &Path) -> Result<String, TrainError> {
    serde_json::to_string(value).map_err(|error| TrainError::RunFile { path: path.into(), reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_first_changed_setting_is_named_with_both_values() {
        let before = json!({"training": {"seed": 1, "steps": 10}, "adapter": {"rank": 4}});
        let now = json!({"training": {"seed": 1, "steps": 20}, "adapter": {"rank": 4}});
        let expected = ("training.steps".to_string(), "10".to_string(), "20".to_string());
        assert_eq!(first_difference("", &before, &now), Some(expected));
        assert_eq!(first_difference("", &before, &before), None);
        assert_eq!(first_difference("", &json!({}), &json!({"a": 1})).map(|found| found.0).as_deref(), Some("a"));
    }

    #[test]
    fn changed_missing_and_new_files_are_named() {
        let file = |path: &str, blake3: &str| HashedFile { path: path.into(), blake3: blake3.into() };
        let before = [file("a", "1"), file("b", "2")];
        assert!(check_files(&before, &before).is_ok());
        let message = |now: &[HashedFile]| check_files(&before, now).unwrap_err().to_string();
        assert!(
            message(&[file("a", "1"), file("b", "3")])
                .contains("b changed since the run started: it was 2, now it is 3")
        );
        assert!(message(&[file("a", "1")]).contains("now it is absent"));
        assert!(message(&[file("a", "1"), file("b", "2"), file("c", "4")]).contains("c changed"));
    }

    #[test]
    fn metrics_are_cut_where_the_checkpoint_was_made() {
        let dir = tempfile::tempdir().unwrap();
        let line = |step| MetricsLine {
            step,
            loss: Some(0.1 + 0.2),
            ..MetricsLine::skipped(&SkippedStep { step, reason: "x".into(), rows: vec![], in_a_row: 1 }, 0.5, 1e-4, 1.0)
        };
        let (mut metrics, lines) = MetricsFile::open(dir.path(), 0).unwrap();
        assert!(lines.is_empty());
        metrics.append(&line(1)).unwrap();
        metrics.append(&line(2)).unwrap();
        drop(metrics);

        let (mut metrics, lines) = MetricsFile::open(dir.path(), 1).unwrap();
        assert_eq!(lines, [line(1)], "floats come back to the bit");
        metrics.append(&line(2)).unwrap();
        metrics.append(&line(3)).unwrap();
        metrics.sync().unwrap();
        drop(metrics);
        let (_, lines) = MetricsFile::open(dir.path(), 3).unwrap();
        assert_eq!(lines, [line(1), line(2), line(3)]);
        let error = MetricsFile::open(dir.path(), 4).unwrap_err().to_string();
        assert!(error.contains("metrics.jsonl") && error.contains("the steps up to 3"), "{error}");
    }

    #[test]
    fn one_process_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run");
        let held = RunDir::create(&path).unwrap();
        assert!(matches!(RunDir::create(&path), Err(TrainError::RunLocked { .. })));
        held.write("config.yaml", b"{}").unwrap();
        assert!(matches!(RunDir::open(&path), Err(TrainError::RunLocked { .. })));
        drop(held);
        assert!(RunDir::open(&path).is_ok());
        assert!(matches!(RunDir::create(&path), Err(TrainError::RunExists { .. })));
        assert!(matches!(RunDir::open(dir.path()), Err(TrainError::NotARun { .. })));
        assert!(matches!(RunDir::open(&dir.path().join("nothing")), Err(TrainError::NotARun { .. })));
    }
}
