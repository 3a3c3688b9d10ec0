//! Events as lines of text: all there is without a terminal, and what stays above the panel on one.

use std::path::Path;

use attune_data::RowOrigin;
use attune_train::events::{
    Best, CheckpointSaved, DataRead, Evaluated, Planned, Sample, SkippedStep, Started, StepMetrics, Summary,
};
use attune_train::memory_plan::Choice;

use super::format::{bytes, duration, grouped, loss, rate, scientific};
use super::view::{headline, plural};
use crate::paint::{Ink, Line, one_line};

/// Characters of a sample that a line shows.
const SAMPLE_CHARS: usize = 300;
/// Rows that a warning names; `log.jsonl` has them all.
const LISTED_ROWS: usize = 16;

/// What is being read.
pub(crate) fn base_model(path: &Path) -> Line {
    Line::new().with(Ink::Bold, "base model").with(Ink::Plain, format!(": {}", path.display()))
}

/// A data set was read: its files, its sizes, and what was left out or cut.
pub(crate) fn data_read(read: &DataRead) -> Vec<Line> {
    let report = &read.report;
    let files = read.files.iter().map(|file| {
        let rows = plural(file.rows as u64, "row");
        let text = format!(": {} ({}, {rows})", file.path.display(), file.form);
        Line::new().with(Ink::Bold, read.key).with(Ink::Plain, text)
    });
    let mut lines: Vec<Line> = files.collect();
    let mut text = format!(
        "  {}, {} tokens, {} trained, longest {}",
        plural(report.examples as u64, "example"),
        grouped(report.tokens as u64),
        grouped(report.trained_tokens as u64),
        grouped(report.longest as u64),
    );
    for (number, what) in [
        (report.dropped_overlong, "dropped as too long"),
        (report.dropped_untrained, "dropped without a trained token"),
        (report.truncated_left, "cut on the left"),
        (report.truncated_right, "cut on the right"),
    ] {
        if number > 0 {
            text += &format!(", {} {what}", grouped(number as u64));
        }
    }
    lines.push(text.into());
    lines
}

/// How the work is laid out.
pub(crate) fn planned(planned: &Planned) -> Line {
    let mut text = format!(": {} at most", bytes(planned.peak_bytes));
    if let Some(budget) = planned.budget.bytes() {
        text += &format!(" of {}", bytes(budget));
    }
    text += &format!(", {}", layout(&planned.policy, planned.trained_layers));
    Line::new().with(Ink::Bold, "memory").with(Ink::Plain, text)
}

/// A layout of the work in words.
pub(crate) fn layout(choice: &Choice, trained_layers: usize) -> String {
    let micro_batches = match choice.micro_batch_tokens {
        Some(tokens) => format!("micro-batches of up to {}", plural(tokens as u64, "token")),
        None => "whole steps at once".into(),
    };
    match choice.recomputed_layers {
        0 => format!("{micro_batches}, all activations kept"),
        layers if layers >= trained_layers => format!("{micro_batches}, all layers run again"),
        layers => format!("{micro_batches}, {layers} of {trained_layers} layers run again"),
    }
}

/// Training begins.
pub(crate) fn started(started: &Started) -> Vec<Line> {
    let Started { run_dir, total_steps, step, resumed, .. } = started;
    let verb = if *resumed { format!("resuming at step {}", grouped(*step)) } else { "training".into() };
    let steps = plural(*total_steps, "step");
    vec![
        Line::new().with(Ink::Bold, verb).with(Ink::Plain, format!(": {}, {steps}", run_dir.display())),
        Line::from(format!("  {}", headline(started))),
    ]
}

/// A step is done.
pub(crate) fn step(metrics: &StepMetrics, total_steps: u64, remaining: Option<std::time::Duration>) -> Line {
    let mut text = format!(
        "step {}/{}  epoch {:.2}  loss {}  lr {}  grad norm {:.3}  {} tok/s ({} trained)",
        metrics.step,
        total_steps,
        metrics.epoch,
        loss(metrics.loss),
        scientific(metrics.learning_rate),
        metrics.grad_norm,
        rate(metrics.tokens_per_sec),
        rate(metrics.trained_tokens_per_sec),
    );
    if let Some(peak) = metrics.peak_memory_bytes {
        text += &format!("  peak {}", bytes(peak));
    }
    if let Some(remaining) = remaining {
        text += &format!("  left {}", duration(remaining));
    }
    text.into()
}

/// A step was skipped.
pub(crate) fn skipped(skipped: &SkippedStep) -> Line {
    let SkippedStep { step, reason, rows, .. } = skipped;
    warning(&format!("step {step} skipped: {reason} ({})", list_rows(rows)))
}

/// `train.jsonl rows 3, 9, 4; more.jsonl row 2`: each file once, since a path may be long.
fn list_rows(rows: &[RowOrigin]) -> String {
    let mut files: Vec<(&Path, Vec<String>)> = Vec::new();
    for row in rows.iter().take(LISTED_ROWS) {
        let number = row.row.to_string();
        match files.iter_mut().find(|(file, _)| *file == &*row.file) {
            Some((_, numbers)) => numbers.push(number),
            None => files.push((&*row.file, vec![number])),
        }
    }
    let files = files.iter().map(|(file, numbers)| {
        let noun = if numbers.len() == 1 { "row" } else { "rows" };
        format!("{} {noun} {}", file.display(), numbers.join(", "))
    });
    let mut text = files.collect::<Vec<_>>().join("; ");
    if rows.len() > LISTED_ROWS {
        text += &format!("; and {} more", rows.len() - LISTED_ROWS);
    }
    text
}

