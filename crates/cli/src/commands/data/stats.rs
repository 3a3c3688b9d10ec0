//! `ft data stats`

use std::path::PathBuf;

use attune_curate::stats::{Distribution, Request, Stats, html};
use attune_formats::files::write_atomic;
use serde_json::json;

use super::common::{
    Shown, Source, bar, read_options, result_lines, table, text_model, token_counter, transcripts_line,
};
use crate::failure::Failure;
use crate::live::format::grouped;
use crate::output;

/// Say what is in a set: lengths, sources, tags, languages, repetition
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Files of any format that is read
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    source: Source,
    /// The base model whose tokenizer counts the tokens
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// Also write a page with pictures
    #[arg(long, value_name = "FILE.html")]
    html: Option<PathBuf>,
    /// Print the result as one line of JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let config = args.source.config()?;
    args.source.check_files(&args.files)?;
    let text = args.model.as_deref().map(text_model).transpose()?;
    let read = read_options(&config);
    let scratch = std::env::temp_dir();
    let request = Request {
        inputs: &args.files,
        format: args.source.format_of(&config),
        read: &read,
        config: &config.clean,
        tokens: text.as_ref().map(token_counter),
        scratch: &scratch,
    };
    let stats = {
        let shown = Shown::new()?;
        attune_curate::stats::stats(&request, &shown)?
    };
    if let Some(path) = &args.html {
        let names: Vec<String> = args.files.iter().map(|file| file.display().to_string()).collect();
        write_atomic(path, html(&stats, &names.join(", ")).as_bytes())?;
    }
    if args.json {
        return output::result(&json!(stats).to_string());
    }
    result_lines(&describe(&stats))?;
    if let Some(path) = &args.html {
        output::result(&format!("\n{}", path.display()))?;
    }
    Ok(())
}

fn describe(stats: &Stats) -> Vec<String> {
    let mut lines = vec![format!(
        "{} rows, {} that could not be read",
        grouped(stats.rows as u64),
        grouped(stats.unreadable as u64)
    )];
    lines.extend(transcripts_line(stats.inputs.iter().map(|input| input.transcript)));
    let rows: Vec<Vec<String>> = stats
        .distributions
        .iter()
        .map(|(name, distribution)| {
            let percentile =
                |percent| distribution.percentiles.get(&percent).map_or("-".into(), |&value| grouped(value));
            vec![
                name.clone(),
                grouped(distribution.min),
                percentile(5),
                percentile(50),
                percentile(95),
                grouped(distribution.max),
                format!("{:.1}", distribution.mean()),
                grouped(distribution.sum),
            ]
        })
        .collect();
    lines.push(String::new());
    lines.extend(table(&["", "min", "5 %", "median", "95 %", "max", "mean", "sum"], &rows));
    for name in ["row tokens", "row characters"] {
        if let Some(distribution) = stats.distributions.get(name) {
            lines.push(String::new());
            lines.push(name.to_owned());
            lines.extend(histogram(distribution));
            break;
        }
    }
    lines.push(String::new());
    for (what, count) in [
        ("repeated rows", stats.repeated_rows),
        ("repeated questions", stats.repeated_questions),
        ("repeated answers", stats.repeated_answers),
    ] {
        lines.push(format!("{what}: {}", grouped(count as u64)));
    }
    for (name, counts) in
        [("sources", &stats.sources), ("roles", &stats.roles), ("tags", &stats.tags), ("languages", &stats.languages)]
    {
        if !counts.is_empty() {
            let shown: Vec<String> =
                counts.iter().take(8).map(|(value, count)| format!("{value} {}", grouped(*count as u64))).collect();
            let more = if counts.len() > 8 { ", ..." } else { "" };
            lines.push(format!("{name}: {}{more}", shown.join(", ")));
        }
    }
    lines
}

fn histogram(distribution: &Distribution) -> Vec<String> {
    let most = distribution.bars.iter().map(|bar| bar.1).max().unwrap_or(0);
    let mut from = 0;
    let mut lines = Vec::new();
    for &(to, count) in &distribution.bars {
        lines.push(
            format!("{:>9}  {:<40} {}", grouped(from), bar(count, most, 40), grouped(count)).trim_end().to_owned(),
        );
        from = to;
    }
    lines
}
