//! [`Connection`]: the task that drives one session over one transport.
//!
//! The shard writes deliveries straight to the socket; the task reads, keeps time, and takes
//! over the writing where the socket would block.
//!
//! # What a connection holds
//!
//! A raw WebSocket that is CONNECTED, has one subscription and is at rest, in octets on a 64-bit
//! machine, largest first, as they are asked of the allocator, which rounds them up to 16, 32, 48,
//! 64, 80, 96, 112, 128, and then by an eighth to a quarter; the kernel's socket comes on top.
//! Buffers for reading and writing are the shard's, a frame's octets go with the frame, and a
//! mailbox, a decoder or a reader that is empty has given its memory back.
//!
//! | octets | what |
//! |---|---|
//! | 1008 | `Connection<stomp::Session>`: of it the session, next line, and the mailbox, 64 |
//! | (648) | `stomp::Session`: of it the decoder, next line, and the two heart-beats' clocks, 96 |
//! | (168) | `stomp::Decoder` |
//! | 416 | `Counted<RawWebSocket>`, the transport: its reader, its queue of events, its socket's handle; 48 are for counting |
//! | 256 | tokio's record of the socket, on cache lines of its own |
//! | 256 | tokio's task; of it the future that `Connection::run` makes, next line |
//! | (96) | `Connection::run` |
//! | 112 | `Sleep`, the one timer, for heart-beats and pings |
//! | 56 | `SessionSeat`, its place under the limits |
//! | 48 | `stomp::Session`'s entry for the subscription |
//! | 32 | `Route`, in the shard's list of the destination's subscribers, which may be half empty |
//! | 32 | its destination's name, of 15 octets and two counts |
//! | 30 | the session's name, which CONNECTED tells |
//! | 24 | the shard's `Place` for it, in a table that may be half empty |
//! | 24 | the connection's own note of the subscription, for the day it leaves |
//! | 5 | the subscription's name |
//!
//! That is 2299 in all; rounded up, and with the tables' free places, `stompbox bench idle` finds
//! some 2460 in the memory of the process.
//!
//! TCP has `Tcp`, 168 octets, for the transport, and SockJS on a WebSocket 496,
//! `Counted<SockJsWebSocketIo>`.
//!
//! A session of SockJS that receives by xhr_streaming has all of that but the transport, and what
//! the HTTP connection holds of its response:
//!
//! | octets | what |
//! |---|---|
//! | 8192 | hyper's buffer for heads that are written; 4096 of it are ever touched, and resident |
//! | 8192 | hyper's buffer for what is read; likewise |
//! | 2600 | the future that serves the HTTP connection: hyper's state of it, the limits and the request's answer |
//! | 624 | the response's headers, whose table hyper keeps for the next |
//! | 552 | `HttpSession`: of it the SockJS session, its queue and its deadlines |
//! | 384 | tokio's task for that session |
//! | 320 | hyper's queue of pieces to be written |
//! | 224 | the queue of deliveries of that session |
//! | 144 | the pipe from the session to the response's body |
//! | 128 | tokio's task for the HTTP connection |
//! | 112 | `Sleep`, that session's timer |
//! | 64 | `Lane`, by which large responses take turns |
//! | 64 | that session's queue of what it is to do |
//! | 56 | `Counted<SessionIo>`, the transport, which is a handle of that session |
//! | 56 | the HTTP connection's note of when it was last active |
//! | 56 | hyper's box for the service |
//! | 48 | hyper's box for the body |
//! | 48 | the session's name in the path, and the clock that hyper asks, three times 16 |

mod authenticating;
mod bounds;
mod ending;
mod publishing;
mod queueing;
mod standing;
mod subscribing;
mod writing;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use tracing::{debug, error, info};

