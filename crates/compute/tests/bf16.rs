//! Paths that multiply in `bf16`: with integers, where no rounding hides a mistake, and with random numbers.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod common;

use attune_compute::reference::Reference;
use attune_compute::{
    AttentionArgs, Backend, DType, Dropout, LinearArgs, LinearGradient, RopeTable, SidePath, SidePathGradient, Tensor,
    Weight, rng,
};
use common::*;

/// -1, 0 or 1. Sums of products of such numbers are integers, and far below 256, up to which `bf16` is exact.
fn ternary(seed: u64, len: usize) -> Vec<f32> {
    (0..len as u64).map(|i| (rng::key(&[seed, i]) % 3) as f32 - 1.0).collect()
}

fn ternary_tensor(seed: u64, rows: usize, cols: usize) -> Tensor {
    Tensor::from_vec(rows, cols, ternary(seed, rows * cols))
}

/// Two linears of one input, each with bias and side path, one of them with a residual.
struct Case {
    tokens: usize,
    inputs: usize,
    outputs: [usize; 2],
    rank: usize,
    dropout: f32,
}

struct Results {
    y: Vec<Tensor>,
    h: Vec<Tensor>,
    dx: Tensor,
    da: Vec<Vec<f32>>,
    db: Vec<Vec<f32>>,
}

impl Case {
    fn run(&self, backend: &dyn Backend, activations: DType) -> Results {
        let Self { tokens, inputs, outputs, rank, dropout } = *self;
        let x = ternary_tensor(1, tokens, inputs).to_dtype(activations);
        let residual = ternary_tensor(2, tokens, outputs[1]);
        let row_keys: Vec<u64> = (0..tokens as u64).collect();
        let dropout = (dropout > 0.0).then_some(Dropout { rate: dropout, key: 5, row_keys: &row_keys });
        let weights = outputs.map(|out| unaligned_weight(DType::Bf16, out, inputs, &ternary(3, out * inputs)));
        let bias = outputs.map(|out| ternary(4, out));
        let (a, b) = (outputs.map(|_| ternary(5, rank * inputs)), outputs.map(|out| ternary(6, out * rank)));
        let args = [0, 1].map(|i| LinearArgs {
            weight: &weights[i],
            bias: Some(&bias[i]),
            side: Some(SidePath { a: &a[i], b: &b[i], rank, scale: 2.0, dropout }),
            residual: (i == 1).then_some(&residual),
        });
        let forward = backend.linears_forward(&x, &args);
        let (y, h): (Vec<Tensor>, Vec<Tensor>) =
            forward.into_iter().map(|output| (output.y, output.low_rank.unwrap())).unzip();
        let dy = outputs.map(|out| ternary_tensor(7, tokens, out).to_dtype(activations));
        let mut da: Vec<Vec<f32>> = a.iter().map(|a| vec![1.0; a.len()]).collect();
        let mut db: Vec<Vec<f32>> = b.iter().map(|b| vec![1.0; b.len()]).collect();
        let sides = da.iter_mut().zip(&mut db).map(|(da, db)| Some(SidePathGradient { da, db }));
        let linears = sides
            .enumerate()
            .map(|(i, side)| LinearGradient { args: args[i], low_rank: Some(&h[i]), dy: &dy[i], side })
            .collect();
        let dx = backend.linears_backward(&x, linears, true).unwrap();
        Results { y, h, dx, da, db }
    }

    fn check(&self) {
        let expected = self.run(&Reference, DType::F32);
        let largest = expected.h.iter().flat_map(|h| h.data()).fold(0.0f32, |a, b| a.max(b.abs()));
        assert!(largest <= 128.0, "the numbers of this case leave the exact range: {largest}");
        for cpu in cpus(2) {
            let activations = cpu.activation_dtype(DType::Bf16);
            let got = self.run(&cpu, activations);
            let Self { tokens, inputs, outputs, rank, .. } = self;
            let what = format!("{} t {tokens} in {inputs} out {outputs:?} r {rank}", cpu.name());
            assert_eq!(got.y[1].dtype(), DType::F32, "a residual makes f32");
            for i in 0..2 {
                let y = if i == 0 { expected.y[0].to_dtype(activations) } else { expected.y[1].clone() };
                assert_eq!(tensor_bits(&got.y[i]), tensor_bits(&y), "y {i} {what}");
                assert_eq!(got.h[i].data(), expected.h[i].data(), "h {i} {what}");
                assert_eq!(got.da[i], expected.da[i], "da {i} {what}");
                assert_eq!(got.db[i], expected.db[i], "db {i} {what}");
            }
            assert_eq!(got.dx.dtype(), activations);
            assert_eq!(tensor_bits(&got.dx), tensor_bits(&expected.dx.to_dtype(activations)), "dx {what}");
        }
    }
}

