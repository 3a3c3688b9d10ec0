//! Rung l0 of the parity ladder: every backward op against differences of its forward op, on every backend.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod common;

use attune_compute::{
    AttentionArgs, DType, Dropout, LinearArgs, RopeTable, SidePath, SidePathGradient, Tensor, Weight,
};
use common::*;

/// Half the distance of the two points of a difference. With values around 1, the cubic term of the difference is of
/// the order h^2 = 6e-5, and the rounding of `f32` results 6e-8 / h = 1e-5.
const STEP: f32 = 1.0 / 128.0;

/// Share of the gradient's size by which a difference may be off: 30 times the above. A wrong factor, sign or forgotten
/// term is off by 0.1 and more.
const TOLERANCE: f64 = 2e-3;

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

/// Compares `gradient . direction` with the difference of `loss` along `direction`, for several random directions and
/// for single coordinates.
fn check(what: &str, x: &[f32], gradient: &[f32], loss: impl Fn(&[f32]) -> f64) {
    assert_eq!(x.len(), gradient.len(), "{what}: a gradient has the shape of its input");
    let size = dot(gradient, gradient).sqrt();
    assert!(size > 1e-3, "{what}: the gradient is zero, so this tests nothing");
    let mut directions: Vec<Vec<f32>> = (0..4).map(|seed| values(900 + seed, x.len())).collect();
    for coordinate in [0, x.len() / 2, x.len() - 1] {
        let mut direction = vec![0.0; x.len()];
        direction[coordinate] = 1.0;
        directions.push(direction);
    }
    for direction in directions {
        let at = |step: f32| loss(&x.iter().zip(&direction).map(|(x, d)| x + step * d).collect::<Vec<f32>>());
        let difference = (at(STEP) - at(-STEP)) / f64::from(2.0 * STEP);
        let expected = dot(gradient, &direction);
        // Steps have the length of the direction; a loss is rounded as a sum of the size of its gradient.
        let allowed = TOLERANCE * size * dot(&direction, &direction).sqrt().max(1.0);
        assert!((difference - expected).abs() <= allowed, "{what}: {expected} against a difference of {difference}");
    }
}

fn tensor_like(x: &Tensor, values: &[f32]) -> Tensor {
    Tensor::from_vec(x.rows(), x.cols(), values.to_vec())
}

#[test]
fn rms_norm() {
    for backend in all_backends() {
        let (x, dy, gain) = (tensor(1, 5, 19), tensor(2, 5, 19), values(3, 19));
        let dx = norm_backward(&*backend, &x, &gain, 1e-3, &dy);
        check(&backend.name(), x.data(), dx.data(), |values| {
            dot(backend.rms_norm_forward(&tensor_like(&x, values), &gain, 1e-3, DType::F32).data(), dy.data())
        });
    }
}

#[test]
fn rope() {
    let table = RopeTable::new(&[1.0, 0.5, 0.2], 40);
    let positions = [0, 1, 7, 39];
    for backend in all_backends() {
        let (x, dy) = (tensor(1, 4, 12), tensor(2, 4, 12));
        let mut dx = dy.clone();
        backend.rope_backward(&mut dx, &positions, &table);
        check(&backend.name(), x.data(), dx.data(), |values| {
            let mut y = tensor_like(&x, values);
            backend.rope_forward(&mut y, &positions, &table);
            dot(y.data(), dy.data())
        });
    }
}

#[test]
fn swiglu() {
    for backend in all_backends() {
        let (gate, up, dh) = (tensor(1, 3, 21), tensor(2, 3, 21), tensor(3, 3, 21));
        let (dgate, dup) = backend.swiglu_backward(&gate, &up, &dh);
        check(&format!("{} dgate", backend.name()), gate.data(), dgate.data(), |values| {
            dot(backend.swiglu_forward(&tensor_like(&gate, values), &up).data(), dh.data())
        });
        check(&format!("{} dup", backend.name()), up.data(), dup.data(), |values| {
            dot(backend.swiglu_forward(&gate, &tensor_like(&up, values)).data(), dh.data())
        });
    }
}

