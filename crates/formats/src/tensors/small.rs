//! Small safetensors files: adapters, optimizer moments, test references.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::folder::map_file;
use super::{TensorError, as_f32_vec};
use crate::files::{DirWriter, write_atomic_with};

/// A tensor of one's own.
#[derive(Debug, Clone, PartialEq)]
pub struct F32Tensor {
    /// Its shape; row-major.
    pub shape: Vec<usize>,
    /// Its values.
    pub data: Vec<f32>,
}

/// A tensor to be written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TensorView<'a> {
    /// Its name in the file.
    pub name: &'a str,
    /// Its shape; row-major.
    pub shape: &'a [usize],
    /// Its values, as many as the shape says.
    pub data: &'a [f32],
}

/// Reads all tensors of a file; F16 and BF16 become `f32` exactly.
///
/// # Errors
/// When the file is missing, breaks a rule of the [format](super), or has a tensor of another type.
pub fn read_tensors(path: &Path) -> Result<BTreeMap<String, F32Tensor>, TensorError> {
    map_file(path)?
        .tensors
        .into_iter()
        .map(|(name, tensor)| {
            let data = as_f32_vec(&tensor)?;
            Ok((name, F32Tensor { shape: tensor.shape, data }))
        })
        .collect()
}

/// Writes F32 tensors, sorted by name, to a file of its own. Equal arguments give equal bytes.
///
/// # Errors
/// As [`crate::files::write_atomic`].
///
/// # Panics
/// If a name appears twice or is `__metadata__`, or a tensor does not have as many values as its shape says.
pub fn write_tensors(
    path: &Path,
    tensors: &[TensorView<'_>],
    metadata: &BTreeMap<String, String>,
) -> Result<(), TensorError> {
    let file = SafetensorsFile::new(tensors, metadata);
    Ok(write_atomic_with(path, Some(file.size_bytes()), |out| file.write_to(out))?)
}

/// Like [`write_tensors`], as a file of a folder that is being filled.
///
/// # Errors
/// As [`DirWriter::write`].
///
/// # Panics
/// As [`write_tensors`], and if `name` is not a plain file name.
pub fn write_tensors_into(
    dir: &DirWriter,
    name: &str,
    tensors: &[TensorView<'_>],
    metadata: &BTreeMap<String, String>,
) -> Result<(), TensorError> {
    let file = SafetensorsFile::new(tensors, metadata);
    Ok(dir.write_with(name, Some(file.size_bytes()), |out| file.write_to(out))?)
}

/// Header and tensors in the order in which they are written.
struct SafetensorsFile<'a> {
    header: Vec<u8>,
    tensors: Vec<TensorView<'a>>,
}

impl<'a> SafetensorsFile<'a> {
    fn new(tensors: &[TensorView<'a>], metadata: &BTreeMap<String, String>) -> Self {
        let mut tensors = tensors.to_vec();
        tensors.sort_by_key(|tensor| tensor.name);
        let mut names = BTreeSet::new();
        for tensor in &tensors {
            assert!(names.insert(tensor.name), "tensor {:?} is to be written twice", tensor.name);
            assert_ne!(tensor.name, "__metadata__", "the name is taken by the format");
            let (count, shape) = (tensor.data.len(), tensor.shape);
            assert_eq!(shape.iter().product::<usize>(), count, "values of {:?} {shape:?}", tensor.name);
        }
        let header = Header { tensors: &tensors, metadata };
        let Ok(mut header) = serde_json::to_vec(&header) else { unreachable!("names and numbers always become JSON") };
        // The data begins at a multiple of eight, as the format recommends.
        header.resize(header.len().next_multiple_of(8), b' ');
        Self { header, tensors }
    }

    fn size_bytes(&self) -> u64 {
        let data: usize = self.tensors.iter().map(|tensor| size_of_val(tensor.data)).sum();
        (size_of::<u64>() + self.header.len() + data) as u64
    }

    fn write_to(&self, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(&(self.header.len() as u64).to_le_bytes())?;
        out.write_all(&self.header)?;
        self.tensors.iter().try_for_each(|tensor| out.write_all(&little_endian(tensor.data)))
    }
}

fn little_endian(values: &[f32]) -> Cow<'_, [u8]> {
    if cfg!(target_endian = "little") {
        Cow::Borrowed(bytemuck::cast_slice(values))
    } else {
        Cow::Owned(values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }
}

struct Header<'a> {
    tensors: &'a [TensorView<'a>],
    metadata: &'a BTreeMap<String, String>,
}

#[derive(Serialize)]
struct HeaderEntry<'a> {
    dtype: &'static str,
    shape: &'a [usize],
    data_offsets: [usize; 2],
}

impl Serialize for Header<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if !self.metadata.is_empty() {
            map.serialize_entry("__metadata__", self.metadata)?;
        }
        let mut begin = 0;
        for tensor in self.tensors {
            let end = begin + size_of_val(tensor.data);
            let entry = HeaderEntry { dtype: "F32", shape: tensor.shape, data_offsets: [begin, end] };
            map.serialize_entry(tensor.name, &entry)?;
            begin = end;
        }
        map.end()
    }
}
