//! A look at the schema in a Parquet file's footer before the parquet crate reads it: the crate builds the tree of columns
//! by recursion without a bound, and a footer of 200 kB that nests deep enough would end the program.
//!
//! # Source
//! `parquet.thrift` of the format (`FileMetaData` field 2 is the list of `SchemaElement`s in preorder, whose field 5 is the
//! number of children) and Thrift's compact protocol.

use std::io::{self, Read, Seek, SeekFrom};

/// Schemas are at the head of the footer and hardly larger than a few kB.
const MOST_SCHEMA_BYTES: u64 = 64 << 20;

/// Values of Thrift inside of one column's description; more levels than the format has.
const DEEPEST_VALUE: usize = 16;

/// What the footer says of its schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Schema {
    /// Levels of groups, counted up to one more than the bound.
    Depth(usize),
    /// It is not written as the format has it.
    Unknown,
    /// There is no footer, or an encrypted one: the parquet crate says so better.
    Absent,
}

/// Looks at the schema of `file`, but no deeper than `deepest` levels.
pub(super) fn look(file: &mut (impl Read + Seek), deepest: usize) -> io::Result<Schema> {
    let length = file.seek(SeekFrom::End(0))?;
    if length < 12 {
        return Ok(Schema::Absent);
    }
    file.seek(SeekFrom::End(-8))?;
    let mut tail = [0; 8];
    file.read_exact(&mut tail)?;
    let [a, b, c, d, magic @ ..] = tail;
    let footer = u64::from(u32::from_le_bytes([a, b, c, d]));
    if &magic != b"PAR1" || footer > length - 8 {
        return Ok(Schema::Absent);
    }
    file.seek(SeekFrom::Start(length - 8 - footer))?;
    let mut bytes = Vec::new();
    file.take(footer.min(MOST_SCHEMA_BYTES)).read_to_end(&mut bytes)?;
    Ok(depth(&bytes, deepest).map_or(Schema::Unknown, Schema::Depth))
}

fn depth(footer: &[u8], deepest: usize) -> Option<usize> {
    let mut thrift = Compact { rest: footer };
    let mut id = 0;
    loop {
        let kind = thrift.field(&mut id)?;
        if id == 2 && kind == LIST {
            break;
        }
        thrift.skip(kind, 0)?;
    }
    let (count, kind) = thrift.list()?;
    if kind != STRUCT {
        return None;
    }
    // Children that are still to come, of every group around the element.
    let mut open: Vec<u64> = Vec::new();
    let mut most = 0;
    for _ in 0..count {
        while open.last() == Some(&0) {
            open.pop();
        }
        if let Some(left) = open.last_mut() {
            *left -= 1;
        }
        let children = thrift.children()?;
        if children > 0 {
            open.push(children);
            most = most.max(open.len());
            if most > deepest {
                return Some(most);
            }
        }
    }
    Some(most)
}

const TRUE: u8 = 1;
const FALSE: u8 = 2;
const BYTE: u8 = 3;
const I16: u8 = 4;
const I32: u8 = 5;
const I64: u8 = 6;
const DOUBLE: u8 = 7;
const BINARY: u8 = 8;
const LIST: u8 = 9;
const SET: u8 = 10;
const MAP: u8 = 11;
const STRUCT: u8 = 12;
const UUID: u8 = 13;
const STOP: u8 = 0;

/// Thrift's compact protocol; `None` where the bytes end or make no sense.
struct Compact<'a> {
    rest: &'a [u8],
}

