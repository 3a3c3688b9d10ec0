//! A sentencepiece model (`tokenizer.model`) as a tokenizer, for folders without tokenizer.json.
//!
//! # Source
//! sentencepiece, `sentencepiece_model.proto`: numbers and defaults of the fields.

pub(crate) mod charsmap;
mod protobuf;

use std::collections::HashMap;
use std::path::Path;

use serde_json::{Map, Value as Json, json};

use crate::base64;
use crate::error::TextError;
use crate::files::JsonFile;
use crate::gguf::{BYTE, CONTROL, NORMAL, UNKNOWN, UNUSED, USER_DEFINED};
use crate::vocabulary::{TokenTable, merges_of_scores, sentencepiece_json};
use protobuf::{Damage, Fields};

/// Most pieces; the largest published models have some 260,000.
const MAX_PIECES: usize = 4 << 20;
/// Longest piece in bytes.
const MAX_PIECE_BYTES: usize = 4096;

/// `model_type` of the trainer.
const UNIGRAM: i64 = 1;
const BPE: i64 = 2;

struct Piece<'a> {
    text: &'a str,
    score: f32,
    kind: i32,
}

/// What a model file says, with the defaults of the format.
struct Model<'a> {
    pieces: Vec<Piece<'a>>,
    model_type: i64,
    byte_fallback: bool,
    whitespace_as_suffix: bool,
    /// Ids of unknown, BOS, EOS and padding; negative for none.
    roles: [i64; 4],
    charsmap: &'a [u8],
    dummy_prefix: bool,
    remove_extra_whitespaces: bool,
    escape_whitespaces: bool,
    denormalizes: bool,
}

/// A model file in Hugging Face's terms: the content of a tokenizer.json.
///
/// `config` is tokenizer_config.json, whose added tokens join those of the model. Keys that it lacks and the model
/// knows (`bos_token` and others) are put into it.
///
/// # Errors
/// [`TextError::BadVocabulary`] for a damaged file, [`TextError::UnknownVocabulary`] for a kind of model or a
/// normalizer that is not supported.
pub(crate) fn convert(path: &Path, bytes: &[u8], config: &mut JsonFile) -> Result<Json, TextError> {
    let reader = Reader { path };
    let mut model = reader.model(bytes)?;
    reader.check(&model)?;
    let added = crate::vocabulary::added_tokens(config)?;
    let mut table = TokenTable {
        texts: model.pieces.iter().map(|piece| piece.text).collect(),
        types: model.pieces.iter().map(|piece| piece.kind).collect(),
        flags: HashMap::new(),
    };
    table.add(&added).map_err(|rule| reader.bad(rule))?;
    let role = |at: usize| usize::try_from(model.roles[at]).ok().and_then(|id| table.texts.get(id).copied());
    let mut defaults = Map::new();
    for (at, key) in ["unk_token", "bos_token", "eos_token", "pad_token"].into_iter().enumerate() {
        let id = usize::try_from(model.roles[at]).ok();
        let special = id.and_then(|id| model.pieces.get(id)).is_some_and(|piece| piece.kind != NORMAL);
        if let (true, Some(text)) = (special, role(at)) {
            defaults.insert(key.to_owned(), text.into());
        }
    }
    if !config.content.contains_key("tokenizer_class") {
        // A sentencepiece model by itself adds nothing; those who train decoders with it put BOS in front.
        defaults.insert("add_bos_token".to_owned(), defaults.contains_key("bos_token").into());
    }
    for (key, value) in defaults {
        config.content.entry(key).or_insert(value);
    }
    let legacy = config.flag("legacy")?.unwrap_or(true);
    model.dummy_prefix = config.flag("add_prefix_space")?.unwrap_or(model.dummy_prefix);
    let unk = role(0);
    let before = normalizers(&model);
    let mut json = if model.model_type == BPE {
        let scored: Vec<(u32, &str, f32)> = table
            .mergeable()
            .map(|(id, text)| (id, text, model.pieces.get(id as usize).map_or(0.0, |piece| piece.score)))
            .collect();
        let merges = merges_of_scores(&scored).map_err(|rule| reader.bad(rule))?;
        let text = |id: u32| table.texts[id as usize];
        let merges: Vec<Json> = merges.iter().map(|(left, right)| json!([text(*left), text(*right)])).collect();
        let mut json = sentencepiece_json(&table, &merges, unk, &before, model.dummy_prefix);
        json["model"]["byte_fallback"] = model.byte_fallback.into();
        json
    } else {
        let mut json = sentencepiece_json(&table, &[], None, &before, model.dummy_prefix);
        json["model"] = reader.unigram(&model, &table)?;
        json
    };
    if model.remove_extra_whitespaces
        && let Some(normalizers) = json["normalizer"]["normalizers"].as_array_mut()
    {
        // At the end sentencepiece takes away what stands for a space, even if it stood in the text itself.
        normalizers.push(json!({"type": "Replace", "pattern": {"Regex": "\u{2581}+$"}, "content": ""}));
    }
    if !legacy && model.dummy_prefix {
        // The space goes in front of the first text only, not behind special tokens.
        let normalizers = (!before.is_empty()).then(|| json!({"type": "Sequence", "normalizers": before}));
        json["normalizer"] = normalizers.unwrap_or_default();
        json["pre_tokenizer"] =
            json!({"type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": "first", "split": false});
    }
    Ok(json)
}

