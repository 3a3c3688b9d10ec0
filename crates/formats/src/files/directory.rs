//! A folder that appears complete or not at all.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::temporary::{Temporary, parent_of, rename};
use super::{FileError, fill_and_sync, is_plain_name, sync_dir};

/// A folder that is filled under a temporary name beside its target and then renamed into place. Dropped without
/// [`DirWriter::commit`] or [`DirWriter::replace`], it is removed.
#[derive(Debug)]
pub struct DirWriter {
    temporary: Temporary,
    target: PathBuf,
}

impl DirWriter {
    /// Starts a folder that is to become `target`, whose parent must exist.
    ///
    /// # Errors
    /// When the parent is missing, the disk is full, or access is refused.
    pub fn create(target: &Path) -> Result<Self, FileError> {
        Ok(Self { temporary: Temporary::dir(target)?, target: target.to_path_buf() })
    }

    /// Where the files are until the folder is committed.
    pub fn path(&self) -> &Path {
        self.temporary.path()
    }

    /// What the folder will be called.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// The same folder, to become `target` instead, which must have the same parent.
    ///
    /// # Panics
    /// If it has another one.
    #[must_use]
    pub fn renamed(mut self, target: &Path) -> Self {
        assert_eq!(parent_of(target), parent_of(&self.target), "a folder stays beside its first name");
        self.target = target.to_path_buf();
        self
    }

    /// Writes and syncs one file of the folder.
    ///
    /// # Errors
    /// When the disk is full, access is refused, or the file exists already.
    ///
    /// # Panics
    /// If `name` is not a plain file name.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), FileError> {
        self.write_with(name, Some(bytes.len() as u64), |out| out.write_all(bytes))
    }

    /// Like [`DirWriter::write`], for content that is produced piece by piece. `size_bytes` is only named in a message.
    ///
    /// # Errors
    /// As [`DirWriter::write`], and whatever `fill` returns. Messages name the final path.
    ///
    /// # Panics
    /// If `name` is not a plain file name.
    pub fn write_with(
        &self,
        name: &str,
        size_bytes: Option<u64>,
        fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), FileError> {
        assert!(is_plain_name(name), "{name:?} is not a plain file name");
        let shown = self.target.join(name);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(self.path().join(name))
            .map_err(|source| FileError::from_io("write", &shown, source).needing(size_bytes))?;
        fill_and_sync(&shown, file, size_bytes, fill)
    }

    /// Gives the folder its name.
    ///
    /// # Errors
    /// [`FileError::AlreadyExists`] when something with that name exists; the filled folder is removed then.
    pub fn commit(self) -> Result<(), FileError> {
        sync_dir(self.path())?;
        // A rename would silently replace an empty folder on Unix.
        if self.target.symlink_metadata().is_ok() {
            return Err(FileError::AlreadyExists { path: self.target });
        }
        self.rename_into_place()
    }

    /// Gives the folder its name and removes the folder that had it before, if any. Killed between its two renames, it
    /// leaves no folder of that name; [`super::remove_stale_temporaries`] puts the old one back.
    ///
    /// # Errors
    /// When a rename fails (the old folder is put back then), or the old folder cannot be removed.
    pub fn replace(self) -> Result<(), FileError> {
        sync_dir(self.path())?;
        if self.target.symlink_metadata().is_err() {
            return self.rename_into_place();
        }
        let target = self.target.clone();
        let old = Temporary::moved_aside(&target)?;
        if let Err(error) = self.rename_into_place() {
            let put_back = rename(old.path(), &target);
            let path = old.path().to_path_buf();
            // Even where it could not be put back, the old folder is not ours to remove.
            old.forget();
            return match put_back {
                Ok(()) => Err(error),
                Err(source) => Err(FileError::from_io("put back", &path, source)),
            };
        }
        drop(old);
        sync_dir(parent_of(&target))
    }

    fn rename_into_place(self) -> Result<(), FileError> {
        let Self { temporary, target } = self;
        rename(temporary.path(), &target).map_err(|source| FileError::from_io("rename", &target, source))?;
        temporary.forget();
        sync_dir(parent_of(&target))
    }
}
