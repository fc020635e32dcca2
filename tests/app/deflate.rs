//! permessage-deflate, with a client that sees the frames themselves.

use std::io::Read as _;
use std::time::Duration;

use flate2::read::{DeflateDecoder, DeflateEncoder};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::common::{PATIENCE, Server};

const OFFER: &str = "permessage-deflate; client_max_window_bits";

#[tokio::test]
async fn a_broadcast_is_compressed_alike_for_all_and_reads_as_it_was_sent() {
    let server = Server::start(2, "metrics.enabled = false");
    let body = format!("[{}]", "{\"name\":\"requests\",\"value\":12.5},".repeat(1000));
    let mut frames = Vec::new();
    let mut subscribers = Vec::new();
    for (path, id) in [("/ws", "a"), ("/ws", "b"), ("/ws/000/x/websocket", "a"), ("/ws/000/y/websocket", "long-name")] {
        let mut client = Client::connect(&server, path, Some(OFFER)).await;
        assert!(client.extensions.contains("server_no_context_takeover; client_no_context_takeover"));
        client.stomp(&format!("SUBSCRIBE\nid:{id}\ndestination:/topic/a\nreceipt:r\n\n\0")).await;
        assert!(client.next().await.1.contains("receipt-id:r"));
        subscribers.push((client, id));
    }
    let mut plain = Client::connect(&server, "/ws", None).await;
    assert_eq!(plain.extensions, "");
    plain.stomp("SUBSCRIBE\nid:p\ndestination:/topic/a\nreceipt:r\n\n\0").await;
    assert!(plain.next().await.1.contains("receipt-id:r"));
    // Compressed, too.
    let send = format!("SEND\ndestination:/topic/a\n\n{body}\0");
    let mut publisher = Client::connect(&server, "/ws", Some(OFFER)).await;
    publisher.write(0xc1, &deflated(send.as_bytes())).await;
    for (client, id) in &mut subscribers {
        let (frame, message) = client.next().await;
        assert_eq!(frame[0], 0xc1);
        assert!(frame.len() < body.len() / 50, "{} octets", frame.len());
        let message = if client.is_sockjs { unquoted(&message) } else { message };
        assert!(message.starts_with(&format!("MESSAGE\nsubscription:{id}\n")), "{}", &message[..60]);
        assert!(message.ends_with(&format!("\n\n{body}\0")));
        frames.push(frame);
    }
    let (frame, message) = plain.next().await;
    assert_eq!(frame[0], 0x81);
    assert!(message.ends_with(&format!("\n\n{body}\0")));
    // What follows the heads is the same octets.
    assert_eq!(frames[0][frames[0].len() - 100..], frames[1][frames[1].len() - 100..]);
}

#[tokio::test]
async fn large_messages_keep_their_place_though_they_are_compressed_in_turns() {
    let server = Server::start(2, "metrics.enabled = false\nmailbox.bytes = \"16MiB\"");
    let body = (0..).flat_map(|n: u32| format!("{n},").into_bytes()).take(1_000_000).collect::<Vec<_>>();
    let body = String::from_utf8(body).unwrap();
    let mut subscribers = Vec::new();
    for n in 0..6 {
        let offer = (n > 0).then_some(OFFER);
        let mut client = Client::connect(&server, "/ws", offer).await;
        client.stomp("SUBSCRIBE\nid:t\ndestination:/topic/a\n\n\0").await;
        client.stomp("SUBSCRIBE\nid:u\ndestination:/topic/a\nreceipt:r\n\n\0").await;
        assert!(client.next().await.1.contains("receipt-id:r"));
        subscribers.push(client);
    }
    let mut publisher = Client::connect(&server, "/ws", None).await;
    for n in 0..3 {
        publisher.stomp(&format!("SEND\ndestination:/topic/a\n\n{n} {body}\0")).await;
        publisher.stomp(&format!("SEND\ndestination:/topic/a\n\n{n} small\0")).await;
    }
    publisher.stomp(&format!("SEND\ndestination:/queue/a\nreceipt:q\n\nqueued {body}\0")).await;
    assert!(publisher.next().await.1.contains("receipt-id:q"));
    for (at, client) in subscribers.iter_mut().enumerate() {
        for n in 0..3 {
            for end in [&format!("\n\n{n} {body}\0"), &format!("\n\n{n} small\0")] {
                for _ in 0..2 {
                    let (frame, message) = client.next().await;
                    assert!(message.ends_with(end), "{}", &message[..80]);
                    assert_eq!(frame[0] == 0xc1, at > 0 && message.len() > 1000);
                }
            }
        }
    }
    subscribers[1].stomp("SUBSCRIBE\nid:q\ndestination:/queue/a\n\n\0").await;
    let (frame, message) = subscribers[1].next().await;
    assert!(frame[0] == 0xc1 && message.ends_with(&format!("\n\nqueued {body}\0")));
}

#[tokio::test]
async fn a_large_message_of_a_queue_comes_at_once_to_who_waits_for_it() {
    let server = Server::start(2, "metrics.enabled = false");
    let mut consumer = Client::connect(&server, "/ws", Some(OFFER)).await;
    consumer.stomp("SUBSCRIBE\nid:q\ndestination:/queue/a\nreceipt:r\n\n\0").await;
    assert!(consumer.next().await.1.contains("receipt-id:r"));
    let mut producer = Client::connect(&server, "/ws", None).await;
    let body = "0123456789 ".repeat(80_000);
    for n in 0..3 {
        producer.stomp(&format!("SEND\ndestination:/queue/a\n\n{n} {body}\0")).await;
        // Before anything else wakes the connection, such as a timer
        let message = timeout(Duration::from_secs(5), consumer.next()).await.unwrap().1;
        assert!(message.ends_with(&format!("\n\n{n} {body}\0")));
    }
}

