//! Rows of a set that say the same.
