//! Signed tokens: JSON Web Tokens (RFC 7519).
//!
//! Each key is bound to one algorithm when it is read, so a token cannot choose how it is
//! checked: `alg:none` has no key, and a public RSA key is never the secret of an HS256.

mod claims;
mod keys;
mod remote;
mod signature;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Validation, decode};
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use tokio::task::spawn_blocking;
use tracing::debug;

pub use self::claims::Names;
use self::keys::Key;
pub use self::keys::{Algorithm, KeyError, Keys};
use self::remote::Remote;
pub use self::remote::{Fetch, Known, Source};
use super::gate::{Gate, Limits};
use super::{Attempt, AuthError, Authenticator, Identity, Proof};
use crate::broker::handle::now_ms;
use crate::message::Credentials;

/// Which tokens are good, and what their claims mean.
#[derive(Clone)]
pub struct Settings {
    /// The algorithms a token may be signed with.
    pub algorithms: Vec<Algorithm>,
    /// Keys that do not change.
    pub keys: Keys,
    /// Keys that somebody publishes.
    pub source: Option<Source>,
    /// Who may have issued a token (`iss`); empty: anybody.
    pub issuers: Vec<String>,
    /// Whom a token may be for (`aud`); empty: it must be for nobody in particular.
    pub audiences: Vec<String>,
    /// How far the issuer's clock may be from ours, for `exp` and `nbf`. Default: not at all.
    pub leeway: Duration,
    /// Which claims say what.
    pub names: Names,
}

impl Settings {
    /// By what a token may be good.
    pub fn proofs(&self) -> impl Iterator<Item = Proof> {
        let own = self.keys.of_any(&self.algorithms).map(|key| Proof::Signature(key.mark));
        own.chain(self.source.as_ref().map(Source::proof))
    }

    /// Goes on with the published keys that are known by earlier settings.
    pub(super) fn continue_from(&mut self, before: &Self) {
        if let (Some(source), Some(before)) = (&mut self.source, &before.source) {
            source.continue_from(before);
        }
    }
}

/// Asks for signed tokens.
pub(super) struct Tokens {
    check: Arc<Check>,
    remote: Option<Remote>,
    gate: Gate,
}

/// What is the same for every token.
struct Check {
    algorithms: Vec<Algorithm>,
    keys: Keys,
    leeway: Duration,
    issuers: Vec<String>,
    audiences: Vec<String>,
    names: Names,
}

/// A token's first part.
// RFC 7515 4.1
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    /// `null` counts: it is no list of what is critical.
    #[serde(default, deserialize_with = "present")]
    crit: bool,
}

impl Tokens {
    pub(super) fn new(settings: Settings) -> Self {
        signature::install();
        let Settings { algorithms, keys, source, issuers, audiences, leeway, names } = settings;
        let check = Check { algorithms, keys, leeway, issuers, audiences, names };
        Self { check: Arc::new(check), remote: source.map(Remote), gate: Gate::new(LIMITS) }
    }

    async fn ask(&self, attempt: &Attempt) -> Result<Identity, AuthError> {
        let Some(Credentials::Token(token)) = &attempt.credentials else { return Err(AuthError::Refused) };
        let Some(header) = header(token) else { return Err(AuthError::Refused) };
        // RFC 7515 4.1.11: who does not understand what is critical refuses it; here is nothing.
        let algorithm = Algorithm::of_name(&header.alg).filter(|algorithm| self.check.algorithms.contains(algorithm));
        let Some(algorithm) = algorithm.filter(|_| !header.crit) else {
            debug!(alg = header.alg, "a token with an algorithm that is not taken");
            return Err(AuthError::Refused);
        };
        let kid = header.kid.as_deref();
        let own = self.check.keys.of(algorithm, kid).into_iter();
        let mut keys: Vec<_> = own.map(|key| (Proof::Signature(key.mark), key)).collect();
        if let Some(remote) = &self.remote {
            match remote.keys(algorithm, kid).await {
                Ok(published) => keys.extend(published.into_iter().map(|key| (remote.proof(), key))),
                Err(error) if keys.is_empty() => return Err(error),
                Err(_) => {}
            }
        }
        // Not all may be tried: first those that the token names.
        keys.sort_by_key(|(_, key)| kid.is_some() && !key.is_named());
        if keys.is_empty() {
            debug!(alg = header.alg, kid, "a token of an unknown key");
            return Err(AuthError::Refused);
        }
        let (permit, _place) = self.gate.enter(attempt.peer).await?;
        let (check, token) = (Arc::clone(&self.check), token.clone());
        let checked = spawn_blocking(move || {
            let identity = check.identity(&token, &keys, now_ms());
            drop(permit);
            identity
        });
        let identity = checked.await.map_err(|_| AuthError::Unavailable)?;
        identity.map_err(|reason| {
            debug!(reason, "a token is refused");
            AuthError::Refused
        })
    }
}

