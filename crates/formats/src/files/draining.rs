//! A file that reaches the disk while it is still being written.

use std::fs::File;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Scope, ScopedJoinHandle};

/// Bytes that are written before the disk begins to take them: far more than most files have, which start no thread, and
/// far less than a model, whose last sync then waits for its last bytes alone.
const EVERY_BYTES: usize = 64 << 20;

/// Writes to `file`, and lets another thread sync what is written, as often as there is enough of it.
pub(super) struct Draining<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    file: &'env File,
    every_bytes: usize,
    /// Bytes since the disk was last told.
    untold_bytes: usize,
    syncing: Option<(SyncSender<()>, ScopedJoinHandle<'scope, io::Result<()>>)>,
}

impl<'scope, 'env> Draining<'scope, 'env> {
    pub(super) fn new(scope: &'scope Scope<'scope, 'env>, file: &'env File) -> Self {
        Self { scope, file, every_bytes: EVERY_BYTES, untold_bytes: 0, syncing: None }
    }

    /// Waits for the thread. What it could not sync is an error of the whole file: the system tells it only once.
    pub(super) fn finish(self) -> io::Result<()> {
        let Some((wake, thread)) = self.syncing else { return Ok(()) };
        drop(wake);
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    fn tell(&mut self) {
        let (scope, file) = (self.scope, self.file);
        let (wake, _) = self.syncing.get_or_insert_with(|| {
            let (wake, woken) = sync_channel(1);
            (wake, scope.spawn(move || sync_when_woken(file, &woken)))
        });
        // Full: the disk is behind, and will take these bytes with the next.
        let _ = wake.try_send(());
    }
}

fn sync_when_woken(file: &File, woken: &Receiver<()>) -> io::Result<()> {
    woken.iter().try_for_each(|()| file.sync_data())
}

impl Write for Draining<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.untold_bytes += written;
        if self.untold_bytes >= self.every_bytes {
            self.untold_bytes = 0;
            self.tell();
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_synced_on_the_way_is_what_was_written() -> io::Result<()> {
        let mut file = tempfile::tempfile()?;
        let part: Vec<u8> = (0..=u8::MAX).collect();
        std::thread::scope(|scope| {
            let mut out = Draining { every_bytes: 1000, ..Draining::new(scope, &file) };
            out.write_all(&part)?;
            assert!(out.syncing.is_none(), "a small file needs no thread");
            for _ in 0..99 {
                out.write_all(&part)?;
            }
            assert!(out.syncing.is_some());
            out.finish()
        })?;
        let mut read = Vec::new();
        io::Seek::rewind(&mut file)?;
        io::Read::read_to_end(&mut file, &mut read)?;
        assert!(read == part.repeat(100));
        Ok(())
    }

    #[cfg(unix)]
    #[test]
    fn what_cannot_be_synced_is_an_error_at_the_end() -> io::Result<()> {
        use std::os::fd::OwnedFd;

        // Pipes take bytes and cannot be synced.
        let (_reader, writer) = io::pipe()?;
        let pipe = File::from(OwnedFd::from(writer));
        let result = std::thread::scope(|scope| {
            let mut out = Draining { every_bytes: 1, ..Draining::new(scope, &pipe) };
            out.write_all(b"x")?;
            out.finish()
        });
        assert!(result.is_err());
        Ok(())
    }
}
