//! What becomes of the rows of each form.

mod common;

use attune_data::{Form, FormatChoice, RowContent};
use common::{chat, misfit_as, reason, row};
use serde_json::json;

fn completion(text: &str) -> (String, String) {
    match row(text).content {
        RowContent::Completion { prompt, completion } => (prompt, completion),
        other => panic!("no text: {other:?}"),
    }
}

#[test]
fn messages_keep_what_templates_read() {
    let read = row(
        r#"{"id": 7, "messages": [
            {"role": "system", "content": ""},
            {"role": "user", "content": [{"type": "text", "text": "hi"}], "name": "ann"},
            {"tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{\"x\": 1}"}}], "role": "assistant", "content": null},
            {"role": "tool", "content": "", "tool_call_id": "1"},
            {"role": "assistant", "reasoning_content": "so", "content": "done", "tool_calls": null, "name": null}
        ], "tools": [{"type": "function", "function": {"name": "f"}}]}"#
            .replace('\n', " ")
            .as_str(),
    );
    assert_eq!(read.form, Form::Messages);
    assert_eq!(
        chat(&read),
        json!({"messages": [
            {"role": "system", "content": ""},
            {"role": "user", "content": [{"type": "text", "text": "hi"}], "name": "ann"},
            {"role": "assistant", "content": null, "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{\"x\": 1}"}}]},
            {"role": "tool", "content": "", "tool_call_id": "1"},
            {"role": "assistant", "content": "done", "reasoning_content": "so"},
        ], "tools": [{"type": "function", "function": {"name": "f"}}]})
    );
}

