use crate::tensor::Tensor;

/// `1 / sqrt(mean(x^2) + epsilon)` of one row.
fn inverse_rms(x_c: &[f32], epsilon: f32) -> f64 {
    let mean_square = x_c.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>() / x_c.len() as f64;
    1.0 / (mean_square + f64::from(epsilon)).sqrt()
}

/// `y = x * s * gain` with `s = 1 / sqrt(mean(x^2) + epsilon)`.
///
/// # Shapes
/// `x [t, c]`, `gain [c]`, result `[t, c]`.
///
/// # Source
/// Zhang, Sennrich: "Root Mean Square Layer Normalization", 2019, equation 4.
pub(super) fn rms_norm_forward(x_tc: &Tensor, gain_c: &[f32], epsilon: f32) -> Tensor {
    assert_eq!(gain_c.len(), x_tc.cols(), "gain of an rms norm");
    let mut y_tc = Tensor::zeros(x_tc.rows(), x_tc.cols());
    for t in 0..x_tc.rows() {
        let s = inverse_rms(x_tc.row(t), epsilon);
        for c in 0..x_tc.cols() {
            y_tc.row_mut(t)[c] = (f64::from(x_tc.row(t)[c]) * s * f64::from(gain_c[c])) as f32;
        }
    }
    y_tc
}

/// With `n = x * s` and `w = dy * gain`: `dx = s * (w - n * mean(w * n))`.
///
/// # Shapes
/// `x, dy [t, c]`, `gain [c]`, result `[t, c]`.
pub(super) fn rms_norm_backward(x_tc: &Tensor, gain_c: &[f32], epsilon: f32, dy_tc: &Tensor) -> Tensor {
    assert_eq!((x_tc.rows(), x_tc.cols()), (dy_tc.rows(), dy_tc.cols()), "x and dy of an rms norm");
    let channels = x_tc.cols();
    let mut dx_tc = Tensor::zeros(x_tc.rows(), channels);
    for t in 0..x_tc.rows() {
        let (x_c, dy_c) = (x_tc.row(t), dy_tc.row(t));
        let s = inverse_rms(x_c, epsilon);
        let mean: f64 =
            (0..channels).map(|c| f64::from(dy_c[c]) * f64::from(gain_c[c]) * f64::from(x_c[c]) * s).sum::<f64>()
                / channels as f64;
        for c in 0..channels {
            let w = f64::from(dy_c[c]) * f64::from(gain_c[c]);
            dx_tc.row_mut(t)[c] = (s * (w - f64::from(x_c[c]) * s * mean)) as f32;
        }
    }
    dx_tc
}

/// With `n = x * s`: `dgain += sum_t dy n`.
///
/// # Shapes
/// `x, dy [t, c]`, `dgain [c]`.
pub(super) fn rms_norm_gain_backward(x_tc: &Tensor, epsilon: f32, dy_tc: &Tensor, dgain_c: &mut [f32]) {
    assert_eq!((x_tc.rows(), x_tc.cols()), (dy_tc.rows(), dy_tc.cols()), "x and dy of an rms norm");
    assert_eq!(dgain_c.len(), x_tc.cols(), "gain of an rms norm");
    let inverse: Vec<f64> = (0..x_tc.rows()).map(|t| inverse_rms(x_tc.row(t), epsilon)).collect();
    for (c, dgain) in dgain_c.iter_mut().enumerate() {
        let term = |t: usize| f64::from(dy_tc.row(t)[c]) * f64::from(x_tc.row(t)[c]) * inverse[t];
        *dgain += (0..x_tc.rows()).map(term).sum::<f64>() as f32;
    }
}
