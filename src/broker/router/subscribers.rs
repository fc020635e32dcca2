//! [`Subscribers`]: those of one destination or pattern.

use std::rc::Rc;
use std::slice;

use super::{ConnectionKey, Route, Routes};
use crate::message::SubscriptionId;

/// The subscribers of one destination or pattern, by connection, so that what one gets many times
/// stands together. They are in lists of bounded length, so that who comes or goes among a hundred
/// thousand moves few others, also where a slow fan-out holds the lists and one must be copied.
#[derive(Debug)]
pub(super) enum Subscribers {
    /// The usual case, without a second allocation.
    One(Routes),
    Many(Vec<Routes>),
}

pub(super) type Key = (ConnectionKey, SubscriptionId);

impl Default for Subscribers {
    fn default() -> Self {
        Self::One(Routes::default())
    }
}

impl Subscribers {
    /// Never none; only the first may be empty.
    pub(super) fn lists(&self) -> &[Routes] {
        match self {
            Self::One(list) => slice::from_ref(list),
            Self::Many(lists) => lists,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lists().iter().all(|list| list.is_empty())
    }

    pub(super) fn insert(&mut self, route: Route) {
        let key = key(&route);
        let at = self.list_of(key);
        let is_last = at + 1 == self.lists().len();
        let list = Rc::make_mut(&mut self.lists_mut()[at]);
        let place = list.partition_point(|other| self::key(other) <= key);
        if list.len() < MAX_ROUTES {
            list.insert(place, route);
        } else if is_last && place == list.len() {
            // Connections mostly come in the order of their keys: full lists stay full.
            self.add(at + 1, vec![route]);
        } else {
            let mut second = list.split_off(MAX_ROUTES / 2);
            list.shrink_to_fit();
            match place.checked_sub(list.len()) {
                Some(place) => second.insert(place, route),
                None => list.insert(place, route),
            }
            self.add(at + 1, second);
        }
    }

    /// Answers whether there was one.
    pub(super) fn remove(&mut self, key: Key) -> bool {
        let at = self.list_of(key);
        let list = &mut self.lists_mut()[at];
        let Ok(place) = list.binary_search_by_key(&key, self::key) else { return false };
        let routes = Rc::make_mut(list);
        routes.remove(place);
        shrink(routes);
        let is_empty = routes.is_empty();
        if let Self::Many(lists) = self
            && is_empty
            && lists.len() > 1
        {
            lists.remove(at);
        }
        true
    }

    /// The list that has the key or is to have it.
    fn list_of(&self, key: Key) -> usize {
        let lists = self.lists();
        let at = lists.partition_point(|list| list.last().is_some_and(|last| self::key(last) < key));
        at.min(lists.len() - 1)
    }

    fn lists_mut(&mut self) -> &mut [Routes] {
        match self {
            Self::One(list) => slice::from_mut(list),
            Self::Many(lists) => lists,
        }
    }

    fn add(&mut self, at: usize, list: Vec<Route>) {
        match self {
            Self::One(first) => *self = Self::Many(vec![Rc::clone(first), Rc::new(list)]),
            Self::Many(lists) => lists.insert(at, Rc::new(list)),
        }
    }
}

fn key(route: &Route) -> Key {
    (route.connection, route.subscription)
}

/// Gives memory back after many left; keeps half as slack, so that one who comes and goes
/// does not cost a move of the table each time.
fn shrink(routes: &mut Vec<Route>) {
    if routes.capacity() > 64 && routes.len() * 4 < routes.capacity() {
        routes.shrink_to(routes.len() * 2);
    }
}

/// 16 KB, which are moved or copied in less than a microsecond.
const MAX_ROUTES: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Overflow;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn route((connection, subscription): Key) -> Route {
        Route { connection, subscription, overflow: Overflow::Close, seen: None }
    }

    fn numbered(place: u32, subscription: u32) -> Key {
        (ConnectionKey { place, turn: 0 }, SubscriptionId(subscription))
    }

    fn keys(subscribers: &Subscribers) -> Vec<Key> {
        subscribers.lists().iter().flat_map(|list| list.iter().map(key)).collect()
    }

    #[test]
    fn who_comes_or_goes_among_a_hundred_thousand_copies_one_list_of_a_fan_out() {
        let mut subscribers = Subscribers::default();
        for place in 0..100 {
            for subscription in 0..1000 {
                subscribers.insert(route(numbered(place, subscription)));
            }
        }
        assert_eq!(subscribers.lists().len(), 100_000_usize.div_ceil(MAX_ROUTES), "full but for the last");
        let held: Vec<Routes> = subscribers.lists().to_vec();
        assert!(subscribers.remove(numbered(50, 500)) && !subscribers.remove(numbered(50, 500)));
        subscribers.insert(route(numbered(50, 500)));
        let copied = held.iter().zip(subscribers.lists()).filter(|(held, now)| !Rc::ptr_eq(held, now));
        assert_eq!(copied.count(), 1);
        for subscription in 0..1000 {
            assert!(subscribers.remove(numbered(7, subscription)));
        }
        assert_eq!(held.iter().map(|list| list.len()).sum::<usize>(), 100_000);
        assert_eq!(keys(&subscribers).len(), 99_000);
    }

    #[test]
    fn those_who_left_leave_no_list_behind() {
        let mut subscribers = Subscribers::default();
        // In the worst order for full lists.
        for place in (0..10_000).rev() {
            subscribers.insert(route(numbered(place, 0)));
        }
        assert!(subscribers.lists().len() < 2 * 10_000 / MAX_ROUTES + 2);
        for place in 0..10_000 {
            assert!(!subscribers.is_empty());
            assert!(subscribers.remove(numbered(place, 0)));
        }
        assert!(subscribers.is_empty() && subscribers.lists().len() == 1);
    }

    proptest! {
        #[test]
        fn they_stand_in_the_order_of_their_connections(
            changes in proptest::collection::vec((any::<bool>(), 0_u32..40, 0_u32..60), 0..3000)
        ) {
            let (mut subscribers, mut expected) = (Subscribers::default(), BTreeSet::new());
            for (comes, place, subscription) in changes {
                let key = numbered(place, subscription);
                if comes && expected.insert(key) {
                    subscribers.insert(route(key));
                } else if !comes {
                    prop_assert_eq!(subscribers.remove(key), expected.remove(&key));
                }
            }
            prop_assert_eq!(keys(&subscribers), expected.into_iter().collect::<Vec<_>>());
        }
    }
}
