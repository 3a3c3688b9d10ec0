//! Letters and digits that belong together, with single separators between their groups.
//!
//! Every kind of number that is made of letters and digits is read through this: how many characters, how grouped, by
//! which separators, and whether the stretch has clean borders.

/// More characters than any number here has (the longest IBAN has 34).
pub(crate) const LONGEST: usize = 36;

/// Letters (in upper case) and digits from one place on, without the separators.
pub(crate) struct Run {
    /// Where it begins.
    pub(crate) start: usize,
    characters: [u8; LONGEST],
    /// Where each character ends.
    ends: [usize; LONGEST],
    /// The separator before each character, 0 for none.
    gaps: [u8; LONGEST],
    length: usize,
    /// Whether the text goes on after the last character in a way that makes it part of something else.
    cut: bool,
    /// Whether digits and a space stand directly before it: perhaps it begins in the middle of a list.
    crowded: bool,
}

/// The separator that begins at a place: its byte (a space, `-`, `.`, `/` or `+`) and its length.
pub(crate) fn separator(bytes: &[u8], at: usize) -> Option<(u8, usize)> {
    match *bytes.get(at)? {
        byte @ (b' ' | b'-' | b'.' | b'/' | b'+') => Some((byte, 1)),
        // No-break space.
        0xc2 if bytes.get(at + 1) == Some(&0xa0) => Some((b' ', 2)),
        // U+2010 to U+2013, hyphens and dashes; U+202F, the narrow no-break space.
        0xe2 if bytes.get(at + 1) == Some(&0x80) => match bytes.get(at + 2) {
            Some(0x90..=0x93) => Some((b'-', 3)),
            Some(0xaf) => Some((b' ', 3)),
            _ => None,
        },
        _ => None,
    }
}

impl Run {
    /// Reads from a place where a letter or digit stands; `None` where no number may begin.
    pub(crate) fn read(bytes: &[u8], start: usize) -> Option<Self> {
        let crowded = left_border(bytes, start)?;
        let mut run = Self {
            start,
            characters: [0; LONGEST],
            ends: [0; LONGEST],
            gaps: [0; LONGEST],
            length: 0,
            cut: false,
            crowded,
        };
        let mut at = start;
        let mut gap = 0;
        while run.length < LONGEST {
            match bytes.get(at) {
                Some(byte) if byte.is_ascii_alphanumeric() => {
                    run.characters[run.length] = byte.to_ascii_uppercase();
                    run.gaps[run.length] = gap;
                    at += 1;
                    run.ends[run.length] = at;
                    run.length += 1;
                    gap = 0;
                }
                _ => match separator(bytes, at) {
                    Some((byte, length))
                        if gap == 0 && bytes.get(at + length).is_some_and(u8::is_ascii_alphanumeric) =>
                    {
                        gap = byte;
                        at += length;
                    }
                    _ => break,
                },
            }
        }
        // A separator that was read before the limit belongs to nothing.
        run.cut = run.length == LONGEST || matches!(bytes.get(at), Some(b'_' | b'@'));
        Some(run)
    }

    /// The first characters.
    pub(crate) fn first(&self, count: usize) -> &[u8] {
        &self.characters[..count.min(self.length)]
    }

    /// Where the first characters end.
    pub(crate) fn end(&self, count: usize) -> usize {
        self.ends[count - 1]
    }

