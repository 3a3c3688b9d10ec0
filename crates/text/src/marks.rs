//! Finding out where a template puts each message: private-use characters are set around the text of the messages,
//! the chat is rendered, and the characters are taken out again. If what remains equals the true rendering, they say
//! exactly where each text went, whatever the template trimmed, moved or left out.

use minijinja::Value;
use serde_json::{Map, Value as Json};

use crate::conversation::{Conversation, Message};
use crate::error::TextError;
use crate::template::to_template_value;

/// First code points of the two supplementary private-use planes.
const PLANES: [u32; 2] = [0x10_0000, 0xF_0000];
/// Code points of a plane that serve as marks; the last few are kept for the template's own marks.
const PLANE_SIZE: u32 = 0xFFF0;
/// Marks per message.
const KINDS: u32 = 3;
/// Most messages that can be told apart.
pub(crate) const MAX_MESSAGES: usize = (PLANE_SIZE / KINDS) as usize;

/// What a mark stands at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MarkKind {
    /// Before the first character of the message's text that is not white space.
    Head,
    /// After the last one.
    Tail,
    /// After the name of one of its tool calls.
    Call,
}

/// Which marks to set. Some templates look at how a text begins (`content.startswith(...)`) or ends, so that a mark
/// there would change what they do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MarkStyle {
    head: bool,
    tail: bool,
    call: bool,
    /// Leave the text out and set the marks alone.
    replace: bool,
}

impl MarkStyle {
    /// Marks on both sides of the text and behind tool names.
    pub(crate) const BOTH: Self = Self { head: true, tail: true, call: true, replace: false };
    /// Marks behind text and tool names.
    pub(crate) const TAIL: Self = Self { head: false, tail: true, call: true, replace: false };
    /// Marks before the text and behind tool names.
    pub(crate) const HEAD: Self = Self { head: true, tail: false, call: true, replace: false };
    /// A mark instead of the text.
    pub(crate) const REPLACE: Self = Self { head: true, tail: false, call: false, replace: true };
    /// Marks behind tool names only.
    pub(crate) const CALLS: Self = Self { head: false, tail: false, call: true, replace: false };
}

/// A mark found in a rendering.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Byte offset in the text without marks.
    pub(crate) at: usize,
    /// Index of the message.
    pub(crate) message: usize,
    /// What it stands at.
    pub(crate) kind: MarkKind,
}

/// The characters that serve as marks for one chat.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Marks {
    plane: u32,
}

impl Marks {
    /// Chooses a private-use plane that the chat does not use itself.
    pub(crate) fn choose(conversation: &Conversation) -> Result<Self, TextError> {
        let messages = conversation.messages.len();
        if messages > MAX_MESSAGES {
            return Err(TextError::TooManyMessages { messages, limit: MAX_MESSAGES });
        }
        let mut used = [false; PLANES.len()];
        let mut own_marks = false;
        for_each_text(conversation, &mut |text| {
            // Private-use planes have four-byte characters from lead byte 0xF3 on.
            if text.bytes().any(|byte| byte >= 0xF3) {
                for c in text.chars() {
                    for (used, plane) in used.iter_mut().zip(PLANES) {
                        *used |= (plane..plane + 0x1_0000).contains(&u32::from(c));
                    }
                    own_marks |= crate::template::is_generation_mark(c);
                }
            }
        });
        match PLANES.into_iter().zip(used).find(|(_, used)| !used) {
            Some((plane, _)) if !own_marks => Ok(Self { plane }),
            _ => Err(TextError::PrivateUse),
        }
    }

    fn character(self, message: usize, kind: MarkKind) -> char {
        let code = self.plane + message as u32 * KINDS + kind as u32;
        char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
    }

    /// Takes the marks out of a rendering.
    pub(crate) fn strip(self, marked: &str) -> (String, Vec<Mark>) {
        let mut text = String::with_capacity(marked.len());
        let mut marks = Vec::new();
        for c in marked.chars() {
            match u32::from(c).checked_sub(self.plane).filter(|code| *code < PLANE_SIZE) {
                Some(code) => {
                    let kind = match code % KINDS {
                        0 => MarkKind::Head,
                        1 => MarkKind::Tail,
                        _ => MarkKind::Call,
                    };
                    marks.push(Mark { at: text.len(), message: (code / KINDS) as usize, kind });
                }
                None => text.push(c),
            }
        }
        (text, marks)
    }

