//! What must hold for every row: it is made again byte for byte, reads as English, and answers what its passage says.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::random::{Random, hash};
use super::template::{Asked, NOT_SAID, Told};
use super::*;

fn lines(kind: Kind, part: Part, seed: u64, rows: usize) -> Vec<Value> {
    let mut bytes = Vec::new();
    write(&Book::open().unwrap(), kind, part, seed, rows, &mut bytes).unwrap();
    String::from_utf8(bytes).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn stories(part: Part, seed: u64, rows: usize) -> Vec<String> {
    lines(Kind::Stories, part, seed, rows).iter().map(|row| row["text"].as_str().unwrap().to_owned()).collect()
}

/// Texts of every template that has questions, with its name.
fn told(rounds: u64) -> Vec<(&'static str, Told)> {
    let book = Book::open().unwrap();
    let mut found = Vec::new();
    for template in book.passages.iter().chain(&book.stories).chain(&book.lost_property) {
        for round in 0..rounds {
            let mut random = Random::of(99, template.name, round);
            found.push((template.name, template.tell(&book.macros, Some(Part::Train), &mut random).unwrap()));
        }
    }
    found
}

#[test]
fn the_bytes_are_the_same_everywhere() {
    let book = Book::open().unwrap();
    let mut hashes = Vec::new();
    for kind in Kind::ALL {
        let mut bytes = Vec::new();
        write(&book, kind, Part::Train, 1, 300, &mut bytes).unwrap();
        hashes.push(format!("{:016x}", hash(std::str::from_utf8(&bytes).unwrap())));
    }
    // Whoever changes a word or a template changes these, and has a new base model to train.
    assert_eq!(hashes, EXPECTED_HASHES);
}

const EXPECTED_HASHES: [&str; 4] = ["5a91951514b16cb4", "bd4603fb1cd9cc5e", "2c1c3723478d829c", "2b183982ec47e8c7"];

#[test]
fn another_seed_gives_other_rows() {
    assert_ne!(stories(Part::Train, 1, 20), stories(Part::Train, 2, 20));
}

// --- grammar -----------------------------------------------------------------------------------------------------

/// What is wrong with a text as English, as far as rules can tell.
fn faults(text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    for wrong in ["  ", " .", " ,", " !", " ?", "..", ",,", "!.", "?.", "{", "}", "[", "]", "<", ">", "|", "\n "] {
        if text.contains(wrong) {
            faults.push(format!("{wrong:?}"));
        }
    }
    if text.matches('"').count() % 2 == 1 {
        faults.push("a quote that is not closed".into());
    }
    if !text.starts_with(|c: char| c.is_uppercase() || c == '"' || c.is_ascii_digit()) {
        faults.push("a small letter in front".into());
    }
    if !text.ends_with(['.', '!', '?', '"']) && !text.contains('\n') {
        faults.push("no mark at the end".into());
    }
    let words: Vec<&str> = text.split_whitespace().collect();
    for pair in words.windows(2) {
        let (first, second) = (pair[0], pair[1]);
        let ends = first.ends_with(['.', '!', '?']);
        if ends && second.starts_with(char::is_lowercase) {
            faults.push(format!("{first} {second}"));
        }
        let bare = first.trim_start_matches(['"', '(']).to_lowercase();
        if bare == "a" || bare == "an" {
            // By a list of its own, apart from the one that puts articles right.
            let word = second.trim_start_matches('"').to_lowercase();
            let vowel = word.starts_with(['a', 'e', 'i', 'o', 'u']) && word != "unicorn" && !word.starts_with("one")
                || word.starts_with("hour");
            if vowel != (bare == "an") {
                faults.push(format!("{first} {second}"));
            }
        }
        if first.to_lowercase() == second.to_lowercase() && !["again", "her", "up"].contains(&bare.as_str()) {
            faults.push(format!("{first} {second}"));
        }
    }
    faults
}

#[test]
fn stories_and_passages_read_as_english() {
    let mut wrong = BTreeMap::new();
    for (name, told) in told(300) {
        let texts = std::iter::once(&told.text);
        let answers = told.questions.iter().flat_map(|asked| [&asked.ask, &asked.full, &asked.short]);
        for text in texts.chain(answers) {
            let faults = faults(text);
            if !faults.is_empty() {
                wrong.entry(name).or_insert((faults, text.clone()));
            }
        }
    }
    assert!(wrong.is_empty(), "{} templates: {wrong:#?}", wrong.len());
}

#[test]
fn the_rules_of_english_find_what_is_wrong() {
    for wrong in [
        "An red kite flew.",
        "A apple fell.",
        "it was late.",
        "It was late. he slept.",
        "The the dog barked.",
        "A {thing} fell.",
        "She said, \"Yes.",
        "A  dog.",
        "It was late",
        "What now!.",
    ] {
        assert!(!faults(wrong).is_empty(), "{wrong}");
    }
    assert_eq!(faults("\"An owl?\" asked Ana. It was a big owl. It called again and again."), [""; 0]);
}

#[test]
fn chats_have_roles_in_order_and_nothing_empty() {
    for kind in [Kind::Passages, Kind::Talk] {
        let rows = lines(kind, Part::Train, 5, 2000);
        for row in &rows {
            let messages = row["messages"].as_array().unwrap();
            let start = usize::from(messages[0]["role"] == "system");
            assert!(messages.len() > start && (messages.len() - start).is_multiple_of(2), "{row}");
            for (at, message) in messages[start..].iter().enumerate() {
                assert_eq!(message["role"], ["user", "assistant"][at % 2]);
                let content = message["content"].as_str().unwrap();
                assert!(!content.trim().is_empty() && !content.contains(['{', '}', '|', '<', '>']), "{content}");
            }
        }
        let with_system = rows.iter().filter(|row| row["messages"][0]["role"] == "system").count();
        assert!((200..1200).contains(&with_system), "{with_system}");
    }
}

// --- answers -----------------------------------------------------------------------------------------------------

/// Words of an answer that its passage must have: names, things, places.
fn not_in_the_text(told: &Told, asked: &Asked) -> Vec<String> {
    let known = format!("{} {}", told.text, asked.ask).to_lowercase();
    let own = [
        "yes",
        "no",
        "first",
        "last",
        "then",
        "they",
        "it",
        "you",
        "your",
        "in",
        "at",
        "after",
        "together",
        "one",
        "some",
        "there",
        "that",
        "what",
        "because",
        "next",
        "two",
        "three",
        "we",
        "item",
        "place",
        "colour",
        "day",
        "finder",
        "owner",
        "aye",
        "moment",
        "step",
        "mind",
        "he",
        "she",
        "many",
        "under",
        "before",
        "so",
        "by",
        "everybody",
        "the",
        "a",
        "an",
        "to",
        "on",
        "lost",
    ];
    let words = asked.short.split_whitespace().chain(
        // Of sentences, only names: the verbs of an answer may be others than those of the passage.
        asked.full.split_whitespace().skip(1).filter(|word| word.starts_with(char::is_uppercase)),
    );
    words
        .map(|word| word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase())
        .filter(|word| !word.is_empty() && !own.contains(&word.as_str()))
        .filter(|word| {
            let stems =
                [word.strip_suffix("'s"), word.strip_suffix('s'), word.strip_suffix("es"), word.strip_suffix("ies")];
            !known.contains(word.as_str()) && !stems.into_iter().flatten().any(|stem| known.contains(stem))
        })
        .collect()
}

/// Questions whose answer is no stretch of the text: sums, what rain means, and the like.
const INFERRED: [&str; 25] = [
    "How",
    "Did",
    "Does",
    "Was",
    "Is",
    "Can",
    "Why",
    "Which season",
    "What did {hero} use",
    "When did it happen",
    "Which one",
    "Who found out",
    "What did they do",
    "To whom",
    "Which card",
    "What was {",
    "When did they look",
    "In whose",
    "Who is",
    "Whose",
    "When is",
    "What was the nose",
    "What did I",
    "What should",
    "What was the weather",
];

#[test]
fn what_is_answered_stands_in_the_text() {
    let (mut checked, mut wrong) = (0, BTreeMap::new());
    for (name, told) in told(100) {
        for asked in told.questions.iter().filter(|asked| asked.full != NOT_SAID) {
            if INFERRED.iter().any(|start| asked.ask.starts_with(start)) {
                continue;
            }
            checked += 1;
            let missing = not_in_the_text(&told, asked);
            if !missing.is_empty() {
                wrong.entry(format!("{name}: {missing:?}")).or_insert((asked.clone(), told.text.clone()));
            }
        }
    }
    assert!(checked > 20_000, "{checked}");
    assert!(wrong.is_empty(), "{} of {checked}: {wrong:#?}", wrong.len());
}

#[test]
fn an_answer_of_another_text_is_found() {
    let all = told(2);
    let (mut found, mut count) = (0, 0);
    for pair in all.chunks(2) {
        let [(_, first), (_, second)] = pair else { continue };
        let asked = second.questions.iter().filter(|asked| asked.full != NOT_SAID && asked.short.len() > 6);
        for asked in asked {
            count += 1;
            let moved = Asked { ask: String::new(), ..asked.clone() };
            found += usize::from(!not_in_the_text(first, &moved).is_empty());
        }
    }
    assert!(found * 10 > count * 7, "{found} of {count}");
}

/// Reads a sentence `X has a Y.` or the like by itself, apart from the program that wrote it.
fn between<'t>(text: &'t str, before: &str, behind: &str) -> Option<&'t str> {
    let start = text.find(before)? + before.len();
    let end = text[start..].find(behind)? + start;
    Some(&text[start..end])
}

