//! What a row says, as the plain texts that rules look at.

use attune_data::{Pair, Record, Row, RowContent};
use attune_text::Message;
use serde_json::{Map, Value};

/// The texts of a row.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Texts {
    /// What is given: the user's turns, or the prompt.
    pub question: String,
    /// What is learned: the assistant's turns, or the completion.
    pub answer: String,
    /// System and tool messages, and a passage that the row brings along.
    pub context: String,
    /// Number of messages.
    pub turns: usize,
}

impl Texts {
    /// The texts of `row`; `record` may hold a passage.
    pub fn of(record: &Record, row: &Row) -> Self {
        let mut texts = Self::of_row(row);
        for key in ["passage", "context"] {
            if let Some(passage) = record.object.get(key).and_then(Value::as_str) {
                append(&mut texts.context, passage);
            }
        }
        texts
    }

    /// What is trained on: the texts of a row without the keys that are notes.
    pub fn of_row(row: &Row) -> Self {
        Self::of_content(&row.content)
    }

    /// The same of a content alone.
    pub(crate) fn of_content(content: &RowContent) -> Self {
        match content {
            RowContent::Chat(chat) => {
                let mut texts = Self { turns: chat.messages.len(), ..Self::default() };
                texts.add(&chat.messages);
                texts
            }
            RowContent::Completion { prompt, completion } => {
                Self { question: prompt.clone(), answer: completion.clone(), context: String::new(), turns: 2 }
            }
            RowContent::Judged { example, .. } => Self::of_content(example),
            // The prompt once, and both answers.
            RowContent::Preference(pair) => {
                let mut texts = Self::of_content(&pair.chosen());
                match pair {
                    Pair::Text { rejected, .. } => append(&mut texts.answer, rejected),
                    Pair::Chat { rejected, .. } => texts.add(rejected),
                }
                texts
            }
        }
    }

    fn add(&mut self, messages: &[Message]) {
        for message in messages {
            let text = content_text(message);
            let part = match message.role.as_str() {
                "user" => &mut self.question,
                "assistant" => &mut self.answer,
                _ => &mut self.context,
            };
            append(part, &text);
        }
    }

    /// Question and answer, each on its own line: what makes two rows the same.
    pub fn whole(&self) -> String {
        let mut whole = self.question.clone();
        append(&mut whole, &self.answer);
        whole
    }

    /// Context, question and answer: all that is in the row.
    pub fn all(&self) -> String {
        let mut all = self.context.clone();
        append(&mut all, &self.question);
        append(&mut all, &self.answer);
        all
    }

    /// A number that is equal for equal contexts, whatever their white space, letter case and digits: a date in a system
    /// message makes no other context. 0 for none.
    pub(crate) fn context_key(&self) -> u64 {
        let mut hasher = blake3::Hasher::new();
        let mut words = 0;
        for word in self.context.split_whitespace() {
            let mut plain: String = word.to_lowercase();
            plain = plain.chars().map(|character| if character.is_numeric() { '0' } else { character }).collect();
            hasher.update(plain.as_bytes());
            hasher.update(b" ");
            words += 1;
        }
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        if words == 0 { 0 } else { u64::from_le_bytes(bytes) }
    }

    /// Number of characters of all texts.
    pub fn chars(&self) -> usize {
        [&self.question, &self.answer, &self.context].map(|text| text.chars().count()).iter().sum()
    }
}

fn append(whole: &mut String, part: &str) {
    if part.is_empty() {
        return;
    }
    if !whole.is_empty() {
        whole.push('\n');
    }
    whole.push_str(part);
}

/// The text of a message: its content or the text parts of it, and the calls of tools that it makes.
pub fn content_text(message: &Message) -> String {
    let mut text = String::new();
    match &message.content {
        Value::String(content) => text.push_str(content),
        Value::Array(parts) => {
            for part in parts {
                if let Some(content) = part.get("text").or_else(|| part.get("thinking")).and_then(Value::as_str) {
                    append(&mut text, content);
                }
            }
        }
        _ => {}
    }
    for call in message.fields.get("tool_calls").and_then(Value::as_array).into_iter().flatten() {
        append(&mut text, &call.to_string());
    }
    text
}

/// The name under `key` of a row: a text, a number, or the first of a list of them.
pub fn name_under(object: &Map<String, Value>, key: &str) -> Option<String> {
    name(object.get(key)?)
}

fn name(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.trim().is_empty() => Some(text.trim().to_owned()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Array(items) => items.iter().find_map(name),
        _ => None,
    }
}

/// All names under `key`: `tags: [a, b]` has two.
pub fn names_under(object: &Map<String, Value>, key: &str) -> Vec<String> {
    match object.get(key) {
        Some(Value::Array(items)) => items.iter().filter_map(name).collect(),
        Some(_) => name_under(object, key).into_iter().collect(),
        None => Vec::new(),
    }
}

/// Names of numbers for people: `12,345`.
pub fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn names_come_from_texts_and_lists() {
        let object: Map<String, Value> =
            serde_json::from_str(r#"{"a": " x ", "b": ["y", "z"], "c": [], "d": 7, "e": {}}"#).expect("an object");
        let names: Vec<Option<String>> =
            ["a", "b", "c", "d", "e", "f"].iter().map(|key| name_under(&object, key)).collect();
        assert_eq!(names, [Some("x".into()), Some("y".into()), None, Some("7".into()), None, None]);
        assert_eq!(names_under(&object, "b"), ["y", "z"]);
        let object: Map<String, Value> = serde_json::from_str(r#"{"tags": [3, " a ", "", true, null]}"#).expect("JSON");
        assert_eq!(names_under(&object, "tags"), ["3", "a", "true"], "as many names as `name_under` knows");
    }
}
