//! What a sender of log lines is told.

use chrono::{DateTime, Utc};
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

use super::super::events::{Rejected, Rfc3339, is_array, split};
use super::entry::LogEntry;

/// Takes the JSON of one entry, or of an array of 1 to 1000 of them, at most 8 MiB.
///
/// # Errors
/// It is neither, or the one entry is not good.
pub fn accept(json: &[u8], now: DateTime<Utc>, source: &str) -> Result<LogOutcome, Rejected> {
    if !is_array(json) {
        let entry = LogEntry::parse(json, now, source)?;
        return Ok(LogOutcome { received_at: now, results: vec![Ok(entry)] });
    }
    let entries = split(json, "log entries")?;
    let parse = |entry: &serde_json::value::RawValue| Ok(LogEntry::parse(entry.get().as_bytes(), now, source)?);
    Ok(LogOutcome { received_at: now, results: entries.into_iter().map(parse).collect() })
}

/// What became of each entry; serialises to the body of the answer.
///
/// `{"status","accepted","rejected","receivedAt","errors":[{"index","errors"}]}`; `status` is
/// `accepted`, `partial` or `error`.
#[derive(Debug, Clone, PartialEq)]
pub struct LogOutcome {
    received_at: DateTime<Utc>,
    results: Vec<Result<LogEntry, Rejected>>,
}

impl LogOutcome {
    /// How many entries there were.
    pub fn len(&self) -> usize {
        self.results.len()
    }

    /// Whether there was none; never so for what [`accept`] answers.
    pub fn is_empty(&self) -> bool {
        self.results.is_empty()
    }

    /// How many of them are good.
    pub fn accepted(&self) -> usize {
        self.results.iter().filter(|result| result.is_ok()).count()
    }

    /// The first that is not good, and its place.
    pub fn first_rejected(&self) -> Option<(usize, &Rejected)> {
        self.results.iter().enumerate().find_map(|(at, result)| Some((at, result.as_ref().err()?)))
    }

    /// The good ones in their order.
    pub fn into_entries(self) -> impl Iterator<Item = LogEntry> {
        self.results.into_iter().flatten()
    }
}

impl Serialize for LogOutcome {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let accepted = self.accepted();
        let rejected = self.len() - accepted;
        let status = match (accepted, rejected) {
            (_, 0) => "accepted",
            (0, _) => "error",
            _ => "partial",
        };
        let errors = self.results.iter().enumerate().filter_map(|(index, result)| {
            let errors = &result.as_ref().err()?.errors;
            Some(serde_json::json!({"index": index, "errors": errors}))
        });
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("status", status)?;
        map.serialize_entry("accepted", &accepted)?;
        map.serialize_entry("rejected", &rejected)?;
        map.serialize_entry("receivedAt", &Rfc3339(self.received_at))?;
        if rejected > 0 {
            map.serialize_entry("errors", &errors.collect::<Vec<_>>())?;
        }
        map.end()
    }
}
