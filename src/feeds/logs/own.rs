//! The server's own warnings and errors as log lines.
//!
//! What is logged because of such a line would make the next one, so there are at most
//! `PER_SECOND` of them a second; how many were left out stands in the next.

use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chrono::Utc;
use serde_json::{Map, Value};
use tokio::sync::Notify;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::entry::LogEntry;
use super::{DESTINATION, publish};
use crate::broker::Broker;
use crate::message::Destination;
use crate::net::clock;

/// Collects what this process logs as a warning or an error.
#[derive(Debug, Clone, Copy, Default)]
pub struct OwnLines;

impl<S: Subscriber> Layer<S> for OwnLines {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        // In the order of tracing, errors are the least.
        if *event.metadata().level() <= Level::WARN {
            let is_error = *event.metadata().level() == Level::ERROR;
            lock(&WAITING).push(entry(event, is_error), clock::now());
            NEWS.notify_one();
        }
    }
}

/// Publishes what is collected; never ends.
pub async fn run(broker: Broker) {
    let Ok(destination) = Destination::parse(DESTINATION) else { return };
    loop {
        NEWS.notified().await;
        let lines = std::mem::take(&mut lock(&WAITING).lines);
        publish(&broker, &destination, lines).await;
    }
}

/// What waits to be published, and what came lately.
#[derive(Debug)]
struct Waiting {
    lines: VecDeque<LogEntry>,
    second: Option<Instant>,
    count: usize,
    left_out: u64,
}

impl Waiting {
    fn push(&mut self, mut line: LogEntry, now: Instant) {
        if self.second.is_none_or(|second| now.saturating_duration_since(second) >= Duration::from_secs(1)) {
            (self.second, self.count) = (Some(now), 0);
        }
        if self.count == PER_SECOND || self.lines.len() == MAX_WAITING {
            self.left_out += 1;
            return;
        }
        self.count += 1;
        if self.left_out > 0 {
            line.metadata.insert("leftOut".into(), std::mem::take(&mut self.left_out).into());
        }
        self.lines.push_back(line);
    }
}

fn entry(event: &Event<'_>, is_error: bool) -> LogEntry {
    let mut fields = Fields::default();
    event.record(&mut fields);
    let Fields { message, mut metadata } = fields;
    metadata.insert("target".into(), event.metadata().target().into());
    let level = if is_error { "error" } else { "warn" };
    let message = if message.is_empty() { event.metadata().name().to_owned() } else { message };
    LogEntry { timestamp: Utc::now(), level: level.into(), message, source: SOURCE.into(), metadata }
}

#[derive(Default)]
struct Fields {
    message: String,
    metadata: Map<String, Value>,
}

impl Fields {
    fn insert(&mut self, field: &Field, value: Value) {
        self.metadata.insert(field.name().to_owned(), value);
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = String::new();
        // A string takes all that is written.
        let _ = write!(text, "{value:?}");
        if field.name() == "message" {
            self.message = text;
        } else {
            self.insert(field, text.into());
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.message);
        } else {
            self.insert(field, value.into());
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.insert(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.insert(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.insert(field, value.into());
    }
}

fn lock(waiting: &Mutex<Waiting>) -> MutexGuard<'_, Waiting> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

// The log of a process is one for all of it, and begins before there is a broker.
static WAITING: Mutex<Waiting> = Mutex::new(Waiting { lines: VecDeque::new(), second: None, count: 0, left_out: 0 });
static NEWS: Notify = Notify::const_new();

const SOURCE: &str = "stompbox";
const PER_SECOND: usize = 20;
const MAX_WAITING: usize = 100;

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[test]
    fn warnings_and_errors_are_collected_with_their_fields_up_to_a_number_a_second() {
        let subscriber = tracing_subscriber::registry().with(OwnLines);
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!("not this");
            tracing::warn!(files = 3, path = %"/a", "cannot be followed");
            tracing::error!(error = ?"x", "broke");
        });
        let lines: Vec<LogEntry> = std::mem::take(&mut lock(&WAITING).lines).into();
        let all: Vec<_> = lines.iter().map(|line| (line.level.as_str(), line.message.as_str())).collect();
        assert_eq!(all, [("warn", "cannot be followed"), ("error", "broke")]);
        assert_eq!((&lines[0].metadata["files"], &lines[0].metadata["path"]), (&3.into(), &"/a".into()));
        assert!(lines[0].metadata["target"].as_str().is_some_and(|target| target.starts_with("stompbox")));
        let line = || lines[0].clone();
        let mut waiting = Waiting { lines: VecDeque::new(), second: None, count: 0, left_out: 0 };
        let begin = clock::now();
        (0..PER_SECOND + 5).for_each(|_| waiting.push(line(), begin));
        assert_eq!((waiting.lines.len(), waiting.left_out), (PER_SECOND, 5));
        waiting.push(line(), begin + Duration::from_secs(1));
        assert_eq!(waiting.lines.back().and_then(|line| line.metadata.get("leftOut")), Some(&5.into()));
        for n in 2..20 {
            (0..PER_SECOND).for_each(|_| waiting.push(line(), begin + Duration::from_secs(n)));
        }
        assert_eq!(waiting.lines.len(), MAX_WAITING);
    }
}
