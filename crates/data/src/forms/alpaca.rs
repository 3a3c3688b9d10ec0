//! `{"instruction", "input", "output"}`, with `system` and `history`.

use attune_text::{Conversation, Message};
use serde_json::{Map, Value};

use super::messages::system_prompt;
use super::{Object, list, not_blank, string};
use crate::problem::{RowProblem, misspelt};
use crate::row::RowContent;

pub(super) fn read(row: Map<String, Value>) -> Result<RowContent, RowProblem> {
    let mut row = Object::new(row, "");
    misspelt(&row.members, &["instruction", "input", "output", "system", "history", "tools"], "")?;
    let instruction = row.required_string("instruction")?;
    let input = row.optional_string("input")?;
    let output = row.required_string("output")?;
    let tools = row.tools()?.map(Value::Array);

    let mut messages: Vec<Message> = system_prompt(&mut row)?.into_iter().collect();
    let turns = row.take("history").map_or(Ok(Vec::new()), |value| list(value, "history".into()))?;
    for (index, turn) in turns.into_iter().enumerate() {
        let [question, answer] = history_turn(turn, &format!("history[{index}]"))?;
        messages.push(Message::new("user", question));
        messages.push(Message::new("assistant", answer));
    }

    // The most used reader of this form joins with one line end; others use two, or headings that no chat template has.
    let parts: Vec<&str> =
        [&instruction, &input].into_iter().map(String::as_str).filter(|part| !part.is_empty()).collect();
    let question = parts.join("\n");
    not_blank(&question, "instruction")?;
    not_blank(&output, "output")?;
    messages.push(Message::new("user", question));
    messages.push(Message::new("assistant", output));
    Ok(RowContent::Chat(Conversation { messages, tools }))
}

/// `[question, answer]`.
fn history_turn(turn: Value, path: &str) -> Result<[String; 2], RowProblem> {
    let turn = list(turn, path.to_owned())?;
    let [question, answer] = <[Value; 2]>::try_from(turn).map_err(|turn| RowProblem::WrongType {
        path: path.to_owned(),
        expected: "a list of a question and an answer",
        got: match turn.len() {
            0 => "an empty list",
            1 => "a list of one",
            _ => "a longer list",
        },
    })?;
    let question = string(question, format!("{path}[0]"))?;
    let answer = string(answer, format!("{path}[1]"))?;
    not_blank(&question, format!("{path}[0]"))?;
    not_blank(&answer, format!("{path}[1]"))?;
    Ok([question, answer])
}
