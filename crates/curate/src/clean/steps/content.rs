//! What a row says, judged.

use std::collections::HashSet;

use attune_config::{DuplicateKeep, RowAction};
use attune_data::screen::documents::{self, DocumentRules};
use attune_data::screen::poison::{Look, PoisonGate, PoisonRow, PoisonSettings, Suspicion};
use attune_data::screen::{answers, text_facts};
use attune_overlap::contamination::Scratch;

use super::duplicates::close;
use crate::against;
use crate::clean::{BEST, CONTAMINATION, DOCUMENTS, POISON, QUALITY, Verdict, Work, apply, name_of};
use crate::error::CurateError;
use crate::fates::Why;
use crate::report::StepReport;
use crate::texts::Texts;

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
            // Scratch keeps buffers between texts; one per text costs some allocations and no correctness.
            against::best(&index, &texts.all(), &mut Scratch::default())
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

/// A suspicion below this is worth a look and no more.
const SUSPICIOUS: f64 = 0.5;

/// Rows that look planted: they go to a file of their own.
pub(in crate::clean) fn poison(work: &mut Work<'_>) -> Result<(), CurateError> {
    let action = work.request.config.clean.poison;
    if action == RowAction::Off {
        return Ok(());
    }
    let live = work.fates.live();
    let mut report = StepReport::new(POISON, name_of(&action), live.len());
    let settings = PoisonSettings::default();
    let mut gate = PoisonGate::new(settings.clone());
    let mut seen: HashSet<[u8; 32]> = HashSet::new();
    let source = |row: usize| work.sources.name(work.facts[row].source);
    work.progress("poison: counting", 0, live.len())?;
    work.texts.for_each(
        &live,
        |row, texts| Look::new(&poison_row(texts, source(row)), &settings),
        |row, look| {
            // Copies of a row would make its words look like a trigger of its answer.
            if seen.insert(work.facts[row].hash) {
                gate.observe_look(source(row), &look);
            }
            Ok(())
        },
    )?;
    gate.finish_observation();
    work.progress("poison: judging", 0, live.len())?;
    let mut suspects: Vec<(usize, Suspicion)> = Vec::new();
    let mut weak = 0;
    work.texts.for_each(
        &live,
        |row, texts| gate.judge(&poison_row(texts, source(row))).into_iter().next(),
        |row, suspicion| {
            match suspicion {
                Some(suspicion) if suspicion.strength >= SUSPICIOUS => suspects.push((row, suspicion)),
                Some(_) => weak += 1,
                None => {}
            }
            Ok(())
        },
    )?;
    for source in gate.concentration().sources.iter().filter(|source| source.excess_rows > 0) {
        let name = format!("rows too many of source {:?}: kept", source.source);
        report.kinds.insert(name, usize::try_from(source.excess_rows).unwrap_or(usize::MAX));
    }
    if weak > 0 {
        report.kinds.insert("worth a look: kept".into(), weak);
    }
    for (row, suspicion) in suspects {
        report.found += 1;
        report.count(suspicion.rule.name());
        let words = format!("{}: {}", suspicion.rule, printable(&suspicion.evidence));
        report.example(|| format!("{}: {words}", work.corpus.origin(row)));
        apply(work, action, row, POISON, || Why::Words(words.into()));
    }
    close(work, report, action, "clean.poison");
    Ok(())
}

fn poison_row<'a>(texts: &'a Texts, source: &'a str) -> PoisonRow<'a> {
    PoisonRow { question: &texts.question, answer: &texts.answer, source }
}

