//! Words in no order, said twice.
//!
//! A model of a few million weights that sees texts alone does not find out that what was said before may come again: in our
//! trials none did within seven million tokens (LOG.md). Rows in which nothing else can be learnt teach it.

use std::collections::BTreeSet;

use anyhow::Result;
use serde_json::{Value, json};

use super::book::Book;
use super::random::Random;
use super::template::Part;

/// The fewest and most words that are said twice.
const LENGTHS: (usize, usize) = (2, 24);
/// Stories whose words are used.
const STORIES: u64 = 4000;

/// A row: what was said is the completion, so that only its repetition can be trained.
pub(crate) fn row(words: &[String], random: &mut Random) -> Value {
    let length = random.between(LENGTHS.0, LENGTHS.1);
    let said: Vec<&str> = (0..length).map(|_| random.pick(words).as_str()).collect();
    let said = said.join(" ");
    json!({ "prompt": said, "completion": format!(" {said}") })
}

/// The words of the stories, each once, in alphabetical order.
pub(crate) fn vocabulary(book: &Book) -> Result<Vec<String>> {
    let mut words = BTreeSet::new();
    for number in 0..STORIES {
        let mut random = Random::of(1, "vocabulary", number);
        let told = random.pick(&book.stories).tell(&book.macros, Some(Part::Train), &mut random)?;
        let split = told.text.split(|c: char| !c.is_ascii_alphabetic()).filter(|word| !word.is_empty());
        words.extend(split.map(str::to_owned));
    }
    Ok(words.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_said_twice() {
        let words = vocabulary(&Book::open().unwrap()).unwrap();
        assert!((1500..2500).contains(&words.len()), "{}", words.len());
        let mut random = Random::new(1);
        for _ in 0..500 {
            let row = row(&words, &mut random);
            let (prompt, completion) = (row["prompt"].as_str().unwrap(), row["completion"].as_str().unwrap());
            assert_eq!(completion.strip_prefix(' '), Some(prompt));
            assert!((LENGTHS.0..=LENGTHS.1).contains(&prompt.split(' ').count()), "{prompt}");
        }
    }
}
