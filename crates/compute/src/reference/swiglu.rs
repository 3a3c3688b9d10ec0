use crate::tensor::Tensor;

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// `h = gate * sigmoid(gate) * up`.
///
/// # Shapes
/// All `[t, f]`.
///
/// # Source
/// Shazeer: "GLU Variants Improve Transformer", 2020, equation 6 (beta 1).
pub(super) fn swiglu_forward(gate_tf: &Tensor, up_tf: &Tensor) -> Tensor {
    assert_eq!((gate_tf.rows(), gate_tf.cols()), (up_tf.rows(), up_tf.cols()), "gate and up");
    let mut h_tf = Tensor::zeros(gate_tf.rows(), gate_tf.cols());
    for ((h, &gate), &up) in h_tf.data_mut().iter_mut().zip(gate_tf.data()).zip(up_tf.data()) {
        let gate = f64::from(gate);
        *h = (gate * sigmoid(gate) * f64::from(up)) as f32;
    }
    h_tf
}

/// `dup = dh * silu(gate)`, `dgate = dh * up * (s + gate * s * (1 - s))` with `s = sigmoid(gate)`.
///
/// # Shapes
/// All `[t, f]`.
pub(super) fn swiglu_backward(gate_tf: &Tensor, up_tf: &Tensor, dh_tf: &Tensor) -> (Tensor, Tensor) {
    assert_eq!((gate_tf.rows(), gate_tf.cols()), (dh_tf.rows(), dh_tf.cols()), "gate and dh");
    assert_eq!((gate_tf.rows(), gate_tf.cols()), (up_tf.rows(), up_tf.cols()), "gate and up");
    let mut dgate_tf = Tensor::zeros(gate_tf.rows(), gate_tf.cols());
    let mut dup_tf = Tensor::zeros(gate_tf.rows(), gate_tf.cols());
    for i in 0..gate_tf.data().len() {
        let (gate, up) = (f64::from(gate_tf.data()[i]), f64::from(up_tf.data()[i]));
        let dh = f64::from(dh_tf.data()[i]);
        let s = sigmoid(gate);
        dgate_tf.data_mut()[i] = (dh * up * (s + gate * s * (1.0 - s))) as f32;
        dup_tf.data_mut()[i] = (dh * gate * s) as f32;
    }
    (dgate_tf, dup_tf)
}
