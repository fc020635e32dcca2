//! What `/queue` means: each message to one consumer, kept while there is none, handed out
//! again until it is settled. Sync and without a clock; each queue lives on its home shard.
//!
//! ```text
//! SEND ─► waiting ── dispatch ──► unacked ── accepted ──► gone
//!            ▲  └─ expired ► gone    │├─ rejected, consumer gone ─► waiting, in its old place
//!            └───────────────────────┘└─ requeue:false, too often ─► /queue/DLQ.NAME
//! ```

mod backlog;
mod consumers;
mod ledger;
mod state;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

pub use backlog::{Backlog, MemoryBacklog, Place, Waiting};
pub use ledger::{Depth, Full, Ledger, Limits, content_bytes, message_bytes};

use self::consumers::Taste;
use self::state::Queue;
use super::router::ConnectionKey;
use super::selector::Selector;
use super::stats::Stats;
use crate::message::{Delivery, Destination, MAX_DESTINATION_BYTES, Message, MessageId, SubscriptionId};

/// What all queues have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// What may wait, and what happens beyond that.
    pub limits: Limits,
    /// How often a message is delivered before it is a dead letter. Default 10.
    pub max_deliveries: u32,
    /// How many unsettled messages a consumer has that does not say. Default 64.
    pub prefetch_count: u32,
    /// The longest a message waits, in milliseconds; 0: for ever. Default 0.
    pub ttl_ms: u64,
}

/// One subscription to a queue, wherever its connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Consumer {
    /// The connection's shard.
    pub shard: usize,
    /// The connection there.
    pub connection: ConnectionKey,
    /// The session's own number of the subscription.
    pub subscription: SubscriptionId,
}

/// Who waits for a request to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asker {
    /// The connection's shard.
    pub shard: usize,
    /// The connection there.
    pub connection: ConnectionKey,
    /// The session's own number of the request.
    pub ticket: u64,
}

/// What is asked of a queue, at its home.
#[derive(Debug, Clone)]
pub enum Request {
    /// Takes a message, for which the [`Ledger`] has reserved room.
    Send {
        /// The message; its destination is the queue.
        message: Arc<Message>,
        /// Who waits.
        asker: Option<Asker>,
    },
    /// Adds a consumer.
    Subscribe {
        /// The queue.
        queue: Destination,
        /// Who; never used twice.
        consumer: Consumer,
        /// How many unsettled messages it may have, at least 1.
        prefetch_count: u32,
        /// What it wants; all without.
        selector: Option<Arc<Selector>>,
        /// Whether its transport carries what is not UTF-8; what it cannot carry is for others.
        takes_binary: bool,
        /// Who waits.
        asker: Option<Asker>,
    },
    /// Removes a consumer; what it has not settled goes back to its old place.
    Unsubscribe {
        /// The queue.
        queue: Destination,
        /// Who.
        consumer: Consumer,
        /// Its messages that never reached its socket: those were not delivered.
        unsent: Vec<MessageId>,
        /// Its messages that are on their way to its socket, and settled when they are there:
        /// they stay its own. If they do not get there, the same is asked again without them.
        leaving: Vec<MessageId>,
    },
    /// Tells what became of deliveries. What is not the consumer's is ignored.
    Settle {
        /// The queue.
        queue: Destination,
        /// Whose.
        consumer: Consumer,
        /// In the order of their delivery.
        outcomes: Vec<(MessageId, Outcome)>,
        /// Who waits.
        asker: Option<Asker>,
    },
}

impl Request {
    /// The queue that is asked.
    pub fn queue(&self) -> &Destination {
        match self {
            Self::Send { message, .. } => &message.destination,
            Self::Subscribe { queue, .. } | Self::Unsubscribe { queue, .. } | Self::Settle { queue, .. } => queue,
        }
    }
}

/// What became of one delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is done with.
    Accepted,
    /// It is to be delivered again.
    Rejected,
    /// It is not to be delivered again.
    Refused,
    /// It expired on its way.
    Expired,
}

/// What the driver is to carry out, in this order.
#[derive(Debug)]
pub enum Output {
    /// A message for a consumer.
    Deliver(Consumer, Delivery),
    /// A request is done.
    Answer(Asker),
    /// A request for another queue, which may live elsewhere; room is reserved.
    Forward(Request),
}

