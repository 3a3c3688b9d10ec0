//! Sentences with choices: `{hero} [found|saw] a {thing} <where place>.`
//!
//! `[a|b]` is one of these (and may hold more of them; an empty one is nothing), `{slot}` and `{slot.form}` are a value
//! of the cast, `<macro slot ...>` is one line of that macro, in which `{1}` is the first slot named.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};

use super::cast::Cast;
use super::random::Random;

/// A sentence with choices.
#[derive(Debug, Clone)]
pub(crate) struct Pattern(Vec<Node>);

#[derive(Debug, Clone)]
enum Node {
    Text(&'static str),
    Slot { name: &'static str, form: &'static str },
    Choice(Vec<Pattern>),
    Call { name: &'static str, slots: Vec<&'static str> },
}

/// Macros by name.
pub(crate) type Macros = BTreeMap<&'static str, Vec<Pattern>>;

impl Pattern {
    /// # Errors
    /// If brackets do not match or a macro or slot has no name.
    pub(crate) fn parse(text: &'static str) -> Result<Self> {
        let mut reader = Reader { text, at: 0 };
        let alternatives = reader.alternatives(0)?;
        ensure!(reader.at == text.len(), "{text:?}: a bracket that nobody opened at byte {}", reader.at);
        ensure!(alternatives.len() == 1, "{text:?}: `|` outside of brackets");
        Ok(alternatives.into_iter().next().unwrap_or(Self(Vec::new())))
    }

    /// The pattern with all choices made.
    pub(crate) fn expand(&self, macros: &Macros, cast: &Cast, random: &mut Random) -> String {
        let mut out = String::new();
        Scene { macros, cast, slots: &[], depth: 0 }.expand(self, random, &mut out);
        out
    }
}

/// What a pattern is expanded with.
struct Scene<'a> {
    macros: &'a Macros,
    cast: &'a Cast,
    /// The slots that a macro was called with.
    slots: &'a [&'static str],
    depth: usize,
}

impl Scene<'_> {
    fn expand(&self, pattern: &Pattern, random: &mut Random, out: &mut String) {
        assert!(self.depth < 20, "macros that call themselves");
        for node in &pattern.0 {
            match node {
                Node::Text(text) => out.push_str(text),
                Node::Slot { name, form } => out.push_str(&self.cast.text(self.slot(name), form)),
                Node::Choice(alternatives) => self.expand(random.pick(alternatives), random, out),
                Node::Call { name, slots } => {
                    let lines = self.macros.get(name).unwrap_or_else(|| panic!("no macro is called {name:?}"));
                    let slots: Vec<&'static str> = slots.iter().map(|slot| self.slot(slot)).collect();
                    let inner = Scene { macros: self.macros, cast: self.cast, slots: &slots, depth: self.depth + 1 };
                    inner.expand(random.pick(lines), random, out);
                }
            }
        }
    }

    /// `1` is the first slot that the macro was called with.
    fn slot(&self, name: &'static str) -> &'static str {
        match name.parse::<usize>() {
            Ok(number) => {
                self.slots.get(number.wrapping_sub(1)).unwrap_or_else(|| panic!("no slot {number} was named"))
            }
            Err(_) => name,
        }
    }
}

struct Reader {
    text: &'static str,
    at: usize,
}

impl Reader {
    /// Patterns between `|`, up to the bracket that closes them.
    fn alternatives(&mut self, depth: usize) -> Result<Vec<Pattern>> {
        let mut found = Vec::new();
        let mut nodes = Vec::new();
        while let Some(rest) = self.text.get(self.at..).filter(|rest| !rest.is_empty()) {
            let plain = rest.find(['[', ']', '|', '{', '<']).unwrap_or(rest.len());
            if plain > 0 {
                nodes.push(Node::Text(&rest[..plain]));
                self.at += plain;
                continue;
            }
            match rest.as_bytes()[0] {
                b'[' => {
                    self.at += 1;
                    let choice = self.alternatives(depth + 1)?;
                    ensure!(self.text[self.at..].starts_with(']'), "{:?}: `[` without `]`", self.text);
                    self.at += 1;
                    nodes.push(Node::Choice(choice));
                }
                b'|' => {
                    self.at += 1;
                    found.push(Pattern(std::mem::take(&mut nodes)));
                }
                b'{' => nodes.push(self.slot()?),
                b'<' => nodes.push(self.call()?),
                _ if depth > 0 => break,
                _ => bail!("{:?}: `]` without `[`", self.text),
            }
        }
        found.push(Pattern(nodes));
        Ok(found)
    }

    fn inside(&mut self, close: char) -> Result<&'static str> {
        let rest = &self.text[self.at + 1..];
        let length = rest.find(close).with_context(|| format!("{:?}: no {close:?}", self.text))?;
        self.at += length + 2;
        ensure!(length > 0, "{:?}: nothing in front of {close:?}", self.text);
        Ok(&rest[..length])
    }

    fn slot(&mut self) -> Result<Node> {
        let inside = self.inside('}')?;
        let (name, form) = inside.split_once('.').unwrap_or((inside, ""));
        Ok(Node::Slot { name, form })
    }

    fn call(&mut self) -> Result<Node> {
        let mut words = self.inside('>')?.split(' ');
        let name = words.next().unwrap_or_default();
        Ok(Node::Call { name, slots: words.collect() })
    }
}

/// Macros from their text: `:name`, then one line for each way to say it.
///
/// # Errors
/// As [`Pattern::parse`].
pub(crate) fn macros(text: &'static str) -> Result<Macros> {
    let mut found = Macros::new();
    let mut name = None;
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.strip_prefix(':') {
            Some(next) => {
                ensure!(found.insert(next, Vec::new()).is_none(), "macro {next:?} is there twice");
                name = Some(next);
            }
            None => {
                let name = name.context("the text of macros begins with a line that has no name")?;
                found.entry(name).or_default().push(Pattern::parse(line)?);
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_and_macros_are_expanded() {
        let macros = macros(":greet\n[hello|hello], {1}\n").unwrap();
        let mut cast = Cast::default();
        cast.set("who", &[("", "Ana")]);
        let pattern = Pattern::parse("[<greet who>|<greet who>]![| ]").unwrap();
        assert_eq!(pattern.expand(&macros, &cast, &mut Random::new(1)).trim(), "hello, Ana!");
    }

    #[test]
    fn brackets_must_match() {
        for wrong in ["[a", "a]", "a|b", "{a", "<a", "{}", "[a|[b]"] {
            assert!(Pattern::parse(wrong).is_err(), "{wrong}");
        }
    }
}
