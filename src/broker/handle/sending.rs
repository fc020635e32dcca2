//! SENDs in two steps: all that could refuse them first, then what cannot fail.

use std::sync::Arc;

use super::{Broker, BrokerError, PublishError, Target, now_ms};
use crate::broker::app::{AppEffect, AppHandler};
use crate::broker::queue::content_bytes;
use crate::broker::topic::RetainedFull;
use crate::message::{Destination, DestinationKind, Message, MessageId, Operation, Principal, Publication};

/// A SEND that nothing is in the way of any more.
pub enum Admitted {
    /// For [`Broker::broadcast`]; a last value is kept already.
    Topic(Arc<Message>),
    /// For a queue's home; room in the ledger is reserved.
    Queue(Arc<Message>),
    /// For a handler of the server.
    App(Arc<dyn AppHandler>, Publication),
}

/// A SEND that is allowed, and what it asks for.
struct Planned {
    target: Target,
    publication: Publication,
    terms: Terms,
}

impl Broker {
    // STOMP 1.2 "COMMIT": a transaction is atomic, so all of it is checked, and all its room
    // taken, before the first of it goes.
    /// Takes a client's SENDs, all of them or none; the caller then carries out each, in their
    /// order and at once. [`Broker::has_room`] is asked before: what was begun does not stop for
    /// want of room, so a transaction may go past the inboxes' bounds.
    ///
    /// `is_transaction`: whether handlers are asked beforehand. For one SEND alone the handler's
    /// own answer says more.
    ///
    /// # Errors
    /// One of them is refused, and nothing was taken of any.
    pub fn admit(
        &self,
        principal: &Principal,
        publications: Vec<Publication>,
        is_transaction: bool,
    ) -> Result<Vec<Admitted>, BrokerError> {
        let plan = |publication| self.plan(principal, publication, is_transaction);
        let planned: Vec<Planned> = publications.into_iter().map(plan).collect::<Result<_, _>>()?;
        let for_queues = || planned.iter().filter_map(Planned::room_in_queue);
        self.0.ledger.reserve(for_queues())?;
        let retained: Vec<_> = planned.iter().filter_map(Planned::room_as_retained).collect();
        // The numbers are given under the retained values' lock: they rise in the order of keeping.
        let mut room = match retained.as_slice() {
            [] => None,
            values => Some(self.0.retained.room(values).map_err(|RetainedFull| {
                self.0.ledger.give_back(for_queues());
                BrokerError::RetainedFull
            })?),
        };
        let longest_ms = self.0.queues.ttl_ms;
        let admitted = planned.into_iter().map(|Planned { target, publication, terms }| match target {
            Target::App(handler) => Admitted::App(handler, publication),
            Target::Queue => {
                let longest = (longest_ms > 0).then(|| terms.now_ms.saturating_add(longest_ms));
                let expires_at_ms = terms.expires_at_ms.into_iter().chain(longest).min();
                Admitted::Queue(self.message(publication, terms.now_ms, expires_at_ms))
            }
            Target::Topic => {
                let message = self.message(publication, terms.now_ms, terms.expires_at_ms);
                if let Some(room) = room.as_mut().filter(|_| terms.retain) {
                    room.keep(&message);
                }
                Admitted::Topic(message)
            }
        });
        Ok(admitted.collect())
    }

    fn plan(
        &self,
        principal: &Principal,
        publication: Publication,
        is_transaction: bool,
    ) -> Result<Planned, BrokerError> {
        let target = self.target(principal, Operation::Send, &publication.destination)?;
        let terms = match &target {
            Target::Topic => {
                if self.text_only().is_some_and(|interest| !interest.of(&publication.destination).is_empty())
                    && std::str::from_utf8(&publication.body).is_err()
                {
                    return Err(BrokerError::NotText(publication.destination));
                }
                self.terms(&publication)?
            }
            Target::Queue => self.terms(&publication)?,
            Target::App(handler) => {
                if is_transaction {
                    handler.check_send(principal, &publication)?;
                }
                Terms { now_ms: now_ms(), expires_at_ms: None, retain: false }
            }
        };
        Ok(Planned { target, publication, terms })
    }

