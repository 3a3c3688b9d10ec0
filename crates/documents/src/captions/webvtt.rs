//! WebVTT as its specification parses it: cues, regions, style sheets and comments, faults noted and passed over.
//!
//! # Source
//!
//! W3C, *WebVTT: The Web Video Text Tracks Format*, section 6 (Parsing).

mod cue_text;
mod settings;

use std::collections::HashMap;

pub use cue_text::{Node, Tag, parse_cue_text, plain_text};
pub use settings::{
    Alignment, CueSettings, Line, LineAlignment, PositionAlignment, Region, Vertical, computed_position_alignment,
};

/// A parsed file.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct WebVtt {
    /// What follows `WEBVTT` on the first line, and the lines under it. The specification passes over them; some files
    /// write `Language: en` there.
    pub header: Vec<String>,
    /// The cues in the order of the file.
    pub cues: Vec<Cue>,
    /// The regions in the order of the file.
    pub regions: Vec<Region>,
    /// The style sheets, as they stand.
    pub styles: Vec<String>,
    /// The comments, without the word `NOTE`.
    pub notes: Vec<String>,
    /// What did not fit and was passed over.
    pub faults: Vec<Fault>,
}

/// One cue.
#[derive(Debug, Clone, PartialEq)]
pub struct Cue {
    /// Its identifier; empty if it has none.
    pub id: String,
    /// Seconds at which it begins.
    pub start_secs: f64,
    /// Seconds at which it ends; a file may put this before the start.
    pub end_secs: f64,
    /// Where and how it is shown.
    pub settings: CueSettings,
    /// Its text as it stands in the file: tags, references and line breaks in it.
    pub text: String,
    /// The line of its times, counting from 1.
    pub line: usize,
}

impl Cue {
    /// The text as a tree.
    pub fn nodes(&self) -> Vec<Node> {
        parse_cue_text(&self.text)
    }

    /// The text without markup.
    pub fn plain_text(&self) -> String {
        plain_text(&self.nodes())
    }
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The line, counting from 1.
    pub line: usize,
    /// What is wrong.
    pub kind: FaultKind,
}

/// What is wrong at a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FaultKind {
    /// The file does not begin with `WEBVTT`; there is nothing else then.
    NoSignature,
    /// A line with an arrow whose times cannot be read; the cue is lost.
    BadTimes,
    /// A block that is neither cue, comment, style sheet nor region.
    StrayBlock,
    /// A style sheet or region behind the first cue, where it does not count.
    LateDefinition,
    /// A cue that ends before it begins, or at its beginning.
    EndBeforeStart,
    /// A setting that cannot be read and is passed over.
    BadSetting,
}

impl FaultKind {
    /// The words for it.
    pub fn text(self) -> &'static str {
        match self {
            Self::NoSignature => "the file does not begin with `WEBVTT`",
            Self::BadTimes => "the times cannot be read, the cue is left out",
            Self::StrayBlock => "this block is no cue, it is left out",
            Self::LateDefinition => "a style sheet or region behind the first cue does not count",
            Self::EndBeforeStart => "the cue does not end after its start",
            Self::BadSetting => "a setting cannot be read and is passed over",
        }
    }
}

/// Parses a file. Never fails: a text without the signature has no cues and a fault that says so.
pub fn parse(text: &str) -> WebVtt {
    let text = normalised(text);
    let text: &str = text.strip_prefix('\u{FEFF}').unwrap_or(&text);
    let mut parser = Parser { lines: Lines { rest: text, next: 1 }, ..Parser::default() };
    parser.file();
    parser.found
}

/// Whether a text has the signature of WebVTT.
pub(crate) fn has_signature(text: &str) -> bool {
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    text.strip_prefix("WEBVTT").is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\n', '\r']))
}

/// Line ends as LF, and no null characters.
fn normalised(text: &str) -> std::borrow::Cow<'_, str> {
    if !text.contains(['\r', '\0']) {
        return text.into();
    }
    text.replace("\r\n", "\n").replace('\r', "\n").replace('\0', "\u{FFFD}").into()
}

/// The lines of a text; after the last LF of a text there is no further line.
#[derive(Clone, Copy, Default)]
struct Lines<'a> {
    rest: &'a str,
    next: usize,
}

impl<'a> Lines<'a> {
    /// The next line with its number.
    fn take(&mut self) -> Option<(usize, &'a str)> {
        if self.rest.is_empty() {
            return None;
        }
        let number = self.next;
        let (line, rest) = self.rest.split_once('\n').unwrap_or((self.rest, ""));
        self.rest = rest;
        self.next += 1;
        Some((number, line))
    }
}

