//! Each number of the payloads computed by hand, each limit at it and one past it.

mod accuracy;
mod bounds;
mod dashboard;
mod documented;
mod event;
mod intake;
mod peers;
mod pending;
mod rates;
mod recording;
mod store;

use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use super::{Events, Moment, Profile, Settings};

/// Both clocks; `at` is milliseconds after the start.
struct Clock(Moment);

impl Clock {
    fn new() -> Self {
        Self(Moment { wall: wall("2026-01-12T14:00:00Z"), steady: first_instant() })
    }

    fn at(&self, ms: u64) -> Moment {
        Moment {
            wall: self.0.wall + TimeDelta::milliseconds(i64::try_from(ms).unwrap()),
            steady: self.0.steady + Duration::from_millis(ms),
        }
    }
}

/// Events with a clock of their own.
struct Feed {
    clock: Clock,
    events: Events,
}

impl Feed {
    fn documented() -> Self {
        Self::with(settings(Profile::Documented))
    }

    fn dashboard() -> Self {
        Self::with(settings(Profile::Dashboard))
    }

    fn with(settings: Settings) -> Self {
        let clock = Clock::new();
        Self { events: Events::new(settings, clock.at(0)), clock }
    }

    fn send(&self, at_ms: u64, event: &Value) {
        self.events.accept_json(event.to_string().as_bytes(), self.clock.at(at_ms)).unwrap();
    }

    /// Sends so many plain events.
    fn plain(&self, at_ms: u64, count: usize) {
        for _ in 0..count {
            self.send(at_ms, &plain());
        }
    }

    fn payload(&self, at_ms: u64) -> Value {
        serde_json::from_slice(&self.events.snapshot(self.clock.at(at_ms))).unwrap()
    }
}

fn settings(profile: Profile) -> Settings {
    Settings { profile, event_types: 100, sources: 50, users: 1000, recent_events: 100, recent_bytes: 1 << 20 }
}

fn plain() -> Value {
    json!({"eventType": "user.login", "source": "auth-service"})
}

fn with_latency(ms: f64) -> Value {
    json!({"eventType": "user.login", "source": "auth-service", "metadata": {"latency": ms}})
}

fn error_event() -> Value {
    json!({"eventType": "payment.failed", "source": "payment-service", "severity": "ERROR"})
}

fn wall(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

#[expect(clippy::disallowed_methods, reason = "some instant to count from")]
fn first_instant() -> Instant {
    Instant::now()
}
