//! STOMP over TLS, against a whole server on a free port.

#![expect(clippy::unwrap_used, reason = "a test's own functions; a panic names the line")]

#[path = "common/peer.rs"]
mod peer;

use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rcgen::{CertifiedKey, KeyPair};
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use socket2::{Domain, Socket, Type};
use stompbox::app::App;
use stompbox::config::{Config, ConfigError};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use self::peer::Peer;

#[test]
fn tls_1_2_and_1_3_carry_frames() {
    with_server("", async |server| {
        for version in [&TLS12, &TLS13] {
            let mut peer = server.tls_with(server.tcp().await, version).await.connected().await;
            peer.send("SUBSCRIBE\nid:a\ndestination:/topic/tls\nreceipt:live\n\n\0").await;
            assert_eq!(peer.frame().await, "RECEIPT\nreceipt-id:live\n\n");
            peer.send("SEND\ndestination:/topic/tls\n\nhello\0").await;
            let message = peer.frame().await;
            assert!(message.starts_with("MESSAGE\nsubscription:a\n") && message.ends_with("\n\nhello"), "{message}");
        }
    });
}

#[test]
fn handshake_and_frames_come_in_any_cut() {
    with_server("", async |server| {
        let (near, mut far) = tokio::io::duplex(1);
        let mut tcp = server.tcp().await;
        tokio::spawn(async move { tokio::io::copy_bidirectional(&mut far, &mut tcp).await });
        let mut peer = server.tls_with(near, &TLS13).await.connected().await;
        peer.send("SEND\ndestination:/topic/a\nreceipt:r\n\nx\0").await;
        assert_eq!(peer.frame().await, "RECEIPT\nreceipt-id:r\n\n");
    });
}

#[test]
fn a_peer_for_whom_there_is_no_place_is_closed() {
    with_server("limits.connections = 1", async |server| {
        let _first = server.tls().await.connected().await;
        let mut second = server.tcp().await;
        let mut told = Vec::new();
        // Closed over what it has sent already, it may be a reset.
        let _ = second.read_to_end(&mut told).await;
        assert!(told.is_empty(), "{:?}", told.escape_ascii().to_string());
    });
}

#[test]
fn a_megabyte_passes_whole_both_ways() {
    with_server("", async |server| {
        let mut peer = server.tls().await.connected().await;
        peer.send("SUBSCRIBE\nid:a\ndestination:/topic/big\n\n\0").await;
        let body: String = (0..1 << 17).map(|n| format!("{n:08}")).collect();
        assert_eq!(body.len(), 1 << 20);
        peer.send(&format!("SEND\ndestination:/topic/big\n\n{body}\0")).await;
        let message = peer.frame().await;
        assert!(message.split_once("\n\n").unwrap().1 == body, "{} octets", message.len());
    });
}

#[test]
fn a_client_that_reads_slowly_gets_all_in_order_and_the_farewell() {
    with_server("", async |server| {
        let mut reader = server.tls_with(server.narrow().await, &TLS13).await.connected().await;
        reader.send("SUBSCRIBE\nid:a\ndestination:/topic/slow\nreceipt:live\n\n\0").await;
        reader.frame().await;
        let mut publisher = server.tls().await.connected().await;
        let body = |n: usize| format!("{n:04}").repeat(8 * 1024);
        for n in 0..64 {
            publisher.send(&format!("SEND\ndestination:/topic/slow\nreceipt:{n}\n\n{}\0", body(n))).await;
            assert_eq!(publisher.frame().await, format!("RECEIPT\nreceipt-id:{n}\n\n"));
        }
        // It cannot all stand in the kernel: the rest waits in records and in the mailbox.
        for n in 0..64 {
            let message = reader.frame().await;
            assert!(message.split_once("\n\n").unwrap().1 == body(n), "message {n}");
        }
        reader.send("DISCONNECT\nreceipt:bye\n\n\0").await;
        assert_eq!(reader.rest().await, "RECEIPT\nreceipt-id:bye\n\n\0");
    });
}

