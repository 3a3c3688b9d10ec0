//! Speed of the matrix products and of attention, per instruction set, against the multiply-add peak of this machine.
//!
//! `cargo run --release -p attune-compute --example matmul_speed [threads] [amx|avx512bf16|avx512|avx2|portable]
//! [linears|blocks|few-rows|kept-packed|side-paths|attention|others]`
//!
//! Peaks and times are the best of several runs, so that a machine that does other things meanwhile matters little.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::hint::black_box;
use std::time::Instant;

use attune_compute::cpu::peak::{Peak, matrix_peak, read_bandwidth};
use attune_compute::cpu::{Cpu, Isa};
use attune_compute::{
    AttentionArgs, Backend, BlockType, DType, LinearArgs, SidePath, SidePathGradient, Tensor, Weight, WeightProduct,
    rng,
};

fn values(seed: u64, len: usize) -> Vec<f32> {
    (0..len as u64).map(|i| rng::uniform_f32(rng::key(&[seed, i])) - 0.5).collect()
}

fn tensor(seed: u64, rows: usize, cols: usize) -> Tensor {
    Tensor::from_vec(rows, cols, values(seed, rows * cols))
}

/// Operands of products over `bf16` weights, in the type that the path wants.
fn activation(cpu: &Cpu, seed: u64, rows: usize, cols: usize) -> Tensor {
    tensor(seed, rows, cols).to_dtype(cpu.activation_dtype(DType::Bf16))
}

/// Seconds of the fastest of at least three runs that take half a second together.
fn seconds(mut run: impl FnMut()) -> f64 {
    run();
    let (mut best, mut runs, start) = (f64::INFINITY, 0, Instant::now());
    while runs < 3 || start.elapsed().as_secs_f64() < 0.5 {
        let now = Instant::now();
        run();
        best = best.min(now.elapsed().as_secs_f64());
        runs += 1;
    }
    best
}

fn report(name: &str, operations: f64, bytes: f64, peak: Option<f64>, seconds: f64) {
    let speed = operations / seconds / 1e9;
    let share = peak.map_or(String::new(), |peak| format!("{:5.1} %", 100.0 * speed / peak));
    println!("  {name:<52} {:9.3} ms {speed:8.1} GFLOP/s {share}  {:6.1} GB/s", seconds * 1e3, bytes / seconds / 1e9);
}

fn linears(cpu: &Cpu, measured: Option<Peak>) {
    for (tokens, inputs, outputs) in [
        (1, 2048, 8192),
        (4, 2048, 8192),
        (8, 2048, 8192),
        (64, 2048, 2048),
        (512, 576, 1536),
        (512, 2048, 2048),
        (2048, 2048, 2048),
        (2048, 2048, 8192),
        (2048, 8192, 2048),
    ] {
        for dtype in [DType::F32, DType::Bf16, DType::F16] {
            if tokens > 64 && dtype == DType::F16 {
                continue;
            }
            let weight = Weight::from_f32_as(dtype, outputs, inputs, &values(1, outputs * inputs));
            let (x, dy) = (tensor(2, tokens, inputs), tensor(3, tokens, outputs));
            let activations = cpu.activation_dtype(dtype);
            let peak = measured.map(|peak| if dtype == DType::Bf16 { peak.best_gflops() } else { peak.f32_gflops });
            let (x, dy) = (x.to_dtype(activations), dy.to_dtype(activations));
            let args = LinearArgs::frozen(&weight, None);
            let operations = 2.0 * (tokens * inputs * outputs) as f64;
            let bytes = weight.bytes().len() as f64;
            let name = format!("{dtype:?} t {tokens} in {inputs} out {outputs}");
            let time = seconds(|| drop(black_box(cpu.linear_forward(&x, &args))));
            report(&format!("x W^T  {name}"), operations, bytes, peak, time);
            if tokens > 8 {
                let time = seconds(|| drop(black_box(cpu.linear_backward(&x, None, &dy, &args, None, true))));
                report(&format!("dy W   {name}"), operations, bytes, peak, time);
            }
        }
    }
}