#[test]
fn a_reader_of_its_own_gives_the_same_answers() {
    let mut read = BTreeMap::new();
    for (name, told) in told(400) {
        for asked in told.questions.iter().filter(|asked| asked.full != NOT_SAID) {
            let short = asked.short.trim_end_matches('.').to_lowercase();
            let text = told.text.as_str();
            let expected = match name {
                "three-have" if asked.ask.starts_with("What does") => {
                    let who = between(&asked.ask, "What does ", " have").unwrap();
                    between(text, &format!("{who} has "), ".")
                }
                "jobs" if asked.ask.starts_with("What is the job of ") => {
                    let who = between(&asked.ask, "of ", "?").unwrap();
                    between(text, &format!("{who} is "), ".")
                        .or_else(|| between(text, &format!("{who} works as "), "."))
                }
                "in-boxes" if asked.ask.starts_with("What is in the ") => {
                    let which = between(&asked.ask, "What is in the ", " box").unwrap();
                    between(text, &format!("In the {which} box there is "), ".")
                }
                "prices" if asked.ask.starts_with("How much does the ") => {
                    let thing = between(&asked.ask, "How much does the ", " cost").unwrap();
                    between(text, &format!(" {thing} costs "), " coins").filter(|_| true)
                }
                "houses" if asked.ask.starts_with("Who lives in the ") => {
                    let which = between(&asked.ask, "Who lives in the ", " house").unwrap();
                    let before = text.split(&format!(" lives in the {which} house")).next().unwrap();
                    before.split_whitespace().last()
                }
                "numbers-of-things" if asked.ask.starts_with("How many") && asked.ask.contains("together") => {
                    let numbers: Vec<usize> = text
                        .split_whitespace()
                        .filter_map(|word| (2..10).find(|&number| super::grammar::number_word(number) == word))
                        .collect();
                    let sum = super::grammar::number_word(numbers[0] + numbers[1]);
                    assert_eq!(short, sum, "{text}");
                    *read.entry(name).or_insert(0) += 1;
                    continue;
                }
                _ => continue,
            };
            let expected = expected.unwrap_or_else(|| panic!("{text} {}", asked.ask)).to_lowercase();
            assert_eq!(short.trim_end_matches(" coins"), expected, "{text} {}", asked.ask);
            *read.entry(name).or_insert(0) += 1;
        }
    }
    assert!(read.len() == 6 && read.values().all(|&count| count >= 400), "{read:?}");
}

