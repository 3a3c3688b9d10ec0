//! The steps that look at texts, each at the rows that still stay.

mod content;
mod duplicates;

pub(super) use content::{contamination, documents, keep_best, poison, quality};
pub(super) use duplicates::{exact_duplicates, near_duplicates, semantic_duplicates};
