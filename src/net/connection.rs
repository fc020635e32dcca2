//! [`Connection`]: the task that drives one STOMP session over one transport.
//!
//! The shard writes deliveries straight to the socket; the task reads, keeps time, and takes
//! over the writing where the socket would block.

mod ending;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use tracing::{debug, error, info};

use self::ending::{Ending, Leaving};
use super::clock;
use super::fanout::Fanout;
use super::io::{Ended, Incoming, MessageIo};
use super::timer::Timer;
use crate::broker::app::{AppAnswer, AppEffect};
use crate::broker::handle::{PublishError, Target, now_ms};
use crate::broker::mailbox::{Entry, Mailbox, Pushed};
use crate::broker::pattern::Pattern;
use crate::broker::router::{ConnectionKey, Route};
use crate::broker::{Broker, BrokerError};
use crate::message::{Delivery, Destination, Image, Message, Publication, SubscriptionId};
use crate::stomp::Version;
use crate::stomp::session::{Action, Refusal, Reply, Session, SessionError, Subscription, Ticket, TransactionAction};

/// One client's connection, owned by its task and by its shard's table.
pub struct Connection {
    id: u64,
    key: ConnectionKey,
    fanout: Rc<Fanout>,
    io: Box<dyn MessageIo>,
    state: RefCell<State>,
    /// Whether the shard has it on its list of those to flush.
    is_dirty: Cell<bool>,
}

struct State {
    session: Session,
    mailbox: Mailbox,
    /// Octets that the socket did not take; their first may be partly written.
    unwritten: VecDeque<Image>,
    is_blocked: bool,
    waker: Option<Waker>,
    subscriptions: Vec<(SubscriptionId, Destination)>,
    /// Publications that wait for room in a shard's inbox; nothing else is done meanwhile.
    publishing: Option<Box<Publishing>>,
    ending: Option<Box<Ending>>,
    is_over: bool,
}

struct Publishing {
    ticket: Ticket,
    left: VecDeque<Publication>,
    room: Pin<Box<dyn Future<Output = ()>>>,
}

impl Connection {
    /// Puts a session on a transport; the caller spawns [`Connection::run`].
    pub(super) fn new(
        id: u64,
        key: ConnectionKey,
        fanout: Rc<Fanout>,
        io: Box<dyn MessageIo>,
        session: Session,
    ) -> Self {
        let state = State {
            session,
            mailbox: Mailbox::default(),
            unwritten: VecDeque::new(),
            is_blocked: false,
            waker: None,
            subscriptions: Vec::new(),
            publishing: None,
            ending: None,
            is_over: false,
        };
        Self { id, key, fanout, io, state: RefCell::new(state), is_dirty: Cell::new(false) }
    }

    /// Drives the session until it is over, and forgets it.
    pub(super) async fn run(self: Rc<Self>) {
        let stats = self.broker().stats();
        stats.connections.add(1);
        stats.connections_total.add(1);
        let leaving = Leaving(&self);
        let mut timer = Timer::default();
        poll_fn(|cx| self.poll(cx, &mut timer)).await;
        drop(leaving);
    }

    /// Takes a message from the shard; answers whether the shard is to flush it.
    pub(super) fn deliver(&self, route: &Route, message: &Arc<Message>) -> bool {
        if route.seen.is_some_and(|seen| message.id <= seen) {
            return false;
        }
        let delivery =
            Delivery { subscription: route.subscription, message: Arc::clone(message), retained: false, dropped: 0 };
        let mut state = self.state.borrow_mut();
        if state.ending.is_some() || state.is_over || state.session.is_closed() {
            return false;
        }
        let limits = self.broker().mailbox_limits();
        // Several subscriptions to one burst are no sign of a slow reader: its socket tells.
        if !state.is_blocked && !state.mailbox.has_room(message.body.len(), limits) {
            self.flush(&mut state, clock::now());
        }
        let State { mailbox, is_blocked, .. } = &mut *state;
        let stats = self.broker().stats();
        match mailbox.push(delivery, route.overflow, *is_blocked, limits) {
            Pushed::Waits => {}
            Pushed::Dropped(count) => stats.dropped_overflow.add(u64::from(count)),
            Pushed::Full => {
                stats.slow_consumers.add(1);
                let error =
                    SessionError::SlowConsumer { messages: state.mailbox.deliveries(), bytes: state.mailbox.bytes() };
                self.fail(&mut state, error);
                return false;
            }
        }
        // A blocked socket has its task waiting for it already.
        !state.is_blocked && !self.is_dirty.replace(true)
    }

