use crate::backend::HeadOutput;
use crate::tensor::Tensor;
use crate::weight::Weight;

/// With `z = x W^T` and `e` the label smoothing: `logprob = z[target] - lse(z)`,
/// `smoothed = (1 - e) logprob + e (mean(z) - lse(z))`; backward of `smoothed`:
/// `dz = (1 - e) onehot(target) + e/v - softmax(z)`, `dx = dz W`.
///
/// # Shapes
/// `x [n, c]`, `head [v, c]`, `targets [n]`, `dx [n, c]`.
///
/// # Source
/// Label smoothing: Szegedy et al., "Rethinking the Inception Architecture", 2016, section 7.
pub(super) fn head_logprobs(
    x_nc: &Tensor,
    head: &Weight,
    targets: &[u32],
    label_smoothing: f32,
    want_gradient: bool,
) -> HeadOutput {
    assert_eq!(x_nc.rows(), targets.len(), "one target per row");
    assert_eq!(x_nc.cols(), head.cols(), "columns of x for the head");
    let (vocabulary, smoothing) = (head.rows(), f64::from(label_smoothing));
    let mut output = HeadOutput {
        logprobs: Vec::with_capacity(targets.len()),
        smoothed: Vec::with_capacity(targets.len()),
        dx: want_gradient.then(|| Tensor::zeros(x_nc.rows(), x_nc.cols())),
    };
    let mut weight_row = vec![0.0; head.cols()];
    for (n, &target) in targets.iter().enumerate() {
        let target = target as usize;
        assert!(target < vocabulary, "target {target} in a vocabulary of {vocabulary}");
        let z: Vec<f64> = (0..vocabulary)
            .map(|v| {
                head.read_row(v, &mut weight_row);
                x_nc.row(n).iter().zip(&weight_row).map(|(&x, &w)| f64::from(x) * f64::from(w)).sum()
            })
            .collect();
        let largest = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let lse = largest + z.iter().map(|z| (z - largest).exp()).sum::<f64>().ln();
        let mean = z.iter().sum::<f64>() / vocabulary as f64;
        let logprob = z[target] - lse;
        output.logprobs.push(logprob as f32);
        output.smoothed.push(((1.0 - smoothing) * logprob + smoothing * (mean - lse)) as f32);

        let Some(dx_nc) = &mut output.dx else { continue };
        let mut dx_c = vec![0.0f64; head.cols()];
        for (v, z) in z.iter().enumerate() {
            let onehot = if v == target { 1.0 - smoothing } else { 0.0 };
            let dz = onehot + smoothing / vocabulary as f64 - (z - lse).exp();
            head.read_row(v, &mut weight_row);
            for (dx, &w) in dx_c.iter_mut().zip(&weight_row) {
                *dx += dz * f64::from(w);
            }
        }
        for (out, dx) in dx_nc.row_mut(n).iter_mut().zip(dx_c) {
            *out = dx as f32;
        }
    }
    output
}

/// With `dz` as above: `dx_n = coefficient_n * dz_n W`, `dW += sum_n coefficient_n * dz_n^T x_n`.
///
/// # Shapes
/// `x, result [n, c]`, `head, dhead [v, c]`, `targets, coefficients [n]`.
pub(super) fn head_backward(
    x_nc: &Tensor,
    head: &Weight,
    targets: &[u32],
    label_smoothing: f32,
    coefficients: &[f32],
    dhead_vc: &mut [f32],
) -> Tensor {
    assert_eq!((x_nc.rows(), coefficients.len()), (targets.len(), targets.len()), "one target and factor per row");
    assert_eq!(dhead_vc.len(), head.rows() * head.cols(), "gradient of the head");
    let (vocabulary, channels, smoothing) = (head.rows(), head.cols(), f64::from(label_smoothing));
    let mut dx_nc = Tensor::zeros(x_nc.rows(), channels);
    let mut dhead = vec![0.0f64; dhead_vc.len()];
    let mut weight_row = vec![0.0; channels];
    for (n, &target) in targets.iter().enumerate() {
        let z: Vec<f64> = (0..vocabulary)
            .map(|v| {
                head.read_row(v, &mut weight_row);
                x_nc.row(n).iter().zip(&weight_row).map(|(&x, &w)| f64::from(x) * f64::from(w)).sum()
            })
            .collect();
        let largest = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let lse = largest + z.iter().map(|z| (z - largest).exp()).sum::<f64>().ln();
        let mut dx_c = vec![0.0f64; channels];
        for (v, z) in z.iter().enumerate() {
            let onehot = if v == target as usize { 1.0 - smoothing } else { 0.0 };
            let dz = f64::from(coefficients[n]) * (onehot + smoothing / vocabulary as f64 - (z - lse).exp());
            head.read_row(v, &mut weight_row);
            for c in 0..channels {
                dx_c[c] += dz * f64::from(weight_row[c]);
                dhead[v * channels + c] += dz * f64::from(x_nc.row(n)[c]);
            }
        }
        for (out, dx) in dx_nc.row_mut(n).iter_mut().zip(dx_c) {
            *out = dx as f32;
        }
    }
    for (out, sum) in dhead_vc.iter_mut().zip(dhead) {
        *out += sum as f32;
    }
    dx_nc
}
