//! SubRip. There is no specification; files number their cues, write times with a comma, and end a cue at an empty line.

use super::RawCue;
use super::webvtt::{number, seconds_of};
use crate::document::Notes;
use crate::entities;

/// The cues of a text. A cue without times that can be read keeps its text and has no times.
pub(super) fn parse(text: &str, notes: &mut Notes) -> Vec<RawCue> {
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    let lines: Vec<&str> = text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line)).collect();
    let mut cues: Vec<RawCue> = Vec::new();
    let mut body = String::new();
    let mut index = 0;
    // What stands in front of the first times is no cue, a number apart.
    let mut open = false;
    while index < lines.len() {
        let line = lines[index];
        let block_start = index == 0 || lines[index - 1].is_empty();
        let numbered = is_number(line) && lines.get(index + 1).is_some_and(|next| next.contains("-->"));
        // A number with its times begins a cue, whatever is before it; a number without times only behind an empty line.
        let at = if numbered { index + 1 } else { index };
        let stray =
            block_start && !numbered && is_number(line) && open && lines.get(index + 1).is_some_and(|l| !l.is_empty());
        if lines[at].contains("-->") && (numbered || times(lines[at]).is_some() || block_start) {
            finish(&mut cues, &mut body, index);
            let times = times(lines[at]);
            match times {
                None => notes.push(format!("line {}: the times cannot be read, the text is kept without", at + 1)),
                Some((start, end)) if end <= start => {
                    notes.push(format!("line {}: the cue does not end after its start", at + 1));
                }
                Some(_) => {}
            }
            cues.push(RawCue { times, source: (at + 1, at + 1), lines: Vec::new() });
            open = true;
            index = at + 1;
        } else if stray {
            finish(&mut cues, &mut body, index);
            notes.push(format!("line {}: a cue without times, the text is kept", index + 1));
            cues.push(RawCue { times: None, source: (index + 1, index + 1), lines: Vec::new() });
            index += 1;
        } else {
            if open {
                body.push_str(line);
                body.push('\n');
            } else if !line.trim().is_empty() && !is_number(line) {
                notes.push(format!("line {}: text in front of the first cue is left out", index + 1));
            }
            index += 1;
        }
    }
    finish(&mut cues, &mut body, lines.len());
    cues
}

/// Gives the text to the last cue; `end` is the number of lines read.
fn finish(cues: &mut [RawCue], body: &mut String, end: usize) {
    if let Some(cue) = cues.last_mut() {
        let used = body.trim_end();
        cue.source.1 =
            (cue.source.0 + used.split('\n').filter(|_| !used.is_empty()).count()).min(end.max(cue.source.0));
        cue.push_lines(&without_tags(used));
    }
    body.clear();
}

fn is_number(line: &str) -> bool {
    let line = line.trim();
    !line.is_empty() && line.len() <= 9 && line.bytes().all(|b| b.is_ascii_digit())
}

/// The times of a line; places behind them are passed over.
pub(super) fn times(line: &str) -> Option<(f64, f64)> {
    let (start, rest) = timestamp(line.trim_start())?;
    let rest = rest.trim_start().strip_prefix("-->")?;
    let (end, rest) = timestamp(rest.trim_start())?;
    (rest.is_empty() || rest.starts_with(char::is_whitespace)).then_some((start, end))
}

/// A time as files really write it: hours may be missing, the comma may be a dot, digits may be missing.
pub(super) fn timestamp(text: &str) -> Option<(f64, &str)> {
    let (first, _, rest) = number(text)?;
    let (second, two, rest) = number(rest.strip_prefix(':')?)?;
    if two > 2 {
        return None;
    }
    let (hours, minutes, seconds, rest) = match rest.strip_prefix(':').map(number) {
        Some(Some((third, 1..=2, rest))) => (first, second, third, rest),
        Some(_) => return None,
        None => (0, first, second, rest),
    };
    if minutes > 59 && hours > 0 || minutes > 999 || seconds > 59 {
        return None;
    }
    let fraction = rest.strip_prefix([',', '.']).and_then(number);
    let (millis, rest) = match fraction {
        Some((value, 3, rest)) => (value, rest),
        Some((value, 2, rest)) => (value * 10, rest),
        Some((value, 1, rest)) => (value * 100, rest),
        Some(_) => return None,
        None => (0, rest),
    };
    Some((seconds_of(hours, minutes, seconds, millis), rest))
}

