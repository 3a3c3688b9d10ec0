use crate::backend::AdamWArgs;

/// With `g' = gradient_scale * g`: `p = p (1 - lr*decay)`, `m = b1 m + (1 - b1) g'`, `v = b2 v + (1 - b2) g'^2`,
/// `p = p - lr * (m / (1 - b1^step)) / (sqrt(v / (1 - b2^step)) + epsilon)`.
///
/// # Shapes
/// All flat, of one length.
///
/// # Source
/// Loshchilov, Hutter: "Decoupled Weight Decay Regularization", 2019, algorithm 2, with PyTorch's order of operations.
pub(super) fn adamw(parameter: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32], args: &AdamWArgs) {
    assert_eq!((g.len(), m.len(), v.len()), (parameter.len(), parameter.len(), parameter.len()), "lengths of AdamW");
    let step = args.step as f64;
    let bias1 = 1.0 - args.beta1.powf(step);
    let bias2 = 1.0 - args.beta2.powf(step);
    for i in 0..parameter.len() {
        let gradient = f64::from(g[i]) * args.gradient_scale;
        let first = args.beta1 * f64::from(m[i]) + (1.0 - args.beta1) * gradient;
        let second = args.beta2 * f64::from(v[i]) + (1.0 - args.beta2) * gradient * gradient;
        m[i] = first as f32;
        v[i] = second as f32;
        let decayed = f64::from(parameter[i]) * (1.0 - args.learning_rate * args.weight_decay);
        let update = (first / bias1) / ((second / bias2).sqrt() + args.epsilon);
        parameter[i] = (decayed - args.learning_rate * update) as f32;
    }
}
