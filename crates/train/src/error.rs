//! Why a run stops.

use std::fmt;
use std::path::PathBuf;

use attune_compute::ComputeError;
use attune_config::ConfigError;
use attune_curate::CurateError;
use attune_data::{DataError, RowOrigin};
use attune_export::ExportError;
use attune_formats::files::FileError;
use attune_formats::manifest::ManifestError;
use attune_formats::tensors::TensorError;
use attune_model::ModelError;
use attune_text::TextError;

use crate::memory_plan::Refusal;

/// How many rows an error lists before it only counts.
const LISTED_ROWS: usize = 10;

/// Why a run stops.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// `ft.yaml` or one of its layers.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A setting that does not fit the model, the data or this machine.
    #[error("{key}: {reason}")]
    Setting {
        /// The key of `ft.yaml`.
        key: &'static str,
        /// What is wrong.
        reason: String,
        /// What to do.
        hint: String,
    },
    /// A data file.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Evaluation data or the manifest of a data set.
    #[error(transparent)]
    Curate(#[from] Box<CurateError>),
    /// Training rows that repeat evaluation data.
    #[error("{repeats} of {rows} training rows repeat evaluation data:\n{}", listed(first, *repeats))]
    Contaminated {
        /// How many.
        repeats: usize,
        /// Of how many.
        rows: usize,
        /// The first ones, each with the row that it repeats.
        first: Vec<String>,
    },
    /// The tokenizer or the chat template.
    #[error(transparent)]
    Text(#[from] TextError),
    /// The base model or the adapter.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The model that a run leaves could not be written.
    #[error(transparent)]
    Export(#[from] Box<ExportError>),
    /// The backend.
    #[error(transparent)]
    Compute(#[from] ComputeError),
    /// A file of the run could not be written or read.
    #[error(transparent)]
    File(#[from] FileError),
    /// A checkpoint's tensors.
    #[error(transparent)]
    Tensors(#[from] TensorError),
    /// A checkpoint's manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A file of the run could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file of the run does not hold what it should.
    #[error("{}: {reason}", path.display())]
    RunFile {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Rows that would train wrongly.
    #[error("{0}")]
    Rows(RowFailure),
    /// Nothing is left to train or to evaluate on.
    #[error("{key}: no rows are left ({dropped} of {rows} were dropped)")]
    NoRows {
        /// `data.train` or `data.validation`.
        key: &'static str,
        /// Rows in the files.
        rows: usize,
        /// Rows that `drop` took out.
        dropped: usize,
    },
    /// No row trains the end of a turn, so the model would never learn to stop.
    #[error("the end-of-turn token is trained in none of the {rows} rows: the model would never learn to stop")]
    EndOfTurnUntrained {
        /// Number of rows.
        rows: usize,
        /// How many were cut on the right.
        truncated_right: usize,
    },
    /// The tokenizer knows more tokens than the model has embeddings for.
    #[error("the tokenizer has {tokenizer} tokens, the embedding of the model has {embedding} rows")]
    VocabularySize {
        /// Highest token id plus one.
        tokenizer: usize,
        /// Rows of the embedding.
        embedding: usize,
    },
    /// All rows of a step have no trained token.
    #[error("step {step}: none of its rows has a trained token ({})", list_origins(rows))]
    StepUntrained {
        /// Number of the step, from 1.
        step: u64,
        /// Its rows.
        rows: Vec<RowOrigin>,
    },
    /// The loss is exactly zero: there is nothing to learn, or the targets are not what they should be.
    #[error("step {step}: the loss is exactly 0 ({})", list_origins(rows))]
    ZeroLoss {
        /// Number of the step, from 1.
        step: u64,
        /// Its rows.
        rows: Vec<RowOrigin>,
    },
    /// Too many steps in a row were skipped.
    #[error("{count} steps in a row were skipped, the last was step {step}: {reason} ({})", list_origins(rows))]
    BadSteps {
        /// How many.
        count: u32,
        /// The last one, from 1.
        step: u64,
        /// Why it was skipped.
        reason: String,
        /// Its rows.
        rows: Vec<RowOrigin>,
    },
    /// After training every B is still zero.
    #[error("after {steps} steps every B matrix of the adapter is still zero: it changes nothing")]
    InertAdapter {
        /// Steps done.
        steps: u64,
    },
    /// After training a matrix holds a NaN or an infinity.
    #[error("after {steps} steps {part} is not finite")]
    NonFinite {
        /// The first such module or tensor.
        part: String,
        /// Steps done.
        steps: u64,
    },
    /// The run folder of a new run exists and is not empty.
    #[error("{}: the run folder exists and is not empty", run_dir.display())]
    RunExists {
        /// The folder.
        run_dir: PathBuf,
    },
    /// There is no run to resume.
    #[error("{}: not a run folder: {reason}", run_dir.display())]
    NotARun {
        /// The folder.
        run_dir: PathBuf,
        /// What is missing.
        reason: String,
    },
    /// Another process trains in this folder.
    #[error("{}: another process is training in this run folder", run_dir.display())]
    RunLocked {
        /// The folder.
        run_dir: PathBuf,
    },
    /// Something that the run depends on is no longer what it was.
    #[error("cannot resume: {what} changed since the run started: it was {before}, now it is {now}")]
    Changed {
        /// File, or key of the configuration.
        what: String,
        /// Hash or value when the run started.
        before: String,
        /// Hash or value now.
        now: String,
    },
    /// There are checkpoints, and none of them is whole.
    #[error("{}: none of the {count} checkpoints is whole; the newest: {reason}", run_dir.display())]
    NoWholeCheckpoint {
        /// The run folder.
        run_dir: PathBuf,
        /// How many there are.
        count: usize,
        /// What is wrong with the newest.
        reason: String,
    },
    /// The disk has no room for the checkpoints.
    #[error(
        "{}: {available_bytes} bytes are free, {needed_bytes} are needed for {checkpoints} checkpoints and the adapter",
        run_dir.display()
    )]
    DiskSpace {
        /// The run folder.
        run_dir: PathBuf,
        /// Free space.
        available_bytes: u64,
        /// What the run will write at most at one time.
        needed_bytes: u64,
        /// How many checkpoints that is.
        checkpoints: u64,
    },
    /// The run takes more memory than it may.
    #[error("{0}")]
    DoesNotFit(Box<Refusal>),
    /// SIGINT or SIGTERM; a checkpoint was written.
    #[error("interrupted after step {step}; everything up to there is saved")]
    Interrupted {
        /// Steps done.
        step: u64,
        /// The run folder.
        run_dir: PathBuf,
    },
}

impl From<ExportError> for TrainError {
    fn from(error: ExportError) -> Self {
        Self::Export(Box::new(error))
    }
}

impl TrainError {
    /// Exit code of `ft train`: 1 failed, 2 usage or configuration, 75 interrupted and resumable.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::Setting { .. } | Self::RunExists { .. } | Self::NotARun { .. } => 2,
            Self::DoesNotFit(_) => 2,
            Self::Data(
                DataError::NoFiles
                | DataError::NotFound { .. }
                | DataError::SameFileTwice { .. }
                | DataError::UnknownSpeaker { .. },
            ) => 2,
            Self::Model(ModelError::AdapterSpec { .. } | ModelError::NoModuleMatched { .. }) => 2,
            Self::Model(ModelError::NotRepresentable { .. }) => 3,
            Self::Compute(_) => 2,
            Self::Interrupted { .. } => 75,
            Self::Contaminated { .. } => 3,
            Self::Curate(source) if matches!(**source, CurateError::Setting { .. }) => 2,
            _ => 1,
        }
    }

    /// What the user can do.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Config(source) => return source.hint(),
            Self::Data(source) => return source.hint(),
            Self::Curate(source) => return source.hint(),
            Self::Contaminated { .. } => {
                "take the rows out with `ft data clean`; if training on them is meant, give the reason in contamination.allow, which goes into the record of the run"
                    .into()
            }
            Self::Text(source) => source.hint().into(),
            Self::Model(source) => return source.hint(),
            Self::Export(source) => return source.hint(),
            Self::Compute(source) => return source.hint(),
            Self::File(source) => return source.hint(),
            Self::Tensors(source) => return source.hint(),
            Self::Manifest(source) => return source.hint(),
            Self::Setting { hint, .. } => hint.clone(),
            Self::Rows(failure) => failure.hint(),
            Self::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => {
                "free some space, then continue with `ft resume`: the last checkpoint is intact".into()
            }
            Self::Io { .. } => "check that the folder exists and that you may write there".into(),
            Self::RunFile { .. } => "the file was changed or damaged; start a new run".into(),
            Self::NoRows { key, .. } => format!("check {key}, data.overlong and data.untrained"),
            Self::EndOfTurnUntrained { truncated_right: 1.., .. } => {
                "answers are cut before their end: raise data.max_seq_length, or set data.overlong to drop or truncate-left"
                    .into()
            }
            Self::EndOfTurnUntrained { .. } => {
                "the chat template does not close an assistant turn with a token: set model.chat_template to chatml or to a template that does"
                    .into()
            }
            Self::VocabularySize { .. } => {
                "the tokenizer belongs to another model: unset model.tokenizer, or take the tokenizer from the model's own download"
                    .into()
            }
            Self::StepUntrained { .. } => "look at the rows with `ft data inspect --show-mask`, and set data.untrained to drop".into(),
            Self::ZeroLoss { .. } => {
                "the model already gives every trained token the probability 1, or the trained tokens are wrong: look at the rows with `ft data inspect --show-mask`"
                    .into()
            }
            Self::BadSteps { .. } => {
                "look at the named rows; lower training.learning_rate; check adapter.init_from; the last checkpoint is intact"
                    .into()
            }
            Self::InertAdapter { .. } => {
                "check training.learning_rate and training.steps; if every step was skipped, see log.jsonl".into()
            }
            Self::NonFinite { .. } => "lower training.learning_rate, or set training.max_grad_norm".into(),
            Self::RunExists { run_dir } => {
                format!("choose another folder, or continue that run with `ft resume {}`", run_dir.display())
            }
            Self::NotARun { .. } => "give the folder of a run, for example runs/NAME: it holds a config.yaml".into(),
            Self::RunLocked { .. } => "wait for the other process or stop it".into(),
            Self::Changed { what, .. } => format!(
                "bring back the earlier {what}, or start a new run; a new run can start from this one's adapter with adapter.init_from"
            ),
            Self::NoWholeCheckpoint { .. } => "the files were changed or damaged; start a new run".into(),
            Self::DiskSpace { .. } => "free some space, choose another logging.dir, or lower checkpoint.keep".into(),
            Self::DoesNotFit(refusal) => refusal.hint(),
            Self::Interrupted { run_dir, .. } => format!("continue with `ft resume {}`", run_dir.display()),
        })
    }
}

