//! Log lines: from services over REST and STOMP, from files, and the server's own, to
//! `/topic/logs`.
//!
//! What lives here: what a line must be, and the message it becomes. What does not: HTTP, STOMP.

mod entry;
pub mod follow;
mod intake;
pub mod level;
mod lines;
pub mod own;
pub mod parse;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use chrono::Utc;
use tracing::debug;

pub use self::entry::LogEntry;
pub use self::intake::{LogOutcome, accept};
use super::events::Rejected;
use crate::broker::app::{AppAnswer, AppEffect, AppHandler};
use crate::broker::handle::PublishError;
use crate::broker::{Broker, BrokerError};
use crate::message::{Destination, Principal, Publication};

/// Where log lines are published.
pub const DESTINATION: &str = "/topic/logs";

/// Publishes the lines in their order; waits where a shard is busy.
pub async fn publish(broker: &Broker, destination: &Destination, entries: impl IntoIterator<Item = LogEntry>) {
    for entry in entries {
        let mut publication = entry.publication(destination);
        while let Err(error) = broker.publish(publication) {
            match error {
                PublishError::Busy(again) => {
                    broker.room(destination.clone()).await;
                    publication = again;
                }
                // Not so for a topic without headers of the broker's.
                PublishError::Refused(error) => {
                    debug!(%error, "a log line was not published");
                    break;
                }
            }
        }
    }
}

/// The handler behind `/app/logs`.
pub fn handler() -> Option<(&'static str, Arc<dyn AppHandler>)> {
    // Always there: the name is a good one.
    let destination = Destination::parse(DESTINATION).ok()?;
    Some(("/app/logs", Arc::new(TakesLogs(destination))))
}

struct TakesLogs(Destination);

impl AppHandler for TakesLogs {
    fn handle_send(&self, principal: &Principal, publication: &Publication) -> Result<AppEffect, BrokerError> {
        let source = principal.name().unwrap_or(UNKNOWN_SOURCE);
        let outcome = accept(&publication.body, Utc::now(), source).map_err(bad_body)?;
        match outcome.first_rejected() {
            // Of several lines, those that are good must not be lost with the one that is not.
            Some((0, rejected)) if outcome.len() == 1 => Err(bad_body(rejected.clone())),
            Some((at, rejected)) if outcome.accepted() == 0 => Err(BrokerError::BadBody(format!(
                "none of {} log entries is good; entry {at}: {rejected}",
                outcome.len()
            ))),
            Some(_) | None => {
                Ok(AppEffect::Publish(outcome.into_entries().map(|entry| entry.publication(&self.0)).collect()))
            }
        }
    }

    fn check_send(&self, principal: &Principal, publication: &Publication) -> Result<(), BrokerError> {
        self.handle_send(principal, publication).map(|_| ())
    }

    fn handle_subscribe(&self, _principal: &Principal) -> Result<AppAnswer, BrokerError> {
        Err(BrokerError::NoAnswer(
            "/app/logs takes SENDs and answers no SUBSCRIBE; the lines are on /topic/logs".into(),
        ))
    }

    fn fed_topic(&self) -> Option<&Destination> {
        Some(&self.0)
    }
}

fn bad_body(rejected: Rejected) -> BrokerError {
    BrokerError::BadBody(rejected.to_string())
}

/// Whose line it is where nobody says so.
pub const UNKNOWN_SOURCE: &str = "unknown";
