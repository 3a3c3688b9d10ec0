//! Words, sentences and how well a text can be compressed.

/// What [`Words`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Word<'a> {
    /// The word as it stands in the text.
    pub text: &'a str,
    /// Whether a letter or digit is in it; else it is a sign such as `,` or `...`.
    pub is_word: bool,
    /// Whether a letter is in it.
    pub has_letter: bool,
}

/// The words and signs of a text, from [`words`].
#[derive(Debug, Clone)]
pub struct Words<'a> {
    rest: &'a str,
}

/// Splits `text` into words and signs.
///
/// A word is a run of letters, digits and underscores; an apostrophe or hyphen joins what stands on both sides of it
/// (`don't`, `well-known`), and so does a full stop or comma between digits, or a full stop between letters. A run of
/// full stops is one sign, any other sign stands alone. Chinese and Japanese have no blanks between words: there each
/// character counts as one word. Thai, Lao, Khmer and Burmese text is not split.
pub fn words(text: &str) -> Words<'_> {
    Words { rest: text }
}

impl<'a> Iterator for Words<'a> {
    type Item = Word<'a>;

    fn next(&mut self) -> Option<Word<'a>> {
        let mut chars = self.rest.char_indices();
        let (start, first) = chars.find(|&(_, c)| !is_blank(c))?;
        let text = &self.rest[start..];
        let length = if is_lone(first) {
            first.len_utf8()
        } else if is_word_char(first) {
            word_length(text)
        } else if first == '.' {
            text.bytes().take_while(|&byte| byte == b'.').count()
        } else {
            first.len_utf8()
        };
        let word = &text[..length];
        self.rest = &text[length..];
        let is_word = is_word_char(first);
        let has_letter = is_word
            && (first.is_ascii_alphabetic()
                || word.bytes().any(|byte| byte.is_ascii_alphabetic())
                || (!word.is_ascii() && word.chars().any(char::is_alphabetic)));
        Some(Word { text: word, is_word, has_letter })
    }
}

/// Bytes of the word at the head of `text`, which starts with a letter or digit.
fn word_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut end = 0;
    let mut last = ' ';
    while end < bytes.len() {
        // Most text is ASCII, for which a table of the library's is the slow way.
        let (c, size) = if bytes[end] < 128 {
            (char::from(bytes[end]), 1)
        } else {
            match text[end..].chars().next() {
                Some(c) => (c, c.len_utf8()),
                None => break,
            }
        };
        let joins = || {
            text[end + size..].chars().next().is_some_and(|next| match c {
                '\'' | '’' | '-' | '\u{2010}' | '\u{2011}' => is_word_char(next) && !is_lone(next),
                '.' => {
                    (last.is_ascii_digit() && next.is_ascii_digit())
                        || (last.is_alphabetic() && next.is_alphabetic() && !is_lone(next))
                }
                ',' => last.is_ascii_digit() && next.is_ascii_digit(),
                _ => false,
            })
        };
        if (is_word_char(c) && !is_lone(c)) || joins() {
            end += size;
            last = c;
        } else {
            break;
        }
    }
    end
}

fn is_blank(c: char) -> bool {
    if c.is_ascii() {
        c.is_ascii_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c) || c == '\u{b}'
    } else {
        c.is_whitespace()
    }
}

/// Letters, digits, the underscore, and the marks without which Indic words fall apart.
fn is_word_char(c: char) -> bool {
    if c.is_ascii() {
        c.is_ascii_alphanumeric() || c == '_'
    } else {
        c.is_alphanumeric()
            || matches!(c, '\u{300}'..='\u{36f}' | '\u{200c}' | '\u{200d}')
            || (matches!(c, '\u{900}'..='\u{dff}' | '\u{e00}'..='\u{eff}' | '\u{1000}'..='\u{109f}')
                && !matches!(c, '\u{964}' | '\u{965}' | '\u{e2f}' | '\u{e3f}' | '\u{104a}'..='\u{104f}'))
    }
}

/// Characters that are words by themselves.
fn is_lone(c: char) -> bool {
    matches!(c, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}'
        | '\u{20000}'..='\u{3ffff}')
        && !matches!(c, '\u{3099}'..='\u{309c}' | '\u{30fb}' | '\u{30fc}')
}

/// Number of words; signs do not count.
pub fn word_count(text: &str) -> usize {
    words(text).filter(|word| word.is_word).count()
}

/// Abbreviations of some languages after which a sentence goes on.
const ABBREVIATIONS: &[&str] = &[
    "mr", "mrs", "ms", "dr", "prof", "st", "sr", "jr", "vs", "etc", "e.g", "i.e", "cf", "fig", "no", "vol", "pp", "al",
    "inc", "ltd", "co", "corp", "dept", "approx", "z.b", "bzw", "usw", "ca", "nr", "bspw", "hr", "fr", "mme", "mlle",
    "sra", "p.ej", "sig", "gen", "col", "sgt", "capt", "rev", "hon", "gov", "sen", "rep",
];

