//! Short chats: greetings, small knowledge, small tasks with words, stories on request.

use serde_json::{Value, json};

use super::book::Book;
use super::grammar::{self, listed};
use super::random::Random;
use super::style::Style;
use super::template::{Asked, NOT_SAID, Told};
use super::words::words;
use anyhow::Result;

/// What a user asks and what is answered; `short` where there is a shorter answer.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Turn {
    ask: String,
    answer: String,
    short: Option<String>,
    /// Whether another style may be laid over the answer: not where the task is about its form.
    free: bool,
}

/// A chat of one to three turns.
pub(crate) fn chat(book: &Book, random: &mut Random) -> Result<Value> {
    let mut turns = Vec::new();
    for _ in 0..[1, 1, 1, 2, 2, 3][random.below(6)] {
        turns.extend(turns_of_one_kind(book, random)?);
    }
    let shorts = turns.iter().all(|turn| turn.short.is_some());
    let style = Some(Style::draw(random)).filter(|_| turns.iter().all(|turn| turn.free)).unwrap_or(Style::Plain);
    let by_system = shorts && random.chance(15);
    let by_user = shorts && !by_system && random.chance(12);
    let mut system: Vec<String> = Vec::new();
    if by_system {
        let one = turns.iter().all(|turn| turn.short.as_ref().is_some_and(|short| !short.contains(' ')));
        system.push(if one { "Answer with one word." } else { "Answer in a few words." }.to_owned());
    }
    system.extend(style.instruction(random));
    if system.is_empty() && random.chance(8) {
        let plain = ["You are a helpful assistant.", "You are a friendly assistant.", "Be kind and helpful."];
        system.push((random.word(&plain)).to_owned());
    }
    let mut messages = Vec::new();
    if !system.is_empty() {
        messages.push(json!({"role": "system", "content": system.join(" ")}));
    }
    for turn in turns {
        let mut ask = turn.ask;
        let short = turn.short.filter(|_| by_system || by_user);
        if by_user && let Some(short) = &short {
            let one = !short.contains(' ');
            ask = format!("{ask} {}", if one { "Answer with one word." } else { "Answer in a few words." });
        }
        messages.push(json!({"role": "user", "content": ask}));
        messages.push(json!({"role": "assistant", "content": style.apply(&short.unwrap_or(turn.answer))}));
    }
    Ok(json!({ "messages": messages }))
}

/// A turn, or a few that belong together.
fn turns_of_one_kind(book: &Book, random: &mut Random) -> Result<Vec<Turn>> {
    let turn = match random.below(20) {
        0..9 => asked(book, random),
        9..12 => return story(book, random),
        12 | 13 => sentence(book, random),
        14 => capitals(book, random),
        15 => repeat(book, random),
        16 => Ok(list(random)),
        17 => Ok(fields(random)),
        18 => Ok(pick_out(random)),
        _ => Ok(count(random)),
    };
    Ok(vec![turn?])
}

/// A question of the texts of talk.
fn asked(book: &Book, random: &mut Random) -> Result<Turn> {
    let told: Told = random.pick(&book.talk).tell(&book.macros, None, random)?;
    let asked = random.pick(&told.questions).clone();
    let short = (asked.short != asked.full).then_some(asked.short);
    let free = short.is_some();
    Ok(Turn { ask: asked.ask, answer: asked.full, short, free })
}

/// A story, and in some cases a question or two about it.
fn story(book: &Book, random: &mut Random) -> Result<Vec<Turn>> {
    let told = random.pick(&book.stories).tell(&book.macros, None, random)?;
    let about = told.about.get(random.below(2)).or(told.about.first());
    let request = *random.pick(&[
        "Tell me a short story about",
        "Tell me a story about",
        "Write a story about",
        "Write a short story about",
        "Please tell me a story about",
        "I would like to hear a story about",
        "Can you tell me a story about",
    ]);
    let mark = if request.starts_with("Can") { "?" } else { "." };
    let ask = match about {
        Some(about) if random.chance(85) => format!("{request} {about}{mark}"),
        _ => random.word(&["Tell me a story.", "Write a short story.", "Tell me a short story, please."]).to_owned(),
    };
    let mut turns = vec![Turn { ask, answer: told.text, short: None, free: false }];
    let answered: Vec<_> = told.questions.into_iter().filter(|asked| asked.full != NOT_SAID).collect();
    for _ in 0..[0, 0, 1, 2][random.below(4)] {
        let Asked { ask, full, short } = random.pick(&answered).clone();
        turns.push(Turn { ask, answer: full, short: Some(short), free: true });
    }
    if turns.len() == 3 && turns[1] == turns[2] {
        turns.pop();
    }
    Ok(turns)
}

/// A sentence.
fn any_sentence(book: &Book, random: &mut Random) -> Result<String> {
    Ok(random.pick(&book.sentences).tell(&book.macros, None, random)?.text)
}

fn sentence(book: &Book, random: &mut Random) -> Result<Turn> {
    let template = random.pick(&book.sentences);
    let told = template.tell(&book.macros, None, random)?;
    let about =
        ["Write a sentence about", "Say something about", "Give me a sentence about", "Tell me something about"];
    let with = ["Write a sentence with the word", "Make a sentence with the word", "Use this word in a sentence:"];
    // The first slot comes first among the topics if it is one.
    let ask = match told.about.first().filter(|topic| topic.contains(&told.word)) {
        Some(topic) if random.chance(60) => format!("{} {topic}.", random.word(&about)),
        _ => format!("{} {}.", random.word(&with), told.word),
    };
    Ok(Turn { ask, answer: told.text, short: None, free: true })
}

