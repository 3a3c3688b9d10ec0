//! What a run tells whoever watches it.

use std::path::PathBuf;

use attune_data::RowOrigin;
use serde::{Deserialize, Serialize, Serializer};

use crate::examples::EncodeReport;
use crate::memory_plan::budget::Budget;
use crate::memory_plan::bytes::Peak;
use crate::memory_plan::{Choice, MemoryPlan};

/// Watches a run. Called on the thread that trains, between steps: answer quickly.
pub trait Observer {
    /// Something happened.
    fn on(&mut self, event: &Event);
}

/// Watches nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {
    fn on(&mut self, _event: &Event) {}
}

/// Something that happened in a run. All of them but [`Event::Step`] are lines of `log.jsonl`; steps are lines of
/// `metrics.jsonl`.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A data set was read and tokenised.
    DataRead(DataRead),
    /// The work was laid out for the memory there is.
    Planned(Planned),
    /// Training begins or goes on.
    Started(Started),
    /// A step updated the adapter.
    Step(StepMetrics),
    /// A step was skipped.
    BadStep(SkippedStep),
    /// The validation loss was measured.
    Evaluated(Evaluated),
    /// The model continued a prompt.
    Sample(Sample),
    /// A checkpoint is complete.
    CheckpointSaved(CheckpointSaved),
    /// Something is not as it should be, and the run can go on.
    Warning {
        /// What.
        message: String,
    },
    /// The validation loss has not improved for long enough.
    StoppedEarly {
        /// Steps done.
        step: u64,
        /// The best evaluation.
        best: Best,
    },
    /// The run was asked to stop.
    Interrupted {
        /// Steps done.
        step: u64,
    },
    /// The run failed; [`crate::run`] returns the error as well.
    Failed {
        /// What is wrong.
        message: String,
        /// What the user can do.
        hint: Option<String>,
    },
    /// The run is over and its adapter is written.
    Finished(Summary),
}

/// A data set was read and tokenised.
#[derive(Debug, Clone, Serialize)]
pub struct DataRead {
    /// `data.train`, `data.validation` or `data.validation_fraction`.
    pub key: &'static str,
    /// Its files; none when the rows were held out of the training files.
    pub files: Vec<DataFile>,
    /// What became of the rows.
    pub report: EncodeReport,
}

/// One data file.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct DataFile {
    /// The file, as the configuration names it.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// Its blake3 hash.
    pub blake3: String,
    /// The form that the reader found.
    pub form: String,
    /// Its rows.
    pub rows: usize,
}

/// How the work is laid out, and what it will take.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Planned {
    /// The predicted most memory that the process will hold.
    pub peak_bytes: u64,
    /// What that is made of.
    pub parts: Peak,
    /// The most memory it may take.
    pub budget: Budget,
    /// The layout.
    pub policy: Choice,
    /// Layers that a gradient passes: of these `policy.recomputed_layers` are run again.
    pub trained_layers: usize,
    /// Whether it fits.
    pub fits: bool,
}

impl Planned {
    /// What a plan chose.
    pub fn new(plan: &MemoryPlan) -> Self {
        Self {
            peak_bytes: plan.chosen.peak.total_bytes(),
            parts: plan.chosen.peak,
            budget: plan.budget,
            policy: plan.chosen.choice,
            trained_layers: plan.trained_layers,
            fits: plan.fits(),
        }
    }
}

/// Training begins or goes on.
#[derive(Debug, Clone, Serialize)]
pub struct Started {
    /// The run folder.
    pub run_dir: PathBuf,
    /// Whether an earlier part of the run exists.
    pub resumed: bool,
    /// Steps done before.
    pub step: u64,
    /// Steps of the whole run.
    pub total_steps: u64,
    /// Steps of one epoch.
    pub steps_per_epoch: u64,
    /// Examples of a step.
    pub batch_size: usize,
    /// Trained values.
    pub trained_parameters: usize,
    /// Adapted modules.
    pub adapter_modules: Option<usize>,
    /// Frozen values.
    pub base_parameters: usize,
    /// Where it computes.
    pub backend: String,
}

/// Numbers of one step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepMetrics {
    /// Number of the step, from 1.
    pub step: u64,
    /// Epochs that lie behind after it.
    pub epoch: f64,
    /// Loss over the trained tokens of the step.
    pub loss: f64,
    /// Learning rate.
    pub learning_rate: f64,
    /// Global norm of the gradient before clipping.
    pub grad_norm: f64,
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
    /// Most memory that the process ever held, where the system tells.
    pub peak_memory_bytes: Option<u64>,
}

/// A step that was skipped.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SkippedStep {
    /// Number of the step, from 1.
    pub step: u64,
    /// What was not finite.
    pub reason: String,
    /// The rows that caused it.
    #[serde(serialize_with = "origins_as_text")]
    pub rows: Vec<RowOrigin>,
    /// How many steps in a row were skipped, this one included.
    pub in_a_row: u32,
}

/// The validation loss was measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Evaluated {
    /// Steps done; 0 is the base model with the initial adapter.
    pub step: u64,
    /// Mean over all trained tokens of the validation set, without dropout and label smoothing.
    pub validation_loss: f64,
    /// How many tokens that are.
    pub trained_tokens: usize,
    /// Whether it is the best of the run so far.
    pub best: bool,
    /// Wall time.
    pub seconds: f64,
}

/// The model continued a prompt, greedily.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sample {
    /// Steps done; 0 is the base model with the initial adapter.
    pub step: u64,
    /// The prompt.
    pub prompt: String,
    /// The continuation.
    pub text: String,
    /// What the validation row answers.
    pub expected: Option<String>,
}

/// A checkpoint is complete.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CheckpointSaved {
    /// Steps done.
    pub step: u64,
    /// Its folder.
    pub path: PathBuf,
    /// Wall time.
    pub seconds: f64,
}

/// The best evaluation of a run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// Steps done.
    pub step: u64,
    /// Its validation loss.
    pub validation_loss: f64,
}

/// What a finished run leaves.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// The run folder.
    pub run_dir: PathBuf,
    /// The adapter in PEFT's layout, or the model in Hugging Face layout.
    pub output_dir: PathBuf,
    /// Steps done, skipped ones included.
    pub steps: u64,
    /// After how many steps what is in `output_dir` was taken: fewer than `steps` when the best one was kept.
    pub output_step: u64,
    /// Loss of every step; NaN (`null` in JSON) where the step was skipped.
    pub train_loss: Vec<f64>,
    /// `(steps done, loss)` of every evaluation.
    pub validation_loss: Vec<(u64, f64)>,
    /// The best evaluation.
    pub best: Option<Best>,
    /// Whether early stopping ended the run.
    pub stopped_early: bool,
    /// Skipped steps.
    pub skipped_steps: u64,
}

fn origins_as_text<S: Serializer>(rows: &[RowOrigin], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(rows.iter().map(ToString::to_string))
}
