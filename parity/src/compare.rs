//! Comparison of tensors by name. A report names the worst element, and is worth reading when the test passes, too.

use std::fmt;

use crate::tolerances::{Metric, Tolerance};

/// The element (or tensor) with the largest error.
#[derive(Debug, Clone, PartialEq)]
struct Worst {
    name: String,
    /// Flat index; `None` when the metric is a norm.
    index: Option<usize>,
    got: f64,
    expected: f64,
    error: f64,
}

/// Gathers the tensors of one kind and judges them against one tolerance.
#[derive(Debug, Clone)]
pub struct Comparison {
    what: String,
    tolerance: &'static Tolerance,
    tensors: usize,
    elements: usize,
    worst: Option<Worst>,
    wrong_lengths: Vec<String>,
}

/// Why a comparison failed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{report}\n  limit because: {why}")]
pub struct Mismatch {
    /// Worst element and counts.
    pub report: String,
    /// The reason of the tolerance that was missed.
    pub why: &'static str,
}

impl Comparison {
    /// An empty comparison; `what` names case and backend in reports.
    pub fn new(what: impl Into<String>, tolerance: &'static Tolerance) -> Self {
        Self { what: what.into(), tolerance, tensors: 0, elements: 0, worst: None, wrong_lengths: Vec::new() }
    }

    /// Adds one tensor. A value that is not finite on either side is an infinite error.
    pub fn add(&mut self, name: &str, got: &[f32], expected: &[f32]) {
        let wide = |values: &[f32]| values.iter().map(|&value| f64::from(value)).collect::<Vec<_>>();
        self.add_f64(name, &wide(got), &wide(expected));
    }

    /// Adds one tensor of f64, for example a single loss.
    pub fn add_f64(&mut self, name: &str, got: &[f64], expected: &[f64]) {
        if got.len() != expected.len() {
            self.wrong_lengths.push(format!("{name}: {} values instead of {}", got.len(), expected.len()));
            return;
        }
        self.tensors += 1;
        self.elements += expected.len();
        let worst = match self.tolerance.metric {
            Metric::LargestElement => largest_element(name, got, expected),
            Metric::Norm => norm(name, got, expected),
        };
        if let Some(worst) = worst
            && self.worst.as_ref().is_none_or(|known| worst.error > known.error)
        {
            self.worst = Some(worst);
        }
    }

    /// The report, or what is wrong. Nothing compared is a failure as well.
    ///
    /// # Errors
    /// When a length is wrong, an error is above the limit, or no element was added.
    pub fn finish(self) -> Result<String, Mismatch> {
        let within_limit = self.worst.as_ref().is_some_and(|worst| worst.error <= self.tolerance.limit);
        let passed = self.wrong_lengths.is_empty() && within_limit;
        let report = self.to_string();
        if passed { Ok(report) } else { Err(Mismatch { report, why: self.tolerance.why }) }
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tolerance { rung, quantity, reference, metric, limit, .. } = self.tolerance;
        write!(f, "{}: {rung:?} {quantity:?} against {reference:?}: ", self.what)?;
        match &self.worst {
            None => write!(f, "nothing was compared")?,
            Some(Worst { name, index, got, expected, error }) => {
                write!(f, "largest error {error:.1e} ({metric:?}, limit {limit:e}) in {name}")?;
                match index {
                    Some(index) => write!(f, "[{index}]: {got:e} instead of {expected:e}")?,
                    None => write!(f, ": norm {got:e} instead of {expected:e}")?,
                }
                write!(f, "; {} tensors, {} values", self.tensors, self.elements)?;
            }
        }
        for wrong in &self.wrong_lengths {
            write!(f, "\n  {wrong}")?;
        }
        Ok(())
    }
}

/// A NaN anywhere makes the error infinite, so that no comparison with a limit can let it pass.
fn finite_or_infinite(error: f64) -> f64 {
    if error.is_finite() { error } else { f64::INFINITY }
}

fn largest_element(name: &str, got: &[f64], expected: &[f64]) -> Option<Worst> {
    let mean_square = expected.iter().map(|e| e * e).sum::<f64>() / expected.len() as f64;
    // The smallest positive number keeps 0 / 0 from arising when all is zero, as it should be.
    let floor = mean_square.sqrt().max(f64::MIN_POSITIVE);
    let errors = got.iter().zip(expected).map(|(g, e)| finite_or_infinite((g - e).abs() / e.abs().max(floor)));
    let (index, error) = errors.enumerate().max_by(|a, b| a.1.total_cmp(&b.1))?;
    Some(Worst { name: name.into(), index: Some(index), got: got[index], expected: expected[index], error })
}

