//! The pictures of README.md, drawn by the program from a recorded quickstart, and the test that they are up to date.
//!
//! `docs/pictures/quickstart` has what is drawn. To record another one and draw it:
//!
//! ```text
//! ft quickstart --out runs/pictures
//! ATTUNE_PICTURES=$PWD/runs/pictures cargo test -p attune --lib pictures
//! ```

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use attune_formats::files;
use attune_train::StepMetrics;
use attune_train::events::{Evaluated, Sample, Started};
use attune_train::run_dir::MetricsLine;
use serde_json::Value;

use crate::commands::quickstart;
use crate::live::view::View;
use crate::paint::{Ink, Line};

/// Names a fresh quickstart to record.
const RECORD: &str = "ATTUNE_PICTURES";
/// The files that the pictures are drawn from.
const RECORDED: [&str; 7] = [
    "run/log.jsonl",
    "run/metrics.jsonl",
    "evaluation.json",
    "clean/report.json",
    "split/report.json",
    "fused/export_report.json",
    "clerk.gguf.report.json",
];
/// The size of the terminal, and the step that the run has reached.
const COLUMNS: usize = 101;
const ROWS: usize = 24;
const SHARE_DONE: f64 = 0.4;

/// A character in the picture.
const WIDTH: f64 = 8.4;
const HEIGHT: f64 = 19.0;
const MARGIN: f64 = 18.0;

fn pictures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/pictures")
}

#[test]
fn the_pictures_of_the_readme_are_what_the_program_draws() {
    let recorded = pictures().join("quickstart");
    let fresh = std::env::var_os(RECORD).map(PathBuf::from);
    if let Some(fresh) = &fresh {
        record(fresh, &recorded);
    }
    for (name, picture) in [
        ("live.svg", terminal(&live_view(&recorded))),
        ("report.svg", quickstart::picture_of_report(&recorded).expect("a recorded quickstart")),
    ] {
        let path = pictures().join(name);
        if fresh.is_some() {
            files::write_atomic(&path, picture.as_bytes()).unwrap();
        }
        let kept = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        // A checkout may have other line ends.
        let kept = kept.replace("\r\n", "\n");
        assert!(kept == picture, "{name} is out of date: see the head of {}", file!());
    }
}

