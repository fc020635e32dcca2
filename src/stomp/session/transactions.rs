//! Open transactions: what their frames ask waits here for COMMIT.

use super::acks::Unacked;
use super::error::SessionError;
use crate::message::{Publication, SubscriptionId};
use crate::session::TransactionAction;
use crate::stomp::Limits;
use crate::stomp::frame::Command;

/// The open transactions of one session, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Transactions {
    open: Vec<Transaction>,
}

#[derive(Debug)]
pub(super) struct Transaction {
    name: Box<str>,
    actions: Vec<Buffered>,
    size: usize,
    /// Whether what it acknowledges has gone back to its queue in part.
    is_broken: bool,
}

/// What one frame in a transaction asks.
#[derive(Debug)]
pub(super) enum Buffered {
    Publish(Publication),
    Settle { unacked: Vec<Unacked>, accepted: bool, requeue: bool },
}

impl Transactions {
    // STOMP 1.2 "BEGIN": the identifier must differ from those of other open transactions.
    pub(super) fn begin(&mut self, name: &str, limits: &Limits) -> Result<(), SessionError> {
        if self.open.iter().any(|transaction| *transaction.name == *name) {
            return Err(SessionError::DuplicateTransaction { name: name.into() });
        }
        let count = self.open.len() + 1;
        if count > limits.transactions {
            return Err(SessionError::TooManyTransactions { count, max: limits.transactions });
        }
        self.open.push(Transaction { name: name.into(), actions: Vec::new(), size: 0, is_broken: false });
        Ok(())
    }

    /// Makes sure that a frame of that size has room in the transaction.
    pub(super) fn check(
        &self,
        name: &str,
        command: Command,
        frame_size: usize,
        limits: &Limits,
    ) -> Result<(), SessionError> {
        let Some(transaction) = self.open.iter().find(|transaction| *transaction.name == *name) else {
            return Err(SessionError::UnknownTransaction { command, name: name.into() });
        };
        let count = transaction.actions.len() + 1;
        if count > limits.transaction_actions {
            return Err(SessionError::TransactionTooMany { count, max: limits.transaction_actions });
        }
        let size = transaction.size.saturating_add(frame_size);
        if size > limits.transaction_bytes {
            return Err(SessionError::TransactionTooLarge { size, max: limits.transaction_bytes });
        }
        Ok(())
    }

    /// Adds to a transaction that was checked.
    pub(super) fn add(&mut self, name: &str, frame_size: usize, action: Buffered) {
        if let Some(transaction) = self.open.iter_mut().find(|transaction| *transaction.name == *name) {
            transaction.size = transaction.size.saturating_add(frame_size);
            transaction.actions.push(action);
        }
    }

    /// Takes a transaction out, for COMMIT or ABORT.
    pub(super) fn end(&mut self, name: &str, command: Command) -> Result<Transaction, SessionError> {
        let Some(at) = self.open.iter().position(|transaction| *transaction.name == *name) else {
            return Err(SessionError::UnknownTransaction { command, name: name.into() });
        };
        let transaction = self.open.remove(at);
        if self.open.is_empty() {
            self.open = Vec::new();
        }
        Ok(transaction)
    }

    /// What a subscription's consumer had has gone back to the queue: an ACK of it in an open
    /// transaction can no longer be carried out.
    pub(super) fn on_given_back(&mut self, subscription: SubscriptionId) {
        for transaction in &mut self.open {
            transaction.is_broken |= transaction.actions.iter().any(|action| match action {
                Buffered::Settle { unacked, .. } => unacked.iter().any(|unacked| unacked.subscription == subscription),
                Buffered::Publish(_) => false,
            });
        }
    }

    /// Octets of all frames in them.
    pub(super) fn bytes(&self) -> usize {
        self.open.iter().map(|transaction| transaction.size).sum()
    }

    pub(super) fn clear(&mut self) {
        self.open = Vec::new();
    }
}

impl Transaction {
    /// Makes sure that all of it can still be done.
    pub(super) fn check_whole(&self) -> Result<(), SessionError> {
        if self.is_broken { Err(SessionError::AcknowledgedGone { name: self.name.clone() }) } else { Ok(()) }
    }

    /// How many deliveries its ACKs and NACKs cover.
    pub(super) fn held(&self) -> usize {
        let held = |action: &Buffered| match action {
            Buffered::Settle { unacked, .. } => unacked.len(),
            Buffered::Publish(_) => 0,
        };
        self.actions.iter().map(held).sum()
    }

    /// For COMMIT: what the broker carries out.
    pub(super) fn into_actions(self) -> Vec<TransactionAction> {
        let action = |action| match action {
            Buffered::Publish(publication) => TransactionAction::Publish(publication),
            Buffered::Settle { unacked, accepted, requeue } => {
                TransactionAction::Settle(unacked.into_iter().map(|u| u.settlement(accepted, requeue)).collect())
            }
        };
        self.actions.into_iter().map(action).collect()
    }

    /// For ABORT: the deliveries that wait again.
    pub(super) fn into_unacked(self) -> Vec<Unacked> {
        let unacked = |action| match action {
            Buffered::Settle { unacked, .. } => unacked,
            Buffered::Publish(_) => Vec::new(),
        };
        self.actions.into_iter().flat_map(unacked).collect()
    }
}
