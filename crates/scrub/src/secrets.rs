//! Finds credentials.
//!
//! One automaton looks for the keywords of all rules; what it finds is confirmed by the rule, near the keyword only. So the
//! time grows with the length of the text, whatever is in it.

mod assignment;
mod checks;
mod cloud;
mod codec;
mod layers;
mod named;
mod placeholder;
mod rarity;
mod rule;
mod services;
mod shape;
mod structures;

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};

use crate::{Category, Encoding, Finding};
use rarity::Rarity;
use rule::{Finder, Found, Pattern, Rule, Search};

pub use rarity::TokenCounter;

/// How many layers are taken off: base64 in JSON in base64 is enough.
const DEEPEST: usize = 2;

/// How close a keyword is that sees the same as the one before it, where anything may stand in between.
const NEAR: usize = 48;

/// What to look for.
#[derive(Clone, Default)]
pub struct SecretOptions {
    /// Counts tokens with the tokenizer of the base model, which tells words from noise better than a list does.
    pub tokens: Option<TokenCounter>,
}

/// A rule as the documentation lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleInfo {
    /// The name in a [`Finding`].
    pub name: &'static str,
    /// Whose secrets they are.
    pub provider: &'static str,
    /// What it finds.
    pub description: &'static str,
    /// Names something but opens nothing (a bucket, an ARN, a client id, a public key); its confidence is low.
    pub identifier: bool,
}

/// Lists the rules.
pub fn rules() -> &'static [RuleInfo] {
    static LIST: LazyLock<Vec<RuleInfo>> = LazyLock::new(|| {
        let info = |rule: Rule| RuleInfo {
            name: rule.name,
            provider: rule.provider,
            description: rule.description,
            identifier: rule.identifier,
        };
        all_rules().into_iter().map(info).collect()
    });
    &LIST
}

fn all_rules() -> Vec<Rule> {
    [cloud::rules(), services::rules(), structures::rules(), named::rules(), assignment::rules()]
        .into_iter()
        .flatten()
        .collect()
}

/// Finds secrets in texts. It is built once and shared by all threads.
///
/// What was surely made up (`xxxx`, `$PASSWORD`, `your-key`) and what only names something is reported as well, with a
/// confidence below 0.5: whoever acts on findings asks for more.
///
/// ```
/// use attune_scrub::secrets::{Scanner, SecretOptions};
///
/// let scanner = Scanner::new(SecretOptions::default());
/// let found = scanner.scan(&format!("db: postgres://app:{}@db.internal/main", "t0p-S3cr3t-9"));
/// assert_eq!(found[0].value, "t0p-S3cr3t-9");
/// assert!(scanner.scan("Nothing to see here.").is_empty());
/// ```
pub struct Scanner {
    rules: Vec<Rule>,
    /// The keywords that count as written, and those that count in any case. They are apart because the short marks of
    /// tokens (`AC`, `SK`) come up in every second word once the case is ignored.
    keywords: [Keywords; 2],
    rarity: Rarity,
}

/// An automaton, and the rules that each of its patterns wakes.
struct Keywords {
    automaton: AhoCorasick,
    woken: Vec<Vec<usize>>,
}

impl Keywords {
    fn new(rules: &[Rule], any_case: bool) -> Self {
        let mut words: Vec<&'static str> = Vec::new();
        let mut woken: Vec<Vec<usize>> = Vec::new();
        let mut known = HashMap::new();
        for (index, rule) in rules.iter().enumerate() {
            let as_written = matches!(&rule.finder, Finder::Pattern(pattern) if !pattern.any_case);
            if as_written == any_case {
                continue;
            }
            for &word in rule.keywords {
                let at = *known.entry(word).or_insert_with(|| {
                    words.push(word);
                    woken.push(Vec::new());
                    words.len() - 1
                });
                woken[at].push(index);
            }
        }
        let automaton = AhoCorasick::builder()
            .ascii_case_insensitive(any_case)
            .match_kind(MatchKind::Standard)
            .kind(Some(AhoCorasickKind::DFA))
            .build(words)
            .unwrap_or_else(|error| panic!("the automaton of the keywords: {error}"));
        Self { automaton, woken }
    }
}

/// A finding inside of a layer.
#[derive(Debug, Clone)]
struct Candidate {
    span: Range<usize>,
    rule: usize,
    confidence: f32,
    value: String,
    layers: Vec<Encoding>,
}

