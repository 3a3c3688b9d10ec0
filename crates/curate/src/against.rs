//! Evaluation data that must not be trained on.

use attune_config::ContaminationConfig;
use attune_data::Row;
use attune_overlap::contamination::{
    Index, Layer, Match, ParaphraseSettings, Scratch, Settings, find_by_name, load_eval_files,
};
use rayon::prelude::*;

use crate::error::CurateError;
use crate::texts::Texts;

/// Reads the evaluation sets that the configuration names; `None` if it names none.
///
/// # Errors
/// When a file cannot be read or a name is not found.
pub fn index(config: &ContaminationConfig) -> Result<Option<Index>, CurateError> {
    let mut sets = Vec::new();
    for path in &config.against {
        let name = path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into());
        sets.push(load_eval_files(&name, std::slice::from_ref(path))?);
    }
    if let Some(folder) = &config.folder {
        for name in &config.names {
            sets.push(load_eval_files(name, &find_by_name(folder, name)?)?);
        }
    }
    if sets.is_empty() {
        return Ok(None);
    }
    let settings = Settings {
        threshold: config.threshold,
        paraphrase: config.paraphrases.then(ParaphraseSettings::default),
        ..Settings::default()
    };
    Ok(Some(Index::build(sets, &settings)?))
}

/// A row that repeats evaluation data.
#[derive(Debug, Clone, PartialEq)]
pub struct Hit {
    /// Its number in the list that was compared.
    pub row: usize,
    /// Name of the evaluation set.
    pub set: String,
    /// Which row it repeats and how sure that is.
    pub words: String,
}

/// The rows that repeat evaluation data, each with its best match, in order; on all threads.
pub fn find(index: &Index, rows: &[Row]) -> Vec<Hit> {
    (rows.par_iter().enumerate())
        .map_init(Scratch::default, |scratch, (row, content)| {
            let text = Texts::of_row(content).all();
            best(index, &text, scratch).map(|(set, words)| Hit { row, set, words })
        })
        .flatten_iter()
        .collect()
}

/// The best match of a text: the set's name, and the match in words.
pub(crate) fn best(index: &Index, text: &str, scratch: &mut Scratch) -> Option<(String, String)> {
    let found = index.check(text, scratch);
    let best = found.into_iter().max_by(|left, right| left.score.total_cmp(&right.score))?;
    Some((index.sets()[best.set].name.clone(), describe(index, &best, text)))
}

/// A match in words: which row of which set, how sure, and the stretch of text.
pub fn describe(index: &Index, found: &Match, text: &str) -> String {
    const SHOWN: usize = 100;
    let set = &index.sets()[found.set];
    let layer = match found.layer {
        Layer::Words => "word by word",
        Layer::Paraphrase => "in other words",
    };
    let excerpt: String = text[found.span.clone()]
        .chars()
        .take(SHOWN)
        .map(|character| if character.is_control() { ' ' } else { character })
        .collect();
    let dots = if text[found.span.clone()].chars().count() > SHOWN { "..." } else { "" };
    // Rows without a name of their own are called `row 12` already.
    let id = &set.rows[found.row].id;
    let word = if id.starts_with("row ") { "" } else { "row " };
    format!("{word}{id} of {} {layer} (score {:.2}): \"{excerpt}{dots}\"", set.name, found.score)
}
