//! What the panel shows: a state that events change, and its picture as lines of text. No terminal, no clock.

use std::collections::VecDeque;
use std::time::Duration;

use attune_train::StepMetrics;
use attune_train::events::{Evaluated, Sample, Started};

use super::chart::{self, Curves};
use super::format::{bytes, count, duration, grouped, loss, rate, scientific};
use super::plain;
use super::series::Series;
use crate::paint::{Ink, Line, one_line};

/// Steps over which rates and the remaining time are averaged.
const RATE_STEPS: usize = 32;
/// Rows that the loss curve takes at most.
const CHART_ROWS: usize = 8;
/// Columns beyond which lines become hard to read.
const MOST_COLUMNS: usize = 120;

/// What the panel knows about a run.
#[derive(Debug, Default)]
pub(crate) struct View {
    started: Option<Started>,
    /// Steps done, skipped ones included.
    done: u64,
    train: Series,
    validation: Series,
    last: Option<StepMetrics>,
    evaluated: Option<Evaluated>,
    best: Option<Evaluated>,
    sample: Option<Sample>,
    saved_step: Option<u64>,
    skipped_steps: u64,
    recent: VecDeque<Recent>,
    stopping: bool,
}

/// One of the last steps.
#[derive(Debug)]
struct Recent {
    /// When it ended, from the start of the program's part of the run.
    at: Duration,
    tokens: usize,
    trained_tokens: usize,
    seconds: f64,
}

impl View {
    /// Training begins or goes on.
    pub(crate) fn start(&mut self, started: &Started) {
        self.started = Some(started.clone());
        self.done = started.step;
    }

    /// The loss of a step that an earlier part of the run made.
    pub(crate) fn earlier(&mut self, step: u64, loss: Option<f64>, validation_loss: Option<f64>) {
        self.train.push(step, loss.unwrap_or(f64::NAN));
        self.validation.push(step, validation_loss.unwrap_or(f64::NAN));
    }

    /// A step is done.
    pub(crate) fn step(&mut self, metrics: &StepMetrics, at: Duration) {
        self.done = metrics.step;
        self.train.push(metrics.step, metrics.loss);
        if self.recent.len() == RATE_STEPS {
            self.recent.pop_front();
        }
        self.recent.push_back(Recent {
            at,
            tokens: metrics.tokens,
            trained_tokens: metrics.trained_tokens,
            seconds: metrics.seconds,
        });
        self.last = Some(metrics.clone());
    }

    /// A step was skipped.
    pub(crate) fn skip(&mut self, step: u64) {
        self.done = step;
        self.skipped_steps += 1;
    }

    /// The validation loss was measured.
    pub(crate) fn evaluate(&mut self, evaluated: &Evaluated) {
        self.validation.push(evaluated.step, evaluated.validation_loss);
        self.evaluated = Some(*evaluated);
        if evaluated.best {
            self.best = Some(*evaluated);
        }
    }

    /// The model continued a prompt.
    pub(crate) fn sample(&mut self, sample: &Sample) {
        self.sample = Some(sample.clone());
    }

    /// A checkpoint is complete.
    pub(crate) fn saved(&mut self, step: u64) {
        self.saved_step = Some(step);
    }

    /// The run was asked to stop and has not yet done so.
    pub(crate) fn stop(&mut self) {
        self.stopping = true;
    }

    /// Tokens and trained tokens per second of computing, over the last steps.
    pub(crate) fn rates(&self) -> Option<(f64, f64)> {
        let seconds: f64 = self.recent.iter().map(|step| step.seconds).sum();
        let sum = |tokens: fn(&Recent) -> usize| self.recent.iter().map(|step| tokens(step) as f64).sum::<f64>();
        (seconds > 0.0).then(|| (sum(|step| step.tokens) / seconds, sum(|step| step.trained_tokens) / seconds))
    }

