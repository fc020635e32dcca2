//! Who has how much room in which queue, counted in one place for all shards: a SEND reserves
//! before it is posted to the queue's home, so that a transaction is refused before any of it
//! is done.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use crate::message::{Destination, Header, Message};

/// The depths of all queues.
#[derive(Debug)]
pub struct Ledger {
    accounts: Mutex<Accounts>,
    limits: Limits,
}

#[derive(Debug, Default)]
struct Accounts {
    queues: HashMap<Destination, Depth>,
    bytes: usize,
}

/// The bounds of the queues. Memory at worst: [`Limits::total_bytes`], and the messages that
/// are on their way to a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Queues with messages. Default 10,000.
    pub queues: usize,
    /// Messages of one queue, those handed out and not settled included. Default 10,000.
    pub messages: usize,
    /// Octets of one queue, heads and bodies. Default 64 MiB.
    pub bytes: usize,
    /// Octets of all queues. Default 1 GiB.
    pub total_bytes: usize,
    /// Whether a full queue gives up its oldest message; otherwise it refuses the newest.
    /// Dead-letter queues always give up their oldest.
    pub drops_oldest: bool,
}

/// What is in a queue, handed out or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Depth {
    /// Messages.
    pub messages: usize,
    /// Octets, of heads and bodies.
    pub bytes: usize,
}

/// There is no room; the text names the limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// Of messages in the queue.
    #[error("{queue} is full: it holds {max} messages (queues.messages)")]
    Messages {
        /// Which.
        queue: Destination,
        /// The limit.
        max: usize,
    },
    /// Of octets in the queue.
    #[error("{queue} is full: with {size} octets more it would hold more than {max} (queues.bytes)")]
    Bytes {
        /// Which.
        queue: Destination,
        /// The message's octets.
        size: usize,
        /// The limit.
        max: usize,
    },
    /// Of octets in all queues.
    #[error("the queues are full: with {size} octets more they would hold more than {max} (queues.total_bytes)")]
    TotalBytes {
        /// The message's octets.
        size: usize,
        /// The limit.
        max: usize,
    },
    /// Of queues.
    #[error("there is no room for {queue}: {max} queues hold messages (queues.queues)")]
    Queues {
        /// The one too many.
        queue: Destination,
        /// The limit.
        max: usize,
    },
}

impl Ledger {
    /// An empty ledger.
    pub fn new(limits: Limits) -> Self {
        Self { accounts: Mutex::default(), limits }
    }

    /// Reserves room for messages of those octets: for all or for none.
    ///
    /// # Errors
    /// The first that has no room.
    pub fn reserve<'a>(&self, messages: impl Iterator<Item = (&'a Destination, usize)> + Clone) -> Result<(), Full> {
        let mut accounts = self.lock();
        for (at, (queue, size)) in messages.clone().enumerate() {
            if let Err(full) = accounts.check(queue, size, &self.limits) {
                messages.take(at).for_each(|(queue, size)| accounts.sub(queue, size));
                return Err(full);
            }
            accounts.add(queue, size);
        }
        Ok(())
    }

    /// Gives back what was reserved: nothing of it will be sent.
    pub fn give_back<'a>(&self, messages: impl Iterator<Item = (&'a Destination, usize)>) {
        let mut accounts = self.lock();
        messages.for_each(|(queue, size)| accounts.sub(queue, size));
    }

    /// Counts a message without asking for room; [`Ledger::is_over`] then tells.
    pub(super) fn force(&self, message: &Message) {
        self.lock().add(&message.destination, message_bytes(message));
    }

    /// Gives back the room of one message: it left its queue.
    pub fn release(&self, message: &Message) {
        self.lock().sub(&message.destination, message_bytes(message));
    }

    /// Whether a queue holds more than it may.
    pub(super) fn is_over(&self, queue: &Destination) -> bool {
        let accounts = self.lock();
        let depth = accounts.queues.get(queue).copied().unwrap_or_default();
        let Limits { messages, bytes, total_bytes, .. } = self.limits;
        depth.messages > messages || depth.bytes > bytes || accounts.bytes > total_bytes
    }

    /// How many queues hold messages, and how much all of them hold.
    pub fn total(&self) -> (usize, Depth) {
        let accounts = self.lock();
        let messages = accounts.queues.values().map(|depth| depth.messages).sum();
        (accounts.queues.len(), Depth { messages, bytes: accounts.bytes })
    }

    /// The queues with the most messages, the deepest first.
    pub fn deepest(&self, most: usize) -> Vec<(Destination, Depth)> {
        let mut all: Vec<_> = self.lock().queues.iter().map(|(queue, depth)| (queue.clone(), *depth)).collect();
        all.sort_unstable_by(|(name, depth), (other, other_depth)| {
            other_depth.messages.cmp(&depth.messages).then_with(|| name.cmp(other))
        });
        all.truncate(most);
        all
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Accounts> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Accounts {
    fn check(&self, queue: &Destination, size: usize, limits: &Limits) -> Result<(), Full> {
        let depth = self.queues.get(queue).copied();
        if depth.is_none() && self.queues.len() >= limits.queues {
            return Err(Full::Queues { queue: queue.clone(), max: limits.queues });
        }
        // One that would not fit into the empty queue is refused even where the oldest goes.
        if size > limits.bytes {
            return Err(Full::Bytes { queue: queue.clone(), size, max: limits.bytes });
        }
        if limits.drops_oldest {
            return Ok(());
        }
        let depth = depth.unwrap_or_default();
        if depth.messages >= limits.messages {
            return Err(Full::Messages { queue: queue.clone(), max: limits.messages });
        }
        if depth.bytes + size > limits.bytes {
            return Err(Full::Bytes { queue: queue.clone(), size, max: limits.bytes });
        }
        if self.bytes + size > limits.total_bytes {
            return Err(Full::TotalBytes { size, max: limits.total_bytes });
        }
        Ok(())
    }

    fn add(&mut self, queue: &Destination, size: usize) {
        self.bytes += size;
        let depth = self.queues.entry(queue.clone()).or_default();
        depth.messages += 1;
        depth.bytes += size;
    }

    fn sub(&mut self, queue: &Destination, size: usize) {
        let Some(depth) = self.queues.get_mut(queue) else { return };
        self.bytes -= size;
        depth.messages -= 1;
        depth.bytes -= size;
        if depth.messages == 0 {
            self.queues.remove(queue);
        }
    }
}

/// What a message of those headers and that body takes of a queue's room: its head, its body,
/// and what it takes to keep it.
pub fn content_bytes(headers: &[Header], body: &Bytes) -> usize {
    let headers: usize = headers.iter().map(|(name, value)| name.len() + value.len() + HEADER_BYTES).sum();
    MESSAGE_BYTES + headers + body.len()
}

/// What a message takes of a queue's room.
pub fn message_bytes(message: &Message) -> usize {
    content_bytes(&message.headers, &message.body)
}

/// Two boxed texts.
const HEADER_BYTES: usize = 32;

/// The message's own fields and its places in the queue's tables.
const MESSAGE_BYTES: usize = 512;
