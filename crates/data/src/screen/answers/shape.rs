//! What kind of text an answer is.

use crate::screen::text_facts::{Word, words};

/// An answer and its make-up.
#[derive(Debug)]
pub(super) struct Shape<'a> {
    pub(super) text: &'a str,
    /// Words and signs.
    pub(super) tokens: Vec<Word<'a>>,
    /// Words, without signs.
    pub(super) word_count: usize,
    /// Lines that open or close a block of code.
    pub(super) fences: usize,
    /// Whether most of it is code, in a block or not.
    pub(super) is_code: bool,
    /// Lines of a list.
    pub(super) items: usize,
}

impl<'a> Shape<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let tokens: Vec<Word<'a>> = words(text).collect();
        let word_count = tokens.iter().filter(|token| token.is_word).count();
        let (mut fences, mut items, mut code, mut filled) = (0, 0, 0, 0);
        for line in text.lines() {
            let line = line.trim();
            if is_fence(line) {
                fences += 1;
                continue;
            }
            let length = line.len();
            filled += length;
            if length > 0 && (fences % 2 == 1 || is_code_line(line)) {
                code += length;
            } else if is_item(line) {
                items += 1;
            }
        }
        Self { text, tokens, word_count, fences, is_code: code * 5 > filled * 2, items }
    }

    /// Lines, not the first, that start as the turn of a speaker of a chat, if both speakers have one.
    pub(super) fn turns(&self) -> usize {
        let starts = |names: &[&str]| {
            self.text
                .lines()
                .skip(1)
                .filter(|line| names.iter().any(|name| line.trim_start().starts_with(name)))
                .count()
        };
        let user = starts(&["Human:", "User:", "USER:", "HUMAN:", "### Human", "**User:**", "**Human:**"]);
        let assistant = starts(&["Assistant:", "ASSISTANT:", "AI:", "### Assistant", "**Assistant:**", "Bot:"]);
        // An answer starts as the assistant's: one further turn of the user is one too many.
        if assistant > 0 && user > 0 { user + assistant } else { 0 }
    }

    /// The text without blocks and lines of code.
    pub(super) fn prose(&self, limit: usize) -> String {
        let mut prose = String::new();
        let mut inside = false;
        for line in self.text.lines() {
            if is_fence(line.trim()) {
                inside = !inside;
            } else if !inside && !is_code_line(line.trim()) {
                prose.push_str(line);
                prose.push('\n');
                if prose.len() >= limit {
                    break;
                }
            }
        }
        prose
    }
}

/// Whether a trimmed line opens or closes a block of code. Marks in pairs on one line (```` ```ls``` ````) do neither.
pub(super) fn is_fence(line: &str) -> bool {
    line.matches("```").count() % 2 == 1 || line.starts_with("~~~")
}

/// Whether a trimmed line is an item of a list: `- a`, `* a`, `• a`, `1. a`, `2) a`.
pub(super) fn is_item(line: &str) -> bool {
    if let Some(rest) = line.strip_prefix(['-', '*', '•', '–', '+', '·', '▪', '●']) {
        return rest.starts_with([' ', '\t']) && !rest.trim().is_empty();
    }
    let digits = line.bytes().take_while(u8::is_ascii_digit).count();
    (1..=3).contains(&digits)
        && line[digits..].strip_prefix(['.', ')', ':']).is_some_and(|rest| rest.starts_with([' ', '\t', '*']))
}

/// Whether a trimmed line looks like code.
fn is_code_line(line: &str) -> bool {
    const HEADS: &[&str] = &[
        "def ",
        "class ",
        "import ",
        "from ",
        "function ",
        "const ",
        "let ",
        "var ",
        "public ",
        "private ",
        "#include",
        "using namespace",
        "SELECT ",
        "INSERT INTO",
        "UPDATE ",
        "CREATE TABLE",
        "DELETE FROM",
        "//",
        "/*",
        "#!",
        "$ ",
        ">>> ",
        "print(",
        "<?",
        "<!DOCTYPE",
        "<html",
        "package ",
        "fn ",
        "func ",
        "@",
        "elif ",
        "#define",
        "WHERE ",
    ];
    const ENDS: &[&str] = &[";", "{", "}", "};", "):", ");", "},", "],", "])", "/>", "})", "()", "))", "else:", "->"];
    const INNER: &[&str] = &[" = ", " == ", " != ", " += ", "=>", " && ", " || ", "();", "</", "::", " := ", "++"];
    let prose_head = matches!(line.as_bytes().first(), Some(b'-' | b'*'));
    let is_sentence = line.ends_with(['.', '?', '!']) && line.split_whitespace().nth(6).is_some();
    if is_sentence && !line.starts_with("//") {
        return false;
    }
    let head = HEADS.iter().any(|head| line.starts_with(head))
        // `from` and `let` start sentences too.
        && (!line.starts_with("from ") || line.contains(" import "))
        && (!line.starts_with("let ") || line.contains('='));
    head || ENDS.iter().any(|end| line.ends_with(end))
        || (!prose_head && INNER.iter().any(|inner| line.contains(inner)))
}
