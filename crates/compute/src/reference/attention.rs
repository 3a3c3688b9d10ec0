use std::ops::Range;

use crate::backend::{AttentionArgs, AttentionOutput};
use crate::tensor::Tensor;

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

/// The keys that position `query` sees: those of its segment that are not later, and not out of the window.
fn visible(query: usize, segment_start: usize, window: Option<usize>) -> Range<usize> {
    assert_ne!(window, Some(0), "a token sees at least itself");
    let first = window.map_or(segment_start, |window| segment_start.max((query + 1).saturating_sub(window)));
    first..query + 1
}

fn check(q: &Tensor, k: &Tensor, v: &Tensor, args: &AttentionArgs) {
    assert_eq!(q.cols(), args.heads * args.head_dim, "columns of q");
    assert_eq!((k.cols(), v.cols()), (args.kv_heads * args.head_dim, args.kv_heads * args.head_dim), "columns of k, v");
    assert_eq!((k.rows(), v.rows()), (q.rows(), q.rows()), "rows of k, v");
    assert_eq!(args.heads % args.kv_heads, 0, "{} heads over {} key/value heads", args.heads, args.kv_heads);
    assert_eq!((args.segments.first(), args.segments.last()), (Some(&0), Some(&q.rows())), "borders of the segments");
}

/// Softmax of the scores of one query over its visible keys: `(probabilities, logarithm of the sum)`.
fn probabilities(keys: impl Iterator<Item = f64>, scale: f32) -> (Vec<f64>, f64) {
    let scores: Vec<f64> = keys.map(|score| score * f64::from(scale)).collect();
    let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = scores.iter().map(|score| (score - largest).exp()).sum();
    let lse = largest + sum.ln();
    (scores.iter().map(|score| (score - lse).exp()).collect(), lse)
}

/// `o[i] = sum_j p[i,j] v[j]`, `p[i,j] = exp(scale * q[i].k[j] - lse[i])` over the keys j that i sees.
///
/// # Shapes
/// `q [t, h*d]`, `k, v [t, g*d]`, `o [t, h*d]`, `lse [t, h]`.
///
/// # Source
/// Vaswani et al.: "Attention Is All You Need", 2017, equation 1; grouped heads: Ainslie et al., "GQA", 2023.
pub(super) fn attention_forward(q: &Tensor, k: &Tensor, v: &Tensor, args: &AttentionArgs) -> AttentionOutput {
    check(q, k, v, args);
    let (d, group) = (args.head_dim, args.heads / args.kv_heads);
    let mut o = Tensor::zeros(q.rows(), q.cols());
    let mut lse = Tensor::zeros(q.rows(), args.heads);
    for borders in args.segments.windows(2) {
        for i in borders[0]..borders[1] {
            let keys = visible(i, borders[0], args.window);
            for h in 0..args.heads {
                let (head, kv) = (h * d..(h + 1) * d, (h / group) * d..(h / group + 1) * d);
                let q_d = &q.row(i)[head.clone()];
                let (p, lse_i) = probabilities(keys.clone().map(|j| dot(q_d, &k.row(j)[kv.clone()])), args.scale);
                lse.row_mut(i)[h] = lse_i as f32;
                for (n, out) in o.row_mut(i)[head].iter_mut().enumerate() {
                    let sum: f64 = keys.clone().zip(&p).map(|(j, p)| p * f64::from(v.row(j)[kv.start + n])).sum();
                    *out = sum as f32;
                }
            }
        }
    }
    AttentionOutput { o, lse }
}

/// With `dp[i,j] = do[i].v[j]` and `delta[i] = do[i].o[i]`: `ds[i,j] = p[i,j] (dp[i,j] - delta[i])`,
/// `dq[i] = scale * sum_j ds[i,j] k[j]`, `dk[j] = scale * sum_i ds[i,j] q[i]`, `dv[j] = sum_i p[i,j] do[i]`;
/// the query heads of a group add up in their key/value head.
///
/// # Shapes
/// `dq [t, h*d]`, `dk, dv [t, g*d]`.
pub(super) fn attention_backward(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    output: &AttentionOutput,
    d_o: &Tensor,
    args: &AttentionArgs,
) -> (Tensor, Tensor, Tensor) {
    check(q, k, v, args);
    let (d, group) = (args.head_dim, args.heads / args.kv_heads);
    let scale = f64::from(args.scale);
    let mut dq = vec![0.0f64; q.data().len()];
    let mut dk = vec![0.0f64; k.data().len()];
    let mut dv = vec![0.0f64; v.data().len()];
    for borders in args.segments.windows(2) {
        for i in borders[0]..borders[1] {
            for h in 0..args.heads {
                let (head, kv) = (h * d..(h + 1) * d, (h / group) * d..(h / group + 1) * d);
                let (q_d, do_d) = (&q.row(i)[head.clone()], &d_o.row(i)[head.clone()]);
                let delta = dot(do_d, &output.o.row(i)[head.clone()]);
                let lse = f64::from(output.lse.row(i)[h]);
                for j in visible(i, borders[0], args.window) {
                    let (k_d, v_d) = (&k.row(j)[kv.clone()], &v.row(j)[kv.clone()]);
                    let p = (scale * dot(q_d, k_d) - lse).exp();
                    let ds = p * (dot(do_d, v_d) - delta);
                    for n in 0..d {
                        dq[i * q.cols() + head.start + n] += scale * ds * f64::from(k_d[n]);
                        dk[j * k.cols() + kv.start + n] += scale * ds * f64::from(q_d[n]);
                        dv[j * v.cols() + kv.start + n] += p * f64::from(do_d[n]);
                    }
                }
            }
        }
    }
    let round = |sums: Vec<f64>, like: &Tensor| {
        Tensor::from_vec(like.rows(), like.cols(), sums.into_iter().map(|sum| sum as f32).collect())
    };
    (round(dq, q), round(dk, k), round(dv, v))
}

/// [`attention_forward`] of new rows over a cache: row i of `q` is at position `past + i`.
///
/// # Shapes
/// `q [n, h*d]`, `k, v` at least `(past + n) * g*d` values, result `[n, h*d]`.
pub(super) fn attention_cached(q: &Tensor, k: &[f32], v: &[f32], past: usize, args: &AttentionArgs) -> Tensor {
    let (d, group, kv_cols) = (args.head_dim, args.heads / args.kv_heads, args.kv_heads * args.head_dim);
    assert_eq!(q.cols(), args.heads * d, "columns of q");
    assert!(k.len() >= (past + q.rows()) * kv_cols && v.len() >= (past + q.rows()) * kv_cols, "rows of the cache");
    let mut o = Tensor::zeros(q.rows(), q.cols());
    for i in 0..q.rows() {
        let keys = visible(past + i, 0, args.window);
        for h in 0..args.heads {
            let (head, kv_start) = (h * d..(h + 1) * d, (h / group) * d);
            let q_d = &q.row(i)[head.clone()];
            let at = |j: usize| j * kv_cols + kv_start..j * kv_cols + kv_start + d;
            let (p, _) = probabilities(keys.clone().map(|j| dot(q_d, &k[at(j)])), args.scale);
            for (n, out) in o.row_mut(i)[head].iter_mut().enumerate() {
                *out = keys.clone().zip(&p).map(|(j, p)| p * f64::from(v[at(j)][n])).sum::<f64>() as f32;
            }
        }
    }
    o
}
