//! What of a page is boilerplate by the kind and the names of its elements, and where the text is.

use super::WebOptions;
use super::dom::{Content, Dom, Element, Id, ROOT, is_block};
use crate::words;

/// What makes an element boilerplate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Strictness {
    /// Its kind, its role and its names.
    Names,
    /// Its kind and role alone.
    Kinds,
}

/// Numbers of every node, by its place.
#[derive(Debug)]
pub(super) struct Marks {
    /// Whether the node is left out, with all in it.
    pub(super) out: Vec<bool>,
    /// Characters of text in the node that is not left out.
    pub(super) text: Vec<usize>,
    /// Of these, characters in links.
    pub(super) links: Vec<usize>,
    /// Characters in paragraphs: blocks of running text.
    pub(super) prose: Vec<usize>,
}

/// Text directly in blocks, before anything is added up.
struct Own {
    text: Vec<usize>,
    links: Vec<usize>,
}

impl Marks {
    pub(super) fn of(dom: &Dom, strictness: Strictness, options: &WebOptions) -> Self {
        let count = dom.nodes.len();
        let mut marks =
            Self { out: vec![false; count], text: vec![0; count], links: vec![0; count], prose: vec![0; count] };
        for id in 0..count {
            if let Content::Element(element) = &dom.nodes[id].content {
                marks.out[id] = by_kind(element, options);
            }
        }
        marks.add_up(dom);
        if strictness == Strictness::Names {
            let whole = Whole { text: marks.text[ROOT], prose: marks.prose[ROOT] };
            for id in 0..count {
                if marks.out[id] {
                    continue;
                }
                if let Content::Element(element) = &dom.nodes[id].content {
                    marks.out[id] = marks.by_name(dom, id, element, &whole);
                }
            }
            marks.add_up(dom);
        }
        marks
    }

    /// Links per text, from 0 to 1.
    pub(super) fn link_density(&self, id: Id) -> f64 {
        if self.text[id] == 0 { 0.0 } else { self.links[id] as f64 / self.text[id] as f64 }
    }

    /// Counts the text of all nodes anew.
    fn add_up(&mut self, dom: &Dom) {
        let count = dom.nodes.len();
        let mut own = Own { text: vec![0; count], links: vec![0; count] };
        self.text.fill(0);
        self.links.fill(0);
        self.prose.fill(0);
        // Parents come before their children, so that what is known of a parent holds for its children.
        let mut hidden = vec![false; count];
        let mut linked = vec![false; count];
        let mut block = vec![ROOT; count];
        for id in 1..count {
            let parent = dom.nodes[id].parent;
            hidden[id] = hidden[parent] || self.out[id];
            linked[id] = linked[parent];
            block[id] = block[parent];
            match &dom.nodes[id].content {
                Content::Text(text) if !hidden[id] => {
                    let length = visible(text);
                    self.text[id] = length;
                    own.text[block[id]] += length;
                    if linked[id] {
                        self.links[id] = length;
                        own.links[block[id]] += length;
                    }
                }
                Content::Text(_) => {}
                Content::Element(element) => {
                    linked[id] |= element.name == "a" && element.attribute("href").is_some();
                    if is_block(&element.name) {
                        block[id] = id;
                    }
                }
            }
        }
        for id in 0..count {
            self.prose[id] = prose(own.text[id], own.links[id], dom.name(id));
        }
        for id in (1..count).rev() {
            let parent = dom.nodes[id].parent;
            self.text[parent] += self.text[id];
            self.links[parent] += self.links[id];
            self.prose[parent] += self.prose[id];
        }
    }

    /// Whether a node is a part of a paragraph that has more text than the node.
    fn in_sentence(&self, dom: &Dom, id: Id) -> bool {
        let mut block = dom.nodes[id].parent;
        while block != ROOT && !is_block(dom.name(block)) {
            block = dom.nodes[block].parent;
        }
        matches!(dom.name(block), "p" | "li" | "blockquote" | "td" | "dd" | "figcaption")
            && self.text[id] * 2 < self.text[block]
    }

