//! The ids of vocabularies in GGUF's form, compared with llama.cpp itself.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods, clippy::print_stdout)]

mod common;

use std::path::Path;
use std::process::Command;

use attune_text::TextModel;
use attune_text::gguf::Vocabulary;
use common::{assets, chat_of, load, options, python_with, read_json};
use serde_json::json;

/// All named pre-tokenizers that differ in how they cut.
const PRE_TOKENIZERS: [&str; 12] = [
    "smaug-bpe",
    "qwen2",
    "stablelm2",
    "gpt-2",
    "smollm",
    "tekken",
    "gpt-4o",
    "seed-coder",
    "deepseek-llm",
    "deepseek-coder",
    "deepseek-v3",
    "default",
];

fn llama_cpp(python: &Path, vocabulary: &Vocabulary, texts: &[String]) -> Vec<Vec<u32>> {
    let folder = tempfile::tempdir().unwrap();
    let (task, model) = (folder.path().join("task.json"), folder.path().join("model.gguf"));
    let content = json!({"texts": texts, "vocabulary": {
        "model": vocabulary.model, "pre": vocabulary.pre, "tokens": vocabulary.tokens, "scores": vocabulary.scores,
        "token_types": vocabulary.token_types, "merges": vocabulary.merges, "bos": vocabulary.bos, "eos": vocabulary.eos,
        "unk": vocabulary.unk, "eot": vocabulary.eot, "add_bos": vocabulary.add_bos,
        "add_space_prefix": vocabulary.add_space_prefix}});
    std::fs::write(&task, content.to_string()).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/llama_cpp_ids.py");
    let run = Command::new(python).arg(script).arg(&task).arg(&model).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let output = String::from_utf8(run.stdout).unwrap();
    let line = output.lines().rfind(|line| line.starts_with("[[")).unwrap();
    serde_json::from_str(line).unwrap()
}

fn texts(assets: &Path, dir: &Path) -> Vec<String> {
    let vectors = assets.join("formats/llama.cpp-vocab/ggml-vocab-llama-bpe.gguf.inp");
    let mut texts: Vec<String> =
        std::fs::read_to_string(vectors).unwrap().split("\n__ggml_vocab_test__\n").map(str::to_owned).collect();
    let book = std::fs::read_to_string(assets.join("datasets/text/tiny_shakespeare.txt")).unwrap();
    texts.extend(book.split("\n\n").take(100).map(str::to_owned));
    let model = load(dir);
    for case in read_json(&dir.join("reference_tokenizer.json"))["cases"].as_array().unwrap() {
        texts.push(case["text"].as_str().unwrap().to_owned());
    }
    for case in read_json(&dir.join("reference_chat.json"))["cases"].as_array().unwrap() {
        texts.extend(model.render(&chat_of(case), true));
    }
    texts.retain(|text| !text.is_empty());
    texts
}

/// Compares all texts; llama.cpp takes `</s>` for a special token in vocabularies where it is an ordinary one.
fn compare(python: &Path, name: &str, vocabulary: &Vocabulary, texts: &[String]) {
    let model = TextModel::from_gguf_vocabulary(vocabulary, Path::new("test.gguf"), &options()).unwrap();
    let end = vocabulary.tokens.iter().position(|token| token == "</s>");
    let ordinary = end.is_some_and(|id| vocabulary.token_types[id] == 1);
    let mut compared = 0;
    for (text, mut expected) in texts.iter().zip(llama_cpp(python, vocabulary, texts)) {
        if ordinary && text.contains("</s>") {
            continue;
        }
        if expected.len() > 1 && expected[0] == expected[1] && Some(expected[0]) == model.bos_id() {
            expected.remove(0); // llama.cpp doubles a BOS that the text brings
        }
        assert_eq!(model.encode_raw(text).unwrap(), expected, "{name}: {text:?}");
        compared += 1;
    }
    println!("{name}: {compared} texts");
    assert!(compared > 150, "{name}: {compared} texts compared");
}

#[test]
fn vocabularies_have_the_ids_of_llama_cpp() {
    let Some(assets) = assets() else { return };
    let Some(python) = python_with("xllamacpp, gguf") else { return };
    for name in ["llama-3.2-1b-instruct", "mistral-7b-instruct-v0.3", "phi-3-mini", "qwen3-0.6b"] {
        let dir = assets.join("models/shapes").join(name);
        compare(&python, name, &load(&dir).to_gguf_vocabulary(0).unwrap().vocabulary, &texts(&assets, &dir));
    }
}

#[test]
fn pre_tokenizers_cut_as_those_of_llama_cpp() {
    let Some(assets) = assets() else { return };
    let Some(python) = python_with("xllamacpp, gguf") else { return };
    let dir = assets.join("models/shapes/qwen2.5-0.5b-instruct");
    let texts = texts(&assets, &dir);
    let mut vocabulary = load(&dir).to_gguf_vocabulary(0).unwrap().vocabulary;
    for pre in PRE_TOKENIZERS {
        vocabulary.pre = Some(pre.to_owned());
        compare(&python, pre, &vocabulary, &texts);
    }
}
