//! STOMP over plain TCP, against a whole server on a free port.

#![expect(clippy::unwrap_used, reason = "a test's own functions; a panic names the line")]

#[path = "common/peer.rs"]
mod peer;

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use stompbox::app::{App, AppError};
use stompbox::config::Config;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use self::peer::Peer;

#[test]
fn frames_go_in_and_out_in_any_cut() {
    with_server("", async |server| {
        let mut subscriber = server.connected().await;
        subscriber.send("SUBSCRIBE\nid:a\ndestination:/topic/tcp\nreceipt:live\n\n\0").await;
        assert_eq!(subscriber.frame().await, "RECEIPT\nreceipt-id:live\n\n");
        let mut publisher = server.connected().await;
        for octet in "SEND\ndestination:/topic/tcp\ncontent-length:3\n\na\0b\0\n".bytes() {
            publisher.stream.write_all(&[octet]).await.unwrap();
        }
        let text = subscriber.until("a\0b\0").await;
        assert!(text.starts_with("MESSAGE\nsubscription:a\nmessage-id:"), "{text}");
        assert!(text.contains("\ncontent-length:3\n"), "{text}");
    });
}

#[test]
fn a_frame_of_a_megabyte_passes_whole() {
    with_server("", async |server| {
        let mut peer = server.connected().await;
        peer.send("SUBSCRIBE\nid:a\ndestination:/topic/big\n\n\0").await;
        let body = "x".repeat(1 << 20);
        peer.send(&format!("SEND\ndestination:/topic/big\n\n{body}\0")).await;
        let message = peer.frame().await;
        assert_eq!(message.split_once("\n\n").unwrap().1.len(), 1 << 20);
    });
}

#[test]
fn after_error_the_server_closes() {
    with_server("", async |server| {
        let mut peer = server.connected().await;
        peer.send("NONSENSE\n\n\0").await;
        let error = peer.frame().await;
        assert!(error.starts_with("ERROR\nmessage:"), "{error}");
        assert_eq!(peer.rest().await, "");
    });
}

#[test]
fn a_peer_for_whom_there_is_no_place_is_told_so() {
    with_server("limits.connections = 1", async |server| {
        let mut first = server.connected().await;
        let text = "the server has 1 connections, as many as it may; try again later";
        let head = "ERROR\nmessage:Limit exceeded\ncontent-type:text/plain\n";
        let told = server.open().await.rest().await;
        assert_eq!(told, format!("{head}content-length:{}\n\n{text}\0\n", text.len()));
        first.send("DISCONNECT\nreceipt:bye\n\n\0").await;
        assert_eq!(first.rest().await, "RECEIPT\nreceipt-id:bye\n\n\0");
        drop(first);
        while !server.try_connect().await {}
    });
}

#[test]
fn after_the_receipt_of_disconnect_the_server_closes() {
    with_server("stomp.disconnect_timeout = \"10ms\"", async |server| {
        let mut peer = server.connected().await;
        peer.send("DISCONNECT\nreceipt:bye\n\n\0").await;
        assert_eq!(peer.rest().await, "RECEIPT\nreceipt-id:bye\n\n\0");
    });
}

#[test]
fn a_peer_that_stops_sending_still_gets_its_answers() {
    with_server("server.shards = 2", async |server| {
        for destination in ["/topic/a", "/queue/a", "/queue/b", "/queue/c"] {
            let mut peer = server.open().await;
            // More than may be open at once, so that some wait for the answers of others.
            let mut text = "CONNECT\naccept-version:1.2\nhost:h\n\n\0".to_owned();
            for number in 0..300 {
                text += &format!("SEND\ndestination:{destination}\nreceipt:{number}\n\nx\0");
            }
            peer.send(&text).await;
            peer.stream.shutdown().await.unwrap();
            let answers = peer.rest().await;
            assert!(answers.starts_with("CONNECTED\n"), "{answers}");
            assert_eq!(answers.matches("RECEIPT\n").count(), 300);
            assert!(answers.ends_with("RECEIPT\nreceipt-id:299\n\n\0"), "{answers}");
        }
    });
}

