//! The last messages of some topics, for clients that were away.
//!
//! Messages of kept topics are numbered in the order in which every subscriber gets them: the
//! number is given, and the message handed to the shards, under one lock. So whoever names the
//! last number that it has seen has seen all before it, of every kept topic.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::message::{Destination, Message};
use crate::session::{Backlog, Since};

/// The kept messages of all topics.
#[derive(Debug)]
pub struct History {
    epoch: Box<str>,
    limits: Limits,
    /// While nothing is kept, publishing takes no lock here.
    is_used: AtomicBool,
    kept: Mutex<Kept>,
}

/// The bounds of the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Topics that are kept. Default 1,000; a topic more takes the place of the one that was
    /// written to least recently.
    pub topics: usize,
    /// Messages of one topic. Default 10,000.
    pub messages: usize,
    /// Octets of all bodies together. Default 16 MiB.
    pub bytes: usize,
}

#[derive(Debug, Default)]
struct Kept {
    position: u64,
    topics: HashMap<Destination, Ring>,
    bytes: usize,
}

/// The last messages of one topic, the oldest first.
#[derive(Debug, Default)]
struct Ring {
    messages: VecDeque<Arc<Message>>,
    /// The last number that was given away before, or is no longer here.
    lost: u64,
    /// When it was last written to or asked for, as a number.
    used: u64,
    is_fixed: bool,
}

impl History {
    /// Makes one in which `fixed` are kept from the beginning; `epoch` tells this process's
    /// numbers from another's.
    pub fn new(limits: Limits, epoch: &str, fixed: &[Destination]) -> Self {
        let history =
            Self { epoch: epoch.into(), limits, is_used: AtomicBool::new(!fixed.is_empty()), kept: Mutex::default() };
        let ring = |topic: &Destination| (topic.clone(), Ring { is_fixed: true, ..Ring::default() });
        history.lock().topics.extend(fixed.iter().map(ring));
        history
    }

    /// What tells this process's numbers from another's.
    pub fn epoch(&self) -> &str {
        &self.epoch
    }

    /// Hands a message to the shards by `post`; numbers and keeps it first where its topic is kept.
    pub fn record(&self, message: &Arc<Message>, post: impl FnOnce()) {
        if !self.is_used.load(Ordering::Acquire) {
            return post();
        }
        let mut kept = self.lock();
        if kept.add(message, &self.limits) {
            post();
        } else {
            drop(kept);
            post();
        }
    }

    /// Keeps a topic's messages from now on.
    pub fn keep(&self, topic: &Destination) {
        self.is_used.store(true, Ordering::Release);
        self.lock().keep(topic, &self.limits);
    }

    /// What came to those topics since then, in the order of the numbers; what comes later has a
    /// number beyond the answer's position. A topic that was not kept is begun with.
    pub fn since(&self, topics: &[&Destination], since: Since) -> Backlog {
        self.is_used.store(true, Ordering::Release);
        let mut kept = self.lock();
        let mut backlog = Backlog { position: kept.position, ..Backlog::default() };
        for topic in topics {
            kept.keep(topic, &self.limits);
            match kept.topics.get_mut(*topic) {
                Some(ring) => ring.add_missed(since, &mut backlog),
                None => backlog.is_gap = true,
            }
        }
        backlog.messages.sort_by_key(|message| message.position());
        backlog
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn keep(&mut self, topic: &Destination, limits: &Limits) {
        if self.topics.contains_key(topic) {
            return;
        }
        if self.topics.len() >= limits.topics {
            let idle = self.topics.iter().filter(|(_, ring)| !ring.is_fixed).min_by_key(|(_, ring)| ring.used);
            let Some(idle) = idle.map(|(name, _)| name.clone()) else { return };
            if let Some(ring) = self.topics.remove(&idle) {
                self.bytes -= ring.messages.iter().map(|message| message.body.len()).sum::<usize>();
            }
        }
        self.topics.insert(topic.clone(), Ring { lost: self.position, ..Ring::default() });
    }

    fn add(&mut self, message: &Arc<Message>, limits: &Limits) -> bool {
        let Some(ring) = self.topics.get_mut(&message.destination) else { return false };
        self.position += 1;
        message.set_position(self.position);
        ring.used = self.position;
        ring.messages.push_back(Arc::clone(message));
        self.bytes += message.body.len();
        if ring.messages.len() > limits.messages {
            self.bytes -= ring.forget_oldest();
        }
        while self.bytes > limits.bytes {
            // The topic that has most gives way, so that one that is loud leaves the others theirs.
            let Some(ring) = self.topics.values_mut().max_by_key(|ring| ring.messages.len()) else { break };
            self.bytes -= ring.forget_oldest();
        }
        true
    }
}

impl Ring {
    fn add_missed(&mut self, since: Since, backlog: &mut Backlog) {
        self.used = backlog.position;
        let end = self.messages.len();
        let (from, is_gap) = match since {
            Since::Now => (end, false),
            Since::Lost => (end, true),
            // A number that was never given is of another process that began alike.
            Since::After(seen) if seen > backlog.position => (end, true),
            Since::After(seen) => {
                (self.messages.partition_point(|message| message.position() <= seen), seen < self.lost)
            }
            Since::Time(ms) => {
                let from = self.messages.iter().position(|message| message.timestamp_ms >= ms);
                (from.unwrap_or(end), from.unwrap_or(0) == 0 && self.lost > 0)
            }
        };
        backlog.messages.extend(self.messages.range(from..).cloned());
        backlog.is_gap |= is_gap;
    }

