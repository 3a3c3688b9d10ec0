//! From rows as they are to a set that is safe to train on: check, clean, split, statistics, differences, versions.
//!
//! [`corpus`] reads every input once and keeps it on disk; [`clean`], [`split`], [`stats`] and [`diff`] work on it.
//! [`lineage`] says what a set is and where its rows came from.

pub mod against;
pub mod clean;
pub mod corpus;
pub mod diff;
mod error;
mod fates;
pub mod lineage;
mod live;
mod progress;
mod report;
mod scrub;
pub mod split;
mod spool;
pub mod stats;
pub mod texts;

pub use clean::TokenCounter;
pub use error::CurateError;
pub use lineage::DatasetManifest;
pub use progress::{Progress, Unwatched, Watch};
pub use report::{SourceReport, StepReport};
