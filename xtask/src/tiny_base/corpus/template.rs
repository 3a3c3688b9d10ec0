//! Templates: who is in a text, its sentences, and questions with the answers that follow from who is in it.
//!
//! ```text
//! == lost-and-found
//! hero: person
//! thing: thing small colour
//! place: place out
//! --
//! {hero} lost {hero.his} {thing} {place.at}.
//! ?rain It rained all day.
//! Q: What did {hero} lose? || {hero} lost {hero.his} {thing}. || {hero.his} {thing}
//! Q rain: How was the weather? || It rained. || rainy
//! N: How old is {hero}?
//! ```
//!
//! A line that begins with `?` is there in half of the texts, with `?name` it can be asked about: `Q name:` has that
//! answer if the line is there, and else the answer that the text does not say. `?!name` is there where the other is not.
//! `/` in front of a line begins a new line of the text. `N:` is a question that no text answers.

use anyhow::{Context, Result, bail, ensure};

use super::cast::{Cast, Slot};
use super::grammar::polish;
use super::pattern::{Macros, Pattern};
use super::random::{Random, hash};

/// What is answered where the text has no answer.
pub(crate) const NOT_SAID: &str = "The text does not say.";

/// Stands for the short answer where there is no shorter one.
const NO_SHORTER: &str = "-";

/// One text in so many is held out.
const HELD_OUT_ONE_IN: u64 = 16;

/// Which of the texts: those to train on, or those that nothing is trained on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Train,
    HeldOut,
}

impl Part {
    /// Whether what has this key belongs to the part; by a hash, so that no key is in both.
    pub(crate) fn has(self, key: &str) -> bool {
        (hash(key).is_multiple_of(HELD_OUT_ONE_IN)) == (self == Self::HeldOut)
    }
}

/// A template.
#[derive(Debug)]
pub(crate) struct Template {
    pub(crate) name: &'static str,
    slots: Vec<Slot>,
    lines: Vec<Line>,
    questions: Vec<Question>,
}

#[derive(Debug)]
struct Line {
    when: When,
    new_line: bool,
    pattern: Pattern,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    Always,
    Sometimes,
    With(&'static str),
    Without(&'static str),
}

#[derive(Debug)]
struct Question {
    when: When,
    ask: Pattern,
    /// The answer in a sentence and in short; `None` if no text answers it.
    answer: Option<(Pattern, Pattern)>,
}

/// A text with its questions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) text: String,
    pub(crate) questions: Vec<Asked>,
    /// What it is about, for requests such as `a story about ...`: people, things, animals, foods and places among its
    /// first three slots.
    pub(crate) about: Vec<String>,
    /// The word that it is about: the noun of its first slot.
    pub(crate) word: String,
}

/// A question with its answer, in a sentence and in short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) ask: String,
    pub(crate) full: String,
    pub(crate) short: String,
}

impl Template {
    /// A text of that part; of no part where the parts are told apart by something else.
    ///
    /// # Errors
    /// If a slot cannot be filled.
    pub(crate) fn tell(&self, macros: &Macros, part: Option<Part>, random: &mut Random) -> Result<Told> {
        let cast = self.cast(part, random)?;
        let names: Vec<&str> = self.lines.iter().filter_map(|line| line.when.name()).collect();
        let there: Vec<&str> = names.into_iter().filter(|_| random.chance(50)).collect();
        let mut text = String::new();
        for line in &self.lines {
            let is_there = match line.when {
                When::Always => true,
                When::Sometimes => random.chance(50),
                When::With(name) => there.contains(&name),
                When::Without(name) => !there.contains(&name),
            };
            if is_there {
                text.push(if line.new_line { '\n' } else { ' ' });
                text.push_str(&line.pattern.expand(macros, &cast, random));
            }
        }
        let mut questions = Vec::new();
        for question in &self.questions {
            let known = match question.when {
                When::With(name) => there.contains(&name),
                When::Without(name) if there.contains(&name) => continue,
                _ => true,
            };
            let mut say = |pattern: &Pattern| polish(&pattern.expand(macros, &cast, random));
            let ask = say(&question.ask);
            questions.push(match &question.answer {
                Some((full, short)) if known => {
                    let full = say(full);
                    let short = Some(say(short)).filter(|short| short != NO_SHORTER).map_or(full.clone(), ended);
                    Asked { ask, full, short }
                }
                _ => Asked { ask, full: NOT_SAID.into(), short: NOT_SAID.into() },
            });
        }
        let about = self.slots.iter().take(3).filter_map(|slot| cast.topic(slot)).collect();
        let word = self.slots.first().map(|slot| cast.word(slot)).unwrap_or_default();
        Ok(Told { text: polish(&text), questions, about, word })
    }

