//! What waits for one session's socket: finished control frames and deliveries, in one order.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::message::{Delivery, Image, Message, MessageId, Overflow, SubscriptionId};

/// A session's outbound queue, bounded in messages and octets. Pushing never waits.
///
/// Memory at worst: [`Limits::bytes`] of bodies (shared with every other mailbox that holds the
/// same message), plus some 60 octets an entry; nothing while empty.
#[derive(Debug, Default)]
pub struct Mailbox {
    queue: VecDeque<Entry>,
    deliveries: usize,
    delivery_bytes: usize,
    octets_bytes: usize,
    /// Whether a delivery may wait of which only the newest counts.
    has_latest: bool,
    /// Dropped with no waiting message of the same subscription to carry the number.
    #[expect(clippy::box_collection, reason = "eight octets instead of 48 in every session, for what is rarely there")]
    dropped: Option<Box<HashMap<SubscriptionId, u32>>>,
}

/// One thing that waits.
#[derive(Debug)]
pub enum Entry {
    /// A finished control frame.
    Octets(Image),
    /// A message that becomes octets when its turn comes.
    Delivery(Delivery),
    /// The same, of a message that the client asked for itself: an answer, as a control frame is.
    Answer(Delivery),
}

/// The bounds of one mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Messages that may wait. Default 1024.
    pub messages: usize,
    /// Octets of message bodies that may wait. Default 1 MiB; one message alone may be larger.
    pub bytes: usize,
}

/// What became of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// It waits; nothing was lost.
    Waits,
    /// It waits, or was itself given up; this many messages were dropped.
    Dropped(u32),
    /// There is no room, and the subscription wants its session closed.
    Full,
}

impl Mailbox {
    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// How many deliveries wait.
    pub fn deliveries(&self) -> usize {
        self.deliveries
    }

    /// Octets that wait, bodies and control frames.
    pub fn bytes(&self) -> usize {
        self.delivery_bytes + self.octets_bytes
    }

    /// Octets of control frames that wait, and of the bodies of answers. They answer the peer's own
    /// frames, so the driver bounds them by reading no more while there are many.
    pub fn octets_bytes(&self) -> usize {
        self.octets_bytes
    }

    /// Whether a delivery may wait that a newer one takes the place of.
    pub fn has_latest(&self) -> bool {
        self.has_latest
    }

    /// Whether one more delivery of that many octets keeps within the limits.
    pub fn has_room(&self, size: usize, limits: &Limits) -> bool {
        self.deliveries < limits.messages
            && (self.deliveries == 0 || self.delivery_bytes.saturating_add(size) <= limits.bytes)
    }

    /// Adds a control frame.
    pub fn push_octets(&mut self, image: Image) {
        self.octets_bytes += image.len();
        self.enqueue(Entry::Octets(image));
    }

    /// Adds a message that the client asked for itself, past the bounds.
    pub fn push_answer(&mut self, delivery: Delivery) {
        self.octets_bytes += delivery.message.body.len();
        self.enqueue(Entry::Answer(delivery));
    }

    /// Adds a delivery; `blocked` is whether the socket took no more at the last try, which is
    /// when a message counts as waiting for [`Overflow::Latest`].
    pub fn push(&mut self, mut delivery: Delivery, overflow: Overflow, blocked: bool, limits: &Limits) -> Pushed {
        let size = delivery.message.body.len();
        let mut dropped = 0;
        if overflow == Overflow::Latest {
            if blocked {
                dropped += self.replace_same_destination(&mut delivery);
            }
            self.has_latest = true;
        }
        while !self.has_room(size, limits) {
            if overflow == Overflow::Close {
                return Pushed::Full;
            }
            dropped += 1;
            if !self.drop_oldest(&mut delivery) {
                let dropped_here = delivery.dropped.saturating_add(1);
                let kept = self.dropped.get_or_insert_default().entry(delivery.subscription).or_default();
                *kept = kept.saturating_add(dropped_here);
                return Pushed::Dropped(dropped);
            }
        }
        self.push_anyway(delivery);
        if dropped == 0 { Pushed::Waits } else { Pushed::Dropped(dropped) }
    }

