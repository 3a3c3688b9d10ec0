//! Byte strings in a temporary file, with random access by number.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// How many bytes are gathered before they go to the file.
const BUFFER_BYTES: usize = 1 << 20;

/// A temporary file that is being filled. It has no name on systems that allow this, so nothing is left of it whatever
/// happens to the process.
pub(crate) struct SpoolWriter {
    out: BufWriter<File>,
    ends: Vec<u64>,
}

/// A filled one: 8 bytes of memory per entry, everything else on disk.
pub(crate) struct Spool {
    file: File,
    ends: Vec<u64>,
}

impl SpoolWriter {
    /// A new one in `folder`.
    pub(crate) fn create(folder: &Path) -> io::Result<Self> {
        let file = tempfile::tempfile_in(folder)?;
        Ok(Self { out: BufWriter::with_capacity(BUFFER_BYTES, file), ends: Vec::new() })
    }

    /// Appends an entry made of `parts`.
    pub(crate) fn push(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        let mut end = self.ends.last().copied().unwrap_or(0);
        for part in parts {
            self.out.write_all(part)?;
            end += part.len() as u64;
        }
        self.ends.push(end);
        Ok(())
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn finish(self) -> io::Result<Spool> {
        let file = self.out.into_inner().map_err(io::IntoInnerError::into_error)?;
        Ok(Spool { file, ends: self.ends })
    }
}

impl Spool {
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Size of all entries.
    pub(crate) fn bytes(&self) -> u64 {
        self.ends.last().copied().unwrap_or(0)
    }

    fn start(&self, index: usize) -> u64 {
        if index == 0 { 0 } else { self.ends[index - 1] }
    }

    /// Size of an entry.
    pub(crate) fn entry_bytes(&self, index: usize) -> u64 {
        self.ends[index] - self.start(index)
    }

    /// Reads one entry.
    pub(crate) fn read(&self, index: usize, into: &mut Vec<u8>) -> io::Result<()> {
        self.read_range(index, index + 1, into)
    }

    /// Reads the entries `first..end` as one stretch of bytes.
    pub(crate) fn read_range(&self, first: usize, end: usize, into: &mut Vec<u8>) -> io::Result<()> {
        into.clear();
        if first >= end {
            return Ok(());
        }
        let start = self.start(first);
        into.resize((self.ends[end - 1] - start) as usize, 0);
        read_exact_at(&self.file, into, start)
    }

    /// Where entry `index` lies in what [`Self::read_range`] read from `first` on.
    pub(crate) fn within(&self, first: usize, index: usize) -> std::ops::Range<usize> {
        let start = self.start(first);
        (self.start(index) - start) as usize..(self.ends[index] - start) as usize
    }

    /// The end of the longest stretch of entries from `first` on that has at most `bytes` bytes and `entries` entries,
    /// but at least one.
    pub(crate) fn stretch(&self, first: usize, bytes: u64, entries: usize) -> usize {
        let start = self.start(first);
        let mut end = first + 1;
        while end < self.ends.len() && end - first < entries && self.ends[end] - start <= bytes {
            end += 1;
        }
        end
    }
}

#[cfg(unix)]
fn read_exact_at(file: &File, into: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, into, offset)
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut into: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !into.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, into, offset)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => {
                into = &mut into[read..];
                offset += read as u64;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_back_by_number_and_in_stretches() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut writer = SpoolWriter::create(folder.path()).expect("a spool");
        for entry in [&b"one"[..], b"", b"three", b"4"] {
            writer.push(&[&entry[..entry.len() / 2], &entry[entry.len() / 2..]]).expect("written");
        }
        let spool = writer.finish().expect("a spool");
        assert_eq!((spool.len(), spool.bytes()), (4, 9));
        let mut bytes = Vec::new();
        for (index, expected) in [&b"one"[..], b"", b"three", b"4"].iter().enumerate() {
            spool.read(index, &mut bytes).expect("read");
            assert_eq!(&bytes, expected);
        }
        assert_eq!(spool.stretch(0, 8, 10), 3);
        assert_eq!(spool.stretch(0, 8, 2), 2);
        assert_eq!(spool.stretch(2, 1, 9), 3, "an entry larger than the bound comes alone");
        spool.read_range(1, 3, &mut bytes).expect("read");
        assert_eq!((&bytes[spool.within(1, 1)], &bytes[spool.within(1, 2)]), (&b""[..], &b"three"[..]));
    }
}
