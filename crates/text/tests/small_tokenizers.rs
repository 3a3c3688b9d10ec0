//! Masks, completions, BOS and errors, with tokenizers made on the spot: these tests need no assets.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods)]

mod common;

use attune_text::{Conversation, LoadOptions, TextError, TextModel, TrainOn};
use common::{Folder, byte_tokenizer, chat, options, trained_texts};
use serde_json::{Value as Json, json};

const SPECIAL: [&str; 5] = ["<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|other|>"];

fn config(more: Json) -> Json {
    let mut config = json!({"bos_token": "<s>", "eos_token": {"content": "</s>", "special": true}});
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    config
}

/// A byte-level model with the given template and configuration.
fn model(template: &str, more: Json) -> TextModel {
    let folder = Folder::new(&byte_tokenizer(&SPECIAL, &[]), &config(more));
    folder.write("chat_template.jinja", template);
    folder.load()
}

fn load_error(folder: &Folder, options: &LoadOptions) -> TextError {
    match TextModel::load(folder.path(), options) {
        Ok(_) => panic!("loaded"),
        Err(error) => {
            assert!(!error.hint().is_empty());
            error
        }
    }
}

fn trained(model: &TextModel, chat: &Conversation) -> Vec<String> {
    let encoded = model.encode_chat(chat, TrainOn::Assistant).unwrap_or_else(|error| panic!("{error}"));
    trained_texts(model, &encoded)
}

const CHATML: &str = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}\
    {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

fn two() -> Conversation {
    chat(&[("user", "ab"), ("assistant", "cd"), ("user", "ab"), ("assistant", "ef")])
}

#[test]
fn the_blank_behind_the_end_of_turn_is_not_trained() {
    assert_eq!(trained(&model(CHATML, json!({})), &two()), ["cd<|im_end|>", "ef<|im_end|>"]);
}

#[test]
fn a_template_without_generation_prompt_hides_its_header() {
    let template = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content | trim }}<|im_end|>\n{% endfor %}";
    assert_eq!(trained(&model(template, json!({})), &two()), ["cd<|im_end|>", "ef<|im_end|>"]);
    // No header at all, as in Mistral's templates.
    let template = "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[{{ m.content }}]{% else %} {{ m.content }}{{ eos_token }}{% endif %}{% endfor %}";
    assert_eq!(trained(&model(template, json!({})), &two()), [" cd</s>", " ef</s>"]);
}

#[test]
fn a_template_without_end_of_turn_is_told() {
    let template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}";
    let model = model(template, json!({}));
    let encoded = model.encode_chat(&two(), TrainOn::Assistant).unwrap();
    assert_eq!(trained_texts(&model, &encoded), [" cd", " ef"]);
    assert!(!encoded.end_of_turn_trained);
    assert_eq!(model.end_of_turn_id(), None);
}

#[test]
fn an_end_of_turn_that_is_not_eos_stops_generation() {
    let model = model(CHATML, json!({}));
    let texts: Vec<String> = model.stop_ids().iter().map(|id| model.token_text(*id)).collect();
    assert_eq!(texts, ["</s>", "<|im_end|>"]);
    assert_eq!(model.end_of_turn_id(), Some(model.stop_ids()[1]));
}

#[test]
fn templates_that_look_into_texts_are_still_understood() {
    // It takes what begins with `/` for a command, and shows how long the text is: no mark goes unnoticed.
    let template = "{% for m in messages %}<|im_start|>{{ m.role }} {{ m.content | length }}\n{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant {% endif %}";
    let model = model(template, json!({}));
    assert_eq!(trained(&model, &two()), ["2\ncd<|im_end|>", "2\nef<|im_end|>"]);
    let same = chat(&[("user", "aa"), ("assistant", "aa"), ("user", "aa"), ("assistant", "aaa")]);
    assert_eq!(trained(&model, &same), ["2\naa<|im_end|>", "3\naaa<|im_end|>"]);
    let template = "{% for m in messages %}{% if m.content.startswith('/') %}<|other|>{% endif %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>{% endfor %}";
    let model = self::model(template, json!({}));
    assert_eq!(trained(&model, &chat(&[("user", "/x"), ("assistant", "/y")])), ["/y<|im_end|>"]);
}

