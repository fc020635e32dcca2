//! A shard's own table: destination and patterns to its subscribers. Single-threaded.

mod subscribers;

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use self::subscribers::{Key, Subscribers};
use super::pattern::{Pattern, PatternMap, Separators};
use crate::condition::Condition;
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

/// Subscribers of one destination or pattern, of which there may be several lists. A copy taken for a slow fan-out stays as it
/// was while the table changes.
pub type Routes = Rc<Vec<Route>>;

/// A shard's subscriptions.
#[derive(Debug)]
pub struct Router {
    all: Table<Subscribers>,
    /// Those with a condition, by its text; it is looked at once for all who share it.
    conditional: Table<HashMap<Arc<str>, Conditional>>,
    /// Whose condition has which text.
    texts: HashMap<Key, Arc<str>>,
}

#[derive(Debug)]
struct Conditional {
    condition: Arc<dyn Condition>,
    subscribers: Subscribers,
}

/// Values by destination and pattern.
#[derive(Debug)]
struct Table<T> {
    exact: HashMap<Destination, T>,
    patterns: PatternMap<T>,
    separators: Separators,
}

impl Router {
    /// An empty one, for names with those separators.
    pub fn new(separators: Separators) -> Self {
        Self { all: Table::new(separators), conditional: Table::new(separators), texts: HashMap::new() }
    }

    /// Adds a subscription to all messages, or to those that a condition takes.
    pub fn subscribe(&mut self, destination: &Destination, condition: Option<Arc<dyn Condition>>, route: Route) {
        let Some(condition) = condition else {
            return self.all.entry(destination).insert(route);
        };
        let text: Arc<str> = condition.text().into();
        self.texts.insert((route.connection, route.subscription), Arc::clone(&text));
        let shared = self.conditional.entry(destination).entry(text);
        let new = || Conditional { condition, subscribers: Subscribers::default() };
        shared.or_insert_with(new).subscribers.insert(route);
    }

    /// Removes a subscription; answers whether no other of its destination or pattern is left here.
    pub fn unsubscribe(
        &mut self,
        destination: &Destination,
        connection: ConnectionKey,
        subscription: SubscriptionId,
    ) -> bool {
        let key = (connection, subscription);
        let mut was_there = false;
        let Some(text) = self.texts.remove(&key) else {
            let is_left = self.all.update(destination, |subscribers| {
                was_there = subscribers.remove(key);
                !subscribers.is_empty()
            });
            return was_there && !is_left && !self.conditional.has(destination);
        };
        if self.texts.capacity() > 64 && self.texts.len() * 4 < self.texts.capacity() {
            self.texts.shrink_to(self.texts.len() * 2);
        }
        let is_left = self.conditional.update(destination, |conditionals| {
            if let Some(conditional) = conditionals.get_mut(&text) {
                was_there = conditional.subscribers.remove(key);
                if conditional.subscribers.is_empty() {
                    conditionals.remove(&text);
                }
            }
            !conditionals.is_empty()
        });
        was_there && !is_left && !self.all.has(destination)
    }

    /// Hands the lists of subscribers to that name to `found`, those with a condition behind the others:
    /// whether a message meets it is for the caller to look, for it may take long.
    pub fn route(&self, destination: &Destination, mut found: impl FnMut(Option<&Arc<dyn Condition>>, &[Routes])) {
        self.all.matching(destination, &mut |subscribers| found(None, subscribers.lists()));
        if !self.conditional.is_empty() {
            self.conditional.matching(destination, &mut |conditionals| {
                for Conditional { condition, subscribers } in conditionals.values() {
                    found(Some(condition), subscribers.lists());
                }
            });
        }
    }

    #[cfg(test)]
    fn is_empty(&self) -> bool {
        self.all.is_empty() && self.conditional.is_empty()
    }
}

impl<T: Default> Table<T> {
    fn new(separators: Separators) -> Self {
        Self { exact: HashMap::new(), patterns: PatternMap::new(separators), separators }
    }

    fn entry(&mut self, destination: &Destination) -> &mut T {
        match Pattern::of(destination, self.separators) {
            Some(pattern) => self.patterns.entry(&pattern),
            None => self.exact.entry(destination.clone()).or_default(),
        }
    }

    /// Changes the value of that very name or pattern, and forgets it where `change` answers
    /// `false`; answers whether there is one now.
    fn update(&mut self, destination: &Destination, change: impl FnOnce(&mut T) -> bool) -> bool {
        let mut is_left = false;
        if let Some(pattern) = Pattern::of(destination, self.separators) {
            self.patterns.update(&pattern, |value| {
                is_left = change(value);
                is_left
            });
        } else if let Some(value) = self.exact.get_mut(destination) {
            is_left = change(value);
            if !is_left {
                self.exact.remove(destination);
            }
        }
        is_left
    }

