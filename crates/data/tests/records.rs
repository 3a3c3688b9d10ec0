//! Rows one by one: what is broken costs its own row, and nothing is lost.

mod common;

use std::io::Write as _;
use std::path::Path;

use attune_data::{DataError, Entry, FormatChoice, MAX_ROW_BYTES, ReadOptions, RowProblem, fuzz, open};
use common::{Folder, read_as};
use proptest::prelude::*;
use serde_json::{Value, json};

const ROW: &str = r#"{"prompt": "a", "completion": "b"}"#;

fn entries(name: &str, bytes: impl AsRef<[u8]>) -> Vec<Entry> {
    fuzz::entries(name, bytes.as_ref()).unwrap_or_else(|error| panic!("{error}"))
}

/// Line and object of a row, or line and reason of a fault.
fn seen(name: &str, bytes: impl AsRef<[u8]>) -> Vec<(usize, Value)> {
    entries(name, bytes)
        .into_iter()
        .map(|entry| match entry {
            Entry::Record(record) => (record.origin.line, Value::Object(record.object)),
            Entry::Fault(fault) => (fault.origin.line, fault.problem.to_string().into()),
        })
        .collect()
}

fn good() -> Value {
    json!({"prompt": "a", "completion": "b"})
}

#[track_caller]
fn assert_fault(entry: &Entry, line: usize, raw: &[u8], reason: &str) {
    let Entry::Fault(fault) = entry else { panic!("no fault: {entry:?}") };
    assert_eq!((fault.origin.line, fault.raw.as_slice()), (line, raw));
    assert!(fault.problem.to_string().contains(reason), "{}", fault.problem);
}

#[test]
fn a_broken_line_costs_itself_only() {
    let deep = "[".repeat(200) + &"]".repeat(200);
    let broken: [(&[u8], &str); 11] = [
        (b"{\"prompt\": \"a\" \"b\"}\n", "expected `,` or `}`"),
        (b"{\"prompt\": \"a\0\"}\n", "is NUL"),
        (b"{\"prompt\": \"a\xE9\"}\n", "(0xE9) is not UTF-8"),
        (b"{\"a\": 1, \"a\": 2}\n", "occurs twice"),
        (b"{\"a\": NaN}\n", "bad JSON"),
        (b"{\"a\": -Infinity}\n", "bad JSON"),
        (b"{\"a\": 123456789012345678901234567890}\r\n", "64 bits"),
        (b"{\"a\": \"\\ud800\"}\n", "bad JSON"),
        (b"[1, 2]\n", "must be an object, this is a list"),
        (b"null\n", "must be an object, this is null"),
        (b"{\"a\":\n", "EOF"),
    ];
    for (line, reason) in broken.iter().copied().chain([(format!("{{\"a\": {deep}}}\n").as_bytes(), "128 levels")]) {
        let text = [ROW.as_bytes(), b"\n\n", line, ROW.as_bytes()].concat();
        let all = entries("a.jsonl", &text);
        assert_eq!(all.len(), 3, "{reason}");
        assert_fault(&all[1], 3, line, reason);
        let Entry::Fault(fault) = &all[1] else { unreachable!() };
        assert_eq!((fault.extent.start, fault.extent.length), (ROW.len() as u64 + 2, line.len() as u64));
        assert!(matches!(&all[2], Entry::Record(record) if record.origin.line == 4 && record.origin.row == 3));

        // The same rows as a document; its line ends do not belong to the rows.
        let member = line.trim_ascii();
        let text = [b"[", ROW.as_bytes(), b",\n\n", member, b" ,", ROW.as_bytes(), b"]"].concat();
        let all = entries("a.json", &text);
        if member != b"{\"a\":" {
            assert_eq!(all.len(), 3, "{reason}: {all:?}");
            assert_fault(&all[1], 3, member, if reason == "EOF" { "" } else { reason });
            assert!(matches!(&all[2], Entry::Record(record) if record.origin.line == 3));
        }
    }
}

