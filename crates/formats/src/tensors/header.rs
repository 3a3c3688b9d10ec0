//! The header of a safetensors file, checked rule by rule.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;
use std::path::Path;

use safetensors::tensor::{Metadata, TensorInfo};
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};

use super::{DType, TensorError};

/// The longest header that is read; the format's own limit.
pub const MAX_HEADER_BYTES: u64 = 100_000_000;

/// Bytes before the header.
const LENGTH_BYTES: usize = 8;

/// One tensor of a file.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) dtype: DType,
    pub(super) shape: Vec<usize>,
    /// Where its bytes lie in the file.
    pub(super) range: Range<usize>,
}

/// A header that keeps all rules.
#[derive(Debug, PartialEq)]
pub(super) struct Header {
    /// In the order of their bytes.
    pub(super) entries: Vec<Entry>,
    /// `__metadata__`.
    pub(super) metadata: BTreeMap<String, String>,
}

/// Reads and checks the header of a whole file; the ranges that it returns lie inside of `file`.
pub(super) fn parse(path: &Path, file: &[u8]) -> Result<Header, TensorError> {
    let header = header_bytes(path, file)?;
    let RawHeader { mut tensors, metadata } = serde_json::from_slice(header)
        .map_err(|source| TensorError::HeaderSyntax { path: path.to_path_buf(), source })?;

    let mut seen = BTreeSet::new();
    if let Some((name, _)) = tensors.iter().find(|(name, _)| !seen.insert(name.as_str())) {
        return Err(TensorError::DuplicateTensor { path: path.to_path_buf(), name: name.clone() });
    }
    for (name, info) in &tensors {
        check_size(path, name, info)?;
    }
    tensors.sort_by_key(|(_, info)| info.data_offsets);
    Metadata::new(None, tensors.clone()).map_err(|source| TensorError::Layout { path: path.to_path_buf(), source })?;

    let data_start = LENGTH_BYTES + header.len();
    let data_end = tensors.last().map_or(0, |(_, info)| info.data_offsets.1);
    let expected_bytes = data_start as u64 + data_end as u64;
    let got_bytes = file.len() as u64;
    if got_bytes < expected_bytes {
        return Err(TensorError::Truncated { path: path.to_path_buf(), expected_bytes, got_bytes });
    }
    if got_bytes > expected_bytes {
        return Err(TensorError::TrailingBytes { path: path.to_path_buf(), expected_bytes, got_bytes });
    }
    let entry = |(name, info): (String, TensorInfo)| Entry {
        name,
        dtype: info.dtype.into(),
        shape: info.shape,
        range: data_start + info.data_offsets.0..data_start + info.data_offsets.1,
    };
    Ok(Header { entries: tensors.into_iter().map(entry).collect(), metadata })
}

/// Cuts the header out of the file.
fn header_bytes<'a>(path: &Path, file: &'a [u8]) -> Result<&'a [u8], TensorError> {
    let path = path.to_path_buf();
    if file.starts_with(b"version https://git-lfs") {
        return Err(TensorError::GitLfsPointer { path });
    }
    let got_bytes = file.len() as u64;
    let Some((length, rest)) = file.split_first_chunk::<LENGTH_BYTES>() else {
        return Err(TensorError::Truncated { path, expected_bytes: LENGTH_BYTES as u64, got_bytes });
    };
    let length = u64::from_le_bytes(*length);
    if length > MAX_HEADER_BYTES {
        return Err(TensorError::HeaderTooLarge { path, header_bytes: length, limit: MAX_HEADER_BYTES });
    }
    let Some(header) = rest.get(..length as usize) else {
        return Err(TensorError::Truncated { path, expected_bytes: LENGTH_BYTES as u64 + length, got_bytes });
    };
    match header.first() {
        Some(b'{') | None => Ok(header), // an empty header is a syntax error with a message of its own
        Some(&found) => Err(TensorError::HeaderStart { path, found }),
    }
}

fn check_size(path: &Path, name: &str, info: &TensorInfo) -> Result<(), TensorError> {
    let (begin, end) = info.data_offsets;
    let elements = info.shape.iter().try_fold(1usize, |product, &extent| product.checked_mul(extent));
    let bits = elements.and_then(|elements| elements.checked_mul(info.dtype.bitsize()));
    let bytes = bits.filter(|bits| bits % 8 == 0).map(|bits| bits / 8);
    if bytes.is_some() && bytes == end.checked_sub(begin) {
        return Ok(());
    }
    Err(TensorError::TensorSize {
        path: path.to_path_buf(),
        name: name.to_string(),
        dtype: info.dtype.to_string(),
        shape: info.shape.clone(),
        begin,
        end,
    })
}

/// The tensors in the order of the file, repeated ones included.
struct RawHeader {
    tensors: Vec<(String, TensorInfo)>,
    metadata: BTreeMap<String, String>,
}

impl<'de> Deserialize<'de> for RawHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct HeaderVisitor;

        impl<'de> Visitor<'de> for HeaderVisitor {
            type Value = RawHeader;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawHeader, A::Error> {
                let mut tensors = Vec::new();
                let mut metadata = None;
                while let Some(name) = map.next_key::<String>()? {
                    if name != "__metadata__" {
                        tensors.push((name, map.next_value()?));
                    } else if metadata.is_some() {
                        return Err(A::Error::custom("key \"__metadata__\" appears twice"));
                    } else {
                        // Some writers put null there.
                        let found = map.next_value::<Option<UniqueKeys<String>>>()?;
                        metadata = Some(found.map_or_else(BTreeMap::new, |UniqueKeys(entries)| entries));
                    }
                }
                Ok(RawHeader { tensors, metadata: metadata.unwrap_or_default() })
            }
        }

        deserializer.deserialize_map(HeaderVisitor)
    }
}

/// A JSON object in which no key appears twice. (serde's own maps keep the last one in silence.)
#[derive(Debug)]
pub(crate) struct UniqueKeys<V>(pub(crate) BTreeMap<String, V>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for UniqueKeys<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeysVisitor<V>(PhantomData<V>);

        impl<'de, V: Deserialize<'de>> Visitor<'de> for KeysVisitor<V> {
            type Value = UniqueKeys<V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<UniqueKeys<V>, A::Error> {
                let mut entries = BTreeMap::new();
                while let Some(key) = map.next_key::<String>()? {
                    let value = map.next_value()?;
                    if entries.contains_key(&key) {
                        return Err(A::Error::custom(format_args!("key {key:?} appears twice")));
                    }
                    entries.insert(key, value);
                }
                Ok(UniqueKeys(entries))
            }
        }

        deserializer.deserialize_map(KeysVisitor(PhantomData))
    }
}
