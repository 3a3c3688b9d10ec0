//! Captions: WebVTT, SubRip (SRT) and SBV become what is said, by whom and when.
//!
//! A file is read to its end whatever is in it; what does not fit is noted in [`Document::notes`]. Only a file that is no
//! caption file at all is an error.

mod rolling;
mod sbv;
mod segments;
mod speech;
mod srt;
pub mod webvtt;

use std::borrow::Cow;
use std::sync::Arc;

use crate::document::{Document, Notes};
use crate::words;

/// How captions become segments.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct CaptionOptions {
    /// Whether the repeats of rolling captions are taken out.
    pub rolling: Rolling,
    /// What happens to notes of sounds.
    pub sounds: Sounds,
    /// Whether `NAME: text` and `>> text` at the start of lines tell speakers and turns (`<v Name>` always does).
    pub labels: bool,
    /// How long a name in front of a line holds, where cues have no voices and turns no marks.
    pub names_hold: NamesHold,
    /// What becomes one segment.
    pub merge: Merge,
    /// A pause of this many seconds ends a merged segment.
    pub pause_secs: f64,
    /// A merged segment takes no further cue (of paragraphs: no further sentence) that would make it longer than this
    /// many bytes; captions without punctuation have no other end.
    pub longest_bytes: usize,
}

impl Default for CaptionOptions {
    fn default() -> Self {
        Self {
            rolling: Rolling::Detect,
            sounds: Sounds::Drop,
            labels: true,
            names_hold: NamesHold::Sentence,
            merge: Merge::Cues,
            pause_secs: 3.0,
            longest_bytes: 600,
        }
    }
}

/// Whether the repeats of rolling captions are taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rolling {
    /// If the file as a whole rolls.
    #[default]
    Detect,
    /// Wherever a cue repeats the end of the one before.
    Always,
    /// Nowhere.
    Never,
}

/// What happens to notes of sounds such as `[Music]`, `(LAUGHS)` and `♪`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sounds {
    /// They stay in the text.
    Keep,
    /// They are left out; the words of a song stay.
    #[default]
    Drop,
}

/// How long a name in front of a line holds for the lines behind it that have none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NamesHold {
    /// To the end of the sentence: subtitles name whoever cannot be seen, and then nobody knows.
    #[default]
    Sentence,
    /// To the next name or mark of a turn: transcripts name every speaker once.
    Turn,
}

/// What becomes one segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Merge {
    /// What one speaker says in one cue.
    #[default]
    Cues,
    /// A sentence, with the times of the cues in which it begins and ends.
    Sentences,
    /// Sentences of one speaker without a pause between them.
    Paragraphs,
}

/// The formats of captions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CaptionFormat {
    /// WebVTT.
    WebVtt,
    /// SubRip.
    Srt,
    /// SubViewer as YouTube writes it.
    Sbv,
}

impl CaptionFormat {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::WebVtt => "WebVTT",
            Self::Srt => "SRT",
            Self::Sbv => "SBV",
        }
    }

    /// The format of a text, by its first lines that say so.
    pub fn detect(text: &str) -> Option<Self> {
        if webvtt::has_signature(text) {
            return Some(Self::WebVtt);
        }
        unix_lines(text).lines().find_map(|line| {
            if srt::times(line).is_some() {
                Some(Self::Srt)
            } else if sbv::times(line).is_some() {
                Some(Self::Sbv)
            } else {
                None
            }
        })
    }
}

/// Why a text is no captions.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CaptionError {
    /// Nothing in it says that it is of the format it was read as.
    #[error("this is no {} file: {missing}", expected.name())]
    NotThisFormat {
        /// What it was read as.
        expected: CaptionFormat,
        /// What is not there.
        missing: &'static str,
        /// What it looks like.
        looks_like: Option<CaptionFormat>,
    },
    /// It is of no known format.
    #[error("no captions: no line has times of WebVTT, SRT or SBV")]
    NoCaptions,
}

impl CaptionError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotThisFormat { looks_like: Some(format), .. } => {
                Some(format!("it looks like {}; read it as that, or let the format be detected", format.name()))
            }
            Self::NotThisFormat { .. } | Self::NoCaptions => {
                Some("check that the file is text and holds captions, or read it as plain text".to_owned())
            }
        }
    }
}

/// Reads captions of whichever format they are.
///
/// # Errors
///
/// [`CaptionError::NoCaptions`] if no line has times of any format.
pub fn parse(text: &str, options: &CaptionOptions) -> Result<Document, CaptionError> {
    match CaptionFormat::detect(text) {
        Some(CaptionFormat::WebVtt) => parse_webvtt(text, options),
        Some(CaptionFormat::Srt) => parse_srt(text, options),
        Some(CaptionFormat::Sbv) => parse_sbv(text, options),
        None => Err(CaptionError::NoCaptions),
    }
}

/// Reads WebVTT.
///
/// # Errors
///
/// If the text does not begin with `WEBVTT`.
pub fn parse_webvtt(text: &str, options: &CaptionOptions) -> Result<Document, CaptionError> {
    if !webvtt::has_signature(text) {
        return Err(not_this(text, CaptionFormat::WebVtt, "it does not begin with `WEBVTT`"));
    }
    let file = webvtt::parse(text);
    let mut notes = Notes::default();
    for fault in &file.faults {
        notes.push(format!("line {}: {}", fault.line, fault.kind.text()));
    }
    let language = file.header.iter().find_map(|line| line.strip_prefix("Language:")).map(str::trim);
    let language = language.filter(|tag| !tag.is_empty() && tag.len() <= 35).map(str::to_owned);
    let cues = file.cues.iter().map(cue_of_webvtt).collect();
    Ok(document(cues, language, notes, options))
}

