//! The metrics feed: the event aggregate, published each period and answered on request.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use tracing::{debug, error, warn};

use super::events::{Events, Moment, Outcome};
use crate::broker::app::{AppAnswer, AppEffect, AppHandler};
use crate::broker::handle::{PublishError, now_ms};
use crate::broker::{Broker, BrokerError};
use crate::message::{Destination, Header, Principal, Publication};
use crate::net::clock;

/// Now, on both clocks.
pub fn moment() -> Moment {
    Moment { wall: Utc::now(), steady: clock::now() }
}

/// The handlers behind `/app/events`, `/app/metrics` and `/app/subscribe`.
pub fn handlers(events: &Arc<Events>, destination: &Destination) -> HashMap<&'static str, Arc<dyn AppHandler>> {
    let handlers: [(_, Arc<dyn AppHandler>); 3] = [
        ("/app/events", Arc::new(TakesEvents(Arc::clone(events)))),
        ("/app/metrics", Arc::new(AnswersMetrics(Arc::clone(events)))),
        ("/app/subscribe", Arc::new(ResendsMetrics(Arc::clone(events), destination.clone()))),
    ];
    handlers.into()
}

/// Publishes the aggregate to `destination` as its retained value, each period, on the period
/// of the wall clock, and once at once; never ends.
pub async fn publish_periodically(broker: Broker, events: Arc<Events>, destination: Destination, period: Duration) {
    loop {
        publish(&broker, &events, &destination).await;
        tokio::time::sleep(until_next(now_ms(), period)).await;
    }
}

/// Publishes the aggregate now.
pub async fn publish(broker: &Broker, events: &Events, destination: &Destination) {
    let body = events.snapshot(moment());
    let headers: Vec<Header> =
        vec![("content-type".into(), "application/json".into()), ("retain".into(), "true".into())];
    let publication = Publication { destination: destination.clone(), headers, body };
    publish_patiently(broker, publication).await;
}

/// Publishes for the server itself: waits where a shard is busy, logs where it is refused.
pub async fn publish_patiently(broker: &Broker, mut publication: Publication) {
    loop {
        let destination = publication.destination.clone();
        let octets = publication.body.len();
        let mut unretained = publication.clone();
        unretained.headers.retain(|(name, _)| &**name != "retain");
        match broker.publish(publication) {
            Ok(id) => {
                debug!(%destination, id = id.0, octets, "broadcast");
                return;
            }
            Err(PublishError::Refused(BrokerError::RetainedFull)) => {
                warn!(%destination, "published, but not kept for later subscribers: topics.retained is used up");
                publication = unretained;
            }
            Err(PublishError::Refused(error)) => {
                error!(%destination, %error, "not published");
                return;
            }
            Err(PublishError::Busy(again)) => {
                broker.room(destination).await;
                publication = again;
            }
        }
    }
}

/// The time to the next whole period since the Unix epoch, so that a period of a second is on
/// the second however the clock was set meanwhile.
pub(super) fn until_next(now_ms: u64, period: Duration) -> Duration {
    let period_ms = u64::try_from(period.as_millis()).unwrap_or(u64::MAX).max(1);
    Duration::from_millis(period_ms - now_ms % period_ms)
}

struct TakesEvents(Arc<Events>);

impl AppHandler for TakesEvents {
    fn handle_send(&self, _principal: &Principal, publication: &Publication) -> Result<AppEffect, BrokerError> {
        let outcome = self.0.accept_stomp(&publication.body, moment());
        match outcome.map_err(|rejected| BrokerError::BadBody(rejected.to_string()))? {
            Outcome::One(_) => Ok(AppEffect::None),
            Outcome::Batch(batch) => {
                match batch.results.iter().enumerate().find_map(|(at, r)| Some((at, r.as_ref().err()?))) {
                    None => Ok(AppEffect::None),
                    Some((at, rejected)) => Err(BrokerError::BadBody(format!(
                        "{} of {} events were accepted; event {at} was not: {rejected}",
                        batch.accepted(),
                        batch.results.len()
                    ))),
                }
            }
        }
    }

    fn check_send(&self, _principal: &Principal, publication: &Publication) -> Result<(), BrokerError> {
        let checked = self.0.check_stomp(&publication.body, moment());
        checked.map_err(|rejected| BrokerError::BadBody(rejected.to_string()))
    }

    fn handle_subscribe(&self, _principal: &Principal) -> Result<AppAnswer, BrokerError> {
        Err(no_answer("/app/events takes SENDs"))
    }
}

struct AnswersMetrics(Arc<Events>);

impl AnswersMetrics {
    fn refusal() -> BrokerError {
        BrokerError::BadBody("/app/metrics is asked by SUBSCRIBE; events go to /app/events".into())
    }
}

impl AppHandler for AnswersMetrics {
    fn handle_send(&self, _principal: &Principal, _publication: &Publication) -> Result<AppEffect, BrokerError> {
        Err(Self::refusal())
    }

    fn check_send(&self, _principal: &Principal, _publication: &Publication) -> Result<(), BrokerError> {
        Err(Self::refusal())
    }

    fn handle_subscribe(&self, _principal: &Principal) -> Result<AppAnswer, BrokerError> {
        Ok(AppAnswer { content_type: "application/json", body: self.0.current(moment()) })
    }
}

struct ResendsMetrics(Arc<Events>, Destination);

impl AppHandler for ResendsMetrics {
    fn handle_send(&self, _principal: &Principal, _publication: &Publication) -> Result<AppEffect, BrokerError> {
        let body = self.0.current(moment());
        Ok(AppEffect::Deliver(self.1.clone(), AppAnswer { content_type: "application/json", body }))
    }

    fn check_send(&self, _principal: &Principal, _publication: &Publication) -> Result<(), BrokerError> {
        Ok(())
    }

    fn handle_subscribe(&self, _principal: &Principal) -> Result<AppAnswer, BrokerError> {
        Err(no_answer("/app/subscribe takes SENDs"))
    }

    fn own_topic(&self) -> Option<&Destination> {
        Some(&self.1)
    }
}

fn no_answer(instead: &str) -> BrokerError {
    BrokerError::NoAnswer(format!("{instead} and answers no SUBSCRIBE; /app/metrics does, with the metrics as of now"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_tick_is_on_the_second_of_the_wall_clock() {
        let second = Duration::from_secs(1);
        assert_eq!(until_next(1_700_000_000_000, second), second);
        assert_eq!(until_next(1_700_000_000_001, second), Duration::from_millis(999));
        assert_eq!(until_next(1_700_000_000_999, second), Duration::from_millis(1));
        assert_eq!(until_next(1_700_000_000_250, Duration::from_millis(100)), Duration::from_millis(50));
    }
}
