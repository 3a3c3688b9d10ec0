//! `ft export`: a tuned model for other programs.

pub(crate) mod common;
mod hf;

use crate::failure::Failure;

/// Write a model, with or without an adapter, for another program
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    format: Format,
}

#[derive(Debug, clap::Subcommand)]
enum Format {
    Hf(hf::Args),
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    match &args.format {
        Format::Hf(args) => hf::run(args),
    }
}
