//! What the tests of the parity ladder share: golden files, the table of tolerances, comparison, planted mistakes.
//!
//! The golden files and the scripts that made them are described in this folder's README.

pub mod compare;
pub mod full;
pub mod golden;
pub mod harness;
pub mod peers;
pub mod planted;
pub mod scratch;
pub mod tolerances;

pub use compare::{Comparison, Mismatch};
pub use golden::{Golden, GoldenError, Row};
pub use tolerances::{Arithmetic, Metric, Quantity, Rung, Tolerance};
