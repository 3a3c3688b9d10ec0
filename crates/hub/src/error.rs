//! Why a model was not downloaded.

use std::path::PathBuf;
use std::time::Duration;

use attune_formats::files::FileError;

/// Why a model was not downloaded. No message ever holds a token or the query of an address, which may be signed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// What was given as a repository is none.
    #[error("{given:?} is no repository of a hub: {reason}")]
    Repository {
        /// What was given.
        given: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// An address that cannot or must not be asked.
    #[error("{address}: {reason}")]
    Address {
        /// The address, without its query.
        address: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A file name of the server that must not become a path of this machine.
    #[error("the hub lists a file named {name:?}: {reason}")]
    UnsafeName {
        /// The name.
        name: String,
        /// The rule that it breaks.
        reason: &'static str,
    },
    /// The token cannot be one. It is not shown.
    #[error("the token from {from} is empty, too long or has characters that no token has")]
    BadToken {
        /// Where it was found.
        from: String,
    },
    /// This build cannot store tokens.
    #[error("this build of ft has no access to the system's key store")]
    NoKeyStore,
    /// The system's key store does not work.
    #[error("the system's key store: {reason}")]
    KeyStore {
        /// What it says.
        reason: String,
    },
    /// The hub refuses access.
    #[error("{address}: the hub refuses access ({status}{})", in_words(said))]
    Refused {
        /// What was asked, without its query.
        address: String,
        /// 401 or 403.
        status: u16,
        /// What the hub says.
        said: String,
        /// The page of the model.
        page: String,
        /// Where the token that was sent came from.
        token_from: Option<String>,
    },
    /// The hub does not have it.
    #[error("{address}: not found{}", in_words(said))]
    NotFound {
        /// What was asked, without its query.
        address: String,
        /// What the hub says.
        said: String,
    },
    /// Another answer that repeating does not mend, or has not mended.
    #[error("{address}: the hub answers {status}{} (attempt {attempts})", in_words(said))]
    Status {
        /// What was asked, without its query.
        address: String,
        /// The HTTP status.
        status: u16,
        /// What the hub says.
        said: String,
        /// How often it was tried.
        attempts: u32,
    },
    /// The hub wants a longer pause than a command should make.
    #[error("{address}: the hub asks to wait {} s", wait.as_secs())]
    WaitTooLong {
        /// What was asked, without its query.
        address: String,
        /// How long.
        wait: Duration,
    },
    /// No connection, or one that breaks again and again.
    #[error("{address}: {reason} (attempt {attempts})")]
    Connection {
        /// What was asked, without its query.
        address: String,
        /// What went wrong.
        reason: String,
        /// How often it was tried without anything arriving.
        attempts: u32,
    },
    /// An answer that does not follow the protocol.
    #[error("{address}: {reason}")]
    Protocol {
        /// What was asked, without its query.
        address: String,
        /// What is wrong.
        reason: String,
    },
    /// More arrives than the file has.
    #[error("{name}: more than its {expected_bytes} bytes arrive")]
    TooLong {
        /// The file.
        name: String,
        /// Its size.
        expected_bytes: u64,
    },
    /// What arrived is not what the hub says it is. It was deleted.
    #[error("{name}: wrong checksum: expected {expected}, got {got}; the file was deleted")]
    Checksum {
        /// The file.
        name: String,
        /// The hash that the hub lists.
        expected: String,
        /// The hash of what arrived.
        got: String,
    },
    /// The repository's weights are pickles only, or a pickle was asked for.
    #[error("{repository}: not downloaded, for reading such files can run any program: {}", names.join(", "))]
    Pickle {
        /// The repository.
        repository: String,
        /// Files.
        names: Vec<String>,
    },
    /// Several files could be meant.
    #[error("{repository} has several GGUF files; one must be named")]
    Choice {
        /// The repository.
        repository: String,
        /// Name and size of each.
        choices: Vec<(String, Option<u64>)>,
    },
    /// Nothing fits what was asked for.
    #[error("{repository}: {reason}")]
    NothingFits {
        /// The repository.
        repository: String,
        /// What is missing.
        reason: String,
    },
    /// A file of another origin stands in the way.
    #[error("{}: exists, and is not what this repository has", path.display())]
    Occupied {
        /// The file.
        path: PathBuf,
    },
    /// The record of the folder cannot be read.
    #[error("{}: {reason}", path.display())]
    BadRecord {
        /// The record.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The folder holds another repository.
    #[error("{} holds {holds}, not {repository}", dir.display())]
    OtherRepository {
        /// The folder.
        dir: PathBuf,
        /// What its record says.
        holds: String,
        /// What was to be downloaded.
        repository: String,
    },
    /// Another process downloads into the same folder.
    #[error("{}: another download into this folder is running", dir.display())]
    Locked {
        /// The folder.
        dir: PathBuf,
    },
    /// The download needs more than the disk has.
    #[error("{}: the disk has {free_bytes} bytes left, {needed_bytes} are needed", dir.display())]
    NoSpace {
        /// The folder.
        dir: PathBuf,
        /// Bytes to come.
        needed_bytes: u64,
        /// Bytes left.
        free_bytes: u64,
    },
    /// The user ended it.
    #[error("interrupted; what has arrived is kept")]
    Interrupted,
    /// A file of this machine.
    #[error(transparent)]
    File(#[from] FileError),
}

fn in_words(said: &str) -> String {
    if said.is_empty() { String::new() } else { format!(": {said}") }
}

impl HubError {
    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Repository { .. } => "give it as on its page: ft pull org/name".into(),
            Self::Address { .. } => {
                "https is expected; plain http only on this machine, or where HF_ENDPOINT says so".into()
            }
            Self::UnsafeName { .. } | Self::TooLong { .. } | Self::Protocol { .. } => {
                "check HF_ENDPOINT; do not use what this server sends".into()
            }
            Self::BadToken { .. } => "take a new token from the hub's settings page".into(),
            Self::NoKeyStore => {
                "set HF_TOKEN, or write HF_TOKEN=... into .env of the current folder; `cargo install` with `--features key-store` builds ft with access"
                    .into()
            }
            Self::KeyStore { .. } => {
                "servers often have none: set HF_TOKEN, or write HF_TOKEN=... into .env of the current folder".into()
            }
            Self::Refused { page, token_from: None, .. } => format!(
                "check the name; if the model is gated, accept its licence on {page} and set HF_TOKEN to a token of that account"
            ),
            Self::Refused { page, token_from: Some(from), .. } => format!(
                "accept the model's licence on {page} with the account of the token from {from}, or renew the token"
            ),
            Self::NotFound { .. } => "check the name, --revision and --file; private models need HF_TOKEN".into(),
            Self::Status { .. } | Self::WaitTooLong { .. } => "try again later; what has arrived is kept".into(),
            Self::Connection { .. } => {
                "check the connection, HF_ENDPOINT and the proxy variables; the same command goes on where it stopped"
                    .into()
            }
            Self::Checksum { .. } => "run the command again; if it comes back, a proxy or mirror damages files".into(),
            Self::Pickle { .. } => "look for a safetensors or GGUF version of the model".into(),
            Self::Choice { choices, .. } => {
                let lines: Vec<String> = choices.iter().map(|(name, _)| format!("--file {name}")).collect();
                lines.join("\n")
            }
            Self::NothingFits { .. } => "see `ft pull --dry-run --include '*'` for what there is".into(),
            Self::Occupied { .. } => "choose another --out, or move the file away".into(),
            Self::BadRecord { .. } => {
                "remove this file and run the command again; files that are right are not fetched again".into()
            }
            Self::OtherRepository { .. } => "choose another --out".into(),
            Self::Locked { .. } => "wait for it, or choose another --out".into(),
            Self::NoSpace { .. } => "free space, or choose --out on another disk".into(),
            Self::Interrupted => "the same command goes on where it stopped".into(),
            Self::File(FileError::DiskFull { .. }) => {
                "free space, or choose --out on another disk; what has arrived is kept".into()
            }
            Self::File(error) => return error.hint(),
        })
    }
}
