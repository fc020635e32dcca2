//! What each setting may be: one table, which the checks, the error texts and the tests of
//! the sample file all read.

use std::fmt;
use std::time::Duration;

use toml::Value;

use super::path::Path;
use super::raw::MASK;
use super::texts;
use super::units::{AUTO, Size, Time, write_octets};

/// A setting's name, with `[]` for each position in a list, and what it may be.
pub(super) struct Rule {
    pub(super) key: &'static str,
    pub(super) kind: Kind,
    /// Whether an entry of a list must have it.
    required: bool,
}

/// What a value may be. `Display` continues the sentence "it must be …".
pub(super) enum Kind {
    Flag,
    Count { min: i64, max: i64 },
    Ratio { min: f64, max: f64 },
    Time { min: Duration, max: Duration, or_zero: bool },
    Size { min: u64, max: u64, or_auto: bool },
    Choice(&'static [&'static str]),
    Text(Text),
    Texts(Text),
    Tables,
}

/// A string that must pass a test.
#[derive(Clone, Copy)]
pub(super) struct Text {
    pub(super) allowed: &'static str,
    pub(super) accepts: fn(&str) -> bool,
}

/// What is wrong with a value, and where within what was checked.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) path: Path,
    pub(super) what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    Unknown,
    Missing { allowed: String },
    Refused { value: String, allowed: String },
}

/// Checks all settings below `path`: that they exist, their types and their ranges.
pub(super) fn check(path: &Path, value: &Value) -> Result<(), Fault> {
    let pattern = path.pattern();
    if let Some(rule) = rule(&pattern) {
        return rule.kind.check(path, value);
    }
    if children(&pattern).is_empty() {
        return Err(Fault { path: path.clone(), what: What::Unknown });
    }
    let Some(table) = value.as_table() else {
        return Err(refused(path, value, "a table"));
    };
    table.iter().try_for_each(|(key, value)| check(&path.key(key), value))?;
    let missing = RULES.iter().filter(|rule| rule.required).find_map(|rule| {
        let (parent, name) = rule.key.rsplit_once('.')?;
        (parent == pattern && !table.contains_key(name)).then_some((rule, name))
    });
    match missing {
        Some((rule, name)) => {
            Err(Fault { path: path.key(name), what: What::Missing { allowed: rule.kind.to_string() } })
        }
        None => Ok(()),
    }
}

/// The rule of that name.
pub(super) fn rule(pattern: &str) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.key == pattern)
}

/// The keys there are in the table of that name; empty if it is no table.
pub(super) fn children(pattern: &str) -> Vec<&'static str> {
    let mut keys: Vec<&str> = Vec::new();
    for rule in RULES {
        let rest = match pattern {
            "" => Some(rule.key),
            _ => rule.key.strip_prefix(pattern).and_then(|rest| rest.strip_prefix('.')),
        };
        let child = rest.and_then(|rest| rest.split(['.', '[']).next());
        keys.extend(child.filter(|child| !keys.contains(child)));
    }
    keys
}

