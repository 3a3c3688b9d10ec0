//! Finding the form of a file, and refusing what has none.

mod common;

use attune_data::{DataError, Form, FormatChoice, PreferenceKind};
use common::{Folder, misfit, read_as, read_lines, reason};

const MESSAGES: &str = r#"{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}"#;
const COMPLETION: &str = r#"{"prompt": "a", "completion": "b"}"#;
const ALPACA: &str = r#"{"instruction": "a", "output": "b"}"#;
const SHAREGPT: &str = r#"{"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}"#;

#[test]
fn every_form_is_found() {
    for (text, form) in [
        (MESSAGES, Form::Messages),
        (COMPLETION, Form::PromptCompletion),
        (ALPACA, Form::Alpaca),
        (SHAREGPT, Form::Sharegpt),
    ] {
        let set = read_lines(&[text, text]).expect("good rows");
        assert_eq!(set.files[0].form, form);
        assert!(set.rows.iter().all(|row| row.form == form));
        assert!(read_as("a.jsonl", text, form.into()).is_ok(), "{form} as itself");
        assert_eq!(serde_json::to_value(form).expect("JSON"), form.to_string());
    }
}

#[test]
fn the_last_row_counts_as_much_as_the_first() {
    let mut rows = vec![COMPLETION; 5000];
    rows.push(r#"{"prompt": "a", "completion": null}"#);
    let error = read_lines(&rows).expect_err("a bad last row");
    let DataError::Misfits { form: Some(Form::PromptCompletion), total: 1, rows: 5001, first, .. } = &error else {
        panic!("{error:?}");
    };
    assert_eq!((first[0].origin.row, first[0].origin.line), (5001, 5001));
    assert!(error.to_string().contains("train.jsonl:5001 (row 5001): `completion` is missing"), "{error}");

    rows[5000] = ALPACA;
    let error = read_lines(&rows).expect_err("another form in the last row");
    let DataError::Mixed { counts, .. } = &error else { panic!("{error:?}") };
    let counts: Vec<_> = counts.iter().map(|count| (count.form, count.rows, count.first.row)).collect();
    assert_eq!(counts, [(Form::PromptCompletion, 5000, 1), (Form::Alpaca, 1, 5001)]);
    let text = error.to_string();
    assert!(
        text.contains("5000 prompt-completion") && text.contains("1 alpaca") && text.contains(":5001 (row 5001)"),
        "{text}"
    );
    assert!(error.hint().expect("a hint").contains("data.format"));
}

#[test]
fn ten_misfits_are_listed_and_all_are_counted() {
    let bad = r#"{"instruction": "a", "output": 1}"#;
    let mut rows = vec![ALPACA, ""];
    rows.extend([bad; 25]);
    let error = read_lines(&rows).expect_err("bad rows");
    let DataError::Misfits { total: 25, rows: 26, first, .. } = &error else { panic!("{error:?}") };
    assert_eq!(first.len(), 10);
    // The blank line is a line, but no row.
    assert_eq!((first[0].origin.line, first[0].origin.row), (3, 2));
    let text = error.to_string();
    assert!(text.contains("25 of 26 rows cannot be read as alpaca"), "{text}");
    assert!(text.ends_with("... and 15 more"), "{text}");
}

#[test]
fn rows_of_no_form_say_what_is_nearest() {
    let unknown = |text: &str| reason(text);
    assert_eq!(unknown(r#"{"mesages": []}"#), "no form has the keys `mesages`; is `mesages` meant to be `messages`?");
    assert_eq!(unknown("{}"), "the row has no keys");
    assert!(unknown(r#"{"input": "a", "output": "b"}"#).ends_with("rename them to `prompt` and `completion`"));
    assert!(unknown(r#"{"prompt": "a", "response": "b"}"#).ends_with("rename `response` to `completion`"));
    assert!(unknown(r#"{"instruction": "a", "context": "", "response": "b"}"#).ends_with("(and `context` to `input`)"));
    assert_eq!(unknown("[1]"), "a row must be an object, this is a list");
    assert_eq!(unknown("null"), "a row must be an object, this is null");
    let (_, hint) = misfit(r#"{"foo": 1}"#);
    assert!(hint.contains("messages {") && hint.contains("sharegpt {"), "{hint}");
}

#[test]
fn a_row_of_two_forms_needs_a_choice() {
    let text = r#"{"question": "q", "answer": "a", "messages": [{"role": "user", "content": "x"}]}"#;
    let (misfit, hint) = misfit(text);
    assert_eq!(misfit.problem.to_string(), "the row has the keys of several forms: messages, prompt-completion");
    assert!(hint.contains("data.format"));
    assert_eq!(read_as("a.jsonl", text, FormatChoice::Messages).expect("a choice").files[0].form, Form::Messages);
}

#[test]
fn preference_data_is_refused_by_name() {
    let kind_of = |text: &str| match read_lines(&[text]) {
        Err(error @ DataError::Preference { kind, .. }) => {
            assert!(error.to_string().contains("later version"), "{error}");
            assert!(error.hint().is_some());
            kind
        }
        other => panic!("{text}: {other:?}"),
    };
    assert_eq!(kind_of(r#"{"prompt": "a", "chosen": "b", "rejected": "c"}"#), PreferenceKind::Pairs);
    assert_eq!(
        kind_of(r#"{"question": "a", "chosen_response": "b", "rejected_response": "c"}"#),
        PreferenceKind::Pairs
    );
    assert_eq!(
        kind_of(r#"{"prompt": "a", "completion": "b", "chosen": [], "rejected": []}"#),
        PreferenceKind::Pairs,
        "the keys of a pair count for more than those of an example"
    );
    assert_eq!(
        kind_of(r#"{"conversations": [{"from": "human", "value": "a"}], "kto_tag": true}"#),
        PreferenceKind::KtoTag
    );
    let labelled = r#"{"prompt": "a", "completion": "b", "label": false}"#;
    assert_eq!(kind_of(labelled), PreferenceKind::Label);

    // Only one row of many: it is still no answer to learn.
    let error = read_lines(&[COMPLETION, labelled, COMPLETION]).expect_err("a labelled row");
    assert!(matches!(&error, DataError::Preference { first, found: 1, rows: 3, .. } if first.row == 2), "{error:?}");

    // A label that is a note: by its type, or because the form was named.
    assert!(read_lines(&[r#"{"prompt": "a", "completion": "b", "label": "sports"}"#]).is_ok());
    assert!(read_as("a.jsonl", labelled, FormatChoice::PromptCompletion).is_ok());
    let pair = r#"{"messages": [{"role": "user", "content": "a"}], "chosen": "b", "rejected": "c"}"#;
    assert!(matches!(read_as("a.jsonl", pair, FormatChoice::Messages), Err(DataError::Preference { .. })));
}

#[test]
fn files_may_differ_in_form_and_keep_their_order() {
    let folder = Folder::new();
    let paths =
        [folder.write("b.jsonl", format!("{ALPACA}\n{ALPACA}\n")), folder.write("a.json", format!("[{SHAREGPT}]"))];
    let set = attune_data::read(&paths, FormatChoice::Auto).expect("two good files");
    assert_eq!(set.rows.len(), 3);
    let files: Vec<_> = set.files.iter().map(|file| (file.path.clone(), file.form, file.rows)).collect();
    assert_eq!(files, [(paths[0].clone(), Form::Alpaca, 2), (paths[1].clone(), Form::Sharegpt, 1)]);
    assert_eq!(&*set.rows[2].origin.file, paths[1].as_path());
    assert_eq!(set.summary().lines().count(), 2);
}

#[test]
fn equal_content_has_equal_hashes_whatever_the_form() {
    let hash = |text: &str| common::row(text).hash;
    assert_eq!(hash(MESSAGES), hash(ALPACA));
    assert_eq!(hash(MESSAGES), hash(SHAREGPT));
    assert_eq!(
        hash(MESSAGES),
        hash(r#" {"id":1,"messages":[{"content":"\u0061","role":"user"},{"content":"b","role":"assistant"}]} "#)
    );
    assert_ne!(hash(MESSAGES), hash(COMPLETION), "plain text may be trained raw");
    assert_ne!(hash(ALPACA), hash(r#"{"instruction": "a", "output": "b "}"#));
    assert_ne!(hash(ALPACA), hash(r#"{"instruction": "a", "output": "b", "system": "c"}"#));
    let flagged = MESSAGES.replace(r#""b""#, r#""b", "weight": 0"#);
    assert_ne!(hash(MESSAGES), hash(&flagged), "what is trained belongs to the meaning");
}
