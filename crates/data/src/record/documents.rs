//! A file that is one document: text, Markdown, a web page, captions.

use attune_documents::captions::{CaptionOptions, parse_sbv, parse_srt, parse_webvtt};
use attune_documents::plain::{TextOptions, parse_markdown, parse_text};
use attune_documents::web::{WebOptions, extract};
use attune_documents::{Document, Segment};
use serde_json::{Map, Value};

use super::fault::{Cause, Extent, checked_text, held};
use super::kind::FileKind;
use super::source::Source;
use super::{Found, RowReader};
use crate::error::DataError;
use crate::read::{MAX_DOCUMENT_BYTES, MAX_ROW_BYTES};

/// The one row of a document.
pub(crate) struct OneDocument {
    source: Source,
    kind: FileKind,
    given: bool,
}

impl OneDocument {
    pub(crate) fn new(source: Source, kind: FileKind) -> Self {
        Self { source, kind, given: false }
    }
}

impl RowReader for OneDocument {
    fn next_row(&mut self) -> Result<Option<Found>, DataError> {
        if std::mem::replace(&mut self.given, true) {
            return Ok(None);
        }
        let (bytes, length) = self.source.read_whole(MAX_ROW_BYTES as u64, MAX_DOCUMENT_BYTES)?;
        if length <= MAX_ROW_BYTES as u64 && bytes.trim_ascii().is_empty() {
            return Ok(None);
        }
        let read = if length > MAX_ROW_BYTES as u64 {
            Err(Cause::TooLong { line: 1, limit: MAX_ROW_BYTES })
        } else {
            checked_text(&bytes, 1)
                .and_then(|text| parse_document(self.kind, text).map_err(|reason| Cause::Other { line: 1, reason }))
                .and_then(|document| match document.text().trim().is_empty() {
                    true => Err(Cause::Other { line: 1, reason: "there is no text in it".into() }),
                    false => Ok(document),
                })
        };
        Ok(Some(match read {
            Ok(document) => {
                let name = self.source.path.file_name().map(|name| name.to_string_lossy().into_owned());
                Found::Row { line: 1, object: record_of(&document, name.unwrap_or_default()) }
            }
            Err(cause) => {
                let extent = Extent { start: self.source.mark_bytes, length };
                Found::fault(1, held(bytes, length), extent, cause)
            }
        }))
    }

    fn why_empty(&self) -> &'static str {
        "only blank space"
    }
}

/// The document in a text of that kind.
fn parse_document(kind: FileKind, text: &str) -> Result<Document, String> {
    match kind {
        FileKind::Markdown => Ok(parse_markdown(text, &TextOptions::default())),
        FileKind::Html => extract(text, &WebOptions::default()).map_err(|error| error.to_string()),
        FileKind::WebVtt => parse_webvtt(text, &CaptionOptions::default()).map_err(|error| error.to_string()),
        FileKind::Srt => parse_srt(text, &CaptionOptions::default()).map_err(|error| error.to_string()),
        FileKind::Sbv => parse_sbv(text, &CaptionOptions::default()).map_err(|error| error.to_string()),
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
