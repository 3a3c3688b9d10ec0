//! What DoRA adds to a linear: against the reference, against differences, and over threads.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod common;

use attune_compute::cpu::{Cpu, Isa};
use attune_compute::reference::Reference;
use attune_compute::{Backend, DType, SidePath, Tensor, Weight};
use common::*;

#[test]
fn norms_of_rows_agree_with_the_reference() {
    for (at, &inputs) in SIZES.iter().enumerate() {
        for rank in [1, 3, 4, 9] {
            let (outputs, dtype) = ([1, 5, 33][at % 3], DTYPES[at % 3]);
            let weight = weight(dtype, 1, outputs, inputs);
            let (a, b) = (values(2, rank * inputs), values(3, outputs * rank));
            let side = SidePath { a: &a, b: &b, rank, scale: 0.75, dropout: None };
            for side in [None, Some(&side)] {
                let expected = Reference.row_norms(&weight, side);
                for cpu in cpus(2) {
                    let got = cpu.row_norms(&weight, side);
                    let what = format!("{} {outputs}x{inputs} rank {rank}", cpu.name());
                    assert_close(&what, &got, &expected, &expected, 4.0 + rank as f64);
                }
            }
        }
    }
}

#[test]
fn the_norm_is_that_of_the_whole_sum() {
    // By hand: rows (3, 0) and (0, 0) with B A = (0, 4) and (0, 2), scale 1 and 1/2.
    let weight = Weight::from_f32(2, 2, &[3.0, 0.0, 0.0, 0.0]);
    for backend in all_backends() {
        let norms = |scale| {
            backend
                .row_norms(&weight, Some(&SidePath { a: &[0.0, 2.0], b: &[2.0, 1.0], rank: 1, scale, dropout: None }))
        };
        assert_eq!(norms(1.0), [5.0, 2.0]);
        assert_eq!(norms(0.5), [13f32.sqrt(), 1.0]);
        assert_eq!(backend.row_norms(&weight, None), [3.0, 0.0]);
        assert_eq!(backend.row_norms(&Weight::from_f32(3, 0, &[]), None), [0.0; 3]);
    }
}

#[test]
fn scaled_columns_agree_with_the_reference_both_ways() {
    for (at, &columns) in SIZES.iter().enumerate() {
        let rows = [1, 4, 19][at % 3];
        let (v, dy, residual) = (tensor(1, rows, columns), tensor(2, rows, columns), tensor(3, rows, columns));
        let (factor, bias) = (values(4, columns), values(5, columns));
        for cpu in cpus(2) {
            let what = format!("{} {rows}x{columns}", cpu.name());
            for (bias, residual) in [(None, None), (Some(&bias[..]), None), (Some(&bias[..]), Some(&residual))] {
                let expected = Reference.scale_columns_forward(&v, &factor, bias, residual);
                let got = cpu.scale_columns_forward(&v, &factor, bias, residual);
                assert_close_to_largest(&what, got.data(), expected.data(), 4.0);
            }
            let (mut expected_sums, mut sums) = (vec![0.5; columns], vec![0.5; columns]);
            let expected = Reference.scale_columns_backward(&v, &factor, &dy, &mut expected_sums);
            let got = cpu.scale_columns_backward(&v, &factor, &dy, &mut sums);
            assert_eq!(bits(got.data()), bits(expected.data()), "{what}");
            assert_close_to_largest(&what, &sums, &expected_sums, 2.0);
        }
    }
}

#[test]
fn bf16_tensors_are_computed_in_f32_and_rounded_once() {
    let round = |x: &Tensor| x.to_dtype(DType::Bf16);
    let (v, dy, residual) = (round(&tensor(1, 5, 300)), round(&tensor(2, 5, 300)), tensor(3, 5, 300));
    let (factor, bias) = (values(4, 300), values(5, 300));
    let (wide_v, wide_dy) = (v.to_dtype(DType::F32), dy.to_dtype(DType::F32));
    for cpu in cpus(2) {
        let got = cpu.scale_columns_forward(&v, &factor, Some(&bias), None);
        assert_eq!(got.dtype(), DType::Bf16);
        let wide = cpu.scale_columns_forward(&wide_v, &factor, Some(&bias), None);
        assert_eq!(tensor_bits(&got), tensor_bits(&round(&wide)));
        let onto = cpu.scale_columns_forward(&v, &factor, None, Some(&residual));
        assert_eq!(onto.dtype(), DType::F32);
        assert_eq!(
            tensor_bits(&onto),
            tensor_bits(&cpu.scale_columns_forward(&wide_v, &factor, None, Some(&residual)))
        );
        let (mut sums, mut wide_sums) = (vec![0.0; 300], vec![0.0; 300]);
        let dv = cpu.scale_columns_backward(&v, &factor, &dy, &mut sums);
        let wide_dv = cpu.scale_columns_backward(&wide_v, &factor, &wide_dy, &mut wide_sums);
        assert_eq!(tensor_bits(&dv), tensor_bits(&round(&wide_dv)));
        assert_eq!(bits(&sums), bits(&wide_sums));
    }
}

#[test]
fn threads_change_no_bit() {
    let weight = weight(DType::Bf16, 1, 700, 130);
    let (a, b) = (values(2, 5 * 130), values(3, 700 * 5));
    let side = SidePath { a: &a, b: &b, rank: 5, scale: 0.3, dropout: None };
    let (v, dy, factor) = (tensor(4, 37, 700), tensor(5, 37, 700), values(6, 700));
    for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
        let all = |threads: usize| {
            let cpu = Cpu::with_isa(isa, Some(threads)).unwrap();
            let mut sums = vec![0.0; 700];
            let dv = cpu.scale_columns_backward(&v, &factor, &dy, &mut sums);
            let y = cpu.scale_columns_forward(&v, &factor, None, Some(&dy));
            [bits(&cpu.row_norms(&weight, Some(&side))), tensor_bits(&dv), tensor_bits(&y), bits(&sums)]
        };
        assert_eq!(all(1), all(2), "{isa}");
        assert_eq!(all(1), all(5), "{isa}");
    }
}

#[test]
fn gradients_agree_with_differences() {
    // y is linear in v and in the factors, so that a difference over any step is exact up to rounding.
    let (v, dy, factor) = (tensor(1, 6, 40), tensor(2, 6, 40), values(3, 40));
    let dot = |a: &Tensor| a.data().iter().zip(dy.data()).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
    for backend in all_backends() {
        let mut dfactor = vec![0.0; 40];
        let dv = backend.scale_columns_backward(&v, &factor, &dy, &mut dfactor);
        for at in [0, 7, 39] {
            let (mut more, mut wider) = (factor.clone(), v.clone());
            more[at] += 0.5;
            wider.row_mut(3)[at] += 0.5;
            let before = dot(&backend.scale_columns_forward(&v, &factor, None, None));
            let by_factor = (dot(&backend.scale_columns_forward(&v, &more, None, None)) - before) / 0.5;
            let by_v = (dot(&backend.scale_columns_forward(&wider, &factor, None, None)) - before) / 0.5;
            assert!((by_factor - f64::from(dfactor[at])).abs() < 1e-5, "{}: {by_factor}", backend.name());
            assert!((by_v - f64::from(dv.row(3)[at])).abs() < 1e-5, "{}: {by_v}", backend.name());
        }
    }
}
