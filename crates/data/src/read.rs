//! From paths to rows, strictly: for training.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use crate::detect::Scan;
use crate::error::DataError;
use crate::record::kind::checked_kind;
use crate::record::{Facts, ReadOptions, Records};
use crate::row::{DataSet, FileReport, FormatChoice, Row};

/// A row may have this many bytes. No text that a model could learn from comes near it, and a file that is one huge
/// line must not fill the memory.
pub const MAX_ROW_BYTES: usize = 64 << 20;

/// A `.json` file may have this many bytes once it is unpacked, because it is held as a whole, and so may a Parquet file
/// that is packed once more; `.jsonl`, `.csv` and plain `.parquet` files have no bound.
pub const MAX_DOCUMENT_BYTES: u64 = 2 << 30;

/// Reads all rows of all files.
///
/// Every row of a file is read before its form is settled. With [`FormatChoice::Auto`] all rows of a file must have the
/// same form; with another choice they must have that one. What [`crate::open`] reports as a [`crate::Fault`] is an
/// error here.
///
/// # Errors
/// [`DataError`]; the first file with an error stops the reading, and of its rows that do not fit the first ten are
/// listed.
pub fn read(paths: &[PathBuf], choice: FormatChoice) -> Result<DataSet, DataError> {
    read_with(paths, choice, &ReadOptions::default())
}

/// As [`read`], with options.
///
/// # Errors
/// As [`read`].
pub fn read_with(paths: &[PathBuf], choice: FormatChoice, options: &ReadOptions) -> Result<DataSet, DataError> {
    if paths.is_empty() {
        return Err(DataError::NoFiles);
    }
    let mut seen: Vec<PathBuf> = Vec::with_capacity(paths.len());
    let mut set = DataSet::default();
    for path in paths {
        let (_, _, metadata) = checked_kind(path)?;
        let same = fs::canonicalize(path).map_err(|source| DataError::Read { path: path.clone(), source })?;
        if seen.contains(&same) {
            return Err(DataError::SameFileTwice { path: path.clone() });
        }
        seen.push(same);
        if metadata.len() == 0 {
            return Err(DataError::Empty { path: path.clone(), what: "no bytes" });
        }

        let (report, rows) = read_file(path, choice, options)?;
        set.files.push(report);
        set.rows.extend(rows);
    }
    Ok(set)
}

fn read_file(path: &Path, choice: FormatChoice, options: &ReadOptions) -> Result<(FileReport, Vec<Row>), DataError> {
    let mut records = Records::open(path, options)?;
    let mut scan = Scan::new(Arc::from(path), choice);
    let mut any = false;
    while let Some(found) = records.next_found()? {
        any = true;
        match found {
            crate::record::Found::Row { line, object } => scan.row(line, Value::Object(object)),
            crate::record::Found::Fault(fault) => scan.row(fault.line, fault.cause.into_error(path)?),
        }
    }
    if !any {
        return Err(DataError::Empty { path: path.into(), what: records.why_empty() });
    }
    let (form, rows) = scan.finish()?;
    let (Facts { bytes, hash }, transcript) = (records.facts(), records.transcript());
    Ok((FileReport { path: path.into(), bytes, hash, form, rows: rows.len(), transcript }, rows))
}