#[test]
fn linear_with_side_path_and_dropout() {
    let (tokens, inputs, outputs, rank) = (6, 18, 13, 4);
    let (x, dy) = (tensor(1, tokens, inputs), tensor(2, tokens, outputs));
    let weight = weight(DType::F16, 3, outputs, inputs);
    let (a, b, bias) = (values(4, rank * inputs), values(5, outputs * rank), values(6, outputs));
    let row_keys: Vec<u64> = (0..tokens as u64).collect();
    for rate in [0.0, 0.4] {
        let dropout = (rate > 0.0).then_some(Dropout { rate, key: 3, row_keys: &row_keys });
        for backend in all_backends() {
            let loss = |x: &Tensor, a: &[f32], b: &[f32]| {
                let side = Some(SidePath { a, b, rank, scale: 0.5, dropout });
                let args = LinearArgs { weight: &weight, bias: Some(&bias), side, residual: None };
                dot(backend.linear_forward(x, &args).y.data(), dy.data())
            };
            let side = Some(SidePath { a: &a, b: &b, rank, scale: 0.5, dropout });
            let args = LinearArgs { weight: &weight, bias: Some(&bias), side, residual: None };
            let h = backend.linear_forward(&x, &args).low_rank.unwrap();
            let (mut da, mut db) = (vec![0.0; a.len()], vec![0.0; b.len()]);
            let gradient = SidePathGradient { da: &mut da, db: &mut db };
            let dx = backend.linear_backward(&x, Some(&h), &dy, &args, Some(gradient), true).unwrap();
            let name = format!("{} dropout {rate}", backend.name());
            check(&format!("{name} dx"), x.data(), dx.data(), |values| loss(&tensor_like(&x, values), &a, &b));
            check(&format!("{name} da"), &a, &da, |values| loss(&x, values, &b));
            check(&format!("{name} db"), &b, &db, |values| loss(&x, &a, values));
        }
    }
}

/// The input's gradient goes through the decoded weight: on the reference, and on the paths against it (`tests/blocks.rs`
/// has their products; those in `bf16` are too coarse for differences).
#[test]
fn linear_over_blocks() {
    for kind in block_types() {
        let weight = block_weight(kind, 3, 8, 2 * kind.block_len()).with_interleaved_rows(4);
        let (x, dy) = (tensor(1, 4, weight.cols()), tensor(2, 4, 8));
        let args = LinearArgs::frozen(&weight, None);
        for backend in all_backends() {
            if rounds_factors(&*backend, weight.dtype()) {
                continue;
            }
            let dx = backend.linear_backward(&x, None, &dy, &args, None, true).unwrap();
            check(&format!("{} {kind}", backend.name()), x.data(), dx.data(), |values| {
                dot(backend.linear_forward(&tensor_like(&x, values), &args).y.data(), dy.data())
            });
        }
    }
}

#[test]
fn attention_with_groups_segments_and_window() {
    let segments = [0, 3, 12, 20];
    for window in [None, Some(4)] {
        let args = AttentionArgs { heads: 4, kv_heads: 2, head_dim: 6, scale: 0.6, window, segments: &segments };
        let (q, k, v, d_o) = (tensor(1, 20, 24), tensor(2, 20, 12), tensor(3, 20, 12), tensor(4, 20, 24));
        for backend in all_backends() {
            let loss = |q: &Tensor, k: &Tensor, v: &Tensor| {
                dot(backend.attention_forward(q, k, v, &args).o.data(), d_o.data())
            };
            let output = backend.attention_forward(&q, &k, &v, &args);
            let (dq, dk, dv) = backend.attention_backward(&q, &k, &v, &output, &d_o, &args);
            let name = format!("{} window {window:?}", backend.name());
            check(&format!("{name} dq"), q.data(), dq.data(), |values| loss(&tensor_like(&q, values), &k, &v));
            check(&format!("{name} dk"), k.data(), dk.data(), |values| loss(&q, &tensor_like(&k, values), &v));
            check(&format!("{name} dv"), v.data(), dv.data(), |values| loss(&q, &k, &tensor_like(&v, values)));
        }
    }
}