/// The queues of one shard.
pub struct Queues {
    queues: HashMap<Destination, Queue<MemoryBacklog>>,
    /// Those with something to hand out.
    pending: VecDeque<Destination>,
    settings: Settings,
    ledger: Arc<Ledger>,
    outputs: VecDeque<Output>,
    /// What is to be added to the broker's counters.
    counts: Counts,
}

/// What was counted since the last look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Messages that expired.
    pub expired: u64,
    /// Messages given up to make room.
    pub overflow: u64,
    /// Messages that became dead letters.
    pub dead_letters: u64,
    /// Dead letters that were given up: rejected again.
    pub discarded: u64,
    /// Deliveries after the first of a message.
    pub redelivered: u64,
}

impl Counts {
    /// Adds them to the broker's counters.
    pub fn add_to(self, stats: &Stats) {
        stats.dropped_expired.add(self.expired);
        stats.dropped_overflow.add(self.overflow);
        stats.dead_letters.add(self.dead_letters);
        stats.dropped_dead.add(self.discarded);
        stats.redelivered.add(self.redelivered);
    }
}

impl Queues {
    /// No queues yet.
    pub fn new(settings: Settings, ledger: Arc<Ledger>) -> Self {
        Self {
            queues: HashMap::new(),
            pending: VecDeque::new(),
            settings,
            ledger,
            outputs: VecDeque::new(),
            counts: Counts::default(),
        }
    }

    /// Takes a request; [`Queues::dispatch`] hands out what it made ready.
    pub fn handle_request(&mut self, request: Request) {
        let (queue, asker) = match request {
            Request::Send { message, asker } => {
                let queue = message.destination.clone();
                self.on_send(message);
                (queue, asker)
            }
            Request::Subscribe { queue, consumer, prefetch_count, selector, takes_binary, asker } => {
                self.queue(&queue).subscribe(consumer, prefetch_count, Taste { selector, takes_binary });
                (queue, asker)
            }
            Request::Unsubscribe { queue, consumer, unsent, leaving } => {
                self.on_unsubscribe(&queue, consumer, &unsent, &leaving);
                (queue, None)
            }
            Request::Settle { queue, consumer, outcomes, asker } => {
                for (message, outcome) in outcomes {
                    self.on_settle(&queue, consumer, message, outcome);
                }
                (queue, asker)
            }
        };
        // Before what it sets free: a RECEIPT of SUBSCRIBE leaves ahead of the first MESSAGE.
        self.outputs.extend(asker.map(Output::Answer));
        self.on_changed(queue);
    }

    /// Hands out up to `steps` messages, or looks at them in vain; answers whether there is
    /// more to do.
    pub fn dispatch(&mut self, now_ms: u64, mut steps: usize) -> bool {
        while let Some(name) = self.pending.pop_front() {
            let Some(queue) = self.queues.get_mut(&name) else { continue };
            queue.is_pending = false;
            let has_more = loop {
                if steps == 0 {
                    break true;
                }
                steps -= 1;
                match queue.next(now_ms, &mut steps) {
                    state::Next::Deliver(consumer, delivery) => {
                        self.counts.redelivered += u64::from(delivery.count > 1);
                        self.outputs.push_back(Output::Deliver(consumer, delivery));
                    }
                    state::Next::Expired(message) => {
                        self.counts.expired += 1;
                        self.ledger.release(&message);
                    }
                    state::Next::Tired => break true,
                    state::Next::Nothing => break false,
                }
            };
            if has_more {
                queue.is_pending = true;
                self.pending.push_back(name);
                return true;
            }
            self.forget_idle(&name);
        }
        false
    }

    /// Drops what expired while nobody wanted it; to be called each second or so.
    pub fn handle_timeout(&mut self, now_ms: u64) {
        let due = |queue: &&mut Queue<MemoryBacklog>| queue.backlog.expires_at_ms().is_some_and(|at| at <= now_ms);
        let mut changed = Vec::new();
        for queue in self.queues.values_mut().filter(due) {
            for message in queue.backlog.expire(now_ms) {
                self.counts.expired += 1;
                self.ledger.release(&message);
                changed.push(message.destination.clone());
            }
        }
        for name in changed {
            self.forget_idle(&name);
        }
    }

