//! What the tests and the measurement share: texts, and the same question answered by comparing everything.
#![allow(dead_code, reason = "each user needs a part of it")]

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use attune_overlap::near_duplicates::{Report, Texts};
use serde_json::Value;

/// Texts in memory.
pub(crate) struct Rows(pub(crate) Vec<String>);

impl Texts for Rows {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn read(&self, index: usize, into: &mut String) -> std::io::Result<()> {
        into.clear();
        into.push_str(&self.0[index]);
        Ok(())
    }
}

/// Random numbers with a seed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mixed = (self.0 ^ self.0 >> 29).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed ^ mixed >> 32
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}

/// The shared assets, or `None` where there are none.
pub(crate) fn assets() -> Option<PathBuf> {
    let shared = std::env::var_os("ATTUNE_SHARED")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared")), PathBuf::from);
    let assets = shared.join("assets");
    assets.join("datasets").is_dir().then_some(assets)
}

/// Sets of shingles, each shingle a number that stands for its characters. Understands plain texts alone: white space and
/// case are all that is brought to one form.
pub(crate) struct Brute {
    names: HashMap<Vec<char>, u32>,
    chars: usize,
}

impl Brute {
    pub(crate) fn new(chars: usize) -> Self {
        Self { names: HashMap::new(), chars }
    }

    pub(crate) fn set(&mut self, text: &str) -> Vec<u32> {
        let text: Vec<char> = text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase().chars().collect();
        let windows: Vec<&[char]> = match text.len() {
            0 => Vec::new(),
            short if short < self.chars => vec![&text],
            _ => text.windows(self.chars).collect(),
        };
        let mut set: Vec<u32> = windows
            .into_iter()
            .map(|window| {
                let next = self.names.len() as u32;
                *self.names.entry(window.to_vec()).or_insert(next)
            })
            .collect();
        set.sort_unstable();
        set.dedup();
        set
    }
}

pub(crate) fn jaccard(left: &[u32], right: &[u32]) -> f64 {
    let (mut a, mut b, mut common) = (0, 0, 0);
    while let (Some(x), Some(y)) = (left.get(a), right.get(b)) {
        common += usize::from(x == y);
        a += usize::from(x <= y);
        b += usize::from(y <= x);
    }
    common as f64 / (left.len() + right.len() - common).max(1) as f64
}

/// For each row the first kept row it is like, by comparing it with every kept row.
pub(crate) fn greedy(sets: &[Vec<u32>], order: &[usize], threshold: f64) -> Vec<Option<usize>> {
    let mut kept: Vec<usize> = Vec::new();
    let mut fates = vec![None; sets.len()];
    for &row in order {
        let set = &sets[row];
        if set.is_empty() {
            continue;
        }
        let may = |other: &Vec<u32>| {
            let (small, large) = (set.len().min(other.len()), set.len().max(other.len()));
            small as f64 >= threshold * large as f64 - 1.0
        };
        fates[row] =
            kept.iter().copied().find(|&earlier| may(&sets[earlier]) && jaccard(set, &sets[earlier]) >= threshold);
        if fates[row].is_none() {
            kept.push(row);
        }
    }
    fates
}

/// Asserts what every report must keep.
pub(crate) fn assert_kept_promises(report: &Report, sets: &[Vec<u32>], threshold: f64) {
    let removed: std::collections::HashSet<usize> = report.removals.iter().map(|removal| removal.removed).collect();
    assert_eq!(removed.len(), report.removals.len(), "a row was removed twice");
    for removal in &report.removals {
        assert!(!removed.contains(&removal.kept), "the survivor of {} was removed", removal.removed);
        let exact = jaccard(&sets[removal.removed], &sets[removal.kept]);
        assert!(exact >= threshold, "{removal:?} is {exact}");
        assert!((exact - removal.similarity).abs() < 1e-12, "{removal:?} is {exact}");
    }
}

/// Question-and-answer rows of the shared data sets, ASCII alone, at most `most`.
pub(crate) fn real_rows(assets: &Path, most: usize) -> Vec<String> {
    let datasets = assets.join("datasets");
    let read = |name: &str| std::fs::read_to_string(datasets.join(name)).expect("a data set");
    let lines =
        |name: &str| -> Vec<Value> { read(name).lines().filter_map(|line| serde_json::from_str(line).ok()).collect() };
    let mut sources =
        vec![lines("gsm8k/train.jsonl"), lines("lima/lima.json"), lines("sharegpt/sharegpt_grabbag_small.jsonl")];
    for name in ["code_alpaca/code_alpaca_2k.json", "llama-factory/alpaca_en_demo.json"] {
        sources.push(serde_json::from_str(&read(name)).expect("a list"));
    }
    let mut rows: Vec<String> = Vec::new();
    // In turns, so that every source has its share.
    for turn in 0..10_000 {
        for source in &sources {
            let mut text = String::new();
            source.get(turn).into_iter().for_each(|row| strings(row, &mut text));
            if !text.trim().is_empty() && text.is_ascii() && text.len() < 20_000 {
                rows.push(text);
            }
        }
    }
    rows.truncate(most);
    rows
}

fn strings(value: &Value, into: &mut String) {
    match value {
        Value::String(text) => {
            into.push_str(text);
            into.push('\n');
        }
        Value::Array(values) => values.iter().for_each(|value| strings(value, into)),
        Value::Object(map) => map.values().for_each(|value| strings(value, into)),
        _ => {}
    }
}

/// A copy with some characters replaced, so that about that share of shingles changes.
pub(crate) fn edited(text: &str, share: f64, random: &mut Random) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    let edits = (chars.len() as f64 * share / 5.0).ceil() as usize;
    for _ in 0..edits {
        let at = random.below(chars.len());
        match random.below(3) {
            0 => chars[at] = char::from(b'a' + random.below(26) as u8),
            1 if chars.len() > 6 => {
                chars.remove(at);
            }
            _ => chars.insert(at, char::from(b'a' + random.below(26) as u8)),
        }
    }
    chars.into_iter().collect()
}

/// Rows in a random order, `planted` of which are edited copies of others.
pub(crate) fn with_planted(mut rows: Vec<String>, planted: usize, random: &mut Random) -> Vec<String> {
    let originals = rows.len();
    for _ in 0..planted {
        let at = random.below(originals);
        let share = random.below(200) as f64 / 1_000.0;
        rows.push(edited(&rows[at].clone(), share, random));
    }
    for at in (1..rows.len()).rev() {
        rows.swap(at, random.below(at + 1));
    }
    rows
}
