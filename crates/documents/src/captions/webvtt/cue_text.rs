//! The text of a cue: tags, voices, times and character references.

use crate::entities;

/// Tags inside more tags than this are read as if they were not there; players show no difference.
const DEEPEST: usize = 64;

/// A part of the text of a cue.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Node {
    /// Text, references decoded.
    Text(String),
    /// A time inside the cue, in seconds: what follows is shown from then on.
    Timestamp(f64),
    /// A tag and what is in it.
    Span {
        /// Which tag.
        tag: Tag,
        /// Its classes, as in `<c.loud.red>`.
        classes: Vec<String>,
        /// The name of a voice, the tag of a language; empty for other tags.
        annotation: String,
        /// What is in it.
        children: Vec<Node>,
    },
}

/// The tags of cues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the words of the format")]
pub enum Tag {
    Class,
    Italic,
    Bold,
    Underline,
    Ruby,
    RubyText,
    Voice,
    Language,
}

impl Tag {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "c" => Self::Class,
            "i" => Self::Italic,
            "b" => Self::Bold,
            "u" => Self::Underline,
            "ruby" => Self::Ruby,
            "rt" => Self::RubyText,
            "v" => Self::Voice,
            "lang" => Self::Language,
            _ => return None,
        })
    }
}

/// Without markup.
pub fn plain_text(nodes: &[Node]) -> String {
    fn collect(nodes: &[Node], out: &mut String) {
        for node in nodes {
            match node {
                Node::Text(text) => out.push_str(text),
                Node::Timestamp(_) => {}
                Node::Span { children, .. } => collect(children, out),
            }
        }
    }
    let mut out = String::new();
    collect(nodes, &mut out);
    out
}

/// A span whose end has not come.
struct Open {
    tag: Tag,
    classes: Vec<String>,
    annotation: String,
    children: Vec<Node>,
}

/// "WebVTT cue text parsing rules" of the specification.
pub fn parse_cue_text(text: &str) -> Vec<Node> {
    let mut builder = Builder::default();
    let mut rest = text;
    while !rest.is_empty() {
        let Some(start) = rest.find('<') else {
            builder.text(rest);
            break;
        };
        builder.text(&rest[..start]);
        let inside = &rest[start + 1..];
        // A tag that never ends takes the rest of the text with it.
        let end = inside.find('>').unwrap_or(inside.len());
        builder.tag(&inside[..end]);
        rest = inside.get(end + 1..).unwrap_or_default();
    }
    builder.finish()
}

#[derive(Default)]
struct Builder {
    top: Vec<Node>,
    open: Vec<Open>,
    /// Tags opened beyond the depth that is kept.
    too_deep: Vec<Tag>,
}

impl Builder {
    fn children(&mut self) -> &mut Vec<Node> {
        self.open.last_mut().map_or(&mut self.top, |open| &mut open.children)
    }

    fn text(&mut self, text: &str) {
        if !text.is_empty() {
            let text = entities::decode(text).into_owned();
            match self.children().last_mut() {
                Some(Node::Text(before)) => before.push_str(&text),
                _ => self.children().push(Node::Text(text)),
            }
        }
    }

    fn tag(&mut self, inside: &str) {
        let first = inside.chars().next();
        match first {
            Some('/') => {
                let name = inside[1..].trim_end_matches(|c: char| c.is_ascii_whitespace());
                if let Some(tag) = Tag::named(name) {
                    self.close(tag);
                }
            }
            Some(c) if c.is_ascii_digit() => {
                if let Some((secs, "")) = super::timestamp(inside) {
                    self.children().push(Node::Timestamp(secs));
                }
            }
            _ => self.start(inside),
        }
    }

    fn start(&mut self, inside: &str) {
        let (head, annotation) = match inside.find(|c: char| c.is_ascii_whitespace()) {
            Some(at) => inside.split_at(at),
            None => (inside, ""),
        };
        let mut parts = head.split('.');
        let Some(tag) = Tag::named(parts.next().unwrap_or_default()) else { return };
        let current = self.too_deep.last().copied().or_else(|| self.open.last().map(|open| open.tag));
        if tag == Tag::RubyText && current != Some(Tag::Ruby) {
            return;
        }
        if self.open.len() >= DEEPEST {
            return self.too_deep.push(tag);
        }
        let classes = parts.filter(|class| !class.is_empty()).map(str::to_owned).collect();
        let annotation = match tag {
            Tag::Voice | Tag::Language => {
                let decoded = entities::decode_any(annotation);
                let words: Vec<&str> = decoded.split_ascii_whitespace().collect();
                words.join(" ")
            }
            _ => String::new(),
        };
        self.open.push(Open { tag, classes, annotation, children: Vec::new() });
    }

    fn close(&mut self, tag: Tag) {
        if let Some(&last) = self.too_deep.last() {
            if last == tag {
                self.too_deep.pop();
            } else if tag == Tag::Ruby && last == Tag::RubyText {
                self.too_deep.truncate(self.too_deep.len().saturating_sub(2));
            }
            return;
        }
        let Some(last) = self.open.last() else { return };
        if last.tag == tag {
            self.pop();
        } else if tag == Tag::Ruby && last.tag == Tag::RubyText {
            self.pop();
            self.pop();
        }
    }

    fn pop(&mut self) {
        if let Some(Open { tag, classes, annotation, children }) = self.open.pop() {
            self.children().push(Node::Span { tag, classes, annotation, children });
        }
    }

    fn finish(mut self) -> Vec<Node> {
        while !self.open.is_empty() {
            self.pop();
        }
        self.top
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn voices_classes_and_references() {
        let nodes = parse_cue_text("<v.loud.first Mary  Ann &amp; Co>Hi <b>there</v> you</b>!");
        let [Node::Span { tag: Tag::Voice, classes, annotation, children }] = &nodes[..] else { panic!("{nodes:?}") };
        assert_eq!((classes.join(" ").as_str(), annotation.as_str()), ("loud first", "Mary Ann & Co"));
        // `</v>` does not close `<b>`, so it is passed over.
        assert_eq!(plain_text(children), "Hi there you!");
    }

    #[test]
    fn times_and_what_is_no_tag() {
        let nodes = parse_cue_text("a<00:01.000>b<00:1.0>c<x>d<rt>e<i");
        assert_eq!(
            nodes,
            [
                Node::Text("a".into()),
                Node::Timestamp(1.0),
                Node::Text("bcde".into()),
                Node::Span { tag: Tag::Italic, classes: vec![], annotation: String::new(), children: vec![] }
            ]
        );
    }

    #[test]
    fn ruby_closes_its_text() {
        let nodes = parse_cue_text("<ruby>漢<rt>kan</ruby>字");
        assert_eq!(plain_text(&nodes), "漢kan字");
        assert_eq!(nodes.len(), 2);
    }

    #[test]
    fn depth_is_bounded() {
        let deep = format!("{}x{}y", "<b>".repeat(100_000), "</b>".repeat(100_000));
        let nodes = parse_cue_text(&deep);
        assert_eq!(plain_text(&nodes), "xy");
        assert_eq!(nodes.len(), 2);
    }
}