#[test]
fn what_is_not_said_is_the_rarer_answer() {
    let rows = lines(Kind::Passages, Part::Train, 6, 4000);
    let answers: Vec<&str> = rows
        .iter()
        .flat_map(|row| row["messages"].as_array().unwrap())
        .filter(|message| message["role"] == "assistant")
        .map(|message| message["content"].as_str().unwrap())
        .collect();
    let not_said = answers.iter().filter(|answer| answer.to_lowercase().contains("the text does not say")).count();
    let share = not_said as f64 / answers.len() as f64;
    assert!((0.05..0.20).contains(&share), "{share}");
}

// --- variety -----------------------------------------------------------------------------------------------------

#[test]
fn stories_vary() {
    let stories = stories(Part::Train, 7, 20_000);
    let different: HashSet<&String> = stories.iter().collect();
    assert_eq!(different.len(), stories.len());
    let (mut grams, mut count) = (HashSet::new(), 0);
    let (mut sentences, mut sentence_count) = (HashSet::new(), 0);
    for story in &stories {
        let words: Vec<&str> = story.split(' ').collect();
        for gram in words.windows(8) {
            grams.insert(hash(&gram.join(" ")));
            count += 1;
        }
        for sentence in story.split_inclusive(['.', '!', '?']) {
            sentences.insert(hash(sentence));
            sentence_count += 1;
        }
        let length = story.matches(['.', '!', '?']).count();
        assert!((3..=34).contains(&length), "{length}: {story}");
    }
    println!("8-grams {} of {count}; sentences {} of {sentence_count}", grams.len(), sentences.len());
    assert!(grams.len() > 500_000 && sentences.len() > 50_000, "{} {}", grams.len(), sentences.len());
}

