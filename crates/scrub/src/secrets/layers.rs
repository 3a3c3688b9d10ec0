//! Takes layers off: JSON escapes, URL escapes, base64.

use std::ops::Range;

use super::codec;

/// Shorter base64 holds no secret worth the look.
const SHORTEST: usize = 24;
/// A line of wrapped base64 has at least so many digits, but for the last.
const WRAPPED: usize = 40;
/// So much of what base64 decodes to must be plain for the rest to be decoded.
const HEAD: usize = 16;

/// A text without its escapes, and where each piece of it comes from.
pub(super) struct Decoded {
    pub(super) text: String,
    /// Where a piece begins, decoded and encoded.
    pieces: Vec<(usize, usize)>,
}

impl Decoded {
    fn piece(&mut self, encoded: usize) {
        self.pieces.push((self.text.len(), encoded));
    }

    fn encoded(&self, decoded: usize) -> usize {
        let at = self.pieces.partition_point(|&(start, _)| start <= decoded).saturating_sub(1);
        self.pieces.get(at).map_or(0, |&(start, encoded)| encoded + (decoded - start))
    }

    /// Where a span of the decoded text comes from.
    pub(super) fn outer(&self, span: &Range<usize>) -> Range<usize> {
        self.encoded(span.start)..self.encoded(span.end)
    }
}

/// Decodes the lines of `text` that have an escape; `escape` answers the character and the length of an escape.
fn lines(text: &str, mark: char, escape: impl Fn(&[u8]) -> Option<(char, usize)>) -> Option<Decoded> {
    let mut decoded = Decoded { text: String::new(), pieces: Vec::new() };
    let bytes = text.as_bytes();
    let mut any = false;
    let mut from = 0;
    while let Some(found) = text[from..].find(mark) {
        let line_start = text[..from + found].rfind('\n').map_or(0, |at| at + 1).max(from);
        let line_end = text[from + found..].find('\n').map_or(text.len(), |at| from + found + at);
        decoded.piece(line_start);
        let mut at = line_start;
        while let Some(next) = text[at..line_end].find(mark) {
            decoded.text.push_str(&text[at..at + next]);
            at += next;
            match escape(&bytes[at..line_end]) {
                Some((character, length)) => {
                    any = true;
                    decoded.piece(at);
                    decoded.text.push(character);
                    at += length;
                    decoded.piece(at);
                }
                None => {
                    decoded.text.push(mark);
                    at += mark.len_utf8();
                }
            }
        }
        decoded.text.push_str(&text[at..line_end]);
        decoded.piece(line_end);
        if line_end == text.len() {
            break;
        }
        decoded.text.push('\n');
        from = line_end + 1;
    }
    any.then_some(decoded)
}

fn hex(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |value, &digit| Some(value << 4 | char::from(digit).to_digit(16)?))
}

/// Without the escapes of JSON strings.
pub(super) fn json(text: &str) -> Option<Decoded> {
    lines(text, '\\', |bytes| {
        Some(match *bytes.get(1)? {
            byte @ (b'"' | b'\\' | b'/' | b'\'') => (char::from(byte), 2),
            b'n' => ('\n', 2),
            b'r' => ('\r', 2),
            b't' => ('\t', 2),
            b'u' => {
                let unit = hex(bytes.get(2..6)?)?;
                if (0xd800..0xdc00).contains(&unit) {
                    let low = (bytes.get(6..8)? == b"\\u").then(|| hex(bytes.get(8..12)?)).flatten()?;
                    let low = (0xdc00..0xe000).contains(&low).then(|| low - 0xdc00)?;
                    (char::from_u32(0x10000 + ((unit - 0xd800) << 10) + low)?, 12)
                } else {
                    (char::from_u32(unit)?, 6)
                }
            }
            b'x' => (char::from_u32(hex(bytes.get(2..4)?)?).filter(char::is_ascii)?, 4),
            _ => return None,
        })
    })
}

/// Without `%41`; escapes of bytes outside of ASCII stay, no key has them.
pub(super) fn url(text: &str) -> Option<Decoded> {
    lines(text, '%', |bytes| {
        let byte = hex(bytes.get(1..3)?)?;
        Some((char::from_u32(byte).filter(|c| c.is_ascii() && !c.is_ascii_control())?, 3))
    })
}

