//! Norms, rotations, gates, sums, the embedding and the optimizer step, against the reference.

mod common;

use attune_compute::reference::Reference;
use attune_compute::{AdamWArgs, Backend, DType, RopeTable, Tensor};
use common::*;

/// The cpu backend rounds an element a few times where the reference rounds once.
const ELEMENT_EPSILONS: f64 = 4.0;

#[test]
fn embedding_reads_rows_exactly() {
    for dtype in DTYPES {
        for cols in SIZES {
            let table = weight(dtype, 1, 11, cols);
            for rows in [0, 1, 3, 65] {
                let ids: Vec<u32> = (0..rows).map(|i| (i * 7 % 11) as u32).collect();
                let expected = Reference.embedding_forward(&table, &ids);
                for cpu in cpus(2) {
                    let got = cpu.embedding_forward(&table, &ids);
                    assert_eq!(bits(got.data()), bits(expected.data()), "{} {dtype:?} c {cols}", cpu.name());
                }
            }
        }
    }
}

#[test]
#[should_panic(expected = "token id 11 in an embedding of 11 rows")]
fn embedding_refuses_ids_outside_the_table() {
    cpus(1)[0].embedding_forward(&weight(DTYPES[0], 1, 11, 4), &[3, 11]);
}

#[test]
fn rms_norm_grid() {
    for cols in SIZES {
        for rows in [0, 1, 2, 17, 65] {
            let (x, dy, gain) = (tensor(1, rows, cols), tensor(2, rows, cols), values(3, cols));
            let expected = Reference.rms_norm_forward(&x, &gain, 1e-5, DType::F32);
            let expected_dx = norm_backward(&Reference, &x, &gain, 1e-5, &dy);
            // dx is a difference of two terms: the largest element of a row is their size.
            for cpu in cpus(2) {
                let what = format!("{} t {rows} c {cols}", cpu.name());
                let got = cpu.rms_norm_forward(&x, &gain, 1e-5, DType::F32);
                assert_close(&what, got.data(), expected.data(), &absolute(expected.data()), ELEMENT_EPSILONS);
                let dx = norm_backward(&cpu, &x, &gain, 1e-5, &dy);
                for row in 0..rows {
                    let scale = dy.row(row).iter().zip(&gain).fold(0.0f32, |a, (dy, g)| a.max((dy * g).abs()))
                        / (x.row(row).iter().map(|x| x * x).sum::<f32>() / cols as f32 + 1e-5).sqrt();
                    let size = vec![scale; cols];
                    assert_close(&what, dx.row(row), expected_dx.row(row), &size, 2.0 * ELEMENT_EPSILONS);
                }
            }
        }
    }
}

#[test]
fn rope_grid_and_its_inverse() {
    for (heads, half) in [(1, 1), (3, 4), (2, 8), (5, 16), (1, 17), (2, 32), (4, 64), (9, 33)] {
        let frequencies: Vec<f32> = (0..half).map(|i| 10_000f32.powf(-(i as f32) / half as f32)).collect();
        let table = RopeTable::new(&frequencies, 600);
        for rows in [0, 1, 7, 130] {
            let positions: Vec<u32> = (0..rows).map(|t| (t * 37 % 600) as u32).collect();
            let x = tensor(1, rows, heads * 2 * half);
            let mut expected = x.clone();
            Reference.rope_forward(&mut expected, &positions, &table);
            for cpu in cpus(2) {
                let what = format!("{} heads {heads} half {half} t {rows}", cpu.name());
                let mut got = x.clone();
                cpu.rope_forward(&mut got, &positions, &table);
                assert_close(&what, got.data(), expected.data(), &vec![1.0; x.data().len()], ELEMENT_EPSILONS);
                cpu.rope_backward(&mut got, &positions, &table);
                assert_close(&what, got.data(), x.data(), &vec![1.0; x.data().len()], ELEMENT_EPSILONS);
            }
        }
    }
}

#[test]
#[should_panic(expected = "position 5 in a table of 5")]
fn rope_refuses_positions_outside_the_table() {
    let table = RopeTable::new(&[1.0], 5);
    cpus(1)[0].rope_forward(&mut tensor(1, 1, 2), &[5], &table);
}

