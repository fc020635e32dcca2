//! What each frame of a connected client means.

use std::mem;

use super::acks::Unacked;
use super::credentials::{credentials, is_credential};
use super::error::SessionError;
use super::transactions::Buffered;
use super::{Phase, REFUSED, Session, take_header};
use crate::message::{Destination, DestinationKind, MessageId, Overflow, Publication, SubscriptionId};
use crate::session::{AckMode, Action, Subscription};
use crate::stomp::decode_error::clipped;
use crate::stomp::frame::{Command, Frame};
use crate::stomp::version::Version;

impl Session {
    pub(super) fn on_frame(&mut self, mut frame: Frame) {
        self.frames_in += 1;
        if let Err(error) = self.on_command(&mut frame) {
            // STOMP 1.2 "ERROR": names the frame at fault where it asked for a receipt.
            let receipt = take_header(&mut frame, "receipt");
            self.end(error, receipt.as_deref());
        }
    }

    /// An error leaves the frame's `receipt` in place.
    fn on_command(&mut self, frame: &mut Frame) -> Result<(), SessionError> {
        let command = frame.command;
        let Some(version) = self.version else {
            if !matches!(command, Command::Connect | Command::Stomp) {
                return Err(SessionError::NotConnected { command });
            }
            return self.on_connect(frame);
        };
        match command {
            Command::Connect | Command::Stomp => Err(SessionError::AlreadyConnected { command }),
            Command::Send if Self::is_refresh(frame) => self.on_refresh(frame),
            Command::Send => self.on_send(frame),
            Command::Subscribe => self.on_subscribe(frame, version),
            Command::Unsubscribe => self.on_unsubscribe(frame, version),
            // STOMP 1.1 brought NACK.
            Command::Nack if version == Version::V1_0 => {
                Err(SessionError::UnexpectedCommand { command, version: version.as_str() })
            }
            Command::Ack | Command::Nack => self.on_ack(frame, version),
            Command::Begin => self.on_begin(frame),
            Command::Commit => self.on_commit(frame),
            Command::Abort => self.on_abort(frame),
            Command::Disconnect => {
                self.on_disconnect(frame);
                Ok(())
            }
            Command::Connected | Command::Message | Command::Receipt | Command::Error => {
                Err(SessionError::UnexpectedCommand { command, version: version.as_str() })
            }
        }
    }

    fn on_send(&mut self, frame: &mut Frame) -> Result<(), SessionError> {
        let destination = destination(frame)?;
        let size = frame.size();
        let limits = &self.settings.limits;
        if let Some(transaction) = frame.header("transaction") {
            self.transactions.check(transaction, Command::Send, size, limits)?;
        }
        let receipt = take_header(frame, "receipt");
        let transaction = take_header(frame, "transaction");
        let mut headers = mem::take(&mut frame.headers);
        headers.retain(|(name, _)| !SEND_HEADERS.contains(&&**name));
        let publication = Publication { destination, headers, body: mem::take(&mut frame.body) };
        if let Some(transaction) = transaction {
            self.transactions.add(&transaction, size, Buffered::Publish(publication));
            self.requests.done(Command::Send, receipt);
        } else {
            let ticket = self.requests.open(Command::Send, receipt, None);
            self.outbox.push(Action::Publish { ticket, publication });
        }
        Ok(())
    }

    fn on_subscribe(&mut self, frame: &mut Frame, version: Version) -> Result<(), SessionError> {
        let destination = destination(frame)?;
        let name = match frame.header("id") {
            Some(name) if !name.is_empty() => name,
            // STOMP 1.1 "SUBSCRIBE": the id is required since then.
            _ if version != Version::V1_0 => return Err(missing(frame, "id")),
            _ => "",
        };
        let ack = one_of(frame, "ack", &ACK_MODES, "auto, client or client-individual")?;
        let overflow = one_of(frame, "overflow", &OVERFLOWS, "close, drop-oldest or latest")?;
        let prefetch_count = match frame.header("prefetch-count") {
            None => None,
            Some(value) => match value.parse() {
                Ok(count) if count > 0 => Some(count),
                _ => return Err(bad(frame, "prefetch-count", "a number of messages, at least 1")),
            },
        };
        if let Some(subscription) = self.subscriptions.implicit(&destination) {
            self.subscriptions.remove(subscription);
            self.outbox.push(Action::Unsubscribe { subscription });
        }
        let id = self.subscriptions.add(name, &destination, ack, self.settings.limits.subscriptions)?;
        let credentials = credentials(frame);
        // As other brokers have it: clients that let their users fill in a selector send an empty one.
        let selector = take_header(frame, "selector").filter(|text| !text.trim().is_empty()).map(String::from);
        let receipt = take_header(frame, "receipt");
        let name = take_header(frame, "id").unwrap_or_default();
        let mut headers = mem::take(&mut frame.headers);
        headers.retain(|(name, _)| !SUBSCRIBE_HEADERS.contains(&&**name) && !is_credential(name));
        let ticket = self.requests.open(Command::Subscribe, receipt, Some(id));
        let subscription = Subscription {
            name,
            ack,
            overflow,
            selector,
            prefetch_count,
            credentials,
            headers,
            ..Subscription::new(id, destination)
        };
        self.outbox.push(Action::Subscribe { ticket, subscription: Box::new(subscription) });
        Ok(())
    }

