//! What can go wrong with a file, sorted by what the user can do about it.

use std::io;
use std::path::{Path, PathBuf};

/// A file or folder that could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// There is no such file or folder.
    #[error("{}: not found", path.display())]
    NotFound {
        /// What was looked for.
        path: PathBuf,
    },
    /// No space, no quota, or the file grew beyond a limit. Nothing that existed before was changed.
    #[error("{}: the disk is full{}: {source}", path.display(), needed_text(*needed))]
    DiskFull {
        /// What was being written.
        path: PathBuf,
        /// How many bytes the file was to have, where that was known.
        needed: Option<u64>,
        /// What the system said.
        source: io::Error,
    },
    /// The system refuses access.
    #[error("{}: no permission to {action} it: {source}", path.display())]
    Permission {
        /// What was to be done: `read`, `write`, ...
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A folder stands where a file is expected.
    #[error("{}: is a folder, a file is expected", path.display())]
    IsDirectory {
        /// The folder.
        path: PathBuf,
    },
    /// A folder or device stands, or would be replaced, where only a plain file may.
    #[error("{}: is not a plain file", path.display())]
    NotAFile {
        /// What stands there.
        path: PathBuf,
    },
    /// The target exists and must not be replaced.
    #[error("{}: exists already", path.display())]
    AlreadyExists {
        /// The target.
        path: PathBuf,
    },
    /// A file that is read as a whole is larger than it can sensibly be.
    #[error("{}: has {bytes} bytes, at most {limit} are read", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// The most that is read.
        limit: u64,
    },
    /// Anything else that the system reports.
    #[error("{}: cannot {action} it: {source}", path.display())]
    Other {
        /// What was to be done: `read`, `write`, ...
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

fn needed_text(needed: Option<u64>) -> String {
    needed.map(|bytes| format!(" ({bytes} bytes were to be written)")).unwrap_or_default()
}

impl FileError {
    /// Sorts an error of the system by its kind. `action` is a verb: the message reads 'cannot `action` it'.
    pub fn from_io(action: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_path_buf();
        match source.kind() {
            io::ErrorKind::NotFound => Self::NotFound { path },
            // ENOSPC, EDQUOT and EFBIG, and what corresponds to them elsewhere.
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Self::DiskFull { path, needed: None, source }
            }
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::Permission { action, path, source }
            }
            io::ErrorKind::IsADirectory => Self::IsDirectory { path },
            io::ErrorKind::AlreadyExists => Self::AlreadyExists { path },
            _ => Self::Other { action, path, source },
        }
    }

    /// Adds to [`FileError::DiskFull`] how many bytes were to be written.
    pub(crate) fn needing(mut self, bytes: Option<u64>) -> Self {
        if let Self::DiskFull { needed, .. } = &mut self {
            *needed = bytes;
        }
        self
    }

    /// The file or folder in question.
    pub fn path(&self) -> &Path {
        match self {
            Self::NotFound { path }
            | Self::DiskFull { path, .. }
            | Self::Permission { path, .. }
            | Self::IsDirectory { path }
            | Self::NotAFile { path }
            | Self::AlreadyExists { path }
            | Self::TooLarge { path, .. }
            | Self::Other { path, .. } => path,
        }
    }

    /// What the user can do.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NotFound { .. } => "check the path; relative paths start at the current folder".into(),
            Self::DiskFull { .. } => {
                "free space on that disk, or set logging.dir to a folder on another one; nothing was lost: new files \
                 are written under a temporary name, and what was complete before is untouched"
                    .into()
            }
            Self::Permission { path, .. } => {
                format!("check who owns {} and whether the disk is mounted read-only", path.display())
            }
            Self::IsDirectory { .. } => "name the file inside of the folder".into(),
            Self::NotAFile { .. } => "name a plain file".into(),
            Self::AlreadyExists { .. } => "choose another name or remove it first".into(),
            Self::TooLarge { .. } => "this is hardly the file that was meant; check the path".into(),
            Self::Other { .. } => return None,
        })
    }
}