    /// Answers how many octets it had.
    fn forget_oldest(&mut self) -> usize {
        let Some(oldest) = self.messages.pop_front() else { return 0 };
        self.lost = oldest.position();
        oldest.body.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{MessageId, Publication};

    const LIMITS: Limits = Limits { topics: 3, messages: 3, bytes: 10 };

    #[test]
    fn what_came_after_a_number_is_given_again_and_nothing_else() {
        let history = of(&["/topic/a"]);
        for n in 1..=3 {
            record(&history, "/topic/a", n, 1);
        }
        assert_eq!(numbers(&history, "/topic/a", Since::After(1)), (vec![2, 3], false, 3));
        assert_eq!(numbers(&history, "/topic/a", Since::After(3)), (vec![], false, 3));
        assert_eq!(numbers(&history, "/topic/a", Since::Now), (vec![], false, 3));
        assert_eq!(numbers(&history, "/topic/a", Since::Time(2)), (vec![2, 3], false, 3));
        assert_eq!(numbers(&history, "/topic/a", Since::Time(4)), (vec![], false, 3));
    }

    #[test]
    fn a_gap_is_told_one_past_the_bound_and_not_at_it() {
        let history = of(&["/topic/a"]);
        for n in 1..=3 {
            record(&history, "/topic/a", n, 1);
        }
        assert_eq!(numbers(&history, "/topic/a", Since::After(0)), (vec![1, 2, 3], false, 3));
        assert_eq!(numbers(&history, "/topic/a", Since::Time(0)), (vec![1, 2, 3], false, 3));
        record(&history, "/topic/a", 4, 1);
        assert_eq!(numbers(&history, "/topic/a", Since::After(0)), (vec![2, 3, 4], true, 4));
        assert_eq!(numbers(&history, "/topic/a", Since::After(1)), (vec![2, 3, 4], false, 4));
        assert_eq!(numbers(&history, "/topic/a", Since::Time(1)), (vec![2, 3, 4], true, 4));
        assert_eq!(numbers(&history, "/topic/a", Since::Lost), (vec![], true, 4));
        assert_eq!(numbers(&history, "/topic/a", Since::After(5)), (vec![], true, 4));
    }

    #[test]
    fn the_octets_of_all_topics_are_bounded_and_the_loudest_gives_way() {
        let history = of(&["/topic/a", "/topic/b"]);
        record(&history, "/topic/b", 1, 4);
        record(&history, "/topic/a", 2, 3);
        record(&history, "/topic/a", 3, 3);
        assert_eq!(numbers(&history, "/topic/a", Since::After(0)).0, [2, 3]);
        record(&history, "/topic/a", 4, 3);
        assert_eq!(numbers(&history, "/topic/a", Since::After(0)), (vec![3, 4], true, 4));
        assert_eq!(numbers(&history, "/topic/b", Since::After(0)), (vec![1], false, 4));
    }

    #[test]
    fn what_was_missed_of_several_topics_comes_in_one_order() {
        let history = of(&["/topic/a", "/topic/b"]);
        for (n, topic) in ["/topic/a", "/topic/b", "/topic/a"].into_iter().enumerate() {
            record(&history, topic, n as u64 + 1, 1);
        }
        let topics = ["/topic/b", "/topic/a"].map(|name| Destination::parse(name).unwrap());
        let backlog = history.since(&[&topics[0], &topics[1]], Since::After(0));
        assert_eq!(backlog.messages.iter().map(|message| message.id.0).collect::<Vec<_>>(), [1, 2, 3]);
    }

    #[test]
    fn a_topic_is_kept_from_when_it_is_first_asked_for_and_the_idlest_makes_room() {
        let history = of(&["/topic/a"]);
        record(&history, "/topic/b", 1, 1);
        record(&history, "/topic/a", 2, 1);
        // Of what came before nothing is known.
        assert_eq!(numbers(&history, "/topic/b", Since::After(0)), (vec![], true, 1));
        record(&history, "/topic/b", 3, 1);
        assert_eq!(numbers(&history, "/topic/b", Since::After(1)), (vec![3], false, 2));
        numbers(&history, "/topic/c", Since::Now);
        record(&history, "/topic/c", 4, 1);
        numbers(&history, "/topic/d", Since::Now);
        assert_eq!(numbers(&history, "/topic/c", Since::After(2)), (vec![4], false, 3));
        assert_eq!(numbers(&history, "/topic/a", Since::After(0)), (vec![2], false, 3));
        assert!(numbers(&history, "/topic/b", Since::After(1)).1);
        assert_eq!(history.lock().topics.len(), 3);
    }

    fn of(fixed: &[&str]) -> History {
        let fixed: Vec<_> = fixed.iter().map(|name| Destination::parse(name).unwrap()).collect();
        History::new(LIMITS, "e", &fixed)
    }

    /// The time is the message's number, too.
    fn record(history: &History, name: &str, id: u64, size: usize) {
        let destination = Destination::parse(name).unwrap();
        let publication = Publication { destination, headers: vec![], body: vec![b'x'; size].into() };
        history.record(&Arc::new(Message::new(MessageId(id), publication, id, None)), || {});
    }

    fn numbers(history: &History, name: &str, since: Since) -> (Vec<u64>, bool, u64) {
        let backlog = history.since(&[&Destination::parse(name).unwrap()], since);
        (backlog.messages.iter().map(|message| message.id.0).collect(), backlog.is_gap, backlog.position)
    }
}
