//! SockJS 0.3.3: frames, payloads, routes and sessions, for any application.
//!
//! What lives here: the protocol between a SockJS client and a server. What does not: STOMP,
//! the broker, or what the messages mean.

pub mod answer;
pub mod frame;
pub mod framing;
pub mod octets;
pub mod payload;
pub mod route;
mod session;

use std::time::Duration;

pub use session::{Action, Closed, InboxFull, ReceiverId, Session};

/// What a SockJS service needs to know from the settings.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Whether the websocket transports are offered.
    pub websocket: bool,
    /// How long a receiver may be silent before it gets `h`.
    pub heartbeat: Duration,
    /// How long a session lives without a receiver.
    pub disconnect_delay: Duration,
    /// How many body octets a streaming response carries before it ends.
    pub response_limit_bytes: usize,
    /// How many octets of messages from the client may wait for the application.
    pub inbox_bytes: usize,
    /// How many octets one `xhr_send` body or websocket message may have.
    pub payload_bytes: usize,
    /// Whether answers set the `JSESSIONID` cookie and `info` asks for it.
    pub cookie_needed: bool,
    /// The `base_url` of `info`.
    pub base_url: Option<String>,
    /// The origins that may use the service; empty: all.
    pub origins: Vec<String>,
}
