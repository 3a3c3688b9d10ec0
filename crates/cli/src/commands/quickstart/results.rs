//! What the steps of `ft quickstart` left, read back from their files.

use std::path::Path;

use attune_formats::files::read_limited;
use attune_train::run_dir::MetricsLine;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::failure::{FAILED, Failure};

/// Most that one of the files may have.
const MAX_BYTES: u64 = 64 << 20;

/// All of it.
pub(super) struct Results {
    pub(super) clean: Clean,
    pub(super) metrics: Vec<MetricsLine>,
    /// Base and tuned model.
    pub(super) asked: [Asked; 2],
    pub(super) export: Export,
}

/// `clean/report.json`.
#[derive(Debug, Deserialize)]
pub(super) struct Clean {
    pub(super) rows_in: usize,
    pub(super) rows_out: usize,
    pub(super) steps: Vec<CleanStep>,
}

#[derive(Debug, Deserialize)]
pub(super) struct CleanStep {
    pub(super) step: String,
    pub(super) removed: usize,
    pub(super) changed: usize,
    pub(super) found: usize,
    #[serde(default)]
    pub(super) kinds: std::collections::BTreeMap<String, usize>,
}

/// A model of `evaluation.json`.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) loss: f64,
    pub(super) exact: f64,
    pub(super) word_f1: f64,
    /// Share of the answers in the clerk's form.
    pub(super) fitting: f64,
    pub(super) answers: Vec<Answer>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Answer {
    pub(super) question: String,
    pub(super) expected: String,
    pub(super) answer: String,
    pub(super) exact: bool,
}

/// `tuned.gguf.report.json`, as far as it is shown.
#[derive(Debug, Deserialize)]
pub(super) struct Export {
    pub(super) format: String,
    pub(super) bytes: u64,
    pub(super) gate: Gate,
}

#[derive(Debug, Deserialize)]
pub(super) struct Gate {
    pub(super) accepted: bool,
    pub(super) tokens: usize,
    pub(super) mean_kl: f64,
    pub(super) sure_agreement: f64,
}

impl Results {
    pub(super) fn read(out: &Path) -> Result<Self, Failure> {
        #[derive(Deserialize)]
        struct Evaluation {
            models: Vec<Model>,
        }
        #[derive(Deserialize)]
        struct Model {
            loss: f64,
            exact: f64,
            word_f1: f64,
            patterns: std::collections::BTreeMap<String, f64>,
            answers: Vec<Answer>,
        }
        let path = out.join("evaluation.json");
        let evaluation: Evaluation = json(&path)?;
        let asked = evaluation.models.into_iter().map(|model| Asked {
            loss: model.loss,
            exact: model.exact,
            word_f1: model.word_f1,
            fitting: model.patterns.into_values().next().unwrap_or(0.0),
            answers: model.answers,
        });
        let Ok(asked) = <[Asked; 2]>::try_from(asked.collect::<Vec<_>>()) else {
            return Err(broken(&path, "does not have two models"));
        };
        let metrics_path = out.join("run").join("metrics.jsonl");
        let metrics = read_limited(&metrics_path, MAX_BYTES)?;
        let metrics = String::from_utf8_lossy(&metrics)
            .lines()
            .map(|line| serde_json::from_str(line).map_err(|error| broken(&metrics_path, &error.to_string())))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            clean: json(&out.join("clean").join("report.json"))?,
            metrics,
            asked,
            export: json(&out.join("tuned.gguf.report.json"))?,
        })
    }
}

fn json<T: DeserializeOwned>(path: &Path) -> Result<T, Failure> {
    serde_json::from_slice(&read_limited(path, MAX_BYTES)?).map_err(|error| broken(path, &error.to_string()))
}

fn broken(path: &Path, reason: &str) -> Failure {
    Failure::new(FAILED, format!("{}: {reason}", path.display()), "run `ft quickstart` again with another --out")
}
