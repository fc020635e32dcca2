//! What bounds an HTTP request: its head and its body, in octets and in time.

use std::time::Duration;

use tokio::time::Instant;

use crate::common::Server;
use crate::sockjs::Http;

#[tokio::test]
async fn a_head_that_comes_octet_by_octet_is_cut_off_in_time() {
    let server = Server::start(1, "metrics.enabled = false\nserver.http_header_timeout = \"500ms\"");
    let mut client = Http::open(server.address).await;
    let begun = Instant::now();
    let mut said = None;
    while said.is_none() {
        client.write("x").await;
        said = tokio::time::timeout(Duration::from_millis(50), client.closed()).await.ok();
        assert!(begun.elapsed() < Duration::from_secs(5), "it may still write");
    }
    assert!(begun.elapsed() >= Duration::from_millis(500));
}

#[tokio::test]
async fn a_connection_without_a_request_is_closed_in_time() {
    let server = Server::start(1, "metrics.enabled = false\nserver.http_header_timeout = \"300ms\"");
    let mut mute = Http::open(server.address).await;
    let mut idle = Http::open(server.address).await;
    assert_eq!(idle.post("/ws/0/unknown/xhr_send", "[]").await.0, 404);
    assert_eq!(mute.closed().await, "");
    assert_eq!(idle.closed().await, "");
}

#[tokio::test]
async fn a_body_that_takes_too_long_is_answered_408() {
    let server = Server::start(1, "server.http_body_timeout = \"300ms\"");
    for path in ["/api/v1/events", "/ws/0/a/xhr_send"] {
        let mut client = Http::open(server.address).await;
        client.write(&format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n[")).await;
        let (status, body) = client.answer().await;
        assert_eq!(status, 408, "{path}: {body}");
        assert!(body.contains("took too long to come"), "{body}");
        assert_eq!(client.closed().await, "");
    }
}

#[tokio::test]
async fn a_head_of_the_limit_is_taken_and_a_longer_one_answered_431() {
    let server = Server::start(1, "metrics.enabled = false\nserver.http_head_bytes = \"16KiB\"");
    let head = |length: usize| {
        let start = "GET /ws HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ";
        format!("{start}{}\r\n\r\n", "x".repeat(length - start.len() - 4))
    };
    let mut client = Http::open(server.address).await;
    client.write(&head(16 * 1024 - 1)).await;
    assert_eq!(client.answer().await.0, 200);
    let mut client = Http::open(server.address).await;
    client.write(&head(16 * 1024 + 1)).await;
    assert_eq!(client.answer().await.0, 431);
}
