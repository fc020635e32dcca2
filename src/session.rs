//! What every protocol's session is to its driver: what it is told, what it asks, and what the
//! driver answers.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::condition::Condition;
use crate::message::{
    Credentials, Delivery, Destination, Header, Image, Message, MessageId, Overflow, Principal, Publication,
    SubscriptionId,
};

pub(crate) mod outbox;

/// The server's side of one connection, without socket, clock, task or random source.
///
/// The driver hands in octets, deliveries, replies and the time, carries out what
/// [`Session::poll_action`] gives until it gives nothing, and comes back at
/// [`Session::poll_timeout`] at the latest. Actions come in one order; octets that a call makes
/// stand behind those made before it.
pub trait Session {
    /// Takes octets: one message of the transport, or any cut of a stream.
    fn handle_bytes(&mut self, now: Instant, octets: Bytes);

    /// The octets of a message for one of the session's subscriptions, wrapped already; `None`
    /// for one that ended, or where nothing is to be sent. The driver writes them ahead of
    /// actions that it cannot carry out yet.
    fn delivery_image(&mut self, now: Instant, delivery: Delivery) -> Option<Image>;

    /// Does what takes long for [`Session::delivery_image`], and takes from `budget` the octets it came
    /// through; answers whether that is done.
    fn prepare(&self, _message: &Message, _budget: &mut usize) -> bool {
        true
    }

    /// Takes the answer to a ticket; one that is not open is ignored.
    fn handle_reply(&mut self, now: Instant, ticket: Ticket, reply: Reply);

    /// Does what is due: to be called at [`Session::poll_timeout`], or at any other time.
    fn handle_timeout(&mut self, now: Instant);

    /// Notes that the driver put octets on the socket.
    fn handle_transmitted(&mut self, now: Instant);

    /// Notes that the peer's WebSocket pinged: the transport has answered, but the client is there.
    fn handle_ping(&mut self, _now: Instant) {}

    /// Notes that the driver does not read now: that nothing came is not the peer's silence.
    fn handle_unread(&mut self, now: Instant);

    /// Ends the session for what the driver knows.
    fn handle_trouble(&mut self, now: Instant, trouble: Trouble);

    /// Opens a subscription to a temporary queue that a publication named in `reply-to`; a
    /// protocol without `reply-to` opens none.
    fn handle_reply_to(&mut self, _now: Instant, _queue: &Destination) -> ReplyTo {
        ReplyTo::Known
    }

    /// Takes note that the client has other roles, or another token's rules.
    fn handle_principal(&mut self, principal: Principal);

    /// Ends a subscription that is not allowed any more, and tells the client; the driver has
    /// ended it already.
    fn handle_revoked(&mut self, now: Instant, subscription: SubscriptionId, refusal: Refusal);

    /// What to do next.
    fn poll_action(&mut self) -> Option<Action>;

    /// The octets to transmit next, unless something else is to be done before.
    fn poll_transmit(&mut self) -> Option<Image>;

    /// Whether [`Session::poll_action`] has something to give.
    fn has_action(&self) -> bool;

    /// When [`Session::handle_timeout`] has something to do at the latest.
    fn poll_timeout(&self) -> Option<Instant>;

    /// Whether the driver should read.
    fn wants_read(&self) -> bool;

    /// Requests whose answers are still to come.
    fn open_tickets(&self) -> usize;

    /// Who the client is.
    fn principal(&self) -> &Principal;

    /// Whether [`Action::Close`] was given or waits to be.
    fn is_closed(&self) -> bool;

    /// What kind of trouble the session ended with, in fixed words: nothing that the peer wrote.
    fn trouble(&self) -> Option<&'static str>;

    /// The limit of the session's own that it ended at, by the name that counters have for it.
    fn limit(&self) -> Option<&'static str> {
        None
    }

    /// Octets of the peer's that it keeps, because their frame or their transaction is not complete.
    fn held_bytes(&self) -> usize {
        0
    }

    /// Messages not sent because they are not text and the transport carries only that.
    fn unsendable(&self) -> u64;
}

/// Why the driver ends a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// The peer reads more slowly than messages come.
    SlowConsumer {
        /// Messages that waited.
        messages: usize,
        /// Their octets.
        bytes: usize,
    },
    /// The server goes down.
    ShuttingDown,
    /// The proof of who the client is, or of a subscription's owner, has expired.
    Expired,
    /// Who the client is, the settings do not know any more.
    Revoked,
    /// A limit that the session, its address, its user or all together have reached.
    Exceeded(Exceeded),
}

/// What [`Trouble::Revoked`] is to the client.
pub const REVOKED: &str =
    "the user of this session may not connect any more, or not with what it showed; the server's settings have changed";