/// Weights in blocks beside the same in `bf16`, in turn; what the bits say does not matter here.
fn blocks(cpu: &Cpu, sizes: &[(usize, usize, usize)], peak: Option<f64>) {
    let dtypes = [DType::Bf16].into_iter().chain(BlockType::ALL.map(DType::Block));
    for &(tokens, inputs, outputs) in sizes {
        for dtype in dtypes.clone() {
            let bytes = vec![0x11; dtype.matrix_bytes(outputs, inputs).unwrap()];
            let stored_bytes = bytes.len() as f64;
            let range = 0..bytes.len();
            let weight = Weight::new(dtype, outputs, inputs, std::sync::Arc::new(bytes), range);
            let (x, dy) = (activation(cpu, 2, tokens, inputs), activation(cpu, 3, tokens, outputs));
            let args = LinearArgs::frozen(&weight, None);
            let operations = 2.0 * (tokens * inputs * outputs) as f64;
            let name = format!("{dtype:?} t {tokens} in {inputs} out {outputs}");
            let time = seconds(|| drop(black_box(cpu.linear_forward(&x, &args))));
            report(&format!("x W^T  {name}"), operations, stored_bytes, peak, time);
            if tokens > 8 {
                let time = seconds(|| drop(black_box(cpu.linear_backward(&x, None, &dy, &args, None, true))));
                report(&format!("dy W   {name}"), operations, stored_bytes, peak, time);
            }
        }
    }
}

/// Weights that are kept packed beside those that are packed as they are used, in turn. There are more weights than a cache
/// holds, as in a model.
fn kept_packed(isa: Isa, threads: Option<usize>, peak: Option<f64>) {
    let (inputs, outputs) = (2048, 2048);
    let weights: Vec<Weight> = (0..16)
        .map(|seed| Weight::from_f32_as(DType::Bf16, outputs, inputs, &values(seed, outputs * inputs)))
        .collect();
    let (plain, mut kept) = (Cpu::with_isa(isa, threads).unwrap(), Cpu::with_isa(isa, threads).unwrap());
    let products = [WeightProduct::Forward, WeightProduct::Backward];
    let entries: Vec<(&Weight, WeightProduct)> =
        weights.iter().flat_map(|weight| products.map(|product| (weight, product))).collect();
    let begin = Instant::now();
    kept.keep_packed(&entries);
    let bytes = entries.iter().map(|(weight, _)| weight.bytes().len()).sum::<usize>() as f64;
    report("packing them once", 0.0, bytes, None, begin.elapsed().as_secs_f64());
    for tokens in [16, 64, 128, 256, 512, 2048] {
        let (x, dy) = (activation(&plain, 2, tokens, inputs), activation(&plain, 3, tokens, outputs));
        for product in products {
            let run = |cpu: &Cpu, weight: &Weight| {
                let args = LinearArgs::frozen(weight, None);
                let now = Instant::now();
                match product {
                    WeightProduct::Forward => drop(black_box(cpu.linear_forward(&x, &args))),
                    WeightProduct::Backward => drop(black_box(cpu.linear_backward(&x, None, &dy, &args, None, true))),
                }
                now.elapsed().as_secs_f64()
            };
            let mut times: [Vec<f64>; 2] = Default::default();
            let start = Instant::now();
            while times[0].len() < 3 || start.elapsed().as_secs_f64() < 1.0 {
                for (cpu, times) in [&plain, &kept].into_iter().zip(&mut times) {
                    times.push(weights.iter().map(|weight| run(cpu, weight)).sum::<f64>() / weights.len() as f64);
                }
            }
            let [plain, kept] = times.map(|times| times.into_iter().fold(f64::INFINITY, f64::min));
            let operations = 2.0 * (tokens * inputs * outputs) as f64;
            let name = format!("{product:?} t {tokens} in {inputs} out {outputs}");
            report(&name, operations, 0.0, peak, plain);
            report(&format!("  kept packed: {:.3} of the time", kept / plain), operations, 0.0, peak, kept);
        }
    }
}

