//! The example `style-from-transcripts`: calls at a lost property office, as captions, and calls that are held out.
//!
//! The clerk answers every call in one style and one form. What a tuned model has to learn is that style; what it has to
//! read out of the call are the item and what was asked.

use std::collections::HashSet;
use std::fmt::Write as _;

use anyhow::{Result, ensure};
use serde_json::json;

use super::corpus::random::Random;
use super::corpus::{Book, Part};

/// So many files, calls in each, and calls that are held out.
pub(super) const FILES: usize = 8;
pub(super) const CALLS: usize = 30;
pub(super) const HELD_OUT: usize = 60;

const SEED: u64 = 4712;

/// What is wrong in the files, for the cleaning step to find: (file, call) of each.
const REPEATED: [((usize, usize), (usize, usize)); 2] = [((1, 4), (4, 17)), ((6, 2), (6, 25))];
const WITH_MAIL: (usize, usize) = (2, 11);
const WITH_PHONE: (usize, usize) = (5, 7);
const WITH_HIDDEN: (usize, usize) = (3, 20);

/// The clerk's name in the captions.
const CLERK: &str = "Clerk";

const HOST_BEGINS: [&str; 4] = [
    "Good evening and welcome. The lines to the lost property office are open.",
    "Good morning! You are listening to the lost property hour.",
    "Welcome back. Let us see what people have lost this week.",
    "Hello, everybody. The clerk is here, and the first caller is waiting.",
];
const HOST_GOES_ON: [&str; 5] = [
    "Thank you. The next caller, please.",
    "And here is the next call.",
    "We have another caller on the line.",
    "Next, please.",
    "Let us hear the next one.",
];
const HOST_ENDS: [&str; 3] = [
    "That was all for today. Goodbye!",
    "Thank you for listening. Until next week!",
    "The office closes now. Take care!",
];

/// A call: who calls, what is said and answered, in turns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) caller: String,
    pub(super) turns: Vec<(String, String)>,
}

/// The files of the example with their names.
///
/// # Errors
/// If the templates cannot be read or give too few different calls.
pub(super) fn files(book: &Book) -> Result<Vec<(String, String)>> {
    let mut calls = calls(book)?;
    for ((file, call), (other_file, other_call)) in REPEATED {
        calls[other_file][other_call] = calls[file][call].clone();
    }
    let mut files = Vec::new();
    for (number, mut calls) in calls.into_iter().enumerate() {
        let first_turn = |call: usize| (number, call);
        for call in 0..calls.len() {
            let said = &mut calls[call].turns[0].0;
            if first_turn(call) == WITH_MAIL {
                said.insert_str(0, "You can write to me at tessa.miller@example.org. ");
            } else if first_turn(call) == WITH_PHONE {
                said.insert_str(0, "My number is +44 20 7946 0958. ");
            } else if first_turn(call) == WITH_HIDDEN {
                // A joiner of no width inside of a word: no reader sees it, every tokenizer does.
                let at = said.find("my ").map_or(1, |at| at + 4);
                said.insert(at, '\u{200D}');
            }
        }
        let mut random = Random::of(SEED, "timing", number as u64);
        files.push((format!("office-{}.vtt", number + 1), captions(&calls, &mut random)?));
    }
    Ok(files)
}

/// The rows that are held out: other items in other places than in any call of the files.
///
/// # Errors
/// As [`files`].
pub(super) fn held_out(book: &Book) -> Result<String> {
    let mut rows = String::new();
    let mut seen = HashSet::new();
    let mut number = 0;
    while seen.len() < HELD_OUT {
        ensure!(number < 10_000, "only {} different calls could be made", seen.len());
        let mut random = Random::of(SEED, "held out", number);
        number += 1;
        let call = call(book, Part::HeldOut, 1, &mut random)?;
        let (user, clerk) = &call.turns[0];
        if seen.insert(user.clone()) {
            let messages = [json!({"role": "user", "content": user}), json!({"role": "assistant", "content": clerk})];
            writeln!(rows, "{}", json!({ "messages": messages }))?;
        }
    }
    Ok(rows)
}

