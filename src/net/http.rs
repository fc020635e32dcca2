//! The accept loop and HTTP/1.1 on each connection, with upgrades.

use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

/// The address that a request came from; an extension of every request.
#[derive(Debug, Clone, Copy)]
pub struct PeerAddress(pub SocketAddr);

/// What an HTTP listener needs to know from the settings.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// How long a request's head may take to come.
    pub header_timeout: Duration,
}

/// Accepts connections and serves HTTP on each until `shutdown`; resolves when the requests
/// that were under way then are answered.
///
/// `handle` is called for each request, on the calling shard.
pub async fn serve<H, F, B>(listener: TcpListener, settings: Settings, shutdown: CancellationToken, handle: H)
where
    H: Fn(Request<Incoming>) -> F + Clone + 'static,
    F: Future<Output = Result<Response<B>, Infallible>> + 'static,
    B: Body + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let tasks = TaskTracker::new();
    while let Some((stream, peer)) = accept(&listener, &shutdown).await {
        let handle = handle.clone();
        let shutdown = shutdown.clone();
        tasks.spawn_local(async move {
            if let Err(error) = serve_connection(stream, peer, settings, shutdown, handle).await {
                debug!(%peer, %error, "http connection ended");
            }
        });
    }
    drop(listener);
    tasks.close();
    tasks.wait().await;
}

/// The next connection; `None` after `shutdown`.
pub(super) async fn accept(listener: &TcpListener, shutdown: &CancellationToken) -> Option<(TcpStream, SocketAddr)> {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => return None,
        };
        match accepted {
            Ok((stream, peer)) => {
                if let Err(error) = stream.set_nodelay(true) {
                    debug!(%peer, %error, "no TCP_NODELAY");
                }
                return Some((stream, peer));
            }
            // One client's trouble, which must not hold up the others.
            Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) => {
                debug!(%error, "a connection broke before it was accepted");
            }
            Err(error) => {
                // Out of descriptors, most likely: the next try would fail at once, for ever.
                warn!(%error, "cannot accept");
                tokio::time::sleep(ACCEPT_BACK_OFF).await;
            }
        }
    }
}

async fn serve_connection<H, F, B>(
    stream: TcpStream,
    peer: SocketAddr,
    settings: Settings,
    shutdown: CancellationToken,
    handle: H,
) -> Result<(), hyper::Error>
where
    H: Fn(Request<Incoming>) -> F,
    F: Future<Output = Result<Response<B>, Infallible>> + 'static,
    B: Body + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(PeerAddress(peer));
        handle(request)
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(settings.header_timeout)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    tokio::select! {
        result = connection.as_mut() => return result,
        () = shutdown.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    connection.await
}

/// Takes the stream of an upgraded connection, and what was read beyond the request.
///
/// # Errors
/// The connection broke before the answer was written.
pub async fn upgraded(on_upgrade: OnUpgrade) -> io::Result<(TcpStream, Bytes)> {
    let upgraded = on_upgrade.await.map_err(io::Error::other)?;
    let parts = upgraded.downcast::<TokioIo<TcpStream>>().map_err(|_| io::Error::other("not a TCP connection"))?;
    // A copy: the buffer itself has 8 KB and would live as long as the connection.
    Ok((parts.io.into_inner(), Bytes::copy_from_slice(&parts.read_buf)))
}

const ACCEPT_BACK_OFF: Duration = Duration::from_millis(100);