#[test]
fn dropped_texts_are_found_wherever_they_are() {
    for (drop, message, role) in [
        ("{% if not loop.first %}", 1, "user"),
        ("{% if m.role != 'assistant' %}", 2, "assistant"),
        ("{% if loop.index != 3 %}", 3, "user"),
        ("{% if m.content != 'ef' %}", 4, "assistant"),
    ] {
        let template = CHATML
            .replace("<|im_start|>{{ m.role", &format!("{drop}<|im_start|>{{{{ m.role"))
            .replace("<|im_end|>\n", "<|im_end|>\n{% endif %}");
        let error = model(&template, json!({})).encode_chat(&two(), TrainOn::Assistant).unwrap_err();
        assert_eq!(error.message(), Some((message, role)), "{drop}: {error}");
        assert!(matches!(error, TextError::MessageDropped { part: "content", .. }), "{error}");
    }
}

#[test]
fn what_is_left_out_of_training_stays_out() {
    let model = model(CHATML, json!({}));
    let mut chat = two();
    chat.messages[3].train = Some(false);
    assert_eq!(trained(&model, &chat), ["cd<|im_end|>"]);
    chat.messages[1].train = Some(false);
    let error = model.encode_chat(&chat, TrainOn::Assistant).unwrap_err();
    assert!(matches!(error, TextError::NoTrainedToken { .. }), "{error}");
    // All: a user's text can be taken out too, its header stays in.
    let mut chat = two();
    chat.messages[0].train = Some(false);
    let all = model.encode_chat(&chat, TrainOn::All).unwrap();
    let texts = trained_texts(&model, &all);
    assert_eq!(texts.len(), 2);
    assert!(texts[0].ends_with("user\n") && texts[1].starts_with("<|im_end|>"), "{texts:?}");
    let only_user = self::chat(&[("user", "ab")]);
    let error = model.encode_chat(&only_user, TrainOn::Assistant).unwrap_err();
    assert!(matches!(error, TextError::NoAssistantTurn { messages: 1 }), "{error}");
    assert!(model.encode_chat(&only_user, TrainOn::All).is_ok());
    assert!(matches!(
        model.encode_chat(&self::chat(&[]), TrainOn::Last),
        Err(TextError::NoAssistantTurn { messages: 0 })
    ));
}

#[test]
fn generation_tags_decide_and_take_the_end_of_turn_along() {
    let template = "{% for m in messages %}{% if m.role == 'assistant' %}<|im_start|>assistant\nnote:{% generation %}{{ m.content }}{% endgeneration %}<|im_end|>\n{% else %}{{ m.role }} {{ m.content }}\n{% endif %}{% endfor %}";
    let tagged = model(template, json!({}));
    assert_eq!(trained(&tagged, &two()), ["cd<|im_end|>", "ef<|im_end|>"]);
    let encoded = tagged.encode_chat(&two(), TrainOn::Last).unwrap();
    assert_eq!(trained_texts(&tagged, &encoded), ["ef<|im_end|>"]);
    assert!(encoded.end_of_turn_trained);
    let mut chat = two();
    chat.messages[1].train = Some(false);
    assert_eq!(trained(&tagged, &chat), ["ef<|im_end|>"]);
    // Marks that hold the line break behind the end of turn, and marks without any end.
    let wide = template.replace("{% endgeneration %}<|im_end|>\n", "<|im_end|>\n{% endgeneration %}");
    assert_eq!(trained(&model(&wide, json!({})), &two()), ["cd<|im_end|>", "ef<|im_end|>"]);
    let endless = template.replace("<|im_end|>", "");
    let endless = model(&endless, json!({})).encode_chat(&two(), TrainOn::Assistant).unwrap();
    assert!(!endless.end_of_turn_trained);
}

