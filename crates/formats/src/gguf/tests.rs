//! Round trips, one negative test for each rule, mutated files, and a real file.
#![allow(clippy::disallowed_methods, reason = "tests write where they like")]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

fn scratch() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("model.gguf");
    (dir, path)
}

fn planned(name: &str, shape: &[usize], kind: GgmlType) -> PlannedTensor {
    PlannedTensor { name: name.into(), shape: shape.into(), kind }
}

fn every_kind() -> Vec<(String, Value)> {
    let values = vec![
        Value::U8(1),
        Value::I8(-1),
        Value::U16(2),
        Value::I16(-2),
        Value::U32(3),
        Value::I32(-3),
        Value::F32(0.1),
        Value::Bool(true),
        Value::Text("ü\u{0}".into()),
        Value::U64(u64::MAX),
        Value::I64(i64::MIN),
        Value::F64(1e-300),
        Value::List(List::U8(vec![1, 2])),
        Value::List(List::I8(vec![-1])),
        Value::List(List::U16(vec![3])),
        Value::List(List::I16(vec![-3])),
        Value::List(List::U32(vec![4])),
        Value::List(List::I32(vec![-4])),
        Value::List(List::F32(vec![0.5])),
        Value::List(List::Bool(vec![true, false])),
        Value::List(List::Text(vec!["a".into(), String::new()])),
        Value::List(List::Lists(vec![List::U8(vec![]), List::F64(vec![2.0])])),
        Value::List(List::U64(vec![5])),
        Value::List(List::I64(vec![-5])),
    ];
    values.into_iter().enumerate().map(|(at, value)| (format!("k.{at}"), value)).collect()
}

/// A small file with everything in it.
fn sample() -> Vec<u8> {
    let (_dir, path) = scratch();
    let tensors = [
        planned("a.weight", &[2, 32], GgmlType::Q8_0),
        planned("b.weight", &[3], GgmlType::F32),
        planned("c.weight", &[2, 1, 256], GgmlType::Q4_K),
    ];
    write_file(&path, &every_kind(), &tensors, &mut |index, out| {
        out.write_all(&vec![index as u8 + 1; tensors[index].size_bytes()])
    })
    .expect("a file");
    std::fs::read(&path).expect("a file")
}

fn open(bytes: &[u8]) -> Result<GgufFile, GgufError> {
    let (_dir, path) = scratch();
    std::fs::write(&path, bytes).expect("a file");
    GgufFile::open(&path)
}

#[track_caller]
fn broken(bytes: &[u8], expected: u8, part: &str) {
    match open(bytes) {
        Err(error @ GgufError::Broken { rule, .. }) => {
            assert_eq!(rule, expected, "{error}");
            assert!(error.to_string().contains(part), "{error}");
            assert!(error.hint().is_some());
        }
        other => panic!("rule {expected}: {:?}", other.map(|file| file.tensors().len())),
    }
}

#[test]
fn what_is_written_is_read_back() {
    let file = open(&sample()).expect("a file");
    assert_eq!(file.metadata(), every_kind());
    let shapes: Vec<(&str, &[usize])> =
        file.tensors().iter().map(|tensor| (tensor.name.as_str(), tensor.shape.as_slice())).collect();
    assert_eq!(shapes, [("a.weight", &[2_usize, 32][..]), ("b.weight", &[3]), ("c.weight", &[2, 1, 256])]);
    for (index, tensor) in file.tensors().iter().enumerate() {
        assert!(tensor.bytes().iter().all(|&byte| byte == index as u8 + 1), "{}", tensor.name);
    }
    assert_eq!(file.tensor("c.weight").map(|tensor| tensor.bytes().len()), Some(288));
    assert_eq!((file.u64("k.4").ok(), file.text("k.8").ok()), (Some(3), Some("ü\u{0}")));
    assert!(matches!(file.u64("k.8"), Err(GgufError::KeyKind { got, .. }) if got == "a text"));
    assert!(matches!(file.text("none"), Err(GgufError::MissingKey { .. })));
}

/// A head by hand: version, tensors, pairs, and the bytes behind them.
fn head(tensors: u64, pairs: u64, rest: &[u8]) -> Vec<u8> {
    let mut bytes = b"GGUF\x03\0\0\0".to_vec();
    bytes.extend(tensors.to_le_bytes());
    bytes.extend(pairs.to_le_bytes());
    bytes.extend(rest);
    bytes
}

fn text(text: &[u8]) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text].concat()
}

fn pair(key: &[u8], kind: u32, value: &[u8]) -> Vec<u8> {
    [&text(key), &kind.to_le_bytes()[..], value].concat()
}

