//! The table, and the raw numbers behind it.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::sides::{Outcome, Step};
use super::work::{Case, Work};

/// What became of all processes of one side; or why there is none.
pub(crate) type Side = Result<Vec<Outcome>, String>;

/// Median, smallest and largest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// `None` of nothing.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (&min, &max) = (values.first()?, values.last()?);
        let last = values.len() - 1;
        Some(Self { median: (values[values.len() / 2] + values[last - values.len() / 2]) / 2.0, min, max })
    }
}

/// A case and everything that was measured.
#[derive(Debug, Clone)]
pub(crate) struct Measured {
    pub(crate) shape: &'static str,
    pub(crate) case: Case,
    pub(crate) attune: Side,
    /// Mode and what became of it.
    pub(crate) peers: Vec<(String, Side)>,
    /// Useful floating-point operations of each step, the first one included.
    pub(crate) operations: Vec<f64>,
    /// The multiply-add peak of the instructions in use, in GFLOP/s; the highest of all rounds.
    pub(crate) peak_gflops: Option<f64>,
}

/// The steps that count: all but the first of each process.
fn timed(outcomes: &[Outcome]) -> impl Iterator<Item = &Step> {
    outcomes.iter().flat_map(|outcome| outcome.steps.iter().skip(1))
}

fn tokens_per_sec(outcomes: &[Outcome]) -> Option<Spread> {
    Spread::of(timed(outcomes).map(|step| step.tokens as f64 / step.seconds))
}

fn trained_tokens_per_sec(outcomes: &[Outcome]) -> Option<Spread> {
    Spread::of(timed(outcomes).map(|step| step.trained_tokens as f64 / step.seconds))
}

fn first_step_seconds(outcomes: &[Outcome]) -> Option<Spread> {
    Spread::of(outcomes.iter().map(|outcome| outcome.first_step_seconds))
}

impl Measured {
    /// Useful GFLOP/s of the median step of Attune.
    fn gflops(&self) -> Option<f64> {
        let outcomes = self.attune.as_ref().ok()?;
        let rates = outcomes.iter().flat_map(|outcome| {
            outcome.steps.iter().zip(&self.operations).skip(1).map(|(step, operations)| operations / step.seconds / 1e9)
        });
        Some(Spread::of(rates)?.median)
    }

    /// How many times as fast Attune is, by medians: trained tokens per second, or the time to the first step.
    fn ratio(&self, peer: &[Outcome]) -> Option<f64> {
        let attune = self.attune.as_ref().ok()?;
        if self.case.work == Work::Startup {
            return Some(first_step_seconds(peer)?.median / first_step_seconds(attune)?.median);
        }
        Some(trained_tokens_per_sec(attune)?.median / trained_tokens_per_sec(peer)?.median)
    }

    fn speed_cell(&self, side: &Side) -> String {
        let outcomes = match side {
            Ok(outcomes) => outcomes,
            Err(reason) => return format!("not run: {}", reason.replace('|', "/").replace('\n', " ")),
        };
        let (Some(all), Some(trained)) = (tokens_per_sec(outcomes), trained_tokens_per_sec(outcomes)) else {
            return "-".into();
        };
        let Spread { median, min, max } = all;
        let mut cell = format!("{median:.1} ({min:.1}-{max:.1})");
        if !self.case.all_trained {
            let Spread { median, min, max } = trained;
            let _ = write!(cell, "; trained {median:.1} ({min:.1}-{max:.1})");
        }
        cell
    }

