//! Rows through an encoder into a file: several threads compute, one writes, and none waits for another longer than it must.
//!
//! A file's tensors are cut into pieces of some rows, small enough to stay in a core's cache from the base's bytes to the
//! file's. Piece n belongs to thread n modulo their number, and each thread hands its pieces over in order, so the writer
//! takes them in the order of the file, and no bit of it depends on how many threads there are.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::available_parallelism;

use attune_compute::blocks::Affine;
use attune_compute::blocks::encode::{AffineParts, EncodeError, encode_affine_row, encode_row};
use attune_compute::{Backend, BlockType, DType, Tensor};

use crate::error::ExportError;
use crate::floats::{FloatType, round_into};
use crate::tensors::{ExportTensor, RowReader, Values};

/// Values of a piece: with the adapter's change beside them a MiB of `f32`, what a second-level cache holds.
const PIECE_VALUES: usize = 128 << 10;

/// Pieces of each thread that wait for the writer, so that a slow moment of one side does not stop the other.
const PIECES_AHEAD: usize = 8;

/// How a tensor is written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Encoding {
    pub(crate) dtype: DType,
    /// Rows of a head whose halves are stored as pairs, as GGUF files of architecture `llama` have them.
    pub(crate) interleaved: Option<usize>,
}

impl Encoding {
    pub(crate) fn plain(float: FloatType) -> Self {
        Self { dtype: float.into(), interleaved: None }
    }
}

/// A tensor and how it is written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Job<'a> {
    pub(crate) tensor: &'a ExportTensor<'a>,
    pub(crate) encoding: Encoding,
}

impl Job<'_> {
    /// The bytes of a tensor that is not changed.
    fn copied(&self) -> Option<&[u8]> {
        let Values::Matrix(weight) = self.tensor.values else { return None };
        let same = weight.dtype() == self.encoding.dtype && weight.interleaved() == self.encoding.interleaved;
        (same && self.tensor.module.is_none()).then(|| weight.bytes())
    }

    /// Its affine groups, if it is written in such.
    fn affine(&self) -> Option<Affine> {
        match self.encoding.dtype {
            DType::Block(BlockType::Affine(affine)) => Some(affine),
            _ => None,
        }
    }

    /// First row and number of rows of each piece. Heads stay whole where their rows change places.
    fn pieces(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let (rows, cols) = self.tensor.matrix_shape();
        let rows = if self.copied().is_some() { 0 } else { rows };
        let multiple = if rows == 1 { 1 } else { self.encoding.interleaved.unwrap_or(1) };
        let step = (PIECE_VALUES / cols.max(1)).clamp(1, rows.max(1)).next_multiple_of(multiple);
        (0..rows).step_by(step).map(move |first| (first, step.min(rows - first)))
    }
}

/// Rows that are computed together.
#[derive(Debug, Clone, Copy)]
struct Piece {
    job: usize,
    first: usize,
    rows: usize,
}

/// Calls `write` while threads compute ahead of it; it must take the jobs in their order, with [`Encoded::write_next`].
/// Every thread uses the backend, whose own threads would only be in the way: one that works on its caller's is best.
pub(crate) fn encode_ahead<T>(jobs: &[Job], backend: &dyn Backend, write: impl FnOnce(&mut Encoded<'_>) -> T) -> T {
    encode_with(jobs, backend, available_parallelism().map_or(1, usize::from), write)
}

fn encode_with<T>(jobs: &[Job], backend: &dyn Backend, threads: usize, write: impl FnOnce(&mut Encoded<'_>) -> T) -> T {
    let pieces_of =
        |(index, job): (usize, &Job)| job.pieces().map(move |(first, rows)| Piece { job: index, first, rows });
    let pieces: Vec<Piece> = jobs.iter().enumerate().flat_map(pieces_of).collect();
    let threads = threads.clamp(1, pieces.len().max(1));
    std::thread::scope(|scope| {
        let lane = |thread: usize| {
            let (sender, encoded) = sync_channel(PIECES_AHEAD);
            let (give_back, used) = channel();
            let own = pieces.iter().copied().skip(thread).step_by(threads);
            scope.spawn(move || encode_pieces(jobs, own, backend, &sender, &used));
            Lane { encoded, give_back }
        };
        let lanes = (0..threads).map(lane).collect();
        // Dropped when writing is over, which ends threads that still compute.
        write(&mut Encoded { jobs, pieces: &pieces, lanes, next_job: 0, next_piece: 0, tails: Default::default() })
    })
}

/// What the writer shares with a thread.
struct Lane {
    encoded: Receiver<Result<Vec<u8>, ExportError>>,
    /// Memory that was written out, to be filled again.
    give_back: Sender<Vec<u8>>,
}

/// Tensors whose bytes are computed ahead.
pub(crate) struct Encoded<'a> {
    jobs: &'a [Job<'a>],
    pieces: &'a [Piece],
    lanes: Vec<Lane>,
    next_job: usize,
    next_piece: usize,
    /// Scales and biases of the last job, if it has affine groups.
    tails: [Vec<u8>; 2],
}

