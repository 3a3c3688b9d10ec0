//! What was found.

use super::Difference;

/// A text that may go.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Removal {
    /// Its number.
    pub removed: usize,
    /// The number of the text that stays for it; that one is removed nowhere.
    pub kept: usize,
    /// How alike the two are: exactly computed, never below the threshold.
    pub similarity: f64,
    /// Whether the two are equal but for case and white space.
    pub exact: bool,
}

/// A text that stays although another one is like it, because the guard saw a difference.
#[derive(Debug, Clone, PartialEq)]
pub struct Guarded {
    /// Its number.
    pub row: usize,
    /// The number of the text that it is like; others may be as well.
    pub like: usize,
    /// How alike they are.
    pub similarity: f64,
    /// What is different.
    pub difference: Difference,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Report {
    /// The texts that may go, by their number.
    pub removals: Vec<Removal>,
    /// Texts that the guard kept, in the order of priority; the first few ([`Settings::listed`](super::Settings::listed)).
    pub guarded: Vec<Guarded>,
    /// How many texts the guard is known to have kept. Of the texts that are like a row but for the guard a few are
    /// looked at, and in crowds none, so this is a lower bound.
    pub guarded_total: u64,
    /// Pairs that the sketches proposed.
    pub candidates: u64,
    /// Pairs whose similarity was computed.
    pub verified: u64,
    /// Texts that share a band with very many others, and were compared by the index for that.
    pub crowded: u64,
    /// Texts that stayed, but were not compared with everything they may be like because there was too much.
    pub cut_short: u64,
}

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Texts are read, and sketched or embedded.
    Reading,
    /// Texts are compared.
    Comparing,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub stage: Stage,
    /// Texts that are done in this stage.
    pub done: usize,
    /// Texts in all.
    pub total: usize,
}
