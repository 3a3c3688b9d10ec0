//! Weights that are kept packed change no bit of any product, and take the bytes that were said.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod common;

use attune_compute::cpu::{Cpu, Isa};
use attune_compute::reference::Reference;
use attune_compute::{
    Backend, DType, Dropout, LinearArgs, LinearGradient, SidePath, SidePathGradient, Weight, WeightProduct, pool,
};
use common::*;

const BOTH: [WeightProduct; 2] = [WeightProduct::Forward, WeightProduct::Backward];

/// Forward and backward of two linears of one input, and the head over the first weight; all bits.
fn products(cpu: &Cpu, weights: &[Weight; 2], tokens: usize) -> Vec<Vec<u32>> {
    let all_bf16 = weights.iter().all(|weight| weight.dtype() == DType::Bf16);
    let activations = cpu.activation_dtype(if all_bf16 { DType::Bf16 } else { DType::F32 });
    let (inputs, rank) = (weights[0].cols(), 3);
    let x = tensor(1, tokens, inputs).to_dtype(activations);
    let row_keys: Vec<u64> = (0..tokens as u64).collect();
    let dropout = Some(Dropout { rate: 0.2, key: 3, row_keys: &row_keys });
    let a = values(2, rank * inputs);
    let b = weights.each_ref().map(|weight| values(3, weight.rows() * rank));
    let args = [0, 1].map(|i| LinearArgs {
        weight: &weights[i],
        bias: None,
        side: Some(SidePath { a: &a, b: &b[i], rank, scale: 2.0, dropout }),
        residual: None,
    });
    let forward = cpu.linears_forward(&x, &args);
    let dys = weights.each_ref().map(|weight| tensor(4, tokens, weight.rows()).to_dtype(activations));
    let mut gradients = b.each_ref().map(|b| (vec![0.0; a.len()], vec![0.0; b.len()]));
    let linears = gradients.iter_mut().enumerate().map(|(i, (da, db))| LinearGradient {
        args: args[i],
        low_rank: forward[i].low_rank.as_ref(),
        dy: &dys[i],
        side: Some(SidePathGradient { da, db }),
    });
    let dx = cpu.linears_backward(&x, linears.collect(), true).unwrap();
    let targets: Vec<u32> = (0..tokens).map(|row| (row * 7 % weights[0].rows()) as u32).collect();
    let head = cpu.head_logprobs(&x, &weights[0], &targets, 0.1, true);
    let mut all: Vec<Vec<u32>> = forward.iter().map(|output| tensor_bits(&output.y)).collect();
    all.extend([tensor_bits(&dx), bits(&head.logprobs), tensor_bits(&head.dx.unwrap())]);
    all.push(tensor_bits(&cpu.head_logits(&x, &weights[0])));
    all
}

fn check(cpu: &mut Cpu, weights: &[Weight; 2], tokens: usize) {
    let what = format!("{} t {tokens} {weights:?}", cpu.name());
    let expected = products(cpu, weights, tokens);
    let every = [0, 1].into_iter().flat_map(|i| BOTH.map(|product| (i, product)));
    let every: Vec<(&Weight, WeightProduct)> = every.map(|(i, product)| (&weights[i], product)).collect();
    for kept in [&every[..], &every[..1], &every[1..2], &every[2..], &[]] {
        cpu.keep_packed(kept);
        assert!(products(cpu, weights, tokens) == expected, "{what}, {} kept", kept.len());
    }
}

#[test]
fn no_bit_changes() {
    for mut cpu in cpus(2) {
        for (i, &size) in SIZES.iter().enumerate() {
            let dtype = DTYPES[i % 3];
            let [other, tokens] = [[33, 7], [17, 1], [64, 15], [7, 2], [31, 67]][i % 5];
            check(&mut cpu, &[weight(dtype, 5, size, other), weight(dtype, 6, 40, other)], tokens);
            check(&mut cpu, &[weight(DType::Bf16, 5, other, size), weight(DType::Bf16, 6, size, size)], tokens);
        }
        check(&mut cpu, &[weight(DType::Bf16, 5, 700, 1100), weight(DType::Bf16, 6, 290, 1100)], 530);
        // Types that do not go together: the product is in `f32`, and panels made for `bf16` must not be read.
        check(&mut cpu, &[weight(DType::Bf16, 5, 70, 300), weight(DType::F16, 6, 29, 300)], 9);
    }
}

/// Tiles are narrower the more threads there are.
#[test]
fn any_number_of_threads_reads_the_same_panels() {
    let weights = [weight(DType::Bf16, 5, 777, 1030), weight(DType::Bf16, 6, 130, 1030)];
    let expected = products(&Cpu::new(Some(1)).unwrap(), &weights, 140);
    for threads in [1, 2, 3, 5, 8] {
        let mut cpu = Cpu::new(Some(threads)).unwrap();
        cpu.keep_packed(&weights.each_ref().map(|weight| (weight, WeightProduct::Forward)));
        assert!(products(&cpu, &weights, 140) == expected, "{threads} threads");
        cpu.keep_packed(&weights.each_ref().map(|weight| (weight, WeightProduct::Backward)));
        assert!(products(&cpu, &weights, 140) == expected, "{threads} threads");
    }
}

#[test]
fn two_weights_in_one_place_share_panels_and_others_do_not() {
    let mut cpu = Cpu::with_isa(Isa::best(), Some(1)).unwrap();
    let whole = Weight::from_f32(64, 32, &values(1, 64 * 32));
    let same_place_other_shape = {
        let memory = std::sync::Arc::new(whole.bytes().to_vec());
        let of = |rows, cols| Weight::new(DType::F32, rows, cols, memory.clone(), 0..rows * cols * 4);
        [of(64, 32), of(32, 64)]
    };
    let [first, second] = &same_place_other_shape;
    let x = tensor(2, 5, 64);
    let expected = cpu.linear_forward(&x, &LinearArgs::frozen(second, None)).y;
    cpu.keep_packed(&[(first, WeightProduct::Forward), (first, WeightProduct::Forward)]);
    assert_eq!(cpu.linear_forward(&x, &LinearArgs::frozen(second, None)).y, expected);
}

/// The bytes of the plan are those of the memory. Alone in its test: the pool is that of the process.
#[test]
fn panels_take_what_was_said() {
    let weight = weight(DType::Bf16, 5, 1000, 2000);
    let shape = (weight.rows(), weight.cols());
    for mut cpu in cpus(1) {
        let in_bf16 = cpu.activation_dtype(DType::Bf16) == DType::Bf16;
        for product in BOTH {
            let said = cpu.packed_weight_bytes(DType::Bf16, shape, product).unwrap();
            let values = (shape.0 * shape.1) as u64;
            let least = values * if in_bf16 { 2 } else { 4 };
            assert!((least..least + least / 20).contains(&said), "{}: {said} for {values} values", cpu.name());
        }
        cpu.keep_packed(&BOTH.map(|product| (&weight, product)));
        let said: u64 = BOTH.map(|product| cpu.packed_weight_bytes(DType::Bf16, shape, product).unwrap()).iter().sum();
        assert!(pool::stats().used_bytes as u64 >= said, "{}", cpu.name());
    }
    assert_eq!(Reference.packed_weight_bytes(DType::Bf16, shape, WeightProduct::Forward), None);
}
