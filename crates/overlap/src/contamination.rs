//! Evaluation data in a training set.
//!
//! An [`Index`] is built once from the rows of the evaluation sets; [`Index::check`] then tells which of them stand in a text.
//!
//! * **Words.** Texts are read as words, whatever their case, punctuation and Unicode spelling. Runs of words of the questions are kept
//!   in a table; a text is probed at every word (or every few), through a filter of bits that says no for almost all of clean text.
//!   From a hit the question is followed both ways, across words that were changed, put in or left out, until too
//!   many in a row do not fit. What was found, weighted by how rare the words are, is the score of the question; the answer
//!   and the passage are then looked for around it.
//! * **Paraphrase.** A row with numbers is also found when its wording was changed: the same numbers, and most of its
//!   content words whatever their endings and order, within a short stretch of text.
//!
//! ```
//! use attune_overlap::contamination::{EvalRow, EvalSet, Index, Scratch, Settings};
//!
//! # fn main() -> Result<(), attune_overlap::contamination::Error> {
//! let question = "A robe takes 2 bolts of blue fiber and half that much white fiber. How many bolts in total does it take?";
//! let row = EvalRow { id: "1".into(), question: question.into(), answer: Some("3".into()), passage: None };
//! let index = Index::build(vec![EvalSet { name: "gsm8k".into(), rows: vec![row] }], &Settings::default())?;
//!
//! let text = "Quiz: a robe takes 2 bolts of blue fibre and half that much white fibre; how many bolts in total does it take? 3!";
//! let found = index.check(text, &mut Scratch::default());
//! assert_eq!((found[0].set, found[0].row), (0, 0));
//! assert!(text[found[0].span.clone()].starts_with("a robe takes"));
//! # Ok(())
//! # }
//! ```

mod align;
mod columns;
mod compressed;
mod error;
mod evals;
mod find;
mod index;
mod paraphrase;
mod search;
mod settings;
mod stem;
mod table;
mod words;

pub use compressed::open;
pub use error::Error;
pub use evals::{EvalRow, EvalSet, load_eval_file, load_eval_files};
pub use find::find_by_name;
pub use index::{Index, Summary};
pub use search::{Layer, Match, Scratch};
pub use settings::{ParaphraseSettings, Settings};
