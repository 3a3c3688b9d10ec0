//! The order of the rows of q and k in files of architecture `llama`.
//!
//! Hugging Face rotates channel i of a head together with channel i + d/2 (halves); ggml rotates 2i with 2i + 1
//! (interleaved pairs). The converter therefore stores row i of the first half of each head at 2i and of the second at
//! 2i + 1. Mistral shares the architecture; Qwen2 and Qwen3 keep Hugging Face's order.

/// Whether files of this architecture have their q and k rows interleaved.
pub fn is_interleaved(architecture: &str) -> bool {
    architecture == "llama"
}

/// Where a row in Hugging Face's order is stored.
pub fn stored_row(row: usize, head_dim: usize) -> usize {
    let (head, at, half) = (row / head_dim, row % head_dim, head_dim / 2);
    head * head_dim + if at < half { 2 * at } else { 2 * (at - half) + 1 }
}

/// Which row in Hugging Face's order is stored there.
pub fn row_stored_at(stored: usize, head_dim: usize) -> usize {
    let (head, at, half) = (stored / head_dim, stored % head_dim, head_dim / 2);
    head * head_dim + at / 2 + if at.is_multiple_of(2) { 0 } else { half }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_go_there_and_back() {
        for head_dim in [2, 4, 8, 10, 64, 128] {
            for row in 0..3 * head_dim {
                assert_eq!(row_stored_at(stored_row(row, head_dim), head_dim), row);
            }
        }
        let stored: Vec<usize> = (0..16).map(|row| stored_row(row, 8)).collect();
        assert_eq!(stored, [0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15]);
    }
}
