//! Counts by name, for a bounded number of names.

use std::collections::HashMap;

use super::distinct::Distinct;
use super::latency::{Latencies, LatencySummary, Micros};
use super::windows::{exact_percent, percent};

/// One row for each of the first `capacity` names; all further names share the row `other`.
///
/// A client's own name `other` counts in that row too and takes no place, so that the row always
/// means "not one of the named ones" and a total over the rows is the total of the events.
#[derive(Debug)]
pub(super) struct Names {
    capacity: usize,
    rows: HashMap<Box<str>, Row>,
    other: Row,
    other_names: Distinct,
}

impl Names {
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity, rows: HashMap::new(), other: Row::default(), other_names: Distinct::new(OTHER_NAMES) }
    }

    pub(super) fn record(&mut self, name: &str, is_error: bool, latency: Option<Micros>) {
        let has_room = name != OTHER && self.rows.len() < self.capacity;
        let row = if let Some(row) = self.rows.get_mut(name) {
            row
        } else if has_room {
            self.rows.entry(name.into()).or_default()
        } else {
            self.other_names.note(name, 0);
            &mut self.other
        };
        row.record(is_error, latency);
    }

    /// Different names so far: exact as long as all have a row, and some hundreds beyond.
    pub(super) fn distinct(&self) -> u64 {
        self.rows.len() as u64 + self.other_names.total()
    }

    /// Events that went to the row `other`.
    pub(super) fn overflowed(&self) -> u64 {
        self.other.count
    }

    /// Every row, by name.
    pub(super) fn rows(&mut self) -> Vec<NamedRow> {
        let named = self.rows.iter_mut().map(|(name, row)| (&**name, row));
        let rows = named.chain([(OTHER, &mut self.other)]).filter(|(_, row)| row.count > 0);
        let mut rows: Vec<_> = rows.map(|(name, row)| NamedRow::new(name, row)).collect();
        rows.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        rows
    }
}

#[derive(Debug, Default)]
struct Row {
    count: u64,
    errors: u64,
    latencies: Latencies,
    /// Of the latencies, where none came since it was asked for: percentiles are most of what a
    /// payload costs, and most rows stand still from one to the next.
    summary: Option<LatencySummary>,
}

impl Row {
    fn record(&mut self, is_error: bool, latency: Option<Micros>) {
        self.count += 1;
        self.errors += u64::from(is_error);
        if let Some(latency) = latency {
            self.latencies.record(latency);
            self.summary = None;
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
    fn new(name: &str, row: &mut Row) -> Self {
        let latency = *row.summary.get_or_insert_with(|| row.latencies.summary());
        Self { name: name.to_owned(), count: row.count, errors: row.errors, latency }
    }

    /// Errors in percent of this name's events.
    pub(super) fn error_rate(&self) -> f64 {
        percent(self.errors, self.count)
    }

    /// As [`Self::error_rate`], for thresholds.
    pub(super) fn exact_error_rate(&self) -> f64 {
        exact_percent(self.errors, self.count)
    }
}

/// The row of all names that have none of their own.
pub(super) const OTHER: &str = "other";
const OTHER_NAMES: usize = 1024;
