//! Writing a file: the head first, then tensor after tensor.

use std::collections::HashSet;
use std::io::{self, Write};
use std::path::Path;

use super::value::{List, Value};
use super::{
    ALIGNMENT_KEY, DEFAULT_ALIGNMENT, GgmlType, GgufError, MAGIC, MAX_DIMENSIONS, MAX_KEY_BYTES, MAX_NAME_BYTES,
};
use crate::files::{Counted, write_atomic_with};

const VERSION: u32 = 3;

/// A tensor that is going to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedTensor {
    /// Its name, for example `blk.0.attn_q.weight`.
    pub name: String,
    /// Its shape; row-major.
    pub shape: Vec<usize>,
    /// How it is stored.
    pub kind: GgmlType,
}

impl PlannedTensor {
    /// Bytes that it takes, without the filling behind it.
    pub fn size_bytes(&self) -> usize {
        let values: usize = self.shape.iter().product();
        values / self.kind.block_len() * self.kind.block_bytes()
    }
}

/// Writes a file of version 3 that appears complete or not at all. `fill` is called once for each tensor with its index, in
/// order, and must write exactly its bytes.
///
/// # Errors
/// As [`crate::files::write_atomic`], and whatever `fill` returns.
///
/// # Panics
/// If a key, a name or a shape breaks a rule of the [format](super), a list holds lists (which llama.cpp does not read), or
/// `fill` writes too much or too little.
pub fn write_file(
    path: &Path,
    metadata: &[(String, Value)],
    tensors: &[PlannedTensor],
    fill: &mut dyn FnMut(usize, &mut dyn Write) -> io::Result<()>,
) -> Result<(), GgufError> {
    let head = head(metadata, tensors);
    let data: usize = tensors.iter().map(|tensor| tensor.size_bytes().next_multiple_of(DEFAULT_ALIGNMENT)).sum();
    let size_bytes = (head.len() + data) as u64;
    Ok(write_atomic_with(path, Some(size_bytes), |out| {
        out.write_all(&head)?;
        for (index, tensor) in tensors.iter().enumerate() {
            let mut counted = Counted { out: &mut *out, bytes: 0 };
            fill(index, &mut counted)?;
            let bytes = tensor.size_bytes();
            assert_eq!(counted.bytes, bytes, "bytes written of {}", tensor.name);
            out.write_all(&[0; DEFAULT_ALIGNMENT][..bytes.next_multiple_of(DEFAULT_ALIGNMENT) - bytes])?;
        }
        Ok(())
    })?)
}

/// Everything before the data, filled up to where the data begins.
fn head(metadata: &[(String, Value)], tensors: &[PlannedTensor]) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend(VERSION.to_le_bytes());
    out.extend((tensors.len() as u64).to_le_bytes());
    out.extend((metadata.len() as u64).to_le_bytes());
    let mut keys = HashSet::new();
    for (key, value) in metadata {
        assert!((1..=MAX_KEY_BYTES).contains(&key.len()) && !key.chars().any(char::is_control), "key {key:?}");
        assert!(keys.insert(key.as_str()), "key {key:?} is to be written twice");
        assert_ne!(key, ALIGNMENT_KEY, "the alignment is the format's own");
        assert!(!matches!(value, Value::List(List::Lists(_))), "{key}: a list of lists");
        put_text(&mut out, key);
        out.extend(value.kind().to_le_bytes());
        put_value(&mut out, value);
    }
    let mut names = HashSet::new();
    let mut offset = 0_u64;
    for tensor in tensors {
        let PlannedTensor { name, shape, kind } = tensor;
        // llama.cpp has room for one byte less than the specification allows.
        assert!((1..MAX_NAME_BYTES).contains(&name.len()), "name {name:?}");
        assert!(names.insert(name.as_str()), "tensor {name:?} is to be written twice");
        assert!((1..=MAX_DIMENSIONS).contains(&shape.len()) && !shape.contains(&0), "{name}: {shape:?}");
        let row = shape[shape.len() - 1];
        assert!(row.is_multiple_of(kind.block_len()), "{name}: rows of {row} values as {kind}");
        put_text(&mut out, name);
        out.extend((shape.len() as u32).to_le_bytes());
        for &size in shape.iter().rev() {
            out.extend((size as u64).to_le_bytes());
        }
        out.extend(kind.number().to_le_bytes());
        out.extend(offset.to_le_bytes());
        offset += tensor.size_bytes().next_multiple_of(DEFAULT_ALIGNMENT) as u64;
    }
    out.resize(out.len().next_multiple_of(DEFAULT_ALIGNMENT), 0);
    out
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

fn put_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::U8(value) => out.push(*value),
        Value::I8(value) => out.extend(value.to_le_bytes()),
        Value::U16(value) => out.extend(value.to_le_bytes()),
        Value::I16(value) => out.extend(value.to_le_bytes()),
        Value::U32(value) => out.extend(value.to_le_bytes()),
        Value::I32(value) => out.extend(value.to_le_bytes()),
        Value::F32(value) => out.extend(value.to_le_bytes()),
        Value::Bool(value) => out.push(u8::from(*value)),
        Value::Text(value) => put_text(out, value),
        Value::List(list) => put_list(out, list),
        Value::U64(value) => out.extend(value.to_le_bytes()),
        Value::I64(value) => out.extend(value.to_le_bytes()),
        Value::F64(value) => out.extend(value.to_le_bytes()),
    }
}

fn put_list(out: &mut Vec<u8>, list: &List) {
    out.extend(list.kind().to_le_bytes());
    out.extend((list.len() as u64).to_le_bytes());
    match list {
        List::U8(list) => out.extend(list),
        List::I8(list) => out.extend(list.iter().flat_map(|value| value.to_le_bytes())),
        List::U16(list) => out.extend(list.iter().flat_map(|value| value.to_le_bytes())),
        List::I16(list) => out.extend(list.iter().flat_map(|value| value.to_le_bytes())),
        List::U32(list) => out.extend(list.iter().flat_map(|value| value.to_le_bytes())),
        List::I32(list) => out.extend(list.iter().flat_map(|value| value.to_le_bytes())),
        List::F32(list) => out.extend(list.iter().flat_map(|value| value.to_le_bytes())),
        List::Bool(list) => out.extend(list.iter().map(|&value| u8::from(value))),
        List::Text(list) => list.iter().for_each(|text| put_text(out, text)),
        List::Lists(_) => unreachable!("lists of lists are not written"),
        List::U64(list) => out.extend(list.iter().flat_map(|value| value.to_le_bytes())),
        List::I64(list) => out.extend(list.iter().flat_map(|value| value.to_le_bytes())),
        List::F64(list) => out.extend(list.iter().flat_map(|value| value.to_le_bytes())),
    }
}
