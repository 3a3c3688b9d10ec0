//! Temporary names: made, given up, and cleared away after a kill.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::FileError;

/// Marks what is not yet complete.
const TEMPORARY: &str = ".tmp-";
/// Marks a folder whose replacement is about to take its place.
const REPLACED: &str = ".old-";

static COUNTER: AtomicU64 = AtomicU64::new(0);
/// Names (without folder) that this process is using at the moment.
static IN_USE: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

fn in_use() -> MutexGuard<'static, BTreeSet<String>> {
    IN_USE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A temporary file or folder beside its target; dropped, it disappears.
#[derive(Debug)]
pub(super) struct Temporary {
    path: PathBuf,
    name: String,
    /// Whether there is something to remove.
    exists: bool,
}

impl Temporary {
    /// A new empty file beside `target`.
    pub(super) fn file(target: &Path) -> Result<(Self, File), FileError> {
        Self::claim(target, TEMPORARY, |path| OpenOptions::new().write(true).create_new(true).open(path))
    }

    /// A new empty folder beside `target`.
    pub(super) fn dir(target: &Path) -> Result<Self, FileError> {
        Ok(Self::claim(target, TEMPORARY, |path| fs::create_dir(path))?.0)
    }

    /// Moves the folder `target` aside.
    pub(super) fn moved_aside(target: &Path) -> Result<Self, FileError> {
        let move_aside = |path: &Path| {
            // A rename would silently replace an empty folder.
            if path.exists() { Err(io::ErrorKind::AlreadyExists.into()) } else { rename(target, path) }
        };
        Ok(Self::claim(target, REPLACED, move_aside)?.0)
    }

    fn claim<T>(target: &Path, mark: &str, make: impl Fn(&Path) -> io::Result<T>) -> Result<(Self, T), FileError> {
        let Some(target_name) = target.file_name().and_then(OsStr::to_str) else {
            let source = io::Error::new(io::ErrorKind::InvalidInput, "the path has no file name in Unicode");
            return Err(FileError::from_io("write", target, source));
        };
        loop {
            let number = COUNTER.fetch_add(1, Ordering::Relaxed);
            let name = format!("{target_name}{mark}{}-{number}", std::process::id());
            let temporary = Self { path: parent_of(target).join(&name), name: name.clone(), exists: true };
            in_use().insert(name);
            match make(&temporary.path) {
                Ok(made) => return Ok((temporary, made)),
                Err(error) => {
                    temporary.forget();
                    // Left behind by a killed process that had the same id.
                    if error.kind() == io::ErrorKind::AlreadyExists {
                        continue;
                    }
                    // What is missing is the folder, not the file that was to be made.
                    let culprit = if error.kind() == io::ErrorKind::NotFound { parent_of(target) } else { target };
                    return Err(FileError::from_io("write", culprit, error));
                }
            }
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// It has been renamed, or never came to be: there is nothing to remove.
    pub(super) fn forget(mut self) {
        self.exists = false;
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if self.exists {
            // What cannot be removed now is found by `remove_stale_temporaries` later.
            let _ = remove(&self.path);
        }
        in_use().remove(&self.name);
    }
}

fn remove(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
}

/// The folder in which `path` lies.
pub(super) fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Renames, and on Windows waits a little for virus scanners and indexers that hold a fresh file open.
#[expect(clippy::disallowed_methods, reason = "this is the module that the rest has to use")]
pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    let attempts = if cfg!(windows) { 8 } else { 1 };
    for attempt in 1..attempts {
        match fs::rename(from, to) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                std::thread::sleep(std::time::Duration::from_millis(10 << attempt));
            }
            result => return result,
        }
    }
    fs::rename(from, to)
}

/// Removes from `dir` (not from its sub-folders) what killed processes left under temporary names, puts a folder back
/// whose replacement was interrupted, and returns the removed or restored temporary paths. See the [module](super) on
/// what is spared.
///
/// # Errors
/// When `dir` cannot be read or a leftover cannot be removed.
pub fn remove_stale_temporaries(dir: &Path) -> Result<Vec<PathBuf>, FileError> {
    let mut stale = Vec::new();
    for entry in fs::read_dir(dir).map_err(|source| FileError::from_io("read", dir, source))? {
        let entry = entry.map_err(|source| FileError::from_io("read", dir, source))?;
        let Some(name) = entry.file_name().to_str().map(str::to_string) else { continue };
        for mark in [TEMPORARY, REPLACED] {
            if let Some((target, pid)) = split_name(&name, mark)
                && !in_use().contains(&name)
                && !is_another_living_process(pid)
            {
                stale.push((entry.path(), dir.join(target), mark));
            }
        }
    }
    stale.sort();
    for (path, target, mark) in &stale {
        let result = if *mark == REPLACED && !target.exists() { rename(path, target) } else { remove(path) };
        result.map_err(|source| FileError::from_io("remove", path, source))?;
    }
    if !stale.is_empty() {
        super::sync_dir(dir)?;
    }
    Ok(stale.into_iter().map(|(path, ..)| path).collect())
}

/// `adapter.tmp-12-0` is `adapter` of process 12.
fn split_name<'a>(name: &'a str, mark: &str) -> Option<(&'a str, u32)> {
    let (target, rest) = name.rsplit_once(mark)?;
    let (pid, number) = rest.split_once('-')?;
    number.parse::<u64>().ok()?;
    if target.is_empty() { None } else { Some((target, pid.parse().ok()?)) }
}

/// The own id does not count: what this process writes is known by name, so the rest is of an earlier process with the
/// same id (containers hand out the same ids again and again).
fn is_another_living_process(pid: u32) -> bool {
    cfg!(target_os = "linux") && pid != std::process::id() && Path::new("/proc").join(pid.to_string()).exists()
}
