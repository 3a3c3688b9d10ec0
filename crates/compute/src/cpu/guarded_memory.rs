//! Memory between two forbidden pages, for tests: a read or write past either end ends the test with a signal.
#![allow(unsafe_code)]

/// A multiple of the page size of every Linux.
const PAGE: usize = 1 << 16;

/// Which end of the bytes touches a forbidden page.
#[derive(Debug, Clone, Copy)]
pub(super) enum Side {
    Front,
    Back,
}

pub(super) struct Guarded {
    base: *mut u8,
    mapped: usize,
    start: usize,
    len: usize,
}

impl Guarded {
    /// A copy of `contents`.
    pub(super) fn new<T: bytemuck::Pod>(contents: &[T], side: Side) -> Self {
        let bytes: &[u8] = bytemuck::cast_slice(contents);
        let inner = bytes.len().next_multiple_of(PAGE).max(PAGE);
        let mapped = inner + 2 * PAGE;
        let start = match side {
            Side::Front => PAGE,
            Side::Back => PAGE + inner - bytes.len(),
        };
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new private mapping; its first and last pages lose their permissions, the contents are written
        // between them.
        let base = unsafe {
            let base = libc::mmap(std::ptr::null_mut(), mapped, access, kind, -1, 0);
            assert_ne!(base, libc::MAP_FAILED, "mmap");
            let base = base.cast::<u8>();
            assert_eq!(libc::mprotect(base.cast(), PAGE, libc::PROT_NONE), 0, "mprotect");
            assert_eq!(libc::mprotect(base.add(PAGE + inner).cast(), PAGE, libc::PROT_NONE), 0, "mprotect");
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), base.add(start), bytes.len());
            base
        };
        Self { base, mapped, start, len: bytes.len() }
    }

    /// The first byte; reads and writes of the contents through it are the caller's, one thread's at a time.
    pub(super) fn pointer(&self) -> *mut u8 {
        self.base.wrapping_add(self.start)
    }

    /// The contents, which are aligned for `T` if they were made from as large a type.
    pub(super) fn get<T: bytemuck::Pod>(&self) -> &[T] {
        // SAFETY: the memory was written and lives as long as this.
        bytemuck::cast_slice(unsafe { std::slice::from_raw_parts(self.pointer(), self.len) })
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // SAFETY: our own mapping, which nobody borrows any more.
        unsafe { libc::munmap(self.base.cast(), self.mapped) };
    }
}
