//! Faults of files: each is named with its place and a hint.

mod common;

use attune_data::{DataError, FormatChoice, JsonFault, MAX_ROW_BYTES};
use common::{Folder, read_as};

const ROW: &str = r#"{"prompt": "a", "completion": "b"}"#;

fn error(name: &str, bytes: impl AsRef<[u8]>) -> DataError {
    let error = read_as(name, bytes, FormatChoice::Auto).expect_err("a bad file");
    assert!(error.hint().is_some_and(|hint| !hint.is_empty()), "no hint: {error:?}");
    assert!(error.to_string().contains(name), "the file is not named: {error}");
    error
}

fn json_error(name: &str, bytes: impl AsRef<[u8]>) -> (usize, usize, JsonFault, String) {
    match error(name, bytes) {
        DataError::Json { line, column, fault, reason, .. } => (line, column, fault, reason),
        other => panic!("{other:?}"),
    }
}

#[test]
fn line_ends_marks_and_blank_lines_are_no_faults() {
    let plain = read_as("a.jsonl", format!("{ROW}\n{ROW}\n"), FormatChoice::Auto).expect("good rows");
    for text in
        [format!("\u{feff}{ROW}\r\n\r\n{ROW}"), format!("\n \t\n{ROW}\n\n{ROW}\n\n"), format!("  {ROW}  \n{ROW}")]
    {
        let set = read_as("a.jsonl", &text, FormatChoice::Auto).expect("good rows");
        assert_eq!(set.rows.len(), 2, "{text:?}");
        assert_eq!(set.rows[1].hash, plain.rows[0].hash);
        assert_eq!(set.files[0].bytes, text.len() as u64);
        assert_eq!(set.files[0].hash, blake3::hash(text.as_bytes()).to_hex().to_string());
    }
    let set =
        read_as("a.JSON", format!("\u{feff}\r\n[{ROW},\r\n\r\n  {ROW}]\r\n"), FormatChoice::Auto).expect("good rows");
    let places: Vec<_> = set.rows.iter().map(|row| (row.origin.row, row.origin.line)).collect();
    assert_eq!(places, [(1, 2), (2, 4)]);
}

#[test]
fn bad_json_lines_are_named() {
    assert_eq!(json_error("a.jsonl", format!("{ROW}\n\n{{\"prompt\": \"ä\" \"b\"}}\n")).0, 3);
    let (line, column, fault, _) = json_error("a.jsonl", "{\"prompt\": \"ä\" \"b\"}\n");
    assert_eq!((line, column, fault), (1, 16, JsonFault::Syntax));
    let (line, column, fault, _) =
        json_error("a.jsonl", format!("{ROW}\n{{\"prompt\": \"a\",\n\"completion\": \"b\"}}\n"));
    assert_eq!((line, column, fault), (2, 16, JsonFault::RowOverLines));
    let (line, _, fault, _) = json_error("a.jsonl", format!("[\n{ROW}\n]"));
    assert_eq!((line, fault), (1, JsonFault::RowOverLines));
    assert_eq!(json_error("a.jsonl", format!("{ROW}{ROW}")).2, JsonFault::TrailingText);
    let (line, _, fault, reason) =
        json_error("a.jsonl", format!("{ROW}\n{{\"prompt\": \"a\", \"completion\": \"b\", \"prompt\": \"c\"}}"));
    assert_eq!((line, fault), (2, JsonFault::DoubledKey));
    assert_eq!(reason, "the key `prompt` occurs twice in one object");
    let deep = "[".repeat(1000);
    assert_eq!(json_error("a.jsonl", format!("{{\"prompt\": {deep}")).3, "nested deeper than 128 levels");
    assert_eq!(json_error("a.jsonl", "{\"prompt\": 123456789012345678901234567890}").2, JsonFault::OversizedInteger);
    assert_eq!(json_error("a.jsonl", "{\"prompt\": \"a\tb\", \"completion\": \"c\"}").2, JsonFault::Syntax);
    let text = error("a.jsonl", "{\"prompt\" \"a\"}").to_string();
    assert!(text.ends_with("a.jsonl:1:11: expected `:`"), "{text}");
}

