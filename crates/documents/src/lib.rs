//! Captions, web pages and plain documents become text that knows where it came from.

pub mod captions;
mod document;
pub mod plain;
pub mod web;

pub use document::{Document, Segment};
