//! What a connection does for the queues that its session consumes.

use std::collections::VecDeque;
use std::time::Instant;

use super::{Connection, State, wake};
use crate::broker::handle::now_ms;
use crate::broker::queue::{Asker, Consumer, Outcome, Request};
use crate::message::{Delivery, Destination, Image, MessageId, SubscriptionId};
use crate::net::clock;
use crate::net::fanout::session_name;
use crate::session::{Reply, Ticket};

/// What only those sessions have that use queues.
#[derive(Debug, Default)]
pub(super) struct Queueing {
    consumers: Vec<Credit>,
    /// Requests, and how many answers each still waits for.
    awaited: Vec<(Ticket, u32)>,
    /// Images that left since the beginning, and the deliveries that do not ask for ACK: when
    /// so many images have left, the delivery has.
    left: u64,
    leaving: VecDeque<(u64, SubscriptionId, MessageId)>,
    settled: Vec<(SubscriptionId, MessageId, Outcome)>,
    /// Subscriptions that ended, of which deliveries are still leaving.
    parting: Vec<(SubscriptionId, Destination)>,
    /// What was delivered to this connection and never became octets.
    unsent: Vec<(SubscriptionId, MessageId)>,
    /// Names the session's temporary queues.
    key: Option<Box<str>>,
}

#[derive(Debug)]
struct Credit {
    subscription: SubscriptionId,
    prefetch_count: u32,
    is_auto: bool,
}

impl Queueing {
    pub(super) fn key(&mut self) -> Box<str> {
        self.key.get_or_insert_with(session_name).clone()
    }

    /// How many messages may wait for ACK in all.
    pub(super) fn prefetched(&self) -> usize {
        self.consumers.iter().filter(|credit| !credit.is_auto).map(|credit| credit.prefetch_count as usize).sum()
    }

    pub(super) fn add_consumer(&mut self, subscription: SubscriptionId, prefetch_count: u32, is_auto: bool) {
        self.consumers.push(Credit { subscription, prefetch_count, is_auto });
    }

    pub(super) fn expect_answers(&mut self, ticket: Ticket, count: u32) {
        self.awaited.push((ticket, count));
    }

    /// Answers whether it was the last that the request waited for.
    fn on_answer(&mut self, ticket: Ticket) -> bool {
        let Some(at) = self.awaited.iter().position(|(awaited, _)| *awaited == ticket) else { return false };
        self.awaited[at].1 -= 1;
        let is_last = self.awaited[at].1 == 0;
        if is_last {
            self.awaited.swap_remove(at);
        }
        is_last
    }

    /// Forgets a consumer; answers which of its messages never became octets, and which are
    /// octets that are still leaving, and settled when they have.
    pub(super) fn remove_consumer(
        state: &mut State,
        subscription: SubscriptionId,
        queue: &Destination,
    ) -> (Vec<MessageId>, Vec<MessageId>) {
        let waiting = state.mailbox.take_queued(Some(subscription));
        let Some(queueing) = &mut state.queueing else { return Default::default() };
        queueing.consumers.retain(|credit| credit.subscription != subscription);
        queueing.unsent.extend(waiting);
        let unsent = queueing.unsent.extract_if(.., |(of, _)| *of == subscription).map(|(_, message)| message);
        let unsent = unsent.collect();
        if state.is_over {
            queueing.leaving.retain(|(_, of, _)| *of != subscription);
        }
        let of_one = queueing.leaving.iter().filter(|(_, of, _)| *of == subscription);
        let leaving: Vec<_> = of_one.map(|(.., message)| *message).collect();
        if !leaving.is_empty() {
            queueing.parting.push((subscription, queue.clone()));
        }
        (unsent, leaving)
    }

    /// Subscriptions that ended, of which deliveries did not leave.
    pub(super) fn take_parting(state: &mut State) -> Vec<(SubscriptionId, Destination)> {
        state.queueing.as_mut().map(|queueing| std::mem::take(&mut queueing.parting)).unwrap_or_default()
    }

    /// The session is about to end: what waits will not be sent.
    pub(super) fn note_unsent(state: &mut State) {
        if let Some(queueing) = &mut state.queueing {
            queueing.unsent.extend(state.mailbox.take_queued(None));
        }
    }

    /// A delivery that asks for no ACK is the last of so many images that are to leave.
    fn on_filled(&mut self, images: usize, subscription: SubscriptionId, message: MessageId) {
        if self.consumers.iter().any(|credit| credit.subscription == subscription && credit.is_auto) {
            self.leaving.push_back((self.left + images as u64, subscription, message));
        }
    }

    /// Of the images that were to leave next only so many do.
    pub(super) fn on_discarded(&mut self, kept: usize) {
        let last = self.left + kept as u64;
        let discarded = self.leaving.split_off(self.leaving.partition_point(|(at, ..)| *at <= last)).into_iter();
        self.unsent.extend(discarded.map(|(_, subscription, message)| (subscription, message)));
    }

    /// So many images have left.
    pub(super) fn on_written(&mut self, images: usize) {
        self.left += images as u64;
        while let Some((at, subscription, message)) = self.leaving.front().copied()
            && at <= self.left
        {
            self.leaving.pop_front();
            self.settled.push((subscription, message, Outcome::Accepted));
        }
    }
}

