//! Secrets, personal data and hidden text in every string of a row, and the placeholders that take their place.

use std::collections::HashMap;

use attune_scrub::{Category, Finding};
use serde_json::{Map, Value};

/// Numbers of at least so many digits are looked at: shorter ones identify nobody.
const MIN_DIGITS: usize = 7;

/// Something found in one string of a row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Hit {
    /// Which string: its number in the order of [`visit`].
    pub(crate) slot: usize,
    /// The path to it, for people: `messages[2].content`.
    pub(crate) path: String,
    /// What was found.
    pub(crate) finding: Finding,
}

/// Where a string stands in a row.
pub(crate) enum Slot<'a> {
    /// A text, or a number as text.
    Value(&'a str),
    /// The name of a member.
    Key(&'a str),
}

/// Calls `see` for every string of a row: values, names of members, and long numbers, depth first in the order of the
/// file. The path is built only when `see` asks for it.
pub(crate) fn visit(object: &Map<String, Value>, see: &mut impl FnMut(usize, Slot<'_>, &dyn Fn() -> String)) {
    let mut next = 0;
    visit_object(object, &Path { parent: None, step: Step::Root }, &mut next, see);
}

enum Step<'a> {
    Root,
    Key(&'a str),
    Index(usize),
}

struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Step<'a>,
}

impl Path<'_> {
    fn show(&self) -> String {
        let mut text = self.parent.map(Path::show).unwrap_or_default();
        match self.step {
            Step::Root => {}
            Step::Key(key) => {
                if !text.is_empty() {
                    text.push('.');
                }
                text.push_str(&shown_key(key));
            }
            Step::Index(index) => text.push_str(&format!("[{index}]")),
        }
        text
    }
}

/// The name of a member as paths show it.
pub(crate) fn shown_key(key: &str) -> String {
    key.chars().take(40).map(|character| if character.is_control() { '·' } else { character }).collect()
}

