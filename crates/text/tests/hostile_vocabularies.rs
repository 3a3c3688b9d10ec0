//! Vocabularies that break the rules are refused with a reason, in time, and without a panic.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods, clippy::print_stdout)]

mod common;

use std::path::Path;
use std::time::{Duration, Instant};

use attune_text::gguf::{self, Vocabulary};
use attune_text::{TextError, TextModel};
use common::{Folder, byte_tokenizer, options};
use serde_json::json;

fn read(vocabulary: &Vocabulary) -> Result<TextModel, TextError> {
    TextModel::from_gguf_vocabulary(vocabulary, Path::new("hostile.gguf"), &options())
}

fn refused(change: impl Fn(&mut Vocabulary), good: &Vocabulary) -> String {
    let mut vocabulary = good.clone();
    change(&mut vocabulary);
    let error = read(&vocabulary).expect_err("refused");
    let known = matches!(
        error,
        TextError::BadVocabulary { .. } | TextError::UnknownVocabulary { .. } | TextError::TemplateSyntax { .. }
    );
    assert!(known, "{error}");
    assert!(error.to_string().contains("hostile.gguf"), "{error}");
    error.to_string()
}

/// 256 bytes, one merge, BOS and EOS.
fn byte_level() -> Vocabulary {
    let folder = Folder::new(
        &byte_tokenizer(&["<s>", "</s>"], &[("a", "b")]),
        &json!({"bos_token": "<s>", "eos_token": "</s>", "add_bos_token": true}),
    );
    let mut vocabulary = Vocabulary { pre: Some("gpt-2".to_owned()), ..Vocabulary::default() };
    let tokenizer = common::read_json(&folder.path().join("tokenizer.json"));
    let mut tokens: Vec<(u64, String)> = tokenizer["model"]["vocab"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(text, id)| (id.as_u64().unwrap(), text.clone()))
        .collect();
    tokens.sort();
    vocabulary.model = "gpt2".to_owned();
    vocabulary.tokens = tokens.into_iter().map(|(_, text)| text).chain(["<s>".to_owned(), "</s>".to_owned()]).collect();
    vocabulary.token_types = vec![gguf::NORMAL; 257];
    vocabulary.token_types.extend([gguf::CONTROL; 2]);
    vocabulary.merges = vec!["a b".to_owned()];
    (vocabulary.bos, vocabulary.eos, vocabulary.add_bos) = (Some(257), Some(258), Some(true));
    vocabulary
}

fn sentencepiece() -> Vocabulary {
    let mut tokens: Vec<String> = ["<unk>", "<s>", "</s>"].map(str::to_owned).to_vec();
    tokens.extend((0..256).map(|byte| format!("<0x{byte:02X}>")));
    tokens.extend(["\u{2581}", "a", "b", "ab", "\u{2581}ab"].map(str::to_owned));
    let mut token_types = vec![gguf::UNKNOWN, gguf::CONTROL, gguf::CONTROL];
    token_types.extend([gguf::BYTE; 256]);
    token_types.extend([gguf::NORMAL; 5]);
    let mut scores = vec![0.0; 259];
    scores.extend([-3.0, -4.0, -5.0, -1.0, -2.0]);
    Vocabulary { model: "llama".to_owned(), tokens, token_types, scores, ..Vocabulary::default() }
}

#[test]
fn good_ones_are_read() {
    let model = read(&byte_level()).unwrap();
    assert_eq!(model.encode_raw("ab\u{e4}").unwrap().len(), 4);
    assert_eq!(model.encode_raw("ab").unwrap(), [257, 256]);
    let model = read(&sentencepiece()).unwrap();
    assert_eq!(model.encode_raw("ab ab").unwrap(), [1, 263, 263]);
    assert_eq!(model.encode_raw("\u{e4}").unwrap(), [1, 259, 3 + 0xc3, 3 + 0xa4]);
    assert_eq!(model.stop_ids(), [2]);
}

