//! The rules for documents, against values that other tools give.

mod common;

use attune_data::screen::documents::{
    C4, C4Paragraphs, DocumentRules, FineWeb, GopherQuality, GopherRepetition, attributes, check,
};
use proptest::prelude::*;

const NONE: DocumentRules =
    DocumentRules { gopher_quality: None, gopher_repetition: None, c4: None, c4_paragraphs: None, fineweb: None };

fn rules_broken(text: &str, rules: &DocumentRules) -> Vec<&'static str> {
    check(text, rules).into_iter().map(|reason| reason.rule).collect()
}

#[test]
fn values_as_dolma_measures_them() {
    let found = attributes("This is a test.");
    assert_eq!(found.top_runs, [Some(0.5), Some(0.583_333_333_333_333_4), Some(1.0)]);
    assert_eq!(found.repeated_runs, [None; 6]);
    assert_eq!((found.characters, found.words, found.median_word_length), (15, 4, 3.0));
    assert_eq!((found.symbols_per_word, found.alphabetic_words, found.required_words), (0.0, 1.0, 0));
    assert_eq!((found.bullet_lines, found.ellipsis_lines), (0.0, 0.0));
    assert_eq!((found.repeated_lines, found.repeated_line_characters), (0.0, 0.0));

    let found = attributes("This is a sentence. \n  \n This is another sentence.\n\n  This is a third sentence.");
    assert_eq!(
        found.top_runs,
        [Some(0.305_084_745_762_711_9), Some(0.237_288_135_593_220_35), Some(0.271_186_440_677_966_1)]
    );
    assert_eq!(found.repeated_runs, [Some(0.0); 6]);
    assert_eq!((found.characters, found.words, found.median_word_length), (79, 13, 4.0));
    assert_eq!(found.repeated_lines, 0.0);

    assert_eq!(attributes("T h i s \n    \n\n\n    isoneword !!!").words, 6);
    assert_eq!(attributes("The.and.that").required_words, 0);
    assert_eq!(attributes("The and that").required_words, 2);
    assert_eq!(attributes("").words, 0);
    let found = attributes("same line\nsame line\n- other…\n# x");
    assert_eq!((found.repeated_lines, found.bullet_lines, found.ellipsis_lines), (0.5, 0.25, 0.25));
    assert_eq!(found.repeated_line_characters, 18.0 / 25.0);
}

#[test]
fn repetition_as_datatrove_judges_it() {
    let rules = DocumentRules { gopher_repetition: Some(GopherRepetition::default()), ..NONE };
    let other = "I wish it had not come to this in our days, said the younger one. So do all who live to see them, \
                 said the older, but nobody asks us; what we may settle is how to spend the hours that we get.";
    let unlike = format!("One line.\nAnd a second.\nThen a third one.\n{0}.\n{0}.\n", "x".repeat(40));
    let paragraphs = format!("One line.\n\nAnd a second.\n\nThen a third one.\n\n{0}.\n\n{0}.\n\n", "x".repeat(30));
    for (text, rule) in [
        ("I know you well.\n".repeat(4), "dup_line_frac"),
        ("I know you well.\n\n".repeat(4), "dup_para_frac"),
        (unlike, "dup_line_char_frac"),
        (paragraphs, "dup_para_char_frac"),
        ("I am Jane, I am Jane, I am Jane".to_owned(), "top_2_gram"),
        ("I am Jane, you are Paul. I am Jane. I am Jane you are Paul".to_owned(), "top_3_gram"),
        (format!("{}{other}", "I go with lone riders ".repeat(4)), "duplicated_5_n_grams"),
    ] {
        let broken = rules_broken(&text, &rules);
        assert!(broken.contains(&rule), "{rule}: {broken:?}\n{text}");
    }
    assert_eq!(rules_broken(other, &rules), Vec::<&str>::new());
    // Four lines of which three were there before, and the empty piece behind the last line end.
    let reason =
        check(&"I know you well.\n".repeat(4), &rules).into_iter().find(|reason| reason.rule == "dup_line_frac");
    assert_eq!(reason.map(|reason| (reason.measured, reason.limit)), Some((0.6, 0.3)));
}

#[test]
fn quality_as_datatrove_judges_it() {
    let quality = GopherQuality { min_words: 10, max_words: 1000, ..GopherQuality::default() };
    let rules = DocumentRules { gopher_quality: Some(quality), ..NONE };
    for (text, rule) in [
        ("I am too small...".to_owned(), "gopher_short_doc"),
        ("all the words of it ".repeat(300), "gopher_long_doc"),
        ("I am ".repeat(20), "gopher_below_avg_threshold"),
        ("interconnection ".repeat(20), "gopher_above_avg_threshold"),
        ("# comment ".repeat(20), "gopher_too_many_hashes"),
        ("... comment ".repeat(20), "gopher_too_many_ellipsis"),
        (
            "the ./!*?<><> apple <?////> orange  ++ interconnection !<>??? have".repeat(20),
            "gopher_below_alpha_threshold",
        ),
        ("- one of the items\n".repeat(20), "gopher_too_many_bullets"),
        ("this goes on and on and on and on...\n".repeat(20), "gopher_too_many_end_ellipsis"),
        ("apple orange pear plum ".repeat(20), "gopher_enough_stop_words"),
    ] {
        let broken = rules_broken(&text, &rules);
        assert!(broken.contains(&rule), "{rule}: {broken:?}");
    }
    assert_eq!(rules_broken("", &rules), ["empty"]);
    assert_eq!(rules_broken(" \n \n", &rules), ["empty"]);
    let limits =
        rules_broken(&"a word ".repeat(30), &DocumentRules { gopher_quality: Some(GopherQuality::default()), ..NONE });
    assert!(!limits.contains(&"gopher_short_doc"), "60 words are enough");
}

