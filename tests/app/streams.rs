//! Streams and channels where they end: with a token, at a limit, and for want of listeners.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::common::{PATIENCE, Server, Stomp};
use crate::sockjs::Http;
use crate::trust::{jwt, signed};

#[tokio::test]
async fn a_stream_ends_with_its_token_says_so_and_carries_nothing_after() {
    let server = Server::start(2, &jwt("metrics.enabled = false"));
    let mut publisher = Stomp::open(server.address).await;
    publisher.send(&format!("CONNECT\naccept-version:1.2\nhost:a\ntoken:{}\n\n\0", signed("ann", 60))).await;
    assert_eq!(publisher.frame().await.command, "CONNECTED");
    let token = signed("ann", 2);
    let mut logs = open(&server, &format!("/ws/logs?access_token={token}"), "").await;
    let mut channels = open(&server, &format!("/ws/channels?access_token={token}"), "").await;
    channels.send(r#"{"action":"subscribe","channel":"logs"}"#).await;
    assert_eq!(object(&channels.text().await)["data"]["type"], "subscription_confirm");
    let mut late = open(&server, "/ws/channels", "").await;
    late.send(&json!({"type": "auth", "id": 1, "payload": {"token": token}}).to_string()).await;
    assert_eq!(object(&late.text().await)["payload"]["user"], "ann");
    let mut events = Http::open(server.address).await;
    events.request("GET", &format!("/stream/logs?events=named&access_token={token}"), "HTTP/1.1", "").await;
    assert_eq!(events.head().await.0, 200);
    let publishing = tokio::spawn(async move {
        loop {
            publisher.publish("/app/logs", "", r#"{"message":"line"}"#).await;
            publisher.settled().await;
        }
    });
    let of_logs = last(&mut logs).await;
    assert_eq!((&of_logs["type"], &of_logs["code"]), (&json!("error"), &json!("TOKEN_EXPIRED")));
    assert_eq!(of_logs["message"], "the token has expired; connect again with a new one");
    for client in [&mut channels, &mut late] {
        let told = last(client).await;
        assert_eq!((&told["channel"], &told["data"]["code"]), (&json!("system"), &json!("TOKEN_EXPIRED")));
    }
    let mut body = String::new();
    while let Some(chunk) = events.chunk().await {
        body += &chunk;
    }
    let (before, end) = body.trim_end().rsplit_once("\n\n").unwrap();
    assert!(before.contains("\nevent: log\ndata: "), "{before}");
    assert!(end.contains("\nevent: end\ndata: {\"type\":\"error\",\"code\":\"TOKEN_EXPIRED\","), "{end}");
    publishing.abort();
}

#[tokio::test]
async fn a_channel_client_stays_with_a_new_token() {
    let server = Server::start(1, &jwt("metrics.enabled = false"));
    let mut client = open(&server, &format!("/ws/channels?access_token={}", signed("ann", 2)), "").await;
    for (name, answer) in [("ann", "authenticated"), ("ann", "authenticated")] {
        client.send(&json!({"type": "auth", "id": 1, "payload": {"token": signed(name, 60)}}).to_string()).await;
        assert_eq!(object(&client.text().await)["payload"]["status"], answer);
    }
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(2500) {
        client.send(r#"{"type":"ping"}"#).await;
        assert_eq!(object(&client.text().await), json!({"type": "pong"}));
    }
}

#[tokio::test]
async fn streams_and_channels_of_one_address_end_at_the_limit_which_is_counted() {
    let limit = "metrics.enabled = false\nlimits.connections_per_address = 1\nserver.trusted_proxies = [\"127.0.0.1\"]";
    let server = Server::start(1, limit);
    let from = |address: &str| format!("X-Forwarded-For: {address}\r\n");
    let text = "this address has 1 connections, as many as it may";
    for (n, (path, first)) in
        [("/ws/logs", "/ws/channels"), ("/ws/channels", "/ws/metrics"), ("/ws/logs", "")].into_iter().enumerate()
    {
        let from = from(&format!("203.0.113.{n}"));
        let mut events = None;
        let _first = if first.is_empty() {
            let open = events.insert(Http::open(server.address).await);
            open.write(&format!("GET /stream/logs HTTP/1.1\r\nHost: a\r\n{from}\r\n")).await;
            assert_eq!(open.head().await.0, 200);
            None
        } else {
            Some(open(&server, first, &from).await)
        };
        let told = last(&mut open(&server, path, &from).await).await;
        let told = told.get("data").unwrap_or(&told);
        assert_eq!((&told["code"], &told["message"]), (&json!("TOO_MANY_CONNECTIONS"), &json!(text)), "{path}");
        let mut events = Http::open(server.address).await;
        events.write(&format!("GET /stream/logs HTTP/1.1\r\nHost: a\r\n{from}\r\n")).await;
        let (status, body) = events.answer().await;
        assert!(status == 200 && body.contains("\nevent: end\n") && body.contains(text), "{status} {body}");
    }
    assert_eq!(counters(&server, &from("203.0.113.99")).await["limits"]["connections_per_address"], 6);
    // Without a proxy in front, the connection itself is one too many.
    let server = Server::start(1, "metrics.enabled = false\nlimits.connections_per_address = 1");
    let _first = open(&server, "/ws/logs", "").await;
    let mut second = Http::open(server.address).await;
    assert_eq!(second.answer().await, (503, format!("{text}\n")));
}

#[tokio::test]
async fn an_event_stream_which_cannot_send_is_not_idle() {
    let server = Server::start(1, "metrics.enabled = false\nlimits.idle = \"400ms\"");
    let mut events = Http::open(server.address).await;
    events.write("GET /stream/logs HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(events.head().await.0, 200);
    // A session that can send is idle by then.
    assert_eq!(Stomp::connect(server.address).await.frame().await.header("message"), Some("Idle"));
    let line = json!({ "message": "still there" });
    let taken = reqwest::Client::new().post(server.url("/api/v1/logs")).json(&line).send().await.unwrap();
    assert_eq!(taken.status(), 202);
    while !events.chunk().await.expect("the stream goes on").contains("still there") {}
}

#[tokio::test]
async fn streams_count_among_the_sessions_of_their_user() {
    let server = Server::start(
        1,
        "metrics.enabled = false\nlimits.sessions_per_user = 1\nauth.tokens = [{ name = \"ann\", token = \"t\" }]",
    );
    let mut first = Http::open(server.address).await;
    first.write("GET /stream/logs?access_token=t HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(first.head().await.0, 200);
    let told = last(&mut open(&server, "/ws/logs?access_token=t", "").await).await;
    assert_eq!(
        (&told["code"], &told["message"]),
        (&json!("TOO_MANY_CONNECTIONS"), &json!("this user has 1 sessions, as many as it may"))
    );
    let mut second = Http::open(server.address).await;
    second.write("GET /stream/logs?access_token=t HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(second.answer().await.1.contains("this user has 1 sessions, as many as it may"));
}

#[tokio::test]
async fn a_ping_of_websocket_itself_keeps_a_stream_open() {
    use futures_util::SinkExt as _;
    let server = Server::start(1, "metrics.enabled = false\nstreams.idle_timeout = \"1s\"");
    let mut pings = open(&server, "/ws/logs", "").await;
    let mut silent = open(&server, "/ws/logs", "").await;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(1500) {
        pings.socket.send(tokio_tungstenite::tungstenite::Message::Ping("x".into())).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(object(&silent.text().await)["code"], "IDLE_TIMEOUT");
    pings.send(r#"{"action":"ping"}"#).await;
    assert_eq!(object(&pings.text().await)["type"], "pong");
}

#[tokio::test]
async fn gauges_are_sampled_at_the_pace_of_the_fastest_listener_and_not_while_nobody_listens() {
    let server = Server::start(1, "metrics.enabled = false\nsystem.interval = \"300ms\"\nstreams.interval = \"1h\"");
    let mut watch = open(&server, "/ws/channels", "").await;
    watch.send(r#"{"action":"subscribe","channel":"$sys/broker"}"#).await;
    watch.text().await;
    // What is published within a second, the counters themselves aside; the first may be of before.
    let published = async |watch: &mut Stomp| {
        let mut at = Vec::new();
        for _ in 0..3 {
            at.push(object(&watch.text().await)["data"]["messages"]["in"].as_u64().unwrap());
        }
        at[2] - at[1] - 1
    };
    assert_eq!(published(&mut watch).await, 0, "nobody listens");
    let slow = open(&server, "/ws/metrics", "").await;
    let count = published(&mut watch).await;
    assert!((2..=5).contains(&count), "each 300 ms, of the settings: {count}");
    let mut fast = open(&server, "/ws/metrics", "").await;
    fast.send(r#"{"action":"configure","interval":100}"#).await;
    let count = published(&mut watch).await;
    assert!((6..=12).contains(&count), "each 100 ms: {count}");
    drop(fast);
    let count = published(&mut watch).await;
    assert!((2..=5).contains(&count), "as before: {count}");
    drop(slow);
    assert_eq!(published(&mut watch).await, 0, "nobody listens any more");
}

/// A WebSocket on that path; `headers` are lines.
async fn open(server: &Server, path: &str, headers: &str) -> Stomp {
    use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
    let mut request = format!("ws://{}{path}", server.address).into_client_request().unwrap();
    for (name, value) in headers.lines().filter_map(|line| line.split_once(": ")) {
        let name: http::HeaderName = name.parse().unwrap();
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    let stream = TcpStream::connect(server.address).await.unwrap();
    let (socket, _) = tokio_tungstenite::client_async(request, stream).await.unwrap();
    Stomp { socket }
}

/// The last text before the server closes.
async fn last(client: &mut Stomp) -> Value {
    use futures_util::StreamExt as _;
    use tokio_tungstenite::tungstenite::Message;
    let mut last = Value::Null;
    loop {
        match tokio::time::timeout(PATIENCE, client.socket.next()).await.expect("it closes").unwrap().unwrap() {
            Message::Text(text) => last = object(text.as_str()),
            Message::Close(close) => {
                assert_eq!(u16::from(close.unwrap().code), 1008, "{last}");
                return last;
            }
            Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
        }
    }
}

async fn counters(server: &Server, headers: &str) -> Value {
    let mut watch = open(server, "/ws/channels", headers).await;
    watch.send(r#"{"action":"subscribe","channel":"$sys/broker"}"#).await;
    watch.text().await;
    object(&watch.text().await)["data"].clone()
}

fn object(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in {text}"))
}
