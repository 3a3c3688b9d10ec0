//! Each rule by itself.

use attune_overlap::contamination::{Error, Index, Layer, Scratch, Settings};

use crate::common::{check, index, set};

const ROBE: &str =
    "A robe takes 2 bolts of blue fiber and half that much white fiber. How many bolts in total does it take?";

fn settings() -> Settings {
    Settings { paraphrase: None, ..Settings::default() }
}

#[test]
fn scores_of_question_answer_and_passage() {
    let passage =
        "The Eiffel Tower is a landmark in Paris, France, and was constructed in 1889 for the fair of that year.";
    let index = index(&[("What year was the Eiffel Tower constructed?", "1889", passage)], &settings());
    let found = check(&index, &format!("{passage} What year was the Eiffel Tower constructed? 1889!"));
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].score, found[0].question_score), (1.0, 1.0));
    assert_eq!((found[0].answer_score, found[0].passage_score), (Some(1.0), Some(1.0)));
    // A short question alone says nothing; with its answer it does.
    assert_eq!(check(&index, "Tell me: what year was the Eiffel Tower constructed? I do not know."), []);
    let with_answer = check(&index, "What year was the Eiffel Tower constructed? In 1889.");
    assert_eq!(
        (with_answer.len(), with_answer[0].answer_score, with_answer[0].passage_score),
        (1, Some(1.0), Some(0.0))
    );
    assert!((with_answer[0].score - 0.9).abs() < 1e-6);
    // The answer is too far away.
    let far = format!("What year was the Eiffel Tower constructed? {} 1889", "word and other ".repeat(20));
    assert_eq!(check(&index, &far), []);
    // A short question has to be there word by word.
    assert_eq!(check(&index, &format!("{passage} In what year was that Eiffel Tower constructed? 1889!")), []);
}

#[test]
fn a_long_question_says_enough_by_itself() {
    let index = index(&[(ROBE, "It takes 2/2=1 bolt of white fiber, so 3 bolts.", "")], &settings());
    let text = format!("So: {ROBE} I believe that nobody knows.");
    let found = check(&index, &text);
    assert_eq!((found.len(), found[0].score, found[0].answer_score), (1, 1.0, Some(0.0)));
    assert_eq!(&text[found[0].span.clone()], ROBE.trim_end_matches('?'));
    let whole = check(&index, &format!("{ROBE} It takes 2/2=1 bolt of white fiber, so 3 bolts."));
    assert_eq!(whole[0].answer_score, Some(1.0));
    // Half of it does not.
    assert_eq!(
        check(&index, "A robe takes 2 bolts of blue fiber and half that much silk, so the tailor went to the shop."),
        []
    );
}

#[test]
fn other_numbers_make_another_question() {
    let short = "If Ann has 14 apples and eats 5 of them, how many are left for Bob?";
    let index = index(&[(short, "9", ""), (ROBE, "3", "")], &settings());
    assert_eq!(check(&index, short).len(), 1);
    assert_eq!(check(&index, &short.replace("14", "17")), []);
    assert_eq!(check(&index, &short.replace("14", "fourteen")).len(), 1);
    // In a longer one, a single number may be a slip.
    assert_eq!(check(&index, &ROBE.replace('2', "4")).len(), 1);
    let long = format!("{ROBE} {short} It took 7 days.");
    let two = self::index(&[(&long, "", "")], &settings());
    assert_eq!(check(&two, &long.replace("14", "15").replace('7', "8")), []);
}

#[test]
fn rows_with_one_question_are_one_find() {
    let rows = [(ROBE, "the first choice", ""), (ROBE, "the second choice", ""), (ROBE, "the third choice", "")];
    let index = index(&rows, &settings());
    assert_eq!((index.summary().rows, index.summary().questions), (3, 1));
    let found = check(&index, &format!("{ROBE} Answer: the second choice"));
    assert_eq!((found.len(), found[0].row, &found[0].also[..]), (1, 1, &[0, 2][..]));
    // The same question in two sets is found in both.
    let both = Index::build(vec![set("a", &rows[..1]), set("b", &rows[1..])], &settings()).expect("an index");
    let found = check(&both, ROBE);
    assert_eq!(found.iter().map(|found| (found.set, found.row)).collect::<Vec<_>>(), [(0, 0), (1, 0)]);
}

