//! A SockJS service: HTTP requests in, responses out, and each connection to the application.
//!
//! A session over HTTP lives on one shard, its home, whichever shard its requests arrive at.
//! Make a [`Service`] and a [`Home`] for each shard with [`Service::new`], run each home on its
//! shard, and hand every request below the mount to [`Service::handle`]. Nothing here knows
//! what the messages mean: any program can mount a service beside whatever else it serves.
//!
//! ```no_run
//! use std::rc::Rc;
//!
//! use http::{Request, Response};
//! use hyper::body::Incoming;
//! use stompbox::net::io::MessageIo;
//! use stompbox::net::websocket;
//! use stompbox::sockjs::Settings;
//! use stompbox::sockjs::service::{Body, Client, Connections, Service, Socket};
//!
//! /// Sends every message back.
//! struct Echo;
//!
//! impl Connections for Echo {
//!     fn accept(&self, io: Box<dyn MessageIo>, _client: Client) {
//!         tokio::task::spawn_local(async move {
//!             let mut socket = Socket::new(io);
//!             while let Some(message) = socket.recv().await {
//!                 socket.send(&message);
//!             }
//!         });
//!     }
//! }
//!
//! /// Call it within a `LocalSet`; `requests` is what the program's own HTTP server does.
//! fn mount(settings: Settings, websocket: websocket::Settings) -> Vec<Service> {
//!     let (max_sessions, shards) = (10_000, 1);
//!     let services = Service::new(settings, websocket, &[], max_sessions, shards);
//!     let start = |(service, home): (Service, _)| {
//!         let home: stompbox::sockjs::service::Home = home;
//!         tokio::task::spawn_local(home.run(Rc::new(Echo)));
//!         service
//!     };
//!     services.into_iter().map(start).collect()
//! }
//!
//! /// Answers requests for `/echo` and below; `peer` is the client's address and port.
//! async fn answer(echo: &Service, request: Request<Incoming>, peer: String) -> Option<Response<Body>> {
//!     let below = request.uri().path().strip_prefix("/echo")?.to_owned();
//!     Some(echo.handle(request, &below, peer).await)
//! }
//! ```
//!
//! `examples/sockjs_test_server.rs` mounts six of them on one listener.

mod addresses;
mod body;
mod counted;
mod farewells;
mod home;
mod owner;
mod session_io;
mod socket;
mod websocket_io;

use std::error::Error;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use chrono::Utc;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::upgrade::OnUpgrade;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use self::addresses::Addresses;
pub use self::body::{Body, Flow, Reader, Writer, pipe};
pub use self::counted::{Counters, Reading};
use self::farewells::Farewells;
pub use self::home::Home;
use self::home::{Admission, Errand, Receive, Upgrade};
use self::owner::Fingerprint;
use self::session_io::{Delivery, Mark, SendError};
pub use self::socket::Socket;
use super::answer;
use super::framing::ReceiverKind;
use super::payload;
use super::route::{ReceiveTransport, Route, SendTransport};
use super::{Settings, Transport};
use crate::net::http::{PeerSubject, RequestBodyError, Shortcut};
use crate::net::io::MessageIo;
use crate::net::websocket::{self, deflate, handshake};

/// One shard's way into the service. Cheap to clone.
#[derive(Clone)]
pub struct Service {
    settings: Arc<Settings>,
    subprotocols: &'static [&'static str],
    deflate: Option<deflate::Settings>,
    own: usize,
    homes: Arc<[mpsc::Sender<Errand>]>,
    counters: Arc<[Arc<Counters>]>,
    addresses: Arc<Addresses>,
    farewells: Arc<Farewells>,
    hasher: RandomState,
}

/// Who opened a connection. Headers and query may hold secrets, so nothing prints it.
#[derive(Clone)]
pub struct Client {
    /// The address it came from.
    pub peer: String,
    /// The headers of the request that opened it.
    pub headers: HeaderMap,
    /// The query of that request; empty without one.
    pub query: String,
    /// Whom the certificate names that the client showed in TLS.
    pub subject: Option<Arc<str>>,
}

/// Beside a response that tells of it: the limit that the request reached, by the last word of
/// its setting, for who counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reached(pub &'static str);

