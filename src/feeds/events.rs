//! The event metrics: events in, one aggregated payload out each period.
//!
//! What lives here: the checks of an event, the counting, the recent events, and the payload in
//! both of its shapes, all synchronous; time is an argument. What does not: HTTP, STOMP, timers.

mod activity;
mod anomalies;
mod dashboard;
mod distinct;
mod documented;
mod event;
mod intake;
mod latency;
mod metrics;
mod names;
mod payload;
mod pending;
mod reading;
pub mod replay;
mod status;
mod store;
mod top_users;
mod windows;

#[cfg(test)]
mod tests;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use chrono::{DateTime, Utc};

use self::anomalies::Anomalies;
use self::dashboard::Dashboard;
use self::documented::Documented;
pub use self::event::{Event, FieldErrors, Severity};
pub(super) use self::event::{MAX_AHEAD, Rfc3339, json_reason};
use self::intake::EventIds;
pub use self::intake::{Accepted, BatchOutcome, Outcome, Rejected};
pub(super) use self::intake::{is_array, split};
pub use self::latency::Micros;
pub use self::metrics::{Metrics, Overflow};
use self::payload::{Made, Payloads};
pub use self::status::{Health, Running};
use self::store::Store;
pub use self::store::{Page, PageRequest, Stored};

/// Takes events, and says what they amount to. Shared by reference between threads.
#[derive(Debug)]
pub struct Events {
    profile: Profile,
    metrics: Metrics,
    store: Store,
    ids: EventIds,
    anomalies: Mutex<Anomalies>,
    payloads: Payloads,
    /// Whose turn it is to publish: from making the payload until it is handed over.
    pub(super) publishing: tokio::sync::Mutex<()>,
    /// Whose turn it is to have one made in between; the others wait for what comes of it.
    pub(super) asking: tokio::sync::Mutex<()>,
}

impl Events {
    /// Starts with nothing counted.
    pub fn new(settings: Settings, now: Moment) -> Self {
        let events = Self {
            profile: settings.profile,
            store: Store::new(&settings),
            metrics: Metrics::new(settings, now),
            ids: EventIds::default(),
            anomalies: Mutex::default(),
            payloads: Payloads::new(now),
            publishing: tokio::sync::Mutex::default(),
            asking: tokio::sync::Mutex::default(),
        };
        events.snapshot(now);
        events
    }

    /// Counts and keeps one event: the JSON of an object.
    ///
    /// # Errors
    /// Every field that is wrong; nothing is counted.
    pub fn accept_json(&self, json: &[u8], now: Moment) -> Result<Accepted, Rejected> {
        let event = Event::parse(json, now.wall)?;
        self.metrics.record(&event, now);
        let event_id = self.ids.next();
        let accepted = Accepted { event_id, event_type: event.event_type.clone(), received_at: now.wall };
        self.store.push(event, &accepted);
        self.payloads.note_change();
        Ok(accepted)
    }

    /// Counts and keeps the valid ones of 1 to 1000 events: the JSON of an array, at most 8 MiB.
    ///
    /// # Errors
    /// What is not such an array; nothing is counted then.
    pub fn accept_batch_json(&self, json: &[u8], now: Moment) -> Result<BatchOutcome, Rejected> {
        let events = split(json, "events")?;
        let results = events.iter().map(|event| self.accept_json(event.get().as_bytes(), now)).collect();
        Ok(BatchOutcome { results })
    }

    /// Counts and keeps what a STOMP client sent: one event, or an array of them.
    ///
    /// # Errors
    /// As for the one or the other; nothing is counted then.
    pub fn accept_stomp(&self, body: &[u8], now: Moment) -> Result<Outcome, Rejected> {
        if is_array(body) {
            self.accept_batch_json(body, now).map(Outcome::Batch)
        } else {
            self.accept_json(body, now).map(Outcome::One)
        }
    }

    /// Whether [`Self::accept_stomp`] would take all of it.
    ///
    /// # Errors
    /// What is wrong with the first event that is not valid, or with the whole.
    pub fn check_stomp(&self, body: &[u8], now: Moment) -> Result<(), Rejected> {
        if !is_array(body) {
            return Ok(Event::parse(body, now.wall).map(|_| ())?);
        }
        let events = split(body, "events")?;
        Ok(events.iter().try_for_each(|event| Event::parse(event.get().as_bytes(), now.wall).map(|_| ()))?)
    }

