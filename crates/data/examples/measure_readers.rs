//! Counts what the readers make of the test suites and how fast they are: `measure_readers ASSETS_DIR` prints one JSON
//! object. Rates are in MB (10^6 bytes) of the file per second, on one thread, the best of five runs; build with
//! `--release`.
#![allow(clippy::print_stdout, reason = "this is what it is for")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use attune_data::{DataError, Entry, ReadOptions, RowProblem, fuzz};
use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use serde_json::{Map, Value, json};

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let assets = PathBuf::from(std::env::args_os().nth(1).ok_or("usage: measure_readers ASSETS_DIR")?);
    let report = json!({
        "json_test_suite": json_test_suite(&assets)?,
        "csv_spectrum": csv_spectrum(&assets)?,
        "parquet_testing": parquet_testing(&assets)?,
        "datasets": datasets(&assets)?,
        "megabytes_per_second": speeds(&assets)?,
    });
    println!("{}", serde_json::to_string_pretty(&report)?);
    Ok(())
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn name_of(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn json_test_suite(assets: &Path) -> Result<Value, Failure> {
    let (mut counts, mut wrong, mut listed, mut either) = (Map::new(), Vec::new(), Vec::new(), Map::new());
    for path in files(&assets.join("suites/JSONTestSuite/test_parsing"))? {
        let (name, bytes) = (name_of(&path), std::fs::read(&path)?);
        let blank = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&bytes).trim_ascii().is_empty();
        let refused = match fuzz::entries("suite.json", &bytes) {
            Err(DataError::Shape { .. }) => false,
            Err(_) => true,
            Ok(entries) => {
                blank
                    || entries.iter().any(|entry| {
                        matches!(entry, Entry::Fault(fault) if matches!(fault.problem, RowProblem::Unreadable { .. }))
                    })
            }
        };
        let kind = &name[..2];
        let right = match kind {
            "y_" => !refused,
            "n_" => refused,
            _ => {
                either.insert(name.clone(), if refused { "refused" } else { "read" }.into());
                true
            }
        };
        let count = counts.entry(kind).or_insert(json!(0)).as_u64().unwrap_or_default();
        counts[kind] = json!(count + 1);
        if !right && name.contains("object_duplicated_key") {
            // JSON allows it; of a row nobody knows which of the two values was meant.
            listed.push(name);
        } else if !right {
            wrong.push(name);
        }
    }
    Ok(json!({"files": counts, "wrong": wrong, "doubled_keys_refused": listed, "either_way": either}))
}

fn csv_spectrum(assets: &Path) -> Result<Value, Failure> {
    let (mut right, mut wrong, mut listed) = (0, Vec::new(), Vec::new());
    for path in files(&assets.join("suites/csv-spectrum/csvs"))? {
        let name = name_of(&path).replace(".csv", "");
        let expected: Value =
            serde_json::from_slice(&std::fs::read(assets.join(format!("suites/csv-spectrum/json/{name}.json")))?)?;
        let expected = if expected.is_array() { expected } else { json!([expected]) };
        let mut bytes = std::fs::read(&path)?;
        if name.ends_with("_crlf") && !bytes.contains(&b'\r') {
            // Version control took the carriage returns out of the suite's file; its JSON has them.
            bytes = String::from_utf8(bytes)?.replace('\n', "\r\n").into_bytes();
        }
        let found: Vec<Value> = fuzz::entries("suite.csv", &bytes)?
            .into_iter()
            .map(|entry| match entry {
                Entry::Record(record) => Value::Object(record.object),
                Entry::Fault(fault) => fault.problem.to_string().into(),
            })
            .collect();
        if Value::Array(found) == expected {
            right += 1;
        } else if name == "location_coordinates" {
            // The suite's JSON has another telephone number than its CSV.
            listed.push(name);
        } else {
            wrong.push(name);
        }
    }
    Ok(json!({"right": right, "wrong": wrong, "differ_in_the_suite": listed}))
}

