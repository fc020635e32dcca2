//! Why a session ends with ERROR: one function to the frame's texts, one to the close code.

use std::time::Duration;

use crate::message::DestinationError;
use crate::session::{CloseReason, Exceeded, REVOKED, Refusal};
use crate::stomp::decode_error::DecodeError;
use crate::stomp::frame::Command;
use crate::stomp::version::SUPPORTED_VERSIONS;

/// Why a session ends with ERROR. Its `Display` is the body of the frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// The peer's octets are no frame.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The peer's first frame did not come in time.
    #[error("no CONNECT came within {} ms", waited.as_millis())]
    NoConnect {
        /// How long was waited.
        waited: Duration,
    },
    /// The peer's first frame was another.
    #[error("{command} came before CONNECTED; the first frame is CONNECT or STOMP")]
    NotConnected {
        /// What it was.
        command: Command,
    },
    /// The peer sent a second CONNECT.
    #[error("{command} came on a connection that is connected already")]
    AlreadyConnected {
        /// CONNECT or STOMP.
        command: Command,
    },
    /// The peer sent a server's frame, or one that its version does not have.
    #[error("{command} is not a client's frame in STOMP {version}")]
    UnexpectedCommand {
        /// What it was.
        command: Command,
        /// The version in use.
        version: &'static str,
    },
    /// The peer left a header out.
    #[error("{command} needs the header {header}")]
    MissingHeader {
        /// On which frame.
        command: Command,
        /// Which.
        header: &'static str,
    },
    /// The peer's header has no meaning.
    #[error("{command} has {header}:{value:?}; allowed is {allowed}")]
    BadHeader {
        /// On which frame.
        command: Command,
        /// Which.
        header: &'static str,
        /// Its beginning.
        value: Box<str>,
        /// What it may be.
        allowed: &'static str,
    },
    /// The peer speaks no version of ours.
    #[error("none of the versions {offered:?} is spoken here; supported are {SUPPORTED_VERSIONS}")]
    NoCommonVersion {
        /// Its `accept-version`.
        offered: Box<str>,
    },
    /// The peer wants a virtual host that is not served.
    #[error("the host {host:?} is not served here")]
    UnknownHost {
        /// Which.
        host: Box<str>,
    },
    /// The peer may not come in. Says no more, on purpose.
    #[error("the credentials were not accepted")]
    AccessRefused,
    /// The proof of who the peer is has expired.
    #[error(
        "the token has expired; connect again with a new one, or send one to /app/$auth before \
         (CONNECT with token-refresh:true to be told in time)"
    )]
    Expired,
    /// The settings do not know the peer any more.
    #[error("{REVOKED}")]
    Revoked,
    /// The peer brought a new token of somebody else.
    #[error("the new token is not for the principal of this session; connect again with it")]
    OtherPrincipal,
    /// Too many want to come in at once.
    #[error("too many logins wait to be checked, or have failed; try again later")]
    LoginsBusy,
    /// The peer named no valid destination.
    #[error("{command}: {error}")]
    Destination {
        /// On which frame.
        command: Command,
        /// What was wrong.
        error: DestinationError,
    },
    /// The peer used a subscription's id twice.
    #[error("there is a subscription {id:?} already; each needs an id of its own")]
    DuplicateSubscription {
        /// Which.
        id: Box<str>,
    },
    /// The peer has too many subscriptions.
    #[error("this would be subscription {count} of the session; at most {max} are allowed")]
    TooManySubscriptions {
        /// With the new one.
        count: usize,
        /// Allowed.
        max: usize,
    },
    /// The peer acknowledged what does not wait for it.
    #[error("{command} names {id:?}, which no delivered message waits for")]
    UnknownMessage {
        /// ACK or NACK.
        command: Command,
        /// The id it gave.
        id: Box<str>,
    },
    /// The peer does not acknowledge.
    #[error("{count} messages would wait for ACK or NACK; at most {max} may")]
    TooManyUnacked {
        /// With the new one.
        count: usize,
        /// Allowed.
        max: usize,
    },
    /// The peer opened a transaction twice.
    #[error("the transaction {name:?} is open already")]
    DuplicateTransaction {
        /// Which.
        name: Box<str>,
    },
    /// The peer named a transaction that is not open.
    #[error("{command} names the transaction {name:?}, which is not open")]
    UnknownTransaction {
        /// On which frame.
        command: Command,
        /// Which.
        name: Box<str>,
    },
    /// The peer acknowledged in a transaction, and let go before COMMIT what it acknowledged.
    #[error(
        "COMMIT of the transaction {name:?}, which acknowledges messages of a subscription that has ended: \
         they have gone back to their queue"
    )]
    AcknowledgedGone {
        /// Which.
        name: Box<str>,
    },
    /// The peer has too many transactions open.
    #[error("this would be open transaction {count} of the session; at most {max} are allowed")]
    TooManyTransactions {
        /// With the new one.
        count: usize,
        /// Allowed.
        max: usize,
    },
    /// The peer's transaction has too many frames.
    #[error("the transaction would have {count} actions; at most {max} are allowed")]
    TransactionTooMany {
        /// With the new one.
        count: usize,
        /// Allowed.
        max: usize,
    },
    /// The peer's transaction is too large.
    #[error("the transaction would hold {size} octets; at most {max} are allowed")]
    TransactionTooLarge {
        /// With the new one.
        size: usize,
        /// Allowed.
        max: usize,
    },
    /// The broker refused what the peer asked.
    #[error("{command} refused: {refusal}")]
    Refused {
        /// On which frame.
        command: Command,
        /// Why.
        refusal: Refusal,
    },
    /// The peer promised heart-beats and fell silent.
    #[error("nothing came for {} ms; the client promised a heart-beat every {} ms",
        silent.as_millis(), promised.as_millis())]
    Silent {
        /// For how long.
        silent: Duration,
        /// The agreed interval.
        promised: Duration,
    },
    /// The driver went on reading although nothing was wanted.
    #[error("{size} octets wait for the broker; at most {max} may")]
    TooMuchWaiting {
        /// With the new ones.
        size: usize,
        /// Allowed.
        max: usize,
    },
    /// The peer reads more slowly than messages come.
    #[error(
        "slow consumer: {messages} messages of {bytes} octets wait for the client; it reads too slowly, \
        or should subscribe with overflow:drop-oldest or overflow:latest"
    )]
    SlowConsumer {
        /// Messages that waited.
        messages: usize,
        /// Their octets.
        bytes: usize,
    },
    /// A limit beyond the session was reached.
    #[error(transparent)]
    Exceeded(#[from] Exceeded),
    /// The server goes down.
    #[error("the server is shutting down; connect again later")]
    ShuttingDown,
    /// The server cannot work now.
    #[error("the server cannot do this now; try again later")]
    Unavailable,
}

