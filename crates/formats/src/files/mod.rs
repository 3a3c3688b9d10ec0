//! The only place that writes files.
//!
//! A reader of a path sees the old content or the new content, never half of it: everything is written under a temporary
//! name in the same folder, synced, renamed into place, and the folder is synced.
//!
//! Temporary names are `<name>.tmp-<pid>-<n>`; a folder that is being replaced is called `<name>.old-<pid>-<n>` for the
//! moment between two renames. A killed process leaves them behind; [`remove_stale_temporaries`] clears them away. It
//! spares what this process is writing at the moment and, on Linux, what belongs to a process that still lives.
//! Elsewhere the process id says nothing to us, so whoever clears a folder must be its only writer (a run holds a lock).

mod counted;
mod directory;
mod draining;
mod error;
mod lines;
mod temporary;

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

pub(crate) use counted::Counted;
pub use directory::DirWriter;
pub use error::FileError;
pub use lines::{LineLog, keep_lines_while};
pub use temporary::remove_stale_temporaries;

use draining::Draining;
use temporary::{Temporary, parent_of, rename};

/// Writes a file so that it has its old content or the new one at any moment, also when the machine loses power.
/// A symbolic link is replaced by the file.
///
/// # Errors
/// When the folder is missing, the disk is full, access is refused, or `path` is not a plain file. The old content is
/// untouched then.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    write_atomic_with(path, Some(bytes.len() as u64), |out| out.write_all(bytes))
}

/// Like [`write_atomic`], for content that is produced piece by piece. `size_bytes` is only named in a message.
///
/// # Errors
/// As [`write_atomic`], and whatever `fill` returns.
pub fn write_atomic_with(
    path: &Path,
    size_bytes: Option<u64>,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), FileError> {
    // A rename would replace a device such as /dev/null by a file.
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => return Err(FileError::IsDirectory { path: path.to_path_buf() }),
        Ok(metadata) if !metadata.is_file() => return Err(FileError::NotAFile { path: path.to_path_buf() }),
        _ => {}
    }
    let (temporary, file) = Temporary::file(path)?;
    fill_and_sync(path, file, size_bytes, fill)?;
    rename(temporary.path(), path).map_err(|source| FileError::from_io("replace", path, source))?;
    temporary.forget();
    sync_dir(parent_of(path))
}

/// Fills `file`, which is, or will be, `path`, and waits until the disk has it.
fn fill_and_sync(
    path: &Path,
    file: File,
    size_bytes: Option<u64>,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), FileError> {
    let result = std::thread::scope(|scope| {
        let mut out = BufWriter::with_capacity(1 << 20, Draining::new(scope, &file));
        let result = fill(&mut out).and_then(|()| out.flush());
        // Taken apart without a second attempt to flush.
        let (draining, _) = out.into_parts();
        let drained = draining.finish();
        result.and(drained)
    });
    result
        .and_then(|()| file.sync_all())
        .map_err(|source| FileError::from_io("write", path, source).needing(size_bytes))
}

/// Makes renames inside a folder durable. Windows has no such call and needs none.
///
/// # Errors
/// When the folder cannot be opened or the disk reports an error.
pub fn sync_dir(dir: &Path) -> Result<(), FileError> {
    if cfg!(not(unix)) {
        return Ok(());
    }
    match File::open(dir).and_then(|folder| folder.sync_all()) {
        // Some network file systems cannot sync folders.
        Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => Ok(()),
        result => result.map_err(|source| FileError::from_io("sync", dir, source)),
    }
}

/// Creates a folder and its parents; an existing folder is fine.
///
/// # Errors
/// When the disk is full, access is refused, or a file stands in the way.
pub fn create_dir_all(dir: &Path) -> Result<(), FileError> {
    fs::create_dir_all(dir).map_err(|source| FileError::from_io("create", dir, source))
}

/// Removes a folder with everything in it; a missing folder is fine.
///
/// # Errors
/// When access is refused.
pub fn remove_dir_all(dir: &Path) -> Result<(), FileError> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result.map_err(|source| FileError::from_io("remove", dir, source)),
    }
}

/// Gives a file another name in the same folder; a file that has that name is replaced.
///
/// # Errors
/// When the file is missing or access is refused.
pub fn rename_file(from: &Path, to: &Path) -> Result<(), FileError> {
    rename(from, to).map_err(|source| FileError::from_io("rename", from, source))?;
    sync_dir(parent_of(to))
}

/// Removes a file; a missing one is fine.
///
/// # Errors
/// When access is refused.
pub fn remove_file(path: &Path) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result.map_err(|source| FileError::from_io("remove", path, source)),
    }
}

/// Reads a whole file of at most `limit` bytes.
///
/// # Errors
/// When it is missing, larger, not a plain file, or cannot be read.
pub fn read_limited(path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
    let (file, size) = open_file(path)?;
    if size > limit {
        return Err(FileError::TooLarge { path: path.to_path_buf(), bytes: size, limit });
    }
    let mut bytes = Vec::new();
    // One byte more, so that a file that grows meanwhile is noticed.
    file.take(limit + 1).read_to_end(&mut bytes).map_err(|source| FileError::from_io("read", path, source))?;
    if bytes.len() as u64 > limit {
        return Err(FileError::TooLarge { path: path.to_path_buf(), bytes: bytes.len() as u64, limit });
    }
    Ok(bytes)
}

/// Opens a plain file for reading and returns its size. A pipe or device is refused before it can block.
pub(crate) fn open_file(path: &Path) -> Result<(File, u64), FileError> {
    let metadata = fs::metadata(path).map_err(|source| FileError::from_io("read", path, source))?;
    if metadata.is_dir() {
        return Err(FileError::IsDirectory { path: path.to_path_buf() });
    }
    if !metadata.is_file() {
        return Err(FileError::NotAFile { path: path.to_path_buf() });
    }
    let open = || {
        let file = File::open(path)?;
        let size = file.metadata()?.len();
        Ok((file, size))
    };
    open().map_err(|source| FileError::from_io("read", path, source))
}

/// BLAKE3 of a file's content in hexadecimal.
///
/// The file is streamed, not mapped: its pages do not count as memory of this process, and a file that shrinks
/// meanwhile is an error instead of a fault.
///
/// # Errors
/// When the file is missing, is not a plain file, or cannot be read.
pub fn hash_file(path: &Path) -> Result<String, FileError> {
    let (file, _) = open_file(path)?;
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(file).map_err(|source| FileError::from_io("read", path, source))?;
    Ok(hasher.finalize().to_hex().to_string())
}

/// Whether `name` is the name of a file and nothing else on every system: no folders, no drive, no stream, not hidden in
/// a device name. Names that come from inside a file are only used after this check.
pub(crate) fn is_plain_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 255
        && name != "."
        && name != ".."
        && !name.chars().any(|c| c.is_control() || matches!(c, '/' | '\\' | ':'))
}

#[cfg(test)]
mod tests;
