//! Tables as text: values between commas, semicolons or tabs.
//!
//! Fields that begin with `"` are quoted: `""` inside stands for one quote, and line ends inside belong to the value. A
//! quote elsewhere is a character like any other. Blank lines are no rows. A row must have as many fields as the header.
//!
//! Written for this crate rather than taken from one: a row that does not fit is kept as it stood, the length of a row
//! is bounded, and a quote that is never closed costs one line instead of the rest of the file.

use std::collections::VecDeque;

use serde_json::{Map, Value};

use super::fault::{Cause, Extent, checked_text};
use super::source::Source;
use super::{Found, RowReader};
use crate::error::DataError;
use crate::lines::{Lines, RawLine};
use crate::problem::quoted;
use crate::read::MAX_ROW_BYTES;

/// What fields may be parted by, in the order of preference.
const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];

/// The delimiter is told by so many lines and bytes.
const SNIFFED_LINES: usize = 200;
const SNIFFED_BYTES: usize = 1 << 16;

/// A name of a column is hardly longer than this; a text is.
const LONGEST_NAME: usize = 100;

/// A quote that is never closed costs one line, because reading starts again on the next. Each such start may read
/// through [`MAX_ROW_BYTES`], so a hostile file gets only so many.
const MOST_RESTARTS: usize = 16;

/// The rows of a table.
pub(crate) struct Table {
    lines: Lines,
    /// Lines that were read but not used.
    waiting: VecDeque<RawLine>,
    delimiter: u8,
    names: Vec<String>,
    restarts: usize,
    longest: usize,
}

impl Table {
    /// The table in `source`; the delimiter is found if it is not given, and so is whether there is a header.
    pub(crate) fn open(source: Source, delimiter: Option<u8>, header: Option<bool>) -> Result<Self, DataError> {
        let path = source.path.to_path_buf();
        let end = if source.carriage_returns { b'\r' } else { b'\n' };
        let mut table = Self {
            lines: Lines::new(source, end, MAX_ROW_BYTES),
            waiting: VecDeque::new(),
            delimiter: b',',
            names: Vec::new(),
            restarts: 0,
            longest: MAX_ROW_BYTES,
        };
        let mut seen = 0;
        while seen < SNIFFED_BYTES && table.waiting.len() < SNIFFED_LINES {
            let Some(line) = table.lines.next_line(Vec::new())? else { break };
            seen += line.bytes.len();
            table.waiting.push_back(line);
        }
        table.delimiter = match (delimiter, table.waiting.front().and_then(|line| named_delimiter(&line.bytes))) {
            (_, Some(named)) => {
                table.waiting.pop_front();
                named
            }
            (Some(given), None) => given,
            (None, None) => find_delimiter(&table.waiting),
        };
        table.read_header(header).map_err(|reason| DataError::Shape { path, reason })??;
        Ok(table)
    }