#[test]
fn linears_of_integers_are_exact() {
    for (i, &size) in SIZES.iter().enumerate() {
        let other = [33, 17, 64, 7, 31][i % 5];
        Case { tokens: size, inputs: other, outputs: [65, 17], rank: 4, dropout: 0.0 }.check();
        Case { tokens: other, inputs: size, outputs: [17, 32], rank: 5, dropout: 0.0 }.check();
        Case { tokens: 3, inputs: other, outputs: [size, 16], rank: 16, dropout: 0.0 }.check();
        Case { tokens: 9, inputs: other, outputs: [33, size], rank: 17, dropout: 0.5 }.check();
    }
    for tokens in 1..40 {
        Case { tokens, inputs: 67, outputs: [71, 33], rank: 8, dropout: 0.5 }.check();
    }
    Case { tokens: 530, inputs: 600, outputs: [700, 290], rank: 16, dropout: 0.5 }.check();
}

/// A row's bits do not depend on the other rows, whichever kernel they go through.
#[test]
fn a_row_does_not_depend_on_the_others() {
    for (inputs, outputs) in [(17, 40), (300, 33), (1031, 257)] {
        let weight = weight(DType::Bf16, 3, outputs, inputs);
        let (a, b) = (values(4, 5 * inputs), values(5, outputs * 5));
        let side = Some(SidePath { a: &a, b: &b, rank: 5, scale: 0.7, dropout: None });
        let args = LinearArgs { weight: &weight, bias: None, side, residual: None };
        for cpu in cpus(2) {
            let activations = cpu.activation_dtype(DType::Bf16);
            let run = |rows: std::ops::Range<usize>| {
                let all = tensor(1, 37, inputs);
                let values = all.data()[rows.start * inputs..rows.end * inputs].to_vec();
                let x = Tensor::from_vec(rows.len(), inputs, values).to_dtype(activations);
                tensor_bits(&cpu.linear_forward(&x, &args).y)
            };
            let all = run(0..37);
            for rows in [0..1, 5..6, 36..37, 7..9, 10..13, 20..24, 3..8, 14..35] {
                let expected = &all[rows.start * outputs..rows.end * outputs];
                assert_eq!(run(rows.clone()), expected, "{} in {inputs} out {outputs} {rows:?}", cpu.name());
            }
        }
    }
}

/// Attention in `bf16` against the reference on the same rounded inputs. What is rounded on the way: the probabilities and
/// their gradients (8 bits each), and the outputs.
#[test]
fn attention_of_bf16_tensors() {
    for (lengths, heads, kv_heads, d, window) in [
        (vec![1], 1, 1, 1, None),
        (vec![7, 0, 33], 4, 2, 20, None),
        (vec![130, 257], 6, 3, 17, None),
        (vec![300], 8, 2, 64, Some(100)),
        (vec![65, 129], 3, 3, 33, Some(1)),
    ] {
        let mut segments = vec![0];
        for length in lengths {
            segments.push(segments[segments.len() - 1] + length);
        }
        let tokens = segments[segments.len() - 1];
        let args = AttentionArgs { heads, kv_heads, head_dim: d, scale: 0.3, window, segments: &segments };
        let rounded = |seed, cols| tensor(seed, tokens, cols).to_dtype(DType::Bf16);
        let (q, d_o) = (rounded(1, heads * d), rounded(2, heads * d));
        let (k, v) = (rounded(3, kv_heads * d), rounded(4, kv_heads * d));
        let run = |backend: &dyn Backend, dtype: DType| {
            let [q, k, v, d_o] = [&q, &k, &v, &d_o].map(|x| x.to_dtype(dtype));
            let output = backend.attention_forward(&q, &k, &v, &args);
            let (dq, dk, dv) = backend.attention_backward(&q, &k, &v, &output, &d_o, &args);
            [output.o, output.lse, dq, dk, dv]
        };
        let expected = run(&Reference, DType::F32);
        for cpu in cpus(2) {
            let got = run(&cpu, DType::Bf16);
            for ((got, expected), name) in got.iter().zip(&expected).zip(["o", "lse", "dq", "dk", "dv"]) {
                let what = format!("{} {name} {segments:?} h {heads} g {kv_heads} d {d}", cpu.name());
                let got = got.to_dtype(DType::F32);
                assert_close_to_largest(&what, got.data(), expected.data(), BF16_EPSILONS);
                let norm = |x: &[f32]| x.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
                let errors: Vec<f32> = got.data().iter().zip(expected.data()).map(|(a, b)| a - b).collect();
                let size = norm(expected.data()).max(1e-3 * (expected.data().len() as f64).sqrt());
                assert!(norm(&errors) <= 6e-3 * size, "{what}: off by {:e} of the norm", norm(&errors) / size);
            }
        }
    }
}

