//! One queue.

use std::collections::HashMap;
use std::sync::Arc;

use super::Consumer;
use super::backlog::{Backlog, Place, Waiting, is_expired};
use super::consumers::{Consumers, Taste};
use crate::message::{Delivery, Message, MessageId};

/// One queue: what waits, what is handed out, and who consumes.
#[derive(Debug, Default)]
pub(super) struct Queue<B> {
    pub(super) backlog: B,
    unacked: HashMap<MessageId, Unacked>,
    consumers: Consumers,
    /// Whether it stands on the list of those with something to hand out.
    pub(super) is_pending: bool,
}

#[derive(Debug)]
struct Unacked {
    place: Place,
    consumer: Consumer,
    waiting: Waiting,
}

/// What handing out came to.
#[derive(Debug)]
pub(super) enum Next {
    Deliver(Consumer, Delivery),
    Expired(Arc<Message>),
    /// There are more messages to look at, but no steps left.
    Tired,
    Nothing,
}

impl<B: Backlog> Queue<B> {
    pub(super) fn subscribe(&mut self, consumer: Consumer, prefetch_count: u32, taste: Taste) {
        self.consumers.add(consumer, prefetch_count, taste);
    }

    /// Removes a consumer; gives what it had, but for what is `leaving`, in the order of the queue.
    pub(super) fn unsubscribe(&mut self, consumer: Consumer, leaving: &[MessageId]) -> Vec<(Place, Waiting)> {
        self.consumers.remove(consumer);
        let of_consumer = self.unacked.extract_if(|id, unacked| unacked.consumer == consumer && !leaving.contains(id));
        let mut had: Vec<_> = of_consumer.map(|(_, unacked)| (unacked.place, unacked.waiting)).collect();
        had.sort_unstable_by_key(|(place, _)| *place);
        had
    }

    /// Takes a message from a consumer; `None` if it is not that consumer's.
    pub(super) fn settle(&mut self, consumer: Consumer, message: MessageId) -> Option<(Place, Waiting)> {
        if self.unacked.get(&message)?.consumer != consumer {
            return None;
        }
        let Unacked { place, waiting, .. } = self.unacked.remove(&message)?;
        self.consumers.on_settled(consumer);
        self.backlog.settle(place);
        Some((place, waiting))
    }

    pub(super) fn put_back(&mut self, place: Place, waiting: Waiting) {
        self.backlog.put_back(place, waiting);
        self.consumers.on_put_back(place);
    }

    /// Hands out one message.
    pub(super) fn next(&mut self, now_ms: u64, steps: &mut usize) -> Next {
        if !self.consumers.has_room() {
            return Next::Nothing;
        }
        let mut from = self.consumers.first_unseen();
        while let Some((place, waiting)) = self.backlog.next(from) {
            if is_expired(&waiting.message, now_ms) {
                let taken = self.backlog.take(place);
                self.backlog.settle(place);
                return taken.map_or(Next::Nothing, |waiting| Next::Expired(waiting.message));
            }
            if let Some(consumer) = self.consumers.choose(place, &waiting.message, steps) {
                return self.hand_out(place, consumer);
            }
            if *steps == 0 {
                return Next::Tired;
            }
            from = Place(place.0 + 1);
        }
        Next::Nothing
    }

    fn hand_out(&mut self, place: Place, consumer: Consumer) -> Next {
        let Some(mut waiting) = self.backlog.take(place) else { return Next::Nothing };
        waiting.deliveries = waiting.deliveries.saturating_add(1);
        let delivery = Delivery {
            subscription: consumer.subscription,
            message: Arc::clone(&waiting.message),
            retained: false,
            dropped: 0,
            count: waiting.deliveries,
        };
        self.unacked.insert(waiting.message.id, Unacked { place, consumer, waiting });
        Next::Deliver(consumer, delivery)
    }

    pub(super) fn can_hand_out(&self) -> bool {
        self.consumers.has_room() && !self.backlog.is_empty()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.consumers.is_empty() && self.unacked.is_empty() && self.backlog.is_empty()
    }
}
