//! Against a slow decoder of its own, written from the layouts alone.

use half::f16;

use super::*;
use crate::rng;

const KINDS: [BlockType; 5] = [BlockType::Q8_0, BlockType::Q4_0, BlockType::Q4K, BlockType::Q5K, BlockType::Q6K];

fn half_at(bytes: &[u8], at: usize) -> f64 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f64()
}

/// Value `i` of a block.
fn value_of(kind: BlockType, block: &[u8], i: usize) -> f64 {
    match kind {
        BlockType::Q8_0 => half_at(block, 0) * f64::from(block[2 + i] as i8),
        BlockType::Q4_0 => {
            let byte = block[2 + i % 16];
            half_at(block, 0) * (f64::from(if i < 16 { byte & 15 } else { byte >> 4 }) - 8.0)
        }
        BlockType::Q4K | BlockType::Q5K => {
            let (group, place) = (i / 32, i % 32);
            let packed = &block[4..16];
            let (scale, minimum) = if group < 4 {
                (packed[group] & 63, packed[group + 4] & 63)
            } else {
                let low = packed[group + 4];
                (low & 15 | packed[group - 4] >> 6 << 4, low >> 4 | packed[group] >> 6 << 4)
            };
            let nibbles = if kind == BlockType::Q4K { &block[16..] } else { &block[48..] };
            let byte = nibbles[group / 2 * 32 + place];
            let mut code = if group % 2 == 0 { byte & 15 } else { byte >> 4 };
            if kind == BlockType::Q5K {
                code += (block[16 + place] >> group & 1) * 16;
            }
            half_at(block, 0) * f64::from(scale) * f64::from(code) - half_at(block, 2) * f64::from(minimum)
        }
        BlockType::Q6K => {
            let (part, place) = (i / 128, i % 128);
            let (quarter, l) = (place / 32, place % 32);
            let byte = block[64 * part + 32 * (quarter % 2) + l];
            let low = if quarter < 2 { byte & 15 } else { byte >> 4 };
            let high = block[128 + 32 * part + l] >> (2 * quarter) & 3;
            let scale = block[192 + i / 16] as i8;
            half_at(block, 208) * f64::from(scale) * (f64::from(low | high << 4) - 32.0)
        }
        BlockType::Nf4 | BlockType::Affine(_) => unreachable!("{kind} has scales outside of its blocks"),
    }
}

fn decode(kind: BlockType, bytes: &[u8]) -> Vec<f64> {
    let blocks = bytes.chunks_exact(kind.block_bytes());
    blocks.flat_map(|block| (0..kind.block_len()).map(move |i| value_of(kind, block, i))).collect()
}

fn encoded(kind: BlockType, values: &[f32]) -> Vec<u8> {
    let mut out = Vec::new();
    encode_row(kind, values, &mut out).unwrap();
    assert_eq!(out.len(), kind.row_bytes(values.len()).unwrap());
    out
}

/// Normally distributed (Box and Muller), `sigma` wide.
fn gaussian(seed: u64, len: usize, sigma: f32) -> Vec<f32> {
    let uniform = |i: u64| rng::uniform_f64(rng::key(&[seed, i]));
    (0..len as u64)
        .map(|i| {
            let radius = (-2.0 * (1.0 - uniform(2 * i)).ln()).sqrt();
            (radius * (std::f64::consts::TAU * uniform(2 * i + 1)).cos()) as f32 * sigma
        })
        .collect()
}

/// Root of the mean squared error, relative to that of the values.
fn relative_error(kind: BlockType, values: &[f32]) -> f64 {
    let decoded = decode(kind, &encoded(kind, values));
    let error: f64 = values.iter().zip(&decoded).map(|(&x, y)| (f64::from(x) - y).powi(2)).sum();
    let size: f64 = values.iter().map(|&x| f64::from(x).powi(2)).sum();
    (error / size).sqrt()
}

#[test]
fn errors_are_of_the_size_that_the_bits_allow() {
    // Measured: 0.0056, 0.089, 0.074, 0.037, 0.018 (gaussian); a wrong nibble order or bit gives 1.
    let limits = [0.0060, 0.095, 0.078, 0.040, 0.020];
    for (kind, limit) in KINDS.into_iter().zip(limits) {
        for sigma in [1e-3, 0.02, 1.0, 1e3] {
            let error = relative_error(kind, &gaussian(1, 4096, sigma));
            assert!(error < limit, "{kind}, sigma {sigma}: {error}");
            // Below the smallest normal f16, scales have fewer bits.
            assert!(sigma < 0.02 || error > limit / 2.0, "{kind}, sigma {sigma}: {error} is too good to be true");
        }
    }
}

