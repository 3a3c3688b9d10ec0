//! `ft data diff`: what changed between two versions of a set, row by row.
//!
//! Rows of equal content are the same. Of the others, a row of the old version and one of the new belong together when
//! they have the same id, the same question, or, failing that, nearly the same text; then they are one row that changed.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use attune_config::SplitConfig;
use attune_data::{FormatChoice, ReadOptions};
use attune_overlap::near_duplicates;
use serde::Serialize;

use crate::corpus::{Corpus, Input};
use crate::error::CurateError;
use crate::lineage::hex;
use crate::progress::Watch;
use crate::texts::{Texts, name_under};

/// What is to be compared.
pub struct Request<'a> {
    /// The older files.
    pub old: &'a [PathBuf],
    /// The newer files.
    pub new: &'a [PathBuf],
    /// The form of their rows.
    pub format: FormatChoice,
    /// How they are read.
    pub read: &'a ReadOptions,
    /// From which similarity on rows are near to each other.
    pub split: &'a SplitConfig,
    /// Folder for temporary files.
    pub scratch: &'a Path,
}

/// A row in one version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Side {
    /// Where it stands.
    pub place: String,
    /// Its content hash.
    pub hash: String,
    /// Question and answer.
    pub question: String,
    /// What is learned.
    pub answer: String,
}

/// A difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "change", rename_all = "kebab-case")]
pub enum Change {
    /// A row of the new version alone.
    Added {
        /// The row.
        new: Side,
    },
    /// A row of the old version alone.
    Removed {
        /// The row.
        old: Side,
    },
    /// A row of both, with other content.
    Changed {
        /// Before.
        old: Side,
        /// After.
        new: Side,
        /// How they were found to belong together: `id`, `question` or `text`.
        by: &'static str,
    },
}

/// The differences of two versions.
#[derive(Debug, Clone, Serialize)]
pub struct Diff {
    /// Files of the old version.
    pub old: Vec<Input>,
    /// Files of the new version.
    pub new: Vec<Input>,
    /// Rows of equal content.
    pub same: usize,
    /// Whether rows of equal content stand in another order.
    pub reordered: bool,
    /// Number of rows only in the new version.
    pub added: usize,
    /// Number of rows only in the old version.
    pub removed: usize,
    /// Number of rows that changed.
    pub changed: usize,
    /// Every difference: changes and removals in the order of the old version, then additions in that of the new one.
    pub changes: Vec<Change>,
}

struct Known {
    hash: [u8; 32],
    id: Option<String>,
    question: u128,
}

fn known(corpus: &Corpus, watch: &dyn Watch) -> Result<Vec<Known>, CurateError> {
    let mut rows = Vec::with_capacity(corpus.len());
    corpus.for_each(
        "reading rows",
        watch,
        |item| {
            let id = ["id", "uid", "uuid", "_id"].iter().find_map(|key| name_under(&item.record.object, key));
            match &item.row {
                Ok(row) => {
                    let texts = Texts::of(&item.record, row);
                    Known { hash: row.hash, id, question: short(&texts.question) }
                }
                // A row that does not fit its form still is what its bytes are.
                Err(_) => {
                    let json = serde_json::to_vec(&item.record.object).unwrap_or_default();
                    Known { hash: *blake3::hash(&json).as_bytes(), id, question: 0 }
                }
            }
        },
        |_, row| {
            rows.push(row);
            Ok(())
        },
    )?;
    Ok(rows)
}

fn short(text: &str) -> u128 {
    let text = text.trim();
    if text.is_empty() {
        return 0;
    }
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&blake3::hash(text.as_bytes()).as_bytes()[..16]);
    u128::from_le_bytes(bytes)
}

/// The texts of rows that have no partner yet, the old ones first.
struct Rest<'a> {
    corpora: [&'a Corpus; 2],
    rows: Vec<(usize, u32)>,
}

impl near_duplicates::Texts for Rest<'_> {
    fn len(&self) -> usize {
        self.rows.len()
    }

    fn read(&self, index: usize, into: &mut String) -> std::io::Result<()> {
        let (side, row) = self.rows[index];
        let item = self.corpora[side].item(row as usize)?;
        into.clear();
        if let Ok(row) = &item.row {
            into.push_str(&Texts::of(&item.record, row).whole());
        }
        Ok(())
    }
}

