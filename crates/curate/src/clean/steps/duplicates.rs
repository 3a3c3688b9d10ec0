//! Rows that say the same.

use std::collections::HashMap;

use attune_config::{DuplicateField, DuplicateKeep, RowAction};
use attune_overlap::near_duplicates::{self, Report, Settings, semantic};

use crate::clean::{EXACT, NEAR, SEMANTIC, Work, apply, name_of, refusal};
use crate::error::CurateError;
use crate::fates::Why;
use crate::live::{Field, Live};
use crate::progress::Progress;
use crate::report::StepReport;

/// The rows that stay, in the order in which they may stand for others.
fn by_priority(work: &Work<'_>, live: &[u32]) -> Option<Vec<u32>> {
    match work.request.config.clean.duplicate_keep {
        DuplicateKeep::First => None,
        DuplicateKeep::Best => {
            let mut order: Vec<u32> = (0..live.len() as u32).collect();
            let quality = |&index: &u32| work.facts[live[index as usize] as usize].quality;
            order.sort_by(|left, right| quality(right).total_cmp(&quality(left)).then(left.cmp(right)));
            Some(order)
        }
    }
}

/// Rows whose content is equal, whatever their form.
pub(in crate::clean) fn exact_duplicates(work: &mut Work<'_>) -> Result<(), CurateError> {
    let action = work.request.config.clean.duplicates;
    if action == RowAction::Off {
        return Ok(());
    }
    let live = work.fates.live();
    let mut report = StepReport::new(EXACT, name_of(&action), live.len());
    let order = by_priority(work, &live).unwrap_or_else(|| (0..live.len() as u32).collect());
    let mut kept: HashMap<[u8; 32], u32> = HashMap::with_capacity(live.len());
    for index in order {
        let row = live[index as usize];
        let first = *kept.entry(work.facts[row as usize].hash).or_insert(row);
        if first == row {
            continue;
        }
        report.found += 1;
        report.example(|| {
            format!("{}: equal to {}", work.corpus.origin(row as usize), work.corpus.origin(first as usize))
        });
        apply(work, action, row as usize, EXACT, || Why::Duplicate { kept: first, field: "content", similarity: 1.0 });
    }
    close(work, report, action, "clean.duplicates");
    Ok(())
}

/// Rows whose question, or whose whole text, is nearly that of another one.
pub(in crate::clean) fn near_duplicates(work: &mut Work<'_>) -> Result<(), CurateError> {
    let clean = &work.request.config.clean;
    let action = clean.duplicates;
    if action == RowAction::Off {
        return Ok(());
    }
    let mut report = StepReport::new(NEAR, name_of(&action), work.fates.staying());
    for field in [DuplicateField::Row, DuplicateField::Question] {
        if !clean.duplicate_fields.contains(&field) {
            continue;
        }
        let (name, field) = match field {
            DuplicateField::Row => ("whole text", Field::Row),
            DuplicateField::Question => ("question", Field::Question),
        };
        // A row without a question has its whole text compared and nothing else.
        let live: Vec<u32> = work
            .fates
            .live()
            .into_iter()
            .filter(|&row| field == Field::Row || !work.facts[row as usize].is_document)
            .collect();
        let order = by_priority(work, &live);
        let settings = Settings { threshold: clean.duplicate_threshold, ..Settings::default() };
        let watch = work.watch;
        watch.progress(Progress { step: "near-duplicates", done: 0, total: Some(live.len() as u64), unit: "rows" })?;
        let texts = Live { store: &work.texts, rows: &live, field };
        let found = near_duplicates::find(&texts, order.as_deref(), &settings, &|_| ())?;
        take(work, &mut report, action, NEAR, &live, name, &found);
    }
    close(work, report, action, "clean.duplicates");
    Ok(())
}

/// Rows that say the same in other words, by the user's embedding model.
pub(in crate::clean) fn semantic_duplicates(work: &mut Work<'_>) -> Result<(), CurateError> {
    let clean = &work.request.config.clean;
    let action = clean.duplicates;
    let Some(folder) = clean.semantic_model.as_deref().filter(|_| action != RowAction::Off) else { return Ok(()) };
    let model = semantic::Model::load(folder)?;
    let mut report = StepReport::new(SEMANTIC, name_of(&action), work.fates.staying());
    let live = work.fates.live();
    let order = by_priority(work, &live);
    let settings = semantic::Settings { threshold: clean.semantic_threshold, ..semantic::Settings::default() };
    let texts = Live { store: &work.texts, rows: &live, field: Field::Row };
    let found = semantic::find(&texts, order.as_deref(), &model, &settings, &|_| ())?;
    take(work, &mut report, action, SEMANTIC, &live, "meaning", &found);
    close(work, report, action, "clean.duplicates");
    Ok(())
}

fn take(
    work: &mut Work<'_>,
    report: &mut StepReport,
    action: RowAction,
    step: &'static str,
    live: &[u32],
    field: &'static str,
    found: &Report,
) {
    for removal in &found.removals {
        let (row, kept) = (live[removal.removed], live[removal.kept]);
        report.found += 1;
        report.count(field);
        report.example(|| {
            let (this, other) = (work.corpus.origin(row as usize), work.corpus.origin(kept as usize));
            format!("{this}: the {field} is that of {other} ({:.2})", removal.similarity)
        });
        let similarity = removal.similarity as f32;
        apply(work, action, row as usize, step, || Why::Duplicate { kept, field, similarity });
    }
    if found.guarded_total > 0 {
        *report.kinds.entry(format!("{field} alike but for a number, a name or a negation: kept")).or_default() +=
            found.guarded_total as usize;
    }
}

/// Ends a step: its counts, and the refusal if it is to block.
pub(super) fn close(work: &mut Work<'_>, mut report: StepReport, action: RowAction, key: &'static str) {
    report.removed = report.rows_in - work.fates.staying();
    if action == RowAction::Block && report.found > 0 {
        work.refusals.push(refusal(&report, key));
    }
    work.steps.push(report);
}
