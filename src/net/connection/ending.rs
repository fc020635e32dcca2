//! How a connection ends: what is said last, and how it leaves its shard's tables.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tracing::{debug, info};

use super::{Connection, Queueing, State};
use crate::broker::mailbox::Entry;
use crate::message::DestinationKind;
use crate::net::io::Close;
use crate::session::CloseReason;

pub(super) struct Ending {
    pub(super) close: Close,
    pub(super) deadline: Instant,
    pub(super) farewell_queued: bool,
    /// Whether the peer broke the transport's rules: it is left as soon as it is told.
    is_violation: bool,
}

/// The end of a session whose peer sends no more.
pub(super) struct Finishing {
    pub(super) deadline: Instant,
    is_answered: bool,
}

impl Connection {
    pub(super) fn on_close(&self, state: &mut State, now: Instant, reason: CloseReason) {
        Queueing::note_unsent(state);
        let lost = state.mailbox.clear_deliveries();
        self.broker().stats().dropped_closed.add(lost as u64);
        if let Some(limit) = state.session.limit() {
            self.fanout.limiter().note(limit);
        }
        let (sockjs_code, text) = reason.sockjs_close();
        let close = Close { websocket_code: reason.websocket_code(), sockjs_code, reason: text.into() };
        match state.session.trouble() {
            Some(trouble) => info!(connection = self.id, error = trouble, "closing after an ERROR"),
            None => debug!(connection = self.id, reason = close.reason, "closing"),
        }
        state.ending.get_or_insert_with(|| {
            Box::new(Ending { close, deadline: now + LINGER, farewell_queued: false, is_violation: false })
        });
    }

    pub(super) fn on_violation(&self, state: &mut State, now: Instant, reason: String, farewell: Bytes) {
        // After our own farewell the peer's rules are broken unheard.
        if state.ending.is_some() {
            return;
        }
        info!(connection = self.id, reason, "closed for a violation of the transport's rules");
        state.mailbox.push_octets(farewell.into());
        let close = Close { websocket_code: 1002, sockjs_code: 3000, reason };
        state.ending =
            Some(Box::new(Ending { close, deadline: now + LINGER, farewell_queued: true, is_violation: true }));
    }

    /// Leaves a peer that broke the rules, once it has been told.
    pub(super) fn leave_violator(&self, state: &mut State) {
        let is_told = state.unwritten.is_empty() && state.mailbox.is_empty();
        if is_told && state.ending.as_ref().is_some_and(|ending| ending.is_violation) {
            self.io.close_our_side();
        }
    }

    /// A peer that only stopped sending still takes what waits for it, for a while.
    pub(super) fn on_peer_closed(&self, state: &mut State, now: Instant) {
        if state.is_blocked && state.ending.is_none() {
            let close = Close { websocket_code: 1000, sockjs_code: 1000, reason: String::new() };
            state.ending =
                Some(Box::new(Ending { close, deadline: now + LINGER, farewell_queued: true, is_violation: false }));
        } else {
            state.is_over = true;
        }
    }

    /// The peer sends no more, as `printf … | nc` does: it gets its answers, and what its own
    /// SENDs bring to its topics. What a queue would hand out it could not acknowledge.
    pub(super) fn on_peer_finished(&self, state: &mut State, now: Instant) {
        if state.ending.is_some() {
            state.is_over = true;
            return;
        }
        for (subscription, destination) in
            state.subscriptions.extract_if(.., |(_, to)| to.kind() == DestinationKind::Queue).collect::<Vec<_>>()
        {
            self.leave_subscription(state, subscription, &destination);
        }
        state.finishing = Some(Box::new(Finishing { deadline: now + FINISH, is_answered: false }));
    }

    /// Ends a session whose peer sends no more, once it has all that is due to it.
    pub(super) fn finish(&self, state: &mut State, now: Instant) {
        let Some(finishing) = &mut state.finishing else { return };
        let is_answered = state.publishing.is_none() && state.session.open_tickets() == 0;
        if !is_answered || state.is_blocked {
            return;
        }
        if state.subscriptions.is_empty() || state.ending.is_some() {
            state.is_over = true;
        } else if !std::mem::replace(&mut finishing.is_answered, true) {
            finishing.deadline = finishing.deadline.min(now + ECHO);
        }
    }

    /// The time is up with octets that the transport did not take. One that keeps them for a
    /// peer that comes again gets them all, and the farewell.
    pub(super) fn leave_words(&self, state: &mut State) {
        let mut queue = std::mem::take(&mut state.unwritten);
        while let Some(Entry::Octets(image)) = state.mailbox.pop() {
            queue.push_back(image);
        }
        if let Some(ending) = &mut state.ending
            && !ending.farewell_queued
        {
            ending.farewell_queued = true;
            self.io.farewell(&ending.close, &mut queue);
        }
    }

    pub(super) fn leave(&self) {
        let stats = self.broker().stats();
        let mut state = self.state.borrow_mut();
        state.is_over = true;
        let parting = Queueing::take_parting(&mut state);
        for (subscription, destination) in std::mem::take(&mut state.subscriptions).into_iter().chain(parting) {
            self.leave_subscription(&mut state, subscription, &destination);
        }
        let lost = state.mailbox.clear_deliveries();
        stats.dropped_closed.add(lost as u64);
        self.forget_waiting();
        stats.connections.sub(1);
        stats.transports.sub(self.io.transport());
        info!(connection = self.id, transport = self.io.transport(), undelivered = lost, "disconnected");
        self.fanout.forget(self.key);
    }
}

/// Takes the connection out of the shard's tables, even after a panic.
pub(super) struct Leaving<'a>(pub(super) &'a Connection);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// How long a peer that sends no more waits for its answers, and takes to read them.
const FINISH: Duration = Duration::from_secs(10);

/// How long its last SENDs may take through the shards to its own subscriptions.
const ECHO: Duration = Duration::from_millis(100);

/// How long the last octets may take to leave and the peer to close.
const LINGER: Duration = Duration::from_secs(1);
