//! Answers caught in a loop.

use super::{Faults, Row, ramp};
use crate::screen::{ngrams::Ngrams, text_facts::compress_ratio};

/// Longest phrase, in words and signs, that a loop is looked for with.
const LONGEST_PERIOD: usize = 64;

/// Words and signs at the head and at the end of an answer that loops are looked for in.
const LOOPS_WITHIN: usize = 1 << 16;

pub(super) fn check(row: &Row<'_>, faults: &mut Faults<'_>) {
    let text = row.answer.text;
    let tokens = row.answer.tokens.len();
    let (length, sign) = longest_run(text);
    let limit = if sign.is_alphabetic() || matches!(sign, '!' | '?') { 8 } else { 60 };
    if length > limit {
        let share = length as f64 / text.len().max(1) as f64;
        faults.add("run_of_one_character", length as f64, limit as f64, 0.6 - 0.5 * ramp(share, 0.05, 0.5));
    }
    // Below this, what is repeated is the way people write.
    if tokens < 8 {
        return;
    }
    let mut ngrams = Ngrams::new(row.answer.tokens.iter().map(|token| token.text));
    let numbers = ngrams.words();
    let (share, at_end) = match numbers.len().checked_sub(LOOPS_WITHIN) {
        Some(start) => {
            let (head, tail) = (looped(&numbers[..LOOPS_WITHIN]), looped(&numbers[start..]));
            (head.0.max(tail.0), tail.1)
        }
        None => looped(numbers),
    };
    // Tables of zeros and the like are in order in code; a text that stops within its loop never is.
    let from = match (row.answer.is_code, at_end) {
        (true, _) => 0.5,
        (false, true) => 0.1,
        (false, false) => 0.2,
    };
    if share > from {
        faults.add("looped_words", share, from, 0.5 - 0.45 * ramp(share, from, from + 0.4));
    }
    if tokens < 30 {
        return;
    }
    while ngrams.n() < 6 {
        ngrams.grow();
    }
    let repeated = ngrams.repeated_characters() as f64 / ngrams.characters().max(1) as f64;
    let limit = if row.answer.is_code { 0.5 } else { 0.2 };
    if repeated > limit {
        faults.add("repeated_runs_of_words", repeated, limit, 1.0 - 0.9 * ramp(repeated, limit, limit + 0.4));
    }
    if text.len() > 1000 {
        let ratio = compress_ratio(text);
        if ratio < 0.2 {
            faults.add("compressible", ratio, 0.2, 0.3 + 0.7 * ramp(ratio, 0.08, 0.2));
        }
    }
}

/// Longest run of one character that is no blank and no part of a ruled line or table.
fn longest_run(text: &str) -> (usize, char) {
    let mut best = (0, ' ');
    let (mut run, mut last) = (0, '\0');
    for c in text.chars() {
        run = if c == last { run + 1 } else { 1 };
        last = c;
        if run > best.0
            && !c.is_whitespace()
            && !matches!(c, '-' | '=' | '_' | '*' | '#' | '~' | '.' | '|' | '+' | '─' | '═')
        {
            best = (run, c);
        }
    }
    best
}

/// The share of places in the longest stretch where a phrase comes three times in a row or more, and whether the text
/// ends within that stretch.
///
/// A phrase of `p` words is looped as far as each word equals the one `p` places before. The work is
/// [`LONGEST_PERIOD`] comparisons of numbers for each word.
fn looped(words: &[u32]) -> (f64, bool) {
    let mut best = 0;
    let mut best_end = 0;
    for period in 1..=LONGEST_PERIOD.min(words.len() / 3) {
        let mut run = 0;
        for at in period..words.len() {
            run = if words[at] == words[at - period] { run + 1 } else { 0 };
            // `-` thrice is a ruled line; a single word needs more repetitions than a phrase.
            if run >= 2 * period && run + period >= 6 && run + period > best {
                best = run + period;
                best_end = at + 1;
            }
        }
    }
    (best as f64 / words.len().max(1) as f64, best > 0 && best_end + 1 >= words.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loops() {
        assert_eq!(looped(&[1, 2, 3, 4, 5, 6, 7, 8]), (0.0, false));
        assert_eq!(looped(&[9, 1, 2, 1, 2, 1, 2, 8, 7, 6]), (0.6, false));
        assert_eq!(looped(&[9, 8, 1, 1, 1, 1, 1, 1]), (0.75, true));
        assert_eq!(looped(&[]), (0.0, false));
    }
}
