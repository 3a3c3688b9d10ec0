//! Rows of GSM8K test, put into clean text.

use attune_overlap::contamination::{EvalRow, EvalSet, Index, Layer, Scratch, Settings, load_eval_file};

use crate::common::{Draw, asset};

struct Given {
    index: Index,
    set: EvalSet,
    /// Clean texts of a few thousand characters.
    hosts: Vec<String>,
}

fn given() -> Option<Given> {
    let (rows, wiki) = (asset("datasets/gsm8k/test.jsonl")?, asset("datasets/text/wikitext-2/valid.txt")?);
    let set = load_eval_file(&rows).expect("GSM8K");
    assert_eq!(set.rows.len(), 1319);
    let text = std::fs::read_to_string(wiki).expect("WikiText");
    let lines: Vec<&str> = text.lines().filter(|line| line.len() > 200).collect();
    let hosts = lines.chunks(5).map(|lines| lines.join("\n")).collect();
    Some(Given { index: Index::build(vec![set.clone()], &Settings::default()).expect("an index"), set, hosts })
}

fn answer(row: &EvalRow) -> &str {
    row.answer.as_deref().expect("an answer")
}

/// Plants each row once and counts those that are not found, or not where they are.
fn missed(given: &Given, seed: u64, change: impl Fn(&EvalRow, &mut Draw) -> String) -> Vec<String> {
    let mut scratch = Scratch::default();
    let mut missed = Vec::new();
    for (number, row) in given.set.rows.iter().enumerate() {
        let mut draw = Draw(seed << 32 | number as u64);
        let text = change(row, &mut draw);
        let host = &given.hosts[draw.below(given.hosts.len())];
        let spaces: Vec<usize> = host.match_indices(' ').map(|(at, _)| at).collect();
        let at = spaces[draw.below(spaces.len())];
        let document = format!("{} {text} {}", &host[..at], &host[at..]);
        let found = given.index.check(&document, &mut scratch);
        // A word of the clean text beside it may happen to be the one that was changed.
        let inside = |place: usize| (at.saturating_sub(20)..=at + 20 + text.len()).contains(&place);
        let own = found.iter().any(|found| found.row == number && inside(found.span.start) && inside(found.span.end));
        if !own {
            missed.push(text);
        }
    }
    missed
}

#[test]
fn rows_are_found_as_they_are() {
    let Some(given) = given() else { return };
    assert_eq!(missed(&given, 1, |row, _| format!("{} {}", row.question, answer(row))), [""; 0]);
    assert_eq!(missed(&given, 2, |row, _| row.question.clone()), [""; 0]);
    assert_eq!(missed(&given, 3, |row, _| format!("user: {}\n\nassistant: I say 7.", row.question)), [""; 0]);
}

#[test]
fn case_and_punctuation_hide_no_row() {
    let Some(given) = given() else { return };
    assert_eq!(missed(&given, 4, |row, _| row.question.to_lowercase()), [""; 0]);
    assert_eq!(missed(&given, 5, |row, _| row.question.to_uppercase()), [""; 0]);
    let bare = |char: char| char.is_alphanumeric() || char.is_whitespace();
    assert_eq!(missed(&given, 6, |row, _| row.question.chars().filter(|&char| bare(char)).collect()), [""; 0]);
    let spaced =
        |row: &EvalRow, _: &mut Draw| row.question.chars().map(|char| if bare(char) { char } else { ' ' }).collect();
    assert_eq!(missed(&given, 7, spaced), [""; 0]);
    assert_eq!(missed(&given, 8, |row, _| row.question.replace(' ', " * ")), [""; 0]);
}

#[test]
fn one_word_changed_hides_no_row() {
    let Some(given) = given() else { return };
    let edit = |row: &EvalRow, draw: &mut Draw, change: fn(&str) -> String| {
        let mut words: Vec<String> = row.question.split_whitespace().map(str::to_owned).collect();
        let place = draw.below(words.len());
        words[place] = change(&words[place]);
        words.join(" ")
    };
    for seed in 0..3 {
        assert_eq!(missed(&given, 10 + seed, |row, draw| edit(row, draw, |_| "window".into())), [""; 0]);
        assert_eq!(missed(&given, 20 + seed, |row, draw| edit(row, draw, |word| format!("{word} 33 "))), [""; 0]);
        assert_eq!(missed(&given, 30 + seed, |row, draw| edit(row, draw, |_| String::new())), [""; 0]);
    }
}

#[test]
fn clean_text_is_clean() {
    let Some(given) = given() else { return };
    let mut scratch = Scratch::default();
    for host in &given.hosts {
        assert_eq!(given.index.check(host, &mut scratch), []);
    }
}

/// The two parts of GSM8K share no row, but they share kinds of problems.
#[test]
fn rows_of_the_train_part_are_not_taken_for_rows_of_the_test_part() {
    let Some(given) = given() else { return };
    let Some(path) = asset("datasets/gsm8k/train.jsonl") else { return };
    let train = load_eval_file(&path).expect("GSM8K");
    let mut scratch = Scratch::default();
    let mut reworded = 0;
    for row in &train.rows {
        let found = given.index.check(&format!("{} {}", row.question, answer(row)), &mut scratch);
        assert!(found.iter().all(|found| found.layer == Layer::Paraphrase), "{found:?}");
        reworded += usize::from(!found.is_empty());
    }
    assert!(reworded <= 4, "{reworded} of {}", train.rows.len());
}

#[test]
fn threads_find_the_same() {
    use rayon::prelude::*;
    let Some(given) = given() else { return };
    let texts: Vec<String> = given
        .set
        .rows
        .iter()
        .take(200)
        .zip(&given.hosts)
        .map(|(row, host)| format!("{host} {} {}", row.question, answer(row)))
        .collect();
    let mut scratch = Scratch::default();
    let one: Vec<_> = texts.iter().map(|text| given.index.check(text, &mut scratch)).collect();
    // In the other order, with what other texts left in the scratch.
    let backwards: Vec<_> = texts.iter().rev().map(|text| given.index.check(text, &mut scratch)).collect();
    assert_eq!(one, backwards.into_iter().rev().collect::<Vec<_>>());
    for threads in [2, 5] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        let many: Vec<_> = pool.install(|| {
            texts.par_iter().map_init(Scratch::default, |scratch, text| given.index.check(text, scratch)).collect()
        });
        assert_eq!(one, many);
    }
    // Built anew, the index is the same.
    let again = Index::build(vec![given.set.clone()], &Settings::default()).expect("an index");
    assert_eq!(one, texts.iter().map(|text| again.check(text, &mut scratch)).collect::<Vec<_>>());
}
