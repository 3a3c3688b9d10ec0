//! Plain text: paragraphs between empty lines, broken lines joined.

use std::collections::HashSet;
use std::sync::Arc;

use super::{TextOptions, pages};
use crate::document::{Document, Notes, Segment, SegmentKind};
use crate::words;

/// Reads plain text. Any text has a reading, so there is no error.
pub fn parse_text(text: &str, options: &TextOptions) -> Document {
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    let mut lines: Vec<&str> = Vec::new();
    let mut page_starts = vec![0];
    for line in text.split('\n') {
        let line = line.strip_suffix('\r').unwrap_or(line);
        // A form feed begins a page; a line may hold several.
        for (index, part) in line.split('\u{C}').enumerate() {
            if index > 0 {
                page_starts.push(lines.len());
            }
            lines.push(part);
        }
    }
    // Places of lines in the file, which parts of lines share.
    let numbers = line_numbers(text);
    page_starts.push(lines.len());
    let pages: Vec<_> = page_starts.windows(2).map(|pair| pair[0]..pair[1]).collect();
    let page_lines = pages::page_lines(&lines, &pages);
    let mut notes = Notes::default();
    let count = page_lines.iter().filter(|&&found| found).count();
    if count > 0 {
        let what = if options.drop_page_lines { "are left out" } else { "are kept" };
        notes.push(format!("{count} running heads, feet and page numbers on {} pages {what}", pages.len()));
    }
    let mut reader = Reader {
        lines: &lines,
        numbers: &numbers,
        options,
        width: width(&lines),
        words: None,
        segments: Vec::new(),
        section: None,
        mended: 0,
        doubtful: 0,
    };
    let starts: HashSet<usize> = page_starts.into_iter().collect();
    let mut block: Vec<usize> = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let blank = line.chars().all(words::is_blank);
        let of_page = page_lines[index];
        if of_page && options.drop_page_lines {
            continue;
        }
        // A paragraph goes on over a page break only if what stands between is left out.
        if blank && starts.contains(&index) {
            continue;
        }
        if blank || of_page {
            reader.block(&block);
            block.clear();
        }
        if of_page {
            reader.block(&[index]);
        } else if !blank {
            block.push(index);
        }
    }
    reader.block(&block);
    if reader.mended > 0 {
        notes.push(format!("{} words that were parted at line ends are joined", reader.mended));
    }
    if reader.doubtful > 0 {
        notes.push(format!("{} hyphens at line ends are kept: they may belong to their words", reader.doubtful));
    }
    Document { title: None, language: None, segments: reader.segments, notes: notes.finish() }
}

fn line_numbers(text: &str) -> Vec<usize> {
    let parts = text.split('\n').enumerate();
    parts.flat_map(|(index, line)| std::iter::repeat_n(index + 1, line.matches('\u{C}').count() + 1)).collect()
}

/// The width to which lines were broken: nine in ten of the lines that go on are not longer. `None` if they were not.
fn width(lines: &[&str]) -> Option<usize> {
    const WIDEST: usize = 160;
    const NARROWEST: usize = 30;
    let mut lengths: Vec<usize> = lines
        .windows(2)
        .filter(|pair| !pair[0].trim().is_empty() && !pair[1].trim().is_empty())
        .map(|pair| pair[0].chars().take(WIDEST + 1).count())
        .collect();
    lengths.sort_unstable();
    let width = *lengths.get(lengths.len() * 9 / 10)?;
    (NARROWEST..=WIDEST).contains(&width).then_some(width)
}

struct Reader<'a> {
    lines: &'a [&'a str],
    numbers: &'a [usize],
    options: &'a TextOptions,
    width: Option<usize>,
    /// All words of the text in small letters, once they are needed.
    words: Option<HashSet<String>>,
    segments: Vec<Segment>,
    section: Option<Arc<str>>,
    mended: usize,
    doubtful: usize,
}

