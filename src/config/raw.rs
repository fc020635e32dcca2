//! The settings as they are written, and the default of every one of them.
//!
//! What each means and may be is in `rules.rs`; the types that the program works with are
//! in `config.rs`.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};

use super::units::{Size, SizeOrAuto, Time};

/// All settings, as written.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Raw {
    pub(super) server: Server,
    pub(super) tcp: Tcp,
    pub(super) limits: Bounds,
    pub(super) log: Log,
    pub(super) stomp: Stomp,
    pub(super) mailbox: Mailbox,
    pub(super) topics: Topics,
    pub(super) queues: Queues,
    pub(super) streams: Streams,
    pub(super) sockjs: SockJs,
    pub(super) websocket: WebSocket,
    pub(super) auth: Auth,
    pub(super) metrics: Metrics,
    pub(super) logs: Logs,
    pub(super) system: System,
    pub(super) licenses: Licenses,
    pub(super) alerts: Vec<Alert>,
    pub(super) schedule: Vec<Schedule>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Server {
    pub(super) listen: String,
    pub(super) tls_certificate: String,
    pub(super) tls_key: String,
    pub(super) tls_client_ca: String,
    pub(super) tls_client_required: bool,
    pub(super) shards: usize,
    pub(super) drain_timeout: Time,
    pub(super) http_body_bytes: Size,
    pub(super) http_head_bytes: Size,
    pub(super) http_header_timeout: Time,
    pub(super) http_body_timeout: Time,
    pub(super) dead_peer_timeout: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cors_origins: Option<Vec<String>>,
    pub(super) trusted_proxies: Vec<String>,
    pub(super) forwarded_header: String,
    pub(super) proxy_protocol: bool,
    pub(super) allow_open: bool,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8080".into(),
            tls_certificate: String::new(),
            tls_key: String::new(),
            tls_client_ca: String::new(),
            tls_client_required: false,
            shards: 0,
            drain_timeout: seconds(10),
            http_body_bytes: mib(1),
            http_head_bytes: kib(64),
            http_header_timeout: seconds(10),
            http_body_timeout: seconds(30),
            dead_peer_timeout: seconds(60),
            cors_origins: None,
            trusted_proxies: Vec::new(),
            forwarded_header: "x-forwarded-for".into(),
            proxy_protocol: false,
            allow_open: false,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Tcp {
    pub(super) listen: String,
    pub(super) tls_certificate: String,
    pub(super) tls_key: String,
    pub(super) tls_client_ca: String,
    pub(super) tls_client_required: bool,
    pub(super) proxy_protocol: bool,
}

impl Default for Tcp {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:61613".into(),
            tls_certificate: String::new(),
            tls_key: String::new(),
            tls_client_ca: String::new(),
            tls_client_required: false,
            proxy_protocol: false,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Bounds {
    pub(super) connections: usize,
    pub(super) connections_per_address: usize,
    pub(super) sessions_per_user: usize,
    pub(super) connects_per_minute: u32,
    pub(super) session_messages_per_second: u32,
    pub(super) session_bytes_per_second: Size,
    pub(super) address_messages_per_second: u32,
    pub(super) address_bytes_per_second: Size,
    pub(super) exceeded: String,
    pub(super) idle: Time,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections: 0,
            connections_per_address: 0,
            sessions_per_user: 0,
            connects_per_minute: 0,
            session_messages_per_second: 0,
            session_bytes_per_second: Size(0),
            address_messages_per_second: 0,
            address_bytes_per_second: Size(0),
            exceeded: "delay".into(),
            idle: seconds(0),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Log {
    pub(super) level: String,
    pub(super) format: String,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".into(), format: "human".into() }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Stomp {
    pub(super) heart_beat_send: Time,
    pub(super) heart_beat_receive: Time,
    pub(super) heart_beat_tolerance: f64,
    pub(super) connect_timeout: Time,
    pub(super) disconnect_timeout: Time,
    pub(super) strict_host: bool,
    pub(super) hosts: Vec<String>,
    pub(super) refusals: String,
    pub(super) server_header: bool,
    pub(super) limits: Limits,
}

impl Default for Stomp {
    fn default() -> Self {
        Self {
            heart_beat_send: seconds(10),
            heart_beat_receive: seconds(10),
            // STOMP 1.2 "Heart-beating": the receiver should allow an error margin
            heart_beat_tolerance: 2.0,
            connect_timeout: seconds(10),
            disconnect_timeout: seconds(1),
            strict_host: false,
            hosts: Vec::new(),
            refusals: "soft".into(),
            server_header: true,
            limits: Limits::default(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Limits {
    pub(super) command_bytes: Size,
    pub(super) headers: usize,
    pub(super) header_line_bytes: Size,
    pub(super) head_bytes: Size,
    pub(super) body_bytes: Size,
    pub(super) unconnected_frame_bytes: Size,
    pub(super) subscriptions: usize,
    pub(super) unacked: usize,
    pub(super) transactions: usize,
    pub(super) transaction_actions: usize,
    pub(super) transaction_bytes: Size,
    pub(super) open_tickets: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            command_bytes: Size(32),
            headers: 128,
            header_line_bytes: kib(8),
            head_bytes: kib(64),
            body_bytes: mib(1),
            unconnected_frame_bytes: kib(64),
            subscriptions: 1024,
            unacked: 4096,
            transactions: 16,
            transaction_actions: 1024,
            transaction_bytes: mib(4),
            open_tickets: 64,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Mailbox {
    pub(super) messages: usize,
    pub(super) bytes: Size,
    pub(super) total_bytes: Size,
}

impl Default for Mailbox {
    fn default() -> Self {
        Self { messages: 1024, bytes: mib(1), total_bytes: mib(1024) }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Topics {
    pub(super) retained: usize,
    pub(super) retained_bytes: Size,
    pub(super) separator: String,
}

impl Default for Topics {
    fn default() -> Self {
        Self { retained: 10_000, retained_bytes: mib(64), separator: "both".into() }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Queues {
    pub(super) queues: usize,
    pub(super) messages: usize,
    pub(super) bytes: Size,
    pub(super) total_bytes: Size,
    pub(super) full: String,
    pub(super) ttl: Time,
    pub(super) max_deliveries: u32,
    pub(super) prefetch_count: u32,
}

impl Default for Queues {
    fn default() -> Self {
        Self {
            queues: 10_000,
            messages: 10_000,
            bytes: mib(64),
            total_bytes: mib(1024),
            full: "reject".into(),
            ttl: seconds(0),
            max_deliveries: 10,
            prefetch_count: 64,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Streams {
    pub(super) enabled: bool,
    pub(super) interval: Time,
    pub(super) idle_timeout: Time,
    pub(super) auth_timeout: Time,
    pub(super) overflow: String,
    pub(super) keep_alive: Time,
    pub(super) retry: Time,
    pub(super) history_topics: usize,
    pub(super) history_messages: usize,
    pub(super) history_bytes: Size,
}

impl Default for Streams {
    fn default() -> Self {
        Self {
            enabled: true,
            interval: seconds(5),
            idle_timeout: seconds(5 * 60),
            auth_timeout: seconds(10),
            overflow: "drop-oldest".into(),
            keep_alive: seconds(15),
            retry: seconds(3),
            history_topics: 1000,
            history_messages: 10_000,
            history_bytes: mib(16),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct SockJs {
    pub(super) path: String,
    pub(super) websocket: bool,
    pub(super) transports: Vec<String>,
    pub(super) heartbeat: Time,
    pub(super) disconnect_delay: Time,
    pub(super) response_limit: SizeOrAuto,
    pub(super) inbox_bytes: Size,
    pub(super) payload_bytes: Size,
    pub(super) cookie_needed: bool,
    pub(super) binary: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) base_url: Option<String>,
    pub(super) origins: Vec<String>,
    pub(super) iframe: bool,
    pub(super) frame_ancestors: Vec<String>,
    pub(super) sessions: usize,
    pub(super) sessions_per_address: usize,
}

impl Default for SockJs {
    fn default() -> Self {
        Self {
            path: "/ws".into(),
            websocket: true,
            transports: crate::sockjs::Transport::ALL.map(|transport| transport.name().into()).into(),
            heartbeat: seconds(25),
            disconnect_delay: seconds(5),
            response_limit: SizeOrAuto(None),
            // The largest STOMP frame, and as much again for the escapes of its JSON string
            inbox_bytes: mib(2),
            payload_bytes: mib(2),
            cookie_needed: false,
            binary: "refuse".into(),
            base_url: None,
            origins: Vec::new(),
            iframe: false,
            frame_ancestors: Vec::new(),
            sessions: 100_000,
            sessions_per_address: 0,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct WebSocket {
    pub(super) deflate: bool,
    pub(super) deflate_level: u8,
    pub(super) deflate_min_bytes: Size,
}

impl Default for WebSocket {
    fn default() -> Self {
        // Once a message, whoever gets it: the level that saves most before it gets slow. What
        // fits one packet gains nothing by being smaller.
        Self { deflate: true, deflate_level: 6, deflate_min_bytes: kib(2) }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Auth {
    pub(super) anonymous: bool,
    pub(super) failures_per_minute: u32,
    pub(super) checks: usize,
    pub(super) checks_waiting: usize,
    pub(super) checks_waiting_per_address: usize,
    pub(super) users: Vec<User>,
    pub(super) tokens: Vec<Token>,
    pub(super) api_keys: Vec<ApiKey>,
    pub(super) rules: Vec<AccessRule>,
    pub(super) jwt: Jwt,
}

impl Default for Auth {
    fn default() -> Self {
        let limits = crate::broker::auth::Limits::default();
        Self {
            anonymous: false,
            // High enough for a test suite of bad tokens and a proxy of many clients.
            failures_per_minute: 600,
            checks: limits.running,
            checks_waiting: limits.waiting,
            checks_waiting_per_address: limits.waiting_per_address,
            users: Vec::new(),
            tokens: Vec::new(),
            api_keys: Vec::new(),
            rules: Vec::new(),
            jwt: Jwt::default(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Jwt {
    pub(super) algorithms: Vec<String>,
    pub(super) secret_file: String,
    pub(super) key_file: String,
    pub(super) jwks_file: String,
    #[serde(serialize_with = "without_userinfo")]
    pub(super) jwks_url: String,
    pub(super) jwks_roots: String,
    pub(super) jwks_refresh: Time,
    pub(super) jwks_min_interval: Time,
    pub(super) issuers: Vec<String>,
    pub(super) audiences: Vec<String>,
    pub(super) leeway: Time,
    pub(super) name_claim: String,
    pub(super) roles_claim: String,
    pub(super) rules_claim: String,
}

impl Default for Jwt {
    fn default() -> Self {
        Self {
            algorithms: crate::broker::auth::jwt::Algorithm::ALL.map(|algorithm| algorithm.name().into()).into(),
            secret_file: String::new(),
            key_file: String::new(),
            jwks_file: String::new(),
            jwks_url: String::new(),
            jwks_roots: String::new(),
            jwks_refresh: seconds(300),
            jwks_min_interval: seconds(30),
            issuers: Vec::new(),
            audiences: Vec::new(),
            leeway: seconds(0),
            name_claim: "sub".into(),
            roles_claim: "roles".into(),
            rules_claim: String::new(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct User {
    pub(super) name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) passcode: Option<Secret>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) password_hash: Option<Secret>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) roles: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Token {
    pub(super) name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) token: Option<Secret>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) token_sha256: Option<Secret>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) roles: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AccessRule {
    #[serde(default)]
    pub(super) users: Vec<String>,
    #[serde(default)]
    pub(super) roles: Vec<String>,
    #[serde(default)]
    pub(super) anonymous: bool,
    #[serde(default = "yes")]
    pub(super) allow: bool,
    pub(super) operations: Vec<String>,
    pub(super) destinations: Vec<String>,
}

fn yes() -> bool {
    true
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ApiKey {
    pub(super) name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) key: Option<Secret>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) key_sha256: Option<Secret>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) roles: Vec<String>,
}

/// A string that neither `Debug` nor serialization shows: both write `***`.
///
/// `==` is for settings only; compare what a peer sent in constant time.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(super) struct Secret(String);

impl Secret {
    /// The string itself.
    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(MASK)
    }
}

/// A URL may carry a name and a password to log in with where it leads.
fn without_userinfo<S: Serializer>(url: &str, serializer: S) -> Result<S::Ok, S::Error> {
    let authority = url.find("://").map_or(0, |at| at + 3);
    let end = url[authority..].find(['/', '?', '#']).map_or(url.len(), |at| authority + at);
    match url[authority..end].rfind('@') {
        Some(at) => serializer.serialize_str(&format!("{}{MASK}{}", &url[..authority], &url[authority + at..])),
        None => serializer.serialize_str(url),
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Metrics {
    pub(super) enabled: bool,
    pub(super) profile: String,
    pub(super) period: Time,
    pub(super) destination: String,
    pub(super) event_types: usize,
    pub(super) sources: usize,
    pub(super) users: usize,
    pub(super) recent_events: usize,
    pub(super) recent_bytes: Size,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            enabled: true,
            profile: "documented".into(),
            period: seconds(1),
            destination: "/topic/metrics".into(),
            event_types: 1000,
            sources: 1000,
            users: 100_000,
            recent_events: 10_000,
            recent_bytes: mib(16),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Logs {
    pub(super) tail: Vec<String>,
    pub(super) from: String,
    pub(super) parser: String,
    pub(super) files: usize,
    pub(super) own: bool,
}

impl Default for Logs {
    fn default() -> Self {
        Self { tail: Vec::new(), from: "end".into(), parser: "auto".into(), files: 1000, own: true }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Licenses {
    pub(super) command: Vec<String>,
    pub(super) interval: Time,
    pub(super) timeout: Time,
}

impl Default for Licenses {
    fn default() -> Self {
        Self { command: Vec::new(), interval: seconds(60), timeout: seconds(10) }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Alert {
    pub(super) name: String,
    pub(super) metric: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) above: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) below: Option<f64>,
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub(super) lasting: Option<Time>,
    #[serde(default)]
    pub(super) hysteresis: f64,
    #[serde(default = "warning")]
    pub(super) severity: String,
}

fn warning() -> String {
    "warning".into()
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct System {
    pub(super) interval: Time,
    pub(super) disk: String,
}

impl Default for System {
    fn default() -> Self {
        Self { interval: seconds(5), disk: "/".into() }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Schedule {
    pub(super) name: String,
    pub(super) cron: String,
    pub(super) destination: String,
    pub(super) body: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) content_type: Option<String>,
    #[serde(default)]
    pub(super) retain: bool,
}

const fn seconds(n: u64) -> Time {
    Time(Duration::from_secs(n))
}

const fn kib(n: usize) -> Size {
    Size(n << 10)
}

const fn mib(n: usize) -> Size {
    Size(n << 20)
}

/// What stands where a secret is.
pub(super) const MASK: &str = "***";