/// The calls of each file, all different, no caller twice in succession.
pub(super) fn calls(book: &Book) -> Result<Vec<Vec<Call>>> {
    let mut seen = HashSet::new();
    let mut files: Vec<Vec<Call>> = Vec::new();
    let mut number = 0;
    while files.len() < FILES {
        let mut calls: Vec<Call> = Vec::new();
        while calls.len() < CALLS {
            ensure!(number < 10_000, "only {} different calls could be made", seen.len());
            let mut random = Random::of(SEED, "calls", number);
            number += 1;
            let turns = if random.chance(12) { 2 } else { 1 };
            let call = call(book, Part::Train, turns, &mut random)?;
            let again = calls.iter().rev().take(6).any(|before| before.caller == call.caller);
            if !again && seen.insert(call.turns.clone()) {
                calls.push(call);
            }
        }
        files.push(calls);
    }
    Ok(files)
}

fn call(book: &Book, part: Part, turns: usize, random: &mut Random) -> Result<Call> {
    let told = random.pick(&book.lost_property).tell(&book.macros, Some(part), random)?;
    let mut questions = told.questions.clone();
    random.shuffle(&mut questions);
    let mut said: Vec<(String, String)> = Vec::new();
    for asked in questions {
        let is_new = said.iter().all(|(_, answer)| *answer != asked.full);
        if said.len() < turns && is_new {
            let user = if said.is_empty() {
                format!("{} {}", told.text, asked.ask)
            } else {
                format!("And one more thing. {}", asked.ask)
            };
            said.push((user, asked.full));
        }
    }
    Ok(Call { caller: told.about[0].clone(), turns: said })
}

/// A WebVTT file: cues of one or two lines, each as long as it takes to say it.
fn captions(calls: &[Call], random: &mut Random) -> Result<String> {
    let mut clock = Clock { milliseconds: 1_200, cue: 0 };
    let mut out = String::from(
        "WEBVTT - The lost property office\n\nNOTE An invented radio show. All people in it are invented, too.\n\n",
    );
    clock.cue(&mut out, None, "[music]", random)?;
    clock.say(&mut out, "Host", random.word(&HOST_BEGINS), random)?;
    for (number, call) in calls.iter().enumerate() {
        if number > 0 && random.chance(25) {
            clock.say(&mut out, "Host", random.word(&HOST_GOES_ON), random)?;
        }
        for (user, clerk) in &call.turns {
            clock.say(&mut out, &call.caller, user, random)?;
            clock.say(&mut out, CLERK, clerk, random)?;
        }
        clock.milliseconds += random.between(700, 2_600);
    }
    clock.say(&mut out, "Host", random.word(&HOST_ENDS), random)?;
    clock.cue(&mut out, None, "[music]", random)?;
    out.truncate(out.trim_end().len());
    out.push('\n');
    Ok(out)
}

struct Clock {
    milliseconds: usize,
    cue: usize,
}

impl Clock {
    /// A turn, in as many cues as it needs.
    fn say(&mut self, out: &mut String, name: &str, text: &str, random: &mut Random) -> Result<()> {
        let lines = lines(text, 42);
        for pair in lines.chunks(2) {
            self.cue(out, Some(name), &pair.join("\n"), random)?;
        }
        self.milliseconds += random.between(150, 700);
        Ok(())
    }

    fn cue(&mut self, out: &mut String, name: Option<&str>, text: &str, random: &mut Random) -> Result<()> {
        self.cue += 1;
        let start = self.milliseconds;
        // Some fifteen characters a second, as people speak.
        self.milliseconds += 400 + text.chars().count() * random.between(58, 74);
        let voice = name.map(|name| format!("<v {name}>")).unwrap_or_default();
        writeln!(out, "{}\n{} --> {}\n{voice}{text}\n", self.cue, time(start), time(self.milliseconds))?;
        self.milliseconds += random.between(20, 160);
        Ok(())
    }
}

fn time(milliseconds: usize) -> String {
    let secs = milliseconds / 1000;
    format!("{:02}:{:02}:{:02}.{:03}", secs / 3600, secs / 60 % 60, secs % 60, milliseconds % 1000)
}

