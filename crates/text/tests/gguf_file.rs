//! The vocabulary of a real GGUF file, read here by a few lines of its own.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods)]

mod common;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use attune_text::TextModel;
use attune_text::gguf::Vocabulary;
use common::{assets, load, options};

#[derive(Debug, Clone)]
enum Value {
    Number(u64),
    Float(f32),
    Text(String),
    List(Vec<Value>),
}

/// The key-value pairs of a GGUF file of version 3.
struct Header<'a>(&'a [u8]);

impl Header<'_> {
    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let (head, rest) = self.0.split_first_chunk::<N>().unwrap();
        self.0 = rest;
        *head
    }

    fn number(&mut self) -> u64 {
        u64::from_le_bytes(self.bytes())
    }

    fn text(&mut self) -> String {
        let length = self.number() as usize;
        let (text, rest) = self.0.split_at(length);
        self.0 = rest;
        String::from_utf8(text.to_vec()).unwrap()
    }

    fn value(&mut self, kind: u32) -> Value {
        match kind {
            0 | 1 | 7 => Value::Number(u64::from(self.bytes::<1>()[0])),
            2 | 3 => Value::Number(u64::from(u16::from_le_bytes(self.bytes()))),
            4 | 5 => Value::Number(u64::from(u32::from_le_bytes(self.bytes()))),
            6 => Value::Float(f32::from_le_bytes(self.bytes())),
            8 => Value::Text(self.text()),
            9 => {
                let kind = u32::from_le_bytes(self.bytes());
                let count = self.number();
                Value::List((0..count).map(|_| self.value(kind)).collect())
            }
            other => panic!("a value of type {other}"),
        }
    }

    fn read(mut self) -> BTreeMap<String, Value> {
        assert_eq!(&self.bytes::<4>(), b"GGUF");
        assert_eq!(u32::from_le_bytes(self.bytes()), 3);
        let _tensors = self.number();
        let count = self.number();
        (0..count)
            .map(|_| {
                let key = self.text();
                let kind = u32::from_le_bytes(self.bytes());
                (key, self.value(kind))
            })
            .collect()
    }
}

fn vocabulary(path: &Path) -> Vocabulary {
    let bytes = std::fs::read(path).unwrap();
    let header = Header(&bytes).read();
    let list = |key: &str| match header.get(key) {
        Some(Value::List(values)) => values.clone(),
        _ => Vec::new(),
    };
    let number = |key: &str| match header.get(&format!("tokenizer.ggml.{key}")) {
        Some(Value::Number(number)) => Some(*number as u32),
        _ => None,
    };
    let text = |value: &Value| if let Value::Text(text) = value { text.clone() } else { panic!("{value:?}") };
    let float = |value: &Value| if let Value::Float(float) = value { *float } else { panic!("{value:?}") };
    let integer = |value: &Value| if let Value::Number(number) = value { *number as i32 } else { panic!("{value:?}") };
    Vocabulary {
        model: text(&header["tokenizer.ggml.model"]),
        tokens: list("tokenizer.ggml.tokens").iter().map(text).collect(),
        scores: list("tokenizer.ggml.scores").iter().map(float).collect(),
        token_types: list("tokenizer.ggml.token_type").iter().map(integer).collect(),
        bos: number("bos_token_id"),
        eos: number("eos_token_id"),
        unk: number("unknown_token_id"),
        add_bos: number("add_bos_token").map(|flag| flag != 0),
        ..Vocabulary::default()
    }
}

#[test]
fn llama_2_has_the_ids_of_llama_cpp() {
    let Some(assets) = assets() else { return };
    let vocabulary = vocabulary(&assets.join("formats/gguf-random-llama2/llama-2-tiny-random.gguf"));
    assert_eq!(vocabulary.tokens.len(), 32000);
    let model = TextModel::from_gguf_vocabulary(&vocabulary, Path::new("llama-2.gguf"), &options()).unwrap();
    assert_eq!((model.bos_id(), model.eos_id(), model.stop_ids()), (Some(1), Some(2), &[2][..]));
    let folder = assets.join("formats/llama.cpp-vocab");
    let texts = std::fs::read_to_string(folder.join("ggml-vocab-llama-spm.gguf.inp")).unwrap();
    let ids = std::fs::read_to_string(folder.join("ggml-vocab-llama-spm.gguf.out")).unwrap();
    let mut compared = 0;
    for (text, line) in texts.split("\n__ggml_vocab_test__\n").zip(ids.lines()) {
        let expected: Vec<u32> = line.split_whitespace().map(|id| id.parse().unwrap()).collect();
        let given = model.encode_raw(text).unwrap();
        assert_eq!((given[0], &given[1..]), (1, &expected[..]), "{text:?}");
        assert_eq!(model.decode(&given[1..], false).unwrap(), text);
        compared += 1;
    }
    assert!(compared >= 46, "{compared}");

    // And out again: nothing is lost but what nobody had.
    let again = model.to_gguf_vocabulary(32000).unwrap();
    assert_eq!(again.differences, Vec::<String>::new());
    assert_eq!(again.vocabulary.tokens, vocabulary.tokens);
    assert_eq!(again.vocabulary.token_types, vocabulary.token_types);
    assert_eq!(order(&again.vocabulary), order(&vocabulary));
    assert_eq!((again.vocabulary.bos, again.vocabulary.eos, again.vocabulary.unk), (Some(1), Some(2), Some(0)));
}