#[test]
fn huge_lines_are_named_and_passed_over() {
    let huge = format!("{{\"prompt\": \"{}\"}}\n", "a".repeat(MAX_ROW_BYTES));
    for (name, text) in
        [("a.jsonl", format!("{ROW}\n{huge}{ROW}\n")), ("a.csv", format!("prompt,completion\na,b\n{huge}a,b\n"))]
    {
        let all = entries(name, &text);
        assert_eq!(all.len(), 3);
        let Entry::Fault(fault) = &all[1] else { panic!("no fault in {name}") };
        assert_eq!(fault.extent.length, huge.len() as u64);
        assert_eq!(&text[usize::try_from(fault.extent.start).expect("small")..][..12], "{\"prompt\": \"");
        assert!(fault.raw.len() < 2 << 20 && huge.as_bytes().starts_with(&fault.raw));
        assert!(fault.problem.to_string().contains("more than 67108864 bytes"));
        assert!(matches!(&all[2], Entry::Record(_)));
    }
    // Ten megabytes are a row.
    let large = format!("{{\"prompt\": \"{}\"}}\n", "ä".repeat(5 << 20));
    assert!(matches!(&entries("a.jsonl", &large)[..], [Entry::Record(_)]));
    assert!(matches!(&entries("a.json", format!("[{large}]"))[..], [Entry::Record(_)]));
    assert!(matches!(&entries("a.csv", format!("a\n\"{}\"\n", "x\n".repeat(5 << 20)))[..], [Entry::Record(_)]));
}

#[test]
fn a_document_is_read_as_far_as_its_brackets_match() {
    let rows = seen("a.json", format!("[{ROW}, {{\"a\": tru}}, , {ROW},]"));
    assert_eq!(rows.len(), 5);
    assert_eq!((&rows[0].1, &rows[3].1), (&good(), &good()));
    assert!(rows[1].1.as_str().is_some_and(|reason| reason.contains("line 1, character")), "{:?}", rows[1]);
    let all = entries("a.json", format!("[{ROW},\n{{\"a\": \"never closed}}, {ROW}]"));
    assert_fault(&all[1], 2, format!("{{\"a\": \"never closed}}, {ROW}]").as_bytes(), "bad JSON on line 2");
    assert_eq!(all.len(), 2);
    let all = entries("a.json", format!("[{ROW}\n{ROW}]"));
    assert_eq!(all.len(), 1, "the comma is missing: one value that is none");
    assert_fault(&all[0], 1, format!("{ROW}\n{ROW}").as_bytes(), "line 2, character 1: expected `,` or `]`");
    let all = entries("a.json", format!("[{ROW}] x"));
    assert_fault(&all[1], 1, b"x", "trailing characters");
    // Beside the list.
    let all = entries("a.json", format!("{{\"n\": 1e999, \"rows\": [{ROW}, {ROW}], \"z\": {{\"a\": 1, \"a\": 2}}}}"));
    assert_eq!(all.len(), 4);
    assert_fault(&all[0], 1, b"1e999", "out of range");
    assert_fault(&all[3], 1, b"{\"a\": 1, \"a\": 2}", "occurs twice");
    assert!(matches!(fuzz::entries("a.json", b"{\"a\": 1}"), Err(DataError::Shape { .. })));
    assert_eq!(entries("a.json", " \n").len(), 0);
}

#[test]
fn marked_encodings_are_read_and_others_are_faults() {
    let text = "{\"text\": \"aä€𝄞\"}\n{\"text\": \"b\"}\n";
    let wanted = [(1, json!({"text": "aä€𝄞"})), (2, json!({"text": "b"}))];
    let wide = |big: bool| -> Vec<u8> {
        let bytes = |unit: u16| if big { unit.to_be_bytes() } else { unit.to_le_bytes() };
        "\u{feff}".encode_utf16().chain(text.encode_utf16()).flat_map(bytes).collect()
    };
    let utf32: Vec<u8> =
        "\u{feff}".chars().chain(text.chars()).flat_map(|code| u32::from(code).to_le_bytes()).collect();
    for bytes in [text.into(), format!("\u{feff}{text}").into_bytes(), wide(false), wide(true), utf32] {
        assert_eq!(seen("a.jsonl", &bytes), wanted);
    }
    // A lone half of a pair breaks its line only.
    let mut broken = wide(false);
    let at = broken.windows(2).position(|pair| pair == [0x34, 0xD8]).expect("the pair of 𝄞");
    broken[at + 1] = 0x00;
    let rows = seen("a.jsonl", &broken);
    assert!(rows[0].1.as_str().is_some_and(|reason| reason.contains("not UTF-8")), "{rows:?}");
    assert_eq!(rows[1], wanted[1]);
    let latin = b"text\nok\ncaf\xE9\nok\n";
    let rows = seen("a.csv", latin);
    assert_eq!((rows.len(), &rows[2]), (3, &(4, json!({"text": "ok"}))));
    assert!(rows[1].1.as_str().is_some_and(|reason| reason.contains("0xE9")), "{rows:?}");
}