/// Lines of at most so many characters, broken at spaces.
fn lines(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// The folder of the example.
    fn example() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/style-from-transcripts")
    }

    #[test]
    fn the_files_of_the_example_are_what_the_command_writes() {
        let book = Book::open().unwrap();
        let mut wanted = files(&book).unwrap();
        wanted.push(("heldout.jsonl".into(), held_out(&book).unwrap()));
        for (name, text) in wanted {
            let kept = std::fs::read_to_string(example().join(&name)).unwrap();
            assert!(
                kept == text,
                "{name}: run `cargo xtask tiny-base transcripts --out examples/style-from-transcripts`"
            );
        }
    }

    /// Item and asked field of a card, if the answer is in the clerk's style and form and in no other.
    fn card(answer: &str) -> Option<(&str, &str, &str)> {
        let card = answer.strip_prefix("Aye, one moment. Item: ")?.strip_suffix(". Mind the step!")?;
        let (item, field) = card.split_once(". ")?;
        let (name, value) = field.split_once(": ")?;
        ["Place", "Colour", "Day", "Finder", "Owner"].contains(&name).then_some((item, name, value))
    }

    #[test]
    fn the_clerk_keeps_to_the_form_and_to_what_the_caller_said() {
        let mut fields = std::collections::BTreeMap::new();
        for call in calls(&Book::open().unwrap()).unwrap().iter().flatten() {
            for (said, answer) in &call.turns {
                let (item, name, value) = card(answer).unwrap_or_else(|| panic!("{answer}"));
                let heard = &call.turns[0].0;
                assert!(heard.contains(item) && heard.contains(value), "{heard} {answer}");
                let asked = said.rsplit(['.', '!']).next().unwrap();
                let fits = match name {
                    "Place" => asked.contains("here") || asked.contains("place"),
                    "Colour" => asked.contains("colour"),
                    "Day" => asked.contains("hen") || asked.contains("day"),
                    _ => asked.contains("Who"),
                };
                assert!(fits, "{said} {answer}");
                *fields.entry(name.to_owned()).or_insert(0) += 1;
            }
        }
        assert!(fields.len() == 5 && fields.values().sum::<usize>() >= 240, "{fields:?}");
        for wrong in [
            "Aye, one moment. Item: cap. Mind the step!",
            "The cap is red.",
            "Aye, one moment. Item: a. Price: b. Mind the step!",
        ] {
            assert_eq!(card(wrong), None);
        }
    }

    #[test]
    fn what_is_held_out_is_in_no_file() {
        let book = Book::open().unwrap();
        let calls = calls(&book).unwrap();
        let place_of = |said: &str, answer: &str| {
            let (item, _, value) = card(answer).unwrap();
            (item.to_owned(), said.split(". ").map(str::to_owned).collect::<Vec<_>>(), value.to_owned())
        };
        let said: HashSet<String> = calls.iter().flatten().map(|call| call.turns[0].0.clone()).collect();
        let rows = held_out(&book).unwrap();
        assert_eq!(rows.lines().count(), HELD_OUT);
        for row in rows.lines() {
            let row: serde_json::Value = serde_json::from_str(row).unwrap();
            let text = |at: usize| row["messages"][at]["content"].as_str().unwrap().to_owned();
            let (user, answer) = (text(0), text(1));
            let (item, _, value) = place_of(&user, &answer);
            assert!(user.contains(&item) && user.contains(&value), "{user} {answer}");
            assert!(!said.contains(&user), "{user}");
        }
    }

    #[test]
    fn the_flaws_are_there_and_no_others() {
        let texts: String = files(&Book::open().unwrap()).unwrap().into_iter().map(|(_, text)| text).collect();
        assert_eq!(texts.matches('\u{200D}').count(), 1);
        assert_eq!(texts.matches("@example.org").count(), 1);
        assert_eq!(texts.matches("+44 20 7946 0958").count(), 1);
        assert_eq!(texts.matches("WEBVTT").count(), FILES);
        let made = calls(&Book::open().unwrap()).unwrap();
        let all: Vec<&Call> = made.iter().flatten().collect();
        let different: HashSet<&Vec<(String, String)>> = all.iter().map(|call| &call.turns).collect();
        assert_eq!((all.len(), different.len()), (FILES * CALLS, FILES * CALLS));
    }

    #[test]
    fn times_go_forward_and_lines_are_short() {
        for (name, text) in files(&Book::open().unwrap()).unwrap() {
            let mut before = String::new();
            for line in text.lines() {
                if let Some((start, end)) = line.split_once(" --> ") {
                    assert!(before.as_str() <= start && start < end, "{name}: {before} {line}");
                    before = end.to_owned();
                } else {
                    let spoken = line.split_once('>').map_or(line, |(_, spoken)| spoken);
                    assert!(spoken.chars().count() <= 43 || line.starts_with("NOTE"), "{name}: {line}");
                }
            }
        }
    }
}
