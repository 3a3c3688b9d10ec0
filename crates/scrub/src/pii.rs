//! Data about persons that has a form: addresses of the net, telephone numbers, accounts, cards, numbers of states.
//!
//! Rules see what has a form. Names of persons, street addresses, and what a text tells about somebody in words are out
//! of their reach: a text without findings is not a text without personal data.
//!
//! One pass looks for bytes that such data cannot do without (a digit, `@`, `:`, a bracket), reads what stands around
//! them, and confirms it: by length, groups, checksums, and the words beside it. No expression runs over the whole text.
//!
//! Confidence says how sure a finding is. The form gives the first part; a word that names the kind (`IBAN`,
//! `Telefon:`) adds up to 0.35. Where findings overlap the surer one stays, among equals the longer one.
//!
//! ```
//! use attune_scrub::pii::{PiiOptions, Scanner};
//!
//! let scanner = Scanner::new(PiiOptions::default());
//! let findings = scanner.scan("Write to jane@example.org or call +1 212 555 0123.");
//! let rules: Vec<_> = findings.iter().map(|finding| finding.rule).collect();
//! assert_eq!(rules, ["email", "phone"]);
//! ```

mod cards;
mod checksums;
mod context;
mod crypto;
mod dates;
mod domain;
mod email;
mod iban;
mod kinds;
mod national;
mod net;
mod phone;
mod run;
mod specs;
mod url;
mod vat;
mod walk;

use std::collections::BTreeMap;

use crate::finding::{Category, Finding};
use kinds::KindSet;
use specs::Spec;

pub use kinds::{Kind, KindInfo, kinds};

/// Which numbers count that stand without a word about them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BareNumbers {
    /// None: numbers of states, cards and telephones count only beside a word that names them. What no chance makes
    /// (an IBAN, an Italian tax code, a telephone number with `+`) counts all the same.
    Never,
    /// Those whose checksum and form leave little to chance.
    #[default]
    Checked,
    /// All whose checksum holds, though one in ten numbers may pass it by chance.
    Any,
}

/// What is looked for.
#[derive(Debug, Clone, PartialEq)]
pub struct PiiOptions {
    /// The kinds.
    pub kinds: Vec<Kind>,
    /// The smallest confidence that counts.
    pub min_confidence: f32,
    /// Which numbers count that stand without a word about them.
    pub bare_numbers: BareNumbers,
}

impl Default for PiiOptions {
    /// The kinds that are on by default, from a confidence of one half, and checked numbers without a word.
    fn default() -> Self {
        Self {
            kinds: kinds().iter().filter(|info| info.default).map(|info| info.kind).collect(),
            min_confidence: 0.5,
            bare_numbers: BareNumbers::default(),
        }
    }
}

/// Finds personal data. One scanner serves any number of threads.
#[derive(Debug)]
pub struct Scanner {
    wanted: KindSet,
    min_confidence: f32,
    bare_numbers: BareNumbers,
    /// The table of numbers by their length.
    specs: Vec<Vec<&'static Spec>>,
}

/// A stretch that may be personal data.
#[derive(Debug, Clone)]
struct Candidate {
    start: usize,
    end: usize,
    kind: Kind,
    confidence: f32,
    /// The value, where it is not made of the stretch alone.
    value: Option<String>,
}

impl Scanner {
    /// A scanner with these options.
    pub fn new(options: PiiOptions) -> Self {
        context::prepare();
        let wanted = KindSet::new(options.kinds);
        Self {
            wanted,
            min_confidence: options.min_confidence,
            bare_numbers: options.bare_numbers,
            specs: specs::by_length(|kind| wanted.has(kind)),
        }
    }

    /// What a text holds, in the order of the text; no two findings overlap.
    pub fn scan(&self, text: &str) -> Vec<Finding> {
        let candidates = walk::candidates(self, text);
        let finding = |candidate: Candidate| {
            let info = candidate.kind.info();
            let written = &text[candidate.start..candidate.end];
            Finding {
                span: candidate.start..candidate.end,
                category: Category::Pii,
                rule: info.rule,
                label: info.label,
                confidence: candidate.confidence,
                value: candidate.value.unwrap_or_else(|| normal(candidate.kind, written)),
                layers: Vec::new(),
            }
        };
        choose(candidates).into_iter().map(finding).collect()
    }
}

/// The surest of those that overlap, among equals the longest, then the first.
fn choose(mut candidates: Vec<Candidate>) -> Vec<Candidate> {
    if candidates.len() < 2 {
        return candidates;
    }
    candidates.sort_by(|left, right| {
        let surer = right.confidence.total_cmp(&left.confidence);
        let length = |candidate: &Candidate| candidate.end - candidate.start;
        surer
            .then_with(|| length(right).cmp(&length(left)))
            .then_with(|| left.start.cmp(&right.start))
            .then_with(|| left.kind.cmp(&right.kind))
    });
    let mut chosen: BTreeMap<usize, Candidate> = BTreeMap::new();
    for candidate in candidates {
        // As those chosen do not overlap, only the last that begins before the end can reach into this one.
        let free = chosen.range(..candidate.end).next_back().is_none_or(|(_, last)| last.end <= candidate.start);
        if free {
            chosen.insert(candidate.start, candidate);
        }
    }
    chosen.into_values().collect()
}

/// One spelling for all spellings of a value.
fn normal(kind: Kind, written: &str) -> String {
    match kind {
        Kind::Email => written.to_lowercase(),
        Kind::Phone => {
            let plus = written.starts_with(['+', '\u{ff0b}']);
            let digits: String = written.replace("(0)", "").chars().filter(char::is_ascii_digit).collect();
            if plus { format!("+{digits}") } else { digits }
        }
        Kind::IpAddress => net::normal(written),
        Kind::MacAddress => {
            written.chars().filter(char::is_ascii_hexdigit).map(|character| character.to_ascii_lowercase()).collect()
        }
        Kind::Url | Kind::UrlCredentials | Kind::DateOfBirth => written.to_owned(),
        // Base 58 tells cases apart.
        Kind::CryptoAddress if !written.starts_with(['0', 'b', 'B']) => written.to_owned(),
        Kind::CryptoAddress => written.to_ascii_lowercase(),
        _ => {
            let characters = written.chars().filter(char::is_ascii_alphanumeric);
            characters.map(|character| character.to_ascii_uppercase()).collect()
        }
    }
}
