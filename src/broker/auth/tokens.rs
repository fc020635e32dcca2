//! Tokens and API keys that the settings know by their digest.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::{Attempt, AuthError, Authenticator, Identity, Proof};
use crate::message::{Credentials, User};

/// The SHA-256 of a secret. Enough for a token, which has so many bits that nobody tries them
/// all; a password that a person made up takes argon2id.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Digest([u8; 32]);

impl Digest {
    /// That of a secret.
    pub fn of(secret: &str) -> Self {
        Self(Sha256::digest(secret.as_bytes()).into())
    }

    /// Reads 64 hexadecimal digits, as `sha256sum` prints them; `None`: the text is none.
    pub fn parse(hex: &str) -> Option<Self> {
        if hex.len() != 64 || !hex.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        let mut octets = [0; 32];
        for (octet, at) in octets.iter_mut().zip((0..).step_by(2)) {
            *octet = u8::from_str_radix(hex.get(at..at + 2)?, 16).ok()?;
        }
        Some(Self(octets))
    }

    /// Whether it is that of `secret`; takes the same time whatever the answer.
    pub fn is_of(&self, secret: &str) -> bool {
        self.0.ct_eq(&Self::of(secret).0).into()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest(***)")
    }
}

/// Asks for tokens and API keys.
pub(super) struct Tokens {
    tokens: Vec<(User, Digest)>,
    api_keys: Vec<(User, Digest)>,
}

impl Tokens {
    pub(super) fn new(tokens: Vec<(User, Digest)>, api_keys: Vec<(User, Digest)>) -> Self {
        Self { tokens, api_keys }
    }

    fn check(&self, attempt: &Attempt) -> Result<Identity, AuthError> {
        let (user, proof) = match &attempt.credentials {
            Some(Credentials::Token(token)) => (find(&self.tokens, token), Proof::Token),
            Some(Credentials::ApiKey(key)) => (find(&self.api_keys, key), Proof::ApiKey),
            Some(Credentials::Password { .. } | Credentials::Certificate(_)) | None => (None, Proof::Nothing),
        };
        user.map(|user| Identity::of(user, proof)).ok_or(AuthError::Refused)
    }
}

impl Authenticator for Tokens {
    fn authenticate<'a>(
        &'a self,
        attempt: &'a Attempt,
    ) -> Pin<Box<dyn Future<Output = Result<Identity, AuthError>> + Send + 'a>> {
        Box::pin(async { self.check(attempt) })
    }
}

/// Looks at every entry whatever was found, so that the time does not tell.
fn find(entries: &[(User, Digest)], secret: &str) -> Option<User> {
    let given = Digest::of(secret);
    let mut found = None;
    for (user, digest) in entries {
        if bool::from(digest.0.ct_eq(&given.0)) {
            found = Some(user);
        }
    }
    found.cloned()
}
