//! Captions whose speakers become user and assistant.

mod common;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use attune_data::{
    DataError, DataSet, Entry, Form, FormatChoice, ReadOptions, RowContent, TranscriptFacts, Transcripts, is_captions,
    open, read_with,
};
use common::Folder;
use proptest::prelude::*;
use serde_json::{Value, json};

const DESK: &str = "WEBVTT\nLanguage: en\n\nNOTE a morning\n\n\
    00:01.000 --> 00:02.000\n<v Host>Welcome to the desk.</v>\n\n\
    00:02.000 --> 00:03.000\n<v Ada>What colour\n\n\
    00:03.000 --> 00:04.000\n<v Ada>is the door?</v>\n\n\
    00:04.500 --> 00:06.000\n<v Clerk>Blue.</v>\n\n\
    00:06.000 --> 00:07.000\n<v Ada>And the cat?</v>\n\n\
    00:07.000 --> 00:08.000\n<v Clerk>Item: grey.\nAs ever.</v>\n\n\
    00:08.000 --> 00:09.000\n[music]\n\n\
    00:09.000 --> 00:10.000\n<v Bob>Where is the harbour?</v>\n\n\
    00:10.000 --> 00:11.000\n<v Clerk>Down the road.</v>\n\n\
    00:11.000 --> 00:12.000\n<v Bob>Thanks.</v>\n";

fn options(assistant: &str, exchanges: Option<usize>) -> ReadOptions {
    ReadOptions { transcripts: Some(Transcripts { assistant: assistant.into(), exchanges }), ..ReadOptions::default() }
}

/// Lines and objects of the rows of a file, and what became of the turns.
fn rows(name: &str, text: impl AsRef<[u8]>, options: &ReadOptions) -> (Vec<(usize, Value)>, Option<TranscriptFacts>) {
    let folder = Folder::new();
    let mut records = open(&folder.write(name, text), options).expect("a file");
    let mut rows = Vec::new();
    for entry in records.by_ref() {
        match entry.unwrap_or_else(|error| panic!("{error}")) {
            Entry::Record(record) => {
                assert_eq!(record.origin.row, rows.len() + 1);
                rows.push((record.origin.line, Value::Object(record.object)));
            }
            Entry::Fault(fault) => panic!("{}", fault.problem),
        }
    }
    (rows, records.transcript())
}

fn strictly(name: &str, text: &str, options: &ReadOptions) -> Result<DataSet, DataError> {
    let folder = Folder::new();
    read_with(&[folder.write(name, text)], FormatChoice::Auto, options)
}

fn messages(texts: &[&str]) -> Value {
    let role = |index: usize| if index.is_multiple_of(2) { "user" } else { "assistant" };
    texts.iter().enumerate().map(|(index, text)| json!({ "role": role(index), "content": text })).collect()
}

