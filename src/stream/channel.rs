//! One client of channels: topics by short names, in JSON, and requests with answers.

mod request;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use self::request::{Channel, Request, Typed, Wrong};
use super::Settings;
use super::ending::Ending;
use super::position::Position;
use crate::message::{
    Credentials, Delivery, Destination, Framing, Image, Message, Principal, Publication, SubscriptionId,
};
use crate::session::outbox::Outbox;
use crate::session::{self, Action, Backlog, CloseReason, Refusal, Reply, Since, Subscription, Ticket, Trouble};

/// The server's side of one client of channels.
#[derive(Debug)]
pub struct Session {
    settings: Arc<Settings>,
    framing: &'static dyn Framing,
    principal: Principal,
    phase: Phase,
    outbox: Outbox,
    open: Vec<Subscribed>,
    requests: VecDeque<(Ticket, Pending)>,
    next_ticket: u64,
    next_subscription: u32,
    /// The end of the wait for `auth`.
    deadline: Option<Instant>,
    heard: Instant,
    trouble: Option<&'static str>,
    unsendable: u64,
}

/// ```text
/// Opening ── good ──► Open ◄── auth ── Unknown
///    └── nothing was given, and something is needed ──►┘
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Opening,
    Unknown,
    Open,
    Closed,
}

#[derive(Debug)]
struct Subscribed {
    id: SubscriptionId,
    channel: Channel,
    /// What came up to there has come with what was missed.
    seen: u64,
}

/// What waits for an answer.
#[derive(Debug)]
enum Pending {
    Opening { was_given: bool },
    Auth { id: Value },
    Subscribe { id: SubscriptionId },
    CatchUp { id: SubscriptionId },
    Publish { channel: String },
    Send { id: Value, is_event: bool },
    Query { id: Value, subscription: SubscriptionId },
}

impl Session {
    /// A client that gave those credentials when it connected.
    pub fn new(
        settings: Arc<Settings>,
        framing: &'static dyn Framing,
        credentials: Option<Credentials>,
        now: Instant,
    ) -> Self {
        let mut session = Self {
            settings,
            framing,
            principal: Principal::Anonymous,
            phase: Phase::Opening,
            outbox: Outbox::default(),
            open: Vec::new(),
            requests: VecDeque::new(),
            next_ticket: 0,
            next_subscription: 0,
            deadline: None,
            heard: now,
            trouble: None,
            unsendable: 0,
        };
        let ticket = session.pending(Pending::Opening { was_given: credentials.is_some() });
        session.outbox.push(Action::Authenticate { ticket, credentials, host: None });
        session.deadline = now.checked_add(session.settings.auth_timeout);
        session
    }

    fn on_request(&mut self, octets: &[u8]) {
        let epoch = Arc::clone(&self.settings.epoch);
        match Request::parse(octets, &epoch) {
            Ok(Request::Ping) => self.say(&json!({"type": "pong"})),
            Ok(Request::Typed { id, what: Typed::Auth(credentials) }) => {
                let ticket = self.pending(Pending::Auth { id });
                self.outbox.push(Action::Authenticate { ticket, credentials: Some(credentials), host: None });
            }
            Ok(Request::Typed { id, .. }) if self.phase != Phase::Open => self.refuse(id, AUTH_FIRST),
            Ok(_) if self.phase != Phase::Open => self.tell(json!({"type": "error", "message": AUTH_FIRST})),
            Ok(Request::Subscribe { channel, since }) => self.on_subscribe(channel, since),
            Ok(Request::Unsubscribe { channel }) => self.on_unsubscribe(&channel),
            Ok(Request::Publish { channel, data }) => {
                let ticket = self.pending(Pending::Publish { channel: channel.name });
                self.publish(ticket, channel.topic, data.to_string());
            }
            Ok(Request::Typed { id, what: Typed::Send { handler, body, is_event } }) => {
                let ticket = self.pending(Pending::Send { id, is_event });
                self.publish(ticket, handler, body);
            }
            Ok(Request::Typed { id, what: Typed::Query { handler } }) => {
                let subscription = self.subscription_id();
                let ticket = self.pending(Pending::Query { id, subscription });
                let subscription = Box::new(Subscription::new(subscription, handler));
                self.outbox.push(Action::Subscribe { ticket, subscription });
            }
            Err(Wrong { id: Some(id), reason }) => self.refuse(id, &reason),
            Err(Wrong { id: None, reason }) => self.tell(json!({"type": "error", "message": reason})),
        }
    }

