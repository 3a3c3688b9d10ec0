//! Packed attention, against the reference.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod common;

use attune_compute::reference::Reference;
use attune_compute::{AttentionArgs, AttentionOutput, Backend, Tensor};
use common::*;

/// Relative to the largest element: a probability is off by the rounding of its score (a sum of d products, and the
/// saved logarithm) and 2 ulp of the exponential; sums of up to 1000 of them follow.
const EPSILONS: f64 = 32.0;

struct Case {
    heads: usize,
    kv_heads: usize,
    d: usize,
    window: Option<usize>,
    segments: Vec<usize>,
}

impl Case {
    fn args(&self) -> AttentionArgs<'_> {
        AttentionArgs {
            heads: self.heads,
            kv_heads: self.kv_heads,
            head_dim: self.d,
            scale: 1.0 / (self.d as f32).sqrt(),
            window: self.window,
            segments: &self.segments,
        }
    }

    fn inputs(&self) -> [Tensor; 4] {
        let tokens = *self.segments.last().unwrap();
        let (query_cols, key_cols) = (self.heads * self.d, self.kv_heads * self.d);
        let wide =
            |seed, cols| Tensor::from_vec(tokens, cols, values(seed, tokens * cols).iter().map(|x| 2.0 * x).collect());
        [wide(1, query_cols), wide(2, key_cols), wide(3, key_cols), wide(4, query_cols)]
    }

    fn run(&self, backend: &dyn Backend) -> [Tensor; 5] {
        let [q, k, v, d_o] = self.inputs();
        let output = backend.attention_forward(&q, &k, &v, &self.args());
        let (dq, dk, dv) = backend.attention_backward(&q, &k, &v, &output, &d_o, &self.args());
        [output.o, output.lse, dq, dk, dv]
    }

    fn check(&self) {
        let expected = self.run(&Reference);
        for cpu in cpus(2) {
            for ((got, expected), name) in self.run(&cpu).iter().zip(&expected).zip(["o", "lse", "dq", "dk", "dv"]) {
                assert_eq!((got.rows(), got.cols()), (expected.rows(), expected.cols()));
                let what = format!(
                    "{} {name}: h {} g {} d {} window {:?} segments {:?}",
                    cpu.name(),
                    self.heads,
                    self.kv_heads,
                    self.d,
                    self.window,
                    self.segments
                );
                assert_close_to_largest(&what, got.data(), expected.data(), EPSILONS);
            }
        }
    }
}

#[test]
fn lengths_of_the_grid() {
    for length in SIZES.into_iter().filter(|&length| length < 300) {
        Case { heads: 2, kv_heads: 1, d: 8, window: None, segments: vec![0, length] }.check();
    }
    Case { heads: 1, kv_heads: 1, d: 16, window: None, segments: vec![0, 1031] }.check();
}

#[test]
fn head_sizes_and_groups() {
    for d in [1, 2, 7, 15, 16, 17, 33, 64, 65, 80, 128, 256, 257] {
        Case { heads: 3, kv_heads: 1, d, window: None, segments: vec![0, 5, 39] }.check();
    }
    for (heads, kv_heads) in [(1, 1), (4, 4), (4, 2), (8, 1), (9, 3), (32, 2), (40, 1)] {
        Case { heads, kv_heads, d: 12, window: None, segments: vec![0, 70, 91] }.check();
    }
}

#[test]
fn windows() {
    for window in [1, 2, 3, 16, 63, 64, 65, 127, 128, 129, 200, 1000] {
        Case { heads: 2, kv_heads: 2, d: 8, window: Some(window), segments: vec![0, 300] }.check();
        Case { heads: 4, kv_heads: 2, d: 5, window: Some(window), segments: vec![0, 1, 150, 290] }.check();
    }
}

#[test]
fn packed_segments() {
    for segments in [
        vec![0],
        vec![0, 0],
        vec![0, 1],
        vec![0, 1, 2, 3],
        vec![0, 5, 5, 5, 9],
        vec![0, 63, 127, 192, 257],
        vec![0, 128, 256],
        vec![0, 200, 201, 330],
    ] {
        Case { heads: 4, kv_heads: 2, d: 16, window: None, segments: segments.clone() }.check();
        Case { heads: 2, kv_heads: 1, d: 4, window: Some(40), segments }.check();
    }
}