/// The texts of a row of messages.
fn texts(row: &Value) -> Vec<&str> {
    let messages = row["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
    messages.iter().filter_map(|message| message["content"].as_str()).collect()
}

#[test]
fn what_one_person_and_the_assistant_say_is_a_row() {
    let (rows, facts) = rows("desk.vtt", DESK, &options("Clerk", None));
    let ada = messages(&["What colour is the door?", "Blue.", "And the cat?", "Item: grey. As ever."]);
    let bob = messages(&["Where is the harbour?", "Down the road."]);
    assert_eq!(
        rows,
        [
            (9, json!({ "messages": ada, "language": "en", "source": "desk.vtt", "start": 2.0 })),
            (28, json!({ "messages": bob, "language": "en", "source": "desk.vtt", "start": 9.0 })),
        ]
    );
    let facts = facts.expect("a transcript");
    assert_eq!(facts, TranscriptFacts { turns: 8, answers: 3, unanswered: 2, unasked: 0, unnamed: 0 });
    assert_eq!(facts.to_string(), "8 turns: 3 questions with answers; left out: 2 that nobody answers");

    let set = strictly("desk.vtt", DESK, &options("Clerk", None)).expect("good rows");
    assert_eq!((set.files[0].form, set.files[0].rows, set.files[0].transcript), (Form::Messages, 2, Some(facts)));
    assert!(set.rows[1].origin.to_string().contains("desk.vtt:28"), "{}", set.rows[1].origin);
    assert!(matches!(&set.rows[0].content, RowContent::Chat(chat) if chat.messages.len() == 4));
}

#[test]
fn another_speaker_may_be_the_assistant_and_rows_may_be_cut() {
    let (found, facts) = rows("desk.vtt", DESK, &options("Ada", None));
    assert_eq!(
        found.iter().map(|(_, row)| texts(row)).collect::<Vec<_>>(),
        [["Welcome to the desk.", "What colour is the door?"], ["Blue.", "And the cat?"]]
    );
    assert_eq!(facts.map(|facts| (facts.answers, facts.unanswered)), Some((2, 4)));
    let (found, facts) = rows("desk.vtt", DESK, &options("Clerk", Some(1)));
    assert_eq!(
        found.iter().map(|(line, row)| (*line, texts(row)[1])).collect::<Vec<_>>(),
        [(9, "Blue."), (18, "Item: grey. As ever."), (28, "Down the road.")]
    );
    assert_eq!(facts.map(|facts| (facts.answers, facts.unanswered)), Some((3, 2)));
}

#[test]
fn without_an_assistant_captions_are_one_text_and_other_files_are_not_concerned() {
    let (found, facts) = rows("desk.vtt", DESK, &ReadOptions::default());
    assert!(facts.is_none() && found.len() == 1 && found[0].1["text"].is_string(), "{found:?}");
    for (name, text) in [("a.txt", "Clerk: Yes."), ("a.jsonl", "{\"prompt\": \"a\", \"completion\": \"b\"}\n")] {
        assert_eq!(rows(name, text, &options("Clerk", None)), rows(name, text, &ReadOptions::default()), "{name}");
        assert!(!is_captions(&PathBuf::from(name)));
    }
    for name in ["a.vtt", "b/A.SRT", "a.sbv.gz", "a.vtt.zst"] {
        assert!(is_captions(&PathBuf::from(name)), "{name}");
    }
    assert_eq!(rows("empty.vtt", " \n", &options("Clerk", None)).0.len(), 0);
}

#[test]
fn labels_name_speakers_in_every_kind_of_captions() {
    let said = ["CALLER: Is it open?", "CLERK: Yes. Until six.", "We close then.", "CALLER: Thank you.", "CLERK: Bye."];
    let srt: String = (0..).zip(said).fold(String::new(), |mut text, (at, line)| {
        let _ = write!(text, "{}\n00:00:0{at},000 --> 00:00:0{},000\n{line}\n\n", at + 1, at + 1);
        text
    });
    let sbv: String = (0..).zip(said).fold(String::new(), |mut text, (at, line)| {
        let _ = write!(text, "0:00:0{at}.000,0:00:0{}.000\n{line}\n\n", at + 1);
        text
    });
    let vtt = format!("WEBVTT\n\n{}", srt.replace(",000", ".000"));
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut packed, srt.as_bytes()).expect("memory");
    let packed = packed.finish().expect("memory");
    for (name, bytes) in
        [("a.srt", srt.as_bytes()), ("a.sbv", sbv.as_bytes()), ("a.vtt", vtt.as_bytes()), ("a.srt.gz", &packed)]
    {
        let (found, facts) = rows(name, bytes, &options("CLERK", None));
        assert_eq!(found.len(), 1, "{name}");
        // A name in front of a line holds to the next one.
        let answer = "Yes. Until six. We close then.";
        assert_eq!(texts(&found[0].1), ["Is it open?", answer, "Thank you.", "Bye."], "{name}");
        assert_eq!((found[0].1["start"].as_f64(), found[0].1["source"].as_str()), (Some(0.0), Some(name)));
        assert_eq!(facts.map(|facts| (facts.turns, facts.unnamed)), Some((4, 0)), "{name}");
    }
}

#[test]
fn nobody_named_is_a_user_and_is_counted() {
    let text = "1\n00:00:01,000 --> 00:00:02,000\n>> Is it open?\n\n2\n00:00:02,000 --> 00:00:03,000\n>> CLERK: Yes.\n\n\
                3\n00:00:03,000 --> 00:00:04,000\n>> And now?\n\n4\n00:00:04,000 --> 00:00:05,000\n>> CLERK: Still.\n";
    let (found, facts) = rows("a.srt", text, &options("CLERK", None));
    assert_eq!(texts(&found[0].1), ["Is it open?", "Yes.", "And now?", "Still."]);
    let facts = facts.expect("a transcript");
    assert_eq!((facts.unnamed, facts.unanswered), (2, 0));
    assert!(facts.to_string().ends_with("; 2 by nobody named, taken for a user"), "{facts}");
}

