//! What can be wrong with a configuration, said so that the user can mend it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Who gave a value. Displayed the way the user can find it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody: the built-in default.
    Default,
    /// A file; lines and columns count from 1.
    File {
        /// The file.
        path: Arc<Path>,
        /// Line of the value.
        line: u64,
        /// Column of the value, in characters.
        column: u64,
    },
    /// A preset that is part of the program.
    Preset {
        /// Its name.
        name: &'static str,
        /// Line of the value.
        line: u64,
        /// Column of the value.
        column: u64,
    },
    /// YAML text without a file.
    Text {
        /// Line of the value.
        line: u64,
        /// Column of the value.
        column: u64,
    },
    /// An environment variable.
    Environment {
        /// Its full name.
        name: Arc<str>,
    },
    /// A `--set` on the command line.
    Override {
        /// Its text, `section.key=value`.
        text: Arc<str>,
    },
    /// A [`Config`](crate::Config) that was built by code.
    Program,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => write!(f, "default"),
            Self::File { path, line, column } => write!(f, "{}:{line}:{column}", path.display()),
            Self::Preset { name, line, column } => write!(f, "preset {name}:{line}:{column}"),
            Self::Text { line, column } => write!(f, "line {line}, column {column}"),
            Self::Environment { name } => write!(f, "{name}"),
            Self::Override { text } => write!(f, "--set {text}"),
            Self::Program => write!(f, "configuration"),
        }
    }
}

/// One thing that is wrong with the keys and values of a configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// A key that does not exist.
    #[error("{origin}: unknown key `{key}`{}", did_you_mean(nearest))]
    UnknownKey {
        /// The key as it was given.
        key: String,
        /// Where it was given.
        origin: Origin,
        /// The known key that is most like it, in full.
        nearest: Option<String>,
        /// The keys that exist in its place.
        known: Vec<String>,
    },
    /// A value of the wrong type, out of range or not among the choices.
    #[error("{origin}: `{key}` is {got}, expected {allowed}")]
    InvalidValue {
        /// The key, in full.
        key: String,
        /// The value that was given, shortened.
        got: String,
        /// What may be given.
        allowed: String,
        /// Who gave it.
        origin: Origin,
        /// What to do, where that is known better than `allowed` says it.
        advice: Option<String>,
    },
    /// A key without a default that nobody gave.
    #[error("{}`{key}` is not given", prefix(origin))]
    Missing {
        /// The key, in full.
        key: String,
        /// The place that lacks it, when there is one.
        origin: Option<Origin>,
        /// What to do.
        advice: String,
    },
    /// Two keys that contradict each other.
    #[error("{origin}: `{key}` contradicts `{other}` ({other_origin}): {reason}")]
    Conflict {
        /// The one key.
        key: String,
        /// Who gave it.
        origin: Origin,
        /// The other key.
        other: String,
        /// Who gave that.
        other_origin: Origin,
        /// Why both cannot be.
        reason: String,
        /// What to do.
        advice: String,
    },
}

fn did_you_mean(nearest: &Option<String>) -> String {
    nearest.as_ref().map(|key| format!("; the nearest known key is `{key}`")).unwrap_or_default()
}

fn prefix(origin: &Option<Origin>) -> String {
    origin.as_ref().map(|origin| format!("{origin}: ")).unwrap_or_default()
}