fn parquet_testing(assets: &Path) -> Result<Value, Failure> {
    let mut groups = Map::new();
    for folder in ["data", "bad_data"] {
        let (mut read, mut rows, mut refused) = (0, 0, Map::new());
        for path in files(&assets.join("suites/parquet-testing").join(folder))? {
            let name = name_of(&path);
            if !name.contains(".parquet") || name.ends_with(".json") {
                continue;
            }
            match fuzz::entries("suite.parquet", &std::fs::read(&path)?) {
                Ok(entries) => {
                    read += 1;
                    rows += entries.len();
                }
                Err(error) => {
                    refused.insert(name, error.to_string().into());
                }
            }
        }
        groups.insert(folder.into(), json!({"read": read, "rows": rows, "refused": refused}));
    }
    Ok(Value::Object(groups))
}

/// Every file of the data sets whose kind is read.
fn datasets(assets: &Path) -> Result<Value, Failure> {
    let (mut read, mut records, mut faults, mut refused) = (0, 0, 0, Map::new());
    for path in files(&assets.join("datasets"))? {
        let entries = attune_data::open(&path, &ReadOptions::default())
            .and_then(|records| records.collect::<Result<Vec<Entry>, _>>());
        match entries {
            Ok(entries) => {
                read += 1;
                let bad = entries.iter().filter(|entry| matches!(entry, Entry::Fault(_))).count();
                records += entries.len() - bad;
                faults += bad;
            }
            Err(error) => {
                refused.insert(name_of(&path), error.to_string().replace(&assets.display().to_string(), "").into());
            }
        }
    }
    Ok(json!({"files": read, "records": records, "faults": faults, "refused": refused}))
}

fn speeds(assets: &Path) -> Result<Value, Failure> {
    let lines = std::fs::read(assets.join("datasets/gsm8k/train.jsonl"))?;
    let mut rows: Vec<(String, String)> = Vec::new();
    for line in lines.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
        let row: Map<String, Value> = serde_json::from_slice(line)?;
        let text = |key: &str| row.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        rows.push((text("question"), text("answer")));
    }
    // Ten times the set, so that a run takes a while.
    let rows: Vec<_> = rows.iter().cycle().take(rows.len() * 10).collect();
    let lines = lines.repeat(10);
    let mut table = csv::Writer::from_writer(Vec::new());
    table.write_record(["question", "answer"])?;
    for (question, answer) in &rows {
        table.write_record([question, answer])?;
    }
    let document =
        serde_json::to_vec(&rows.iter().map(|(q, a)| json!({"question": q, "answer": a})).collect::<Vec<_>>())?;
    let mut report = Map::new();
    for (name, bytes) in [
        ("rows.jsonl", lines),
        ("rows.json", document),
        ("rows.csv", table.into_inner()?),
        ("rows.parquet", parquet_of(&rows)?),
    ] {
        let mut best = f64::INFINITY;
        for _ in 0..5 {
            let start = Instant::now();
            let entries = fuzz::entries(name, &bytes)?;
            best = best.min(start.elapsed().as_secs_f64());
            assert_eq!(entries.len(), rows.len(), "{name}");
        }
        let rate = bytes.len() as f64 / 1e6 / best;
        report.insert(
            name.into(),
            json!({"bytes": bytes.len(), "rows": rows.len(), "rate": (rate * 10.0).round() / 10.0}),
        );
    }
    Ok(Value::Object(report))
}

fn parquet_of(rows: &[&(String, String)]) -> Result<Vec<u8>, Failure> {
    let schema =
        parse_message_type("message rows { required binary question (UTF8); required binary answer (UTF8); }")?;
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let mut bytes = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut bytes, Arc::new(schema), Arc::new(properties))?;
    let mut group = writer.next_row_group()?;
    for index in 0..2 {
        let values: Vec<ByteArray> =
            rows.iter().map(|(question, answer)| ByteArray::from([question, answer][index].as_str())).collect();
        let mut column = group.next_column()?.ok_or("a column is missing")?;
        column.typed::<ByteArrayType>().write_batch(&values, None, None)?;
        column.close()?;
    }
    group.close()?;
    writer.close()?;
    Ok(bytes)
}
