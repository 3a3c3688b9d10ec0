//! The values that keys take where a number or a text will not do.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};

/// Declares an enum whose YAML spelling is the kebab-case of its variants.
macro_rules! choices {
    ($(#[$meta:meta])* $name:ident { $($(#[$variant_meta:meta])* $variant:ident),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "kebab-case")]
        pub enum $name { $($(#[$variant_meta])* $variant),+ }
    };
}

choices! {
    /// The kind of adapter.
    AdapterMethod {
        /// low-rank adaptation
        Lora,
        /// low-rank adaptation of the directions of a weight's rows, their norms trained apart; slower
        Dora,
        /// full fine-tuning: every weight of the model, embedding and norms included; no other key of the section applies
        Full,
    }
}

choices! {
    /// Where the weights come from.
    ModelInit {
        /// the weights of the base model
        Pretrained,
        /// weights drawn at random from `training.seed`, to train a model from scratch; needs `adapter.method: full`
        Random,
    }
}

choices! {
    /// The type of weights that are trained.
    TrainedType {
        /// that of the base; f32 for random weights
        Auto,
        /// 32 bits
        F32,
        /// 16 bits, with masters of 32 bits in the optimizer
        Bf16,
    }
}

choices! {
    /// How the base is kept in memory.
    Quantize {
        /// as they are stored
        None,
        /// 4-bit quantiles of the normal distribution in blocks of 64 with scales of 8 bits, embedding and head as int8: a third of bf16's memory or less (QLoRA)
        Nf4,
        /// 8-bit integers in blocks of 32 (GGUF's Q8_0): about half of bf16's memory
        Int8,
    }
}

choices! {
    /// The form of the rows.
    DataFormat {
        /// find out from the rows
        Auto,
        /// {"messages": [{"role": ..., "content": ...}, ...]}
        Messages,
        /// {"prompt": ..., "completion": ...}
        PromptCompletion,
        /// {"instruction": ..., "input": ..., "output": ...}
        Alpaca,
        /// {"conversations": [{"from": ..., "value": ...}, ...]}
        Sharegpt,
        /// {"text": ...}, a document
        Text,
        /// {"prompt": ..., "chosen": ..., "rejected": ...}
        Preference,
        /// an example with {"label": true | false}
        Kto,
    }
}

choices! {
    /// How prompt/completion rows of plain text are presented to the model.
    CompletionStyle {
        /// chat when the model has a chat template, else raw
        Auto,
        /// as a user and an assistant turn in the chat template
        Chat,
        /// as plain text, one after the other
        Raw,
    }
}

choices! {
    /// The part of an example that the loss is taken over.
    TrainOn {
        /// all assistant turns, their end of turn included
        Assistant,
        /// the last assistant turn only
        Last,
        /// every token
        All,
    }
}

choices! {
    /// What happens to an example with too many tokens.
    Overlong {
        /// stop before training and name the row
        Error,
        /// leave the example out and count it
        Drop,
        /// cut tokens at its start
        TruncateLeft,
        /// cut tokens at its end
        TruncateRight,
    }
}

choices! {
    /// What happens to an example in which no token would be trained.
    Untrained {
        /// stop before training and name the row
        Error,
        /// leave the example out and count it
        Drop,
    }
}

choices! {
    /// What is learnt from the examples.
    Objective {
        /// supervised fine-tuning: the likelihood of the trained tokens
        Sft,
    }
}

choices! {
    /// How the learning rate falls after the warm-up.
    Schedule {
        /// it stays
        Constant,
        /// in a straight line
        Linear,
        /// along half a cosine
        Cosine,
    }
}

choices! {
    /// What computes.
    BackendChoice {
        /// the fastest one that this machine has
        Auto,
        /// threads and vector instructions
        Cpu,
        /// plain loops with f64 sums: slow, the specification of the others
        Reference,
    }
}

choices! {
    /// How the examples of a micro-batch lie in memory.
    Layout {
        /// one after the other, no padding
        Packed,
        /// each padded to the longest
        Padded,
    }
}

choices! {
    /// What is shown while the run goes on.
    Display {
        /// live on a terminal, else plain
        Auto,
        /// a panel that is redrawn in place
        Live,
        /// one line per record
        Plain,
        /// errors only
        Quiet,
    }
}

/// A linear layer of the decoder block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum TargetModule {
    /// the queries of attention
    QProj,
    /// the keys of attention
    KProj,
    /// the values of attention
    VProj,
    /// the output of attention
    OProj,
    /// the gate of the feed-forward part
    GateProj,
    /// the way up into the feed-forward part
    UpProj,
    /// the way down out of the feed-forward part
    DownProj,
}

impl TargetModule {
    /// All of them, in the order of the forward pass.
    pub const ALL: [Self; 7] =
        [Self::QProj, Self::KProj, Self::VProj, Self::OProj, Self::GateProj, Self::UpProj, Self::DownProj];

    /// The name in checkpoints, for instance `q_proj`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::QProj => "q_proj",
            Self::KProj => "k_proj",
            Self::VProj => "v_proj",
            Self::OProj => "o_proj",
            Self::GateProj => "gate_proj",
            Self::UpProj => "up_proj",
            Self::DownProj => "down_proj",
        }
    }
}

/// Key `adapter.target_modules`: `all-linear`, or a list of names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetModules {
    /// Every linear layer of the decoder blocks.
    AllLinear,
    /// These only.
    List(Vec<TargetModule>),
}

