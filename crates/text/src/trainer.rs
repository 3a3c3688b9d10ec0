//! A new tokenizer from texts: byte-level BPE, which has a token for every byte and so for every text.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::{AddedToken, Tokenizer};

use crate::error::TextError;

/// Tokens of single bytes, which every vocabulary has.
const BYTES: usize = 256;

/// Most tokens that a vocabulary may have.
const MOST_TOKENS: usize = 1 << 20;

/// What a tokenizer is trained with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenizerOptions {
    /// Tokens that it has at most: special ones, the 256 bytes, and what merges make.
    pub vocabulary: usize,
    /// Ends a text, and a turn of a chat where the template says nothing else.
    pub end_of_text: String,
    /// Further special tokens.
    pub special: Vec<String>,
    /// The chat template in Jinja; the built-in ChatML when there is none.
    pub chat_template: Option<String>,
}

impl Default for TokenizerOptions {
    fn default() -> Self {
        Self {
            vocabulary: 32_000,
            end_of_text: "<|endoftext|>".into(),
            special: vec!["<|im_start|>".into(), "<|im_end|>".into()],
            chat_template: None,
        }
    }
}

/// A trained tokenizer: the files of its folder, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrainedTokenizer {
    /// `tokenizer.json` and `tokenizer_config.json`.
    pub files: BTreeMap<&'static str, String>,
    /// Tokens, special ones included: fewer than asked for when the texts have no more pairs that occur twice.
    pub vocabulary: usize,
}

/// Trains a tokenizer on texts. Words are cut as GPT-2 cuts them, with each digit on its own; pairs are joined in the order
/// of their frequency. The same texts in any order give the same files.
///
/// # Errors
/// [`TextError::TrainTokenizer`] when an option makes no sense or the texts are empty.
pub fn train_tokenizer(
    texts: impl Iterator<Item = String> + Send,
    options: &TokenizerOptions,
) -> Result<TrainedTokenizer, TextError> {
    let refuse = |reason: String| Err(TextError::TrainTokenizer { reason });
    let special: Vec<&String> = [&options.end_of_text].into_iter().chain(&options.special).collect();
    let least = BYTES + special.len();
    if !(least..=MOST_TOKENS).contains(&options.vocabulary) {
        let wanted = options.vocabulary;
        return refuse(format!("a vocabulary of {wanted}: it must be from {least} to {MOST_TOKENS}"));
    }
    if let Some(token) = special.iter().enumerate().find(|(i, token)| token.is_empty() || special[..*i].contains(token))
    {
        return refuse(format!("special token {:?} is empty or given twice", token.1));
    }
    let failed = |error: tokenizers::Error| TextError::TrainTokenizer { reason: error.to_string() };
    let mut trainer: TrainerWrapper = BpeTrainerBuilder::new()
        .show_progress(false)
        .vocab_size(options.vocabulary)
        .min_frequency(2)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .special_tokens(special.iter().map(|token| AddedToken::from(token.as_str(), true)).collect())
        .build()
        .into();
    let byte_level = ByteLevel::new(false, false, true);
    let mut tokenizer = Tokenizer::new(BPE::default());
    let cuts = Sequence::new(vec![Digits::new(true).into(), byte_level.into()]);
    tokenizer.with_pre_tokenizer(Some(cuts)).with_decoder(Some(byte_level));
    tokenizer.train(&mut trainer, texts.filter(|text| !text.is_empty())).map_err(failed)?;
    let vocabulary = tokenizer.get_vocab_size(true);
    if vocabulary == least {
        return refuse("no pair of characters occurs twice in the texts".into());
    }
    let mut config = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": Value::Null,
        "eos_token": options.end_of_text,
        "pad_token": options.end_of_text,
        "clean_up_tokenization_spaces": false,
    });
    config["chat_template"] = match &options.chat_template {
        Some(template) => template.as_str().into(),
        None => crate::builtin::CHATML.into(),
    };
    let files = BTreeMap::from([
        ("tokenizer.json", tokenizer.to_string(true).map_err(failed)? + "\n"),
        ("tokenizer_config.json", format!("{config:#}\n")),
    ]);
    Ok(TrainedTokenizer { files, vocabulary })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Conversation, LoadOptions, Message, TextModel, TrainOn};

    const TEXTS: [&str; 4] = [
        "The cat sat on the mat. The cat was glad.",
        "A dog sat on a log and the dog was glad, too.",
        "In 2024 there were 24 cats and 42 dogs.",
        "The mat was red and the log was old.",
    ];

    fn options() -> TokenizerOptions {
        TokenizerOptions { vocabulary: 280, ..TokenizerOptions::default() }
    }

    fn train(texts: &[&str], options: &TokenizerOptions) -> Result<TrainedTokenizer, TextError> {
        train_tokenizer(texts.iter().map(ToString::to_string), options)
    }

    #[test]
    fn it_loads_and_takes_every_text_there_and_back() {
        let trained = train(&TEXTS, &options()).unwrap();
        assert_eq!(trained.vocabulary, 280);
        let dir = tempfile::tempdir().unwrap();
        for (name, content) in &trained.files {
            attune_formats::files::write_atomic(&dir.path().join(name), content.as_bytes()).unwrap();
        }
        let model = TextModel::load(dir.path(), &LoadOptions::default()).unwrap();
        assert_eq!(model.vocab_size(), 280);
        for text in ["The cat sat.", " two  spaces\n\n", "Übung 日本 🦀", "1234", ""] {
            let ids = model.encode_raw(text).unwrap();
            assert_eq!(model.decode(&ids, false).unwrap(), text);
        }
        let ids = |text| model.encode_raw(text).unwrap().len();
        assert_eq!(ids("4242"), 4, "digits stay alone");
        assert!(ids(" the cat") < 4, "frequent pairs were joined");
        let chat = Conversation {
            messages: vec![Message::new("user", "Where is the cat?"), Message::new("assistant", "On the mat.")],
            tools: None,
        };
        assert!(model.encode_chat(&chat, TrainOn::Assistant).unwrap().end_of_turn_trained);
        assert_eq!(model.stop_ids().len(), 2, "the end of the text and of the turn");
    }

    #[test]
    fn neither_order_nor_chance_changes_it() {
        let trained = train(&TEXTS, &options()).unwrap();
        for _ in 0..3 {
            assert_eq!(train(&TEXTS, &options()).unwrap(), trained);
        }
        let mut turned = TEXTS;
        turned.reverse();
        assert_eq!(train(&turned, &options()).unwrap(), trained);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let vocabulary = |vocabulary| TokenizerOptions { vocabulary, ..options() };
        for (texts, options, part) in [
            (&TEXTS[..], vocabulary(258), "a vocabulary of 258"),
            (&TEXTS[..], vocabulary(2 << 20), "a vocabulary of"),
            (&[][..], options(), "no pair"),
            (&["abcdef"][..], options(), "no pair"),
            (&TEXTS[..], TokenizerOptions { special: vec!["<|endoftext|>".into()], ..options() }, "given twice"),
            (&TEXTS[..], TokenizerOptions { special: vec![String::new()], ..options() }, "empty"),
        ] {
            let error = train(texts, &options).unwrap_err();
            assert!(error.to_string().contains(part), "{error}");
        }
    }
}
