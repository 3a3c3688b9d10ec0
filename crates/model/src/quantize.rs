//! A base in few bits: its matrices encoded once, kept in a file of the cache, and mapped from there the next time.
//!
//! The linears of the layers become blocks of the type that was asked for. Embedding and head become Q8_0 whatever that
//! type is: with a vocabulary of 128 k they are a fifth of a model of a billion weights, so that in 16 bits they would
//! take half of what is left; and in four bits they would cost half of what all linears do together (LOG.md).
//! Norms and biases stay as they are.
//!
//! A cache file is a safetensors file of bytes (`U8`), one tensor per matrix, whose metadata has the type of the blocks;
//! its last tensor is the BLAKE3 of all others. So it is written piece by piece as the base is read, and a base larger
//! than the memory can be encoded. Its name is the hash of the base's files, the type and `ENCODING`; it is read only when
//! every byte of its header is what this base and type make, and its contents have the hash.
//!
//! It lies in the folder that the variable `FT_CACHE` names, else in `attune` in the user's folder for caches
//! (`XDG_CACHE_HOME`, `~/.cache`, or what the system has for that), below `quantized`. Deleting it costs the time to make
//! it again.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use attune_compute::blocks::encode::{EncodeError, encode_nf4, encode_row};
use attune_compute::{BlockType, DType, Weight};
use attune_formats::files::write_atomic_with;
use attune_formats::tensors::MappedFile;

use crate::error::ModelError;
use crate::spec::Linear;
use crate::weights::{BaseModel, EMBEDDING, HEAD};

/// Changes whenever the same weights would be encoded to other bytes.
const ENCODING: &str = "attune-quantized-2";

/// Name of the tensor with the hash of all before it.
const HASH: &str = "blake3";

/// Bytes of that hash.
const HASH_BYTES: usize = blake3::OUT_LEN;

/// Name of the variable for the folder of caches.
pub const FT_CACHE: &str = "FT_CACHE";

/// Values of a piece of work: 8 MiB of Q8_0. A matrix of NF4 is one piece, since its scales belong together.
const PIECE_VALUES: usize = 8 << 20;

/// Values whose encoding is timed to tell that of all.
const TIMED_VALUES: usize = 1 << 20;

/// Pieces for each thread that are in memory at a time.
const PIECES_PER_THREAD: usize = 4;

/// The type of embedding and head in a quantised base, whatever that of the linears is.
pub const VOCABULARY_BLOCKS: BlockType = BlockType::Q8_0;

/// A matrix that is to be in blocks.
struct Matrix<'a> {
    name: String,
    weight: &'a Weight,
    kind: BlockType,
}

impl Matrix<'_> {
    /// Bytes of its blocks; `None` where it cannot be in such blocks.
    fn block_bytes(&self) -> Option<usize> {
        self.kind.matrix_bytes(self.weight.rows(), self.weight.cols())
    }

    /// The rows of the pieces that it is encoded in.
    fn pieces(&self) -> Vec<Range<usize>> {
        let (rows, cols) = (self.weight.rows(), self.weight.cols());
        let step = match self.kind {
            BlockType::Nf4 => rows,
            _ => PIECE_VALUES / cols.max(1),
        };
        (0..rows).step_by(step.max(1)).map(|start| start..rows.min(start + step.max(1))).collect()
    }

    fn encode(&self, rows: Range<usize>) -> Result<Vec<u8>, EncodeError> {
        let Self { weight, kind, .. } = *self;
        if kind == BlockType::Nf4 {
            let read = &mut |row: usize, out: &mut [f32]| weight.read_row(rows.start + row, out);
            return encode_nf4(rows.len(), weight.cols(), read);
        }
        let mut bytes = Vec::with_capacity(kind.matrix_bytes(rows.len(), weight.cols()).unwrap_or(0));
        let mut values = vec![0.0; weight.cols()];
        for row in rows {
            weight.read_row(row, &mut values);
            encode_row(kind, &values, &mut bytes)?;
        }
        Ok(bytes)
    }
}

