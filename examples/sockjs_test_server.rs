//! The services that the SockJS protocol's conformance tests ask for, on the SockJS module alone.
//!
//! `cargo run --example sockjs_test_server [PORT]`; without a port it is 8081, and 0 is any.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use stompbox::net::accept::Listener;
use stompbox::net::http::{PeerAddress, RequestBody, Settings as HttpSettings, serve};
use stompbox::net::io::MessageIo;
use stompbox::net::websocket;
use stompbox::sockjs::service::{Body, Client, Connections, Service, Socket};
use stompbox::sockjs::{ResponseLimit, Settings, Transport, Transports};
use tokio::net::TcpListener;
use tokio::sync::broadcast;
use tokio::task::LocalSet;
use tokio_util::sync::CancellationToken;

fn main() -> io::Result<()> {
    let port = std::env::args().nth(1).map_or(Ok(8081), |port| port.parse()).map_err(io::Error::other)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, run(port))
}

async fn run(port: u16) -> io::Result<()> {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port))).await?;
    eprintln!("listening on http://{}", listener.local_addr()?);
    let (everyone, _) = broadcast::channel(BROADCASTS);
    let no_websocket = Transports::ALL.without(Transport::WebSocket).without(Transport::RawWebSocket);
    let mounts: Rc<[Mount]> = Rc::new([
        Mount::new("/echo", settings(), Kind::Echo),
        Mount::new("/disabled_websocket_echo", Settings { transports: no_websocket, ..settings() }, Kind::Echo),
        Mount::new("/cookie_needed_echo", Settings { cookie_needed: true, ..settings() }, Kind::Echo),
        Mount::new("/close", settings(), Kind::Close),
        Mount::new("/amplify", settings(), Kind::Amplify),
        Mount::new("/broadcast", settings(), Kind::Broadcast(everyone)),
    ]);
    let http = HttpSettings {
        header_timeout: Duration::from_secs(10),
        head_bytes: 64 * 1024,
        body_timeout: Duration::from_secs(30),
    };
    let listener = Listener::plain(listener);
    serve(listener, http, CancellationToken::new(), move |request| answer(Rc::clone(&mounts), request), || {}).await;
    Ok(())
}

/// A service and the path in front of it.
struct Mount {
    path: &'static str,
    service: Service,
}

impl Mount {
    fn new(path: &'static str, settings: Settings, kind: Kind) -> Self {
        let websocket = websocket::Settings {
            max_message_bytes: settings.payload_bytes,
            ping: Duration::from_secs(30),
            deflate: None,
        };
        let mut services = Service::new(settings, websocket, &[], MAX_SESSIONS, 1);
        let (service, home) = services.remove(0);
        tokio::task::spawn_local(home.run(Rc::new(Application { kind })));
        Self { path, service }
    }
}

async fn answer(mounts: Rc<[Mount]>, request: Request<RequestBody>) -> Result<Response<Body>, Infallible> {
    let peer = request.extensions().get::<PeerAddress>().map_or_else(String::new, |peer| peer.0.to_string());
    let path = request.uri().path();
    let below =
        |mount: &Mount| path.strip_prefix(mount.path).filter(|below| below.is_empty() || below.starts_with('/'));
    let found = mounts.iter().find_map(|mount| Some((mount, below(mount)?.to_owned())));
    Ok(match found {
        Some((mount, below)) => mount.service.handle(request, &below, peer).await,
        // Who waits for the sessions to be gone asks here.
        None if path == "/open" => {
            let open: u64 =
                mounts.iter().flat_map(|mount| Transport::ALL.map(|way| mount.service.read_counters(way).open)).sum();
            Response::new(Body::Whole(open.to_string().into()))
        }
        None => {
            let mut response = Response::new(Body::Whole(Bytes::from_static(b"Not found.")));
            *response.status_mut() = StatusCode::NOT_FOUND;
            response
        }
    })
}

/// What a service does with its connections.
#[derive(Clone)]
enum Kind {
    /// Every message comes back.
    Echo,
    /// The session is closed at once.
    Close,
    /// The message `n` comes back as 2^n times `x`.
    Amplify,
    /// Every message goes to all.
    Broadcast(broadcast::Sender<Bytes>),
}

struct Application {
    kind: Kind,
}

impl Connections for Application {
    fn accept(&self, io: Box<dyn MessageIo>, _client: Client) {
        tokio::task::spawn_local(converse(self.kind.clone(), Socket::new(io)));
    }
}

async fn converse(kind: Kind, mut socket: Socket) {
    match kind {
        Kind::Echo => {
            while let Some(message) = socket.recv().await {
                socket.send(&message);
            }
        }
        Kind::Close => socket.close(3000, "Go away!").await,
        Kind::Amplify => {
            while let Some(message) = socket.recv().await {
                let power = std::str::from_utf8(&message).ok().and_then(|text| text.parse().ok());
                socket.send(&b"x".repeat(1 << power.unwrap_or(1_u32).clamp(1, MAX_POWER)));
            }
        }
        Kind::Broadcast(everyone) => {
            let mut others = everyone.subscribe();
            loop {
                tokio::select! {
                    message = socket.recv() => match message {
                        // Nobody listening is no error: the sender itself is.
                        Some(message) => drop(everyone.send(message)),
                        None => return,
                    },
                    message = others.recv(), if socket.waiting_bytes() < MAX_WAITING_BYTES => match message {
                        Ok(message) => socket.send(&message),
                        Err(broadcast::error::RecvError::Lagged(_)) => {}
                        Err(broadcast::error::RecvError::Closed) => return,
                    },
                }
            }
        }
    }
}

fn settings() -> Settings {
    Settings {
        transports: Transports::ALL,
        heartbeat: Duration::from_secs(25),
        disconnect_delay: Duration::from_secs(5),
        response_limit: ResponseLimit::Bytes(4096),
        inbox_bytes: MAX_PAYLOAD_BYTES,
        payload_bytes: MAX_PAYLOAD_BYTES,
        cookie_needed: false,
        base_url: None,
        origins: Vec::new(),
        frame_ancestors: Some(vec!["*".into()]),
        sessions_per_address: 0,
    }
}

const MAX_SESSIONS: usize = 100_000;

/// 1 MiB of what JSON escapes most.
const MAX_PAYLOAD_BYTES: usize = 8 << 20;

const MAX_POWER: u32 = 19;

/// Messages that may wait for a slow listener.
const BROADCASTS: usize = 256;

const MAX_WAITING_BYTES: usize = 64 << 10;
