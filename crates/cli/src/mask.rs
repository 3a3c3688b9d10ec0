//! A row as tokens that are trained and tokens that are not: in colours, or with `«` and `»` around trained runs.

use crate::paint::{Ink, Line, one_line};

/// A token to be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ShownToken {
    /// What it adds to the text; bytes that are no text by themselves as `<0xE4>`.
    pub(crate) text: String,
    /// Whether it is trained.
    pub(crate) trained: bool,
    /// Whether it is a special token.
    pub(crate) special: bool,
}

/// The tokens as lines: `⏎` where a token holds a line break, and a new line behind it.
pub(crate) fn lines(tokens: &[ShownToken], colors: bool) -> Vec<Line> {
    let mut lines = vec![Line::new()];
    let mut last_trained: Option<Ink> = None;
    let mut open = false;
    for token in join_bytes(tokens) {
        let ink = match (token.trained, token.special) {
            (true, _) if last_trained == Some(Ink::Trained) => Ink::TrainedNext,
            (true, _) => Ink::Trained,
            (false, true) => Ink::UntrainedSpecial,
            (false, false) => Ink::Untrained,
        };
        last_trained = token.trained.then_some(ink);
        if !colors && token.trained != open {
            push(&mut lines, Ink::Plain, if open { "»" } else { "«" });
            open = token.trained;
        }
        let text = token.text.replace("\r\n", "\n");
        for (index, part) in text.split('\n').enumerate() {
            if index > 0 {
                push(&mut lines, ink, "⏎");
                lines.push(Line::new());
            }
            push(&mut lines, ink, &one_line(part));
        }
    }
    if open {
        push(&mut lines, Ink::Plain, "»");
    }
    if lines.last().is_some_and(|line| line.width() == 0) {
        lines.pop();
    }
    lines
}

fn push(lines: &mut [Line], ink: Ink, text: &str) {
    if let Some(line) = lines.last_mut() {
        line.push(ink, text);
    }
}

/// Puts characters together that are spread over several tokens, where all of these are trained or none.
fn join_bytes(tokens: &[ShownToken]) -> Vec<ShownToken> {
    let mut joined: Vec<ShownToken> = Vec::with_capacity(tokens.len());
    for token in tokens {
        if let Some(last) = joined.last_mut()
            && last.trained == token.trained
            && !token.special
            && byte_at_start(&token.text).is_some()
            && ends_with_byte(&last.text)
        {
            last.text += &token.text;
            last.text = decode_bytes(&last.text);
            continue;
        }
        joined.push(token.clone());
    }
    joined
}

/// The byte that a text like `<0xE4>...` begins with.
fn byte_at_start(text: &str) -> Option<u8> {
    let digits = text.strip_prefix("<0x")?.get(..3)?.strip_suffix('>')?;
    u8::from_str_radix(digits, 16).ok()
}

/// Bytes of a text like `<0xE4>`.
const BYTE_LENGTH: usize = 6;

fn ends_with_byte(text: &str) -> bool {
    text.len()
        .checked_sub(BYTE_LENGTH)
        .and_then(|start| text.get(start..))
        .is_some_and(|end| byte_at_start(end).is_some())
}

/// Replaces runs of `<0xE4>` by the characters that they are, where they are characters.
fn decode_bytes(text: &str) -> String {
    let mut decoded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let mut run = Vec::new();
        while let Some(byte) = byte_at_start(rest) {
            run.push(byte);
            rest = &rest[BYTE_LENGTH..];
        }
        if run.is_empty() {
            decoded.push(c);
            rest = &rest[c.len_utf8()..];
        }
        for chunk in run.utf8_chunks() {
            decoded.push_str(chunk.valid());
            decoded.extend(chunk.invalid().iter().map(|byte| format!("<0x{byte:02X}>")));
        }
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(text: &str, trained: bool) -> ShownToken {
        ShownToken { text: text.into(), trained, special: text.starts_with("<|") }
    }

    fn plain(tokens: &[ShownToken]) -> Vec<String> {
        lines(tokens, false).iter().map(|line| line.paint(false)).collect()
    }

    #[test]
    fn trained_runs_stand_in_brackets_without_colours() {
        let tokens = [
            token("<|im_start|>", false),
            token("assistant", false),
            token("\n", false),
            token("Hi", true),
            token(" there", true),
            token("<|im_end|>", true),
            token("\n", false),
        ];
        assert_eq!(plain(&tokens), ["<|im_start|>assistant⏎", "«Hi there<|im_end|>»⏎"]);
    }

    #[test]
    fn a_line_break_in_a_trained_run_is_trained() {
        assert_eq!(plain(&[token("a\n\nb", true)]), ["«a⏎", "⏎", "b»"]);
        assert_eq!(plain(&[token("a", false), token("\n", true)]), ["a«⏎", "»"]);
    }

    #[test]
    fn colours_show_the_borders_of_trained_tokens() {
        let tokens = [token("a", true), token("b", true), token("c", true), token("d", false)];
        let painted = lines(&tokens, true)[0].paint(true);
        assert_eq!(console::strip_ansi_codes(&painted), "abcd", "no brackets beside colours");
        let expected: String =
            [(Ink::Trained, "a"), (Ink::TrainedNext, "b"), (Ink::Trained, "c"), (Ink::Untrained, "d")]
                .iter()
                .map(|(ink, text)| ink.paint(text, true).into_owned())
                .collect();
        assert_eq!(painted, expected);
        assert_ne!(Ink::Trained.paint("x", true), Ink::TrainedNext.paint("x", true));
        assert_ne!(Ink::Trained.paint("x", true), Ink::Untrained.paint("x", true));
    }

    #[test]
    fn characters_spread_over_tokens_are_put_together() {
        let bytes = |text: &str| text.bytes().map(|byte| token(&format!("<0x{byte:02X}>"), true)).collect::<Vec<_>>();
        assert_eq!(plain(&bytes("é日")), ["«é日»"]);
        let tokens = [token(" <0xC3>", true), token("<0xA9>t<0xC3>", true), token("<0xA9>", true)];
        assert_eq!(plain(&tokens), ["« été»"]);
        let tokens = [token("<0xC3>", false), token("<0xA9>", true)];
        assert_eq!(plain(&tokens), ["<0xC3>«<0xA9>»"], "the border of the mask shows");
        assert_eq!(plain(&[token("<0xZZ>", true), token("ü<0x>", true)]), ["«<0xZZ>ü<0x>»"]);
    }

    #[test]
    fn control_characters_are_harmless() {
        assert_eq!(plain(&[token("\u{1b}[31m", false)]), ["·[31m"]);
    }
}
