//! SEND, ACK, NACK and COMMIT: one after the other, each of them whole or not at all.

use std::sync::Arc;
use std::task::Context;
use std::time::Instant;

use tracing::debug;

use super::{Connection, Publishing, State};
use crate::broker::app::{AppAnswer, AppEffect};
use crate::broker::pattern::Pattern;
use crate::broker::queue::{Outcome, Request, message_bytes};
use crate::broker::{BrokerError, address};
use crate::message::{Destination, DestinationKind, Message, MessageId, Publication, SubscriptionId};
use crate::stomp::session::{Reply, Settlement, Ticket, TransactionAction};

/// A part of what is carried out, of which nothing is in the way.
enum Step {
    Publish(Publication),
    Queue(Arc<Message>),
    Settle(Vec<Settlement>),
}

/// What one ACK or NACK says of one subscription.
struct OfQueue {
    subscription: SubscriptionId,
    queue: Destination,
    outcomes: Vec<(MessageId, Outcome)>,
}

impl Connection {
    // STOMP 1.2 "COMMIT": all or nothing, so all is checked, and all room reserved, before the
    // first goes.
    /// Carries out a transaction, or what stands alone; waits first until all of it has room.
    pub(super) fn carry_out(
        &self,
        state: &mut State,
        now: Instant,
        ticket: Ticket,
        mut actions: Vec<TransactionAction>,
    ) {
        let is_alone = actions.len() == 1;
        for action in &mut actions {
            let TransactionAction::Publish(publication) = action else { continue };
            match self.prepare(state, now, publication, is_alone) {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => return self.refuse(state, now, ticket, &error),
            }
        }
        let busy = actions.iter().find_map(|action| match action {
            TransactionAction::Publish(Publication { destination, .. }) if !self.broker().has_room(destination) => {
                Some(destination.clone())
            }
            TransactionAction::Publish(_) | TransactionAction::Settle(_) => None,
        });
        if let Some(destination) = busy {
            let room = Box::pin(self.broker().room(destination));
            state.publishing = Some(Box::new(Publishing { ticket, left: actions, room }));
            return;
        }
        match self.reserve(actions) {
            Ok(steps) => self.perform_steps(state, now, ticket, steps),
            Err(error) => self.refuse(state, now, ticket, &error),
        }
    }

    pub(super) fn poll_publishing(&self, state: &mut State, now: Instant, cx: &mut Context<'_>) {
        while let Some(publishing) = &mut state.publishing
            && publishing.room.as_mut().poll(cx).is_ready()
        {
            if let Some(publishing) = state.publishing.take() {
                self.carry_out(state, now, publishing.ticket, publishing.left);
            }
        }
    }

    /// Puts full names for the session's own and checks the rest; answers whether the session
    /// is still there.
    fn prepare(
        &self,
        state: &mut State,
        now: Instant,
        publication: &mut Publication,
        is_alone: bool,
    ) -> Result<bool, BrokerError> {
        let kind = publication.destination.kind();
        if matches!(kind, DestinationKind::TempQueue | DestinationKind::User) {
            let key = || state.queueing.get_or_insert_default().key();
            publication.destination = address::sent(&publication.destination, key)?;
        }
        // One alone is checked when it goes.
        if !is_alone || kind == DestinationKind::Queue {
            self.broker().check_send(state.session.principal(), publication)?;
        }
        let reply_to = publication.headers.iter_mut().find(|(name, _)| &**name == "reply-to");
        if let Some((_, value)) = reply_to
            && address::is_own_temp_queue(value)
            && let Ok(queue) = Destination::parse(value)
        {
            let Some(address) = self.open_temp_queue(state, now, &queue) else { return Ok(false) };
            *value = address.as_str().into();
        }
        Ok(true)
    }

    fn reserve(&self, actions: Vec<TransactionAction>) -> Result<Vec<Step>, BrokerError> {
        let step = |action| match action {
            TransactionAction::Publish(publication) if publication.destination.kind() == DestinationKind::Queue => {
                self.broker().queue_message(publication).map(Step::Queue)
            }
            TransactionAction::Publish(publication) => Ok(Step::Publish(publication)),
            TransactionAction::Settle(settlements) => Ok(Step::Settle(settlements)),
        };
        let steps: Vec<Step> = actions.into_iter().map(step).collect::<Result<_, _>>()?;
        self.broker().ledger().reserve(steps.iter().filter_map(|step| match step {
            Step::Queue(message) => Some((&message.destination, message_bytes(message))),
            Step::Publish(_) | Step::Settle(_) => None,
        }))?;
        Ok(steps)
    }

    fn perform_steps(&self, state: &mut State, now: Instant, ticket: Ticket, steps: Vec<Step>) {
        let mut answers = 0;
        let mut refusal = None;
        for step in steps {
            match step {
                Step::Publish(_) | Step::Settle(_) if refusal.is_some() => {}
                Step::Queue(message) if refusal.is_some() => self.broker().ledger().release(&message),
                Step::Publish(publication) => refusal = self.publish(state, now, publication).err(),
                Step::Queue(message) => {
                    answers += 1;
                    self.broker().stats().published.add(1);
                    self.broker().post_request(Request::Send { message, asker: Some(self.asker(ticket)) });
                }
                Step::Settle(settlements) => answers += self.settle(state, ticket, settlements),
            }
        }
        match refusal {
            Some(error) => self.refuse(state, now, ticket, &error),
            None if answers > 0 => state.queueing.get_or_insert_default().expect_answers(ticket, answers),
            None => state.session.handle_reply(now, ticket, Reply::Done),
        }
    }

    fn publish(&self, state: &mut State, now: Instant, publication: Publication) -> Result<(), BrokerError> {
        let destination = publication.destination.clone();
        match self.broker().send(state.session.principal(), publication)? {
            AppEffect::None => debug!(connection = self.id, %destination, "published"),
            AppEffect::Deliver(destination, answer) => self.deliver_to_own(state, now, &destination, answer),
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
    fn deliver_to_own(&self, state: &mut State, now: Instant, destination: &Destination, answer: AppAnswer) {
        let message = self.answer(destination.clone(), answer);
        let matches =
            |to: &Destination| to == destination || Pattern::of(to).is_some_and(|pattern| pattern.matches(destination));
        let own: Vec<SubscriptionId> =
            state.subscriptions.iter().filter(|(_, to)| matches(to)).map(|(id, _)| *id).collect();
        for id in own {
            self.push_private(state, now, id, Arc::clone(&message), false);
        }
    }

    pub(super) fn answer(&self, destination: Destination, answer: AppAnswer) -> Arc<Message> {
        let headers = vec![("content-type".into(), answer.content_type.into())];
        self.broker().private_message(Publication { destination, headers, body: answer.body })
    }
}
