//! The random base that other tests use.
#![allow(clippy::unwrap_used, reason = "tests, and their helpers")]

mod common;

use std::fs;

use attune_model::BaseModel;
use attune_text::{Conversation, LoadOptions, Message, TextModel, TrainOn};

use common::random_base::*;

const TEXT: &str = "What is red? A rose is red. What is blue? The sea is blue. 12 and 12 is 24.";

#[test]
fn it_loads_and_its_chats_train_the_end_of_turn() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("base");
    RandomBase::default().write(&dir, TEXT).unwrap();
    let base = BaseModel::load(&dir).unwrap();
    base.check_finite().unwrap();
    let text = TextModel::load(&dir, &LoadOptions::default()).unwrap();
    assert_eq!(text.vocab_size(), base.spec.vocabulary);
    let chat = Conversation {
        messages: vec![Message::new("user", "What is red?"), Message::new("assistant", "A rose, ä, 日.")],
        tools: None,
    };
    let encoded = text.encode_chat(&chat, TrainOn::Assistant).unwrap();
    assert!(encoded.end_of_turn_trained);
    let trained: Vec<u32> =
        encoded.ids.iter().zip(&encoded.trained).filter(|(_, trained)| **trained).map(|(id, _)| *id).collect();
    assert_eq!(text.decode(&trained, false).unwrap(), "A rose, ä, 日.<|im_end|>");
    assert!(encoded.ids.len() < 50, "merges shorten the text: {}", encoded.ids.len());
}

#[test]
fn the_same_bytes_every_time_and_others_for_another_seed() {
    let scratch = tempfile::tempdir().unwrap();
    let write = |name: &str, seed| {
        let dir = scratch.path().join(name);
        RandomBase { seed, ..RandomBase::default() }.write(&dir, TEXT).unwrap();
        fs::read(dir.join("model.safetensors")).unwrap()
    };
    let first = write("a", 1);
    assert_eq!(first, write("b", 1));
    assert_ne!(first, write("c", 2));
    let tokenizer = |name: &str| fs::read(scratch.path().join(name).join("tokenizer.json")).unwrap();
    assert_eq!(tokenizer("a"), tokenizer("b"));
}

#[test]
fn words_keep_the_space_before_them() {
    assert_eq!(words_of("a red, 12 rose\n\nis"), ["a", " red", ",", " 12", " rose", "\n\n", "is"]);
    assert_eq!(words_of("a  b"), ["a", "  ", "b"]);
    assert_eq!(words_of(""), [""]);
}

#[test]
fn merges_are_the_most_frequent_pairs() {
    let bpe = Bpe::train("abab abab abc", 258);
    assert_eq!(bpe.tokens[256..], ["ab", "abab"]);
    assert_eq!(Bpe::train("abc", 300).tokens.len(), 256, "no pair occurs twice");
}

#[test]
fn weights_have_the_spread_that_was_meant() {
    let values: Vec<f32> = (0..10_000).map(bell).collect();
    let mean = values.iter().sum::<f32>() / 10_000.0;
    let variance = values.iter().map(|x| x * x).sum::<f32>() / 10_000.0;
    assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.03, "{mean} {variance}");
}
