//! `ft data clean`

use std::path::PathBuf;

use attune_curate::clean::{CleanReport, Request};
use serde_json::json;

use super::common::{
    Shown, Source, read_options, refused, result_lines, table, text_model, token_counter, transcripts_line,
};
use crate::failure::Failure;
use crate::live::format::grouped;
use crate::output;

/// Make a set that is safe to train on, with a reason for every row that leaves
///
/// Takes hidden characters out, masks secrets and personal data, puts planted rows into quarantine, removes rows that
/// repeat evaluation data, low quality and duplicates. Each step is a key of section `clean`. OUT gets data.jsonl,
/// removed.jsonl and changed.jsonl with the reasons, lineage.jsonl, report.json and dataset.json. Exit code 3 when a
/// gate refuses; nothing is written then.
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
    /// Also describe the folder for other tools: croissant.json
    #[arg(long)]
    croissant: bool,
    /// A base model: what its tokenizer has no words for looks like a key
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// Print the result as one line of JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let config = args.source.config()?;
    args.source.check_files(&args.files)?;
    let text = args.model.as_deref().map(text_model).transpose()?;
    let read = read_options(&config);
    let request = Request {
        inputs: &args.files,
        format: args.source.format_of(&config),
        read: &read,
        config: &config,
        out: &args.out,
        tokens: text.as_ref().map(token_counter),
    };
    let outcome = {
        let shown = Shown::new()?;
        attune_curate::clean::clean(&request, &shown)?
    };
    if let Some(manifest) = outcome.report.manifest.as_ref().filter(|_| args.croissant) {
        attune_curate::croissant::write(&args.out, manifest)?;
    }
    if args.json {
        let root = outcome.report.manifest.as_ref().map(|manifest| manifest.merkle_root.clone());
        let line = json!({
            "out": args.out.display().to_string(), "merkle_root": root, "refusals": outcome.refusals, "report": outcome.report,
        });
        output::result(&line.to_string())?;
    } else {
        result_lines(&describe(&outcome.report))?;
    }
    if !outcome.refusals.is_empty() {
        return Err(refused(
            &outcome.refusals,
            "nothing was written; look at the rows with `ft data check`, mend them, or change the named key of section \
             clean if they are as they should be",
        ));
    }
    if !args.json {
        output::result(&format!("\n{}: data.jsonl, removed.jsonl, dataset.json", args.out.display()))?;
    }
    Ok(())
}

fn describe(report: &CleanReport) -> Vec<String> {
    let rows: Vec<Vec<String>> = report
        .steps
        .iter()
        .map(|step| {
            let number = |number: usize| if number == 0 { "-".into() } else { grouped(number as u64) };
            let mut kinds: Vec<(&String, &usize)> = step.kinds.iter().collect();
            kinds.sort_by(|left, right| right.1.cmp(left.1).then(left.0.cmp(right.0)));
            vec![
                step.step.to_owned(),
                step.action.clone(),
                grouped(step.rows_in as u64),
                number(step.found),
                number(step.changed),
                number(step.removed),
            ]
        })
        .collect();
    let mut lines = table(&["step", "action", "rows in", "found", "changed", "removed"], &rows);
    for step in report.steps.iter().filter(|step| step.found > 0) {
        let mut kinds: Vec<(&String, &usize)> = step.kinds.iter().collect();
        kinds.sort_by(|left, right| right.1.cmp(left.1).then(left.0.cmp(right.0)));
        if kinds.is_empty() && step.examples.is_empty() {
            continue;
        }
        lines.push(String::new());
        let kinds: Vec<String> = kinds.iter().take(8).map(|(kind, count)| format!("{kind} {count}")).collect();
        let kinds = if kinds.is_empty() { String::new() } else { format!(": {}", kinds.join(", ")) };
        lines.push(format!("{}{kinds}", step.step));
        lines.extend(step.examples.iter().map(|example| format!("  {example}")));
    }
    let losses: Vec<Vec<String>> = report
        .sources
        .iter()
        .filter(|source| source.rows_out < source.rows_in)
        .take(10)
        .map(|source| {
            vec![
                source.source.clone(),
                grouped(source.rows_in as u64),
                grouped(source.rows_out as u64),
                format!("{:.1} %", 100.0 * source.loss()),
            ]
        })
        .collect();
    if !losses.is_empty() {
        lines.push(String::new());
        lines.extend(table(&["source", "rows in", "rows out", "loss"], &losses));
    }
    lines.push(String::new());
    lines.extend(transcripts_line(report.inputs.iter().map(|input| input.transcript)));
    lines.push(format!(
        "{} rows in = {} out + {} removed + {} in quarantine; {} changed",
        grouped(report.rows_in as u64),
        grouped(report.rows_out as u64),
        grouped(report.removed as u64),
        grouped(report.quarantined as u64),
        grouped(report.changed as u64)
    ));
    lines
}
