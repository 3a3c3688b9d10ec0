//! `tokenizer.model` files, compared with sentencepiece itself.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods, clippy::print_stdout)]

mod common;

use std::path::Path;
use std::process::Command;

use attune_text::{TextError, TextModel};
use common::{load, options, python_with, read_json};
use serde_json::json;

const GOLDENS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/goldens");

/// A folder with one sentencepiece model and, perhaps, a tokenizer_config.json.
fn folder(model: &[u8], config: Option<&serde_json::Value>) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tokenizer.model"), model).unwrap();
    if let Some(config) = config {
        std::fs::write(folder.path().join("tokenizer_config.json"), config.to_string()).unwrap();
    }
    folder
}

/// Compares all recorded texts of all recorded models; the number of texts whose ids differ, for each model.
fn compare(dir: &Path) -> Vec<(String, usize, usize)> {
    let cases = read_json(&dir.join("sentencepiece.json"));
    let mut all = Vec::new();
    for (name, cases) in cases.as_object().unwrap() {
        let model = std::fs::read(dir.join(format!("{name}.model"))).unwrap();
        let text_model = load(folder(&model, Some(&json!({"add_bos_token": false}))).path());
        let (mut same, mut other) = (0, 0);
        for case in cases.as_array().unwrap() {
            let text = case["text"].as_str().unwrap();
            if text.contains("<unk>") {
                continue; // special tokens are recognised here and plain text there
            }
            let expected: Vec<u32> = serde_json::from_value(case["ids"].clone()).unwrap();
            let given = text_model.encode_raw(text).unwrap();
            if given == expected {
                same += 1;
                // Unknown pieces have a text of their own there.
                if !case["decoded"].as_str().unwrap().contains('\u{2047}') {
                    assert_eq!(text_model.decode(&given, false).unwrap(), case["decoded"].as_str().unwrap(), "{name}");
                }
            } else {
                println!("{name}: {text:?}\n  given    {given:?}\n  expected {expected:?}");
                other += 1;
            }
        }
        all.push((name.clone(), same, other));
    }
    all
}

#[test]
fn recorded_texts_have_the_ids_of_sentencepiece() {
    let all = compare(Path::new(GOLDENS));
    assert_eq!(all.len(), 3);
    for (name, same, other) in all {
        assert_eq!((same, other), (44, 0), "{name}");
    }
}

#[test]
fn texts_have_the_ids_of_sentencepiece() {
    let Some(python) = python_with("sentencepiece") else { return };
    let out = tempfile::tempdir().unwrap();
    let script = Path::new(GOLDENS).join("make_sentencepiece.py");
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../LICENSE-APACHE");
    let run = Command::new(python).arg(script).arg(corpus).arg(out.path()).arg("all").output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let all = compare(out.path());
    assert_eq!(all.len(), 6);
    for (name, same, other) in all {
        assert_eq!((same, other), (44, 0), "{name}");
    }
}

#[test]
fn the_configuration_has_a_say() {
    let bytes = std::fs::read(Path::new(GOLDENS).join("bpe.model")).unwrap();
    let count = load(folder(&bytes, None).path()).vocab_size() as u64;
    // By itself: BOS in front, a space in front of each text between special tokens.
    let model = load(folder(&bytes, None).path());
    assert_eq!((model.bos_id(), model.eos_id(), model.stop_ids()), (Some(1), Some(2), &[2][..]));
    let licence = model.encode_raw("the").unwrap();
    assert_eq!(licence[0], 1);
    assert_eq!(model.encode_raw("the</s>the").unwrap(), [&licence[..], &[2], &licence[1..]].concat());
    // With the newer rule: in front of the first one only.
    let newer = json!({"legacy": false, "tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>"});
    let newer = load(folder(&bytes, Some(&newer)).path());
    let ids = newer.encode_raw("the</s>the").unwrap();
    assert_eq!(ids[..licence.len() + 1], [&licence[..], &[2]].concat());
    assert_ne!(ids[licence.len() + 1..], licence[1..]);
    assert_eq!(newer.decode(&ids, true).unwrap(), "thethe");
    // Without any; and with further tokens, one of which leaves a hole before it.
    let config = json!({"add_prefix_space": false, "add_bos_token": false, "eos_token": "<|end|>", "added_tokens_decoder": {
        (count + 1).to_string(): {"content": "<|end|>", "special": true, "rstrip": true},
        (count + 2).to_string(): {"content": "<tool>", "special": false}}});
    let model = load(folder(&bytes, Some(&config)).path());
    assert_eq!(model.vocab_size() as u64, count + 3);
    assert_eq!(model.eos_id().map(u64::from), Some(count + 1));
    let ids = model.encode_raw("<tool>the<|end|>  ").unwrap();
    assert_eq!((u64::from(ids[0]), u64::from(ids[ids.len() - 1])), (count + 2, count + 1));
    assert_eq!(model.decode(&ids, true).unwrap(), "<tool>the");
    // To GGUF, whose scores are those of the model: what was joined by merges is joined in the same order.
    let exported = model.to_gguf_vocabulary(0).unwrap();
    assert_eq!(exported.vocabulary.add_space_prefix, Some(false));
    assert_eq!(exported.vocabulary.token_types[count as usize..], [5, 3, 4]);
    assert_eq!(exported.differences.len(), 1, "{:?}", exported.differences); // rstrip
}

