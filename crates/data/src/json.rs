//! Strict JSON: what `serde_json` refuses, and beyond it doubled keys and integers that would lose digits.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Number, Value};

use crate::error::JsonFault;
use crate::problem::quoted;

/// Bad JSON, and where in the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JsonError {
    /// Byte of the text that cannot be right; its length if the text ends too early.
    pub(crate) offset: usize,
    pub(crate) fault: JsonFault,
    pub(crate) reason: String,
}

/// Parses one value and nothing behind it. At most 128 levels deep, as `serde_json` bounds it.
pub(crate) fn parse(text: &str) -> Result<Value, JsonError> {
    let rounded = Cell::new(false);
    let value = deserialize(text, Strict { rounded: &rounded })?;
    if rounded.get()
        && let Some(offset) = oversized_integer(text)
    {
        return Err(JsonError {
            offset,
            fault: JsonFault::OversizedInteger,
            reason: "this integer does not fit 64 bits and would lose digits".into(),
        });
    }
    Ok(value)
}

/// The members of an object, each value as its own text.
pub(crate) fn object_members(text: &str) -> Result<Vec<(String, &str)>, JsonError> {
    deserialize(text, Members)
}

/// Line and column (in characters) of a byte of `text`, both from 1.
pub(crate) fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = &text.as_bytes()[..offset.min(text.len())];
    let line_start = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |newline| newline + 1);
    let line = 1 + before.iter().filter(|&&byte| byte == b'\n').count();
    // A byte that starts no character is a continuation, 0b10xx_xxxx.
    let column = 1 + before[line_start..].iter().filter(|&&byte| byte & 0xC0 != 0x80).count();
    (line, column)
}

fn deserialize<'de, S: DeserializeSeed<'de>>(text: &'de str, seed: S) -> Result<S::Value, JsonError> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = seed.deserialize(&mut deserializer).map_err(|error| locate(text, &error))?;
    deserializer.end().map_err(|error| locate(text, &error))?;
    Ok(value)
}

/// An error of `serde_json` in `text`, with its place.
pub(crate) fn locate(text: &str, error: &serde_json::Error) -> JsonError {
    let display = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let reason = match display.strip_suffix(&place).unwrap_or(&display) {
        "recursion limit exceeded" => "nested deeper than 128 levels".to_owned(),
        reason => reason.to_owned(),
    };
    let fault = match error.classify() {
        serde_json::error::Category::Data => JsonFault::DoubledKey,
        serde_json::error::Category::Eof => JsonFault::EndsEarly,
        _ if reason == "trailing characters" => JsonFault::TrailingText,
        _ => JsonFault::Syntax,
    };
    let line_start = if error.line() > 1 {
        text.bytes()
            .enumerate()
            .filter(|(_, byte)| *byte == b'\n')
            .nth(error.line() - 2)
            .map_or(text.len(), |(at, _)| at + 1)
    } else {
        0
    };
    let at_end = fault == JsonFault::EndsEarly;
    let offset = if at_end { text.len() } else { line_start + error.column().saturating_sub(1) };
    JsonError { offset: offset.min(text.len()), fault, reason }
}

/// Where in `text` an integer stands that neither `i64` nor `u64` holds. `text` is valid JSON.
fn oversized_integer(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => {
                at += 1;
                while bytes[at] != b'"' {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
                at += 1;
            }
            b'-' | b'0'..=b'9' => {
                let start = at;
                while at < bytes.len() && matches!(bytes[at], b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E') {
                    at += 1;
                }
                let number = &text[start..at];
                let integer = !number.contains(['.', 'e', 'E']);
                if integer && number.parse::<i64>().is_err() && number.parse::<u64>().is_err() {
                    return Some(start);
                }
            }
            _ => at += 1,
        }
    }
    None
}

/// Builds a [`Value`], refusing doubled keys.
#[derive(Clone, Copy)]
struct Strict<'a> {
    /// Set when a float was seen that may have been written as an integer.
    rounded: &'a Cell<bool>,
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        // The smallest integer that needs more than an i64 or u64 is below -2^63 or at 2^64.
        if value.abs() >= 9_223_372_036_854_775_808.0 {
            self.rounded.set(true);
        }
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = members.next_key::<String>()? {
            if object.contains_key(&key) {
                return Err(doubled(&key));
            }
            let value = members.next_value_seed(self)?;
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

/// Reads an object's members without looking into them.
struct Members;

impl<'de> DeserializeSeed<'de> for Members {
    type Value = Vec<(String, &'de str)>;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Members {
    type Value = Vec<(String, &'de str)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut seen = std::collections::HashSet::new();
        let mut list = Vec::new();
        while let Some((key, value)) = members.next_entry::<String, &RawValue>()? {
            if !seen.insert(key.clone()) {
                return Err(doubled(&key));
            }
            list.push((key, value.get()));
        }
        Ok(list)
    }
}

fn doubled<E: serde::de::Error>(key: &str) -> E {
    E::custom(format!("the key {} occurs twice in one object", quoted(key)))
}

#[cfg(test)]
mod tests;
