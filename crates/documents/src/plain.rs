//! Plain text and Markdown.

mod markdown;
mod pages;
mod text;

pub use markdown::parse_markdown;
pub use text::parse_text;

/// How plain text becomes segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct TextOptions {
    /// Whether lines that were broken to a width are joined again.
    pub join_lines: bool,
    /// Whether running heads, running feet and page numbers are left out. They are known only where form feeds part the
    /// pages, as they do in text from PDF files; they are noted in either case.
    pub drop_page_lines: bool,
    /// A paragraph with more bytes is parted between sentences; some files hold no other mark of structure.
    pub longest_bytes: usize,
}

impl Default for TextOptions {
    fn default() -> Self {
        Self { join_lines: true, drop_page_lines: false, longest_bytes: 8_000 }
    }
}
