//! What waits for a shard: the messages that its subscribers are to get, or what is said about
//! queues.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::message::Message;

/// A shard's inbox: first in, first out, so that the order of one publisher holds.
///
/// Bounded: a publisher asks [`Inbox::has_room`] first and waits on [`Inbox::room`] where there
/// is none. Asking and posting are two steps, so as many messages as there are shards may come
/// on top of the bound.
#[derive(Debug)]
pub struct Inbox<T> {
    waiting: Mutex<Waiting<T>>,
    limits: Limits,
    posted: Notify,
    room: Notify,
}

#[derive(Debug)]
struct Waiting<T> {
    queue: VecDeque<T>,
    bytes: usize,
}

/// What can wait in an inbox.
pub trait Item {
    /// How many octets it holds.
    fn bytes(&self) -> usize;
}

impl Item for Arc<Message> {
    fn bytes(&self) -> usize {
        self.body.len()
    }
}

/// The bounds of one inbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Messages that may wait. Default 4096.
    pub messages: usize,
    /// Octets of bodies that may wait. Default 64 MiB.
    pub bytes: usize,
}

impl<T: Item> Inbox<T> {
    /// Makes an empty inbox.
    pub fn new(limits: Limits) -> Self {
        Self {
            waiting: Mutex::new(Waiting { queue: VecDeque::new(), bytes: 0 }),
            limits,
            posted: Notify::new(),
            room: Notify::new(),
        }
    }

    /// Whether a publisher may post now.
    pub fn has_room(&self) -> bool {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.queue.len() < self.limits.messages && waiting.bytes < self.limits.bytes
    }

    /// Resolves when something was taken out.
    pub fn room(&self) -> tokio::sync::futures::Notified<'_> {
        self.room.notified()
    }

    /// Adds one thing and wakes the shard.
    pub fn post(&self, item: T) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.bytes += item.bytes();
        waiting.queue.push_back(item);
        let first = waiting.queue.len() == 1;
        drop(waiting);
        if first {
            self.posted.notify_one();
        }
    }

    /// Moves up to `most` things to `batch`; waits while there is none.
    ///
    /// # Cancel safety
    /// A cancelled call has taken nothing.
    pub async fn take(&self, batch: &mut Vec<T>, most: usize) {
        loop {
            if self.try_take(batch, most) {
                return;
            }
            self.posted.notified().await;
        }
    }

    /// As [`Inbox::take`], without waiting; answers whether there was anything.
    pub fn try_take(&self, batch: &mut Vec<T>, most: usize) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let count = waiting.queue.len().min(most);
        batch.extend(waiting.queue.drain(..count));
        let taken: usize = batch[batch.len() - count..].iter().map(Item::bytes).sum();
        waiting.bytes -= taken;
        let more = !waiting.queue.is_empty();
        drop(waiting);
        if more {
            self.posted.notify_one();
        }
        if count > 0 {
            self.room.notify_waiters();
        }
        count > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Destination, MessageId, Publication};

    #[tokio::test]
    async fn messages_leave_in_the_order_they_came_in_batches() {
        let inbox = Inbox::new(Limits { messages: 10, bytes: 1000 });
        for number in 0..5 {
            inbox.post(message(number, 1));
        }
        let mut batch = Vec::new();
        inbox.take(&mut batch, 3).await;
        assert_eq!(batch.len(), 3);
        inbox.take(&mut batch, 3).await;
        assert_eq!(batch.iter().map(|m| m.id.0).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    }

    #[tokio::test]
    async fn an_inbox_has_room_below_its_limits_and_none_at_them() {
        let inbox = Inbox::new(Limits { messages: 2, bytes: 10 });
        inbox.post(message(0, 9));
        assert!(inbox.has_room());
        inbox.post(message(1, 0));
        assert!(!inbox.has_room());
        let mut room = std::pin::pin!(inbox.room());
        room.as_mut().enable();
        inbox.take(&mut Vec::new(), 1).await;
        room.await;
        assert!(inbox.has_room());
        inbox.post(message(2, 10));
        assert!(!inbox.has_room());
    }

    fn message(number: u64, size: usize) -> Arc<Message> {
        let destination = Destination::parse("/topic/a").unwrap();
        let publication = Publication { destination, headers: vec![], body: vec![0; size].into() };
        Arc::new(Message::new(MessageId(number), publication, 0, None))
    }
}
