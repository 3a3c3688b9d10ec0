//! Gradients of the weights themselves, against the reference, on odd sizes.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod common;

use attune_compute::reference::Reference;
use attune_compute::{Backend, DType, Tensor};
use common::*;

/// The sums of the absolute values of the terms: the scale of rounding errors.
fn sizes(x: &Tensor, dy: &Tensor) -> (Vec<f32>, Vec<f32>) {
    let (mut dw, mut db) = (vec![1.0; dy.cols() * x.cols()], vec![1.0; dy.cols()]);
    Reference.linear_weight_backward(&absolute_tensor(x), &absolute_tensor(dy), &mut dw, Some(&mut db));
    (dw, db)
}

#[test]
fn linears_of_odd_sizes() {
    for (i, &tokens) in SIZES.iter().enumerate() {
        let (inputs, outputs) = (SIZES[(i + 5) % 14], SIZES[(i + 9) % 15]);
        let (x, dy) = (tensor(1, tokens, inputs), tensor(2, tokens, outputs));
        let (dw_size, db_size) = sizes(&x, &dy);
        let start = (values(3, outputs * inputs), values(4, outputs));
        let (mut dw, mut db) = start.clone();
        Reference.linear_weight_backward(&x, &dy, &mut dw, Some(&mut db));
        for cpu in cpus(2) {
            let (mut got_dw, mut got_db) = start.clone();
            cpu.linear_weight_backward(&x, &dy, &mut got_dw, Some(&mut got_db));
            let what = format!("{} {tokens} x {inputs} x {outputs}", cpu.name());
            assert_close(&format!("{what} dW"), &got_dw, &dw, &dw_size, 8.0);
            assert_close(&format!("{what} db"), &got_db, &db, &db_size, 2.0);
            let mut without_bias = start.0.clone();
            cpu.linear_weight_backward(&x, &dy, &mut without_bias, None);
            assert_eq!(bits(&without_bias), bits(&got_dw));
        }
    }
}

/// Factors in `bf16` are multiplied exactly, so the result is that of the reference on the same factors; a gradient in `f32`
/// on the residual stream is rounded to `bf16` first.
#[test]
fn bf16_activations() {
    let (tokens, inputs, outputs) = (131, 65, 33);
    let (x, dy) = (tensor(1, tokens, inputs).to_dtype(DType::Bf16), tensor(2, tokens, outputs));
    let (x_wide, dy_rounded) = (x.to_dtype(DType::F32), dy.to_dtype(DType::Bf16).to_dtype(DType::F32));
    let mut expected = vec![0.0; outputs * inputs];
    Reference.linear_weight_backward(&x_wide, &dy_rounded, &mut expected, None);
    let (size, _) = sizes(&x_wide, &dy);
    for cpu in cpus(2).into_iter().filter(|cpu| rounds_factors(cpu, DType::Bf16)) {
        let mut got = vec![0.0; outputs * inputs];
        cpu.linear_weight_backward(&x, &dy, &mut got, None);
        assert_close(&cpu.name(), &got, &expected, &size, 8.0);
    }
}

#[test]
fn embeddings_are_exact() {
    let (dy, ids) = (tensor(1, 67, 37), (0..67).map(|t| t * t % 11).collect::<Vec<u32>>());
    let mut expected = values(2, 11 * 37);
    Reference.embedding_backward(&ids, &dy, &mut expected);
    for cpu in cpus(3) {
        let mut got = values(2, 11 * 37);
        cpu.embedding_backward(&ids, &dy, &mut got);
        assert_eq!(bits(&got), bits(&expected), "{}", cpu.name());
    }
}

#[test]
fn gains_of_odd_sizes() {
    for &(tokens, channels) in &[(1, 1), (3, 17), (127, 64), (128, 65), (257, 33), (600, 5)] {
        let (x, dy) = (tensor(1, tokens, channels), tensor(2, tokens, channels));
        let mut expected = values(3, channels);
        Reference.rms_norm_gain_backward(&x, 1e-5, &dy, &mut expected);
        for cpu in cpus(2) {
            let mut got = values(3, channels);
            cpu.rms_norm_gain_backward(&x, 1e-5, &dy, &mut got);
            assert_close_to_largest(&format!("{} {tokens} x {channels}", cpu.name()), &got, &expected, 2.0);
        }
    }
}

#[test]
fn trained_heads() {
    let cases = [(1, 1, 1), (2, 3, 2), (7, 16, 15), (65, 31, 257), (33, 127, 255), (130, 63, 65)];
    for &(rows, channels, vocabulary) in &cases {
        let (x, head) = (tensor(1, rows, channels), weight(DType::F32, 2, vocabulary, channels));
        let targets: Vec<u32> = (0..rows).map(|n| (n * 31 % vocabulary) as u32).collect();
        let coefficients = values(3, rows);
        let start = values(4, vocabulary * channels);
        let mut expected = start.clone();
        let expected_dx = Reference.head_backward(&x, &head, &targets, 0.1, &coefficients, &mut expected);
        for cpu in cpus(2) {
            let mut got = start.clone();
            let dx = cpu.head_backward(&x, &head, &targets, 0.1, &coefficients, &mut got);
            let what = format!("{} {rows} x {channels} x {vocabulary}", cpu.name());
            let size = channels as f32 + (vocabulary as f32).ln() + 1.0;
            assert_close(&format!("{what} dx"), dx.data(), expected_dx.data(), &vec![size; dx.data().len()], 4.0);
            assert_close(&format!("{what} dW"), &got, &expected, &vec![size * rows as f32; got.len()], 4.0);
            // Without the head's own gradient the rows are the same, but for the place where the factor is applied.
            let frozen = cpu.head_logprobs(&x, &head, &targets, 0.1, true).dx.unwrap();
            for n in 0..rows {
                let scaled: Vec<f32> = frozen.row(n).iter().map(|dx| dx * coefficients[n]).collect();
                assert_close(&what, dx.row(n), &scaled, &vec![size; channels], 4.0);
            }
        }
    }
}

#[test]
fn weights_are_rounded_as_the_reference_does() {
    for dtype in DTYPES {
        let values = values(7, 33 * 1031);
        let expected = Reference.round_weight(dtype, 33, 1031, &values);
        for cpu in cpus(2) {
            assert_eq!(cpu.round_weight(dtype, 33, 1031, &values).bytes(), expected.bytes(), "{}", cpu.name());
        }
    }
}