/// What is wrong with a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowProblem {
    /// The template or the tokenizer refuses it, for example because the template drops a message.
    Encoding,
    /// No token of it is trained.
    Untrained,
    /// No token of it is trained any more after it was cut.
    UntrainedAfterTruncation,
    /// It is longer than allowed.
    Overlong {
        /// The limit.
        limit: usize,
        /// Whether the model, not `data.max_seq_length`, sets the limit.
        by_model: bool,
    },
    /// It starts with two BOS tokens.
    DoubledBos,
    /// It has a token that the model has no embedding for.
    TokenOutside {
        /// Rows of the embedding.
        embedding: usize,
    },
}

/// All rows with the same problem: the first ten, and how many there are.
#[derive(Debug, Clone, PartialEq)]
pub struct RowFailure {
    /// What is wrong with them.
    pub problem: RowProblem,
    /// The first ten, each with what is particular to it.
    pub listed: Vec<(RowOrigin, String)>,
    /// How many rows have the problem.
    pub total: usize,
    /// How many rows there are.
    pub rows: usize,
    /// The hint of the first row's own error, if it had one.
    pub row_hint: Option<String>,
}

impl RowFailure {
    pub(crate) fn new(problem: RowProblem, rows: usize) -> Self {
        Self { problem, listed: Vec::new(), total: 0, rows, row_hint: None }
    }

