//! What the tests share.
#![allow(clippy::print_stdout, reason = "a skipped test says so")]

use std::path::PathBuf;

use attune_overlap::contamination::{EvalRow, EvalSet, Index, Match, Scratch, Settings};

/// A file or folder of the shared test assets, or `None` with a word on why the test is skipped.
pub(crate) fn asset(path: &str) -> Option<PathBuf> {
    let shared = std::env::var_os("ATTUNE_SHARED")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared")), PathBuf::from);
    let file = shared.join("assets").join(path);
    if file.exists() {
        return Some(file);
    }
    println!("SKIPPED: no {}", file.display());
    None
}

/// A set of rows of question, answer and passage; an empty text is none.
pub(crate) fn set(name: &str, rows: &[(&str, &str, &str)]) -> EvalSet {
    let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let row = |(number, (question, answer, passage)): (usize, &(&str, &str, &str))| EvalRow {
        id: number.to_string(),
        question: (*question).to_owned(),
        answer: some(answer),
        passage: some(passage),
    };
    EvalSet { name: name.to_owned(), rows: rows.iter().enumerate().map(row).collect() }
}

/// The index of one set.
pub(crate) fn index(rows: &[(&str, &str, &str)], settings: &Settings) -> Index {
    Index::build(vec![set("set", rows)], settings).expect("an index")
}

/// What is found in a text.
pub(crate) fn check(index: &Index, text: &str) -> Vec<Match> {
    index.check(text, &mut Scratch::default())
}

/// A small generator, so that every run draws the same.
pub(crate) struct Draw(pub(crate) u64);

impl Draw {
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((x ^ x >> 31) % limit.max(1) as u64) as usize
    }
}