/// What an adapter adds: the whole linear with a side path of rank 16.
fn side_paths(cpu: &Cpu, peak: Option<f64>) {
    let (tokens, inputs, outputs, rank) = (2048, 2048, 2048, 16);
    let weight = Weight::from_f32_as(DType::Bf16, outputs, inputs, &values(1, outputs * inputs));
    let (x, dy) = (activation(cpu, 2, tokens, inputs), activation(cpu, 3, tokens, outputs));
    let (a, b) = (values(4, rank * inputs), values(5, outputs * rank));
    let row_keys: Vec<u64> = (0..tokens as u64).collect();
    for rate in [0.0, 0.1] {
        let dropout = (rate > 0.0).then_some(attune_compute::Dropout { rate, key: 1, row_keys: &row_keys });
        let args = LinearArgs {
            weight: &weight,
            bias: None,
            side: Some(SidePath { a: &a, b: &b, rank, scale: 2.0, dropout }),
            residual: None,
        };
        let h = cpu.linear_forward(&x, &args).low_rank.unwrap();
        let (mut da, mut db) = (vec![0.0; a.len()], vec![0.0; b.len()]);
        let frozen = 2.0 * (tokens * inputs * outputs) as f64;
        let low_rank = 2.0 * (tokens * rank * (inputs + outputs)) as f64;
        let name = format!("Bf16 t {tokens} in {inputs} out {outputs} r {rank} dropout {rate}");
        let time = seconds(|| drop(black_box(cpu.linear_forward(&x, &args))));
        report(&format!("fwd {name}"), frozen + low_rank, 0.0, peak, time);
        let time = seconds(|| {
            let gradient = SidePathGradient { da: &mut da, db: &mut db };
            drop(black_box(cpu.linear_backward(&x, Some(&h), &dy, &args, Some(gradient), true)));
        });
        report(&format!("bwd {name}"), frozen + 2.0 * low_rank, 0.0, peak, time);
    }
}

fn attention(cpu: &Cpu, peak: Option<f64>) {
    for (tokens, heads, kv_heads, d) in [(512, 32, 8, 64), (2048, 32, 8, 64), (2048, 9, 3, 64)] {
        let segments = [0, tokens];
        let args = AttentionArgs { heads, kv_heads, head_dim: d, scale: 0.1, window: None, segments: &segments };
        let (q, d_o) = (activation(cpu, 1, tokens, heads * d), activation(cpu, 4, tokens, heads * d));
        let (k, v) = (activation(cpu, 2, tokens, kv_heads * d), activation(cpu, 3, tokens, kv_heads * d));
        // The causal half alone, two products forward; five are needed backward.
        let forward = 2.0 * (tokens * tokens * d * heads) as f64;
        let name = format!("t {tokens} h {heads} g {kv_heads} d {d}");
        let time = seconds(|| drop(black_box(cpu.attention_forward(&q, &k, &v, &args))));
        report(&format!("attention fwd {name}"), forward, 0.0, peak, time);
        let output = cpu.attention_forward(&q, &k, &v, &args);
        let time = seconds(|| drop(black_box(cpu.attention_backward(&q, &k, &v, &output, &d_o, &args))));
        report(&format!("attention bwd {name}"), 2.5 * forward, 0.0, peak, time);
    }
    let (past, heads, kv_heads, d) = (4000, 32, 8, 64);
    let args = AttentionArgs { heads, kv_heads, head_dim: d, scale: 0.1, window: None, segments: &[] };
    let q = tensor(1, 1, heads * d);
    let (k, v) = (tensor(2, past + 1, kv_heads * d), tensor(3, past + 1, kv_heads * d));
    let time = seconds(|| drop(black_box(cpu.attention_cached(&q, k.data(), v.data(), past, &args))));
    let bytes = (2 * (past + 1) * kv_heads * d * 4) as f64;
    report(&format!("attention cached past {past}"), (4 * past * heads * d) as f64, bytes, peak, time);
}

