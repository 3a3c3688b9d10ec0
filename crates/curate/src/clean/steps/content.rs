//! What a row says, judged.

use attune_config::RowAction;
use attune_overlap::contamination::Scratch;

use super::duplicates::close;
use crate::against;
use crate::clean::{CONTAMINATION, Work, apply, name_of};
use crate::error::CurateError;
use crate::fates::Why;
use crate::report::StepReport;

/// Rows that repeat evaluation data.
pub(in crate::clean) fn contamination(work: &mut Work<'_>) -> Result<(), CurateError> {
    let action = work.request.config.clean.contamination;
    if action == RowAction::Off {
        return Ok(());
    }
    let Some(index) = against::index(&work.request.config.contamination)? else { return Ok(()) };
    let live = work.fates.live();
    let mut report = StepReport::new(CONTAMINATION, name_of(&action), live.len());
    let mut hits: Vec<(usize, String, String)> = Vec::new();
    work.texts.for_each(
        &live,
        |_, texts| {
            let text = texts.all();
            // Scratch keeps buffers between texts; one per text costs some allocations and no correctness.
            let found = index.check(&text, &mut Scratch::default());
            found.into_iter().max_by(|left, right| left.score.total_cmp(&right.score)).map(|best| {
                (index.sets()[best.set].name.clone(), against::describe(&index, &best, &text))
            })
        },
        |row, found| {
            if let Some((set, words)) = found {
                hits.push((row, set, words));
            }
            Ok(())
        },
    )?;
    for (row, set, words) in hits {
        report.found += 1;
        report.count(set);
        report.example(|| format!("{}: {words}", work.corpus.origin(row)));
        apply(work, action, row, CONTAMINATION, || Why::Words(words.into()));
    }
    close(work, report, action, "clean.contamination");
    Ok(())
}
pub(in crate::clean) fn poison(_: &mut Work<'_>) -> Result<(), CurateError> { Ok(()) }
pub(in crate::clean) fn quality(_: &mut Work<'_>) -> Result<(), CurateError> { Ok(()) }
pub(in crate::clean) fn documents(_: &mut Work<'_>) -> Result<(), CurateError> { Ok(()) }
pub(in crate::clean) fn keep_best(_: &mut Work<'_>) -> Result<(), CurateError> { Ok(()) }
