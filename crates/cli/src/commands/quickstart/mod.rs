//! `ft quickstart`: from eight transcripts to a tuned model, each step a command of this program.

mod files;
mod page;
mod results;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Instant;

use attune_formats::files::write_atomic;
use clap::Parser as _;

use super::train;
use crate::failure::{FAILED, Failure, USAGE};
use crate::live::format::duration;
use crate::output;
use crate::paint::{Ink, Line};
use results::Results;

/// What the clerk's answers look like.
const FORM: &str = r"^Aye, one moment\. Item: .+\. (Place|Colour|Day|Finder|Owner): .+\. Mind the step!$";
/// Most tokens of an answer: the longest expected one has 59.
const ANSWER_TOKENS: &str = "72";

/// From transcripts to a tuned model, step by step, in two minutes and offline
///
/// Takes a tiny base model and the captions of an invented radio show, both of them part of this program, and does all that
/// there is to do with data of your own: check, clean, split, plan, train, evaluate before and after, fuse, export. Each step
/// prints the plain command that does it. Ends with a report as one HTML page.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The folder for all files, which must not exist or be empty [default: runs/quickstart, or the next free name]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// A command with the reason for it.
struct Step {
    title: &'static str,
    why: &'static str,
    args: Vec<OsString>,
}

impl Step {
    fn new<const N: usize>(title: &'static str, why: &'static str, args: [&dyn AsArg; N]) -> Self {
        Self { title, why, args: args.iter().map(|arg| arg.as_arg()).collect() }
    }

    fn with(mut self, more: impl IntoIterator<Item = PathBuf>) -> Self {
        self.args.extend(more.into_iter().map(PathBuf::into_os_string));
        self
    }

    /// The command as a shell takes it. Where shells know patterns, the transcripts are one.
    fn shown(&self) -> String {
        let mut words = vec![program()];
        for arg in &self.args {
            let path = Path::new(arg);
            let is_transcript = path.extension().is_some_and(|extension| extension == "vtt");
            let word = match path.parent().filter(|_| is_transcript && cfg!(unix)) {
                Some(folder) => format!("{}/office-*.vtt", quoted(&folder.to_string_lossy())),
                None => quoted(&arg.to_string_lossy()),
            };
            if !is_transcript || words.last() != Some(&word) {
                words.push(word);
            }
        }
        words.join(" ")
    }

    /// Does just what the command would do.
    fn run(&self) -> Result<(), Failure> {
        let args = std::iter::once(OsString::from("ft")).chain(self.args.iter().cloned());
        let cli = crate::Cli::try_parse_from(args)
            .map_err(|error| Failure::new(FAILED, format!("{}: {error}", self.shown()), "please report this bug"))?;
        crate::run(cli.command)
    }
}

/// A word of a command line: text or a path, which need not be text.
trait AsArg {
    fn as_arg(&self) -> OsString;
}

impl AsArg for &str {
    fn as_arg(&self) -> OsString {
        OsString::from(self)
    }
}

impl AsArg for PathBuf {
    fn as_arg(&self) -> OsString {
        self.clone().into_os_string()
    }
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let begin = Instant::now();
    let out = args.out.clone().unwrap_or_else(|| train::first_free(Path::new("runs"), "quickstart"));
    refuse_unless_empty(&out)?;
    files::write(&out)?;
    output::say(&opening(&out));
    let steps = steps(&out);
    for (index, step) in steps.iter().enumerate() {
        output::say(&heading(index + 1, steps.len(), step));
        step.run()?;
    }
    let results = Results::read(&out)?;
    let commands: Vec<(&str, String)> = steps.iter().map(|step| (step.title, step.shown())).collect();
    let report = out.join("report.html");
    write_atomic(&report, page::html(&results, &commands).as_bytes())?;
    output::say(&closing(&out, &results, begin));
    output::result(&report.display().to_string())
}

