//! tiktoken and tekken files, made from real vocabularies and compared with the tokenizers that they come from.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods, clippy::print_stdout)]

mod common;

use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use attune_text::{TextError, TextModel};
use common::{assets, load, options, python_with, read_json};
use serde_json::{Value as Json, json};

/// The bytes of each ordinary token, by id.
fn ranks(tokenizer: &Json) -> Vec<Vec<u8>> {
    let mut moved = (0..=255u8).filter(|byte| !matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff));
    let alphabet: std::collections::HashMap<char, u8> = (0..=255u8)
        .filter(|byte| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff))
        .map(|byte| (char::from(byte), byte))
        .chain((0x100..).map(|code| char::from_u32(code).unwrap()).zip(&mut moved))
        .collect();
    let vocab = tokenizer["model"]["vocab"].as_object().unwrap();
    let mut ranks = vec![Vec::new(); vocab.len()];
    for (text, id) in vocab {
        ranks[id.as_u64().unwrap() as usize] = text.chars().map(|c| alphabet[&c]).collect();
    }
    ranks
}

fn base64(bytes: &[u8]) -> String {
    let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits: String = bytes.iter().fold(String::new(), |mut bits, byte| {
        write!(bits, "{byte:08b}").unwrap();
        bits
    });
    let group = |bits: &[u8]| {
        let text = format!("{:0<6}", std::str::from_utf8(bits).unwrap());
        char::from(digits[usize::from_str_radix(&text, 2).unwrap()])
    };
    let mut out: String = bits.as_bytes().chunks(6).map(group).collect();
    while !out.len().is_multiple_of(4) {
        out.push('=');
    }
    out
}

fn tiktoken_file(ranks: &[Vec<u8>]) -> String {
    ranks.iter().enumerate().map(|(rank, token)| format!("{} {rank}\n", base64(token))).collect()
}

