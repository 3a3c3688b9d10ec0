//! The loss curve as text: braille dots for the training loss, `●` for the validation loss.

use crate::paint::{Ink, Line};

/// What is drawn.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Curves<'a> {
    /// `(step, loss)`, ascending by step; finite.
    pub(crate) train: &'a [(f64, f64)],
    /// `(step, loss)`, ascending by step; finite.
    pub(crate) validation: &'a [(f64, f64)],
}

/// Dots in a braille character.
const DOTS: (usize, usize) = (2, 4);

/// Draws the curves in `rows` lines of at most `columns` columns, with the losses at the left edge. Nothing comes back
/// when there is nothing to draw or no room to draw it.
pub(crate) fn draw(curves: Curves<'_>, columns: usize, rows: usize) -> Vec<Line> {
    let Some(axis) = Axis::of(curves, rows) else { return Vec::new() };
    let label_columns = axis.labels.iter().map(String::len).max().unwrap_or(0);
    let Some(plot_columns) = columns.checked_sub(label_columns + 3).filter(|columns| *columns >= 4) else {
        return Vec::new();
    };
    let mut canvas = Canvas::new(plot_columns, rows);
    canvas.curve(curves.train, &axis);
    canvas.marks(curves.validation, &axis);

    let edge = |row: usize| if row == 0 || row + 1 == rows { '┤' } else { '│' };
    let lines = (0..rows).map(|row| {
        let label = if row == 0 {
            axis.labels[0].as_str()
        } else if row + 1 == rows {
            axis.labels[1].as_str()
        } else {
            ""
        };
        let mut line = Line::new().with(Ink::Dim, format!(" {label:>label_columns$} {}", edge(row)));
        canvas.row_into(row, &mut line);
        line
    });
    lines.collect()
}

/// Ranges of the plot, and what its edge says.
struct Axis {
    first_step: f64,
    last_step: f64,
    lowest: f64,
    highest: f64,
    /// At the top and at the bottom.
    labels: [String; 2],
}

impl Axis {
    fn of(curves: Curves<'_>, rows: usize) -> Option<Self> {
        let mut points = curves.train.iter().chain(curves.validation);
        let &(step, loss) = points.next()?;
        if rows < 2 {
            return None;
        }
        let mut axis =
            Self { first_step: step, last_step: step, lowest: loss, highest: loss, labels: Default::default() };
        for &(step, loss) in points {
            axis.first_step = axis.first_step.min(step);
            axis.last_step = axis.last_step.max(step);
            axis.lowest = axis.lowest.min(loss);
            axis.highest = axis.highest.max(loss);
        }
        // A flat curve runs through the middle.
        if axis.highest - axis.lowest < 1e-9 * axis.highest.abs().max(1e-3) {
            let margin = (axis.highest.abs() * 0.05).max(1e-3);
            axis.lowest -= margin;
            axis.highest += margin;
        }
        let digits = match axis.highest - axis.lowest {
            span if span >= 20.0 => 1,
            span if span >= 0.2 => 2,
            span if span >= 0.02 => 3,
            _ => 4,
        };
        let label = |loss: f64| if loss.abs() < 1e6 { format!("{loss:.digits$}") } else { format!("{loss:.1e}") };
        axis.labels = [label(axis.highest), label(axis.lowest)];
        Some(axis)
    }

    /// Where a step lies between 0 and 1.
    fn x(&self, step: f64) -> f64 {
        if self.last_step > self.first_step {
            (step - self.first_step) / (self.last_step - self.first_step)
        } else {
            0.0
        }
    }

    /// Where a loss lies between 0 (top) and 1 (bottom).
    fn y(&self, loss: f64) -> f64 {
        (self.highest - loss) / (self.highest - self.lowest)
    }
}

struct Canvas {
    columns: usize,
    rows: usize,
    /// The set dots of each character, in Unicode's order.
    dots: Vec<u8>,
    marked: Vec<bool>,
}