use self::authenticating::{Checking, Purpose};
pub(super) use self::bounds::Bounds;
use self::bounds::Waiting;
use self::ending::{Ending, Finishing, Leaving};
use self::publishing::Work;
use self::queueing::Queueing;
use self::standing::Standing;
use super::clock;
use super::fanout::Fanout;
use super::io::{Ended, Incoming, MessageIo};
use super::timer::Timer;
use super::turn::give_way;
use crate::broker::mailbox::{Mailbox, Pushed};
use crate::broker::pace::Wanted;
use crate::broker::refusals::{Line, clipped};
use crate::broker::router::{ConnectionKey, Route};
use crate::broker::{Broker, BrokerError};
use crate::message::{Credentials, Delivery, Destination, Image, Message, SubscriptionId};
use crate::session::{Action, Refusal, Reply, Session, Ticket, TransactionAction, Trouble};

/// One client's connection, owned by its task and by its shard's table. The session is its last
/// part, of whatever protocol: it takes no place of its own in memory, and no more than it needs.
pub struct Connection<S: ?Sized = dyn Session> {
    id: u64,
    key: ConnectionKey,
    /// The client's address, where that is known.
    peer: Option<IpAddr>,
    fanout: Rc<Fanout>,
    io: Box<dyn MessageIo>,
    /// Whether the shard has it on its list of those to flush.
    is_dirty: Cell<bool>,
    waiting: Waiting,
    /// How many messages the session could not send, as far as they are counted.
    unsendable: Cell<u64>,
    state: RefCell<State<S>>,
}

struct State<S: ?Sized = dyn Session> {
    mailbox: Mailbox,
    /// Octets that the socket did not take.
    unwritten: VecDeque<Image>,
    /// Whether a part of their first has left already.
    is_cut: bool,
    is_blocked: bool,
    /// Whether what waits takes more work than one turn allows.
    is_unfinished: bool,
    waker: Option<Waker>,
    subscriptions: Vec<(SubscriptionId, Destination)>,
    /// What waits for room in a shard's inbox; nothing else is done meanwhile.
    publishing: Option<Box<Publishing>>,
    /// What waits for credentials to be checked; nothing else is done meanwhile.
    checking: Option<Box<Checking>>,
    standing: Standing,
    /// What only those sessions have that use queues.
    queueing: Option<Box<Queueing>>,
    /// The peer sends no more, and may still read.
    finishing: Option<Box<Finishing>>,
    /// How often the session wants the gauges.
    pace: Option<Box<Wanted>>,
    ending: Option<Box<Ending>>,
    bounds: Bounds,
    is_over: bool,
    session: S,
}

/// What became of a message that the shard handed to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Handed {
    /// Nothing is left to do.
    Done,
    /// It waits for the shard to flush the connection.
    Waits,
    /// It has no room before the connection is flushed, and is to be handed over again then.
    NoRoom,
}

struct Publishing {
    ticket: Ticket,
    work: Work,
    room: Pin<Box<dyn Future<Output = ()>>>,
}

impl<S: Session> Connection<S> {
    /// Puts a session on a transport; the caller spawns [`Connection::run`].
    pub(super) fn new(
        id: u64,
        key: ConnectionKey,
        peer: Option<IpAddr>,
        bounds: Bounds,
        fanout: Rc<Fanout>,
        io: Box<dyn MessageIo>,
        session: S,
    ) -> Self {
        let state = State {
            mailbox: Mailbox::default(),
            unwritten: VecDeque::new(),
            is_cut: false,
            is_blocked: false,
            is_unfinished: false,
            waker: None,
            subscriptions: Vec::new(),
            publishing: None,
            checking: None,
            standing: Standing::default(),
            queueing: None,
            finishing: None,
            pace: None,
            ending: None,
            bounds,
            is_over: false,
            session,
        };
        Self {
            id,
            key,
            peer,
            fanout,
            io,
            is_dirty: Cell::new(false),
            waiting: Waiting::default(),
            unsendable: Cell::new(0),
            state: RefCell::new(state),
        }
    }
}

impl Connection {
    /// Drives the session until it is over, and forgets it.
    pub(super) async fn run(self: Rc<Self>) {
        let stats = self.broker().stats();
        stats.connections.add(1);
        stats.connections_total.add(1);
        stats.transports.add(self.io.transport());
        let leaving = Leaving(&self);
        let mut timer = Timer::default();
        poll_fn(|cx| {
            // Its state is not to be trusted after a panic; the others of the shard go on.
            catch_unwind(AssertUnwindSafe(|| self.poll(cx, &mut timer))).unwrap_or_else(|_| {
                self.abandon();
                Poll::Ready(())
            })
        })
        .await;
        drop(leaving);
    }