impl Scanner {
    /// Builds the automaton of all rules.
    pub fn new(options: SecretOptions) -> Self {
        let rules = all_rules();
        let keywords = [Keywords::new(&rules, false), Keywords::new(&rules, true)];
        Self { rules, keywords, rarity: Rarity::new(options.tokens) }
    }

    /// Finds the secrets of `text`: sorted, without overlap. Of two that overlap, the more certain stays, then the longer.
    pub fn scan(&self, text: &str) -> Vec<Finding> {
        self.layer(text, 0)
            .into_iter()
            .map(|candidate| {
                let rule = &self.rules[candidate.rule];
                Finding {
                    span: candidate.span,
                    category: Category::Secret,
                    rule: rule.name,
                    label: rule.label,
                    confidence: candidate.confidence,
                    value: candidate.value,
                    layers: candidate.layers,
                }
            })
            .collect()
    }

    /// The findings of a text that lies under `depth` layers.
    fn layer(&self, text: &str, depth: usize) -> Vec<Candidate> {
        let mut search = Search { text, rarity: &self.rarity, found: Vec::new(), judged: [0; 3] };
        self.plain(&mut search);
        let mut candidates: Vec<Candidate> = search
            .found
            .into_iter()
            .map(|Found { span, rule, confidence }| Candidate {
                value: text[span.clone()].to_owned(),
                span,
                rule,
                confidence,
                layers: Vec::new(),
            })
            .collect();
        if depth < DEEPEST {
            let mut take =
                |encoding: Encoding, inner: Vec<Candidate>, outer: &dyn Fn(&Range<usize>) -> Range<usize>| {
                    candidates.extend(inner.into_iter().map(|mut candidate| {
                        candidate.span = outer(&candidate.span);
                        candidate.layers.insert(0, encoding);
                        candidate
                    }));
                };
            for (encoding, decoded) in [(Encoding::Json, layers::json(text)), (Encoding::Url, layers::url(text))] {
                if let Some(decoded) = decoded {
                    take(encoding, self.layer(&decoded.text, depth + 1), &|span| decoded.outer(span));
                }
            }
            layers::base64(text, &mut |stretch, inner| {
                take(Encoding::Base64, self.layer(inner, depth + 1), &|_| stretch.clone());
            });
        }
        resolve(candidates)
    }

    /// What is found without taking off a layer.
    fn plain(&self, search: &mut Search<'_>) {
        let text = search.text;
        // Where the last finding of a rule ends; what begins before it is part of it.
        let mut ends = vec![0usize; self.rules.len()];
        for keywords in &self.keywords {
            for hit in keywords.automaton.find_overlapping_iter(text) {
                let at = hit.start()..hit.end();
                for &index in &keywords.woken[hit.pattern().as_usize()] {
                    if at.start < ends[index] {
                        continue;
                    }
                    let before = search.found.len();
                    let rule = &self.rules[index];
                    match &rule.finder {
                        Finder::Pattern(pattern) => confirm(search, pattern, &at, index, rule),
                        Finder::Named(shapes) => named::find(search, shapes, &at, index, rule.confidence),
                        Finder::Custom(find) => find(search, at.clone(), index),
                        Finder::Sibling => {}
                    }
                    if let Some(found) = search.found[before..].last() {
                        ends[index] = found.span.end;
                    } else if let Finder::Pattern(Pattern { gap: true, .. }) = &rule.finder {
                        let near = &text.as_bytes()[at.end..(at.end + NEAR).min(text.len())];
                        ends[index] = at.end + near.iter().position(|byte| *byte == b'\n').unwrap_or(near.len());
                    }
                }
            }
        }
    }
}

