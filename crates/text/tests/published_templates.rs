//! Masks with every published template of the test assets, on a tokenizer that knows their special tokens.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods)]

mod common;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use attune_text::{Conversation, TextError, TextModel, TrainOn};
use common::{DATE, Folder, assets, byte_tokenizer, chat, chat_of, options, read_json, trained_texts};
use serde_json::json;

/// Texts in a template that look like special tokens.
fn special_tokens(template: &str) -> Vec<String> {
    let mut found: BTreeSet<String> = ["<s>", "</s>", "<pad>", "<unk>"].map(str::to_owned).into();
    let mut add = |open: &str, close: &str, wanted: &dyn Fn(&str) -> bool| {
        for (inner, _) in template.split(open).skip(1).filter_map(|rest| rest.split_once(close)) {
            let is_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '/' | '▁' | '-' | '|');
            if !inner.is_empty() && inner.chars().all(is_name) && wanted(inner) {
                found.insert(format!("{open}{inner}{close}"));
            }
        }
    };
    add("<|", "|>", &|_| true);
    add("<｜", "｜>", &|_| true);
    add("<|", ">", &|name| name == "turn");
    add("<", "|>", &|name| name == "turn");
    add("<", ">", &|name| name.ends_with("_of_turn"));
    add("[|", "|]", &|_| true);
    add("[", "]", &|name| name.len() > 3 && !name.contains(|c: char| c.is_lowercase() || c.is_ascii_digit()));
    found.into_iter().collect()
}

fn model_with(template: &str) -> Result<TextModel, TextError> {
    let special = special_tokens(template);
    let special: Vec<&str> = special.iter().map(String::as_str).collect();
    let config = json!({"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"});
    let folder = Folder::new(&byte_tokenizer(&special, &[]), &config);
    folder.write("chat_template.jinja", template);
    let mut options = options();
    options.template_variables.insert("date_string".into(), json!("26 Jul 2024"));
    assert_eq!(options.template_date, DATE);
    TextModel::load(folder.path(), &options)
}

fn templates(assets: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for family in ["trl", "axolotl", "mistral-common"] {
        let folder = std::fs::read_dir(assets.join("templates").join(family)).unwrap();
        let files: Vec<PathBuf> = folder.map(|entry| entry.unwrap().path()).collect();
        for path in files.iter().filter(|path| path.extension().is_some_and(|extension| extension == "jinja")) {
            let name = format!("{family}/{}", path.file_stem().unwrap().to_string_lossy());
            found.push((name, std::fs::read_to_string(path).unwrap()));
        }
    }
    found.sort();
    assert!(found.len() >= 117, "{} templates", found.len());
    found
}

fn thinking() -> Conversation {
    chat(&[
        ("user", "17*3?"),
        ("assistant", "<think>\nr one\n</think>\n\n51"),
        ("user", "and 1?"),
        ("assistant", "<think>\nr two\n</think>\n\n52"),
    ])
}

fn answers() -> Conversation {
    chat(&[
        ("user", "Hello you"),
        ("assistant", "Hi! How can I help?"),
        ("user", "A joke."),
        ("assistant", "Why not?\n\nStride."),
    ])
}

/// Templates that take lists of parts only.
const NO_PLAIN_TEXT: [&str; 4] = ["trl/idefics3", "trl/idefics3_training", "trl/llava_next", "trl/llava_next_training"];

/// Whatever a template looks like: an answer is trained with the token that ends it, and nothing of the question.
#[test]
fn answers_are_trained_and_questions_are_not() {
    let Some(assets) = assets() else { return };
    for (name, template) in templates(&assets) {
        let model = model_with(&template).unwrap_or_else(|error| panic!("{name}: {error}"));
        let encoded = match model.encode_chat(&answers(), TrainOn::Assistant) {
            Err(TextError::MessageDropped { .. } | TextError::TemplateFailed { .. })
                if NO_PLAIN_TEXT.contains(&name.as_str()) =>
            {
                continue;
            }
            encoded => encoded.unwrap_or_else(|error| panic!("{name}: {error}")),
        };
        let runs = trained_texts(&model, &encoded);
        assert_eq!(runs.len(), 2, "{name}: {runs:?}");
        // GLM and Llava have no token of their own that ends a turn; Metharme ends only the last one.
        let without_end = ["trl/glm4moe", "trl/glm4moe_training", "axolotl/llava"].contains(&name.as_str());
        let end = model.end_of_turn_id().map(|id| model.token_text(id)).unwrap_or_default();
        assert_eq!(encoded.end_of_turn_trained, !without_end || name.ends_with("_training"), "{name}");
        for (run, answer) in runs.iter().zip(["Hi! How can I help?", "Why not?\n\nStride."]) {
            let rest = run.split_once(answer).unwrap_or_else(|| panic!("{name}: {run:?} lacks {answer:?}"));
            // Before the answer: nothing, its blank, or the thinking that the template opens or closes for it.
            let opening = rest.0.trim();
            let known = ["", "<think></think>", "</think>", "<think>\n\n</think>", "<|channel|>final<|message|>"];
            let tagged = ["<｜Assistant｜>", "<|start|>assistant<|channel|>final<|message|>"];
            let is_known = known.contains(&opening) || (name.ends_with("_training") && tagged.contains(&opening));
            assert!(is_known, "{name}: {opening:?} before {answer:?}");
            let closing = rest.1.trim();
            let is_end = [end.as_str(), "", "<|end|>", "<|user|>"].contains(&closing);
            let tagged = ["<|END_RESPONSE|><|END_OF_TURN_TOKEN|>", "<|end|>\n</s>"];
            assert!(is_end || tagged.contains(&closing), "{name}: {closing:?} behind {answer:?}");
            assert!(!closing.is_empty() || without_end || name == "axolotl/metharme", "{name}: no end in {run:?}");
            assert!(!run.contains("Hello") && !run.contains("joke"), "{name}: {run:?}");
        }
    }
}

