//! The request to stop: SIGINT (Ctrl-C) and SIGTERM set a flag that training looks at; the second one ends the process.
//!
//! SIGHUP is left alone: under `nohup` a run must outlive its terminal, and without it the last checkpoint serves.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use crate::failure::Failure;

/// Exit code of a process that was interrupted twice: what a shell reports for SIGINT.
const QUIT_AT_ONCE: i32 = 130;

/// The flag that the first signal sets, one for the whole process: a command that runs others (`ft quickstart`) asks more
/// than once, and some systems take one handler only. From the second signal on the process exits with 130.
///
/// # Errors
/// When the system refuses a signal handler.
pub(crate) fn flag() -> Result<Arc<AtomicBool>, Failure> {
    static FLAG: Mutex<Option<Arc<AtomicBool>>> = Mutex::new(None);
    let mut shared = FLAG.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(flag) = &*shared {
        return Ok(Arc::clone(flag));
    }
    Ok(Arc::clone(shared.insert(watch()?)))
}

/// A flag that the signals SIGINT and SIGTERM set.
#[cfg(unix)]
fn watch() -> Result<Arc<AtomicBool>, Failure> {
    use signal_hook::consts::{SIGINT, SIGTERM};

    let flag = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // In this order: the first signal finds the flag unset here and sets it below.
        signal_hook::flag::register_conditional_shutdown(signal, QUIT_AT_ONCE, Arc::clone(&flag))?;
        signal_hook::flag::register(signal, Arc::clone(&flag))?;
    }
    Ok(flag)
}

/// A flag that Ctrl-C and the closing of the console set.
#[cfg(not(unix))]
fn watch() -> Result<Arc<AtomicBool>, Failure> {
    use std::sync::atomic::Ordering;

    let flag = Arc::new(AtomicBool::new(false));
    let set = Arc::clone(&flag);
    ctrlc::set_handler(move || {
        if set.swap(true, Ordering::SeqCst) {
            std::process::exit(QUIT_AT_ONCE);
        }
    })
    .map_err(|error| {
        Failure::new(crate::failure::FAILED, error.to_string(), "start the program from another console")
    })?;
    Ok(flag)
}
