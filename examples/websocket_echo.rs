//! An echo over the product's own WebSocket layer, to be held against outside suites.
//!
//!     cargo run --release --example websocket_echo [ADDRESS]     default 127.0.0.1:9001
//!
//! Text comes back as text and binary as binary, compressed where the client offers that. What is
//! longer than a head leaves as a broadcast does: a head of its own in front of a tail that was
//! made in steps. With Autobahn's suite: `wstest -m fuzzingclient` with `"servers": [{"url": "ws://127.0.0.1:9001"}]`.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::upgrade::OnUpgrade;
use stompbox::message::{Framing, Image, Tail};
use stompbox::net::accept::Listener;
use stompbox::net::http::{RequestBody, Settings as HttpSettings, serve, upgraded};
use stompbox::net::io::Ended;
use stompbox::net::websocket::{Settings, SocketEvent, WebSocket, WebSocketFraming, deflate, handshake};
use tokio::net::TcpListener;
use tokio::task::LocalSet;
use tokio_util::sync::CancellationToken;

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9001".into());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let listener = TcpListener::bind(address).await?;
        eprintln!("listening on ws://{}", listener.local_addr()?);
        let http = HttpSettings {
            header_timeout: Duration::from_secs(10),
            head_bytes: 64 * 1024,
            body_timeout: Duration::from_secs(30),
        };
        serve(Listener::plain(listener), http, CancellationToken::new(), answer, || {}).await;
        Ok(())
    })
}

/// Takes every WebSocket, whatever its path.
async fn answer(mut request: Request<RequestBody>) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut response = Response::new(Full::default());
    let on_upgrade = request.extensions_mut().remove::<OnUpgrade>();
    match (handshake::accept(request.headers(), &[], SETTINGS.deflate), on_upgrade) {
        (Ok(accepted), Some(on_upgrade)) => {
            tokio::task::spawn_local(async move {
                if let Ok((stream, read_ahead)) = upgraded(on_upgrade).await {
                    let mut socket = WebSocket::new(stream, &read_ahead, &SETTINGS, accepted.deflate);
                    // A client that is gone needs no answer.
                    let _ = echo(&mut socket).await;
                }
            });
            *response.headers_mut() = accepted.headers;
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        }
        (Err(error), _) => {
            *response.status_mut() = error.status();
            *response.body_mut() = error.to_string().into();
        }
        (Ok(_), None) => *response.status_mut() = StatusCode::BAD_REQUEST,
    }
    Ok(response)
}

async fn echo(socket: &mut WebSocket) -> io::Result<()> {
    let framing = socket.framing(&WebSocketFraming);
    loop {
        let answer = match poll_fn(|cx| socket.poll_event(cx)).await {
            SocketEvent::Text(text) => image(framing, &text, true),
            SocketEvent::Binary(octets) => image(framing, &octets, false),
            SocketEvent::Reply(octets) => octets.into(),
            SocketEvent::Ended(Ended::Violation { farewell, .. }) => {
                write(socket, farewell.into()).await?;
                socket.close_our_side();
                // The socket is closed when the client has the farewell, or takes too long.
                let _ = tokio::time::timeout(LINGER, gone(socket)).await;
                return Ok(());
            }
            SocketEvent::Ended(Ended::Closed | Ended::Finished | Ended::Lost(_)) => return Ok(()),
        };
        write(socket, answer).await?;
    }
}

fn image(framing: &dyn Framing, octets: &Bytes, is_text: bool) -> Image {
    if octets.len() <= HEAD_BYTES {
        return framing.whole(octets, is_text);
    }
    let (head, tail) = (&octets[..HEAD_BYTES], octets.slice(HEAD_BYTES..));
    let tail = tail_of(framing, &tail, is_text);
    Image { head: framing.head(head, &tail, is_text), tail: tail.octets }
}

fn tail_of(framing: &dyn Framing, tail: &Bytes, is_text: bool) -> Tail {
    let making = framing.making(tail, is_text).filter(|_| framing.takes_steps(tail.len()));
    let made = making.and_then(|mut making| std::iter::repeat_with(|| making.advance(&mut 1)).flatten().next());
    made.unwrap_or_else(|| framing.tail(tail, is_text))
}

async fn gone(socket: &WebSocket) {
    while !matches!(poll_fn(|cx| socket.poll_event(cx)).await, SocketEvent::Ended(_)) {}
}

async fn write(socket: &WebSocket, image: Image) -> io::Result<()> {
    let mut queue = VecDeque::from([image]);
    while socket.try_write(&mut queue)?.is_blocked {
        poll_fn(|cx| socket.poll_write_ready(cx)).await?;
    }
    Ok(())
}

/// Autobahn's largest messages have 16 MiB.
const SETTINGS: Settings = Settings {
    max_message_bytes: 16 << 20,
    ping: Duration::ZERO,
    deflate: Some(deflate::Settings { level: 6, min_bytes: 0 }),
};

/// As long as that of a MESSAGE.
const HEAD_BYTES: usize = 100;

const LINGER: Duration = Duration::from_secs(1);
