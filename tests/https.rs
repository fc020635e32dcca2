//! HTTPS, WSS and certificates of clients, against the program itself.

#![expect(clippy::unwrap_used, reason = "a test's own functions; a panic names the line")]

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

#[tokio::test]
async fn tls_1_2_and_1_3_carry_requests_and_web_sockets() {
    let files = Files::new();
    let server = Server::start(&files, "");
    for version in [&TLS12, &TLS13] {
        let mut stream = server.tls(&files, version, None).await.unwrap();
        // The protocol is agreed on with those who ask.
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
        let large = format!("[{}]", vec![EVENT; 900].join(","));
        for (method, path, body) in [("POST", "/api/v1/events/batch", large.as_str()), ("GET", "/ws", "")] {
            let answer = request(&mut stream, method, path, body).await;
            assert!(answer.starts_with("HTTP/1.1 20"), "{answer}");
        }
        let mut client = Stomp::over(server.tls(&files, version, None).await.unwrap()).await;
        client.send("CONNECT\naccept-version:1.2\nhost:h\n\n\0").await;
        assert!(client.text().await.starts_with("CONNECTED\n"));
        client.send("SUBSCRIBE\nid:a\ndestination:/topic/tls\n\n\0").await;
        let body = "x".repeat(300_000);
        client.send(&format!("SEND\ndestination:/topic/tls\n\n{body}\0")).await;
        let message = client.text().await;
        assert!(message.starts_with("MESSAGE\nsubscription:a\n") && message.ends_with(&format!("{body}\0")));
        client.send("DISCONNECT\nreceipt:bye\n\n\0").await;
        assert_eq!(client.text().await, "RECEIPT\nreceipt-id:bye\n\n\0");
    }
}