/// One length-delimited or numeric field.
fn field(number: u8, value: &[u8]) -> Vec<u8> {
    assert!(value.len() < 128);
    [&[number << 3 | 2, value.len() as u8][..], value].concat()
}

fn piece(text: &[u8], score: f32, kind: u8) -> Vec<u8> {
    let score = [&[2 << 3 | 5][..], &score.to_le_bytes()].concat();
    field(1, &[field(1, text), score, vec![3 << 3, kind]].concat())
}

/// A BPE model of three pieces and the given settings of trainer and normalizer.
fn small(trainer: &[u8], normalizer: &[u8]) -> Vec<u8> {
    let pieces = [piece(b"<unk>", 0.0, 2), piece(b"a", -2.0, 1), piece(b"aa", -1.0, 1)].concat();
    [pieces, field(2, &[&[3 << 3, 2][..], trainer].concat()), field(3, normalizer)].concat()
}

fn refused(model: &[u8], config: Option<&serde_json::Value>) -> String {
    let folder = folder(model, config);
    let error = TextModel::load(folder.path(), &options()).expect_err("refused");
    assert!(matches!(error, TextError::BadVocabulary { .. } | TextError::UnknownVocabulary { .. }), "{error}");
    assert!(error.to_string().contains("tokenizer.model"), "{error}");
    assert!(!error.hint().is_empty());
    error.to_string()
}

#[test]
fn settings_that_would_act_otherwise_are_refused() {
    let identity = [4 << 3, 0];
    assert_eq!(load(folder(&small(&[], &identity), None).path()).vocab_size(), 3);
    for (trainer, normalizer, named) in [
        (&[3 << 3, 3][..], &identity[..], "\"word\""),
        (&[3 << 3, 4], &identity, "\"char\""),
        (&[3 << 3, 9], &identity, "\"9\""),
        (&[0xc0, 1, 1], &identity, "treat_whitespace_as_suffix"),
        (&[0x98, 2, 1], &identity, "bytes and has 0 of the 256"),
        (&[], &[5 << 3, 0], "escape_whitespaces"),
        (&[], &field(2, &[0, 0, 0, 0, b'a']), "claims 0 of 1 bytes"),
    ] {
        let message = refused(&small(trainer, normalizer), None);
        assert!(message.contains(named), "{named}: {message}");
    }
    let denormalizer = [small(&[], &identity), field(5, &field(2, b"abcd"))].concat();
    assert!(refused(&denormalizer, None).contains("denormalizer"));
}

#[test]
fn broken_pieces_are_named() {
    let identity = [4 << 3, 0];
    for (extra, named) in [
        (piece(b"a", -3.0, 1), "pieces 1 and 3 are both \"a\""),
        (piece(b"", -3.0, 1), "piece 3 has 0 bytes"),
        (piece(b"\xff", -3.0, 1), "piece 3 is not UTF-8"),
        (piece(b"b", f32::NAN, 1), "piece 3 has the score NaN"),
        (piece(b"b", 0.0, 2), "2 unknown pieces"),
        (piece(b"b", 0.0, 7), "piece 3 is of kind 7"),
        (piece(b"b", 0.0, 5), "\"unused\""),
        (vec![0x0a, 0x7f, 1], "ends within a field"),
        (vec![0x08, 1], "field 1 of the model is no message"),
    ] {
        let message = refused(&[small(&[], &identity), extra].concat(), None);
        assert!(message.contains(named), "{named}: {message}");
    }
    assert!(refused(&[], None).contains("no pieces"));
    let other = json!({"added_tokens_decoder": {"1": {"content": "b", "special": true}}});
    assert!(refused(&small(&[], &identity), Some(&other)).contains("token 1 \"b\""));
    let doubled = json!({"added_tokens_decoder": {"3": {"content": "a", "special": true}}});
    assert!(refused(&small(&[], &identity), Some(&doubled)).contains("tokens 1 and 3"));
}

/// Any cut and any changed byte of a real model is either read or refused with a reason, never more.
#[test]
fn damaged_models_never_panic() {
    let model = std::fs::read(Path::new(GOLDENS).join("plain.model")).unwrap();
    let folder = folder(&model, None);
    let path = folder.path().join("tokenizer.model");
    let mut state = 7u64;
    let (mut read, mut refused) = (0, 0);
    for round in 0..400 {
        let mut damaged = model.clone();
        let mut random = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        if round % 4 == 0 {
            damaged.truncate(random(model.len()));
        }
        for _ in 0..round % 5 {
            let at = random(model.len());
            if let Some(byte) = damaged.get_mut(at) {
                *byte = random(256) as u8;
            }
        }
        std::fs::write(&path, &damaged).unwrap();
        match TextModel::load(folder.path(), &options()) {
            Ok(model) => {
                read += 1;
                drop(model.encode_raw("the licence").map(|ids| model.decode(&ids, false)));
            }
            Err(error) => {
                refused += 1;
                assert!(!error.to_string().is_empty());
            }
        }
    }
    assert!(read > 20 && refused > 100, "{read} read, {refused} refused");
}
