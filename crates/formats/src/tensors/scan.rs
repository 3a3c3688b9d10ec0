//! One pass over the bytes of all weight files: their hashes, and whether a value is not finite.

use std::ops::Range;
use std::path::PathBuf;

use rayon::prelude::*;

use super::{DType, WeightFolder};

/// Bytes that are hashed and then looked at before the next ones: they stay in the last-level cache in between, so the
/// memory is read once.
const SLAB_BYTES: usize = 8 << 20;

/// Bytes that a thread looks at in one go.
pub(crate) const PIECE_BYTES: usize = 256 << 10;

/// What the bytes of a model say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scan {
    /// Every weight file, sorted by name, with its BLAKE3 in hexadecimal.
    pub files: Vec<(PathBuf, String)>,
    /// Whether no value of type F32, F16 or BF16 is a NaN or an infinity.
    pub all_finite: bool,
    /// Bytes of all files.
    pub bytes: u64,
}

/// Runs `scan` on so many threads; its argument says whether it may use them.
pub(crate) fn on_threads<T: Send>(threads: usize, scan: impl FnOnce(bool) -> T + Send) -> T {
    let pool = match threads {
        0 | 1 => None,
        // Where the system gives no more threads, one does the work.
        _ => rayon::ThreadPoolBuilder::new().num_threads(threads).build().ok(),
    };
    match &pool {
        Some(pool) => pool.install(|| scan(true)),
        None => scan(false),
    }
}

impl WeightFolder {
    /// Reads every byte of the weight files once, on so many threads.
    pub fn scan(&self, threads: usize) -> Scan {
        on_threads(threads, |parallel| self.scan_files(parallel))
    }

    fn scan_files(&self, parallel: bool) -> Scan {
        let mut scan = Scan { files: Vec::new(), all_finite: true, bytes: 0 };
        for file in &self.mapped.files {
            let of_file = |tensor: &&super::MappedTensor| std::sync::Arc::ptr_eq(&tensor.file, file);
            let mut pieces: Vec<(Range<usize>, DType)> = self
                .tensors()
                .filter(of_file)
                .filter(|tensor| !matches!(tensor.dtype, DType::U32 | DType::Other(_)))
                .flat_map(|tensor| cut(&tensor.range, PIECE_BYTES).map(|range| (range, tensor.dtype)))
                .collect();
            pieces.sort_unstable_by_key(|(range, _)| range.start);
            let bytes: &[u8] = file.as_ref().as_ref();
            let (hash, finite) = scan_bytes(bytes, &pieces, parallel);
            scan.files.push((file.path().to_path_buf(), hash));
            scan.all_finite &= finite;
            scan.bytes += bytes.len() as u64;
        }
        scan
    }
}

/// `range` in pieces of `step` bytes, which is a multiple of every element's size.
pub(crate) fn cut(range: &Range<usize>, step: usize) -> impl Iterator<Item = Range<usize>> + use<> {
    let end = range.end;
    range.clone().step_by(step).map(move |start| start..end.min(start + step))
}

/// The hash of `bytes`, and whether all of the pieces are finite.
pub(crate) fn scan_bytes(bytes: &[u8], pieces: &[(Range<usize>, DType)], parallel: bool) -> (String, bool) {
    let mut hasher = blake3::Hasher::new();
    let (mut all_finite, mut rest) = (true, pieces);
    let finite = |(range, dtype): &(Range<usize>, DType)| is_finite(*dtype, &bytes[range.clone()]);
    for slab in cut(&(0..bytes.len()), SLAB_BYTES) {
        // A piece that begins in this slab may end in the next one.
        let (here, later) = rest.split_at(rest.partition_point(|(range, _)| range.start < slab.end));
        rest = later;
        if parallel {
            hasher.update_rayon(&bytes[slab]);
            all_finite &= here.par_iter().all(finite);
        } else {
            hasher.update(&bytes[slab]);
            all_finite &= here.iter().all(finite);
        }
    }
    (hasher.finalize().to_hex().to_string(), all_finite)
}

/// A value is not finite exactly when all bits of its exponent are set. No early exit, so that the loops become vector
/// instructions.
fn is_finite(dtype: DType, bytes: &[u8]) -> bool {
    let halves = |mask: u16| {
        let mut found = 0u16;
        for pair in bytes.chunks_exact(2) {
            found |= u16::from(u16::from_le_bytes([pair[0], pair[1]]) & mask == mask);
        }
        found == 0
    };
    match dtype {
        DType::F32 => {
            let mut found = 0u32;
            for b in bytes.chunks_exact(4) {
                found |= u32::from(u32::from_le_bytes([b[0], b[1], b[2], b[3]]) & 0x7f80_0000 == 0x7f80_0000);
            }
            found == 0
        }
        DType::Bf16 => halves(0x7f80),
        DType::F16 => halves(0x7c00),
        DType::U32 | DType::Other(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_non_finite_value_is_found_and_no_other() {
        let f32s = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
        let halves = |values: &[u16]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
        assert!(is_finite(DType::F32, &f32s(&[f32::MAX, -f32::MAX, 1e-45, -0.0])));
        assert!(is_finite(DType::Bf16, &halves(&[0x7f7f, 0xff7f, 0x0001])));
        assert!(is_finite(DType::F16, &halves(&[0x7bff, 0xfbff, 0x0001])));
        for at in [0, 1, 511, 1022] {
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut values = vec![1.0; 1023];
                values[at] = bad;
                assert!(!is_finite(DType::F32, &f32s(&values)), "{bad} at {at}");
            }
            for (dtype, bad) in
                [(DType::Bf16, 0x7f80), (DType::Bf16, 0xffff), (DType::F16, 0x7c00), (DType::F16, 0xfc01)]
            {
                let mut values = vec![0x3c00; 1023];
                values[at] = bad;
                assert!(!is_finite(dtype, &halves(&values)), "{bad:x} at {at}");
            }
        }
    }

    #[test]
    fn pieces_and_slabs_change_neither_hash_nor_finding() {
        let bytes: Vec<u8> = (0..SLAB_BYTES + 3 * PIECE_BYTES + 5).map(|i| (i % 113) as u8).collect();
        let hash = blake3::hash(&bytes).to_hex().to_string();
        let tensor = 3..bytes.len() - 2;
        let pieces: Vec<_> = cut(&tensor, PIECE_BYTES).map(|range| (range, DType::F32)).collect();
        for parallel in [false, true] {
            assert_eq!(scan_bytes(&bytes, &pieces, parallel), (hash.clone(), true));
            for at in [tensor.start, SLAB_BYTES / 4 * 4 - 1, tensor.end - 4] {
                let mut bytes = bytes.clone();
                let at = tensor.start + (at - tensor.start) / 4 * 4;
                bytes[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
                assert!(!scan_bytes(&bytes, &pieces, parallel).1, "at {at}");
            }
        }
    }

    #[test]
    fn an_empty_file_has_a_hash() {
        assert_eq!(scan_bytes(&[], &[], true), (blake3::hash(b"").to_hex().to_string(), true));
    }
}