    /// One line of the table for each peer, or one without a peer.
    fn lines(&self) -> Vec<String> {
        let none: Side = Ok(Vec::new());
        let peers: Vec<(&str, &Side)> = match self.peers.is_empty() {
            true => vec![("-", &none)],
            false => self.peers.iter().map(|(mode, side)| (mode.as_str(), side)).collect(),
        };
        let dash = || "-".to_string();
        let memory = |side: &Side| {
            let bytes = side.as_ref().ok().and_then(|outcomes| {
                Spread::of(outcomes.iter().map(|outcome| outcome.peak_memory_bytes)).map(|spread| spread.max)
            });
            bytes.map_or_else(dash, |bytes| format!("{:.2}", bytes / 1e9))
        };
        let first = |side: &Side| {
            let seconds = side.as_ref().ok().and_then(|outcomes| first_step_seconds(outcomes));
            seconds.map_or_else(dash, |seconds| format!("{:.2}", seconds.median))
        };
        let gflops = self.gflops();
        let share =
            gflops.zip(self.peak_gflops).map_or_else(dash, |(speed, peak)| format!("{:.0} %", 100.0 * speed / peak));
        let line = |(mode, peer): (&str, &Side)| {
            let ratio = peer.as_ref().ok().and_then(|outcomes| self.ratio(outcomes));
            let cells = [
                self.shape.to_string(),
                self.case.label.clone(),
                self.speed_cell(&self.attune),
                mode.to_string(),
                self.speed_cell(peer),
                ratio.map_or_else(dash, |ratio| format!("{ratio:.2}x")),
                memory(&self.attune),
                memory(peer),
                first(&self.attune),
                first(peer),
                gflops.map_or_else(dash, |gflops| format!("{:.3}", gflops / 1e3)),
                share.clone(),
            ];
            format!("| {} |", cells.join(" | "))
        };
        peers.into_iter().map(line).collect()
    }

    /// Peers whose loss says that they did not train the same.
    fn doubts(&self) -> Vec<String> {
        let first_loss = |outcomes: &[Outcome]| Some(outcomes.first()?.steps.first()?.loss);
        let counts = |outcomes: &[Outcome]| {
            outcomes
                .first()
                .map(|outcome| outcome.steps.iter().map(|step| (step.tokens, step.trained_tokens)).collect::<Vec<_>>())
        };
        let Ok(attune) = &self.attune else { return Vec::new() };
        let peers = self.peers.iter().filter_map(|(mode, side)| Some((mode, side.as_ref().ok()?)));
        let mut doubts = Vec::new();
        for (mode, peer) in peers {
            let what = format!("{}, {}, peer {mode}", self.shape, self.case.label);
            if let (Some(ours), Some(theirs)) = (first_loss(attune), first_loss(peer))
                // bf16 has three digits; a loss is a mean of many.
                && (ours - theirs).abs() > 0.01 * theirs.abs()
            {
                doubts.push(format!(
                    "{what}: the loss of the first step is {ours:.4} in Attune and {theirs:.4} in the peer"
                ));
            }
            if counts(attune) != counts(peer) {
                doubts.push(format!("{what}: the steps do not have the same numbers of tokens"));
            }
        }
        doubts
    }

    fn to_json(&self) -> Value {
        let side = |side: &Side| match side {
            Ok(outcomes) => json!({ "runs": outcomes.iter().map(Outcome::to_json).collect::<Vec<Value>>() }),
            Err(reason) => json!({ "not_run": reason }),
        };
        let peers = self.peers.iter().map(|(mode, peer)| (mode.clone(), side(peer)));
        json!({
            "shape": self.shape,
            "work": self.case.label,
            "attune": side(&self.attune),
            "peers": peers.collect::<serde_json::Map<_, _>>(),
            "operations_per_step": self.operations,
            "peak_gflops": self.peak_gflops,
            "gflops": self.gflops(),
        })
    }
}

/// What ran where.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    pub(crate) date: String,
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) attune: String,
    pub(crate) rounds: usize,
    pub(crate) steps: usize,
    /// Whether files could be dropped from memory before the measurements of the start.
    pub(crate) evicted: Option<bool>,
    /// `(instructions, multiply-add peak of f32, of bf16)` in GFLOP/s.
    pub(crate) peaks: Vec<(String, f64, Option<f64>)>,
}

