//! `ft fuse`

use std::path::PathBuf;

use attune_compute::cpu::Cpu;
use attune_export::artefact::{Proof, export_folder, export_gguf};
use attune_export::gate::Limits;
use attune_export::gguf::{Types, type_of_base};
use attune_export::hf::FolderOptions;
use attune_export::{FloatType, Tuned};
use attune_model::gguf::is_gguf;

use super::export::common::{Request, finish};
use crate::failure::{Failure, USAGE};

/// Put an adapter into its base: one model folder that needs no adapter any more
///
/// The folder is read back and compared with base and adapter before it gets its name; a folder that does not say the
/// same is left as OUT.refused, with the reasons in export_report.json, and the exit code is 3.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    request: Request,
    /// The folder to be written, or, for a base that is a GGUF file, a file that ends in .gguf and keeps the base's types; it
    /// must not exist
    #[arg(long, value_name = "DIR|FILE.gguf")]
    out: PathBuf,
    /// One type for all weights of a folder; left out, each stays in the base's own, and blocks become bf16
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
    let artefact_text = source.artefact_text();
    if is_gguf(&args.out) {
        if args.dtype.is_some() || !is_gguf(&source.model) {
            let hint = "fuse into a folder, or choose the file's type with `ft export gguf --type`";
            return Err(Failure::new(USAGE, "a GGUF file keeps the types of a base that is one", hint));
        }
        let limits = Some(args.request.limits(type_of_base(&tuned.base).limits()));
        let proof = Proof { prompts: &prompts, text: &artefact_text, limits };
        let report = export_gguf(&tuned, &backend, &args.out, Types::AsBase, &proof)?;
        return finish(&report, args.json);
    }
    let options = FolderOptions { dtype: args.dtype, ..FolderOptions::default() };
    let limits = Some(args.request.limits(Limits::ROUNDED));
    let proof = Proof { prompts: &prompts, text: &artefact_text, limits };
    let report = export_folder(&tuned, &backend, &args.out, &options, &proof)?;
    finish(&report, args.json)
}
