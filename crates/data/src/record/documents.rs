//! A file that is one document: text, Markdown, a web page, captions.

use std::collections::VecDeque;

use attune_documents::captions::{CaptionOptions, NamesHold, parse_sbv, parse_srt, parse_webvtt};
use attune_documents::plain::{TextOptions, parse_markdown, parse_text};
use attune_documents::web::{WebOptions, extract};
use attune_documents::{Document, Segment};
use serde_json::{Map, Value};

use super::fault::{Cause, Extent, checked_text, held};
use super::kind::FileKind;
use super::source::Source;
use super::transcripts::{TranscriptFacts, Transcripts, rows_of};
use super::{Found, RowReader};
use crate::error::DataError;
use crate::read::{MAX_DOCUMENT_BYTES, MAX_ROW_BYTES};

/// The one row of a document, or the rows of a transcript.
pub(crate) struct OneDocument {
    source: Source,
    kind: FileKind,
    transcripts: Option<Transcripts>,
    facts: Option<TranscriptFacts>,
    /// Rows that were not given yet.
    rows: VecDeque<Found>,
    read: bool,
}

impl OneDocument {
    /// With `transcripts`, captions become rows of messages; other documents are not concerned.
    pub(crate) fn new(source: Source, kind: FileKind, transcripts: Option<&Transcripts>) -> Self {
        let transcripts = transcripts.filter(|_| kind.is_captions()).cloned();
        Self { source, kind, transcripts, facts: None, rows: VecDeque::new(), read: false }
    }

    fn read(&mut self) -> Result<(), DataError> {
        let (bytes, length) = self.source.read_whole(MAX_ROW_BYTES as u64, MAX_DOCUMENT_BYTES)?;
        if length <= MAX_ROW_BYTES as u64 && bytes.trim_ascii().is_empty() {
            return Ok(());
        }
        let read = if length > MAX_ROW_BYTES as u64 {
            Err(Cause::TooLong { line: 1, limit: MAX_ROW_BYTES })
        } else {
            let mut captions = CaptionOptions::default();
            if self.transcripts.is_some() {
                captions.names_hold = NamesHold::Turn;
            }
            checked_text(&bytes, 1)
                .and_then(|text| {
                    parse_document(self.kind, text, &captions).map_err(|reason| Cause::Other { line: 1, reason })
                })
                .and_then(|document| match document.text().trim().is_empty() {
                    true => Err(Cause::Other { line: 1, reason: "there is no text in it".into() }),
                    false => Ok(document),
                })
        };
        match (read, &self.transcripts) {
            (Ok(document), Some(how)) => {
                let (rows, facts) = rows_of(&document, &self.source.path, how)?;
                self.facts = Some(facts);
                self.rows = rows.into_iter().map(|(line, object)| Found::Row { line, object }).collect();
            }
            (Ok(document), None) => {
                let name = self.source.path.file_name().map(|name| name.to_string_lossy().into_owned());
                let object = record_of(&document, name.unwrap_or_default());
                self.rows.push_back(Found::Row { line: 1, object });
            }
            (Err(cause), _) => {
                let extent = Extent { start: self.source.mark_bytes, length };
                self.rows.push_back(Found::fault(1, held(bytes, length), extent, cause));
            }
        }
        Ok(())
    }
}

impl RowReader for OneDocument {
    fn next_row(&mut self) -> Result<Option<Found>, DataError> {
        if !std::mem::replace(&mut self.read, true) {
            self.read()?;
        }
        Ok(self.rows.pop_front())
    }

    fn why_empty(&self) -> &'static str {
        "only blank space"
    }

    fn transcript(&self) -> Option<TranscriptFacts> {
        self.facts
    }
}

/// The document in a text of that kind.
fn parse_document(kind: FileKind, text: &str, captions: &CaptionOptions) -> Result<Document, String> {
    match kind {
        FileKind::Markdown => Ok(parse_markdown(text, &TextOptions::default())),
        FileKind::Html => extract(text, &WebOptions::default()).map_err(|error| error.to_string()),
        FileKind::WebVtt => parse_webvtt(text, captions).map_err(|error| error.to_string()),
        FileKind::Srt => parse_srt(text, captions).map_err(|error| error.to_string()),
        FileKind::Sbv => parse_sbv(text, captions).map_err(|error| error.to_string()),
        FileKind::Text | FileKind::JsonLines | FileKind::Json | FileKind::Csv | FileKind::Tsv | FileKind::Parquet => {
            Ok(parse_text(text, &TextOptions::default()))
        }
    }
}

/// `{"text", "title"?, "language"?, "source", "segments"?}`. Segments are listed where they say more than the text does:
/// if any has a time or a speaker.
fn record_of(document: &Document, source: String) -> Map<String, Value> {
    let mut object = Map::new();
    object.insert("text".into(), document.text().into());
    if let Some(title) = &document.title {
        object.insert("title".into(), title.as_str().into());
    }
    if let Some(language) = &document.language {
        object.insert("language".into(), language.as_str().into());
    }
    object.insert("source".into(), source.into());
    if document.segments.iter().any(|segment| segment.start_secs.is_some() || segment.speaker.is_some()) {
        object.insert("segments".into(), document.segments.iter().map(segment_value).collect());
    }
    object
}

fn segment_value(segment: &Segment) -> Value {
    let mut object = Map::new();
    for (key, time) in [("start", segment.start_secs), ("end", segment.end_secs)] {
        if let Some(secs) = time {
            object.insert(key.into(), secs.into());
        }
    }
    if let Some(speaker) = &segment.speaker {
        object.insert("speaker".into(), speaker.as_str().into());
    }
    object.insert("text".into(), segment.text.as_str().into());
    Value::Object(object)
}
