//! `croissant.json`: a folder of data described for other tools, in the vocabulary of Croissant 1.0 (MLCommons).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use attune_formats::files::write_atomic;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::clean::output::pretty;
use crate::error::CurateError;
use crate::lineage::{DatasetManifest, hex};

/// Name of the description in a folder.
pub const CROISSANT: &str = "croissant.json";

/// Terms of the vocabulary that have a meaning of their own; every description has them in its context.
fn context() -> Value {
    let mut terms: Map<String, Value> = [
        "citeAs",
        "column",
        "excludes",
        "extract",
        "field",
        "fileObject",
        "fileProperty",
        "fileSet",
        "format",
        "includes",
        "isLiveDataset",
        "jsonPath",
        "key",
        "md5",
        "parentField",
        "path",
        "recordSet",
        "references",
        "regex",
        "repeated",
        "replace",
        "separator",
        "source",
        "subField",
        "transform",
    ]
    .iter()
    .map(|term| ((*term).to_owned(), json!(format!("cr:{term}"))))
    .collect();
    for (term, value) in [
        ("@language", json!("en")),
        ("@vocab", json!("https://schema.org/")),
        ("sc", json!("https://schema.org/")),
        ("cr", json!("http://mlcommons.org/croissant/")),
        ("rai", json!("http://mlcommons.org/croissant/RAI/")),
        ("dct", json!("http://purl.org/dc/terms/")),
        ("conformsTo", json!("dct:conformsTo")),
        ("data", json!({ "@id": "cr:data", "@type": "@json" })),
        ("dataType", json!({ "@id": "cr:dataType", "@type": "@vocab" })),
        ("examples", json!({ "@id": "cr:examples", "@type": "@json" })),
    ] {
        terms.insert(term.to_owned(), value);
    }
    Value::Object(terms)
}

/// What is known of a key over all rows of a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Boolean,
    Integer,
    Float,
    /// A list or an object, given as it stands.
    Json,
}

impl Kind {
    fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Null => None,
            Value::String(_) => Some(Self::Text),
            Value::Bool(_) => Some(Self::Boolean),
            Value::Number(number) if number.is_f64() => Some(Self::Float),
            Value::Number(_) => Some(Self::Integer),
            Value::Array(_) | Value::Object(_) => Some(Self::Json),
        }
    }

    fn join(self, other: Self) -> Self {
        match (self, other) {
            (left, right) if left == right => left,
            (Self::Integer, Self::Float) | (Self::Float, Self::Integer) => Self::Float,
            _ => Self::Json,
        }
    }

    fn data_type(self) -> &'static str {
        match self {
            // The vocabulary of 1.0 has no word for structured values.
            Self::Text | Self::Json => "sc:Text",
            Self::Boolean => "sc:Boolean",
            Self::Integer => "sc:Integer",
            Self::Float => "sc:Float",
        }
    }
}

/// Describes the folder of a data set and writes `croissant.json` into it; the path of the file.
///
/// # Errors
/// When the files of the folder cannot be read, are not what the manifest says, or the description cannot be written.
pub fn write(folder: &Path, manifest: &DatasetManifest) -> Result<PathBuf, CurateError> {
    let name = folder.file_name().map_or_else(|| "data".to_owned(), |name| name.to_string_lossy().into_owned());
    let (mut distribution, mut record_sets) = (Vec::new(), Vec::new());
    for file in &manifest.files {
        let read = read(&folder.join(&file.path))?;
        distribution.push(json!({
            "@type": "cr:FileObject",
            "@id": file.path,
            "name": file.path,
            "description": format!("{} rows, one JSON object per line", file.rows),
            "contentUrl": file.path,
            "contentSize": format!("{} B", file.bytes),
            "encodingFormat": "application/jsonlines",
            "sha256": read.sha256,
        }));
        let set = file.path.strip_suffix(".jsonl").unwrap_or(&file.path);
        let fields: Vec<Value> = read
            .keys
            .iter()
            .map(|(key, kind)| {
                let mut field = json!({
                    "@type": "cr:Field",
                    "@id": format!("{set}/{key}"),
                    "name": key,
                    "dataType": kind.data_type(),
                    "source": { "fileObject": { "@id": file.path }, "extract": { "column": key } },
                });
                if *kind == Kind::Json
                    && let Value::Object(field) = &mut field
                {
                    field.insert("description".into(), json!("a structured value, as JSON"));
                }
                field
            })
            .collect();
        record_sets.push(json!({ "@type": "cr:RecordSet", "@id": set, "name": set, "field": fields }));
    }
    let description = json!({
        "@context": context(),
        "@type": "sc:Dataset",
        "name": name,
        "description": format!(
            "{} rows, made by {} ({}); Merkle root of the rows {}", manifest.rows, manifest.tool, manifest.command,
            manifest.merkle_root
        ),
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "version": "1.0.0",
        "distribution": distribution,
        "recordSet": record_sets,
    });
    let path = folder.join(CROISSANT);
    write_atomic(&path, &pretty(&description))?;
    Ok(path)
}

struct ReadFile {
    sha256: String,
    keys: BTreeMap<String, Kind>,
}

/// Hashes a file of rows and collects its keys in one pass.
fn read(path: &Path) -> Result<ReadFile, CurateError> {
    let broken = |reason: String| CurateError::Manifest { path: path.to_path_buf(), reason };
    let file = File::open(path).map_err(|error| broken(error.to_string()))?;
    let (mut hasher, mut keys, mut line) = (Sha256::new(), BTreeMap::<String, Kind>::new(), Vec::new());
    let mut reader = BufReader::with_capacity(1 << 20, file);
    loop {
        line.clear();
        let bytes = reader
            .by_ref()
            .take(attune_data::MAX_ROW_BYTES as u64)
            .read_until(b'\n', &mut line)
            .map_err(|error| broken(error.to_string()))?;
        if bytes == 0 {
            break;
        }
        hasher.update(&line);
        let row: Map<String, Value> = serde_json::from_slice(&line).map_err(|error| broken(error.to_string()))?;
        for (key, value) in &row {
            if let Some(kind) = Kind::of(value) {
                keys.entry(key.clone()).and_modify(|known| *known = known.join(kind)).or_insert(kind);
            }
        }
    }
    Ok(ReadFile { sha256: hex(&hasher.finalize()), keys })
}
