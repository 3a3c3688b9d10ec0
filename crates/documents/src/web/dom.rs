//! A page as a tree. The tokens come from the tokenizer of the HTML standard; the tree is built by simpler rules than the
//! standard's, with bounded work for every tag: a page nested a million deep is no reason to take minutes.

use html5gum::{DefaultEmitter, StartTag, Token, Tokenizer};

/// Elements inside more elements than this are read as if their tags were not there; browsers do the same at 512.
const DEEPEST: usize = 256;

/// Place of a node in [`Dom::nodes`]; parents come before their children.
pub(super) type Id = usize;

/// The root of every tree.
pub(super) const ROOT: Id = 0;

#[derive(Debug)]
pub(super) struct Node {
    pub(super) content: Content,
    pub(super) parent: Id,
    pub(super) first_child: Option<Id>,
    pub(super) last_child: Option<Id>,
    pub(super) next: Option<Id>,
}

#[derive(Debug)]
pub(super) enum Content {
    Text(String),
    Element(Element),
}

/// An element with the attributes that matter here.
#[derive(Debug, Default)]
pub(super) struct Element {
    /// In small letters.
    pub(super) name: String,
    /// The words of classes and identifier, in small letters, each with a space before and behind it.
    pub(super) names: String,
    pub(super) attributes: Vec<(&'static str, String)>,
}

impl Element {
    pub(super) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(key, _)| *key == name).map(|(_, value)| value.as_str())
    }
}

/// Attributes that are kept.
const ATTRIBUTES: [&str; 15] = [
    "role",
    "itemprop",
    "itemtype",
    "hidden",
    "style",
    "aria-hidden",
    "aria-label",
    "href",
    "lang",
    "property",
    "name",
    "content",
    "type",
    "data-component",
    "rel",
];

#[derive(Debug)]
pub(super) struct Dom {
    pub(super) nodes: Vec<Node>,
    /// Whether elements were left out because they are too deep or too many.
    pub(super) cut: bool,
}

impl Dom {
    pub(super) fn element(&self, id: Id) -> Option<&Element> {
        match &self.nodes[id].content {
            Content::Element(element) => Some(element),
            Content::Text(_) => None,
        }
    }

    pub(super) fn name(&self, id: Id) -> &str {
        self.element(id).map_or("", |element| &element.name)
    }

    pub(super) fn children(&self, id: Id) -> impl Iterator<Item = Id> + '_ {
        std::iter::successors(self.nodes[id].first_child, |&child| self.nodes[child].next)
    }

    /// All text in a node.
    pub(super) fn text(&self, id: Id) -> String {
        self.text_where(id, |_| true)
    }

    /// All text in a node, without the nodes that are not wanted.
    pub(super) fn text_where(&self, id: Id, wanted: impl Fn(Id) -> bool) -> String {
        let mut out = String::new();
        // `None` ends a block.
        let mut open = vec![Some(id)];
        while let Some(next) = open.pop() {
            let Some(id) = next else {
                out.push(' ');
                continue;
            };
            if !wanted(id) {
                continue;
            }
            match &self.nodes[id].content {
                Content::Text(text) => out.push_str(text),
                Content::Element(element) => {
                    if is_block(&element.name) || element.name == "br" {
                        out.push(' ');
                        open.push(None);
                    }
                    let from = open.len();
                    open.extend(self.children(id).map(Some));
                    open[from..].reverse();
                }
            }
        }
        crate::words::collapse(&out)
    }
}

/// Elements that stand as blocks of their own.
pub(super) fn is_block(name: &str) -> bool {
    matches!(
        name,
        "address"
            | "article"
            | "aside"
            | "blockquote"
            | "body"
            | "center"
            | "dd"
            | "details"
            | "dialog"
            | "dir"
            | "div"
            | "dl"
            | "dt"
            | "fieldset"
            | "figcaption"
            | "figure"
            | "footer"
            | "form"
            | "h1"
            | "h2"
            | "h3"
            | "h4"
            | "h5"
            | "h6"
            | "header"
            | "hgroup"
            | "hr"
            | "html"
            | "legend"
            | "li"
            | "main"
            | "menu"
            | "nav"
            | "ol"
            | "option"
            | "p"
            | "pre"
            | "search"
            | "section"
            | "summary"
            | "table"
            | "tbody"
            | "td"
            | "tfoot"
            | "th"
            | "thead"
            | "tr"
            | "ul"
            | "#root"
    )
}

fn is_void(name: &str) -> bool {
    matches!(
        name,
        "area"
            | "base"
            | "br"
            | "col"
            | "embed"
            | "hr"
            | "img"
            | "input"
            | "link"
            | "meta"
            | "param"
            | "source"
            | "track"
            | "wbr"
            | "keygen"
            | "frame"
            | "basefont"
            | "bgsound"
    )
}

