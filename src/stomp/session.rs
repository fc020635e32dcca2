//! One STOMP connection without socket, clock, task or random source.
//!
//! The driver hands in octets, deliveries, replies and the time, carries out what
//! [`Session::poll_action`] gives until it gives nothing, and comes back at
//! [`Session::poll_timeout`] at the latest.

use std::mem;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use self::acks::Acks;
use self::requests::{Request, Requests};
use self::subscriptions::Subscriptions;
use self::transactions::Transactions;
use super::decode::Decoder;
use super::encode::{Own, Writer, message_image, prepare_image};
use super::frame::{Command, Frame};
use super::heart_beat::{HeartBeat, Offer};
use super::version::{SUPPORTED_VERSIONS, Version};
use super::{Refusals, Settings};
use crate::message::{Credentials, Delivery, Destination, Framing, Image, Message, Principal, SubscriptionId};

mod acks;
mod connect;
mod credentials;
mod driven;
mod error;
mod expiry;
mod frames;
mod requests;
mod subscriptions;
mod transactions;

pub use self::error::SessionError;
use self::expiry::Expiry;
use crate::session::outbox::Outbox;
pub use crate::session::{
    AckMode, Action, CloseReason, Refusal, Reply, Settlement, Subscription, Ticket, TransactionAction,
};

/// The server's side of one connection.
#[derive(Debug)]
pub struct Session {
    settings: Arc<Settings>,
    framing: &'static dyn Framing,
    id: Box<str>,
    offered: Option<Box<Credentials>>,
    phase: Phase,
    version: Option<Version>,
    principal: Principal,
    decoder: Decoder,
    heart_beat: HeartBeat,
    /// The end of the wait for CONNECT, or for the peer's close after DISCONNECT.
    deadline: Option<Instant>,
    subscriptions: Subscriptions,
    acks: Acks,
    transactions: Transactions,
    requests: Requests,
    outbox: Outbox,
    expiry: Option<Box<Expiry>>,
    /// What the session ended with.
    error: Option<Box<SessionError>>,
    frames_in: u64,
    unsendable: u64,
}

/// ```text
/// AwaitConnect ── CONNECT ──► Authenticating ── Authenticated ──► Connected ── DISCONNECT ──► Disconnecting
///      └──────────────────────────────┴── ERROR ──► Closed ◄── ERROR ──┴── disconnect timeout ────┘
/// ```
#[derive(Debug)]
enum Phase {
    AwaitConnect,
    Authenticating(Box<Opening>),
    Connected,
    Disconnecting,
    Closed,
}

/// What CONNECT said and CONNECTED needs.
#[derive(Debug)]
struct Opening {
    version: Version,
    offer: Offer,
    wants_warning: bool,
}

impl Session {
    /// A session before CONNECT. `id` is an unguessable text for the `session` header;
    /// `offered` are credentials that came with the upgrade request.
    pub fn new(
        settings: Arc<Settings>,
        framing: &'static dyn Framing,
        id: Box<str>,
        offered: Option<Credentials>,
        now: Instant,
    ) -> Self {
        Self {
            decoder: Decoder::new(&settings.limits),
            deadline: now.checked_add(settings.connect_timeout),
            settings,
            framing,
            id,
            offered: offered.map(Box::new),
            phase: Phase::AwaitConnect,
            version: None,
            principal: Principal::Anonymous,
            heart_beat: HeartBeat::off(now),
            subscriptions: Subscriptions::default(),
            acks: Acks::default(),
            transactions: Transactions::default(),
            requests: Requests::default(),
            outbox: Outbox::default(),
            expiry: None,
            error: None,
            frames_in: 0,
            unsendable: 0,
        }
    }

    /// Takes octets: one message of the transport, or any cut of a stream.
    ///
    /// While [`Session::wants_read`] is false they wait, uncopied, up to one frame of the
    /// largest size; beyond that the session fails.
    pub fn handle_bytes(&mut self, now: Instant, octets: Bytes) {
        if octets.is_empty() || matches!(self.phase, Phase::Disconnecting | Phase::Closed) {
            return;
        }
        if self.expire(now) {
            return;
        }
        self.heart_beat.on_heard(now);
        let max = self.settings.limits.head_bytes.saturating_add(self.settings.limits.body_bytes);
        let waiting = self.decoder.waiting_bytes();
        if !self.wants_read() && waiting > max {
            let size = waiting.saturating_add(octets.len());
            self.end(SessionError::TooMuchWaiting { size, max }, None);
            return;
        }
        self.decoder.push(octets);
        self.advance(now);
    }

