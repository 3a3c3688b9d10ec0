//! The table of `cargo xtask bench formats`, and the raw numbers behind it.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::super::report::Spread;

/// One process, or one after the other, that made a file.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Run {
    /// Of reading the base and writing the file; without the gate.
    pub(super) seconds: f64,
    /// Of these, waiting at the end until the disk had everything.
    pub(super) sync_seconds: Option<f64>,
    /// Of the whole command.
    pub(super) wall_seconds: f64,
    pub(super) anonymous_bytes: Option<u64>,
    pub(super) output_bytes: u64,
    /// What the gate said; a peer has none.
    pub(super) accepted: Option<bool>,
}

impl Run {
    fn to_json(self) -> Value {
        json!({
            "seconds": self.seconds,
            "sync_seconds": self.sync_seconds,
            "wall_seconds": self.wall_seconds,
            "anonymous_bytes": self.anonymous_bytes,
            "output_bytes": self.output_bytes,
            "accepted": self.accepted,
        })
    }
}

/// All runs of one side, or why there are none.
pub(super) type Side = Result<Vec<Run>, String>;

/// One kind of output.
#[derive(Debug, Clone)]
pub(super) struct Measured {
    pub(super) name: &'static str,
    /// Bytes of the base's weights.
    pub(super) input_bytes: u64,
    pub(super) attune: Side,
    /// `None` where the peer has nothing of the kind.
    pub(super) peer: Option<Side>,
}

/// Medians of a side.
struct Cells {
    speed: String,
    sync: String,
    wall: String,
    memory: String,
}

impl Cells {
    fn of(side: Option<&Side>, input_bytes: u64) -> Self {
        let dash = || "-".to_string();
        let runs = match side {
            None => return Self { speed: dash(), sync: dash(), wall: dash(), memory: dash() },
            Some(Err(reason)) => {
                let speed = format!("not run: {}", reason.replace('|', "/").replace('\n', " "));
                return Self { speed, sync: dash(), wall: dash(), memory: dash() };
            }
            Some(Ok(runs)) => runs,
        };
        let megabytes = input_bytes as f64 / 1e6;
        let speed = Spread::of(runs.iter().map(|run| megabytes / run.seconds));
        let sync = Spread::of(runs.iter().filter_map(|run| run.sync_seconds));
        let wall = Spread::of(runs.iter().map(|run| run.wall_seconds));
        // The most of all: memory that is needed once is needed.
        let memory = runs.iter().filter_map(|run| run.anonymous_bytes).max();
        Self {
            speed: speed.map_or_else(dash, |of| format!("{:.0} ({:.0}-{:.0})", of.median, of.min, of.max)),
            sync: sync.map_or_else(dash, |of| format!("{:.2}", of.median)),
            wall: wall.map_or_else(dash, |of| format!("{:.2}", of.median)),
            memory: memory.map_or_else(dash, |bytes| format!("{:.2}", bytes as f64 / 1e9)),
        }
    }
}

impl Measured {
    /// How many times as fast Attune is, by medians of `seconds`.
    fn ratio(&self, seconds: impl Fn(&Run) -> f64) -> Option<f64> {
        let median = |runs: &[Run]| Some(Spread::of(runs.iter().map(&seconds))?.median);
        Some(median(self.peer.as_ref()?.as_ref().ok()?)? / median(self.attune.as_ref().ok()?)?)
    }

    fn line(&self) -> String {
        let ours = Cells::of(Some(&self.attune), self.input_bytes);
        let theirs = Cells::of(self.peer.as_ref(), self.input_bytes);
        let times = |ratio: Option<f64>| ratio.map_or_else(|| "-".to_string(), |ratio| format!("{ratio:.2}x"));
        let cells = [
            self.name.to_string(),
            ours.speed,
            theirs.speed,
            times(self.ratio(|run| run.seconds)),
            ours.sync,
            ours.wall,
            theirs.wall,
            times(self.ratio(|run| run.wall_seconds)),
            ours.memory,
            theirs.memory,
        ];
        format!("| {} |", cells.join(" | "))
    }