impl Canvas {
    fn new(columns: usize, rows: usize) -> Self {
        Self { columns, rows, dots: vec![0; columns * rows], marked: vec![false; columns * rows] }
    }

    fn dot_columns(&self) -> usize {
        self.columns * DOTS.0
    }

    fn dot_rows(&self) -> usize {
        self.rows * DOTS.1
    }

    fn set(&mut self, x: usize, y: usize) {
        /// Bit of the dot at (column, row) of a braille character.
        const BITS: [[u8; 4]; 2] = [[0, 1, 2, 6], [3, 4, 5, 7]];
        self.dots[y / DOTS.1 * self.columns + x / DOTS.0] |= 1 << BITS[x % DOTS.0][y % DOTS.1];
    }

    /// A connected line: the mean of the points that fall on a column of dots, interpolated where none does.
    fn curve(&mut self, points: &[(f64, f64)], axis: &Axis) {
        let last_column = (self.dot_columns() - 1) as f64;
        let mut means: Vec<(usize, f64, u32)> = Vec::new();
        for &(step, loss) in points {
            let column = (axis.x(step) * last_column).round() as usize;
            match means.last_mut() {
                Some((last, sum, count)) if *last == column => {
                    *sum += loss;
                    *count += 1;
                }
                _ => means.push((column, loss, 1)),
            }
        }
        let last_row = (self.dot_rows() - 1) as f64;
        let placed = means.into_iter().map(|(column, sum, count)| (column, axis.y(sum / f64::from(count)) * last_row));
        let mut before: Option<(usize, f64)> = None;
        for (column, y) in placed {
            let Some((start, from)) = before.replace((column, y)) else {
                self.set(column, y.round() as usize);
                continue;
            };
            let height = |x: usize| from + (y - from) * (x - start) as f64 / (column - start) as f64;
            for x in start + 1..=column {
                let (a, b) = (height(x - 1).round() as usize, height(x).round() as usize);
                // From the neighbour's height on, so that steep parts stay connected.
                let rows = if a < b { a + 1..=b } else { b..=a.saturating_sub(1).max(b) };
                rows.for_each(|row| self.set(x, row));
            }
        }
    }

    fn marks(&mut self, points: &[(f64, f64)], axis: &Axis) {
        for &(step, loss) in points {
            let column = (axis.x(step) * (self.columns - 1) as f64).round() as usize;
            let row = (axis.y(loss) * (self.dot_rows() - 1) as f64).round() as usize / DOTS.1;
            self.marked[row * self.columns + column] = true;
        }
    }

