//! The tokenizer of a base model: text to ids with byte offsets, and back.

use std::collections::HashSet;
use std::path::Path;

use serde_json::Value as Json;
use tokenizers::{DecoderWrapper, PreTokenizerWrapper, Tokenizer};

use crate::error::TextError;
use crate::files::JsonFile;
use crate::guard;

/// A text as tokens.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tokenized {
    /// The ids.
    pub(crate) ids: Vec<u32>,
    /// For each id, the bytes of the original text that it stands for.
    pub(crate) offsets: Vec<(usize, usize)>,
}

/// A token that has a role, and its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NamedToken {
    /// Its id.
    pub(crate) id: u32,
    /// Its text.
    pub(crate) text: String,
}

/// The tokenizer and what the configuration files say about it.
#[derive(Debug)]
pub(crate) struct Tokens {
    tokenizer: Tokenizer,
    /// Tokens that encoding a text puts in front of it: BOS for most models that have one.
    prefix: Vec<u32>,
    bos: Option<NamedToken>,
    eos: Option<NamedToken>,
    special: HashSet<u32>,
    /// Texts that the tokenizer reads as one special token.
    markers: Vec<String>,
    /// The bytes with which they begin. They are very few, so most positions of a text need no comparison.
    marker_starts: [bool; 256],
    vocab_size: usize,
    byte_level: bool,
    /// blake3 of tokenizer.json.
    hash: blake3::Hash,
}

impl Tokens {
    /// Builds the tokenizer from the content of a `tokenizer.json`; `path` is for messages.
    pub(crate) fn new(path: &Path, bytes: &[u8], config: &JsonFile, special_map: &JsonFile) -> Result<Self, TextError> {
        let tokenizer = build(path, bytes)?;
        let named = |key: &'static str| -> Result<Option<NamedToken>, TextError> {
            for file in [config, special_map] {
                if let Some(text) = file.token(key)? {
                    let Some(id) = tokenizer.token_to_id(&text) else {
                        return Err(TextError::UnknownToken { path: file.path.clone(), key, token: text });
                    };
                    return Ok(Some(NamedToken { id, text }));
                }
                if file.content.contains_key(key) {
                    return Ok(None); // null: this file says that there is none
                }
            }
            Ok(None)
        };
        let (bos, eos) = (named("bos_token")?, named("eos_token")?);
        let prefix = prefix(&tokenizer, bos.as_ref(), config)?;
        let added = tokenizer.get_added_tokens_decoder();
        let special: HashSet<u32> = added.iter().filter(|(_, token)| token.special).map(|(id, _)| *id).collect();
        let mut markers: Vec<String> = added
            .iter()
            .filter(|(id, token)| token.special || eos.as_ref().is_some_and(|eos| eos.id == **id))
            .map(|(_, token)| token.content.clone())
            .filter(|text| !text.is_empty())
            .collect();
        // The longest first, so that a message names the whole marker.
        markers.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        let mut marker_starts = [false; 256];
        for first in markers.iter().filter_map(|marker| marker.bytes().next()) {
            marker_starts[usize::from(first)] = true;
        }
        let vocab_size = tokenizer.get_vocab(true).values().max().map_or(0, |id| *id as usize + 1);
        let byte_level = uses_byte_level(&tokenizer);
        let hash = blake3::hash(bytes);
        Ok(Self { tokenizer, prefix, bos, eos, special, markers, marker_starts, vocab_size, byte_level, hash })
    }

    /// The token that opens a text.
    pub(crate) fn bos(&self) -> Option<&NamedToken> {
        self.bos.as_ref()
    }

    /// The token that ends a text.
    pub(crate) fn eos(&self) -> Option<&NamedToken> {
        self.eos.as_ref()
    }

    /// The tokenizer itself.
    pub(crate) fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Tokens that encoding a text puts in front of it.
    pub(crate) fn prefix(&self) -> &[u32] {
        &self.prefix
    }

    /// Whether the vocabulary writes bytes as characters (GPT-2), not as `<0x0A>` (sentencepiece).
    pub(crate) fn is_byte_level(&self) -> bool {
        self.byte_level
    }

    /// Highest id plus one.
    pub(crate) fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// Whether the id is a special token (one that `decode` can skip).
    pub(crate) fn is_special(&self, id: u32) -> bool {
        self.special.contains(&id)
    }

    /// Hash of tokenizer.json.
    pub(crate) fn hash(&self) -> &blake3::Hash {
        &self.hash
    }

    /// Id of a token's exact text.
    pub(crate) fn id(&self, text: &str) -> Option<u32> {
        self.tokenizer.token_to_id(text)
    }

    /// Text to tokens, nothing added.
    pub(crate) fn encode(&self, text: &str) -> Result<Tokenized, TextError> {
        let encoding = self.tokenizer.encode(text, false).map_err(encode_error)?;
        // Normalizers that reorder combining marks can make a start step back; what follows relies on the order.
        let mut from = 0;
        let offsets = encoding.get_offsets().iter().map(|&(start, end)| {
            from = start.max(from);
            (from, end.max(from))
        });
        Ok(Tokenized { ids: encoding.get_ids().to_vec(), offsets: offsets.collect() })
    }

    /// Text to tokens with what the tokenizer puts in front, unless the text already begins with BOS.
    ///
    /// The added tokens have the empty offset `(0, 0)`. Tokens that some post-processors put behind a text are
    /// never added: a prompt must stay open.
    pub(crate) fn encode_with_prefix(&self, text: &str) -> Result<Tokenized, TextError> {
        let mut tokens = self.encode(text)?;
        let starts_with_bos = self.bos.as_ref().is_some_and(|bos| tokens.ids.first() == Some(&bos.id));
        if !starts_with_bos {
            tokens.ids.splice(0..0, self.prefix.iter().copied());
            tokens.offsets.splice(0..0, self.prefix.iter().map(|_| (0, 0)));
        }
        Ok(tokens)
    }

    /// Tokens to text.
    pub(crate) fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String, TextError> {
        self.tokenizer.decode(ids, skip_special).map_err(encode_error)
    }

    /// One token for display: what it adds to a text, bytes that are no text as `<0xE4>`.
    pub(crate) fn text(&self, id: u32) -> String {
        let Some(token) = self.tokenizer.id_to_token(id) else { return format!("<unknown {id}>") };
        if self.tokenizer.get_added_vocabulary().get_added_tokens_decoder().contains_key(&id) {
            return token;
        }
        if self.byte_level {
            return display_bytes(&token.chars().flat_map(byte_of_char).collect::<Vec<u8>>());
        }
        // Byte fallback writes a byte as `<0x0A>`; an ASCII one is a character by itself.
        let byte = token.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
        match byte.and_then(|digits| u8::from_str_radix(digits, 16).ok()).filter(u8::is_ascii) {
            Some(byte) => char::from(byte).to_string(),
            None => token.replace('\u{2581}', " "),
        }
    }

    /// The first special token's text that occurs in `text`.
    pub(crate) fn find_marker(&self, text: &str) -> Option<&str> {
        let bytes = text.as_bytes();
        (0..bytes.len())
            .filter(|&at| self.marker_starts[usize::from(bytes[at])])
            .find_map(|at| self.markers.iter().find(|marker| bytes[at..].starts_with(marker.as_bytes())))
            .map(String::as_str)
    }
}

