//! `ft quickstart`

mod files;
mod page;
mod results;

use std::path::{Path, PathBuf};
use std::time::Instant;

use attune_formats::files as disk;

use super::train::first_free;
use crate::failure::{Failure, USAGE};
use crate::output;
use crate::paint::{Ink, Line};
use results::Results;

/// Go the whole way once, offline, in two minutes
///
/// Unpacks a tiny base model and eight transcripts of an invented radio show, and makes the model speak like the clerk in
/// them: checks and cleans the transcripts, parts them, plans the memory, trains a LoRA adapter, asks held-out questions
/// before and after, fuses and exports, and writes a report. Every step prints the plain command that does it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The folder for all files, which must not exist or be empty [default: runs/quickstart, or the next free name]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// What answers must look like to be the clerk's.
const PATTERN: &str = r"^Aye, one moment\. Item: .+\. (Place|Colour|Day|Finder|Owner): .+\. Mind the step!$";

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let begin = Instant::now();
    let out = args.out.clone().unwrap_or_else(|| first_free(Path::new("runs"), "quickstart"));
    refuse_unless_empty(&out)?;
    disk::create_dir_all(&out)?;
    files::unpack(&out)?;
    output::say(&[
        Line::new().with(Ink::Bold, "quickstart").with(Ink::Plain, format!(": everything is in {}", out.display())),
        "  base          a model of two million weights, trained from scratch by `ft train` (models/tiny)".into(),
        "  transcripts   eight captions of a radio show, whose clerk has a way of speaking".into(),
        "  heldout.jsonl sixty calls that are in none of them".into(),
    ]);
    let guide = Guide { out: &out, commands: Vec::new() };
    let commands = guide.walk()?;
    let results = Results::read(&out)?;
    disk::write_atomic(&out.join("report.html"), page::html(&results, &commands).as_bytes())?;
    output::say(&closing(&out, &results, begin.elapsed().as_secs_f64()));
    output::result(&out.join("report.html").display().to_string())
}

fn refuse_unless_empty(out: &Path) -> Result<(), Failure> {
    let is_free = match std::fs::read_dir(out) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    };
    if is_free {
        return Ok(());
    }
    Err(Failure::new(USAGE, format!("{}: exists and is not an empty folder", out.display()), "choose another --out"))
}

/// Walks through the steps; each is a command of this program.
struct Guide<'a> {
    out: &'a Path,
    /// What was done, as a shell takes it.
    commands: Vec<(String, String)>,
}

impl Guide<'_> {
    fn walk(mut self) -> Result<Vec<(String, String)>, Failure> {
        let file = |name: &str| self.out.join(name).display().to_string();
        let transcripts: Vec<String> =
            files::TRANSCRIPTS.iter().map(|(name, _)| file(&format!("transcripts/{name}"))).collect();
        let (config, run) = (file("ft.yaml"), file("run"));
        let (clean, parts, heldout) = (file("clean"), file("parts"), file("heldout.jsonl"));
        let rows = file("clean/data.jsonl");
        let (answers, fused, gguf) = (file("evaluation.json"), file("fused"), file("tuned.gguf"));
        let with_files = |words: &[&str], rest: &[&str]| -> Vec<String> {
            let words = words.iter().map(ToString::to_string).chain(transcripts.iter().cloned());
            words.chain(rest.iter().map(ToString::to_string)).collect()
        };
        let plain = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<String>>();

        self.step("Would it train?", with_files(&["data", "check"], &["--assistant", "Clerk"]))?;
        let clean_words = with_files(&["data", "clean"], &["--assistant", "Clerk", "--out", &clean]);
        self.step("Clean: hidden characters, personal data, calls that come twice", clean_words)?;
        self.step("Part into training and validation", plain(&["data", "split", &rows, "--out", &parts]))?;
        self.step("Plan memory and time, before anything is loaded", plain(&["plan", &config]))?;
        self.step("Train a LoRA adapter", plain(&["train", &config, "--out", &run]))?;
        let ask = ["evaluate", "--run", &run, "--data", &heldout, "--pattern", PATTERN, "--out", &answers];
        self.step("Ask held-out questions, before and after", plain(&ask))?;
        self.step("Fuse the adapter into the base", plain(&["fuse", "--run", &run, "--out", &fused]))?;
        let export = ["export", "gguf", "--run", &run, "--type", "q8_0", "--out", &gguf];
        self.step("Export for llama.cpp, and prove that it says the same", plain(&export))?;
        Ok(self.commands)
    }

    fn step(&mut self, what: &str, words: Vec<String>) -> Result<(), Failure> {
        let shown: Vec<String> = words.iter().map(|word| quoted(word)).collect();
        let command = shorter(&format!("{} {}", program(), shown.join(" ")), self.out);
        output::say(&[
            Line::new(),
            Line::new().with(Ink::Bold, format!("{}. {what}", self.commands.len() + 1)),
            Line::new().with(Ink::Dim, format!("   $ {command}")),
        ]);
        self.commands.push((what.to_string(), command));
        crate::run_words(&words)
    }
}