impl Problem {
    /// The key that the problem is about.
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            Self::UnknownKey { key, .. }
            | Self::InvalidValue { key, .. }
            | Self::Missing { key, .. }
            | Self::Conflict { key, .. } => key,
        }
    }

    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownKey { key, known, .. } if !known.is_empty() => {
                Some(format!("keys that exist where `{key}` stands: {}", known.join(", ")))
            }
            Self::UnknownKey { .. } => None,
            Self::InvalidValue { advice, .. } => advice.clone(),
            Self::Missing { advice, .. } | Self::Conflict { advice, .. } => Some(advice.clone()),
        }
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("cannot read {}{}: {source}", path.display(), named_by(chain))]
    Read {
        /// The file.
        path: PathBuf,
        /// The files that led to it through `extends`, the first one first.
        chain: Vec<String>,
        /// A preset whose name is much like the path.
        nearest_preset: Option<&'static str>,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A file is larger than a configuration can be.
    #[error("{} is larger than {limit_bytes} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit.
        limit_bytes: u64,
    },
    /// A file is not text in UTF-8.
    #[error("{}:{line}:{column}: not UTF-8", path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// Line of the first bad byte, from 1.
        line: usize,
        /// Column of the first bad byte, in bytes from 1.
        column: usize,
    },
    /// The YAML itself is wrong.
    #[error("{origin}: {message}")]
    Syntax {
        /// Where.
        origin: Origin,
        /// What the parser says.
        message: String,
    },
    /// A file holds something else than keys and values.
    #[error("{origin}: the file holds {got}, expected sections with keys")]
    NotAMapping {
        /// Where.
        origin: Origin,
        /// What it holds.
        got: String,
    },
    /// `extends` leads back to a file that it came from.
    #[error("`extends` goes in a circle: {}", chain.join(" -> "))]
    ExtendsCycle {
        /// The files from the first to the repeated one.
        chain: Vec<String>,
    },
    /// `extends` leads through more files than can be meant.
    #[error("`extends` leads to more than {limit} files; the last one is {}", chain.join(" -> "))]
    TooManyParents {
        /// The files that led here.
        chain: Vec<String>,
        /// The limit.
        limit: usize,
    },
    /// A path that cannot be written into YAML.
    #[error("the path {} is not UTF-8", path.display())]
    PathNotUtf8 {
        /// The path.
        path: PathBuf,
    },
    /// `--set` without `=` or without a key.
    #[error("--set {text}: not of the form section.key=value")]
    SetForm {
        /// What was given.
        text: String,
    },
    /// Keys or values are wrong; all that were found.
    #[error("{}", lines(problems))]
    Invalid {
        /// Never empty.
        problems: Vec<Problem>,
    },
}

/// The usual reasons of what the parser says.
fn syntax_hint(message: &str) -> Option<&'static str> {
    const HINTS: [(&str, &str); 5] = [
        ("mapping values", "a text with `: ` in it needs quotes"),
        ("anchor", "a text that begins with `*` needs quotes"),
        ("tag", "a text that begins with `!` needs quotes"),
        ("tabs", "indent with blanks"),
        ("given twice", "keep one of the two"),
    ];
    HINTS.iter().find(|(word, _)| message.contains(word)).map(|(_, hint)| *hint)
}

fn named_by(chain: &[String]) -> String {
    if chain.is_empty() { String::new() } else { format!(" (named by `extends`: {})", chain.join(" -> ")) }
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

impl ConfigError {
    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Read { nearest_preset: Some(name), .. } => Some(format!("did you mean the preset `{name}`?")),
            Self::Read { chain, .. } if !chain.is_empty() => Some(format!(
                "a path in `extends` is relative to the file that names it; presets: {}",
                crate::layers::preset_names().join(", ")
            )),
            Self::Read { .. } => Some("`ft init` writes a configuration to start from".to_owned()),
            Self::TooLarge { .. } => Some("is this a data file? A configuration is a short YAML file".to_owned()),
            Self::NotUtf8 { .. } => Some("save the file as UTF-8".to_owned()),
            Self::Syntax { message, .. } => syntax_hint(message).map(str::to_owned),
            Self::NotAMapping { .. } => Some("write for instance `training:` and below it `  epochs: 1`".to_owned()),
            Self::ExtendsCycle { .. } | Self::TooManyParents { .. } => {
                Some("take one of these names out of its file's `extends`".to_owned())
            }
            Self::PathNotUtf8 { .. } => Some("move the files to a folder whose name is UTF-8".to_owned()),
            Self::SetForm { .. } => Some("for instance --set training.steps=20".to_owned()),
            Self::Invalid { problems } => {
                let mut hints: Vec<String> = Vec::new();
                for hint in problems.iter().filter_map(Problem::hint) {
                    if !hints.contains(&hint) {
                        hints.push(hint);
                    }
                }
                (!hints.is_empty()).then(|| hints.join("\n"))
            }
        }
    }
}
