//! Vocabularies in every kind of file, changed at random: sentencepiece, tiktoken, tekken, tokenizer.json. Whatever the bytes
//! are, an answer comes without a panic, soon, and in little memory; what is accepted puts texts into ids that it knows.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods, clippy::print_stdout)]

mod common;

use std::path::Path;

use attune_fuzzer::{Verdict, budget, fuzz, peak_resident_kb};
use attune_text::TextModel;
use common::{byte_tokenizer, options};
use serde_json::json;

/// Files that are fed.
const TARGETS: usize = 4;
/// More than this the whole process may never hold.
const MAX_RESIDENT_KB: u64 = 1 << 20;
const TEXT: &str = "Hello, \u{e4}\u{65e5} <s> 12  x\n";

/// Feeds a folder's one vocabulary.
fn fuzz_vocabulary(name: &str, seeds: &[Vec<u8>]) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tokenizer_config.json"), r#"{"add_bos_token": false}"#).unwrap();
    std::fs::write(folder.path().join("config.json"), r#"{"model_type": "qwen2"}"#).unwrap();
    fuzz(name, seeds, budget(2.0, TARGETS), |bytes| {
        std::fs::write(folder.path().join(name), bytes).unwrap();
        let read = TextModel::load(folder.path(), &options());
        match &read {
            Ok(model) => use_it(model),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
        Verdict::of(&read)
    });
    if let Some(peak) = peak_resident_kb() {
        assert!(peak < MAX_RESIDENT_KB, "{peak} kB");
    }
}

fn use_it(model: &TextModel) {
    let Ok(ids) = model.encode_raw(TEXT) else { return };
    assert!(ids.iter().all(|&id| (id as usize) < model.vocab_size()), "{ids:?} of {}", model.vocab_size());
    let _ = model.decode(&ids, false);
}

#[test]
fn sentencepiece() {
    let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens");
    let seeds = ["unigram.model", "bpe.model", "plain.model"].map(|name| std::fs::read(goldens.join(name)).unwrap());
    fuzz_vocabulary("tokenizer.model", &seeds);
}

/// Every byte, then a few joined ones.
fn ranks() -> impl Iterator<Item = Vec<u8>> {
    (0..=255).map(|byte| vec![byte]).chain([b"He".to_vec(), b"ll".to_vec(), b"llo".to_vec()])
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |chunk: &[u8]| {
        let bits = chunk.iter().fold(0u32, |bits, &byte| bits << 8 | u32::from(byte)) << (8 * (3 - chunk.len()));
        let digit = |at: usize| {
            if at > chunk.len() { '=' } else { char::from(DIGITS[(bits >> (18 - 6 * at)) as usize & 63]) }
        };
        (0..4).map(digit).collect::<String>()
    };
    bytes.chunks(3).map(group).collect()
}

#[test]
fn tiktoken() {
    let file: String = ranks().enumerate().map(|(rank, token)| format!("{} {rank}\n", base64(&token))).collect();
    fuzz_vocabulary("small.tiktoken", &[file.into_bytes()]);
}

#[test]
fn tekken() {
    let vocab: Vec<_> = ranks()
        .enumerate()
        .map(|(rank, token)| json!({"rank": rank, "token_bytes": base64(&token), "token_str": null}))
        .collect();
    let config = json!({"pattern": "[a-z]+|[^a-z]", "num_vocab_tokens": vocab.len(), "default_vocab_size": vocab.len() + 20,
        "default_num_special_tokens": 20, "version": "v3"});
    let listed = json!([{"rank": 4, "token_str": "<four>", "is_control": true}]);
    let seeds = [
        json!({"config": config, "vocab": vocab}).to_string().into_bytes(),
        json!({"config": config, "vocab": vocab, "special_tokens": listed}).to_string().into_bytes(),
    ];
    fuzz_vocabulary("tekken.json", &seeds);
}

#[test]
fn tokenizer_json() {
    let seeds = [
        byte_tokenizer(&["<s>", "</s>"], &[("l", "l"), ("ll", "o")]).to_string().into_bytes(),
        format!("{:#}", byte_tokenizer(&[], &[])).into_bytes(),
    ];
    fuzz_vocabulary("tokenizer.json", &seeds);
}
