//! `ft schema`

use crate::failure::Failure;
use crate::output;

/// Print the JSON Schema of ft.yaml, for editors and checks
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_args: &Args) -> Result<(), Failure> {
    output::result(&format!("{:#}", attune_config::json_schema()))
}