    /// Ends a subscription. One that is not there is what the client wants already: it may
    /// have been refused softly.
    fn on_unsubscribe(&mut self, frame: &mut Frame, version: Version) -> Result<(), SessionError> {
        let entry = match (frame.header("id"), frame.header("destination")) {
            (Some(id), _) if !id.is_empty() => self.subscriptions.by_name(id),
            // STOMP 1.0 "UNSUBSCRIBE": by destination, where SUBSCRIBE gave no id.
            (_, Some(destination)) if version == Version::V1_0 => self.subscriptions.by_destination(destination),
            _ => return Err(missing(frame, "id")),
        };
        if let Some((subscription, kind)) = entry.map(|entry| (entry.id, entry.destination.kind())) {
            self.subscriptions.remove(subscription);
            self.acks.forget(subscription);
            if kind == DestinationKind::Queue {
                self.transactions.on_given_back(subscription);
            }
            self.outbox.push(Action::Unsubscribe { subscription });
        }
        self.requests.done(Command::Unsubscribe, take_header(frame, "receipt"));
        Ok(())
    }

    fn on_ack(&mut self, frame: &mut Frame, version: Version) -> Result<(), SessionError> {
        let command = frame.command;
        let size = frame.size();
        if let Some(transaction) = frame.header("transaction") {
            self.transactions.check(transaction, command, size, &self.settings.limits)?;
        }
        let Some(named) = self.named_by(frame, version)? else {
            self.requests.done(command, take_header(frame, "receipt"));
            return Ok(());
        };
        let mode = self.subscriptions.find(named.subscription).map_or(AckMode::ClientIndividual, |entry| entry.ack);
        let accepted = command == Command::Ack;
        // Python clients write `False`.
        let is_dead = frame.header("requeue").is_some_and(|value| value.eq_ignore_ascii_case("false"));
        let requeue = !accepted && !is_dead;
        let unacked = self.acks.take(named, mode);
        let receipt = take_header(frame, "receipt");
        if let Some(transaction) = take_header(frame, "transaction") {
            self.acks.on_held(unacked.len());
            self.transactions.add(&transaction, size, Buffered::Settle { unacked, accepted, requeue });
            self.requests.done(command, receipt);
        } else {
            let settlements = unacked.into_iter().map(|unacked| unacked.settlement(accepted, requeue)).collect();
            let ticket = self.requests.open(command, receipt, None);
            self.outbox.push(Action::Settle { ticket, settlements });
        }
        Ok(())
    }

    /// The delivery that an ACK or NACK names; `None` for the notice of a soft refusal, which
    /// waits for nothing.
    fn named_by(&self, frame: &Frame, version: Version) -> Result<Option<Unacked>, SessionError> {
        // STOMP 1.2 "ACK": `id` is the MESSAGE's `ack` header. 1.1: `message-id` and
        // `subscription`. 1.0: `message-id`.
        let header = if version == Version::V1_2 { "id" } else { "message-id" };
        let Some(id) = frame.header(header) else { return Err(missing(frame, header)) };
        let subscription = match frame.header("subscription") {
            None if version == Version::V1_1 => return Err(missing(frame, "subscription")),
            name => name,
        };
        if id.starts_with(REFUSED) {
            return Ok(None);
        }
        let number = if id.bytes().all(|octet| octet.is_ascii_digit()) { id.parse().ok() } else { None };
        let unacked = match (number, version, subscription) {
            (Some(ack), Version::V1_2, _) => self.acks.by_ack(ack),
            (Some(message), Version::V1_0 | Version::V1_1, Some(name)) => {
                let of = self.subscriptions.by_name(name).map(|entry| entry.id);
                of.and_then(|subscription| self.acks.by_message(MessageId(message), Some(subscription)))
            }
            (Some(message), Version::V1_0 | Version::V1_1, None) => self.acks.by_message(MessageId(message), None),
            (None, _, _) => None,
        };
        match unacked {
            Some(unacked) => Ok(Some(unacked)),
            None => Err(SessionError::UnknownMessage { command: frame.command, id: clipped(id) }),
        }
    }

