//! Keys that an identity provider publishes, over HTTP and over HTTPS with an authority of its own.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;
use tokio::time::timeout;

use crate::common::{Frame, PATIENCE, Server};
use crate::trust::connect;

#[tokio::test]
async fn published_keys_are_followed_when_they_change() {
    let provider = Provider::start(None);
    let server = Server::start(1, &settings(&provider.url("http", "127.0.0.1")));
    follows(&server, &provider).await;
}

#[tokio::test]
async fn keys_published_over_https_are_followed_where_the_provider_leads_to_the_roots() {
    let (tls, authority) = certified();
    let provider = Provider::start(Some(tls));
    let roots = std::env::temp_dir().join(format!("stompbox-jwks-roots-{}.pem", std::process::id()));
    std::fs::write(&roots, authority).unwrap();
    let url = provider.url("https", "localhost");
    let server = Server::start(1, &format!("{}\nauth.jwt.jwks_roots = {roots:?}", settings(&url)));
    follows(&server, &provider).await;
    std::fs::remove_file(roots).unwrap();
}

#[tokio::test]
async fn a_provider_without_a_certificate_that_is_trusted_gives_no_keys() {
    let (tls, _) = certified();
    let provider = Provider::start(Some(tls));
    let server = Server::start(1, &settings(&provider.url("https", "localhost")));
    let error = answer(&server, "RS256 with a kid").await;
    assert_eq!((error.command.as_str(), error.header("message")), ("ERROR", Some("Unavailable")));
}

#[tokio::test]
async fn a_session_outlives_the_publishing_of_its_key_and_known_keys_the_reading_of_the_settings() {
    let (provider, other) = (Provider::start(None), Provider::start(None));
    let url = provider.url("http", "127.0.0.1");
    let server = Server::start(1, &settings(&url));
    let mut session = connect(&server, &format!("token:{}\n", token("RS256 with a kid"))).await;
    assert_eq!(session.frame().await.command, "CONNECTED");
    provider.publish("nobody");
    server.reload(&settings(&url));
    session.settled().await;
    assert_eq!(answer(&server, "RS256 with a kid").await.command, "CONNECTED");
    server.reload(&settings(&other.url("http", "127.0.0.1")));
    assert_eq!(session.frame().await.header("message"), Some("Access revoked"));
}

/// Tokens are good as long as their key is published.
async fn follows(server: &Server, provider: &Provider) {
    assert_eq!(answer(server, "RS256 with a kid").await.command, "CONNECTED");
    assert_eq!(answer(server, "EdDSA").await.command, "ERROR");
    provider.publish("ed-1");
    let follows = async { while answer(server, "EdDSA").await.command != "CONNECTED" {} };
    timeout(PATIENCE, follows).await.unwrap();
    assert_eq!(answer(server, "RS256 with a kid").await.command, "ERROR", "its key is published no more");
}

/// What a client hears that connects with the token of that name.
async fn answer(server: &Server, name: &str) -> Frame {
    connect(server, &format!("token:{}\n", token(name))).await.frame().await
}

fn token(name: &str) -> String {
    let vectors: Value = serde_json::from_str(include_str!("../../fixtures/jwt/vectors.json")).unwrap();
    let found = vectors.as_array().unwrap().iter().find(|vector| vector["name"] == name).unwrap();
    found["token"].as_str().unwrap().to_owned()
}

fn settings(url: &str) -> String {
    format!(
        "auth.jwt.jwks_url = \"{url}\"\nauth.jwt.jwks_min_interval = \"1s\"\n\
         auth.jwt.issuers = [\"https://issuer.example\"]\nauth.jwt.audiences = [\"stompbox\"]"
    )
}

/// Publishes one key, `rsa-1` at first, as long as the test runs.
struct Provider {
    port: u16,
    published: Arc<Mutex<String>>,
}

impl Provider {
    fn start(tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let provider = Self { port, published: Arc::default() };
        provider.publish("rsa-1");
        let published = Arc::clone(&provider.published);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, body) = (stream.unwrap(), published.lock().unwrap().clone());
                match &tls {
                    None => respond(stream, &body),
                    Some(tls) => {
                        let session = ServerConnection::new(Arc::clone(tls)).unwrap();
                        respond(StreamOwned::new(session, stream), &body);
                    }
                }
            }
        });
        provider
    }

    fn url(&self, scheme: &str, host: &str) -> String {
        format!("{scheme}://{host}:{}/jwks.json", self.port)
    }

    /// Publishes the key of that name and no other.
    fn publish(&self, kid: &str) {
        let mut set: Value = serde_json::from_str(include_str!("../../fixtures/jwt/jwks.json")).unwrap();
        set["keys"].as_array_mut().unwrap().retain(|key| key["kid"] == kid);
        *self.published.lock().unwrap() = set.to_string();
    }
}

/// To a client that does not trust the certificate nothing can be said.
fn respond(mut stream: impl Read + Write, body: &str) {
    let _ = stream.read(&mut [0; 4096]);
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    let _ = stream.write_all((head + body).as_bytes());
    let _ = stream.flush();
}

/// A server's identity for `localhost`, and the certificate of the authority that it leads to.
fn certified() -> (Arc<ServerConfig>, String) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &authority).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    (Arc::new(config), authority.pem())
}