fn norm(name: &str, got: &[f64], expected: &[f64]) -> Option<Worst> {
    let length = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>().sqrt();
    if expected.is_empty() {
        return None;
    }
    let distance = length(&mut got.iter().zip(expected).map(|(g, e)| g - e));
    let expected = length(&mut expected.iter().copied());
    let got = length(&mut got.iter().copied());
    let error = finite_or_infinite(distance / expected.max(f64::MIN_POSITIVE));
    Some(Worst { name: name.into(), index: None, got, expected, error })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tolerances::{Arithmetic, Quantity, Rung, tolerance};

    fn f32_logits() -> Comparison {
        Comparison::new("test", tolerance(Rung::L2, Quantity::Logits, Arithmetic::F32, Arithmetic::F32))
    }

    fn bf16_logits() -> Comparison {
        Comparison::new("test", tolerance(Rung::L2, Quantity::Logits, Arithmetic::F32, Arithmetic::Bf16))
    }

    #[test]
    fn equal_tensors_pass_with_error_zero() {
        for mut comparison in [f32_logits(), bf16_logits()] {
            comparison.add("a", &[1.0, -2.0], &[1.0, -2.0]);
            comparison.add("zeros", &[0.0, 0.0], &[0.0, 0.0]);
            assert!(comparison.finish().unwrap().contains("largest error 0.0e0"));
        }
    }

    #[test]
    fn the_worst_element_is_named() {
        let mut comparison = f32_logits();
        comparison.add("first", &[1.0, 1.0], &[1.0, 1.0001]);
        comparison.add("second", &[3.0, 5.0, 4.0], &[3.0, 4.0, 4.0]);
        let mismatch = comparison.finish().unwrap_err();
        assert!(mismatch.report.contains("second[1]: 5e0 instead of 4e0"), "{mismatch}");
        assert!(mismatch.report.contains("2 tensors, 5 values"), "{mismatch}");
        assert!(mismatch.to_string().contains("limit because"), "{mismatch}");
    }

    #[test]
    fn elements_near_zero_are_judged_on_the_scale_of_their_tensor() {
        let mut comparison = f32_logits();
        comparison.add("a", &[10.0, 1e-7], &[10.0, -1e-7]);
        assert!(comparison.finish().is_ok());
        let mut comparison = f32_logits();
        comparison.add("a", &[1e-6, 1e-7], &[1e-6, -1e-7]);
        assert!(comparison.finish().is_err(), "a tensor of small numbers has a small scale");
    }

    #[test]
    fn a_value_that_is_not_finite_never_passes() {
        for bad in [f32::NAN, f32::INFINITY] {
            for mut comparison in [f32_logits(), bf16_logits()] {
                comparison.add("got", &[bad, 1.0], &[1.0, 1.0]);
                assert!(comparison.finish().is_err());
            }
            for mut comparison in [f32_logits(), bf16_logits()] {
                comparison.add("both", &[bad], &[bad]);
                assert!(comparison.finish().is_err());
            }
        }
    }

    #[test]
    fn wrong_lengths_and_nothing_at_all_fail() {
        let mut comparison = f32_logits();
        comparison.add("a", &[1.0], &[1.0]);
        comparison.add("b", &[1.0], &[1.0, 2.0]);
        assert!(comparison.finish().unwrap_err().report.contains("b: 1 values instead of 2"));
        assert!(f32_logits().finish().unwrap_err().report.contains("nothing was compared"));
    }

    #[test]
    fn a_norm_forgives_one_element_but_not_all() {
        let expected = vec![1.0f32; 10_000];
        let mut got = expected.clone();
        got[7] = 2.0; // error 1.0 for an element, 0.01 for the norm
        let mut comparison = bf16_logits();
        comparison.add("a", &got, &expected);
        assert!(comparison.finish().is_ok());
        let mut comparison = bf16_logits();
        comparison.add("a", &vec![1.03f32; 10_000], &expected);
        assert!(comparison.finish().is_err());
    }
}
