//! `ft data split`

use std::path::PathBuf;

use attune_curate::DatasetManifest;
use attune_curate::split::{Request, SplitReport};
use serde_json::json;

use super::common::{Shown, Source, read_options, result_lines, table, transcripts_line};
use crate::failure::Failure;
use crate::live::format::grouped;
use crate::output;

/// Part a set into train, validation and test, keeping together what belongs together
///
/// Rows of one document, variants of one row, equal questions and near-duplicates never stand in two parts. Shares,
/// keys and seed are in section `split`. With --by, one file per value of a key is written instead.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Files of any format that is read
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// The folder to make
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    source: Source,
    /// Seed of the choice, stronger than split.seed
    #[arg(long)]
    seed: Option<u64>,
    /// Write one file per value of this key, such as role or tags
    #[arg(long, value_name = "KEY")]
    by: Option<String>,
    /// Also describe the folder for other tools: croissant.json
    #[arg(long)]
    croissant: bool,
    /// Print the result as one line of JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let mut config = args.source.config()?;
    args.source.check_files(&args.files)?;
    config.split.seed = args.seed.unwrap_or(config.split.seed);
    let read = read_options(&config);
    let request = Request {
        inputs: &args.files,
        format: args.source.format_of(&config),
        read: &read,
        config: &config.split,
        by: args.by.as_deref(),
        out: &args.out,
    };
    let report = {
        let shown = Shown::new()?;
        attune_curate::split::split(&request, &shown)?
    };
    if args.croissant
        && let Some(manifest) = DatasetManifest::read(&args.out)?
    {
        attune_curate::croissant::write(&args.out, &manifest)?;
    }
    if args.json {
        return output::result(&json!({ "out": args.out.display().to_string(), "report": report }).to_string());
    }
    result_lines(&describe(&report))
}

fn describe(report: &SplitReport) -> Vec<String> {
    let rows: Vec<Vec<String>> = report
        .parts
        .iter()
        .map(|part| {
            vec![
                part.file.clone(),
                grouped(part.rows as u64),
                format!("{:.1} %", 100.0 * part.rows as f64 / report.rows.max(1) as f64),
                if part.groups == 0 { "-".into() } else { grouped(part.groups as u64) },
            ]
        })
        .collect();
    let mut lines = table(&["part", "rows", "share", "groups"], &rows);
    for (reason, pairs) in &report.joined {
        lines.push(format!("kept together by {reason}: {}", grouped(*pairs as u64)));
    }
    if report.largest_group > 1 {
        lines.push(format!("the largest group has {} rows", grouped(report.largest_group as u64)));
    }
    lines.extend(transcripts_line(report.inputs.iter().map(|input| input.transcript)));
    lines.extend(report.notes.iter().map(|note| format!("note: {note}")));
    lines
}
