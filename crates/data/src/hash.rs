//! The identity of a row's content.

use std::collections::BTreeMap;
use std::io::{self, Write};

use attune_text::Message;
use serde_json::Value;

use crate::row::{Pair, RowContent};

/// Changes when the canonical text does, so that hashes of two versions are never compared as equal.
const VERSION: &str = "attune row 1\n";

/// BLAKE3 of the canonical content. See [`crate::Row::hash`].
pub(crate) fn content_hash(content: &RowContent) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    let written = write_content(content, &mut hasher);
    assert!(written.is_ok(), "hashing does no input or output, yet it failed: {written:?}");
    *hasher.finalize().as_bytes()
}

fn write_content(content: &RowContent, out: &mut impl Write) -> io::Result<()> {
    out.write_all(VERSION.as_bytes())?;
    write_members(content, out)
}

fn write_members(content: &RowContent, out: &mut impl Write) -> io::Result<()> {
    match content {
        RowContent::Completion { prompt, completion } => {
            out.write_all(b"{\"completion\":")?;
            serde_json::to_writer(&mut *out, completion)?;
            out.write_all(b",\"prompt\":")?;
            serde_json::to_writer(&mut *out, prompt)?;
        }
        RowContent::Chat(chat) => {
            out.write_all(b"{\"messages\":")?;
            write_messages(&chat.messages, out)?;
            write_tools(chat.tools.as_ref(), out)?;
        }
        RowContent::Preference(Pair::Text { prompt, chosen, rejected }) => {
            out.write_all(b"{\"chosen\":")?;
            serde_json::to_writer(&mut *out, chosen)?;
            out.write_all(b",\"prompt\":")?;
            serde_json::to_writer(&mut *out, prompt)?;
            out.write_all(b",\"rejected\":")?;
            serde_json::to_writer(&mut *out, rejected)?;
        }
        RowContent::Preference(Pair::Chat { prompt, chosen, rejected }) => {
            for (key, messages) in
                [("{\"chosen\":", chosen), (",\"prompt\":", &prompt.messages), (",\"rejected\":", rejected)]
            {
                out.write_all(key.as_bytes())?;
                write_messages(messages, out)?;
            }
            write_tools(prompt.tools.as_ref(), out)?;
        }
        RowContent::Judged { example, desirable } => {
            write!(out, "{{\"desirable\":{desirable},\"example\":")?;
            write_members(example, out)?;
        }
    }
    out.write_all(b"}")
}

fn write_messages(messages: &[Message], out: &mut impl Write) -> io::Result<()> {
    out.write_all(b"[")?;
    for (index, message) in messages.iter().enumerate() {
        if index > 0 {
            out.write_all(b",")?;
        }
        write_message(message, out)?;
    }
    out.write_all(b"]")
}

fn write_tools(tools: Option<&Value>, out: &mut impl Write) -> io::Result<()> {
    let Some(tools) = tools else { return Ok(()) };
    out.write_all(b",\"tools\":")?;
    write_value(tools, out)
}

fn write_message(message: &Message, out: &mut impl Write) -> io::Result<()> {
    let role = Value::String(message.role.clone());
    let train = message.train.map(Value::Bool);
    let mut members: BTreeMap<&str, &Value> = message.fields.iter().map(|(key, value)| (key.as_str(), value)).collect();
    members.insert("role", &role);
    members.insert("content", &message.content);
    if let Some(train) = &train {
        members.insert("train", train);
    }
    write_object(members, out)
}

/// Compact JSON with sorted keys.
fn write_value(value: &Value, out: &mut impl Write) -> io::Result<()> {
    match value {
        Value::Array(items) => {
            out.write_all(b"[")?;
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.write_all(b",")?;
                }
                write_value(item, out)?;
            }
            out.write_all(b"]")
        }
        Value::Object(members) => write_object(members.iter().map(|(key, value)| (key.as_str(), value)).collect(), out),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            serde_json::to_writer(out, value).map_err(io::Error::from)
        }
    }
}

fn write_object(members: BTreeMap<&str, &Value>, out: &mut impl Write) -> io::Result<()> {
    out.write_all(b"{")?;
    for (index, (key, value)) in members.into_iter().enumerate() {
        if index > 0 {
            out.write_all(b",")?;
        }
        serde_json::to_writer(&mut *out, key)?;
        out.write_all(b":")?;
        write_value(value, out)?;
    }
    out.write_all(b"}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use attune_text::Conversation;

    fn canonical(content: &RowContent) -> String {
        let mut out = Vec::new();
        write_content(content, &mut out).expect("a vector takes all");
        String::from_utf8(out).expect("JSON is UTF-8")
    }

    #[test]
    fn keys_are_sorted_at_every_level_and_flags_are_content() {
        let mut message = Message::new("assistant", "a\"b");
        message.train = Some(false);
        message.fields = serde_json::from_str(r#"{"z": {"b": 1.0, "a": [null, {"d": 1, "c": 2}]}, "name": "x"}"#)
            .expect("an object");
        let chat = RowContent::Chat(Conversation { messages: vec![message], tools: Some(Value::Array(Vec::new())) });
        assert_eq!(
            canonical(&chat),
            "attune row 1\n{\"messages\":[{\"content\":\"a\\\"b\",\"name\":\"x\",\"role\":\"assistant\",\"train\":false,\
             \"z\":{\"a\":[null,{\"c\":2,\"d\":1}],\"b\":1.0}}],\"tools\":[]}"
        );
    }

    #[test]
    fn text_cannot_move_between_prompt_and_completion() {
        let row = |prompt: &str, completion: &str| RowContent::Completion {
            prompt: prompt.into(),
            completion: completion.into(),
        };
        assert_eq!(canonical(&row("p", "c")), "attune row 1\n{\"completion\":\"c\",\"prompt\":\"p\"}");
        assert_ne!(content_hash(&row("ab", "c")), content_hash(&row("a", "bc")));
        let chat =
            Conversation { messages: vec![Message::new("user", "p"), Message::new("assistant", "c")], tools: None };
        assert_ne!(content_hash(&row("p", "c")), content_hash(&RowContent::Chat(chat)));
    }
}
