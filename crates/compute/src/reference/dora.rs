use crate::backend::SidePath;
use crate::tensor::Tensor;
use crate::weight::Weight;

/// `n_o = sqrt(sum_i (W_oi + scale * sum_r B_or A_ri)^2)`; without a side path the norm of the weight's own rows.
///
/// # Shapes
/// `W [out, in]`, `A [r, in]`, `B [out, r]`, `n [out]`.
///
/// # Source
/// Liu et al.: "DoRA: Weight-Decomposed Low-Rank Adaptation", 2024, equation 5: the norm of what checkpoints store as a
/// row, `out` of them.
pub(super) fn row_norms(weight: &Weight, side: Option<&SidePath>) -> Vec<f32> {
    let inputs = weight.cols();
    let mut row = vec![0.0; inputs];
    let norm = |o: usize| {
        weight.read_row(o, &mut row);
        let squares = (0..inputs).map(|i| {
            let product = side.map_or(0.0, |side| {
                let terms =
                    (0..side.rank).map(|r| f64::from(side.b[o * side.rank + r]) * f64::from(side.a[r * inputs + i]));
                f64::from(side.scale) * terms.sum::<f64>()
            });
            (f64::from(row[i]) + product).powi(2)
        });
        squares.sum::<f64>().sqrt() as f32
    };
    (0..weight.rows()).map(norm).collect()
}

/// `y = v * factor + bias + residual`, the factor and the bias by column.
///
/// # Shapes
/// `v, residual, y [t, out]`, `factor, bias [out]`.
pub(super) fn scale_columns_forward(
    v: &Tensor,
    factor: &[f32],
    bias: Option<&[f32]>,
    residual: Option<&Tensor>,
) -> Tensor {
    assert_eq!(factor.len(), v.cols(), "factors of columns");
    let mut y = Tensor::zeros(v.rows(), v.cols());
    for t in 0..v.rows() {
        for o in 0..v.cols() {
            let scaled = f64::from(v.row(t)[o]) * f64::from(factor[o]);
            let bias = bias.map_or(0.0, |bias| f64::from(bias[o]));
            let residual = residual.map_or(0.0, |residual| f64::from(residual.row(t)[o]));
            y.row_mut(t)[o] = (scaled + bias + residual) as f32;
        }
    }
    y
}

/// `dv = dy * factor`, `dfactor_o += sum_t dy_to v_to`. The gradients of bias and residual are none and `dy` itself.
///
/// # Shapes
/// `v, dy, dv [t, out]`, `factor, dfactor [out]`.
pub(super) fn scale_columns_backward(v: &Tensor, factor: &[f32], dy: &Tensor, dfactor: &mut [f32]) -> Tensor {
    assert_eq!((v.rows(), v.cols()), (dy.rows(), dy.cols()), "shapes of v and dy");
    assert_eq!((factor.len(), dfactor.len()), (v.cols(), v.cols()), "factors of columns");
    let mut dv = Tensor::zeros(v.rows(), v.cols());
    for o in 0..v.cols() {
        let sum: f64 = (0..v.rows()).map(|t| f64::from(dy.row(t)[o]) * f64::from(v.row(t)[o])).sum();
        dfactor[o] += sum as f32;
        for t in 0..v.rows() {
            dv.row_mut(t)[o] = dy.row(t)[o] * factor[o];
        }
    }
    dv
}
