//! One session over HTTP: receivers come and go, messages wait for them, time passes.

use std::collections::VecDeque;
use std::mem;
use std::time::{Duration, Instant};

use super::frame::{Close, Frame};
use super::framing::ReceiverKind;
use super::octets::Octets;
use super::quoting::Quoting;
use super::{ResponseLimit, Settings};
use crate::message::Image;

/// The state of one session without sockets, tasks, clock or randomness.
///
/// - Inputs are `handle_*`, [`Session::send`] and [`Session::close`].
/// - After each input, [`Session::poll_action`] until `None`, then [`Session::poll_timeout`].
///   Messages sent before that leave together in one frame.
/// - [`Session::poll_incoming`] gives the client's messages.
pub struct Session {
    state: State,
    receiver: Option<Receiver>,
    /// The receiver that was told to end and may not have taken its last octets yet.
    ending: Option<ReceiverId>,
    quoting: Quoting,
    outbox: Vec<Image>,
    outbox_bytes: usize,
    inbox: VecDeque<String>,
    inbox_bytes: usize,
    actions: VecDeque<Action>,
    /// Whether the application has closed and no receiver was told.
    owes_close: bool,
    /// With a receiver: when it has been silent for long. Without: when the session ends.
    deadline: Option<Instant>,
    /// When the latest input came.
    now: Instant,
    limits: Limits,
}

/// Names one HTTP response that receives frames; unique within its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ReceiverId(pub u64);

/// What a session asks of its driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Write the octets to the response, as one chunk.
    Send {
        /// Which response.
        receiver: ReceiverId,
        /// What.
        octets: Octets,
    },
    /// End the response after what it was given.
    EndReceiver {
        /// Which response.
        receiver: ReceiverId,
    },
    /// The application has a new session.
    Opened,
    /// The client is lost to the application; what it sent before may still be polled.
    /// Follows [`Action::Opened`] unless the application closed the session itself.
    Interrupted,
    /// The session is over: forget it and its name.
    Ended,
}

/// The session is closed; the message goes nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the session is closed")]
pub struct Closed;

/// The application has not taken enough of the earlier messages; here they are back, to be
/// tried again after [`Session::poll_incoming`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} messages do not fit the inbox", .0.len())]
pub struct InboxFull(pub Vec<String>);

/// ```text
///            first receiver: o                close(), abort
/// Opening ─────────────────────▶ Open ─────────────────────────▶ Closing
///    │                            │        each receiver: c[…]      │
///    └──── no receiver for disconnect_delay: Ended ─────────────────┴───▶ Closed
/// ```
#[derive(Debug)]
enum State {
    /// No receiver has come yet.
    Opening,
    /// Messages flow.
    Open,
    /// Every receiver gets what waits, the close frame, and ends.
    Closing(Close),
    /// Nothing is left.
    Closed,
}

struct Receiver {
    id: ReceiverId,
    kind: ReceiverKind,
    sent_bytes: usize,
    sent_frames: u32,
    flow: Flow,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    /// The response took all messages it was given.
    Ready,
    /// It holds octets that were not taken yet.
    Busy,
}

struct Limits {
    heartbeat: Duration,
    disconnect_delay: Duration,
    response: ResponseLimit,
    inbox_bytes: usize,
}

impl Session {
    /// Makes a session that waits for its first receiver.
    pub fn new(settings: &Settings, now: Instant) -> Self {
        Self {
            state: State::Opening,
            receiver: None,
            ending: None,
            quoting: Quoting::default(),
            outbox: Vec::new(),
            outbox_bytes: 0,
            inbox: VecDeque::new(),
            inbox_bytes: 0,
            actions: VecDeque::new(),
            owes_close: false,
            deadline: now.checked_add(settings.disconnect_delay),
            now,
            limits: Limits {
                heartbeat: settings.heartbeat,
                disconnect_delay: settings.disconnect_delay,
                response: settings.response_limit,
                inbox_bytes: settings.inbox_bytes,
            },
        }
    }

    /// A response is there to receive frames.
    pub fn handle_attach(&mut self, now: Instant, receiver: ReceiverId, kind: ReceiverKind) {
        self.now = now;
        if let Some(prelude) = kind.prelude() {
            self.actions.push_back(Action::Send { receiver, octets: prelude.into() });
        }
        // sockjs-protocol test_simpleSession, test_close_request
        if self.receiver.is_some() {
            let octets = kind.wrap(Frame::Close(Close::ANOTHER_CONNECTION), self.quoting);
            self.actions.extend([Action::Send { receiver, octets }, Action::EndReceiver { receiver }]);
            return;
        }
        self.ending = None;
        if matches!(self.state, State::Opening) && self.outbox.is_empty() {
            self.quoting = kind.quoting();
        }
        self.receiver = Some(Receiver { id: receiver, kind, sent_bytes: 0, sent_frames: 0, flow: Flow::Ready });
        self.deadline = self.after(self.limits.heartbeat);
        match self.state {
            State::Opening => {
                self.state = State::Open;
                self.transmit(Frame::Open);
                self.actions.push_back(Action::Opened);
            }
            State::Open => {}
            State::Closing(_) => self.flush(),
            State::Closed => {
                self.transmit(Frame::Close(Close::GO_AWAY));
                self.end_receiver();
                self.deadline = None;
            }
        }
    }

