//! The settings: read from defaults, a TOML file, the environment and flags, then checked.
//!
//! What lives here: every setting's name, default, range and meaning, and the errors that
//! say what to put right. What does not: what the settings do. Only the layers above
//! (`http`, `app`, `cli`) see a [`Config`]; those below get the parts meant for them.

mod auth;
mod changes;
mod check;
mod error;
mod inputs;
mod path;
mod raw;
mod rules;
mod sources;
#[cfg(test)]
mod tests;
mod texts;
mod units;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

pub use self::error::{ConfigError, Place};
pub use self::sources::Sources;
use crate::broker::pattern::Separators;
use crate::broker::{auth as broker_auth, history, queue};
use crate::message::{Destination, Overflow};
use crate::net::proxy::Proxies;
use crate::net::tls::Identity;
use crate::net::websocket::deflate;
use crate::net::{accept, http, limits};
use crate::{feeds, sockjs, stomp};

/// All settings, checked: units in the types, each within its range, none against another.
#[derive(Debug, Clone)]
pub struct Config {
    /// The listener, its threads and HTTP.
    pub server: Server,
    /// The listener for STOMP over TCP.
    pub tcp: Tcp,
    /// What one client, one address and all together may have.
    pub limits: limits::Settings,
    /// What is logged, and how.
    pub log: Log,
    /// STOMP sessions.
    pub stomp: stomp::Settings,
    /// What may wait for one session.
    pub mailbox: MailboxLimits,
    /// Topics and their last values.
    pub topics: Topics,
    /// Queues: what waits in them, and how it is handed out.
    pub queues: queue::Settings,
    /// Log and metric streams, and channels.
    pub streams: Streams,
    /// The SockJS service.
    pub sockjs: SockJs,
    /// All WebSockets, those of SockJS included.
    pub websocket: WebSocket,
    /// Who may come in.
    pub auth: broker_auth::Settings,
    /// The event metrics.
    pub metrics: Metrics,
    /// Log lines.
    pub logs: Logs,
    /// The machine's gauges.
    pub system: System,
    /// The command that tells of licences.
    pub licenses: Option<feeds::licenses::command::Settings>,
    /// Thresholds; their names are unique.
    pub alerts: Vec<feeds::alerts::Rule>,
    /// What is published by the clock.
    pub schedule: Vec<Schedule>,
    written: raw::Raw,
}

impl Config {
    /// Puts the sources together: defaults, then the file, the environment, the flags.
    ///
    /// # Errors
    /// The first setting that is unknown, missing, of the wrong type, out of range or
    /// against another.
    pub fn load(sources: Sources) -> Result<Self, ConfigError> {
        check::config(sources.merge()?)
    }

    /// The settings of a TOML text over the defaults; `""` gives the defaults.
    ///
    /// # Errors
    /// As [`Config::load`]; the place is called `stompbox.toml`.
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        Self::load(Sources::default().file("stompbox.toml", text))
    }

    /// The keys of the settings that differ from those of another; a secret's is its table's.
    pub fn changes_from(&self, other: &Self) -> Vec<String> {
        changes::changes(&other.written, &self.written)
    }

    /// All settings in effect as TOML, with `***` for each secret.
    ///
    /// # Errors
    /// [`ConfigError::Merge`], if they cannot be written as TOML.
    pub fn to_toml(&self) -> Result<String, ConfigError> {
        toml::to_string(&self.written).map_err(|error| ConfigError::Merge(error.to_string()))
    }
}

/// The listener, its threads and HTTP.
#[derive(Debug, Clone)]
pub struct Server {
    /// Where to listen; port 0 takes any that is free. Loopback unless somebody must log in
    /// or `server.allow_open` is set.
    pub listen: SocketAddr,
    /// Whether it may be listened beyond this machine although nobody has to log in.
    pub allow_open: bool,
    /// Threads that serve connections, at most 64.
    pub shards: NonZeroUsize,
    /// How long connections may finish after the signal to stop.
    pub drain_timeout: Duration,
    /// What it shows to clients; with it, HTTPS is spoken there and nothing else.
    pub identity: Option<Identity>,
    /// Octets of a request's body, SockJS apart.
    pub http_body_bytes: usize,
    /// What the HTTP listener itself needs to know.
    pub http: http::Settings,
    /// Whose word counts for where a client comes from, on each listener.
    pub proxies: Proxies,
    /// Whether those speak the PROXY protocol here.
    pub proxy_protocol: bool,
    /// The origins whose pages may use the REST API; empty: all.
    pub cors_origins: Vec<String>,
    /// What every accepted socket is given, on each listener.
    pub sockets: accept::Settings,
}

