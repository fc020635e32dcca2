//! [`Identity`]: the certificate and the key that a TLS listener shows.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{Error, InconsistentKeys, ServerConfig};

use super::client::{self, Authority};

/// A certificate chain with its private key, ready to be shown. `Debug` shows nothing of them.
#[derive(Clone)]
pub struct Identity(Arc<ServerConfig>);

/// Why an identity cannot be used, and which of its files is at fault.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// That with the certificates.
    #[error("certificate: {0}")]
    Certificate(FileError),
    /// That with the key.
    #[error("key: {0}")]
    Key(FileError),
    /// That with the roots of clients' certificates.
    #[error("client authority: {0}")]
    Authority(FileError),
}

/// What is wrong with a file. No variant holds anything that stood in it.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system does not give it.
    #[error("it cannot be read: {0}")]
    Read(#[from] io::Error),
    /// A section has no end, or is not Base64.
    #[error("it is not PEM: a section has no end or is not Base64")]
    Pem,
    /// No certificate is among its sections.
    #[error("it has no certificate (-----BEGIN CERTIFICATE-----)")]
    NoCertificate,
    /// No private key is among its sections.
    #[error("it has no private key (-----BEGIN PRIVATE KEY-----)")]
    NoKey,
    /// The key wants a passphrase, and nobody is there to be asked for it.
    #[error("its key is encrypted; openssl pkey -in FILE -out PLAIN-FILE decrypts it")]
    Encrypted,
    /// The first certificate is no X.509 version 3.
    #[error("its first certificate is not a usable X.509 v3 certificate: {0}")]
    Certificate(Error),
    /// The roots cannot be used.
    #[error("its certificates cannot be used as roots: {0}")]
    Roots(String),
    /// The key is of a kind that is not supported.
    #[error("its key is not a usable RSA, ECDSA (P-256, P-384) or Ed25519 key")]
    Key,
    /// The key is another's.
    #[error("its key is not that of the certificate")]
    Mismatch,
}

impl Identity {
    /// Reads a chain, the server's own certificate first, its key, and, with an authority, what
    /// clients may show; all files are PEM. `protocol` is what ALPN agrees on with clients that
    /// ask.
    ///
    /// # Errors
    /// A file that cannot be read or is not what it should be, or a key of another certificate.
    pub fn read(
        certificate: &Path,
        key: &Path,
        authority: Option<Authority<'_>>,
        protocol: Option<&str>,
    ) -> Result<Self, IdentityError> {
        let chain = read_chain(certificate).map_err(IdentityError::Certificate)?;
        let key = read_key(key).map_err(IdentityError::Key)?;
        let provider = Arc::new(ring::default_provider());
        let certified = certified(chain, key, &provider)?;
        let verifier = authority.map(|authority| client::verifier(authority, &provider)).transpose();
        let builder = ServerConfig::builder_with_provider(provider)
            // TLS 1.2 and 1.3
            .with_safe_default_protocol_versions()
            .map_err(|error| IdentityError::Certificate(FileError::Certificate(error)))?;
        let builder = match verifier.map_err(IdentityError::Authority)? {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let mut settings = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        settings.alpn_protocols = protocol.into_iter().map(|name| name.as_bytes().to_vec()).collect();
        Ok(Self(Arc::new(settings)))
    }

    pub(super) fn settings(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.0)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity(***)")
    }
}

pub(super) fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let text = std::fs::read(path)?;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&text).collect::<Result<_, _>>().map_err(|_| FileError::Pem)?;
    if chain.is_empty() { Err(FileError::NoCertificate) } else { Ok(chain) }
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, FileError> {
    let text = std::fs::read(path)?;
    // PKCS #8 says so in its label, the older form of OpenSSL in a header that is no Base64.
    if [&b"BEGIN ENCRYPTED"[..], b"4,ENCRYPTED"].iter().any(|mark| memchr::memmem::find(&text, mark).is_some()) {
        return Err(FileError::Encrypted);
    }
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| {
        // The texts of the others could show the key.
        if matches!(error, pem::Error::NoItemsFound) { FileError::NoKey } else { FileError::Pem }
    })
}

fn certified(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, IdentityError> {
    let key = provider.key_provider.load_private_key(key).map_err(|_| IdentityError::Key(FileError::Key))?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        // Unknown: the kind of key does not tell its public half.
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(certified),
        Err(Error::InconsistentKeys(_)) => Err(IdentityError::Key(FileError::Mismatch)),
        Err(error) => Err(IdentityError::Certificate(FileError::Certificate(error))),
    }
}