    /// Lengths at which a number may end: at the end of a group, and not in the middle of something larger.
    pub(crate) fn closed(&self) -> impl Iterator<Item = usize> + '_ {
        (1..=self.length).filter(|&count| self.closed_at(count))
    }

    fn closed_at(&self, count: usize) -> bool {
        if count == self.length {
            return !self.cut;
        }
        match self.gaps[count] {
            0 => false,
            b' ' => true,
            // `-Fax`, `/Mobile`, `.Please`: a word, not more of the number.
            _ => {
                let word = self.characters[count..self.length].iter().zip(&self.gaps[count + 1..]);
                let letters = word.take_while(|(character, _)| character.is_ascii_alphabetic());
                let mut count_of_letters = 0;
                let mut ended = false;
                for (_, &gap) in letters {
                    count_of_letters += 1;
                    if gap != 0 {
                        ended = true;
                        break;
                    }
                }
                count_of_letters > 1 && (ended || count + count_of_letters == self.length)
            }
        }
    }

    /// Whether it is a list of single characters: a table, not a number.
    pub(crate) fn is_list(&self) -> bool {
        self.length > 3 && self.gaps[1..=3].iter().all(|&gap| gap != 0)
    }

    /// Whether the first characters stand together.
    pub(crate) fn is_bare(&self, count: usize) -> bool {
        self.gaps[1..count].iter().all(|&gap| gap == 0)
    }

    /// Whether the first characters are grouped so, by separators out of these. A separator list as long as the gaps
    /// are many gives them in order; a single byte stands for all of them.
    pub(crate) fn is_grouped(&self, groups: &[u8], separators: &[u8]) -> bool {
        let count = groups.iter().map(|&length| usize::from(length)).sum::<usize>();
        if count > self.length {
            return false;
        }
        let mut next = usize::from(groups[0]);
        let mut group = 0;
        for place in 1..count {
            let gap = self.gaps[place];
            if place == next {
                let expected = if separators.len() == 1 { separators[0] } else { separators[group] };
                if gap != expected {
                    return false;
                }
                group += 1;
                next += usize::from(groups[group]);
            } else if gap != 0 {
                return false;
            }
        }
        true
    }

    /// Whether the first characters stand in a list of numbers, so that where they begin and end is a guess.
    pub(crate) fn is_crowded(&self, count: usize) -> bool {
        self.crowded || count < self.length && self.gaps[count] == b' ' && self.characters[count].is_ascii_digit()
    }

    /// The separators of the first characters are of one kind.
    pub(crate) fn one_separator(&self, count: usize) -> bool {
        let mut gaps = self.gaps[1..count].iter().filter(|&&gap| gap != 0);
        gaps.next().is_none_or(|first| gaps.all(|gap| gap == first))
    }
}

/// Whether a number may begin at a place (`Some`), and whether digits and a space stand before it.
fn left_border(bytes: &[u8], start: usize) -> Option<bool> {
    let Some(before) = start.checked_sub(1) else { return Some(false) };
    let further = before.checked_sub(1).map(|place| bytes[place]);
    match bytes[before] {
        b'_' | b'$' | b'@' => None,
        byte if byte.is_ascii_alphanumeric() => None,
        b'-' if further.is_some_and(|byte| byte.is_ascii_alphanumeric()) => None,
        b'.' | b'/' | b':' | b'+' if further.is_some_and(|byte| byte.is_ascii_digit()) => None,
        b' ' => Some(further.is_some_and(|byte| byte.is_ascii_digit())),
        // The signs of pound and yen, and of euro.
        0xa3 | 0xa5 if further == Some(0xc2) => None,
        0xac if bytes[..start].ends_with("€".as_bytes()) => None,
        _ => Some(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, start: usize) -> Run {
        Run::read(text.as_bytes(), start).expect("a clean left border")
    }

    #[test]
    fn groups_and_separators() {
        let run = read("123-45-6789 and", 0);
        assert_eq!(run.first(9), b"123456789");
        assert!(run.is_grouped(&[3, 2, 4], b"-") && !run.is_grouped(&[3, 2, 4], b" ") && !run.is_grouped(&[9], b"-"));
        assert_eq!(run.closed().collect::<Vec<_>>(), [9, 12]);
        assert_eq!(run.end(9), 11);
        assert!(!run.is_bare(9) && run.is_bare(3));
        let mixed = read("12.345.678/0001-95", 0);
        assert!(mixed.is_grouped(&[2, 3, 3, 4, 2], b"../-"));
        assert_eq!(read("12\u{a0}34\u{2013}56", 0).first(6), b"123456");
    }

    #[test]
    fn borders() {
        for bad in ["x1", "_1", "$1", "a-1", "1.1", "£1", "€1", "1/1"] {
            let start = bad.len() - 1;
            assert!(Run::read(bad.as_bytes(), start).is_none(), "{bad}");
        }
        for good in [" 1", "(1", "#1", ":1", "é1", "号1", "\"1", "-1", "No.1"] {
            assert!(Run::read(good.as_bytes(), good.len() - 1).is_some(), "{good}");
        }
        assert!(read("12 34", 3).is_crowded(2) && read("12 34", 0).is_crowded(2) && !read("a 12 b", 2).is_crowded(2));
        assert_eq!(read("12-34", 0).closed().collect::<Vec<_>>(), [4]);
        assert_eq!(read("12-Fax", 0).closed().collect::<Vec<_>>(), [2, 5]);
        assert_eq!(read("12@x", 0).closed().count(), 0);
        assert_eq!(read(&"1".repeat(80), 0).closed().count(), 0);
    }
}
