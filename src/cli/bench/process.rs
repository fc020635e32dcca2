//! A process of this machine: CPU and memory, as Linux tells them.

use std::fs;
use std::time::Duration;

/// What a process has used so far.
#[derive(Debug, Clone, Copy)]
pub(super) struct Usage {
    pub(super) cpu: Duration,
    pub(super) resident_bytes: u64,
    /// The most since it began.
    pub(super) peak_bytes: u64,
}

/// Looks at a process; `None` where it is gone, or the system is not Linux.
pub(super) fn usage(pid: u32) -> Option<Usage> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    // Nanoseconds, where /proc/PID/stat counts in hundredths of a second.
    let on_cpu = threads.filter_map(|thread| {
        let schedstat = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        schedstat.split(' ').next()?.parse::<u64>().ok()
    });
    let cpu = Duration::from_nanos(on_cpu.sum());
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let bytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().trim_end_matches(" kB").parse::<u64>().ok().map(|kib| kib * 1024)
    };
    Some(Usage { cpu, resident_bytes: bytes("VmRSS:")?, peak_bytes: bytes("VmHWM:")? })
}
