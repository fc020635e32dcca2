//! [`App`]: the whole program, from checked settings to a clean exit.

mod reload;

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use self::reload::InUse;
pub use self::reload::Reloader;
use crate::broker::access::Access;
use crate::broker::auth::Password;
use crate::broker::inbox;
use crate::broker::mailbox;
use crate::broker::topic::RetainedLimits;
use crate::broker::{self, Broker};
use crate::config::Config;
use crate::feeds::alerts::{Alerts, Metered};
use crate::feeds::events::Events;
use crate::feeds::licenses::{Licenses, command};
use crate::feeds::schedule::Broadcast;
use crate::feeds::status::About;
use crate::feeds::system::Gauges;
use crate::feeds::{demo, logs, metrics, schedule, sys};
use crate::http::{self, Site, Sources, StreamSettings};
use crate::message::{Destination, Publication};
use crate::net::accept::{self, Listener};
use crate::net::fanout::Fanout;
use crate::net::http::{Settings as HttpSettings, serve};
use crate::net::io::MessageIo;
use crate::net::shard::{self, Shard};
use crate::net::tcp;
use crate::net::websocket;
use crate::sockjs::service::{Client, Connections, Home, Service};
use crate::stream;

/// A server that has its port.
pub struct App {
    config: Config,
    in_use: InUse,
    broker: Broker,
    events: Option<Arc<Events>>,
    is_demo: bool,
    address: SocketAddr,
    listeners: Vec<TcpListener>,
    /// Empty where `tcp.listen` is.
    tcp_listeners: Vec<TcpListener>,
}

/// Why the server cannot run.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address} ({setting}): {reason}")]
    Listen {
        /// The setting.
        setting: &'static str,
        /// Its value.
        address: SocketAddr,
        /// What to do about it.
        reason: String,
    },
    /// The demo sends events, which are not taken.
    #[error("the demo (--demo) needs the event metrics, and metrics.enabled is false")]
    DemoWithoutMetrics,
    /// The system gives no thread.
    #[error("cannot start a shard: {0}")]
    Shard(io::Error),
    /// A shard broke down.
    #[error("a shard broke down; the log above says where")]
    ShardPanicked,
}

impl App {
    /// Takes the port; from here on clients wait for [`App::run`].
    ///
    /// # Errors
    /// The address is in use or not this machine's, or there is nothing that takes the demo's events.
    pub fn bind(config: Config, is_demo: bool) -> Result<Self, AppError> {
        if is_demo && !config.metrics.enabled {
            return Err(AppError::DemoWithoutMetrics);
        }
        let shards = config.server.shards.get();
        let wanted = config.server.listen;
        let (address, listeners) = listen(wanted, shards).map_err(|error| AppError::Listen {
            setting: "server.listen",
            address: wanted,
            reason: explain(&error, "choose another with --listen"),
        })?;
        let tcp_listeners = match config.tcp.listen {
            None => Vec::new(),
            Some(wanted) => match listen(wanted, shards) {
                Ok((_, listeners)) => listeners,
                // Nobody asked for it: a second server, or another broker's machine, serves the rest.
                Err(error) if config.tcp.is_default && error.kind() == io::ErrorKind::AddrInUse => {
                    warn!(address = %wanted, "no STOMP over TCP: the port is in use; {ANOTHER_TCP_PORT}");
                    Vec::new()
                }
                Err(error) => {
                    let reason = explain(&error, ANOTHER_TCP_PORT);
                    return Err(AppError::Listen { setting: "tcp.listen", address: wanted, reason });
                }
            },
        };
        let events =
            config.metrics.enabled.then(|| Arc::new(Events::new(config.metrics.events.clone(), metrics::moment())));
        let broker = new_broker(&config, events.as_ref());
        let in_use = InUse::new(&config, &broker);
        Ok(Self { config, in_use, broker, events, is_demo, address, listeners, tcp_listeners })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens for STOMP over TCP; `None`: nowhere.
    pub fn tcp_address(&self) -> Option<SocketAddr> {
        self.tcp_listeners.first().and_then(|listener| listener.local_addr().ok())
    }

    /// What gives it other settings while it runs.
    pub fn reloader(&self) -> Reloader {
        let bound = [Some(self.address), self.tcp_address()].into_iter().flatten().collect();
        Reloader::new(self.config.clone(), self.in_use.clone(), self.broker.clone(), bound)
    }

    /// Serves until `shutdown`, then closes every session properly, for the drain time at most.
    ///
    /// # Errors
    /// The system gives no thread, or a shard panicked.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), AppError> {
        let tcp_address = self.tcp_address();
        let tcp_scheme = if self.config.tcp.identity.is_some() { "tls" } else { "tcp" };
        let scheme = if self.config.server.identity.is_some() { "https" } else { "http" };
        let Self { config, in_use, broker, events, is_demo, address, listeners, tcp_listeners } = self;
        let sources = new_sources(&config, &broker);
        let stop = Stop::default();
        let listeners = (listeners, tcp_listeners);
        if let Some(events) = &events {
            // Before anybody is served: who subscribes has a value at once.
            metrics::publish(&broker, events, &config.metrics.destination).await;
        }
        let shards = start_shards(&config, &broker, events.as_ref(), &sources, listeners, &in_use, &stop)
            .map_err(AppError::Shard)?;
        let mut feeds = start_feeds(&config, is_demo, &broker, events.clone());
        start_sources(&config, &broker, events, sources, &mut feeds);
        if let Some(tcp_address) = tcp_address {
            info!("listening on {tcp_scheme}://{tcp_address}");
        }
        info!("listening on {scheme}://{address}");
        let broken = tokio::select! {
            () = shutdown => false,
            () = any_finished(&shards) => true,
        };
        info!(timeout = ?config.server.drain_timeout, "shutting down");
        stop.gently.cancel();
        feeds.abort_all();
        match tokio::time::timeout(config.server.drain_timeout, all_finished(&shards)).await {
            Ok(()) => info!("all connections are closed"),
            Err(_) => {
                warn!("some connections did not close within the drain time");
                stop.at_once.cancel();
                // A shard that does not even look up is left behind.
                let _ = tokio::time::timeout(LOOK, all_finished(&shards)).await;
            }
        }
        let finished = shards.into_iter().filter(Shard::is_finished);
        let broke_down = finished.map(Shard::join).filter(|is_well| !is_well).count();
        if broke_down == 0 && !broken { Ok(()) } else { Err(AppError::ShardPanicked) }
    }
}

