//! What this machine could do at most: multiply-adds on registers alone, and memory read from end to end.
//!
//! A share of this peak says how much of a kernel's time is not multiplying. Both are the best of many short rounds with
//! all threads at once, so that a machine that does other things meanwhile matters little.
#![allow(unsafe_code)]

use std::hint::black_box;
use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use super::Isa;
#[cfg(target_arch = "x86_64")]
use super::kernels_amx;

/// The multiply-add peak of a path; a multiply-add counts as two operations.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Peak {
    /// Threads that ran at once.
    pub threads: usize,
    /// GFLOP/s in `f32`.
    pub f32_gflops: f64,
    /// GFLOP/s of products of `bf16` summed in `f32`, where the path has such instructions.
    pub bf16_gflops: Option<f64>,
}

impl Peak {
    /// The higher of both: what a matrix product of `bf16` weights could reach.
    pub fn best_gflops(&self) -> f64 {
        self.bf16_gflops.unwrap_or(0.0).max(self.f32_gflops)
    }

    /// The higher value of each kind, of two measurements of the same path.
    #[must_use]
    pub fn best_of(self, other: Self) -> Self {
        let bf16_gflops = match (self.bf16_gflops, other.bf16_gflops) {
            (Some(one), Some(two)) => Some(one.max(two)),
            (one, two) => one.or(two),
        };
        Self { threads: self.threads, f32_gflops: self.f32_gflops.max(other.f32_gflops), bf16_gflops }
    }
}

/// Measures the multiply-add peak of `threads` threads at once, in about `seconds`.
///
/// `None` when this machine lacks the path, or the path has no multiply-add of its own (portable code is what the
/// compiler makes of it).
///
/// # Panics
/// If `threads` is 0.
pub fn matrix_peak(isa: Isa, threads: usize, seconds: f64) -> Option<Peak> {
    assert!(threads > 0, "a peak of no threads");
    let Loops { f32, bf16 } = loops(isa)?;
    let share = seconds / if bf16.is_some() { 2.0 } else { 1.0 };
    let gflops = |work: Loop| best_rate(threads, share, work) / 1e9;
    Some(Peak { threads, f32_gflops: gflops(f32), bf16_gflops: bf16.map(gflops) })
}

/// GB/s of `threads` threads that each read a buffer of 256 MiB from end to end, measured in about `seconds`.
///
/// # Panics
/// If `threads` is 0.
pub fn read_bandwidth(threads: usize, seconds: f64) -> f64 {
    assert!(threads > 0, "the bandwidth of no threads");
    let buffer = vec![1u64; 32 << 20];
    let read = || {
        let mut lanes = [0u64; 32];
        for chunk in buffer.as_chunks::<32>().0 {
            for (lane, value) in lanes.iter_mut().zip(chunk) {
                *lane ^= value;
            }
        }
        black_box(lanes);
        size_of_val(buffer.as_slice()) as f64
    };
    best_rate(threads, seconds, read) / 1e9
}

/// Best total of `threads` threads that each run `work`, which says how much it did, in units per second.
fn best_rate(threads: usize, seconds: f64, work: impl Fn() -> f64 + Sync) -> f64 {
    // The first round also wakes the processor up; the second says how long one takes.
    work();
    let start = Instant::now();
    work();
    let rounds = (seconds / start.elapsed().as_secs_f64().max(1e-6)).clamp(3.0, 10_000.0) as usize;
    let barrier = Barrier::new(threads);
    let rates: Vec<Vec<f64>> = thread::scope(|scope| {
        let run = || {
            let rate = || {
                barrier.wait();
                let start = Instant::now();
                work() / start.elapsed().as_secs_f64()
            };
            (0..rounds).map(|_| rate()).collect::<Vec<f64>>()
        };
        let handles: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        // A thread that panics has said why; its rounds count for nothing.
        handles.into_iter().map(|handle| handle.join().unwrap_or_default()).collect()
    });
    let total = |round: usize| rates.iter().filter_map(|rates| rates.get(round)).sum();
    (0..rounds).map(total).fold(0.0, f64::max)
}

/// Runs some multiply-adds and returns how many operations that were.
type Loop = fn() -> f64;

/// The loops of a path.
struct Loops {
    f32: Loop,
    bf16: Option<Loop>,
}