    /// Settles the names of the columns. The inner error is one of reading.
    fn read_header(&mut self, header: Option<bool>) -> Result<Result<(), DataError>, String> {
        let first = match self.raw_row() {
            Ok(Some(first)) => first,
            Ok(None) => return Ok(Ok(())),
            Err(error) => return Ok(Err(error)),
        };
        let first_line = first.lines[0].number;
        let fields = first
            .fields
            .map_err(|cause| cause.problem().to_string())
            .and_then(|fields| fields.into_iter().map(text_of).collect::<Result<Vec<_>, _>>())
            .map_err(|reason| format!("its first row, on line {first_line}, names no columns: {reason}"))?;
        if header.unwrap_or_else(|| looks_like_header(&fields)) {
            for (index, field) in fields.into_iter().enumerate() {
                let name = field.trim();
                let name = if name.is_empty() { format!("column_{}", index + 1) } else { name.to_owned() };
                self.names.push(name);
            }
            let mut sorted: Vec<&String> = self.names.iter().collect();
            sorted.sort_unstable();
            if let Some(pair) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
                return Err(format!("the column {} occurs twice in its header", quoted(pair[0])));
            }
        } else {
            self.names = (1..=fields.len()).map(|number| format!("column_{number}")).collect();
            self.give_back(first.lines);
        }
        Ok(Ok(()))
    }

    fn next_line(&mut self) -> Result<Option<RawLine>, DataError> {
        match self.waiting.pop_front() {
            Some(line) => Ok(Some(line)),
            None => self.lines.next_line(Vec::new()),
        }
    }

    fn give_back(&mut self, lines: Vec<RawLine>) {
        for line in lines.into_iter().rev() {
            self.waiting.push_front(line);
        }
    }

    /// The lines of the next row and what is in them.
    fn raw_row(&mut self) -> Result<Option<RawRow>, DataError> {
        let first = loop {
            match self.next_line()? {
                None => return Ok(None),
                Some(line) if body(&line.bytes).is_empty() => {}
                Some(line) => break line,
            }
        };
        let mut parser = RowParser::new(self.delimiter);
        let mut lines: Vec<RawLine> = Vec::new();
        let mut length = 0u64;
        let mut next = Some(first);
        let cause = loop {
            let Some(line) = next else {
                let line = lines.first().map_or(1, |line: &RawLine| line.number);
                break Cause::Other { line, reason: "a quote is opened and never closed".into() };
            };
            length += line.extent.length;
            if length > self.longest as u64 {
                let number = lines.first().map_or(line.number, |first| first.number);
                lines.push(line);
                break Cause::TooLong { line: number, limit: self.longest };
            }
            let fed = parser.feed(&line.bytes);
            let number = line.number;
            lines.push(line);
            match fed {
                Fed::Complete => return Ok(Some(RawRow { fields: Ok(parser.fields), lines })),
                Fed::Open => next = self.next_line()?,
                Fed::Broken => {
                    let reason =
                        format!("line {number}: there is text between the end of a quoted field and the delimiter");
                    break Cause::Other { line: number, reason };
                }
            }
        };
        // The quote that opened this may be the fault. Each line is looked at again as a row of its own.
        if lines.len() > 1 && self.restarts < MOST_RESTARTS {
            self.restarts += 1;
            let rest = lines.split_off(1);
            self.give_back(rest);
        }
        Ok(Some(RawRow { fields: Err(cause), lines }))
    }

    fn object(&self, row: &mut RawRow) -> Result<Map<String, Value>, Cause> {
        for line in &row.lines {
            checked_text(&line.bytes, line.number)?;
        }
        let fields = match &mut row.fields {
            Ok(fields) => std::mem::take(fields),
            Err(cause) => return Err(cause.clone()),
        };
        let line = row.lines[0].number;
        if fields.len() != self.names.len() {
            let word = if fields.len() == 1 { "field" } else { "fields" };
            let reason = format!("the row has {} {word}, the first row has {}", fields.len(), self.names.len());
            return Err(Cause::Other { line, reason });
        }
        let mut object = Map::with_capacity(fields.len());
        for (name, field) in self.names.iter().zip(fields) {
            let text = text_of(field).map_err(|reason| Cause::Other { line, reason })?;
            object.insert(name.clone(), Value::String(text));
        }
        Ok(object)
    }
}

impl RowReader for Table {
    fn next_row(&mut self) -> Result<Option<Found>, DataError> {
        let Some(mut row) = self.raw_row()? else { return Ok(None) };
        let first = &row.lines[0];
        let (line, start) = (first.number, first.extent.start);
        Ok(Some(match self.object(&mut row) {
            Ok(object) => Found::Row { line, object },
            Err(cause) => {
                let length = row.lines.iter().map(|line| line.extent.length).sum();
                let raw = row.lines.into_iter().flat_map(|line| line.bytes).take(MAX_ROW_BYTES).collect();
                Found::fault(line, raw, Extent { start, length }, cause)
            }
        }))
    }

    fn why_empty(&self) -> &'static str {
        if self.names.is_empty() { "only blank lines" } else { "a header and nothing below it" }
    }
}

/// A row as it stands. There is at least one line.
struct RawRow {
    fields: Result<Vec<Vec<u8>>, Cause>,
    lines: Vec<RawLine>,
}

fn text_of(field: Vec<u8>) -> Result<String, String> {
    String::from_utf8(field)
        .map_err(|error| format!("byte 0x{:02X} is not UTF-8", error.as_bytes()[error.utf8_error().valid_up_to()]))
}

/// A line without its line end.
fn body(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// `sep=;` on the first line, which spreadsheets write and read.
fn named_delimiter(line: &[u8]) -> Option<u8> {
    match *body(line) {
        [b's' | b'S', b'e' | b'E', b'p' | b'P', b'=', delimiter] => Some(delimiter),
        _ => None,
    }
}

/// Names are short, at least one is there, and none is a number.
fn looks_like_header(fields: &[String]) -> bool {
    let plausible = |field: &String| {
        let field = field.trim();
        field.len() <= LONGEST_NAME && !field.contains(['\n', '\r']) && field.parse::<f64>().is_err()
    };
    fields.iter().all(plausible) && fields.iter().any(|field| !field.trim().is_empty())
}

/// The delimiter by which most of the first rows have as many fields as the very first, and more than one.
fn find_delimiter(lines: &VecDeque<RawLine>) -> u8 {
    let mut best = (b',', 0, 1);
    for delimiter in DELIMITERS {
        let mut widths: Vec<usize> = Vec::new();
        let mut parser = RowParser::new(delimiter);
        for line in lines.iter().filter(|line| !body(&line.bytes).is_empty()) {
            match parser.feed(&line.bytes) {
                Fed::Open => continue,
                Fed::Complete => widths.push(parser.fields.len()),
                // A row that does not fit.
                Fed::Broken => widths.push(0),
            }
            parser = RowParser::new(delimiter);
        }
        let Some(&width) = widths.first() else { continue };
        let agreeing = widths.iter().filter(|&&other| other == width).count();
        // Shares of all rows, compared without rounding.
        if width > 1 && agreeing * best.2 > best.1 * widths.len() {
            best = (delimiter, agreeing, widths.len());
        }
    }
    best.0
}

/// What a line did to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fed {
    /// The row ends with it.
    Complete,
    /// A quoted field goes on on the next line.
    Open,
    /// There is text behind a quoted field.
    Broken,
}

