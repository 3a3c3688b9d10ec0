//! Screens for what is in the texts: how good and how repetitive.
//!
//! Everything here is a function of texts and knows nothing of files. Documents (web pages, manuals) and rows of
//! questions and answers are judged by different rules: the rules for documents throw away nearly every row of
//! questions and answers, because these are short and full of code and lists.
//!
//! - [`documents`]: the rules of Gopher, C4 and FineWeb for documents.
//! - [`answers`]: a score for a question with its answer, and the best share of each group of rows.
//! - [`text_facts`]: words, sentences and how well a text can be compressed.
//!
//! Nothing is random and nothing depends on the number of threads: the same texts give the same numbers.

pub mod answers;
pub mod documents;
mod ngrams;
mod phrases;
pub mod text_facts;