#[test]
fn the_end_of_a_session_is_the_end_of_tls() {
    // That `rest` sees no UnexpectedEof shows that close_notify came.
    with_server("stomp.disconnect_timeout = \"10ms\"", async |server| {
        for version in [&TLS12, &TLS13] {
            let mut peer = server.tls_with(server.tcp().await, version).await.connected().await;
            peer.send("DISCONNECT\nreceipt:bye\n\n\0").await;
            assert_eq!(peer.rest().await, "RECEIPT\nreceipt-id:bye\n\n\0");
            let mut peer = server.tls_with(server.tcp().await, version).await.connected().await;
            peer.send("NONSENSE\n\n\0").await;
            assert!(peer.rest().await.starts_with("ERROR\nmessage:"));
        }
    });
}

#[test]
fn a_peer_that_says_close_notify_still_gets_its_answers() {
    with_server("", async |server| {
        let mut peer = server.tls().await;
        peer.send("CONNECT\naccept-version:1.2\nhost:h\n\n\0").await;
        peer.send("SEND\ndestination:/topic/a\nreceipt:r\n\nx\0").await;
        peer.stream.shutdown().await.unwrap();
        let answers = peer.rest().await;
        assert!(answers.starts_with("CONNECTED\n"), "{answers}");
        assert!(answers.ends_with("RECEIPT\nreceipt-id:r\n\n\0"), "{answers}");
    });
}

#[test]
fn a_plain_client_is_told_in_a_frame_and_gets_nothing_done() {
    with_server("", async |server| {
        let mut watcher = server.tls().await.connected().await;
        watcher.send("SUBSCRIBE\nid:a\ndestination:/topic/a\nreceipt:live\n\n\0").await;
        watcher.frame().await;
        for cuts in [
            &["CONNECT\naccept-version:1.2\nhost:h\n\n\0SEND\ndestination:/topic/a\n\nplain\0"][..],
            &["C", "ONNECT\naccept-version:1.2\nhost:h\n\n\0", "SEND\ndestination:/topic/a\n\nplain\0"],
            &["\n"],
        ] {
            let mut peer = Peer::of(server.tcp().await);
            for cut in cuts {
                peer.send(cut).await;
            }
            assert_eq!(
                peer.rest().await,
                "ERROR\nmessage:TLS required\ncontent-type:text/plain\ncontent-length:68\n\n\
                 This port speaks STOMP over TLS. Switch TLS (SSL) on in the client.\n\0"
            );
        }
        watcher.send("SEND\ndestination:/topic/a\n\nfrom tls\0").await;
        assert!(watcher.frame().await.ends_with("\n\nfrom tls"));
    });
}

