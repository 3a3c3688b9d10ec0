//! A tokenizer as a GGUF file keeps it.

use std::collections::HashMap;

use serde_json::Value as Json;

use super::scores::scores_of_merges;
use super::{BYTE, CONTROL, END_TEXTS, NORMAL, UNKNOWN, UNUSED, USER_DEFINED, Vocabulary, pre};
use crate::error::TextError;
use crate::model::TextModel;

const FORMAT: &str = "GGUF";
/// Score of ids without a token: lower than any other.
const UNUSED_SCORE: f32 = -1e7;
/// Tokens that a message names at most.
const MOST_NAMED: usize = 3;

/// A tokenizer as GGUF has it, and where a reader of the file will act otherwise.
#[derive(Debug, Clone, PartialEq)]
pub struct GgufVocabulary {
    /// The values of the file's keys.
    pub vocabulary: Vocabulary,
    /// What GGUF cannot say of this tokenizer, one sentence each: texts of that kind get other ids in llama.cpp.
    pub differences: Vec<String>,
}

impl TextModel {
    /// The tokenizer, its special tokens and the chat template as a GGUF file keeps them.
    ///
    /// `embedding_rows` is the number of rows of the embedding; ids beyond the tokenizer's become unused tokens
    /// `[PADn]`. 0 stands for as many rows as there are ids.
    ///
    /// # Errors
    /// [`TextError::NoCounterpart`] when the tokenizer cuts or merges in a way that GGUF has no name for.
    pub fn to_gguf_vocabulary(&self, embedding_rows: usize) -> Result<GgufVocabulary, TextError> {
        let tokenizer = self.tokens.tokenizer();
        let json = serde_json::to_value(tokenizer).map_err(|error| no_counterpart("model", error.to_string()))?;
        let kind = json["model"]["type"].as_str().unwrap_or("unknown").to_owned();
        if kind != "BPE" {
            return Err(no_counterpart("model", format!("a model of type {kind}")));
        }
        for key in ["dropout", "continuing_subword_prefix", "end_of_word_suffix"] {
            let value = &json["model"][key];
            if !value.is_null() && value != "" && value != 0.0 {
                return Err(no_counterpart("model", format!("{key} {value}")));
            }
        }
        let mut writer = Writer { model: self, json: &json, out: Vocabulary::default(), differences: Vec::new() };
        writer.tokens(embedding_rows)?;
        if self.tokens.is_byte_level() {
            writer.byte_level()?
        } else {
            writer.sentencepiece()?
        }
        writer.roles()?;
        writer.templates();
        Ok(GgufVocabulary { vocabulary: writer.out, differences: writer.differences })
    }
}

fn no_counterpart(part: &'static str, found: String) -> TextError {
    let known = match part {
        "pre-tokenizer" => pre::known(),
        _ => "byte-level BPE (gpt2), sentencepiece BPE with byte fallback (llama)".to_owned(),
    };
    TextError::NoCounterpart { format: FORMAT, part, found, known }
}

/// The `merges` of a tokenizer.json, written as pairs or as texts with a space between.
fn merges_of(json: &Json) -> Result<Vec<(&str, &str)>, TextError> {
    let merges = json["model"]["merges"].as_array().map_or(&[][..], Vec::as_slice);
    let mut pairs = Vec::with_capacity(merges.len());
    for merge in merges {
        let pair = match merge {
            Json::Array(pair) => pair.first().and_then(Json::as_str).zip(pair.get(1).and_then(Json::as_str)),
            Json::String(pair) => pair.split_once(' '),
            _ => None,
        };
        pairs.push(pair.ok_or_else(|| no_counterpart("merges", merge.to_string()))?);
    }
    Ok(pairs)
}

struct Writer<'a> {
    model: &'a TextModel,
    json: &'a Json,
    out: Vocabulary,
    differences: Vec<String>,
}

