//! Passages with questions about them, as chats.

use serde_json::{Value, json};

use super::random::Random;
use super::style::Style;
use super::template::{Asked, NOT_SAID, Told};

/// How the answers of a chat are to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Length {
    Full,
    Short,
}

const SHORT: [&str; 6] = [
    "Answer in a few words.",
    "Give a short answer.",
    "Answer shortly.",
    "A short answer, please.",
    "Keep it short.",
    "Use as few words as you can.",
];
const ONE_WORD: [&str; 4] = ["Answer in one word.", "Answer with one word.", "One word, please.", "Use one word."];
const FULL: [&str; 4] =
    ["Answer in a full sentence.", "Please answer with a sentence.", "Answer in a sentence.", "Use a full sentence."];
const BEFORE: [&str; 10] = [
    "Read the text and answer the question.",
    "Here is a text.",
    "Read this:",
    "Text:",
    "Please read this and answer.",
    "Read the passage.",
    "Look at this text.",
    "This is what happened.",
    "Answer from the text.",
    "I have a question about this text.",
];

/// A chat about a text: one to four questions, the text in the first turn of the user.
///
/// One in twelve is asked what it cannot know; a chat without questions would be no chat.
pub(crate) fn chat(told: &Told, random: &mut Random) -> Value {
    assert!(!told.questions.is_empty(), "no questions about {:?}", told.text);
    let mut questions: Vec<&Asked> = told.questions.iter().collect();
    random.shuffle(&mut questions);
    // What the text does not say must stay the rarer answer, or it becomes the safe one.
    let unknown = random.chance(12);
    questions.sort_by_key(|asked| (asked.full == NOT_SAID) != unknown);
    // Several questions about a text: answers are what is to be learnt, and a text is long beside one of them.
    let turns = [1, 1, 2, 2, 3, 3, 4][random.below(7)].min(questions.len());
    let style = Style::draw(random);
    let by_system = random.chance(12);
    let length = if random.chance(40) { Length::Short } else { Length::Full };
    let mut messages = Vec::new();
    let mut system: Vec<String> = Vec::new();
    if by_system {
        let list = if length == Length::Short { &SHORT[..] } else { &FULL[..] };
        system.push((random.word(list)).to_owned());
    }
    system.extend(style.instruction(random));
    if system.is_empty() && random.chance(6) {
        system.push("You are a helpful assistant. Answer from the text.".to_owned());
    }
    if !system.is_empty() {
        messages.push(json!({"role": "system", "content": system.join(" ")}));
    }
    for (turn, asked) in questions[..turns].iter().enumerate() {
        let mut ask = asked.ask.clone();
        if !by_system && let Some(instruction) = instruction(asked, length, random) {
            ask = if random.chance(80) { format!("{ask} {instruction}") } else { format!("{instruction} {ask}") };
        }
        let user = if turn == 0 { opened(&told.text, &ask, random) } else { ask };
        let answer = if length == Length::Short { &asked.short } else { &asked.full };
        messages.push(json!({"role": "user", "content": user}));
        messages.push(json!({"role": "assistant", "content": style.apply(answer)}));
    }
    json!({ "messages": messages })
}

/// What asks for the length of the answer; a full one is mostly what comes unasked.
fn instruction(asked: &Asked, length: Length, random: &mut Random) -> Option<&'static str> {
    match length {
        Length::Short if !asked.short.trim_end_matches('.').contains(' ') && random.chance(60) => {
            Some(random.word(&ONE_WORD))
        }
        Length::Short => Some(random.word(&SHORT)),
        Length::Full => random.chance(12).then(|| random.word(&FULL)),
    }
}

/// The text and the first question, in one of many orders.
fn opened(text: &str, ask: &str, random: &mut Random) -> String {
    // A text of lines stays apart from the question.
    let kinds = if text.contains('\n') { 7 } else { 10 };
    match random.below(kinds) {
        0 => format!("{ask}\n\n{text}"),
        7 => format!("{} {text} {ask}", random.word(&BEFORE)),
        2 => format!("{}\n\n{text}\n\n{ask}", random.word(&BEFORE)),
        3 => format!("{}\n{text}\nQuestion: {ask}", random.word(&BEFORE)),
        1 | 4 => format!("{text}\n{ask}"),
        5 | 6 => format!("{text}\n\n{ask}"),
        _ => format!("{text} {ask}"),
    }
}
