//! The values of section `hardware` that a run may leave to the memory plan.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Key `hardware.activations`: what the forward pass leaves for the backward pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub enum Activations {
    /// as much as `memory_budget` has room for; `ft plan` shows what that comes to
    #[default]
    Auto,
    /// all that is costly to compute again
    Keep,
    /// layer inputs only: less memory, about a third more time
    Recompute,
    /// layer inputs only in the N lowest layers that need a gradient, everything in the others
    RecomputeLayers(#[schemars(range(min = 1, max = 1000000))] usize),
}

/// Key `hardware.pack_weights`: whether frozen weights are kept a second time, in the order in which products read them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub enum PackWeights {
    /// as many as a `memory_budget` that is given leaves room for; none without one, or in a run of a few steps
    #[default]
    Auto,
    /// none
    Never,
    /// as many as there is room for, be it given or what is available
    Always,
}

/// Key `hardware.micro_batch_tokens`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MicroBatchTokens {
    /// As many as `hardware.memory_budget` has room for.
    #[default]
    Auto,
    /// So many, where examples are not longer by themselves.
    Tokens(usize),
    /// A whole step at once.
    Unlimited,
}

impl MicroBatchTokens {
    const AUTO: &'static str = "auto";
}

impl Serialize for MicroBatchTokens {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str(Self::AUTO),
            Self::Tokens(tokens) => tokens.serialize(serializer),
            Self::Unlimited => serializer.serialize_none(),
        }
    }
}

impl<'de> Deserialize<'de> for MicroBatchTokens {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Tokens(usize),
            Name(String),
        }
        match Option::<Form>::deserialize(deserializer)? {
            None => Ok(Self::Unlimited),
            Some(Form::Tokens(tokens)) => Ok(Self::Tokens(tokens)),
            Some(Form::Name(name)) if name == Self::AUTO => Ok(Self::Auto),
            Some(Form::Name(name)) => {
                Err(serde::de::Error::custom(format!("`{name}` is neither `auto` nor a number of tokens")))
            }
        }
    }
}

impl JsonSchema for MicroBatchTokens {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "MicroBatchTokens".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "type": "string", "const": Self::AUTO },
                { "type": "integer", "minimum": 1, "maximum": 16_777_216 },
                { "type": "null" },
            ]
        })
    }
}

/// An amount of memory: `12GB` (decimal), `16GiB` (binary) or a number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MemorySize {
    bytes: u64,
}

/// From the largest on, so that a size is written in the largest unit that divides it.
const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("KB", 1_000),
    ("B", 1),
];

impl MemorySize {
    /// So many bytes.
    #[must_use]
    pub fn new(bytes: u64) -> Self {
        Self { bytes }
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(self) -> u64 {
        self.bytes
    }
}

impl fmt::Display for MemorySize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let divides = |(_, size): &&(&str, u64)| self.bytes > 0 && self.bytes.is_multiple_of(*size);
        let (unit, size) = UNITS.iter().find(divides).unwrap_or(&("B", 1));
        write!(f, "{}{unit}", self.bytes / size)
    }
}

impl FromStr for MemorySize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a size: write for instance 12GB, 16GiB or 1.5GiB");
        let trimmed = text.trim();
        let digits = trimmed.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit = &trimmed[digits.len()..];
        let size = match unit {
            "" => 1,
            _ => UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).ok_or_else(wrong)?.1,
        };
        let digits = digits.trim_end();
        let is_number = digits.chars().all(|c| c.is_ascii_digit() || c == '.');
        let number: f64 = digits.parse().ok().filter(|_| is_number).ok_or_else(wrong)?;
        let bytes = (number * size as f64).round();
        // Exact up to here, and more than any machine has.
        if (1.0..9e15).contains(&bytes) { Ok(Self { bytes: bytes as u64 }) } else { Err(wrong()) }
    }
}

impl Serialize for MemorySize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MemorySize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Bytes(u64),
            Text(String),
        }
        match Form::deserialize(deserializer)? {
            Form::Bytes(bytes) => Ok(Self { bytes }),
            Form::Text(text) => text.parse().map_err(serde::de::Error::custom),
        }
    }
}

/// Schema of an amount of memory, or null.
pub(crate) fn memory_size_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "anyOf": [
            {
                "type": "string",
                "pattern": r"^\s*[0-9]+(\.[0-9]+)?\s*([KkMmGgTt][Ii]?)?[Bb]\s*$",
                "title": "a size such as 12GB or 16GiB",
            },
            { "type": "integer", "minimum": 1, "maximum": 9_000_000_000_000_000_u64, "title": "a number of bytes" },
            { "type": "null" },
        ]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_written_in_their_unit() {
        let read = |text: &str| text.parse::<MemorySize>().map(MemorySize::bytes);
        for (text, bytes) in [
            ("12GB", 12_000_000_000),
            ("16GiB", 16 << 30),
            ("1.5 gib", 3 << 29),
            (" 512MB ", 512_000_000),
            ("100", 100),
            ("7B", 7),
            ("2TiB", 2 << 40),
        ] {
            assert_eq!(read(text), Ok(bytes), "{text}");
            let size = MemorySize::new(bytes);
            assert_eq!(read(&size.to_string()), Ok(bytes), "{size}");
        }
        for bad in ["", "GB", "12G", "12 apples", "-1GB", "1e9", "0GB", "nanB", "99999999TB", "1.2.3GB"] {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert_eq!(MemorySize::new(12_000_000_000).to_string(), "12GB");
        assert_eq!(MemorySize::new(16 << 30).to_string(), "16GiB");
        assert_eq!(MemorySize::new(1_234_567).to_string(), "1234567B");
    }
}
