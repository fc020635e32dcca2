//! The users with the most events, in bounded memory (the space-saving algorithm).

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
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
    places: HashMap<Arc<str>, usize>,
    users: Vec<TopUser>,
    // By count; of equals the one followed first is the higher.
    order: BTreeSet<(u64, Reverse<usize>)>,
}

impl TopUsers {
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity, places: HashMap::new(), users: Vec::new(), order: BTreeSet::new() }
    }

    pub(super) fn note(&mut self, user_id: &str, now: DateTime<Utc>) {
        if let Some(place) = self.places.get(user_id).copied() {
            self.count(place, now);
        } else if self.users.len() < self.capacity {
            let place = self.users.len();
            let user_id: Arc<str> = user_id.into();
            self.places.insert(Arc::clone(&user_id), place);
            self.users.push(TopUser { user_id, event_count: 1, last_seen: now });
            self.order.insert((1, Reverse(place)));
        } else if let Some((_, Reverse(place))) = self.order.first().copied() {
            if let Some(user) = self.users.get_mut(place) {
                self.places.remove(&user.user_id);
                user.user_id = user_id.into();
                self.places.insert(Arc::clone(&user.user_id), place);
            }
            self.count(place, now);
        }
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
