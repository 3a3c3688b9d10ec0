//! What is exported: a base, an adapter for it, and the text side that it was tuned with.

use std::path::{Path, PathBuf};

use attune_model::{Adapter, BaseModel};
use attune_text::{LoadOptions, TextModel};

use crate::error::ExportError;
use crate::gate::Side;

/// A base with its adapter.
#[derive(Debug)]
pub struct Tuned {
    /// The base.
    pub base: BaseModel,
    /// What was trained; `None` to convert the base alone.
    pub adapter: Option<Adapter>,
    /// Tokenizer and template.
    pub text: TextModel,
    /// The template is not the base's own, so an artefact must be given it.
    pub own_template: bool,
    /// Where the base came from.
    pub model_path: PathBuf,
    /// Where the adapter came from.
    pub adapter_path: Option<PathBuf>,
}

impl Tuned {
    /// Loads all three. `text` says which tokenizer and template the adapter was trained with, where these are not the
    /// base's own.
    ///
    /// # Errors
    /// When one of them is missing, broken, or does not fit the others, and when the adapter changes nothing.
    pub fn load(model: &Path, adapter: Option<&Path>, text: &LoadOptions) -> Result<Self, ExportError> {
        let own_template = text.chat_template.is_some();
        let (base, text) = open_model(model, text)?;
        let loaded = match adapter {
            None => None,
            Some(dir) => {
                let loaded = Adapter::open(&base.spec, dir)?;
                refuse_inert(&loaded, dir)?;
                Some(loaded)
            }
        };
        Ok(Self {
            base,
            adapter: loaded,
            text,
            own_template,
            model_path: model.to_path_buf(),
            adapter_path: adapter.map(Path::to_path_buf),
        })
    }

    /// As one side of the gate.
    pub fn side(&self) -> Side<'_> {
        Side { base: &self.base, adapter: self.adapter.as_ref(), text: &self.text }
    }
}

/// Opens a model: a folder in Hugging Face layout, or a GGUF file.
///
/// # Errors
/// As [`BaseModel::load`] and [`TextModel::load`].
pub fn open_model(path: &Path, options: &LoadOptions) -> Result<(BaseModel, TextModel), ExportError> {
    Ok((BaseModel::load(path)?, TextModel::load(path, options)?))
}

/// An adapter with `B A = 0` everywhere would make an export that is the base under another name.
fn refuse_inert(adapter: &Adapter, dir: &Path) -> Result<(), ExportError> {
    let zero = |values: &[f32]| values.iter().all(|&value| value == 0.0);
    // What a magnitude changes shows only beside the weights: the gate finds that.
    let works = |module: &&attune_model::AdapterModule| {
        module.magnitude.is_some() || (module.scale != 0.0 && !zero(&module.a) && !zero(&module.b))
    };
    if adapter.modules.iter().any(|module| works(&module)) {
        return Ok(());
    }
    let reason = format!("B A is zero in all {} modules", adapter.modules.len());
    Err(ExportError::Inert { adapter: dir.to_path_buf(), reason })
}
