//! Who may do what.

use crate::message::{Destination, DestinationKind, Operation, Principal};

/// The rules.
///
/// Everyone may SUBSCRIBE to `/topic/**` and `/app/**` and SEND to `/app/**`; SEND to
/// `/topic/**` is open only while no authentication is configured, and never to `/topic/$sys/**`.
/// Queues are for named users, or for everyone while no authentication is configured. A
/// temporary queue's full name is known only to those it was told; `/user/**` needs a name.
#[derive(Debug, Clone, Copy)]
pub struct Acl {
    /// Whether clients may publish to topics.
    pub open: bool,
}

impl Acl {
    /// Whether `principal` may do that.
    pub fn allows(&self, principal: &Principal, operation: Operation, destination: &Destination) -> bool {
        match (operation, destination.kind()) {
            (_, DestinationKind::App | DestinationKind::TempQueue) | (Operation::Subscribe, DestinationKind::Topic) => {
                true
            }
            (Operation::Send | Operation::App, DestinationKind::Topic) => self.open && !is_broker_own(destination),
            (_, DestinationKind::Queue) => self.open || principal.name().is_some(),
            (_, DestinationKind::User) => principal.name().is_some(),
            (_, DestinationKind::Unknown) => false,
        }
    }
}

/// What only the broker itself publishes.
fn is_broker_own(destination: &Destination) -> bool {
    let mut words = destination.as_str().split(['/', '.']).skip(2);
    words.next() == Some("$sys")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sending_to_a_topic_is_open_only_without_authentication() {
        let topic = Destination::parse("/topic/a").unwrap();
        let app = Destination::parse("/app/a").unwrap();
        for open in [true, false] {
            let allows = |operation, destination| Acl { open }.allows(&Principal::Anonymous, operation, destination);
            assert!(allows(Operation::Subscribe, &topic));
            assert!(allows(Operation::Send, &app));
            assert_eq!(allows(Operation::Send, &topic), open);
        }
    }

    #[test]
    fn nobody_sends_to_the_brokers_own_topics() {
        let allows = |name| {
            let destination = Destination::parse(name).unwrap();
            Acl { open: true }.allows(&Principal::Anonymous, Operation::Send, &destination)
        };
        assert!(!allows("/topic/$sys/broker") && !allows("/topic/$sys.broker") && !allows("/topic/$sys"));
        assert!(allows("/topic/sys") && allows("/topic/$system") && allows("/topic/a/$sys"));
    }

    #[test]
    fn queues_are_for_named_users_where_there_are_any_and_user_destinations_always() {
        let ann = Principal::User("ann".into());
        for operation in [Operation::Subscribe, Operation::Send] {
            let allows =
                |open, principal, name| Acl { open }.allows(principal, operation, &Destination::parse(name).unwrap());
            assert!(allows(true, &Principal::Anonymous, "/queue/a"));
            assert!(!allows(false, &Principal::Anonymous, "/queue/a"));
            assert!(allows(false, &ann, "/queue/a"));
            assert!(!allows(true, &Principal::Anonymous, "/user/ann/queue/a"));
            assert!(allows(false, &ann, "/user/bob/queue/a"));
            assert!(allows(false, &Principal::Anonymous, "/temp-queue/k/a"));
        }
    }
}
