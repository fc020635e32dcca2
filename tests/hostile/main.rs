//! Hostile peers: each beside a client that keeps to the rules and must not notice, against a
//! server whose memory is bounded.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test stops where its own tools fail, and tells its figures"
)]

mod harness;
#[path = "../common/program.rs"]
mod program;

use std::future::pending;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::sleep;

use self::harness::{frame, memory_comes_back, send, session, web_socket, withstands};

#[test]
fn subscribers_that_never_read() {
    withstands(&[], 256, async |address, in_swing| {
        let mut deaf = Vec::new();
        for n in 0..40 {
            let mut stream = narrow(address).await;
            let overflow = ["close", "drop-oldest", "latest"][n % 3];
            send(&mut stream, &format!("SUBSCRIBE\nid:a\ndestination:/topic/load\noverflow:{overflow}\n\n\0")).await;
            deaf.push(stream);
        }
        publish(address, "/topic/load", &"x".repeat(20_000), in_swing).await;
    });
}

#[test]
fn subscribers_that_read_an_octet_at_a_time() {
    withstands(&[], 256, async |address, in_swing| {
        let slow = async {
            let mut slow = Vec::new();
            for _ in 0..40 {
                let mut stream = narrow(address).await;
                send(&mut stream, "SUBSCRIBE\nid:a\ndestination:/topic/load\noverflow:latest\n\n\0").await;
                slow.push(stream);
            }
            loop {
                for stream in &mut slow {
                    let _ = stream.read_u8().await;
                }
                sleep(Duration::from_millis(50)).await;
            }
        };
        let body = "x".repeat(20_000);
        tokio::join!(slow, publish(address, "/topic/load", &body, in_swing));
    });
}

#[test]
fn ten_thousand_connections_that_say_nothing() {
    // Both ends of them are in one test; fewer where the system gives less.
    let files = rlimit::increase_nofile_limit(u64::MAX).unwrap();
    let count = usize::try_from(files.saturating_sub(500)).unwrap().min(10_000);
    println!("{count} connections");
    withstands(&[], 256, move |address, in_swing| async move {
        let mut idle = Vec::new();
        for _ in 0..count {
            idle.push(TcpStream::connect(address).await.unwrap());
        }
        in_swing.send(()).unwrap();
        pending().await
    });
}

#[test]
fn half_a_frame_half_a_head_and_half_a_body_for_ever() {
    withstands(&[], 256, async |address, in_swing| {
        let mut halves = Vec::new();
        for n in 0..300 {
            let (mut stream, begun) = match n % 4 {
                // A frame that announces the largest message, a frame of STOMP without an end
                0 => (web_socket(address, "").await, frame(0x81, &vec![b'\n'; 2 << 20])[..100].to_vec()),
                1 => (session(address).await, frame(0x01, b"SEND\ndestination:/topic/a\ncontent-length:1000000\n\nx")),
                2 => (TcpStream::connect(address).await.unwrap(), b"GET /ws HTTP/1.1\r\nHost: a\r\nX: ".to_vec()),
                _ => {
                    let head = "POST /ws/0/a/xhr_send HTTP/1.1\r\nHost: a\r\nContent-Length: 2000000\r\n\r\n[";
                    (TcpStream::connect(address).await.unwrap(), head.into())
                }
            };
            stream.write_all(&begun).await.unwrap();
            halves.push(stream);
        }
        in_swing.send(()).unwrap();
        loop {
            for stream in &mut halves {
                let _ = stream.write_all(b"\n").await;
            }
            sleep(Duration::from_millis(20)).await;
        }
    });
}

#[test]
fn floods_of_control_frames() {
    withstands(&[], 256, async |address, in_swing| {
        let pings = frame(0x89, &[b'p'; 125]).repeat(500);
        let pongs = frame(0x8a, b"").repeat(5000);
        let mut streams = Vec::new();
        for _ in 0..4 {
            streams.push((session(address).await, pings.clone()));
            streams.push((session(address).await, pongs.clone()));
        }
        in_swing.send(()).unwrap();
        // None of them reads its answers.
        flood(streams).await;
    });
}

#[test]
fn messages_in_empty_fragments_and_ones_without_an_end() {
    withstands(&[], 256, async |address, in_swing| {
        let mut streams = Vec::new();
        for n in 0..8 {
            let mut stream = session(address).await;
            stream.write_all(&frame(0x01, b"SEND\n")).await.unwrap();
            let fragments = if n % 2 == 0 { frame(0x00, b"").repeat(5000) } else { frame(0x00, b"x:y\n").repeat(5000) };
            streams.push((stream, fragments));
        }
        in_swing.send(()).unwrap();
        flood(streams).await;
    });
}

