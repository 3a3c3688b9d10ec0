//! What a rule is.

use std::ops::Range;
use std::sync::OnceLock;

use regex::bytes::{Regex, RegexBuilder};

use super::rarity::Rarity;
use super::shape::Shape;

/// A regular expression that cannot be built within this is a mistake in the table of rules.
const REGEX_LIMIT: usize = 8 << 20;

/// What a found value is used as; the word that a placeholder shows.
pub(super) mod label {
    pub(crate) const API_KEY: &str = "API_KEY";
    pub(crate) const TOKEN: &str = "TOKEN";
    pub(crate) const SECRET: &str = "SECRET";
    pub(crate) const PASSWORD: &str = "PASSWORD";
    pub(crate) const PASSWORD_HASH: &str = "PASSWORD_HASH";
    pub(crate) const PRIVATE_KEY: &str = "PRIVATE_KEY";
    pub(crate) const WEBHOOK: &str = "WEBHOOK";
    pub(crate) const IDENTIFIER: &str = "IDENTIFIER";
}

/// One rule: which words wake it, and what it then wants to see.
pub(crate) struct Rule {
    pub(super) name: &'static str,
    pub(super) provider: &'static str,
    pub(super) description: &'static str,
    pub(super) label: &'static str,
    pub(super) confidence: f32,
    /// Names something, but opens nothing: an account, a bucket, a client id.
    pub(super) identifier: bool,
    /// Any of them wakes the rule.
    pub(super) keywords: &'static [&'static str],
    pub(super) finder: Finder,
}

/// How a rule confirms.
pub(super) enum Finder {
    /// A pattern around the keyword.
    Pattern(Pattern),
    /// A value of a given shape behind the name of its provider.
    Named(&'static [Shape]),
    /// A function.
    Custom(fn(&mut Search<'_>, Range<usize>, usize)),
    /// The function of a rule above finds it as well: it looks at a value once and says which of its rules that concerns.
    Sibling,
}

/// A regular expression and what it does not say.
pub(super) struct Pattern {
    /// Its first group is the secret, or all of it where it has no group.
    pub(super) source: &'static str,
    /// How far before the keyword it may begin; 0 anchors it there.
    pub(super) before: usize,
    /// How far behind the start of the keyword it may reach.
    pub(super) after: usize,
    /// Whether the keyword counts in any case.
    pub(super) any_case: bool,
    /// Whether anything of the same line may stand behind the keyword: then another keyword close behind sees the same.
    pub(super) gap: bool,
    /// What stands between the keyword and the end of what is looked at, or the expression is not asked.
    pub(super) needs: &'static str,
    /// Whether letters or digits may touch the match.
    pub(super) loose: bool,
    /// What the secret must satisfy besides; answers the confidence.
    pub(super) check: Option<Check>,
    /// Bits per character that the secret has at least.
    pub(super) entropy: f32,
    pub(super) regex: OnceLock<Regex>,
}

/// Judges a secret (without its surroundings): the confidence, or `None` if it is no secret.
pub(super) type Check = fn(secret: &str, confidence: f32) -> Option<f32>;

impl Pattern {
    /// The compiled expression. It is built at first use: most texts wake a few rules of hundreds.
    pub(super) fn regex(&self) -> &Regex {
        self.regex.get_or_init(|| {
            let anchored = if self.before == 0 { format!(r"\A(?:{})", self.source) } else { self.source.to_owned() };
            RegexBuilder::new(&anchored)
                .unicode(false)
                .case_insensitive(self.any_case)
                .size_limit(REGEX_LIMIT)
                .build()
                .unwrap_or_else(|error| panic!("the pattern {:?} of a rule is wrong: {error}", self.source))
        })
    }
}

/// A text that is being searched, and what was found so far.
pub(super) struct Search<'a> {
    pub(super) text: &'a str,
    pub(super) rarity: &'a Rarity,
    pub(super) found: Vec<Found>,
    /// Where the name of a password, the name of a token and the run of a JWT end that were judged last, so that one with
    /// two keywords is judged once.
    pub(super) judged: [usize; 3],
}

/// A finding before its rule is looked up.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) span: Range<usize>,
    pub(super) rule: usize,
    pub(super) confidence: f32,
}

impl Search<'_> {
    /// The text of a range of bytes that may begin or end inside a character: those are left out or taken in.
    pub(super) fn widen(&self, span: Range<usize>) -> Range<usize> {
        self.text.floor_char_boundary(span.start)..self.text.ceil_char_boundary(span.end)
    }