/// Tags that files use; other angle brackets are text.
const TAGS: [&str; 10] = ["i", "b", "u", "s", "font", "c", "v", "span", "em", "strong"];

/// Without tags and overrides of style, references decoded. `<br>` is a line break.
pub(super) fn without_tags(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(['<', '{']) {
        out.push_str(&rest[..start]);
        let inside = &rest[start + 1..];
        let skipped = if rest[start..].starts_with('<') { tag(inside) } else { style_override(inside) };
        match skipped {
            Some((length, replacement)) => {
                out.push_str(replacement);
                rest = &inside[length..];
            }
            None => {
                out.push_str(&rest[start..=start]);
                rest = inside;
            }
        }
    }
    out.push_str(rest);
    entities::decode_any(&out).into_owned()
}

/// Tags are short; a search for the end of one that has none must not go through the whole file each time.
const LONGEST_TAG: usize = 256;

fn tag(inside: &str) -> Option<(usize, &'static str)> {
    let end = inside.bytes().take(LONGEST_TAG).position(|b| b == b'>' || b == b'<' || b == b'\n')?;
    if inside.as_bytes()[end] != b'>' {
        return None;
    }
    let name = inside[..end].trim_start_matches('/');
    let name =
        name.split(|c: char| c.is_ascii_whitespace() || matches!(c, '.' | '=' | '/')).next()?.to_ascii_lowercase();
    if name == "br" {
        return Some((end + 1, "\n"));
    }
    TAGS.contains(&name.as_str()).then_some((end + 1, ""))
}

/// `{\an8}` and the like, which are of the SubStation format.
fn style_override(inside: &str) -> Option<(usize, &'static str)> {
    if !inside.starts_with('\\') {
        return None;
    }
    let end = inside.bytes().take(LONGEST_TAG).position(|b| b == b'}' || b == b'\n')?;
    (inside.as_bytes()[end] == b'}').then_some((end + 1, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The times of a cue and its text.
    type Read = (Option<(f64, f64)>, String);

    fn texts(file: &str) -> (Vec<Read>, Vec<String>) {
        let mut notes = Notes::default();
        let cues = parse(file, &mut notes);
        let texts = cues
            .into_iter()
            .map(|cue| {
                let lines: Vec<String> = cue.lines.into_iter().map(|line| line.text).collect();
                (cue.times, lines.join("|"))
            })
            .collect();
        (texts, notes.finish())
    }

    #[test]
    fn reads_cues() {
        let (cues, notes) = texts(
            "\u{FEFF}1\r\n00:00:01,000 --> 00:00:02,500 X1:1 Y1:2\r\n<i>Hello</i>\r\n{\\an8}x < y\r\n\r\n2\r\n\
             1:02:03.4 --> 1:02:04,5\r\nA &amp; B\r\n",
        );
        assert_eq!(cues, [(Some((1.0, 2.5)), "Hello|x < y".to_owned()), (Some((3723.4, 3724.5)), "A & B".to_owned())]);
        assert!(notes.is_empty());
    }

    #[test]
    fn an_empty_line_inside_a_cue_loses_nothing() {
        let (cues, _) =
            texts("1\n00:00:01,000 --> 00:00:02,000\none\n\ntwo\n\n2\n00:00:02,000 --> 00:00:03,000\nthree\n");
        assert_eq!(cues[0].1, "one|two");
        assert_eq!(cues[1].1, "three");
    }

    #[test]
    fn broken_cues_keep_their_text() {
        let (cues, notes) = texts(
            "1\n00:00:01,000 --> 00:00:02,000\none\n\n2\ntwo\n\n3\n00:00:1d,0 --> 00:00:03,000\nthree\n\n\
             4\n00:00:03,000 --> 00:00:04,000\nfour",
        );
        let texts: Vec<&str> = cues.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(texts, ["one", "two", "three", "four"]);
        assert_eq!(cues.iter().filter(|(times, _)| times.is_none()).count(), 2);
        assert_eq!(notes.len(), 2);
    }

    #[test]
    fn cues_without_numbers_or_empty_lines() {
        let (cues, _) = texts(
            "00:00:01,000 --> 00:00:02,000\none\n00:00:02,000 --> 00:00:03,000\ntwo 2\n3\n00:00:03,000 --> 00:00:04,000\nthree",
        );
        let texts: Vec<&str> = cues.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(texts, ["one", "two 2", "three"]);
    }
}
