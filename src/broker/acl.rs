//! Who may do what.

use crate::message::{Destination, DestinationKind, Principal};

/// What a client wants to do with a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// Receive its messages.
    Subscribe,
    /// Publish to it.
    Send,
}

/// The rules.
///
/// Everyone may SUBSCRIBE to `/topic/**` and `/app/**` and SEND to `/app/**`; SEND to
/// `/topic/**` is open only while no authentication is configured.
#[derive(Debug, Clone, Copy)]
pub struct Acl {
    /// Whether clients may publish to topics.
    pub open: bool,
}

impl Acl {
    /// Whether `principal` may do that.
    pub fn allows(&self, _principal: &Principal, permission: Permission, destination: &Destination) -> bool {
        match (permission, destination.kind()) {
            (_, DestinationKind::App) | (Permission::Subscribe, DestinationKind::Topic) => true,
            (Permission::Send, DestinationKind::Topic) => self.open,
            (_, DestinationKind::Unknown) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sending_to_a_topic_is_open_only_without_authentication() {
        let topic = Destination::parse("/topic/a").unwrap();
        let app = Destination::parse("/app/a").unwrap();
        for open in [true, false] {
            let allows = |permission, destination| Acl { open }.allows(&Principal::Anonymous, permission, destination);
            assert!(allows(Permission::Subscribe, &topic));
            assert!(allows(Permission::Send, &app));
            assert_eq!(allows(Permission::Send, &topic), open);
        }
    }
}
