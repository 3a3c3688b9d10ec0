//! `ft resume`

use std::path::PathBuf;

use attune_train::Job;

use super::train;
use crate::failure::Failure;

/// Go on with an interrupted run
///
/// The adapter becomes the same, to the bit, as if the run had never been interrupted.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The run folder
    #[arg(value_name = "RUN_DIR")]
    run_dir: PathBuf,
    /// Print the result as one line of JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let summary = train::watch(Job::resume(args.run_dir.clone())?)?;
    train::print(&summary, args.json)
}
