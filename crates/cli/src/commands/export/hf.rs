//! `ft export hf`

use std::path::PathBuf;

use attune_compute::cpu::Cpu;
use attune_export::artefact::{Proof, export_folder};
use attune_export::gate::Limits;
use attune_export::hf::FolderOptions;
use attune_export::{FloatType, Tuned};

use super::common::{Request, finish};
use crate::failure::Failure;

/// A folder for Transformers, vLLM and whatever reads Hugging Face layout (`ft fuse` without an adapter, too)
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
    let tuned = Tuned::load(&source.model, source.adapter.as_deref(), &source.text)?;
    let backend = Cpu::new(None)?;
    let prompts = args.request.prompts(&tuned)?;
    let options = FolderOptions { dtype: args.dtype, ..FolderOptions::default() };
    let limits = Some(args.request.limits(Limits::ROUNDED));
    let proof = Proof { prompts: &prompts, text: &source.artefact_text(), limits };
    let report = export_folder(&tuned, &backend, &args.out, &options, &proof)?;
    finish(&report, args.json)
}
