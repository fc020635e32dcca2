//! [`Access`]: who may come in, and what they may do; swapped whole when settings are read again.

use std::collections::{HashMap, HashSet};

use tracing::info;

use super::acl::Acl;
use super::auth::{self, Attempt, AuthError, Authenticator, Authenticators, Failures, Identity, Proof, jwt};
use crate::message::{Credentials, Principal, User};

/// Who may come in, and what they may do.
pub struct Access {
    authenticator: Box<dyn Authenticator>,
    failures: Failures,
    acl: Acl,
    /// Those whom the settings name.
    users: HashMap<(Proof, Box<str>), User>,
    allows_nobody: bool,
    /// What signed tokens may be good by.
    signatures: HashSet<Proof>,
    allows_certificates: bool,
}

impl Access {
    /// That of the settings.
    pub fn new(settings: auth::Settings) -> Self {
        let named = |user: &User, proof| ((proof, user.name().into()), user.clone());
        let passwords = settings.users.iter().map(|(user, password)| named(user, Proof::Password(password.mark())));
        let tokens = settings.tokens.iter().map(|(user, digest)| named(user, Proof::Token(digest.mark())));
        let api_keys = settings.api_keys.iter().map(|(user, digest)| named(user, Proof::ApiKey(digest.mark())));
        Self {
            acl: Acl { open: settings.is_open(), rules: settings.rules.clone() },
            users: passwords.chain(tokens).chain(api_keys).collect(),
            allows_nobody: settings.anonymous || settings.is_open(),
            signatures: settings.jwt.iter().flat_map(jwt::Settings::proofs).collect(),
            allows_certificates: settings.certificates,
            failures: Failures::new(settings.failures_per_minute),
            authenticator: Box::new(Authenticators::new(settings)),
        }
    }

    /// Lets everyone in, as nobody.
    pub fn open() -> Self {
        Self::new(auth::Settings::default())
    }

    pub(super) async fn authenticate(&self, attempt: &Attempt) -> Result<Identity, AuthError> {
        // Only what can be guessed counts: not a signature, nor a certificate, which TLS has verified, nor
        // nothing. Behind one address there may be many, whom another's bad tokens must not lock out.
        let peer = attempt.peer.filter(|_| match &attempt.credentials {
            Some(Credentials::Token(token)) => !jwt::is_signed(token),
            Some(Credentials::Password { .. } | Credentials::ApiKey(_)) => true,
            Some(Credentials::Certificate(_)) | None => false,
        });
        if let Some(retry_after) = peer.and_then(|peer| self.failures.wait(peer)) {
            return Err(AuthError::TooMany { retry_after });
        }
        let checked = self.authenticator.authenticate(attempt).await;
        if checked == Err(AuthError::Refused)
            && let Some(peer) = peer
            && self.failures.add(peer)
        {
            info!(%peer, "too many logins failed: no more of this address are checked for the rest of the minute");
        }
        checked
    }

    /// What they may do.
    pub fn acl(&self) -> &Acl {
        &self.acl
    }

