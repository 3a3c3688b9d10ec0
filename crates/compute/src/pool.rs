//! Memory of the tensors: blocks that return to a pool when their tensor is dropped.
//!
//! A training step makes the same tensors again and again. Fresh memory costs a page fault per 4 KiB, and returning it to
//! the system costs as much again, so the pool keeps what it got: after the first step it asks for nothing more. It
//! maps chunks of anonymous memory, on huge pages where the system has them, hands out the smallest free piece that
//! fits, and joins neighbours when pieces come back. Pages are counted by the system when they are first touched, so
//! the size of a chunk costs address space alone.
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::ptr::NonNull;
use std::sync::{Mutex, MutexGuard, PoisonError};

use memmap2::{MmapMut, MmapOptions};

/// Pieces begin at and are a multiple of a cache line.
const LINE_BYTES: usize = 64;

/// Size of a chunk, where no single piece needs more.
const CHUNK_BYTES: usize = 256 << 20;

/// What the pool holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PoolStats {
    /// Bytes in tensors now.
    pub used_bytes: usize,
    /// The most bytes that were in tensors at a time since [`reset_peak`].
    pub peak_bytes: usize,
    /// Bytes up to the highest address ever handed out, over all chunks: what the system may count as resident.
    pub touched_bytes: usize,
}

struct Chunk {
    map: MmapMut,
    /// Free pieces: length by offset. Neighbours are joined, so no two touch.
    free: BTreeMap<usize, usize>,
    /// Bytes below the highest end of any piece that was handed out.
    touched: usize,
}

struct Pool {
    chunks: Vec<Chunk>,
    stats: PoolStats,
}

static POOL: Mutex<Pool> =
    Mutex::new(Pool { chunks: Vec::new(), stats: PoolStats { used_bytes: 0, peak_bytes: 0, touched_bytes: 0 } });

/// A panic between two lines of bookkeeping is not possible without memory corruption, so a poisoned lock is no news.
fn lock() -> MutexGuard<'static, Pool> {
    POOL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the pool holds now.
pub fn stats() -> PoolStats {
    lock().stats
}

/// Starts a new measurement of [`PoolStats::peak_bytes`].
pub fn reset_peak() {
    let mut pool = lock();
    pool.stats.peak_bytes = pool.stats.used_bytes;
}

/// Memory of the pool that belongs to its holder until it is dropped. Its bytes are initialised, with whatever the
/// holder before left there.
pub(crate) struct Block {
    start: NonNull<u8>,
    bytes: usize,
    chunk: usize,
}

// SAFETY: a block is the only way to its bytes, as a `Box<[u8]>` would be.
unsafe impl Send for Block {}
// SAFETY: shared references only read.
unsafe impl Sync for Block {}

impl Block {
    /// At least `bytes` bytes, aligned to a cache line.
    ///
    /// # Panics
    /// When the system has no more memory, as every allocation of Rust does.
    pub(crate) fn new(bytes: usize) -> Self {
        let bytes = bytes.max(1).next_multiple_of(LINE_BYTES);
        let mut pool = lock();
        let (chunk, offset) = pool.take(bytes);
        // SAFETY: the piece lies inside the chunk's mapping, which is never unmapped or moved.
        let start = unsafe { NonNull::new_unchecked(pool.chunks[chunk].map.as_mut_ptr().add(offset)) };
        Self { start, bytes, chunk }
    }

    /// The first byte.
    pub(crate) fn as_ptr(&self) -> *mut u8 {
        self.start.as_ptr()
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let mut pool = lock();
        let base = pool.chunks[self.chunk].map.as_ptr() as usize;
        let offset = self.start.as_ptr() as usize - base;
        pool.give_back(self.chunk, offset, self.bytes);
    }
}

impl Pool {
    /// The smallest free piece that fits; among equals the one at the lowest address, so that touched memory is used
    /// again first.
    fn take(&mut self, bytes: usize) -> (usize, usize) {
        let fitting = self.chunks.iter().enumerate().flat_map(|(index, chunk)| {
            chunk.free.iter().filter(|(_, length)| **length >= bytes).map(move |(&offset, &length)| {
                // The untouched end of a chunk is the last choice: it is no smaller than it looks, but new.
                (offset + bytes > chunk.touched, length, index, offset)
            })
        });
        let (index, offset) = match fitting.min() {
            Some((_, _, index, offset)) => (index, offset),
            None => (self.grow(bytes), 0),
        };
        let chunk = &mut self.chunks[index];
        let length = chunk.free.remove(&offset).unwrap_or_else(|| unreachable!("a free piece at {offset}"));
        if length > bytes {
            chunk.free.insert(offset + bytes, length - bytes);
        }
        let end = offset + bytes;
        self.stats.touched_bytes += end.saturating_sub(chunk.touched);
        chunk.touched = chunk.touched.max(end);
        self.stats.used_bytes += bytes;
        self.stats.peak_bytes = self.stats.peak_bytes.max(self.stats.used_bytes);
        (index, offset)
    }

