//! The score of questions with their answers: single faults, planted faults in real sets, the best share.

mod common;
#[path = "../examples/planted/mod.rs"]
mod planted;

use attune_data::screen::answers::{RowContext, SMALL_GROUP, Scored, keep_best, length_band, score};
use planted::{FAULTS, Pair, area, plant, read_pairs};
use proptest::prelude::*;

const PLAIN: RowContext<'_> = RowContext { passage: None, system: None };

fn rules(question: &str, answer: &str, context: &RowContext<'_>) -> Vec<&'static str> {
    score(question, answer, context).reasons.into_iter().map(|reason| reason.rule).collect()
}

#[test]
fn good_rows_have_no_fault() {
    for (question, answer) in [
        ("What is the capital of France?", "Paris"),
        ("What is 6 x 7?", "42"),
        ("Is water wet?", "Yes."),
        ("Which option is right, A or B?", "A"),
        ("Write a function that adds two numbers.", "def add(a, b):\n    return a + b"),
        ("How do I open a file in Rust?", "Use `File::open`:\n\n```rust\nlet file = File::open(\"a.txt\")?;\n```"),
        ("Name three colours.", "- red\n- green\n- blue"),
        ("Return the data as JSON only: name Ann, age 3", "{\"name\": \"Ann\", \"age\": 3}"),
        (
            "Wie heißt die Hauptstadt von Frankreich, und was ist dort zu sehen?",
            "Die Hauptstadt ist Paris; dort steht der Eiffelturm.",
        ),
        ("Translate to German: The cat sleeps on the warm stone.", "Die Katze schläft auf dem warmen Stein."),
        ("法国的首都是哪里？", "法国的首都是巴黎。"),
        ("Sort 3, 1, 2.", "1, 2, 3"),
        ("Which operator means not equal?", "!="),
    ] {
        let found = score(question, answer, &PLAIN);
        let least = if answer == "!=" { 0.4 } else { 0.9 };
        assert!(found.score >= least, "{question} {answer}: {found:?}");
    }
}

#[test]
fn each_fault_is_named() {
    let question = "Explain how a heat pump warms a house in winter.";
    let good = "A heat pump takes heat from the air outside, even when it is cold. A fluid boils in the outer coil, a \
                compressor raises its pressure, and it gives off the heat inside the house.";
    assert!(score(question, good, &PLAIN).score > 0.95);
    let cases = [
        (String::new(), "answer_without_words"),
        ("Heat.".to_owned(), "answer_too_short_for_request"),
        (good[..good.len() - 20].to_owned(), "last_sentence_without_mark"),
        ("A heat pump takes heat from the air outside and moves it into the".to_owned(), "ends_in_mid_sentence"),
        ("A heat pump moves heat into the house. These are its parts:".to_owned(), "ends_with_colon"),
        (format!("{good}\n```python\nprint(1)"), "unclosed_code_block"),
        (format!("{good} (See also the compressor."), "unclosed_brackets"),
        (format!("{good}{}", " It is warm in the house.".repeat(8)), "looped_words"),
        (format!("{good} Sooooooooooooooo warm."), "run_of_one_character"),
        ("As an AI language model, I cannot explain heat pumps.".to_owned(), "refusal"),
        ("Great question! It depends on many factors. I hope this helps!".to_owned(), "filler_phrases"),
        (
            "There are several important things to consider here, and every situation is different. People often have \
             various opinions about this topic, so it helps to know the details."
                .to_owned(),
            "words_that_fit_any_question",
        ),
        (question.to_owned(), "answer_repeats_question"),
        (
            "Eine Wärmepumpe entzieht der Luft die Wärme und gibt sie im Haus wieder ab, auch wenn es draußen kalt ist."
                .to_owned(),
            "other_language_than_question",
        ),
        ("热泵从室外空气中吸收热量，然后将其释放到房屋内。".to_owned(), "other_script_than_question"),
        (format!("{good}<|im_end|>"), "template_marks"),
        (format!("{good}\n### Response:\nYes."), "template_marks"),
        (format!("{good}\nHuman: And in summer?\nAssistant: It cools."), "turns_inside_answer"),
        (format!("{good} Subscribe to our newsletter. We use cookies."), "page_phrases"),
        (good.replace(". A", ".<br>&nbsp;A"), "html_leftovers"),
        (good.replace("even", "evÃ©n itâ€™s"), "broken_characters"),
        ("Bananas ripen faster when you put them in a paper bag with an apple, because of the ethylene gas.".to_owned(), "shares_no_words_with_question"),
    ];
    for (answer, rule) in &cases {
        let found = score(question, answer, &PLAIN);
        assert!(found.reasons.iter().any(|reason| reason.rule == *rule), "{rule}: {found:?}\n{answer}");
        assert!(found.score < 0.75, "{rule}: {}", found.score);
        assert_eq!(found.parts.len(), 9);
        let product: f64 = found.parts.iter().map(|part| part.value.max(0.02).powf(part.weight)).product();
        assert!((product - found.score).abs() < 1e-12);
    }
}

#[test]
fn forms_that_were_asked_for() {
    for (question, answer, rule) in [
        ("Give the answer in JSON: colour red", "The colour is red.", "no_json"),
        ("Give the answer in JSON: colour red", "{\"colour\": \"red\"", "json_that_cannot_be_read"),
        ("Use bullet points: why is the sky blue?", "The sky is blue since air scatters blue light.", "no_list"),
        ("List five fruits.", "1. apple\n2. pear\n3. plum", "too_few_items"),
        ("Is it late? Answer yes or no.", "It is 9 pm by now.", "neither_yes_nor_no"),
        (
            "What is rust, in at most 5 words?",
            "Rust is what iron turns into when it meets water and air for long.",
            "more_words_than_allowed",
        ),
        ("Show the planets in a table.", "Mercury and Venus are planets.", "no_table"),
    ] {
        assert!(rules(question, answer, &PLAIN).contains(&rule), "{question}: {:?}", score(question, answer, &PLAIN));
    }
    let system = RowContext { system: Some("Respond with JSON only."), passage: None };
    assert!(rules("Which colour is it?", "It is red.", &system).contains(&"no_json"));
    assert_eq!(rules("Which colour is it?", "{\"colour\": \"red\"}", &system), Vec::<&str>::new());
    assert_eq!(
        rules("Write a function that returns a value in JSON format.", "def f():\n    return json.dumps(1)", &PLAIN),
        Vec::<&str>::new()
    );
}

#[test]
fn answers_come_from_the_passage() {
    let passage = "The mill at Harlow was built in 1784 by the brothers Finch. Its wheel, nine metres across, drove two \
                   pairs of stones until the flood of 1911 broke the weir.";
    let context = RowContext { passage: Some(passage), system: None };
    let question = "When was the mill at Harlow built?";
    assert!(score(question, "It was built in 1784 by the brothers Finch.", &context).score > 0.95);
    let invented =
        "Construction finished during spring 1902 under engineer Marlowe, with funding from local merchants.";
    assert!(rules(question, invented, &context).contains(&"answer_not_from_passage"));
    assert!(
        rules("Which tyres suit icy roads?", "The wheel drove two pairs of stones.", &context)
            .contains(&"question_not_about_passage")
    );
}

/// Planted faults must rank below the same rows untouched.
#[test]
fn planted_faults_rank_below_good_rows() {
    for (set, least) in [("datasets/llama-factory/alpaca_en_demo.json", 0.9), ("datasets/lima/lima.json", 0.85)] {
        let Some(path) = common::asset(set) else { return };
        let pairs: Vec<Pair> = read_pairs(&path)
            .into_iter()
            .filter(|pair| pair.answer.split_whitespace().count() >= 30)
            .take(600)
            .collect();
        assert!(pairs.len() > 300);
        let mark = |pair: &Pair| score(&pair.question, &pair.answer, &PLAIN).score;
        let good: Vec<f64> = pairs.iter().map(mark).collect();
        for fault in FAULTS.iter().filter(|&&fault| fault != "shuffled" && fault != "truncated") {
            let bad: Vec<f64> = plant(&pairs, fault).iter().map(mark).collect();
            let found = area(&good, &bad);
            assert!(found >= least, "{set} {fault}: {found}");
        }
        for (fault, least) in [("truncated", 0.8), ("shuffled", 0.6)] {
            let bad: Vec<f64> = plant(&pairs, fault).iter().map(mark).collect();
            let found = area(&good, &bad);
            assert!(found >= least, "{set} {fault}: {found}");
        }
        let low = good.iter().filter(|&&score| score < 0.5).count();
        assert!(low * 100 <= good.len() * 8, "{set}: {low} of {} good rows are below 0.5", good.len());
    }
}

#[test]
fn the_best_share_of_each_group() {
    let row = |score, source, length_band| Scored { score, source, role: "train", length_band };
    let mut rows: Vec<Scored<'_>> = (0..10).map(|n| row(f64::from(n % 5), "a", 0)).collect();
    rows.extend((0..10).map(|n| row(f64::from(n) / 100.0, "b", 0)));
    rows.extend([row(0.0, "c", 0), row(f64::NAN, "c", 0)]);
    let kept = keep_best(&rows, 0.7);
    // Of the equal scores 1.0 at 1 and 6 the earlier one stays.
    assert_eq!(kept[..10], [false, true, true, true, true, false, false, true, true, true]);
    assert_eq!(kept[10..20], [false, false, false, true, true, true, true, true, true, true]);
    assert_eq!(kept[20..], [true, true]);
    assert_eq!(keep_best(&rows, f64::NAN), [true; 22]);
    assert_eq!(keep_best(&rows, 7.0), [true; 22]);
    assert_eq!(keep_best(&rows, -1.0).iter().filter(|&&kept| kept).count(), 2);
    assert_eq!(keep_best(&[], 0.5), Vec::<bool>::new());
    let last = [row(f64::NAN, "d", 1), row(1.0, "d", 1), row(0.5, "d", 1), row(-9.0, "d", 1), row(2.0, "d", 1)];
    assert_eq!(keep_best(&last, 0.8), [false, true, true, true, true]);
    assert_eq!([7, 8, 31, 32, 5000].map(length_band), [0, 1, 1, 2, 5]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_row_gets_a_score(question in "\\PC{0,120}", answer in "\\PC{0,300}|[ab{}\\[\\]().,`\"\\\\\\n <|>*-]{0,200}", passage in proptest::option::of("\\PC{0,200}")) {
        let context = RowContext { passage: passage.as_deref(), system: Some(&question) };
        let found = score(&question, &answer, &context);
        prop_assert!((0.0..=1.0).contains(&found.score));
        for part in &found.parts {
            prop_assert!((0.0..=1.0).contains(&part.value), "{part:?}");
        }
        prop_assert_eq!(&found, &score(&question, &answer, &context));
    }

    #[test]
    fn counts_are_exact(scores in proptest::collection::vec(0u8..20, 0..60), share in 0.0..=1.0f64) {
        let rows: Vec<Scored<'_>> = scores.iter().map(|&score| Scored { score: f64::from(score), source: "", role: "", length_band: 0 }).collect();
        let kept = keep_best(&rows, share);
        let count = kept.iter().filter(|&&kept| kept).count();
        let wanted = if rows.len() < SMALL_GROUP { rows.len() } else { (share * rows.len() as f64 - 1e-9).ceil() as usize };
        prop_assert_eq!(count, wanted);
        let worst_kept = rows.iter().zip(&kept).filter(|&(_, &kept)| kept).map(|(row, _)| row.score).fold(f64::INFINITY, f64::min);
        let best_gone = rows.iter().zip(&kept).filter(|&(_, &kept)| !kept).map(|(row, _)| row.score).fold(f64::NEG_INFINITY, f64::max);
        prop_assert!(worst_kept >= best_gone);
    }
}

/// Texts that would take hours in quadratic time.
#[test]
fn long_rows_take_linear_time() {
    for piece in [
        "a ", "(", ")(", "{", "[", "```\n", "\n", "- a\n", ".", "a, ", "<|", "你", "Ã©", "list 5 ", "in json ", "'",
        "  ",
    ] {
        let size = if piece == "(" || piece == "a " || piece == "{" { 10 << 20 } else { 1 << 20 };
        let text = piece.repeat(size / piece.len());
        let start = std::time::Instant::now();
        score("What is it, in JSON?", &text, &PLAIN);
        score(&text, "It is red.", &RowContext { passage: Some(&text), system: None });
        let seconds = start.elapsed().as_secs_f64();
        assert!(seconds < 60.0, "{piece:?}: {seconds} s");
    }
}