    /// Takes a message for one of the session's subscriptions; for one that ended it is
    /// ignored, since the delivery may have been on its way.
    pub fn handle_delivery(&mut self, now: Instant, delivery: Delivery) {
        if let Some(image) = self.delivery_image(now, delivery) {
            self.outbox.push(Action::Transmit(image));
        }
    }

    /// As [`Session::handle_delivery`], for a driver that writes deliveries ahead of the actions
    /// that it cannot carry out yet: the octets do not wait behind those.
    pub fn delivery_image(&mut self, now: Instant, delivery: Delivery) -> Option<Image> {
        if self.expire(now) {
            return None;
        }
        let (Phase::Connected, Some(version)) = (&self.phase, self.version) else { return None };
        let Delivery { subscription, message, retained, dropped, count } = delivery;
        let can_send = self.can_send(&message);
        let entry = self.subscriptions.find_mut(subscription)?;
        if !can_send {
            self.unsendable += 1;
            entry.left_out = entry.left_out.saturating_add(dropped).saturating_add(1);
            return None;
        }
        let dropped = dropped.saturating_add(mem::take(&mut entry.left_out));
        let mut own = Own { subscription: &entry.name, ack: None, retained, dropped, count };
        if entry.ack != AckMode::Auto {
            match self.acks.add(subscription, message.id, self.settings.limits.unacked) {
                // STOMP 1.2 "MESSAGE": the ack header is there where the mode asks.
                Ok(ack) => own.ack = (version == Version::V1_2).then_some(ack),
                Err(error) => {
                    self.handle_error(now, error);
                    return None;
                }
            }
        }
        Some(message_image(&message, self.framing, version, own))
    }

    fn can_send(&self, message: &Message) -> bool {
        self.framing.carries_binary() || self.settings.encodes_binary || message.is_text()
    }

    /// Does what takes long for [`Session::delivery_image`], as far as `budget` goes; answers whether that
    /// is done.
    pub fn prepare(&self, message: &Message, budget: &mut usize) -> bool {
        let Some(version) = self.version else { return true };
        !self.can_send(message) || prepare_image(message, self.framing, version, budget)
    }

    /// Opens a subscription to a temporary queue that a SEND named in `reply-to`: its MESSAGEs
    /// carry the queue's name as `subscription`, as RabbitMQ does it. `None` if the client has
    /// subscribed to it already.
    ///
    /// # Errors
    /// The session has as many subscriptions as it may, or one of that name.
    pub fn handle_reply_to(&mut self, queue: &Destination) -> Result<Option<SubscriptionId>, SessionError> {
        self.subscriptions.add_implicit(queue, self.settings.limits.subscriptions)
    }

    /// Takes the answer to a ticket; one that is not open is ignored.
    pub fn handle_reply(&mut self, now: Instant, ticket: Ticket, reply: Reply) {
        self.requests.handle_reply(ticket, reply);
        self.advance(now);
    }

