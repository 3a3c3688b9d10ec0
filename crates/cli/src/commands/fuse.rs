//! `ft fuse`

use std::path::PathBuf;

use attune_compute::cpu::Cpu;
use attune_export::artefact::{Proof, export_folder};
use attune_export::hf::FolderOptions;
use attune_export::{FloatType, Tuned};

use super::export::common::{Request, finish};
use crate::failure::Failure;

/// Put an adapter into its base: one model folder that needs no adapter any more
///
/// The folder is read back and compared with base and adapter before it gets its name; a folder that does not say the
/// same is left as OUT.refused, with the reasons in export_report.json, and the exit code is 3.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    request: Request,
    /// The folder to be written; it must not exist
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// One type for all weights; left out, each stays in the base's own
    #[arg(long, value_name = "f32|f16|bf16")]
    dtype: Option<FloatType>,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let source = args.request.resolve()?;
    let tuned = Tuned::load(&source.model, Some(source.adapter()?), &source.text)?;
    let backend = Cpu::new(None)?;
    let prompts = args.request.prompts(&tuned)?;
    let options = FolderOptions { dtype: args.dtype, ..FolderOptions::default() };
    let proof = Proof { prompts: &prompts, text: &source.artefact_text() };
    let report = export_folder(&tuned, &backend, &args.out, &options, &proof)?;
    finish(&report, args.json)
}