/// What the first run on a base takes more than later ones.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EncodingCost {
    /// Time to encode.
    pub seconds: f64,
    /// Memory beside the mapped base, which is given back before anything else is allocated.
    pub memory_bytes: u64,
    /// What stays in the folder for caches.
    pub disk_bytes: u64,
}

/// Why encoding stopped: a matrix that cannot be in blocks, or a file that cannot be written.
enum Stopped {
    Matrix(ModelError),
    Writing(std::io::Error),
}

impl BaseModel {
    /// The bytes that all weights take when the linears are in blocks of `kind`, and embedding and head in those of
    /// [`VOCABULARY_BLOCKS`]; `None` where a matrix cannot be.
    pub fn quantized_bytes(&self, kind: BlockType) -> Option<u64> {
        let (mut plain, mut blocks) = (0, 0);
        for matrix in self.matrices(kind) {
            plain += matrix.weight.size_bytes() as u64;
            blocks += matrix.block_bytes()? as u64;
        }
        Some(self.size_bytes().saturating_sub(plain) + blocks)
    }

    /// This base with its matrices in blocks: from `cache` if that file has them, else encoded on so many threads and
    /// written there. Also gives a note for the user where the file could not be written: the blocks are in memory then.
    ///
    /// # Errors
    /// When a matrix cannot be encoded, is in blocks already, or the base cannot be mapped again.
    pub fn quantized(
        self,
        kind: BlockType,
        threads: usize,
        cache: Option<&Path>,
    ) -> Result<(Self, Option<String>), ModelError> {
        let stored = self.matrices(kind).into_iter().find_map(|matrix| match matrix.weight.dtype() {
            DType::Block(kind) => Some((matrix.name, kind)),
            _ => None,
        });
        if let Some((name, kind)) = stored {
            let reason = format!("it is stored as {kind} already");
            return Err(ModelError::Quantize { dir: self.path().to_path_buf(), name, reason });
        }
        self.check_blocks(kind)?;
        if let Some(weights) = cache.and_then(|cache| self.map_cache(cache, kind, true)) {
            return Ok((self.with_matrices(weights)?, None));
        }
        let reason = match cache {
            None => "there is no folder for caches; set FT_CACHE to one".to_string(),
            Some(cache) => match self.write_cache(cache, kind, threads)? {
                None => match self.map_cache(cache, kind, false) {
                    Some(weights) => return Ok((self.with_matrices(weights)?, None)),
                    None => format!("{} changed while it was written", cache.display()),
                },
                Some(reason) => reason,
            },
        };
        let weights = self.in_memory(kind, threads)?;
        let note = format!("the quantised base stays in memory and is made again next time: {reason}");
        Ok((self.with_matrices(weights)?, Some(note)))
    }

    /// What making the blocks takes on so many threads, from the time that some rows take. Reading the base from the disk
    /// and writing the blocks there comes to that.
    ///
    /// # Errors
    /// When these rows cannot be encoded.
    pub fn encoding_cost(&self, kind: BlockType, threads: usize) -> Result<EncodingCost, ModelError> {
        let matrices = self.matrices(kind);
        let (mut seconds, mut timed) = (0.0, Vec::<(BlockType, f64)>::new());
        for matrix in &matrices {
            let (rows, cols) = (matrix.weight.rows(), matrix.weight.cols());
            let known = timed.iter().find(|(kind, _)| *kind == matrix.kind).map(|(_, seconds)| *seconds);
            let per_value = match known {
                Some(seconds) => seconds,
                None => {
                    let sample = 0..rows.min(TIMED_VALUES.div_ceil(cols.max(1)));
                    let values = (sample.len() * cols) as f64;
                    let begin = Instant::now();
                    matrix.encode(sample).map_err(|error| self.refusal(matrix.name.clone(), &error))?;
                    let seconds = begin.elapsed().as_secs_f64() / values.max(1.0);
                    timed.push((matrix.kind, seconds));
                    seconds
                }
            };
            seconds += per_value * (rows * cols) as f64;
        }
        let threads = threads.max(1);
        let largest = |matrix: &Matrix| {
            let rows = matrix.pieces().first().map_or(0, Range::len);
            matrix.kind.matrix_bytes(rows, matrix.weight.cols()).unwrap_or(0)
        };
        let piece_bytes = matrices.iter().map(largest).max().unwrap_or(0);
        let disk_bytes: usize = matrices.iter().filter_map(Matrix::block_bytes).sum();
        Ok(EncodingCost {
            seconds: seconds / threads as f64,
            memory_bytes: ((PIECES_PER_THREAD * threads * piece_bytes).min(disk_bytes)) as u64,
            disk_bytes: disk_bytes as u64,
        })
    }

