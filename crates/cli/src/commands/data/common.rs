//! What the data commands share: their files, their configuration, how far they have come.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use attune_config::{Config, TranscriptsConfig};
use attune_curate::{CurateError, Progress, TokenCounter, Watch};
use attune_data::{FormatChoice, ReadOptions, TranscriptFacts, is_captions};
use attune_text::{LoadOptions, TextModel};

use super::inspect::Format;
use crate::failure::{Failure, USAGE};
use crate::interrupt;
use crate::live::format;
use crate::output;
use crate::paint::one_line;

/// Options of every command that reads rows.
#[derive(Debug, clap::Args)]
pub(crate) struct Source {
    /// A configuration whose sections data, clean, contamination and split apply
    #[arg(long, value_name = "FT.YAML")]
    config: Option<PathBuf>,
    /// Set a key of the configuration: --set clean.secrets=drop
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    sets: Vec<String>,
    /// The form of the rows
    #[arg(long, value_enum, default_value_t = Format::Auto)]
    format: Format,
    /// The speaker of captions who is the assistant; stronger than data.transcripts.assistant
    #[arg(long, value_name = "NAME")]
    assistant: Option<String>,
}

impl Source {
    pub(crate) fn config(&self) -> Result<Config, Failure> {
        let mut config = Config::load_for_data(self.config.as_deref(), attune_config::environment(), &self.sets)?;
        if let Some(assistant) = &self.assistant {
            let exchanges = config.data.transcripts.and_then(|transcripts| transcripts.exchanges);
            config.data.transcripts = Some(TranscriptsConfig { assistant: assistant.clone(), exchanges });
        }
        Ok(config)
    }

    /// Refuses `--assistant` where no file has speakers.
    pub(crate) fn check_files<'a>(&self, files: impl IntoIterator<Item = &'a PathBuf>) -> Result<(), Failure> {
        check_assistant(self.assistant.as_deref(), files)
    }

    /// The form that is named on the command line, or else in the configuration.
    pub(crate) fn format_of(&self, config: &Config) -> FormatChoice {
        match self.format {
            Format::Auto => attune_train::inputs::format_choice(config),
            named => named.choice(),
        }
    }
}

/// Refuses a name that could be no speaker's, and `--assistant` where no file has speakers.
pub(crate) fn check_assistant<'a>(
    assistant: Option<&str>,
    files: impl IntoIterator<Item = &'a PathBuf>,
) -> Result<(), Failure> {
    match assistant {
        Some(name) if name.trim().is_empty() => Err(Failure::new(
            USAGE,
            "--assistant: the name is empty",
            "give the name of a speaker as the files have it",
        )),
        Some(_) if !files.into_iter().any(|file| is_captions(file)) => Err(Failure::new(
            USAGE,
            "--assistant names a speaker, and no file has speakers",
            "give it with captions (.vtt, .srt, .sbv), or leave it out",
        )),
        _ => Ok(()),
    }
}

/// What became of the turns of all transcripts, for people.
pub(crate) fn transcripts_line(facts: impl IntoIterator<Item = Option<TranscriptFacts>>) -> Option<String> {
    let (mut files, mut all) = (0, TranscriptFacts::default());
    for facts in facts.into_iter().flatten() {
        files += 1;
        all += facts;
    }
    let s = if files == 1 { "" } else { "s" };
    (files > 0).then(|| format!("{} transcript{s}, {all}", format::grouped(files)))
}

/// How files are read under a configuration.
pub(crate) fn read_options(config: &Config) -> ReadOptions {
    attune_train::inputs::read_options(config)
}

/// A model's tokenizer and template.
pub(crate) fn text_model(folder: &std::path::Path) -> Result<Arc<TextModel>, Failure> {
    Ok(Arc::new(TextModel::load(folder, &LoadOptions::default())?))
}

/// Counts tokens with a model's tokenizer. A text that it cannot tokenize has none.
pub(crate) fn token_counter(text: &Arc<TextModel>) -> TokenCounter {
    let text = Arc::clone(text);
    Arc::new(move |given: &str| text.encode_raw(given).map_or(0, |ids| ids.len()))
}

/// A line on the terminal that says how far the work is, and the end of the work on Ctrl-C.
pub(crate) struct Shown {
    interrupted: Arc<AtomicBool>,
    terminal: bool,
    state: Mutex<State>,
}

struct State {
    begin: Instant,
    step: &'static str,
    last: Instant,
    width: usize,
}

/// Time between two pictures.
const TICK: Duration = Duration::from_millis(200);

