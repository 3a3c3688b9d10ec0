//! Who and what a text is about: slots with values, each with the forms that sentences need.

use anyhow::{Context, Result, bail, ensure};

use super::grammar::{capital, number_word, ordinal, right_articles};
use super::random::Random;
use super::words::{Noun, words};

/// A slot as a template declares it: `friend: person she`.
#[derive(Debug, Clone)]
pub(crate) struct Slot {
    pub(crate) name: &'static str,
    kind: &'static str,
    args: Vec<&'static str>,
}

impl Slot {
    /// # Errors
    /// If the line is no declaration.
    pub(crate) fn parse(line: &'static str) -> Result<Self> {
        let (name, rest) = line.split_once(':').with_context(|| format!("{line:?} is no `slot: kind`"))?;
        let mut rest = rest.split_ascii_whitespace();
        let kind = rest.next().with_context(|| format!("{line:?} names no kind"))?;
        Ok(Self { name: name.trim(), kind, args: rest.collect() })
    }
}

/// A value with its forms; the first is the plain one, under no name.
#[derive(Debug, Clone, Default)]
struct Value {
    slot: String,
    forms: Vec<(&'static str, String)>,
    number: usize,
    /// What tells it from other values: no two slots of a cast have the same.
    identity: String,
}

/// Slots with values, and which optional lines are there.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cast {
    values: Vec<Value>,
}

impl Cast {
    /// Draws a value for each slot, no two alike.
    ///
    /// # Errors
    /// If a slot is of no known kind or nothing fits it.
    pub(crate) fn draw(slots: &[Slot], random: &mut Random) -> Result<Self> {
        let mut cast = Self::default();
        for slot in slots {
            let mut tries = 0;
            let value = loop {
                let value = cast.value(slot, random).with_context(|| format!("slot {:?}", slot.name))?;
                let is_new = value.identity.is_empty() || cast.values.iter().all(|old| old.identity != value.identity);
                if is_new {
                    break value;
                }
                tries += 1;
                ensure!(tries < 1000, "slot {:?}: nothing is left that is not in another slot", slot.name);
            };
            cast.values.push(Value { slot: slot.name.to_owned(), ..value });
        }
        Ok(cast)
    }

    /// The text of a slot in one of its forms. A form with a capital is the form without, with a capital.
    pub(crate) fn text(&self, slot: &str, form: &str) -> String {
        let value = self.find(slot).unwrap_or_else(|| panic!("no slot is called {slot:?}"));
        let found = |form: &str| value.forms.iter().find(|(name, _)| *name == form).map(|(_, text)| text.clone());
        found(form)
            .or_else(|| found(&form.to_lowercase()).map(|text| capital(&text)))
            .unwrap_or_else(|| panic!("slot {slot:?} has no form {form:?}: {:?}", value.forms))
    }

    /// A slot as a topic: `Ana`, `a red kite`, `the lake`; `None` for what is no topic.
    pub(crate) fn topic(&self, slot: &Slot) -> Option<String> {
        match slot.kind {
            "person" | "place" => Some(self.text(slot.name, "")),
            "thing" | "animal" | "food" => Some(right_articles(&self.text(slot.name, "some"))),
            _ => None,
        }
    }

    /// A slot as a word.
    pub(crate) fn word(&self, slot: &Slot) -> String {
        let form = if matches!(slot.kind, "thing" | "animal" | "food") { "n" } else { "" };
        self.text(slot.name, form)
    }

    /// The plain texts of the first slots, which tell one text of a template from another.
    pub(crate) fn key(&self, count: usize) -> String {
        let texts: Vec<String> = self.values.iter().take(count).map(|value| value.identity.clone()).collect();
        texts.join("/")
    }

