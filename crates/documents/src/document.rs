//! What a file of text becomes.

use std::sync::Arc;

/// What a segment is in its document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum SegmentKind {
    /// Something written as a paragraph, or whatever has no closer name.
    #[default]
    Paragraph,
    /// Something said, from captions.
    Speech,
    /// The title of a section, from 1 (the outermost) to 6.
    Heading(u8),
    /// An item of a list, without its mark.
    ListItem,
    /// A quotation that stands by itself.
    Quote,
    /// Code, kept verbatim.
    Code,
    /// The rows of a table, one a line, cells between `|`.
    Table,
}

/// A stretch of a document with its place in the source.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Segment {
    /// What it is.
    pub kind: SegmentKind,
    /// Who speaks, if the source says so.
    pub speaker: Option<String>,
    /// Seconds from the start of the recording at which it begins; `None` for text without times.
    pub start_secs: Option<f64>,
    /// Seconds at which it ends.
    pub end_secs: Option<f64>,
    /// The first and the last line of the source that it comes from, counting from 1; `None` where lines mean nothing.
    pub lines: Option<(usize, usize)>,
    /// The title of the innermost section around it, shortened where it is very long.
    pub section: Option<Arc<str>>,
    /// What is said or written, without markup, as one paragraph (code and tables: several lines).
    pub text: String,
}

/// A document: its text and where each part of it came from.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Document {
    /// Its title, if it has one.
    pub title: Option<String>,
    /// Language tag, if the source names one.
    pub language: Option<String>,
    /// Its parts, in order.
    pub segments: Vec<Segment>,
    /// What was mended or left out on the way, one line each with its place, for people.
    pub notes: Vec<String>,
}

impl Document {
    /// The text of all segments, with an empty line between them.
    pub fn text(&self) -> String {
        let mut text = String::with_capacity(self.segments.iter().map(|segment| segment.text.len() + 2).sum());
        for (index, segment) in self.segments.iter().enumerate() {
            if index > 0 {
                text.push_str("\n\n");
            }
            text.push_str(&segment.text);
        }
        text
    }
}

/// Notes for people: so many, then a count.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    listed: Vec<String>,
    left_out: usize,
}

impl Notes {
    /// A hostile file must not make a message of every line.
    const LISTED: usize = 100;

    pub(crate) fn push(&mut self, note: impl Into<String>) {
        if self.listed.len() < Self::LISTED {
            self.listed.push(note.into());
        } else {
            self.left_out += 1;
        }
    }

    pub(crate) fn finish(mut self) -> Vec<String> {
        if self.left_out > 0 {
            self.listed.push(format!("and {} more notes", self.left_out));
        }
        self.listed
    }
}
