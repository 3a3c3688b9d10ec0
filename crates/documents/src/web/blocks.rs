//! The blocks of the main text become segments; those that are no text of the page are left out.

use std::collections::HashSet;
use std::sync::Arc;

use super::WebOptions;
use super::dom::{Content, Dom, Id, is_block};
use super::marks::Marks;
use crate::document::{Segment, SegmentKind};
use crate::words;

/// A run of text that stands as a block.
#[derive(Debug)]
struct Block {
    kind: SegmentKind,
    text: String,
    /// Bytes of it in links.
    links: usize,
    /// Bytes in tags that stress.
    stressed: usize,
}

pub(super) fn segments(dom: &Dom, marks: &Marks, root: Id, options: &WebOptions, title: Option<&str>) -> Vec<Segment> {
    let mut walk = Walk { dom, marks, options, blocks: Vec::new(), open: Run::default(), kinds: Vec::new() };
    walk.node(root);
    let blocks = keep(walk.blocks, title);
    let mut section: Option<Arc<str>> = None;
    let mut segments = Vec::with_capacity(blocks.len());
    for block in blocks {
        if matches!(block.kind, SegmentKind::Heading(_)) {
            section = Some(Arc::from(words::shortened(&block.text, 200)));
        }
        segments.push(Segment { kind: block.kind, section: section.clone(), text: block.text, ..Segment::default() });
    }
    segments
}

/// Text that is being collected.
#[derive(Debug, Default)]
struct Run {
    text: String,
    links: usize,
    stressed: usize,
    breaks: usize,
}

struct Walk<'a> {
    dom: &'a Dom,
    marks: &'a Marks,
    options: &'a WebOptions,
    blocks: Vec<Block>,
    open: Run,
    /// What the elements around say of the kind, the innermost last.
    kinds: Vec<SegmentKind>,
}

/// A step on the way through the tree, so that depth costs no stack.
enum Step {
    Enter(Id, Inline),
    Leave { kind: bool },
}

#[derive(Clone, Copy, Default)]
struct Inline {
    link: bool,
    stressed: bool,
}

impl Walk<'_> {
    fn node(&mut self, root: Id) {
        let mut steps = vec![Step::Enter(root, Inline::default())];
        while let Some(step) = steps.pop() {
            match step {
                Step::Leave { kind } => {
                    self.flush();
                    if kind {
                        self.kinds.pop();
                    }
                }
                Step::Enter(id, inline) => self.enter(id, inline, &mut steps),
            }
        }
        self.flush();
    }

    fn enter(&mut self, id: Id, mut inline: Inline, steps: &mut Vec<Step>) {
        if self.marks.out[id] {
            return;
        }
        let element = match &self.dom.nodes[id].content {
            Content::Text(text) => return self.text(text, inline),
            Content::Element(element) => element,
        };
        let name = element.name.as_str();
        match name {
            "br" => {
                self.open.breaks += 1;
                self.open.text.push(' ');
                // An empty line between lines makes paragraphs.
                if self.open.breaks >= 2 {
                    self.flush();
                }
                return;
            }
            "pre" => {
                self.flush();
                let text = verbatim(self.dom, self.marks, id);
                if !text.trim().is_empty() {
                    self.blocks.push(Block { kind: SegmentKind::Code, text, links: 0, stressed: 0 });
                }
                return;
            }
            "table" if is_data(self.dom, id) => {
                self.flush();
                return self.table(id);
            }
            "a" => inline.link |= element.attribute("href").is_some(),
            "b" | "strong" | "em" | "i" | "u" => inline.stressed = true,
            _ => {}
        }
        if is_block(name) {
            self.flush();
            let kind = kind(name);
            self.kinds.extend(kind);
            steps.push(Step::Leave { kind: kind.is_some() });
        }
        let from = steps.len();
        steps.extend(self.dom.children(id).map(|child| Step::Enter(child, inline)));
        steps[from..].reverse();
    }

    fn text(&mut self, text: &str, inline: Inline) {
        if !text.chars().all(words::is_blank) {
            self.open.breaks = 0;
        }
        self.open.text.push_str(text);
        self.open.links += if inline.link { text.len() } else { 0 };
        self.open.stressed += if inline.stressed { text.len() } else { 0 };
    }

    /// The run that is open becomes a block.
    fn flush(&mut self) {
        let run = std::mem::take(&mut self.open);
        let text = words::collapse(&run.text);
        if !text.is_empty() {
            let kind = self.kinds.last().copied().unwrap_or_default();
            self.blocks.push(Block { kind, text, links: run.links, stressed: run.stressed });
        }
    }

    /// A table of data: a row a line.
    fn table(&mut self, id: Id) {
        let mut rows = String::new();
        let mut links = 0;
        let mut open = vec![id];
        while let Some(id) = open.pop() {
            if self.marks.out[id] {
                continue;
            }
            if self.dom.name(id) == "tr" {
                let cells = self
                    .dom
                    .children(id)
                    .filter(|&cell| matches!(self.dom.name(cell), "td" | "th") && !self.marks.out[cell]);
                let cells: Vec<String> =
                    cells.map(|cell| self.dom.text_where(cell, |id| !self.marks.out[id])).collect();
                if cells.iter().any(|cell| !cell.is_empty()) {
                    rows.push_str(cells.join(" | ").trim());
                    rows.push('\n');
                }
                links += self.marks.links[id];
                continue;
            }
            let from = open.len();
            open.extend(self.dom.children(id));
            open[from..].reverse();
        }
        let text = rows.trim_end().to_owned();
        if !text.is_empty() && self.options.tables {
            self.blocks.push(Block { kind: SegmentKind::Table, text, links, stressed: 0 });
        }
    }
}