/// How the shards are told to stop.
#[derive(Clone, Default)]
struct Stop {
    /// Closing every connection properly.
    gently: CancellationToken,
    /// Once all sessions are closed: answering HTTP, too.
    http: CancellationToken,
    /// Dropping what is left.
    at_once: CancellationToken,
}

/// One socket for each shard, all at one address.
fn listen(wanted: SocketAddr, shards: usize) -> io::Result<(SocketAddr, Vec<TcpListener>)> {
    shard::probe(wanted)?;
    let first = shard::listen(wanted, SEND_BUFFER_BYTES)?;
    let address = first.local_addr()?;
    let mut listeners = vec![first];
    for _ in 1..shards {
        listeners.push(shard::listen(address, SEND_BUFFER_BYTES)?);
    }
    Ok((address, listeners))
}

fn explain(error: &io::Error, otherwise: &str) -> String {
    let known = [
        (io::ErrorKind::AddrInUse, "the port is in use; stop the other program or"),
        (io::ErrorKind::AddrNotAvailable, "this machine does not have that address;"),
        (io::ErrorKind::PermissionDenied, "ports below 1024 need a privilege;"),
    ];
    let found = known.iter().find(|(kind, _)| *kind == error.kind());
    found.map_or_else(|| error.to_string(), |(_, text)| format!("{text} {otherwise}"))
}

fn new_broker(config: &Config, events: Option<&Arc<Events>>) -> Broker {
    let settings = broker::Settings {
        shards: config.server.shards.get(),
        inbox: inbox::Limits { messages: INBOX_MESSAGES, bytes: INBOX_BYTES },
        mailbox: mailbox::Limits { messages: config.mailbox.messages, bytes: config.mailbox.bytes },
        retained: RetainedLimits { destinations: config.topics.retained, bytes: config.topics.retained_bytes },
        history: config.streams.history,
        kept_topics: if config.streams.enabled { stream::kept_topics() } else { Vec::new() },
        queues: config.queues,
        separators: config.topics.separators,
        refuses_binary: config.sockjs.refuses_binary,
    };
    for (user, _) in config.auth.users.iter().filter(|(_, password)| matches!(password, Password::Plain(_))) {
        warn!(
            user = user.name(),
            "the passcode stands in the settings as it is; stompbox hash-password makes a hash of it"
        );
    }
    let mut handlers =
        events.map_or_else(HashMap::new, |events| metrics::handlers(events, &config.metrics.destination));
    handlers.extend(logs::handler());
    Broker::new(settings, Access::new(config.auth.clone()), handlers)
}

fn new_sources(config: &Config, broker: &Broker) -> Sources {
    let licenses = Arc::new(Licenses::default());
    let gauges = Gauges::new(broker.clone(), Arc::clone(&licenses), config.system.disk.clone());
    let alerts = Arc::new(Alerts::new(config.alerts.clone()));
    Sources { licenses, alerts, gauges, about: About::new(metrics::moment(), config.server.shards.get()) }
}