    /// Computes the payload in the profile's shape, and remembers it for those who ask in between.
    ///
    /// Meant for one caller, once a period: each subscriber and each GET gets the same octets.
    pub fn snapshot(&self, now: Moment) -> Bytes {
        self.payloads.make(|| self.payload(now))
    }

    /// The payload for one who asks in between and cannot wait: it holds every event accepted
    /// before the call. While so many ask that computing takes more than a fifth of a core, they
    /// share payloads that are some milliseconds old.
    pub fn current(&self, now: Moment) -> Bytes {
        self.payloads.make_in_between(now, true, || self.payload(now))
    }

    /// As [`Self::current`], and however many ask.
    pub(super) fn current_for_all(&self, now: Moment) -> Bytes {
        self.payloads.make_in_between(now, false, || self.payload(now))
    }

    /// What a payload asked for now has to hold.
    pub(super) fn changes(&self) -> u64 {
        self.payloads.changes()
    }

    /// The last payload, if it holds so many changes and is what one computed now would be.
    pub(super) fn last_with(&self, changes: u64, now: Moment) -> Option<Bytes> {
        self.payloads.last_with(changes, now)
    }

    /// The last payload.
    pub(super) fn last(&self) -> Bytes {
        self.payloads.last()
    }

    /// How long to wait before [`Self::current_for_all`]; zero unless very many ask.
    pub(super) fn pause(&self, now: Moment) -> Duration {
        self.payloads.pause(now)
    }

    /// Starts counting anew, and computes the empty payload. The recent events stay.
    pub fn reset(&self, now: Moment) -> Bytes {
        self.payloads.make(|| {
            self.metrics.reset(now);
            self.payload(now)
        })
    }

    fn payload(&self, now: Moment) -> Option<Made> {
        let reading = self.metrics.read(now);
        let json = match self.profile {
            Profile::Documented => serde_json::to_vec(&Documented::from(&reading)),
            Profile::Dashboard => {
                let anomalies = lock(&self.anomalies).detect(&reading);
                serde_json::to_vec(&Dashboard::new(&reading, anomalies))
            }
        };
        // Maps with text keys and finite numbers always serialise.
        let body = json.ok()?.into();
        Some(Made { body, good_until: reading.good_until(now) })
    }

    /// Rate, errors and latency at that time.
    pub fn gauges(&self, now: Moment) -> Gauges {
        self.metrics.gauges(now)
    }

    /// The recent events, newest first.
    pub fn page(&self, request: PageRequest) -> Page {
        self.store.page(None, request)
    }

    /// The recent events of one type, newest first.
    pub fn page_of_type(&self, event_type: &str, request: PageRequest) -> Page {
        self.store.page(Some(event_type), request)
    }

    /// A recent event; `None` when it never was or is not kept any more.
    pub fn by_id(&self, event_id: &str) -> Option<Stored> {
        self.store.by_id(event_id)
    }

    /// How many events had a type, source or user beyond the settings' limits.
    pub fn overflow(&self) -> Overflow {
        self.metrics.overflow()
    }
}

/// How events go, for thresholds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gauges {
    /// Events per second, the mean of the last ten complete seconds.
    pub rate: f64,
    /// Errors in percent of the events of the last five minutes.
    pub error_rate: f64,
    /// The 95th percentile of the latencies of five minutes, in milliseconds.
    pub p95_ms: f64,
}

/// One moment on both clocks: the wall's for labels, which may step, and the steady one for rates.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// What the calendar says.
    pub wall: DateTime<Utc>,
    /// What never goes back.
    pub steady: Instant,
}

/// What the aggregator needs to know from the settings.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The shape of the payload.
    pub profile: Profile,
    /// Distinct event types counted by name; more go to `other`.
    pub event_types: usize,
    /// Distinct sources counted by name; more go to `other`.
    pub sources: usize,
    /// Distinct users followed by name.
    pub users: usize,
    /// Events kept for the queries.
    pub recent_events: usize,
    /// Octets of the events kept for the queries.
    pub recent_bytes: usize,
}

/// The shape of the metrics payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// The public API's documented shape.
    Documented,
    /// The shape that the existing dashboard's types declare.
    Dashboard,
}

/// Counts stay usable after a panic under the lock: at worst one event is counted in part.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
