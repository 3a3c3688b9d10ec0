//! The JSON Schema of `ft.yaml`, made from the types, and the questions that the rest of the crate asks it.

use std::sync::LazyLock;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::layers::preset_names;
use crate::sections::Config;

/// Keys without a usable default: their built-in value is empty and means 'not given'.
pub(crate) const REQUIRED_KEYS: [&str; 2] = ["model.path", "data.train"];

static SCHEMA: LazyLock<Value> = LazyLock::new(build);

/// The JSON Schema (draft 07, which editors know best) of one configuration file. It is strict: unknown keys fail.
///
/// No key is required, since a file may leave them to its parents, the environment or `--set`.
#[must_use]
pub fn json_schema() -> Value {
    SCHEMA.clone()
}

/// The same, borrowed.
pub(crate) fn schema() -> &'static Value {
    &SCHEMA
}

fn build() -> Value {
    let settings = SchemaSettings::draft07().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<Config>().to_value();
    tidy(&mut schema);
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        let mut with_extends = Map::new();
        with_extends.insert("extends".to_owned(), extends_schema());
        for (section, schema) in std::mem::take(properties) {
            with_extends.insert(section, schema);
        }
        *properties = with_extends;
    }
    for key in REQUIRED_KEYS {
        if let Some(schema) = find_mut(&mut schema, key) {
            schema.remove("default");
        }
    }
    // What the file is about comes first.
    let mut ordered = Map::new();
    if let Value::Object(mut map) = schema {
        for name in ["$schema", "title", "description"] {
            ordered.extend(map.shift_remove(name).map(|value| (name.to_owned(), value)));
        }
        ordered.extend(map);
    }
    Value::Object(ordered)
}

fn extends_schema() -> Value {
    let parent = json!({
        "anyOf": [
            { "type": "string", "enum": preset_names() },
            { "type": "string", "minLength": 1, "title": "a path" },
        ]
    });
    json!({
        "description": "Configurations that this one builds on: a path (relative to this file), a preset by name, or a \
                        list of them, of which later ones win over earlier ones. This file wins over all of them.",
        "default": [],
        "anyOf": [parent["anyOf"][0], parent["anyOf"][1], { "type": "array", "items": parent, "title": "a list of them" }],
    })
}

/// Takes out what repeats the types of the program rather than saying something about the file, and joins the lines of
/// doc comments.
fn tidy(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if map.get("format").is_some_and(|format| format.is_string() && format != "date") {
                map.remove("format");
            }
            if map.contains_key("properties") && map.get("default") != Some(&Value::Null) {
                // The default of a section only repeats the defaults of its keys.
                map.remove("default");
            }
            if let Some(Value::String(text)) = map.get_mut("description") {
                *text = text.split_whitespace().collect::<Vec<_>>().join(" ");
            }
            map.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        _ => {}
    }
}

fn find_mut<'a>(schema: &'a mut Value, key: &str) -> Option<&'a mut Map<String, Value>> {
    key.split('.').try_fold(schema, |schema, name| schema.get_mut("properties")?.get_mut(name))?.as_object_mut()
}

/// The alternatives of a schema: the members of `anyOf` or `oneOf`, or the schema itself.
pub(crate) fn variants(schema: &Value) -> Vec<&Value> {
    match schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Value::as_array) {
        Some(variants) => variants.iter().collect(),
        None => vec![schema],
    }
}

/// The keys of a map with named keys, also where the map may be null. None for anything else, `adapter.layers`
/// included: its forms exclude each other, so layers replace it as a whole.
pub(crate) fn named_keys(schema: &Value) -> Option<&Map<String, Value>> {
    let mut maps = variants(schema).into_iter().filter(|variant| !is_null(variant));
    let only = maps.next()?;
    if maps.next().is_some() { None } else { only.get("properties")?.as_object() }
}

fn is_null(schema: &Value) -> bool {
    schema.get("type").is_some_and(|kind| kind == "null")
}

/// The schema of what stands at `name` inside a value of `schema`, through alternatives.
pub(crate) fn child<'a>(schema: &'a Value, name: &str) -> Option<&'a Value> {
    variants(schema).into_iter().find_map(|variant| variant.get("properties")?.get(name))
}

/// The names that may stand inside a value of `schema`.
pub(crate) fn child_names(schema: &Value) -> Vec<&str> {
    variants(schema)
        .into_iter()
        .filter_map(|variant| variant.get("properties")?.as_object())
        .flat_map(|properties| properties.keys().map(String::as_str))
        .collect()
}