    /// Whether that very name or pattern has a value.
    fn has(&mut self, destination: &Destination) -> bool {
        self.update(destination, |_| true)
    }

    fn matching<'a>(&'a self, destination: &Destination, found: &mut impl FnMut(&'a T)) {
        if let Some(value) = self.exact.get(destination) {
            found(value);
        }
        self.patterns.matching(destination, found);
    }

    fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.patterns.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::super::selector::Selector;
    use super::*;
    use crate::message::{Message, Publication};

    #[test]
    fn a_selector_is_looked_at_once_for_all_who_share_it() {
        let mut router = Router::new(Separators::Both);
        let selector = |text| Some(Arc::new(Selector::parse(text).unwrap()) as Arc<dyn Condition>);
        router.subscribe(&destination("/topic/a"), selector("colour = 'red'"), route(1, 0));
        router.subscribe(&destination("/topic/a"), selector("colour  =  'red'"), route(2, 0));
        router.subscribe(&destination("/topic/*"), selector("colour = 'blue'"), route(3, 0));
        router.subscribe(&destination("/topic/a"), None, route(4, 0));
        assert_eq!(router.conditional.exact[&destination("/topic/a")].len(), 1);
        assert_eq!(reached_by(&router, &message("/topic/a", "red")), [1, 2, 4]);
        assert_eq!(reached_by(&router, &message("/topic/a", "blue")), [3, 4]);
        assert!(!router.unsubscribe(&destination("/topic/a"), key(1), SubscriptionId(0)));
        assert!(!router.unsubscribe(&destination("/topic/a"), key(4), SubscriptionId(0)));
        assert!(router.unsubscribe(&destination("/topic/a"), key(2), SubscriptionId(0)));
        assert!(router.unsubscribe(&destination("/topic/*"), key(3), SubscriptionId(0)));
        assert!(router.is_empty() && router.texts.is_empty());
    }

    #[test]
    fn a_message_reaches_exact_and_pattern_subscribers() {
        let mut router = Router::new(Separators::Both);
        router.subscribe(&destination("/topic/a"), None, route(1, 0));
        router.subscribe(&destination("/topic/a"), None, route(2, 0));
        router.subscribe(&destination("/topic/*"), None, route(3, 0));
        assert_eq!(reached(&router, "/topic/a"), [1, 2, 3]);
        assert_eq!(reached(&router, "/topic/b"), [3]);
        assert_eq!(reached(&router, "/app/b"), [0; 0]);
    }

    #[test]
    fn the_last_to_leave_is_told_and_leaves_nothing_behind() {
        let mut router = Router::new(Separators::Both);
        for name in ["/topic/a", "/topic/#"] {
            router.subscribe(&destination(name), None, route(1, 0));
            router.subscribe(&destination(name), None, route(1, 1));
            assert!(!router.unsubscribe(&destination(name), key(1), SubscriptionId(0)));
            assert!(!router.unsubscribe(&destination(name), key(2), SubscriptionId(1)));
            assert!(router.unsubscribe(&destination(name), key(1), SubscriptionId(1)));
            assert!(!router.unsubscribe(&destination(name), key(1), SubscriptionId(1)));
        }
        assert!(router.is_empty());
    }

    #[test]
    fn a_list_in_use_does_not_change_under_the_reader() {
        let mut router = Router::new(Separators::Both);
        router.subscribe(&destination("/topic/a"), None, route(1, 0));
        let mut lists = Vec::new();
        router.route(&destination("/topic/a"), |_, found| lists.extend(found.to_vec()));
        router.subscribe(&destination("/topic/a"), None, route(2, 0));
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

    fn message(name: &str, colour: &str) -> Message {
        let headers = vec![("colour".into(), colour.into())];
        Message::new(MessageId(1), Publication { destination: destination(name), headers, body: "".into() }, 0, None)
    }

    fn reached(router: &Router, name: &str) -> Vec<u32> {
        reached_by(router, &message(name, ""))
    }

    fn reached_by(router: &Router, message: &Message) -> Vec<u32> {
        let mut keys = Vec::new();
        router.route(&message.destination, |condition, lists| {
            if condition.is_none_or(|condition| condition.matches(message)) {
                keys.extend(lists.iter().flat_map(|routes| routes.iter()).map(|route| route.connection.place));
            }
        });
        keys.sort_unstable();
        keys
    }
}
