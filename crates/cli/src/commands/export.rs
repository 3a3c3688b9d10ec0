//! `ft export`: a tuned model for other programs.

mod adapter;
pub(crate) mod common;
mod gguf;
mod hf;
mod mlx;
mod ollama;

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
    Mlx(mlx::Args),
    Gguf(gguf::Args),
    Ollama(ollama::Args),
    Adapter(adapter::Args),
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    match &args.format {
        Format::Hf(args) => hf::run(args),
        Format::Mlx(args) => mlx::run(args),
        Format::Gguf(args) => gguf::run(args),
        Format::Ollama(args) => ollama::run(args),
        Format::Adapter(args) => adapter::run(args),
    }
}
