//! STUB
use crate::clean::Work; use crate::error::CurateError;
pub(in crate::clean) fn poison(_: &mut Work<'_>) -> Result<(), CurateError> { Ok(()) }
pub(in crate::clean) fn contamination(_: &mut Work<'_>) -> Result<(), CurateError> { Ok(()) }
pub(in crate::clean) fn quality(_: &mut Work<'_>) -> Result<(), CurateError> { Ok(()) }
pub(in crate::clean) fn documents(_: &mut Work<'_>) -> Result<(), CurateError> { Ok(()) }
pub(in crate::clean) fn keep_best(_: &mut Work<'_>) -> Result<(), CurateError> { Ok(()) }