/// What an element says of the kind of text in it.
fn kind(name: &str) -> Option<SegmentKind> {
    Some(match name {
        "h1" => SegmentKind::Heading(1),
        "h2" => SegmentKind::Heading(2),
        "h3" => SegmentKind::Heading(3),
        "h4" => SegmentKind::Heading(4),
        "h5" => SegmentKind::Heading(5),
        "h6" => SegmentKind::Heading(6),
        "li" => SegmentKind::ListItem,
        "blockquote" => SegmentKind::Quote,
        _ => return None,
    })
}

/// The text of code as it stands.
fn verbatim(dom: &Dom, marks: &Marks, id: Id) -> String {
    let mut out = String::new();
    let mut open = vec![id];
    while let Some(id) = open.pop() {
        if marks.out[id] {
            continue;
        }
        match &dom.nodes[id].content {
            Content::Text(text) => out.push_str(text),
            Content::Element(element) if element.name == "br" => out.push('\n'),
            Content::Element(_) => {
                let from = open.len();
                open.extend(dom.children(id));
                open[from..].reverse();
            }
        }
    }
    out.strip_prefix('\n').unwrap_or(&out).trim_end().to_owned()
}

/// Whether a table holds data: several cells in a row, and no blocks in its cells.
fn is_data(dom: &Dom, table: Id) -> bool {
    let mut rows = 0;
    let mut wide = 0;
    let mut open = vec![table];
    while let Some(id) = open.pop() {
        for child in dom.children(id) {
            match dom.name(child) {
                "tr" => {
                    rows += 1;
                    wide += usize::from(
                        dom.children(child).filter(|&cell| matches!(dom.name(cell), "td" | "th")).count() >= 2,
                    );
                    open.push(child);
                }
                "tbody" | "thead" | "tfoot" | "td" | "th" => open.push(child),
                "table" | "div" | "article" | "section" | "h1" | "h2" | "ul" | "form" => return false,
                _ => {}
            }
        }
    }
    rows >= 2 && wide * 2 >= rows
}

/// So many blocks at the end may be left out as what stands behind the text; more are a list that belongs to it.
const TAIL: usize = 6;

/// Takes out the blocks that are no text of the page.
fn keep(blocks: Vec<Block>, title: Option<&str>) -> Vec<Block> {
    let mut seen = HashSet::new();
    let mut kept: Vec<Block> = Vec::with_capacity(blocks.len());
    for block in blocks {
        // What stands on a page twice, word by word, is a caption or a summary the second time.
        let repeated = block.text.len() >= 60 && block.kind != SegmentKind::Code && !seen.insert(block.text.clone());
        if !repeated && !is_noise(&block, title) {
            kept.push(block);
        }
    }
    // What stands in front of the first sentence is who wrote it and when; what stands behind the last is where to go next.
    let first = kept.iter().position(is_solid).unwrap_or(0);
    let first = kept[..first].iter().rposition(|block| !is_heading(block)).map_or(0, |at| at + 1);
    let mut last = kept.iter().rposition(is_solid).map_or(kept.len(), |at| at + 1);
    if kept.len() - last > TAIL {
        last = kept.len();
    }
    last = without_asides(&kept[..last], first);
    kept.truncate(last);
    kept.drain(..first.min(kept.len()));
    without_empty_sections(kept)
}

