//! What can be wrong with a GGUF file.

use std::path::{Path, PathBuf};

use crate::files::FileError;

/// A GGUF file that cannot be used. Rules are numbered in [the module](super).
#[derive(Debug, thiserror::Error)]
pub enum GgufError {
    /// The file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file breaks a rule of the format.
    #[error("{}: rule {rule}: {reason}", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// Number of the rule.
        rule: u8,
        /// What is wrong, and where.
        reason: String,
    },
    /// A key that is needed is missing.
    #[error("{}: has no key {key}", path.display())]
    MissingKey {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
    },
    /// A key has another kind of value.
    #[error("{}: {key} is {got}, expected {expected}", path.display())]
    KeyKind {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// What would be right.
        expected: &'static str,
        /// What is there.
        got: String,
    },
    /// A tensor that is needed is missing.
    #[error("{}: has no tensor {name}", path.display())]
    MissingTensor {
        /// The file.
        path: PathBuf,
        /// Its name.
        name: String,
    },
}

impl GgufError {
    pub(super) fn broken(path: &Path, rule: u8, reason: impl Into<String>) -> Self {
        Self::Broken { path: path.to_path_buf(), rule, reason: reason.into() }
    }

    /// What the user can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::File(error) => error.hint(),
            Self::Broken { rule: 1, .. } => Some("take a file that ends in .gguf, or a model folder".into()),
            Self::Broken { rule: 2, .. } => Some("convert the model again with a current program".into()),
            Self::Broken { .. } => {
                Some("the file is damaged or incomplete: fetch it again and compare its checksum".into())
            }
            Self::MissingKey { .. } | Self::KeyKind { .. } | Self::MissingTensor { .. } => {
                Some("the file is no whole language model; convert it again from the original".into())
            }
        }
    }
}
