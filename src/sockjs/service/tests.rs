use std::cell::Cell;
use std::rc::Rc;

use http::StatusCode;
use http_body_util::Full;
use tokio::task::LocalSet;

use super::counted::Counted;
use super::home::Sessions;
use super::session_io::{HttpSession, SessionIo};
use super::websocket_io::SockJsWebSocketIo;
use super::*;
use crate::net::websocket::RawWebSocket;
use crate::sockjs::Transports;

/// Sends each message back, and on `close` closes.
struct Echo;

impl Connections for Echo {
    fn accept(&self, io: Box<dyn MessageIo>, _client: Client) {
        tokio::task::spawn_local(async move {
            let mut socket = Socket::new(io);
            while let Some(message) = socket.recv().await {
                if message == "close" {
                    return socket.close(3000, "Go away!").await;
                }
                socket.send(&message);
            }
        });
    }
}

/// `Connection`'s documentation lists them; that of its own parts is held by its own test.
#[test]
fn transports_hold_what_the_documentation_says() {
    const DOCUMENTATION: &str = include_str!("../../net/connection.rs");
    // What `Rc` puts in front.
    const RC_COUNTS: usize = 16;
    for told in [
        format!("| {} | `Counted<RawWebSocket>`", size_of::<Counted<RawWebSocket>>()),
        format!("SockJS on a WebSocket {},", size_of::<Counted<SockJsWebSocketIo>>()),
        format!("| {} | `HttpSession`", size_of::<HttpSession>() + RC_COUNTS),
        format!("| {} | `Counted<SessionIo>`", size_of::<Counted<SessionIo>>()),
    ] {
        assert!(DOCUMENTATION.contains(&told), "not told: {told}");
    }
}

#[test]
fn a_session_survives_between_polls_and_loses_nothing() {
    serve(Settings::conformance(), async |peer| {
        assert_eq!(peer.post("/0/s/xhr").await, "o\n");
        for n in 0..50 {
            assert_eq!(peer.send("/1/s/xhr_send", &format!("[\"{n}\",\"{n}b\"]")).await, StatusCode::NO_CONTENT);
        }
        let expected: Vec<String> = (0..50).flat_map(|n| [format!("\"{n}\""), format!("\"{n}b\"")]).collect();
        let mut received = Vec::new();
        while received.len() < expected.len() {
            let frame = peer.post("/2/s/xhr").await;
            let inside = frame.strip_prefix("a[").and_then(|rest| rest.strip_suffix("]\n")).expect("messages");
            received.extend(inside.split(',').map(str::to_owned));
        }
        assert_eq!(received, expected);
    });
}

#[tokio::test]
async fn a_long_body_for_a_session_that_is_not_there_is_read_to_its_end_and_not_kept() {
    let left = Cell::new(3_u32);
    let piece = |_| async {
        left.set(left.get().checked_sub(1)?);
        Some((Ok::<_, std::convert::Infallible>(http_body::Frame::data(Bytes::from(vec![b' '; 40_000]))), ()))
    };
    let body = http_body_util::StreamBody::new(Box::pin(futures_util::stream::unfold((), piece)));
    let known = async {
        assert_eq!(left.get(), 1, "it is asked before the rest comes");
        Err(SendError::UnknownSession)
    };
    let collected = collect(body, 200_000, known).await;
    assert!(matches!(collected, Err(BodyError::Unwanted(SendError::UnknownSession))), "{collected:?}");
    assert_eq!(left.get(), 0);
}

#[tokio::test]
async fn nobody_is_asked_for_a_body_of_usual_size() {
    let asked = async { panic!("it asks") };
    let collected = collect(Full::new(Bytes::from(vec![b' '; UNASKED_BYTES])), 200_000, asked).await;
    assert_eq!(collected.map(|body| body.len()).ok(), Some(UNASKED_BYTES));
}

#[test]
fn a_long_message_is_taken_where_its_session_is_and_answered_with_404_where_it_is_not() {
    serve(Settings { payload_bytes: 200_000, inbox_bytes: 200_000, ..Settings::conformance() }, async |peer| {
        assert_eq!(peer.post("/0/s/xhr").await, "o\n");
        let long = format!("[\"{}\"]", "x".repeat(2 * UNASKED_BYTES));
        assert_eq!(peer.send("/1/s/xhr_send", &long).await, StatusCode::NO_CONTENT);
        assert_eq!(peer.send("/1/none/xhr_send", &long).await, StatusCode::NOT_FOUND);
        assert_eq!(
            peer.send("/1/s/xhr_send", &format!("[\"{}\"]", "x".repeat(200_000))).await,
            StatusCode::PAYLOAD_TOO_LARGE
        );
    });
}

