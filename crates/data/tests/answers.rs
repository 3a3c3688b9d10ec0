//! Documents, preference data and KTO data, record by record.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "these are tests")]

use std::path::Path;
use std::sync::Arc;

use attune_data::{
    DataError, Form, FormVote, FormatChoice, Pair, Record, Row, RowContent, RowOrigin, RowProblem, classify,
};
use attune_text::Message;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

fn record(row: usize, object: Value) -> Record {
    let file: Arc<Path> = Path::new("rows.jsonl").into();
    let Value::Object(object) = object else { panic!("no object") };
    Record { origin: RowOrigin { file, row, line: row }, object }
}

fn form_of(object: Value) -> Result<Form, DataError> {
    let mut vote = FormVote::new(Path::new("rows.jsonl").into(), FormatChoice::Auto);
    vote.observe(&record(1, object));
    vote.settle()
}

/// Reads a row as the form that it is found to have.
#[track_caller]
fn read(form: Form, object: Value) -> Row {
    assert_eq!(form_of(object.clone()).unwrap(), form, "{object}");
    classify(&record(1, object.clone()), form).unwrap_or_else(|problem| panic!("{object}: {problem}"))
}

fn problem(form: Form, object: Value) -> String {
    classify(&record(1, object), form).expect_err("a problem").to_string()
}

fn said(messages: &[Message]) -> Vec<(String, String)> {
    messages.iter().map(|message| (message.role.clone(), message.content.as_str().unwrap().to_owned())).collect()
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(role, text)| ((*role).to_owned(), (*text).to_owned())).collect()
}

/// Role and text of each message.
type Said = Vec<(String, String)>;

fn chat_pair(row: &Row) -> (Said, Said, Said) {
    match &row.content {
        RowContent::Preference(Pair::Chat { prompt, chosen, rejected }) => {
            (said(&prompt.messages), said(chosen), said(rejected))
        }
        other => panic!("no pair of chats: {other:?}"),
    }
}

#[test]
fn a_text_alone_is_a_document_and_a_note_beside_other_keys() {
    let row = read(Form::Text, json!({ "text": "All of it.", "source": "book" }));
    assert_eq!(row.content, RowContent::Completion { prompt: String::new(), completion: "All of it.".into() });
    let row = read(Form::Alpaca, json!({ "instruction": "Add.", "output": "3", "text": "a note" }));
    assert_eq!(row.form, Form::Alpaca);
    assert_eq!(problem(Form::Text, json!({ "text": " " })), "`text` is empty");
}

#[test]
fn strings_stay_strings() {
    for prompt in ["prompt", "question", "instruction"] {
        let row = read(Form::Preference, json!({ prompt: "p", "chosen": "good", "rejected": "bad" }));
        let pair = Pair::Text { prompt: "p".into(), chosen: "good".into(), rejected: "bad".into() };
        assert_eq!(row.content, RowContent::Preference(pair));
    }
    let row = read(
        Form::Preference,
        json!({ "instruction": "Add.", "input": "1 2", "chosen_response": "3", "rejected_response": "4" }),
    );
    let RowContent::Preference(pair) = &row.content else { panic!("{row:?}") };
    assert_eq!(pair.rejected(), RowContent::Completion { prompt: "Add.\n1 2".into(), completion: "4".into() });
}

#[test]
fn a_system_prompt_makes_a_chat_of_it() {
    let row = read(
        Form::Preference,
        json!({ "system": "Be brief.", "question": "Why?", "chosen": "So.", "rejected": "Well, as I said ..." }),
    );
    let (prompt, chosen, rejected) = chat_pair(&row);
    assert_eq!(prompt, pairs(&[("system", "Be brief."), ("user", "Why?")]));
    assert_eq!((chosen, rejected), (pairs(&[("assistant", "So.")]), pairs(&[("assistant", "Well, as I said ...")])));
}