fn visit_object(
    object: &Map<String, Value>,
    path: &Path<'_>,
    next: &mut usize,
    see: &mut impl FnMut(usize, Slot<'_>, &dyn Fn() -> String),
) {
    for (key, value) in object {
        let below = Path { parent: Some(path), step: Step::Key(key) };
        see(*next, Slot::Key(key), &|| below.show());
        *next += 1;
        visit_value(value, &below, next, see);
    }
}

fn visit_value(
    value: &Value,
    path: &Path<'_>,
    next: &mut usize,
    see: &mut impl FnMut(usize, Slot<'_>, &dyn Fn() -> String),
) {
    match value {
        Value::String(text) => {
            see(*next, Slot::Value(text), &|| path.show());
            *next += 1;
        }
        Value::Number(number) => {
            let text = number.to_string();
            if text.bytes().filter(u8::is_ascii_digit).count() >= MIN_DIGITS {
                see(*next, Slot::Value(&text), &|| path.show());
            }
            *next += 1;
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                visit_value(item, &Path { parent: Some(path), step: Step::Index(index) }, next, see);
            }
        }
        Value::Object(object) => visit_object(object, path, next, see),
        Value::Null | Value::Bool(_) => {}
    }
}

/// The row with some of its strings replaced: `replace` is asked in the order of [`visit`] and answers `None` for a
/// string that stays. A number that is replaced becomes a string. Two members whose new names are equal are told apart
/// by a number at the end, so that no value is lost.
pub(crate) fn rewrite(
    object: &Map<String, Value>,
    replace: &mut impl FnMut(usize, &str) -> Option<String>,
) -> Map<String, Value> {
    let mut next = 0;
    rewrite_object(object, &mut next, replace)
}

fn rewrite_object(
    object: &Map<String, Value>,
    next: &mut usize,
    replace: &mut impl FnMut(usize, &str) -> Option<String>,
) -> Map<String, Value> {
    let mut out = Map::new();
    for (key, value) in object {
        let mut name = replace(*next, key).unwrap_or_else(|| key.clone());
        *next += 1;
        let value = rewrite_value(value, next, replace);
        if out.contains_key(&name) {
            let free = (2..).map(|number| format!("{name} {number}")).find(|name| !out.contains_key(name));
            name = free.unwrap_or(name);
        }
        out.insert(name, value);
    }
    out
}

fn rewrite_value(value: &Value, next: &mut usize, replace: &mut impl FnMut(usize, &str) -> Option<String>) -> Value {
    match value {
        Value::String(text) => {
            let new = replace(*next, text);
            *next += 1;
            Value::String(new.unwrap_or_else(|| text.clone()))
        }
        Value::Number(number) => {
            let new = replace(*next, &number.to_string());
            *next += 1;
            new.map_or_else(|| value.clone(), Value::String)
        }
        Value::Array(items) => Value::Array(items.iter().map(|item| rewrite_value(item, next, replace)).collect()),
        Value::Object(object) => Value::Object(rewrite_object(object, next, replace)),
        Value::Null | Value::Bool(_) => value.clone(),
    }
}

/// Gives every value its placeholder: `[EMAIL_1]` for the first e-mail address of the set, and again wherever the same
/// address stands. Numbers follow the order of the rows, so they do not depend on threads.
#[derive(Debug, Default)]
pub(crate) struct Placeholders {
    numbers: HashMap<(&'static str, [u8; 16]), usize>,
    counts: HashMap<&'static str, usize>,
}

impl Placeholders {
    fn of(&mut self, finding: &Finding) -> String {
        let hash = blake3::hash(finding.value.as_bytes());
        let mut key = [0; 16];
        key.copy_from_slice(&hash.as_bytes()[..16]);
        let count = self.counts.entry(finding.label).or_default();
        let number = *self.numbers.entry((finding.label, key)).or_insert_with(|| {
            *count += 1;
            *count
        });
        format!("[{}_{number}]", finding.label)
    }

    /// `text` with its findings replaced; they are sorted and do not overlap.
    pub(crate) fn mask(&mut self, text: &str, findings: &[&Finding]) -> String {
        let mut masked = String::with_capacity(text.len());
        let mut end = 0;
        for finding in findings {
            if finding.span.start < end {
                continue;
            }
            masked.push_str(&text[end..finding.span.start]);
            masked.push_str(&self.of(finding));
            end = finding.span.end;
        }
        masked.push_str(&text[end..]);
        masked
    }
}

/// Puts the findings of several scanners into one list without overlaps that covers all that was found: the surer one
/// stays, of equals the longer one, then the earlier one; one that encloses it stays in its place, and of one that
/// overlaps it what it does not cover.
pub(crate) fn merge(mut findings: Vec<Finding>) -> Vec<Finding> {
    findings.sort_by(|left, right| {
        (right.confidence.total_cmp(&left.confidence))
            .then_with(|| right.span.len().cmp(&left.span.len()))
            .then_with(|| left.span.start.cmp(&right.span.start))
            .then_with(|| left.category.cmp(&right.category))
    });
    let mut kept: Vec<Finding> = Vec::with_capacity(findings.len());
    for mut finding in findings {
        // Those that it overlaps; few findings per text are left after the scanners' own choice.
        let first = kept.partition_point(|other| other.span.end <= finding.span.start);
        let end = kept.partition_point(|other| other.span.start < finding.span.end);
        if first == end {
            kept.insert(first, finding);
            continue;
        }
        let (from, to) = (finding.span.start, finding.span.end);
        let encloses = |other: &Finding| from <= other.span.start && other.span.end <= to && other.span != (from..to);
        if kept[first..end].iter().all(encloses) {
            kept.splice(first..end, [finding]);
        } else if end - first == 1 && from < kept[first].span.start && to <= kept[first].span.end {
            finding.span.end = kept[first].span.start;
            kept.insert(first, finding);
        } else if end - first == 1 && kept[first].span.start <= from && kept[first].span.end < to {
            finding.span.start = kept[first].span.end;
            kept.insert(end, finding);
        } else if end - first > 1 {
            // It reaches over several: each keeps its place, and what lies between them goes with the one before.
            for place in first..end {
                let next = if place + 1 < end { kept[place + 1].span.start } else { to.max(kept[place].span.end) };
                kept[place].span.end = next;
            }
            kept[first].span.start = kept[first].span.start.min(from);
        }
    }
    kept
}

/// Whether a list has a finding of this category.
pub(crate) fn has(hits: &[Hit], category: Category) -> bool {
    hits.iter().any(|hit| hit.finding.category == category)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(span: std::ops::Range<usize>, label: &'static str, value: &str, confidence: f32) -> Finding {
        Finding {
            span,
            category: Category::Pii,
            rule: "test",
            label,
            confidence,
            value: value.into(),
            layers: Vec::new(),
        }
    }

    #[test]
    fn every_string_is_seen_and_can_be_replaced_in_its_place() {
        let object: Map<String, Value> =
            serde_json::from_str(r#"{"a": "x", "b": [{"k": "y"}, 12345678, 5, null], "c": {"k": "z"}}"#).expect("JSON");
        let mut seen = Vec::new();
        visit(&object, &mut |slot, text, path| {
            let text = match text {
                Slot::Value(text) => text.to_owned(),
                Slot::Key(key) => format!("<{key}>"),
            };
            seen.push((slot, text, path()));
        });
        let shown: Vec<String> = seen.iter().map(|(slot, text, path)| format!("{slot} {path}={text}")).collect();
        assert_eq!(
            shown,
            [
                "0 a=<a>",
                "1 a=x",
                "2 b=<b>",
                "3 b[0].k=<k>",
                "4 b[0].k=y",
                "5 b[1]=12345678",
                "7 c=<c>",
                "8 c.k=<k>",
                "9 c.k=z"
            ]
        );
        let changed = rewrite(&object, &mut |slot, text| matches!(slot, 4 | 5 | 9).then(|| format!("[{text}]")));
        assert_eq!(
            Value::Object(changed).to_string(),
            r#"{"a":"x","b":[{"k":"[y]"},"[12345678]",5,null],"c":{"k":"[z]"}}"#
        );
        assert_eq!(rewrite(&object, &mut |_, _| None), object);
    }

    #[test]
    fn renamed_members_lose_nothing() {
        let object: Map<String, Value> = serde_json::from_str(r#"{"p": 1, "q": 2, "r": 3}"#).expect("JSON");
        let changed = rewrite(&object, &mut |_, text| matches!(text, "q" | "r").then(|| "p".to_owned()));
        assert_eq!(Value::Object(changed).to_string(), r#"{"p":1,"p 2":2,"p 3":3}"#);
    }

    #[test]
    fn equal_values_have_equal_placeholders() {
        let mut placeholders = Placeholders::default();
        let (first, second) = (finding(3..6, "EMAIL", "a@b", 1.0), finding(11..14, "EMAIL", "c@d", 1.0));
        assert_eq!(placeholders.mask("to a@b and c@d.", &[&first, &second]), "to [EMAIL_1] and [EMAIL_2].");
        assert_eq!(placeholders.mask("c@d", &[&finding(0..3, "EMAIL", "c@d", 1.0)]), "[EMAIL_2]");
        assert_eq!(placeholders.mask("c@d", &[&finding(0..3, "PHONE", "c@d", 1.0)]), "[PHONE_1]");
        assert_eq!(placeholders.counts.values().sum::<usize>(), 3);
    }

    #[test]
    fn merged_findings_do_not_overlap_and_cover_all_that_was_found() {
        let spans = |findings: Vec<Finding>| -> Vec<(&str, std::ops::Range<usize>)> {
            merge(findings).into_iter().map(|finding| (finding.label, finding.span)).collect()
        };
        let (short, long) = (finding(5..8, "B", "", 1.0), finding(0..10, "A", "", 0.5));
        assert_eq!(spans(vec![long.clone(), short.clone()]), [("A", 0..10)], "what encloses stays");
        assert_eq!(spans(vec![finding(0..10, "C", "", 0.9), long.clone()]), [("C", 0..10)], "the surer of equals");
        assert_eq!(spans(vec![finding(8..12, "C", "", 0.4), long.clone()]), [("A", 0..10), ("C", 10..12)]);
        assert_eq!(spans(vec![finding(8..12, "C", "", 0.9), long.clone()]), [("A", 0..8), ("C", 8..12)]);
        let three = vec![finding(0..4, "A", "", 0.9), finding(6..9, "B", "", 0.9), finding(3..8, "C", "", 0.5)];
        assert_eq!(spans(three), [("A", 0..6), ("B", 6..9)]);
        assert_eq!(spans(vec![short, finding(12..14, "D", "", 0.1)]), [("B", 5..8), ("D", 12..14)]);
    }
}
