//! The head: logits, log-probabilities, label smoothing and the gradient, against the reference.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod common;

use attune_compute::reference::Reference;
use attune_compute::{Backend, DType, HeadOutput, Tensor, Weight};
use common::*;

/// A log-probability is a logit (a sum of c products) minus a logarithm; for the sizes here both are below 32, and their
/// own rounding errors are about 8 epsilons of the sums they come from.
fn check(what: &str, got: &HeadOutput, expected: &HeadOutput, logit_size: f32, epsilons: f64) {
    let sizes = vec![logit_size; expected.logprobs.len()];
    assert_close(&format!("{what} logprobs"), &got.logprobs, &expected.logprobs, &sizes, epsilons);
    assert_close(&format!("{what} smoothed"), &got.smoothed, &expected.smoothed, &sizes, epsilons);
    assert_eq!(got.dx.is_some(), expected.dx.is_some());
    if let (Some(got), Some(expected)) = (&got.dx, &expected.dx) {
        let sizes = vec![logit_size; expected.data().len()];
        assert_close(&format!("{what} dx"), got.data(), expected.data(), &sizes, epsilons);
    }
}

#[test]
fn head_grid() {
    let cases = [
        (1, 1, 1),
        (2, 3, 2),
        (7, 16, 15),
        (16, 17, 33),
        (3, 64, 1031),
        (65, 31, 257),
        (33, 127, 255),
        (1, 256, 2049),
        (128, 63, 65),
        (0, 8, 16),
    ];
    for (i, &(rows, channels, vocabulary)) in cases.iter().enumerate() {
        for smoothing in [0.0, 0.1] {
            let x = Tensor::from_vec(rows, channels, values(1, rows * channels).iter().map(|x| 3.0 * x).collect());
            let head = weight(DTYPES[i % 3], 2, vocabulary, channels);
            let targets: Vec<u32> = (0..rows).map(|n| (n * 31 % vocabulary) as u32).collect();
            let expected = Reference.head_logprobs(&x, &head, &targets, smoothing, true);
            for cpu in cpus(2) {
                let what = format!("{} n {rows} c {channels} v {vocabulary} e {smoothing}", cpu.name());
                // The sizes of the sums: up to 3 * c for a logit.
                let size = 3.0 * channels as f32 + (vocabulary as f32).ln() + 1.0;
                let got = cpu.head_logprobs(&x, &head, &targets, smoothing, true);
                let epsilons = if rounds_factors(&cpu, head.dtype()) { BF16_EPSILONS } else { 4.0 };
                check(&what, &got, &expected, size, epsilons);
                let without = cpu.head_logprobs(&x, &head, &targets, smoothing, false);
                assert!(without.dx.is_none());
                assert_eq!(bits(&without.logprobs), bits(&got.logprobs));
                assert_eq!(bits(&without.smoothed), bits(&got.smoothed));
                if smoothing == 0.0 {
                    assert_eq!(bits(&got.smoothed), bits(&got.logprobs), "smoothing of 0 changes nothing");
                }
            }
        }
    }
}

/// 336 MiB of logits are 880 rows of 100 000: 900 rows come in two blocks of 450, and none is lost at a border.
#[test]
fn more_rows_than_the_logits_buffer_holds() {
    let (rows, channels, vocabulary) = (900, 2, 100_000);
    let x = tensor(1, rows, channels);
    let head = weight(DType::Bf16, 2, vocabulary, channels);
    let targets: Vec<u32> = (0..rows).map(|n| (n * 111) as u32).collect();
    for cpu in cpus(2) {
        let got = cpu.head_logprobs(&x, &head, &targets, 0.0, true);
        for row in [0, 83, 449, 450, 451, 899] {
            let x_row = Tensor::from_vec(1, channels, x.row(row).to_vec());
            let alone = cpu.head_logprobs(&x_row, &head, &targets[row..=row], 0.0, true);
            assert_eq!(got.logprobs[row].to_bits(), alone.logprobs[0].to_bits(), "{} row {row}", cpu.name());
            assert_eq!(bits(got.dx.as_ref().unwrap().row(row)), bits(alone.dx.unwrap().data()), "{}", cpu.name());
            let expected = Reference.head_logprobs(&x_row, &head, &targets[row..=row], 0.0, false);
            let limit = if rounds_factors(&cpu, head.dtype()) { 1e-2 } else { 1e-5 };
            assert!((got.logprobs[row] - expected.logprobs[0]).abs() < limit);
        }
    }
}

#[test]
fn probabilities_of_all_targets_sum_to_one() {
    let (channels, vocabulary) = (32, 500);
    let x_row = values(1, channels);
    let x = Tensor::from_vec(vocabulary, channels, x_row.repeat(vocabulary));
    let head = weight(DType::F16, 2, vocabulary, channels);
    let targets: Vec<u32> = (0..vocabulary as u32).collect();
    for backend in all_backends() {
        let output = backend.head_logprobs(&x, &head, &targets, 0.0, false);
        let sum: f64 = output.logprobs.iter().map(|&p| f64::from(p).exp()).sum();
        assert!((sum - 1.0).abs() < 1e-5, "{}: {sum}", backend.name());
    }
}

/// Logits around 1000 with differences of 1: the softmax must look at differences.
#[test]
fn large_logits_do_not_overflow() {
    let head = Weight::from_f32(3, 1, &[1000.0, 1001.0, -1000.0]);
    let x = Tensor::from_vec(2, 1, vec![1.0, -1.0]);
    for backend in all_backends() {
        let output = backend.head_logprobs(&x, &head, &[0, 2], 0.0, true);
        let expected = -(1.0 + 1f64.exp()).ln();
        assert!((f64::from(output.logprobs[0]) - expected).abs() < 1e-6, "{}: {:?}", backend.name(), output.logprobs);
        assert_eq!(output.logprobs[1], 0.0, "{}", backend.name());
        assert!(output.dx.unwrap().data().iter().all(|dx| dx.is_finite()));
    }
}

#[test]
fn nan_rows_give_nan_and_spare_the_others() {
    let mut x = tensor(1, 3, 8);
    x.row_mut(1)[5] = f32::NAN;
    let head = weight(DType::F32, 2, 40, 8);
    for backend in all_backends() {
        let output = backend.head_logprobs(&x, &head, &[1, 2, 3], 0.0, true);
        let nan: Vec<bool> = output.logprobs.iter().map(|p| p.is_nan()).collect();
        assert_eq!(nan, [false, true, false], "{}", backend.name());
    }
}

#[test]
fn logits_grid() {
    for (rows, channels, vocabulary) in [(0, 8, 8), (1, 255, 1031), (1, 1, 1), (3, 64, 257), (9, 33, 127)] {
        for dtype in DTYPES {
            let (x, head) = (tensor(1, rows, channels), weight(dtype, 2, vocabulary, channels));
            let expected = Reference.head_logits(&x, &head);
            let size = Reference.head_logits(&absolute_tensor(&x), &absolute_weight(&head));
            for cpu in cpus(2) {
                let got = cpu.head_logits(&x, &head);
                assert_eq!((got.rows(), got.cols()), (rows, vocabulary));
                let epsilons = if rounds_factors(&cpu, dtype) { BF16_EPSILONS } else { 16.0 };
                assert_close(&cpu.name(), got.data(), expected.data(), size.data(), epsilons);
            }
        }
    }
}

#[test]
#[should_panic(expected = "target 40 in a vocabulary of 40")]
fn targets_outside_the_vocabulary_are_refused() {
    cpus(1)[0].head_logprobs(&tensor(1, 1, 8), &weight(DType::F32, 2, 40, 8), &[40], 0.0, false);
}