/// Takes the lines of one row.
struct RowParser {
    delimiter: u8,
    fields: Vec<Vec<u8>>,
    quoted: bool,
}

impl RowParser {
    fn new(delimiter: u8) -> Self {
        Self { delimiter, fields: Vec::new(), quoted: false }
    }

    fn feed(&mut self, line: &[u8]) -> Fed {
        let text = body(line);
        let end_of_line = &line[text.len()..];
        let mut rest = text;
        loop {
            if !self.quoted {
                if let Some(inside) = rest.strip_prefix(b"\"") {
                    self.fields.push(Vec::new());
                    self.quoted = true;
                    rest = inside;
                } else {
                    let length = rest.iter().position(|&byte| byte == self.delimiter).unwrap_or(rest.len());
                    self.fields.push(rest[..length].to_vec());
                    match rest.get(length + 1..) {
                        Some(after) if length < rest.len() => rest = after,
                        _ => return Fed::Complete,
                    }
                    continue;
                }
            }
            let Some(field) = self.fields.last_mut() else { return Fed::Broken };
            let Some(quote) = rest.iter().position(|&byte| byte == b'"') else {
                field.extend_from_slice(rest);
                field.extend_from_slice(end_of_line);
                return Fed::Open;
            };
            field.extend_from_slice(&rest[..quote]);
            rest = &rest[quote + 1..];
            match rest.first() {
                Some(b'"') => {
                    field.push(b'"');
                    rest = &rest[1..];
                }
                None => {
                    self.quoted = false;
                    return Fed::Complete;
                }
                Some(&byte) if byte == self.delimiter => {
                    self.quoted = false;
                    rest = &rest[1..];
                }
                Some(_) => return Fed::Broken,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(delimiter: u8, lines: &[&str]) -> (Fed, Vec<String>) {
        let mut parser = RowParser::new(delimiter);
        let mut fed = Fed::Open;
        for line in lines {
            assert_eq!(fed, Fed::Open, "the row ended before {line:?}");
            fed = parser.feed(line.as_bytes());
        }
        (fed, parser.fields.into_iter().map(|field| String::from_utf8_lossy(&field).into_owned()).collect())
    }

    #[test]
    fn fields_are_parted_and_unquoted() {
        let row = |line: &str| fields(b',', &[line]);
        let some = |texts: &[&str]| (Fed::Complete, texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>());
        assert_eq!(row("a,b,c\n"), some(&["a", "b", "c"]));
        assert_eq!(row("a,,\r\n"), some(&["a", "", ""]));
        assert_eq!(row(",\n"), some(&["", ""]));
        assert_eq!(row("\"a,b\",\"\",\"say \"\"x\"\"\"\n"), some(&["a,b", "", "say \"x\""]));
        assert_eq!(row("5\" pipe, \"x\"\n"), some(&["5\" pipe", " \"x\""]), "quotes that do not begin a field");
        assert_eq!(row("\"a\"b,c\n").0, Fed::Broken);
        assert_eq!(fields(b';', &["a;\"b\r\n", "\r\n", "c\";d"]), some(&["a", "b\r\n\r\nc", "d"]));
    }

    #[test]
    fn the_delimiter_is_the_one_that_fits_most_rows() {
        let find = |text: &str| {
            let lines = text.split_inclusive('\n').enumerate().map(|(index, line)| RawLine {
                number: index + 1,
                extent: Extent { start: 0, length: line.len() as u64 },
                bytes: line.as_bytes().to_vec(),
            });
            char::from(find_delimiter(&lines.collect()))
        };
        assert_eq!(find("a,b\n1,2\n"), ',');
        assert_eq!(find("a;b\n1,5;2,5\n"), ';');
        assert_eq!(find("a,b\n\"x;y\",\"z;w\"\nx;y,z;w\n"), ',');
        assert_eq!(find("a\tb\n1,2\t3\n"), '\t');
        assert_eq!(find("a|b\n1|2\n"), '|');
        assert_eq!(find("text\nHello, you\n"), ',', "one column");
        assert_eq!(find(""), ',');
    }

    #[test]
    fn headers_are_told_from_rows() {
        let header =
            |fields: &[&str]| looks_like_header(&fields.iter().map(|&field| field.to_owned()).collect::<Vec<_>>());
        assert!(header(&["prompt", "completion"]));
        assert!(header(&["", "prompt"]), "an index without a name");
        assert!(!header(&["1", "prompt"]));
        assert!(!header(&["prompt", "two\nlines"]));
        assert!(!header(&[&"long ".repeat(50)]));
        assert!(!header(&[""]));
    }
}
