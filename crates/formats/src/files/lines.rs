//! Logs of one JSON value per line: whole lines only, also after a kill.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::FileError;

/// A file to which whole lines are appended. One writer at a time.
#[derive(Debug)]
pub struct LineLog {
    path: PathBuf,
    file: File,
    /// End of the last whole line.
    length: u64,
}

impl LineLog {
    /// Opens or creates a log. A last line without its end was torn by a kill and is cut off.
    ///
    /// # Errors
    /// When the file cannot be opened for writing.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let open = || {
            let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
            let length = whole_lines_length(&mut file)?;
            if length < file.metadata()?.len() {
                file.set_len(length)?;
            }
            file.seek(SeekFrom::Start(length))?;
            Ok((file, length))
        };
        let (file, length) = open().map_err(|source| FileError::from_io("open", path, source))?;
        Ok(Self { path: path.to_path_buf(), file, length })
    }

    /// Appends one line; its end is added.
    ///
    /// # Errors
    /// When the disk is full or reports an error. What was written of the line is cut off again, so that the log keeps
    /// whole lines and later calls can succeed.
    ///
    /// # Panics
    /// If the line itself has a line break.
    pub fn append(&mut self, line: &str) -> Result<(), FileError> {
        assert!(!line.contains('\n'), "a line of a log has a line break: {line:?}");
        let mut bytes = Vec::with_capacity(line.len() + 1);
        bytes.extend_from_slice(line.as_bytes());
        bytes.push(b'\n');
        if let Err(source) = self.file.write_all(&bytes) {
            // Where even this fails, the torn line goes when the log is opened again.
            let _ = self.file.set_len(self.length).and_then(|()| self.file.seek(SeekFrom::Start(self.length)));
            return Err(FileError::from_io("write", &self.path, source).needing(Some(bytes.len() as u64)));
        }
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Waits until the disk has every line.
    ///
    /// # Errors
    /// When the disk is full or reports an error.
    pub fn sync(&self) -> Result<(), FileError> {
        self.file.sync_data().map_err(|source| FileError::from_io("sync", &self.path, source))
    }
}

/// Length up to and including the last line break, found from the end.
fn whole_lines_length(file: &mut File) -> io::Result<u64> {
    let mut end = file.metadata()?.len();
    let mut block = [0; 8192];
    while end > 0 {
        let begin = end.saturating_sub(block.len() as u64);
        let block = &mut block[..(end - begin) as usize];
        file.seek(SeekFrom::Start(begin))?;
        file.read_exact(block)?;
        if let Some(position) = block.iter().rposition(|&byte| byte == b'\n') {
            return Ok(begin + position as u64 + 1);
        }
        end = begin;
    }
    Ok(0)
}

/// Cuts a log off before the first line that `keep` does not want, so that a resumed run goes on where its checkpoint
/// is; returns how many lines are left. A torn or non-Unicode line is not wanted either. A missing file has no lines.
///
/// The file only gets shorter, in one step, so a kill leaves it as it was or as it should be, and a full disk does no
/// harm. No [`LineLog`] may be open on it.
///
/// # Errors
/// When the file cannot be read or written.
pub fn keep_lines_while(path: &Path, mut keep: impl FnMut(&str) -> bool) -> Result<usize, FileError> {
    let mut cut = || -> io::Result<usize> {
        let mut reader = BufReader::new(OpenOptions::new().read(true).write(true).open(path)?);
        let (mut kept, mut length, mut line) = (0, 0, Vec::new());
        loop {
            line.clear();
            reader.read_until(b'\n', &mut line)?;
            let wanted = match line.strip_suffix(b"\n").map(std::str::from_utf8) {
                Some(Ok(text)) => keep(text),
                _ => false,
            };
            if !wanted {
                break;
            }
            kept += 1;
            length += line.len() as u64;
        }
        let file = reader.into_inner();
        file.set_len(length)?;
        file.sync_all()?;
        Ok(kept)
    };
    match cut() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        result => result.map_err(|source| FileError::from_io("cut", path, source)),
    }
}