impl Reader<'_> {
    /// Lines without an empty one between them.
    fn block(&mut self, block: &[usize]) {
        let Some((&first, rest)) = block.split_first() else { return };
        if rest.is_empty() && is_heading(self.lines[first]) {
            let title = words::collapse(self.lines[first]);
            self.section = Some(Arc::from(title.as_str()));
            return self.push(SegmentKind::Heading(1), &[first], title);
        }
        let mut from = 0;
        for at in 1..=block.len() {
            let parts = at == block.len() || self.begins(block, at);
            if parts {
                self.paragraph(&block[from..at]);
                from = at;
            }
        }
    }

    /// Whether a paragraph begins inside a block.
    fn begins(&self, block: &[usize], at: usize) -> bool {
        let (before, line) = (self.lines[block[at - 1]], self.lines[block[at]]);
        if item(line).is_some() {
            return true;
        }
        let indent = |line: &str| line.len() - line.trim_start().len();
        // Lines that are paragraphs, each of its own length.
        if self.width.is_none() && (before.len() > 160 || line.len() > 160) {
            return true;
        }
        let in_item = item(self.lines[block[0]]).is_some();
        let next_is_flush = block.get(at + 1).is_none_or(|&next| indent(self.lines[next]) < indent(line));
        !in_item && indent(line) >= indent(before) + 2 && next_is_flush && words::ends_sentence(before)
    }

    fn paragraph(&mut self, block: &[usize]) {
        let mut kind = SegmentKind::Paragraph;
        let mut text = String::new();
        let wrapped = self.is_wrapped(block);
        for (place, &index) in block.iter().enumerate() {
            let mut line = self.lines[index].trim_end();
            if place == 0
                && let Some(rest) = item(line)
            {
                kind = SegmentKind::ListItem;
                line = rest;
            }
            let line = words::collapse(line);
            if place == 0 {
                text = line;
            } else if wrapped || kind == SegmentKind::ListItem {
                self.join(&mut text, &line);
            } else {
                text.push('\n');
                text.push_str(&line);
            }
        }
        self.push(kind, block, text);
    }

    /// Whether the lines of a paragraph were broken to the width of the file: each but the last is nearly full.
    fn is_wrapped(&self, block: &[usize]) -> bool {
        let (Some(width), true) = (self.width, self.options.join_lines) else { return false };
        let Some((_, full)) = block.split_last() else { return false };
        let length: usize = full.iter().map(|&index| self.lines[index].trim_end().chars().count()).sum();
        !full.is_empty() && length * 10 >= width * full.len() * 7
    }

    /// Puts the next line behind a text, and a word that was parted together again where that is sure.
    fn join(&mut self, text: &mut String, line: &str) {
        if text.ends_with('\u{AD}') {
            text.pop();
            text.push_str(line);
            self.mended += 1;
            return;
        }
        let hyphen = text.ends_with(['-', '‐']) && line.starts_with(char::is_lowercase);
        let front = text.trim_end_matches(['-', '‐']);
        if !hyphen || front.len() + 1 < text.len() || !front.ends_with(char::is_alphabetic) {
            return words::join(text, line);
        }
        let is_part = |c: char| c.is_alphanumeric() || c == '-' || c == '\'' || c == '’';
        let head_at =
            front.char_indices().rev().take_while(|&(_, c)| is_part(c)).last().map_or(front.len(), |(at, _)| at);
        let head = front[head_at..].to_lowercase();
        let tail_end = line.find(|c: char| !is_part(c)).unwrap_or(line.len());
        let tail = line[..tail_end].to_lowercase();
        let lines = self.lines;
        let known = self.words.get_or_insert_with(|| vocabulary(lines));
        let whole = known.contains(&format!("{head}{tail}"));
        let parted = known.contains(&format!("{head}-{tail}"));
        if whole && !parted {
            let end = front.len();
            text.truncate(end);
            self.mended += 1;
        } else {
            self.doubtful += 1;
        }
        text.push_str(line);
    }

    fn push(&mut self, kind: SegmentKind, block: &[usize], text: String) {
        if text.is_empty() {
            return;
        }
        let lines = block.first().zip(block.last()).map(|(&first, &last)| (self.numbers[first], self.numbers[last]));
        for text in parts(&text, self.options.longest_bytes) {
            let section = self.section.clone();
            self.segments.push(Segment { kind, lines, section, text: text.to_owned(), ..Segment::default() });
        }
    }
}

/// All words inside lines, in small letters. Words at the ends of lines may be halves of words.
fn vocabulary(lines: &[&str]) -> HashSet<String> {
    let mut known = HashSet::new();
    for line in lines {
        let words = line.split(|c: char| !(c.is_alphanumeric() || c == '-' || c == '\'' || c == '’'));
        for word in words.filter(|word| !word.is_empty() && word.len() <= 64 && !word.ends_with('-')) {
            known.insert(word.to_lowercase());
        }
    }
    known
}

/// A text, parted between sentences where it is longer than that.
pub(super) fn parts(text: &str, longest: usize) -> Vec<&str> {
    let longest = longest.max(100);
    let mut parts = Vec::new();
    let mut rest = text;
    while rest.len() > longest {
        let mut limit = longest;
        while !rest.is_char_boundary(limit) {
            limit -= 1;
        }
        let window = &rest[..limit];
        let spaces = || window.char_indices().rev().filter(|(_, c)| c.is_whitespace()).map(|(at, _)| at);
        let sentence = spaces().take(1000).find(|&at| at > limit / 4 && words::ends_sentence(&window[..at]));
        let at = sentence.or_else(|| spaces().find(|&at| at > limit / 2)).unwrap_or(limit);
        parts.push(rest[..at].trim());
        rest = rest[at..].trim_start();
    }
    parts.push(rest);
    parts
}

