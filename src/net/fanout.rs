//! [`Fanout`]: a shard's connections and its way of writing one message to many of them.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use tokio_util::task::TaskTracker;
use tracing::{error, info};

use super::clock;
use super::connection::{Bounds, Connection, Handed};
use super::io::MessageIo;
use super::limits::Limiter;
use super::live::Live;
use super::queueing;
use crate::broker::Broker;
use crate::broker::auth::Identity;
use crate::broker::router::{ConnectionKey, Route, Router, Routes};
use crate::condition::Condition;
use crate::message::{Credentials, Destination, Image, Message, SubscriptionId};
use crate::session::{Exceeded, Session, Trouble};
use crate::stomp;

/// A shard's connections and subscriptions; nothing of it is touched by another thread.
pub struct Fanout {
    shard: usize,
    broker: Broker,
    settings: Live<stomp::Settings>,
    router: RefCell<Router>,
    /// How many subscribers of a destination have a transport that carries text only.
    text_only: RefCell<HashMap<Destination, u32>>,
    connections: RefCell<Vec<Place>>,
    free: RefCell<Vec<u32>>,
    scratch: Cell<VecDeque<Image>>,
    next_id: Cell<u64>,
    is_draining: Cell<bool>,
    is_dispatching: Cell<bool>,
    limiter: Limiter,
    /// Octets that wait for this shard's clients.
    waiting: Cell<usize>,
    tasks: TaskTracker,
}

#[derive(Default)]
struct Place {
    turn: u32,
    connection: Option<Rc<Connection>>,
}

impl Fanout {
    /// Makes an empty one for that shard of the broker's, without limits beyond a session's own.
    pub fn new(shard: usize, broker: Broker, settings: Live<stomp::Settings>) -> Rc<Self> {
        Self::limited(shard, broker, settings, Limiter::default())
    }

    /// Makes an empty one for that shard of the broker's.
    pub fn limited(shard: usize, broker: Broker, settings: Live<stomp::Settings>, limiter: Limiter) -> Rc<Self> {
        let router = RefCell::new(Router::new(broker.separators()));
        Rc::new(Self {
            shard,
            broker,
            settings,
            router,
            text_only: RefCell::default(),
            connections: RefCell::default(),
            free: RefCell::default(),
            scratch: Cell::default(),
            next_id: Cell::new(1),
            is_draining: Cell::new(false),
            is_dispatching: Cell::new(false),
            limiter,
            waiting: Cell::new(0),
            tasks: TaskTracker::new(),
        })
    }

    /// The broker.
    pub fn broker(&self) -> &Broker {
        &self.broker
    }

    /// Puts a STOMP session on a transport and drives it; `peer` is for the log, `offered` are
    /// the credentials that came with the request that opened the transport.
    pub fn connect(self: &Rc<Self>, io: Box<dyn MessageIo>, peer: &str, offered: Option<Credentials>) {
        let name = session_name();
        let session = stomp::Session::new(self.settings.get(), io.framing(), name, offered, clock::now());
        self.drive(io, peer, session);
    }

    /// Puts a session of any protocol on a transport and drives it.
    pub fn drive(self: &Rc<Self>, io: Box<dyn MessageIo>, peer: &str, session: impl Session + 'static) {
        self.drive_as(io, peer, session, None);
    }

    /// As [`Fanout::drive`]; `identity` is who the client is, where that was found out before.
    pub fn drive_as(
        self: &Rc<Self>,
        io: Box<dyn MessageIo>,
        peer: &str,
        session: impl Session + 'static,
        identity: Option<&Identity>,
    ) {
        let number = self.next_id.get();
        self.next_id.set(number + 1);
        // Unique over all shards, and short enough to be read.
        let id = number * crate::broker::interest::Shards::MAX as u64 + self.shard as u64;
        info!(connection = id, peer, transport = io.transport(), "accepted");
        let address = peer.parse().map(|peer: SocketAddr| peer.ip()).or_else(|_| peer.parse()).ok();
        let key = self.vacancy();
        let (seat, exceeded) = match address.map(|address| self.limiter.enter_session(address)) {
            None => (None, None),
            Some(Ok(seat)) => (Some(seat), None),
            Some(Err(exceeded)) => (None, Some(exceeded)),
        };
        let bounds = Bounds::new(seat, io.is_two_way());
        let connection: Rc<Connection> =
            Rc::new(Connection::new(id, key, address, bounds, Rc::clone(self), io, session));
        self.connections.borrow_mut()[key.place as usize].connection = Some(Rc::clone(&connection));
        if self.is_draining.get() {
            connection.end(Trouble::ShuttingDown);
        } else if let Some(exceeded) = exceeded {
            connection.end(Trouble::Exceeded(exceeded));
        } else if let Some(identity) = identity {
            connection.begin_as(identity);
        }
        self.tasks.spawn_local(connection.run());
    }

