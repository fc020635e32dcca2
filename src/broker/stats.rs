//! The broker's counters.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only the counted thing changes.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds to it.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// Takes from it; for counts of what is there now.
    pub fn sub(&self, count: u64) {
        self.0.fetch_sub(count, Ordering::Relaxed);
    }

    /// What it stands at.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What happened since the start, and what is there now.
#[derive(Debug, Default)]
pub struct Stats {
    /// Connections that are open now.
    pub connections: Counter,
    /// Connections that were ever open.
    pub connections_total: Counter,
    /// Messages that publishers handed over.
    pub published: Counter,
    /// Messages written to subscribers, each subscriber counted.
    pub delivered: Counter,
    /// Messages dropped because a mailbox was full and its subscription allows that.
    pub dropped_overflow: Counter,
    /// Messages dropped with the connection that had them waiting.
    pub dropped_closed: Counter,
    /// Messages dropped because they expired while they waited.
    pub dropped_expired: Counter,
    /// Messages that a transport without binary frames could not carry.
    pub dropped_binary: Counter,
    /// Sessions closed as slow consumers.
    pub slow_consumers: Counter,
    /// CONNECTs, SENDs and SUBSCRIBEs that were refused.
    pub refused: Counter,
    /// Octets read from clients.
    pub bytes_in: Counter,
    /// Octets written to clients.
    pub bytes_out: Counter,
}
