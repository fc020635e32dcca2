//! Certificates of clients: which are taken, and whom they name.

use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::der::asn1::{PrintableStringRef, Utf8StringRef};
use x509_cert::der::oid::db::rfc4519::COMMON_NAME;

use super::identity::{FileError, read_chain};

/// What a listener asks of its clients.
#[derive(Debug, Clone, Copy)]
pub struct Authority<'a> {
    /// The PEM file with the roots that clients' certificates must lead to.
    pub file: &'a Path,
    /// Whether a client without a certificate is turned away.
    pub is_required: bool,
}

pub(super) fn verifier(
    authority: Authority<'_>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, FileError> {
    let mut roots = RootCertStore::empty();
    for root in read_chain(authority.file)? {
        roots.add(root).map_err(FileError::Certificate)?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    let builder = if authority.is_required { builder } else { builder.allow_unauthenticated() };
    builder.build().map_err(|error| FileError::Roots(error.to_string()))
}

/// Whom a certificate that was verified names: the common name of its subject, else the whole
/// subject in the form of RFC 4514. `None` where it names nobody.
pub(super) fn subject(certificate: &CertificateDer<'_>) -> Option<Arc<str>> {
    let certificate = Certificate::from_der(certificate).ok()?;
    let subject = certificate.tbs_certificate().subject();
    let common_name = subject.iter().find(|part| part.oid == COMMON_NAME).and_then(|part| {
        let utf8 = Utf8StringRef::try_from(&part.value).map(|text| text.as_str().to_owned());
        utf8.or_else(|_| PrintableStringRef::try_from(&part.value).map(|text| text.as_str().to_owned())).ok()
    });
    let name = common_name.unwrap_or_else(|| subject.to_string());
    (!name.is_empty()).then(|| name.into())
}