/// Number of sentences: a text with a word in it has one at least.
///
/// A sentence ends with `.`, `!`, `?`, `…` or one of their like in other scripts, when a blank or the end of the text
/// follows (in Chinese and Japanese also without it), and with a blank line. Abbreviations, initials (`J. Smith`) and
/// the numbers of a list (`1. First`) end no sentence.
pub fn sentence_count(text: &str) -> usize {
    let mut sentences = 0;
    // Whether a letter or digit was seen since the last end.
    let mut open = false;
    let mut token_start = 0;
    let mut line_start = true;
    let mut newlines = 0;
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if c == '\n' {
            newlines += 1;
            if newlines == 2 && open {
                sentences += 1;
                open = false;
            }
            line_start = true;
            token_start = at + 1;
            continue;
        }
        if c.is_whitespace() {
            // Blanks at the head of a line are no token.
            line_start = line_start && token_start == at;
            token_start = at + c.len_utf8();
            continue;
        }
        newlines = 0;
        let ends = match c {
            '。' | '！' | '？' | '｡' => true,
            '.' | '!' | '?' | '…' | '।' | '॥' | '؟' | '۔' | '።' => {
                while chars.next_if(|&(_, next)| is_closing(next) || matches!(next, '.' | '!' | '?' | '…')).is_some()
                {
                }
                chars.peek().is_none_or(|&(_, next)| next.is_whitespace())
                    && !(c == '.' && goes_on(&text[token_start..at], line_start))
            }
            _ => false,
        };
        if ends && open {
            sentences += 1;
            open = false;
        } else if c.is_alphanumeric() {
            open = true;
        }
        line_start = line_start && !ends;
    }
    sentences + usize::from(open)
}

fn is_closing(c: char) -> bool {
    matches!(c, '"' | '\'' | ')' | ']' | '}' | '”' | '’' | '»' | '*' | '_')
}

/// Whether a sentence goes on after `token` and its full stop.
fn goes_on(token: &str, line_start: bool) -> bool {
    let token = token.trim_start_matches(['(', '[', '"', '\'', '“', '‘', '*']);
    let mut chars = token.chars();
    match (chars.next(), chars.next()) {
        (Some(first), None) if first.is_uppercase() && first != 'I' => return true,
        _ => {}
    }
    if line_start && !token.is_empty() && token.len() <= 3 && token.bytes().all(|byte| byte.is_ascii_digit()) {
        return true;
    }
    token.len() <= 6 && ABBREVIATIONS.iter().any(|known| token.eq_ignore_ascii_case(known))
}

/// How small `text` becomes when repeated pieces are replaced by references: compressed size by size, in (0, 1].
///
/// Ordinary prose of a few hundred words comes to 0.5-0.8, a text that repeats itself to less than 0.2, random signs
/// to 1. Short texts cannot be compressed: below 64 bytes it is 1.
///
/// This is a greedy Lempel-Ziv parse whose literals cost as much as their order-0 entropy, in linear time.
pub fn compress_ratio(text: &str) -> f64 {
    const SHORTEST: usize = 64;
    const SLOTS: usize = 1 << 15;
    /// Shorter matches cost more than their letters.
    const MATCH: usize = 5;
    let bytes = text.as_bytes();
    if bytes.len() < SHORTEST {
        return 1.0;
    }
    let mut last_seen = vec![u32::MAX; SLOTS];
    let mut literals = [0u32; 256];
    let mut references = 0usize;
    let mut at = 0;
    while at < bytes.len() {
        let Some(window) = bytes.get(at..at + 4) else {
            literals[usize::from(bytes[at])] += 1;
            at += 1;
            continue;
        };
        let key = u32::from_le_bytes([window[0], window[1], window[2], window[3]]);
        let slot = (key.wrapping_mul(0x9E37_79B1) >> 17) as usize;
        let before = last_seen[slot] as usize;
        // Texts beyond 4 GiB are compared with their first 4 GiB only.
        last_seen[slot] = u32::try_from(at).unwrap_or(u32::MAX);
        let length = if before < at {
            bytes[before..].iter().zip(&bytes[at..]).take_while(|(left, right)| left == right).count()
        } else {
            0
        };
        if length >= MATCH {
            references += 1;
            at += length;
        } else {
            literals[usize::from(bytes[at])] += 1;
            at += 1;
        }
    }
    let total: f64 = literals.iter().map(|&count| f64::from(count)).sum();
    let bits: f64 = literals
        .iter()
        .filter(|&&count| count > 0)
        .map(|&count| f64::from(count) * (total / f64::from(count)).log2())
        .sum();
    // Two bytes for the distance, one for the length, as DEFLATE spends on average.
    let size = bits / 8.0 + 3.0 * references as f64;
    (size / bytes.len() as f64).clamp(f64::MIN_POSITIVE, 1.0)
}

