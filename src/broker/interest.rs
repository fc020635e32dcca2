//! Which shards want which destination. The only file naming dashmap; no guard leaves it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock};

use dashmap::DashMap;

use super::pattern::{Pattern, PatternMap, Separators};
use crate::message::Destination;

/// A set of shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Shards(u64);

impl Shards {
    /// How many shards a process can have.
    pub const MAX: usize = 64;

    /// Adds a shard.
    pub fn insert(&mut self, shard: usize) {
        self.0 |= 1 << shard;
    }

    /// Removes a shard.
    pub fn remove(&mut self, shard: usize) {
        self.0 &= !(1 << shard);
    }

    /// Whether no shard is in it.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The shards' numbers, rising.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..Self::MAX).filter(move |shard| self.0 & (1 << shard) != 0)
    }
}

/// The interest of all shards: written when a shard's first subscriber of a destination comes
/// or its last goes, read once per message.
#[derive(Debug)]
pub struct Interest {
    exact: DashMap<Destination, Shards>,
    patterns: RwLock<PatternMap<Shards>>,
    /// So that a process without patterns, the usual one, takes no second lock.
    pattern_count: AtomicUsize,
    separators: Separators,
}

impl Interest {
    /// None, for names with those separators.
    pub fn new(separators: Separators) -> Self {
        let patterns = RwLock::new(PatternMap::new(separators));
        Self { exact: DashMap::new(), patterns, pattern_count: AtomicUsize::new(0), separators }
    }

    /// Notes that `shard` has a subscriber of that destination or pattern.
    pub fn add(&self, destination: &Destination, shard: usize) {
        match Pattern::of(destination, self.separators) {
            Some(pattern) => {
                let mut patterns = self.patterns.write().unwrap_or_else(PoisonError::into_inner);
                patterns.entry(&pattern).insert(shard);
                self.pattern_count.store(patterns.len(), Ordering::SeqCst);
            }
            None => self.exact.entry(destination.clone()).or_default().insert(shard),
        }
    }

    /// Notes that `shard` has none any more.
    pub fn remove(&self, destination: &Destination, shard: usize) {
        match Pattern::of(destination, self.separators) {
            Some(pattern) => {
                let mut patterns = self.patterns.write().unwrap_or_else(PoisonError::into_inner);
                patterns.update(&pattern, |shards| {
                    shards.remove(shard);
                    !shards.is_empty()
                });
                self.pattern_count.store(patterns.len(), Ordering::SeqCst);
            }
            None => {
                self.exact.remove_if_mut(destination, |_, shards| {
                    shards.remove(shard);
                    shards.is_empty()
                });
            }
        }
    }

    /// The shards that a message to `destination` goes to.
    pub fn of(&self, destination: &Destination) -> Shards {
        let mut all = self.exact.get(destination).map_or(Shards::default(), |shards| *shards);
        if self.pattern_count.load(Ordering::SeqCst) > 0 {
            let patterns = self.patterns.read().unwrap_or_else(PoisonError::into_inner);
            patterns.matching(destination, &mut |shards| all.0 |= shards.0);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_goes_to_the_shards_that_want_it_by_name_or_pattern() {
        let interest = Interest::new(Separators::Both);
        interest.add(&destination("/topic/a"), 0);
        interest.add(&destination("/topic/a"), 63);
        interest.add(&destination("/topic/*"), 5);
        let shards = |name| interest.of(&destination(name)).iter().collect::<Vec<_>>();
        assert_eq!(shards("/topic/a"), [0, 5, 63]);
        assert_eq!(shards("/topic/b"), [5]);
        interest.remove(&destination("/topic/a"), 0);
        interest.remove(&destination("/topic/*"), 5);
        assert_eq!(shards("/topic/a"), [63]);
        interest.remove(&destination("/topic/a"), 63);
        assert!(interest.exact.is_empty());
        assert!(interest.of(&destination("/topic/a")).is_empty());
    }

    fn destination(name: &str) -> Destination {
        Destination::parse(name).unwrap()
    }
}
