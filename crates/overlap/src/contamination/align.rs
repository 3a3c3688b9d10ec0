//! A question beside a stretch of text, across words that differ.

use std::ops::Range;

use super::words::is_number;

/// A question beside a stretch of text.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Alignment {
    /// The words of the text from the first to the last that fit.
    pub(crate) text: Range<usize>,
    /// Weight of the question's words that were found.
    pub(crate) weight: f64,
    /// Numbers of the question in whose place another number stands.
    pub(crate) replaced_numbers: usize,
}

/// Follows a question both ways from `length` words that are the same at `offset` of the question and at `at` of the text, until more
/// than `max_misses` words in a row do not fit.
pub(crate) fn align(
    question: &[u64],
    weights: &[f32],
    text: &[u64],
    (offset, at, length): (usize, usize, usize),
    max_misses: usize,
) -> Alignment {
    let mut weight: f64 = weights[offset..offset + length].iter().map(|&weight| f64::from(weight)).sum();
    let mut replaced_numbers = 0;
    let (mut first, mut end) = (at, at + length);

    let (question_after, text_after) = (&question[offset + length..], &text[at + length..]);
    extend(
        (question_after.len(), text_after.len()),
        max_misses,
        |i, j| question_after[i] == text_after[j],
        |step| match step {
            Step::Same(i, j) => {
                weight += f64::from(weights[offset + length + i]);
                end = at + length + j + 1;
            }
            Step::Gap(i, j) => {
                replaced_numbers += replaced(question_after[i].iter().copied(), text_after[j].iter().copied());
            }
        },
    );
    let (question_before, text_before) = (&question[..offset], &text[..at]);
    extend(
        (offset, at),
        max_misses,
        |i, j| question_before[offset - 1 - i] == text_before[at - 1 - j],
        |step| match step {
            Step::Same(i, j) => {
                weight += f64::from(weights[offset - 1 - i]);
                first = at - 1 - j;
            }
            Step::Gap(i, j) => {
                let part = &question_before[offset - i.end..offset - i.start];
                replaced_numbers +=
                    replaced(part.iter().copied(), text_before[at - j.end..at - j.start].iter().copied());
            }
        },
    );
    Alignment { text: first..end, weight, replaced_numbers }
}

enum Step {
    /// The words at these places are the same.
    Same(usize, usize),
    /// These words stand in place of each other.
    Gap(Range<usize>, Range<usize>),
}

/// Follows two rows of words from their beginnings.
fn extend(
    (left, right): (usize, usize),
    max_misses: usize,
    same: impl Fn(usize, usize) -> bool,
    mut step: impl FnMut(Step),
) {
    let (mut i, mut j) = (0, 0);
    while i < left && j < right {
        if same(i, j) {
            step(Step::Same(i, j));
            i += 1;
            j += 1;
            continue;
        }
        let Some((skip_i, skip_j)) = resume((left - i, right - j), max_misses, |a, b| same(i + a, j + b)) else {
            break;
        };
        step(Step::Gap(i..i + skip_i, j..j + skip_j));
        i += skip_i;
        j += skip_j;
    }
    if i < left {
        step(Step::Gap(i..left, j..right.min(j + (left - i))));
    }
}

/// The nearest place where both go on the same for two words (or to the end of one of them).
fn resume(
    (left, right): (usize, usize),
    max_misses: usize,
    same: impl Fn(usize, usize) -> bool,
) -> Option<(usize, usize)> {
    for total in 1..=2 * max_misses {
        let least = total.saturating_sub(max_misses);
        // From the middle outwards: a changed word is likelier than as many left out as put in.
        let middle = total / 2;
        for turn in 0..=total + 1 {
            let skip = if turn % 2 == 0 { middle + turn / 2 } else { middle.wrapping_sub(turn.div_ceil(2)) };
            if skip < least || skip > max_misses.min(total) {
                continue;
            }
            let (a, b) = (skip, total - skip);
            if a < left && b < right && same(a, b) && (a + 1 == left || b + 1 == right || same(a + 1, b + 1)) {
                return Some((a, b));
            }
        }
    }
    None
}

/// How many numbers of one side are missing on the other while other numbers stand there.
fn replaced(question: impl Iterator<Item = u64>, text: impl Iterator<Item = u64>) -> usize {
    let numbers: Vec<u64> = question.filter(|&word| is_number(word)).collect();
    if numbers.is_empty() {
        return 0;
    }
    let there: Vec<u64> = text.filter(|&word| is_number(word)).take(numbers.len() + 32).collect();
    let missing = numbers.iter().filter(|number| !there.contains(number)).count();
    let strange = there.iter().filter(|number| !numbers.contains(number)).count();
    missing.min(strange)
}

#[cfg(test)]
mod tests {
    use super::super::words::Words;
    use super::*;

    /// The share of the question that is found, the text that fits, and the numbers that were replaced.
    fn aligned(question: &str, text: &str, seed: &str) -> (f64, String, usize) {
        let (question, text) = (Words::hashes_of(question), (text, Words::hashes_of(text)));
        let seed = Words::hashes_of(seed);
        let place = |words: &[u64]| words.windows(seed.len()).position(|window| window == seed).expect("the seed");
        let anchor = (place(&question), place(&text.1), seed.len());
        let weights = vec![1.0; question.len()];
        let found = align(&question, &weights, &text.1, anchor, 11);
        let mut words = Words::default();
        words.read(text.0);
        let span = words.span(text.0, found.text.start, found.text.end - 1);
        (found.weight / question.len() as f64, text.0[span].to_owned(), found.replaced_numbers)
    }

    const QUESTION: &str = "a robe takes 2 bolts of blue fiber and half that much white fiber";

    #[test]
    fn a_copy_fits_whole() {
        let (score, span, _) =
            aligned(QUESTION, "So: A robe takes 2 bolts of blue fiber, and half that much white fiber. 3.", "of blue");
        assert_eq!((score, &span[..]), (1.0, "A robe takes 2 bolts of blue fiber, and half that much white fiber"));
    }

    #[test]
    fn a_word_changed_put_in_or_left_out_costs_one_word_at_most() {
        let words: Vec<&str> = QUESTION.split(' ').collect();
        for place in 0..words.len() {
            for change in ["xyz", "", "xyz {}", "{} xyz"] {
                let mut changed: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
                changed[place] = change.replace("{}", words[place]);
                let text = format!("clean words first {} clean words last", changed.join(" "));
                let (score, _, _) =
                    aligned(QUESTION, &text, if place < 7 { "half that much" } else { "bolts of blue" });
                let least = if change.contains("{}") { 14.0 / 14.0 } else { 13.0 / 14.0 };
                assert!(score >= least - 1e-9, "{text}: {score}");
            }
        }
    }

    #[test]
    fn clean_text_ends_it() {
        let (score, span, _) =
            aligned(QUESTION, "she has two bolts of blue cloth from a shop in the town", "bolts of blue");
        assert!(score < 0.3, "{score}");
        assert_eq!(span, "bolts of blue");
    }

    #[test]
    fn other_numbers_are_counted() {
        let other = QUESTION.replace('2', "7");
        assert_eq!(aligned(QUESTION, &other, "bolts of blue").2, 1);
        assert_eq!(aligned(QUESTION, &QUESTION.replace('2', "some"), "bolts of blue").2, 0);
        assert_eq!(aligned(QUESTION, QUESTION, "bolts of blue").2, 0);
    }
}
