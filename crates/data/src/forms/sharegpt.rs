//! `{"conversations": [{"from", "value"}, ...]}`.

use attune_text::{Conversation, Message};
use serde_json::{Map, Value, json};

use super::messages::{system_prompt, train_flag};
use super::{Object, embedded_json, list, not_blank};
use crate::problem::{RowProblem, misspelt, nearest, type_name};
use crate::row::RowContent;

/// `from`, and the role it stands for; `None` for a call of tools.
const SPEAKERS: [(&str, Option<&str>); 13] = [
    ("human", Some("user")),
    ("user", Some("user")),
    ("gpt", Some("assistant")),
    ("chatgpt", Some("assistant")),
    ("assistant", Some("assistant")),
    ("model", Some("assistant")),
    ("bot", Some("assistant")),
    ("system", Some("system")),
    ("observation", Some("tool")),
    ("tool", Some("tool")),
    ("tool_response", Some("tool")),
    ("function_response", Some("tool")),
    ("function_call", None),
];

pub(super) fn read(row: Map<String, Value>) -> Result<RowContent, RowProblem> {
    let mut row = Object::new(row, "");
    let key = if !row.has("conversations") && row.has("messages") { "messages" } else { "conversations" };
    misspelt(&row.members, &[key, "system", "tools"], "")?;
    let items = row.required_list(key)?;
    let system = system_prompt(&mut row)?;
    let tools = row.tools()?.map(|tools| Value::Array(tools.into_iter().map(wrapped).collect()));

    let mut messages = message_list(items, key)?;
    if let Some(system) = system {
        if messages[0].role != "system" {
            messages.insert(0, system);
        } else if messages[0].content != system.content {
            return Err(RowProblem::Conflict {
                path: "system".into(),
                reason: format!("`{key}[0]` is a different system prompt"),
            });
        }
    }
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
    misspelt(&object.members, &["from", "value", "train", "weight"], &object.path)?;
    let from = object.required_string("from")?;
    let Some(&(_, role)) = SPEAKERS.iter().find(|(name, _)| *name == from) else {
        let names = SPEAKERS.map(|(name, _)| name);
        let known = nearest(&from, names)
            .map_or_else(|| format!("speakers are {}", names.join(", ")), |name| format!("did you mean `{name}`?"));
        return Err(RowProblem::UnknownRole { path: object.path_of("from"), role: from, known });
    };
    let train = train_flag(&mut object, role.unwrap_or("assistant"))?;
    let text = object.required_string("value")?;
    let value_path = object.path_of("value");
    let mut fields: Map<String, Value> = object.members.into_iter().filter(|(_, value)| !value.is_null()).collect();
    let Some(role) = role else {
        fields.insert("tool_calls".into(), Value::Array(function_calls(&text, &value_path)?));
        return Ok(Message { role: "assistant".into(), content: Value::Null, train, fields });
    };
    if matches!(role, "user" | "assistant") {
        not_blank(&text, value_path)?;
    }
    Ok(Message { role: role.into(), content: Value::String(text), train, fields })
}

/// `{"name", "arguments"}`, or a list of these, as `tool_calls`.
fn function_calls(text: &str, path: &str) -> Result<Vec<Value>, RowProblem> {
    let calls = match embedded_json(text, path)? {
        single @ Value::Object(_) => vec![single],
        value => list(value, path.to_owned()).map_err(|_| RowProblem::NotJson {
            path: path.to_owned(),
            reason: "a function call is an object with `name` and `arguments`, or a list of these".into(),
        })?,
    };
    if calls.is_empty() {
        return Err(RowProblem::Empty { path: path.to_owned() });
    }
    calls.into_iter().map(|call| function_call(call, path)).collect()
}

fn function_call(call: Value, path: &str) -> Result<Value, RowProblem> {
    let mut call = Object::from_value(call, path.to_owned())?;
    let name = call.required_string("name")?;
    not_blank(&name, call.path_of("name"))?;
    let arguments_path = call.path_of("arguments");
    let arguments = match call.required("arguments")? {
        // Some writers encode the arguments a second time; templates want the object.
        Value::String(text) => embedded_json(&text, &arguments_path)?,
        other => other,
    };
    if !arguments.is_object() {
        let got = type_name(&arguments);
        return Err(RowProblem::WrongType { path: arguments_path, expected: "an object", got });
    }
    Ok(json!({"type": "function", "function": {"name": name, "arguments": arguments}}))
}

/// A bare tool, wrapped as chat templates read it.
fn wrapped(tool: Value) -> Value {
    let bare = tool.get("name").is_some() && tool.get("function").is_none();
    if bare { json!({"type": "function", "function": tool}) } else { tool }
}