    fn on_begin(&mut self, frame: &mut Frame) -> Result<(), SessionError> {
        self.transactions.begin(transaction(frame)?, &self.settings.limits)?;
        self.requests.done(Command::Begin, take_header(frame, "receipt"));
        Ok(())
    }

    fn on_commit(&mut self, frame: &mut Frame) -> Result<(), SessionError> {
        let transaction = self.transactions.end(transaction(frame)?, Command::Commit)?;
        transaction.check_whole()?;
        self.acks.on_committed(transaction.held());
        let receipt = take_header(frame, "receipt");
        let actions = transaction.into_actions();
        if actions.is_empty() {
            self.requests.done(Command::Commit, receipt);
        } else {
            let ticket = self.requests.open(Command::Commit, receipt, None);
            self.outbox.push(Action::Commit { ticket, actions });
        }
        Ok(())
    }

    fn on_abort(&mut self, frame: &mut Frame) -> Result<(), SessionError> {
        let transaction = self.transactions.end(transaction(frame)?, Command::Abort)?;
        let subscriptions = &self.subscriptions;
        self.acks.on_aborted(transaction.into_unacked(), |id: SubscriptionId| subscriptions.find(id).is_some());
        self.requests.done(Command::Abort, take_header(frame, "receipt"));
        Ok(())
    }

    // STOMP 1.2 "DISCONNECT": the receipt tells that all frames before it were dealt with.
    fn on_disconnect(&mut self, frame: &mut Frame) {
        self.transactions.clear();
        // What it consumes goes to others at once, not when the connection is closed.
        for subscription in self.subscriptions.take_all() {
            self.outbox.push(Action::Unsubscribe { subscription });
        }
        self.acks.clear();
        self.decoder.clear();
        self.phase = Phase::Disconnecting;
        self.requests.done(Command::Disconnect, take_header(frame, "receipt"));
    }
}

fn destination(frame: &Frame) -> Result<Destination, SessionError> {
    let command = frame.command;
    let Some(name) = frame.header("destination") else { return Err(missing(frame, "destination")) };
    Destination::parse(name).map_err(|error| SessionError::Destination { command, error })
}

fn transaction(frame: &Frame) -> Result<&str, SessionError> {
    frame.header("transaction").ok_or_else(|| missing(frame, "transaction"))
}

fn missing(frame: &Frame, header: &'static str) -> SessionError {
    SessionError::MissingHeader { command: frame.command, header }
}

fn bad(frame: &Frame, header: &'static str, allowed: &'static str) -> SessionError {
    let value = clipped(frame.header(header).unwrap_or_default());
    SessionError::BadHeader { command: frame.command, header, value, allowed }
}

/// The meaning of a header's word; the default where the header is absent.
fn one_of<T: Copy + Default>(
    frame: &Frame,
    header: &'static str,
    words: &[(&str, T)],
    allowed: &'static str,
) -> Result<T, SessionError> {
    let Some(value) = frame.header(header) else { return Ok(T::default()) };
    words
        .iter()
        .find(|(word, _)| *word == value)
        .map(|(_, meaning)| *meaning)
        .ok_or_else(|| bad(frame, header, allowed))
}

const ACK_MODES: [(&str, AckMode); 3] =
    [("auto", AckMode::Auto), ("client", AckMode::Client), ("client-individual", AckMode::ClientIndividual)];

const OVERFLOWS: [(&str, Overflow); 3] =
    [("close", Overflow::Close), ("drop-oldest", Overflow::DropOldest), ("latest", Overflow::Latest)];

/// Headers of SEND that are for the server alone.
const SEND_HEADERS: [&str; 4] = ["destination", "content-length", "receipt", "transaction"];

/// Headers of SUBSCRIBE that have a place of their own in [`Subscription`].
const SUBSCRIBE_HEADERS: [&str; 9] =
    ["destination", "id", "ack", "overflow", "selector", "prefetch-count", "receipt", "content-length", "transaction"];
