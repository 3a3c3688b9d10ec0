//! Lines of a file, one at a time, and the rows of JSONL.

use std::io::{BufRead, Read};

use serde_json::Value;

use crate::error::{DataError, JsonFault};
use crate::json;
use crate::record::fault::{Cause, Extent, checked_text, held};
use crate::record::source::Source;
use crate::record::{Found, RowReader};

/// One line with its line end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RawLine {
    /// From 1.
    pub(crate) number: usize,
    pub(crate) extent: Extent,
    /// All of it; the beginning, if it is longer than lines may be.
    pub(crate) bytes: Vec<u8>,
}

/// Lines of a file. Holds one line at a time, and of a line that is too long only the beginning.
pub(crate) struct Lines {
    source: Source,
    end: u8,
    line: usize,
    offset: u64,
    longest: usize,
}

impl Lines {
    /// Lines of `source`, which end with the byte `end`; those with more than `longest` bytes are cut.
    pub(crate) fn new(source: Source, end: u8, longest: usize) -> Self {
        let offset = source.mark_bytes;
        Self { source, end, line: 0, offset, longest }
    }

    /// The next line, `None` at the end. `buffer` is used for its bytes.
    pub(crate) fn next_line(&mut self, mut buffer: Vec<u8>) -> Result<Option<RawLine>, DataError> {
        buffer.clear();
        let count = (&mut self.source.reader)
            .take(self.longest as u64 + 1)
            .read_until(self.end, &mut buffer)
            .map_err(|error| self.source.error(error))?;
        if count == 0 {
            return Ok(None);
        }
        let mut length = count as u64;
        if count > self.longest {
            let complete = buffer.last() == Some(&self.end);
            buffer = held(buffer, u64::MAX);
            if !complete {
                length += self.source.reader.skip_until(self.end).map_err(|error| self.source.error(error))? as u64;
            }
        }
        self.line += 1;
        let extent = Extent { start: self.offset, length };
        self.offset += length;
        Ok(Some(RawLine { number: self.line, extent, bytes: buffer }))
    }

    pub(crate) fn is_too_long(&self, line: &RawLine) -> bool {
        line.extent.length > self.longest as u64
    }
}

/// The rows of JSONL.
pub(crate) struct JsonLines {
    lines: Lines,
    buffer: Vec<u8>,
}

impl JsonLines {
    pub(crate) fn new(source: Source, longest: usize) -> Self {
        Self { lines: Lines::new(source, b'\n', longest), buffer: Vec::new() }
    }
}

impl RowReader for JsonLines {
    fn next_row(&mut self) -> Result<Option<Found>, DataError> {
        loop {
            let Some(line) = self.lines.next_line(std::mem::take(&mut self.buffer))? else { return Ok(None) };
            if self.lines.is_too_long(&line) {
                let cause = Cause::TooLong { line: line.number, limit: self.lines.longest };
                return Ok(Some(Found::fault(line.number, line.bytes, line.extent, cause)));
            }
            match parse_line(&line) {
                Ok(None) => self.buffer = line.bytes,
                Ok(Some(Value::Object(object))) => {
                    self.buffer = line.bytes;
                    return Ok(Some(Found::Row { line: line.number, object }));
                }
                Ok(Some(value)) => {
                    let cause = Cause::NotAnObject(value);
                    return Ok(Some(Found::fault(line.number, line.bytes, line.extent, cause)));
                }
                Err(cause) => return Ok(Some(Found::fault(line.number, line.bytes, line.extent, cause))),
            }
        }
    }

    fn why_empty(&self) -> &'static str {
        "only blank lines"
    }
}

/// The value of a line, `None` if it is blank.
fn parse_line(line: &RawLine) -> Result<Option<Value>, Cause> {
    if line.bytes.trim_ascii().is_empty() {
        return Ok(None);
    }
    let text = checked_text(&line.bytes, line.number)?;
    let value = json::parse(text).map_err(|error| {
        // The line end may be where the text ends too early; it belongs to this line.
        let text = text.trim_end();
        let fault = if error.fault == JsonFault::EndsEarly { JsonFault::RowOverLines } else { error.fault };
        let (_, column) = json::position(text, error.offset.min(text.len()));
        Cause::Json { line: line.number, column, reason: error.reason, fault }
    })?;
    Ok(Some(value))
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::record::kind::Packing;
    use crate::record::source::{Origin, Progress};

    fn lines(bytes: &[u8], longest: usize) -> Vec<(usize, u64, u64, String)> {
        let progress = Arc::new(Progress::default());
        let path = Arc::from(Path::new("x.jsonl"));
        let source =
            Source::open(path, Origin::Memory(bytes.to_vec()), Packing::None, Arc::clone(&progress)).expect("memory");
        let mut lines = Lines::new(source, b'\n', longest);
        let mut all = Vec::new();
        while let Some(line) = lines.next_line(Vec::new()).expect("memory") {
            let text = String::from_utf8_lossy(&line.bytes).into_owned();
            all.push((line.number, line.extent.start, line.extent.length, text));
        }
        assert_eq!(progress.seen(), bytes.len() as u64);
        assert_eq!(progress.hash(), blake3::hash(bytes).to_hex().to_string());
        all
    }

    #[test]
    fn lines_keep_their_places_and_the_mark_is_skipped() {
        let read = lines(b"\xEF\xBB\xBFa\r\n\nb", 10);
        assert_eq!(read, [(1, 3, 3, "a\r\n".into()), (2, 6, 1, "\n".into()), (3, 7, 1, "b".into())]);
        assert_eq!(lines(b"", 10), []);
    }

    #[test]
    fn a_long_line_is_passed_over_and_the_next_is_read() {
        let read: Vec<(usize, u64, u64)> = lines(b"aa\nbbbbb\ncc\nddddddddd", 5)
            .into_iter()
            .map(|(line, start, length, _)| (line, start, length))
            .collect();
        assert_eq!(read, [(1, 0, 3), (2, 3, 6), (3, 9, 3), (4, 12, 9)]);
    }
}
