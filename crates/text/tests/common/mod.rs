//! What the integration tests share: small tokenizers made on the spot, the test assets, and views on masks.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    missing_docs
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use attune_text::{Conversation, Encoded, LoadOptions, Message, TextModel};
use chrono::NaiveDate;
use serde_json::{Value as Json, json};

pub const DATE: NaiveDate = NaiveDate::from_ymd_opt(2024, 7, 26).unwrap();

/// The folder of shared test assets; says SKIPPED when it is absent.
pub fn assets() -> Option<PathBuf> {
    let root = std::env::var_os("ATTUNE_SHARED")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared")), PathBuf::from);
    let assets = root.join("assets");
    if assets.is_dir() {
        return Some(assets);
    }
    println!("SKIPPED: no test assets in {}", assets.display());
    None
}

pub fn read_json(path: &Path) -> Json {
    serde_json::from_slice(&std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))).unwrap()
}

pub fn options() -> LoadOptions {
    LoadOptions { template_date: DATE, ..LoadOptions::default() }
}

pub fn load(dir: &Path) -> TextModel {
    TextModel::load(dir, &options()).unwrap_or_else(|error| panic!("{error}"))
}

/// A byte-level tokenizer: one token per byte (plus the given merges), and special tokens.
pub fn byte_tokenizer(special: &[&str], merges: &[(&str, &str)]) -> Json {
    let alphabet = tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet();
    let mut letters: Vec<String> = alphabet.into_iter().map(String::from).collect();
    letters.sort();
    letters.extend(merges.iter().map(|(a, b)| format!("{a}{b}")));
    let vocab: BTreeMap<&String, usize> = letters.iter().enumerate().map(|(id, letter)| (letter, id)).collect();
    let added: Vec<Json> = special
        .iter()
        .enumerate()
        .map(|(at, token)| {
            json!({"id": letters.len() + at, "content": token, "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false, "special": true})
        })
        .collect();
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false});
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": null,
        "pre_tokenizer": byte_level, "post_processor": byte_level, "decoder": byte_level,
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocab, "merges": merges.iter().map(|(a, b)| format!("{a} {b}")).collect::<Vec<_>>()},
    })
}

/// A model folder that is removed with the test.
pub struct Folder(pub tempfile::TempDir);

impl Folder {
    pub fn new(tokenizer: &Json, config: &Json) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.write("tokenizer.json", &tokenizer.to_string());
        folder.write("tokenizer_config.json", &config.to_string());
        folder
    }

    pub fn write(&self, name: &str, content: &str) {
        std::fs::write(self.path().join(name), content).unwrap();
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn load(&self) -> TextModel {
        load(self.path())
    }
}

/// A chat of plain texts.
pub fn chat(messages: &[(&str, &str)]) -> Conversation {
    Conversation { messages: messages.iter().map(|(role, text)| Message::new(*role, *text)).collect(), tools: None }
}

/// A chat as the data files have it.
pub fn chat_of(json: &Json) -> Conversation {
    Conversation {
        messages: serde_json::from_value(json["messages"].clone()).unwrap(),
        tools: Some(json["tools"].clone()).filter(|tools| !tools.is_null()),
    }
}

/// The text of each run of trained tokens.
pub fn trained_texts(model: &TextModel, encoded: &Encoded) -> Vec<String> {
    assert_eq!(encoded.ids.len(), encoded.trained.len());
    assert!(!encoded.trained.first().copied().unwrap_or(false), "the first token has nothing before it");
    let mut runs: Vec<Vec<u32>> = Vec::new();
    let mut before = false;
    for (id, trained) in encoded.ids.iter().zip(&encoded.trained) {
        if *trained {
            if !before {
                runs.push(Vec::new());
            }
            runs.last_mut().unwrap().push(*id);
        }
        before = *trained;
    }
    runs.iter().map(|ids| ids.iter().map(|id| model.token_text(*id)).collect()).collect()
}

/// Python with the named module, of the peers' environment or as `ATTUNE_PEER_PYTHON` says; says SKIPPED without.
pub fn python_with(module: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let beside = if cfg!(windows) { "target/peers/Scripts/python.exe" } else { "target/peers/bin/python" };
    let python = std::env::var_os("ATTUNE_PEER_PYTHON").map_or_else(|| root.join(beside), PathBuf::from);
    let works = std::process::Command::new(&python).args(["-c", &format!("import {module}")]).output();
    if works.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    println!("SKIPPED: there is no Python with {module}: run `cargo xtask peers`, or set ATTUNE_PEER_PYTHON");
    None
}
