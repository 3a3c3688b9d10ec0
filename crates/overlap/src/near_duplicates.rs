//! Texts that are nearly equal.
//!
//! [`find`] names, for every text that may go, the text that stays for it. A text is the set of its runs of a few
//! characters ([`Settings::shingle_chars`]) in one spelling: lower case, Unicode's NFKC, one space for all white space,
//! one way to write quotes and dashes, punctuation kept. How alike two texts are is the Jaccard similarity of their sets,
//! and it is computed exactly, on the texts themselves, before anything is said about them:
//!
//! * **Nothing below the threshold goes.** Sketches (MinHash, in bands) only propose pairs.
//! * **Nothing goes without a survivor.** Texts are taken in the order of priority; one goes only if it is like an earlier
//!   text that *stays*. Likeness is never passed on: where a is like b and b like c, that alone does not join a to c.
//! * **Nothing goes that asks something else.** "Ubuntu 20.04" and "Ubuntu 22.04" are nearly equal as characters. The
//!   [`Guard`] keeps apart what differs in numbers, units, signs, negation, names, opposites, or, where texts are short,
//!   in any word with a meaning of its own.
//! * **Exact copies always go**, whatever the guard says: texts that are equal but for case and white space.
//!
//! A text of nothing but white space is like nothing.
//!
//! # What is missed
//! A pair at similarity s is proposed with probability [`Settings::recall_at`]`(s)`. Where more rows than a limit share a
//! band, as in texts from one template, an index without misses takes over; it looks at a bounded number of rows, and how
//! often that bound was met is told ([`Report::cut_short`]).
//!
//! # Memory
//! Texts are read when they are needed. A row costs four bytes per band and nine more, 109 bytes by default, and eight more
//! while the bands are sorted. Rows of templates cost up to 0.7 GB more in all.
//!
//! # Determinism
//! The report depends on the texts, their order and the settings, never on the number of threads.
//!
//! ```
//! use attune_overlap::near_duplicates::{self, Settings, Texts};
//!
//! struct Rows(Vec<&'static str>);
//!
//! impl Texts for Rows {
//!     fn len(&self) -> usize {
//!         self.0.len()
//!     }
//!
//!     fn read(&self, index: usize, into: &mut String) -> std::io::Result<()> {
//!         into.clear();
//!         into.push_str(self.0[index]);
//!         Ok(())
//!     }
//! }
//!
//! # fn main() -> Result<(), near_duplicates::Error> {
//! let rows = Rows(vec![
//!     "What year was the Eiffel Tower built?",
//!     "In what year was the Eiffel Tower built?",
//!     "How can I install Rust and its tools on Ubuntu 20.04 from the official packages?",
//!     "How can I install Rust and its tools on Ubuntu 22.04 from the official packages?",
//! ]);
//! let report = near_duplicates::find(&rows, None, &Settings::default(), &|_| ())?;
//! assert_eq!(report.removals.len(), 1);
//! assert_eq!((report.removals[0].removed, report.removals[0].kept), (1, 0));
//! assert_eq!(report.guarded_total, 1);
//! # Ok(())
//! # }
//! ```

mod chains;
mod crowd;
mod error;
mod find;
mod guard;
mod hash;
mod normal;
mod report;
pub mod semantic;
mod settings;
mod shingles;
mod sketch;
mod star;

pub use error::Error;
pub use find::find;
pub use guard::{Difference, Guard, Kind};
pub use report::{Guarded, Progress, Removal, Report, Stage};
pub use settings::Settings;

/// Texts by their number; those of millions of rows need not be in memory.
#[allow(clippy::len_without_is_empty, reason = "nobody asks")]
pub trait Texts: Sync {
    /// How many there are.
    fn len(&self) -> usize;

    /// Replaces `into` by the text with that number, counting from 0.
    ///
    /// # Errors
    /// If it cannot be read.
    fn read(&self, index: usize, into: &mut String) -> std::io::Result<()>;
}