    /// What to do next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// What was counted since the last call.
    pub fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }

    fn queue(&mut self, name: &Destination) -> &mut Queue<MemoryBacklog> {
        self.queues.entry(name.clone()).or_default()
    }

    fn on_send(&mut self, message: Arc<Message>) {
        let name = message.destination.clone();
        self.queue(&name).backlog.append(message);
        // A SEND was refused where that is the setting; what was forced in is a dead letter.
        let drops_oldest = self.settings.limits.drops_oldest || is_dead_letter_queue(&name);
        while drops_oldest && self.ledger.is_over(&name) {
            let Some(oldest) = self.queue(&name).backlog.take_oldest() else { break };
            self.counts.overflow += 1;
            self.ledger.release(&oldest.message);
        }
    }

    fn on_unsubscribe(&mut self, name: &Destination, consumer: Consumer, unsent: &[MessageId], leaving: &[MessageId]) {
        let Some(queue) = self.queues.get_mut(name) else { return };
        let mut dead = Vec::new();
        for (place, mut waiting) in queue.unsubscribe(consumer, leaving) {
            if unsent.contains(&waiting.message.id) {
                waiting.deliveries -= 1;
            }
            if waiting.deliveries >= self.settings.max_deliveries && !is_dead_letter_queue(name) {
                dead.push(waiting);
            } else {
                queue.put_back(place, waiting);
            }
        }
        for waiting in dead {
            self.bury(&waiting, "max-deliveries");
        }
    }

    fn on_settle(&mut self, name: &Destination, consumer: Consumer, message: MessageId, outcome: Outcome) {
        let Some(queue) = self.queues.get_mut(name) else { return };
        let Some((place, waiting)) = queue.settle(consumer, message) else { return };
        let is_dead = is_dead_letter_queue(name);
        match outcome {
            Outcome::Rejected if is_dead || waiting.deliveries < self.settings.max_deliveries => {
                queue.put_back(place, waiting);
            }
            Outcome::Rejected => self.bury(&waiting, "max-deliveries"),
            Outcome::Refused if !is_dead => self.bury(&waiting, "rejected"),
            Outcome::Refused => {
                self.counts.discarded += 1;
                self.ledger.release(&waiting.message);
            }
            Outcome::Expired => {
                self.counts.expired += 1;
                self.ledger.release(&waiting.message);
            }
            Outcome::Accepted => self.ledger.release(&waiting.message),
        }
    }

    /// Sends a message on to the dead-letter queue of its queue. It is the same message, with
    /// its number, and two headers more.
    fn bury(&mut self, waiting: &Waiting, reason: &str) {
        let Waiting { message, deliveries } = waiting;
        self.ledger.release(message);
        let Some(dead) = dead_letter(message, *deliveries, reason) else {
            self.counts.discarded += 1;
            return;
        };
        self.counts.dead_letters += 1;
        self.ledger.force(&dead);
        self.outputs.push_back(Output::Forward(Request::Send { message: Arc::new(dead), asker: None }));
    }

    fn on_changed(&mut self, name: Destination) {
        self.forget_idle(&name);
        if let Some(queue) = self.queues.get_mut(&name)
            && queue.can_hand_out()
            && !std::mem::replace(&mut queue.is_pending, true)
        {
            self.pending.push_back(name);
        }
    }

    fn forget_idle(&mut self, name: &Destination) {
        if self.queues.get(name).is_some_and(Queue::is_idle) {
            self.queues.remove(name);
        }
    }
}

/// Whether a queue's name leaves room for that of its dead-letter queue.
pub fn is_name_short_enough(queue: &Destination) -> bool {
    is_dead_letter_queue(queue) || queue.as_str().len() + DLQ.len() <= MAX_DESTINATION_BYTES
}

fn is_dead_letter_queue(queue: &Destination) -> bool {
    queue.as_str().starts_with(DEAD_LETTERS)
}

fn dead_letter(message: &Message, deliveries: u32, reason: &str) -> Option<Message> {
    let name = message.destination.as_str().strip_prefix(QUEUE)?;
    let destination = Destination::parse(&format!("{DEAD_LETTERS}{name}")).ok()?;
    let own = [
        ("dead-letter-reason", reason.to_owned()),
        ("dead-letter-deliveries", deliveries.to_string()),
        ("original-destination", message.destination.to_string()),
    ];
    let mut headers = message.headers.clone();
    headers.retain(|(name, _)| !own.iter().any(|(ours, _)| **name == **ours));
    headers.extend(own.map(|(name, value)| (name.into(), value.into())));
    let publication = crate::message::Publication { destination, headers, body: message.body.clone() };
    // A dead letter is to be looked at: it no longer expires.
    Some(Message::new(message.id, publication, message.timestamp_ms, None))
}

const QUEUE: &str = "/queue/";
const DLQ: &str = "DLQ.";
const DEAD_LETTERS: &str = "/queue/DLQ.";