/// A segment's rows have the same bits wherever it lies in the batch, forward and backward.
#[test]
fn packing_does_not_change_a_bit() {
    for window in [None, Some(70)] {
        let packed = Case { heads: 4, kv_heads: 2, d: 24, window, segments: vec![0, 37, 187, 250, 251] };
        let [q, k, v, d_o] = packed.inputs();
        for cpu in cpus(2) {
            let all = packed.run(&cpu);
            for borders in packed.segments.windows(2) {
                let part = |x: &Tensor| {
                    let values = x.data()[borders[0] * x.cols()..borders[1] * x.cols()].to_vec();
                    Tensor::from_vec(borders[1] - borders[0], x.cols(), values)
                };
                let segments = [0, borders[1] - borders[0]];
                let args = AttentionArgs { segments: &segments, ..packed.args() };
                let (q, k, v, d_o) = (part(&q), part(&k), part(&v), part(&d_o));
                let output = cpu.attention_forward(&q, &k, &v, &args);
                let (dq, dk, dv) = cpu.attention_backward(&q, &k, &v, &output, &d_o, &args);
                for (alone, all) in [&output.o, &output.lse, &dq, &dk, &dv].into_iter().zip(&all) {
                    assert_eq!(bits(alone.data()), bits(part(all).data()), "{} segment {borders:?}", cpu.name());
                }
            }
        }
    }
}

/// Large scores: the softmax must subtract the maximum, also when it comes in a late tile of keys.
#[test]
fn large_scores() {
    let tokens = 300;
    let ramp: Vec<f32> = (0..tokens).map(|t| t as f32).collect();
    let q = Tensor::from_vec(tokens, 1, vec![10.0; tokens]);
    let (k, v) = (Tensor::from_vec(tokens, 1, ramp), tensor(1, tokens, 1));
    let segments = [0, tokens];
    let args = AttentionArgs { heads: 1, kv_heads: 1, head_dim: 1, scale: 1.0, window: None, segments: &segments };
    let expected = Reference.attention_forward(&q, &k, &v, &args);
    for cpu in cpus(1) {
        let AttentionOutput { o, lse } = cpu.attention_forward(&q, &k, &v, &args);
        assert_close_to_largest("o", o.data(), expected.o.data(), 4.0);
        assert_close_to_largest("lse", lse.data(), expected.lse.data(), 2.0);
    }
}

#[test]
fn the_future_and_other_examples_are_not_seen() {
    let case = Case { heads: 2, kv_heads: 1, d: 8, window: None, segments: vec![0, 50, 120] };
    let [q, k, v, _] = case.inputs();
    for backend in all_backends() {
        let before = backend.attention_forward(&q, &k, &v, &case.args()).o;
        let (mut k, mut v) = (k.clone(), v.clone());
        for row in (0..10).chain(100..120) {
            k.row_mut(row).fill(7.0);
            v.row_mut(row).fill(-3.0);
        }
        let after = backend.attention_forward(&q, &k, &v, &case.args()).o;
        for row in 0..120 {
            let changed = before.row(row) != after.row(row);
            assert_eq!(changed, !(50..100).contains(&row), "{} row {row}", backend.name());
        }
    }
}

#[test]
fn cached_rows_equal_those_of_the_whole() {
    for (heads, kv_heads, d, window) in [(2, 2, 8, None), (6, 2, 16, None), (4, 1, 33, Some(9)), (8, 4, 64, Some(130))]
    {
        for (past, new) in [(0, 1), (0, 40), (1, 1), (127, 1), (128, 3), (200, 70), (255, 2), (10, 0)] {
            let tokens = past + new;
            let segments = [0, tokens];
            let scale = 1.0 / (d as f32).sqrt();
            let args = AttentionArgs { heads, kv_heads, head_dim: d, scale, window, segments: &segments };
            let q = tensor(1, tokens, heads * d);
            let (k, v) = (tensor(2, tokens, kv_heads * d), tensor(3, tokens, kv_heads * d));
            let new_q = Tensor::from_vec(new, heads * d, q.data()[past * heads * d..].to_vec());
            // The cache has room behind its last row, and nothing may be read from there.
            let spare = vec![f32::NAN; 5 * kv_heads * d];
            let (k_cache, v_cache) = ([k.data(), &spare].concat(), [v.data(), &spare].concat());
            let expected = Reference.attention_cached(&new_q, &k_cache, &v_cache, past, &args);
            for cpu in cpus(2) {
                let got = cpu.attention_cached(&new_q, &k_cache, &v_cache, past, &args);
                let what = format!("{} past {past} new {new} h {heads} window {window:?}", cpu.name());
                assert_close_to_largest(&what, got.data(), expected.data(), EPSILONS);
                let whole = cpu.attention_forward(&q, &k, &v, &args).o;
                assert_eq!(bits(got.data()), bits(&whole.data()[past * heads * d..]), "{what}");
            }
        }
    }
}
