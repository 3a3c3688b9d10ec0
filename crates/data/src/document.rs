//! Rows of a `.json` file: a list, or an object with one list in it.
//!
//! The list is cut into its members by brackets and quotes alone, and each member is parsed for itself, so that a faulty
//! row costs this row and not the file. Where brackets or quotes do not match, nobody knows where the next row begins:
//! all that follows is one fault.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use serde_json::value::RawValue;

use crate::detect::has_known_keys;
use crate::error::{DataError, JsonFault};
use crate::json::{self, JsonError};
use crate::problem::{quoted, type_name};
use crate::record::fault::{Cause, Extent, checked_text, held_slice};
use crate::record::{Found, RowReader};

/// What comes next in the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    /// The file has not been looked at.
    Head,
    /// A member, or the end if the list is empty.
    FirstMember,
    /// A member, because a comma went before.
    Member,
    /// A comma or the end of the list.
    Comma,
    /// Nothing but blank space.
    Nothing,
    Finished,
}

/// The rows of a JSON document, which is held as a whole.
pub(crate) struct JsonDocument {
    path: Arc<Path>,
    bytes: Vec<u8>,
    /// Bytes of the file before the text.
    offset: u64,
    longest: usize,
    expected: Expected,
    at: usize,
    /// Where the list ends, or the text.
    end: usize,
    place: Place,
    /// Faults before the list, which come before its rows, and those behind it.
    before: VecDeque<Found>,
    behind: VecDeque<Found>,
    empty: &'static str,
}

/// Line and column of a byte, counted along the text once and not anew for every row.
#[derive(Debug, Clone, Copy)]
struct Place {
    at: usize,
    line: usize,
    column: usize,
}

impl Place {
    fn go_to(&mut self, bytes: &[u8], at: usize) {
        for &byte in &bytes[self.at..at] {
            if byte == b'\n' {
                self.line += 1;
                self.column = 1;
            } else if byte & 0xC0 != 0x80 {
                self.column += 1;
            }
        }
        self.at = at;
    }

    /// The place of something whose place is counted from here.
    fn plus(self, line: usize, column: usize) -> (usize, usize) {
        if line == 1 { (self.line, self.column + column - 1) } else { (self.line + line - 1, column) }
    }
}

impl JsonDocument {
    /// Rows of `bytes`, which begin at byte `offset` of the file; none may have more than `longest` bytes.
    pub(crate) fn new(path: Arc<Path>, bytes: Vec<u8>, offset: u64, longest: usize) -> Self {
        let end = bytes.len();
        Self {
            path,
            bytes,
            offset,
            longest,
            expected: Expected::Head,
            at: 0,
            end,
            place: Place { at: 0, line: 1, column: 1 },
            before: VecDeque::new(),
            behind: VecDeque::new(),
            empty: "an empty list",
        }
    }

    /// Finds the list. If there is none to be had, the fault that says why is in `before`.
    fn find_list(&mut self) -> Result<(), DataError> {
        self.expected = Expected::Finished;
        self.skip_blank();
        match self.bytes.get(self.at) {
            None => self.empty = "only blank space",
            Some(b'[') => {
                self.at += 1;
                self.expected = Expected::FirstMember;
            }
            Some(b'{') => return self.find_list_in_object(),
            // Anything else is no file of rows; if it is not even JSON, the place of the fault says more.
            Some(_) => match self.parse(0, self.end) {
                Ok(value) => return Err(self.shape(format!("the file holds {}", type_name(&value)))),
                Err(cause) => self.fail_whole(cause),
            },
        }
        Ok(())
    }

    fn find_list_in_object(&mut self) -> Result<(), DataError> {
        let Some(members) = object_members(&self.bytes, self.at) else {
            // Not even the brackets match, or there is text behind the object.
            let cause = self.cause_of_whole();
            self.fail_whole(cause);
            return Ok(());
        };
        let mut names: Vec<String> = Vec::with_capacity(members.len());
        for (key, _) in &members {
            match self.parse(key.start, key.end) {
                Ok(Value::String(name)) => names.push(name),
                _ => {
                    let cause = self.cause_of_whole();
                    self.fail_whole(cause);
                    return Ok(());
                }
            }
        }
        let mut sorted: Vec<&str> = names.iter().map(String::as_str).collect();
        sorted.sort_unstable();
        if sorted.windows(2).any(|pair| pair[0] == pair[1]) {
            let cause = self.cause_of_whole();
            self.fail_whole(cause);
            return Ok(());
        }
        let lists: Vec<usize> =
            (0..members.len()).filter(|&index| self.bytes[members[index].1.start] == b'[').collect();
        let is_row = has_known_keys(names.iter().map(String::as_str));
        if is_row || lists.len() != 1 {
            if let Err(cause) = self.parse(0, self.end) {
                self.fail_whole(cause);
                return Ok(());
            }
            return Err(self.shape(match lists.len() {
                _ if is_row => "the file holds a single row, not a list of rows".into(),
                0 => "the file holds an object without a list of rows".into(),
                _ => {
                    let keys: Vec<String> = lists.iter().take(8).map(|&index| quoted(&names[index])).collect();
                    format!("the file holds an object with several lists: {}", keys.join(", "))
                }
            }));
        }
        for (index, (_, value)) in members.iter().enumerate() {
            self.place.go_to(&self.bytes, value.start);
            if index != lists[0]
                && let Err(cause) = self.parse(value.start, value.end)
            {
                let fault = self.found_fault(value.start, value.end, cause);
                if index < lists[0] { self.before.push_back(fault) } else { self.behind.push_back(fault) }
            }
        }
        let list = &members[lists[0]].1;
        self.at = list.start + 1;
        self.end = list.end;
        self.place = Place { at: 0, line: 1, column: 1 };
        self.expected = Expected::FirstMember;
        Ok(())
    }

