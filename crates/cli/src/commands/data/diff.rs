//! `ft data diff`

use std::path::{Path, PathBuf};

use attune_curate::diff::{Change, Diff, Request, Side};
use serde_json::json;

use super::common::{Shown, Source, read_options};
use crate::failure::Failure;
use crate::live::format::grouped;
use crate::output;
use crate::paint::{Ink, Line, one_line};

/// Say what changed between two versions of a set, row by row
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The older version: a file, or a folder with dataset.json
    #[arg(value_name = "OLD")]
    old: PathBuf,
    /// The newer version
    #[arg(value_name = "NEW")]
    new: PathBuf,
    #[command(flatten)]
    source: Source,
    /// Show at most so many differences; 0 shows all
    #[arg(long, value_name = "N", default_value_t = 20)]
    show: usize,
    /// Print the result as JSON: a line for each difference, and a last one with the numbers
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let config = args.source.config()?;
    let read = read_options(&config);
    let scratch = std::env::temp_dir();
    let (old, new) = (files_of(&args.old)?, files_of(&args.new)?);
    args.source.check_files(old.iter().chain(&new))?;
    let request = Request {
        old: &old,
        new: &new,
        format: args.source.format_of(&config),
        read: &read,
        split: &config.split,
        scratch: &scratch,
    };
    let diff = {
        let shown = Shown::new()?;
        attune_curate::diff::diff(&request, &shown)?
    };
    let at_most = if args.show == 0 { usize::MAX } else { args.show };
    if args.json {
        for change in &diff.changes {
            output::result(&json!(change).to_string())?;
        }
        let numbers = json!({
            "same": diff.same, "reordered": diff.reordered, "added": diff.added, "removed": diff.removed,
            "changed": diff.changed,
        });
        return output::result(&numbers.to_string());
    }
    let colors = console::colors_enabled();
    for change in diff.changes.iter().take(at_most) {
        for line in lines_of(change) {
            output::result(&line.paint(colors))?;
        }
    }
    if diff.changes.len() > at_most {
        output::result(&format!(
            "... and {} more; --show 0 shows all",
            grouped((diff.changes.len() - at_most) as u64)
        ))?;
    }
    output::result(&numbers(&diff))
}

/// The files of rows that a path stands for.
fn files_of(path: &Path) -> Result<Vec<PathBuf>, Failure> {
    if !path.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    match attune_curate::DatasetManifest::read(path)? {
        Some(manifest) => Ok(manifest.files.iter().map(|file| path.join(&file.path)).collect()),
        None => Err(Failure::new(
            crate::failure::USAGE,
            format!("{} is a folder without dataset.json", path.display()),
            "name the file of rows itself",
        )),
    }
}

fn numbers(diff: &Diff) -> String {
    let order = if diff.reordered { ", in another order" } else { "" };
    format!(
        "{} the same{order}, {} changed, {} removed, {} added",
        grouped(diff.same as u64),
        grouped(diff.changed as u64),
        grouped(diff.removed as u64),
        grouped(diff.added as u64)
    )
}

fn lines_of(change: &Change) -> Vec<Line> {
    match change {
        Change::Added { new } => vec![side(Ink::Good, "+", new)],
        Change::Removed { old } => vec![side(Ink::Error, "-", old)],
        Change::Changed { old, new, by } => {
            let mut lines = vec![
                Line::new()
                    .with(Ink::Plain, format!("~ {} -> {} (same {by})", one_line(&old.place), one_line(&new.place))),
            ];
            for (what, before, after) in
                [("question", &old.question, &new.question), ("answer", &old.answer, &new.answer)]
            {
                if before != after {
                    let (before, after) = window(before, after);
                    lines.push(Line::from("    ").with(Ink::Error, format!("- {what}: {before}")));
                    lines.push(Line::from("    ").with(Ink::Good, format!("+ {what}: {after}")));
                }
            }
            lines
        }
    }
}

fn side(ink: Ink, sign: &str, side: &Side) -> Line {
    let text: String = one_line(&side.question).chars().take(80).collect();
    let answer: String = one_line(&side.answer).chars().take(60).collect();
    Line::new().with(ink, format!("{sign} {}: {text} | {answer}", one_line(&side.place)))
}

/// The stretch of two texts where they begin to differ.
fn window(before: &str, after: &str) -> (String, String) {
    const BEFORE: usize = 30;
    const AFTER: usize = 70;
    let (before, after): (Vec<char>, Vec<char>) =
        (one_line(before).chars().collect(), one_line(after).chars().collect());
    let same = before.iter().zip(&after).take_while(|(left, right)| left == right).count();
    let from = same.saturating_sub(BEFORE);
    let cut = |text: &[char]| {
        let part: String = text.iter().skip(from).take(BEFORE + AFTER).collect();
        let lead = if from > 0 { "..." } else { "" };
        let tail = if text.len() > from + BEFORE + AFTER { "..." } else { "" };
        format!("{lead}{part}{tail}")
    };
    (cut(&before), cut(&after))
}
