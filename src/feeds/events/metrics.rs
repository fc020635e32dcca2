//! The aggregator: events in, every number of both payloads out.

use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use serde::Serialize;
use tracing::warn;

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
/// number: at most 47 KB (27 KB unless latencies are years) for each event type and source, 500 octets for each followed user,
/// and 1 MB besides.
///
/// Rates and windows follow the steady clock, so a stepping wall clock does not disturb them;
/// the wall clock only labels.
///
/// [`Self::record`] only notes the event, under a lock that is held for a push. A thread of its
/// own counts the notes; the tables have a lock that the recorders never take, and who reads
/// counts what is noted first. So an event is in a payload with all of its numbers or with none.
#[derive(Debug)]
pub struct Metrics {
    tables: Arc<Tables>,
}

impl Metrics {
    /// Starts counting at that time.
    pub fn new(settings: Settings, now: Moment) -> Self {
        let tables = Arc::new(Tables::new(settings, now));
        let counted = Arc::clone(&tables);
        if let Err(error) = thread::Builder::new().name("events".into()).spawn(move || counted.count()) {
            warn!(%error, "no thread that counts events: they are counted where a payload is made");
        }
        Self { tables }
    }

    /// Counts one event that was received at that time.
    ///
    /// Where thousands are not counted yet, counts some of them itself.
    pub fn record(&self, event: &Event, now: Moment) {
        self.tables.record(Note::new(event, now));
    }

    /// Forgets everything and starts anew.
    pub fn reset(&self, now: Moment) {
        let new = Counts::new(&self.tables.settings, now);
        let mut counts = self.tables.up_to_date();
        let old = std::mem::replace(&mut *counts, new);
        drop(counts);
        // Tables of many names take milliseconds to free: nobody waits for that.
        drop(old);
    }

    /// How many events had names beyond the settings' limits.
    pub fn overflow(&self) -> Overflow {
        let counts = self.tables.up_to_date();
        Overflow {
            event_types: counts.types.overflowed(),
            sources: counts.sources.overflowed(),
            users: counts.top_users.overflowed(),
        }
    }

    pub(super) fn read(&self, now: Moment) -> Reading {
        self.tables.up_to_date().read(now)
    }

    /// What costs little to know.
    pub(super) fn gauges(&self, now: Moment) -> Gauges {
        self.tables.up_to_date().gauges(now)
    }
}

impl Drop for Metrics {
    fn drop(&mut self) {
        self.tables.pending.close();
    }
}

/// Events whose name was beyond a limit, since the start or the last reset.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Overflow {
    /// In the row `other` because of [`Settings::event_types`].
    pub event_types: u64,
    /// In the row `other` because of [`Settings::sources`].
    pub sources: u64,
    /// Of a user who was not followed when they came, because of [`Settings::users`].
    pub users: u64,
}

#[derive(Debug)]
struct Tables {
    settings: Settings,
    pending: Pending,
    // Locked before notes are taken: they are then counted in their order.
    counts: Mutex<Counts>,
}

impl Tables {
    fn new(settings: Settings, now: Moment) -> Self {
        Self { pending: Pending::default(), counts: Mutex::new(Counts::new(&settings, now)), settings }
    }

    fn record(&self, note: Note) {
        if self.pending.push(note) {
            self.count_batch();
        }
    }

    /// Counts each batch that is full, until the end.
    fn count(&self) {
        while self.pending.wait() {
            self.count_batch();
        }
    }

    fn count_batch(&self) {
        let mut counts = lock(&self.counts);
        counts.record(self.pending.pop());
    }

    /// The counts with every event that was noted before.
    fn up_to_date(&self) -> MutexGuard<'_, Counts> {
        self.pending.announce();
        let mut counts = lock(&self.counts);
        let noted = self.pending.take();
        noted.into_iter().for_each(|batch| counts.record(batch));
        counts
    }
}

#[derive(Debug)]
struct Counts {
    started: Instant,
    totals: Totals,
    recent: RecentLatencies,
    types: Names,
    sources: Names,
    users: Distinct,
    top_users: TopUsers,
}

impl Counts {
    fn new(settings: &Settings, now: Moment) -> Self {
        Self {
            started: now.steady,
            totals: Totals::new(now.wall),
            recent: RecentLatencies::default(),
            types: Names::new(settings.event_types),
            sources: Names::new(settings.sources),
            users: Distinct::with_activity(settings.users),
            top_users: TopUsers::new(settings.users),
        }
    }

    fn record(&mut self, batch: Vec<Note>) {
        for note in batch {
            let Note { severity, latency, received, .. } = note;
            let second = self.second(received);
            self.totals.record(severity, latency, second, received.wall);
            if let Some(latency) = latency {
                self.recent.record(latency, second);
            }
            self.types.record(&note.event_type, severity.is_error(), latency);
            self.sources.record(&note.source, severity.is_error(), latency);
            if let Some(user_id) = note.user_id {
                self.users.note(&user_id, second);
                self.top_users.note(user_id, received.wall);
            }
        }
    }

    fn read(&mut self, now: Moment) -> Reading {
        let second = self.second(now);
        let (last_hour, last_day) = self.users.active(second);
        Reading {
            recent_latency: self.recent.merged(second).summary(),
            types: self.types.rows(),
            sources: self.sources.rows(),
            unique_types: self.types.distinct(),
            unique_sources: self.sources.distinct(),
            users: Users { unique: self.users.total(), last_hour, last_day, top: self.top_users.top(10) },
            into_second: now.steady.saturating_duration_since(self.started).saturating_sub(Duration::from_secs(second)),
            ..self.totals.read(second, now.wall)
        }
    }

    fn gauges(&self, now: Moment) -> Gauges {
        let second = self.second(now);
        let reading = self.totals.read(second, now.wall);
        Gauges {
            rate: reading.current_rate(),
            error_rate: reading.last_5_minutes.exact_error_rate(),
            p95_ms: self.recent.merged(second).summary().p95,
        }
    }

    /// Whole seconds since the start; a time before it (a race with a reset) is the start.
    fn second(&self, now: Moment) -> u64 {
        now.steady.saturating_duration_since(self.started).as_secs()
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

#[cfg(test)]
mod tests {
    use super::super::Profile;
    use super::super::pending::{BATCH, MAX_BATCHES};
    use super::*;

    #[test]
    fn recorders_count_where_no_thread_does() {
        let settings = Settings {
            profile: Profile::Documented,
            event_types: 1,
            sources: 1,
            users: 1,
            recent_events: 0,
            recent_bytes: 0,
        };
        let now = Moment { wall: Utc::now(), steady: crate::net::clock::now() };
        let tables = Tables::new(settings, now);
        let event = Event::parse(br#"{"eventType":"a","source":"b"}"#, now.wall).unwrap();
        let count = 3 * MAX_BATCHES * BATCH;
        for _ in 0..count {
            tables.record(Note::new(&event, now));
        }
        assert_eq!(tables.pending.full_batches(), MAX_BATCHES);
        assert_eq!(tables.up_to_date().read(now).total(), count as u64);
    }
}