/// The validation loss was measured.
pub(crate) fn evaluated(evaluated: &Evaluated) -> Line {
    let best = if evaluated.best { ", the best so far" } else { "" };
    let text = format!(" at step {}{best}", evaluated.step);
    let value = format!("validation loss {}", loss(evaluated.validation_loss));
    Line::new().with(Ink::Validation, value).with(Ink::Plain, text)
}

/// The model continued a prompt.
pub(crate) fn sample(sample: &Sample) -> Vec<Line> {
    let shown = |text: &str| {
        let text = one_line(text.trim());
        match text.char_indices().nth(SAMPLE_CHARS) {
            Some((end, _)) => format!("{}…", &text[..end]),
            None => text,
        }
    };
    let mut lines = vec![
        Line::new().with(Ink::Dim, "  prompt   ").with(Ink::Plain, shown(&sample.prompt)),
        Line::new().with(Ink::Dim, "  answer   ").with(Ink::Bold, shown(&sample.text)),
    ];
    if let Some(expected) = &sample.expected {
        lines.push(Line::new().with(Ink::Dim, format!("  expected {}", shown(expected))));
    }
    lines
}

/// A checkpoint is complete.
pub(crate) fn saved(saved: &CheckpointSaved) -> Line {
    Line::new().with(Ink::Dim, format!("checkpoint {} ({:.2} s)", saved.path.display(), saved.seconds))
}

/// The run was asked to stop.
pub(crate) fn stopping() -> Line {
    let text = ": a checkpoint is saved after the current micro-batch; Ctrl-C again quits at once";
    Line::new().with(Ink::Warning, "stopping").with(Ink::Plain, text)
}

/// The validation loss has not improved for long enough.
pub(crate) fn stopped_early(step: u64, best: &Best) -> Line {
    let (at, lowest) = (grouped(best.step), loss(best.validation_loss));
    let text = format!(" at step {}: the validation loss was lowest at step {at} with {lowest}", grouped(step));
    Line::new().with(Ink::Good, "stopped early").with(Ink::Plain, text)
}

/// Something to look at.
pub(crate) fn warning(message: &str) -> Line {
    Line::new().with(Ink::Warning, "warning").with(Ink::Plain, format!(": {}", one_line(message)))
}

/// The run is over.
pub(crate) fn finished(summary: &Summary, elapsed: std::time::Duration) -> Vec<Line> {
    let first_and_last = |losses: &mut dyn Iterator<Item = f64>| -> Option<(f64, f64)> {
        let finite: Vec<f64> = losses.filter(|loss| loss.is_finite()).collect();
        Some((*finite.first()?, *finite.last()?))
    };
    let mut text = format!(": {} in {}", plural(summary.steps, "step"), duration(elapsed));
    if let Some((first, last)) = first_and_last(&mut summary.train_loss.iter().copied()) {
        text += &format!(", loss {} -> {}", loss(first), loss(last));
    }
    if let Some((first, last)) = first_and_last(&mut summary.validation_loss.iter().map(|(_, loss)| *loss)) {
        text += &format!(", validation loss {} -> {}", loss(first), loss(last));
    }
    if summary.skipped_steps > 0 {
        text += &format!(", {} skipped", grouped(summary.skipped_steps));
    }
    let mut lines = vec![Line::new().with(Ink::Good, "done").with(Ink::Plain, text)];
    if let Some(best) = summary.best.filter(|best| summary.output_step == best.step && best.step < summary.steps) {
        let text = format!(
            "  kept: step {}, whose validation loss {} was the lowest",
            grouped(best.step),
            loss(best.validation_loss)
        );
        lines.push(text.into());
    }
    lines
}

#[cfg(test)]
mod tests {
    use attune_train::examples::EncodeReport;

    use super::*;

    #[test]
    fn rows_are_listed_by_file() {
        let row = |file: &str, row: usize| RowOrigin { file: Path::new(file).into(), row, line: row };
        let rows = [row("a.jsonl", 3), row("b.jsonl", 2), row("a.jsonl", 9)];
        assert_eq!(list_rows(&rows), "a.jsonl rows 3, 9; b.jsonl row 2");
        let many: Vec<RowOrigin> = (1..=20).map(|number| row("a.jsonl", number)).collect();
        assert!(list_rows(&many).ends_with("15, 16; and 4 more"), "{}", list_rows(&many));
    }

    #[test]
    fn what_was_left_out_is_counted() {
        let report =
            EncodeReport { rows: 9, examples: 6, dropped_overlong: 2, truncated_left: 1, ..Default::default() };
        let read = DataRead { key: "data.train", files: Vec::new(), report };
        let text = data_read(&read)[0].paint(false);
        assert!(
            text.ends_with("6 examples, 0 tokens, 0 trained, longest 0, 2 dropped as too long, 1 cut on the left"),
            "{text}"
        );
    }

    #[test]
    fn long_samples_are_cut_and_stay_on_their_line() {
        let long = Sample { step: 1, prompt: "a\nb".into(), text: "é".repeat(1000), expected: None };
        let lines = sample(&long);
        assert_eq!(lines[0].paint(false), "  prompt   a⏎b");
        assert_eq!(lines[1].paint(false).chars().filter(|c| *c == 'é').count(), SAMPLE_CHARS);
        assert_eq!(lines.len(), 2);
    }
}
