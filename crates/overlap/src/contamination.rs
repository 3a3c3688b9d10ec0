//! Evaluation data in a training set.