/// Takes over what is drawn, without paths and without what is never shown.
fn record(from: &Path, to: &Path) {
    for name in RECORDED {
        let text = std::fs::read_to_string(from.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let text = match name {
            "run/log.jsonl" => lines(&text, |line| ["started", "evaluated", "sample"].contains(&kind(line))),
            "run/metrics.jsonl" => text,
            _ => {
                let mut value: Value = serde_json::from_str(&text).unwrap();
                for key in ["model", "adapter", "inputs", "sources"] {
                    value.as_object_mut().unwrap().remove(key);
                }
                format!("{value:#}\n")
            }
        };
        let path = to.join(name);
        files::create_dir_all(path.parent().unwrap()).unwrap();
        files::write_atomic(&path, text.as_bytes()).unwrap();
    }
}

fn lines(text: &str, keep: impl Fn(&Value) -> bool) -> String {
    let keep = |line: &&str| keep(&serde_json::from_str(line).unwrap());
    text.lines().filter(keep).map(|line| format!("{line}\n")).collect()
}

fn kind(line: &Value) -> &str {
    line["event"].as_str().unwrap_or_default()
}

/// The view in the middle of the recorded run.
fn live_view(recorded: &Path) -> Vec<Line> {
    let read =
        |name: &str| std::fs::read_to_string(recorded.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let (log, metrics) = (read("run/log.jsonl"), read("run/metrics.jsonl"));
    let log: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let metrics: Vec<MetricsLine> = metrics.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut view = View::default();
    view.start(&started(log.iter().find(|line| kind(line) == "started").expect("a start")));
    let mut now = Duration::ZERO;
    let events = |view: &mut View, step: u64, now: &mut Duration| {
        for event in log.iter().filter(|event| event["step"].as_u64() == Some(step)) {
            match kind(event) {
                "evaluated" => {
                    let evaluated = evaluated(event);
                    *now += Duration::from_secs_f64(evaluated.seconds);
                    view.evaluate(&evaluated);
                }
                "sample" => view.sample(&sample(event)),
                _ => {}
            }
        }
    };
    events(&mut view, 0, &mut now);
    let done = (metrics.len() as f64 * SHARE_DONE) as usize;
    for line in &metrics[..done] {
        now += Duration::from_secs_f64(line.seconds);
        view.step(&step_metrics(line), now);
        events(&mut view, line.step, &mut now);
    }
    view.render(COLUMNS, ROWS, now)
}

fn started(event: &Value) -> Started {
    let number = |key: &str| event[key].as_u64().unwrap_or_else(|| panic!("{key}: {event}"));
    Started {
        run_dir: event["run_dir"].as_str().unwrap().into(),
        resumed: false,
        step: 0,
        total_steps: number("total_steps"),
        steps_per_epoch: number("steps_per_epoch"),
        batch_size: number("batch_size") as usize,
        trained_parameters: number("trained_parameters") as usize,
        adapter_modules: Some(number("adapter_modules") as usize),
        base_parameters: number("base_parameters") as usize,
        backend: event["backend"].as_str().unwrap().into(),
    }
}

fn evaluated(event: &Value) -> Evaluated {
    Evaluated {
        step: event["step"].as_u64().unwrap(),
        validation_loss: event["validation_loss"].as_f64().unwrap(),
        trained_tokens: event["trained_tokens"].as_u64().unwrap() as usize,
        best: event["best"] == true,
        seconds: event["seconds"].as_f64().unwrap(),
    }
}

fn sample(event: &Value) -> Sample {
    let text = |key: &str| event[key].as_str().map(str::to_owned);
    Sample {
        step: event["step"].as_u64().unwrap(),
        prompt: text("prompt").unwrap(),
        text: text("text").unwrap(),
        expected: text("expected"),
    }
}

fn step_metrics(line: &MetricsLine) -> StepMetrics {
    StepMetrics {
        step: line.step,
        epoch: line.epoch,
        loss: line.loss.unwrap(),
        learning_rate: line.learning_rate,
        grad_norm: line.grad_norm.unwrap(),
        tokens: line.tokens,
        trained_tokens: line.trained_tokens,
        tokens_per_sec: line.tokens_per_sec,
        trained_tokens_per_sec: line.trained_tokens_per_sec,
        seconds: line.seconds,
        peak_memory_bytes: line.peak_memory_bytes,
    }
}

/// A terminal with these lines, as SVG.
fn terminal(lines: &[Line]) -> String {
    let (width, height) = (COLUMNS as f64 * WIDTH + 2.0 * MARGIN, lines.len() as f64 * HEIGHT + 2.0 * MARGIN);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" role=\"img\" \
         aria-label=\"the live view of a run\">\n<rect width=\"100%\" height=\"100%\" rx=\"10\" fill=\"#14171d\"/>\n\
         <g font-family=\"ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace\" font-size=\"14\" xml:space=\"preserve\">\n"
    );
    for (row, line) in lines.iter().enumerate() {
        let y = MARGIN + (row as f64 + 0.75) * HEIGHT;
        let mut column = 0;
        for (ink, text) in line.pieces() {
            let columns = console::measure_text_width(text);
            // Spaces are left out, since viewers of pictures do with them what they like.
            let (bare, blank) = (text.trim(), text.len() - text.trim_start().len());
            if !bare.is_empty() {
                let (color, weight) = color(ink);
                // The length is given, since fonts differ in the width of what is no letter.
                let _ = writeln!(
                    svg,
                    "<text x=\"{:.1}\" y=\"{y:.1}\" textLength=\"{:.1}\" lengthAdjust=\"spacingAndGlyphs\" fill=\"{color}\"{weight}>{}</text>",
                    MARGIN + (column + blank) as f64 * WIDTH,
                    console::measure_text_width(bare) as f64 * WIDTH,
                    bare.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;"),
                );
            }
            column += columns;
        }
    }
    svg.push_str("</g>\n</svg>\n");
    svg
}

/// Colour on a dark terminal, and weight.
fn color(ink: Ink) -> (&'static str, &'static str) {
    match ink {
        Ink::Dim | Ink::Untrained | Ink::UntrainedSpecial => ("#8891a3", ""),
        Ink::Bold => ("#ffffff", " font-weight=\"700\""),
        Ink::Train => ("#5fc7e0", ""),
        Ink::Validation | Ink::Warning => ("#e9b95b", ""),
        Ink::Good | Ink::Trained | Ink::TrainedNext => ("#5fc98f", ""),
        Ink::Error => ("#f07178", ""),
        Ink::Plain => ("#d7dce5", ""),
    }
}