#[tokio::test]
async fn small_messages_leave_as_they_are_and_off_is_off() {
    let server = Server::start(1, "metrics.enabled = false");
    let mut client = Client::connect(&server, "/ws", Some(OFFER)).await;
    client.stomp("SUBSCRIBE\nid:a\ndestination:/topic/a\n\n\0SEND\ndestination:/topic/a\n\nsmall\0").await;
    assert_eq!(client.next().await.0[0], 0x81);
    let server = Server::start(1, "metrics.enabled = false\nwebsocket.deflate = false");
    let mut client = Client::connect(&server, "/ws", Some(OFFER)).await;
    assert_eq!(client.extensions, "");
    client.write(0xc1, &deflated(b"\n")).await;
    assert_eq!(client.close_code().await, 1002);
}

#[tokio::test]
async fn a_message_of_the_limit_when_decompressed_is_taken_and_one_octet_more_is_1009() {
    const MAX: usize = 1024 * 1024 + 64 * 1024;
    let server = Server::start(1, &format!("metrics.enabled = false\nsockjs.payload_bytes = {MAX}"));
    for path in ["/ws", "/ws/000/x/websocket"] {
        let mut client = Client::connect(&server, path, Some(OFFER)).await;
        let of_size = |size: usize| {
            let mut octets = vec![b'\n'; size];
            if client.is_sockjs {
                // An array of nothing, with much space in it.
                octets[0] = b'[';
                octets[size - 1] = b']';
            }
            deflated(&octets)
        };
        let (at_limit, past_it) = (of_size(MAX), of_size(MAX + 1));
        assert!(past_it.len() < 2000);
        client.write(0xc1, &at_limit).await;
        client.stomp("SEND\ndestination:/topic/a\nreceipt:still-there\n\n\0").await;
        assert!(client.next().await.1.contains("still-there"));
        client.write(0xc1, &past_it).await;
        assert_eq!(client.close_code().await, 1009);
    }
}

/// A WebSocket client that takes frames apart by itself.
struct Client {
    stream: TcpStream,
    extensions: String,
    is_sockjs: bool,
}

impl Client {
    /// Connects up to CONNECTED.
    async fn connect(server: &Server, path: &str, offer: Option<&str>) -> Self {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let offer = offer.map_or_else(String::new, |offer| format!("sec-websocket-extensions: {offer}\r\n"));
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n{offer}\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        let extensions = head.lines().find_map(|line| line.strip_prefix("sec-websocket-extensions: "));
        let mut client =
            Self { stream, extensions: extensions.unwrap_or("").into(), is_sockjs: path.ends_with("/websocket") };
        if client.is_sockjs {
            assert_eq!(client.next().await.1, "o");
        }
        client.stomp("CONNECT\naccept-version:1.2\nhost:a\n\n\0").await;
        assert!(client.next().await.1.contains("CONNECTED"));
        client
    }

    async fn stomp(&mut self, frame: &str) {
        let text = if self.is_sockjs { serde_json::to_string(&[frame]).unwrap() } else { frame.into() };
        self.write(0x81, text.as_bytes()).await;
    }

    /// A frame with a mask of zeros.
    async fn write(&mut self, first: u8, payload: &[u8]) {
        let mut frame = vec![first, 0x80 | 127];
        frame.extend((payload.len() as u64).to_be_bytes());
        frame.extend([0; 4]);
        frame.extend(payload);
        self.stream.write_all(&frame).await.unwrap();
    }

    /// The next frame: its octets, and its message.
    async fn next(&mut self) -> (Vec<u8>, String) {
        let (frame, payload) = timeout(PATIENCE, self.frame()).await.unwrap();
        let octets = if frame[0] & 0x40 == 0 { payload } else { inflated(&payload) };
        (frame, String::from_utf8(octets).unwrap())
    }

    async fn close_code(&mut self) -> u16 {
        loop {
            let (frame, payload) = timeout(PATIENCE, self.frame()).await.unwrap();
            if frame[0] == 0x88 {
                return u16::from_be_bytes([payload[0], payload[1]]);
            }
        }
    }

    async fn frame(&mut self) -> (Vec<u8>, Vec<u8>) {
        let mut frame = vec![0; 2];
        self.stream.read_exact(&mut frame).await.unwrap();
        let more = match frame[1] {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let mut len = vec![0; more];
        self.stream.read_exact(&mut len).await.unwrap();
        let size = len.iter().fold(0, |size, octet| size << 8 | usize::from(*octet));
        let mut payload = vec![0; if more == 0 { frame[1].into() } else { size }];
        self.stream.read_exact(&mut payload).await.unwrap();
        (frame.into_iter().chain(len).chain(payload.iter().copied()).collect(), payload)
    }
}

fn unquoted(frame: &str) -> String {
    let messages: Vec<String> = serde_json::from_str(frame.strip_prefix('a').unwrap()).unwrap();
    messages.concat()
}

/// RFC 7692 section 7.2.3.4: with a last block, and an octet after it.
fn deflated(message: &[u8]) -> Vec<u8> {
    let mut octets = Vec::new();
    DeflateEncoder::new(message, flate2::Compression::best()).read_to_end(&mut octets).unwrap();
    octets.push(0);
    octets
}

fn inflated(payload: &[u8]) -> Vec<u8> {
    let mut octets = Vec::new();
    DeflateDecoder::new(&[payload, &[0, 0, 0xff, 0xff, 3, 0]].concat()[..]).read_to_end(&mut octets).unwrap();
    octets
}
