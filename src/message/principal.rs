//! Who somebody is, what they showed to say so, and what they may ask for.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// Who a session acts for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Principal {
    /// Nobody gave credentials, and none were needed.
    Anonymous,
    /// The named user.
    User(User),
}

impl Principal {
    /// The user's name, if there is one.
    pub fn name(&self) -> Option<&str> {
        self.user().map(User::name)
    }

    /// The user, if there is one.
    pub fn user(&self) -> Option<&User> {
        match self {
            Self::Anonymous => None,
            Self::User(user) => Some(user),
        }
    }

    /// Whether both are the same one, whatever roles they have.
    pub fn is_same(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name().unwrap_or("anonymous"))
    }
}

/// Somebody with a name. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct User(Arc<Inner>);

#[derive(Debug, PartialEq, Eq, Hash)]
struct Inner {
    name: Box<str>,
    roles: Vec<Box<str>>,
    grants: Vec<Grant>,
}

impl User {
    /// A user with roles, and with what their own token says they may do.
    pub fn new(name: &str, roles: Vec<Box<str>>, grants: Vec<Grant>) -> Self {
        Self(Arc::new(Inner { name: name.into(), roles, grants }))
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The roles.
    pub fn roles(&self) -> &[Box<str>] {
        &self.0.roles
    }

    /// Whether the user has that role.
    pub fn has_role(&self, role: &str) -> bool {
        self.0.roles.iter().any(|own| **own == *role)
    }

    /// What the user's own token says; asked before the settings' rules.
    pub fn grants(&self) -> &[Grant] {
        &self.0.grants
    }
}

impl Deref for User {
    type Target = str;

    fn deref(&self) -> &str {
        self.name()
    }
}

impl From<&str> for User {
    fn from(name: &str) -> Self {
        Self::new(name, Vec::new(), Vec::new())
    }
}

/// What somebody wants to do with a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// Receive its messages.
    Subscribe,
    /// Publish to it.
    Send,
    /// Call a handler of the server, `/app/NAME`, by SEND or SUBSCRIBE.
    App,
}

impl Operation {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::Subscribe, Self::Send, Self::App];

    /// As settings, tokens and the command line write it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Subscribe => "subscribe",
            Self::Send => "send",
            Self::App => "app",
        }
    }

    /// The operation of that word.
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|operation| operation.word() == word)
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What is allowed, or is not: some operations on some destinations.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Grant {
    /// Allowed, or refused.
    pub allow: bool,
    /// The operations.
    pub operations: Vec<Operation>,
    /// Names and patterns over names; `{user}` stands for the user's own name.
    pub destinations: Vec<Box<str>>,
}

/// What a client gave to say who it is. `Debug` never shows a secret.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// A user name and a password (`login` + `passcode`, or HTTP Basic).
    Password {
        /// The user name.
        login: String,
        /// The password.
        passcode: String,
    },
    /// A bearer token: one of the settings', or a JWT.
    Token(String),
    /// A program's key, as the stream endpoints take it.
    ApiKey(String),
    /// The subject of a client certificate that TLS has verified already.
    Certificate(String),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Password { login, .. } => write!(f, "Password({login:?}, ***)"),
            Self::Token(_) => f.write_str("Token(***)"),
            Self::ApiKey(_) => f.write_str("ApiKey(***)"),
            Self::Certificate(subject) => write!(f, "Certificate({subject:?})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_credentials_show_their_secret() {
        let password = Credentials::Password { login: "ann".into(), passcode: "s3cret".into() };
        for credentials in [password, Credentials::Token("s3cret".into()), Credentials::ApiKey("s3cret".into())] {
            let shown = format!("{credentials:?}");
            assert!(shown.contains("***") && !shown.contains("s3cret"), "{shown}");
        }
    }

    #[test]
    fn the_same_user_with_other_roles_is_the_same() {
        let ann = |roles: Vec<Box<str>>| Principal::User(User::new("ann", roles, Vec::new()));
        assert!(ann(vec!["admin".into()]).is_same(&ann(vec![])));
        assert!(!ann(vec![]).is_same(&Principal::Anonymous));
        assert_ne!(ann(vec!["admin".into()]), ann(vec![]));
    }

    #[test]
    fn an_operation_is_read_as_it_is_written() {
        for operation in Operation::ALL {
            assert_eq!(Operation::of_word(operation.word()), Some(operation));
        }
        assert_eq!(Operation::of_word("SEND"), None);
    }
}
