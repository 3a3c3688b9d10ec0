//! `ft export adapter`

use std::path::PathBuf;

use attune_model::AdapterLayout;

use crate::commands::adapter_files::Conversion;
use crate::failure::Failure;

/// An adapter alone, in the layout of another tool
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The adapter, in any layout that is read
    #[arg(long, value_name = "DIR")]
    adapter: PathBuf,
    /// The layout to write
    #[arg(long, value_name = "LAYOUT")]
    to: Layout,
    #[command(flatten)]
    conversion: Conversion,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Layout {
    /// PEFT: for Transformers, vLLM and most others
    Peft,
    /// mlx-lm
    Mlx,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let layout = match args.to {
        Layout::Peft => AdapterLayout::Peft,
        Layout::Mlx => AdapterLayout::Mlx,
    };
    args.conversion.run(&args.adapter, layout)
}
