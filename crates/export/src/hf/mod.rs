//! A model as a Hugging Face folder: fused, or only converted to another type.

mod config;
mod text_files;
mod weights;

use std::path::Path;

use attune_compute::Backend;
use attune_formats::files::DirWriter;
use attune_model::{Adapter, BaseModel, DecoderSpec};
use attune_text::TextModel;

use crate::error::ExportError;
use crate::floats::FloatType;
use crate::gate::Limits;
use crate::tuned::Tuned;

pub use config::config_of_spec;
pub use weights::DEFAULT_SHARD_BYTES;

/// How a folder is written.
#[derive(Debug, Clone, Copy)]
pub struct FolderOptions {
    /// One type for all matrices and vectors; `None` keeps each in the base's own type, and what the base stores in blocks
    /// becomes bf16.
    pub dtype: Option<FloatType>,
    /// A new weight file is begun before it would be larger than this.
    pub shard_bytes: u64,
    /// `format` in the files' metadata: `pt` for Transformers, `mlx` for mlx-lm.
    pub format: &'static str,
    /// Matrices become mlx's affine groups, whose scales have the type above.
    pub affine: Option<AffineOptions>,
}

/// Numbers of mlx's affine quantisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AffineOptions {
    /// Bits of a value: 4 or 8.
    pub bits: usize,
    /// Values that share a scale and a bias: 32, 64 or 128.
    pub group_len: usize,
}

impl AffineOptions {
    /// How far the artefact may be from what was tuned.
    pub fn limits(self) -> Limits {
        if self.bits <= 4 { Limits::Q4 } else { Limits::Q8 }
    }
}

impl Default for FolderOptions {
    fn default() -> Self {
        Self { dtype: None, shard_bytes: DEFAULT_SHARD_BYTES, format: "pt", affine: None }
    }
}

/// What was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Written {
    /// Type of the matrices, or of their scales.
    pub dtype: FloatType,
    /// Tensors.
    pub tensors: usize,
    /// Tensors that the adapter changed.
    pub changed: usize,
    /// Bytes of all weights in the files.
    pub bytes: u64,
    /// Seconds in which the disk took what was not yet on it, at the end of each file.
    pub sync_seconds: f64,
}

/// Writes base plus adapter into a folder that is being filled. Memory: a few chunks of rows, whatever the model's size.
///
/// # Errors
/// When the disk is full, a value does not fit into its type, or a file of the base that is copied is broken.
pub fn write_folder(
    dir: &DirWriter,
    tuned: &Tuned,
    backend: &dyn Backend,
    options: &FolderOptions,
) -> Result<Written, ExportError> {
    let own_template = tuned.text.chat_template().filter(|_| tuned.own_template);
    write_model(dir, (&tuned.base, tuned.adapter.as_ref()), (&tuned.text, own_template), backend, options)
}

/// As [`write_folder`], of parts that are not in one hand: base and adapter; tokenizer and, where it is not the base's, the
/// template.
///
/// # Errors
/// As [`write_folder`].
pub fn write_model(
    dir: &DirWriter,
    (base, adapter): (&BaseModel, Option<&Adapter>),
    (text, own_template): (&TextModel, Option<&str>),
    backend: &dyn Backend,
    options: &FolderOptions,
) -> Result<Written, ExportError> {
    let written = weights::write(dir, base, adapter, backend, options)?;
    let source = source_folder(base);
    dir.write(config::NAME, config::text(&base.spec, source, written.dtype, options.affine)?.as_bytes())?;
    text_files::write(dir, text, source, own_template)?;
    Ok(written)
}

/// `config.json` of a model whose weights are written in that type; `path` is the folder that it came from, if there is one.
///
/// # Errors
/// When the folder's own cannot be read, or the spec cannot be said in one.
pub fn config_text(spec: &DecoderSpec, path: &Path, dtype: FloatType) -> Result<String, ExportError> {
    config::text(spec, Some(path).filter(|path| path.is_dir()), dtype, None)
}

/// The folder in Hugging Face layout that the base came from; `None` for a base that is one file.
fn source_folder(base: &BaseModel) -> Option<&Path> {
    Some(base.path()).filter(|path| path.is_dir())
}
