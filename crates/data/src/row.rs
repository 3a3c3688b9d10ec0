//! What a file of examples becomes.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use attune_text::{Conversation, Message};
use serde::Serialize;

use crate::record::TranscriptFacts;

/// The form of a file's rows, told by their keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// `{"messages": [{"role", "content", ...}, ...], "tools"?}`; the list may be called `conversations`.
    ///
    /// Roles: `system`, `developer`, `user`, `assistant`, `tool`, `function`, `ipython`. `content` is a string or a list
    /// of `text`/`thinking` parts; `null` only beside `tool_calls`. `weight: 0 | 1` and `train: true | false` choose
    /// which assistant messages are trained and become [`attune_text::Message::train`]. Keys of a message with the
    /// value `null` are dropped (table formats fill them in). `tools` may be a list or a string that holds one.
    Messages,
    /// `{"prompt", "completion"}` or `{"question", "answer"}`.
    ///
    /// Two strings become [`RowContent::Completion`]. Two lists of messages become one chat, in which the assistant
    /// messages of the prompt are not trained unless they say so. An empty prompt is allowed, an empty completion not.
    PromptCompletion,
    /// `{"instruction", "output", "input"?, "system"?, "history"?, "tools"?}`.
    ///
    /// The user's turn is the instruction, and on the next line the input if there is one; empty `input` and `system`
    /// count as absent. `history` is a list of `[question, answer]`, all of which are turns like any other.
    Alpaca,
    /// `{"conversations": [{"from", "value"}, ...], "system"?, "tools"?}`; the list may be called `messages`.
    ///
    /// `from`: `human`/`user`, `gpt`/`chatgpt`/`assistant`/`model`/`bot`, `system`, `observation`/`tool`/
    /// `function_response`/`tool_response`, and `function_call`, whose value is JSON (`{"name", "arguments"}` or a list
    /// of these) and becomes an assistant message with `tool_calls`. A bare tool (`{"name", ...}`) is wrapped as
    /// `{"type": "function", "function": {...}}`, which is what chat templates read.
    Sharegpt,
    /// `{"text"}`: a document. Becomes a completion without a prompt.
    Text,
    /// A prompt with two answers: `{"prompt", "chosen", "rejected"}`. Prompts may be called `question` or `instruction`
    /// (with `input`) or be a list of messages, in `conversations` or `messages` too; without one, `chosen` and
    /// `rejected` are conversations (lists, or transcripts with `Human:` and `Assistant:`) that begin alike. Answers are
    /// strings, messages or lists of messages.
    Preference,
    /// An example of one of the first four forms with the word whether its answer is wanted: `label` or `kto_tag`, true
    /// or false (also 1 or 0, `desirable` or `undesirable`), or the answer under the key `desirable` or `undesirable`.
    Kto,
}

impl Form {
    /// All forms.
    pub const ALL: [Self; 7] =
        [Self::Messages, Self::PromptCompletion, Self::Alpaca, Self::Sharegpt, Self::Text, Self::Preference, Self::Kto];

    /// The name that `data.format` knows.
    pub fn name(self) -> &'static str {
        match self {
            Self::Messages => "messages",
            Self::PromptCompletion => "prompt-completion",
            Self::Alpaca => "alpaca",
            Self::Sharegpt => "sharegpt",
            Self::Text => "text",
            Self::Preference => "preference",
            Self::Kto => "kto",
        }
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// `data.format`: find the form of each file, or read all files as one form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FormatChoice {
    /// Find out from all rows.
    #[default]
    Auto,
    /// [`Form::Messages`].
    Messages,
    /// [`Form::PromptCompletion`].
    PromptCompletion,
    /// [`Form::Alpaca`].
    Alpaca,
    /// [`Form::Sharegpt`].
    Sharegpt,
    /// [`Form::Text`].
    Text,
    /// [`Form::Preference`].
    Preference,
    /// [`Form::Kto`].
    Kto,
}

impl FormatChoice {
    /// The form that was asked for, `None` for [`FormatChoice::Auto`].
    pub fn form(self) -> Option<Form> {
        match self {
            Self::Auto => None,
            Self::Messages => Some(Form::Messages),
            Self::PromptCompletion => Some(Form::PromptCompletion),
            Self::Alpaca => Some(Form::Alpaca),
            Self::Sharegpt => Some(Form::Sharegpt),
            Self::Text => Some(Form::Text),
            Self::Preference => Some(Form::Preference),
            Self::Kto => Some(Form::Kto),
        }
    }
}

impl From<Form> for FormatChoice {
    fn from(form: Form) -> Self {
        match form {
            Form::Messages => Self::Messages,
            Form::PromptCompletion => Self::PromptCompletion,
            Form::Alpaca => Self::Alpaca,
            Form::Sharegpt => Self::Sharegpt,
            Form::Text => Self::Text,
            Form::Preference => Self::Preference,
            Form::Kto => Self::Kto,
        }
    }
}

/// Where a row stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct RowOrigin {
    /// The file, as it was named by the user.
    pub file: Arc<Path>,
    /// Number of the row in its file, from 1; blank lines are no rows.
    pub row: usize,
    /// Line on which the row starts, from 1.
    pub line: usize,
}

impl fmt::Display for RowOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{} (row {})", self.file.display(), self.line, self.row)
    }
}

/// What a row says.
#[derive(Debug, Clone, PartialEq)]
pub enum RowContent {
    /// A chat, to be rendered by the model's template.
    Chat(Conversation),
    /// A prompt and how it goes on, as plain text; whether that is trained raw or as a chat is the trainer's choice.
    Completion {
        /// Text that is given. May be empty.
        prompt: String,
        /// Text that is learned.
        completion: String,
    },
    /// One prompt, an answer that is wanted and one that is not.
    Preference(Pair),
    /// An example, and whether its answer is wanted.
    Judged {
        /// A chat or a completion.
        example: Box<RowContent>,
        /// Whether the answer is wanted.
        desirable: bool,
    },
}

