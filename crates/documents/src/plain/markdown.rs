//! Markdown: CommonMark with tables, footnotes and front matter.

use std::ops::Range;
use std::sync::Arc;

use pulldown_cmark::{Event, HeadingLevel, MetadataBlockKind, Options, Parser, Tag, TagEnd};

use super::{TextOptions, parse_text};
use crate::document::{Document, Notes, Segment, SegmentKind};
use crate::{web, words};

/// Nobody nests quotes and lists this deep; the parser's memory grows with it.
const DEEPEST: usize = 100;

/// Reads Markdown. Any text has a reading, so there is no error.
pub fn parse_markdown(text: &str, options: &TextOptions) -> Document {
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    if is_too_deep(text) {
        let mut document = parse_text(text, options);
        document.notes.insert(0, format!("quotes or lists more than {DEEPEST} deep: read as plain text"));
        return document;
    }
    let extensions = Options::ENABLE_TABLES
        | Options::ENABLE_STRIKETHROUGH
        | Options::ENABLE_TASKLISTS
        | Options::ENABLE_FOOTNOTES
        | Options::ENABLE_GFM
        | Options::ENABLE_YAML_STYLE_METADATA_BLOCKS
        | Options::ENABLE_PLUSES_DELIMITED_METADATA_BLOCKS;
    let mut reader = Reader { lines: Lines::of(text), ..Reader::default() };
    for (event, range) in Parser::new_ext(text, extensions).into_offset_iter() {
        reader.event(event, range);
    }
    reader.flush();
    Document {
        title: reader.front_title.or(reader.first_heading),
        language: reader.language,
        segments: reader.segments,
        notes: Notes::default().finish(),
    }
}

/// Whether a line opens more containers than that.
fn is_too_deep(text: &str) -> bool {
    text.lines().any(|line| {
        let marks = line.bytes().take_while(|b| matches!(b, b'>' | b' ' | b'-' | b'*' | b'+' | b'\t'));
        // A rule of dashes opens nothing.
        let opening = marks.filter(|b| !matches!(b, b' ' | b'\t')).count();
        opening > DEEPEST && (line.contains('>') || line.contains("- ") || line.contains("* ") || line.contains("+ "))
    })
}

/// Where the lines of a text begin.
#[derive(Default)]
struct Lines {
    starts: Vec<usize>,
}

impl Lines {
    fn of(text: &str) -> Self {
        let ends = text.bytes().enumerate().filter(|&(_, b)| b == b'\n').map(|(at, _)| at + 1);
        Self { starts: std::iter::once(0).chain(ends).collect() }
    }

    /// The number of the line of a byte, from 1.
    fn number(&self, byte: usize) -> usize {
        self.starts.partition_point(|&start| start <= byte)
    }
}

#[derive(Default)]
struct Reader {
    lines: Lines,
    segments: Vec<Segment>,
    section: Option<Arc<str>>,
    front_title: Option<String>,
    first_heading: Option<String>,
    language: Option<String>,
    /// The text of the block that is open.
    open: String,
    range: Option<Range<usize>>,
    heading: Option<u8>,
    quotes: usize,
    items: usize,
    images: usize,
    code: bool,
    table: bool,
    html: String,
}

impl Reader {
    fn event(&mut self, event: Event<'_>, range: Range<usize>) {
        match event {
            Event::Start(tag) => self.start(&tag),
            Event::End(tag) => self.end(tag),
            Event::Text(text) | Event::Code(text) => {
                if self.images == 0 {
                    self.add(&text, range);
                }
            }
            Event::InlineMath(text) | Event::DisplayMath(text) => self.add(&text, range),
            Event::SoftBreak | Event::HardBreak => self.add(if self.code { "\n" } else { " " }, range),
            Event::Html(html) => {
                self.html.push_str(&html);
                self.cover(range);
            }
            Event::InlineHtml(html) => {
                if html.to_ascii_lowercase().starts_with("<br") {
                    self.add(" ", range);
                }
            }
            Event::Rule => self.flush(),
            Event::FootnoteReference(_) | Event::TaskListMarker(_) => {}
        }
    }

    fn start(&mut self, tag: &Tag<'_>) {
        match tag {
            Tag::Paragraph | Tag::HtmlBlock | Tag::List(_) | Tag::FootnoteDefinition(_) => self.flush(),
            Tag::Heading { level, .. } => {
                self.flush();
                self.heading = Some(rank(*level));
            }
            Tag::BlockQuote(_) => {
                self.flush();
                self.quotes += 1;
            }
            Tag::Item => {
                self.flush();
                self.items += 1;
            }
            Tag::CodeBlock(_) => {
                self.flush();
                self.code = true;
            }
            Tag::Table(_) => {
                self.flush();
                self.table = true;
            }
            Tag::Image { .. } => self.images += 1,
            Tag::MetadataBlock(MetadataBlockKind::YamlStyle | MetadataBlockKind::PlusesStyle) => {}
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Paragraph | TagEnd::Heading(_) | TagEnd::FootnoteDefinition | TagEnd::List(_) => self.flush(),
            TagEnd::HtmlBlock => self.html_block(),
            TagEnd::BlockQuote(_) => {
                self.flush();
                self.quotes = self.quotes.saturating_sub(1);
            }
            TagEnd::Item => {
                self.flush();
                self.items = self.items.saturating_sub(1);
            }
            TagEnd::CodeBlock => {
                self.flush();
                self.code = false;
            }
            TagEnd::TableCell => self.open.push_str(" | "),
            TagEnd::TableHead | TagEnd::TableRow => {
                let row = self.open.trim_end().trim_end_matches('|').trim_end().len();
                self.open.truncate(row);
                self.open.push('\n');
            }
            TagEnd::Table => {
                self.flush();
                self.table = false;
            }
            TagEnd::Image => self.images = self.images.saturating_sub(1),
            TagEnd::MetadataBlock(_) => self.front_matter(),
            _ => {}
        }
    }