/// Where templates mark the assistant's text themselves, the marks are compared with what is found without them.
/// What differs is what the authors put into the marks: the assistant's header, which the generation prompt gives
/// anyway, or something behind the end of turn.
#[test]
fn generation_tags_agree_with_what_is_found_without_them() {
    /// (template, texts that its marks hold more at the front, and at the end)
    const MORE: [(&str, &[&str], &[&str]); 11] = [
        ("axolotl/llava", &[], &[" "]),
        ("trl/cohere2_training", &[], &["<|END_OF_TURN_TOKEN|>"]),
        ("trl/deepseekv3_training", &["<｜Assistant｜>", "<｜tool▁outputs▁end｜>"], &[]),
        ("trl/gptoss_training", &["<|start|>assistant"], &[]),
        ("trl/nemotron_3_nano_training", &["<think>", "<think>\n"], &[]),
        ("trl/nemotron_3_super_training", &["<think>", "<think>\n"], &[]),
        ("trl/nemotron_3_ultra_training", &["<think>", "<think>\n"], &[]),
        ("trl/phi3_training", &[], &["\n</s>"]),
        ("trl/phi3_5_training", &[], &["\n</s>"]),
        ("trl/qwen2_5_training", &["\n"], &[]),
        ("trl/diffusion_gemma_training", &[], &[]),
    ];
    const OPENED: [&str; 3] = ["trl/qwen3_5_think_training", "trl/qwen3_6_training", "trl/qwen3_5_nothink_training"];
    let Some(assets) = assets() else { return };
    let dialogues = read_json(&assets.join("templates/reference/conversations.json"));
    let mut dialogues: Vec<Conversation> = dialogues.as_array().unwrap().iter().map(chat_of).collect();
    dialogues.push(thinking());
    let mut compared = 0;
    for (name, template) in templates(&assets) {
        let plain = template.replace(" generation ", " if true ").replace("endgeneration", "endif");
        if plain == template {
            continue;
        }
        let (tagged, plain) = (model_with(&template).unwrap(), model_with(&plain).unwrap());
        let known = MORE.iter().find(|entry| entry.0 == name).map_or((&[][..], &[][..]), |entry| (entry.1, entry.2));
        for dialogue in &dialogues {
            let (by_tags, found) =
                (tagged.encode_chat(dialogue, TrainOn::Assistant), plain.encode_chat(dialogue, TrainOn::Assistant));
            let (Ok(by_tags), Ok(found)) = (&by_tags, &found) else {
                // Both refuse, and for the same reason.
                let words = |result: &Result<_, TextError>| result.as_ref().err().map(std::mem::discriminant);
                assert_eq!(words(&by_tags), words(&found), "{name}: {by_tags:?} {found:?}");
                continue;
            };
            compared += 1;
            assert_eq!(by_tags.ids, found.ids, "{name}");
            let (by_tags, found) = (trained_texts(&tagged, by_tags), trained_texts(&plain, found));
            assert_eq!(by_tags.len(), found.len(), "{name}: {by_tags:?} {found:?}");
            for (by_tags, found) in by_tags.iter().zip(&found) {
                let mut rest = by_tags.as_str();
                let before = known.0.iter().find(|more| rest == [**more, found].concat());
                rest = before.map_or(rest, |more| &rest[more.len()..]);
                for more in known.1 {
                    rest = rest.strip_suffix(more).unwrap_or(rest);
                }
                let same = match name.as_str() {
                    // The prompt opens the thinking, the marks take it in.
                    _ if OPENED.contains(&name.as_str()) => {
                        rest.ends_with(found.as_str()) && rest.starts_with("<think>\n") || rest == found
                    }
                    // The blank behind `ASSISTANT:` is outside the marks, and a blank before the next turn inside.
                    "axolotl/llava" => rest == found.trim() || rest.trim() == found.trim(),
                    // A call is closed by the token that opens its result.
                    "trl/diffusion_gemma_training" => *found == *rest || *found == format!("{rest}<|tool_response>"),
                    _ => rest == found,
                };
                assert!(same, "{name}:\n {by_tags:?}\n {found:?}");
            }
        }
    }
    assert!(compared >= 170, "{compared}");
}

/// Real templates of models that answer after thinking: the thinking of earlier turns is gone, the answers are not.
#[test]
fn answers_behind_stripped_thinking_are_trained() {
    let Some(assets) = assets() else { return };
    for (name, first, second) in [
        ("trl/qwen3", "51<|im_end|>", "<think>\nr two\n</think>\n\n52<|im_end|>"),
        ("trl/qwen3_5_think", "51<|im_end|>", "r two\n</think>\n\n52<|im_end|>"),
        ("trl/deepseekv3", "\n\n51<｜end▁of▁sentence｜>", "\n\n52<｜end▁of▁sentence｜>"),
        ("trl/nemotron_3_nano", "</think>\n\n51<|im_end|>", "r two\n</think>\n\n52<|im_end|>"),
        ("axolotl/exaone4", "51[|endofturn|]", "52[|endofturn|]"),
        ("trl/glm4moe", "\n<think></think>\n51", "\n<think>r two</think>\n52"),
    ] {
        let template = templates(&assets).into_iter().find(|(known, _)| known == name).unwrap().1;
        let model = model_with(&template).unwrap();
        let encoded = model.encode_chat(&thinking(), TrainOn::Assistant).unwrap();
        assert_eq!(trained_texts(&model, &encoded), [first, second], "{name}");
    }
}