    fn refusal(&self, name: String, error: &EncodeError) -> ModelError {
        let reason = format!("{error} ({})", error.hint());
        ModelError::Quantize { dir: self.path().to_path_buf(), name, reason }
    }

    /// [`BaseModel::quantized`] through the cache of this machine, for whoever has not hashed the base's files: reads them
    /// once.
    ///
    /// # Errors
    /// As there; and when a weight is not finite.
    pub fn quantized_through_cache(
        self,
        kind: BlockType,
        threads: usize,
    ) -> Result<(Self, Option<String>), ModelError> {
        self.check_blocks(kind)?;
        let scan = self.scan(threads);
        if !scan.all_finite {
            self.check_finite()?;
        }
        let of_config = self.config_file().map(|path| attune_formats::files::hash_file(&path)).transpose()?;
        let hashes = scan.files.iter().map(|(_, hash)| hash.as_str()).chain(of_config.as_deref());
        let cache = cache_file(kind, hashes);
        self.quantized(kind, threads, cache.as_deref())
    }

    /// What is to be in blocks, in the order of the file: the linears layer by layer, the embedding, and the head where
    /// it is not the embedding.
    fn matrices(&self, kind: BlockType) -> Vec<Matrix<'_>> {
        let names = (0..self.layers.len())
            .flat_map(|layer| Linear::ALL.map(|linear| format!("{}.weight", linear.module_name(layer))));
        let linears = names.zip(self.linear_weights()).map(|(name, weight)| Matrix { name, weight, kind });
        let of_vocabulary = |name: &str, weight| Matrix { name: name.into(), weight, kind: VOCABULARY_BLOCKS };
        let head = (!self.spec.tied_head).then(|| of_vocabulary(HEAD, &self.head));
        linears.chain([of_vocabulary(EMBEDDING, &self.embedding)]).chain(head).collect()
    }

    /// Whether every matrix can be in blocks, and none is.
    ///
    /// # Errors
    /// [`ModelError::Quantize`] with the first that cannot.
    pub fn check_blocks(&self, kind: BlockType) -> Result<(), ModelError> {
        let refuse = |name, reason| Err(ModelError::Quantize { dir: self.path().to_path_buf(), name, reason });
        for matrix in self.matrices(kind) {
            if let DType::Block(stored) = matrix.weight.dtype() {
                return refuse(matrix.name, format!("it is stored as {stored} already"));
            }
            if matrix.block_bytes().is_none() {
                let (cols, kind) = (matrix.weight.cols(), matrix.kind);
                let reason = format!("its rows of {cols} values are not whole blocks of {} ({kind})", kind.block_len());
                return refuse(matrix.name, reason);
            }
        }
        Ok(())
    }

    /// Encodes all matrices on so many threads, and gives their bytes piece by piece, in order, to `take`. Only some
    /// pieces are in memory at a time.
    fn encode(
        &self,
        kind: BlockType,
        threads: usize,
        mut take: impl FnMut(usize, Vec<u8>) -> std::io::Result<()>,
    ) -> Result<(), Stopped> {
        let matrices = self.matrices(kind);
        let pieces: Vec<(usize, Range<usize>)> = matrices
            .iter()
            .enumerate()
            .flat_map(|(at, matrix)| matrix.pieces().into_iter().map(move |rows| (at, rows)))
            .collect();
        for batch in pieces.chunks(PIECES_PER_THREAD * threads.max(1)) {
            let encoded = in_parallel(threads, batch, |(at, rows)| matrices[*at].encode(rows.clone()));
            for ((at, _), bytes) in batch.iter().zip(encoded) {
                let bytes = bytes.map_err(|error| Stopped::Matrix(self.refusal(matrices[*at].name.clone(), &error)))?;
                take(*at, bytes).map_err(Stopped::Writing)?;
            }
        }
        Ok(())
    }

    /// Encodes into memory: where there is no file to map.
    fn in_memory(&self, kind: BlockType, threads: usize) -> Result<Vec<Weight>, ModelError> {
        let matrices = self.matrices(kind);
        let mut bytes: Vec<Vec<u8>> =
            matrices.iter().map(|matrix| Vec::with_capacity(matrix.block_bytes().unwrap_or(0))).collect();
        let encoded = self.encode(kind, threads, |at, mut piece| {
            bytes[at].append(&mut piece);
            Ok(())
        });
        match encoded {
            Ok(()) => {}
            Err(Stopped::Matrix(error)) => return Err(error),
            Err(Stopped::Writing(error)) => unreachable!("nothing is written: {error}"),
        }
        let weight = |(matrix, bytes): (&Matrix, Vec<u8>)| {
            let (rows, cols, range) = (matrix.weight.rows(), matrix.weight.cols(), 0..bytes.len());
            Weight::new(DType::Block(matrix.kind), rows, cols, Arc::new(bytes), range)
        };
        Ok(matrices.iter().zip(bytes).map(weight).collect())
    }

    /// The base mapped anew, so that the pages of what was encoded are given back, with other matrices.
    fn with_matrices(self, weights: Vec<Weight>) -> Result<Self, ModelError> {
        let dir = self.path().to_path_buf();
        drop(self);
        let mut base = Self::load(&dir)?;
        let mut weights = weights.into_iter();
        let mut next = || weights.next().unwrap_or_else(|| unreachable!("as many matrices as there were"));
        for linear in base.layers.iter_mut().flat_map(|layer| &mut layer.linears) {
            linear.weight = next();
        }
        base.embedding = next();
        base.head = if base.spec.tied_head { base.embedding.clone() } else { next() };
        Ok(base)
    }

    /// The matrices in a cache file; `None` when there is no such file, or it is not exactly what belongs there.
    fn map_cache(&self, cache: &Path, kind: BlockType, verify: bool) -> Option<Vec<Weight>> {
        let file = Arc::new(MappedFile::open(cache).ok()?);
        let bytes: &[u8] = file.as_ref().as_ref();
        let matrices = self.matrices(kind);
        let header = header_of(kind, &matrices)?;
        let (data, hash) = bytes.strip_prefix(header.as_slice())?.split_last_chunk::<HASH_BYTES>()?;
        let sizes = matrices.iter().map(Matrix::block_bytes).collect::<Option<Vec<usize>>>()?;
        if data.len() != sizes.iter().sum::<usize>() || (verify && hash_of(data) != *hash) {
            return None;
        }
        let mut start = header.len();
        let weights = matrices.iter().zip(sizes).map(|(matrix, size)| {
            let range = start..start + size;
            start = range.end;
            let (rows, cols) = (matrix.weight.rows(), matrix.weight.cols());
            Weight::new(DType::Block(matrix.kind), rows, cols, Arc::clone(&file) as _, range)
        });
        Some(weights.collect())
    }

    /// Encodes into a file of the cache; gives the reason where it cannot be written.
    fn write_cache(&self, path: &Path, kind: BlockType, threads: usize) -> Result<Option<String>, ModelError> {
        if let Some(dir) = path.parent()
            && let Err(error) = attune_formats::files::create_dir_all(dir)
        {
            return Ok(Some(error.to_string()));
        }
        let matrices = self.matrices(kind);
        let Some(header) = header_of(kind, &matrices) else { unreachable!("every matrix was checked") };
        let data_bytes: usize = matrices.iter().filter_map(Matrix::block_bytes).sum();
        let size_bytes = (header.len() + data_bytes + HASH_BYTES) as u64;
        let mut failed = None;
        let written = write_atomic_with(path, Some(size_bytes), |out| {
            out.write_all(&header)?;
            let mut hasher = blake3::Hasher::new();
            let encoded = self.encode(kind, threads, |_, piece| {
                hasher.update_rayon(&piece);
                out.write_all(&piece)
            });
            match encoded {
                Ok(()) => out.write_all(hasher.finalize().as_bytes()),
                Err(Stopped::Writing(error)) => Err(error),
                Err(Stopped::Matrix(error)) => {
                    failed = Some(error);
                    Err(std::io::Error::other("a matrix cannot be quantised"))
                }
            }
        });
        match failed {
            Some(error) => Err(error),
            None => Ok(written.err().map(|error| error.to_string())),
        }
    }
}

