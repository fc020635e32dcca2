//! What is served over HTTP: SockJS and WebSocket at its mount, streams, the REST API, the page.
//!
//! The only folder naming warp, which routes all but the mount: SockJS has a table of its own,
//! and its frames leave in the pieces that subscribers share, which warp's body would join by
//! a copy each.

mod api;
mod auth;
pub use auth::credentials;
mod body;
mod console;
mod cors;
mod events;
mod sources;
mod streams;

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use tower_service::Service as _;
use tracing::{debug, info};
use warp::Filter as _;

pub use self::body::Body;
use self::cors::Cors;
pub use self::sources::Sources;
use self::streams::{Route, Streams};
use crate::broker::Broker;
use crate::feeds::events::Events;
use crate::message::Destination;
use crate::net::fanout::Fanout;
use crate::net::http::{OverTls, PeerAddress, PeerSubject, RequestBody};
use crate::net::websocket::{self, deflate};
use crate::sockjs::service::{self, Reached, Service};
use crate::stream;

/// What the HTTP side needs.
#[derive(Clone)]
pub struct Site {
    /// Where SockJS is mounted: `/ws`.
    pub mount: Arc<str>,
    /// The calling shard's way into the SockJS service.
    pub sockjs: Service,
    /// The broker.
    pub broker: Broker,
    /// The event metrics, where they are enabled, and their topic.
    pub events: Option<(Arc<Events>, Destination)>,
    /// How often they are published.
    pub metrics_period: Duration,
    /// What is fed in beside events.
    pub sources: Sources,
    /// Octets of a request's body to the REST API.
    pub max_body_bytes: usize,
    /// What streams need to know; `None`: there are none.
    pub streams: Option<StreamSettings>,
    /// The origins whose pages may use SockJS and the streams; empty: all.
    pub origins: Vec<String>,
    /// The origins whose pages may use the REST API; empty: all.
    pub cors_origins: Vec<String>,
}

/// What streams need to know from the settings.
#[derive(Clone)]
pub struct StreamSettings {
    /// Their sessions.
    pub session: Arc<stream::Settings>,
    /// Their WebSockets.
    pub websocket: websocket::Settings,
    /// How messages are compressed, if at all.
    pub deflate: Option<deflate::Settings>,
}

/// Answers every request to the site.
#[expect(clippy::type_complexity, reason = "written out once; a name would hide that the future is boxed")]
pub fn handler(
    site: Site,
    fanout: Rc<Fanout>,
) -> impl Fn(Request<RequestBody>) -> std::pin::Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>>>>
+ Clone
+ 'static {
    let rest = api::routes(&site)
        .or(sources::status_routes(&site))
        .unify()
        .boxed()
        .or(console::routes(&site))
        .recover(api::on_rejection);
    let rest = warp::service(rest);
    let cors = Cors::new(&site.cors_origins);
    let streams = site.streams.clone().map(|StreamSettings { session: settings, websocket, deflate }| {
        let origins = site.origins.as_slice().into();
        Streams { fanout, settings, websocket, deflate, origins }
    });
    move |request| {
        let route = Route::of(request.uri().path());
        let below = below_mount(request.uri().path(), &site.mount).map(str::to_owned);
        let subject = request.extensions().get::<PeerSubject>().map(|subject| Arc::clone(&subject.0));
        let is_tls = request.extensions().get::<OverTls>().is_some();
        let query = request.uri().query().unwrap_or_default();
        let is_rest = route.is_none() && below.is_none();
        let origins = if is_rest { &site.cors_origins } else { &site.origins };
        let address = request.extensions().get::<PeerAddress>().map(|peer| peer.0);
        let peer = address.map_or_else(String::new, |address| address.to_string());
        // On an open server what goes along by itself gives no rights.
        if origins.is_empty()
            && !site.broker.is_open()
            && auth::may_be_forged(request.headers(), query, subject.as_deref(), below.is_some(), is_tls)
        {
            site.broker.stats().refused.add(1);
            let (method, path, origin) =
                (request.method(), request.uri().path(), request.headers().get(header::ORIGIN));
            info!(peer, %method, path, ?origin, "refused: a cookie or certificate from another origin's page");
            return Box::pin(async { Ok(forbidden()) });
        }
        let broker = site.broker.clone();
        // Only SockJS clients that still have to be told something are answered to the last.
        if site.sockjs.is_draining() && (route.is_some() || below.is_none()) {
            let mut response = Response::new(Body::SockJs(service::Body::Whole(service::SHUTTING_DOWN.into())));
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            return Box::pin(async move { Ok(response) });
        }
        if let (Some(streams), Some(route)) = (&streams, route) {
            let streams = streams.clone();
            return Box::pin(async move { Ok(counted(&broker, address, streams.handle(route, request, peer).await)) });
        }
        match below {
            Some(below) => {
                let sockjs = site.sockjs.clone();
                Box::pin(async move {
                    let response = sockjs.handle(request, &below, peer).await.map(Body::SockJs);
                    Ok(counted(&broker, address, response))
                })
            }
            None => {
                if let Some(answer) = cors.answer(&request) {
                    return Box::pin(async { Ok(answer) });
                }
                let (mut rest, cors) = (rest.clone(), cors.clone());
                let request = request.map(|body| body.boxed());
                Box::pin(async move {
                    let path = request.uri().path().to_owned();
                    let origin = request.headers().get(header::ORIGIN).cloned();
                    let mut response = rest.call(request).await?;
                    // RFC 9110 15.5.6: a 405 names what the path takes
                    if response.status() == StatusCode::METHOD_NOT_ALLOWED {
                        response.headers_mut().insert(header::ALLOW, api::allowed(&path));
                    }
                    cors.tell(origin, response.headers_mut());
                    Ok(counted(&broker, address, response.map(|body| Body::Warp(Box::pin(body)))))
                })
            }
        }
    }
}

/// Counts the limit that the response tells of.
fn counted(broker: &Broker, peer: Option<SocketAddr>, mut response: Response<Body>) -> Response<Body> {
    if let Some(Reached(limit)) = response.extensions_mut().remove() {
        broker.stats().limits.add(limit);
        debug!(?peer, limit, status = response.status().as_u16(), "a request is refused");
    }
    response
}

fn forbidden() -> Response<Body> {
    let mut response = Response::new(Body::SockJs(service::Body::Whole(FOREIGN.into())));
    *response.status_mut() = StatusCode::FORBIDDEN;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=UTF-8"));
    response
}

const FOREIGN: &str = "A page of another origin may not use this server with what the browser sends by itself \
    (a cookie, a certificate, a password of Basic). sockjs.origins lists the origins that may.\n";

/// The path below the mount, if it is there.
fn below_mount<'a>(path: &'a str, mount: &str) -> Option<&'a str> {
    let below = path.strip_prefix(mount)?;
    (below.is_empty() || below.starts_with('/')).then_some(below)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_is_a_whole_word_of_the_path() {
        assert_eq!(below_mount("/ws", "/ws"), Some(""));
        assert_eq!(below_mount("/ws/info", "/ws"), Some("/info"));
        assert_eq!(below_mount("/wsx", "/ws"), None);
        assert_eq!(below_mount("/", "/ws"), None);
    }
}
