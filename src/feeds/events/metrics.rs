//! The aggregator: events in, every number of both payloads out.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, TryLockError};
use std::time::Instant;

use chrono::{DateTime, Utc};

use super::distinct::Distinct;
use super::event::{Event, Severity};
use super::latency::{Latencies, Micros};
use super::names::Names;
use super::pending::{Note, Pending};
use super::reading::{Reading, Users};
use super::top_users::TopUsers;
use super::windows::Ring;
use super::{Gauges, Moment, Settings, lock};

/// Counts events since the start or the last reset, in memory that does not grow with their
/// number: at most 27 KB for each event type and source, 500 octets for each followed user,
/// and 1 MB besides.
///
/// Rates and windows follow the steady clock, so a stepping wall clock does not disturb them;
/// the wall clock only labels.
///
/// [`Self::record`] only notes the event, under a lock that is held for a push: nobody waits
/// there for longer than some tens of nanoseconds. The tables have a lock of their own, which
/// the one who reads may hold for milliseconds; a recorder takes it only where it is free, to
/// work off some of the notes (20 µs, once in 32 events), or where thousands of notes wait. So an
/// event is in a payload with all of its numbers or with none.
#[derive(Debug)]
pub struct Metrics {
    settings: Settings,
    // Swapped as a whole by a reset: an event is counted before it or after it, never half.
    tables: RwLock<Arc<Tables>>,
}

impl Metrics {
    /// Starts counting at that time.
    pub fn new(settings: Settings, now: Moment) -> Self {
        let tables = RwLock::new(Arc::new(Tables::new(&settings, now)));
        Self { settings, tables }
    }

    /// Counts one event that was received at that time.
    pub fn record(&self, event: &Event, now: Moment) {
        self.tables().record(event, now);
    }

    /// Forgets everything and starts anew.
    pub fn reset(&self, now: Moment) {
        let fresh = Arc::new(Tables::new(&self.settings, now));
        *self.tables.write().unwrap_or_else(PoisonError::into_inner) = fresh;
    }

    /// How many events were counted in the row `other` because their name has no row.
    pub fn overflow(&self) -> Overflow {
        let tables = self.tables();
        let counts = tables.up_to_date();
        Overflow { event_types: counts.types.overflowed(), sources: counts.sources.overflowed() }
    }

    pub(super) fn read(&self, now: Moment) -> Reading {
        self.tables().read(now)
    }

    /// What costs little to know.
    pub(super) fn gauges(&self, now: Moment) -> Gauges {
        let tables = self.tables();
        let second = tables.second(now.steady);
        let counts = tables.up_to_date();
        let reading = counts.totals.read(second, now.wall);
        Gauges {
            rate: reading.current_rate(),
            error_rate: reading.last_5_minutes.error_rate(),
            p95_ms: counts.recent.merged(second).summary().p95,
        }
    }

