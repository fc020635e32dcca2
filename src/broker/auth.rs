//! Who a client is.
//!
//! [`Authenticators`] asks each kind of proof that the settings name: passwords, tokens, API
//! keys, signed tokens, certificates. The first that knows the credentials decides.

mod failures;
mod gate;
pub mod jwt;
mod passwords;
mod tokens;

use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::time::Duration;

pub(super) use self::failures::Failures;
pub use self::gate::Limits;
use self::passwords::Passwords;
pub use self::passwords::{Password, PasswordError, hash_password};
use self::tokens::Tokens;
pub use self::tokens::{Digest, Mark};
use crate::broker::acl::Rule;
use crate::message::{Credentials, Principal, User};

/// Decides who a client is.
///
/// A refusal says nothing of what was wrong: neither to the client nor, as far as can be, by
/// the time it takes. The future is dropped where the client goes away; it must be bounded in
/// time by itself, for the client is not read from meanwhile.
pub trait Authenticator: Send + Sync {
    /// The identity behind an attempt to come in.
    ///
    /// # Errors
    /// The credentials are not good, are of a kind that this one does not know, or cannot be
    /// checked now.
    fn authenticate<'a>(
        &'a self,
        attempt: &'a Attempt,
    ) -> Pin<Box<dyn Future<Output = Result<Identity, AuthError>> + Send + 'a>>;
}

/// Somebody who wants to come in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Attempt {
    /// What was given; `None`: nothing.
    pub credentials: Option<Credentials>,
    /// From where, where that is known: what costs much is limited for each address.
    pub peer: Option<IpAddr>,
}

/// Who somebody is, and for how long that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Who.
    pub principal: Principal,
    /// By what they showed it.
    pub proof: Proof,
    /// When the proof expires, in milliseconds since the Unix epoch; `None`: never.
    pub expires_at_ms: Option<u64>,
}

/// By what somebody showed who they are. Where the settings have many of a kind, the mark says
/// which it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Proof {
    /// Nothing: nobody asked.
    Nothing,
    /// A password of the settings' users.
    Password(Mark),
    /// One of the settings' tokens.
    Token(Mark),
    /// One of the settings' API keys.
    ApiKey(Mark),
    /// A token that is signed with one of the settings' keys.
    Signature(Mark),
    /// A token that is signed with a key that is published at the settings' URL.
    Published(Mark),
    /// A client certificate.
    Certificate,
}

/// Why nobody was let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthError {
    /// The credentials are not good, or none were given and some are needed.
    Refused,
    /// Too many attempts wait to be checked, in all or from that address.
    Busy,
    /// Too many attempts of that address failed; it is to come again after that long.
    TooMany {
        /// Less than a minute.
        retry_after: Duration,
    },
    /// What is needed for the check cannot be had now.
    Unavailable,
}

/// What is known of those who may come in.
#[derive(Clone, Default)]
pub struct Settings {
    /// Whether nobody has to say who they are, although somebody could.
    pub anonymous: bool,
    /// Users with a password.
    pub users: Vec<(User, Password)>,
    /// Holders of a bearer token.
    pub tokens: Vec<(User, Digest)>,
    /// Programs with a key.
    pub api_keys: Vec<(User, Digest)>,
    /// Signed tokens.
    pub jwt: Option<jwt::Settings>,
    /// Whether a client certificate that TLS verified says who somebody is.
    pub certificates: bool,
    /// What they may do.
    pub rules: Vec<Rule>,
    /// The bounds on checks that cost much.
    pub limits: Limits,
    /// How many attempts of one address may fail in a minute; zero: any number.
    pub failures_per_minute: u32,
}

impl Settings {
    /// Whether nobody can say who they are, so that everyone is let in.
    pub fn is_open(&self) -> bool {
        let has_lists = !(self.users.is_empty() && self.tokens.is_empty() && self.api_keys.is_empty());
        !has_lists && self.jwt.is_none() && !self.certificates
    }

    /// Goes on with what is known by earlier settings, and holds by these, too.
    pub fn continue_from(&mut self, before: &Self) {
        if let (Some(jwt), Some(before)) = (&mut self.jwt, &before.jwt) {
            jwt.continue_from(before);
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = (self.users.len(), self.tokens.len(), self.api_keys.len());
        write!(f, "Settings {{ anonymous: {}, users, tokens, keys: {counts:?} }}", self.anonymous)
    }
}

/// Several at once: the first that lets somebody in decides.
pub struct Authenticators {
    each: Vec<Box<dyn Authenticator>>,
    is_open: bool,
    allows_anonymous: bool,
    allows_certificates: bool,
}

impl Authenticators {
    /// Those of the settings. With nobody known, all are let in.
    pub fn new(settings: Settings) -> Self {
        let is_open = settings.is_open();
        let Settings { anonymous, users, tokens, api_keys, jwt, certificates, limits, .. } = settings;
        let mut each: Vec<Box<dyn Authenticator>> =
            vec![Box::new(Passwords::new(users, limits)), Box::new(Tokens::new(tokens, api_keys))];
        if let Some(jwt) = jwt {
            each.push(Box::new(jwt::Tokens::new(jwt)));
        }
        Self { each, is_open, allows_anonymous: anonymous, allows_certificates: certificates }
    }

    /// Lets everyone in, as nobody.
    pub fn open() -> Self {
        Self::new(Settings::default())
    }

    async fn ask(&self, attempt: &Attempt) -> Result<Identity, AuthError> {
        // Without users a front end may still send credentials it was written with; they
        // cannot be wrong.
        if self.is_open {
            return Ok(Identity::NOBODY);
        }
        let Some(credentials) = &attempt.credentials else {
            return if self.allows_anonymous { Ok(Identity::NOBODY) } else { Err(AuthError::Refused) };
        };
        if let Credentials::Certificate(subject) = credentials {
            let identity = Identity::of(subject.as_str().into(), Proof::Certificate);
            return if self.allows_certificates && identity.is_fit() { Ok(identity) } else { Err(AuthError::Refused) };
        }
        let mut error = AuthError::Refused;
        for authenticator in &self.each {
            match authenticator.authenticate(attempt).await {
                Ok(identity) if identity.is_fit() => return Ok(identity),
                Ok(_) | Err(AuthError::Refused) => {}
                // Another may still know them; otherwise this is what the client should hear.
                Err(other) => error = other,
            }
        }
        Err(error)
    }
}

impl Authenticator for Authenticators {
    fn authenticate<'a>(
        &'a self,
        attempt: &'a Attempt,
    ) -> Pin<Box<dyn Future<Output = Result<Identity, AuthError>> + Send + 'a>> {
        Box::pin(self.ask(attempt))
    }
}

impl Identity {
    /// Nobody in particular.
    const NOBODY: Self = Self { principal: Principal::Anonymous, proof: Proof::Nothing, expires_at_ms: None };

    /// A user for as long as the settings know them.
    pub fn of(user: User, proof: Proof) -> Self {
        Self { principal: Principal::User(user), proof, expires_at_ms: None }
    }

    /// Whether the name can be a word of a destination, a header and a line of the log.
    fn is_fit(&self) -> bool {
        self.principal.name().is_none_or(is_name)
    }
}

/// Whether somebody may be called so: 1 to 255 octets without control characters.
pub fn is_name(name: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&name.len()) && !name.contains(char::is_control)
}

/// The longest name of a principal or a role, in octets.
pub const MAX_NAME_BYTES: usize = 255;

#[cfg(test)]
mod tests;
