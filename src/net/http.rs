//! HTTP/1.1 on each accepted connection, with upgrades.

mod body;
mod io;
mod lane;

use std::convert::Infallible;
use std::error::Error;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt as _;
use http::{HeaderValue, Request, Response, StatusCode, Version, header};
use http_body::Body;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioTimer;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, error};

use self::body::ResponseBody;
pub use self::body::{RequestBody, RequestBodyError};
use self::io::{Activity, Busy, HttpIo};
pub use self::lane::Shortcut;
use super::accept::{Acceptor, Listener};
use super::limits::Limiter;
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

/// Marks a request that came by TLS which the server itself speaks; without it, a proxy may.
#[derive(Debug, Clone, Copy)]
pub struct OverTls;

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
/// `handle` is called for each request, on the calling shard; `on_panic` where it, or the body of
/// its answer, broke down: that costs the one connection, not the others.
pub async fn serve<H, F, B>(
    listener: Listener,
    settings: Settings,
    shutdown: CancellationToken,
    handle: H,
    on_panic: impl Fn() + Clone + 'static,
) where
    H: Fn(Request<RequestBody>) -> F + Clone + 'static,
    F: Future<Output = Result<Response<B>, Infallible>> + 'static,
    B: Body<Data: From<Bytes>> + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let tasks = TaskTracker::new();
    let proxies = listener.proxies.clone();
    let limiter = listener.limiter.clone();
    let mut acceptor = Acceptor::new(listener, refusal);
    while let Some((stream, peer)) = acceptor.accept(&shutdown).await {
        let (handle, proxies, on_panic) = (handle.clone(), proxies.get(), on_panic.clone());
        let (shutdown, limiter) = (shutdown.clone(), limiter.clone());
        tasks.spawn_local(async move {
            let activity = Arc::new(Activity::default());
            let io = HttpIo::new(stream, Arc::clone(&activity));
            let served = serve_connection(io, &activity, (peer, proxies), settings, &limiter, shutdown, handle);
            match AssertUnwindSafe(served).catch_unwind().await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    debug!(%peer, %error, "http connection ended");
                    if error.is_parse_too_large() {
                        limiter.note("http_head_bytes");
                    } else if error.is_timeout() && activity.owes_head() {
                        limiter.note("http_header_timeout");
                    }
                }
                Err(_) => {
                    error!(%peer, "an HTTP connection is given up after a panic");
                    on_panic();
                }
            }
        });
    }
    drop(acceptor);
    tasks.close();
    tasks.wait().await;
}

async fn serve_connection<H, F, B>(
    io: HttpIo,
    activity: &Arc<Activity>,
    (peer, proxies): (SocketAddr, Arc<Proxies>),
    settings: Settings,
    limiter: &Limiter,
    shutdown: CancellationToken,
    handle: H,
) -> Result<(), hyper::Error>
where
    H: Fn(Request<RequestBody>) -> F,
    F: Future<Output = Result<Response<B>, Infallible>> + 'static,
    B: Body<Data: From<Bytes>> + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let (noted, limiter) = (Arc::clone(activity), limiter.clone());
    let shortcut = io.shortcut();
    let service = service_fn(move |request: Request<Incoming>| {
        let busy = noted.begin();
        let answer = if noted.lacks_tls() {
            None
        } else {
            let mut request = request.map(|body| RequestBody::new(body, settings.body_timeout, limiter.clone()));
            let client = proxies.client(request.headers(), peer);
            request.extensions_mut().insert(PeerAddress(client));
            if let Some(subject) = noted.subject() {
                request.extensions_mut().insert(PeerSubject(subject));
            }
            // The way past hyper is there where no TLS is in between.
            if shortcut.is_none() {
                request.extensions_mut().insert(OverTls);
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

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use http_body_util::Full;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::task::LocalSet;

    use super::*;

    #[tokio::test]
    async fn a_panic_costs_its_connection_alone_and_is_counted() {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let settings = Settings {
            header_timeout: Duration::from_secs(10),
            head_bytes: LEAST_HEAD_BYTES,
            body_timeout: Duration::from_secs(10),
        };
        let panics = Rc::new(Cell::new(0));
        let counted = Rc::clone(&panics);
        let handle = async |request: Request<RequestBody>| {
            assert_ne!(request.uri().path(), "/panic", "on purpose");
            Ok(Response::new(Full::new(Bytes::from_static(b"well"))))
        };
        let local = LocalSet::new();
        let stop = CancellationToken::new();
        local.spawn_local(serve(Listener::plain(socket), settings, stop, handle, move || {
            counted.set(counted.get() + 1);
        }));
        let get = async |path: &str| {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        };
        let asked = async {
            assert_eq!(get("/panic").await, "");
            assert!(get("/").await.ends_with("well"));
        };
        local.run_until(asked).await;
        assert_eq!(panics.get(), 1);
    }
}
