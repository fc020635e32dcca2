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

/// What a session keeps of the secret, hash or key that its client was let in by: enough to see
/// whether the settings still have it, and too little to be let in with.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mark(u64);

impl Digest {
    /// That of a secret.
    pub fn of(secret: impl AsRef<[u8]>) -> Self {
        Self(Sha256::digest(secret).into())
    }

    /// The mark of what this is the digest of.
    pub fn mark(&self) -> Mark {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        Mark(u64::from_le_bytes([a, b, c, d, e, f, g, h]))
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

impl fmt::Debug for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mark(***)")
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
        let of = |entries, secret, proof: fn(Mark) -> Proof| {
            let (user, digest) = find(entries, secret)?;
            Some(Identity::of(user.clone(), proof(digest.mark())))
        };
        let identity = match &attempt.credentials {
            Some(Credentials::Token(token)) => of(&self.tokens, token, Proof::Token),
            Some(Credentials::ApiKey(key)) => of(&self.api_keys, key, Proof::ApiKey),
            Some(Credentials::Password { .. } | Credentials::Certificate(_)) | None => None,
        };
        identity.ok_or(AuthError::Refused)
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
fn find<'a>(entries: &'a [(User, Digest)], secret: &str) -> Option<&'a (User, Digest)> {
    let given = Digest::of(secret);
    let mut found = None;
    for entry in entries {
        if bool::from(entry.1.0.ct_eq(&given.0)) {
            found = Some(entry);
        }
    }
    found
}
