//! The users with the most events, in bounded memory (the space-saving algorithm).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use chrono::{DateTime, Utc};

/// Follows a fixed number of users by name.
///
/// Exact while there are no more users than that. Beyond, a newcomer takes the place and the
/// count of the least busy one: a count is then never too low, and too high by at most
/// events ÷ capacity, and whoever has more than that share of all events is certainly listed.
/// About 200 octets a user; 450 with the longest names.
#[derive(Debug)]
pub(super) struct TopUsers {
    capacity: usize,
    key: RandomState,
    // A tree by hash, because it grows by no sudden steps; the name decides among equal hashes.
    places: BTreeMap<(u64, Arc<str>), usize>,
    users: Vec<TopUser>,
    // By count; of equals the one followed first is the higher.
    order: BTreeSet<(u64, Reverse<usize>)>,
    overflowed: u64,
}

impl TopUsers {
    pub(super) fn new(capacity: usize) -> Self {
        let (key, places) = (RandomState::new(), BTreeMap::new());
        Self { capacity, key, places, users: Vec::new(), order: BTreeSet::new(), overflowed: 0 }
    }

    pub(super) fn note(&mut self, user_id: impl Into<Arc<str>>, now: DateTime<Utc>) {
        let user_id = user_id.into();
        let key = self.key_of(&user_id);
        if let Some(place) = self.places.get(&key).copied() {
            self.count(place, now);
        } else if self.users.len() < self.capacity {
            let place = self.users.len();
            self.places.insert(key, place);
            self.users.push(TopUser { user_id, event_count: 1, last_seen: now });
            self.order.insert((1, Reverse(place)));
        } else {
            self.overflowed += 1;
            let Some((_, Reverse(place))) = self.order.first().copied() else { return };
            if let Some(user) = self.users.get_mut(place) {
                let before = std::mem::replace(&mut user.user_id, user_id);
                let before = self.key_of(&before);
                self.places.remove(&before);
                self.places.insert(key, place);
            }
            self.count(place, now);
        }
    }

    /// Events of users who were not followed when they came, because of the capacity.
    pub(super) fn overflowed(&self) -> u64 {
        self.overflowed
    }

    fn key_of(&self, user_id: &Arc<str>) -> (u64, Arc<str>) {
        (self.key.hash_one(&**user_id), Arc::clone(user_id))
    }

    /// At most `count` users, most events first; of equals the one followed first.
    pub(super) fn top(&self, count: usize) -> Vec<TopUser> {
        let places = self.order.iter().rev().take(count);
        places.filter_map(|(_, Reverse(place))| self.users.get(*place).cloned()).collect()
    }

    fn count(&mut self, place: usize, now: DateTime<Utc>) {
        if let Some(user) = self.users.get_mut(place) {
            self.order.remove(&(user.event_count, Reverse(place)));
            user.event_count += 1;
            user.last_seen = now;
            self.order.insert((user.event_count, Reverse(place)));
        }
    }
}

/// One user's share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TopUser {
    pub(super) user_id: Arc<str>,
    pub(super) event_count: u64,
    pub(super) last_seen: DateTime<Utc>,
}
