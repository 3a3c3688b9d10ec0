//! Rung l7: our blocks beside those that llama.cpp and bitsandbytes make of the same weights. llama.cpp decodes both its own
//! and ours, so that a wrong layout shows as well. Without the peers (`parity/README.md`) the tests print SKIPPED.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "tests, their helpers and their scratch files"
)]

use std::path::{Path, PathBuf};
use std::time::Instant;

use attune_compute::blocks::encode::{NF4_TABLE, encode_nf4, encode_row, nf4_scale_table};
use attune_compute::{BlockType, rng};
use attune_formats::tensors::read_tensors;
use attune_parity::peers::Peers;

const KINDS: [BlockType; 5] = [BlockType::Q8_0, BlockType::Q4_0, BlockType::Q4K, BlockType::Q5K, BlockType::Q6K];

/// Values of a row, of every set of weights here.
const COLS: usize = 1024;

/// The peers, if the script `name` runs with the argument `probe`.
fn peers(name: &str, probe: &str) -> Option<Peers> {
    let peers = Peers::with(&["numpy"])?;
    if peers.try_run(name, &[&probe]).is_ok_and(|ran| ran.status == 0) {
        return Some(peers);
    }
    println!("SKIPPED: {name} does not run: its peer is absent");
    None
}

/// What the script prints.
fn run(peers: &Peers, name: &str, args: &[&str]) -> String {
    let args: Vec<&dyn AsRef<std::ffi::OsStr>> = args.iter().map(|arg| arg as _).collect();
    let ran = peers.try_run(name, &args).unwrap();
    assert!(ran.status == 0, "{name}: {}", ran.stderr);
    ran.stdout
}

fn write_floats(path: &Path, values: &[f32]) {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_ne_bytes()).collect();
    std::fs::write(path, bytes).unwrap();
}

fn read_floats(path: &Path) -> Vec<f32> {
    let bytes = std::fs::read(path).unwrap();
    bytes.as_chunks::<4>().0.iter().map(|&bytes| f32::from_ne_bytes(bytes)).collect()
}

fn uniform(seed: u64, i: u64) -> f64 {
    rng::uniform_f64(rng::key(&[seed, i]))
}

/// Normally distributed (Box and Muller).
fn gaussian(seed: u64, i: u64) -> f64 {
    let radius = (-2.0 * (1.0 - uniform(seed, 2 * i)).ln()).sqrt();
    radius * (std::f64::consts::TAU * uniform(seed, 2 * i + 1)).cos()
}

/// Sets of weights by name, each a whole number of rows.
fn weights() -> Vec<(&'static str, Vec<f32>)> {
    let len = 256 * COLS as u64;
    let mut sets: Vec<(&str, Vec<f32>)> = vec![
        ("gaussian", (0..len).map(|i| (0.02 * gaussian(1, i)) as f32).collect()),
        // Student's t with three degrees of freedom: far outliers in many blocks.
        ("heavy tails", {
            let chi = |i: u64| (0..3).map(|part| gaussian(3 + part, i).powi(2)).sum::<f64>() / 3.0;
            (0..len).map(|i| (0.02 * gaussian(2, i) / chi(i).sqrt()) as f32).collect()
        }),
        // As bf16 weights are, some channels larger than others, groups that are all positive or all negative.
        ("uneven", {
            let size = |i: u64| 0.05 * (gaussian(7, i % COLS as u64)).exp();
            let middle = |i: u64| 0.05 * gaussian(8, i / 32);
            (0..len).map(|i| bf16((size(i) * gaussian(9, i) + middle(i)) as f32)).collect()
        }),
    ];
    // Outliers that are alone in their groups; values near the smallest that an f16 scale can hold; blocks, then groups, of
    // one value; groups of one sign, and far from 0; mostly zeros; three levels.
    let random = |seed: u64, i: u64| uniform(seed, i);
    let sign = |seed: u64, i: u64| if random(seed, i) < 0.5 { -1.0 } else { 1.0 };
    let few = 64 * COLS as u64;
    let more: [(&str, &dyn Fn(u64) -> f64); 9] = [
        ("outliers", &|i| 0.02 * gaussian(20, i) * if random(21, i) < 0.003 { 40.0 } else { 1.0 }),
        ("tiny", &|i| 1e-5 * gaussian(22, i)),
        ("tiniest", &|i| 1e-7 * gaussian(23, i)),
        ("blocks of one value", &|i| 0.02 * gaussian(24, i / 256)),
        ("groups of one value", &|i| 0.02 * gaussian(25, i / 32)),
        ("groups of one sign", &|i| 0.02 * gaussian(26, i).abs() * sign(27, i / 32)),
        ("far from 0", &|i| sign(28, i / 256) + 0.02 * gaussian(29, i)),
        ("mostly zeros", &|i| if random(30, i) < 0.1 { 0.02 * gaussian(31, i) } else { 0.0 }),
        ("three levels", &|i| 0.02 * ((3.0 * random(32, i)).floor() - 1.0)),
    ];
    for (name, value) in more {
        sets.push((name, (0..few).map(|i| value(i) as f32).collect()));
    }
    let beside_the_repository = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared");
    let shared = std::env::var_os("ATTUNE_SHARED").map_or_else(|| PathBuf::from(beside_the_repository), PathBuf::from);
    let file = shared.join("assets/models/tinystories-656k/model.safetensors");
    if file.is_file() {
        let mut values: Vec<f32> = read_tensors(&file).unwrap().into_values().flat_map(|t| t.data).collect();
        values.truncate(values.len() / COLS * COLS);
        assert!(values.len() > 400 * COLS, "{} values", values.len());
        sets.push(("tinystories", values));
    } else {
        println!("SKIPPED: {} is absent; ATTUNE_SHARED names the folder of the shared assets", file.display());
    }
    sets
}