/// Elementwise ops compute in `f32` and round once.
#[test]
fn elementwise_ops_round_once() {
    for (rows, cols) in [(0, 8), (1, 2), (3, 18), (17, 64), (65, 1030), (2, 5000)] {
        let x = tensor(1, rows, cols).to_dtype(DType::Bf16);
        let y = tensor(2, rows, cols).to_dtype(DType::Bf16);
        let z = tensor(3, rows, cols).to_dtype(DType::Bf16);
        let gain = values(4, cols);
        let wide = |x: &Tensor| x.to_dtype(DType::F32);
        let table = RopeTable::new(&vec![0.3; cols / 2], 100);
        let positions: Vec<u32> = (0..rows as u32).collect();
        for cpu in cpus(2) {
            let close = |what: &str, got: &Tensor, expected: &Tensor| {
                assert_eq!(got.dtype(), DType::Bf16);
                let sizes: Vec<f32> = expected.data().iter().map(|value| value.abs() + 1e-3).collect();
                // Half a unit of the last place of `bf16`, and the rounding of `f32` before.
                let what = format!("{} {what} [{rows}, {cols}]", cpu.name());
                assert_close(&what, wide(got).data(), expected.data(), &sizes, 32_768.0 + 64.0);
            };
            let normed = cpu.rms_norm_forward(&x, &gain, 1e-5, DType::Bf16);
            close("norm", &normed, &Reference.rms_norm_forward(&wide(&x), &gain, 1e-5, DType::F32));
            let from_f32 = cpu.rms_norm_forward(&wide(&x), &gain, 1e-5, DType::Bf16);
            assert_eq!(tensor_bits(&normed), tensor_bits(&from_f32), "{}", cpu.name());
            close("swiglu", &cpu.swiglu_forward(&x, &y), &Reference.swiglu_forward(&wide(&x), &wide(&y)));
            let (dgate, dup) = cpu.swiglu_backward(&x, &y, &z);
            let expected = Reference.swiglu_backward(&wide(&x), &wide(&y), &wide(&z));
            close("dgate", &dgate, &expected.0);
            close("dup", &dup, &expected.1);
            let (mut rotated, mut expected) = (x.clone(), wide(&x));
            cpu.rope_forward(&mut rotated, &positions, &table);
            Reference.rope_forward(&mut expected, &positions, &table);
            close("rope", &rotated, &expected);
            // The gradient of the norm is added to an f32 stream from bf16 gradients.
            let dx = norm_backward(&cpu, &wide(&x), &gain, 1e-5, &y);
            let expected = norm_backward(&Reference, &wide(&x), &gain, 1e-5, &wide(&y));
            assert_close_to_largest("norm dx", dx.data(), expected.data(), 64.0);
        }
    }
}

/// Weights that are not all `bf16` are multiplied in `f32`, on every path.
#[test]
fn other_weights_stay_in_f32() {
    let x = tensor(1, 5, 40);
    for dtype in [DType::F32, DType::F16] {
        let weight = Weight::from_f32_as(dtype, 9, 40, &values(2, 360));
        let args = LinearArgs::frozen(&weight, None);
        let expected = Reference.linear_forward(&x, &args).y;
        for cpu in cpus(1) {
            assert_eq!(cpu.activation_dtype(dtype), DType::F32);
            assert_close_to_largest(&cpu.name(), cpu.linear_forward(&x, &args).y.data(), expected.data(), 16.0);
        }
    }
}
