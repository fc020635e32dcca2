//! A shard's own table: destination and patterns to its subscribers. Single-threaded.

use std::collections::HashMap;
use std::rc::Rc;

use super::pattern::{Pattern, PatternMap};
use crate::message::{Destination, MessageId, Overflow, SubscriptionId};

/// Where a delivery goes: a connection of the shard and a subscription of its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// The connection's place in the shard's table.
    pub connection: ConnectionKey,
    /// The session's own number of the subscription.
    pub subscription: SubscriptionId,
    /// What a full mailbox does.
    pub overflow: Overflow,
    /// The newest message that reached the subscription as a retained value: it, and what is
    /// older, is not delivered again.
    pub seen: Option<MessageId>,
}

/// A connection's number in its shard, never used twice there: a late route must not reach
/// the connection that took over a place in the shard's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionKey {
    /// The place in the table.
    pub place: u32,
    /// Which of the connections that had that place.
    pub turn: u32,
}

/// The subscribers of one destination or pattern. A copy taken for a slow fan-out stays as it
/// was while the table changes.
pub type Routes = Rc<Vec<Route>>;

/// A shard's subscriptions.
#[derive(Debug, Default)]
pub struct Router {
    exact: HashMap<Destination, Routes>,
    patterns: PatternMap<Routes>,
}

impl Router {
    /// Adds a subscription; answers whether it is the first of its destination or pattern here.
    pub fn subscribe(&mut self, destination: &Destination, route: Route) -> bool {
        let routes = match Pattern::of(destination) {
            Some(pattern) => self.patterns.entry(&pattern),
            None => self.exact.entry(destination.clone()).or_default(),
        };
        Rc::make_mut(routes).push(route);
        routes.len() == 1
    }

    /// Removes a subscription; answers whether it was the last of its destination or pattern here.
    pub fn unsubscribe(
        &mut self,
        destination: &Destination,
        connection: ConnectionKey,
        subscription: SubscriptionId,
    ) -> bool {
        let remove = |routes: &mut Routes| {
            let routes = Rc::make_mut(routes);
            let of = |route: &Route| route.connection == connection && route.subscription == subscription;
            if let Some(at) = routes.iter().position(of) {
                routes.swap_remove(at);
                shrink(routes);
            }
            !routes.is_empty()
        };
        let mut last = false;
        match Pattern::of(destination) {
            Some(pattern) => self.patterns.update(&pattern, |routes| {
                let keep = remove(routes);
                last = !keep;
                keep
            }),
            None => {
                if let Some(routes) = self.exact.get_mut(destination) {
                    last = !remove(routes);
                }
                if last {
                    self.exact.remove(destination);
                }
            }
        }
        last
    }

    /// Hands every list of subscribers that a message to `destination` goes to to `found`.
    pub fn route(&self, destination: &Destination, mut found: impl FnMut(&Routes)) {
        if let Some(routes) = self.exact.get(destination) {
            found(routes);
        }
        self.patterns.matching(destination, &mut found);
    }

    /// How many subscriptions there are.
    #[cfg(test)]
    fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.patterns.is_empty()
    }
}

/// Gives memory back after many left; keeps half as slack, so that one who comes and goes
/// does not cost a move of the table each time.
fn shrink(routes: &mut Vec<Route>) {
    if routes.capacity() > 64 && routes.len() * 4 < routes.capacity() {
        routes.shrink_to(routes.len() * 2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_reaches_exact_and_pattern_subscribers() {
        let mut router = Router::default();
        assert!(router.subscribe(&destination("/topic/a"), route(1, 0)));
        assert!(!router.subscribe(&destination("/topic/a"), route(2, 0)));
        assert!(router.subscribe(&destination("/topic/*"), route(3, 0)));
        assert_eq!(reached(&router, "/topic/a"), [1, 2, 3]);
        assert_eq!(reached(&router, "/topic/b"), [3]);
        assert_eq!(reached(&router, "/app/b"), [0; 0]);
    }

    #[test]
    fn the_last_to_leave_is_told_and_leaves_nothing_behind() {
        let mut router = Router::default();
        for name in ["/topic/a", "/topic/#"] {
            router.subscribe(&destination(name), route(1, 0));
            router.subscribe(&destination(name), route(1, 1));
            assert!(!router.unsubscribe(&destination(name), key(1), SubscriptionId(0)));
            assert!(!router.unsubscribe(&destination(name), key(2), SubscriptionId(1)));
            assert!(router.unsubscribe(&destination(name), key(1), SubscriptionId(1)));
            assert!(!router.unsubscribe(&destination(name), key(1), SubscriptionId(1)));
        }
        assert!(router.is_empty());
    }

    #[test]
    fn a_list_in_use_does_not_change_under_the_reader() {
        let mut router = Router::default();
        router.subscribe(&destination("/topic/a"), route(1, 0));
        let mut lists = Vec::new();
        router.route(&destination("/topic/a"), |routes| lists.push(routes.clone()));
        router.subscribe(&destination("/topic/a"), route(2, 0));
        assert_eq!(lists[0].len(), 1);
        assert_eq!(reached(&router, "/topic/a"), [1, 2]);
    }

    fn destination(name: &str) -> Destination {
        Destination::parse(name).unwrap()
    }

    fn route(connection: u32, subscription: u32) -> Route {
        Route {
            connection: key(connection),
            subscription: SubscriptionId(subscription),
            overflow: Overflow::Close,
            seen: None,
        }
    }

    fn key(place: u32) -> ConnectionKey {
        ConnectionKey { place, turn: 0 }
    }

    fn reached(router: &Router, name: &str) -> Vec<u32> {
        let mut keys = Vec::new();
        router.route(&destination(name), |routes| keys.extend(routes.iter().map(|route| route.connection.place)));
        keys.sort_unstable();
        keys
    }
}
