//! The same properties as Dolma measures them.

use std::collections::HashMap;

use crate::screen::ngrams::Ngrams;

/// Properties of a text as Dolma defines them, from [`attributes`].
///
/// Dolma splits words at blanks only and counts the characters of words, not of the text; so its shares differ from
/// those that [`check`](super::check) measures.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Attributes {
    /// Share of characters in the most frequent run of 2, 3 and 4 words; `None` where the text has fewer words.
    pub top_runs: [Option<f64>; 3],
    /// Share of characters of the runs of 5 to 10 words that occur more than once.
    pub repeated_runs: [Option<f64>; 6],
    /// Characters.
    pub characters: usize,
    /// Words.
    pub words: usize,
    /// Median length of a word.
    pub median_word_length: f64,
    /// Share of words with `#` or `…` in them.
    pub symbols_per_word: f64,
    /// Share of words with a letter in them.
    pub alphabetic_words: f64,
    /// Words out of the eight that hardly any English text goes without.
    pub required_words: usize,
    /// Share of lines that start with `*` or `-`.
    pub bullet_lines: f64,
    /// Share of lines that end with `…`.
    pub ellipsis_lines: f64,
    /// Share of lines that occur more than once, all of their occurrences.
    pub repeated_lines: f64,
    /// Characters in these by characters of words.
    pub repeated_line_characters: f64,
}

/// Measures `text` as Dolma does.
///
/// ```
/// let found = attune_data::screen::documents::attributes("This is a test.");
/// assert_eq!(found.top_runs, [Some(0.5), Some(7.0 / 12.0), Some(1.0)]);
/// ```
pub fn attributes(text: &str) -> Attributes {
    let mut found = Attributes { characters: text.chars().count(), ..Attributes::default() };
    if text.is_empty() {
        return found;
    }
    let words: Vec<&str> = text.split_whitespace().collect();
    let share = |count: usize| count as f64 / words.len().max(1) as f64;
    let mut lengths: Vec<usize> = words.iter().map(|word| word.chars().count()).collect();
    lengths.sort_unstable();
    let middle = lengths.len() / 2;
    found.median_word_length = match lengths.len() {
        0 => 0.0,
        even if even % 2 == 0 => (lengths[middle - 1] + lengths[middle]) as f64 / 2.0,
        _ => lengths[middle] as f64,
    };
    found.words = words.len();
    found.symbols_per_word = share(words.iter().filter(|word| word.contains(['#', '…'])).count());
    found.alphabetic_words = share(words.iter().filter(|word| word.chars().any(char::is_alphabetic)).count());
    found.required_words =
        words.iter().filter(|word| ["the", "be", "to", "of", "and", "that", "have", "with"].contains(word)).count();

    let mut ngrams = Ngrams::new(words.iter().copied());
    let characters = ngrams.characters().max(1) as f64;
    for top in &mut found.top_runs {
        ngrams.grow();
        *top = ngrams.top().map(|(count, size)| (count * size) as f64 / characters);
    }
    for repeated in &mut found.repeated_runs {
        ngrams.grow();
        let (shared, all) = ngrams.shared_characters();
        *repeated = (ngrams.len() > 0).then(|| shared as f64 / all.max(1) as f64);
    }

    let mut counts: HashMap<&str, usize> = HashMap::new();
    let (mut lines, mut bullets, mut ellipses) = (0usize, 0usize, 0usize);
    for line in text.split('\n') {
        lines += 1;
        bullets += usize::from(line.starts_with(['*', '-']));
        ellipses += usize::from(line.ends_with('…'));
        *counts.entry(line).or_default() += 1;
    }
    let by_line = |count: usize| count as f64 / lines as f64;
    found.bullet_lines = by_line(bullets);
    found.ellipsis_lines = by_line(ellipses);
    let repeated = || counts.iter().filter(|&(_, &count)| count > 1);
    found.repeated_lines = by_line(repeated().map(|(_, &count)| count).sum());
    let in_lines: usize = repeated().map(|(line, &count)| line.chars().count() * count).sum();
    found.repeated_line_characters = in_lines as f64 / characters;
    found
}