fn info(name: &[u8], dimensions: &[u64], kind: u32, offset: u64) -> Vec<u8> {
    let mut bytes = text(name);
    bytes.extend((dimensions.len() as u32).to_le_bytes());
    bytes.extend(dimensions.iter().flat_map(|size| size.to_le_bytes()));
    bytes.extend(kind.to_le_bytes());
    bytes.extend(offset.to_le_bytes());
    bytes
}

/// A file with these tensors and 4096 bytes of data.
fn with_tensors(infos: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = head(infos.len() as u64, 0, &infos.concat());
    bytes.resize(bytes.len().next_multiple_of(32) + 4096, 0);
    bytes
}

#[test]
fn rule_1_magic() {
    broken(b"GGML", 1, "does not begin");
    broken(b"GG", 1, "does not begin");
    broken(b"", 1, "does not begin");
}

#[test]
fn rule_2_version() {
    for (version, part) in [(1_u32, "version 1"), (4, "version 4"), (3_u32.swap_bytes(), "big-endian")] {
        let bytes = [&b"GGUF"[..], &version.to_le_bytes(), &[0; 16]].concat();
        broken(&bytes, 2, part);
    }
}

#[test]
fn rule_3_cut_anywhere() {
    let whole = sample();
    let file = open(&whole).expect("a file");
    let data_start = file.tensors()[0].shared().1.start;
    for length in 4..whole.len() {
        match open(&whole[..length]) {
            Err(GgufError::Broken { rule: 3 | 4, .. }) if length < data_start => {}
            Err(GgufError::Broken { rule: 10, .. }) => {}
            // The filling behind the last tensor may be missing.
            Ok(_) if length >= file.tensors()[2].shared().1.end => {}
            other => panic!("{length} of {}: {:?}", whole.len(), other.map(|_| ())),
        }
    }
    broken(b"GGUF\x03\0", 3, "inside of its head");
}

#[test]
fn rule_4_counts() {
    broken(&head(u64::MAX, 0, &[]), 4, "tensors");
    broken(&head(0, u64::MAX / 2, &[]), 4, "keys");
    broken(&head(0, 1, &pair(b"a", 8, &u64::MAX.to_le_bytes())), 4, "bytes of a text");
    let list = [&8_u32.to_le_bytes()[..], &(1_u64 << 40).to_le_bytes()].concat();
    broken(&head(0, 1, &pair(b"a", 9, &list)), 4, "elements of a");
}

#[test]
fn rule_5_keys() {
    broken(&head(0, 1, &pair(b"\xff", 0, &[1])), 5, "not UTF-8");
    broken(&head(0, 1, &pair(b"", 0, &[1; 9])), 5, "is no key");
    broken(&head(0, 1, &pair(b"a\nb", 0, &[1])), 5, "is no key");
    let twice = [pair(b"a", 0, &[1]), pair(b"a", 0, &[2])].concat();
    broken(&head(0, 2, &twice), 5, "twice");
}

#[test]
fn rule_6_values() {
    broken(&head(0, 1, &pair(b"a", 13, &[0; 8])), 6, "kind 13");
    broken(&head(0, 1, &pair(b"a", 7, &[2])), 6, "neither true nor false");
    broken(&head(0, 1, &pair(b"a", 8, &text(b"\xc3"))), 6, "not UTF-8");
    let mut nested = Vec::new();
    for _ in 0..9 {
        nested.extend(9_u32.to_le_bytes());
        nested.extend(1_u64.to_le_bytes());
    }
    broken(&head(0, 1, &pair(b"a", 9, &nested)), 6, "deep");
}

#[test]
fn rule_7_alignment() {
    for alignment in [0_u32, 4, 24, 1 << 30] {
        broken(&head(0, 1, &pair(b"general.alignment", 4, &alignment.to_le_bytes())), 7, "power of two");
    }
    broken(&head(0, 1, &pair(b"general.alignment", 6, &32_f32.to_le_bytes())), 7, "power of two");
    assert!(open(&head(0, 1, &pair(b"general.alignment", 4, &64_u32.to_le_bytes()))).is_ok());
}

#[test]
fn rule_8_names() {
    broken(&with_tensors(&[info(b"", &[1], 0, 0)]), 8, "0 bytes");
    broken(&with_tensors(&[info(&[b'a'; 65], &[1], 0, 0)]), 8, "65 bytes");
    broken(&with_tensors(&[info(b"\xff", &[1], 0, 0)]), 8, "not UTF-8");
    broken(&with_tensors(&[info(b"a", &[1], 0, 0), info(b"a", &[1], 0, 32)]), 8, "named twice");
}