    /// The next row of the list.
    fn next_member(&mut self) -> Option<Found> {
        loop {
            self.skip_blank();
            let byte = self.bytes[..self.end].get(self.at).copied();
            match (self.expected, byte) {
                (Expected::Finished | Expected::Head, _) | (Expected::Nothing, None) => return None,
                (Expected::FirstMember | Expected::Comma, Some(b']')) => {
                    self.at += 1;
                    self.expected = Expected::Nothing;
                }
                (Expected::Comma, Some(b',')) => {
                    self.at += 1;
                    self.expected = Expected::Member;
                }
                (Expected::FirstMember | Expected::Member | Expected::Comma, None) => {
                    return Some(self.rest("EOF while parsing a list", JsonFault::EndsEarly));
                }
                (Expected::Nothing, Some(_)) => {
                    return Some(self.rest("trailing characters", JsonFault::LinesInDocument));
                }
                (Expected::Comma, Some(_)) => return Some(self.rest("expected `,` or `]`", JsonFault::Syntax)),
                (Expected::FirstMember | Expected::Member, Some(_)) => return Some(self.member()),
            }
        }
    }

    /// The member that begins here.
    fn member(&mut self) -> Found {
        let start = self.at;
        self.place.go_to(&self.bytes, start);
        let Some(end) = value_end(&self.bytes[..self.end], start) else {
            let cause = self.cause_of_rest(start);
            self.at = self.end;
            self.expected = Expected::Finished;
            return self.found_fault(start, self.end, cause);
        };
        self.at = end;
        self.expected = Expected::Comma;
        let end = start + self.bytes[start..end].trim_ascii_end().len();
        if end - start > self.longest {
            return self.found_fault(start, end, Cause::TooLong { line: self.place.line, limit: self.longest });
        }
        match self.parse(start, end) {
            Ok(Value::Object(object)) => Found::Row { line: self.place.line, object },
            Ok(value) => self.found_fault(start, end, Cause::NotAnObject(value)),
            Err(cause) => self.found_fault(start, end, cause),
        }
    }

    /// The fault of all that is left.
    fn rest(&mut self, reason: &str, fault: JsonFault) -> Found {
        self.place.go_to(&self.bytes, self.at);
        let cause = Cause::Json { line: self.place.line, column: self.place.column, reason: reason.to_owned(), fault };
        let (start, end) = (self.at, self.end);
        self.at = end;
        self.expected = Expected::Finished;
        self.found_fault(start, end, cause)
    }

    /// Why a value that begins at `start` does not end.
    fn cause_of_rest(&self, start: usize) -> Cause {
        let text = match checked_text(&self.bytes[start..self.end], 1) {
            Ok(text) => text,
            Err(cause) => return self.placed(cause),
        };
        // Raw values are passed over without recursion, so that the depth is no matter here.
        match serde_json::from_str::<&RawValue>(text) {
            Err(error) => self.json_cause(text, json::locate(text, &error)),
            Ok(_) => {
                let (line, column) = json::position(text, text.len());
                let (line, column) = self.place.plus(line, column);
                Cause::Json { line, column, reason: "EOF while parsing a list".into(), fault: JsonFault::EndsEarly }
            }
        }
    }

    /// What is wrong with the text as a whole.
    fn cause_of_whole(&self) -> Cause {
        let text = match checked_text(&self.bytes, 1) {
            Ok(text) => text,
            Err(cause) => return cause,
        };
        let error = match json::object_members(text.trim_ascii_start()) {
            Err(error) => {
                let before = text.len() - text.trim_ascii_start().len();
                Some(JsonError { offset: error.offset + before, ..error })
            }
            Ok(_) => json::parse(text).err(),
        };
        let error = error.unwrap_or(JsonError {
            offset: 0,
            fault: JsonFault::Syntax,
            reason: "its brackets do not match".into(),
        });
        let (line, column) = json::position(text, error.offset);
        Cause::Json { line, column, reason: error.reason, fault: in_document(error.fault) }
    }

