//! What can go wrong while a set is curated.

use std::io::ErrorKind;
use std::path::PathBuf;

use attune_data::DataError;
use attune_formats::files::FileError;

/// An error of this crate. [`CurateError::hint`] says what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CurateError {
    /// A file cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A file cannot be written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A temporary file cannot be written.
    #[error("temporary files in {folder}: {source}", folder = folder.display())]
    Scratch {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A temporary file cannot be read.
    #[error("a temporary file cannot be read: {0}")]
    Spool(#[from] std::io::Error),
    /// The output is there already.
    #[error("{path} is there already", path = path.display())]
    Exists {
        /// The folder.
        path: PathBuf,
    },
    /// `dataset.json` is not what it should be.
    #[error("{path}: {reason}", path = path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Evaluation data cannot be read.
    #[error(transparent)]
    Evaluation(#[from] attune_overlap::contamination::Error),
    /// Texts cannot be compared.
    #[error(transparent)]
    NearDuplicates(#[from] attune_overlap::near_duplicates::Error),
    /// A setting cannot be used.
    #[error("{key}: {reason}")]
    Setting {
        /// The key of the configuration.
        key: &'static str,
        /// What is wrong.
        reason: String,
        /// What to do.
        advice: String,
    },
    /// A gate refuses the set.
    #[error("{}", refusals.join("\n"))]
    Refused {
        /// What each gate says, one line or more each.
        refusals: Vec<String>,
        /// What to do.
        advice: String,
    },
    /// The user ended the work.
    #[error("interrupted; nothing was written")]
    Interrupted,
}

impl CurateError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Data(error) => error.hint(),
            Self::File(error) => error.hint(),
            Self::Evaluation(error) => error.hint(),
            Self::NearDuplicates(error) => error.hint(),
            Self::Scratch { source, .. } => Some(match source.kind() {
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                    "free some space there: the work needs room for about twice the rows as text".into()
                }
                ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied => {
                    "name a folder that can be written; `ft data check`, `stats` and `diff` use TMPDIR".into()
                }
                _ => "check the folder and the state of its disk".into(),
            }),
            Self::Spool(_) => Some("check the state of the disk that holds the output folder".into()),
            Self::Exists { .. } => Some("name another folder, or remove this one".into()),
            Self::Manifest { .. } => Some("remove the file, or bring back the one that belongs to the data".into()),
            Self::Setting { advice, .. } | Self::Refused { advice, .. } => Some(advice.clone()),
            Self::Interrupted => None,
        }
    }
}
