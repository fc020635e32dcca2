//! One log or metric stream, over WebSocket or as Server-Sent Events, without socket, clock or
//! task.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::command::Command;
use super::ending::Ending;
use super::envelope::{self, Envelope, Kind};
use super::event::{self, Names};
use super::filter::Filter;
use super::position::Position;
use super::{Settings, Wall};
use crate::condition::Condition;
use crate::message::{
    Credentials, Delivery, Destination, Framing, Image, Message, Overflow, Principal, SubscriptionId,
};
use crate::session::outbox::Outbox;
use crate::session::{self, Action, Backlog, CloseReason, Refusal, Reply, Since, Subscription, Ticket, Trouble};

/// What a stream carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feed {
    /// Log lines.
    Logs,
    /// Metrics.
    Metrics,
    /// Log lines, metrics and alerts.
    Combined,
}

impl Feed {
    /// What it consists of.
    pub fn kinds(self) -> &'static [Kind] {
        match self {
            Self::Logs => &[Kind::Log],
            Self::Metrics => &[Kind::Metrics],
            Self::Combined => &[Kind::Log, Kind::Alert, Kind::Metrics],
        }
    }
}

/// How objects are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// One JSON object a message: WebSocket.
    Json,
    /// Server-Sent Events.
    Events {
        /// Under which names.
        names: Names,
        /// Where the client stopped.
        since: Since,
        /// Whether the first that it missed is half there already.
        is_half: bool,
    },
}

/// What a client asked for when it opened the stream.
#[derive(Debug, Clone)]
pub struct Opening {
    /// What the stream carries.
    pub feed: Feed,
    /// How it is written.
    pub form: Form,
    /// Which log lines.
    pub filter: Filter,
    /// How often metrics come; `None`: as the settings say.
    pub interval: Option<Duration>,
    /// Who the client is.
    pub who: Who,
}

/// Who opens a stream.
#[derive(Debug, Clone)]
pub enum Who {
    /// Somebody who is known already.
    Known(Principal),
    /// Whom these credentials name.
    Named(Option<Credentials>),
}

/// The server's side of one stream.
#[derive(Debug)]
pub struct Session {
    settings: Arc<Settings>,
    framing: &'static dyn Framing,
    wall: Wall,
    feed: Feed,
    form: Form,
    filter: Filter,
    interval: Duration,
    principal: Principal,
    phase: Phase,
    outbox: Outbox,
    next_ticket: u64,
    /// The subscription to log lines that is live, and those to alerts and metrics.
    logs: Option<SubscriptionId>,
    next_subscription: u32,
    heard: Instant,
    transmitted: Instant,
    metrics: Metrics,
    /// The last position of what was sent, and how much without one came after it.
    position: u64,
    count: u64,
    trouble: Option<&'static str>,
    unsendable: u64,
}

#[derive(Debug)]
enum Phase {
    Authenticating,
    /// So many subscriptions and requests are still to be answered.
    Subscribing(usize),
    Open,
    Closed,
}

/// Metrics are thinned out to the client's interval.
#[derive(Debug, Default)]
struct Metrics {
    sent: Option<Instant>,
    /// The newest, if its time has not come.
    waiting: Option<Arc<Message>>,
}

impl Session {
    /// A stream that begins with finding out who the client is. `now_ms` is the time of day.
    pub fn new(
        settings: Arc<Settings>,
        framing: &'static dyn Framing,
        opening: Opening,
        now: Instant,
        now_ms: u64,
    ) -> Self {
        let Opening { feed, form, filter, interval, who } = opening;
        let interval = interval.unwrap_or(settings.interval);
        let mut session = Self {
            settings,
            framing,
            wall: Wall::new(now, now_ms),
            feed,
            form,
            filter,
            interval,
            principal: Principal::Anonymous,
            phase: Phase::Authenticating,
            outbox: Outbox::default(),
            next_ticket: 1,
            logs: None,
            next_subscription: 0,
            heard: now,
            transmitted: now,
            metrics: Metrics::default(),
            position: 0,
            count: 0,
            trouble: None,
            unsendable: 0,
        };
        match who {
            Who::Known(principal) => session.on_authenticated(principal),
            Who::Named(credentials) => {
                session.outbox.push(Action::Authenticate { ticket: Ticket(0), credentials, host: None });
            }
        }
        session
    }

