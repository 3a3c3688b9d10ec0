//! How good a question with its answer is, by what can be seen in the texts alone.
//!
//! [`score`] looks for what makes a row of training data bad: an answer that is empty, cut off, caught in a loop, in
//! the wrong language or form, declined, made of phrases that fit any question, or mixed with pieces of web pages and
//! chat templates. It does not know whether an answer is true. A row without a fault scores 1, and each fault
//! multiplies the score by a factor, so that one grave fault is not averaged away by nine things that are in order.
//!
//! [`keep_best`] keeps the best share of rows, by group.
//!
//! ```
//! use attune_data::screen::answers::{RowContext, score};
//!
//! let context = RowContext::default();
//! let good = score("What is the capital of France?", "The capital of France is Paris.", &context);
//! let bad = score("What is the capital of France?", "As an AI language model, I cannot provide that.", &context);
//! assert!(good.score > 0.9 && bad.score < 0.5);
//! assert_eq!(bad.reasons[0].rule, "refusal");
//! ```

mod ending;
mod format;
mod keep;
mod relation;
mod repetition;
mod shape;

pub use keep::{SMALL_GROUP, Scored, keep_best, length_band};

pub use super::documents::Reason;
use super::{
    phrases::{self, Kind},
    text_facts::{head, tail, word_count},
};
use shape::Shape;

/// What else is known about a row.
#[derive(Debug, Clone, Copy, Default)]
pub struct RowContext<'a> {
    /// The text that the answer has to come from, if there is one.
    pub passage: Option<&'a str>,
    /// The system message: it may ask for a form or a language too.
    pub system: Option<&'a str>,
}

/// How good a row is, from [`score`].
#[derive(Debug, Clone, PartialEq)]
pub struct Quality {
    /// From 0 to 1; 1 is a row without a fault. It is the product of the parts' values, each to the power of its weight.
    pub score: f64,
    /// What the score is made of, always the same parts in the same order.
    pub parts: Vec<Part>,
    /// The faults that cost a quarter of a part or more.
    pub reasons: Vec<Reason>,
}

/// One part of a score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Part {
    /// Its name.
    pub name: &'static str,
    /// From 0 to 1; 1 is without a fault.
    pub value: f64,
    /// How much it counts: the power that `value` is raised to.
    pub weight: f64,
}

/// No value of a part is below this, so that rows with one grave fault still differ from rows with two.
const FLOOR: f64 = 0.02;

/// Requests are looked for in so many bytes at the head and at the end of a question: what lies between is material.
const ASKED: usize = 16 << 10;

/// The faults of one part.
struct Faults<'a> {
    reasons: &'a mut Vec<Reason>,
    value: f64,
}

impl Faults<'_> {
    /// Multiplies the value by `factor`; what costs a quarter or more is a reason.
    fn add(&mut self, rule: &'static str, measured: f64, limit: f64, factor: f64) {
        self.value *= factor.clamp(0.0, 1.0);
        if factor <= 0.75 {
            self.reasons.push(Reason { rule, measured, limit });
        }
    }
}

/// Where `value` lies between `from` (0) and `to` (1).
fn ramp(value: f64, from: f64, to: f64) -> f64 {
    ((value - from) / (to - from)).clamp(0.0, 1.0)
}

