//! Rows of a `.json` file: a list, or an object with one list in it.

use std::path::Path;

use serde_json::Value;

use crate::detect::has_known_keys;
use crate::error::{DataError, JsonFault};
use crate::json::{self, JsonError};
use crate::problem::quoted;

/// Hands every row of `text` to `row`, with the line on which it starts. `text` is the whole file `path`.
pub(crate) fn read_rows(
    path: &Path,
    text: &str,
    longest: usize,
    row: &mut dyn FnMut(usize, Value),
) -> Result<(), DataError> {
    let fail = |error: JsonError, start: usize| json_error(path, text, error, start);
    let start = text.len() - text.trim_ascii_start().len();
    let list = match text.as_bytes().get(start) {
        None => return Err(DataError::Empty { path: path.into(), what: "only blank space" }),
        Some(b'[') => &text[start..],
        Some(b'{') => rows_of_object(path, text, start)?,
        // Anything else is no file of rows; if it is not even JSON, the place of the fault says more.
        Some(_) => {
            let value = json::parse(text).map_err(|error| fail(error, 0))?;
            return Err(shape(path, format!("the file holds {}", crate::problem::type_name(&value))));
        }
    };
    let list_start = offset_in(text, list);
    let members = json::list_members(list).map_err(|error| fail(error, list_start))?;
    if members.is_empty() {
        return Err(DataError::Empty { path: path.into(), what: "an empty list" });
    }
    // Newlines are counted once along the file, not from its head for every row.
    let (mut line, mut counted) = (1, 0);
    for member in members {
        let member_start = offset_in(text, member);
        line += text.as_bytes()[counted..member_start].iter().filter(|&&byte| byte == b'\n').count();
        counted = member_start;
        if member.len() > longest {
            return Err(DataError::RowTooLong { path: path.into(), line, limit: longest });
        }
        row(line, json::parse(member).map_err(|error| fail(error, member_start))?);
    }
    Ok(())
}

/// The text of the one list among the members of the object at the head of the file.
fn rows_of_object<'a>(path: &Path, text: &'a str, start: usize) -> Result<&'a str, DataError> {
    let members = json::object_members(&text[start..]).map_err(|error| json_error(path, text, error, start))?;
    if has_known_keys(members.iter().map(|(key, _)| key.as_str())) {
        return Err(shape(path, "the file holds a single row, not a list of rows".into()));
    }
    let lists: Vec<&(String, &str)> = members.iter().filter(|(_, value)| value.starts_with('[')).collect();
    match lists[..] {
        [(_, list)] => Ok(list),
        [] => Err(shape(path, "the file holds an object without a list of rows".into())),
        _ => {
            let keys: Vec<String> = lists.iter().take(8).map(|(key, _)| quoted(key)).collect();
            Err(shape(path, format!("the file holds an object with several lists: {}", keys.join(", "))))
        }
    }
}

fn shape(path: &Path, reason: String) -> DataError {
    DataError::Shape { path: path.into(), reason }
}

/// Where `part`, a piece of `text`, starts.
fn offset_in(text: &str, part: &str) -> usize {
    let offset = (part.as_ptr() as usize).wrapping_sub(text.as_ptr() as usize);
    assert!(offset + part.len() <= text.len(), "a part at {offset} is not in a text of {} bytes", text.len());
    offset
}

/// An error of a piece of `text` that starts at `start`.
fn json_error(path: &Path, text: &str, error: JsonError, start: usize) -> DataError {
    let (line, column) = json::position(text, start + error.offset);
    DataError::Json {
        path: path.into(),
        line,
        column,
        reason: error.reason,
        // Text behind the first object of a .json file is the next row of a JSONL file under the wrong name.
        fault: if error.fault == JsonFault::TrailingText { JsonFault::LinesInDocument } else { error.fault },
    }
}