#[test]
fn swiglu_grid_and_extremes() {
    let mut cases: Vec<(Tensor, Tensor, Tensor)> = SIZES
        .iter()
        .flat_map(|&cols| [0, 1, 3, 40].map(|rows| (rows, cols)))
        .map(|(rows, cols)| {
            let gate = values(1, rows * cols).iter().map(|x| 12.0 * x).collect();
            (Tensor::from_vec(rows, cols, gate), tensor(2, rows, cols), tensor(3, rows, cols))
        })
        .collect();
    let extremes = vec![0.0, -0.0, 88.0, -88.0, 1e4, -1e4, 1e30, -1e30, 1e-30];
    let n = extremes.len();
    cases.push((Tensor::from_vec(1, n, extremes), Tensor::from_vec(1, n, vec![1.0; n]), tensor(3, 1, n)));
    for (gate, up, dh) in &cases {
        let expected = Reference.swiglu_forward(gate, up);
        let (expected_dgate, expected_dup) = Reference.swiglu_backward(gate, up, dh);
        for cpu in cpus(2) {
            let what = format!("{} t {} f {}", cpu.name(), gate.rows(), gate.cols());
            // Relative to the result, or to 1 where s + g s (1 - s) passes through zero.
            let size = |values: &Tensor| values.data().iter().map(|v| v.abs().max(1e-3)).collect::<Vec<f32>>();
            let near = |values: &Tensor| values.data().iter().map(|v| v.abs().max(1.0)).collect::<Vec<f32>>();
            let got = cpu.swiglu_forward(gate, up);
            assert_close(&what, got.data(), expected.data(), &size(&expected), 2.0 * ELEMENT_EPSILONS);
            let (dgate, dup) = cpu.swiglu_backward(gate, up, dh);
            assert_close(&what, dgate.data(), expected_dgate.data(), &near(&expected_dgate), 2.0 * ELEMENT_EPSILONS);
            assert_close(&what, dup.data(), expected_dup.data(), &size(&expected_dup), 2.0 * ELEMENT_EPSILONS);
        }
    }
}

#[test]
fn swiglu_passes_nan_on() {
    let nan = Tensor::from_vec(1, 33, vec![f32::NAN; 33]);
    let one = Tensor::from_vec(1, 33, vec![1.0; 33]);
    for backend in all_backends() {
        assert!(backend.swiglu_forward(&nan, &one).data().iter().all(|h| h.is_nan()), "{}", backend.name());
    }
}

#[test]
fn add_assign_is_exact() {
    for cols in SIZES {
        for rows in [0, 1, 33] {
            let (x, y) = (tensor(1, rows, cols), tensor(2, rows, cols));
            let mut expected = x.clone();
            Reference.add_assign(&mut expected, &y);
            for cpu in cpus(2) {
                let mut got = x.clone();
                cpu.add_assign(&mut got, &y);
                assert_eq!(bits(got.data()), bits(expected.data()), "{}", cpu.name());
            }
        }
    }
}

#[test]
fn adamw_is_the_reference_to_the_bit() {
    for len in SIZES.into_iter().chain([0, 40_000]) {
        let parameter = values(1, len);
        for backend in cpus(2) {
            let (mut p, mut m, mut v) = (parameter.clone(), vec![0.0; len], vec![0.0; len]);
            let (mut p_expected, mut m_expected, mut v_expected) = (p.clone(), m.clone(), v.clone());
            for step in 1..=4 {
                let args = AdamWArgs {
                    learning_rate: 1e-3,
                    beta1: 0.9,
                    beta2: 0.999,
                    epsilon: 1e-8,
                    weight_decay: 0.01,
                    step,
                    gradient_scale: 0.37,
                };
                let g = values(10 + step, len);
                backend.adamw(&mut p, &g, &mut m, &mut v, &args);
                Reference.adamw(&mut p_expected, &g, &mut m_expected, &mut v_expected, &args);
            }
            assert_eq!(bits(&p), bits(&p_expected), "{} n {len}", backend.name());
            assert_eq!((bits(&m), bits(&v)), (bits(&m_expected), bits(&v_expected)), "{} n {len}", backend.name());
        }
    }
}

#[test]
fn sum_of_squares_in_f64() {
    for len in SIZES.into_iter().chain([0, 16_384, 16_385, 100_003]) {
        let values = values(1, len);
        let expected = Reference.sum_squares(&values);
        for cpu in cpus(3) {
            let got = cpu.sum_squares(&values);
            // The reference adds one after the other: it may be off by half an epsilon per element.
            let allowed = len as f64 * f64::EPSILON / 2.0 * expected;
            assert!((got - expected).abs() <= allowed, "{}: {got} for {expected}", cpu.name());
        }
    }
    // 1e30 squared is no f32.
    for backend in all_backends() {
        assert!((backend.sum_squares(&[1e30, 1e30]) / 2e60 - 1.0).abs() < 1e-6);
    }
}