#[test]
fn prompts_may_be_conversations_with_either_kind_of_message() {
    let row = read(
        Form::Preference,
        json!({
            "conversations": [{ "from": "human", "value": "Hi" }],
            "chosen": { "from": "gpt", "value": "Hello!" }, "rejected": { "from": "gpt", "value": "What?" },
        }),
    );
    assert_eq!(chat_pair(&row).0, pairs(&[("user", "Hi")]));
    assert_eq!(chat_pair(&row).2, pairs(&[("assistant", "What?")]));
    let row = read(
        Form::Preference,
        json!({
            "prompt": [{ "role": "user", "content": "Hi" }],
            "chosen": [{ "role": "assistant", "content": "Hello!" }], "rejected": "What?",
        }),
    );
    assert_eq!(chat_pair(&row).1, pairs(&[("assistant", "Hello!")]));
    assert_eq!(chat_pair(&row).2, pairs(&[("assistant", "What?")]));
}

#[test]
fn whole_conversations_have_their_beginning_as_prompt() {
    let conversation =
        |answer: &str| json!([{ "role": "user", "content": "Hi" }, { "role": "assistant", "content": answer }]);
    for with_prompt in [false, true] {
        let mut row = json!({ "chosen": conversation("Hello!"), "rejected": conversation("What?") });
        if with_prompt {
            row["prompt"] = json!("Hi");
        }
        let row = read(Form::Preference, row);
        assert_eq!(chat_pair(&row).0, pairs(&[("user", "Hi")]));
        assert_eq!(chat_pair(&row).1, pairs(&[("assistant", "Hello!")]));
    }
    let other = json!({ "prompt": "Bye", "chosen": conversation("a"), "rejected": conversation("b") });
    assert_eq!(problem(Form::Preference, other), "`prompt`: the conversations in `chosen` ask something else");
    let same = json!({ "chosen": conversation("a"), "rejected": conversation("a") });
    assert_eq!(chat_pair(&read(Form::Preference, same)).1, pairs(&[("assistant", "a")]));
}

#[test]
fn transcripts_are_parted_into_turns() {
    let row = read(
        Form::Preference,
        json!({
            "chosen": "\n\nHuman: One?\n\nAssistant: Yes.\n\nHuman: Two?\n\nAssistant: Yes,\n\nboth.",
            "rejected": "\n\nHuman: One?\n\nAssistant: Yes.\n\nHuman: Two?\n\nAssistant: No.",
        }),
    );
    let (prompt, chosen, rejected) = chat_pair(&row);
    assert_eq!(prompt, pairs(&[("user", "One?"), ("assistant", "Yes."), ("user", "Two?")]));
    assert_eq!((chosen, rejected), (pairs(&[("assistant", "Yes,\n\nboth.")]), pairs(&[("assistant", "No.")])));
    let RowContent::Preference(pair) = &row.content else { unreachable!() };
    let RowContent::Chat(chat) = pair.chosen() else { panic!("no chat") };
    assert_eq!(chat.messages[1].train, Some(false), "earlier answers are not trained");
    assert_eq!(chat.messages[3].train, None);
    let parted = json!({ "chosen": "\n\nHuman: One?\n\nAssistant: a", "rejected": "\n\nHuman: Two?\n\nAssistant: a" });
    assert!(problem(Form::Preference, parted).contains("from their first message on"));
    let at_user = json!({
        "chosen": "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: d",
        "rejected": "\n\nHuman: a\n\nAssistant: b\n\nHuman: e\n\nAssistant: f",
    });
    assert!(problem(Form::Preference, at_user).contains("part at message 3 (user)"));
    let prose = json!({ "chosen": "just text", "rejected": "other text" });
    assert!(problem(Form::Preference, prose).contains("no transcript"));
}

