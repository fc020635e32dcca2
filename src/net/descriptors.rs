//! How many sockets the system gives this process.

use tracing::warn;

use super::limits::MAX_OUTSIDE;

/// Raises the limit on open descriptors to what the system allows, and answers how many of them
/// connections may have beside so many shards.
pub fn raise(shards: usize) -> usize {
    let limit = rlimit::increase_nofile_limit(u64::MAX).unwrap_or_else(|error| {
        warn!(%error, "the limit on open files stays as it is");
        rlimit::Resource::NOFILE.get_soft().unwrap_or(1024)
    });
    usize::try_from(limit).unwrap_or(usize::MAX).saturating_sub(kept_back(shards)).max(1)
}

/// For files, the runtime and the listeners of each shard, and those who are turned away.
fn kept_back(shards: usize) -> usize {
    FILES + shards * OF_SHARD + MAX_OUTSIDE
}

const FILES: usize = 64;
const OF_SHARD: usize = 8;
