//! `ft export`: what was tuned, for other programs.

mod adapter;

use crate::failure::Failure;

/// Write a model, with or without an adapter, for another program
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    format: Format,
}

#[derive(Debug, clap::Subcommand)]
enum Format {
    Adapter(adapter::Args),
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    match &args.format {
        Format::Adapter(args) => adapter::run(args),
    }
}
