//! The session as its driver knows it.

use std::time::Instant;

use bytes::Bytes;

use super::{Session, SessionError};
use crate::message::{Delivery, Destination, Image, Message, Principal, SubscriptionId};
use crate::session::{self, Action, Refusal, Reply, ReplyTo, Ticket, Trouble};

impl session::Session for Session {
    fn handle_bytes(&mut self, now: Instant, octets: Bytes) {
        Self::handle_bytes(self, now, octets);
    }

    fn delivery_image(&mut self, now: Instant, delivery: Delivery) -> Option<Image> {
        Self::delivery_image(self, now, delivery)
    }

    fn prepare(&self, message: &Message, budget: &mut usize) -> bool {
        Self::prepare(self, message, budget)
    }

    fn handle_reply(&mut self, now: Instant, ticket: Ticket, reply: Reply) {
        Self::handle_reply(self, now, ticket, reply);
    }

    fn handle_timeout(&mut self, now: Instant) {
        Self::handle_timeout(self, now);
    }

    fn handle_transmitted(&mut self, now: Instant) {
        Self::handle_transmitted(self, now);
    }

    fn handle_unread(&mut self, now: Instant) {
        Self::handle_unread(self, now);
    }

    fn handle_trouble(&mut self, now: Instant, trouble: Trouble) {
        self.handle_error(now, trouble.into());
    }

    fn handle_reply_to(&mut self, now: Instant, queue: &Destination) -> ReplyTo {
        match Self::handle_reply_to(self, queue) {
            Ok(None) => ReplyTo::Known,
            Ok(Some(subscription)) => ReplyTo::Opened(subscription),
            Err(error) => {
                self.handle_error(now, error);
                ReplyTo::Ended
            }
        }
    }

    fn handle_principal(&mut self, principal: Principal) {
        self.principal = principal;
    }

    fn handle_revoked(&mut self, _now: Instant, subscription: SubscriptionId, refusal: Refusal) {
        Self::handle_revoked(self, subscription, refusal);
    }

    fn poll_action(&mut self) -> Option<Action> {
        Self::poll_action(self)
    }

    fn poll_transmit(&mut self) -> Option<Image> {
        Self::poll_transmit(self)
    }

    fn has_action(&self) -> bool {
        Self::has_action(self)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        Self::poll_timeout(self)
    }

    fn open_tickets(&self) -> usize {
        Self::open_tickets(self)
    }

    fn wants_read(&self) -> bool {
        Self::wants_read(self)
    }

    fn principal(&self) -> &Principal {
        Self::principal(self)
    }

    fn is_closed(&self) -> bool {
        Self::is_closed(self)
    }

    fn trouble(&self) -> Option<&'static str> {
        Self::trouble(self)
    }

    fn limit(&self) -> Option<&'static str> {
        Self::limit(self)
    }

    fn held_bytes(&self) -> usize {
        Self::held_bytes(self)
    }

    fn unsendable(&self) -> u64 {
        Self::unsendable(self)
    }
}

impl From<Trouble> for SessionError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::SlowConsumer { messages, bytes } => Self::SlowConsumer { messages, bytes },
            Trouble::ShuttingDown => Self::ShuttingDown,
            Trouble::Expired => Self::Expired,
            Trouble::Revoked => Self::Revoked,
            Trouble::Exceeded(exceeded) => Self::Exceeded(exceeded),
        }
    }
}