/// The next lower `bf16` in magnitude.
fn bf16(value: f32) -> f32 {
    f32::from_bits(value.to_bits() & 0xffff_0000)
}

/// Root of the mean squared error of each block.
fn block_errors(kind: BlockType, values: &[f32], decoded: &[f32]) -> Vec<f64> {
    assert_eq!(values.len(), decoded.len());
    let blocks = values.chunks(kind.block_len()).zip(decoded.chunks(kind.block_len()));
    blocks
        .map(|(x, y)| {
            let squares = x.iter().zip(y).map(|(x, y)| f64::from(x - y).powi(2));
            (squares.sum::<f64>() / x.len() as f64).sqrt()
        })
        .collect()
}

fn root_mean_square(errors: &[f64]) -> f64 {
    (errors.iter().map(|error| error.powi(2)).sum::<f64>() / errors.len() as f64).sqrt()
}

#[test]
fn blocks_are_no_worse_than_those_of_llama_cpp() {
    let Some(peers) = peers("quantise.py", "probe") else { return };
    let scratch = tempfile::tempdir().unwrap();
    let path = |name: &str| scratch.path().join(name);
    let text = |name: &str| path(name).to_str().unwrap().to_owned();
    let cols = COLS.to_string();
    for (set, values) in weights() {
        write_floats(&path("values"), &values);
        for kind in KINDS {
            let name = kind.to_string();
            let printed = run(&peers, "quantise.py", &["encode", &name, &cols, &text("values"), &text("theirs")]);
            let start = Instant::now();
            let mut ours = Vec::new();
            for row in values.chunks_exact(COLS) {
                encode_row(kind, row, &mut ours).unwrap();
            }
            let seconds = start.elapsed().as_secs_f64();
            let theirs = std::fs::read(path("theirs")).unwrap();
            std::fs::write(path("ours"), &ours).unwrap();
            let decoded = |of: &str| {
                run(&peers, "quantise.py", &["decode", &name, &cols, &text(of), &text("decoded")]);
                block_errors(kind, &values, &read_floats(&path("decoded")))
            };
            let (our_errors, their_errors) = (decoded("ours"), decoded("theirs"));
            let mut ratios: Vec<f64> = our_errors.iter().zip(&their_errors).map(|(&a, &b)| ratio(a, b)).collect();
            ratios.sort_by(f64::total_cmp);
            let (median, worst) = (ratios[ratios.len() / 2], ratios[ratios.len() - 1]);
            let above = ratios.iter().filter(|&&ratio| ratio > ALLOWED).count();
            let overall = root_mean_square(&our_errors) / root_mean_square(&their_errors);
            println!(
                "{set}, {name}: error {overall:.4} of theirs; of {} blocks: median {median:.4}, worst {worst:.4}, {above} \
                 above {ALLOWED}; we {seconds:.4} s, they {}",
                ratios.len(),
                printed.trim(),
            );
            if matches!(kind, BlockType::Q8_0 | BlockType::Q4_0) {
                assert!(ours == theirs, "{set}, {name}: not the same bytes");
                continue;
            }
            // Their own fit is one of our candidates, so that no block is worse beyond the last bits of a sum.
            assert!(worst < WORST, "{set}, {name}: {above} blocks above {ALLOWED}, worst {worst}");
            // Measured: 0.91 to 0.98 overall on what resembles weights. Elsewhere both may find the same, or write zeros.
            let resembles = ["gaussian", "heavy tails", "uneven", "tinystories"].contains(&set);
            let limit = if resembles { 0.99 } else { WORST };
            let exact = root_mean_square(&their_errors) == 0.0;
            assert!(overall < limit || exact, "{set}, {name}: overall {overall}");
        }
    }
}

