//! A chat as every reader hands it over and every template receives it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// One message of a chat.
///
/// `content` is what the file had: a string, `null` (a pure tool call), or a list of parts
/// (`[{"type": "text", "text": ...}]`). `fields` holds everything else that a template may read:
/// `tool_calls`, `tool_call_id`, `name`, `reasoning_content` and so on, in the file's order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user`, `assistant`, `tool` or what the template knows.
    pub role: String,
    /// String, null or list of parts.
    #[serde(default)]
    pub content: Value,
    /// `Some(false)` takes an assistant message out of training (`train: false` or `weight: 0` in the
    /// file), `Some(true)` is explicit consent; never given to the template.
    #[serde(skip)]
    pub train: Option<bool>,
    /// All other keys of the message.
    #[serde(flatten)]
    pub fields: Map<String, Value>,
}

/// A chat and the tools that were on offer in it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Conversation {
    /// The turns, oldest first.
    pub messages: Vec<Message>,
    /// JSON schemas of the tools, as the template wants them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<Value>,
}

impl Message {
    /// A plain text message.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: Value::String(content.into()), train: None, fields: Map::new() }
    }
}
