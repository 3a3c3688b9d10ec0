//! The live view of a run: a panel on a terminal, plain lines elsewhere. Everything goes to stderr.
//!
//! Training calls [`Live`] between steps and never waits for a terminal: events only change a [`view::View`], and a
//! thread of its own draws it a few times per second. Lines that are to stay, such as warnings, are written above the
//! panel by the same thread.

mod chart;
pub(crate) mod format;
pub(crate) mod plain;
mod series;
pub(crate) mod view;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use attune_config::{Config, Display};
use attune_train::events::Started;
use attune_train::run_dir::MetricsLine;
use attune_train::{Event, Observer};
use console::Term;

use crate::paint::Line;
use view::View;

/// Time between two pictures: short enough to look alive, long enough to cost nothing.
const TICK: Duration = Duration::from_millis(125);

/// What is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Nothing.
    Quiet,
    /// A line per record.
    Plain,
    /// A panel that is redrawn in place.
    Panel,
}

/// Shows what a run tells.
#[derive(Debug)]
pub(crate) struct Live {
    mode: Mode,
    every_steps: u64,
    shared: Arc<Shared>,
    ticker: Option<JoinHandle<()>>,
}

/// What the training thread and the drawing thread share.
#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    wake: Condvar,
    begin: Instant,
}

#[derive(Debug, Default)]
struct State {
    view: View,
    total_steps: u64,
    /// Lines to be written above the panel.
    above: Vec<Line>,
    /// Lines to be written under the last picture.
    below: Vec<Line>,
    over: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Live {
    /// Starts to show a run as `config.logging` says. `interrupt` is watched, so that a request to stop is answered at
    /// once.
    pub(crate) fn new(config: &Config, interrupt: Arc<AtomicBool>) -> Self {
        let logging = &config.logging;
        let terminal = Term::stderr();
        // Old consoles of Windows know no escape codes; asking for colours turns them on where they are known.
        let knows_escapes = cfg!(not(windows)) || terminal.features().colors_supported();
        let can_redraw = terminal.is_term() && !console::is_dumb() && knows_escapes;
        let mode = match logging.display {
            Display::Quiet => Mode::Quiet,
            Display::Plain => Mode::Plain,
            Display::Auto | Display::Live if can_redraw => Mode::Panel,
            Display::Auto | Display::Live => Mode::Plain,
        };
        let shared = Arc::new(Shared { state: Mutex::default(), wake: Condvar::new(), begin: Instant::now() });
        let ticker = (mode != Mode::Quiet).then(|| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || draw_until_over(mode, &shared, &interrupt, &terminal))
        });
        let live = Self { mode, every_steps: logging.every_steps.max(1) as u64, shared, ticker };
        // Reading and checking a large model takes a while.
        live.say([plain::base_model(&config.model.path)]);
        live
    }

    /// Draws the last picture and what belongs under it. Dropping does the same.
    pub(crate) fn finish(self) {}

    fn say(&self, lines: impl IntoIterator<Item = Line>) {
        if self.mode != Mode::Quiet {
            self.shared.state().above.extend(lines);
            self.shared.wake.notify_one();
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.shared.state().over = true;
        self.shared.wake.notify_one();
        if let Some(ticker) = self.ticker.take() {
            // A panic of the drawing thread was already reported by itself.
            let _ = ticker.join();
        }
    }
}

impl Observer for Live {
    fn on(&mut self, event: &Event) {
        let now = self.shared.begin.elapsed();
        match event {
            Event::DataRead(read) => self.say(plain::data_read(read)),
            Event::Warning { message } => self.say([plain::warning(message)]),
            Event::Planned(planned) => self.say([plain::planned(planned)]),
            Event::Started(started) => {
                {
                    let mut state = self.shared.state();
                    state.total_steps = started.total_steps;
                    if started.resumed {
                        read_earlier(&mut state.view, started);
                    }
                    state.view.start(started);
                }
                self.say(plain::started(started));
            }
            Event::Step(metrics) => {
                let mut state = self.shared.state();
                state.view.step(metrics, now);
                let (total, remaining) = (state.total_steps, state.view.remaining(now));
                drop(state);
                let is_due = metrics.step.is_multiple_of(self.every_steps) || metrics.step == total;
                if self.mode == Mode::Plain && is_due {
                    self.say([plain::step(metrics, total, remaining)]);
                }
            }
            Event::BadStep(skipped) => {
                self.shared.state().view.skip(skipped.step);
                self.say([plain::skipped(skipped)]);
            }
            Event::Evaluated(evaluated) => {
                self.shared.state().view.evaluate(evaluated);
                self.say_plain(|| vec![plain::evaluated(evaluated)]);
            }
            Event::Sample(sample) => {
                self.shared.state().view.sample(sample);
                self.say_plain(|| plain::sample(sample));
            }
            Event::CheckpointSaved(saved) => {
                self.shared.state().view.saved(saved.step);
                self.say_plain(|| vec![plain::saved(saved)]);
            }
            Event::StoppedEarly { step, best } => self.say([plain::stopped_early(*step, best)]),
            Event::Interrupted { .. } | Event::Failed { .. } => {}
            Event::Finished(summary) => self.shared.state().below = plain::finished(summary, now),
        }
    }
}

impl Live {
    /// Says what the panel shows in its own way.
    fn say_plain(&self, lines: impl FnOnce() -> Vec<Line>) {
        if self.mode == Mode::Plain {
            self.say(lines());
        }
    }
}