impl Connection {
    /// Takes a queue's message from the shard; answers whether the shard is to flush it.
    pub(in crate::net) fn deliver_queued(&self, delivery: Delivery) -> bool {
        let mut state = self.state.borrow_mut();
        let is_ending = state.ending.is_some() || state.is_over;
        let Some(queueing) = &mut state.queueing else { return false };
        if !queueing.consumers.iter().any(|credit| credit.subscription == delivery.subscription) {
            // It left while this was on its way, and so gave it back.
            return false;
        }
        if is_ending {
            queueing.unsent.push((delivery.subscription, delivery.message.id));
            return false;
        }
        Self::push_finished(&mut state);
        state.mailbox.push_anyway(delivery);
        !state.is_blocked && !self.is_dirty.replace(true)
    }

    /// Takes a queue's answer to a request.
    pub(in crate::net) fn handle_answer(&self, ticket: u64) {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let ticket = Ticket(ticket);
        if state.queueing.as_mut().is_some_and(|queueing| queueing.on_answer(ticket)) {
            let now = clock::now();
            state.session.handle_reply(now, ticket, Reply::Done);
            self.perform(state, now);
            wake(state);
        }
    }

    pub(super) fn consumer(&self, subscription: SubscriptionId) -> Consumer {
        Consumer { shard: self.fanout.shard(), connection: self.key, subscription }
    }

    pub(super) fn asker(&self, ticket: Ticket) -> Asker {
        Asker { shard: self.fanout.shard(), connection: self.key, ticket: ticket.0 }
    }

    /// Makes octets of a queue's message; answers how many. One that needs no ACK is settled
    /// when they have left.
    pub(super) fn fill_queued(
        &self,
        state: &mut State,
        now: Instant,
        delivery: Delivery,
        queue: &mut VecDeque<Image>,
    ) -> usize {
        let (subscription, message) = (delivery.subscription, delivery.message.id);
        let State { session, queueing, .. } = state;
        let queueing = queueing.get_or_insert_default();
        if delivery.message.expires_at_ms.is_some_and(|at| at <= now_ms()) {
            queueing.settled.push((subscription, message, Outcome::Expired));
            return 0;
        }
        let Some(image) = self.counted_image(session, now, delivery) else {
            queueing.unsent.push((subscription, message));
            return 0;
        };
        let bytes = image.len();
        queue.push_back(image);
        queueing.on_filled(queue.len(), subscription, message);
        bytes
    }

    /// Tells the queues what has left.
    pub(super) fn settle_written(&self, state: &mut State) {
        let Some(queueing) = &mut state.queueing else { return };
        let mut settled = std::mem::take(&mut queueing.settled);
        settled.sort_by_key(|(subscription, ..)| *subscription);
        for of_one in settled.chunk_by(|(one, ..), (other, ..)| one == other) {
            let (subscription, ..) = of_one[0];
            let mut of_session = state.subscriptions.iter().chain(&queueing.parting);
            let Some((_, queue)) = of_session.find(|(id, _)| *id == subscription) else { continue };
            let outcomes = of_one.iter().map(|(_, message, outcome)| (*message, *outcome)).collect();
            let (queue, consumer) = (queue.clone(), self.consumer(subscription));
            self.broker().post_request(Request::Settle { queue, consumer, outcomes, asker: None });
        }
        if !queueing.parting.is_empty() {
            let Queueing { parting, leaving, .. } = &mut **queueing;
            parting.retain(|(id, _)| leaving.iter().any(|(_, of, _)| of == id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_asks_for_no_ack_is_settled_when_its_octets_have_left() {
        let mut queueing = Queueing::default();
        let (auto, client) = (SubscriptionId(0), SubscriptionId(1));
        queueing.add_consumer(auto, 64, true);
        queueing.add_consumer(client, 64, false);
        assert_eq!(queueing.prefetched(), 64);
        queueing.on_filled(2, auto, MessageId(1));
        queueing.on_filled(3, client, MessageId(2));
        queueing.on_filled(4, auto, MessageId(3));
        queueing.on_written(1);
        assert!(queueing.settled.is_empty());
        queueing.on_written(1);
        assert_eq!(queueing.settled, [(auto, MessageId(1), Outcome::Accepted)]);
        // Two are left; one more is behind them.
        queueing.on_filled(3, auto, MessageId(4));
        queueing.on_written(2);
        assert_eq!(queueing.settled.len(), 2);
        queueing.on_written(1);
        assert_eq!(queueing.settled[2], (auto, MessageId(4), Outcome::Accepted));
    }

    #[test]
    fn a_request_is_answered_when_all_that_it_waits_for_have_answered() {
        let mut queueing = Queueing::default();
        queueing.expect_answers(Ticket(1), 2);
        queueing.expect_answers(Ticket(2), 1);
        assert!(!queueing.on_answer(Ticket(1)));
        assert!(queueing.on_answer(Ticket(2)));
        assert!(queueing.on_answer(Ticket(1)));
        assert!(!queueing.on_answer(Ticket(1)));
    }
}