/// Compares two versions.
///
/// # Errors
/// [`CurateError`] when the files cannot be read.
pub fn diff(request: &Request<'_>, watch: &dyn Watch) -> Result<Diff, CurateError> {
    let read = |paths| Corpus::read(paths, request.format, request.read, request.scratch, watch);
    let (old, new) = (read(request.old)?, read(request.new)?);
    let (old_rows, new_rows) = (known(&old, watch)?, known(&new, watch)?);
    let mut partners = Partners::new(old_rows.len(), new_rows.len());

    partners.join(&old_rows, &new_rows, Some("same"), |row| Some(row.hash.to_vec()), true);
    let same = partners.count("same");
    let order: Vec<u32> = partners.of_old.iter().filter_map(|partner| partner.map(|(new, _)| new)).collect();
    let reordered = order.windows(2).any(|pair| pair[0] > pair[1]);
    partners.join(&old_rows, &new_rows, Some("id"), |row| row.id.as_ref().map(|id| id.as_bytes().to_vec()), false);
    let question = |row: &Known| (row.question != 0).then(|| row.question.to_le_bytes().to_vec());
    partners.join(&old_rows, &new_rows, Some("question"), question, true);
    partners.join_near(&old, &new, request.split.near_duplicate_threshold)?;

    let mut changes = Vec::new();
    let (mut added, mut removed, mut changed) = (0, 0, 0);
    for (row, partner) in partners.of_old.iter().enumerate() {
        match partner {
            Some((_, "same")) => {}
            Some((new_row, by)) => {
                changed += 1;
                let (old, new) = (side(&old, row, &old_rows)?, side(&new, *new_row as usize, &new_rows)?);
                changes.push(Change::Changed { old, new, by });
            }
            None => {
                removed += 1;
                changes.push(Change::Removed { old: side(&old, row, &old_rows)? });
            }
        }
    }
    for (row, taken) in partners.new_taken.iter().enumerate() {
        if !taken {
            added += 1;
            changes.push(Change::Added { new: side(&new, row, &new_rows)? });
        }
    }
    Ok(Diff {
        old: old.inputs().to_vec(),
        new: new.inputs().to_vec(),
        same,
        reordered,
        added,
        removed,
        changed,
        changes,
    })
}

fn side(corpus: &Corpus, row: usize, known: &[Known]) -> Result<Side, CurateError> {
    let item = corpus.item(row)?;
    let texts = item.row.as_ref().map(|row| Texts::of(&item.record, row)).unwrap_or_default();
    Ok(Side {
        place: item.record.origin.to_string(),
        hash: hex(&known[row].hash),
        question: texts.question,
        answer: texts.answer,
    })
}

struct Partners {
    of_old: Vec<Option<(u32, &'static str)>>,
    new_taken: Vec<bool>,
}

impl Partners {
    fn new(old: usize, new: usize) -> Self {
        Self { of_old: vec![None; old], new_taken: vec![false; new] }
    }

    fn count(&self, by: &str) -> usize {
        self.of_old.iter().flatten().filter(|(_, how)| *how == by).count()
    }

    /// Joins rows with equal keys in their order. Unless `repeated`, a key that occurs more than once joins nothing.
    fn join(
        &mut self,
        old: &[Known],
        new: &[Known],
        by: Option<&'static str>,
        key: impl Fn(&Known) -> Option<Vec<u8>>,
        repeated: bool,
    ) {
        let Some(by) = by else { return };
        let mut free: HashMap<Vec<u8>, Vec<u32>> = HashMap::new();
        for (row, known) in new.iter().enumerate().filter(|(row, _)| !self.new_taken[*row]) {
            if let Some(key) = key(known) {
                free.entry(key).or_default().push(row as u32);
            }
        }
        free.values_mut().for_each(|rows| rows.reverse());
        for (row, known) in old.iter().enumerate() {
            if self.of_old[row].is_some() {
                continue;
            }
            let Some(rows) = key(known).and_then(|key| free.get_mut(&key)) else { continue };
            if !repeated && rows.len() > 1 {
                continue;
            }
            if let Some(partner) = rows.pop() {
                self.of_old[row] = Some((partner, by));
                self.new_taken[partner as usize] = true;
            }
        }
    }

    fn join_near(&mut self, old: &Corpus, new: &Corpus, threshold: f64) -> Result<(), CurateError> {
        let left = (0..self.of_old.len() as u32).filter(|&row| self.of_old[row as usize].is_none()).map(|row| (0, row));
        let right = (0..self.new_taken.len() as u32).filter(|&row| !self.new_taken[row as usize]).map(|row| (1, row));
        let rest = Rest { corpora: [old, new], rows: left.chain(right).collect() };
        let settings = near_duplicates::Settings {
            threshold,
            guard: near_duplicates::Guard::off(),
            ..near_duplicates::Settings::default()
        };
        let report = near_duplicates::find(&rest, None, &settings, &|_| ())?;
        for removal in report.removals {
            let (kept, removed) = (rest.rows[removal.kept], rest.rows[removal.removed]);
            if let ((0, old), (1, new)) = (kept, removed)
                && self.of_old[old as usize].is_none()
                && !self.new_taken[new as usize]
            {
                self.of_old[old as usize] = Some((new, "text"));
                self.new_taken[new as usize] = true;
            }
        }
        Ok(())
    }
}