/// Scores `answer` as an answer to `question`, in time linear in the length of the texts.
pub fn score(question: &str, answer: &str, context: &RowContext<'_>) -> Quality {
    type Check = fn(&Row<'_>, &mut Faults<'_>);
    const PARTS: [(&str, f64, Check); 9] = [
        ("length", 0.8, length),
        ("repetition", 1.0, repetition::check),
        ("ending", 0.8, ending::check),
        ("format", 0.6, format::check),
        ("language", 1.0, relation::language),
        ("relevance", 0.7, relation::relevance),
        ("substance", 1.0, substance),
        ("boilerplate", 1.0, boilerplate),
        ("question", 0.6, question_itself),
    ];
    let row = Row {
        question,
        asked: [context.system.unwrap_or_default(), question]
            .map(|text| {
                let end = if text.len() > ASKED { tail(&text[head(text, ASKED).len()..], ASKED) } else { "" };
                format!("{}\n{}\n", head(text, ASKED).to_lowercase(), end.to_lowercase())
            })
            .concat(),
        answer: Shape::new(answer),
        answer_phrases: phrases::find(answer),
        question_phrases: phrases::find(question),
        context,
    };
    let mut reasons = Vec::new();
    let mut total = 0.0;
    let parts = PARTS
        .iter()
        .map(|&(name, weight, check)| {
            let mut faults = Faults { reasons: &mut reasons, value: 1.0 };
            check(&row, &mut faults);
            let value = faults.value;
            total += weight * value.max(FLOOR).ln();
            Part { name, value, weight }
        })
        .collect();
    Quality { score: total.exp().clamp(0.0, 1.0), parts, reasons }
}

/// A row and what was found in it beforehand.
struct Row<'a> {
    question: &'a str,
    /// System message and question in small letters.
    asked: String,
    answer: Shape<'a>,
    answer_phrases: phrases::Found,
    question_phrases: phrases::Found,
    context: &'a RowContext<'a>,
}

/// Whether one of `phrases` is in `text`, not as a part of longer words.
fn mentions(text: &str, phrases: &[&str]) -> bool {
    phrases.iter().any(|phrase| {
        text.match_indices(phrase).any(|(at, _)| {
            let letter = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
            !letter(text[..at].chars().next_back()) && !letter(text[at + phrase.len()..].chars().next())
        })
    })
}

fn length(row: &Row<'_>, faults: &mut Faults<'_>) {
    /// Requests that no few words can meet.
    const LONG: &[&str] = &[
        "explain",
        "describe",
        "essay",
        "story",
        "article",
        "paragraph",
        "in detail",
        "step by step",
        "write a poem",
        "blog post",
        "compare",
        "discuss",
        "erkläre",
        "beschreibe",
        "expliquez",
        "explique",
        "décrivez",
        "describa",
    ];
    const SHORT: &[&str] =
        &["one word", "single word", "yes or no", "true or false", "briefly", "one sentence", "short", "concise"];
    let words = row.answer.word_count;
    if words == 0 {
        let signs = row.answer.text.chars().filter(|c| !c.is_whitespace()).take(3).count();
        // An emoji or `!=` may be an answer.
        faults.add("answer_without_words", words as f64, 1.0, if signs == 0 { 0.0 } else { 0.4 });
    } else if words < 6 && !row.answer.is_code && mentions(&row.asked, LONG) && !mentions(&row.asked, SHORT) {
        faults.add("answer_too_short_for_request", words as f64, 6.0, 0.35 + 0.05 * words as f64);
    } else if words < 3 {
        faults.add("answer_short", words as f64, 3.0, 0.92);
    } else if words > 4000 {
        faults.add("answer_long", words as f64, 4000.0, 1.0 - 0.5 * ramp(words as f64, 4000.0, 20_000.0));
    }
}

/// Whether the answer says something: it is no refusal, no echo and not made of words that fit any question.
fn substance(row: &Row<'_>, faults: &mut Faults<'_>) {
    let words = row.answer.word_count;
    let refusals = row.answer_phrases.of(Kind::Refusal);
    let who =
        mentions(&row.asked, &["who are you", "what are you", "are you an ai", "are you human", "about yourself"]);
    if let Some(first) = refusals.first.filter(|_| !who) {
        let factor = match (first < 250, words < 80) {
            (true, true) => 0.2,
            (true, false) => 0.45,
            _ => 0.6,
        };
        faults.add("refusal", refusals.count as f64, 0.0, factor);
    }
    let fillers = row.answer_phrases.of(Kind::Filler);
    let share = fillers.bytes as f64 / row.answer.text.len().max(1) as f64;
    if fillers.count > 0 {
        faults.add("filler_phrases", share, 0.15, 1.0 - 0.9 * ramp(share, 0.08, 0.45));
    }
    if let Some((specific, all)) = relation::specific_words(row) {
        let share = specific as f64 / all.max(1) as f64;
        if share < 0.5 {
            faults.add("words_that_fit_any_question", share, 0.5, 0.2 + 0.8 * ramp(share, 0.2, 0.5));
        }
    }
    let same = |left: &str, right: &str| {
        let letters =
            |text: &str| text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect::<String>();
        let (left, right) = (letters(left), letters(right));
        (!right.is_empty() && left == right, right.len() >= 30 && left.starts_with(&right))
    };
    match same(row.answer.text, row.question) {
        (true, _) => faults.add("answer_repeats_question", 1.0, 0.0, 0.05),
        (false, true) if !row.answer.is_code => faults.add("answer_starts_with_question", 1.0, 0.0, 0.8),
        _ => {}
    }
}

