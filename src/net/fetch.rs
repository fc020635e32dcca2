//! Gets a small document from a URL: the keys that an identity provider publishes.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ureq::Agent;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

use crate::broker::auth::jwt::Fetch;

/// A URL and what its server's certificate must lead to.
pub struct Url {
    url: String,
    agent: Agent,
}

/// Why a URL cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum UrlError {
    /// The file with certificates cannot be read.
    #[error("cannot be read: {0}")]
    Read(#[from] std::io::Error),
    /// There is none in it.
    #[error("it has no certificate")]
    NoCertificate,
}

impl Url {
    /// Takes a URL of `http` or `https`. `roots` is a PEM file with the certificates to trust;
    /// without one, those that this machine trusts.
    ///
    /// # Errors
    /// The file cannot be read, or has no certificate.
    pub fn new(url: &str, roots: Option<&Path>) -> Result<Self, UrlError> {
        let roots = match roots {
            Some(path) => of_file(path)?,
            None => of_machine(),
        };
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::new_with_certs(&roots))
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build();
        let config = Agent::config_builder()
            .tls_config(tls)
            .https_only(url.starts_with("https://"))
            .timeout_global(Some(TIMEOUT))
            .max_redirects(3)
            .build();
        Ok(Self { url: url.to_owned(), agent: config.new_agent() })
    }
}

impl Fetch for Url {
    fn fetch(&self) -> Result<Vec<u8>, String> {
        let mut response = self.agent.get(&self.url).call().map_err(|error| error.to_string())?;
        response.body_mut().with_config().limit(MAX_BYTES).read_to_vec().map_err(|error| error.to_string())
    }
}

fn of_file(path: &Path) -> Result<Vec<Certificate<'static>>, UrlError> {
    let pem = std::fs::read(path)?;
    let certificates: Vec<_> = parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            Ok(_) | Err(_) => None,
        })
        .collect();
    if certificates.is_empty() { Err(UrlError::NoCertificate) } else { Ok(certificates) }
}

fn of_machine() -> Vec<Certificate<'static>> {
    let found = rustls_native_certs::load_native_certs();
    found.certs.iter().map(|certificate| Certificate::from_der(certificate).to_owned()).collect()
}

/// For all of a request; logins wait meanwhile.
const TIMEOUT: Duration = Duration::from_secs(5);

/// More than any provider's keys take.
const MAX_BYTES: u64 = 256 * 1024;