/// The loops of a path; `None` when this machine lacks it. A new path is one arm here, and a function below when its
/// instructions are new too (the matrix tiles of AMX are a `bf16` loop).
#[cfg(target_arch = "x86_64")]
fn loops(isa: Isa) -> Option<Loops> {
    if !isa.is_available() {
        return None;
    }
    match isa {
        // SAFETY of all: the processor has the instructions, which was asked just above or is asked in the arm.
        // SAFETY: as above.
        Isa::Amx => Some(Loops { f32: || unsafe { x86::avx512_f32() }, bf16: Some(kernels_amx::peak_loop) }),
        Isa::Avx512Bf16 => Some(Loops {
            // SAFETY: as above.
            f32: || unsafe { x86::avx512_f32() },
            // SAFETY: as above.
            bf16: Some(|| unsafe { x86::avx512_bf16() }),
        }),
        // SAFETY: as above.
        Isa::Avx512 => Some(Loops { f32: || unsafe { x86::avx512_f32() }, bf16: None }),
        // SAFETY: as above.
        Isa::Avx2 => Some(Loops { f32: || unsafe { x86::avx2_f32() }, bf16: None }),
        Isa::Portable => None,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn loops(_: Isa) -> Option<Loops> {
    None
}

/// Multiply-adds in independent chains, as many as hide the latency of one.
#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;
    use std::hint::black_box;

    /// About half a millisecond.
    const ROUNDS: usize = 100_000;

    #[target_feature(enable = "avx512f")]
    pub(super) fn avx512_f32() -> f64 {
        const CHAINS: usize = 16;
        let (a, b) = (_mm512_set1_ps(black_box(0.999)), _mm512_set1_ps(black_box(1e-3)));
        let mut sums = [_mm512_set1_ps(1.0); CHAINS];
        for _ in 0..ROUNDS {
            for sum in &mut sums {
                *sum = _mm512_fmadd_ps(*sum, a, b);
            }
        }
        black_box(sums.iter().map(|&sum| _mm512_reduce_add_ps(sum)).sum::<f32>());
        (ROUNDS * CHAINS * 16 * 2) as f64
    }

    /// Each lane adds two products.
    #[target_feature(enable = "avx512f,avx512bf16")]
    pub(super) fn avx512_bf16() -> f64 {
        // Zen 4 loses an eighth with 16 or 24 chains and nothing with 6, 8, 12 or 20.
        const CHAINS: usize = 12;
        let pairs = |value: f32| {
            let lanes = _mm512_set1_ps(black_box(value));
            _mm512_cvtne2ps_pbh(lanes, lanes)
        };
        let (a, b) = (pairs(1.0 / 64.0), pairs(1.0 / 128.0));
        let mut sums = [_mm512_set1_ps(1.0); CHAINS];
        for _ in 0..ROUNDS {
            for sum in &mut sums {
                *sum = _mm512_dpbf16_ps(*sum, a, b);
            }
        }
        black_box(sums.iter().map(|&sum| _mm512_reduce_add_ps(sum)).sum::<f32>());
        (ROUNDS * CHAINS * 16 * 2 * 2) as f64
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn avx2_f32() -> f64 {
        const CHAINS: usize = 12;
        let (a, b) = (_mm256_set1_ps(black_box(0.999)), _mm256_set1_ps(black_box(1e-3)));
        let mut sums = [_mm256_set1_ps(1.0); CHAINS];
        for _ in 0..ROUNDS {
            for sum in &mut sums {
                *sum = _mm256_fmadd_ps(*sum, a, b);
            }
        }
        black_box(sums.iter().map(|&sum| _mm256_cvtss_f32(sum)).sum::<f32>());
        (ROUNDS * CHAINS * 8 * 2) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_of_this_machine_has_a_peak_but_portable_code() {
        for isa in Isa::ALL {
            let peak = matrix_peak(isa, 1, 0.01);
            assert_eq!(peak.is_some(), isa.is_available() && isa != Isa::Portable, "{isa}");
            if let Some(peak) = peak {
                assert!(peak.f32_gflops > 0.1 && peak.f32_gflops.is_finite(), "{isa}: {peak:?}");
                assert!(peak.best_gflops() >= peak.f32_gflops);
            }
        }
    }

    #[test]
    fn of_two_measurements_the_higher_values_count() {
        let peak = |f32_gflops, bf16_gflops| Peak { threads: 2, f32_gflops, bf16_gflops };
        assert_eq!(peak(1.0, Some(4.0)).best_of(peak(2.0, Some(3.0))), peak(2.0, Some(4.0)));
        assert_eq!(peak(1.0, None).best_of(peak(2.0, None)), peak(2.0, None));
        assert_eq!(peak(2.0, Some(4.0)).best_gflops(), 4.0);
        assert_eq!(peak(2.0, None).best_gflops(), 2.0);
    }

    #[test]
    fn memory_has_a_bandwidth() {
        assert!(read_bandwidth(1, 0.01) > 0.01);
    }
}
