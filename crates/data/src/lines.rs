//! Lines of a JSONL file, one at a time, hashed on the way.

use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use crate::error::DataError;

/// Size and hash of a file that was read to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileFacts {
    pub(crate) bytes: u64,
    pub(crate) hash: String,
}

/// Reads through, counting and hashing.
pub(crate) struct HashingReader<R> {
    inner: R,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl<R: Read> HashingReader<R> {
    pub(crate) fn new(inner: R) -> Self {
        Self { inner, hasher: blake3::Hasher::new(), bytes: 0 }
    }

    pub(crate) fn facts(&self) -> FileFacts {
        FileFacts { bytes: self.bytes, hash: self.hasher.finalize().to_hex().to_string() }
    }
}

impl<R: Read> Read for HashingReader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(out)?;
        self.hasher.update(&out[..count]);
        self.bytes += count as u64;
        Ok(count)
    }
}

/// One line.
pub(crate) struct Line<'a> {
    /// From 1.
    pub(crate) number: usize,
    /// Without the byte order mark of the first line, with its line end.
    pub(crate) text: &'a str,
}

/// Lines of a file. Holds one line at a time.
pub(crate) struct Lines<'p, R> {
    path: &'p Path,
    reader: BufReader<HashingReader<R>>,
    line: usize,
    longest: usize,
    buffer: Vec<u8>,
}

impl<'p, R: Read> Lines<'p, R> {
    /// Lines of `reader`, which is the file `path`; none may have more than `longest` bytes.
    pub(crate) fn new(path: &'p Path, reader: R, longest: usize) -> Self {
        let reader = BufReader::with_capacity(1 << 18, HashingReader::new(reader));
        Self { path, reader, line: 0, longest, buffer: Vec::new() }
    }

    /// The next line, `None` at the end.
    pub(crate) fn next_line(&mut self) -> Result<Option<Line<'_>>, DataError> {
        self.buffer.clear();
        self.line += 1;
        let count = (&mut self.reader)
            .take(self.longest as u64 + 1)
            .read_until(b'\n', &mut self.buffer)
            .map_err(|source| DataError::Read { path: self.path.into(), source })?;
        if count == 0 {
            return Ok(None);
        }
        if count > self.longest {
            return Err(DataError::RowTooLong { path: self.path.into(), line: self.line, limit: self.longest });
        }
        let text = checked_text(self.path, &self.buffer, self.line)?;
        Ok(Some(Line { number: self.line, text }))
    }

    /// Size and hash; of the whole file once [`Lines::next_line`] gave `None`.
    pub(crate) fn facts(&self) -> FileFacts {
        self.reader.get_ref().facts()
    }
}

/// `bytes` as text. They start at the beginning of line `first_line` of the file; a byte order mark at the head of the
/// file is left out.
pub(crate) fn checked_text<'a>(path: &Path, bytes: &'a [u8], first_line: usize) -> Result<&'a str, DataError> {
    let head = first_line == 1;
    if head && (bytes.starts_with(b"\xFF\xFE") || bytes.starts_with(b"\xFE\xFF")) {
        return Err(DataError::Utf16 { path: path.into() });
    }
    // Line, and column in bytes: of a text that is none, characters cannot be counted.
    let place = |at: usize| {
        let before = &bytes[..at];
        let line_start = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |newline| newline + 1);
        (first_line + before.iter().filter(|&&byte| byte == b'\n').count(), at - line_start + 1)
    };
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let at = error.valid_up_to();
        let (line, column) = place(at);
        DataError::Utf8 { path: path.into(), line, column, byte: bytes[at] }
    })?;
    if let Some(at) = bytes.iter().position(|&byte| byte == 0) {
        let (line, column) = place(at);
        return Err(DataError::Nul { path: path.into(), line, column });
    }
    Ok(if head { text.strip_prefix('\u{feff}').unwrap_or(text) } else { text })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(bytes: &[u8], longest: usize) -> Result<Vec<(usize, String)>, DataError> {
        let mut lines = Lines::new(Path::new("x.jsonl"), bytes, longest);
        let mut all = Vec::new();
        while let Some(line) = lines.next_line()? {
            all.push((line.number, line.text.to_owned()));
        }
        assert_eq!(lines.facts().bytes, bytes.len() as u64);
        assert_eq!(lines.facts().hash, blake3::hash(bytes).to_hex().to_string());
        Ok(all)
    }

    #[test]
    fn lines_keep_their_numbers_and_the_mark_is_skipped() {
        let read = lines(b"\xEF\xBB\xBFa\r\n\nb", 10).expect("good text");
        assert_eq!(read, [(1, "a\r\n".to_owned()), (2, "\n".to_owned()), (3, "b".to_owned())]);
        assert_eq!(lines(b"", 10).expect("no text"), []);
    }

    #[test]
    fn a_line_is_bounded_before_it_is_held() {
        assert!(lines(b"aa\nbbbb\n", 5).is_ok());
        let error = lines(b"aa\nbbbbb\n", 5).expect_err("six bytes with the line end");
        assert!(matches!(error, DataError::RowTooLong { line: 2, limit: 5, .. }), "{error}");
        // An endless line must end in an error, not in all of the memory.
        let mut endless = Lines::new(Path::new("x.jsonl"), io::repeat(b'a'), 1000);
        assert!(matches!(endless.next_line(), Err(DataError::RowTooLong { line: 1, .. })));
    }

    #[test]
    fn bad_bytes_are_named_with_their_place() {
        let error = lines(b"ok\n\"\xC3\xA4\xFF\"\n", 100).expect_err("0xFF is never UTF-8");
        assert!(matches!(error, DataError::Utf8 { line: 2, column: 4, byte: 0xFF, .. }), "{error:?}");
        let error = lines(b"ok\nab\0\n", 100).expect_err("a NUL byte");
        assert!(matches!(error, DataError::Nul { line: 2, column: 3, .. }), "{error:?}");
        let error = lines(b"\xFF\xFE{\0}\0", 100).expect_err("UTF-16");
        assert!(matches!(error, DataError::Utf16 { .. }), "{error:?}");
    }
}
