//! A base in few bits: its linears encoded once, kept in a file of the cache, and mapped from there the next time.
//!
//! Embedding, head, norms and biases stay as they are. A cache file is a safetensors file of bytes (`U8`), one tensor per
//! linear, whose metadata has the type of the blocks and the BLAKE3 of all that follows the header. Its name is the hash
//! of the base's files, the type and `ENCODING`; it is read only when every byte of its header is what this base and
//! type make, and its contents have the hash.
//!
//! It lies in the folder that the variable `FT_CACHE` names, else in `attune` in the user's folder for caches
//! (`XDG_CACHE_HOME`, `~/.cache`, or what the system has for that), below `quantized`. Deleting it costs the time to make
//! it again.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use attune_compute::blocks::encode::{EncodeError, encode_nf4, encode_row};
use attune_compute::{BlockType, DType, Weight};
use attune_formats::files::write_atomic_with;
use attune_formats::tensors::MappedFile;

use crate::error::ModelError;
use crate::spec::Linear;
use crate::weights::BaseModel;

/// Changes whenever the same weights would be encoded to other bytes.
const ENCODING: &str = "attune-quantized-1";

/// Name of the variable for the folder of caches.
pub const FT_CACHE: &str = "FT_CACHE";

/// One linear in blocks.
struct Encoded {
    name: String,
    bytes: Vec<u8>,
}

/// A matrix in blocks, or the name of the one that cannot be, and why.
type EncodeResult = Result<Vec<u8>, (String, EncodeError)>;

impl BaseModel {
    /// The bytes that all weights take when the linears are in blocks of `kind`; `None` where a linear cannot be.
    pub fn quantized_bytes(&self, kind: BlockType) -> Option<u64> {
        let (mut plain, mut blocks) = (0, 0);
        for weight in self.linear_weights() {
            plain += weight.size_bytes() as u64;
            blocks += kind.matrix_bytes(weight.rows(), weight.cols())? as u64;
        }
        Some(self.size_bytes().saturating_sub(plain) + blocks)
    }

    /// This base with all linears of its layers in blocks of `kind`: from `cache` if that file has them, else encoded on
    /// so many threads and written there. Also gives a note for the user where the file could not be written: the blocks
    /// are in memory then.
    ///
    /// # Errors
    /// When a linear cannot be encoded, is in blocks already, or the base cannot be mapped again.
    pub fn quantized(
        self,
        kind: BlockType,
        threads: usize,
        cache: Option<&Path>,
    ) -> Result<(Self, Option<String>), ModelError> {
        let stored = self.named_linears().find_map(|(name, weight)| match weight.dtype() {
            DType::Block(kind) => Some((name, kind)),
            _ => None,
        });
        if let Some((name, kind)) = stored {
            let reason = format!("it is stored as {kind} already");
            return Err(ModelError::Quantize { dir: self.path().to_path_buf(), name, reason });
        }
        self.check_blocks(kind)?;
        if let Some(weights) = cache.and_then(|cache| self.read_cache(cache, kind)) {
            return Ok((self.with_linears(weights)?, None));
        }
        let encoded = self.encode(kind, threads)?;
        let note = match cache {
            None => Some("there is no folder for caches; set FT_CACHE to one".to_string()),
            Some(cache) => write_cache(cache, kind, &encoded).err().map(|error| error.to_string()),
        };
        // Mapped pages belong to the system's cache; those of the encoder would stay.
        let mapped = if note.is_none() { cache.and_then(|cache| self.map_cache(cache, kind, false)) } else { None };
        let weights = match mapped {
            Some(weights) => weights,
            None => self.in_memory(kind, encoded),
        };
        let note =
            note.map(|reason| format!("the quantised base stays in memory and is made again next time: {reason}"));
        Ok((self.with_linears(weights)?, note))
    }

    fn named_linears(&self) -> impl Iterator<Item = (String, &Weight)> {
        let names = (0..self.layers.len())
            .flat_map(|layer| Linear::ALL.map(|linear| format!("{}.weight", linear.module_name(layer))));
        names.zip(self.linear_weights())
    }

    /// Whether every linear can be in blocks of `kind`.
    ///
    /// # Errors
    /// [`ModelError::Quantize`] with the first that cannot.
    pub fn check_blocks(&self, kind: BlockType) -> Result<(), ModelError> {
        match self.named_linears().find(|(_, weight)| kind.matrix_bytes(weight.rows(), weight.cols()).is_none()) {
            None => Ok(()),
            Some((name, weight)) => {
                let cols = weight.cols();
                let reason = format!("its rows of {cols} values are not whole blocks of {} ({kind})", kind.block_len());
                Err(ModelError::Quantize { dir: self.path().to_path_buf(), name, reason })
            }
        }
    }

