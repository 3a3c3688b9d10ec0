//! Texts that say the same: near-duplicates within a set, and evaluation data within training data.
//!
//! This crate knows texts, not rows.

pub mod contamination;
pub mod near_duplicates;
