//! Evaluation sets, and the files they come in.

use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::columns::row_of;
use super::compressed::open;
use super::error::Error;

/// The most that a file may unpack to.
const MOST_BYTES: u64 = 1 << 30;
/// How deep the list of rows may lie in an object.
const LIST_KEYS: [&str; 7] = ["data", "rows", "examples", "questions", "items", "test", "instances"];

/// One row of an evaluation set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EvalRow {
    /// What a report calls it.
    pub id: String,
    /// The question, or the problem, or the prompt.
    pub question: String,
    /// The answer; of multiple choice, its text.
    pub answer: Option<String>,
    /// What the question is about.
    pub passage: Option<String>,
}

/// An evaluation set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EvalSet {
    /// What a report calls it.
    pub name: String,
    /// Its rows.
    pub rows: Vec<EvalRow>,
}

/// Reads an evaluation set: JSONL or JSON, packed (gzip, Zstandard, bzip2, xz) or not. The set is called like the file.
///
/// Known columns are `question`, `answer` and `passage`, and those that the usual sets have: `prompt`/`completion`, `problem`/`solution`,
/// `input`/`target`, `instruction`/`output`, `context`, `answers.text`, `choices` with an index or a letter, `A` to `F`, `ctx` with `endings`, `messages`.
///
/// # Errors
/// [`Error::Read`], [`Error::Unpacked`], [`Error::Syntax`] with the line, [`Error::Row`] with the number of the row, [`Error::Empty`].
pub fn load_eval_file(path: &Path) -> Result<EvalSet, Error> {
    load_eval_files(&set_name(path), std::slice::from_ref(&path.to_path_buf()))
}

/// As [`load_eval_file`], of a set that is kept in several files.
///
/// # Errors
/// As [`load_eval_file`].
pub fn load_eval_files(name: &str, paths: &[PathBuf]) -> Result<EvalSet, Error> {
    let mut set = EvalSet { name: name.to_owned(), rows: Vec::new() };
    for path in paths {
        let text = read_text(path)?;
        let before = set.rows.len();
        for value in serde_json::Deserializer::from_str(text.trim_start_matches('\u{feff}')).into_iter::<Value>() {
            let value = value.map_err(|error| Error::Syntax {
                path: path.clone(),
                line: error.line().max(1),
                reason: error.to_string(),
            })?;
            take(value, path, before, &mut set.rows)?;
        }
        if set.rows.len() == before {
            return Err(Error::Empty { path: path.clone() });
        }
    }
    Ok(set)
}

/// Takes the rows of a value: an object is one, unless it holds the list of them.
fn take(value: Value, path: &Path, before: usize, rows: &mut Vec<EvalRow>) -> Result<(), Error> {
    let values = match value {
        Value::Array(values) => values,
        Value::Object(mut object) => {
            let list = LIST_KEYS.into_iter().find(|key| {
                object.get(*key).and_then(Value::as_array).and_then(|list| list.first()).is_some_and(Value::is_object)
            });
            match list.and_then(|key| object.remove(key)) {
                Some(Value::Array(values)) => values,
                _ => vec![Value::Object(object)],
            }
        }
        other => vec![other],
    };
    for value in values {
        let number = rows.len() - before + 1;
        let failed = |reason| Error::Row { path: path.to_path_buf(), row: number, reason };
        let Value::Object(object) = value else { return Err(failed("a row must be an object".into())) };
        rows.push(row_of(&object, number).map_err(failed)?);
    }
    Ok(())
}

fn read_text(path: &Path) -> Result<String, Error> {
    let mut bytes = Vec::new();
    open(path)?
        .take(MOST_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|source| Error::Read { path: path.to_path_buf(), source })?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(Error::Unpacked { path: path.to_path_buf(), limit_bytes: MOST_BYTES });
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = good.iter().filter(|&&byte| byte == b'\n').count() + 1;
        Error::Syntax { path: path.to_path_buf(), line, reason: "not UTF-8".into() }
    })
}

/// The name of a file without its endings.
pub(crate) fn set_name(path: &Path) -> String {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    strip_endings(&name).unwrap_or(&name).to_owned()
}

/// The name without the endings, if they are those of an evaluation file.
pub(crate) fn strip_endings(name: &str) -> Option<&str> {
    let strip = |name: &'_ str, endings: &[&str]| -> Option<usize> {
        endings.iter().find_map(|ending| {
            let rest = name.len().checked_sub(ending.len())?;
            (rest > 0 && name.is_char_boundary(rest) && name[rest..].eq_ignore_ascii_case(ending)).then_some(rest)
        })
    };
    let unpacked = strip(name, &[".gz", ".zst", ".bz2", ".xz"]).map_or(name, |length| &name[..length]);
    strip(unpacked, &[".jsonl", ".json", ".ndjson"]).map(|length| &unpacked[..length])
}