/// Length in characters of the longest run of one character (blanks and line ends aside), and the character.
pub fn longest_run(text: &str) -> Option<(usize, char)> {
    let mut best: Option<(usize, char)> = None;
    let (mut run, mut last) = (0, '\0');
    for c in text.chars() {
        run = if c == last { run + 1 } else { 1 };
        last = c;
        if !c.is_whitespace() && best.is_none_or(|(length, _)| run > length) {
            best = Some((run, c));
        }
    }
    best
}

/// At most `limit` bytes from the head of `text`, whole characters.
pub(crate) fn head(text: &str, limit: usize) -> &str {
    if text.len() <= limit {
        return text;
    }
    &text[..text.floor_char_boundary(limit)]
}

/// At most `limit` bytes from the end of `text`, whole characters.
pub(crate) fn tail(text: &str, limit: usize) -> &str {
    if text.len() <= limit {
        return text;
    }
    &text[text.ceil_char_boundary(text.len() - limit)..]
}

/// A 64-bit hash that is the same in every run and on every machine.
pub(crate) fn stable_hash(bytes: &[u8]) -> u64 {
    const K: u64 = 0x9E37_79B9_7F4A_7C15;
    let mut hash = (bytes.len() as u64).wrapping_mul(K);
    let mut chunks = bytes.chunks_exact(8);
    for chunk in &mut chunks {
        let mut word = [0; 8];
        word.copy_from_slice(chunk);
        hash = fold(hash ^ u64::from_le_bytes(word), K);
    }
    let rest = chunks.remainder();
    let mut word = [0; 8];
    word[..rest.len()].copy_from_slice(rest);
    hash = fold(hash ^ u64::from_le_bytes(word), 0xD6E8_FEB8_6659_FD93);
    hash ^ (hash >> 29)
}

/// The high and the low half of the product, mixed.
pub(crate) fn fold(left: u64, right: u64) -> u64 {
    let product = u128::from(left ^ 0xA076_1D64_78BD_642F) * u128::from(right);
    (product as u64) ^ ((product >> 64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Vec<&str> {
        words(text).map(|word| word.text).collect()
    }

    #[test]
    fn words_and_signs() {
        assert_eq!(split("This is a test."), ["This", "is", "a", "test", "."]);
        assert_eq!(
            split("I don't... pay $3.50, or 1,000!?"),
            ["I", "don't", "...", "pay", "$", "3.50", ",", "or", "1,000", "!", "?"]
        );
        assert_eq!(split("The.and.that"), ["The.and.that"]);
        assert_eq!(split("well-known -- 'quoted'"), ["well-known", "-", "-", "'", "quoted", "'"]);
        assert_eq!(split("你好，world"), ["你", "好", "，", "world"]);
        assert_eq!(split("नमस्ते दुनिया।"), ["नमस्ते", "दुनिया", "।"]);
        assert_eq!(split(" \n\t"), Vec::<&str>::new());
    }

    #[test]
    fn sentences() {
        for (text, count) in [
            ("", 0),
            ("...", 0),
            ("One", 1),
            ("One. Two! Three?", 3),
            ("Dr. Smith met J. Doe, e.g. at 3.14 p.m. and left.", 2),
            ("He said \"Stop.\" Then he left.", 2),
            ("1. First thing\n2. Second thing", 1),
            ("A heading\n\nA sentence.", 2),
            ("你好。再见！", 2),
            ("Am I? I am.", 2),
        ] {
            assert_eq!(sentence_count(text), count, "{text}");
        }
    }

    #[test]
    fn repeated_text_compresses_and_random_text_does_not() {
        assert_eq!(compress_ratio("short"), 1.0);
        assert!(compress_ratio(&"the same again ".repeat(50)) < 0.1);
        let prose =
            "The quick brown fox jumps over the lazy dog while five boxing wizards sing of sphinxes and quartz.";
        let ratio = compress_ratio(prose);
        assert!((0.4..0.8).contains(&ratio), "{ratio}");
        let random: String =
            (0u64..400).map(|n| char::from(b'!' + (stable_hash(&n.to_le_bytes()) % 90) as u8)).collect();
        assert!(compress_ratio(&random) > 0.75, "{}", compress_ratio(&random));
    }

    #[test]
    fn runs() {
        assert_eq!(longest_run(""), None);
        assert_eq!(longest_run("aab   bbb!"), Some((3, 'b')));
    }
}
