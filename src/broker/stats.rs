//! The broker's counters.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

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

/// A number that every shard changes all the time: one place for each, so that none waits for the
/// others' caches.
#[derive(Debug, Default)]
pub struct SpreadCounter([Place; PLACES]);

/// Two cache lines, which processors fetch together.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Place(Counter);

impl SpreadCounter {
    /// Adds to it.
    pub fn add(&self, count: u64) {
        self.0[PLACE.with(|place| *place)].0.add(count);
    }

    /// What all have added.
    pub fn value(&self) -> u64 {
        self.0.iter().map(|place| place.0.value()).sum()
    }
}

/// Threads beyond so many share a place.
const PLACES: usize = 16;

static THREADS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static PLACE: usize = THREADS.fetch_add(1, Ordering::Relaxed) % PLACES;
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
    pub delivered: SpreadCounter,
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
    /// What the rules refused.
    pub rules_refused: Counter,
    /// Sessions closed because other settings do not know their user any more.
    pub revoked_sessions: Counter,
    /// Subscriptions ended because other rules, or another token, do not allow them any more.
    pub revoked_subscriptions: Counter,
    /// Attempts to log in with credentials that are not good.
    pub logins_refused: Counter,
    /// Attempts to log in that were not checked: too many at once, or what checks them is away.
    pub logins_unchecked: Counter,
    /// Conditions of subscribers that were asked about a message, each once for all who share it.
    pub conditions: Counter,
    /// Octets read from clients.
    pub bytes_in: Counter,
    /// Octets written to clients.
    pub bytes_out: SpreadCounter,
    /// Queue messages delivered again.
    pub redelivered: Counter,
    /// Queue messages that became dead letters.
    pub dead_letters: Counter,
    /// Dead letters that were given up: rejected again.
    pub dropped_dead: Counter,
    /// NACKs of topic messages, which are not delivered again.
    pub topic_nacks: Counter,
    /// Messages to a temporary queue or a user that nobody listens for.
    pub dropped_absent: Counter,
    /// Open connections by the name of their transport.
    pub transports: Transports,
    /// How often each limit beyond a session was reached.
    pub limits: Arc<Tally>,
    /// What became of followed files.
    pub files: Arc<FileStats>,
    /// Panics that were caught; each cost one connection.
    pub panics: Counter,
}

/// What became of followed files that their writers took away.
#[derive(Debug, Default)]
pub struct FileStats {
    /// How often one was truncated.
    pub truncations: Counter,
    /// Octets that are known to be lost because of that; how many were written since the last look,
    /// nobody knows.
    pub lost_bytes: Counter,
}

/// Counts by name, for what is rare.
#[derive(Debug, Default)]
pub struct Tally(Mutex<BTreeMap<&'static str, u64>>);

impl Tally {
    /// Counts one of that name.
    pub fn add(&self, name: &'static str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(name).or_default() += 1;
    }

    /// All that were ever counted.
    pub fn values(&self) -> BTreeMap<&'static str, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Open connections by the name of their transport.
#[derive(Debug, Default)]
pub struct Transports(Mutex<BTreeMap<&'static str, u64>>);

impl Transports {
    /// Counts one that opened.
    pub fn add(&self, transport: &'static str) {
        *self.lock().entry(transport).or_default() += 1;
    }

    /// Counts one that closed.
    pub fn sub(&self, transport: &'static str) {
        if let Some(count) = self.lock().get_mut(transport) {
            *count = count.saturating_sub(1);
        }
    }

    /// All that were ever seen, with how many are open now.
    pub fn values(&self) -> BTreeMap<&'static str, u64> {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<&'static str, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
