//! Tokenizers to GGUF's form and back, against the ids that llama.cpp and Transformers recorded.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods)]

mod common;

use std::path::{Path, PathBuf};

use attune_text::TextModel;
use attune_text::gguf::{GgufVocabulary, Vocabulary};
use common::{assets, chat_of, load, options, read_json};

fn from_gguf(vocabulary: &Vocabulary) -> TextModel {
    TextModel::from_gguf_vocabulary(vocabulary, Path::new("test.gguf"), &options()).unwrap_or_else(|e| panic!("{e}"))
}

/// Texts and ids that llama.cpp keeps for its own tests.
fn vectors(assets: &Path, name: &str) -> Vec<(String, Vec<u32>)> {
    let path = |end: &str| assets.join(format!("formats/llama.cpp-vocab/ggml-vocab-{name}.gguf.{end}"));
    let texts = std::fs::read_to_string(path("inp")).unwrap();
    let ids = std::fs::read_to_string(path("out")).unwrap();
    let texts: Vec<&str> = texts.split("\n__ggml_vocab_test__\n").collect();
    let ids: Vec<&str> = ids.lines().collect();
    // The last separator has nothing behind it.
    assert!(texts.len() - ids.len() <= 1, "{name}: {} texts, {} lines", texts.len(), ids.len());
    let parse = |line: &str| line.split_whitespace().map(|id| id.parse().unwrap()).collect();
    texts.iter().zip(ids).map(|(text, line)| ((*text).to_owned(), parse(line))).collect()
}

/// The ids of a text without BOS.
fn plain_ids(model: &TextModel, text: &str) -> Vec<u32> {
    let mut ids = model.encode_raw(text).unwrap();
    if model.facts().adds_bos && ids.first() == model.bos_id().as_ref() {
        ids.remove(0);
    }
    ids
}

fn shape(assets: &Path, name: &str) -> PathBuf {
    assets.join("models/shapes").join(name)
}

#[test]
fn texts_have_the_ids_of_llama_cpp() {
    let Some(assets) = assets() else { return };
    for (folder, name) in [
        ("llama-3.2-1b-instruct", "llama-bpe"),
        ("qwen2.5-0.5b-instruct", "qwen2"),
        ("qwen3-0.6b", "qwen2"),
        ("phi-3-mini", "phi-3"),
        ("phi-3-mini", "llama-spm"),
    ] {
        let original = load(&shape(&assets, folder));
        let model = from_gguf(&original.to_gguf_vocabulary(0).unwrap().vocabulary);
        let cases = vectors(&assets, name);
        assert!(cases.len() >= 46, "{name}: {} cases", cases.len());
        for (text, expected) in cases {
            assert_eq!(plain_ids(&model, &text), expected, "{folder} as {name}: {text:?}");
        }
    }
}

#[test]
fn tokenizers_come_back_from_gguf() {
    let Some(assets) = assets() else { return };
    let mut chats = 0;
    for name in
        ["llama-3.2-1b-instruct", "mistral-7b-instruct-v0.3", "phi-3-mini", "qwen2.5-0.5b-instruct", "qwen3-0.6b"]
    {
        let dir = shape(&assets, name);
        let original = load(&dir);
        let rows = read_json(&dir.join("config.json"))["vocab_size"].as_u64().unwrap() as usize;
        let GgufVocabulary { vocabulary, differences } = original.to_gguf_vocabulary(rows).unwrap();
        assert_eq!(vocabulary.tokens.len(), rows, "{name}");
        // Qwen's vocabulary has an ordinary token of the text `</s>`.
        let by_text = differences.iter().any(|difference| difference.contains("ordinary text here"));
        assert_eq!(by_text, name.starts_with("qwen"), "{name}: {differences:?}");
        assert_eq!(vocabulary.token_types.len(), rows, "{name}");
        let back = from_gguf(&vocabulary);
        assert_eq!(back.vocab_size(), original.vocab_size(), "{name}");
        assert_eq!((back.bos_id(), back.eos_id()), (original.bos_id().or(vocabulary.bos), original.eos_id()), "{name}");
        assert_eq!(back.end_of_turn_id(), original.end_of_turn_id(), "{name}");
        let sorted = |model: &TextModel| {
            let mut ids = model.stop_ids().to_vec();
            ids.sort_unstable();
            ids
        };
        assert_eq!(sorted(&back), sorted(&original), "{name}");
        assert_eq!(back.facts().chat_template, original.facts().chat_template, "{name}");
        let (mut same, mut special) = (0, 0);
        for case in read_json(&dir.join("reference_tokenizer.json"))["cases"].as_array().unwrap() {
            let text = case["text"].as_str().unwrap();
            let (given, expected) = (back.encode_raw(text).unwrap(), original.encode_raw(text).unwrap());
            if given == expected {
                same += 1;
                assert_eq!(
                    back.decode(&given, false).unwrap(),
                    original.decode(&given, false).unwrap(),
                    "{name}: {text:?}"
                );
                continue;
            }
            special += 1;
            // What differs has been said before.
            assert!(!differences.is_empty(), "{name}: {text:?}");
        }
        println!("{name}: {same} the same, {special} not; {differences:?}");
        let reference = read_json(&dir.join("reference_chat.json"));
        for case in reference["cases"].as_array().unwrap() {
            let chat = chat_of(case);
            let (Ok(given), Ok(expected)) = (back.render(&chat, true), original.render(&chat, true)) else { continue };
            assert_eq!(given, expected, "{name}");
            // Phi-3's special tokens swallow the blanks behind them, which GGUF cannot say.
            if name != "phi-3-mini" {
                let ids = |model: &TextModel| model.encode_prompt(&chat).ok();
                assert_eq!(ids(&back), ids(&original), "{name}");
                chats += 1;
            }
        }
    }
    assert!(chats >= 40, "{chats} chats compared");
}

#[test]
fn a_vocabulary_without_bytes_is_named() {
    let Some(assets) = assets() else { return };
    let original = load(&assets.join("models/tinystories-656k"));
    let GgufVocabulary { vocabulary, differences } = original.to_gguf_vocabulary(0).unwrap();
    assert!(differences.iter().any(|difference| difference.contains("256 of the 256 bytes")), "{differences:?}");
    let back = from_gguf(&vocabulary);
    assert_eq!(back.facts(), original.facts());
    let text = "Once upon a time, there was a little girl named Lily. She said, \"Let's play!\"\n\nThe end.";
    assert_eq!(back.encode_raw(text).unwrap(), original.encode_raw(text).unwrap());
}