#[test]
fn rule_9_shapes_and_types() {
    broken(&with_tensors(&[info(b"a", &[], 0, 0)]), 9, "0 dimensions");
    broken(&with_tensors(&[info(b"a", &[1; 5], 0, 0)]), 9, "5 dimensions");
    broken(&with_tensors(&[info(b"a", &[4, 0], 0, 0)]), 9, "impossible");
    broken(&with_tensors(&[info(b"a", &[33], 8, 0)]), 9, "no whole number of Q8_0 blocks");
    broken(&with_tensors(&[info(b"a", &[32], 4, 0)]), 9, "type 4 is not known");
    broken(&with_tensors(&[info(b"a", &[u64::MAX, u64::MAX], 0, 0)]), 9, "more than any memory");
}

#[test]
fn rule_10_offsets() {
    broken(&with_tensors(&[info(b"a", &[1], 0, 8)]), 10, "no multiple of the alignment");
    broken(&with_tensors(&[info(b"a", &[1], 0, 4096)]), 10, "end after");
    broken(&with_tensors(&[info(b"a", &[2048], 0, 0)]), 10, "end after");
    broken(&with_tensors(&[info(b"a", &[1], 0, u64::MAX - 31)]), 10, "end after");
}

#[test]
fn rule_11_overlaps() {
    broken(&with_tensors(&[info(b"a", &[16], 0, 0), info(b"b", &[1], 0, 32)]), 11, "a and b overlap");
    assert!(open(&with_tensors(&[info(b"a", &[1], 0, 32), info(b"b", &[8], 0, 0)])).is_ok(), "order is free");
}

#[test]
fn mutated_files_never_panic() {
    let whole = sample();
    let secs = std::env::var("ATTUNE_FUZZ_SECS").ok().and_then(|secs| secs.parse().ok()).unwrap_or(2);
    let end = Instant::now() + Duration::from_secs(secs);
    let path = Path::new("model.gguf");
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let mut accepted = 0_u64;
    let mut runs = 0_u64;
    while Instant::now() < end {
        for _ in 0..100 {
            let mut bytes = whole.clone();
            for _ in 0..=next(4) {
                let at = next(bytes.len());
                match next(4) {
                    0 => bytes[at] = next(256) as u8,
                    1 => bytes[at] ^= 1 << next(8),
                    2 => bytes.truncate(at.max(1)),
                    _ => bytes[at..].iter_mut().take(8).for_each(|byte| *byte = 0xff),
                }
            }
            runs += 1;
            if let Ok(head) = read::parse(path, &bytes) {
                accepted += 1;
                assert!(head.tensors.iter().all(|tensor| tensor.range.end <= bytes.len()));
            }
        }
    }
    assert!(accepted > 0 && accepted < runs, "{accepted} of {runs}");
}

proptest! {
    #[test]
    fn any_tensors_come_back(sizes in prop::collection::vec((1_usize..5, 1_usize..4, 0_usize..GgmlType::ALL.len()), 0..6)) {
        let (_dir, path) = scratch();
        let tensors: Vec<PlannedTensor> = sizes
            .iter()
            .enumerate()
            .map(|(at, &(rows, blocks, kind))| {
                let kind = GgmlType::ALL[kind];
                planned(&format!("t{at}"), &[rows, blocks * kind.block_len()], kind)
            })
            .collect();
        let bytes = |index: usize| (0..tensors[index].size_bytes()).map(|at| (at * 7 + index) as u8).collect::<Vec<u8>>();
        write_file(&path, &[], &tensors, &mut |index, out| out.write_all(&bytes(index))).expect("a file");
        let file = GgufFile::open(&path).expect("the file opens");
        prop_assert_eq!(file.tensors().len(), tensors.len());
        for (index, (read, written)) in file.tensors().iter().zip(&tensors).enumerate() {
            prop_assert_eq!((&read.name, &read.shape, read.kind), (&written.name, &written.shape, written.kind));
            prop_assert_eq!(read.bytes(), bytes(index));
        }
    }
}

/// A complete file of another writer.
#[test]
fn a_real_file_is_read() {
    let root = std::env::var_os("ATTUNE_SHARED")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared")), PathBuf::from);
    let path = root.join("assets/formats/gguf-random-llama2/llama-2-tiny-random.gguf");
    if !path.exists() {
        #[allow(clippy::print_stdout, reason = "the suite counts such lines")]
        {
            println!("SKIPPED: {} is absent; set ATTUNE_SHARED", path.display());
        }
        return;
    }
    let file = GgufFile::open(&path).expect("the file opens");
    assert_eq!(file.text("general.architecture").ok(), Some("llama"));
    let tokens = file.optional_texts("tokenizer.ggml.tokens").expect("a list").expect("tokens");
    let embedding = file.tensor("token_embd.weight").expect("an embedding");
    assert_eq!(embedding.shape[0], tokens.len());
    for tensor in file.tensors() {
        assert!(names::to_hugging_face(&tensor.name).is_some(), "{}", tensor.name);
    }
}