    /// Adds a delivery past the bounds. A queue's does not count at all: its consumer's credit
    /// bounds it, and its octets are the queue's.
    pub fn push_anyway(&mut self, mut delivery: Delivery) {
        if delivery.count == 0 {
            self.take_dropped(&mut delivery);
            self.deliveries += 1;
            self.delivery_bytes += delivery.message.body.len();
        }
        self.enqueue(Entry::Delivery(delivery));
    }

    /// Room for a burst at once: growing to it step by step costs more than the burst does.
    fn enqueue(&mut self, entry: Entry) {
        if self.queue.capacity() == 0 {
            self.queue.reserve_exact(FIRST_ENTRIES);
        }
        self.queue.push_back(entry);
    }

    /// The message that waits first, unless something else does.
    pub fn first_message(&self) -> Option<&Arc<Message>> {
        match self.queue.front()? {
            Entry::Octets(_) => None,
            Entry::Delivery(delivery) | Entry::Answer(delivery) => Some(&delivery.message),
        }
    }

    /// Takes what waits longest.
    pub fn pop(&mut self) -> Option<Entry> {
        let entry = self.queue.pop_front()?;
        match &entry {
            Entry::Octets(image) => self.octets_bytes -= image.len(),
            Entry::Delivery(delivery) => self.uncount(delivery),
            Entry::Answer(delivery) => self.octets_bytes -= delivery.message.body.len(),
        }
        if self.queue.is_empty() {
            self.has_latest = false;
            // An idle session must not keep the room that one burst needed.
            self.queue = VecDeque::new();
        }
        Some(entry)
    }

    /// Forgets all deliveries, when the session ends; answers how many there were.
    pub fn clear_deliveries(&mut self) -> usize {
        let mut count = self.deliveries;
        self.queue.retain(|entry| match entry {
            Entry::Octets(_) => true,
            Entry::Delivery(_) => false,
            Entry::Answer(delivery) => {
                count += 1;
                self.octets_bytes -= delivery.message.body.len();
                false
            }
        });
        self.has_latest = false;
        self.deliveries = 0;
        self.delivery_bytes = 0;
        self.dropped = None;
        count
    }

    /// Forgets all control frames and answers, when the session ends and they are not for its client any more.
    pub fn clear_octets(&mut self) {
        self.queue.retain(|entry| matches!(entry, Entry::Delivery(_)));
        self.octets_bytes = 0;
    }

    /// Takes out the deliveries of queues that wait, those of `subscription` or all.
    pub fn take_queued(&mut self, subscription: Option<SubscriptionId>) -> Vec<(SubscriptionId, MessageId)> {
        let mut taken = Vec::new();
        self.queue.retain(|entry| match entry {
            Entry::Delivery(delivery)
                if delivery.count > 0 && subscription.is_none_or(|of| of == delivery.subscription) =>
            {
                taken.push((delivery.subscription, delivery.message.id));
                false
            }
            Entry::Delivery(_) | Entry::Octets(_) | Entry::Answer(_) => true,
        });
        taken
    }

    fn uncount(&mut self, delivery: &Delivery) {
        if delivery.count == 0 {
            self.deliveries -= 1;
            self.delivery_bytes -= delivery.message.body.len();
        }
    }

    fn take_dropped(&mut self, delivery: &mut Delivery) {
        if let Some(map) = &mut self.dropped {
            delivery.dropped += map.remove(&delivery.subscription).unwrap_or(0);
            if map.is_empty() {
                self.dropped = None;
            }
        }
    }

    fn remove(&mut self, at: usize) -> Option<Delivery> {
        match self.queue.remove(at)? {
            Entry::Delivery(delivery) => {
                self.uncount(&delivery);
                Some(delivery)
            }
            Entry::Octets(_) | Entry::Answer(_) => None,
        }
    }

    /// Takes the waiting messages of the same subscription and destination away; what they knew
    /// to be dropped, and themselves, is told by the newer one. There are several where they came
    /// while the socket took them still.
    fn replace_same_destination(&mut self, delivery: &mut Delivery) -> u32 {
        let (mut from, mut replaced) = (0, 0);
        let is_same = |entry: &Entry, delivery: &Delivery| match entry {
            Entry::Delivery(waiting) => {
                waiting.subscription == delivery.subscription
                    && waiting.message.destination == delivery.message.destination
            }
            Entry::Octets(_) | Entry::Answer(_) => false,
        };
        while let Some(after) = self.queue.range(from..).position(|entry| is_same(entry, delivery))
            && let Some(old) = self.remove(from + after)
        {
            from += after;
            replaced += 1;
            delivery.dropped = delivery.dropped.saturating_add(old.dropped).saturating_add(1);
        }
        replaced
    }