impl TargetModules {
    const ALL_LINEAR: &'static str = "all-linear";

    /// The modules that are meant, in the order they were given.
    #[must_use]
    pub fn modules(&self) -> &[TargetModule] {
        match self {
            Self::AllLinear => &TargetModule::ALL,
            Self::List(modules) => modules,
        }
    }
}

impl Serialize for TargetModules {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::AllLinear => serializer.serialize_str(Self::ALL_LINEAR),
            Self::List(modules) => modules.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for TargetModules {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Name(String),
            List(Vec<TargetModule>),
        }
        match Form::deserialize(deserializer)? {
            Form::Name(name) if name == Self::ALL_LINEAR => Ok(Self::AllLinear),
            Form::Name(name) => {
                Err(serde::de::Error::custom(format!("`{name}` is neither `all-linear` nor a list of modules")))
            }
            Form::List(modules) => Ok(Self::List(modules)),
        }
    }
}

impl JsonSchema for TargetModules {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "TargetModules".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let module = generator.subschema_for::<TargetModule>();
        json_schema!({
            "anyOf": [
                { "type": "string", "const": Self::ALL_LINEAR },
                { "type": "array", "items": module, "minItems": 1, "uniqueItems": true },
            ]
        })
    }
}

/// Key `adapter.layers`: which decoder layers get adapters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub enum Layers {
    /// every layer
    All,
    /// the N layers nearest to the input
    First(#[schemars(range(min = 1, max = 1000000))] usize),
    /// the N layers nearest to the output
    Last(#[schemars(range(min = 1, max = 1000000))] usize),
}

/// Chat templates that come with Attune.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BuiltinTemplate {
    /// `<|im_start|>role` ... `<|im_end|>`
    Chatml,
    /// The messages' texts and nothing else.
    Plain,
}

impl BuiltinTemplate {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Chatml, Self::Plain];

    /// The name in `ft.yaml`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Chatml => "chatml",
            Self::Plain => "plain",
        }
    }
}

/// Key `model.chat_template`: a built-in template by name, or a file.
///
/// A bare word (no dot, no slash) is a built-in name, anything else a path, so that a misspelt name is an error rather
/// than a file that is not there.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum ChatTemplate {
    /// One that comes with Attune.
    Builtin(BuiltinTemplate),
    /// A file in Jinja.
    File(PathBuf),
}

impl ChatTemplate {
    /// Whether this text names a file rather than a built-in template.
    pub(crate) fn is_path(text: &str) -> bool {
        text.contains(['/', '\\', '.'])
    }
}

impl fmt::Display for ChatTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Builtin(builtin) => f.write_str(builtin.name()),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

impl TryFrom<String> for ChatTemplate {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if Self::is_path(&text) {
            return Ok(Self::File(PathBuf::from(text)));
        }
        BuiltinTemplate::ALL
            .into_iter()
            .find(|builtin| builtin.name() == text)
            .map(Self::Builtin)
            .ok_or_else(|| format!("no built-in chat template is called `{text}`; a file needs a `.` or `/`: ./{text}"))
    }
}

impl Serialize for ChatTemplate {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Builtin(builtin) => serializer.serialize_str(builtin.name()),
            Self::File(path) => path.serialize(serializer),
        }
    }
}

pub(crate) fn chat_template_schema(_: &mut SchemaGenerator) -> Schema {
    let names: Vec<_> = BuiltinTemplate::ALL.iter().map(|builtin| builtin.name()).collect();
    json_schema!({
        "anyOf": [
            { "type": "string", "enum": names },
            { "type": "string", "pattern": r"[./\\]", "title": "a path" },
            { "type": "null" },
        ]
    })
}

/// A day of the Gregorian calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date {
    year: u16,
    month: u8,
    day: u8,
}