    /// Takes a message from the shard. With a time, no other message is to follow it at once: it is
    /// written now if nothing is in front of it.
    pub(super) fn deliver(&self, route: &Route, message: &Arc<Message>, alone: Option<Instant>) -> Handed {
        if route.seen.is_some_and(|seen| message.id <= seen) {
            return Handed::Done;
        }
        let delivery = Delivery {
            subscription: route.subscription,
            message: Arc::clone(message),
            retained: false,
            dropped: 0,
            count: 0,
        };
        let mut state = self.state.borrow_mut();
        if state.ending.is_some() || state.is_over || state.session.is_closed() {
            return Handed::Done;
        }
        if let Some(now) = alone
            && state.has_nothing_waiting()
            && state.session.prepare(message, &mut PREPARED_BYTES.clone())
        {
            self.write_at_once(&mut state, now, delivery);
            if state.is_blocked || state.is_over || state.session.is_closed() {
                wake(&mut state);
            }
            return Handed::Done;
        }
        let limits = self.broker().mailbox_limits();
        // Several subscriptions to one burst are no sign of a slow reader: its socket tells.
        if !state.is_blocked && !state.mailbox.has_room(message.body.len(), limits) {
            return Handed::NoRoom;
        }
        let State { mailbox, is_blocked, .. } = &mut *state;
        let stats = self.broker().stats();
        match mailbox.push(delivery, route.overflow, *is_blocked, limits) {
            Pushed::Waits => {}
            Pushed::Dropped(count) => stats.dropped_overflow.add(u64::from(count)),
            Pushed::Full => {
                stats.slow_consumers.add(1);
                let trouble =
                    Trouble::SlowConsumer { messages: state.mailbox.deliveries(), bytes: state.mailbox.bytes() };
                self.fail(&mut state, trouble);
                return Handed::Done;
            }
        }
        if state.is_blocked {
            self.recount(&state);
        }
        // A blocked socket has its task waiting for it already.
        if state.is_blocked || self.is_dirty.replace(true) { Handed::Done } else { Handed::Waits }
    }

    /// Writes all that waits, from the shard; answers whether it is to do so again after others
    /// had their turn.
    pub(super) fn flush_from_shard(&self, now: Instant) -> bool {
        self.is_dirty.set(false);
        let mut state = self.state.borrow_mut();
        self.flush(&mut state, now);
        if state.is_blocked || state.is_over || state.session.is_closed() {
            wake(&mut state);
        }
        state.is_unfinished
    }

    /// Gives the connection up after a panic within it: its state is not to be trusted.
    pub(super) fn abandon(&self) {
        let mut state = self.state.borrow_mut();
        self.broker().stats().panics.add(1);
        error!(connection = self.id, "given up after a panic");
        state.is_over = true;
        wake(&mut state);
    }

    /// Ends the session, which tells its client why.
    pub(super) fn end(&self, trouble: Trouble) {
        let mut state = self.state.borrow_mut();
        self.fail(&mut state, trouble);
    }

