//! SockJS over HTTP, octet by octet.

use std::collections::HashMap;
use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::common::{PATIENCE, Server, Stomp};

#[tokio::test]
async fn a_session_of_polls_on_one_kept_connection_carries_stomp() {
    let server = Server::start(2, "metrics.enabled = false");
    let mut receive = Http::open(server.address).await;
    let mut send = Http::open(server.address).await;
    assert_eq!(receive.post("/ws/0/poll/xhr", "").await, (200, "o\n".into()));
    for (frame, answer) in [
        ("CONNECT\\naccept-version:1.2\\nhost:a\\n\\n\\u0000", "a[\"CONNECTED\\n"),
        ("SUBSCRIBE\\nid:0\\ndestination:/topic/a\\nreceipt:1\\n\\n\\u0000", "a[\"RECEIPT\\nreceipt-id:1\\n"),
        ("SEND\\ndestination:/topic/a\\n\\nhello\\u0000", "a[\"MESSAGE\\n"),
    ] {
        assert_eq!(send.post("/ws/1/poll/xhr_send", &format!("[\"{frame}\"]")).await, (204, String::new()));
        let (status, frames) = receive.post("/ws/2/poll/xhr", "").await;
        assert_eq!(status, 200);
        assert!(frames.starts_with(answer), "{frames}");
    }
    assert_eq!(send.post("/ws/0/nobody/xhr_send", "[\"x\"]").await.0, 404);
    assert_eq!(send.post("/ws/0/poll/xhr_send", "").await, (500, "Payload expected.".into()));
    assert_eq!(send.post("/ws/0/poll/xhr_send", "[\"x").await, (500, "Broken JSON encoding.".into()));
}

#[tokio::test]
async fn sessions_are_found_whichever_shard_their_requests_arrive_at() {
    let server = Server::start(3, "metrics.enabled = false");
    for number in 0..12 {
        let session = format!("home{number}");
        let mut stream = Stream::open(server.address, &session).await;
        // Each request on a connection of its own: the kernel spreads them.
        for (frame, answer) in [
            ("CONNECT\\naccept-version:1.2\\nhost:a\\n\\n\\u0000", "a[\"CONNECTED\\n"),
            ("SUBSCRIBE\\nid:0\\ndestination:/topic/a\\nreceipt:1\\n\\n\\u0000", "a[\"RECEIPT\\n"),
        ] {
            let path = format!("/ws/0/{session}/xhr_send");
            assert_eq!(Http::open(server.address).await.post(&path, &format!("[\"{frame}\"]")).await.0, 204);
            let frames = stream.http.chunk().await.unwrap();
            assert!(frames.starts_with(answer), "{frames}");
        }
    }
}

#[tokio::test]
async fn a_streaming_response_ends_at_its_limit_and_the_next_goes_on_without_a_gap() {
    let server = Server::start(2, "metrics.enabled = false\nsockjs.response_limit = 4096");
    let mut stream = Stream::connected(server.address, "limit", "").await;
    let mut publisher = Stomp::connect(server.address).await;
    let mut next = 0;
    for number in 0..30 {
        publisher.publish("/topic/a", "", &format!("{number}-{}", "x".repeat(700))).await;
    }
    while next < 30 {
        let mut octets = 2049;
        while let Some(frames) = stream.http.chunk().await {
            octets += frames.len();
            for _ in frames.matches("MESSAGE\\n") {
                assert!(frames.contains(&format!("\\n\\n{next}-x")), "{next}: {frames}");
                next += 1;
            }
            if next == 30 {
                break;
            }
        }
        if next < 30 {
            assert!(octets >= 4096, "it ended after {octets} octets");
            stream = Stream::again(stream.http, "limit").await;
        }
    }
}

#[tokio::test]
async fn a_large_message_is_quoted_in_pieces_and_comes_whole() {
    let server = Server::start(2, "metrics.enabled = false");
    let mut stream = Stream::connected(server.address, "large", "").await;
    let mut publisher = Stomp::connect(server.address).await;
    for n in 0..3 {
        let body = format!("{n} \"é\u{2028}😀\" ").repeat(20_000);
        publisher.publish("/topic/a", "", &body).await;
        publisher.publish("/topic/a", "", "small").await;
        let mut frames = String::new();
        while !frames.ends_with("small\\u0000\"]\n") {
            match stream.http.chunk().await {
                Some(chunk) => frames += &chunk,
                // A frame of this size ends its response.
                None => stream = Stream::again(stream.http, "large").await,
            }
        }
        let messages: Vec<String> =
            frames.lines().flat_map(|frame| serde_json::from_str::<Vec<String>>(&frame[1..]).unwrap()).collect();
        assert_eq!(messages.len(), 2);
        assert!(messages[0].ends_with(&format!("\n\n{body}\0")));
    }
}

