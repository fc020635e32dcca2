//! Users with passwords: argon2id hashes, or passcodes as they are.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Argon2, Params};
use tokio::task::spawn_blocking;

use super::gate::{Gate, Limits};
use super::tokens::{Digest, Mark};
use super::{Attempt, AuthError, Authenticator, Identity, Proof};
use crate::message::{Credentials, User};

/// How a user's password is kept.
#[derive(Clone, PartialEq, Eq)]
pub enum Password {
    /// A digest of the password as it stands in the settings: quick to check, and as safe as
    /// that file.
    Plain(Digest),
    /// An argon2id hash in the PHC form, `$argon2id$v=19$m=…`.
    Hashed(Arc<str>),
}

/// Why a text is no hash of a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// Not a hash of the kind that `stompbox hash-password` prints.
    #[error("it is no argon2id hash; make one with stompbox hash-password")]
    NotArgon2id,
    /// The system has no random numbers, or no memory.
    #[error("the password cannot be hashed: {0}")]
    Hash(String),
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(***)")
    }
}

impl Password {
    /// Takes a password as it is.
    pub fn plain(passcode: &str) -> Self {
        Self::Plain(Digest::of(passcode))
    }

    /// Takes an argon2id hash.
    ///
    /// # Errors
    /// The text is none.
    pub fn hashed(hash: &str) -> Result<Self, PasswordError> {
        let parsed = PasswordHash::new(hash).map_err(|_| PasswordError::NotArgon2id)?;
        let is_complete = parsed.salt.is_some() && parsed.hash.is_some();
        if parsed.algorithm.as_str() != "argon2id" || !is_complete {
            return Err(PasswordError::NotArgon2id);
        }
        Ok(Self::Hashed(hash.into()))
    }

    /// The mark of what is kept: a new hash of the same password has another.
    pub fn mark(&self) -> Mark {
        match self {
            Self::Plain(digest) => digest.mark(),
            Self::Hashed(hash) => Digest::of(&**hash).mark(),
        }
    }
}

/// The argon2id hash of a password, with a salt of its own and OWASP's parameters (19 MiB, two
/// passes, one lane).
///
/// # Errors
/// The system has no random numbers.
pub fn hash_password(password: &str) -> Result<String, PasswordError> {
    let hash = Argon2::default().hash_password(password.as_bytes());
    hash.map(|hash| hash.to_string()).map_err(|error| PasswordError::Hash(error.to_string()))
}

/// Asks for users by name.
pub(super) struct Passwords {
    users: HashMap<Box<str>, (User, Password)>,
    /// What a name that nobody has is checked against, so that it takes as long as the one of
    /// somebody whose hash takes longest.
    nobody: Option<Arc<str>>,
    gate: Gate,
}

impl Passwords {
    pub(super) fn new(users: Vec<(User, Password)>, limits: Limits) -> Self {
        let hashes = users.iter().filter_map(|(_, password)| match password {
            Password::Hashed(hash) => Some(hash),
            Password::Plain(_) => None,
        });
        let nobody = hashes.max_by_key(|hash| cost(hash)).map(Arc::clone);
        let users = users.into_iter().map(|(user, password)| (user.name().into(), (user, password))).collect();
        Self { users, nobody, gate: Gate::new(limits) }
    }

    async fn check(&self, attempt: &Attempt) -> Result<Identity, AuthError> {
        let Some(Credentials::Password { login, passcode }) = &attempt.credentials else {
            return Err(AuthError::Refused);
        };
        let entry = self.users.get(login.as_str());
        let identity = || entry.map(|(user, password)| Identity::of(user.clone(), Proof::Password(password.mark())));
        let hash = match (entry, &self.nobody) {
            (Some((_, Password::Plain(digest))), _) => {
                return identity().filter(|_| digest.is_of(passcode)).ok_or(AuthError::Refused);
            }
            (Some((_, Password::Hashed(hash))), _) | (None, Some(hash)) => hash,
            (None, None) => return Err(AuthError::Refused),
        };
        let (permit, _place) = self.gate.enter(attempt.peer).await?;
        let (hash, passcode) = (Arc::clone(hash), passcode.clone());
        let checked = spawn_blocking(move || {
            let is_right = is_right(&hash, &passcode);
            drop(permit);
            is_right
        });
        let is_right = checked.await.map_err(|_| AuthError::Unavailable)?;
        identity().filter(|_| is_right).ok_or(AuthError::Refused)
    }
}

impl Authenticator for Passwords {
    fn authenticate<'a>(
        &'a self,
        attempt: &'a Attempt,
    ) -> Pin<Box<dyn Future<Output = Result<Identity, AuthError>> + Send + 'a>> {
        Box::pin(self.check(attempt))
    }
}

/// What a check costs, in KiB that are gone through.
fn cost(hash: &str) -> u64 {
    let params = PasswordHash::new(hash).ok().and_then(|hash| Params::try_from(&hash).ok());
    params.map_or(0, |params| u64::from(params.m_cost()) * u64::from(params.t_cost()))
}

fn is_right(hash: &str, passcode: &str) -> bool {
    let parsed = PasswordHash::new(hash);
    parsed.is_ok_and(|hash| Argon2::default().verify_password(passcode.as_bytes(), &hash).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_nobody_has_costs_as_much_as_the_costliest_hash() {
        let hash = |m: u32, t: u32| {
            let argon =
                Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, Params::new(m, t, 1, None).unwrap());
            argon.hash_password(b"a").unwrap().to_string()
        };
        let (cheap, costly) = (hash(64, 1), hash(32, 3));
        for hashes in [[&cheap, &costly], [&costly, &cheap]] {
            let users = hashes.map(|hash| (User::from(hash.as_str()), Password::hashed(hash).unwrap())).into();
            assert_eq!(Passwords::new(users, Limits::default()).nobody.as_deref(), Some(costly.as_str()));
        }
    }
}