/// Two answers to one prompt.
#[derive(Debug, Clone, PartialEq)]
pub enum Pair {
    /// Plain text.
    Text {
        /// Text that is given.
        prompt: String,
        /// The answer that is wanted.
        chosen: String,
        /// The other one.
        rejected: String,
    },
    /// A chat, to be rendered by the model's template.
    Chat {
        /// The messages before the answer, and the tools.
        prompt: Conversation,
        /// The messages of the answer that is wanted.
        chosen: Vec<Message>,
        /// Those of the other one.
        rejected: Vec<Message>,
    },
}

impl Pair {
    /// The wanted answer after its prompt, as an example of its own.
    pub fn chosen(&self) -> RowContent {
        match self {
            Self::Text { prompt, chosen, .. } => {
                RowContent::Completion { prompt: prompt.clone(), completion: chosen.clone() }
            }
            Self::Chat { prompt, chosen, .. } => answered(prompt, chosen),
        }
    }

    /// The other answer after its prompt, as an example of its own.
    pub fn rejected(&self) -> RowContent {
        match self {
            Self::Text { prompt, rejected, .. } => {
                RowContent::Completion { prompt: prompt.clone(), completion: rejected.clone() }
            }
            Self::Chat { prompt, rejected, .. } => answered(prompt, rejected),
        }
    }
}

/// A chat of which the answer alone is trained, unless a message says otherwise.
fn answered(prompt: &Conversation, answer: &[Message]) -> RowContent {
    let mut messages = prompt.messages.clone();
    for message in messages.iter_mut().filter(|message| message.role == "assistant") {
        message.train = message.train.or(Some(false));
    }
    messages.extend_from_slice(answer);
    RowContent::Chat(Conversation { messages, tools: prompt.tools.clone() })
}

impl RowContent {
    /// The examples that the row holds: itself, both answers of a pair, the example that is judged. All of them are
    /// chats or completions.
    pub fn examples(&self) -> Vec<Self> {
        match self {
            Self::Chat(_) | Self::Completion { .. } => vec![self.clone()],
            Self::Preference(pair) => vec![pair.chosen(), pair.rejected()],
            Self::Judged { example, .. } => vec![(**example).clone()],
        }
    }
}

/// One example.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Where it stands.
    pub origin: RowOrigin,
    /// BLAKE3 of the canonical content: equal for rows that mean the same, whatever their form, key order, spacing,
    /// escapes and notes. Computed over compact JSON of `content` with the keys of every object sorted, so an alpaca row
    /// and the same chat as `messages` are equal, while plain text and a chat are not. Text is compared exactly.
    pub hash: [u8; 32],
    /// The form it was read as.
    pub form: Form,
    /// What it says.
    pub content: RowContent,
}

/// One file that was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileReport {
    /// The file, as it was named by the user.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// BLAKE3 of its bytes, in hex.
    pub hash: String,
    /// The form of all its rows.
    pub form: Form,
    /// Number of rows.
    pub rows: usize,
    /// What became of its turns, if it was read as a transcript.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transcript: Option<TranscriptFacts>,
}

impl fmt::Display for FileReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = if self.rows == 1 { "row" } else { "rows" };
        write!(f, "{}: {}, {} {rows}, {}", self.path.display(), self.form, self.rows, readable_bytes(self.bytes))
    }
}

/// The rows of all files, in the order of the files.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DataSet {
    /// All rows.
    pub rows: Vec<Row>,
    /// The files they came from.
    pub files: Vec<FileReport>,
}

impl DataSet {
    /// One line per file: path, form, rows, size.
    pub fn summary(&self) -> String {
        self.files.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }
}

/// Decimal units, one place: `4.2 MB`.
fn readable_bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if bytes < 1000 {
        return format!("{bytes} bytes");
    }
    let mut size = bytes as f64 / 1000.0;
    let mut unit = 0;
    while size >= 999.95 && unit + 1 < UNITS.len() {
        size /= 1000.0;
        unit += 1;
    }
    format!("{size:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_reads_like_a_compiler_message() {
        let origin = RowOrigin { file: Path::new("train.jsonl").into(), row: 12, line: 13 };
        assert_eq!(origin.to_string(), "train.jsonl:13 (row 12)");
    }

    #[test]
    fn the_summary_has_one_line_per_file() {
        let report = |path: &str, bytes, rows, form| FileReport {
            path: path.into(),
            bytes,
            hash: String::new(),
            form,
            rows,
            transcript: None,
        };
        let set = DataSet {
            rows: Vec::new(),
            files: vec![
                report("a.jsonl", 4_166_206, 7473, Form::PromptCompletion),
                report("b.json", 40, 1, Form::Alpaca),
            ],
        };
        assert_eq!(set.summary(), "a.jsonl: prompt-completion, 7473 rows, 4.2 MB\nb.json: alpaca, 1 row, 40 bytes");
    }

    #[test]
    fn sizes_round_into_the_next_unit() {
        assert_eq!(readable_bytes(999), "999 bytes");
        assert_eq!(readable_bytes(1000), "1.0 kB");
        assert_eq!(readable_bytes(999_949), "999.9 kB");
        assert_eq!(readable_bytes(999_950), "1.0 MB");
        assert_eq!(readable_bytes(u64::MAX), "18446744.1 TB");
    }

    #[test]
    fn every_form_is_a_choice() {
        for form in Form::ALL {
            assert_eq!(FormatChoice::from(form).form(), Some(form));
        }
        assert_eq!(FormatChoice::default().form(), None);
    }
}