fn encode_error(error: tokenizers::Error) -> TextError {
    TextError::Encode { reason: error.to_string() }
}

/// Builds the tokenizer, with truncation and padding off.
fn build(path: &Path, bytes: &[u8]) -> Result<Tokenizer, TextError> {
    let bad = |reason: String| TextError::BadTokenizer { path: path.to_owned(), reason };
    let open = |bytes: &[u8]| -> Result<Tokenizer, TextError> {
        let mut tokenizer = Tokenizer::from_bytes(bytes).map_err(|error| bad(error.to_string()))?;
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(|error| bad(error.to_string()))?;
        Ok(tokenizer)
    };
    guard::check(bytes).map_err(bad)?;
    let tokenizer = open(bytes)?;
    let hidden = hidden_special_tokens(&tokenizer);
    if hidden.is_empty() {
        return Ok(tokenizer);
    }
    // Some converted sentencepiece tokenizers mark their special tokens as `normalized`. Their normalizer puts a
    // space in front of each piece, of these tokens too, so `</s>` directly behind a word is read as plain
    // characters: no chat could ever end its turn. Such tokens are recognised by their exact text instead.
    let mut json: Json =
        serde_json::from_slice(bytes).map_err(|source| TextError::Json { path: path.to_owned(), source })?;
    for token in json.get_mut("added_tokens").and_then(Json::as_array_mut).into_iter().flatten() {
        if token["id"].as_u64().is_some_and(|id| hidden.iter().any(|hidden| u64::from(*hidden) == id)) {
            token["normalized"] = Json::Bool(false);
        }
    }
    open(&serde_json::to_vec(&json).map_err(|source| TextError::Json { path: path.to_owned(), source })?)
}