/// Breaks down on connections that ask for it.
#[derive(Default)]
struct Fragile {
    panics: Cell<u32>,
}

impl Connections for Fragile {
    fn accept(&self, io: Box<dyn MessageIo>, client: Client) {
        assert_ne!(client.query, "panic", "on purpose");
        Echo.accept(io, client);
    }

    fn handle_panic(&self) {
        self.panics.set(self.panics.get() + 1);
    }
}

#[test]
fn a_panic_costs_its_connection_alone_and_is_told() {
    let fragile = Rc::new(Fragile::default());
    serve_with(Settings::conformance(), Rc::clone(&fragile) as Rc<dyn Connections>, async |peer| {
        assert_eq!(peer.ask("POST", "/0/a/xhr?panic", &[], "").await.0, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(peer.post("/0/b/xhr").await, "o\n");
    });
    assert_eq!(fragile.panics.get(), 1);
}

#[test]
fn a_streaming_receiver_that_vanished_is_noticed_at_once() {
    serve(Settings::conformance(), async |peer| {
        let mut body = peer.open("/0/s/xhr_streaming").await;
        assert_eq!(next(&mut body).await.map(|prelude| prelude.len()), Some(2049));
        assert_eq!(next(&mut body).await.as_deref(), Some("o\n"));
        drop(body);
        assert_eq!(peer.counters(Transport::XhrStreaming).open, 1);
        settle().await;
        assert_eq!(peer.counters(Transport::XhrStreaming).open, 0);
        assert_eq!(peer.tail("/0/s/xhr_streaming").await, "c[1002,\"Connection interrupted\"]\n");
    });
}

#[test]
fn a_silent_receiver_gets_heartbeats() {
    serve(Settings::conformance(), async |peer| {
        let mut body = peer.open("/0/s/xhr_streaming").await;
        for expected in ["h", "o", "h\n", "h\n"] {
            assert!(next(&mut body).await.expect("a frame").starts_with(expected));
        }
    });
}

#[test]
fn ten_thousand_abandoned_sessions_leave_nothing_behind() {
    let settings = Settings { disconnect_delay: Duration::from_millis(200), ..Settings::conformance() };
    serve(settings, async |peer| {
        for n in 0..10_000 {
            let path = format!("/0/{n}/{}", if n % 2 == 0 { "xhr" } else { "xhr_streaming" });
            if n % 4 == 0 {
                drop(peer.open(&path).await)
            } else {
                let _ = next(&mut peer.open(&path).await).await;
            }
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        let (sessions, capacity) = peer.sessions.size();
        assert_eq!(sessions, 0);
        assert!(capacity <= 2048, "memory for {capacity} sessions");
        let open = Transport::ALL.map(|transport| peer.counters(transport).open);
        assert_eq!(open, [0; 7]);
        assert_eq!(peer.counters(Transport::Xhr).opened, 5000);
    });
}

#[test]
fn a_client_that_only_sends_is_bounded() {
    let settings = Settings { disconnect_delay: Duration::from_secs(600), ..Settings::conformance() };
    serve(settings, async |peer| {
        assert_eq!(peer.post("/0/s/xhr").await, "o\n");
        let body = format!("[\"{}\"]", "x".repeat(900));
        let mut taken = 0;
        while peer.send("/0/s/xhr_send", &body).await == StatusCode::NO_CONTENT {
            taken += body.len();
            assert!(taken < 300_000, "{taken} octets are taken of a client that takes none");
        }
        assert_eq!(peer.send("/0/s/xhr_send", &body).await, StatusCode::SERVICE_UNAVAILABLE);
        // What was refused is not taken later.
        let mut back = 0;
        while back < taken {
            back += peer.post("/0/s/xhr").await.split(',').count() * body.len();
        }
        assert_eq!(back, taken);
    });
}

#[test]
fn a_session_cannot_be_taken_over() {
    serve(Settings::conformance(), async |peer| {
        let own: &[_] = &[("origin", "https://a"), ("authorization", "Bearer x")];
        assert_eq!(peer.ask("POST", "/0/s/xhr", own, "").await, (StatusCode::OK, "o\n".into()));
        for foreign in [
            &[("origin", "https://b"), ("authorization", "Bearer x")][..],
            &[("origin", "https://a"), ("authorization", "Bearer y")],
            &[("origin", "https://a")],
            &[],
        ] {
            let refused = (StatusCode::FORBIDDEN, "The session belongs to another client.".to_owned());
            assert_eq!(peer.ask("POST", "/0/s/xhr", foreign, "").await, refused);
            assert_eq!(peer.ask("POST", "/0/s/xhr_send", foreign, "[\"a\"]").await, refused);
            assert_eq!(peer.ask("POST", "/0/s/jsonp_send", foreign, "[\"a\"]").await, refused);
        }
        assert_eq!(peer.ask("GET", "/0/s/jsonp?c=x", &own[1..], "").await.0, StatusCode::FORBIDDEN);
        assert_eq!(peer.ask("POST", "/0/s/xhr_send", own, "[\"a\"]").await.0, StatusCode::NO_CONTENT);
        assert_eq!(peer.ask("POST", "/0/s/xhr", own, "").await.1, "a[\"a\"]\n");
    });
}

#[test]
fn an_origin_that_is_not_listed_is_refused_on_each_transport() {
    let settings = Settings { origins: vec!["https://a".into()], ..Settings::conformance() };
    serve(settings, async |peer| {
        let upgrade = [("upgrade", "websocket"), ("connection", "upgrade"), ("origin", "https://b")];
        for (method, path, headers) in [
            ("POST", "/0/s/xhr", &upgrade[2..]),
            ("POST", "/0/s/xhr_send", &upgrade[2..]),
            ("POST", "/0/s/xhr_streaming", &upgrade[2..]),
            ("GET", "/0/s/eventsource", &upgrade[2..]),
            ("GET", "/0/s/htmlfile?c=x", &upgrade[2..]),
            ("GET", "/0/s/jsonp?c=x", &upgrade[2..]),
            ("POST", "/0/s/jsonp_send", &upgrade[2..]),
            ("GET", "/0/s/websocket", &upgrade),
            ("GET", "/websocket", &upgrade),
            ("GET", "", &upgrade),
        ] {
            let refused = (StatusCode::FORBIDDEN, "This origin is not allowed.".to_owned());
            assert_eq!(peer.ask(method, path, headers, "[\"a\"]").await, refused, "{path}");
        }
        assert_eq!(peer.ask("POST", "/0/s/xhr", &[("origin", "https://a")], "").await.0, StatusCode::OK);
    });
}

#[test]
fn an_address_has_only_so_many_sessions() {
    let settings = Settings { sessions_per_address: 2, ..Settings::conformance() };
    serve(settings, async |peer| {
        assert_eq!(peer.post("/0/1/xhr").await, "o\n");
        assert_eq!(peer.post("/0/2/xhr").await, "o\n");
        let refused = (StatusCode::TOO_MANY_REQUESTS, "There are too many sessions of this address.".to_owned());
        assert_eq!(peer.ask("POST", "/0/3/xhr", &[], "").await, refused);
        tokio::time::sleep(Duration::from_secs(6)).await;
        assert_eq!(peer.post("/0/3/xhr").await, "o\n");
    });
}

#[test]
fn the_iframe_page_loads_the_client_from_its_own_mount() {
    serve(Settings::conformance(), async |peer| {
        let (status, page) = peer.ask("GET", "/iframe-1.6.1.html", &[], "").await;
        assert_eq!(status, StatusCode::OK);
        assert!(page.contains("<script src=\"/echo/sockjs.min.js?v=1.6.1\"></script>"));
        let tag = answer::etag(page.as_bytes());
        let known = peer.ask("GET", "/iframe-x.html", &[("if-none-match", &tag)], "").await;
        assert_eq!(known, (StatusCode::NOT_MODIFIED, String::new()));
        let (status, script) = peer.ask("GET", "/sockjs.min.js?v=1.6.1", &[], "").await;
        assert_eq!((status, script.len()), (StatusCode::OK, answer::CLIENT.len()));
    });
}

#[test]
fn messages_and_octets_are_counted_for_each_transport() {
    serve(Settings::conformance(), async |peer| {
        assert_eq!(peer.post("/0/s/xhr").await, "o\n");
        peer.send("/0/s/xhr_send", "[\"ab\",\"c\"]").await;
        assert_eq!(peer.post("/0/s/xhr").await, "a[\"ab\",\"c\"]\n");
        let expected = Reading { opened: 1, open: 1, messages_in: 2, bytes_in: 3, messages_out: 2, bytes_out: 7 };
        assert_eq!(peer.counters(Transport::Xhr), expected);
        assert_eq!(peer.counters(Transport::Jsonp), Reading::default());
    });
}

#[test]
fn a_closed_session_says_so_for_a_while() {
    serve(Settings::conformance(), async |peer| {
        assert_eq!(peer.post("/0/s/xhr").await, "o\n");
        peer.send("/0/s/xhr_send", "[\"close\"]").await;
        for _ in 0..3 {
            assert_eq!(peer.post("/0/s/xhr").await, "c[3000,\"Go away!\"]\n");
        }
        tokio::time::sleep(Duration::from_secs(6)).await;
        assert_eq!(peer.post("/0/s/xhr").await, "o\n");
    });
}

#[test]
fn a_transport_that_is_not_offered_is_not_found() {
    let settings = Settings { transports: Transports::ALL.without(Transport::Xhr), ..Settings::conformance() };
    serve(settings, async |peer| {
        assert_eq!(peer.ask("POST", "/0/s/xhr", &[], "").await.0, StatusCode::NOT_FOUND);
        assert_eq!(peer.ask("GET", "/0/s/jsonp?c=x", &[], "").await.1, "/**/x(\"o\");\r\n");
    });
}

struct Peer {
    service: Service,
    sessions: Sessions,
}

impl Peer {
    async fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Response<Body> {
        let mut request = Request::builder().method(method).uri(format!("/echo{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::from(body.to_owned()))).expect("a request");
        let below = path.split('?').next().unwrap_or_default();
        self.service.handle(request, below, "10.0.0.1:1".into()).await
    }

    async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> (StatusCode, String) {
        let response = self.request(method, path, headers, body).await;
        let status = response.status();
        (status, rest(response.into_body()).await)
    }

    async fn post(&self, path: &str) -> String {
        self.ask("POST", path, &[], "").await.1
    }

    async fn send(&self, path: &str, body: &str) -> StatusCode {
        let status = self.ask("POST", path, &[], body).await.0;
        settle().await;
        status
    }

    async fn open(&self, path: &str) -> Body {
        self.request("POST", path, &[], "").await.into_body()
    }

    /// What a streaming response says after its prelude.
    async fn tail(&self, path: &str) -> String {
        let mut body = self.open(path).await;
        let _ = next(&mut body).await;
        next(&mut body).await.unwrap_or_default()
    }

    fn counters(&self, transport: Transport) -> Reading {
        self.service.read_counters(transport)
    }
}

/// Runs the script against a service of [`Echo`], on a clock that jumps while all are idle.
fn serve(settings: Settings, script: impl AsyncFnOnce(Peer)) {
    serve_with(settings, Rc::new(Echo), script);
}

fn serve_with(settings: Settings, connections: Rc<dyn Connections>, script: impl AsyncFnOnce(Peer)) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    let websocket = websocket::Settings { max_message_bytes: 1000, ping: Duration::ZERO, deflate: None };
    LocalSet::new().block_on(&runtime, async {
        let (service, home) = Service::new(settings, websocket, &[], 100_000, 1).remove(0);
        let sessions = Sessions::default();
        tokio::task::spawn_local(home.serve(sessions.clone(), connections));
        script(Peer { service, sessions }).await;
    });
}

async fn next(body: &mut Body) -> Option<String> {
    use bytes::Buf as _;
    let mut octets = body.frame().await?.ok()?.into_data().ok()?;
    let octets = octets.copy_to_bytes(octets.remaining());
    Some(String::from_utf8(octets.into()).expect("UTF-8"))
}

async fn rest(mut body: Body) -> String {
    let mut all = String::new();
    while let Some(part) = next(&mut body).await {
        all.push_str(&part);
    }
    all
}

/// Lets every task go as far as it can.
async fn settle() {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}
