//! Preference data: one prompt, the answer that is wanted and the one that is not.
//!
//! The prompt is `prompt`, `question`, `instruction` with `input`, `conversations` or `messages`; or it is nowhere and
//! both answers are whole conversations, which then have their beginning in common. Answers are strings, one message or
//! lists of messages. Two strings that begin with `Human:` are transcripts.

use attune_text::{Conversation, Message};
use serde_json::{Map, Value};

use super::messages::{message_list, system_prompt};
use super::{Object, not_blank, sharegpt, string};
use crate::problem::{RowProblem, type_name};
use crate::row::{Pair, RowContent};

/// What the two answers may be called: the wanted one, the other one.
pub(crate) const ANSWER_KEYS: [(&str, &str); 3] =
    [("chosen", "rejected"), ("chosen_response", "rejected_response"), ("desirable", "undesirable")];

/// Where a prompt may stand.
const PROMPT_KEYS: [&str; 5] = ["prompt", "question", "instruction", "conversations", "messages"];

/// The names of the two answers of a row, if it has both.
pub(crate) fn answer_keys(row: &Map<String, Value>) -> Option<(&'static str, &'static str)> {
    let has = |key: &str| row.get(key).is_some_and(|value| !value.is_null());
    // Orca's sets have the long names, others mix long and short ones.
    let pairs = [("chosen", "rejected_response"), ("chosen_response", "rejected")];
    ANSWER_KEYS.into_iter().chain(pairs).find(|(chosen, rejected)| {
        let are_flags = *chosen == "desirable" && row.get(*chosen).is_some_and(Value::is_boolean);
        has(chosen) && has(rejected) && !are_flags
    })
}

pub(super) fn read(row: Map<String, Value>) -> Result<RowContent, RowProblem> {
    let (chosen_key, rejected_key) = answer_keys(&row).unwrap_or(ANSWER_KEYS[0]);
    let mut row = Object::new(row, "");
    let tools = row.tools()?.map(Value::Array);
    let system = system_prompt(&mut row)?;
    let chosen = row.required(chosen_key)?;
    let rejected = row.required(rejected_key)?;
    let given: Vec<&str> = PROMPT_KEYS.into_iter().filter(|key| row.has(key)).collect();
    if let [first, second, ..] = given[..] {
        return Err(RowProblem::Conflict {
            path: second.into(),
            reason: format!("the row has `{first}` as well; which of them is the prompt?"),
        });
    }
    let prompt = match given.first() {
        None => Prompt::None,
        Some(&"instruction") => {
            let (instruction, input) = (row.required_string("instruction")?, row.optional_string("input")?);
            let parts: Vec<&str> = [&*instruction, &*input].into_iter().filter(|part| !part.is_empty()).collect();
            Prompt::Text("instruction", parts.join("\n"))
        }
        Some(&key) => match row.required(key)? {
            Value::String(text) => Prompt::Text(key, text),
            Value::Array(items) => Prompt::Messages(messages(items, key)?),
            other => {
                let expected = "a string or a list of messages";
                return Err(RowProblem::WrongType { path: key.into(), expected, got: type_name(&other) });
            }
        },
    };
    let pair = match (prompt, chosen, rejected) {
        (Prompt::Text(_, prompt), Value::String(chosen), Value::String(rejected))
            if system.is_none() && tools.is_none() =>
        {
            not_blank(&chosen, chosen_key)?;
            not_blank(&rejected, rejected_key)?;
            return Ok(RowContent::Preference(Pair::Text { prompt, chosen, rejected }));
        }
        (Prompt::None, Value::String(chosen), Value::String(rejected)) => {
            in_common(transcript(&chosen, chosen_key)?, transcript(&rejected, rejected_key)?)?
        }
        (prompt, chosen, rejected) => {
            let (chosen, rejected) = (answer(chosen, chosen_key)?, answer(rejected, rejected_key)?);
            match prompt {
                Prompt::Messages(prompt) => Parts { prompt, chosen, rejected },
                Prompt::None => in_common(chosen, rejected)?,
                // Whole conversations, and their last question once more as text.
                Prompt::Text(key, text) if chosen.first().is_some_and(|first| first.role != "assistant") => {
                    let parts = in_common(chosen, rejected)?;
                    let last = parts.prompt.iter().rev().find(|message| message.role == "user");
                    if last.is_none_or(|last| last.content.as_str().map(str::trim) != Some(text.trim())) {
                        return Err(RowProblem::Conflict {
                            path: key.into(),
                            reason: format!("the conversations in `{chosen_key}` ask something else"),
                        });
                    }
                    parts
                }
                Prompt::Text(key, text) => {
                    not_blank(&text, key)?;
                    Parts { prompt: vec![Message::new("user", text)], chosen, rejected }
                }
            }
        }
    };
    let Parts { mut prompt, chosen, rejected } = pair;
    if let Some(system) = system {
        match prompt.first() {
            Some(first) if first.role == "system" && first.content == system.content => {}
            Some(first) if first.role == "system" => {
                let reason = "the prompt begins with a different system prompt".into();
                return Err(RowProblem::Conflict { path: "system".into(), reason });
            }
            _ => prompt.insert(0, system),
        }
    }
    for (answer, key) in [(&chosen, chosen_key), (&rejected, rejected_key)] {
        if !answer.iter().any(|message| message.role == "assistant") {
            return Err(RowProblem::Unsupported {
                path: key.into(),
                reason: "no message of it is the assistant's".into(),
            });
        }
    }
    Ok(RowContent::Preference(Pair::Chat { prompt: Conversation { messages: prompt, tools }, chosen, rejected }))
}

