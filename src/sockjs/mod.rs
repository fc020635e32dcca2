//! SockJS 0.3.3: frames, payloads, routes and sessions, for any application.
//!
//! What lives here: the protocol between a SockJS client and a server. What does not: STOMP,
//! the broker, or what the messages mean. Nothing in [`frame`], [`payload`], [`framing`],
//! [`route`], [`answer`] and [`Session`] names a socket, a task, a clock or randomness.
//!
//! sockjs-client's script for the iframe page is in the source (`client/`, MIT, its licence beside
//! it) and not taken from npm by the build: `cargo build` alone has to make a server that serves it.
//!
//! Where the protocol leaves a choice, or this differs from the reference server:
//!
//! | here | why | test |
//! |---|---|---|
//! | a lone surrogate comes in as U+FFFD | Rust's strings have none | `each_lone_surrogate_becomes_one_replacement_character` |
//! | an aborted session answers `c[1002,…]` for a while | the client learns why | `a_session_whose_poll_aborts_is_interrupted` |
//! | an ended response that lost its last octets interrupts | STOMP bears no gap | `a_response_that_was_ended_but_lost_its_last_octets_interrupts` |
//! | a receiver that takes nothing for a heartbeat's time is given up | bounded memory | `a_receiver_that_takes_nothing_for_a_heartbeat_is_given_up` |
//! | `xhr_send` takes a single JSON string too | as a websocket does | `a_single_string_is_one_message` |
//! | `<` leaves escaped in `htmlfile` | a message could end the script | `a_message_cannot_end_the_script_of_htmlfile` |
//! | a session answers only the origin, `Authorization` and kind of transport that opened it | a learnt name is no key | `a_session_belongs_to_the_origin_authorization_and_transport_that_opened_it` |
//! | the request that sends is taken once, though the browser repeats it over another connection | browsers do, when a kept connection breaks | `messages_whose_request_is_repeated_over_another_connection_are_taken_once` |
//! | a websocket's broken frame gets `c[3000,…]`, and the stream ends there | the suite's abrupt end, and the client learns why | `test_broken_json` |
//! | Hixie-76 gets 426 | no browser has it any more | `each_missing_part_is_named` |
//! | a streaming response of large frames goes on after 128 KiB, to 128 frames or 8 MiB | a request for every few frames costs more than they do | `a_response_without_a_limit_of_its_own_ends_by_octets_and_frames` |
//! | a callback has at most 32 octets | as newer reference servers | `a_callback_is_1_to_32_letters_digits_dashes_underscores_and_dots` |

pub mod answer;
pub mod frame;
pub mod framing;
pub mod octets;
pub mod payload;
pub mod quoting;
pub mod route;
pub mod service;
mod session;
mod transport;

use std::time::Duration;

pub use session::{Action, Closed, InboxFull, ReceiverId, Session};
pub use transport::{Transport, Transports};

/// What a SockJS service needs to know from the settings.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Which transports are offered.
    pub transports: Transports,
    /// How long a receiver may be silent before it gets `h`.
    pub heartbeat: Duration,
    /// How long a session lives without a receiver.
    pub disconnect_delay: Duration,
    /// What a streaming response carries before it ends.
    pub response_limit: ResponseLimit,
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
    /// Whether the iframe page is served, and the origins that may frame it; `*` is every one,
    /// none is the server's own.
    pub frame_ancestors: Option<Vec<String>>,
    /// How many sessions one address may have, WebSockets included; zero: any number.
    pub sessions_per_address: usize,
}

/// When a streaming response ends, so that its client comes with a new request.
///
/// The page keeps a response until it ends, and goes through all of it for each frame: what a limit
/// bounds there is octets times frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResponseLimit {
    /// After 128 KiB of the body, and at once after a frame of that size. Where the frames are large
    /// it goes on until there were 128 of them, or 8 MiB: a new request for every few of them costs
    /// the server more than they do.
    Auto,
    /// After so many octets of the body.
    Bytes(usize),
}

impl ResponseLimit {
    /// `last` is the size of the last frame.
    fn is_reached(self, bytes: usize, frames: u32, last: usize) -> bool {
        match self {
            Self::Auto => last >= 128 << 10 || (bytes >= 128 << 10 && (frames >= 128 || bytes >= 8 << 20)),
            Self::Bytes(limit) => bytes >= limit,
        }
    }
}

#[cfg(test)]
impl Settings {
    /// What `/echo` of the conformance server has, with a small inbox.
    fn conformance() -> Self {
        Self {
            transports: Transports::ALL,
            heartbeat: Duration::from_secs(25),
            disconnect_delay: Duration::from_secs(5),
            response_limit: ResponseLimit::Bytes(4096),
            inbox_bytes: 1000,
            payload_bytes: 1000,
            cookie_needed: false,
            base_url: None,
            origins: Vec::new(),
            frame_ancestors: Some(vec!["*".into()]),
            sessions_per_address: 0,
        }
    }
}
