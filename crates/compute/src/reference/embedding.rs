use crate::tensor::Tensor;
use crate::weight::Weight;

/// `y[t] = table[ids[t]]`.
///
/// # Shapes
/// `table [v, c]`, `ids [t]` below v, result `[t, c]`.
pub(super) fn embedding_forward(table: &Weight, ids: &[u32]) -> Tensor {
    let mut y_tc = Tensor::zeros(ids.len(), table.cols());
    for (t, &id) in ids.iter().enumerate() {
        let id = id as usize;
        assert!(id < table.rows(), "token id {id} in an embedding of {} rows", table.rows());
        table.read_row(id, y_tc.row_mut(t));
    }
    y_tc
}