impl Writer<'_> {
    /// Texts and types of all ids.
    fn tokens(&mut self, embedding_rows: usize) -> Result<(), TextError> {
        let model = self.model;
        let count = model.vocab_size();
        let rows = if embedding_rows == 0 { count } else { embedding_rows };
        if rows < count {
            let found = format!("{count} ids, but the embedding has {rows} rows");
            return Err(no_counterpart("vocabulary", found));
        }
        self.out.tokens = (0..rows).map(|id| format!("[PAD{id}]")).collect();
        self.out.token_types = vec![UNUSED; rows];
        let byte_level = model.tokens.is_byte_level();
        let tokenizer = model.tokens.tokenizer();
        for (text, id) in tokenizer.get_vocab(false) {
            let byte = !byte_level && byte_of(&text).is_some();
            self.out.token_types[id as usize] = if byte { BYTE } else { NORMAL };
            self.out.tokens[id as usize] = text;
        }
        let unk = self.json["model"]["unk_token"].as_str();
        let roles = [model.bos_id(), model.eos_id()];
        let mut trimmed = Vec::new();
        for (id, token) in tokenizer.get_added_tokens_decoder() {
            let special = token.special || roles.contains(&Some(id)) || model.stop_ids().contains(&id);
            self.out.token_types[id as usize] = match special {
                _ if unk == Some(&token.content) => UNKNOWN,
                true => CONTROL,
                false => USER_DEFINED,
            };
            // What is recognised before anything else stands there as it is written, with plain spaces.
            let plain = token.content.replace('\u{2581}', " ");
            let escaped = !special && !byte_level && tokenizer.token_to_id(&plain).is_none();
            self.out.tokens[id as usize] = if escaped { plain } else { token.content.clone() };
            if token.lstrip || token.rstrip || token.single_word {
                trimmed.push((id, token.content.clone()));
            }
        }
        if let Some(id) = unk.and_then(|text| tokenizer.token_to_id(text)) {
            self.out.token_types[id as usize] = UNKNOWN;
            self.out.unk = Some(id);
        }
        let ends =
            |id: &usize| self.out.token_types[*id] == NORMAL && END_TEXTS.contains(&self.out.tokens[*id].as_str());
        let ordinary: Vec<(u32, String)> =
            (0..rows).filter(ends).map(|id| (id as u32, self.out.tokens[id].clone())).collect();
        self.note(&ordinary, "are ordinary text here; llama.cpp takes them for the end of a generation by their text");
        trimmed.sort();
        self.note(
            &trimmed,
            "swallow blanks beside them, or are recognised between blanks only; readers of GGUF do neither",
        );
        let mut doubled: HashMap<&str, usize> = HashMap::new();
        for (id, text) in self.out.tokens.iter().enumerate() {
            if let Some(before) = doubled.insert(text, id) {
                let found = format!("tokens {before} and {id} are both {text:?}");
                return Err(no_counterpart("vocabulary", found));
            }
        }
        Ok(())
    }

    fn note(&mut self, tokens: &[(u32, String)], what: &str) {
        if tokens.is_empty() {
            return;
        }
        let named: Vec<String> = tokens.iter().take(MOST_NAMED).map(|(id, text)| format!("{id} {text:?}")).collect();
        let more =
            if tokens.len() > MOST_NAMED { format!(" and {} more", tokens.len() - MOST_NAMED) } else { String::new() };
        self.differences.push(format!("the tokens {}{more} {what}", named.join(", ")));
    }

    fn byte_level(&mut self) -> Result<(), TextError> {
        let normalizers = normalizers_of(&self.json["normalizer"]);
        let composes = match normalizers.as_slice() {
            [] => false,
            [one] if one["type"] == "NFC" => true,
            _ => return Err(no_counterpart("normalizer", self.json["normalizer"].to_string())),
        };
        let ignore_merges = self.json["model"]["ignore_merges"] == true;
        let known = pre::detect(&self.json["pre_tokenizer"], ignore_merges, composes)
            .map_err(|found| no_counterpart("pre-tokenizer", found))?;
        self.out.model = "gpt2".to_owned();
        self.out.pre = Some(known.names[0].to_owned());
        if known.ignore_merges != ignore_merges {
            self.differences.push(format!(
                "words that are tokens are {} by this tokenizer, and the other way round under the name {:?}",
                if ignore_merges { "taken whole without merging" } else { "merged like others" },
                known.names[0]
            ));
        }
        if composes {
            self.differences.push(
                "characters are composed first (Unicode NFC) by this tokenizer and by none that reads GGUF: text in \
                 decomposed form gets other ids"
                    .to_owned(),
            );
        }
        let merges = merges_of(self.json)?;
        if let Some((left, right)) = merges.iter().find(|(left, right)| left.contains(' ') || right.contains(' ')) {
            return Err(no_counterpart("merges", format!("a space in the pair {left:?}, {right:?}")));
        }
        self.out.merges = merges.iter().map(|(left, right)| format!("{left} {right}")).collect();
        Ok(())
    }

    fn sentencepiece(&mut self) -> Result<(), TextError> {
        if self.json["model"]["byte_fallback"] != true {
            return Err(no_counterpart("model", "BPE that is neither byte-level nor falls back to bytes".to_owned()));
        }
        let bytes = self.out.token_types.iter().filter(|kind| **kind == BYTE).count();
        if bytes < 256 {
            self.differences.push(format!(
                "{} of the 256 bytes have no token: characters that need them are unknown here, and an error in llama.cpp",
                256 - bytes
            ));
        }
        let first = self.json["pre_tokenizer"]["prepend_scheme"] == "first";
        self.out.model = "llama".to_owned();
        self.out.pre = Some("default".to_owned());
        self.out.add_space_prefix = Some(space_prefix(self.json)?);
        if first {
            // llama.cpp puts the space behind special tokens, too. Chats that begin with such a token have none at
            // all, so they come out right without; this is what the model was trained on.
            let chat = self.model.tokens.encode(&self.model.probe.text)?;
            let begins_special = chat.ids.first().is_some_and(|first| self.model.tokens.is_special(*first));
            self.out.add_space_prefix = Some(!begins_special);
            self.differences.push(match begins_special {
                true => {
                    "text without a chat around it begins with a space here and without one in llama.cpp".to_owned()
                }
                false => "a space is put in front of the first text here, and behind special tokens, too, by llama.cpp"
                    .to_owned(),
            });
        }
        let out = &self.out;
        let normal: Vec<(u32, &str)> = out
            .tokens
            .iter()
            .enumerate()
            .filter(|(id, _)| out.token_types[*id] == NORMAL)
            .map(|(id, text)| (id as u32, text.as_str()))
            .collect();
        let (ranked, irregular) = scores_of_merges(&normal, &merges_of(self.json)?);
        let mut scores: Vec<f32> =
            out.token_types.iter().map(|kind| if *kind == UNUSED { UNUSED_SCORE } else { 0.0 }).collect();
        for (id, score) in ranked {
            scores[id as usize] = score;
        }
        let named: Vec<(&'static str, u32, String)> = irregular
            .iter()
            .map(|irregular| (irregular.why, irregular.token, out.tokens[irregular.token as usize].clone()))
            .collect();
        self.out.scores = scores;
        let mut reasons: Vec<&str> = named.iter().map(|(why, ..)| *why).collect();
        reasons.sort_unstable();
        reasons.dedup();
        for why in reasons {
            let tokens: Vec<(u32, String)> =
                named.iter().filter(|(other, ..)| *other == why).map(|(_, id, text)| (*id, text.clone())).collect();
            self.note(&tokens, &format!("may be joined elsewhere by scores than by merges (of each: {why})"));
        }
        Ok(())
    }

    /// The tokens with a role, BOS and where generation stops.
    fn roles(&mut self) -> Result<(), TextError> {
        let model = self.model;
        let id_of = |key: &str| -> Result<Option<u32>, TextError> {
            let file = if model.config.content.contains_key(key) { &model.config } else { &model.special_map };
            Ok(file.token(key)?.and_then(|text| model.tokens.id(&text)))
        };
        let prefix = model.tokens.prefix();
        self.out.bos = model.bos_id().or(prefix.first().copied());
        self.out.eos = model.eos_id().or(model.stop_ids().first().copied());
        self.out.pad = id_of("pad_token")?;
        if self.out.unk.is_none() {
            self.out.unk = id_of("unk_token")?;
        }
        self.out.add_bos = Some(!prefix.is_empty());
        self.out.add_eos = Some(false);
        if prefix.len() > 1 || prefix.first().is_some_and(|first| Some(*first) != self.out.bos) {
            let found = format!("{prefix:?} in front of each text");
            return Err(no_counterpart("post-processor", found));
        }
        // Where generation ends beside EOS: readers know some texts by themselves, the others need a role.
        let end_of_turn = model.end_of_turn_id().filter(|id| Some(*id) != self.out.eos);
        self.out.eot = end_of_turn;
        let known = |id: u32| {
            self.out.token_types[id as usize] == CONTROL && END_TEXTS.contains(&self.out.tokens[id as usize].as_str())
        };
        let named = [self.out.eos, self.out.eot];
        let mut others = model.stop_ids().iter().copied().filter(|id| !named.contains(&Some(*id)) && !known(*id));
        let mut others: Vec<u32> = others.by_ref().filter(|id| (*id as usize) < self.out.tokens.len()).collect();
        if self.out.eot.is_none() && !others.is_empty() {
            self.out.eot = Some(others.remove(0));
        }
        if !others.is_empty() {
            self.out.eom = Some(others.remove(0));
        }
        let lost: Vec<(u32, String)> = others.iter().map(|id| (*id, self.out.tokens[*id as usize].clone())).collect();
        self.note(&lost, "end a text here, and GGUF has no more room for them");
        Ok(())
    }

    /// The template in use, and the others that the configuration names.
    fn templates(&mut self) {
        let used = self.model.template.as_ref().map(|template| template.text().to_owned());
        if let Some(Json::Array(named)) = self.model.config.content.get("chat_template") {
            let named = named.iter().filter_map(|entry| entry["name"].as_str().zip(entry["template"].as_str()));
            let others = named.filter(|(name, _)| *name != "default");
            self.out.named_templates = others.map(|(name, text)| (name.to_owned(), text.to_owned())).collect();
        }
        self.out.chat_template = used;
    }
}

