//! Where log and metric streams and channels are opened: `/ws/…` for WebSocket, `/stream/…` for
//! Server-Sent Events.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::upgrade::OnUpgrade;
use serde_json::json;
use tracing::{debug, info};

use super::auth;
use super::body::Body;
use super::cors;
use super::events::EventIo;
use crate::broker::auth::{Attempt, AuthError};
use crate::broker::handle::now_ms;
use crate::message::{Credentials, Destination, Framing};
use crate::net::clock;
use crate::net::fanout::Fanout;
use crate::net::http::{PeerAddress, PeerSubject, Shortcut, upgraded};
use crate::net::io::MessageIo as _;
use crate::net::websocket::{self, RawWebSocket, WebSocket, deflate, handshake};
use crate::sockjs::service::{self, Reached};
use crate::stream::{self, Feed, Filter, Form, INTERVALS, Names, Opening, Who};

/// A shard's way into its streams. Cheap to clone.
#[derive(Clone)]
pub(super) struct Streams {
    /// The shard's connections.
    pub(super) fanout: Rc<Fanout>,
    /// What sessions need to know.
    pub(super) settings: Arc<stream::Settings>,
    /// What a WebSocket needs to know.
    pub(super) websocket: websocket::Settings,
    /// How messages are compressed, if at all.
    pub(super) deflate: Option<deflate::Settings>,
    /// The origins whose pages may use them; empty: all.
    pub(super) origins: Arc<[String]>,
}

/// What a path opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    WebSocket(Feed),
    Channels,
    Events(Feed),
}

impl Route {
    pub(super) fn of(path: &str) -> Option<Self> {
        match path {
            "/ws/logs" => Some(Self::WebSocket(Feed::Logs)),
            "/ws/metrics" => Some(Self::WebSocket(Feed::Metrics)),
            "/ws/combined" => Some(Self::WebSocket(Feed::Combined)),
            "/ws/channels" => Some(Self::Channels),
            "/stream/logs" => Some(Self::Events(Feed::Logs)),
            "/stream/metrics" => Some(Self::Events(Feed::Metrics)),
            "/stream/combined" => Some(Self::Events(Feed::Combined)),
            _ => None,
        }
    }
}