    fn to_json(&self) -> Value {
        let side = |side: &Side| match side {
            Ok(runs) => json!({ "runs": runs.iter().map(|run| run.to_json()).collect::<Vec<Value>>() }),
            Err(reason) => json!({ "not_run": reason }),
        };
        json!({
            "output": self.name,
            "input_bytes": self.input_bytes,
            "attune": side(&self.attune),
            "peer": self.peer.as_ref().map(side),
        })
    }
}

/// What ran where.
#[derive(Debug, Clone)]
pub(super) struct Head {
    pub(super) date: String,
    pub(super) processor: String,
    pub(super) threads: usize,
    pub(super) attune: String,
    pub(super) peer: String,
    pub(super) shape: &'static str,
    pub(super) rounds: usize,
    pub(super) scratch: String,
}

/// The Markdown of all measurements.
pub(super) fn table(head: &Head, measured: &[Measured]) -> String {
    let mut text = format!(
        "{}, {}, {} threads. {}; peer: {}. {}, random bf16 weights; {} rounds, alternating; written to {}. MB of the \
         base's weights a second of writing: median (min-max).\n\n",
        head.date, head.processor, head.threads, head.attune, head.peer, head.shape, head.rounds, head.scratch
    );
    let columns = [
        "output",
        "Attune, MB/s",
        "llama.cpp, MB/s",
        "ratio",
        "Attune, of it waiting for the disk, s",
        "Attune, whole command with a short gate, s",
        "llama.cpp",
        "ratio",
        "Attune, anonymous memory, GB",
        "llama.cpp",
    ];
    let _ = writeln!(text, "| {} |\n|{}", columns.join(" | "), "---|".repeat(columns.len()));
    for one in measured {
        text += &one.line();
        text.push('\n');
    }
    for one in measured {
        if one.attune.iter().flatten().any(|run| run.accepted == Some(false)) {
            let _ = writeln!(text, "\nThe gate refused {}: random weights, or a fault.", one.name);
        }
    }
    text
}

/// All numbers.
pub(super) fn raw(head: &Head, measured: &[Measured]) -> Value {
    json!({
        "date": head.date,
        "processor": head.processor,
        "threads": head.threads,
        "attune": head.attune,
        "peer": head.peer,
        "shape": head.shape,
        "rounds": head.rounds,
        "scratch": head.scratch,
        "measured": measured.iter().map(Measured::to_json).collect::<Vec<Value>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(seconds: f64) -> Run {
        Run {
            seconds,
            sync_seconds: Some(0.5),
            wall_seconds: 2.0 * seconds,
            anonymous_bytes: Some(1_500_000_000),
            output_bytes: 1,
            accepted: Some(true),
        }
    }

    #[test]
    fn medians_are_compared() {
        let attune = Ok(vec![run(2.0), run(9.0), run(4.0)]);
        let one = Measured { name: "x", input_bytes: 4_000_000_000, attune, peer: Some(Ok(vec![run(10.0)])) };
        let line = one.line();
        let cells: Vec<&str> = line.trim_matches(['|', ' ']).split(" | ").collect();
        assert_eq!(cells[1..4], ["1000 (444-2000)", "400 (400-400)", "2.50x"]);
        assert_eq!(cells[4..], ["0.50", "8.00", "20.00", "2.50x", "1.50", "1.50"]);
    }

    #[test]
    fn what_was_not_run_says_why_and_what_was_refused_is_named() {
        let refused = Run { accepted: Some(false), ..run(1.0) };
        let peer = Some(Err("there is no Python 3".into()));
        let one = Measured { name: "q4_k_m", input_bytes: 1, attune: Ok(vec![refused]), peer };
        assert!(one.line().contains("not run: there is no Python 3"), "{}", one.line());
        let head = Head {
            date: "2026-11-25".into(),
            processor: "x".into(),
            threads: 2,
            attune: "ft".into(),
            peer: "none".into(),
            shape: "tiny",
            rounds: 1,
            scratch: "target".into(),
        };
        assert!(table(&head, &[one]).contains("The gate refused q4_k_m"));
        let nothing = Measured { name: "fuse", input_bytes: 1, attune: Ok(Vec::new()), peer: None };
        assert_eq!(nothing.line().matches(" - ").count(), 9, "{}", nothing.line());
    }
}
