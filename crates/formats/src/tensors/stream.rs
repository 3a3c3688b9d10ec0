//! Safetensors files that are larger than memory: the header first, then tensor after tensor.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::{DType, TensorError};
use crate::files::{Counted, DirWriter};

/// A tensor that is going to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedTensor {
    /// Its name in the file.
    pub name: String,
    /// How it is stored: F32, F16, BF16 or U32.
    pub dtype: DType,
    /// Its shape; row-major.
    pub shape: Vec<usize>,
}

impl PlannedTensor {
    /// Bytes that it takes.
    ///
    /// # Panics
    /// If the type is none that Attune writes.
    pub fn size_bytes(&self) -> usize {
        self.shape.iter().product::<usize>() * element_bytes(self)
    }
}

fn element_bytes(tensor: &PlannedTensor) -> usize {
    match tensor.dtype {
        DType::F32 | DType::U32 => 4,
        DType::F16 | DType::Bf16 => 2,
        DType::Other(dtype) => panic!("tensor {:?} of type {dtype} cannot be written", tensor.name),
    }
}

/// Indices of the tensors in an order in which every value is aligned: wide types first, then by name.
pub fn stream_order(tensors: &[PlannedTensor]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..tensors.len()).collect();
    order.sort_by_key(|&index| (usize::MAX - element_bytes(&tensors[index]), tensors[index].name.as_str()));
    order
}

/// Writes a file of a folder that is being filled, the tensors in the order in which they are given. `fill` is called once
/// for each with its index, in that order. It must write exactly the bytes of that tensor, row-major and little endian.
///
/// # Errors
/// As [`DirWriter::write`], and whatever `fill` returns.
///
/// # Panics
/// If a name appears twice or is `__metadata__`, or `fill` writes too much or too little.
pub fn write_stream_into(
    dir: &DirWriter,
    name: &str,
    tensors: &[PlannedTensor],
    metadata: &BTreeMap<String, String>,
    fill: &mut dyn FnMut(usize, &mut dyn Write) -> io::Result<()>,
) -> Result<(), TensorError> {
    let mut names = BTreeSet::new();
    for tensor in tensors {
        assert!(names.insert(tensor.name.as_str()), "tensor {:?} is to be written twice", tensor.name);
        assert_ne!(tensor.name, "__metadata__", "the name is taken by the format");
    }
    let Ok(mut header) = serde_json::to_vec(&Header { tensors, metadata }) else {
        unreachable!("names and numbers always become JSON")
    };
    // The data begins at a multiple of eight, as the format recommends.
    header.resize(header.len().next_multiple_of(8), b' ');
    let data_bytes: usize = tensors.iter().map(PlannedTensor::size_bytes).sum();
    let size_bytes = (size_of::<u64>() + header.len() + data_bytes) as u64;
    Ok(dir.write_with(name, Some(size_bytes), |out| {
        out.write_all(&(header.len() as u64).to_le_bytes())?;
        out.write_all(&header)?;
        for (index, tensor) in tensors.iter().enumerate() {
            let mut counted = Counted { out: &mut *out, bytes: 0 };
            fill(index, &mut counted)?;
            assert_eq!(counted.bytes, tensor.size_bytes(), "bytes written of {:?}", tensor.name);
        }
        Ok(())
    })?)
}

struct Header<'a> {
    tensors: &'a [PlannedTensor],
    metadata: &'a BTreeMap<String, String>,
}

#[derive(Serialize)]
struct Entry<'a> {
    dtype: String,
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
            let end = begin + tensor.size_bytes();
            let entry = Entry { dtype: tensor.dtype.to_string(), shape: &tensor.shape, data_offsets: [begin, end] };
            map.serialize_entry(&tensor.name, &entry)?;
            begin = end;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{WeightFolder, as_f32_vec};
    use super::*;

    #[test]
    fn what_is_streamed_is_read_back() -> Result<(), TensorError> {
        let scratch = tempfile::tempdir().expect("a folder");
        let target = scratch.path().join("model");
        let planned =
            |name: &str, dtype, shape: &[usize]| PlannedTensor { name: name.into(), dtype, shape: shape.into() };
        let tensors =
            [planned("b", DType::Bf16, &[3]), planned("a", DType::F16, &[1, 1]), planned("z", DType::F32, &[2])];
        assert_eq!(stream_order(&tensors), [2, 1, 0], "wide types first, then by name");
        let bytes: [&[u8]; 3] = [&[0x80, 0x3f, 0, 0x40, 0x40, 0x40], &[0, 0x3c], &[0, 0, 0x80, 0x3f, 0, 0, 0, 0x40]];
        let dir = DirWriter::create(&target)?;
        let mut order = Vec::new();
        write_stream_into(&dir, "model.safetensors", &tensors, &BTreeMap::new(), &mut |index, out| {
            order.push(index);
            out.write_all(bytes[index])
        })?;
        dir.commit()?;
        assert_eq!(order, [0, 1, 2], "as they were given");
        let folder = WeightFolder::open(&target)?;
        assert_eq!(as_f32_vec(folder.get("b")?)?, [1.0, 2.0, 3.0]);
        assert_eq!(as_f32_vec(folder.get("a")?)?, [1.0]);
        assert_eq!(as_f32_vec(folder.get("z")?)?, [1.0, 2.0]);
        Ok(())
    }

    #[test]
    #[should_panic(expected = "bytes written of \"a\"")]
    fn a_tensor_that_is_too_short_is_noticed() {
        let scratch = tempfile::tempdir().expect("a folder");
        let dir = DirWriter::create(&scratch.path().join("model")).expect("a folder");
        let tensors = [PlannedTensor { name: "a".into(), dtype: DType::F32, shape: vec![2] }];
        let _ =
            write_stream_into(&dir, "x.safetensors", &tensors, &BTreeMap::new(), &mut |_, out| out.write_all(&[0; 4]));
    }
}
