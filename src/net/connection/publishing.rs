//! SEND, ACK, NACK and COMMIT: one after the other, each of them whole or not at all.

use std::sync::Arc;
use std::task::Context;
use std::time::Instant;

use tracing::debug;

use super::{Connection, Publishing, State};
use crate::broker::app::{AppAnswer, AppEffect, AppHandler};
use crate::broker::handle::Admitted;
use crate::broker::queue::{Outcome, Request};
use crate::broker::{BrokerError, address};
use crate::message::{Destination, DestinationKind, Message, MessageId, Publication, SubscriptionId};
use crate::session::{Reply, Settlement, Ticket, TransactionAction};

/// What is carried out whole or not at all.
pub(super) struct Work {
    actions: Vec<TransactionAction>,
    /// Whether a COMMIT asked for it.
    is_transaction: bool,
}

impl Work {
    /// A frame of its own.
    pub(super) fn of_frame(action: TransactionAction) -> Self {
        Self { actions: vec![action], is_transaction: false }
    }

    /// What a COMMIT asks for.
    pub(super) fn of_commit(actions: Vec<TransactionAction>) -> Self {
        Self { actions, is_transaction: true }
    }
}

/// What one ACK or NACK says of one subscription.
struct OfQueue {
    subscription: SubscriptionId,
    queue: Destination,
    outcomes: Vec<(MessageId, Outcome)>,
}

impl Connection {
    // STOMP 1.2 "COMMIT": all or nothing.
    /// Carries out a transaction, or what stands alone; waits first until all of it has room.
    pub(super) fn carry_out(&self, state: &mut State, now: Instant, ticket: Ticket, mut work: Work) {
        let mut publications = work.actions.iter_mut().filter_map(|action| match action {
            TransactionAction::Publish(publication) => Some(publication),
            TransactionAction::Settle(_) => None,
        });
        if let Err(error) = publications.try_for_each(|publication| Self::resolve(state, publication)) {
            return self.refuse(state, now, ticket, &error);
        }
        let busy = work.actions.iter().find_map(|action| match action {
            TransactionAction::Publish(Publication { destination, .. }) if !self.broker().has_room(destination) => {
                Some(destination.clone())
            }
            TransactionAction::Publish(_) | TransactionAction::Settle(_) => None,
        });
        if let Some(destination) = busy {
            let room = Box::pin(self.broker().room(destination));
            state.publishing = Some(Box::new(Publishing { ticket, work, room }));
            return;
        }
        let mut publications = Vec::new();
        let mut settlements = Vec::new();
        for action in work.actions {
            match action {
                TransactionAction::Publish(mut publication) => {
                    if !self.open_reply_to(state, now, &mut publication) {
                        return;
                    }
                    publications.push(publication);
                    settlements.push(None);
                }
                TransactionAction::Settle(of_one) => settlements.push(Some(of_one)),
            }
        }
        match self.broker().admit(state.session.principal(), publications, work.is_transaction) {
            Ok(admitted) => self.perform_admitted(state, now, ticket, admitted, settlements),
            Err(error) => self.refuse(state, now, ticket, &error),
        }
    }

    pub(super) fn poll_publishing(&self, state: &mut State, now: Instant, cx: &mut Context<'_>) {
        if state.publishing.is_some() {
            self.expire(state, now);
        }
        while let Some(publishing) = &mut state.publishing
            && publishing.room.as_mut().poll(cx).is_ready()
        {
            if let Some(publishing) = state.publishing.take() {
                self.carry_out(state, now, publishing.ticket, publishing.work);
            }
        }
    }

    /// Puts the full name for one of the session's own.
    fn resolve(state: &mut State, publication: &mut Publication) -> Result<(), BrokerError> {
        if matches!(publication.destination.kind(), DestinationKind::TempQueue | DestinationKind::User) {
            let key = || state.queueing.get_or_insert_default().key();
            publication.destination = address::sent(&publication.destination, key)?;
        }
        Ok(())
    }

    /// Opens the temporary queue that a SEND names in `reply-to`, and puts its full name there;
    /// answers whether the session is still there.
    fn open_reply_to(&self, state: &mut State, now: Instant, publication: &mut Publication) -> bool {
        let reply_to = publication.headers.iter_mut().find(|(name, _)| &**name == "reply-to");
        if let Some((_, value)) = reply_to
            && address::is_own_temp_queue(value)
            && let Ok(queue) = Destination::parse(value)
        {
            let Some(address) = self.open_temp_queue(state, now, &queue) else { return false };
            *value = address.as_str().into();
        }
        true
    }

