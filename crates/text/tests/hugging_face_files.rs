//! What a folder in Hugging Face layout gets, and what a known converter made of the same tokenizers.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods, clippy::print_stdout)]

mod common;

use std::path::Path;
use std::process::Command;

use attune_text::TextModel;
use common::{assets, load, options, python_with, read_json};
use serde_json::{Value as Json, json};

fn through_gguf(model: &TextModel) -> TextModel {
    let vocabulary = model.to_gguf_vocabulary(0).unwrap().vocabulary;
    TextModel::from_gguf_vocabulary(&vocabulary, Path::new("test.gguf"), &options()).unwrap()
}

fn write(model: &TextModel, dir: &Path) {
    let files = model.hugging_face_files().unwrap();
    let names: Vec<&str> = files.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "generation_config.json"]);
    for (name, content) in files {
        std::fs::write(dir.join(name), content).unwrap();
    }
}

#[test]
fn a_written_folder_reads_as_what_wrote_it() {
    let Some(assets) = assets() else { return };
    for name in ["llama-3.2-1b-instruct", "mistral-7b-instruct-v0.3", "phi-3-mini", "qwen3-0.6b"] {
        let dir = assets.join("models/shapes").join(name);
        let original = load(&dir);
        for (kind, model) in [("folder", &original), ("gguf", &through_gguf(&original))] {
            let folder = tempfile::tempdir().unwrap();
            write(model, folder.path());
            let again = load(folder.path());
            assert_eq!(again.facts(), model.facts(), "{name} from {kind}");
            for case in read_json(&dir.join("reference_tokenizer.json"))["cases"].as_array().unwrap() {
                let text = case["text"].as_str().unwrap();
                let ids = model.encode_raw(text).unwrap();
                assert_eq!(again.encode_raw(text).unwrap(), ids, "{name} from {kind}: {text:?}");
                assert_eq!(again.decode(&ids, true).unwrap(), model.decode(&ids, true).unwrap(), "{name} from {kind}");
            }
        }
    }
}

#[test]
fn a_chosen_template_is_written_beside_the_named_ones() {
    let mut tokenizer = common::byte_tokenizer(&["<|im_start|>", "<|im_end|>"], &[]);
    tokenizer["pre_tokenizer"]["use_regex"] = true.into();
    let folder = common::Folder::new(
        &tokenizer,
        &json!({"eos_token": "<|im_end|>", "chat_template": [
            {"name": "tool_use", "template": "{{ messages }} tools"}, {"name": "default", "template": "{{ messages }}"}]}),
    );
    let model = folder.load();
    let vocabulary = model.to_gguf_vocabulary(300).unwrap().vocabulary;
    assert_eq!(vocabulary.chat_template.as_deref(), Some("{{ messages }}"));
    assert_eq!(vocabulary.named_templates, [("tool_use".to_owned(), "{{ messages }} tools".to_owned())]);
    let back = TextModel::from_gguf_vocabulary(&vocabulary, Path::new("test.gguf"), &options());
    assert_eq!(back.unwrap().to_gguf_vocabulary(300).unwrap().vocabulary.named_templates, vocabulary.named_templates);

    let chatml = attune_text::LoadOptions { chat_template: Some("chatml".to_owned()), ..options() };
    let model = TextModel::load(folder.path(), &chatml).unwrap();
    let out = tempfile::tempdir().unwrap();
    write(&model, out.path());
    assert_eq!(load(out.path()).facts().chat_template, model.facts().chat_template);
    assert!(model.facts().chat_template.unwrap().contains("<|im_start|>"));
    let config = read_json(&out.path().join("tokenizer_config.json"));
    let names: Vec<&Json> = config["chat_template"].as_array().unwrap().iter().map(|entry| &entry["name"]).collect();
    assert_eq!(names, ["default", "tool_use"]);
}

#[test]
fn what_gguf_cannot_say_is_refused_with_the_known_names() {
    let mut tokenizer = common::byte_tokenizer(&["</s>"], &[]);
    tokenizer["pre_tokenizer"] = json!({"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": "[aeiou]+"}, "behavior": "Isolated", "invert": false},
        {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false}]});
    let folder = common::Folder::new(&tokenizer, &json!({}));
    let error = folder.load().to_gguf_vocabulary(0).expect_err("unknown");
    let message = error.to_string();
    assert!(message.contains("[aeiou]+") && message.contains("llama-bpe, smaug-bpe, qwen2"), "{message}");
    assert!(error.hint().contains("Hugging Face"));
    let error = folder.load().to_gguf_vocabulary(10).expect_err("too few rows");
    assert!(error.to_string().contains("the embedding has 10 rows"), "{error}");
}

/// A list as Go writes it as JSON; the digests of the converter in the assets are of this text.
fn go_json(texts: &[String]) -> String {
    let json = serde_json::to_string(texts).unwrap();
    json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

#[test]
fn a_known_converter_made_the_same_lists() {
    use sha2::{Digest, Sha256};
    let Some(assets) = assets() else { return };
    let hex = |text: String| Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    for (name, file) in
        [("llama-3.2-1b-instruct", "Meta-Llama-3-8B-Instruct"), ("qwen2.5-0.5b-instruct", "Qwen2.5-0.5B-Instruct")]
    {
        let known = read_json(&assets.join(format!("formats/ollama-convert-checksums/{file}.json")));
        let vocabulary = load(&assets.join("models/shapes").join(name)).to_gguf_vocabulary(0).unwrap().vocabulary;
        assert_eq!(known["tokenizer.ggml.model"], vocabulary.model.as_str());
        assert_eq!(known["tokenizer.ggml.pre"], vocabulary.pre.as_deref().unwrap(), "{name}");
        assert_eq!(known["tokenizer.ggml.eos_token_id"], vocabulary.eos.unwrap().to_string(), "{name}");
        assert_eq!(known["tokenizer.ggml.merges"], hex(go_json(&vocabulary.merges)).as_str(), "{name}");
        if file.contains("Llama") {
            let types = format!("{:?}", vocabulary.token_types).replace(' ', "");
            assert_eq!(known["tokenizer.ggml.token_type"], hex(types).as_str());
        }
    }
}

#[test]
fn transformers_reads_the_files_of_a_gguf_tokenizer() {
    let Some(assets) = assets() else { return };
    let Some(python) = python_with("transformers") else { return };
    let script = "
import json, sys
from transformers import AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
texts = json.load(open(sys.argv[2], encoding='utf-8'))
print(json.dumps([tokenizer(text)['input_ids'] for text in texts]))
";
    for name in ["llama-3.2-1b-instruct", "phi-3-mini", "qwen3-0.6b"] {
        let dir = assets.join("models/shapes").join(name);
        let model = through_gguf(&load(&dir));
        let folder = tempfile::tempdir().unwrap();
        write(&model, folder.path());
        let reference = read_json(&dir.join("reference_tokenizer.json"));
        let cases = reference["cases"].as_array().unwrap().iter().map(|case| case["text"].as_str().unwrap());
        // Transformers doubles a BOS that a text brings.
        let texts: Vec<&str> = cases.filter(|text| !text.starts_with("<|begin_of_text|>")).collect();
        let task = folder.path().join("texts.json");
        std::fs::write(&task, json!(texts).to_string()).unwrap();
        let run = Command::new(&python).args(["-c", script]).arg(folder.path()).arg(&task).output().unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        let expected: Vec<Vec<u32>> = serde_json::from_slice(&run.stdout).unwrap();
        for (text, expected) in texts.iter().zip(expected) {
            assert_eq!(model.encode_raw(text).unwrap(), expected, "{name}: {text:?}");
        }
    }
}