impl Encoded<'_> {
    /// Writes the bytes of the next job, of affine groups the codes; the inner error says why a value cannot be written.
    pub(crate) fn write_next(&mut self, out: &mut dyn Write) -> io::Result<Result<(), ExportError>> {
        let job = self.next_job;
        self.next_job += 1;
        self.tails.iter_mut().for_each(Vec::clear);
        if let Some(bytes) = self.jobs[job].copied() {
            if let Values::Matrix(weight) = self.jobs[job].tensor.values
                && let Some(tails) = weight.affine_tails()
            {
                self.tails = tails.map(<[u8]>::to_vec);
            }
            return out.write_all(bytes).map(Ok);
        }
        let affine = self.jobs[job].affine();
        let (_, cols) = self.jobs[job].tensor.matrix_shape();
        while self.pieces.get(self.next_piece).is_some_and(|piece| piece.job == job) {
            let lane = &self.lanes[self.next_piece % self.lanes.len()];
            let rows = self.pieces[self.next_piece].rows;
            self.next_piece += 1;
            // A thread that panicked passes its panic on when the scope ends.
            let encoded = lane.encoded.recv().map_err(|_| io::Error::other("a thread has stopped"))?;
            let bytes = match encoded {
                Ok(bytes) => bytes,
                Err(refused) => return Ok(Err(refused)),
            };
            match affine.and_then(|affine| affine.parts(rows, cols)) {
                None => out.write_all(&bytes)?,
                Some([codes, scales, biases]) => {
                    out.write_all(&bytes[codes])?;
                    self.tails[0].extend_from_slice(&bytes[scales]);
                    self.tails[1].extend_from_slice(&bytes[biases]);
                }
            }
            // Nobody takes it when that was the thread's last piece.
            let _ = lane.give_back.send(bytes);
        }
        Ok(Ok(()))
    }

    /// Scales and biases of the job that was written last; empty if it has no affine groups.
    pub(crate) fn tails(&self) -> [&[u8]; 2] {
        self.tails.each_ref().map(Vec::as_slice)
    }
}

