//! What can go wrong between a chat and its tokens.

use std::path::PathBuf;

/// An error of this crate. [`TextError::hint`] says what to do about it.
///
/// Positions of messages count from 1, as a person would.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// A file could not be read.
    #[error("cannot read {path}: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A GGUF file is broken.
    #[error(transparent)]
    Gguf(#[from] attune_formats::gguf::GgufError),
    /// A file is larger than any real one of its kind.
    #[error("{path} has {bytes} bytes; at most {limit} are read", path = path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// The bound.
        limit: u64,
    },
    /// A file is not UTF-8.
    #[error("{path} is not UTF-8 (byte {byte})", path = path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// Offset of the first bad byte.
        byte: usize,
    },
    /// A file is not JSON.
    #[error("{path} is not valid JSON: {source}", path = path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Line, column and reason.
        source: serde_json::Error,
    },
    /// A key of a JSON file has the wrong type.
    #[error("{path}: `{key}` must be {expected}, found {got}", path = path.display())]
    WrongType {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// What it has to be.
        expected: &'static str,
        /// What it is.
        got: &'static str,
    },
    /// The model folder has no tokenizer.
    #[error("no tokenizer.json in {dir}", dir = dir.display())]
    NoTokenizer {
        /// The folder.
        dir: PathBuf,
    },
    /// `tokenizer.json` is not a tokenizer that can be used.
    #[error("cannot use {path}: {reason}", path = path.display())]
    BadTokenizer {
        /// The file.
        path: PathBuf,
        /// What the tokenizer library said.
        reason: String,
    },
    /// A vocabulary of another format breaks one of its rules.
    #[error("the vocabulary in {path} is damaged: {rule}", path = path.display())]
    BadVocabulary {
        /// The file.
        path: PathBuf,
        /// Which rule, and where it is broken.
        rule: String,
    },
    /// A vocabulary of a kind that this program has no tokenizer for.
    #[error("{path}: the {what} {name:?} is not supported (known: {known})", path = path.display())]
    UnknownVocabulary {
        /// The file.
        path: PathBuf,
        /// What is unknown, as in `pre-tokenizer`.
        what: &'static str,
        /// Its name in the file.
        name: String,
        /// The names that are supported.
        known: String,
    },
    /// The tokenizer has a part that the target format cannot express.
    #[error("the tokenizer's {part} has no counterpart in {format}: {found} (known: {known})")]
    NoCounterpart {
        /// The format that was to be written.
        format: &'static str,
        /// The part, as in `pre-tokenizer`.
        part: &'static str,
        /// What the tokenizer has.
        found: String,
        /// What could be written.
        known: String,
    },
    /// A token that the configuration names is not in the vocabulary.
    #[error("{path}: `{key}` is {token:?}, which the tokenizer does not know", path = path.display())]
    UnknownToken {
        /// The file that names the token.
        path: PathBuf,
        /// The key.
        key: &'static str,
        /// The token's text.
        token: String,
    },
    /// A chat was given, but the model has no chat template.
    #[error("the model in {dir} has no chat template", dir = dir.display())]
    NoChatTemplate {
        /// The model folder.
        dir: PathBuf,
    },
    /// The chosen chat template is neither a builtin nor a file.
    #[error("chat template {name:?} is neither a builtin (chatml, plain) nor a file")]
    UnknownTemplate {
        /// What was asked for.
        name: String,
    },
    /// A builtin template needs tokens that the tokenizer lacks.
    #[error("the builtin chat template `{template}` needs {needs}, which this tokenizer lacks")]
    TemplateNeedsToken {
        /// `chatml` or `plain`.
        template: &'static str,
        /// The tokens.
        needs: &'static str,
    },
    /// The chat template does not parse.
    #[error("chat template {origin}, line {line}: {reason}")]
    TemplateSyntax {
        /// Where the template comes from.
        origin: String,
        /// Line in the template.
        line: usize,
        /// What the parser said.
        reason: String,
    },
    /// The chat template asks for more work, memory or output than any chat needs.
    #[error("chat template {origin} exceeds its bounds: {reason}")]
    TemplateBounds {
        /// Where the template comes from.
        origin: String,
        /// Which bound.
        reason: String,
    },
    /// The template refuses the chat (`raise_exception`).
    #[error("{}the chat template refuses it: {reason}", place(*message, role))]
    TemplateRefused {
        /// First message at which it refuses; 0 when that could not be told.
        message: usize,
        /// The role of that message.
        role: String,
        /// The template's own words.
        reason: String,
    },
    /// The template failed while it ran.
    #[error("{}chat template {origin}, line {line}: {reason}", place(*message, role))]
    TemplateFailed {
        /// First message at which it fails; 0 when that could not be told.
        message: usize,
        /// The role of that message.
        role: String,
        /// Where the template comes from.
        origin: String,
        /// Line in the template.
        line: usize,
        /// What the engine said.
        reason: String,
    },
    /// The template leaves out a message, or a part of it.
    #[error("message {message} ({role}): the chat template drops its {part}")]
    MessageDropped {
        /// Position of the message.
        message: usize,
        /// Its role.
        role: String,
        /// `content` or `tool calls`.
        part: &'static str,
    },
    /// A text holds the text of a special token, which would become that token.
    #[error("{}{part} holds {marker:?}, which the tokenizer reads as a special token", place(*message, role))]
    MarkerInText {
        /// Position of the message; 0 for the tools of the chat.
        message: usize,
        /// Its role.
        role: String,
        /// Which field holds it.
        part: String,
        /// The special token's text.
        marker: String,
    },
    /// It cannot be told where a message stands in the rendered chat.
    #[error("message {message} ({role}): cannot tell where the chat template puts it")]
    CannotLocate {
        /// Position of the message.
        message: usize,
        /// Its role.
        role: String,
    },
    /// A chat to train on has no assistant message.
    #[error("the chat has {messages} messages and none of them is an assistant turn")]
    NoAssistantTurn {
        /// How many messages there are.
        messages: usize,
    },
    /// A row with several answers, or with one that may not be wanted, is no single text.
    #[error("preference data is not one text to be learned")]
    Preference,
    /// Nothing in the row would be trained.
    #[error("no token of the row would be trained: {reason}")]
    NoTrainedToken {
        /// Why.
        reason: &'static str,
    },
    /// The chat template writes the beginning-of-text token twice.
    #[error("the chat starts with {token:?} twice")]
    DoubleBos {
        /// The token's text.
        token: String,
    },
    /// A completion must end with an end-of-text token and the tokenizer names none.
    #[error("the tokenizer names no eos_token, so a completion cannot end")]
    NoEos,
    /// A chat has more messages than can be told apart.
    #[error("the chat has {messages} messages; at most {limit} are supported")]
    TooManyMessages {
        /// How many there are.
        messages: usize,
        /// The bound.
        limit: usize,
    },
    /// A chat holds characters of both supplementary private-use planes.
    #[error("the chat holds private-use characters of both U+F0000 and U+100000 planes")]
    PrivateUse,
    /// A new tokenizer could not be trained.
    #[error("no tokenizer was trained: {reason}")]
    TrainTokenizer {
        /// What is wrong.
        reason: String,
    },
    /// The tokenizer failed on a text.
    #[error("the tokenizer failed: {reason}")]
    Encode {
        /// What it said.
        reason: String,
    },
}

