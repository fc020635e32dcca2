//! From settings as written to the types that the program works with, and what holds
//! between one setting and another.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::thread::available_parallelism;

use super::auth;
use super::error::Place;
use super::path::Path;
use super::raw::{self, Raw};
use super::sources::Merged;
use super::units::{Size, Time};
use super::{
    Config, ConfigError, Log, LogFormat, MailboxLimits, Metrics, Schedule, Server, SockJs, Streams, System, Tcp,
    Topics, WebSocket,
};
use crate::broker::pattern::Separators;
use crate::broker::{history, queue};
use crate::message::{Destination, Overflow};
use crate::net::proxy::Proxies;
use crate::net::tls::{Authority, Identity, IdentityError};
use crate::net::websocket::deflate;
use crate::net::{accept, http, limits as bounding};
use crate::sockjs::{ResponseLimit, Transport, Transports};
use crate::{feeds, sockjs, stomp};

pub(super) fn config(merged: Merged) -> Result<Config, ConfigError> {
    sizes_fit(&merged)?;
    names_are_unique(&merged)?;
    let raw = &merged.raw;
    Ok(Config {
        server: server(&merged)?,
        tcp: tcp(&merged)?,
        limits: bounds(raw),
        log: Log { level: raw.log.level.clone(), format: log_format(&raw.log.format) },
        stomp: stomp(&raw.stomp, &raw.sockjs),
        mailbox: MailboxLimits { messages: raw.mailbox.messages, bytes: raw.mailbox.bytes.0 },
        topics: topics(&raw.topics),
        queues: queues(&raw.queues),
        streams: streams(&raw.streams),
        sockjs: sockjs(&raw.sockjs),
        websocket: websocket(&raw.websocket),
        auth: auth::auth(&merged)?,
        metrics: metrics(&merged)?,
        logs: super::inputs::logs(&raw.logs),
        licenses: super::inputs::licenses(&raw.licenses),
        alerts: super::inputs::alerts(&merged)?,
        system: System { interval: raw.system.interval.0, disk: raw.system.disk.clone().into() },
        schedule: schedules(&merged)?,
        written: merged.raw,
    })
}

fn server(merged: &Merged) -> Result<Server, ConfigError> {
    let server = &merged.raw.server;
    let listen = listen(merged, "server.listen", &server.listen)?;
    let cores = || available_parallelism().map_or(1, NonZeroUsize::get).min(MAX_SHARDS);
    let files = [server.tls_certificate.as_str(), &server.tls_key, &server.tls_client_ca];
    let identity = identity(merged, "server", files, server.tls_client_required, Some("http/1.1"))?;
    Ok(Server {
        listen,
        allow_open: server.allow_open,
        identity,
        shards: NonZeroUsize::new(server.shards).or_else(|| NonZeroUsize::new(cores())).unwrap_or(NonZeroUsize::MIN),
        drain_timeout: server.drain_timeout.0,
        http_body_bytes: server.http_body_bytes.0,
        proxies: proxies(merged),
        proxy_protocol: proxy_protocol(merged, "server", server.proxy_protocol)?,
        cors_origins: server.cors_origins.as_ref().unwrap_or(&merged.raw.sockjs.origins).clone(),
        sockets: accept::Settings { dead_peer_timeout: server.dead_peer_timeout.0 },
        http: http::Settings {
            header_timeout: server.http_header_timeout.0,
            head_bytes: server.http_head_bytes.0,
            body_timeout: server.http_body_timeout.0,
        },
    })
}

fn tcp(merged: &Merged) -> Result<Tcp, ConfigError> {
    let written = &merged.raw.tcp.listen;
    let listen = if written.is_empty() { None } else { Some(listen(merged, "tcp.listen", written)?) };
    let raw::Tcp { tls_certificate, tls_key, tls_client_ca, tls_client_required, .. } = &merged.raw.tcp;
    let identity = identity(merged, "tcp", [tls_certificate, tls_key, tls_client_ca], *tls_client_required, None)?;
    let proxy_protocol = proxy_protocol(merged, "tcp", merged.raw.tcp.proxy_protocol)?;
    Ok(Tcp { listen, is_default: merged.raw.tcp == raw::Tcp::default(), proxy_protocol, identity })
}

