//! What the tests of the ops share: data, backends, tolerances.
#![allow(dead_code, reason = "every test file uses a part of it")]
#![allow(unreachable_pub, reason = "a module of a test has no outside")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests fail and print as tests do")]

use std::sync::Arc;

use attune_compute::blocks::Affine;
use attune_compute::cpu::{Cpu, Isa};
use attune_compute::reference::Reference;
use attune_compute::{Backend, BlockType, DType, Tensor, Weight, rng};

/// The kernel grid: around every tile height, vector width and cut of the sums (256), and one long size.
pub const SIZES: [usize; 17] = [1, 2, 3, 7, 15, 16, 17, 31, 33, 63, 64, 65, 127, 255, 256, 257, 1031];

pub const DTYPES: [DType; 3] = [DType::F32, DType::Bf16, DType::F16];

/// Uniform numbers in [-1, 1).
pub fn values(seed: u64, len: usize) -> Vec<f32> {
    (0..len as u64).map(|i| 2.0 * rng::uniform_f32(rng::key(&[seed, i])) - 1.0).collect()
}

pub fn tensor(seed: u64, rows: usize, cols: usize) -> Tensor {
    Tensor::from_vec(rows, cols, values(seed, rows * cols))
}

/// A weight that begins at an odd address: one byte after the start of its memory.
pub fn unaligned_weight(dtype: DType, rows: usize, cols: usize, values: &[f32]) -> Weight {
    let aligned = Weight::from_f32_as(dtype, rows, cols, values);
    let mut bytes = vec![0xa5u8];
    bytes.extend_from_slice(aligned.bytes());
    bytes.push(0xa5);
    let range = 1..bytes.len() - 1;
    Weight::new(dtype, rows, cols, Arc::new(bytes), range)
}

pub fn weight(dtype: DType, seed: u64, rows: usize, cols: usize) -> Weight {
    unaligned_weight(dtype, rows, cols, &values(seed, rows * cols))
}

/// The same weight with the absolute values.
pub fn absolute_weight(weight: &Weight) -> Weight {
    Weight::from_f32(weight.rows(), weight.cols(), &absolute(&read_all(weight)))
}

pub fn absolute(values: &[f32]) -> Vec<f32> {
    values.iter().map(|value| value.abs()).collect()
}

pub fn absolute_tensor(x: &Tensor) -> Tensor {
    Tensor::from_vec(x.rows(), x.cols(), absolute(x.data()))
}

/// Lets the AMX path run on processors without it, where the tests are built with the emulator.
pub fn emulate_amx() {
    #[cfg(all(feature = "amx-emulator", target_os = "linux", target_arch = "x86_64"))]
    attune_compute::cpu::amx_emulator::install();
}

/// A backend per instruction set of this machine.
pub fn cpus(threads: usize) -> Vec<Cpu> {
    emulate_amx();
    Isa::ALL
        .into_iter()
        .filter_map(|isa| {
            if isa.is_available() {
                return Some(Cpu::with_isa(isa, Some(threads)).unwrap());
            }
            println!("SKIPPED: {isa}: this machine lacks it");
            None
        })
        .collect()
}

/// The reference and every instruction set.
pub fn all_backends() -> Vec<Box<dyn Backend>> {
    let mut backends: Vec<Box<dyn Backend>> = vec![Box::new(Reference)];
    backends.extend(cpus(2).into_iter().map(|cpu| Box::new(cpu) as Box<dyn Backend>));
    backends
}

/// The largest `|got - expected|` in units of `f32::EPSILON * size`.
pub fn worst_error(got: &[f32], expected: &[f32], size: impl Fn(usize) -> f32) -> (f64, usize) {
    assert_eq!(got.len(), expected.len(), "lengths");
    let mut worst = (0.0f64, 0);
    for i in 0..got.len() {
        let error = (f64::from(got[i]) - f64::from(expected[i])).abs();
        let unit = f64::from(f32::EPSILON) * f64::from(size(i)).max(1e-30);
        let error = if error.is_nan() { f64::INFINITY } else { error / unit };
        if error > worst.0 {
            worst = (error, i);
        }
    }
    worst
}

/// Every element within `epsilons * f32::EPSILON * size[i]`, with `size` the sum of the absolute values of what was
/// added up: the natural scale of rounding errors, blind to cancellation.
pub fn assert_close(what: &str, got: &[f32], expected: &[f32], size: &[f32], epsilons: f64) {
    let (worst, i) = worst_error(got, expected, |i| size[i]);
    assert!(worst <= epsilons, "{what}: element {i} is {} for {}: {worst:.1} epsilons", got[i], expected[i]);
}