/// Where the text ends without links to other texts, and without notes about the author or the paper, which are set in
/// italics as a whole. They are few and short; if not, they are the text.
fn without_asides(blocks: &[Block], first: usize) -> usize {
    const NOTES: usize = 2;
    const LINKS: usize = 8;
    let (mut notes, mut links, mut bytes) = (0, 0, 0);
    let mut last = blocks.len();
    while last > first {
        let block = &blocks[last - 1];
        if is_stressed(block) {
            notes += 1;
        } else if is_link_item(block) {
            links += 1;
        } else if !is_heading(block) {
            break;
        }
        bytes += block.text.len();
        last -= 1;
    }
    let rest: usize = blocks[first..last].iter().map(|block| block.text.len()).sum();
    if notes > NOTES || links > LINKS || bytes * 4 > rest { blocks.len() } else { last }
}

/// Without headings that have nothing under them.
fn without_empty_sections(blocks: Vec<Block>) -> Vec<Block> {
    let mut result: Vec<Block> = Vec::with_capacity(blocks.len());
    for block in blocks {
        if let SegmentKind::Heading(new) = block.kind {
            while let Some(SegmentKind::Heading(old)) = result.last().map(|last| last.kind)
                && new <= old
            {
                result.pop();
            }
        }
        result.push(block);
    }
    while result.last().is_some_and(is_heading) {
        result.pop();
    }
    result
}

/// A paragraph that is stressed as a whole.
fn is_stressed(block: &Block) -> bool {
    matches!(block.kind, SegmentKind::Paragraph) && block.stressed * 10 > block.text.len() * 9
}

/// An item of a list that is a link and little else.
fn is_link_item(block: &Block) -> bool {
    matches!(block.kind, SegmentKind::ListItem) && block.links * 2 > block.text.len()
}

/// What buttons and marks say that some pages write as text.
const LABELS: &[&str] = &[
    "advert",
    "advertisement",
    "ad",
    "ads",
    "sponsored",
    "caption",
    "close",
    "share",
    "share this",
    "share this article",
    "tweet",
    "email",
    "print",
    "comment",
    "comments",
    "loading",
    "read more",
    "subscribe",
    "sign up",
    "menu",
    "related",
    "related articles",
    "related stories",
    "story continues below advertisement",
    "continue reading",
    "advertisement continue reading the main story",
    "play video",
    "watch video",
    "photo",
    "image",
    "next",
    "previous",
    "anzeige",
    "werbung",
    "publicité",
    "publicidad",
    "реклама",
];

fn is_heading(block: &Block) -> bool {
    matches!(block.kind, SegmentKind::Heading(_))
}

/// Text that is surely a part of the whole.
fn is_solid(block: &Block) -> bool {
    match block.kind {
        SegmentKind::Heading(_) => false,
        SegmentKind::Code | SegmentKind::Table => true,
        _ => {
            block.text.chars().count() >= 100 || (block.text.chars().count() >= 25 && words::ends_sentence(&block.text))
        }
    }
}

fn is_noise(block: &Block, title: Option<&str>) -> bool {
    let text = block.text.as_str();
    if !text.contains(char::is_alphanumeric) {
        return true;
    }
    if matches!(block.kind, SegmentKind::Code) {
        return false;
    }
    if title.is_some_and(|title| title == text) {
        return true;
    }
    let label = text.trim_matches(|c: char| !c.is_alphanumeric());
    if label.len() <= 60 && LABELS.contains(&label.to_lowercase().as_str()) {
        return true;
    }
    let length = text.len();
    if is_heading(block) {
        return false;
    }
    // Nearly all links.
    if block.links * 10 > length * 8 && length < 200 {
        return true;
    }
    false
}
