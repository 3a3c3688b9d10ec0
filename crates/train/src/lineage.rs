//! Which rows trained an adapter: `dataset.json` and `rows.jsonl` of a run.

use attune_config::Config;
use attune_curate::lineage::{DataFile as ListedFile, DatasetManifest, MANIFEST, ManifestInput, Step, merkle_root_hex};
use attune_formats::files;
use serde::Serialize;
use serde_json::json;

use crate::error::TrainError;
use crate::events::DataFile;
use crate::examples::Example;
use crate::inputs::Inputs;
use crate::run_dir::RunDir;

/// The list of the rows in a run folder.
const ROWS: &str = "rows.jsonl";

/// A line of `rows.jsonl`.
#[derive(Serialize)]
struct RowLine<'a> {
    set: &'static str,
    file: &'a std::path::Path,
    row: usize,
    line: usize,
    hash: String,
}

/// Writes both files; the Merkle root of the rows that are trained on, in order.
///
/// # Errors
/// When a file cannot be written, or the `dataset.json` beside a data file is damaged.
pub(crate) fn write(run_dir: &RunDir, config: &Config, inputs: &Inputs) -> Result<(), TrainError> {
    let mut lines = Vec::new();
    for (set, examples) in [("train", &inputs.train), ("validation", &inputs.validation)] {
        for example in examples {
            let line = RowLine {
                set,
                file: &example.origin.file,
                row: example.origin.row,
                line: example.origin.line,
                hash: hex(&example.hash),
            };
            serde_json::to_writer(&mut lines, &line)
                .map_err(|error| TrainError::RunFile { path: run_dir.path().join(ROWS), reason: error.to_string() })?;
            lines.push(b'\n');
        }
    }
    run_dir.write(ROWS, &lines)?;
    let listed = ListedFile {
        path: ROWS.into(),
        rows: inputs.train.len() + inputs.validation.len(),
        bytes: lines.len() as u64,
        blake3: files::hash_file(&run_dir.path().join(ROWS))?,
        merkle_root: root(&inputs.train),
    };
    let (mut sources, mut parents) = (Vec::new(), Vec::new());
    for file in inputs.identity.train.iter().chain(&inputs.identity.validation) {
        let (input, manifest) = with_parent(file)?;
        sources.push(input);
        parents.extend(manifest.filter(|manifest| !parents.contains(manifest)));
    }
    let rows_in = sources.iter().map(|input| input.rows).sum();
    let step = Step {
        step: "train".into(),
        rows_in,
        rows_out: listed.rows,
        changed: 0,
        parameters: json!({ "data": config.data, "training.seed": config.training.seed }),
    };
    let manifest = DatasetManifest::of("train", sources, vec![listed], vec![step]).with_parents(parents);
    run_dir.write(MANIFEST, &manifest.to_json())
}

/// Merkle root of the rows of examples, in their order.
pub(crate) fn root(examples: &[Example]) -> String {
    merkle_root_hex(&examples.iter().map(|example| example.hash).collect::<Vec<_>>())
}

/// A data file, and the manifest of the folder that it is a part of.
fn with_parent(file: &DataFile) -> Result<(ManifestInput, Option<DatasetManifest>), TrainError> {
    let manifest = DatasetManifest::beside(&file.path).map_err(Box::new)?;
    let parent = manifest.as_ref().and_then(|manifest| manifest.root_of(&file.path, &file.blake3));
    let input = ManifestInput {
        path: file.path.clone(),
        bytes: file.bytes,
        blake3: file.blake3.clone(),
        form: file.form.clone(),
        rows: file.rows,
        // The run's config.yaml has it.
        transcripts: None,
        parent: parent.clone(),
    };
    Ok((input, manifest.filter(|_| parent.is_some())))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