    /// Encodes all linears, each on one thread.
    fn encode(&self, kind: BlockType, threads: usize) -> Result<Vec<Encoded>, ModelError> {
        let linears: Vec<(String, &Weight)> = self.named_linears().collect();
        let next = AtomicUsize::new(0);
        let work = || {
            let mut done = Vec::new();
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some((name, weight)) = linears.get(at) else { break };
                done.push((at, encode_weight(kind, weight).map_err(|error| (name.clone(), error))));
            }
            done
        };
        let mut results: Vec<(usize, EncodeResult)> = std::thread::scope(|scope| {
            let others: Vec<_> = (1..threads.max(1)).map(|_| scope.spawn(work)).collect();
            let mut all = work();
            for other in others {
                match other.join() {
                    Ok(done) => all.extend(done),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            all
        });
        results.sort_by_key(|(at, _)| *at);
        results
            .into_iter()
            .map(|(at, result)| match result {
                Ok(bytes) => Ok(Encoded { name: linears[at].0.clone(), bytes }),
                Err((name, error)) => {
                    let reason = format!("{error} ({})", error.hint());
                    Err(ModelError::Quantize { dir: self.path().to_path_buf(), name, reason })
                }
            })
            .collect()
    }

    fn in_memory(&self, kind: BlockType, encoded: Vec<Encoded>) -> Vec<Weight> {
        let shapes = self.linear_weights().map(|weight| (weight.rows(), weight.cols()));
        shapes
            .zip(encoded)
            .map(|((rows, cols), Encoded { bytes, .. })| {
                let range = 0..bytes.len();
                Weight::new(DType::Block(kind), rows, cols, Arc::new(bytes), range)
            })
            .collect()
    }

    /// The base mapped anew, so that the pages of what was encoded are given back, with other linears.
    fn with_linears(self, weights: Vec<Weight>) -> Result<Self, ModelError> {
        let dir = self.path().to_path_buf();
        drop(self);
        let mut base = Self::load(&dir)?;
        let mut weights = weights.into_iter();
        for linear in base.layers.iter_mut().flat_map(|layer| &mut layer.linears) {
            let Some(weight) = weights.next() else { unreachable!("as many linears as there were") };
            linear.weight = weight;
        }
        Ok(base)
    }

    /// The linears in a cache file; `None` when there is no such file, or it is not exactly what belongs there.
    fn read_cache(&self, cache: &Path, kind: BlockType) -> Option<Vec<Weight>> {
        self.map_cache(cache, kind, true)
    }

    fn map_cache(&self, cache: &Path, kind: BlockType, verify: bool) -> Option<Vec<Weight>> {
        let file = Arc::new(MappedFile::open(cache).ok()?);
        let bytes: &[u8] = file.as_ref().as_ref();
        let header_bytes = usize::try_from(u64::from_le_bytes(*bytes.first_chunk()?)).ok()?;
        let end = header_bytes.checked_add(8)?;
        let header: serde_json::Value = serde_json::from_slice(bytes.get(8..end)?).ok()?;
        let stated = header.get("__metadata__")?.get("blake3")?.as_str()?.to_string();
        let sizes = self
            .named_linears()
            .map(|(name, weight)| kind.matrix_bytes(weight.rows(), weight.cols()).map(|size| (name, size)));
        let sizes: Vec<(String, usize)> = sizes.collect::<Option<_>>()?;
        let data = &bytes[end..];
        let expected_bytes: usize = sizes.iter().map(|(_, size)| size).sum();
        if bytes[..end] != header_of(kind, &stated, &sizes) || data.len() != expected_bytes {
            return None;
        }
        if verify && hash_of([data]) != stated {
            return None;
        }
        let mut start = end;
        let weights = self.linear_weights().zip(&sizes).map(|(weight, (_, size))| {
            let range = start..start + size;
            start = range.end;
            Weight::new(DType::Block(kind), weight.rows(), weight.cols(), Arc::clone(&file) as _, range)
        });
        Some(weights.collect())
    }
}

fn encode_weight(kind: BlockType, weight: &Weight) -> Result<Vec<u8>, EncodeError> {
    if kind == BlockType::Nf4 {
        return encode_nf4(weight.rows(), weight.cols(), &mut |row, out| weight.read_row(row, out));
    }
    let mut bytes = Vec::with_capacity(kind.matrix_bytes(weight.rows(), weight.cols()).unwrap_or(0));
    let mut values = vec![0.0; weight.cols()];
    for row in 0..weight.rows() {
        weight.read_row(row, &mut values);
        encode_row(kind, &values, &mut bytes)?;
    }
    Ok(bytes)
}

/// The head of a cache file, its length first.
fn header_of(kind: BlockType, blake3: &str, sizes: &[(String, usize)]) -> Vec<u8> {
    let mut header = serde_json::Map::new();
    let metadata = serde_json::json!({ "encoding": ENCODING, "blocks": kind.to_string(), "blake3": blake3 });
    header.insert("__metadata__".into(), metadata);
    let mut start = 0;
    for (name, size) in sizes {
        let entry = serde_json::json!({ "dtype": "U8", "shape": [size], "data_offsets": [start, start + size] });
        header.insert(name.clone(), entry);
        start += size;
    }
    let mut text = serde_json::Value::Object(header).to_string().into_bytes();
    text.resize(text.len().next_multiple_of(8), b' ');
    [&(text.len() as u64).to_le_bytes()[..], &text].concat()
}

fn hash_of<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hasher = blake3::Hasher::new();
    parts.into_iter().for_each(|part| {
        hasher.update_rayon(part);
    });
    hasher.finalize().to_hex().to_string()
}

fn write_cache(path: &Path, kind: BlockType, encoded: &[Encoded]) -> Result<(), ModelError> {
    if let Some(dir) = path.parent() {
        attune_formats::files::create_dir_all(dir)?;
    }
    let sizes: Vec<(String, usize)> = encoded.iter().map(|linear| (linear.name.clone(), linear.bytes.len())).collect();
    let hash = hash_of(encoded.iter().map(|linear| linear.bytes.as_slice()));
    let header = header_of(kind, &hash, &sizes);
    let size = header.len() + sizes.iter().map(|(_, size)| size).sum::<usize>();
    Ok(write_atomic_with(path, Some(size as u64), |out| {
        out.write_all(&header)?;
        encoded.iter().try_for_each(|linear| out.write_all(&linear.bytes))
    })?)
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