#[test]
fn a_very_short_question_is_found_by_its_passage_or_answer() {
    let passage =
        "Photosynthesis is the process by which plants convert light energy into chemical energy in their leaves.";
    let index = index(
        &[
            ("What is photosynthesis?", "", passage),
            ("Solve for x", "Subtract five from both sides, then divide by two to get x equal to five.", ""),
        ],
        &settings(),
    );
    assert_eq!(index.summary().unreachable_rows, 0);
    assert_eq!(check(&index, &format!("{passage} What is photosynthesis?")).len(), 1);
    assert_eq!(check(&index, passage), []);
    let answer = "Solve for x. Subtract five from both sides, then divide by two to get x equal to five.";
    assert_eq!(check(&index, answer).len(), 1);
}

#[test]
fn what_is_left_out_is_counted() {
    let rows = [("What is it?", "no", ""), ("the the the the the the the the the the the the", "", ""), (ROBE, "", "")];
    let summary = index(&rows, &Settings::default()).summary();
    assert_eq!((summary.rows, summary.questions, summary.short_rows, summary.unreachable_rows), (3, 1, 2, 0));
    assert_eq!(summary.paraphrase_questions, 1);
    assert!(summary.ngrams > 10 && summary.table_bytes > 100);
    let open = Settings { min_tokens: 0, min_unique: 0, ..Settings::default() };
    let summary = index(&rows, &open).summary();
    assert_eq!((summary.questions, summary.short_rows, summary.unreachable_rows), (2, 0, 1));
}

#[test]
fn questions_from_one_mould_are_told_apart() {
    let cities = ["Paris", "Rome", "Lima", "Oslo", "Cairo", "Delhi"];
    let questions: Vec<String> = (0..600)
        .map(|n| format!("Which of the following statements about the history of the city of {}{n} in the year {n} is the most likely to be true?", cities[n % 6]))
        .collect();
    let rows: Vec<(&str, &str, &str)> = questions.iter().map(|question| (&question[..], "yes", "")).collect();
    let index = index(&rows, &settings());
    let mut scratch = Scratch::default();
    for (number, question) in questions.iter().enumerate().step_by(37) {
        let found = index.check(&format!("Some text before. {question} Yes. And after."), &mut scratch);
        let best = found.iter().max_by(|a, b| a.score.total_cmp(&b.score)).expect("a find");
        assert_eq!((best.row, best.score), (number, 1.0));
    }
}

#[test]
fn a_mould_alone_is_no_find() {
    let mould = "For which of these two stories does the main person do something that is clearly wrong by the standards of \
        most people in the year 2020? Story 1:";
    let own: Vec<String> = (0..60)
        .map(|n| {
            format!("somebody{n} left town{n} with boat{n} and sold coat{n} for food{n} on road{n} before rain{n} fell")
        })
        .collect();
    let questions: Vec<String> = own.iter().map(|own| format!("{mould} {own}.")).collect();
    let rows: Vec<(&str, &str, &str)> = questions.iter().map(|question| (&question[..], "wrong", "")).collect();
    let index = index(&rows, &Settings::default());
    assert_eq!(
        check(&index, &format!("{mould} a woman gave bread to the birds of the park on Sunday. It is wrong.")),
        []
    );
    // With its mould or without it, a row is found by its own words.
    for text in [&questions[7], &own[7], &questions[7].replace("sold", "bought")] {
        let found = check(&index, &format!("Well: {text} Thus."));
        assert_eq!((found.len(), found[0].row), (1, 7), "{text}");
    }
}

#[test]
fn a_row_found_twice_is_reported_at_its_best_place() {
    let index = index(&[(ROBE, "", "")], &settings());
    let worse = ROBE.replace("white", "grey");
    for text in
        [format!("{worse} {} {ROBE}", "And so on. ".repeat(30)), format!("{ROBE} {} {worse}", "And so on. ".repeat(30))]
    {
        let found = check(&index, &text);
        assert_eq!((found.len(), found[0].score), (1, 1.0));
        assert!(text[found[0].span.clone()].contains("white"));
    }
}