impl Date {
    /// The day, if the calendar has it; years 1 to 9999.
    #[must_use]
    pub fn new(year: u16, month: u8, day: u8) -> Option<Self> {
        let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        let days = match month {
            1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
            4 | 6 | 9 | 11 => 30,
            2 if leap => 29,
            2 => 28,
            _ => return None,
        };
        ((1..=9999).contains(&year) && (1..=days).contains(&day)).then_some(Self { year, month, day })
    }

    /// The year, 1 to 9999.
    #[must_use]
    pub fn year(self) -> u16 {
        self.year
    }

    /// The month, 1 to 12.
    #[must_use]
    pub fn month(self) -> u8 {
        self.month
    }

    /// The day of the month, from 1.
    #[must_use]
    pub fn day(self) -> u8 {
        self.day
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

impl FromStr for Date {
    type Err = String;

    /// Reads `YYYY-MM-DD`, all digits.
    fn from_str(text: &str) -> Result<Self, String> {
        let bytes = text.as_bytes();
        let digits = |range: std::ops::Range<usize>| -> Option<u16> {
            let part = text.get(range)?;
            part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse().ok()).flatten()
        };
        let date = || {
            if bytes.len() != 10 || bytes[4] != b'-' || bytes[7] != b'-' {
                return None;
            }
            Self::new(digits(0..4)?, u8::try_from(digits(5..7)?).ok()?, u8::try_from(digits(8..10)?).ok()?)
        };
        date().ok_or_else(|| format!("`{text}` is not a day of the calendar written YYYY-MM-DD"))
    }
}

/// Key `model.template_date`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum TemplateDate {
    /// The day on which the run starts.
    #[default]
    Today,
    /// This day.
    On(Date),
}

impl TemplateDate {
    const TODAY: &'static str = "today";

    /// The date to use on the day `today`. A run records it, so that resuming it later changes nothing.
    #[must_use]
    pub fn resolve(self, today: Date) -> Date {
        match self {
            Self::Today => today,
            Self::On(date) => date,
        }
    }
}

impl TryFrom<String> for TemplateDate {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text == Self::TODAY { Ok(Self::Today) } else { text.parse().map(Self::On) }
    }
}

impl From<TemplateDate> for String {
    fn from(date: TemplateDate) -> Self {
        match date {
            TemplateDate::Today => TemplateDate::TODAY.to_owned(),
            TemplateDate::On(date) => date.to_string(),
        }
    }
}

pub(crate) fn template_date_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "anyOf": [
            { "type": "string", "const": TemplateDate::TODAY },
            { "type": "string", "format": "date", "pattern": r"^\d{4}-\d{2}-\d{2}$", "title": "a date (YYYY-MM-DD)" },
        ]
    })
}

/// A path, or a list of paths: the YAML form of a `Vec<PathBuf>`.
#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum OneOrMany {
    One(PathBuf),
    Many(Vec<PathBuf>),
}

impl JsonSchema for OneOrMany {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "OneOrMany".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "type": "string", "minLength": 1, "title": "a path" },
                { "type": "array", "items": { "type": "string", "minLength": 1, "title": "a path" },
                  "title": "a list of paths" },
            ]
        })
    }
}

pub(crate) fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<PathBuf>, D::Error> {
    Ok(match OneOrMany::deserialize(deserializer)? {
        OneOrMany::One(path) => vec![path],
        OneOrMany::Many(paths) => paths,
    })
}

/// Whether a path begins with `~`, which nothing here expands.
pub(crate) fn begins_with_home(path: &Path) -> bool {
    path.components().next().is_some_and(|first| first.as_os_str().as_encoded_bytes().first() == Some(&b'~'))
}

/// Schema of a map from module names to ranks.
pub(crate) fn rank_pattern_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "additionalProperties": { "type": "integer", "minimum": 1, "maximum": 8192 },
    })
}

/// Keys of a row that a column can stand for.
pub(crate) const ROW_KEYS: [&str; 26] = [
    "messages",
    "conversations",
    "tools",
    "system",
    "prompt",
    "completion",
    "question",
    "answer",
    "instruction",
    "input",
    "output",
    "history",
    "text",
    "chosen",
    "rejected",
    "label",
    "desirable",
    "undesirable",
    "role",
    "tags",
    "source",
    "group",
    "document",
    "parent",
    "title",
    "language",
];

/// Schema of a map from our keys to columns of a file.
pub(crate) fn columns_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "additionalProperties": { "type": "string", "minLength": 1 } })
}

/// Schema of the weights of files.
pub(crate) fn weights_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "items": { "type": "number", "exclusiveMinimum": 0, "maximum": 1000 },
        "title": "a list of numbers",
    })
}

/// Schema of a map from module names to alphas.
pub(crate) fn alpha_pattern_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "additionalProperties": { "type": "number", "exclusiveMinimum": 0 },
    })
}
