//! An adapter from one layout into another: what `ft export adapter` and `ft import adapter` share.

use std::path::{Path, PathBuf};

use attune_model::{Adapter, AdapterLayout, DecoderSpec};

use crate::failure::{Failure, REFUSED, USAGE};
use crate::output;
use crate::paint::Line;

/// Where to, and for which model.
#[derive(Debug, clap::Args)]
pub(crate) struct Conversion {
    /// The folder to write
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The base model that the adapter belongs to; left out, the folder that the adapter itself names
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// Write the adapter even if it changes nothing
    #[arg(long)]
    allow_inert: bool,
    /// Replace the folder if it exists
    #[arg(long)]
    force: bool,
}

impl Conversion {
    /// Reads `adapter`, holds it against its model, and writes it.
    pub(crate) fn run(&self, adapter: &Path, to: AdapterLayout) -> Result<(), Failure> {
        if self.out.exists() && !self.force {
            let message = format!("{}: exists already", self.out.display());
            return Err(Failure::new(USAGE, message, "choose another --out, or replace it with --force"));
        }
        let from = AdapterLayout::detect(adapter)?;
        let named = from.base_of(adapter)?;
        let model = self.model(adapter, named.as_deref())?;
        let read = Adapter::open(&DecoderSpec::read(&model)?, adapter)?;
        if read.is_inert() && !self.allow_inert {
            let message = format!("{}: B A is zero in all {} modules", adapter.display(), read.modules.len());
            let hint = "it is untrained, or a step on its way lost the values; --allow-inert writes it all the same";
            return Err(Failure::new(REFUSED, message, hint));
        }
        let base = self.model.as_ref().map(|path| path.display().to_string()).or(named).unwrap_or_default();
        read.save(to, &self.out, &base)?;
        let method = if read.spec.use_dora { "DoRA" } else { "LoRA" };
        output::say(&[Line::from(format!(
            "{method} on {} modules, {} values: from {from} to {to}",
            read.modules.len(),
            read.parameters()
        ))]);
        output::result(&self.out.display().to_string())
    }

    /// The base model's folder: the one given, or the one that the adapter names, seen from here or from the adapter.
    fn model(&self, adapter: &Path, named: Option<&str>) -> Result<PathBuf, Failure> {
        if let Some(model) = &self.model {
            return Ok(model.clone());
        }
        let candidates = named.into_iter().flat_map(|name| [PathBuf::from(name), adapter.join(name)]);
        candidates.into_iter().find(|path| path.join("config.json").is_file()).ok_or_else(|| {
            let message = match named {
                Some(name) => format!("{}: its base model '{name}' is not a folder here", adapter.display()),
                None => format!("{}: does not name its base model", adapter.display()),
            };
            Failure::new(USAGE, message, "give the base model's folder with --model")
        })
    }
}
