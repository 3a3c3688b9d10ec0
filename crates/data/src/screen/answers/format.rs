//! Whether an answer has the form that was asked for.

use serde::de::IgnoredAny;

use super::{Faults, Row, mentions};
use crate::screen::text_facts::sentence_count;

pub(super) fn check(row: &Row<'_>, faults: &mut Faults<'_>) {
    if row.answer.text.trim().is_empty() {
        return;
    }
    json(row, faults);
    list(row, faults);
    length_limit(row, faults);
    let asked = row.asked.as_str();
    if mentions(
        asked,
        &["markdown table", "as a table", "in a table", "in table form", "in tabular form", "table format"],
    ) && row.answer.text.lines().filter(|line| line.contains(['|', '\t', ','])).count() < 2
        && !row.answer.text.contains("<t")
    {
        faults.add("no_table", 0.0, 1.0, 0.6);
    }
    if mentions(
        asked,
        &[
            "answer yes or no",
            "answer with yes or no",
            "reply yes or no",
            "respond with yes or no",
            "(yes/no)",
            "yes or no only",
        ],
    ) {
        let start = row.answer.text.trim_start().to_lowercase();
        if !["yes", "no", "ja", "nein", "oui", "non", "sí", "si"].iter().any(|word| start.starts_with(word)) {
            faults.add("neither_yes_nor_no", 0.0, 1.0, 0.6);
        }
    }
}

/// JSON was asked for: is it there, and can it be read?
fn json(row: &Row<'_>, faults: &mut Faults<'_>) {
    const WANTED: &[&str] = &[
        "in json",
        "as json",
        "json format",
        "valid json",
        "as a json",
        "json object with",
        "json array with",
        "json only",
        "only json",
        "im json-format",
        "als json",
        "en json",
        "respond with json",
        "return json",
        "output json",
        "json output",
        "respond with a json",
        "return a json",
        "output a json",
        "json object containing",
        "into json",
    ];
    let text = row.answer.text.trim();
    if !mentions(&row.asked, WANTED) {
        return;
    }
    // A program that handles JSON was asked for, not JSON.
    let program = mentions(
        &row.asked,
        &[
            "function", "script", "program", "code", "api", "class", "method", "query", "parse", "how do", "how can",
            "how to", "what is", "command",
        ],
    );
    if json_inside(text) {
        return;
    }
    if text.starts_with(['{', '[']) || text.contains("```json") {
        faults.add("json_that_cannot_be_read", 0.0, 1.0, if program { 0.6 } else { 0.2 });
    } else if !program {
        faults.add("no_json", 0.0, 1.0, 0.35);
    }
}

/// Whether an object or list of JSON is in the text: the whole of it, or from one of the first brackets on.
fn json_inside(text: &str) -> bool {
    /// Each attempt may read to the end of the text.
    const ATTEMPTS: usize = 8;
    text.match_indices(['{', '[']).take(ATTEMPTS).any(|(at, _)| {
        let mut values = serde_json::Deserializer::from_str(&text[at..]).into_iter::<IgnoredAny>();
        values.next().is_some_and(|value| value.is_ok()) && values.byte_offset() > 2
    })
}

/// A list was asked for, perhaps with a number of items.
fn list(row: &Row<'_>, faults: &mut Faults<'_>) {
    let answer = &row.answer;
    if answer.is_code {
        return;
    }
    let items = answer.items;
    let commas = answer.text.matches([',', '、', ';', '\n']).count();
    if mentions(&row.asked, &["bullet points", "bulleted list", "bullet list", "bullet-point", "numbered list"])
        && items == 0
        && answer.text.trim().lines().filter(|line| !line.trim().is_empty()).count() < 3
    {
        faults.add("no_list", items as f64, 1.0, 0.5);
        return;
    }
    if let Some(wanted) = wanted_items(&row.asked) {
        if items > 1 && items < wanted {
            let missing = (wanted - items) as f64 / wanted as f64;
            faults.add("too_few_items", items as f64, wanted as f64, 0.85 - 0.5 * missing);
        } else if items == 0 && commas + 1 < wanted && sentence_count(answer.text) < wanted {
            faults.add("too_few_items", (commas + 1) as f64, wanted as f64, 0.7);
        }
    }
}