/// By what a block's error may be larger than theirs.
const ALLOWED: f64 = 1.02;

/// By what it is larger for no K-quant.
const WORST: f64 = 1.0005;

/// `ours / theirs`; 1 where both are 0.
fn ratio(ours: f64, theirs: f64) -> f64 {
    if ours == theirs { 1.0 } else { ours / theirs }
}

/// A wrong code, scale or order in a single block does not pass for rounding.
#[test]
fn a_planted_fault_shows_in_its_block() {
    let Some(peers) = peers("quantise.py", "probe") else { return };
    let scratch = tempfile::tempdir().unwrap();
    let text = |name: &str| scratch.path().join(name).to_str().unwrap().to_owned();
    let (_, values) = weights().swap_remove(0);
    let values = &values[..4 * COLS];
    // A byte of the values' codes in each type.
    for (kind, byte) in KINDS.into_iter().zip([9, 9, 80, 80, 80]) {
        let mut blocks = Vec::new();
        encode_row(kind, values, &mut blocks).unwrap();
        let name = kind.to_string();
        let mut errors = || {
            std::fs::write(text("ours"), &blocks).unwrap();
            run(&peers, "quantise.py", &["decode", &name, &COLS.to_string(), &text("ours"), &text("decoded")]);
            let errors = block_errors(kind, values, &read_floats(Path::new(&text("decoded"))));
            blocks[kind.block_bytes() + byte] ^= 0x88;
            errors
        };
        let (before, after) = (errors(), errors());
        for block in 0..before.len() {
            let changed = ratio(after[block], before[block]);
            assert_eq!(changed > ALLOWED, block == 1, "{name}, block {block}: {changed}");
        }
    }
}

/// The parts that bitsandbytes makes of `values`.
struct TheirNf4 {
    indices: Vec<u8>,
    codes: Vec<u8>,
    second: Vec<f32>,
    offset: f32,
    table: Vec<f32>,
    values: Vec<f32>,
}

fn their_nf4(peers: &Peers, values: &[f32]) -> TheirNf4 {
    let scratch = tempfile::tempdir().unwrap();
    let path = |name: &str| scratch.path().join(name);
    write_floats(&path("in"), values);
    run(peers, "quantise_nf4.py", &[path("in").to_str().unwrap(), path("out").to_str().unwrap()]);
    TheirNf4 {
        indices: std::fs::read(path("out.indices")).unwrap(),
        codes: std::fs::read(path("out.codes")).unwrap(),
        second: read_floats(&path("out.second")),
        offset: read_floats(&path("out.offset"))[0],
        table: read_floats(&path("out.table")),
        values: read_floats(&path("out.values")),
    }
}

