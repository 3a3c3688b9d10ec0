//! How much memory a run may take: what the configuration says, or what the machine has to spare.

use attune_config::MemorySize;
use serde::Serialize;

use crate::memory::kibibytes_of;

/// Left to the system when nothing is configured: a tenth of what is available, and at least this.
const LEAST_MARGIN_BYTES: u64 = 256 << 20;

/// The most memory that a run may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "from")]
pub enum Budget {
    /// `hardware.memory_budget`.
    Configured {
        /// The limit.
        bytes: u64,
    },
    /// What the machine had available, less a margin.
    Available {
        /// The limit.
        bytes: u64,
        /// What was available.
        available_bytes: u64,
    },
    /// The system does not tell: there is no limit.
    Unknown,
}

impl Budget {
    /// The configured budget, or that of this machine. `held_bytes` is what this process holds already: it is not
    /// available any more, and counts as part of the run.
    pub fn new(configured: Option<MemorySize>, held_bytes: u64) -> Self {
        match (configured, available_bytes()) {
            (Some(size), _) => Self::Configured { bytes: size.bytes() },
            (None, Some(available_bytes)) => {
                let margin = (available_bytes / 10).max(LEAST_MARGIN_BYTES);
                Self::Available { bytes: (available_bytes + held_bytes).saturating_sub(margin), available_bytes }
            }
            (None, None) => Self::Unknown,
        }
    }

    /// The limit.
    pub fn bytes(&self) -> Option<u64> {
        match *self {
            Self::Configured { bytes } | Self::Available { bytes, .. } => Some(bytes),
            Self::Unknown => None,
        }
    }
}

/// Memory that could be had without swapping: that of the machine, or of the control group that the process is in.
/// `None` where the system does not tell.
pub fn available_bytes() -> Option<u64> {
    if !cfg!(target_os = "linux") {
        return None;
    }
    let machine = kibibytes_of(&std::fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable:")?;
    Some(control_group_bytes().map_or(machine, |group| machine.min(group)))
}

/// What a container leaves: its limit less what it holds, cached files not counted. `None` without a limit.
fn control_group_bytes() -> Option<u64> {
    let read = |name: &str| std::fs::read_to_string(format!("/sys/fs/cgroup/{name}")).ok();
    let (limit, held, statistics) = match read("memory.max") {
        Some(limit) => (limit, read("memory.current")?, read("memory.stat")?),
        None => {
            (read("memory/memory.limit_in_bytes")?, read("memory/memory.usage_in_bytes")?, read("memory/memory.stat")?)
        }
    };
    room_in_group(&limit, &held, &statistics)
}

fn room_in_group(limit: &str, held: &str, statistics: &str) -> Option<u64> {
    // "max" without a limit.
    let limit: u64 = limit.trim().parse().ok()?;
    let held: u64 = held.trim().parse().ok()?;
    let cached = |name: &str| -> u64 {
        let line = statistics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
    };
    let cached = cached("inactive_file") + cached("active_file");
    Some(limit.saturating_sub(held.saturating_sub(cached)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_has_its_limit_less_what_it_cannot_give_back() {
        let statistics = "anon 100\nfile 60\ninactive_file 50\nactive_file 10\n";
        assert_eq!(room_in_group("1000\n", "400\n", statistics), Some(660));
        assert_eq!(room_in_group("max\n", "400\n", statistics), None);
        assert_eq!(room_in_group("300\n", "400\n", ""), Some(0));
    }

    #[test]
    fn a_margin_is_left_to_the_system() {
        let configured = Budget::new(Some(MemorySize::new(123)), 7);
        assert_eq!(configured, Budget::Configured { bytes: 123 });
        match Budget::new(None, 0) {
            Budget::Available { bytes, available_bytes } => assert!(bytes <= available_bytes - available_bytes / 10),
            other => assert_eq!((other, available_bytes()), (Budget::Unknown, None)),
        }
    }
}