    fn on_authenticated(&mut self, principal: Principal) {
        self.principal = principal;
        let kinds = self.feed.kinds();
        for kind in kinds {
            self.subscribe(*kind);
        }
        self.phase = Phase::Subscribing(kinds.len());
        if let Form::Events { since, .. } = self.form {
            self.phase = Phase::Subscribing(kinds.len() + 1);
            let kept = kinds.iter().filter(|kind| **kind != Kind::Metrics);
            let topic = |kind: &Kind| Some((Destination::parse(kind.topic()).ok()?, self.condition(*kind)));
            let topics = kept.filter_map(topic).collect();
            let ticket = self.ticket();
            self.outbox.push(Action::CatchUp { ticket, topics, since });
        }
        if self.feed.kinds().contains(&Kind::Metrics) {
            self.outbox.push(Action::Pace { interval: Some(self.interval) });
        }
    }

    fn condition(&self, kind: Kind) -> Option<Arc<dyn Condition>> {
        (kind == Kind::Log && !self.filter.is_empty()).then(|| Arc::new(self.filter.clone()) as Arc<dyn Condition>)
    }

    fn subscribe(&mut self, kind: Kind) {
        let Ok(destination) = Destination::parse(kind.topic()) else { return };
        let id = SubscriptionId(self.next_subscription);
        self.next_subscription += 1;
        let overflow = if kind == Kind::Metrics { Overflow::Latest } else { self.settings.overflow };
        let condition = self.condition(kind);
        let is_kept = kind != Kind::Metrics && self.form != Form::Json;
        if kind == Kind::Log {
            self.logs = Some(id);
        }
        let subscription = Subscription { overflow, condition, is_kept, ..Subscription::new(id, destination) };
        let ticket = self.ticket();
        self.outbox.push(Action::Subscribe { ticket, subscription: Box::new(subscription) });
    }

    fn ticket(&mut self) -> Ticket {
        self.next_ticket += 1;
        Ticket(self.next_ticket - 1)
    }

    fn on_refused(&mut self, now: Instant, refusal: &Refusal) {
        let (code, reason) = match self.phase {
            Phase::Authenticating if refusal.status != 401 => ("UNAVAILABLE", CloseReason::TryAgainLater),
            Phase::Authenticating | Phase::Subscribing(_) | Phase::Open => {
                ("UNAUTHORIZED", CloseReason::PolicyViolation)
            }
            Phase::Closed => return,
        };
        let is_key = matches!(self.phase, Phase::Authenticating) && refusal.status == 401;
        let message = if is_key { NO_KEY.to_owned() } else { refusal.reason.clone() };
        self.end(now, Ending { code, message, reason });
    }

    fn on_done(&mut self) {
        if let Phase::Subscribing(left) = &mut self.phase {
            *left -= 1;
            if *left == 0 {
                self.phase = Phase::Open;
            }
        }
    }

    fn on_missed(&mut self, now: Instant, missed: &Backlog) {
        let Form::Events { names, is_half, .. } = self.form else { return };
        self.position = missed.messages.first().map_or(missed.position, |message| message.position().saturating_sub(1));
        let retry = format!("retry: {}\nid: {}\n\n", self.settings.retry.as_millis(), self.here());
        self.transmit(retry.as_bytes());
        if missed.is_gap {
            let gap = envelope::gap("not kept", 0, self.wall.ms(now));
            let event = event::event("gap", self.here(), &gap);
            self.transmit(&event);
        }
        for (n, message) in missed.messages.iter().enumerate() {
            let names = if n == 0 && is_half && names == Names::Both { Names::Named } else { names };
            if let Some(image) = self.events(message, names) {
                self.outbox.push(Action::Transmit(image));
            }
        }
        self.position = self.position.max(missed.position);
    }