    /// Writes all that waits, from the shard.
    pub(super) fn flush_from_shard(&self, now: Instant) {
        self.is_dirty.set(false);
        let mut state = self.state.borrow_mut();
        self.flush(&mut state, now);
        if state.is_blocked || state.is_over || state.session.is_closed() {
            wake(&mut state);
        }
    }

    /// Gives the connection up after a panic within it: its state is not to be trusted.
    pub(super) fn abandon(&self) {
        let mut state = self.state.borrow_mut();
        error!(connection = self.id, "given up after a panic");
        state.is_over = true;
        wake(&mut state);
    }

    /// Ends the session with an ERROR.
    pub(super) fn end(&self, error: SessionError) {
        let mut state = self.state.borrow_mut();
        self.fail(&mut state, error);
    }

    fn fail(&self, state: &mut State, error: SessionError) {
        let now = clock::now();
        state.session.handle_error(now, error);
        self.perform(state, now);
        wake(state);
    }

    fn broker(&self) -> &Broker {
        self.fanout.broker()
    }

    fn poll(&self, cx: &mut Context<'_>, timer: &mut Timer) -> Poll<()> {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        if !state.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            state.waker = Some(cx.waker().clone());
        }
        let now = clock::now();
        for _ in 0..EVENTS_PER_POLL {
            self.perform(state, now);
            // After it, so that what it began to wait for wakes this task.
            self.poll_publishing(state, now, cx);
            self.flush(state, now);
            if state.is_over {
                return Poll::Ready(());
            }
            if state.may_act() && state.session.has_action() {
                continue;
            }
            let read_on = self.poll_read(state, now, cx);
            let write_on = state.is_blocked && self.poll_write_ready(state, cx);
            if read_on || write_on {
                continue;
            }
            match timer.poll(cx, self.deadline(state)) {
                Poll::Ready(()) => self.handle_timeout(state, clock::now()),
                Poll::Pending => return Poll::Pending,
            }
        }
        // Others of the shard have their turn. Time passes for a peer that never pauses, too.
        let now = clock::now();
        if self.deadline(state).is_some_and(|deadline| deadline <= now) {
            self.handle_timeout(state, now);
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Answers whether something came. After the end it reads on until the peer is gone, so
    /// that no reset overtakes what was said last.
    fn poll_read(&self, state: &mut State, now: Instant, cx: &mut Context<'_>) -> bool {
        if !self.reads(state) {
            return false;
        }
        let Poll::Ready(incoming) = self.io.poll_read(cx) else { return false };
        self.on_incoming(state, now, incoming);
        true
    }

    /// A peer that does not take its answers is not read from, so that they stay bounded.
    fn reads(&self, state: &State) -> bool {
        if state.ending.is_some() {
            return true;
        }
        state.publishing.is_none() && state.session.wants_read() && state.mailbox.octets_bytes() < ANSWER_BYTES
    }

    fn poll_write_ready(&self, state: &mut State, cx: &mut Context<'_>) -> bool {
        match self.io.poll_write_ready(cx) {
            Poll::Ready(Ok(())) => {
                state.is_blocked = false;
                true
            }
            Poll::Ready(Err(error)) => {
                debug!(connection = self.id, %error, "the transport broke");
                state.is_over = true;
                true
            }
            Poll::Pending => false,
        }
    }

    fn deadline(&self, state: &State) -> Option<Instant> {
        if let Some(ending) = &state.ending {
            return Some(ending.deadline);
        }
        let of_io = if self.reads(state) { self.io.poll_timeout() } else { None };
        [state.session.poll_timeout(), of_io].into_iter().flatten().min()
    }

    fn handle_timeout(&self, state: &mut State, now: Instant) {
        if let Some(ending) = &state.ending {
            if ending.deadline <= now {
                self.leave_words(state);
                state.is_over = true;
            }
            return;
        }
        // What waits for the socket already is sign of life enough: no more is put behind it.
        if state.is_blocked {
            state.session.handle_transmitted(now);
        }
        if self.reads(state)
            && let Some(incoming) = self.io.handle_timeout(now)
        {
            self.on_incoming(state, now, incoming);
        }
        state.session.handle_timeout(now);
    }

    fn on_incoming(&self, state: &mut State, now: Instant, incoming: Incoming) {
        match incoming {
            Incoming::Octets(octets) => {
                self.broker().stats().bytes_in.add(octets.len() as u64);
                if state.ending.is_none() {
                    state.session.handle_bytes(now, octets);
                }
            }
            Incoming::Reply(octets) => {
                if state.ending.is_none() {
                    state.mailbox.push_octets(octets.into());
                }
            }
            Incoming::Ended(Ended::Closed) => {
                self.flush(state, now);
                self.on_peer_closed(state, now);
            }
            Incoming::Ended(Ended::Lost(kind)) => {
                debug!(connection = self.id, reason = %kind, "the transport is gone");
                state.is_over = true;
            }
            Incoming::Ended(Ended::Violation { reason, farewell }) => self.on_violation(state, now, reason, farewell),
        }
    }

    /// Carries out what the session asks, as much as may be done in one turn.
    fn perform(&self, state: &mut State, now: Instant) {
        let mut actions = 0;
        while state.may_act()
            && (actions < ACTIONS_PER_TURN || state.session.is_closed())
            && let Some(action) = state.session.poll_action()
        {
            actions += 1;
            match action {
                Action::Transmit(image) => state.mailbox.push_octets(image),
                Action::Authenticate { ticket, credentials, host } => {
                    let reply = match self.broker().authenticate(credentials.as_ref()) {
                        Ok(principal) => {
                            info!(connection = self.id, transport = self.io.transport(), %principal, "connected");
                            Reply::Authenticated { principal }
                        }
                        Err(_) => {
                            self.broker().stats().refused.add(1);
                            info!(connection = self.id, transport = self.io.transport(), "access refused");
                            Reply::Refused(Refusal::new(401, "Access refused"))
                        }
                    };
                    state.session.handle_reply(now, ticket, reply);
                    // STOMP 1.2 "CONNECT": host is required from 1.1 on; many clients omit it.
                    if host.is_none() && state.session.version().is_some_and(|version| version != Version::V1_0) {
                        debug!(connection = self.id, "CONNECT names no host");
                    }
                }
                Action::Publish { ticket, publication } => {
                    self.publish(state, now, ticket, VecDeque::from([publication]));
                }
                Action::Commit { ticket, actions } => self.commit(state, now, ticket, actions),
                Action::Subscribe { ticket, subscription } => self.subscribe(state, now, ticket, *subscription),
                Action::Unsubscribe { subscription } => self.unsubscribe(state, subscription),
                Action::Settle { ticket, .. } => state.session.handle_reply(now, ticket, Reply::Done),
                Action::Close(reason) => self.on_close(state, now, reason),
            }
        }
    }

    fn subscribe(&self, state: &mut State, now: Instant, ticket: Ticket, subscription: Subscription) {
        let Subscription { id, destination, overflow, .. } = subscription;
        match self.broker().subscribe_target(state.session.principal(), &destination) {
            Ok(Target::Topic) => {
                state.subscriptions.push((id, destination.clone()));
                let route = Route { connection: self.key, subscription: id, overflow, seen: None };
                let retained = self.fanout.subscribe(&destination, route);
                // The reply first: a RECEIPT says that the subscription is live.
                state.session.handle_reply(now, ticket, Reply::Done);
                for message in retained {
                    self.push_private(state, now, id, message, true);
                }
            }
            Ok(Target::App(handler)) => match handler.handle_subscribe(state.session.principal()) {
                Ok(answer) => {
                    state.session.handle_reply(now, ticket, Reply::Done);
                    if let Some(answer) = answer {
                        let message = self.answer(destination, answer);
                        self.push_private(state, now, id, message, false);
                    }
                }
                Err(error) => self.refuse(state, now, ticket, &error),
            },
            Err(error) => self.refuse(state, now, ticket, &error),
        }
    }

    /// What the client asked for itself goes past the mailbox's overflow. It is an answer as a
    /// RECEIPT is, and counts as one: while many wait, nothing more is asked.
    fn push_private(
        &self,
        state: &mut State,
        now: Instant,
        subscription: SubscriptionId,
        message: Arc<Message>,
        retained: bool,
    ) {
        // Frames that the session has finished already come first.
        while let Some(image) = state.session.poll_transmit() {
            state.mailbox.push_octets(image);
        }
        let delivery = Delivery { subscription, message, retained, dropped: 0 };
        if let Some(image) = state.session.delivery_image(now, delivery) {
            state.mailbox.push_octets(image);
            self.broker().stats().delivered.add(1);
        }
    }

    fn unsubscribe(&self, state: &mut State, subscription: SubscriptionId) {
        if let Some(at) = state.subscriptions.iter().position(|(id, _)| *id == subscription) {
            let (_, destination) = state.subscriptions.swap_remove(at);
            state.subscriptions.shrink_to_fit();
            self.fanout.unsubscribe(&destination, self.key, subscription);
        }
    }

    fn refuse(&self, state: &mut State, now: Instant, ticket: Ticket, error: &BrokerError) {
        self.broker().stats().refused.add(1);
        info!(connection = self.id, reason = %error, "refused");
        state.session.handle_reply(now, ticket, Reply::Refused(Refusal::new(error.status(), error.to_string())));
    }

    /// STOMP 1.2 "COMMIT": all or nothing, so every publication is checked before the first goes.
    fn commit(&self, state: &mut State, now: Instant, ticket: Ticket, actions: Vec<TransactionAction>) {
        let publications: VecDeque<Publication> = actions
            .into_iter()
            .filter_map(|action| match action {
                TransactionAction::Publish(publication) => Some(publication),
                TransactionAction::Settle(_) => None,
            })
            .collect();
        let principal = state.session.principal();
        let refusal =
            publications.iter().find_map(|publication| self.broker().check_send(principal, publication).err());
        match refusal {
            Some(error) => self.refuse(state, now, ticket, &error),
            None => self.publish(state, now, ticket, publications),
        }
    }

    fn publish(&self, state: &mut State, now: Instant, ticket: Ticket, mut left: VecDeque<Publication>) {
        while let Some(publication) = left.pop_front() {
            let destination = publication.destination.clone();
            match self.broker().send(state.session.principal(), publication) {
                Ok(AppEffect::None) => debug!(connection = self.id, %destination, "published"),
                Ok(AppEffect::Deliver(destination, answer)) => self.deliver_to_own(state, now, &destination, answer),
                Err(PublishError::Busy(publication)) => {
                    left.push_front(publication);
                    let room = Box::pin(self.broker().room(destination));
                    state.publishing = Some(Box::new(Publishing { ticket, left, room }));
                    return;
                }
                Err(PublishError::Refused(error)) => return self.refuse(state, now, ticket, &error),
            }
        }
        state.session.handle_reply(now, ticket, Reply::Done);
    }

    fn poll_publishing(&self, state: &mut State, now: Instant, cx: &mut Context<'_>) {
        while let Some(publishing) = &mut state.publishing
            && publishing.room.as_mut().poll(cx).is_ready()
        {
            if let Some(publishing) = state.publishing.take() {
                self.publish(state, now, publishing.ticket, publishing.left);
            }
        }
    }

    /// The client's own subscriptions to `destination` get the answer.
    fn deliver_to_own(&self, state: &mut State, now: Instant, destination: &Destination, answer: AppAnswer) {
        let message = self.answer(destination.clone(), answer);
        let matches =
            |to: &Destination| to == destination || Pattern::of(to).is_some_and(|pattern| pattern.matches(destination));
        let own: Vec<SubscriptionId> =
            state.subscriptions.iter().filter(|(_, to)| matches(to)).map(|(id, _)| *id).collect();
        for id in own {
            self.push_private(state, now, id, Arc::clone(&message), false);
        }
    }

    fn answer(&self, destination: Destination, answer: AppAnswer) -> Arc<Message> {
        let headers = vec![("content-type".into(), answer.content_type.into())];
        self.broker().private_message(Publication { destination, headers, body: answer.body })
    }

    /// Writes what waits, all in as few calls as it takes, until nothing is left or the socket
    /// takes no more.
    fn flush(&self, state: &mut State, now: Instant) {
        if state.is_blocked || state.is_over {
            return;
        }
        let mut queue = self.fanout.take_scratch();
        queue.extend(state.unwritten.drain(..));
        let mut bytes = 0;
        loop {
            self.fill(state, now, &mut queue);
            if queue.is_empty() {
                break;
            }
            match self.io.try_write(&mut queue) {
                Ok(written) => {
                    bytes += written.bytes;
                    state.is_blocked = written.is_blocked;
                }
                Err(error) => {
                    debug!(connection = self.id, %error, "the transport broke");
                    state.is_over = true;
                    queue.clear();
                }
            }
            if state.is_blocked || state.is_over {
                break;
            }
        }
        if queue.is_empty() {
            state.unwritten = VecDeque::new();
        } else {
            state.unwritten.extend(queue.drain(..));
        }
        self.fanout.give_scratch_back(queue);
        if bytes > 0 {
            self.broker().stats().bytes_out.add(bytes as u64);
            state.session.handle_transmitted(now);
        }
    }

    /// Makes octets of what waits, up to what one write can take.
    fn fill(&self, state: &mut State, now: Instant, queue: &mut VecDeque<Image>) {
        let mut bytes = 0;
        while queue.len() < FLUSH_PIECES && bytes < FLUSH_BYTES {
            match state.mailbox.pop() {
                Some(Entry::Octets(image)) => {
                    bytes += image.len();
                    queue.push_back(image);
                }
                Some(Entry::Delivery(delivery)) => {
                    if delivery.message.expires_at_ms.is_some_and(|at| at <= now_ms()) {
                        self.broker().stats().dropped_expired.add(1);
                        continue;
                    }
                    if let Some(image) = state.session.delivery_image(now, delivery) {
                        bytes += image.len();
                        queue.push_back(image);
                        self.broker().stats().delivered.add(1);
                    }
                }
                None => {
                    if let Some(ending) = &mut state.ending
                        && !ending.farewell_queued
                    {
                        ending.farewell_queued = true;
                        self.io.farewell(&ending.close, queue);
                    }
                    return;
                }
            }
        }
    }
}

impl State {
    /// Whether the session's next action may be carried out: not while a publication waits for
    /// room, nor while the peer does not take its answers.
    fn may_act(&self) -> bool {
        self.publishing.is_none() && (self.session.is_closed() || self.mailbox.octets_bytes() < ANSWER_BYTES)
    }
}

fn wake(state: &mut State) {
    if let Some(waker) = &state.waker {
        waker.wake_by_ref();
    }
}

/// How many events of one connection are served before the shard's others have their turn.
const EVENTS_PER_POLL: usize = 32;

/// How many actions of one session are carried out before its socket is looked at again.
const ACTIONS_PER_TURN: usize = 64;

/// Octets of answers to a peer's own frames that may wait before it is read from no more.
const ANSWER_BYTES: usize = 64 * 1024;

/// Pieces and octets handed to the socket at once.
const FLUSH_PIECES: usize = 64;
const FLUSH_BYTES: usize = 256 * 1024;
