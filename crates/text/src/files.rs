//! The small JSON files beside a model's weights, read with bounds and with errors that name the key.

use std::fs;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::error::TextError;

/// Largest `tokenizer.json`; the largest published ones have about 35 MB.
pub(crate) const MAX_TOKENIZER_BYTES: u64 = 256 << 20;
/// Largest configuration file; `tokenizer_config.json` of some models has a few MB.
pub(crate) const MAX_CONFIG_BYTES: u64 = 32 << 20;

/// Reads a file of at most `limit` bytes; `None` when there is none.
pub(crate) fn read_bytes(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, TextError> {
    let failed = |source| TextError::Read { path: path.to_owned(), source };
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let bytes = file.metadata().map_err(failed)?.len();
    if bytes > limit {
        return Err(TextError::TooLarge { path: path.to_owned(), bytes, limit });
    }
    let mut content = Vec::new();
    // One byte more than allowed, in case the size was not what the system said.
    file.take(limit + 1).read_to_end(&mut content).map_err(failed)?;
    if content.len() as u64 > limit {
        return Err(TextError::TooLarge { path: path.to_owned(), bytes: content.len() as u64, limit });
    }
    Ok(Some(content))
}

/// Reads a text file of at most `limit` bytes; `None` when there is none.
pub(crate) fn read_text(path: &Path, limit: u64) -> Result<Option<String>, TextError> {
    let Some(bytes) = read_bytes(path, limit)? else { return Ok(None) };
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Some(text)),
        Err(error) => Err(TextError::NotUtf8 { path: path.to_owned(), byte: error.utf8_error().valid_up_to() }),
    }
}

/// A JSON object in a file.
#[derive(Debug, Default)]
pub(crate) struct JsonFile {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// Its content; empty when there is no such file.
    pub(crate) content: Map<String, Value>,
}

impl JsonFile {
    /// Reads `dir/name`; a missing file is an empty object.
    pub(crate) fn read(dir: &Path, name: &str) -> Result<Self, TextError> {
        let path = dir.join(name);
        let Some(bytes) = read_bytes(&path, MAX_CONFIG_BYTES)? else { return Ok(Self { path, content: Map::new() }) };
        match serde_json::from_slice(&bytes) {
            Ok(Value::Object(content)) => Ok(Self { path, content }),
            Ok(other) => {
                Err(TextError::WrongType { path, key: "(file)".into(), expected: "an object", got: kind(&other) })
            }
            Err(source) => Err(TextError::Json { path, source }),
        }
    }

    /// The error of a key with the wrong type.
    pub(crate) fn wrong_type(&self, key: &str, expected: &'static str, got: &Value) -> TextError {
        TextError::WrongType { path: self.path.clone(), key: key.to_owned(), expected, got: kind(got) }
    }

    /// A token, given as text or as an object with `content`; `None` when absent or null.
    pub(crate) fn token(&self, key: &str) -> Result<Option<String>, TextError> {
        let Some(value) = self.content.get(key) else { return Ok(None) };
        match value {
            Value::Null => Ok(None),
            Value::String(text) => Ok(Some(text.clone())),
            Value::Object(token) => match token.get("content") {
                Some(Value::String(text)) => Ok(Some(text.clone())),
                other => Err(self.wrong_type(&format!("{key}.content"), "a text", other.unwrap_or(&Value::Null))),
            },
            other => Err(self.wrong_type(key, "a text or an object with `content`", other)),
        }
    }

    /// A flag; `None` when absent or null.
    pub(crate) fn flag(&self, key: &str) -> Result<Option<bool>, TextError> {
        match self.content.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(other) => Err(self.wrong_type(key, "true or false", other)),
        }
    }

    /// Token ids, given as one number or as a list; empty when absent or null.
    pub(crate) fn ids(&self, key: &str) -> Result<Vec<u32>, TextError> {
        let one = |value: &Value| {
            let id = value.as_u64().and_then(|id| u32::try_from(id).ok());
            id.ok_or_else(|| self.wrong_type(key, "a token id or a list of token ids", value))
        };
        match self.content.get(key) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::Array(items)) => items.iter().map(one).collect(),
            Some(value) => Ok(vec![one(value)?]),
        }
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a flag",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
