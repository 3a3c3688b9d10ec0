//! From the version before to this one.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use super::report::{FolderKind, Report};
use super::{CheckpointError, STATE_FILE, run, state, verify};
use crate::files::{self, DirWriter, FileError, open_file};
use crate::manifest::{self, FORMAT_VERSION, Kind, MadeFrom, Manifest, ManifestError};

const LOCK_FILE: &str = "run.lock";

/// What was done.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Migrated {
    /// What the folder is.
    pub kind: FolderKind,
    /// The new folder.
    pub out: PathBuf,
    /// Folders that got a manifest of this version: the folder itself, or parts of a run.
    pub migrated: usize,
    /// Parts of a run that had this version and were copied as they are.
    pub copied: usize,
    /// Files and folders that do not belong to the format and were left out.
    pub left_out: Vec<String>,
}

/// Writes `dir` anew in this version as `out`, which must not exist. The folder appears whole or not at all, `dir` is not
/// touched, and every file that the new version does not change is the same to the byte.
///
/// # Errors
/// When `dir` breaks a rule, has this version already, or is in use; when `out` exists, lies in `dir`, or cannot be
/// written.
pub fn migrate(dir: &Path, out: &Path) -> Result<Migrated, CheckpointError> {
    if out.symlink_metadata().is_ok() {
        return Err(FileError::AlreadyExists { path: out.to_path_buf() }.into());
    }
    let report = verify(dir)?;
    if let Some((place, finding)) = report.first_finding() {
        let (dir, finding, count) = (place.to_path_buf(), finding.clone(), report.count());
        return Err(CheckpointError::Refused { dir, finding, count });
    }
    refuse_inside(dir, out)?;
    let is_current = match report.kind {
        FolderKind::Run => report.parts.iter().all(has_current_version),
        FolderKind::Model => true,
        _ => has_current_version(&report),
    };
    if is_current {
        let (dir, kind) = (dir.to_path_buf(), report.kind);
        return Err(CheckpointError::Current { dir, kind, version: FORMAT_VERSION });
    }
    let mut done = Migrated { kind: report.kind, out: out.to_path_buf(), migrated: 0, copied: 0, left_out: Vec::new() };
    if report.kind == FolderKind::Run {
        migrate_run(&report, out, &mut done)?;
    } else {
        let run_dir = run::run_of(dir);
        let made_from = run_dir.and_then(|run_dir| run::made_from(&run_dir).ok().flatten()).unwrap_or_default();
        migrate_part(&report, out, made_from, &mut done)?;
    }
    Ok(done)
}

fn has_current_version(report: &Report) -> bool {
    report.format_version == Some(FORMAT_VERSION)
}

fn refuse_inside(dir: &Path, out: &Path) -> Result<(), CheckpointError> {
    let parent = match out.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let real = |path: &Path| path.canonicalize().map_err(|source| FileError::from_io("read", path, source));
    if real(parent)?.starts_with(real(dir)?) {
        return Err(CheckpointError::Inside { out: out.to_path_buf(), dir: dir.to_path_buf() });
    }
    Ok(())
}

/// A checkpoint or an adapter.
fn migrate_part(report: &Report, out: &Path, made_from: MadeFrom, done: &mut Migrated) -> Result<(), CheckpointError> {
    let (dir, is_checkpoint) = (report.dir.as_path(), report.kind == FolderKind::Checkpoint);
    let writer = DirWriter::create(out)?;
    for name in plain_files(dir, done)? {
        if name == STATE_FILE && is_checkpoint {
            writer.write(STATE_FILE, &migrated_state(dir)?)?;
        } else if name != manifest::FILE_NAME {
            copy(dir, &name, &writer)?;
        }
    }
    let kind = if is_checkpoint { Kind::Checkpoint } else { Kind::Adapter };
    let sealed = Manifest::seal(&writer, kind, made_from)?;
    if is_checkpoint {
        let before = Manifest::read(dir)?;
        // Whatever changed since it was verified must not be sealed as if it were sound.
        for (name, entry) in before.files.iter().filter(|(name, _)| *name != STATE_FILE) {
            let got = sealed.files.get(name).map_or("absent", |entry| entry.blake3.as_str());
            if got != entry.blake3 {
                return Err(ManifestError::Changed {
                    dir: dir.to_path_buf(),
                    name: name.clone(),
                    what: "blake3",
                    expected: entry.blake3.clone(),
                    got: got.to_string(),
                }
                .into());
            }
        }
    }
    writer.commit()?;
    done.migrated += 1;
    Ok(())
}