#[test]
fn tables_become_rows() {
    let wanted = [(2, json!({"prompt": "a, b", "completion": "c\nd"})), (4, json!({"prompt": "", "completion": "e"}))];
    for text in [
        "prompt,completion\n\"a, b\",\"c\nd\"\n,e\n",
        "\u{feff}prompt;completion\n\"a, b\";\"c\nd\"\n;e\n",
        "prompt\tcompletion\na, b\t\"c\nd\"\n\te",
    ] {
        assert_eq!(seen("a.csv", text), wanted, "{text:?}");
    }
    assert_eq!(seen("a.tsv", "a,b\tc\n1\t2\n"), [(2, json!({"a,b": "1", "c": "2"}))]);
    assert_eq!(seen("a.csv", "sep=;\r\na,b;c\r\n1;2\r\n"), [(3, json!({"a,b": "1", "c": "2"}))]);
    assert_eq!(seen("a.csv", "a,b\r1,2\r3,4\r"), [(2, json!({"a": "1", "b": "2"})), (3, json!({"a": "3", "b": "4"}))]);
    assert_eq!(seen("a.csv", ",text\n0,x\n"), [(2, json!({"column_1": "0", "text": "x"}))]);
    assert_eq!(seen("a.csv", "1,x\n2,y\n")[0], (1, json!({"column_1": "1", "column_2": "x"})), "no header");
    assert_eq!(seen("a.csv", "a,b\n").len(), 0);
    assert_eq!(seen("a.csv", "").len(), 0);
    let doubled = fuzz::entries("a.csv", b"a,a\n1,2\n").expect_err("two columns of one name");
    assert!(doubled.to_string().contains("the column `a` occurs twice"), "{doubled}");
    let set = read_as("a.csv", "prompt,completion\nx,y\n", FormatChoice::Auto).expect("rows for training");
    assert_eq!((set.rows.len(), set.rows[0].origin.line), (1, 2));
    let error = read_as("a.csv", "prompt,completion\nx\n", FormatChoice::Auto).expect_err("a row with one field");
    assert!(error.to_string().ends_with("a.csv:2: the row has 1 field, the first row has 2"), "{error}");
}

#[test]
fn the_header_can_be_settled_by_the_caller() {
    let folder = Folder::new();
    let path = folder.write("a.csv", "x,y\n1,2\n");
    for (header, first) in
        [(Some(false), json!({"column_1": "x", "column_2": "y"})), (Some(true), json!({"x": "1", "y": "2"}))]
    {
        let options = ReadOptions { header, ..ReadOptions::default() };
        let entry = open(&path, &options).expect("a file").next().expect("a row").expect("a row");
        assert!(matches!(entry, Entry::Record(record) if Value::Object(record.object.clone()) == first));
    }
}

#[test]
fn ragged_rows_and_open_quotes_cost_their_own_lines() {
    let all = entries("a.csv", "a,b\n1,2\n1,2,3\n\n4\n5,6\n");
    assert_eq!(all.len(), 4);
    assert_fault(&all[1], 3, b"1,2,3\n", "the row has 3 fields, the first row has 2");
    assert_fault(&all[2], 5, b"4\n", "the row has 1 field, the first row has 2");
    // The quote on line 3 is never closed.
    let all = entries("a.csv", "a,b\n1,2\n\"3,4\n5,6\n7,8\n");
    assert_eq!(all.len(), 4);
    assert_fault(&all[1], 3, b"\"3,4\n", "never closed");
    assert!(matches!(&all[3], Entry::Record(record) if record.origin.line == 5));
    // It is closed by the quote of a later row, where text follows.
    let all = entries("a.csv", "a,b\n\"1,2\n3,4\n5,\"6\"\n7,8\n");
    assert_eq!(all.len(), 4);
    assert_fault(&all[0], 2, b"\"1,2\n", "between the end of a quoted field and the delimiter");
    // However many there are, the work is bounded, and every line is in some row.
    let many = format!("a,b\n{}", "\"a\"b,\"c\n".repeat(50_000));
    let lines: usize = entries("a.csv", &many)
        .iter()
        .map(|entry| match entry {
            Entry::Fault(fault) => fault.raw.iter().filter(|&&byte| byte == b'\n').count(),
            Entry::Record(_) => panic!("a row"),
        })
        .sum();
    assert_eq!(lines, 50_000);
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    writer.write_all(bytes).expect("memory");
    writer.finish().expect("memory")
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).expect("memory")
}

