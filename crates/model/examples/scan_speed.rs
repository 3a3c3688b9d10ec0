//! Times what happens to the files of a base model before the first step: one pass that hashes them and looks for values
//! that are not finite, beside the two passes that it replaces.
//!
//! `cargo run --release -p attune-model --example scan_speed -- MODEL_DIR [THREADS]`
#![allow(clippy::print_stdout)]

use std::path::PathBuf;
use std::time::Instant;

use attune_formats::files::hash_file;
use attune_formats::tensors::WeightFolder;
use attune_model::BaseModel;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let dir = PathBuf::from(args.next().ok_or("usage: scan_speed MODEL_DIR [THREADS]")?);
    let threads = args.next().map_or(Ok(2), |text| text.parse())?;
    let base = BaseModel::load(&dir)?;
    let files: Vec<PathBuf> = WeightFolder::open(&dir)?.files().collect();
    for _ in 0..3 {
        let begin = Instant::now();
        let hashes = files.iter().map(|file| hash_file(file)).collect::<Result<Vec<_>, _>>()?;
        let hashing = begin.elapsed().as_secs_f64();
        let begin = Instant::now();
        base.check_finite()?;
        let looking = begin.elapsed().as_secs_f64();
        let begin = Instant::now();
        let scan = base.scan(threads);
        let scanning = begin.elapsed().as_secs_f64();
        assert_eq!(scan.files.iter().map(|(_, hash)| hash).collect::<Vec<_>>(), hashes.iter().collect::<Vec<_>>());
        let gigabytes = scan.bytes as f64 / 1e9;
        println!(
            "{gigabytes:.2} GB: hash {hashing:.3} s + look {looking:.3} s = {:.2} GB/s; one pass on {threads} threads {scanning:.3} s = {:.2} GB/s",
            gigabytes / (hashing + looking),
            gigabytes / scanning
        );
    }
    Ok(())
}