    /// Time until the last step is done, with the evaluations between the last steps counted in.
    pub(crate) fn remaining(&self, now: Duration) -> Option<Duration> {
        let started = self.started.as_ref()?;
        let (first_at, last_at) = (self.recent.front()?, self.recent.back()?);
        let per_step = match self.recent.len() {
            1 => last_at.seconds,
            steps => (last_at.at.saturating_sub(first_at.at)).as_secs_f64() / (steps - 1) as f64,
        };
        let steps = started.total_steps.saturating_sub(self.done);
        let under_way = now.saturating_sub(last_at.at).as_secs_f64().min(per_step);
        Duration::try_from_secs_f64((steps as f64 * per_step - under_way).max(0.0)).ok()
    }

    /// The panel for a terminal of that size; fewer lines than `rows`, none wider than `columns`.
    pub(crate) fn render(&self, columns: usize, rows: usize, now: Duration) -> Vec<Line> {
        // The last column stays free: some terminals wrap when it is written.
        let columns = columns.saturating_sub(1).min(MOST_COLUMNS);
        let Some(started) = &self.started else { return Vec::new() };
        let mut below = vec![self.progress(started, columns)];
        below.extend(self.numbers(columns, now));
        below.extend(self.state_line(started));
        let mut room = rows.saturating_sub(1);
        below.truncate(room);
        room -= below.len();

        let samples = self.sample_lines();
        let samples = if room >= samples.len() { samples } else { Vec::new() };
        room -= samples.len();

        let mut lines = Vec::new();
        if room > 2 {
            let curves = Curves { train: self.train.points(), validation: self.validation.points() };
            lines.extend(chart::draw(curves, columns, (room - 1).min(CHART_ROWS)));
        }
        lines.extend(below);
        lines.extend(samples);
        lines.into_iter().map(|line| line.cut(columns)).collect()
    }

    /// Bar, steps and epochs.
    fn progress(&self, started: &Started, columns: usize) -> Line {
        let (total, per_epoch) = (started.total_steps.max(1), started.steps_per_epoch.max(1));
        let step = self.done;
        let epochs = total as f64 / per_epoch as f64;
        let epoch = step as f64 / per_epoch as f64;
        let text = format!(
            " step {}/{}  epoch {epoch:.2}/{}",
            grouped(step),
            grouped(total),
            if epochs.fract() == 0.0 { format!("{epochs:.0}") } else { format!("{epochs:.2}") },
        );
        let bar_columns = columns.saturating_sub(text.len() + 2).min(60);
        let mut line = Line::new().with(Ink::Plain, " ");
        if bar_columns >= 8 {
            let done = (bar_columns as f64 * step as f64 / total as f64) as usize;
            let done = done.min(bar_columns);
            line.push(Ink::Good, "━".repeat(done));
            line.push(Ink::Dim, "─".repeat(bar_columns - done));
        }
        line.with(Ink::Bold, text)
    }

    /// Losses, rates, memory and time, in as many lines as they need.
    fn numbers(&self, columns: usize, now: Duration) -> Vec<Line> {
        let mut fields = Vec::new();
        let field =
            |label: &str, ink: Ink, value: String| Line::new().with(Ink::Dim, format!("{label} ")).with(ink, value);
        if let Some(last) = &self.last {
            fields.push(field("loss", Ink::Train, loss(last.loss)));
        }
        if let Some(evaluated) = self.evaluated {
            let mut validation = field("● validation", Ink::Validation, loss(evaluated.validation_loss));
            if let Some(best) = self.best.filter(|best| best.step != evaluated.step) {
                validation.push(Ink::Dim, format!(" (best {} at {})", loss(best.validation_loss), grouped(best.step)));
            }
            fields.push(validation);
        }
        if let Some(last) = &self.last {
            fields.push(field("learning rate", Ink::Plain, scientific(last.learning_rate)));
            fields.push(field("grad norm", Ink::Plain, format!("{:.3}", last.grad_norm)));
        }
        if let Some((tokens, trained)) = self.rates() {
            let text = format!("{} ({} trained)", rate(tokens), rate(trained));
            fields.push(field("tokens/s", Ink::Plain, text));
        }
        if let Some(peak) = self.last.as_ref().and_then(|last| last.peak_memory_bytes) {
            fields.push(field("peak memory", Ink::Plain, bytes(peak)));
        }
        fields.push(field("elapsed", Ink::Plain, duration(now)));
        if let Some(remaining) = self.remaining(now) {
            fields.push(field("left", Ink::Bold, duration(remaining)));
        }
        flow(fields, columns)
    }