    /// Carries out what nothing is in the way of; `None` among the settlements stands for the
    /// next SEND.
    fn perform_admitted(
        &self,
        state: &mut State,
        now: Instant,
        ticket: Ticket,
        admitted: Vec<Admitted>,
        settlements: Vec<Option<Vec<Settlement>>>,
    ) {
        let mut answers = 0;
        let mut refused = Ok(());
        let mut admitted = admitted.into_iter();
        for settlements in settlements {
            if let Some(settlements) = settlements {
                answers += self.settle(state, ticket, settlements);
                continue;
            }
            match admitted.next() {
                Some(Admitted::Topic(message)) => {
                    self.broker().broadcast(&message);
                    debug!(connection = self.id, destination = %message.destination, "published");
                }
                Some(Admitted::Queue(message)) => {
                    answers += 1;
                    self.broker().stats().published.add(1);
                    self.broker().post_request(Request::Send { message, asker: Some(self.asker(ticket)) });
                }
                Some(Admitted::App(handler, publication)) => {
                    let done = self.hand_over(state, &*handler, &publication);
                    refused = refused.and(done);
                }
                None => {}
            }
        }
        match refused {
            Err(error) => self.refuse(state, now, ticket, &error),
            Ok(()) if answers > 0 => state.queueing.get_or_insert_default().expect_answers(ticket, answers),
            Ok(()) => state.session.handle_reply(now, ticket, Reply::Done),
        }
    }

    fn hand_over(
        &self,
        state: &mut State,
        handler: &dyn AppHandler,
        publication: &Publication,
    ) -> Result<(), BrokerError> {
        match self.broker().handle(state.session.principal(), handler, publication)? {
            AppEffect::None | AppEffect::Publish(_) => {
                debug!(connection = self.id, destination = %publication.destination, "handled");
            }
            AppEffect::Deliver(destination, answer) => self.deliver_to_own(state, &destination, answer),
        }
        Ok(())
    }

    /// Tells the queues what became of their messages; answers how many of them will answer.
    fn settle(&self, state: &State, ticket: Ticket, settlements: Vec<Settlement>) -> u32 {
        let mut of_queues: Vec<OfQueue> = Vec::new();
        for settlement in settlements {
            let Settlement { subscription, message, accepted, requeue } = settlement;
            // Of one that ended in the meantime all has gone back to its queue.
            let Some((_, destination)) = state.subscriptions.iter().find(|(id, _)| *id == subscription) else {
                continue;
            };
            if destination.kind() != DestinationKind::Queue {
                self.broker().stats().topic_nacks.add(u64::from(!accepted));
                continue;
            }
            let outcome = match (accepted, requeue) {
                (true, _) => Outcome::Accepted,
                (false, true) => Outcome::Rejected,
                (false, false) => Outcome::Refused,
            };
            match of_queues.last_mut() {
                Some(last) if last.subscription == subscription => last.outcomes.push((message, outcome)),
                _ => {
                    let (queue, outcomes) = (destination.clone(), vec![(message, outcome)]);
                    of_queues.push(OfQueue { subscription, queue, outcomes });
                }
            }
        }
        let mut answers = 0;
        for OfQueue { subscription, queue, outcomes } in of_queues {
            answers += 1;
            let (consumer, asker) = (self.consumer(subscription), Some(self.asker(ticket)));
            self.broker().post_request(Request::Settle { queue, consumer, outcomes, asker });
        }
        answers
    }

    /// The client's own subscriptions to `destination` get the answer.
    fn deliver_to_own(&self, state: &mut State, destination: &Destination, answer: AppAnswer) {
        let message = self.answer(destination.clone(), answer);
        let is_of = |to: &Destination| self.broker().pattern(to).is_some_and(|pattern| pattern.matches(destination));
        let matches = |to: &Destination| to == destination || is_of(to);
        let own: Vec<SubscriptionId> =
            state.subscriptions.iter().filter(|(_, to)| matches(to)).map(|(id, _)| *id).collect();
        for id in own {
            Self::push_answer(state, id, Arc::clone(&message), false);
        }
    }

    pub(super) fn answer(&self, destination: Destination, answer: AppAnswer) -> Arc<Message> {
        let headers = vec![("content-type".into(), answer.content_type.into())];
        self.broker().private_message(Publication { destination, headers, body: answer.body })
    }
}
