//! `{"messages": [{"role", "content"}, ...]}`, the form of chat APIs.

use attune_text::{Conversation, Message};
use serde_json::{Map, Value};

use super::{Object, list, not_blank, string};
use crate::problem::{RowProblem, misspelt, nearest, type_name};
use crate::row::RowContent;

/// Roles of messages. A template that does not know one of them says so, or drops the message, which the tokenising
/// step notices.
const ROLES: [&str; 7] = ["system", "developer", "user", "assistant", "tool", "function", "ipython"];

/// What other forms call the roles.
const OTHER_NAMES: [(&str, &str); 6] = [
    ("human", "user"),
    ("gpt", "assistant"),
    ("bot", "assistant"),
    ("model", "assistant"),
    ("observation", "tool"),
    ("function_call", "assistant"),
];

/// Keys of a message that mean something to this reader or to most templates.
const MESSAGE_KEYS: [&str; 7] = ["role", "content", "train", "weight", "tool_calls", "tool_call_id", "name"];

pub(super) fn read(row: Map<String, Value>) -> Result<RowContent, RowProblem> {
    let mut row = Object::new(row, "");
    let key = if !row.has("messages") && row.has("conversations") { "conversations" } else { "messages" };
    misspelt(&row.members, &[key, "tools"], "")?;
    if key == "messages" && row.has("system") {
        return Err(RowProblem::Unsupported {
            path: "system".into(),
            reason: "rows of this form have the system prompt as their first message".into(),
        });
    }
    let items = row.required_list(key)?;
    let messages = message_list(items, key)?;
    let tools = row.tools()?.map(Value::Array);
    Ok(RowContent::Chat(Conversation { messages, tools }))
}

/// Reads a list of messages, at least one.
pub(super) fn message_list(items: Vec<Value>, path: &str) -> Result<Vec<Message>, RowProblem> {
    if items.is_empty() {
        return Err(RowProblem::Empty { path: path.into() });
    }
    items.into_iter().enumerate().map(|(index, item)| message(item, format!("{path}[{index}]"))).collect()
}

fn message(value: Value, path: String) -> Result<Message, RowProblem> {
    let mut object = Object::from_value(value, path)?;
    misspelt(&object.members, &MESSAGE_KEYS, &object.path)?;
    let role = object.required_string("role")?;
    check_role(&role, &object)?;
    let train = train_flag(&mut object, &role)?;
    refuse_unsupported(&object)?;
    let calls = tool_calls(&object)?;
    let content = if calls { object.take("content").unwrap_or_default() } else { object.required("content")? };
    check_content(&content, &role, &object, calls)?;
    // Table formats give every message the keys of all others, with null in them; to a template these would be defined.
    let fields = object.members.into_iter().filter(|(_, value)| !value.is_null()).collect();
    Ok(Message { role, content, train, fields })
}

fn check_role(role: &str, object: &Object) -> Result<(), RowProblem> {
    if ROLES.contains(&role) {
        return Ok(());
    }
    let meant = OTHER_NAMES.iter().find(|(other, _)| *other == role).map(|(_, name)| *name).or(nearest(role, ROLES));
    let known = match meant {
        Some(name) => format!("did you mean `{name}`?"),
        None => format!("roles are {}", ROLES.join(", ")),
    };
    Err(RowProblem::UnknownRole { path: object.path_of("role"), role: role.into(), known })
}

/// Takes `train` and `weight` out of a message.
pub(super) fn train_flag(object: &mut Object, role: &str) -> Result<Option<bool>, RowProblem> {
    let train = match object.take("train") {
        None => None,
        Some(Value::Bool(train)) => Some(train),
        Some(other) => {
            let path = object.path_of("train");
            return Err(RowProblem::WrongType { path, expected: "true or false", got: type_name(&other) });
        }
    };
    let weight = match object.take("weight") {
        None => None,
        Some(Value::Number(number)) => match number.as_f64() {
            Some(0.0) => Some(false),
            Some(1.0) => Some(true),
            _ => {
                return Err(RowProblem::Unsupported {
                    path: object.path_of("weight"),
                    reason: format!("a message is trained (1) or not (0), {number} is neither"),
                });
            }
        },
        Some(other) => {
            let path = object.path_of("weight");
            return Err(RowProblem::WrongType { path, expected: "0 or 1", got: type_name(&other) });
        }
    };
    let key = if train.is_some() { "train" } else { "weight" };
    match (train, weight) {
        (Some(train), Some(weight)) if train != weight => {
            Err(RowProblem::Conflict { path: object.path_of("weight"), reason: format!("`train` says {train}") })
        }
        (Some(true), _) | (_, Some(true)) if role != "assistant" => Err(RowProblem::Unsupported {
            path: object.path_of(key),
            reason: format!(
                "a `{role}` message cannot be chosen for training; data.train_on: all trains every message"
            ),
        }),
        _ => Ok(train.or(weight)),
    }
}

