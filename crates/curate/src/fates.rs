//! Which rows stay and why the others go.

use serde::Serialize;

/// Why a row goes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Why {
    /// Said in words.
    Words(Box<str>),
    /// Another row that stays says the same.
    Duplicate {
        /// The row that stays.
        kept: u32,
        /// What was compared.
        field: &'static str,
        /// How alike they are; 1 for equal ones.
        similarity: f32,
    },
}

/// A row that goes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Removal {
    pub(crate) step: &'static str,
    pub(crate) why: Why,
}

/// The fate of every row, by its number.
#[derive(Debug, Clone)]
pub(crate) struct Fates {
    /// 0 stays, else the number of its removal plus one.
    of: Vec<u32>,
    removals: Vec<Removal>,
}

impl Fates {
    pub(crate) fn new(rows: usize) -> Self {
        Self { of: vec![0; rows], removals: Vec::new() }
    }

    pub(crate) fn stays(&self, row: usize) -> bool {
        self.of[row] == 0
    }

    /// Removes a row that stays until now.
    pub(crate) fn remove(&mut self, row: usize, step: &'static str, why: Why) {
        assert!(self.stays(row), "row {row} is removed twice");
        self.removals.push(Removal { step, why });
        self.of[row] = u32::try_from(self.removals.len()).unwrap_or(u32::MAX);
    }

    pub(crate) fn removal(&self, row: usize) -> Option<&Removal> {
        match self.of[row] {
            0 => None,
            number => Some(&self.removals[number as usize - 1]),
        }
    }

    /// How many rows a step removed.
    pub(crate) fn removed_by(&self, step: &str) -> usize {
        self.removals.iter().filter(|removal| removal.step == step).count()
    }

    pub(crate) fn staying(&self) -> usize {
        self.of.len() - self.removals.len()
    }

    /// The rows that stay, in order.
    pub(crate) fn live(&self) -> Vec<u32> {
        (0..self.of.len() as u32).filter(|&row| self.of[row as usize] == 0).collect()
    }
}

/// A place in a file, as it is written.
#[derive(Debug, Serialize)]
pub(crate) struct PlaceLine {
    pub(crate) file: String,
    pub(crate) row: usize,
    pub(crate) line: usize,
    pub(crate) hash: String,
}
