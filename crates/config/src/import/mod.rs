//! Configurations of other tools become `ft.yaml`: one table per tool says what becomes of each of its keys.
//!
//! No key is passed over in silence: each is taken over, or said to have no effect here, or to have no counterpart. What
//! a tool assumes where its file is silent, and Attune assumes differently, is written out.

mod axolotl;
mod common;
mod llama_factory;
mod mlx;

use std::fmt;

use serde_json::{Map, Value};

use crate::error::{ConfigError, Origin};
use crate::init::flow;
use crate::node::Node;
use crate::sections::Config;

/// Where the sections of the result come from, in the order of the schema.
const SECTIONS: [&str; 8] = ["model", "adapter", "data", "training", "checkpoint", "evaluation", "hardware", "logging"];

/// The tools whose configurations are understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// Axolotl's YAML.
    Axolotl,
    /// LLaMA-Factory's YAML for `llamafactory-cli train`.
    LlamaFactory,
    /// The YAML of `mlx_lm.lora --config`.
    Mlx,
}

impl Tool {
    const ALL: [Self; 3] = [Self::Axolotl, Self::LlamaFactory, Self::Mlx];

    fn table(self) -> &'static Table {
        match self {
            Self::Axolotl => &axolotl::TABLE,
            Self::LlamaFactory => &llama_factory::TABLE,
            Self::Mlx => &mlx::TABLE,
        }
    }
}

impl fmt::Display for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Axolotl => "Axolotl",
            Self::LlamaFactory => "LLaMA-Factory",
            Self::Mlx => "mlx-lm",
        })
    }
}

/// What is known of a tool's keys.
struct Table {
    /// Keys that no other of the tools has: they tell whose file it is.
    markers: &'static [&'static str],
    /// What becomes of each key.
    rules: &'static [Rule],
    /// Sees the whole file after all keys: what the tool assumes where the file is silent.
    assume: fn(&Source, &mut Draft),
}

/// A key and what becomes of it.
struct Rule(&'static str, Fate);

enum Fate {
    /// Means the same as this key, the value too.
    To(&'static str),
    /// Needs a look at the value, or at other keys.
    Via(fn(&Source, &str, &Value, &mut Draft)),
    /// Says nothing about the result here: why.
    NoEffect(&'static str),
    /// Attune has no such thing: what that means.
    Nothing(&'static str),
}

/// The keys of a file.
struct Source {
    keys: Map<String, Value>,
}

impl Source {
    /// The value of a key that is there and not null.
    fn get(&self, key: &str) -> Option<&Value> {
        self.keys.get(key).filter(|value| !value.is_null())
    }
}

/// A key of the tool and what is to be said of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The key with its value, shortened.
    pub key: String,
    /// Why it has no effect, or what its lack means.
    pub text: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.text)
    }
}

/// A key of `ft.yaml`, its value, and where it comes from.
struct Setting {
    key: &'static str,
    value: Value,
    from: String,
}

/// What has been gathered.
#[derive(Default)]
struct Draft {
    settings: Vec<Setting>,
    without_effect: Vec<Note>,
    without_counterpart: Vec<Note>,
}

impl Draft {
    fn set(&mut self, key: &'static str, value: impl Into<Value>, from: impl Into<String>) {
        self.settings.retain(|setting| setting.key != key);
        self.settings.push(Setting { key, value: value.into(), from: from.into() });
    }

    /// Sets what the tool assumes, unless the file said otherwise.
    fn assume(&mut self, key: &'static str, value: impl Into<Value>) {
        if !self.has(key) {
            self.set(key, value, "the tool's default");
        }
    }

    fn has(&self, key: &str) -> bool {
        self.settings.iter().any(|setting| setting.key == key)
    }

    /// Whether anything was said of a key of the tool's.
    fn mentions(&self, key: &str) -> bool {
        let notes = self.without_effect.iter().chain(&self.without_counterpart);
        self.settings.iter().any(|setting| setting.from.contains(key))
            || notes.into_iter().any(|note| note.key.contains(key))
    }

    fn without_effect(&mut self, key: &str, value: &Value, text: impl Into<String>) {
        self.without_effect.push(Note { key: shown(key, value), text: text.into() });
    }

    fn without_counterpart(&mut self, key: &str, value: &Value, text: impl Into<String>) {
        self.without_counterpart.push(Note { key: shown(key, value), text: text.into() });
    }

    /// The settings as YAML, section by section.
    fn yaml(&self, head: &[String]) -> String {
        let mut text = String::new();
        head.iter().for_each(|line| text.push_str(&comment("", line)));
        for section in SECTIONS {
            let in_section = |setting: &&Setting| setting.key.split('.').next() == Some(section);
            let mut settings = self.settings.iter().filter(in_section).peekable();
            if settings.peek().is_none() {
                continue;
            }
            text.push_str(&format!("\n{section}:\n"));
            for setting in settings {
                let name = setting.key.rsplit('.').next().unwrap_or(setting.key);
                text.push_str(&comment("  ", &setting.from));
                text.push_str(&format!("  {name}: {}\n", flow(&setting.value)));
            }
        }
        for (title, notes) in
            [("Without counterpart here:", &self.without_counterpart), ("Without effect here:", &self.without_effect)]
        {
            if !notes.is_empty() {
                text.push_str(&format!("\n{}", comment("", title)));
                notes.iter().for_each(|note| text.push_str(&comment("", &format!("  {note}"))));
            }
        }
        text
    }
}

/// One line of comment, whatever the text holds.
fn comment(indent: &str, text: &str) -> String {
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    format!("{indent}# {clean}\n")
}

/// `key: value` on one line, shortened.
fn shown(key: &str, value: &Value) -> String {
    let text = flow(value);
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{key}: {}...", &text[..end]),
        None => format!("{key}: {text}"),
    }
}

