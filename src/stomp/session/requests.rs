//! Frames that the client awaits an answer to, in their order.
//!
//! A RECEIPT leaves only after the broker's reply, and receipts keep the order of the frames:
//! a frame that needs no reply still waits behind those that do.

use std::collections::VecDeque;

use crate::message::SubscriptionId;
use crate::session::{Reply, Ticket};
use crate::stomp::frame::Command;

/// The open requests, the oldest first; tickets rise by one from entry to entry.
#[derive(Debug, Default)]
pub(super) struct Requests {
    open: VecDeque<Request>,
    next: u64,
}

#[derive(Debug)]
pub(super) struct Request {
    pub(super) command: Command,
    pub(super) receipt: Option<Box<str>>,
    /// For SUBSCRIBE.
    pub(super) subscription: Option<SubscriptionId>,
    reply: Option<Reply>,
}

impl Requests {
    /// Notes a frame whose action awaits a reply.
    pub(super) fn open(
        &mut self,
        command: Command,
        receipt: Option<Box<str>>,
        subscription: Option<SubscriptionId>,
    ) -> Ticket {
        self.push(Request { command, receipt, subscription, reply: None })
    }

    /// Notes a frame that is dealt with already, where someone waits for that to be said.
    pub(super) fn done(&mut self, command: Command, receipt: Option<Box<str>>) {
        if receipt.is_none() && command != Command::Disconnect {
            return;
        }
        self.push(Request { command, receipt, subscription: None, reply: Some(Reply::Done) });
    }

    /// Notes a reply; one to no open ticket is ignored.
    pub(super) fn handle_reply(&mut self, ticket: Ticket, reply: Reply) {
        let first = self.next - self.open.len() as u64;
        let at = ticket.0.checked_sub(first).and_then(|at| usize::try_from(at).ok());
        if let Some(request) = at.and_then(|at| self.open.get_mut(at)) {
            request.reply.get_or_insert(reply);
        }
    }

    /// The oldest request, once it is answered.
    pub(super) fn poll(&mut self) -> Option<(Request, Reply)> {
        let reply = self.open.front_mut()?.reply.take()?;
        let request = self.open.pop_front()?;
        if self.open.is_empty() {
            self.open = VecDeque::new();
        }
        Some((request, reply))
    }

    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    pub(super) fn clear(&mut self) {
        self.open = VecDeque::new();
    }

    fn push(&mut self, request: Request) -> Ticket {
        let ticket = Ticket(self.next);
        self.next += 1;
        self.open.push_back(request);
        ticket
    }
}