/// The same parts of ours.
fn our_nf4(values: &[f32]) -> TheirNf4 {
    let (rows, blocks) = (values.len() / COLS, COLS / 64);
    let bytes = encode_nf4(rows, COLS, &mut |row, out| out.copy_from_slice(&values[row * COLS..][..COLS])).unwrap();
    let (of_rows, tail) = bytes.split_at(rows * blocks * 33);
    let mut floats: Vec<f32> = tail.as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
    let offset = floats.pop().unwrap();
    let table = nf4_scale_table().to_vec();
    let (mut indices, mut codes) = (Vec::new(), Vec::new());
    for row in of_rows.chunks_exact(blocks * 33) {
        indices.extend_from_slice(&row[..COLS / 2]);
        codes.extend_from_slice(&row[COLS / 2..]);
    }
    let scale = |block: usize| table[usize::from(codes[block])] * floats[block / 256] + offset;
    let value = |i: usize| {
        let byte = indices[i / 2];
        NF4_TABLE[usize::from(if i.is_multiple_of(2) { byte >> 4 } else { byte & 15 })] * scale(i / 64)
    };
    let values = (0..values.len()).map(value).collect();
    TheirNf4 { indices, codes, second: floats, offset, table, values }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn nf4_is_that_of_bitsandbytes() {
    let Some(peers) = peers("quantise_nf4.py", "--probe") else { return };
    for (set, values) in weights() {
        let (theirs, ours) = (their_nf4(&peers, &values), our_nf4(&values));
        assert_eq!(bits(&ours.table), bits(&theirs.table), "what the codes of scales mean");
        assert!(ours.indices == theirs.indices, "{set}: indices");
        let apart = (ours.offset / theirs.offset - 1.0).abs();
        let others = ours.codes.iter().zip(&theirs.codes).filter(|(a, b)| a != b).count();
        println!("{set}: offsets {apart:e} apart, {others} of {} codes of scales differ", ours.codes.len());
        // They add up in f32.
        assert!(apart < 1e-5, "{set}: offset {} for {}", ours.offset, theirs.offset);
        let largest_of = |block: &[f32]| block.iter().fold(0.0f32, |a, b| a.max(b.abs()));
        let mut largest = values.chunks_exact(64).map(largest_of);
        let first = largest.next().unwrap();
        if largest.all(|other| other == first) {
            // All scales are the offset, and what is left for their codes is its rounding alone.
            for (i, (a, b)) in ours.values.iter().zip(&theirs.values).enumerate() {
                assert!((a - b).abs() <= 1e-6 * first, "{set}: value {i} is {a} for {b}");
            }
            continue;
        }
        assert!(others * 100 <= ours.codes.len(), "{set}: {others} codes of scales differ");
        for (block, (&a, &b)) in ours.codes.iter().zip(&theirs.codes).enumerate().filter(|(_, (a, b))| a != b) {
            // Their library for CPUs finds codes by a table with steps of 2^-15; ours are the nearest ones.
            let largest = values[64 * block..][..64].iter().fold(0.0f32, |a, b| a.max(b.abs()));
            let position = (largest - ours.offset) / ours.second[block / 256];
            let bound = (ours.table[usize::from(a)] + ours.table[usize::from(b)]) / 2.0;
            assert!(a.abs_diff(b) == 1, "{set}, block {block}: code {a} for {b}");
            assert!((position - bound).abs() < 2f32.powi(-15), "{set}, block {block}: {position}, code {a} for {b}");
        }
        // The offset is a mean, summed in another order. Every scale is a product plus the offset, and the factor was found
        // with it: where a scale is small beside the offset, that difference and the rounding of the sum remain.
        let of_offset = 2.0 * ((ours.offset - theirs.offset).abs() + f32::EPSILON * ours.offset.abs());
        for (i, (a, b)) in ours.values.iter().zip(&theirs.values).enumerate() {
            if ours.codes[i / 64] == theirs.codes[i / 64] {
                assert!((a - b).abs() <= 1e-6 * a.abs() + of_offset, "{set}: value {i} is {a} for {b}");
            }
        }
    }
}

/// The largest value of a block of these has eight bits, so that no sum of them is rounded, in whatever order.
#[test]
fn nf4_with_an_exact_mean_is_that_of_bitsandbytes_to_the_bit() {
    let Some(peers) = peers("quantise_nf4.py", "--probe") else { return };
    let mut values: Vec<f32> = (0..128 * COLS as u64).map(|i| (0.01 * gaussian(11, i)) as f32).collect();
    for (block, values) in values.chunks_exact_mut(64).enumerate() {
        let largest = (1 + rng::below(rng::key(&[12, block as u64]), 255)) as f32 / 1024.0;
        values.iter_mut().for_each(|value| *value = value.clamp(-largest, largest));
        values[block % 64] = if block % 3 == 0 { -largest } else { largest };
    }
    let (theirs, ours) = (their_nf4(&peers, &values), our_nf4(&values));
    assert_eq!(ours.offset.to_bits(), theirs.offset.to_bits(), "offset");
    assert_eq!(ours.indices, theirs.indices, "indices");
    assert_eq!(ours.codes, theirs.codes, "codes of scales");
    assert_eq!(bits(&ours.second), bits(&theirs.second), "second scales");
    assert_eq!(bits(&ours.values), bits(&theirs.values), "decoded");
}
