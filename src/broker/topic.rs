//! What `/topic` means beyond fan-out: the retained value, a topic's last message kept for
//! those who come later.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use super::pattern::Pattern;
use crate::message::{Destination, Message};

/// The retained values, bounded in number and octets.
#[derive(Debug)]
pub struct Retained {
    values: RwLock<Values>,
    limits: RetainedLimits,
}

#[derive(Debug, Default)]
struct Values {
    by_destination: HashMap<Destination, Arc<Message>>,
    bytes: usize,
}

/// The bounds of all retained values together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetainedLimits {
    /// Destinations with a value. Default 10,000.
    pub destinations: usize,
    /// Octets of their bodies. Default 64 MiB.
    pub bytes: usize,
}

/// There is no room for another retained value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetainedFull;

impl Retained {
    /// Makes an empty store.
    pub fn new(limits: RetainedLimits) -> Self {
        Self { values: RwLock::default(), limits }
    }

    /// Keeps the message that `make` makes as its destination's value; one with an empty body
    /// forgets the value. The message is made under the lock, so that the values' numbers rise
    /// in the order of keeping.
    ///
    /// # Errors
    /// The bounds are reached. The former value stays, and no message is made.
    pub fn keep(
        &self,
        destination: &Destination,
        body_bytes: usize,
        make: impl FnOnce() -> Arc<Message>,
    ) -> Result<Arc<Message>, RetainedFull> {
        let mut values = self.values.write().unwrap_or_else(PoisonError::into_inner);
        let former_bytes = values.by_destination.get(destination).map(|former| former.body.len());
        let bytes = values.bytes - former_bytes.unwrap_or(0) + body_bytes;
        let is_one_more = former_bytes.is_none() && body_bytes > 0;
        if bytes > self.limits.bytes || (is_one_more && values.by_destination.len() >= self.limits.destinations) {
            return Err(RetainedFull);
        }
        let message = make();
        values.bytes = bytes;
        if body_bytes == 0 {
            values.by_destination.remove(destination);
        } else {
            values.by_destination.insert(destination.clone(), Arc::clone(&message));
        }
        Ok(message)
    }

    /// The live values that a subscription to `destination`, a name or a pattern, gets.
    pub fn of(&self, destination: &Destination, now_ms: u64) -> Vec<Arc<Message>> {
        let values = self.values.read().unwrap_or_else(PoisonError::into_inner);
        let is_live = |message: &&Arc<Message>| message.expires_at_ms.is_none_or(|at| at > now_ms);
        match Pattern::of(destination) {
            None => values.by_destination.get(destination).filter(is_live).cloned().into_iter().collect(),
            Some(pattern) => {
                let matching = values.by_destination.values().filter(|message| pattern.matches(&message.destination));
                let mut found: Vec<_> = matching.filter(is_live).cloned().collect();
                found.sort_by_key(|message| message.id);
                found
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{MessageId, Publication};

    const LIMITS: RetainedLimits = RetainedLimits { destinations: 2, bytes: 10 };

    #[test]
    fn the_last_value_is_kept_and_an_empty_one_clears_it() {
        let retained = Retained::new(LIMITS);
        keep(&retained, 1, "/topic/a", "old", None).unwrap();
        keep(&retained, 2, "/topic/a", "new", None).unwrap();
        assert_eq!(ids(&retained, "/topic/a", 0), [2]);
        keep(&retained, 3, "/topic/a", "", None).unwrap();
        assert_eq!(ids(&retained, "/topic/a", 0), [0; 0]);
        assert_eq!(retained.values.read().unwrap().bytes, 0);
    }

    #[test]
    fn a_pattern_gets_every_matching_value_in_the_order_of_publishing() {
        let retained = Retained::new(LIMITS);
        keep(&retained, 1, "/topic/b", "y", None).unwrap();
        keep(&retained, 2, "/topic/a", "x", None).unwrap();
        assert_eq!(ids(&retained, "/topic/*", 0), [1, 2]);
    }

    #[test]
    fn an_expired_value_is_not_given_out() {
        let retained = Retained::new(LIMITS);
        keep(&retained, 1, "/topic/a", "x", Some(100)).unwrap();
        assert_eq!(ids(&retained, "/topic/a", 99), [1]);
        assert_eq!(ids(&retained, "/topic/a", 100), [0; 0]);
    }

    #[test]
    fn values_are_refused_one_past_the_bounds() {
        let retained = Retained::new(LIMITS);
        keep(&retained, 1, "/topic/a", "12345", None).unwrap();
        assert_eq!(keep(&retained, 2, "/topic/b", "123456", None), Err(RetainedFull));
        keep(&retained, 3, "/topic/b", "12345", None).unwrap();
        keep(&retained, 4, "/topic/b", "1", None).unwrap();
        assert_eq!(keep(&retained, 5, "/topic/c", "1", None), Err(RetainedFull));
        assert_eq!(ids(&retained, "/topic/#", 0), [1, 4]);
    }

    fn keep(
        retained: &Retained,
        id: u64,
        name: &str,
        body: &'static str,
        expires_at_ms: Option<u64>,
    ) -> Result<(), RetainedFull> {
        let destination = Destination::parse(name).unwrap();
        let publication = Publication { destination: destination.clone(), headers: vec![], body: body.into() };
        let make = || Arc::new(Message::new(MessageId(id), publication, 0, expires_at_ms));
        retained.keep(&destination, body.len(), make).map(|_| ())
    }

    fn ids(retained: &Retained, name: &str, now_ms: u64) -> Vec<u64> {
        retained.of(&Destination::parse(name).unwrap(), now_ms).iter().map(|message| message.id.0).collect()
    }
}
