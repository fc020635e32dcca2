//! `/topic/$sys/broker`: the broker's own counters, each second, as one snapshot for all.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tracing::error;

use super::events::{Events, Overflow};
use super::metrics::{publish_patiently, until_next};
use crate::broker::Broker;
use crate::broker::handle::now_ms;
use crate::message::{Destination, Publication};

/// Publishes the counters on each second of the wall clock while somebody listens; never ends.
pub async fn publish_each_second(broker: Broker, events: Option<Arc<Events>>) {
    let destination = match Destination::parse(DESTINATION) {
        Ok(destination) => destination,
        Err(error) => return error!(%error, "the broker's counters have no destination"),
    };
    loop {
        tokio::time::sleep(until_next(now_ms(), Duration::from_secs(1))).await;
        if broker.interest().of(&destination).is_empty() {
            continue;
        }
        match serde_json::to_vec(&Snapshot::of(&broker, events.as_deref(), now_ms())) {
            Ok(body) => {
                let headers = vec![("content-type".into(), "application/json".into())];
                let publication = Publication { destination: destination.clone(), headers, body: body.into() };
                publish_patiently(&broker, publication).await;
            }
            Err(error) => error!(%error, "the broker's counters cannot be written"),
        }
    }
}

/// What is counted since the start, and what is there now.
#[derive(Debug, Serialize)]
struct Snapshot {
    timestamp: u64,
    connections: u64,
    connections_total: u64,
    /// Open ones, by transport.
    sessions: BTreeMap<&'static str, u64>,
    messages: Messages,
    bytes: InOut,
    dropped: Dropped,
    slow_consumers: u64,
    refused: u64,
    rules_refused: u64,
    revoked: Revoked,
    /// How often each was reached, by name.
    limits: BTreeMap<&'static str, u64>,
    files: Files,
    panics: u64,
    logins: Logins,
    /// Events beyond the limits on what is counted by name.
    metrics_other: Overflow,
    queues: Queues,
}

#[derive(Debug, Serialize)]
struct Messages {
    r#in: u64,
    out: u64,
    redelivered: u64,
    dead_letters: u64,
    topic_nacks: u64,
    /// Selectors and filters that were asked about a message, each once for all who share it.
    conditions: u64,
}

#[derive(Debug, Serialize)]
struct InOut {
    r#in: u64,
    out: u64,
}

/// Messages by the reason why they were dropped.
#[derive(Debug, Serialize)]
struct Dropped {
    overflow: u64,
    closed: u64,
    expired: u64,
    binary: u64,
    absent: u64,
    dead_letter: u64,
}

/// What ended because users, rules or tokens changed.
#[derive(Debug, Serialize)]
struct Revoked {
    sessions: u64,
    subscriptions: u64,
}

/// Followed files that were truncated, and the octets that are known to be lost with that.
#[derive(Debug, Serialize)]
struct Files {
    truncations: u64,
    lost_bytes: u64,
}

/// Attempts to log in that did not succeed.
#[derive(Debug, Serialize)]
struct Logins {
    refused: u64,
    unchecked: u64,
}

#[derive(Debug, Serialize)]
struct Queues {
    count: usize,
    messages: usize,
    bytes: usize,
    /// The [`DEEPEST`] with the most messages.
    deepest: Vec<Queue>,
}

#[derive(Debug, Serialize)]
struct Queue {
    destination: String,
    messages: usize,
    bytes: usize,
}

impl Snapshot {
    fn of(broker: &Broker, events: Option<&Events>, timestamp: u64) -> Self {
        let stats = broker.stats();
        let (count, total) = broker.ledger().total();
        let deepest = broker.ledger().deepest(DEEPEST).into_iter().map(|(destination, depth)| Queue {
            destination: destination.to_string(),
            messages: depth.messages,
            bytes: depth.bytes,
        });
        Self {
            timestamp,
            connections: stats.connections.value(),
            connections_total: stats.connections_total.value(),
            sessions: stats.transports.values(),
            messages: Messages {
                r#in: stats.published.value(),
                out: stats.delivered.value(),
                redelivered: stats.redelivered.value(),
                dead_letters: stats.dead_letters.value(),
                topic_nacks: stats.topic_nacks.value(),
                conditions: stats.conditions.value(),
            },
            bytes: InOut { r#in: stats.bytes_in.value(), out: stats.bytes_out.value() },
            dropped: Dropped {
                overflow: stats.dropped_overflow.value(),
                closed: stats.dropped_closed.value(),
                expired: stats.dropped_expired.value(),
                binary: stats.dropped_binary.value(),
                absent: stats.dropped_absent.value(),
                dead_letter: stats.dropped_dead.value(),
            },
            slow_consumers: stats.slow_consumers.value(),
            refused: stats.refused.value(),
            rules_refused: stats.rules_refused.value(),
            revoked: Revoked {
                sessions: stats.revoked_sessions.value(),
                subscriptions: stats.revoked_subscriptions.value(),
            },
            limits: stats.limits.values(),
            files: Files { truncations: stats.files.truncations.value(), lost_bytes: stats.files.lost_bytes.value() },
            panics: stats.panics.value(),
            logins: Logins { refused: stats.logins_refused.value(), unchecked: stats.logins_unchecked.value() },
            metrics_other: events.map(Events::overflow).unwrap_or_default(),
            queues: Queues { count, messages: total.messages, bytes: total.bytes, deepest: deepest.collect() },
        }
    }
}

/// Where the counters are published.
pub const DESTINATION: &str = "/topic/$sys/broker";

/// How many queues are named.
const DEEPEST: usize = 100;