#[test]
fn an_http_request_is_answered_with_tls_or_without() {
    with_server("", async |server| {
        for mut peer in [boxed(Peer::of(server.tcp().await)), boxed(server.tls().await)] {
            peer.send("GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
            let answer = peer.rest().await;
            assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
        }
    });
}

#[test]
fn a_broken_handshake_gets_an_alert_and_costs_others_nothing() {
    with_server("", async |server| {
        let mut peer = Peer::of(server.tcp().await);
        peer.stream.write_all(b"\x16\x03\x01\x00\x04\xff\x00\x00\x00 and what follows").await.unwrap();
        let mut alert = Vec::new();
        peer.stream.read_to_end(&mut alert).await.unwrap();
        // RFC 8446 section 6: content type alert, two octets, level fatal
        assert_eq!((alert[0], &alert[3..6], alert.len()), (0x15, &[0, 2, 2][..], 7), "{alert:?}");

        let strict = client(RootCertStore::empty(), &TLS13);
        let error = strict.connect(name(), server.tcp().await).await.unwrap_err();
        assert!(error.to_string().contains("UnknownIssuer"), "{error}");

        server.tls().await.connected().await;
    });
}

#[test]
fn a_peer_that_says_nothing_is_closed_in_the_time_of_the_first_frame() {
    with_server("stomp.connect_timeout = \"100ms\"", async |server| {
        let mut silent = server.tcp().await;
        let mut alert = Vec::new();
        silent.read_to_end(&mut alert).await.unwrap();
        // RFC 8446 section 6.1: close_notify, a warning
        assert_eq!((alert[0], &alert[3..]), (0x15, &[0, 2, 1, 0][..]), "{alert:?}");
        let error = server.tls().await.rest().await;
        assert!(error.starts_with("ERROR\nmessage:"), "{error}");
    });
}

#[test]
fn files_that_are_not_what_they_must_be_are_named_with_the_reason() {
    let files = Files::new();
    let (certificate, key) = (files.certificate(), files.key());
    let error = |certificate: &Path, key: &Path| load(certificate, key, "").unwrap_err().to_string();
    let at = |line: usize, setting: &str, file: &Path, reason: &str| {
        format!("stompbox.toml, line {line}, column 1: tcp.{setting} = {file:?} cannot be used: {reason}")
    };
    let missing = files.0.join("missing.pem");
    let not_there = "it cannot be read: No such file or directory (os error 2)";
    assert_eq!(error(&missing, &key), at(2, "tls_certificate", &missing, not_there));
    assert_eq!(error(&certificate, &missing), at(3, "tls_key", &missing, not_there));
    assert!(error(&files.0, &key).contains("it cannot be read: "));
    assert_eq!(
        error(&key, &key),
        at(2, "tls_certificate", &key, "it has no certificate (-----BEGIN CERTIFICATE-----)")
    );
    assert_eq!(
        error(&certificate, &certificate),
        at(3, "tls_key", &certificate, "it has no private key (-----BEGIN PRIVATE KEY-----)")
    );
    let other = files.put("other.pem", &KeyPair::generate().unwrap().serialize_pem());
    assert_eq!(error(&certificate, &other), at(3, "tls_key", &other, "its key is not that of the certificate"));
    let secret = std::fs::read_to_string(&key).unwrap();
    let cut = files.put("cut.pem", &secret.replace("-----END PRIVATE KEY-----", ""));
    let not_pem = "it is not PEM: a section has no end or is not Base64";
    assert_eq!(error(&certificate, &cut), at(3, "tls_key", &cut, not_pem));
    let one_line = files.put("one-line.pem", &secret.replace('\n', " "));
    assert_eq!(error(&certificate, &one_line), at(3, "tls_key", &one_line, not_pem));
    let broken = files.put("broken.pem", "-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n");
    assert_eq!(error(&broken, &key), at(2, "tls_certificate", &broken, not_pem));
    let empty = files.put("empty.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let unusable = at(2, "tls_certificate", &empty, "its first certificate is not a usable X.509 v3 certificate: ");
    assert!(error(&empty, &key).starts_with(&unusable), "{}", error(&empty, &key));
    let strange = files.put("strange.pem", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
    let kinds = "its key is not a usable RSA, ECDSA (P-256, P-384) or Ed25519 key";
    assert_eq!(error(&certificate, &strange), at(3, "tls_key", &strange, kinds));
    for text in ["-----BEGIN ENCRYPTED PRIVATE KEY-----\n", "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n"]
    {
        let encrypted = files.put("encrypted.pem", text);
        let reason = "its key is encrypted; openssl pkey -in FILE -out PLAIN-FILE decrypts it";
        assert_eq!(error(&certificate, &encrypted), at(3, "tls_key", &encrypted, reason));
    }
}

#[test]
fn no_error_and_no_output_shows_the_key() {
    let files = Files::new();
    let secret = std::fs::read_to_string(files.key()).unwrap();
    let line = secret.lines().nth(1).unwrap();
    let config = load(&files.certificate(), &files.key(), "").unwrap();
    assert!(!format!("{config:?} {}", config.to_toml().unwrap()).contains(line));
    let one_line = files.put("one-line.pem", &secret.replace('\n', ""));
    let error = load(&files.certificate(), &one_line, "").unwrap_err();
    assert!(!format!("{error} {error:?}").contains(line), "{error}");
}

#[test]
fn check_and_serve_read_the_files_and_end_with_2() {
    let files = Files::new();
    let run = |args: &[&str], key: &Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stompbox"));
        command.args(args).env_clear().env("STOMPBOX_TCP__TLS_CERTIFICATE", files.certificate());
        let output = command.env("STOMPBOX_TCP__TLS_KEY", key).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(run(&["check"], &files.key()), (Some(0), String::new()));
    for command in ["check", "serve"] {
        let (code, error) = run(&[command], &files.certificate());
        assert_eq!(code, Some(2));
        let expected = format!(
            "stompbox: environment variable STOMPBOX_TCP__TLS_KEY: tcp.tls_key = {:?} cannot be used: \
             it has no private key (-----BEGIN PRIVATE KEY-----)\n",
            files.certificate()
        );
        assert_eq!(error, expected);
    }
}

fn with_server<F: Future<Output = ()>>(settings: &str, script: impl FnOnce(Server) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let script = script(Server::start(settings));
        tokio::time::timeout(Duration::from_secs(20), script).await.unwrap();
    });
}

/// A running server; it stops with the runtime.
struct Server {
    address: SocketAddr,
    files: Files,
}

impl Server {
    fn start(settings: &str) -> Self {
        let files = Files::new();
        let config = load(&files.certificate(), &files.key(), settings).unwrap();
        let app = App::bind(config, false).unwrap();
        let address = app.tcp_address().unwrap();
        tokio::spawn(app.run(std::future::pending()));
        Self { address, files }
    }

    async fn tcp(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// A socket that takes few octets that are not read.
    async fn narrow(&self) -> TcpStream {
        let socket = Socket::new(Domain::for_address(self.address), Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        socket.connect(&self.address.into()).unwrap();
        socket.set_nonblocking(true).unwrap();
        TcpStream::from_std(socket.into()).unwrap()
    }

    async fn tls(&self) -> Peer<impl AsyncRead + AsyncWrite + Unpin + use<>> {
        self.tls_with(self.tcp().await, &TLS13).await
    }

    async fn tls_with<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        version: &'static SupportedProtocolVersion,
    ) -> Peer<impl AsyncRead + AsyncWrite + Unpin + use<S>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.files.1.cert.der().clone()).unwrap();
        Peer::of(client(roots, version).connect(name(), stream).await.unwrap())
    }
}

