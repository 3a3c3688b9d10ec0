//! Web pages: the text that a page is about, without what stands around it.
//!
//! A page becomes a tree (`dom`). Elements that are boilerplate by their kind or name are marked (`marks`), the element
//! with the main text is found by where the text is (`root`), and its blocks become segments (`blocks`), without those
//! that are links, captions and requests to share.

mod blocks;
mod dom;
mod marks;
mod root;

use crate::document::{Document, Notes, Segment, SegmentKind};
use crate::words;
use dom::{Dom, ROOT};

/// How a page becomes a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct WebOptions {
    /// Whether captions of pictures are kept.
    pub figure_captions: bool,
    /// Whether tables are kept, a row a line.
    pub tables: bool,
    /// Pages with more elements and texts than this are read up to there; bounds the memory.
    pub most_nodes: usize,
}

impl Default for WebOptions {
    fn default() -> Self {
        Self { figure_captions: false, tables: true, most_nodes: 2_000_000 }
    }
}

/// Why a page has no document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WebError {
    /// There is no tag in the text.
    #[error("this is no web page: there is no tag in it")]
    NoTags,
    /// The page has no text to speak of.
    #[error("the page has no main text ({characters} characters of text in all)")]
    NoText {
        /// Characters of text in the page, scripts left out.
        characters: usize,
    },
}

impl WebError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NoTags => "read it as plain text or Markdown",
            Self::NoText { .. } => {
                "the page is a list of links, or builds its text by scripts: then save it from a browser when it is shown"
            }
        }
    }
}

/// Finds the main text of a page.
///
/// # Errors
///
/// If the text is no web page, or the page has no text.
pub fn extract(html: &str, options: &WebOptions) -> Result<Document, WebError> {
    let dom = dom::parse(html, options.most_nodes);
    if !dom.nodes.iter().any(|node| matches!(&node.content, dom::Content::Element(element) if element.name != "#root"))
    {
        return Err(WebError::NoTags);
    }
    let mut notes = Notes::default();
    if dom.cut {
        notes.push(
            "the page is nested too deep or has too many elements; some tags are passed over or the end is missing",
        );
    }
    let title = title(&dom);
    let mut found = main_text(&dom, options, marks::Strictness::Names, title.as_deref());
    if length(&found) < ENOUGH {
        // Names mislead on this page: it may be marked as a comment or a promotion as a whole.
        let more = main_text(&dom, options, marks::Strictness::Kinds, title.as_deref());
        if length(&more) > 2 * length(&found) {
            notes.push("the main text was found only by passing over the names of elements");
            found = more;
        }
    }
    if found.is_empty() {
        let characters = marks::Marks::of(&dom, marks::Strictness::Kinds, options).text[ROOT];
        return Err(WebError::NoText { characters });
    }
    Ok(Document { title, language: language(&dom), segments: found, notes: notes.finish() })
}

/// All text of a piece of HTML that is shown, for formats that may hold some.
pub(crate) fn visible_text(html: &str) -> String {
    let options = WebOptions { figure_captions: true, ..WebOptions::default() };
    let dom = dom::parse(html, options.most_nodes);
    let marks = marks::Marks::of(&dom, marks::Strictness::Kinds, &options);
    dom.text_where(ROOT, |id| !marks.out[id])
}

/// A main text of so many bytes is not doubted.
const ENOUGH: usize = 250;

fn length(segments: &[Segment]) -> usize {
    segments.iter().filter(|segment| !matches!(segment.kind, SegmentKind::Heading(_))).map(|s| s.text.len()).sum()
}

fn main_text(dom: &Dom, options: &WebOptions, strictness: marks::Strictness, title: Option<&str>) -> Vec<Segment> {
    let marks = marks::Marks::of(dom, strictness, options);
    let root = root::find(dom, &marks);
    blocks::segments(dom, &marks, root, options, title)
}

fn language(dom: &Dom) -> Option<String> {
    let html = (0..dom.nodes.len().min(1000)).find(|&id| dom.name(id) == "html")?;
    let tag = dom.element(html)?.attribute("lang")?.trim();
    let fits =
        !tag.is_empty() && tag.len() <= 35 && tag.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    fits.then(|| tag.replace('_', "-"))
}

/// The title: what the page gives for quoting, else its only first heading, else the title of the window without the name
/// of the site.
fn title(dom: &Dom) -> Option<String> {
    const LONGEST: usize = 300;
    let tidy = |text: String| {
        let text = words::collapse(&text);
        (!text.is_empty()).then(|| words::shortened(&text, LONGEST))
    };
    let named = |key: &str| {
        (0..dom.nodes.len()).filter_map(|id| dom.element(id)).find_map(|element| {
            let name = element.attribute("property").or(element.attribute("name"))?;
            (element.name == "meta" && name.eq_ignore_ascii_case(key)).then(|| element.attribute("content")).flatten()
        })
    };
    let mut headings = (0..dom.nodes.len()).filter(|&id| dom.name(id) == "h1");
    let heading = match (headings.next(), headings.next()) {
        (Some(only), None) => tidy(dom.text(only)),
        _ => None,
    };
    let quoted = named("og:title").and_then(|title| tidy(title.to_owned()));
    let window = || (0..dom.nodes.len()).find(|&id| dom.name(id) == "title").and_then(|id| tidy(dom.text(id)));
    match (quoted, heading) {
        // The heading where the title for quoting is the heading with something behind it.
        (Some(quoted), Some(heading)) if quoted.starts_with(&heading) && heading.len() > 10 => Some(heading),
        (Some(quoted), _) => Some(without_site(&quoted)),
        (None, Some(heading)) => Some(heading),
        (None, None) => window().map(|title| without_site(&title)),
    }
}

/// `Title | Site` without the site, if enough is left.
fn without_site(title: &str) -> String {
    for mark in [" | ", " - ", " – ", " — ", " :: ", " » ", " · "] {
        if let Some((front, behind)) = title.rsplit_once(mark)
            && front.split(' ').count() >= 3
            && front.len() > behind.len()
        {
            return front.trim().to_owned();
        }
    }
    title.to_owned()
}