/// Tokens that pairs are joined into, the first one first. (Scores of single characters decide nothing.)
fn order(vocabulary: &Vocabulary) -> Vec<usize> {
    let joined = |id: &usize| vocabulary.token_types[*id] == 1 && vocabulary.tokens[*id].chars().nth(1).is_some();
    let mut ids: Vec<usize> = (0..vocabulary.tokens.len()).filter(joined).collect();
    ids.sort_by(|a, b| vocabulary.scores[*b].total_cmp(&vocabulary.scores[*a]));
    ids
}

/// A text's ids as sentencepiece and llama.cpp find them: the neighbours whose joined text has the highest score are
/// joined, the leftmost of equals; what is no token then is written as bytes.
fn join_by_scores(vocabulary: &Vocabulary, ids: &HashMap<&str, usize>, text: &str) -> Vec<u32> {
    let mut parts: Vec<String> = format!(" {text}").replace(' ', "\u{2581}").chars().map(String::from).collect();
    loop {
        let score =
            |at: usize| ids.get(format!("{}{}", parts[at], parts[at + 1]).as_str()).map(|id| vocabulary.scores[*id]);
        let mut best: Option<(usize, f32)> = None;
        for at in 0..parts.len().saturating_sub(1) {
            if let Some(score) = score(at).filter(|score| best.is_none_or(|(_, best)| *score > best)) {
                best = Some((at, score));
            }
        }
        let Some((at, _)) = best else { break };
        let right = parts.remove(at + 1);
        parts[at].push_str(&right);
    }
    let ids = parts.iter().flat_map(|part| match ids.get(part.as_str()) {
        Some(id) => vec![*id as u32],
        None => part.bytes().map(|byte| ids[format!("<0x{byte:02X}>").as_str()] as u32).collect(),
    });
    ids.collect()
}

#[test]
fn merges_join_what_scores_join() {
    let Some(assets) = assets() else { return };
    let vocabulary = vocabulary(&assets.join("formats/gguf-random-llama2/llama-2-tiny-random.gguf"));
    let model = TextModel::from_gguf_vocabulary(&vocabulary, Path::new("llama-2.gguf"), &options()).unwrap();
    let ids: HashMap<&str, usize> =
        vocabulary.tokens.iter().enumerate().map(|(id, text)| (text.as_str(), id)).collect();
    let mut texts: Vec<String> = (1..120).map(|count| " ".repeat(count)).collect();
    texts.extend((1..60).map(|count| format!("if x:\n{}return{}y", " ".repeat(count), " ".repeat(60 - count))));
    texts.extend(
        ["a", "=", "-", "ab", "\n", "\t", "\u{1f680}", "#"]
            .iter()
            .flat_map(|part| (1..40).map(|count| part.repeat(count))),
    );
    let book = std::fs::read_to_string(assets.join("datasets/text/tiny_shakespeare.txt")).unwrap();
    texts.extend(book.split("\n\n").take(400).map(str::to_owned));
    let mut other = Vec::new();
    for text in &texts {
        let expected = join_by_scores(&vocabulary, &ids, text);
        if model.encode_raw(text).unwrap()[1..] != expected {
            other.push(text);
        }
    }
    assert!(other.is_empty(), "{} of {}: {:?}", other.len(), texts.len(), &other[..other.len().min(5)]);
}

#[test]
fn scores_come_back_from_the_merges_of_a_tokenizer_json() {
    let Some(assets) = assets() else { return };
    let original = vocabulary(&assets.join("formats/gguf-random-llama2/llama-2-tiny-random.gguf"));
    // Phi-3 has Llama 2's vocabulary, and a tokenizer.json that was converted from it.
    let phi = load(&assets.join("models/shapes/phi-3-mini")).to_gguf_vocabulary(32064).unwrap().vocabulary;
    assert_eq!(phi.tokens[3..32000], original.tokens[3..]);
    assert_eq!(order(&phi), order(&original));
    assert_eq!(phi.token_types[3..32000], original.token_types[3..]);
    assert_eq!((phi.tokens[32063].as_str(), phi.token_types[32063]), ("[PAD32063]", 5));
}