/// Log and metric streams, and channels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Streams {
    /// Whether there are any.
    pub enabled: bool,
    /// How often metrics are sent to a client that does not say it.
    pub interval: Duration,
    /// How long a WebSocket client may send nothing; zero: for ever.
    pub idle_timeout: Duration,
    /// How long a client of channels may take to say who it is.
    pub auth_timeout: Duration,
    /// What happens to one that reads too slowly.
    pub overflow: Overflow,
    /// How long an event stream is silent before a comment is sent.
    pub keep_alive: Duration,
    /// How long a browser waits before it connects again.
    pub retry: Duration,
    /// The bounds of what is kept for clients that were away.
    pub history: history::Limits,
}

/// The listener for STOMP over TCP.
#[derive(Debug, Clone)]
pub struct Tcp {
    /// Where to listen, under the rules of [`Server::listen`]; `None`: nowhere.
    pub listen: Option<SocketAddr>,
    /// Whether that is the default, which a second server on one machine does without.
    pub is_default: bool,
    /// Whether the trusted proxies speak the PROXY protocol here.
    pub proxy_protocol: bool,
    /// What it shows to clients; with it, TLS is spoken there and nothing else.
    pub identity: Option<Identity>,
}

/// What is logged, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// A directive for `tracing_subscriber::EnvFilter`.
    pub level: String,
    /// The form of a line.
    pub format: LogFormat,
}

/// The form of a line in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Human on a terminal, JSON elsewhere.
    Auto,
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// What may wait for one session before its subscriptions' overflow rule decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MailboxLimits {
    /// Messages.
    pub messages: usize,
    /// Octets.
    pub bytes: usize,
}

/// Bounds on the last values that topics keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Topics {
    /// How many destinations may keep one.
    pub retained: usize,
    /// Octets of all of them.
    pub retained_bytes: usize,
    /// What parts the words of a name.
    pub separators: Separators,
}

/// The SockJS service and where it is.
#[derive(Debug, Clone)]
pub struct SockJs {
    /// The path in front of its routes, such as `/ws`.
    pub path: String,
    /// Sessions that may live at once.
    pub sessions: usize,
    /// Whether a SEND that is not UTF-8 is refused where one of them subscribes.
    pub refuses_binary: bool,
    /// What the service itself needs to know.
    pub service: sockjs::Settings,
}

/// All WebSockets, those of SockJS included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WebSocket {
    /// How messages are compressed for clients that offer it; `None`: not at all.
    pub deflate: Option<deflate::Settings>,
}

/// The event metrics.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Whether events are taken and metrics published.
    pub enabled: bool,
    /// How often they are published.
    pub period: Duration,
    /// Where to; a topic.
    pub destination: Destination,
    /// What the aggregator itself needs to know.
    pub events: feeds::events::Settings,
}

/// Log lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logs {
    /// The files that are followed.
    pub follow: feeds::logs::follow::Settings,
    /// Whether the server's own warnings are log lines, too.
    pub own: bool,
}

/// The machine's gauges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct System {
    /// How often they are published while somebody listens.
    pub interval: Duration,
    /// A path on the file system that is watched.
    pub disk: PathBuf,
}

/// A message that is published by the clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// Its name in logs; unique.
    pub name: String,
    /// When: a cron pattern of six fields that the scheduler is known to take.
    pub cron: String,
    /// Where to; a topic.
    pub destination: Destination,
    /// The body.
    pub body: String,
    /// The `content-type` header.
    pub content_type: Option<String>,
    /// Whether it becomes the destination's last value.
    pub retain: bool,
}