    /// What is said only when there is something to say.
    fn state_line(&self, started: &Started) -> Option<Line> {
        let mut fields = Vec::new();
        if self.stopping {
            fields.push(plain::stopping());
        } else if self.last.is_none() {
            let what = if started.step == 0 { "starting" } else { "resuming" };
            fields.push(Line::new().with(Ink::Dim, format!("{what} ...")));
        }
        if let Some(step) = self.saved_step {
            fields.push(Line::new().with(Ink::Dim, format!("checkpoint at step {}", grouped(step))));
        }
        if self.skipped_steps > 0 {
            fields.push(Line::new().with(Ink::Warning, format!("{} skipped", plural(self.skipped_steps, "step"))));
        }
        flow(fields, usize::MAX).into_iter().next()
    }

    fn sample_lines(&self) -> Vec<Line> {
        let Some(sample) = &self.sample else { return Vec::new() };
        let row = |label: &str, ink: Ink, text: &str| {
            Line::new().with(Ink::Dim, format!(" {label:>8} ")).with(ink, one_line(text.trim()))
        };
        let mut lines = vec![row("prompt", Ink::Plain, &sample.prompt), row("answer", Ink::Bold, &sample.text)];
        if let Some(expected) = &sample.expected {
            lines.push(row("expected", Ink::Dim, expected));
        }
        lines
    }
}

/// `1 step`, `2 steps`.
pub(crate) fn plural(number: u64, noun: &str) -> String {
    format!("{} {noun}{}", grouped(number), if number == 1 { "" } else { "s" })
}

/// What is trained on what and where, in one line.
pub(crate) fn headline(started: &Started) -> String {
    let Started { trained_parameters, adapter_modules, base_parameters, batch_size, backend, .. } = started;
    let trained = count(*trained_parameters as u64);
    let what = match adapter_modules {
        Some(modules) => {
            let base = count(*base_parameters as u64);
            format!("{trained} values in {} modules on a base of {base}", grouped(*modules as u64))
        }
        None => format!("all {trained} weights"),
    };
    format!("{what}, batch size {batch_size}, {backend}")
}