/// Elements that may stand in the head.
fn belongs_in_head(name: &str) -> bool {
    matches!(
        name,
        "meta"
            | "title"
            | "link"
            | "script"
            | "style"
            | "base"
            | "noscript"
            | "template"
            | "basefont"
            | "bgsound"
            | "html"
            | "head"
    )
}

/// Where the search for an open element to close ends, beside its own list.
fn is_boundary(name: &str) -> bool {
    matches!(name, "table" | "td" | "th" | "caption" | "html" | "#root" | "template" | "object" | "button" | "svg")
}

/// Open elements that a start tag closes, and those that end the search for them.
fn closes(name: &str) -> (&'static [&'static str], &'static [&'static str]) {
    match name {
        "li" => (&["li"], &["ul", "ol", "menu", "dir"]),
        "dd" | "dt" => (&["dd", "dt"], &["dl"]),
        "option" | "optgroup" => (&["option"], &["select"]),
        "td" | "th" => (&["td", "th"], &["tr", "table"]),
        "tr" => (&["tr", "td", "th", "caption", "colgroup"], &["table"]),
        "tbody" | "thead" | "tfoot" => {
            (&["tbody", "thead", "tfoot", "tr", "td", "th", "caption", "colgroup"], &["table"])
        }
        "a" => (&["a"], &["div", "section", "article", "li", "p"]),
        "rt" | "rp" => (&["rt", "rp"], &["ruby"]),
        _ => (&[], &[]),
    }
}

/// Parses a page; at most so many nodes.
pub(super) fn parse(html: &str, most_nodes: usize) -> Dom {
    let mut builder = Builder::new(most_nodes);
    let mut emitter = DefaultEmitter::default();
    emitter.naively_switch_states(true);
    for token in Tokenizer::new_with_emitter(html, emitter) {
        let Ok(token) = token;
        if builder.dom.nodes.len() >= most_nodes {
            builder.dom.cut = true;
            break;
        }
        match token {
            Token::StartTag(tag) => builder.start(tag),
            Token::EndTag(tag) => builder.end(&lower(&tag.name)),
            Token::String(text) => builder.text(&String::from_utf8_lossy(&text)),
            _ => {}
        }
    }
    builder.dom
}

fn lower(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).to_ascii_lowercase()
}

struct Builder {
    dom: Dom,
    open: Vec<Id>,
    /// So many open elements are too deep and have no node.
    too_deep: usize,
}

impl Builder {
    fn new(most_nodes: usize) -> Self {
        let root = Node {
            content: Content::Element(Element { name: "#root".to_owned(), ..Element::default() }),
            parent: ROOT,
            first_child: None,
            last_child: None,
            next: None,
        };
        let mut nodes = Vec::with_capacity(most_nodes.min(1024));
        nodes.push(root);
        Self { dom: Dom { nodes, cut: false }, open: vec![ROOT], too_deep: 0 }
    }

    fn current(&self) -> Id {
        self.open.last().copied().unwrap_or(ROOT)
    }

    fn append(&mut self, content: Content) -> Id {
        let parent = self.current();
        let id = self.dom.nodes.len();
        self.dom.nodes.push(Node { content, parent, first_child: None, last_child: None, next: None });
        match self.dom.nodes[parent].last_child.replace(id) {
            Some(last) => self.dom.nodes[last].next = Some(id),
            None => self.dom.nodes[parent].first_child = Some(id),
        }
        id
    }

    fn text(&mut self, text: &str) {
        if self.dom.name(self.current()) == "head" && !text.trim().is_empty() {
            self.open.pop();
        }
        let last = self.dom.nodes[self.current()].last_child;
        if let Some(last) = last
            && let Content::Text(before) = &mut self.dom.nodes[last].content
        {
            return before.push_str(text);
        }
        self.append(Content::Text(text.to_owned()));
    }

    fn start(&mut self, tag: StartTag<()>) {
        let name = lower(&tag.name);
        if self.too_deep > 0 {
            self.too_deep += usize::from(!is_void(&name) && !tag.self_closing);
            return;
        }
        if self.dom.name(self.current()) == "head" && !belongs_in_head(&name) {
            self.open.pop();
        }
        if is_block(&name) {
            self.close_up_to(&["p"], &[]);
        }
        let (closed, ends) = closes(&name);
        if !closed.is_empty() {
            self.close_up_to(closed, ends);
        }
        let element = element(&name, &tag);
        if self.open.len() > DEEPEST {
            self.dom.cut = true;
            self.too_deep += usize::from(!is_void(&name));
            return;
        }
        let id = self.append(Content::Element(element));
        let foreign =
            tag.self_closing && matches!(name.as_str(), "svg" | "path" | "use" | "g" | "circle" | "rect" | "image");
        if !is_void(&name) && !foreign {
            self.open.push(id);
        }
    }