#[test]
fn a_peer_that_stops_sending_still_gets_what_it_sent_itself() {
    with_server("server.shards = 2", async |server| {
        let mut peer = server.open().await;
        peer.send("CONNECT\naccept-version:1.2\nhost:h\n\n\0SUBSCRIBE\nid:a\ndestination:/topic/a\n\n\0").await;
        peer.send("SEND\ndestination:/topic/a\n\nits own\0").await;
        peer.stream.shutdown().await.unwrap();
        let answers = peer.rest().await;
        assert!(answers.ends_with("\n\nits own\0"), "{answers}");
    });
}

// STOMP 1.2 "RECEIPT": if the client disconnects, previously received frames go on being processed.
#[test]
fn what_a_client_sent_before_it_closed_is_done_and_its_open_transaction_is_not() {
    with_server("server.shards = 2", async |server| {
        for destination in ["/topic/a", "/queue/a", "/queue/b"] {
            let mut subscriber = server.connected().await;
            subscriber.send(&format!("SUBSCRIBE\nid:a\ndestination:{destination}\nreceipt:r\n\n\0")).await;
            subscriber.frame().await;
            let mut sender = server.connected().await;
            let mut text = "BEGIN\ntransaction:t\n\n\0".to_owned();
            text += &format!("SEND\ndestination:{destination}\ntransaction:t\n\nnot committed\0");
            for number in 0..300 {
                text += &format!("SEND\ndestination:{destination}\n\n{number}\0");
            }
            sender.send(&text).await;
            drop(sender);
            for number in 0..300 {
                let message = subscriber.frame().await;
                assert!(message.ends_with(&format!("\n\n{number}")), "{number}: {message}");
            }
        }
    });
}

#[test]
fn each_session_has_an_id_of_its_own() {
    with_server("", async |server| {
        let mut ids = Vec::new();
        for _ in 0..2 {
            let mut peer = server.open().await;
            peer.send("CONNECT\naccept-version:1.2\nhost:h\n\n\0").await;
            let connected = peer.frame().await;
            ids.push(connected.lines().find(|line| line.starts_with("session:")).unwrap().to_owned());
        }
        assert_ne!(ids[0], ids[1]);
    });
}

#[test]
fn a_consumer_that_stops_sending_is_handed_nothing_more() {
    with_server("", async |server| {
        let mut deaf = server.connected().await;
        deaf.send("SUBSCRIBE\nid:t\ndestination:/topic/a\n\n\0SUBSCRIBE\nid:q\ndestination:/queue/a\nreceipt:r\n\n\0")
            .await;
        assert_eq!(deaf.frame().await, "RECEIPT\nreceipt-id:r\n\n");
        deaf.stream.shutdown().await.unwrap();
        assert_eq!(deaf.rest().await, "");
        let mut peer = server.connected().await;
        peer.send("SEND\ndestination:/queue/a\n\njob\0SUBSCRIBE\nid:q\ndestination:/queue/a\n\n\0").await;
        let job = peer.frame().await;
        assert!(job.ends_with("\n\njob") && !job.contains("redelivered"), "{job}");
    });
}

#[test]
fn an_http_request_is_answered_with_a_line_that_people_can_read() {
    with_server("", async |server| {
        let mut peer = server.open().await;
        // In two cuts: the first could still be STOMP's own CONNECT.
        peer.send("CONNECT").await;
        peer.send(" example.org:443 HTTP/1.1\r\nhost: example.org\r\n\r\n").await;
        let answer = peer.rest().await;
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\nconnection: close\r\n"), "{answer}");
        assert!(
            answer.ends_with("This port speaks STOMP over TCP, not HTTP. Browsers connect to the broker's web port.\n")
        );
    });
}

