//! `ft data`

mod clean;
mod common;
mod diff;
mod inspect;
mod split;
mod stats;

use crate::failure::Failure;

/// Look at data files, make them safe to train on, part them, compare them
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Inspect(inspect::Args),
    Clean(clean::Args),
    Split(split::Args),
    Stats(stats::Args),
    Diff(diff::Args),
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    match &args.command {
        Command::Inspect(args) => inspect::run(args),
        Command::Clean(args) => clean::run(args),
        Command::Split(args) => split::run(args),
        Command::Stats(args) => stats::run(args),
        Command::Diff(args) => diff::run(args),
    }
}