#[test]
fn compressed_bombs() {
    withstands(&[], 256, async |address, in_swing| {
        let bomb = bomb();
        in_swing.send(()).unwrap();
        loop {
            let mut streams = Vec::new();
            for _ in 0..8 {
                let mut stream = web_socket(address, "Sec-WebSocket-Extensions: permessage-deflate\r\n").await;
                let _ = stream.write_all(&frame(0xc1, &bomb)).await;
                streams.push(stream);
            }
            for mut stream in streams {
                let mut answer = Vec::new();
                let _ = stream.read_to_end(&mut answer).await;
                // 1009: too big; or 1002, where compression was not agreed on
                let code = answer
                    .windows(2)
                    .any(|pair| [1009_u16.to_be_bytes(), 1002_u16.to_be_bytes()].contains(&[pair[0], pair[1]]));
                assert!(code, "{}", answer.escape_ascii());
            }
        }
    });
}

#[test]
fn a_thousand_subscriptions_to_everything() {
    withstands(&[], 384, async |address, in_swing| {
        let mut streams = Vec::new();
        for _ in 0..2 {
            let mut stream = session(address).await;
            let all: String = (0..1000)
                .map(|n| format!("SUBSCRIBE\nid:{n}\ndestination:/topic/#\noverflow:drop-oldest\n\n\0"))
                .collect();
            send(&mut stream, &format!("{all}UNSUBSCRIBE\nid:none\nreceipt:all\n\n\0")).await;
            let mut answer = [0; 64];
            let count = stream.read(&mut answer).await.unwrap();
            assert!(answer[..count].windows(8).any(|word| word == b"RECEIPT\n"), "{}", answer.escape_ascii());
            streams.push(stream);
        }
        in_swing.send(()).unwrap();
        let mut octets = vec![0; 1 << 20];
        loop {
            for stream in &mut streams {
                let _ = stream.read(&mut octets).await;
            }
        }
    });
}

#[test]
fn patterns_made_to_blow_up() {
    withstands(&[], 256, async |address, in_swing| {
        // As many wildcards for any words as a session may have, and a thousand of one word.
        let many = (0..1000).map(|n| {
            let wildcards: String = (0..12).map(|bit| if (n >> (bit % 10)) & 1 == 0 { "/*" } else { "/a" }).collect();
            // It matches nothing: what a thousand subscriptions get is another test's.
            format!("/topic{wildcards}/none/#")
        });
        let branching = (0..16).map(|n| format!("/topic/**/a/**{}/{n}/b/**/c", "/*".repeat(8)));
        let mut subscribed = session(address).await;
        for (n, pattern) in many.chain(branching).enumerate() {
            send(&mut subscribed, &format!("SUBSCRIBE\nid:{n}\ndestination:{pattern}\noverflow:latest\n\n\0")).await;
        }
        answered(&mut subscribed).await;
        let name = format!("/topic{}", "/a".repeat(120));
        let mut sender = session(address).await;
        in_swing.send(()).unwrap();
        loop {
            send(&mut sender, &format!("SEND\ndestination:{name}\n\nx\0")).await;
            // A name that matches none is looked up as well.
            send(&mut sender, &format!("SEND\ndestination:/topic{}/c\n\nx\0", "/b".repeat(110))).await;
            answered(&mut sender).await;
            let mut octets = vec![0; 1 << 20];
            let _ = subscribed.try_read(&mut octets);
            sleep(Duration::from_millis(5)).await;
        }
    });
}

#[test]
fn selectors_made_to_blow_up() {
    withstands(&[], 256, async |address, in_swing| {
        let deep = format!("{}1=1{}", "(".repeat(400), ")".repeat(400));
        let mut subscribed = session(address).await;
        for n in 0..200 {
            let like = match n % 3 {
                0 => format!("h LIKE '%{}{n}'", "a".repeat(900)),
                1 => format!("h LIKE '{}{n}'", "%a".repeat(400)),
                _ => format!("h LIKE '%{}_{n}%'", "a".repeat(50)),
            };
            send(&mut subscribed, &format!("SUBSCRIBE\nid:{n}\ndestination:/topic/load\nselector:{like}\n\n\0")).await;
        }
        answered(&mut subscribed).await;
        let value = "a".repeat(8000);
        let mut sender = session(address).await;
        in_swing.send(()).unwrap();
        loop {
            let mut parser = session(address).await;
            send(&mut parser, &format!("SUBSCRIBE\nid:d\ndestination:/topic/load\nselector:{deep}\n\n\0")).await;
            send(&mut sender, &format!("SEND\ndestination:/topic/load\nh:{value}\n\nx\0")).await;
            answered(&mut sender).await;
            sleep(Duration::from_millis(5)).await;
        }
    });
}