/// Special tokens that are not recognised inside a text.
fn hidden_special_tokens(tokenizer: &Tokenizer) -> Vec<u32> {
    let recognised = |id: u32, text: &str| {
        let encoding = tokenizer.encode(format!("a{text}a"), false);
        encoding.is_ok_and(|encoding| encoding.get_ids().contains(&id))
    };
    let added = tokenizer.get_added_tokens_decoder();
    let mut hidden: Vec<u32> = added
        .iter()
        .filter(|(id, token)| {
            token.special && token.normalized && !token.single_word && !recognised(**id, &token.content)
        })
        .map(|(id, _)| *id)
        .collect();
    hidden.sort_unstable();
    hidden
}

/// What encoding a text puts in front of it.
///
/// The tokenizer's post-processor decides, unless `tokenizer_config.json` says `add_bos_token`. For the Llama classes
/// without post-processor and without that key the answer is yes, as it always was for them.
fn prefix(tokenizer: &Tokenizer, bos: Option<&NamedToken>, config: &JsonFile) -> Result<Vec<u32>, TextError> {
    let encoding = tokenizer.encode("a", true).map_err(encode_error)?;
    let special = encoding.get_special_tokens_mask();
    let mut prefix: Vec<u32> =
        encoding.get_ids().iter().zip(special).take_while(|(_, mask)| **mask == 1).map(|(id, _)| *id).collect();
    let Some(bos) = bos else { return Ok(prefix) };
    let class = config.content.get("tokenizer_class").and_then(Json::as_str).unwrap_or_default();
    let llama = matches!(class.trim_end_matches("Fast"), "LlamaTokenizer" | "CodeLlamaTokenizer" | "GemmaTokenizer");
    let default = (llama && tokenizer.get_post_processor().is_none()).then_some(true);
    match config.flag("add_bos_token")?.or(default) {
        Some(true) if !prefix.contains(&bos.id) => prefix.insert(0, bos.id),
        Some(false) => prefix.retain(|id| *id != bos.id),
        _ => {}
    }
    Ok(prefix)
}

fn uses_byte_level(tokenizer: &Tokenizer) -> bool {
    let decodes = match tokenizer.get_decoder() {
        Some(DecoderWrapper::ByteLevel(_)) => true,
        Some(DecoderWrapper::Sequence(parts)) => {
            parts.get_decoders().iter().any(|part| matches!(part, DecoderWrapper::ByteLevel(_)))
        }
        _ => false,
    };
    decodes || matches!(tokenizer.get_pre_tokenizer(), Some(PreTokenizerWrapper::ByteLevel(_)))
}

/// The byte for which a character stands in byte-level vocabularies; other characters stand for themselves.
///
/// # Source
/// `bytes_to_unicode` of GPT-2: printable Latin-1 stands for itself, the other 68 bytes follow from U+0100 on.
fn byte_of_char(c: char) -> Vec<u8> {
    let code = u32::from(c);
    if matches!(code, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff) {
        return vec![code as u8];
    }
    let is_moved = |byte: &u32| !matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    match code.checked_sub(0x100).and_then(|index| (0..256).filter(is_moved).nth(index as usize)) {
        Some(byte) => vec![byte as u8],
        None => c.to_string().into_bytes(),
    }
}

/// The character that stands for a byte in byte-level vocabularies: the other way round of [`byte_of_char`].
pub(crate) fn char_of_byte(byte: u8) -> char {
    let is_moved = |byte: u8| !matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    if !is_moved(byte) {
        return char::from(byte);
    }
    let index = (0..byte).filter(|other| is_moved(*other)).count() as u32;
    char::from_u32(0x100 + index).unwrap_or(char::REPLACEMENT_CHARACTER)
}

fn display_bytes(bytes: &[u8]) -> String {
    let mut out = String::new();
    for chunk in bytes.utf8_chunks() {
        out.push_str(chunk.valid());
        for byte in chunk.invalid() {
            out.push_str(&format!("<0x{byte:02X}>"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_a_character_and_comes_back() {
        let mut seen = HashSet::new();
        for c in (0..0x144).filter_map(char::from_u32) {
            let bytes = byte_of_char(c);
            // Code points below 0x100 that are not printable are not part of the alphabet.
            if u32::from(c) >= 0x100 || matches!(u32::from(c), 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff) {
                assert_eq!(bytes.len(), 1, "{c:?}");
                assert!(seen.insert(bytes[0]), "{c:?} repeats byte {}", bytes[0]);
            }
        }
        assert_eq!(seen.len(), 256);
        assert!((0..=255).all(|byte| byte_of_char(char_of_byte(byte)) == [byte]));
        assert_eq!(byte_of_char('Ġ'), b" ");
        assert_eq!(byte_of_char('Ċ'), b"\n");
    }

    #[test]
    fn half_characters_are_shown_as_bytes() {
        assert_eq!(display_bytes("né".as_bytes()), "né");
        assert_eq!(display_bytes(&[b'a', 0xc3]), "a<0xC3>");
    }
}