#[test]
fn a_token_across_the_border_counts_where_it_starts() {
    // `:c` is one token, half header and half answer; `d\n` is one token, half answer and half what follows.
    let folder = Folder::new(&byte_tokenizer(&SPECIAL, &[(":", "c"), ("d", "Ċ")]), &config(json!({})));
    folder.write("chat_template.jinja", "{% for m in messages %}{{ m.role }}:{{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}");
    let model = folder.load();
    let encoded = model.encode_chat(&chat(&[("user", "x"), ("assistant", "cad")]), TrainOn::Assistant).unwrap();
    assert_eq!(trained_texts(&model, &encoded), ["ad\n"]);
}

#[test]
fn bos_comes_once_wherever_it_comes_from() {
    let bos = |model: &TextModel, ids: &[u32]| ids.iter().filter(|id| Some(**id) == model.bos_id()).count();
    for (template, adds) in [
        (CHATML.to_owned(), true),
        (format!("{{{{ bos_token }}}}{CHATML}"), true),
        (format!("{{{{ bos_token }}}}{CHATML}"), false),
    ] {
        let model = model(&template, json!({"add_bos_token": adds}));
        let encoded = model.encode_chat(&two(), TrainOn::All).unwrap();
        assert_eq!((encoded.ids[0], bos(&model, &encoded.ids)), (model.bos_id().unwrap(), 1), "{template} {adds}");
        assert!(!encoded.trained[0] && encoded.trained[1..].iter().all(|trained| *trained));
        assert_eq!(bos(&model, &model.encode_raw("x").unwrap()), usize::from(adds));
        assert_eq!(bos(&model, &model.encode_raw("<s>x").unwrap()), 1);
        assert_eq!(bos(&model, &model.encode_prompt(&two()).unwrap()), 1);
    }
    let without = model(CHATML, json!({}));
    assert_eq!(bos(&without, &without.encode_chat(&two(), TrainOn::All).unwrap().ids), 0);
    let twice = model(&format!("{{{{ bos_token }}}}<s>{CHATML}"), json!({"add_bos_token": true}));
    match twice.encode_chat(&two(), TrainOn::Assistant) {
        Err(TextError::DoubleBos { token }) => assert_eq!(token, "<s>"),
        other => panic!("{other:?}"),
    }
    // The Llama classes add BOS when nothing says otherwise.
    let tokenizer = {
        let mut tokenizer = byte_tokenizer(&SPECIAL, &[]);
        tokenizer["post_processor"] = Json::Null;
        tokenizer
    };
    for (more, expected) in [
        (json!({"tokenizer_class": "LlamaTokenizer"}), 1),
        (json!({"tokenizer_class": "LlamaTokenizerFast", "add_bos_token": false}), 0),
        (json!({"tokenizer_class": "PreTrainedTokenizerFast"}), 0),
    ] {
        let model = Folder::new(&tokenizer, &config(more)).load();
        assert_eq!(bos(&model, &model.encode_raw("x").unwrap()), expected);
    }
}

