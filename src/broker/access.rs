//! [`Access`]: who may come in, and what they may do; swapped whole when settings are read again.

use super::acl::{Acl, Decision};
use super::auth::{self, Attempt, AuthError, Authenticator, Authenticators, Identity};
use super::pattern::Separators;
use crate::message::{Destination, Operation, Principal};

/// Who may come in, and what they may do.
pub struct Access {
    authenticator: Box<dyn Authenticator>,
    acl: Acl,
}

impl Access {
    /// That of the settings.
    pub fn new(settings: auth::Settings) -> Self {
        let acl = Acl { open: settings.is_open(), rules: settings.rules.clone() };
        Self { authenticator: Box::new(Authenticators::new(settings)), acl }
    }

    /// Lets everyone in, as nobody.
    pub fn open() -> Self {
        Self::new(auth::Settings::default())
    }

    pub(super) async fn authenticate(&self, attempt: &Attempt) -> Result<Identity, AuthError> {
        self.authenticator.authenticate(attempt).await
    }

    /// Whether `principal` may do that, as [`Acl::decide`].
    pub fn may(
        &self,
        principal: &Principal,
        operation: Operation,
        destination: &Destination,
        separators: Separators,
    ) -> Decision {
        self.acl.decide(principal, operation, destination, separators)
    }
}