#[test]
fn judged_examples_have_a_form_of_their_own() {
    let text = json!({ "prompt": "a", "completion": "b" });
    for (key, value, desirable) in [
        ("label", json!(true), true),
        ("label", json!(false), false),
        ("label", json!("desirable"), true),
        ("kto_tag", json!(0), false),
        ("desirable", json!(true), true),
        ("undesirable", json!(true), false),
    ] {
        let mut row = text.clone();
        row[key] = value;
        let expected = RowContent::Completion { prompt: "a".into(), completion: "b".into() };
        let row = read(Form::Kto, row);
        assert_eq!(row.content, RowContent::Judged { example: Box::new(expected), desirable }, "{key}");
    }
    for (key, desirable) in [("desirable", true), ("undesirable", false)] {
        let row = read(Form::Kto, json!({ "prompt": "a", key: "b" }));
        let RowContent::Judged { example, desirable: found } = &row.content else { panic!("{row:?}") };
        assert_eq!(*found, desirable);
        assert_eq!(**example, RowContent::Completion { prompt: "a".into(), completion: "b".into() });
    }
    let chat = json!({ "messages": [{ "role": "user", "content": "a" }, { "role": "assistant", "content": "b" }], "label": true });
    assert!(matches!(read(Form::Kto, chat).content, RowContent::Judged { desirable: true, .. }));
    let both = json!({ "prompt": "a", "completion": "b", "label": true, "kto_tag": false });
    assert_eq!(problem(Form::Kto, both), "`label`: `kto_tag` says the opposite");
    assert_eq!(problem(Form::Kto, text), "`label` is missing");
    // A class, not a verdict.
    assert_eq!(form_of(json!({ "prompt": "a", "completion": "b", "label": 3 })).unwrap(), Form::PromptCompletion);
}

#[test]
fn the_hash_tells_verdicts_and_answers_apart() {
    let hash = |form: Form, object: Value| read(form, object).hash;
    let judged = |label: bool| hash(Form::Kto, json!({ "prompt": "a", "completion": "b", "label": label }));
    assert_ne!(judged(true), judged(false));
    let pair = |chosen: &str, rejected: &str| {
        hash(Form::Preference, json!({ "prompt": "a", "chosen": chosen, "rejected": rejected }))
    };
    assert_ne!(pair("x", "y"), pair("y", "x"));
    let renamed = hash(Form::Preference, json!({ "id": 1, "rejected": "y", "question": "a", "chosen": "x" }));
    assert_eq!(renamed, pair("x", "y"), "notes, order and names do not count");
}

#[test]
fn a_vote_goes_by_the_rows_that_fit_something() {
    let vote = |rows: &[Value]| {
        let mut vote = FormVote::new(Path::new("rows.jsonl").into(), FormatChoice::Auto);
        for (index, row) in rows.iter().enumerate() {
            vote.observe(&record(index + 1, row.clone()));
        }
        vote.settle()
    };
    let completion = json!({ "prompt": "a", "completion": "b" });
    assert_eq!(vote(&[json!({ "id": 1 }), completion.clone()]).unwrap(), Form::PromptCompletion);
    let mixed = vote(&[completion.clone(), json!({ "text": "a" }), completion]);
    let Err(DataError::Mixed { counts, .. }) = mixed else { panic!("{mixed:?}") };
    assert_eq!(
        counts.iter().map(|count| (count.form, count.rows)).collect::<Vec<_>>(),
        [(Form::PromptCompletion, 2), (Form::Text, 1)]
    );
    assert!(matches!(vote(&[json!({ "id": 1 })]), Err(DataError::Misfits { total: 1, rows: 1, .. })));
    assert!(matches!(vote(&[]), Err(DataError::Empty { .. })));
    let misfit = classify(&record(4, json!({ "prompt": "a" })), Form::PromptCompletion);
    assert!(matches!(misfit, Err(RowProblem::MissingKey { .. })), "{misfit:?}");
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(|number| json!(number)),
        prop_oneof![".{0,8}", Just("\n\nHuman: a\n\nAssistant: b".to_owned()), Just("desirable".to_owned())]
            .prop_map(Value::String),
    ];
    let key = || {
        prop_oneof![
            ".{0,4}",
            Just("role".to_owned()),
            Just("content".to_owned()),
            Just("from".to_owned()),
            Just("value".to_owned())
        ]
    };
    leaf.prop_recursive(3, 24, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::vec((key(), inner), 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_row_makes_the_reader_panic(members in prop::collection::vec((prop::sample::select(vec![
        "prompt", "completion", "chosen", "rejected", "label", "kto_tag", "messages", "conversations", "desirable",
        "undesirable", "text", "question", "answer", "instruction", "output", "system", "tools",
    ]), values()), 0..6)) {
        let object: Map<String, Value> = members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        let record = record(1, Value::Object(object));
        for form in Form::ALL {
            let _ = classify(&record, form);
        }
        let mut vote = FormVote::new(Path::new("rows.jsonl").into(), FormatChoice::Auto);
        vote.observe(&record);
        let _ = vote.settle();
    }
}