    /// Drops the oldest waiting message of the delivery's subscription; the next one of it,
    /// which may be `delivery` itself, tells the number.
    fn drop_oldest(&mut self, delivery: &mut Delivery) -> bool {
        let subscription = delivery.subscription;
        let of_subscription = |entry: &Entry| matches!(entry, Entry::Delivery(d) if d.subscription == subscription);
        let Some(at) = self.queue.iter().position(of_subscription) else { return false };
        let Some(old) = self.remove(at) else { return false };
        let lost = old.dropped.saturating_add(1);
        for entry in self.queue.range_mut(at..) {
            if let Entry::Delivery(next) = entry
                && next.subscription == subscription
            {
                next.dropped = next.dropped.saturating_add(lost);
                return true;
            }
        }
        delivery.dropped = delivery.dropped.saturating_add(lost);
        true
    }
}

/// As many as keep within 1 KB, up to which allocators are quickest.
const FIRST_ENTRIES: usize = 1024 / size_of::<Entry>();

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::message::{Destination, Message, Publication};

    const LIMITS: Limits = Limits { messages: 3, bytes: 100 };

    #[test]
    fn a_mailbox_takes_its_limit_of_messages_and_not_one_more() {
        let mut mailbox = Mailbox::default();
        for n in 0..3 {
            assert_eq!(mailbox.push(delivery(0, n, 1), Overflow::Close, true, &LIMITS), Pushed::Waits);
        }
        assert_eq!(mailbox.push(delivery(0, 3, 1), Overflow::Close, true, &LIMITS), Pushed::Full);
        assert_eq!(drain(&mut mailbox), [(0, 0), (1, 0), (2, 0)]);
    }

    #[test]
    fn a_mailbox_takes_its_limit_of_octets_and_not_one_more() {
        let mut mailbox = Mailbox::default();
        assert_eq!(mailbox.push(delivery(0, 0, 60), Overflow::Close, true, &LIMITS), Pushed::Waits);
        assert_eq!(mailbox.push(delivery(0, 1, 41), Overflow::Close, true, &LIMITS), Pushed::Full);
        assert_eq!(mailbox.push(delivery(0, 2, 40), Overflow::Close, true, &LIMITS), Pushed::Waits);
        assert_eq!(mailbox.bytes(), 100);
    }

    #[test]
    fn a_message_larger_than_the_mailbox_goes_into_an_empty_one() {
        let mut mailbox = Mailbox::default();
        assert_eq!(mailbox.push(delivery(0, 0, 101), Overflow::Close, true, &LIMITS), Pushed::Waits);
    }

    #[test]
    fn drop_oldest_makes_room_and_the_next_message_tells_the_number() {
        let mut mailbox = Mailbox::default();
        for n in 0..5 {
            mailbox.push(delivery(0, n, 1), Overflow::DropOldest, true, &LIMITS);
        }
        assert_eq!(drain(&mut mailbox), [(2, 2), (3, 0), (4, 0)]);
    }

    #[test]
    fn drop_oldest_takes_only_from_its_own_subscription() {
        let mut mailbox = Mailbox::default();
        for n in 0..3 {
            mailbox.push(delivery(7, n, 1), Overflow::Close, true, &LIMITS);
        }
        assert_eq!(mailbox.push(delivery(0, 3, 1), Overflow::DropOldest, true, &LIMITS), Pushed::Dropped(1));
        mailbox.pop();
        mailbox.push(delivery(0, 4, 1), Overflow::DropOldest, true, &LIMITS);
        assert_eq!(drain(&mut mailbox), [(1, 0), (2, 0), (4, 1)]);
    }

    #[test]
    fn latest_keeps_the_newest_of_each_destination_while_blocked() {
        let mut mailbox = Mailbox::default();
        for n in 0..10 {
            mailbox.push(delivery(0, n, 1), Overflow::Latest, true, &LIMITS);
        }
        assert_eq!(drain(&mut mailbox), [(9, 9)]);
    }

    #[test]
    fn latest_drops_nothing_while_the_socket_is_ready() {
        let mut mailbox = Mailbox::default();
        for n in 0..3 {
            mailbox.push(delivery(0, n, 1), Overflow::Latest, false, &LIMITS);
        }
        assert_eq!(drain(&mut mailbox), [(0, 0), (1, 0), (2, 0)]);
    }

    #[test]
    fn what_came_before_the_socket_was_full_gives_way_to_the_latest_too() {
        let mut mailbox = Mailbox::default();
        for n in 0..3 {
            mailbox.push(delivery(0, n, 1), Overflow::Latest, false, &LIMITS);
        }
        assert_eq!(mailbox.push(delivery(0, 3, 1), Overflow::Latest, true, &LIMITS), Pushed::Dropped(3));
        assert!(mailbox.has_latest());
        assert_eq!(drain(&mut mailbox), [(3, 3)]);
        assert!(!mailbox.has_latest());
    }

    #[test]
    fn answers_count_as_control_frames_and_go_with_the_session() {
        let mut mailbox = Mailbox::default();
        mailbox.push_octets(Bytes::from_static(b"RECEIPT").into());
        for n in 0..5 {
            mailbox.push_answer(delivery(0, n, 100));
        }
        assert_eq!((mailbox.deliveries(), mailbox.octets_bytes()), (0, 507));
        assert_eq!(mailbox.push(delivery(0, 5, 100), Overflow::Close, true, &LIMITS), Pushed::Waits);
        mailbox.pop();
        assert!(matches!(mailbox.pop(), Some(Entry::Answer(answer)) if answer.message.id == MessageId(0)));
        assert_eq!(mailbox.bytes(), 500);
        assert_eq!(mailbox.clear_deliveries(), 5);
        assert!(mailbox.is_empty());
        assert_eq!(mailbox.bytes(), 0);
    }

    #[test]
    fn control_frames_keep_their_place_and_outlive_the_deliveries() {
        let mut mailbox = Mailbox::default();
        mailbox.push(delivery(0, 0, 1), Overflow::Close, true, &LIMITS);
        mailbox.push_octets(Bytes::from_static(b"RECEIPT").into());
        mailbox.push(delivery(0, 1, 1), Overflow::Close, true, &LIMITS);
        assert_eq!(mailbox.clear_deliveries(), 2);
        assert!(matches!(mailbox.pop(), Some(Entry::Octets(_))));
        assert!(mailbox.is_empty());
        assert_eq!(mailbox.bytes(), 0);
    }

    #[test]
    fn a_queues_deliveries_do_not_count_and_can_be_taken_back() {
        let mut mailbox = Mailbox::default();
        for n in 0..9 {
            mailbox.push_anyway(Delivery { count: 1, ..delivery(n % 2, u64::from(n), 90) });
        }
        assert_eq!((mailbox.deliveries(), mailbox.bytes()), (0, 0));
        assert_eq!(mailbox.push(delivery(5, 9, 100), Overflow::Close, true, &LIMITS), Pushed::Waits);
        let of_one: Vec<_> = mailbox.take_queued(Some(SubscriptionId(1))).iter().map(|(_, id)| id.0).collect();
        assert_eq!(of_one, [1, 3, 5, 7]);
        assert_eq!(mailbox.take_queued(None).len(), 5);
        assert_eq!(drain(&mut mailbox), [(9, 0)]);
    }

    #[test]
    fn an_empty_mailbox_holds_no_memory() {
        let mut mailbox = Mailbox::default();
        mailbox.push(delivery(0, 0, 1), Overflow::Close, true, &LIMITS);
        mailbox.pop();
        assert_eq!(mailbox.queue.capacity(), 0);
    }

    fn delivery(subscription: u32, number: u64, size: usize) -> Delivery {
        let destination = Destination::parse("/topic/a").unwrap();
        let publication = Publication { destination, headers: vec![], body: vec![0; size].into() };
        let message = Arc::new(Message::new(MessageId(number), publication, 0, None));
        Delivery { subscription: SubscriptionId(subscription), message, retained: false, dropped: 0, count: 0 }
    }

    /// The numbers of the messages that wait, each with what it tells as dropped.
    fn drain(mailbox: &mut Mailbox) -> Vec<(u64, u32)> {
        std::iter::from_fn(|| mailbox.pop())
            .filter_map(|entry| match entry {
                Entry::Delivery(delivery) => Some((delivery.message.id.0, delivery.dropped)),
                Entry::Octets(_) | Entry::Answer(_) => None,
            })
            .collect()
    }
}
