//! What the scanners report.

use std::ops::Range;

/// The kind of danger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Category {
    /// A credential: whoever reads it can act in its owner's name.
    Secret,
    /// Data about a person.
    Pii,
}

/// A layer under which something was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Encoding {
    /// Base64, standard or URL-safe alphabet.
    Base64,
    /// `%41` escapes.
    Url,
    /// JSON string escapes (`\"`, `\n`, `\\u0041`).
    Json,
}

/// A stretch of text that should not be trained on.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// Bytes of the scanned text, on character borders. Under an [`Encoding`] this is the whole encoded stretch, because
    /// nothing smaller can be replaced.
    pub span: Range<usize>,
    /// Secret or personal data.
    pub category: Category,
    /// The rule that fired, in kebab case: `aws-access-key-id`, `iban`.
    pub rule: &'static str,
    /// What a placeholder calls it, in upper case: `API_KEY`, `EMAIL`.
    pub label: &'static str,
    /// How sure the rule is, in (0, 1]: 1 when a checksum holds or the format belongs to one provider alone.
    pub confidence: f32,
    /// The value, decoded and normalised, so that two spellings of one value are equal. Never log it.
    pub value: String,
    /// Layers around it, the outermost first; empty for plain text.
    pub layers: Vec<Encoding>,
}