    /// What a session that begins now is told by the settings.
    pub(super) fn settings(&self) -> Arc<stomp::Settings> {
        self.settings.get()
    }

    /// The shard's number.
    pub(super) fn shard(&self) -> usize {
        self.shard
    }

    /// Serves the shard's inboxes; never ends.
    pub async fn run(self: Rc<Self>) {
        tokio::join!(self.run_messages(), queueing::run(&self), self.shed_periodically(), self.recheck_when_reloaded());
    }

    pub(super) fn limiter(&self) -> &Limiter {
        &self.limiter
    }

    /// Notes that for one client other octets wait than before.
    pub(super) fn set_waiting(&self, before: usize, now: usize) {
        let waiting = self.waiting.get() - before + now;
        self.waiting.set(waiting);
        self.limiter.set_waiting(self.shard, waiting);
    }

    async fn shed_periodically(&self) {
        loop {
            tokio::time::sleep(SHED_EVERY).await;
            self.shed();
        }
    }

    /// Sessions and subscriptions live no longer than the users and rules they began with.
    async fn recheck_when_reloaded(&self) {
        let mut reloads = self.broker.reloads();
        while reloads.changed().await.is_ok() {
            let mut slice = Slice::begin();
            for connection in self.all() {
                isolate(&connection, Connection::recheck);
                slice.step(WRITE_STEPS).await;
            }
        }
    }

    /// How long a connection is served before others have their turn: while messages go out to many
    /// each of those stands between two slices of them.
    pub(super) fn turn(&self) -> Duration {
        if self.is_dispatching.get() { SHORT_TURN } else { TURN }
    }

    fn all(&self) -> Vec<Rc<Connection>> {
        self.connections.borrow().iter().filter_map(|place| place.connection.clone()).collect()
    }

    /// Where too much waits for all clients together, those go for whom most waits.
    fn shed(&self) {
        if self.waiting.get() == 0 || self.limiter.overfull(self.shard).is_none() {
            return;
        }
        let mut largest = self.all();
        largest.retain(|one| one.may_be_shed());
        largest.sort_unstable_by_key(|one| Reverse(one.waiting()));
        for connection in largest {
            let Some(max) = self.limiter.overfull(self.shard) else { return };
            let exceeded = Exceeded::Memory { bytes: connection.waiting(), max };
            self.broker.stats().slow_consumers.add(1);
            self.limiter.note(exceeded.name());
            isolate(&connection, |connection| connection.shed(exceeded));
        }
    }

    async fn run_messages(&self) {
        let mut batch = Vec::new();
        loop {
            let (inbox, limits) = (self.broker.inbox(self.shard), self.broker.mailbox_limits());
            inbox.take(&mut batch, BATCH_MESSAGES).await;
            if batch.len() > 1 {
                // More of a burst is on its way, and a write for each subscriber costs most.
                tokio::task::yield_now().await;
                inbox.try_take(&mut batch, BATCH_MESSAGES);
            }
            for part in parts(&batch, limits.messages / 2, limits.bytes / 2) {
                self.is_dispatching.set(true);
                self.dispatch(part).await;
                self.is_dispatching.set(false);
            }
            batch.clear();
            self.shed();
        }
    }

