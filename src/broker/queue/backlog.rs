//! What waits in a queue: the seam where durable storage will come.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::message::Message;

/// A message's place in its queue: it keeps it while it is handed out, so that one that comes
/// back is where it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Place(pub u64);

/// A message in its place.
#[derive(Debug, Clone)]
pub struct Waiting {
    /// The message.
    pub message: Arc<Message>,
    /// How often it was handed out.
    pub deliveries: u32,
}

/// The messages of one queue that wait to be handed out.
///
/// Places rise in the order of [`Backlog::append`]. A message that was taken is in the caller's
/// hand: it comes back by [`Backlog::put_back`], or is forgotten by [`Backlog::settle`]; until
/// then storage that outlives the process keeps it as waiting.
pub trait Backlog: Default {
    /// Adds the newest message.
    fn append(&mut self, message: Arc<Message>);

    /// The first message at `from` or behind it.
    fn next(&self, from: Place) -> Option<(Place, &Waiting)>;

    /// Takes a message into the caller's hand.
    fn take(&mut self, place: Place) -> Option<Waiting>;

    /// Puts a message that was taken back in its place.
    fn put_back(&mut self, place: Place, waiting: Waiting);

    /// Forgets a message that was taken.
    fn settle(&mut self, place: Place);

    /// Takes the oldest message away for good.
    fn take_oldest(&mut self) -> Option<Waiting> {
        let place = self.next(Place::default())?.0;
        let oldest = self.take(place);
        self.settle(place);
        oldest
    }

    /// When the first of those waiting expires, or earlier, in milliseconds since the Unix epoch.
    fn expires_at_ms(&self) -> Option<u64>;

    /// Takes away for good what has expired.
    fn expire(&mut self, now_ms: u64) -> Vec<Arc<Message>>;

    /// Whether nothing waits.
    fn is_empty(&self) -> bool;
}

/// A backlog that lives as long as the process.
#[derive(Debug, Default)]
pub struct MemoryBacklog {
    waiting: BTreeMap<Place, Waiting>,
    next: u64,
    expires_at_ms: Option<u64>,
}

impl MemoryBacklog {
    fn insert(&mut self, place: Place, waiting: Waiting) {
        self.expires_at_ms = self.expires_at_ms.into_iter().chain(waiting.message.expires_at_ms).min();
        self.waiting.insert(place, waiting);
    }
}

impl Backlog for MemoryBacklog {
    fn append(&mut self, message: Arc<Message>) {
        let place = Place(self.next);
        self.next += 1;
        self.insert(place, Waiting { message, deliveries: 0 });
    }

    fn next(&self, from: Place) -> Option<(Place, &Waiting)> {
        self.waiting.range(from..).next().map(|(place, waiting)| (*place, waiting))
    }

    fn take(&mut self, place: Place) -> Option<Waiting> {
        self.waiting.remove(&place)
    }

    fn put_back(&mut self, place: Place, waiting: Waiting) {
        self.insert(place, waiting);
    }

    fn settle(&mut self, _place: Place) {}

    fn expires_at_ms(&self) -> Option<u64> {
        self.expires_at_ms
    }

    fn expire(&mut self, now_ms: u64) -> Vec<Arc<Message>> {
        let has_expired = |_: &Place, waiting: &mut Waiting| is_expired(&waiting.message, now_ms);
        let expired = self.waiting.extract_if(.., has_expired).map(|(_, waiting)| waiting.message).collect();
        self.expires_at_ms = self.waiting.values().filter_map(|waiting| waiting.message.expires_at_ms).min();
        expired
    }

    fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

pub(super) fn is_expired(message: &Message, now_ms: u64) -> bool {
    message.expires_at_ms.is_some_and(|at| at <= now_ms)
}