/// The text of an item of a list.
fn item(line: &str) -> Option<&str> {
    let line = line.trim_start();
    if let Some(rest) = line.strip_prefix(['-', '*', '•', '‣', '◦', '▪', '·', '–']) {
        return rest.strip_prefix([' ', '\t']).map(str::trim_start).filter(|rest| !rest.is_empty());
    }
    let digits = line.bytes().take_while(u8::is_ascii_digit).count();
    let rest = line[digits..].strip_prefix(['.', ')'])?.strip_prefix([' ', '\t'])?;
    // A year or a large number at the start of a line ends a sentence.
    (1..=2).contains(&digits).then(|| rest.trim_start()).filter(|rest| !rest.is_empty())
}

/// A line of its own in capitals, or `Chapter 3`.
fn is_heading(line: &str) -> bool {
    let line = line.trim();
    let letters = || line.chars().filter(|c| c.is_alphabetic());
    if line.is_empty() || line.len() > 100 || line.ends_with([',', ';', ':']) {
        return false;
    }
    let capitals = letters().take(101).count() >= 3 && letters().all(char::is_uppercase);
    let mut words = line.split_whitespace();
    let numbered = match (words.next().map(str::to_lowercase).as_deref(), words.next()) {
        (Some("chapter" | "part" | "section" | "appendix" | "book"), Some(number)) => {
            let number = number.trim_end_matches(['.', ':']);
            let roman = number.bytes().all(|b| matches!(b, b'I' | b'V' | b'X' | b'L' | b'C'));
            number.bytes().all(|b| b.is_ascii_digit()) || roman || number.len() == 1
        }
        _ => false,
    };
    capitals || (numbered && !words::ends_sentence(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str, options: &TextOptions) -> Vec<String> {
        parse_text(text, options).segments.into_iter().map(|segment| segment.text).collect()
    }

    const WRAPPED: &str = "CHAPTER ONE\n\nThe quick brown fox jumps over the lazy dog and runs into the hy-\n\
        phenated forest, where a hyphenated tree stands beside a well-\nknown river and waits for the evening to come.\n\n\
        Short lines\nof a poem\nstay as they are\n\n- first item of a list\n- second item\n";

    #[test]
    fn joins_what_was_broken() {
        let document = parse_text(WRAPPED, &TextOptions::default());
        let found: Vec<_> = document.segments.iter().map(|s| (s.kind, s.text.as_str(), s.lines)).collect();
        assert_eq!(
            found,
            [
                (SegmentKind::Heading(1), "CHAPTER ONE", Some((1, 1))),
                (
                    SegmentKind::Paragraph,
                    "The quick brown fox jumps over the lazy dog and runs into the hyphenated forest, where a hyphenated tree \
                     stands beside a well-known river and waits for the evening to come.",
                    Some((3, 5))
                ),
                (SegmentKind::Paragraph, "Short lines\nof a poem\nstay as they are", Some((7, 9))),
                (SegmentKind::ListItem, "first item of a list", Some((11, 11))),
                (SegmentKind::ListItem, "second item", Some((12, 12))),
            ]
        );
        assert_eq!(document.segments[1].section.as_deref(), Some("CHAPTER ONE"));
        assert_eq!(document.notes.len(), 2);
    }

    #[test]
    fn indented_paragraphs() {
        let text = "  It was a dark and stormy night in the old town by the sea.\nThe wind blew and the rain fell all night long on it.\n  \
                    Then the morning came, and with it the ships of the king.\nThey were many and carried all that was needed there.\n";
        assert_eq!(texts(text, &TextOptions::default()).len(), 2);
    }

    #[test]
    fn lines_of_pages() {
        let page = |n: usize| format!("My Report\nThe text of page {n} goes on and\n{n}\n");
        let text = (1..=5).map(page).collect::<Vec<_>>().join("\u{C}");
        let kept = parse_text(&text, &TextOptions::default());
        assert_eq!(kept.notes, ["10 running heads, feet and page numbers on 5 pages are kept"]);
        assert!(kept.segments.iter().any(|segment| segment.text == "My Report"));
        let options = TextOptions { drop_page_lines: true, ..TextOptions::default() };
        let dropped = texts(&text, &options).join("\n");
        assert!(!dropped.contains("My Report"), "{dropped}");
        assert!((1..=5).all(|n| dropped.contains(&format!("page {n} goes"))), "{dropped}");
    }

    #[test]
    fn long_paragraphs_are_parted_between_sentences() {
        let text = "This is a sentence. ".repeat(1000);
        let found = texts(&text, &TextOptions::default());
        assert!(found.len() >= 2 && found.iter().all(|part| part.len() <= 8000 && part.ends_with("sentence.")));
        assert_eq!(found.join(" ").len(), text.trim().len());
        assert!(texts(&"x".repeat(100_000), &TextOptions::default()).len() > 10);
    }

    #[test]
    fn lines_that_are_paragraphs() {
        let line = "word ".repeat(60);
        assert_eq!(texts(&format!("{line}\n{line}x\n{line}y"), &TextOptions::default()).len(), 3);
    }
}