/// Looks for a pattern around its keyword.
fn confirm(search: &mut Search<'_>, pattern: &Pattern, keyword: &Range<usize>, index: usize, rule: &Rule) {
    let bytes = search.text.as_bytes();
    let touches = |at: Option<&u8>| !pattern.loose && at.is_some_and(u8::is_ascii_alphanumeric);
    if pattern.before == 0 && keyword.start > 0 && touches(bytes.get(keyword.start - 1)) {
        return;
    }
    let start = keyword.start.saturating_sub(pattern.before);
    let end = (keyword.start + pattern.after).min(bytes.len());
    if !pattern.needs.is_empty() && !search.text[search.widen(keyword.start..end)].contains(pattern.needs) {
        return;
    }
    let Some(groups) = pattern
        .regex()
        .captures_iter(&bytes[start..end])
        .find(|groups| groups.get(0).is_some_and(|all| start + all.end() > keyword.start))
    else {
        return;
    };
    let Some(all) = groups.get(0) else { return };
    if start + all.start() > keyword.start
        || touches(bytes.get(start + all.end()))
        || (start + all.start() > 0 && touches(bytes.get(start + all.start() - 1)))
    {
        return;
    }
    if in_blob(bytes, start + all.start()..start + all.end()) {
        return;
    }
    let secret = groups.iter().skip(1).flatten().next().unwrap_or(all);
    let span = search.widen(start + secret.start()..start + secret.end());
    let text = &search.text[span.clone()];
    // Where the check weighs passwords, `123456` is one; and who asks for names, gets those of examples.
    let lenient = rule.identifier || rule.label == rule::label::PASSWORD;
    if !lenient && placeholder::is_filler(text) {
        search.push(span, index, placeholder::MADE_UP);
        return;
    }
    let computed = placeholder::is_template(text);
    if placeholder::is_label(text) || (computed && !computes(rule, pattern)) || shape::entropy(text) < pattern.entropy {
        return;
    }
    let confidence = match pattern.check {
        Some(check) => check(text, rule.confidence),
        None => Some(rule.confidence),
    };
    if let Some(confidence) = confidence {
        // `{SSHA}` is a part of the form.
        let computed = computed && rule.label != rule::label::PASSWORD_HASH;
        let most = match (computed, !lenient && placeholder::is_made_up(text)) {
            (true, _) => placeholder::COMPUTED,
            (_, true) => placeholder::MADE_UP,
            _ => 1.0,
        };
        search.push(span, index, confidence.min(most));
    }
}

/// Whether the place is a secret's even where a variable stands in it: commands and resources.
fn computes(rule: &Rule, pattern: &Pattern) -> bool {
    matches!(rule.label, rule::label::PASSWORD | rule::label::PASSWORD_HASH)
        || (rule.identifier && pattern.check.is_some())
}

/// Whether a match lies in the middle of base64, where any short mark comes up by chance.
fn in_blob(bytes: &[u8], found: Range<usize>) -> bool {
    /// The path of an address has shorter pieces.
    const BLOB: usize = 32;
    let joint = |byte: Option<&u8>| byte.is_some_and(|byte| matches!(byte, b'/' | b'+'));
    let digit = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'+');
    let before = &bytes[..found.start];
    let after = &bytes[found.end..];
    (joint(before.last()) && before.iter().rev().take(BLOB).take_while(digit).count() == BLOB)
        || (joint(after.first()) && after.iter().take(BLOB).take_while(digit).count() == BLOB)
}

/// Sorts, and keeps of those that overlap the most certain, then the longest, then the one with the fewest layers.
fn resolve(mut candidates: Vec<Candidate>) -> Vec<Candidate> {
    candidates.sort_by(|a, b| {
        (b.confidence.total_cmp(&a.confidence))
            .then(b.span.len().cmp(&a.span.len()))
            .then(a.layers.len().cmp(&b.layers.len()))
            .then(a.span.start.cmp(&b.span.start))
            .then(a.rule.cmp(&b.rule))
    });
    let mut kept: BTreeMap<usize, Candidate> = BTreeMap::new();
    for candidate in candidates {
        let before = kept.range(..candidate.span.end).next_back();
        if before.is_none_or(|(_, before)| before.span.end <= candidate.span.start) {
            kept.insert(candidate.span.start, candidate);
        }
    }
    kept.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Patterns are built at first use, so a mistake in one would show only in the field.
    #[test]
    fn every_pattern_builds_and_every_rule_can_wake() {
        for rule in all_rules() {
            assert!(
                rule.keywords.is_empty() == matches!(rule.finder, Finder::Sibling)
                    && rule.keywords.iter().all(|keyword| !keyword.is_empty()),
                "{}",
                rule.name
            );
            assert!(rule.confidence > 0.0 && rule.confidence <= 1.0, "{}", rule.name);
            if let Finder::Pattern(pattern) = &rule.finder {
                // The first match of the empty text builds the automata that are built on demand.
                assert!(!pattern.regex().is_match(b""), "{} matches nothing", rule.name);
            }
        }
    }

    #[test]
    fn a_mark_in_the_middle_of_base64_is_none() {
        let blob = "a1B2".repeat(10);
        let text = format!("{blob}/EAAx{blob}");
        let at = blob.len() + 1;
        assert!(in_blob(text.as_bytes(), at..at + 4));
        assert!(!in_blob(b"https://host/EAAx/", 13..17));
    }
}
