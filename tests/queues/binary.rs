//! Bodies that are not UTF-8, where a SockJS session subscribes.

use std::net::SocketAddr;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message as WebSocketMessage;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::client::{Client, with_server};
use crate::common::Frame;

#[test]
fn what_is_not_text_is_refused_where_a_sockjs_session_subscribes() {
    with_server("", |address| async move {
        let mut page = SockJs::connect(address).await;
        page.ask("SUBSCRIBE\nid:s\ndestination:/topic/pictures/*").await;
        let mut other = Client::connect(address).await;
        other.ask("SUBSCRIBE\nid:s\ndestination:/topic/pictures/*", "").await;
        let mut sender = Client::connect(address).await;
        sender.send_binary(b"SEND\ndestination:/topic/elsewhere\nreceipt:r\n\n\xff\0").await;
        assert_eq!(sender.read().await.unwrap().command, "RECEIPT");
        sender.send_binary(b"SEND\ndestination:/topic/pictures/1\nreceipt:r\n\n\xff\0").await;
        let error = sender.read().await.unwrap();
        assert_eq!((error.command.as_str(), error.header("receipt-id")), ("ERROR", Some("r")));
        let reason = "the body is not UTF-8, and /topic/pictures/1 has a subscriber by SockJS, which carries text only; \
                      send text, or have the server set sockjs.binary";
        assert_eq!(error.body, format!("SEND refused: {reason}"));

        // In a transaction nothing of it is done.
        let mut sender = Client::connect(address).await;
        sender.ask("BEGIN\ntransaction:t", "").await;
        sender.ask("SEND\ntransaction:t\ndestination:/topic/pictures/1", "text").await;
        sender.send_binary(b"SEND\ntransaction:t\ndestination:/topic/pictures/2\n\n\xff\0").await;
        sender.send("COMMIT\ntransaction:t\n\n\0").await;
        assert_eq!(sender.error().await, format!("COMMIT refused: {}", reason.replace("/1", "/2")));

        page.ask("UNSUBSCRIBE\nid:s").await;
        let mut sender = Client::connect(address).await;
        sender.send_binary(b"SEND\ndestination:/topic/pictures/3\n\n\xff\0").await;
        let message = other.read().await.unwrap();
        assert_eq!(
            (message.header("destination"), message.header("content-length")),
            (Some("/topic/pictures/3"), Some("1"))
        );
    });
}

#[test]
fn a_queue_hands_what_is_not_text_to_who_can_take_it() {
    with_server("", |address| async move {
        let mut page = SockJs::connect(address).await;
        page.ask("SUBSCRIBE\nid:s\ndestination:/queue/a").await;
        let mut sender = Client::connect(address).await;
        sender.send_binary(b"SEND\ndestination:/queue/a\n\n\xff\0").await;
        sender.ask("SEND\ndestination:/queue/a", "text").await;
        assert_eq!(page.read().await.body, "text");
        sender.ask("SUBSCRIBE\nid:s\ndestination:/queue/a", "").await;
        let message = sender.message().await;
        assert_eq!((message.header("content-length"), message.header("redelivered")), (Some("1"), None));
    });
}

#[test]
fn what_is_not_text_comes_in_base64_where_that_is_the_setting() {
    with_server("[sockjs]\nbinary = \"base64\"", |address| async move {
        let mut page = SockJs::connect(address).await;
        for kind in ["topic", "queue"] {
            page.ask(&format!("SUBSCRIBE\nid:{kind}\ndestination:/{kind}/a")).await;
            let mut sender = Client::connect(address).await;
            sender
                .send_binary(
                    format!("SEND\ndestination:/{kind}/a\n\n")
                        .into_bytes()
                        .iter()
                        .copied()
                        .chain(*b"\xff\xfe\0")
                        .collect::<Vec<_>>(),
                )
                .await;
            let message = page.read().await;
            assert_eq!((message.header("content-transfer-encoding"), message.body.as_str()), (Some("base64"), "//4="));
        }
    });
}

#[test]
fn what_is_left_out_is_told_and_counted_at_once() {
    with_server("[sockjs]\nbinary = \"leave-out\"", |address| async move {
        let mut page = SockJs::connect(address).await;
        page.ask("SUBSCRIBE\nid:s\ndestination:/topic/a").await;
        let mut sender = Client::connect(address).await;
        sender.send_binary(b"SEND\ndestination:/topic/a\n\n\xff\0").await;
        sender.ask("SEND\ndestination:/topic/a", "text").await;
        let message = page.read().await;
        assert_eq!((message.header("dropped"), message.body.as_str()), (Some("1"), "text"));
        sender.ask("SUBSCRIBE\nid:s\ndestination:/topic/$sys/broker", "").await;
        let counters: serde_json::Value = serde_json::from_str(&sender.message().await.body).unwrap();
        assert_eq!(counters["dropped"]["binary"], 1);
    });
}

/// A STOMP client in a SockJS session.
struct SockJs(WebSocketStream<MaybeTlsStream<TcpStream>>, Vec<String>);

impl SockJs {
    async fn connect(address: SocketAddr) -> Self {
        let (socket, _) = connect_async(format!("ws://{address}/ws/000/{}/websocket", address.port())).await.unwrap();
        let mut client = Self(socket, Vec::new());
        client.send("CONNECT\naccept-version:1.2\nhost:h").await;
        assert_eq!(client.read().await.command, "CONNECTED");
        client
    }

    async fn send(&mut self, head: &str) {
        let text = serde_json::to_string(&[format!("{head}\n\n\0")]).unwrap();
        self.0.send(WebSocketMessage::text(text)).await.unwrap();
    }

    async fn ask(&mut self, head: &str) {
        self.send(&format!("{head}\nreceipt:r")).await;
        assert_eq!(self.read().await.command, "RECEIPT");
    }

    async fn read(&mut self) -> Frame {
        while self.1.is_empty() {
            let next = tokio::time::timeout(crate::common::PATIENCE, self.0.next()).await.unwrap();
            let text = next.unwrap().unwrap().into_text().unwrap();
            if let Some(messages) = text.strip_prefix('a') {
                self.1 = serde_json::from_str(messages).unwrap();
            }
        }
        Frame::parse(&self.1.remove(0))
    }
}