#[test]
fn an_assistant_who_opens_is_left_out_and_counted() {
    let text = "WEBVTT\n\n00:01.000 --> 00:02.000\n<v Clerk>Good morning.\n\n00:02.000 --> 00:03.000\n<v Ada>Is it open?\n\n\
                00:03.000 --> 00:04.000\n<v Clerk>Yes.\n";
    let (found, facts) = rows("a.vtt", text, &options("Clerk", None));
    assert_eq!((found.len(), texts(&found[0].1)), (1, vec!["Is it open?", "Yes."]));
    let facts = facts.expect("a transcript");
    assert_eq!((facts.turns, facts.answers, facts.unasked), (3, 1, 1));
    assert!(facts.to_string().ends_with("1 question with answer; left out: 1 that answers nobody"), "{facts}");

    let alone = text.split_once("00:02.000 --> 00:03.000").expect("two cues").0;
    let error = strictly("a.vtt", alone, &options("Clerk", None)).expect_err("nobody asks");
    assert!(matches!(error, DataError::NothingAnswered { turns: 1, .. }), "{error}");
    assert!(error.to_string().contains("a.vtt: `Clerk` never speaks after somebody else, in 1 turn"), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("data.transcripts.assistant")));
}

#[test]
fn unknown_assistants_are_errors_that_list_who_speaks() {
    for (name, nearest) in [("clerk", Some("Clerk")), ("Clark", Some("Clerk")), ("Zoe", None), ("", None)] {
        let folder = Folder::new();
        let path = folder.write("desk.vtt", DESK);
        let mut records = open(&path, &options(name, None)).expect("a file");
        let error = records.next().expect("an error").expect_err("no such speaker");
        assert!(records.next().is_none());
        let DataError::UnknownSpeaker { speakers, nearest: found, .. } = &error else { panic!("{error}") };
        assert_eq!(found.as_deref(), nearest, "{name}");
        let names: Vec<(&str, usize)> = speakers.iter().map(|(name, turns)| (name.as_str(), *turns)).collect();
        assert_eq!(names, [("Clerk", 3), ("Ada", 2), ("Bob", 2), ("Host", 1)]);
        assert!(error.to_string().contains("`Clerk` (3 turns), `Ada` (2 turns), `Bob` (2 turns), `Host` (1 turn)"));
        let hint = error.hint().unwrap_or_default();
        assert_eq!(hint.contains("did you mean `Clerk`?"), nearest.is_some(), "{hint}");
    }
    let error = strictly("a.vtt", "WEBVTT\n\n00:01.000 --> 00:02.000\nNo names here.\n", &options("Clerk", None));
    let error = error.expect_err("nobody is named");
    assert!(matches!(error, DataError::NoSpeakers { .. }), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("<v NAME>") && hint.contains("plain text")));

    // A hostile file fills neither the terminal nor the message.
    let mut many = String::from("WEBVTT\n\n");
    for index in 0..5000 {
        let _ = write!(many, "00:01.000 --> 00:02.000\n<v \u{1b}[31mSpeaker number {index} of many more>Word.\n\n");
    }
    let error = strictly("a.vtt", &many, &options("Clerk", None)).expect_err("no such speaker").to_string();
    assert!(error.len() < 1000 && !error.contains('\u{1b}') && error.contains("and 4992 more"), "{error}");
}

#[test]
fn what_is_hidden_in_words_arrives() {
    let text = "WEBVTT\n\n00:01.000 --> 00:02.000\n<v Ada>\u{200B}What\u{200B} is b\u{200B}lue?\n\n\
                00:02.000 --> 00:03.000\n<v Clerk>The s\u{2060}k\u{FEFF}y.\u{FEFF}\n";
    let (found, _) = rows("a.vtt", text, &options("Clerk", None));
    assert_eq!(texts(&found[0].1), ["What is b\u{200B}lue?", "The s\u{2060}k\u{FEFF}y."]);
}