    fn here(&self) -> Position<'_> {
        Position { epoch: &self.settings.epoch, number: self.position, count: self.count, is_half: false }
    }

    fn on_command(&mut self, now: Instant, octets: &[u8]) {
        match Command::parse(octets) {
            Ok(Command::Ping) => self.transmit(envelope::pong(self.wall.ms(now)).as_bytes()),
            Ok(Command::Filter(filter)) => self.on_filter(filter),
            Ok(Command::Interval(interval)) => {
                self.interval = interval;
                if self.feed.kinds().contains(&Kind::Metrics) {
                    self.outbox.push(Action::Pace { interval: Some(interval) });
                }
            }
            Err(error) => self.tell(now, error.code(), &error.to_string()),
        }
    }

    /// Messages that are on their way to the former subscription are looked at when they come.
    fn on_filter(&mut self, filter: Filter) {
        self.filter = filter;
        if let Some(subscription) = self.logs.take() {
            self.outbox.push(Action::Unsubscribe { subscription });
            self.subscribe(Kind::Log);
        }
    }

    /// The octets of a message.
    fn image(&mut self, message: &Message) -> Option<Image> {
        match self.form {
            Form::Json => {
                let envelope = Envelope::of(message)?;
                // The object as the end that framings compress, with nothing in front.
                let build = || {
                    let tail = self.framing.tail(&envelope.json, true);
                    Image { head: self.framing.head(b"", &tail, true), tail: tail.octets }
                };
                Some(message.images.envelope(self.framing.row(), JSON_DIALECT, build))
            }
            Form::Events { names, .. } => self.events(message, names),
        }
    }

    fn events(&mut self, message: &Message, names: Names) -> Option<Image> {
        let envelope = Envelope::of(message)?;
        let epoch = &self.settings.epoch;
        if message.position() == 0 {
            self.count += 1;
            return Some(event::events(envelope, self.here(), names).into());
        }
        self.position = message.position();
        self.count = 0;
        let position = Position { epoch, number: self.position, count: 0, is_half: false };
        let build = || event::events(envelope, position, names).into();
        Some(message.images.envelope(self.framing.row(), names.dialect(), build))
    }

    /// Metrics that come before their time wait, the newest alone.
    fn on_metrics(&mut self, now: Instant, message: Arc<Message>, retained: bool) -> Option<Image> {
        let due = self.metrics.sent.map(|sent| sent + self.interval);
        if due.is_some_and(|due| now < due) {
            self.metrics.waiting = Some(message);
            return None;
        }
        // A value that was kept may be old: the next may follow it at once.
        self.metrics.sent = if retained { None } else { Some(now) };
        self.metrics.waiting = None;
        self.image(&message)
    }

    /// Something is wrong with a request, and the stream goes on.
    fn tell(&mut self, now: Instant, code: &str, message: &str) {
        self.transmit(envelope::error(code, message, self.wall.ms(now)).as_bytes());
    }

    fn end(&mut self, now: Instant, Ending { code, message, reason }: Ending) {
        match self.form {
            Form::Json => self.tell(now, code, &message),
            // Not `error`: a browser has an event of that name for a connection that broke.
            Form::Events { .. } => {
                let error = envelope::error(code, &message, self.wall.ms(now));
                let event = event::event("end", self.here(), &error);
                self.transmit(&event);
            }
        }
        self.trouble = Some(code);
        self.close(reason);
    }

    fn close(&mut self, reason: CloseReason) {
        self.outbox.push(Action::Close(reason));
        self.phase = Phase::Closed;
        self.metrics = Metrics::default();
    }

    fn transmit(&mut self, octets: &[u8]) {
        self.outbox.push(Action::Transmit(self.framing.whole(octets, true)));
    }

    fn idle_at(&self) -> Option<Instant> {
        let waits = self.settings.idle_timeout;
        (self.form == Form::Json && !waits.is_zero()).then(|| self.heard + waits)
    }

    fn keep_alive_at(&self) -> Option<Instant> {
        matches!(self.form, Form::Events { .. }).then(|| self.transmitted + self.settings.keep_alive)
    }

    fn metrics_at(&self) -> Option<Instant> {
        self.metrics.waiting.as_ref()?;
        self.metrics.sent.map(|sent| sent + self.interval)
    }
}

impl session::Session for Session {
    fn handle_bytes(&mut self, now: Instant, octets: Bytes) {
        if matches!(self.phase, Phase::Closed) {
            return;
        }
        self.heard = now;
        if self.form == Form::Json {
            self.on_command(now, &octets);
        }
    }

    fn handle_ping(&mut self, now: Instant) {
        self.heard = now;
    }

    fn handle_unread(&mut self, now: Instant) {
        self.heard = now;
    }

    fn prepare(&self, message: &Message, budget: &mut usize) -> bool {
        let dialect = match self.form {
            Form::Json => JSON_DIALECT,
            Form::Events { names, .. } => names.dialect(),
        };
        message.images.prepare_envelope(self.framing, dialect, message.body.len(), budget)
    }

