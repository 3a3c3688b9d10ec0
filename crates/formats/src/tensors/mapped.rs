//! A file mapped into memory: the one place of this crate that needs `unsafe`.

use std::fmt;
use std::path::{Path, PathBuf};

use memmap2::Mmap;

use crate::files::{FileError, open_file};

/// A read-only file in memory. Pages are read from disk when they are first used and belong to the system's cache.
pub struct MappedFile {
    path: PathBuf,
    map: Mmap,
}

impl MappedFile {
    /// Maps a whole plain file.
    ///
    /// # Errors
    /// When the file is missing, is not a plain file, or cannot be mapped.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let (file, _) = open_file(path)?;
        // SAFETY: the map is private to this process's view and never written through, and it is only handed out as
        // `&[u8]`, for which any bit pattern is valid. What the system cannot exclude is that another program writes
        // into the file, or shortens it, while it is mapped. Attune itself never writes into an existing file: it
        // replaces files by rename, which leaves the mapped content alone. The user guide asks not to edit a model in
        // place while it is in use; `MappedTensor` offsets are checked against the length of this very map.
        #[expect(unsafe_code, reason = "mapping a file is the only way to use weights larger than memory")]
        let map = unsafe { Mmap::map(&file) }.map_err(|source| FileError::from_io("map", path, source))?;
        Ok(Self { path: path.to_path_buf(), map })
    }

    /// Where the file was found.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl AsRef<[u8]> for MappedFile {
    fn as_ref(&self) -> &[u8] {
        &self.map
    }
}

impl fmt::Debug for MappedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MappedFile({}, {} bytes)", self.path.display(), self.map.len())
    }
}
