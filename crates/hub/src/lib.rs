//! Downloads models from a hub that speaks Hugging Face's protocol: resumed after breaks, checked, recorded.
//!
//! - [`Endpoint`] is a hub and the [`Token`] for it, which goes to no other host.
//! - [`Pull`] lists ([`Pull::plan`]) and downloads ([`Pull::run`]).
//!
//! # Source
//! The hub's API: `GET {endpoint}/api/models/{repository}/revision/{revision}?blobs=true` and
//! `GET {endpoint}/{repository}/resolve/{commit}/{file}`, with `X-Repo-Commit`, `X-Linked-Etag` and `X-Linked-Size`.

mod client;
mod error;
mod fetch;
mod key_store;
mod names;
mod pull;
mod retry;
mod select;
mod token;

pub use client::{Endpoint, PUBLIC_HUB};
pub use error::HubError;
pub use names::check_repository;
pub use pull::{Planned, Pull, Pulled, RECORD, Record, RecordedFile, Watch};
pub use select::{RemoteFile, Wanted};
pub use token::Token;
