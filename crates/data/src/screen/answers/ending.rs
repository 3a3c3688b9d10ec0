//! Whether an answer stops in the middle.

use super::{
    Faults, Row,
    shape::{Shape, is_item},
};

/// Words that no sentence ends with unless it has a mark at its end.
const LINKS: &[&str] = &[
    "the", "a", "an", "and", "or", "of", "to", "in", "for", "with", "by", "from", "that", "which", "is", "are", "was",
    "were", "be", "as", "at", "on", "but", "if", "because", "their", "his", "its", "your", "our", "my", "than", "will",
    "can", "should", "would", "into", "such", "these", "this", "when", "while", "who", "der", "die", "das", "und",
    "oder", "ein", "eine", "zu", "mit", "von", "für", "ist", "dass", "den", "dem", "le", "la", "les", "un", "une",
    "et", "ou", "de", "des", "du", "que", "qui", "pour", "dans", "avec", "el", "los", "las", "una", "y", "con", "por",
    "para", "en", "e", "o", "il", "lo", "di", "che", "per", "em", "um", "uma", "os", "и", "в", "на", "что", "с", "не",
];

pub(super) fn check(row: &Row<'_>, faults: &mut Faults<'_>) {
    let answer = &row.answer;
    let text = answer.text.trim_end();
    if text.is_empty() {
        return;
    }
    if answer.fences % 2 == 1 {
        faults.add("unclosed_code_block", answer.fences as f64, 0.0, 0.25);
        return;
    }
    let last_line = text.lines().next_back().unwrap_or_default().trim();
    let closed_block = text.ends_with("```") || last_line.starts_with("~~~");
    let open = unclosed_brackets(text);
    if open > 0 && !closed_block {
        let factor = if answer.is_code || text.starts_with(['{', '[']) { 0.3 } else { 0.5 };
        faults.add("unclosed_brackets", open as f64, 0.0, factor);
    }
    if closed_block {
        return;
    }
    if answer.is_code {
        if text.ends_with(['(', ',', '=', '+', '[', '\\'])
            || ["def", "return", "if", "else", "for", "import", "FROM", "WHERE", "AND"]
                .iter()
                .any(|word| last_word(text) == *word && !text.ends_with(':'))
        {
            faults.add("code_cut_off", 1.0, 0.0, 0.4);
        }
        return;
    }
    if text.starts_with([',', ';', ')', ']', '}']) {
        faults.add("starts_in_the_middle", 1.0, 0.0, 0.6);
    }
    if stops_in_the_middle(text) && answer.word_count > 3 {
        faults.add("ends_in_mid_sentence", 1.0, 0.0, 0.2);
        return;
    }
    let end = text.trim_end_matches(is_closing).chars().next_back().unwrap_or(' ');
    if end == ':' && answer.word_count > 3 {
        faults.add("ends_with_colon", 1.0, 0.0, 0.35);
    } else if (text.ends_with("...") || text.ends_with('…')) && answer.word_count > 8 {
        faults.add("ends_with_ellipsis", 1.0, 0.0, 0.8);
    } else if end.is_alphanumeric() && !text.ends_with(is_closing) {
        without_mark(answer, text, last_line, end, faults);
    }
}

/// The last sentence has no mark at its end: a fault where the other sentences have one.
fn without_mark(answer: &Shape<'_>, text: &str, last_line: &str, end: char, faults: &mut Faults<'_>) {
    const RULE: &str = "last_sentence_without_mark";
    let fragment = last_line.rfind(['.', '!', '?', '。', '！', '？', ':']).map_or(last_line, |at| &last_line[at..]);
    let fragment_words = fragment.split_whitespace().filter(|word| word.contains(char::is_alphanumeric)).count();
    // How the other lines end says whether this one lacks something.
    let (mut lines, mut marked, mut item_lines, mut items_marked) = (0, 0, 0, 0);
    for line in text.lines().rev().skip(1) {
        let line = line.trim().trim_end_matches(is_closing);
        if line.is_empty() {
            continue;
        }
        let has_mark = line.ends_with(['.', '!', '?', '。', '！', '？', '।', '؟', ':']);
        lines += 1;
        marked += usize::from(has_mark);
        if is_item(line) {
            item_lines += 1;
            items_marked += usize::from(has_mark);
        }
    }
    let ended = has_ended_sentence(text);
    if is_item(last_line) {
        if item_lines >= 1 && items_marked * 2 > item_lines && fragment_words >= 3 {
            faults.add(RULE, fragment_words as f64, 2.0, 0.45);
        } else if item_lines == 0 && answer.word_count > 30 {
            faults.add(RULE, fragment_words as f64, 2.0, 0.6);
        }
    } else if lines >= 3 && marked * 5 < lines * 2 {
        // A poem, a table, an address.
        faults.add(RULE, fragment_words as f64, 2.0, 0.9);
    } else if ended {
        // A name under a letter, a number as the result.
        if fragment_words >= 4 || (fragment_words == 3 && !end.is_numeric()) {
            faults.add(RULE, fragment_words as f64, 3.0, 0.35);
        } else if fragment_words >= 1 && !end.is_numeric() && fragment != last_line {
            faults.add(RULE, fragment_words as f64, 3.0, 0.5);
        }
    } else if answer.word_count > 12 {
        let factor = if answer.word_count > 40 { 0.45 } else { 0.7 };
        faults.add(RULE, answer.word_count as f64, 12.0, factor);
    }
}

