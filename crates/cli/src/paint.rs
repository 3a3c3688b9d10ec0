//! Text in colours: lines of painted pieces that can be measured, cut and printed with or without escape codes.

use std::borrow::Cow;

use console::{Style, measure_text_width, truncate_str};

/// What a piece of text is, which decides its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ink {
    /// No colour.
    Plain,
    /// Of less interest: frames, labels.
    Dim,
    /// Of more interest: headings, numbers.
    Bold,
    /// The training loss and its curve.
    Train,
    /// The validation loss and its points.
    Validation,
    /// What has been done.
    Good,
    /// Something to look at.
    Warning,
    /// Something went wrong.
    Error,
    /// A trained token.
    Trained,
    /// The trained token after a trained token, so that their border shows.
    TrainedNext,
    /// A token that is not trained.
    Untrained,
    /// A special token that is not trained.
    UntrainedSpecial,
}

impl Ink {
    fn style(self) -> Style {
        let style = Style::new().force_styling(true);
        match self {
            Self::Plain => style,
            Self::Dim | Self::Untrained => style.dim(),
            Self::Bold => style.bold(),
            Self::Train => style.cyan(),
            Self::Validation => style.yellow(),
            Self::Good => style.green(),
            Self::Warning => style.yellow().bold(),
            Self::Error => style.red().bold(),
            Self::Trained => style.bold().green().on_color256(236),
            Self::TrainedNext => style.bold().green().on_color256(239),
            Self::UntrainedSpecial => style.dim().magenta(),
        }
    }

    /// `text` with this ink's escape codes, or as it is without `colors`.
    pub(crate) fn paint(self, text: &str, colors: bool) -> Cow<'_, str> {
        if !colors || self == Self::Plain || text.is_empty() {
            return Cow::Borrowed(text);
        }
        Cow::Owned(self.style().apply_to(text).to_string())
    }
}

/// One line of painted pieces, without a line break.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Line {
    pieces: Vec<(Ink, String)>,
}

impl Line {
    /// An empty line.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds a piece.
    #[must_use]
    pub(crate) fn with(mut self, ink: Ink, text: impl Into<String>) -> Self {
        self.push(ink, text);
        self
    }

    /// Adds a piece.
    pub(crate) fn push(&mut self, ink: Ink, text: impl Into<String>) {
        let text = text.into();
        if !text.is_empty() {
            self.pieces.push((ink, text));
        }
    }

    /// Adds the pieces of another line.
    pub(crate) fn extend(&mut self, other: Self) {
        self.pieces.extend(other.pieces);
    }

    /// Its pieces.
    #[cfg(test)]
    pub(crate) fn pieces(&self) -> impl Iterator<Item = (Ink, &str)> {
        self.pieces.iter().map(|(ink, text)| (*ink, text.as_str()))
    }

    /// Columns that it takes on a terminal.
    pub(crate) fn width(&self) -> usize {
        self.pieces.iter().map(|(_, text)| measure_text_width(text)).sum()
    }

    /// The same line in at most `columns` columns, ending with `…` when something was cut off.
    #[must_use]
    pub(crate) fn cut(self, columns: usize) -> Self {
        if self.width() <= columns {
            return self;
        }
        let mut rest = columns;
        let mut cut = Self::new();
        for (ink, text) in self.pieces {
            let width = measure_text_width(&text);
            // One column is kept for the mark, since this line is known to be too long.
            if width < rest {
                rest -= width;
                cut.pieces.push((ink, text));
            } else {
                let mark = if rest == 0 { "" } else { "…" };
                // The tail counts; a piece that just fills the rest is followed by more, so it is cut as well.
                let shortened = truncate_str(&text, rest.saturating_sub(1), "").into_owned() + mark;
                cut.push(ink, shortened);
                break;
            }
        }
        cut
    }

    /// The line with or without escape codes.
    pub(crate) fn paint(&self, colors: bool) -> String {
        self.pieces.iter().map(|(ink, text)| ink.paint(text, colors)).collect()
    }
}

impl From<&str> for Line {
    fn from(text: &str) -> Self {
        Self::new().with(Ink::Plain, text)
    }
}

impl From<String> for Line {
    fn from(text: String) -> Self {
        Self::new().with(Ink::Plain, text)
    }
}

/// Text from outside on one line of a terminal: line breaks become `⏎`, other control characters `·`, so that no text
/// can move the cursor or change colours.
pub(crate) fn one_line(text: &str) -> String {
    let text = text.replace("\r\n", "\n");
    let shown = text.chars().map(|c| match c {
        '\n' => '⏎',
        '\t' => ' ',
        c if c.is_control() || is_bidi_control(c) => '·',
        c => c,
    });
    shown.collect()
}

/// Characters that change the direction of the text around them.
fn is_bidi_control(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Text from outside over several lines, each of them safe to print.
pub(crate) fn printable(text: &str) -> String {
    text.split('\n').map(one_line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_to_the_column() {
        let line = Line::new().with(Ink::Bold, "loss").with(Ink::Plain, " 3.21").with(Ink::Dim, " step");
        assert_eq!(line.width(), 14);
        let cut = |columns| line.clone().cut(columns).paint(false);
        assert_eq!(cut(14), "loss 3.21 step");
        assert_eq!(cut(13), "loss 3.21 st…");
        assert_eq!(cut(9), "loss 3.2…");
        assert_eq!(cut(4), "los…");
        assert_eq!(cut(1), "…");
        assert_eq!(cut(0), "");
        for columns in 0..16 {
            assert!(line.clone().cut(columns).width() <= columns, "{columns}");
        }
    }

    #[test]
    fn wide_characters_count_twice() {
        let line = Line::from("日本語");
        assert_eq!(line.width(), 6);
        assert!(line.clone().cut(4).width() <= 4);
        assert_eq!(line.cut(3).paint(false), "日…");
    }

    #[test]
    fn colours_only_when_asked_for() {
        let line = Line::new().with(Ink::Error, "error").with(Ink::Plain, ": no");
        assert_eq!(line.paint(false), "error: no");
        let painted = line.paint(true);
        assert!(painted.contains("\u{1b}[31m") && painted.ends_with(": no"), "{painted:?}");
        assert_eq!(console::strip_ansi_codes(&painted), "error: no");
    }

    #[test]
    fn text_from_outside_cannot_steer_the_terminal() {
        assert_eq!(one_line("a\r\nb\u{1b}[2Jc\u{202e}d"), "a⏎b·[2Jc·d");
        assert_eq!(printable("a\n\u{7}b"), "a\n·b");
    }
}
