//! Events that were noted and are not counted yet.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::event::{Event, Severity};
use super::latency::Micros;

/// Notes in their order, in batches, so that none is moved twice and no step is long.
#[derive(Debug, Default)]
pub(super) struct Pending {
    full: VecDeque<Vec<Note>>,
    filling: Vec<Note>,
}

impl Pending {
    /// Adds a note; where it fills a batch, answers how many full ones there are.
    pub(super) fn push(&mut self, note: Note) -> Option<usize> {
        if self.filling.is_empty() {
            self.filling.reserve_exact(BATCH);
        }
        self.filling.push(note);
        if self.filling.len() < BATCH {
            return None;
        }
        self.full.push_back(mem::take(&mut self.filling));
        Some(self.full.len())
    }

    /// Takes the oldest full batch; empty where there is none.
    pub(super) fn pop(&mut self) -> Vec<Note> {
        self.full.pop_front().unwrap_or_default()
    }

    /// Takes all.
    pub(super) fn take(&mut self) -> VecDeque<Vec<Note>> {
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
    /// Since the start.
    pub(super) second: u64,
    pub(super) received_at: DateTime<Utc>,
}

impl Note {
    pub(super) fn new(event: &Event, second: u64, received_at: DateTime<Utc>) -> Self {
        Self {
            event_type: event.event_type.as_str().into(),
            source: event.source.as_str().into(),
            user_id: event.user_id.as_deref().map(Into::into),
            severity: event.severity,
            latency: event.latency(received_at),
            second,
            received_at,
        }
    }
}

/// Enough that the lock of the tables is rarely taken, few enough that counting them is not felt.
const BATCH: usize = 32;
