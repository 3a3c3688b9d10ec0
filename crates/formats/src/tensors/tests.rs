#![expect(clippy::disallowed_methods, reason = "tests damage files on purpose")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use crate::files::{DirWriter, FileError};

/// A file of the given header and data.
fn file_bytes(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

fn parse(bytes: &[u8]) -> Result<Vec<header::Entry>, TensorError> {
    header::parse(Path::new("x.safetensors"), bytes).map(|header| header.entries)
}

fn f32_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn save(dir: &Path, name: &str, tensors: &[(&str, &[f32])]) {
    let shapes: Vec<[usize; 1]> = tensors.iter().map(|(_, data)| [data.len()]).collect();
    let views: Vec<TensorView<'_>> =
        tensors.iter().zip(&shapes).map(|(&(name, data), shape)| TensorView { name, shape, data }).collect();
    write_tensors(&dir.join(name), &views, &BTreeMap::new()).unwrap();
}

#[test]
fn what_is_written_is_read_back() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("x.safetensors");
    let values = [1.5, -0.0, f32::MIN_POSITIVE / 4.0, f32::INFINITY, 3e38, 0.1];
    let tensors = [
        TensorView { name: "b", shape: &[2, 3], data: &values },
        TensorView { name: "a\"\\\u{1f600}", shape: &[0, 7], data: &[] },
        TensorView { name: "scalar", shape: &[], data: &[f32::from_bits(0x7fc0_1234)] },
    ];
    let metadata = BTreeMap::from([("z".into(), "1".into()), ("format".into(), "pt".into()), ("a".into(), "".into())]);
    write_tensors(&path, &tensors, &metadata).unwrap();
    let read = read_tensors(&path).unwrap();
    assert_eq!(read.len(), 3);
    for tensor in &tensors {
        let got = &read[tensor.name];
        assert_eq!(got.shape, tensor.shape);
        let bits = |data: &[f32]| data.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&got.data), bits(tensor.data), "{}: every bit, NaNs too", tensor.name);
    }

    // The crate of the format's authors reads the same.
    let bytes = fs::read(&path).unwrap();
    let theirs = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(theirs.tensor("b").unwrap().data(), f32_bytes(&values));
    let (header_len, their_metadata) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    assert_eq!(header_len % 8, 0, "the data is aligned");
    assert_eq!(their_metadata.metadata().as_ref().unwrap()["format"], "pt");

    // Equal arguments in another order give equal bytes, also through a folder.
    let again = [tensors[2], tensors[0], tensors[1]];
    let writer = DirWriter::create(&scratch.path().join("dir")).unwrap();
    write_tensors_into(&writer, "y.safetensors", &again, &metadata).unwrap();
    assert_eq!(fs::read(writer.path().join("y.safetensors")).unwrap(), bytes);
}

#[test]
fn files_of_the_format_authors_are_read() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("x.safetensors");
    let data = f32_bytes(&[1.0, 2.0]);
    let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![2], &data).unwrap();
    safetensors::serialize_to_file([("w", view)], None, &path).unwrap();
    assert_eq!(read_tensors(&path).unwrap()["w"], F32Tensor { shape: vec![2], data: vec![1.0, 2.0] });
}

#[test]
fn half_precision_becomes_f32_exactly_and_unaligned_bytes_are_read() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("x.safetensors");
    // One byte first, so that everything after it is unaligned.
    let mut data = vec![9];
    data.extend([half::f16::from_f32(-1.5), half::f16::MIN_POSITIVE_SUBNORMAL].iter().flat_map(|v| v.to_le_bytes()));
    data.extend([half::bf16::from_f32(3.0), half::bf16::MAX].iter().flat_map(|v| v.to_le_bytes()));
    data.extend(f32_bytes(&[0.1, -7.25]));
    let rest = r#""h":{"dtype":"F16","shape":[2],"data_offsets":[1,5]},
        "b":{"dtype":"BF16","shape":[2],"data_offsets":[5,9]},
        "f":{"dtype":"F32","shape":[2],"data_offsets":[9,17]}"#;
    let header = format!(r#"{{"odd":{{"dtype":"U8","shape":[1],"data_offsets":[0,1]}},{rest}}}"#);
    fs::write(&path, file_bytes(&header, &data)).unwrap();
    let tensors = folder::map_file(&path).unwrap().tensors;
    assert_eq!(as_f32_vec(&tensors["h"]).unwrap(), [-1.5, 5.960_464_5e-8]);
    assert_eq!(as_f32_vec(&tensors["b"]).unwrap(), [3.0, half::bf16::MAX.to_f32()]);
    assert_eq!(as_f32_vec(&tensors["f"]).unwrap(), [0.1, -7.25]);
    let (file, range) = tensors["f"].shared();
    assert_eq!((*file).as_ref()[range].to_vec(), f32_bytes(&[0.1, -7.25]));
    assert_eq!([DType::F32, DType::F16, DType::Bf16].map(|dtype| dtype.to_string()), ["F32", "F16", "BF16"]);

    let error = as_f32_vec(&tensors["odd"]).unwrap_err();
    assert!(matches!(&error, TensorError::UnsupportedType { name, dtype, .. } if name == "odd" && dtype == "U8"));
    assert!(matches!(read_tensors(&path), Err(TensorError::UnsupportedType { .. })));
}

