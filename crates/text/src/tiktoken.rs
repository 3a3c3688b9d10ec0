//! Ranked byte sequences as a tokenizer: `*.tiktoken` files (also under the name `tokenizer.model`, as Llama 3 has
//! them) and Mistral's `tekken.json`.
//!
//! # Source
//! tiktoken, `load.py`: one token per line, base64, a space, its rank. The rank is the id; neighbours whose joined
//! bytes have the lowest rank are joined first, and a piece that is a token is taken whole.
//! mistral-common, `tekken.py`: the special tokens have the first ids, those of the vocabulary follow.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use serde::Deserialize;
use serde_json::{Value as Json, json};

use crate::base64;
use crate::error::TextError;
use crate::files::JsonFile;
use crate::gguf::{CONTROL, NORMAL, UNUSED, pre};
use crate::tokens::char_of_byte;
use crate::vocabulary::{TokenTable, added_tokens, byte_level_json, merges_of_scores, put_bos_in_front};

/// Most tokens; the largest published files have some 260,000.
const MAX_TOKENS: usize = 4 << 20;
/// Longest token in bytes.
const MAX_TOKEN_BYTES: usize = 2048;

/// Special tokens of tekken files that do not list them, by id; the others are called `<SPECIAL_20>`.
const TEKKEN_SPECIAL: [&str; 20] = [
    "<unk>",
    "<s>",
    "</s>",
    "[INST]",
    "[/INST]",
    "[AVAILABLE_TOOLS]",
    "[/AVAILABLE_TOOLS]",
    "[TOOL_RESULTS]",
    "[/TOOL_RESULTS]",
    "[TOOL_CALLS]",
    "[IMG]",
    "<pad>",
    "[IMG_BREAK]",
    "[IMG_END]",
    "[PREFIX]",
    "[MIDDLE]",
    "[SUFFIX]",
    "[SYSTEM_PROMPT]",
    "[/SYSTEM_PROMPT]",
    "[TOOL_CONTENT]",
];

/// Whether a file's first line has the form of a tiktoken file's.
pub(crate) fn is_tiktoken(bytes: &[u8]) -> bool {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    line.len() < 4 * MAX_TOKEN_BYTES && str::from_utf8(line).is_ok_and(|line| parse_line(line.trim_end()).is_some())
}

fn parse_line(line: &str) -> Option<(Vec<u8>, usize)> {
    let (token, rank) = line.split_once(' ')?;
    let token = base64::decode(token).filter(|token| !token.is_empty() && token.len() <= MAX_TOKEN_BYTES)?;
    let rank = rank.parse().ok().filter(|rank| *rank < MAX_TOKENS)?;
    Some((token, rank))
}

/// A tiktoken file in Hugging Face's terms: the content of a tokenizer.json.
///
/// The file does not say how texts are cut; `family` (`model_type` of config.json) does. Special tokens are those of
/// tokenizer_config.json.
///
/// # Errors
/// [`TextError::BadVocabulary`] with the line, [`TextError::UnknownVocabulary`] for another family.
pub(crate) fn convert(path: &Path, bytes: &[u8], family: &str, config: &mut JsonFile) -> Result<Json, TextError> {
    let bad = |rule: String| TextError::BadVocabulary { path: path.to_owned(), rule };
    let name = match family {
        "llama" => "llama-bpe",
        "qwen" | "qwen2" | "qwen3" => "qwen2",
        other => {
            return Err(TextError::UnknownVocabulary {
                path: path.to_owned(),
                what: "pre-tokenizer of the model type",
                name: other.to_owned(),
                known: "llama, qwen, qwen2, qwen3".to_owned(),
            });
        }
    };
    let text = str::from_utf8(bytes).map_err(|error| bad(format!("byte {} is not UTF-8", error.valid_up_to())))?;
    let mut ranks = Vec::new();
    for (at, line) in text.lines().enumerate() {
        if line.is_empty() {
            continue;
        }
        ranks.push(parse_line(line).ok_or_else(|| bad(format!("line {} is not a token and its rank", at + 1)))?);
    }
    let known = pre::by_name(name).map(|pre| (pre.to_json(), pre.composes, pre.add_bos));
    let (pre_tokenizer, composes, add_bos) = known.unwrap_or_default();
    let mut tokenizer = ranked(path, &ranks, &[], config)?;
    tokenizer["pre_tokenizer"] = pre_tokenizer;
    if composes {
        tokenizer["normalizer"] = json!({"type": "NFC"});
    }
    if add_bos {
        bos_in_front(&mut tokenizer, config)?;
    }
    Ok(tokenizer)
}

/// The parts of a tekken.json that say something about ids.
#[derive(Deserialize)]
struct Tekken {
    config: TekkenConfig,
    vocab: Vec<TekkenToken>,
    #[serde(default)]
    special_tokens: Option<Vec<TekkenSpecial>>,
}

#[derive(Deserialize)]
struct TekkenConfig {
    pattern: String,
    default_vocab_size: usize,
    default_num_special_tokens: usize,
}

#[derive(Deserialize)]
struct TekkenToken {
    rank: usize,
    token_bytes: String,
}

#[derive(Deserialize)]
struct TekkenSpecial {
    rank: usize,
    token_str: String,
}