/// The normalizers that come before spaces are written as `U+2581`.
fn normalizers(model: &Model) -> Vec<Json> {
    let mut before = Vec::new();
    if !model.charsmap.is_empty() {
        before.push(json!({"type": "Precompiled", "precompiled_charsmap": base64::encode(model.charsmap)}));
    }
    if model.remove_extra_whitespaces {
        let replace = |expression: &str, content: &str| json!({"type": "Replace", "pattern": {"Regex": expression}, "content": content});
        before.push(replace("^ +| +$", ""));
        before.push(replace(" {2,}", " "));
    }
    before
}

struct Reader<'a> {
    path: &'a Path,
}

impl Reader<'_> {
    fn bad(&self, rule: impl Into<String>) -> TextError {
        TextError::BadVocabulary { path: self.path.to_owned(), rule: rule.into() }
    }

    fn damaged(&self, what: &str, damage: Damage) -> TextError {
        self.bad(format!("{what}, byte {}: {}", damage.at, damage.why))
    }

    fn unknown(&self, what: &'static str, name: impl Into<String>, known: &str) -> TextError {
        TextError::UnknownVocabulary { path: self.path.to_owned(), what, name: name.into(), known: known.to_owned() }
    }

    fn model<'a>(&self, bytes: &'a [u8]) -> Result<Model<'a>, TextError> {
        let mut model = Model {
            pieces: Vec::new(),
            model_type: UNIGRAM,
            byte_fallback: false,
            whitespace_as_suffix: false,
            roles: [0, 1, 2, -1],
            charsmap: &[],
            dummy_prefix: true,
            remove_extra_whitespaces: true,
            escape_whitespaces: true,
            denormalizes: false,
        };
        for field in Fields::new(bytes) {
            let (number, value) = field.map_err(|damage| self.damaged("the model", damage))?;
            let message =
                || value.bytes().ok_or_else(|| self.bad(format!("field {number} of the model is no message")));
            match number {
                1 => {
                    if model.pieces.len() == MAX_PIECES {
                        return Err(self.bad(format!("it has more than {MAX_PIECES} pieces")));
                    }
                    let piece = self.piece(model.pieces.len(), message()?)?;
                    model.pieces.push(piece);
                }
                2 => self.trainer(&mut model, message()?)?,
                3 => self.normalizer(&mut model, message()?)?,
                5 => {
                    for field in Fields::new(message()?) {
                        let (number, value) = field.map_err(|damage| self.damaged("the denormalizer", damage))?;
                        model.denormalizes |= number == 2 && value.bytes().is_some_and(|map| !map.is_empty());
                    }
                }
                _ => {}
            }
        }
        Ok(model)
    }

    fn piece<'a>(&self, id: usize, message: &'a [u8]) -> Result<Piece<'a>, TextError> {
        let what = format!("piece {id}");
        let mut piece = Piece { text: "", score: 0.0, kind: NORMAL };
        for field in Fields::new(message) {
            let (number, value) = field.map_err(|damage| self.damaged(&what, damage))?;
            let wrong = || self.bad(format!("{what}: field {number} is of the wrong kind"));
            match number {
                1 => {
                    let bytes = value.bytes().ok_or_else(wrong)?;
                    piece.text = str::from_utf8(bytes).map_err(|_| self.bad(format!("{what} is not UTF-8")))?;
                }
                2 => piece.score = value.float().ok_or_else(wrong)?,
                3 => piece.kind = value.number().and_then(|kind| i32::try_from(kind).ok()).ok_or_else(wrong)?,
                _ => {}
            }
        }
        Ok(piece)
    }

    fn trainer(&self, model: &mut Model, message: &[u8]) -> Result<(), TextError> {
        for field in Fields::new(message) {
            let (number, value) = field.map_err(|damage| self.damaged("the trainer's settings", damage))?;
            let integer =
                || value.integer().ok_or_else(|| self.bad(format!("field {number} of the trainer's settings")));
            match number {
                3 => model.model_type = integer()?,
                24 => model.whitespace_as_suffix = integer()? != 0,
                35 => model.byte_fallback = integer()? != 0,
                // 32 bits; negative ones come as 64.
                40..=43 => model.roles[number as usize - 40] = i64::from(integer()? as i32),
                _ => {}
            }
        }
        Ok(())
    }

    fn normalizer<'a>(&self, model: &mut Model<'a>, message: &'a [u8]) -> Result<(), TextError> {
        for field in Fields::new(message) {
            let (number, value) = field.map_err(|damage| self.damaged("the normalizer", damage))?;
            let wrong = || self.bad(format!("field {number} of the normalizer is of the wrong kind"));
            let flag = || value.number().map(|flag| flag != 0).ok_or_else(wrong);
            match number {
                2 => model.charsmap = value.bytes().ok_or_else(wrong)?,
                3 => model.dummy_prefix = flag()?,
                4 => model.remove_extra_whitespaces = flag()?,
                5 => model.escape_whitespaces = flag()?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Refuses what is damaged, and what the tokenizer would do otherwise than sentencepiece.
    fn check(&self, model: &Model) -> Result<(), TextError> {
        if model.pieces.is_empty() {
            return Err(self.bad("it has no pieces"));
        }
        let mut seen: HashMap<&str, usize> = HashMap::with_capacity(model.pieces.len());
        let mut unknowns = 0;
        for (id, piece) in model.pieces.iter().enumerate() {
            let length = piece.text.len();
            if length == 0 || length > MAX_PIECE_BYTES {
                return Err(self.bad(format!("piece {id} has {length} bytes (1 to {MAX_PIECE_BYTES} are read)")));
            }
            if let Some(before) = seen.insert(piece.text, id) {
                return Err(self.bad(format!("pieces {before} and {id} are both {:?}", piece.text)));
            }
            if !piece.score.is_finite() {
                return Err(self.bad(format!("piece {id} has the score {}", piece.score)));
            }
            match piece.kind {
                UNKNOWN => unknowns += 1,
                UNUSED => return Err(self.unknown("kind of piece", "unused", "normal, control, user-defined, byte")),
                NORMAL | CONTROL | USER_DEFINED | BYTE => {}
                other => return Err(self.bad(format!("piece {id} is of kind {other}"))),
            }
        }
        if unknowns != 1 {
            return Err(self.bad(format!("it has {unknowns} unknown pieces instead of one")));
        }
        let bytes = model.pieces.iter().filter(|piece| piece.kind == BYTE).count();
        if model.byte_fallback && bytes != 256 {
            return Err(self.bad(format!("it falls back to bytes and has {bytes} of the 256")));
        }
        if !matches!(model.model_type, UNIGRAM | BPE) {
            let name = match model.model_type {
                3 => "word".to_owned(),
                4 => "char".to_owned(),
                other => other.to_string(),
            };
            return Err(self.unknown("sentencepiece model type", name, "bpe, unigram"));
        }
        if model.whitespace_as_suffix {
            return Err(self.unknown(
                "sentencepiece setting",
                "treat_whitespace_as_suffix",
                "spaces in front of words",
            ));
        }
        if !model.escape_whitespaces {
            return Err(self.unknown("sentencepiece setting", "escape_whitespaces: false", "spaces written as U+2581"));
        }
        if model.denormalizes {
            return Err(self.unknown("sentencepiece setting", "denormalizer", "none"));
        }
        if model.charsmap.is_empty() { Ok(()) } else { charsmap::check(model.charsmap).map_err(|rule| self.bad(rule)) }
    }

    /// The `model` of a tokenizer.json for a unigram model.
    fn unigram(&self, model: &Model, table: &TokenTable) -> Result<Json, TextError> {
        if let Some(hole) = table.texts.iter().position(|text| text.is_empty()) {
            return Err(self.bad(format!("added tokens leave out the id {hole}")));
        }
        let score = |id: usize| model.pieces.get(id).map_or(0.0, |piece| f64::from(piece.score));
        let vocab: Vec<Json> = table.texts.iter().enumerate().map(|(id, text)| json!([text, score(id)])).collect();
        let unk = model.pieces.iter().position(|piece| piece.kind == UNKNOWN);
        Ok(json!({"type": "Unigram", "unk_id": unk, "vocab": vocab, "byte_fallback": model.byte_fallback}))
    }
}
