//! What the steps of the quickstart left, read from their files.

use std::path::Path;

use attune_train::run_dir::MetricsLine;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::failure::{FAILED, Failure};
use crate::live::format::loss;

/// `(step, loss)`.
type Curve = Vec<(f64, f64)>;

/// Everything that the report shows.
#[derive(Debug)]
pub(super) struct Results {
    /// `(step, loss)` of each step.
    pub(super) train: Curve,
    /// `(step, loss)` of each evaluation.
    pub(super) validation: Curve,
    /// Number of held-out questions.
    pub(super) questions: usize,
    pub(super) base: Scores,
    pub(super) tuned: Scores,
    /// Each question with both answers.
    pub(super) answers: Vec<Answered>,
    /// What cleaning did, in the order of its steps.
    pub(super) cleaned: Vec<Cleaned>,
    /// Rows before and after cleaning.
    pub(super) rows: (u64, u64),
    /// Rows of each part.
    pub(super) parts: Vec<(String, u64)>,
    /// Fused folder and GGUF file.
    pub(super) artefacts: Vec<Artefact>,
}

/// What a model reaches on the held-out questions.
#[derive(Debug)]
pub(super) struct Scores {
    pub(super) loss: f64,
    pub(super) exact: f64,
    pub(super) word_f1: f64,
    /// Share of the answers that have the clerk's form.
    pub(super) form: f64,
}

/// A question with what both say.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) question: String,
    pub(super) base: String,
    pub(super) tuned: String,
    pub(super) expected: String,
    pub(super) exact: bool,
}

/// A step of cleaning that found something.
#[derive(Debug)]
pub(super) struct Cleaned {
    pub(super) step: String,
    pub(super) changed: u64,
    pub(super) removed: u64,
    pub(super) examples: Vec<String>,
}

/// An artefact and what the gate measured.
#[derive(Debug)]
pub(super) struct Artefact {
    pub(super) name: String,
    pub(super) format: String,
    pub(super) bytes: u64,
    /// Mean divergence from the tuned model, in nats a token.
    pub(super) divergence: f64,
    /// What the adapter changes, in nats a token.
    pub(super) effect: f64,
}

/// A line of the table before and after.
#[derive(Debug)]
pub(super) struct Measure {
    pub(super) name: &'static str,
    pub(super) base: String,
    pub(super) tuned: String,
}

impl Results {
    pub(super) fn read(out: &Path) -> Result<Self, Failure> {
        let train = lines::<MetricsLine>(out, "run/metrics.jsonl")?;
        let log = lines::<Value>(out, "run/log.jsonl")?;
        // The log has the evaluation before the first step, too.
        let evaluated = log.iter().filter(|event| event["event"] == "evaluated");
        let evaluation = json(out, "evaluation.json")?;
        let (base, tuned) = (&evaluation["models"][0], &evaluation["models"][1]);
        let clean = json(out, "clean/report.json")?;
        let split = json(out, "split/report.json")?;
        let found = list(&clean["steps"]).iter().filter(|step| number(&step["found"]) > 0);
        Ok(Self {
            train: train.iter().filter_map(|line| Some((line.step as f64, line.loss?))).collect(),
            validation: evaluated
                .filter_map(|event| Some((event["step"].as_f64()?, event["validation_loss"].as_f64()?)))
                .collect(),
            questions: number(&base["questions"]) as usize,
            base: scores(base),
            tuned: scores(tuned),
            answers: list(&base["answers"]).iter().zip(list(&tuned["answers"])).map(answered).collect(),
            cleaned: found
                .map(|step| Cleaned {
                    step: string(&step["step"]),
                    changed: number(&step["changed"]),
                    removed: number(&step["removed"]),
                    examples: list(&step["examples"]).iter().map(string).collect(),
                })
                .collect(),
            rows: (number(&clean["rows_in"]), number(&clean["rows_out"])),
            parts: list(&split["parts"]).iter().map(|part| (string(&part["file"]), number(&part["rows"]))).collect(),
            artefacts: ["fused/export_report.json", "clerk.gguf.report.json"]
                .into_iter()
                .map(|name| Ok(artefact(&json(out, name)?)))
                .collect::<Result<_, Failure>>()?,
        })
    }

    /// The table before and after.
    pub(super) fn measures(&self) -> [Measure; 5] {
        let percent = |share: f64| format!("{:.0} %", 100.0 * share);
        let measure =
            |name, show: &dyn Fn(&Scores) -> String| Measure { name, base: show(&self.base), tuned: show(&self.tuned) };
        [
            measure("answers in the clerk's form", &|scores| percent(scores.form)),
            measure("answers equal to the letter", &|scores| percent(scores.exact)),
            measure("F1 of the words", &|scores| format!("{:.2}", scores.word_f1)),
            measure("perplexity of the answer", &|scores| perplexity(scores.loss)),
            measure("loss of the answer", &|scores| loss(scores.loss)),
        ]
    }
}

fn perplexity(loss: f64) -> String {
    let perplexity = loss.exp();
    if perplexity < 100.0 { format!("{perplexity:.2}") } else { format!("{perplexity:.0}") }
}

/// The lines of a JSONL file.
fn lines<T: DeserializeOwned>(out: &Path, name: &str) -> Result<Vec<T>, Failure> {
    text(out, name)?
        .lines()
        .map(|line| serde_json::from_str(line).map_err(|error| damaged(out, name, &error)))
        .collect()
}

fn damaged(out: &Path, name: &str, error: &serde_json::Error) -> Failure {
    Failure::new(FAILED, format!("{}: {error}", out.join(name).display()), "start `ft quickstart` anew")
}

fn scores(model: &Value) -> Scores {
    let float = |value: &Value| value.as_f64().unwrap_or(f64::NAN);
    let form = model["patterns"].as_object().and_then(|patterns| patterns.values().next()).map_or(f64::NAN, float);
    Scores { loss: float(&model["loss"]), exact: float(&model["exact"]), word_f1: float(&model["word_f1"]), form }
}

fn answered((base, tuned): (&Value, &Value)) -> Answered {
    Answered {
        question: string(&base["question"]),
        base: string(&base["answer"]),
        tuned: string(&tuned["answer"]),
        expected: string(&base["expected"]),
        exact: tuned["exact"] == true,
    }
}

fn artefact(report: &Value) -> Artefact {
    let gate = &report["gate"];
    let name = string(&report["artefact"]);
    Artefact {
        name: Path::new(&name).file_name().map_or_else(|| name.clone(), |name| name.to_string_lossy().into_owned()),
        format: string(&report["format"]),
        bytes: number(&report["bytes"]),
        divergence: gate["mean_kl"].as_f64().unwrap_or(f64::NAN),
        effect: gate["effect_kl"].as_f64().unwrap_or(f64::NAN),
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

fn string(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn text(out: &Path, name: &str) -> Result<String, Failure> {
    let path = out.join(name);
    std::fs::read_to_string(&path)
        .map_err(|error| Failure::new(FAILED, format!("{}: {error}", path.display()), "start `ft quickstart` anew"))
}

fn json(out: &Path, name: &str) -> Result<Value, Failure> {
    serde_json::from_str(&text(out, name)?).map_err(|error| damaged(out, name, &error))
}
