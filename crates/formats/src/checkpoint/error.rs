//! Why a folder is not verified or not migrated.

use std::path::PathBuf;

use super::report::{Finding, FolderKind};
use crate::files::FileError;
use crate::manifest::ManifestError;

/// A folder that cannot be verified or migrated.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The folder was changed while it was being migrated, or its copy cannot be sealed.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A file stands where a folder is expected.
    #[error("{}: is not a folder", path.display())]
    NotAFolder {
        /// The file.
        path: PathBuf,
    },
    /// A rule is broken.
    #[error("{}: {finding}{}", dir.display(), more_text(*count))]
    Refused {
        /// The folder in which it is broken.
        dir: PathBuf,
        /// The first finding.
        finding: Finding,
        /// Findings in all.
        count: usize,
    },
    /// There is nothing older than this version.
    #[error("{}: is a {kind} of version {version} already", dir.display())]
    Current {
        /// The folder.
        dir: PathBuf,
        /// What it is.
        kind: FolderKind,
        /// Its version.
        version: u32,
    },
    /// The copy would lie in what is copied.
    #[error("{}: lies inside of {}", out.display(), dir.display())]
    Inside {
        /// Where the copy was to be.
        out: PathBuf,
        /// What was to be copied.
        dir: PathBuf,
    },
    /// A process trains in the folder.
    #[error("{}: another process is training in this run folder", dir.display())]
    InUse {
        /// The run.
        dir: PathBuf,
    },
}

fn more_text(count: usize) -> String {
    if count > 1 { format!(" (and {} more)", count - 1) } else { String::new() }
}

impl CheckpointError {
    /// What the user can do.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::File(source) => return source.hint(),
            Self::Manifest(source) => return source.hint(),
            Self::NotAFolder { .. } => "name the folder: a checkpoint, an adapter, a model or a run".into(),
            Self::Refused { dir, .. } => format!(
                "`ft checkpoint verify {}` lists everything; docs/checkpoint-spec.md explains the rules",
                dir.display()
            ),
            Self::Current { .. } => "there is nothing to migrate; use it as it is".into(),
            Self::Inside { .. } => "choose a folder elsewhere".into(),
            Self::InUse { .. } => "wait until the run is done, or interrupt it; it can be resumed".into(),
        })
    }
}