/// Every element within `epsilons * f32::EPSILON` of the largest expected absolute value, or of 1 where that is less:
/// inputs here are of the size 1, and so are the terms of a sum that cancels.
pub fn assert_close_to_largest(what: &str, got: &[f32], expected: &[f32], epsilons: f64) {
    let largest = expected.iter().fold(1.0f32, |a, b| a.max(b.abs()));
    let (worst, i) = worst_error(got, expected, |_| largest);
    assert!(worst <= epsilons, "{what}: element {i} is {} for {}: {worst:.1} epsilons", got[i], expected[i]);
}

/// The gradient of the norm, where the op adds it to what is there.
pub fn norm_backward(backend: &dyn Backend, x: &Tensor, gain: &[f32], epsilon: f32, dy: &Tensor) -> Tensor {
    let mut dx = Tensor::zeros(x.rows(), x.cols());
    backend.rms_norm_backward(x, gain, epsilon, dy, &mut dx);
    dx
}

/// Whether products over weights of this type round their factors to `bf16`.
pub fn rounds_factors(backend: &dyn Backend, weights: DType) -> bool {
    backend.activation_dtype(weights) == DType::Bf16
}

/// What rounding both factors of a product to 8 bits costs, in units of `f32::EPSILON` and of the sum of absolute values:
/// at most half a unit of 2^-8 each; where a factor is itself such a sum, twice that.
pub const BF16_EPSILONS: f64 = 65_536.0;

/// The bits, for comparisons that must not forgive anything.
pub fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// The bits of a tensor of either type; those of `bf16` widened.
pub fn tensor_bits(x: &Tensor) -> Vec<u32> {
    bits(x.to_dtype(DType::F32).data())
}

/// All types of blocks, the affine ones among them.
pub fn block_types() -> Vec<BlockType> {
    let affine = |bits, group, scales| BlockType::Affine(Affine::new(bits, group, scales).unwrap());
    let of_mlx = [affine(4, 32, DType::F32), affine(4, 64, DType::Bf16), affine(8, 128, DType::F16)];
    BlockType::ALL.into_iter().chain(of_mlx).collect()
}

/// Bytes of a matrix in blocks: all bits by chance, but the scales, which are finite and of the size of a weight's.
pub fn block_bytes(kind: BlockType, seed: u64, rows: usize, cols: usize) -> Vec<u8> {
    let len = kind.matrix_bytes(rows, cols).unwrap();
    let mut bytes: Vec<u8> = (0..len as u64).map(|i| rng::key(&[seed, i]) as u8).collect();
    let scale = |seed: u64, i: usize| 0.001 + 0.01 * rng::uniform_f32(rng::key(&[seed, i as u64]));
    let (halves, offset): (usize, usize) = match kind {
        BlockType::Q8_0 | BlockType::Q4_0 => (1, 0),
        BlockType::Q4K | BlockType::Q5K => (2, 0),
        BlockType::Q6K => (1, 208),
        BlockType::Nf4 => {
            let tail = rows * kind.row_bytes(cols).unwrap();
            for (i, value) in bytes[tail..].chunks_exact_mut(4).enumerate() {
                value.copy_from_slice(&scale(seed + 1, i).to_le_bytes());
            }
            return bytes;
        }
        BlockType::Affine(affine) => {
            let [_, scales, biases] = affine.parts(rows, cols).unwrap();
            let size = affine.scale_dtype().element_bytes().unwrap();
            for (part, seed, factor) in [(scales, seed + 1, 1.0), (biases, seed + 2, -6.0)] {
                for (i, out) in bytes[part].chunks_exact_mut(size).enumerate() {
                    let value = factor * scale(seed, i);
                    out.copy_from_slice(Weight::from_f32_as(affine.scale_dtype(), 1, 1, &[value]).bytes());
                }
            }
            return bytes;
        }
    };
    for (i, block) in bytes.chunks_exact_mut(kind.block_bytes()).enumerate() {
        for at in 0..halves {
            let value = half::f16::from_f32(if i % 3 == 2 { -1.0 } else { 1.0 } * scale(seed + 1, 2 * i + at));
            block[offset + 2 * at..offset + 2 * at + 2].copy_from_slice(&value.to_le_bytes());
        }
    }
    bytes
}

/// A weight in blocks that begins at an odd address.
pub fn block_weight(kind: BlockType, seed: u64, rows: usize, cols: usize) -> Weight {
    let mut bytes = vec![0xa5u8];
    bytes.extend(block_bytes(kind, seed, rows, cols));
    bytes.push(0xa5);
    let range = 1..bytes.len() - 1;
    Weight::new(DType::Block(kind), rows, cols, Arc::new(bytes), range)
}

/// All values of a weight, row after row.
pub fn read_all(weight: &Weight) -> Vec<f32> {
    let mut values = vec![0.0; weight.rows() * weight.cols()];
    for (row, out) in values.chunks_exact_mut(weight.cols().max(1)).enumerate() {
        weight.read_row(row, out);
    }
    values
}
