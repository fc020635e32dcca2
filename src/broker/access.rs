//! [`Access`]: who may come in, and what they may do; swapped whole when settings are read again.

use super::acl::Acl;
use super::auth::{self, Attempt, AuthError, Authenticator, Authenticators, Identity};
use crate::message::{Destination, Operation, Principal};

/// Who may come in, and what they may do.
pub struct Access {
    authenticator: Box<dyn Authenticator>,
    acl: Acl,
}

impl Access {
    /// That of the settings.
    pub fn new(settings: auth::Settings) -> Self {
        let acl = Acl { open: settings.is_open() };
        Self { authenticator: Box::new(Authenticators::new(settings)), acl }
    }

    /// Lets everyone in, as nobody.
    pub fn open() -> Self {
        Self::new(auth::Settings::default())
    }

    pub(super) async fn authenticate(&self, attempt: &Attempt) -> Result<Identity, AuthError> {
        self.authenticator.authenticate(attempt).await
    }

    pub(super) fn allows(&self, principal: &Principal, operation: Operation, destination: &Destination) -> bool {
        self.acl.allows(principal, operation, destination)
    }
}