    /// Runs what leads to a session; [`Fanout::drain`] waits for it.
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        let broker = self.broker.clone();
        self.tasks.spawn_local(async move {
            if AssertUnwindSafe(task).catch_unwind().await.is_err() {
                broker.stats().panics.add(1);
                error!("an upgrade is given up after a panic");
            }
        });
    }

    /// Ends every session with an ERROR and resolves when all are gone.
    pub async fn drain(&self) {
        self.is_draining.set(true);
        for connection in self.all() {
            isolate(&connection, |connection| connection.end(Trouble::ShuttingDown));
        }
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Writes a few messages to all their subscribers, each subscriber's in one go.
    async fn dispatch(&self, messages: &[Arc<Message>]) {
        let mut slice = Slice::begin();
        let mut dirty = Vec::new();
        let mut handed_over = 0;
        let is_alone = messages.len() == 1;
        let flush_steps = write_steps(messages.iter().map(|message| message.body.len()).sum());
        for message in messages {
            let steps = if is_alone { write_steps(message.body.len()) } else { 1 };
            for routes in self.wanting(message, &mut slice).await {
                let mut before = None;
                for route in routes.iter() {
                    // What one connection gets many times of one list leaves in one write, but the first.
                    let is_first = before.replace(route.connection) != Some(route.connection);
                    let alone = (is_alone && is_first).then_some(slice.now);
                    let mut handed = self.hand_over(route, message, alone);
                    while handed == Handed::NoRoom {
                        self.flush(route.connection, &mut slice, flush_steps).await;
                        handed = self.hand_over(route, message, None);
                    }
                    if handed == Handed::Waits {
                        dirty.push(route.connection);
                    }
                    if slice.is_over(steps) {
                        slice.pause().await;
                    }
                }
                handed_over += routes.len();
            }
            if handed_over >= BURST_DELIVERIES {
                handed_over = 0;
                self.flush_all(&mut dirty, &mut slice, flush_steps).await;
            }
        }
        self.flush_all(&mut dirty, &mut slice, flush_steps).await;
    }

    /// The lists of subscribers that want a message. Conditions take their time, too.
    async fn wanting(&self, message: &Message, slice: &mut Slice) -> Vec<Routes> {
        let (mut wanting, mut conditional) = (Vec::new(), Vec::new());
        self.router.borrow().route(&message.destination, |condition, lists| match condition {
            None => wanting.extend_from_slice(lists),
            Some(condition) => conditional.push((Arc::clone(condition), lists.to_vec())),
        });
        if !conditional.is_empty() {
            self.broker.stats().conditions.add(conditional.len() as u64);
        }
        for (condition, lists) in conditional {
            if self.contain("a condition", || condition.matches(message)) == Some(true) {
                wanting.extend(lists);
            }
            slice.step(LOOK_STEPS).await;
        }
        wanting
    }

    /// What breaks down must not take the shard with it.
    fn contain<T>(&self, what: &str, act: impl FnOnce() -> T) -> Option<T> {
        let done = catch_unwind(AssertUnwindSafe(act)).ok();
        if done.is_none() {
            self.broker.stats().panics.add(1);
            error!("{what} is given up after a panic");
        }
        done
    }

    fn hand_over(&self, route: &Route, message: &Arc<Message>, alone: Option<Instant>) -> Handed {
        let connection = self.find(route.connection);
        let handed = connection.and_then(|one| isolate(&one, |one| one.deliver(route, message, alone)));
        handed.unwrap_or(Handed::Done)
    }

    async fn flush_all(&self, dirty: &mut Vec<ConnectionKey>, slice: &mut Slice, steps: u32) {
        for key in dirty.drain(..) {
            self.flush(key, slice, steps).await;
        }
    }

    /// Writes all that waits for a connection, which takes several turns where it is much.
    pub(super) async fn flush(&self, key: ConnectionKey, slice: &mut Slice, steps: u32) {
        while let Some(connection) = self.find(key)
            && isolate(&connection, |connection| connection.flush_from_shard(slice.now)) == Some(true)
        {
            slice.pause().await;
        }
        slice.step(steps).await;
    }

    /// Notes a subscription; answers the retained values it gets, which do not reach it again.
    pub(super) fn subscribe(
        &self,
        destination: &Destination,
        condition: Option<Arc<dyn Condition>>,
        mut route: Route,
    ) -> Vec<Arc<Message>> {
        // Interest first, retained values second: what is published in between comes as a
        // message, and is left out there if it was among the values.
        self.broker.interest().add(destination, self.shard);
        let mut retained = self.broker.retained(destination);
        route.seen = retained.iter().map(|message| message.id).max();
        if let Some(condition) = &condition {
            retained.retain(|message| condition.matches(message));
        }
        self.router.borrow_mut().subscribe(destination, condition, route);
        retained
    }

    pub(super) fn unsubscribe(&self, destination: &Destination, connection: ConnectionKey, id: SubscriptionId) {
        let was_last = self.router.borrow_mut().unsubscribe(destination, connection, id);
        if was_last {
            self.broker.interest().remove(destination, self.shard);
        }
    }

    /// Notes a subscriber whose transport carries text only.
    pub(super) fn add_text_only(&self, destination: &Destination) {
        let Some(interest) = self.broker.text_only() else { return };
        *self.text_only.borrow_mut().entry(destination.clone()).or_default() += 1;
        interest.add(destination, self.shard);
    }

    pub(super) fn remove_text_only(&self, destination: &Destination) {
        let (Some(interest), mut counts) = (self.broker.text_only(), self.text_only.borrow_mut()) else { return };
        let Some(count) = counts.get_mut(destination) else { return };
        *count -= 1;
        if *count == 0 {
            counts.remove(destination);
            interest.remove(destination, self.shard);
        }
    }

    pub(super) fn forget(&self, key: ConnectionKey) {
        let mut places = self.connections.borrow_mut();
        if let Some(place) = places.get_mut(key.place as usize)
            && place.turn == key.turn
        {
            place.connection = None;
            place.turn = place.turn.wrapping_add(1);
            self.free.borrow_mut().push(key.place);
        }
    }

    /// A queue for one flush, kept with its room for the next.
    pub(super) fn take_scratch(&self) -> VecDeque<Image> {
        self.scratch.take()
    }

    pub(super) fn give_scratch_back(&self, scratch: VecDeque<Image>) {
        self.scratch.set(scratch);
    }

    pub(super) fn find(&self, key: ConnectionKey) -> Option<Rc<Connection>> {
        let places = self.connections.borrow();
        let place = places.get(key.place as usize)?;
        if place.turn == key.turn { place.connection.clone() } else { None }
    }

    fn vacancy(&self) -> ConnectionKey {
        let mut places = self.connections.borrow_mut();
        let place = self.free.borrow_mut().pop().unwrap_or_else(|| {
            places.push(Place::default());
            u32::try_from(places.len() - 1).unwrap_or(u32::MAX)
        });
        ConnectionKey { place, turn: places[place as usize].turn }
    }
}

