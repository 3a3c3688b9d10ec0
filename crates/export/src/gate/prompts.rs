//! What the gate asks.

use std::path::Path;

use attune_formats::files::read_limited;
use attune_text::{Conversation, Message, TextModel};
use serde_json::Value;

use crate::error::ExportError;

const MAX_FILE_BYTES: u64 = 64 << 20;
/// Prompts of a file that are used.
const MAX_PROMPTS: usize = 64;
/// Prompts that are answered by the tuned model before both are compared on the answer, too.
const ANSWERED: usize = 4;
/// Tokens of such an answer.
const ANSWER_TOKENS: usize = 24;

/// What people ask a model for, in different scripts and forms.
const QUESTIONS: [&str; 8] = [
    "What is the difference between a lake and a pond?",
    "Summarise in two sentences why bread dough has to rest before it is baked.",
    "Write a short, polite e-mail that moves a meeting from Tuesday to Thursday, 14:30.",
    "A train leaves at 09:15 and arrives at 11:50. How long does the journey take?",
    "Fix this function: def mean(xs): return sum(xs) / len(x)",
    "Erkläre einem Kind, warum der Himmel blau ist.",
    "请用一句话介绍你自己。",
    "List three things to check before renting a flat: price, location and what else?",
];

/// Text to continue.
const TEXTS: [&str; 4] = [
    "Once upon a time there was a little girl who lived at the edge of a forest. One day she found",
    "The meeting began at nine. First, the minutes of the last meeting were read and agreed.",
    "for i in range(10):\n    if i % 2 == 0:\n        print(i)\n",
    "Les résultats de l'étude montrent que la température moyenne a augmenté de 1,2 °C depuis 1990.",
];

/// One prompt.
#[derive(Debug, Clone, PartialEq)]
pub struct Prompt {
    content: Content,
    /// Tokens with which the tuned model continues it before both are compared.
    pub(super) answer_tokens: usize,
}

#[derive(Debug, Clone, PartialEq)]
enum Content {
    Chat(Conversation),
    Text(String),
}

impl Prompt {
    pub(super) fn encode(&self, text: &TextModel) -> Result<Vec<u32>, ExportError> {
        Ok(match &self.content {
            Content::Text(plain) => text.encode_raw(plain)?,
            Content::Chat(chat) => text.encode_prompt(chat)?,
        })
    }

    fn of_question(question: &str, has_template: bool) -> Self {
        let message = || Message::new("user", question);
        let content = match has_template {
            true => Content::Chat(Conversation { messages: vec![message()], tools: None }),
            false => Content::Text(question.to_string()),
        };
        Self { content, answer_tokens: 0 }
    }
}

/// Questions (as chats, where the model has a template) and texts.
pub fn default_prompts(text: &TextModel) -> Vec<Prompt> {
    let chat = text.has_chat_template();
    let questions = QUESTIONS.iter().map(|question| Prompt::of_question(question, chat));
    let texts = TEXTS.iter().map(|text| Prompt { content: Content::Text((*text).to_string()), answer_tokens: 0 });
    with_answers(questions.chain(texts).collect())
}

/// Prompts of a user's file: JSONL rows with `messages` or `prompt`, or lines of text.
///
/// # Errors
/// When the file cannot be read, a row is not understood, or there is none.
pub fn read_prompts(path: &Path, text: &TextModel) -> Result<Vec<Prompt>, ExportError> {
    let bytes = read_limited(path, MAX_FILE_BYTES)?;
    let broken = |reason: String| ExportError::Prompts { path: path.to_path_buf(), reason };
    let content = String::from_utf8(bytes).map_err(|error| broken(format!("is not UTF-8: {error}")))?;
    let lines = content.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).take(MAX_PROMPTS);
    let mut prompts = Vec::new();
    for (at, line) in lines {
        prompts.push(match line.trim_start().starts_with('{') {
            true => of_row(line, text).map_err(|reason| broken(format!("line {}: {reason}", at + 1)))?,
            false => Prompt::of_question(line, text.has_chat_template()),
        });
    }
    match prompts.is_empty() {
        true => Err(broken("has no prompts".into())),
        false => Ok(with_answers(prompts)),
    }
}

fn of_row(line: &str, text: &TextModel) -> Result<Prompt, String> {
    let row: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
    if let Some(prompt) = row.get("prompt").and_then(Value::as_str) {
        return Ok(Prompt::of_question(prompt, text.has_chat_template()));
    }
    let Some(messages) = row.get("messages").and_then(Value::as_array) else {
        return Err("has neither `messages` nor `prompt`".into());
    };
    let mut chat = Vec::new();
    for message in messages {
        match (message.get("role").and_then(Value::as_str), message.get("content").and_then(Value::as_str)) {
            (Some(role), Some(content)) => chat.push(Message::new(role, content)),
            _ => return Err("a message needs `role` and `content`".into()),
        }
    }
    // The answer is what the models are to say.
    while chat.last().is_some_and(|message| message.role == "assistant") {
        chat.pop();
    }
    match chat.is_empty() {
        true => Err("has no message but answers".into()),
        false => Ok(Prompt { content: Content::Chat(Conversation { messages: chat, tools: None }), answer_tokens: 0 }),
    }
}

fn with_answers(mut prompts: Vec<Prompt>) -> Vec<Prompt> {
    for prompt in prompts.iter_mut().take(ANSWERED) {
        prompt.answer_tokens = ANSWER_TOKENS;
    }
    prompts
}