    /// A response is over. `aborted`: it was given octets that it did not take, or had not
    /// been told to end and its client vanished.
    pub fn handle_detach(&mut self, now: Instant, receiver: ReceiverId, aborted: bool) {
        self.now = now;
        let is_attached = self.receiver.as_ref().is_some_and(|current| current.id == receiver);
        let is_ending = self.ending == Some(receiver);
        if is_attached {
            self.receiver = None;
            self.deadline = self.after(self.limits.disconnect_delay);
        } else if is_ending {
            self.ending = None;
            if self.receiver.is_none() && !matches!(self.state, State::Closed) {
                self.deadline = self.after(self.limits.disconnect_delay);
            }
        }
        // sockjs-protocol test_abort_xhr_streaming, test_abort_xhr_polling
        if aborted && (is_attached || is_ending) {
            self.on_interrupted();
        }
    }

    /// The response has nothing left of what it was given.
    pub fn handle_receiver_ready(&mut self, now: Instant, receiver: ReceiverId) {
        self.now = now;
        if let Some(current) = self.receiver.as_mut().filter(|current| current.id == receiver) {
            current.flow = Flow::Ready;
        }
    }

    /// How messages for [`Session::send`] are to be quoted; from the first receiver on it stays.
    pub fn quoting(&self) -> Quoting {
        self.quoting
    }

    /// The response has taken some of what it was given: its client is there, though slow.
    pub fn handle_receiver_progress(&mut self, now: Instant, receiver: ReceiverId) {
        self.now = now;
        if self.receiver.as_ref().is_some_and(|current| current.id == receiver) {
            self.deadline = self.after(self.limits.heartbeat);
        }
    }

    /// Takes a message for the client, an image of [`Session::quoting`]'s framing. It waits
    /// here while no receiver is ready; [`Session::wants_messages`] says when it need not.
    ///
    /// # Errors
    /// The session is closed.
    pub fn send(&mut self, now: Instant, message: Image) -> Result<(), Closed> {
        self.now = now;
        match self.state {
            State::Opening | State::Open => {
                self.outbox_bytes += message.len();
                self.outbox.push(message);
                Ok(())
            }
            State::Closing(_) | State::Closed => Err(Closed),
        }
    }

    /// How many octets of messages wait for a receiver.
    pub fn queued_bytes(&self) -> usize {
        self.outbox_bytes
    }

    /// Whether messages given now would leave at once; asked before each one, it also bounds
    /// how many go into one frame.
    pub fn wants_messages(&self) -> bool {
        let is_ready = self.receiver.as_ref().is_some_and(|receiver| receiver.flow == Flow::Ready);
        is_ready && matches!(self.state, State::Open) && self.outbox_bytes < OUTBOX_BYTES
    }

    /// Takes messages from the client, the whole payload or nothing. One whole payload always
    /// fits an empty inbox; what comes after the end is dropped.
    ///
    /// # Errors
    /// The inbox has no room; the messages come back.
    pub fn handle_payload(&mut self, now: Instant, messages: Vec<String>) -> Result<(), InboxFull> {
        self.now = now;
        if !matches!(self.state, State::Open) {
            return Ok(());
        }
        let size: usize = messages.iter().map(|message| inbox_size(message)).sum();
        if !self.inbox.is_empty() && self.inbox_bytes + size > self.limits.inbox_bytes {
            return Err(InboxFull(messages));
        }
        self.inbox_bytes += size;
        self.inbox.extend(messages);
        Ok(())
    }

    /// The client's next message for the application. None is given while many answers wait
    /// for a receiver: a client that only sends cannot fill the memory with them.
    pub fn poll_incoming(&mut self) -> Option<String> {
        if self.outbox_bytes >= OUTBOX_BYTES {
            return None;
        }
        let message = self.inbox.pop_front()?;
        self.inbox_bytes -= inbox_size(&message);
        if self.inbox.is_empty() {
            self.inbox = VecDeque::new();
        }
        Some(message)
    }

