//! `ft init`: a commented `ft.yaml`, made from the schema and the defaults, so that it cannot drift from them.

use std::fmt::Write as _;

use serde_json::Value;

use crate::node::Node;
use crate::schema::{self, allowed, child, child_names, named_keys, variants};
use crate::sections::Config;

const WIDTH: usize = 110;
const HEAD: &str = "\
# Configuration of one Attune run: `ft train ft.yaml`. All keys are here, with their defaults; what is left out takes
# its default. Stronger than this file are variables such as FT__TRAINING__EPOCHS=2 and options such as
# --set training.epochs=2. Paths are relative to this file. `ft schema` prints the JSON Schema for your editor.
";
const MODEL_PLACEHOLDER: &str = "path/to/model";
const DATA_PLACEHOLDER: &str = "path/to/train.jsonl";

/// A commented `ft.yaml` with every key at its default. Without a model or data folder a placeholder stands there.
#[must_use]
pub fn init_template(model: Option<&str>, data: Option<&str>) -> String {
    let mut defaults = serde_json::to_value(Config::default()).unwrap_or_default();
    defaults["model"]["path"] = model.unwrap_or(MODEL_PLACEHOLDER).into();
    defaults["data"]["train"] = data.unwrap_or(DATA_PLACEHOLDER).into();

    let root = schema::schema();
    let mut text = HEAD.to_owned();
    for section in child_names(root) {
        let Some(schema) = child(root, section) else { continue };
        text.push('\n');
        comment(&mut text, "", schema);
        match named_keys(schema) {
            None => {
                let default = schema.get("default").unwrap_or(&Value::Null);
                line(&mut text, &format!("{section}: {}", flow(default)));
            }
            Some(keys) => {
                line(&mut text, &format!("{section}:"));
                for (i, (key, schema)) in keys.iter().enumerate() {
                    if i > 0 {
                        text.push('\n');
                    }
                    comment(&mut text, "  ", schema);
                    line(&mut text, &format!("  {key}: {}", flow(&defaults[section][key])));
                }
            }
        }
    }
    text
}

/// The description of a schema as comments; below it, what may be given.
fn comment(text: &mut String, indent: &str, schema: &Value) {
    if let Some(description) = schema.get("description").and_then(Value::as_str) {
        wrap(text, &format!("{indent}# "), &format!("{indent}# "), description);
    }
    if named_keys(schema).is_some() && !schema::any_accepts_type(schema, "null") {
        return;
    }
    let first = format!("{indent}# Allowed: ");
    let more = format!("{indent}#   ");
    let described: Vec<(String, &str)> = variants(schema)
        .into_iter()
        .filter_map(|variant| Some((name_of(variant)?, variant.get("description")?.as_str()?)))
        .collect();
    if described.is_empty() {
        wrap(text, &first, &more, &allowed(schema));
        for (key, schema) in named_keys(schema).into_iter().flatten() {
            let what = schema.get("description").and_then(Value::as_str).unwrap_or_default();
            wrap(text, &more, &format!("{more}  "), &format!("{key}: {what} ({})", allowed(schema)));
        }
    } else {
        line(text, first.trim_end());
        for (name, what) in described {
            wrap(text, &more, &format!("{more}  "), &format!("{name}: {what}"));
        }
    }
}

/// How an alternative of a key is written.
fn name_of(variant: &Value) -> Option<String> {
    if let Some(value) = variant.get("const").and_then(Value::as_str) {
        return Some(value.to_owned());
    }
    if let Some([only]) = variant.get("enum").and_then(Value::as_array).map(Vec::as_slice) {
        return only.as_str().map(str::to_owned);
    }
    match child_names(variant).as_slice() {
        [key] => Some(format!("{{{key}: N}}")),
        _ => None,
    }
}

fn line(text: &mut String, content: &str) {
    text.push_str(content);
    text.push('\n');
}

/// Writes words, breaking lines at [`WIDTH`].
fn wrap(text: &mut String, first: &str, more: &str, words: &str) {
    let mut current = first.to_owned();
    let mut is_fresh = true;
    for word in words.split_whitespace() {
        if !is_fresh && current.chars().count() + 1 + word.chars().count() > WIDTH {
            line(text, &current);
            current = more.to_owned();
            is_fresh = true;
        }
        if !is_fresh {
            current.push(' ');
        }
        current.push_str(word);
        is_fresh = false;
    }
    line(text, &current);
}

/// A value on one line, as YAML. Texts are quoted where YAML would take them for something else.
pub(crate) fn flow(value: &Value) -> String {
    match value {
        Value::String(text) if is_plain(text) => text.clone(),
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(flow).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(map) => {
            let mut text = String::from("{");
            for (i, (key, value)) in map.iter().enumerate() {
                let comma = if i > 0 { ", " } else { "" };
                // Writing into a text cannot fail.
                let _ = write!(text, "{comma}{}: {}", flow(&Value::String(key.clone())), flow(value));
            }
            text.push('}');
            text
        }
        // YAML 1.1 takes 1e-8 without a point for a text.
        Value::Number(number) if number.is_f64() => {
            let number = number.to_string();
            match number.split_once('e') {
                Some((mantissa, exponent)) if !mantissa.contains('.') => format!("{mantissa}.0e{exponent}"),
                _ => number,
            }
        }
        // Whatever else JSON writes on one line YAML reads as the same value.
        other => other.to_string(),
    }
}

/// Whether YAML reads a text without quotes as this very text, everywhere.
fn is_plain(text: &str) -> bool {
    let safe = |c: char| c.is_ascii_alphanumeric() || "_./-".contains(c);
    let begins_well = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/' || c == '.');
    begins_well
        && text.chars().all(safe)
        && Node::parse(text, &|_, _| crate::error::Origin::Program).is_ok_and(|node| node.to_value() == *text)
        && !matches!(text.to_lowercase().as_str(), "y" | "n" | "yes" | "no" | "on" | "off" | "true" | "false" | "null")
}
