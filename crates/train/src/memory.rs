//! How much memory the process has held at most.

use std::sync::atomic::{AtomicU64, Ordering};

/// The most memory that the process ever held, in bytes; `None` where the system does not tell.
///
/// Linux keeps the peak itself (`VmHWM`). Elsewhere it is the largest value that was seen by a call of this function,
/// so a peak between two calls is missed.
pub fn peak_memory_bytes() -> Option<u64> {
    static PEAK: AtomicU64 = AtomicU64::new(0);
    if let Some(bytes) = linux_high_water_mark() {
        return Some(bytes);
    }
    let now = memory_stats::memory_stats()?.physical_mem as u64;
    Some(PEAK.fetch_max(now, Ordering::Relaxed).max(now))
}

fn linux_high_water_mark() -> Option<u64> {
    if !cfg!(target_os = "linux") {
        return None;
    }
    parse_high_water_mark(&std::fs::read_to_string("/proc/self/status").ok()?)
}

/// The line `VmHWM:    1234 kB`.
fn parse_high_water_mark(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_high_water_mark_is_read_in_bytes() {
        assert_eq!(parse_high_water_mark("Name:\tft\nVmHWM:\t    1234 kB\nVmRSS:\t 99 kB\n"), Some(1234 * 1024));
        assert_eq!(parse_high_water_mark("Name:\tft\n"), None);
        assert_eq!(parse_high_water_mark("VmHWM:\t many kB\n"), None);
    }

    #[test]
    fn a_process_holds_some_memory_and_the_peak_never_falls() {
        let Some(before) = peak_memory_bytes() else { return };
        assert!(before > 100_000);
        assert!(peak_memory_bytes().is_some_and(|after| after >= before));
    }
}