    fn add(&mut self, text: &str, range: Range<usize>) {
        self.open.push_str(text);
        self.cover(range);
    }

    fn cover(&mut self, range: Range<usize>) {
        self.range = Some(match self.range.take() {
            Some(before) => before.start..range.end,
            None => range,
        });
    }

    /// The block that is open becomes a segment.
    fn flush(&mut self) {
        let open = std::mem::take(&mut self.open);
        let range = self.range.take();
        let heading = self.heading.take();
        let text = if self.code {
            open.trim_end_matches('\n').to_owned()
        } else if self.table {
            open.trim().to_owned()
        } else {
            words::collapse(&open)
        };
        if text.trim().is_empty() {
            return;
        }
        let kind = match heading {
            _ if self.code => SegmentKind::Code,
            _ if self.table => SegmentKind::Table,
            Some(level) => SegmentKind::Heading(level),
            None if self.items > 0 => SegmentKind::ListItem,
            None if self.quotes > 0 => SegmentKind::Quote,
            None => SegmentKind::Paragraph,
        };
        if let SegmentKind::Heading(level) = kind {
            self.section = Some(Arc::from(words::shortened(&text, 200)));
            if level == 1 && self.first_heading.is_none() {
                self.first_heading = Some(words::shortened(&text, 300));
            }
        }
        let lines = range.map(|range| {
            (self.lines.number(range.start), self.lines.number(range.end.saturating_sub(1).max(range.start)))
        });
        self.segments.push(Segment { kind, lines, section: self.section.clone(), text, ..Segment::default() });
    }

    /// HTML in a document: what it says.
    fn html_block(&mut self) {
        let html = std::mem::take(&mut self.html);
        self.open = web::visible_text(&html);
        self.flush();
    }

    /// Of the front matter, title and language: lines `title: ...` (YAML) or `title = ...` (TOML).
    fn front_matter(&mut self) {
        self.range = None;
        let front = std::mem::take(&mut self.open);
        for line in front.lines() {
            let Some((key, value)) = line.split_once([':', '=']) else { continue };
            let value = value.trim().trim_matches(['"', '\'']).trim();
            if value.is_empty() || value.starts_with(['|', '>', '[', '{']) {
                continue;
            }
            match key.trim_end() {
                "title" => self.front_title = Some(words::shortened(value, 300)),
                "lang" | "language" if value.len() <= 35 => self.language = Some(value.to_owned()),
                _ => {}
            }
        }
    }
}

fn rank(level: HeadingLevel) -> u8 {
    match level {
        HeadingLevel::H1 => 1,
        HeadingLevel::H2 => 2,
        HeadingLevel::H3 => 3,
        HeadingLevel::H4 => 4,
        HeadingLevel::H5 => 5,
        HeadingLevel::H6 => 6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Document {
        parse_markdown(text, &TextOptions::default())
    }

    #[test]
    fn blocks_of_every_kind() {
        let document = read(
            "---\ntitle: \"Front\"\nlang: de\n---\n\n# One\n\nSome *text* with `code`\nand a [link](x) ![picture](y).\n\n\
             - a\n- b\n  - c\n\n> quoted\n\n## Two\n\n```rust\nfn main() {\n\n}\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n\
             <div>html &amp; <b>more</b></div>\n",
        );
        assert_eq!((document.title.as_deref(), document.language.as_deref()), (Some("Front"), Some("de")));
        let found: Vec<_> =
            document.segments.iter().map(|s| (s.kind, s.text.as_str(), s.section.as_deref().unwrap_or(""))).collect();
        assert_eq!(
            found,
            [
                (SegmentKind::Heading(1), "One", "One"),
                (SegmentKind::Paragraph, "Some text with code and a link .", "One"),
                (SegmentKind::ListItem, "a", "One"),
                (SegmentKind::ListItem, "b", "One"),
                (SegmentKind::ListItem, "c", "One"),
                (SegmentKind::Quote, "quoted", "One"),
                (SegmentKind::Heading(2), "Two", "Two"),
                (SegmentKind::Code, "fn main() {\n\n}", "Two"),
                (SegmentKind::Table, "a | b\n1 | 2", "Two"),
                (SegmentKind::Paragraph, "html & more", "Two"),
            ]
        );
        assert_eq!(document.segments[1].lines, Some((8, 9)));
        assert_eq!(document.segments[7].lines, Some((20, 22)));
    }

    #[test]
    fn the_first_heading_is_the_title() {
        assert_eq!(read("Title\n=====\n\ntext").title.as_deref(), Some("Title"));
        assert_eq!(read("## Small\n\ntext").title, None);
        assert_eq!(read("+++\ntitle = 'T'\n+++\nx").title.as_deref(), Some("T"));
    }

    #[test]
    fn depth_is_bounded() {
        let document = read(&format!("{} x", ">".repeat(1_000_000)));
        let marks: usize = document.segments.iter().map(|segment| segment.text.matches('>').count()).sum();
        assert_eq!(marks, 1_000_000);
        assert!(document.notes[0].contains("plain text"));
    }
}
