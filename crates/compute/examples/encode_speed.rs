//! How fast one core encodes blocks, in MB/s of the `bf16` weights that they come from (2 bytes a value):
//! `cargo run --release -p attune-compute --example encode_speed`.
#![allow(clippy::print_stdout, reason = "a program")]

use std::time::Instant;

use attune_compute::blocks::encode::{EncodeError, encode_nf4, encode_row};
use attune_compute::{BlockType, rng};

const COLS: usize = 2048;
const ROWS: usize = 512;
const REPEATS: usize = 5;

fn main() -> Result<(), EncodeError> {
    // A sum of four uniform numbers is near enough to a normal one.
    let values: Vec<f32> = (0..(ROWS * COLS) as u64)
        .map(|i| (0..4).map(|part| rng::uniform_f32(rng::key(&[i, part])) - 0.5).sum::<f32>() * 0.03)
        .collect();
    for kind in BlockType::ALL {
        let mut best = f64::INFINITY;
        for _ in 0..REPEATS {
            let start = Instant::now();
            let mut out = Vec::new();
            if kind == BlockType::Nf4 {
                out = encode_nf4(ROWS, COLS, &mut |row, x| x.copy_from_slice(&values[row * COLS..][..COLS]))?;
            } else {
                for row in values.chunks_exact(COLS) {
                    encode_row(kind, row, &mut out)?;
                }
            }
            std::hint::black_box(&out);
            best = best.min(start.elapsed().as_secs_f64());
        }
        println!("{kind:5} {:7.0} MB/s", (2 * ROWS * COLS) as f64 / 1e6 / best);
    }
    Ok(())
}
