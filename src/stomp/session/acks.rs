//! Messages that were delivered and wait for ACK or NACK.

use std::collections::VecDeque;

use super::error::SessionError;
use crate::message::{MessageId, SubscriptionId};
use crate::session::{AckMode, Settlement};

/// The waiting messages, in the order of their delivery, which is that of their ack numbers.
#[derive(Debug, Default)]
pub(super) struct Acks {
    waiting: VecDeque<Unacked>,
    next: u64,
    /// Taken by open transactions; they may come back.
    taken: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unacked {
    ack: u64,
    pub(super) subscription: SubscriptionId,
    message: MessageId,
}

impl Unacked {
    pub(super) fn settlement(self, accepted: bool, requeue: bool) -> Settlement {
        Settlement { subscription: self.subscription, message: self.message, accepted, requeue }
    }
}

impl Acks {
    /// Notes a delivery; gives its ack number.
    pub(super) fn add(
        &mut self,
        subscription: SubscriptionId,
        message: MessageId,
        max: usize,
    ) -> Result<u64, SessionError> {
        let count = self.len() + 1;
        if count > max {
            return Err(SessionError::TooManyUnacked { count, max });
        }
        let ack = self.next;
        self.next += 1;
        self.waiting.push_back(Unacked { ack, subscription, message });
        Ok(ack)
    }

    /// How many wait, those in transactions included.
    pub(super) fn len(&self) -> usize {
        self.waiting.len() + self.taken
    }

    /// 1.2: by the `ack` header of the MESSAGE.
    pub(super) fn by_ack(&self, ack: u64) -> Option<Unacked> {
        self.waiting.binary_search_by_key(&ack, |unacked| unacked.ack).ok().map(|at| self.waiting[at])
    }

    /// 1.0 and 1.1: by message, and by subscription where it is known; the oldest.
    pub(super) fn by_message(&self, message: MessageId, subscription: Option<SubscriptionId>) -> Option<Unacked> {
        let matches = |u: &&Unacked| u.message == message && subscription.is_none_or(|s| s == u.subscription);
        self.waiting.iter().find(matches).copied()
    }

    // STOMP 1.2 "SUBSCRIBE ack Header": in client mode ACK and NACK are cumulative.
    /// Takes out what an ACK or NACK of that message covers.
    pub(super) fn take(&mut self, named: Unacked, mode: AckMode) -> Vec<Unacked> {
        let covered = |unacked: &Unacked| match mode {
            AckMode::Client => unacked.subscription == named.subscription && unacked.ack <= named.ack,
            AckMode::Auto | AckMode::ClientIndividual => unacked.ack == named.ack,
        };
        let taken = self.waiting.iter().filter(|unacked| covered(unacked)).copied().collect();
        self.waiting.retain(|unacked| !covered(unacked));
        self.release();
        taken
    }

    /// A transaction holds them now.
    pub(super) fn on_held(&mut self, count: usize) {
        self.taken += count;
    }

    /// A transaction carried them out.
    pub(super) fn on_committed(&mut self, count: usize) {
        self.taken = self.taken.saturating_sub(count);
    }

    // STOMP 1.2 "ABORT": what was acknowledged in the transaction waits again.
    pub(super) fn on_aborted(&mut self, held: Vec<Unacked>, is_open: impl Fn(SubscriptionId) -> bool) {
        self.taken = self.taken.saturating_sub(held.len());
        self.waiting.extend(held.into_iter().filter(|unacked| is_open(unacked.subscription)));
        self.waiting.make_contiguous().sort_unstable_by_key(|unacked| unacked.ack);
        self.release();
    }

    /// Forgets what an ended subscription waited for.
    pub(super) fn forget(&mut self, subscription: SubscriptionId) {
        self.waiting.retain(|unacked| unacked.subscription != subscription);
        self.release();
    }

    pub(super) fn clear(&mut self) {
        self.waiting = VecDeque::new();
    }

    fn release(&mut self) {
        if self.waiting.is_empty() && self.waiting.capacity() > 0 {
            self.waiting = VecDeque::new();
        }
    }
}
