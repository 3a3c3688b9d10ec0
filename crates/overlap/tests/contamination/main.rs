//! Evaluation data in training texts.

mod common;
mod files;
mod fixtures;
mod planted;
mod properties;
mod rules;
