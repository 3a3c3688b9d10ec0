//! `ft import adapter`

use std::path::PathBuf;

use attune_model::AdapterLayout;

use crate::commands::adapter_files::Conversion;
use crate::failure::Failure;

/// Another tool's adapter as a folder in PEFT's layout, the one that training goes on from; the layout is found out
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The adapter: a folder of PEFT or mlx-lm
    #[arg(value_name = "PATH")]
    adapter: PathBuf,
    #[command(flatten)]
    conversion: Conversion,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    args.conversion.run(&args.adapter, AdapterLayout::Peft)
}