#[test]
fn other_languages_are_found() {
    let questions = [
        "\u{5c0f}\u{660e}\u{6709}\u{4e09}\u{4e2a}\u{82f9}\u{679c}\u{ff0c}\u{4ed6}\u{53c8}\u{4e70}\u{4e86}\u{4e94}\u{4e2a}\u{ff0c}\u{4ed6}\u{4e00}\u{5171}\u{6709}\u{591a}\u{5c11}\u{4e2a}\u{82f9}\u{679c}\u{ff1f}",
        "\u{0421}\u{043a}\u{043e}\u{043b}\u{044c}\u{043a}\u{043e} \u{043a}\u{043d}\u{0438}\u{0433} \u{0447}\u{0438}\u{0442}\u{0430}\u{0435}\u{0442} \u{0410}\u{043d}\u{043d}\u{0430} \u{0437}\u{0430} \u{0433}\u{043e}\u{0434}, \u{0435}\u{0441}\u{043b}\u{0438} \u{0432} \u{043c}\u{0435}\u{0441}\u{044f}\u{0446} \u{043e}\u{043d}\u{0430} \u{0447}\u{0438}\u{0442}\u{0430}\u{0435}\u{0442} \u{0434}\u{0432}\u{0435} \u{043a}\u{043d}\u{0438}\u{0433}\u{0438}?",
        "Combien de p\u{e2}tisseries Am\u{e9}lie vend-elle chaque semaine si elle en vend sept par jour, sauf le dimanche apr\u{e8}s-midi?",
    ];
    let rows: Vec<(&str, &str, &str)> = questions.iter().map(|question| (*question, "", "")).collect();
    let index = index(&rows, &settings());
    for (number, question) in questions.iter().enumerate() {
        let text = format!("xyz \u{3002} {} \u{3002} xyz", question.to_uppercase());
        let found = check(&index, &text);
        assert_eq!((found.len(), found[0].row, found[0].score), (1, number, 1.0), "{question}");
    }
}

#[test]
fn the_layer_of_rewordings_can_be_left_out() {
    let text = "If a robe needs two bolts of blue fiber, and of white fiber just half as much, what is the total number of bolts it takes?";
    let filler = |n: usize| {
        format!("The train number {n} goes {} times over the hill and past lake {} with swans.", n + 2, n * 3)
    };
    let fillers: Vec<String> = (0..50).map(filler).collect();
    let mut rows = vec![(ROBE, "3", "")];
    rows.extend(fillers.iter().map(|filler| (&filler[..], "", "")));
    let found = check(&index(&rows, &Settings::default()), text);
    assert_eq!((found.len(), found[0].row, found[0].layer), (1, 0, Layer::Paraphrase));
    assert!(text[found[0].span.clone()].starts_with("robe"));
    assert_eq!(check(&index(&rows, &settings()), text), []);
    assert_eq!(check(&index(&rows, &Settings::default()), &text.replace("two", "five")), []);
}

#[test]
fn wrong_settings_are_refused() {
    let error = Index::build(Vec::new(), &Settings { ngram: 0, ..Settings::default() }).expect_err("a wrong setting");
    assert!(matches!(error, Error::Setting { setting: "ngram", .. }), "{error}");
    assert_eq!(error.to_string(), "contamination: `ngram` must be 2 to 16");
    let empty = Index::build(Vec::new(), &Settings::default()).expect("an empty index");
    assert_eq!(check(&empty, ROBE), []);
}

#[test]
fn sampling_finds_what_is_there_whole() {
    for (ngram, sample_every) in [(5, 3), (5, 10), (3, 3), (8, 10), (13, 1)] {
        let index = index(&[(ROBE, "3", "")], &Settings { ngram, sample_every, ..settings() });
        for shift in 0..10 {
            let text = format!("{}{ROBE} And on.", "so ".repeat(shift));
            assert_eq!(check(&index, &text).len(), 1, "{ngram} {sample_every} {shift}");
        }
    }
}
