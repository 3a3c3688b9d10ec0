//! The weights of a model folder in Hugging Face layout.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use super::header::{self, Entry, Header, UniqueKeys};
use super::{MappedFile, MappedTensor, TensorError};
use crate::files::{is_plain_name, read_limited};

const SINGLE_FILE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
/// An index has some 100 bytes per tensor.
const MAX_INDEX_BYTES: u64 = 100_000_000;

/// All tensors of a model, mapped in place.
#[derive(Debug)]
pub struct WeightFolder {
    dir: PathBuf,
    pub(super) mapped: Mapped,
}

/// What is used of `model.safetensors.index.json`.
#[derive(Deserialize)]
struct Index {
    weight_map: UniqueKeys<String>,
}

impl WeightFolder {
    /// Maps `model.safetensors` or, where there is none, the shards that `model.safetensors.index.json` names, and checks
    /// every header. No weight is read.
    ///
    /// # Errors
    /// When there are no weights, or only pickles, or any rule of the [format](super) is broken, or index and shards
    /// disagree.
    pub fn open(dir: &Path) -> Result<Self, TensorError> {
        // The order in which Transformers looks for them.
        let mapped = if dir.join(SINGLE_FILE).exists() {
            map_file(&dir.join(SINGLE_FILE))?
        } else if dir.join(INDEX).exists() {
            map_shards(dir)?
        } else if let Some(file) = pickle_in(dir, "pytorch_model") {
            return Err(TensorError::PicklesOnly { dir: dir.to_path_buf(), file });
        } else {
            return Err(TensorError::NoWeights { dir: dir.to_path_buf() });
        };
        Ok(Self { dir: dir.to_path_buf(), mapped })
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Names of all stored tensors, sorted.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.mapped.tensors.keys().map(String::as_str)
    }

    /// All stored tensors, sorted by name.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = &MappedTensor> {
        self.mapped.tensors.values()
    }

    /// A tensor by name, or by the name of one that shares its values and is not stored (a tied embedding whose head is).
    pub fn find(&self, name: &str) -> Option<&MappedTensor> {
        let Mapped { tensors, aliases, .. } = &self.mapped;
        tensors.get(name).or_else(|| tensors.get(aliases.get(name)?))
    }

    /// A tensor by name, as [`WeightFolder::find`].
    ///
    /// # Errors
    /// [`TensorError::Missing`] when there is none.
    pub fn get(&self, name: &str) -> Result<&MappedTensor, TensorError> {
        self.find(name).ok_or_else(|| TensorError::Missing { dir: self.dir.clone(), name: name.to_string() })
    }

    /// Bytes of all weight files.
    pub fn size_bytes(&self) -> u64 {
        self.mapped.files.iter().map(|file| (**file).as_ref().len() as u64).sum()
    }

    /// Paths of the weight files, sorted.
    pub fn files(&self) -> impl Iterator<Item = PathBuf> {
        self.mapped.files.iter().map(|file| file.path().to_path_buf())
    }
}

/// The tensors of one or more files.
#[derive(Debug, Default)]
pub(crate) struct Mapped {
    pub(crate) tensors: BTreeMap<String, MappedTensor>,
    /// Tensors that share their values with a stored one: safetensors' writer for PyTorch stores such values once and
    /// puts the other names into `__metadata__`. Names of tied heads and embeddings, as a rule.
    pub(super) aliases: BTreeMap<String, String>,
    /// The files themselves, in the order of their names.
    pub(super) files: Vec<Arc<MappedFile>>,
}

/// Maps one file.
pub(crate) fn map_file(path: &Path) -> Result<Mapped, TensorError> {
    let file = Arc::new(MappedFile::open(path)?);
    let Header { entries, metadata } = header::parse(path, file.as_ref().as_ref())?;
    let tensor = |Entry { name, dtype, shape, range }| {
        (name.clone(), MappedTensor { name, dtype, shape, file: Arc::clone(&file), range })
    };
    let tensors: BTreeMap<_, _> = entries.into_iter().map(tensor).collect();
    // Whatever else is in the metadata does not name a tensor.
    let aliases = metadata.into_iter().filter(|(_, stored)| tensors.contains_key(stored)).collect();
    Ok(Mapped { tensors, aliases, files: vec![file] })
}

/// Maps the shards of the index; every tensor must be exactly where the index says.
fn map_shards(dir: &Path) -> Result<Mapped, TensorError> {
    let path = dir.join(INDEX);
    let bytes = read_limited(&path, MAX_INDEX_BYTES)?;
    let index: Index =
        serde_json::from_slice(&bytes).map_err(|source| TensorError::IndexSyntax { path: path.clone(), source })?;
    let UniqueKeys(shard_of) = index.weight_map;

    let shards: BTreeSet<String> = shard_of.values().cloned().collect();
    let mut all = Mapped::default();
    for shard in &shards {
        if !is_plain_name(shard) {
            return Err(TensorError::ShardName { path, shard: shard.clone() });
        }
        let Mapped { tensors, aliases, files } = map_file(&dir.join(shard))?;
        all.aliases.extend(aliases);
        all.files.extend(files);
        for (name, tensor) in tensors {
            let indexed_in = shard_of.get(&name);
            if indexed_in != Some(shard) {
                let (shard, indexed_in) = (shard.clone(), indexed_in.cloned());
                return Err(TensorError::NotInIndex { path, name, shard, indexed_in });
            }
            all.tensors.insert(name, tensor);
        }
    }
    match shard_of.iter().find(|(name, _)| !all.tensors.contains_key(*name)) {
        Some((name, shard)) => Err(TensorError::NotInShard { path, name: name.clone(), shard: shard.clone() }),
        None => Ok(all),
    }
}

/// Name of the first pickle of a folder that begins with `stem`.
pub(crate) fn pickle_in(dir: &Path, stem: &str) -> Option<String> {
    let entries = std::fs::read_dir(dir).ok()?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter(|name| name.starts_with(stem) && name.ends_with(".bin")).min()
}