#[test]
fn c4_and_fineweb_as_datatrove_judges_them() {
    let sentence = "This is a line of the text with enough words in it.\n";
    let c4 = DocumentRules { c4: Some(C4::default()), ..NONE };
    assert_eq!(rules_broken(&sentence.repeat(6), &c4), Vec::<&str>::new());
    assert_eq!(rules_broken("Just one sentence.", &c4), ["too_few_sentences"]);
    assert_eq!(rules_broken(&format!("{}And lorem ipsum dolor sit amet.", sentence.repeat(5)), &c4), ["lorem_ipsum"]);
    assert_eq!(rules_broken(&format!("{}This is code with a {{ bracket.", sentence.repeat(5)), &c4), ["curly_bracket"]);
    // Lines without an end mark go before the bracket is seen.
    assert_eq!(rules_broken(&format!("{}fn main() {{", sentence.repeat(5)), &c4), Vec::<&str>::new());

    let paragraphs = DocumentRules { c4_paragraphs: Some(C4Paragraphs::default()), ..NONE };
    let long = "x".repeat(250);
    assert_eq!(rules_broken(&format!("{long}\n{long}\n{long}"), &paragraphs), Vec::<&str>::new());
    assert_eq!(rules_broken(&format!("{long}\n{long}\nshort"), &paragraphs), ["c4_paragraphs"]);

    let fineweb = DocumentRules { fineweb: Some(FineWeb::default()), ..NONE };
    let numbered: Vec<String> =
        (0..6).map(|n| format!("Line number {n} is long enough and has its mark at the end.")).collect();
    assert_eq!(rules_broken(&numbered.join("\n"), &fineweb), Vec::<&str>::new());
    let bare: Vec<String> =
        (0..6).map(|n| format!("Line number {n} is long enough and has no mark at the end")).collect();
    assert_eq!(rules_broken(&bare.join("\n"), &fineweb), ["line_punct_ratio"]);
    assert_eq!(rules_broken("hi.\nbye.\nok.\nno.\nyes.", &fineweb), ["short_line_ratio", "list_ratio"]);
    assert_eq!(rules_broken(&sentence.repeat(3), &fineweb), ["char_dup_ratio"]);
}

/// The text without the traces of a tokeniser.
fn untokenised(text: &str) -> String {
    [
        (" @-@ ", "-"),
        (" @,@ ", ","),
        (" @.@ ", "."),
        ("<unk>", "thing"),
        (" 's", "'s"),
        (" 't", "'t"),
        (" \n", "\n"),
        (" .", "."),
        (" ,", ","),
    ]
    .iter()
    .fold(text.to_owned() + "\n", |text, (from, to)| text.replace(from, to))
}

#[test]
fn prose_passes_and_a_list_of_links_does_not() {
    let Some(path) = common::asset("datasets/text/wikitext-2/valid.txt") else { return };
    let text = std::fs::read_to_string(path).expect("a readable file");
    // Articles, put together from lines of one paragraph each.
    let articles: Vec<String> = text
        .lines()
        .filter(|line| line.trim().len() > 600)
        .collect::<Vec<_>>()
        .chunks(4)
        .map(|lines| untokenised(&lines.join("\n")))
        .collect();
    let passed = articles.iter().filter(|article| check(article, &DocumentRules::default()).is_empty()).count();
    assert!(articles.len() > 100, "{}", articles.len());
    assert!(passed * 100 >= articles.len() * 95, "{passed} of {}", articles.len());
    let links = "Home\nProducts\nAbout us\nContact\nHome\nLogin\n".repeat(20);
    assert!(check(&links, &DocumentRules::default()).len() > 5);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_text_is_judged(text in "\\PC{0,300}|[ab .!\\n\\[{#…•-]{0,300}") {
        let all = DocumentRules { c4_paragraphs: Some(C4Paragraphs::default()), ..DocumentRules::default() };
        for reason in check(&text, &all) {
            prop_assert!(reason.measured.is_finite() && reason.limit.is_finite(), "{reason:?}");
        }
        let found = attributes(&text);
        let shares = found.top_runs.iter().chain(&found.repeated_runs).flatten();
        for share in shares {
            prop_assert!((0.0..=1.0).contains(share), "{found:?}");
        }
    }
}

/// Texts that would take hours in quadratic time.
#[test]
fn long_texts_take_linear_time() {
    for piece in [" ", "\n", "a", "a ", ".", "[", "[1", "a\n", "\u{300}", "你", "'", "a.", " \n", "{ lorem", "…"] {
        let size = if ["a ", " ", "a\n"].contains(&piece) { 10 << 20 } else { 1 << 20 };
        let text = piece.repeat(size / piece.len());
        let text = format!("{text}{}", "b".repeat(1 << 20));
        let start = std::time::Instant::now();
        check(&text, &DocumentRules::default());
        let seconds = start.elapsed().as_secs_f64();
        assert!(seconds < 60.0, "{piece:?}: {seconds} s");
    }
}