/// A tekken.json in Hugging Face's terms: the content of a tokenizer.json.
///
/// # Errors
/// [`TextError::Json`] and [`TextError::BadVocabulary`] for a damaged file.
pub(crate) fn convert_tekken(path: &Path, bytes: &[u8], config: &mut JsonFile) -> Result<Json, TextError> {
    let bad = |rule: String| TextError::BadVocabulary { path: path.to_owned(), rule };
    let tekken: Tekken =
        serde_json::from_slice(bytes).map_err(|source| TextError::Json { path: path.to_owned(), source })?;
    let TekkenConfig { pattern, default_vocab_size: size, default_num_special_tokens: special } = tekken.config;
    if size > MAX_TOKENS || special > size || tekken.vocab.len() < size - special {
        let tokens = tekken.vocab.len();
        return Err(bad(format!("it claims {size} ids, {special} of them special, and has {tokens} tokens")));
    }
    let mut names: Vec<String> = (0..special)
        .map(|id| TEKKEN_SPECIAL.get(id).map_or_else(|| format!("<SPECIAL_{id}>"), |name| (*name).to_owned()))
        .collect();
    if let Some(listed) = tekken.special_tokens {
        names = (0..special).map(|id| format!("<SPECIAL_{id}>")).collect();
        for TekkenSpecial { rank, token_str } in listed {
            let Some(name) = names.get_mut(rank) else {
                return Err(bad(format!("special token {rank} of {special}")));
            };
            *name = token_str;
        }
    }
    let mut ranks = Vec::with_capacity(size - special);
    for TekkenToken { rank, token_bytes } in tekken.vocab.into_iter().take(size - special) {
        let token = base64::decode(&token_bytes).filter(|token| !token.is_empty() && token.len() <= MAX_TOKEN_BYTES);
        let token = token.ok_or_else(|| bad(format!("the token of rank {rank} is not base64 of a few bytes")))?;
        if rank >= size - special {
            return Err(bad(format!("rank {rank} of {} tokens", size - special)));
        }
        ranks.push((token, rank + special));
    }
    for (key, token) in [("bos_token", "<s>"), ("eos_token", "</s>"), ("unk_token", "<unk>"), ("pad_token", "<pad>")] {
        if names.iter().any(|name| name == token) {
            config.content.entry(key.to_owned()).or_insert_with(|| token.into());
        }
    }
    let mut tokenizer = ranked(path, &ranks, &names, config)?;
    tokenizer["pre_tokenizer"] = pre::of_expressions(&[&pattern]);
    bos_in_front(&mut tokenizer, config)?;
    Ok(tokenizer)
}

/// Puts BOS in front of texts, where tokenizer_config.json names one.
fn bos_in_front(tokenizer: &mut Json, config: &JsonFile) -> Result<(), TextError> {
    let Some(text) = config.token("bos_token")? else { return Ok(()) };
    let id = tokenizer["model"]["vocab"][&text].as_u64().and_then(|id| u32::try_from(id).ok());
    if let Some(id) = id {
        tokenizer["post_processor"] = put_bos_in_front((id, &text), Some(pre::byte_level(false)));
    }
    Ok(())
}

/// A tokenizer.json without its pre-tokenizer.
fn ranked(path: &Path, ranks: &[(Vec<u8>, usize)], special: &[String], config: &JsonFile) -> Result<Json, TextError> {
    let bad = |rule: String| TextError::BadVocabulary { path: path.to_owned(), rule };
    let count = ranks.iter().map(|(_, id)| id + 1).max().unwrap_or(0).max(special.len());
    let texts: Vec<String> =
        ranks.iter().map(|(token, _)| token.iter().map(|byte| char_of_byte(*byte)).collect()).collect();
    let added = added_tokens(config)?;
    let mut table = TokenTable { texts: vec![""; count], types: vec![UNUSED; count], flags: HashMap::new() };
    let mut bytes = [false; 256];
    for ((token, id), text) in ranks.iter().zip(&texts) {
        if !table.texts[*id].is_empty() {
            return Err(bad(format!("two tokens have the rank {id}")));
        }
        if let [byte] = token.as_slice() {
            bytes[usize::from(*byte)] = true;
        }
        table.texts[*id] = text;
        table.types[*id] = NORMAL;
    }
    if let Some(byte) = bytes.iter().position(|known| !known) {
        return Err(bad(format!("it has no token for the byte {byte}")));
    }
    // An ordinary token with the text of a special one can never be met: the special one is looked for first.
    let names: HashSet<&str> = special.iter().map(String::as_str).collect();
    for text in table.texts.iter_mut().filter(|text| names.contains(**text)) {
        *text = "";
    }
    for (id, text) in special.iter().enumerate() {
        table.texts[id] = text;
        table.types[id] = CONTROL;
    }
    table.add(&added).map_err(bad)?;
    let scored: Vec<(u32, &str, f32)> = table.mergeable().map(|(id, text)| (id, text, -(id as f32))).collect();
    let merges = merges_of_scores(&scored).map_err(bad)?;
    let text = |id: u32| table.texts[id as usize];
    let merges: Vec<Json> = merges.iter().map(|(left, right)| json!([text(*left), text(*right)])).collect();
    Ok(byte_level_json(&table, &merges, true))
}