    /// The application closes the session; `3000` and `Go away!` is the usual way. What it sent
    /// before still leaves. The first close counts.
    pub fn close(&mut self, now: Instant, code: u16, reason: &str) {
        self.now = now;
        if matches!(self.state, State::Closing(_) | State::Closed) {
            return;
        }
        self.clear_inbox();
        self.owes_close = !matches!(self.state, State::Opening);
        self.on_closing(Close::new(code, reason));
    }

    /// Whether the application has closed, and the client still has to fetch that.
    pub fn owes_close(&self) -> bool {
        self.owes_close
    }

    /// When [`Session::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadline
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.now = now;
        if self.deadline.is_none_or(|deadline| now < deadline) {
            return;
        }
        if self.receiver.is_some() { self.on_silence() } else { self.on_expired() }
    }

    /// What the driver has to do next, in order.
    pub fn poll_action(&mut self) -> Option<Action> {
        if self.actions.is_empty() {
            self.flush();
        }
        let action = self.actions.pop_front();
        if self.actions.is_empty() {
            self.actions = VecDeque::new();
        }
        action
    }
}

impl Session {
    fn on_silence(&mut self) {
        let Some(receiver) = &self.receiver else { return };
        match receiver.flow {
            Flow::Ready => {
                self.transmit(Frame::Heartbeat);
                if let Some(receiver) = &mut self.receiver {
                    receiver.flow = Flow::Busy;
                }
            }
            // A heartbeat behind octets that nobody takes proves nothing.
            Flow::Busy => {
                self.end_receiver();
                self.on_interrupted();
            }
        }
    }

    fn on_expired(&mut self) {
        if matches!(self.state, State::Open) {
            self.actions.push_back(Action::Interrupted);
        }
        self.state = State::Closed;
        self.owes_close = false;
        self.deadline = None;
        self.clear_outbox();
        self.actions.push_back(Action::Ended);
    }

    fn on_interrupted(&mut self) {
        if !matches!(self.state, State::Open) {
            return;
        }
        // Some of what was sent may be lost, so what would follow it must not arrive.
        self.clear_outbox();
        self.actions.push_back(Action::Interrupted);
        self.on_closing(Close::INTERRUPTED);
    }

    fn on_closing(&mut self, close: Close) {
        self.state = State::Closing(close);
        if self.receiver.is_none() {
            self.deadline = self.after(self.limits.disconnect_delay);
        }
        self.flush();
    }

    fn flush(&mut self) {
        let Some(receiver) = &mut self.receiver else { return };
        let is_closing = matches!(self.state, State::Closing(_));
        if !self.outbox.is_empty() && (is_closing || receiver.flow == Flow::Ready) {
            receiver.flow = Flow::Busy;
            self.outbox_bytes = 0;
            let messages = mem::take(&mut self.outbox);
            self.transmit(Frame::Messages(messages));
        }
        // sockjs-protocol test_closeSession, test_close_frame
        if let (State::Closing(close), Some(_)) = (&self.state, &self.receiver) {
            let close = close.clone();
            self.owes_close = false;
            self.transmit(Frame::Close(close));
            self.end_receiver();
        }
    }

    fn transmit(&mut self, frame: Frame) {
        let Some(receiver) = &mut self.receiver else { return };
        let octets = receiver.kind.wrap(frame, self.quoting);
        let size = octets.len();
        receiver.sent_bytes += size;
        receiver.sent_frames += 1;
        // sockjs-protocol test_response_limit
        let is_full = self.limits.response.is_reached(receiver.sent_bytes, receiver.sent_frames, size)
            || !receiver.kind.streams();
        self.actions.push_back(Action::Send { receiver: receiver.id, octets });
        self.deadline = self.after(self.limits.heartbeat);
        if is_full {
            self.end_receiver();
        }
    }

    fn end_receiver(&mut self) {
        let Some(receiver) = self.receiver.take() else { return };
        self.ending = Some(receiver.id);
        self.actions.push_back(Action::EndReceiver { receiver: receiver.id });
        let Limits { disconnect_delay, heartbeat, .. } = self.limits;
        // A slow client may still be taking the end of it.
        let is_open = matches!(self.state, State::Open);
        self.deadline = self.after(if is_open { disconnect_delay.max(heartbeat) } else { disconnect_delay });
    }

    fn clear_outbox(&mut self) {
        self.outbox = Vec::new();
        self.outbox_bytes = 0;
    }

    fn clear_inbox(&mut self) {
        self.inbox = VecDeque::new();
        self.inbox_bytes = 0;
    }

    fn after(&self, delay: Duration) -> Option<Instant> {
        self.now.checked_add(delay)
    }
}

/// An empty message takes memory too.
fn inbox_size(message: &str) -> usize {
    message.len() + size_of::<String>()
}

/// How much waits before no more is asked for; one message may exceed it.
const OUTBOX_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests;

#[cfg(test)]
mod properties;
