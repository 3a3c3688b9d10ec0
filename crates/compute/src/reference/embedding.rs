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

/// `dtable[ids[t]] += dy[t]`.
///
/// # Shapes
/// `ids [t]` below v, `dy [t, c]`, `dtable [v, c]`.
pub(super) fn embedding_backward(ids: &[u32], dy_tc: &Tensor, dtable_vc: &mut [f32]) {
    assert_eq!(dy_tc.rows(), ids.len(), "one row of dy per token");
    let channels = dy_tc.cols();
    for (t, &id) in ids.iter().enumerate() {
        for c in 0..channels {
            dtable_vc[id as usize * channels + c] += dy_tc.row(t)[c];
        }
    }
}