#[test]
fn bad_json_documents_are_named_by_line_and_column() {
    let document = format!("[\n  {ROW},\n  {{\"prompt\": \"ä\" 5}}\n]");
    let (line, column, fault, _) = json_error("a.json", document);
    assert_eq!((line, column, fault), (3, 18, JsonFault::Syntax));
    // Faults that only the reading of the row itself finds have their place in the file, too.
    let (line, _, fault, _) = json_error("a.json", format!("[\n  {ROW},\n\n  {{\n\"a\": 1,\n \"a\": 2}}\n]"));
    assert_eq!((line, fault), (6, JsonFault::DoubledKey));
    let (line, column, ..) = json_error("a.json", format!("[{ROW},\n{{\"n\": 99999999999999999999}}]"));
    assert_eq!((line, column), (2, 7));
    let (line, column, ..) = json_error("a.json", format!("{{\"rows\":\n[{ROW},\n {{\"n\": 99999999999999999999}}]}}"));
    assert_eq!((line, column), (3, 8));
    assert_eq!(json_error("a.json", format!("[{ROW},\n{ROW}")).2, JsonFault::EndsEarly);
    assert_eq!(json_error("a.json", format!("{ROW}\n{ROW}\n")).2, JsonFault::LinesInDocument);
    assert_eq!(json_error("a.json", format!("[{ROW}]\n[{ROW}]\n")).2, JsonFault::LinesInDocument);
    assert_eq!(json_error("a.json", "{\"data\": [], \"data\": []}").2, JsonFault::DoubledKey);
    assert_eq!(json_error("a.json", "[".repeat(1_000_000)).2, JsonFault::EndsEarly);
    assert_eq!(json_error("a.json", "plain text").2, JsonFault::Syntax);
    let nested = "[".repeat(100_000) + &"]".repeat(100_000);
    assert_eq!(json_error("a.json", format!("[{{\"messages\": {nested}}}]")).3, "nested deeper than 128 levels");
}

#[test]
fn a_document_is_a_list_or_holds_one() {
    let set = read_as(
        "a.json",
        format!("{{\"version\": \"1\",\n\"data\": [\n{ROW},\n{ROW}], \"n\": {{}}}}"),
        FormatChoice::Auto,
    )
    .expect("rows");
    let lines: Vec<_> = set.rows.iter().map(|row| row.origin.line).collect();
    assert_eq!(lines, [3, 4]);
    let shape = |text: &str| match error("a.json", text) {
        DataError::Shape { reason, .. } => reason,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        shape("{\"train\": [{}], \"test\": [{}]}"),
        "the file holds an object with several lists: `train`, `test`"
    );
    assert_eq!(shape("{\"a\": {\"rows\": [1]}}"), "the file holds an object without a list of rows");
    assert_eq!(shape("{}"), "the file holds an object without a list of rows");
    assert_eq!(
        shape("{\"messages\": [{\"role\": \"user\", \"content\": \"x\"}]}"),
        "the file holds a single row, not a list of rows"
    );
    assert_eq!(shape(ROW), "the file holds a single row, not a list of rows");
    assert_eq!(shape("\"text\""), "the file holds a string");
    let misfit = error("a.json", format!("[{ROW},\n[{ROW}]]"));
    assert!(misfit.to_string().contains("a.json:2 (row 2): a row must be an object, this is a list"), "{misfit}");
}

#[test]
fn empty_files_are_named() {
    let what = |name: &str, text: &str| match error(name, text) {
        DataError::Empty { what, .. } => what,
        other => panic!("{other:?}"),
    };
    assert_eq!(what("a.jsonl", ""), "no bytes");
    assert_eq!(what("a.json", ""), "no bytes");
    assert_eq!(what("a.jsonl", "\n \r\n"), "only blank lines");
    assert_eq!(what("a.jsonl", "\u{feff}"), "only blank lines");
    assert_eq!(what("a.json", " \n"), "only blank space");
    assert_eq!(what("a.json", "[ ]"), "an empty list");
    assert_eq!(what("a.json", "{\"data\": []}"), "an empty list");
}

