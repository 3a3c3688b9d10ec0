//! Screens for what is in the texts: how good and how repetitive.
//!
//! Everything here is a function of texts and knows nothing of files. Documents (web pages, manuals) and rows of
//! questions and answers are judged by different rules: the rules for documents throw away nearly every row of
//! questions and answers, because these are short and full of code and lists.
//!
//! - [`documents`]: the rules of Gopher, C4 and FineWeb for documents.
//! - [`answers`]: a score for a question with its answer, and the best share of each group of rows.
//! - [`poison`]: a gate against rows that look planted.
//! - [`preference`]: whether answers give themselves away, labels that contradict each other.
//! - [`language`]: the language of a text.
//! - [`text_facts`]: words, sentences and how well a text can be compressed.
//!
//! Nothing is random and nothing depends on the number of threads: the same texts give the same numbers.

pub mod answers;
pub mod documents;
pub mod language;
mod ngrams;
mod phrases;
pub mod poison;
pub mod preference;
pub mod text_facts;

/// Mixes a value into a 64-bit hash; the same on every machine.
fn mix(hash: u64, value: u64) -> u64 {
    let mut mixed = (hash ^ value).wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Hashes a text.
fn hash_text(text: &str) -> u64 {
    let mut hash = mix(0, text.len() as u64);
    for chunk in text.as_bytes().chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        hash = mix(hash, u64::from_le_bytes(word));
    }
    hash
}

/// The words of a text in lower case without the punctuation around them. What consists of punctuation alone stays as
/// it is: an odd sign can be a trigger.
fn words(text: &str, limit: usize) -> Vec<String> {
    text.split_whitespace()
        .take(limit)
        .map(|word| {
            let bare = word.trim_matches(|sign: char| !sign.is_alphanumeric());
            shortened(if bare.is_empty() { word } else { bare }, 64).to_lowercase()
        })
        .collect()
}

/// The first characters of a text.
fn shortened(text: &str, characters: usize) -> &str {
    text.char_indices().nth(characters).map_or(text, |(end, _)| &text[..end])
}
