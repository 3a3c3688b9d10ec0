//! For all inputs: nothing panics, and what is written is read.

mod common;

use attune_data::{Form, FormatChoice, RowContent};
use attune_text::{Conversation, Message};
use common::read_as;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// Text with something in it.
fn text() -> impl Strategy<Value = String> {
    any::<String>().prop_filter("blank text is refused", |text| !text.trim().is_empty())
}

/// Turns, alternating from the user on.
fn turns() -> impl Strategy<Value = Vec<String>> {
    vec((text(), text()), 1..4).prop_map(|pairs| pairs.into_iter().flat_map(|(a, b)| [a, b]).collect())
}

fn wanted(system: Option<&String>, turns: &[String]) -> Conversation {
    let mut messages: Vec<Message> = system.map(|text| Message::new("system", text.clone())).into_iter().collect();
    messages.extend(
        turns.iter().enumerate().map(|(index, text)| Message::new(["user", "assistant"][index % 2], text.clone())),
    );
    Conversation { messages, tools: None }
}

/// The forms that hold one chat.
const CHAT_FORMS: [Form; 4] = [Form::Messages, Form::PromptCompletion, Form::Alpaca, Form::Sharegpt];

/// The chat as a row of `form`.
fn written(form: Form, system: Option<&String>, turns: &[String]) -> Value {
    let listed = |role: &str, content: &str, names: [&str; 3]| -> Vec<Value> {
        let message = |name: &str, text: &String| json!({role: name, content: text});
        let system = system.map(|text| message(names[0], text));
        system
            .into_iter()
            .chain(turns.iter().enumerate().map(|(index, text)| message(names[1 + index % 2], text)))
            .collect()
    };
    match form {
        Form::Messages => json!({"messages": listed("role", "content", ["system", "user", "assistant"])}),
        Form::Sharegpt => json!({"conversations": listed("from", "value", ["system", "human", "gpt"])}),
        Form::PromptCompletion => {
            let mut all = listed("role", "content", ["system", "user", "assistant"]);
            let last = all.pop();
            json!({"prompt": all, "completion": [last]})
        }
        Form::Alpaca => {
            let (history, last) = turns.split_at(turns.len() - 2);
            let history: Vec<&[String]> = history.chunks(2).collect();
            let mut row = json!({"instruction": last[0], "input": "", "output": last[1], "history": history});
            if let Some(system) = system {
                row["system"] = system.as_str().into();
            }
            row
        }
        Form::Text | Form::Preference | Form::Kto => unreachable!("they hold no single chat"),
    }
}

/// The same object with its keys turned around, at every level.
fn reversed(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(reversed).collect(),
        Value::Object(members) => Value::Object(
            members.iter().rev().map(|(key, value)| (key.clone(), reversed(value))).collect::<Map<_, _>>(),
        ),
        other => other.clone(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn chats_survive_every_form_and_file(
        system in proptest::option::of(text()),
        chats in vec(turns(), 1..4),
        form in prop::sample::select(&CHAT_FORMS[..]),
    ) {
        let rows: Vec<Value> = chats.iter().map(|turns| written(form, system.as_ref(), turns)).collect();
        let lines: Vec<String> = rows.iter().map(ToString::to_string).collect();
        let turned: Vec<Value> = rows.iter().map(reversed).collect();
        let files = [
            ("a.jsonl", lines.join("\n")),
            ("a.json", json!(rows).to_string()),
            ("b.json", serde_json::to_string_pretty(&json!({"data": turned, "version": 1})).expect("JSON")),
        ];
        let mut hashes = Vec::new();
        for (name, text) in files {
            let set = read_as(name, &text, FormatChoice::Auto).map_err(|error| TestCaseError::fail(error.to_string()))?;
            prop_assert_eq!(set.files[0].form, form);
            prop_assert_eq!(set.rows.len(), chats.len());
            for (row, turns) in set.rows.iter().zip(&chats) {
                let mut chat = wanted(system.as_ref(), turns);
                if form == Form::PromptCompletion {
                    let last = chat.messages.len() - 1;
                    for message in chat.messages[..last].iter_mut().filter(|message| message.role == "assistant") {
                        message.train = Some(false);
                    }
                }
                prop_assert_eq!(&row.content, &RowContent::Chat(chat));
            }
            hashes.push(set.rows.iter().map(|row| row.hash).collect::<Vec<_>>());
        }
        prop_assert_eq!(&hashes[0], &hashes[1]);
        prop_assert_eq!(&hashes[0], &hashes[2]);
    }

    #[test]
    fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..400)) {
        for name in ["a.jsonl", "a.json"] {
            if let Err(error) = read_as(name, &bytes, FormatChoice::Auto) {
                prop_assert!(!error.to_string().is_empty() && error.hint().is_some());
            }
        }
    }

    /// Bytes changed, lost or doubled in a good file: read or refused, but never a panic.
    #[test]
    fn damaged_files_never_panic(
        turns in turns(),
        form in prop::sample::select(&CHAT_FORMS[..]),
        damage in vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..3), 1..6),
        choice in prop::sample::select(&[FormatChoice::Auto, FormatChoice::Messages, FormatChoice::Alpaca, FormatChoice::Sharegpt, FormatChoice::PromptCompletion][..]),
    ) {
        let mut bytes = json!([written(form, None, &turns)]).to_string().into_bytes();
        for (at, byte, kind) in damage {
            let at = at.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 if bytes.len() > 1 => drop(bytes.remove(at)),
                _ => bytes.insert(at, bytes[at]),
            }
        }
        for name in ["a.jsonl", "a.json"] {
            if let Err(error) = read_as(name, &bytes, choice) {
                prop_assert!(!error.to_string().is_empty() && error.hint().is_some());
            }
        }
    }

    /// Good JSON of the wrong shape gets past the parser, into the forms.
    #[test]
    fn rows_of_any_shape_never_panic(
        members in vec((prop::sample::select(&KEYS[..]), any_value()), 0..6),
        choice in prop::sample::select(&[FormatChoice::Auto, FormatChoice::Messages, FormatChoice::Alpaca, FormatChoice::Sharegpt, FormatChoice::PromptCompletion][..]),
    ) {
        let row: Map<String, Value> = members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        let text = Value::Object(row).to_string();
        if let Err(error) = read_as("a.jsonl", &text, choice) {
            prop_assert!(!error.to_string().is_empty() && error.hint().is_some());
        }
    }
}

const KEYS: [&str; 22] = [
    "messages",
    "conversations",
    "prompt",
    "completion",
    "question",
    "answer",
    "instruction",
    "input",
    "output",
    "system",
    "history",
    "tools",
    "role",
    "content",
    "from",
    "value",
    "weight",
    "train",
    "tool_calls",
    "name",
    "arguments",
    "type",
];

/// JSON out of the words that the readers know.
fn any_value() -> impl Strategy<Value = Value> {
    let words = [
        "user",
        "assistant",
        "human",
        "gpt",
        "function_call",
        "text",
        "",
        "{}",
        "[]",
        r#"{"name": "f", "arguments": {}}"#,
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-1i64..3).prop_map(Value::from),
        prop::sample::select(words.to_vec()).prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 5, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(Value::from),
            vec((prop::sample::select(&KEYS[..]), inner), 0..5).prop_map(|members| Value::Object(
                members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
            )),
        ]
    })
}