    /// Sets a slot by hand.
    #[cfg(test)]
    pub(crate) fn set(&mut self, slot: &str, forms: &[(&'static str, &str)]) {
        let forms = forms.iter().map(|(form, text)| (*form, (*text).to_owned())).collect();
        self.values.push(Value { slot: slot.to_owned(), forms, ..Value::default() });
    }

    fn find(&self, slot: &str) -> Option<&Value> {
        self.values.iter().find(|value| value.slot == slot)
    }

    fn number(&self, slot: &str) -> Result<usize> {
        Ok(self.find(slot).with_context(|| format!("no slot {slot:?} comes before"))?.number)
    }

    fn value(&self, slot: &Slot, random: &mut Random) -> Result<Value> {
        let args = &slot.args[..];
        Ok(match (slot.kind, args) {
            ("person", _) => person(args, random),
            ("kin", _) => kin(random),
            ("thing", _) => noun(&words().things, args, random)?,
            ("animal", _) => noun(&words().animals, args, random)?,
            ("food", _) => noun(&words().foods, args, random)?,
            ("place", _) => place(args, random)?,
            ("pet-name", _) => plain(random.word(&words().pets)),
            ("list", [list]) => plain(random.word(words().list(list))),
            ("day" | "month", _) => in_a_round(words().list(slot.kind), random),
            ("pair", [pairs]) => {
                let (first, second) = *random.pick(words().pairs(pairs));
                Value { forms: vec![("", first.into()), ("two", second.into())], ..plain(first) }
            }
            ("number", [low, high]) => number(random.between(low.parse()?, high.parse()?)),
            ("sum", [first, second]) => fixed(number(self.number(first)? + self.number(second)?)),
            ("less", [first, second]) => {
                let (first, second) = (self.number(first)?, self.number(second)?);
                fixed(number(first.checked_sub(second).context("less than nothing")?))
            }
            ("times", [first, second]) => fixed(number(self.number(first)? * self.number(second)?)),
            ("part-of-number", [whole]) => number(random.between(1, self.number(whole)?.saturating_sub(1).max(1))),
            ("hour", _) => hour(random),
            _ => bail!("there is no kind {:?} with {} words behind it", slot.kind, args.len()),
        })
    }
}

/// A value that may be equal to another one.
fn fixed(value: Value) -> Value {
    Value { identity: String::new(), ..value }
}

fn plain(text: &str) -> Value {
    Value { forms: vec![("", text.to_owned())], identity: text.to_owned(), ..Value::default() }
}

/// Forms: the name, `he`, `him`, `his`, `himself`, `s` (of whom).
fn person(args: &[&str], random: &mut Random) -> Value {
    let wanted = if args.contains(&"she") {
        Some(true)
    } else if args.contains(&"he") {
        Some(false)
    } else {
        None
    };
    let name = loop {
        let name = random.pick(&words().names);
        if wanted.is_none() || name.she.is_none() || name.she == wanted {
            break name;
        }
    };
    let she = name.she.or(wanted).unwrap_or_else(|| random.chance(50));
    let girl = if she { "girl" } else { "boy" };
    let mut forms = pronouns(she);
    forms.extend([("", name.name.to_owned()), ("s", format!("{}'s", name.name)), ("girl", girl.to_owned())]);
    Value { forms, identity: name.name.to_owned(), ..Value::default() }
}

fn pronouns(she: bool) -> Vec<(&'static str, String)> {
    let words = if she { ["she", "her", "her", "herself"] } else { ["he", "him", "his", "himself"] };
    ["he", "him", "his", "himself"].into_iter().zip(words.map(str::to_owned)).collect()
}

/// Forms: `mother`, and the pronouns.
fn kin(random: &mut Random) -> Value {
    let she = random.chance(50);
    let word = random.word(words().list(if she { "kin-she" } else { "kin-he" }));
    let mut forms = pronouns(she);
    forms.extend([("", word.to_owned()), ("s", format!("{word}'s"))]);
    Value { forms, identity: word.to_owned(), ..Value::default() }
}

/// Forms: `red kite`, `n` (kite), `pl` (kites), `adj` (red, or nothing), `some` (a red kite, some bread), `says`, `young`.
///
/// `bare` is without an adjective, `adj` always with one, `colour` with a colour; `counted`, `says` and `young` are nouns
/// with a plural, a sound, a young; other words are tags, `!tag` none of it.
fn noun(table: &'static [Noun], args: &[&str], random: &mut Random) -> Result<Value> {
    let fits = |noun: &&Noun| {
        args.iter().all(|arg| match *arg {
            "bare" | "adj" => true,
            "counted" => noun.plural.is_some(),
            "says" => !noun.says.is_empty(),
            "young" => !noun.young.is_empty(),
            tag => tag.strip_prefix('!').map_or(noun.tags.contains(&tag), |tag| !noun.tags.contains(&tag)),
        })
    };
    let able: Vec<&Noun> = table.iter().filter(fits).collect();
    ensure!(!able.is_empty(), "no noun is {args:?}");
    let noun = *random.pick(&able);
    let adjective = if args.contains(&"bare") {
        ""
    } else if args.contains(&"colour") {
        random.word(words().list("colour"))
    } else if args.contains(&"adj") || random.chance(70) {
        adjective(noun, random)
    } else {
        ""
    };
    let phrase = if adjective.is_empty() { noun.noun.to_owned() } else { format!("{adjective} {}", noun.noun) };
    let plural = noun.plural.clone().unwrap_or_else(|| noun.noun.to_owned());
    let some = if noun.plural.is_some() { format!("a {phrase}") } else { format!("some {phrase}") };
    let bare = if noun.plural.is_some() { format!("a {}", noun.noun) } else { noun.noun.to_owned() };
    let forms = vec![
        ("", phrase),
        ("n", noun.noun.to_owned()),
        ("pl", plural.clone()),
        ("adj", adjective.to_owned()),
        ("adjpl", if adjective.is_empty() { plural } else { format!("{adjective} {plural}") }),
        ("some", some),
        ("a", bare),
        ("says", noun.says.to_owned()),
        ("young", noun.young.to_owned()),
    ];
    Ok(Value { forms, identity: noun.noun.to_owned(), ..Value::default() })
}

/// One of its own, or of those that fit anything of its kind.
fn adjective(noun: &'static Noun, random: &mut Random) -> &'static str {
    if noun.tags.contains(&"colour") && random.chance(45) {
        return random.word(words().list("colour"));
    }
    let is_made = noun.tags.iter().any(|tag| ["toy", "wear", "tool", "home", "ride", "paper", "music"].contains(tag));
    if is_made && random.chance(20) {
        return random.word(&["old", "new"]);
    }
    random.word(&noun.adjectives)
}

/// Forms: `the lake`, `at` (at the lake).
fn place(args: &[&str], random: &mut Random) -> Result<Value> {
    let able: Vec<_> = words()
        .places
        .iter()
        .filter(|place| {
            args.iter().all(|arg| match arg.strip_prefix('!') {
                Some(tag) => !place.tags.contains(&tag),
                None => place.tags.contains(arg),
            })
        })
        .collect();
    ensure!(!able.is_empty(), "no place is {args:?}");
    let place = *random.pick(&able);
    let forms = vec![("", place.place.to_owned()), ("at", place.at.to_owned())];
    Ok(Value { forms, identity: place.place.to_owned(), ..Value::default() })
}

/// Forms: `Monday`, `next`, `last`; `nth` (second), `number` (two).
fn in_a_round(list: &[&str], random: &mut Random) -> Value {
    let at = random.below(list.len());
    let of = |at: usize| list[at % list.len()].to_owned();
    let forms = vec![
        ("", of(at)),
        ("next", of(at + 1)),
        ("last", of(at + list.len() - 1)),
        ("nth", ordinal(at + 1)),
        ("number", number_word(at + 1)),
    ];
    Value { forms, ..plain(list[at]) }
}

/// Forms: `three`, `d` (3), `nth` (third), `next` (four), `nextd` (4), `times` (three times), `s` (nothing for one, else
/// an s), `is` and `was`.
fn number(number: usize) -> Value {
    let times = match number {
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        _ => format!("{} times", number_word(number)),
    };
    let one = number == 1;
    let forms = vec![
        ("", number_word(number)),
        ("d", number.to_string()),
        ("nth", ordinal(number)),
        ("next", number_word(number + 1)),
        ("nextd", (number + 1).to_string()),
        ("times", times),
        ("s", if one { "" } else { "s" }.to_owned()),
        ("is", if one { "is" } else { "are" }.to_owned()),
        ("was", if one { "was" } else { "were" }.to_owned()),
    ];
    Value { forms, number, ..plain(&number.to_string()) }
}

/// Forms: `three o'clock`, `half` (half past three).
fn hour(random: &mut Random) -> Value {
    let hour = number_word(random.between(1, 12));
    let text = match random.below(4) {
        0 => format!("half past {hour}"),
        1 => format!("a quarter past {hour}"),
        _ => format!("{hour} o'clock"),
    };
    plain(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(lines: &[&'static str]) -> Vec<Slot> {
        lines.iter().map(|line| Slot::parse(line).unwrap()).collect()
    }

    #[test]
    fn values_of_a_cast_differ_and_sums_are_right() {
        let slots = slots(&["a: person", "b: person", "n: number 2 3", "m: number 2 3", "s: sum n m", "l: less s m"]);
        for seed in 0..50 {
            let cast = Cast::draw(&slots, &mut Random::new(seed)).unwrap();
            assert_ne!(cast.text("a", ""), cast.text("b", ""));
            assert_eq!((cast.text("s", "d").as_str(), cast.text("l", "d")), ("5", cast.text("n", "d")));
        }
    }

    #[test]
    fn what_nothing_fits_is_refused() {
        for wrong in ["a: unicorn", "a: thing flying-carpet", "a: place in out wild water town"] {
            assert!(Cast::draw(&slots(&[wrong]), &mut Random::new(1)).is_err(), "{wrong}");
        }
        assert!(Slot::parse("nothing").is_err());
    }
}