    pub(crate) fn add(&mut self, origin: &RowOrigin, note: impl Into<String>) {
        self.total += 1;
        if self.listed.len() < LISTED_ROWS {
            self.listed.push((origin.clone(), note.into()));
        }
    }

    fn hint(&self) -> String {
        if let Some(hint) = &self.row_hint {
            return hint.clone();
        }
        match self.problem {
            RowProblem::Encoding => "look at the rows with `ft data inspect`".into(),
            RowProblem::Untrained => {
                "mend the rows (an assistant message with text that is not excluded), set data.train_on, or set data.untrained to drop"
                    .into()
            }
            RowProblem::UntrainedAfterTruncation => {
                "raise data.max_seq_length, set data.overlong to truncate-left, or set data.untrained to drop".into()
            }
            RowProblem::Overlong { by_model: false, .. } => {
                "raise data.max_seq_length, or set data.overlong to drop, truncate-left or truncate-right".into()
            }
            RowProblem::Overlong { by_model: true, .. } => {
                "the model was made for no more: shorten the rows, or set data.overlong to drop, truncate-left or truncate-right"
                    .into()
            }
            RowProblem::DoubledBos => {
                "the template or the text writes the beginning-of-sequence token a second time: take it out of the rows or the template"
                    .into()
            }
            RowProblem::TokenOutside { .. } => "the tokenizer belongs to another model".into(),
        }
    }
}

