//! The tiny base model that the repository ships: what it learns from, and how it is made.

mod build;
mod corpus;
mod transcripts;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use attune_formats::files;

use corpus::{Book, Kind, Part};

const USAGE: &str = "usage: cargo xtask tiny-base [--check] | tiny-base corpus --out DIR [--rows N] \
                     | tiny-base transcripts --out DIR";

/// So many rows of each kind, and of what is held out.
const ROWS: usize = 60_000;
const HELD_OUT_ROWS: usize = 500;

/// Seeds of the two parts.
const SEED: u64 = 20_261;
const HELD_OUT_SEED: u64 = 70_401;

/// Runs the subcommand; true if all went well.
pub(crate) fn run(root: &Path, args: &[&str]) -> Result<bool> {
    match args {
        [] => build::build(root, false),
        ["--check"] => build::build(root, true),
        ["corpus", rest @ ..] => write_corpus(rest),
        ["transcripts", "--out", out] => write_transcripts(Path::new(out)),
        _ => bail!(USAGE),
    }
}

fn write_corpus(args: &[&str]) -> Result<bool> {
    let (mut out, mut rows) = (None, ROWS);
    let mut rest = args;
    while let [name, value, behind @ ..] = rest {
        match *name {
            "--out" => out = Some(PathBuf::from(value)),
            "--rows" => rows = value.parse().with_context(|| format!("--rows {value}: not a number"))?,
            _ => bail!(USAGE),
        }
        rest = behind;
    }
    let (Some(out), true) = (out, rest.is_empty()) else { bail!(USAGE) };
    write_rows(&out, rows, HELD_OUT_ROWS)?;
    Ok(true)
}

/// Writes rows of every kind, and those that are held out.
fn write_rows(out: &Path, rows: usize, held_out: usize) -> Result<()> {
    files::create_dir_all(out)?;
    let book = Book::open()?;
    for kind in Kind::ALL {
        let parts = [
            (Part::Train, SEED, rows, format!("{}.jsonl", kind.name())),
            (Part::HeldOut, HELD_OUT_SEED, held_out.min(rows), format!("{}-heldout.jsonl", kind.name())),
        ];
        for (part, seed, rows, name) in parts {
            let mut bytes = Vec::new();
            corpus::write(&book, kind, part, seed, rows, &mut bytes)?;
            let path = out.join(name);
            files::write_atomic(&path, &bytes)?;
            println!("{}: {rows} rows, {} bytes", path.display(), bytes.len());
        }
    }
    Ok(std::io::stdout().flush()?)
}

/// The files of the example, where they are kept or somewhere else.
fn write_transcripts(out: &Path) -> Result<bool> {
    files::create_dir_all(out)?;
    let book = Book::open()?;
    for (name, text) in transcripts::files(&book)? {
        files::write_atomic(&out.join(name), text.as_bytes())?;
    }
    files::write_atomic(&out.join("heldout.jsonl"), transcripts::held_out(&book)?.as_bytes())?;
    println!("{}: {} files of captions, heldout.jsonl", out.display(), transcripts::FILES);
    Ok(true)
}