/// A value as TOML, short, and masked if it is a secret or holds one.
pub(super) fn shown(path: &Path, value: &Value) -> String {
    let root = path.root();
    let of_secrets = ["auth.users", "auth.tokens", "auth.api_keys"].iter().any(|list| root.starts_with(list));
    let is_harmless = path.pattern().ends_with("].name") || path.pattern().contains("].roles");
    if (root == "auth" || of_secrets) && !is_harmless {
        return MASK.to_owned();
    }
    let text = value.to_string();
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

impl Kind {
    /// Reads what a flag or an environment variable gave: strings are taken as they are, all
    /// else is read as TOML, so that lists can be written.
    pub(super) fn read(&self, text: &str) -> Value {
        let as_it_is = matches!(self, Self::Text(_) | Self::Choice(_) | Self::Time { .. } | Self::Size { .. });
        let read = if as_it_is { None } else { toml::from_str::<toml::Table>(&format!("value = {text}")).ok() };
        // A line break in the text could have added keys
        let single = read.filter(|table| table.len() == 1).and_then(|mut table| table.remove("value"));
        single.unwrap_or_else(|| Value::String(text.to_owned()))
    }

    fn check(&self, path: &Path, value: &Value) -> Result<(), Fault> {
        let in_range = match self {
            Self::Flag => value.is_bool(),
            Self::Count { min, max } => value.as_integer().is_some_and(|n| (min..=max).contains(&&n)),
            Self::Ratio { min, max } => ratio(value).is_some_and(|n| (min..=max).contains(&&n)),
            Self::Time { min, max, or_zero } => value
                .as_str()
                .and_then(Time::parse)
                .is_some_and(|Time(time)| (min..=max).contains(&&time) || (*or_zero && time.is_zero())),
            Self::Size { min, max, or_auto } => {
                octets(value).is_some_and(|n| (min..=max).contains(&&n)) || (*or_auto && value.as_str() == Some(AUTO))
            }
            Self::Choice(choices) => value.as_str().is_some_and(|text| choices.contains(&text)),
            Self::Text(text) => value.as_str().is_some_and(text.accepts),
            Self::Texts(text) => {
                return self.check_each(path, value, |path, entry| Self::Text(*text).check(path, entry));
            }
            Self::Tables => return self.check_each(path, value, check),
        };
        if in_range { Ok(()) } else { Err(refused(path, value, self)) }
    }

    fn check_each(
        &self,
        path: &Path,
        value: &Value,
        check: impl Fn(&Path, &Value) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let entries = value.as_array().ok_or_else(|| refused(path, value, self))?;
        entries.iter().enumerate().try_for_each(|(index, entry)| check(&path.index(index), entry))
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("true or false"),
            Self::Count { min, max } => write!(f, "a whole number from {min} to {max}"),
            Self::Ratio { min, max } => write!(f, "a number from {min:?} to {max:?}"),
            Self::Time { min, max, or_zero } => {
                write!(f, "a duration from {} to {}", Time(*min), Time(*max))?;
                if *or_zero { f.write_str(", or 0s") } else { Ok(()) }
            }
            Self::Size { min, max, or_auto } => {
                f.write_str("a size from ")?;
                write_octets(f, *min)?;
                f.write_str(" to ")?;
                write_octets(f, *max)?;
                if *or_auto { write!(f, ", or {AUTO}") } else { Ok(()) }
            }
            Self::Choice(choices) => choices.iter().enumerate().try_for_each(|(n, choice)| match n {
                0 => write!(f, "{choice:?}"),
                _ => write!(f, " or {choice:?}"),
            }),
            Self::Text(text) => f.write_str(text.allowed),
            Self::Texts(text) => write!(f, "a list, each {}", text.allowed),
            Self::Tables => f.write_str("a list of tables"),
        }
    }
}

fn refused(path: &Path, value: &Value, allowed: impl fmt::Display) -> Fault {
    Fault { path: path.clone(), what: What::Refused { value: shown(path, value), allowed: allowed.to_string() } }
}

/// The number, if it is one; a whole number will do.
fn ratio(value: &Value) -> Option<f64> {
    value.as_float().or_else(|| value.as_integer().and_then(|n| i32::try_from(n).ok()).map(f64::from))
}

fn octets(value: &Value) -> Option<u64> {
    let written = value.as_str().and_then(Size::parse).map(Size::octets);
    written.or_else(|| value.as_integer().and_then(|n| u64::try_from(n).ok()))
}

const fn flag(key: &'static str) -> Rule {
    rule_of(key, Kind::Flag)
}

const fn count(key: &'static str, min: i64, max: i64) -> Rule {
    rule_of(key, Kind::Count { min, max })
}

const fn time(key: &'static str, min_ms: u64, max_ms: u64) -> Rule {
    rule_of(key, Kind::Time { min: Duration::from_millis(min_ms), max: Duration::from_millis(max_ms), or_zero: false })
}