/// Everything that is done, in order.
fn steps(out: &Path) -> Vec<Step> {
    let file = |name: &str| out.join(name);
    let config = file("ft.yaml");
    let transcripts = || files::transcripts().map(&file).collect::<Vec<_>>();
    vec![
        Step::new(
            "Check",
            "Would this data train, and train well? Captions become chats: callers ask, the clerk is the assistant.",
            [&"data", &"check", &"--config", &config],
        )
        .with(transcripts()),
        Step::new(
            "Clean",
            "Hidden characters, personal data, repeated calls: what the check found is mended or taken out, with a reason.",
            [&"data", &"clean", &"--config", &config, &"--out", &file("clean")],
        )
        .with(transcripts()),
        Step::new(
            "Split",
            "Some calls are set aside to validate on; what is alike stays together.",
            [&"data", &"split", &"--config", &config, &"--out", &file("split"), &file("clean/data.jsonl")],
        ),
        Step::new("Plan", "What will it take on this machine?", [&"plan", &config]),
        Step::new(
            "Train",
            "A LoRA adapter; the base stays as it is. Ctrl-C saves, `ft resume` goes on.",
            [&"train", &config, &"--out", &file("run")],
        ),
        Step::new(
            "Evaluate",
            "Sixty calls that neither of them has seen: the base beside the tuned model.",
            [
                &"evaluate",
                &"--run",
                &file("run"),
                &"--data",
                &file("heldout.jsonl"),
                &"--pattern",
                &FORM,
                &"--max-tokens",
                &ANSWER_TOKENS,
                &"--out",
                &file("evaluation.json"),
            ],
        ),
        Step::new(
            "Fuse",
            "Base and adapter become one model folder, which is read back and must answer alike.",
            [&"fuse", &"--run", &file("run"), &"--out", &file("fused")],
        ),
        Step::new(
            "Export",
            "One file for llama.cpp, Ollama and LM Studio, through the same gate.",
            [&"export", &"gguf", &"--run", &file("run"), &"--type", &"q8_0", &"--out", &file("clerk.gguf")],
        ),
    ]
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

fn opening(out: &Path) -> Vec<Line> {
    let text = [
        "A clerk of a lost property office answers on the radio, always in the same words and the same form.",
        "A tiny base model that knows some simple English learns to answer like the clerk from eight transcripts.",
    ];
    let made = format!(": base/, transcripts/, heldout.jsonl and ft.yaml in {}", out.display());
    let mut lines: Vec<Line> = text.into_iter().map(Line::from).collect();
    lines.push(Line::new().with(Ink::Bold, "made").with(Ink::Plain, made));
    lines
}

fn heading(number: usize, count: usize, step: &Step) -> Vec<Line> {
    vec![
        Line::new(),
        Line::new()
            .with(Ink::Bold, format!("{number}/{count} {}", step.title))
            .with(Ink::Plain, format!("  {}", step.why)),
        Line::new().with(Ink::Dim, "$ ").with(Ink::Good, step.shown()),
    ]
}

/// What came out, and what to do next.
fn closing(out: &Path, results: &Results, begin: Instant) -> Vec<Line> {
    let file = |name: &str| quoted(&out.join(name).to_string_lossy());
    let ft = program();
    let mut lines = vec![
        Line::new(),
        Line::new()
            .with(Ink::Bold, format!("Done in {}: on {} held-out calls", duration(begin.elapsed()), results.questions)),
        Line::new().with(Ink::Dim, format!("  {:<26}{:>9}{:>9}", "", "base", "tuned")),
    ];
    for measure in results.measures() {
        lines.push(
            Line::new()
                .with(Ink::Plain, format!("  {:<26}{:>9}", measure.name, measure.base))
                .with(Ink::Good, format!("{:>9}", measure.tuned)),
        );
    }
    for (heading, commands) in [
        (
            "Talk to it",
            vec![format!(
                "{ft} generate --model {} --prompt 'I lost my red umbrella at the station. What colour is it?'",
                file("fused")
            )],
        ),
        (
            "The same with a model and data of your own",
            vec![
                format!("{ft} pull Qwen/Qwen3-0.6B --out qwen3"),
                format!("{ft} init --model qwen3 --data path/to/train.jsonl"),
                format!("{ft} train ft.yaml"),
            ],
        ),
    ] {
        lines.push(Line::new());
        lines.push(Line::new().with(Ink::Bold, heading));
        lines.extend(commands.into_iter().map(|command| Line::from(format!("  {command}"))));
    }
    lines.push(Line::new());
    lines.push(Line::new().with(Ink::Bold, "The report, with every number and command:"));
    lines
}

/// This program as the user called it.
fn program() -> String {
    let called = std::env::args_os().next().map_or_else(|| PathBuf::from("ft"), PathBuf::from);
    let here = std::env::current_dir().unwrap_or_default();
    quoted(&called.strip_prefix(here).unwrap_or(&called).to_string_lossy())
}

/// A word as a shell takes it.
fn quoted(text: &str) -> String {
    let is_plain = !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || "/\\._-:=".contains(c));
    if is_plain { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// The report of a quickstart in `out` as an SVG picture, without its commands.
#[cfg(test)]
pub(crate) fn picture_of_report(out: &Path) -> Result<String, Failure> {
    Ok(page::picture(&Results::read(out)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_with_spaces_are_quoted() {
        assert_eq!(quoted("runs/quickstart/base"), "runs/quickstart/base");
        assert_eq!(quoted("my runs/it's"), r"'my runs/it'\''s'");
        assert_eq!(quoted(""), "''");
    }

    #[test]
    fn every_step_is_a_command_of_this_program() {
        for step in steps(Path::new("runs/x")) {
            let args = std::iter::once(OsString::from("ft")).chain(step.args.iter().cloned());
            crate::Cli::try_parse_from(args).unwrap_or_else(|error| panic!("{}: {error}", step.shown()));
        }
    }

    #[cfg(unix)]
    #[test]
    fn transcripts_are_one_pattern_where_shells_know_patterns() {
        let shown = steps(Path::new("runs/x"))[0].shown();
        assert!(shown.ends_with("data check --config runs/x/ft.yaml runs/x/transcripts/office-*.vtt"), "{shown}");
    }
}