#[derive(Default)]
struct Parser<'a> {
    lines: Lines<'a>,
    found: WebVtt,
    /// Place in `found.regions` of the last region of that name.
    regions: HashMap<String, usize>,
    seen_cue: bool,
}

/// What a block turned out to be, so far.
enum Block {
    Unknown,
    Cue(Cue),
    LostCue,
    Style,
    Region,
}

impl Parser<'_> {
    fn file(&mut self) {
        if !has_signature(self.lines.rest) {
            self.fault(1, FaultKind::NoSignature);
            return;
        }
        let first = self.lines.take().map_or("", |(_, line)| line);
        let behind = first.trim_start_matches("WEBVTT").trim();
        if !behind.is_empty() {
            self.found.header.push(behind.to_owned());
        }
        // Without an empty line, what follows belongs to the header, unless it is a cue.
        if !self.lines.rest.starts_with('\n') {
            self.block(true);
        }
        loop {
            while self.lines.rest.starts_with('\n') {
                self.lines.take();
            }
            if self.lines.rest.is_empty() {
                return;
            }
            self.block(false);
        }
    }

    fn fault(&mut self, line: usize, kind: FaultKind) {
        self.found.faults.push(Fault { line, kind });
    }

    /// "Collect a WebVTT block" of the specification.
    fn block(&mut self, in_header: bool) {
        let mut block = Block::Unknown;
        let mut buffer = String::new();
        let mut seen_arrow = false;
        let mut count = 0;
        let mut first_line = self.lines.next;
        loop {
            let before = self.lines;
            let Some((number, line)) = self.lines.take() else { break };
            count += 1;
            if count == 1 {
                first_line = number;
            }
            if line.contains("-->") {
                if in_header || count > 2 || seen_arrow {
                    self.lines = before;
                    break;
                }
                seen_arrow = true;
                let id = std::mem::take(&mut buffer);
                block = self.times(number, line, id);
                continue;
            }
            if line.is_empty() {
                break;
            }
            if !in_header && count == 2 {
                let word = buffer.trim_end_matches(|c: char| c.is_ascii_whitespace());
                if word == "STYLE" || word == "REGION" {
                    if self.seen_cue {
                        self.fault(first_line, FaultKind::LateDefinition);
                    } else {
                        block = if word == "STYLE" { Block::Style } else { Block::Region };
                        buffer.clear();
                    }
                }
            }
            if !buffer.is_empty() {
                buffer.push('\n');
            }
            buffer.push_str(line);
        }
        if in_header {
            self.found.header.extend(buffer.split('\n').filter(|line| !line.is_empty()).map(str::to_owned));
            return;
        }
        self.finish(block, buffer, first_line);
    }

    fn times(&mut self, number: usize, line: &str, id: String) -> Block {
        let Some((start_secs, end_secs, rest)) = cue_times(line) else {
            self.fault(number, FaultKind::BadTimes);
            return Block::LostCue;
        };
        self.seen_cue = true;
        let (settings, bad) = settings::cue_settings(rest, |name| self.regions.get(name).copied());
        if bad > 0 {
            self.fault(number, FaultKind::BadSetting);
        }
        if end_secs <= start_secs {
            self.fault(number, FaultKind::EndBeforeStart);
        }
        Block::Cue(Cue { id, start_secs, end_secs, settings, text: String::new(), line: number })
    }

    fn finish(&mut self, block: Block, buffer: String, first_line: usize) {
        match block {
            Block::Cue(mut cue) => {
                cue.text = buffer;
                self.found.cues.push(cue);
            }
            Block::LostCue => {}
            Block::Style => self.found.styles.push(buffer),
            Block::Region => {
                let region = settings::region(&buffer);
                self.regions.insert(region.id.clone(), self.found.regions.len());
                self.found.regions.push(region);
            }
            Block::Unknown => match buffer.strip_prefix("NOTE") {
                Some(note) if note.is_empty() || note.starts_with([' ', '\t', '\n']) => {
                    self.found.notes.push(note.trim().to_owned());
                }
                _ => self.fault(first_line, FaultKind::StrayBlock),
            },
        }
    }
}