/// What does not belong to the answer: marks of templates, pieces of web pages, broken characters.
fn boilerplate(row: &Row<'_>, faults: &mut Faults<'_>) {
    let (found, asked) = (&row.answer_phrases, &row.question_phrases);
    let templates = found.of(Kind::Template).count;
    if templates > 0 && asked.of(Kind::Template).count == 0 {
        faults.add("template_marks", templates as f64, 0.0, 0.1);
    }
    let turns = row.answer.turns();
    if turns > 0 && !mentions(&row.asked, &["dialogue", "dialog", "conversation", "chat", "script", "interview"]) {
        faults.add("turns_inside_answer", turns as f64, 0.0, 0.3);
    }
    let pages = found.of(Kind::Page);
    if pages.count > 0 && asked.of(Kind::Page).count == 0 && !row.answer.is_code {
        let dense = ramp(pages.bytes as f64 / row.answer.text.len().max(1) as f64, 0.005, 0.1);
        let factor = if pages.count == 1 { 0.8 - 0.35 * dense } else { 0.55 - 0.35 * dense };
        faults.add("page_phrases", pages.count as f64, 0.0, factor);
    }
    let html = found.of(Kind::Html).count;
    let about_html = asked.of(Kind::Html).count > 0
        || mentions(
            &row.asked,
            &[
                "html",
                "xml",
                "web page",
                "webpage",
                "website",
                "css",
                "svg",
                "tag",
                "javascript",
                "jsx",
                "react",
                "php",
            ],
        );
    if html > 0 && !about_html && !row.answer.is_code {
        faults.add("html_leftovers", html as f64, 0.0, if html < 3 { 0.65 } else { 0.35 });
    }
    let broken = phrases::broken_characters(row.answer.text);
    if broken > 0 && phrases::broken_characters(row.question) == 0 {
        faults.add("broken_characters", broken as f64, 0.0, if broken < 3 { 0.55 } else { 0.2 });
    }
}

/// Whether the question is one, and whole.
fn question_itself(row: &Row<'_>, faults: &mut Faults<'_>) {
    let question = row.question.trim();
    if question.chars().all(|c| !c.is_alphanumeric()) {
        faults.add("no_question", 0.0, 1.0, 0.1);
        return;
    }
    if row.question_phrases.of(Kind::Template).count > 0 && row.answer_phrases.of(Kind::Template).count == 0 {
        faults.add("template_marks_in_question", row.question_phrases.of(Kind::Template).count as f64, 0.0, 0.25);
    }
    if phrases::broken_characters(question) > 2 {
        faults.add("broken_characters_in_question", phrases::broken_characters(question) as f64, 2.0, 0.4);
    }
    let pages = row.question_phrases.of(Kind::Page);
    if pages.count > 2 {
        faults.add("page_phrases_in_question", pages.count as f64, 2.0, 0.6);
    }
    if row.context.passage.is_none() && ending::stops_in_the_middle(question) {
        faults.add("question_cut_off", 1.0, 0.0, 0.6);
    }
    if !question.contains(['?', '？', '؟']) && word_count(question) < 2 {
        faults.add("question_of_one_word", 1.0, 2.0, 0.8);
    }
}