/// Why a stream was not opened. The display is the `message` of the body.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("this path takes GET")]
    Method,
    #[error("pages of this origin may not use the streams (sockjs.origins)")]
    Origin,
    #[error("{0}")]
    Handshake(#[from] handshake::HandshakeError),
    #[error("this connection cannot be upgraded")]
    NoUpgrade,
    #[error("the key is missing or not good; give one as ?api_key=KEY or in the header X-API-Key")]
    Unauthorized,
    #[error("too many logins wait to be checked; try again later")]
    LoginsBusy,
    #[error("{}", auth::TOO_MANY)]
    LoginsFailed { retry_after: Duration },
    #[error("{0}")]
    Forbidden(String),
    #[error("{0}")]
    Filter(#[from] stream::FilterError),
    #[error("interval must be a whole number of milliseconds from {} to {}", INTERVALS.0.as_millis(), INTERVALS.1.as_millis())]
    Interval,
    #[error("events must be both, named or message")]
    Names,
}

impl Refused {
    fn code(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Method => (StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED"),
            Self::Origin => (StatusCode::FORBIDDEN, "FORBIDDEN"),
            Self::Handshake(error) => (error.status(), "INVALID_HANDSHAKE"),
            Self::NoUpgrade => (StatusCode::BAD_REQUEST, "INVALID_HANDSHAKE"),
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, "UNAUTHORIZED"),
            Self::LoginsBusy => (StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE"),
            Self::LoginsFailed { .. } => (StatusCode::TOO_MANY_REQUESTS, "UNAVAILABLE"),
            Self::Forbidden(_) => (StatusCode::FORBIDDEN, "UNAUTHORIZED"),
            Self::Filter(_) => (StatusCode::BAD_REQUEST, "INVALID_FILTER"),
            Self::Interval => (StatusCode::BAD_REQUEST, "INVALID_INTERVAL"),
            Self::Names => (StatusCode::BAD_REQUEST, "INVALID_EVENTS"),
        }
    }
}

impl Streams {
    /// Answers a request to one of the paths.
    pub(super) async fn handle<B>(&self, route: Route, mut request: Request<B>, peer: String) -> Response<Body> {
        let mut response = match self.open(route, &mut request, &peer).await {
            Ok(response) => response,
            Err(refused) => refusal(&refused),
        };
        let origin = request.headers().get(header::ORIGIN);
        if let Some(origin) = origin.filter(|origin| self.admits(Some(origin))) {
            let allowed = if self.origins.is_empty() { HeaderValue::from_static("*") } else { origin.clone() };
            response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
            response.headers_mut().insert(header::VARY, HeaderValue::from_static("origin"));
        }
        response
    }

    async fn open<B>(&self, route: Route, request: &mut Request<B>, peer: &str) -> Result<Response<Body>, Refused> {
        let headers = request.headers();
        if !self.admits(headers.get(header::ORIGIN)) {
            return Err(Refused::Origin);
        }
        match (route, request.method()) {
            // A page of another origin that sends a key in a header asks first.
            (Route::Events(_), &Method::OPTIONS) => Ok(cors::preflight("GET", headers)),
            (Route::WebSocket(feed), &Method::GET) => self.upgrade(Some(feed), request, peer),
            (Route::Channels, &Method::GET) => self.upgrade(None, request, peer),
            (Route::Events(feed), &Method::GET) => self.events(feed, request, peer).await,
            _ => Err(Refused::Method),
        }
    }

    /// Without a feed, to channels.
    fn upgrade<B>(&self, feed: Option<Feed>, request: &mut Request<B>, peer: &str) -> Result<Response<Body>, Refused> {
        let query = Query::of(request.uri().query());
        let agreed = handshake::accept(request.headers(), &[KEY_PROTOCOL], self.deflate)?;
        let credentials = credentials(request);
        let (filter, interval) = (query.filter()?, query.interval()?);
        let on_upgrade = request.extensions_mut().remove::<OnUpgrade>().ok_or(Refused::NoUpgrade)?;
        let (streams, peer) = (self.clone(), peer.to_owned());
        self.fanout.spawn(async move {
            match upgraded(on_upgrade).await {
                Ok((stream, read_ahead)) => {
                    let socket = WebSocket::new(stream, &read_ahead, &streams.websocket, agreed.deflate);
                    let socket = RawWebSocket(socket);
                    let framing = socket.framing();
                    match feed {
                        Some(feed) => {
                            let who = Who::Named(credentials);
                            let opening = Opening { feed, form: Form::Json, filter, interval, who };
                            streams.fanout.drive(Box::new(socket), &peer, streams.session(framing, opening));
                        }
                        None => {
                            let settings = Arc::clone(&streams.settings);
                            let session = stream::channel::Session::new(settings, framing, credentials, clock::now());
                            streams.fanout.drive(Box::new(socket), &peer, session);
                        }
                    }
                }
                Err(error) => debug!(peer, %error, "the upgrade did not come about"),
            }
        });
        let mut response = Response::new(Body::whole(Bytes::new()));
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        *response.headers_mut() = agreed.headers;
        Ok(response)
    }

    async fn events<B>(&self, feed: Feed, request: &Request<B>, peer: &str) -> Result<Response<Body>, Refused> {
        let query = Query::of(request.uri().query());
        let credentials = credentials(request);
        let broker = self.fanout.broker();
        // A browser sees the status of an event stream, but nothing of one that was refused.
        let attempt = Attempt { credentials, peer: request.extensions().get::<PeerAddress>().map(|peer| peer.0.ip()) };
        let identity = broker.authenticate(attempt).await.map_err(|error| {
            broker.stats().refused.add(1);
            info!(peer, path = request.uri().path(), ?error, "access refused");
            match error {
                AuthError::TooMany { retry_after } => Refused::LoginsFailed { retry_after },
                AuthError::Refused => Refused::Unauthorized,
                AuthError::Busy | AuthError::Unavailable => Refused::LoginsBusy,
            }
        })?;
        for kind in feed.kinds() {
            if let Ok(topic) = Destination::parse(kind.topic()) {
                let target = broker.subscribe_target(&identity.principal, &topic);
                target.map_err(|error| Refused::Forbidden(error.to_string()))?;
            }
        }
        let of_header = request.headers().get("last-event-id").and_then(|id| id.to_str().ok());
        let last = of_header.map(Cow::Borrowed).or_else(|| query.value("last_event_id"));
        let (since, is_half) = stream::last_event(last.as_deref(), &self.settings.epoch);
        let names = query.value("events").map_or(Some(Names::default()), |word| Names::parse(&word));
        let form = Form::Events { names: names.ok_or(Refused::Names)?, since, is_half };
        let who = Who::Known(identity.principal.clone());
        let opening = Opening { feed, form, filter: query.filter()?, interval: query.interval()?, who };
        let (writer, reader) = service::pipe(request.extensions().get::<Shortcut>().cloned());
        let io = EventIo(writer);
        let session = self.session(io.framing(), opening);
        self.fanout.drive_as(Box::new(io), peer, session, Some(&identity));
        let mut response = Response::new(Body::SockJs(service::Body::Frames(reader)));
        let headers = response.headers_mut();
        for (name, value) in EVENT_HEADERS {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        Ok(response)
    }

    fn session(&self, framing: &'static dyn Framing, opening: Opening) -> stream::Session {
        stream::Session::new(Arc::clone(&self.settings), framing, opening, clock::now(), now_ms())
    }

    fn admits(&self, origin: Option<&HeaderValue>) -> bool {
        let Some(origin) = origin.filter(|_| !self.origins.is_empty()) else { return true };
        self.origins.iter().any(|allowed| allowed == "*" || allowed.as_bytes() == origin.as_bytes())
    }
}

/// What any request may carry, or the key as a page gives it.
fn credentials<B>(request: &Request<B>) -> Option<Credentials> {
    let (headers, query) = (request.headers(), request.uri().query().unwrap_or_default());
    let key = key_of_subprotocol(headers).map(Credentials::ApiKey);
    key.or_else(|| {
        let subject = request.extensions().get::<PeerSubject>().map(|subject| Arc::clone(&subject.0));
        auth::credentials(headers, query, subject)
    })
}

/// A page cannot set headers on a WebSocket: `new WebSocket(url, ['api_key', KEY])`.
fn key_of_subprotocol(headers: &HeaderMap) -> Option<String> {
    let values = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).into_iter().filter_map(|value| value.to_str().ok());
    let mut offered = values.flat_map(|value| value.split(',')).map(str::trim);
    offered.find(|name| *name == KEY_PROTOCOL)?;
    offered.next().map(str::to_owned)
}

/// The query of a request.
struct Query<'a>(&'a str);

