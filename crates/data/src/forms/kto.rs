//! KTO data: an example of another form, and whether its answer is wanted.

use serde_json::{Map, Value};

use crate::detect::example_forms;
use crate::problem::{RowProblem, type_name};
use crate::row::{Form, RowContent};

/// Keys that say whether an answer is wanted.
const FLAGS: [&str; 4] = ["kto_tag", "label", "desirable", "undesirable"];

/// Whether a row says that its answer is wanted or not.
pub(crate) fn is_judged(row: &Map<String, Value>) -> bool {
    let value = |key: &str| row.get(key).filter(|value| !value.is_null());
    let flag = |key: &str| value(key).is_some_and(|value| verdict(value).is_some());
    let text = |key: &str| value(key).is_some_and(Value::is_string);
    let answers_stand_apart = text("desirable") != text("undesirable") && value("completion").is_none();
    // A label is often a note: a number may be a class.
    let label = value("label")
        .is_some_and(|label| label.is_boolean() || matches!(label.as_str(), Some("desirable" | "undesirable")));
    (flag("kto_tag") || label || flag("desirable") || flag("undesirable")) && !example_forms(row).is_empty()
        || (answers_stand_apart && (value("prompt").is_some() || value("question").is_some()))
}

/// What a flag says: true or false, 1 or 0, or a word.
fn verdict(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(truth) => Some(*truth),
        Value::Number(number) if number.as_u64() == Some(1) => Some(true),
        Value::Number(number) if number.as_u64() == Some(0) => Some(false),
        Value::String(word) if word == "desirable" => Some(true),
        Value::String(word) if word == "undesirable" => Some(false),
        _ => None,
    }
}

pub(super) fn read(mut row: Map<String, Value>) -> Result<RowContent, RowProblem> {
    let mut said: Option<(&'static str, bool)> = None;
    let mut say = |key: &'static str, desirable: bool| match said {
        Some((other, before)) if before != desirable => {
            Err(RowProblem::Conflict { path: key.into(), reason: format!("`{other}` says the opposite") })
        }
        _ => {
            said = Some((key, desirable));
            Ok(())
        }
    };
    for key in FLAGS {
        let Some(value) = row.shift_remove(key).filter(|value| !value.is_null()) else { continue };
        let reverse = key == "undesirable";
        match verdict(&value) {
            Some(truth) => say(key, truth != reverse)?,
            // The answer stands under the name of the verdict.
            None if matches!(key, "desirable" | "undesirable") && value.is_string() => {
                say(key, !reverse)?;
                if row.insert("completion".into(), value).is_some_and(|before| !before.is_null()) {
                    let reason = "the row has a `completion` as well; which of them is the answer?";
                    return Err(RowProblem::Conflict { path: key.into(), reason: reason.into() });
                }
            }
            None => {
                let got = type_name(&value);
                return Err(RowProblem::WrongType { path: key.into(), expected: "true or false", got });
            }
        }
    }
    let Some((_, desirable)) = said else { return Err(RowProblem::MissingKey { path: "label".into(), found: None }) };
    if let (Some(question), true) = (row.get("question").cloned(), row.contains_key("completion")) {
        // `answer` may have stood under the name of the verdict.
        row.shift_remove("question");
        row.entry("prompt").or_insert(question);
    }
    let form = match example_forms(&row)[..] {
        [form] => form,
        [] => Form::PromptCompletion,
        ref several => {
            return Err(RowProblem::SeveralForms { forms: several.iter().map(|form| form.name()).collect() });
        }
    };
    Ok(RowContent::Judged { example: Box::new(super::read(form, row)?), desirable })
}
