//! Weights in blocks, and weights whose rows are stored in another order: what is read of them, and that every product
//! over them is that over the same values in a plain weight, to the bit.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod common;

use std::sync::Arc;

use attune_compute::blocks::BlockMatrix;
use attune_compute::blocks::encode::{NF4_TABLE, nf4_scale_table};
use attune_compute::cpu::Cpu;
use attune_compute::reference::Reference;
use attune_compute::{
    Backend, BlockType, DType, LinearArgs, LinearGradient, Tensor, Weight, WeightPart, WeightProduct,
};
use common::*;
use half::f16;

/// One value, from the layouts as they are documented, bit by bit.
fn value_at(kind: BlockType, bytes: &[u8], (rows, cols): (usize, usize), (row, col): (usize, usize)) -> f32 {
    let row_bytes = kind.row_bytes(cols).unwrap();
    let bytes_of_row = &bytes[row * row_bytes..(row + 1) * row_bytes];
    let block = &bytes_of_row[col / kind.block_len() * kind.block_bytes()..];
    let at = col % kind.block_len();
    let half = |at: usize| f16::from_le_bytes([block[at], block[at + 1]]).to_f32();
    let nibble = |byte: u8, upper: bool| i32::from(if upper { byte / 16 } else { byte % 16 });
    // The 12 bytes of Q4_K and Q5_K as llama.cpp packs them.
    let scales = |group: usize| {
        let s = |i: usize| i32::from(block[4 + i]);
        if group < 4 {
            (s(group) % 64, s(group + 4) % 64)
        } else {
            (s(group + 4) % 16 + s(group - 4) / 64 * 16, s(group + 4) / 16 + s(group) / 64 * 16)
        }
    };
    match kind {
        BlockType::Q8_0 => half(0) * f32::from(i8::from_le_bytes([block[2 + at]])),
        BlockType::Q4_0 => half(0) * (nibble(block[2 + at % 16], at >= 16) - 8) as f32,
        BlockType::Q4K | BlockType::Q5K => {
            let (scale, minimum) = scales(at / 32);
            let codes = if kind == BlockType::Q4K { 16 } else { 48 };
            let mut q = nibble(block[codes + at / 64 * 32 + at % 32], at / 32 % 2 == 1);
            if kind == BlockType::Q5K && (block[16 + at % 32] >> (at / 32)) % 2 == 1 {
                q += 16;
            }
            let low = half(2) * minimum as f32;
            half(0) * scale as f32 * q as f32 - low
        }
        BlockType::Q6K => {
            let (n, within) = (at / 128, at % 128);
            let lower = nibble(block[n * 64 + within % 64], within >= 64);
            let upper = i32::from(block[128 + n * 32 + within % 32]) >> (within / 32 * 2) & 3;
            let scale = i8::from_le_bytes([block[192 + at / 16]]);
            half(208) * f32::from(scale) * (lower + 16 * upper - 32) as f32
        }
        BlockType::Affine(affine) => {
            let code = match affine.bits() {
                4 => nibble(bytes_of_row[col / 2], col % 2 == 1),
                _ => i32::from(bytes_of_row[col]),
            };
            let [_, scales, biases] = affine.parts(rows, cols).unwrap();
            let group = row * (cols / affine.group_len()) + col / affine.group_len();
            let dtype = affine.scale_dtype();
            let size = dtype.element_bytes().unwrap();
            let float = |part: &std::ops::Range<usize>| {
                let bytes = bytes[part.start + group * size..][..size].to_vec();
                Weight::new(dtype, 1, 1, Arc::new(bytes), 0..size).at(0, 0)
            };
            let round = |value: f32| Weight::from_f32_as(dtype, 1, 1, &[value]).at(0, 0);
            round(round(float(&scales) * code as f32) + float(&biases))
        }
        BlockType::Nf4 => {
            let index = nibble(bytes_of_row[col / 2], col % 2 == 0) as usize;
            let code = usize::from(bytes_of_row[cols / 2 + col / 64]);
            let float = |at: usize| f32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
            let second = float(rows * row_bytes + (row * (cols / 64) + col / 64) / 256 * 4);
            NF4_TABLE[index] * (nf4_scale_table()[code] * second + float(bytes.len() - 4))
        }
    }
}

