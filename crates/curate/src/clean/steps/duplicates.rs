//! Rows that say the same.

use std::collections::HashMap;

use attune_config::{DuplicateField, DuplicateKeep, RowAction};
use attune_overlap::near_duplicates::{self, Report, Settings, semantic};

use crate::clean::{EXACT, NEAR, SEMANTIC, Verdict, Work, apply, name_of, refusal};
use crate::error::CurateError;
use crate::fates::Why;
use crate::live::{Field, Live};
use crate::report::StepReport;

/// The rows that stay, in the order in which they may stand for others: first those that already do, because a row that is
/// named as the one that stays must stay.
fn by_priority(work: &Work<'_>, live: &[u32]) -> Vec<u32> {
    let mut order: Vec<u32> = (0..live.len() as u32).collect();
    let fact = |&index: &u32| &work.facts[live[index as usize] as usize];
    match work.request.config.clean.duplicate_keep {
        DuplicateKeep::First => order.sort_by_key(|index| (!fact(index).stands_for_others, *index)),
        DuplicateKeep::Best => order.sort_by(|left, right| {
            let by_standing = fact(right).stands_for_others.cmp(&fact(left).stands_for_others);
            by_standing.then(fact(right).quality.total_cmp(&fact(left).quality)).then(left.cmp(right))
        }),
    }
    order
}

/// Removes a row in favour of another one, which from now on stands for it. A row that stands for others stays.
fn replace(work: &mut Work<'_>, action: RowAction, row: u32, step: &'static str, why: Why) {
    let Why::Duplicate { kept, .. } = why else { return };
    if action != RowAction::Remove || work.facts[row as usize].stands_for_others {
        return;
    }
    work.facts[kept as usize].stands_for_others = true;
    apply(work, action, row as usize, step, || why);
}

/// Rows whose content is equal, whatever their form.
pub(in crate::clean) fn exact_duplicates(work: &mut Work<'_>) -> Result<(), CurateError> {
    let action = work.request.config.clean.duplicates;
    if action == RowAction::Off {
        return Ok(());
    }
    let live = work.fates.live();
    let mut report = StepReport::new(EXACT, name_of(&action), live.len());
    let order = by_priority(work, &live);
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
        replace(work, action, row, EXACT, Why::Duplicate { kept: first, field: "content", similarity: 1.0 });
    }
    close(work, report, action, "clean.duplicates");
    Ok(())
}

/// Rows by what they refer to, in the order of the first ones: "Summarise the text" about two texts is no repetition.
fn by_context(work: &Work<'_>, rows: impl Iterator<Item = u32>) -> Vec<Vec<u32>> {
    let mut numbers: HashMap<u64, usize> = HashMap::new();
    let mut groups: Vec<Vec<u32>> = Vec::new();
    for row in rows {
        let next = groups.len();
        let number = *numbers.entry(work.facts[row as usize].context).or_insert(next);
        if number == next {
            groups.push(Vec::new());
        }
        groups[number].push(row);
    }
    groups.retain(|group| group.len() > 1);
    groups
}

/// Rows whose question, or whose whole text, is nearly that of another one with the same context.
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
        // Answers that are wanted are not compared with those that are not.
        for verdict in Verdict::ALL {
            // Preference data asks the same question again and again, and documents ask none.
            let is_asked = |row: u32| verdict == Verdict::None && !work.facts[row as usize].is_document;
            let asked = (work.fates.live().into_iter())
                .filter(|&row| work.facts[row as usize].verdict == verdict && (field == Field::Row || is_asked(row)));
            for live in by_context(work, asked) {
                let order = by_priority(work, &live);
                let base = if field == Field::Question { Settings::for_questions() } else { Settings::default() };
                let settings = Settings { threshold: clean.duplicate_threshold, ..base };
                work.progress("near-duplicates", 0, live.len())?;
                let texts = Live { store: &work.texts, rows: &live, field };
                let found = near_duplicates::find(&texts, Some(&order), &settings, &|_| ())?;
                take(work, &mut report, action, NEAR, &live, name, &found);
            }
        }
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
    let facts = &work.facts;
    let live = work.fates.live().into_iter().filter(|&row| facts[row as usize].verdict == Verdict::None);
    let settings = semantic::Settings { threshold: clean.semantic_threshold, ..semantic::Settings::default() };
    for live in by_context(work, live) {
        let order = by_priority(work, &live);
        work.progress("semantic duplicates", 0, live.len())?;
        let texts = Live { store: &work.texts, rows: &live, field: Field::Row };
        let found = semantic::find(&texts, Some(&order), &model, &settings, &|_| ())?;
        take(work, &mut report, action, SEMANTIC, &live, "meaning", &found);
    }
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
        replace(work, action, row, step, Why::Duplicate { kept, field, similarity });
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
