//! All templates, read once.

use anyhow::{Context, Result};

use super::echoes;
use super::pattern::{Macros, macros};
use super::template::{Template, templates};

/// What texts are made from.
#[derive(Debug)]
pub(crate) struct Book {
    pub(crate) macros: Macros,
    pub(crate) stories: Vec<Template>,
    pub(crate) passages: Vec<Template>,
    pub(crate) talk: Vec<Template>,
    pub(crate) sentences: Vec<Template>,
    pub(crate) lost_property: Vec<Template>,
    /// Every word of the stories, in alphabetical order.
    pub(crate) words: Vec<String>,
}

impl Book {
    /// # Errors
    /// If a template says what cannot be read.
    pub(crate) fn open() -> Result<Self> {
        let all = |texts: &[(&str, &'static str)]| -> Result<Vec<Template>> {
            let mut found = Vec::new();
            for (name, text) in texts {
                found.extend(templates(text).with_context(|| format!("{name}.txt"))?);
            }
            Ok(found)
        };
        let mut book = Self {
            macros: macros(include_str!("texts/macros.txt")).context("macros.txt")?,
            stories: all(&[
                ("stories_1", include_str!("texts/stories_1.txt")),
                ("stories_2", include_str!("texts/stories_2.txt")),
                ("stories_3", include_str!("texts/stories_3.txt")),
                ("stories_4", include_str!("texts/stories_4.txt")),
            ])?,
            passages: all(&[
                ("passages_1", include_str!("texts/passages_1.txt")),
                ("passages_2", include_str!("texts/passages_2.txt")),
            ])?,
            talk: all(&[("talk", include_str!("texts/talk.txt"))])?,
            lost_property: all(&[("lost_property", include_str!("texts/lost_property.txt"))])?,
            sentences: all(&[("sentences", include_str!("texts/sentences.txt"))])?,
            words: Vec::new(),
        };
        book.words = echoes::vocabulary(&book)?;
        Ok(book)
    }
}
