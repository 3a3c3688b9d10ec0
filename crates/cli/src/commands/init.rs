//! `ft init`

use std::path::{Path, PathBuf};

use attune_formats::files;

use crate::failure::{Failure, USAGE};
use crate::output;

/// Write a commented configuration to start from
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The base model's folder
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// The training data
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// The file to write
    #[arg(long, value_name = "FILE", default_value = "ft.yaml")]
    out: PathBuf,
    /// Replace the file if it exists
    #[arg(long)]
    force: bool,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    if args.out.exists() && !args.force {
        let message = format!("{}: the file exists", args.out.display());
        return Err(Failure::new(USAGE, message, "choose another --out, or replace it with --force"));
    }
    let model = args.model.as_deref().map(|path| seen_from(path, &args.out)).transpose()?;
    let data = args.data.as_deref().map(|path| seen_from(path, &args.out)).transpose()?;
    let text = attune_config::init_template(model.as_deref(), data.as_deref());
    files::write_atomic(&args.out, text.as_bytes())?;
    output::result(&args.out.display().to_string())
}

/// A path as it must be written into `file`: paths there are relative to the file's folder.
fn seen_from(path: &Path, file: &Path) -> Result<String, Failure> {
    let in_same_folder = file.parent().is_none_or(|parent| parent.as_os_str().is_empty());
    let path = if in_same_folder { path.to_path_buf() } else { std::path::absolute(path)? };
    path.into_os_string().into_string().map_err(|path| {
        let message = format!("the path {} is not UTF-8", path.display());
        Failure::new(USAGE, message, "move the files to a folder whose name is UTF-8")
    })
}