#[test]
fn head_with_label_smoothing() {
    let (x, head) = (tensor(1, 5, 11), Weight::from_f32(29, 11, &values(2, 29 * 11)));
    let targets = [0, 28, 3, 3, 17];
    let coefficients = values(3, 5);
    for smoothing in [0.0, 0.2] {
        for backend in all_backends() {
            let output = backend.head_logprobs(&x, &head, &targets, smoothing, true);
            let mut dx = output.dx.unwrap();
            for (row, coefficient) in coefficients.iter().enumerate() {
                dx.row_mut(row).iter_mut().for_each(|dx| *dx *= coefficient);
            }
            check(&format!("{} smoothing {smoothing}", backend.name()), x.data(), dx.data(), |values| {
                let x = tensor_like(&x, values);
                dot(&backend.head_logprobs(&x, &head, &targets, smoothing, false).smoothed, &coefficients)
            });
        }
    }
}

#[test]
fn weights_of_a_linear() {
    let (tokens, inputs, outputs) = (6, 18, 13);
    let (x, dy) = (tensor(1, tokens, inputs), tensor(2, tokens, outputs));
    let (weight, bias) = (values(3, outputs * inputs), values(4, outputs));
    for backend in all_backends() {
        let loss = |weight: &[f32], bias: &[f32]| {
            let weight = Weight::from_f32(outputs, inputs, weight);
            dot(backend.linear_forward(&x, &LinearArgs::frozen(&weight, Some(bias))).y.data(), dy.data())
        };
        let (mut dw, mut db) = (vec![0.0; weight.len()], vec![0.0; bias.len()]);
        backend.linear_weight_backward(&x, &dy, &mut dw, Some(&mut db));
        check(&format!("{} dW", backend.name()), &weight, &dw, |values| loss(values, &bias));
        check(&format!("{} db", backend.name()), &bias, &db, |values| loss(&weight, values));
    }
}

#[test]
fn embedding_with_a_repeated_token() {
    let (ids, dy, table) = ([3, 0, 3, 6, 3], tensor(1, 5, 9), values(2, 7 * 9));
    for backend in all_backends() {
        let mut dtable = vec![0.0; table.len()];
        backend.embedding_backward(&ids, &dy, &mut dtable);
        check(&backend.name(), &table, &dtable, |values| {
            dot(backend.embedding_forward(&Weight::from_f32(7, 9, values), &ids).data(), dy.data())
        });
    }
}

#[test]
fn gain_of_a_norm() {
    for backend in all_backends() {
        let (x, dy, gain) = (tensor(1, 5, 19), tensor(2, 5, 19), values(3, 19));
        let mut dgain = vec![0.0; gain.len()];
        backend.rms_norm_gain_backward(&x, 1e-3, &dy, &mut dgain);
        check(&backend.name(), &gain, &dgain, |gain| {
            dot(backend.rms_norm_forward(&x, gain, 1e-3, DType::F32).data(), dy.data())
        });
    }
}

#[test]
fn trained_head_with_label_smoothing() {
    let (x, head) = (tensor(1, 5, 11), values(2, 29 * 11));
    let (targets, coefficients) = ([0, 28, 3, 3, 17], values(3, 5));
    for smoothing in [0.0, 0.2] {
        for backend in all_backends() {
            let weight = |values: &[f32]| Weight::from_f32(29, 11, values);
            let loss = |x: &Tensor, head: &Weight| {
                dot(&backend.head_logprobs(x, head, &targets, smoothing, false).smoothed, &coefficients)
            };
            let mut dhead = vec![0.0; head.len()];
            let dx = backend.head_backward(&x, &weight(&head), &targets, smoothing, &coefficients, &mut dhead);
            let name = format!("{} smoothing {smoothing}", backend.name());
            check(&format!("{name} dx"), x.data(), dx.data(), |values| loss(&tensor_like(&x, values), &weight(&head)));
            check(&format!("{name} dhead"), &head, &dhead, |values| loss(&x, &weight(values)));
        }
    }
}

/// The check must be able to fail: a gradient that is off by a tenth of one element in twenty is found.
#[test]
#[should_panic(expected = "against a difference")]
fn a_wrong_gradient_is_noticed() {
    let backend = &all_backends()[0];
    let (x, dy, gain) = (tensor(1, 1, 20), tensor(2, 1, 20), values(3, 20));
    let mut dx = norm_backward(&**backend, &x, &gain, 1e-3, &dy);
    dx.row_mut(0)[10] *= 1.1;
    check("wrong", x.data(), dx.data(), |values| {
        dot(backend.rms_norm_forward(&tensor_like(&x, values), &gain, 1e-3, DType::F32).data(), dy.data())
    });
}
