//! Random shapes, against the reference.

mod common;

use attune_compute::reference::Reference;
use attune_compute::{AttentionArgs, Backend, Dropout, LinearArgs, SidePath, SidePathGradient};
use common::*;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn linear(
        tokens in 0usize..40,
        inputs in 1usize..300,
        outputs in 1usize..80,
        rank in 1usize..20,
        dtype in 0usize..3,
        rate in prop_oneof![Just(0.0f32), 0.05f32..0.9],
        seed in any::<u64>(),
    ) {
        let (x, dy) = (tensor(seed, tokens, inputs), tensor(seed ^ 1, tokens, outputs));
        let weight = weight(DTYPES[dtype], seed ^ 2, outputs, inputs);
        let (a, b) = (values(seed ^ 3, rank * inputs), values(seed ^ 4, outputs * rank));
        let row_keys: Vec<u64> = (0..tokens as u64).map(|t| t ^ seed).collect();
        let dropout = (rate > 0.0).then_some(Dropout { rate, key: seed, row_keys: &row_keys });
        let side = Some(SidePath { a: &a, b: &b, rank, scale: 1.5, dropout });
        let args = LinearArgs { weight: &weight, bias: None, side, residual: None };
        let run = |backend: &dyn Backend| {
            let output = backend.linear_forward(&x, &args);
            let h = output.low_rank.unwrap();
            let (mut da, mut db) = (vec![0.0; a.len()], vec![0.0; b.len()]);
            let gradient = SidePathGradient { da: &mut da, db: &mut db };
            let dx = backend.linear_backward(&x, Some(&h), &dy, &args, Some(gradient), true).unwrap();
            [output.y.into_vec(), h.into_vec(), dx.into_vec(), da, db]
        };
        let expected = run(&Reference);
        for cpu in cpus(2) {
            for ((got, expected), name) in run(&cpu).iter().zip(&expected).zip(["y", "h", "dx", "da", "db"]) {
                // The largest of a few sums may be small for the sum of absolute values.
                let epsilons = if rounds_factors(&cpu, DTYPES[dtype]) { 16.0 * BF16_EPSILONS } else { 64.0 };
                assert_close_to_largest(&format!("{} {name}", cpu.name()), got, expected, epsilons);
            }
        }
    }

    #[test]
    fn attention(
        lengths in prop::collection::vec(0usize..150, 0..4),
        group in 1usize..5,
        kv_heads in 1usize..4,
        d in 1usize..40,
        window in prop::option::of(1usize..160),
        seed in any::<u64>(),
    ) {
        let mut segments = vec![0];
        for length in lengths {
            segments.push(segments[segments.len() - 1] + length);
        }
        let (tokens, heads) = (segments[segments.len() - 1], group * kv_heads);
        let args = AttentionArgs { heads, kv_heads, head_dim: d, scale: 0.5, window, segments: &segments };
        let (q, d_o) = (tensor(seed, tokens, heads * d), tensor(seed ^ 1, tokens, heads * d));
        let (k, v) = (tensor(seed ^ 2, tokens, kv_heads * d), tensor(seed ^ 3, tokens, kv_heads * d));
        let run = |backend: &dyn Backend| {
            let output = backend.attention_forward(&q, &k, &v, &args);
            let (dq, dk, dv) = backend.attention_backward(&q, &k, &v, &output, &d_o, &args);
            [output.o, output.lse, dq, dk, dv]
        };
        let expected = run(&Reference);
        for cpu in cpus(2) {
            for ((got, expected), name) in run(&cpu).iter().zip(&expected).zip(["o", "lse", "dq", "dk", "dv"]) {
                assert_close_to_largest(&format!("{} {name}", cpu.name()), got.data(), expected.data(), 64.0);
            }
        }
    }

    #[test]
    fn head(
        rows in 0usize..30,
        channels in 1usize..70,
        vocabulary in 1usize..400,
        dtype in 0usize..3,
        smoothing in prop_oneof![Just(0.0f32), 0.01f32..0.5],
        seed in any::<u64>(),
    ) {
        let x = tensor(seed, rows, channels);
        let head = weight(DTYPES[dtype], seed ^ 1, vocabulary, channels);
        let targets: Vec<u32> = (0..rows).map(|n| (n * 17 % vocabulary) as u32).collect();
        let expected = Reference.head_logprobs(&x, &head, &targets, smoothing, true);
        let size = vec![channels as f32 + 8.0; rows * channels];
        for cpu in cpus(2) {
            let got = cpu.head_logprobs(&x, &head, &targets, smoothing, true);
            let epsilons = if rounds_factors(&cpu, DTYPES[dtype]) { BF16_EPSILONS } else { 4.0 };
            assert_close("logprobs", &got.logprobs, &expected.logprobs, &size, epsilons);
            assert_close("smoothed", &got.smoothed, &expected.smoothed, &size, epsilons);
            assert_close("dx", got.dx.unwrap().data(), expected.dx.as_ref().unwrap().data(), &size, epsilons);
        }
    }
}