#[test]
fn a_tls_client_hello_is_answered_with_an_alert() {
    with_server("", async |server| {
        let mut peer = server.open().await;
        peer.stream.write_all(b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03").await.unwrap();
        assert_eq!(peer.rest().await, "\x15\x03\x01\x00\x02\x02\x28");
    });
}

#[test]
fn a_peer_that_says_nothing_is_told_and_closed() {
    with_server("stomp.connect_timeout = \"100ms\"", async |server| {
        let error = server.open().await.rest().await;
        assert!(error.starts_with("ERROR\nmessage:"), "{error}");
    });
}

#[test]
fn a_shutdown_ends_the_sessions_with_an_error() {
    let runtime = runtime();
    runtime.block_on(async {
        let server = Server::start("");
        let mut peer = server.connected().await;
        server.stop().await;
        let error = peer.rest().await;
        assert!(error.starts_with("ERROR\nmessage:"), "{error}");
    });
}

#[test]
fn a_port_in_use_is_named_with_its_setting_and_the_way_out() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let config = Config::from_toml(&format!("server.listen = \"127.0.0.1:0\"\ntcp.listen = \"{address}\"")).unwrap();
    let error = App::bind(config, false).err().unwrap();
    assert!(matches!(error, AppError::Listen { setting: "tcp.listen", .. }));
    assert_eq!(
        error.to_string(),
        format!(
            "cannot listen on {address} (tcp.listen): the port is in use; stop the other program or choose another \
             with --tcp-listen ADDR, or serve no TCP with --tcp-listen \"\" (tcp.listen = \"\")"
        )
    );
}

#[test]
fn a_default_port_in_use_does_not_keep_the_rest_from_serving() {
    let config = || Config::from_toml("server.listen = \"127.0.0.1:0\"").unwrap();
    // Whoever has it, this test or another program: the next server does without.
    let _first = App::bind(config(), false).unwrap();
    let second = App::bind(config(), false).unwrap();
    assert_eq!(second.tcp_address(), None);
    assert_ne!(second.address().port(), 0);
}

#[test]
fn without_an_address_there_is_no_listener() {
    let config = Config::from_toml("server.listen = \"127.0.0.1:0\"\ntcp.listen = \"\"").unwrap();
    assert_eq!(App::bind(config, false).unwrap().tcp_address(), None);
}

fn with_server<F: Future<Output = ()>>(settings: &str, script: impl FnOnce(Server) -> F) {
    runtime().block_on(async {
        let script = script(Server::start(settings));
        tokio::time::timeout(Duration::from_secs(20), script).await.unwrap();
    });
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// A running server; it stops with the runtime, or when asked to.
struct Server {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    run: JoinHandle<Result<(), AppError>>,
}

impl Server {
    fn start(settings: &str) -> Self {
        let text = format!(
            "server.listen = \"127.0.0.1:0\"\ntcp.listen = \"127.0.0.1:0\"\nmailbox.bytes = \"4MiB\"\n{settings}"
        );
        let app = App::bind(Config::from_toml(&text).unwrap(), false).unwrap();
        let address = app.tcp_address().unwrap();
        let (stop, stopped) = oneshot::channel();
        let run = tokio::spawn(app.run(async move {
            let _ = stopped.await;
        }));
        Self { address, stop, run }
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.run.await.unwrap().unwrap();
    }

    /// Whether there is a place for another.
    async fn try_connect(&self) -> bool {
        let mut peer = self.open().await;
        let _ = peer.stream.write_all(b"CONNECT\naccept-version:1.2\nhost:h\n\n\0").await;
        peer.frame().await.starts_with("CONNECTED\n")
    }

    async fn open(&self) -> Peer<TcpStream> {
        Peer::of(TcpStream::connect(self.address).await.unwrap())
    }

    async fn connected(&self) -> Peer<TcpStream> {
        self.open().await.connected().await
    }
}