#[tokio::test]
async fn a_second_receiver_is_turned_away_and_the_first_goes_on() {
    let server = Server::start(2, "metrics.enabled = false");
    let mut stream = Stream::connected(server.address, "twice", "").await;
    let mut second = Http::open(server.address).await;
    let (status, turned_away) = second.post("/ws/0/twice/xhr_streaming", "").await;
    assert_eq!((status, &turned_away[2049..]), (200, "c[2010,\"Another connection still open\"]\n"));
    let mut publisher = Stomp::connect(server.address).await;
    publisher.publish("/topic/a", "", "still here").await;
    assert!(stream.http.chunk().await.unwrap().contains("still here"));
}

#[tokio::test]
async fn an_aborted_receiver_ends_the_session() {
    let server = Server::start(2, "metrics.enabled = false");
    let stream = Stream::connected(server.address, "abort", "").await;
    drop(stream);
    let mut http = Http::open(server.address).await;
    // The request may overtake the end of the other connection.
    loop {
        let (status, frames) = http.post("/ws/0/abort/xhr_streaming", "").await;
        assert_eq!(status, 200);
        let frames = &frames[2049..];
        if frames == "c[1002,\"Connection interrupted\"]\n" {
            break;
        }
        assert_eq!(frames, "c[2010,\"Another connection still open\"]\n");
    }
    let send = http.post("/ws/0/abort/xhr_send", "[\"\\n\"]").await;
    assert!(matches!(send.0, 204 | 404));
}

#[tokio::test]
async fn http_1_0_gets_its_response_until_the_connection_closes() {
    let server = Server::start(2, "metrics.enabled = false");
    let mut http = Http::open(server.address).await;
    http.request("POST", "/ws/0/old/xhr", "HTTP/1.0", "").await;
    let (status, headers) = http.head().await;
    assert_eq!((status, headers.get("transfer-encoding")), (200, None));
    let mut body = String::new();
    timeout(PATIENCE, http.0.read_to_string(&mut body)).await.unwrap().unwrap();
    assert_eq!(body, "o\n");
    let mut http = Http::open(server.address).await;
    http.request("POST", "/ws/0/older/xhr_streaming", "HTTP/1.0", "").await;
    assert_eq!(http.head().await.0, 200);
    let mut prelude = vec![0; 2049 + 2];
    timeout(PATIENCE, http.0.read_exact(&mut prelude)).await.unwrap().unwrap();
    assert!(prelude.ends_with(b"h\no\n"));
}

#[tokio::test]
async fn a_session_that_never_connects_is_told_and_closed() {
    let server = Server::start(2, "metrics.enabled = false\nstomp.connect_timeout = \"200ms\"");
    let mut stream = Stream::open(server.address, "mute").await;
    let mut said = String::new();
    while let Some(frames) = stream.http.chunk().await {
        said += &frames;
    }
    assert!(said.starts_with("a[\"ERROR\\nmessage:Connect timeout\\n"), "{said}");
    assert!(said.ends_with("c[1008,\"Policy violation\"]\n"), "{said}");
}

#[tokio::test]
async fn a_client_between_two_polls_still_gets_its_error_although_messages_waited() {
    let server = Server::start(1, "metrics.enabled = false\nmailbox.messages = 3");
    let mut http = Http::open(server.address).await;
    http.post("/ws/0/late/xhr", "").await;
    for frame in [
        "CONNECT\\naccept-version:1.2\\nhost:a\\n\\n\\u0000",
        "SUBSCRIBE\\nid:0\\ndestination:/topic/a\\nreceipt:1\\n\\n\\u0000",
    ] {
        http.post("/ws/0/late/xhr_send", &format!("[\"{frame}\"]")).await;
        http.post("/ws/0/late/xhr", "").await;
    }
    let mut publisher = Stomp::connect(server.address).await;
    for _ in 0..5 {
        publisher.publish("/topic/a", "", "x").await;
    }
    publisher.settled().await;
    // Longer than the server lingers for a socket: a poll may come later than that.
    tokio::time::sleep(std::time::Duration::from_millis(1300)).await;
    let mut said = String::new();
    while !said.contains("c[") {
        said += &http.post("/ws/0/late/xhr", "").await.1;
    }
    assert!(said.contains("ERROR\\nmessage:slow consumer"), "{said}");
    assert!(said.ends_with("c[1008,\"Policy violation\"]\n"), "{said}");
}