/// Speakers of cues: 0 is nobody, 1 is the assistant.
const NAMES: [Option<&str>; 5] = [None, Some("Clerk"), Some("Ada"), Some("Bob"), Some("Eve")];

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Each segment of the assistant is in one row or in a turn that is counted as left out, and rows are as the rules say.
    #[test]
    fn every_turn_has_a_fate(cues in prop::collection::vec(0usize..5, 1..60), exchanges in prop::option::of(1usize..4)) {
        let mut text = String::from("WEBVTT\n\n");
        for (index, &speaker) in cues.iter().enumerate() {
            let voice = NAMES[speaker].map_or(String::new(), |name| format!("<v {name}>"));
            let _ = write!(text, "{:02}:00.000 --> {:02}:30.000\n{voice}word{index}.\n\n", index, index);
        }
        // Turns as lists of cues.
        let mut turns: Vec<(usize, Vec<usize>)> = Vec::new();
        for (index, &speaker) in cues.iter().enumerate() {
            match turns.last_mut() {
                Some((last, said)) if *last == speaker => said.push(index),
                _ => turns.push((speaker, vec![index])),
            }
        }
        // Turns change speakers, so that an answer stands behind its question.
        let answers: Vec<usize> = (1..turns.len()).filter(|&turn| turns[turn].0 == 1).collect();
        let mut expected: Vec<Vec<usize>> = Vec::new();
        for &answer in &answers {
            let goes_on = expected.last().is_some_and(|row: &Vec<usize>| {
                let before = row[row.len() - 1];
                before + 2 == answer
                    && turns[before - 1].0 == turns[answer - 1].0
                    && exchanges.is_none_or(|most| row.len() / 2 < most)
            });
            match expected.last_mut() {
                Some(row) if goes_on => row.extend([answer - 1, answer]),
                _ => expected.push(vec![answer - 1, answer]),
            }
        }
        let said = |turn: usize| turns[turn].1.iter().map(|cue| format!("word{cue}.")).collect::<Vec<_>>().join(" ");
        let folder = Folder::new();
        let path = folder.write("a.vtt", &text);
        let set = read_with(&[path], FormatChoice::Messages, &options("Clerk", exchanges));
        if answers.is_empty() {
            let refused = matches!(
                set,
                Err(DataError::NoSpeakers { .. } | DataError::UnknownSpeaker { .. } | DataError::NothingAnswered { .. })
            );
            prop_assert!(refused);
            return Ok(());
        }
        let set = set.expect("rows");
        let facts = set.files[0].transcript.expect("a transcript");
        let others = turns.iter().filter(|(speaker, _)| *speaker != 1).count();
        let unasked = usize::from(turns[0].0 == 1);
        let unnamed = answers.iter().filter(|&&answer| turns[answer - 1].0 == 0).count();
        let counts = [facts.turns, facts.answers, facts.unanswered, facts.unasked, facts.unnamed];
        prop_assert_eq!(counts, [turns.len(), answers.len(), others - answers.len(), unasked, unnamed]);

        let mut seen: HashMap<String, usize> = HashMap::new();
        prop_assert_eq!(set.rows.len(), expected.len());
        for (row, turns_of_row) in set.rows.iter().zip(&expected) {
            // The first cue of the question: two lines of head, three a cue.
            prop_assert_eq!(row.origin.line, 3 + 3 * turns[turns_of_row[0]].1[0]);
            let RowContent::Chat(chat) = &row.content else { panic!("no chat") };
            let found = serde_json::to_value(&chat.messages).expect("JSON");
            for (message, &turn) in found.as_array().expect("a list").iter().zip(turns_of_row) {
                prop_assert_eq!(message["role"].as_str(), Some(if turns[turn].0 == 1 { "assistant" } else { "user" }));
                prop_assert_eq!(message["content"].as_str().map(str::to_owned), Some(said(turn)));
                if turns[turn].0 == 1 {
                    said(turn).split(' ').for_each(|word| *seen.entry(word.to_owned()).or_default() += 1);
                }
            }
            prop_assert_eq!(chat.messages.len(), turns_of_row.len());
        }
        for (index, _) in cues.iter().enumerate().filter(|(_, speaker)| **speaker == 1) {
            let left_out = unasked == 1 && turns[0].1.contains(&index);
            let times = seen.get(&format!("word{index}.")).copied().unwrap_or(0);
            prop_assert_eq!(times, usize::from(!left_out), "segment {}", index);
        }
    }
}
