//! HTTP/1.1 on each accepted connection, with upgrades.

mod body;
mod io;
mod lane;

use std::convert::Infallible;
use std::error::Error;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Request, Response, StatusCode, Version, header};
use http_body::Body;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioTimer;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::debug;

use self::body::ResponseBody;
pub use self::body::{RequestBody, RequestBodyError};
use self::io::{Activity, Busy, HttpIo};
pub use self::lane::Shortcut;
use super::accept::{Acceptor, Listener};
use super::proxy::Proxies;
use super::stream::Stream;
use crate::session::Exceeded;

/// The address that a request came from, also through trusted proxies; an extension of every
/// request.
#[derive(Debug, Clone, Copy)]
pub struct PeerAddress(pub SocketAddr);

/// Whom the certificate names that the client showed in TLS; an extension of every request that
/// came with one.
#[derive(Debug, Clone)]
pub struct PeerSubject(pub Arc<str>);

/// What an HTTP listener needs to know from the settings.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// How long a request's head may take to come, and how long a connection may wait for one.
    pub header_timeout: Duration,
    /// Octets of a request's head; at least 8 KiB.
    pub head_bytes: usize,
    /// How long a request's body may take to come.
    pub body_timeout: Duration,
}

/// Accepts connections and serves HTTP on each until `shutdown`; resolves when the requests
/// that were under way then are answered. A request whose head is not complete is not.
///
/// `handle` is called for each request, on the calling shard.
pub async fn serve<H, F, B>(listener: Listener, settings: Settings, shutdown: CancellationToken, handle: H)
where
    H: Fn(Request<RequestBody>) -> F + Clone + 'static,
    F: Future<Output = Result<Response<B>, Infallible>> + 'static,
    B: Body<Data: From<Bytes>> + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let tasks = TaskTracker::new();
    let proxies = listener.proxies.clone();
    let mut acceptor = Acceptor::new(listener, refusal);
    while let Some((stream, peer)) = acceptor.accept(&shutdown).await {
        let (handle, proxies) = (handle.clone(), proxies.get());
        let shutdown = shutdown.clone();
        tasks.spawn_local(async move {
            if let Err(error) = serve_connection(stream, (peer, proxies), settings, shutdown, handle).await {
                debug!(%peer, %error, "http connection ended");
            }
        });
    }
    drop(acceptor);
    tasks.close();
    tasks.wait().await;
}

async fn serve_connection<H, F, B>(
    stream: Stream,
    (peer, proxies): (SocketAddr, Arc<Proxies>),
    settings: Settings,
    shutdown: CancellationToken,
    handle: H,
) -> Result<(), hyper::Error>
where
    H: Fn(Request<RequestBody>) -> F,
    F: Future<Output = Result<Response<B>, Infallible>> + 'static,
    B: Body<Data: From<Bytes>> + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let activity = Arc::new(Activity::default());
    let noted = Arc::clone(&activity);
    let io = HttpIo::new(stream, Arc::clone(&activity));
    let shortcut = io.shortcut();
    let service = service_fn(move |request: Request<Incoming>| {
        let busy = noted.begin();
        let answer = if noted.lacks_tls() {
            None
        } else {
            let mut request = request.map(|body| RequestBody::new(body, settings.body_timeout));
            let client = proxies.client(request.headers(), peer);
            request.extensions_mut().insert(PeerAddress(client));
            if let Some(subject) = noted.subject() {
                request.extensions_mut().insert(PeerSubject(subject));
            }
            // To an older client hyper does not write in chunks.
            if let Some(shortcut) = shortcut.as_ref().filter(|_| request.version() == Version::HTTP_11) {
                request.extensions_mut().insert(shortcut.clone());
            }
            Some(handle(request))
        };
        async move {
            Ok::<_, Infallible>(match answer {
                Some(answer) => answer.await?.map(|body| ResponseBody::new(body, busy)),
                None => tls_required(busy),
            })
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(settings.header_timeout)
        .max_buf_size(settings.head_bytes.max(LEAST_HEAD_BYTES))
        .serve_connection(io, service)
        .with_upgrades();
    let mut connection = pin!(connection);
    tokio::select! {
        result = connection.as_mut() => return result,
        () = shutdown.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    // hyper waits for the rest of a head that was begun, which need not come.
    poll_fn(|cx| {
        let polled = connection.as_mut().poll(cx);
        if polled.is_pending() && activity.is_idle() { Poll::Ready(Ok(())) } else { polled }
    })
    .await
}

fn refusal(exceeded: &Exceeded) -> String {
    let text = format!("{exceeded}\n");
    let head = "HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 10\r\ncontent-type: text/plain";
    format!("{head}\r\ncontent-length: {}\r\n\r\n{text}", text.len())
}

fn tls_required<B>(busy: Busy) -> Response<ResponseBody<B>> {
    let mut response = Response::new(ResponseBody::own(TLS_REQUIRED, busy));
    *response.status_mut() = StatusCode::BAD_REQUEST;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// Takes the stream of an upgraded connection, and what was read beyond the request.
///
/// # Errors
/// The connection broke before the answer was written.
pub async fn upgraded(on_upgrade: OnUpgrade) -> std::io::Result<(Stream, Bytes)> {
    let upgraded = on_upgrade.await.map_err(std::io::Error::other)?;
    let parts = upgraded.downcast::<HttpIo>().map_err(|_| std::io::Error::other("another server's connection"))?;
    let (stream, ahead) = parts.io.into_parts().ok_or_else(|| std::io::Error::other("still in use"))?;
    // A copy: the buffer itself has 8 KB and would live as long as the connection.
    let mut read_ahead = BytesMut::with_capacity(parts.read_buf.len() + ahead.len());
    read_ahead.extend_from_slice(&parts.read_buf);
    read_ahead.extend_from_slice(&ahead);
    Ok((stream, read_ahead.freeze()))
}

const TLS_REQUIRED: &str = "This port speaks HTTPS: write https:// or wss:// in front of the address.\n";

/// hyper takes no less.
const LEAST_HEAD_BYTES: usize = 8192;
