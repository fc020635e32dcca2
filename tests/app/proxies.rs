//! Where a client comes from, through proxies, and from whose page.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::common::{PATIENCE, Server};

#[tokio::test]
async fn limits_count_for_the_client_that_a_trusted_proxy_names_and_nobody_elses_word_counts() {
    let limit = "metrics.enabled = false\nlimits.connections_per_address = 1\nserver.trusted_proxies";
    let server = Server::start(1, &format!("{limit} = [\"127.0.0.0/8\"]"));
    let from = |address: &str| upgrade("", &format!("X-Forwarded-For: 9.9.9.9, {address}\r\n"));
    let (_first, said) = talk(server.address, &from("203.0.113.1")).await;
    assert!(said.contains("CONNECTED\n"), "{said}");
    let (_second, said) = talk(server.address, &from("203.0.113.2")).await;
    assert!(said.contains("CONNECTED\n"), "{said}");
    let (_third, said) = talk(server.address, &from("203.0.113.1")).await;
    assert!(said.contains("this address has 1 connections, as many as it may"), "{said}");

    let server = Server::start(1, &format!("{limit} = [\"192.0.2.1\"]"));
    let (_first, said) = talk(server.address, &from("203.0.113.1")).await;
    assert!(said.contains("CONNECTED\n"), "{said}");
    let (_second, said) = talk(server.address, &from("203.0.113.2")).await;
    assert!(said.starts_with("HTTP/1.1 503 "), "{said}");
}

#[tokio::test]
async fn the_proxy_protocol_names_the_client_before_anything_else_is_said() {
    let server = Server::start(
        1,
        "metrics.enabled = false\nlimits.connections_per_address = 1\nserver.trusted_proxies = [\"127.0.0.1\"]\n\
         server.proxy_protocol = true",
    );
    let from = |address: &str| upgrade(&format!("PROXY TCP4 {address} 127.0.0.1 5000 80\r\n"), "");
    let (_first, said) = talk(server.address, &from("203.0.113.1")).await;
    assert!(said.contains("CONNECTED\n"), "{said}");
    let (_second, said) = talk(server.address, &from("203.0.113.2")).await;
    assert!(said.contains("CONNECTED\n"), "{said}");
    let (_third, said) = talk(server.address, &from("203.0.113.1")).await;
    assert!(said.starts_with("HTTP/1.1 503 "), "{said}");
    let (_without, said) = talk(server.address, &upgrade("", "")).await;
    assert_eq!(said, "");
}

#[tokio::test]
async fn what_a_browser_sends_by_itself_is_taken_from_the_servers_own_pages_alone_unless_origins_are_listed() {
    let auth =
        "auth.tokens = [{ name = \"ann\", token = \"t\" }]\nauth.users = [{ name = \"ann\", passcode = \"pw\" }]";
    let own = Server::start(1, auth);
    let listed = Server::start(1, &format!("{auth}\nsockjs.origins = [\"https://b.example\"]"));
    let any = Server::start(1, &format!("{auth}\nsockjs.origins = [\"*\"]"));
    let foreign = "Cookie: token=t\r\nOrigin: https://b.example\r\n";
    for (server, headers, expected) in [
        (&own, foreign, "403"),
        (&own, "Cookie: token=t\r\nOrigin: http://a\r\n", "101"),
        (&own, "Cookie: token=t\r\n", "101"),
        (&own, "Authorization: Bearer t\r\nOrigin: https://b.example\r\n", "101"),
        (&own, "Authorization: Basic YW5uOnB3\r\nOrigin: https://b.example\r\n", "403"),
        (&own, "Authorization: Digest x\r\nCookie: token=t\r\nOrigin: https://b.example\r\n", "403"),
        (&own, "Authorization: Basic YW5uOnB3\r\n", "101"),
        (&listed, "Authorization: Basic YW5uOnB3\r\nOrigin: https://b.example\r\n", "101"),
        (&listed, foreign, "101"),
        (&listed, "Cookie: token=t\r\nOrigin: http://a\r\n", "403"),
        (&any, foreign, "101"),
    ] {
        let (_stream, said) = talk(server.address, &upgrade("", headers)).await;
        assert!(said.starts_with(&format!("HTTP/1.1 {expected} ")), "{headers}: {said}");
    }
    let post = |path: &str| format!("POST {path} HTTP/1.1\r\nHost: a\r\n{foreign}Content-Length: 0\r\n\r\n");
    let basic = "POST /api/v1/metrics/reset HTTP/1.1\r\nHost: a\r\nAuthorization: Basic YW5uOnB3\r\n\
                 Origin: https://b.example\r\nContent-Length: 0\r\n\r\n";
    for request in [&post("/ws/0/a/xhr"), &post("/api/v1/events"), basic] {
        let (_stream, said) = talk(own.address, request).await;
        assert!(said.starts_with("HTTP/1.1 403 ") && said.contains("sockjs.origins lists"), "{said}");
    }
}

fn upgrade(before: &str, headers: &str) -> String {
    format!(
        "{before}GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n{headers}\r\n"
    )
}

/// Sends a request and, after an upgrade, CONNECT; answers what came up to the end of the first
/// frame, or all.
async fn talk(address: SocketAddr, request: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut said = Vec::new();
    let mut is_asked = false;
    loop {
        let text = String::from_utf8_lossy(&said).into_owned();
        if text.starts_with("HTTP/1.1 101 ") && text.contains("\r\n\r\n") && !is_asked {
            is_asked = true;
            let connect = b"CONNECT\naccept-version:1.2\nhost:a\n\n\0";
            stream.write_all(&[&[0x81, 0x80 | connect.len() as u8, 0, 0, 0, 0], &connect[..]].concat()).await.unwrap();
        }
        let is_whole =
            if is_asked { text.contains('\0') } else { text.contains("\r\n\r\n") && !text.contains(" 101 ") };
        let mut octets = [0; 4096];
        if is_whole {
            return (stream, text);
        }
        match timeout(PATIENCE, stream.read(&mut octets)).await.unwrap() {
            Ok(0) | Err(_) => return (stream, text),
            Ok(count) => said.extend(&octets[..count]),
        }
    }
}