    /// Closes the innermost open element of these names, and what is open in it; up to a boundary.
    fn close_up_to(&mut self, names: &[&str], ends: &[&str]) {
        let mut at = None;
        for (place, &id) in self.open.iter().enumerate().skip(1).rev() {
            let name = self.dom.name(id);
            if names.contains(&name) {
                at = Some(place);
                // Rows and cells are closed with all of them that are open.
                if names.len() <= 2 {
                    break;
                }
            } else if ends.contains(&name) || (is_boundary(name) && !names.contains(&name)) {
                break;
            }
        }
        if let Some(at) = at {
            self.open.truncate(at);
        }
    }

    fn end(&mut self, name: &str) {
        if self.too_deep > 0 {
            self.too_deep -= usize::from(!is_void(name));
            return;
        }
        if matches!(name, "html" | "body") {
            return;
        }
        let block = is_block(name);
        for (place, &id) in self.open.iter().enumerate().skip(1).rev() {
            let open = self.dom.name(id);
            if open == name {
                return self.open.truncate(place);
            }
            let inner = if block { is_boundary(open) && !is_table_part(name) } else { is_block(open) };
            if inner && !(name.starts_with('h') && open.starts_with('h')) {
                break;
            }
        }
        if name == "br" {
            self.append(Content::Element(Element { name: "br".to_owned(), ..Element::default() }));
        }
    }
}

fn is_table_part(name: &str) -> bool {
    matches!(name, "table" | "tr" | "td" | "th" | "tbody" | "thead" | "tfoot" | "caption")
}

fn element(name: &str, tag: &StartTag<()>) -> Element {
    const LONGEST_NAMES: usize = 512;
    let mut element = Element { name: name.to_owned(), ..Element::default() };
    for (key, value) in &tag.attributes {
        let key = lower(key);
        let value = String::from_utf8_lossy(value);
        if key == "class" || key == "id" {
            push_words(&mut element.names, value.chars().take(LONGEST_NAMES));
        } else if let Some(known) = ATTRIBUTES.iter().find(|known| **known == key) {
            element.attributes.push((known, value.into_owned()));
        }
    }
    element
}

/// `articleBody wide_column` becomes ` article body wide column `.
fn push_words(out: &mut String, value: impl Iterator<Item = char>) {
    if !out.ends_with(' ') {
        out.push(' ');
    }
    let mut small = false;
    for c in value {
        if c.is_uppercase() && small {
            out.push(' ');
        }
        small = c.is_lowercase() || c.is_ascii_digit();
        if c.is_alphanumeric() {
            out.extend(c.to_lowercase());
        } else if !out.ends_with(' ') {
            out.push(' ');
        }
    }
    if !out.ends_with(' ') {
        out.push(' ');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(html: &str) -> String {
        fn write(dom: &Dom, id: Id, out: &mut String) {
            match &dom.nodes[id].content {
                Content::Text(text) => out.push_str(text),
                Content::Element(element) => {
                    out.push_str(&format!("<{}>", element.name));
                    for child in dom.children(id) {
                        write(dom, child, out);
                    }
                    out.push('/');
                }
            }
        }
        let dom = parse(html, 1000);
        let mut out = String::new();
        for child in dom.children(ROOT) {
            write(&dom, child, &mut out);
        }
        out
    }

    #[test]
    fn tags_that_are_left_out() {
        assert_eq!(shape("<p>one<p>two<div>three</div>"), "<p>one/<p>two/<div>three/");
        assert_eq!(shape("<ul><li>a<li>b<ul><li>c</ul><li>d</ul>e"), "<ul><li>a/<li>b<ul><li>c///<li>d//e");
        assert_eq!(shape("<table><tr><td>a<td>b<tr><td>c</table>d"), "<table><tr><td>a/<td>b//<tr><td>c///d");
        assert_eq!(shape("<b>x<p>y</b>z</p>w"), "<b>x<p>yz/w/");
        assert_eq!(shape("</div>a<br>b&amp;c"), "a<br>/b&c");
        assert_eq!(shape("<a>one<a>two</a>"), "<a>one/<a>two/");
    }

    #[test]
    fn scripts_are_text() {
        assert_eq!(shape("<script>if (a<b) '<p>'</script>x"), "<script>if (a<b) '<p>'/x");
    }

    #[test]
    fn depth_and_size_are_bounded() {
        let deep = format!("{}x{}y", "<div>".repeat(100_000), "</div>".repeat(100_000));
        let dom = parse(&deep, 1_000_000);
        assert!(dom.cut && dom.nodes.len() < 300);
        assert_eq!(dom.text(ROOT), "x y");
        assert!(parse(&"<b>x".repeat(10_000), 500).nodes.len() <= 502);
    }
}