/// The Markdown of all measurements.
pub(crate) fn table(head: &Head, measured: &[Measured]) -> String {
    let backend =
        measured.iter().filter_map(|one| one.attune.as_ref().ok()?.first()).map(|outcome| &outcome.what).next();
    let peer = measured.iter().flat_map(|one| &one.peers).filter_map(|(_, side)| side.as_ref().ok()?.first());
    let peaks: Vec<String> = head
        .peaks
        .iter()
        .map(|(isa, f32, bf16)| {
            let bf16 = bf16.map_or(String::new(), |bf16| format!(", bf16 {bf16:.0}"));
            format!("{isa}: f32 {f32:.0}{bf16}")
        })
        .collect();
    let mut text = format!(
        "{}, {}, {} cores. {}{}; peer: {}. Multiply-add peak in GFLOP/s, all threads, measured between the runs: {}. \
         Random weights, LoRA rank 16 on every linear, AdamW; {} rounds, alternating, each of {} timed steps after one \
         that is not.\n\n",
        head.date,
        head.processor,
        head.cores,
        head.attune,
        backend.map_or(String::new(), |backend| format!(" on {backend}")),
        peer.map(|outcome| outcome.what.as_str()).next().unwrap_or("not run"),
        if peaks.is_empty() { "none".to_string() } else { peaks.join("; ") },
        head.rounds,
        head.steps,
    );
    let columns = [
        "model",
        "work",
        "Attune, tokens/s: median (min-max)",
        "peer",
        "peer, tokens/s",
        "ratio",
        "peak memory, GB",
        "peer",
        "start to end of first step, s",
        "peer",
        "useful TFLOP/s",
        "of the peak",
    ];
    let _ = writeln!(text, "| {} |\n|{}", columns.join(" | "), "---|".repeat(columns.len()));
    for line in measured.iter().flat_map(Measured::lines) {
        text += &line;
        text.push('\n');
    }
    if let Some(evicted) = head.evicted {
        let state = if evicted { "were dropped from memory before" } else { "could not be dropped from memory before" };
        let _ = writeln!(text, "\nThe model's files {state} each process of 'from the disk to the first step'.");
    }
    for doubt in measured.iter().flat_map(Measured::doubts) {
        let _ = writeln!(text, "\nDOUBTFUL: {doubt}");
    }
    text
}

/// All numbers.
pub(crate) fn raw(head: &Head, measured: &[Measured]) -> Value {
    let peaks = head.peaks.iter().map(|(isa, f32, bf16)| json!({ "isa": isa, "f32_gflops": f32, "bf16_gflops": bf16 }));
    json!({
        "date": head.date,
        "processor": head.processor,
        "cores": head.cores,
        "attune": head.attune,
        "rounds": head.rounds,
        "steps": head.steps,
        "evicted": head.evicted,
        "peaks": peaks.collect::<Vec<Value>>(),
        "measured": measured.iter().map(Measured::to_json).collect::<Vec<Value>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::work::{Extent, cases};
    use super::*;

    fn outcome(seconds: &[f64], loss: f64) -> Outcome {
        let step = |&seconds| Step { seconds, tokens: 128, trained_tokens: 127, loss };
        Outcome {
            begin_seconds: 0.5,
            first_step_seconds: 0.5 + seconds[0],
            steps: seconds.iter().map(step).collect(),
            peak_memory_bytes: 2e9,
            what: "cpu".into(),
        }
    }

    fn measured(peer: Side) -> Measured {
        let extent = Extent { steps: 2, quick: true, peers: vec!["installed".into()] };
        Measured {
            shape: "tiny",
            case: cases(Work::Full2048, &extent).remove(0),
            attune: Ok(vec![outcome(&[9.0, 1.0, 2.0], 5.0), outcome(&[9.0, 1.0, 1.0], 5.0)]),
            peers: vec![("installed".into(), peer)],
            operations: vec![1e9; 3],
            peak_gflops: Some(2.0),
        }
    }

    #[test]
    fn the_first_step_does_not_count_and_medians_are_compared() {
        let line = measured(Ok(vec![outcome(&[9.0, 4.0, 4.0], 5.01)])).lines().remove(0);
        let cells: Vec<&str> = line.split(" | ").collect();
        assert_eq!(cells[2], "128.0 (64.0-128.0)");
        assert_eq!((cells[3], cells[4], cells[5]), ("installed", "32.0 (32.0-32.0)", "4.00x"));
        assert_eq!((cells[6], cells[8], cells[10], cells[11]), ("2.00", "9.50", "0.001", "50 % |"));
    }

    #[test]
    fn what_was_not_run_says_why() {
        let line = measured(Err("there is no Python 3".into())).lines().remove(0);
        assert!(line.contains("not run: there is no Python 3"), "{line}");
    }

    #[test]
    fn other_losses_and_other_tokens_are_doubtful() {
        assert!(measured(Ok(vec![outcome(&[1.0, 1.0, 1.0], 5.01)])).doubts().is_empty());
        assert_eq!(measured(Ok(vec![outcome(&[1.0, 1.0, 1.0], 5.1)])).doubts().len(), 1);
        assert_eq!(measured(Ok(vec![outcome(&[1.0, 1.0], 5.0)])).doubts().len(), 1);
    }
}