#[test]
fn each_rule_of_a_gguf_vocabulary() {
    type Change = fn(&mut Vocabulary);
    let cases: [(Change, &str); 15] = [
        (|v| v.tokens.clear(), "has 0 tokens"),
        (|v| v.model = "bert".to_owned(), "\"bert\""),
        (|v| v.pre = Some("nobody".to_owned()), "pre-tokenizer \"nobody\""),
        (|v| v.pre = None, "pre-tokenizer \"\""),
        (|v| v.token_types.truncate(100), "token_type has 100 entries for 259"),
        (|v| v.tokens[7] = v.tokens[6].clone(), "tokens 6 and 7 are both"),
        (|v| v.tokens[9] = "x".repeat(5000), "token 9 has 5000 bytes"),
        (|v| v.bos = Some(259), "bos_token_id is 259"),
        (|v| v.eom = Some(u32::MAX), "eom_token_id is 4294967295"),
        (|v| v.bos = None, "there is no BOS token"),
        (|v| v.merges.push("ab".to_owned()), "merges[1] (\"ab\") is not a pair"),
        (|v| v.merges.push("a ".to_owned()), "merges[1] (\"a \") joins"),
        (|v| v.merges.push("a c".to_owned()), "merges[1] (\"a c\") joins or yields what is no token"),
        (|v| v.merges.push("a zz".to_owned()), "merges[1]"),
        (|v| v.chat_template = Some("{% if %}".to_owned()), "line 1"),
    ];
    for (change, named) in cases {
        let message = refused(change, &byte_level());
        assert!(message.contains(named), "{named}: {message}");
    }
    let cases: [(Change, &str); 3] = [
        (|v| v.scores.clear(), "scores has 0 entries"),
        (|v| v.scores[5] = f32::NAN, "scores[5] is NaN"),
        (|v| v.remove_extra_whitespaces = Some(true), "remove_extra_whitespaces"),
    ];
    for (change, named) in cases {
        let message = refused(change, &sentencepiece());
        assert!(message.contains(named), "{named}: {message}");
    }
}

/// Six letters that say a number.
fn letters(mut number: usize) -> String {
    let mut text = String::new();
    for _ in 0..6 {
        text.push(char::from(b'a' + (number % 26) as u8));
        number /= 26;
    }
    text
}

#[test]
fn a_million_tokens_take_seconds() {
    let count = 1_000_000usize;
    let mut vocabulary = sentencepiece();
    for at in 0..count - vocabulary.tokens.len() {
        vocabulary.tokens.push(letters(at));
        vocabulary.token_types.push(gguf::NORMAL);
        vocabulary.scores.push(-(at as f32));
    }
    let start = Instant::now();
    let model = read(&vocabulary).unwrap();
    println!("{count} tokens of sentencepiece: {:?}", start.elapsed());
    assert_eq!(model.vocab_size(), count);
    assert!(start.elapsed() < Duration::from_secs(120), "{:?}", start.elapsed());

    let mut vocabulary = byte_level();
    let from = vocabulary.tokens.len();
    vocabulary.tokens.extend((0..count - from).map(letters));
    vocabulary.token_types.extend(vec![gguf::NORMAL; count - from]);
    let start = Instant::now();
    assert_eq!(read(&vocabulary).unwrap().vocab_size(), count);
    println!("{count} tokens of bytes: {:?}", start.elapsed());
    assert!(start.elapsed() < Duration::from_secs(120), "{:?}", start.elapsed());
}

#[test]
fn absurd_vocabularies_are_refused_at_once() {
    // More special tokens than any model has, and pieces whose cutting would take hours.
    let mut special = byte_level();
    special.tokens.extend((0..200_000).map(letters));
    special.token_types.extend(vec![gguf::CONTROL; 200_000]);
    assert!(refused(|_| {}, &special).contains("200002 special tokens"));
    let mut long = sentencepiece();
    for at in 0..2000 {
        long.tokens.push(format!("{}{}", letters(at), "x".repeat(4000)));
        long.token_types.push(gguf::NORMAL);
        long.scores.push(0.0);
    }
    assert!(refused(|_| {}, &long).contains("too long"));
}

#[test]
fn a_tokenizer_json_whose_merges_yield_too_much_is_refused() {
    let mut tokenizer = byte_tokenizer(&["</s>"], &[("a", "b")]);
    tokenizer["model"]["merges"] = json!(["a b", "ab ab"]);
    let folder = Folder::new(&tokenizer, &json!({}));
    let error = TextModel::load(folder.path(), &options()).expect_err("refused");
    assert!(matches!(error, TextError::BadTokenizer { .. }) && error.to_string().contains("longest token"), "{error}");
}