/// Reads SubRip.
///
/// # Errors
///
/// If no line has times as `00:00:01,000 --> 00:00:02,000`.
pub fn parse_srt(text: &str, options: &CaptionOptions) -> Result<Document, CaptionError> {
    let mut notes = Notes::default();
    let cues = srt::parse(&unix_lines(text), &mut notes);
    if !cues.iter().any(|cue| cue.times.is_some()) {
        return Err(not_this(text, CaptionFormat::Srt, "no line has times as `00:00:01,000 --> 00:00:02,000`"));
    }
    Ok(document(cues, None, notes, options))
}

/// Reads SBV.
///
/// # Errors
///
/// If no line has times as `0:00:01.000,0:00:02.000`.
pub fn parse_sbv(text: &str, options: &CaptionOptions) -> Result<Document, CaptionError> {
    let mut notes = Notes::default();
    let cues = sbv::parse(&unix_lines(text), &mut notes);
    if !cues.iter().any(|cue| cue.times.is_some()) {
        return Err(not_this(text, CaptionFormat::Sbv, "no line has times as `0:00:01.000,0:00:02.000`"));
    }
    Ok(document(cues, None, notes, options))
}

/// Lines of files of old that end with a carriage return alone; WebVTT has its own rule for them.
fn unix_lines(text: &str) -> Cow<'_, str> {
    if text.contains('\r') && !text.contains('\n') {
        return Cow::Owned(text.replace('\r', "\n"));
    }
    Cow::Borrowed(text)
}

fn not_this(text: &str, expected: CaptionFormat, missing: &'static str) -> CaptionError {
    let looks_like = CaptionFormat::detect(text).filter(|&format| format != expected);
    CaptionError::NotThisFormat { expected, missing, looks_like }
}

/// A cue of any format on its way to segments.
#[derive(Debug, Clone, PartialEq, Default)]
struct RawCue {
    /// `None` where the file gives none that can be read.
    times: Option<(f64, f64)>,
    /// First and last line in the file.
    source: (usize, usize),
    lines: Vec<RawLine>,
}

/// A line of a cue, or the part of a line that one voice speaks.
#[derive(Debug, Clone, PartialEq, Default)]
struct RawLine {
    voice: Option<Arc<str>>,
    text: String,
    /// Whether a time stands in it: its words are new, whatever they are.
    timed: bool,
}

impl RawCue {
    /// Adds lines of text, whitespace put right; blank ones are padding and are left out.
    fn push_lines(&mut self, text: &str) {
        for line in text.split('\n') {
            let text = words::collapse(line);
            if !text.is_empty() {
                self.lines.push(RawLine { voice: None, text, timed: false });
            }
        }
    }
}

fn cue_of_webvtt(cue: &webvtt::Cue) -> RawCue {
    let mut found = Flatten { lines: vec![RawLine::default()] };
    found.nodes(&cue.nodes(), None);
    let lines = found.lines.into_iter().filter_map(|mut line| {
        line.text = words::collapse(&line.text);
        (!line.text.is_empty()).then_some(line)
    });
    let last = cue.line + cue.text.split('\n').count();
    RawCue { times: Some((cue.start_secs, cue.end_secs)), source: (cue.line, last), lines: lines.collect() }
}

/// A tree of nodes becomes lines.
struct Flatten {
    /// Never empty.
    lines: Vec<RawLine>,
}

impl Flatten {
    fn nodes(&mut self, nodes: &[webvtt::Node], voice: Option<&Arc<str>>) {
        use webvtt::{Node, Tag};
        for node in nodes {
            match node {
                Node::Text(text) => {
                    for (index, part) in text.split('\n').enumerate() {
                        let Some(line) = self.lines.last_mut() else { return };
                        let other_voice = line.voice.as_ref() != voice;
                        if index > 0 || (other_voice && !line.text.trim().is_empty()) {
                            self.lines.push(RawLine { voice: voice.cloned(), text: part.to_owned(), timed: false });
                        } else {
                            line.voice = voice.cloned();
                            line.text.push_str(part);
                        }
                    }
                }
                Node::Timestamp(_) => {
                    if let Some(line) = self.lines.last_mut() {
                        line.timed = true;
                    }
                }
                // The reading above a word says the word a second time.
                Node::Span { tag: Tag::RubyText, .. } => {}
                Node::Span { tag: Tag::Voice, annotation, children, .. } if !annotation.is_empty() => {
                    self.nodes(children, Some(&Arc::from(words::shortened(annotation, 200))));
                }
                Node::Span { children, .. } => self.nodes(children, voice),
            }
        }
    }
}

fn document(mut cues: Vec<RawCue>, language: Option<String>, mut notes: Notes, options: &CaptionOptions) -> Document {
    let repeats = rolling::undo(&mut cues, options.rolling);
    if repeats > 0 {
        notes.push(format!("rolling captions: {repeats} repeated lines are left out"));
    }
    let (pieces, sounds) = speech::pieces(cues, options);
    if sounds > 0 {
        notes.push(format!("{sounds} notes of sounds are left out"));
    }
    let segments = segments::merge(pieces, options);
    Document { title: None, language, segments, notes: notes.finish() }
}