fn place(message: usize, role: &str) -> String {
    if message == 0 { String::new() } else { format!("message {message} ({role}): ") }
}

impl TextError {
    /// What the user can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Read { .. } => "check the path and its permissions",
            Self::Gguf(_) => "the file is damaged or no whole language model: fetch it again and compare its checksum",
            Self::TooLarge { .. } => "this is not the file it should be; download the model again",
            Self::NotUtf8 { .. } | Self::Json { .. } | Self::WrongType { .. } | Self::BadTokenizer { .. } => {
                "the file is damaged or of an unknown form; download the model again"
            }
            Self::NoTokenizer { .. } => {
                "a model folder has tokenizer.json, tokenizer.model, tekken.json or a *.tiktoken file: download it again, \
                 or set model.tokenizer to a folder that has one"
            }
            Self::BadVocabulary { .. } => {
                "the file is damaged or was written by a broken converter; download it again, or set model.tokenizer \
                 to a folder with the model's tokenizer.json"
            }
            Self::UnknownVocabulary { .. } => "set model.tokenizer to a folder with the model's tokenizer.json",
            Self::NoCounterpart { .. } => "export to a Hugging Face folder instead, which keeps the tokenizer as it is",
            Self::UnknownToken { .. } => "tokenizer.json and tokenizer_config.json are not of the same model",
            Self::NoChatTemplate { .. } => {
                "set model.chat_template to `chatml` (if the tokenizer has <|im_start|> and <|im_end|>), to `plain` \
                 (works with any base model), or to the path of a Jinja file"
            }
            Self::UnknownTemplate { .. } => "set model.chat_template to chatml, plain or the path of a Jinja file",
            Self::TemplateNeedsToken { template, .. } => match *template {
                "chatml" => "set model.chat_template to `plain`, or use a base model whose tokenizer has these tokens",
                _ => "use a tokenizer that has an eos_token, or set model.chat_template to the path of a Jinja file",
            },
            Self::TemplateSyntax { .. } | Self::TemplateFailed { .. } => {
                "correct the template, or set model.chat_template to another one"
            }
            Self::TemplateBounds { .. } => {
                "the template is hostile or broken, or the chat is enormous: set model.chat_template to another template"
            }
            Self::TemplateRefused { .. } => {
                "change the row so that it suits the model (order of roles, system message, tool call ids), or choose \
                 another model.chat_template"
            }
            Self::MessageDropped { part, .. } => match *part {
                "tool calls" => "the template does not know tool calls: use a template that does, or leave the row out",
                _ => "move the text into a message that the template keeps, or choose another model.chat_template",
            },
            Self::MarkerInText { .. } => {
                "it would silently change the structure of the chat: take the marker out of the text or reword it"
            }
            Self::CannotLocate { .. } => {
                "mark the trained text in the template with {% generation %} and {% endgeneration %}"
            }
            Self::NoAssistantTurn { .. } => "leave the row out, or set data.train_on to all",
            Self::Preference => "to train on the wanted answers alone, write them as messages",
            Self::NoTrainedToken { .. } => "leave the row out, or give it an answer that is trained",
            Self::DoubleBos { .. } => "take {{ bos_token }} out of the chat template or the token out of the text",
            Self::NoEos => "set eos_token in tokenizer_config.json",
            Self::TooManyMessages { .. } => "split the chat",
            Self::PrivateUse => "take the private-use characters of one of the two planes out of the row",
            Self::TrainTokenizer { .. } => "give more text, or change the options that are named",
            Self::Encode { .. } => "the text or the tokenizer is damaged; try the row alone with `ft data inspect`",
        }
    }

    /// Position (from 1) and role of the message at fault, when there is one.
    pub fn message(&self) -> Option<(usize, &str)> {
        match self {
            Self::TemplateRefused { message, role, .. }
            | Self::TemplateFailed { message, role, .. }
            | Self::MessageDropped { message, role, .. }
            | Self::MarkerInText { message, role, .. }
            | Self::CannotLocate { message, role }
                if *message > 0 =>
            {
                Some((*message, role))
            }
            _ => None,
        }
    }
}