fn migrated_state(dir: &Path) -> Result<Vec<u8>, CheckpointError> {
    let path = dir.join(STATE_FILE);
    let keys = state::read_keys(dir).map_err(|reason| ManifestError::Key { path, key: "state".into(), reason })?;
    let Ok(mut text) = serde_json::to_vec_pretty(&Value::Object(state::migrate_keys(keys))) else {
        unreachable!("JSON becomes JSON")
    };
    text.push(b'\n');
    Ok(text)
}

fn migrate_run(report: &Report, out: &Path, done: &mut Migrated) -> Result<(), CheckpointError> {
    let dir = report.dir.as_path();
    let _lock = lock(dir)?;
    let made_from = run::made_from(dir).ok().flatten().unwrap_or_default();
    let writer = DirWriter::create(out)?;
    for name in plain_files(dir, done)? {
        if name != LOCK_FILE {
            copy(dir, &name, &writer)?;
        }
    }
    let (checkpoints, others) = run::checkpoints(dir)?;
    done.left_out.retain(|name| name != "checkpoints" && name != "adapter");
    done.left_out.extend(others.into_iter().map(|name| format!("checkpoints/{name}")));
    for part in &report.parts {
        let Ok(relative) = part.dir.strip_prefix(dir) else { unreachable!("parts lie in their run") };
        let target = writer.path().join(relative);
        if checkpoints.contains(&part.dir) {
            files::create_dir_all(&writer.path().join("checkpoints"))?;
        }
        if !has_current_version(part) {
            migrate_part(part, &target, made_from.clone(), done)?;
            continue;
        }
        let copied = DirWriter::create(&target)?;
        for name in plain_files(&part.dir, done)? {
            copy(&part.dir, &name, &copied)?;
        }
        copied.commit()?;
        done.copied += 1;
    }
    Ok(writer.commit()?)
}

/// Keeps a run from being trained while it is copied. `None`: it was never trained here.
fn lock(dir: &Path) -> Result<Option<File>, CheckpointError> {
    let path = dir.join(LOCK_FILE);
    let Ok(file) = File::open(&path) else { return Ok(None) };
    match file.try_lock_shared() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(CheckpointError::InUse { dir: dir.to_path_buf() }),
        Err(TryLockError::Error(source)) => Err(FileError::from_io("lock", &path, source).into()),
    }
}

/// Names of the plain files of a folder, sorted; all others are left out, and so are hidden and temporary ones.
fn plain_files(dir: &Path, done: &mut Migrated) -> Result<Vec<String>, CheckpointError> {
    let failed = |source| FileError::from_io("read", dir, source);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let Some(name) = path.file_name().map(|name| name.to_string_lossy().into_owned()) else { continue };
        let is_ours =
            path.is_file() && files::is_plain_name(&name) && !name.starts_with('.') && !name.contains(".tmp-");
        if is_ours { names.push(name) } else { done.left_out.push(name) }
    }
    names.sort();
    done.left_out.sort();
    Ok(names)
}

fn copy(dir: &Path, name: &str, writer: &DirWriter) -> Result<(), CheckpointError> {
    let (mut file, bytes) = open_file(&dir.join(name))?;
    Ok(writer.write_with(name, Some(bytes), |out| io::copy(&mut file, out).map(drop))?)
}
