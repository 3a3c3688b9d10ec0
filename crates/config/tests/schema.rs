//! The published schema, the template of `ft init` and the presets agree with what is read.

#![allow(clippy::unwrap_used)]

mod common;

use std::path::{Path, PathBuf};

use attune_config::{Config, PRESETS, init_template, json_schema};
use common::{MINIMAL, minimal};
use serde_json::{Value, json};

fn validator() -> jsonschema::Validator {
    jsonschema::draft7::new(&json_schema()).unwrap()
}

fn value(yaml: &str) -> Value {
    serde_saphyr::from_str(yaml).unwrap()
}

#[test]
fn the_schema_is_a_schema() {
    jsonschema::draft7::meta::validate(&json_schema()).unwrap();
    assert!(!json_schema().to_string().contains("\"$ref\""));
}

#[test]
fn the_template_is_the_defaults() {
    let text = init_template(None, None);
    let mut expected = Config::default();
    expected.model.path = "path/to/model".into();
    expected.data.train = vec!["path/to/train.jsonl".into()];
    assert_eq!(Config::from_yaml_str(&text).unwrap(), expected);
    assert!(validator().is_valid(&value(&text)));
}

#[test]
fn the_template_has_every_key_and_says_what_each_is() {
    let text = init_template(None, None);
    let written = value(&text);
    let schema = json_schema();
    let mut count = 0;
    for (section, section_schema) in schema["properties"].as_object().unwrap() {
        assert!(written.get(section).is_some(), "{section}");
        assert!(section_schema["description"].as_str().is_some_and(|text| !text.is_empty()), "{section}");
        for (key, key_schema) in section_schema["properties"].as_object().into_iter().flatten() {
            assert!(written[section].get(key).is_some(), "{section}.{key}");
            let description = key_schema["description"].as_str().unwrap_or_default();
            assert!(description.len() > 10, "{section}.{key}: {description}");
            let first_words: String = description.split(' ').take(4).collect::<Vec<_>>().join(" ");
            assert!(text.contains(&first_words), "{section}.{key}: {first_words}");
            count += 1;
        }
    }
    assert_eq!(count, 103, "keys of all sections; a new key belongs in the documentation as well");
    let comments = text.lines().filter(|line| line.trim_start().starts_with('#')).count();
    assert!(comments > 2 * count, "{comments} lines of comment");
    assert!(text.lines().all(|line| line.chars().count() <= 120 && line.trim_end() == line), "{text}");
}

#[test]
fn the_template_takes_any_path() {
    for path in [
        "base",
        "/abs/model",
        "with space",
        "C:\\models\\x",
        "it's",
        "a: b",
        "#1",
        "no",
        "1e3",
        "- x",
        "é",
        "a\nb",
        "{x}",
        "2024-01-01",
    ] {
        let text = init_template(Some(path), Some(path));
        let config = Config::from_yaml_str(&text).expect(&text);
        assert_eq!(config.model.path.to_str(), Some(path), "{text}");
        assert_eq!(config.data.train[0].to_str(), Some(path), "{text}");
    }
}

#[test]
fn presets_fit_the_schema() {
    for preset in PRESETS {
        let errors: Vec<_> = validator().iter_errors(&value(preset.text)).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{}: {errors:?}", preset.name);
    }
}

/// Every configuration under a folder.
fn configurations(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            configurations(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "yaml") {
            found.push(path);
        }
    }
}

#[test]
fn examples_fit_the_schema_and_are_read() {
    let mut examples = Vec::new();
    configurations(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples")), &mut examples);
    if examples.is_empty() {
        println!("SKIPPED: no examples in this copy of the sources");
    }
    for example in examples {
        let written = value(&std::fs::read_to_string(&example).unwrap());
        let errors: Vec<_> = validator().iter_errors(&written).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{}: {errors:?}", example.display());
        Config::load(&example, std::iter::empty(), &[]).unwrap();
    }
}

#[test]
fn the_resolved_configuration_fits_the_schema() {
    let config = Config::from_yaml_str(&minimal("adapter: {layers: {first: 3}, target_modules: [q_proj]}")).unwrap();
    assert!(validator().is_valid(&value(&config.to_yaml().unwrap())));
}

#[test]
fn defaults_in_the_schema_are_the_defaults() {
    let schema = json_schema();
    let defaults = serde_json::to_value(Config::default()).unwrap();
    for (section, keys) in defaults.as_object().unwrap() {
        for (key, default) in keys.as_object().unwrap() {
            let in_schema = schema["properties"][section]["properties"][key].get("default");
            match format!("{section}.{key}").as_str() {
                "model.path" | "data.train" => assert_eq!(in_schema, None, "{section}.{key}"),
                _ => assert_eq!(in_schema, Some(default), "{section}.{key}"),
            }
        }
    }
}

#[test]
fn the_schema_refuses_what_is_refused() {
    let validator = validator();
    assert!(validator.is_valid(&value(MINIMAL)));
    for wrong in [
        json!({"trainning": {}}),
        json!({"training": {"lerning_rate": 1}}),
        json!({"training": {"batch_size": 0}}),
        json!({"training": {"batch_size": "8"}}),
        json!({"training": {"learning_rate": 0}}),
        json!({"training": {"label_smoothing": 1}}),
        json!({"training": {"schedule": "cosin"}}),
        json!({"training": {"max_grad_norm": 0}}),
        json!({"training": 5}),
        json!({"adapter": {"rank": -1}}),
        json!({"adapter": {"rank_pattern": {"q_proj": 0}}}),
        json!({"adapter": {"alpha_pattern": {"q_proj": 0}}}),
        json!({"adapter": {"target_modules": ["wq"]}}),
        json!({"adapter": {"target_modules": []}}),
        json!({"adapter": {"layers": {"first": 0}}}),
        json!({"adapter": {"layers": {"first": 1, "last": 1}}}),
        json!({"evaluation": {"early_stopping": {"min_delta": 0.1}}}),
        json!({"evaluation": {"early_stopping": {"patience": 1, "x": 1}}}),
        json!({"model": {"chat_template": "chat-ml"}}),
        json!({"model": {"template_date": "tomorrow"}}),
        json!({"logging": {"name": "a/b"}}),
        json!({"data": {"train": [""]}}),
        json!({"data": {"transcripts": {"exchanges": 1}}}),
        json!({"data": {"transcripts": {"assistant": "A", "x": 1}}}),
        json!({"extends": 5}),
    ] {
        assert!(!validator.is_valid(&wrong), "{wrong}");
    }
    for right in [
        json!({"extends": "fast-iteration"}),
        json!({"extends": ["../base.yaml", "memory-constrained"]}),
        json!({"adapter": {"layers": {"last": 2}}, "training": {"max_grad_norm": null}}),
        json!({"evaluation": {"early_stopping": {"patience": 1}}}),
        json!({"model": {"chat_template": "./chat.jinja"}}),
        json!({"data": {"train": "a.jsonl", "validation": ["b.jsonl"]}}),
        json!({"data": {"train": "a.vtt", "transcripts": {"assistant": "Clerk"}}}),
    ] {
        let errors: Vec<_> = validator.iter_errors(&right).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{right}: {errors:?}");
    }
}
