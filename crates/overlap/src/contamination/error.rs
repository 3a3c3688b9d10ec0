//! What can go wrong before a text is checked.

use std::path::PathBuf;

use thiserror::Error;

/// What can go wrong before a text is checked. [`Error::hint`] says what to do.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting makes no sense.
    #[error("contamination: `{setting}` must be {expected}")]
    Setting {
        /// Its name.
        setting: &'static str,
        /// What it may be.
        expected: &'static str,
    },
    /// There is more evaluation data than the index can number.
    #[error("contamination: {what}: more than {limit}")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// The most there may be.
        limit: usize,
    },
    /// A file or folder could not be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file unpacks to more than is read.
    #[error("{}: more than {limit_bytes} bytes when unpacked", path.display())]
    Unpacked {
        /// Which.
        path: PathBuf,
        /// How much is read.
        limit_bytes: u64,
    },
    /// A file is no JSON or JSONL of objects.
    #[error("{}: line {line}: {reason}", path.display())]
    Syntax {
        /// Which.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// A row is no evaluation row.
    #[error("{}: row {row}: {reason}", path.display())]
    Row {
        /// The file.
        path: PathBuf,
        /// The row, from 1.
        row: usize,
        /// What is wrong.
        reason: String,
    },
    /// A file has no rows.
    #[error("{}: no rows", path.display())]
    Empty {
        /// Which.
        path: PathBuf,
    },
    /// No file of that name is in the folder.
    #[error("no evaluation set `{name}` in {}", folder.display())]
    NotFound {
        /// The name asked for.
        name: String,
        /// The folder.
        folder: PathBuf,
        /// What is there and looks like it, the nearest first.
        near: Vec<String>,
        /// How many evaluation files are there.
        files: usize,
    },
}

impl Error {
    /// What to do about it, if something can be said.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Setting { .. } => None,
            Self::TooLarge { .. } => Some("check against fewer evaluation sets at a time".into()),
            Self::Read { .. } => None,
            Self::Unpacked { .. } => Some("split the file".into()),
            Self::Syntax { .. } => {
                Some("an evaluation file is JSONL (an object on each line) or a JSON list of objects; it may be packed as .gz, .zst, .bz2 or .xz".into())
            }
            Self::Row { .. } => Some(
                "a row has `question`, and `answer` and `passage` where there are such; `prompt`/`completion`, \
                 `problem`/`solution`, `input`/`target` and the columns of multiple choice are known too"
                    .into(),
            ),
            Self::Empty { .. } => None,
            Self::NotFound { near, files: 0, .. } if near.is_empty() => {
                Some("the folder has no .jsonl or .json file (packed or not)".into())
            }
            Self::NotFound { near, .. } if near.is_empty() => None,
            Self::NotFound { near, .. } => Some(format!("there is {}", near.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "))),
        }
    }
}