    fn fail(&self, state: &mut State, trouble: Trouble) {
        let now = clock::now();
        state.session.handle_trouble(now, trouble);
        self.perform(state, now);
        // What is given up waits no more.
        self.recount(state);
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
        // First of all, so that nothing below does a thing for a session whose time is up.
        self.expire(state, now);
        let mut since_look = 0;
        for _ in 1..EVENTS_PER_POLL {
            if since_look >= WORK_PER_LOOK {
                since_look = 0;
                if clock::now().duration_since(now) >= self.fanout.turn() {
                    break;
                }
            }
            since_look += 1 + self.perform(state, now);
            // After it, so that what it began to wait for wakes this task.
            self.poll_publishing(state, now, cx);
            self.poll_checking(state, now, cx);
            self.flush(state, now);
            self.finish(state, now);
            if state.is_over {
                return Poll::Ready(());
            }
            if state.is_unfinished {
                break;
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
        give_way(cx);
        Poll::Pending
    }

    /// Answers whether something came. After the end it reads on until the peer is gone, so
    /// that no reset overtakes what was said last.
    fn poll_read(&self, state: &mut State, now: Instant, cx: &mut Context<'_>) -> bool {
        if !self.reads(state) {
            return false;
        }
        let Poll::Ready(incoming) = self.io.poll_read(cx) else { return false };
        if matches!(incoming, Incoming::Reply(_)) {
            state.session.handle_ping(now);
        }
        self.on_incoming(state, now, incoming);
        true
    }

    /// A peer that does not take its answers is not read from, so that they stay bounded.
    fn reads(&self, state: &State) -> bool {
        if state.finishing.is_some() {
            return false;
        }
        if state.ending.is_some() {
            return true;
        }
        !state.is_held() && state.session.wants_read() && state.mailbox.octets_bytes() < ANSWER_BYTES
    }

    fn poll_write_ready(&self, state: &mut State, cx: &mut Context<'_>) -> bool {
        match self.io.poll_write_ready(cx) {
            Poll::Ready(Ok(())) => {
                state.is_blocked = false;
                true
            }
            Poll::Ready(Err(error)) => {
                self.on_broken(state, error.kind());
                true
            }
            Poll::Pending => false,
        }
    }

    fn deadline(&self, state: &State) -> Option<Instant> {
        if let Some(ending) = &state.ending {
            return Some(ending.deadline);
        }
        if let Some(finishing) = &state.finishing {
            return Some(finishing.deadline);
        }
        let of_io = if self.reads(state) { self.io.poll_timeout() } else { None };
        let expiry = if state.session.is_closed() { None } else { state.standing.until() };
        [state.session.poll_timeout(), of_io, expiry, state.bounds.deadline()].into_iter().flatten().min()
    }

    fn handle_timeout(&self, state: &mut State, now: Instant) {
        if let Some(ending) = &state.ending {
            if ending.deadline <= now {
                self.leave_words(state);
                state.is_over = true;
            }
            return;
        }
        if let Some(finishing) = &state.finishing {
            state.is_over = finishing.deadline <= now;
            return;
        }
        self.expire(state, now);
        // What waits for the socket already is sign of life enough: no more is put behind it.
        if state.is_blocked {
            state.session.handle_transmitted(now);
        }
        if self.reads(state)
            && let Some(incoming) = self.io.handle_timeout(now)
        {
            self.on_incoming(state, now, incoming);
        }
        if state.is_held() || (self.reads(state) && self.io.is_behind()) {
            state.session.handle_unread(now);
        }
        self.handle_bounds_timeout(state, now);
        state.session.handle_timeout(now);
    }

    fn on_incoming(&self, state: &mut State, now: Instant, incoming: Incoming) {
        match incoming {
            Incoming::Octets(octets) => {
                self.broker().stats().bytes_in.add(octets.len() as u64);
                if state.ending.is_none() {
                    self.count_bytes(state, now, octets.len());
                    state.session.handle_bytes(now, octets);
                    self.count_held(state);
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
            Incoming::Ended(Ended::Finished) => self.on_peer_finished(state, now),
            Incoming::Ended(Ended::Lost(kind)) => {
                self.on_broken(state, kind);
            }
            Incoming::Ended(Ended::Violation { reason, farewell, limit }) => {
                if let Some(limit) = limit {
                    self.fanout.limiter().note(limit);
                }
                self.on_violation(state, now, reason, farewell);
            }
        }
    }

    /// Carries out what the session asks, as much as may be done in one turn; answers how many
    /// actions that were.
    fn perform(&self, state: &mut State, now: Instant) -> usize {
        let mut actions = 0;
        while state.may_act()
            && (actions < ACTIONS_PER_TURN || state.session.is_closed())
            && let Some(action) = state.session.poll_action()
        {
            actions += 1;
            match action {
                Action::Transmit(image) => state.mailbox.push_octets(image),
                Action::Authenticate { ticket, credentials, host } => {
                    // STOMP 1.2 "CONNECT": host is required from 1.1 on; many clients omit it.
                    debug!(connection = self.id, host = host.as_deref(), "the host that the client named");
                    let shown = || self.io.subject().map(|subject| Credentials::Certificate((*subject).to_owned()));
                    self.count_connect(state);
                    if !state.session.is_closed() {
                        self.authenticate(state, ticket, Purpose::Connect, credentials.or_else(shown));
                    }
                }
                Action::Publish { ticket, publication } => {
                    let action = TransactionAction::Publish(publication);
                    self.count_messages(state, std::slice::from_ref(&action));
                    if !state.session.is_closed() {
                        self.carry_out(state, now, ticket, Work::of_frame(action));
                    }
                }
                Action::Commit { ticket, actions } => {
                    self.count_messages(state, &actions);
                    if !state.session.is_closed() {
                        self.carry_out(state, now, ticket, Work::of_commit(actions));
                    }
                }
                Action::Subscribe { ticket, subscription } => self.subscribe(state, now, ticket, *subscription),
                Action::CatchUp { ticket, topics, since } => self.catch_up(state, now, ticket, &topics, since),
                Action::Pace { interval } => {
                    state.pace = interval.map(|interval| Box::new(self.broker().paces().want(interval)));
                }
                Action::Unsubscribe { subscription } => self.unsubscribe(state, subscription),
                Action::Settle { ticket, settlements } => {
                    self.carry_out(state, now, ticket, Work::of_frame(TransactionAction::Settle(settlements)));
                }
                Action::Close(reason) => self.on_close(state, now, reason),
            }
        }
        actions
    }

    fn refuse(&self, state: &mut State, now: Instant, ticket: Ticket, error: &BrokerError) {
        self.broker().stats().refused.add(1);
        // What the rules refuse has a line of its own, with the rule.
        let is_logged = matches!(error, BrokerError::NotAllowed { .. });
        if !is_logged && let Some(Line { left_out }) = self.broker().refusals().line() {
            info!(connection = self.id, reason = clipped(error.to_string()), left_out, "refused");
        }
        state.session.handle_reply(now, ticket, Reply::Refused(Refusal::new(error.status(), error.to_string())));
    }
}

impl State {
    /// Whether what is written now overtakes nothing.
    fn has_nothing_waiting(&self) -> bool {
        self.mailbox.is_empty() && self.unwritten.is_empty() && !self.is_blocked && self.queueing.is_none()
    }

    /// Whether the session waits for what is not its peer's to do, and is not read meanwhile.
    fn is_held(&self) -> bool {
        self.publishing.is_some() || self.checking.is_some() || self.bounds.waits()
    }

    /// Whether the session's next action may be carried out: not while a publication waits for
    /// room or credentials for their check, nor while the peer does not take its answers.
    fn may_act(&self) -> bool {
        let may_answer = self.checking.is_none() && !self.bounds.waits() && self.mailbox.octets_bytes() < ANSWER_BYTES;
        self.publishing.is_none() && (self.session.is_closed() || may_answer)
    }
}

fn wake(state: &mut State) {
    if let Some(waker) = &state.waker {
        waker.wake_by_ref();
    }
}

/// How many events of one connection are served at most before the shard's others have their turn.
/// What one publisher hands over in one turn can leave in one write for each subscriber.
const EVENTS_PER_POLL: usize = 512;

/// Events and actions between two looks at the clock, some 3 µs each.
const WORK_PER_LOOK: usize = 16;

/// How many actions of one session are carried out before its socket is looked at again.
const ACTIONS_PER_TURN: usize = 64;

/// Octets of answers to a peer's own frames that may wait before it is read from no more.
const ANSWER_BYTES: usize = 64 * 1024;

/// Octets that are compressed for one connection in one turn, a message's last or only piece beyond
/// it: up to a millisecond's work.
const PREPARED_BYTES: usize = 32 * 1024;

/// Pieces and octets handed to the socket at once, and how often in one turn.
const FLUSH_PIECES: usize = 64;
const FLUSH_BYTES: usize = 256 * 1024;
const FLUSH_WRITES: usize = 4;

/// Octets handed over at once where a newer message takes an older one's place: what the socket does
/// not take of them is too late for that.
const LATEST_FLUSH_BYTES: usize = 16 * 1024;

#[cfg(test)]
mod tests;
