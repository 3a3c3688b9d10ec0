//! Data sets as people publish them.

mod common;

use attune_data::{DataError, DataSet, Form, FormatChoice, PreferenceKind, RowContent};
use common::{asset, chat};
use serde_json::json;

fn read(path: &str, choice: FormatChoice) -> Option<Result<DataSet, DataError>> {
    Some(attune_data::read(&[asset(path)?], choice))
}

#[track_caller]
fn check(path: &str, form: Form, rows: usize) -> Option<DataSet> {
    let set = read(path, FormatChoice::Auto)?.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((set.files[0].form, set.files[0].rows, set.rows.len()), (form, rows, rows));
    let file = asset(path)?;
    let bytes = std::fs::read(file).expect("the file");
    assert_eq!(set.files[0].hash, blake3::hash(&bytes).to_hex().to_string());
    assert_eq!(set.files[0].bytes, bytes.len() as u64);
    // The line of every row is one on which an object starts.
    let lines: Vec<&[u8]> = bytes.split(|&byte| byte == b'\n').collect();
    for (index, row) in set.rows.iter().enumerate() {
        assert_eq!(row.origin.row, index + 1);
        assert!(lines[row.origin.line - 1].contains(&b'{'), "{}", row.origin);
    }
    Some(set)
}

#[test]
fn gsm8k() {
    let Some(set) = check("datasets/gsm8k/train.jsonl", Form::PromptCompletion, 7473) else { return };
    let RowContent::Completion { prompt, completion } = &set.rows[0].content else { panic!("no text") };
    assert!(prompt.starts_with("Natalia sold clips"), "{prompt}");
    assert!(completion.ends_with("#### 72"), "{completion}");
    assert_eq!(set.rows[7472].origin.line, 7473);
    check("datasets/gsm8k/test.jsonl", Form::PromptCompletion, 1319);
}

#[test]
fn lima_has_history() {
    let Some(set) = check("datasets/lima/lima.json", Form::Alpaca, 1029) else { return };
    let lengths: Vec<usize> = set.rows.iter().map(|row| chat(row)["messages"].as_array().map_or(0, Vec::len)).collect();
    assert!(lengths.iter().all(|length| length % 2 == 0 && *length >= 2));
    assert!(lengths.iter().any(|&length| length > 2), "no row with history");
}

#[test]
fn alpaca_demo() {
    check("datasets/llama-factory/alpaca_en_demo.json", Form::Alpaca, 999);
}

#[test]
fn tool_calls_of_glaive() {
    let Some(set) = check("datasets/llama-factory/glaive_toolcall_en_demo.json", Form::Sharegpt, 300) else { return };
    let chats: Vec<_> = set.rows.iter().map(chat).collect();
    let count = |role: &str, key: &str| {
        let messages = chats.iter().flat_map(|chat| chat["messages"].as_array().expect("messages"));
        messages.filter(|message| message["role"] == role && message.get(key).is_some()).count()
    };
    assert_eq!((count("assistant", "tool_calls"), count("tool", "content"), count("user", "content")), (211, 211, 746));
    assert_eq!(
        chats[0]["messages"].as_array().expect("messages").iter().find(|message| message.get("tool_calls").is_some()),
        Some(&json!({"role": "assistant", "content": null, "tool_calls": [{"type": "function", "function":
            {"name": "search_recipes", "arguments": {"ingredients": ["chicken", "bell peppers", "rice"]}}}]}))
    );
    assert_eq!(chats[0]["tools"][0]["function"]["name"], "search_recipes");
}

#[test]
fn sharegpt() {
    check("datasets/sharegpt/dummy_conversation.json", Form::Sharegpt, 500);
    check("datasets/sharegpt/sharegpt_grabbag_small.jsonl", Form::Sharegpt, 525);
}

/// Two rows of this set have no answer. To train on them is to learn silence.
#[test]
fn code_alpaca_has_rows_without_an_answer() {
    let Some(read) = read("datasets/code_alpaca/code_alpaca_2k.json", FormatChoice::Auto) else { return };
    let error = read.expect_err("two rows are empty");
    let DataError::Misfits { form: Some(Form::Alpaca), total: 2, rows: 2017, first, .. } = &error else {
        panic!("{error}");
    };
    let listed: Vec<_> = first.iter().map(|misfit| (misfit.origin.row, misfit.problem.to_string())).collect();
    assert_eq!(listed, [(238, "`output` is empty".to_owned()), (1860, "`output` is empty".to_owned())]);

    // Without them it reads.
    let Some(file) = asset("datasets/code_alpaca/code_alpaca_2k.json") else { return };
    let mut rows: Vec<serde_json::Value> =
        serde_json::from_slice(&std::fs::read(file).expect("the file")).expect("a list");
    rows.retain(|row| row["output"] != "");
    let text = serde_json::to_string_pretty(&rows).expect("JSON");
    let set = common::read_as("mended.json", text, FormatChoice::Auto).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(set.rows.len(), 2015);
}

#[test]
fn preference_data_is_not_taken_for_examples() {
    for (path, wanted) in [
        ("datasets/llama-factory/dpo_en_demo.json", PreferenceKind::Pairs),
        ("datasets/llama-factory/kto_en_demo.json", PreferenceKind::Label),
    ] {
        let Some(read) = read(path, FormatChoice::Auto) else { return };
        let error = read.expect_err("preference data");
        let DataError::Preference { kind, found: 300, rows: 300, first } = &error else { panic!("{error}") };
        assert_eq!((*kind, first.row), (wanted, 1));
        assert!(error.to_string().contains("later version"), "{error}");
    }
}

#[test]
fn other_files_of_the_folders_are_refused() {
    if let Some(read) = read("datasets/llama-factory/dataset_info.json", FormatChoice::Auto) {
        assert!(matches!(read, Err(DataError::Shape { .. })), "{read:?}");
    }
    if let Some(read) = read("datasets/hh-rlhf/harmless-base-test.jsonl.gz", FormatChoice::Auto) {
        let error = read.expect_err("preference data");
        assert!(
            matches!(error, DataError::Preference { kind: PreferenceKind::Pairs, found: 2312, rows: 2312, .. }),
            "{error}"
        );
    }
    if let Some(read) = read("datasets/gsm8k", FormatChoice::Auto) {
        let error = read.expect_err("a folder");
        assert!(error.hint().is_some_and(|hint| hint.contains("test.jsonl, train.jsonl")), "{error:?}");
    }
}