#[test]
fn bad_text_is_named() {
    let bad = error("a.jsonl", b"{\"prompt\": \"a\"}\n{\"prompt\": \"\xE9\"}\n");
    assert!(matches!(bad, DataError::Utf8 { line: 2, column: 13, byte: 0xE9, .. }), "{bad:?}");
    let bad = error("a.json", b"[\n{\"prompt\": \"\xC3\xA4\xE9\"}]");
    assert!(matches!(bad, DataError::Utf8 { line: 2, column: 15, byte: 0xE9, .. }), "{bad:?}");
    assert!(matches!(error("a.jsonl", b"{\"prompt\": \"\0\"}"), DataError::Nul { line: 1, column: 13, .. }));
    assert!(matches!(error("a.json", b"[\n\0]"), DataError::Nul { line: 2, column: 1, .. }));
    let utf16: Vec<u8> = [0xFF, 0xFE].into_iter().chain(ROW.encode_utf16().flat_map(u16::to_le_bytes)).collect();
    assert_eq!(read_as("a.jsonl", &utf16, FormatChoice::Auto).expect("the mark names UTF-16").rows.len(), 1);
    assert!(matches!(error("a.jsonl", &utf16[2..]), DataError::Nul { line: 1, column: 2, .. }));
}

#[test]
fn giant_rows_are_refused() {
    let giant = format!("{{\"prompt\": \"{}\"}}", "a".repeat(MAX_ROW_BYTES));
    let bad = error("a.jsonl", format!("{ROW}\n{giant}\n"));
    assert!(matches!(bad, DataError::RowTooLong { line: 2, limit: MAX_ROW_BYTES, .. }), "{bad:?}");
    let bad = error("a.json", format!("[{ROW},\n\n{giant}]"));
    assert!(matches!(bad, DataError::RowTooLong { line: 3, limit: MAX_ROW_BYTES, .. }), "{bad:?}");
}

#[test]
fn other_files_are_refused_with_advice() {
    for (name, advice) in [
        ("a.xlsx", "convert it to .jsonl"),
        ("a.jsonl.xz", "unpack"),
        ("a.gz", "train.jsonl.gz"),
        ("a.yaml", "one JSON object per line"),
        ("train", ".jsonl"),
    ] {
        let bad = error(name, ROW);
        assert!(matches!(bad, DataError::Extension { .. }), "{bad:?}");
        assert!(bad.hint().expect("a hint").contains(advice), "{name}: {:?}", bad.hint());
        assert!(bad.to_string().contains(".jsonl, .ndjson, .json"), "{bad}");
    }
    assert_eq!(read_as("a.ndjson", ROW, FormatChoice::Auto).expect("JSONL").rows.len(), 1);
}

#[test]
fn paths_that_are_no_files_are_named() {
    let folder = Folder::new();
    let read = |path: std::path::PathBuf| attune_data::read(&[path], FormatChoice::Auto).expect_err("no file");
    let missing = read(folder.path("none.jsonl"));
    assert!(matches!(&missing, DataError::NotFound { .. }) && missing.to_string().contains("none.jsonl"), "{missing}");
    let empty = read(folder.path(""));
    assert!(empty.hint().expect("a hint").contains("none in the folder"), "{empty:?}");
    folder.write("b.jsonl", ROW);
    folder.write("a.json", ROW);
    folder.write("c.txt", ROW);
    let full = read(folder.path(""));
    assert!(matches!(&full, DataError::Directory { .. }), "{full:?}");
    assert!(full.hint().expect("a hint").ends_with("a.json, b.jsonl"), "{:?}", full.hint());
    assert!(matches!(attune_data::read(&[], FormatChoice::Auto), Err(DataError::NoFiles)));
    let twice = attune_data::read(&[folder.path("b.jsonl"), folder.path("./b.jsonl")], FormatChoice::Auto);
    assert!(matches!(twice, Err(DataError::SameFileTwice { .. })), "{twice:?}");
    #[cfg(unix)]
    assert!(matches!(read("/dev/zero".into()), DataError::NotAFile { .. }));
}

#[test]
fn text_of_a_file_cannot_steer_the_terminal() {
    let texts = [
        "{\"\u{7f}\\u001b[31m\": 1}".to_owned(),
        "{\"messages\": [{\"role\": \"\\u001b[2J\", \"content\": \"x\"}]}".to_owned(),
        "{\"\\u001b\": 1, \"\\u001b\": 1}".to_owned(),
        format!("{{\"{}\": 1}}", "k".repeat(100_000)),
    ];
    for text in texts {
        let shown = error("a.jsonl", &text).to_string();
        assert!(!shown.chars().any(|c| c.is_control() && c != '\n'), "{shown:?}");
        assert!(shown.len() < 1000, "{} bytes", shown.len());
    }
}
