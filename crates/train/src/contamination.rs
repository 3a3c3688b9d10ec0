//! The gate against evaluation data among the training rows.

use attune_config::Config;
use attune_curate::against;
use attune_data::Row;
use serde::{Deserialize, Serialize};

use crate::error::TrainError;

/// Rows that an error or a record names; the others are counted.
const LISTED: usize = 10;

/// What was compared and found, as `run.json` keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContaminationRecord {
    /// The evaluation sets.
    pub sets: Vec<EvaluationSet>,
    /// `contamination.threshold`.
    pub threshold: f64,
    /// Training rows that were compared.
    pub rows: usize,
    /// Training rows that repeat an evaluation row.
    pub repeats: usize,
    /// The first of them, each with the row that it repeats.
    pub first: Vec<String>,
    /// Why the run went on all the same: `contamination.allow`.
    pub allowed_because: Option<String>,
}

/// An evaluation set that was compared with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvaluationSet {
    /// Its name.
    pub name: String,
    /// Number of its rows.
    pub rows: usize,
}

/// Compares the training rows with the evaluation sets of the configuration; `None` if it names none.
///
/// # Errors
/// [`TrainError::Contaminated`] when rows repeat evaluation data and `contamination.allow` gives no reason to go on.
pub(crate) fn check(config: &Config, rows: &[Row]) -> Result<Option<ContaminationRecord>, TrainError> {
    let settings = &config.contamination;
    let Some(index) = against::index(settings).map_err(Box::new)? else { return Ok(None) };
    let hits = against::find(&index, rows);
    let first: Vec<String> =
        hits.iter().take(LISTED).map(|hit| format!("{}: {}", rows[hit.row].origin, hit.words)).collect();
    let sets = index.sets().iter().map(|set| EvaluationSet { name: set.name.clone(), rows: set.rows.len() }).collect();
    if !hits.is_empty() && settings.allow.is_none() {
        return Err(TrainError::Contaminated { repeats: hits.len(), rows: rows.len(), first });
    }
    Ok(Some(ContaminationRecord {
        sets,
        threshold: settings.threshold,
        rows: rows.len(),
        repeats: hits.len(),
        first,
        allowed_because: if hits.is_empty() { None } else { settings.allow.clone() },
    }))
}