    /// Whether the names of an element say that it is boilerplate.
    fn by_name(&self, dom: &Dom, id: Id, element: &Element, whole: &Whole) -> bool {
        if matches!(element.name.as_str(), "html" | "body" | "main" | "#root" | "h1" | "em" | "strong" | "b" | "i") {
            return false;
        }
        // A link or a word in a sentence belongs to the sentence, whatever its classes are called.
        if !is_block(&element.name) && self.in_sentence(dom, id) {
            return false;
        }
        // Half of the page cannot be what stands around the rest.
        if self.prose[id] * 2 > whole.prose || (whole.prose == 0 && self.text[id] * 2 > whole.text) {
            return false;
        }
        if matches!(element.name.as_str(), "footer" | "header") {
            return element.name == "footer" || !has_prose(self, id) || dom.name(dom.nodes[id].parent) == "body";
        }
        let certain = has_word(&element.names, BOILERPLATE) || has_pair(&element.names, BOILERPLATE_PAIRS);
        if certain {
            // What a page shows of others as a part of its text, such as a post that it writes about.
            let shown = element.names.contains(" embed ") && self.prose[id] > 0;
            return !shown;
        }
        let likely = has_word(&element.names, OFTEN_BOILERPLATE);
        likely && (self.link_density(id) > 0.3 || self.prose[id] < 150)
    }
}

struct Whole {
    text: usize,
    prose: usize,
}

fn has_prose(marks: &Marks, id: Id) -> bool {
    marks.prose[id] >= 150
}

/// How much of the text of a block counts as prose.
fn prose(text: usize, links: usize, name: &str) -> usize {
    let short = if matches!(name, "p" | "blockquote" | "pre") { 25 } else { 60 };
    if text < short
        || links * 2 > text
        || matches!(name, "h1" | "h2" | "h3" | "h4" | "h5" | "h6" | "address" | "option" | "legend")
    {
        return 0;
    }
    let unlinked = text - links;
    if matches!(name, "li" | "td" | "th" | "dt") { unlinked / 2 } else { unlinked }
}

/// Characters, whitespace counted once.
fn visible(text: &str) -> usize {
    let mut count = 0;
    let mut blank = true;
    for c in text.chars() {
        let now = words::is_blank(c);
        count += usize::from(!(now && blank));
        blank = now;
    }
    count - usize::from(blank && count > 0)
}

fn by_kind(element: &Element, options: &WebOptions) -> bool {
    let kind = matches!(
        element.name.as_str(),
        "head"
            | "script"
            | "style"
            | "noscript"
            | "template"
            | "iframe"
            | "frame"
            | "frameset"
            | "object"
            | "embed"
            | "applet"
            | "svg"
            | "math"
            | "canvas"
            | "video"
            | "audio"
            | "map"
            | "button"
            | "input"
            | "select"
            | "textarea"
            | "label"
            | "datalist"
            | "progress"
            | "nav"
            | "menu"
            | "aside"
            | "dialog"
            | "search"
            | "rp"
            | "rt"
            | "noframes"
            | "noembed"
    );
    if kind || (!options.figure_captions && element.name == "figcaption") {
        return true;
    }
    if !options.tables && element.name == "table" {
        return true;
    }
    let role = element.attribute("role").unwrap_or_default();
    let roles = [
        "navigation",
        "banner",
        "contentinfo",
        "complementary",
        "search",
        "dialog",
        "alertdialog",
        "menu",
        "menubar",
        "toolbar",
        "tablist",
        "tooltip",
    ];
    if roles.contains(&role) || element.attribute("hidden").is_some() {
        return true;
    }
    if element.attribute("aria-hidden").is_some_and(|value| value == "true") && element.name != "body" {
        return true;
    }
    if element
        .attribute("itemprop")
        .is_some_and(|value| matches!(value, "author" | "datePublished" | "dateModified" | "publisher" | "comment"))
    {
        return true;
    }
    element.attribute("style").is_some_and(|style| {
        let style: String =
            style.chars().filter(|c| !c.is_whitespace()).take(400).collect::<String>().to_ascii_lowercase();
        style.contains("display:none") || style.contains("visibility:hidden")
    })
}

