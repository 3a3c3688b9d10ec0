use crate::backend::{Dropout, LinearArgs, LinearGradient, LinearOutput};
use crate::tensor::Tensor;

/// `x` with the side path's dropout on it.
fn dropped(x: &Tensor, dropout: Option<Dropout>) -> Tensor {
    let mut x = x.clone();
    if let Some(dropout) = dropout {
        assert_eq!(dropout.row_keys.len(), x.rows(), "one dropout key per row");
        for t in 0..x.rows() {
            for c in 0..x.cols() {
                x.row_mut(t)[c] *= dropout.factor(t, c);
            }
        }
    }
    x
}

/// `y = x W^T + bias + scale * h B^T + residual` with `h = dropout(x) A^T`.
///
/// # Shapes
/// `x [t, in]`, `W [out, in]`, `A [r, in]`, `B [out, r]`, `y, residual [t, out]`, `h [t, r]`.
///
/// # Source
/// Hu et al.: "LoRA", 2021, equation 3.
pub(super) fn linear_forward(x: &Tensor, args: &LinearArgs) -> LinearOutput {
    let (inputs, outputs) = (args.weight.cols(), args.weight.rows());
    assert_eq!(x.cols(), inputs, "columns of x for {:?}", args.weight);
    assert!(args.bias.is_none_or(|bias| bias.len() == outputs), "bias of {:?}", args.weight);
    let mut y = Tensor::zeros(x.rows(), outputs);
    let mut weight_row = vec![0.0; inputs];
    for o in 0..outputs {
        args.weight.read_row(o, &mut weight_row);
        for t in 0..x.rows() {
            let mut sum = args.bias.map_or(0.0, |bias| f64::from(bias[o]));
            sum += args.residual.map_or(0.0, |residual| f64::from(residual.row(t)[o]));
            for i in 0..inputs {
                sum += f64::from(x.row(t)[i]) * f64::from(weight_row[i]);
            }
            y.row_mut(t)[o] = sum as f32;
        }
    }
    let Some(side) = args.side else { return LinearOutput { y, low_rank: None } };
    assert_eq!((side.a.len(), side.b.len()), (side.rank * inputs, outputs * side.rank), "A and B of {:?}", args.weight);

    let x = dropped(x, side.dropout);
    let mut h = Tensor::zeros(x.rows(), side.rank);
    for t in 0..x.rows() {
        for r in 0..side.rank {
            let a_row = &side.a[r * inputs..(r + 1) * inputs];
            let sum: f64 = x.row(t).iter().zip(a_row).map(|(&x, &a)| f64::from(x) * f64::from(a)).sum();
            h.row_mut(t)[r] = sum as f32;
        }
        for o in 0..outputs {
            let b_row = &side.b[o * side.rank..(o + 1) * side.rank];
            let sum: f64 = h.row(t).iter().zip(b_row).map(|(&h, &b)| f64::from(h) * f64::from(b)).sum();
            y.row_mut(t)[o] += (f64::from(side.scale) * sum) as f32;
        }
    }
    LinearOutput { y, low_rank: Some(h) }
}

/// In the forward pass: `y = x W^T + scale * h B^T`, `h = dropout(x) A^T`. So now:
/// `dB += scale * dy^T h`, `dh = scale * dy B`, `dA += dh^T dropout(x)`, `dx = dy W + dropout'(dh A)`.
///
/// # Shapes
/// `dy [t, out]`, result `[t, in]`; others as in the forward pass.
pub(super) fn linear_backward(x: &Tensor, linear: LinearGradient, want_dx: bool) -> Option<Tensor> {
    let LinearGradient { args, low_rank, dy, side: gradient } = linear;
    let (inputs, outputs) = (args.weight.cols(), args.weight.rows());
    assert_eq!((dy.rows(), dy.cols()), (x.rows(), outputs), "dy for {:?}", args.weight);
    let mut dx = want_dx.then(|| dx_of_frozen(dy, &args));

    assert_eq!(args.side.is_some(), gradient.is_some(), "a side path and its gradient come together");
    let (Some(side), Some(gradient)) = (args.side, gradient) else { return dx };
    let h = low_rank.unwrap_or_else(|| panic!("the backward pass of {:?} lacks the forward's low rank", args.weight));
    let rank = side.rank;
    let scale = f64::from(side.scale);

    for o in 0..outputs {
        for r in 0..rank {
            let sum: f64 = (0..x.rows()).map(|t| f64::from(dy.row(t)[o]) * f64::from(h.row(t)[r])).sum();
            gradient.db[o * rank + r] += (scale * sum) as f32;
        }
    }
    let mut dh = Tensor::zeros(x.rows(), rank);
    for t in 0..x.rows() {
        for r in 0..rank {
            let sum: f64 = (0..outputs).map(|o| f64::from(dy.row(t)[o]) * f64::from(side.b[o * rank + r])).sum();
            dh.row_mut(t)[r] = (scale * sum) as f32;
        }
    }
    let x_dropped = dropped(x, side.dropout);
    for r in 0..rank {
        for i in 0..inputs {
            let sum: f64 = (0..x.rows()).map(|t| f64::from(dh.row(t)[r]) * f64::from(x_dropped.row(t)[i])).sum();
            gradient.da[r * inputs + i] += sum as f32;
        }
    }
    if let Some(dx) = &mut dx {
        for t in 0..x.rows() {
            for i in 0..inputs {
                let sum: f64 = (0..rank).map(|r| f64::from(dh.row(t)[r]) * f64::from(side.a[r * inputs + i])).sum();
                let factor = side.dropout.map_or(1.0, |dropout| dropout.factor(t, i));
                dx.row_mut(t)[i] += (sum * f64::from(factor)) as f32;
            }
        }
    }
    dx
}

/// `dx = dy W`.
fn dx_of_frozen(dy: &Tensor, args: &LinearArgs) -> Tensor {
    let (inputs, outputs) = (args.weight.cols(), args.weight.rows());
    let mut sums = vec![0.0f64; dy.rows() * inputs];
    let mut weight_row = vec![0.0; inputs];
    for o in 0..outputs {
        args.weight.read_row(o, &mut weight_row);
        for t in 0..dy.rows() {
            for i in 0..inputs {
                sums[t * inputs + i] += f64::from(dy.row(t)[o]) * f64::from(weight_row[i]);
            }
        }
    }
    Tensor::from_vec(dy.rows(), inputs, sums.into_iter().map(|sum| sum as f32).collect())
}

/// In the forward pass: `y = x W^T + bias`. So now: `dW += dy^T x`, `db += sum_t dy`.
///
/// # Shapes
/// `x [t, in]`, `dy [t, out]`, `dW [out, in]`, `db [out]`.
pub(super) fn linear_weight_backward(x: &Tensor, dy: &Tensor, dw: &mut [f32], db: Option<&mut [f32]>) {
    let (tokens, inputs, outputs) = (x.rows(), x.cols(), dy.cols());
    assert_eq!((dy.rows(), dw.len()), (tokens, outputs * inputs), "dy and dW of a linear");
    for o in 0..outputs {
        for i in 0..inputs {
            let sum: f64 = (0..tokens).map(|t| f64::from(dy.row(t)[o]) * f64::from(x.row(t)[i])).sum();
            dw[o * inputs + i] += sum as f32;
        }
    }
    let Some(db) = db else { return };
    assert_eq!(db.len(), outputs, "db of a linear");
    for (o, db) in db.iter_mut().enumerate() {
        *db += (0..tokens).map(|t| f64::from(dy.row(t)[o])).sum::<f64>() as f32;
    }
}