#[test]
fn every_value_is_what_the_layout_says() {
    for kind in block_types() {
        for (rows, blocks) in [(1, 1), (3, 2), (31, 3), (90, 5)] {
            let cols = blocks * kind.block_len();
            let bytes = block_bytes(kind, 7, rows, cols);
            let matrix = BlockMatrix::new(kind, &bytes, rows, cols);
            let expected: Vec<f32> =
                (0..rows * cols).map(|i| value_at(kind, &bytes, (rows, cols), (i / cols, i % cols))).collect();
            for row in 0..rows {
                // Also parts that begin and end inside of a group.
                for (first, end) in [(0, cols), (1, cols), (0, 1), (31, 33.min(cols)), (5, 9), (cols - 1, cols), (7, 7)]
                {
                    if first > end {
                        continue;
                    }
                    let mut out = vec![f32::NAN; end - first];
                    matrix.decode(row, first, &mut out);
                    let expected = &expected[row * cols + first..row * cols + end];
                    assert_eq!(bits(&out), bits(expected), "{kind} [{rows}, {cols}] row {row} {first}..{end}");
                }
            }
            let weight = block_weight(kind, 7, rows, cols);
            assert_eq!(bits(&read_all(&weight)), bits(&expected), "{kind} [{rows}, {cols}]");
            assert_eq!(weight.at(rows - 1, cols - 1).to_bits(), expected.last().unwrap().to_bits());
            let ids: Vec<u32> = (0..rows as u32).rev().collect();
            for backend in all_backends() {
                let gathered = backend.embedding_forward(&weight, &ids);
                assert_eq!(gathered.row(0), &expected[(rows - 1) * cols..], "{} {kind}", backend.name());
            }
        }
    }
}

#[test]
#[should_panic(expected = "bytes of a matrix of Q4_K")]
fn missing_bytes_are_refused() {
    let bytes = block_bytes(BlockType::Q4K, 1, 2, 256);
    let _ = BlockMatrix::new(BlockType::Q4K, &bytes[1..], 2, 256);
}

#[test]
#[should_panic(expected = "row 2")]
fn a_row_that_is_not_there_is_refused() {
    let bytes = block_bytes(BlockType::Nf4, 1, 2, 64);
    BlockMatrix::new(BlockType::Nf4, &bytes, 2, 64).decode(2, 0, &mut [0.0]);
}

/// Both directions, the head, and one row: all bits.
fn products(cpu: &dyn Backend, weight: &Weight, tokens: usize) -> Vec<Vec<u32>> {
    let activations = cpu.activation_dtype(weight.dtype());
    let x = tensor(1, tokens, weight.cols()).to_dtype(activations);
    let dy = tensor(2, tokens, weight.rows()).to_dtype(activations);
    let args = LinearArgs::frozen(weight, None);
    let y = cpu.linear_forward(&x, &args).y;
    let dx = cpu.linear_backward(&x, None, &dy, &args, None, true).unwrap();
    let targets: Vec<u32> = (0..tokens).map(|row| (row * 7 % weight.rows()) as u32).collect();
    let head = cpu.head_logprobs(&x, weight, &targets, 0.1, true);
    let logits = cpu.head_logits(&x, weight);
    vec![tensor_bits(&y), tensor_bits(&dx), bits(&head.logprobs), tensor_bits(&head.dx.unwrap()), tensor_bits(&logits)]
}

/// The weight with the same values, as a path multiplies them.
fn plain(cpu: &Cpu, weight: &Weight) -> Weight {
    let dtype = match (weight.dtype(), rounds_factors(cpu, weight.dtype())) {
        (DType::Block(_), true) => DType::Bf16,
        (DType::Block(_), false) => DType::F32,
        (dtype, _) => dtype,
    };
    Weight::from_f32_as(dtype, weight.rows(), weight.cols(), &read_all(weight))
}

/// Around the panels' widths, strips and tiles.
const ROWS: [usize; 9] = [1, 2, 31, 32, 33, 65, 257, 300, 530];

#[test]
fn products_are_those_of_the_decoded_weight() {
    for cpu in cpus(2) {
        for kind in block_types() {
            for (i, &rows) in ROWS.iter().enumerate() {
                for blocks in 1..=3 {
                    let tokens = [1, 2, 3, 4, 6, 7, 8, 17, 40][(i + 3 * blocks) % 9];
                    let weight = block_weight(kind, 5, rows, blocks * kind.block_len());
                    let got = products(&cpu, &weight, tokens);
                    let expected = products(&cpu, &plain(&cpu, &weight), tokens);
                    assert!(got == expected, "{} {weight:?} of {tokens} tokens", cpu.name());
                }
            }
            // More than a cut of the sum in both directions, tiles that are cut for the threads, several of them.
            let weight = block_weight(kind, 6, 1100, 1280);
            for tokens in [1, 4, 33] {
                let got = products(&cpu, &weight, tokens);
                assert!(got == products(&cpu, &plain(&cpu, &weight), tokens), "{} {weight:?}", cpu.name());
            }
        }
    }
}