#[test]
fn every_template_has_texts_of_both_parts() {
    let book = Book::open().unwrap();
    assert!(book.stories.len() >= 50 && book.passages.len() >= 40, "{} {}", book.stories.len(), book.passages.len());
    let mut names = BTreeSet::new();
    for template in book.stories.iter().chain(&book.passages).chain(&book.lost_property) {
        assert!(names.insert(template.name), "{} is there twice", template.name);
        for part in [Part::Train, Part::HeldOut] {
            template.tell(&book.macros, Some(part), &mut Random::new(3)).unwrap();
        }
    }
}

/// The text of a row that a model must not have seen: the story, or the first turn without the question's words.
fn texts(kind: Kind, part: Part, seed: u64, rows: usize) -> HashSet<String> {
    let text = |row: &Value| match kind {
        Kind::Stories => row["text"].as_str().unwrap().to_owned(),
        Kind::Echoes => row["prompt"].as_str().unwrap().to_owned(),
        _ => asked(row),
    };
    lines(kind, part, seed, rows).iter().map(text).collect()
}

#[test]
fn what_is_held_out_is_nowhere_in_training() {
    for kind in Kind::ALL {
        let trained = texts(kind, Part::Train, 11, 20_000);
        let held_out = texts(kind, Part::HeldOut, 12, 1000);
        let shared: Vec<&String> = held_out.intersection(&trained).collect();
        assert!(shared.is_empty(), "{}: {shared:?}", kind.name());
    }
    // Passages alone, whatever is asked about them: of each template the same.
    let book = Book::open().unwrap();
    for template in &book.passages {
        let tell =
            |part, round| template.tell(&book.macros, Some(part), &mut Random::of(5, "held", round)).unwrap().text;
        let trained: HashSet<String> = (0..400).map(|round| tell(Part::Train, round)).collect();
        assert!((0..40).all(|round| !trained.contains(&tell(Part::HeldOut, round))), "{}", template.name);
        assert!((0..40).any(|round| trained.contains(&tell(Part::Train, round))), "{}", template.name);
    }
}