#[test]
fn packed_files_are_unpacked_on_the_way() {
    let text = format!("{ROW}\n{ROW}\n");
    let folder = Folder::new();
    for (name, bytes) in [
        ("a.jsonl.gz", gzip(text.as_bytes())),
        ("b.jsonl.gz", [gzip(ROW.as_bytes()), gzip(b"\n"), gzip(ROW.as_bytes())].concat()),
        ("c.JSONL.zst", zstd(text.as_bytes())),
        ("d.ndjson.zst", [zstd(ROW.as_bytes()), zstd(b"\n"), zstd(ROW.as_bytes())].concat()),
        ("e.json.gz", gzip(format!("[{ROW},{ROW}]").as_bytes())),
        ("f.csv.gz", gzip(b"prompt,completion\na,b\na,b\n")),
    ] {
        let path = folder.write(name, &bytes);
        let set = attune_data::read(std::slice::from_ref(&path), FormatChoice::Auto)
            .unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(set.rows.len(), 2, "{name}");
        assert_eq!(set.files[0].bytes, bytes.len() as u64, "the size is that of the file as it is");
        assert_eq!(set.files[0].hash, blake3::hash(&bytes).to_hex().to_string());
    }
    // Cut off: the rows before come, then the error.
    let cut = gzip("{\"text\": \"some text\"}\n".repeat(10_000).as_bytes());
    let path = folder.write("cut.jsonl.gz", &cut[..cut.len() - 9]);
    let mut records = open(&path, &ReadOptions::default()).expect("a good head");
    let last = records.by_ref().last().expect("entries");
    assert!(matches!(&last, Err(DataError::Damaged { .. })), "{last:?}");
    assert!(records.next().is_none());
    let bad = fuzz::entries("a.jsonl.zst", b"no zstd at all").expect_err("no zstd");
    assert!(matches!(bad, DataError::Damaged { .. }), "{bad}");
}

#[test]
fn what_unpacks_beyond_all_measure_is_refused() {
    let blank = vec![b' '; 64 << 20];
    for (name, bytes) in [("a.json.gz", gzip(&blank)), ("a.txt.zst", zstd(&blank)), ("a.parquet.zst", zstd(&blank))] {
        let error = fuzz::entries(name, &bytes).expect_err("64 MiB from a few kB");
        assert!(matches!(error, DataError::Expansion { .. }), "{name}: {error}");
    }
}

/// A schema that nests a hundred thousand levels must not exhaust the stack.
#[test]
fn deep_schemas_are_refused() {
    let levels = 100_000u32;
    // Thrift: version 2, then a list of schema elements, each named `g` with one child, and a leaf.
    let mut footer = vec![0x15, 0x04, 0x19, 0xFC];
    let mut count = levels + 1;
    while count >= 0x80 {
        footer.push((count & 0x7F) as u8 | 0x80);
        count >>= 7;
    }
    footer.push(count as u8);
    for _ in 0..levels {
        footer.extend([0x48, 1, b'g', 0x15, 2, 0]);
    }
    footer.extend([0x15, 2, 0x38, 1, b'x', 0, 0x16, 0, 0x19, 0x0C, 0]);
    let length = u32::try_from(footer.len()).expect("small").to_le_bytes();
    let error = fuzz::entries("a.parquet", &[b"PAR1", &footer[..], &length, b"PAR1"].concat()).expect_err("too deep");
    assert!(matches!(&error, DataError::Unsupported { .. }) && error.to_string().contains("100 levels"), "{error}");
}

#[test]
fn a_document_is_one_row() {
    let vtt = "WEBVTT\nLanguage: en\n\n00:01.000 --> 00:03.500\n<v Ada>Numbers &amp; music.</v>\n";
    let rows = seen("a.vtt", vtt);
    assert_eq!(
        rows[0].1["segments"],
        json!([{"start": 1.0, "end": 3.5, "speaker": "Ada", "text": "Numbers & music."}])
    );
    assert_eq!((&rows[0].1["text"], &rows[0].1["source"]), (&json!("Numbers & music."), &json!("a.vtt")));
    let rows = seen("talk.srt", "1\n00:00:01,000 --> 00:00:02,000\nHello\n");
    assert_eq!(rows[0].1["segments"], json!([{"start": 1.0, "end": 2.0, "text": "Hello"}]));
    assert_eq!(seen("a.txt", "Some text.\n")[0], (1, json!({"text": "Some text.", "source": "a.txt"})));
    let rows = seen("a.md", "# Head\n\nSome *text*.\n");
    assert!(rows[0].1["text"].as_str().is_some_and(|text| text.contains("Some text.")), "{rows:?}");
    assert_eq!(seen("a.txt", " \n").len(), 0);
    let all = entries("a.vtt", "no captions");
    assert!(matches!(&all[..], [Entry::Fault(fault)] if fault.raw == b"no captions"), "{all:?}");
    assert!(matches!(&entries("a.txt", b"caf\xE9")[..], [Entry::Fault(_)]));
    assert!(matches!(&entries("a.html", "plain")[..], [Entry::Fault(_)]));
}

