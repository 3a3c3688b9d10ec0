//! Text that says by a mark at its head that it is not UTF-8.

use std::io::{self, Read};

/// An encoding that a byte order mark can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Utf8,
    Utf16 { big: bool },
    Utf32 { big: bool },
}

impl Encoding {
    /// The encoding that `head` names, and the number of bytes of its mark; UTF-8 without a mark.
    pub(crate) fn of_mark(head: &[u8]) -> (Self, usize) {
        // The longer marks first: that of UTF-32 begins with that of UTF-16, and no text begins with NUL.
        for (mark, encoding) in [
            (&b"\xFF\xFE\0\0"[..], Self::Utf32 { big: false }),
            (b"\0\0\xFE\xFF", Self::Utf32 { big: true }),
            (b"\xEF\xBB\xBF", Self::Utf8),
            (b"\xFF\xFE", Self::Utf16 { big: false }),
            (b"\xFE\xFF", Self::Utf16 { big: true }),
        ] {
            if head.starts_with(mark) {
                return (encoding, mark.len());
            }
        }
        (Self::Utf8, 0)
    }
}

/// A byte that UTF-8 never has. It stands for what cannot be turned into UTF-8, so that the row with it is found faulty
/// as any row with such a byte is.
const BROKEN: u8 = 0xFF;

/// Turns UTF-16 and UTF-32 into UTF-8.
pub(crate) struct Transcoder<R> {
    inner: R,
    encoding: Encoding,
    /// Bytes of a unit that is not complete yet.
    rest: Vec<u8>,
    /// The first half of a surrogate pair.
    high: Option<u16>,
    out: Vec<u8>,
    given: usize,
    ended: bool,
}

impl<R: Read> Transcoder<R> {
    pub(crate) fn new(inner: R, encoding: Encoding) -> Self {
        Self { inner, encoding, rest: Vec::new(), high: None, out: Vec::new(), given: 0, ended: false }
    }

    fn refill(&mut self) -> io::Result<()> {
        self.out.clear();
        self.given = 0;
        while self.out.is_empty() && !self.ended {
            let held = self.rest.len();
            self.rest.resize(held + (1 << 14), 0);
            let read = self.inner.read(&mut self.rest[held..]);
            self.rest.truncate(held + *read.as_ref().unwrap_or(&0));
            if read? == 0 {
                self.ended = true;
                if self.high.take().is_some() || !self.rest.is_empty() {
                    self.out.push(BROKEN);
                }
                return Ok(());
            }
            let bytes = std::mem::take(&mut self.rest);
            let whole = match self.encoding {
                Encoding::Utf8 => {
                    self.out.extend_from_slice(&bytes);
                    bytes.len()
                }
                Encoding::Utf16 { big } => self.utf16(&bytes, big),
                Encoding::Utf32 { big } => self.utf32(&bytes, big),
            };
            self.rest.extend_from_slice(&bytes[whole..]);
        }
        Ok(())
    }

    fn utf16(&mut self, bytes: &[u8], big: bool) -> usize {
        let (pairs, _) = bytes.as_chunks::<2>();
        for &pair in pairs {
            let unit = if big { u16::from_be_bytes(pair) } else { u16::from_le_bytes(pair) };
            if let Some(high) = self.high.take() {
                if (0xDC00..0xE000).contains(&unit) {
                    self.push(0x1_0000 + ((u32::from(high) - 0xD800) << 10) + (u32::from(unit) - 0xDC00));
                    continue;
                }
                self.out.push(BROKEN);
            }
            if (0xD800..0xDC00).contains(&unit) {
                self.high = Some(unit);
            } else {
                self.push(u32::from(unit));
            }
        }
        pairs.len() * 2
    }

    fn utf32(&mut self, bytes: &[u8], big: bool) -> usize {
        let (units, _) = bytes.as_chunks::<4>();
        for &unit in units {
            self.push(if big { u32::from_be_bytes(unit) } else { u32::from_le_bytes(unit) });
        }
        units.len() * 4
    }

    fn push(&mut self, code: u32) {
        match char::from_u32(code) {
            Some(letter) => self.out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes()),
            None => self.out.push(BROKEN),
        }
    }
}

impl<R: Read> Read for Transcoder<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.given == self.out.len() {
            self.refill()?;
        }
        let count = out.len().min(self.out.len() - self.given);
        out[..count].copy_from_slice(&self.out[self.given..self.given + count]);
        self.given += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hands out one byte at a time.
    struct Drip<'a>(&'a [u8]);

    impl Read for Drip<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let count = self.0.len().min(out.len()).min(1);
            out[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    fn turned(bytes: &[u8], encoding: Encoding) -> Vec<u8> {
        let mut all = Vec::new();
        Transcoder::new(Drip(bytes), encoding).read_to_end(&mut all).expect("no system is asked");
        let mut again = Vec::new();
        Transcoder::new(bytes, encoding).read_to_end(&mut again).expect("no system is asked");
        assert_eq!(all, again, "the size of the pieces matters");
        all
    }

    #[test]
    fn all_encodings_give_the_same_text() {
        let text = "aä€𝄞\n{\"ß\": \"𐍈\"}";
        for big in [false, true] {
            let two = |unit: u16| if big { unit.to_be_bytes() } else { unit.to_le_bytes() };
            let four = |code: char| if big { u32::from(code).to_be_bytes() } else { u32::from(code).to_le_bytes() };
            let utf16: Vec<u8> = text.encode_utf16().flat_map(two).collect();
            let utf32: Vec<u8> = text.chars().flat_map(four).collect();
            assert_eq!(turned(&utf16, Encoding::Utf16 { big }), text.as_bytes());
            assert_eq!(turned(&utf32, Encoding::Utf32 { big }), text.as_bytes());
        }
    }

    #[test]
    fn what_is_broken_stays_where_it_is() {
        let little = Encoding::Utf16 { big: false };
        assert_eq!(turned(b"a\0\0\xD8b\0", little), b"a\xFFb", "a first half alone");
        assert_eq!(turned(b"a\0\0\xDCb\0", little), b"a\xFFb", "a second half alone");
        assert_eq!(turned(b"a\0\0\xD8", little), b"a\xFF", "a first half at the end");
        assert_eq!(turned(b"a\0b", little), b"a\xFF", "half a unit at the end");
        assert_eq!(turned(b"a\0\0\0\0\0\x11\0", Encoding::Utf32 { big: false }), b"a\xFF", "beyond Unicode");
    }

    #[test]
    fn marks_name_their_encoding() {
        assert_eq!(Encoding::of_mark(b"\xFF\xFE\0\0"), (Encoding::Utf32 { big: false }, 4));
        assert_eq!(Encoding::of_mark(b"\xFF\xFE{\0"), (Encoding::Utf16 { big: false }, 2));
        assert_eq!(Encoding::of_mark(b"\xEF\xBB\xBF{"), (Encoding::Utf8, 3));
        assert_eq!(Encoding::of_mark(b"{}"), (Encoding::Utf8, 0));
        assert_eq!(Encoding::of_mark(b""), (Encoding::Utf8, 0));
    }
}
