//! Reading and checking a file's head.

use std::collections::HashSet;
use std::path::Path;

use super::value::{LIST, List, Value};
use super::{GgmlType, GgufError, MAGIC, MAX_DIMENSIONS, MAX_KEY_BYTES, MAX_NAME_BYTES};

/// Lists of lists are allowed by the format; nobody writes them deeper than once.
const MAX_LIST_DEPTH: usize = 4;

/// What is before the data.
pub(super) struct Head {
    pub(super) metadata: Vec<(String, Value)>,
    pub(super) tensors: Vec<Entry>,
}

/// A tensor; its range is relative to the file.
pub(super) struct Entry {
    pub(super) name: String,
    /// Row-major: the reverse of what is stored.
    pub(super) shape: Vec<usize>,
    pub(super) kind: GgmlType,
    pub(super) range: std::ops::Range<usize>,
}

/// Reads the head of a whole file; all ranges that it returns lie inside of `file`.
pub(super) fn parse(path: &Path, file: &[u8]) -> Result<Head, GgufError> {
    let mut reader = Reader { path, file, at: 0 };
    if reader.take(4).ok() != Some(MAGIC.as_slice()) {
        return Err(reader.broken(1, "does not begin with GGUF"));
    }
    match reader.u32()? {
        2 | 3 => {}
        version if (2..=3).contains(&version.swap_bytes()) => return Err(reader.broken(2, "is big-endian")),
        version => return Err(reader.broken(2, format!("is of version {version}; 2 and 3 are read"))),
    }
    // Each tensor takes 24 bytes at least, each pair 13: counts beyond that are no reason to allocate.
    let tensor_count = reader.count(24, "tensors")?;
    let pair_count = reader.count(13, "keys")?;

    let mut metadata: Vec<(String, Value)> = Vec::with_capacity(pair_count.min(1024));
    let mut keys = HashSet::new();
    for _ in 0..pair_count {
        let key = reader.text(5, "a key")?;
        reader.check_key(&key)?;
        if !keys.insert(key.clone()) {
            return Err(reader.broken(5, format!("key {key:?} stands there twice")));
        }
        let value = reader.value(&key)?;
        metadata.push((key, value));
    }
    let alignment = reader.alignment(&metadata)?;
    let tensors = reader.tensors(tensor_count, alignment)?;
    Ok(Head { metadata, tensors })
}

