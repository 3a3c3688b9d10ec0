//! What is said while long work goes on.

use crate::error::CurateError;

/// How far a step has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Its name.
    pub step: &'static str,
    /// How much is done.
    pub done: u64,
    /// Of how much, where that is known.
    pub total: Option<u64>,
    /// What is counted: `rows` or `B`.
    pub unit: &'static str,
}

/// Sees the progress and may end the work.
pub trait Watch: Sync {
    /// Called often; an error ends the work and nothing is written.
    ///
    /// # Errors
    /// [`CurateError::Interrupted`].
    fn progress(&self, progress: Progress) -> Result<(), CurateError>;
}

/// Nobody watches.
pub struct Unwatched;

impl Watch for Unwatched {
    fn progress(&self, _: Progress) -> Result<(), CurateError> {
        Ok(())
    }
}
