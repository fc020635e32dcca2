//! The subscriptions of one session, by number and by the client's name.

use super::error::SessionError;
use crate::message::{Destination, SubscriptionId};
use crate::session::AckMode;

/// The open subscriptions, in the order of their numbers.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    open: Vec<Entry>,
    next: u32,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) id: SubscriptionId,
    /// Empty where 1.0 gave none.
    pub(super) name: Box<str>,
    pub(super) destination: Destination,
    pub(super) ack: AckMode,
    /// Opened by the `reply-to` of a SEND, not by a SUBSCRIBE.
    pub(super) is_implicit: bool,
    /// Messages left out since the last one, because the transport cannot carry them.
    pub(super) left_out: u32,
}

impl Subscriptions {
    // STOMP 1.2 "SUBSCRIBE id Header": each subscription of a session has its own id.
    pub(super) fn add(
        &mut self,
        name: &str,
        destination: &Destination,
        ack: AckMode,
        max: usize,
    ) -> Result<SubscriptionId, SessionError> {
        if self.named(name, destination).is_some() {
            let id = if name.is_empty() { destination.as_str() } else { name };
            return Err(SessionError::DuplicateSubscription { id: id.into() });
        }
        let count = self.open.len() + 1;
        if count > max {
            return Err(SessionError::TooManySubscriptions { count, max });
        }
        let id = SubscriptionId(self.next);
        self.next = self.next.wrapping_add(1);
        // Most sessions have one or two: the usual growth would begin with four.
        if self.open.len() < 4 {
            self.open.reserve_exact(1);
        }
        let destination = destination.clone();
        self.open.push(Entry { id, name: name.into(), destination, ack, is_implicit: false, left_out: 0 });
        Ok(id)
    }

    /// Opens the subscription that brings the replies to a temporary queue, named after it;
    /// `None` if the queue has a subscription.
    pub(super) fn add_implicit(
        &mut self,
        destination: &Destination,
        max: usize,
    ) -> Result<Option<SubscriptionId>, SessionError> {
        if self.by_destination(destination.as_str()).is_some() {
            return Ok(None);
        }
        let id = self.add(destination.as_str(), destination, AckMode::Auto, max)?;
        if let Some(entry) = self.open.last_mut() {
            entry.is_implicit = true;
        }
        Ok(Some(id))
    }

    /// The implicit subscription of a destination; a SUBSCRIBE takes its place.
    pub(super) fn implicit(&self, destination: &Destination) -> Option<SubscriptionId> {
        self.open.iter().find(|entry| entry.is_implicit && entry.destination == *destination).map(|entry| entry.id)
    }

    pub(super) fn find(&self, id: SubscriptionId) -> Option<&Entry> {
        self.position(id).map(|at| &self.open[at])
    }

    pub(super) fn find_mut(&mut self, id: SubscriptionId) -> Option<&mut Entry> {
        self.position(id).map(|at| &mut self.open[at])
    }

    pub(super) fn remove(&mut self, id: SubscriptionId) -> Option<Entry> {
        let at = self.position(id)?;
        let entry = self.open.remove(at);
        if self.open.is_empty() {
            self.open = Vec::new();
        }
        Some(entry)
    }

    /// The subscription of that name; without a name (1.0) the nameless one of the destination.
    pub(super) fn named(&self, name: &str, destination: &Destination) -> Option<&Entry> {
        self.open.iter().find(|entry| *entry.name == *name && (!name.is_empty() || entry.destination == *destination))
    }

    pub(super) fn by_name(&self, name: &str) -> Option<&Entry> {
        self.open.iter().find(|entry| *entry.name == *name)
    }

    pub(super) fn by_destination(&self, destination: &str) -> Option<&Entry> {
        self.open.iter().find(|entry| entry.destination.as_str() == destination)
    }

    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// Ends all of them.
    pub(super) fn take_all(&mut self) -> impl Iterator<Item = SubscriptionId> + use<> {
        std::mem::take(&mut self.open).into_iter().map(|entry| entry.id)
    }

    pub(super) fn clear(&mut self) {
        self.open = Vec::new();
    }

    fn position(&self, id: SubscriptionId) -> Option<usize> {
        self.open.binary_search_by_key(&id, |entry| entry.id).ok()
    }
}
