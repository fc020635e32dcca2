//! How the server stops.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::common::{Server, Stomp};
use crate::sockjs::{Http, Stream};

#[tokio::test]
async fn every_kind_of_client_is_told_and_the_server_ends_within_the_drain_time() {
    let mut server = Server::start(2, "server.drain_timeout = \"10s\"");
    let address = server.address;
    let idle = TcpStream::connect(address).await.unwrap();
    let mut raw = Stomp::connect(address).await;
    let mut mute = Stomp::open(address).await;
    let stream = TcpStream::connect(address).await.unwrap();
    let mut framed = Stomp::upgrade(stream, address, "/ws/0/framed/websocket").await;
    assert_eq!(framed.text().await, "o");
    let mut streaming = Stream::connected(address, "streaming", "").await;
    let (mut polling, path) = open_poll(address).await;

    server.ask_to_stop();
    for client in [&mut raw, &mut mute] {
        assert_eq!(client.frame().await.header("message"), Some("Server shutting down"));
        assert_eq!(client.closed().await, (1013, "Try again later".into()));
    }
    assert!(framed.text().await.starts_with("a[\"ERROR\\nmessage:Server shutting down\\n"));
    assert_eq!(framed.text().await, "c[1013,\"Try again later\"]");
    assert_eq!(framed.closed().await.0, 1000);
    let mut said = String::new();
    while let Some(frames) = streaming.http.chunk().await {
        said += &frames;
    }
    assert!(said.starts_with("a[\"ERROR\\nmessage:Server shutting down\\n"), "{said}");
    assert!(said.ends_with("c[1013,\"Try again later\"]\n"), "{said}");
    let (status, frames) = polling.answer().await;
    assert!(status == 200 && frames.starts_with("a[\"ERROR\\nmessage:Server shutting down\\n"), "{frames}");
    let mut next = Http::open(address).await;
    assert_eq!(next.post(&path, "").await, (200, "c[1013,\"Try again later\"]\n".into()));
    drop((raw, mute, framed, streaming, polling, next));
    let took = server.stopped().await;
    assert!(took < Duration::from_secs(5), "it took {took:?}");
    drop(idle);
    assert!(TcpStream::connect(address).await.is_err());
}

/// A poll that the server holds: a second one of its session is turned away. Where the second
/// came first it is held itself, and the next session is tried.
async fn open_poll(address: SocketAddr) -> (Http, String) {
    for number in 0.. {
        let path = format!("/ws/0/polling{number}/xhr");
        let mut first = Http::open(address).await;
        assert_eq!(first.post(&path, "").await.1, "o\n");
        first.request("POST", &path, "HTTP/1.1", "").await;
        let mut second = Http::open(address).await;
        if let Ok((_, frame)) = timeout(Duration::from_secs(2), second.post(&path, "")).await {
            assert_eq!(frame, "c[2010,\"Another connection still open\"]\n");
            return (first, path);
        }
    }
    unreachable!("the numbers do not end")
}

#[tokio::test]
async fn a_client_between_two_polls_is_told_and_newcomers_are_turned_away() {
    let mut server = Server::start(2, "server.drain_timeout = \"10s\"");
    let address = server.address;
    let mut polls = Vec::new();
    for number in 0..8 {
        let path = format!("/ws/0/between{number}/xhr");
        assert_eq!(Http::open(address).await.post(&path, "").await.1, "o\n");
        polls.push(path);
    }
    server.ask_to_stop();
    // It turns newcomers away from then on; a session that is asked for too early would be one more to wait for.
    let get = async |page| {
        let mut http = Http::open(address).await;
        http.request("GET", page, "HTTP/1.1", "").await;
        http.answer().await
    };
    while get("/ws/info").await.0 != 503 {}
    for page in ["/ws/info", "/api/v1/health"] {
        assert_eq!(get(page).await, (503, "The server is shutting down.".into()));
    }
    assert_eq!(Http::open(address).await.post("/ws/0/new/xhr", "").await.0, 503);
    for path in polls {
        let mut said = String::new();
        while !said.contains("c[1013,\"Try again later\"]\n") {
            let (status, frames) = Http::open(address).await.post(&path, "").await;
            assert_eq!(status, 200);
            said += &frames;
        }
    }
    let took = server.stopped().await;
    assert!(took < Duration::from_secs(2), "it took {took:?}");
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_request_whose_head_is_not_complete_does_not_hold_the_server_up() {
    let mut server = Server::start(1, "metrics.enabled = false\nserver.drain_timeout = \"1m\"");
    let mut begun = Vec::new();
    for head in ["G", "GET /ws/info HTTP/1.1\r\nHost: a\r\n", "POST /ws/0/a/xhr HTTP/1.1\r\n"] {
        let mut client = Http::open(server.address).await;
        assert_eq!(client.post("/ws/0/unknown/xhr_send", "[]").await.0, 404);
        client.write(head).await;
        begun.push(client);
    }
    let mut first = TcpStream::connect(server.address).await.unwrap();
    first.write_all(b"GET /").await.unwrap();
    // Their octets are there before the signal to stop is.
    Stomp::connect(server.address).await.settled().await;
    server.ask_to_stop();
    let took = server.stopped().await;
    assert!(took < Duration::from_secs(5), "it took {took:?}");
    drop((begun, first));
}

#[tokio::test]
async fn a_client_that_does_not_read_cannot_hold_the_server_up() {
    let mut server =
        Server::start(2, "metrics.enabled = false\nserver.drain_timeout = \"2s\"\nmailbox.bytes = \"64MiB\"");
    let mut slow = Stomp::open_narrow(server.address).await.connected().await;
    slow.subscribe("s", "/topic/a", "").await;
    let streaming = Stream::connected(server.address, "slow", "").await;
    let mut publisher = Stomp::connect(server.address).await;
    let body = "x".repeat(100_000);
    for _ in 0..100 {
        publisher.publish("/topic/a", "", &body).await;
    }
    publisher.settled().await;
    server.ask_to_stop();
    let took = server.stopped().await;
    assert!(took < Duration::from_secs(4), "it took {took:?}");
    drop((slow, streaming));
}

#[tokio::test]
async fn a_server_can_take_over_the_port_at_once() {
    let server = Server::start(2, "metrics.enabled = false");
    let client = Stomp::connect(server.address).await;
    let address = server.address;
    server.stopped().await;
    drop(client);
    assert!(stompbox::net::shard::probe(address).is_ok());
}
