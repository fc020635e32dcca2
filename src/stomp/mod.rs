//! STOMP 1.0, 1.1 and 1.2: the wire format, and a session without sockets, tasks or clocks.
//!
//! What lives here: bytes to frames, frames to bytes, and what each frame means within one
//! connection. What does not: routing, permissions, transports, time sources.
//!
//! Where the specifications leave a choice, or this server is more lenient than they are:
//!
//! | what | here | test |
//! |---|---|---|
//! | EOL before CONNECTED | LF or CRLF, since the version is not known yet | `connect-crlf` |
//! | CR in 1.0 and 1.1 | part of the header's value; a blank line of CR LF is an error that says so; CRLF between frames is taken | `cr-ends-value`, `blank-line-with-cr`, `heart-beats-crlf` |
//! | blanks around names and values | cut off in 1.0, whose own examples write them; kept from 1.1 on | `blanks-around-value` |
//! | an unescaped colon in a value | part of the value | `value-with-colons` |
//! | heads that are not UTF-8 | an error in each version | `header-not-utf8` |
//! | a body where none may be | an error in 1.2; ignored before | `body-on-ack` |
//! | `content-length` in 1.0 | counts on SEND, MESSAGE and ERROR alone, as that version says; other frames may repeat a MESSAGE's | `content-length-of-a-message-on-ack` |
//! | `host` missing | taken, unless `strict_host` | `a_missing_host_is_refused_only_where_strict` |
//! | `heart-beat` in 1.0 | ignored | `there_are_no_heart_beats_unless_both_want_them` |
//! | `destination` of a MESSAGE sent to `/user/WHO/…` or a temporary queue | as its receiver subscribed to it | `a_private_destination_is_shown_without_its_owner` |
//! | UNSUBSCRIBE of an unknown id | answered as done: a soft refusal may have ended it | `a_softly_refused_subscribe_ends_the_subscription_and_not_the_session` |
//! | ACK of a soft refusal's notice | answered as done | the same |
//! | the receipt of a frame in a transaction | leaves when the frame is buffered | `commit_carries_all_out_in_order_and_its_receipt_waits` |
//! | a header that a version cannot write | left out of what is sent | `each_dialect_writes_the_senders_headers_its_own_way` |
//! | a refused SUBSCRIBE | a MESSAGE with `status` ends the subscription, not the session, unless `refusals` is `error` | `a_softly_refused_subscribe_ends_the_subscription_and_not_the_session` |
//! | a sender's header that is the server's word | not repeated on MESSAGE ([`encode::SERVERS_OWN`]) | `a_sender_cannot_pose_as_the_server` |

use std::time::Duration;

pub mod decode;
pub mod decode_error;
pub mod encode;
pub mod escape;
pub mod frame;
pub mod heart_beat;
pub mod session;
mod version;

pub use decode::Decoder;
pub use decode_error::DecodeError;
pub use frame::{Command, Frame};
pub use session::{Action, Session, SessionError};
pub use version::{SUPPORTED_VERSIONS, Version};

/// What a session needs to know from the settings.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Bounds on what a peer may send.
    pub limits: Limits,
    /// How often the server can send a heart-beat; zero: never.
    pub heart_beat_send: Duration,
    /// How often the server wants to hear from the client; zero: never.
    pub heart_beat_receive: Duration,
    /// How many receive intervals of silence a client is given, at least 1.
    pub heart_beat_tolerance: f64,
    /// How long the first frame may take to come.
    pub connect_timeout: Duration,
    /// How long the peer may take to close after DISCONNECT or ERROR before the server does.
    pub disconnect_timeout: Duration,
    /// Whether CONNECT without `host` is refused from 1.1 on.
    pub strict_host: bool,
    /// The virtual hosts that are served; empty: all.
    pub hosts: Vec<String>,
    /// What a refused SUBSCRIBE does.
    pub refusals: Refusals,
    /// Whether a body that is not UTF-8 leaves in base64 where the transport carries text only;
    /// otherwise it is left out there. Default: left out.
    pub encodes_binary: bool,
    /// The `server` header of CONNECTED; `None` hides it.
    pub server: Option<String>,
}

/// What a refused SUBSCRIBE does to its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusals {
    /// ERROR, then close, as the specification says.
    Error,
    /// A MESSAGE with `status:403` ends the subscription; the connection lives.
    Soft,
}

/// Bounds on what a peer may send; each checked before memory is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Octets of the command line.
    pub command_bytes: usize,
    /// Header lines in a frame.
    pub headers: usize,
    /// Octets of one header line.
    pub header_line_bytes: usize,
    /// Octets of command and headers together.
    pub head_bytes: usize,
    /// Octets of a body.
    pub body_bytes: usize,
    /// Octets of a whole frame before CONNECTED.
    pub unconnected_frame_bytes: usize,
    /// Subscriptions of one session.
    pub subscriptions: usize,
    /// Messages of one session that wait for ACK or NACK.
    pub unacked: usize,
    /// Open transactions of one session.
    pub transactions: usize,
    /// Actions in one transaction.
    pub transaction_actions: usize,
    /// Octets of the frames in one transaction.
    pub transaction_bytes: usize,
    /// Requests to the broker that may await their answer before reading stops.
    pub open_tickets: usize,
}
