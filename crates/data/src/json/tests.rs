use std::path::PathBuf;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::record::fault::checked_text;

fn fault(text: &str) -> (JsonFault, (usize, usize), String) {
    let error = parse(text).expect_err("bad JSON");
    (error.fault, position(text, error.offset), error.reason)
}

/// The files of JSONTestSuite: `y_` must be read, `n_` must be refused, `i_` may be either.
#[test]
fn the_json_test_suite_is_followed() {
    let shared = std::env::var_os("ATTUNE_SHARED")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared")), PathBuf::from);
    let folder = shared.join("assets/suites/JSONTestSuite/test_parsing");
    if !folder.is_dir() {
        println!("SKIPPED: no JSONTestSuite in {}", folder.display());
        return;
    }
    // Refused on purpose, although the grammar allows them.
    let doubled = ["y_object_duplicated_key.json", "y_object_duplicated_key_and_value.json"];
    let (mut counts, mut refused_doubled) = ([0usize; 3], 0);
    for entry in std::fs::read_dir(&folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().and_then(|name| name.to_str()).expect("a plain name").to_owned();
        let bytes = std::fs::read(&path).expect("a file");
        let read = checked_text(bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&bytes), 1)
            .map_err(|cause| format!("{cause:?}"))
            .and_then(|text| parse(text).map_err(|error| format!("{error:?}")));
        if doubled.contains(&name.as_str()) {
            let reason = read.expect_err("a doubled key");
            assert!(reason.contains("DoubledKey"), "{name}: {reason}");
            refused_doubled += 1;
            continue;
        }
        match &name[..2] {
            "y_" => {
                counts[0] += 1;
                assert!(read.is_ok(), "{name} is good JSON: {read:?}");
            }
            "n_" => {
                counts[1] += 1;
                assert!(read.is_err(), "{name} is bad JSON, but gave {read:?}");
            }
            "i_" => counts[2] += 1,
            other => panic!("unknown kind of file: {other}"),
        }
    }
    assert_eq!((counts, refused_doubled), ([93, 188, 35], 2));
}

#[test]
fn doubled_keys_are_refused_at_every_depth() {
    let (kind, (line, column), reason) = fault("{\"a\": 1,\n \"b\": [{\"c\": 1, \"c\": 1}]}");
    assert_eq!((kind, line), (JsonFault::DoubledKey, 2));
    assert!((18..=20).contains(&column), "column {column} should be at the second key");
    assert_eq!(reason, "the key `c` occurs twice in one object");
    // Written differently, read the same.
    assert_eq!(fault(r#"{"a": 1, "\u0061": 2}"#).0, JsonFault::DoubledKey);
    assert!(parse(r#"{"a": {"a": 1}, "b": {"a": 1}}"#).is_ok());
    assert_eq!(object_members(r#"{"a": 1, "a": 2}"#).expect_err("doubled").fault, JsonFault::DoubledKey);
}

#[test]
fn integers_that_would_lose_digits_are_refused() {
    let (kind, place, _) = fault("{\"text\": \"123456789012345678901234\",\n\"id\": 123456789012345678901234}");
    assert_eq!((kind, place), (JsonFault::OversizedInteger, (2, 7)));
    assert_eq!(fault("-9223372036854775809").0, JsonFault::OversizedInteger);
    assert_eq!(fault(r#"["\"\\", 18446744073709551616]"#).1, (1, 10));
    for good in ["18446744073709551615", "-9223372036854775808", "6.02e23", "1E22", "123456789012345678901234.5"] {
        assert!(parse(good).is_ok(), "{good}");
    }
    assert_eq!(parse("0.1").expect("a number"), json!(0.1));
}

#[test]
fn errors_name_the_place_in_characters() {
    assert_eq!(fault("{\n  \"ä\": \"ö\" x\n}").1, (2, 12));
    assert_eq!(fault("[1,\n2,\n").1, (3, 1));
    let (kind, place, reason) = fault("{\"a\": 1} {\"b\": 2}");
    assert_eq!((kind, place, reason.as_str()), (JsonFault::TrailingText, (1, 10), "trailing characters"));
    assert_eq!(fault("{\"a\": \"b").0, JsonFault::EndsEarly);
    assert_eq!(fault("").0, JsonFault::EndsEarly);
    assert_eq!(fault("{'a': 1}").1, (1, 2));
    assert_eq!(fault("[NaN]").0, JsonFault::Syntax);
}

#[test]
fn nesting_is_bounded() {
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    assert!(parse(&nested(127)).is_ok());
    assert_eq!(fault(&nested(200)).2, "nested deeper than 128 levels");
    assert!(parse(&"[".repeat(1_000_000)).is_err());
    assert!(parse(&"{\"a\":".repeat(1_000_000)).is_err());
}

#[test]
fn members_are_pieces_of_the_text() {
    assert_eq!(
        object_members("{\"a\": [1, 2], \"b\": \"]\"}").expect("an object"),
        [("a".to_owned(), "[1, 2]"), ("b".to_owned(), "\"]\"")]
    );
}

/// JSON of any shape, without numbers that print differently from how they were written.
fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_filter("JSON has no such number", |x| x.is_finite()).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..8)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read(value in any_value()) {
        prop_assert_eq!(parse(&value.to_string()), Ok(value.clone()));
        let pretty = serde_json::to_string_pretty(&value).expect("JSON");
        prop_assert_eq!(parse(&pretty), Ok(value));
    }

    #[test]
    fn no_text_panics(text in ".*") {
        if let Err(error) = parse(&text) {
            prop_assert!(error.offset <= text.len());
            let (line, column) = position(&text, error.offset);
            prop_assert!(line >= 1 && column >= 1);
        }
        let _ = object_members(&text);
    }

    /// Damaged JSON reaches further into the parser than random text.
    #[test]
    fn no_damage_panics(value in any_value(), at in any::<prop::sample::Index>(), with in "[\\[\\]{}\",:0-9eE.+\\-\\\\ u]{0,3}") {
        let text = value.to_string();
        let mut cut = at.index(text.len() + 1);
        while !text.is_char_boundary(cut) {
            cut -= 1;
        }
        let damaged = format!("{}{with}{}", &text[..cut], text[cut..].chars().skip(1).collect::<String>());
        if let Err(error) = parse(&damaged) {
            prop_assert!(error.offset <= damaged.len());
        }
        let _ = object_members(&damaged);
    }
}
