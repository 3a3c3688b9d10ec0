//! A GGUF file's vocabulary as a tokenizer.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use serde_json::{Map, Value as Json, json};

use super::{CONTROL, END_TEXTS, UNKNOWN, UNUSED, USER_DEFINED, Vocabulary, merges_of_scores, pre};
use crate::error::TextError;
use crate::files::JsonFile;
use crate::model::{LoadOptions, Source, TextModel};
use crate::vocabulary::{TokenTable, byte_level_json, hugging_face_config, put_bos_in_front, sentencepiece_json};

/// Longest token; the longest published ones have about 500 bytes.
const MAX_TOKEN_BYTES: usize = 4096;
/// Most tokens; the largest published vocabularies have some 260,000.
const MAX_TOKENS: usize = 4 << 20;
/// Most tokens that are looked for before anything else; published models have at most some 7,000.
const MAX_ADDED: usize = 100_000;

impl TextModel {
    /// Builds tokenizer, special tokens and chat template from what a GGUF file says.
    ///
    /// `origin` is the file, for messages. Texts get the ids that llama.cpp gives them, with two exceptions: where a
    /// pre-tokenizer's family composes characters (NFC), this is done here, as in training, and BOS is never doubled.
    /// `options.tokenizer` replaces all of it.
    ///
    /// # Errors
    /// [`TextError::BadVocabulary`] for one that breaks a rule, [`TextError::UnknownVocabulary`] for a kind or a
    /// pre-tokenizer that is not known, and those of [`TextModel::load`] about the template.
    pub fn from_gguf_vocabulary(
        vocabulary: &Vocabulary,
        origin: &Path,
        options: &LoadOptions,
    ) -> Result<Self, TextError> {
        if let Some(path) = &options.tokenizer {
            let dir = if path.is_dir() { Some(path.as_path()) } else { path.parent() };
            return Self::load(dir.unwrap_or(Path::new("")), options);
        }
        let reader = Reader { vocabulary, origin };
        let converted = reader.convert()?;
        Self::assemble(converted.into_source(origin), options)
    }
}

/// A tokenizer of another format in Hugging Face's terms.
pub(crate) struct Converted {
    /// Content of a tokenizer.json.
    pub(crate) tokenizer: Json,
    /// Content of a tokenizer_config.json.
    pub(crate) config: Map<String, Json>,
    /// Ids that end a text.
    pub(crate) stop_ids: Vec<u32>,
}

impl Converted {
    fn into_source(self, origin: &Path) -> Source {
        let file = |content| JsonFile { path: origin.to_owned(), content };
        Source {
            dir: origin.to_owned(),
            path: origin.to_owned(),
            tokenizer: self.tokenizer.to_string().into_bytes(),
            config: file(self.config),
            special_map: file(Map::new()),
            stop_ids: self.stop_ids,
            beside: None,
        }
    }
}

struct Reader<'a> {
    vocabulary: &'a Vocabulary,
    origin: &'a Path,
}