/// Whether a value switches its key off.
fn is_off(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(values) => values.is_empty(),
        Value::Object(values) => values.values().all(is_off),
        Value::Bool(true) | Value::Number(_) => false,
    }
}

/// A configuration that was taken over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// Whose it was.
    pub tool: Tool,
    /// The text of `ft.yaml`, which passes [`Config::from_yaml_str`].
    pub yaml: String,
    /// Keys that have an effect in the tool and none here, because it is not needed or decided otherwise.
    pub without_effect: Vec<Note>,
    /// Keys that cannot be followed.
    pub without_counterpart: Vec<Note>,
}

/// A configuration that cannot be taken over.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The text is not YAML.
    #[error("line {line}, column {column}: {message}")]
    Syntax {
        /// From 1.
        line: u64,
        /// From 1.
        column: u64,
        /// What the parser says.
        message: String,
    },
    /// The text holds no keys.
    #[error("it holds no keys and values")]
    NoKeys,
    /// No tool that is known has such keys.
    #[error("its keys are those of no tool that is known; the first are {}", first.join(", "))]
    UnknownTool {
        /// Some of the keys.
        first: Vec<String>,
    },
    /// The result breaks the rules of `ft.yaml` in a way that leaving single keys out does not mend.
    #[error("what it comes to breaks the rules of ft.yaml: {0}")]
    Broken(ConfigError),
}

impl ImportError {
    /// What the user can do.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Syntax { .. } => "mend the YAML; templates and environment variables must be filled in first",
            Self::NoKeys | Self::UnknownTool { .. } => {
                "configurations of Axolotl, LLaMA-Factory (llamafactory-cli train) and mlx-lm (mlx_lm.lora --config) are \
                 understood; `ft init` writes one to start from"
            }
            Self::Broken(_) => "change the named keys in the file that is imported",
        }
    }
}