/// The application behind the service.
pub trait Connections {
    /// Takes a connection; called on the connection's shard.
    fn accept(&self, io: Box<dyn MessageIo>, client: Client);

    /// A connection was given up after a panic, which was logged; for who counts them.
    fn handle_panic(&self) {}
}

impl Service {
    /// Makes a service over that many shards; `max_sessions` over HTTP may live at once, on all
    /// of them. Of `subprotocols`, a WebSocket agrees on the first that the client offers.
    pub fn new(
        settings: Settings,
        websocket: websocket::Settings,
        subprotocols: &'static [&'static str],
        max_sessions: usize,
        shards: usize,
    ) -> Vec<(Self, Home)> {
        let settings = Arc::new(settings);
        let (homes, errands): (Vec<_>, Vec<_>) = (0..shards).map(|_| mpsc::channel(ERRANDS)).unzip();
        let homes: Arc<[_]> = homes.into();
        let counters: Arc<[_]> = (0..shards).map(|_| Arc::new(Counters::default())).collect();
        let addresses = Addresses::new(settings.sessions_per_address);
        let farewells = Farewells::new(shards);
        let hasher = RandomState::new();
        let service = |(own, errands)| {
            let service = Self {
                settings: Arc::clone(&settings),
                subprotocols,
                deflate: websocket.deflate,
                own,
                homes: Arc::clone(&homes),
                counters: Arc::clone(&counters),
                addresses: Arc::clone(&addresses),
                farewells: Arc::clone(&farewells),
                hasher: hasher.clone(),
            };
            let home = Home {
                errands,
                settings: Arc::clone(&settings),
                websocket,
                max_sessions: max_sessions.div_ceil(shards),
                counters: Arc::clone(&counters[own]),
                addresses: Arc::clone(&addresses),
                farewells: Arc::clone(&farewells),
            };
            (service, home)
        };
        errands.into_iter().enumerate().map(service).collect()
    }

    /// From now on only requests of sessions that are there are answered, on all shards.
    pub fn begin_drain(&self) {
        self.farewells.begin();
    }

    /// Whether it is to be closed.
    pub fn is_draining(&self) -> bool {
        self.farewells.is_draining()
    }

    /// To be called once on each shard, after its application closed all connections. Resolves
    /// when every client that was between two polls has fetched its close frame, on whichever
    /// shard, and after two seconds at most: until then, keep serving requests.
    pub async fn finish_drain(&self) {
        self.farewells.finish().await;
    }

    /// What the counters of a transport stand at, all shards together.
    pub fn read_counters(&self, transport: Transport) -> Reading {
        self.counters.iter().map(|shard| shard.read(transport)).fold(Reading::default(), Reading::plus)
    }

    /// Answers a request; `below` is its path below the mount, empty for the mount itself.
    pub async fn handle<B>(&self, request: Request<B>, below: &str, peer: String) -> Response<Body>
    where
        B: http_body::Body,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let (mut parts, body) = request.into_parts();
        let is_upgrade = handshake::is_upgrade(&parts.headers);
        let route = self.route(&parts.method, below, is_upgrade);
        let mut response = Response::new(Body::Whole(Bytes::new()));
        answer::put_headers(&route, &self.settings, Utc::now(), &parts.headers, response.headers_mut());
        let is_of_session = matches!(route, Route::Receive { .. } | Route::Send { .. });
        if self.is_draining() && !is_of_session {
            set_error(&mut response, StatusCode::SERVICE_UNAVAILABLE, SHUTTING_DOWN);
            return response;
        }
        match &route {
            Route::Iframe => {
                let mount = parts.uri.path().strip_suffix(below).unwrap_or_default();
                let page = answer::iframe_page(&answer::client_url(mount));
                set_cached(&mut response, &parts.headers, page.into());
            }
            Route::Script => set_cached(&mut response, &parts.headers, Bytes::from_static(answer::CLIENT)),
            Route::Greeting => set(&mut response, StatusCode::OK, answer::GREETING),
            Route::Info => set(&mut response, StatusCode::OK, answer::info(&self.settings, entropy())),
            Route::Options { .. } => set(&mut response, StatusCode::NO_CONTENT, ""),
            Route::NotFound => set_error(&mut response, StatusCode::NOT_FOUND, "Not found."),
            Route::MethodNotAllowed { .. } => set(&mut response, StatusCode::METHOD_NOT_ALLOWED, ""),
            Route::Receive { session, transport } => {
                self.receive(session, *transport, &mut parts, peer, &mut response).await;
            }
            Route::Send { session, transport } => {
                self.send(session, *transport, &parts, body, &peer, &mut response).await;
            }
            Route::WebSocket => self.upgrade(&mut parts, Transport::WebSocket, peer, &mut response).await,
            Route::RawWebSocket => self.upgrade(&mut parts, Transport::RawWebSocket, peer, &mut response).await,
        }
        response
    }

    /// `curl -I` is how people look whether a service is there: a page that GET gets has a head.
    fn route<'a>(&self, method: &Method, below: &'a str, is_upgrade: bool) -> Route<'a> {
        let of = |method| Route::of(method, below, is_upgrade, &self.settings);
        match (method, of(&Method::GET)) {
            (&Method::HEAD, page @ (Route::Greeting | Route::Info | Route::Iframe | Route::Script)) => page,
            _ => of(method),
        }
    }

    async fn upgrade(&self, parts: &mut Parts, transport: Transport, peer: String, response: &mut Response<Body>) {
        if !answer::is_allowed_origin(&self.settings, &parts.headers) {
            return set_reached(response, StatusCode::FORBIDDEN, "origins", "This origin is not allowed.");
        }
        let accepted = match handshake::accept(&parts.headers, self.subprotocols, self.deflate) {
            Ok(accepted) => accepted,
            Err(error) => return set_error(response, error.status(), error.to_string()),
        };
        let Some(on_upgrade) = parts.extensions.remove::<OnUpgrade>() else {
            return set_error(response, StatusCode::BAD_REQUEST, "This connection cannot be upgraded.");
        };
        let Some(seat) = self.addresses.enter(&peer) else {
            return set_reached(response, StatusCode::TOO_MANY_REQUESTS, OF_ADDRESS, TOO_MANY_OF_ADDRESS);
        };
        let client = client(parts, peer);
        let errand =
            Errand::Upgrade(Box::new(Upgrade { on_upgrade, transport, deflate: accepted.deflate, client, seat }));
        if self.homes[self.own].send(errand).await.is_err() {
            return set_error(response, StatusCode::SERVICE_UNAVAILABLE, SHUTTING_DOWN);
        }
        *response.headers_mut() = accepted.headers;
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    }

    async fn receive(
        &self,
        session: &str,
        transport: ReceiveTransport,
        parts: &mut Parts,
        peer: String,
        response: &mut Response<Body>,
    ) {
        if !answer::is_allowed_origin(&self.settings, &parts.headers) {
            return set_reached(response, StatusCode::FORBIDDEN, "origins", "This origin is not allowed.");
        }
        let kind: ReceiverKind = match transport.kind(parts.uri.query().unwrap_or("")) {
            Ok(kind) => kind,
            Err(error) => return set_error(response, StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        };
        let (writer, reader) = pipe(parts.extensions.get::<Shortcut>().cloned());
        let (reply, admission) = oneshot::channel();
        let errand = Errand::Receive(Box::new(Receive {
            session: session.into(),
            transport: transport.transport(),
            kind,
            from: Fingerprint::of(&parts.headers, &self.hasher),
            body: writer,
            client: client(parts, peer),
            reply,
        }));
        let sent = self.home(session).send(errand).await.is_ok();
        match admission.await {
            Ok(Admission::Attached) if sent => *response.body_mut() = Body::Frames(reader),
            Ok(Admission::NotYours) => set_error(response, StatusCode::FORBIDDEN, NOT_YOURS),
            Ok(Admission::TooManySessions) => {
                set_reached(response, StatusCode::SERVICE_UNAVAILABLE, "sessions", "There are too many sessions.");
            }
            Ok(Admission::TooManyOfAddress) => {
                set_reached(response, StatusCode::TOO_MANY_REQUESTS, OF_ADDRESS, TOO_MANY_OF_ADDRESS);
            }
            Ok(Admission::Attached | Admission::ShuttingDown) | Err(_) => {
                set_error(response, StatusCode::SERVICE_UNAVAILABLE, SHUTTING_DOWN);
            }
        }
    }

    async fn send<B>(
        &self,
        session: &str,
        transport: SendTransport,
        parts: &Parts,
        body: B,
        peer: &str,
        response: &mut Response<Body>,
    ) where
        B: http_body::Body,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        if !answer::is_allowed_origin(&self.settings, &parts.headers) {
            return set_reached(response, StatusCode::FORBIDDEN, "origins", "This origin is not allowed.");
        }
        let from = Fingerprint::of(&parts.headers, &self.hasher);
        let body = match collect(body, self.settings.payload_bytes, self.find(session, from)).await {
            Ok(body) => body,
            Err(BodyError::Unwanted(error)) => return set_unsent(response, error),
            Err(error @ BodyError::TooLong { .. }) => {
                return set_reached(response, error.status(), "payload_bytes", error.to_string());
            }
            Err(error) => return set_error(response, error.status(), error.to_string()),
        };
        let parsed = match transport {
            SendTransport::Xhr => payload::xhr_send(&body),
            SendTransport::Jsonp => {
                let content_type = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
                payload::jsonp_send(content_type, &body)
            }
        };
        let messages = match parsed {
            Ok(messages) => messages,
            Err(error) => return set_error(response, StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        };
        let (reply, answer) = oneshot::channel();
        let delivery = Delivery { messages, mark: self.mark(parts.uri.query(), &body, peer), reply };
        let errand = Errand::Send { session: session.into(), from, delivery };
        if self.home(session).send(errand).await.is_err() {
            return set_error(response, StatusCode::SERVICE_UNAVAILABLE, SHUTTING_DOWN);
        }
        match (timeout(SEND_WAIT, answer).await, transport) {
            (Ok(Ok(Ok(()))), SendTransport::Xhr) => set(response, StatusCode::NO_CONTENT, ""),
            (Ok(Ok(Ok(()))), SendTransport::Jsonp) => set(response, StatusCode::OK, "ok"),
            (Ok(Ok(Err(error))), _) => set_unsent(response, error),
            (Ok(Err(_)), _) => set_unsent(response, SendError::UnknownSession),
            (Err(_), _) => set_unsent(response, SendError::Busy),
        }
    }

    /// Whether the session is there and takes messages of that client.
    async fn find(&self, session: &str, from: Fingerprint) -> Result<(), SendError> {
        let (reply, answer) = oneshot::channel();
        let errand = Errand::Find { session: session.into(), from, reply };
        // Where its shard is gone, that is said when the whole is sent there.
        if self.home(session).send(errand).await.is_err() { Ok(()) } else { answer.await.unwrap_or(Ok(())) }
    }

    /// In a browser, sockjs-client gives each request the time as `t`, or as `i` a name of its own;
    /// nothing else says that a request is one that was here before.
    fn mark(&self, query: Option<&str>, body: &[u8], peer: &str) -> Option<Mark> {
        let query =
            query.filter(|query| query.split('&').any(|pair| pair.starts_with("t=") || pair.starts_with("i=")))?;
        Some(Mark { request: self.hasher.hash_one((query, body)), connection: self.hasher.hash_one(peer) })
    }

    fn home(&self, session: &str) -> &mpsc::Sender<Errand> {
        &self.homes[(self.hasher.hash_one(session) % self.homes.len() as u64) as usize]
    }
}