impl Compact<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(first)
    }

    fn pass(&mut self, count: u64) -> Option<()> {
        self.rest = self.rest.get(usize::try_from(count).ok()?..)?;
        Some(())
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn signed(&mut self) -> Option<i64> {
        let value = self.varint()?;
        Some((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    /// The type of the next field, whose number goes to `id`.
    fn field(&mut self, id: &mut i64) -> Option<u8> {
        let head = self.byte()?;
        let kind = head & 0x0F;
        if kind != STOP {
            *id = if head >> 4 == 0 { self.signed()? } else { id.checked_add(i64::from(head >> 4))? };
        }
        Some(kind)
    }

    /// Number and type of a list's elements.
    fn list(&mut self) -> Option<(u64, u8)> {
        let head = self.byte()?;
        let count = if head >> 4 == 15 { self.varint()? } else { u64::from(head >> 4) };
        Some((count, head & 0x0F))
    }

    fn skip(&mut self, kind: u8, depth: usize) -> Option<()> {
        if depth > DEEPEST_VALUE {
            return None;
        }
        match kind {
            TRUE | FALSE => {}
            BYTE => self.pass(1)?,
            I16 | I32 | I64 => {
                self.varint()?;
            }
            DOUBLE => self.pass(8)?,
            UUID => self.pass(16)?,
            BINARY => {
                let length = self.varint()?;
                self.pass(length)?;
            }
            LIST | SET => {
                let (count, kind) = self.list()?;
                for _ in 0..count {
                    self.skip_element(kind, depth + 1)?;
                }
            }
            MAP => {
                let count = self.varint()?;
                let kinds = if count > 0 { self.byte()? } else { 0 };
                for _ in 0..count {
                    self.skip_element(kinds >> 4, depth + 1)?;
                    self.skip_element(kinds & 0x0F, depth + 1)?;
                }
            }
            STRUCT => {
                let mut id = 0;
                loop {
                    match self.field(&mut id)? {
                        STOP => break,
                        kind => self.skip(kind, depth + 1)?,
                    }
                }
            }
            _ => return None,
        }
        Some(())
    }

    /// As [`Compact::skip`], in a list, where truth values have a byte of their own.
    fn skip_element(&mut self, kind: u8, depth: usize) -> Option<()> {
        if matches!(kind, TRUE | FALSE) { self.pass(1) } else { self.skip(kind, depth) }
    }

    /// The number of children of the schema element that begins here; its end is passed.
    fn children(&mut self) -> Option<u64> {
        let (mut id, mut children) = (0, 0);
        loop {
            match self.field(&mut id)? {
                STOP => return Some(children),
                I32 if id == 5 => children = u64::try_from(self.signed()?).ok()?,
                kind => self.skip(kind, 0)?,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    /// A footer with a chain of `levels` groups and a leaf.
    fn footer(levels: usize) -> Vec<u8> {
        // Field 1: i32 version 2; field 2: a list of structs, its length as a varint.
        let mut bytes = vec![0x15, 0x04, 0x19, 0xFC];
        let mut count = levels + 1;
        while count >= 0x80 {
            bytes.push((count & 0x7F) as u8 | 0x80);
            count >>= 7;
        }
        bytes.push(count as u8);
        for _ in 0..levels {
            // Field 4: the name "g"; field 5: one child.
            bytes.extend([0x48, 1, b'g', 0x15, 2, 0]);
        }
        bytes.extend([0x15, 2, 0x38, 1, b'x', 0, 0]);
        bytes
    }

    #[test]
    fn levels_are_counted_up_to_the_bound() {
        for levels in [0, 1, 7, 100] {
            assert_eq!(depth(&footer(levels), 100), Some(levels));
        }
        assert_eq!(depth(&footer(1_000_000), 100), Some(101));
        let whole = footer(3);
        for cut in 0..whole.len() - 1 {
            assert_eq!(depth(&whole[..cut], 100), None, "cut at {cut}");
        }
    }

    #[test]
    fn only_files_with_a_plain_footer_are_looked_at() {
        let file = |footer: &[u8], length: u32, magic: &[u8]| [b"PAR1", footer, &length.to_le_bytes(), magic].concat();
        let look = |bytes: Vec<u8>| look(&mut Cursor::new(bytes), 100).expect("memory");
        let good = footer(5);
        let length = u32::try_from(good.len()).expect("small");
        assert_eq!(look(file(&good, length, b"PAR1")), Schema::Depth(5));
        assert_eq!(look(file(&good, length, b"PARE")), Schema::Absent);
        assert_eq!(look(file(&good, u32::MAX, b"PAR1")), Schema::Absent);
        assert_eq!(look(file(&good, 5, b"PAR1")), Schema::Unknown);
        assert_eq!(look(b"PAR1".to_vec()), Schema::Absent);
    }
}