struct Reader<'a> {
    path: &'a Path,
    file: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn broken(&self, rule: u8, reason: impl Into<String>) -> GgufError {
        GgufError::broken(self.path, rule, reason)
    }

    fn take(&mut self, bytes: usize) -> Result<&'a [u8], GgufError> {
        let end = self.at.checked_add(bytes).filter(|&end| end <= self.file.len());
        let Some(end) = end else {
            return Err(self.broken(3, format!("ends at byte {}, inside of its head", self.file.len())));
        };
        let taken = &self.file[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], GgufError> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.take(N)?);
        Ok(bytes)
    }

    fn u32(&mut self) -> Result<u32, GgufError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, GgufError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// A number of things that take at least so many bytes each.
    fn count(&mut self, least_bytes: usize, what: &str) -> Result<usize, GgufError> {
        let count = self.u64()?;
        let left = (self.file.len() - self.at) as u64;
        match count.checked_mul(least_bytes as u64) {
            Some(bytes) if bytes <= left => Ok(count as usize),
            _ => Err(self.broken(4, format!("announces {count} {what}, and only {left} bytes follow"))),
        }
    }

    fn text(&mut self, rule: u8, what: &str) -> Result<String, GgufError> {
        let length = self.count(1, "bytes of a text")?;
        let bytes = self.take(length)?;
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text.to_string()),
            Err(_) => Err(self.broken(rule, format!("{what} before byte {} is not UTF-8", self.at))),
        }
    }

    fn check_key(&self, key: &str) -> Result<(), GgufError> {
        let fits = !key.is_empty() && key.len() <= MAX_KEY_BYTES && !key.chars().any(char::is_control);
        match fits {
            true => Ok(()),
            false => Err(self.broken(5, format!("{:?} is no key", key.chars().take(80).collect::<String>()))),
        }
    }

    fn value(&mut self, key: &str) -> Result<Value, GgufError> {
        let kind = self.u32()?;
        Ok(match kind {
            0 => Value::U8(self.array::<1>()?[0]),
            1 => Value::I8(i8::from_le_bytes(self.array()?)),
            2 => Value::U16(u16::from_le_bytes(self.array()?)),
            3 => Value::I16(i16::from_le_bytes(self.array()?)),
            4 => Value::U32(self.u32()?),
            5 => Value::I32(i32::from_le_bytes(self.array()?)),
            6 => Value::F32(f32::from_le_bytes(self.array()?)),
            7 => Value::Bool(self.flag(key)?),
            8 => Value::Text(self.text(6, key)?),
            LIST => Value::List(self.list(key, 1)?),
            10 => Value::U64(self.u64()?),
            11 => Value::I64(i64::from_le_bytes(self.array()?)),
            12 => Value::F64(f64::from_le_bytes(self.array()?)),
            _ => return Err(self.broken(6, format!("{key}: kind {kind} of values does not exist"))),
        })
    }

    fn flag(&mut self, key: &str) -> Result<bool, GgufError> {
        match self.array::<1>()?[0] {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(self.broken(6, format!("{key}: {other} is neither true nor false"))),
        }
    }

    fn list(&mut self, key: &str, depth: usize) -> Result<List, GgufError> {
        let kind = self.u32()?;
        let least_bytes = match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            8 | 10..=12 => 8,
            LIST => 12,
            _ => return Err(self.broken(6, format!("{key}: kind {kind} of values does not exist"))),
        };
        let count = self.count(least_bytes, &format!("elements of {key}"))?;
        Ok(match kind {
            0 => List::U8(self.take(count)?.to_vec()),
            1 => List::I8(self.numbers(count, i8::from_le_bytes)?),
            2 => List::U16(self.numbers(count, u16::from_le_bytes)?),
            3 => List::I16(self.numbers(count, i16::from_le_bytes)?),
            4 => List::U32(self.numbers(count, u32::from_le_bytes)?),
            5 => List::I32(self.numbers(count, i32::from_le_bytes)?),
            6 => List::F32(self.numbers(count, f32::from_le_bytes)?),
            7 => List::Bool((0..count).map(|_| self.flag(key)).collect::<Result<_, _>>()?),
            8 => List::Text((0..count).map(|_| self.text(6, key)).collect::<Result<_, _>>()?),
            10 => List::U64(self.numbers(count, u64::from_le_bytes)?),
            11 => List::I64(self.numbers(count, i64::from_le_bytes)?),
            12 => List::F64(self.numbers(count, f64::from_le_bytes)?),
            _ if depth >= MAX_LIST_DEPTH => {
                return Err(self.broken(6, format!("{key}: lists inside of lists, more than {MAX_LIST_DEPTH} deep")));
            }
            _ => List::Lists((0..count).map(|_| self.list(key, depth + 1)).collect::<Result<_, _>>()?),
        })
    }

    fn numbers<T, const N: usize>(&mut self, count: usize, read: impl Fn([u8; N]) -> T) -> Result<Vec<T>, GgufError> {
        let bytes = self.take(count * N)?;
        let (elements, _) = bytes.as_chunks::<N>();
        Ok(elements.iter().map(|element| read(*element)).collect())
    }

    fn alignment(&self, metadata: &[(String, Value)]) -> Result<usize, GgufError> {
        let Some((_, value)) = metadata.iter().find(|(key, _)| key == super::ALIGNMENT_KEY) else {
            return Ok(super::DEFAULT_ALIGNMENT);
        };
        let alignment = value.as_u64().filter(|&bytes| bytes.is_multiple_of(8) && bytes.is_power_of_two());
        match alignment.and_then(|bytes| usize::try_from(bytes).ok()).filter(|&bytes| bytes <= 1 << 20) {
            Some(bytes) => Ok(bytes),
            None => Err(self.broken(7, format!("{} {value} is no power of two from 8", super::ALIGNMENT_KEY))),
        }
    }

    fn tensors(&mut self, count: usize, alignment: usize) -> Result<Vec<Entry>, GgufError> {
        let mut tensors: Vec<(Entry, u64)> = Vec::with_capacity(count.min(4096));
        let mut names = HashSet::new();
        for _ in 0..count {
            let name = self.text(8, "a tensor's name")?;
            if name.is_empty() || name.len() > MAX_NAME_BYTES {
                return Err(self.broken(
                    8,
                    format!("a tensor's name has {} bytes, 1 to {MAX_NAME_BYTES} are allowed", name.len()),
                ));
            }
            if !names.insert(name.clone()) {
                return Err(self.broken(8, format!("tensor {name:?} is named twice")));
            }
            let (shape, kind, bytes) = self.shape_and_kind(&name)?;
            let offset = self.u64()?;
            tensors.push((Entry { name, shape, kind, range: 0..bytes }, offset));
        }
        let data_start = self.at.next_multiple_of(alignment);
        let size = self.file.len();
        for (entry, offset) in &mut tensors {
            let name = &entry.name;
            if !offset.is_multiple_of(alignment as u64) {
                return Err(
                    self.broken(10, format!("{name}: offset {offset} is no multiple of the alignment {alignment}"))
                );
            }
            let start = usize::try_from(*offset).ok().and_then(|offset| offset.checked_add(data_start));
            let end = start.and_then(|start| start.checked_add(entry.range.end));
            match (start, end) {
                (Some(start), Some(end)) if end <= size => entry.range = start..end,
                _ => {
                    let bytes = entry.range.end;
                    return Err(self
                        .broken(10, format!("{name}: {bytes} bytes at offset {offset} end after the file's {size}")));
                }
            }
        }
        let entries: Vec<Entry> = tensors.into_iter().map(|(entry, _)| entry).collect();
        let mut by_place: Vec<&Entry> = entries.iter().collect();
        by_place.sort_by_key(|entry| (entry.range.start, entry.range.end));
        if let Some(pair) = by_place.windows(2).find(|pair| pair[1].range.start < pair[0].range.end) {
            return Err(self.broken(11, format!("{} and {} overlap", pair[0].name, pair[1].name)));
        }
        Ok(entries)
    }

    fn shape_and_kind(&mut self, name: &str) -> Result<(Vec<usize>, GgmlType, usize), GgufError> {
        let dimensions = self.u32()? as usize;
        if !(1..=MAX_DIMENSIONS).contains(&dimensions) {
            return Err(self.broken(9, format!("{name}: {dimensions} dimensions, 1 to {MAX_DIMENSIONS} are allowed")));
        }
        let stored: Vec<u64> = (0..dimensions).map(|_| self.u64()).collect::<Result<_, _>>()?;
        let number = self.u32()?;
        let Some(kind) = GgmlType::from_number(number) else {
            return Err(self.broken(9, format!("{name}: type {number} is not known")));
        };
        let sizes: Option<Vec<usize>> =
            stored.iter().rev().map(|&size| usize::try_from(size).ok().filter(|&size| size > 0)).collect();
        let Some(shape) = sizes else {
            return Err(self.broken(9, format!("{name}: a dimension of {stored:?} is impossible")));
        };
        let row = shape[dimensions - 1];
        if !row.is_multiple_of(kind.block_len()) {
            let reason =
                format!("{name}: rows of {row} values are no whole number of {kind} blocks of {}", kind.block_len());
            return Err(self.broken(9, reason));
        }
        let values = shape.iter().try_fold(1_usize, |product, &size| product.checked_mul(size));
        let bytes = values.and_then(|values| (values / kind.block_len()).checked_mul(kind.block_bytes()));
        match bytes {
            Some(bytes) => Ok((shape, kind, bytes)),
            None => Err(self.broken(9, format!("{name}: {shape:?} values are more than any memory has"))),
        }
    }
}
