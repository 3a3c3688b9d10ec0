//! `{"prompt", "completion"}` and `{"question", "answer"}`.

use attune_text::Conversation;
use serde_json::{Map, Value};

use super::messages::message_list_of;
use super::{Object, not_blank, string};
use crate::problem::{RowProblem, misspelt};
use crate::row::RowContent;

pub(super) fn read(row: Map<String, Value>) -> Result<RowContent, RowProblem> {
    let mut row = Object::new(row, "");
    let first = row.has("prompt") && row.has("completion");
    let second = row.has("question") && row.has("answer");
    if first && second {
        return Err(RowProblem::Conflict {
            path: "answer".into(),
            reason: "the row has `prompt` and `completion` as well; remove one pair".into(),
        });
    }
    let asks = second
        || (!first && (row.has("question") || row.has("answer")) && !row.has("prompt") && !row.has("completion"));
    let (prompt_key, completion_key) = if asks { ("question", "answer") } else { ("prompt", "completion") };
    misspelt(&row.members, &[prompt_key, completion_key, "system", "tools"], "")?;

    let tools = row.tools()?.map(Value::Array);
    let system = row.optional_string("system")?;
    let prompt = row.required(prompt_key)?;
    let completion = row.required(completion_key)?;
    if prompt.is_array() {
        if !system.is_empty() {
            return Err(no_place("system", "write it as the first message of the prompt"));
        }
        return chat(prompt, completion, tools, prompt_key, completion_key);
    }
    let prompt = match prompt {
        Value::String(text) => text,
        other => {
            return Err(RowProblem::WrongType {
                path: prompt_key.into(),
                expected: "a string or a list of messages",
                got: crate::problem::type_name(&other),
            });
        }
    };
    let completion = string(completion, completion_key.into())?;
    not_blank(&completion, completion_key)?;
    for (key, there) in [("system", !system.is_empty()), ("tools", tools.is_some())] {
        if there {
            return Err(no_place(key, "plain text has no place for it; write the row as `messages`"));
        }
    }
    Ok(RowContent::Completion { prompt, completion })
}

fn no_place(key: &str, reason: &str) -> RowProblem {
    RowProblem::Unsupported { path: key.into(), reason: reason.into() }
}

/// One chat of both lists. Only the completion is trained, unless a message of the prompt says otherwise.
fn chat(
    prompt: Value,
    completion: Value,
    tools: Option<Value>,
    prompt_key: &str,
    completion_key: &str,
) -> Result<RowContent, RowProblem> {
    let mut messages = message_list_of(prompt, prompt_key)?;
    for message in messages.iter_mut().filter(|message| message.role == "assistant") {
        message.train = message.train.or(Some(false));
    }
    messages.extend(message_list_of(completion, completion_key)?);
    Ok(RowContent::Chat(Conversation { messages, tools }))
}
