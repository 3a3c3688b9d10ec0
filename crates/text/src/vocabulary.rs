//! Vocabularies of other formats in the terms of a tokenizer.json.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value as Json, json};

use crate::error::TextError;
use crate::files::{self, JsonFile};
use crate::gguf::{CONTROL, NORMAL, UNKNOWN, UNUSED, USER_DEFINED, pre};

use crate::sentencepiece;
use crate::tiktoken;

pub(crate) use crate::gguf::merges_of_scores;

/// Highest id that an added token may have.
const MAX_ID: usize = 4 << 20;

/// A token of `added_tokens_decoder`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AddedToken {
    /// Its id.
    pub(crate) id: usize,
    /// Its text.
    pub(crate) text: String,
    /// Whether decoding can leave it out.
    pub(crate) special: bool,
    /// Blanks in front of it, blanks behind it, and parts of words belong to it: `lstrip`, `rstrip`, `single_word`.
    pub(crate) trims: [bool; 3],
}

/// The tokenizer of a folder as the content of a tokenizer.json, and the file that it comes from.
///
/// A tokenizer.json comes first. Otherwise `tekken.json`, `tokenizer.model` (sentencepiece or tiktoken) or the one
/// `*.tiktoken` file is converted.
///
/// # Errors
/// [`TextError::NoTokenizer`], and those of the files.
pub(crate) fn find(dir: &Path, config: &mut JsonFile) -> Result<(PathBuf, Vec<u8>), TextError> {
    let path = dir.join("tokenizer.json");
    if let Some(bytes) = files::read_bytes(&path, files::MAX_TOKENIZER_BYTES)? {
        return Ok((path, bytes));
    }
    let convert = |path: PathBuf, bytes: &[u8], config: &mut JsonFile| {
        let family = JsonFile::read(dir, "config.json")?;
        let family = family.content.get("model_type").and_then(Json::as_str).unwrap_or("unknown");
        let json = if path.ends_with("tekken.json") {
            tiktoken::convert_tekken(&path, bytes, config)?
        } else if tiktoken::is_tiktoken(bytes) {
            tiktoken::convert(&path, bytes, family, config)?
        } else {
            sentencepiece::convert(&path, bytes, config)?
        };
        Ok((path, json.to_string().into_bytes()))
    };
    for path in
        [Some(dir.join("tekken.json")), Some(dir.join("tokenizer.model")), ranked_file(dir)?].into_iter().flatten()
    {
        if let Some(bytes) = files::read_bytes(&path, files::MAX_TOKENIZER_BYTES)? {
            return convert(path, &bytes, config);
        }
    }
    Err(TextError::NoTokenizer { dir: dir.to_owned() })
}

/// The `*.tiktoken` file of a folder, if there is one alone.
fn ranked_file(dir: &Path) -> Result<Option<PathBuf>, TextError> {
    let failed = |source| TextError::Read { path: dir.to_owned(), source };
    let entries = match dir.read_dir() {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "tiktoken") {
            found.push(path);
        }
    }
    match found.as_slice() {
        [] => Ok(None),
        [_] => Ok(found.pop()),
        more => {
            let rule = format!("there are {} *.tiktoken files", more.len());
            Err(TextError::BadVocabulary { path: dir.to_owned(), rule })
        }
    }
}

/// Tokens by id, as every format has them.
pub(crate) struct TokenTable<'a> {
    /// Texts by id; empty where an id has no token.
    pub(crate) texts: Vec<&'a str>,
    /// Types by id, as GGUF numbers them.
    pub(crate) types: Vec<i32>,
    /// `lstrip`, `rstrip` and `single_word` of tokens that have one of them.
    pub(crate) flags: HashMap<usize, [bool; 3]>,
}

impl<'a> TokenTable<'a> {
    /// Puts the tokens of tokenizer_config.json into their places.
    ///
    /// # Errors
    /// Which token of the vocabulary would be replaced.
    pub(crate) fn add(&mut self, added: &'a [AddedToken]) -> Result<(), String> {
        for AddedToken { id, text, special, trims } in added {
            let id = *id;
            if id >= self.texts.len() {
                self.texts.resize(id + 1, "");
                self.types.resize(id + 1, UNUSED);
            }
            let before = self.texts[id];
            if self.types[id] == NORMAL && before != text {
                return Err(format!(
                    "tokenizer_config.json calls token {id} {text:?}; in the vocabulary it is {before:?}"
                ));
            }
            self.texts[id] = text;
            if self.types[id] != UNKNOWN {
                self.types[id] = if *special { CONTROL } else { USER_DEFINED };
            }
            if trims.contains(&true) {
                self.flags.insert(id, *trims);
            }
        }
        let mut seen: HashMap<&str, usize> = HashMap::with_capacity(self.texts.len());
        for (id, text) in self.texts.iter().enumerate().filter(|(_, text)| !text.is_empty()) {
            if let Some(before) = seen.insert(text, id) {
                return Err(format!("tokens {before} and {id} are both {text:?}"));
            }
        }
        Ok(())
    }

    /// The `vocab` of a tokenizer.json.
    pub(crate) fn vocab_json(&self) -> Json {
        let named = self.texts.iter().enumerate().filter(|(_, text)| !text.is_empty());
        Json::Object(named.map(|(id, text)| ((*text).to_owned(), Json::from(id))).collect())
    }

