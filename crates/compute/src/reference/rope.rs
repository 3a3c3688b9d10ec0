use crate::backend::RopeTable;
use crate::tensor::Tensor;

/// Forward (`direction` 1): `x'[i] = x[i] cos - x[i + d/2] sin`, `x'[i + d/2] = x[i + d/2] cos + x[i] sin`, with the
/// angle `position * frequency[i]`. Backward (`direction` -1) is the rotation the other way.
///
/// # Shapes
/// `x [t, heads*d]`, `positions [t]`, the table holds d/2 frequencies.
///
/// # Source
/// Su et al.: "RoFormer", 2021, equation 34, in the half-split order of the Llama checkpoints on the Hugging Face hub.
pub(super) fn rotate(x: &mut Tensor, positions: &[u32], table: &RopeTable, direction: f64) {
    let (half, head_dim) = (table.half, 2 * table.half);
    assert_eq!(x.rows(), positions.len(), "one position per row");
    assert_eq!(x.cols() % head_dim, 0, "{} columns in heads of {head_dim}", x.cols());
    for (t, &position) in positions.iter().enumerate() {
        let position = position as usize;
        assert!(position < table.positions(), "position {position} in a table of {}", table.positions());
        for head in x.row_mut(t).chunks_exact_mut(head_dim) {
            for i in 0..half {
                let cos = f64::from(table.cos[position * half + i]);
                let sin = f64::from(table.sin[position * half + i]) * direction;
                let (first, second) = (f64::from(head[i]), f64::from(head[i + half]));
                head[i] = (first * cos - second * sin) as f32;
                head[i + half] = (second * cos + first * sin) as f32;
            }
        }
    }
}
