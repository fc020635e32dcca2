//! What `/topic` means beyond fan-out: the retained value, a topic's last message kept for
//! those who come later.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};

use super::pattern::{Pattern, Separators};
use crate::message::{Destination, Message};

/// The retained values, bounded in number and octets.
#[derive(Debug)]
pub struct Retained {
    values: RwLock<Values>,
    limits: RetainedLimits,
    separators: Separators,
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
    /// Makes an empty store, for names with those separators.
    pub fn new(limits: RetainedLimits, separators: Separators) -> Self {
        Self { values: RwLock::default(), limits, separators }
    }

    /// Makes sure that there is room for those values, named with the octets of their bodies,
    /// one after the other; nobody else changes any value until the answer is dropped.
    ///
    /// # Errors
    /// The bounds would be passed.
    pub fn room(&self, values: &[(&Destination, usize)]) -> Result<Room<'_>, RetainedFull> {
        let kept = self.values.write().unwrap_or_else(PoisonError::into_inner);
        let mut bytes = kept.bytes;
        let mut count = kept.by_destination.len();
        // What the earlier of them make of a destination.
        let mut changed: HashMap<&Destination, usize> = HashMap::new();
        for &(destination, size) in values {
            let former = changed.get(destination).copied();
            let former = former.or_else(|| kept.by_destination.get(destination).map(|message| message.body.len()));
            // An empty one forgets the value.
            let former = former.unwrap_or_default();
            bytes = bytes - former + size;
            count = count + usize::from(size > 0) - usize::from(former > 0);
            if bytes > self.limits.bytes || (size > 0 && former == 0 && count > self.limits.destinations) {
                return Err(RetainedFull);
            }
            changed.insert(destination, size);
        }
        Ok(Room(kept))
    }

    /// Forgets the value of that destination.
    pub fn forget(&self, destination: &Destination) {
        let mut values = self.values.write().unwrap_or_else(PoisonError::into_inner);
        let former = values.by_destination.remove(destination);
        values.bytes -= former.map_or(0, |former| former.body.len());
    }

    /// The live values that a subscription to `destination`, a name or a pattern, gets.
    pub fn of(&self, destination: &Destination, now_ms: u64) -> Vec<Arc<Message>> {
        let values = self.values.read().unwrap_or_else(PoisonError::into_inner);
        let is_live = |message: &&Arc<Message>| message.expires_at_ms.is_none_or(|at| at > now_ms);
        match Pattern::of(destination, self.separators) {
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

/// The values, with room for those it was asked for.
#[derive(Debug)]
pub struct Room<'a>(RwLockWriteGuard<'a, Values>);

impl Room<'_> {
    /// Makes the message its destination's value; one with an empty body forgets the value.
    pub fn keep(&mut self, message: &Arc<Message>) {
        let values = &mut *self.0;
        let former = if message.body.is_empty() {
            values.by_destination.remove(&message.destination)
        } else {
            values.by_destination.insert(message.destination.clone(), Arc::clone(message))
        };
        values.bytes = values.bytes + message.body.len() - former.map_or(0, |former| former.body.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{MessageId, Publication};

    const LIMITS: RetainedLimits = RetainedLimits { destinations: 2, bytes: 10 };

    #[test]
    fn the_last_value_is_kept_and_an_empty_one_clears_it() {
        let retained = Retained::new(LIMITS, Separators::Both);
        keep(&retained, 1, "/topic/a", "old", None).unwrap();
        keep(&retained, 2, "/topic/a", "new", None).unwrap();
        assert_eq!(ids(&retained, "/topic/a", 0), [2]);
        keep(&retained, 3, "/topic/a", "", None).unwrap();
        assert_eq!(ids(&retained, "/topic/a", 0), [0; 0]);
        assert_eq!(retained.values.read().unwrap().bytes, 0);
        keep(&retained, 4, "/topic/a", "newer", None).unwrap();
        retained.forget(&Destination::parse("/topic/a").unwrap());
        assert_eq!(ids(&retained, "/topic/a", 0), [0; 0]);
        assert_eq!(retained.values.read().unwrap().bytes, 0);
    }

    #[test]
    fn a_pattern_gets_every_matching_value_in_the_order_of_publishing() {
        let retained = Retained::new(LIMITS, Separators::Both);
        keep(&retained, 1, "/topic/b", "y", None).unwrap();
        keep(&retained, 2, "/topic/a", "x", None).unwrap();
        assert_eq!(ids(&retained, "/topic/*", 0), [1, 2]);
    }

    #[test]
    fn an_expired_value_is_not_given_out() {
        let retained = Retained::new(LIMITS, Separators::Both);
        keep(&retained, 1, "/topic/a", "x", Some(100)).unwrap();
        assert_eq!(ids(&retained, "/topic/a", 99), [1]);
        assert_eq!(ids(&retained, "/topic/a", 100), [0; 0]);
    }

    #[test]
    fn values_are_refused_one_past_the_bounds() {
        let retained = Retained::new(LIMITS, Separators::Both);
        keep(&retained, 1, "/topic/a", "12345", None).unwrap();
        assert_eq!(keep(&retained, 2, "/topic/b", "123456", None), Err(RetainedFull));
        keep(&retained, 3, "/topic/b", "12345", None).unwrap();
        keep(&retained, 4, "/topic/b", "1", None).unwrap();
        assert_eq!(keep(&retained, 5, "/topic/c", "1", None), Err(RetainedFull));
        assert_eq!(ids(&retained, "/topic/#", 0), [1, 4]);
    }

    #[test]
    fn several_values_have_room_together_or_not_at_all() {
        let retained = Retained::new(LIMITS, Separators::Both);
        let [a, b, c] = ["/topic/a", "/topic/b", "/topic/c"].map(|name| Destination::parse(name).unwrap());
        let fits = |values: &[(&Destination, usize)]| retained.room(values).is_ok();
        assert!(fits(&[(&a, 5), (&b, 5)]) && !fits(&[(&a, 5), (&b, 6)]));
        assert!(!fits(&[(&a, 1), (&b, 1), (&c, 1)]));
        // The later of them find the room that the earlier leave.
        assert!(fits(&[(&a, 10), (&a, 0), (&b, 10)]) && fits(&[(&a, 1), (&b, 1), (&a, 0), (&c, 1)]));
        keep(&retained, 1, "/topic/a", "1234567890", None).unwrap();
        assert!(fits(&[(&a, 4), (&b, 6)]) && !fits(&[(&b, 6), (&a, 4)]) && fits(&[(&b, 0)]));
        assert_eq!(ids(&retained, "/topic/#", 0), [1]);
    }

    fn keep(
        retained: &Retained,
        id: u64,
        name: &str,
        body: &'static str,
        expires_at_ms: Option<u64>,
    ) -> Result<(), RetainedFull> {
        let destination = Destination::parse(name).unwrap();
        let mut room = retained.room(&[(&destination, body.len())])?;
        let publication = Publication { destination: destination.clone(), headers: vec![], body: body.into() };
        room.keep(&Arc::new(Message::new(MessageId(id), publication, 0, expires_at_ms)));
        Ok(())
    }

    fn ids(retained: &Retained, name: &str, now_ms: u64) -> Vec<u64> {
        retained.of(&Destination::parse(name).unwrap(), now_ms).iter().map(|message| message.id.0).collect()
    }
}
