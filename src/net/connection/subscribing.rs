//! SUBSCRIBE and UNSUBSCRIBE.

use std::sync::Arc;
use std::time::Instant;

use super::{Connection, Purpose, Queueing, State};
use crate::broker::app::AppHandler;
use crate::broker::handle::{Target, now_ms};
use crate::broker::queue::Request;
use crate::broker::router::Route;
use crate::broker::selector::Selector;
use crate::broker::{BrokerError, address};
use crate::condition::Condition;
use crate::message::{Delivery, Destination, DestinationKind, Message, Overflow, Principal, SubscriptionId};
use crate::session::{AckMode, Reply, ReplyTo, Since, Subscription, Ticket};

impl Connection {
    pub(super) fn subscribe(&self, state: &mut State, now: Instant, ticket: Ticket, subscription: Subscription) {
        if let Some(credentials) = subscription.credentials.clone() {
            let purpose = Purpose::Subscribe(Box::new(subscription));
            return self.authenticate(state, ticket, purpose, Some(credentials));
        }
        let principal = state.session.principal().clone();
        self.subscribe_as(state, now, ticket, &subscription, &principal);
    }

    pub(super) fn subscribe_as(
        &self,
        state: &mut State,
        now: Instant,
        ticket: Ticket,
        subscription: &Subscription,
        principal: &Principal,
    ) {
        if let Err(error) = self.try_subscribe(state, now, ticket, subscription, principal) {
            self.refuse(state, now, ticket, &error);
        }
    }

    fn try_subscribe(
        &self,
        state: &mut State,
        now: Instant,
        ticket: Ticket,
        subscription: &Subscription,
        principal: &Principal,
    ) -> Result<(), BrokerError> {
        let selector = subscription.selector.as_deref().map(Selector::parse).transpose()?.map(Arc::new);
        let key = || state.queueing.get_or_insert_default().key();
        let destination = address::subscribed(&subscription.destination, principal, key)?;
        match self.broker().subscribe_target(principal, &destination)? {
            Target::Topic => {
                self.check_pattern(state, &destination)?;
                let is_temp_queue = destination.kind() == DestinationKind::TempQueue;
                if is_temp_queue && state.subscriptions.iter().any(|(_, other)| *other == destination) {
                    return Err(BrokerError::TempQueueTaken(subscription.destination.clone()));
                }
                self.subscribe_to_topic(state, now, ticket, subscription, destination, selector);
                Ok(())
            }
            Target::Queue => self.subscribe_to_queue(state, ticket, subscription, destination, selector),
            Target::App(handler) => self.subscribe_to_app(state, now, ticket, subscription, principal, &*handler),
        }
    }

    /// Bounds what a look-up of a name costs because of one session's patterns.
    fn check_pattern(&self, state: &State, pattern: &Destination) -> Result<(), BrokerError> {
        let count = self.broker().pattern(pattern).map_or(0, |pattern| pattern.word_count());
        if count > MAX_PATTERN_WORDS {
            return Err(BrokerError::PatternTooLong { pattern: pattern.clone(), count, max: MAX_PATTERN_WORDS });
        }
        let branches = |of: &Destination| self.broker().pattern(of).map_or(0, |pattern| pattern.branches());
        let own = branches(pattern);
        if own == 0 {
            return Ok(());
        }
        let count = own + state.subscriptions.iter().map(|(_, other)| branches(other)).sum::<usize>();
        if count > MAX_BRANCHES {
            return Err(BrokerError::TooManyBranches { pattern: pattern.clone(), count, max: MAX_BRANCHES });
        }
        Ok(())
    }

    fn subscribe_to_topic(
        &self,
        state: &mut State,
        now: Instant,
        ticket: Ticket,
        subscription: &Subscription,
        destination: Destination,
        selector: Option<Arc<Selector>>,
    ) {
        let Subscription { id, overflow, is_kept, .. } = *subscription;
        note(state, id, destination.clone());
        let route = Route { connection: self.key, subscription: id, overflow, seen: None };
        let condition = subscription.condition.clone().or(selector.map(|selector| selector as Arc<dyn Condition>));
        if is_kept {
            self.broker().history().keep(&destination);
        }
        let mut retained = self.fanout.subscribe(&destination, condition, route);
        if is_kept {
            retained.clear();
        }
        if !self.takes_binary() {
            self.fanout.add_text_only(&destination);
        }
        // The reply first: a RECEIPT says that the subscription is live.
        state.session.handle_reply(now, ticket, Reply::Done);
        for message in retained {
            Self::push_answer(state, id, message, true);
        }
    }

    /// Gives the session what it missed, before what comes from now on.
    pub(super) fn catch_up(
        &self,
        state: &mut State,
        now: Instant,
        ticket: Ticket,
        topics: &[(Destination, Option<Arc<dyn Condition>>)],
        since: Since,
    ) {
        let names: Vec<&Destination> = topics.iter().map(|(name, _)| name).collect();
        let mut backlog = self.broker().history().since(&names, since);
        let now_ms = now_ms();
        backlog.messages.retain(|message| {
            let condition = topics.iter().find(|(name, _)| *name == message.destination);
            let is_wanted =
                condition.and_then(|(_, condition)| condition.as_ref()).is_none_or(|of| of.matches(message));
            is_wanted && message.expires_at_ms.is_none_or(|at| at > now_ms)
        });
        self.broker().stats().delivered.add(backlog.messages.len() as u64);
        state.session.handle_reply(now, ticket, Reply::Missed(Box::new(backlog)));
        Self::push_finished(state);
    }