const fn time_or_zero(key: &'static str, min_ms: u64, max_ms: u64) -> Rule {
    rule_of(key, Kind::Time { min: Duration::from_millis(min_ms), max: Duration::from_millis(max_ms), or_zero: true })
}

const fn size(key: &'static str, min: u64, max: u64) -> Rule {
    rule_of(key, Kind::Size { min, max, or_auto: false })
}

const fn size_or_auto(key: &'static str, min: u64, max: u64) -> Rule {
    rule_of(key, Kind::Size { min, max, or_auto: true })
}

const fn choice(key: &'static str, choices: &'static [&'static str]) -> Rule {
    rule_of(key, Kind::Choice(choices))
}

const fn text(key: &'static str, text: Text) -> Rule {
    rule_of(key, Kind::Text(text))
}

const fn required(key: &'static str, text: Text) -> Rule {
    Rule { key, kind: Kind::Text(text), required: true }
}

const fn texts(key: &'static str, text: Text) -> Rule {
    rule_of(key, Kind::Texts(text))
}

const fn tables(key: &'static str) -> Rule {
    rule_of(key, Kind::Tables)
}

const fn rule_of(key: &'static str, kind: Kind) -> Rule {
    Rule { key, kind, required: false }
}

/// Every setting, in the order of the sample file.
pub(super) const RULES: &[Rule] = &[
    text("server.listen", texts::LISTEN),
    text("server.tls_certificate", texts::PEM_FILE),
    text("server.tls_key", texts::PEM_FILE),
    text("server.tls_client_ca", texts::PEM_FILE),
    flag("server.tls_client_required"),
    count("server.shards", 0, 64),
    time_or_zero("server.drain_timeout", 100, HOUR),
    size("server.http_body_bytes", KIB, GIB),
    size("server.http_head_bytes", 8 * KIB, MIB),
    time("server.http_header_timeout", 100, 5 * MINUTE),
    time("server.http_body_timeout", 100, HOUR),
    time_or_zero("server.dead_peer_timeout", 1000, HOUR),
    texts("server.cors_origins", texts::ORIGIN),
    texts("server.trusted_proxies", texts::NETWORK),
    choice("server.forwarded_header", &["x-forwarded-for", "forwarded"]),
    flag("server.proxy_protocol"),
    flag("server.allow_open"),
    text("tcp.listen", texts::TCP_LISTEN),
    text("tcp.tls_certificate", texts::PEM_FILE),
    text("tcp.tls_key", texts::PEM_FILE),
    text("tcp.tls_client_ca", texts::PEM_FILE),
    flag("tcp.tls_client_required"),
    flag("tcp.proxy_protocol"),
    count("limits.connections", 0, 10_000_000),
    count("limits.connections_per_address", 0, 10_000_000),
    count("limits.sessions_per_user", 0, 10_000_000),
    count("limits.connects_per_minute", 0, 1_000_000),
    count("limits.session_messages_per_second", 0, 1_000_000),
    size("limits.session_bytes_per_second", 0, 2 * GIB),
    count("limits.address_messages_per_second", 0, 1_000_000),
    size("limits.address_bytes_per_second", 0, 2 * GIB),
    choice("limits.exceeded", &["delay", "error"]),
    time_or_zero("limits.idle", 100, 24 * HOUR),
    text("log.level", texts::LOG_LEVEL),
    choice("log.format", &["auto", "human", "json"]),
    time_or_zero("stomp.heart_beat_send", 10, HOUR),
    time_or_zero("stomp.heart_beat_receive", 10, HOUR),
    rule_of("stomp.heart_beat_tolerance", Kind::Ratio { min: 1.0, max: 10.0 }),
    time("stomp.connect_timeout", 100, 5 * MINUTE),
    time("stomp.disconnect_timeout", 10, MINUTE),
    flag("stomp.strict_host"),
    texts("stomp.hosts", texts::HOST),
    choice("stomp.refusals", &["soft", "error"]),
    flag("stomp.server_header"),
    // UNSUBSCRIBE is the longest command, a destination of 255 octets the longest line that
    // every client must be able to send
    size("stomp.limits.command_bytes", 11, KIB),
    count("stomp.limits.headers", 8, 10_000),
    size("stomp.limits.header_line_bytes", 512, MIB),
    size("stomp.limits.head_bytes", KIB, 16 * MIB),
    size("stomp.limits.body_bytes", KIB, 256 * MIB),
    size("stomp.limits.unconnected_frame_bytes", 512, 16 * MIB),
    count("stomp.limits.subscriptions", 1, 1_000_000),
    count("stomp.limits.unacked", 1, 1_000_000),
    count("stomp.limits.transactions", 0, 10_000),
    count("stomp.limits.transaction_actions", 1, 1_000_000),
    size("stomp.limits.transaction_bytes", KIB, GIB),
    count("stomp.limits.open_tickets", 1, 65_536),
    count("mailbox.messages", 1, 1_000_000),
    size("mailbox.bytes", KIB, GIB),
    size("mailbox.total_bytes", 0, 64 * GIB),
    count("topics.retained", 0, 10_000_000),
    size("topics.retained_bytes", 0, 64 * GIB),
    choice("topics.separator", &["both", ".", "/"]),
    count("queues.queues", 1, 10_000_000),
    count("queues.messages", 1, 10_000_000),
    size("queues.bytes", KIB, 64 * GIB),
    size("queues.total_bytes", KIB, 64 * GIB),
    choice("queues.full", &["reject", "drop-oldest"]),
    time_or_zero("queues.ttl", 10, 8760 * HOUR),
    count("queues.max_deliveries", 1, 1_000_000),
    count("queues.prefetch_count", 1, 1_000_000),
    flag("streams.enabled"),
    time("streams.interval", 100, HOUR),
    time_or_zero("streams.idle_timeout", 1000, 24 * HOUR),
    time("streams.auth_timeout", 100, 10 * MINUTE),
    choice("streams.overflow", &["drop-oldest", "close"]),
    time("streams.keep_alive", 100, HOUR),
    time("streams.retry", 10, HOUR),
    count("streams.history_topics", 2, 1_000_000),
    count("streams.history_messages", 1, 10_000_000),
    size("streams.history_bytes", KIB, 64 * GIB),
    text("sockjs.path", texts::PATH),
    flag("sockjs.websocket"),
    texts("sockjs.transports", texts::TRANSPORT),
    time("sockjs.heartbeat", 100, HOUR),
    time("sockjs.disconnect_delay", 100, 10 * MINUTE),
    size_or_auto("sockjs.response_limit", 4 * KIB, GIB),
    size("sockjs.inbox_bytes", KIB, GIB),
    size("sockjs.payload_bytes", KIB, GIB),
    flag("sockjs.cookie_needed"),
    choice("sockjs.binary", &["refuse", "base64", "leave-out"]),
    text("sockjs.base_url", texts::BASE_URL),
    texts("sockjs.origins", texts::ORIGIN),
    flag("sockjs.iframe"),
    texts("sockjs.frame_ancestors", texts::ANCESTOR),
    count("sockjs.sessions", 1, 10_000_000),
    count("sockjs.sessions_per_address", 0, 10_000_000),
    flag("websocket.deflate"),
    count("websocket.deflate_level", 1, 9),
    size("websocket.deflate_min_bytes", 64, GIB),
    flag("auth.anonymous"),
    count("auth.failures_per_minute", 0, 1_000_000),
    count("auth.checks", 1, 64),
    count("auth.checks_waiting", 1, 100_000),
    count("auth.checks_waiting_per_address", 1, 100_000),
    tables("auth.users"),
    required("auth.users[].name", texts::LOGIN),
    text("auth.users[].passcode", texts::SECRET),
    text("auth.users[].password_hash", texts::PASSWORD_HASH),
    texts("auth.users[].roles", texts::ROLE),
    tables("auth.tokens"),
    required("auth.tokens[].name", texts::LOGIN),
    text("auth.tokens[].token", texts::SECRET),
    text("auth.tokens[].token_sha256", texts::SHA256),
    texts("auth.tokens[].roles", texts::ROLE),
    tables("auth.api_keys"),
    required("auth.api_keys[].name", texts::LOGIN),
    text("auth.api_keys[].key", texts::SECRET),
    text("auth.api_keys[].key_sha256", texts::SHA256),
    texts("auth.api_keys[].roles", texts::ROLE),
    tables("auth.rules"),
    texts("auth.rules[].users", texts::NAME),
    texts("auth.rules[].roles", texts::ROLE),
    flag("auth.rules[].anonymous"),
    flag("auth.rules[].allow"),
    Rule { key: "auth.rules[].operations", kind: Kind::Texts(texts::OPERATION), required: true },
    Rule { key: "auth.rules[].destinations", kind: Kind::Texts(texts::RULE_PATTERN), required: true },
    texts("auth.jwt.algorithms", texts::ALGORITHM),
    text("auth.jwt.secret_file", texts::FILE),
    text("auth.jwt.key_file", texts::PEM_FILE),
    text("auth.jwt.jwks_file", texts::FILE),
    text("auth.jwt.jwks_url", texts::KEYS_URL),
    text("auth.jwt.jwks_roots", texts::PEM_FILE),
    time("auth.jwt.jwks_refresh", 1000, 24 * HOUR),
    time("auth.jwt.jwks_min_interval", 1000, HOUR),
    texts("auth.jwt.issuers", texts::CLAIM),
    texts("auth.jwt.audiences", texts::CLAIM),
    time_or_zero("auth.jwt.leeway", 1000, 5 * MINUTE),
    text("auth.jwt.name_claim", texts::CLAIM),
    text("auth.jwt.roles_claim", texts::CLAIM_OR_NONE),
    text("auth.jwt.rules_claim", texts::CLAIM_OR_NONE),
    flag("metrics.enabled"),
    choice("metrics.profile", &["documented", "dashboard"]),
    time("metrics.period", 100, HOUR),
    text("metrics.destination", texts::TOPIC),
    count("metrics.event_types", 1, 1_000_000),
    count("metrics.sources", 1, 1_000_000),
    count("metrics.users", 1, 10_000_000),
    count("metrics.recent_events", 0, 10_000_000),
    size("metrics.recent_bytes", 0, 16 * GIB),
    texts("logs.tail", texts::GLOB),
    choice("logs.from", &["end", "start"]),
    choice("logs.parser", &["auto", "json", "logfmt", "plain"]),
    count("logs.files", 1, 100_000),
    flag("logs.own"),
    time("system.interval", 100, HOUR),
    text("system.disk", texts::ABSOLUTE_PATH),
    texts("licenses.command", texts::ARGUMENT),
    time("licenses.interval", 1000, 24 * HOUR),
    time("licenses.timeout", 100, HOUR),
    tables("alerts"),
    required("alerts[].name", texts::NAME),
    required("alerts[].metric", texts::METRIC),
    rule_of("alerts[].above", Kind::Ratio { min: 0.0, max: 1e15 }),
    rule_of("alerts[].below", Kind::Ratio { min: 0.0, max: 1e15 }),
    time_or_zero("alerts[].for", 100, 24 * HOUR),
    rule_of("alerts[].hysteresis", Kind::Ratio { min: 0.0, max: 1e15 }),
    choice("alerts[].severity", &["info", "warning", "critical"]),
    tables("schedule"),
    required("schedule[].name", texts::NAME),
    required("schedule[].cron", texts::CRON),
    required("schedule[].destination", texts::TOPIC),
    required("schedule[].body", texts::ANY),
    text("schedule[].content_type", texts::HEADER_VALUE),
    flag("schedule[].retain"),
];

/// Enough to recognise a value by.
const SHOWN_CHARS: usize = 80;

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