/// Whether a JSON type is among those that a schema without alternatives accepts.
pub(crate) fn accepts_type(schema: &Value, kind: &str) -> bool {
    match schema.get("type") {
        Some(Value::String(one)) => one == kind,
        Some(Value::Array(many)) => many.iter().any(|one| one == kind),
        _ => false,
    }
}

/// Whether any alternative accepts a JSON type.
pub(crate) fn any_accepts_type(schema: &Value, kind: &str) -> bool {
    variants(schema).into_iter().any(|variant| accepts_type(variant, kind))
}

/// Every key of the configuration in full, sections and nested keys included.
pub(crate) fn all_keys() -> Vec<String> {
    fn collect(schema: &Value, prefix: &str, keys: &mut Vec<String>) {
        for name in child_names(schema) {
            let key = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") };
            keys.push(key.clone());
            if let Some(schema) = child(schema, name) {
                collect(schema, &key, keys);
            }
        }
    }
    let mut keys = Vec::new();
    collect(schema(), "", &mut keys);
    keys
}

/// What a schema allows, in words: `a whole number, 1 to 8192`, or `one of constant, linear, cosine`.
pub(crate) fn allowed(schema: &Value) -> String {
    let mut choices: Vec<String> = Vec::new();
    let mut kinds: Vec<String> = Vec::new();
    for variant in variants(schema) {
        if let Some(values) = variant.get("enum").and_then(Value::as_array) {
            choices.extend(values.iter().map(plain));
        } else if let Some(value) = variant.get("const") {
            choices.push(plain(value));
        } else {
            kinds.extend(allowed_kinds(variant));
        }
    }
    let null = kinds.iter().position(|kind| kind == "null").map(|at| kinds.remove(at));
    let mut parts = Vec::new();
    match choices.as_slice() {
        [] => {}
        [only] => parts.push(only.clone()),
        several if kinds.is_empty() && null.is_none() => parts.push(format!("one of {}", several.join(", "))),
        several => parts.extend(several.iter().cloned()),
    }
    parts.extend(kinds);
    parts.extend(null);
    match parts.split_last() {
        None => "nothing".to_owned(),
        Some((only, [])) => only.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn allowed_kinds(schema: &Value) -> Vec<String> {
    let title = schema.get("title").and_then(Value::as_str);
    let kinds: Vec<&str> = match schema.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    kinds
        .into_iter()
        .map(|kind| match (kind, title) {
            ("null", _) => "null".to_owned(),
            (_, Some(title)) => title.to_owned(),
            ("integer", _) => format!("a whole number{}", range(schema)),
            ("number", _) => format!("a number{}", range(schema)),
            ("boolean", _) => "true or false".to_owned(),
            ("string", _) => "a text".to_owned(),
            ("array", _) => match schema.get("items") {
                Some(items) => match allowed(items).strip_prefix("one of ") {
                    Some(choices) => format!("a list out of {choices}"),
                    None if accepts_type(items, "string") => "a list of texts".to_owned(),
                    None => "a list".to_owned(),
                },
                None => "a list".to_owned(),
            },
            ("object", _) => match schema.get("additionalProperties").filter(|extra| extra.is_object()) {
                Some(values) => format!("a map from names to {}", allowed(values)),
                None => match child_names(schema).as_slice() {
                    names @ ([_] | [_, _]) => format!("{{{}: ...}}", names.join(": ..., ")),
                    names => format!("a map with the keys {}", names.join(", ")),
                },
            },
            (other, _) => other.to_owned(),
        })
        .collect()
}

/// The limits of a number in words, with a leading space or comma.
fn range(schema: &Value) -> String {
    let bound = |name: &str| schema.get(name).map(short_number);
    let low = bound("minimum").map(|low| (low, true)).or_else(|| bound("exclusiveMinimum").map(|low| (low, false)));
    let high =
        bound("maximum").map(|high| (high, true)).or_else(|| bound("exclusiveMaximum").map(|high| (high, false)));
    match (low, high) {
        (None, None) => String::new(),
        (Some((low, true)), None) => format!(" >= {low}"),
        (Some((low, false)), None) => format!(" > {low}"),
        (None, Some((high, true))) => format!(" <= {high}"),
        (None, Some((high, false))) => format!(" < {high}"),
        (Some((low, true)), Some((high, true))) => format!(" from {low} to {high}"),
        (Some((low, closed)), Some((high, true))) => {
            format!(" {} {low} and <= {high}", if closed { ">=" } else { ">" })
        }
        (Some((low, closed)), Some((high, false))) => {
            format!(" {} {low} and < {high}", if closed { ">=" } else { ">" })
        }
    }
}

/// `1` for `1.0`.
fn short_number(value: &Value) -> String {
    let text = value.to_string();
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}