impl Reader<'_> {
    fn bad(&self, rule: impl Into<String>) -> TextError {
        TextError::BadVocabulary { path: self.origin.to_owned(), rule: rule.into() }
    }

    fn unknown(&self, what: &'static str, name: &str, known: String) -> TextError {
        TextError::UnknownVocabulary { path: self.origin.to_owned(), what, name: name.to_owned(), known }
    }

    fn convert(&self) -> Result<Converted, TextError> {
        let vocabulary = self.vocabulary;
        self.check()?;
        let sentencepiece = match vocabulary.model.as_str() {
            "llama" => true,
            "gpt2" => false,
            other => return Err(self.unknown("tokenizer", other, "llama, gpt2".to_owned())),
        };
        let ids = Roles::of(vocabulary, sentencepiece);
        let table = self.table(&ids)?;
        let (mut tokenizer, add_bos) =
            if sentencepiece { self.sentencepiece(&table, &ids)? } else { self.byte_level(&table)? };
        let text = |id: Option<u32>| id.and_then(|id| table.texts.get(id as usize).copied());
        let add_bos = vocabulary.add_bos.unwrap_or(add_bos);
        let bos = ids.bos.and_then(|id| text(Some(id)).map(|text| (id, text)));
        if add_bos && bos.is_none() {
            return Err(self.bad("tokenizer.ggml.add_bos_token is true, but there is no BOS token"));
        }
        if add_bos && let Some(bos) = bos {
            let byte_level = (!sentencepiece).then(|| pre::byte_level(false));
            tokenizer["post_processor"] = put_bos_in_front(bos, byte_level);
        }
        let named = [("bos_token", ids.bos), ("eos_token", ids.eos), ("unk_token", ids.unk), ("pad_token", ids.pad)];
        let mut config = hugging_face_config(&named.map(|(key, id)| (key, text(id))), add_bos);
        if let Some(template) = template_json(vocabulary) {
            config.insert("chat_template".into(), template);
        }
        let mut stop_ids: Vec<u32> = [ids.eos, vocabulary.eot, vocabulary.eom].into_iter().flatten().collect();
        let ends = |id: &u32| table.types[*id as usize] == CONTROL && END_TEXTS.contains(&table.texts[*id as usize]);
        stop_ids.extend((0..table.texts.len() as u32).filter(ends));
        Ok(Converted { tokenizer, config, stop_ids })
    }

    /// The rules that each list has to keep.
    fn check(&self) -> Result<(), TextError> {
        let vocabulary = self.vocabulary;
        let count = vocabulary.tokens.len();
        if count == 0 || count > MAX_TOKENS {
            return Err(self.bad(format!("tokenizer.ggml.tokens has {count} tokens (1 to {MAX_TOKENS} are read)")));
        }
        let lengths = [
            ("scores", vocabulary.scores.len(), vocabulary.model == "llama"),
            ("token_type", vocabulary.token_types.len(), false),
        ];
        for (key, length, needed) in lengths {
            if length < count && (length > 0 || needed) {
                return Err(self.bad(format!("tokenizer.ggml.{key} has {length} entries for {count} tokens")));
            }
        }
        if let Some(at) = vocabulary.scores.iter().position(|score| !score.is_finite()) {
            return Err(self.bad(format!("tokenizer.ggml.scores[{at}] is {}", vocabulary.scores[at])));
        }
        let roles = [
            ("bos_token_id", vocabulary.bos),
            ("eos_token_id", vocabulary.eos),
            ("eot_token_id", vocabulary.eot),
            ("eom_token_id", vocabulary.eom),
            ("unknown_token_id", vocabulary.unk),
            ("padding_token_id", vocabulary.pad),
        ];
        for (key, id) in roles {
            if id.is_some_and(|id| id as usize >= count) {
                let id = id.unwrap_or_default();
                return Err(self.bad(format!("tokenizer.ggml.{key} is {id}, but there are {count} tokens")));
            }
        }
        Ok(())
    }

    /// The tokens by id, without those that only fill the embedding up.
    fn table(&self, ids: &Roles) -> Result<TokenTable<'_>, TextError> {
        let vocabulary = self.vocabulary;
        let mut seen: HashMap<&str, usize> = HashMap::with_capacity(vocabulary.tokens.len());
        let mut table = TokenTable { texts: Vec::new(), types: Vec::new(), flags: HashMap::new() };
        let special = ids.special();
        for (id, text) in vocabulary.tokens.iter().enumerate() {
            if text.len() > MAX_TOKEN_BYTES {
                let length = text.len();
                return Err(self.bad(format!("token {id} has {length} bytes (at most {MAX_TOKEN_BYTES} are read)")));
            }
            let kind = vocabulary.token_type(id as u32);
            let fills = text.is_empty() || (kind == UNUSED && is_padding(text, id));
            if !fills && let Some(before) = seen.insert(text, id) {
                return Err(self.bad(format!("tokens {before} and {id} are both {text:?}")));
            }
            // A role makes a token special, whatever the list of types says of it.
            let kind = if special.contains(&(id as u32)) && kind != UNKNOWN { CONTROL } else { kind };
            table.texts.push(if fills { "" } else { text });
            table.types.push(kind);
        }
        let added = table.types.iter().filter(|kind| matches!(**kind, UNKNOWN | CONTROL | USER_DEFINED)).count();
        if added > MAX_ADDED {
            return Err(self.bad(format!("it has {added} special tokens (at most {MAX_ADDED} are read)")));
        }
        Ok(table)
    }

    /// A byte-level tokenizer and whether it puts BOS in front by default.
    fn byte_level(&self, table: &TokenTable) -> Result<(Json, bool), TextError> {
        let name = self.vocabulary.pre.as_deref().unwrap_or_default();
        let Some(pre) = pre::by_name(name) else {
            return Err(self.unknown("pre-tokenizer", name, pre::known()));
        };
        let known: HashSet<&str> = table.texts.iter().copied().collect();
        let mut merges = Vec::with_capacity(self.vocabulary.merges.len());
        let mut seen = HashSet::with_capacity(self.vocabulary.merges.len());
        let mut joined = String::new();
        for (at, merge) in self.vocabulary.merges.iter().enumerate() {
            let bad = |why: &str| self.bad(format!("tokenizer.ggml.merges[{at}] ({merge:?}) {why}"));
            // The space of a left part that is itself a space is not the border.
            let border = merge.char_indices().skip(1).find(|(_, c)| *c == ' ').map(|(border, _)| border);
            let Some(border) = border else { return Err(bad("is not a pair")) };
            let (left, right) = (&merge[..border], &merge[border + 1..]);
            joined.clear();
            joined.push_str(left);
            joined.push_str(right);
            if right.is_empty() || ![left, right, &joined].iter().all(|text| known.contains(text)) {
                return Err(bad("joins or yields what is no token"));
            }
            if seen.insert((left, right)) {
                merges.push(json!([left, right]));
            }
        }
        let mut tokenizer = byte_level_json(table, &merges, pre.ignore_merges);
        tokenizer["pre_tokenizer"] = pre.to_json();
        if pre.composes {
            tokenizer["normalizer"] = json!({"type": "NFC"});
        }
        Ok((tokenizer, pre.add_bos))
    }

    /// A sentencepiece tokenizer and whether it puts BOS in front by default.
    fn sentencepiece(&self, table: &TokenTable, ids: &Roles) -> Result<(Json, bool), TextError> {
        if self.vocabulary.remove_extra_whitespaces == Some(true) {
            // llama.cpp reads this key and does nothing of the kind for vocabularies of this kind.
            return Err(self.unknown("whitespace rule", "remove_extra_whitespaces", "none".to_owned()));
        }
        let scored: Vec<(u32, &str, f32)> =
            table.mergeable().map(|(id, text)| (id, text, self.vocabulary.scores[id as usize])).collect();
        let merges = merges_of_scores(&scored).map_err(|why| self.bad(why))?;
        let text = |id: u32| table.texts[id as usize];
        let merges: Vec<Json> = merges.iter().map(|(left, right)| json!([text(*left), text(*right)])).collect();
        let unk = ids.unk.map(text).filter(|text| !text.is_empty());
        let space_prefix = self.vocabulary.add_space_prefix.unwrap_or(true);
        Ok((sentencepiece_json(table, &merges, unk, &[], space_prefix), true))
    }
}