/// The byte of a `<0x0A>` token.
fn byte_of(text: &str) -> Option<u8> {
    let digits = text.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>')).filter(|digits| digits.len() == 2);
    digits
        .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
        .and_then(|digits| u8::from_str_radix(digits, 16).ok())
}

fn normalizers_of(normalizer: &Json) -> Vec<&Json> {
    match normalizer["type"].as_str() {
        Some("Sequence") => normalizer["normalizers"].as_array().into_iter().flatten().collect(),
        Some(_) => vec![normalizer],
        None => Vec::new(),
    }
}

/// Whether a sentencepiece tokenizer puts a space in front of a text.
fn space_prefix(json: &Json) -> Result<bool, TextError> {
    let escapes =
        |part: &Json| part["type"] == "Replace" && part["pattern"]["String"] == " " && part["content"] == "\u{2581}";
    let mut prefix = false;
    let mut escaped = false;
    for part in normalizers_of(&json["normalizer"]) {
        match part["type"].as_str() {
            Some("Prepend") if part["prepend"] == "\u{2581}" => prefix = true,
            Some("Replace") if escapes(part) => escaped = true,
            _ => return Err(no_counterpart("normalizer", part.to_string())),
        }
    }
    let pre_tokenizer = &json["pre_tokenizer"];
    match pre_tokenizer["type"].as_str() {
        None if escaped => Ok(prefix),
        Some("Metaspace")
            if !escaped && pre_tokenizer["replacement"] == "\u{2581}" && pre_tokenizer["split"] == false =>
        {
            Ok(prefix || pre_tokenizer["prepend_scheme"] != "never")
        }
        _ => Err(no_counterpart("pre-tokenizer", pre_tokenizer.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_two_digits() {
        assert_eq!(byte_of("<0x0A>"), Some(10));
        assert_eq!(byte_of("<0x0A"), None);
        assert_eq!(byte_of("<0x+A>"), None);
        assert_eq!(byte_of("<0x00A>"), None);
    }
}