    fn on_subscribe(&mut self, channel: Channel, since: Option<Since>) {
        if self.open.iter().any(|open| open.channel == channel) {
            return self.confirm("subscription_confirm", &channel.name);
        }
        let max = self.settings.channels;
        if self.open.len() >= max {
            let message = format!("this would be channel {} of the connection; at most {max} are allowed", max + 1);
            return self.tell(json!({"type": "error", "message": message, "channel": channel.name}));
        }
        let id = self.subscription_id();
        let topic = channel.topic.clone();
        let is_kept = !channel.is_pattern();
        self.open.push(Subscribed { id, channel, seen: 0 });
        let ticket = self.pending(Pending::Subscribe { id });
        let overflow = self.settings.overflow;
        let subscription = Subscription { overflow, is_kept, ..Subscription::new(id, topic.clone()) };
        self.outbox.push(Action::Subscribe { ticket, subscription: Box::new(subscription) });
        if let Some(since) = since {
            let ticket = self.pending(Pending::CatchUp { id });
            self.outbox.push(Action::CatchUp { ticket, topics: vec![(topic, None)], since });
        }
    }

    fn on_unsubscribe(&mut self, channel: &Channel) {
        if let Some(at) = self.open.iter().position(|open| open.channel == *channel) {
            let subscription = self.open.swap_remove(at).id;
            self.outbox.push(Action::Unsubscribe { subscription });
        }
        self.confirm("unsubscription_confirm", &channel.name);
    }

    fn publish(&mut self, ticket: Ticket, destination: Destination, body: String) {
        let headers = vec![("content-type".into(), "application/json".into())];
        let publication = Publication { destination, headers, body: body.into() };
        self.outbox.push(Action::Publish { ticket, publication });
    }

    fn on_done(&mut self, pending: Pending) {
        match pending {
            Pending::Subscribe { id } => {
                if let Some(open) = self.open.iter().find(|open| open.id == id) {
                    let name = open.channel.name.clone();
                    self.confirm("subscription_confirm", &name);
                }
            }
            Pending::Send { id, is_event } => {
                let status = if is_event { "accepted" } else { "done" };
                self.say(&json!({"type": "response", "requestId": id, "payload": {"status": status}}));
            }
            // Its answer comes as a message.
            Pending::Query { id, subscription } => {
                self.requests.push_front((ANSWERED, Pending::Query { id, subscription }));
            }
            Pending::Opening { .. } | Pending::Auth { .. } | Pending::CatchUp { .. } | Pending::Publish { .. } => {}
        }
    }

    fn on_authenticated(&mut self, pending: &Pending, principal: Principal) {
        if let Pending::Auth { id } = pending {
            let user = principal.name();
            self.say(
                &json!({"type": "response", "requestId": id, "payload": {"status": "authenticated", "user": user}}),
            );
        }
        self.principal = principal;
        self.phase = Phase::Open;
        self.deadline = None;
    }

    fn on_refused(&mut self, pending: Pending, refusal: &Refusal) {
        match pending {
            Pending::Opening { was_given: false } if refusal.status == 401 => self.phase = Phase::Unknown,
            Pending::Opening { .. } => {
                let (code, reason) = match refusal.status {
                    401 => (UNAUTHORIZED, CloseReason::PolicyViolation),
                    _ => ("UNAVAILABLE", CloseReason::TryAgainLater),
                };
                self.end(Ending { code, message: refusal.reason.clone(), reason });
            }
            Pending::Auth { id } | Pending::Send { id, .. } | Pending::Query { id, .. } => {
                self.refuse(id, &refusal.reason);
            }
            Pending::Subscribe { id } => {
                let name = self.open.iter().position(|open| open.id == id).map(|at| self.open.swap_remove(at));
                let name = name.map(|open| open.channel.name);
                self.tell(json!({"type": "error", "message": refusal.reason, "channel": name}));
            }
            Pending::Publish { channel } => {
                self.tell(json!({"type": "error", "message": refusal.reason, "channel": channel}));
            }
            Pending::CatchUp { .. } => {}
        }
    }