/// A streaming receiver.
pub(crate) struct Stream {
    pub(crate) http: Http,
}

impl Stream {
    /// Opens a session; the prelude and `o` are read.
    pub(crate) async fn open(address: SocketAddr, session: &str) -> Self {
        let mut stream = Self::again(Http::open(address).await, session).await;
        assert_eq!(stream.http.chunk().await.as_deref(), Some("o\n"));
        stream
    }

    /// The next response of a session.
    pub(crate) async fn again(mut http: Http, session: &str) -> Self {
        http.request("POST", &format!("/ws/0/{session}/xhr_streaming"), "HTTP/1.1", "").await;
        assert_eq!(http.head().await.0, 200);
        assert_eq!(http.chunk().await.map(|prelude| prelude.len()), Some(2049));
        Self { http }
    }

    /// A session that is connected and subscribed to `/topic/a`.
    pub(crate) async fn connected(address: SocketAddr, session: &str, headers: &str) -> Self {
        let mut stream = Self::open(address, session).await;
        let mut send = Http::open(address).await;
        for frame in [
            "CONNECT\\naccept-version:1.2\\nhost:a\\n\\n\\u0000".to_owned(),
            format!("SUBSCRIBE\\nid:0\\ndestination:/topic/a\\nreceipt:1\\n{headers}\\n\\u0000"),
        ] {
            assert_eq!(send.post(&format!("/ws/0/{session}/xhr_send"), &format!("[\"{frame}\"]")).await.0, 204);
            assert!(stream.http.chunk().await.unwrap().starts_with("a[\""));
        }
        stream
    }
}

/// A connection that stays open between requests.
pub(crate) struct Http(BufReader<TcpStream>);

impl Http {
    pub(crate) async fn open(address: SocketAddr) -> Self {
        Self(BufReader::new(TcpStream::connect(address).await.unwrap()))
    }

    pub(crate) async fn post(&mut self, path: &str, body: &str) -> (u16, String) {
        self.request("POST", path, "HTTP/1.1", body).await;
        self.answer().await
    }

    pub(crate) async fn request(&mut self, method: &str, path: &str, version: &str, body: &str) {
        let head = format!("{method} {path} {version}\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len());
        self.0.get_mut().write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    }

    pub(crate) async fn write(&mut self, octets: &str) {
        self.0.get_mut().write_all(octets.as_bytes()).await.unwrap();
    }

    /// Waits until the server closes; answers what it said before that.
    pub(crate) async fn closed(&mut self) -> String {
        let mut said = String::new();
        timeout(PATIENCE, self.0.read_to_string(&mut said)).await.expect("the server closes").unwrap();
        said
    }

    pub(crate) async fn answer(&mut self) -> (u16, String) {
        let (status, headers) = self.head().await;
        let mut body = String::new();
        if let Some(length) = headers.get("content-length") {
            let mut octets = vec![0; length.parse().unwrap()];
            timeout(PATIENCE, self.0.read_exact(&mut octets)).await.unwrap().unwrap();
            body = String::from_utf8(octets).unwrap();
        } else if headers.contains_key("transfer-encoding") {
            while let Some(chunk) = self.chunk().await {
                body += &chunk;
            }
        }
        (status, body)
    }

    pub(crate) async fn head(&mut self) -> (u16, HashMap<String, String>) {
        let status = self.line().await;
        let mut headers = HashMap::new();
        loop {
            let line = self.line().await;
            let Some((name, value)) = line.split_once(": ") else { break };
            headers.insert(name.to_ascii_lowercase(), value.to_owned());
        }
        (status.split(' ').nth(1).unwrap_or_else(|| panic!("no status in {status:?}")).parse().unwrap(), headers)
    }

    /// The next chunk of a chunked body; `None` at its end.
    pub(crate) async fn chunk(&mut self) -> Option<String> {
        let length = usize::from_str_radix(&self.line().await, 16).unwrap();
        let mut octets = vec![0; length + 2];
        timeout(PATIENCE, self.0.read_exact(&mut octets)).await.unwrap().unwrap();
        octets.truncate(length);
        (length > 0).then(|| String::from_utf8(octets).unwrap())
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        timeout(PATIENCE, self.0.read_line(&mut line)).await.expect("the server answers").unwrap();
        line.trim_end().to_owned()
    }
}