/// A limit on one session, one address, one user or all together that was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Exceeded {
    /// `limits.connections`, or the system's descriptors.
    #[error("the server has {max} connections, as many as it may; try again later")]
    Connections {
        /// Allowed.
        max: usize,
    },
    /// `limits.connections_per_address`
    #[error("this address has {max} connections, as many as it may")]
    OfAddress {
        /// Allowed.
        max: usize,
    },
    /// `limits.sessions_per_user`
    #[error("this user has {max} sessions, as many as it may")]
    OfUser {
        /// Allowed.
        max: usize,
    },
    /// `limits.connects_per_minute`
    #[error("this address may connect {per_minute} times in a minute; try again later")]
    Connects {
        /// Allowed.
        per_minute: u32,
    },
    /// `limits.session_messages_per_second` and the like.
    #[error("this {of} may send {per_second} {what} in a second")]
    Rate {
        /// Allowed.
        per_second: u32,
        /// Messages or octets.
        what: &'static str,
        /// Session or address.
        of: &'static str,
    },
    /// `limits.idle`
    #[error("nothing came within {} ms", after.as_millis())]
    Idle {
        /// Allowed.
        after: Duration,
    },
    /// `mailbox.total_bytes`
    #[error(
        "{bytes} octets wait for this client, or are of frames and transactions that it has not completed; \
         that is more than of others, and all together may have {max}"
    )]
    Memory {
        /// What waits for this one.
        bytes: usize,
        /// Allowed for all.
        max: usize,
    },
}

impl Exceeded {
    /// What the JSON protocols call it.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Connects { .. } | Self::Rate { .. } => "RATE_LIMITED",
            Self::Idle { .. } => "IDLE",
            Self::Memory { .. } => "SLOW_CONSUMER",
            Self::Connections { .. } | Self::OfAddress { .. } | Self::OfUser { .. } => "TOO_MANY_CONNECTIONS",
        }
    }

    /// The limit's name, as counters have it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Connections { .. } => "connections",
            Self::OfAddress { .. } => "connections_per_address",
            Self::OfUser { .. } => "sessions_per_user",
            Self::Connects { .. } => "connects_per_minute",
            Self::Rate { .. } => "rate",
            Self::Idle { .. } => "idle",
            Self::Memory { .. } => "mailbox_total_bytes",
        }
    }
}

/// What became of a `reply-to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyTo {
    /// The session has subscribed to it already.
    Known,
    /// The session opened this subscription to it.
    Opened(SubscriptionId),
    /// The session ended for it.
    Ended,
}

/// Names an action that awaits a [`Reply`]; never used twice in a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// What the driver has to do, in the order it is given.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Puts octets on the socket; they are wrapped already.
    Transmit(Image),
    /// Finds out who the client is: at its beginning, or again when it brings a new proof. Answered by [`Reply::Authenticated`] or a refusal.
    Authenticate {
        /// To be answered with.
        ticket: Ticket,
        /// What the client gave, in CONNECT or with the upgrade request.
        credentials: Option<Credentials>,
        /// The virtual host of CONNECT.
        host: Option<Box<str>>,
    },
    /// Publishes.
    Publish {
        /// To be answered with.
        ticket: Ticket,
        /// What.
        publication: Publication,
    },
    /// Opens a subscription.
    Subscribe {
        /// To be answered with.
        ticket: Ticket,
        /// What.
        subscription: Box<Subscription>,
    },
    /// Ends a subscription; no answer.
    Unsubscribe {
        /// Which.
        subscription: SubscriptionId,
    },
    /// Tells what became of deliveries.
    Settle {
        /// To be answered with.
        ticket: Ticket,
        /// In the order of their delivery.
        settlements: Vec<Settlement>,
    },
    /// Carries out a transaction: all or nothing, in order.
    Commit {
        /// To be answered with.
        ticket: Ticket,
        /// In the order of the frames.
        actions: Vec<TransactionAction>,
    },
    /// Asks for what came to kept topics since then, all of them looked at in one moment.
    /// Answered by [`Reply::Missed`], whose octets stand before those of later deliveries.
    CatchUp {
        /// To be answered with.
        ticket: Ticket,
        /// The topics, each with the condition of its subscription.
        topics: Vec<(Destination, Option<Arc<dyn Condition>>)>,
        /// Since when.
        since: Since,
    },
    /// Notes how often the session wants the system's gauges; no answer.
    Pace {
        /// `None`: not at all.
        interval: Option<Duration>,
    },
    /// Ends the connection once all is flushed; nothing comes after it.
    Close(CloseReason),
}