/// Calls `take` with each stretch of base64 that decodes to text, and the text.
pub(super) fn base64(text: &str, take: &mut dyn FnMut(Range<usize>, &str)) {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if !IS_DIGIT[bytes[at] as usize] {
            at += 1;
            continue;
        }
        let start = at;
        at = run(bytes, start);
        if at - start < SHORTEST {
            continue;
        }
        if !has_plain_head(&bytes[start..at]) {
            continue;
        }
        at = wrapped(bytes, start, at);
        let padding = bytes[at..].iter().take(2).take_while(|byte| **byte == b'=').count();
        at += padding;
        // A run that is cut in the middle of a group still has whole groups before.
        let whole = codec::base64(&bytes[start..at]).or_else(|| codec::base64(&bytes[start..at - 1]));
        let Some(decoded) = whole else { continue };
        let plain = match std::str::from_utf8(&decoded) {
            Ok(plain) => plain,
            Err(error) => std::str::from_utf8(&decoded[..error.valid_up_to()]).unwrap_or_default(),
        };
        if plain.len() >= HEAD {
            take(start..at, plain);
        }
    }
}

const IS_DIGIT: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        table[byte] = b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'-' | b'_');
        byte += 1;
    }
    table
};

fn run(bytes: &[u8], start: usize) -> usize {
    start + bytes[start..].iter().take_while(|&&byte| IS_DIGIT[byte as usize]).count()
}

/// Where base64 ends that is broken into lines.
fn wrapped(bytes: &[u8], start: usize, mut end: usize) -> usize {
    let mut line = end - start;
    while line >= WRAPPED {
        let gap = bytes[end..].iter().take(10).take_while(|byte| byte.is_ascii_whitespace()).count();
        if gap == 0 || !bytes[end..end + gap].contains(&b'\n') {
            break;
        }
        let next = run(bytes, end + gap);
        let length = next - (end + gap);
        // A shorter line is the last; a word of prose is none.
        if length == 0 || length > line || (length < 4 && bytes.get(next) != Some(&b'=')) {
            break;
        }
        end = next;
        if length < line {
            break;
        }
        line = length;
    }
    end
}

/// Whether the first bytes that `digits` decode to are plain ASCII.
fn has_plain_head(digits: &[u8]) -> bool {
    let head = &digits[..digits.len().min(HEAD / 3 * 4 + 4)];
    codec::base64(&head[..head.len() / 4 * 4])
        .is_some_and(|head| head.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\n' | b'\r' | b'\t')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_mapped_back() {
        let text = "plain\n{\"a\": \"say \\\"k\\u0041y\\\" now\"}\nplain";
        let decoded = json(text).expect("escapes");
        let at = decoded.text.find("kAy").expect("decoded");
        assert_eq!(&text[decoded.outer(&(at..at + 3))], "k\\u0041y");
        let all = decoded.outer(&(0..decoded.text.len()));
        assert!(text.is_char_boundary(all.start) && text.is_char_boundary(all.end));
        assert!(json("nothing").is_none());
        let text = "a=%2Fb%C3%A9&c=d%20e";
        let decoded = url(text).expect("escapes");
        assert_eq!(decoded.text, "a=/b%C3%A9&c=d e\n".trim_end());
        let at = decoded.text.find("d e").expect("decoded");
        assert_eq!(&text[decoded.outer(&(at..at + 3))], "d%20e");
    }

    #[test]
    fn wrapped_base64_is_one_stretch() {
        let text = "x: VGhpcyBpcyBhIHRleHQgdGhhdCBpcyBsb25nIGVub3VnaCB0\nbyBiZSBicm9rZW4u\nend";
        let mut seen = Vec::new();
        base64(text, &mut |span, inner| seen.push((span, inner.to_owned())));
        assert_eq!(seen.len(), 1);
        assert_eq!(seen[0].1, "This is a text that is long enough to be broken.");
        assert_eq!(&text[seen[0].0.end..], "\nend");
    }
}