/// The headers are taken along: nobody else needs them any more.
fn client(parts: &mut Parts, peer: String) -> Client {
    let subject = parts.extensions.get::<PeerSubject>().map(|subject| Arc::clone(&subject.0));
    Client { peer, headers: std::mem::take(&mut parts.headers), query: parts.uri.query().unwrap_or("").into(), subject }
}

fn set(response: &mut Response<Body>, status: StatusCode, body: impl Into<Bytes>) {
    *response.status_mut() = status;
    *response.body_mut() = Body::Whole(body.into());
}

// sockjs-protocol test_cacheability
fn set_cached(response: &mut Response<Body>, request: &HeaderMap, page: Bytes) {
    let etag = answer::etag(&page);
    if answer::is_not_modified(request, &etag) {
        response.headers_mut().remove(header::CONTENT_TYPE);
        set(response, StatusCode::NOT_MODIFIED, "");
    } else {
        set(response, StatusCode::OK, page);
    }
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        response.headers_mut().insert(header::ETAG, etag);
    }
}

fn set_error(response: &mut Response<Body>, status: StatusCode, text: impl Into<Bytes>) {
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(answer::TEXT));
    set(response, status, text);
}

fn set_unsent(response: &mut Response<Body>, error: SendError) {
    match error {
        SendError::UnknownSession => set_error(response, StatusCode::NOT_FOUND, "Unknown session."),
        SendError::NotYours => set_error(response, StatusCode::FORBIDDEN, NOT_YOURS),
        SendError::Busy => set_reached(response, StatusCode::SERVICE_UNAVAILABLE, "inbox_bytes", NO_ROOM),
    }
}