impl Shown {
    pub(crate) fn new() -> Result<Self, Failure> {
        let now = Instant::now();
        Ok(Self {
            interrupted: interrupt::flag()?,
            terminal: std::io::stderr().is_terminal(),
            state: Mutex::new(State { begin: now, step: "", last: now, width: 0 }),
        })
    }
}

impl Watch for Shown {
    fn progress(&self, progress: Progress) -> Result<(), CurateError> {
        if self.interrupted.load(Ordering::Relaxed) {
            return Err(CurateError::Interrupted);
        }
        if !self.terminal {
            return Ok(());
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if state.step != progress.step {
            state.step = progress.step;
            state.begin = now;
        } else if now.duration_since(state.last) < TICK {
            return Ok(());
        }
        state.last = now;
        let text = line(progress, now.duration_since(state.begin));
        let padding = " ".repeat(state.width.saturating_sub(text.chars().count()));
        state.width = text.chars().count();
        // A terminal that went away ends nothing.
        let mut stderr = std::io::stderr().lock();
        let _ = write!(stderr, "\r{text}{padding}").and_then(|()| stderr.flush());
        Ok(())
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if self.terminal && state.width > 0 {
            let mut stderr = std::io::stderr().lock();
            let _ = write!(stderr, "\r{}\r", " ".repeat(state.width)).and_then(|()| stderr.flush());
        }
    }
}

fn line(progress: Progress, elapsed: Duration) -> String {
    const BAR: usize = 24;
    let amount = |number: u64| if progress.unit == "B" { format::bytes(number) } else { format::grouped(number) };
    let rate = progress.done as f64 / elapsed.as_secs_f64().max(0.001);
    let rate = if progress.unit == "B" { format::bytes(rate as u64) } else { format::grouped(rate as u64) };
    let unit = if progress.unit == "B" { "" } else { " rows" };
    match progress.total.filter(|total| *total > 0) {
        Some(total) => {
            let share = (progress.done as f64 / total as f64).clamp(0.0, 1.0);
            let full = (share * BAR as f64).round() as usize;
            format!(
                "{:<28} {}{} {:>3.0} %  {} of {}{unit}  {rate}{unit}/s",
                progress.step,
                "█".repeat(full),
                "░".repeat(BAR - full),
                100.0 * share,
                amount(progress.done),
                amount(total),
            )
        }
        None => format!("{:<28} {}{unit}  {rate}{unit}/s", progress.step, amount(progress.done)),
    }
}

/// Writes lines for people to stdout. Names from the rows stand in them, and none may move the cursor or change colours.
pub(crate) fn result_lines(lines: &[String]) -> Result<(), Failure> {
    let lines: Vec<String> = lines.iter().map(|line| one_line(line)).collect();
    output::result(&lines.join("\n"))
}

/// A table for people: the first column to the left, the others to the right.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let columns = head.len();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([head[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let show = |cells: &[String]| {
        let mut text = String::new();
        for (column, width) in widths.iter().enumerate() {
            let cell = cells.get(column).map_or("", String::as_str);
            let padding = " ".repeat(width - cell.chars().count());
            if column > 0 {
                text.push_str("  ");
            }
            if column == 0 { text.push_str(&(cell.to_owned() + &padding)) } else { text.push_str(&(padding + cell)) }
        }
        text.trim_end().to_owned()
    };
    let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
    std::iter::once(show(&head)).chain(rows.iter().map(|row| show(row))).collect()
}

/// A bar of `width` characters for `value` of `most`, in eighths.
pub(crate) fn bar(value: u64, most: u64, width: usize) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    if most == 0 {
        return String::new();
    }
    let eighths = (value as f64 / most as f64 * (width * 8) as f64).round() as usize;
    let eighths = if value > 0 { eighths.max(1) } else { 0 };
    "█".repeat(eighths / 8) + EIGHTHS[eighths % 8]
}

/// The command line's way to say what a gate has against the set.
pub(crate) fn refused(refusals: &[String], hint: &str) -> Failure {
    Failure::new(crate::failure::REFUSED, refusals.join("\n"), hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_align() {
        let rows = vec![vec!["a".to_owned(), "1".into()], vec!["long name".into(), "1,000".into()]];
        assert_eq!(table(&["step", "rows"], &rows), ["step        rows", "a              1", "long name  1,000"]);
    }

    #[test]
    fn bars_show_the_smallest_value() {
        assert_eq!(bar(0, 10, 4), "");
        assert_eq!(bar(1, 1000, 4), "▏");
        assert_eq!(bar(10, 10, 4), "████");
    }
}