/// The two times of a line, and what follows them.
fn cue_times(line: &str) -> Option<(f64, f64, &str)> {
    let space = |c: char| c.is_ascii_whitespace();
    let (start, rest) = timestamp(line.trim_start_matches(space))?;
    let rest = rest.trim_start_matches(space).strip_prefix("-->")?;
    let (end, rest) = timestamp(rest.trim_start_matches(space))?;
    Some((start, end, rest))
}

/// "Collect a WebVTT timestamp": seconds, and what follows.
pub(crate) fn timestamp(text: &str) -> Option<(f64, &str)> {
    let (first, digits, rest) = number(text)?;
    let rest = rest.strip_prefix(':')?;
    let (second, two, rest) = number(rest)?;
    if two != 2 {
        return None;
    }
    let hours_first = digits != 2 || first > 59;
    let (hours, minutes, seconds, rest) = match rest.strip_prefix(':') {
        Some(rest) => {
            let (third, two, rest) = number(rest)?;
            if two != 2 {
                return None;
            }
            (first, second, third, rest)
        }
        None if hours_first => return None,
        None => (0, first, second, rest),
    };
    let (millis, three, rest) = number(rest.strip_prefix('.')?)?;
    if three != 3 || minutes > 59 || seconds > 59 {
        return None;
    }
    Some((seconds_of(hours, minutes, seconds, millis), rest))
}

/// A time in seconds, as near as a float can be.
pub(crate) fn seconds_of(hours: u64, minutes: u64, seconds: u64, millis: u64) -> f64 {
    let whole = hours.saturating_mul(3600).saturating_add(minutes * 60 + seconds);
    // One rounding only, so that equal times are equal floats.
    whole.checked_mul(1000).and_then(|whole| whole.checked_add(millis)).map_or(whole as f64, |all| all as f64 / 1000.0)
}

/// Leading digits: their value, their number, what follows.
pub(crate) fn number(text: &str) -> Option<(u64, usize, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = text.split_at(digits);
    if number.is_empty() {
        return None;
    }
    // Hours may have any number of digits; beyond 64 bits they are all the same.
    Some((number.parse().unwrap_or(u64::MAX), digits, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_timestamps() {
        assert_eq!(timestamp("00:01.500 x"), Some((1.5, " x")));
        assert_eq!(timestamp("01:02:03.004"), Some((3723.004, "")));
        assert_eq!(timestamp("100:00:00.000"), Some((360_000.0, "")));
        for bad in ["0:01.000", "60:00.000", "00:61.000", "00:01,000", "00:01.00", "00:01.0000", "1:1:1.000", ""] {
            assert_eq!(timestamp(bad), None, "{bad}");
        }
        assert!(timestamp(&format!("{}:00:00.000", "9".repeat(1000))).is_some());
    }

    #[test]
    fn a_block_ends_at_an_empty_line_and_not_at_a_blank_one() {
        let found = parse("WEBVTT\n\n00:00.000 --> 00:01.000\none\n \ntwo\n\nthree\n");
        assert_eq!(found.cues[0].text, "one\n \ntwo");
        assert_eq!(found.faults, [Fault { line: 8, kind: FaultKind::StrayBlock }]);
    }

    #[test]
    fn times_of_the_next_cue_end_a_cue() {
        let found = parse("WEBVTT\n\n00:00.000 --> 00:01.000\none\n00:01.000 --> 00:02.000\ntwo");
        assert_eq!(found.cues.len(), 2);
        assert_eq!((found.cues[0].text.as_str(), found.cues[1].text.as_str()), ("one", "two"));
    }

    #[test]
    fn blocks_of_every_kind() {
        let found = parse(
            "WEBVTT - title\nLanguage: en\n\nNOTE a comment\n\nSTYLE\n::cue {}\n\nREGION\nid:fred width:40%\n\n\
             name\n00:00.000 --> 00:01.000 region:fred\nHi\n\nSTYLE\nlate\n\n00:1.000 --> 00:02.000\nlost\n",
        );
        assert_eq!(found.header, ["- title", "Language: en"]);
        assert_eq!(found.notes, ["a comment"]);
        assert_eq!(found.styles, ["::cue {}"]);
        assert_eq!((found.regions[0].id.as_str(), found.regions[0].width), ("fred", 40.0));
        assert_eq!((found.cues[0].id.as_str(), found.cues[0].settings.region), ("name", Some(0)));
        let kinds: Vec<FaultKind> = found.faults.iter().map(|fault| fault.kind).collect();
        assert_eq!(kinds, [FaultKind::LateDefinition, FaultKind::StrayBlock, FaultKind::BadTimes]);
    }
}
