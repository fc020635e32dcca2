//! What waits becomes octets on the socket.

use std::collections::VecDeque;
use std::io;
use std::time::Instant;

use tracing::debug;

use super::{Connection, FLUSH_BYTES, FLUSH_PIECES, FLUSH_WRITES, LATEST_FLUSH_BYTES, PREPARED_BYTES, State};
use crate::broker::handle::now_ms;
use crate::broker::mailbox::Entry;
use crate::message::{Delivery, Image};
use crate::session::Session;

impl Connection {
    /// Writes what waits, all in as few calls as it takes, until nothing is left or the socket
    /// takes no more.
    pub(super) fn flush(&self, state: &mut State, now: Instant) {
        state.is_unfinished = false;
        if state.is_blocked || state.is_over {
            return;
        }
        self.expire(state, now);
        let mut queue = self.fanout.take_scratch();
        queue.extend(state.unwritten.drain(..));
        let mut bytes = 0;
        let mut budget = PREPARED_BYTES;
        for turn in 0.. {
            self.fill(state, now, &mut queue, &mut budget);
            if queue.is_empty() {
                break;
            }
            bytes += self.write(state, &mut queue);
            if state.is_blocked || state.is_over {
                break;
            }
            if turn == FLUSH_WRITES && !state.mailbox.is_empty() {
                state.is_unfinished = true;
                break;
            }
        }
        self.on_written(state, now, queue, bytes);
        self.leave_violator(state);
        self.settle_written(state);
    }

    /// Writes a delivery with nothing in front of it, past the mailbox: with many subscribers
    /// each touch of one's memory is a cache miss.
    pub(super) fn write_at_once(&self, state: &mut State, now: Instant, delivery: Delivery) {
        self.expire(state, now);
        let Some(mut image) = self.image(state, now, delivery) else { return };
        match self.io.try_write_one(&mut image) {
            Ok(written) => {
                (state.is_blocked, state.is_cut) = (written.is_blocked, written.is_cut);
                if !image.is_empty() {
                    self.waiting.set_unwritten(image.len());
                    state.unwritten.push_back(image);
                    self.recount(state);
                }
                self.on_transmitted(state, now, written.bytes);
            }
            Err(error) => self.on_broken(state, error.kind()),
        }
    }

    /// One call; answers how many octets left.
    fn write(&self, state: &mut State, queue: &mut VecDeque<Image>) -> usize {
        let before = queue.len();
        match self.io.try_write(queue) {
            Ok(written) => {
                state.is_blocked = written.is_blocked;
                state.is_cut = written.is_cut || (state.is_cut && queue.len() == before);
                if let Some(queueing) = &mut state.queueing {
                    queueing.on_written(before - queue.len());
                }
                written.bytes
            }
            Err(error) => {
                self.on_broken(state, error.kind());
                queue.clear();
                0
            }
        }
    }

    pub(super) fn on_broken(&self, state: &mut State, kind: io::ErrorKind) {
        debug!(connection = self.id, reason = %kind, "the transport broke");
        // What is due to it was not acknowledged in time, or no ping answered.
        if kind == io::ErrorKind::TimedOut && !state.is_over {
            self.fanout.limiter().note("dead_peer_timeout");
        }
        state.is_over = true;
    }

    fn on_written(&self, state: &mut State, now: Instant, mut queue: VecDeque<Image>, bytes: usize) {
        if queue.is_empty() {
            state.unwritten = VecDeque::new();
        } else {
            state.unwritten.extend(queue.drain(..));
        }
        self.fanout.give_scratch_back(queue);
        if state.is_blocked || self.waiting() > 0 {
            self.waiting.set_unwritten(state.unwritten.iter().map(Image::len).sum());
            self.recount(state);
        }
        self.on_transmitted(state, now, bytes);
    }

    fn on_transmitted(&self, state: &mut State, now: Instant, bytes: usize) {
        if bytes > 0 {
            self.broker().stats().bytes_out.add(bytes as u64);
            state.session.handle_transmitted(now);
        }
    }

    /// The octets of a topic's message, unless it has expired.
    fn image(&self, state: &mut State, now: Instant, delivery: Delivery) -> Option<Image> {
        if delivery.message.expires_at_ms.is_some_and(|at| at <= now_ms()) {
            self.broker().stats().dropped_expired.add(1);
            return None;
        }
        self.counted_image(&mut state.session, now, delivery)
    }

    /// Makes octets of a delivery, and counts it, or that it cannot be carried.
    pub(super) fn counted_image(&self, session: &mut dyn Session, now: Instant, delivery: Delivery) -> Option<Image> {
        let image = session.delivery_image(now, delivery);
        let stats = self.broker().stats();
        if image.is_some() {
            stats.delivered.add(1);
        } else {
            let unsendable = session.unsendable();
            stats.dropped_binary.add(unsendable - self.unsendable.replace(unsendable));
            stats.dropped_closed.add(u64::from(session.is_closed()));
        }
        image
    }

    /// Whether its transport carries what is not UTF-8, in base64 if need be.
    pub(super) fn takes_binary(&self) -> bool {
        self.io.framing().carries_binary() || self.fanout.settings().encodes_binary
    }

    /// Makes octets of what waits, up to what one write can take.
    fn fill(&self, state: &mut State, now: Instant, queue: &mut VecDeque<Image>, budget: &mut usize) {
        let mut bytes = 0;
        let most = if state.mailbox.has_latest() { LATEST_FLUSH_BYTES } else { FLUSH_BYTES };
        while queue.len() < FLUSH_PIECES && bytes < most {
            if let Some(message) = state.mailbox.first_message()
                && !state.session.prepare(message, budget)
            {
                state.is_unfinished = true;
                return;
            }
            match state.mailbox.pop() {
                Some(Entry::Octets(image)) => {
                    bytes += image.len();
                    queue.push_back(image);
                }
                Some(Entry::Delivery(delivery)) if delivery.count > 0 => {
                    bytes += self.fill_queued(state, now, delivery, queue);
                }
                Some(Entry::Delivery(delivery) | Entry::Answer(delivery)) => {
                    if let Some(image) = self.image(state, now, delivery) {
                        bytes += image.len();
                        queue.push_back(image);
                    }
                }
                None => {
                    if let Some(ending) = &mut state.ending
                        && !ending.farewell_queued
                    {
                        ending.farewell_queued = true;
                        self.io.farewell(&ending.close, queue);
                    }
                    return;
                }
            }
        }
    }
}
