//! `ft export mlx`

use std::path::PathBuf;

use attune_compute::cpu::Cpu;
use attune_export::artefact::{Proof, export_folder};
use attune_export::gate::Limits;
use attune_export::hf::{AffineOptions, FolderOptions};
use attune_export::{FloatType, Tuned};
use clap::builder::PossibleValuesParser;
use clap::builder::TypedValueParser as _;

use super::common::{Request, finish};
use crate::failure::Failure;

/// A folder for mlx-lm: 16 bits, or quantised as `mlx_lm.convert -q` does
///
/// With --bits, embedding, linears and head become mlx's affine groups; no group is farther from the weights than mlx's own
/// quantiser puts it. The folder is read back and compared like every export.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    request: Request,
    /// The folder to be written; it must not exist
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Bits of a value: 4 or 8; left out, nothing is quantised
    #[arg(long, value_parser = one_of(["4", "8"]))]
    bits: Option<usize>,
    /// Values that share a scale and a bias
    #[arg(long, requires = "bits", default_value = "64", value_parser = one_of(["32", "64", "128"]))]
    group_size: usize,
    /// One type for all weights, and for the scales; left out, each stays in the base's own
    #[arg(long, value_name = "f32|f16|bf16")]
    dtype: Option<FloatType>,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

fn one_of<const N: usize>(numbers: [&'static str; N]) -> impl clap::builder::TypedValueParser<Value = usize> {
    PossibleValuesParser::new(numbers).try_map(|number| number.parse::<usize>())
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let source = args.request.resolve()?;
    let tuned = Tuned::load(&source.model, source.adapter.as_deref(), &source.text)?;
    let backend = Cpu::new(None)?;
    let prompts = args.request.prompts(&tuned)?;
    let affine = args.bits.map(|bits| AffineOptions { bits, group_len: args.group_size });
    let options = FolderOptions { dtype: args.dtype, format: "mlx", affine, ..FolderOptions::default() };
    let limits = Some(args.request.limits(affine.map_or(Limits::ROUNDED, AffineOptions::limits)));
    let proof = Proof { prompts: &prompts, text: &source.artefact_text(), limits };
    let report = export_folder(&tuned, &backend, &args.out, &options, &proof)?;
    finish(&report, args.json)
}