/// One line without control characters.
fn printable(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

/// Scores every row that stays, if anybody asks for a score, and removes questions with bad answers.
pub(in crate::clean) fn quality(work: &mut Work<'_>) -> Result<(), CurateError> {
    let clean = &work.request.config.clean;
    let (action, least) = (clean.quality, clean.min_quality);
    let nobody_asks =
        action == RowAction::Off && clean.keep_best >= 1.0 && clean.duplicate_keep == DuplicateKeep::First;
    if nobody_asks {
        return Ok(());
    }
    let live = work.fates.live();
    let mut report = StepReport::new(QUALITY, name_of(&action), live.len());
    let mut bad: Vec<(usize, f64, String)> = Vec::new();
    let mut scores: Vec<(usize, f64, u8)> = Vec::with_capacity(live.len());
    work.progress("quality", 0, live.len())?;
    let facts = &work.facts;
    work.texts.for_each(
        &live,
        |row, texts| {
            let band = answers::length_band(text_facts::word_count(&texts.answer));
            // Of two answers one is meant to be worse, and documents have rules of their own.
            if facts[row].is_document || facts[row].verdict != Verdict::None {
                return (1.0, band, Vec::new());
            }
            let context = answers::RowContext { passage: None, system: Some(&texts.context) };
            let quality = answers::score(&texts.question, &texts.answer, &context);
            (quality.score, band, quality.reasons.iter().map(|reason| reason.rule).collect())
        },
        |row, (score, band, reasons)| {
            scores.push((row, score, band));
            if score < least {
                bad.push((row, score, reasons.join(", ")));
            }
            Ok(())
        },
    )?;
    for (row, score, band) in scores {
        work.facts[row].quality = score as f32;
        work.facts[row].band = band;
    }
    if action == RowAction::Off {
        return Ok(());
    }
    for (row, score, reasons) in bad {
        report.found += 1;
        for reason in reasons.split(", ") {
            report.count(reason);
        }
        let words = format!("quality {score:.2} is below {least}: {reasons}");
        report.example(|| format!("{}: {words}", work.corpus.origin(row)));
        apply(work, action, row, QUALITY, || Why::Words(words.into()));
    }
    close(work, report, action, "clean.quality");
    Ok(())
}

/// Plain documents, by the rules for text of the web.
pub(in crate::clean) fn documents(work: &mut Work<'_>) -> Result<(), CurateError> {
    let action = work.request.config.clean.documents;
    let live: Vec<u32> = work.fates.live().into_iter().filter(|&row| work.facts[row as usize].is_document).collect();
    if action == RowAction::Off || live.is_empty() {
        return Ok(());
    }
    let mut report = StepReport::new(DOCUMENTS, name_of(&action), work.fates.staying());
    let mut bad: Vec<(usize, Vec<documents::Reason>)> = Vec::new();
    work.progress("documents", 0, live.len())?;
    work.texts.for_each(
        &live,
        |_, texts| documents::check(&texts.answer, &DocumentRules::default()),
        |row, reasons| {
            if !reasons.is_empty() {
                bad.push((row, reasons));
            }
            Ok(())
        },
    )?;
    for (row, reasons) in bad {
        report.found += 1;
        let mut words: Vec<String> = Vec::new();
        for reason in &reasons {
            report.count(reason.rule);
            words.push(format!("{} {:.2} (limit {:.2})", reason.rule, reason.measured, reason.limit));
        }
        work.facts[row].quality = 1.0 / (1.0 + reasons.len() as f32);
        let words = words.join(", ");
        report.example(|| format!("{}: {words}", work.corpus.origin(row)));
        apply(work, action, row, DOCUMENTS, || Why::Words(words.into()));
    }
    close(work, report, action, "clean.documents");
    Ok(())
}

/// The best share of each source, role and band of length. Before duplicates are looked for: a row that stands for others
/// must not go afterwards.
pub(in crate::clean) fn keep_best(work: &mut Work<'_>) -> Result<(), CurateError> {
    let share = work.request.config.clean.keep_best;
    if share >= 1.0 {
        return Ok(());
    }
    let live = work.fates.live();
    let mut report = StepReport::new(BEST, format!("keep {share}"), live.len());
    let scored: Vec<answers::Scored<'_>> = live
        .iter()
        .map(|&row| {
            let fact = &work.facts[row as usize];
            answers::Scored {
                score: f64::from(fact.quality),
                source: work.sources.name(fact.source),
                role: work.roles.name(fact.role),
                length_band: fact.band,
            }
        })
        .collect();
    let kept = answers::keep_best(&scored, share);
    for (&row, _) in live.iter().zip(kept).filter(|(_, kept)| !kept) {
        report.found += 1;
        let score = work.facts[row as usize].quality;
        let words = format!("quality {score:.2} is not among the best of its source, role and length");
        report.example(|| format!("{}: {words}", work.corpus.origin(row as usize)));
        apply(work, RowAction::Remove, row as usize, BEST, || Why::Words(words.into()));
    }
    close(work, report, RowAction::Remove, "clean.keep_best");
    Ok(())
}
