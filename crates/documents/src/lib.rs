//! Captions, web pages and plain documents become text that knows where it came from.
//!
//! ```
//! use attune_documents::captions::{CaptionOptions, parse_webvtt};
//!
//! let file = "WEBVTT\n\n00:01.000 --> 00:03.500\n<v Ada>Numbers &amp; music.</v>\n";
//! let document = parse_webvtt(file, &CaptionOptions::default())?;
//! assert_eq!(document.segments[0].speaker.as_deref(), Some("Ada"));
//! assert_eq!(document.segments[0].text, "Numbers & music.");
//! assert_eq!(document.segments[0].end_secs, Some(3.5));
//! # Ok::<(), attune_documents::captions::CaptionError>(())
//! ```

#![forbid(unsafe_code)]

pub mod captions;
mod document;
mod entities;
pub mod plain;
mod turns;
pub mod web;
mod words;

pub use document::{Document, Segment, SegmentKind};
pub use turns::Turn;
