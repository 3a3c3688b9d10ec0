//! Finds what must not be trained on: secrets, personal data, hidden text.
//!
//! This crate knows texts, not rows: it is given a string and says which bytes of it are what. Whoever calls it decides
//! what becomes of them (report, mask, drop, block).

mod finding;
pub mod hidden;
pub mod pii;
pub mod secrets;

pub use finding::{Category, Encoding, Finding};
