//! Why a model could not be exported.

use std::path::PathBuf;

use attune_compute::ComputeError;
use attune_formats::files::FileError;
use attune_formats::gguf::GgufError;
use attune_formats::tensors::TensorError;
use attune_model::ModelError;
use attune_text::TextError;

/// An export that was not made, or not accepted.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A weight file cannot be read or written.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// A GGUF file cannot be read or written.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// The base or the adapter cannot be used.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The tokenizer or the template cannot be used.
    #[error(transparent)]
    Text(#[from] TextError),
    /// The processor cannot do what was asked for.
    #[error(transparent)]
    Compute(#[from] ComputeError),
    /// The adapter changes nothing.
    #[error("{}: the adapter changes nothing: {reason}", adapter.display())]
    Inert {
        /// The adapter's folder.
        adapter: PathBuf,
        /// How that was found.
        reason: String,
    },
    /// A value does not fit into the type that was asked for.
    #[error("{tensor}: value {index} ({value}) does not fit into {dtype}")]
    Overflow {
        /// The tensor.
        tensor: String,
        /// Index of the value.
        index: usize,
        /// The value.
        value: f32,
        /// The type.
        dtype: String,
    },
    /// Something of the model has no counterpart in the format.
    #[error("{what} cannot be expressed in {format}")]
    Inexpressible {
        /// What of the model.
        what: String,
        /// The format.
        format: &'static str,
        /// What to do.
        hint: String,
    },
    /// The artefact exists already.
    #[error("{}: exists already", path.display())]
    Exists {
        /// What was to be written.
        path: PathBuf,
    },
    /// A file of the base that an export copies or changes is broken.
    #[error("{}: {reason}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// What comes with a prompt file.
    #[error("{}: {reason}", path.display())]
    Prompts {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

impl ExportError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::File(error) => error.hint(),
            Self::Tensor(error) => error.hint(),
            Self::Gguf(error) => error.hint(),
            Self::Model(error) => error.hint(),
            Self::Text(error) => Some(error.hint().into()),
            Self::Compute(error) => error.hint(),
            Self::Inert { .. } => Some(
                "look at the training run: was it stopped before its first step, or was another adapter meant?".into(),
            ),
            Self::Overflow { .. } => Some("choose bf16 or f32, which have the range of the base".into()),
            Self::Inexpressible { hint, .. } => Some(hint.clone()),
            Self::Exists { .. } => Some("choose another --out, or remove it first".into()),
            Self::Config { .. } => Some("take a whole copy of the base model".into()),
            Self::Prompts { .. } => Some("one prompt per line, or rows of JSONL with `messages` or `prompt`".into()),
        }
    }
}