    fn grow(&mut self, bytes: usize) -> usize {
        let length = bytes.max(CHUNK_BYTES);
        let map = MmapOptions::new()
            .len(length)
            .map_anon()
            .unwrap_or_else(|error| panic!("no memory for {length} bytes of tensors: {error}"));
        // Pages of 2 MiB: 512 times fewer faults, and the tables of addresses stay in cache. Where the system refuses,
        // small pages do as well, only slower.
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        self.chunks.push(Chunk { map, free: BTreeMap::from([(0, length)]), touched: 0 });
        self.chunks.len() - 1
    }

    fn give_back(&mut self, chunk: usize, offset: usize, bytes: usize) {
        self.stats.used_bytes -= bytes;
        let free = &mut self.chunks[chunk].free;
        let (mut start, mut length) = (offset, bytes);
        if let Some(after) = free.remove(&(offset + bytes)) {
            length += after;
        }
        if let Some((&before, &before_length)) = free.range(..offset).next_back()
            && before + before_length == offset
        {
            free.remove(&before);
            (start, length) = (before, before_length + length);
        }
        free.insert(start, length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn empty() -> Pool {
        Pool { chunks: Vec::new(), stats: PoolStats::default() }
    }

    #[test]
    fn pieces_come_back_and_are_joined() {
        let mut pool = empty();
        let pieces: Vec<(usize, usize)> = [100, 200, 300].map(|lines| pool.take(lines * LINE_BYTES)).to_vec();
        assert_eq!(pieces, [(0, 0), (0, 100 * LINE_BYTES), (0, 300 * LINE_BYTES)]);
        assert_eq!(pool.stats.used_bytes, 600 * LINE_BYTES);
        pool.give_back(0, 0, 100 * LINE_BYTES);
        pool.give_back(0, 300 * LINE_BYTES, 300 * LINE_BYTES);
        assert_eq!(pool.chunks[0].free.len(), 2, "a hole and the end");
        pool.give_back(0, 100 * LINE_BYTES, 200 * LINE_BYTES);
        assert_eq!(pool.chunks[0].free, BTreeMap::from([(0, CHUNK_BYTES)]));
        let stats = pool.stats;
        assert_eq!((stats.used_bytes, stats.peak_bytes, stats.touched_bytes), (0, 600 * LINE_BYTES, 600 * LINE_BYTES));
    }

    #[test]
    fn the_smallest_hole_that_fits_is_taken_before_fresh_memory() {
        let mut pool = empty();
        let (large, _, small, _) = (pool.take(6400), pool.take(64), pool.take(1280), pool.take(64));
        pool.give_back(0, large.1, 6400);
        pool.give_back(0, small.1, 1280);
        assert_eq!(pool.take(1024), small);
        assert_eq!(pool.take(1024).1, large.1);
        let touched = pool.stats.touched_bytes;
        assert_eq!(touched, 6400 + 64 + 1280 + 64);
    }

    #[test]
    fn a_piece_larger_than_a_chunk_gets_one_of_its_own() {
        let mut pool = empty();
        pool.take(64);
        let (chunk, offset) = pool.take(CHUNK_BYTES + 64);
        assert_eq!((chunk, offset, pool.chunks.len()), (1, 0, 2));
        assert_eq!(pool.stats.touched_bytes, CHUNK_BYTES + 128, "untouched ends do not count");
    }

    #[test]
    fn blocks_are_aligned_and_apart_on_several_threads() {
        std::thread::scope(|scope| {
            for thread in 0..4u8 {
                scope.spawn(move || {
                    for round in 0..200usize {
                        let blocks: Vec<Block> = (1..9).map(|i| Block::new(i * 37 * (round % 5 + 1))).collect();
                        for block in &blocks {
                            assert_eq!(block.as_ptr() as usize % LINE_BYTES, 0);
                            // SAFETY: the block's own bytes.
                            unsafe { block.as_ptr().write_bytes(thread, block.bytes) };
                        }
                        for block in &blocks {
                            // SAFETY: as above; initialised by the line before.
                            let bytes = unsafe { std::slice::from_raw_parts(block.as_ptr(), block.bytes) };
                            assert!(bytes.iter().all(|&byte| byte == thread));
                        }
                    }
                });
            }
        });
    }
}