#[test]
fn every_path_gives_the_same_bytes() {
    for isa in Isa::ALL {
        if !isa.is_available() {
            println!("SKIPPED: {isa}: this machine lacks it");
            continue;
        }
        for (seed, kind) in KINDS.into_iter().enumerate() {
            for sigma in [1e-9, 1e-3, 0.02, 1e4] {
                // An odd number of blocks, of which some are encoded in pairs; cubes have far outliers.
                let mut values = gaussian(seed as u64, 7 * 256, sigma);
                values[512..1024].iter_mut().for_each(|value| *value *= (*value / sigma).powi(2));
                values[1024..1280].fill(sigma);
                let (mut portable, mut fast) = (Vec::new(), Vec::new());
                encode_row_with(Isa::Portable, kind, &values, &mut portable).unwrap();
                encode_row_with(isa, kind, &values, &mut fast).unwrap();
                assert_eq!(portable, fast, "{kind} on {isa}, sigma {sigma}");
            }
        }
    }
}

#[test]
fn zeros_stay_zeros() {
    for kind in KINDS {
        for zero in [0.0f32, -0.0] {
            let decoded = decode(kind, &encoded(kind, &[zero; 512]));
            assert!(decoded.iter().all(|&value| value == 0.0), "{kind}");
        }
        // A block of zeros beside one that is none.
        let mut values = gaussian(2, 512, 1.0);
        values[..256].fill(0.0);
        assert!(decode(kind, &encoded(kind, &values))[..256].iter().all(|&value| value == 0.0), "{kind}");
    }
}

#[test]
fn constant_blocks_come_back() {
    for kind in KINDS {
        for constant in [1.0f32, -1.0, 0.37, -0.37, 0.1, 4e6, -4e6] {
            if constant.abs() > limit(kind) {
                continue;
            }
            let decoded = decode(kind, &encoded(kind, &[constant; 256]));
            for value in decoded {
                // Half a step of an f16, three times over: d, dmin and their products.
                let error = (value / f64::from(constant) - 1.0).abs();
                assert!(error < 2e-3, "{kind}: {value} for {constant}");
            }
        }
    }
}

#[test]
fn a_single_outlier_is_kept() {
    for kind in KINDS {
        for outlier in [100.0f32, -100.0] {
            let mut values = gaussian(3, 256, 0.01);
            values[77] = outlier;
            let decoded = decode(kind, &encoded(kind, &values));
            let error = (decoded[77] / f64::from(outlier) - 1.0).abs();
            assert!(error < 0.02, "{kind}: {} for {outlier}", decoded[77]);
        }
    }
}

#[test]
fn tiny_values_give_no_nonsense() {
    for kind in KINDS {
        for sigma in [f32::from_bits(1), 1e-42, 1e-38, 1e-20, 1e-10, 1e-7, 1e-6, 1e-5] {
            let values = gaussian(4, 512, sigma);
            let largest = values.iter().fold(0.0f32, |a, b| a.max(b.abs()));
            // Nothing may come out larger than what went in, by more than rounding of scales that are a few units of 2^-24.
            for (i, value) in decode(kind, &encoded(kind, &values)).into_iter().enumerate() {
                let excess = value.abs() / f64::from(largest);
                assert!(value.is_finite() && excess < 2.1, "{kind}, sigma {sigma}: {value} for {}", values[i]);
            }
        }
    }
}

#[test]
fn the_largest_values_that_are_accepted_come_back() {
    for kind in KINDS {
        for sign in [1.0f32, -1.0] {
            let mut values = gaussian(5, 256, limit(kind) / 10.0);
            values.iter_mut().for_each(|value| *value = value.clamp(-limit(kind), limit(kind)));
            values[9] = sign * limit(kind);
            let error = relative_error(kind, &values);
            assert!(error < 0.15, "{kind}: {error}");
            let alternating: Vec<f32> = (0..256).map(|i| if i % 2 == 0 { limit(kind) } else { -limit(kind) }).collect();
            let error = relative_error(kind, &alternating);
            assert!(error < 0.15, "{kind}: {error}");
        }
    }
}

#[test]
fn what_cannot_be_encoded_is_refused_and_nothing_is_written() {
    for kind in KINDS {
        let mut out = vec![7u8; 3];
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut values = vec![0.5; 1024];
            values[700] = bad;
            let error = encode_row(kind, &values, &mut out).unwrap_err();
            assert!(matches!(error, EncodeError::NotFinite { index: 700, .. }), "{error}");
            assert!(error.to_string().contains("700"));
        }
        let mut values = vec![0.5; 1024];
        values[3] = -1.01 * limit(kind);
        let error = encode_row(kind, &values, &mut out).unwrap_err();
        assert!(matches!(error, EncodeError::TooLarge { index: 3, .. }), "{error}");
        let error = encode_row(kind, &values[..kind.block_len() + 1], &mut out).unwrap_err();
        assert!(matches!(error, EncodeError::PartialBlock { .. }), "{error}");
        assert_eq!(out, [7; 3]);
        encode_row(kind, &[], &mut out).unwrap();
        assert_eq!(out, [7; 3], "an empty row has no bytes");
    }
    let error = encode_row(BlockType::Nf4, &[0.0; 64], &mut Vec::new()).unwrap_err();
    assert!(matches!(error, EncodeError::NeedsMatrix { .. }));
}

