//! `ft import`: what other programs wrote.

mod adapter;
mod config;

use crate::failure::Failure;

/// Take over an adapter or a configuration of another program
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    Adapter(adapter::Args),
    Config(config::Args),
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    match &args.what {
        What::Adapter(args) => adapter::run(args),
        What::Config(args) => config::run(args),
    }
}