/// Fields one after the other, in as many lines as they need.
fn flow(fields: Vec<Line>, columns: usize) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for field in fields {
        match lines.last_mut() {
            Some(line) if line.width() + 3 + field.width() <= columns => {
                line.push(Ink::Plain, "   ");
                line.extend(field);
            }
            _ => {
                let mut line = Line::from(" ");
                line.extend(field);
                lines.push(line);
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started(step: u64, total_steps: u64) -> Started {
        Started {
            run_dir: "runs/x".into(),
            resumed: step > 0,
            step,
            total_steps,
            steps_per_epoch: 10,
            batch_size: 8,
            trained_parameters: 41_216,
            adapter_modules: Some(14),
            base_parameters: 1_235_814_400,
            backend: "cpu (avx2, 2 threads)".into(),
        }
    }

    fn metrics(step: u64, loss: f64) -> StepMetrics {
        StepMetrics {
            step,
            epoch: step as f64 / 10.0,
            loss,
            learning_rate: 2e-4,
            grad_norm: 0.5,
            tokens: 1000,
            trained_tokens: 400,
            tokens_per_sec: 500.0,
            trained_tokens_per_sec: 200.0,
            seconds: 2.0,
            peak_memory_bytes: Some(212 << 20),
        }
    }

    fn evaluated(step: u64, validation_loss: f64, best: bool) -> Evaluated {
        Evaluated { step, validation_loss, trained_tokens: 10, best, seconds: 0.1 }
    }

    fn running() -> View {
        let mut view = View::default();
        view.start(&started(0, 20));
        view.evaluate(&evaluated(0, 6.2, false));
        for step in 1..=10 {
            // Two seconds of computing and one of other things per step.
            view.step(&metrics(step, 6.0 - 0.2 * step as f64), Duration::from_secs(3 * step));
        }
        view.evaluate(&evaluated(5, 4.9, true));
        view.evaluate(&evaluated(10, 5.0, false));
        view.sample(&Sample {
            step: 10,
            prompt: "What is\nred?".into(),
            text: "a colour\u{1b}[31m".into(),
            expected: Some("A colour.".into()),
        });
        view
    }

    fn text(view: &View, columns: usize, rows: usize) -> String {
        let lines = view.render(columns, rows, Duration::from_secs(30));
        lines.iter().map(|line| line.paint(false) + "\n").collect()
    }

    #[test]
    fn everything_that_was_asked_for_is_on_the_panel() {
        let text = text(&running(), 100, 40);
        for wanted in [
            "step 10/20",
            "epoch 1.00/2",
            "loss 4.0000",
            "● validation 5.0000 (best 4.9000 at 5)",
            "learning rate 2.00e-4",
            "tokens/s 500 (200 trained)",
            "peak memory 212 MiB",
            "elapsed 30s",
            "left 30s",
            "prompt What is⏎red?",
            "answer a colour·[31m",
            "expected A colour.",
            " 6.20 ┤",
            "━",
        ] {
            assert!(text.contains(wanted), "{wanted:?} is not in\n{text}");
        }
        assert!(!text.contains('\u{1b}'));
    }

    #[test]
    fn the_panel_fits_every_terminal() {
        for view in [running(), View::default(), {
            let mut view = View::default();
            view.start(&started(7, 9));
            view
        }] {
            for columns in 0..140 {
                for rows in 0..30 {
                    let lines = view.render(columns, rows, Duration::from_secs(30));
                    assert!(lines.len() < rows.max(1), "{columns}x{rows}: {} lines", lines.len());
                    let widest = lines.iter().map(Line::width).max().unwrap_or(0);
                    assert!(widest < columns.max(1), "{columns}x{rows}: {widest} columns");
                }
            }
        }
    }

    #[test]
    fn the_progress_outlives_the_curve_when_there_is_little_room() {
        let text = text(&running(), 60, 5);
        assert!(text.contains("step 10/20") && !text.contains('┤'), "{text}");
    }

    #[test]
    fn remaining_time_counts_evaluations_and_the_step_under_way() {
        let view = running();
        // Ten steps at three seconds each; half of the eleventh is done.
        assert_eq!(view.remaining(Duration::from_secs(30)), Some(Duration::from_secs(30)));
        assert_eq!(view.remaining(Duration::from_millis(31_500)), Some(Duration::from_millis(28_500)));
        // A step that takes longer than usual does not count below its end.
        assert_eq!(view.remaining(Duration::from_secs(600)), Some(Duration::from_secs(27)));
        assert_eq!(View::default().remaining(Duration::ZERO), None);
    }

    #[test]
    fn a_resumed_run_shows_its_earlier_curve() {
        let mut view = View::default();
        for step in 1..=5 {
            view.earlier(step, Some(6.0 - step as f64), (step == 5).then_some(1.5));
        }
        view.start(&started(5, 20));
        let text = text(&view, 80, 30);
        assert!(text.contains(" 5.00 ┤") && text.contains('●') && text.contains("resuming"), "{text}");
        assert!(text.contains("step 5/20"), "{text}");
    }

    #[test]
    fn skipped_steps_count_as_done_and_are_counted() {
        let mut view = running();
        view.skip(11);
        view.skip(12);
        let text = text(&view, 120, 40);
        assert!(text.contains("step 12/20") && text.contains("2 steps skipped"), "{text}");
    }

    #[test]
    fn stopping_is_said() {
        let mut view = running();
        view.stop();
        assert!(text(&view, 120, 40).contains("stopping: a checkpoint is saved"));
    }
}
