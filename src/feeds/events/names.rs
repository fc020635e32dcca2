//! Counts by name, for a bounded number of names.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::distinct::Distinct;
use super::latency::{Latencies, LatencySummary, Micros};
use super::lock;
use super::windows::percent;

/// One row for each of the first `capacity` names; all further names share the row `other`.
///
/// A client's own name `other` counts in that row too and takes no place, so that the row always
/// means "not one of the named ones" and a total over the rows is the total of the events.
#[derive(Debug)]
pub(super) struct Names {
    capacity: usize,
    rows: RwLock<HashMap<Arc<str>, Arc<Mutex<Row>>>>,
    other: Mutex<Row>,
    other_names: Mutex<Distinct>,
    overflowed: AtomicU64,
}

impl Names {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            rows: RwLock::default(),
            other: Mutex::default(),
            other_names: Mutex::new(Distinct::new(OTHER_NAMES)),
            overflowed: AtomicU64::new(0),
        }
    }

    pub(super) fn record(&self, name: &str, is_error: bool, latency: Option<Micros>) {
        match self.row(name) {
            Some(row) => lock(&row).record(is_error, latency),
            None => {
                self.overflowed.fetch_add(1, Ordering::Relaxed);
                lock(&self.other_names).note(name, 0);
                lock(&self.other).record(is_error, latency);
            }
        }
    }

    /// Different names so far: exact as long as all have a row, and some hundreds beyond.
    pub(super) fn distinct(&self) -> u64 {
        let named = self.rows.read().unwrap_or_else(PoisonError::into_inner).len() as u64;
        named + lock(&self.other_names).total()
    }

    /// Events that went to the row `other`.
    pub(super) fn overflowed(&self) -> u64 {
        self.overflowed.load(Ordering::Relaxed)
    }

    /// Every row, by name. Holds one row's lock at a time, and only to copy it.
    pub(super) fn rows(&self) -> Vec<NamedRow> {
        let rows: Vec<_> = {
            let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
            rows.iter().map(|(name, row)| (name.to_string(), Arc::clone(row))).collect()
        };
        let copied = rows.into_iter().map(|(name, row)| (name, lock(&row).clone()));
        let other = std::iter::once((OTHER.to_owned(), lock(&self.other).clone()));
        let mut rows: Vec<_> = copied.chain(other).map(|(name, row)| NamedRow::new(name, &row)).collect();
        rows.retain(|row| row.count > 0);
        rows.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        rows
    }

    fn row(&self, name: &str) -> Option<Arc<Mutex<Row>>> {
        if name == OTHER {
            return None;
        }
        {
            let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(row) = rows.get(name) {
                return Some(Arc::clone(row));
            }
            if rows.len() >= self.capacity {
                return None;
            }
        }
        let mut rows = self.rows.write().unwrap_or_else(PoisonError::into_inner);
        if rows.len() >= self.capacity && !rows.contains_key(name) {
            return None;
        }
        Some(Arc::clone(rows.entry(name.into()).or_default()))
    }
}

#[derive(Debug, Clone, Default)]
struct Row {
    count: u64,
    errors: u64,
    latencies: Latencies,
}

impl Row {
    fn record(&mut self, is_error: bool, latency: Option<Micros>) {
        self.count += 1;
        self.errors += u64::from(is_error);
        if let Some(latency) = latency {
            self.latencies.record(latency);
        }
    }
}

/// What one name's events came to.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct NamedRow {
    pub(super) name: String,
    pub(super) count: u64,
    pub(super) errors: u64,
    pub(super) latency: LatencySummary,
}

impl NamedRow {
    fn new(name: String, row: &Row) -> Self {
        Self { name, count: row.count, errors: row.errors, latency: row.latencies.summary() }
    }

    /// Errors in percent of this name's events.
    pub(super) fn error_rate(&self) -> f64 {
        percent(self.errors, self.count)
    }
}

/// The row of all names that have none of their own.
pub(super) const OTHER: &str = "other";
const OTHER_NAMES: usize = 1024;