enum Prompt {
    /// Its key, and what it says.
    Text(&'static str, String),
    Messages(Vec<Message>),
    None,
}

struct Parts {
    prompt: Vec<Message>,
    chosen: Vec<Message>,
    rejected: Vec<Message>,
}

/// Messages with `role` or with `from`.
fn messages(items: Vec<Value>, path: &str) -> Result<Vec<Message>, RowProblem> {
    let speaks = items.iter().find_map(Value::as_object).is_some_and(|first| first.contains_key("from"));
    if speaks { sharegpt::message_list(items, path) } else { message_list(items, path) }
}

/// An answer as messages.
fn answer(value: Value, key: &str) -> Result<Vec<Message>, RowProblem> {
    match value {
        Value::Array(items) => messages(items, key),
        one @ Value::Object(_) => messages(vec![one], key),
        other => {
            let text = string(other, key.into()).map_err(|_| RowProblem::WrongType {
                path: key.into(),
                expected: "a string, a message or a list of messages",
                got: "something else",
            })?;
            not_blank(&text, key)?;
            Ok(vec![Message::new("assistant", text)])
        }
    }
}

/// Parts two conversations where they begin to differ.
fn in_common(chosen: Vec<Message>, rejected: Vec<Message>) -> Result<Parts, RowProblem> {
    let mut common = chosen.iter().zip(&rejected).take_while(|(left, right)| left == right).count();
    if common == chosen.len() || common == rejected.len() {
        // Equal, or one goes on where the other ends: the last answer belongs to both.
        common = common.saturating_sub(1);
    }
    let starts = |messages: &[Message]| messages.get(common).is_some_and(|message| message.role == "assistant");
    if common == 0 {
        let reason = "there is no prompt, and both conversations differ from their first message on";
        return Err(RowProblem::Unsupported { path: "chosen".into(), reason: reason.into() });
    }
    if !starts(&chosen) || !starts(&rejected) {
        let role = chosen.get(common).map_or("", |message| message.role.as_str());
        let reason = format!("the two conversations part at message {} ({role}), not at an answer", common + 1);
        return Err(RowProblem::Unsupported { path: "chosen".into(), reason });
    }
    let mut chosen = chosen;
    let answer = chosen.split_off(common);
    Ok(Parts { prompt: chosen, chosen: answer, rejected: rejected[common..].to_vec() })
}

/// `\n\nHuman: ...\n\nAssistant: ...` as messages.
fn transcript(text: &str, key: &str) -> Result<Vec<Message>, RowProblem> {
    const SPEAKERS: [(&str, &str); 2] = [("\n\nHuman:", "user"), ("\n\nAssistant:", "assistant")];
    let text = format!("\n\n{}", text.trim_start());
    let mut messages = Vec::new();
    let mut rest = text.as_str();
    while let Some((mark, role)) = SPEAKERS.into_iter().find(|(mark, _)| rest.starts_with(mark)) {
        let said = &rest[mark.len()..];
        let end = SPEAKERS.iter().filter_map(|(mark, _)| said.find(mark)).min().unwrap_or(said.len());
        let turn = said[..end].trim();
        not_blank(turn, format!("{key} (turn {})", messages.len() + 1))?;
        messages.push(Message::new(role, turn));
        rest = &said[end..];
    }
    if messages.is_empty() {
        return Err(RowProblem::Unsupported {
            path: key.into(),
            reason: "there is no prompt, and the text is no transcript that begins with `Human:`".into(),
        });
    }
    Ok(messages)
}
