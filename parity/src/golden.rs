//! Golden files: one folder per case, as the README of this crate describes them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use attune_formats::tensors::{self, TensorError};
use serde::Deserialize;

/// A golden folder that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum GoldenError {
    /// A file or folder is missing or unreadable.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// `case.json` is not what the README says.
    #[error("{}: {source}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Line, column and reason.
        source: serde_json::Error,
    },
    /// `expected.safetensors` is broken.
    #[error(transparent)]
    Tensors(#[from] TensorError),
    /// A tensor is not in `expected.safetensors`.
    #[error("{}: no tensor '{name}'", path.display())]
    MissingTensor {
        /// The file.
        path: PathBuf,
        /// The name.
        name: String,
    },
}

impl GoldenError {
    /// What to do.
    pub fn hint(&self) -> &'static str {
        "run parity/make_goldens.py; README.md of parity says how"
    }
}

/// An example of a case.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// Token ids.
    pub ids: Vec<u32>,
    /// 1 where the token is a target.
    pub trained: Vec<u8>,
}

impl Row {
    /// Indices of the targets.
    pub fn targets(&self) -> impl Iterator<Item = usize> {
        self.trained.iter().enumerate().filter(|(_, trained)| **trained == 1).map(|(i, _)| i)
    }
}

/// Shape of the learning rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// The same rate.
    Constant,
    /// Down to 0 in a straight line.
    Linear,
    /// Down to 0 along half a cosine.
    Cosine,
}

/// Hyper-parameters of the ten steps.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Training {
    /// The highest rate.
    pub learning_rate: f64,
    /// Its shape.
    pub schedule: Schedule,
    /// Steps of warm-up.
    pub warmup_steps: u64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Share of the uniform distribution in the target.
    pub label_smoothing: f32,
    /// Limit of the gradient's norm.
    pub max_grad_norm: f64,
    /// Decay of the first moment.
    pub adam_beta1: f64,
    /// Decay of the second moment.
    pub adam_beta2: f64,
    /// Added to the root of the second moment.
    pub adam_epsilon: f64,
    /// The rate of each step, as Transformers' schedule gives it.
    pub learning_rates: Vec<f64>,
}

/// What the ten steps gave.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// Loss of each step.
    pub losses: Vec<f64>,
    /// Norm of the gradient of each step, before clipping.
    pub gradient_norms: Vec<f64>,
}

/// The run in f32, and for bf16 weights the run in bf16.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Runs {
    /// Computed in f32.
    pub f32: Run,
    /// Computed in bf16.
    pub bf16: Option<Run>,
}

/// A greedy continuation.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generation {
    /// Index of the prompt among the rows.
    pub row: usize,
    /// Whether the initial adapter is on.
    pub adapter: bool,
    /// New tokens.
    pub new_ids: Vec<u32>,
    /// Least distance between the best two logits.
    pub smallest_margin: f64,
}

/// `case.json`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// Name of the folder.
    pub name: String,
    /// `model_type`.
    pub family: String,
    /// `float32` or `bfloat16`.
    pub dtype: String,
    /// Whether the weights are in several files.
    pub sharded: bool,
    /// Whether the head is the embedding.
    pub tied_head: bool,
    /// Whether `config.json` is in the dialect of Transformers 4.
    pub old_config_keys: bool,
    /// Examples.
    pub rows: Vec<Row>,
    /// Rows of each step.
    pub steps: Vec<Vec<usize>>,
    /// Hyper-parameters.
    pub training: Training,
    /// Results of the steps.
    pub runs: Runs,
    /// Greedy continuations.
    pub generations: Vec<Generation>,
    /// Their length.
    pub new_tokens: usize,
    /// What the script measured: `rounding`, `bf16`, `sensitivity`, each by name.
    pub measured: BTreeMap<String, BTreeMap<String, f64>>,
    /// What made the files.
    pub versions: BTreeMap<String, String>,
}

/// A case with its expected tensors.
#[derive(Debug)]
pub struct Golden {
    /// `case.json`.
    pub case: Case,
    dir: PathBuf,
    expected: BTreeMap<String, Vec<f32>>,
}

impl Golden {
    /// Where the golden folders are.
    pub fn root() -> &'static Path {
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/goldens"))
    }

    /// All cases, by name.
    ///
    /// # Errors
    /// When a folder is incomplete or broken.
    pub fn all() -> Result<Vec<Self>, GoldenError> {
        case_dirs(Self::root())?.iter().map(|dir| Self::read(dir)).collect()
    }

    /// The case with that name.
    ///
    /// # Errors
    /// When its folder is absent, incomplete or broken.
    pub fn named(name: &str) -> Result<Self, GoldenError> {
        Self::read(&Self::root().join(name))
    }

    fn read(dir: &Path) -> Result<Self, GoldenError> {
        let (case, expected) = read_case(dir)?;
        Ok(Self { case, dir: dir.to_path_buf(), expected })
    }

    /// The base model's folder.
    pub fn model_dir(&self) -> PathBuf {
        self.dir.join("model")
    }

    /// The initial adapter's folder.
    pub fn adapter_dir(&self) -> PathBuf {
        self.dir.join("adapter_init")
    }

    /// Values of an expected tensor, row-major.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn expected(&self, name: &str) -> Result<&[f32], GoldenError> {
        let missing = || GoldenError::MissingTensor { path: self.dir.join(EXPECTED), name: name.into() };
        self.expected.get(name).map(Vec::as_slice).ok_or_else(missing)
    }

    /// Names of the expected tensors that begin with `prefix`, without it.
    pub fn names<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a str> {
        self.expected.keys().filter_map(move |name| name.strip_prefix(prefix))
    }

    /// Whether the weights are stored in bf16, so that there is a second reference.
    pub fn is_bf16(&self) -> bool {
        self.case.runs.bf16.is_some()
    }

    /// A number of `measured`.
    pub fn measured(&self, kind: &str, name: &str) -> Option<f64> {
        self.case.measured.get(kind)?.get(name).copied()
    }
}

const EXPECTED: &str = "expected.safetensors";

/// The folders of the cases under `root`, by name.
pub(crate) fn case_dirs(root: &Path) -> Result<Vec<PathBuf>, GoldenError> {
    let read = |source| GoldenError::Read { path: root.to_path_buf(), source };
    let mut dirs = Vec::new();
    for entry in std::fs::read_dir(root).map_err(read)? {
        dirs.push(entry.map_err(read)?.path());
    }
    dirs.retain(|dir| dir.is_dir());
    dirs.sort();
    Ok(dirs)
}

/// `case.json` and the expected tensors of a folder.
pub(crate) fn read_case<C: serde::de::DeserializeOwned>(
    dir: &Path,
) -> Result<(C, BTreeMap<String, Vec<f32>>), GoldenError> {
    let path = dir.join("case.json");
    let text = std::fs::read_to_string(&path).map_err(|source| GoldenError::Read { path: path.clone(), source })?;
    let case = serde_json::from_str(&text).map_err(|source| GoldenError::Json { path, source })?;
    let expected = tensors::read_tensors(&dir.join(EXPECTED))?;
    Ok((case, expected.into_iter().map(|(name, tensor)| (name, tensor.data)).collect()))
}