    fn row_into(&self, row: usize, line: &mut Line) {
        let cells = row * self.columns..(row + 1) * self.columns;
        let inked = cells.map(|cell| match (self.marked[cell], self.dots[cell]) {
            (true, _) => (Ink::Validation, '●'),
            (false, 0) => (Ink::Plain, ' '),
            (false, dots) => (Ink::Train, char::from_u32(0x2800 + u32::from(dots)).unwrap_or(' ')),
        });
        let mut run: Option<(Ink, String)> = None;
        for (ink, c) in inked {
            match &mut run {
                Some((current, text)) if *current == ink => text.push(c),
                _ => {
                    if let Some((ink, text)) = run.replace((ink, c.to_string())) {
                        line.push(ink, text);
                    }
                }
            }
        }
        if let Some((ink, text)) = run {
            line.push(ink, text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(train: &[(f64, f64)], validation: &[(f64, f64)], columns: usize, rows: usize) -> Vec<String> {
        draw(Curves { train, validation }, columns, rows).iter().map(|line| line.paint(false)).collect()
    }

    #[test]
    fn a_straight_line_falls_from_corner_to_corner() {
        let train: Vec<(f64, f64)> = (0..=10).map(|i| (f64::from(i), 6.0 - 0.4 * f64::from(i))).collect();
        let drawn = text(&train, &[], 22, 4);
        assert_eq!(
            drawn,
            [" 6.00 ┤⠑⠢⢄⣀           ", "      │    ⠑⠒⠤⡀       ", "      │       ⠈⠑⠤⣀    ", " 2.00 ┤           ⠉⠒⠤⣀",]
        );
    }

    #[test]
    fn steep_parts_stay_connected() {
        let drawn = text(&[(0.0, 1.0), (1.0, 0.0), (2.0, 1.0), (3.0, 1.0)], &[], 11, 3);
        for (row, line) in drawn.iter().enumerate() {
            let dots = line.chars().filter(|c| ('\u{2801}'..='\u{28ff}').contains(c)).count();
            assert!(dots >= 1, "row {row} of {drawn:#?}");
        }
    }

    #[test]
    fn validation_points_lie_on_top_of_the_curve() {
        let train = [(0.0, 4.0), (10.0, 2.0)];
        let drawn = text(&train, &[(0.0, 4.0), (5.0, 3.0), (10.0, 2.0)], 17, 3);
        let columns: Vec<Option<usize>> = drawn.iter().map(|line| line.chars().position(|c| c == '●')).collect();
        assert_eq!(columns, [Some(7), Some(12), Some(16)], "{drawn:#?}");
        let painted = draw(Curves { train: &train, validation: &[(10.0, 2.0)] }, 17, 3)[2].paint(true);
        assert!(painted.contains("\u{1b}[33m●"), "{painted:?}");
    }

    #[test]
    fn one_point_and_flat_curves_are_drawn() {
        let drawn = text(&[(1.0, 2.5)], &[], 20, 3);
        assert_eq!(drawn.len(), 3);
        assert!(drawn[1].contains('⠂') || drawn[1].contains('⠄') || drawn[1].contains('⠁'), "{drawn:?}");
        let drawn = text(&[(1.0, 2.5), (9.0, 2.5)], &[], 20, 3);
        assert_eq!(drawn[0].trim_end(), " 2.62 ┤");
        assert!(drawn[1].chars().filter(|c| ('\u{2801}'..='\u{28ff}').contains(c)).count() >= 8, "{drawn:?}");
    }

    #[test]
    fn every_line_has_the_same_width_whatever_the_numbers() {
        let cases: [&[(f64, f64)]; 5] = [
            &[(0.0, 1e12), (5.0, 1.0)],
            &[(0.0, -3.0), (5.0, 4.0)],
            &[(0.0, 1e-7), (5.0, 2e-7)],
            &[(1e9, 3.0), (1e9 + 1.0, 2.0)],
            &[(3.0, 0.0)],
        ];
        for train in cases {
            for columns in 0..90 {
                for rows in 0..7 {
                    let drawn = draw(Curves { train, validation: train }, columns, rows);
                    assert!(drawn.is_empty() || drawn.len() == rows);
                    assert!(drawn.iter().all(|line| line.width() == columns), "{train:?} {columns} {rows}");
                }
            }
        }
    }

    #[test]
    fn nothing_is_drawn_from_nothing() {
        assert!(text(&[], &[], 80, 5).is_empty());
        assert!(text(&[(0.0, 1.0)], &[], 80, 1).is_empty());
        assert!(text(&[(0.0, 1.0)], &[], 8, 5).is_empty());
    }

    #[test]
    fn many_points_in_one_column_become_their_mean() {
        // Noise of ±1 around 2, far more points than columns of dots: the mean is a line in the middle.
        let train: Vec<(f64, f64)> = (0..4000).map(|i| (f64::from(i), if i % 2 == 0 { 1.0 } else { 3.0 })).collect();
        let drawn = text(&train, &[], 40, 3);
        let dots = |line: &String| line.chars().filter(|c| ('\u{2801}'..='\u{28ff}').contains(c)).count();
        assert_eq!((dots(&drawn[0]), dots(&drawn[2])), (0, 0), "{drawn:#?}");
        assert!(dots(&drawn[1]) > 30);
    }
}
