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

/// The memory that the process holds now, in bytes; `None` where the system does not tell.
pub fn resident_memory_bytes() -> Option<u64> {
    Some(memory_stats::memory_stats()?.physical_mem as u64)
}

/// Memory that a process holds now, by where it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resident {
    /// Its own.
    pub anonymous_bytes: u64,
    /// Pages of mapped files: the system's cache, given up for whoever needs memory.
    pub mapped_bytes: u64,
}

impl Resident {
    /// Of this process; `None` where the system does not tell.
    pub fn now() -> Option<Self> {
        if !cfg!(target_os = "linux") {
            return None;
        }
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        let part = |name| kibibytes_of(&status, name);
        Some(Self { anonymous_bytes: part("RssAnon:")?, mapped_bytes: part("RssFile:")? })
    }
}

fn linux_high_water_mark() -> Option<u64> {
    if !cfg!(target_os = "linux") {
        return None;
    }
    kibibytes_of(&std::fs::read_to_string("/proc/self/status").ok()?, "VmHWM:")
}

/// The line `NAME    1234 kB` of the system's reports, in bytes.
pub(crate) fn kibibytes_of(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_high_water_mark_is_read_in_bytes() {
        assert_eq!(kibibytes_of("Name:\tft\nVmHWM:\t    1234 kB\nVmRSS:\t 99 kB\n", "VmHWM:"), Some(1234 * 1024));
        assert_eq!(kibibytes_of("Name:\tft\n", "VmHWM:"), None);
        assert_eq!(kibibytes_of("VmHWM:\t many kB\n", "VmHWM:"), None);
    }

    #[test]
    fn a_process_holds_some_memory_and_the_peak_never_falls() {
        let Some(before) = peak_memory_bytes() else { return };
        assert!(before > 100_000);
        assert!(peak_memory_bytes().is_some_and(|after| after >= before));
    }
}