fn others(cpu: &Cpu, peak: Option<f64>) {
    let (rows, channels, vocabulary) = (2048, 2048, 128_256);
    let head = Weight::from_f32_as(DType::Bf16, vocabulary, channels, &values(1, vocabulary * channels));
    let x = tensor(2, rows, channels);
    let targets: Vec<u32> = (0..rows as u32).collect();
    let operations = 4.0 * (rows * channels * vocabulary) as f64;
    let time = seconds(|| drop(black_box(cpu.head_logprobs(&x, &head, &targets, 0.0, true))));
    report(&format!("head n {rows} c {channels} v {vocabulary}, with dx"), operations, 0.0, peak, time);
    let time = seconds(|| drop(black_box(cpu.head_logits(&tensor(3, 1, channels), &head))));
    report("logits of one row", 2.0 * (channels * vocabulary) as f64, head.bytes().len() as f64, peak, time);

    let (tokens, hidden) = (2048, 8192);
    let (gate, up) = (activation(cpu, 1, tokens, hidden), activation(cpu, 2, tokens, hidden));
    let bytes = (tokens * hidden * gate.dtype().row_bytes(1).unwrap_or(0)) as f64;
    let time = seconds(|| drop(black_box(cpu.swiglu_forward(&gate, &up))));
    report("swiglu fwd t 2048 f 8192", 0.0, 3.0 * bytes, None, time);
    let time = seconds(|| drop(black_box(cpu.swiglu_backward(&gate, &up, &gate))));
    report("swiglu bwd t 2048 f 8192", 0.0, 5.0 * bytes, None, time);
    let time = seconds(|| drop(black_box(cpu.rms_norm_forward(&gate, &values(3, hidden), 1e-5, DType::F32))));
    report("rms norm fwd t 2048 c 8192", 0.0, 2.0 * bytes, None, time);
    let time =
        seconds(|| drop(black_box(cpu.rms_norm_forward(&tensor(1, 1, 2048), &values(3, 2048), 1e-5, DType::F32))));
    report("rms norm fwd t 1 c 2048 (with its inputs)", 0.0, 0.0, None, time);
}

fn main() {
    let threads = std::env::args().nth(1).and_then(|threads| threads.parse().ok());
    let only = std::env::args().nth(2);
    let part = std::env::args().nth(3);
    let wants = |name: &str| part.as_ref().is_none_or(|part| part == name);
    for isa in Isa::ALL {
        if only.as_ref().is_some_and(|only| only != isa.name()) {
            continue;
        }
        if !isa.is_available() {
            println!("SKIPPED: {isa}: this machine lacks it");
            continue;
        }
        let cpu = Cpu::with_isa(isa, threads).unwrap();
        let measured = matrix_peak(isa, cpu.threads(), 0.5);
        let peak_text = measured.map_or("no measured peak".into(), |peak| {
            let bf16 = peak.bf16_gflops.map_or(String::new(), |bf16| format!(" ({bf16:.1} in bf16)"));
            format!("multiply-add peak {:.1} GFLOP/s{bf16}", peak.f32_gflops)
        });
        println!("{}: {peak_text}, reading {:.1} GB/s", cpu.name(), read_bandwidth(cpu.threads(), 0.5));
        // All paths that exist today sum in f32 products of f32.
        if wants("linears") {
            linears(&cpu, measured);
        }
        // All of the following is over bf16 weights.
        let peak = measured.map(|peak| peak.best_gflops());
        if wants("blocks") {
            blocks(&cpu, &[(256, 2048, 2048), (2048, 2048, 2048)], peak);
        }
        if wants("blocks") || wants("few-rows") {
            blocks(&cpu, &[(1, 2048, 8192), (4, 2048, 8192), (8, 2048, 8192)], peak);
        }
        if wants("kept-packed") {
            kept_packed(isa, threads, peak);
        }
        if wants("side-paths") {
            side_paths(&cpu, peak);
        }
        if wants("attention") {
            attention(&cpu, peak);
        }
        if wants("others") {
            others(&cpu, peak);
        }
    }
}
