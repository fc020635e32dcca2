//! Who a client is.

use std::sync::Arc;

use subtle::ConstantTimeEq;

use crate::message::{Credentials, Principal};

/// Decides who a client is.
///
/// A refusal says nothing of what was wrong: neither to the client nor by the time it takes.
pub trait Authenticator: Send + Sync {
    /// The principal of these credentials.
    ///
    /// # Errors
    /// They are not good, or none were given and some are needed.
    fn authenticate(&self, credentials: Option<&Credentials>) -> Result<Principal, AccessRefused>;

    /// Whether anybody may connect without saying who it is, because no user is known.
    fn is_open(&self) -> bool;
}

/// The credentials were not good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccessRefused;

/// Users and tokens from the settings.
pub struct StaticAuthenticator {
    users: Vec<(Arc<str>, String)>,
    tokens: Vec<(Arc<str>, String)>,
    allows_anonymous: bool,
}

impl StaticAuthenticator {
    /// Takes pairs of user name and password, and of user name and token. `anonymous` lets
    /// clients without credentials in; with neither users nor tokens all are let in.
    pub fn new(users: Vec<(String, String)>, tokens: Vec<(String, String)>, anonymous: bool) -> Self {
        let named = |pairs: Vec<(String, String)>| {
            pairs.into_iter().map(|(name, secret)| (name.into(), secret)).collect::<Vec<_>>()
        };
        Self { users: named(users), tokens: named(tokens), allows_anonymous: anonymous }
    }
}

impl Authenticator for StaticAuthenticator {
    fn authenticate(&self, credentials: Option<&Credentials>) -> Result<Principal, AccessRefused> {
        // Without users a front end may still send credentials it was written with; they
        // cannot be wrong.
        if self.is_open() {
            return Ok(Principal::Anonymous);
        }
        match credentials {
            None if self.allows_anonymous => Ok(Principal::Anonymous),
            None => Err(AccessRefused),
            Some(Credentials::Password { login, passcode }) => {
                find(&self.users, |name, secret| equal(name, login) & equal(secret, passcode))
            }
            Some(Credentials::Token(token)) => find(&self.tokens, |_, secret| equal(secret, token)),
        }
    }

    fn is_open(&self) -> bool {
        self.users.is_empty() && self.tokens.is_empty()
    }
}

/// Looks at every entry whatever was found, so that the time does not tell.
fn find(entries: &[(Arc<str>, String)], is_it: impl Fn(&str, &str) -> bool) -> Result<Principal, AccessRefused> {
    let mut found = None;
    for (name, secret) in entries {
        if is_it(name, secret) {
            found = Some(name);
        }
    }
    found.map(|name| Principal::User(Arc::clone(name))).ok_or(AccessRefused)
}

fn equal(a: &str, b: &str) -> bool {
    a.as_bytes().ct_eq(b.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_users_and_tokens_all_are_let_in_whatever_they_say() {
        let open = StaticAuthenticator::new(vec![], vec![], false);
        assert_eq!(open.authenticate(None), Ok(Principal::Anonymous));
        assert_eq!(open.authenticate(Some(&Credentials::Token("any".into()))), Ok(Principal::Anonymous));
    }

    #[test]
    fn a_user_is_let_in_with_its_own_password_only() {
        let auth = authenticator(false);
        assert_eq!(auth.authenticate(Some(&password("ann", "a"))), Ok(Principal::User("ann".into())));
        assert_eq!(auth.authenticate(Some(&password("ann", "b"))), Err(AccessRefused));
        assert_eq!(auth.authenticate(Some(&password("bob", "a"))), Err(AccessRefused));
        assert_eq!(auth.authenticate(Some(&password("", ""))), Err(AccessRefused));
    }

    #[test]
    fn a_token_names_its_user() {
        let auth = authenticator(false);
        assert_eq!(auth.authenticate(Some(&Credentials::Token("t".into()))), Ok(Principal::User("ci".into())));
        assert_eq!(auth.authenticate(Some(&Credentials::Token("a".into()))), Err(AccessRefused));
    }

    #[test]
    fn no_credentials_are_enough_only_where_anonymous_is_set() {
        assert_eq!(authenticator(false).authenticate(None), Err(AccessRefused));
        assert_eq!(authenticator(true).authenticate(None), Ok(Principal::Anonymous));
        assert_eq!(authenticator(true).authenticate(Some(&password("ann", "b"))), Err(AccessRefused));
    }

    fn authenticator(anonymous: bool) -> StaticAuthenticator {
        let users = vec![("ann".into(), "a".into()), ("bob".into(), "b".into())];
        StaticAuthenticator::new(users, vec![("ci".into(), "t".into())], anonymous)
    }

    fn password(login: &str, passcode: &str) -> Credentials {
        Credentials::Password { login: login.into(), passcode: passcode.into() }
    }
}