#[test]
fn products_of_interleaved_rows_are_those_of_the_rows_in_order() {
    let dtypes = DTYPES.into_iter().chain(block_types().into_iter().map(DType::Block));
    for cpu in cpus(2) {
        for dtype in dtypes.clone() {
            for (rows, head_dim) in [(2, 2), (64, 4), (96, 32), (640, 128)] {
                let cols = match dtype {
                    DType::Block(kind) => 2 * kind.block_len(),
                    _ => 77,
                };
                let weight = match dtype {
                    DType::Block(kind) => block_weight(kind, 8, rows, cols),
                    dtype => weight(dtype, 8, rows, cols),
                };
                let weight = weight.with_interleaved_rows(head_dim);
                let in_order = plain(&cpu, &weight);
                assert_eq!(bits(&read_all(&weight)).len(), rows * cols);
                for tokens in [1, 3, 20] {
                    let got = products(&cpu, &weight, tokens);
                    let expected = products(&cpu, &in_order, tokens);
                    assert!(got == expected, "{} {weight:?} heads of {head_dim}, {tokens} tokens", cpu.name());
                }
            }
        }
    }
}

/// Scales of affine groups are elsewhere in a file than their codes.
#[test]
fn parts_that_lie_apart_are_read_as_those_in_one_piece() {
    for kind in block_types() {
        let BlockType::Affine(affine) = kind else { continue };
        let whole = block_weight(kind, 5, 66, 256);
        let tails = whole.affine_tails().unwrap();
        let part = |bytes: &[u8], before: usize| {
            let memory = [&vec![0xa5; before], bytes, &[0xa5; 3]].concat();
            WeightPart::new(Arc::new(memory), before..before + bytes.len())
        };
        let parts = [part(whole.bytes(), 1), part(tails[0], 7), part(tails[1], 2)];
        let apart = Weight::affine(affine, 66, 256, parts);
        assert_eq!(apart.size_bytes(), kind.matrix_bytes(66, 256).unwrap());
        assert!(read_all(&apart) == read_all(&whole));
        for cpu in cpus(2) {
            assert!(products(&cpu, &apart, 5) == products(&cpu, &whole, 5), "{} {kind}", cpu.name());
        }
    }
}

/// The kernels for few rows, for one left panel and for several: a row's bits are its own.
#[test]
fn a_row_does_not_depend_on_the_others() {
    for cpu in cpus(2) {
        for kind in block_types() {
            // Several panels and a ragged one, more than a cut of the sum.
            let weight = block_weight(kind, 9, 75, 768);
            let x = tensor(1, 33, 768).to_dtype(cpu.activation_dtype(weight.dtype()));
            let run = |rows: usize| {
                let part = x.to_dtype(DType::F32).data()[..rows * 768].to_vec();
                let part = Tensor::from_vec(rows, 768, part).to_dtype(x.dtype());
                tensor_bits(&cpu.linear_forward(&part, &LinearArgs::frozen(&weight, None)).y)
            };
            let all = run(33);
            for rows in [1, 2, 3, 4, 5, 6, 7, 8, 9, 14, 15, 16, 28, 29] {
                let got = run(rows);
                assert!(got[..] == all[..got.len()], "{} {kind} {rows} rows", cpu.name());
            }
        }
    }
}

/// A guard for the tests above: they must see a single wrong code.
#[test]
fn one_wrong_code_changes_a_product() {
    for cpu in cpus(1) {
        for kind in block_types() {
            let (rows, cols) = (33, kind.block_len());
            let mut bytes = block_bytes(kind, 5, rows, cols);
            let good = products(&cpu, &block_weight(kind, 5, rows, cols), 5);
            // A code of the last row: behind the scales in all types but those whose codes come first.
            let last_row = (rows - 1) * kind.row_bytes(cols).unwrap();
            bytes[last_row + if matches!(kind, BlockType::Q6K | BlockType::Affine(_)) { 5 } else { 16 }] ^= 0x44;
            let range = 0..bytes.len();
            let bad = Weight::new(DType::Block(kind), rows, cols, Arc::new(bytes), range);
            assert!(products(&cpu, &bad, 5) != good, "{} {kind}", cpu.name());
        }
    }
}