    /// The `added_tokens` of a tokenizer.json: all that are recognised as a whole.
    pub(crate) fn added_json(&self) -> Vec<Json> {
        let added = |kind: i32| matches!(kind, UNKNOWN | CONTROL | USER_DEFINED);
        let tokens = self.texts.iter().zip(&self.types).enumerate();
        let added = tokens.filter(|(_, (text, kind))| added(**kind) && !text.is_empty());
        added
            .map(|(id, (text, kind))| {
                let [lstrip, rstrip, single_word] = self.flags.get(&id).copied().unwrap_or_default();
                json!({"id": id, "content": text, "single_word": single_word, "lstrip": lstrip, "rstrip": rstrip,
                    "normalized": false, "special": *kind != USER_DEFINED})
            })
            .collect()
    }

    /// Ids and texts of the tokens that merging may yield.
    pub(crate) fn mergeable(&self) -> impl Iterator<Item = (u32, &'a str)> {
        let tokens = self.texts.iter().zip(&self.types).enumerate();
        tokens
            .filter(|(_, (text, kind))| !text.is_empty() && matches!(**kind, NORMAL | UNUSED | 0))
            .map(|(id, (text, _))| (id as u32, *text))
    }
}

/// The `added_tokens_decoder` of tokenizer_config.json, by id.
///
/// # Errors
/// [`TextError::WrongType`] for an entry that is not what it should be.
pub(crate) fn added_tokens(config: &JsonFile) -> Result<Vec<AddedToken>, TextError> {
    const KEY: &str = "added_tokens_decoder";
    let entries = match config.content.get(KEY) {
        None | Some(Json::Null) => return Ok(Vec::new()),
        Some(Json::Object(entries)) => entries,
        Some(other) => return Err(config.wrong_type(KEY, "an object of tokens by id", other)),
    };
    let mut tokens = Vec::with_capacity(entries.len());
    for (id, entry) in entries {
        let wrong = || config.wrong_type(&format!("{KEY}.{id}"), "a token with a text and a small id", entry);
        let number = id.parse::<usize>().ok().filter(|id| *id <= MAX_ID).ok_or_else(wrong)?;
        let text = entry["content"].as_str().filter(|text| !text.is_empty()).ok_or_else(wrong)?;
        let flag = |key: &str| entry[key] == true;
        tokens.push(AddedToken {
            id: number,
            text: text.to_owned(),
            special: flag("special"),
            trims: [flag("lstrip"), flag("rstrip"), flag("single_word")],
        });
    }
    tokens.sort_by_key(|token| token.id);
    Ok(tokens)
}

/// Keys of a tokenizer_config.json that a converted tokenizer needs.
pub(crate) fn hugging_face_config(named: &[(&str, Option<&str>)], add_bos: bool) -> Map<String, Json> {
    let mut config = Map::new();
    config.insert("tokenizer_class".into(), "PreTrainedTokenizerFast".into());
    config.insert("clean_up_tokenization_spaces".into(), false.into());
    config.insert("add_bos_token".into(), add_bos.into());
    for (key, text) in named {
        config.insert((*key).into(), text.map_or(Json::Null, Json::from));
    }
    config
}

/// The tokenizer.json of a sentencepiece BPE vocabulary.
///
/// `before` are normalizers that come first. Each piece of text between special tokens gets the space prefix.
pub(crate) fn sentencepiece_json(
    table: &TokenTable,
    merges: &[Json],
    unk: Option<&str>,
    before: &[Json],
    space_prefix: bool,
) -> Json {
    let mut normalizers = before.to_vec();
    let mut decoders = vec![
        json!({"type": "Replace", "pattern": {"String": "\u{2581}"}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    if space_prefix {
        normalizers.push(json!({"type": "Prepend", "prepend": "\u{2581}"}));
        decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    normalizers.push(json!({"type": "Replace", "pattern": {"String": " "}, "content": "\u{2581}"}));
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": table.added_json(),
        "normalizer": {"type": "Sequence", "normalizers": normalizers},
        "pre_tokenizer": null, "post_processor": null,
        "decoder": {"type": "Sequence", "decoders": decoders},
        "model": {"type": "BPE", "dropout": null, "unk_token": unk, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
            "vocab": table.vocab_json(), "merges": merges},
    })
}

/// The tokenizer.json of a byte-level BPE vocabulary; its `pre_tokenizer` is still to be set.
pub(crate) fn byte_level_json(table: &TokenTable, merges: &[Json], ignore_merges: bool) -> Json {
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": table.added_json(),
        "normalizer": null, "pre_tokenizer": null, "post_processor": pre::byte_level(false),
        "decoder": pre::byte_level(true),
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": ignore_merges,
            "vocab": table.vocab_json(), "merges": merges},
    })
}

/// A post-processor that puts BOS in front of a text.
pub(crate) fn put_bos_in_front(bos: (u32, &str), byte_level: Option<Json>) -> Json {
    let (id, text) = bos;
    let part = |kind: &str, name: &str, which: u32| json!({kind: {"id": name, "type_id": which}});
    let template = json!({
        "type": "TemplateProcessing",
        "single": [part("SpecialToken", text, 0), part("Sequence", "A", 0)],
        "pair": [part("SpecialToken", text, 0), part("Sequence", "A", 0),
            part("SpecialToken", text, 1), part("Sequence", "B", 1)],
        "special_tokens": {text: {"id": text, "ids": [id], "tokens": [text]}},
    });
    match byte_level {
        Some(byte_level) => json!({"type": "Sequence", "processors": [byte_level, template]}),
        None => template,
    }
}