/// The losses of the earlier part of a resumed run. Only for the picture, so whatever cannot be read is left out.
fn read_earlier(view: &mut View, started: &Started) {
    let Ok(file) = File::open(started.run_dir.join("metrics.jsonl")) else { return };
    for line in BufReader::new(file).lines().map_while(Result::ok) {
        let Ok(line) = serde_json::from_str::<MetricsLine>(&line) else { return };
        view.earlier(line.step, line.loss, line.validation_loss);
    }
}

fn draw_until_over(mode: Mode, shared: &Shared, interrupt: &AtomicBool, terminal: &Term) {
    let mut panel = Panel { colors: console::colors_enabled_stderr(), drawn: Vec::new() };
    let mut stop_was_said = false;
    loop {
        let mut state = shared.state();
        if !state.over && state.above.is_empty() {
            state = shared.wake.wait_timeout(state, TICK).unwrap_or_else(PoisonError::into_inner).0;
        }
        let over = state.over;
        if interrupt.load(Ordering::Relaxed) && !stop_was_said && !over {
            stop_was_said = true;
            state.view.stop();
            if mode == Mode::Plain {
                state.above.push(plain::stopping());
            }
        }
        let above = std::mem::take(&mut state.above);
        let below = if over { std::mem::take(&mut state.below) } else { Vec::new() };
        let (rows, columns) = terminal.size_checked().unwrap_or((24, 80));
        let picture = match mode {
            Mode::Panel => state.view.render(columns.into(), rows.into(), shared.begin.elapsed()),
            Mode::Plain | Mode::Quiet => Vec::new(),
        };
        // Writing may block on a slow terminal; training must not wait for it.
        drop(state);
        let text = match mode {
            Mode::Panel => panel.redraw(above, picture, below, columns.into()),
            Mode::Plain | Mode::Quiet => panel.lines(above.into_iter().chain(below)),
        };
        write(&text);
        if over {
            return;
        }
    }
}

/// Writes to stderr. A closed pipe is no reason to stop a training run.
fn write(text: &str) {
    if !text.is_empty() {
        let mut stderr = io::stderr().lock();
        let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
    }
}

/// A block of lines at the bottom of the terminal.
#[derive(Debug)]
struct Panel {
    colors: bool,
    /// The lines on the terminal: their text and their columns.
    drawn: Vec<(String, usize)>,
}

impl Panel {
    /// What to write so that `above` stays above the panel and `picture` takes the place of the last one.
    fn redraw(&mut self, above: Vec<Line>, picture: Vec<Line>, below: Vec<Line>, columns: usize) -> String {
        let picture: Vec<(String, usize)> =
            picture.iter().map(|line| (line.paint(self.colors), line.width())).collect();
        if above.is_empty() && below.is_empty() && picture == self.drawn {
            return String::new();
        }
        // Terminals that know the mode 2026 show everything up to its end at once; others ignore it.
        let mut text = String::from("\u{1b}[?2026h");
        // A terminal that became narrower since has broken the lines of the last picture.
        let rows: usize = self.drawn.iter().map(|(_, width)| width.div_ceil(columns.max(1)).max(1)).sum();
        if rows > 0 {
            text += &format!("\u{1b}[{rows}A\r");
        }
        let above = above.iter().map(|line| line.paint(self.colors));
        for line in above.chain(picture.iter().map(|(line, _)| line.clone())) {
            text += &line;
            text += "\u{1b}[K\n";
        }
        text += "\u{1b}[J\u{1b}[?2026l";
        text += &self.lines(below);
        self.drawn = picture;
        text
    }

    fn lines(&self, lines: impl IntoIterator<Item = Line>) -> String {
        lines.into_iter().map(|line| line.paint(self.colors) + "\n").collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(texts: &[&str]) -> Vec<Line> {
        texts.iter().map(|text| Line::from(*text)).collect()
    }

    #[test]
    fn a_picture_takes_the_place_of_the_last_one() {
        let mut panel = Panel { colors: false, drawn: Vec::new() };
        let first = panel.redraw(lines(&[]), lines(&["a", "b"]), lines(&[]), 80);
        assert_eq!(first, "\u{1b}[?2026ha\u{1b}[K\nb\u{1b}[K\n\u{1b}[J\u{1b}[?2026l");
        let second = panel.redraw(lines(&["warning"]), lines(&["c"]), lines(&[]), 80);
        assert_eq!(second, "\u{1b}[?2026h\u{1b}[2A\rwarning\u{1b}[K\nc\u{1b}[K\n\u{1b}[J\u{1b}[?2026l");
        assert_eq!(panel.redraw(lines(&[]), lines(&["c"]), lines(&[]), 80), "", "nothing changed");
        let last = panel.redraw(lines(&[]), lines(&["c"]), lines(&["done"]), 80);
        assert!(last.starts_with("\u{1b}[?2026h\u{1b}[1A\r") && last.ends_with("\u{1b}[?2026ldone\n"), "{last:?}");
    }

    #[test]
    fn a_narrower_terminal_has_broken_the_lines() {
        let mut panel = Panel { colors: false, drawn: Vec::new() };
        panel.redraw(lines(&[]), lines(&["0123456789", ""]), lines(&[]), 80);
        let text = panel.redraw(lines(&[]), lines(&["x"]), lines(&[]), 4);
        assert!(text.starts_with("\u{1b}[?2026h\u{1b}[4A\r"), "{text:?}");
    }
}