/// Words in names of elements that stand around the text.
const BOILERPLATE: &[&str] = &[
    "comment",
    "comments",
    "disqus",
    "share",
    "sharing",
    "sharebar",
    "social",
    "socials",
    "addthis",
    "sharethis",
    "sharedaddy",
    "jp",
    "related",
    "recommended",
    "recommendations",
    "recirc",
    "recirculation",
    "sidebar",
    "newsletter",
    "newsletters",
    "subscribe",
    "subscription",
    "subscriptions",
    "signup",
    "promo",
    "promos",
    "promotion",
    "ad",
    "ads",
    "advert",
    "adverts",
    "advertisement",
    "advertising",
    "adsense",
    "dfp",
    "sponsor",
    "sponsored",
    "taboola",
    "outbrain",
    "zergnet",
    "revcontent",
    "cookie",
    "cookies",
    "consent",
    "gdpr",
    "breadcrumb",
    "breadcrumbs",
    "nav",
    "navbar",
    "navigation",
    "menu",
    "footer",
    "masthead",
    "pagination",
    "pager",
    "popup",
    "modal",
    "lightbox",
    "byline",
    "bylines",
    "timestamp",
    "trending",
    "popular",
    "login",
    "register",
    "donate",
    "donation",
    "tagcloud",
    "hashtags",
    "carousel",
    "slideshow",
    "noprint",
    "skip",
    "dateline",
    "pullquote",
    "tooltip",
    "respond",
    "hidden",
    "infobox",
];

/// Pairs of words, one behind the other, in such names.
const BOILERPLATE_PAIRS: &[&str] = &[
    "read more",
    "most read",
    "more from",
    "more stories",
    "more news",
    "more on",
    "also like",
    "up next",
    "next article",
    "next post",
    "prev next",
    "post navigation",
    "author bio",
    "author box",
    "about author",
    "author info",
    "post meta",
    "entry meta",
    "article meta",
    "post tags",
    "article tags",
    "tag list",
    "tags links",
    "entry footer",
    "post footer",
    "article footer",
    "sr only",
    "screen reader",
    "visually hidden",
    "image caption",
    "photo credit",
    "image credit",
    "media caption",
    "wp caption",
    "email alert",
];

/// Words that say less: only with links in it, or little text.
const OFTEN_BOILERPLATE: &[&str] = &[
    "author",
    "authors",
    "meta",
    "tags",
    "tag",
    "caption",
    "credit",
    "credits",
    "copyright",
    "widget",
    "toolbar",
    "tools",
    "header",
    "topbar",
    "banner",
    "list",
    "links",
    "link",
    "teaser",
    "teasers",
    "card",
    "cards",
    "gallery",
    "date",
    "time",
    "published",
    "updated",
    "category",
    "categories",
    "topics",
    "rating",
    "ratings",
    "vote",
    "print",
    "follow",
    "more",
    "bio",
    "profile",
    "notice",
    "disclaimer",
    "rail",
    "aside",
    "secondary",
    "bottom",
    "extra",
    "counter",
];

fn has_word(names: &str, words: &[&str]) -> bool {
    names.split(' ').any(|name| words.contains(&name))
}

fn has_pair(names: &str, pairs: &[&str]) -> bool {
    pairs.iter().any(|pair| {
        names.find(pair).is_some_and(|at| {
            let behind = names.as_bytes().get(at + pair.len());
            names.as_bytes().get(at.wrapping_sub(1)) == Some(&b' ') && behind == Some(&b' ')
        })
    })
}
