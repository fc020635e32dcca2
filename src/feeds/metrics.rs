//! The metrics feed: the event aggregate, published each period and answered on request.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::Utc;
use tokio::task::spawn_blocking;
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
/// of the wall clock; never ends.
pub async fn publish_periodically(broker: Broker, events: Arc<Events>, destination: Destination, period: Duration) {
    loop {
        tokio::time::sleep(until_next(now_ms(), period)).await;
        publish(&broker, &events, &destination).await;
    }
}

/// Publishes the aggregate now; what is published later was made later.
pub async fn publish(broker: &Broker, events: &Arc<Events>, destination: &Destination) {
    let _turn = events.publishing.lock().await;
    let body = aside(events, |events| events.snapshot(moment())).await;
    let headers: Vec<Header> =
        vec![("content-type".into(), "application/json".into()), ("retain".into(), "true".into())];
    let publication = Publication { destination: destination.clone(), headers, body };
    publish_patiently(broker, publication).await;
}

/// The aggregate as of now: it holds every event accepted before the call. However many ask at
/// once, one payload is made for all who wait.
pub async fn current(events: &Arc<Events>) -> Bytes {
    let changes = events.changes();
    if let Some(body) = events.last_with(changes, moment()) {
        return body;
    }
    let _turn = events.asking.lock().await;
    if let Some(body) = events.last_with(changes, moment()) {
        return body;
    }
    let pause = events.pause(moment());
    if !pause.is_zero() {
        tokio::time::sleep(pause).await;
    }
    aside(events, |events| events.current_for_all(moment())).await
}

/// Counts anew, and publishes that.
pub async fn reset(broker: &Broker, events: &Arc<Events>, destination: &Destination) {
    aside(events, |events| events.reset(moment())).await;
    publish(broker, events, destination).await;
}

/// Has a payload made by another thread: that of many names takes milliseconds, for which no
/// shard should stand.
async fn aside(events: &Arc<Events>, make: impl FnOnce(&Events) -> Bytes + Send + 'static) -> Bytes {
    let made_from = Arc::clone(events);
    let made = spawn_blocking(move || make(&made_from)).await;
    made.unwrap_or_else(|_| events.last())
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
                // Better none than one of before.
                broker.forget_retained(&destination);
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
    use std::pin::pin;

    use futures_util::FutureExt as _;
    use serde_json::Value;
    use tokio::runtime::Builder;

    use super::super::events::{Profile, Settings};
    use super::*;
    use crate::broker::access::Access;
    use crate::broker::pattern::Separators;
    use crate::broker::topic::RetainedLimits;
    use crate::broker::{Settings as BrokerSettings, history, inbox, mailbox, queue};

    #[tokio::test]
    async fn who_asks_gets_what_was_accepted_before_and_those_who_ask_meanwhile_share_it() {
        let events = events();
        let asking = events.asking.lock().await;
        accept(&events);
        let mut askers: Vec<_> = (0..1000).map(|_| Box::pin(current(&events))).collect();
        assert!(askers.iter_mut().all(|asker| asker.now_or_never().is_none()));
        accept(&events);
        let mut late = pin!(current(&events));
        assert!(late.as_mut().now_or_never().is_none());
        drop(asking);
        let mut answers = Vec::new();
        for asker in askers {
            answers.push(asker.await);
        }
        answers.push(late.await);
        let mut made: Vec<_> = answers.iter().map(|answer| answer.as_ptr()).collect();
        made.dedup();
        // The second of the clock may end meanwhile.
        assert!(made.len() <= 2, "{}", made.len());
        assert_eq!(total(&answers[0]), 2);
        accept(&events);
        assert_eq!(total(&current(&events).await), 3);
    }

    #[test]
    fn a_tick_that_waits_publishes_what_a_reset_left_meanwhile() {
        // What one thread has done for a later caller, it has done for all before.
        let runtime = Builder::new_current_thread().max_blocking_threads(1).build().unwrap();
        runtime.block_on(async {
            let (broker, events) = (broker(1 << 20), events());
            let topic = Destination::parse("/topic/metrics").unwrap();
            accept(&events);
            let publishing = events.publishing.lock().await;
            let mut tick = pin!(publish(&broker, &events, &topic));
            assert!(tick.as_mut().now_or_never().is_none());
            spawn_blocking(|| {}).await.unwrap();
            events.reset(moment());
            drop(publishing);
            tick.await;
            assert_eq!(total(&broker.retained(&topic)[0].body), 0);
            accept(&events);
            reset(&broker, &events, &topic).await;
            assert_eq!(total(&broker.retained(&topic)[0].body), 0);
        });
    }

    #[tokio::test]
    async fn a_payload_that_cannot_be_kept_leaves_none_of_before() {
        let events = events();
        let broker = broker(events.last().len() + 20);
        let topic = Destination::parse("/topic/metrics").unwrap();
        publish(&broker, &events, &topic).await;
        assert_eq!(broker.retained(&topic).len(), 1);
        accept(&events);
        publish(&broker, &events, &topic).await;
        assert_eq!(broker.retained(&topic).len(), 0);
    }

    fn events() -> Arc<Events> {
        let settings = Settings {
            profile: Profile::Documented,
            event_types: 10,
            sources: 10,
            users: 10,
            recent_events: 10,
            recent_bytes: 10_000,
        };
        Arc::new(Events::new(settings, moment()))
    }

    fn broker(retained_bytes: usize) -> Broker {
        let settings = BrokerSettings {
            shards: 1,
            inbox: inbox::Limits { messages: 100, bytes: 1 << 20 },
            mailbox: mailbox::Limits { messages: 100, bytes: 1 << 20 },
            retained: RetainedLimits { destinations: 10, bytes: retained_bytes },
            history: history::Limits { topics: 1, messages: 1, bytes: 1 },
            kept_topics: Vec::new(),
            queues: queue::Settings {
                limits: queue::Limits { queues: 1, messages: 1, bytes: 1, total_bytes: 1, drops_oldest: false },
                max_deliveries: 1,
                prefetch_count: 1,
                ttl_ms: 0,
            },
            separators: Separators::Both,
            refuses_binary: true,
        };
        Broker::new(settings, Access::open(), HashMap::new())
    }

    fn accept(events: &Events) {
        events.accept_json(br#"{"eventType":"a","source":"b"}"#, moment()).unwrap();
    }

    fn total(payload: &[u8]) -> u64 {
        serde_json::from_slice::<Value>(payload).unwrap()["summary"]["totalEvents"].as_u64().unwrap()
    }

    #[test]
    fn the_next_tick_is_on_the_second_of_the_wall_clock() {
        let second = Duration::from_secs(1);
        assert_eq!(until_next(1_700_000_000_000, second), second);
        assert_eq!(until_next(1_700_000_000_001, second), Duration::from_millis(999));
        assert_eq!(until_next(1_700_000_000_999, second), Duration::from_millis(1));
        assert_eq!(until_next(1_700_000_000_250, Duration::from_millis(100)), Duration::from_millis(50));
    }
}
