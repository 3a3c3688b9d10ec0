//! `ft import config`

use std::path::PathBuf;

use attune_config::import::{ImportError, Note, import_config};
use attune_formats::files;

use crate::failure::{Failure, REFUSED, USAGE};
use crate::output;
use crate::paint::{Ink, Line};

/// The largest configuration that is read: a page or two is usual.
const MAX_BYTES: u64 = 1 << 20;

/// Another tool's configuration as ft.yaml: Axolotl, LLaMA-Factory or mlx-lm, as its keys say
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The configuration, in YAML
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The file to write; left out, it goes to stdout
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write nothing, and end with exit code 3, if a key has no counterpart
    #[arg(long)]
    strict: bool,
    /// Replace the file if it exists
    #[arg(long)]
    force: bool,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    if let Some(out) = args.out.as_ref().filter(|out| out.exists() && !args.force) {
        let message = format!("{}: the file exists", out.display());
        return Err(Failure::new(USAGE, message, "choose another --out, or replace it with --force"));
    }
    let of_file = |error: &dyn std::fmt::Display| format!("{}: {error}", args.file.display());
    let bytes = files::read_limited(&args.file, MAX_BYTES)?;
    let text = String::from_utf8(bytes)
        .map_err(|error| Failure::new(USAGE, of_file(&error.utf8_error()), "save the file as UTF-8"))?;
    let imported = import_config(text.trim_start_matches('\u{feff}'))
        .map_err(|error: ImportError| Failure::new(USAGE, of_file(&error), error.hint()))?;

    let missing = &imported.without_counterpart;
    let mut lines = vec![Line::from(format!(
        "{} of {}: {} keys without counterpart, {} without effect",
        args.file.display(),
        imported.tool,
        missing.len(),
        imported.without_effect.len()
    ))];
    lines.extend(missing.iter().map(|note| told(Ink::Warning, "no counterpart", note)));
    lines.extend(imported.without_effect.iter().map(|note| told(Ink::Dim, "no effect", note)));
    output::say(&lines);
    if args.strict && !missing.is_empty() {
        let message = format!("{} keys have no counterpart in ft.yaml", missing.len());
        return Err(Failure::new(REFUSED, message, "take them out of the file, or leave --strict out"));
    }
    match &args.out {
        Some(out) => {
            files::write_atomic(out, imported.yaml.as_bytes())?;
            output::result(&out.display().to_string())
        }
        None => output::result(imported.yaml.trim_end()),
    }
}

fn told(ink: Ink, label: &str, note: &Note) -> Line {
    Line::from("  ").with(ink, label).with(Ink::Plain, format!("  {}", crate::paint::printable(&note.to_string())))
}
