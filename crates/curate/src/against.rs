//! Evaluation data that must not be trained on.

use attune_config::ContaminationConfig;
use attune_overlap::contamination::{Index, Layer, Match, ParaphraseSettings, Settings, find_by_name, load_eval_files};

use crate::error::CurateError;

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
    format!("row {} of {} {layer} (score {:.2}): \"{excerpt}{dots}\"", set.rows[found.row].id, set.name, found.score)
}
