//! `ft export ollama`

use std::path::PathBuf;

use attune_compute::cpu::Cpu;
use attune_export::Tuned;
use attune_export::artefact::{Proof, export_gguf, refuse_existing};
use attune_export::gguf::{GgufType, Types};
use attune_export::ollama::modelfile;
use attune_formats::files::{create_dir_all, write_atomic};

use super::common::{Request, finish};
use crate::failure::Failure;

/// A folder for `ollama create`: model.gguf and a Modelfile with the template and the stop tokens
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    request: Request,
    /// The folder to be written; it must not exist
    #[arg(long, value_name = "DIR")]
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
    refuse_existing(&args.out)?;
    let tuned = Tuned::load(&source.model, source.adapter.as_deref(), &source.text)?;
    let backend = Cpu::new(None)?;
    let prompts = args.request.prompts(&tuned)?;
    let limits = Some(args.request.limits(args.kind.limits()));
    let proof = Proof { prompts: &prompts, text: &source.artefact_text(), limits };
    create_dir_all(&args.out)?;
    let report = export_gguf(&tuned, &backend, &args.out.join("model.gguf"), Types::Of(args.kind), &proof)?;
    // A refused file has another name, so that a Modelfile would not find it.
    if report.gate.accepted {
        write_atomic(&args.out.join("Modelfile"), modelfile(&tuned.text, "model.gguf").as_bytes())?;
    }
    finish(&report, args.json)
}
