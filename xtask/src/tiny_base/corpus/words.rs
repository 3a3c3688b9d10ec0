//! The vocabulary: tables of words, read once from the texts beside this file.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use super::grammar::plural;

/// A thing, an animal or a food.
#[derive(Debug)]
pub(crate) struct Noun {
    pub(crate) noun: &'static str,
    /// `None` where it is not counted: bread.
    pub(crate) plural: Option<String>,
    pub(crate) tags: Vec<&'static str>,
    pub(crate) adjectives: Vec<&'static str>,
    /// What an animal says; empty if that is no matter.
    pub(crate) says: &'static str,
    /// What its young is called; empty as above.
    pub(crate) young: &'static str,
}

/// A given name.
#[derive(Debug)]
pub(crate) struct Name {
    pub(crate) name: &'static str,
    /// Whether it goes with `she`; `None` for names of either.
    pub(crate) she: Option<bool>,
}

/// A place.
#[derive(Debug)]
pub(crate) struct Place {
    /// Where one is: `at the lake`.
    pub(crate) at: &'static str,
    /// The place itself: `the lake`.
    pub(crate) place: &'static str,
    pub(crate) tags: Vec<&'static str>,
}

/// All words there are.
#[derive(Debug)]
pub(crate) struct Words {
    pub(crate) names: Vec<Name>,
    pub(crate) pets: Vec<&'static str>,
    pub(crate) things: Vec<Noun>,
    pub(crate) animals: Vec<Noun>,
    pub(crate) foods: Vec<Noun>,
    pub(crate) places: Vec<Place>,
    /// Simple lists by name.
    pub(crate) lists: BTreeMap<&'static str, Vec<&'static str>>,
    /// Lists of pairs by name: `hot` and `cold` of `opposite`.
    pub(crate) pairs: BTreeMap<&'static str, Vec<(&'static str, &'static str)>>,
}

impl Words {
    /// The list of that name.
    pub(crate) fn list(&self, name: &str) -> &[&'static str] {
        self.lists.get(name).unwrap_or_else(|| panic!("no list of words is called {name:?}"))
    }

    /// The pairs of that name.
    pub(crate) fn pairs(&self, name: &str) -> &[(&'static str, &'static str)] {
        self.pairs.get(name).unwrap_or_else(|| panic!("no list of pairs is called {name:?}"))
    }
}

/// The vocabulary.
pub(crate) fn words() -> &'static Words {
    static WORDS: OnceLock<Words> = OnceLock::new();
    WORDS.get_or_init(|| {
        let names = entries(include_str!("texts/names.txt"));
        let lists = sections(include_str!("texts/lists.txt"));
        let pairs = sections(include_str!("texts/pairs.txt"));
        let pair = |item: &'static str| item.split_once(':').unwrap_or_else(|| panic!("{item:?} is no pair"));
        Words {
            pets: rest_of_line(&names, "pets"),
            names: [("she", Some(true)), ("he", Some(false)), ("any", None)]
                .into_iter()
                .flat_map(|(key, she)| rest_of_line(&names, key).into_iter().map(move |name| Name { name, she }))
                .collect(),
            things: entries(include_str!("texts/things.txt")).into_iter().map(noun).collect(),
            animals: entries(include_str!("texts/animals.txt")).into_iter().map(noun).collect(),
            foods: entries(include_str!("texts/foods.txt")).into_iter().map(noun).collect(),
            places: entries(include_str!("texts/places.txt")).into_iter().map(place).collect(),
            pairs: pairs.into_iter().map(|(name, items)| (name, items.into_iter().map(pair).collect())).collect(),
            lists,
        }
    })
}

/// Lines that say something.
fn entries(text: &'static str) -> Vec<&'static str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
}

fn rest_of_line(lines: &[&'static str], key: &str) -> Vec<&'static str> {
    let starts = |line: &&'static str| line.split(' ').next() == Some(key);
    let line = lines.iter().copied().find(starts).unwrap_or_else(|| panic!("names.txt has no line {key:?}"));
    line.split(' ').skip(1).collect()
}

fn sections(text: &'static str) -> BTreeMap<&'static str, Vec<&'static str>> {
    let mut found: BTreeMap<&'static str, Vec<&'static str>> = BTreeMap::new();
    let mut name = "";
    for line in entries(text) {
        match line.strip_prefix("= ") {
            Some(next) => name = next,
            None => found.entry(name).or_default().extend(line.split(", ").map(str::trim)),
        }
    }
    found
}

fn noun(line: &'static str) -> Noun {
    let fields: Vec<&'static str> = line.split('|').map(str::trim).collect();
    assert!(fields.len() >= 4, "{line:?} has {} fields", fields.len());
    let plural = match fields[1] {
        "" => Some(plural(fields[0])),
        "-" => None,
        irregular => Some(irregular.to_owned()),
    };
    Noun {
        noun: fields[0],
        plural,
        tags: fields[2].split_ascii_whitespace().collect(),
        adjectives: fields[3].split(", ").filter(|word| !word.is_empty()).collect(),
        says: fields.get(4).copied().unwrap_or_default(),
        young: fields.get(5).copied().unwrap_or_default(),
    }
}

fn place(line: &'static str) -> Place {
    let fields: Vec<&'static str> = line.split('|').map(str::trim).collect();
    assert!(fields.len() == 3, "{line:?} has {} fields", fields.len());
    Place { at: fields[0], place: fields[1], tags: fields[2].split_ascii_whitespace().collect() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn there_are_enough_words_and_none_comes_twice() {
        let words = words();
        let counts =
            [words.names.len(), words.things.len(), words.animals.len(), words.places.len(), words.foods.len()];
        let least = [150, 150, 80, 60, 60];
        assert!(counts.iter().zip(least).all(|(&count, least)| count >= least), "{counts:?}");
        fn twice<'a>(items: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
            let mut seen = BTreeSet::new();
            items.filter(|item| !seen.insert(*item)).collect()
        }
        assert_eq!(twice(words.names.iter().map(|name| name.name)), [""; 0]);
        let nouns = words.things.iter().chain(&words.animals).chain(&words.foods).map(|noun| noun.noun);
        // A bat, a bird's name and a fruit's colour may share a word; within one table none may.
        assert!(twice(nouns).len() <= 2);
        assert_eq!(twice(words.places.iter().map(|place| place.at)), [""; 0]);
        for (name, items) in &words.lists {
            assert_eq!(twice(items.iter().copied()), [""; 0], "{name}");
        }
        for (name, items) in &words.pairs {
            assert_eq!(twice(items.iter().map(|pair| pair.0)), [""; 0], "{name}");
        }
    }
}