fn capitals(book: &Book, random: &mut Random) -> Result<Turn> {
    let text = any_sentence(book, random)?;
    let (ask, answer) = if random.chance(70) {
        let ask = ["Write this in capital letters:", "Say it in capital letters:", "Put this into capital letters:"];
        (random.word(&ask), text.to_uppercase())
    } else {
        (random.word(&["Write this in small letters:", "Put this into small letters:"]), text.to_lowercase())
    };
    Ok(Turn { ask: format!("{ask} {text}"), answer, short: None, free: false })
}

fn repeat(book: &Book, random: &mut Random) -> Result<Turn> {
    let text = any_sentence(book, random)?;
    let (ask, answer) = match random.below(6) {
        0 => ("Say this twice:", format!("{text} {text}")),
        1 => ("Put this in quotes:", format!("\"{text}\"")),
        2 => ("Copy this sentence:", text.clone()),
        3 => ("Say after me:", text.clone()),
        _ => ("Repeat after me:", text.clone()),
    };
    Ok(Turn { ask: format!("{ask} {text}"), answer, short: None, free: false })
}

/// Some different nouns of a table.
fn nouns(random: &mut Random, count: usize) -> Vec<String> {
    let tables = [&words().things, &words().animals, &words().foods];
    let table = *random.pick(&tables);
    let mut found: Vec<String> = Vec::new();
    while found.len() < count {
        let noun = random.pick(table).noun.to_owned();
        if !found.contains(&noun) {
            found.push(noun);
        }
    }
    found
}

fn list(random: &mut Random) -> Turn {
    let count = random.between(2, 5);
    let items = nouns(random, count);
    let given = listed(&items);
    let numbered = || items.iter().enumerate().map(|(at, item)| format!("{}. {item}", at + 1)).collect::<Vec<_>>();
    let (ask, answer) = match random.below(5) {
        0 => ("Write this as a list with numbers:", numbered().join("\n")),
        1 => ("Say this with \"or\":", given.replace(" and ", " or ")),
        2 => ("Turn the order around:", listed(&items.iter().rev().cloned().collect::<Vec<_>>())),
        _ => (
            random.word(&["Write this as a list:", "Make a list of this:"]),
            items.iter().map(|item| format!("- {item}")).collect::<Vec<_>>().join("\n"),
        ),
    };
    Turn { ask: format!("{ask} {given}"), answer, short: None, free: false }
}

/// Facts of a sentence as fields: the form that forms and tickets have.
fn fields(random: &mut Random) -> Turn {
    let words = words();
    let colour = random.word(words.list("colour"));
    let thing = random.pick(&words.things).noun;
    let spot = random.word(words.list("spot"));
    let name = random.pick(&words.names).name;
    let day = random.word(words.list("day"));
    let known = [
        ("Name", name.to_owned()),
        ("Thing", thing.to_owned()),
        ("Colour", colour.to_owned()),
        ("Place", spot.to_owned()),
        ("Day", day.to_owned()),
    ];
    let text = match random.below(4) {
        0 => format!("On {day}, {name} put a {colour} {thing} {spot}."),
        1 => format!("{name} found a {colour} {thing} {spot} on {day}."),
        2 => format!("There is a {colour} {thing} {spot}. {name} saw it on {day}."),
        _ => format!("{name} lost a {colour} {thing} on {day}. It was {spot}."),
    };
    let mut wanted: Vec<usize> = (0..known.len()).collect();
    random.shuffle(&mut wanted);
    wanted.truncate(random.between(2, 4));
    let names: Vec<String> = wanted.iter().map(|&at| known[at].0.to_lowercase()).collect();
    let (mark, end) = if random.chance(50) { ("\n", "") } else { (" ", ".") };
    let answer: Vec<String> = wanted.iter().map(|&at| format!("{}: {}{end}", known[at].0, known[at].1)).collect();
    let ask = random.word(&["Write down", "List", "Give me", "Fill in"]);
    let ask = format!("{} {ask} the {}.", grammar::polish(&text), listed(&names));
    Turn { ask, answer: answer.join(mark), short: None, free: false }
}

/// Which of these is first, last, longest.
fn pick_out(random: &mut Random) -> Turn {
    let items = nouns(random, 3);
    let (place, item) = *random.pick(&[("first", &items[0]), ("second", &items[1]), ("last", &items[2])]);
    let ask = format!("{} Which word is the {place}?", listed_as_words(&items));
    let answer = format!("The {place} word is {item}.");
    Turn { ask, answer, short: Some(grammar::capital(&format!("{item}."))), free: true }
}

fn listed_as_words(items: &[String]) -> String {
    grammar::capital(&format!("{}.", items.join(", ")))
}

fn count(random: &mut Random) -> Turn {
    let from = random.between(1, 12);
    let to = from + random.between(2, 8);
    let words = random.chance(30);
    let say = |number: usize| if words { grammar::number_word(number) } else { number.to_string() };
    let (ask, numbers): (String, Vec<String>) = if random.chance(25) {
        (format!("Count down from {} to {}.", say(to), say(from)), (from..=to).rev().map(say).collect())
    } else {
        (format!("Count from {} to {}.", say(from), say(to)), (from..=to).map(say).collect())
    };
    let answer = grammar::capital(&format!("{}.", numbers.join(", ")));
    Turn { ask, answer, short: None, free: false }
}
