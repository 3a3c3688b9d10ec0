//! Lint of preference data.

mod common;

use std::io::Read as _;

use attune_data::screen::preference::{
    Labelled, Pair, balance, contradictions, giveaway, identical_neighbours, reversed_pairs,
};
use serde_json::Value;

fn pairs(rows: &[(String, String, String)]) -> Vec<Pair<'_>> {
    rows.iter().map(|(prompt, chosen, rejected)| Pair { prompt, chosen, rejected }).collect()
}

fn noise(count: usize) -> Vec<(String, String, String)> {
    let words = ["red", "blue", "green", "house", "tree", "river", "stone", "light", "cloud", "bread"];
    let text = |seed: usize| {
        let mut state = seed as u64;
        let mut next = || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((mixed ^ (mixed >> 31)) >> 33) as usize
        };
        (0..5 + next() % 20).map(|_| words[next() % 10]).collect::<Vec<_>>().join(" ")
    };
    (0..count)
        .map(|index| (format!("question {index}"), text(100_000 * index), text(100_000 * index + 50_000)))
        .collect()
}

#[test]
fn noise_is_no_giveaway() {
    let rows = noise(400);
    let found = giveaway(&pairs(&rows));
    assert!(found.accuracy < 0.65 && found.length_accuracy < 0.65 && !found.is_bad(), "{found:?}");
    assert_eq!(found, giveaway(&pairs(&rows)));
}

#[test]
fn planted_giveaways_are_found_and_named() {
    let mut rows = noise(400);
    rows.iter_mut().for_each(|row| row.1.insert_str(0, "Certainly! "));
    let found = giveaway(&pairs(&rows));
    assert!(found.is_bad() && found.accuracy > 0.98, "{found:?}");
    assert!(
        found.features.iter().any(|feature| feature.name.contains("certainly") && feature.weight > 0.0),
        "{found:?}"
    );

    let mut rows = noise(400);
    rows.iter_mut().for_each(|row| row.2 = row.1.chars().take(8).collect());
    let found = giveaway(&pairs(&rows));
    assert!(found.length_accuracy > 0.98 && found.is_bad(), "{found:?}");
}

#[test]
fn real_sets() {
    let Some(path) = common::asset("datasets/hh-rlhf/harmless-base-test.jsonl.gz") else { return };
    let mut text = String::new();
    flate2::read::GzDecoder::new(std::fs::File::open(path).expect("a file")).read_to_string(&mut text).expect("text");
    let rows: Vec<(String, String, String)> = text
        .lines()
        .take(1500)
        .map(|line| {
            let row: Value = serde_json::from_str(line).expect("JSON");
            let last = |key: &str| {
                let whole = row[key].as_str().unwrap_or("");
                let (prompt, answer) = whole.rsplit_once("\n\nAssistant:").unwrap_or(("", whole));
                (prompt.to_owned(), answer.to_owned())
            };
            let (prompt, chosen) = last("chosen");
            (prompt, chosen, last("rejected").1)
        })
        .collect();
    let found = giveaway(&pairs(&rows));
    println!("hh-rlhf: {found:?}");
    assert!(!found.is_bad() && found.accuracy < 0.75, "{found:?}");
}

#[test]
fn labels() {
    let row = |prompt, completion, desirable| Labelled { prompt, completion, desirable };
    let rows =
        [row("p", "a", true), row("p", "b", false), row("p", "b ", true), row("q", "b", true), row("r", "c", true)];
    let found = contradictions(&rows);
    assert_eq!((found.len(), found[0].first, found[0].second), (1, 1, 2));
    assert_eq!(identical_neighbours(&rows), [2, 3]);
    let balanced = balance(&rows).expect("both labels");
    assert!(!balanced.balanced);
    // 4 desirable, 1 undesirable: 4 / (1 w) between 1 and 4/3 means w between 3 and 4.
    assert_eq!(balanced.desirable_weight, (1.0, 1.0));
    assert!((balanced.undesirable_weight.0 - 3.0).abs() < 1e-12 && (balanced.undesirable_weight.1 - 4.0).abs() < 1e-12);
    assert!(balance(&rows[..1]).is_none());
    let pair = |chosen, rejected| Pair { prompt: "p", chosen, rejected };
    assert_eq!(reversed_pairs(&[pair("a", "b"), pair("c", "c"), pair("b", "a")]).len(), 1);
    assert_eq!(giveaway(&[pair("c", "c")]).identical, 1);
}