    fn on_missed(&mut self, id: SubscriptionId, missed: &Backlog) {
        let Some(open) = self.open.iter_mut().find(|open| open.id == id) else { return };
        open.seen = missed.position;
        let name = open.channel.name.clone();
        if missed.is_gap {
            self.tell(
                json!({"type": "gap", "channel": name, "message": "some messages since then are not kept any more"}),
            );
        }
        for message in &missed.messages {
            if let Some(image) = self.image(message) {
                self.outbox.push(Action::Transmit(image));
            }
        }
    }

    /// `{"channel":C,"data":…}`, with the id to come back with where the topic is kept.
    fn image(&mut self, message: &Message) -> Option<Image> {
        if !message.is_text() {
            self.unsendable += 1;
            return None;
        }
        let build = || {
            let name = message.destination.as_str().strip_prefix("/topic/").unwrap_or_default();
            let mut out = format!("{{\"channel\":{},\"data\":", Value::from(name)).into_bytes();
            out.extend_from_slice(&data(&message.body));
            if message.position() > 0 {
                let epoch = &self.settings.epoch;
                let position = Position { epoch, number: message.position(), count: 0, is_half: false };
                out.extend_from_slice(format!(",\"id\":\"{position}\"").as_bytes());
            }
            out.push(b'}');
            let tail = self.framing.tail(&out.into(), true);
            Image { head: self.framing.head(b"", &tail, true), tail: tail.octets }
        };
        Some(message.images.envelope(self.framing.row(), DIALECT, build))
    }

    /// The answer of a handler to `query`.
    fn answer(&mut self, subscription: SubscriptionId, message: &Message) -> Option<Image> {
        let of = |(_, pending): &(Ticket, Pending)| matches!(pending, Pending::Query { subscription: of, .. } if *of == subscription);
        let at = self.requests.iter().position(of)?;
        let (_, Pending::Query { id, .. }) = self.requests.remove(at)? else { return None };
        let mut out = format!("{{\"type\":\"response\",\"requestId\":{id},\"payload\":").into_bytes();
        out.extend_from_slice(&data(&message.body));
        out.push(b'}');
        Some(self.framing.whole(&out, true))
    }

    fn pending(&mut self, pending: Pending) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.requests.push_back((ticket, pending));
        ticket
    }

    fn subscription_id(&mut self) -> SubscriptionId {
        self.next_subscription += 1;
        SubscriptionId(self.next_subscription - 1)
    }

    fn confirm(&mut self, what: &str, channel: &str) {
        self.tell(json!({"type": what, "channel": channel}));
    }

    fn refuse(&mut self, id: Value, reason: &str) {
        self.say(&json!({"type": "error", "requestId": id, "error": reason}));
    }

    fn tell(&mut self, data: Value) {
        self.say(&json!({"channel": "system", "data": data}));
    }

    fn say(&mut self, what: &Value) {
        self.outbox.push(Action::Transmit(self.framing.whole(what.to_string().as_bytes(), true)));
    }

    fn end(&mut self, Ending { code, message, reason }: Ending) {
        self.tell(json!({"type": "error", "code": code, "message": message}));
        self.trouble = Some(code);
        self.outbox.push(Action::Close(reason));
        self.phase = Phase::Closed;
        self.open = Vec::new();
        self.requests = VecDeque::new();
    }

    fn idle_at(&self) -> Option<Instant> {
        (!self.settings.idle_timeout.is_zero()).then(|| self.heard + self.settings.idle_timeout)
    }
}

impl session::Session for Session {
    fn handle_bytes(&mut self, now: Instant, octets: Bytes) {
        if self.phase != Phase::Closed {
            self.heard = now;
            self.on_request(&octets);
        }
    }

    fn handle_ping(&mut self, now: Instant) {
        self.heard = now;
    }

    fn handle_unread(&mut self, now: Instant) {
        self.heard = now;
    }

