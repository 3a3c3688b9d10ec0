//! A curve in bounded memory.

/// Values by step. When there are too many, neighbours are replaced by their mean.
#[derive(Debug, Clone)]
pub(crate) struct Series {
    points: Vec<(f64, f64)>,
    /// Sum of steps and values, and their number, of the point that is being gathered.
    open: (f64, f64, u64),
    /// Values that make one point.
    per_point: u64,
}

/// More points than any terminal has columns of dots.
const MOST_POINTS: usize = 4096;

impl Default for Series {
    fn default() -> Self {
        Self { points: Vec::new(), open: (0.0, 0.0, 0), per_point: 1 }
    }
}

impl Series {
    /// Adds a value; steps ascend. What is not finite is left out.
    pub(crate) fn push(&mut self, step: u64, value: f64) {
        if !value.is_finite() {
            return;
        }
        self.open.0 += step as f64;
        self.open.1 += value;
        self.open.2 += 1;
        if self.open.2 < self.per_point {
            return;
        }
        let (step, value, count) = std::mem::take(&mut self.open);
        self.points.push((step / count as f64, value / count as f64));
        if self.points.len() >= MOST_POINTS {
            let mean = |pair: &[(f64, f64)]| ((pair[0].0 + pair[1].0) / 2.0, (pair[0].1 + pair[1].1) / 2.0);
            self.points = self.points.chunks_exact(2).map(mean).collect();
            self.per_point *= 2;
        }
    }

    /// The points so far.
    pub(crate) fn points(&self) -> &[(f64, f64)] {
        &self.points
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_curves_are_exact_and_long_ones_bounded() {
        let mut series = Series::default();
        series.push(1, 3.0);
        series.push(2, f64::NAN);
        series.push(3, 2.0);
        assert_eq!(series.points(), [(1.0, 3.0), (3.0, 2.0)]);

        let mut series = Series::default();
        for step in 0..100_000u64 {
            series.push(step, step as f64 * 2.0);
        }
        let points = series.points();
        assert!(points.len() < MOST_POINTS && points.len() >= MOST_POINTS / 4, "{}", points.len());
        assert!(points.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert!(points.iter().all(|(step, value)| (value - step * 2.0).abs() < 1e-6), "means stay on the line");
    }
}
