//! One module per form, and what they share.

mod alpaca;
pub(crate) mod kto;
mod messages;
pub(crate) mod pair;
mod prompt_completion;
mod sharegpt;
mod text;

use serde_json::{Map, Value};

use crate::json;
use crate::problem::{RowProblem, join, nearest, type_name};
use crate::row::{Form, RowContent};

/// Reads `row` as `form`.
pub(crate) fn read(form: Form, row: Map<String, Value>) -> Result<RowContent, RowProblem> {
    refuse_media(&row)?;
    match form {
        Form::Messages => messages::read(row),
        Form::PromptCompletion => prompt_completion::read(row),
        Form::Alpaca => alpaca::read(row),
        Form::Sharegpt => sharegpt::read(row),
        Form::Text => text::read(row),
        Form::Preference => pair::read(row),
        Form::Kto => kto::read(row),
    }
}

/// An object of the file with the path that leads to it. Values are taken out of it; `null` counts as absent.
struct Object {
    members: Map<String, Value>,
    path: String,
}

impl Object {
    fn new(members: Map<String, Value>, path: impl Into<String>) -> Self {
        Self { members, path: path.into() }
    }

    fn from_value(value: Value, path: String) -> Result<Self, RowProblem> {
        match value {
            Value::Object(members) => Ok(Self { members, path }),
            other => Err(RowProblem::WrongType { path, expected: "an object", got: type_name(&other) }),
        }
    }

    fn path_of(&self, key: &str) -> String {
        join(&self.path, key)
    }

    fn has(&self, key: &str) -> bool {
        self.members.get(key).is_some_and(|value| !value.is_null())
    }

    /// Takes a value out, keeping the order of the others.
    fn take(&mut self, key: &str) -> Option<Value> {
        self.members.shift_remove(key).filter(|value| !value.is_null())
    }

    fn missing(&self, key: &str) -> RowProblem {
        let found = nearest(key, self.members.keys().map(String::as_str).filter(|found| *found != key));
        RowProblem::MissingKey { path: self.path_of(key), found: found.map(str::to_owned) }
    }

    fn required(&mut self, key: &str) -> Result<Value, RowProblem> {
        match self.members.get(key) {
            None => Err(self.missing(key)),
            Some(_) => Ok(self.members.shift_remove(key).unwrap_or_default()),
        }
    }

    fn required_string(&mut self, key: &str) -> Result<String, RowProblem> {
        let value = self.required(key)?;
        string(value, self.path_of(key))
    }

    /// A string; empty if it is absent.
    fn optional_string(&mut self, key: &str) -> Result<String, RowProblem> {
        self.take(key).map_or(Ok(String::new()), |value| string(value, self.path_of(key)))
    }

    fn required_list(&mut self, key: &str) -> Result<Vec<Value>, RowProblem> {
        let value = self.required(key)?;
        list(value, self.path_of(key))
    }

    /// The tools of a row: a list of objects, or a string that holds one. An empty list is none.
    fn tools(&mut self) -> Result<Option<Vec<Value>>, RowProblem> {
        let path = self.path_of("tools");
        if self.has("functions") {
            return Err(RowProblem::Unsupported {
                path: self.path_of("functions"),
                reason: "this is the old name; write each as {\"type\": \"function\", \"function\": {...}} in `tools`"
                    .into(),
            });
        }
        let tools = match self.take("tools") {
            None => return Ok(None),
            Some(Value::String(text)) if text.trim().is_empty() => return Ok(None),
            Some(Value::String(text)) => list(embedded_json(&text, &path)?, path.clone())?,
            Some(value) => list(value, path.clone())?,
        };
        for (index, tool) in tools.iter().enumerate() {
            if !tool.is_object() {
                let path = format!("{path}[{index}]");
                return Err(RowProblem::WrongType { path, expected: "an object", got: type_name(tool) });
            }
        }
        Ok(Some(tools).filter(|tools| !tools.is_empty()))
    }
}

fn string(value: Value, path: String) -> Result<String, RowProblem> {
    match value {
        Value::String(text) => Ok(text),
        other => Err(RowProblem::WrongType { path, expected: "a string", got: type_name(&other) }),
    }
}

fn list(value: Value, path: String) -> Result<Vec<Value>, RowProblem> {
    match value {
        Value::Array(items) => Ok(items),
        other => Err(RowProblem::WrongType { path, expected: "a list", got: type_name(&other) }),
    }
}

/// JSON inside of a string of the file.
fn embedded_json(text: &str, path: &str) -> Result<Value, RowProblem> {
    json::parse(text).map_err(|error| {
        let (line, column) = json::position(text, error.offset);
        let place = if line > 1 { format!("line {line}, character {column}") } else { format!("character {column}") };
        RowProblem::NotJson { path: path.into(), reason: format!("{} at {place} of the string", error.reason) }
    })
}

fn not_blank(text: &str, path: impl Into<String>) -> Result<(), RowProblem> {
    if text.trim().is_empty() { Err(RowProblem::Empty { path: path.into() }) } else { Ok(()) }
}

/// Rows with pictures or sound would be trained with their placeholders as text.
fn refuse_media(row: &Map<String, Value>) -> Result<(), RowProblem> {
    for key in ["images", "videos", "audios"] {
        let some = match row.get(key) {
            None | Some(Value::Null) => false,
            Some(Value::Array(items)) => !items.is_empty(),
            Some(_) => true,
        };
        if some {
            return Err(RowProblem::Unsupported { path: key.into(), reason: "only text is trained".into() });
        }
    }
    Ok(())
}