/// What a thread does until its pieces are done, a value is refused, or nobody receives any more.
fn encode_pieces<'a>(
    jobs: &[Job<'a>],
    pieces: impl Iterator<Item = Piece>,
    backend: &dyn Backend,
    sender: &SyncSender<Result<Vec<u8>, ExportError>>,
    used: &Receiver<Vec<u8>>,
) {
    let mut reader: Option<(usize, RowReader<'a>)> = None;
    for piece in pieces {
        let Job { tensor, encoding } = jobs[piece.job];
        let reader = match &mut reader {
            Some((job, reader)) if *job == piece.job => reader,
            other => &mut other.insert((piece.job, RowReader::new(tensor))).1,
        };
        let mut rows = reader.read(backend, piece.first, piece.rows);
        if let Some(head_dim) = encoding.interleaved {
            rows = interleave(&rows, head_dim);
        }
        let mut bytes = used.try_recv().unwrap_or_default();
        bytes.clear();
        let encoded = encode(&rows, encoding.dtype, &mut bytes).map_err(|index| ExportError::Overflow {
            tensor: tensor.name.clone(),
            index: piece.first * rows.cols() + index,
            value: rows.data()[index],
            dtype: dtype_name(encoding.dtype),
        });
        let refused = encoded.is_err();
        if sender.send(encoded.map(|()| bytes)).is_err() || refused {
            return;
        }
    }
}

/// The rows of whole heads, halves to pairs. A vector counts as one row of whole heads.
fn interleave(rows: &Tensor, head_dim: usize) -> Tensor {
    let (count, cols) = if rows.rows() == 1 { (rows.cols(), 1) } else { (rows.rows(), rows.cols()) };
    let mut out = Tensor::unset(DType::F32, rows.rows(), rows.cols());
    let data = out.data_mut();
    for row in 0..count {
        let to = attune_formats::gguf::permute::stored_row(row, head_dim);
        data[to * cols..][..cols].copy_from_slice(&rows.data()[row * cols..][..cols]);
    }
    out
}

/// Appends the bytes of rows in a type, or says the index of the first value that it cannot hold.
fn encode(rows: &Tensor, dtype: DType, out: &mut Vec<u8>) -> Result<(), usize> {
    match (FloatType::of(dtype), dtype) {
        (Some(float), _) => round_into(rows.data(), float, out),
        (None, DType::Block(BlockType::Affine(affine))) => encode_affine(rows, affine, out),
        (None, DType::Block(kind)) => encode_blocks(rows, kind, out),
        (None, other) => unreachable!("{other:?} is a type of floats"),
    }
}

fn encode_blocks(rows: &Tensor, kind: BlockType, out: &mut Vec<u8>) -> Result<(), usize> {
    let cols = rows.cols();
    let Some(row_bytes) = kind.row_bytes(cols) else { panic!("rows of {cols} values as {kind}") };
    out.reserve_exact(rows.rows() * row_bytes);
    for (row, values) in rows.data().chunks_exact(cols).enumerate() {
        encode_row(kind, values, out).map_err(|error| row * cols + bad_value(error))?;
    }
    Ok(())
}

/// The codes of all rows, then their scales, then their biases.
fn encode_affine(rows: &Tensor, affine: Affine, out: &mut Vec<u8>) -> Result<(), usize> {
    let cols = rows.cols();
    let mut parts = AffineParts { codes: std::mem::take(out), ..AffineParts::default() };
    for (row, values) in rows.data().chunks_exact(cols).enumerate() {
        encode_affine_row(affine, values, &mut parts).map_err(|error| row * cols + bad_value(error))?;
    }
    *out = parts.codes;
    out.extend_from_slice(&parts.scales);
    out.extend_from_slice(&parts.biases);
    Ok(())
}

/// The index of the value that cannot be encoded.
fn bad_value(error: EncodeError) -> usize {
    match error {
        EncodeError::NotFinite { index, .. } | EncodeError::TooLarge { index, .. } => index,
        error => panic!("{error}"),
    }
}

fn dtype_name(dtype: DType) -> String {
    match dtype {
        DType::Block(kind) => kind.to_string(),
        other => FloatType::of(other).map_or_else(String::new, |float| float.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use attune_compute::cpu::Cpu;
    use attune_compute::{Weight, rng};
    use attune_model::{Adapter, AdapterModule, AdapterSpec, DecoderSpec, LayerChoice, Linear, Targets};

    use super::*;

    fn drawn(key: u64, count: usize) -> Vec<f32> {
        (0..count as u64).map(|i| rng::uniform_f32(rng::key(&[key, i])) - 0.5).collect()
    }

    fn written(jobs: &[Job], threads: usize) -> Result<Vec<u8>, ExportError> {
        let backend = Cpu::new(Some(1)).expect("a processor");
        encode_with(jobs, &backend, threads, |encoded| {
            let mut out = Vec::new();
            for _ in jobs {
                encoded.write_next(&mut out).expect("memory")?;
            }
            Ok(out)
        })
    }

    /// Of a query projection with 1000 rows and 512 columns.
    fn module() -> AdapterModule {
        let scratch = tempfile::tempdir().expect("a folder");
        let config = serde_json::json!({
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 512, "intermediate_size": 8,
            "num_hidden_layers": 1, "num_attention_heads": 10, "num_key_value_heads": 1, "head_dim": 100,
            "hidden_act": "silu", "max_position_embeddings": 64, "vocab_size": 8, "rms_norm_eps": 1e-5,
        });
        let path = scratch.path().join("config.json");
        attune_formats::files::write_atomic(&path, config.to_string().as_bytes()).expect("a file");
        let spec = DecoderSpec::read(scratch.path()).expect("a model");
        let wanted = AdapterSpec {
            rank: 4,
            alpha: 2.0,
            dropout: 0.0,
            targets: Targets::AllLinear,
            layers: LayerChoice::All,
            rank_pattern: BTreeMap::new(),
            alpha_pattern: BTreeMap::new(),
            use_rslora: false,
            use_dora: false,
        };
        let adapter = Adapter::shaped(&spec, &wanted).expect("an adapter");
        let mut module = adapter.modules[adapter.position(0, Linear::Q).expect("a module")].clone();
        module.a = drawn(3, module.a.len());
        module.b = drawn(4, module.b.len());
        module
    }

    #[test]
    fn any_number_of_threads_writes_the_same_bytes() {
        // Some pieces each, with a short one at the end; two that are copied between them; a vector.
        let module = module();
        let (rows, cols, rank) = (1000, 512, module.rank);
        let weight = Weight::from_f32(rows, cols, &drawn(1, rows * cols));
        let heads = Weight::from_f32(64, cols, &drawn(2, 64 * cols));
        let gain = drawn(5, 33);
        let matrix = |weight, module| ExportTensor { name: "w".into(), values: Values::Matrix(weight), module };
        let tensors = [
            matrix(&weight, Some(&module)),
            matrix(&weight, None),
            matrix(&heads, None),
            ExportTensor { name: "v".into(), values: Values::Vector(&gain), module: None },
            matrix(&weight, None),
        ];
        let encodings = [
            Encoding::plain(FloatType::Bf16),
            Encoding::plain(FloatType::F32),
            Encoding { dtype: DType::F32, interleaved: Some(64) },
            Encoding::plain(FloatType::F32),
            Encoding { dtype: DType::Block(BlockType::Q8_0), interleaved: None },
        ];
        let jobs: Vec<Job> = tensors.iter().zip(encodings).map(|(tensor, encoding)| Job { tensor, encoding }).collect();
        let alone = written(&jobs, 1).expect("finite values");
        assert_eq!(alone.len(), rows * cols * 2 + rows * cols * 4 + 64 * cols * 4 + 33 * 4 + rows * cols / 32 * 34);
        for threads in [2, 3, 7, 100] {
            assert!(written(&jobs, threads).expect("finite values") == alone, "{threads} threads");
        }
        // Independent of pieces: a value in the middle of the third.
        let at = 700 * cols + 77;
        let sum: f32 = (0..rank).map(|r| module.b[700 * rank + r] * module.scale * module.a[r * cols + 77]).sum();
        let expected = weight.at(700, 77) + sum;
        let got = half::bf16::from_le_bytes([alone[2 * at], alone[2 * at + 1]]).to_f32();
        assert!((got - expected).abs() < 0.005 * expected.abs().max(0.1), "{got} instead of {expected}");
    }

    #[test]
    fn the_first_value_that_does_not_fit_is_named_and_nothing_hangs() {
        let (rows, cols) = (4000, 256);
        let mut values = drawn(1, rows * cols);
        values[1500 * cols + 9] = f32::INFINITY;
        values[3900 * cols] = f32::NAN;
        let weight = Weight::from_f32(rows, cols, &values);
        let tensor = ExportTensor { name: "w".into(), values: Values::Matrix(&weight), module: None };
        for dtype in [DType::F16, DType::Bf16, DType::Block(BlockType::Q4K)] {
            let job = Job { tensor: &tensor, encoding: Encoding { dtype, interleaved: None } };
            for threads in [1, 2, 5] {
                let Err(ExportError::Overflow { index, .. }) = written(&[job], threads) else {
                    panic!("{dtype:?} holds an infinity")
                };
                assert_eq!(index, 1500 * cols + 9, "{dtype:?}");
            }
        }
    }

    #[test]
    fn a_writer_that_stops_ends_the_threads() {
        let weight = Weight::from_f32(4000, 256, &drawn(1, 4000 * 256));
        let tensor = ExportTensor { name: "w".into(), values: Values::Matrix(&weight), module: None };
        let job = Job { tensor: &tensor, encoding: Encoding::plain(FloatType::F16) };
        let backend = Cpu::new(Some(1)).expect("a processor");
        encode_with(&[job], &backend, 2, |_| ());
        let full = encode_with(&[job], &backend, 2, |encoded| encoded.write_next(&mut &mut [0; 100][..]).is_err());
        assert!(full);
    }

    #[test]
    fn heads_are_interleaved_row_by_row_and_value_by_value() {
        let rows = Tensor::from_vec(4, 2, vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
        assert_eq!(interleave(&rows, 4).data(), [0.0, 1.0, 4.0, 5.0, 2.0, 3.0, 6.0, 7.0]);
        let bias = Tensor::from_vec(1, 4, vec![0.0, 1.0, 2.0, 3.0]);
        assert_eq!(interleave(&bias, 4).data(), [0.0, 2.0, 1.0, 3.0]);
    }

    #[test]
    fn a_value_that_blocks_cannot_hold_is_found() {
        let mut values = vec![0.5; 3 * 64];
        values[64 + 40] = f32::INFINITY;
        let rows = Tensor::from_vec(3, 64, values);
        assert_eq!(encode(&rows, DType::Block(BlockType::Q8_0), &mut Vec::new()), Err(104));
    }
}