/// Whether some sentence of the text has its mark.
fn has_ended_sentence(text: &str) -> bool {
    for (words_before, word) in text.split_whitespace().enumerate() {
        let bare = word.trim_end_matches(is_closing);
        if bare.ends_with(['。', '！', '？']) || (words_before >= 3 && bare.ends_with(['.', '!', '?', '।', '؟']))
        {
            return true;
        }
    }
    text.contains(['。', '！', '？'])
}

/// Whether the text ends with a comma, a hyphen or a word that needs another one behind it.
pub(super) fn stops_in_the_middle(text: &str) -> bool {
    let text = text.trim_end();
    if text.ends_with([',', '，', '、', '(', '[', '&']) {
        return true;
    }
    if text.ends_with(['-', '–', '—']) {
        return text.trim_end_matches(['-', '–', '—']).ends_with(char::is_alphanumeric);
    }
    let word = last_word(text);
    // A capital letter alone is a choice or a name, `DE` a state.
    let lower = word.chars().next().is_some_and(char::is_lowercase);
    lower && text.len() > word.len() && LINKS.contains(&word)
}

/// The letters at the end of the text, if it ends with letters.
fn last_word(text: &str) -> &str {
    let start = text
        .char_indices()
        .rev()
        .take(24)
        .take_while(|&(_, c)| c.is_alphabetic())
        .last()
        .map_or(text.len(), |(at, _)| at);
    &text[start..]
}

fn is_closing(c: char) -> bool {
    matches!(c, '"' | '\'' | ')' | ']' | '}' | '”' | '’' | '»' | '*' | '_' | '`' | '>' | '|' | '$')
}

/// Brackets that are open at the end of the text.
fn unclosed_brackets(text: &str) -> usize {
    let mut open: Vec<char> = Vec::new();
    let mut last = ' ';
    for c in text.chars() {
        match c {
            _ if last == '\\' => {}
            // `:(` and `:-(` are faces.
            '(' if matches!(last, ':' | ';') => {}
            '(' | '[' | '{' | '（' | '【' => open.push(c),
            // [0, 1) is an interval.
            ')' | ']' if matches!(open.last(), Some('(' | '[')) => {
                open.pop();
            }
            '}' if open.last() == Some(&'{') => {
                open.pop();
            }
            '）' if open.last() == Some(&'（') => {
                open.pop();
            }
            '】' if open.last() == Some(&'【') => {
                open.pop();
            }
            // One that does not fit closes the nearest that it could, if that is near.
            ')' | ']' | '}' => {
                let near = open.len().saturating_sub(3);
                let fits = |&before: &char| (c == '}') == (before == '{');
                if let Some(at) = open[near..].iter().rposition(fits) {
                    open.truncate(near + at);
                }
            }
            _ => {}
        }
        last = if last == '\\' { ' ' } else { c };
    }
    open.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets() {
        for (text, open) in [
            ("f(a[1], {b}) [0, 1) :( a) b)", 0),
            ("f(a, b", 1),
            ("{\"a\": [1, 2", 2),
            ("re.match(r'\\(', x)", 0),
            ("（你好）（", 1),
            (")]}", 0),
            ("{ ( }", 0),
        ] {
            assert_eq!(unclosed_brackets(text), open, "{text}");
        }
    }

    #[test]
    fn middles() {
        for text in ["It is made of", "First, the sky-", "one, two,", "Er ging in die", "(see ["] {
            assert!(stops_in_the_middle(text), "{text}");
        }
        for text in ["It is done.", "Option A", "the", "Wilmington, DE", "done -", "42", ""] {
            assert!(!stops_in_the_middle(text), "{text}");
        }
    }
}