/// The eight captions by the pattern that a shell makes of them.
fn shorter(command: &str, out: &Path) -> String {
    let all: Vec<String> = files::TRANSCRIPTS
        .iter()
        .map(|(name, _)| quoted(&out.join("transcripts").join(name).display().to_string()))
        .collect();
    let folder = quoted(&out.join("transcripts").display().to_string());
    command.replace(&all.join(" "), &format!("{folder}/*.vtt"))
}

/// What came out, and what to do next.
fn closing(out: &Path, results: &Results, seconds: f64) -> Vec<Line> {
    let file = |name: &str| quoted(&out.join(name).display().to_string());
    let ft = program();
    let percent = |share: f64| format!("{:.0} %", 100.0 * share);
    let [before, after] = &results.asked;
    let mut lines = vec![
        Line::new(),
        Line::new().with(Ink::Good, "done").with(Ink::Plain, format!(" in {seconds:.0} s")),
        Line::from(format!(
            "  in the clerk's words: {} of the answers before, {} after",
            percent(before.fitting),
            percent(after.fitting)
        )),
        Line::from(format!("  right to the letter:  {} before, {} after", percent(before.exact), percent(after.exact))),
        Line::new(),
    ];
    for (heading, commands) in [
        ("The report", vec![file("report.html")]),
        (
            "Talk to it",
            vec![format!(
                "{ft} generate --model {} --prompt 'I lost my red scarf on Monday. I left it on the bench. Where is it?'",
                file("fused")
            )],
        ),
        (
            "Next, with a model and transcripts of your own",
            vec![
                format!("{ft} pull Qwen/Qwen3-0.6B --out models/Qwen3-0.6B"),
                format!("{ft} init --model models/Qwen3-0.6B --data talks.jsonl"),
                format!("{ft} plan ft.yaml && {ft} train ft.yaml"),
            ],
        ),
    ] {
        lines.push(Line::new().with(Ink::Bold, heading));
        lines.extend(commands.into_iter().map(|command| Line::from(format!("  {command}"))));
    }
    lines.push(Line::new());
    lines
}

/// This program as the user called it.
fn program() -> String {
    let called = std::env::args_os().next().map_or_else(|| PathBuf::from("ft"), PathBuf::from);
    let here = std::env::current_dir().unwrap_or_default();
    quoted(&called.strip_prefix(here).unwrap_or(&called).display().to_string())
}

/// A word as a shell takes it.
fn quoted(text: &str) -> String {
    let is_plain = !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || "/\\._-:".contains(c));
    if is_plain { text.to_string() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_with_spaces_are_quoted() {
        assert_eq!(quoted("runs/quickstart/base"), "runs/quickstart/base");
        assert_eq!(quoted("my runs/it's"), r"'my runs/it'\''s'");
        assert_eq!(quoted(""), "''");
    }

    #[test]
    fn captions_are_shown_as_a_pattern() {
        let files: Vec<String> = files::TRANSCRIPTS.iter().map(|(name, _)| format!("out/transcripts/{name}")).collect();
        let command = format!("ft data check {} --assistant Clerk", files.join(" "));
        assert_eq!(shorter(&command, Path::new("out")), "ft data check out/transcripts/*.vtt --assistant Clerk");
    }
}