#[test]
fn keys_keep_the_order_of_the_file() {
    let read = row(r#"{"messages": [{"role": "assistant", "content": "x", "zeta": 1, "alpha": {"b": 1, "a": 2}}]}"#);
    let RowContent::Chat(chat) = read.content else { panic!("no chat") };
    assert_eq!(serde_json::to_string(&chat.messages[0].fields).expect("JSON"), r#"{"zeta":1,"alpha":{"b":1,"a":2}}"#);
}

#[test]
fn weight_and_train_choose_messages_and_leave_the_fields() {
    let flag = |flags: &str| {
        let read = row(&format!(r#"{{"messages": [{{"role": "assistant", "content": "x"{flags}}}]}}"#));
        let RowContent::Chat(chat) = read.content else { panic!("no chat") };
        assert!(chat.messages[0].fields.is_empty(), "{:?}", chat.messages[0].fields);
        chat.messages[0].train
    };
    assert_eq!(flag(""), None);
    assert_eq!(flag(r#", "weight": 0"#), Some(false));
    assert_eq!(flag(r#", "weight": 1"#), Some(true));
    assert_eq!(flag(r#", "weight": 0.0"#), Some(false));
    assert_eq!(flag(r#", "train": false"#), Some(false));
    assert_eq!(flag(r#", "train": true, "weight": 1"#), Some(true));
    assert_eq!(flag(r#", "train": null, "weight": null"#), None);

    let bad =
        |role: &str, flags: &str| reason(&format!(r#"{{"messages": [{{"role": "{role}", "content": "x"{flags}}}]}}"#));
    assert_eq!(
        bad("assistant", r#", "weight": 0.5"#),
        "`messages[0].weight`: a message is trained (1) or not (0), 0.5 is neither"
    );
    assert_eq!(bad("assistant", r#", "weight": "0""#), "`messages[0].weight` must be 0 or 1, found a string");
    assert_eq!(bad("assistant", r#", "train": 0"#), "`messages[0].train` must be true or false, found a number");
    assert_eq!(bad("assistant", r#", "train": true, "weight": 0"#), "`messages[0].weight`: `train` says true");
    assert_eq!(
        bad("user", r#", "train": true"#),
        "`messages[0].train`: a `user` message cannot be chosen for training; data.train_on: all trains every message"
    );
    assert_eq!(
        bad("assistant", r#", "wieght": 0"#),
        "`messages[0].wieght` is no key of this form; did you mean `weight`?"
    );
    assert!(bad("assistant", r#", "train_detail": [{"begin_offset": 0}]"#).starts_with("`messages[0].train_detail`:"));
    assert!(row(r#"{"messages": [{"role": "user", "content": "x", "weight": 0}]}"#).origin.row == 1);
}

#[test]
fn broken_messages_are_named_by_their_path() {
    let in_message =
        |message: &str| reason(&format!(r#"{{"messages": [{{"role": "user", "content": "hi"}}, {message}]}}"#));
    assert_eq!(in_message("5"), "`messages[1]` must be an object, found a number");
    assert_eq!(in_message(r#"{"content": "x"}"#), "`messages[1].role` is missing");
    assert_eq!(
        in_message(r#"{"rolle": "user", "content": "x"}"#),
        "`messages[1].rolle` is no key of this form; did you mean `role`?"
    );
    assert_eq!(in_message(r#"{"role": "user"}"#), "`messages[1].content` is missing");
    assert_eq!(in_message(r#"{"role": "user", "text": "x"}"#), "`messages[1].content` is missing");
    assert_eq!(in_message(r#"{"role": 1, "content": "x"}"#), "`messages[1].role` must be a string, found a number");
    assert_eq!(
        in_message(r#"{"role": "assitant", "content": "x"}"#),
        "`messages[1].role` is `assitant`; did you mean `assistant`?"
    );
    assert_eq!(
        in_message(r#"{"role": "gpt", "content": "x"}"#),
        "`messages[1].role` is `gpt`; did you mean `assistant`?"
    );
    assert_eq!(in_message(r#"{"role": "User", "content": "x"}"#), "`messages[1].role` is `User`; did you mean `user`?");
    assert_eq!(
        in_message(r#"{"role": "narrator", "content": "x"}"#),
        "`messages[1].role` is `narrator`; roles are system, developer, user, assistant, tool, function, ipython"
    );
    assert_eq!(in_message(r#"{"role": "assistant", "content": " \n"}"#), "`messages[1].content` is empty");
    assert_eq!(in_message(r#"{"role": "assistant", "content": []}"#), "`messages[1].content` is empty");
    assert_eq!(
        in_message(r#"{"role": "assistant", "content": null}"#),
        "`messages[1].content` must be a string or a list of parts, found null"
    );
    assert_eq!(
        in_message(r#"{"role": "assistant", "content": {"a": 1}}"#),
        "`messages[1].content` must be a string or a list of parts, found an object"
    );
    assert_eq!(
        in_message(r#"{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}"#),
        "`messages[1].content[0].type`: only text is trained, this is `image_url`"
    );
    assert_eq!(
        in_message(r#"{"role": "user", "content": ["x"]}"#),
        "`messages[1].content[0]` must be an object, found a string"
    );
    assert_eq!(
        in_message(r#"{"role": "user", "content": [{"type": "text"}]}"#),
        "`messages[1].content[0].text` is missing"
    );
    assert!(
        in_message(r#"{"role": "assistant", "content": [{"type": "text", "text": "x", "train": false}]}"#)
            .starts_with("`messages[1].content[0].train`: parts of a message")
    );
    assert_eq!(reason(r#"{"messages": []}"#), "`messages` is empty");
    assert_eq!(reason(r#"{"messages": {"role": "user"}}"#), "`messages` must be a list, found an object");
    assert_eq!(reason(r#"{"messages": "hi"}"#), "`messages` must be a list, found a string");
    assert!(
        reason(r#"{"system": "be kind", "messages": [{"role": "user", "content": "x"}]}"#).starts_with("`system`:")
    );
}

#[test]
fn tool_calls_and_tools_are_checked() {
    let call = |calls: &str| reason(&format!(r#"{{"messages": [{{"role": "assistant", "tool_calls": {calls}}}]}}"#));
    assert_eq!(call(r#"{"name": "f"}"#), "`messages[0].tool_calls` must be a list, found an object");
    assert_eq!(call("[1]"), "`messages[0].tool_calls[0]` must be an object, found a number");
    assert_eq!(
        call(r#"[{"function": "f"}]"#),
        "`messages[0].tool_calls[0].function` must be an object, found a string"
    );
    assert_eq!(
        call(r#"[{"function": {"nam": "f"}}]"#),
        "`messages[0].tool_calls[0].function.name` is missing; there is `nam`"
    );
    assert_eq!(
        call(r#"[{"name": "f", "arguments": [1]}]"#),
        "`messages[0].tool_calls[0].arguments` must be an object or a string, found a list"
    );
    assert_eq!(call("[]"), "`messages[0].content` is missing");
    let tools = |tools: &str| format!(r#"{{"messages": [{{"role": "user", "content": "x"}}], {tools}}}"#);
    assert_eq!(reason(&tools(r#""tools": {"name": "f"}"#)), "`tools` must be a list, found an object");
    assert_eq!(reason(&tools(r#""tools": ["f"]"#)), "`tools[0]` must be an object, found a string");
    assert_eq!(
        reason(&tools(r#""tools": "[{]""#)),
        "`tools` must hold JSON: key must be a string at character 3 of the string"
    );
    assert_eq!(reason(&tools(r#""tool": []"#)), "`tool` is no key of this form; did you mean `tools`?");
    assert!(reason(&tools(r#""functions": [{"name": "f"}]"#)).contains("old name"));
    for none in [r#""tools": []"#, r#""tools": null"#, r#""tools": """#, r#""tools": "[]""#] {
        assert_eq!(chat(&row(&tools(none))).get("tools"), None, "{none}");
    }
    assert_eq!(chat(&row(&tools(r#""tools": "[{\"name\": \"f\"}]""#)))["tools"], json!([{"name": "f"}]));
}

#[test]
fn prompts_and_completions_of_text_stay_text() {
    assert_eq!(
        completion(r#"{"prompt": "2+2=", "completion": " 4\n", "source": "x"}"#),
        ("2+2=".into(), " 4\n".into())
    );
    assert_eq!(completion(r#"{"question": "why?", "answer": "so", "prompt": null}"#), ("why?".into(), "so".into()));
    assert_eq!(completion(r#"{"prompt": "", "completion": "text"}"#), (String::new(), "text".into()));
    assert_eq!(completion(r#"{"prompt": "p", "completion": "c", "answer": "a note"}"#), ("p".into(), "c".into()));

    assert_eq!(reason(r#"{"prompt": "p", "completion": ""}"#), "`completion` is empty");
    assert_eq!(reason(r#"{"question": "p", "answer": " "}"#), "`answer` is empty");
    assert_eq!(reason(r#"{"question": "p", "answer": 4}"#), "`answer` must be a string, found a number");
    assert_eq!(
        reason(r#"{"prompt": 1, "completion": "c"}"#),
        "`prompt` must be a string or a list of messages, found a number"
    );
    assert_eq!(
        reason(r#"{"prompt": "p", "completion": [{"role": "assistant", "content": "x"}]}"#),
        "`completion` must be a string, found a list"
    );
    assert!(
        reason(r#"{"system": "s", "prompt": "p", "completion": "c"}"#).starts_with("`system`: plain text has no place")
    );
    assert!(
        reason(r#"{"tools": [{"name": "f"}], "prompt": "p", "completion": "c"}"#).starts_with("`tools`: plain text")
    );
    assert!(
        reason(r#"{"prompt": "p", "completion": "c", "question": "q", "answer": "a"}"#).contains("remove one pair")
    );
    assert_eq!(reason(r#"{"prompt": "p", "answer": "c"}"#), "`completion` is missing");
    assert_eq!(reason(r#"{"prompt": "p", "completions": "c"}"#), "`completion` is missing; there is `completions`");
}

#[test]
fn prompts_and_completions_of_messages_become_a_chat_whose_prompt_is_not_trained() {
    let read = row(concat!(
        r#"{"prompt": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, "#,
        r#"{"role": "assistant", "content": "c", "train": true}, {"role": "user", "content": "d"}], "#,
        r#""completion": [{"role": "assistant", "content": "e"}], "tools": [{"name": "f"}]}"#
    ));
    assert_eq!(read.form, Form::PromptCompletion);
    assert_eq!(
        chat(&read),
        json!({"messages": [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "b", "train": false},
            {"role": "assistant", "content": "c", "train": true},
            {"role": "user", "content": "d"},
            {"role": "assistant", "content": "e"},
        ], "tools": [{"name": "f"}]})
    );
    assert_eq!(reason(r#"{"prompt": [], "completion": [{"role": "assistant", "content": "e"}]}"#), "`prompt` is empty");
    assert_eq!(
        reason(
            r#"{"prompt": [{"role": "user", "content": "a"}], "completion": [{"role": "assistent", "content": "e"}]}"#
        ),
        "`completion[0].role` is `assistent`; did you mean `assistant`?"
    );
    assert_eq!(
        reason(r#"{"prompt": [{"role": "user", "content": "a"}], "completion": "e"}"#),
        "`completion` must be a list, found a string"
    );
}

#[test]
fn alpaca_becomes_a_chat() {
    let read = row(
        r#"{"instruction": "Add.", "input": "1 2", "output": "3", "system": "Be brief.", "history": [["Hi", "Hello"]]}"#,
    );
    assert_eq!(read.form, Form::Alpaca);
    assert_eq!(
        chat(&read),
        json!({"messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Hello"},
            {"role": "user", "content": "Add.\n1 2"},
            {"role": "assistant", "content": "3"},
        ]})
    );
    let plain = json!({"messages": [{"role": "user", "content": "Add."}, {"role": "assistant", "content": "3"}]});
    assert_eq!(chat(&row(r#"{"instruction": "Add.", "output": "3"}"#)), plain);
    assert_eq!(
        chat(&row(r#"{"instruction": "Add.", "input": "", "output": "3", "system": "", "history": []}"#)),
        plain
    );
    assert_eq!(
        chat(&row(
            r#"{"instruction": "Add.", "input": null, "output": "3", "system": null, "history": null, "text": "x"}"#
        )),
        plain
    );
    assert_eq!(chat(&row(r#"{"instruction": "", "input": "Add.", "output": "3"}"#)), plain);
}

#[test]
fn broken_alpaca_rows_are_refused() {
    assert_eq!(reason(r#"{"instruction": "a", "output": ""}"#), "`output` is empty");
    assert_eq!(reason(r#"{"instruction": " ", "output": "b"}"#), "`instruction` is empty");
    assert_eq!(reason(r#"{"instruction": "a", "ouput": "b"}"#), "`output` is missing; there is `ouput`");
    assert_eq!(reason(r#"{"instruction": "a", "output": ["b"]}"#), "`output` must be a string, found a list");
    assert_eq!(
        reason(r#"{"instruction": "a", "output": "b", "sytem": "c"}"#),
        "`sytem` is no key of this form; did you mean `system`?"
    );
    assert_eq!(
        reason(r#"{"instruction": "a", "output": "b", "inputs": "c"}"#),
        "`inputs` is no key of this form; did you mean `input`?"
    );
    assert_eq!(
        reason(r#"{"instruction": "a", "output": "b", "history": [["q"]]}"#),
        "`history[0]` must be a list of a question and an answer, found a list of one"
    );
    assert_eq!(
        reason(r#"{"instruction": "a", "output": "b", "history": [["q", "a"], ["q", 1]]}"#),
        "`history[1][1]` must be a string, found a number"
    );
    assert_eq!(reason(r#"{"instruction": "a", "output": "b", "history": [["q", ""]]}"#), "`history[0][1]` is empty");
    assert_eq!(
        reason(r#"{"instruction": "a", "output": "b", "history": "q"}"#),
        "`history` must be a list, found a string"
    );
}

#[test]
fn sharegpt_becomes_a_chat() {
    let read = row(concat!(
        r#"{"system": "Be brief.", "conversations": [{"from": "human", "value": "hi"}, "#,
        r#"{"from": "function_call", "value": "{\"name\": \"f\", \"arguments\": {\"x\": 1}}"}, "#,
        r#"{"from": "observation", "value": ""}, {"from": "gpt", "value": "hello", "weight": 0, "markdown": null}], "#,
        r#""tools": "[{\"name\": \"f\", \"parameters\": {}}]"}"#
    ));
    assert_eq!(read.form, Form::Sharegpt);
    assert_eq!(
        chat(&read),
        json!({"messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": null, "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}]},
            {"role": "tool", "content": ""},
            {"role": "assistant", "content": "hello", "train": false},
        ], "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]})
    );
}

#[test]
fn speakers_and_lists_go_by_several_names() {
    let wanted = json!({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]});
    for (user, assistant) in
        [("human", "gpt"), ("user", "assistant"), ("human", "chatgpt"), ("user", "model"), ("human", "bot")]
    {
        for list in ["conversations", "messages"] {
            let read = row(&format!(
                r#"{{"{list}": [{{"from": "{user}", "value": "a"}}, {{"from": "{assistant}", "value": "b"}}]}}"#
            ));
            assert_eq!((read.form, chat(&read)), (Form::Sharegpt, wanted.clone()));
        }
    }
    let read = row(r#"{"conversations": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}"#);
    assert_eq!((read.form, chat(&read)), (Form::Messages, wanted));
}

#[test]
fn function_calls_may_be_lists_and_doubly_encoded() {
    let calls = |value: serde_json::Value| {
        let text = json!({"conversations": [{"from": "function_call", "value": value.to_string()}]}).to_string();
        chat(&row(&text))["messages"][0]["tool_calls"].clone()
    };
    let call = |name: &str, x: i32| json!({"type": "function", "function": {"name": name, "arguments": {"x": x}}});
    assert_eq!(
        calls(json!([{"name": "f", "arguments": {"x": 1}}, {"name": "g", "arguments": "{\"x\": 2}"}])),
        json!([call("f", 1), call("g", 2)])
    );
}

#[test]
fn broken_sharegpt_rows_are_refused() {
    let from = |from: &str, value: serde_json::Value| {
        reason(&json!({"conversations": [{"from": from, "value": value}]}).to_string())
    };
    assert_eq!(from("humann", "x".into()), "`conversations[0].from` is `humann`; did you mean `human`?");
    assert!(from("zeus", "x".into()).starts_with("`conversations[0].from` is `zeus`; speakers are human, user, gpt,"));
    assert_eq!(from("gpt", "".into()), "`conversations[0].value` is empty");
    assert_eq!(from("gpt", 1.into()), "`conversations[0].value` must be a string, found a number");
    assert!(from("function_call", "f(1)".into()).starts_with("`conversations[0].value` must hold JSON:"));
    assert!(from("function_call", "1".into()).contains("an object with `name` and `arguments`"));
    assert_eq!(from("function_call", "[]".into()), "`conversations[0].value` is empty");
    assert_eq!(from("function_call", r#"{"name": "f"}"#.into()), "`conversations[0].value.arguments` is missing");
    assert_eq!(
        from("function_call", r#"{"name": "f", "arguments": "[1]"}"#.into()),
        "`conversations[0].value.arguments` must be an object, found a list"
    );
    assert!(
        from("function_call", r#"{"name": "f", "name": "g", "arguments": {}}"#.into()).contains("`name` occurs twice")
    );
    assert_eq!(reason(r#"{"conversations": []}"#), "`conversations` is empty");
    assert_eq!(
        reason(r#"{"conversations": [{"from": "human", "value": "x"}, {"role": "user", "content": "x"}]}"#),
        "`conversations[1].from` is missing"
    );
    assert_eq!(
        reason(
            r#"{"system": "a", "conversations": [{"from": "system", "value": "b"}, {"from": "gpt", "value": "x"}]}"#
        ),
        "`system`: `conversations[0]` is a different system prompt"
    );
    let read =
        row(r#"{"system": "a", "conversations": [{"from": "system", "value": "a"}, {"from": "gpt", "value": "x"}]}"#);
    assert_eq!(chat(&read)["messages"].as_array().map(Vec::len), Some(2));
}

#[test]
fn pictures_and_sound_are_refused_in_every_form() {
    assert_eq!(
        reason(
            r#"{"conversations": [{"from": "human", "value": "<image>?"}, {"from": "gpt", "value": "x"}], "images": ["a.png"]}"#
        ),
        "`images`: only text is trained"
    );
    assert_eq!(reason(r#"{"instruction": "a", "output": "b", "audios": ["a.wav"]}"#), "`audios`: only text is trained");
    assert_eq!(row(r#"{"instruction": "a", "output": "b", "images": []}"#).form, Form::Alpaca);
}

#[test]
fn a_form_that_was_asked_for_is_the_only_one() {
    let (misfit, hint) = misfit_as(r#"{"conversations": [{"from": "human", "value": "x"}]}"#, FormatChoice::Messages);
    assert_eq!(misfit.problem.to_string(), "`conversations[0].role` is missing");
    assert_eq!(misfit.looks_like, Some(Form::Sharegpt));
    assert!(hint.contains("data.format to sharegpt"), "{hint}");
    let (misfit, _) = misfit_as(r#"{"instruction": "x", "output": "y"}"#, FormatChoice::PromptCompletion);
    assert_eq!(
        misfit.to_string().split(": ").skip(1).collect::<String>(),
        "`prompt` is missing; the row looks like alpaca"
    );
    let both = r#"{"instruction": "x", "output": "y", "question": "q", "answer": "a"}"#;
    let set = common::read_as("a.jsonl", both, FormatChoice::PromptCompletion).expect("the form that is meant");
    assert_eq!(set.rows[0].content, RowContent::Completion { prompt: "q".into(), completion: "a".into() });
}