/// Whether a token only fills the embedding up: `[PAD7]` with id 7.
fn is_padding(text: &str, id: usize) -> bool {
    let number = text.strip_prefix("[PAD").and_then(|rest| rest.strip_suffix(']'));
    number.and_then(|digits| digits.parse::<usize>().ok()) == Some(id)
}

fn template_json(vocabulary: &Vocabulary) -> Option<Json> {
    let named = |(name, template): &(String, String)| json!({"name": name, "template": template});
    let default = vocabulary.chat_template.as_ref();
    if vocabulary.named_templates.is_empty() {
        return default.map(|text| Json::from(text.as_str()));
    }
    let first = default.map(|text| json!({"name": "default", "template": text}));
    Some(first.into_iter().chain(vocabulary.named_templates.iter().map(named)).collect())
}

/// Ids of the tokens with a role, with llama.cpp's defaults for files without them.
struct Roles {
    bos: Option<u32>,
    eos: Option<u32>,
    eot: Option<u32>,
    eom: Option<u32>,
    unk: Option<u32>,
    pad: Option<u32>,
}

impl Roles {
    fn of(vocabulary: &Vocabulary, sentencepiece: bool) -> Self {
        let exists = |id: u32| (sentencepiece && (id as usize) < vocabulary.tokens.len()).then_some(id);
        Self {
            bos: vocabulary.bos.or(exists(1)),
            eos: vocabulary.eos.or(exists(2)),
            eot: vocabulary.eot,
            eom: vocabulary.eom,
            unk: vocabulary.unk.or(exists(0)),
            pad: vocabulary.pad,
        }
    }

    fn special(&self) -> HashSet<u32> {
        [self.bos, self.eos, self.eot, self.eom, self.unk].into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_names_its_own_id() {
        assert!(is_padding("[PAD7]", 7));
        assert!(!is_padding("[PAD7]", 8));
        assert!(!is_padding("[PAD]", 0));
    }
}
