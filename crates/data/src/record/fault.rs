//! Why a row cannot even be looked at.

use std::path::Path;

use serde_json::Value;

use crate::error::{DataError, JsonFault};
use crate::problem::{RowProblem, type_name};
use crate::read::MAX_ROW_BYTES;

/// Of a fault's bytes so many are held; the extent says where the rest is.
const HELD_BYTES: usize = 1 << 20;

/// Where a row stands in the text of its file, in bytes.
///
/// In a file that is not packed and is UTF-8, these are bytes of the file itself; otherwise of its text, unpacked and
/// turned into UTF-8. A row of a Parquet file has no place of its own: its extent is that of the row as JSON, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// The first byte, from 0.
    pub start: u64,
    /// Number of bytes.
    pub length: u64,
}

/// Why a row cannot be looked at, with the place.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Cause {
    Json { line: usize, column: usize, reason: String, fault: JsonFault },
    Utf8 { line: usize, column: usize, byte: u8 },
    Nul { line: usize, column: usize },
    TooLong { line: usize, limit: usize },
    NotAnObject(Value),
    Other { line: usize, reason: String },
}

impl Cause {
    pub(crate) fn problem(&self) -> RowProblem {
        let reason = match self {
            Self::NotAnObject(value) => {
                return RowProblem::WrongType { path: String::new(), expected: "an object", got: type_name(value) };
            }
            Self::Json { line, column, reason, .. } => format!("bad JSON on line {line}, character {column}: {reason}"),
            Self::Utf8 { line, column, byte } => {
                format!("byte {column} of line {line} (0x{byte:02X}) is not UTF-8")
            }
            Self::Nul { line, column } => format!("byte {column} of line {line} is NUL, which no text has"),
            Self::TooLong { limit, .. } => format!("it has more than {limit} bytes"),
            Self::Other { reason, .. } => reason.clone(),
        };
        RowProblem::Unreadable { reason }
    }

    /// The error that stops the strict reading; a row that is no object is left to the search for the form.
    pub(crate) fn into_error(self, path: &Path) -> Result<Value, DataError> {
        let path = path.to_path_buf();
        Err(match self {
            Self::NotAnObject(value) => return Ok(value),
            Self::Json { line, column, reason, fault } => DataError::Json { path, line, column, reason, fault },
            Self::Utf8 { line, column, byte } => DataError::Utf8 { path, line, column, byte },
            Self::Nul { line, column } => DataError::Nul { path, line, column },
            Self::TooLong { line, limit } => DataError::RowTooLong { path, line, limit },
            Self::Other { line, reason } => DataError::Row { path, line, reason },
        })
    }
}

/// `bytes` as text. They start at the beginning of line `first_line`.
pub(crate) fn checked_text(bytes: &[u8], first_line: usize) -> Result<&str, Cause> {
    // Line, and column in bytes: of a text that is none, characters cannot be counted.
    let place = |at: usize| {
        let before = &bytes[..at];
        let line_start = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |newline| newline + 1);
        (first_line + before.iter().filter(|&&byte| byte == b'\n').count(), at - line_start + 1)
    };
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let at = error.valid_up_to();
        let (line, column) = place(at);
        Cause::Utf8 { line, column, byte: bytes[at] }
    })?;
    if text.contains('\0') {
        let (line, column) = place(bytes.iter().position(|&byte| byte == 0).unwrap_or_default());
        return Err(Cause::Nul { line, column });
    }
    Ok(text)
}

/// The bytes of a fault that are held.
pub(crate) fn held(mut bytes: Vec<u8>, length: u64) -> Vec<u8> {
    if length > MAX_ROW_BYTES as u64 {
        bytes.truncate(HELD_BYTES);
        bytes.shrink_to_fit();
    }
    bytes
}

/// As [`held`], of bytes that belong to a larger text.
pub(crate) fn held_slice(bytes: &[u8]) -> Vec<u8> {
    if bytes.len() > MAX_ROW_BYTES { bytes[..HELD_BYTES].to_vec() } else { bytes.to_vec() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_bytes_are_named_with_their_place() {
        assert_eq!(checked_text(b"ok\n", 7), Ok("ok\n"));
        let bad = checked_text(b"ok\n\"\xC3\xA4\xFF\"\n", 3);
        assert_eq!(bad, Err(Cause::Utf8 { line: 4, column: 4, byte: 0xFF }));
        assert_eq!(checked_text(b"ab\0\n", 2), Err(Cause::Nul { line: 2, column: 3 }));
        assert_eq!(checked_text(b"ab\xC3", 1), Err(Cause::Utf8 { line: 1, column: 3, byte: 0xC3 }));
    }
}
