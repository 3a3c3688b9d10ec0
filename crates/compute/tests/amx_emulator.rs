//! The emulator of AMX among other users of SIGILL. A test of its own process: handlers belong to all of it.
#![cfg(all(feature = "amx-emulator", target_os = "linux", target_arch = "x86_64"))]
#![allow(unsafe_code)]

use std::arch::asm;
use std::ffi::{c_int, c_void};
use std::os::unix::process::ExitStatusExt;
use std::sync::atomic::{AtomicUsize, Ordering};

use attune_compute::cpu::amx_emulator;

static OTHERS: AtomicUsize = AtomicUsize::new(0);

/// Counts, and steps over `ud2`.
extern "C" fn step_over(_signal: c_int, _info: *mut libc::siginfo_t, context: *mut c_void) {
    OTHERS.fetch_add(1, Ordering::Relaxed);
    // SAFETY: the handler is installed with SA_SIGINFO, so this is the interrupted context.
    unsafe { (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs[libc::REG_RIP as usize] += 2 };
}

fn undefined_instruction() {
    // SAFETY: raises SIGILL, whose handler steps over it or ends the process.
    unsafe { asm!("ud2", options(nostack)) };
}

/// A second process with the same program, where this variable says what to do.
const CHILD: &str = "ATTUNE_TEST_CHILD";

#[test]
fn other_signals_go_to_the_handler_before() {
    if std::env::var_os(CHILD).is_some() {
        return;
    }
    // SAFETY: a zeroed action is valid, the handler has the signature that the flag names.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = step_over as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO;
        assert_eq!(libc::sigaction(libc::SIGILL, &raw const action, std::ptr::null_mut()), 0);
    }
    if !amx_emulator::install() {
        println!("SKIPPED: this machine lacks AVX-512 BF16");
        return;
    }
    for _ in 0..3 {
        undefined_instruction();
    }
    assert_eq!(OTHERS.load(Ordering::Relaxed), 3);
}

#[test]
fn without_one_they_end_the_process() {
    if std::env::var_os(CHILD).is_some() {
        amx_emulator::install();
        undefined_instruction();
        return;
    }
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "without_one_they_end_the_process", "--test-threads=1"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    assert_eq!(child.status.signal(), Some(libc::SIGILL), "{child:?}");
}
