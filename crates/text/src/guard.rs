//! Rules of a tokenizer.json that the tokenizer library relies on without a look.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value as Json;

use crate::base64;
use crate::sentencepiece::charsmap;

/// Checks what the library takes for granted: it would stop the program at merges that yield more than the longest
/// token, and at tables of characters that lead out of themselves.
///
/// # Errors
/// Which rule is broken. What the library checks by itself is left to it.
pub(crate) fn check(tokenizer: &[u8]) -> Result<(), String> {
    let parts = match serde_json::from_slice::<Parts>(tokenizer) {
        Ok(parts) => parts,
        // A value of the wrong type gets its message from the library, which does not expect damaged JSON in a decoder.
        Err(error) if error.is_data() => {
            return serde_json::from_slice::<Decoder>(tokenizer).map(drop).map_err(|error| error.to_string());
        }
        Err(error) => return Err(error.to_string()),
    };
    if let Some(model) = parts.model {
        let prefix = model.continuing_subword_prefix.map_or(0, |prefix| prefix.len());
        let Merges { longest, shortest_right } = model.merges;
        if longest > model.vocab.0 + prefix {
            return Err(format!("a merge yields {longest} bytes, but the longest token has {}", model.vocab.0));
        }
        if shortest_right.is_some_and(|shortest| shortest < prefix) {
            return Err("a merge has a right part that is shorter than continuing_subword_prefix".to_owned());
        }
    }
    parts.normalizer.as_ref().map_or(Ok(()), check_normalizer)
}

fn check_normalizer(normalizer: &Json) -> Result<(), String> {
    if let Some(parts) = normalizer["normalizers"].as_array() {
        return parts.iter().try_for_each(check_normalizer);
    }
    if normalizer["type"] != "Precompiled" {
        return Ok(());
    }
    let table = normalizer["precompiled_charsmap"].as_str().and_then(base64::decode);
    charsmap::check(&table.ok_or("the table of characters is not base64")?)
}

#[derive(serde::Deserialize)]
struct Parts<'a> {
    #[serde(borrow)]
    model: Option<Model<'a>>,
    normalizer: Option<Json>,
    /// Read only to see that it can be, and is not nested too deeply.
    #[serde(rename = "decoder")]
    _decoder: Option<Json>,
}

#[derive(serde::Deserialize)]
struct Decoder {
    #[serde(rename = "decoder")]
    _decoder: Option<Json>,
}

#[derive(serde::Deserialize)]
struct Model<'a> {
    #[serde(default)]
    vocab: LongestKey,
    #[serde(default)]
    merges: Merges,
    #[serde(borrow)]
    continuing_subword_prefix: Option<Cow<'a, str>>,
}

/// Bytes of the longest key of an object; 0 for a list.
#[derive(Default)]
struct LongestKey(usize);

/// A text of which only the number of bytes counts.
struct Length(usize);

/// Bytes of what the longest merge yields, and of the shortest right part.
#[derive(Default)]
struct Merges {
    longest: usize,
    shortest_right: Option<usize>,
}

/// Bytes of the two parts of a merge.
struct Merge(usize, usize);

impl<'de> Deserialize<'de> for Length {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Length;
            fn expecting(&self, out: &mut fmt::Formatter) -> fmt::Result {
                out.write_str("a text")
            }
            fn visit_str<E>(self, text: &str) -> Result<Length, E> {
                Ok(Length(text.len()))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

impl<'de> Deserialize<'de> for LongestKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Vocab;
        impl<'de> Visitor<'de> for Vocab {
            type Value = LongestKey;
            fn expecting(&self, out: &mut fmt::Formatter) -> fmt::Result {
                out.write_str("a vocabulary")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<LongestKey, A::Error> {
                let mut longest = 0;
                while let Some((key, _)) = map.next_entry::<Length, IgnoredAny>()? {
                    longest = longest.max(key.0);
                }
                Ok(LongestKey(longest))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<LongestKey, A::Error> {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(LongestKey(0))
            }
        }
        deserializer.deserialize_any(Vocab)
    }
}

impl<'de> Deserialize<'de> for Merge {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pair;
        impl<'de> Visitor<'de> for Pair {
            type Value = Merge;
            fn expecting(&self, out: &mut fmt::Formatter) -> fmt::Result {
                out.write_str("a merge")
            }
            fn visit_str<E>(self, text: &str) -> Result<Merge, E> {
                let left = text.find(' ').unwrap_or(text.len());
                Ok(Merge(left, text.len().saturating_sub(left + 1)))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Merge, A::Error> {
                let mut next = || list.next_element::<Length>().map(|part| part.map_or(0, |part| part.0));
                let merge = Merge(next()?, next()?);
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(merge)
            }
        }
        deserializer.deserialize_any(Pair)
    }
}

impl<'de> Deserialize<'de> for Merges {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Merges;
            fn expecting(&self, out: &mut fmt::Formatter) -> fmt::Result {
                out.write_str("merges")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Merges, A::Error> {
                let mut merges = Merges::default();
                while let Some(Merge(left, right)) = list.next_element()? {
                    merges.longest = merges.longest.max(left + right);
                    merges.shortest_right = Some(merges.shortest_right.map_or(right, |shortest| shortest.min(right)));
                }
                Ok(merges)
            }
        }
        deserializer.deserialize_seq(List)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merges_yield_at_most_the_longest_token() {
        let file = |merges: &str, prefix: &str| {
            format!(
                r#"{{"model": {{"type": "BPE", "vocab": {{"a": 0, "aa": 1}}, "merges": {merges}, "continuing_subword_prefix": {prefix}}}}}"#
            )
        };
        assert_eq!(check(file(r#"["a a"]"#, "null").as_bytes()), Ok(()));
        assert_eq!(check(file(r#"[["a", "a"]]"#, "null").as_bytes()), Ok(()));
        let long = Err("a merge yields 3 bytes, but the longest token has 2".to_owned());
        assert_eq!(check(file(r#"["a aa"]"#, "null").as_bytes()), long);
        assert_eq!(check(file(r#"[["aa", "a"]]"#, "null").as_bytes()), long);
        assert!(check(file(r#"["a a"]"#, r###""##""###).as_bytes()).is_err());
    }

    #[test]
    fn tables_of_characters_are_checked_wherever_they_stand() {
        let file = |table: &str| {
            format!(
                r#"{{"normalizer": {{"type": "Sequence", "normalizers": [{{"type": "Precompiled", "precompiled_charsmap": "{table}"}}]}}}}"#
            )
        };
        assert!(check(file("////fwAA").as_bytes()).is_err_and(|why| why.contains("claims")));
        assert!(check(file("?").as_bytes()).is_err_and(|why| why.contains("base64")));
    }

    #[test]
    fn damaged_json_never_reaches_the_library() {
        let nested = format!(r#"{{"decoder": {}1{}}}"#, "[".repeat(200), "]".repeat(200));
        for damaged in
            ["no JSON", r#"{"decoder": {"type": "Fuse""#, r#"{"model": 1, "decoder": {"type": "Fuse" 2}}"#, &nested]
        {
            assert!(check(damaged.as_bytes()).is_err(), "{damaged}");
        }
        // What is of the wrong type is for the library to refuse.
        assert_eq!(check(br#"{"model": 1, "decoder": {"type": "Fuse"}}"#), Ok(()));
    }
}