    fn prepare(&self, message: &Message, budget: &mut usize) -> bool {
        message.images.prepare_envelope(self.framing, DIALECT, message.body.len(), budget)
    }

    fn delivery_image(&mut self, _now: Instant, delivery: Delivery) -> Option<Image> {
        let Delivery { subscription, message, dropped, .. } = delivery;
        let Some(open) = self.open.iter().find(|open| open.id == subscription) else {
            return self.answer(subscription, &message);
        };
        if message.position() > 0 && message.position() <= open.seen {
            return None;
        }
        let lost = (dropped > 0).then(|| {
            let data = json!({"type": "gap", "channel": open.channel.name, "dropped": dropped,
                "message": "you read too slowly"});
            self.framing.whole(json!({"channel": "system", "data": data}).to_string().as_bytes(), true)
        });
        let image = self.image(&message)?;
        let Some(lost) = lost else { return Some(image) };
        Some(Image { head: [lost.head, lost.tail, image.head].concat().into(), tail: image.tail })
    }

    fn handle_reply(&mut self, _now: Instant, ticket: Ticket, reply: Reply) {
        let Some(at) = self.requests.iter().position(|(open, _)| *open == ticket) else { return };
        let Some((_, pending)) = self.requests.remove(at) else { return };
        match (reply, pending) {
            (Reply::Done, pending) => self.on_done(pending),
            // The driver keeps the time: it says so with `Trouble::Expired`.
            (Reply::Authenticated { principal, .. }, pending) => self.on_authenticated(&pending, principal),
            (Reply::Missed(missed), Pending::CatchUp { id }) => self.on_missed(id, &missed),
            (Reply::Missed(_), _) => {}
            (Reply::Refused(refusal), pending) => self.on_refused(pending, &refusal),
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        match self.phase {
            Phase::Unknown if is_due(self.deadline) => {
                let message = AUTH_FIRST.to_owned();
                self.end(Ending { code: UNAUTHORIZED, message, reason: CloseReason::PolicyViolation });
            }
            Phase::Open if is_due(self.idle_at()) => {
                self.end(Ending::idle(self.settings.idle_timeout));
            }
            Phase::Opening | Phase::Unknown | Phase::Open | Phase::Closed => {}
        }
    }

    fn handle_transmitted(&mut self, _now: Instant) {}

    fn handle_trouble(&mut self, _now: Instant, trouble: Trouble) {
        if self.phase == Phase::Closed {
            return;
        }
        if trouble == Trouble::Expired {
            self.outbox.withdraw();
        }
        self.end(trouble.into());
    }

    fn handle_principal(&mut self, principal: Principal) {
        self.principal = principal;
    }

    fn handle_revoked(&mut self, _now: Instant, subscription: SubscriptionId, refusal: Refusal) {
        self.on_refused(Pending::Subscribe { id: subscription }, &refusal);
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
        match self.phase {
            Phase::Unknown => self.deadline,
            Phase::Open => self.idle_at(),
            Phase::Opening | Phase::Closed => None,
        }
    }

    fn open_tickets(&self) -> usize {
        self.requests.len()
    }

    fn wants_read(&self) -> bool {
        self.phase != Phase::Closed && self.requests.len() < self.settings.open_requests.max(1)
    }

    fn principal(&self) -> &Principal {
        &self.principal
    }

    fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    fn trouble(&self) -> Option<&'static str> {
        self.trouble
    }

    fn unsendable(&self) -> u64 {
        self.unsendable
    }
}

/// A body that is JSON as it is, and any other as a string.
fn data(body: &Bytes) -> Bytes {
    match serde_json::from_slice::<&RawValue>(body) {
        Ok(_) => body.clone(),
        Err(_) => Value::from(String::from_utf8_lossy(body)).to_string().into(),
    }
}

/// The ticket of what was answered, but for a message that is still to come.
const ANSWERED: Ticket = Ticket(u64::MAX);

/// That of the image cache, which no stream's is.
const DIALECT: usize = 4;

const UNAUTHORIZED: &str = "UNAUTHORIZED";

const AUTH_FIRST: &str =
    "say who you are first: {\"type\":\"auth\",\"payload\":{\"token\":…}}, or give a key when connecting";