/// As [`set_error`], for what [`Reached`] counts.
fn set_reached(response: &mut Response<Body>, status: StatusCode, limit: &'static str, text: impl Into<Bytes>) {
    set_error(response, status, text);
    response.extensions_mut().insert(Reached(limit));
}

/// Why a request's body was not taken.
#[derive(Debug, thiserror::Error)]
enum BodyError {
    #[error("The payload has more than {max} octets.")]
    TooLong { max: usize },
    #[error("The payload broke off.")]
    Broken,
    #[error("The payload took too long to come.")]
    Stalled,
    #[error("Nobody takes the payload.")]
    Unwanted(SendError),
}

impl BodyError {
    fn status(&self) -> StatusCode {
        match self {
            Self::TooLong { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Broken => StatusCode::BAD_REQUEST,
            Self::Stalled => StatusCode::REQUEST_TIMEOUT,
            Self::Unwanted(_) => StatusCode::NOT_FOUND,
        }
    }
}

/// The whole body. Before much of it is kept, `known` says whether somebody takes it; if nobody
/// does, the rest is read and thrown away, so that a client which is still writing gets its answer.
async fn collect<B>(body: B, max: usize, known: impl Future<Output = Result<(), SendError>>) -> Result<Bytes, BodyError>
where
    B: http_body::Body,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    if body.size_hint().lower() > max as u64 {
        return Err(BodyError::TooLong { max });
    }
    let mut body = std::pin::pin!(body);
    let mut known = Some(known);
    let (mut taken, mut unwanted) = (0, None);
    let mut collected = BytesMut::new();
    while let Some(frame) = timeout(BODY_WAIT, body.frame()).await.map_err(|_| BodyError::Stalled)? {
        let frame = frame.map_err(|error| match RequestBodyError::is_too_slow(&*error.into()) {
            true => BodyError::Stalled,
            false => BodyError::Broken,
        })?;
        let Ok(mut data) = frame.into_data() else { continue };
        use bytes::Buf as _;
        taken += data.remaining();
        if taken > max {
            return Err(BodyError::TooLong { max });
        }
        if let Some(known) = known.take_if(|_| taken > UNASKED_BYTES) {
            unwanted = known.await.err();
        }
        if unwanted.is_none() {
            collected.extend_from_slice(&data.copy_to_bytes(data.remaining()));
        } else {
            collected = BytesMut::new();
        }
    }
    unwanted.map_or_else(|| Ok(collected.freeze()), |error| Err(BodyError::Unwanted(error)))
}

fn entropy() -> u32 {
    let mut octets = [0; 4];
    // The client mixes it into its session names; without a random source it has its own.
    let _ = getrandom::fill(&mut octets);
    u32::from_ne_bytes(octets)
}

/// The body of the 503 that answers what comes while the server shuts down.
pub const SHUTTING_DOWN: &str = "The server is shutting down.";

const NOT_YOURS: &str = "The session belongs to another client.";

const TOO_MANY_OF_ADDRESS: &str = "There are too many sessions of this address.";

const OF_ADDRESS: &str = "sessions_per_address";

const NO_ROOM: &str = "The session takes no more messages now.";

/// Requests that may wait for one shard.
const ERRANDS: usize = 1024;

/// What is kept of a request's body before anybody asks whether its session is there. Nearly all
/// bodies are smaller, and cost no more than before.
const UNASKED_BYTES: usize = 64 * 1024;

/// How long the next octets of a request's body may take to come.
const BODY_WAIT: Duration = Duration::from_secs(10);

/// How long `xhr_send` waits for room in the session's inbox.
const SEND_WAIT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