    /// Who somebody is by now whom earlier settings let in, with the roles of these; `None`: by
    /// what they showed then they would not be let in any more. Of a signed token only the key is
    /// looked at, and of a published one where it is published: a provider may take a key back
    /// while tokens of it are good.
    pub fn still(&self, principal: &Principal, proof: Proof) -> Option<Principal> {
        let is_allowed = match proof {
            Proof::Nothing => self.allows_nobody,
            Proof::Signature(_) | Proof::Published(_) => self.signatures.contains(&proof),
            Proof::Certificate => self.allows_certificates,
            Proof::Password(_) | Proof::Token(_) | Proof::ApiKey(_) => {
                return self.users.get(&(proof, principal.name()?.into())).cloned().map(Principal::User);
            }
        };
        is_allowed.then(|| principal.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::auth::jwt::{Algorithm, Fetch, Keys, Names, Source};
    use super::auth::{Digest, Password, Settings, hash_password};
    use super::*;
    use crate::message::Credentials;

    #[tokio::test]
    async fn a_session_stands_as_long_as_the_settings_have_what_its_client_showed() {
        let hash = hash_password("a").unwrap();
        let hashed = |hash: &str| users(Password::hashed(hash).unwrap());
        let password = || Credentials::Password { login: "ann".into(), passcode: "a".into() };
        let token = || Credentials::Token("a".into());
        let key = || Credentials::ApiKey("a".into());
        for (before, shown, after, stands) in [
            (users(Password::plain("a")), password(), users(Password::plain("a")), true),
            (users(Password::plain("a")), password(), users(Password::plain("b")), false),
            (users(Password::plain("a")), password(), hashed(&hash), false),
            (users(Password::plain("a")), password(), tokens(&["a"]), false),
            (hashed(&hash), password(), hashed(&hash), true),
            (hashed(&hash), password(), hashed(&hash_password("a").unwrap()), false),
            (tokens(&["a"]), token(), tokens(&["a"]), true),
            (tokens(&["a"]), token(), tokens(&["b"]), false),
            (tokens(&["a"]), token(), tokens(&["b", "a"]), true),
            (tokens(&["a", "b"]), token(), tokens(&["b"]), false),
            (tokens(&["a"]), token(), api_keys("a"), false),
            (api_keys("a"), key(), api_keys("a"), true),
            (api_keys("a"), key(), api_keys("b"), false),
        ] {
            let attempt = Attempt { credentials: Some(shown), peer: None };
            let identity = Access::new(before).authenticate(&attempt).await.unwrap();
            let still = Access::new(after).still(&identity.principal, identity.proof);
            assert_eq!(still.is_some(), stands, "{:?}", attempt.credentials);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn after_too_many_failures_an_address_is_not_let_in_with_good_credentials_and_others_are() {
        let access = Access::new(Settings { failures_per_minute: 2, anonymous: true, ..tokens(&["good"]) });
        let from = |token: &str, host: u8| Attempt {
            credentials: Some(Credentials::Token(token.into())),
            peer: Some(std::net::IpAddr::from([127, 0, 0, host])),
        };
        assert_eq!(access.authenticate(&from("bad", 1)).await, Err(AuthError::Refused));
        for _ in 0..3 {
            assert!(access.authenticate(&from("good", 1)).await.is_ok(), "what is good does not count");
        }
        assert_eq!(access.authenticate(&from("bad", 1)).await, Err(AuthError::Refused));
        let retry_after = Duration::from_secs(60);
        for token in ["bad", "good"] {
            assert_eq!(access.authenticate(&from(token, 1)).await, Err(AuthError::TooMany { retry_after }));
        }
        assert_eq!(access.authenticate(&from("a.signed.token", 1)).await, Err(AuthError::Refused));
        assert!(access.authenticate(&from("good", 2)).await.is_ok());
        assert!(access.authenticate(&Attempt { credentials: None, ..from("", 1) }).await.is_ok());
        tokio::time::advance(retry_after).await;
        assert!(access.authenticate(&from("good", 1)).await.is_ok());
    }

    #[test]
    fn a_session_on_a_signed_token_stands_as_long_as_its_key_is_among_those_of_the_settings_or_published_there() {
        let ann = Principal::User("ann".into());
        let [one, other] = [1, 2].map(|octet| Keys::of_secret(&[octet; 32]).unwrap());
        let (here, there) = ("https://here.example", "https://there.example");
        let with = |algorithm, keys: &Keys, url: &str| signed(vec![algorithm], keys.clone(), url);
        let hs256 = |keys: &Keys, url: &str| with(Algorithm::Hs256, keys, url);
        for (before, after, stands) in [
            (hs256(&one, ""), hs256(&one, ""), true),
            (hs256(&one, ""), hs256(&other.clone().and(one.clone()), ""), true),
            (hs256(&one, ""), hs256(&other, ""), false),
            (hs256(&one, ""), with(Algorithm::Es256, &one, ""), false),
            (hs256(&one, ""), hs256(&Keys::default(), here), false),
            (hs256(&one, ""), Settings { anonymous: true, ..Settings::default() }, false),
            (hs256(&Keys::default(), here), hs256(&one, here), true),
            (hs256(&Keys::default(), here), hs256(&one, there), false),
            (hs256(&Keys::default(), here), hs256(&one, ""), false),
        ] {
            let proof = before.jwt.unwrap().proofs().next().unwrap();
            assert_eq!(Access::new(after).still(&ann, proof).is_some(), stands, "{proof:?}");
        }
    }

    fn users(password: Password) -> Settings {
        Settings { users: vec![("ann".into(), password)], ..Settings::default() }
    }

    fn tokens(secrets: &[&str]) -> Settings {
        let tokens = secrets.iter().map(|secret| ("ann".into(), Digest::of(secret))).collect();
        Settings { tokens, ..Settings::default() }
    }

    fn api_keys(secret: &str) -> Settings {
        Settings { api_keys: vec![("ann".into(), Digest::of(secret))], ..Settings::default() }
    }

    fn signed(algorithms: Vec<Algorithm>, keys: Keys, url: &str) -> Settings {
        let source = Source {
            url: url.into(),
            roots: "".into(),
            fetch: Arc::new(OutOfReach),
            refresh: Duration::from_secs(300),
            min_interval: Duration::from_secs(30),
            known: Arc::default(),
        };
        let source = Some(source).filter(|_| !url.is_empty());
        let names = Names { name: "sub".into(), roles: String::new(), rules: String::new() };
        let (issuers, audiences, leeway) = (Vec::new(), Vec::new(), Duration::ZERO);
        let jwt = jwt::Settings { algorithms, keys, source, issuers, audiences, leeway, names };
        Settings { jwt: Some(jwt), ..Settings::default() }
    }

    struct OutOfReach;

    impl Fetch for OutOfReach {
        fn fetch(&self) -> Result<Vec<u8>, String> {
            Err("out of reach".into())
        }
    }
}
