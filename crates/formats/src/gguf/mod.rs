//! GGUF: one file with a model's metadata, tokenizer and tensors, plain or in blocks of few bits.
//!
//! A file is accepted when
//!
//! 1. it begins with the bytes `GGUF`;
//! 2. its version is 2 or 3, little endian;
//! 3. its head does not end before its time;
//! 4. no count (of tensors, keys, elements, bytes of a text) is larger than what the rest of the file can hold, and no list
//!    longer than 2^26;
//! 5. keys are texts of 1 to 65,535 bytes without control characters, none of them twice;
//! 6. values are of the thirteen kinds; texts are UTF-8, flags 0 or 1, lists not nested deeper than four;
//! 7. `general.alignment`, if it is there, is a power of two from 8;
//! 8. tensors have names of 1 to 64 bytes, none of them twice;
//! 9. they have 1 to 4 dimensions, none of them 0, a known type, and rows that are whole numbers of its blocks;
//! 10. their offsets are multiples of the alignment and their bytes lie inside of the file;
//! 11. no two of them overlap.
//!
//! Shapes are row-major here: the reverse of what the file stores.
//!
//! # Source
//! `docs/gguf.md` of ggml, and the checks of `gguf.cpp`.

mod error;
mod kinds;
pub mod names;
pub mod permute;
mod read;
mod scan;
mod value;
mod write;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use error::GgufError;
pub use kinds::GgmlType;
pub use value::{List, Value};
pub use write::{PlannedTensor, write_file};

use crate::tensors::MappedFile;

/// Whether a path names a GGUF file.
pub fn is_gguf(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf")) && !path.is_dir()
}

const MAGIC: &[u8; 4] = b"GGUF";
const ALIGNMENT_KEY: &str = "general.alignment";
const DEFAULT_ALIGNMENT: usize = 32;
const MAX_KEY_BYTES: usize = 65_535;
const MAX_NAME_BYTES: usize = 64;
const MAX_DIMENSIONS: usize = 4;

/// A file, mapped in place, whose head keeps all rules.
#[derive(Debug)]
pub struct GgufFile {
    file: Arc<MappedFile>,
    metadata: Vec<(String, Value)>,
    tensors: Vec<GgufTensor>,
}

/// A tensor where it lies in the mapped file.
#[derive(Debug, Clone)]
pub struct GgufTensor {
    /// Its name, for example `blk.0.attn_q.weight`.
    pub name: String,
    /// Its shape; row-major.
    pub shape: Vec<usize>,
    /// How it is stored.
    pub kind: GgmlType,
    file: Arc<MappedFile>,
    range: Range<usize>,
}

impl GgufTensor {
    /// The stored bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.file.as_ref().as_ref()[self.range.clone()]
    }

    /// The mapped file and where in it the tensor lies.
    pub fn shared(&self) -> (Arc<MappedFile>, Range<usize>) {
        (Arc::clone(&self.file), self.range.clone())
    }
}

impl GgufFile {
    /// Maps a file and checks its head. No weight is read.
    ///
    /// # Errors
    /// When the file cannot be mapped or breaks a rule of the [format](self).
    pub fn open(path: &Path) -> Result<Self, GgufError> {
        let file = Arc::new(MappedFile::open(path)?);
        let head = read::parse(path, file.as_ref().as_ref())?;
        let tensor = |entry: read::Entry| GgufTensor {
            name: entry.name,
            shape: entry.shape,
            kind: entry.kind,
            file: Arc::clone(&file),
            range: entry.range,
        };
        let tensors = head.tensors.into_iter().map(tensor).collect();
        Ok(Self { metadata: head.metadata, tensors, file })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Bytes of the whole file.
    pub fn size_bytes(&self) -> u64 {
        (*self.file).as_ref().len() as u64
    }

    /// All keys in the order of the file.
    pub fn metadata(&self) -> &[(String, Value)] {
        &self.metadata
    }

    /// All tensors in the order of the file.
    pub fn tensors(&self) -> &[GgufTensor] {
        &self.tensors
    }

    /// A tensor by name.
    pub fn tensor(&self, name: &str) -> Option<&GgufTensor> {
        self.tensors.iter().find(|tensor| tensor.name == name)
    }

    /// A value by key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.metadata.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    fn optional<'a, T>(
        &'a self,
        key: &str,
        expected: &'static str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, GgufError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let wrong = || {
            let (path, key, got) = (self.path().to_path_buf(), key.to_string(), value.kind_name().to_string());
            GgufError::KeyKind { path, key, expected, got }
        };
        read(value).map(Some).ok_or_else(wrong)
    }

    fn missing(&self, key: &str) -> GgufError {
        GgufError::MissingKey { path: PathBuf::from(self.path()), key: key.to_string() }
    }

    /// A whole number; `None` when the key is absent.
    ///
    /// # Errors
    /// [`GgufError::KeyKind`] when the value is something else.
    pub fn optional_u64(&self, key: &str) -> Result<Option<u64>, GgufError> {
        self.optional(key, "a whole number from 0", Value::as_u64)
    }

    /// A number with a fraction; `None` when the key is absent.
    ///
    /// # Errors
    /// As [`GgufFile::optional_u64`].
    pub fn optional_f64(&self, key: &str) -> Result<Option<f64>, GgufError> {
        self.optional(key, "a number with a fraction", Value::as_f64)
    }

    /// A flag; `None` when the key is absent.
    ///
    /// # Errors
    /// As [`GgufFile::optional_u64`].
    pub fn optional_bool(&self, key: &str) -> Result<Option<bool>, GgufError> {
        self.optional(key, "a flag", Value::as_bool)
    }

    /// A text; `None` when the key is absent.
    ///
    /// # Errors
    /// As [`GgufFile::optional_u64`].
    pub fn optional_text(&self, key: &str) -> Result<Option<&str>, GgufError> {
        self.optional(key, "a text", Value::as_text)
    }

    /// A list of texts; `None` when the key is absent.
    ///
    /// # Errors
    /// As [`GgufFile::optional_u64`].
    pub fn optional_texts(&self, key: &str) -> Result<Option<&[String]>, GgufError> {
        self.optional(key, "a list of texts", Value::as_texts)
    }

    /// A list of `f32`; `None` when the key is absent.
    ///
    /// # Errors
    /// As [`GgufFile::optional_u64`].
    pub fn optional_f32s(&self, key: &str) -> Result<Option<&[f32]>, GgufError> {
        self.optional(key, "a list of numbers with fractions", Value::as_f32s)
    }

    /// A list of whole numbers; `None` when the key is absent.
    ///
    /// # Errors
    /// As [`GgufFile::optional_u64`].
    pub fn optional_i32s(&self, key: &str) -> Result<Option<Vec<i32>>, GgufError> {
        self.optional(key, "a list of whole numbers", Value::as_i32s)
    }

    /// A whole number that must be there.
    ///
    /// # Errors
    /// As [`GgufFile::optional_u64`], and [`GgufError::MissingKey`].
    pub fn u64(&self, key: &str) -> Result<u64, GgufError> {
        self.optional_u64(key)?.ok_or_else(|| self.missing(key))
    }

    /// A text that must be there.
    ///
    /// # Errors
    /// As [`GgufFile::u64`].
    pub fn text(&self, key: &str) -> Result<&str, GgufError> {
        self.optional_text(key)?.ok_or_else(|| self.missing(key))
    }
}

#[cfg(test)]
mod tests;