    fn cast(&self, part: Option<Part>, random: &mut Random) -> Result<Cast> {
        for _ in 0..10_000 {
            let cast = Cast::draw(&self.slots, random).with_context(|| format!("template {:?}", self.name))?;
            if part.is_none_or(|part| part.has(&format!("{}/{}", self.name, cast.key(3)))) {
                return Ok(cast);
            }
        }
        bail!("template {:?}: no cast belongs to {part:?}; it needs slots with more values", self.name)
    }
}

impl When {
    fn name(self) -> Option<&'static str> {
        match self {
            Self::With(name) => Some(name),
            _ => None,
        }
    }
}

fn ended(text: String) -> String {
    if text.ends_with(['.', '!', '?', '"']) { text } else { text + "." }
}

/// The templates of a text.
///
/// # Errors
/// If a line says nothing that a template has.
pub(crate) fn templates(text: &'static str) -> Result<Vec<Template>> {
    let mut found: Vec<Template> = Vec::new();
    let mut in_head = false;
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(name) = line.strip_prefix("== ") {
            found.push(Template { name, slots: Vec::new(), lines: Vec::new(), questions: Vec::new() });
            in_head = true;
            continue;
        }
        let template = found.last_mut().context("the first line is no `== name`")?;
        if line == "--" {
            in_head = false;
        } else {
            let place = || format!("template {:?}, line {}", template.name, number + 1);
            if in_head {
                let slot = Slot::parse(line).with_context(place)?;
                template.slots.push(slot);
            } else if let Some(question) = question(line).with_context(place)? {
                template.questions.push(question);
            } else {
                let line = self::line(line).with_context(place)?;
                template.lines.push(line);
            }
        }
    }
    Ok(found)
}

fn line(text: &'static str) -> Result<Line> {
    let (when, rest) = match text.strip_prefix('?') {
        None => (When::Always, text),
        Some(rest) => {
            let (name, rest) = rest.split_once(' ').context("`?` without a sentence")?;
            let when = match name.strip_prefix('!') {
                Some(name) => When::Without(name),
                None if name.is_empty() => When::Sometimes,
                None => When::With(name),
            };
            (when, rest)
        }
    };
    let (new_line, rest) = rest.strip_prefix("/ ").map_or((false, rest), |rest| (true, rest));
    Ok(Line { when, new_line, pattern: Pattern::parse(rest)? })
}

fn question(line: &'static str) -> Result<Option<Question>> {
    let Some((head, rest)) = line.split_once(": ").filter(|(head, _)| *head == "N" || head.starts_with('Q')) else {
        return Ok(None);
    };
    if head == "N" {
        return Ok(Some(Question { when: When::Always, ask: Pattern::parse(rest)?, answer: None }));
    }
    let when = match head[1..].trim() {
        "" => When::Always,
        name => name.strip_prefix('!').map_or(When::With(name), When::Without),
    };
    let fields: Vec<&'static str> = rest.split(" || ").collect();
    ensure!(
        fields.len() == 3,
        "a question has the question, a sentence and a short answer, not {} fields",
        fields.len()
    );
    let answer = Some((Pattern::parse(fields[1])?, Pattern::parse(fields[2])?));
    Ok(Some(Question { when, ask: Pattern::parse(fields[0])?, answer }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tiny_base::corpus::pattern::macros;

    const TEXT: &str = "== a\nhero: person\nthing: thing colour\n--\n{hero} lost a {thing}.\n?rain It rained.\n\
                        Q: Who? || {hero} did. || {hero}\nQ rain: Did it rain? || Yes, it did. || yes\nN: Why?";

    #[test]
    fn what_is_not_there_is_not_said() {
        let template = &templates(TEXT).unwrap()[0];
        let (mut with, mut without) = (0, 0);
        for seed in 0..100 {
            let told = template.tell(&macros("").unwrap(), Some(Part::Train), &mut Random::new(seed)).unwrap();
            let rained = told.text.contains("It rained.");
            assert_eq!(told.questions[1].short, if rained { "Yes." } else { NOT_SAID });
            assert_eq!(told.questions[2].full, NOT_SAID);
            assert!(told.text.starts_with(told.questions[0].short.trim_end_matches('.')));
            *(if rained { &mut with } else { &mut without }) += 1;
        }
        assert!(with > 20 && without > 20, "{with} {without}");
    }

    #[test]
    fn wrong_lines_are_refused() {
        for wrong in ["hero: person", "== a\nhero\n--", "== a\n--\nQ: a || b", "== a\n--\n?x", "== a\n--\n[x"] {
            assert!(templates(wrong).is_err(), "{wrong}");
        }
    }
}
