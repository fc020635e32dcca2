//! Events that were noted and are not counted yet.

use std::collections::VecDeque;
use std::mem;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use super::event::{Event, Severity};
use super::latency::Micros;
use super::{Moment, lock};

/// Notes in their order, in batches, so that none is moved twice and no step is long.
///
/// Its lock is held for one push or for handing over what is there, never while one counts.
#[derive(Debug, Default)]
pub(super) struct Pending {
    waiting: Mutex<Waiting>,
    /// The counter has something to do, or the end has come.
    is_more: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    full: VecDeque<Vec<Note>>,
    filling: Vec<Note>,
    /// Those who are about to take all.
    takers: usize,
    /// Whether the counter sleeps: to wake it costs more than a hundred notes.
    is_asleep: bool,
    is_closed: bool,
}

impl Pending {
    /// Adds a note; answers whether so many batches wait that the caller should count one.
    #[must_use]
    pub(super) fn push(&self, note: Note) -> bool {
        let mut waiting = lock(&self.waiting);
        waiting.push(note);
        let is_much = waiting.full.len() > MAX_BATCHES;
        if waiting.is_asleep && waiting.full.len() >= WAKING_BATCHES && waiting.takers == 0 {
            waiting.is_asleep = false;
            drop(waiting);
            self.is_more.notify_one();
        }
        is_much
    }

    /// Waits until there is something to count and nobody is about to take all; false at the end.
    ///
    /// Goes on with the next full batch, and where there is none sleeps until there are
    /// [`WAKING_BATCHES`]. For one counter.
    pub(super) fn wait(&self) -> bool {
        let mut waiting = lock(&self.waiting);
        let mut enough = 1;
        while !waiting.is_closed && (waiting.full.len() < enough || waiting.takers > 0) {
            enough = WAKING_BATCHES;
            waiting.is_asleep = true;
            waiting = self.is_more.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        waiting.is_asleep = false;
        !waiting.is_closed
    }

    /// Takes the oldest full batch; empty where there is none.
    pub(super) fn pop(&self) -> Vec<Note> {
        lock(&self.waiting).full.pop_front().unwrap_or_default()
    }

    /// Says that [`Self::take`] follows, so that who counts batch by batch gives way.
    pub(super) fn announce(&self) {
        lock(&self.waiting).takers += 1;
    }

    /// Takes all.
    pub(super) fn take(&self) -> VecDeque<Vec<Note>> {
        lock(&self.waiting).take()
    }

    #[cfg(test)]
    pub(super) fn is_asleep(&self) -> bool {
        lock(&self.waiting).is_asleep
    }

    #[cfg(test)]
    pub(super) fn full_batches(&self) -> usize {
        lock(&self.waiting).full.len()
    }

    /// Ends every [`Self::wait`].
    pub(super) fn close(&self) {
        lock(&self.waiting).is_closed = true;
        self.is_more.notify_one();
    }
}

impl Waiting {
    fn push(&mut self, note: Note) {
        if self.filling.is_empty() {
            self.filling.reserve_exact(BATCH);
        }
        self.filling.push(note);
        if self.filling.len() == BATCH {
            self.full.push_back(mem::take(&mut self.filling));
        }
    }

    fn take(&mut self) -> VecDeque<Vec<Note>> {
        self.takers -= 1;
        let mut all = mem::take(&mut self.full);
        all.push_back(mem::take(&mut self.filling));
        all
    }
}

/// What the counts need to know of an event.
#[derive(Debug)]
pub(super) struct Note {
    pub(super) event_type: Box<str>,
    pub(super) source: Box<str>,
    pub(super) user_id: Option<Arc<str>>,
    pub(super) severity: Severity,
    pub(super) latency: Option<Micros>,
    pub(super) received: Moment,
}

impl Note {
    pub(super) fn new(event: &Event, received: Moment) -> Self {
        Self {
            event_type: event.event_type.as_str().into(),
            source: event.source.as_str().into(),
            user_id: event.user_id.as_deref().map(Into::into),
            severity: event.severity,
            latency: event.latency(received.wall),
            received,
        }
    }
}

/// Few enough that who reads waits only for microseconds until a batch is counted.
pub(super) const BATCH: usize = 32;
/// Full batches that wake the counter.
pub(super) const WAKING_BATCHES: usize = 16;
/// Full batches before a recorder counts one itself: what comes within 20 ms at
/// 400,000 events a second; 8 MB where each of the notes has the longest names.
pub(super) const MAX_BATCHES: usize = 256;