fn client(roots: RootCertStore, version: &'static SupportedProtocolVersion) -> TlsConnector {
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

fn name() -> ServerName<'static> {
    ServerName::try_from("localhost").unwrap()
}

fn load(certificate: &Path, key: &Path, settings: &str) -> Result<Config, Box<ConfigError>> {
    let config = Config::from_toml(&format!(
        "[tcp]\ntls_certificate = {certificate:?}\ntls_key = {key:?}\nlisten = \"127.0.0.1:0\"\n\
         [server]\nlisten = \"127.0.0.1:0\"\nshards = 1\n[mailbox]\nbytes = \"4MiB\"\n{}",
        // Dotted keys go into the table that they name.
        settings.split_once('.').map_or_else(String::new, |(table, setting)| format!("[{table}]\n{setting}\n"))
    ));
    config.map_err(Box::new)
}

/// A folder with a certificate and its key, gone when the test is.
struct Files(PathBuf, CertifiedKey<KeyPair>);

impl Files {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("stompbox-tls-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let files = Self(folder, certified);
        files.put("certificate.pem", &files.1.cert.pem());
        files.put("key.pem", &files.1.signing_key.serialize_pem());
        files
    }

    fn put(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn certificate(&self) -> PathBuf {
        self.0.join("certificate.pem")
    }

    fn key(&self) -> PathBuf {
        self.0.join("key.pem")
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

trait Duplex: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Duplex for S {}

/// Peers of different kinds in one list.
fn boxed<'a, S: AsyncRead + AsyncWrite + Unpin + 'a>(peer: Peer<S>) -> Peer<Box<dyn Duplex + 'a>> {
    Peer::of(Box::new(peer.stream))
}