#[test]
fn ten_thousand_retained_values_asked_for_again_and_again() {
    withstands(&[], 384, async |address, in_swing| {
        let mut stream = session(address).await;
        let body = "x".repeat(6000);
        for n in 0..10_000 {
            send(&mut stream, &format!("SEND\ndestination:/topic/kept/{n}\nretain:true\n\n{body}\0")).await;
        }
        answered(&mut stream).await;
        in_swing.send(()).unwrap();
        loop {
            let mut asks = session(address).await;
            send(&mut asks, "SUBSCRIBE\nid:a\ndestination:/topic/kept/#\n\n\0").await;
            let mut octets = vec![0; 1 << 20];
            for _ in 0..20 {
                let _ = asks.read(&mut octets).await;
            }
        }
    });
}

#[test]
fn a_selector_of_64_kib_and_an_authorization_of_a_mebibyte() {
    let settings =
        [("STOMPBOX_STOMP__LIMITS__HEADER_LINE_BYTES", "128KiB"), ("STOMPBOX_STOMP__LIMITS__HEAD_BYTES", "256KiB")];
    withstands(&settings, 256, async |address, in_swing| {
        let deep = format!("{}1=1{}", "(".repeat(32_000), ")".repeat(32_000));
        let secret = "x".repeat(1 << 20);
        in_swing.send(()).unwrap();
        loop {
            let mut stream = session(address).await;
            send(&mut stream, &format!("SUBSCRIBE\nid:d\ndestination:/topic/load\nselector:{deep}\n\n\0")).await;
            let mut connect = web_socket(address, "").await;
            send(&mut connect, &format!("CONNECT\naccept-version:1.2\nhost:h\nAuthorization:Bearer {secret}\n\n\0"))
                .await;
            let mut http = TcpStream::connect(address).await.unwrap();
            let _ = http
                .write_all(format!("GET /ws HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {secret}\r\n\r\n").as_bytes())
                .await;
            let mut answer = [0; 64];
            let _ = http.read(&mut answer).await;
            sleep(Duration::from_millis(30)).await;
        }
    });
}

#[test]
fn sockjs_sessions_by_the_thousand() {
    withstands(&[], 384, async |address, in_swing| {
        let mut in_swing = Some(in_swing);
        for n in 0.. {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let request = format!("POST /ws/0/session{n}/xhr HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = [0; 1024];
            let _ = stream.read(&mut answer).await;
            if n == 3000 {
                in_swing.take().unwrap().send(()).unwrap();
            }
            if n > 3000 {
                sleep(Duration::from_millis(1)).await;
            }
        }
    });
}

#[test]
fn what_ten_thousand_abandoned_sockjs_sessions_took_is_given_back() {
    memory_comes_back(8, async |address| {
        let mut stream = TcpStream::connect(address).await.unwrap();
        for n in 0..10_000 {
            let request = format!("POST /ws/0/session{n}/xhr HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            while !answer.ends_with(b"\r\n0\r\n\r\n") {
                answer.push(stream.read_u8().await.unwrap());
            }
        }
    });
}

/// Publishes without a pause for breath, but for what its own turn is worth.
async fn publish(address: SocketAddr, destination: &str, body: &str, in_swing: tokio::sync::oneshot::Sender<()>) {
    let mut stream = session(address).await;
    in_swing.send(()).unwrap();
    loop {
        send(&mut stream, &format!("SEND\ndestination:{destination}\n\n{body}\0")).await;
        sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until the server has done what it was asked before: an attack on a session that is gone attacks
/// nothing.
async fn answered(stream: &mut TcpStream) {
    send(stream, "UNSUBSCRIBE\nid:none\nreceipt:answered\n\n\0").await;
    let mut said = Vec::new();
    while !said.windows(19).any(|octets| octets == b"receipt-id:answered") {
        let mut octets = vec![0; 1 << 16];
        let count = stream.read(&mut octets).await.unwrap();
        said.extend_from_slice(&octets[..count]);
        assert!(count > 0 && !said.windows(6).any(|octets| octets == b"ERROR\n"), "{}", said.escape_ascii());
    }
}

/// Writes to each as much as it takes; who was thrown out is left alone.
async fn flood(streams: Vec<(TcpStream, Vec<u8>)>) {
    loop {
        for (stream, octets) in &streams {
            let _ = stream.try_write(octets);
        }
        sleep(Duration::from_millis(1)).await;
    }
}

/// A session whose socket takes few octets that are not read.
async fn narrow(address: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&address.into()).unwrap();
    socket.set_nonblocking(true).unwrap();
    let mut stream = TcpStream::from_std(socket.into()).unwrap();
    let request = "GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    send(&mut stream, "CONNECT\naccept-version:1.2\nhost:h\n\n\0").await;
    stream
}

/// 64 MiB of line feeds as a raw deflate stream of some 64 KiB.
fn bomb() -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    let piece = vec![b'\n'; 1 << 20];
    for _ in 0..64 {
        encoder.write_all(&piece).unwrap();
    }
    encoder.finish().unwrap()
}
