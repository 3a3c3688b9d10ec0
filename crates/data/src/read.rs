//! From paths to rows.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::detect::Scan;
use crate::document;
use crate::error::{DataError, JsonFault};
use crate::json;
use crate::lines::{FileFacts, HashingReader, Lines, checked_text};
use crate::row::{DataSet, FileReport, Form, FormatChoice, Row};

/// A row may have this many bytes. No text that a model could learn from comes near it, and a file that is one huge
/// line must not fill the memory.
pub const MAX_ROW_BYTES: usize = 64 << 20;

/// A `.json` file may have this many bytes, because it is held as a whole; `.jsonl` files have no bound.
pub const MAX_DOCUMENT_BYTES: u64 = 2 << 30;

/// Reads all rows of all files.
///
/// Every row of a file is read before its form is settled. With [`FormatChoice::Auto`] all rows of a file must have the
/// same form; with another choice they must have that one.
///
/// # Errors
/// [`DataError`]; the first file with an error stops the reading, and of its rows that do not fit the first ten are
/// listed.
pub fn read(paths: &[PathBuf], choice: FormatChoice) -> Result<DataSet, DataError> {
    if paths.is_empty() {
        return Err(DataError::NoFiles);
    }
    let mut seen: Vec<PathBuf> = Vec::with_capacity(paths.len());
    let mut set = DataSet::default();
    for path in paths {
        let kind = file_kind(path)?;
        let same = fs::canonicalize(path).map_err(|source| DataError::Read { path: path.clone(), source })?;
        if seen.contains(&same) {
            return Err(DataError::SameFileTwice { path: path.clone() });
        }
        seen.push(same);

        let (facts, form, rows) = read_file(path, kind, choice)?;
        set.files.push(FileReport { path: path.clone(), bytes: facts.bytes, hash: facts.hash, form, rows: rows.len() });
        set.rows.extend(rows);
    }
    Ok(set)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FileKind {
    Lines,
    Document,
}

/// Whether `path` is a file that can be read, told by what it is and by its name.
fn file_kind(path: &Path) -> Result<FileKind, DataError> {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(DataError::NotFound { path: path.into() });
        }
        Err(source) => return Err(DataError::Read { path: path.into(), source }),
    };
    if metadata.is_dir() {
        return Err(DataError::Directory { path: path.into(), inside: data_files_in(path) });
    }
    if !metadata.is_file() {
        return Err(DataError::NotAFile { path: path.into() });
    }
    let extension = path.extension().and_then(OsStr::to_str).unwrap_or_default().to_ascii_lowercase();
    let kind = match extension.as_str() {
        "jsonl" | "ndjson" => FileKind::Lines,
        "json" => FileKind::Document,
        _ => return Err(DataError::Extension { path: path.into(), extension }),
    };
    if metadata.len() == 0 {
        return Err(DataError::Empty { path: path.into(), what: "no bytes" });
    }
    if kind == FileKind::Document && metadata.len() > MAX_DOCUMENT_BYTES {
        return Err(DataError::DocumentTooLarge {
            path: path.into(),
            bytes: metadata.len(),
            limit: MAX_DOCUMENT_BYTES,
        });
    }
    Ok(kind)
}

/// Names of the files in a folder that could have been meant, a few of them.
fn data_files_in(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> = entries
        .filter_map(|entry| Some(PathBuf::from(entry.ok()?.file_name())))
        .filter(|name| matches!(name.extension().and_then(OsStr::to_str), Some("jsonl" | "ndjson" | "json")))
        .map(|name| name.display().to_string())
        .collect();
    names.sort();
    names.truncate(5);
    names
}

fn read_file(path: &Path, kind: FileKind, choice: FormatChoice) -> Result<(FileFacts, Form, Vec<Row>), DataError> {
    let file = File::open(path).map_err(|source| DataError::Read { path: path.into(), source })?;
    let mut scan = Scan::new(Arc::from(path), choice);
    let facts = match kind {
        FileKind::Lines => read_lines(path, file, &mut scan)?,
        FileKind::Document => read_document(path, file, &mut scan)?,
    };
    let (form, rows) = scan.finish()?;
    Ok((facts, form, rows))
}

fn read_lines(path: &Path, file: File, scan: &mut Scan) -> Result<FileFacts, DataError> {
    let mut lines = Lines::new(path, file, MAX_ROW_BYTES);
    let mut any = false;
    while let Some(line) = lines.next_line()? {
        if line.text.trim_ascii().is_empty() {
            continue;
        }
        any = true;
        let value = json::parse(line.text).map_err(|error| DataError::Json {
            path: path.into(),
            line: line.number,
            // The line end may be where the text ends too early; it belongs to this line.
            column: json::position(line.text.trim_end(), error.offset.min(line.text.trim_end().len())).1,
            reason: error.reason,
            fault: if error.fault == JsonFault::EndsEarly { JsonFault::RowOverLines } else { error.fault },
        })?;
        scan.row(line.number, value);
    }
    if !any {
        return Err(DataError::Empty { path: path.into(), what: "only blank lines" });
    }
    Ok(lines.facts())
}

fn read_document(path: &Path, file: File, scan: &mut Scan) -> Result<FileFacts, DataError> {
    let mut reader = HashingReader::new(file);
    let mut bytes = Vec::new();
    (&mut reader)
        .take(MAX_DOCUMENT_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|source| DataError::Read { path: path.into(), source })?;
    let facts = reader.facts();
    if facts.bytes > MAX_DOCUMENT_BYTES {
        // The file grew since it was looked at.
        return Err(DataError::DocumentTooLarge { path: path.into(), bytes: facts.bytes, limit: MAX_DOCUMENT_BYTES });
    }
    let text = checked_text(path, &bytes, 1)?;
    document::read_rows(path, text, MAX_ROW_BYTES, &mut |line, value| scan.row(line, value))?;
    Ok(facts)
}