fn identity(
    merged: &Merged,
    table: &str,
    [certificate, key, authority]: [&str; 3],
    is_required: bool,
    protocol: Option<&str>,
) -> Result<Option<Identity>, ConfigError> {
    let path = |name: &str| Path::of(table).key(name);
    if certificate.is_empty() && key.is_empty() {
        return match (authority, is_required) {
            ("", false) => Ok(None),
            ("", true) => Err(merged.refuse(&path("tls_client_required"), "false while tls_client_ca is empty")),
            _ => Err(merged.refuse(&path("tls_client_ca"), "empty while tls_certificate and tls_key are")),
        };
    }
    if certificate.is_empty() {
        return Err(merged.refuse(&path("tls_key"), format!("empty while {table}.tls_certificate is: TLS takes both")));
    }
    if key.is_empty() {
        return Err(merged.refuse(&path("tls_certificate"), format!("empty while {table}.tls_key is: TLS takes both")));
    }
    if authority.is_empty() && is_required {
        return Err(merged.refuse(&path("tls_client_required"), "false while tls_client_ca is empty"));
    }
    let clients = (!authority.is_empty()).then(|| Authority { file: authority.as_ref(), is_required });
    Identity::read(certificate.as_ref(), key.as_ref(), clients, protocol).map(Some).map_err(|error| {
        let (name, error) = match error {
            IdentityError::Certificate(error) => ("tls_certificate", error),
            IdentityError::Key(error) => ("tls_key", error),
            IdentityError::Authority(error) => ("tls_client_ca", error),
        };
        merged.refuse_file(&path(name), error.to_string())
    })
}

/// An address that is not open to all while everyone who comes may publish.
fn listen(merged: &Merged, key: &str, written: &str) -> Result<SocketAddr, ConfigError> {
    let Raw { server, tcp, auth, .. } = &merged.raw;
    let path = Path::of(key);
    let address: SocketAddr = written.parse().map_err(|_| merged.refuse(&path, super::texts::LISTEN.allowed))?;
    let shows_nothing = server.tls_client_ca.is_empty() && tcp.tls_client_ca.is_empty();
    let has_lists = !(auth.users.is_empty() && auth.tokens.is_empty() && auth.api_keys.is_empty());
    let is_open = !has_lists && !auth::has_keys(&auth.jwt) && shows_nothing;
    if is_open && !server.allow_open && !address.ip().to_canonical().is_loopback() {
        return Err(merged.refuse(&path, OPEN));
    }
    Ok(address)
}

fn proxies(merged: &Merged) -> Proxies {
    let server = &merged.raw.server;
    Proxies {
        trusted: server.trusted_proxies.iter().filter_map(|written| super::texts::network(written)).collect(),
        writes_forwarded: server.forwarded_header == "forwarded",
    }
}

/// It counts from trusted addresses alone.
fn proxy_protocol(merged: &Merged, table: &str, is_on: bool) -> Result<bool, ConfigError> {
    if is_on && merged.raw.server.trusted_proxies.is_empty() {
        let path = Path::of(table).key("proxy_protocol");
        return Err(merged.refuse(&path, "false while server.trusted_proxies is empty"));
    }
    Ok(is_on)
}

fn bounds(raw: &Raw) -> bounding::Settings {
    let rate = |messages, Size(bytes)| bounding::Rate { messages, bytes: u32::try_from(bytes).unwrap_or(u32::MAX) };
    let limits = &raw.limits;
    bounding::Settings {
        connections: limits.connections,
        connections_per_address: limits.connections_per_address,
        sessions_per_user: limits.sessions_per_user,
        connects_per_minute: limits.connects_per_minute,
        session: rate(limits.session_messages_per_second, limits.session_bytes_per_second),
        address: rate(limits.address_messages_per_second, limits.address_bytes_per_second),
        ends: limits.exceeded == "error",
        idle: limits.idle.0,
        waiting_bytes: raw.mailbox.total_bytes.0,
    }
}

fn log_format(written: &str) -> LogFormat {
    match written {
        "auto" => LogFormat::Auto,
        "json" => LogFormat::Json,
        _ => LogFormat::Human,
    }
}

fn stomp(raw: &raw::Stomp, sockjs: &raw::SockJs) -> stomp::Settings {
    stomp::Settings {
        limits: limits(&raw.limits),
        heart_beat_send: raw.heart_beat_send.0,
        heart_beat_receive: raw.heart_beat_receive.0,
        heart_beat_tolerance: raw.heart_beat_tolerance,
        connect_timeout: raw.connect_timeout.0,
        disconnect_timeout: raw.disconnect_timeout.0,
        strict_host: raw.strict_host,
        hosts: raw.hosts.clone(),
        refusals: if raw.refusals == "error" { stomp::Refusals::Error } else { stomp::Refusals::Soft },
        encodes_binary: sockjs.binary == "base64",
        server: raw.server_header.then(|| SERVER.to_owned()),
    }
}

