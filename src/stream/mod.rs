//! The JSON protocols beside STOMP: log and metric streams over WebSocket and Server-Sent Events,
//! and channels.
//!
//! What lives here: what their clients send and get, as sessions without socket, clock or task.
//! What does not: where the log lines and gauges come from (`feeds`), who gets a message
//! (`broker`), and the requests that open a stream (`http`).

pub mod channel;
mod command;
mod ending;
pub mod envelope;
pub mod event;
pub mod filter;
mod position;
pub mod session;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

pub use self::event::{EVENT_FRAMING, Names};
pub use self::filter::{Filter, FilterError};
pub use self::position::{Position, last_event};
pub use self::session::{Feed, Form, Opening, Session, Who};
use crate::message::{Destination, Overflow};

/// What a session needs to know from the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How often metrics are sent to a client that does not say it.
    pub interval: Duration,
    /// How long a WebSocket client may send nothing; zero: for ever.
    pub idle_timeout: Duration,
    /// What happens to one that reads too slowly.
    pub overflow: Overflow,
    /// How long an event stream is silent before a comment is sent.
    pub keep_alive: Duration,
    /// How long a browser waits before it connects again.
    pub retry: Duration,
    /// How long a client of channels may take to say who it is, where it must.
    pub auth_timeout: Duration,
    /// Channels that one client may subscribe to.
    pub channels: usize,
    /// Requests of one client that may be open before it is read from no more.
    pub open_requests: usize,
    /// What tells this process's positions from another's.
    pub epoch: Arc<str>,
}

/// The time of day of a session, which has no clock: that of its beginning, and what passed since.
#[derive(Debug, Clone, Copy)]
pub struct Wall {
    began: Instant,
    began_ms: u64,
}

impl Wall {
    /// `now` is that time of day, in milliseconds since the Unix epoch.
    pub fn new(now: Instant, now_ms: u64) -> Self {
        Self { began: now, began_ms: now_ms }
    }

    fn ms(&self, now: Instant) -> u64 {
        let passed = now.saturating_duration_since(self.began).as_millis();
        self.began_ms.saturating_add(u64::try_from(passed).unwrap_or(u64::MAX))
    }
}

/// The topics whose last messages are kept from the beginning, for event streams that come again.
#[expect(clippy::missing_panics_doc, clippy::expect_used, reason = "the names are fixed, and a test reads them")]
pub fn kept_topics() -> Vec<Destination> {
    let kept = [envelope::Kind::Log, envelope::Kind::Alert];
    kept.into_iter().map(|kind| Destination::parse(kind.topic()).expect("the name is a destination's")).collect()
}

/// The shortest and the longest interval between metrics.
pub const INTERVALS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3600));
