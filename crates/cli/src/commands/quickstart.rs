//! `ft quickstart`

use std::path::{Path, PathBuf};

use attune_config::Config;
use attune_formats::files;
use attune_train::events::Best;
use attune_train::{Job, Summary};

use super::train;
use crate::failure::{Failure, USAGE};
use crate::output;
use crate::paint::{Ink, Line};
use crate::tiny_base::TinyBase;

const CONFIG: &str = include_str!("../../../../examples/sft_tiny/ft.yaml");
const TRAIN: &str = include_str!("../../../../examples/sft_tiny/train.jsonl");
const VALIDATION: &str = include_str!("../../../../examples/sft_tiny/validation.jsonl");

/// Train a first adapter in less than a minute, offline
///
/// Makes a tiny base model with random weights, trains a LoRA adapter on 46 short chats, and says which plain commands
/// do the same.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The folder for all files, which must not exist or be empty [default: runs/quickstart, or the next free name]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let out = args.out.clone().unwrap_or_else(|| train::first_free(Path::new("runs"), "quickstart"));
    refuse_unless_empty(&out)?;
    files::create_dir_all(&out)?;
    let base = out.join("base");
    TinyBase::default().write(&base, TRAIN)?;
    for (name, content) in [("ft.yaml", CONFIG), ("train.jsonl", TRAIN), ("validation.jsonl", VALIDATION)] {
        files::write_atomic(&out.join(name), content.as_bytes())?;
    }
    output::say(&[
        Line::new()
            .with(Ink::Bold, "made")
            .with(Ink::Plain, format!(": {}, a base model with random weights", base.display())),
        Line::from("  It knows nothing: training lowers its loss, but its answers stay babble."),
    ]);

    let config_file = out.join("ft.yaml");
    let config = Config::load(&config_file, attune_config::environment(), &[])?;
    let summary = train::watch(Job::new(config, out.join("run")))?;
    output::say(&closing(&out, &summary));
    train::print(&summary, false)
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

/// What was done, as commands, and what to do next.
fn closing(out: &Path, summary: &Summary) -> Vec<Line> {
    let file = |name: &str| quoted(&out.join(name));
    let ft = program();
    let mut lines = vec![Line::new()];
    if let (Some((_, before)), Some(Best { validation_loss: after, .. })) =
        (summary.validation_loss.first(), summary.best)
    {
        let losses = format!("validation loss {before:.4} before, {after:.4} after");
        lines.push(Line::new().with(Ink::Bold, losses));
        lines.push(
            "  The base is random: all that it learnt is the sound of 46 chats. A real tiny base comes later.".into(),
        );
        lines.push(Line::new());
    }
    let base = file("base");
    let adapter = quoted(&summary.output_dir);
    for (heading, commands) in [
        ("The same by hand", vec![format!("{ft} train {} --out {}", file("ft.yaml"), file("run-2"))]),
        (
            "What came out",
            vec![
                format!("{ft} generate --model {base} --adapter {adapter} --prompt 'Hello!'"),
                format!("{ft} data inspect {} --model {base} --show-mask 2", file("train.jsonl")),
            ],
        ),
        (
            "Next, with a model and data of your own",
            vec![format!("{ft} init --model path/to/model --data path/to/train.jsonl"), format!("{ft} train ft.yaml")],
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
    quoted(called.strip_prefix(here).unwrap_or(&called))
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = text.chars().all(|c| c.is_alphanumeric() || "/\\._-:".contains(c));
    if is_plain { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_with_spaces_are_quoted() {
        assert_eq!(quoted(Path::new("runs/quickstart/base")), "runs/quickstart/base");
        assert_eq!(quoted(Path::new("my runs/it's")), r"'my runs/it'\''s'");
    }

    #[test]
    fn the_embedded_recipe_is_the_one_that_the_commands_name() {
        assert!(CONFIG.contains("train: train.jsonl") && CONFIG.contains("validation: validation.jsonl"));
        assert!(CONFIG.contains("path: base"));
        assert_eq!(TRAIN.lines().count(), 46);
    }
}