    fn parse(&self, start: usize, end: usize) -> Result<Value, Cause> {
        let text = checked_text(&self.bytes[start..end], 1).map_err(|cause| self.placed(cause))?;
        json::parse(text).map_err(|error| {
            let error = if start > 0 && error.fault == JsonFault::TrailingText {
                JsonError { fault: JsonFault::Syntax, reason: "expected `,` or `]`".into(), ..error }
            } else {
                error
            };
            self.json_cause(text, error)
        })
    }

    /// `error` of `text`, which begins at the place counted to.
    fn json_cause(&self, text: &str, error: JsonError) -> Cause {
        let (line, column) = json::position(text, error.offset);
        let (line, column) = self.place.plus(line, column);
        Cause::Json { line, column, reason: error.reason, fault: in_document(error.fault) }
    }

    fn placed(&self, cause: Cause) -> Cause {
        let plus = |line, column| self.place.plus(line, column);
        match cause {
            Cause::Utf8 { line, column, byte } => {
                let (line, column) = plus(line, column);
                Cause::Utf8 { line, column, byte }
            }
            Cause::Nul { line, column } => {
                let (line, column) = plus(line, column);
                Cause::Nul { line, column }
            }
            other => other,
        }
    }

    fn fail_whole(&mut self, cause: Cause) {
        let fault = self.found_fault(0, self.end, cause);
        self.before.push_back(fault);
        self.expected = Expected::Finished;
    }

    fn found_fault(&self, start: usize, end: usize, cause: Cause) -> Found {
        let extent = Extent { start: self.offset + start as u64, length: (end - start) as u64 };
        Found::fault(self.place.line, held_slice(&self.bytes[start..end]), extent, cause)
    }

    fn shape(&self, reason: String) -> DataError {
        DataError::Shape { path: self.path.to_path_buf(), reason }
    }

    fn skip_blank(&mut self) {
        self.at = skip_blank(&self.bytes[..self.end], self.at);
    }
}

impl RowReader for JsonDocument {
    fn next_row(&mut self) -> Result<Option<Found>, DataError> {
        if self.expected == Expected::Head {
            self.find_list()?;
        }
        let found = self.before.pop_front().or_else(|| self.next_member());
        Ok(found.or_else(|| self.behind.pop_front()))
    }

    fn why_empty(&self) -> &'static str {
        self.empty
    }
}

/// Text behind the first object of a .json file is the next row of a JSONL file under the wrong name.
fn in_document(fault: JsonFault) -> JsonFault {
    if fault == JsonFault::TrailingText { JsonFault::LinesInDocument } else { fault }
}

/// JSON's blank space, which is less than ASCII's.
fn skip_blank(bytes: &[u8], at: usize) -> usize {
    at + bytes[at..].iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')).count()
}

/// Where the string that begins at `start` ends, behind its quote.
fn string_end(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start + 1;
    loop {
        match bytes.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// The comma or closing bracket behind the value that begins at `start`, or the end of `bytes`; `None` if they end
/// inside of a string or bracket.
fn value_end(bytes: &[u8], start: usize) -> Option<usize> {
    let (mut at, mut depth) = (start, 0usize);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => {
                at = string_end(bytes, at)?;
                continue;
            }
            b'[' | b'{' => depth += 1,
            b']' | b'}' if depth == 0 => return Some(at),
            b']' | b'}' => depth -= 1,
            b',' if depth == 0 => return Some(at),
            _ => {}
        }
        at += 1;
    }
    (depth == 0).then_some(at)
}

type Part = std::ops::Range<usize>;

/// Keys and values of the object at `start`, behind which there is nothing; `None` if brackets and quotes do not make
/// such an object.
fn object_members(bytes: &[u8], start: usize) -> Option<Vec<(Part, Part)>> {
    let mut members = Vec::new();
    let mut at = skip_blank(bytes, start + 1);
    if bytes.get(at) == Some(&b'}') {
        return (skip_blank(bytes, at + 1) == bytes.len()).then_some(members);
    }
    loop {
        at = skip_blank(bytes, at);
        if bytes.get(at) != Some(&b'"') {
            return None;
        }
        let key = at..string_end(bytes, at)?;
        at = skip_blank(bytes, key.end);
        if bytes.get(at) != Some(&b':') {
            return None;
        }
        let value_start = skip_blank(bytes, at + 1);
        at = value_end(bytes, value_start)?;
        let value = value_start..value_start + bytes[value_start..at].trim_ascii_end().len();
        if value.is_empty() {
            return None;
        }
        members.push((key, value));
        match bytes.get(at) {
            Some(b',') => at += 1,
            Some(b'}') => return (skip_blank(bytes, at + 1) == bytes.len()).then_some(members),
            _ => return None,
        }
    }
}