impl Authenticator for Tokens {
    fn authenticate<'a>(
        &'a self,
        attempt: &'a Attempt,
    ) -> Pin<Box<dyn Future<Output = Result<Identity, AuthError>> + Send + 'a>> {
        Box::pin(self.ask(attempt))
    }
}

impl Check {
    /// Who the token is about; the error is for the log alone.
    fn identity(&self, token: &str, keys: &[(Proof, Arc<Key>)], now_ms: u64) -> Result<Identity, &'static str> {
        let mut reason = "there is no key for it";
        for (proof, key) in keys.iter().take(MAX_TRIES) {
            let validation = self.validation(key.algorithm);
            match decode::<Map<String, Value>>(token, &key.key, &validation) {
                Ok(data) => return self.identity_of(*proof, &data.claims, now_ms),
                Err(error) => {
                    reason = explain(error.kind());
                    // With several keys and no kid, another may fit.
                    if !matches!(error.kind(), ErrorKind::InvalidSignature) {
                        break;
                    }
                }
            }
        }
        Err(reason)
    }

    fn identity_of(&self, proof: Proof, claims: &Map<String, Value>, now_ms: u64) -> Result<Identity, &'static str> {
        let expires_at_ms = claims.get("exp").and_then(claims::milliseconds).ok_or("its exp is no number")?;
        let leeway_ms = u64::try_from(self.leeway.as_millis()).unwrap_or(u64::MAX);
        let expires_at_ms = expires_at_ms.saturating_add(leeway_ms);
        // RFC 7519 4.1.4: not on or after exp
        if expires_at_ms <= now_ms {
            return Err("it has expired");
        }
        if !claims::has_fit_names(claims) {
            return Err("its iss is no string, or its aud neither one nor a list of them");
        }
        let principal = self.names.principal(claims)?;
        Ok(Identity { principal, proof, expires_at_ms: Some(expires_at_ms) })
    }

    fn validation(&self, algorithm: Algorithm) -> Validation {
        let mut validation = Validation::new(algorithm.outside());
        let mut required = vec!["exp"];
        validation.leeway = self.leeway.as_secs();
        validation.validate_nbf = true;
        if !self.issuers.is_empty() {
            validation.set_issuer(&self.issuers);
            required.push("iss");
        }
        if !self.audiences.is_empty() {
            validation.set_audience(&self.audiences);
            required.push("aud");
        }
        validation.set_required_spec_claims(&required);
        validation
    }
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}

/// Whether it looks as a signed token does: three parts with dots between them.
// RFC 7515 7.1
pub(in crate::broker) fn is_signed(token: &str) -> bool {
    token.bytes().filter(|octet| *octet == b'.').count() == 2
}

/// The header of what looks like a token; `None`: it is none.
fn header(token: &str) -> Option<Header> {
    if token.len() > MAX_TOKEN_BYTES || !is_signed(token) {
        return None;
    }
    let (header, _) = token.split_once('.')?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).ok()?).ok()
}

fn explain(kind: &ErrorKind) -> &'static str {
    let known = [
        (ErrorKind::InvalidSignature, "its signature is not that of the key"),
        (ErrorKind::ExpiredSignature, "it has expired"),
        (ErrorKind::ImmatureSignature, "it is not valid yet (nbf)"),
        (ErrorKind::InvalidIssuer, "its iss is not one of auth.jwt.issuers"),
        (ErrorKind::InvalidAudience, "its aud is not one of auth.jwt.audiences"),
        (ErrorKind::InvalidAlgorithm, "its algorithm is not that of the key"),
    ];
    let found = known.into_iter().find(|(known, _)| known == kind);
    found.map_or("it lacks a claim, or is no token at all", |(_, text)| text)
}

/// The checks of signatures that run and wait: one costs some 50 µs.
const LIMITS: Limits = Limits { running: 1, waiting: 4096, waiting_per_address: 1024 };

/// Keys that one token is tried with.
const MAX_TRIES: usize = 8;

/// A header line of a client is at most 8 KiB by default.
const MAX_TOKEN_BYTES: usize = 16 * 1024;

#[cfg(test)]
mod tests;