    /// Does what is due: to be called at [`Session::poll_timeout`], or at any other time.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.expire(now) {
            return;
        }
        self.warn_of_expiry(now);
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        match self.phase {
            Phase::AwaitConnect if is_due(self.deadline) => {
                let waited = self.settings.connect_timeout;
                return self.end(SessionError::NoConnect { waited }, None);
            }
            Phase::Disconnecting if is_due(self.deadline) => return self.close(CloseReason::Disconnect),
            Phase::Connected if is_due(self.heart_beat.silent_at()) => {
                let (_, promised) = self.heart_beat.agreed();
                let silent = self.heart_beat.silence(now);
                return self.end(SessionError::Silent { silent, promised }, None);
            }
            Phase::Connected | Phase::Disconnecting => {}
            Phase::AwaitConnect | Phase::Authenticating(_) | Phase::Closed => return,
        }
        if is_due(self.heart_beat.send_at()) {
            self.heart_beat.on_sent(now);
            self.transmit(b"\n");
        }
    }

    /// Notes that the driver put octets on the socket: the outgoing heart-beat starts anew.
    pub fn handle_transmitted(&mut self, now: Instant) {
        self.heart_beat.on_sent(now);
    }

    /// Notes that the driver does not read now: that nothing came is not the client's silence.
    pub fn handle_unread(&mut self, now: Instant) {
        self.heart_beat.on_heard(now);
    }

    /// Ends the session with ERROR: for what the driver knows, as a slow consumer or a shutdown.
    pub fn handle_error(&mut self, _now: Instant, error: SessionError) {
        if !matches!(self.phase, Phase::Closed) {
            self.end(error, None);
        }
    }

    /// What to do next.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.outbox.poll()
    }

    /// Whether [`Session::poll_action`] has something to give.
    pub fn has_action(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// The octets to transmit next, unless something else is to be done before.
    pub fn poll_transmit(&mut self) -> Option<Image> {
        self.outbox.poll_transmit()
    }

    /// When [`Session::handle_timeout`] has something to do at the latest.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let beats = [self.heart_beat.send_at(), self.heart_beat.silent_at()];
        match self.phase {
            Phase::AwaitConnect => self.deadline,
            Phase::Connected => {
                let expiry = self.expiry.as_ref().map(|expiry| expiry.next());
                beats.into_iter().chain([expiry]).flatten().min()
            }
            Phase::Disconnecting => [self.deadline, beats[0]].into_iter().flatten().min(),
            Phase::Authenticating(_) | Phase::Closed => None,
        }
    }

    /// Whether the driver should read. False while authentication is open, while too many
    /// tickets are, and after [`Action::Close`]; true between DISCONNECT and the close, so
    /// that the driver sees the peer go (what still comes is ignored).
    pub fn wants_read(&self) -> bool {
        match self.phase {
            Phase::AwaitConnect | Phase::Connected => self.requests.len() < self.settings.limits.open_tickets.max(1),
            Phase::Disconnecting => true,
            Phase::Authenticating(_) | Phase::Closed => false,
        }
    }

    /// Who the client is; [`Principal::Anonymous`] before CONNECTED.
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// The version agreed on; `None` before CONNECTED.
    pub fn version(&self) -> Option<Version> {
        self.version
    }

    /// Whether CONNECTED has left and neither DISCONNECT nor ERROR came after it.
    pub fn is_connected(&self) -> bool {
        matches!(self.phase, Phase::Connected)
    }

    /// Whether [`Action::Close`] was given or waits to be.
    pub fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed)
    }

    /// What kind of trouble the session ended with: the `message` of its ERROR, which holds
    /// nothing that the peer wrote.
    pub fn trouble(&self) -> Option<&'static str> {
        self.error.as_ref().map(|error| error.summary())
    }

    /// The limit that it ended at, by the name that counters have for it.
    pub fn limit(&self) -> Option<&'static str> {
        self.error.as_ref().and_then(|error| error.limit())
    }

    /// Frames taken from the client.
    pub fn frames_in(&self) -> u64 {
        self.frames_in
    }

    /// Octets of the peer's that it keeps: of frames that are not complete or wait, and of open transactions.
    pub fn held_bytes(&self) -> usize {
        self.decoder.held_bytes() + self.transactions.bytes()
    }

    /// Messages not sent because they are not text and the transport carries only that.
    pub fn unsendable(&self) -> u64 {
        self.unsendable
    }

    /// Open subscriptions.
    pub fn subscriptions(&self) -> usize {
        self.subscriptions.len()
    }

    /// Requests whose answers, or the RECEIPTs behind them, are still to come.
    pub fn open_tickets(&self) -> usize {
        self.requests.len()
    }

    /// Messages that wait for ACK or NACK.
    pub fn unacked(&self) -> usize {
        self.acks.len()
    }

    /// Answers what is answered, then takes frames as long as they may be taken.
    fn advance(&mut self, now: Instant) {
        loop {
            while let Some((request, reply)) = self.requests.poll() {
                self.on_answered(now, request, reply);
            }
            if !self.wants_read() || matches!(self.phase, Phase::Disconnecting) {
                break;
            }
            match self.decoder.next() {
                Ok(Some(frame)) => self.on_frame(frame),
                Ok(None) => break,
                Err(error) => self.end(error.into(), None),
            }
        }
        self.heart_beat.on_reading(now, self.wants_read());
    }

    fn on_answered(&mut self, now: Instant, request: Request, reply: Reply) {
        match (request.command, reply) {
            (Command::Connect, reply) => self.on_authenticated(now, reply),
            (_, Reply::Authenticated { principal, expires_at }) => {
                self.on_refreshed(principal, expires_at, request.receipt.as_deref());
            }
            (_, Reply::Refused(refusal)) => self.on_refused(request, refusal),
            (command, Reply::Done | Reply::Missed(_)) => {
                if let Some(receipt) = &request.receipt {
                    self.transmit_receipt(receipt);
                }
                if command == Command::Disconnect {
                    self.deadline = now.checked_add(self.settings.disconnect_timeout);
                }
                let subscribed = request.subscription.and_then(|id| self.subscriptions.find(id));
                if let Some(destination) = subscribed.map(|entry| entry.destination.clone()) {
                    self.on_subscribed(now, destination.as_str());
                }
            }
        }
    }

    fn on_refused(&mut self, request: Request, refusal: Refusal) {
        let Request { command, receipt, subscription, .. } = request;
        let is_soft = self.refuses_softly(&refusal);
        let Some(subscription) = subscription.filter(|_| is_soft) else {
            // Only credentials are refused so.
            let error = match refusal.status {
                401 => SessionError::AccessRefused,
                429 => SessionError::LoginsBusy,
                _ => SessionError::Refused { command, refusal },
            };
            return self.end(error, receipt.as_deref());
        };
        self.refuse_subscription(subscription, &refusal);
        if let Some(receipt) = &receipt {
            self.transmit_receipt(receipt);
        }
    }

    /// Ends a subscription that other rules do not allow, as one that is refused at once.
    fn handle_revoked(&mut self, subscription: SubscriptionId, refusal: Refusal) {
        if self.refuses_softly(&refusal) {
            self.refuse_subscription(subscription, &refusal);
        } else if self.subscriptions.find(subscription).is_some() {
            self.end(SessionError::Refused { command: Command::Subscribe, refusal }, None);
        }
    }

    fn refuses_softly(&self, refusal: &Refusal) -> bool {
        self.settings.refusals == Refusals::Soft && matches!(refusal.status, 403 | 404)
    }

    fn refuse_subscription(&mut self, subscription: SubscriptionId, refusal: &Refusal) {
        // The client may have ended it before the answer came.
        if let Some(entry) = self.subscriptions.remove(subscription) {
            self.acks.forget(subscription);
            let id = format!("{REFUSED}{}", subscription.0);
            let mut writer = Writer::new(Command::Message, self.version);
            if !entry.name.is_empty() {
                writer.header("subscription", &entry.name);
            }
            if entry.ack != AckMode::Auto && self.version == Some(Version::V1_2) {
                writer.header("ack", &id);
            }
            writer.header("message-id", &id);
            writer.header("destination", entry.destination.as_str());
            writer.header("status", &refusal.status.to_string());
            writer.header("content-type", "text/plain");
            writer.header("content-length", &refusal.reason.len().to_string());
            self.transmit(&writer.finish(refusal.reason.as_bytes()));
        }
    }

    // STOMP 1.2 "ERROR": the server must close the connection after it.
    fn end(&mut self, error: SessionError, receipt: Option<&str>) {
        // STOMP 1.2 "RECEIPT": what came before goes on being dealt with, but not in the name of
        // a client whose time is up.
        if matches!(error, SessionError::Expired) {
            self.outbox.withdraw();
        }
        let mut writer = Writer::new(Command::Error, self.version);
        writer.header("message", error.summary());
        if matches!(error, SessionError::NoCommonVersion { .. }) {
            writer.header("version", SUPPORTED_VERSIONS);
        }
        if let Some(receipt) = receipt {
            writer.header("receipt-id", receipt);
        }
        let body = error.to_string();
        writer.header("content-type", "text/plain");
        writer.header("content-length", &body.len().to_string());
        self.transmit(&writer.finish(body.as_bytes()));
        self.close(error.close_reason());
        self.error = Some(Box::new(error));
    }

    fn close(&mut self, reason: CloseReason) {
        self.outbox.push(Action::Close(reason));
        self.phase = Phase::Closed;
        self.decoder.clear();
        self.offered = None;
        self.expiry = None;
        self.subscriptions.clear();
        self.acks.clear();
        self.transactions.clear();
        self.requests.clear();
    }

    fn transmit_receipt(&mut self, receipt: &str) {
        let mut writer = Writer::new(Command::Receipt, self.version);
        writer.header("receipt-id", receipt);
        self.transmit(&writer.finish(b""));
    }

    fn transmit(&mut self, octets: &[u8]) {
        self.outbox.push(Action::Transmit(self.framing.whole(octets, true)));
    }
}

/// Begins the `message-id` of a MESSAGE that tells of a refused SUBSCRIBE.
const REFUSED: &str = "refused-";

/// Takes a header's value out of a frame.
fn take_header(frame: &mut Frame, name: &str) -> Option<Box<str>> {
    let at = frame.headers.iter().position(|(n, _)| &**n == name)?;
    Some(mem::take(&mut frame.headers[at].1))
}

#[cfg(test)]
mod tests;
