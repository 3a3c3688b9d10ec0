//! Why a command ends without its result: the message, what to do about it, and the exit code.

use std::error::Error;

use attune_compute::ComputeError;
use attune_config::ConfigError;
use attune_curate::CurateError;
use attune_data::DataError;
use attune_export::ExportError;
use attune_formats::checkpoint::CheckpointError;
use attune_formats::files::FileError;
use attune_formats::tensors::TensorError;
use attune_hub::HubError;
use attune_model::ModelError;
use attune_text::TextError;
use attune_train::TrainError;

use crate::paint::{Ink, Line, printable};

/// Exit code: the work failed.
pub(crate) const FAILED: u8 = 1;
/// Exit code: the command line or the configuration is wrong.
pub(crate) const USAGE: u8 = 2;
/// Exit code: a gate refused.
pub(crate) const REFUSED: u8 = 3;

/// Exit code: the user ended the work, and the same command goes on with it.
pub(crate) const RESUMABLE: u8 = 75;
/// Exit code: the user ended the work and there is nothing to resume; what a shell reports for SIGINT.
pub(crate) const INTERRUPTED: u8 = 130;

/// Why a command ends without its result.
#[derive(Debug)]
pub struct Failure {
    error: anyhow::Error,
    hint: Option<String>,
    exit_code: u8,
}

impl Failure {
    /// A failure of this crate's own.
    pub(crate) fn new(exit_code: u8, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { error: anyhow::Error::msg(message.into()), hint: Some(hint.into()), exit_code }
    }

    fn from_error(error: impl Error + Send + Sync + 'static, hint: Option<String>, exit_code: u8) -> Self {
        Self { error: error.into(), hint, exit_code }
    }

    /// The exit code of the process.
    pub(crate) fn exit_code(&self) -> u8 {
        self.exit_code
    }

    /// Whether the reader of the output went away, which is not a failure of ours.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        self.error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
    }

    /// `error: ...`, the causes that it does not name itself, and `hint: ...`.
    pub(crate) fn lines(&self) -> Vec<Line> {
        let said = self.error.to_string();
        let mut lines = labelled("", Ink::Error, "error", &said);
        let mut said = said;
        for cause in self.error.chain().skip(1).map(ToString::to_string) {
            if !said.contains(&cause) {
                lines.extend(labelled("  ", Ink::Dim, "caused by", &cause));
                said = cause;
            }
        }
        if let Some(hint) = &self.hint {
            lines.extend(labelled("  ", Ink::Good, "hint", hint));
        }
        lines
    }
}

/// `label: text`, further lines of the text below it.
fn labelled(indent: &str, ink: Ink, label: &str, text: &str) -> Vec<Line> {
    let text = printable(text);
    let mut parts = text.lines();
    let first = Line::from(indent).with(ink, label).with(Ink::Plain, format!(": {}", parts.next().unwrap_or_default()));
    let rest = parts.map(|part| Line::from(format!("{indent}  {part}")));
    std::iter::once(first).chain(rest).collect()
}

impl From<TrainError> for Failure {
    fn from(error: TrainError) -> Self {
        let (hint, exit_code) = (error.hint(), error.exit_code());
        Self::from_error(error, hint, exit_code)
    }
}

/// What stops training stops the other commands with the same words and the same exit code.
macro_rules! as_in_training {
    ($($error:ty),+) => { $(
        impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                TrainError::from(error).into()
            }
        }
    )+ };
}

as_in_training!(ConfigError, DataError, TextError, ModelError, ComputeError, FileError, TensorError);

impl From<ExportError> for Failure {
    fn from(error: ExportError) -> Self {
        let exit_code = match error {
            ExportError::File(error) => return error.into(),
            ExportError::Tensor(error) => return error.into(),
            ExportError::Model(error) => return error.into(),
            ExportError::Text(error) => return error.into(),
            ExportError::Inert { .. } => REFUSED,
            ExportError::Exists { .. } | ExportError::Prompts { .. } => USAGE,
            _ => FAILED,
        };
        let hint = error.hint();
        Self::from_error(error, hint, exit_code)
    }
}

impl From<CurateError> for Failure {
    fn from(error: CurateError) -> Self {
        let exit_code = match &error {
            CurateError::Data(_) => return unwrap_data(error),
            CurateError::Refused { .. } => REFUSED,
            CurateError::Exists { .. } | CurateError::Setting { .. } => USAGE,
            CurateError::Interrupted => INTERRUPTED,
            _ => FAILED,
        };
        let hint = error.hint();
        Self::from_error(error, hint, exit_code)
    }
}

impl From<HubError> for Failure {
    fn from(error: HubError) -> Self {
        let exit_code = match error {
            HubError::Interrupted => RESUMABLE,
            HubError::Pickle { .. } | HubError::UnsafeName { .. } => REFUSED,
            HubError::Repository { .. }
            | HubError::Address { .. }
            | HubError::BadToken { .. }
            | HubError::NoKeyStore
            | HubError::Choice { .. }
            | HubError::NothingFits { .. }
            | HubError::Occupied { .. }
            | HubError::OtherRepository { .. } => USAGE,
            _ => FAILED,
        };
        let hint = error.hint();
        Self::from_error(error, hint, exit_code)
    }
}

impl From<CheckpointError> for Failure {
    fn from(error: CheckpointError) -> Self {
        let exit_code = match error {
            CheckpointError::File(FileError::AlreadyExists { .. })
            | CheckpointError::NotAFolder { .. }
            | CheckpointError::Inside { .. }
            | CheckpointError::Current { .. } => USAGE,
            CheckpointError::File(error) => return error.into(),
            CheckpointError::Refused { .. } => REFUSED,
            CheckpointError::Manifest(_) | CheckpointError::InUse { .. } => FAILED,
        };
        let hint = error.hint();
        Self::from_error(error, hint, exit_code)
    }
}

/// A file that cannot be read ends every command alike.
fn unwrap_data(error: CurateError) -> Failure {
    match error {
        CurateError::Data(error) => error.into(),
        other => Failure::from_error(other, None, FAILED),
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::from_error(error, None, FAILED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(failure: &Failure) -> String {
        failure.lines().iter().map(|line| line.paint(false) + "\n").collect()
    }

    #[test]
    fn message_and_hint_are_told_apart() {
        let failure = Failure::new(USAGE, "no model", "give --model\nor ft.yaml");
        assert_eq!(text(&failure), "error: no model\n  hint: give --model\n    or ft.yaml\n");
        assert_eq!(failure.exit_code(), 2);
    }

    #[test]
    fn causes_are_named_once() {
        let inner = std::io::Error::other("the disk is gone");
        let outer = anyhow::Error::new(inner).context("cannot read x");
        let failure = Failure { error: outer, hint: None, exit_code: FAILED };
        assert_eq!(text(&failure), "error: cannot read x\n  caused by: the disk is gone\n");
        let inner = anyhow::Error::msg("gone");
        let failure = Failure { error: inner.context("cannot read x: gone"), hint: None, exit_code: FAILED };
        assert_eq!(text(&failure), "error: cannot read x: gone\n");
    }

    #[test]
    fn escape_codes_in_messages_are_harmless() {
        assert_eq!(text(&Failure::new(FAILED, "row \u{1b}[31m", "x")), "error: row ·[31m\n  hint: x\n");
    }
}