#[test]
fn a_completion_continues_its_prompt() {
    let model = model(CHATML, json!({"add_bos_token": true}));
    let encoded = model.encode_completion("ab ", "cd", TrainOn::Assistant).unwrap();
    assert_eq!(trained_texts(&model, &encoded), ["cd</s>"]);
    assert!(encoded.end_of_turn_trained);
    let prompt = model.encode_raw("ab ").unwrap();
    assert_eq!(encoded.ids[..prompt.len()], prompt);
    assert_eq!(encoded.ids[0], model.bos_id().unwrap());
    // EOS once, also if the text brings it.
    let with_eos = model.encode_completion("ab ", "cd</s>", TrainOn::Last).unwrap();
    assert_eq!(with_eos, encoded);
    let all = model.encode_completion("ab ", "cd", TrainOn::All).unwrap();
    assert_eq!(all.trained, [&[false][..], &[true; 6]].concat());
    let empty = model.encode_completion("ab", "", TrainOn::Assistant).unwrap();
    assert_eq!(trained_texts(&model, &empty), ["</s>"]);
    let no_bos = self::model(CHATML, json!({}));
    assert_eq!(trained_texts(&no_bos, &no_bos.encode_completion("", "x", TrainOn::Assistant).unwrap()), ["</s>"]);
    assert!(matches!(no_bos.encode_completion("", "", TrainOn::Assistant), Err(TextError::NoTrainedToken { .. })));
    let folder = Folder::new(&byte_tokenizer(&SPECIAL, &[]), &json!({"bos_token": "<s>", "eos_token": null}));
    assert!(matches!(folder.load().encode_completion("a", "b", TrainOn::Assistant), Err(TextError::NoEos)));
}

#[test]
fn a_border_inside_a_token_keeps_the_prompt_as_it_is_asked() {
    // `bc` is one token of the whole text, but not of prompt and completion apart.
    let folder =
        Folder::new(&byte_tokenizer(&SPECIAL, &[("b", "c"), ("Ċ", "c")]), &config(json!({"add_bos_token": true})));
    let model = folder.load();
    assert_eq!(model.encode_raw("abcd").unwrap().len(), 4);
    let encoded = model.encode_completion("ab", "cd", TrainOn::Assistant).unwrap();
    let prompt = model.encode_raw("ab").unwrap();
    assert_eq!(encoded.ids[..prompt.len()], prompt);
    assert_eq!(trained_texts(&model, &encoded), ["cd</s>"]);
    assert_eq!(model.decode(&encoded.ids[1..], false).unwrap(), "abcd</s>");
}

#[test]
fn a_continuation_gets_no_space_of_its_own() {
    // Sentencepiece style: a space in front of every text, and `ab` that merges across the border.
    let vocab = json!({"<unk>": 0, "▁": 1, "a": 2, "b": 3, "▁b": 4, "ab": 5, "▁a": 6, "▁ab": 7, ".": 8});
    let added = |id: usize, token: &str| json!({"id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true});
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [added(9, "<s>"), added(10, "</s>")],
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
        "pre_tokenizer": null, "post_processor": null,
        "decoder": {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": {"type": "BPE", "dropout": null, "unk_token": "<unk>", "fuse_unk": true, "byte_fallback": false,
            "vocab": vocab, "merges": ["a b", "▁ a", "▁ b", "▁ ab"]},
    });
    let model = Folder::new(&tokenizer, &config(json!({"add_bos_token": true}))).load();
    let encoded = model.encode_completion("b a", "b", TrainOn::Assistant).unwrap();
    assert_eq!(
        encoded.ids,
        [9, 4, 6, 3, 10],
        "{:?}",
        encoded.ids.iter().map(|id| model.token_text(*id)).collect::<Vec<_>>()
    );
    assert_eq!(model.decode(&encoded.ids, true).unwrap(), "b ab");
    assert_eq!(model.token_text(4), " b");
}