/// Texts of the recorded cases of a model.
fn texts(dir: &Path) -> Vec<String> {
    let reference = read_json(&dir.join("reference_tokenizer.json"));
    let cases = reference["cases"].as_array().unwrap();
    cases.iter().map(|case| case["text"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn tiktoken_files_give_the_ids_of_tokenizer_json() {
    let Some(assets) = assets() else { return };
    for (shape, name) in [("llama-3.2-1b-instruct", "tokenizer.model"), ("qwen2.5-0.5b-instruct", "qwen.tiktoken")] {
        let dir = assets.join("models/shapes").join(shape);
        let folder = tempfile::tempdir().unwrap();
        for file in ["tokenizer_config.json", "config.json", "generation_config.json"] {
            std::fs::copy(dir.join(file), folder.path().join(file)).unwrap();
        }
        std::fs::write(folder.path().join(name), tiktoken_file(&ranks(&read_json(&dir.join("tokenizer.json")))))
            .unwrap();
        let (original, model) = (load(&dir), load(folder.path()));
        assert_eq!(model.facts(), original.facts(), "{shape}");
        for text in texts(&dir) {
            assert_eq!(model.encode_raw(&text).unwrap(), original.encode_raw(&text).unwrap(), "{shape}: {text:?}");
        }
    }
}

#[test]
fn tekken_files_put_special_tokens_first() {
    let Some(assets) = assets() else { return };
    let dir = assets.join("models/shapes/qwen2.5-0.5b-instruct");
    let tokenizer = read_json(&dir.join("tokenizer.json"));
    let ranks = ranks(&tokenizer);
    let vocab: Vec<Json> = ranks
        .iter()
        .enumerate()
        .map(|(rank, token)| json!({"rank": rank, "token_bytes": base64(token), "token_str": null}))
        .collect();
    let pattern = &tokenizer["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"];
    let config = json!({"pattern": pattern, "num_vocab_tokens": ranks.len(), "default_vocab_size": ranks.len() + 30 - 1000,
        "default_num_special_tokens": 30, "version": "v3"});
    let folder = tempfile::tempdir().unwrap();
    let write = |file: &Json| std::fs::write(folder.path().join("tekken.json"), file.to_string()).unwrap();
    write(&json!({"config": config, "vocab": vocab}));
    let model = load(folder.path());
    assert_eq!(model.vocab_size(), ranks.len() + 30 - 1000); // the rest of the list is not in use
    assert_eq!((model.bos_id(), model.eos_id()), (Some(1), Some(2)));
    assert_eq!(model.encode_raw("[INST] hi").unwrap()[..2], [1, 3]);
    assert_eq!(model.token_text(25), "<SPECIAL_25>");
    let original = load(&dir);
    for text in texts(&dir) {
        let expected: Vec<u32> = original.encode_raw(&text).unwrap().iter().map(|id| id + 30).collect();
        let given = model.encode_raw(&text).unwrap();
        let comparable = expected.iter().all(|id| (*id as usize) < model.vocab_size()) && !text.contains('<');
        // The other tokenizer composes characters.
        if comparable && !text.contains('\u{301}') {
            assert_eq!(given[1..], expected, "{text:?}");
        }
    }
    write(
        &json!({"config": config, "vocab": vocab, "special_tokens": [{"rank": 4, "token_str": "<four>", "is_control": true}]}),
    );
    assert_eq!(load(folder.path()).token_text(4), "<four>");
    write(&json!({"config": config, "vocab": vocab, "special_tokens": [{"rank": 30, "token_str": "<four>"}]}));
    let error = TextModel::load(folder.path(), &options()).expect_err("an id of the vocabulary");
    assert!(error.to_string().contains("special token 30 of 30"), "{error}");
    write(&json!({"config": config, "vocab": []}));
    let error = TextModel::load(folder.path(), &options()).expect_err("too few");
    assert!(error.to_string().contains("has 0 tokens"), "{error}");
}

#[test]
fn texts_have_the_ids_of_tiktoken() {
    let Some(assets) = assets() else { return };
    let Some(python) = python_with("tiktoken") else { return };
    let dir = assets.join("models/shapes/llama-3.2-1b-instruct");
    let tokenizer = read_json(&dir.join("tokenizer.json"));
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(dir.join("config.json"), folder.path().join("config.json")).unwrap();
    let file = folder.path().join("llama.tiktoken");
    std::fs::write(&file, tiktoken_file(&ranks(&tokenizer))).unwrap();
    let texts: Vec<String> = texts(&dir).into_iter().filter(|text| !text.contains("<|")).collect();
    let input = json!({"pattern": tokenizer["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"], "texts": texts});
    let script = "
import json, sys, tiktoken, tiktoken.load
task = json.load(open(sys.argv[2], encoding='utf-8'))
ranks = tiktoken.load.load_tiktoken_bpe(sys.argv[1])
encoding = tiktoken.Encoding('test', pat_str=task['pattern'], mergeable_ranks=ranks, special_tokens={})
print(json.dumps([encoding.encode(text) for text in task['texts']]))
";
    let task = folder.path().join("task.json");
    std::fs::write(&task, input.to_string()).unwrap();
    let run = Command::new(python).args(["-c", script]).arg(&file).arg(&task).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let expected: Vec<Vec<u32>> = serde_json::from_slice(&run.stdout).unwrap();
    let model = load(folder.path());
    assert!(expected.len() > 40);
    for (text, expected) in texts.iter().zip(expected) {
        assert_eq!(model.encode_raw(text).unwrap(), expected, "{text:?}");
    }
}

#[test]
fn broken_lines_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("config.json", r#"{"model_type": "llama"}"#);
    let bytes: Vec<Vec<u8>> = (0..=255).map(|byte| vec![byte]).collect();
    let good = tiktoken_file(&bytes);
    write("a.tiktoken", &good);
    assert_eq!(load(folder.path()).vocab_size(), 256);
    let refused = |text: &str| {
        write("a.tiktoken", text);
        let error = TextModel::load(folder.path(), &options()).expect_err("refused");
        assert!(matches!(error, TextError::BadVocabulary { .. } | TextError::UnknownVocabulary { .. }), "{error}");
        error.to_string()
    };
    for (text, named) in [
        (format!("{good}YWI= x\n"), "line 257"),
        (format!("{good}YW 256\n"), "line 257"),
        (format!("{good}YWI= 99999999999999999999\n"), "line 257"),
        (format!("{good}YWI= 4294967295\n"), "line 257"),
        (format!("{good}YWI= 7\n"), "two tokens have the rank 7"),
        (format!("{good}YQ== 256\n"), "both"),
        (good.replace("/w== 255\n", ""), "no token for the byte 255"),
    ] {
        let message = refused(&text);
        assert!(message.contains(named), "{named}: {message}");
    }
    write("b.tiktoken", &good);
    assert!(refused(&good).contains("2 *.tiktoken files"));
    std::fs::remove_file(folder.path().join("b.tiktoken")).unwrap();
    write("config.json", r#"{"model_type": "kimi"}"#);
    assert!(refused(&good).contains("\"kimi\""));
}
