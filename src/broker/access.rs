//! [`Access`]: who may come in, and what they may do; swapped whole when settings are read again.

use std::collections::HashMap;

use super::acl::Acl;
use super::auth::{self, Attempt, AuthError, Authenticator, Authenticators, Identity, Proof};
use crate::message::{Principal, User};

/// Who may come in, and what they may do.
pub struct Access {
    authenticator: Box<dyn Authenticator>,
    acl: Acl,
    /// Those whom the settings name.
    users: HashMap<(Proof, Box<str>), User>,
    allows_nobody: bool,
    allows_signatures: bool,
    allows_certificates: bool,
}

impl Access {
    /// That of the settings.
    pub fn new(settings: auth::Settings) -> Self {
        let named = |proof| move |user: &User| ((proof, user.name().into()), user.clone());
        let passwords = settings.users.iter().map(|(user, _)| user).map(named(Proof::Password));
        let tokens = settings.tokens.iter().map(|(user, _)| user).map(named(Proof::Token));
        let api_keys = settings.api_keys.iter().map(|(user, _)| user).map(named(Proof::ApiKey));
        Self {
            acl: Acl { open: settings.is_open(), rules: settings.rules.clone() },
            users: passwords.chain(tokens).chain(api_keys).collect(),
            allows_nobody: settings.anonymous || settings.is_open(),
            allows_signatures: settings.jwt.is_some(),
            allows_certificates: settings.certificates,
            authenticator: Box::new(Authenticators::new(settings)),
        }
    }

    /// Lets everyone in, as nobody.
    pub fn open() -> Self {
        Self::new(auth::Settings::default())
    }

    pub(super) async fn authenticate(&self, attempt: &Attempt) -> Result<Identity, AuthError> {
        self.authenticator.authenticate(attempt).await
    }

    /// What they may do.
    pub fn acl(&self) -> &Acl {
        &self.acl
    }

    /// Who somebody is by now whom earlier settings let in, with the roles of these; `None`: they
    /// would not be let in any more. A password or a token that was only exchanged is not noticed,
    /// nor is a key that a token was signed with.
    pub fn still(&self, principal: &Principal, proof: Proof) -> Option<Principal> {
        let is_allowed = match proof {
            Proof::Nothing => self.allows_nobody,
            Proof::Signature => self.allows_signatures,
            Proof::Certificate => self.allows_certificates,
            Proof::Password | Proof::Token | Proof::ApiKey => {
                return self.users.get(&(proof, principal.name()?.into())).cloned().map(Principal::User);
            }
        };
        is_allowed.then(|| principal.clone())
    }
}