/// The first cases on a line each, and how many more there are.
fn listed(first: &[String], total: usize) -> String {
    let mut text = first.join("\n");
    if total > first.len() {
        text.push_str(&format!("\n... and {} more", total - first.len()));
    }
    text
}

impl fmt::Display for RowFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { total, rows, .. } = self;
        write!(f, "{total} of {rows} rows ")?;
        match self.problem {
            RowProblem::Encoding => write!(f, "cannot be put into tokens")?,
            RowProblem::Untrained => write!(f, "without a trained token")?,
            RowProblem::UntrainedAfterTruncation => write!(f, "without a trained token after truncation")?,
            RowProblem::Overlong { limit, by_model } => {
                let owner = if by_model { "the model's max_position_embeddings" } else { "data.max_seq_length" };
                write!(f, "longer than {limit} tokens ({owner})")?;
            }
            RowProblem::DoubledBos => write!(f, "with a doubled BOS token")?,
            RowProblem::TokenOutside { embedding } => {
                write!(f, "with a token outside of the embedding ({embedding} rows)")?;
            }
        }
        for (origin, note) in &self.listed {
            write!(f, "\n  {origin}: {note}")?;
        }
        if self.total > self.listed.len() {
            write!(f, "\n  and {} more", self.total - self.listed.len())?;
        }
        Ok(())
    }
}

/// `a.jsonl:3 (row 3), a.jsonl:9 (row 9) and 4 more`.
pub(crate) fn list_origins(rows: &[RowOrigin]) -> String {
    let listed: Vec<String> = rows.iter().take(LISTED_ROWS).map(ToString::to_string).collect();
    let mut text = listed.join(", ");
    if rows.len() > LISTED_ROWS {
        text += &format!(" and {} more", rows.len() - LISTED_ROWS);
    }
    text
}
