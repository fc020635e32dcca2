//! How many sockets the system gives this process.

use tracing::warn;

/// Raises the limit on open descriptors to what the system allows, and answers how many of them
/// connections may have.
pub fn raise() -> usize {
    let limit = rlimit::increase_nofile_limit(u64::MAX).unwrap_or_else(|error| {
        warn!(%error, "the limit on open files stays as it is");
        rlimit::Resource::NOFILE.get_soft().unwrap_or(1024)
    });
    usize::try_from(limit).unwrap_or(usize::MAX).saturating_sub(RESERVED).max(1)
}

/// For listeners, runtimes, files and those who are turned away.
const RESERVED: usize = 192;