impl<'a> Query<'a> {
    fn of(query: Option<&'a str>) -> Self {
        Self(query.unwrap_or_default())
    }

    fn value(&self, wanted: &str) -> Option<Cow<'a, str>> {
        form_urlencoded::parse(self.0.as_bytes()).find(|(name, _)| name == wanted).map(|(_, value)| value)
    }

    fn filter(&self) -> Result<Filter, Refused> {
        let [level, source, pattern] = ["level", "source", "pattern"].map(|name| self.value(name));
        Ok(Filter::of_query(level.as_deref(), source.as_deref(), pattern.as_deref())?)
    }

    fn interval(&self) -> Result<Option<Duration>, Refused> {
        let Some(ms) = self.value("interval") else { return Ok(None) };
        let interval = ms.parse().ok().map(Duration::from_millis);
        let interval = interval.filter(|interval| (INTERVALS.0..=INTERVALS.1).contains(interval));
        interval.map(Some).ok_or(Refused::Interval)
    }
}

fn refusal(refused: &Refused) -> Response<Body> {
    let (status, code) = refused.code();
    let body = json!({"type": "error", "code": code, "message": refused.to_string()}).to_string();
    let mut response = Response::new(Body::whole(body.into()));
    *response.status_mut() = status;
    if matches!(refused, Refused::Origin) {
        response.extensions_mut().insert(Reached("origins"));
    }
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(header::ALLOW, HeaderValue::from_static("GET"));
    }
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer, Basic realm=\"stompbox\""));
    }
    if let Refused::LoginsFailed { retry_after } = refused {
        headers.insert(header::RETRY_AFTER, auth::seconds(*retry_after));
    }
    response
}

/// The first of the two subprotocols that carry a key, and the one that is agreed on.
const KEY_PROTOCOL: &str = "api_key";

/// Nothing on the way may keep events back.
const EVENT_HEADERS: [(&str, &str); 3] =
    [("content-type", "text/event-stream"), ("cache-control", "no-store"), ("x-accel-buffering", "no")];