/// Against the specification, with the tolerance of the path's products.
#[test]
fn products_are_close_to_the_reference() {
    for cpu in cpus(2) {
        for kind in block_types() {
            for (rows, blocks, tokens) in [(1, 1, 1), (31, 2, 3), (33, 3, 7)] {
                let weight = block_weight(kind, 5, rows, blocks * kind.block_len());
                let (inputs, what) = (weight.cols(), format!("{} {weight:?}", cpu.name()));
                let (x, dy) = (tensor(1, tokens, inputs), tensor(2, tokens, rows));
                let activations = cpu.activation_dtype(weight.dtype());
                let epsilons = if activations == DType::Bf16 { 2.0 * BF16_EPSILONS } else { 64.0 };
                let run = |backend: &dyn Backend, x: &Tensor, dy: &Tensor, weight: &Weight| {
                    let args = LinearArgs::frozen(weight, None);
                    let y = backend.linear_forward(x, &args).y.to_dtype(DType::F32);
                    let dx = backend.linear_backward(x, None, dy, &args, None, true).unwrap().to_dtype(DType::F32);
                    [y, dx]
                };
                let expected = run(&Reference, &x, &dy, &weight);
                let size = run(&Reference, &absolute_tensor(&x), &absolute_tensor(&dy), &absolute_weight(&weight));
                let got = run(&cpu, &x.to_dtype(activations), &dy.to_dtype(activations), &weight);
                for i in 0..2 {
                    assert_close(&what, got[i].data(), expected[i].data(), size[i].data(), epsilons);
                }
            }
        }
    }
}

#[test]
fn kept_panels_and_threads_change_no_bit() {
    for kind in block_types() {
        for interleaved in [false, true] {
            let weight = block_weight(kind, 5, 640, 1024);
            let weight = if interleaved { weight.with_interleaved_rows(128) } else { weight };
            let expected: Vec<_> = cpus(1).iter().map(|cpu| products(cpu, &weight, 70)).collect();
            for threads in [2, 3] {
                for (mut cpu, expected) in cpus(threads).into_iter().zip(&expected) {
                    assert!(products(&cpu, &weight, 70) == *expected, "{} {kind}", cpu.name());
                    cpu.keep_packed(&[(&weight, WeightProduct::Forward), (&weight, WeightProduct::Backward)]);
                    assert!(products(&cpu, &weight, 70) == *expected, "{} {kind} kept", cpu.name());
                }
            }
        }
    }
}

/// Panels of a weight must not be read for the same bytes in another order.
#[test]
fn kept_panels_know_the_order_of_rows() {
    for mut cpu in cpus(1) {
        let stored = block_weight(BlockType::Q8_0, 5, 64, 96);
        let interleaved = stored.clone().with_interleaved_rows(64);
        let expected = products(&cpu, &interleaved, 9);
        cpu.keep_packed(&[(&stored, WeightProduct::Forward), (&stored, WeightProduct::Backward)]);
        assert!(products(&cpu, &interleaved, 9) == expected, "{}", cpu.name());
    }
}

/// Linears of one input over several types of blocks and `bf16`, as in files of mixed types.
#[test]
fn types_of_blocks_mix() {
    for cpu in cpus(2) {
        let weights = [
            block_weight(BlockType::Q4K, 1, 70, 256),
            block_weight(BlockType::Q6K, 2, 33, 256),
            weight(DType::Bf16, 3, 40, 256),
        ];
        let activations = cpu.activation_dtype(DType::Block(BlockType::Q4K));
        let x = tensor(1, 12, 256).to_dtype(activations);
        let dys = weights.each_ref().map(|weight| tensor(2, 12, weight.rows()).to_dtype(activations));
        let run = |weights: &[Weight; 3]| {
            let args = weights.each_ref().map(|weight| LinearArgs::frozen(weight, None));
            let mut all: Vec<_> = cpu.linears_forward(&x, &args).iter().map(|output| tensor_bits(&output.y)).collect();
            let gradients = args.iter().zip(&dys);
            let gradients =
                gradients.map(|(&args, dy)| LinearGradient { args, low_rank: None, dy, side: None }).collect();
            all.push(tensor_bits(&cpu.linears_backward(&x, gradients, true).unwrap()));
            all
        };
        let plain = weights.each_ref().map(|weight| match rounds_factors(&cpu, DType::Bf16) {
            true => Weight::from_f32_as(DType::Bf16, weight.rows(), weight.cols(), &read_all(weight)),
            false => Weight::from_f32(weight.rows(), weight.cols(), &read_all(weight)),
        });
        assert!(run(&weights) == run(&plain), "{}", cpu.name());
    }
}
