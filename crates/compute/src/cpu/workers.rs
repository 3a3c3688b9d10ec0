//! The thread pool, scratch memory and shared outputs.
//!
//! Work is cut into tasks that own their outputs; which thread takes a task changes nothing in its result.
#![allow(unsafe_code)]

use std::marker::PhantomData;
use std::ops::Range;
use std::thread::available_parallelism;

use rayon::prelude::*;

use crate::backend::ComputeError;
use crate::pool::Block;

/// A thread pool of its own, so that the caller's use of rayon and ours do not mix.
pub(super) struct Workers {
    /// `None`: one thread, the caller's.
    pool: Option<rayon::ThreadPool>,
    threads: usize,
}

impl Workers {
    pub(super) fn new(threads: Option<usize>) -> Result<Self, ComputeError> {
        let threads = threads.unwrap_or_else(|| available_parallelism().map_or(1, usize::from));
        if threads == 0 {
            return Err(ComputeError::Threads { threads, reason: "at least one is needed".into() });
        }
        if threads > rayon::max_num_threads() {
            let reason = format!("the most is {}", rayon::max_num_threads());
            return Err(ComputeError::Threads { threads, reason });
        }
        if threads == 1 {
            return Ok(Self { pool: None, threads });
        }
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|index| format!("cpu-{index}"))
            .build()
            .map_err(|error| ComputeError::Threads { threads, reason: error.to_string() })?;
        Ok(Self { pool: Some(pool), threads })
    }

    pub(super) fn threads(&self) -> usize {
        self.threads
    }

    /// Runs tasks `0..tasks`. A single task stays on the caller's thread: waking another one costs more.
    pub(super) fn for_each(&self, tasks: usize, task: impl Fn(usize) + Sync + Send) {
        match &self.pool {
            Some(pool) if tasks > 1 => {
                pool.install(|| (0..tasks).into_par_iter().with_max_len(1).for_each(task));
            }
            _ => (0..tasks).for_each(task),
        }
    }

    /// Runs `task` over `0..len` in ranges of `chunk` (the last may be shorter).
    pub(super) fn for_ranges(&self, len: usize, chunk: usize, task: impl Fn(Range<usize>) + Sync + Send) {
        let chunk = chunk.max(1);
        self.for_each(len.div_ceil(chunk), |index| task(index * chunk..len.min((index + 1) * chunk)));
    }
}

/// A slice that several tasks write, each at places of its own.
pub(super) struct DisjointMut<'a, T> {
    start: *mut T,
    len: usize,
    borrow: PhantomData<&'a mut [T]>,
}

// SAFETY: the only access is `slice`, whose caller promises that no two live results overlap; so this is no more than
// a `&mut [T]` that was split and sent in parts.
unsafe impl<T: Send> Send for DisjointMut<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for DisjointMut<'_, T> {}

impl<'a, T> DisjointMut<'a, T> {
    pub(super) fn new(values: &'a mut [T]) -> Self {
        Self { start: values.as_mut_ptr(), len: values.len(), borrow: PhantomData }
    }

    /// The values in `range`.
    ///
    /// # Safety
    /// No other live slice of this object may overlap `range`.
    #[expect(clippy::mut_from_ref, reason = "the caller keeps the ranges apart")]
    pub(super) unsafe fn slice(&self, range: Range<usize>) -> &mut [T] {
        assert!(range.start <= range.end && range.end <= self.len, "{range:?} of {} values", self.len);
        // SAFETY: the range lies inside the borrowed slice; the caller keeps others out of it.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }

    /// A pointer to the value at `index`, for outputs whose rows lie apart.
    pub(super) fn pointer(&self, index: usize) -> *mut T {
        assert!(index <= self.len, "{index} of {} values", self.len);
        // SAFETY: inside the slice, or one past its end.
        unsafe { self.start.add(index) }
    }
}

/// Scratch memory of a thread, from the pool: starts at a cache line and grows to what was asked for.
#[derive(Default)]
pub(super) struct AlignedBuffer<T> {
    block: Option<Block>,
    len: usize,
    values: PhantomData<T>,
}

impl<T: bytemuck::Pod> AlignedBuffer<T> {
    pub(super) const fn new() -> Self {
        Self { block: None, len: 0, values: PhantomData }
    }

    /// `len` values with unspecified contents.
    pub(super) fn get(&mut self, len: usize) -> &mut [T] {
        let block = match self.block.take() {
            Some(block) if len <= self.len => block,
            too_small => {
                drop(too_small);
                self.len = len;
                Block::new(len * size_of::<T>())
            }
        };
        let block = self.block.insert(block);
        // SAFETY: the block holds as many values, is aligned and initialised, every bit pattern is a value of a `Pod`
        // type, and it is borrowed with this buffer.
        unsafe { std::slice::from_raw_parts_mut(block.as_ptr().cast(), len) }
    }
}
