//! Evaluation files, and sets by name.
#![allow(clippy::disallowed_methods, reason = "test files need no safe writing")]

use std::io::Write;
use std::path::{Path, PathBuf};

use attune_overlap::contamination::{Error, find_by_name, load_eval_file, load_eval_files};

fn write(folder: &Path, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    std::fs::write(&path, bytes).expect("a written file");
    path
}

const LINES: &str =
    "{\"question\":\"One?\",\"answer\":\"1\"}\n\n{\"question\":\"Two?\",\"answer\":\"2\",\"id\":\"b\"}\n";

#[test]
fn jsonl_json_and_packed_files_are_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    let plain = load_eval_file(&write(folder.path(), "set.jsonl", LINES)).expect("a set");
    assert_eq!((&plain.name[..], plain.rows.len()), ("set", 2));
    assert_eq!((&plain.rows[0].id[..], &plain.rows[1].id[..]), ("row 1", "b"));
    let list = "[{\"question\":\"One?\",\"answer\":\"1\"},\n {\"question\":\"Two?\",\"answer\":\"2\",\"id\":\"b\"}]";
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(LINES.as_bytes()).expect("packed");
    let gzip = gzip.finish().expect("packed");
    // Two packed parts one after the other are one file.
    let (half, _) = LINES.split_at(LINES.find("{\"question\":\"Two").expect("the second"));
    let mut parts = Vec::new();
    for part in [half, &LINES[half.len()..]] {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(part.as_bytes()).expect("packed");
        parts.extend(packed.finish().expect("packed"));
    }
    let zstd = ruzstd::encoding::compress_to_vec(LINES.as_bytes(), ruzstd::encoding::CompressionLevel::Fastest);
    // A frame without data before, and the text as two frames.
    let mut frames = vec![0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 9, 9, 9];
    for part in [half, &LINES[half.len()..]] {
        frames.extend(ruzstd::encoding::compress_to_vec(part.as_bytes(), ruzstd::encoding::CompressionLevel::Fastest));
    }
    for (name, bytes) in [
        ("set.json", list.as_bytes().to_vec()),
        ("set.JSONL.gz", gzip.clone()),
        ("set.jsonl.gz", parts),
        ("set.jsonl.zst", zstd),
        ("set.ndjson", frames),
        ("set.data", gzip),
        ("set.mark.jsonl", [b"\xef\xbb\xbf", LINES.as_bytes()].concat()),
        ("set.rows.json", format!("{{\"version\":1,\"data\":{list}}}").into_bytes()),
    ] {
        let set = load_eval_file(&write(folder.path(), name, bytes)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(set.rows, plain.rows, "{name}");
    }
    let both =
        load_eval_files("both", &[folder.path().join("set.jsonl"), folder.path().join("set.json")]).expect("a set");
    assert_eq!((&both.name[..], both.rows.len()), ("both", 4));
}

#[test]
fn nested_articles_are_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let json = r#"{"version":"v2.0","data":[{"title":"T","paragraphs":[
        {"context":"P","qas":[{"id":"x","question":"Q","answers":[{"text":"A","answer_start":0}]},{"id":"y","question":"R","answers":[]}]},
        {"context":"S","qas":[]}]}]}"#;
    let set = load_eval_file(&write(folder.path(), "squad.json", json)).expect("a set");
    let row = |at: usize| {
        let row = &set.rows[at];
        (&row.id[..], &row.question[..], row.answer.as_deref(), row.passage.as_deref())
    };
    assert_eq!(set.rows.len(), 2);
    assert_eq!(row(0), ("x", "Q", Some("A"), Some("P")));
    assert_eq!(row(1), ("y", "R", None, Some("P")));
    let broken = json.replace("\"question\":\"R\"", "\"q\":\"R\"");
    let error = load_eval_file(&write(folder.path(), "broken.json", broken)).expect_err("an error");
    assert!(matches!(error, Error::Row { row: 2, .. }), "{error}");
}

