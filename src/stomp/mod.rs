//! STOMP 1.0, 1.1 and 1.2: the wire format, and a session without sockets, tasks or clocks.
//!
//! What lives here: bytes to frames, frames to bytes, and what each frame means within one
//! connection. What does not: routing, permissions, transports, time sources.

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
