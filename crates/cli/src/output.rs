//! Where results go: stdout, and nothing else goes there. Closed pipes are errors, not panics.

use std::io::{self, Write};

use crate::failure::Failure;
use crate::paint::Line;

/// Writes a result and the line's end to stdout.
///
/// # Errors
/// When stdout is closed or full.
pub(crate) fn result(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.write_all(b"\n")?;
    Ok(stdout.flush()?)
}

/// Writes a part of a result to stdout, as it comes.
///
/// # Errors
/// When stdout is closed or full.
pub(crate) fn stream(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// Writes lines for people to stderr, in colours on a terminal. When stderr is closed nobody wants to read them.
pub(crate) fn say(lines: &[Line]) {
    let colors = console::colors_enabled_stderr();
    let text: String = lines.iter().map(|line| line.paint(colors) + "\n").collect();
    let mut stderr = io::stderr().lock();
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}
