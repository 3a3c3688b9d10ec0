//! `data.columns`: keys of a file that have other names than those of the forms.

use serde_json::{Map, Value};

use crate::problem::{RowProblem, nearest};

/// Gives the columns of a row our names; each pair is our name and the file's. The order of the keys stays.
///
/// # Errors
/// If the row lacks a column, or has a key of our name already.
pub(crate) fn rename(object: &mut Map<String, Value>, columns: &[(String, String)]) -> Result<(), RowProblem> {
    if columns.is_empty() {
        return Ok(());
    }
    for (ours, theirs) in columns {
        if !object.contains_key(theirs) {
            let found = nearest(theirs, object.keys().map(String::as_str)).map(str::to_owned);
            return Err(RowProblem::MissingKey { path: theirs.clone(), found });
        }
        let moves_away = columns.iter().any(|(_, other)| other == ours);
        if ours != theirs && object.contains_key(ours) && !moves_away {
            let reason = format!("data.columns gives this name to `{theirs}`, and the row has such a key already");
            return Err(RowProblem::Conflict { path: ours.clone(), reason });
        }
    }
    let renamed = std::mem::take(object).into_iter().map(|(key, value)| {
        let ours = columns.iter().find(|(_, theirs)| *theirs == key).map(|(ours, _)| ours.clone());
        (ours.unwrap_or(key), value)
    });
    *object = renamed.collect();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn renamed(row: &str, columns: &[(&str, &str)]) -> Result<String, String> {
        let mut object: Map<String, Value> = serde_json::from_str(row).expect("an object");
        let columns: Vec<(String, String)> =
            columns.iter().map(|(ours, theirs)| ((*ours).to_owned(), (*theirs).to_owned())).collect();
        match rename(&mut object, &columns) {
            Ok(()) => Ok(Value::Object(object).to_string()),
            Err(problem) => Err(problem.to_string()),
        }
    }

    #[test]
    fn columns_get_our_names_in_place() {
        let columns = [("prompt", "question_text"), ("completion", "reply")];
        assert_eq!(
            renamed(r#"{"id":1,"reply":"b","question_text":"a"}"#, &columns).as_deref(),
            Ok(r#"{"id":1,"completion":"b","prompt":"a"}"#)
        );
        // Names may change places.
        let swapped = [("prompt", "completion"), ("completion", "prompt")];
        assert_eq!(
            renamed(r#"{"prompt":"a","completion":"b"}"#, &swapped).as_deref(),
            Ok(r#"{"completion":"a","prompt":"b"}"#)
        );
    }

    #[test]
    fn missing_columns_and_taken_names_are_errors() {
        let error = renamed(r#"{"questions_text":"a"}"#, &[("prompt", "question_text")]);
        assert_eq!(error, Err("`question_text` is missing; there is `questions_text`".into()));
        let error = renamed(r#"{"q":"a","prompt":"b"}"#, &[("prompt", "q")]);
        assert!(error.is_err_and(|error| error.contains("data.columns gives this name to `q`")));
    }
}
