//! Why a row does not fit, and the words for it.

use std::fmt;

use serde_json::{Map, Value};

/// Why a row does not fit. Paths are written as `messages[2].content`, counting from 0 as JSON does.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RowProblem {
    /// The row cannot even be looked at: bad JSON, bytes that are no text, fields that do not match the header, ...
    Unreadable {
        /// What is wrong, with the place.
        reason: String,
    },
    /// The keys of the row belong to no form.
    UnknownForm {
        /// Its keys.
        keys: Vec<String>,
        /// What was probably meant.
        suggestion: Option<String>,
    },
    /// The row has all keys of more than one form.
    SeveralForms {
        /// Names of the forms.
        forms: Vec<&'static str>,
    },
    /// A key is missing.
    MissingKey {
        /// Path of the key.
        path: String,
        /// A key that is there and looks like it.
        found: Option<String>,
    },
    /// A key looks like a misspelt key that is missing.
    MisspeltKey {
        /// Path of the key that is there.
        path: String,
        /// The key it looks like.
        known: &'static str,
    },
    /// A value has the wrong type.
    WrongType {
        /// Path of the value; empty for the row itself.
        path: String,
        /// What it has to be.
        expected: &'static str,
        /// What it is.
        got: &'static str,
    },
    /// A role (or `from`) that is none.
    UnknownRole {
        /// Path of the role.
        path: String,
        /// What is there.
        role: String,
        /// The nearest role, or all of them.
        known: String,
    },
    /// A text or list without anything in it.
    Empty {
        /// Path of the value.
        path: String,
    },
    /// A string that should hold JSON does not.
    NotJson {
        /// Path of the string.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Two keys contradict each other.
    Conflict {
        /// Path of the second key.
        path: String,
        /// How.
        reason: String,
    },
    /// A value that means something, but nothing that is supported.
    Unsupported {
        /// Path of the value.
        path: String,
        /// Why, and what to do instead.
        reason: String,
    },
}

impl fmt::Display for RowProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { reason } => f.write_str(reason),
            Self::UnknownForm { keys, suggestion } => {
                if keys.is_empty() {
                    return write!(f, "the row has no keys");
                }
                let listed: Vec<String> = keys.iter().take(8).map(|key| quoted(key)).collect();
                let more = if keys.len() > listed.len() { ", ..." } else { "" };
                write!(f, "no form has the keys {}{more}", listed.join(", "))?;
                suggestion.as_ref().map_or(Ok(()), |suggestion| write!(f, "; {suggestion}"))
            }
            Self::SeveralForms { forms } => write!(f, "the row has the keys of several forms: {}", forms.join(", ")),
            Self::MissingKey { path, found: None } => write!(f, "`{path}` is missing"),
            Self::MissingKey { path, found: Some(found) } => {
                write!(f, "`{path}` is missing; there is {}", quoted(found))
            }
            Self::MisspeltKey { path, known } => write!(f, "`{path}` is no key of this form; did you mean `{known}`?"),
            Self::WrongType { path, expected, got } if path.is_empty() => {
                write!(f, "a row must be {expected}, this is {got}")
            }
            Self::WrongType { path, expected, got } => write!(f, "`{path}` must be {expected}, found {got}"),
            Self::UnknownRole { path, role, known } => write!(f, "`{path}` is {}; {known}", quoted(role)),
            Self::Empty { path } => write!(f, "`{path}` is empty"),
            Self::NotJson { path, reason } => write!(f, "`{path}` must hold JSON: {reason}"),
            Self::Conflict { path, reason } | Self::Unsupported { path, reason } => write!(f, "`{path}`: {reason}"),
        }
    }
}

/// Text of a file inside a message: short, and without control characters that a terminal would obey.
pub(crate) fn quoted(text: &str) -> String {
    format!("`{}`", shown(text))
}

/// As [`quoted`], without the quotes.
pub(crate) fn shown(text: &str) -> String {
    const LONGEST: usize = 40;
    let mut out: String = text.chars().take(LONGEST).flat_map(char::escape_debug).collect();
    if text.chars().nth(LONGEST).is_some() {
        out.push_str("...");
    }
    out
}

/// The type of a value in words.
pub(crate) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Of `names`, the one that `wanted` was probably meant to be: equal but for case, or at most two letters away (one if it
/// is short).
pub(crate) fn nearest<'a>(wanted: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    names
        .into_iter()
        .filter_map(|name| Some((distance_within(wanted, name, if wanted.len() < 5 { 1 } else { 2 })?, name)))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// The first key of `object` that is one letter beside a key of `known` that `object` lacks.
pub(crate) fn misspelt(object: &Map<String, Value>, known: &[&'static str], path: &str) -> Result<(), RowProblem> {
    for key in object.keys().filter(|key| key.len() > 3 && !known.contains(&key.as_str())) {
        for &candidate in known.iter().filter(|candidate| !object.contains_key(**candidate)) {
            if distance_within(key, candidate, 1).is_some() {
                return Err(RowProblem::MisspeltKey { path: join(path, &shown(key)), known: candidate });
            }
        }
    }
    Ok(())
}

/// Edit distance (swapped neighbours count as one) without regard to case, if it is at most `limit`.
fn distance_within(a: &str, b: &str, limit: usize) -> Option<usize> {
    // Cheap first, because keys come from the file and may be long.
    if a.len().abs_diff(b.len()) > 4 * limit || a.len() > 64 {
        return None;
    }
    let distance = strsim::osa_distance(&a.to_lowercase(), &b.to_lowercase());
    (distance <= limit).then_some(distance)
}

/// `path.key`.
pub(crate) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found_or_none() {
        assert_eq!(nearest("mesages", ["messages", "tools"]), Some("messages"));
        assert_eq!(nearest("Question", ["question", "answer"]), Some("question"));
        assert_eq!(nearest("ouptut", ["input", "output"]), Some("output"));
        assert_eq!(nearest("id", ["input", "tools"]), None);
        assert_eq!(nearest("id", ["it"]), Some("it"));
        assert_eq!(nearest(&"x".repeat(100_000), ["messages"]), None);
    }

    #[test]
    fn only_keys_that_are_missing_can_be_misspelt() {
        let object = |text: &str| serde_json::from_str::<Map<String, Value>>(text).expect("an object");
        let known = ["instruction", "output", "system"];
        assert_eq!(
            misspelt(&object(r#"{"output": "", "sytem": ""}"#), &known, ""),
            Err(RowProblem::MisspeltKey { path: "sytem".into(), known: "system" })
        );
        assert_eq!(misspelt(&object(r#"{"output": "", "outputs": "", "source": ""}"#), &known, ""), Ok(()));
    }

    #[test]
    fn text_of_a_file_cannot_steer_the_terminal() {
        assert_eq!(quoted("a\u{1b}[31m\n"), "`a\\u{1b}[31m\\n`");
        assert_eq!(shown(&"ä".repeat(41)), format!("{}...", "ä".repeat(40)));
    }
}