    pub(super) fn push(&mut self, span: Range<usize>, rule: usize, confidence: f32) {
        let span = self.widen(span);
        if !span.is_empty() {
            self.found.push(Found { span, rule, confidence });
        }
    }
}

impl Rule {
    const fn new(
        name: &'static str,
        provider: &'static str,
        description: &'static str,
        label: &'static str,
        keywords: &'static [&'static str],
        finder: Finder,
    ) -> Self {
        Self { name, provider, description, label, confidence: 0.9, identifier: false, keywords, finder }
    }

    /// A token that begins with one of the keywords.
    pub(super) fn token(
        name: &'static str,
        provider: &'static str,
        description: &'static str,
        keywords: &'static [&'static str],
        source: &'static str,
    ) -> Self {
        let pattern = Pattern {
            source,
            before: 0,
            after: 512,
            any_case: false,
            gap: false,
            needs: "",
            loose: false,
            check: None,
            entropy: 2.0,
            regex: OnceLock::new(),
        };
        Self::new(name, provider, description, label::TOKEN, keywords, Finder::Pattern(pattern)).sure(0.95)
    }

    /// A value of one of the shapes behind a keyword.
    pub(super) fn named(
        name: &'static str,
        provider: &'static str,
        description: &'static str,
        keywords: &'static [&'static str],
        shapes: &'static [Shape],
    ) -> Self {
        Self::new(name, provider, description, label::API_KEY, keywords, Finder::Named(shapes)).sure(0.75)
    }

    /// Whatever a function finds.
    pub(super) fn custom(
        name: &'static str,
        provider: &'static str,
        description: &'static str,
        keywords: &'static [&'static str],
        find: fn(&mut Search<'_>, Range<usize>, usize),
    ) -> Self {
        Self::new(name, provider, description, label::SECRET, keywords, Finder::Custom(find))
    }

    /// What the function of the rule above it finds as well.
    pub(super) fn sibling(name: &'static str, provider: &'static str, description: &'static str) -> Self {
        Self::new(name, provider, description, label::SECRET, &[], Finder::Sibling)
    }

    pub(super) fn sure(mut self, confidence: f32) -> Self {
        self.confidence = confidence;
        self
    }

    pub(super) fn label(mut self, label: &'static str) -> Self {
        self.label = label;
        self
    }

    pub(super) fn identifier(mut self) -> Self {
        self.identifier = true;
        self.label(label::IDENTIFIER).sure(0.3)
    }

    fn pattern(mut self, change: impl FnOnce(&mut Pattern)) -> Self {
        if let Finder::Pattern(pattern) = &mut self.finder {
            change(pattern);
        }
        self
    }

    /// The match may begin `before` bytes before the keyword.
    pub(super) fn before(self, before: usize) -> Self {
        self.pattern(|pattern| pattern.before = before)
    }

    /// The match may end `after` bytes behind the start of the keyword.
    pub(super) fn after(self, after: usize) -> Self {
        self.pattern(|pattern| pattern.after = after)
    }

    pub(super) fn gap(self) -> Self {
        self.pattern(|pattern| pattern.gap = true)
    }

    pub(super) fn needs(self, needs: &'static str) -> Self {
        self.pattern(|pattern| pattern.needs = needs)
    }

    pub(super) fn any_case(self) -> Self {
        self.pattern(|pattern| pattern.any_case = true)
    }

    pub(super) fn loose(self) -> Self {
        self.pattern(|pattern| pattern.loose = true)
    }

    pub(super) fn check(self, check: Check) -> Self {
        self.pattern(|pattern| pattern.check = Some(check))
    }

    pub(super) fn entropy(self, bits: f32) -> Self {
        self.pattern(|pattern| pattern.entropy = bits)
    }
}