fn limits(raw: &raw::Limits) -> stomp::Limits {
    stomp::Limits {
        command_bytes: raw.command_bytes.0,
        headers: raw.headers,
        header_line_bytes: raw.header_line_bytes.0,
        head_bytes: raw.head_bytes.0,
        body_bytes: raw.body_bytes.0,
        unconnected_frame_bytes: raw.unconnected_frame_bytes.0,
        subscriptions: raw.subscriptions,
        unacked: raw.unacked,
        transactions: raw.transactions,
        transaction_actions: raw.transaction_actions,
        transaction_bytes: raw.transaction_bytes.0,
        open_tickets: raw.open_tickets,
    }
}

fn topics(raw: &raw::Topics) -> Topics {
    let separators = match raw.separator.as_str() {
        "." => Separators::Dot,
        "/" => Separators::Slash,
        _ => Separators::Both,
    };
    Topics { retained: raw.retained, retained_bytes: raw.retained_bytes.0, separators }
}

fn queues(raw: &raw::Queues) -> queue::Settings {
    queue::Settings {
        limits: queue::Limits {
            queues: raw.queues,
            messages: raw.messages,
            bytes: raw.bytes.0,
            total_bytes: raw.total_bytes.0,
            drops_oldest: raw.full == "drop-oldest",
        },
        max_deliveries: raw.max_deliveries,
        prefetch_count: raw.prefetch_count,
        ttl_ms: u64::try_from(raw.ttl.0.as_millis()).unwrap_or(u64::MAX),
    }
}

fn streams(raw: &raw::Streams) -> Streams {
    Streams {
        enabled: raw.enabled,
        interval: raw.interval.0,
        idle_timeout: raw.idle_timeout.0,
        auth_timeout: raw.auth_timeout.0,
        overflow: if raw.overflow == "close" { Overflow::Close } else { Overflow::DropOldest },
        keep_alive: raw.keep_alive.0,
        retry: raw.retry.0,
        history: history::Limits {
            topics: raw.history_topics,
            messages: raw.history_messages,
            bytes: raw.history_bytes.0,
        },
    }
}

fn sockjs(raw: &raw::SockJs) -> SockJs {
    SockJs {
        path: raw.path.clone(),
        sessions: raw.sessions,
        refuses_binary: raw.binary == "refuse",
        service: sockjs::Settings {
            transports: transports(raw),
            heartbeat: raw.heartbeat.0,
            disconnect_delay: raw.disconnect_delay.0,
            response_limit: raw.response_limit.0.map_or(ResponseLimit::Auto, |size| ResponseLimit::Bytes(size.0)),
            inbox_bytes: raw.inbox_bytes.0,
            payload_bytes: raw.payload_bytes.0,
            cookie_needed: raw.cookie_needed,
            base_url: raw.base_url.clone(),
            origins: raw.origins.clone(),
            frame_ancestors: raw.iframe.then(|| raw.frame_ancestors.clone()),
            sessions_per_address: raw.sessions_per_address,
        },
    }
}

fn websocket(raw: &raw::WebSocket) -> WebSocket {
    let deflate = deflate::Settings { level: raw.deflate_level, min_bytes: raw.deflate_min_bytes.0 };
    WebSocket { deflate: raw.deflate.then_some(deflate) }
}

fn transports(raw: &raw::SockJs) -> Transports {
    let listed: Transports = raw.transports.iter().filter_map(|name| Transport::of_name(name)).collect();
    let left_out: &[Transport] = if raw.websocket { &[] } else { &[Transport::WebSocket, Transport::RawWebSocket] };
    left_out.iter().fold(listed, |set, &transport| set.without(transport))
}

fn metrics(merged: &Merged) -> Result<Metrics, ConfigError> {
    let raw = &merged.raw.metrics;
    let Time(period) = raw.period;
    let dashboard = raw.profile == "dashboard";
    Ok(Metrics {
        enabled: raw.enabled,
        period,
        destination: destination(merged, &Path::of("metrics.destination"), &raw.destination)?,
        events: feeds::events::Settings {
            profile: if dashboard { feeds::events::Profile::Dashboard } else { feeds::events::Profile::Documented },
            event_types: raw.event_types,
            sources: raw.sources,
            users: raw.users,
            recent_events: raw.recent_events,
            recent_bytes: raw.recent_bytes.0,
        },
    })
}

