//! The bytes of a file: counted, hashed, unpacked and, where a mark says so, turned into UTF-8.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::encoding::{Encoding, Transcoder};
use super::kind::Packing;
use crate::error::DataError;

/// Files below this size may unpack to any number of bytes.
const UNPACKED_UNQUESTIONED: u64 = 16 << 20;

/// What is held as a whole may be this many times as large as its packed file. Text shrinks to a third or a tenth; what
/// shrinks more than this was made to fill the memory.
const LARGEST_EXPANSION: u64 = 250;

/// How far a file was read, and the hash of what was read.
#[derive(Default)]
pub(crate) struct Progress {
    seen: AtomicU64,
    hasher: Mutex<blake3::Hasher>,
    /// The system failed, and not what unpacks.
    failed: AtomicBool,
}

impl Progress {
    pub(crate) fn seen(&self) -> u64 {
        self.seen.load(Ordering::Relaxed)
    }

    /// For readers that jump about in their file.
    pub(crate) fn set_seen(&self, bytes: u64) {
        self.seen.store(bytes, Ordering::Relaxed);
    }

    pub(crate) fn hash(&self) -> String {
        self.hasher.lock().unwrap_or_else(PoisonError::into_inner).finalize().to_hex().to_string()
    }

    fn add(&self, bytes: &[u8]) {
        self.hasher.lock().unwrap_or_else(PoisonError::into_inner).update(bytes);
        self.seen.fetch_add(bytes.len() as u64, Ordering::Relaxed);
    }

    /// Takes all of `file` in, from its head.
    pub(crate) fn take_in(&self, file: &mut dyn Read) -> io::Result<()> {
        self.set_seen(0);
        let mut buffer = vec![0; 1 << 18];
        loop {
            match file.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => self.add(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Reads through, counting and hashing.
struct Hashing<R> {
    inner: R,
    progress: Arc<Progress>,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(out).inspect_err(|error| {
            if error.kind() != io::ErrorKind::Interrupted {
                self.progress.failed.store(true, Ordering::Relaxed);
            }
        })?;
        self.progress.add(&out[..count]);
        Ok(count)
    }
}

/// Where bytes come from: a file, or the memory in tests.
pub(crate) enum Origin {
    File(File),
    Memory(Vec<u8>),
}

impl Origin {
    pub(crate) fn into_reader(self) -> Box<dyn Read + Send> {
        match self {
            Self::File(file) => Box::new(file),
            Self::Memory(bytes) => Box::new(Cursor::new(bytes)),
        }
    }
}

/// The text of a file. Without a byte order mark it is handed on as it stands, UTF-8 or not.
pub(crate) struct Source {
    pub(crate) path: Arc<Path>,
    pub(crate) reader: BufReader<Box<dyn Read + Send>>,
    progress: Arc<Progress>,
    packing: Packing,
    /// Bytes of the mark that was left out; 0 if the text was turned into UTF-8, because its offsets are its own.
    pub(crate) mark_bytes: u64,
    /// Whether lines end with a lone carriage return, as far as the head of the file shows.
    pub(crate) carriage_returns: bool,
}

impl Source {
    pub(crate) fn open(
        path: Arc<Path>,
        origin: Origin,
        packing: Packing,
        progress: Arc<Progress>,
    ) -> Result<Self, DataError> {
        let hashing = Hashing { inner: origin.into_reader(), progress: Arc::clone(&progress) };
        let unpacked: io::Result<Box<dyn Read + Send>> = match packing {
            Packing::None => Ok(Box::new(hashing)),
            Packing::Gzip => Ok(Box::new(flate2::read::MultiGzDecoder::new(hashing))),
            Packing::Zstd => zstd::stream::read::Decoder::new(hashing).map(|decoder| Box::new(decoder) as _),
        };
        let head = unpacked.and_then(|mut unpacked| {
            let mut head = Vec::with_capacity(8192);
            (&mut unpacked).take(8192).read_to_end(&mut head)?;
            Ok((unpacked, head))
        });
        let (unpacked, mut head) = head.map_err(|error| read_error(&path, packing, &progress, error))?;
        let (encoding, mark) = Encoding::of_mark(&head);
        let carriage_returns =
            !head.contains(&b'\n') && head.iter().position(|&byte| byte == b'\r').is_some_and(|at| at + 2 < head.len());
        head.drain(..mark);
        let whole = Cursor::new(head).chain(unpacked);
        let reader: Box<dyn Read + Send> = match encoding {
            Encoding::Utf8 => Box::new(whole),
            other => Box::new(Transcoder::new(whole, other)),
        };
        Ok(Self {
            path,
            reader: BufReader::with_capacity(1 << 18, reader),
            progress,
            packing,
            mark_bytes: if encoding == Encoding::Utf8 { mark as u64 } else { 0 },
            carriage_returns,
        })
    }

    /// An error of the reader, with the file's name.
    pub(crate) fn error(&self, error: io::Error) -> DataError {
        read_error(&self.path, self.packing, &self.progress, error)
    }

    /// All of the text, `keep` bytes of it at most, and its length in bytes. `most` is the length beyond which a file
    /// is refused.
    pub(crate) fn read_whole(&mut self, keep: u64, most: u64) -> Result<(Vec<u8>, u64), DataError> {
        let (mut bytes, mut length) = (Vec::new(), 0u64);
        loop {
            let chunk = match self.reader.fill_buf() {
                Ok(chunk) => chunk,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.error(error)),
            };
            if chunk.is_empty() {
                return Ok((bytes, length));
            }
            let count = chunk.len();
            if length < keep {
                let room = usize::try_from(keep - length).unwrap_or(usize::MAX);
                bytes.extend_from_slice(&chunk[..count.min(room)]);
            }
            self.reader.consume(count);
            length += count as u64;
            if length > most {
                return Err(DataError::DocumentTooLarge { path: self.path.to_path_buf(), bytes: length, limit: most });
            }
            if self.packing != Packing::None
                && length > UNPACKED_UNQUESTIONED
                && length / LARGEST_EXPANSION > self.progress.seen()
            {
                return Err(DataError::Expansion { path: self.path.to_path_buf(), times: LARGEST_EXPANSION });
            }
        }
    }
}

fn read_error(path: &Path, packing: Packing, progress: &Progress, source: io::Error) -> DataError {
    if packing == Packing::None || progress.failed.load(Ordering::Relaxed) {
        DataError::Read { path: path.into(), source }
    } else {
        DataError::Damaged { path: path.into(), reason: format!("it cannot be unpacked: {source}") }
    }
}