/// Decoded NF4, by the layout in the module's table.
fn decode_nf4(rows: usize, cols: usize, bytes: &[u8]) -> Vec<f32> {
    let blocks = cols / 64;
    let row_bytes = blocks * 33;
    let float_at = |at: usize| f32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let offset = float_at(bytes.len() - 4);
    let mut out = Vec::new();
    for row in 0..rows {
        let of_row = &bytes[row * row_bytes..][..row_bytes];
        for col in 0..cols {
            let byte = of_row[col / 2];
            let index = if col % 2 == 0 { byte >> 4 } else { byte & 15 };
            let code = of_row[cols / 2 + col / 64];
            let second = float_at(rows * row_bytes + (row * blocks + col / 64) / 256 * 4);
            let scale = nf4_scale_table()[usize::from(code)] * second + offset;
            out.push(NF4_TABLE[usize::from(index)] * scale);
        }
    }
    out
}

fn encoded_nf4(rows: usize, cols: usize, values: &[f32]) -> Vec<u8> {
    let bytes = encode_nf4(rows, cols, &mut |row, out| out.copy_from_slice(&values[row * cols..][..cols])).unwrap();
    assert_eq!(bytes.len(), BlockType::Nf4.matrix_bytes(rows, cols).unwrap());
    bytes
}

#[test]
fn nf4_comes_back_within_its_error() {
    for (rows, cols) in [(1, 64), (3, 192), (70, 320), (5, 256)] {
        let values = gaussian(6, rows * cols, 0.02);
        let decoded = decode_nf4(rows, cols, &encoded_nf4(rows, cols, &values));
        let error: f64 = values.iter().zip(&decoded).map(|(x, y)| f64::from(x - y).powi(2)).sum();
        let size: f64 = values.iter().map(|&x| f64::from(x).powi(2)).sum();
        // Measured 0.095.
        let relative = (error / size).sqrt();
        assert!((0.07..0.11).contains(&relative), "{rows} x {cols}: {relative}");
    }
}

#[test]
fn nf4_indices_are_the_nearest_and_ties_go_down() {
    let mut values = [0.0f32; 64];
    values[0] = 1.0;
    for i in 0..15 {
        values[1 + i] = (NF4_TABLE[i] + NF4_TABLE[i + 1]) / 2.0;
        values[16 + i] = values[1 + i].next_up();
    }
    let bytes = encoded_nf4(1, 64, &values);
    let index = |i: usize| if i.is_multiple_of(2) { bytes[i / 2] >> 4 } else { bytes[i / 2] & 15 };
    assert_eq!(index(0), 15);
    for i in 0..15 {
        assert_eq!((index(1 + i), index(16 + i)), (i as u8, i as u8 + 1), "bound {i}");
    }
}

#[test]
fn the_table_of_scales_has_known_values() {
    // Bits of what bitsandbytes' create_dynamic_map() returns.
    let table = nf4_scale_table();
    for (code, value) in
        [(0, -0.992_968_74f32), (1, -0.978_906_2), (127, 0.0), (128, 5.5e-7), (254, 0.992_968_74), (255, 1.0)]
    {
        assert!((table[code] - value).abs() <= value.abs() * f32::EPSILON, "{code}: {}", table[code]);
    }
    assert!(table.windows(2).all(|pair| pair[0] < pair[1]));
    // Every number but 0 and 1 has its opposite.
    for (code, &value) in table.iter().enumerate() {
        assert!(value == 0.0 || value == 1.0 || table.contains(&-value), "{code}");
    }
}

#[test]
fn nf4_of_zeros_and_of_nothing() {
    assert!(decode_nf4(2, 128, &encoded_nf4(2, 128, &[0.0; 256])).iter().all(|&value| value == 0.0));
    assert_eq!(encoded_nf4(0, 64, &[]), 0.0f32.to_le_bytes());
    assert_eq!(encoded_nf4(3, 0, &[]), 0.0f32.to_le_bytes());
}

#[test]
fn nf4_refuses_what_it_cannot_hold() {
    let error = encode_nf4(1, 65, &mut |_, _| ()).unwrap_err();
    assert!(matches!(error, EncodeError::PartialBlock { len: 65, .. }), "{error}");
    let error = encode_nf4(usize::MAX / 64, 128, &mut |_, _| ()).unwrap_err();
    assert!(matches!(error, EncodeError::TooBig { .. }), "{error}");
    let error = encode_nf4(4, 64, &mut |row, out| {
        out.fill(1.0);
        out[5] = if row == 2 { f32::NAN } else { 0.0 };
    })
    .unwrap_err();
    assert!(matches!(error, EncodeError::NotFinite { index: 133, .. }), "{error}");
}

#[test]
fn nf4_is_the_same_on_every_path() {
    let values = gaussian(8, 4096, 0.02);
    let by = |isa: Isa| {
        let (mut indices, mut absmax) = (vec![0; 2048], vec![0.0; 64]);
        run(isa, Work::Nf4 { values: &values, indices: &mut indices, absmax: &mut absmax });
        (indices, absmax)
    };
    for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
        assert_eq!(by(isa), by(Isa::Portable), "{isa}");
    }
}