    /// Hands a message to every shard that has a subscriber.
    pub fn broadcast(&self, message: &Arc<Message>) {
        self.0.stats.published.add(1);
        // A subscriber may have come between the first look and the number: it must not miss
        // what it was not given as retained.
        let mut is_wanted = false;
        self.0.history.record(message, || {
            for shard in self.0.interest.of(&message.destination).iter() {
                is_wanted = true;
                self.0.inboxes[shard].post(Arc::clone(message));
            }
        });
        if !is_wanted && message.destination.kind() != DestinationKind::Topic {
            self.0.stats.dropped_absent.add(1);
        }
    }

    /// Hands a SEND to the handler it is for.
    ///
    /// # Errors
    /// The handler refuses it.
    pub fn handle(
        &self,
        principal: &Principal,
        handler: &dyn AppHandler,
        publication: &Publication,
    ) -> Result<AppEffect, BrokerError> {
        self.0.stats.published.add(1);
        match handler.handle_send(principal, publication)? {
            AppEffect::Publish(publications) => {
                for publication in publications {
                    self.broadcast(&self.message(publication, now_ms(), None));
                }
                Ok(AppEffect::None)
            }
            effect @ (AppEffect::None | AppEffect::Deliver(..)) => Ok(effect),
        }
    }

    /// Publishes to a topic, whoever asks.
    ///
    /// # Errors
    /// It is refused, or a shard is too busy; then nothing was taken.
    pub fn publish(&self, publication: Publication) -> Result<MessageId, PublishError> {
        if !self.has_room(&publication.destination) {
            return Err(PublishError::Busy(publication));
        }
        let terms = self.terms(&publication).map_err(PublishError::Refused)?;
        let message = if terms.retain {
            let value = (&publication.destination.clone(), publication.body.len());
            let room = self.0.retained.room(&[value]);
            let mut room = room.map_err(|RetainedFull| PublishError::Refused(BrokerError::RetainedFull))?;
            let message = self.message(publication, terms.now_ms, terms.expires_at_ms);
            room.keep(&message);
            message
        } else {
            self.message(publication, terms.now_ms, terms.expires_at_ms)
        };
        self.broadcast(&message);
        Ok(message.id)
    }

    fn message(&self, publication: Publication, now_ms: u64, expires_at_ms: Option<u64>) -> Arc<Message> {
        Arc::new(Message::new(self.next_id(), publication, now_ms, expires_at_ms))
    }
}

impl Planned {
    fn room_in_queue(&self) -> Option<(&Destination, usize)> {
        let Publication { destination, headers, body } = &self.publication;
        matches!(self.target, Target::Queue).then(|| (destination, content_bytes(headers, body)))
    }

    fn room_as_retained(&self) -> Option<(&Destination, usize)> {
        self.terms.retain.then(|| (&self.publication.destination, self.publication.body.len()))
    }
}

/// What the publisher's headers ask of the broker.
struct Terms {
    now_ms: u64,
    expires_at_ms: Option<u64>,
    retain: bool,
}

impl Broker {
    fn terms(&self, publication: &Publication) -> Result<Terms, BrokerError> {
        if self.pattern(&publication.destination).is_some() {
            return Err(BrokerError::SendToPattern(publication.destination.clone()));
        }
        let now_ms = now_ms();
        let expires = number(publication, "expires", "milliseconds since the Unix epoch, 0 for never")?;
        let ttl = number(publication, "ttl", "a number of milliseconds")?;
        let expires_at_ms = match (expires.filter(|at| *at > 0), ttl) {
            (Some(at), Some(ttl)) => Some(at.min(now_ms.saturating_add(ttl))),
            (at, ttl) => at.or(ttl.map(|ttl| now_ms.saturating_add(ttl))),
        };
        let retain = match publication.header("retain") {
            None | Some("false") => false,
            Some("true") if publication.destination.kind() == DestinationKind::Topic => true,
            Some("true") => {
                return Err(BrokerError::BadHeader {
                    name: "retain",
                    value: "true".into(),
                    allowed: "false, except on a topic",
                });
            }
            Some(value) => {
                return Err(BrokerError::BadHeader { name: "retain", value: value.into(), allowed: "true or false" });
            }
        };
        Ok(Terms { now_ms, expires_at_ms, retain })
    }
}

fn number(publication: &Publication, name: &'static str, allowed: &'static str) -> Result<Option<u64>, BrokerError> {
    let Some(value) = publication.header(name) else { return Ok(None) };
    value.parse().map(Some).map_err(|_| BrokerError::BadHeader { name, value: value.into(), allowed })
}
