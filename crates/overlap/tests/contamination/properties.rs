//! Whatever the texts.

use std::time::{Duration, Instant};

use attune_overlap::contamination::{EvalRow, EvalSet, Index, Match, Scratch, Settings, load_eval_file};
use proptest::prelude::*;

use crate::common::{asset, check};

/// Texts of few different pieces, so that rows and texts have much in common.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => prop::sample::select(vec!["a ", "robe ", "takes ", "bolts ", "of ", "blue ", "the ", "2 ", "two ", "16 ", "1,000 ", "hundred ", "."]).prop_map(str::to_owned),
        1 => prop::sample::select(vec!["\u{e9}", "\u{301}", "\u{7ae0}", "\u{200b}", "\u{1f600}", "'", "\u{2019}", "<<2*3=6>>6", "<<", "2.50", "\u{ff11}", "\n", "\u{0}", "\u{130}"]).prop_map(str::to_owned),
        1 => any::<String>(),
    ];
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

fn row() -> impl Strategy<Value = EvalRow> {
    (text(), prop::option::of(text()), prop::option::of(text())).prop_map(|(question, answer, passage)| EvalRow {
        id: String::new(),
        question,
        answer,
        passage,
    })
}

fn settings() -> impl Strategy<Value = Settings> {
    (2..8_usize, 1..12_usize, 0..12_usize, 0..8_usize, 1..4_usize).prop_map(
        |(ngram, sample_every, max_misses, min_tokens, hot_ngram)| Settings {
            ngram,
            sample_every,
            max_misses,
            min_tokens,
            min_unique: 0,
            hot_ngram,
            ..Settings::default()
        },
    )
}

/// What holds for all finds.
fn sound(index: &Index, text: &str, matches: &[Match]) {
    let share = |score: f64| (0.0..=1.0).contains(&score);
    for found in matches {
        let set = &index.sets()[found.set];
        assert!(found.row < set.rows.len() && found.also.iter().all(|&row| row < set.rows.len() && row != found.row));
        assert!(!text[found.span.clone()].is_empty(), "{found:?}");
        assert!(share(found.score) && share(found.question_score), "{found:?}");
        assert!(found.answer_score.is_none_or(share) && found.passage_score.is_none_or(share), "{found:?}");
    }
    assert!(matches.is_sorted_by_key(|found| (found.set, found.row)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_rows_and_texts_will_do(rows in prop::collection::vec(row(), 0..6), texts in prop::collection::vec(text(), 1..4), settings in settings()) {
        let index = Index::build(vec![EvalSet { name: "set".into(), rows }], &settings).expect("an index");
        let mut scratch = Scratch::default();
        for text in &texts {
            let matches = index.check(text, &mut scratch);
            sound(&index, text, &matches);
            // What was in the scratch makes no difference.
            prop_assert_eq!(&matches, &check(&index, text));
        }
    }

    #[test]
    fn a_question_is_found_in_itself(before in text(), words in prop::collection::vec("[a-z]{3,9}", 20..40), after in text()) {
        let question = words.join(" ");
        let rows = vec![EvalRow { id: String::new(), question: question.clone(), answer: None, passage: None }];
        let index = Index::build(vec![EvalSet { name: "set".into(), rows }], &Settings { paraphrase: None, ..Settings::default() }).expect("an index");
        let text = format!("{before} {question} {after}");
        let matches = check(&index, &text);
        sound(&index, &text, &matches);
        prop_assert_eq!(matches.len(), 1);
        prop_assert_eq!(matches[0].score, 1.0);
        prop_assert_eq!(&text[matches[0].span.clone()], &question);
    }

    #[test]
    fn any_bytes_are_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), head in prop::sample::select(vec![&b""[..], b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"BZh9", b"\xfd7zXZ\0", b"\x51\x2a\x4d\x18", b"[{\"question\":", b"{\"choices\":[1,2],\"answer\":"])) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("set.jsonl");
        #[allow(clippy::disallowed_methods, reason = "test files need no safe writing")]
        std::fs::write(&path, [head, &bytes[..]].concat()).expect("a written file");
        let _ = load_eval_file(&path);
    }
}

/// Ten megabytes that were made to take long. Unoptimised and beside others this has to be quick as well.
#[test]
fn hostile_texts_take_no_time() {
    let Some(path) = asset("datasets/gsm8k/test.jsonl") else { return };
    let set = load_eval_file(&path).expect("GSM8K");
    let long = |piece: &str| piece.repeat(10_000_000 / piece.len());
    let question = set.rows[0].question.clone();
    let index = Index::build(vec![set], &Settings::default()).expect("an index");
    let mut scratch = Scratch::default();
    for (name, text) in [
        ("one word", long("many ")),
        ("no spaces", long("a")),
        ("digits", long("1")),
        ("digits and commas", long("1,")),
        ("zeros after a point", format!("0.{}", long("0"))),
        ("angles", long("<")),
        ("notes", long("<<1=1")),
        ("marks", long("\u{301}")),
        ("a letter and marks", format!("a{}", long("\u{301}"))),
        ("apostrophes", long("'a")),
        ("no words", long(" ")),
        ("han", long("\u{7ae0}")),
        ("a common run", long("how many hours does ")),
        ("a common run, changed", long("how much did he pay in total for x ")),
        ("numbers and words", long("16 eggs 3 eggs 4 muffins ")),
        ("numbers", long("two hundred and five thousand ")),
        ("one question", long(&question)),
        ("the begin of a question", long(&question[..60])),
        (
            "the words of questions",
            long("she has 3 times as many apples as he has 5 days a week for 2 hours each day and 10 more "),
        ),
    ] {
        let before = Instant::now();
        let matches = index.check(&text, &mut scratch);
        let took = before.elapsed();
        sound(&index, &text, &matches);
        println!("{name}: {took:?}, {} finds", matches.len());
        assert!(took < Duration::from_secs(20), "{name}: {took:?}");
    }
}
