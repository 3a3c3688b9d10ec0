//! The live view as a picture for the README. A test draws it from a recorded run and holds the committed file to it; with
//! `ATTUNE_PICTURES=write` it writes the file anew.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use attune_train::StepMetrics;
use attune_train::events::{Evaluated, Started};
use attune_train::run_dir::MetricsLine;

use super::view::View;
use crate::paint::{Ink, Line};

const COLUMNS: usize = 100;
const ROWS: usize = 24;
/// Of a character of the font, in pixels.
const WIDTH: f64 = 8.0;
const HEIGHT: f64 = 17.0;

/// Metrics of the run that `ft quickstart` makes, up to the step that is shown.
const RECORDED: &str = include_str!("../../../../docs/pictures/run.jsonl");

/// Lines of a terminal as SVG. Every character has its own place, so that no font can move it.
fn svg(lines: &[Line]) -> String {
    let (width, height) = (COLUMNS as f64 * WIDTH + 24.0, lines.len() as f64 * HEIGHT + 26.0);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"ui-monospace,Menlo,Consolas,monospace\" \
         font-size=\"13\" role=\"img\" aria-label=\"ft train while it runs\">\n\
         <rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"#14171d\"/>\n"
    );
    for (row, line) in lines.iter().enumerate() {
        let y = 26.0 + row as f64 * HEIGHT;
        let mut column = 0;
        for (ink, text) in line.pieces() {
            let (fill, weight) = match ink {
                Ink::Dim | Ink::Untrained | Ink::UntrainedSpecial => ("#7d8798", "400"),
                Ink::Bold => ("#ffffff", "700"),
                Ink::Train => ("#5ec8d8", "400"),
                Ink::Validation => ("#e2b55a", "400"),
                Ink::Good | Ink::Trained | Ink::TrainedNext => ("#63c58e", "400"),
                Ink::Warning => ("#e2b55a", "700"),
                Ink::Error => ("#e06c6c", "700"),
                Ink::Plain => ("#d9dee7", "400"),
            };
            let count = text.chars().count();
            if !text.trim().is_empty() {
                let places: Vec<String> =
                    (column..column + count).map(|at| format!("{:.0}", 12.0 + at as f64 * WIDTH)).collect();
                let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace(' ', "\u{a0}");
                let _ = writeln!(
                    out,
                    "<text x=\"{}\" y=\"{y}\" fill=\"{fill}\" font-weight=\"{weight}\">{text}</text>",
                    places.join(" ")
                );
            }
            column += count;
        }
    }
    out + "</svg>\n"
}

/// What the panel shows after the recorded steps.
fn panel() -> Vec<Line> {
    let lines: Vec<MetricsLine> = RECORDED.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (first, last) = (&lines[0], &lines[lines.len() - 1]);
    let steps_per_epoch = (last.step as f64 / last.epoch).round() as u64;
    let mut view = View::default();
    view.start(&Started {
        run_dir: "runs/quickstart/run".into(),
        resumed: false,
        step: 0,
        total_steps: 6 * steps_per_epoch,
        steps_per_epoch,
        batch_size: 8,
        trained_parameters: 0,
        adapter_modules: None,
        base_parameters: 0,
        backend: String::new(),
    });
    let mut best = f64::INFINITY;
    let mut at = 0.0;
    for line in &lines {
        // The speed is that of one machine at one moment: even steps draw the same picture everywhere.
        let seconds = 0.1;
        at += seconds;
        view.step(
            &StepMetrics {
                step: line.step,
                epoch: line.epoch,
                loss: line.loss.unwrap(),
                learning_rate: line.learning_rate,
                grad_norm: line.grad_norm.unwrap(),
                tokens: line.tokens,
                trained_tokens: line.trained_tokens,
                tokens_per_sec: line.tokens as f64 / seconds,
                trained_tokens_per_sec: line.trained_tokens as f64 / seconds,
                seconds,
                peak_memory_bytes: first.peak_memory_bytes,
            },
            Duration::from_secs_f64(at),
        );
        if let Some(validation_loss) = line.validation_loss {
            let is_best = validation_loss < best;
            best = best.min(validation_loss);
            view.evaluate(&Evaluated {
                step: line.step,
                validation_loss,
                trained_tokens: 0,
                best: is_best,
                seconds: 0.1,
            });
        }
    }
    view.render(COLUMNS, ROWS, Duration::from_secs_f64(at))
}

#[test]
fn the_picture_in_the_readme_is_what_the_program_draws() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/pictures/live.svg");
    let drawn = svg(&panel());
    if std::env::var_os("ATTUNE_PICTURES").is_some_and(|value| value == "write") {
        attune_formats::files::write_atomic(&path, drawn.as_bytes()).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap();
    assert!(kept == drawn, "docs/pictures/live.svg is stale: ATTUNE_PICTURES=write cargo test -p attune picture");
}
