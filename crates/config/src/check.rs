//! Holds a tree of values against the schema and names everything that does not fit, with the place it came from.
//!
//! It knows what the schema of `ft.yaml` uses: types, choices, limits of numbers and sizes, maps, lists, alternatives.
//! Patterns are for editors; what they stand for is checked in `rules`.

use serde_json::Value;

use crate::error::Problem;
use crate::nearest::{misspelt, nearest_key};
use crate::node::{Content, Entry, Node};
use crate::schema::{self, accepts_type, allowed, any_accepts_type, child_names, variants};
use crate::values::Date;

/// Every problem of the tree; `key` is the name of its root, empty for the whole configuration.
pub(crate) fn check(node: &Node, schema: &Value, key: &str) -> Vec<Problem> {
    let mut problems = Vec::new();
    check_into(node, schema, key, &mut problems);
    problems
}

fn check_into(node: &Node, schema: &Value, key: &str, problems: &mut Vec<Problem>) {
    let fitting: Vec<&Value> = variants(schema).into_iter().filter(|variant| type_fits(node, variant)).collect();
    match fitting.as_slice() {
        [] => problems.push(invalid(node, schema, key)),
        [variant] => check_variant(node, variant, schema, key, problems),
        several => {
            let fits = |variant: &&&Value| {
                let mut found = Vec::new();
                check_variant(node, variant, schema, key, &mut found);
                found.is_empty()
            };
            if !several.iter().any(|variant| fits(&variant)) {
                problems.push(invalid_among(node, several, schema, key));
            }
        }
    }
}

/// A map of one key, as in `layers: {first: 0}`, is judged by the alternative that has the key.
fn invalid_among(node: &Node, several: &[&Value], schema: &Value, key: &str) -> Problem {
    if let Content::Map(entries) = &node.content
        && let [entry] = entries.as_slice()
        && let Some(variant) = several.iter().find(|variant| schema::child(variant, &entry.key).is_some())
    {
        let mut found = Vec::new();
        check_variant(node, variant, schema, key, &mut found);
        if let Some(problem) = found.into_iter().next() {
            return problem;
        }
    }
    invalid(node, schema, key)
}

fn type_fits(node: &Node, schema: &Value) -> bool {
    match &node.content {
        Content::Null => accepts_type(schema, "null"),
        Content::Bool(_) => accepts_type(schema, "boolean"),
        Content::Number(number) => {
            accepts_type(schema, "number") || accepts_type(schema, "integer") && (number.is_i64() || number.is_u64())
        }
        Content::Text(_) => accepts_type(schema, "string"),
        Content::List(_) => accepts_type(schema, "array"),
        Content::Map(_) => accepts_type(schema, "object"),
    }
}

/// Checks a value whose type fits `variant`, one of the alternatives of `schema`.
fn check_variant(node: &Node, variant: &Value, schema: &Value, key: &str, problems: &mut Vec<Problem>) {
    if !is_choice(node, variant) || !is_in_range(node, variant) || !is_long_enough(node, variant) {
        problems.push(invalid(node, schema, key));
        return;
    }
    match &node.content {
        Content::List(items) => {
            for (i, item) in items.iter().enumerate() {
                if let Some(schema) = variant.get("items") {
                    check_into(item, schema, &format!("{key}[{i}]"), problems);
                }
                if variant.get("uniqueItems") == Some(&Value::Bool(true))
                    && items[..i].iter().any(|earlier| earlier.to_value() == item.to_value())
                {
                    let mut problem = invalid(item, schema, &format!("{key}[{i}]"));
                    if let Problem::InvalidValue { allowed, .. } = &mut problem {
                        *allowed = "each item once".to_owned();
                    }
                    problems.push(problem);
                }
            }
        }
        Content::Map(entries) => check_map(node, entries, variant, key, problems),
        _ => {}
    }
}

fn check_map(node: &Node, entries: &[Entry], variant: &Value, key: &str, problems: &mut Vec<Problem>) {
    let free = variant.get("additionalProperties").filter(|extra| extra.is_object());
    for entry in entries {
        match (variant.get("properties").and_then(|properties| properties.get(&entry.key)), free) {
            (Some(schema), _) => check_into(&entry.value, schema, &join(key, &entry.key), problems),
            (None, Some(schema)) => check_into(&entry.value, schema, &format!("{key}[{:?}]", entry.key), problems),
            (None, None) => problems.push(unknown_key(key, variant, entry)),
        }
    }
    for name in variant.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
        if !entries.iter().any(|entry| entry.key == name) {
            let full = join(key, name);
            let expected = schema::child(variant, name).map(allowed).unwrap_or_default();
            problems.push(Problem::Missing {
                advice: format!("give `{full}`: {expected}"),
                key: full,
                origin: Some(node.origin.clone()),
            });
        }
    }
}