#[test]
#[should_panic(expected = "values of \"x\"")]
fn a_wrong_count_is_not_written() {
    let scratch = tempfile::tempdir().unwrap();
    let view = TensorView { name: "x", shape: &[2, 2], data: &[1.0] };
    let _ = write_tensors(&scratch.path().join("x"), &[view], &BTreeMap::new());
}

#[test]
#[should_panic(expected = "written twice")]
fn a_repeated_name_is_not_written() {
    let scratch = tempfile::tempdir().unwrap();
    let view = TensorView { name: "x", shape: &[1], data: &[1.0] };
    let _ = write_tensors(&scratch.path().join("x"), &[view, view], &BTreeMap::new());
}

/// One case per rule of the format.
#[test]
fn broken_headers_are_refused_by_rule() {
    let entry = |begin: usize, end: usize| format!(r#"{{"dtype":"F32","shape":[1],"data_offsets":[{begin},{end}]}}"#);
    let good = format!(r#"{{"__metadata__":{{"a":"b"}},"t":{}}}   "#, entry(0, 4));
    assert_eq!(parse(&file_bytes(&good, &[0; 4])).unwrap().len(), 1);
    assert_eq!(parse(&file_bytes("{}", &[])).unwrap(), []);

    let data = [0u8; 8];
    let shaped =
        |dtype: &str, shape: &str| format!(r#"{{"t":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[0,8]}}}}"#);
    for (bytes, expected) in [
        (vec![], "Truncated"),
        (vec![0; 7], "Truncated"),
        (vec![0; 8], "HeaderSyntax"),
        (file_bytes(&good, &[0; 3]), "Truncated"),
        (file_bytes(&good, &[0; 5]), "TrailingBytes"),
        (file_bytes(&good, &[])[..20].to_vec(), "Truncated"),
        (u64::MAX.to_le_bytes().to_vec(), "HeaderTooLarge"),
        ((MAX_HEADER_BYTES + 1).to_le_bytes().to_vec(), "HeaderTooLarge"),
        (MAX_HEADER_BYTES.to_le_bytes().to_vec(), "Truncated"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n".to_vec(), "GitLfsPointer"),
        (file_bytes(&format!(" {good}"), &[0; 4]), "HeaderStart"),
        (file_bytes("[]", &[]), "HeaderStart"),
        (file_bytes("{", &[]), "HeaderSyntax"),
        (file_bytes("{}x", &[]), "HeaderSyntax"),
        (file_bytes("{\"\u{fffd}\":1}", &[]), "HeaderSyntax"),
        ([&9u64.to_le_bytes()[..], b"{\"\xff\":{}} "].concat(), "HeaderSyntax"),
        (file_bytes(&shaped("F31", "[2]"), &data), "HeaderSyntax"),
        (file_bytes(&shaped("F32", "[-2]"), &data), "HeaderSyntax"),
        (file_bytes(&shaped("F32", "2"), &data), "HeaderSyntax"),
        (file_bytes(r#"{"__metadata__":{"a":1}}"#, &[]), "HeaderSyntax"),
        (file_bytes(r#"{"__metadata__":{"a":"1","a":"2"}}"#, &[]), "HeaderSyntax"),
        (file_bytes(r#"{"__metadata__":{},"__metadata__":{}}"#, &[]), "HeaderSyntax"),
        (file_bytes(r#"{"t":{"dtype":"F32","shape":[1]}}"#, &[0; 4]), "HeaderSyntax"),
        (file_bytes(&format!(r#"{{"t":{0},"t":{0}}}"#, entry(0, 4)), &[0; 4]), "DuplicateTensor"),
        (file_bytes(&shaped("F32", "[3]"), &data), "TensorSize"),
        (file_bytes(&shaped("F16", "[2]"), &data), "TensorSize"),
        (file_bytes(&shaped("F4", "[1]"), &data), "TensorSize"),
        (file_bytes(&shaped("F32", "[4294967296,4294967296,4]"), &data), "TensorSize"),
        (file_bytes(&shaped("F32", "[18446744073709551615]"), &data), "TensorSize"),
        (file_bytes(&format!(r#"{{"t":{}}}"#, entry(4, 0)), &[0; 4]), "TensorSize"),
        (file_bytes(&format!(r#"{{"t":{}}}"#, entry(1, 5)), &data), "Layout"),
        (file_bytes(&format!(r#"{{"t":{},"u":{}}}"#, entry(0, 4), entry(2, 6)), &data), "Layout"),
        (file_bytes(&format!(r#"{{"t":{},"u":{}}}"#, entry(0, 4), entry(0, 4)), &data), "Layout"),
        (file_bytes(&format!(r#"{{"t":{},"u":{}}}"#, entry(0, 4), entry(5, 9)), &data), "Layout"),
    ] {
        let error = parse(&bytes).unwrap_err();
        let shown = String::from_utf8_lossy(&bytes).into_owned();
        assert!(format!("{error:?}").starts_with(expected), "{shown}: {error:?}");
        assert!(error.to_string().starts_with("x.safetensors: "), "{error}");
        assert!(error.hint().is_some());
    }
}

/// A folder with `config.json` and two shards.
fn sharded(dir: &Path) {
    save(dir, "model-1.safetensors", &[("a", &[1.0, 2.0]), ("b", &[3.0])]);
    save(dir, "model-2.safetensors", &[("c", &[4.0])]);
    write_index(dir, r#"{"a": "model-1.safetensors", "b": "model-1.safetensors", "c": "model-2.safetensors"}"#);
    fs::write(dir.join("config.json"), "{}").unwrap();
}

fn write_index(dir: &Path, weight_map: &str) {
    let index = format!(r#"{{"metadata": {{"total_size": 16}}, "weight_map": {weight_map}}}"#);
    fs::write(dir.join("model.safetensors.index.json"), index).unwrap();
}

#[test]
fn shards_are_one_folder() {
    let scratch = tempfile::tempdir().unwrap();
    sharded(scratch.path());
    let folder = WeightFolder::open(scratch.path()).unwrap();
    assert_eq!(folder.names().collect::<Vec<_>>(), ["a", "b", "c"]);
    assert_eq!(as_f32_vec(folder.get("a").unwrap()).unwrap(), [1.0, 2.0]);
    assert_eq!(as_f32_vec(folder.find("c").unwrap()).unwrap(), [4.0]);
    assert_eq!(folder.get("a").unwrap().shape, [2]);
    let error = folder.get("lm_head.weight").unwrap_err();
    assert!(error.to_string().ends_with("tensor \"lm_head.weight\" is missing"), "{error}");
    // The mapping outlives the folder, also when the file is replaced.
    let (file, range) = folder.get("c").unwrap().shared();
    drop(folder);
    save(scratch.path(), "model-2.safetensors", &[("c", &[5.0])]);
    assert_eq!((*file).as_ref()[range].to_vec(), f32_bytes(&[4.0]));
}

#[test]
fn disagreeing_shards_are_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    let (one, two) = ("model-1.safetensors", "model-2.safetensors");
    let map = |a: &str, b: &str, c: &str| format!(r#"{{"a": "{a}", "b": "{b}", "c": "{c}"}}"#);
    for (weight_map, expected) in [
        (map(one, one, "model-3.safetensors"), "File(NotFound"),
        (map(one, one, "../model-2.safetensors"), "ShardName"),
        (map(one, one, "/etc/passwd"), "ShardName"),
        (map(one, one, "sub\\\\model-2.safetensors"), "ShardName"),
        (map(one, one, ""), "ShardName"),
        (map(one, one, "."), "ShardName"),
        (map(one, two, two), "NotInIndex"),
        (map(two, one, two), "NotInIndex"),
        (format!(r#"{{"a": "{one}", "b": "{one}", "c": "{two}", "d": "{two}"}}"#), "NotInShard"),
        (format!(r#"{{"a": "{one}", "c": "{two}"}}"#), "NotInIndex"),
        (format!(r#"{{"a": "{one}", "b": "{one}", "a": "{one}", "c": "{two}"}}"#), "IndexSyntax"),
        (r#"{"a": 1}"#.into(), "IndexSyntax"),
        ("[]".into(), "IndexSyntax"),
    ] {
        sharded(dir);
        write_index(dir, &weight_map);
        let error = WeightFolder::open(dir).unwrap_err();
        assert!(format!("{error:?}").starts_with(expected), "{weight_map}: {error:?}");
    }

    // One tensor in two shards.
    sharded(dir);
    save(dir, two, &[("b", &[3.0]), ("c", &[4.0])]);
    let error = WeightFolder::open(dir).unwrap_err();
    assert!(
        error.to_string().contains("model-2.safetensors has tensor \"b\", which the index places in model-1"),
        "{error}"
    );
    assert!(error.hint().is_some());
    // A shard that is a folder.
    sharded(dir);
    fs::remove_file(dir.join(two)).unwrap();
    fs::create_dir(dir.join(two)).unwrap();
    assert!(matches!(WeightFolder::open(dir), Err(TensorError::File(FileError::IsDirectory { .. }))));
}

#[test]
fn pickles_are_never_read() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    let error = WeightFolder::open(dir).unwrap_err();
    assert!(matches!(error, TensorError::NoWeights { .. }), "{error:?}");
    fs::write(dir.join("training_args.bin"), "").unwrap();
    assert!(matches!(WeightFolder::open(dir), Err(TensorError::NoWeights { .. })));
    fs::write(dir.join("pytorch_model-00001-of-00002.bin"), "").unwrap();
    let error = WeightFolder::open(dir).unwrap_err();
    assert!(
        error.to_string().contains("only as pickle (pytorch_model-00001-of-00002.bin), which is never read"),
        "{error}"
    );
    assert!(error.hint().unwrap().contains("safe_serialization=True"));
    save(dir, "model.safetensors", &[("a", &[1.0])]);
    WeightFolder::open(dir).unwrap();
}

#[test]
fn the_files_are_those_that_hold_weights() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    let files = || WeightFolder::open(dir).unwrap().files().collect::<Vec<_>>();
    sharded(dir);
    fs::write(dir.join("README.md"), "no part of the model").unwrap();
    save(dir, "model-9.safetensors", &[("z", &[1.0])]);
    assert_eq!(files(), [dir.join("model-1.safetensors"), dir.join("model-2.safetensors")]);
    save(dir, "model.safetensors", &[("a", &[1.0])]);
    assert_eq!(files(), [dir.join("model.safetensors")]);
}

#[cfg(unix)]
#[test]
fn links_into_a_download_cache_are_followed() {
    let scratch = tempfile::tempdir().unwrap();
    let snapshot = scratch.path().join("snapshot");
    fs::create_dir(&snapshot).unwrap();
    save(scratch.path(), "blob", &[("a", &[1.0])]);
    std::os::unix::fs::symlink("../blob", snapshot.join("model.safetensors")).unwrap();
    assert_eq!(WeightFolder::open(&snapshot).unwrap().names().len(), 1);
}

#[test]
fn shared_values_are_found_by_either_name() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    let head = TensorView { name: "lm_head.weight", shape: &[1], data: &[1.0] };
    let norm = TensorView { name: "norm", shape: &[1], data: &[2.0] };
    let metadata = [("embed", "lm_head.weight"), ("format", "pt"), ("norm", "lm_head.weight")];
    let metadata = metadata.map(|(key, value)| (key.to_string(), value.to_string())).into();
    write_tensors(&dir.join("model.safetensors"), &[head, norm], &metadata).unwrap();
    let folder = WeightFolder::open(dir).unwrap();
    assert_eq!(folder.names().collect::<Vec<_>>(), ["lm_head.weight", "norm"]);
    assert_eq!(as_f32_vec(folder.get("embed").unwrap()).unwrap(), [1.0]);
    assert_eq!(as_f32_vec(folder.get("norm").unwrap()).unwrap(), [2.0], "what is stored comes first");
    assert!(folder.find("format").is_none());

    fs::rename(dir.join("model.safetensors"), dir.join("only.safetensors")).unwrap();
    write_index(dir, r#"{"lm_head.weight": "only.safetensors", "norm": "only.safetensors"}"#);
    assert_eq!(as_f32_vec(WeightFolder::open(dir).unwrap().get("embed").unwrap()).unwrap(), [1.0]);
}

fn shared_assets() -> Option<PathBuf> {
    let shared = std::env::var_os("ATTUNE_SHARED")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared")), PathBuf::from);
    let assets = shared.join("assets");
    if !assets.is_dir() {
        println!("SKIPPED: no test assets at {}", assets.display());
        return None;
    }
    Some(assets)
}

#[test]
fn a_real_model_is_mapped() {
    let Some(assets) = shared_assets() else { return };
    let folder = WeightFolder::open(&assets.join("models/tinystories-656k")).unwrap();
    // Its file stores the tied head only and names the embedding in its metadata.
    assert_eq!(folder.names().len(), 20);
    let embedding = folder.get("model.embed_tokens.weight").unwrap();
    assert_eq!((embedding.dtype, embedding.shape.as_slice()), (DType::F32, &[2048, 128][..]));
    assert_eq!(embedding.bytes().len(), 2048 * 128 * 4);
    assert!(as_f32_vec(embedding).unwrap().iter().all(|value| value.is_finite()));
}