/// Cuts a batch so that no part fills a mailbox that was empty before it.
fn parts(batch: &[Arc<Message>], max_messages: usize, max_bytes: usize) -> impl Iterator<Item = &[Arc<Message>]> {
    let mut rest = batch;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |message: &&Arc<Message>| {
            bytes += message.body.len();
            bytes <= max_bytes
        };
        let count = rest.iter().take(max_messages).take_while(fits).count().max(1).min(rest.len());
        let (part, others) = rest.split_at(count);
        rest = others;
        (!part.is_empty()).then_some(part)
    })
}

/// The work of one fan-out, cut so that it holds the core for half a millisecond at a time.
pub(super) struct Slice {
    /// The time at the last look.
    pub(super) now: Instant,
    begin: Instant,
    steps: u32,
}

impl Slice {
    pub(super) fn begin() -> Self {
        let now = clock::now();
        Self { now, begin: now, steps: 0 }
    }

    /// Whether others should have their turn after these steps.
    pub(super) fn is_over(&mut self, steps: u32) -> bool {
        self.steps += steps;
        if self.steps < STEPS_PER_LOOK {
            return false;
        }
        self.steps = 0;
        self.now = clock::now();
        self.now.duration_since(self.begin) >= SLICE
    }

    /// Serves the shard's others, and the sockets that became readable.
    pub(super) async fn pause(&mut self) {
        tokio::task::yield_now().await;
        *self = Self::begin();
    }

    pub(super) async fn step(&mut self, steps: u32) {
        if self.is_over(steps) {
            self.pause().await;
        }
    }
}

/// What a write of so many octets counts for.
fn write_steps(bytes: usize) -> u32 {
    WRITE_STEPS.saturating_add(u32::try_from(bytes / 256).unwrap_or(STEPS_PER_LOOK))
}

/// A connection that breaks down must not take the shard's others with it.
pub(super) fn isolate<T>(connection: &Connection, act: impl FnOnce(&Connection) -> T) -> Option<T> {
    let done = catch_unwind(AssertUnwindSafe(|| act(connection))).ok();
    if done.is_none() {
        connection.abandon();
    }
    done
}

/// 128 random bits: a session's name, and its temporary queues' key, must not be guessed.
#[expect(clippy::expect_used, reason = "a name that can be guessed would be worse")]
pub(super) fn session_name() -> Box<str> {
    let mut octets = [0; 16];
    getrandom::fill(&mut octets).expect("the system's random source gave the hash maps their keys at the start");
    octets.iter().map(|octet| format!("{octet:02x}")).collect::<String>().into()
}

/// How often it is looked whether too much waits for all clients together; it is after each
/// burst of messages, too.
const SHED_EVERY: Duration = Duration::from_millis(100);

/// Messages taken at once; a burst takes twice.
const BATCH_MESSAGES: usize = 512;

/// The longest a fan-out holds the core.
const SLICE: Duration = Duration::from_micros(500);

/// How long one connection is served at once, and how long between two slices of a fan-out: with
/// twenty of them sending without a pause, it still has a fifth of the core.
const TURN: Duration = Duration::from_micros(500);
const SHORT_TURN: Duration = Duration::from_micros(100);

/// A look at the clock costs 30 ns, a delivery to a mailbox about 100, a write 2 to 20 µs, a look at
/// a condition 0.1 to 100.
const STEPS_PER_LOOK: u32 = 256;
pub(super) const WRITE_STEPS: u32 = 32;
const LOOK_STEPS: u32 = 32;

/// Deliveries that wait in mailboxes for the end of a burst before they leave, 64 octets each and as
/// much again for room: 32 MiB. With 10,000 subscribers 26 messages leave in one write.
const BURST_DELIVERIES: usize = 256 * 1024;