impl SessionError {
    /// The `message` header: what kind of trouble, in a few fixed words.
    pub fn summary(&self) -> &'static str {
        match self {
            Self::Decode(_) => "Malformed frame",
            Self::NoConnect { .. } => "Connect timeout",
            Self::NotConnected { .. } => "Not connected",
            Self::AlreadyConnected { .. } => "Already connected",
            Self::UnexpectedCommand { .. } => "Unexpected command",
            Self::MissingHeader { .. } => "Missing header",
            Self::BadHeader { .. } => "Bad header",
            Self::NoCommonVersion { .. } => "No common version",
            Self::UnknownHost { .. } => "Unknown host",
            Self::AccessRefused => "Access refused",
            Self::Expired => "Session expired",
            Self::OtherPrincipal => "Access refused",
            Self::Revoked => "Access revoked",
            Self::LoginsBusy => "Too many logins",
            Self::Destination { .. } => "Bad destination",
            Self::DuplicateSubscription { .. } => "Duplicate subscription",
            Self::UnknownMessage { .. } | Self::AcknowledgedGone { .. } => "Unknown message",
            Self::DuplicateTransaction { .. } => "Duplicate transaction",
            Self::UnknownTransaction { .. } => "Unknown transaction",
            Self::TooManySubscriptions { .. }
            | Self::TooManyUnacked { .. }
            | Self::TooManyTransactions { .. }
            | Self::TransactionTooMany { .. }
            | Self::TransactionTooLarge { .. }
            | Self::TooMuchWaiting { .. } => "Limit exceeded",
            Self::Refused { .. } => "Refused",
            Self::Silent { .. } => "Heart-beat missing",
            Self::SlowConsumer { .. } => "slow consumer",
            Self::Exceeded(exceeded) => match exceeded {
                Exceeded::Connects { .. } | Exceeded::Rate { .. } => "rate",
                Exceeded::Idle { .. } => "Idle",
                Exceeded::Memory { .. } => "slow consumer",
                Exceeded::Connections { .. } | Exceeded::OfAddress { .. } | Exceeded::OfUser { .. } => "Limit exceeded",
            },
            Self::ShuttingDown => "Server shutting down",
            Self::Unavailable => "Unavailable",
        }
    }

    /// The limit of `[stomp]` that was reached, as the settings name it.
    pub fn limit(&self) -> Option<&'static str> {
        match self {
            Self::Decode(error) => error.limit(),
            Self::NoConnect { .. } => Some("connect_timeout"),
            Self::TooManySubscriptions { .. } => Some("subscriptions"),
            Self::TooManyUnacked { .. } => Some("unacked"),
            Self::TooManyTransactions { .. } => Some("transactions"),
            Self::TransactionTooMany { .. } => Some("transaction_actions"),
            Self::TransactionTooLarge { .. } => Some("transaction_bytes"),
            Self::NotConnected { .. }
            | Self::AlreadyConnected { .. }
            | Self::UnexpectedCommand { .. }
            | Self::MissingHeader { .. }
            | Self::BadHeader { .. }
            | Self::NoCommonVersion { .. }
            | Self::UnknownHost { .. }
            | Self::AccessRefused
            | Self::Expired
            | Self::Revoked
            | Self::OtherPrincipal
            | Self::LoginsBusy
            | Self::Destination { .. }
            | Self::DuplicateSubscription { .. }
            | Self::UnknownMessage { .. }
            | Self::DuplicateTransaction { .. }
            | Self::UnknownTransaction { .. }
            | Self::AcknowledgedGone { .. }
            | Self::Refused { .. }
            | Self::Silent { .. }
            | Self::TooMuchWaiting { .. }
            | Self::SlowConsumer { .. }
            | Self::Exceeded(_)
            | Self::ShuttingDown
            | Self::Unavailable => None,
        }
    }

    /// How the connection is closed after the frame.
    pub fn close_reason(&self) -> CloseReason {
        match self {
            Self::Exceeded(Exceeded::Connections { .. } | Exceeded::Connects { .. }) => CloseReason::TryAgainLater,
            Self::Exceeded(_)
            | Self::AccessRefused
            | Self::Expired
            | Self::OtherPrincipal
            | Self::Revoked
            | Self::UnknownHost { .. }
            | Self::NoConnect { .. }
            | Self::Silent { .. }
            | Self::SlowConsumer { .. }
            | Self::TooManySubscriptions { .. }
            | Self::TooManyUnacked { .. }
            | Self::TooManyTransactions { .. }
            | Self::TransactionTooMany { .. }
            | Self::TransactionTooLarge { .. } => CloseReason::PolicyViolation,
            Self::Refused { refusal, .. } => match refusal.status {
                503 | 429 => CloseReason::TryAgainLater,
                500.. => CloseReason::InternalError,
                _ => CloseReason::PolicyViolation,
            },
            Self::LoginsBusy | Self::ShuttingDown | Self::Unavailable => CloseReason::TryAgainLater,
            Self::TooMuchWaiting { .. } => CloseReason::InternalError,
            Self::Decode(_)
            | Self::NotConnected { .. }
            | Self::AlreadyConnected { .. }
            | Self::UnexpectedCommand { .. }
            | Self::MissingHeader { .. }
            | Self::BadHeader { .. }
            | Self::NoCommonVersion { .. }
            | Self::Destination { .. }
            | Self::DuplicateSubscription { .. }
            | Self::UnknownMessage { .. }
            | Self::AcknowledgedGone { .. }
            | Self::DuplicateTransaction { .. }
            | Self::UnknownTransaction { .. } => CloseReason::ProtocolError,
        }
    }
}
