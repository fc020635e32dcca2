//! STOMP clients that die without a word.

use std::collections::VecDeque;
use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message as WebSocketMessage;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::common::{Frame, Server};

/// Runs `test` against a server with two shards and those settings, and stops the server.
pub(crate) fn with_server<F: Future<Output = ()>>(settings: &str, test: impl FnOnce(SocketAddr) -> F) {
    with_metrics(&format!("metrics.enabled = false\n{settings}"), test);
}

/// As [`with_server`], with what `/app/events` takes.
pub(crate) fn with_metrics<F: Future<Output = ()>>(settings: &str, test: impl FnOnce(SocketAddr) -> F) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let server = Server::start(2, settings);
        test(server.address).await;
        server.stopped().await;
    });
}

/// One client, whose frames ask for receipts.
pub(crate) struct Client {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    receipts: u32,
    waiting: VecDeque<Frame>,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::connect_as(address, "").await
    }

    pub(crate) async fn connect_as(address: SocketAddr, headers: &str) -> Self {
        let (socket, _) = connect_async(format!("ws://{address}/ws/websocket")).await.unwrap();
        let mut client = Self { socket, receipts: 0, waiting: VecDeque::new() };
        client.send(&format!("CONNECT\naccept-version:1.2\nhost:h\n{headers}\n\0")).await;
        assert_eq!(client.read().await.unwrap().command, "CONNECTED");
        client
    }

    pub(crate) async fn send(&mut self, frame: &str) {
        let _ = self.socket.send(WebSocketMessage::text(frame)).await;
    }

    pub(crate) async fn send_binary(&mut self, frame: impl Into<Vec<u8>>) {
        let _ = self.socket.send(WebSocketMessage::binary(frame.into())).await;
    }

    /// Sends a frame and waits for its receipt; what comes before it is kept.
    pub(crate) async fn ask(&mut self, head: &str, body: &str) {
        self.receipts += 1;
        let receipt = self.receipts.to_string();
        self.send(&format!("{head}\nreceipt:{receipt}\n\n{body}\0")).await;
        let mut earlier = std::mem::take(&mut self.waiting);
        loop {
            let frame = self.read().await.unwrap();
            if frame.command == "RECEIPT" && frame.header("receipt-id") == Some(&receipt) {
                break;
            }
            assert_ne!(frame.command, "ERROR", "{}", frame.body);
            earlier.push_back(frame);
        }
        self.waiting = earlier;
    }

    /// The next frame; `None` once the server has closed, or is gone.
    pub(crate) async fn read(&mut self) -> Option<Frame> {
        if let Some(frame) = self.waiting.pop_front() {
            return Some(frame);
        }
        loop {
            let next = tokio::time::timeout(PATIENCE, self.socket.next()).await.expect("a frame in time");
            match next?.ok()? {
                WebSocketMessage::Text(text) if text.trim().is_empty() => {}
                WebSocketMessage::Text(text) => return Some(Frame::parse(&text)),
                WebSocketMessage::Close(_) => return None,
                WebSocketMessage::Binary(octets) => {
                    // A question mark for each octet that is no ASCII.
                    let text: String =
                        octets.iter().map(|&octet| if octet < 128 { char::from(octet) } else { '?' }).collect();
                    return Some(Frame::parse(&text));
                }
                WebSocketMessage::Ping(_) | WebSocketMessage::Pong(_) | WebSocketMessage::Frame(_) => {}
            }
        }
    }

    /// The next frame, which is a MESSAGE.
    pub(crate) async fn message(&mut self) -> Frame {
        let frame = self.read().await.expect("a MESSAGE");
        assert_eq!(frame.command, "MESSAGE", "{frame:?}");
        frame
    }

    /// The next frame, which is an ERROR; its body.
    pub(crate) async fn error(&mut self) -> String {
        let frame = self.read().await.expect("an ERROR");
        assert_eq!(frame.command, "ERROR", "{frame:?}");
        frame.body
    }

    pub(crate) async fn ack(&mut self, message: &Frame) {
        self.ask(&format!("ACK\nid:{}", message.header("ack").unwrap()), "").await;
    }

    pub(crate) async fn disconnect(mut self) {
        self.ask("DISCONNECT", "").await;
        let _ = self.socket.close(None).await;
        while self.read().await.is_some() {}
    }

    /// Cuts the connection without a word.
    pub(crate) fn kill(self) {
        if let MaybeTlsStream::Plain(stream) = self.socket.get_ref() {
            let _ = stream.set_zero_linger();
        }
    }
}

const PATIENCE: Duration = Duration::from_secs(20);