fn start_sources(
    config: &Config,
    broker: &Broker,
    events: Option<Arc<Events>>,
    sources: Sources,
    feeds: &mut JoinSet<()>,
) {
    if !config.logs.follow.patterns.is_empty() {
        feeds.spawn(logs::follow::run(broker.clone(), config.logs.follow.clone()));
    }
    if config.logs.own {
        feeds.spawn(logs::own::run(broker.clone()));
    }
    let Sources { licenses, alerts, gauges, .. } = sources.clone();
    if let Some(command) = &config.licenses {
        feeds.spawn(command::run(broker.clone(), Arc::clone(&licenses), command.clone()));
    }
    feeds.spawn(alerts.watch(Metered { broker: broker.clone(), events, licenses, gauges }));
    feeds.spawn(sources.gauges.publish_periodically(config.system.interval));
}

fn start_shards(
    config: &Config,
    broker: &Broker,
    events: Option<&Arc<Events>>,
    sources: &Sources,
    (listeners, tcp_listeners): (Vec<TcpListener>, Vec<TcpListener>),
    in_use: &InUse,
    stop: &Stop,
) -> io::Result<Vec<Shard>> {
    let websocket = websocket::Settings {
        max_message_bytes: config.sockjs.service.payload_bytes,
        ping: WEBSOCKET_PING,
        deflate: config.websocket.deflate,
    };
    let services = Service::new(
        config.sockjs.service.clone(),
        websocket,
        &SUBPROTOCOLS,
        config.sockjs.sessions,
        config.server.shards.get(),
    );
    let streams = Arc::new(stream_settings(config, broker));
    let mut tcp_listeners = tcp_listeners.into_iter();
    let mut shards = Vec::new();
    for (index, (listener, (sockjs, home))) in listeners.into_iter().zip(services).enumerate() {
        let site = Site {
            mount: config.sockjs.path.as_str().into(),
            sockjs,
            broker: broker.clone(),
            events: events.map(|events| (Arc::clone(events), config.metrics.destination.clone())),
            metrics_period: config.metrics.period,
            sources: sources.clone(),
            max_body_bytes: config.server.http_body_bytes,
            origins: config.sockjs.service.origins.clone(),
            cors_origins: config.server.cors_origins.clone(),
            streams: config.streams.enabled.then(|| StreamSettings {
                session: Arc::clone(&streams),
                websocket,
                deflate: config.websocket.deflate,
            }),
        };
        let settings = (config.server.http, config.server.sockets);
        let proxied = [config.server.proxy_protocol, config.tcp.proxy_protocol];
        let listeners = (listener, tcp_listeners.next());
        let (broker, in_use, stop) = (broker.clone(), in_use.clone(), stop.clone());
        shards.push(Shard::spawn(index, move || async move {
            let fanout = Fanout::limited(index, broker, in_use.stomp.clone(), in_use.limiter.clone());
            if let Err(error) = run_shard(fanout, home, listeners, settings, (in_use, proxied), site, stop).await {
                error!(shard = index, %error, "a shard cannot serve");
            }
        })?);
    }
    Ok(shards)
}

fn stream_settings(config: &Config, broker: &Broker) -> stream::Settings {
    let streams = &config.streams;
    stream::Settings {
        interval: streams.interval,
        idle_timeout: streams.idle_timeout,
        overflow: streams.overflow,
        keep_alive: streams.keep_alive,
        retry: streams.retry,
        auth_timeout: streams.auth_timeout,
        channels: config.stomp.limits.subscriptions,
        open_requests: config.stomp.limits.open_tickets,
        epoch: broker.history().epoch().into(),
    }
}

