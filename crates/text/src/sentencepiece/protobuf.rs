//! As much of Protocol Buffers as a sentencepiece model needs.
//!
//! # Source
//! The encoding guide of Protocol Buffers: varints, lengths, 32-bit and 64-bit fields; groups are not supported.

/// A value of a field.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value<'a> {
    /// A number or a flag.
    Varint(u64),
    /// Eight bytes.
    Fixed64([u8; 8]),
    /// A text, bytes or a message.
    Bytes(&'a [u8]),
    /// Four bytes.
    Fixed32([u8; 4]),
}

impl<'a> Value<'a> {
    /// The bytes of a text or message.
    pub(super) fn bytes(self) -> Option<&'a [u8]> {
        if let Self::Bytes(bytes) = self { Some(bytes) } else { None }
    }

    /// A number.
    pub(super) fn number(self) -> Option<u64> {
        if let Self::Varint(number) = self { Some(number) } else { None }
    }

    /// A number that may be negative.
    pub(super) fn integer(self) -> Option<i64> {
        // Negative ones are written as their 64-bit complement.
        self.number().map(|number| number as i64)
    }

    /// A number with a fraction.
    pub(super) fn float(self) -> Option<f32> {
        if let Self::Fixed32(bytes) = self { Some(f32::from_le_bytes(bytes)) } else { None }
    }
}

/// The fields of a message, one by one, as number and value.
pub(super) struct Fields<'a> {
    rest: &'a [u8],
    /// Offset of `rest` in the message, for messages of errors.
    at: usize,
}

/// Where a message stops making sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Damage {
    /// Offset in the message.
    pub(super) at: usize,
    /// What is wrong there.
    pub(super) why: &'static str,
}

impl<'a> Fields<'a> {
    /// The fields of a message.
    pub(super) fn new(message: &'a [u8]) -> Self {
        Self { rest: message, at: 0 }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Damage> {
        let Some((taken, rest)) = self.rest.split_at_checked(count) else {
            return Err(Damage { at: self.at, why: "it ends within a field" });
        };
        self.rest = rest;
        self.at += count;
        Ok(taken)
    }

    fn varint(&mut self) -> Result<u64, Damage> {
        let at = self.at;
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Damage { at, why: "a number of more than ten bytes" })
    }

    fn field(&mut self) -> Result<(u64, Value<'a>), Damage> {
        let at = self.at;
        let key = self.varint()?;
        let value = match key & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(self.take(8)?.try_into().map_err(|_| Damage { at, why: "not eight bytes" })?),
            2 => {
                let length = self.varint()?;
                Value::Bytes(self.take(usize::try_from(length).unwrap_or(usize::MAX))?)
            }
            5 => Value::Fixed32(self.take(4)?.try_into().map_err(|_| Damage { at, why: "not four bytes" })?),
            _ => return Err(Damage { at, why: "a field of an unknown kind" }),
        };
        if key >> 3 == 0 {
            return Err(Damage { at, why: "a field with number 0" });
        }
        Ok((key >> 3, value))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>), Damage>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_each_kind_are_read() {
        let message = [0x08, 0x96, 0x01, 0x12, 2, b'h', b'i', 0x1d, 0, 0, 0x80, 0x3f, 0x21, 1, 2, 3, 4, 5, 6, 7, 8];
        let fields: Vec<_> = Fields::new(&message).collect::<Result<_, _>>().expect("valid");
        assert_eq!(fields[0], (1, Value::Varint(150)));
        assert_eq!(fields[1], (2, Value::Bytes(b"hi")));
        assert_eq!(fields[2].1.float(), Some(1.0));
        assert_eq!(fields[3], (4, Value::Fixed64([1, 2, 3, 4, 5, 6, 7, 8])));
        assert_eq!(Value::Varint(u64::MAX).integer(), Some(-1));
    }

    #[test]
    fn damage_is_named_and_ends_the_reading() {
        for (message, at) in [
            (&[0x12u8, 5, b'h'][..], 2),
            (&[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f][..], 10),
            (&[0x08, 0x80][..], 2),
            (&[0x0b][..], 0),
            (&[0x00, 0x01][..], 0),
            (&[0x08, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1][..], 1),
        ] {
            let results: Vec<_> = Fields::new(message).collect();
            assert_eq!(results.last().expect("one").expect_err("damage").at, at, "{message:?}");
        }
    }
}
