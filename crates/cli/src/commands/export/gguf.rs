//! `ft export gguf`

use std::path::PathBuf;

use attune_compute::cpu::Cpu;
use attune_export::Tuned;
use attune_export::artefact::{Proof, export_gguf};
use attune_export::gguf::{GgufType, Types};

use super::common::{Request, finish};
use crate::failure::Failure;

/// One file for llama.cpp, Ollama, LM Studio and their kin
///
/// Tokenizer, special tokens and chat template are in the file. It is read back and compared with what was tuned before it
/// gets its name; a file that does not say the same is left as OUT.refused, with the reasons in OUT.report.json, and the
/// exit code is 3.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    request: Request,
    /// The file to be written; it must not exist
    #[arg(long, value_name = "FILE.gguf")]
    out: PathBuf,
    /// f32, f16, bf16, q8_0, q6_k, q5_k_m, q4_k_m or q4_0
    #[arg(long = "type", value_name = "TYPE", default_value_t = GgufType::Q8_0)]
    kind: GgufType,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let source = args.request.resolve()?;
    let tuned = Tuned::load(&source.model, source.adapter.as_deref(), &source.text)?;
    let backend = Cpu::new(None)?;
    let prompts = args.request.prompts(&tuned)?;
    let limits = Some(args.request.limits(args.kind.limits()));
    let proof = Proof { prompts: &prompts, text: &source.artefact_text(), limits };
    let report = export_gguf(&tuned, &backend, &args.out, Types::Of(args.kind), &proof)?;
    finish(&report, args.json)
}