/// Settings of other tools that would otherwise be lost in silence.
fn refuse_unsupported(object: &Object) -> Result<(), RowProblem> {
    let refuse = |key: &str, reason: &str| {
        if object.has(key) {
            Err(RowProblem::Unsupported { path: object.path_of(key), reason: reason.into() })
        } else {
            Ok(())
        }
    };
    refuse("train_detail", "parts of a message cannot be chosen for training; use `train` on whole messages")?;
    refuse(
        "function_call",
        "this is the old name; write [{\"type\": \"function\", \"function\": {...}}] as `tool_calls`",
    )
}

/// Whether a message calls tools; checks how.
fn tool_calls(object: &Object) -> Result<bool, RowProblem> {
    let path = object.path_of("tool_calls");
    let Some(value) = object.members.get("tool_calls").filter(|value| !value.is_null()) else { return Ok(false) };
    let Value::Array(calls) = value else {
        return Err(RowProblem::WrongType { path, expected: "a list", got: type_name(value) });
    };
    for (index, call) in calls.iter().enumerate() {
        let outer = Object::from_value(call.clone(), format!("{path}[{index}]"))?;
        // Chat APIs wrap the call in `function`; some templates take it bare.
        let mut function = match outer.members.get("function") {
            Some(function) => Object::from_value(function.clone(), outer.path_of("function"))?,
            None => outer,
        };
        let name = function.required_string("name")?;
        not_blank(&name, function.path_of("name"))?;
        match function.take("arguments") {
            None | Some(Value::String(_) | Value::Object(_)) => {}
            Some(other) => {
                let path = function.path_of("arguments");
                return Err(RowProblem::WrongType { path, expected: "an object or a string", got: type_name(&other) });
            }
        }
    }
    Ok(!calls.is_empty())
}

fn check_content(content: &Value, role: &str, object: &Object, calls: bool) -> Result<(), RowProblem> {
    let path = object.path_of("content");
    let blank = match content {
        Value::Null if calls => return Ok(()),
        Value::String(text) => text.trim().is_empty(),
        Value::Array(parts) => parts_are_blank(parts, &path)?,
        other => {
            let expected = if calls { "a string, a list of parts or null" } else { "a string or a list of parts" };
            return Err(RowProblem::WrongType { path, expected, got: type_name(other) });
        }
    };
    // An empty system prompt or tool result says something; an empty turn of either speaker is a fault in the data.
    let thinks = ["reasoning_content", "reasoning", "thinking"].iter().any(|key| object.has(key));
    let speaks = matches!(role, "user" | "assistant") && !calls && !thinks;
    if blank && speaks { Err(RowProblem::Empty { path }) } else { Ok(()) }
}

/// Checks the parts of a content, and whether there is any text in them.
fn parts_are_blank(parts: &[Value], path: &str) -> Result<bool, RowProblem> {
    let mut blank = true;
    for (index, part) in parts.iter().enumerate() {
        let mut part = Object::from_value(part.clone(), format!("{path}[{index}]"))?;
        let kind = part.required_string("type")?;
        for key in ["train", "weight"] {
            if part.has(key) {
                return Err(RowProblem::Unsupported {
                    path: part.path_of(key),
                    reason: "parts of a message cannot be chosen for training; use `train` on whole messages".into(),
                });
            }
        }
        match kind.as_str() {
            "text" => blank &= part.required_string("text")?.trim().is_empty(),
            "thinking" => {
                part.required("thinking")?;
                blank = false;
            }
            _ => {
                return Err(RowProblem::Unsupported {
                    path: part.path_of("type"),
                    reason: format!("only text is trained, this is {}", crate::problem::quoted(&kind)),
                });
            }
        }
    }
    Ok(blank)
}

/// Messages of a prompt or completion that is written as a list.
pub(super) fn message_list_of(value: Value, path: &str) -> Result<Vec<Message>, RowProblem> {
    message_list(list(value, path.to_owned())?, path)
}

/// A system prompt of a row, absent when it is empty.
pub(super) fn system_prompt(row: &mut Object) -> Result<Option<Message>, RowProblem> {
    let text = row.take("system").map_or(Ok(String::new()), |value| string(value, "system".into()))?;
    Ok(Some(text).filter(|text| !text.trim().is_empty()).map(|text| Message::new("system", text)))
}
