//! What a file of text becomes.

/// A stretch of a document with its place in the source.
#[derive(Debug, Clone, PartialEq)]
pub struct Segment {
    /// Who speaks, if the source says so.
    pub speaker: Option<String>,
    /// Seconds from the start of the recording at which it begins; `None` for text without times.
    pub start_secs: Option<f64>,
    /// Seconds at which it ends.
    pub end_secs: Option<f64>,
    /// What is said or written, without markup, as one paragraph.
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
