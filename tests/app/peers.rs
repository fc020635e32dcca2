//! Peers that do not keep to the rules.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use crate::common::{PATIENCE, Server, Stomp};

#[tokio::test]
async fn each_limit_of_stomp_is_taken_and_one_past_it_is_told_in_an_error() {
    let server = Server::start(
        1,
        "metrics.enabled = false\nstomp.limits.header_line_bytes = 512\nstomp.limits.headers = 8\n\
         stomp.limits.head_bytes = 1024\nstomp.limits.body_bytes = 1024\nstomp.limits.subscriptions = 2\n\
         stomp.limits.unconnected_frame_bytes = 600\nstomp.limits.transactions = 1",
    );
    let x = |count: usize| "x".repeat(count);
    let send = |headers: &str, body: &str| format!("SEND\ndestination:/topic/a\n{headers}\n{body}\0");
    let headers = |count: usize| (0..count).map(|n| format!("h{n}:1\n")).collect::<String>();
    let subscribe =
        |count: usize| (0..count).map(|n| format!("SUBSCRIBE\nid:{n}\ndestination:/topic/a\n\n\0")).collect::<String>();
    let cases = [
        (send("", &x(1024)), send("", &x(1025)), "the body has 1025 octets or more; at most 1024 are allowed"),
        (send(&headers(7), ""), send(&headers(8), ""), "the frame has 9 header lines or more; at most 8 are allowed"),
        (
            send(&format!("h:{}\n", x(510)), ""),
            send(&format!("h:{}\n", x(511)), ""),
            "a header line has 513 octets or more; at most 512 are allowed",
        ),
        (subscribe(2), subscribe(3), "this would be subscription 3 of the session; at most 2 are allowed"),
        (
            "BEGIN\ntransaction:a\n\n\0".into(),
            "BEGIN\ntransaction:a\n\n\0BEGIN\ntransaction:b\n\n\0".into(),
            "this would be open transaction 2 of the session; at most 1 are allowed",
        ),
    ];
    for (at_limit, past_it, text) in cases {
        let mut client = Stomp::connect(server.address).await;
        client.send(&at_limit).await;
        client.settled().await;
        let mut client = Stomp::connect(server.address).await;
        client.send(&past_it).await;
        let error = client.frame().await;
        assert_eq!((error.command.as_str(), error.body.as_str()), ("ERROR", text));
        assert!(matches!(client.closed().await.0, 1002 | 1008));
    }
    let mut client = Stomp::open(server.address).await;
    client.send(&format!("CONNECT\naccept-version:1.2\nhost:{}\nx:{}\n\n\0", x(300), x(300))).await;
    assert!(client.frame().await.body.ends_with("at most 600 are allowed before CONNECTED"));
}

#[tokio::test]
async fn a_message_of_the_limit_is_taken_and_one_octet_more_closes_with_1009_and_the_reason() {
    const MAX: usize = 1024 * 1024 + 64 * 1024;
    let server = Server::start(1, &format!("metrics.enabled = false\nsockjs.payload_bytes = {MAX}"));
    let mut client = Stomp::connect(server.address).await;
    client.send(&"\n".repeat(MAX)).await;
    client.settled().await;
    // The client goes on writing: a reset would meet it there, and the reason be lost on its way.
    const LONGER: usize = 8 * MAX;
    for size in [MAX + 1, LONGER] {
        let mut client = Stomp::connect(server.address).await;
        futures_util::SinkExt::send(&mut client.socket, Message::text("\n".repeat(size))).await.unwrap();
        let (code, reason) = client.closed().await;
        assert_eq!(
            (code, reason),
            (1009, format!("the message has {} octets or more; at most {MAX} are allowed", size))
        );
    }
}

#[tokio::test]
async fn what_is_not_stomp_or_not_allowed_is_refused_with_its_reason() {
    let server = Server::start(
        2,
        "auth.users = [{ name = \"ann\", passcode = \"secret\" }]\nstomp.strict_host = true\nstomp.hosts = [\"here\"]",
    );
    for (frame, message, body, code) in [
        ("HELLO\n\n\0", "Malformed frame", "unknown command \"HELLO\"", 1002),
        ("SEND\ndestination:/topic/a\n\n\0", "Not connected", "SEND came before CONNECTED", 1002),
        ("CONNECT\naccept-version:1.2\n\n\0", "Missing header", "CONNECT needs the header host", 1002),
        ("CONNECT\naccept-version:2.0\nhost:here\n\n\0", "No common version", "none of the versions \"2.0\"", 1002),
        ("CONNECT\naccept-version:1.2\nhost:there\n\n\0", "Unknown host", "the host \"there\" is not served", 1008),
        ("CONNECT\naccept-version:1.2\nhost:here\n\n\0", "Access refused", "", 1008),
        ("CONNECT\naccept-version:1.2\nhost:here\nlogin:ann\npasscode:x\n\n\0", "Access refused", "", 1008),
    ] {
        let mut client = Stomp::open(server.address).await;
        client.send(frame).await;
        let error = client.frame().await;
        assert_eq!((error.command.as_str(), error.header("message")), ("ERROR", Some(message)), "{error:?}");
        assert!(error.body.starts_with(body), "{error:?}");
        assert_eq!(client.closed().await.0, code);
    }
    let mut client = Stomp::open(server.address).await;
    client.send("CONNECT\naccept-version:1.2\nhost:here\nlogin:ann\npasscode:secret\n\n\0").await;
    assert_eq!(client.frame().await.header("user-name"), Some("ann"));
}

#[tokio::test]
async fn a_websocket_that_says_nothing_is_told_so_and_closed() {
    let server = Server::start(1, "stomp.connect_timeout = \"200ms\"");
    let mut client = Stomp::open(server.address).await;
    let error = client.frame().await;
    assert_eq!(
        (error.header("message"), error.body.as_str()),
        (Some("Connect timeout"), "no CONNECT came within 200 ms")
    );
    assert_eq!(client.closed().await.0, 1008);
    // One that never stops talking, and says nothing.
    let mut client = Stomp::open(server.address).await;
    let floods = async {
        while futures_util::SinkExt::send(&mut client.socket, Message::Ping("x".repeat(100).into())).await.is_ok() {}
    };
    assert!(timeout(PATIENCE, floods).await.is_ok());
}

#[tokio::test]
async fn a_connection_without_a_request_is_closed() {
    let server = Server::start(1, "server.http_header_timeout = \"200ms\"");
    for begun in ["", "GET / HTTP/1.1\r\nHost:"] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(begun.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    }
}