    /// The message as the template sees it, with marks.
    pub(crate) fn mark(self, message: &Message, index: usize, style: MarkStyle) -> Value {
        let set = |kind: MarkKind, wanted: bool| if wanted { Some(self.character(index, kind)) } else { None };
        let (head, tail) = (set(MarkKind::Head, style.head), set(MarkKind::Tail, style.tail));
        let surround = |text: &str, head: Option<char>, tail: Option<char>| {
            let core = text.trim();
            let at = text.len() - text.trim_start().len();
            let mut out = String::with_capacity(text.len() + 8);
            out.push_str(&text[..at]);
            out.extend(head);
            out.push_str(if style.replace { "" } else { core });
            out.extend(tail);
            out.push_str(&text[at + core.len()..]);
            out
        };
        let content = match &message.content {
            Json::String(text) if !text.trim().is_empty() => Value::from(surround(text, head, tail)),
            Json::Array(parts) => {
                let texts: Vec<usize> = (0..parts.len()).filter(|&part| part_text(&parts[part]).is_some()).collect();
                let (first, last) = (texts.first().copied(), texts.last().copied());
                let parts = parts.iter().enumerate().map(|(at, part)| match part_text(part) {
                    Some((key, text)) => {
                        let head = head.filter(|_| Some(at) == first);
                        let tail = tail.filter(|_| Some(at) == last);
                        with_text(part, key, surround(text, head, tail))
                    }
                    None => to_template_value(part),
                });
                Value::from(parts.collect::<Vec<_>>())
            }
            other => to_template_value(other),
        };
        let call = set(MarkKind::Call, style.call);
        message_value(message, content, |key, value| match (key, call) {
            ("tool_calls", Some(mark)) => marked_calls(value, mark),
            _ => to_template_value(value),
        })
    }
}

/// The message as the template sees it.
pub(crate) fn plain(message: &Message) -> Value {
    message_value(message, to_template_value(&message.content), |_, value| to_template_value(value))
}

fn message_value(message: &Message, content: Value, field: impl Fn(&str, &Json) -> Value) -> Value {
    let own = [("role", Value::from(message.role.as_str())), ("content", content)];
    let others = message.fields.iter().map(|(key, value)| (key.as_str(), field(key, value)));
    Value::from_pairs(own.into_iter().chain(others))
}

/// The key (`None`: the part is a text itself) and the text of a content part that has one.
fn part_text(part: &Json) -> Option<(Option<&'static str>, &str)> {
    let found = match part {
        Json::String(text) => (None, text.as_str()),
        Json::Object(part) => {
            ["text", "thinking"].into_iter().find_map(|key| Some((Some(key), part.get(key)?.as_str()?)))?
        }
        _ => return None,
    };
    (!found.1.trim().is_empty()).then_some(found)
}

fn with_text(part: &Json, key: Option<&str>, text: String) -> Value {
    match (part, key) {
        (Json::Object(part), Some(key)) => Value::from_pairs(part.iter().map(|(name, value)| {
            (name.as_str(), if name == key { Value::from(text.as_str()) } else { to_template_value(value) })
        })),
        _ => Value::from(text),
    }
}

/// The object that holds the name of a tool call.
fn named(call: &Map<String, Json>) -> Option<&str> {
    let inner = call.get("function").and_then(Json::as_object).unwrap_or(call);
    inner.get("name")?.as_str().filter(|name| !name.is_empty())
}

fn marked_calls(calls: &Json, mark: char) -> Value {
    let Json::Array(calls) = calls else { return to_template_value(calls) };
    let with_name = |object: &Map<String, Json>| {
        Value::from_pairs(object.iter().map(|(key, value)| match (key.as_str(), value) {
            ("name", Json::String(name)) if !name.is_empty() => ("name", Value::from(format!("{name}{mark}"))),
            (key, value) => (key, to_template_value(value)),
        }))
    };
    let calls = calls.iter().map(|call| match call {
        Json::Object(call) => match call.get("function") {
            Some(Json::Object(function)) => Value::from_pairs(call.iter().map(|(key, value)| {
                (key.as_str(), if key == "function" { with_name(function) } else { to_template_value(value) })
            })),
            _ => with_name(call),
        },
        other => to_template_value(other),
    });
    Value::from(calls.collect::<Vec<_>>())
}

/// The text of a message without the white space around it; empty when it has none. Of a list of parts, the first
/// and the last text.
pub(crate) fn ends_of_text(message: &Message) -> (&str, &str) {
    match &message.content {
        Json::String(text) => (text.trim(), text.trim()),
        Json::Array(parts) => {
            let mut texts = parts.iter().filter_map(part_text).map(|(_, text)| text.trim());
            let first = texts.next().unwrap_or_default();
            (first, texts.next_back().unwrap_or(first))
        }
        _ => ("", ""),
    }
}

/// How many tool calls with a name the message has.
pub(crate) fn count_calls(message: &Message) -> usize {
    let calls = message.fields.get("tool_calls").and_then(Json::as_array).into_iter().flatten();
    calls.filter(|call| call.as_object().and_then(named).is_some()).count()
}

/// Visits every text of a chat, keys of objects included.
fn for_each_text(conversation: &Conversation, visit: &mut dyn FnMut(&str)) {
    for message in &conversation.messages {
        visit(&message.role);
        texts_of(&message.content, visit);
        for (key, value) in &message.fields {
            visit(key);
            texts_of(value, visit);
        }
    }
    if let Some(tools) = &conversation.tools {
        texts_of(tools, visit);
    }
}

/// Visits every text inside a JSON value, keys included.
pub(crate) fn texts_of(json: &Json, visit: &mut dyn FnMut(&str)) {
    match json {
        Json::String(text) => visit(text),
        Json::Array(items) => items.iter().for_each(|item| texts_of(item, visit)),
        Json::Object(members) => members.iter().for_each(|(key, value)| {
            visit(key);
            texts_of(value, visit);
        }),
        _ => {}
    }
}
