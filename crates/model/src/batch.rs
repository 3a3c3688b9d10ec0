//! Examples laid one after the other for one pass.

/// A token to predict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// Row of the batch whose output predicts it (the token before it).
    pub row: usize,
    /// The token.
    pub token: u32,
}

/// A micro-batch: examples without padding between them, each attending only to itself.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PackedBatch {
    /// Token ids, `[t]`.
    pub ids: Vec<u32>,
    /// Position of each token in its example, `[t]`.
    pub positions: Vec<u32>,
    /// Borders of the examples: 0, ..., t.
    pub segments: Vec<usize>,
    /// Dropout key of each token, `[t]`: names the example and the position, not the place in this batch.
    pub row_keys: Vec<u64>,
    /// What to predict, ascending by row.
    pub targets: Vec<Target>,
}

impl PackedBatch {
    /// One example with every next token as a target: for perplexities and tests.
    pub fn single(ids: &[u32]) -> Self {
        Self {
            ids: ids.to_vec(),
            positions: (0..ids.len() as u32).collect(),
            segments: vec![0, ids.len()],
            row_keys: (0..ids.len() as u64).collect(),
            targets: ids.iter().enumerate().skip(1).map(|(i, &token)| Target { row: i - 1, token }).collect(),
        }
    }

    /// Number of tokens.
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }

    /// Panics when the parts do not fit together: a broken invariant of whoever packed.
    pub(crate) fn assert_consistent(&self) {
        let tokens = self.tokens();
        assert_eq!((self.positions.len(), self.row_keys.len()), (tokens, tokens), "positions and row keys per token");
        assert_eq!((self.segments.first(), self.segments.last()), (Some(&0), Some(&tokens)), "borders of the segments");
        assert!(self.segments.is_sorted(), "segments ascend: {:?}", self.segments);
        assert!(self.targets.is_sorted_by_key(|target| target.row), "targets ascend by row");
        assert!(self.targets.iter().all(|target| target.row < tokens), "targets inside of {tokens} rows");
    }
}