#[test]
fn special_tokens_that_a_normalizer_hides_are_found() {
    let vocab = json!({"<unk>": 0, "<s>": 1, "</s>": 2, "▁": 3, "a": 4, "<": 5, "/": 6, "s": 7, ">": 8});
    let added = |id: usize, token: &str| json!({"id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false, "normalized": true, "special": true});
    let tokenizer = json!({
        "version": "1.0", "added_tokens": [added(0, "<unk>"), added(1, "<s>"), added(2, "</s>")],
        "normalizer": {"type": "Prepend", "prepend": "▁"}, "pre_tokenizer": null, "post_processor": null, "decoder": null,
        "model": {"type": "BPE", "unk_token": "<unk>", "vocab": vocab, "merges": []},
    });
    let model = Folder::new(&tokenizer, &config(json!({}))).load();
    assert_eq!(model.encode_raw("a</s>").unwrap(), [3, 4, 2]);
}

#[test]
fn streams_never_show_half_a_character() {
    let model = model(CHATML, json!({}));
    let text = "né 你🙂!";
    let ids = model.encode_raw(text).unwrap();
    let mut stream = model.decode_stream(true);
    let pieces: Vec<String> = ids.iter().map(|id| stream.push(*id).unwrap()).collect();
    assert!(pieces.iter().all(|piece| !piece.contains('\u{FFFD}')), "{pieces:?}");
    assert_eq!(pieces.concat(), text);
    assert_eq!(stream.finish().unwrap(), "");
    // Cut in the middle: the rest is shown as what it is.
    let mut stream = model.decode_stream(true);
    let cut: String = ids[..ids.len() - 2].iter().map(|id| stream.push(*id).unwrap()).collect();
    assert_eq!(cut, "né 你");
    assert!(stream.finish().unwrap().contains('\u{FFFD}'));
    // Special tokens are skipped or shown, and broken bytes do not pile up.
    let end = model.stop_ids()[0];
    assert_eq!(model.decode_stream(true).push(end).unwrap(), "");
    assert_eq!(model.decode_stream(false).push(end).unwrap(), "</s>");
    let broken = model.encode_raw("é").unwrap()[1];
    let mut stream = model.decode_stream(true);
    let shown: String = (0..100).map(|_| stream.push(broken).unwrap()).collect();
    assert!(shown.chars().count() >= 80 && shown.chars().all(|c| c == '\u{FFFD}'), "{shown:?}");
}

#[test]
fn tokens_are_shown_with_their_spaces_and_bytes() {
    let model = model(CHATML, json!({}));
    let shown: Vec<String> = model.encode_raw(" é\n</s>").unwrap().iter().map(|id| model.token_text(*id)).collect();
    assert_eq!(shown, [" ", "<0xC3>", "<0xA9>", "\n", "</s>"]);
    assert_eq!(model.token_text(999_999), "<unknown 999999>");
    assert_eq!(model.vocab_size(), 256 + SPECIAL.len());
}

#[test]
fn stop_ids_come_from_every_file() {
    let folder = Folder::new(&byte_tokenizer(&SPECIAL, &[]), &json!({"chat_template": CHATML}));
    folder.write("special_tokens_map.json", r#"{"eos_token": "</s>"}"#);
    folder.write("generation_config.json", r#"{"eos_token_id": [7, 257]}"#);
    folder.write("config.json", r#"{"eos_token_id": 8}"#);
    let model = folder.load();
    assert_eq!(model.stop_ids(), [257, 7, 8, 259]);
    assert_eq!((model.eos_id(), model.bos_id()), (Some(257), None));
    folder.write("config.json", r#"{"eos_token_id": "</s>"}"#);
    let error = load_error(&folder, &options());
    assert!(error.to_string().contains("config.json: `eos_token_id` must be"), "{error}");
    folder.write("config.json", r#"{"eos_token_id": -1}"#);
    assert!(matches!(load_error(&folder, &options()), TextError::WrongType { .. }));
}

#[test]
fn templates_are_chosen_as_in_transformers() {
    let folder = Folder::new(&byte_tokenizer(&SPECIAL, &[]), &config(json!({"chat_template": "one"})));
    let render =
        |options: &LoadOptions| TextModel::load(folder.path(), options).unwrap().render(&two(), false).unwrap();
    assert_eq!(render(&options()), "one");
    let named = json!([{"name": "tool_use", "template": "x"}, {"name": "default", "template": "two"}]);
    folder.write("tokenizer_config.json", &config(json!({"chat_template": named})).to_string());
    assert_eq!(render(&options()), "two");
    folder.write("chat_template.jinja", "three");
    assert_eq!(render(&options()), "three");
    folder.write("own.jinja", "four {{ strftime_now('%Y') }} {{ own }} {{ tools is none }}");
    let path = folder.path().join("own.jinja").to_str().unwrap().to_owned();
    let mut own = LoadOptions { chat_template: Some(path), ..options() };
    own.template_variables.insert("own".into(), json!("variable"));
    assert_eq!(render(&own), "four 2024 variable True");
    assert!(render(&LoadOptions { chat_template: Some("plain".into()), ..options() }).starts_with("User:\nab\n"));
    assert!(
        render(&LoadOptions { chat_template: Some("chatml".into()), ..options() }).starts_with("<|im_start|>user\nab")
    );

    let missing = LoadOptions { chat_template: Some("no/such.jinja".into()), ..options() };
    assert!(matches!(load_error(&folder, &missing), TextError::UnknownTemplate { .. }));
    folder.write("chat_template.jinja", "a\n{% if %}");
    assert!(matches!(load_error(&folder, &options()), TextError::TemplateSyntax { line: 2, .. }));
    folder.write("tokenizer_config.json", &config(json!({"chat_template": 1})).to_string());
    std::fs::remove_file(folder.path().join("chat_template.jinja")).unwrap();
    let error = load_error(&folder, &options());
    assert!(error.to_string().contains("`chat_template` must be a text or a list"), "{error}");
    let bare = Folder::new(&byte_tokenizer(&["<s>"], &[]), &json!({}));
    for name in ["chatml", "plain"] {
        let error = load_error(&bare, &LoadOptions { chat_template: Some(name.into()), ..options() });
        assert!(matches!(error, TextError::TemplateNeedsToken { .. }), "{error}");
    }
}

#[test]
fn builtin_templates_refuse_what_they_cannot_show() {
    let folder = Folder::new(&byte_tokenizer(&SPECIAL, &[]), &config(json!({})));
    for name in ["chatml", "plain"] {
        let model =
            TextModel::load(folder.path(), &LoadOptions { chat_template: Some(name.into()), ..options() }).unwrap();
        let error = model
            .encode_chat(&chat(&[("user", "a"), ("tool", "b"), ("assistant", "c")]), TrainOn::Assistant)
            .unwrap_err();
        assert!(matches!(error, TextError::TemplateRefused { message: 2, .. }), "{error}");
        let mut with_tools = two();
        with_tools.tools = Some(json!([{"type": "function"}]));
        let error = model.encode_chat(&with_tools, TrainOn::Assistant).unwrap_err();
        assert!(error.to_string().contains("no place for tools"), "{error}");
        let mut with_calls = two();
        with_calls.messages[1]
            .fields
            .insert("tool_calls".into(), json!([{"function": {"name": "f", "arguments": {}}}]));
        let error = model.encode_chat(&with_calls, TrainOn::Assistant).unwrap_err();
        assert!(matches!(error, TextError::MessageDropped { message: 2, part: "tool calls", .. }), "{error}");
    }
}

#[test]
fn damaged_files_are_named() {
    let empty = tempfile::tempdir().unwrap();
    match TextModel::load(empty.path(), &options()) {
        Err(error @ TextError::NoTokenizer { .. }) => assert!(error.hint().contains("tokenizer.json"), "{error}"),
        other => panic!("{other:?}"),
    }
    let folder = Folder::new(&json!({"version": "1.0"}), &json!({}));
    assert!(matches!(load_error(&folder, &options()), TextError::BadTokenizer { .. }));
    folder.write("tokenizer.json", "{");
    assert!(matches!(load_error(&folder, &options()), TextError::BadTokenizer { .. }));
    folder.write("tokenizer.json", &byte_tokenizer(&SPECIAL, &[]).to_string());
    folder.write("tokenizer_config.json", r#"{"eos_token": "<nope>"}"#);
    let error = load_error(&folder, &options());
    assert!(error.to_string().contains("`eos_token` is \"<nope>\""), "{error}");
    folder.write("tokenizer_config.json", r#"{"eos_token": 3}"#);
    assert!(matches!(load_error(&folder, &options()), TextError::WrongType { got: "a number", .. }));
    folder.write("tokenizer_config.json", "[]");
    assert!(matches!(load_error(&folder, &options()), TextError::WrongType { .. }));
    folder.write("tokenizer_config.json", "{\n  \"a\": }");
    let error = load_error(&folder, &options());
    assert!(error.to_string().contains("line 2 column"), "{error}");
    std::fs::write(folder.path().join("tokenizer_config.json"), "{}").unwrap();
    std::fs::write(folder.path().join("chat_template.jinja"), [b'a', 0xff]).unwrap();
    assert!(matches!(load_error(&folder, &options()), TextError::NotUtf8 { byte: 1, .. }));
}

#[test]
fn a_tokenizer_of_its_own_may_be_named() {
    let base = Folder::new(&byte_tokenizer(&["</s>"], &[]), &json!({"eos_token": "</s>"}));
    let other = Folder::new(&byte_tokenizer(&SPECIAL, &[]), &config(json!({})));
    for path in [other.path().to_owned(), other.path().join("tokenizer.json")] {
        let model = TextModel::load(base.path(), &LoadOptions { tokenizer: Some(path), ..options() }).unwrap();
        assert_eq!(model.vocab_size(), 256 + SPECIAL.len());
    }
}

#[test]
fn truncation_and_padding_of_the_file_are_ignored() {
    let mut tokenizer = byte_tokenizer(&SPECIAL, &[]);
    tokenizer["truncation"] = json!({"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0});
    tokenizer["padding"] = json!({"strategy": {"Fixed": 9}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0, "pad_type_id": 0, "pad_token": "<s>"});
    let model = Folder::new(&tokenizer, &config(json!({}))).load();
    assert_eq!(model.encode_raw("abcde").unwrap().len(), 5);
}

#[test]
fn identity_changes_with_what_decides_on_ids() {
    let folder = Folder::new(&byte_tokenizer(&SPECIAL, &[]), &config(json!({"chat_template": CHATML})));
    let first = folder.load().identity();
    assert_eq!(first, folder.load().identity());
    assert_eq!(first.len(), 64);
    let mut seen = vec![first];
    let mut differs = |options: &LoadOptions| {
        let identity = TextModel::load(folder.path(), options).unwrap().identity();
        assert!(!seen.contains(&identity));
        seen.push(identity);
    };
    differs(&LoadOptions { template_date: "2025-01-01".parse().unwrap(), ..options() });
    differs(&LoadOptions { chat_template: Some("plain".into()), ..options() });
    let mut thinking = options();
    thinking.template_variables.insert("enable_thinking".into(), json!(false));
    differs(&thinking);
    folder.write("tokenizer.json", &byte_tokenizer(&SPECIAL, &[("a", "b")]).to_string());
    differs(&options());
}

#[test]
fn hostile_chats_are_errors() {
    let model = model(CHATML, json!({}));
    let many = Conversation { messages: vec![attune_text::Message::new("user", "x"); 30_000], tools: None };
    assert!(matches!(model.encode_chat(&many, TrainOn::All), Err(TextError::TooManyMessages { .. })));
    let endless =
        self::model("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", json!({}));
    let error = endless.encode_chat(&two(), TrainOn::Assistant).unwrap_err();
    assert!(matches!(&error, TextError::TemplateBounds { .. }) && !error.hint().is_empty(), "{error}");
}

#[test]
fn a_model_is_shared_between_threads() {
    fn is_shared<T: Send + Sync>() {}
    is_shared::<TextModel>();
    let model = model(CHATML, json!({}));
    let expected = model.encode_chat(&two(), TrainOn::Assistant).unwrap();
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..4).map(|_| scope.spawn(|| model.encode_chat(&two(), TrainOn::Assistant).unwrap())).collect();
        for thread in threads {
            assert_eq!(thread.join().unwrap(), expected);
        }
    });
}
