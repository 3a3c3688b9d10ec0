//! A static embedding model.

use std::fs;
use std::path::Path;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use tokenizers::Tokenizer;

use super::super::Error;

/// Vectors are no longer than this.
const LARGEST_SIZE: usize = 1 << 14;
/// Bytes of a text that are cut into tokens at a time; a tokenizer needs a hundred times as much memory.
const PIECE: usize = 1 << 16;

/// A vector for every token.
pub struct Model {
    tokenizer: Tokenizer,
    size: usize,
    /// Tokens x size, weights included.
    vectors: Vec<f32>,
    unknown: Option<u32>,
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Model").field("tokens", &(self.vectors.len() / self.size)).field("size", &self.size).finish()
    }
}

impl Model {
    /// Reads `model.safetensors` and `tokenizer.json` of a folder.
    ///
    /// # Errors
    /// If a file is missing, or is not what it should be.
    pub fn load(folder: &Path) -> Result<Self, Error> {
        let path = folder.join("model.safetensors");
        let broken = |reason: String| Error::Model { path: path.clone(), reason };
        let bytes = fs::read(&path).map_err(|source| Error::ModelFile { path: path.clone(), source })?;
        let file = SafeTensors::deserialize(&bytes).map_err(|error| broken(error.to_string()))?;
        let embeddings = file.tensor("embeddings").map_err(|_| broken("there is no tensor `embeddings`".to_owned()))?;
        let &[rows, size] = embeddings.shape() else {
            return Err(broken(format!("`embeddings` has the shape {:?}, not [tokens, size]", embeddings.shape())));
        };
        if rows == 0 || size == 0 || size > LARGEST_SIZE {
            return Err(broken(format!("`embeddings` has the shape {:?}", embeddings.shape())));
        }
        let mut vectors = floats(&embeddings).map_err(|reason| broken(format!("`embeddings`: {reason}")))?;
        if let Some(bad) = vectors.iter().position(|value| !value.is_finite()) {
            return Err(broken(format!("`embeddings` holds {} in row {}", vectors[bad], bad / size)));
        }
        if let Ok(mapping) = file.tensor("mapping") {
            let mapping = integers(&mapping).map_err(|reason| broken(format!("`mapping`: {reason}")))?;
            let mut mapped = Vec::with_capacity(mapping.len().saturating_mul(size));
            for row in mapping {
                let row = usize::try_from(row)
                    .ok()
                    .filter(|&row| row < rows)
                    .ok_or_else(|| broken(format!("`mapping` names row {row} of {rows}")))?;
                mapped.extend_from_slice(&vectors[row * size..(row + 1) * size]);
            }
            vectors = mapped;
        }
        if let Ok(weights) = file.tensor("weights") {
            let weights = floats(&weights).map_err(|reason| broken(format!("`weights`: {reason}")))?;
            if weights.len() * size != vectors.len() {
                return Err(broken(format!(
                    "`weights` has {} entries for {} tokens",
                    weights.len(),
                    vectors.len() / size
                )));
            }
            for (vector, weight) in vectors.chunks_exact_mut(size).zip(weights) {
                vector.iter_mut().for_each(|value| *value *= weight);
            }
        }

        let path = folder.join("tokenizer.json");
        let json = fs::read(&path).map_err(|source| Error::ModelFile { path: path.clone(), source })?;
        let broken = |reason: String| Error::Model { path: path.clone(), reason };
        let mut tokenizer = Tokenizer::from_bytes(&json).map_err(|error| broken(error.to_string()))?;
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(|error| broken(error.to_string()))?;
        let largest = tokenizer.get_vocab(true).into_values().max().unwrap_or(0);
        if largest as usize >= vectors.len() / size {
            return Err(broken(format!("token {largest} has no vector; there are {}", vectors.len() / size)));
        }
        let unknown = unknown_token(&json).and_then(|token| tokenizer.token_to_id(&token));
        Ok(Self { tokenizer, size, vectors, unknown })
    }

    /// The length of the vectors.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The mean of the vectors of a text's tokens, brought to length one; zeros if there is none.
    pub(super) fn embed(&self, text: &str, mean: &mut Vec<f32>) -> Result<(), String> {
        let mut sums = vec![0.0_f64; self.size];
        let mut rest = text;
        while !rest.is_empty() {
            let piece = &rest[..piece_end(rest)];
            let encoding = self.tokenizer.encode_fast(piece, false).map_err(|error| error.to_string())?;
            for &token in encoding.get_ids().iter().filter(|&&token| Some(token) != self.unknown) {
                let start = token as usize * self.size;
                let vector =
                    self.vectors.get(start..start + self.size).ok_or_else(|| format!("token {token} has no vector"))?;
                sums.iter_mut().zip(vector).for_each(|(sum, &value)| *sum += f64::from(value));
            }
            rest = &rest[piece.len()..];
        }
        let length = sums.iter().map(|value| value * value).sum::<f64>().sqrt();
        mean.clear();
        // A length of next to nothing has no direction.
        let scale = if length > 1e-12 { length.recip() } else { 0.0 };
        mean.extend(sums.iter().map(|value| (value * scale) as f32));
        Ok(())
    }
}

/// Where the next piece of a long text ends: behind white space, if there is any.
fn piece_end(text: &str) -> usize {
    if text.len() <= PIECE {
        return text.len();
    }
    let end = text.floor_char_boundary(PIECE);
    text[..end].rfind(char::is_whitespace).filter(|&at| at > 0).unwrap_or(end)
}

/// The token for what the vocabulary does not have.
fn unknown_token(json: &[u8]) -> Option<String> {
    let json: serde_json::Value = serde_json::from_slice(json).ok()?;
    let model = json.get("model")?;
    if let Some(token) = model.get("unk_token").and_then(|token| token.as_str()) {
        return Some(token.to_owned());
    }
    let id = usize::try_from(model.get("unk_id")?.as_u64()?).ok()?;
    model.get("vocab")?.get(id)?.get(0)?.as_str().map(str::to_owned)
}

fn floats(tensor: &TensorView<'_>) -> Result<Vec<f32>, String> {
    let data = tensor.data();
    Ok(match tensor.dtype() {
        Dtype::F32 => words::<4>(data).map(f32::from_le_bytes).collect(),
        Dtype::F64 => words::<8>(data).map(|bytes| f64::from_le_bytes(bytes) as f32).collect(),
        Dtype::F16 => words::<2>(data).map(|bytes| half::f16::from_le_bytes(bytes).to_f32()).collect(),
        Dtype::BF16 => words::<2>(data).map(|bytes| half::bf16::from_le_bytes(bytes).to_f32()).collect(),
        Dtype::I8 => data.iter().map(|&byte| f32::from(byte as i8)).collect(),
        other => return Err(format!("{other:?} is not supported")),
    })
}

fn integers(tensor: &TensorView<'_>) -> Result<Vec<i64>, String> {
    let data = tensor.data();
    Ok(match tensor.dtype() {
        Dtype::I64 => words::<8>(data).map(i64::from_le_bytes).collect(),
        Dtype::I32 => words::<4>(data).map(|bytes| i64::from(i32::from_le_bytes(bytes))).collect(),
        other => return Err(format!("{other:?} is not supported")),
    })
}

fn words<const N: usize>(data: &[u8]) -> impl Iterator<Item = [u8; N]> + '_ {
    data.as_chunks::<N>().0.iter().copied()
}
