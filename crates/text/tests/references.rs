//! Ids and texts that Transformers and mistral-common recorded for real tokenizers and templates.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods)]

mod common;

use attune_text::{LoadOptions, TextModel};
use common::{assets, chat_of, load, options, read_json};

const SHAPES: [&str; 6] = [
    "llama-3.2-1b-instruct",
    "llama-3.2-3b-instruct",
    "mistral-7b-instruct-v0.3",
    "phi-3-mini",
    "qwen2.5-0.5b-instruct",
    "qwen3-0.6b",
];

fn ids(json: &serde_json::Value) -> Vec<u32> {
    serde_json::from_value(json.clone()).unwrap()
}

#[test]
fn texts_have_the_ids_of_transformers() {
    let Some(assets) = assets() else { return };
    for shape in SHAPES {
        let dir = assets.join("models/shapes").join(shape);
        let model = load(&dir);
        let reference = read_json(&dir.join("reference_tokenizer.json"));
        let cases = reference["cases"].as_array().unwrap();
        assert!(cases.len() >= 60, "{shape}: {} cases", cases.len());
        for case in cases {
            let text = case["text"].as_str().unwrap();
            let given = model.encode_raw(text).unwrap();
            let mut expected = ids(&case["ids_with_special"]);
            if expected.len() > 1 && Some(expected[0]) == model.bos_id() && expected[0] == expected[1] {
                expected.remove(0); // Transformers doubles a BOS that the text brings; here it comes once
            }
            assert_eq!(given, expected, "{shape}: {text:?}");
            let plain = ids(&case["ids"]);
            assert_eq!(model.decode(&plain, false).unwrap(), case["decoded"].as_str().unwrap(), "{shape}: {text:?}");
            assert_eq!(
                model.decode(&plain, true).unwrap(),
                case["decoded_skip_special"].as_str().unwrap(),
                "{shape}: {text:?}"
            );
        }
    }
}

#[test]
fn chats_have_the_texts_and_ids_of_transformers() {
    let Some(assets) = assets() else { return };
    let mut compared = 0;
    for shape in SHAPES {
        let dir = assets.join("models/shapes").join(shape);
        let reference = read_json(&dir.join("reference_chat.json"));
        let mut models: Vec<(&serde_json::Value, TextModel)> = Vec::new();
        for case in reference["cases"].as_array().unwrap() {
            let variables = &case["template_kwargs"];
            if models.iter().all(|(known, _)| *known != variables) {
                let template_variables = variables.as_object().unwrap().clone();
                let model = TextModel::load(&dir, &LoadOptions { template_variables, ..options() }).unwrap();
                models.push((variables, model));
            }
            let (_, model) = models.iter().find(|(known, _)| *known == variables).unwrap();
            let conversation = chat_of(case);
            let with_prompt = case["add_generation_prompt"].as_bool().unwrap();
            let text = model.render(&conversation, with_prompt).unwrap();
            assert_eq!(text, case["text"].as_str().unwrap(), "{shape}: {}", case["name"]);
            // `encode_raw` adds BOS only where the text does not begin with it.
            assert_eq!(model.encode_raw(&text).unwrap(), ids(&case["ids"]), "{shape}: {}", case["name"]);
            if with_prompt {
                assert_eq!(model.encode_prompt(&conversation).unwrap(), ids(&case["ids"]), "{shape}: {}", case["name"]);
            }
            compared += 1;
        }
    }
    assert!(compared >= 65, "{compared}");
}

#[test]
fn the_trained_model_gets_the_ids_it_was_trained_on() {
    let Some(assets) = assets() else { return };
    let dir = assets.join("models/tinystories-656k");
    let model = load(&dir);
    let reference = read_json(&dir.join("reference_hf.json"));
    for prompt in reference["prompts"].as_array().unwrap() {
        let text = prompt["prompt"].as_str().unwrap();
        assert_eq!(model.encode_raw(text).unwrap(), ids(&prompt["input_ids"]), "{text:?}");
        let mut all = ids(&prompt["input_ids"]);
        all.extend(ids(&prompt["greedy_new_ids"]));
        assert!(prompt["greedy_text"].as_str().unwrap().starts_with(text));
        // One by one, a stream gives the same text as all at once.
        let mut stream = model.decode_stream(true);
        let mut streamed: String = all.iter().map(|id| stream.push(*id).unwrap()).collect();
        streamed.push_str(&stream.finish().unwrap());
        assert_eq!(streamed, model.decode(&all, true).unwrap());
    }
    assert_eq!((model.vocab_size(), model.bos_id(), model.stop_ids()), (2048, Some(1), &[2][..]));
    assert!(!model.has_chat_template());
}

#[test]
fn samples_of_mistral_have_their_ids() {
    let Some(assets) = assets() else { return };
    let model = load(&assets.join("models/shapes/mistral-7b-instruct-v0.3"));
    let samples = assets.join("templates/mistral-common/samples");
    let mut compared = 0;
    for sample in std::fs::read_dir(samples).unwrap() {
        let dir = sample.unwrap().path();
        let text = std::fs::read_to_string(dir.join("text_v3.txt")).unwrap();
        // Recorded in the spelling of sentencepiece. A space behind a control token belongs to the next word.
        let text = text.replace('▁', " ").replace("<0x0A>", "\n");
        let expected = ids(&read_json(&dir.join("tokens_v3.json"))["tokens"]);
        assert_eq!(model.encode_raw(&text).unwrap(), expected, "{}", dir.display());
        compared += 1;
    }
    assert_eq!(compared, 6);
}
