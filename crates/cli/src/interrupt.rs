//! The request to stop: SIGINT (Ctrl-C) and SIGTERM set a flag that training looks at; the second one ends the process.
//!
//! SIGHUP is left alone: under `nohup` a run must outlive its terminal, and without it the last checkpoint serves.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::failure::Failure;

/// Exit code of a process that was interrupted twice: what a shell reports for SIGINT.
const QUIT_AT_ONCE: i32 = 130;

/// The flag that the first signal sets. From the second one on the process exits with 130.
///
/// # Errors
/// When the system refuses a signal handler.
#[cfg(unix)]
pub(crate) fn flag() -> Result<Arc<AtomicBool>, Failure> {
    use signal_hook::consts::{SIGINT, SIGTERM};

    let flag = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // In this order: the first signal finds the flag unset here and sets it below.
        signal_hook::flag::register_conditional_shutdown(signal, QUIT_AT_ONCE, Arc::clone(&flag))?;
        signal_hook::flag::register(signal, Arc::clone(&flag))?;
    }
    Ok(flag)
}

/// The flag that the first Ctrl-C, or the closing of the console, sets. From the second one on the process exits.
///
/// # Errors
/// When the system refuses a handler.
#[cfg(not(unix))]
pub(crate) fn flag() -> Result<Arc<AtomicBool>, Failure> {
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