async fn run_shard(
    fanout: Rc<Fanout>,
    home: Home,
    (listener, tcp_listener): (TcpListener, Option<TcpListener>),
    (http, settings): (HttpSettings, accept::Settings),
    (in_use, proxied): (InUse, [bool; 2]),
    site: Site,
    stop: Stop,
) -> io::Result<()> {
    let listening = |socket, identity, proxy_protocol| -> io::Result<Listener> {
        let (limiter, proxies) = (in_use.limiter.clone(), in_use.proxies.clone());
        let socket = shard::into_tokio(socket)?;
        Ok(Listener { socket, identity, settings, limiter, proxies, proxy_protocol })
    };
    let sockjs = site.sockjs.clone();
    let listener = listening(listener, in_use.identity, proxied[0])?;
    let mut messages = tokio::task::spawn_local(Rc::clone(&fanout).run());
    let mut sessions = tokio::task::spawn_local(home.run(Rc::new(StompConnections(Rc::clone(&fanout)))));
    let answers = http::handler(site, Rc::clone(&fanout));
    let broker = fanout.broker().clone();
    let serving = serve(listener, http, stop.http.clone(), answers, move || broker.stats().panics.add(1));
    let mut serving = tokio::task::spawn_local(serving);
    let tcp = match tcp_listener {
        None => None,
        Some(listener) => {
            let listener = listening(listener, in_use.tcp_identity, proxied[1])?;
            let fanout = Rc::clone(&fanout);
            let connect = move |io, peer: SocketAddr| fanout.connect(io, &peer.to_string(), None);
            let serving = tcp::serve(listener, stop.gently.clone(), connect);
            Some(tokio::task::spawn_local(serving))
        }
    };
    let drained = async {
        stop.gently.cancelled().await;
        sockjs.begin_drain();
        if let Some(tcp) = tcp {
            tcp.await?;
        }
        // Sessions first: what they say last goes out through responses that are still open.
        fanout.drain().await;
        sockjs.finish_drain().await;
        stop.http.cancel();
        (&mut serving).await
    };
    // A shard that lost one of its parts must not look as if it served.
    tokio::select! {
        served = drained => served.map_err(io::Error::other),
        () = stop.at_once.cancelled() => Ok(()),
        Err(error) = &mut messages => Err(io::Error::other(error)),
        Err(error) = &mut sessions => Err(io::Error::other(error)),
    }
}

/// Every connection of the SockJS service is a STOMP session of the shard.
struct StompConnections(Rc<Fanout>);

impl Connections for StompConnections {
    fn accept(&self, io: Box<dyn MessageIo>, client: Client) {
        let offered = http::credentials(&client.headers, &client.query, client.subject);
        self.0.connect(io, &client.peer, offered);
    }

    fn handle_panic(&self) {
        self.0.broker().stats().panics.add(1);
    }
}

fn start_feeds(config: &Config, is_demo: bool, broker: &Broker, events: Option<Arc<Events>>) -> JoinSet<()> {
    let mut feeds = JoinSet::new();
    feeds.spawn(sys::publish_each_second(broker.clone(), events.clone()));
    if let Some(events) = events {
        let (destination, period) = (config.metrics.destination.clone(), config.metrics.period);
        feeds.spawn(metrics::publish_periodically(broker.clone(), Arc::clone(&events), destination, period));
        if is_demo {
            feeds.spawn(async move {
                if let Err(error) = demo::replay(events).await {
                    error!(%error, "the demo cannot be replayed");
                }
            });
        }
    }
    let broadcasts: Vec<Broadcast> = config.schedule.iter().map(broadcast).collect();
    let broker = broker.clone();
    feeds.spawn(async move {
        if let Err(error) = schedule::run(broker, broadcasts).await {
            error!(%error, "the scheduled broadcasts cannot run");
        }
    });
    feeds
}

fn broadcast(scheduled: &crate::config::Schedule) -> Broadcast {
    let mut headers = Vec::new();
    if let Some(content_type) = &scheduled.content_type {
        headers.push(("content-type".into(), content_type.as_str().into()));
    }
    if scheduled.retain {
        headers.push(("retain".into(), "true".into()));
    }
    let destination: Destination = scheduled.destination.clone();
    let publication = Publication { destination, headers, body: scheduled.body.clone().into() };
    Broadcast { name: scheduled.name.clone(), cron: scheduled.cron.clone(), publication }
}

async fn any_finished(shards: &[Shard]) {
    while !shards.iter().any(Shard::is_finished) {
        tokio::time::sleep(LOOK).await;
    }
}

async fn all_finished(shards: &[Shard]) {
    while !shards.iter().all(Shard::is_finished) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The highest first: of what a client offers, the highest is agreed on.
const SUBPROTOCOLS: [&str; 3] = ["v12.stomp", "v11.stomp", "v10.stomp"];

/// What the kernel takes of one connection before it blocks; Linux doubles it.
const SEND_BUFFER_BYTES: usize = 128 * 1024;

const ANOTHER_TCP_PORT: &str =
    "choose another with --tcp-listen ADDR, or serve no TCP with --tcp-listen \"\" (tcp.listen = \"\")";

const INBOX_MESSAGES: usize = 4096;
const INBOX_BYTES: usize = 64 * 1024 * 1024;

/// So that a client whose heart-beats are off does not leave a dead socket.
const WEBSOCKET_PING: Duration = Duration::from_secs(30);

const LOOK: Duration = Duration::from_millis(500);