/// What `work` makes of each item, on so many threads.
fn in_parallel<T: Sync, R: Send>(threads: usize, items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let run = || {
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(at) else { return done };
            done.push((at, work(item)));
        }
    };
    let mut results: Vec<(usize, R)> = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads.min(items.len())).map(|_| scope.spawn(run)).collect();
        let mut all = run();
        for other in others {
            match other.join() {
                Ok(done) => all.extend(done),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        all
    });
    results.sort_by_key(|(at, _)| *at);
    results.into_iter().map(|(_, result)| result).collect()
}

/// The head of a cache file, its length first; `None` where a matrix cannot be in blocks.
fn header_of(kind: BlockType, matrices: &[Matrix]) -> Option<Vec<u8>> {
    let mut header = serde_json::Map::new();
    header.insert("__metadata__".into(), serde_json::json!({ "encoding": ENCODING, "blocks": kind.to_string() }));
    let sizes = matrices.iter().map(|matrix| Some((matrix.name.as_str(), matrix.block_bytes()?)));
    let mut start = 0;
    for size in sizes.chain([Some((HASH, HASH_BYTES))]) {
        let (name, size) = size?;
        let entry = serde_json::json!({ "dtype": "U8", "shape": [size], "data_offsets": [start, start + size] });
        header.insert(name.into(), entry);
        start += size;
    }
    let mut text = serde_json::Value::Object(header).to_string().into_bytes();
    text.resize(text.len().next_multiple_of(8), b' ');
    Some([&(text.len() as u64).to_le_bytes()[..], &text].concat())
}

fn hash_of(bytes: &[u8]) -> [u8; HASH_BYTES] {
    *blake3::Hasher::new().update_rayon(bytes).finalize().as_bytes()
}

/// The cache file of a base whose files have these hashes; `None` where no folder for caches is known.
pub fn cache_file<'a>(kind: BlockType, hashes: impl Iterator<Item = &'a str>) -> Option<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let dir = folder(FT_CACHE).or_else(|| {
        let of_user = folder("XDG_CACHE_HOME")
            .or_else(|| folder("LOCALAPPDATA"))
            .or_else(|| folder("HOME").map(|home| home.join(".cache")))?;
        Some(of_user.join("attune"))
    })?;
    let mut hasher = blake3::Hasher::new();
    hasher.update(format!("{ENCODING}\n{kind}\n").as_bytes());
    for hash in hashes {
        hasher.update(hash.as_bytes());
        hasher.update(b"\n");
    }
    let name = &hasher.finalize().to_hex()[..32];
    Some(dir.join("quantized").join(format!("{name}-{}.safetensors", kind.to_string().to_lowercase())))
}
