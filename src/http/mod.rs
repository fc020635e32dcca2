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
mod events;
mod sources;
mod streams;

use std::convert::Infallible;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;

use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use tower_service::Service as _;
use warp::Filter as _;

pub use self::body::Body;
pub use self::sources::Sources;
use self::streams::{Route, Streams};
use crate::broker::Broker;
use crate::feeds::events::Events;
use crate::message::Destination;
use crate::net::fanout::Fanout;
use crate::net::http::{PeerAddress, PeerSubject, RequestBody};
use crate::net::websocket::{self, deflate};
use crate::sockjs::service::{self, Service};
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
        .or(console::routes())
        .recover(api::on_rejection);
    let rest = warp::service(rest.with(api::cors(&site.cors_origins)));
    let streams = site.streams.clone().map(|StreamSettings { session: settings, websocket, deflate }| {
        let origins = site.origins.as_slice().into();
        Streams { fanout, settings, websocket, deflate, origins }
    });
    move |request| {
        let route = Route::of(request.uri().path());
        let below = below_mount(request.uri().path(), &site.mount).map(str::to_owned);
        let subject = request.extensions().get::<PeerSubject>().map(|subject| Arc::clone(&subject.0));
        let query = request.uri().query().unwrap_or_default();
        let is_rest = route.is_none() && below.is_none();
        let origins = if is_rest { &site.cors_origins } else { &site.origins };
        // On an open server what goes along by itself gives no rights.
        if origins.is_empty()
            && !site.broker.is_open()
            && auth::may_be_forged(request.headers(), query, subject.as_deref(), below.is_some())
        {
            site.broker.stats().refused.add(1);
            return Box::pin(async { Ok(forbidden()) });
        }
        let peer = request.extensions().get::<PeerAddress>().map_or_else(String::new, |peer| peer.0.to_string());
        // Only SockJS clients that still have to be told something are answered to the last.
        if site.sockjs.is_draining() && (route.is_some() || below.is_none()) {
            let mut response = Response::new(Body::SockJs(service::Body::Whole(service::SHUTTING_DOWN.into())));
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            return Box::pin(async move { Ok(response) });
        }
        if let (Some(streams), Some(route)) = (&streams, route) {
            let streams = streams.clone();
            return Box::pin(async move { Ok(streams.handle(route, request, peer).await) });
        }
        match below {
            Some(below) => {
                let sockjs = site.sockjs.clone();
                Box::pin(async move { Ok(sockjs.handle(request, &below, peer).await.map(Body::SockJs)) })
            }
            None => {
                let mut rest = rest.clone();
                let request = request.map(|body| body.boxed());
                Box::pin(async move {
                    let path = request.uri().path().to_owned();
                    let mut response = rest.call(request).await?;
                    // RFC 9110 15.5.6: a 405 names what the path takes
                    if response.status() == StatusCode::METHOD_NOT_ALLOWED {
                        response.headers_mut().insert(header::ALLOW, api::allowed(&path));
                    }
                    Ok(response.map(|body| Body::Warp(Box::pin(body))))
                })
            }
        }
    }
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