fn schedules(merged: &Merged) -> Result<Vec<Schedule>, ConfigError> {
    let entries = merged.raw.schedule.iter().enumerate();
    entries.map(|(n, entry)| schedule(merged, n, entry)).collect()
}

fn schedule(merged: &Merged, n: usize, raw: &raw::Schedule) -> Result<Schedule, ConfigError> {
    let path = Path::of("schedule").index(n);
    let max = merged.raw.stomp.limits.body_bytes;
    if raw.body.len() > max.0 {
        return Err(merged.refuse(&path.key("body"), format!("at most {max} long, as stomp.limits.body_bytes says")));
    }
    Ok(Schedule {
        name: raw.name.clone(),
        cron: raw.cron.clone(),
        destination: destination(merged, &path.key("destination"), &raw.destination)?,
        body: raw.body.clone(),
        content_type: raw.content_type.clone(),
        retain: raw.retain,
    })
}

fn destination(merged: &Merged, path: &Path, name: &str) -> Result<Destination, ConfigError> {
    Destination::parse(name).map_err(|error| merged.refuse(path, format!("a destination: {error}")))
}

/// What one setting lets in, the next must be able to hold.
fn sizes_fit(merged: &Merged) -> Result<(), ConfigError> {
    let Raw { stomp: raw::Stomp { limits, .. }, sockjs, queues, .. } = &merged.raw;
    let frame = Size(limits.head_bytes.0.saturating_add(limits.body_bytes.0));
    let together = "stomp.limits.head_bytes and body_bytes together";
    let (body, head, line) = ("stomp.limits.body_bytes", "stomp.limits.head_bytes", "stomp.limits.header_line_bytes");
    let (payload, queue) = ("sockjs.payload_bytes", "queues.bytes");
    let at_least = [
        (head, limits.head_bytes, line, limits.header_line_bytes, vec![line]),
        (payload, sockjs.payload_bytes, together, frame, vec![body, head]),
        ("queues.total_bytes", queues.total_bytes, queue, queues.bytes, vec![queue]),
        ("sockjs.inbox_bytes", sockjs.inbox_bytes, payload, sockjs.payload_bytes, vec![payload]),
    ];
    for (key, size, of, least, asking) in at_least {
        if size.0 < least.0 {
            let mut places = asking.iter().map(|key| merged.place_of(&Path::of(key)));
            let written = places.find(|place| *place != Place::Default).map(|place| format!(" ({place})"));
            let allowed = format!("at least {least}, which is {of}{}", written.unwrap_or_default());
            return Err(merged.refuse(&Path::of(key), allowed));
        }
    }
    Ok(())
}

fn names_are_unique(merged: &Merged) -> Result<(), ConfigError> {
    let raw::Auth { users, tokens, api_keys, .. } = &merged.raw.auth;
    let repeated = [
        ("auth.users", "name", repeated(users.iter().map(|user| user.name.as_str()))),
        ("auth.tokens", "name", repeated(tokens.iter().map(|token| token.name.as_str()))),
        ("auth.api_keys", "name", repeated(api_keys.iter().map(|key| key.name.as_str()))),
        ("alerts", "name", repeated(merged.raw.alerts.iter().map(|alert| alert.name.as_str()))),
        ("schedule", "name", repeated(merged.raw.schedule.iter().map(|job| job.name.as_str()))),
    ];
    for (list, key, at) in repeated {
        if let Some((first, again)) = at {
            let path = Path::of(list).index(again).key(key);
            return Err(merged.refuse(&path, format!("unique, and {list}[{first}] has it too")));
        }
    }
    Ok(())
}

/// The positions of the first value that stands twice.
pub(super) fn repeated<'a>(values: impl Iterator<Item = &'a str> + Clone) -> Option<(usize, usize)> {
    let mut seen = HashSet::new();
    let (again, value) = values.clone().enumerate().find(|(_, value)| !seen.insert(*value))?;
    let first = values.clone().position(|earlier| earlier == value)?;
    Some((first, again))
}

/// The `server` header of CONNECTED.
// STOMP 1.2 "CONNECTED Frame": name, slash, version
const SERVER: &str = concat!("stompbox/", env!("CARGO_PKG_VERSION"));

/// More threads than this gain nothing that was measured.
const MAX_SHARDS: usize = 64;

const OPEN: &str = "a loopback address such as 127.0.0.1:8080 while nobody has to log in: \
    set auth.users, auth.tokens or auth.jwt, or, to let everyone in, server.allow_open = true (--allow-open)";