    fn subscribe_to_queue(
        &self,
        state: &mut State,
        ticket: Ticket,
        subscription: &Subscription,
        queue: Destination,
        selector: Option<Arc<Selector>>,
    ) -> Result<(), BrokerError> {
        let is_auto = subscription.ack == AckMode::Auto;
        let max = self.fanout.settings().limits.unacked;
        let queueing = state.queueing.get_or_insert_default();
        // What is delivered must find room in the session's own table of what waits for ACK.
        let free = if is_auto { max } else { max.saturating_sub(queueing.prefetched()) };
        let wanted = subscription.prefetch_count.unwrap_or(self.broker().queue_settings().prefetch_count);
        let prefetch_count = wanted.min(u32::try_from(free).unwrap_or(u32::MAX));
        if prefetch_count == 0 {
            return Err(BrokerError::NoPrefetch { max });
        }
        queueing.add_consumer(subscription.id, prefetch_count, is_auto);
        queueing.expect_answers(ticket, 1);
        note(state, subscription.id, queue.clone());
        let (consumer, asker) = (self.consumer(subscription.id), Some(self.asker(ticket)));
        self.broker().post_request(Request::Subscribe {
            queue,
            consumer,
            prefetch_count,
            selector,
            takes_binary: self.takes_binary(),
            asker,
        });
        Ok(())
    }

    fn subscribe_to_app(
        &self,
        state: &mut State,
        now: Instant,
        ticket: Ticket,
        subscription: &Subscription,
        principal: &Principal,
        handler: &dyn AppHandler,
    ) -> Result<(), BrokerError> {
        let answer = handler.handle_subscribe(principal)?;
        state.session.handle_reply(now, ticket, Reply::Done);
        let message = self.answer(subscription.destination.clone(), answer);
        Self::push_answer(state, subscription.id, message, false);
        Ok(())
    }

    /// Brings the replies to a temporary queue that a SEND names in `reply-to`; answers the
    /// queue's full name, or `None` where the session has ended for it.
    pub(super) fn open_temp_queue(&self, state: &mut State, now: Instant, queue: &Destination) -> Option<Destination> {
        let State { session, queueing, .. } = state;
        let key = || queueing.get_or_insert_default().key();
        let address = address::subscribed(queue, session.principal(), key).ok()?;
        match session.handle_reply_to(now, queue) {
            ReplyTo::Known => {}
            ReplyTo::Opened(subscription) => {
                let overflow = Overflow::Close;
                let route = Route { connection: self.key, subscription, overflow, seen: None };
                self.fanout.subscribe(&address, None, route);
                if !self.takes_binary() {
                    self.fanout.add_text_only(&address);
                }
                note(state, subscription, address.clone());
            }
            ReplyTo::Ended => return None,
        }
        Some(address)
    }

    /// What the client asked for itself goes past the mailbox's overflow. It is an answer as a
    /// RECEIPT is, and counts as one: while many wait, nothing more is asked.
    pub(super) fn push_answer(state: &mut State, subscription: SubscriptionId, message: Arc<Message>, retained: bool) {
        Self::push_finished(state);
        state.mailbox.push_answer(Delivery { subscription, message, retained, dropped: 0, count: 0 });
    }

    /// Frames that the session has finished already come first.
    pub(super) fn push_finished(state: &mut State) {
        while let Some(image) = state.session.poll_transmit() {
            state.mailbox.push_octets(image);
        }
    }

    pub(super) fn unsubscribe(&self, state: &mut State, subscription: SubscriptionId) {
        state.standing.give_back(subscription);
        if let Some(at) = state.subscriptions.iter().position(|(id, _)| *id == subscription) {
            let (_, destination) = state.subscriptions.swap_remove(at);
            state.subscriptions.shrink_to_fit();
            self.leave_subscription(state, subscription, &destination);
        }
    }

    pub(super) fn leave_subscription(
        &self,
        state: &mut State,
        subscription: SubscriptionId,
        destination: &Destination,
    ) {
        if destination.kind() != DestinationKind::Queue {
            if !self.takes_binary() {
                self.fanout.remove_text_only(destination);
            }
            return self.fanout.unsubscribe(destination, self.key, subscription);
        }
        let (unsent, leaving) = Queueing::remove_consumer(state, subscription, destination);
        let (queue, consumer) = (destination.clone(), self.consumer(subscription));
        self.broker().post_request(Request::Unsubscribe { queue, consumer, unsent, leaving });
    }
}

/// Most sessions have one subscription, for which a list would take room for four.
fn note(state: &mut State, id: SubscriptionId, destination: Destination) {
    if state.subscriptions.is_empty() {
        state.subscriptions.reserve_exact(1);
    }
    state.subscriptions.push((id, destination));
}

/// A look-up goes through every word of every pattern that matches so far, a thousand perhaps.
const MAX_PATTERN_WORDS: usize = 16;

/// Wildcards for any words, with others behind them, of all patterns of a session. Each of them may
/// have a look-up go on at every word of a name, 128 at most.
const MAX_BRANCHES: usize = 64;