/// Turns another tool's configuration into `ft.yaml`. Whose it is, its keys say.
///
/// # Errors
/// When the text is not YAML, or its keys are no known tool's.
pub fn import_config(text: &str) -> Result<Imported, ImportError> {
    let node = Node::parse(text, &|line, column| Origin::Text { line, column })
        .map_err(|error| ImportError::Syntax { line: error.line, column: error.column, message: error.message })?;
    let Value::Object(keys) = node.to_value() else { return Err(ImportError::NoKeys) };
    let source = Source { keys };
    let tool = detect(&source)?;
    let table = tool.table();
    let mut draft = Draft::default();
    for (key, value) in &source.keys {
        let rule = table.rules.iter().find(|Rule(name, _)| name == key);
        match rule.map(|Rule(_, fate)| fate) {
            _ if value.is_null() => draft.without_effect(key, value, "not given"),
            Some(Fate::To(to)) => draft.set(to, value.clone(), key),
            Some(Fate::Via(via)) => via(&source, key, value, &mut draft),
            Some(Fate::NoEffect(why)) => draft.without_effect(key, value, *why),
            Some(Fate::Nothing(_)) | None if is_off(value) => draft.without_effect(key, value, "switched off"),
            Some(Fate::Nothing(what)) => draft.without_counterpart(key, value, *what),
            None => draft.without_counterpart(key, value, format!("not a key of {tool} that is known here")),
        }
    }
    (table.assume)(&source, &mut draft);
    for (key, value) in &source.keys {
        // A rule may look for parts that such a value does not have.
        if !draft.mentions(key) && !matches!(value, Value::Object(_) | Value::Array(_)) {
            draft.without_counterpart(key, value, "such a value is not understood");
        }
    }
    finish(tool, draft)
}

/// The tool with the most keys of its own.
fn detect(source: &Source) -> Result<Tool, ImportError> {
    if source.keys.is_empty() {
        return Err(ImportError::NoKeys);
    }
    let own = |tool: &Tool| tool.table().markers.iter().filter(|&&key| source.keys.contains_key(key)).count();
    let best = Tool::ALL.into_iter().max_by_key(own).filter(|tool| own(tool) > 0);
    best.ok_or_else(|| ImportError::UnknownTool { first: source.keys.keys().take(5).cloned().collect() })
}

/// Holds the draft against the schema; what `ft.yaml` does not allow has no counterpart.
fn finish(tool: Tool, mut draft: Draft) -> Result<Imported, ImportError> {
    for (key, placeholder, what) in [
        ("model.path", Value::from("path/to/model"), "the base model is not named"),
        ("data.train", Value::from("path/to/train.jsonl"), "no training data is named"),
    ] {
        if !draft.has(key) {
            draft.set(key, placeholder, format!("TO DO: {what}"));
            draft.without_counterpart.push(Note { key: key.into(), text: format!("{what}; put it in") });
        }
    }
    let head = [
        format!(
            "Configuration of one Attune run, from one of {tool}: `ft train ft.yaml`. Above each key stands where it is from."
        ),
        "What is left out takes its default (`ft init` shows all keys). Paths are relative to this file.".into(),
    ];
    loop {
        let yaml = draft.yaml(&head);
        let problems = match Config::from_yaml_str(&yaml) {
            Ok(_) => {
                let Draft { without_effect, without_counterpart, .. } = draft;
                return Ok(Imported { tool, yaml, without_effect, without_counterpart });
            }
            Err(ConfigError::Invalid { problems }) => problems,
            Err(error) => return Err(ImportError::Broken(error)),
        };
        // Keys of lists and maps come with their place in them.
        let of = |setting: &Setting| {
            problems.iter().find(|problem| {
                problem
                    .key()
                    .strip_prefix(setting.key)
                    .is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
            })
        };
        let bad = draft.settings.iter().position(|setting| of(setting).is_some());
        let Some(bad) = bad.filter(|&at| !["model.path", "data.train"].contains(&draft.settings[at].key)) else {
            return Err(ImportError::Broken(ConfigError::Invalid { problems }));
        };
        let text = of(&draft.settings[bad]).map(ToString::to_string).unwrap_or_default();
        let Setting { value, from, .. } = draft.settings.remove(bad);
        draft.without_counterpart(&from, &value, format!("not allowed in ft.yaml ({text})"));
    }
}

#[cfg(test)]
mod tests;