    fn delivery_image(&mut self, now: Instant, delivery: Delivery) -> Option<Image> {
        if !matches!(self.phase, Phase::Open | Phase::Subscribing(_)) {
            return None;
        }
        let Delivery { message, subscription, retained, dropped, .. } = delivery;
        let envelope = Envelope::of(&message)?;
        match envelope.kind {
            Kind::Metrics => return self.on_metrics(now, message, retained),
            // It has come with the backlog, or is no news.
            Kind::Log | Kind::Alert if retained => return None,
            Kind::Log | Kind::Alert if message.position() > 0 && message.position() <= self.position => return None,
            Kind::Log if Some(subscription) != self.logs && !self.filter.matches(&message) => return None,
            Kind::Log | Kind::Alert => {}
        }
        let lost = (dropped > 0).then(|| self.lost(now, dropped));
        let image = self.image(&message)?;
        let Some(lost) = lost else { return Some(image) };
        Some(Image { head: [lost.head, lost.tail, image.head].concat().into(), tail: image.tail })
    }

    fn handle_reply(&mut self, now: Instant, _ticket: Ticket, reply: Reply) {
        match reply {
            // The driver keeps the time: it says so with `Trouble::Expired`.
            Reply::Authenticated { principal, .. } => self.on_authenticated(principal),
            Reply::Done => self.on_done(),
            Reply::Missed(missed) => {
                self.on_missed(now, &missed);
                self.on_done();
            }
            Reply::Refused(refusal) => self.on_refused(now, &refusal),
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if !matches!(self.phase, Phase::Open) {
            return;
        }
        if is_due(self.idle_at()) {
            return self.end(now, Ending::idle(self.settings.idle_timeout));
        }
        if is_due(self.metrics_at())
            && let Some(message) = self.metrics.waiting.take()
        {
            self.metrics.sent = Some(now);
            if let Some(image) = self.image(&message) {
                self.outbox.push(Action::Transmit(image));
            }
        }
        if is_due(self.keep_alive_at()) {
            self.transmitted = now;
            self.transmit(b": keep-alive\n\n");
        }
    }

    fn handle_transmitted(&mut self, now: Instant) {
        self.transmitted = now;
    }

    fn handle_trouble(&mut self, now: Instant, trouble: Trouble) {
        if matches!(self.phase, Phase::Closed) {
            return;
        }
        if trouble == Trouble::Expired {
            self.outbox.withdraw();
        }
        self.end(now, trouble.into());
    }

    fn handle_principal(&mut self, principal: Principal) {
        self.principal = principal;
    }

    fn handle_revoked(&mut self, now: Instant, _subscription: SubscriptionId, refusal: Refusal) {
        self.on_refused(now, &refusal);
    }

    fn poll_action(&mut self) -> Option<Action> {
        self.outbox.poll()
    }

    fn poll_transmit(&mut self) -> Option<Image> {
        self.outbox.poll_transmit()
    }

    fn has_action(&self) -> bool {
        !self.outbox.is_empty()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        if !matches!(self.phase, Phase::Open) {
            return None;
        }
        [self.idle_at(), self.keep_alive_at(), self.metrics_at()].into_iter().flatten().min()
    }

    fn open_tickets(&self) -> usize {
        match self.phase {
            Phase::Authenticating => 1,
            Phase::Subscribing(open) => open,
            Phase::Open | Phase::Closed => 0,
        }
    }

    fn wants_read(&self) -> bool {
        !matches!(self.phase, Phase::Closed)
    }

    fn principal(&self) -> &Principal {
        &self.principal
    }

    fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed)
    }

    fn trouble(&self) -> Option<&'static str> {
        self.trouble
    }

    fn unsendable(&self) -> u64 {
        self.unsendable
    }
}

impl Session {
    /// Messages were dropped because the client read too slowly.
    fn lost(&self, now: Instant, dropped: u32) -> Image {
        let now_ms = self.wall.ms(now);
        match self.form {
            Form::Json => {
                let message = format!("{dropped} messages were dropped before the next: you read too slowly");
                self.framing.whole(envelope::error("SLOW_CONSUMER", &message, now_ms).as_bytes(), true)
            }
            Form::Events { .. } => {
                let gap = envelope::gap("slow", dropped, now_ms);
                Bytes::from(event::event("gap", self.here(), &gap)).into()
            }
        }
    }
}

const JSON_DIALECT: usize = 0;

const NO_KEY: &str = "the key is missing or not good; give one as ?api_key=KEY, as the WebSocket subprotocols \
                      ['api_key', KEY], or in the header X-API-Key";

#[cfg(test)]
mod tests;
