//! Whether two tokenizers with their templates say the same.

use attune_text::{Conversation, Message, TextError, TextModel};

use crate::error::ExportError;

/// Texts whose ids are compared: spaces, line ends, digits, scripts, marks that combine, bytes that no word has.
const SAMPLES: [&str; 12] = [
    "Hello world",
    " Hello  world ",
    "a\n\n\nb\r\n\tc",
    "3.14159 1000000 2024-12-31",
    "don't I'll they've WE'RE",
    "naïve café résumé ñ ß Å",
    "привет мир, как дела?",
    "今日はいい天気ですね。",
    "مرحبا بالعالم",
    "👩‍👩‍👧‍👦 🇩🇪 ✅",
    "fn main() { println!(\"{}\", x >> 2); }",
    "\u{1}\u{7f}\u{feff} ",
];

/// What differs, one line each; the first sample of a kind only.
///
/// # Errors
/// When the tuned model's own tokenizer cannot encode a sample.
pub fn text_differences(tuned: &TextModel, artefact: &TextModel) -> Result<Vec<String>, ExportError> {
    let mut found = Vec::new();
    let named = |text: &TextModel, id: Option<u32>| match id {
        None => "none".to_string(),
        Some(id) => format!("{id} ({:?})", text.token_text(id)),
    };
    for (name, of) in [
        ("beginning-of-text token", TextModel::bos_id as fn(&TextModel) -> Option<u32>),
        ("end-of-text token", TextModel::eos_id),
        ("end-of-turn token", TextModel::end_of_turn_id),
    ] {
        if of(tuned) != of(artefact) {
            let (got, expected) = (named(artefact, of(artefact)), named(tuned, of(tuned)));
            found.push(format!("its {name} is {got}, that of the tuned model {expected}"));
        }
    }
    let missing: Vec<String> = tuned
        .stop_ids()
        .iter()
        .filter(|id| !artefact.stop_ids().contains(id))
        .map(|&id| named(tuned, Some(id)))
        .collect();
    if !missing.is_empty() {
        found.push(format!("it does not stop at {}", missing.join(", ")));
    }
    for sample in SAMPLES {
        let (expected, got) = (tuned.encode_raw(sample)?, artefact.encode_raw(sample));
        if got.as_ref().ok() != Some(&expected) {
            found.push(format!("the text {sample:?} becomes other tokens: {}, expected {expected:?}", shown(&got)));
            break;
        }
    }
    if let Some(difference) = template_difference(tuned, artefact) {
        found.push(difference);
    }
    Ok(found)
}

fn template_difference(tuned: &TextModel, artefact: &TextModel) -> Option<String> {
    match (tuned.has_chat_template(), artefact.has_chat_template()) {
        (false, _) => return None,
        (true, false) => return Some("it has no chat template".into()),
        (true, true) => {}
    }
    for chat in sample_chats() {
        for prompt in [false, true] {
            // A template may refuse a chat (no system message, say); then the other must, too.
            let (expected, got) = (tuned.render(&chat, prompt), artefact.render(&chat, prompt));
            match (expected, got) {
                (Ok(expected), Ok(got)) if expected == got => {}
                (Err(_), Err(_)) => {}
                (Ok(expected), Ok(got)) => {
                    return Some(format!("a chat is rendered as {got:?}, expected {expected:?}"));
                }
                (Ok(_), Err(error)) => return Some(format!("its template refuses a chat: {error}")),
                (Err(error), Ok(_)) => return Some(format!("its template takes a chat that is refused: {error}")),
            }
            let ids = |text: &TextModel| text.encode_prompt(&chat).ok();
            if ids(tuned) != ids(artefact) {
                return Some("a chat becomes other tokens".into());
            }
        }
    }
    None
}

fn sample_chats() -> [Conversation; 3] {
    let chat = |messages: &[(&str, &str)]| Conversation {
        messages: messages.iter().map(|(role, content)| Message::new(*role, *content)).collect(),
        tools: None,
    };
    [
        chat(&[("user", "Hello there")]),
        chat(&[("system", "Be brief."), ("user", "Who are you?")]),
        chat(&[("user", "One?"), ("assistant", "Two."), ("user", " Three?\n")]),
    ]
}

fn shown(ids: &Result<Vec<u32>, TextError>) -> String {
    match ids {
        Ok(ids) => format!("{ids:?}"),
        Err(error) => error.to_string(),
    }
}
