//! Files that may be packed.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use super::error::Error;

/// The most memory that unpacking an `.xz` file may take.
const XZ_LIMIT_KIB: u32 = 1 << 20;

/// Opens a file for reading and unpacks it on the way if its first bytes say that it is gzip, Zstandard, bzip2 or xz, whatever its name.
///
/// # Errors
/// [`Error::Read`].
pub fn open(path: &Path) -> Result<Box<dyn BufRead>, Error> {
    let failed = |source| Error::Read { path: path.to_path_buf(), source };
    let mut file = BufReader::with_capacity(1 << 16, File::open(path).map_err(failed)?);
    // One fill may be short on a pipe, but these are files.
    let head = file.fill_buf().map_err(failed)?;
    Ok(if head.starts_with(&[0x1f, 0x8b]) {
        buffered(flate2::bufread::MultiGzDecoder::new(file))
    } else if head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) || is_skippable(head) {
        buffered(Frames { source: file, frame: None })
    } else if head.starts_with(b"BZh") && matches!(head.get(3), Some(b'1'..=b'9')) {
        buffered(bzip2::bufread::MultiBzDecoder::new(file))
    } else if head.starts_with(&[0xfd, b'7', b'z', b'X', b'Z', 0]) {
        buffered(lzma_rust2::XzReader::new_mem_limit(file, true, XZ_LIMIT_KIB))
    } else {
        Box::new(file)
    })
}

fn buffered(unpacked: impl Read + 'static) -> Box<dyn BufRead> {
    Box::new(BufReader::with_capacity(1 << 16, unpacked))
}

/// Whether this is a frame of Zstandard that holds no data.
fn is_skippable(head: &[u8]) -> bool {
    matches!(head, [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..])
}

/// The frames of a Zstandard file, one after the other: parallel packers write many.
struct Frames<R: BufRead> {
    source: R,
    frame: Option<ruzstd::decoding::FrameDecoder>,
}

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
        if into.is_empty() {
            return Ok(0);
        }
        loop {
            let frame = match &mut self.frame {
                Some(frame) => frame,
                None => {
                    let head = self.source.fill_buf()?;
                    if head.is_empty() {
                        return Ok(0);
                    }
                    if is_skippable(head) {
                        skip_frame(&mut self.source)?;
                        continue;
                    }
                    let mut frame = FrameDecoder::new();
                    frame.init(&mut self.source).map_err(io::Error::other)?;
                    self.frame.insert(frame)
                }
            };
            while frame.can_collect() == 0 && !frame.is_finished() {
                frame
                    .decode_blocks(&mut self.source, BlockDecodingStrategy::UptoBlocks(1))
                    .map_err(io::Error::other)?;
            }
            let read = frame.read(into)?;
            if read > 0 {
                return Ok(read);
            }
            self.frame = None;
        }
    }
}

fn skip_frame(source: &mut impl BufRead) -> io::Result<()> {
    let mut head = [0; 8];
    source.read_exact(&mut head)?;
    let [.., a, b, c, d] = head;
    let length = u64::from(u32::from_le_bytes([a, b, c, d]));
    if io::copy(&mut source.take(length), &mut io::sink())? < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}