    fn tables(&self) -> Arc<Tables> {
        Arc::clone(&self.tables.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Events whose name has no row of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overflow {
    /// Because of [`Settings::event_types`].
    pub event_types: u64,
    /// Because of [`Settings::sources`].
    pub sources: u64,
}

#[derive(Debug)]
struct Tables {
    started: Moment,
    pending: Mutex<Pending>,
    // Where both are locked, `counts` is first: notes are then counted in their order.
    counts: Mutex<Counts>,
}

impl Tables {
    fn new(settings: &Settings, now: Moment) -> Self {
        Self { started: now, pending: Mutex::default(), counts: Mutex::new(Counts::new(settings, now.wall)) }
    }

    fn record(&self, event: &Event, now: Moment) {
        let note = Note::new(event, self.second(now.steady), now.wall);
        let Some(batches) = lock(&self.pending).push(note) else { return };
        let counts = if batches < MAX_BATCHES { self.counts_if_free() } else { Some(lock(&self.counts)) };
        if let Some(mut counts) = counts {
            // One more than came, so that what a long reading left is worked off.
            for _ in 0..2 {
                let batch = lock(&self.pending).pop();
                counts.record(batch);
            }
        }
    }

    fn read(&self, now: Moment) -> Reading {
        let second = self.second(now.steady);
        self.up_to_date().read(second, now.wall)
    }

    /// The counts with every event that was noted before.
    fn up_to_date(&self) -> MutexGuard<'_, Counts> {
        let mut counts = lock(&self.counts);
        let noted = lock(&self.pending).take();
        noted.into_iter().for_each(|batch| counts.record(batch));
        counts
    }

    fn counts_if_free(&self) -> Option<MutexGuard<'_, Counts>> {
        match self.counts.try_lock() {
            Ok(counts) => Some(counts),
            Err(TryLockError::Poisoned(counts)) => Some(counts.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Whole seconds since the start; a time before it (a race with a reset) is the start.
    fn second(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.started.steady).as_secs()
    }
}

#[derive(Debug)]
struct Counts {
    totals: Totals,
    recent: RecentLatencies,
    types: Names,
    sources: Names,
    users: Distinct,
    top_users: TopUsers,
}

impl Counts {
    fn new(settings: &Settings, now: DateTime<Utc>) -> Self {
        Self {
            totals: Totals::new(now),
            recent: RecentLatencies::default(),
            types: Names::new(settings.event_types),
            sources: Names::new(settings.sources),
            users: Distinct::with_activity(settings.users),
            top_users: TopUsers::new(settings.users),
        }
    }

    fn record(&mut self, batch: Vec<Note>) {
        for note in batch {
            let Note { severity, latency, second, received_at, .. } = note;
            self.totals.record(severity, latency, second, received_at);
            if let Some(latency) = latency {
                self.recent.record(latency, second);
            }
            self.types.record(&note.event_type, severity.is_error(), latency);
            self.sources.record(&note.source, severity.is_error(), latency);
            if let Some(user_id) = note.user_id {
                self.users.note(&user_id, second);
                self.top_users.note(user_id, received_at);
            }
        }
    }

    fn read(&mut self, second: u64, now: DateTime<Utc>) -> Reading {
        let (last_hour, last_day) = self.users.active(second);
        Reading {
            recent_latency: self.recent.merged(second).summary(),
            types: self.types.rows(),
            sources: self.sources.rows(),
            unique_types: self.types.distinct(),
            unique_sources: self.sources.distinct(),
            users: Users { unique: self.users.total(), last_hour, last_day, top: self.top_users.top(10) },
            ..self.totals.read(second, now)
        }
    }
}

#[derive(Debug)]
struct Totals {
    by_severity: [u64; 4],
    seconds: Ring,
    minutes: Ring,
    peak: u64,
    peak_at: DateTime<Utc>,
    latencies: Latencies,
}

impl Totals {
    fn new(now: DateTime<Utc>) -> Self {
        Self {
            by_severity: [0; 4],
            seconds: Ring::new(1, 3600),
            minutes: Ring::new(60, 24 * 60),
            peak: 0,
            peak_at: now,
            latencies: Latencies::default(),
        }
    }

    fn record(&mut self, severity: Severity, latency: Option<Micros>, second: u64, now: DateTime<Utc>) {
        self.by_severity[severity as usize] += 1;
        let is_error = severity.is_error();
        self.minutes.add(second, is_error, latency);
        if let Some(sum) = self.seconds.add(second, is_error, latency)
            && sum.events > self.peak
        {
            self.peak = sum.events;
            self.peak_at = now;
        }
        if let Some(latency) = latency {
            self.latencies.record(latency);
        }
    }

    fn read(&self, second: u64, now: DateTime<Utc>) -> Reading {
        let before = |seconds| second.saturating_sub(seconds);
        Reading {
            now,
            second,
            by_severity: self.by_severity,
            overall: self.latencies.summary(),
            last_minute: self.seconds.last(60, second),
            last_5_minutes: self.seconds.last(300, second),
            last_15_minutes: self.seconds.last(900, second),
            last_hour: self.seconds.last(3600, second),
            last_day: self.minutes.last(86_400, second),
            last_10_complete: self.seconds.between(before(10), second).events,
            last_30_complete: self.seconds.between(before(30), second).events,
            previous_30_complete: self.seconds.between(before(60), before(30)).events,
            peak: self.peak,
            peak_at: self.peak_at,
            ..Reading::default()
        }
    }
}

/// The latencies of the running minute and the four before it.
#[derive(Debug, Clone, Default)]
struct RecentLatencies([(u64, Latencies); 5]);

impl RecentLatencies {
    fn record(&mut self, latency: Micros, second: u64) {
        let minute = second / 60;
        for (at, slot) in self.0.iter_mut().enumerate() {
            if at as u64 != minute % 5 {
                continue;
            }
            if slot.0 < minute {
                *slot = (minute, Latencies::default());
            }
            if slot.0 == minute {
                slot.1.record(latency);
            }
        }
    }

    fn merged(&self, second: u64) -> Latencies {
        let minute = second / 60;
        let mut merged = Latencies::default();
        for (at, latencies) in &self.0 {
            if *at <= minute && *at + 5 > minute {
                merged.merge(latencies);
            }
        }
        merged
    }
}

/// Full batches of notes that wait before a recorder waits for the tables: what comes within
/// 10 ms at 400,000 events a second; 4 MB where each of the notes has the longest names.
const MAX_BATCHES: usize = 128;