pub(crate) fn join(section: &str, name: &str) -> String {
    if section.is_empty() { name.to_owned() } else { format!("{section}.{name}") }
}

fn unknown_key(section: &str, schema: &Value, entry: &Entry) -> Problem {
    let siblings = child_names(schema);
    Problem::UnknownKey {
        key: join(section, &entry.key),
        origin: entry.key_origin.clone(),
        nearest: nearest_key(section, &siblings, &entry.key),
        known: siblings.into_iter().map(str::to_owned).collect(),
    }
}

fn is_choice(node: &Node, schema: &Value) -> bool {
    let value = node.to_value();
    let date = schema.get("format").is_none_or(|format| format != "date")
        || value.as_str().is_some_and(|text| text.parse::<Date>().is_ok());
    date && schema.get("const").is_none_or(|only| *only == value)
        && schema.get("enum").and_then(Value::as_array).is_none_or(|choices| choices.contains(&value))
}

fn is_in_range(node: &Node, schema: &Value) -> bool {
    let Content::Number(number) = &node.content else { return true };
    // All limits are small enough to be exact as f64; a value of 2^53 or more compares rightly with them all the same.
    let Some(number) = number.as_f64() else { return false };
    let holds = |name: &str, compare: fn(&f64, &f64) -> bool| {
        schema.get(name).and_then(Value::as_f64).is_none_or(|limit| compare(&number, &limit))
    };
    holds("minimum", f64::ge)
        && holds("maximum", f64::le)
        && holds("exclusiveMinimum", f64::gt)
        && holds("exclusiveMaximum", f64::lt)
}

fn is_long_enough(node: &Node, schema: &Value) -> bool {
    let at_least = |name: &str, length: usize| {
        schema
            .get(name)
            .and_then(Value::as_u64)
            .is_none_or(|least| u64::try_from(length).is_ok_and(|length| length >= least))
    };
    match &node.content {
        Content::Text(text) => at_least("minLength", text.len()),
        Content::List(items) => at_least("minItems", items.len()),
        _ => true,
    }
}

/// The problem of a value that `schema` does not allow.
pub(crate) fn invalid(node: &Node, schema: &Value, key: &str) -> Problem {
    Problem::InvalidValue {
        key: key.to_owned(),
        got: node.show(),
        allowed: allowed(schema),
        origin: node.origin.clone(),
        advice: advice(node, schema, key),
    }
}

/// Whether a text may stand here that is not one of given choices.
fn takes_free_text(schema: &Value) -> bool {
    let is_free = |variant: &&Value| variant.get("enum").is_none() && variant.get("const").is_none();
    variants(schema).into_iter().filter(is_free).any(|variant| accepts_type(variant, "string"))
}

/// What the user probably meant.
fn advice(node: &Node, schema: &Value, key: &str) -> Option<String> {
    let takes = |kind: &str| any_accepts_type(schema, kind);
    let takes_number = takes("number") || takes("integer");
    match &node.content {
        Content::Null => Some(format!("leave `{key}` out to take its default")),
        Content::Text(text) if takes_number && text.trim().parse::<f64>().is_ok_and(f64::is_finite) => {
            Some(format!("write the number without quotes: {}", text.trim()))
        }
        Content::Text(text) if takes("boolean") => match text.to_lowercase().as_str() {
            "yes" | "on" | "y" | "true" => Some(format!("write `{key}` as true, without quotes")),
            "no" | "off" | "n" | "false" => Some(format!("write `{key}` as false, without quotes")),
            _ => None,
        },
        Content::Text(text)
            if takes("null") && matches!(text.to_lowercase().as_str(), "off" | "none" | "no" | "null") =>
        {
            Some("write null, without quotes".to_owned())
        }
        Content::Text(text) => {
            let choices: Vec<&str> = variants(schema)
                .into_iter()
                .flat_map(|variant| {
                    let many = variant.get("enum").and_then(Value::as_array).into_iter().flatten();
                    many.chain(variant.get("const")).filter_map(Value::as_str)
                })
                .collect();
            match misspelt(text, choices) {
                Some(choice) => Some(format!("did you mean `{choice}`?")),
                None if takes("array") && !text.is_empty() => Some(format!("write it as a list: [{text}]")),
                None => None,
            }
        }
        Content::Number(number) if takes("integer") => {
            let whole = number.as_f64().filter(|value| value.fract() == 0.0 && (0.0..1e15).contains(value))?;
            number.is_f64().then(|| format!("write the number without a point or exponent: {whole}"))
        }
        Content::Number(_) | Content::Bool(_) if takes_free_text(schema) && !takes_number => {
            Some(format!("put the text in quotes: \"{}\"", node.show()))
        }
        Content::Bool(false) if takes("null") => Some("write null to switch it off".to_owned()),
        _ => None,
    }
}