/// The number in `list five ...`, `give me 10 ...`, `name three ...`.
fn wanted_items(asked: &str) -> Option<usize> {
    const VERBS: &[&str] =
        &["list", "name", "give", "suggest", "generate", "provide", "write", "create", "identify", "propose"];
    const NUMBERS: &[&str] = &["two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"];
    /// What one can have several of in one list; `write 3 paragraphs` or `list 5 is ...` are none.
    const NO_ITEMS: &[&str] = &[
        "word",
        "words",
        "sentence",
        "sentences",
        "paragraph",
        "paragraphs",
        "line",
        "lines",
        "page",
        "pages",
        "x",
        "and",
        "by",
        "is",
        "or",
        "digit",
        "letter",
        "more",
        "column",
        "columns",
    ];
    let mut words = asked.split_whitespace().take(400).peekable();
    while let Some(word) = words.next() {
        let verb = word.trim_matches(|c: char| !c.is_alphanumeric());
        if !VERBS.contains(&verb) {
            continue;
        }
        // `list the top 10`, `give me at least five`
        for _ in 0..4 {
            words.next_if(|next| {
                ["me", "us", "the", "up", "out", "at", "top", "first", "least", "exactly"].contains(next)
            });
        }
        let &number = words.peek()?;
        let count = NUMBERS.iter().position(|&name| name == number).map(|at| at + 2).or_else(|| number.parse().ok());
        if let Some(count @ 2..=50) = count {
            words.next();
            let noun = words.peek().map_or("", |noun| noun.trim_matches(|c: char| !c.is_alphanumeric() && c != '-'));
            return (!noun.is_empty() && !NO_ITEMS.contains(&noun) && !noun.contains('-')).then_some(count);
        }
    }
    None
}

/// At most so many words or sentences were asked for.
fn length_limit(row: &Row<'_>, faults: &mut Faults<'_>) {
    let asked = row.asked.as_str();
    let answer = &row.answer;
    if mentions(asked, &["in one word", "one-word answer", "a single word", "with one word"]) && answer.word_count > 4 {
        faults.add("more_than_one_word", answer.word_count as f64, 1.0, 0.6);
    }
    if mentions(asked, &["in one sentence", "in a single sentence", "a one sentence", "a one-sentence"]) {
        let sentences = sentence_count(answer.text);
        if sentences > 2 {
            faults.add("more_than_one_sentence", sentences as f64, 1.0, 0.6);
        }
    }
    if let Some(limit) = word_limit(asked)
        && answer.word_count as f64 > 1.3 * limit as f64 + 3.0
    {
        let over = answer.word_count as f64 / limit as f64;
        faults.add("more_words_than_allowed", answer.word_count as f64, limit as f64, (1.0 / over).max(0.4));
    }
}

/// The number in `in 50 words or less`, `at most 50 words`, `no more than 50 words`, `under 50 words`.
fn word_limit(asked: &str) -> Option<usize> {
    let words: Vec<&str> = asked.split_whitespace().take(2000).collect();
    words.windows(2).enumerate().find_map(|(at, pair)| {
        if !pair[1].starts_with("words") {
            return None;
        }
        let limit: usize = pair[0].parse().ok()?;
        let before = words[at.saturating_sub(3)..at].join(" ");
        let after = words.get(at + 2..(at + 4).min(words.len())).unwrap_or_default().join(" ");
        let bounded = ["at most", "no more than", "under", "fewer than", "less than", "maximum of", "up to", "within"]
            .iter()
            .any(|phrase| before.ends_with(phrase))
            || ["or less", "or fewer", "at most", "max"].iter().any(|phrase| after.starts_with(phrase));
        (bounded && limit > 0).then_some(limit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_in_texts() {
        assert!(json_inside(r#"Here: {"a": [1, 2]} and more"#));
        assert!(json_inside("```json\n[1, 2]\n```"));
        assert!(!json_inside(r#"{"a": [1, 2}"#));
        assert!(!json_inside("no {} here")); // Two signs are no answer.
        assert!(!json_inside(&"[".repeat(100_000)));
    }

    #[test]
    fn numbers_of_items() {
        assert_eq!(wanted_items("please list five ways to save water."), Some(5));
        assert_eq!(wanted_items("give me the top 10 films"), Some(10));
        assert_eq!(wanted_items("write 3 paragraphs"), None);
        assert_eq!(wanted_items("write a 3-page essay"), None);
        assert_eq!(wanted_items("name"), None);
        assert_eq!(word_limit("sum it up in 50 words or less"), Some(50));
        assert_eq!(word_limit("use no more than 20 words."), Some(20));
        assert_eq!(word_limit("an essay of 500 words"), None);
    }
}