#[test]
fn files_are_read_again_with_the_same_result_and_progress_is_told() {
    let folder = Folder::new();
    let path = folder.write("a.jsonl", format!("{ROW}\n").repeat(50_000));
    let read = || {
        let mut records = open(&path, &ReadOptions::default()).expect("a file");
        let mut last = 0;
        let mut all = Vec::new();
        while let Some(entry) = records.next() {
            assert!(records.bytes_read() >= last);
            last = records.bytes_read();
            all.push(entry.expect("a row"));
        }
        assert_eq!((Some(last), records.facts().bytes), (records.total_bytes(), last));
        assert!(records.next().is_none());
        (all, records.facts())
    };
    let first = read();
    assert_eq!(first.0.len(), 50_000);
    assert_eq!(first.1.hash, blake3::hash(format!("{ROW}\n").repeat(50_000).as_bytes()).to_hex().to_string());
    assert!(first == read());
    assert!(matches!(open(Path::new("none.jsonl"), &ReadOptions::default()), Err(DataError::NotFound { .. })));
}

/// Everything at once, in one file.
#[test]
fn a_hostile_file_loses_no_row() {
    let mut lines: Vec<Vec<u8>> = Vec::new();
    for round in 0..200 {
        lines.push(ROW.into());
        lines.push(format!("{{\"a\": {}1{}}}", "[".repeat(round), "]".repeat(round)).into_bytes());
        lines.push(vec![b'"'; round + 1]);
        lines.push((0..=255u8).filter(|&byte| byte != b'\n').collect());
        lines.push(b"{\"a\": NaN, \"b\": Infinity}".to_vec());
        lines.push(b"{\"a\": null, \"a\": null}".to_vec());
        lines.push("{\"a\": \"\u{feff}\u{202e}\u{0}\"}".into());
    }
    lines.push(format!("{{\"a\": \"{}\"}}", "x".repeat(10_000_000)).into_bytes());
    lines.push(format!("{{\"a\": \"{}", "\\\"".repeat(5_000_000)).into_bytes());
    lines.push(b"{\"a\":".repeat(2_000_000));
    let outcome = fuzz::fuzz_json_lines(&lines.join(&b'\n'));
    assert_eq!(outcome.records + outcome.faults, lines.len());
    assert!(outcome.records > 200 && outcome.faults > 800, "{outcome:?}");
    fuzz::fuzz_json(&[b"[", lines.join(&b",\n"[..]).as_slice(), b"]"].concat());
    fuzz::fuzz_csv(&lines.join(&b'\n'));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// What the usual writer of tables writes is read as it was.
    #[test]
    fn written_tables_are_read(
        rows in prop::collection::vec(prop::collection::vec("[ -~äß€\\n\\r\",;]{0,12}", 3), 1..20),
        delimiter in prop::sample::select(&b",;\t|"[..]),
    ) {
        let mut writer = csv::WriterBuilder::new().delimiter(delimiter).quote_style(csv::QuoteStyle::Always).from_writer(Vec::new());
        writer.write_record(["first", "second", "third"]).expect("memory");
        for row in &rows {
            writer.write_record(row).expect("memory");
        }
        let text = writer.into_inner().expect("memory");
        let wanted: Vec<Value> =
            rows.iter().map(|row| json!({"first": row[0], "second": row[1], "third": row[2]})).collect();
        let found: Vec<Value> = seen("a.csv", text).into_iter().map(|(_, row)| row).collect();
        prop_assert_eq!(found, wanted);
    }

    #[test]
    fn any_bytes_are_taken(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        fuzz::fuzz_json_lines(&bytes);
        fuzz::fuzz_json(&bytes);
        fuzz::fuzz_csv(&bytes);
        fuzz::fuzz_parquet(&bytes);
        fuzz::fuzz_packed(&bytes);
    }
}

#[test]
fn problems_have_words() {
    let all = entries("a.jsonl", "{\"a\" 1}");
    let Entry::Fault(fault) = &all[0] else { panic!("no fault") };
    assert!(matches!(&fault.problem, RowProblem::Unreadable { .. }));
    assert_eq!(fault.problem.to_string(), "bad JSON on line 1, character 6: expected `:`");
}