/// A subscription as the client asks for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Subscription {
    /// Its number in the session.
    pub id: SubscriptionId,
    /// The client's own name for it; empty where 1.0 gave none.
    pub name: Box<str>,
    /// What to receive; the text may be a pattern.
    pub destination: Destination,
    /// How messages are acknowledged.
    pub ack: AckMode,
    /// What happens when the session's mailbox is full.
    pub overflow: Overflow,
    /// The condition on messages, unparsed.
    pub selector: Option<String>,
    /// The condition on messages where the protocol has its own way of saying it.
    pub condition: Option<Arc<dyn Condition>>,
    /// Whether the topic's last messages are kept from now on, for [`Action::CatchUp`]. There
    /// are no retained values then.
    pub is_kept: bool,
    /// How many messages may wait for ACK at once, at least 1; `None`: the broker's default.
    pub prefetch_count: Option<u32>,
    /// Credentials that came with the SUBSCRIBE itself.
    pub credentials: Option<Credentials>,
    /// The SUBSCRIBE's other headers, without those above.
    pub headers: Vec<Header>,
}

impl PartialEq for dyn Condition {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl Subscription {
    /// A subscription that asks for nothing but the messages.
    pub fn new(id: SubscriptionId, destination: Destination) -> Self {
        Self {
            id,
            name: Box::default(),
            destination,
            ack: AckMode::Auto,
            overflow: Overflow::Close,
            selector: None,
            condition: None,
            is_kept: false,
            prefetch_count: None,
            credentials: None,
            headers: Vec::new(),
        }
    }
}

/// Where a client that was away stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// Nowhere: it is new.
    Now,
    /// After the message of that [`Message::position`].
    After(u64),
    /// At that time, in milliseconds since the Unix epoch.
    Time(u64),
    /// Nobody knows any more.
    Lost,
}

/// What a client that was away has missed.
#[derive(Debug, Clone, Default)]
pub struct Backlog {
    /// The messages that are still there, in their order.
    pub messages: Vec<Arc<Message>>,
    /// Whether some are not.
    pub is_gap: bool,
    /// The last [`Message::position`] that was given: what came up to there is in the messages, or
    /// is not to be had.
    pub position: u64,
}

impl PartialEq for Backlog {
    fn eq(&self, other: &Self) -> bool {
        let ids = |backlog: &Self| backlog.messages.iter().map(|message| message.id).collect::<Vec<_>>();
        ids(self) == ids(other) && self.is_gap == other.is_gap && self.position == other.position
    }
}

/// How messages of a subscription are acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum AckMode {
    /// Not at all.
    #[default]
    Auto,
    /// An ACK covers all messages of the subscription up to the one it names.
    Client,
    /// An ACK covers the one it names.
    ClientIndividual,
}

/// What became of one delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settlement {
    /// Of which subscription.
    pub subscription: SubscriptionId,
    /// Which message.
    pub message: MessageId,
    /// ACK or NACK.
    pub accepted: bool,
    /// Whether a NACK puts the message back; otherwise it is a dead letter.
    pub requeue: bool,
}

/// A part of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransactionAction {
    /// A SEND.
    Publish(Publication),
    /// An ACK or NACK.
    Settle(Vec<Settlement>),
}

/// The driver's answer to a [`Ticket`].
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// It is done, and as durable as the destination promises.
    Done,
    /// The answer to [`Action::Authenticate`].
    Authenticated {
        /// Who the client is.
        principal: Principal,
        /// When that ends, and the session with it, unless a new proof comes; `None`: never.
        expires_at: Option<Instant>,
    },
    /// The answer to [`Action::CatchUp`].
    Missed(Box<Backlog>),
    /// It is not done, and nothing of it is.
    Refused(Refusal),
}

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// As HTTP would say it: 400, 403, 404, 413, 503 …
    pub status: u16,
    /// What was wrong and what is allowed, for the client to read.
    pub reason: String,
}

impl Refusal {
    /// A refusal with that status and reason.
    pub fn new(status: u16, reason: impl Into<String>) -> Self {
        Self { status, reason: reason.into() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

/// Why a session ends, as far as close codes tell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// DISCONNECT: all is said.
    Disconnect,
    /// The peer broke the protocol.
    ProtocolError,
    /// The peer may not do what it wanted, or is too slow.
    PolicyViolation,
    /// The server failed.
    InternalError,
    /// The server cannot do it now, or is shutting down.
    TryAgainLater,
}

impl CloseReason {
    /// The status code of the WebSocket close frame.
    pub fn websocket_code(self) -> u16 {
        match self {
            Self::Disconnect => 1000,
            Self::ProtocolError => 1002,
            Self::PolicyViolation => 1008,
            Self::InternalError => 1011,
            Self::TryAgainLater => 1013,
        }
    }

    /// The code and the reason of SockJS's `c[code,"reason"]`. `3000 "Go away!"` is what its
    /// clients know as the server's own wish; the others keep their WebSocket code.
    pub fn sockjs_close(self) -> (u16, &'static str) {
        match self {
            Self::Disconnect => (3000, "Go away!"),
            Self::ProtocolError => (1002, "Protocol error"),
            Self::PolicyViolation => (1008, "Policy violation"),
            Self::InternalError => (1011, "Internal error"),
            Self::TryAgainLater => (1013, "Try again later"),
        }
    }
}