#[test]
fn errors_name_the_row_or_the_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let error = |name: &str, bytes: &[u8]| load_eval_file(&write(folder.path(), name, bytes)).expect_err("an error");
    let row = error("a.jsonl", b"{\"question\":\"Q\"}\n{\"q\":\"Q\"}\n");
    assert!(matches!(row, Error::Row { row: 2, .. }), "{row}");
    assert!(row.to_string().ends_with("a.jsonl: row 2: no question: the row has `q`"), "{row}");
    assert!(row.hint().is_some_and(|hint| hint.contains("`problem`/`solution`")));
    assert!(matches!(error("b.jsonl", b"{\"question\":\"\"}\n"), Error::Row { row: 1, .. }));
    assert!(matches!(error("c.jsonl", b"{\"question\":\"Q\"}\n{\"question\"\n"), Error::Syntax { line: 2 | 3, .. }));
    assert!(matches!(
        error("d.jsonl", b"{\"question\":\"Q\"}\n{\"question\":\"\xff\"}\n"),
        Error::Syntax { line: 2, .. }
    ));
    assert!(matches!(error("e.jsonl", b"\n \n"), Error::Empty { .. }));
    assert!(matches!(error("f.json", b"[1, 2]"), Error::Row { row: 1, .. }));
    assert!(matches!(error("g.jsonl.gz", &[0x1f, 0x8b, 8, 0, 1, 2, 3]), Error::Read { .. }));
    assert!(matches!(error("h.jsonl.zst", &[0x28, 0xb5, 0x2f, 0xfd, 1]), Error::Read { .. }));
    assert!(matches!(error("i.jsonl.zst", &[0x50, 0x2a, 0x4d, 0x18, 9, 0, 0, 0, 1]), Error::Read { .. }));
    assert!(matches!(load_eval_file(&folder.path().join("none.jsonl")), Err(Error::Read { .. })));
}

#[test]
fn sets_are_found_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in [
        "gsm8k_test-1.jsonl.gz",
        "GSM8K_train.jsonl",
        "gsm8k_platinum.jsonl",
        "mmlu_test-10.jsonl",
        "mmlu_test-2.jsonl",
        "mmlu_pro.json",
        "notes.txt",
        "arc/test.jsonl",
        "arc/arc_validation.jsonl",
        "arc/readme.md",
    ] {
        write(folder.path(), name, "");
    }
    let find = |name: &str| -> Vec<String> {
        let found = find_by_name(folder.path(), name).unwrap_or_else(|error| panic!("{name}: {error}"));
        found.iter().map(|path| path.strip_prefix(folder.path()).expect("inside").display().to_string()).collect()
    };
    assert_eq!(find("gsm8k"), ["gsm8k_test-1.jsonl.gz", "GSM8K_train.jsonl"]);
    assert_eq!(find("GSM8K-test"), ["gsm8k_test-1.jsonl.gz"]);
    assert_eq!(find("mmlu"), ["mmlu_test-2.jsonl", "mmlu_test-10.jsonl"]);
    assert_eq!(find("mmlu pro"), ["mmlu_pro.json"]);
    assert_eq!(find("arc"), ["arc/test.jsonl", "arc/arc_validation.jsonl"]);
    let near = |name: &str| match find_by_name(folder.path(), name) {
        Err(error @ Error::NotFound { .. }) => (error.to_string(), error.hint().unwrap_or_default()),
        other => panic!("{name}: {other:?}"),
    };
    let (words, hint) = near("gsm8");
    assert!(words.contains("no evaluation set `gsm8`"), "{words}");
    assert!(hint.starts_with("there is `"), "{hint}");
    assert!(hint.contains("gsm8k_test-1.jsonl.gz") && !hint.contains("notes"), "{hint}");
    assert!(near("platinum").1.contains("gsm8k_platinum.jsonl"));
    assert_eq!(near("xyzzy").1, "");
    assert!(near("").1.is_empty());
    let empty = tempfile::tempdir().expect("a folder");
    let error = find_by_name(empty.path(), "gsm8k").expect_err("nothing there");
    assert!(error.hint().expect("a hint").contains("no .jsonl or .json file"));
    assert!(matches!(find_by_name(&folder.path().join("none"), "gsm8k"), Err(Error::Read { .. })));
}