#[tokio::test]
async fn a_plain_request_on_the_tls_port_is_told_so_and_gets_nothing_else() {
    let files = Files::new();
    let server = Server::start(&files, "");
    for request in ["GET /api/v1/metrics HTTP/1.1\r\nHost: a\r\n\r\n", "POST /ws/0/a/xhr HTTP/1.0\r\n\r\n"] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        assert!(answer.contains(" 400 Bad Request\r\n"), "{answer}");
        assert!(
            answer.ends_with("This port speaks HTTPS: write https:// or wss:// in front of the address.\n"),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn whom_a_certificate_names_is_the_user_and_without_one_nobody_comes_in_where_it_is_required() {
    let files = Files::new();
    let server = Server::start(&files, "tls_client_ca = \"FOLDER/ca.pem\"\ntls_client_required = true");
    for version in [&TLS12, &TLS13] {
        let mut ann = Stomp::over(server.tls(&files, version, Some("ann")).await.unwrap()).await;
        ann.send("CONNECT\naccept-version:1.2\nhost:h\n\n\0").await;
        assert!(ann.text().await.starts_with("CONNECTED\n"));
        ann.send("SUBSCRIBE\nid:a\ndestination:/user/queue/chat\nreceipt:1\n\n\0").await;
        assert_eq!(ann.text().await, "RECEIPT\nreceipt-id:1\n\n\0");
        let mut bob = Stomp::over(server.tls(&files, version, Some("bob")).await.unwrap()).await;
        bob.send("CONNECT\naccept-version:1.2\nhost:h\n\n\0SEND\ndestination:/user/ann/queue/chat\n\nhello\0").await;
        let message = ann.text().await;
        assert!(message.starts_with("MESSAGE\nsubscription:a\n") && message.ends_with("\n\nhello\0"), "{message}");
        let refused = match server.tls(&files, version, None).await {
            // In TLS 1.3 the client's handshake ends before the server has looked.
            Ok(mut stream) => {
                let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
                stream.read_u8().await.is_err()
            }
            Err(_) => true,
        };
        assert!(refused, "{version:?}");
    }
}

#[tokio::test]
async fn a_certificate_counts_from_pages_of_https_of_this_server_alone() {
    let files = Files::new();
    let server = Server::start(&files, "tls_client_ca = \"FOLDER/ca.pem\"");
    for (origin, status) in [("https://localhost", 200), ("http://localhost", 403), ("https://b.example", 403)] {
        let mut ann = server.tls(&files, &TLS13, Some("ann")).await.unwrap();
        let origin = format!("Origin: {origin}\r\n");
        let answer = request_with(&mut ann, "GET", "/ws/info", &origin, "").await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{origin} {answer}");
    }
}

#[tokio::test]
async fn sighup_exchanges_the_certificate_and_open_connections_go_on() {
    let files = Files::new();
    let server = Server::start(&files, "");
    let mut client = Stomp::over(server.tls(&files, &TLS13, None).await.unwrap()).await;
    client.send("CONNECT\naccept-version:1.2\nhost:h\n\n\0SUBSCRIBE\nid:a\ndestination:/topic/a\n\n\0").await;
    assert!(client.text().await.starts_with("CONNECTED\n"));
    let first = shown(&server.tls(&files, &TLS13, None).await.unwrap());

    files.renew();
    server.hangup();
    server.log_until("were read anew");
    let second = shown(&server.tls(&files, &TLS13, None).await.unwrap());
    assert_ne!(first, second);
    client.send("SEND\ndestination:/topic/a\n\nstill here\0").await;
    assert!(client.text().await.ends_with("still here\0"));

    // What is wrong changes nothing, and says so; what has to wait does, too.
    files.put("key.pem", "no key");
    server.hangup();
    let line = server.log_until("the settings stay as they are");
    assert!(line.contains("server.tls_key") && line.contains("has no private key"), "{line}");
    assert_eq!(shown(&server.tls(&files, &TLS13, None).await.unwrap()), second);
    files.renew();
    files.configure("shards = 3\nallow_open = true\n[auth]\ntokens = [{ name = \"ann\", token = \"t\" }]");
    server.hangup();
    let line = server.log_until("take effect at the next start");
    assert!(line.contains("server.shards"), "{line}");
    // Tokens count from now on.
    let mut late = Stomp::over(server.tls(&files, &TLS13, None).await.unwrap()).await;
    late.send("CONNECT\naccept-version:1.2\nhost:h\n\n\0").await;
    assert!(late.text().await.starts_with("ERROR\nmessage:Access refused\n"));
    let mut late = Stomp::over(server.tls(&files, &TLS13, None).await.unwrap()).await;
    late.send("CONNECT\naccept-version:1.2\nhost:h\nAuthorization:Bearer t\n\n\0").await;
    assert!(late.text().await.starts_with("CONNECTED\n"));
}

#[tokio::test]
async fn the_readmes_example_for_the_internet_lets_in_whom_a_token_names_and_keeps_to_its_rules() {
    let readme = include_str!("../README.md").split_once("## Putting it on the internet").unwrap().1;
    let settings = readme.split_once("```toml\n").unwrap().1.split_once("```").unwrap().0;
    let files = Files::new();
    let folder = files.0.to_str().unwrap();
    files.put("fullchain.pem", &std::fs::read_to_string(files.0.join("certificate.pem")).unwrap());
    files.put("privkey.pem", &std::fs::read_to_string(files.0.join("key.pem")).unwrap());
    files.put("jwks.json", include_str!("../fixtures/jwt/jwks.json"));
    let settings = settings.replace("0.0.0.0:443", "127.0.0.1:0").replace("/etc/stompbox", folder);
    files.put("stompbox.toml", &format!("{settings}\n[tcp]\nlisten = \"\"\n"));
    let server = Server::run(&files);
    let vectors: serde_json::Value = serde_json::from_str(include_str!("../fixtures/jwt/vectors.json")).unwrap();
    let vector = vectors.as_array().unwrap().iter().find(|vector| vector["name"] == "ES256").unwrap();
    let token = vector["token"].as_str().unwrap();

    let mut nobody = Stomp::over(server.tls(&files, &TLS13, None).await.unwrap()).await;
    nobody.send("CONNECT\naccept-version:1.2\nhost:h\n\n\0").await;
    assert!(nobody.text().await.starts_with("ERROR\nmessage:Access refused\n"));
    let mut ann = Stomp::over(server.tls(&files, &TLS13, None).await.unwrap()).await;
    ann.send(&format!("CONNECT\naccept-version:1.2\nhost:h\nAuthorization:Bearer {token}\n\n\0")).await;
    assert!(ann.text().await.contains("\nuser-name:ann\n"));
    ann.send("SUBSCRIBE\nid:other\ndestination:/topic/other\n\n\0").await;
    let refused = ann.text().await;
    assert!(refused.starts_with("MESSAGE\nsubscription:other\n") && refused.contains("\nstatus:403\n"), "{refused}");
    ann.send("SUBSCRIBE\nid:n\ndestination:/topic/notices\n\n\0SEND\ndestination:/topic/notices\n\nhello\0").await;
    let message = ann.text().await;
    assert!(message.starts_with("MESSAGE\nsubscription:n\n") && message.ends_with("\n\nhello\0"), "{message}");
}

fn shown(stream: &TlsStream<TcpStream>) -> Vec<u8> {
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

async fn request(stream: &mut TlsStream<TcpStream>, method: &str, path: &str, body: &str) -> String {
    request_with(stream, method, path, "", body).await
}

async fn request_with(
    stream: &mut TlsStream<TcpStream>,
    method: &str,
    path: &str,
    headers: &str,
    body: &str,
) -> String {
    let head =
        format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n{headers}\r\n", body.len());
    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    let mut answer = String::new();
    loop {
        let mut octets = vec![0; 64 * 1024];
        let count = timeout(PATIENCE, stream.read(&mut octets)).await.unwrap().unwrap();
        assert_ne!(count, 0, "{answer}");
        answer += &String::from_utf8_lossy(&octets[..count]);
        let Some((head, body)) = answer.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if length.is_some_and(|length| body.len() == length.parse::<usize>().unwrap()) {
            return answer;
        }
    }
}

/// STOMP over a WebSocket over TLS.
struct Stomp(WebSocketStream<TlsStream<TcpStream>>);

impl Stomp {
    async fn over(stream: TlsStream<TcpStream>) -> Self {
        Self(client_async("wss://localhost/ws", stream).await.unwrap().0)
    }

    async fn send(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.unwrap();
    }

    async fn text(&mut self) -> String {
        let message = timeout(PATIENCE, self.0.next()).await.unwrap().unwrap().unwrap();
        message.into_text().unwrap().as_str().to_owned()
    }
}

/// The program, with the settings of a folder.
struct Server {
    child: Child,
    address: SocketAddr,
    log: Receiver<String>,
}

impl Server {
    fn start(files: &Files, settings: &str) -> Self {
        files.configure(settings);
        Self::run(files)
    }

    /// With the settings as they stand in the folder.
    fn run(files: &Files) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_stompbox"))
            .args(["serve", "--config", files.0.join("stompbox.toml").to_str().unwrap()])
            .env_clear()
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (sender, log) = channel();
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let address = "127.0.0.1:0".parse().unwrap();
        let mut server = Self { child, address, log };
        let line = server.log_until("listening on https://");
        server.address = line.rsplit_once("https://").unwrap().1.parse().unwrap();
        server
    }

    fn hangup(&self) {
        let kill = Command::new("kill").args(["-HUP", &self.child.id().to_string()]).status();
        assert!(kill.unwrap().success());
    }

    fn log_until(&self, words: &str) -> String {
        loop {
            let line = self.log.recv_timeout(PATIENCE).unwrap();
            if line.contains(words) {
                return line;
            }
        }
    }

    async fn tls(
        &self,
        files: &Files,
        version: &'static SupportedProtocolVersion,
        user: Option<&str>,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(files.1.der().clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match user {
            None => config.with_no_client_auth(),
            Some(user) => {
                let key = KeyPair::generate().unwrap();
                let mut params = CertificateParams::default();
                params.distinguished_name.push(DnType::OrganizationName, "Example");
                params.distinguished_name.push(DnType::CommonName, user);
                let certificate = params.signed_by(&key, &files.1).unwrap();
                let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
                config.with_client_auth_cert(vec![certificate.der().clone()], key).unwrap()
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let stream = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A folder with an authority, a server's certificate of it and settings, gone when the test is.
struct Files(PathBuf, CertifiedIssuer<'static, KeyPair>);

impl Files {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("stompbox-https-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "Authority");
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let files = Self(folder, authority);
        files.put("ca.pem", &files.1.pem());
        files.renew();
        files
    }

    /// Writes a new certificate of the server and its key.
    fn renew(&self) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        self.put("certificate.pem", &params.signed_by(&key, &self.1).unwrap().pem());
        self.put("key.pem", &key.serialize_pem());
    }

    /// Writes settings with those of `[server]` after the files.
    fn configure(&self, server: &str) {
        let text = "[tcp]\nlisten = \"\"\n[server]\nlisten = \"127.0.0.1:0\"\n\
            tls_certificate = \"FOLDER/certificate.pem\"\ntls_key = \"FOLDER/key.pem\"\n";
        self.put("stompbox.toml", &format!("{text}{server}\n").replace("FOLDER", self.0.to_str().unwrap()));
    }

    fn put(&self, name: &str, text: &str) {
        std::fs::write(self.0.join(name), text).unwrap();
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const EVENT: &str = r#"{"eventType":"page.view","source":"web"}"#;

const PATIENCE: Duration = Duration::from_secs(20);
